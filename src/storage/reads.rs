//! The plain reads that both databases run word for word; see `sql.rs`.

/// See [`super::History`]; `$1` is the position asked about.
pub(super) const HISTORY: &str = "
SELECT d.id AS deployment, d.tokens_since_ms, COALESCE(l.position, 0) AS position,
    COALESCE(l.hash, '0000000000000000000000000000000000000000000000000000000000000000') AS head,
    (SELECT hash FROM audit_log WHERE position = $1) AS asked,
    (SELECT COUNT(*) FROM audit_entries) AS waiting
FROM deployment AS d
LEFT JOIN (SELECT position, hash FROM audit_log ORDER BY position DESC LIMIT 1) AS l ON TRUE";

/// The [`super::Store`] of a type with a pool `readers` and the inherent methods named below. `$snapshot` opens a
/// transaction whose statements all read one state.
macro_rules! implement_store {
    ($store:ty, $database:ty, $snapshot:literal) => {
        #[async_trait]
        impl Store for $store {
            async fn migrate(&self) -> Result<(), StoreError> {
                self.run_migrations().await
            }

            async fn ping(&self) -> Result<(), StoreError> {
                self.probe().await
            }

            fn courtesy(&self) -> Duration {
                COURTESY
            }

            async fn record_attestation(&self, new: NewAttestation) -> Intent<i64> {
                self.queue.attestation(new).await
            }

            async fn record_token(
                &self,
                token: StoredToken,
                decision: StoredDecision,
                basis: Basis,
                rules: Arc<str>,
                audit: AuditEntry,
            ) -> Intent<()> {
                self.queue.token(&token, &decision, basis, rules, &audit).await
            }

            async fn commit(&self, change: Change) -> Intent<()> {
                self.apply(change).await
            }

            async fn subject(&self, id: &str) -> Result<Option<StoredSubject>, StoreError> {
                let row = sqlx::query_as::<$database, StoredSubject>(
                    "SELECT id, kind, version, state, external_digest, identifiers, wrapped_key, created_at_ms
                     FROM subjects_now WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn subject_by_external(&self, digest: &str) -> Result<Option<StoredSubject>, StoreError> {
                let row = sqlx::query_as::<$database, StoredSubject>(
                    "SELECT id, kind, version, state, external_digest, identifiers, wrapped_key, created_at_ms
                     FROM subjects_now WHERE external_digest = $1",
                )
                .bind(digest)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn link(&self, namespace: &str, digest: &str) -> Result<Option<StoredLink>, StoreError> {
                let row = sqlx::query_as::<$database, StoredLink>(
                    "SELECT namespace, digest, subject, sealed, created_at_ms
                     FROM links WHERE namespace = $1 AND digest = $2",
                )
                .bind(namespace)
                .bind(digest)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn links(&self, subject: &str) -> Result<Vec<StoredLink>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredLink>(
                    "SELECT namespace, digest, subject, sealed, created_at_ms
                     FROM links WHERE subject = $1 ORDER BY namespace, digest",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn subjects(&self, after: &str, limit: i64) -> Result<Vec<StoredSubject>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredSubject>(
                    "SELECT id, kind, version, state, external_digest, identifiers, wrapped_key, created_at_ms
                     FROM subjects_now WHERE id > $1 ORDER BY id LIMIT $2",
                )
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn session_subject(&self, source: &str, session: &str) -> Result<Option<String>, StoreError> {
                let row = sqlx::query_scalar::<$database, String>(
                    "SELECT subject FROM sessions WHERE source = $1 AND session = $2",
                )
                .bind(source)
                .bind(session)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn pending(&self, subject: &str, after_ms: i64) -> Result<Vec<(String, i64)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, i64)>(
                    "SELECT source, pending_since_ms FROM sessions
                     WHERE subject = $1 AND pending_since_ms > $2 ORDER BY pending_since_ms, source LIMIT 20",
                )
                .bind(subject)
                .bind(after_ms)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn erasure(&self, subject: &str) -> Result<Option<StoredErasure>, StoreError> {
                let row = sqlx::query_as::<$database, StoredErasure>(
                    "SELECT subject, erased_at_ms, keep_until_ms, adverse FROM erasures WHERE subject = $1",
                )
                .bind(subject)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn hold(&self, subject: &str) -> Result<Option<StoredHold>, StoreError> {
                let row = sqlx::query_as::<$database, StoredHold>(
                    "SELECT subject, reason, placed_by, placed_at_ms FROM holds WHERE subject = $1",
                )
                .bind(subject)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn sessions(&self, subject: &str) -> Result<Vec<StoredSession>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredSession>(
                    "SELECT source, session, created_at_ms FROM sessions WHERE subject = $1 ORDER BY source, session",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn decisions_of(
                &self,
                subject: &str,
                after: &str,
                limit: i64,
            ) -> Result<Vec<StoredDecision>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredDecision>(
                    "SELECT id, subject, acting_for, resource, at_ms, status, expires_at_ms, rules_digest,
                         attestations
                     FROM decisions WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3",
                )
                .bind(subject)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn tokens_of(&self, subject: &str, after: &str, limit: i64) -> Result<Vec<StoredToken>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredToken>(
                    "SELECT jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
                         revoked_at_ms, status_list, status_idx, end_user, session, session_of, session_at_ms
                     FROM tokens WHERE subject = $1 AND jti > $2 ORDER BY jti LIMIT $3",
                )
                .bind(subject)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn bygone(&self, table: Table, before_ms: i64, limit: i64) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(table.bygone())
                    .bind(before_ms)
                    .bind(format!("{:012x}", before_ms.max(0)))
                    .bind(limit.max(0))
                    .fetch_all(&self.readers)
                    .await?;
                Ok(rows)
            }

            async fn idle_subjects(
                &self,
                after: &str,
                before_ms: i64,
                limit: i64,
            ) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT id FROM subjects AS s
                     WHERE id > $1 AND id < 'sub_' || $2 AND state = 'active' AND created_at_ms < $3
                         AND kind <> 'organisation'
                         AND NOT EXISTS (SELECT 1 FROM holds WHERE subject = s.id)
                         AND NOT EXISTS (SELECT 1 FROM directory_users
                             WHERE subject = s.id AND attestation IS NOT NULL)
                         AND NOT EXISTS (SELECT 1 FROM attestations WHERE subject = s.id AND recorded_at_ms >= $3)
                         AND NOT EXISTS (SELECT 1 FROM decisions WHERE subject = s.id AND at_ms >= $3)
                         AND NOT EXISTS (SELECT 1 FROM tokens WHERE subject = s.id AND issued_at_ms >= $3)
                         AND NOT EXISTS (SELECT 1 FROM admissions WHERE subject = s.id AND last_ms >= $3)
                     ORDER BY id LIMIT $4",
                )
                .bind(after)
                .bind(format!("{:012x}", before_ms.max(0)))
                .bind(before_ms)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn scrub(&self) -> Result<(), StoreError> {
                self.scrub_files().await
            }

            async fn quarantined(&self, source: &str, session: &str) -> Result<Vec<Quarantined>, StoreError> {
                let rows = sqlx::query_as::<$database, Quarantined>(
                    "SELECT id, source, event, session, sealed, received_at_ms
                     FROM quarantine WHERE source = $1 AND session = $2 ORDER BY received_at_ms, id",
                )
                .bind(source)
                .bind(session)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn bound_quarantine(&self, limit: i64) -> Result<Vec<(String, String, String)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, String, String)>(
                    "SELECT DISTINCT s.source, s.session, s.subject FROM quarantine AS q
                     JOIN sessions AS s ON s.source = q.source AND s.session = q.session LIMIT $1",
                )
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn load_subject(
                &self,
                id: &str,
            ) -> Result<Option<(StoredSubject, Vec<StoredAttestation>)>, StoreError> {
                let mut snapshot = self.readers.begin_with($snapshot).await?;
                let subject = sqlx::query_as::<$database, StoredSubject>(
                    "SELECT id, kind, version, state, external_digest, identifiers, wrapped_key, created_at_ms
                     FROM subjects_now WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&mut *snapshot)
                .await?;
                let Some(subject) = subject else {
                    snapshot.rollback().await?;
                    return Ok(None);
                };
                let mut attestations = sqlx::query_as::<$database, StoredAttestation>(
                    "SELECT id, subject, source, event, lineage, recorded_at_ms, facts
                     FROM attestations WHERE subject = $1 ORDER BY id",
                )
                .bind(id)
                .fetch_all(&mut *snapshot)
                .await?;
                let marks = sqlx::query_as::<$database, StoredMark>(
                    "SELECT m.attestation, m.kind, m.at_ms, m.from_start, m.said_by, m.reason
                     FROM attestations AS a JOIN marks AS m ON m.attestation = a.id
                     WHERE a.subject = $1
                     UNION ALL
                     SELECT a.id, 'suspended', s.at_ms, FALSE, s.said_by, s.reason
                     FROM attestations AS a JOIN suspensions AS s ON s.source = a.source
                         AND a.recorded_at_ms >= s.since_ms
                         AND (s.until_ms IS NULL OR a.recorded_at_ms <= s.until_ms)
                     WHERE a.subject = $1 ORDER BY at_ms, kind, said_by",
                )
                .bind(id)
                .fetch_all(&mut *snapshot)
                .await?;
                snapshot.commit().await?;
                let mut by_attestation: HashMap<String, Vec<StoredMark>> = HashMap::new();
                for mark in marks {
                    by_attestation.entry(mark.attestation.clone()).or_default().push(mark);
                }
                for attestation in &mut attestations {
                    attestation.marks = by_attestation.remove(&attestation.id).unwrap_or_default();
                }
                Ok(Some((subject, attestations)))
            }

            async fn comparisons(&self, limit: i64) -> Result<Vec<Comparison>, StoreError> {
                let rows = sqlx::query_as::<$database, Comparison>(
                    "SELECT attestation, subject, document FROM comparisons ORDER BY attestation LIMIT $1",
                )
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn of_document(&self, document: &str) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT id FROM attestations WHERE document = $1 ORDER BY id DESC LIMIT 64",
                )
                .bind(document)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn attestation(&self, id: &str) -> Result<Option<StoredAttestation>, StoreError> {
                let row = sqlx::query_as::<$database, StoredAttestation>(
                    "SELECT id, subject, source, event, lineage, recorded_at_ms, facts
                     FROM attestations WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                let Some(mut row) = row else { return Ok(None) };
                // The row never changes, so its marks need no common snapshot.
                row.marks = sqlx::query_as::<$database, StoredMark>(
                    "SELECT attestation, kind, at_ms, from_start, said_by, reason
                     FROM marks WHERE attestation = $1
                     UNION ALL
                     SELECT a.id, 'suspended', s.at_ms, FALSE, s.said_by, s.reason
                     FROM attestations AS a JOIN suspensions AS s ON s.source = a.source
                         AND a.recorded_at_ms >= s.since_ms
                         AND (s.until_ms IS NULL OR a.recorded_at_ms <= s.until_ms)
                     WHERE a.id = $1 ORDER BY at_ms, kind, said_by",
                )
                .bind(id)
                .fetch_all(&self.readers)
                .await?;
                Ok(Some(row))
            }

            async fn suspensions(&self) -> Result<i64, StoreError> {
                let count = sqlx::query_scalar::<$database, i64>("SELECT COUNT(*) FROM suspensions")
                    .fetch_one(&self.readers)
                    .await?;
                Ok(count)
            }

            async fn record(&self, kind: &str, id: &str) -> Result<Option<Record>, StoreError> {
                let row = sqlx::query_as::<$database, Record>(
                    "SELECT kind, id, version, body, sealed, updated_at_ms
                     FROM records WHERE kind = $1 AND id = $2",
                )
                .bind(kind)
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn records(&self, kind: &str, after: &str, limit: i64) -> Result<Vec<Record>, StoreError> {
                let rows = sqlx::query_as::<$database, Record>(
                    "SELECT kind, id, version, body, sealed, updated_at_ms
                     FROM records WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3",
                )
                .bind(kind)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn timeline(&self) -> Result<Vec<TimelineRow>, StoreError> {
                let rows = sqlx::query_as::<$database, TimelineRow>(
                    "SELECT seq, directive, from_ms, approved_ms, action FROM timeline ORDER BY seq",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn decision(&self, id: &str) -> Result<Option<StoredDecision>, StoreError> {
                let row = sqlx::query_as::<$database, StoredDecision>(
                    "SELECT id, subject, acting_for, resource, at_ms, status, expires_at_ms, rules_digest,
                         attestations
                     FROM decisions WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn standings(&self, subject: &str) -> Result<Vec<StoredStanding>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredStanding>(
                    "SELECT subject, acting_for, resource, status, decision, rules, version, suspensions, due_ms,
                         notice_ms, told_end_ms, told_before_ms, level
                     FROM standings WHERE subject = $1 ORDER BY acting_for, resource",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn due_standings(&self, now_ms: i64, limit: i64) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT subject FROM (
                         SELECT subject, at_ms FROM (SELECT subject, due_ms AS at_ms FROM standings
                             WHERE due_ms <= $1 ORDER BY due_ms LIMIT $2) AS due
                         UNION ALL
                         SELECT subject, at_ms FROM (SELECT subject, notice_ms AS at_ms FROM standings
                             WHERE notice_ms <= $1 ORDER BY notice_ms LIMIT $2) AS noticed) AS both_kinds
                     ORDER BY at_ms LIMIT $2",
                )
                .bind(now_ms)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn relied_on(&self, subject: &str) -> Result<Vec<(String, i64)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, i64)>(
                    "SELECT party, version FROM relies WHERE subject = $1 ORDER BY party",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn relying_on(&self, party: &str, limit: i64) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT subject FROM relies WHERE party = $1 ORDER BY subject LIMIT $2",
                )
                .bind(party)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn sweep(&self, after: &str, limit: i64) -> Result<Vec<Swept>, StoreError> {
                let rows = sqlx::query_as::<$database, Swept>(
                    "SELECT s.id AS subject, s.version AS current, (
                         EXISTS (SELECT 1 FROM attestations AS a WHERE a.subject = s.id)
                         OR EXISTS (SELECT 1 FROM decisions AS d WHERE d.subject = s.id)) AS matters,
                         EXISTS (SELECT 1 FROM relies AS r
                             LEFT JOIN subjects_now AS p ON p.id = r.party AND p.state = 'active'
                             WHERE r.subject = s.id AND COALESCE(p.version, -1) <> r.version) AS parties_changed,
                         t.resource, t.rules, t.version, t.suspensions
                     FROM (SELECT id, version FROM subjects_now WHERE id > $1 AND state = 'active'
                         ORDER BY id LIMIT $2) AS s
                     LEFT JOIN standings AS t ON t.subject = s.id ORDER BY s.id",
                )
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn living_tokens(&self, subject: &str, now_ms: i64) -> Result<Vec<StoredToken>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredToken>(
                    "SELECT jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
                         revoked_at_ms, status_list, status_idx, end_user, session, session_of, session_at_ms
                     FROM tokens WHERE subject = $1 AND expires_at_ms > $2 AND revoked_at_ms IS NULL ORDER BY jti",
                )
                .bind(subject)
                .bind(now_ms)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn tokens_of_sessions(
                &self,
                over: &SessionsOver,
                now_ms: i64,
                limit: i64,
            ) -> Result<Vec<StoredToken>, StoreError> {
                let rows = match over {
                    SessionsOver::One { session, of } => {
                        sqlx::query_as::<$database, StoredToken>(
                            "SELECT jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
                                 revoked_at_ms, status_list, status_idx, end_user, session, session_of, session_at_ms
                             FROM tokens WHERE session = $3 AND ($4 IS NULL OR session_of = $4)
                                 AND expires_at_ms > $1 AND revoked_at_ms IS NULL ORDER BY jti LIMIT $2",
                        )
                        .bind(now_ms)
                        .bind(limit.max(0))
                        .bind(session)
                        .bind(of)
                        .fetch_all(&self.readers)
                        .await?
                    }
                    SessionsOver::All { of, until_ms } => {
                        sqlx::query_as::<$database, StoredToken>(
                            "SELECT jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
                                 revoked_at_ms, status_list, status_idx, end_user, session, session_of, session_at_ms
                             FROM tokens WHERE session_of = $3 AND session_at_ms <= $4
                                 AND expires_at_ms > $1 AND revoked_at_ms IS NULL ORDER BY jti LIMIT $2",
                        )
                        .bind(now_ms)
                        .bind(limit.max(0))
                        .bind(of)
                        .bind(until_ms)
                        .fetch_all(&self.readers)
                        .await?
                    }
                };
                Ok(rows)
            }

            async fn rules(&self, digest: &str) -> Result<Option<String>, StoreError> {
                let row = sqlx::query_scalar::<$database, String>("SELECT body FROM rules WHERE digest = $1")
                    .bind(digest)
                    .fetch_optional(&self.readers)
                    .await?;
                Ok(row)
            }

            async fn token(&self, jti: &str) -> Result<Option<StoredToken>, StoreError> {
                let row = sqlx::query_as::<$database, StoredToken>(
                    "SELECT jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
                         revoked_at_ms, status_list, status_idx, end_user, session, session_of, session_at_ms
                     FROM tokens WHERE jti = $1",
                )
                .bind(jti)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn revoked_tokens(&self, now_ms: i64) -> Result<Vec<TokenPlace>, StoreError> {
                let rows = sqlx::query_as::<$database, TokenPlace>(
                    "SELECT jti, resource, issued_at_ms, status_list AS list, status_idx AS idx FROM tokens
                     WHERE revoked_at_ms IS NOT NULL AND expires_at_ms > $1 ORDER BY jti",
                )
                .bind(now_ms)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn revoked_access(&self, now_ms: i64) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT jti FROM spent_jtis WHERE issuer = 'access_token' AND expires_at_ms > $1 ORDER BY jti",
                )
                .bind(now_ms)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn living_places(
                &self,
                after: &str,
                now_ms: i64,
                limit: i64,
            ) -> Result<Vec<TokenPlace>, StoreError> {
                let rows = sqlx::query_as::<$database, TokenPlace>(
                    "SELECT jti, resource, issued_at_ms, status_list AS list, status_idx AS idx FROM tokens
                     WHERE jti > $1 AND expires_at_ms > $2 AND revoked_at_ms IS NULL ORDER BY jti LIMIT $3",
                )
                .bind(after)
                .bind(now_ms)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn status_lists(&self) -> Result<Vec<StoredList>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredList>(
                    "SELECT number, use_until_ms,
                         (SELECT COUNT(*) FROM status_blocks WHERE list = number) AS taken
                     FROM status_lists WHERE retired_at_ms IS NULL ORDER BY number",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn status_blocks(&self, list: i64) -> Result<Vec<i64>, StoreError> {
                let rows = sqlx::query_scalar::<$database, i64>(
                    "SELECT block FROM status_blocks WHERE list = $1 ORDER BY block",
                )
                .bind(list)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn request(&self, client: &str, key: &str) -> Result<Option<StoredRequest>, StoreError> {
                let row = sqlx::query_as::<$database, StoredRequest>(
                    "SELECT client, key, body_sha256, owner, lease_until_ms, effect, answer, expires_at_ms
                     FROM requests WHERE client = $1 AND key = $2",
                )
                .bind(client)
                .bind(key)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn roots(&self) -> Result<Vec<StoredRoot>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredRoot>(
                    "SELECT master, sealed, statements FROM roots ORDER BY master",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredKey>(
                    "SELECT kid, alg, purpose, sealed, jwk, published_ms, signs_from_ms, last_signs_ms,
                         verifies_until_ms, retired_at_ms
                     FROM keys ORDER BY published_ms DESC, kid",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn feed(&self, cursor: &str) -> Result<(Vec<FeedRow>, String), StoreError> {
                self.read_feed(cursor).await
            }

            async fn sequence_audit(&self, limit: i64) -> Result<usize, StoreError> {
                self.sequence(limit.max(0)).await
            }

            async fn audit_log(&self, position: i64, limit: i64) -> Result<Vec<AuditRecord>, StoreError> {
                let rows = sqlx::query_as::<$database, AuditRecord>(
                    "SELECT position, hash, previous, entry
                     FROM audit_log WHERE position > $1 ORDER BY position LIMIT $2",
                )
                .bind(position)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn audit_backlog(&self) -> Result<i64, StoreError> {
                let count = sqlx::query_scalar::<$database, i64>("SELECT COUNT(*) FROM audit_entries")
                    .fetch_one(&self.readers)
                    .await?;
                Ok(count)
            }

            async fn history(&self, asked: i64) -> Result<History, StoreError> {
                self.still_the_same()?;
                let history =
                    sqlx::query_as::<$database, History>(HISTORY).bind(asked).fetch_one(&self.readers).await?;
                Ok(history)
            }
        }
    };
}
pub(super) use implement_store;
