//! Shared Signals (SSF 1.0, CAEP 1.0): who is told by security event tokens (RFC 8417).
//!
//! An administrator registers a client as a receiver: its audience, by which names it knows subjects, and what concerns
//! it. The receiver makes its one stream itself. What it is told waits where every message to the outside waits, and
//! becomes a token when it leaves.

pub mod collect;
pub mod events;
mod push;
pub mod receive;
mod sessions;
pub mod streams;

use super::admin::name_ok;
use super::outbox::Receiver;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{FeedRow, OutgoingWrite, Record, Write};
use crate::token::keys::{Algorithm, Purpose};
use events::{ACCOUNT_PURGED, ASSURANCE_LEVEL_CHANGE, CREDENTIAL_CHANGE, SESSION_REVOKED, TOKEN_CLAIMS_CHANGE};
pub use push::Pushed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use streams::{Status, Stream};
use vouchsafe_core::ids::ResourcePattern;
use vouchsafe_core::policy::Disclosure;

/// The kind of a receiver's record; its id is the client's.
pub(crate) const RECORD: &str = "signal_receiver";

/// The scope to change a stream.
pub const MANAGE: &str = "ssf.manage";
/// The scope to look at a stream and to fetch what waits.
pub const READ: &str = "ssf.read";

/// Most receivers of a deployment.
const MOST: usize = 200;

/// By which names a receiver knows subjects. Of whom it has no name it is told nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Names {
    /// By the pairwise `sub` of this audience, once a token was issued for it.
    Audience(String),
    /// By the ids linked in this namespace.
    Namespace(String),
}

/// A client that is told by security event tokens. The header of its push endpoint is sealed beside the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalReceiver {
    /// The client; known where it was read.
    #[serde(skip)]
    pub id: String,
    /// Version of its record; known where it was read.
    #[serde(skip)]
    pub version: i64,
    /// `Authorization` of its push endpoint, sealed; known where it was read.
    #[serde(skip)]
    pub sealed: Vec<u8>,
    /// What it is told of the outbox; follows from the stream.
    #[serde(skip)]
    topics: BTreeSet<String>,
    /// For people.
    pub name: String,
    /// `aud` of its tokens.
    pub aud: String,
    /// By which names it knows subjects.
    pub names: Names,
    /// What concerns it; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourcePattern>,
    /// It guards just these resources itself: a lost eligibility ends its sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_resource: bool,
    /// What it may learn beyond whether and until when, as far as the policy discloses it too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discloses: BTreeSet<Disclosure>,
    /// Its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
}

impl SignalReceiver {
    /// As it was stored.
    pub(crate) fn read(record: &Record) -> ServiceResult<Self> {
        let unreadable = |_| ServiceError::Unreadable(format!("record {RECORD}/{}", record.id));
        let receiver: Self = serde_json::from_str(&record.body).map_err(unreadable)?;
        let sealed = record.sealed.clone().unwrap_or_default();
        let topics = receiver.topics();
        Ok(Self { id: record.id.clone(), version: record.version, sealed, topics, ..receiver })
    }

    /// What its stream can tell: that sessions are over, only whoever guards the resource itself.
    #[must_use]
    pub fn supported(&self) -> BTreeSet<&'static str> {
        let mut supported = BTreeSet::from([TOKEN_CLAIMS_CHANGE, CREDENTIAL_CHANGE, ACCOUNT_PURGED]);
        if self.for_resource {
            supported.insert(SESSION_REVOKED);
        }
        if self.discloses.contains(&Disclosure::Confidence) {
            supported.insert(ASSURANCE_LEVEL_CHANGE);
        }
        supported
    }

    /// What it asked for, of what can be told.
    #[must_use]
    pub fn delivered(&self) -> BTreeSet<&'static str> {
        let asked = self.stream.as_ref().map(|stream| &stream.requested);
        self.supported().into_iter().filter(|uri| asked.is_some_and(|asked| asked.contains(*uri))).collect()
    }

    fn topics(&self) -> BTreeSet<String> {
        if self.stream.as_ref().is_none_or(|stream| stream.status == Status::Disabled) {
            return BTreeSet::new();
        }
        let mut topics = BTreeSet::from([events::VERIFICATION_TOPIC, events::UPDATED_TOPIC]);
        for uri in self.delivered() {
            topics.extend(match uri {
                CREDENTIAL_CHANGE => &["token.revoked"][..],
                ACCOUNT_PURGED => &[events::ERASED_TOPIC],
                ASSURANCE_LEVEL_CHANGE => &[events::LEVEL_TOPIC],
                _ => &["eligibility.changed", events::ENDED_TOPIC],
            });
        }
        topics.into_iter().map(str::to_owned).collect()
    }

    /// As somebody who is told.
    pub(crate) fn receiver(&self) -> Receiver<'_> {
        Receiver {
            record: RECORD,
            id: &self.id,
            version: self.version,
            kind: "signal",
            topics: &self.topics,
            resources: &self.resources,
            silent: None,
        }
    }
}

/// A receiver to be registered.
#[derive(Debug, Clone)]
pub struct NewReceiver {
    /// The client.
    pub client: String,
    /// For people.
    pub name: String,
    /// `aud` of its tokens.
    pub aud: String,
    /// By which names it knows subjects.
    pub names: Names,
    /// What concerns it; all if empty.
    pub resources: Vec<ResourcePattern>,
    /// See [`SignalReceiver::for_resource`].
    pub for_resource: bool,
    /// See [`SignalReceiver::discloses`].
    pub discloses: BTreeSet<Disclosure>,
}

