//! `/sso/userinfo`: what an identity provider's own code asks (Auth0, Cognito, Keycloak), aggregated claims, and what
//! relying parties fetch by a token they were given (distributed claims).

use crate::http::Edge;
use crate::http::extract::{Presented, Raw, accepts, authenticate, checked, parse_value, presented};
use crate::http::problem::Problem;
use crate::service::sso::{Bearer, Consent, Person, Provided, told};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use utoipa::ToSchema;
use validator::Validate;

/// Media type of an assertion (OpenID Connect for Identity Assurance 1.0).
const PROVIDED: &str = "application/provided-claims+jwt";

/// Whom a client asks about, and for what.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The provider's immutable id of the user.
    #[validate(length(min = 1, max = 512))]
    #[schema(min_length = 1, max_length = 512)]
    sub: String,
    /// The name they sign in with; it counts only in the domains that the provider is registered with.
    #[validate(length(min = 1, max = 320))]
    #[schema(min_length = 1, max_length = 320)]
    login: Option<String>,
    /// Which, where the provider may ask about several.
    #[validate(length(min = 1, max = 300))]
    resource: Option<String>,
    /// The user's address, for criteria that look at the request.
    #[validate(length(min = 1, max = 60))]
    address: Option<String>,
    /// For what claims are provided, as the person was told; with an assertion.
    #[validate(length(min = 1, max = 1200))]
    purpose: Option<String>,
    /// The provider's own reference to the person's consent; with an assertion.
    #[validate(length(min = 1, max = 800))]
    consent: Option<String>,
}

/// The one subject's claims that a bearer token opens; `None` for any other credential.
async fn bearer(edge: &Edge, headers: &HeaderMap) -> Result<Option<Bearer>, Problem> {
    let Presented::Bearer(token) = presented(headers) else { return Ok(None) };
    edge.app.claims_bearer(token).await.map_err(|error| Problem::from(error).challenged("Bearer", "invalid_token"))
}

fn assertion(provided: Provided) -> Response {
    ([(header::CONTENT_TYPE, PROVIDED), (header::CACHE_CONTROL, "no-store")], provided.jwt).into_response()
}

async fn fetch(edge: &Edge, bearer: &Bearer) -> Result<Response, Problem> {
    let refused = |error| match error {
        crate::service::ServiceError::Unauthenticated => {
            Problem::from(crate::service::ServiceError::Unauthenticated).challenged("Bearer", "invalid_token")
        }
        error => Problem::from(error),
    };
    edge.app.fetch_claims(bearer).await.map(assertion).map_err(refused)
}

/// The claims that the token opens, as an assertion (distributed claims).
#[utoipa::path(get, path = "/sso/userinfo", tag = "sso", security(("client" = ["sso:claims"])),
    responses((status = 200, description = "an assertion", content_type = "application/provided-claims+jwt", body = String), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn get(State(edge): State<Edge>, request: Request) -> Result<Response, Problem> {
    let (request, _) = request.into_parts();
    if let Some(bearer) = bearer(&edge, &request.headers).await? {
        return fetch(&edge, &bearer).await;
    }
    let caller = authenticate(&edge, &request).await?;
    caller.require("sso:claims")?;
    Err(Problem::invalid().field("/sub", "name the user: POST `sub` as JSON"))
}

/// Whether somebody whom the provider knows is eligible: as JSON or, where `Accept` asks for it, as an assertion (aggregated
/// claims).
#[utoipa::path(post, path = "/sso/userinfo", tag = "sso", request_body = Asked, security(("client" = ["sso:claims"])),
    responses((status = 200, description = "`sub` as asked, `eligibility`; or an assertion"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn post(State(edge): State<Edge>, request: Request) -> Result<Response, Problem> {
    let (request, body) = request.into_parts();
    let body = Raw::read(body).await;
    if let Some(bearer) = bearer(&edge, &request.headers).await? {
        return fetch(&edge, &bearer).await;
    }
    let caller = authenticate(&edge, &request).await?;
    caller.require("sso:claims")?;
    let Raw(bytes) = body?;
    let asked: Asked = checked(parse_value(&bytes)?)?;
    let provider = edge.app.provider_of(&caller.id)?;
    let resource = edge.app.asked_resource(&provider, asked.resource.as_deref())?;
    let address = asked.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
    let person = Person { id: &asked.sub, login: asked.login.as_deref() };
    if accepts(&request.headers, PROVIDED) {
        let (Some(purpose), Some(reference)) = (&asked.purpose, &asked.consent) else {
            return Err(Problem::invalid().field("/purpose", "an assertion takes `purpose` and `consent`"));
        };
        let consent = Consent { purpose, reference };
        let provided = edge.app.provide_claims(&caller, &provider, &person, &resource, address, consent).await?;
        return Ok(assertion(provided));
    }
    let attribute = edge.app.attribute(&provider, &person, &resource, address).await?;
    let mut response =
        Json(json!({ "sub": asked.sub, "eligibility": told(&attribute, resource.as_str()) })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
