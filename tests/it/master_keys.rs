//! Another master key takes the place of the old one: nothing that was sealed or digested changes, and at every moment one
//! of the two opens everything.

use crate::app::{MASTER, START_MS};
use crate::binary::{BINARY, vouchsafe};
use crate::support::{Database, TempDir};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use vouchsafe::clock::{Clock, ManualClock};
use vouchsafe::crypto::{CryptoError, MasterKey};
use vouchsafe::intake::geoip::GeoIp;
use vouchsafe::service::{Actor, App, ServiceError, ServiceResult};

const NEXT: [u8; 32] = {
    let mut bytes = MASTER;
    bytes.reverse();
    bytes
};

async fn open(database: &Database, master: &[u8; 32]) -> ServiceResult<Arc<App>> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_MS));
    let master = MasterKey::new(master);
    App::open(database.store().await, clock, master, "http://127.0.0.1".to_owned(), GeoIp::empty()).await
}

/// What must not change: digests by which things are found, pairwise subjects, and what is sealed.
fn fingerprint(app: &App, sealed: &[u8]) -> Value {
    json!([
        app.crypto.lookup_digest("d", "t"),
        app.crypto.lineage_digest("d", "t"),
        app.crypto.pairwise("sub_1", "edge").unwrap(),
        app.crypto.open_secret("c", sealed).unwrap(),
        app.key_set()
    ])
}

#[tokio::test]
async fn both_files_open_everything_until_the_old_one_is_ended() {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    for database in databases {
        let app = open(&database, &MASTER).await.unwrap();
        let sealed = app.crypto.seal_secret("c", b"x").unwrap();
        let before = fingerprint(&app, &sealed);
        let refused =
            |opened: ServiceResult<Arc<App>>| matches!(opened, Err(ServiceError::Crypto(CryptoError::OtherMaster(_))));
        assert!(refused(open(&database, &NEXT).await));
        let next = MasterKey::new(&NEXT);
        for _ in 0..2 {
            // The second time after a crash that hid the first: nothing changes.
            app.add_master_key(&Actor::system(), &next).await.unwrap();
            assert_eq!(database.count("roots").await, 2);
            for master in [&MASTER, &NEXT] {
                assert_eq!(fingerprint(&open(&database, master).await.unwrap(), &sealed), before);
            }
        }
        let later = open(&database, &NEXT).await.unwrap();
        assert_eq!(later.end_other_master_keys(&Actor::system()).await.unwrap().len(), 1);
        assert_eq!(later.end_other_master_keys(&Actor::system()).await.unwrap(), Vec::<String>::new());
        assert!(refused(open(&database, &MASTER).await), "it opens nothing any more");
        assert_eq!(fingerprint(&open(&database, &NEXT).await.unwrap(), &sealed), before);
        // A database that lost its root secret gets no other one.
        database.execute("DELETE FROM roots").await.unwrap();
        assert!(refused(open(&database, &NEXT).await));
        assert_eq!(database.count("roots").await, 0);
    }
}

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_master_key_is_rotated_at_the_machine_and_the_anchor_goes_along() {
    let folder = TempDir::new();
    let at = |name: &str| folder.path().join(name);
    let (key, next) = (at("master.key"), at("next.key"));
    assert!(Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap().success());
    let url = format!("sqlite:{}", at("v.db").display());
    let run = |key: &Path, arguments: &[&str]| vouchsafe(&url, key, arguments);
    let create = ["client", "create", "--json", "--name", "n", "--owner", "o", "--scope", "admin"];
    said(&run(&key, &create));
    let refused = |output: Output, why: &str| {
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(why), "{text}");
    };
    let rotate = ["keys", "rotate-master", "--json", next.to_str().unwrap()];
    let opens = said(&run(&key, &rotate));
    assert_eq!(opens["opens"].as_str().unwrap().len(), 16);
    assert_eq!(said(&run(&key, &rotate)), opens, "again after a crash");
    // The anchor stays where it is while the file beside it is replaced; the old one still opens everything.
    assert!(run(&key, &["audit", "verify"]).status.success());
    std::fs::rename(&key, at("old.key")).unwrap();
    std::fs::rename(&next, &key).unwrap();
    assert!(run(&key, &["audit", "verify"]).status.success());
    said(&run(&key, &create));
    assert_eq!(said(&run(&key, &["anchor", "show", "--json"]))["holds"], true);
    let ended = said(&run(&key, &["keys", "rotate-master", "--json", "--finish"]));
    assert_eq!(ended["ended"].as_array().unwrap().len(), 1);
    assert_eq!(said(&run(&key, &["anchor", "show", "--json"]))["holds"], true);
    assert!(run(&key, &["audit", "verify"]).status.success());
    // The old file is nothing any more, with its anchor or without one.
    let new = std::fs::read(&key).unwrap();
    std::fs::rename(&key, at("new.key")).unwrap();
    std::fs::rename(at("old.key"), &key).unwrap();
    refused(run(&key, &create), "another master key");
    std::fs::remove_file(&key).unwrap();
    // Somebody's idea of a key.
    for weak in [&[1_u8; 32][..], b"correct horse battery staple 123"] {
        std::fs::write(at("weak.key"), weak).unwrap();
        std::fs::set_permissions(at("weak.key"), std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        refused(run(&at("weak.key"), &["serve"]), "`vouchsafe keys master FILE`");
        std::fs::remove_file(at("weak.key")).unwrap();
    }
    assert_eq!(new.len(), 32);
}

