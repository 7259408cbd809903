//! The anchor: how far the history went, written down outside the database.
//!
//! A database that was put back to an earlier state says nothing of it: in it a revoked person is eligible again. So
//! beside the master key lies a small file that names the deployment, a position of the audit log and the hash there. A
//! database is ours only while its log still holds that hash at that position. What takes something away from anybody is
//! acknowledged only once the anchor covers it; the rest follows within a second.

use super::{App, ServiceError, ServiceResult};
use crate::crypto::{Authenticator, CryptoError, new_id};
use crate::storage::audit::GENESIS;
use crate::storage::backup::{folder, inspect, sync_folder};
use crate::storage::{AuditEntry, Change, History, Store, StoreError, Write};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Facts, Outcome, Statement};

/// Records linked in one call.
const LINKED: i64 = 1000;

/// Why the database cannot be taken for the one the anchor knows. Its text is for the operator at the machine.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The anchor file cannot be read or written.
    #[error("anchor `{path}`: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// There is no anchor, and the database has a history.
    #[error(
        "no anchor `{path}`, and the database holds a history of {position} records: nothing shows that it is whole; \
         copy the anchor from a machine that runs this deployment, or accept the database as it is with \
         `vouchsafe anchor accept`"
    )]
    Missing {
        /// Where the anchor should be.
        path: String,
        /// Last position of the audit log.
        position: i64,
    },
    /// There is an anchor, and no database.
    #[error(
        "the database is missing or empty, and the anchor knows {position} records of it: restore a backup with \
         `vouchsafe restore`; to begin a new deployment move the anchor `{path}` away"
    )]
    Empty {
        /// The anchor file.
        path: String,
        /// Its position.
        position: i64,
    },
    /// The database is not the one the anchor knows, or not as far.
    #[error("{0}")]
    Regress(#[from] Regress),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id could be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// How a database differs from what the anchor knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Regress {
    /// Another deployment's.
    #[error(
        "the database belongs to deployment `{found}`, the anchor to `{anchored}`: point `database` or `anchor_file` to \
         the right one"
    )]
    OtherDeployment {
        /// In the anchor.
        anchored: String,
        /// In the database.
        found: String,
    },
    /// An earlier state of ours.
    #[error(
        "the database went back: its audit log ends at record {found}, the anchor saw record {anchored} (hash `{hash}`) at \
         {at}; {missing} records are missing, revocations may be among them: restore a newer copy, or accept the loss with \
         `vouchsafe anchor accept`"
    )]
    Behind {
        /// Last position of the log.
        found: i64,
        /// Position in the anchor.
        anchored: i64,
        /// Hash in the anchor.
        hash: String,
        /// When the anchor saw it.
        at: Second,
        /// Difference of the positions.
        missing: i64,
    },
    /// A state of ours that took another way.
    #[error(
        "the database has another history: its record {anchored} has hash `{found}`, the anchor saw `{hash}` at {at}; \
         revocations may be missing: restore a newer copy, or accept the loss with `vouchsafe anchor accept`"
    )]
    Forked {
        /// Position in the anchor.
        anchored: i64,
        /// Hash in the log.
        found: String,
        /// Hash in the anchor.
        hash: String,
        /// When the anchor saw it.
        at: Second,
    },
}

/// What the anchor says: this deployment's log had this hash at this position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Id of the deployment.
    pub deployment: String,
    /// Position in the audit log, 0 before the first record.
    pub position: i64,
    /// Hash there.
    pub hash: String,
    /// When it was written, epoch milliseconds.
    pub at_ms: i64,
}

impl Mark {
    /// The end of a history.
    fn of(history: &History, at_ms: i64) -> Self {
        let History { deployment, position, head, .. } = history.clone();
        Self { deployment, position, hash: head, at_ms }
    }

    /// Whether a history, asked about this position, still holds what was seen.
    ///
    /// # Errors
    /// How it differs.
    pub fn judge(&self, found: &History) -> Result<(), Regress> {
        let (anchored, hash, at) = (self.position, self.hash.clone(), Second::from_millis(self.at_ms));
        if found.deployment != self.deployment {
            return Err(Regress::OtherDeployment {
                anchored: self.deployment.clone(),
                found: found.deployment.clone(),
            });
        }
        match &found.asked {
            _ if anchored == 0 && hash == GENESIS => Ok(()),
            Some(asked) if *asked == hash => Ok(()),
            Some(asked) => Err(Regress::Forked { anchored, found: asked.clone(), hash, at }),
            None if found.position < anchored => {
                let missing = anchored - found.position;
                Err(Regress::Behind { found: found.position, anchored, hash, at, missing })
            }
            None => Err(Regress::Forked { anchored, found: "none".to_owned(), hash, at }),
        }
    }

