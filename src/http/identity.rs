//! Identity providers: whose ID tokens are exchanged.

use super::Edge;
use super::extract::{Auth, Checked, Page, Query};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::world::IdentityProvider;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;

/// An identity provider to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIdentityProvider {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `iss` of its ID tokens.
    #[validate(length(min = 1, max = 500))]
    issuer: String,
    /// Its public JWKs with `kid`; or `jwks_uri`.
    #[serde(default)]
    #[validate(length(max = 8))]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// Where its keys are fetched: https and public.
    #[validate(length(min = 1, max = 500))]
    jwks_uri: Option<String>,
    /// Its clients whose ID tokens are accepted.
    #[validate(length(min = 1, max = 100))]
    audiences: BTreeSet<String>,
    /// Namespace of the links under which its subjects (`sub`) are known; of no other provider.
    #[validate(length(min = 1, max = 64))]
    namespace: String,
    /// The organisation whose directory it is: who has no account there any more is no member of it.
    #[validate(length(min = 1, max = 80))]
    organisation: Option<String>,
}

/// Registers an identity provider.
#[utoipa::path(post, path = "/v1/identity-providers", tag = "admin", request_body = NewIdentityProvider, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewIdentityProvider>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let provider = IdentityProvider {
        name: new.name,
        issuer: new.issuer,
        keys: new.keys,
        jwks_uri: new.jwks_uri,
        audiences: new.audiences,
        namespace: new.namespace,
        organisation: new.organisation,
    };
    let id = edge.app.create_identity_provider(&caller.actor(), provider).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

/// Identity providers.
#[utoipa::path(get, path = "/v1/identity-providers", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "identity_provider", &page).await
}

shows! {
    show, "identity_provider", "/v1/identity-providers/{id}", "admin", "admin", "One identity provider.";
}
