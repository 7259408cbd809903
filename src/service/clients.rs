//! API clients: made, and proven by a secret or by an assertion of their own key.

use super::admin::{Created, SCOPES, name_ok};
use super::authenticate::{NO_CLIENT, matches_in_turn};
use super::world::Client;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::{new_secret, random, sha256_hex};
use crate::storage::{Change, Conflict, Write};
use crate::token::assertion::{self, AssertionError};
use crate::token::jws::VerificationKey;
use aws_lc_rs::hmac;
use moka::sync::Cache;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a secret that was proven need not be hashed again.
const PROVEN_FOR: Duration = Duration::from_secs(60);

/// Most secrets remembered as proven; each takes about 100 bytes.
const PROVEN_MAX: u64 = 10_000;

/// Most keys of a client: one in use, one while it is replaced, and some more.
const MAX_KEYS: usize = 8;

/// A client to be made.
#[derive(Debug, Default)]
pub struct NewClient {
    /// For people.
    pub name: String,
    /// The person who answers for it.
    pub owner: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Sources it may speak for.
    pub sources: BTreeSet<String>,
    /// Audiences whose tokens it may introspect; empty for all.
    pub audiences: BTreeSet<String>,
    /// The organisation it is.
    pub organisation: Option<String>,
    /// Public JWKs; with them it has no secret.
    pub keys: Vec<Value>,
    /// See [`Client::endpoint_audience`].
    pub endpoint_audience: bool,
    /// See [`Client::dpop_bound_access_tokens`].
    pub dpop_bound_access_tokens: bool,
}

/// A client that was made.
#[derive(Debug)]
pub struct CreatedClient {
    /// Its id.
    pub id: String,
    /// Its secret, never stored in clear; `None` where it has keys.
    pub secret: Option<String>,
}

/// How a client proves itself.
#[derive(Debug, Clone, Copy)]
pub enum ClientProof<'a> {
    /// By its secret.
    Secret {
        /// Client id.
        id: &'a str,
        /// The secret.
        secret: &'a str,
    },
    /// By an assertion (`private_key_jwt`).
    Assertion {
        /// The compact JWS.
        token: &'a str,
        /// The client id beside it, where one is given.
        named: Option<&'a str>,
    },
}

