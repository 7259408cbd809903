//! `vouchsafe import` as its operator meets it: the real binary beside a running service, on both databases.

use crate::app::{TestApp, attestations, on_both};
use crate::support::{TempDir, pairs};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// The machine of a deployment: its keys, its files, and the binary.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    database: String,
    origin: String,
}

impl Machine {
    /// With the keys of the test service.
    pub(crate) fn of(t: &TestApp) -> Self {
        let dir = TempDir::new();
        let key = dir.path().join("master.key");
        std::fs::write(&key, crate::app::MASTER).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).unwrap();
        Self { dir, database: t.database_url.clone(), origin: t.app.issuer.clone() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
        command
            .args(arguments)
            .env("VOUCHSAFE_PUBLIC_ORIGIN", &self.origin)
            .env("VOUCHSAFE_DATABASE", &self.database)
            .env("VOUCHSAFE_MASTER_KEY_FILE", self.dir.path().join("master.key"))
            // The service beside these commands runs in the test, without an anchor.
            .env("VOUCHSAFE_ANCHOR_FILE", "off")
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The report of a command that prints JSON.
    pub(crate) fn report(&self, arguments: &[&str]) -> Value {
        let Output { stdout, stderr, .. } = self.run(arguments);
        let report = serde_json::from_slice(&stdout);
        assert!(report.is_ok(), "{}", String::from_utf8_lossy(&stderr));
        report.unwrap()
    }

    fn file(&self, name: &str, lines: &[String]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    }
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or(0)
}

fn person(n: usize) -> String {
    json!({ "kind": "person", "external_id": format!("acct-{n}"),
        "links": [{ "namespace": "api-key", "id": format!("key-{n}") }] })
    .to_string()
}

async fn rows(t: &TestApp, sql: &str) -> Vec<(String, String)> {
    pairs(&t.database_url, sql).await
}

async fn number(t: &TestApp, table: &str) -> usize {
    rows(t, &format!("SELECT CAST(COUNT(*) AS TEXT), '' FROM {table}")).await[0].0.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_accounts_is_there_once_however_often_it_is_imported() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        // More than one commit's worth, so that a bulk with an account that is there already is met too.
        let mut lines: Vec<String> = (0..1100).map(person).collect();
        m.file("accounts.ndjson", &lines);
        let first = m.report(&["import", "subjects", "accounts.ndjson", "--json"]);
        assert_eq!((count(&first, "lines"), count(&first, "created"), count(&first, "refused")), (1100, 1100, 0));
        assert_eq!((number(&t, "subjects").await, number(&t, "links").await), (1100, 1100));
        // The running service knows them, by their own id and by link.
        t.app.poll_feed().await.unwrap();
        let found = t.get("/v1/subjects?external_id=acct-1099").await.body["items"][0].clone();
        assert_eq!((&found["external_id"], &found["kind"]), (&json!("acct-1099"), &json!("person")));
        let links = t.get(&format!("/v1/subjects/{}/links", found["id"].as_str().unwrap())).await;
        assert_eq!(links.body["items"], json!([{ "namespace": "api-key", "id": "key-1099" }]));

        let again = m.report(&["import", "subjects", "accounts.ndjson", "--json"]);
        assert_eq!((count(&again, "settled_before"), count(&again, "created")), (1100, 0));
        // A file that grew goes on after what is settled.
        lines.extend((1100..1103).map(person));
        m.file("accounts.ndjson", &lines);
        let grown = m.report(&["import", "subjects", "accounts.ndjson", "--json"]);
        assert_eq!((count(&grown, "settled_before"), count(&grown, "created")), (1100, 3));
        // Of a file that was changed nothing is skipped: what is there is recognised by its rows.
        lines[700] = person(5000);
        m.file("accounts.ndjson", &lines);
        let changed = m.report(&["import", "subjects", "accounts.ndjson", "--json"]);
        assert_eq!(
            (count(&changed, "settled_before"), count(&changed, "created"), count(&changed, "known")),
            (0, 1, 1102),
            "{changed}"
        );
        assert_eq!((number(&t, "subjects").await, number(&t, "links").await), (1104, 1104));
        // Each subject and each link has its audit entry, each import its beginning and its end.
        for (action, expected) in
            [("subject.created", 1104), ("link.created", 1104), ("import.begun", 4), ("import.ended", 4)]
        {
            assert_eq!(t.audited(action).await.len(), expected, "{action}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_writes_nothing_and_holds_nobody_back() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let other = t.subject("somebody").await;
        t.created(&format!("/v1/subjects/{other}/links"), json!({ "namespace": "api-key", "id": "taken" })).await;
        let subject = |members: Value| {
            let mut line = json!({ "kind": "person" });
            line.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            line.to_string()
        };
        let link = |id: &str| json!([{ "namespace": "api-key", "id": id }]);
        let lines = [
            subject(json!({ "external_id": "good-1", "links": link("k1") })),
            "{\"kind\":\"person\",\"external_id\":\"Mustermann".to_owned(),
            subject(json!({ "external_id": "bad-2", "Mustermann": 1 })),
            subject(json!({ "external_id": "bad-3", "kind": "Mustermann" })),
            subject(json!({ "links": [] })),
            // The link is somebody else's: the subject is not made either.
            subject(json!({ "external_id": "bad-5", "links": link("taken") })),
            subject(json!({ "external_id": "bad-6", "links": [{ "namespace": "Api Key", "id": "k6" }] })),
            subject(json!({ "external_id": "bad-7", "sessions": [{ "source": "src_nobody", "session": "s" }] })),
            String::new(),
            subject(json!({ "external_id": "x".repeat(201) })),
            format!("{{\"kind\":\"person\",\"external_id\":\"{}\"}}", "y".repeat(300 * 1024)),
            // The same account again, with one more link: completed, not doubled.
            subject(json!({ "external_id": "good-1", "links": link("k2") })),
            subject(json!({ "external_id": "good-2" })),
        ];
        m.file("mixed.ndjson", &lines);
        let Output { status, stdout, stderr } =
            m.run(&["import", "subjects", "mixed.ndjson", "--json", "--rejects", "rejects.ndjson"]);
        assert!(!status.success(), "a refused line is an exit code other than 0");
        let report: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!((count(&report, "created"), count(&report, "extended"), count(&report, "refused")), (2, 1, 9));
        let rejects = std::fs::read_to_string(m.dir.path().join("rejects.ndjson")).unwrap();
        let mode = std::fs::metadata(m.dir.path().join("rejects.ndjson")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let told: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let places: Vec<(u64, &str)> = told
            .iter()
            .map(|line| (line["line"].as_u64().unwrap(), line["errors"][0]["pointer"].as_str().unwrap()))
            .collect();
        let expected = [
            (2, ""),
            (3, ""),
            (4, "/kind"),
            (5, "/external_id"),
            (6, "/links"),
            (7, "/links/0/namespace"),
            (8, "/sessions/0/source"),
            (10, "/external_id"),
            (11, ""),
        ];
        assert_eq!(places, expected);
        let shown = String::from_utf8(stderr).unwrap();
        for text in [&shown, &rejects] {
            assert!(!text.contains("Mustermann") && !text.contains("bad-") && !text.contains("taken"), "{text}");
        }
        assert!(shown.contains("line 10: `/external_id`"), "{shown}");
        assert_eq!(number(&t, "subjects").await, 3);
        let good = t.get("/v1/subjects?external_id=good-1").await.body["items"][0]["id"].clone();
        assert_eq!(
            t.get(&format!("/v1/subjects/{}/links", good.as_str().unwrap())).await.body["items"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        // What was refused is tried again: the link has become free.
        let unlink = reqwest::Method::DELETE;
        t.send(&t.admin, unlink, &format!("/v1/subjects/{other}/links/api-key/taken"), None).await;
        let again = m.report(&["import", "subjects", "mixed.ndjson", "--json"]);
        assert_eq!((count(&again, "created"), count(&again, "refused")), (1, 8), "{again}");
        let third = m.report(&["import", "subjects", "mixed.ndjson", "--json"]);
        assert_eq!((count(&third, "created"), count(&third, "known"), count(&third, "refused")), (0, 0, 8), "{third}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_results_keep_their_own_time_and_are_said_once() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let sources = t.sources().await;
        let (ada, bob) = (t.subject("ada").await, t.subject("bob").await);
        t.created(&format!("/v1/subjects/{bob}/links"), json!({ "namespace": "api-key", "id": "k-bob" })).await;
        let check = |whom: (&str, &str), more: Value| {
            let mut line = json!({ "kind": "document_check", "grade": "STRONG", "checked_at": "2026-03-01T10:00:00Z",
                "document": { "type": "passport", "issuing_country": "USA", "number": "X 1234567" },
                "person": { "birth_date": "1990-02-03", "name": "Erika Mustermann" } });
            line[whom.0] = json!(whom.1);
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line.to_string()
        };
        let lines = [
            check(("subject", &ada), json!({ "event_id": "old-1", "check_id": "c1" })),
            check(("external_id", "ada"), json!({ "check_id": "c1", "checked_at": "2026-04-01T10:00:00Z" })),
            // The same passport on another subject.
            check(("subject", "api-key:k-bob"), json!({})),
            check(("external_id", "nobody"), json!({})),
            check(("subject", &ada), json!({ "checked_at": null })),
            check(("subject", &ada), json!({ "checked_at": "2199-01-01T00:00:00Z" })),
            check(("subject", &ada), json!({ "source": sources.registry })),
            check(("subject", &ada), json!({ "external_id": "ada" })),
            check(("subject", &ada), json!({ "person": { "birth_date": "1990-02-30" } })),
            check(("subject", &ada), json!({ "codes": ["simulated"] })),
            check(("subject", &ada), json!({ "outcome": "Mustermann" })),
        ];
        m.file("results.ndjson", &lines);
        let import =
            ["import", "attestations", "results.ndjson", "--source", &sources.vendor, "--json", "--rejects", "r"];
        let Output { stdout, stderr, .. } = m.run(&import);
        let report: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!((count(&report, "recorded"), count(&report, "refused")), (3, 8), "{report}");
        let rejects = std::fs::read_to_string(m.dir.path().join("r")).unwrap();
        let places: Vec<(u64, String)> = rejects
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| (line["line"].as_u64().unwrap(), line["errors"][0]["pointer"].as_str().unwrap().to_owned()))
            .collect();
        let at = |n: u64, pointer: &str| (n, pointer.to_owned());
        let expected = [
            at(4, "/external_id"),
            at(5, "/checked_at"),
            at(6, "/checked_at"),
            at(7, "/source"),
            at(8, "/subject"),
            at(9, "/person/birth_date"),
            at(10, "/codes"),
            at(11, ""),
        ];
        assert_eq!(places, expected);
        assert!(!rejects.contains("Mustermann") && !String::from_utf8_lossy(&stderr).contains("Mustermann"));

        t.app.poll_feed().await.unwrap();
        let held = attestations(&t, &ada).await;
        let of_vendor: Vec<&Value> = held.iter().filter(|held| held["source"] == sources.vendor.as_str()).collect();
        let mut times: Vec<&str> = of_vendor.iter().map(|held| held["facts"]["checked_at"].as_str().unwrap()).collect();
        times.sort_unstable();
        assert_eq!(times, ["2026-03-01T10:00:00Z", "2026-04-01T10:00:00Z"]);
        assert!(!held.iter().any(|held| held.to_string().contains("1234567") || held.to_string().contains("1990")));
        // The older result of the check was superseded by the newer one, the shared passport was seen.
        let marks = rows(&t, "SELECT kind, reason FROM marks").await;
        assert_eq!(marks, [("superseded".to_owned(), "superseded".to_owned())]);
        let seen = |held: &[Value]| held.iter().any(|held| held["facts"]["codes"] == json!(["document.shared"]));
        assert!(seen(&held) && seen(&attestations(&t, &bob).await));
        assert_eq!(number(&t, "comparisons").await, 0);

        let before = number(&t, "attestations").await;
        let again = m.report(&import);
        assert_eq!((count(&again, "recorded"), count(&again, "settled_before")), (0, 11));
        // Without the checkpoint the rows alone recognise each line, the one without a delivery id too.
        std::fs::write(m.dir.path().join("other.ndjson"), format!("\n{}\n{}\n{}\n", lines[2], lines[1], lines[0]))
            .unwrap();
        let other = m.report(&["import", "attestations", "other.ndjson", "--source", &sources.vendor, "--json"]);
        assert_eq!((count(&other, "duplicate"), count(&other, "recorded")), (3, 0), "{other}");
        assert_eq!(number(&t, "attestations").await, before);
        // What a line holds is nowhere in clear, nor in a digest without our key.
        let events = rows(&t, "SELECT event, id FROM attestations").await;
        let plain = vouchsafe::crypto::sha256_hex(lines[2].as_bytes());
        assert!(events.iter().any(|(event, _)| event.starts_with("line:")));
        assert!(!events.iter().any(|(event, _)| event.contains(&plain)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_lines_of_another_source_are_another_import() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let (one, two) = (t.sources().await.registry, t.sources().await.registry);
        t.subject("ada").await;
        let line = json!({ "external_id": "ada", "kind": "registry", "checked_at": "2026-05-05T05:05:05Z",
            "statement": { "type": "read", "category": "A05" } });
        m.file("results.ndjson", &[line.to_string()]);
        for (source, recorded) in [(&one, 1), (&two, 1), (&one, 0), (&two, 0)] {
            let report = m.report(&["import", "attestations", "results.ndjson", "--source", source, "--json"]);
            assert_eq!(count(&report, "recorded"), recorded, "{report}");
        }
        assert_eq!(number(&t, "attestations").await, 2);
    })
    .await;
}

/// Waits until the import has written something, then ends it without mercy.
async fn kill_midway(t: &TestApp, mut child: Child, table: &str) -> usize {
    for _ in 0..600 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if number(t, table).await > 0 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    number(t, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_and_doubles_nothing() {
    on_both(async |t: TestApp| {
        const ALL: usize = 3_000;
        let m = Machine::of(&t);
        let sources = t.sources().await;
        m.file("accounts.ndjson", &(0..ALL).map(person).collect::<Vec<_>>());
        let import = ["import", "subjects", "accounts.ndjson", "--json"];
        let child = m.command(&import).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let written = kill_midway(&t, child, "subjects").await;
        assert!(written > 0 && written < ALL, "the kill came in the middle: {written}");
        let report = m.report(&import);
        let (created, known, before) =
            (count(&report, "created"), count(&report, "known"), count(&report, "settled_before"));
        assert_eq!(created as usize, ALL - written, "{report}");
        assert_eq!((created + known + before) as usize, ALL);
        assert_eq!((number(&t, "subjects").await, number(&t, "links").await), (ALL, ALL));

        let result = |n: usize| {
            json!({ "external_id": format!("acct-{n}"), "source": sources.registry, "kind": "registry",
                "checked_at": "2026-05-05T05:05:05Z", "statement": { "type": "read", "category": "A05" } })
            .to_string()
        };
        m.file("results.ndjson", &(0..ALL).map(result).collect::<Vec<_>>());
        let import = ["import", "attestations", "results.ndjson", "--json"];
        let child = m.command(&import).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let written = kill_midway(&t, child, "attestations").await;
        assert!(written > 0 && written < ALL, "the kill came in the middle: {written}");
        let report = m.report(&import);
        assert_eq!(count(&report, "recorded") as usize, ALL - written, "{report}");
        assert_eq!(number(&t, "attestations").await, ALL);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_names_what_it_cannot_begin_with() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let missing = m.run(&["import", "subjects", "nowhere.ndjson"]);
        assert!(!missing.status.success());
        assert!(String::from_utf8(missing.stderr).unwrap().contains("nowhere.ndjson"));
        m.file("none.ndjson", &[]);
        let source = m.run(&["import", "attestations", "none.ndjson", "--source", "src_nobody"]);
        assert!(!source.status.success() && String::from_utf8(source.stderr).unwrap().contains("--source"));
        let empty = m.report(&["import", "subjects", "none.ndjson", "--json"]);
        assert_eq!(count(&empty, "lines"), 0);
        // Standard input has no beginning to go back to, and its rows are recognised all the same.
        for (created, known) in [(2, 0), (0, 2)] {
            let mut child = m.command(&["import", "subjects", "-", "--json"]);
            let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let text = format!("{}\n{}", person(1), person(2));
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((count(&report, "created"), count(&report, "known")), (created, known), "{report}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_goes_on_writing_beside_an_import() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        m.file("accounts.ndjson", &(0..4_000).map(person).collect::<Vec<_>>());
        let mut import = m.command(&["import", "subjects", "accounts.ndjson", "--json"]);
        let mut child = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (mut written, mut longest) = (0, std::time::Duration::ZERO);
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            let asked = std::time::Instant::now();
            t.subject(&format!("live-{written}")).await;
            longest = longest.max(asked.elapsed());
            written += 1;
        };
        assert!(ended.success() && written > 0, "{written}");
        assert!(longest < std::time::Duration::from_secs(3), "an answer took {longest:?}");
        assert_eq!(number(&t, "subjects").await, 4_000 + written);
    })
    .await;
}
