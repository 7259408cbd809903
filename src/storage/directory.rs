//! People of organisations' directories, as SCIM clients provision them.
//!
//! What a directory says of a person is sealed by the service; storage sees keyed digests, versions and ids.

use super::{Sealed, StoreError};
use async_trait::async_trait;

/// A person in an organisation's directory.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredDirectoryUser {
    /// `usr_…`, sortable.
    pub id: String,
    /// `dir_…`
    pub directory: String,
    /// Who it is.
    pub subject: String,
    /// Keyed digest of the user name; unique in the directory.
    pub user_name: String,
    /// Keyed digest of the directory's own id; unique in the directory.
    pub external_id: Option<String>,
    /// 1 for a new one; each change adds one.
    pub version: i64,
    /// What the directory says of the person, sealed under the subject's key.
    pub sealed: Sealed,
    /// The membership that stands.
    pub attestation: Option<String>,
    /// Epoch milliseconds.
    pub created_at_ms: i64,
    /// Last change, epoch milliseconds.
    pub changed_at_ms: i64,
}

/// A person with what opens the sealed part.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyedDirectoryUser {
    /// The row.
    #[sqlx(flatten)]
    pub user: StoredDirectoryUser,
    /// The subject's data key, wrapped.
    pub wrapped_key: Sealed,
}

