//! Beside others: the database is left alone now and then, and asked again when it is busy.

use crate::service::{App, ServiceError};
use crate::storage::StoreError;
use std::time::{Duration, Instant};

/// How often a line is tried while the database does not answer.
const TRIES: u32 = 5;

/// Leaves the database to others now and then.
pub(super) struct Pace {
    courtesy: Duration,
    since: Instant,
}

impl Pace {
    /// Time at work for each part of courtesy.
    const PARTS: u32 = 4;

    pub(super) fn of(app: &App) -> Self {
        Self { courtesy: app.store.courtesy(), since: Instant::now() }
    }

    /// Call it while nothing is being written.
    pub(super) async fn keep(&mut self) {
        if !self.courtesy.is_zero() && self.since.elapsed() >= self.courtesy * Self::PARTS {
            tokio::time::sleep(self.courtesy).await;
            self.since = Instant::now();
        }
    }
}

/// Tries again while the database does not answer: another process may hold it.
pub(super) async fn patiently<T, F>(work: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let mut wait = Duration::from_millis(200);
    for _ in 1..TRIES {
        match work().await {
            Err(ServiceError::Store(StoreError::Unavailable(_)) | ServiceError::Unavailable(_)) => {}
            answer => return answer,
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    work().await
}
