//! What this service can do, which resources it has and what they are made of (RFC 7644 section 4); open to everybody.

use super::super::Edge;
use super::super::extract::Query;
use super::answer::{Refusal, fresh};
use crate::intake::scim::schema::{LIST, provider, schemas, user_type};
use crate::service::ServiceError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

/// These lists are not searched.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Unfiltered {
    /// Refused.
    filter: Option<String>,
}

impl Unfiltered {
    /// A filter here is forbidden (RFC 7644 section 4).
    fn check(&self) -> Result<(), Refusal> {
        match self.filter {
            None => Ok(()),
            Some(_) => Err(ServiceError::Forbidden("no filter").into()),
        }
    }
}

fn base(edge: &Edge) -> String {
    format!("{}/scim/v2", edge.app.issuer)
}

fn all(resources: &[Value]) -> Response {
    let body = json!({ "schemas": [LIST], "totalResults": resources.len(), "startIndex": 1,
        "itemsPerPage": resources.len(), "Resources": resources });
    fresh(StatusCode::OK, &body)
}

fn one(resources: Vec<Value>, id: &str) -> Result<Response, Refusal> {
    let found = resources.into_iter().find(|resource| resource["id"].as_str() == Some(id));
    Ok(fresh(StatusCode::OK, &found.ok_or(ServiceError::NotFound("resource"))?))
}

/// What this service can do.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim", params(Unfiltered),
    responses((status = 200, description = "the configuration", content_type = "application/scim+json"), (status = 400, description = "the query cannot be used", content_type = "application/scim+json"), (status = 403, description = "no filter", content_type = "application/scim+json")))]
pub async fn service(State(edge): State<Edge>, Query(asked): Query<Unfiltered>) -> Result<Response, Refusal> {
    asked.check()?;
    Ok(fresh(StatusCode::OK, &provider(&base(&edge))))
}

/// Kinds of resources.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim", params(Unfiltered),
    responses((status = 200, description = "a list", content_type = "application/scim+json"), (status = 400, description = "the query cannot be used", content_type = "application/scim+json"), (status = 403, description = "no filter", content_type = "application/scim+json")))]
pub async fn resource_types(State(edge): State<Edge>, Query(asked): Query<Unfiltered>) -> Result<Response, Refusal> {
    asked.check()?;
    Ok(all(&[user_type(&base(&edge))]))
}

/// One kind of resource.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{id}", tag = "scim", params(("id" = String, Path)),
    responses((status = 200, description = "the kind", content_type = "application/scim+json"), (status = 404, description = "no such kind", content_type = "application/scim+json")))]
pub async fn resource_type(State(edge): State<Edge>, Path(id): Path<String>) -> Result<Response, Refusal> {
    one(vec![user_type(&base(&edge))], &id)
}

/// What resources are made of.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim", params(Unfiltered),
    responses((status = 200, description = "a list", content_type = "application/scim+json"), (status = 400, description = "the query cannot be used", content_type = "application/scim+json"), (status = 403, description = "no filter", content_type = "application/scim+json")))]
pub async fn all_schemas(State(edge): State<Edge>, Query(asked): Query<Unfiltered>) -> Result<Response, Refusal> {
    asked.check()?;
    Ok(all(&schemas(&base(&edge))))
}

/// One schema, by its URN.
#[utoipa::path(get, path = "/scim/v2/Schemas/{id}", tag = "scim", params(("id" = String, Path)),
    responses((status = 200, description = "the schema", content_type = "application/scim+json"), (status = 404, description = "no such schema", content_type = "application/scim+json")))]
pub async fn schema(State(edge): State<Edge>, Path(id): Path<String>) -> Result<Response, Refusal> {
    one(schemas(&base(&edge)), &id)
}