/// By what people of one directory are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey<'a> {
    /// Their id.
    Id(&'a str),
    /// Digest of the user name.
    UserName(&'a str),
    /// Digest of the directory's own id.
    ExternalId(&'a str),
    /// Digest of an address; several may have it.
    Email(&'a str),
    /// Who they are.
    Subject(&'a str),
}

impl UserKey<'_> {
    /// The value looked for.
    pub(super) fn value(&self) -> &str {
        match self {
            Self::Id(value)
            | Self::UserName(value)
            | Self::ExternalId(value)
            | Self::Email(value)
            | Self::Subject(value) => value,
        }
    }
}

/// Reads of directories' people.
#[async_trait]
pub trait DirectoryStore: Send + Sync + 'static {
    /// People of a directory with this key, in id order, at most `limit`; one indexed read.
    async fn directory_users_by(
        &self,
        directory: &str,
        key: UserKey<'_>,
        limit: i64,
    ) -> Result<Vec<KeyedDirectoryUser>, StoreError>;
    /// How many people a directory has, and those after `after` in id order without the first `skip` of them, at most
    /// `limit`; one snapshot.
    async fn directory_users(
        &self,
        directory: &str,
        after: &str,
        skip: i64,
        limit: i64,
    ) -> Result<(i64, Vec<KeyedDirectoryUser>), StoreError>;
    /// What every directory says of a subject, in id order.
    async fn directory_users_of(&self, subject: &str) -> Result<Vec<KeyedDirectoryUser>, StoreError>;
}

/// Run inside a transaction like the writes of `sql.rs`, whose helpers they use.
macro_rules! implement_directory_writes {
    ($connection:ty) => {
        /// Inserts (`expected` = 0) or replaces at exactly that version, with the addresses it is looked up by.
        async fn put_directory_user(
            conn: &mut $connection,
            user: &StoredDirectoryUser,
            emails: &[String],
            expected: i64,
        ) -> Result<(), Undo> {
            // Held until the commit: an erasure takes all that is there.
            match lock(conn, &user.subject).await? {
                Some((_, true)) => {}
                _ => return Err(Conflict::NoSuchSubject.into()),
            }
            let (text, conflict) = if expected == 0 {
                (
                    "INSERT INTO directory_users
                         (id, directory, subject, user_name, external_id, version, sealed, attestation, created_at_ms,
                         changed_at_ms)
                     VALUES ($1, $2, $3, $4, $5, $6 + 1, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
                    Conflict::Exists("directory_users"),
                )
            } else {
                (
                    "UPDATE directory_users SET user_name = $4, external_id = $5, version = version + 1, sealed = $7,
                         attestation = $8, changed_at_ms = $10
                     WHERE id = $1 AND directory = $2 AND subject = $3 AND version = $6 AND created_at_ms = $9",
                    Conflict::Stale("directory_users"),
                )
            };
            let done = sqlx::query(text)
                .bind(&user.id)
                .bind(&user.directory)
                .bind(&user.subject)
                .bind(&user.user_name)
                .bind(&user.external_id)
                .bind(expected)
                .bind(&user.sealed)
                .bind(&user.attestation)
                .bind(user.created_at_ms)
                .bind(user.changed_at_ms)
                .execute(&mut *conn)
                .await?;
            or_conflict(done.rows_affected(), conflict)?;
            sqlx::query("DELETE FROM directory_emails WHERE member = $1").bind(&user.id).execute(&mut *conn).await?;
            for digest in emails {
                sqlx::query(
                    "INSERT INTO directory_emails (member, directory, digest) VALUES ($1, $2, $3)
                     ON CONFLICT DO NOTHING",
                )
                .bind(&user.id)
                .bind(&user.directory)
                .bind(digest)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        }

        async fn remove_directory_user(conn: &mut $connection, id: &str, expected: i64) -> Result<(), Undo> {
            sqlx::query("DELETE FROM directory_emails WHERE member = $1").bind(id).execute(&mut *conn).await?;
            let done = sqlx::query("DELETE FROM directory_users WHERE id = $1 AND version = $2")
                .bind(id)
                .bind(expected)
                .execute(&mut *conn)
                .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("directory_users"))
        }
    };
}
pub(super) use implement_directory_writes;

/// The [`DirectoryStore`] of a type with a pool `readers`. `$snapshot` opens a transaction whose statements all read one
/// state.
macro_rules! implement_directory_reads {
    ($store:ty, $database:ty, $snapshot:literal) => {
        #[async_trait]
        impl DirectoryStore for $store {
            async fn directory_users_by(
                &self,
                directory: &str,
                key: UserKey<'_>,
                limit: i64,
            ) -> Result<Vec<KeyedDirectoryUser>, StoreError> {
                macro_rules! where_key {
                    ($condition:literal) => {
                        concat!(
                            "SELECT u.id, u.directory, u.subject, u.user_name, u.external_id, u.version, u.sealed,
                                 u.attestation, u.created_at_ms, u.changed_at_ms, s.wrapped_key
                             FROM directory_users AS u JOIN subjects AS s ON s.id = u.subject
                             WHERE u.directory = $1 AND ",
                            $condition,
                            " ORDER BY u.id LIMIT $3",
                        )
                    };
                }
                let text = match key {
                    UserKey::Id(_) => where_key!("u.id = $2"),
                    UserKey::UserName(_) => where_key!("u.user_name = $2"),
                    UserKey::ExternalId(_) => where_key!("u.external_id = $2"),
                    UserKey::Subject(_) => where_key!("u.subject = $2"),
                    UserKey::Email(_) => {
                        where_key!("u.id IN (SELECT member FROM directory_emails WHERE directory = $1 AND digest = $2)")
                    }
                };
                let rows = sqlx::query_as::<$database, KeyedDirectoryUser>(text)
                    .bind(directory)
                    .bind(key.value())
                    .bind(limit.max(0))
                    .fetch_all(&self.readers)
                    .await?;
                Ok(rows)
            }

            async fn directory_users(
                &self,
                directory: &str,
                after: &str,
                skip: i64,
                limit: i64,
            ) -> Result<(i64, Vec<KeyedDirectoryUser>), StoreError> {
                let mut snapshot = self.readers.begin_with($snapshot).await?;
                let total =
                    sqlx::query_scalar::<$database, i64>("SELECT COUNT(*) FROM directory_users WHERE directory = $1")
                        .bind(directory)
                        .fetch_one(&mut *snapshot)
                        .await?;
                let rows = sqlx::query_as::<$database, KeyedDirectoryUser>(
                    "SELECT u.id, u.directory, u.subject, u.user_name, u.external_id, u.version, u.sealed,
                         u.attestation, u.created_at_ms, u.changed_at_ms, s.wrapped_key
                     FROM directory_users AS u JOIN subjects AS s ON s.id = u.subject
                     WHERE u.directory = $1 AND u.id > $2 ORDER BY u.id LIMIT $3 OFFSET $4",
                )
                .bind(directory)
                .bind(after)
                .bind(limit.max(0))
                .bind(skip.max(0))
                .fetch_all(&mut *snapshot)
                .await?;
                snapshot.commit().await?;
                Ok((total, rows))
            }

            async fn directory_users_of(&self, subject: &str) -> Result<Vec<KeyedDirectoryUser>, StoreError> {
                let rows = sqlx::query_as::<$database, KeyedDirectoryUser>(
                    "SELECT u.id, u.directory, u.subject, u.user_name, u.external_id, u.version, u.sealed,
                         u.attestation, u.created_at_ms, u.changed_at_ms, s.wrapped_key
                     FROM directory_users AS u JOIN subjects AS s ON s.id = u.subject
                     WHERE u.subject = $1 ORDER BY u.id",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(super) use implement_directory_reads;
