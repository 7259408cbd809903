//! Organisations' directories: which organisation each speaks for, by what tokens, and what it is told.

use super::admin::name_ok;
use super::authenticate::Caller;
use super::subjects::check_namespace;
use super::world::{Directory, DirectoryToken, EmailLinks, IdentityProvider, parse};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::{is_secret_of, new_secret, sha256_hex};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::Disclosure;

/// How the token of a directory begins, so that it is known where it is found.
pub const TOKEN_PREFIX: &str = "sct_";

/// Most tokens of one directory: one in use, one while it is replaced, and some more.
const MAX_TOKENS: usize = 8;

/// Most resources that a directory sees: each is decided for every user that is told.
const MAX_RESOURCES: usize = 8;

/// Most domains whose addresses are matched.
const MAX_DOMAINS: usize = 32;

/// What is to be changed of a directory; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct DirectorySettings {
    /// For people.
    pub name: Option<String>,
    /// See [`Directory::resources`].
    pub resources: Option<BTreeSet<ResourceId>>,
    /// See [`Directory::discloses`].
    pub discloses: Option<BTreeSet<Disclosure>>,
    /// See [`Directory::emails`]; the inner `None` ends it.
    pub emails: Option<Option<EmailLinks>>,
    /// See [`Directory::disabled`].
    pub disabled: Option<bool>,
}

/// A token that was made.
#[derive(Debug)]
pub struct CreatedToken {
    /// `sct_…`
    pub id: String,
    /// The token, never stored in clear.
    pub token: String,
    /// When it ends, if it does.
    pub expires_at: Option<Second>,
}

/// A directory that was proven to be asking, and who acts for it.
#[derive(Debug, Clone)]
pub struct Provisioner {
    /// The directory.
    pub directory: Arc<Directory>,
    /// For the audit log.
    pub actor: Actor,
}

/// Whether a bearer token is of a directory.
#[must_use]
pub fn is_directory_token(token: &str) -> bool {
    token.starts_with(TOKEN_PREFIX)
}

