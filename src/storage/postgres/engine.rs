//! Set-based batches on PostgreSQL: lock the subjects in order, then one statement, then commit.

use crate::storage::Conflict;
use crate::storage::batch::{Engine, Fault, Kind};
use sqlx::{PgPool, Row};
use std::convert::Infallible;

/// The subjects stay locked until the commit. The statement after this one takes a new snapshot, so it sees what
/// other replicas committed about them; in one statement it would not.
const LOCK_SUBJECTS: &str = "
SELECT id FROM subjects
WHERE id IN (SELECT e ->> 'subject' FROM json_array_elements($1::json) AS e)
ORDER BY id FOR UPDATE";

const WRITE_ATTESTATIONS: &str = "
WITH input AS (
    SELECT i.ordinal - 1 AS ordinal, i.e ->> 'id' AS id, i.e ->> 'subject' AS subject, i.e ->> 'source' AS source,
        i.e ->> 'event' AS event, i.e ->> 'lineage' AS lineage, (i.e ->> 'checked')::bigint AS checked,
        (i.e ->> 'recorded')::bigint AS recorded, i.e ->> 'facts' AS facts, i.e ->> 'document' AS document,
        (i.e ->> 'compare')::boolean AS compare, i.e -> 'audit' AS audit,
        i.e -> 'outbox' AS outbox
    FROM json_array_elements($1::json) WITH ORDINALITY AS i (e, ordinal)
), fit AS (
    SELECT input.*, s.version + 1 AS version FROM input
    JOIN subjects_now AS s ON s.id = input.subject AND s.state = 'active'
    WHERE NOT EXISTS (
        SELECT 1 FROM attestations AS a
        WHERE a.source = input.source AND a.lineage = input.lineage AND a.checked_at_ms >= input.checked)
), written AS (
    INSERT INTO attestations
        (id, subject, source, event, lineage, checked_at_ms, recorded_at_ms, version, facts, document)
    SELECT id, subject, source, event, lineage, checked, recorded, version, facts, document FROM fit ORDER BY ordinal
    ON CONFLICT DO NOTHING
    RETURNING id
), won AS (
    SELECT fit.* FROM fit JOIN written ON written.id = fit.id
), superseded AS (
    INSERT INTO marks (attestation, kind, at_ms, from_start, said_by, reason)
    SELECT old.id, 'superseded', won.recorded, FALSE, won.id, 'superseded'
    FROM won
    JOIN attestations AS old ON old.source = won.source AND old.lineage = won.lineage
        AND old.subject = won.subject AND old.checked_at_ms < won.checked
    WHERE NOT EXISTS (SELECT 1 FROM marks AS m WHERE m.attestation = old.id AND m.kind = 'superseded')
), compared AS (
    INSERT INTO comparisons (attestation, subject, document) SELECT id, subject, document FROM won WHERE compare
), fed AS (
    INSERT INTO feed (kind, key) SELECT 'subject', subject FROM won ORDER BY ordinal
), audited AS (
    INSERT INTO audit_entries (id, at_ms, actor, action, target, detail)
    SELECT audit ->> 'id', (audit ->> 'at')::bigint, audit ->> 'actor', audit ->> 'action', audit ->> 'target',
        audit ->> 'detail'
    FROM won ORDER BY ordinal
), told AS (
    INSERT INTO outbox (id, topic, key, body)
    SELECT outbox ->> 'id', outbox ->> 'topic', outbox ->> 'key', outbox ->> 'body'
    FROM won WHERE outbox ->> 'id' IS NOT NULL ORDER BY ordinal
)
SELECT ordinal, version FROM won";

const EXPLAIN_ATTESTATIONS: &str = "
SELECT i.ordinal - 1,
    (SELECT a.id FROM attestations AS a WHERE a.source = i.e ->> 'source' AND a.event = i.e ->> 'event'),
    EXISTS (SELECT 1 FROM subjects AS s WHERE s.id = i.e ->> 'subject' AND s.state = 'active'),
    EXISTS (SELECT 1 FROM attestations AS a
     WHERE a.source = i.e ->> 'source' AND a.lineage = i.e ->> 'lineage'
         AND a.checked_at_ms >= (i.e ->> 'checked')::bigint),
    EXISTS (SELECT 1 FROM attestations AS a WHERE a.id = i.e ->> 'id')
