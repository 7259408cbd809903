//! Past decisions: by what was known when, derived again byte for byte, and as receipts that need nobody.

use crate::app::{Sources, TestApp, asylee_record, attestations, face_check, on_both};
use crate::binary::BINARY;
use crate::support::{Database, TempDir};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use vouchsafe::service::receipt::{RECEIPT_TYPE, Refused, open};
use vouchsafe::token::jws::{JwsError, VerificationKey};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};
use vouchsafe::token::verifier;

const HOUR: i64 = 3600;

/// Moves the clock; the feed is read as a running service does, and everybody comes with a new access token.
async fn later(t: &mut TestApp, sources: &mut Sources, seconds: i64) {
    t.clock.advance(seconds);
    t.app.poll_feed().await.unwrap();
    t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
    sources.token = t.client("Sue", &["attestations:write"], &[&sources.registry, &sources.vendor], None).await;
}

async fn revoke(t: &TestApp, sources: &Sources, attestation: &Value) {
    let path = format!("/v1/attestations/{}/revoke", attestation["id"].as_str().unwrap());
    let body = json!({ "reason": "forged", "from_start": true });
    assert!(t.send(&sources.token, Method::POST, &path, Some(body)).await.status.is_success());
}

fn now(t: &TestApp) -> String {
    vouchsafe::clock::Clock::now(&*t.clock).to_string()
}

/// The decision at an instant by what was known at another, without what is told beside it.
async fn asked(t: &TestApp, subject: &str, at: &str, known_at: Option<&str>) -> Value {
    let known = known_at.map(|known| format!("&known_at={known}")).unwrap_or_default();
    let path = format!("/v1/subjects/{subject}/eligibility?resource=restricted.api&at={at}{known}");
    let answer = t.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    bare(answer.body)
}

/// A decision without what is added when answering.
fn bare(mut body: Value) -> Value {
    for told in ["reason_texts", "pending", "upcoming", "alternatives"] {
        body.as_object_mut().unwrap().remove(told).unwrap();
    }
    body.as_object_mut().unwrap().remove("explanation");
    body
}

