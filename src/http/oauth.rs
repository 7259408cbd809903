//! The authorization server for machines: tokens (RFC 6749, 7523, 8693, 8707, 9449), introspection (7662, 9701), revocation (7009).

mod claims;
mod form;
pub mod metadata;

use super::Edge;
use super::extract::{Presented, Raw, accepts, authenticate, dpop_proof, presented};
use super::problem::{Problem, oauth as oauth_error};
use crate::service::ServiceError;
use crate::service::authenticate::{ACCESS_TTL_SECS, Caller};
use crate::service::exchange::{ACCESS_TOKEN, END_USER, Exchange, ExchangeError, JWT};
use crate::service::introspect::Revocation;
use crate::token::dpop;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use form::{Form, as_caller, client, failed, invalid_client, invalid_request};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_PATH: &str = "/oauth2/token";
const SIGNED: &str = "application/token-introspection+jwt";

/// An answer that nobody keeps.
fn answer(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Token endpoint: client credentials for API clients, token exchange for eligibility tokens.
#[utoipa::path(post, path = "/oauth2/token", tag = "oauth",
    params(("DPoP" = Option<String>, Header, description = "binds the token to the key of this proof (RFC 9449)")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "a token"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 500, description = "OAuth error"), (status = 503, description = "cannot answer now")))]
