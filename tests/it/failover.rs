//! A real primary with a real streaming standby that lags: what was acknowledged and is gone after the failover is noticed.

use crate::app::{TestApp, status};
use crate::support::{Database, TempDir};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::{Path, PathBuf};
use std::process::Command;
use vouchsafe::crypto::MasterKey;
use vouchsafe::service::anchor::{AnchorError, AnchorFile, Regress};

fn script(arguments: &[&str]) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/postgres.sh");
    let output = Command::new("sh").arg(path).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// A server of this test; stopped at its end.
struct Server(PathBuf);

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop", self.0.to_str().unwrap()]);
    }
}

async fn execute(url: &str, sql: &str) {
    PgConnection::connect(url).await.unwrap().execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_standby_that_lags_is_noticed_and_nobody_is_let_in() {
    let folder = TempDir::new();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let at = |name: &str| folder.path().join(name);
    let Some(primary_url) = script(&["start", at("a").to_str().unwrap()]) else {
        assert!(std::env::var_os("VOUCHSAFE_REQUIRE_POSTGRES").is_none(), "no PostgreSQL server could be started");
        eprintln!("SKIPPED: no PostgreSQL server; install one");
        return;
    };
    let primary = Server(at("a"));
    let standby_url = script(&["standby", at("a").to_str().unwrap(), at("b").to_str().unwrap()]).unwrap();
    let _standby = Server(at("b"));
    // The address that both have in turn.
    let address = at("address");
    std::os::unix::fs::symlink(at("a/sock"), &address).unwrap();
    execute(&primary_url, "CREATE DATABASE deployment").await;
    let url = format!("postgres://vouchsafe@localhost/deployment?host={}", address.display());

    let file = AnchorFile::new(&at("anchor"), MasterKey::new(&crate::app::MASTER).authenticator());
    let before = file.before(&url).await.unwrap();
    let t = TestApp::start(&Database::Postgres { url: url.clone() }).await;
    t.app.hold_to(file.clone().hold(before, &*t.app.store, crate::app::START_MS).await.unwrap());
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    t.app.link_and_anchor().await.unwrap();

    // The standby has everything so far, and nothing of what follows.
    let lag = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()";
    let mut caught_up = PgConnection::connect(&primary_url).await.unwrap();
    while sqlx::query(lag).fetch_optional(&mut caught_up).await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(caught_up);
    execute(&standby_url, "ALTER SYSTEM SET primary_conninfo = ''").await;
    execute(&standby_url, "SELECT pg_reload_conf()").await;
    let mut cut_off = PgConnection::connect(&standby_url).await.unwrap();
    while sqlx::query("SELECT 1 FROM pg_stat_wal_receiver").fetch_optional(&mut cut_off).await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(cut_off);
    let freeze =
        json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
    t.created("/v1/directives", freeze).await;
    assert_eq!(status(&t, &subject).await, "ineligible");

    // The primary dies; the standby is promoted and takes its address.
    drop(primary);
    execute(&standby_url, "SELECT pg_promote(true)").await;
    std::fs::remove_file(&address).unwrap();
    std::os::unix::fs::symlink(at("b/sock"), &address).unwrap();
    let mut tries = 0;
    while t.app.check_history().is_ok() {
        assert!(t.app.poll_feed().await.is_err(), "no picture is taken from a database that went back");
        tries += 1;
        assert!(tries < 50);
    }
    let path = format!("/v1/subjects/{subject}/eligibility?resource=restricted.api");
    assert_eq!(t.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    // A start meets the same.
    let store = vouchsafe::storage::open(&url).await.unwrap();
    let before = file.before(&url).await.unwrap();
    let refused = file.clone().hold(before, &*store, 0).await.unwrap_err();
    assert!(matches!(refused, AnchorError::Regress(Regress::Behind { .. })), "{refused}");
}
