//! The binary as a user meets it: the demo's people, the five lines, serve and its graceful end, the audit log.

use crate::support::{Database, TempDir};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_vouchsafe");

/// A running process of ours; ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn terminate(child: &mut Child) -> std::process::ExitStatus {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    child.wait().unwrap()
}

fn demo(arguments: &[&str]) -> (Running, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(BINARY)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (Running(child), out)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_people_get_the_answers_the_law_gives() {
    let (_running, mut out) = demo(&["--json"]);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let seeded: Value = serde_json::from_str(&line).unwrap();
    let http = reqwest::Client::builder().build().unwrap();
    let url = seeded["url"].as_str().unwrap();
    let operators = seeded["operators"].as_object().unwrap();
    assert_eq!(operators.keys().collect::<Vec<_>>(), ["reviewer-1", "reviewer-2"]);
    for (login, operator) in operators {
        let given = serde_json::json!({ "login": login, "password": operator["password"] });
        let answer = http.post(format!("{url}/v1/operators/login")).json(&given).send().await.unwrap();
        let signed_in: Value = answer.json().await.unwrap();
        assert_eq!(signed_in["password_change_required"], false, "{signed_in}");
    }
    let client = &seeded["clients"]["onboarding"];
    let credentials = [("grant_type", "client_credentials")];
    let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str());
    let token: Value = http
        .post(format!("{url}/oauth2/token"))
        .basic_auth(id, secret)
        .form(&credentials)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = token["access_token"].as_str().unwrap();
    let ask = async |name: &str, resource: &str| -> Value {
        let subject = seeded["subjects"][name]["id"].as_str().unwrap();
        let path = format!("{url}/v1/subjects/{subject}/eligibility?resource={resource}");
        http.get(path).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    };
    let expected = BTreeMap::from([
        ("dual_citizen_travelling", "eligible"),
        ("permanent_resident", "eligible"),
        ("asylee", "eligible"),
        ("visa_holder_listed_employer", "eligible"),
        ("visa_holder_vouch_revoked", "ineligible"),
        ("contractor_contradicted", "review"),
        ("self_declared_expired_document", "insufficient"),
        ("naturalised_old_card", "eligible"),
    ]);
    for (name, status) in expected {
        let decision = ask(name, "restricted.api").await;
        assert_eq!(decision["status"], status, "{name}: {decision}");
        let exemption = if name == "visa_holder_listed_employer" { Value::from("annex-a") } else { Value::Null };
        assert_eq!(decision["exemption"], exemption, "{name}");
    }
    assert_eq!(ask("naturalised_old_card", "nationals.api").await["status"], "eligible");
    assert_eq!(ask("permanent_resident", "nationals.api").await["status"], "ineligible");
    let resident = ask("permanent_resident", "restricted.api").await;
    assert_eq!(resident["expiry_cause"], "evidence_end");
    let second = |text: &Value| vouchsafe_core::Second::parse(text.as_str().unwrap()).unwrap();
    // The card ends 20 days after seeding, which is the decision's instant give or take the seeding itself.
    let left = second(&resident["expires_at"]).since(second(&resident["at"]));
    assert!((20 * 86_400 - 30..=20 * 86_400).contains(&left), "{left}");
}

