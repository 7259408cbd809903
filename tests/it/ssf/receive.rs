//! What identity providers push to us (RFC 8935): one whose account is over is no member of their organisation.

use crate::app::{Answer, TestApp, on_both};
use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe::storage::{AuditEntry, Change, NewAttestation, Write};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};

const PROVIDER: &str = "https://idp.example";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const PURGED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-purged";

pub(super) async fn push(t: &TestApp, set: &str) -> Answer {
    let request = t.http.post(format!("{}/ssf/receive", t.url)).header("content-type", "application/secevent+jwt");
    crate::app::answer(request.body(set.to_owned())).await
}

fn claims(t: &TestApp, jti: &str, uri: &str) -> Value {
    json!({ "iss": PROVIDER, "aud": t.app.issuer, "iat": t.clock_secs(), "jti": jti,
        "sub_id": { "format": "iss_sub", "iss": PROVIDER, "sub": "ada-there" }, "events": { uri: {} } })
}

/// An organisation whose directory is the provider's, and somebody of whom both that directory and its people office say
/// that they are a member.
async fn scene(t: &TestApp) -> (SigningKey, String) {
    let (key, _) = SigningKey::generate(Algorithm::Es256, Purpose::Access).unwrap();
    let organisation = json!({ "id": "org_meridian", "name": "Meridian", "verified": true });
    t.created("/v1/organisations", organisation).await;
    let provider = json!({ "name": "idp", "issuer": PROVIDER, "audiences": ["app"], "namespace": "idp",
        "keys": [key.jwk], "organisation": "org_meridian" });
    t.created("/v1/identity-providers", provider).await;
    let subject = super::linked(t, "ada").await;
    let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
    let vouch = json!({ "subject": subject, "basis": "hr_record",
        "statement": { "type": "employment", "organisation": "org_meridian", "employed": true } });
    let said = t.send(&own, reqwest::Method::POST, "/v1/vouches", Some(vouch)).await;
    assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
    let vouch = t.app.store.attestation(said.body["id"].as_str().unwrap()).await.unwrap().unwrap();
    let by_directory = NewAttestation {
        id: "att_directory".to_owned(),
        subject: subject.clone(),
        source: vouch.source,
        event: "directory".to_owned(),
        lineage: "directory".to_owned(),
        checked_at_ms: vouch.recorded_at_ms,
        recorded_at_ms: vouch.recorded_at_ms,
        facts: vouch.facts.replace("\"vouch\"", "\"directory\""),
        document: None,
        compare: false,
        audit: AuditEntry {
            id: "aud_directory".to_owned(),
            at_ms: vouch.recorded_at_ms,
            actor: "test".to_owned(),
            action: "test".to_owned(),
            target: subject.clone(),
            detail: "{}".to_owned(),
        },
        outbox: None,
    };
    let writes = vec![Write::Attestation(by_directory)];
    let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
    t.app.store.commit(change).await.unwrap().unwrap();
    (key, subject)
}

/// Kinds of the statements that still stand.
async fn standing(t: &TestApp, subject: &str) -> Vec<String> {
    let subject = vouchsafe_core::ids::SubjectId::parse(subject).unwrap();
    let held = t.app.attestations(&subject).await.unwrap();
    let revoked = |a: &vouchsafe_core::facts::Attestation| {
        a.marks.iter().any(|mark| mark.kind == vouchsafe_core::facts::MarkKind::Revoked)
    };
    let mut kinds: Vec<String> =
        held.iter().filter(|a| !revoked(a)).map(|a| a.facts.kind.as_str().to_owned()).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_over_ends_what_the_directory_says_and_nothing_else() {
    on_both(async |t: TestApp| {
        for uri in [DISABLED, PURGED] {
            let database = if t.database_url.starts_with("sqlite:") {
                crate::support::Database::sqlite()
            } else {
                crate::support::Database::postgres().await.unwrap()
            };
            let t = TestApp::start(&database).await;
            let (key, subject) = scene(&t).await;
            assert_eq!(standing(&t, &subject).await, ["directory", "vouch"]);
            let other = "https://schemas.openid.net/secevent/risc/event-type/account-enabled";
            let set = key.sign("secevent+jwt", &claims(&t, "j0", other)).unwrap();
            assert_eq!(push(&t, &set).await.status, StatusCode::ACCEPTED);
            assert_eq!(standing(&t, &subject).await, ["directory", "vouch"]);
            let set = key.sign("secevent+jwt", &claims(&t, "j1", uri)).unwrap();
            let taken = push(&t, &set).await;
            assert_eq!((taken.status, taken.body), (StatusCode::ACCEPTED, Value::Null));
            assert_eq!(standing(&t, &subject).await, ["vouch"]);
            assert_eq!(t.audited("directory.left").await.len(), 1);
            assert_eq!(push(&t, &set).await.status, StatusCode::ACCEPTED, "once taken it is taken");
            assert_eq!(t.audited("directory.left").await.len(), 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_the_provider_for_us_is_refused_by_its_code_and_changes_nothing() {
    on_both(async |t: TestApp| {
        let (key, subject) = scene(&t).await;
        let (stranger, _) = SigningKey::generate(Algorithm::Es256, Purpose::Access).unwrap();
        let own = claims(&t, "j1", DISABLED);
        let changed = |name: &str, value: Value| {
            let mut claims = own.clone();
            claims[name] = value;
            claims
        };
        for (set, err) in [
            (stranger.sign("secevent+jwt", &own).unwrap(), "invalid_key"),
            (key.sign("JWT", &own).unwrap(), "invalid_request"),
            (key.sign("secevent+jwt", &changed("iss", json!("https://other.example"))).unwrap(), "invalid_issuer"),
            (key.sign("secevent+jwt", &changed("aud", json!("https://other.example"))).unwrap(), "invalid_audience"),
            (key.sign("secevent+jwt", &changed("iat", json!(t.clock_secs() - 8 * 86_400))).unwrap(), "invalid_request"),
            (key.sign("secevent+jwt", &changed("events", json!({}))).unwrap(), "invalid_request"),
            ("x".to_owned(), "invalid_request"),
            (String::new(), "invalid_request"),
        ] {
            let answer = push(&t, &set).await;
            assert_eq!((answer.status, &answer.body["err"]), (StatusCode::BAD_REQUEST, &json!(err)), "{}", answer.body);
            assert!(answer.body["description"].is_string());
        }
        let set = key.sign("secevent+jwt", &own).unwrap();
        let request = t.http.post(format!("{}/ssf/receive", t.url)).header("content-type", "application/json");
        let answer = crate::app::answer(request.body(set)).await;
        assert_eq!((answer.status, &answer.body["err"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
        let off = json!({ "disabled": true });
        let off = t.send(&t.admin, reqwest::Method::PATCH, "/v1/identity-providers/idp_idp", Some(off)).await;
        assert_eq!(off.status, StatusCode::NO_CONTENT);
        let answer = push(&t, &key.sign("secevent+jwt", &own).unwrap()).await;
        assert_eq!(
            (answer.status, &answer.body["err"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_issuer")),
            "switched off"
        );
        let on = json!({ "disabled": false });
        t.send(&t.admin, reqwest::Method::PATCH, "/v1/identity-providers/idp_idp", Some(on)).await;
        let nobody = changed("sub_id", json!({ "format": "iss_sub", "iss": PROVIDER, "sub": "nobody" }));
        assert_eq!(push(&t, &key.sign("secevent+jwt", &nobody).unwrap()).await.status, StatusCode::ACCEPTED);
        assert_eq!(standing(&t, &subject).await, ["directory", "vouch"]);
    })
    .await;
}
