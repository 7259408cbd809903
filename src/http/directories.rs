//! Directories of organisations, and the tokens by which they provision.

use super::Edge;
use super::conditional::IfMatch;
use super::extract::{Auth, Checked, Page, Query};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::directories::DirectorySettings;
use crate::service::world::{Directory, EmailLinks};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::Disclosure;

/// Addresses that tell who a new person is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Emails {
    /// Namespace of the links from addresses to subjects.
    #[validate(length(min = 1, max = 64))]
    namespace: String,
    /// The organisation's own domains.
    #[validate(length(min = 1, max = 32))]
    domains: BTreeSet<String>,
}

/// A directory to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDirectory {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The organisation that it speaks for.
    #[validate(length(min = 1, max = 80))]
    organisation: String,
    /// Namespace of the links by the directory's own ids, of no other directory; its id is made of it.
    #[validate(length(min = 1, max = 64))]
    namespace: String,
    /// Resources of which it is told whether its people may use them.
    #[serde(default)]
    #[validate(length(max = 8))]
    resources: BTreeSet<String>,
    /// What it is told beyond that: `status`, `confidence`.
    #[serde(default)]
    #[validate(length(max = 2))]
    discloses: BTreeSet<String>,
    /// By which addresses a new person may be found; by none unless given.
    #[validate(nested)]
    emails: Option<Emails>,
}

/// What is to be changed of a directory; what is absent stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryChange {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    name: Option<String>,
    /// Resources of which it is told whether its people may use them.
    #[validate(length(max = 8))]
    resources: Option<BTreeSet<String>>,
    /// What it is told beyond that: `status`, `confidence`.
    #[validate(length(max = 2))]
    discloses: Option<BTreeSet<String>>,
    /// By which addresses a new person may be found.
    #[validate(nested)]
    emails: Option<Emails>,
    /// By none any more.
    #[serde(default)]
    without_emails: bool,
    /// Whether it is switched off: none of its tokens is good then.
    disabled: Option<bool>,
}

/// A token to make.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// When it ends, RFC 3339; never, unless given.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Second>,
}

fn resources(list: &BTreeSet<String>) -> Result<BTreeSet<ResourceId>, Problem> {
    let parse = |(index, text): (usize, &String)| {
        ResourceId::parse(text)
            .map_err(|error| Problem::invalid().field(format!("/resources/{index}"), error.to_string()))
    };
    list.iter().enumerate().map(parse).collect()
}

fn discloses(list: &BTreeSet<String>) -> Result<BTreeSet<Disclosure>, Problem> {
    // Evidence is for those who ask about a sign-in; see `docs/sso.md`.
    let told = |name: &String| Disclosure::parse(name).filter(|disclosure| *disclosure != Disclosure::Evidence);
    let found: Option<_> = list.iter().map(told).collect();
    found.ok_or_else(|| Problem::invalid().field("/discloses", "choose from `status` and `confidence`"))
}

impl From<Emails> for EmailLinks {
    fn from(emails: Emails) -> Self {
        Self { namespace: emails.namespace, domains: emails.domains }
    }
}

/// Registers a directory; it can ask once it has a token.
#[utoipa::path(post, path = "/v1/directories", tag = "directories", request_body = NewDirectory, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewDirectory>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let directory = Directory {
        id: String::new(),
        name: new.name,
        organisation: new.organisation,
        namespace: new.namespace,
        resources: resources(&new.resources)?,
        discloses: discloses(&new.discloses)?,
        emails: new.emails.map(EmailLinks::from),
        tokens: Vec::new(),
        disabled: false,
    };
    let id = edge.app.create_directory(&caller.actor(), directory).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

/// Changes a directory; its organisation and namespace stay. `If-Match` names the record's version.
#[utoipa::path(patch, path = "/v1/directories/{id}", tag = "directories", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = DirectoryChange, security(("client" = ["admin"])),
    responses((status = 204, description = "changed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<DirectoryChange>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    let emails = match (new.emails, new.without_emails) {
        (Some(_), true) => return Err(Problem::invalid().field("/without_emails", "does not go with `emails`")),
        (None, true) => Some(None),
        (emails, false) => emails.map(|emails| Some(emails.into())),
    };
    let settings = DirectorySettings {
        name: new.name,
        resources: new.resources.as_ref().map(resources).transpose()?,
        discloses: new.discloses.as_ref().map(discloses).transpose()?,
        emails,
        disabled: new.disabled,
    };
    edge.app.change_directory(&caller.actor(), &id, settings, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a token for a directory; it is shown once, and the others stay good.
#[utoipa::path(post, path = "/v1/directories/{id}/tokens", tag = "directories", params(("id" = String, Path)), request_body = NewToken, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_token(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewToken>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let created = edge.app.create_directory_token(&caller.actor(), &id, new.expires_at).await?;
    let body = json!({ "id": created.id, "token": created.token, "expires_at": created.expires_at });
    Ok((StatusCode::CREATED, Json(body)))
}

/// Ends a token of a directory at once.
#[utoipa::path(delete, path = "/v1/directories/{id}/tokens/{token}", tag = "directories", params(("id" = String, Path), ("token" = String, Path)), security(("client" = ["admin"])),
    responses((status = 204, description = "revoked"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn revoke_token(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path((id, token)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.revoke_directory_token(&caller.actor(), &id, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Directories, with their tokens but for the secrets.
#[utoipa::path(get, path = "/v1/directories", tag = "directories", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "directory", &page).await
}

shows! {
    show, "directory", "/v1/directories/{id}", "directories", "admin", "One directory, with its tokens but for the secrets.";
}
