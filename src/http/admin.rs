//! Administration: organisations, sources, gateways, audiences.

use super::Edge;
use super::extract::{Auth, Checked, Page, Query, given};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::register::Settings;
use crate::service::world::{Audience, Gateway, Mode, Organisation, Source, Vendor, VendorSecrets};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::facts::{Grade, SourceKind};
use vouchsafe_core::ids::{ResourcePattern, SubjectId};

pub(super) fn patterns(list: &[String]) -> Result<Vec<ResourcePattern>, Problem> {
    list.iter()
        .enumerate()
        .map(|(index, text)| {
            ResourcePattern::parse(text)
                .map_err(|error| Problem::invalid().field(format!("/resources/{index}"), error.to_string()))
        })
        .collect()
}

/// An organisation to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganisation {
    /// `org_…`; absent means a new one.
    #[validate(length(min = 1, max = 80))]
    id: Option<String>,
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Whether its identity was verified.
    #[serde(default)]
    verified: bool,
    /// Public JWKs its vouches are signed with.
    #[serde(default)]
    #[validate(length(max = 16))]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// The subject that it is, of kind `organisation`; absent means a new one.
    #[validate(length(min = 1, max = 80))]
    subject: Option<String>,
}

/// A source to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `registry`, `document_vendor`, `reviewer`.
    #[schema(value_type = String)]
    kind: SourceKind,
    /// Corporate group that judges.
    #[validate(length(min = 1, max = 80))]
    assessor: Option<String>,
    /// Highest grade a client may claim for it.
    #[schema(value_type = Option<String>)]
    max_grade: Option<Grade>,
    /// Native vendor.
    #[validate(nested)]
    vendor: Option<NewVendor>,
}

/// Settings and secrets of a native vendor.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVendor {
    /// `onfido`, `stripe`.
    #[validate(length(min = 1, max = 40))]
    name: String,
    /// API origin, such as `https://api.eu.onfido.com` or `https://api.stripe.com`.
    #[validate(length(min = 1, max = 200))]
    base_url: String,
    /// Webhook tokens, for Stripe the endpoint's signing secrets; two while one is rotated.
    #[validate(length(min = 1, max = 2))]
    webhook_tokens: Vec<String>,
    /// API token, for Stripe a restricted key that may see sensitive verification results.
    #[validate(length(min = 1, max = 400))]
    api_token: String,
    /// Accept results of test environments.
    #[serde(default)]
    test_only: bool,
}

/// A gateway to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGateway {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Resources and families it guards.
    #[validate(length(min = 1, max = 100))]
    resources: Vec<String>,
    /// Audience whose tokens it accepts.
    #[validate(length(min = 1, max = 200))]
    audience: String,
    /// Whether it may assert callers it authenticated itself.
    #[serde(default)]
    asserts: bool,
    /// 403, or 451 where the gateway passes it on.
    deny_status: Option<u16>,
    /// The origin by which callers know it, for tokens that are bound to a key.
    #[validate(length(min = 1, max = 200))]
    origin: Option<String>,
    /// A page for callers who were refused; it is told `reason`, `decision` and `request`.
    #[validate(length(min = 1, max = 500))]
    help_url: Option<String>,
    /// `asks` (default), `offline` (judges tokens by itself) or `both`.
    mode: Option<String>,
    /// How old the picture may be that it acts on, in seconds.
    bound_secs: Option<i64>,
}

/// What is to be changed of a gateway; what is absent stays, what is null is taken away.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayChange {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    name: Option<String>,
    /// Resources and families it guards.
    #[validate(length(min = 1, max = 100))]
    resources: Option<Vec<String>>,
    /// Whether it may assert callers it authenticated itself.
    asserts: Option<bool>,
    /// 403, or 451 where the gateway passes it on.
    deny_status: Option<u16>,
    /// The origin by which callers know it; null: none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    origin: Option<Option<String>>,
    /// A page for callers who were refused; null: none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    help_url: Option<Option<String>>,
    /// `asks`, `offline` or `both`.
    mode: Option<String>,
    /// How old the picture may be that it acts on, in seconds; null: what its mode promises.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    bound_secs: Option<Option<i64>>,
}

fn mode(text: Option<&str>) -> Result<Option<Mode>, Problem> {
    let parsed = text.map(|text| Mode::parse(text).ok_or_else(|| "must be `asks`, `offline` or `both`".to_owned()));
    parsed.transpose().map_err(|problem| Problem::invalid().field("/mode", problem))
}

/// An audience to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAudience {
    /// The `aud` of its tokens.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    id: String,
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `ES256` (default), `EdDSA`, `RS256`.
    alg: Option<String>,
    /// Resources and families its tokens may name.
    #[validate(length(min = 1, max = 100))]
    resources: Vec<String>,
    /// Whether its subjects are pairwise (default yes).
    pairwise: Option<bool>,
    /// Whether it receives status and confidence.
    #[serde(default)]
    details: bool,
}

/// Registers an organisation.
#[utoipa::path(post, path = "/v1/organisations", tag = "admin", request_body = NewOrganisation, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_organisation(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewOrganisation>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let actor = caller.actor();
    let fail = |_| Problem::invalid().field("/subject", "must be `sub_…`");
    let subject = new.subject.as_deref().map(SubjectId::parse).transpose().map_err(fail)?;
    let organisation =
        Organisation { name: new.name, verified: new.verified, keys: new.keys, subject, suspensions: Vec::new() };
    let (id, subject) = edge.app.create_organisation(&actor, new.id, organisation).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "subject": subject }))))
}

