//! A PostgreSQL database as it answers: its settings, our rights in it, room for our connections, its clock.

use super::{CONNECTIONS, MIGRATIONS, PATIENCE, PostgresStore};
use crate::finding::{Finding, Level};
use crate::storage::inspect::{self, Applied, Content, Inspection};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use std::str::FromStr;
use std::sync::Arc;

/// The first version that this service is tested on.
pub(super) const OLDEST: i32 = 150_000;
/// Two clocks this far apart, in milliseconds, are worth a look.
const APART: i64 = 1_000;
/// Instants of tokens are believed this far off, in milliseconds.
const LEEWAY: i64 = 30_000;

pub(in crate::storage) async fn inspect(url: &str, now_ms: impl Fn() -> i64 + Send) -> Inspection {
    let mut findings = Vec::new();
    let outcome = async {
        let options = PgConnectOptions::from_str(url)?;
        let mut conn =
            tokio::time::timeout(PATIENCE, options.connect()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        // Whatever is asked from here on, nothing is written.
        sqlx::query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").execute(&mut conn).await?;
        look(&mut conn, &mut findings, &now_ms).await?;
        read(&mut conn, options, &mut findings).await
    }
    .await;
    match outcome {
        Ok(content) => Inspection { findings, content },
        Err(error) => {
            findings.push(Finding::failure(
                "database.read",
                format!("PostgreSQL does not answer as it should: {error}"),
                "the service does not start, or stops answering",
                "check host, port, user and password in configuration key `database`, and that the server runs",
            ));
            Inspection::only(findings)
        }
    }
}

async fn look(
    conn: &mut PgConnection,
    findings: &mut Vec<Finding>,
    now_ms: &(impl Fn() -> i64 + Send),
) -> Result<(), sqlx::Error> {
    let (number, name): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            .fetch_one(&mut *conn)
            .await?;
    findings.push(version(number, &name));
    let before = now_ms();
    let theirs: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .fetch_one(&mut *conn)
        .await?;
    findings.push(clock(before, theirs, now_ms()));
    findings.extend(settings(conn).await?);
    findings.extend(role(conn).await?);
    findings.push(connections(conn).await?);
    Ok(())
}

fn version(number: i32, name: &str) -> Finding {
    let found = format!("PostgreSQL {name}");
    if number >= OLDEST {
        return Finding::ok("database.version", found);
    }
    Finding::failure(
        "database.version",
        found,
        "the service needs what came with 15",
        "upgrade the server to 15 or newer",
    )
}

/// The database's instant against ours before and after asking: what the asking took says nothing about the clocks.
fn clock(before: i64, theirs: i64, after: i64) -> Finding {
    let apart = if theirs < before { before - theirs } else { (theirs - after).max(0) };
    let found = format!("its clock and ours differ by {apart} ms");
    let why = "records carry our clock; replicas and the server must agree on what came first";
    let remedy = "synchronise the clocks of both machines, such as with `chronyd`";
    match apart {
        apart if apart > LEEWAY => Finding::failure("clock.database", found, why, remedy),
        apart if apart > APART => Finding::warning("clock.database", found, why, remedy),
        _ => Finding::ok("clock.database", found),
    }
}

async fn settings(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let (fsync, pages, encoding, standby): (String, String, String, bool) = sqlx::query_as(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'),
             current_setting('server_encoding'), pg_is_in_recovery()",
    )
    .fetch_one(&mut *conn)
    .await?;
    let mut findings = Vec::new();
    let durable = "what the service has acknowledged would be lost when the machine stops";
    for (name, value) in [("fsync", fsync), ("full_page_writes", pages)] {
        findings.push(if value == "on" {
            Finding::ok("database.durability", format!("`{name}` is on"))
        } else {
            let remedy = format!("set `{name} = on` in `postgresql.conf` and reload the server");
            Finding::failure("database.durability", format!("`{name}` is {value}"), durable, remedy)
        });
    }
    // Every connection of the service asks for `on`; what the server would do by itself does not matter then.
    if encoding != "UTF8" {
        let found = format!("the database is encoded as {encoding}");
        let remedy = "make a database with `ENCODING 'UTF8'` and move the data";
        findings.push(Finding::failure("database.encoding", found, "names and places need Unicode", remedy));
    }
    if standby {
        let remedy = "point configuration key `database` to the primary";
        let why = "a standby takes no changes";
        findings.push(Finding::failure("database.standby", "the server is a standby", why, remedy));
    }
    let open: bool = sqlx::query_scalar(
        "SELECT COALESCE(NOT ssl, FALSE) AND inet_server_addr() IS NOT NULL
             AND NOT inet_server_addr() <<= '127.0.0.0/8' AND inet_server_addr() <> '::1'
         FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
    .fetch_one(&mut *conn)
    .await?;
    if open {
        findings.push(Finding::warning(
            "database.encryption",
            "the connection to the server is not encrypted",
            "whoever sees the network between can read it, and with luck change it",
            "add `?sslmode=verify-full` to the URL and set up the server's certificate",
        ));
    }
    Ok(findings)
}

async fn role(conn: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let (name, superuser, may_create, read_only): (String, bool, bool, bool) = sqlx::query_as(
        "SELECT current_user::text, rolsuper,
             COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE),
             EXISTS (SELECT 1 FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c
                 WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                     AND s.setrole IN (0, pg_roles.oid) AND c = 'default_transaction_read_only=on')
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut *conn)
    .await?;
    let mut findings = Vec::new();
    if superuser {
        findings.push(Finding::warning(
            "database.role",
            format!("role `{name}` is a superuser"),
            "it can do anything on the server, also to other databases and to the log's guards",
            "make a role that only owns this database, and name it in configuration key `database`",
        ));
    }
    if read_only {
        let found = format!("role `{name}` or this database is set to read-only");
        let remedy = "`ALTER ROLE … RESET default_transaction_read_only`, or the same of the database";
        findings.push(Finding::failure("database.role", found, "the service could change nothing", remedy));
    }
    if !may_create {
        let found = format!("role `{name}` may not create tables");
        let remedy = "`GRANT CREATE ON SCHEMA public TO …`, or let `vouchsafe migrate` run as a role that may";
        findings.push(Finding::warning("database.role", found, "a new version's migration would fail", remedy));
    }
    let refused: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class AS c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
             AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT'))
         ORDER BY 1",
    )
    .fetch_all(&mut *conn)
    .await?;
    if !refused.is_empty() {
        findings.push(Finding::failure(
            "database.role",
            format!("role `{name}` may not read and write: {}", refused.join(", ")),
            "the service fails as soon as it needs them",
            "`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO …`",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("database.role", format!("role `{name}` has the rights it needs and no more")));
    }
    Ok(findings)
}

async fn connections(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let (most, used): (i32, i64) = sqlx::query_as(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
             (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
    )
    .fetch_one(conn)
    .await?;
    Ok(room(i64::from(most), used))
}

/// Whether one more replica finds the connections it may open.
fn room(most: i64, used: i64) -> Finding {
    let check = "database.connections";
    let (need, free) = (i64::from(CONNECTIONS), (most - used).max(0));
    let found = format!("{free} of {most} connections are free, and each replica uses up to {need}");
    let why = "requests wait for a connection and are refused after five seconds";
    if most < need {
        return Finding::failure(check, found, why, format!("set `max_connections` to {} or more", 2 * need));
    }
    if free < need {
        return Finding::warning(check, found, why, "raise `max_connections`, or run fewer replicas");
    }
    Finding::ok(check, found)
}

async fn read(
    conn: &mut PgConnection,
    options: PgConnectOptions,
    findings: &mut Vec<Finding>,
) -> Result<Option<Content>, sqlx::Error> {
    let held: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *conn).await?;
    let applied: Vec<Applied> =
        if held { sqlx::query_as(inspect::APPLIED).fetch_all(&mut *conn).await? } else { Vec::new() };
    let schema = inspect::schema(&applied, &MIGRATIONS);
    let readable = schema.level == Level::Ok;
    findings.push(schema);
    if !readable {
        return Ok(None);
    }
    let log_end = sqlx::query_scalar(inspect::LOG_END).fetch_one(&mut *conn).await?;
    let (oldest, newest): (Option<i64>, Option<i64>) = sqlx::query_as(inspect::WAITING).fetch_one(&mut *conn).await?;
    let store = PostgresStore::open_read_only(options).await?;
    Ok(Some(Content { store: Arc::new(store), log_end, waiting: oldest.zip(newest) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_without_the_time_that_asking_took() {
        assert_eq!(clock(10_000, 12_000, 15_000).level, Level::Ok);
        assert_eq!(clock(10_000, 9_000, 15_000).level, Level::Ok);
        assert_eq!(clock(10_000, 8_999, 15_000).level, Level::Warning);
        assert_eq!(clock(10_000, 16_001, 15_000).level, Level::Warning);
        assert_eq!(clock(10_000, 45_000, 15_000).level, Level::Warning);
        assert_eq!(clock(10_000, 45_001, 15_000).level, Level::Failure);
    }

    #[test]
    fn room_is_counted_for_one_more_replica() {
        assert_eq!(room(97, 81).level, Level::Ok);
        assert_eq!(room(97, 82).level, Level::Warning);
        assert_eq!(room(15, 0).level, Level::Failure);
    }

    #[test]
    fn an_old_server_is_refused() {
        assert_eq!(version(149_999, "14.9").level, Level::Failure);
        assert_eq!(version(150_000, "15.0").level, Level::Ok);
    }
}