fn check(directory: &Directory) -> ServiceResult<()> {
    if !name_ok(&directory.name) {
        return Err(invalid("/name", "give a name of 1 to 200 characters"));
    }
    if directory.resources.len() > MAX_RESOURCES {
        return Err(invalid("/resources", format!("name at most {MAX_RESOURCES} resources")));
    }
    if let Some(emails) = &directory.emails {
        check_namespace(&emails.namespace)
            .map_err(|_| invalid("/emails/namespace", "use 1 to 64 of `a-z 0-9 - _ .`"))?;
        let fits = |domain: &String| {
            (3..=253).contains(&domain.len())
                && domain.contains('.')
                && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        if !(1..=MAX_DOMAINS).contains(&emails.domains.len()) || !emails.domains.iter().all(fits) {
            return Err(invalid("/emails/domains", format!("name 1 to {MAX_DOMAINS} domains in small letters")));
        }
    }
    Ok(())
}

fn parsed(record: &crate::storage::Record) -> ServiceResult<Directory> {
    let mut directory: Directory = parse(record)?;
    directory.id.clone_from(&record.id);
    Ok(directory)
}

impl App {
    /// Registers a directory; it has no token yet.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` for a namespace that another directory has.
    pub async fn create_directory(&self, actor: &Actor, directory: Directory) -> ServiceResult<String> {
        check(&directory)?;
        check_namespace(&directory.namespace)?;
        let world = self.world.load_full();
        if !world.organisations.contains_key(&directory.organisation) {
            return Err(invalid("/organisation", "no such organisation"));
        }
        // SECURITY: who shares a namespace names the same people, and learns of them.
        let foreign = |provider: &Arc<IdentityProvider>| {
            provider.namespace == directory.namespace && provider.organisation.as_ref() != Some(&directory.organisation)
        };
        if world.identity_providers.values().any(foreign) {
            return Err(invalid("/namespace", "is of an identity provider that is not this organisation's"));
        }
        // Its id is made of its namespace, which no other has.
        let id = format!("dir_{}", directory.namespace);
        let detail = json!({ "organisation": directory.organisation, "namespace": directory.namespace,
            "resources": directory.resources, "discloses": directory.discloses, "emails": directory.emails.is_some() });
        let directory = Directory { tokens: Vec::new(), ..directory };
        self.create_record(actor, "directory", &id, &directory, None, detail).await?;
        Ok(id)
    }

    /// A directory as it is stored now, with its version.
    async fn directory(&self, id: &str) -> ServiceResult<(Directory, i64)> {
        let record = self.store.record("directory", id).await?.ok_or(ServiceError::NotFound("directory"))?;
        Ok((parsed(&record)?, record.version))
    }

    async fn replace_directory(
        &self,
        actor: &Actor,
        directory: &Directory,
        version: i64,
        verb: &str,
        detail: Value,
    ) -> ServiceResult<()> {
        let id = &directory.id;
        self.write_record(actor, "directory", id, directory, None, version, verb, detail).await
    }

    /// Changes what is registered of a directory. Disabled, it is heard no more; what it said stays said.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`; `PreconditionFailed` where `expected` names versions and it is at another; `Conflict` when
    /// somebody else changed it meanwhile.
    pub async fn change_directory(
        &self,
        actor: &Actor,
        id: &str,
        settings: DirectorySettings,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        let (mut directory, version) = self.directory(id).await?;
        if expected.is_some_and(|expected| !expected.contains(&version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        let DirectorySettings { name, resources, discloses, emails, disabled } = settings;
        directory.name = name.unwrap_or(directory.name);
        directory.resources = resources.unwrap_or(directory.resources);
        directory.discloses = discloses.unwrap_or(directory.discloses);
        directory.emails = emails.unwrap_or(directory.emails);
        directory.disabled = disabled.unwrap_or(directory.disabled);
        check(&directory)?;
        let detail = json!({ "resources": directory.resources, "discloses": directory.discloses,
            "emails": directory.emails.is_some(), "disabled": directory.disabled });
        self.replace_directory(actor, &directory, version, "changed", detail).await
    }

    /// Makes a token for a directory, shown once. Others stay good, so that one can take the place of another.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an end that has passed or one token too many.
    pub async fn create_directory_token(
        &self,
        actor: &Actor,
        id: &str,
        expires_at: Option<Second>,
    ) -> ServiceResult<CreatedToken> {
        let now = self.clock.now();
        if expires_at.is_some_and(|end| end <= now) {
            return Err(invalid("/expires_at", "has passed"));
        }
        let (mut directory, version) = self.directory(id).await?;
        directory.tokens.retain(|token| token.lives(now));
        if directory.tokens.len() >= MAX_TOKENS {
            return Err(invalid("", format!("a directory has at most {MAX_TOKENS} tokens: revoke one")));
        }
        let (token, secret) = (self.id("sct")?, new_secret()?);
        let key_sha256 = sha256_hex(secret.as_bytes());
        directory.tokens.push(DirectoryToken { id: token.clone(), key_sha256, created_at: now, expires_at });
        let detail = json!({ "token": token, "expires_at": expires_at });
        self.replace_directory(actor, &directory, version, "token_created", detail).await?;
        Ok(CreatedToken { token: format!("{token}.{secret}"), id: token, expires_at })
    }

    /// Ends a token of a directory, at once on every replica.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_directory_token(&self, actor: &Actor, id: &str, token: &str) -> ServiceResult<()> {
        let (mut directory, version) = self.directory(id).await?;
        let before = directory.tokens.len();
        directory.tokens.retain(|known| known.id != token);
        if directory.tokens.len() == before {
            return Err(ServiceError::NotFound("token"));
        }
        self.replace_directory(actor, &directory, version, "token_revoked", json!({ "token": token })).await
    }

    /// The directory behind a token of its own, while token and directory are good.
    ///
    /// # Errors
    /// `Unauthenticated`; says nothing more.
    pub fn directory_of_token(&self, token: &str) -> ServiceResult<Provisioner> {
        let (id, secret) = token.split_once('.').ok_or(ServiceError::Unauthenticated)?;
        let world = self.world.load();
        let directory = world.directory_tokens.get(id).and_then(|directory| world.directories.get(directory));
        let directory = directory.filter(|directory| !directory.disabled).ok_or(ServiceError::Unauthenticated)?;
        let known = directory.tokens.iter().find(|known| known.id == id && known.lives(self.clock.now()));
        let known = known.ok_or(ServiceError::Unauthenticated)?;
        if !is_secret_of(secret, &known.key_sha256) {
            return Err(ServiceError::Unauthenticated);
        }
        Ok(Provisioner { directory: Arc::clone(directory), actor: Actor::directory(&directory.id, id) })
    }

    /// The directory that an organisation's own client speaks for: the only one that the organisation has.
    ///
    /// # Errors
    /// `Forbidden` without the scope, for a client that is no organisation's, or where there are none or several.
    pub fn directory_of_client(&self, caller: &Caller) -> ServiceResult<Provisioner> {
        caller.require("scim")?;
        let organisation = caller.organisation.as_ref().ok_or(ServiceError::Forbidden("organisation"))?;
        let world = self.world.load();
        let mut own = world
            .directories
            .values()
            .filter(|directory| directory.organisation == *organisation && !directory.disabled);
        match (own.next(), own.next()) {
            (Some(directory), None) => Ok(Provisioner { directory: Arc::clone(directory), actor: caller.actor() }),
            _ => Err(ServiceError::Forbidden("directory")),
        }
    }
}
