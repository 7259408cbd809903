//! Directories and their tokens at the command line.

use super::*;
use crate::binary::BINARY;
use crate::support::{Database, TempDir};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_registers_changes_and_switches_off() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.created("/v1/organisations", json!({ "id": "org_meridian", "name": "Meridian", "verified": true })).await;
    let folder = TempDir::new();
    let key = folder.path().join("master.key");
    std::fs::write(&key, crate::app::MASTER).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let run = |arguments: &[&str]| -> Result<Value, String> {
        let done = Command::new(BINARY)
            .args(arguments)
            .arg("--json")
            .env_clear()
            .env("VOUCHSAFE_PUBLIC_ORIGIN", &t.app.issuer)
            .env("VOUCHSAFE_MASTER_KEY_FILE", &key)
            .env("VOUCHSAFE_ANCHOR_FILE", "off")
            .env("VOUCHSAFE_DATABASE", database.url())
            .output()
            .unwrap();
        if done.status.success() {
            Ok(serde_json::from_slice(&done.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    };
    let create = ["directory", "create", "--name", "People", "--organisation", "org_meridian", "--namespace", "okta"];
    let more = ["--resource", "restricted.api", "--disclose", "status"];
    assert_eq!(run(&[&create[..], &more].concat()).unwrap(), json!({ "directory": "dir_okta" }));
    let made = run(&["scim-token", "create", "--directory", "dir_okta"]).unwrap();
    assert_eq!(made["base_url"], format!("{}/scim/v2", t.app.issuer));
    let asks = async || {
        t.app.poll_feed().await.unwrap();
        ask(&t, made["token"].as_str().unwrap(), Method::GET, "/Users", None, &[]).await.status
    };
    assert_eq!(asks().await, StatusCode::OK);

    let change = |more: &[&str]| run(&[&["directory", "change", "--directory", "dir_okta"], more].concat());
    // Resources, disclosures, namespace of addresses and their domains.
    let now = async || {
        let body = t.get("/v1/directories/dir_okta").await.body["body"].clone();
        let emails = body.get("emails").cloned().unwrap_or_default();
        (body["resources"].clone(), body["discloses"].clone(), emails["namespace"].clone(), emails["domains"].clone())
    };
    let (one, none) = (json!(["restricted.api"]), json!([]));
    assert_eq!(now().await, (one.clone(), json!(["status"]), Value::Null, Value::Null));
    change(&["--disclose", "confidence", "--disclose", "status"]).unwrap();
    assert_eq!(now().await, (one.clone(), json!(["status", "confidence"]), Value::Null, Value::Null));
    let emails = ["--email-namespace", "email", "--email-domain", "b.example", "--email-domain", "a.example"];
    change(&[&emails[..], &["--disclose-nothing"]].concat()).unwrap();
    assert_eq!(now().await, (one.clone(), none.clone(), json!("email"), json!(["a.example", "b.example"])));
    change(&["--name", "Everybody"]).unwrap();
    assert_eq!(now().await, (one.clone(), none.clone(), json!("email"), json!(["a.example", "b.example"])), "it stays");
    change(&["--without-emails"]).unwrap();
    assert_eq!(now().await, (one, none.clone(), Value::Null, Value::Null));
    change(&["--no-resources"]).unwrap();
    assert_eq!(now().await, (none.clone(), none, Value::Null, Value::Null));
    for (wrong, why) in [
        (&["--disclose", "evidence"][..], "`status` or `confidence`"),
        (&["--disclose", "status", "--disclose-nothing"], "--disclose-nothing"),
        (&["--email-domain", "a.example"], "--email-namespace"),
        (&["--email-namespace", "email"], "--email-domain"),
        (&["--email-namespace", "email", "--email-domain", "A.example"], "small letters"),
        (&["--email-namespace", "email", "--email-domain", "a.example", "--without-emails"], "--without-emails"),
        (&["--resource", "restricted.api", "--no-resources"], "--no-resources"),
    ] {
        let error = change(wrong).unwrap_err();
        assert!(error.contains(why), "{wrong:?}: {error}");
    }
    let shown = t.get("/v1/directories/dir_okta").await.body;
    assert_eq!(
        (&shown["body"]["name"], &shown["version"]),
        (&json!("Everybody"), &json!(7)),
        "five changes and a token"
    );

    change(&["--disabled", "true"]).unwrap();
    assert_eq!(asks().await, StatusCode::UNAUTHORIZED);
    change(&["--disabled", "false"]).unwrap();
    assert_eq!(asks().await, StatusCode::OK);
    let listed = run(&["directory", "list"]).unwrap();
    assert_eq!((&listed["id"], &listed["body"]["organisation"]), (&json!("dir_okta"), &json!("org_meridian")));
    let token = made["id"].as_str().unwrap();
    assert_eq!(run(&["scim-token", "list", "--directory", "dir_okta"]).unwrap()["id"], token);
    run(&["scim-token", "revoke", "--directory", "dir_okta", "--token", token]).unwrap();
    assert_eq!(asks().await, StatusCode::UNAUTHORIZED);
}