/// What is to be changed of a receiver; what is absent stays. By which names it knows subjects never changes.
#[derive(Debug, Clone, Default)]
pub struct ReceiverChange {
    /// For people.
    pub name: Option<String>,
    /// `aud` of its tokens.
    pub aud: Option<String>,
    /// What concerns it; all if empty.
    pub resources: Option<Vec<ResourcePattern>>,
    /// See [`SignalReceiver::for_resource`].
    pub for_resource: Option<bool>,
    /// See [`SignalReceiver::discloses`].
    pub discloses: Option<BTreeSet<Disclosure>>,
}

/// What can be said of a receiver by itself.
fn check(receiver: &SignalReceiver) -> ServiceResult<()> {
    if !name_ok(&receiver.name) {
        return Err(invalid("/name", "give a name of 1 to 200 characters"));
    }
    let aud = &receiver.aud;
    if aud.is_empty() || aud.len() > 500 || aud.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("/aud", "use 1 to 500 characters without blanks"));
    }
    if receiver.resources.len() > 100 {
        return Err(invalid("/resources", "names more than 100"));
    }
    if receiver.for_resource && receiver.resources.is_empty() {
        return Err(invalid("/resources", "name what it guards"));
    }
    if receiver.discloses.iter().any(|disclosure| *disclosure != Disclosure::Confidence) {
        return Err(invalid("/discloses", "only `confidence` is told by a signal"));
    }
    Ok(())
}

/// What the audit log says of a receiver.
fn told(receiver: &SignalReceiver) -> Value {
    let SignalReceiver { aud, names, resources, for_resource, discloses, .. } = receiver;
    json!({ "aud": aud, "names": names, "resources": resources, "for_resource": for_resource,
        "discloses": discloses })
}

impl App {
    /// Registers a client as a receiver of signals; it has no stream yet.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` where the client is one already, and when there are too many.
    pub async fn create_signal_receiver(&self, actor: &Actor, new: NewReceiver) -> ServiceResult<()> {
        let world = self.world.load_full();
        if world.signal_receivers.len() >= MOST {
            return Err(ServiceError::Conflict("number of receivers"));
        }
        if world.clients.get(&new.client).is_none_or(|client| client.disabled) {
            return Err(invalid("/client", "no such client"));
        }
        match &new.names {
            Names::Audience(id) => {
                // SECURITY: our own ids of subjects leave by no signal.
                if !world.audiences.get(id).is_some_and(|audience| audience.pairwise) {
                    return Err(invalid("/audience", "no such audience with pairwise subjects"));
                }
            }
            Names::Namespace(namespace) => super::subjects::check_namespace(namespace)?,
        }
        let receiver = SignalReceiver {
            id: String::new(),
            version: 0,
            sealed: Vec::new(),
            topics: BTreeSet::new(),
            name: new.name,
            aud: new.aud,
            names: new.names,
            resources: new.resources,
            for_resource: new.for_resource,
            discloses: new.discloses,
            stream: None,
        };
        check(&receiver)?;
        self.ensure_key(Purpose::Event, Algorithm::Rs256).await?;
        self.create_record(actor, RECORD, &new.client, &receiver, Some(Vec::new()), told(&receiver)).await
    }

    /// A receiver as it is stored now, at one of the versions that the caller may insist on.
    async fn signal_receiver(&self, id: &str, expected: Option<&[i64]>) -> ServiceResult<SignalReceiver> {
        let record = self.store.record(RECORD, id).await?.ok_or(ServiceError::NotFound("receiver"))?;
        if expected.is_some_and(|versions| !versions.contains(&record.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        SignalReceiver::read(&record)
    }

    /// Changes what is registered of a receiver; its stream stays. What waits in it is told only as far as it concerns the
    /// receiver still.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`; `PreconditionFailed` where `expected` names versions and it is at another; `Conflict` when it
    /// changes meanwhile.
    pub async fn change_signal_receiver(
        &self,
        actor: &Actor,
        id: &str,
        change: ReceiverChange,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        let mut receiver = self.signal_receiver(id, expected).await?;
        receiver.name = change.name.unwrap_or(receiver.name);
        receiver.aud = change.aud.unwrap_or(receiver.aud);
        receiver.resources = change.resources.unwrap_or(receiver.resources);
        receiver.for_resource = change.for_resource.unwrap_or(receiver.for_resource);
        receiver.discloses = change.discloses.unwrap_or(receiver.discloses);
        check(&receiver)?;
        let (sealed, version) = (Some(receiver.sealed.clone()), receiver.version);
        self.write_record(actor, RECORD, id, &receiver, sealed, version, "changed", told(&receiver)).await
    }

    /// Ends a receiver with its stream and all that waits in it.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` where `expected` names versions and it is at another; `Conflict` when it changes.
    pub async fn delete_signal_receiver(&self, actor: &Actor, id: &str, expected: Option<&[i64]>) -> ServiceResult<()> {
        let version = self.signal_receiver(id, expected).await?.version;
        let drop = OutgoingWrite::Drop { kind: RECORD, id: id.to_owned(), expected: version };
        let writes = vec![Write::Outgoing(drop), Write::Outgoing(OutgoingWrite::Unmute(id.to_owned()))];
        let audit = self.audit(actor, "signal_receiver.deleted", id, &json!({}))?;
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("{RECORD}/{id}") }];
        self.commit(writes, audit, feed).await?.map_err(|_| ServiceError::Conflict("receiver"))
    }
}