/// Registers a source.
#[utoipa::path(post, path = "/v1/sources", tag = "admin", request_body = NewSource, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_source(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewSource>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let actor = caller.actor();
    let (vendor, secrets) = match new.vendor {
        Some(vendor) => (
            Some(Vendor { name: vendor.name, base_url: vendor.base_url, production: !vendor.test_only }),
            Some(VendorSecrets { webhook_tokens: vendor.webhook_tokens, api_token: vendor.api_token }),
        ),
        None => (None, None),
    };
    let source = Source {
        name: new.name,
        kind: new.kind,
        assessor: new.assessor,
        max_grade: new.max_grade.unwrap_or(Grade::Strong),
        vendor,
        suspensions: Vec::new(),
    };
    let id = edge.app.create_source(&actor, source, secrets).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

/// Creates a gateway; its key is shown once.
#[utoipa::path(post, path = "/v1/gateways", tag = "admin", request_body = NewGateway, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_gateway(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewGateway>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let actor = caller.actor();
    let resources = patterns(&new.resources)?;
    let gateway = Gateway {
        id: String::new(),
        name: new.name,
        key_sha256: String::new(),
        former_key: None,
        disabled: false,
        resources,
        audience: new.audience,
        asserts: new.asserts,
        deny_status: new.deny_status.unwrap_or(403),
        origin: new.origin,
        help_url: new.help_url,
        mode: mode(new.mode.as_deref())?.unwrap_or_default(),
        bound_secs: new.bound_secs,
    };
    let created = edge.app.register_gateway(&actor, gateway).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": created.id, "key": created.secret }))))
}

/// Changes a gateway; its key stays as it is.
#[utoipa::path(patch, path = "/v1/gateways/{id}", tag = "admin", params(("id" = String, Path)), request_body = GatewayChange, security(("client" = ["admin"])),
    responses((status = 204, description = "changed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change_gateway(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<GatewayChange>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    let settings = Settings {
        name: new.name,
        resources: new.resources.as_deref().map(patterns).transpose()?,
        asserts: new.asserts,
        deny_status: new.deny_status,
        origin: new.origin,
        help_url: new.help_url,
        mode: mode(new.mode.as_deref())?,
        bound_secs: new.bound_secs,
    };
    edge.app.change_gateway(&caller.actor(), &id, settings).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a gateway gets another key.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// How long the key before goes on beside the new one, in seconds; 0 where it may have leaked.
    #[serde(default)]
    #[validate(range(min = 0, max = 604_800))]
    overlap_secs: i64,
}

/// Gives a gateway another key, shown once.
#[utoipa::path(post, path = "/v1/gateways/{id}/key", tag = "admin", params(("id" = String, Path)), request_body = NewKey, security(("client" = ["admin"])),
    responses((status = 200, description = "renewed"), (status = 400, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn renew_gateway_key(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewKey>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    let key = edge.app.renew_gateway_key(&caller.actor(), &id, new.overlap_secs).await?;
    Ok(Json(json!({ "id": id, "key": key })))
}

/// Switches a gateway off, at once: its key proves nothing, and what it listens to ends.
#[utoipa::path(post, path = "/v1/gateways/{id}/disable", tag = "admin", params(("id" = String, Path)), security(("client" = ["admin"])),
    responses((status = 204, description = "disabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn disable_gateway(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.disable_gateway(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a gateway on again, with the key that it had.
#[utoipa::path(post, path = "/v1/gateways/{id}/enable", tag = "admin", params(("id" = String, Path)), security(("client" = ["admin"])),
    responses((status = 204, description = "enabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn enable_gateway(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.enable_gateway(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Registers an audience of eligibility tokens.
#[utoipa::path(post, path = "/v1/audiences", tag = "admin", request_body = NewAudience, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_audience(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewAudience>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let actor = caller.actor();
    let audience = Audience {
        name: new.name,
        alg: new.alg.unwrap_or_else(|| "ES256".to_owned()),
        resources: patterns(&new.resources)?,
        pairwise: new.pairwise.unwrap_or(true),
        details: new.details,
    };
    edge.app.create_audience(&actor, &new.id, audience).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": new.id }))))
}

/// Organisations.
#[utoipa::path(get, path = "/v1/organisations", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_organisations(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "organisation", &page).await
}

/// Sources.
#[utoipa::path(get, path = "/v1/sources", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_sources(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "source", &page).await
}

/// Gateways.
#[utoipa::path(get, path = "/v1/gateways", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_gateways(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "gateway", &page).await
}

/// Audiences.
#[utoipa::path(get, path = "/v1/audiences", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list_audiences(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "audience", &page).await
}

shows! {
    show_organisation, "organisation", "/v1/organisations/{id}", "admin", "admin", "One organisation.";
    show_source, "source", "/v1/sources/{id}", "admin", "admin", "One source, without its secrets.";
    show_gateway, "gateway", "/v1/gateways/{id}", "admin", "admin", "One gateway, without its key.";
    show_audience, "audience", "/v1/audiences/{id}", "admin", "admin", "One audience.";
}
