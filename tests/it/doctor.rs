//! `vouchsafe doctor` against installations that are sound, and against each thing broken for real.

use crate::support::{Database, TempDir};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_vouchsafe");

/// What depends on the machine and user that run the test, or on the address that every test service has.
const OF_THE_MACHINE: [&str; 4] = ["configuration.public_origin", "machine.user", "machine.descriptors", "clock.kept"];

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database and its key, with two people who may approve.
pub(crate) struct Installation {
    folder: TempDir,
    url: String,
}

/// What the doctor said.
#[derive(Debug)]
struct Report {
    code: i32,
    checks: Vec<(String, String, String)>,
}

impl Report {
    /// Checks that are not well, without those of the machine.
    fn unwell(&self) -> BTreeSet<(&str, &str)> {
        let told = self.checks.iter().map(|(check, level, _)| (check.as_str(), level.as_str()));
        told.filter(|(check, level)| *level != "ok" && !OF_THE_MACHINE.contains(check)).collect()
    }

    fn says(&self, check: &str, level: &str, text: &str) {
        let hit = |(c, l, found): &(String, String, String)| c == check && l == level && found.contains(text);
        assert!(self.checks.iter().any(hit), "nothing says `{text}` as {check} {level}: {self:#?}");
        assert_eq!(self.code, i32::from(self.checks.iter().any(|(_, level, _)| level == "failure")), "{self:#?}");
    }
}

impl Installation {
    fn on(url: impl FnOnce(&Path) -> String) -> Self {
        let folder = TempDir::new();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let this = Self { url: url(folder.path()), folder };
        assert!(Command::new(BINARY).args(["keys", "master"]).arg(this.key()).status().unwrap().success());
        for owner in ["Ada", "Bo"] {
            let scopes = ["--scope", "directives:approve", "--scope", "admin"];
            this.must(&[&["client", "create", "--name", "n", "--owner", owner][..], &scopes[..]].concat());
        }
        this
    }

    /// One file: what the command line left in the write-ahead log is written back.
    pub(crate) async fn sqlite() -> Self {
        let this = Self::on(|folder| format!("sqlite:{}", folder.join("store.db").display()));
        this.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
        assert!(!this.path("store.db-wal").exists());
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self) -> PathBuf {
        self.path("master.key")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env_clear()
            .env("VOUCHSAFE_PUBLIC_ORIGIN", "http://127.0.0.1")
            .env("VOUCHSAFE_DATABASE", &self.url)
            .env("VOUCHSAFE_MASTER_KEY_FILE", self.key());
        command
    }

    fn must(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn doctor(&self) -> Report {
        self.doctor_with(&[], &["--offline", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
    }

    fn doctor_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Report {
        let output =
            self.command(&["doctor", "--json"]).args(arguments).envs(environment.iter().copied()).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).expect("the doctor prints JSON");
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let checks = said["checks"].as_array().unwrap();
        for check in checks.iter().filter(|check| check["level"] != "ok") {
            assert!(!text(check, "why").is_empty() && !text(check, "do").is_empty(), "{check}");
        }
        let checks = checks.iter().map(|check| (text(check, "check"), text(check, "level"), text(check, "found")));
        Report { code: output.status.code().unwrap(), checks: checks.collect() }
    }

    /// A running service and the addresses of its listeners.
    pub(crate) fn serve(&self) -> (Running, String, String) {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, environment: &[(&str, &str)]) -> (Running, String, String) {
        let mut child = self
            .command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("VOUCHSAFE_LOG", "json")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let running = Running(child);
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "serve ended before it was ready");
        }
        // Read on, or the service would stop at a full pipe.
        std::thread::spawn(move || log.lines().count());
        let ready: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| ready["fields"][name].as_str().unwrap().to_owned();
        (running, at("listen"), at("admin"))
    }

    /// A service that began links what the command line left behind.
    fn until_linked(&self) {
        while self.doctor().checks.iter().any(|(check, ..)| check == "audit.waiting") {}
    }

    async fn sql(&self, sql: &str) {
        use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
        let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }

    /// Where the first page of a table begins in the file.
    async fn page_of(&self, table: &str) -> usize {
        use sqlx::{Connection as _, SqliteConnection};
        let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
        let number: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = $1")
            .bind(table)
            .fetch_one(&mut conn)
            .await
            .unwrap();
        conn.close().await.unwrap();
        (usize::try_from(number).unwrap() - 1) * 4096
    }

