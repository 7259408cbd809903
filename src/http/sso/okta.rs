//! Okta's token inline hook (`com.okta.oauth2.tokens.transform`): a claim for the tokens that are about to be issued.
//!
//! Where the hook fails Okta issues the tokens as they are, so an answer that cannot be known is told as a no, and a
//! claim that is there already is replaced: a patch that Okta cannot apply would leave it standing.

use super::{ask, authorization, json, unauthenticated};
use crate::http::Edge;
use crate::http::extract::{Presented, Raw, presented};
use crate::http::problem::Problem;
use crate::intake::sso::OktaCall;
use crate::service::sso::{Attribute, Person, told};
use crate::service::world::{Hook, IdentityProvider};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const PLATFORM: &str = "okta";

/// A secret of ours in `Authorization`, alone or behind `Bearer`.
pub(super) fn secret(headers: &HeaderMap) -> Option<&str> {
    let value = authorization(headers)?;
    let value = match value.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        Some(_) => return None,
        None => value,
    };
    value.starts_with("idp_").then_some(value)
}

/// The provider that calls: by its secret, or by an access token of one of its clients.
async fn provider(edge: &Edge, headers: &HeaderMap) -> Option<Arc<IdentityProvider>> {
    if let Some(secret) = secret(headers) {
        return edge.app.okta_hook(secret).ok();
    }
    let Presented::Bearer(token) = presented(headers) else { return None };
    let caller = edge.app.caller(token).await.ok()?;
    caller.require("sso:claims").ok()?;
    edge.app.provider_of(&caller.id).ok().filter(|provider| provider.hook == Some(Hook::Okta {}))
}

fn error(summary: &str) -> Value {
    json!({ "error": { "errorSummary": summary } })
}

/// What tokens of Okta say about eligibility. Authentication: the hook's secret in `Authorization`, or an access token with
/// `sso:claims` of the provider's client.
#[utoipa::path(post, path = "/sso/okta", tag = "sso", params(("resource" = Option<String>, Query, description = "which, where the provider may ask about several"), ("Authorization" = String, Header)), request_body = Object,
    responses((status = 200, description = "commands for the tokens, or an error for their requester"), (status = 401, description = "not the hook of a provider")))]
pub async fn hook(
    State(edge): State<Edge>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Raw, Problem>,
) -> Response {
    let Some(provider) = provider(&edge, &headers).await else {
        return unauthenticated(PLATFORM, &error("the hook is not authenticated"));
    };
    let Some(call) = body.ok().and_then(|Raw(bytes)| OktaCall::parse(&bytes)) else {
        // Told so, Okta issues nothing; a failed call would have it issue the tokens as they are.
        super::count(PLATFORM, "unreadable");
        return json(StatusCode::OK, &error("eligibility cannot be told for this request"));
    };
    let ours = call.issuer == provider.issuer;
    if !ours {
        tracing::error!(provider = provider.id, "a hook is called for another authorization server than its own");
    }
    let person = call.user.as_deref().filter(|_| ours).map(|id| Person { id, login: call.login.as_deref() });
    let attribute = ask(&edge, PLATFORM, &provider, query.as_deref(), person, call.address).await;
    let resource = edge.app.asked_resource(&provider, super::named_resource(query.as_deref()).as_deref());
    let resource = resource.map_or_else(|_| Value::Null, |resource| json!(resource));
    json(StatusCode::OK, &commands(&provider.claim, &call, &attribute, &resource))
}

/// One command for each token that is about to be issued.
fn commands(claim: &str, call: &OktaCall, attribute: &Attribute, resource: &Value) -> Value {
    let mut value = told(attribute, resource.as_str().unwrap_or_default());
    if resource.is_null() {
        value.as_object_mut().and_then(|members| members.remove("resource"));
    }
    let patch = |kind: &str, present: &BTreeSet<String>| {
        let op = if present.contains(claim) { "replace" } else { "add" };
        json!({ "type": kind, "value": [{ "op": op, "path": format!("/claims/{claim}"), "value": value }] })
    };
    let identity = call.identity.iter().map(|present| patch("com.okta.identity.patch", present));
    let access = call.access.iter().map(|present| patch("com.okta.access.patch", present));
    json!({ "commands": identity.chain(access).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_core::{Second, Status};

    #[test]
    fn the_longest_answer_is_far_below_what_okta_takes() {
        let attribute = Attribute {
            valid_until: Some(Second::from_epoch(253_402_300_799)),
            status: Some(Status::Insufficient),
            confidence: Some(0.1234),
        };
        let call = OktaCall {
            issuer: String::new(),
            user: None,
            login: None,
            address: None,
            identity: Some(BTreeSet::new()),
            access: Some(BTreeSet::new()),
        };
        let body = commands(&"x".repeat(40), &call, &attribute, &json!("r".repeat(200))).to_string();
        assert!(body.len() < 2_000, "{}", body.len());
    }

    #[test]
    fn a_secret_stands_alone_or_behind_bearer() {
        let of = |value: &str| {
            let headers: HeaderMap =
                [(axum::http::header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
            secret(&headers).map(str::to_owned)
        };
        let own = Some("idp_a.b.secret".to_owned());
        assert_eq!(of("idp_a.b.secret"), own);
        assert_eq!(of("bearer idp_a.b.secret"), own);
        for other in ["Basic idp_a.b.secret", "Bearer eyJ.a.b", "secret", "DPoP idp_a.b"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
