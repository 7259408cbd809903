//! Microsoft Entra's custom claims provider (`onTokenIssuanceStart`): claims for a token that is about to be issued. They
//! are texts: Entra takes no others, and at most 3 KB of them.

use super::{ask, authorization, json, unauthenticated};
use crate::http::Edge;
use crate::http::extract::Raw;
use crate::http::problem::Problem;
use crate::intake::sso::EntraCall;
use crate::service::sso::{Attribute, Person};
use crate::service::world::Hook;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

const PLATFORM: &str = "entra";

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = authorization(headers)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What tokens of Entra say about eligibility. Authentication: the tenant's own token for the application that stands for
/// this service, given to Entra's authentication events service.
#[utoipa::path(post, path = "/sso/entra", tag = "sso", params(("resource" = Option<String>, Query, description = "which, where the provider may ask about several"), ("Authorization" = String, Header)), request_body = Object,
    responses((status = 200, description = "claims for the token"), (status = 400, description = "not the documented event"), (status = 401, description = "not the tenant of a provider")))]
pub async fn hook(
    State(edge): State<Edge>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Raw, Problem>,
) -> Response {
    let Some(provider) = bearer(&headers).and_then(|token| edge.app.entra_hook(token).ok()) else {
        return unauthenticated(PLATFORM, &json!({}));
    };
    let Some(call) = body.ok().and_then(|Raw(bytes)| EntraCall::parse(&bytes)) else {
        // Entra then issues nothing.
        super::count(PLATFORM, "unreadable");
        return json(StatusCode::BAD_REQUEST, &json!({}));
    };
    let ours = matches!(&provider.hook, Some(Hook::Entra { tenant, .. }) if *tenant == call.tenant);
    if !ours {
        tracing::error!(provider = provider.id, "a hook is called for another tenant than its own");
    }
    let person = call.user.as_deref().filter(|_| ours).map(|id| Person { id, login: call.login.as_deref() });
    let attribute = ask(&edge, PLATFORM, &provider, query.as_deref(), person, call.address).await;
    let resource = edge.app.asked_resource(&provider, super::named_resource(query.as_deref()).as_deref()).ok();
    let resource = resource.as_ref().map(vouchsafe_core::ids::ResourceId::as_str);
    json(StatusCode::OK, &response(&provider.claim, &attribute, resource))
}

fn response(claim: &str, attribute: &Attribute, resource: Option<&str>) -> Value {
    let mut claims = Map::new();
    let mut tell = |name: &str, text: String| {
        let name = if name.is_empty() { claim.to_owned() } else { format!("{claim}_{name}") };
        claims.insert(name, Value::String(text));
    };
    tell("", attribute.allowed().to_string());
    if let Some(resource) = resource {
        tell("resource", resource.to_owned());
    }
    if let Some(until) = attribute.valid_until {
        tell("valid_until", until.to_string());
    }
    if let Some(status) = attribute.status {
        tell("status", status.as_str().to_owned());
    }
    if let Some(confidence) = attribute.confidence {
        tell("confidence", confidence.to_string());
    }
    json!({ "data": {
        "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
        "actions": [{ "@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken", "claims": claims }],
    } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_core::{Second, Status};

    #[test]
    fn the_longest_answer_is_texts_below_three_kilobytes() {
        let attribute = Attribute {
            valid_until: Some(Second::from_epoch(253_402_300_799)),
            status: Some(Status::Insufficient),
            confidence: Some(0.1234),
        };
        let body = response(&"x".repeat(40), &attribute, Some(&"r".repeat(200)));
        assert!(body.to_string().len() < 3_000);
        let claims = body.pointer("/data/actions/0/claims").and_then(Value::as_object).unwrap();
        assert!(claims.len() == 5 && claims.values().all(Value::is_string));
    }
}
