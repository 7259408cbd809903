//! Receivers and endpoints at the machine.

use crate::support::TempDir;
use serde_json::{Value, json};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_vouchsafe");

/// A database and a key, and the command on them.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let this = Self(TempDir::new());
        assert!(Command::new(BINARY).args(["keys", "master", &this.at("key")]).output().unwrap().status.success());
        this
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let done = Command::new(BINARY)
            .args(arguments)
            .arg("--json")
            .env("VOUCHSAFE_DATABASE", format!("sqlite:{}", self.at("store.db")))
            .env("VOUCHSAFE_MASTER_KEY_FILE", self.at("key"))
            .env("VOUCHSAFE_PUBLIC_ORIGIN", "https://vouchsafe.example")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.success(), if done.status.success() { String::from_utf8(done.stdout).unwrap() } else { error })
    }

    fn value(&self, arguments: &[&str]) -> Value {
        let (done, text) = self.run(arguments);
        assert!(done, "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn refused(&self, arguments: &[&str], why: &str) {
        let (done, error) = self.run(arguments);
        assert!(!done && error.contains(why), "{arguments:?}: {error}");
    }
}

#[test]
fn receivers_of_signals_are_administered_at_the_machine() {
    let machine = Machine::new();
    let client = ["client", "create", "--name", "r", "--owner", "Rae", "--scope", "ssf.read", "--scope", "ssf.manage"];
    let client = machine.value(&client)["client_id"].as_str().unwrap().to_owned();
    let create = ["signal-receiver", "create", "--client", &client, "--name", "Portal", "--aud", "https://p.example"];
    let (done, _) = machine.run(&create);
    assert!(!done, "by which names it knows subjects has to be said");
    let named = [&create[..], &["--namespace", "idp", "--resource", "restricted.*"]].concat();
    assert_eq!(machine.value(&named), json!({ "signal_receiver": client }));
    let one = ["--signal-receiver", &client];
    let with = |verb: &'static str, more: &[&'static str]| -> Vec<String> {
        ["signal-receiver", verb].iter().chain(&one).chain(more).map(|word| (*word).to_owned()).collect()
    };
    let run = |verb: &'static str, more: &[&'static str]| {
        let arguments = with(verb, more);
        machine.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let body = || {
        let shown: Value = serde_json::from_str(&run("show", &[]).1).unwrap();
        shown["body"].clone()
    };
    assert_eq!((&body()["resources"], &body()["name"]), (&json!(["restricted.*"]), &json!("Portal")));
    assert!(run("change", &["--for-resource", "true", "--disclose", "confidence"]).0);
    assert_eq!((&body()["for_resource"], &body()["discloses"]), (&json!(true), &json!(["confidence"])));
    let (done, why) = run("change", &["--all-resources"]);
    assert!(!done && why.contains("guards"), "{why}");
    assert!(run("change", &["--for-resource", "false", "--all-resources", "--disclose-nothing", "--name", "P"]).0);
    assert_eq!((body().get("resources"), body().get("discloses"), &body()["name"]), (None, None, &json!("P")));
    for verb in ["enable", "pause", "disable"] {
        let (done, why) = run(verb, &["--reason", "maintenance"]);
        assert!(!done && why.contains("stream"), "it has made none: {why}");
    }
    assert_eq!(machine.value(&["signal-receiver", "list"])["id"], json!(client));
    assert!(run("delete", &[]).0);
    machine.refused(&["signal-receiver", "show", "--signal-receiver", &client], "no such");
    assert_eq!(machine.run(&["signal-receiver", "list"]), (true, String::new()));
}

#[test]
fn endpoints_of_webhooks_are_changed_switched_and_deleted_at_the_machine() {
    let machine = Machine::new();
    let create = ["webhook", "create", "--name", "e", "--url", "https://e.example/hook", "--topic", "token.revoked"];
    let id = machine.value(&[&create[..], &["--resource", "restricted.*"]].concat())["id"].as_str().unwrap().to_owned();
    let body = || machine.value(&["webhook", "show", &id])["body"].clone();
    assert_eq!((&body()["name"], body().get("disabled")), (&json!("e"), None));
    let change = ["webhook", "change", &id, "--name", "f", "--topic", "case.opened", "--topic", "case.closed"];
    machine.value(&change);
    assert_eq!(
        (&body()["name"], &body()["topics"], &body()["resources"], &body()["url"]),
        (
            &json!("f"),
            &json!(["case.closed", "case.opened"]),
            &json!(["restricted.*"]),
            &json!("https://e.example/hook")
        )
    );
    machine.value(&["webhook", "change", &id, "--all-resources", "--external-id", "true"]);
    assert_eq!(body()["external_id"], json!(true));
    assert!(body()["resources"].as_array().is_none_or(Vec::is_empty), "{}", body());
    machine.refused(&["webhook", "change", &id, "--topic", "no.such"], "choose from");
    machine.refused(&["webhook", "change", &id, "--url", "http://10.0.0.1/"], "https");
    assert_eq!(machine.value(&["webhook", "disable", &id])["state"], "disabled");
    assert_eq!(body()["disabled"]["reason"], "administrator");
    assert_eq!(machine.value(&["webhook", "enable", &id])["state"], "enabled");
    assert_eq!(body().get("disabled"), None);
    assert_eq!(machine.value(&["webhook", "delete", &id])["state"], "deleted");
    machine.refused(&["webhook", "show", &id], "no such");
    assert_eq!(machine.value(&["webhook", "list"]), json!({ "items": [] }));
}
