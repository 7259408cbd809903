//! Who was let in, and which gateways were heard of: the ledger of admissions and the register's contacts.

use super::{StoreError, sql::Undo};
use async_trait::async_trait;

/// How often somebody was let in under one decision at one gateway within one hour.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAdmission {
    /// `adm_…`: the hour's first millisecond in twelve hexadecimal digits, then a digest of what the row is about.
    pub id: String,
    /// Who.
    pub subject: String,
    /// The organisation acted for; empty for none.
    pub acting_for: String,
    /// To what.
    pub resource: String,
    /// Under which decision.
    pub decision: String,
    /// By which gateway.
    pub gateway: String,
    /// Of an end user, the organisation through which they came; else empty.
    pub through: String,
    /// The hour's first millisecond, epoch milliseconds.
    pub hour_ms: i64,
    /// How often.
    pub count: i64,
    /// The first time, epoch milliseconds.
    pub first_ms: i64,
    /// The last time, epoch milliseconds.
    pub last_ms: i64,
}

/// Which admissions are asked for; an empty text asks for all.
#[derive(Debug, Clone, Copy)]
pub struct AskedAdmissions<'a> {
    /// One resource.
    pub resource: &'a str,
    /// The beginning of a family's resources, for example `restricted.`.
    pub family: &'a str,
    /// One subject.
    pub subject: &'a str,
    /// One gateway.
    pub gateway: &'a str,
    /// Those that were going on at or after this instant, epoch milliseconds.
    pub from_ms: i64,
    /// Those that had begun before this instant, epoch milliseconds.
    pub to_ms: i64,
    /// Only ids after this one.
    pub after: &'a str,
    /// At most so many.
    pub limit: i64,
}

/// What a gateway was last heard of, and which orders it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredContact {
    /// `gw_…`
    pub gateway: String,
    /// The last time, epoch milliseconds.
    pub last_ms: i64,
    /// The last order that it was answered by; 0 for none.
    pub asked_last: i64,
    /// How many orders there were.
    pub asked_count: i64,
    /// When it last asked, epoch milliseconds; 0 for never.
    pub asked_ms: i64,
    /// The last order in what it judges by itself; 0 for none.
    pub seen_last: i64,
    /// How many orders there were.
    pub seen_count: i64,
    /// When what it judges by was made, epoch milliseconds; 0 for unknown.
    pub seen_ms: i64,
    /// What it calls itself; empty where it did not say.
    pub agent: String,
}

/// Reads of the ledger and the register.
#[async_trait]
pub trait AdmissionStore: Send + Sync + 'static {
    /// Admissions in id order, hence by hour.
    async fn admissions(&self, asked: AskedAdmissions<'_>) -> Result<Vec<StoredAdmission>, StoreError>;
    /// Every gateway that was ever heard of, by id.
    async fn contacts(&self) -> Result<Vec<StoredContact>, StoreError>;
}

/// The beginning of the ids of an hour.
pub(super) fn hour_id(hour_ms: i64) -> String {
    format!("adm_{:012x}", hour_ms.clamp(0, 0xffff_ffff_ffff))
}

/// The rows as the JSON parameter of one statement, in id order: whoever adds to the same rows at once waits in turn.
pub(super) fn as_json(rows: &[StoredAdmission]) -> Result<String, Undo> {
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                &row.id,
                &row.subject,
                &row.acting_for,
                &row.resource,
                &row.decision,
                &row.gateway,
                &row.through,
                row.hour_ms,
                row.count,
                row.first_ms,
                row.last_ms,
            )
        })
        .collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(b.0));
    serde_json::to_string(&rows).map_err(|error| Undo::Failed(sqlx::Error::Encode(error.into())))
}

