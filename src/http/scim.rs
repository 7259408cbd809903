//! `/scim/v2`: users of an organisation's directory (RFC 7644), in the standard's own words and with its own errors.

mod answer;
pub mod discovery;
mod projection;

use super::Edge;
use super::extract::{Presented, Query, Raw, authenticate, parse_value, presented};
use super::problem::Problem;
use crate::intake::scim::filter::Question;
use crate::intake::scim::schema::{LIST, SEARCH};
use crate::intake::scim::{Fault, FaultKind, Profile, check_schemas, member};
use crate::service::directories::{Provisioner, is_directory_token};
use crate::service::scim::{Asked, Told};
pub(super) use answer::in_words_of_scim;
use answer::{Refusal, fresh, if_match, resource};
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use projection::Projection;
use serde::Deserialize;
use serde_json::{Value, json};

/// The directory that asks, by its own token or by an access token with the scope `scim`.
#[derive(Debug, Clone)]
pub struct Asker(pub(super) Provisioner);

/// Who asks, for its rate limit.
pub(super) async fn asker_id(edge: &Edge, headers: &HeaderMap) -> Option<String> {
    match presented(headers) {
        Presented::Bearer(token) if is_directory_token(token) => {
            Some(edge.app.directory_of_token(token).ok()?.directory.id.clone())
        }
        Presented::Bearer(token) | Presented::Dpop { token, .. } => Some(edge.app.recognise(token).await?.id),
        Presented::None | Presented::Unreadable => None,
    }
}

impl FromRequestParts<Edge> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        if let Presented::Bearer(token) = presented(&parts.headers)
            && is_directory_token(token)
        {
            let found = edge.app.directory_of_token(token);
            return found.map(Self).map_err(|error| Problem::from(error).challenged("Bearer", "invalid_token"));
        }
        let caller = authenticate(edge, parts).await?;
        Ok(Self(edge.app.directory_of_client(&caller)?))
    }
}

/// A body of SCIM: JSON without repeated members.
#[derive(Debug)]
pub struct Body(Value);

impl FromRequest<Edge> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|value| value.split(';').next()).map(|kind| kind.trim().to_ascii_lowercase());
        if !matches!(kind.as_deref(), Some("application/scim+json" | "application/json")) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send `application/scim+json`",
            ));
        }
        let Raw(bytes): Raw = Raw::from_request(request, edge).await?;
        parse_value(&bytes).map(Self)
    }
}

/// What part of a resource is told.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Shown {
    /// Only these attributes, by commas.
    attributes: Option<String>,
    /// All but these.
    #[serde(rename = "excludedAttributes")]
    excluded: Option<String>,
}

/// Which users.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Find {
    /// RFC 7644 section 3.4.2.2.
    filter: Option<String>,
    /// The place of the first, from 1.
    #[serde(rename = "startIndex")]
    start_index: Option<i64>,
    /// At most so many.
    count: Option<i64>,
    /// Only these attributes, by commas.
    attributes: Option<String>,
    /// All but these.
    #[serde(rename = "excludedAttributes")]
    excluded: Option<String>,
}

impl Shown {
    fn projection(&self) -> Result<Projection, Fault> {
        let list = |text: &Option<String>| text.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
        Projection::new(list(&self.attributes), list(&self.excluded))
    }
}

impl Find {
    fn asked(&self) -> Result<Asked, Fault> {
        // A place before the first is the first, less than none is none (RFC 7644 section 3.4.2.4).
        let whole = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
        Ok(Asked {
            question: self.filter.as_deref().map(Question::parse).transpose()?,
            start_index: whole(self.start_index.unwrap_or(1)).max(1),
            count: self.count.map(whole),
        })
    }
}

async fn listed(edge: &Edge, asker: &Provisioner, asked: &Asked, projection: &Projection) -> Result<Response, Refusal> {
    let listed = edge.app.scim_list(asker, asked).await?;
    let resources: Vec<Value> = listed.resources.into_iter().map(|user| projection.of(user)).collect();
    let body = json!({ "schemas": [LIST], "totalResults": listed.total, "startIndex": listed.start_index,
        "itemsPerPage": resources.len(), "Resources": resources });
    Ok(fresh(StatusCode::OK, &body))
}

fn told(status: StatusCode, told: Told, projection: &Projection) -> Response {
    resource(status, &told.tag, &projection.of(told.resource))
}

/// Users of the directory.
#[utoipa::path(get, path = "/scim/v2/Users", tag = "scim", params(Find), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "a list", content_type = "application/scim+json"), (status = 400, description = "the filter or a parameter cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn list(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Query(find): Query<Find>,
) -> Result<Response, Refusal> {
    let shown = Shown { attributes: find.attributes.clone(), excluded: find.excluded.clone() };
    listed(&edge, &asker, &find.asked()?, &shown.projection()?).await
}

async fn searched(edge: &Edge, asker: &Provisioner, body: &Value) -> Result<Response, Refusal> {
    let malformed = |detail| Fault { kind: FaultKind::InvalidSyntax, detail };
    let members = body.as_object().ok_or_else(|| malformed("the body is no object"))?;
    check_schemas(members, SEARCH)?;
    let number = |name| match member(members, name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| malformed("`startIndex` and `count` are whole numbers")),
    };
    let texts = |name| -> Result<Vec<String>, Fault> {
        match member(members, name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|_| malformed("`attributes` and `excludedAttributes` are lists of texts")),
        }
    };
    let filter = match member(members, "filter") {
        None | Some(Value::Null) => None,
        Some(Value::String(filter)) => Some(filter.clone()),
        Some(_) => return Err(Fault { kind: FaultKind::InvalidFilter, detail: "`filter` is no text" }.into()),
    };
    let projection = Projection::new(texts("attributes")?, texts("excludedAttributes")?)?;
    let find =
        Find { filter, start_index: number("startIndex")?, count: number("count")?, attributes: None, excluded: None };
    listed(edge, asker, &find.asked()?, &projection).await
}

