//! Credentials that may have leaked, or are not needed any more: clients and gateways are switched off, or get another
//! secret, at once on every replica.

use super::world::{Client, FormerKey, Gateway, parse};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::{new_secret, sha256_hex};
use serde_json::json;

/// Longest that a gateway's former key may go on beside the new one, seconds.
pub const MAX_OVERLAP_SECS: i64 = 7 * 86_400;

impl App {
    /// A client's record and its version.
    pub(crate) async fn load_client(&self, id: &str) -> ServiceResult<(Client, i64)> {
        let record = self.store.record("client", id).await?.ok_or(ServiceError::NotFound("client"))?;
        Ok((parse(&record)?, record.version))
    }

    /// A gateway's record and its version.
    pub(crate) async fn load_gateway(&self, id: &str) -> ServiceResult<(Gateway, i64)> {
        let record = self.store.record("gateway", id).await?.ok_or(ServiceError::NotFound("gateway"))?;
        Ok((parse(&record)?, record.version))
    }

    /// The first second whose access tokens of a client count, when those given until now shall not.
    ///
    /// INVARIANT: a token that was given in this very second is among those that end, also one that was given after others
    /// ended in it; see [`App::grant`].
    pub(crate) fn tokens_end(&self, client: &Client) -> i64 {
        self.clock.now().epoch().max(client.tokens_from) + 1
    }

    /// Switches a client off: nothing proves it, and its access tokens open nothing, also once it is switched on again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn disable_client(&self, actor: &Actor, id: &str) -> ServiceResult<()> {
        let (mut client, version) = self.load_client(id).await?;
        (client.disabled, client.tokens_from) = (true, self.tokens_end(&client));
        self.write_record(actor, "client", id, &client, None, version, "disabled", json!({})).await
    }

    /// Switches a client on again, with the secret or keys that it had.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn enable_client(&self, actor: &Actor, id: &str) -> ServiceResult<()> {
        let (mut client, version) = self.load_client(id).await?;
        client.disabled = false;
        self.write_record(actor, "client", id, &client, None, version, "enabled", json!({})).await
    }

    /// Gives a client another secret, shown once: the one it had proves nothing from then on, and what it got by it opens
    /// nothing.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a client that proves itself by its keys; `Conflict` when another change came first.
    pub async fn renew_client_secret(&self, actor: &Actor, id: &str) -> ServiceResult<String> {
        let (mut client, version) = self.load_client(id).await?;
        if client.secret_hash.is_none() {
            return Err(invalid("/id", "the client proves itself by keys: replace those"));
        }
        let secret = new_secret()?;
        client.secret_hash = Some(self.hashed(secret.clone()).await?);
        client.tokens_from = self.tokens_end(&client);
        self.write_record(actor, "client", id, &client, None, version, "secret_renewed", json!({})).await?;
        Ok(secret)
    }

    /// Switches a gateway off: its key proves nothing, and its open streams end.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn disable_gateway(&self, actor: &Actor, id: &str) -> ServiceResult<()> {
        self.switch_gateway(actor, id, true).await
    }

    /// Switches a gateway on again, with the key that it had.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn enable_gateway(&self, actor: &Actor, id: &str) -> ServiceResult<()> {
        self.switch_gateway(actor, id, false).await
    }

    async fn switch_gateway(&self, actor: &Actor, id: &str, disabled: bool) -> ServiceResult<()> {
        let (mut gateway, version) = self.load_gateway(id).await?;
        gateway.disabled = disabled;
        let verb = if disabled { "disabled" } else { "enabled" };
        self.write_record(actor, "gateway", id, &gateway, None, version, verb, json!({})).await
    }

    /// Gives a gateway another key, shown once. The one it had goes on for `overlap_secs`, 0 where it may have leaked; one
    /// before that ends now.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an overlap beyond [`MAX_OVERLAP_SECS`]; `Conflict` when another change came first.
    pub async fn renew_gateway_key(&self, actor: &Actor, id: &str, overlap_secs: i64) -> ServiceResult<String> {
        if !(0..=MAX_OVERLAP_SECS).contains(&overlap_secs) {
            return Err(invalid("/overlap_secs", format!("must be 0 to {MAX_OVERLAP_SECS} seconds")));
        }
        let (mut gateway, version) = self.load_gateway(id).await?;
        let secret = new_secret()?;
        let former = std::mem::replace(&mut gateway.key_sha256, sha256_hex(secret.as_bytes()));
        let until_ms = self.clock.now_ms() + overlap_secs * 1000;
        gateway.former_key = (overlap_secs > 0).then_some(FormerKey { key_sha256: former, until_ms });
        let detail = json!({ "overlap_secs": overlap_secs });
        self.write_record(actor, "gateway", id, &gateway, None, version, "key_renewed", detail).await?;
        Ok(format!("{id}.{secret}"))
    }
}
