//! Token exchange for an access token that opens one subject's claims: what an identity provider puts beside `_claim_sources`
//! for its relying parties (OpenID Connect Core 1.0 section 5.6.2, distributed claims).

use super::form::{Form, as_caller, failed, invalid_request};
use super::{answer, oauth_error};
use crate::http::Edge;
use crate::service::ServiceError;
use crate::service::authenticate::ACCESS_TTL_SECS;
use crate::service::exchange::{ACCESS_TOKEN, ID_TOKEN, LINK};
use crate::service::sso::{Consent, Person};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

/// Whether a client may ask for such a token.
pub(super) fn may_ask(edge: &Edge, id: &str) -> bool {
    let caller = edge.app.client_caller(id);
    caller.is_ok_and(|caller| caller.require("sso:claims").is_ok()) && edge.app.provider_of(id).is_ok()
}

pub(super) async fn exchange(edge: &Edge, id: &str, form: &Form, jkt: Option<&str>) -> Result<Response, Response> {
    let caller = as_caller(&edge.app, id)?;
    let provider = edge.app.provider_of(id).map_err(|error| failed(&error))?;
    if jkt.is_some() {
        return Err(invalid_request("a token for relying parties is not bound to a key: send no `DPoP`"));
    }
    if form.get("scope").is_some_and(|scope| scope != "sso:claims") {
        let text = "such a token has the scope `sso:claims` alone";
        return Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_scope", text));
    }
    if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() || !form.audiences.is_empty() {
        return Err(invalid_request("no `actor_token` and no `audience` here"));
    }
    let nobody = || invalid_request("`subject_token` names nobody whom the provider knows");
    let token = form.require("subject_token")?;
    let user = match form.require("subject_token_type")? {
        LINK => match token.split_once(':') {
            Some((namespace, user)) if namespace == provider.namespace => user.to_owned(),
            _ => return Err(nobody()),
        },
        ID_TOKEN => match edge.app.identify(token).await.map_err(|error| failed(&error))? {
            Some((theirs, identity)) if theirs.namespace == provider.namespace => identity.sub,
            _ => return Err(nobody()),
        },
        _ => return Err(invalid_request("`subject_token_type` must be a link or an ID token")),
    };
    let target = |text: &str| oauth_error(StatusCode::BAD_REQUEST, "invalid_target", text);
    let named = match form.resources.as_slice() {
        [] => None,
        [only] => Some(only.as_str()),
        _ => return Err(target("name one `resource`")),
    };
    let resource = edge.app.asked_resource(&provider, named).map_err(|_| target("`resource` is unknown"))?;
    let consent =
        Consent { purpose: form.require("vouchsafe_purpose")?, reference: form.require("vouchsafe_consent")? };
    let person = Person { id: &user, login: None };
    match edge.app.claims_token(&caller, &provider, &person, &resource, consent).await {
        Ok(token) => Ok(answer(json!({
            "access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer",
            "expires_in": ACCESS_TTL_SECS, "scope": "sso:claims",
        }))),
        Err(ServiceError::NotFound("subject")) => Err(nobody()),
        Err(ServiceError::NotFound(_)) => Err(target("`resource` is none of the provider's")),
        Err(ServiceError::Invalid { .. }) => {
            Err(invalid_request("`vouchsafe_purpose` has 3 to 300 characters, `vouchsafe_consent` 1 to 200"))
        }
        Err(error) => Err(failed(&error)),
    }
}
