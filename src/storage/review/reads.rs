//! The reads that concern review, which both databases run word for word; see `sql.rs`.

/// The [`ReviewStore`] of a type with a pool `readers`.
macro_rules! implement_review_reads {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl ReviewStore for $store {
            async fn operator_session(
                &self,
                digest: &str,
            ) -> Result<Option<(OperatorSession, i64, String)>, StoreError> {
                #[derive(sqlx::FromRow)]
                struct Found {
                    #[sqlx(flatten)]
                    session: OperatorSession,
                    now_version: i64,
                    record: String,
                }
                let row = sqlx::query_as::<$database, Found>(
                    "SELECT s.digest, s.operator, s.version, s.site, s.opened_at_ms, s.used_at_ms, s.ended_at_ms,
                         r.version AS now_version, r.body AS record
                     FROM operator_sessions AS s JOIN records AS r ON r.kind = 'operator' AND r.id = s.operator
                     WHERE s.digest = $1",
                )
                .bind(digest)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row.map(|found| (found.session, found.now_version, found.record)))
            }

            async fn knows_site(&self, operator: &str, site: &str, since_ms: i64) -> Result<bool, StoreError> {
                let row = sqlx::query_scalar::<$database, String>(
                    "SELECT digest FROM operator_sessions
                     WHERE operator = $1 AND site = $2 AND opened_at_ms >= $3 LIMIT 1",
                )
                .bind(operator)
                .bind(site)
                .bind(since_ms)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row.is_some())
            }

            async fn case(&self, id: &str) -> Result<Option<StoredCase>, StoreError> {
                let row = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn cases(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredCase>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE ($1 = '' OR state = $1) AND ($2 = '' OR subject = $2) AND id > $3
                     ORDER BY id LIMIT $4",
                )
                .bind(queue.state)
                .bind(queue.subject)
                .bind(queue.after)
                .bind(queue.limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn last_case(&self, question: &str) -> Result<Option<StoredCase>, StoreError> {
                let row = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE subject IS NULL AND question = $1 ORDER BY id DESC LIMIT 1",
                )
                .bind(question)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn case_entries(&self, case: &str) -> Result<Vec<CaseEntry>, StoreError> {
                let rows = sqlx::query_as::<$database, CaseEntry>(
                    "SELECT id, case_id, operator, kind, at_ms, body, sealed
                     FROM case_entries WHERE case_id = $1 ORDER BY at_ms, id LIMIT 500",
                )
                .bind(case)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn case_entry(&self, id: &str) -> Result<Option<CaseEntry>, StoreError> {
                let row = sqlx::query_as::<$database, CaseEntry>(
                    "SELECT id, case_id, operator, kind, at_ms, body, sealed FROM case_entries WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn resolutions(&self, subject: &str) -> Result<Vec<StoredResolution>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredResolution>(
                    "SELECT adjudication, subject, source, lineage, finding, at_ms
                     FROM resolutions WHERE subject = $1 ORDER BY adjudication, source, lineage, finding",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn unbound(
                &self,
                before_ms: i64,
                after: (&str, &str),
                limit: i64,
            ) -> Result<Vec<(String, String)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, String)>(
                    "SELECT DISTINCT q.source, q.session FROM quarantine AS q
                     WHERE q.received_at_ms < $1 AND (q.source, q.session) > ($2, $3) AND NOT EXISTS
                         (SELECT 1 FROM sessions AS s WHERE s.source = q.source AND s.session = q.session)
                     ORDER BY q.source, q.session LIMIT $4",
                )
                .bind(before_ms)
                .bind(after.0)
                .bind(after.1)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn appeal(&self, id: &str) -> Result<Option<StoredAppeal>, StoreError> {
                let row = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn appeals(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredAppeal>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE ($1 = '' OR state = $1) AND ($2 = '' OR subject = $2) AND id > $3
                     ORDER BY id LIMIT $4",
                )
                .bind(queue.state)
                .bind(queue.subject)
                .bind(queue.after)
                .bind(queue.limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn overdue_appeals(
                &self,
                now_ms: i64,
                after: &str,
                limit: i64,
            ) -> Result<Vec<StoredAppeal>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE state IN ('open', 'reconsidering') AND due_at_ms <= $1 AND id > $2
                     ORDER BY id LIMIT $3",
                )
                .bind(now_ms)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(in crate::storage) use implement_review_reads;
