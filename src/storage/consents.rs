//! What was provided about whom to which identity provider, for what purpose and by what consent.

use super::{Sealed, StoreError};
use async_trait::async_trait;

/// A consent under which claims about a subject are provided to an identity provider for one resource.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredConsent {
    /// `cns_…`: a keyed digest of all that follows down to `sealed`, so that the same consent is one row.
    pub id: String,
    /// About whom.
    pub subject: String,
    /// To which identity provider.
    pub provider: String,
    /// For which resource.
    pub resource: String,
    /// Purpose and the provider's own reference, sealed under the subject's key.
    pub sealed: Sealed,
    /// How often claims were provided under it.
    pub count: i64,
    /// When it was first named, epoch milliseconds.
    pub first_ms: i64,
    /// When it was last named, epoch milliseconds.
    pub last_ms: i64,
}

/// Reads of consents.
#[async_trait]
pub trait ConsentStore: Send + Sync + 'static {
    /// Consents about a subject in id order after `after`, at most `limit`.
    async fn consents(&self, subject: &str, after: &str, limit: i64) -> Result<Vec<StoredConsent>, StoreError>;
}

/// Run inside a transaction like the writes of `sql.rs`, whose helpers they use.
macro_rules! implement_consent_writes {
    ($connection:ty) => {
        async fn consent(conn: &mut $connection, consent: &StoredConsent) -> Result<(), Undo> {
            match lock(conn, &consent.subject).await? {
                Some((_, true)) => {}
                _ => return Err(Conflict::NoSuchSubject.into()),
            }
            sqlx::query(
                "INSERT INTO consents (id, subject, provider, resource, sealed, count, first_ms, last_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (id) DO UPDATE SET count = consents.count + excluded.count,
                     last_ms = CASE WHEN excluded.last_ms > consents.last_ms THEN excluded.last_ms
                         ELSE consents.last_ms END",
            )
            .bind(&consent.id)
            .bind(&consent.subject)
            .bind(&consent.provider)
            .bind(&consent.resource)
            .bind(&consent.sealed)
            .bind(consent.count)
            .bind(consent.first_ms)
            .bind(consent.last_ms)
            .execute(conn)
            .await?;
            Ok(())
        }

        async fn provided(conn: &mut $connection, consent: &str, subject: &str, at_ms: i64) -> Result<(), Undo> {
            let done = sqlx::query(
                "UPDATE consents SET count = count + 1, last_ms = CASE WHEN $3 > last_ms THEN $3 ELSE last_ms END
                 WHERE id = $1 AND subject = $2",
            )
            .bind(consent)
            .bind(subject)
            .bind(at_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("consents"))
        }
    };
}
pub(super) use implement_consent_writes;

/// The [`ConsentStore`] of a type with a pool `readers`.
macro_rules! implement_consent_reads {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl ConsentStore for $store {
            async fn consents(&self, subject: &str, after: &str, limit: i64) -> Result<Vec<StoredConsent>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredConsent>(
                    "SELECT id, subject, provider, resource, sealed, count, first_ms, last_ms
                     FROM consents WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3",
                )
                .bind(subject)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(super) use implement_consent_reads;
