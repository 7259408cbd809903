//! Identity providers are registered, changed and switched off, and their hooks get secrets.

use crate::crypto::{new_secret, sha256_hex};
use crate::service::admin::name_ok;
use crate::service::clients::check_keys;
use crate::service::subjects::check_namespace;
use crate::service::world::{self, Directory, Hook, HookKey, IdentityProvider, World};
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::Record;
use crate::token::keys::{Algorithm, Purpose};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe_core::ids::ResourcePattern;
use vouchsafe_core::policy::Disclosure;

/// Longest time that a replaced secret is taken beside its follower, in seconds.
const LONGEST_OVERLAP_SECS: i64 = 7 * 86_400;

/// Members of Entra's answer and of tokens whose meaning is not ours to give (RFC 7519 section 4.1, OpenID Connect Core
/// 1.0 section 2, RFC 9068 section 2.2): a claim is never called so.
const TAKEN_CLAIMS: [&str; 26] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "azp",
    "nonce",
    "acr",
    "amr",
    "auth_time",
    "at_hash",
    "c_hash",
    "scope",
    "scp",
    "client_id",
    "cid",
    "uid",
    "ver",
    "tid",
    "oid",
    "roles",
    "groups",
    "appid",
    "email",
];

/// What is to be changed of an identity provider; what is absent stays. Its issuer and namespace never change: they are
/// what its users are known by.
#[derive(Debug, Clone, Default)]
pub struct ProviderChange {
    /// For people.
    pub name: Option<String>,
    /// Its public JWKs, in the place of those it had or of their address.
    pub keys: Option<Vec<Value>>,
    /// Where its keys are fetched, in the place of keys.
    pub jwks_uri: Option<String>,
    /// Its clients whose ID tokens are accepted.
    pub audiences: Option<BTreeSet<String>>,
    /// The organisation whose people it knows; `Some(None)` for none.
    pub organisation: Option<Option<String>>,
    /// Resources it may ask about.
    pub resources: Option<Vec<ResourcePattern>>,
    /// API clients that ask in its name.
    pub clients: Option<BTreeSet<String>>,
    /// How its hook proves itself; `Some(None)` for no hook.
    pub hook: Option<Option<Hook>>,
    /// Name of the claim.
    pub claim: Option<String>,
    /// What it may learn.
    pub discloses: Option<BTreeSet<Disclosure>>,
    /// Domains in which sign-in names count.
    pub email_domains: Option<BTreeSet<String>>,
    /// Algorithm of provided claims.
    pub alg: Option<String>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
}