#[test]
fn the_five_lines_of_the_demo_work_in_order() {
    let (_running, out) = demo(&[]);
    let mut lines = Vec::new();
    for line in out.lines() {
        let line = line.unwrap();
        let last = line.starts_with("The access tokens");
        if line.starts_with("curl") || line.starts_with("TOKEN=") {
            lines.push(line);
        }
        if last {
            break;
        }
    }
    assert_eq!(lines.len(), 5);
    let script = lines.iter().map(|line| format!("{line}\necho; echo ----\n")).collect::<String>();
    let Output { stdout, status, .. } = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(status.success());
    let text = String::from_utf8(stdout).unwrap();
    let answers: Vec<&str> = text.split("----").map(str::trim).collect();
    assert!(
        answers[0].contains(r#""status":"insufficient""#) && answers[0].contains("evidence_for_one_of"),
        "{}",
        answers[0]
    );
    assert_eq!(answers[1].matches("recorded").count(), 2, "{}", answers[1]);
    let decision: Value = serde_json::from_str(answers[2]).unwrap();
    assert_eq!(decision["status"], "eligible");
    assert!(decision["confidence"].is_f64() && decision["expires_at"].is_string());
    assert_eq!(answers[3].split('.').count(), 3, "{}", answers[3]);
    assert!(answers[4].starts_with("HTTP/1.1 200"), "{}", answers[4]);
}

pub(crate) fn vouchsafe(database: &str, key: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env("VOUCHSAFE_PUBLIC_ORIGIN", "http://127.0.0.1")
        .env("VOUCHSAFE_DATABASE", database)
        .env("VOUCHSAFE_MASTER_KEY_FILE", key)
        .output()
        .unwrap()
}

/// The health check, with nothing of this configuration but the address.
fn ready(admin: &str) -> Output {
    Command::new(BINARY)
        .args(["ready", "--admin-listen", admin])
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_fails_on_any_answer_but_ready() {
    for (status, passes) in [(200, true), (503, false), (404, false), (302, false), (204, false)] {
        let service = wiremock::MockServer::start().await;
        let answer = wiremock::ResponseTemplate::new(status).insert_header("location", "/elsewhere");
        wiremock::Mock::given(wiremock::matchers::path("/readyz")).respond_with(answer).mount(&service).await;
        wiremock::Mock::given(wiremock::matchers::path("/elsewhere"))
            .respond_with(wiremock::ResponseTemplate::new(200))
            .mount(&service)
            .await;
        let admin = service.address().to_string();
        let checked = tokio::task::spawn_blocking(move || ready(&admin)).await.unwrap();
        assert_eq!(checked.status.success(), passes, "{status}: {checked:?}");
    }
}

/// A served database, its log in this format, and what that said until it was ready.
fn begin(url: &str, key: &Path, log: &str) -> (Running, BufReader<std::process::ChildStderr>, Vec<String>) {
    let child = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .env("VOUCHSAFE_PUBLIC_ORIGIN", "http://127.0.0.1")
        .env("VOUCHSAFE_DATABASE", url)
        .env("VOUCHSAFE_MASTER_KEY_FILE", key)
        .env("VOUCHSAFE_LOG", log)
        .env_remove("NO_COLOR")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut log = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = vec![String::new()];
    let is_ready = |line: &String| line.contains("\"ready\"") || line.contains(": ready ");
    while !lines.last().is_some_and(is_ready) {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "serve ended before it was ready");
        lines.push(line);
    }
    (running, log, lines)
}

/// A served database, its log, and the addresses it said it was ready on.
pub(crate) fn serve(url: &str, key: &Path) -> (Running, BufReader<std::process::ChildStderr>, Value) {
    let (running, log, lines) = begin(url, key, "json");
    let line = lines.last().unwrap();
    let mut ready: Value = serde_json::from_str(line).unwrap();
    (running, log, ready["fields"].take())
}

#[test]
fn a_log_that_nobody_watches_has_no_colours() {
    let folder = TempDir::new();
    let (database, key) = (Database::sqlite(), folder.path().join("master.key"));
    assert!(Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap().success());
    let url = database.url();
    assert!(vouchsafe(&url, &key, &["migrate"]).status.success());
    let (mut running, mut log, mut lines) = begin(&url, &key, "human");
    assert!(terminate(&mut running.0).success());
    lines.push(String::new());
    log.read_to_string(lines.last_mut().unwrap()).unwrap();
    let text = lines.concat();
    assert!(text.contains("stopping") && !text.contains('\u{1b}'), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_keeps_what_was_made_at_the_command_line_and_ends_gracefully() {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    for database in databases {
        let folder = TempDir::new();
        let key = folder.path().join("master.key");
        let (url, made) = (database.url(), Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap());
        assert!(made.success());
        assert!(vouchsafe(&url, &key, &["migrate"]).status.success());
        let made = vouchsafe(
            &url,
            &key,
            &["client", "create", "--json", "--name", "n", "--owner", "o", "--scope", "subjects:read"],
        );
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let (mut running, mut log, fields) = serve(&url, &key);
        let at = |name: &str| format!("http://{}", fields[name].as_str().unwrap());
        let http = reqwest::Client::builder().build().unwrap();
        let get = async |url: String| http.get(url).send().await.unwrap();
        assert_eq!(get(format!("{}/readyz", at("admin"))).await.status(), 200);
        let admin = fields["admin"].as_str().unwrap();
        assert!(ready(admin).status.success(), "the health check needs neither origin nor key");
        assert!(
            get(format!("{}/metrics", at("admin"))).await.text().await.unwrap().contains("vouchsafe_feed_age_seconds")
        );
        assert_eq!(get(format!("{}/metrics", at("listen"))).await.status(), 404, "metrics stay on the admin listener");
        let request = http.post(format!("{}/oauth2/token", at("listen")));
        let request = request.basic_auth(made["client_id"].as_str().unwrap(), made["client_secret"].as_str());
        assert_eq!(request.form(&[("grant_type", "client_credentials")]).send().await.unwrap().status(), 200);
        assert!(terminate(&mut running.0).success());
        let stopped = ready(admin);
        assert!(!stopped.status.success());
        assert!(String::from_utf8(stopped.stderr).unwrap().contains("no answer"));
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopping"), "{rest}");

        let verified = vouchsafe(&url, &key, &["audit", "verify", "--json"]);
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!((&report["valid"], &report["not_yet_linked"]), (&Value::from(true), &Value::from(0)), "{report}");
        let table = if database.is_sqlite() {
            "DROP TRIGGER audit_log_no_update; UPDATE audit_log SET entry = replace(entry, 'client.created', 'client.removed')"
        } else {
            "ALTER TABLE audit_log DISABLE TRIGGER ALL; UPDATE audit_log SET entry = replace(entry, 'client.created', 'client.removed')"
        };
        database.execute(table).await.unwrap();
        let broken = vouchsafe(&url, &key, &["audit", "verify"]);
        assert!(!broken.status.success());
        assert!(String::from_utf8(broken.stdout).unwrap().contains("its content was altered"));
    }
}

#[test]
fn a_missing_or_open_master_key_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new();
    let key = folder.path().join("master.key");
    let database = format!("sqlite:{}", folder.path().join("a.db").display());
    let missing = vouchsafe(&database, &key, &["serve"]);
    assert!(!missing.status.success() && String::from_utf8(missing.stderr).unwrap().contains("keys master"));
    std::fs::write(&key, [1; 32]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = vouchsafe(&database, &key, &["serve"]);
    assert!(!open.status.success() && String::from_utf8(open.stderr).unwrap().contains("chmod 0400"));
    assert!(!folder.path().join("a.db").exists(), "nothing was made before the refusal");
}

/// What a command printed as JSON.
fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn operators_are_made_and_work_at_the_machine() {
    let folder = TempDir::new();
    let key = folder.path().join("master.key");
    assert!(Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap().success());
    let url = format!("sqlite:{}", folder.path().join("v.db").display());
    let run = |arguments: &[&str]| vouchsafe(&url, &key, arguments);
    let create = ["operator", "create", "--json", "--login", "cam", "--name", "Cam Doe", "--role", "reviewer"];
    let given = said(&run(&create))["password"].as_str().unwrap().to_owned();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::write(&old, format!("{given}\n")).unwrap();
    std::fs::write(&new, "a goose crossed nine frozen lakes\n").unwrap();
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let list = ["case", "list", "--json", "--operator", "cam", "--password-file"];
    let with = |file: &str| run(&[&list[..], &[file]].concat());
    let refused = |output: Output, why: &str| {
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(why), "{text}");
    };
    refused(with(old), "change the password you were given");
    let change = ["operator", "password", "--json", "--operator", "cam", "--password-file", old];
    said(&run(&[&change[..], &["--new-password-file", new]].concat()));
    refused(with(old), "a wrong password");
    assert_eq!(said(&with(new)), serde_json::json!({ "items": [] }));
    let appeals = ["appeal", "list", "--json", "--operator", "cam", "--password-file", new];
    assert_eq!(said(&run(&appeals)), serde_json::json!({ "items": [] }));
    said(&run(&["operator", "disable", "--json", "cam"]));
    refused(with(new), "a wrong password, or an operator who was disabled");
    let listed = said(&run(&["operator", "list", "--json"]));
    assert_eq!(listed["items"][0]["body"]["disabled"], true);
    assert!(!listed.to_string().contains("argon2"), "{listed}");
    said(&run(&["operator", "reset", "--json", "cam"]));
    refused(run(&["operator", "reset", "nobody"]), "no such operator");
    let wrong = ["operator", "create", "--login", "x", "--name", "X", "--role", "emperor"];
    refused(run(&wrong), "is no role: choose from `reviewer`, `compliance`, `auditor`, `admin`");
    assert!(run(&["audit", "verify"]).status.success());
}
