//! Identity providers: whose ID tokens are exchanged, and who is told about eligibility.

use super::Edge;
use super::admin::patterns;
use super::conditional::IfMatch;
use super::extract::{Auth, Checked, Page, Query, given};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::identity::ProviderChange;
use crate::service::world::{Hook, IdentityProvider};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::policy::Disclosure;

/// How the hook of an identity provider proves itself.
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHook {
    /// `okta` or `entra`.
    #[validate(length(min = 1, max = 20))]
    #[schema(pattern = "^(okta|entra)$")]
    platform: String,
    /// Entra: the tenant's id.
    #[validate(length(min = 1, max = 80))]
    tenant: Option<String>,
    /// Entra: the id of the application that stands for this service.
    #[validate(length(min = 1, max = 200))]
    audience: Option<String>,
}

impl NewHook {
    fn read(self) -> Result<Hook, Problem> {
        match (self.platform.as_str(), self.tenant, self.audience) {
            ("okta", None, None) => Ok(Hook::Okta {}),
            ("okta", ..) => Err(Problem::invalid().field("/hook", "of `okta` has no `tenant` and no `audience`")),
            ("entra", Some(tenant), Some(audience)) => Ok(Hook::Entra { tenant, audience }),
            ("entra", ..) => Err(Problem::invalid().field("/hook", "of `entra` needs `tenant` and `audience`")),
            _ => Err(Problem::invalid().field("/hook/platform", "must be `okta` or `entra`")),
        }
    }
}

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
    #[serde(default)]
    #[validate(length(max = 100))]
    audiences: BTreeSet<String>,
    /// Namespace of the links under which its users (`sub`, their immutable ids) are known; of no other provider.
    #[validate(length(min = 1, max = 64))]
    namespace: String,
    /// The organisation whose people it knows, `org_…`.
    #[validate(length(min = 1, max = 80))]
    organisation: Option<String>,
    /// Resources and families it may ask about.
    #[serde(default)]
    #[validate(length(max = 100))]
    resources: Vec<String>,
    /// API clients that ask in its name, with `sso:claims`.
    #[serde(default)]
    #[validate(length(max = 20))]
    clients: BTreeSet<String>,
    /// How its hook proves itself.
    #[validate(nested)]
    hook: Option<NewHook>,
    /// Name of the claim that its hook is answered with; `eligibility` unless given.
    #[validate(length(min = 1, max = 40))]
    claim: Option<String>,
    /// What it may learn beside yes or no and until when: `status`, `confidence`, `evidence`.
    #[serde(default)]
    #[validate(length(max = 3))]
    discloses: BTreeSet<String>,
    /// The organisation's domains in which a user may be known by the name they sign in with.
    #[serde(default)]
    #[validate(length(max = 100))]
    email_domains: BTreeSet<String>,
    /// `ES256` (unless given), `EdDSA` or `RS256`, of claims that are provided.
    #[validate(length(min = 1, max = 20))]
    alg: Option<String>,
}

pub(crate) fn disclosures(names: &BTreeSet<String>) -> Result<BTreeSet<Disclosure>, Problem> {
    let parsed = names.iter().map(|name| Disclosure::parse(name));
    parsed
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::invalid().field("/discloses", "choose from `status`, `confidence`, `evidence`"))
}

/// Registers an identity provider; the secret of an Okta hook is shown once.
#[utoipa::path(post, path = "/v1/identity-providers", tag = "admin", request_body = NewIdentityProvider, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewIdentityProvider>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let provider = IdentityProvider {
        id: String::new(),
        name: new.name,
        issuer: new.issuer,
        keys: new.keys,
        jwks_uri: new.jwks_uri,
        audiences: new.audiences,
        namespace: new.namespace,
        organisation: new.organisation,
        resources: patterns(&new.resources)?,
        clients: new.clients,
        hook: new.hook.map(NewHook::read).transpose()?,
        hook_keys: Vec::new(),
        claim: new.claim.unwrap_or_else(|| "eligibility".to_owned()),
        discloses: disclosures(&new.discloses)?,
        email_domains: new.email_domains,
        alg: new.alg.unwrap_or_else(|| "ES256".to_owned()),
        disabled: false,
    };
    let created = edge.app.create_identity_provider(&caller.actor(), provider).await?;
    let mut body = json!({ "id": created.id });
    if let (Some(secret), Some(members)) = (created.secret, body.as_object_mut()) {
        members.insert("hook_secret".to_owned(), json!(secret));
    }
    Ok((StatusCode::CREATED, Json(body)))
}

