//! The single writes that both databases run word for word.
//!
//! sqlx has no type that is generic over databases without a page of bounds per function, so the text is said
//! once in a macro and compiled against each driver; `reads.rs` does the same. What differs between the databases
//! (batches, the feed, the sequencer, migrations) is in neither.

use super::{Conflict, Intent, StoreError, Write};

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Why a transaction is rolled back.
pub(super) enum Undo {
    Conflict(Conflict),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Undo {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Conflict> for Undo {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl Undo {
    /// A broken uniqueness rule means that the row exists: an answer, not a failure.
    pub(super) fn taken(self, table: &'static str) -> Self {
        match self {
            Self::Failed(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Self::Conflict(Conflict::Exists(table))
            }
            other => other,
        }
    }

    /// The answer to the submitter.
    pub(super) fn answer<T>(self) -> Intent<T> {
        match self {
            Self::Conflict(conflict) => Ok(Err(conflict)),
            Self::Failed(error) => Err(error.into()),
        }
    }
}

/// The table whose keys a write can find taken.
pub(super) fn table(write: &Write) -> &'static str {
    match write {
        Write::Subject(_) => "subjects",
        Write::Link(_) | Write::Unlink { .. } => "links",
        Write::Session { .. } | Write::Progress { .. } => "sessions",
        Write::Record { .. } => "records",
        Write::Timeline { .. } => "timeline",
        Write::Mark(_) => "marks",
        Write::Suspend { .. } | Write::Reinstate { .. } => "suspensions",
        Write::Quarantine(_) | Write::Release(_) => "quarantine",
        Write::Compared(_) => "comparisons",
        Write::Spend { .. } | Write::RevokeAccess { .. } | Write::SessionsOver { .. } => "spent_jtis",
        Write::RevokeToken { .. } => "tokens",
        Write::Key(_) | Write::MoveKey { .. } => "keys",
        Write::Root { .. } | Write::OnlyRoot(_) => "roots",
        Write::Reserve { .. } => "status_blocks",
        Write::RetireList { .. } => "status_lists",
        Write::Decision { .. } => "decisions",
        Write::Standing { .. } => "standings",
        Write::Relies { .. } => "relies",
        Write::Attestation(_) => "attestations",
        Write::Expect { .. } => "subjects",
        Write::Claim { .. } | Write::Effect { .. } | Write::Answer { .. } | Write::GiveBack { .. } => "requests",
        Write::Hold(_) | Write::LiftHold(_) => "holds",
        Write::Erase { .. } => "erasures",
        Write::Prune { table, .. } => table.name(),
        Write::Forget(..) | Write::MarkFeed(..) => "feed",
        Write::TokensSince(_) => "deployment",
        Write::Admissions(_) => "admissions",
        Write::Consent(_) | Write::Provided { .. } => "consents",
        Write::Contact(_) => "gateway_contacts",
        Write::DirectoryUser { .. } | Write::RemoveDirectoryUser { .. } => "directory_users",
        Write::Review(write) => write.table(),
        Write::Outgoing(write) => write.table(),
    }
}

/// Single writes, each run inside a transaction that the caller opened and will roll back on `Err`.
macro_rules! implement_writes {
    ($connection:ty, $lock:literal) => {
        /// All writes of a change in order, then its audit entries, feed rows and outbox rows.
        pub(super) async fn apply_change(conn: &mut $connection, change: &Change) -> Result<(), Undo> {
            for write in &change.writes {
                apply(conn, write).await.map_err(|undo| undo.taken(table(write)))?;
            }
            for entry in &change.audit {
                audit(conn, entry).await?;
            }
            for row in &change.feed {
                feed(conn, &row.kind, &row.key).await?;
            }
            for row in &change.outbox {
                outbox(conn, row).await?;
            }
            Ok(())
        }

        async fn apply(conn: &mut $connection, write: &Write) -> Result<(), Undo> {
            match write {
                Write::Subject(subject) => add_subject(conn, subject).await,
                Write::Link(link) => add_link(conn, link).await,
                Write::Unlink { namespace, digest } => remove_link(conn, namespace, digest).await,
                Write::Session { source, session, subject, created_at_ms } => {
                    bind_session(conn, source, session, subject, *created_at_ms).await
                }
                Write::Progress { source, session, pending_since_ms } => {
                    sqlx::query("UPDATE sessions SET pending_since_ms = $3 WHERE source = $1 AND session = $2")
                        .bind(source)
                        .bind(session)
                        .bind(pending_since_ms)
                        .execute(conn)
                        .await?;
                    Ok(())
                }
                Write::Record { record, expected } => put_record(conn, record, *expected).await,
                Write::Timeline { directive, from_ms, approved_ms, action } => {
                    sqlx::query("INSERT INTO timeline (directive, from_ms, approved_ms, action) VALUES ($1, $2, $3, $4)")
                        .bind(directive)
                        .bind(from_ms)
                        .bind(approved_ms)
                        .bind(action)
                        .execute(&mut *conn)
                        .await?;
                    Ok(())
                }
                Write::Mark(mark) => add_mark(conn, mark).await,
                Write::Suspend { source, at_ms, since_ms, by, reason } => {
                    sqlx::query(
                        "INSERT INTO suspensions (source, at_ms, since_ms, said_by, reason)
                         VALUES ($1, $2, $3, $4, $5)",
                    )
                    .bind(source)
                    .bind(at_ms)
                    .bind(since_ms)
                    .bind(by)
                    .bind(reason)
                    .execute(&mut *conn)
                    .await?;
                    Ok(())
                }
                Write::Reinstate { source, at_ms } => {
                    let done =
                        sqlx::query("UPDATE suspensions SET until_ms = $2 WHERE source = $1 AND until_ms IS NULL")
                            .bind(source)
                            .bind(at_ms)
                            .execute(&mut *conn)
                            .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("suspensions"))
                }
                Write::Quarantine(delivery) => quarantine(conn, delivery).await,
                Write::Release(id) => {
                    let done =
                        sqlx::query("DELETE FROM quarantine WHERE id = $1").bind(id).execute(&mut *conn).await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("quarantine"))
                }
                Write::Compared(attestation) => {
                    sqlx::query("DELETE FROM comparisons WHERE attestation = $1").bind(attestation).execute(conn).await?;
                    Ok(())
                }
                Write::Spend { issuer, jti, expires_at_ms } => {
                    let done = sqlx::query(
                        "INSERT INTO spent_jtis (issuer, jti, expires_at_ms) VALUES ($1, $2, $3)
                         ON CONFLICT DO NOTHING",
                    )
                    .bind(issuer)
                    .bind(jti)
                    .bind(expires_at_ms)
                    .execute(&mut *conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Spent)
                }
                Write::SessionsOver { over, at_ms } => {
                    // Nothing goes. On PostgreSQL it waits for the tokens that are being recorded, and they for this commit.
                    sqlx::query("DELETE FROM suspensions WHERE FALSE").execute(&mut *conn).await?;
                    sqlx::query(
                        "INSERT INTO spent_jtis (issuer, jti, expires_at_ms) VALUES ('session', $1, $2)
                         ON CONFLICT (issuer, jti) DO UPDATE SET expires_at_ms = excluded.expires_at_ms
                         WHERE spent_jtis.expires_at_ms < excluded.expires_at_ms",
                    )
                    .bind(over.key())
                    .bind(at_ms.saturating_add(crate::storage::SESSION_KEPT_MS))
                    .execute(&mut *conn)
                    .await?;
                    Ok(())
                }
                Write::RevokeAccess { jti, expires_at_ms } => {
                    sqlx::query(
                        "INSERT INTO spent_jtis (issuer, jti, expires_at_ms) VALUES ('access_token', $1, $2)
                         ON CONFLICT DO NOTHING",
                    )
                    .bind(jti)
                    .bind(expires_at_ms)
                    .execute(&mut *conn)
                    .await?;
                    Ok(())
                }
                Write::RevokeToken { jti, at_ms } => revoke_token(conn, jti, *at_ms).await,
                Write::Key(key) => add_key(conn, key).await,
                Write::Root { root, founds } => add_root(conn, root, *founds).await,
                Write::OnlyRoot(master) => only_root(conn, master).await,
                Write::Reserve { list, blocks, until_ms } => reserve(conn, *list, blocks, *until_ms).await,
                Write::RetireList { list, use_until_ms, at_ms } => {
                    retire_list(conn, *list, *use_until_ms, *at_ms).await
                }
                Write::MoveKey { kid, was, times, sealed } => move_key(conn, kid, was, times, sealed.as_ref()).await,
                Write::Decision { decision, rules } => add_decision(conn, decision, rules).await,
                Write::Standing { standing, replaces, timeline } => {
                    stand(conn, standing, replaces.as_ref(), *timeline).await
                }
                Write::Relies { subject, parties, now_ms } => relies(conn, subject, parties, *now_ms).await,
                Write::Attestation(new) => attest(conn, new).await,
                Write::Expect { subject, versions } => match lock(conn, subject).await? {
                    Some((found, true)) if versions.contains(&found) => Ok(()),
                    Some((_, true)) => Err(Conflict::Unmet.into()),
                    _ => Err(Conflict::NoSuchSubject.into()),
                },
                Write::Claim { request, now_ms } => claim(conn, request, *now_ms).await,
                Write::Effect { client, key, owner, effect } => {
                    let done = sqlx::query(
                        "UPDATE requests SET effect = COALESCE(effect, $4)
                         WHERE client = $1 AND key = $2 AND owner = $3",
                    )
                    .bind(client)
                    .bind(key)
                    .bind(owner)
                    .bind(effect)
                    .execute(&mut *conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("requests"))
                }
                Write::Answer { client, key, owner, answer } => {
                    let done = sqlx::query(
                        "UPDATE requests SET answer = $4 WHERE client = $1 AND key = $2 AND owner = $3",
                    )
                    .bind(client)
                    .bind(key)
                    .bind(owner)
                    .bind(answer)
                    .execute(&mut *conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("requests"))
                }
                Write::GiveBack { client, key, owner } => give_back(conn, client, key, owner).await,
                Write::Hold(new) => hold(conn, new).await,
                Write::LiftHold(subject) => lift_hold(conn, subject).await,
                Write::Erase { erasure, expected, sessions, messages } => {
                    erase(conn, erasure, *expected, sessions, messages).await
                }
                Write::Prune { table, ids, now_ms } => prune(conn, *table, ids, *now_ms).await,
                Write::Forget(what, now_ms) => forget(conn, *what, *now_ms).await,
                Write::Admissions(rows) => admit(conn, rows).await,
                Write::Consent(new) => consent(conn, new).await,
                Write::Provided { consent, subject, at_ms } => provided(conn, consent, subject, *at_ms).await,
                Write::Contact(contact) => heard_of(conn, contact).await,
                Write::DirectoryUser { user, emails, expected } => {
                    put_directory_user(conn, user, emails, *expected).await
                }
                Write::RemoveDirectoryUser { id, expected } => remove_directory_user(conn, id, *expected).await,
                Write::Review(write) => review(conn, write).await,
                Write::Outgoing(write) => outgoing(conn, write).await,
                Write::MarkFeed(now_ms, old_ms) => mark_feed(conn, *now_ms, *old_ms).await,
                Write::TokensSince(at_ms) => {
                    sqlx::query("UPDATE deployment SET tokens_since_ms = $1 WHERE tokens_since_ms < $1")
                        .bind(at_ms)
                        .execute(conn)
                        .await?;
                    Ok(())
                }
            }
        }

        async fn claim(conn: &mut $connection, request: &StoredRequest, now_ms: i64) -> Result<(), Undo> {
            let done = sqlx::query(
                "INSERT INTO requests (client, key, body_sha256, owner, lease_until_ms, expires_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (client, key) DO UPDATE SET body_sha256 = excluded.body_sha256,
                     owner = excluded.owner, lease_until_ms = excluded.lease_until_ms,
                     expires_at_ms = excluded.expires_at_ms, effect = NULL, answer = NULL
                 WHERE requests.expires_at_ms <= $7
                     OR (requests.answer IS NULL AND requests.effect IS NULL AND requests.lease_until_ms <= $7
                         AND requests.body_sha256 = excluded.body_sha256)",
            )
            .bind(&request.client)
            .bind(&request.key)
            .bind(&request.body_sha256)
            .bind(&request.owner)
            .bind(request.lease_until_ms)
            .bind(request.expires_at_ms)
            .bind(now_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("requests"))
        }

        async fn give_back(conn: &mut $connection, client: &str, key: &str, owner: &str) -> Result<(), Undo> {
            let gone = sqlx::query(
                "DELETE FROM requests WHERE client = $1 AND key = $2 AND owner = $3 AND effect IS NULL",
            )
            .bind(client)
            .bind(key)
            .bind(owner)
            .execute(&mut *conn)
            .await?;
            if gone.rows_affected() > 0 {
                return Ok(());
            }
            let ended = sqlx::query(
                "UPDATE requests SET lease_until_ms = 0 WHERE client = $1 AND key = $2 AND owner = $3",
            )
            .bind(client)
            .bind(key)
            .bind(owner)
            .execute(conn)
            .await?;
            or_conflict(ended.rows_affected(), Conflict::Stale("requests"))
        }

        fn or_conflict(rows: u64, conflict: Conflict) -> Result<(), Undo> {
            if rows == 0 { Err(conflict.into()) } else { Ok(()) }
        }

        async fn audit(conn: &mut $connection, entry: &AuditEntry) -> Result<(), sqlx::Error> {
            sqlx::query(
                "INSERT INTO audit_entries (id, at_ms, actor, action, target, detail)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(&entry.id)
            .bind(entry.at_ms)
            .bind(&entry.actor)
            .bind(&entry.action)
            .bind(&entry.target)
            .bind(&entry.detail)
            .execute(conn)
            .await?;
            Ok(())
        }

        async fn feed(conn: &mut $connection, kind: &str, key: &str) -> Result<(), sqlx::Error> {
            sqlx::query("INSERT INTO feed (kind, key) VALUES ($1, $2)").bind(kind).bind(key).execute(conn).await?;
            Ok(())
        }

        async fn outbox(conn: &mut $connection, row: &OutboxRow) -> Result<(), sqlx::Error> {
            sqlx::query("INSERT INTO outbox (id, topic, key, body) VALUES ($1, $2, $3, $4)")
                .bind(&row.id)
                .bind(&row.topic)
                .bind(&row.key)
                .bind(&row.body)
                .execute(conn)
                .await?;
            Ok(())
        }

        /// The version of a subject and whether it is active. The row stays locked until the commit, so whatever is
        /// read about this subject after it cannot change underneath; hence two statements.
        async fn lock(conn: &mut $connection, subject: &str) -> Result<Option<(i64, bool)>, sqlx::Error> {
            sqlx::query(concat!("SELECT id FROM subjects WHERE id = $1", $lock))
                .bind(subject)
                .execute(&mut *conn)
                .await?;
            sqlx::query_as("SELECT version, state = 'active' FROM subjects_now WHERE id = $1")
                .bind(subject)
                .fetch_optional(conn)
                .await
        }

        /// Raises a subject's version.
        async fn raise(conn: &mut $connection, subject: &str) -> Result<(), sqlx::Error> {
            if let Some((version, _)) = lock(conn, subject).await? {
                set_version(conn, subject, version + 1).await?;
            }
            Ok(())
        }

        async fn set_version(conn: &mut $connection, subject: &str, version: i64) -> Result<(), sqlx::Error> {
            sqlx::query("UPDATE subjects SET version = $2 WHERE id = $1")
                .bind(subject)
                .bind(version)
                .execute(conn)
                .await?;
            Ok(())
        }

        async fn add_subject(conn: &mut $connection, subject: &StoredSubject) -> Result<(), Undo> {
            let done = sqlx::query(
                "INSERT INTO subjects
                     (id, kind, version, state, external_digest, identifiers, wrapped_key, created_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(&subject.id)
            .bind(&subject.kind)
            .bind(subject.version)
            .bind(&subject.state)
            .bind(&subject.external_digest)
            .bind(&subject.identifiers)
            .bind(&subject.wrapped_key)
            .bind(subject.created_at_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("subjects"))
        }

        async fn add_link(conn: &mut $connection, link: &StoredLink) -> Result<(), Undo> {
            match lock(conn, &link.subject).await? {
                Some((version, true)) => set_version(conn, &link.subject, version + 1).await?,
                _ => return Err(Conflict::NoSuchSubject.into()),
            }
            let done = sqlx::query(
                "INSERT INTO links (namespace, digest, subject, sealed, created_at_ms)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            )
            .bind(&link.namespace)
            .bind(&link.digest)
            .bind(&link.subject)
            .bind(&link.sealed)
            .bind(link.created_at_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("links"))
        }

        async fn remove_link(conn: &mut $connection, namespace: &str, digest: &str) -> Result<(), Undo> {
            let subject: Option<String> =
                sqlx::query_scalar("DELETE FROM links WHERE namespace = $1 AND digest = $2 RETURNING subject")
                    .bind(namespace)
                    .bind(digest)
                    .fetch_optional(&mut *conn)
                    .await?;
            let subject = subject.ok_or(Conflict::Stale("links"))?;
            raise(conn, &subject).await?;
            Ok(())
        }

        async fn bind_session(
            conn: &mut $connection,
            source: &str,
            session: &str,
            subject: &str,
            created_at_ms: i64,
        ) -> Result<(), Undo> {
            // Held until the commit: an erasure names the sessions it read.
            let version = lock(conn, subject).await?.map(|(version, _)| version);
            let done = sqlx::query(
                "INSERT INTO sessions (source, session, subject, created_at_ms, pending_since_ms)
                 SELECT $1, $2, id, $4, $4 FROM subjects WHERE id = $3 AND state = 'active'
                 ON CONFLICT DO NOTHING",
            )
            .bind(source)
            .bind(session)
            .bind(subject)
            .bind(created_at_ms)
            .execute(&mut *conn)
            .await?;
            if let Some(version) = version
                && done.rows_affected() > 0
            {
                set_version(conn, subject, version + 1).await?;
                return Ok(());
            }
            let bound: Option<String> =
                sqlx::query_scalar("SELECT subject FROM sessions WHERE source = $1 AND session = $2")
                    .bind(source)
                    .bind(session)
                    .fetch_optional(conn)
                    .await?;
            match bound {
                Some(bound) if bound == subject => Ok(()),
                Some(_) => Err(Conflict::Exists("sessions").into()),
                None => Err(Conflict::NoSuchSubject.into()),
            }
        }

        async fn put_record(conn: &mut $connection, record: &Record, expected: i64) -> Result<(), Undo> {
            let (text, conflict) = if expected == 0 {
                (
                    "INSERT INTO records (kind, id, version, body, sealed, updated_at_ms)
                     VALUES ($1, $2, $3 + 1, $4, $5, $6) ON CONFLICT DO NOTHING",
                    Conflict::Exists("records"),
                )
            } else {
                (
                    "UPDATE records SET version = version + 1, body = $4, sealed = $5, updated_at_ms = $6
                     WHERE kind = $1 AND id = $2 AND version = $3",
                    Conflict::Stale("records"),
                )
            };
            let done = sqlx::query(text)
                .bind(&record.kind)
                .bind(&record.id)
                .bind(expected)
                .bind(&record.body)
                .bind(&record.sealed)
                .bind(record.updated_at_ms)
                .execute(conn)
                .await?;
            or_conflict(done.rows_affected(), conflict)
        }

        async fn add_mark(conn: &mut $connection, mark: &StoredMark) -> Result<(), Undo> {
            let subject: Option<String> = sqlx::query_scalar("SELECT subject FROM attestations WHERE id = $1")
                .bind(&mark.attestation)
                .fetch_optional(&mut *conn)
                .await?;
            let subject = subject.ok_or(Conflict::Stale("attestations"))?;
            let done = sqlx::query(
                "INSERT INTO marks (attestation, kind, at_ms, from_start, said_by, reason)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (attestation, kind, said_by) DO NOTHING",
            )
            .bind(&mark.attestation)
            .bind(&mark.kind)
            .bind(mark.at_ms)
            .bind(mark.from_start)
            .bind(&mark.by)
            .bind(&mark.reason)
            .execute(&mut *conn)
            .await?;
            if done.rows_affected() > 0 {
                raise(conn, &subject).await?;
            }
            Ok(())
        }

        async fn quarantine(conn: &mut $connection, delivery: &Quarantined) -> Result<(), Undo> {
            let recorded = recorded_as(conn, &delivery.source, &delivery.event).await?;
            if let Some(attestation) = recorded {
                return Err(Conflict::DuplicateEvent { attestation }.into());
            }
            let done = sqlx::query(
                "INSERT INTO quarantine (id, source, event, session, sealed, received_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source, event) DO NOTHING",
            )
            .bind(&delivery.id)
            .bind(&delivery.source)
            .bind(&delivery.event)
            .bind(&delivery.session)
            .bind(&delivery.sealed)
            .bind(delivery.received_at_ms)
            .execute(&mut *conn)
            .await?;
            if done.rows_affected() > 0 {
                return Ok(());
            }
            let held: Option<String> =
                sqlx::query_scalar("SELECT id FROM quarantine WHERE source = $1 AND event = $2")
                    .bind(&delivery.source)
                    .bind(&delivery.event)
                    .fetch_optional(conn)
                    .await?;
            Err(match held {
                Some(attestation) => Conflict::DuplicateEvent { attestation },
                None => Conflict::Exists("quarantine"),
            }
            .into())
        }

        async fn revoke_token(conn: &mut $connection, jti: &str, at_ms: i64) -> Result<(), Undo> {
            let done =
                sqlx::query("UPDATE tokens SET revoked_at_ms = COALESCE(revoked_at_ms, $2) WHERE jti = $1")
                    .bind(jti)
                    .bind(at_ms)
                    .execute(conn)
                    .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("tokens"))
        }

        async fn add_decision(
            conn: &mut $connection,
            decision: &StoredDecision,
            rules: &str,
        ) -> Result<(), Undo> {
            sqlx::query("INSERT INTO rules (digest, body) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(&decision.rules_digest)
                .bind(rules)
                .execute(&mut *conn)
                .await?;
            sqlx::query(
                "INSERT INTO decisions
                     (id, subject, acting_for, resource, at_ms, status, expires_at_ms, rules_digest, attestations)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            )
            .bind(&decision.id)
            .bind(&decision.subject)
            .bind(&decision.acting_for)
            .bind(&decision.resource)
            .bind(decision.at_ms)
            .bind(&decision.status)
            .bind(decision.expires_at_ms)
            .bind(&decision.rules_digest)
            .bind(&decision.attestations)
            .execute(conn)
            .await?;
            Ok(())
        }

        async fn recorded_as(
            conn: &mut $connection,
            source: &str,
            event: &str,
        ) -> Result<Option<String>, sqlx::Error> {
            sqlx::query_scalar("SELECT id FROM attestations WHERE source = $1 AND event = $2")
                .bind(source)
                .bind(event)
                .fetch_optional(conn)
                .await
        }

        async fn attest(conn: &mut $connection, new: &NewAttestation) -> Result<(), Undo> {
            let subject = lock(conn, &new.subject).await?;
            // A repeated event is answered as such even if its subject is gone by now.
            if let Some(attestation) = recorded_as(conn, &new.source, &new.event).await? {
                return Err(Conflict::DuplicateEvent { attestation }.into());
            }
            let Some((version, true)) = subject else { return Err(Conflict::NoSuchSubject.into()) };
            let newer: Option<i64> = sqlx::query_scalar(
                "SELECT checked_at_ms FROM attestations
                 WHERE source = $1 AND lineage = $2 AND checked_at_ms >= $3 LIMIT 1",
            )
            .bind(&new.source)
            .bind(&new.lineage)
            .bind(new.checked_at_ms)
            .fetch_optional(&mut *conn)
            .await?;
            if newer.is_some() {
                return Err(Conflict::Overtaken.into());
            }
            sqlx::query(
                "INSERT INTO attestations
                     (id, subject, source, event, lineage, checked_at_ms, recorded_at_ms, version, facts, document)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(&new.id)
            .bind(&new.subject)
            .bind(&new.source)
            .bind(&new.event)
            .bind(&new.lineage)
            .bind(new.checked_at_ms)
            .bind(new.recorded_at_ms)
            .bind(version + 1)
            .bind(&new.facts)
            .bind(&new.document)
            .execute(&mut *conn)
            .await?;
            if new.compare {
                sqlx::query("INSERT INTO comparisons (attestation, subject, document) VALUES ($1, $2, $3)")
                    .bind(&new.id)
                    .bind(&new.subject)
                    .bind(&new.document)
                    .execute(&mut *conn)
                    .await?;
            }
            sqlx::query(
                "INSERT INTO marks (attestation, kind, at_ms, from_start, said_by, reason)
                 SELECT old.id, 'superseded', new.recorded_at_ms, FALSE, new.id, 'superseded'
                 FROM attestations AS new
                 JOIN attestations AS old ON old.source = new.source AND old.lineage = new.lineage
                     AND old.subject = new.subject AND old.checked_at_ms < new.checked_at_ms
                 WHERE new.id = $1 AND NOT EXISTS (
                     SELECT 1 FROM marks WHERE marks.attestation = old.id AND marks.kind = 'superseded')",
            )
            .bind(&new.id)
            .execute(&mut *conn)
            .await?;
            feed(conn, "subject", &new.subject).await?;
            audit(conn, &new.audit).await?;
            if let Some(row) = &new.outbox {
                outbox(conn, row).await?;
            }
            Ok(())
        }
    };
}
pub(super) use implement_writes;
