//! Every table has a bound: what has outlived its use goes, with an entry in the audit log where it was history.
//!
//! | what | goes |
//! |---|---|
//! | idempotency keys, single-use ids | at their end |
//! | feed rows | after an hour; a follower that was away for half an hour starts anew |
//! | what was told to the outside, and how | after 30 days |
//! | deliveries for sessions that nobody bound | after 30 days |
//! | tokens | 30 days after their end |
//! | blocks of a status list | when no token of the list can live any more; its number stays |
//! | sign-ins of operators | 30 days after they were opened |
//! | closed cases, decided appeals, admissions | when the retention since then is over |
//! | decisions | when they are over and older than the retention |
//! | an erased subject's facts, decisions and tokens | when the retention since the erasure is over |
//! | subjects of whom nothing was heard for the retention, and who may use nothing | are erased |

use super::idempotency::bookkeeping;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Conflict, Forgotten, OutgoingWrite, Table, Write};
use serde_json::json;
use std::sync::atomic::Ordering;
use vouchsafe_core::Status;
use vouchsafe_core::ids::SubjectId;

const SECOND: i64 = 1000;
const DAY: i64 = 86_400 * SECOND;

/// Rows of one commit.
const ROUND: i64 = 200;
/// How long feed rows are kept, milliseconds.
const FEED_KEPT: i64 = 3600 * SECOND;
/// How long a follower may be away before it reads everything anew, milliseconds; half of [`FEED_KEPT`].
pub(super) const AWAY: i64 = FEED_KEPT / 2;
/// How long it can be seen, and repeated, what was told to the outside, milliseconds.
const MESSAGES_KEPT: i64 = 30 * DAY;
/// How often subjects are searched for idle ones, milliseconds.
const IDLE_SEARCH: i64 = DAY;

/// Five years: what an auditor may ask about (15 CFR 762.6).
pub const RETENTION_SECS: i64 = 1826 * 86_400;

impl Table {
    /// How long its rows outlive their use, milliseconds.
    fn kept(self, retention: i64) -> i64 {
        match self {
            Table::Tokens | Table::Quarantine => 30 * DAY,
            Table::Decisions | Table::Cases | Table::Appeals | Table::Admissions => retention,
            // They carry their own end.
            Table::Erasures => 0,
        }
    }
}

impl App {
    /// How long what an auditor may ask about is kept, milliseconds.
    pub(crate) fn retention_ms(&self) -> i64 {
        self.retention_secs.load(Ordering::Relaxed) * SECOND
    }

    /// Lets go what has outlived its use; called once a minute.
    ///
    /// # Errors
    /// When the store cannot be read or written; the rest goes the next time.
    pub async fn keep_bounds(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let _ = self.store.commit(bookkeeping(Write::MarkFeed(now_ms, now_ms - FEED_KEPT))).await?;
        self.forget(Forgotten::Feed, now_ms - FEED_KEPT).await?;
        self.forget(Forgotten::Requests, now_ms).await?;
        self.forget(Forgotten::SpentIds, now_ms).await?;
        self.forget(Forgotten::OperatorSessions, now_ms - super::operators::REMEMBERED_MS).await?;
        self.forget(Forgotten::Messages, now_ms - MESSAGES_KEPT).await?;
        let mend = Write::Outgoing(OutgoingWrite::Mend(now_ms));
        let _ = self.store.commit(bookkeeping(mend)).await?;
        for table in Table::ALL {
            self.prune(table, now_ms).await?;
        }
        self.retire_lists().await?;
        self.erase_idle(now_ms).await?;
        self.scrub_erased().await
    }

    /// Forgets books until none is left.
    pub(crate) async fn forget(&self, what: Forgotten, now_ms: i64) -> ServiceResult<()> {
        while self.store.commit(bookkeeping(Write::Forget(what, now_ms))).await?.is_ok() {}
        Ok(())
    }

    async fn prune(&self, table: Table, now_ms: i64) -> ServiceResult<()> {
        let before_ms = now_ms - table.kept(self.retention_ms());
        loop {
            let ids = self.store.bygone(table, before_ms, ROUND).await?;
            if ids.is_empty() {
                return Ok(());
            }
            // An erased subject is named; of the rest it is enough how many went.
            let named = (table == Table::Erasures).then_some(&ids);
            let detail = json!({ "rows": ids.len(), "older_than_ms": before_ms, "subjects": named });
            let audit = self.audit(&Actor::system(), "retention.pruned", table.name(), &detail)?;
            match self.commit(vec![Write::Prune { table, ids, now_ms }], audit, Vec::new()).await? {
                Ok(()) => {}
                // Another replica was faster, or a hold was placed meanwhile: look again the next time.
                Err(Conflict::Stale(_)) => return Ok(()),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Once a day: subjects of whom nothing was heard for the whole retention are erased.
    async fn erase_idle(&self, now_ms: i64) -> ServiceResult<()> {
        let last = self.idle_searched_ms.load(Ordering::Acquire);
        if now_ms - last < IDLE_SEARCH {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let page = self.store.idle_subjects(&after, now_ms - self.retention_ms(), ROUND).await?;
            let Some(last) = page.last().cloned() else { break };
            for id in page {
                if let Err(error) = self.erase_if_idle(&id).await {
                    tracing::warn!(error = %error, "an idle subject was not erased");
                }
            }
            after = last;
        }
        self.idle_searched_ms.store(now_ms, Ordering::Release);
        Ok(())
    }

    /// Whoever may use something is taken to use it, though no gateway has let them in.
    async fn erase_if_idle(&self, id: &str) -> ServiceResult<()> {
        let subject = SubjectId::parse(id).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))?;
        let Some(facts) = self.load_facts(id).await? else { return Ok(()) };
        if self.standing(&facts).await?.iter().any(|decision| decision.status == Status::Eligible) {
            return Ok(());
        }
        self.erase_subject(&Actor::system(), &subject, "inactive").await.map(drop)
    }

    /// After an erasure the old content still lies in the database's files; the flag stays up until it does not.
    async fn scrub_erased(&self) -> ServiceResult<()> {
        if self.scrub_wanted.swap(false, Ordering::AcqRel)
            && let Err(error) = self.store.scrub().await
        {
            self.scrub_wanted.store(true, Ordering::Release);
            return Err(error.into());
        }
        Ok(())
    }
}