/// What is to be changed of an identity provider; what is absent stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent, null and given are three things")]
pub struct IdentityProviderChange {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    name: Option<String>,
    /// Its public JWKs, in the place of those it had or of `jwks_uri`.
    #[validate(length(max = 8))]
    #[schema(value_type = Option<Vec<Object>>)]
    keys: Option<Vec<Value>>,
    /// Where its keys are fetched, in the place of `keys`.
    #[validate(length(min = 1, max = 500))]
    jwks_uri: Option<String>,
    /// Its clients whose ID tokens are accepted.
    #[validate(length(max = 100))]
    audiences: Option<BTreeSet<String>>,
    /// The organisation whose people it knows; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    organisation: Option<Option<String>>,
    /// Resources and families it may ask about.
    #[validate(length(max = 100))]
    resources: Option<Vec<String>>,
    /// API clients that ask in its name.
    #[validate(length(max = 20))]
    clients: Option<BTreeSet<String>>,
    /// How its hook proves itself; null for no hook. Another one ends the hook's secrets.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<NewHook>)]
    hook: Option<Option<NewHook>>,
    /// Name of the claim.
    #[validate(length(min = 1, max = 40))]
    claim: Option<String>,
    /// What it may learn beside yes or no and until when.
    #[validate(length(max = 3))]
    discloses: Option<BTreeSet<String>>,
    /// The organisation's domains in which sign-in names count.
    #[validate(length(max = 100))]
    email_domains: Option<BTreeSet<String>>,
    /// `ES256`, `EdDSA` or `RS256`.
    #[validate(length(min = 1, max = 20))]
    alg: Option<String>,
    /// True switches it off at once: its ID tokens, its clients' questions and its hook are refused.
    disabled: Option<bool>,
}

/// Changes an identity provider, or switches it off. Its issuer and namespace stay.
#[utoipa::path(patch, path = "/v1/identity-providers/{id}", tag = "admin", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = IdentityProviderChange, security(("client" = ["admin"])),
    responses((status = 204, description = "changed, its version as `ETag`"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<IdentityProviderChange>,
) -> Result<(StatusCode, [(header::HeaderName, String); 1]), Problem> {
    caller.require("admin")?;
    let change = ProviderChange {
        name: new.name,
        keys: new.keys,
        jwks_uri: new.jwks_uri,
        audiences: new.audiences,
        organisation: new.organisation,
        resources: new.resources.as_deref().map(patterns).transpose()?,
        clients: new.clients,
        hook: new.hook.map(|hook| hook.map(NewHook::read).transpose()).transpose()?,
        claim: new.claim,
        discloses: new.discloses.as_ref().map(disclosures).transpose()?,
        email_domains: new.email_domains,
        alg: new.alg,
        disabled: new.disabled,
    };
    let version = edge.app.change_identity_provider(&caller.actor(), &id, expected.0, change).await?;
    Ok((StatusCode::NO_CONTENT, [(header::ETAG, format!("\"{version}\""))]))
}

/// A new secret for a hook.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// For how many seconds the one before it is still taken, up to seven days.
    #[serde(default)]
    overlap_secs: i64,
}

/// Makes a new secret for an Okta hook; it is shown once.
#[utoipa::path(post, path = "/v1/identity-providers/{id}/secret", tag = "admin", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewSecret, security(("client" = ["admin"])),
    responses((status = 200, description = "the secret"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn renew_secret(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewSecret>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    let secret = edge.app.renew_hook_secret(&caller.actor(), &id, expected.0, new.overlap_secs).await?;
    Ok(Json(json!({ "id": id, "hook_secret": secret })))
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
