//! Use cases. One file each; HTTP-free; every state change is one intent with its audit entry.

pub mod admin;
pub mod admissions;
pub mod anchor;
pub mod appeals;
pub mod authenticate;
pub mod authzen;
pub mod backfill;
pub mod backup;
pub mod beside;
pub mod cases;
pub mod checkup;
pub mod clients;
pub mod credentials;
pub mod cross_check;
pub mod deployment;
pub mod direct;
pub mod directories;
pub mod end_users;
pub mod erase;
pub mod evaluate;
pub mod exchange;
pub mod export;
pub mod gateway;
pub mod idempotency;
pub mod identity;
pub mod import;
pub mod index;
pub mod ingest;
pub mod introspect;
pub mod issue;
pub mod keys;
pub mod operators;
pub mod outbox;
pub mod packed;
pub mod parties;
pub mod populate;
pub mod reassess;
pub mod receipt;
pub mod register;
mod remembered;
pub mod reports;
pub mod retention;
pub mod roots;
pub mod roster;
pub mod rules;
pub mod scim;
pub mod simulate;
pub mod ssf;
pub mod sso;
pub mod status;
pub mod stream;
pub mod subjects;
pub mod suspend;
pub mod vendor;
pub mod vouch;
pub mod webhooks;
pub mod world;

use crate::clock::Clock;
use crate::crypto::{Crypto, CryptoError, MasterKey, new_id};
use crate::intake::IntakeError;
use crate::intake::geoip::GeoIp;
use crate::storage::{AuditEntry, Change, Conflict, FeedRow, Store, StoreError, TokenPlace, Write};
use crate::token::keys::KeyRing;
use arc_swap::ArcSwap;
use deployment::Deployment;
use index::Index;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use vouchsafe_core::Decision;
use world::World;

/// What went wrong, for the edge to translate. Its text is for logs, never for clients.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No such thing, or not for this caller.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A member of the input cannot be used.
    #[error("invalid `{pointer}`: {problem}")]
    Invalid {
        /// JSON pointer.
        pointer: String,
        /// What is wrong and what to do; never echoes the value.
        problem: String,
    },
    /// Rules that cannot be used: everything wrong with them.
    #[error("rules refused: {} findings", .0.len())]
    Refused(Vec<vouchsafe_core::check::Finding>),
    /// The subject was erased.
    #[error("erased")]
    Erased,
    /// A legal hold forbids it.
    #[error("legal hold")]
    LegalHold,
    /// It collides with what is there.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// The subject or record is not at the version that the caller named.
    #[error("precondition failed")]
    PreconditionFailed,
    /// Another process took over this request's idempotency key; nothing was changed.
    #[error("idempotency key taken over")]
    KeyTakenOver,
    /// The caller may not do this.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// An operator has to change a given password before anything else.
    #[error("password to be changed")]
    PasswordGiven,
    /// A password was tried too often.
    #[error("too many tries")]
    TooManyTries {
        /// Seconds to wait.
        wait_secs: i64,
    },
    /// The source or organisation is suspended: nothing it says is taken.
    #[error("suspended")]
    Suspended,
    /// The caller did not prove who it is.
    #[error("unauthenticated")]
    Unauthenticated,
    /// The caller did not prove that it holds the key its token is bound to.
    #[error("proof of possession: {0}")]
    Unproven(crate::token::dpop::DpopError),
    /// A token was asked for someone who is not eligible.
    #[error("not eligible")]
    NotEligible(Box<Decision>),
    /// A delivery was refused at the door.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token about an end user who is not as the policy asks, or is nobody's.
    #[error("end user: {}", .0.code())]
    EndUser(vouchsafe_core::end_users::Refusal),
    /// A primitive or a sealed value failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// It cannot know now.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// Test and production do not mix.
    #[error("{0}")]
    WrongDeployment(&'static str),
    /// A stored thing does not parse.
    #[error("unreadable: {0}")]
    Unreadable(String),
}

impl ServiceError {
    /// Whether it is not the caller's doing: the same may succeed later.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Crypto(_) | Self::Unavailable(_) | Self::Unreadable(_))
    }
}

/// Result of a use case.
pub type ServiceResult<T> = Result<T, ServiceError>;

/// An invalid member, by pointer.
pub(crate) fn invalid(pointer: &str, problem: impl Into<String>) -> ServiceError {
    ServiceError::Invalid { pointer: pointer.to_owned(), problem: problem.into() }
}

/// Who acts, for the audit log: `client:…`, `source:…`, `system`.
#[derive(Debug, Clone)]
pub struct Actor(String);