FROM json_array_elements($1::json) WITH ORDINALITY AS i (e, ordinal)";

/// Before the statement that reads them: no order or suspension can be added until the commit, and changes of the subjects that are
/// in flight are waited for. The statement after these takes a new snapshot and so judges their outcome.
const HOLD_ORDERS: &str = "LOCK TABLE timeline, suspensions IN SHARE MODE";
const HOLD_SUBJECTS: &str = "
SELECT id FROM subjects
WHERE id IN (SELECT e ->> 'subject' FROM json_array_elements($1::json -> 'rows') AS e)
    OR id IN (SELECT p ->> 0 FROM json_array_elements($1::json -> 'rows') AS e,
        json_array_elements(e -> 'parties') AS p)
ORDER BY id FOR SHARE";

/// That the session by which a token was got is over: asked when rows are written, and when it is explained why one was not.
macro_rules! session_is_over {
    () => {
        "EXISTS (SELECT 1 FROM spent_jtis AS o
        WHERE o.issuer = 'session' AND e ->> 'session' IS NOT NULL
            AND o.jti IN (e #>> '{session,id}', e #>> '{session,of}',
                (e #>> '{session,id}') || '/' || (e #>> '{session,of}'))
            AND (o.jti <> e #>> '{session,of}'
                OR o.expires_at_ms >= (e #>> '{session,until}')::bigint))"
    };
}

const WRITE_TOKENS: &str = concat!(
    "
WITH input AS (
    SELECT i.ordinal - 1 AS ordinal, i.e, i.e -> 'd' AS d, i.e -> 'audit' AS audit
    FROM json_array_elements($1::json -> 'rows') WITH ORDINALITY AS i (e, ordinal)
), fit AS (
    SELECT input.* FROM input
    JOIN subjects_now AS s ON s.id = input.e ->> 'subject' AND s.state = 'active'
        AND s.version = (input.e ->> 'version')::bigint
    WHERE (input.e ->> 'timeline')::bigint = (SELECT COALESCE(MAX(seq), 0) FROM timeline)
        AND (input.e ->> 'suspensions')::bigint = (SELECT COUNT(*) FROM suspensions)
        AND NOT EXISTS (SELECT 1 FROM json_array_elements(input.e -> 'parties') AS p WHERE NOT EXISTS
            (SELECT 1 FROM subjects_now AS o
             WHERE o.id = p ->> 0 AND o.state = 'active' AND o.version = (p ->> 1)::bigint))
        AND NOT EXISTS (SELECT 1 FROM tokens AS t WHERE t.jti = input.e ->> 'jti')
        AND NOT ",
    session_is_over!(),
    "
), ruled AS (
    INSERT INTO rules (digest, body)
    SELECT key, value FROM json_each_text($1::json -> 'rules')
    WHERE key IN (SELECT d ->> 'rules' FROM fit) ORDER BY key
    ON CONFLICT DO NOTHING
), decided AS (
    INSERT INTO decisions
        (id, subject, acting_for, resource, at_ms, status, expires_at_ms, rules_digest, attestations)
    SELECT d ->> 'id', d ->> 'subject', d ->> 'acting_for', d ->> 'resource', (d ->> 'at')::bigint,
        d ->> 'status', (d ->> 'expires')::bigint, d ->> 'rules', d ->> 'attestations'
    FROM fit ORDER BY d ->> 'id'
    ON CONFLICT DO NOTHING
), written AS (
    INSERT INTO tokens
        (jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms, revoked_at_ms,
         status_list, status_idx, end_user, session, session_of, session_at_ms)
    SELECT e ->> 'jti', e ->> 'subject', e ->> 'audience', e ->> 'resource', e ->> 'decision', e ->> 'client',
        (e ->> 'issued')::bigint, (e ->> 'expires')::bigint, (e ->> 'revoked')::bigint,
        (e ->> 'list')::bigint, (e ->> 'idx')::bigint, e ->> 'end_user',
        e #>> '{session,id}', e #>> '{session,of}', (e #>> '{session,at}')::bigint
    FROM fit ORDER BY e ->> 'jti'
    ON CONFLICT DO NOTHING
    RETURNING jti
), won AS (
    SELECT fit.* FROM fit JOIN written ON written.jti = fit.e ->> 'jti'
), relied AS (
    INSERT INTO relies (subject, party, version)
    SELECT e ->> 'subject', p ->> 0, (p ->> 1)::bigint
    FROM won CROSS JOIN json_array_elements(e -> 'parties') AS p ORDER BY 1, 2
    ON CONFLICT DO NOTHING
), audited AS (
    INSERT INTO audit_entries (id, at_ms, actor, action, target, detail)
    SELECT audit ->> 'id', (audit ->> 'at')::bigint, audit ->> 'actor', audit ->> 'action', audit ->> 'target',
        audit ->> 'detail'
    FROM won ORDER BY ordinal
)
SELECT ordinal, 0::bigint FROM won"
);

const EXPLAIN_TOKENS: &str = concat!(
    "
SELECT i.ordinal - 1,
    EXISTS (SELECT 1 FROM tokens AS t WHERE t.jti = i.e ->> 'jti'),
    EXISTS (SELECT 1 FROM subjects AS s WHERE s.id = i.e ->> 'subject' AND s.state = 'active'),
    EXISTS (SELECT 1 FROM subjects_now AS s
     WHERE s.id = i.e ->> 'subject' AND s.version = (i.e ->> 'version')::bigint)
        AND (i.e ->> 'timeline')::bigint = (SELECT COALESCE(MAX(seq), 0) FROM timeline)
        AND (i.e ->> 'suspensions')::bigint = (SELECT COUNT(*) FROM suspensions)
        AND NOT EXISTS (SELECT 1 FROM json_array_elements(i.e -> 'parties') AS p WHERE NOT EXISTS
            (SELECT 1 FROM subjects_now AS o
             WHERE o.id = p ->> 0 AND o.state = 'active' AND o.version = (p ->> 1)::bigint)),
    ",
    session_is_over!(),
    "
FROM json_array_elements($1::json) WITH ORDINALITY AS i (e, ordinal)"
);

/// Reads why a row was not written.
type Verdict = fn(&sqlx::postgres::PgRow) -> Result<Option<Conflict>, sqlx::Error>;

/// Batches over the store's pool.
pub(super) struct PostgresEngine {
    pub(super) pool: PgPool,
}

impl Engine for PostgresEngine {
    /// Everything else runs beside the batches, on connections of its own.
    type Task = Infallible;

    async fn write(&mut self, kind: Kind, json: &str) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        match kind {
            Kind::Attestation => {
                let mut transaction = self.pool.begin().await?;
                sqlx::query(LOCK_SUBJECTS).bind(json).execute(&mut *transaction).await?;
                let won = sqlx::query_as(WRITE_ATTESTATIONS).bind(json).fetch_all(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(won)
            }
            Kind::Token => {
                let mut transaction = self.pool.begin().await?;
                sqlx::query(HOLD_ORDERS).execute(&mut *transaction).await?;
                sqlx::query(HOLD_SUBJECTS).bind(json).execute(&mut *transaction).await?;
                let won = sqlx::query_as(WRITE_TOKENS).bind(json).fetch_all(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(won)
            }
        }
    }

    async fn explain(&mut self, kind: Kind, json: &str) -> Result<Vec<(i64, Option<Conflict>)>, sqlx::Error> {
        let (sql, read): (_, Verdict) = match kind {
            Kind::Attestation => (EXPLAIN_ATTESTATIONS, |row| {
                Ok(Conflict::of_attestation(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
            }),
            Kind::Token => (EXPLAIN_TOKENS, |row| {
                Ok(Conflict::of_token(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
            }),
        };
        let rows = sqlx::query(sql).bind(json).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, read(row)?))).collect()
    }

    fn fault(error: &sqlx::Error) -> Fault {
        if super::is_passing(error) {
            return Fault::Passing;
        }
        match error {
            // Classes 22 (data exception: a NUL in a text) and 23 (integrity constraint).
            sqlx::Error::Database(error)
                if error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
            {
                Fault::Intent
            }
            _ => Fault::Store,
        }
    }

    async fn run(&mut self, task: Infallible) {
        match task {}
    }

    async fn tidy(&mut self) {}

    async fn close(self) {}
}