pub async fn token(State(edge): State<Edge>, headers: HeaderMap, Raw(body): Raw) -> Response {
    let granted = async {
        let form = Form::read(&headers, &body)?;
        let grant = form.require("grant_type")?;
        if ![CLIENT_CREDENTIALS, TOKEN_EXCHANGE].contains(&grant) {
            return Err(oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type", "see `grant_types_supported`"));
        }
        let id = client(&edge.app, &headers, &form).await?;
        let id = id.ok_or_else(|| invalid_client("authenticate the client"))?;
        // After the client is known: a stranger's proofs are not written down.
        let jkt = binding(&edge, &headers, &id).await?;
        let for_parties = form.get("requested_token_type") == Some(ACCESS_TOKEN) && claims::may_ask(&edge, &id);
        if grant == TOKEN_EXCHANGE && for_parties {
            claims::exchange(&edge, &id, &form, jkt.as_deref()).await
        } else if grant == TOKEN_EXCHANGE {
            exchange(&edge, &id, &form, jkt.as_deref()).await
        } else {
            client_credentials(&edge, &id, &form, jkt.as_deref())
        }
    };
    granted.await.unwrap_or_else(|refusal| refusal)
}

/// The key that the token is to be bound to.
async fn binding(edge: &Edge, headers: &HeaderMap, client: &str) -> Result<Option<String>, Response> {
    let refuse = |text: &str| oauth_error(StatusCode::BAD_REQUEST, "invalid_dpop_proof", text);
    let proof = dpop_proof(headers).map_err(|()| refuse("send one `DPoP` header"))?;
    let Some(proof) = proof else {
        let world = edge.app.world.load();
        let must = world.clients.get(client).is_some_and(|client| client.dpop_bound_access_tokens);
        return if must { Err(refuse("this client's tokens are bound to a key: send `DPoP`")) } else { Ok(None) };
    };
    let url = format!("{}{TOKEN_PATH}", edge.app.issuer);
    let request = dpop::Request { method: "POST", url: &url, token: None };
    edge.app.prove(proof, request, None).await.map(Some).map_err(|error| match error {
        ServiceError::Unproven(why) => refuse(&why.to_string()),
        error => failed(&error),
    })
}

fn client_credentials(edge: &Edge, id: &str, form: &Form, jkt: Option<&str>) -> Result<Response, Response> {
    if form.audiences.len() > 1 {
        return Err(invalid_request("a parameter is given twice"));
    }
    // SECURITY: a client without a subject has no decision, so its token is never for a restricted resource.
    if form.resources.iter().any(|resource| *resource != edge.app.issuer) {
        let text = "an access token is for this service alone; exchange a subject for a restricted resource";
        return Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_target", text));
    }
    match edge.app.grant(id, form.get("scope"), jkt) {
        Ok(access) => {
            let scope = access.scopes.into_iter().collect::<Vec<_>>().join(" ");
            let token_type = if jkt.is_some() { "DPoP" } else { "Bearer" };
            Ok(answer(
                json!({ "access_token": access.token, "token_type": token_type, "expires_in": ACCESS_TTL_SECS, "scope": scope }),
            ))
        }
        Err(ServiceError::Forbidden(_)) => {
            Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_scope", "a scope is not this client's"))
        }
        Err(ServiceError::Unauthenticated) => Err(invalid_client("client authentication failed")),
        Err(error) => Err(failed(&error)),
    }
}

async fn exchange(edge: &Edge, id: &str, form: &Form, jkt: Option<&str>) -> Result<Response, Response> {
    let caller = as_caller(&edge.app, id)?;
    // An organisation's client may act for its own end users, and for nobody else.
    let own = form.get("subject_token_type") == Some(END_USER) && caller.organisation.is_some();
    if caller.require("tokens:issue").is_err() && !(own && caller.require("end_users:write").is_ok()) {
        return Err(oauth_error(StatusCode::BAD_REQUEST, "unauthorized_client", "needs the scope `tokens:issue`"));
    }
    if form.get("scope").is_some() {
        return Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_scope", "an eligibility token has no scopes"));
    }
    if form.get("requested_token_type").is_some_and(|wanted| wanted != JWT) {
        return Err(invalid_request("`requested_token_type` is not supported"));
    }
    let actor = match (form.get("actor_token"), form.get("actor_token_type")) {
        (None, None) => None,
        (Some(token), Some(kind)) => Some((token, kind)),
        _ => return Err(invalid_request("`actor_token` and `actor_token_type` go together")),
    };
    let asked = Exchange {
        subject_token: form.require("subject_token")?,
        subject_token_type: form.require("subject_token_type")?,
        actor,
        resources: &form.resources,
        audiences: &form.audiences,
        acting_for: form.get("vouchsafe_acting_for"),
        jkt,
    };
    match edge.app.exchange(&caller, &asked).await {
        Ok(issued) => {
            let token_type = if jkt.is_some() { "DPoP" } else { "N_A" };
            Ok(answer(
                json!({ "access_token": issued.token, "issued_token_type": JWT, "token_type": token_type, "expires_in": issued.expires_in }),
            ))
        }
        Err(ExchangeError::Request(why)) => Err(invalid_request(why)),
        Err(ExchangeError::Target(why)) => Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_target", why)),
        Err(ExchangeError::NotEligible(decision)) => Err(not_eligible(&decision)),
        Err(ExchangeError::EndUser(refusal)) => {
            let text = format!("{}: {}", refusal.code(), vouchsafe_core::explain::texts(refusal.code()).subject);
            Err(oauth_error(StatusCode::BAD_REQUEST, "invalid_target", &text))
        }
        Err(ExchangeError::Service(error)) => Err(failed(&error)),
    }
}

/// No token is made for this resource (RFC 8693 section 2.2.2), and what would change that.
fn not_eligible(decision: &vouchsafe_core::Decision) -> Response {
    let mut refusal = oauth_error(StatusCode::BAD_REQUEST, "invalid_target", "the subject is not eligible");
    let body = json!({ "error": "invalid_target", "error_description": "the subject is not eligible",
        "decision": super::decisions::ordinary(decision) });
    refusal.headers_mut().remove(header::CONTENT_LENGTH);
    *refusal.body_mut() = body.to_string().into();
    refusal
}

/// The caller of introspection or revocation: a client by its credentials, or by an access token (RFC 6750, RFC 9449).
async fn machine(edge: &Edge, request: &Parts, form: &Form) -> Result<Arc<Caller>, Response> {
    let id = client(&edge.app, &request.headers, form).await?;
    match (id, presented(&request.headers)) {
        (Some(_), Presented::Bearer(_) | Presented::Dpop { .. }) => {
            Err(invalid_request("use one way of client authentication"))
        }
        (Some(id), _) => as_caller(&edge.app, &id),
        (None, Presented::None) => Err(invalid_client("authenticate the client")),
        (None, _) => authenticate(edge, request).await.map_err(|problem| {
            let challenge = problem.challenge();
            let mut refusal = match problem.code.as_str() {
                "authorization_invalid" => invalid_request("the `Authorization` header cannot be read"),
                "invalid_dpop_proof" => {
                    let why = problem.detail.unwrap_or_default();
                    oauth_error(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", &why)
                }
                "unauthenticated" => {
                    oauth_error(StatusCode::UNAUTHORIZED, "invalid_token", "the access token is not valid")
                }
                _ => return problem.into_response(),
            };
            if let Some(value) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
                refusal.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
            refusal
        }),
    }
}

/// A service error of introspection or revocation.
fn refused(error: &ServiceError) -> Response {
    let ServiceError::Forbidden(scope) = error else { return failed(error) };
    let mut refusal = oauth_error(StatusCode::FORBIDDEN, "insufficient_scope", &format!("needs the scope `{scope}`"));
    if let Ok(value) = HeaderValue::try_from(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")) {
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    refusal
}

/// Introspection (RFC 7662), signed where `Accept` asks for it (RFC 9701).
#[utoipa::path(post, path = "/oauth2/introspect", tag = "oauth",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "what the token is worth now"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 403, description = "OAuth error"), (status = 500, description = "OAuth error"), (status = 503, description = "cannot know")))]
pub async fn introspect(State(edge): State<Edge>, request: Request) -> Response {
    let found = async {
        let (request, body) = request.into_parts();
        let Raw(body) = Raw::read(body).await.map_err(Problem::into_response)?;
        let form = Form::read(&request.headers, &body)?;
        let caller = machine(&edge, &request, &form).await?;
        let worth = edge.app.introspect(&caller, form.require("token")?).await.map_err(|error| refused(&error))?;
        if !accepts(&request.headers, SIGNED) {
            let kind = (header::CONTENT_TYPE, "application/json");
            return Ok(([kind, (header::CACHE_CONTROL, "no-store")], worth.to_string()).into_response());
        }
        let signed = edge.app.signed_introspection(&caller, &worth).map_err(|error| failed(&error))?;
        Ok(([(header::CONTENT_TYPE, SIGNED), (header::CACHE_CONTROL, "no-store")], signed).into_response())
    };
    found.await.unwrap_or_else(|refusal: Response| refusal)
}

/// Revocation (RFC 7009): 200 also for unknown tokens.
#[utoipa::path(post, path = "/oauth2/revoke", tag = "oauth",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "revoked or unknown"), (status = 400, description = "OAuth error"), (status = 401, description = "OAuth error"), (status = 403, description = "OAuth error"), (status = 500, description = "OAuth error"), (status = 503, description = "cannot write")))]
pub async fn revoke(State(edge): State<Edge>, request: Request) -> Response {
    let done = async {
        let (request, body) = request.into_parts();
        let Raw(body) = Raw::read(body).await.map_err(Problem::into_response)?;
        let form = Form::read(&request.headers, &body)?;
        let caller = machine(&edge, &request, &form).await?;
        edge.app.revoke_token(&caller, form.require("token")?).await.map_err(|error| refused(&error))
    };
    match done.await {
        Ok(Revocation::Done) => StatusCode::OK.into_response(),
        Ok(Revocation::Unsupported) => {
            let text = "a token of this kind is not taken back here";
            oauth_error(StatusCode::BAD_REQUEST, "unsupported_token_type", text)
        }
        Err(refusal) => refusal,
    }
}
