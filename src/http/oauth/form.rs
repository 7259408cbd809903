//! What a request to the authorization server brings: its parameters, and how its client proves itself.

use crate::http::problem::oauth as oauth_error;
use crate::service::authenticate::Caller;
use crate::service::clients::{ClientError, ClientProof};
use crate::service::{App, ServiceError};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The one type of assertion (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Parameters of a form. Those without a value count as absent (RFC 6749 section 3.2).
#[derive(Debug, Default)]
pub(super) struct Form {
    single: HashMap<String, String>,
    /// Values of `resource` (RFC 8707 section 2).
    pub(super) resources: Vec<String>,
    /// Values of `audience` (RFC 8693 section 2.1).
    pub(super) audiences: Vec<String>,
}

pub(super) fn invalid_request(text: &str) -> Response {
    oauth_error(StatusCode::BAD_REQUEST, "invalid_request", text)
}

pub(super) fn invalid_client(text: &str) -> Response {
    oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", text)
}

const UNPROVEN: &str = "client authentication failed";

/// Names and values of a form. Most hold a token and nothing that is encoded: to look for that at each byte costs more than
/// all else here.
fn pairs(body: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let plain = if body.contains(&b'%') || body.contains(&b'+') { None } else { str::from_utf8(body).ok() };
    let encoded = if plain.is_some() { &[] } else { body };
    let plain = plain.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let plain = plain.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    plain.map(|(name, value)| (name.into(), value.into())).chain(form_urlencoded::parse(encoded))
}

impl Form {
    /// Reads a form, in which only `resource` and `audience` may be given more than once.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Response> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(invalid_request("send application/x-www-form-urlencoded"));
        }
        let mut form = Self::default();
        for (name, value) in pairs(body) {
            match &*name {
                "resource" => form.resources.push(value.into_owned()),
                "audience" => form.audiences.push(value.into_owned()),
                _ => {
                    if form.single.insert(name.into_owned(), value.into_owned()).is_some() {
                        return Err(invalid_request("a parameter is given twice"));
                    }
                }
            }
        }
        form.single.retain(|_, value| !value.is_empty());
        form.resources.retain(|value| !value.is_empty());
        form.audiences.retain(|value| !value.is_empty());
        Ok(form)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.single.get(name).map(String::as_str)
    }

    /// A parameter that must be there.
    pub(super) fn require(&self, name: &str) -> Result<&str, Response> {
        self.get(name).ok_or_else(|| invalid_request(&format!("`{name}` is missing")))
    }
}

/// Id and secret of `Authorization: Basic`; `Err` where they cannot be read.
fn basic(headers: &HeaderMap) -> Option<Result<(String, String), ()>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let read = || {
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        // RFC 6749 section 2.3.1: both parts are form-encoded before Basic.
        let decode = |part: &str| {
            form_urlencoded::parse(format!("v={part}").as_bytes()).next().map(|(_, value)| value.into_owned())
        };
        Some((decode(id)?, decode(secret)?))
    };
    Some(read().ok_or(()))
}

/// The client behind a request, by exactly one way of authentication. `None` where it brings none.
pub(super) async fn client(app: &App, headers: &HeaderMap, form: &Form) -> Result<Option<String>, Response> {
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(invalid_request("use one way of client authentication"));
    }
    let basic = basic(headers);
    let assertion = (form.get("client_assertion"), form.get("client_assertion_type"));
    let asserts = assertion != (None, None);
    let ways = [basic.is_some(), form.get("client_secret").is_some(), asserts];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(invalid_request("use one way of client authentication"));
    }
    let named = form.get("client_id");
    let proof = match (&basic, form.get("client_secret"), assertion) {
        (Some(Ok((id, _))), ..) if named.is_some_and(|named| named != id) => {
            return Err(invalid_request("`client_id` is not the client that authenticates"));
        }
        (Some(Ok((id, secret))), ..) => ClientProof::Secret { id, secret },
        (Some(Err(())), ..) => return Err(invalid_client(UNPROVEN)),
        (None, Some(secret), _) => ClientProof::Secret { id: named.ok_or_else(|| invalid_client(UNPROVEN))?, secret },
        (None, None, (Some(token), Some(JWT_BEARER))) => ClientProof::Assertion { token, named },
        (None, None, (Some(_), Some(_))) => {
            return Err(invalid_client("`client_assertion_type` is not supported"));
        }
        (None, None, (None, None)) => return Ok(None),
        (None, None, _) => {
            return Err(invalid_request("`client_assertion` and `client_assertion_type` go together"));
        }
    };
    app.authenticate_client(proof).await.map(Some).map_err(|error| match error {
        ClientError::Unproven => invalid_client(UNPROVEN),
        ClientError::Unfit(why) => invalid_client(why),
        ClientError::Service(error) => failed(&error),
    })
}

/// The client as a caller with all its scopes.
pub(super) fn as_caller(app: &App, id: &str) -> Result<Arc<Caller>, Response> {
    app.client_caller(id).map_err(|_| invalid_client(UNPROVEN))
}

/// What is not the client's doing. Nothing of the error reaches it.
pub(super) fn failed(error: &ServiceError) -> Response {
    tracing::error!(error = %error, "cannot answer now");
    if matches!(error, ServiceError::Unreadable(_) | ServiceError::Crypto(_)) {
        return oauth_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the service failed");
    }
    let mut response =
        oauth_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "cannot answer now, try again");
    response.headers_mut().insert(header::RETRY_AFTER, 2.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_form_is_read_as_the_url_standard_says(body in "[ab=&]{0,12}|[ab=&+%4é]{0,12}") {
            let standard: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
            prop_assert_eq!(pairs(body.as_bytes()).collect::<Vec<_>>(), standard);
        }
    }
}