/// Run inside a transaction like the writes of `sql.rs`. `$rows` names the elements of a JSON array as rows with a column
/// `value`.
macro_rules! implement_admission_writes {
    ($connection:ty, $rows:literal) => {
        async fn admit(conn: &mut $connection, rows: &[StoredAdmission]) -> Result<(), Undo> {
            sqlx::query(concat!(
                "INSERT INTO admissions
                     (id, subject, acting_for, resource, decision, gateway, through, hour_ms, count, first_ms, last_ms)
                 SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                     CAST(value ->> 7 AS BIGINT), CAST(value ->> 8 AS BIGINT), CAST(value ->> 9 AS BIGINT),
                     CAST(value ->> 10 AS BIGINT)
                 FROM ",
                $rows,
                " WHERE EXISTS (SELECT 1 FROM subjects AS s WHERE s.id = value ->> 1)
                 ON CONFLICT (id) DO UPDATE SET count = admissions.count + excluded.count,
                     first_ms = CASE WHEN excluded.first_ms < admissions.first_ms THEN excluded.first_ms
                         ELSE admissions.first_ms END,
                     last_ms = CASE WHEN excluded.last_ms > admissions.last_ms THEN excluded.last_ms
                         ELSE admissions.last_ms END",
            ))
            .bind(admissions::as_json(rows)?)
            .execute(conn)
            .await?;
            Ok(())
        }

        async fn heard_of(conn: &mut $connection, contact: &StoredContact) -> Result<(), Undo> {
            sqlx::query(
                "INSERT INTO gateway_contacts AS c
                     (gateway, last_ms, asked_last, asked_count, asked_ms, seen_last, seen_count, seen_ms, agent)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (gateway) DO UPDATE SET
                     last_ms = CASE WHEN $2 > c.last_ms THEN $2 ELSE c.last_ms END,
                     asked_last = CASE WHEN $5 > c.asked_ms THEN $3 ELSE c.asked_last END,
                     asked_count = CASE WHEN $5 > c.asked_ms THEN $4 ELSE c.asked_count END,
                     asked_ms = CASE WHEN $5 > c.asked_ms THEN $5 ELSE c.asked_ms END,
                     seen_last = CASE WHEN $8 > c.seen_ms THEN $6 ELSE c.seen_last END,
                     seen_count = CASE WHEN $8 > c.seen_ms THEN $7 ELSE c.seen_count END,
                     seen_ms = CASE WHEN $8 > c.seen_ms THEN $8 ELSE c.seen_ms END,
                     agent = CASE WHEN $9 <> '' THEN $9 ELSE c.agent END",
            )
            .bind(&contact.gateway)
            .bind(contact.last_ms)
            .bind(contact.asked_last)
            .bind(contact.asked_count)
            .bind(contact.asked_ms)
            .bind(contact.seen_last)
            .bind(contact.seen_count)
            .bind(contact.seen_ms)
            .bind(&contact.agent)
            .execute(conn)
            .await?;
            Ok(())
        }
    };
}
pub(super) use implement_admission_writes;

/// The [`AdmissionStore`] of a type with a pool `readers`.
macro_rules! implement_admission_reads {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl AdmissionStore for $store {
            async fn admissions(&self, asked: AskedAdmissions<'_>) -> Result<Vec<StoredAdmission>, StoreError> {
                macro_rules! where_first {
                    ($first:literal) => {
                        concat!(
                            "SELECT id, subject, acting_for, resource, decision, gateway, through, hour_ms, count,
                                 first_ms, last_ms
                             FROM admissions WHERE ",
                            $first,
                            " AND id > $3 AND id < $4 AND last_ms >= $5 AND first_ms < $6
                                 AND ($1 = '' OR subject = $1) AND ($2 = '' OR resource = $2)
                                 AND ($7 = '' OR substr(resource, 1, length($7)) = $7)
                                 AND ($8 = '' OR gateway = $8)
                             ORDER BY id LIMIT $9",
                        )
                    };
                }
                // Said first and plainly, so that the database looks it up in the right index.
                let text = match (asked.subject, asked.resource) {
                    ("", "") => where_first!("TRUE"),
                    ("", _) => where_first!("resource = $2"),
                    _ => where_first!("subject = $1"),
                };
                let from = super::admissions::hour_id(asked.from_ms - asked.from_ms.rem_euclid(3_600_000));
                let rows = sqlx::query_as::<$database, StoredAdmission>(text)
                    .bind(asked.subject)
                    .bind(asked.resource)
                    .bind(if from.as_str() > asked.after { from.as_str() } else { asked.after })
                    .bind(super::admissions::hour_id(asked.to_ms))
                    .bind(asked.from_ms)
                    .bind(asked.to_ms)
                    .bind(asked.family)
                    .bind(asked.gateway)
                    .bind(asked.limit.max(0))
                    .fetch_all(&self.readers)
                    .await?;
                Ok(rows)
            }

            async fn contacts(&self) -> Result<Vec<StoredContact>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredContact>(
                    "SELECT gateway, last_ms, asked_last, asked_count, asked_ms, seen_last, seen_count, seen_ms, agent
                     FROM gateway_contacts ORDER BY gateway",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(super) use implement_admission_reads;