/// Users of the directory, the question in the body.
#[utoipa::path(post, path = "/scim/v2/Users/.search", tag = "scim", request_body(content = Object, content_type = "application/scim+json"), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "a list", content_type = "application/scim+json"), (status = 400, description = "the question cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client", content_type = "application/scim+json"), (status = 413, description = "too large", content_type = "application/scim+json"), (status = 415, description = "not JSON", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn search(State(edge): State<Edge>, Asker(asker): Asker, Body(body): Body) -> Result<Response, Refusal> {
    searched(&edge, &asker, &body).await
}

/// Everything of the directory: its users.
#[utoipa::path(post, path = "/scim/v2/.search", tag = "scim", request_body(content = Object, content_type = "application/scim+json"), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "a list", content_type = "application/scim+json"), (status = 400, description = "the question cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client", content_type = "application/scim+json"), (status = 413, description = "too large", content_type = "application/scim+json"), (status = 415, description = "not JSON", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn search_all(State(edge): State<Edge>, Asker(asker): Asker, Body(body): Body) -> Result<Response, Refusal> {
    searched(&edge, &asker, &body).await
}

/// Puts a person into the directory.
#[utoipa::path(post, path = "/scim/v2/Users", tag = "scim", params(Shown), request_body(content = Object, content_type = "application/scim+json"), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 201, description = "created", content_type = "application/scim+json"), (status = 400, description = "the body cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client, or suspended", content_type = "application/scim+json"), (status = 409, description = "`userName` or `externalId` is taken", content_type = "application/scim+json"), (status = 413, description = "too large", content_type = "application/scim+json"), (status = 415, description = "not JSON", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn create(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Query(shown): Query<Shown>,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let projection = shown.projection()?;
    let created = edge.app.scim_create(&asker, Profile::parse(&body)?).await?;
    let location = created.resource.pointer("/meta/location").and_then(Value::as_str).map(str::to_owned);
    let mut response = told(StatusCode::CREATED, created, &projection);
    if let Some(location) = location.and_then(|text| text.try_into().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// One user.
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), Shown, ("If-None-Match" = Option<String>, Header)), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "the user", content_type = "application/scim+json"), (status = 304, description = "as you have it"), (status = 400, description = "a parameter cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client", content_type = "application/scim+json"), (status = 404, description = "no such user", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn show(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let projection = shown.projection()?;
    let user = edge.app.scim_user(&asker, &id).await?;
    if answer::is_known(&headers, &user.tag) {
        return Ok(answer::not_modified(&user.tag));
    }
    Ok(told(StatusCode::OK, user, &projection))
}

/// Replaces what the directory says of a user.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), Shown, ("If-Match" = Option<String>, Header)), request_body(content = Object, content_type = "application/scim+json"), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "the user", content_type = "application/scim+json"), (status = 400, description = "the body cannot be used", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client, or suspended", content_type = "application/scim+json"), (status = 404, description = "no such user", content_type = "application/scim+json"), (status = 409, description = "`userName` or `externalId` is taken", content_type = "application/scim+json"), (status = 412, description = "another version", content_type = "application/scim+json"), (status = 413, description = "too large", content_type = "application/scim+json"), (status = 415, description = "not JSON", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn replace(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let projection = shown.projection()?;
    let replaced = Profile::parse(&body)?;
    let change = |before: &Profile| {
        let mut after = replaced.clone();
        // Whoever does not say whether somebody is a member changes nothing about it.
        after.active_unless_said(before.members().get("active"));
        Ok(after)
    };
    let expected = if_match(&headers);
    let user = edge.app.scim_change(&asker, &id, expected.as_deref(), change).await?;
    Ok(told(StatusCode::OK, user, &projection))
}

/// Changes a part of what the directory says of a user.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), Shown, ("If-Match" = Option<String>, Header)), request_body(content = Object, content_type = "application/scim+json"), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 200, description = "the user", content_type = "application/scim+json"), (status = 400, description = "the change cannot be made", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client, or suspended", content_type = "application/scim+json"), (status = 404, description = "no such user", content_type = "application/scim+json"), (status = 409, description = "`userName` or `externalId` is taken", content_type = "application/scim+json"), (status = 412, description = "another version", content_type = "application/scim+json"), (status = 413, description = "too large", content_type = "application/scim+json"), (status = 415, description = "not JSON", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn change(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let projection = shown.projection()?;
    let expected = if_match(&headers);
    let user = edge.app.scim_change(&asker, &id, expected.as_deref(), |before| before.patched(&body)).await?;
    Ok(told(StatusCode::OK, user, &projection))
}

/// Takes a person out of the directory.
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "scim", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["scim"]), ("directory" = [])),
    responses((status = 204, description = "gone"), (status = 400, description = "a header cannot be read", content_type = "application/scim+json"), (status = 401, description = "no valid token", content_type = "application/scim+json"), (status = 403, description = "not a directory's client", content_type = "application/scim+json"), (status = 404, description = "no such user", content_type = "application/scim+json"), (status = 412, description = "another version", content_type = "application/scim+json"), (status = 503, description = "cannot know now", content_type = "application/scim+json")))]
pub async fn delete(
    State(edge): State<Edge>,
    Asker(asker): Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    edge.app.scim_delete(&asker, &id, if_match(&headers).as_deref()).await?;
    Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response())
}
