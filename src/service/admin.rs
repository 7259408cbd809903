//! Administration: clients, gateways, audiences, sources, organisations, packs, sets, policies.

use super::world::{Audience, Gateway, Mode, Organisation, Source, VendorSecrets};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::{new_secret, sha256_hex};
use crate::intake::native::Native;
use crate::storage::{Change, FeedRow, Record, Write};
use crate::token::keys::{Algorithm, Purpose};
use serde_json::{Value, json};
use vouchsafe_core::facts::{SourceKind, SubjectKind};
use vouchsafe_core::ids::{OrganisationId, ResourcePattern, SubjectId};

/// Every scope a client can hold.
pub const SCOPES: [&str; 31] = [
    "subjects:read",
    "subjects:write",
    "subjects:export",
    "subjects:erase",
    "subjects:hold",
    "attestations:read",
    "attestations:write",
    "vouches:write",
    "end_users:write",
    "observations:write",
    "eligibility:read",
    "access:evaluate",
    "access:search",
    "decisions:explain",
    "tokens:issue",
    "tokens:introspect",
    "tokens:revoke",
    "cases:read",
    "appeals:read",
    "appeals:write",
    "admissions:read",
    "sso:claims",
    "rules:read",
    "rules:write",
    "directives:propose",
    "directives:approve",
    "scim",
    "webhooks",
    "ssf.read",
    "ssf.manage",
    "admin",
];

/// A secret shown once.
#[derive(Debug)]
pub struct Created {
    /// The id.
    pub id: String,
    /// The secret, never stored in clear.
    pub secret: String,
}

pub(crate) fn name_ok(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= 200
}

/// Whether a text is scheme, host and port, as a browser would write them.
fn is_origin(text: &str) -> bool {
    text.len() <= 200
        && reqwest::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.origin().ascii_serialization() == text)
}

/// Whether a text is the address of a page that people may be sent to.
fn is_page(text: &str) -> bool {
    text.len() <= 500
        && reqwest::Url::parse(text).is_ok_and(|url| {
            let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
            let safe = url.scheme() == "https" || (url.scheme() == "http" && loopback);
            safe && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        })
}

/// Whether a gateway can be what it is said to be.
pub(crate) fn check_settings(gateway: &Gateway) -> ServiceResult<()> {
    if !name_ok(&gateway.name) {
        return Err(invalid("/name", "give a name of 1 to 200 characters"));
    }
    if gateway.resources.is_empty() {
        return Err(invalid("/resources", "names no resource"));
    }
    if !matches!(gateway.deny_status, 403 | 451) {
        return Err(invalid("/deny_status", "must be 403 or 451"));
    }
    if gateway.origin.as_deref().is_some_and(|origin| !is_origin(origin)) {
        return Err(invalid("/origin", "must be an origin such as `https://api.example`, without path"));
    }
    if gateway.bound_secs.is_some_and(|bound| !(0..=86_400).contains(&bound)) {
        return Err(invalid("/bound_secs", "must be from 0 to 86400"));
    }
    if gateway.help_url.as_deref().is_some_and(|url| !is_page(url)) {
        return Err(invalid("/help_url", "must be an https address, without a user's name and without fragment"));
    }
    Ok(())
}

impl App {
    /// Creates a gateway; its key `id.secret` is shown once.
    ///
    /// # Errors
    /// `Invalid` for an unknown audience or a status it cannot pass on.
    pub async fn create_gateway(
        &self,
        actor: &Actor,
        name: &str,
        resources: Vec<ResourcePattern>,
        audience: &str,
        asserts: bool,
        deny_status: u16,
    ) -> ServiceResult<Created> {
        let (name, audience) = (name.to_owned(), audience.to_owned());
        let key_sha256 = String::new();
        let (origin, help_url, mode, bound_secs) = (None, None, Mode::Asks, None);
        let id = String::new();
        let gateway = Gateway {
            id,
            name,
            key_sha256,
            former_key: None,
            disabled: false,
            resources,
            audience,
            asserts,
            deny_status,
            origin,
            help_url,
            mode,
            bound_secs,
        };
        self.register_gateway(actor, gateway).await
    }