    /// Every file with its content and instants. The index of a write-ahead log is shared memory: of it only the name.
    fn lie(&self) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
        let entry = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with("-shm") {
                return (name, (Vec::new(), 0, 0));
            }
            let (metadata, bytes) = (entry.metadata().unwrap(), fs::read(entry.path()).unwrap());
            (name, (bytes, metadata.mtime(), metadata.mtime_nsec()))
        };
        fs::read_dir(self.folder.path()).unwrap().map(entry).collect()
    }

    /// Waits until a service that just started has written what its jobs begin with.
    fn until_still(&self) {
        let still = (0..20).any(|_| {
            let before = self.lie();
            std::thread::sleep(std::time::Duration::from_millis(2500));
            self.lie() == before
        });
        assert!(still, "the service goes on writing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_installation_is_well_stopped_running_or_killed_and_looking_changes_nothing() {
    let installation = Installation::sqlite().await;
    let look = |state: &str| {
        let before = installation.lie();
        let report = installation.doctor();
        assert_eq!(report.unwell(), BTreeSet::new(), "{state}: {report:#?}");
        assert_eq!(report.code, 0);
        assert!(installation.lie() == before, "{state}: files changed");
        report
    };
    look("stopped").says("keys.master", "ok", "opens all 5 signing keys");
    assert!(!installation.path("store.db-wal").exists(), "nothing is left of the look");
    let (mut running, listen, admin) = installation.serve();
    installation.until_linked();
    installation.until_still();
    look("running").says("database.process", "ok", &format!("process {}", running.0.id()));
    let held = installation.doctor_with(&[], &["--offline", "--listen", &listen, "--admin-listen", &admin]);
    held.says("listeners", "ok", &format!("{listen} is held by a running service"));
    held.says("listeners", "ok", &format!("{admin} is held by a running service"));
    let swapped = installation.doctor_with(&[], &["--offline", "--listen", &admin, "--admin-listen", "127.0.0.1:0"]);
    swapped.says("listeners", "failure", "held by another program");
    let (_second, ..) = installation.serve();
    installation.doctor().says("database.process", "failure", "several services");
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    drop(_second);
    assert!(installation.path("store.db-wal").exists(), "a killed service leaves its log");
    look("killed").says("audit.log", "ok", "are linked");
    fs::remove_file(installation.path("store.db-shm")).unwrap();
    let bare = installation.lie();
    installation.doctor().says("database.read", "warning", "without its index");
    assert!(installation.lie() == bare);
}

#[tokio::test]
async fn every_broken_key_and_mode_is_told_with_what_to_do() {
    let installation = Installation::sqlite().await;
    let mode =
        |name: &str, mode: u32| fs::set_permissions(installation.path(name), Permissions::from_mode(mode)).unwrap();
    mode("master.key", 0o644);
    installation.doctor().says("keys.file", "failure", "chmod 0400");
    mode("master.key", 0o400);
    fs::rename(installation.key(), installation.path("kept")).unwrap();
    let without = installation.doctor();
    without.says("keys.file", "failure", "keys master");
    without.says("database.schema", "ok", "as this binary needs");
    fs::write(installation.key(), [7; 31]).unwrap();
    mode("master.key", 0o400);
    installation.doctor().says("keys.file", "failure", "exactly 32 bytes");
    fs::remove_file(installation.key()).unwrap();
    fs::write(installation.key(), [7; 32]).unwrap();
    mode("master.key", 0o400);
    installation.doctor().says("keys.file", "failure", "is a pattern, not a key");
    fs::remove_file(installation.key()).unwrap();
    fs::write(installation.key(), crate::app::MASTER).unwrap();
    mode("master.key", 0o400);
    installation.doctor().says("keys.master", "failure", "not the key of this database");
    fs::rename(installation.path("kept"), installation.key()).unwrap();
    assert_eq!(installation.doctor().unwell(), BTreeSet::new());

    mode("store.db", 0o644);
    installation.doctor().says("database.mode", "failure", "others can read it");
    mode("store.db", 0o600);
    mode("", 0o777);
    let open = installation.doctor();
    open.says("database.folder", "failure", "everybody can write");
    open.says("keys.folder", "failure", "everybody can write");
    mode("", 0o700);
    assert_eq!(installation.doctor().unwell(), BTreeSet::new());
}

#[tokio::test]
async fn a_database_that_is_missing_empty_damaged_or_of_another_version_is_told() {
    let installation = Installation::sqlite().await;
    let (database, kept) = (installation.path("store.db"), installation.path("kept"));
    fs::rename(&database, &kept).unwrap();
    installation.doctor().says("database.file", "warning", "is not there yet");
    assert!(!database.exists(), "the doctor makes no database");
    let put = |bytes: &[u8]| {
        fs::write(&database, bytes).unwrap();
        fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    };
    put(b"");
    installation.doctor().says("database.schema", "warning", "version 0");
    put("this is a shopping list\n".repeat(500).as_bytes());
    installation.doctor().says("database.read", "failure", "not a database");
    let whole = fs::read(&kept).unwrap();
    put(&whole[..whole.len() / 2]);
    let cut = installation.doctor();
    assert!(cut.code == 1 && cut.unwell().iter().any(|(check, _)| check.starts_with("database.")), "{cut:#?}");
    let mut garbled = whole.clone();
    put(&whole);
    let page = installation.page_of("records").await;
    // The table's own page, past its head: the schema can be read, the rows cannot.
    garbled[page + 8..page + 4096].fill(0xa5);
    put(&garbled);
    let damaged = installation.doctor();
    damaged.says("database.integrity", "failure", "it is damaged");

    put(&whole);
    assert_eq!(installation.doctor().unwell(), BTreeSet::new());
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, x'00', 0)";
    installation.sql(later).await;
    installation.doctor().says("database.schema", "failure", "newer than this binary");
    installation.sql("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    installation.sql("UPDATE _sqlx_migrations SET checksum = x'00'").await;
    installation.doctor().says("database.schema", "failure", "another build");
    put(&whole);
    installation.sql("PRAGMA journal_mode = DELETE").await;
    installation.doctor().says("database.journal", "warning", "no write-ahead log");
}

#[tokio::test]
async fn altered_content_and_a_clock_that_went_back_are_told() {
    let installation = Installation::sqlite().await;
    let whole = fs::read(installation.path("store.db")).unwrap();
    let put_back = || fs::write(installation.path("store.db"), &whole).unwrap();
    let waiting = "INSERT INTO audit_entries (id, at_ms, actor, action, target, detail) VALUES ('aud_1', AT, 'a', 'b', 'c', '{}')";
    installation.sql(&waiting.replace("AT", "1000")).await;
    installation.doctor().says("audit.waiting", "warning", "wait for the log since 1970-01-01");
    put_back();
    installation.sql(&waiting.replace("AT", "32503680000000")).await;
    installation.doctor().says("clock.recorded", "failure", "behind what was recorded");
    put_back();
    installation.sql("UPDATE records SET body = '{}' WHERE kind = 'client'").await;
    installation.doctor().says("content.read", "failure", "record client/");
    put_back();
    installation.sql("DELETE FROM keys WHERE purpose = 'access'").await;
    installation.doctor().says("keys.signing", "warning", "access with ES256");
    put_back();
    installation.sql("UPDATE keys SET sealed = zeroblob(100) WHERE purpose = 'access'").await;
    installation.doctor().says("keys.master", "failure", "does not open");
    put_back();
    let gateway = r#"{"name":"g","key_sha256":"","resources":["restricted.api"],"audience":"gone"}"#;
    installation
        .sql(&format!(
            "INSERT INTO records (kind, id, version, body, updated_at_ms) VALUES ('gateway', 'gw_1', 1, '{gateway}', 0)"
        ))
        .await;
    let report = installation.doctor();
    report.says("gateways.audience", "failure", "names audience `gone`");
    report.says("rules.governed", "warning", "which no policy governs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_audit_log_is_told() {
    let installation = Installation::sqlite().await;
    let (mut running, ..) = installation.serve();
    installation.until_linked();
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
    installation.doctor().says("audit.log", "ok", "are linked");
    installation
        .sql("DROP TRIGGER audit_log_no_update; UPDATE audit_log SET entry = replace(entry, 'client.created', 'x')")
        .await;
    installation.sql("DROP TRIGGER audit_log_no_delete").await;
    let altered = installation.doctor();
    let broken = altered.checks.iter().find(|(check, ..)| check == "audit.log").unwrap();
    assert_eq!(broken.1, "failure", "{altered:#?}");
    installation.sql("DELETE FROM audit_log WHERE position = 3").await;
    installation.doctor().says("audit.log", "failure", "record 4: a record is missing before this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_networks_and_the_configuration_are_looked_at() {
    let installation = Installation::sqlite().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let secrets = installation.path("secrets.json");
    fs::write(&secrets, r#"{"webhook_tokens":["0123456789abcdef"],"api_token":"api_sandbox.x"}"#).unwrap();
    let base = format!("http://{free}");
    let secrets = secrets.to_str().unwrap();
    let source = ["source", "create", "--name", "v", "--kind", "document_vendor", "--vendor", "onfido"];
    installation.must(&[&source[..], &["--base-url", &base, "--secrets-file", secrets]].concat());
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let reached = installation.doctor_with(&[], &listen);
    reached.says("vendors.reached", "failure", "Connection refused");
    reached.says("vendors.environment", "failure", "holds a token of a test environment");
    assert!(installation.doctor().checks.iter().all(|(check, ..)| check != "vendors.reached"), "offline asks nobody");

    let networks = installation.path("old.mmdb");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let mut writer = mmdb_writer::Writer::builder("Old").build_epoch(old).build();
    let network: ipnet::IpNet = "192.0.2.0/24".parse().unwrap();
    writer.insert(network, &serde_json::json!({ "country": { "iso_code": "US" } })).unwrap();
    fs::write(&networks, writer.to_bytes().unwrap()).unwrap();
    let with = |path: &Path| {
        let geoip = [("VOUCHSAFE_GEOIP", path.to_str().unwrap())];
        installation.doctor_with(&geoip, &[&listen[..], &["--offline"]].concat())
    };
    with(&networks).says("networks", "warning", "days ago");
    let good = fs::read(format!("{}/fixtures/geoip/test.mmdb", env!("CARGO_MANIFEST_DIR"))).unwrap();
    fs::write(&networks, &good[..good.len() - 20]).unwrap();
    with(&networks).says("networks", "failure", "cannot be read");
    with(Path::new("/nowhere.mmdb")).says("networks", "failure", "/nowhere.mmdb");

    let odd = [("VOUCHSAFE_TRUSTED_PROXY", "10.0.0.1")];
    let report = installation.doctor_with(&odd, &[&listen[..], &["--offline"]].concat());
    report.says("configuration", "warning", "unknown variable `VOUCHSAFE_TRUSTED_PROXY`");
    let human = installation.command(&["doctor", "--offline"]).args(listen).output().unwrap();
    let human = String::from_utf8(human.stdout).unwrap();
    assert!(human.contains("FAILURE  vendors.environment") && human.contains("do: "), "{human}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_asked_for_its_settings_rights_and_reach() {
    let Some(database) = Database::postgres().await else { return };
    let installation = Installation::on(|_| database.url());
    let count = async || (database.count("audit_entries").await, database.count("keys").await);
    let before = count().await;
    let report = installation.doctor();
    // The private server of the tests keeps nothing, and its role may do everything.
    let expected = BTreeSet::from([("database.durability", "failure"), ("database.role", "warning")]);
    let told: BTreeSet<(&str, &str)> =
        report.unwell().into_iter().filter(|(check, _)| *check != "database.connections").collect();
    assert_eq!(told, expected, "{report:#?}");
    report.says("database.durability", "failure", "`fsync` is off");
    report.says("database.role", "warning", "superuser");
    report.says("clock.database", "ok", "differ by");
    report.says("keys.master", "ok", "opens all 5 signing keys");
    assert_eq!(count().await, before, "nothing was written");

    let name = database.url().split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let role = format!("{name}_guest");
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let guest = Installation { url: database.url().replace("vouchsafe@", &format!("{role}@")), folder: TempDir::new() };
    fs::copy(installation.key(), guest.key()).unwrap();
    guest.doctor().says("database.role", "failure", "may not read and write: ");
    database.execute(&format!("DROP ROLE {role}")).await.unwrap();
    guest.doctor().says("database.read", "failure", "does not exist");

    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    installation.doctor().says("database.role", "failure", "set to read-only");
    let reset = format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only; COMMIT");
    database.execute(&reset).await.unwrap();
    database.execute("DELETE FROM _sqlx_migrations").await.unwrap();
    installation.doctor().says("database.schema", "warning", "version 0");
}
