//! Tokens of ours that were verified, remembered with what was last made of them.

use super::authenticate::Caller;
use super::world::Client;
use super::{App, ServiceError, ServiceResult};
use crate::token::{Bearer, Verified};
use arc_swap::ArcSwapOption;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A token that was verified once. Times, keys and revocation are judged at every use.
#[derive(Debug)]
pub(crate) struct Remembered {
    verified: Verified,
    /// Whom it is about, once that was read, and whether its names were taken for pairwise ones.
    pub(super) bearer: OnceLock<(bool, Bearer)>,
    /// What introspection answered last.
    pub(super) worth: ArcSwapOption<Worth>,
    /// The caller it last stood for.
    caller: ArcSwapOption<Granted>,
}

/// What introspection answers while a decision stands.
#[derive(Debug)]
pub(super) struct Worth {
    /// The decision's id, and that of the one about the end user.
    pub(super) decision: String,
    /// The answer, as JSON.
    pub(super) text: Arc<str>,
}

/// A caller, and the client's record that it was made of.
#[derive(Debug)]
struct Granted {
    client: Arc<Client>,
    caller: Arc<Caller>,
}

impl Remembered {
    pub(super) fn new(verified: Verified) -> Self {
        Self { verified, bearer: OnceLock::new(), worth: ArcSwapOption::empty(), caller: ArcSwapOption::empty() }
    }
}

impl Deref for Remembered {
    type Target = Verified;

    fn deref(&self) -> &Verified {
        &self.verified
    }
}

impl App {
    /// A client that proved itself, with all the scopes that it has now.
    ///
    /// # Errors
    /// `Unauthenticated` for a client that is not there or disabled.
    pub fn client_caller(&self, id: &str) -> ServiceResult<Arc<Caller>> {
        let client = self.enabled_client(id)?;
        Ok(Arc::new(Caller::of_client(id, &client, client.scopes.clone())))
    }

    /// The client behind an access token, with those of its scopes that the client has now.
    ///
    /// # Errors
    /// `Unauthenticated` for a client that is not there or disabled.
    pub(super) fn token_caller(&self, token: &Remembered) -> ServiceResult<Arc<Caller>> {
        let client = self.enabled_client(&token.client_id)?;
        // SECURITY: made of this very record. A record that changed is another one, and this one is not freed while it is
        // compared with.
        if let Some(granted) = token.caller.load().as_ref().filter(|granted| Arc::ptr_eq(&granted.client, &client)) {
            return Ok(Arc::clone(&granted.caller));
        }
        // A scope taken from the client is gone at once, not when its token ends.
        let scopes: BTreeSet<String> =
            token.scope.split(' ').filter(|scope| client.scopes.contains(*scope)).map(str::to_owned).collect();
        let caller = Arc::new(Caller::of_client(&token.client_id, &client, scopes));
        token.caller.store(Some(Arc::new(Granted { client, caller: Arc::clone(&caller) })));
        Ok(caller)
    }

    fn enabled_client(&self, id: &str) -> ServiceResult<Arc<Client>> {
        let world = self.world.load();
        let client = world.clients.get(id).filter(|client| !client.disabled).ok_or(ServiceError::Unauthenticated)?;
        Ok(Arc::clone(client))
    }
}