impl Actor {
    /// The service itself.
    #[must_use]
    pub fn system() -> Self {
        Self("system".to_owned())
    }
    /// An API client.
    #[must_use]
    pub fn client(id: &str) -> Self {
        Self(format!("client:{id}"))
    }
    /// A person who signed in.
    #[must_use]
    pub fn operator(id: &str) -> Self {
        Self(format!("operator:{id}"))
    }
    /// A directory by one of its tokens.
    #[must_use]
    pub fn directory(id: &str, token: &str) -> Self {
        Self(format!("directory:{id}/{token}"))
    }
    /// A source by its own authenticated delivery.
    #[must_use]
    pub fn source(id: &str) -> Self {
        Self(format!("source:{id}"))
    }
    /// An identity provider by a token of its own.
    #[must_use]
    pub fn identity_provider(id: &str) -> Self {
        Self(format!("identity_provider:{id}"))
    }
    /// A person at the command line of the machine.
    #[must_use]
    pub fn command_line() -> Self {
        Self("command-line".to_owned())
    }
    /// As written to the log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Source id of self-declarations.
pub const SELF_SOURCE: &str = "src_self";
/// Source id of network observations.
pub const NETWORK_SOURCE: &str = "src_network";
/// The source of what this service itself sees by comparing.
pub const SERVICE_SOURCE: &str = "src_service";

/// Memory for packed facts and links, in bytes: about 600,000 subjects with four attestations each.
const INDEX_BYTES: u64 = 256 * 1024 * 1024;

/// The client that asks vendors: bounded in time, and no redirect is ever followed.
pub(crate) fn outgoing_client() -> ServiceResult<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(std::time::Duration::from_secs(3))
        .timeout(std::time::Duration::from_secs(8))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| ServiceError::Unavailable("outgoing client"))
}

/// The service: everything a use case needs, without globals.
pub struct App {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Keys at rest.
    pub crypto: Crypto,
    /// What opens them.
    pub(crate) master: MasterKey,
    /// Our issuer, the public origin.
    pub issuer: String,
    /// Whether evidence may be made up here.
    pub deployment: Deployment,
    /// Signing keys.
    pub keys: ArcSwap<KeyRing>,
    /// Administration and rules, in memory.
    pub world: ArcSwap<World>,
    /// Facts of subjects, in memory.
    pub index: Index,
    /// Network databases.
    pub geoip: ArcSwap<GeoIp>,
    /// The one outgoing client.
    pub outgoing: reqwest::Client,
    /// What has to be looked at for cases.
    pub(crate) tending: cases::Tending,
    /// Within what time an appeal is to be decided, seconds.
    pub appeal_secs: AtomicI64,
    /// Whether subjects are searched for by what they may do.
    pub subject_search: AtomicBool,
    /// Failed tries of operators' passwords.
    pub(crate) tries: operators::Tries,
    /// Operators by the digest of a sign-in's token, for rate limits alone: whether it stands is asked each time.
    pub(crate) signed_in: moka::sync::Cache<String, String>,
    /// Secrets of clients that were proven lately.
    pub(crate) proven: clients::ProvenSecrets,
    /// Keys of identity providers.
    pub(crate) identities: identity::Identities,
    /// Bounds parallel password hashing.
    pub(crate) hashing: Arc<tokio::sync::Semaphore>,
    /// One reload at a time: of two that overlap, the one that began earlier must not be swapped in last.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    /// Tokens whose signature was verified, by hash of the whole token.
    pub(crate) verified: moka::future::Cache<[u8; 32], Arc<remembered::Remembered>>,
    /// Tokens revoked and not expired.
    pub(crate) revoked: RwLock<HashSet<String>>,
    /// Decisions recorded already, so that each is written once.
    pub(crate) recorded: moka::future::Cache<String, ()>,
    /// Who was let in and is not written down yet.
    pub(crate) ledger: admissions::Ledger,
    /// Gateways that listen.
    pub(crate) streams: stream::Streams,
    /// When gateways were heard of.
    pub(crate) contacts: register::Contacts,
    /// Last successful poll of the feed, epoch milliseconds.
    pub(crate) polled_at_ms: AtomicI64,
    /// How long what an auditor may ask about is kept, seconds.
    pub retention_secs: AtomicI64,
    /// How long a key signs before the next one does, seconds; 0 for ever.
    pub key_rotation_secs: AtomicI64,
    /// Status lists, in memory.
    pub(crate) status: status::Board,
    /// Subjects to be looked at again.
    pub(crate) waiting: reassess::Waiting,
    /// When idle subjects were last searched for, epoch milliseconds.
    pub(crate) idle_searched_ms: AtomicI64,
    /// What was erased may still lie in the database's files.
    pub(crate) scrub_wanted: AtomicBool,
    /// The history it stands on, and the anchor that holds it.
    pub(crate) continuity: anchor::Continuity,
    /// How messages leave.
    pub webhooks: webhooks::Settings,
    /// Who waits for something to fetch.
    pub(crate) collecting: ssf::collect::Collecting,
    /// How long before its end a yes that will not be renewed is told, seconds, longest first.
    pub notices: ArcSwap<Vec<i64>>,
    /// Empty when everything has to be read anew.
    cursor: tokio::sync::Mutex<String>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App(..)")
    }
}