async fn freeze(t: &TestApp, id: &str, effective_at: Option<&str>) {
    let directive = json!({ "id": id, "authority": "a", "citation": "c", "effective_at": effective_at,
        "actions": [{ "freeze": "restricted.*" }] });
    t.created("/v1/directives", directive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_answered_again_whatever_was_learnt_since() {
    on_both(async |mut t: TestApp| {
        t.activate("restricted-us-persons").await;
        let mut sources = t.sources().await;
        let subject = t.subject("ada").await;
        let mut said: Vec<(String, Value)> = Vec::new();
        for step in 0..6 {
            match step {
                1 => drop(t.attest(&sources, &subject, asylee_record(&sources)).await),
                2 => drop(t.attest(&sources, &subject, face_check(&sources)).await),
                // An order for later on: from its approval it bounds every promise.
                3 => freeze(&t, "tomorrow", Some("2026-11-21T06:00:00Z")).await,
                4 => revoke(&t, &sources, &attestations(&t, &subject).await[0]).await,
                _ => {}
            }
            said.push((now(&t), bare(t.eligibility(&subject, "restricted.api").await)));
            later(&mut t, &mut sources, if step == 4 { 3 * HOUR } else { HOUR }).await;
        }
        let statuses: Vec<&str> = said.iter().map(|(_, body)| body["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["insufficient", "insufficient", "eligible", "eligible", "insufficient", "ineligible"]);
        assert_eq!(said[2].1["expires_at"], "2027-02-19T02:00:00Z", "90 days");
        assert_eq!(said[3].1["expires_at"], "2026-11-21T06:00:00Z", "the freeze was known");
        for (at, body) in &said {
            assert_eq!(&asked(&t, &subject, at, None).await, body, "{at}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clocks_give_two_answers() {
    on_both(async |mut t: TestApp| {
        t.activate("restricted-us-persons").await;
        let mut sources = t.sources().await;
        let subject = t.subject("ada").await;
        let start = now(&t);
        // Looked into now, heard of an hour later.
        let checked = json!({ "checked_at": start });
        later(&mut t, &mut sources, HOUR).await;
        for mut body in [asylee_record(&sources), face_check(&sources)] {
            body.as_object_mut().unwrap().extend(checked.as_object().unwrap().clone());
            assert_eq!(t.attest(&sources, &subject, body).await.status, StatusCode::CREATED);
        }
        let heard = now(&t);
        for (at, known_at, status, why) in [
            (&start, &start, "insufficient", "by what was known then"),
            (&start, &heard, "eligible", "by what is known now"),
            (&heard, &start, "insufficient", "judged later by what was known before"),
        ] {
            assert_eq!(asked(&t, &subject, at, Some(known_at)).await["status"], status, "{why}");
        }
        later(&mut t, &mut sources, HOUR).await;
        for item in attestations(&t, &subject).await {
            revoke(&t, &sources, &item).await;
        }
        let revoked = now(&t);
        for (at, known_at, status, why) in [
            (&start, &heard, "eligible", "as it seemed for a while"),
            (&start, &revoked, "insufficient", "it was never true"),
            (&heard, &heard, "eligible", "and was answered so"),
        ] {
            assert_eq!(asked(&t, &subject, at, Some(known_at)).await["status"], status, "{why}");
        }

        // Only `known_at`: now, by what was known then.
        let path = format!("/v1/subjects/{subject}/eligibility?resource=restricted.api&known_at={heard}");
        assert_eq!(t.get(&path).await.body["status"], "eligible");
        for (query, pointer) in [
            ("known_at=2030-01-01T00:00:00Z", "/known_at"),
            ("at=2030-01-01T00:00:00Z", "/at"),
            ("known_at=x", "/known_at"),
        ] {
            let answer = t.get(&format!("/v1/subjects/{subject}/eligibility?resource=restricted.api&{query}")).await;
            assert_eq!(
                (answer.status, &answer.body["errors"][0]["pointer"]),
                (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer))
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_arrived_late_replaces_the_older_from_its_own_time() {
    on_both(async |mut t: TestApp| {
        t.activate("restricted-us-persons").await;
        let mut sources = t.sources().await;
        let subject = t.subject("ada").await;
        t.attest(&sources, &subject, asylee_record(&sources)).await;
        let check = face_check(&sources);
        let result = |outcome: &str, at: &str| {
            let mut body = check.clone();
            body["check_id"] = json!("check-1");
            body["checked_at"] = json!(at);
            body["outcome"] = json!(outcome);
            body["event_id"] = json!(format!("{outcome}-{at}"));
            body
        };
        let first = now(&t);
        assert_eq!(t.attest(&sources, &subject, result("approved", &first)).await.status, StatusCode::CREATED);
        later(&mut t, &mut sources, HOUR).await;
        let (second, asked_at) = (now(&t), "2026-11-21T01:30:00Z");
        later(&mut t, &mut sources, HOUR).await;
        assert_eq!(t.attest(&sources, &subject, result("resubmit", &second)).await.status, StatusCode::CREATED);
        let heard = now(&t);
        let status = async |known_at: &str| asked(&t, &subject, asked_at, Some(known_at)).await["status"].clone();
        assert_eq!(status(asked_at).await, "eligible", "the newer result was not heard of");
        assert_eq!(status(&heard).await, "insufficient", "it had replaced the older one by then");
    })
    .await;
}

/// The keys as anybody gets them.
async fn jwks(t: &TestApp) -> Value {
    t.http.get(format!("{}/.well-known/jwks.json", t.url)).send().await.unwrap().json().await.unwrap()
}

fn verifiers(jwks: &Value) -> Vec<VerificationKey> {
    let listed = jwks["keys"].as_array().unwrap();
    listed.iter().map(|jwk| VerificationKey::from_jwk(jwk["kid"].as_str().unwrap(), jwk).unwrap()).collect()
}

async fn receipt(t: &TestApp, decision: &str) -> String {
    let request = t.http.get(format!("{}/v1/decisions/{decision}/receipt", t.url)).bearer_auth(&t.admin);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/jose");
    response.text().await.unwrap()
}

/// A person with a document of a number, a name and a birth date, vouched for in words, and eligible.
async fn documented(t: &TestApp) -> String {
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    let subject = t.subject("ada-lovelace-4711").await;
    let mut check = face_check(&sources);
    check["document"] = json!({ "type": "passport", "issuing_country": "USA", "number": "L898902C3" });
    check["person"] = json!({ "birth_date": "1975-12-10", "name": "Ada Lovelace" });
    let answer = t.attest(&sources, &subject, check).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    subject
}

/// The decision now, as those who may see the evidence see it.
async fn recorded(t: &TestApp, subject: &str) -> Value {
    let id = t.eligibility(subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
    let answer = t.get(&format!("/v1/decisions/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

fn payload(receipt: &str) -> String {
    String::from_utf8(B64.decode(receipt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_the_same_before_and_after_erasure_and_names_nobody() {
    on_both(async |t: TestApp| {
        let subject = documented(&t).await;
        let decision = recorded(&t, &subject).await;
        assert_eq!(decision["status"], "eligible", "{decision}");
        let id = decision["id"].as_str().unwrap();
        let before = receipt(&t, id).await;
        let opened = open(&before, Some(&verifiers(&jwks(&t).await))).unwrap();
        assert_eq!(json!(opened.decision), bare(decision.clone()));
        assert_eq!((opened.receipt.iss.as_str(), opened.test), (t.app.issuer.as_str(), false));

        // Nothing of the person, and no digest of it that we hold.
        let text = payload(&before);
        let held = crate::support::pairs(&t.database_url, "SELECT facts, document FROM attestations").await;
        let facts: Value = serde_json::from_str(&held[0].0).unwrap();
        let digests = [&facts["document"], &facts["person"]["birth"], &facts["person"]["name"]]
            .map(|v| v.as_str().unwrap().to_owned());
        assert!(digests[0].contains(&held[0].1));
        let digests = digests.iter().map(String::as_str);
        for named in ["lovelace", "Lovelace", "4711", "L898902C3", "1975-12"].into_iter().chain(digests) {
            assert!(!text.contains(named), "{named}: {text}");
        }

        t.clock.advance(60);
        let answer = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(receipt(&t, id).await, before, "the same bytes");
        let replica = t.replica().await;
        assert_eq!(replica.receipt(id).await.unwrap(), before, "on every replica");
        assert_eq!(t.get("/v1/decisions/dec_0/receipt").await.status, StatusCode::NOT_FOUND);
        // It shows the evidence, so it is for those who may see that.
        let reader = t.client("Rae", &["eligibility:read"], &[], None).await;
        let answer = t.send(&reader, Method::GET, &format!("/v1/decisions/{id}/receipt"), None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    })
    .await;
}

/// Pointers of every leaf.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| {
                leaves(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found)
            });
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_a_receipt_can_be_altered_and_no_other_key_signs_one() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = documented(&t).await;
    let decision = recorded(&t, &subject).await;
    let token = receipt(&t, decision["id"].as_str().unwrap()).await;
    let keys = verifiers(&jwks(&t).await);
    let parts: Vec<&str> = token.split('.').collect();
    let bundle: Value = serde_json::from_str(&payload(&token)).unwrap();
    let mut pointers = Vec::new();
    leaves(&bundle, "", &mut pointers);
    for top in ["/iss", "/engine", "/decision/", "/rules/", "/facts/attestations/0/facts/"] {
        assert!(pointers.iter().any(|pointer| pointer.starts_with(top)), "{top}");
    }
    assert!(pointers.len() > 300);
    for pointer in &pointers {
        let mut bundle = bundle.clone();
        let leaf = bundle.pointer_mut(pointer).unwrap();
        *leaf = if leaf.is_string() { json!(format!("{}x", leaf.as_str().unwrap())) } else { json!("x") };
        let forged = format!("{}.{}.{}", parts[0], B64.encode(bundle.to_string()), parts[2]);
        assert!(
            matches!(open(&forged, Some(&keys)), Err(Refused::Signature(verifier::Refused::Jws(JwsError::Signature)))),
            "{pointer}"
        );
    }
    // The header: another type, another key, another algorithm.
    let header: Value = serde_json::from_slice(&B64.decode(parts[0]).unwrap()).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!(RECEIPT_TYPE), &json!("EdDSA")));
    for (member, value) in [("typ", "eligibility+jwt"), ("typ", "at+jwt"), ("kid", "x"), ("alg", "ES256")] {
        let mut header = header.clone();
        header[member] = json!(value);
        let forged = format!("{}.{}.{}", B64.encode(header.to_string()), parts[1], parts[2]);
        assert!(open(&forged, Some(&keys)).is_err(), "{member} {value}");
    }
    // Signed well, by a key that is not the issuer's.
    let (stranger, _) = SigningKey::generate(Algorithm::EdDsa, Purpose::Receipt).unwrap();
    let forged = stranger.sign_text(RECEIPT_TYPE, &payload(&token)).unwrap();
    assert!(matches!(
        open(&forged, Some(&keys)),
        Err(Refused::Signature(verifier::Refused::Jws(JwsError::UnknownKey)))
    ));
    // By the issuer itself, and untrue all the same.
    let signer = t.app.signer(Purpose::Receipt, Algorithm::EdDsa).unwrap();
    let mut untrue = bundle.clone();
    untrue["decision"]["status"] = json!("ineligible");
    let forged = signer.sign_text(RECEIPT_TYPE, &untrue.to_string()).unwrap();
    assert!(matches!(open(&forged, Some(&keys)), Err(Refused::Receipt(_))));

    // It opens no door: neither an API bearer nor a caller's token.
    assert_eq!(t.send(&token, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
    let asked = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&t.admin).form(&[("token", &token)]);
    assert_eq!(crate::app::answer(asked).await.body, json!({ "active": false }));
    // Nor with a receipt's own key under another type.
    for typ in ["at+jwt", "eligibility+jwt"] {
        let token = signer.sign(typ, &json!({ "iss": t.app.issuer, "aud": t.app.issuer, "sub": "cli_x" })).unwrap();
        assert_eq!(t.send(&token, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
    }
}

fn vouchsafe(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("decide").args(arguments).env_clear().output().unwrap()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn decide_gives_the_same_bytes_from_the_database_from_files_and_from_the_receipt() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = documented(&t).await;
    let answered = recorded(&t, &subject).await;
    let (id, at) = (answered["id"].as_str().unwrap(), answered["at"].as_str().unwrap());
    let expected = canonical(&bare(answered.clone()));
    let token = receipt(&t, id).await;
    let bundle: Value = serde_json::from_str(&payload(&token)).unwrap();
    let dir = TempDir::new();
    let file = |name: &str, text: &str| write(dir.path(), name, text);
    let told = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned();
    let ok = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };

    let (rules, facts) =
        (file("rules.json", &bundle["rules"].to_string()), file("facts.json", &bundle["facts"].to_string()));
    assert_eq!(told(&ok(vouchsafe(&["--rules", &rules, "--facts", &facts, "--at", at]))), expected, "files");

    let (held, set) = (file("receipt.jws", &token), file("jwks.json", &jwks(&t).await.to_string()));
    let output = ok(vouchsafe(&["--receipt", &held, "--jwks", &set]));
    assert_eq!(told(&output), expected, "receipt");
    assert!(String::from_utf8_lossy(&output.stderr).contains("signed by key"));
    let output = ok(vouchsafe(&["--receipt", &held]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOT checked"));
    let output = ok(vouchsafe(&["--receipt", &held, "--jwks", &set, "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["signature"], &report["iss"]), (&json!("verified"), &json!(t.app.issuer)));

    // The database, by another process, with the key of this test.
    let key = dir.path().join("master.key");
    std::fs::write(&key, crate::app::MASTER).unwrap();
    std::os::unix::fs::chown(&key, None, None).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let output = Command::new(BINARY)
        .args(["decide", "--id", id])
        .env_clear()
        .env("VOUCHSAFE_PUBLIC_ORIGIN", &t.app.issuer)
        .env("VOUCHSAFE_MASTER_KEY_FILE", &key)
        .env("VOUCHSAFE_ANCHOR_FILE", "off")
        .env("VOUCHSAFE_DATABASE", database.url())
        .output()
        .unwrap();
    assert_eq!(told(&ok(output)), expected, "database");

    // What does not hold is refused by name, and nothing is printed as if it did.
    let mut untrue = bundle;
    untrue["decision"]["confidence"] = json!(1);
    let forged =
        t.app.signer(Purpose::Receipt, Algorithm::EdDsa).unwrap().sign_text(RECEIPT_TYPE, &untrue.to_string()).unwrap();
    let forged = file("forged.jws", &forged);
    for arguments in [vec!["--receipt", &forged, "--jwks", &set], vec!["--receipt", &forged]] {
        let output = vouchsafe(&arguments);
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(1), ""));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("`/confidence` is not what rules and facts give"), "{error}");
    }
    let empty = file("empty.json", r#"{"keys":[]}"#);
    assert!(!vouchsafe(&["--receipt", &held, "--jwks", &empty]).status.success());
}

/// RFC 8785 for what a decision holds: members in order, no blanks.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            let item = |name: &&String| format!("{}:{}", json!(name), canonical(&members[name.as_str()]));
            format!("{{{}}}", names.iter().map(item).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        // RFC 8785 writes 2.0 as 2.
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 => format!("{float}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}