/// Why a client is not taken for the one it says it is.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Unknown, disabled or not proven, all alike.
    #[error("not proven")]
    Unproven,
    /// Proven by its signature, with an assertion that cannot be used: it is told why.
    #[error("assertion: {0}")]
    Unfit(&'static str),
    /// It cannot be known now.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Secrets that were proven lately, under a key of this process: what is in memory tells no secret, and what is not in it
/// costs the whole hash, so a wrong guess never gets cheaper.
pub(crate) struct ProvenSecrets {
    key: hmac::Key,
    proven: Cache<[u8; 32], ()>,
}

impl ProvenSecrets {
    pub(crate) fn new() -> ServiceResult<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
        Ok(Self { key, proven: Cache::builder().max_capacity(PROVEN_MAX).time_to_live(PROVEN_FOR).build() })
    }

    /// The entry holds the hash too: a client with another secret, or none, finds nothing.
    fn entry(&self, id: &str, hash: &str, secret: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [id, hash, secret] {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut entry = [0; 32];
        entry.copy_from_slice(context.sign().as_ref());
        entry
    }
}

/// Registered keys that can be used; one that cannot verifies nothing, and the others go on working.
pub(crate) fn verification_keys(jwks: &[Value]) -> Vec<VerificationKey> {
    let named = jwks.iter().filter_map(|jwk| Some((jwk.get("kid")?.as_str()?, jwk)));
    named.filter_map(|(kid, jwk)| VerificationKey::from_jwk(kid, jwk).ok()).collect()
}

/// Refuses a list of keys of which one could verify nothing, or of which two have one name.
pub(crate) fn check_keys(pointer: &str, jwks: &[Value]) -> ServiceResult<()> {
    if jwks.len() > MAX_KEYS {
        return Err(invalid(pointer, format!("give at most {MAX_KEYS} keys")));
    }
    let mut kids = BTreeSet::new();
    for (index, jwk) in jwks.iter().enumerate() {
        let at = format!("{pointer}/{index}");
        let kid = jwk.get("kid").and_then(Value::as_str).ok_or_else(|| invalid(&at, "needs a `kid`"))?;
        VerificationKey::from_jwk(kid, jwk).map_err(|error| invalid(&at, format!("{error}; give a public JWK")))?;
        if !kids.insert(kid) {
            return Err(invalid(&at, "has the `kid` of another key"));
        }
    }
    Ok(())
}

impl App {
    /// Creates an API client with a secret, which is shown once.
    ///
    /// # Errors
    /// As [`App::register_client`].
    pub async fn create_client(
        &self,
        actor: &Actor,
        name: &str,
        owner: &str,
        scopes: BTreeSet<String>,
        sources: BTreeSet<String>,
        organisation: Option<String>,
    ) -> ServiceResult<Created> {
        let (name, owner) = (name.to_owned(), owner.to_owned());
        let new = NewClient { name, owner, scopes, sources, organisation, ..NewClient::default() };
        let created = self.register_client(actor, new).await?;
        Ok(Created { id: created.id, secret: created.secret.ok_or(ServiceError::Unavailable("secret"))? })
    }

    /// Creates an API client.
    ///
    /// # Errors
    /// `Invalid` for an unknown scope, source, audience or organisation, or a key that could verify nothing.
    pub async fn register_client(&self, actor: &Actor, new: NewClient) -> ServiceResult<CreatedClient> {
        self.check_client(&new)?;
        let id = self.id("cli")?;
        let secret = if new.keys.is_empty() { Some(new_secret()?) } else { None };
        let secret_hash = match secret.clone() {
            Some(secret) => Some(self.hashed(secret).await?),
            None => None,
        };
        let mut detail = json!({ "scopes": new.scopes, "sources": new.sources, "owner": new.owner });
        if let Some(members) = detail.as_object_mut() {
            if !new.keys.is_empty() {
                members.insert("keys".to_owned(), json!(new.keys.len()));
            }
            if !new.audiences.is_empty() {
                members.insert("audiences".to_owned(), json!(new.audiences));
            }
        }
        let client = Client {
            name: new.name,
            owner: new.owner,
            secret_hash,
            keys: new.keys,
            endpoint_audience: new.endpoint_audience,
            dpop_bound_access_tokens: new.dpop_bound_access_tokens,
            scopes: new.scopes,
            sources: new.sources,
            audiences: new.audiences,
            organisation: new.organisation,
            disabled: false,
            tokens_from: 0,
        };
        self.create_record(actor, "client", &id, &client, None, detail).await?;
        Ok(CreatedClient { id, secret })
    }

    /// Gives a client other keys. Those it had, or its secret, and the access tokens got by them, end in the same commit.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a key that could verify nothing, `Conflict` when the client changed meanwhile.
    pub async fn replace_client_keys(&self, actor: &Actor, id: &str, keys: Vec<Value>) -> ServiceResult<()> {
        if keys.is_empty() {
            return Err(invalid("/keys", "give at least one key"));
        }
        check_keys("/keys", &keys)?;
        let (mut client, version) = self.load_client(id).await?;
        let detail = json!({ "keys": keys.len(), "secret_ended": client.secret_hash.is_some() });
        (client.secret_hash, client.keys, client.tokens_from) = (None, keys, self.tokens_end(&client));
        self.write_record(actor, "client", id, &client, None, version, "keys_replaced", detail).await
    }

    fn check_client(&self, new: &NewClient) -> ServiceResult<()> {
        if !name_ok(&new.name) {
            return Err(invalid("/name", "give a name of 1 to 200 characters"));
        }
        if !name_ok(&new.owner) {
            return Err(invalid("/owner", "name the person who answers for it"));
        }
        if new.scopes.is_empty() || new.scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
            return Err(invalid("/scopes", format!("choose from {}", SCOPES.join(", "))));
        }
        check_keys("/keys", &new.keys)?;
        if new.endpoint_audience && new.keys.is_empty() {
            return Err(invalid("/endpoint_audience", "is about assertions, and a client without `keys` makes none"));
        }
        let world = self.world.load();
        if new.sources.iter().any(|source| source != super::SELF_SOURCE && !world.sources.contains_key(source)) {
            return Err(invalid("/sources", "names an unknown source"));
        }
        if new.audiences.iter().any(|audience| !world.audiences.contains_key(audience)) {
            return Err(invalid("/audiences", "names an unknown audience"));
        }
        if new.organisation.as_ref().is_some_and(|id| !world.organisations.contains_key(id)) {
            return Err(invalid("/organisation", "no such organisation"));
        }
        Ok(())
    }

    /// The id of the enabled client that proves itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn authenticate_client(&self, proof: ClientProof<'_>) -> Result<String, ClientError> {
        self.check_history()?;
        match proof {
            ClientProof::Secret { id, secret } => self.by_secret(id, secret).await,
            ClientProof::Assertion { token, named } => self.by_assertion(token, named).await,
        }
    }

    async fn by_secret(&self, id: &str, secret: &str) -> Result<String, ClientError> {
        let client = self.world.load().clients.get(id).map(|client| (client.disabled, client.secret_hash.clone()));
        // Whoever is unknown, or has no secret, costs as much as a wrong secret.
        let hash = client.as_ref().and_then(|(_, hash)| hash.clone()).unwrap_or_else(|| NO_CLIENT.to_owned());
        let entry = self.proven.entry(id, &hash, secret);
        let matches = if self.proven.proven.contains_key(&entry) {
            true
        } else {
            let permit = self.hashing_permit().await?;
            matches_in_turn(permit, secret.to_owned(), hash.clone()).await?
        };
        match client {
            Some((false, Some(_))) if matches => {
                self.proven.proven.insert(entry, ());
                Ok(id.to_owned())
            }
            _ => Err(ClientError::Unproven),
        }
    }

    async fn by_assertion(&self, token: &str, named: Option<&str>) -> Result<String, ClientError> {
        let id = assertion::unverified_client(token).ok_or(ClientError::Unproven)?;
        if named.is_some_and(|named| named != id) {
            return Err(ClientError::Unproven);
        }
        let client = self.world.load().clients.get(&id).cloned().filter(|client| !client.disabled);
        let client = client.ok_or(ClientError::Unproven)?;
        let endpoint = format!("{}/oauth2/token", self.issuer);
        let audiences = [self.issuer.as_str(), endpoint.as_str()];
        // SECURITY: an assertion for more than the issuer may have been meant for somebody else (RFC 7523's update).
        let audiences = if client.endpoint_audience { &audiences[..] } else { audiences.get(..1).unwrap_or_default() };
        let keys = verification_keys(&client.keys);
        let held = assertion::verify(token, &id, &keys, audiences, self.clock.now().epoch());
        let held = held.map_err(|error| {
            tracing::warn!(client.id = id, error = %error, "client assertion refused");
            match error {
                AssertionError::Unproven(_) => ClientError::Unproven,
                AssertionError::Unfit(why) => ClientError::Unfit(why),
            }
        })?;
        let until = assertion::spent_until(&held);
        if self.spend(&format!("assertion/{id}"), &held.jti, until).await? {
            Ok(id)
        } else {
            Err(ClientError::Unfit("its `jti` was used before"))
        }
    }

    /// Spends a single-use id until `until` (epoch seconds), for all replicas and across restarts. `false` the second time.
    ///
    /// # Errors
    /// When the store cannot write.
    pub(crate) async fn spend(&self, issuer: &str, jti: &str, until: i64) -> ServiceResult<bool> {
        self.check_history()?;
        // A digest: of bounded length, and without the characters that a database would not keep.
        let (issuer, jti) = (issuer.to_owned(), sha256_hex(jti.as_bytes()));
        let spend = Write::Spend { issuer, jti, expires_at_ms: until.saturating_mul(1000) };
        let change = Change { writes: vec![spend], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        match self.store.commit(change).await? {
            Ok(()) => Ok(true),
            Err(Conflict::Spent) => Ok(false),
            Err(_) => Err(ServiceError::Conflict("jti")),
        }
    }
}
