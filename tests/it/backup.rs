//! The restore drill on both databases: what a copy holds, what the anchor notices, what an accepted loss costs.

use crate::app::{START_MS, TestApp};
use crate::support::{Database, TempDir, pairs};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vouchsafe::clock::Clock as _;
use vouchsafe::crypto::{Authenticator, MasterKey};
use vouchsafe::service::anchor::{AnchorError, AnchorFile, Before, Mark, Regress};
use vouchsafe::service::backup::{Manifest, back_up, manifest_path, restore};
use vouchsafe::service::issue::Wanted;
use vouchsafe::service::{Actor, App};
use vouchsafe::storage::{self, Store};
use vouchsafe_core::Second;

/// Of the master key that [`TestApp`] uses.
fn ours() -> Authenticator {
    MasterKey::new(&crate::app::MASTER).authenticator()
}

/// A service held by an anchor, and a folder outside its database.
struct Held {
    t: TestApp,
    database: Database,
    folder: TempDir,
    file: AnchorFile,
}

impl Held {
    async fn start(database: Database) -> Self {
        let folder = TempDir::new();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let file = AnchorFile::new(&folder.path().join("keys/anchor"), ours());
        let before = file.before(&database.url()).await.unwrap();
        let t = TestApp::start(&database).await;
        t.app.hold_to(file.clone().hold(before, &*t.app.store, START_MS).await.unwrap());
        Self { t, database, folder, file }
    }

    fn now(&self) -> Second {
        self.t.clock.now()
    }

    async fn back_up(&self, name: &str) -> (PathBuf, Manifest) {
        let file = self.folder.path().join(name);
        let manifest = back_up(&self.database.url(), &file, &ours(), self.now()).await.unwrap();
        (file, manifest)
    }

    fn mark(&self) -> Mark {
        self.file.load().unwrap().unwrap()
    }

    /// An empty database of the same kind.
    async fn elsewhere(&self) -> Database {
        if self.database.is_sqlite() { Database::sqlite() } else { Database::postgres().await.unwrap() }
    }

    async fn restored(&self, file: &Path) -> Database {
        let database = self.elsewhere().await;
        restore(&database.url(), file, &ours(), Some(&self.file)).await.unwrap();
        database
    }

    /// What a start on this database meets.
    async fn start_on(&self, database: &Database) -> Result<Arc<dyn Store>, AnchorError> {
        let before = self.file.before(&database.url()).await?;
        let store = storage::open(&database.url()).await.unwrap();
        store.migrate().await.unwrap();
        self.file.clone().hold(before, &*store, self.t.clock.now_ms()).await?;
        Ok(store)
    }
}

async fn on_both<F: AsyncFn(Held)>(story: F) {
    story(Held::start(Database::sqlite()).await).await;
    if let Some(postgres) = Database::postgres().await {
        story(Held::start(postgres).await).await;
    }
}

/// Clients that create subjects as fast as they are acknowledged, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    writers: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    fn start(app: &Arc<App>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (app, stop) = (Arc::clone(app), Arc::clone(&stop));
            writers.spawn(async move {
                let mut acknowledged = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let made = app.create_subject(&Actor::system(), "person", None).await.unwrap();
                    acknowledged.push(made.id);
                    if acknowledged.len() % 16 == 0 {
                        app.link_and_anchor().await.unwrap();
                    }
                }
                acknowledged
            });
        }
        Self { stop, writers }
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.join_all().await.concat()
    }
}

async fn ids(database: &Database, sql: &str) -> Vec<String> {
    pairs(&database.url(), sql).await.into_iter().map(|pair| pair.0).collect()
}

