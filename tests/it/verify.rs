//! One verifier: the table of attacks through the command line, introspection and the gateway check, and the command
//! as people use it.

use crate::app::TestApp;
use crate::binary::BINARY;
use crate::support::{Database, TempDir};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use vouchsafe::clock::Clock as _;
use vouchsafe_verify::testing::attacks::{self, Target, Wanted};
use vouchsafe_verify::testing::{Signer, b64};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://eligibility.example";

fn verify(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(BINARY)
        .arg("verify")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may answer, and stop reading, before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn named(signer: &Signer, kid: &str) -> Value {
    let mut jwk = signer.jwk();
    jwk["kid"] = json!(kid);
    jwk
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "edge", "sub": "s", "client_id": "c", "jti": "j", "iat": NOW - 10, "exp": NOW + 600})
}

fn token(signer: &Signer, claims: &Value) -> String {
    signer.sign(&json!({"alg": signer.alg(), "kid": "key-1", "typ": "eligibility+jwt"}), claims)
}

/// A key set in a file, among others that cannot be used.
fn jwks(dir: &TempDir, signer: &Signer) -> String {
    let set = json!({"keys": [named(&Signer::ed25519(), "other"), {"kty": "oct", "k": "AAAA", "kid": "secret"}, named(signer, "key-1"), 1]});
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, set.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_batch_answers_every_line_of_the_table() {
    let dir = TempDir::new();
    for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
        let file = jwks(&dir, &signer);
        let target = Target {
            signer: &signer,
            kid: "key-1",
            typ: "eligibility+jwt",
            claims: members(claims()),
            required: &["sub", "jti", "client_id"],
            lists: false,
            others: false,
            expiry_leeway: 30,
            at: NOW,
            max_length: 16 * 1024,
        };
        // A line's end ends a token, so those within one cannot be tried here.
        let mut cases = attacks::table(&target);
        cases.retain(|case| !case.token.contains(['\n', '\r']));
        let lines: String = cases.iter().map(|case| format!("{}\n", case.token)).collect();
        let at = NOW.to_string();
        let asked = [
            "--jwks",
            &file,
            "--issuer",
            ISSUER,
            "--audience",
            "edge",
            "--type",
            "eligibility+jwt",
            "--at",
            &at,
            "--batch",
        ];
        let output = verify(&asked, lines.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<Value> = told(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(cases.len() > 1200 && answers.len() == cases.len(), "{} of {}", answers.len(), cases.len());
        let mut accepted = 0;
        for (case, answer) in cases.iter().zip(&answers) {
            let reason = answer["reason"].as_str();
            assert_eq!(answer, &json!({"valid": reason.is_none(), "reason": reason}));
            assert!(case.holds(reason), "{}: {answer}", case.name);
            accepted += usize::from(reason.is_none());
        }
        assert!(accepted >= 14, "{accepted}");
    }
}

#[test]
fn the_command_says_yes_no_or_that_it_cannot_say() {
    let (dir, signer) = (TempDir::new(), Signer::es256());
    let file = jwks(&dir, &signer);
    let good = token(&signer, &claims());
    let asked = |more: &[&str], input: &str| {
        let arguments = [&["--jwks", &file, "--issuer", ISSUER, "--audience", "edge"], more].concat();
        verify(&arguments, input.as_bytes())
    };
    // By argument and by standard input, at an instant in either form.
    let at = NOW.to_string();
    for output in [
        asked(&["--at", &at, &good], ""),
        asked(&["--at", "2027-01-15T08:00:00Z"], &good),
        asked(&["--at", &at], &format!("{good}\n")),
        asked(&["--at", &at, "--type", "APPLICATION/eligibility+jwt"], &format!("{good}\r\n")),
    ] {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(told(&output), "valid: of `https://eligibility.example` for `s`, until 2027-01-15T08:10:00Z\n");
        // The keys that cannot be used are named, and the others go on working.
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(notes.lines().count(), 2, "{notes}");
        assert!(notes.contains("note: key 2 of the set is passed over: the key is not acceptable: not a public key"));
    }
    let output = asked(&["--at", &at, "--json", &good], "");
    let report: Value = serde_json::from_str(&told(&output)).unwrap();
    assert_eq!(
        report,
        json!({"valid": true, "reason": null, "typ": "eligibility+jwt", "kid": "key-1", "alg": "ES256", "claims": claims()})
    );
    for (more, input, reason) in [
        (vec!["--at", at.as_str(), "--type", "at+jwt"], good.clone(), "wrong_type"),
        (vec!["--at", at.as_str(), "--type", "made-up+jwt"], good.clone(), "wrong_type"),
        (vec!["--at", "2027-01-15T08:10:30Z"], good.clone(), "expired"),
        (vec!["--at", "2027-01-15T08:10:00Z", "--leeway", "0"], good.clone(), "expired"),
        (vec!["--at", "2027-01-15T07:59:19Z"], good.clone(), "issued_later"),
        (vec!["--at", at.as_str()], format!("{good}\n\n"), "bad_characters"),
        (vec!["--at", at.as_str()], String::new(), "bad_parts"),
        (vec!["--at", at.as_str()], "x".repeat(100_000), "too_long"),
        // It names no list, so what became of it cannot be known.
        (vec!["--at", at.as_str(), "--status-list"], good.clone(), "status_unknown"),
        // Now, whenever that is, the token is over.
        (vec![], token(&signer, &json!({"iss": ISSUER, "aud": "edge", "exp": 1_700_000_000})), "expired"),
    ] {
        let output = asked(&more, &input);
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        assert!(told(&output).starts_with(&format!("refused, `{reason}`: ")), "{more:?}: {}", told(&output));
    }
    for (issuer, audience, reason) in
        [("https://other.example", "edge", "wrong_issuer"), (ISSUER, "other", "wrong_audience")]
    {
        let output =
            verify(&["--jwks", &file, "--issuer", issuer, "--audience", audience, "--at", &at, "--json", &good], b"");
        let report: Value = serde_json::from_str(&told(&output)).unwrap();
        assert_eq!((output.status.code(), &report["reason"]), (Some(1), &json!(reason)));
    }
    // Nothing could be judged: no answer that anybody could take for a no.
    let missing = dir.path().join("none.json").display().to_string();
    for arguments in [
        vec!["--jwks", missing.as_str(), "--issuer", ISSUER, "--audience", "edge", good.as_str()],
        vec!["--jwks", file.as_str(), "--issuer", ISSUER, "--audience", "edge", "--at", "tomorrow", good.as_str()],
        vec!["--jwks", file.as_str(), "--issuer", ISSUER, "--audience", "edge", "--leeway", "301", good.as_str()],
        vec!["--jwks", "http://127.0.0.1:1/jwks.json", "--issuer", ISSUER, "--audience", "edge", good.as_str()],
        vec!["--jwks", "https://169.254.169.254/jwks.json", "--issuer", ISSUER, "--audience", "edge", good.as_str()],
        vec!["--jwks", file.as_str(), "--audience", "edge", good.as_str()],
        vec!["--jwks", file.as_str(), "--issuer", ISSUER, "--audience", "edge", "--batch", good.as_str()],
    ] {
        let output = verify(&arguments, b"");
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_batch_has_a_line_for_every_line_and_succeeds_only_as_a_whole() {
    let (dir, signer) = (TempDir::new(), Signer::ed25519());
    let file = jwks(&dir, &signer);
    let at = NOW.to_string();
    let asked = |input: &[u8]| {
        let output =
            verify(&["--jwks", &file, "--issuer", ISSUER, "--audience", "edge", "--at", &at, "--batch"], input);
        let reasons: Vec<Value> =
            told(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect();
        (output.status.code().unwrap(), reasons)
    };
    let good = token(&signer, &claims());
    assert_eq!(asked(b""), (0, vec![]));
    assert_eq!(asked(format!("{good}\n{good}").as_bytes()), (0, vec![Value::Null; 2]));
    let long = "x".repeat(3_000_000);
    let mixed = format!("{good}\r\n\n{long}\n{good} \n{good}\n");
    let (code, reasons) = asked(mixed.as_bytes());
    assert_eq!(
        (code, reasons),
        (1, vec![json!(null), json!("bad_parts"), json!("too_long"), json!("bad_characters"), json!(null)])
    );
    assert_eq!(asked(b"\xff\xfe\n"), (1, vec![json!("bad_characters")]));
    let exact = "x".repeat(16 * 1024);
    assert_eq!(asked(format!("{exact}\n{exact}x\n").as_bytes()).1, [json!("bad_parts"), json!("too_long")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_status_lists_are_fetched_where_they_may_be() {
    let (server, signer) = (MockServer::start().await, Signer::es256());
    let issuer = server.uri();
    let give = |at: &'static str, body: String| {
        Mock::given(path(at)).respond_with(ResponseTemplate::new(200).set_body_string(body))
    };
    give("/jwks.json", json!({"keys": [named(&signer, "key-1")]}).to_string()).mount(&server).await;
    let uri = format!("{issuer}/status-lists/1");
    // Two bits each, from the lowest up: valid, revoked, suspended, unknown.
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&[0b11_10_01_00]).unwrap();
    let lst = b64(encoder.finish().unwrap());
    let list = json!({"sub": uri, "iat": NOW, "exp": NOW + 900, "ttl": 30, "status_list": {"bits": 2, "lst": lst}});
    let list = signer.sign(&json!({"alg": "ES256", "kid": "key-1", "typ": "statuslist+jwt"}), &list);
    give("/status-lists/1", list.clone()).expect(1).mount(&server).await;
    give("/status-lists/2", list).mount(&server).await;
    let with = |idx: i64, uri: &str| {
        let mut claims = claims();
        claims["iss"] = json!(issuer);
        claims["status"] = json!({"status_list": {"idx": idx, "uri": uri}});
        token(&signer, &claims)
    };
    let foreign = "https://attacker.example/status-lists/1";
    let tokens = [
        (with(0, &uri), json!(null)),
        (with(1, &uri), json!("revoked")),
        (with(2, &uri), json!("suspended")),
        (with(3, &uri), json!("status_unknown")),
        (with(4, &uri), json!("status_unknown")),
        (with(0, &format!("{issuer}/status-lists/2")), json!("status_unknown")),
        (with(0, &format!("{issuer}/status-lists/9")), json!("status_unknown")),
        (with(0, foreign), json!("status_unknown")),
        (with(0, &format!("{issuer}.attacker.example/1")), json!("status_unknown")),
    ];
    let lines: String = tokens.iter().map(|(token, _)| format!("{token}\n")).collect();
    let at = NOW.to_string();
    let keys = format!("{issuer}/jwks.json");
    let arguments = [
        "--jwks",
        &keys,
        "--issuer",
        &issuer,
        "--audience",
        "edge",
        "--at",
        &at,
        "--status-list",
        "--allow-loopback",
        "--batch",
    ];
    let arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    let output = tokio::task::spawn_blocking(move || {
        verify(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), lines.as_bytes())
    });
    let output = output.await.unwrap();
    let reasons: Vec<Value> =
        told(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect();
    let wanted: Vec<Value> = tokens.iter().map(|(_, reason)| reason.clone()).collect();
    assert_eq!(reasons, wanted, "{}", String::from_utf8_lossy(&output.stderr));
}

/// The key that a service signs eligibility tokens with, taken from its database.
async fn signer_of(t: &TestApp, kid: &str) -> Signer {
    let stored = t.app.store.keys().await.unwrap().into_iter().find(|key| key.kid == kid).unwrap();
    let pkcs8 = t.app.crypto.open_secret(&format!("key/{kid}"), &stored.sealed).unwrap();
    let jwk: Value = serde_json::from_str(&stored.jwk).unwrap();
    Signer::from_pkcs8(jwk["kty"].as_str().unwrap(), &pkcs8)
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&B64.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_and_the_gateway_check_hold_to_the_same_table() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    t.audience("edge").await;
    let gateway = t.gateway("edge", false).await;
    let issued = t.token(&subject, "restricted.api", "edge").await;
    let mut parts = issued.split('.');
    let (header, claims) = (decoded(parts.next().unwrap()), decoded(parts.next().unwrap()));
    let kid = header["kid"].as_str().unwrap().to_owned();
    let signer = signer_of(&t, &kid).await;
    let target = Target {
        signer: &signer,
        kid: &kid,
        typ: "eligibility+jwt",
        claims: members(claims),
        required: &["sub", "jti", "client_id"],
        lists: false,
        others: false,
        expiry_leeway: 0,
        at: t.clock.now().epoch(),
        max_length: 16 * 1024,
    };
    let cases = attacks::table(&target);
    let (mut good, mut bad, mut at_the_gate) = (0, 0, 0);
    for case in &cases {
        let form = [("token", case.token.as_str())];
        let answer =
            t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&t.admin).form(&form).send().await.unwrap();
        if case.token.is_empty() {
            // A parameter without a value counts as absent (RFC 6749 section 3.2).
            assert_eq!((answer.status(), case.wanted != Wanted::Accepted), (StatusCode::BAD_REQUEST, true));
            bad += 1;
            continue;
        }
        assert_eq!(answer.status(), StatusCode::OK, "{}", case.name);
        let body: Value = answer.json().await.unwrap();
        if case.wanted == Wanted::Accepted {
            assert_eq!(body["active"], true, "{}: {body}", case.name);
            good += 1;
        } else {
            // Exactly this, whatever is wrong.
            assert_eq!(body, json!({"active": false}), "{}", case.name);
            bad += 1;
        }
        // Line ends cannot stand in a header, and blanks at its end are not part of it.
        let value = HeaderValue::from_bytes(format!("Bearer {}", case.token).as_bytes());
        let (Ok(value), true) = (value, case.token.trim() == case.token) else { continue };
        let asked = t.http.get(format!("{}/gateway/check/restricted.api", t.url)).header("x-gateway-key", &gateway);
        let status = asked.header("authorization", value).send().await.unwrap().status();
        let wanted = if case.wanted == Wanted::Accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(status, wanted, "{}", case.name);
        at_the_gate += 1;
    }
    assert!(good >= 14 && bad > 1200 && at_the_gate + 60 > cases.len(), "{good}, {bad}, {at_the_gate}");
}
