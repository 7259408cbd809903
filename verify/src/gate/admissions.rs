//! Who was let in, counted by the hour and handed to whoever reports it.

use super::Eligible;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How often it is reported, in seconds: what a process that dies may lose.
const REPORT_SECS: i64 = 10;

/// Most rows held between two reports; the next one is reported at once.
const MOST_ROWS: usize = 10_000;

const HOUR_SECS: i64 = 3600;

/// How often somebody was let in under one decision within one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The subject, as this audience knows it.
    pub subject: String,
    /// The organisation acted for, as this audience knows it.
    pub acting_for: Option<String>,
    /// To what.
    pub resource: String,
    /// Under which decision.
    pub decision: String,
    /// The end user for whom the subject acted, where a token named one.
    pub end_user: Option<EndUser>,
    /// The hour's first second, epoch seconds.
    pub hour: i64,
    /// How often since the last report; several reports of one hour add up.
    pub count: u64,
    /// The first time, epoch seconds.
    pub first_at: i64,
    /// The last time, epoch seconds.
    pub last_at: i64,
}

/// An end user for whom somebody was let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndUser {
    /// As this audience knows them.
    pub subject: String,
    /// The organisation through which they came, as this audience knows it.
    pub customer: String,
    /// The decision about them, sealed.
    pub decision: String,
}

/// Takes what was counted. It is called from the task that runs the gate and must not block for long.
pub trait Reporter: Send + Sync {
    /// Takes the rows since the last call.
    fn report(&self, admissions: Vec<Admission>);
    /// Takes the name of the orders that stand in the oldest status list that is judged by.
    fn seen(&self, orders: &str) {
        let _ = orders;
    }
}

impl<F: Fn(Vec<Admission>) + Send + Sync> Reporter for F {
    fn report(&self, admissions: Vec<Admission>) {
        self(admissions);
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Row {
    subject: String,
    acting_for: Option<String>,
    resource: String,
    decision: String,
    end_user: Option<EndUser>,
    hour: i64,
}

/// Count, first and last time.
type Counted = (u64, i64, i64);

pub(super) struct Admissions {
    reporter: Arc<dyn Reporter>,
    /// Rows, and when they are due.
    rows: Mutex<(HashMap<Row, Counted>, i64)>,
}

impl Admissions {
    pub(super) fn new(reporter: Arc<dyn Reporter>) -> Self {
        Self { reporter, rows: Mutex::default() }
    }

    pub(super) fn count(&self, eligible: &Eligible, resource: &str, now: i64) {
        // Who acts is let in, and their end user with them.
        let end_user = eligible.acted_for.as_ref().map(|acted_for| EndUser {
            subject: eligible.subject.clone(),
            customer: acted_for.customer.clone(),
            decision: acted_for.decision.clone(),
        });
        let row = Row {
            subject: eligible.acted_for.as_ref().map_or(&eligible.subject, |acted_for| &acted_for.actor).clone(),
            acting_for: eligible.acting_for.clone(),
            resource: resource.to_owned(),
            decision: eligible.decision.clone(),
            end_user,
            hour: now.div_euclid(HOUR_SECS) * HOUR_SECS,
        };
        let full = {
            let (rows, _) = &mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let (count, _, last_at) = rows.entry(row).or_insert((0, now, now));
            *count += 1;
            *last_at = now.max(*last_at);
            rows.len() >= MOST_ROWS
        };
        if full {
            self.report();
        }
    }

    pub(super) fn seen(&self, orders: &str) {
        self.reporter.seen(orders);
    }

    pub(super) fn report_if_due(&self, now: i64) {
        let due = {
            let (_, due_at) = &mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let due = now >= *due_at;
            if due {
                *due_at = now.saturating_add(REPORT_SECS);
            }
            due
        };
        if due {
            self.report();
        }
    }

    pub(super) fn report(&self) {
        let rows = {
            let (rows, _) = &mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(rows)
        };
        if rows.is_empty() {
            return;
        }
        let told = rows.into_iter().map(|(row, (count, first_at, last_at))| Admission {
            subject: row.subject,
            acting_for: row.acting_for,
            resource: row.resource,
            decision: row.decision,
            end_user: row.end_user,
            hour: row.hour,
            count,
            first_at,
            last_at,
        });
        self.reporter.report(told.collect());
    }
}