impl ProviderChange {
    /// Members that it gives, for the audit log.
    fn members(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("keys", self.keys.is_some()),
            ("jwks_uri", self.jwks_uri.is_some()),
            ("audiences", self.audiences.is_some()),
            ("organisation", self.organisation.is_some()),
            ("resources", self.resources.is_some()),
            ("clients", self.clients.is_some()),
            ("hook", self.hook.is_some()),
            ("claim", self.claim.is_some()),
            ("discloses", self.discloses.is_some()),
            ("email_domains", self.email_domains.is_some()),
            ("alg", self.alg.is_some()),
            ("disabled", self.disabled.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    fn apply(self, provider: &mut IdentityProvider) {
        fn set<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        if let Some(keys) = self.keys {
            (provider.keys, provider.jwks_uri) = (keys, None);
        }
        if let Some(uri) = self.jwks_uri {
            provider.jwks_uri = Some(uri);
            provider.keys.clear();
        }
        if self.hook.as_ref().is_some_and(|hook| *hook != provider.hook) {
            provider.hook_keys.clear();
        }
        set(&mut provider.name, self.name);
        set(&mut provider.audiences, self.audiences);
        set(&mut provider.organisation, self.organisation);
        set(&mut provider.resources, self.resources);
        set(&mut provider.clients, self.clients);
        set(&mut provider.hook, self.hook);
        set(&mut provider.claim, self.claim);
        set(&mut provider.discloses, self.discloses);
        set(&mut provider.email_domains, self.email_domains);
        set(&mut provider.alg, self.alg);
        set(&mut provider.disabled, self.disabled);
    }
}

/// An identity provider that was registered.
#[derive(Debug)]
pub struct Created {
    /// `idp_…`
    pub id: String,
    /// The secret of its hook, shown once; `None` where it has none.
    pub secret: Option<String>,
}

/// Which version of a record a change was made for; `None`: whichever is there.
pub type Versions = Option<Vec<i64>>;

/// What can be said of a provider without looking at others.
fn check(provider: &IdentityProvider) -> ServiceResult<()> {
    if !name_ok(&provider.name) {
        return Err(invalid("/name", "give a name of 1 to 200 characters"));
    }
    let fits = |audience: &String| (1..=200).contains(&audience.len());
    if provider.audiences.len() > 100 || !provider.audiences.iter().all(fits) {
        return Err(invalid("/audiences", "name at most 100 clients of the provider whose ID tokens are accepted"));
    }
    let asks = provider.hook.is_some() || !provider.clients.is_empty();
    if provider.audiences.is_empty() && !asks {
        return Err(invalid(
            "/audiences",
            "name the clients of the provider whose ID tokens are accepted, or how it asks: `clients`, `hook`",
        ));
    }
    if asks && provider.resources.is_empty() {
        return Err(invalid("/resources", "name what it may ask about"));
    }
    check_keys("/keys", &provider.keys)?;
    let verifies = !provider.audiences.is_empty() || matches!(provider.hook, Some(Hook::Entra { .. }));
    match &provider.jwks_uri {
        None if verifies && provider.keys.is_empty() => return Err(invalid("/keys", "give `keys` or `jwks_uri`")),
        Some(_) if !provider.keys.is_empty() => return Err(invalid("/keys", "give `keys` or `jwks_uri`, not both")),
        _ => {}
    }
    if let Some(Hook::Entra { tenant, audience }) = &provider.hook {
        let guid = |text: &str| {
            let parts: Vec<usize> = text.split('-').map(str::len).collect();
            parts == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        };
        if !guid(tenant) || tenant.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("/hook/tenant", "must be the tenant's id, a GUID in lower case"));
        }
        if !(1..=200).contains(&audience.len()) {
            return Err(invalid("/hook/audience", "must be the id of the application that stands for this service"));
        }
    }
    let name_fits = (1..=40).contains(&provider.claim.len())
        && provider.claim.starts_with(|c: char| c.is_ascii_alphabetic())
        && provider.claim.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !name_fits || TAKEN_CLAIMS.contains(&provider.claim.as_str()) {
        return Err(invalid(
            "/claim",
            "use 1 to 40 of `a-z A-Z 0-9 _`, a letter first, and no name that tokens have a use for",
        ));
    }
    let domain = |text: &String| {
        (3..=253).contains(&text.len())
            && text.contains('.')
            && text.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    if provider.email_domains.len() > 100 || !provider.email_domains.iter().all(domain) {
        return Err(invalid("/email_domains", "name at most 100 domains in lower case, such as `example.com`"));
    }
    if !provider.email_domains.is_empty() && provider.organisation.is_none() {
        return Err(invalid("/email_domains", "are an organisation's: name the `organisation`"));
    }
    Ok(())
}

/// What others have already.
fn check_others(world: &World, provider: &IdentityProvider) -> ServiceResult<()> {
    if provider.organisation.as_ref().is_some_and(|id| !world.organisations.contains_key(id)) {
        return Err(invalid("/organisation", "no such organisation"));
    }
    if provider.clients.iter().any(|client| !world.clients.contains_key(client)) {
        return Err(invalid("/clients", "names an unknown client"));
    }
    // SECURITY: a directory that shares the namespace names the same people, and is another organisation's.
    let foreign = |directory: &Arc<Directory>| {
        directory.namespace == provider.namespace && provider.organisation.as_ref() != Some(&directory.organisation)
    };
    if world.directories.values().any(foreign) {
        return Err(invalid("/organisation", "must be that of the directory which has this namespace"));
    }
    let mut others = world.identity_providers.values().filter(|other| other.id != provider.id);
    if others.clone().any(|other| other.issuer == provider.issuer) {
        return Err(ServiceError::Conflict("issuer"));
    }
    if others.any(|other| !other.clients.is_disjoint(&provider.clients)) {
        return Err(invalid("/clients", "names a client that asks for another provider"));
    }
    Ok(())
}

impl App {
    /// Registers an identity provider; its id is made of the namespace of its links, which no other has. Where it has an
    /// Okta hook a secret is made for it.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` for an issuer or a namespace that another provider has.
    pub async fn create_identity_provider(
        &self,
        actor: &Actor,
        mut provider: IdentityProvider,
    ) -> ServiceResult<Created> {
        let issuer = reqwest::Url::parse(&provider.issuer).ok();
        if provider.issuer.len() > 500
            || provider.issuer == self.issuer
            || !issuer.is_some_and(|url| matches!(url.scheme(), "https" | "http") && url.query().is_none())
        {
            return Err(invalid("/issuer", "must be the provider's `iss`, a URL without query, and not this service"));
        }
        check_namespace(&provider.namespace)?;
        provider.id = format!("idp_{}", provider.namespace);
        self.check_provider(&provider).await?;
        let secret = match provider.hook {
            Some(Hook::Okta {}) => Some(new_secret()?),
            _ => None,
        };
        provider.hook_keys =
            secret.iter().map(|secret| HookKey { sha256: sha256_hex(secret.as_bytes()), until: None }).collect();
        let detail = json!({
            "issuer": provider.issuer, "namespace": provider.namespace, "organisation": provider.organisation,
            "resources": provider.resources, "discloses": provider.discloses, "email_domains": provider.email_domains,
        });
        self.create_record(actor, "identity_provider", &provider.id, &provider, None, detail).await?;
        let secret = secret.map(|secret| format!("{}.{secret}", provider.id));
        Ok(Created { id: provider.id, secret })
    }