    /// As it stands in the file, without the tag: always as long.
    fn text(&self) -> String {
        let Self { deployment, position, hash, at_ms } = self;
        format!(
            "vouchsafe anchor 1\ndeployment {deployment}\nposition {position:020}\nhash {hash}\nat_ms {at_ms:020}\n"
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        value("vouchsafe anchor").filter(|version| version == "1")?;
        let mark = Self {
            deployment: value("deployment")?,
            position: value("position")?.parse().ok()?,
            hash: value("hash")?,
            at_ms: value("at_ms")?.parse().ok()?,
        };
        (mark.text() == text).then_some(mark)
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct AnchorFile {
    path: PathBuf,
    authenticator: Authenticator,
}

/// Keeps anchors apart from other statements under the same key.
const DOMAIN: &str = "anchor";

impl AnchorFile {
    /// Names the file; nothing is read yet.
    #[must_use]
    pub fn new(path: &Path, authenticator: Authenticator) -> Self {
        Self { path: path.to_owned(), authenticator }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fail(&self, problem: impl std::fmt::Display) -> AnchorError {
        AnchorError::File { path: self.path.display().to_string(), problem: problem.to_string() }
    }

    /// What the file says; `None` when there is no file.
    ///
    /// # Errors
    /// [`AnchorError::File`] when it cannot be read, was edited, or was made under another master key.
    pub fn load(&self) -> Result<Option<Mark>, AnchorError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        let parsed = text.split_once("mac ").and_then(|(body, tag)| {
            let tag = tag.strip_suffix('\n')?;
            if self.authenticator.is_ours(DOMAIN, body, tag) { Mark::parse(body) } else { None }
        });
        let edited = "was edited, or made under another master key: put the right one back, or move it away and accept the \
                      database as it is with `vouchsafe anchor accept`";
        parsed.map(Some).ok_or_else(|| self.fail(edited))
    }

    /// Writes `mark` durably and gives what the file then says. Another process on the file may be further: it is
    /// never set back, unless `back` says that a loss was accepted.
    ///
    /// # Errors
    /// [`AnchorError::File`]; the file then says what it said before, or `mark`.
    fn store(&self, mark: &Mark, back: bool) -> Result<Mark, AnchorError> {
        let held = File::open(folder(&self.path)).map_err(|error| self.fail(error))?;
        // One writer at a time; the lock ends with the handle.
        held.lock().map_err(|error| self.fail(error))?;
        let current = if back { None } else { self.load()? };
        if let Some(current) =
            current.filter(|current| current.deployment == mark.deployment && current.position >= mark.position)
        {
            return Ok(current);
        }
        let body = mark.text();
        let tag = self.authenticator.tag(DOMAIN, &body);
        let mut partial = self.path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let written = (|| {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(format!("{body}mac {tag}\n").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &self.path)?;
            sync_folder(&self.path)
        })();
        written.map(|()| mark.clone()).map_err(|error| self.fail(error))
    }
}

/// The anchor of a running service.
#[derive(Debug)]
pub struct Anchor {
    file: AnchorFile,
    mark: Mutex<Mark>,
    failing: AtomicBool,
    /// Rounds that have begun.
    begun: AtomicU64,
    /// The last round that ended and whether it succeeded.
    ended: tokio::sync::Mutex<(u64, bool)>,
}

impl Anchor {
    fn new(file: AnchorFile, mark: Mark) -> Arc<Self> {
        Arc::new(Self {
            file,
            mark: Mutex::new(mark),
            failing: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: tokio::sync::Mutex::default(),
        })
    }

    /// What it says now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn advance(self: &Arc<Self>, mark: Mark) -> Result<(), AnchorError> {
        let this = Arc::clone(self);
        let stored = tokio::task::spawn_blocking(move || this.file.store(&mark, false)).await;
        let stored = stored.unwrap_or_else(|error| Err(self.file.fail(error)));
        self.failing.store(stored.is_err(), Ordering::Relaxed);
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = stored?;
        Ok(())
    }
}

/// Links what is committed.
async fn link(store: &dyn Store) -> Result<(), StoreError> {
    while store.sequence_audit(LINKED).await? >= usize::try_from(LINKED).unwrap_or(usize::MAX) {}
    Ok(())
}

/// Links what is committed and asks for the history at `position`.
async fn linked(store: &dyn Store, position: i64) -> Result<History, StoreError> {
    link(store).await?;
    store.history(position).await
}

/// What was found before the database was opened for writing.
#[derive(Debug)]
pub enum Before {
    /// Neither anchor nor history.
    Fresh,
    /// An anchor, and a database with a history.
    Known(Mark),
}

impl AnchorFile {
    /// Looks at anchor and database before anything is made or changed.
    ///
    /// # Errors
    /// [`AnchorError::Missing`], [`AnchorError::Empty`], [`Regress::OtherDeployment`], an edited anchor.
    pub async fn before(&self, database: &str) -> Result<Before, AnchorError> {
        let mark = self.load()?;
        let path = self.path.display().to_string();
        match (mark, inspect(database).await?) {
            (None, None) => Ok(Before::Fresh),
            (None, Some(found)) if found.position == 0 && found.waiting == 0 => Ok(Before::Fresh),
            (None, Some(found)) => Err(AnchorError::Missing { path, position: found.position + found.waiting }),
            (Some(mark), None) => Err(AnchorError::Empty { path, position: mark.position }),
            (Some(mark), Some(found)) if found.deployment != mark.deployment => {
                Err(Regress::OtherDeployment { anchored: mark.deployment, found: found.deployment }.into())
            }
            (Some(mark), Some(_)) => Ok(Before::Known(mark)),
        }
    }

    /// Compares the opened and migrated database with the anchor; makes the anchor of a new deployment.
    ///
    /// # Errors
    /// [`AnchorError::Regress`] when the database is not as far as the anchor, or went another way.
    pub async fn hold(self, before: Before, store: &dyn Store, now_ms: i64) -> Result<Arc<Anchor>, AnchorError> {
        let mark = match before {
            Before::Fresh => {
                let history = linked(store, 0).await?;
                self.store(&Mark::of(&history, now_ms), false)?
            }
            Before::Known(mark) => {
                self.compare(&mark, store).await??;
                mark
            }
        };
        Ok(Anchor::new(self, mark))
    }

    /// What a copy still has to link is linked first: only then is it as far as it can be.
    async fn compare(&self, mark: &Mark, store: &dyn Store) -> Result<Result<(), Regress>, StoreError> {
        let found = store.history(mark.position).await?;
        match mark.judge(&found) {
            Err(Regress::Behind { .. }) if found.waiting > 0 => {}
            verdict => return Ok(verdict),
        }
        Ok(mark.judge(&linked(store, mark.position).await?))
    }

    /// Takes the database as it is for the one to go on with: notes who did so and what is missing in the audit log,
    /// ends every token issued so far, and moves the anchor. `None` when there is nothing to accept.
    ///
    /// # Errors
    /// [`AnchorError::Regress`] for the database of another deployment; when store or file cannot be written.
    pub async fn accept(
        &self,
        store: &dyn Store,
        now_ms: i64,
        by: &str,
        reason: &str,
    ) -> Result<Option<(Mark, Option<Regress>)>, AnchorError> {
        let before = self.load()?;
        let regress = match &before {
            Some(mark) => match self.compare(mark, store).await? {
                Ok(()) => return Ok(None),
                Err(other @ Regress::OtherDeployment { .. }) => return Err(other.into()),
                Err(regress) => Some(regress),
            },
            None => None,
        };
        let found = linked(store, 0).await?;
        let lost = match &regress {
            Some(Regress::Behind { found, anchored, .. }) => json!({ "from": found + 1, "to": anchored }),
            _ => json!(null),
        };
        let anchored = before.map(|mark| json!({ "position": mark.position, "hash": mark.hash, "at_ms": mark.at_ms }));
        let detail = json!({
            "by": by, "reason": reason, "lost": lost, "anchored": anchored,
            "found": { "position": found.position, "hash": found.head },
        });
        let audit = AuditEntry {
            id: new_id("aud", now_ms)?,
            at_ms: now_ms,
            actor: super::Actor::command_line().as_str().to_owned(),
            action: "history.accepted".to_owned(),
            target: found.deployment,
            detail: detail.to_string(),
        };
        // Tokens name whole seconds: up to the end of this one.
        let since = (now_ms.div_euclid(1000) + 1) * 1000;
        let writes = vec![Write::TokensSince(since)];
        let change = Change { writes, audit: vec![audit], feed: Vec::new(), outbox: Vec::new() };
        let written = store.commit(change).await?;
        written.map_err(|_| StoreError::Unavailable("the acceptance could not be recorded".to_owned()))?;
        let mark = Mark::of(&linked(store, 0).await?, now_ms);
        Ok(Some((self.store(&mark, true)?, regress)))
    }

    /// Whether the database is as far as the anchor, without changing either beyond linking what waits; `None` without an
    /// anchor.
    ///
    /// # Errors
    /// When file or store cannot be read.
    pub async fn verdict(&self, store: &dyn Store) -> Result<Option<(Mark, Result<(), Regress>)>, AnchorError> {
        let Some(mark) = self.load()? else { return Ok(None) };
        let verdict = self.compare(&mark, store).await?;
        Ok(Some((mark, verdict)))
    }
}

/// What a running service knows of the history it stands on.
#[derive(Debug, Default)]
pub struct Continuity {
    anchor: OnceLock<Arc<Anchor>>,
    /// Set once, for ever: what was read since may be mixed of two histories.
    broken: OnceLock<String>,
    tokens_since_ms: AtomicI64,
}

/// Whether a write can take something away from somebody, so that its loss would give it back.
fn takes_away(write: &Write) -> bool {
    match write {
        Write::Mark(_)
        | Write::RevokeToken { .. }
        | Write::Timeline { .. }
        | Write::Unlink { .. }
        | Write::ReplaceSubject { .. }
        | Write::TokensSince(_) => true,
        Write::Record { expected, .. } => *expected > 0,
        Write::Subject(_)
        | Write::Link(_)
        | Write::Session { .. }
        | Write::Quarantine(_)
        | Write::Release(_)
        | Write::Compared(_)
        | Write::Spend { .. }
        | Write::Key(_)
        | Write::Decision { .. }
        | Write::Attestation(_)
        | Write::Expect { .. }
        | Write::Claim { .. }
        | Write::Effect { .. }
        | Write::Answer { .. }
        | Write::GiveBack { .. }
        | Write::Forget(_) => false,
    }
}

/// Whether facts speak against their subject by themselves.
pub(crate) fn denies(facts: &Facts) -> bool {
    facts.outcome != Outcome::Approved || matches!(facts.statement, Some(Statement::Employment { employed: false, .. }))
}

impl App {
    /// Holds the service to an anchor; the second one is ignored.
    pub fn hold(&self, anchor: Arc<Anchor>) {
        let _ = self.continuity.anchor.set(anchor);
    }

    /// Whether the anchor could be written when it last had to be.
    #[must_use]
    pub fn anchor_works(&self) -> bool {
        self.continuity.anchor.get().is_none_or(|anchor| !anchor.failing.load(Ordering::Relaxed))
    }

    /// Nothing is answered or changed on a history that is not the one we knew.
    ///
    /// # Errors
    /// `Unavailable`, until the process ends.
    pub fn check_history(&self) -> ServiceResult<()> {
        if self.continuity.broken.get().is_some() { Err(ServiceError::Unavailable("history")) } else { Ok(()) }
    }

    /// Tokens issued before this instant are refused, epoch milliseconds.
    pub(crate) fn tokens_since_ms(&self) -> i64 {
        self.continuity.tokens_since_ms.load(Ordering::Relaxed)
    }

    /// A token that would be refused at once is not given away.
    pub(crate) fn check_issuing(&self) -> ServiceResult<()> {
        if self.clock.now().millis() < self.tokens_since_ms() {
            return Err(ServiceError::Unavailable("tokens"));
        }
        Ok(())
    }

    fn break_off(&self, why: &str) -> ServiceError {
        if self.continuity.broken.set(why.to_owned()).is_ok() {
            metrics::counter!("vouchsafe_history_broken_total").increment(1);
            tracing::error!(why, "the history broke off: nothing is answered until a restart on the right database");
        }
        ServiceError::Unavailable("history")
    }

    /// Asks the database for its history and compares it with the anchor.
    ///
    /// # Errors
    /// `Unavailable` for ever once they differ; when the store cannot be read.
    pub(crate) async fn check_continuity(&self) -> ServiceResult<()> {
        self.check_history()?;
        let mark = self.continuity.anchor.get().map(|anchor| anchor.mark());
        let found = self.judged(mark.as_ref()).await?;
        self.continuity.tokens_since_ms.fetch_max(found.tokens_since_ms, Ordering::Relaxed);
        Ok(())
    }

    async fn judged(&self, mark: Option<&Mark>) -> ServiceResult<History> {
        let found = match self.store.history(mark.map_or(0, |mark| mark.position)).await {
            Err(StoreError::Replaced(why)) => return Err(self.break_off(&why)),
            found => found?,
        };
        match mark.map_or(Ok(()), |mark| mark.judge(&found)) {
            Ok(()) => Ok(found),
            Err(regress) => Err(self.break_off(&regress.to_string())),
        }
    }

    /// Links committed audit entries and lets the anchor follow; called twice a second. Of callers that wait at the same
    /// time one does the work for all.
    ///
    /// # Errors
    /// When store or anchor cannot be written, or the history broke off.
    pub async fn link_and_anchor(&self) -> ServiceResult<()> {
        let Some(anchor) = self.continuity.anchor.get() else { return Ok(link(&*self.store).await?) };
        // A round that began before now may have read the log before our commit.
        let wanted = anchor.begun.load(Ordering::SeqCst) + 1;
        let mut ended = anchor.ended.lock().await;
        if ended.0 >= wanted {
            return if ended.1 { Ok(()) } else { Err(ServiceError::Unavailable("anchor")) };
        }
        let round = anchor.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = self.round(anchor).await;
        *ended = (round, outcome.is_ok());
        outcome
    }

    async fn round(&self, anchor: &Arc<Anchor>) -> ServiceResult<()> {
        self.check_history()?;
        link(&*self.store).await?;
        let mark = anchor.mark();
        let found = self.judged(Some(&mark)).await?;
        // One that could not be written is tried again even if nothing new happened.
        if found.position == mark.position && !anchor.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        anchor.advance(Mark::of(&found, self.clock.now_ms())).await.map_err(|error| {
            metrics::counter!("vouchsafe_anchor_failures_total").increment(1);
            tracing::error!(error = %error, "the anchor cannot follow");
            ServiceError::Unavailable("anchor")
        })
    }

    /// Whether one of the writes has to be covered by the anchor before it is acknowledged.
    pub(crate) fn is_taking(writes: &[Write]) -> bool {
        writes.iter().any(takes_away)
    }

    /// Lets the anchor cover what was committed just now; what is committed stays committed.
    ///
    /// # Errors
    /// As [`App::link_and_anchor`]: the change stands and acts, but must not be acknowledged.
    pub(crate) async fn cover(&self) -> ServiceResult<()> {
        if self.continuity.anchor.get().is_none() { Ok(()) } else { self.link_and_anchor().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Crypto;

    fn mark(position: i64, hash: &str) -> Mark {
        Mark { deployment: "d".repeat(32), position, hash: hash.repeat(64), at_ms: 1_795_219_200_000 }
    }

    fn history(position: i64, asked: Option<&str>) -> History {
        History {
            deployment: "d".repeat(32),
            tokens_since_ms: 0,
            position,
            head: "f".repeat(64),
            asked: asked.map(|hash| hash.repeat(64)),
            waiting: 0,
        }
    }

    #[test]
    fn a_writer_that_is_late_does_not_set_the_anchor_back() {
        let folder = std::env::temp_dir().join(new_id("vouchsafe_anchor", 0).unwrap());
        std::fs::create_dir(&folder).unwrap();
        let file = AnchorFile::new(&folder.join("anchor"), Crypto::new(&[1; 32]).authenticator());
        assert_eq!(file.store(&mark(5, "a"), false).unwrap(), mark(5, "a"));
        assert_eq!(file.store(&mark(3, "b"), false).unwrap(), mark(5, "a"), "another process was further");
        assert_eq!(file.load().unwrap(), Some(mark(5, "a")));
        assert_eq!(file.store(&mark(3, "b"), true).unwrap(), mark(3, "b"), "but for an accepted loss");
        assert_eq!(file.load().unwrap(), Some(mark(3, "b")));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_a_log_with_the_anchored_hash_at_the_anchored_position_is_ours() {
        assert_eq!(mark(5, "a").judge(&history(5, Some("a"))), Ok(()));
        assert_eq!(mark(5, "a").judge(&history(9, Some("a"))), Ok(()), "ahead is as it should be");
        assert!(matches!(mark(5, "a").judge(&history(5, Some("b"))), Err(Regress::Forked { .. })));
        assert!(matches!(mark(5, "a").judge(&history(9, None)), Err(Regress::Forked { .. })), "a record was removed");
        assert!(matches!(mark(5, "a").judge(&history(4, None)), Err(Regress::Behind { missing: 1, .. })));
        assert_eq!(mark(0, "0").judge(&history(0, None)), Ok(()), "nothing was recorded yet");
        let other = History { deployment: "e".repeat(32), ..history(5, Some("a")) };
        assert!(matches!(mark(5, "a").judge(&other), Err(Regress::OtherDeployment { .. })));
    }
}
