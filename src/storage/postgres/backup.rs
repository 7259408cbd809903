//! A copy by `pg_dump` of one exported snapshot, and `pg_restore` into an empty database.
//!
//! The password never stands in a command line: the tools get the connection through their environment.

use crate::storage::audit::Chain;
use crate::storage::backup::{BackupError, Contents, Expected, PAGE, agree, follow};
use crate::storage::reads::HISTORY;
use crate::storage::{History, StoreError};
use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr as _;

async fn history(conn: &mut PgConnection) -> Result<History, sqlx::Error> {
    sqlx::query_as(HISTORY).bind(0_i64).fetch_one(conn).await
}

async fn tables(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
        .fetch_one(conn)
        .await
}

/// See [`crate::storage::backup::inspect`].
pub(crate) async fn inspect(url: &str) -> Result<Option<History>, StoreError> {
    let mut conn = PgConnectOptions::from_str(url)?.connect().await?;
    let ours: bool = sqlx::query_scalar("SELECT to_regclass('deployment') IS NOT NULL").fetch_one(&mut conn).await?;
    let found = if ours { Some(history(&mut conn).await?) } else { None };
    conn.close().await?;
    Ok(found)
}

/// Follows the audit log in the connection's own snapshot.
async fn examine(conn: &mut PgConnection) -> Result<Contents, BackupError> {
    let mut chain = Chain::default();
    loop {
        let page = sqlx::query_as(
            "SELECT position, hash, previous, entry FROM audit_log WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(chain.position)
        .bind(PAGE)
        .fetch_all(&mut *conn)
        .await?;
        if follow(&mut chain, page)? {
            break;
        }
    }
    let schema = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(&mut *conn)
        .await?;
    agree(&chain, history(conn).await?, schema)
}

/// See [`crate::storage::backup::back_up`].
pub(crate) async fn back_up(url: &str, file: &Path) -> Result<Contents, BackupError> {
    // It rests in its transaction as long as the dump takes.
    let patient = [("idle_in_transaction_session_timeout", "0")];
    let mut conn = PgConnectOptions::from_str(url)?.options(patient).connect().await?;
    let mut snapshot = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let name: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *snapshot).await?;
    let out = File::options().write(true).open(file).map_err(BackupError::file(file))?;
    let mut dump = tool("pg_dump", url)?;
    dump.args(["--format=custom", "--no-password"]).arg(format!("--snapshot={name}"));
    // The feed says to running replicas what to reload, in transaction ids of this very server.
    dump.arg("--exclude-table-data=feed").stdout(out);
    run(dump).await?;
    let contents = examine(&mut snapshot).await?;
    snapshot.rollback().await?;
    conn.close().await?;
    // Unpacks every table: an archive that breaks off is found now, not on the day it is needed.
    let mut check = Command::new("pg_restore");
    check.arg("--file=/dev/null").arg(file);
    run(check).await?;
    Ok(contents)
}

/// See [`crate::storage::backup::restore`].
pub(crate) async fn restore(url: &str, file: &Path, expected: &Expected) -> Result<(), BackupError> {
    let options = PgConnectOptions::from_str(url)?;
    let mut conn = options.connect().await?;
    if tables(&mut conn).await? > 0 {
        let text = "the database is not empty; create a new one (`createdb NAME`) and point `database` to it";
        return Err(BackupError::Refused(text.to_owned()));
    }
    let name = options.get_database().unwrap_or(options.get_username());
    let mut load = tool("pg_restore", url)?;
    load.args(["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]);
    load.arg(format!("--dbname={name}")).arg(file).stdout(Stdio::null());
    run(load).await?;
    expected.check(&examine(&mut conn).await?)?;
    conn.close().await?;
    Ok(())
}

/// A program of PostgreSQL with the connection that `url` names in its environment.
fn tool(program: &str, url: &str) -> Result<Command, BackupError> {
    let options = PgConnectOptions::from_str(url).map_err(StoreError::from)?;
    let mut command = Command::new(program);
    let socket = options.get_socket().map(|path| path.display().to_string());
    command.env("PGHOST", socket.unwrap_or_else(|| options.get_host().to_owned()));
    command.env("PGPORT", options.get_port().to_string());
    command.env("PGUSER", options.get_username());
    command.env("PGDATABASE", options.get_database().unwrap_or(options.get_username()));
    command.env(
        "PGSSLMODE",
        match options.get_ssl_mode() {
            PgSslMode::Disable => "disable",
            PgSslMode::Allow => "allow",
            PgSslMode::Prefer => "prefer",
            PgSslMode::Require => "require",
            PgSslMode::VerifyCa => "verify-ca",
            PgSslMode::VerifyFull => "verify-full",
        },
    );
    // What the driver does not tell again is read from the URL, by the driver's own names.
    let unreadable = |_| BackupError::Refused("the database URL cannot be read".to_owned());
    let parsed = reqwest::Url::parse(url).map_err(unreadable)?;
    if let Some(password) = parsed.password() {
        command.env("PGPASSWORD", percent_decode_str(password).decode_utf8_lossy().as_ref());
    }
    for (name, value) in parsed.query_pairs() {
        let variable = match name.as_ref() {
            "password" => "PGPASSWORD",
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "PGSSLROOTCERT",
            "sslcert" | "ssl-cert" => "PGSSLCERT",
            "sslkey" | "ssl-key" => "PGSSLKEY",
            _ => continue,
        };
        command.env(variable, value.as_ref());
    }
    Ok(command)
}

/// Runs a program to its end; what it complains about is the error.
async fn run(mut command: Command) -> Result<(), BackupError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |text: &str| BackupError::Tool(format!("`{program}` failed: {text}"));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || command.spawn().and_then(std::process::Child::wait_with_output));
    match ended.await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(BackupError::Tool(format!(
            "`{program}` is not installed: it comes with PostgreSQL's client programs (Debian: `apt install \
             postgresql-client`), of the server's version or newer"
        ))),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(error) => Err(failed(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_get_the_connection_and_no_command_line_gets_the_password() {
        let url =
            "postgres://ada:p%40ss%2Fw+rd@db.example:6543/eligibility?sslmode=verify-full&sslrootcert=/etc/ca.pem";
        let command = tool("pg_dump", url).unwrap();
        let variable = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value).map(|value| value.to_str().unwrap().to_owned())
        };
        let expected = [
            ("PGHOST", "db.example"),
            ("PGPORT", "6543"),
            ("PGUSER", "ada"),
            ("PGDATABASE", "eligibility"),
            ("PGPASSWORD", "p@ss/w+rd"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/etc/ca.pem"),
        ];
        for (name, value) in expected {
            assert_eq!(variable(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(command.get_args().count(), 0);
        let socket = tool("pg_dump", "postgres://ada@localhost/eligibility?host=/run/pg").unwrap();
        assert!(socket.get_envs().any(|(key, value)| key == "PGHOST" && value == Some("/run/pg".as_ref())));
    }
}