    async fn check_provider(&self, provider: &IdentityProvider) -> ServiceResult<()> {
        check(provider)?;
        if let Some(uri) = &provider.jwks_uri {
            self.identities.fetcher.check(uri).map_err(|error| invalid("/jwks_uri", error.why()))?;
        }
        check_others(&self.world.load(), provider)?;
        let alg = Algorithm::parse(&provider.alg).ok_or_else(|| invalid("/alg", "must be ES256, EdDSA or RS256"))?;
        if !provider.clients.is_empty() {
            self.ensure_key(Purpose::ProvidedClaims, alg).await?;
        }
        Ok(())
    }

    /// Changes what is registered of an identity provider, at once on every replica; gives its version.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`; `PreconditionFailed` when it is at none of the versions; `Conflict` when somebody else
    /// changed it meanwhile.
    pub async fn change_identity_provider(
        &self,
        actor: &Actor,
        id: &str,
        versions: Versions,
        change: ProviderChange,
    ) -> ServiceResult<i64> {
        let (record, mut provider) = self.provider_record(id, versions.as_deref()).await?;
        let was_disabled = provider.disabled;
        let members = change.members();
        change.apply(&mut provider);
        self.check_provider(&provider).await?;
        let verb = match (was_disabled, provider.disabled) {
            (false, true) => "disabled",
            (true, false) => "enabled",
            _ => "changed",
        };
        let detail = json!({
            "members": members, "organisation": provider.organisation, "resources": provider.resources,
            "discloses": provider.discloses, "email_domains": provider.email_domains,
        });
        self.replace_provider(actor, record.version, &provider, versions.is_some(), verb, detail).await
    }

    /// Makes a new secret for the hook of an identity provider; the one before it is taken for `overlap_secs` more.
    ///
    /// # Errors
    /// As [`App::change_identity_provider`]; `Invalid` for a provider whose hook has no secret.
    pub async fn renew_hook_secret(
        &self,
        actor: &Actor,
        id: &str,
        versions: Versions,
        overlap_secs: i64,
    ) -> ServiceResult<String> {
        if !(0..=LONGEST_OVERLAP_SECS).contains(&overlap_secs) {
            return Err(invalid("/overlap_secs", format!("must be from 0 to {LONGEST_OVERLAP_SECS}")));
        }
        let (record, mut provider) = self.provider_record(id, versions.as_deref()).await?;
        if provider.hook != Some(Hook::Okta {}) {
            return Err(invalid("/hook", "has no secret: only an Okta hook sends one"));
        }
        let secret = new_secret()?;
        let until = self.clock.now().plus(overlap_secs);
        let before = provider.hook_keys.drain(..).find(|key| key.until.is_none());
        let before = before.filter(|_| overlap_secs > 0).map(|key| HookKey { until: Some(until), ..key });
        provider.hook_keys = vec![HookKey { sha256: sha256_hex(secret.as_bytes()), until: None }];
        provider.hook_keys.extend(before);
        let detail = json!({ "overlap_secs": overlap_secs });
        self.replace_provider(actor, record.version, &provider, versions.is_some(), "secret_renewed", detail).await?;
        Ok(format!("{id}.{secret}"))
    }

    async fn provider_record(&self, id: &str, versions: Option<&[i64]>) -> ServiceResult<(Record, IdentityProvider)> {
        const KIND: &str = "identity_provider";
        let record = self.store.record(KIND, id).await?.ok_or(ServiceError::NotFound("identity provider"))?;
        if versions.is_some_and(|versions| !versions.contains(&record.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        let provider: IdentityProvider = world::parse(&record)?;
        Ok((record, IdentityProvider { id: id.to_owned(), ..provider }))
    }

    async fn replace_provider(
        &self,
        actor: &Actor,
        version: i64,
        provider: &IdentityProvider,
        conditional: bool,
        verb: &str,
        detail: Value,
    ) -> ServiceResult<i64> {
        let written =
            self.write_record(actor, "identity_provider", &provider.id, provider, None, version, verb, detail).await;
        match written {
            Ok(()) => Ok(version + 1),
            Err(ServiceError::Conflict(_)) if conditional => Err(ServiceError::PreconditionFailed),
            Err(error) => Err(error),
        }
    }
}
