//! OAuth for machines: token, introspection, revocation, keys, metadata (RFC 6749, 7662, 7009, 7517, 8414).

use super::Edge;
use super::extract::Raw;
use super::problem::oauth as oauth_error;
use crate::crypto::sha256_hex;
use crate::service::ServiceError;
use crate::service::authenticate::{ACCESS_TTL_SECS, Caller};
use crate::service::keys::JWKS_MAX_AGE_SECS;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Form parameters; a duplicate is an error (RFC 6749 section 3.2).
fn form(headers: &HeaderMap, body: &[u8]) -> Result<HashMap<String, String>, Response> {
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let refuse = |text| oauth_error(StatusCode::BAD_REQUEST, "invalid_request", text);
    if !is_form {
        return Err(refuse("send application/x-www-form-urlencoded"));
    }
    let mut found = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if found.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(refuse("a parameter is given twice"));
        }
    }
    Ok(found)
}

/// Client id and secret from `Authorization: Basic` or the form, never both.
fn client_credentials(headers: &HeaderMap, form: &HashMap<String, String>) -> Result<(String, String), Response> {
    let invalid = || oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed");
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, encoded) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then_some(encoded)
    });
    match (basic, form.get("client_secret")) {
        (Some(_), Some(_)) => {
            Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "use one way of client authentication"))
        }
        (Some(encoded), None) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| invalid())?;
            let text = String::from_utf8(bytes).map_err(|_| invalid())?;
            let (id, secret) = text.split_once(':').ok_or_else(invalid)?;
            // RFC 6749 section 2.3.1: both parts are form-encoded before Basic.
            let decode = |part: &str| {
                form_urlencoded::parse(format!("v={part}").as_bytes()).next().map(|(_, value)| value.into_owned())
            };
            Ok((decode(id).ok_or_else(invalid)?, decode(secret).ok_or_else(invalid)?))
        }
        (None, Some(secret)) => Ok((form.get("client_id").cloned().ok_or_else(invalid)?, secret.clone())),
        (None, None) => Err(invalid()),
    }
}

/// Token endpoint: client credentials for API clients.
#[utoipa::path(post, path = "/oauth2/token", tag = "oauth",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "an access token"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 503, description = "cannot answer now")))]
pub async fn token(State(edge): State<Edge>, headers: HeaderMap, Raw(body): Raw) -> Response {
    let form = match form(&headers, &body) {
        Ok(form) => form,
        Err(response) => return response,
    };
    match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type", "use client_credentials"),
        None => return oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "grant_type is missing"),
    }
    let (id, secret) = match client_credentials(&headers, &form) {
        Ok(found) => found,
        Err(response) => return response,
    };
    match edge.app.access_token(&id, &secret, form.get("scope").map(String::as_str)).await {
        Ok(access) => {
            let scope = access.scopes.into_iter().collect::<Vec<_>>().join(" ");
            let body = json!({ "access_token": access.token, "token_type": "Bearer", "expires_in": ACCESS_TTL_SECS, "scope": scope });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(ServiceError::Unauthenticated) => {
            oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed")
        }
        Err(ServiceError::Forbidden(_)) => {
            oauth_error(StatusCode::BAD_REQUEST, "invalid_scope", "a scope is not this client's")
        }
        Err(error) => super::problem::Problem::from(error).into_response(),
    }
}

/// The caller of introspection or revocation: a client by access token or by its credentials.
async fn machine(edge: &Edge, headers: &HeaderMap, form: &HashMap<String, String>) -> Result<Caller, Response> {
    let refused = || oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed");
    if let Some(token) = super::extract::bearer(headers) {
        return edge.app.caller(token).await.map_err(|_| refused());
    }
    let (id, secret) = client_credentials(headers, form)?;
    let access = edge.app.access_token(&id, &secret, None).await.map_err(|_| refused())?;
    edge.app.caller(&access.token).await.map_err(|_| refused())
}

/// Introspection (RFC 7662).
#[utoipa::path(post, path = "/oauth2/introspect", tag = "oauth",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "what the token is worth now"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 403, description = "scope"), (status = 503, description = "cannot know")))]
pub async fn introspect(State(edge): State<Edge>, headers: HeaderMap, Raw(body): Raw) -> Response {
    let found = async {
        let form = form(&headers, &body)?;
        let caller = machine(&edge, &headers, &form).await?;
        caller.require("tokens:introspect").map_err(|error| super::problem::Problem::from(error).into_response())?;
        let token = form
            .get("token")
            .ok_or_else(|| oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "token is missing"))?;
        edge.app.introspect(token).await.map_err(|error| super::problem::Problem::from(error).into_response())
    };
    match found.await {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(response) => response,
    }
}

/// Revocation (RFC 7009): 200 also for unknown tokens.
#[utoipa::path(post, path = "/oauth2/revoke", tag = "oauth",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "revoked or unknown"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 403, description = "scope"), (status = 503, description = "cannot write")))]
pub async fn revoke(State(edge): State<Edge>, headers: HeaderMap, Raw(body): Raw) -> Response {
    let done = async {
        let form = form(&headers, &body)?;
        let caller = machine(&edge, &headers, &form).await?;
        caller.require("tokens:revoke").map_err(|error| super::problem::Problem::from(error).into_response())?;
        let token = form
            .get("token")
            .ok_or_else(|| oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "token is missing"))?;
        edge.app
            .revoke_token(&caller.actor(), token)
            .await
            .map_err(|error| super::problem::Problem::from(error).into_response())
    };
    match done.await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(response) => response,
    }
}

/// Public keys (RFC 7517), answered from memory; a key stands here long before it signs.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "oauth", responses((status = 200, description = "JWK set"), (status = 304, description = "as the caller has it")))]
pub async fn jwks(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    let set = edge.app.key_set().to_string();
    let kind = "application/jwk-set+json";
    super::conditional::published(&headers, &sha256_hex(set.as_bytes()), kind, JWKS_MAX_AGE_SECS, set)
}

/// Authorization server metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth", responses((status = 200, description = "metadata")))]
pub async fn metadata(State(edge): State<Edge>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", edge.app.issuer);
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    let mut metadata = json!({
        "issuer": edge.app.issuer, "token_endpoint": at("/oauth2/token"), "jwks_uri": at("/.well-known/jwks.json"),
        "introspection_endpoint": at("/oauth2/introspect"), "revocation_endpoint": at("/oauth2/revoke"),
        "grant_types_supported": ["client_credentials"], "response_types_supported": [],
        "status_list_aggregation_endpoint": at("/status-lists"),
        "token_endpoint_auth_methods_supported": methods, "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods, "scopes_supported": crate::service::admin::SCOPES,
    });
    if edge.app.deployment.is_test()
        && let Some(members) = metadata.as_object_mut()
    {
        members.insert("vouchsafe_test_deployment".to_owned(), json!(true));
    }
    Json(metadata)
}