/// Entries of the audit log up to a position.
async fn entries(store: &Arc<dyn Store>, position: i64) -> Vec<Value> {
    let records = store.audit_log(0, position).await.unwrap();
    records.iter().map(|record| serde_json::from_str(&record.entry).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_is_refused_until_its_loss_is_accepted_by_name() {
    on_both(async |mut held: Held| {
        held.t.activate("restricted-us-persons").await;
        held.t.audience("edge").await;
        let sources = held.t.sources().await;
        let subject = held.t.eligible_subject(&sources, "ada").await;
        let key = held.t.gateway("edge", false).await;
        let revoked = held.t.token(&subject, "restricted.api", "edge").await;
        held.t.clock.advance(5);
        let load = Load::start(&held.t.app);
        let (backup, manifest) = held.back_up("backup").await;
        load.end().await;

        // What the backup does not know: one item of evidence and one token are revoked, everything is frozen.
        let items = crate::app::attestations(&held.t, &subject).await;
        let path = format!("/v1/attestations/{}/revoke", items[0]["id"].as_str().unwrap());
        let answer = held.t.send(&sources.token, Method::POST, &path, Some(json!({ "reason": "withdrawn" }))).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let form = [("token", revoked.as_str())];
        let request = held.t.http.post(format!("{}/oauth2/revoke", held.t.url)).bearer_auth(&held.t.admin).form(&form);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        let freeze =
            json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        held.t.created("/v1/directives", freeze).await;
        let anchored = held.mark();
        assert!(anchored.position > manifest.position);

        let restored = held.restored(&backup).await;
        let refused = held.start_on(&restored).await.map(drop).unwrap_err();
        let kept = restored.count("audit_log").await;
        assert_eq!(restored.count("audit_entries").await, 0, "what waited in the copy was linked before it was judged");
        let AnchorError::Regress(Regress::Behind { found, anchored: seen, hash, missing, .. }) = &refused else {
            panic!("{refused}")
        };
        assert_eq!((*found, *seen, hash), (kept, anchored.position, &anchored.hash));
        assert_eq!(*missing, anchored.position - kept);
        assert!(refused.to_string().contains("vouchsafe anchor accept"), "{refused}");

        let store = storage::open(&restored.url()).await.unwrap();
        let at = held.t.clock.now_ms();
        let accepted = held.file.accept(&*store, at, "Ada Admin", "the disk burnt").await.unwrap().unwrap();
        let log = entries(&store, 1_000_000).await;
        assert_eq!(log.len() as i64, kept + 1);
        let entry = log.last().unwrap();
        assert_eq!((entry["action"].as_str(), &entry["detail"]["by"]), (Some("history.accepted"), &json!("Ada Admin")));
        assert_eq!(entry["detail"]["lost"], json!({ "from": kept + 1, "to": anchored.position }));
        assert_eq!(entry["detail"]["anchored"]["hash"], json!(anchored.hash));
        assert_eq!(held.mark(), accepted.0);
        assert!(held.file.accept(&*store, at, "Ada Admin", "again").await.unwrap().is_none(), "once");
        drop(store);

        // The loss is real: the person is eligible again, the freeze is gone. But no token of before is.
        held.start_on(&restored).await.unwrap();
        held.t.database_url = restored.url();
        held.t.restart().await;
        let bearer = format!("Bearer {revoked}");
        let ask = async |bearer: &str| {
            held.t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", bearer)]).await
        };
        assert_eq!(ask(&bearer).await.status, StatusCode::UNAUTHORIZED, "its revocation was lost");
        assert_eq!(held.t.get("/v1/subjects").await.status, StatusCode::UNAUTHORIZED, "so was a client's, perhaps");
        let resource = vouchsafe_core::ids::ResourceId::parse("restricted.api").unwrap();
        let who = vouchsafe_core::ids::SubjectId::parse(&subject).unwrap();
        let issue = async || {
            held.t
                .app
                .issue(
                    &Actor::system(),
                    "cli_test",
                    Wanted { subject: &who, acting_for: None, resource: &resource, audience: "edge", end_user: None },
                )
                .await
        };
        assert!(issue().await.is_err(), "a token of this very second would be refused at once");
        held.t.clock.advance(1);
        let fresh = format!("Bearer {}", issue().await.unwrap().token);
        assert_eq!(ask(&fresh).await.status, StatusCode::OK);
        assert_eq!(ask(&bearer).await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_backup_starts_with_everything_acknowledged() {
    on_both(async |held: Held| {
        let load = Load::start(&held.t.app);
        while held.database.count("subjects").await < 50 {
            tokio::task::yield_now().await;
        }
        let acknowledged = load.end().await;
        let (backup, manifest) = held.back_up("backup").await;
        assert_eq!(held.start_on(&held.restored(&backup).await).await.map(drop).map_err(|e| e.to_string()), Ok(()));
        let restored = held.restored(&backup).await;
        let store = held.start_on(&restored).await.unwrap();
        assert_eq!(restored.count("subjects").await, acknowledged.len() as i64);
        for subject in &acknowledged {
            assert!(store.subject(subject).await.unwrap().is_some());
        }
        assert_eq!(manifest.created_at, held.now());
        assert_eq!(manifest.bytes, std::fs::metadata(&backup).unwrap().len());
        // The tables hold the same, by the database's own word.
        for table in ["records", "audit_log", "keys", "rules", "tokens", "marks", "timeline", "attestations"] {
            if table != "audit_log" {
                assert_eq!(restored.count(table).await, held.database.count(table).await, "{table}");
            }
        }
        if !held.database.is_sqlite() {
            assert_eq!(restored.count("feed").await, 0, "its transaction ids belong to another server");
        }
        // It goes on from there: the restored log is the same log, one entry longer.
        let more =
            vouchsafe::storage::Change { writes: vec![], audit: vec![entry("aud_more")], feed: vec![], outbox: vec![] };
        store.commit(more).await.unwrap().unwrap();
        store.sequence_audit(1000).await.unwrap();
        let (before, after) = (held.mark(), store.history(held.mark().position).await.unwrap());
        assert_eq!(after.asked.as_ref(), Some(&before.hash));
    })
    .await;
}

fn entry(id: &str) -> vouchsafe::storage::AuditEntry {
    vouchsafe::storage::AuditEntry {
        id: id.to_owned(),
        at_ms: 1,
        actor: "system".to_owned(),
        action: "test.done".to_owned(),
        target: "test".to_owned(),
        detail: "{}".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_something_away_is_anchored_before_it_is_acknowledged() {
    on_both(async |held: Held| {
        let t = &held.t;
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let token = t.token(&subject, "restricted.api", "edge").await;
        t.created("/v1/organisations", json!({ "id": "org_own", "name": "Own", "verified": true })).await;
        let employer = t.client("Emi", &["vouches:write"], &[], Some("org_own")).await;
        let employed = |yes: bool| {
            let statement = json!({ "type": "employment", "organisation": "org_own", "employed": yes });
            Some(json!({ "subject": subject, "statement": statement }))
        };
        // No job links or anchors here: whatever the anchor covers, the request itself made it cover.
        let covered = async |action: &str, target: &str| {
            let log = entries(&t.app.store, held.mark().position).await;
            log.iter().any(|entry| entry["action"] == action && entry["target"] == target)
        };

        let vouch = t.send(&employer, Method::POST, "/v1/vouches", employed(true)).await.body["id"].clone();
        let vouch = vouch.as_str().unwrap();
        assert!(!covered("attestation.recorded", vouch).await, "what gives is anchored within a second");
        t.send(&employer, Method::POST, &format!("/v1/vouches/{vouch}/withdraw"), None).await;
        assert!(covered("vouch.withdrawn", vouch).await);

        let again = t.send(&employer, Method::POST, "/v1/vouches", employed(true)).await.body["id"].clone();
        let row = json!({ "subject": subject, "action": "withdraw" }).to_string();
        let roster = t.http.post(format!("{}/v1/vouches/batch", t.url)).bearer_auth(&employer);
        let roster = roster.header("content-type", "application/x-ndjson").body(row).send().await.unwrap();
        let rows: Value = roster.json().await.unwrap();
        assert_eq!(rows["rows"][0]["result"], "withdrawn", "{rows}");
        assert!(covered("vouch.withdrawn", again.as_str().unwrap()).await);

        let denied = t.send(&employer, Method::POST, "/v1/vouches", employed(false)).await.body["id"].clone();
        assert!(covered("attestation.recorded", denied.as_str().unwrap()).await);

        let declined = json!({ "source": sources.vendor, "kind": "document_check", "outcome": "declined",
            "document": { "type": "passport", "issuing_country": "USA" } });
        let declined = t.attest(&sources, &subject, declined).await;
        assert!(covered("attestation.recorded", declined.body["id"].as_str().unwrap()).await, "{}", declined.body);

        let held_items = crate::app::attestations(t, &subject).await;
        let own = held_items.iter().find(|item| item["source"] == sources.registry.as_str()).unwrap();
        let attestation = own["id"].as_str().unwrap();
        let path = format!("/v1/attestations/{attestation}/revoke");
        t.send(&sources.token, Method::POST, &path, Some(json!({ "reason": "withdrawn" }))).await;
        assert!(covered("attestation.revoked", attestation).await);

        let link = json!({ "namespace": "api-key", "id": "k1" });
        assert_eq!(t.post(&format!("/v1/subjects/{subject}/links"), link).await.status, StatusCode::CREATED);
        assert!(!covered("link.created", &subject).await);
        t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}/links/api-key/k1"), None).await;
        assert!(covered("link.removed", &subject).await);

        let form = [("token", token.as_str())];
        let revoke = t.http.post(format!("{}/oauth2/revoke", t.url)).bearer_auth(&t.admin).form(&form);
        assert_eq!(revoke.send().await.unwrap().status(), StatusCode::OK);
        let jti = ids(&held.database, "SELECT jti, jti FROM tokens WHERE revoked_at_ms IS NOT NULL").await;
        assert!(covered("token.revoked", &jti[0]).await);

        let freeze =
            json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", freeze).await;
        assert!(covered("directive.proposed", "freeze").await);

        let path = format!("/v1/sources/{}/suspend", sources.vendor);
        assert_eq!(t.post(&path, json!({ "reason": "leaked" })).await.status, StatusCode::OK);
        assert!(covered("source.suspended", &sources.vendor).await);

        t.send(&t.admin, Method::PUT, &format!("/v1/subjects/{subject}/hold"), Some(json!({ "reason": "o" }))).await;
        assert!(covered("hold.placed", &subject).await);
        t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}/hold"), None).await;
        t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert!(covered("subject.erased", &subject).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_cannot_be_anchored_acts_and_is_not_acknowledged() {
    on_both(async |held: Held| {
        let t = &held.t;
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let items = crate::app::attestations(t, &subject).await;
        let path = format!("/v1/attestations/{}/revoke", items[0]["id"].as_str().unwrap());
        let revoke = async || t.send(&sources.token, Method::POST, &path, Some(json!({ "reason": "withdrawn" }))).await;
        let (keys, away) = (held.folder.path().join("keys"), held.folder.path().join("away"));
        std::fs::rename(&keys, &away).unwrap();
        let answer = revoke().await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("unavailable"))
        );
        assert_eq!(crate::app::status(t, &subject).await, "insufficient", "it acts all the same");
        assert_eq!(t.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        std::fs::rename(&away, &keys).unwrap();
        assert_eq!(revoke().await.status, StatusCode::NO_CONTENT);
        assert_eq!(t.get("/readyz").await.status, StatusCode::OK);
        let log = entries(&t.app.store, held.mark().position).await;
        assert!(log.iter().any(|entry| entry["action"] == "attestation.revoked"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_back_under_a_running_service_is_answered_from_no_more() {
    on_both(async |held: Held| {
        let t = &held.t;
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let key = t.gateway("edge", false).await;
        let (backup, _) = held.back_up("backup").await;
        let token = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
        t.app.link_and_anchor().await.unwrap();
        let ask =
            async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &token)]).await.status;
        t.app.poll_feed().await.unwrap();
        assert_eq!(ask().await, StatusCode::OK);

        match &held.database {
            Database::Sqlite { dir } => {
                let path = dir.path().join("store.db");
                std::fs::rename(&path, dir.path().join("old.db")).unwrap();
                std::fs::copy(&backup, &path).unwrap();
            }
            Database::Postgres { url } => {
                // The server comes back with an earlier state under the same name.
                replace_by_backup(url, &backup).await;
            }
        }
        // Broken connections come first; the feed's age bounds that.
        let mut tries = 0;
        while t.app.check_history().is_ok() {
            assert!(t.app.poll_feed().await.is_err(), "what is read is not believed");
            tries += 1;
            assert!(tries < 50);
        }
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(t.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        let answer = t.get("/v1/subjects").await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("unavailable"))
        );
        assert!(t.app.create_subject(&Actor::system(), "person", None).await.is_err(), "nothing is written either");
        if let Database::Sqlite { dir } = &held.database {
            std::fs::rename(dir.path().join("old.db"), dir.path().join("store.db")).unwrap();
            assert!(t.app.poll_feed().await.is_err(), "until the process ends");
        }
    })
    .await;
}

/// Drops the database under its connections and puts the backup in its place.
async fn replace_by_backup(url: &str, backup: &Path) {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    let (before, after) = url.split_once('?').unwrap();
    let (server, name) = before.rsplit_once('/').unwrap();
    let mut admin = sqlx::PgConnection::connect(&format!("{server}/postgres?{after}")).await.unwrap();
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    restore(url, backup, &ours(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_whole_or_not_ours_is_refused_with_the_reason() {
    on_both(async |held: Held| {
        let (backup, manifest) = held.back_up("backup").await;
        let again = back_up(&held.database.url(), &backup, &ours(), held.now()).await.unwrap_err();
        assert!(again.to_string().contains("exists"), "{again}");
        let refusal = async |file: &Path, authenticator: &Authenticator, target: &Database| {
            let refused = restore(&target.url(), file, authenticator, Some(&held.file)).await.unwrap_err();
            if target.is_sqlite() {
                assert!(!Path::new(target.url().strip_prefix("sqlite:").unwrap()).exists(), "{refused}");
            }
            refused.to_string()
        };
        let target = held.elsewhere().await;
        let stranger = MasterKey::new(&[8; 32]).authenticator();
        assert!(refusal(&backup, &stranger, &target).await.contains("another master key"));

        let other = |name: &str| held.folder.path().join(name);
        let text = std::fs::read_to_string(manifest_path(&backup)).unwrap();
        for (member, value) in [
            ("position", json!(manifest.position + 1)),
            ("head", json!("0".repeat(64))),
            ("created_at", json!("2030-01-01T00:00:00Z")),
            ("deployment", json!("0".repeat(32))),
            ("sha256", json!("0".repeat(64))),
        ] {
            let mut edited: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(edited[member], value, "{member}");
            edited[member] = value;
            std::fs::copy(&backup, other("edited")).unwrap();
            std::fs::write(manifest_path(&other("edited")), edited.to_string()).unwrap();
            assert!(refusal(&other("edited"), &ours(), &target).await.contains("was edited"), "{member}");
        }

        let bytes = std::fs::read(&backup).unwrap();
        let damaged = other("damaged");
        std::fs::write(manifest_path(&damaged), &text).unwrap();
        std::fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
        let expected = format!("has {} bytes", bytes.len() - 1);
        assert!(refusal(&damaged, &ours(), &target).await.contains(&expected));
        for at in [0, bytes.len() / 3, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&damaged, flipped).unwrap();
            assert!(refusal(&damaged, &ours(), &target).await.contains("SHA-256"), "byte {at}");
        }
        std::fs::remove_file(manifest_path(&damaged)).unwrap();
        assert!(refusal(&damaged, &ours(), &target).await.contains("manifest.json"));

        // Another deployment under the same key, as test beside production.
        let neighbour = Held::start(held.elsewhere().await).await;
        let (theirs, _) = neighbour.back_up("theirs").await;
        assert!(refusal(&theirs, &ours(), &target).await.contains("of deployment"));
        let refused = held.start_on(&neighbour.database).await.map(drop).unwrap_err();
        assert!(matches!(refused, AnchorError::Regress(Regress::OtherDeployment { .. })), "{refused}");

        // Where there is a database, nothing is put.
        let refused = restore(&held.database.url(), &backup, &ours(), Some(&held.file)).await.unwrap_err().to_string();
        let why = if held.database.is_sqlite() { "exists" } else { "not empty" };
        assert!(refused.contains(why), "{refused}");
        if let Database::Sqlite { dir } = &target {
            std::fs::write(dir.path().join("store.db-wal"), b"of another time").unwrap();
            assert!(refusal(&backup, &ours(), &target).await.contains("store.db-wal"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_log_was_rewritten_is_never_vouched_for() {
    let held = Held::start(Database::sqlite()).await;
    held.t.app.link_and_anchor().await.unwrap();
    let rewrite = "DROP TRIGGER audit_log_no_update;
        UPDATE audit_log SET entry = replace(entry, 'system', 'nobody') WHERE position = 3";
    held.database.execute(rewrite).await.unwrap();
    let file = held.folder.path().join("backup");
    let refused = back_up(&held.database.url(), &file, &ours(), held.now()).await.unwrap_err().to_string();
    assert_eq!(refused, "the audit log is broken at record 3: its content was altered");
    assert!(!file.exists() && !manifest_path(&file).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_rewritten_whole_does_not_hold_the_anchored_hash() {
    on_both(async |held: Held| {
        held.t.app.link_and_anchor().await.unwrap();
        let store = &held.t.app.store;
        // An insider with the database alone: alters one entry and computes every hash after it anew.
        let unlock = if held.database.is_sqlite() {
            "DROP TRIGGER audit_log_no_update; DROP TRIGGER audit_log_no_delete; DELETE FROM audit_log"
        } else {
            "ALTER TABLE audit_log DISABLE TRIGGER ALL; DELETE FROM audit_log"
        };
        let records = store.audit_log(0, 10_000).await.unwrap();
        held.database.execute(unlock).await.unwrap();
        let mut previous = "0".repeat(64);
        for mut record in records {
            if record.position == 3 {
                record.entry = record.entry.replace("system", "client:cli_somebody");
            }
            let hash = storage::audit_hash(&previous, &record.entry);
            let entry = record.entry.replace('\'', "''");
            let row = format!("({}, '{hash}', '{previous}', '{entry}')", record.position);
            held.database
                .execute(&format!("INSERT INTO audit_log (position, hash, previous, entry) VALUES {row}"))
                .await
                .unwrap();
            previous = hash;
        }
        let (_, verdict) = held.file.verdict(&**store).await.unwrap().unwrap();
        assert!(matches!(verdict, Err(Regress::Forked { .. })), "{verdict:?}");
        let refused = held.start_on(&held.database).await.map(drop).unwrap_err();
        assert!(refused.to_string().contains("another history"), "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_is_missing_edited_or_without_its_database_stops_the_start() {
    on_both(async |held: Held| {
        let path = held.file.path().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        // Names, blanks and line ends, and the values: 32, 20, 64, 20 and 64 characters.
        assert_eq!(text.len(), 19 + (12 + 32) + (10 + 20) + (6 + 64) + (7 + 20) + (5 + 64), "a record of fixed length");
        for (from, to) in [("position 0", "position 1"), ("hash ", "hash 0"), ("anchor 1", "anchor 2")] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert!(held.file.load().unwrap_err().to_string().contains("was edited"), "{from}");
        }
        std::fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert!(held.file.load().is_err(), "torn");
        std::fs::remove_file(&path).unwrap();
        let refused = held.start_on(&held.database).await.map(drop).unwrap_err();
        assert!(matches!(refused, AnchorError::Missing { .. }), "{refused}");
        assert!(!path.exists(), "it is not made up");
        std::fs::write(&path, &text).unwrap();

        // Deleted: it is not made anew, with an empty list of revocations.
        let empty = held.elsewhere().await;
        let refused = held.start_on(&empty).await.map(drop).unwrap_err();
        assert!(matches!(refused, AnchorError::Empty { .. }), "{refused}");
        if let Database::Sqlite { dir } = &empty {
            assert!(!dir.path().join("store.db").exists());
            std::fs::write(dir.path().join("store.db"), b"").unwrap();
            assert!(matches!(held.start_on(&empty).await, Err(AnchorError::Empty { .. })));
            std::fs::write(dir.path().join("store.db"), [7; 8192]).unwrap();
            assert!(matches!(held.start_on(&empty).await, Err(AnchorError::Store(_))), "damaged is not empty");
            let (backup, _) = held.back_up("backup").await;
            let bytes = std::fs::read(backup).unwrap();
            std::fs::write(dir.path().join("store.db"), &bytes[..bytes.len() - 4096]).unwrap();
            let refused = held.start_on(&empty).await.map(drop).unwrap_err().to_string();
            assert!(refused.contains("malformed"), "cut short: {refused}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_reaches_the_services_that_run() {
    on_both(async |held: Held| {
        let t = &held.t;
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let key = t.gateway("edge", false).await;
        let token = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
        let ask =
            async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &token)]).await.status;
        assert_eq!(ask().await, StatusCode::OK);
        // This machine's anchor was lost; somebody accepts the database as it is, at the machine.
        std::fs::remove_file(held.file.path()).unwrap();
        let (mark, regress) =
            held.file.accept(&*t.app.store, t.clock.now_ms(), "Ada", "a new disk").await.unwrap().unwrap();
        assert_eq!((regress, held.mark()), (None, mark));
        t.app.poll_feed().await.unwrap();
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_without_its_log_of_writes_is_noticed() {
    let held = Held::start(Database::sqlite()).await;
    // Into the main file goes what is so far; what follows is in the file beside it.
    held.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    let freeze =
        json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
    held.t.created("/v1/directives", freeze).await;
    let Database::Sqlite { dir: from } = &held.database else { unreachable!() };
    let copy = |names: &[&str]| {
        let dir = TempDir::new();
        for name in names {
            std::fs::copy(from.path().join(name), dir.path().join(name)).unwrap();
        }
        Database::Sqlite { dir }
    };
    let refused = held.start_on(&copy(&["store.db"])).await.map(drop).unwrap_err();
    assert!(matches!(refused, AnchorError::Regress(Regress::Behind { .. })), "{refused}");
    held.start_on(&copy(&["store.db", "store.db-wal"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_an_anchor() {
    on_both(async |held: Held| {
        let replica = held.t.replica().await;
        replica.hold_to(held.file.clone().hold(Before::Known(held.mark()), &*replica.store, START_MS).await.unwrap());
        for round in 0..5 {
            held.t.subject(&format!("person-{round}")).await;
            let (a, b) = tokio::join!(held.t.app.link_and_anchor(), replica.link_and_anchor());
            a.and(b).unwrap();
            let history = held.t.app.store.history(0).await.unwrap();
            assert_eq!((held.mark().position, held.mark().hash), (history.position, history.head));
        }
    })
    .await;
}

/// Backups at random instants under load, each restored: whole, with all that was acknowledged before it began, and
/// refused exactly when something the anchor saw is missing. `VOUCHSAFE_RESTORE_POINTS` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn every_restore_point_under_load_is_whole() {
    let points: u64 = std::env::var("VOUCHSAFE_RESTORE_POINTS").map_or(4, |text| text.parse().unwrap());
    on_both(async |held: Held| {
        for point in 0..points {
            let load = Load::start(&held.t.app);
            let pause = u64::from(vouchsafe::crypto::random::<1>().unwrap()[0]);
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            let before = ids(&held.database, "SELECT id, id FROM subjects").await;
            let (backup, manifest) = held.back_up(&format!("point-{point}")).await;
            load.end().await;
            let restored = held.restored(&backup).await;
            let after: std::collections::HashSet<String> =
                ids(&restored, "SELECT id, id FROM subjects").await.into_iter().collect();
            assert!(before.iter().all(|id| after.contains(id)), "point {point}: an acknowledged subject is missing");
            let waiting = restored.count("audit_entries").await;
            let missing = held.mark().position - manifest.position;
            let started = held.start_on(&restored).await;
            match started {
                Ok(_) => assert!(missing <= waiting, "point {point}: {missing} missing, {waiting} waited"),
                Err(AnchorError::Regress(Regress::Behind { missing: told, .. })) => {
                    assert_eq!(told, missing - waiting, "point {point}");
                }
                // PostgreSQL may link what waits in another order than the original did; that is told as another history.
                Err(AnchorError::Regress(Regress::Forked { .. })) if !held.database.is_sqlite() => {}
                Err(other) => panic!("point {point}: {other}"),
            }
        }
    })
    .await;
}

/// Text of what a command says, and whether it succeeded.
fn told(output: &std::process::Output) -> (bool, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drill_by_the_commands_of_the_manual() {
    let mut databases = vec![(Database::sqlite(), Database::sqlite())];
    if let (Some(live), Some(spare)) = (Database::postgres().await, Database::postgres().await) {
        databases.push((live, spare));
    }
    for (live, spare) in databases {
        drill(&live, &spare).await;
    }
}

async fn drill(live: &Database, spare: &Database) {
    use crate::binary::{BINARY, serve, terminate, vouchsafe};
    let folder = TempDir::new();
    let (key, backup) = (folder.path().join("master.key"), folder.path().join("monday"));
    assert!(std::process::Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap().success());
    let live_url = live.url();
    let run = |database: &str, arguments: &[&str]| told(&vouchsafe(database, &key, arguments));
    let json_of = |database: &str, arguments: &[&str]| -> Value {
        let output = vouchsafe(database, &key, arguments);
        assert!(output.status.success(), "{arguments:?}: {:?}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let mut create = vec!["client", "create", "--json", "--name", "n", "--owner", "Ada"];
    for scope in ["subjects:read", "subjects:write", "directives:propose"] {
        create.extend(["--scope", scope]);
    }
    let client = json_of(&live_url, &create);
    let (mut running, _log, fields) = serve(&live_url, &key);
    let base = format!("http://{}", fields["listen"].as_str().unwrap());
    let http = reqwest::Client::builder().build().unwrap();
    let login = async |base: &str| -> String {
        let request = http.post(format!("{base}/oauth2/token"));
        let request = request.basic_auth(client["client_id"].as_str().unwrap(), client["client_secret"].as_str());
        let body: Value =
            request.form(&[("grant_type", "client_credentials")]).send().await.unwrap().json().await.unwrap();
        assert!(body["access_token"].is_string(), "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    };
    let token = login(&base).await;
    let subject = async |name: String| {
        let request = http.post(format!("{base}/v1/subjects")).bearer_auth(&token);
        request.json(&json!({ "kind": "person", "external_id": name })).send().await.unwrap().status()
    };
    let stop = AtomicBool::new(false);
    let path = backup.to_str().unwrap();
    let writing = async {
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(subject(format!("person-{made}")).await, StatusCode::CREATED);
            made += 1;
        }
        made
    };
    let backing_up = async {
        let made = tokio::task::block_in_place(|| json_of(&live_url, &["backup", path, "--json"]));
        stop.store(true, Ordering::Relaxed);
        made
    };
    let (written, report) = tokio::join!(writing, backing_up);
    assert!(written > 0 && report["sha256"].as_str().unwrap().len() == 64, "{report}");
    assert_eq!(report["bytes"], std::fs::metadata(&backup).unwrap().len());
    use std::os::unix::fs::PermissionsExt as _;
    for file in [&backup, &manifest_path(&backup)] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!run(&live_url, &["backup", path]).0, "a backup is never overwritten");
    let freeze = json!({ "id": "stop", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
    let request = http.post(format!("{base}/v1/directives")).bearer_auth(&token).json(&freeze);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    // No farewell: what the anchor knows it knew when the freeze was acknowledged.
    running.0.kill().unwrap();
    running.0.wait().unwrap();

    let url = spare.url();
    let restored = json_of(&url, &["restore", path, "--json"]);
    assert_eq!((&restored["holds"], &restored["restored"]["position"]), (&json!(false), &report["position"]));
    for arguments in
        [&["serve"][..], &["migrate"], &["client", "create", "--name", "n", "--owner", "o", "--scope", "admin"]]
    {
        let (ok, text) = run(&url, arguments);
        assert!(!ok && text.contains("records are missing") && text.contains("vouchsafe anchor accept"), "{text}");
    }
    let (ok, text) = run(&url, &["anchor", "show"]);
    assert!(!ok && text.contains("the database went back"), "{text}");
    assert!(run(&url, &["audit", "verify"]).1.contains("the database went back"), "the log alone would look intact");
    let (ok, text) = run(&url, &["anchor", "accept", "--by", "Ada Admin"]);
    assert!(!ok && text.contains("--reason"), "{text}");
    let (ok, text) = run(&url, &["anchor", "accept", "--by", "Ada Admin", "--reason", "the disk burnt"]);
    assert!(ok && text.contains("accepted"), "{text}");
    assert!(run(&url, &["anchor", "show"]).0);
    let accepted = ids(spare, "SELECT entry, hash FROM audit_log WHERE entry LIKE '%history.accepted%'").await;
    assert!(accepted.len() == 1 && accepted[0].contains("Ada Admin") && accepted[0].contains("the disk burnt"));

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let (mut running, _log, fields) = serve(&url, &key);
    let base = format!("http://{}", fields["listen"].as_str().unwrap());
    let subjects =
        async |token: &str| http.get(format!("{base}/v1/subjects")).bearer_auth(token).send().await.unwrap().status();
    assert_eq!(subjects(&token).await, StatusCode::UNAUTHORIZED, "obtained before the acceptance");
    assert_eq!(subjects(&login(&base).await).await, StatusCode::OK);
    assert!(terminate(&mut running.0).success());
    assert!(run(&url, &["audit", "verify"]).0);
    // The old database is now the one with another history.
    assert!(run(&live_url, &["serve"]).1.contains("the database"), "two futures are not both ours");
}

#[tokio::test]
async fn a_missing_tool_is_named_with_what_to_install() {
    let Some(database) = Database::postgres().await else { return };
    let held = Held::start(database).await;
    let key = held.folder.path().join("master.key");
    std::fs::write(&key, crate::app::MASTER).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let output = std::process::Command::new(crate::binary::BINARY)
        .args(["backup"])
        .arg(held.folder.path().join("backup"))
        .env("PATH", held.folder.path())
        .env("VOUCHSAFE_PUBLIC_ORIGIN", "http://127.0.0.1")
        .env("VOUCHSAFE_DATABASE", held.database.url())
        .env("VOUCHSAFE_MASTER_KEY_FILE", &key)
        .output()
        .unwrap();
    let (ok, text) = told(&output);
    assert!(!ok && text.contains("`pg_dump` is not installed") && text.contains("postgresql-client"), "{text}");
    assert_eq!(std::fs::read_dir(held.folder.path()).unwrap().count(), 2, "nothing is left behind");
}
