//! What tokens are worth to whom, taking them back, and what the service says of itself.

use super::{Machine, NOW, ask, claims, eligible, error};
use crate::app::{Answer, TestApp, answer, face_check, on_both};
use crate::support::Database;
use base64::Engine as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::token::jws::{VerificationKey, verify_jws};

fn inactive() -> Value {
    json!({ "active": false })
}

async fn worth(t: &TestApp, machine: &Machine, token: &str) -> Value {
    let answer = machine.ask(t, "introspect", &[("token", token)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_tells_each_caller_what_is_for_it() {
    on_both(async |t: TestApp| {
        let subject = eligible(&t).await;
        t.audience("other").await;
        let all = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
        let edge = Machine::new(&t, &["tokens:introspect"], |new| new.audiences = ["edge".to_owned()].into()).await;
        let plain = Machine::new(&t, &["subjects:read"], |_| {}).await;
        let (for_edge, for_other) =
            (t.token(&subject, "restricted.api", "edge").await, t.token(&subject, "restricted.api", "other").await);
        let (of_plain, of_edge) = (plain.access(&t).await, edge.access(&t).await);
        for (caller, sees) in [(&all, [true, true, true, true]), (&edge, [true, false, false, true])] {
            for (token, sees) in [&for_edge, &for_other, &of_plain, &of_edge].into_iter().zip(sees) {
                let found = worth(&t, caller, token).await;
                assert_eq!(found["active"], sees, "{found}");
                assert!(sees || found == inactive(), "{found}");
            }
        }
        let own = worth(&t, &plain, &of_plain).await;
        let expected = json!({ "active": true, "iss": t.url, "aud": t.url, "sub": plain.id, "client_id": plain.id,
            "iat": NOW, "exp": NOW + 600, "jti": claims(&of_plain)["jti"], "scope": "subjects:read", "token_type": "Bearer" });
        assert_eq!(own, expected, "a client may look at its own");
        let refused = plain.ask(&t, "introspect", &[("token", &of_edge)]).await;
        assert_eq!(error(&refused), (403, "insufficient_scope"));
        assert!(refused.header("www-authenticate").contains("scope=\"tokens:introspect\""));
        for (token, what) in [("", "none"), ("x", "no token"), ("a.b.c", "no token")] {
            let answer = all.ask(&t, "introspect", &[("token", token)]).await;
            if token.is_empty() {
                assert_eq!(error(&answer), (400, "invalid_request"), "{what}");
            } else {
                assert_eq!(answer.body, inactive(), "{what}");
            }
        }
        t.clock.advance(600);
        t.app.poll_feed().await.unwrap();
        assert_eq!(worth(&t, &all, &of_plain).await, inactive(), "to the second");
        t.clock.advance(300);
        t.app.poll_feed().await.unwrap();
        assert_eq!(worth(&t, &all, &for_edge).await, inactive());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_follows_the_decision_that_stands_now() {
    on_both(async |t: TestApp| {
        let subject = eligible(&t).await;
        let machine = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
        let token = t.token(&subject, "restricted.api", "edge").await;
        let first = worth(&t, &machine, &token).await;
        assert_eq!(worth(&t, &machine, &token).await, first, "told again");
        // Another examiner's word makes another decision, and nobody asks for it before the token is looked at.
        let sources = t.sources().await;
        let said = t.attest(&sources, &subject, face_check(&sources)).await;
        assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
        let second = worth(&t, &machine, &token).await;
        let stands = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(second["eligibility"]["decision"], stands["id"]);
        assert_ne!(second["eligibility"]["decision"], first["eligibility"]["decision"]);
        assert_eq!((&second["active"], &second["jti"]), (&json!(true), &first["jti"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_signed_for_its_caller_where_that_is_asked_for() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let machine = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let token = t.token(&subject, "restricted.api", "edge").await;
    let signed = async |token: &str, accept: &str| {
        let form = machine.form(&[("token", token)]);
        let request = t.http.post(format!("{}/oauth2/introspect", t.url)).form(&form).header("accept", accept);
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, response.text().await.unwrap())
    };
    let jwks = answer(t.http.get(format!("{}/.well-known/jwks.json", t.url))).await.body;
    let keys: Vec<VerificationKey> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|jwk| VerificationKey::from_jwk(jwk["kid"].as_str().unwrap(), jwk).unwrap())
        .collect();
    const SIGNED: &str = "application/token-introspection+jwt";
    for (token, plain) in [(token.as_str(), worth(&t, &machine, &token).await), ("x", inactive())] {
        let (kind, text) = signed(token, SIGNED).await;
        assert_eq!(kind, SIGNED);
        let (_, told) = verify_jws(&text, &keys, "token-introspection+jwt").unwrap();
        let wanted = json!({ "iss": t.url, "aud": machine.id, "iat": NOW, "token_introspection": plain });
        assert_eq!(Value::Object(told), wanted, "and neither `sub` nor `exp`");
    }
    for (accept, kind) in [
        ("application/json, application/token-introspection+jwt;q=0.5", SIGNED),
        ("Application/Token-Introspection+JWT", SIGNED),
        ("application/token-introspection+jwt;q=0", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
    ] {
        assert_eq!(signed(&token, accept).await.0, kind, "{accept}");
    }
    let (_, text) = signed(&token, SIGNED).await;
    assert_eq!(t.send(&text, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_back_by_its_client_or_by_who_may_and_at_once_everywhere() {
    on_both(async |mut t: TestApp| {
        let subject = eligible(&t).await;
        let issuer = Machine::new(&t, &["tokens:issue"], |_| {}).await;
        let stranger = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
        let warden = Machine::new(&t, &["tokens:revoke", "tokens:introspect"], |_| {}).await;
        let resource = format!("{}/resources/restricted.api", t.url);
        let exchange = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:vouchsafe:params:oauth:token-type:subject"),
            ("subject_token", subject.as_str()),
            ("resource", resource.as_str()),
        ];
        let eligibility =
            async || issuer.ask(&t, "token", &exchange).await.body["access_token"].as_str().unwrap().to_owned();
        let (first, second) = (eligibility().await, eligibility().await);
        let (third, fourth) = (issuer.access(&t).await, issuer.access(&t).await);
        let replica = t.replica().await;
        let revoke = async |by: &Machine, token: &str| by.ask(&t, "revoke", &[("token", token)]).await;
        for token in [&first, &third] {
            let refused = revoke(&stranger, token).await;
            assert_eq!(error(&refused), (403, "insufficient_scope"), "of another client, without the scope");
            assert_eq!(worth(&t, &warden, token).await["active"], true);
        }
        for (by, token) in [(&issuer, &first), (&warden, &second), (&issuer, &third), (&warden, &fourth)] {
            for _ in 0..2 {
                let done = revoke(by, token).await;
                assert_eq!((done.status, done.body), (StatusCode::OK, Value::Null));
                assert_eq!(worth(&t, &warden, token).await, inactive());
            }
        }
        let caller = t.app.client_caller(&warden.id).unwrap();
        replica.poll_feed().await.unwrap();
        for token in [&first, &second, &third, &fourth] {
            assert_eq!(
                *replica.introspect(&caller, token).await.unwrap(),
                *inactive().to_string(),
                "on another replica"
            );
        }
        for token in [&third, &fourth] {
            assert_eq!(t.send(token, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
        }
        for unknown in ["x", "a.b.c"] {
            assert_eq!(revoke(&stranger, unknown).await.status, StatusCode::OK, "{unknown}");
        }
        assert_eq!(t.audited("access_token.revoked").await.len(), 2);
        assert_eq!(t.audited("token.revoked").await.len(), 2);
        t.restart().await;
        for token in [&first, &second, &third, &fourth] {
            assert_eq!(worth(&t, &warden, token).await, inactive(), "after a restart");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_not_taken_back_are_told_and_hints_change_nothing() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let warden = Machine::new(&t, &["tokens:revoke"], |_| {}).await;
    let decision = t.eligibility(&subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
    let path = format!("{}/v1/decisions/{decision}/receipt", t.url);
    let receipt = t.http.get(path).bearer_auth(&t.admin).send().await.unwrap().text().await.unwrap();
    let refused = warden.ask(&t, "revoke", &[("token", &receipt)]).await;
    assert_eq!(error(&refused), (400, "unsupported_token_type"));
    let access = warden.access(&t).await;
    for hint in ["refresh_token", "nonsense", "access_token"] {
        let token = t.token(&subject, "restricted.api", "edge").await;
        let done = warden.ask(&t, "revoke", &[("token", &token), ("token_type_hint", hint)]).await;
        assert_eq!(done.status, StatusCode::OK, "{hint}");
        let introspected = warden.ask(&t, "introspect", &[("token", &access), ("token_type_hint", hint)]).await;
        assert_eq!(introspected.body["active"], true, "{hint}");
    }
    assert_eq!(t.audited("token.revoked").await.len(), 3);
}

/// All values of a header.
fn all(answer: &Answer, name: &str) -> Vec<String> {
    answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_says_where_to_learn_and_only_then_what_was_wrong() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let metadata = format!("resource_metadata=\"{}/.well-known/oauth-protected-resource\"", t.url);
    let get = async |headers: &[(&str, &str)]| {
        let mut request = t.http.get(format!("{}/v1/subjects", t.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = answer(request).await;
        let challenges = all(&answer, "www-authenticate");
        (answer.status.as_u16(), answer.body["code"].as_str().unwrap().to_owned(), challenges)
    };
    let algorithms = "DPoP algs=\"ES256 EdDSA Ed25519 RS256\"".to_owned();
    let bare = (401, "unauthenticated".to_owned(), vec![format!("Bearer {metadata}"), algorithms.clone()]);
    assert_eq!(get(&[]).await, bare, "who brings nothing is told no error");
    assert_eq!(get(&[("authorization", "Basic eDp5")]).await, bare);
    let invalid = vec![format!("Bearer error=\"invalid_token\", {metadata}"), algorithms];
    for token in ["Bearer x", "bearer a.b.c", &format!("Bearer {}x", t.admin)] {
        assert_eq!(
            get(&[("authorization", token)]).await,
            (401, "unauthenticated".to_owned(), invalid.clone()),
            "{token}"
        );
    }
    let unreadable =
        (400, "authorization_invalid".to_owned(), vec![format!("Bearer error=\"invalid_request\", {metadata}")]);
    let good = format!("Bearer {}", t.admin);
    for headers in [
        vec![("authorization", "Bearer"), ("x", "x")],
        vec![("authorization", "Bearer a b")],
        vec![("authorization", &good), ("authorization", &good)],
    ] {
        assert_eq!(get(&headers).await, unreadable, "{headers:?}");
    }
    let powerless = t.client("Pat", &["tokens:introspect"], &[], None).await;
    let refused = t.send(&powerless, Method::GET, "/v1/subjects", None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let needs = format!("Bearer error=\"insufficient_scope\", scope=\"subjects:read\", {metadata}");
    assert_eq!(all(&refused, "www-authenticate"), [needs]);
    // A token in the query or in the body is none.
    let query = answer(t.http.get(format!("{}/v1/subjects?access_token={}", t.url, t.admin))).await;
    assert_eq!(query.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_says_of_itself_is_true() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let get = async |path: &str| answer(t.http.get(format!("{}{path}", t.url))).await.body;
    let server = get("/.well-known/oauth-authorization-server").await;
    let resource = get("/.well-known/oauth-protected-resource").await;
    assert_eq!((&server["issuer"], &resource["resource"]), (&json!(t.url), &json!(t.url)));
    assert_eq!(resource["authorization_servers"], json!([t.url]));
    assert_eq!(resource["bearer_methods_supported"], json!(["header"]));
    for endpoint in ["token_endpoint", "introspection_endpoint", "revocation_endpoint"] {
        let url = server[endpoint].as_str().unwrap();
        let asked = answer(t.http.post(url).form(&[("grant_type", "client_credentials"), ("token", "x")])).await;
        assert_eq!(error(&asked), (401, "invalid_client"), "{endpoint}");
        let methods = server[format!("{endpoint}_auth_methods_supported")].as_array().unwrap().len();
        assert_eq!(methods, 3, "{endpoint}");
    }
    for grant in server["grant_types_supported"].as_array().unwrap() {
        let form = vec![("grant_type", grant.as_str().unwrap())];
        assert_eq!(error(&ask(&t, "token", &form, &[]).await), (401, "invalid_client"), "{grant} is known");
    }
    let other = ask(&t, "token", &vec![("grant_type", "password")], &[]).await;
    assert_eq!(error(&other), (400, "unsupported_grant_type"));
    let jwks = answer(t.http.get(server["jwks_uri"].as_str().unwrap())).await.body;
    let access = &t.admin;
    let head: Value = serde_json::from_slice(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(access.split('.').next().unwrap()).unwrap(),
    )
    .unwrap();
    assert!(jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == head["kid"]));
    assert_eq!(server["scopes_supported"], resource["scopes_supported"]);
}
