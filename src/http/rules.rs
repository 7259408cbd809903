//! Policies, definition packs, sets and directives.

use super::Edge;
use super::conditional::IfMatch;
use super::extract::{Auth, Page, Query, Raw, page_body, parse_value, without_nul};
use super::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use vouchsafe_core::document::Document;

/// A rules document: TOML as lawyers read it, or the same as JSON.
fn document(headers: &HeaderMap, body: &[u8]) -> Result<Document, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/toml") {
        let text = std::str::from_utf8(body).map_err(|_| Problem::invalid().field("", "is not UTF-8"))?;
        let document = Document::from_toml(text).map_err(|findings| Problem::findings(&findings))?;
        without_nul(&document.value)?;
        return Ok(document);
    }
    if kind.starts_with("application/json") {
        return Ok(Document::from_json(parse_value(body)?));
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "send `application/toml` or `application/json`",
    ))
}

/// Commits a policy as its next version; it acts once a directive activates it. A refusal tells everything that is wrong.
#[utoipa::path(post, path = "/v1/policies", tag = "rules", request_body(content((String = "application/toml"), (Object = "application/json"))), security(("client" = ["rules:write"])),
    responses((status = 201, description = "committed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_policy(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("rules:write")?;
    let committed = edge.app.commit_policy(&caller.actor(), document(&headers, &body)?).await?;
    Ok((StatusCode::CREATED, Json(json!(committed))))
}

/// Adds a definition pack version.
#[utoipa::path(post, path = "/v1/definitions", tag = "rules", request_body(content((String = "application/toml"), (Object = "application/json"))), security(("client" = ["rules:write"])),
    responses((status = 201, description = "added"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_definition(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("rules:write")?;
    let committed = edge.app.commit_definition(&caller.actor(), document(&headers, &body)?).await?;
    Ok((StatusCode::CREATED, Json(json!(committed))))
}

/// Adds a named, dated set.
#[utoipa::path(post, path = "/v1/sets", tag = "rules", request_body(content((String = "application/toml"), (Object = "application/json"))), security(("client" = ["rules:write"])),
    responses((status = 201, description = "added"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_set(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("rules:write")?;
    let committed = edge.app.commit_set(&caller.actor(), document(&headers, &body)?).await?;
    Ok((StatusCode::CREATED, Json(json!(committed))))
}

/// Proposes a directive. A freeze acts at once; loosening waits for a second person.
#[utoipa::path(post, path = "/v1/directives", tag = "rules", request_body(content((String = "application/toml"), (Object = "application/json"))), security(("client" = ["directives:propose"])),
    responses((status = 201, description = "proposed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn propose(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("directives:propose")?;
    let (directive, findings) = vouchsafe_core::check::read(&mut document(&headers, &body)?);
    let directive = directive.ok_or_else(|| Problem::findings(&findings))?;
    let state = edge.app.propose(&caller, directive).await?;
    Ok((StatusCode::CREATED, Json(json!(state))))
}

/// Approves a directive as another person.
#[utoipa::path(post, path = "/v1/directives/{id}/approve", tag = "rules", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["directives:approve"])),
    responses((status = 200, description = "approved"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn approve(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<Json<Value>, Problem> {
    caller.require("directives:approve")?;
    Ok(Json(json!(edge.app.approve(&caller, &id, expected.0.as_deref()).await?)))
}

/// A route that shows one record of a kind.
macro_rules! shows {
    ($($name:ident, $kind:literal, $path:literal, $tag:literal, $scope:literal, $text:literal;)*) => {$(
        #[doc = $text]
        #[utoipa::path(get, path = $path, tag = $tag, params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)), security(("client" = [$scope])),
            responses((status = 200, description = "the record, its version as `ETag`"), (status = 304, description = "as you have it"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
        pub async fn $name(
            axum::extract::State(edge): axum::extract::State<$crate::http::Edge>,
            $crate::http::extract::Auth(caller): $crate::http::extract::Auth,
            axum::extract::Path(id): axum::extract::Path<String>,
            headers: axum::http::HeaderMap,
        ) -> Result<axum::response::Response, Problem> {
            caller.require($scope)?;
            let (version, record) = edge.app.show($kind, &id).await?;
            Ok($crate::http::conditional::at_version(&headers, version, &record))
        }
    )*};
}
pub(crate) use shows;

shows! {
    show_directive, "directive", "/v1/directives/{id}", "rules", "rules:read", "One directive with its approvals.";
    show_policy, "policy", "/v1/policies/{id}", "rules", "rules:read", "One policy version, as `name@version`.";
    show_definition, "definition", "/v1/definitions/{id}", "rules", "rules:read", "One definition pack version, as `name@version`.";
    show_set, "set", "/v1/sets/{id}", "rules", "rules:read", "One set, as `name@date`.";
}

/// A page of records of a kind.
pub(crate) async fn records(edge: &Edge, kind: &str, page: &Page) -> Result<Json<Value>, Problem> {
    let (limit, after) = page.bounds()?;
    let items = edge.app.list(kind, after, limit).await?;
    let last = items.last().and_then(|item| item.get("id")?.as_str().map(str::to_owned));
    Ok(page_body(&items, limit, last))
}

/// Policies, all versions.
#[utoipa::path(get, path = "/v1/policies", tag = "rules", params(Page), security(("client" = ["rules:read"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_policies(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("rules:read")?;
    records(&edge, "policy", &page).await
}

/// Definition packs, all versions.
#[utoipa::path(get, path = "/v1/definitions", tag = "rules", params(Page), security(("client" = ["rules:read"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_definitions(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("rules:read")?;
    records(&edge, "definition", &page).await
}

/// Sets.
#[utoipa::path(get, path = "/v1/sets", tag = "rules", params(Page), security(("client" = ["rules:read"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_sets(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("rules:read")?;
    records(&edge, "set", &page).await
}

/// Directives.
#[utoipa::path(get, path = "/v1/directives", tag = "rules", params(Page), security(("client" = ["rules:read"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_directives(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("rules:read")?;
    records(&edge, "directive", &page).await
}