#[test]
fn keys_are_listed_rotated_retired_and_exported_at_the_machine() {
    let folder = TempDir::new();
    let key = folder.path().join("master.key");
    assert!(Command::new(BINARY).args(["keys", "master"]).arg(&key).status().unwrap().success());
    let url = format!("sqlite:{}", folder.path().join("v.db").display());
    let run = |arguments: &[&str]| vouchsafe(&url, &key, arguments);
    let list =
        |more: &[&str]| said(&run(&[&["keys", "list", "--json"], more].concat()))["keys"].as_array().unwrap().clone();
    let of = |keys: &[Value], purpose: &str| -> Vec<Value> {
        keys.iter().filter(|key| key["purpose"] == purpose).cloned().collect()
    };
    let first = list(&[]);
    let purposes: Vec<&str> = first.iter().map(|key| key["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes.len(), 5, "{purposes:?}");
    assert!(first.iter().all(|key| key["state"] == "signing"));
    let signing = of(&first, "access")[0]["kid"].clone();

    let published = said(&run(&["keys", "rotate", "--json", "--purpose", "access"]));
    assert_eq!((&published["purpose"], &published["state"]), (&json!("access"), &json!("published")));
    assert_eq!(of(&list(&[]), "access").len(), 2);
    let export = said(&run(&["keys", "export"]));
    let kids: Vec<&Value> = export["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert!(kids.len() == 6 && kids.contains(&&published["kid"]) && kids.contains(&&signing));
    assert!(!export.to_string().contains("\"d\""), "public parts only");

    let retired = said(&run(&["keys", "retire", "--json", "--reason", "stolen", signing.as_str().unwrap()]));
    assert_eq!(retired, json!({ "retired": signing, "follower": published["kid"] }));
    let now = of(&list(&[]), "access");
    assert_eq!((now.len(), &now[0]["kid"], &now[0]["state"]), (1, &published["kid"], &json!("signing")));
    let all = of(&list(&["--all"]), "access");
    assert!(all.iter().any(|key| key["kid"] == signing && key["state"] == "retired"));
    for (wrong, why) in [
        (&["keys", "retire", "--reason", "x", "nobody"][..], "no such key"),
        (&["keys", "retire", "--reason", "x", signing.as_str().unwrap()], "was not retired"),
        (&["keys", "rotate", "--purpose", "all"], "is no purpose"),
        (&["keys", "rotate", "--alg", "none"], "is no algorithm"),
        (&["keys", "rotate", "--alg", "RS256"], "no key of this purpose and algorithm"),
        (&["keys", "rotate-master"], "required"),
    ] {
        let output = run(wrong);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(why), "{wrong:?}: {text}");
    }
    assert!(run(&["audit", "verify"]).status.success());
    // It reads without JSON too.
    let text = String::from_utf8(run(&["keys", "list"]).stdout).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
}