    /// Creates a gateway of these settings; its key is made here.
    ///
    /// # Errors
    /// As [`App::create_gateway`]; `Invalid` for an origin that is none.
    pub async fn register_gateway(&self, actor: &Actor, mut gateway: Gateway) -> ServiceResult<Created> {
        check_settings(&gateway)?;
        if !self.world.load().audiences.contains_key(&gateway.audience) {
            return Err(invalid("/audience", "no such audience"));
        }
        let id = self.id("gw")?;
        let secret = new_secret()?;
        let detail = json!({ "resources": gateway.resources, "audience": gateway.audience });
        gateway.key_sha256 = sha256_hex(secret.as_bytes());
        self.create_record(actor, "gateway", &id, &gateway, None, detail).await?;
        Ok(Created { secret: format!("{id}.{secret}"), id })
    }

    /// Registers an audience under a name of the caller's choice.
    ///
    /// # Errors
    /// `Invalid`, `Conflict`.
    pub async fn create_audience(&self, actor: &Actor, id: &str, audience: Audience) -> ServiceResult<()> {
        if id.is_empty() || id.len() > 200 || id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid("/id", "use 1 to 200 characters without blanks"));
        }
        if audience.resources.is_empty() {
            return Err(invalid("/resources", "names no resource"));
        }
        let alg = Algorithm::parse(&audience.alg).ok_or_else(|| invalid("/alg", "must be ES256, EdDSA or RS256"))?;
        self.ensure_key(Purpose::Eligibility, alg).await?;
        let detail = json!({ "resources": audience.resources, "pairwise": audience.pairwise, "alg": audience.alg });
        self.create_record(actor, "audience", id, &audience, None, detail).await
    }

    /// Registers a source.
    ///
    /// # Errors
    /// `Invalid` when vendor settings and secrets do not fit together.
    pub async fn create_source(
        &self,
        actor: &Actor,
        source: Source,
        secrets: Option<VendorSecrets>,
    ) -> ServiceResult<String> {
        if !name_ok(&source.name) {
            return Err(invalid("/name", "give a name of 1 to 200 characters"));
        }
        if !matches!(source.kind, SourceKind::Registry | SourceKind::DocumentVendor | SourceKind::Reviewer) {
            return Err(invalid(
                "/kind",
                "a source is a registry, a document_vendor or a reviewer; organisations, networks and subjects speak by their own paths",
            ));
        }
        let id = self.id("src")?;
        let sealed = match (&source.vendor, &secrets) {
            (None, None) => None,
            (Some(vendor), Some(secrets)) => {
                if vendor.production && self.deployment.is_test() {
                    let problem = "a test deployment takes no real person's results: set `test_only`";
                    return Err(invalid("/vendor/test_only", problem));
                }
                if Native::parse(&vendor.name).is_none() {
                    return Err(invalid("/vendor/name", format!("is no native vendor; there are: {}", Native::NAMES)));
                }
                let url =
                    reqwest::Url::parse(&vendor.base_url).map_err(|_| invalid("/vendor/base_url", "is not a URL"))?;
                let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
                if url.scheme() != "https" && !loopback {
                    return Err(invalid("/vendor/base_url", "must be https"));
                }
                if secrets.webhook_tokens.is_empty() || secrets.webhook_tokens.iter().any(|token| token.len() < 16) {
                    return Err(invalid("/vendor/webhook_tokens", "needs one or two tokens of at least 16 characters"));
                }
                let plain = serde_json::to_vec(secrets).map_err(|_| ServiceError::Unreadable("secrets".to_owned()))?;
                Some(self.crypto.seal_secret(&format!("source/{id}"), &plain)?)
            }
            _ => return Err(invalid("/vendor", "settings and secrets go together")),
        };
        let detail = json!({ "kind": source.kind, "vendor": source.vendor.as_ref().map(|vendor| &vendor.name) });
        self.create_record(actor, "source", &id, &source, sealed, detail).await?;
        Ok(id)
    }

    /// Registers an organisation, under a given id (`org_…`) or a new one, and the subject that it is, if none is named.
    ///
    /// # Errors
    /// `Invalid` for a key we could not verify with or a subject of another kind, `Conflict` for a taken id.
    pub async fn create_organisation(
        &self,
        actor: &Actor,
        id: Option<String>,
        mut organisation: Organisation,
    ) -> ServiceResult<(String, SubjectId)> {
        if !name_ok(&organisation.name) {
            return Err(invalid("/name", "give a name of 1 to 200 characters"));
        }
        let id = match id {
            Some(id) => OrganisationId::parse(&id).map_err(|error| invalid("/id", error.to_string()))?.to_string(),
            None => self.id("org")?,
        };
        for (index, jwk) in organisation.keys.iter().enumerate() {
            let has = |name: &str| jwk.get(name).and_then(Value::as_str).is_some();
            if !has("kid") || !has("kty") || jwk.get("d").is_some() {
                return Err(invalid(&format!("/keys/{index}"), "must be a public JWK with `kid` and `kty`"));
            }
        }
        let mut writes = Vec::new();
        let mut audit = Vec::new();
        let mut feed = Vec::new();
        let subject = match organisation.subject.clone() {
            Some(subject) => {
                let found = self.store.subject(subject.as_str()).await?.filter(|found| found.state == "active");
                if found.is_none_or(|found| found.kind != SubjectKind::Organisation.as_str()) {
                    return Err(invalid("/subject", "is no subject of kind `organisation`"));
                }
                subject
            }
            None => {
                let (new, _, entry) = self.new_subject(actor, SubjectKind::Organisation.as_str(), None)?;
                let subject = SubjectId::parse(&new.id).map_err(|_| ServiceError::Unreadable(new.id.clone()))?;
                feed.push(FeedRow { kind: "subject".to_owned(), key: new.id.clone() });
                writes.push(Write::Subject(new));
                audit.push(entry);
                subject
            }
        };
        organisation.subject = Some(subject.clone());
        let detail = json!({ "verified": organisation.verified, "keys": organisation.keys.len(), "subject": subject });
        audit.insert(0, self.audit(actor, "organisation.created", &id, &detail)?);
        feed.push(FeedRow { kind: "record".to_owned(), key: format!("organisation/{id}") });
        let record = self.record_row("organisation", &id, &organisation, None, 0)?;
        writes.push(Write::Record { record, expected: 0 });
        self.commit_whole(Change { writes, audit, feed, outbox: Vec::new() })
            .await?
            .map_err(|_| ServiceError::Conflict("organisation"))?;
        Ok((id, subject))
    }

    /// A page of records of a kind, secrets left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, kind: &str, after: &str, limit: i64) -> ServiceResult<Vec<Value>> {
        self.store.records(kind, after, limit).await?.iter().map(record_view).collect()
    }

    /// One record with its version, secrets left out.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn show(&self, kind: &'static str, id: &str) -> ServiceResult<(i64, Value)> {
        let record = self.store.record(kind, id).await?.ok_or(ServiceError::NotFound(kind))?;
        Ok((record.version, record_view(&record)?))
    }
}

fn record_view(record: &Record) -> ServiceResult<Value> {
    let mut body: Value = serde_json::from_str(&record.body)
        .map_err(|_| ServiceError::Unreadable(format!("record {}/{}", record.kind, record.id)))?;
    if let Some(members) = body.as_object_mut() {
        members.remove("secret_hash");
        members.remove("key_sha256");
        if let Some(former) = members.get_mut("former_key").and_then(Value::as_object_mut) {
            former.remove("key_sha256");
        }
        members.remove("hook_keys");
        for token in members.get_mut("tokens").and_then(Value::as_array_mut).into_iter().flatten() {
            token.as_object_mut().map(|token| token.remove("key_sha256"));
        }
    }
    Ok(json!({ "id": record.id, "version": record.version, "body": body }))
}
