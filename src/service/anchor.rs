//! The anchor: how far the history went, written down outside the database.
//!
//! A database that was put back to an earlier state says nothing of it: in it a revoked person is eligible again. So
//! beside the master key lies a small file that names the deployment, a position of the audit log and the hash there. A
//! database is ours only while its log still holds that hash at that position. What takes something away from anybody is
//! acknowledged only once the anchor covers it; the rest follows within a second.

use super::{App, ServiceError, ServiceResult};
use crate::storage::{History, OutgoingWrite, Store, StoreError, Write};
pub use file::{AnchorError, AnchorFile, Before};
pub use mark::{Mark, Regress};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use vouchsafe_core::facts::{Facts, Outcome, Statement};

mod file;
mod mark;

/// Records linked in one call: whoever writes waits for its end, a few milliseconds.
const LINKED: i64 = 200;

/// The anchor of a running service.
#[derive(Debug)]
pub struct Anchor {
    file: AnchorFile,
    mark: Mutex<Mark>,
    failing: AtomicBool,
    /// The file has to be written also if nothing new happened: other master keys shall know it for ours.
    anew: AtomicBool,
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
            anew: AtomicBool::new(false),
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
        | Write::RevokeAccess { .. }
        | Write::SessionsOver { .. }
        | Write::Timeline { .. }
        | Write::Unlink { .. }
        | Write::Suspend { .. }
        | Write::Erase { .. }
        | Write::RemoveDirectoryUser { .. }
        | Write::Hold(_)
        | Write::TokensSince(_) => true,
        Write::Record { expected, .. } => *expected > 0,
        Write::MoveKey { times, .. } => times.retired_at_ms.is_some(),
        Write::Review(write) => write.takes_away(),
        Write::Outgoing(write) => matches!(write, OutgoingWrite::Drop { .. }),
        Write::Subject(_)
        | Write::Link(_)
        | Write::Session { .. }
        | Write::Quarantine(_)
        | Write::Release(_)
        | Write::Compared(_)
        | Write::Spend { .. }
        | Write::Root { .. }
        | Write::OnlyRoot(_)
        | Write::Key(_)
        | Write::Reserve { .. }
        | Write::RetireList { .. }
        | Write::Decision { .. }
        | Write::Standing { .. }
        | Write::Relies { .. }
        | Write::Attestation(_)
        | Write::Expect { .. }
        | Write::Claim { .. }
        | Write::Effect { .. }
        | Write::Answer { .. }
        | Write::GiveBack { .. }
        | Write::Progress { .. }
        | Write::Reinstate { .. }
        | Write::LiftHold(_)
        | Write::Prune { .. }
        | Write::Forget(..)
        | Write::MarkFeed(..)
        | Write::Admissions(_)
        | Write::Consent(_)
        | Write::Provided { .. }
        | Write::Contact(_)
        | Write::DirectoryUser { .. } => false,
    }
}

/// Whether facts speak against their subject by themselves.
pub(crate) fn denies(facts: &Facts) -> bool {
    facts.outcome != Outcome::Approved || matches!(facts.statement, Some(Statement::Employment { employed: false, .. }))
}

impl App {
    /// Holds the service to an anchor; the second one is ignored.
    pub fn hold_to(&self, anchor: Arc<Anchor>) {
        let _ = self.continuity.anchor.set(anchor);
    }

    /// The anchor is written once more, for the master keys that there are now.
    pub(crate) fn sign_anchor_anew(&self) {
        if let Some(anchor) = self.continuity.anchor.get() {
            anchor.anew.store(true, Ordering::SeqCst);
        }
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
            Err(StoreError::Broken(why)) => return Err(self.break_off(&why)),
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
        let anew = anchor.anew.swap(false, Ordering::SeqCst);
        // One that could not be written is tried again even if nothing new happened.
        if found.position == mark.position && !anchor.failing.load(Ordering::Relaxed) && !anew {
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
    use crate::crypto::{MasterKey, new_id};

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
        let file = AnchorFile::new(&folder.join("anchor"), MasterKey::new(&[1; 32]).authenticator());
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