impl App {
    /// Opens the service over a migrated store: loads keys (making them on the first start), rules and revocations.
    ///
    /// # Errors
    /// When the store cannot be read, a key cannot be opened with this master key, or rules do not compile.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        master: MasterKey,
        issuer: String,
        geoip: GeoIp,
    ) -> ServiceResult<Arc<Self>> {
        Self::open_as(Deployment::Production, store, clock, master, issuer, geoip).await
    }

    /// Opens the service as one or the other kind of deployment.
    ///
    /// # Errors
    /// As [`App::open`]; `WrongDeployment` when the database belongs to the other kind.
    pub async fn open_as(
        deployment: Deployment,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        master: MasterKey,
        issuer: String,
        geoip: GeoIp,
    ) -> ServiceResult<Arc<Self>> {
        let outgoing = outgoing_client()?;
        let identities = identity::Identities::new(&issuer)?;
        let webhooks = webhooks::Settings::new(&issuer)?;
        // The cursor is taken first: what is committed while we load is seen again, never missed.
        let (_, cursor) = store.feed("").await?;
        let now_ms = clock.now_ms();
        let crypto = roots::open_or_found(&*store, &master, now_ms).await?;
        let app = Arc::new(Self {
            store,
            clock,
            crypto,
            master,
            issuer,
            deployment,
            keys: ArcSwap::default(),
            world: ArcSwap::default(),
            index: Index::new(INDEX_BYTES),
            geoip: ArcSwap::from_pointee(geoip),
            outgoing,
            tending: cases::Tending::default(),
            appeal_secs: AtomicI64::new(appeals::APPEAL_SECS),
            subject_search: AtomicBool::new(false),
            tries: operators::Tries::default(),
            signed_in: moka::sync::Cache::new(10_000),
            proven: clients::ProvenSecrets::new()?,
            identities,
            hashing: Arc::new(tokio::sync::Semaphore::new(2)),
            reloading: tokio::sync::Mutex::default(),
            verified: moka::future::Cache::new(200_000),
            revoked: RwLock::default(),
            recorded: moka::future::Cache::new(200_000),
            ledger: admissions::Ledger::default(),
            contacts: register::Contacts::default(),
            streams: stream::Streams::default(),
            polled_at_ms: AtomicI64::new(now_ms),
            retention_secs: AtomicI64::new(retention::RETENTION_SECS),
            key_rotation_secs: AtomicI64::new(keys::KEY_ROTATION_SECS),
            status: status::Board::default(),
            waiting: reassess::Waiting::default(),
            idle_searched_ms: AtomicI64::new(0),
            // A process that ended between erasing and this is made up for.
            scrub_wanted: AtomicBool::new(true),
            continuity: anchor::Continuity::default(),
            webhooks,
            collecting: ssf::collect::Collecting::default(),
            notices: ArcSwap::from_pointee(reassess::NOTICES_SECS.to_vec()),
            cursor: tokio::sync::Mutex::new(cursor),
        });
        app.check_continuity().await?;
        app.take_possession().await?;
        app.ensure_keys().await?;
        app.install_packs().await?;
        app.reload_world().await?;
        app.reload_revoked().await?;
        app.load_lists().await?;
        Ok(app)
    }

    /// A new id.
    pub(crate) fn id(&self, prefix: &str) -> ServiceResult<String> {
        Ok(new_id(prefix, self.clock.now_ms())?)
    }

    /// An audit entry for a change made now.
    pub(crate) fn audit(&self, actor: &Actor, action: &str, target: &str, detail: &Value) -> ServiceResult<AuditEntry> {
        Ok(AuditEntry {
            id: self.id("aud")?,
            at_ms: self.clock.now_ms(),
            actor: actor.0.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: detail.to_string(),
        })
    }

    /// Commits a change and follows its feed rows at once; what takes something away is covered by the anchor before it
    /// is acknowledged.
    pub(crate) async fn commit(
        &self,
        writes: Vec<Write>,
        audit: AuditEntry,
        feed: Vec<FeedRow>,
    ) -> ServiceResult<Result<(), Conflict>> {
        self.commit_whole(Change { writes, audit: vec![audit], feed, outbox: Vec::new() }).await
    }

    /// Commits a change with all its entries, follows its feed rows at once, and lets the anchor cover what it takes away.
    pub(crate) async fn commit_whole(&self, change: Change) -> ServiceResult<Result<(), Conflict>> {
        let (taking, feed) = (Self::is_taking(&change.writes), change.feed.clone());
        let answer = self.commit_change(change).await?;
        if answer.is_ok() {
            self.follow(&feed).await?;
            if taking {
                self.cover().await?;
            }
        }
        Ok(answer)
    }

    /// Commits a change, and nothing else, under the preconditions of the request it serves: the version its caller
    /// expects, and the idempotency key it holds.
    pub(crate) async fn commit_change(&self, mut change: Change) -> ServiceResult<Result<(), Conflict>> {
        self.check_history()?;
        if let Some(expect) = idempotency::expected() {
            change.writes.insert(0, expect);
        }
        let entries = change.audit.iter().chain(change.writes.iter().filter_map(|write| match write {
            Write::Attestation(new) => Some(&new.audit),
            _ => None,
        }));
        // What the service does on its own behalf along the way is not what the request asked for.
        let done = entries.filter(|entry| entry.actor != Actor::system().0).map(|entry| entry.target.clone()).next();
        change.writes.extend(done.and_then(idempotency::effect));
        match self.store.commit(change).await? {
            Err(Conflict::Unmet) => Err(ServiceError::PreconditionFailed),
            Err(Conflict::Stale("requests")) => Err(ServiceError::KeyTakenOver),
            answer => Ok(answer),
        }
    }

    /// Reloads what feed rows name.
    async fn follow(&self, rows: &[FeedRow]) -> ServiceResult<()> {
        let mut world = false;
        let (mut keys, mut lists) = (false, false);
        for row in rows {
            match row.kind.as_str() {
                "subject" | "link" => self.index.invalidate(&row.key),
                "source" => {
                    self.index.invalidate_all();
                    world = true;
                }
                "record" | "timeline" => world = true,
                "key" => keys = true,
                "root" => self.load_roots().await?,
                "status" => lists = true,
                "token" => {
                    if let Some(token) = self.store.token(&row.key).await?
                        && token.revoked_at_ms.is_some()
                    {
                        self.note_revoked(&token.place());
                    }
                }
                // Written with its revocation.
                "access_token" => self.note_access_revoked(&row.key),
                _ => {}
            }
        }
        if keys {
            self.load_keys().await?;
        }
        if lists {
            self.load_lists().await?;
        }
        if world {
            self.reload_world().await?;
        }
        Ok(())
    }

    /// Reads the feed once and reloads what changed, here or in another process. After a read that failed everything is
    /// read anew: what a database lost in a crash it may have numbered again, so an older cursor proves nothing.
    ///
    /// # Errors
    /// When the store cannot be read; the feed's age then grows.
    pub async fn poll_feed(&self) -> ServiceResult<usize> {
        let mut cursor = self.cursor.lock().await;
        // The picture is as old as the read, however long following it takes.
        let begun = self.clock.now_ms();
        self.check_continuity().await?;
        if begun - self.polled_at_ms.load(Ordering::Relaxed) > retention::AWAY {
            // Rows of the meantime may be gone.
            cursor.clear();
        }
        let (rows, next) = match self.store.feed(&cursor).await {
            Ok(read) => read,
            Err(error) => {
                cursor.clear();
                return Err(error.into());
            }
        };
        if cursor.is_empty() {
            self.index.invalidate_all();
            self.load_roots().await?;
            self.load_keys().await?;
            self.reload_world().await?;
            self.reload_revoked().await?;
            self.load_lists().await?;
            self.waiting.all_changed();
        }
        self.follow(&rows).await?;
        for row in &rows {
            match row.kind.as_str() {
                "subject" => self.waiting.changed(&row.key),
                "source" | "timeline" => self.waiting.all_changed(),
                _ => {}
            }
        }
        *cursor = next;
        self.polled_at_ms.store(begun, Ordering::Relaxed);
        Ok(rows.len())
    }

    /// Seconds since the feed was last read.
    #[must_use]
    pub fn feed_age_secs(&self) -> i64 {
        (self.clock.now_ms() - self.polled_at_ms.load(Ordering::Relaxed)).max(0) / 1000
    }

    fn note_revoked(&self, token: &TokenPlace) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(token.jti.clone());
        self.status.revoked(token);
    }

    /// An access token has no place in a list.
    pub(crate) fn note_access_revoked(&self, jti: &str) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(jti.to_owned());
    }

    /// Whether the token is revoked.
    pub(crate) fn is_revoked(&self, jti: &str) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(jti)
    }

    /// Adds to what is known: a token that was just revoked here may not be in what was read.
    async fn reload_revoked(&self) -> ServiceResult<()> {
        for token in self.store.revoked_tokens(self.clock.now_ms()).await? {
            self.note_revoked(&token);
        }
        for jti in self.store.revoked_access(self.clock.now_ms()).await? {
            self.note_access_revoked(&jti);
        }
        Ok(())
    }
}
