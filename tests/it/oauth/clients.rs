//! How a client proves itself, at all three endpoints alike.

use super::{CLIENT_CREDENTIALS, JWT_BEARER, Key, Machine, NOW, ask, changed, error};
use crate::app::{TestApp, on_both};
use crate::support::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::service::Actor;
use vouchsafe::service::clients::NewClient;

fn assertion_claims(t: &TestApp, id: &str, jti: &str) -> Value {
    json!({ "iss": id, "sub": id, "aud": t.url, "iat": NOW, "exp": NOW + 60, "jti": jti })
}

async fn keyed(t: &TestApp, key: &Key, endpoint_audience: bool) -> String {
    let body = json!({ "name": "k", "owner": "Kay", "scopes": ["tokens:introspect", "tokens:revoke"],
        "keys": [key.jwk()], "endpoint_audience": endpoint_audience });
    let created = t.created("/v1/clients", body).await;
    assert_eq!(created.get("client_secret"), None, "a client with keys has no secret");
    created["client_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_proves_a_client_once_on_every_replica_and_after_a_restart() {
    on_both(async |mut t: TestApp| {
        let key = Key::new("k1");
        let id = keyed(&t, &key, false).await;
        let url = t.url.clone();
        let assertion = |jti: &str| {
            let claims = json!({ "iss": id, "sub": id, "aud": url, "iat": NOW, "exp": NOW + 60, "jti": jti });
            key.assert(&claims)
        };
        for (path, more) in [("token", CLIENT_CREDENTIALS), ("introspect", ("token", "x")), ("revoke", ("token", "x"))]
        {
            let token = assertion(path);
            let form = vec![JWT_BEARER, ("client_assertion", token.as_str()), more];
            assert_eq!(ask(&t, path, &form, &[]).await.status, StatusCode::OK, "{path}");
            let again = ask(&t, path, &form, &[]).await;
            assert_eq!(error(&again), (401, "invalid_client"), "{path}: {}", again.body);
        }
        let used = assertion("token");
        t.restart().await;
        let form = vec![JWT_BEARER, ("client_assertion", used.as_str()), CLIENT_CREDENTIALS];
        assert_eq!(error(&ask(&t, "token", &form, &[]).await), (401, "invalid_client"), "spent before the restart");
        let fresh = assertion("fresh");
        let named = vec![JWT_BEARER, ("client_assertion", &fresh), ("client_id", &id), CLIENT_CREDENTIALS];
        assert_eq!(ask(&t, "token", &named, &[]).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_assertion_one_is_answered() {
    on_both(async |t: TestApp| {
        let key = Key::new("k1");
        let id = keyed(&t, &key, false).await;
        let assertion = key.assert(&assertion_claims(&t, &id, "one"));
        let form = vec![JWT_BEARER, ("client_assertion", assertion.as_str()), CLIENT_CREDENTIALS];
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let request = t.http.post(format!("{}/oauth2/token", t.url)).form(&form);
            tries.spawn(async move { request.send().await.unwrap().status() });
        }
        let statuses = tries.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{statuses:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_is_not_exactly_right_is_refused() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let id = keyed(&t, &key, false).await;
    let legacy = keyed(&t, &key, true).await;
    let secret = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let endpoint = format!("{}/oauth2/token", t.url);
    let refused = async |assertion: &str, what: &str| {
        let form = vec![JWT_BEARER, ("client_assertion", assertion), CLIENT_CREDENTIALS];
        let answer = ask(&t, "token", &form, &[]).await;
        assert_eq!(error(&answer), (401, "invalid_client"), "{what}: {}", answer.body);
        assert!(answer.header("www-authenticate").starts_with("Basic"), "{what}");
        answer.body["error_description"].as_str().unwrap().to_owned()
    };
    for (change, told) in [
        (json!({ "aud": endpoint }), "`aud`"),
        (json!({ "aud": [t.url, endpoint] }), "`aud`"),
        (json!({ "aud": "https://other.example" }), "`aud`"),
        (json!({ "exp": NOW + 400 }), "300 s"),
        (json!({ "exp": NOW - 31 }), "expired"),
        (json!({ "exp": null }), "`exp`"),
        (json!({ "jti": null }), "`jti`"),
        (json!({ "iss": "cli_other" }), "`iss`"),
        (json!({ "sub": "cli_other", "iss": "cli_other" }), "client authentication failed"),
        (json!({ "sub": null }), "client authentication failed"),
    ] {
        let claims = changed(assertion_claims(&t, &id, "j"), &change);
        assert!(refused(&key.assert(&claims), &change.to_string()).await.contains(told), "{change}");
    }
    let claims = assertion_claims(&t, &id, "j");
    let unproven = "client authentication failed";
    assert_eq!(refused(&other.assert(&claims), "a stranger's key").await, unproven);
    assert_eq!(refused(&key.assert(&assertion_claims(&t, &secret.id, "j")), "a client with a secret").await, unproven);
    assert_eq!(refused("x", "no token").await, unproven);
    let typed = key.sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "at+jwt" }), &claims);
    assert!(refused(&typed, "another type").await.contains("`typ`"));
    let untyped = key.sign(&json!({ "alg": "ES256" }), &claims);
    let form = vec![JWT_BEARER, ("client_assertion", untyped.as_str()), CLIENT_CREDENTIALS];
    assert_eq!(ask(&t, "token", &form, &[]).await.status, StatusCode::OK, "neither type nor key id are required");
    let old = key.assert(&changed(assertion_claims(&t, &legacy, "l"), &json!({ "aud": endpoint })));
    let form = vec![JWT_BEARER, ("client_assertion", old.as_str()), CLIENT_CREDENTIALS];
    assert_eq!(ask(&t, "token", &form, &[]).await.status, StatusCode::OK, "where it is switched on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_proves_its_client_in_one_way_only() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let machine = Machine::new(&t, &["tokens:introspect", "tokens:revoke"], |_| {}).await;
    let (id, secret) = (machine.id.as_str(), machine.secret.as_str());
    let key = Key::new("k1");
    let keyed = keyed(&t, &key, false).await;
    let assertion = key.assert(&assertion_claims(&t, &keyed, "j"));
    let basic = |id: &str, secret: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}")))
    };
    let (good, bearer) = (basic(id, secret), format!("Bearer {}", t.admin));
    for (path, own) in [("token", CLIENT_CREDENTIALS), ("introspect", ("token", "x")), ("revoke", ("token", "x"))] {
        let post = [("client_id", id), ("client_secret", secret)];
        let asserted = [JWT_BEARER, ("client_assertion", assertion.as_str())];
        let with =
            |parts: &[(&'static str, &str)]| parts.iter().map(|(n, v)| (*n, (*v).to_owned())).collect::<Vec<_>>();
        let header = |value: &str| vec![("authorization", value.to_owned())];
        for (what, form, headers, wanted) in [
            ("two", with(&post), header(&good), (400, "invalid_request")),
            ("three", with(&asserted), header(&good), (400, "invalid_request")),
            ("four", [with(&post), with(&asserted)].concat(), vec![], (400, "invalid_request")),
            ("half", with(&asserted[1..]), vec![], (400, "invalid_request")),
            ("type alone", with(&asserted[..1]), vec![], (400, "invalid_request")),
            (
                "type",
                with(&[("client_assertion_type", "urn:x"), ("client_assertion", assertion.as_str())]),
                vec![],
                (401, "invalid_client"),
            ),
            ("id", with(&[("client_id", "cli_other")]), header(&good), (400, "invalid_request")),
            ("assertion's id", [with(&asserted), with(&[("client_id", id)])].concat(), vec![], (401, "invalid_client")),
            ("wrong", vec![], header(&basic(id, "wrong")), (401, "invalid_client")),
            ("unknown", vec![], header(&basic("cli_x", secret)), (401, "invalid_client")),
            ("unreadable", vec![], header("Basic !"), (401, "invalid_client")),
            ("without id", with(&post[1..]), vec![], (401, "invalid_client")),
            ("no", vec![], vec![], (401, "invalid_client")),
            ("twice", vec![], [header(&good), header(&good)].concat(), (400, "invalid_request")),
        ] {
            let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            form.push(own);
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = ask(&t, path, &form, &headers).await;
            assert_eq!(error(&answer), wanted, "{path}, {what}: {}", answer.body);
            assert_eq!(answer.header("cache-control"), "no-store", "{path}, {what}");
        }
        if path != "token" {
            let both = [post[0], post[1], own].to_vec();
            let answer = ask(&t, path, &both, &[("authorization", &bearer)]).await;
            assert_eq!(error(&answer), (400, "invalid_request"), "{path}: a token and a secret");
            let invalid = ask(&t, path, &vec![own], &[("authorization", "Bearer x.y.z")]).await;
            assert_eq!(error(&invalid), (401, "invalid_token"), "{path}");
            assert!(invalid.header("www-authenticate").starts_with("Bearer error=\"invalid_token\""), "{path}");
        }
        let form = vec![own];
        assert_eq!(ask(&t, path, &form, &[("authorization", &good)]).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_secret_is_remembered_and_nothing_else_is() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let machine = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let other = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let spent = async |id: &str, secret: &str| {
        let form = vec![("client_id", id), ("client_secret", secret), ("token", "x")];
        let begun = std::time::Instant::now();
        let status = ask(&t, "introspect", &form, &[]).await.status.as_u16();
        (status, begun.elapsed())
    };
    let (status, first) = spent(&machine.id, &machine.secret).await;
    assert_eq!(status, 200);
    let mut again = Vec::new();
    for _ in 0..9 {
        let (status, took) = spent(&machine.id, &machine.secret).await;
        assert_eq!(status, 200);
        again.push(took);
    }
    again.sort_unstable();
    assert!(again[4] < first / 2, "remembered: {:?}, hashed: {first:?}", again[4]);
    for wrong in [other.secret.as_str(), "", "wrong"] {
        for _ in 0..2 {
            let (status, took) = spent(&machine.id, wrong).await;
            assert_eq!(status, 401);
            assert!(wrong.is_empty() || took > again[4] * 2, "a wrong secret costs the whole hash: {took:?}");
        }
    }
    let off = t.app.store.record("client", &machine.id).await.unwrap().unwrap();
    let body = off.body.replace("\"disabled\":false", "\"disabled\":true");
    assert_ne!(body, off.body);
    database.execute(&format!("UPDATE records SET body = '{body}' WHERE id = '{}'", machine.id)).await.unwrap();
    // What follows the feed reloads the snapshot; another record makes a row of it.
    Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    assert_eq!(spent(&machine.id, &machine.secret).await.0, 401, "disabled at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_could_prove_nothing_are_refused_at_registration() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let key = Key::new("k1");
    let private = {
        let mut jwk = key.jwk();
        jwk["d"] = json!("AAAA");
        jwk
    };
    for (keys, pointer) in [
        (json!([key.public()]), "/keys/0"),
        (json!([private]), "/keys/0"),
        (json!([key.jwk(), key.jwk()]), "/keys/1"),
        (json!([{ "kty": "oct", "kid": "s", "k": "AAAA" }]), "/keys/0"),
    ] {
        let answer =
            t.post("/v1/clients", json!({ "name": "n", "owner": "o", "scopes": ["admin"], "keys": keys })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{keys}");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{keys}");
    }
    for (member, value) in [("audiences", json!(["nobody"])), ("endpoint_audience", json!(true))] {
        let body = changed(json!({ "name": "n", "owner": "o", "scopes": ["admin"] }), &json!({ member: value }));
        assert_eq!(t.post("/v1/clients", body).await.body["errors"][0]["pointer"], format!("/{member}"));
    }
    let new =
        NewClient { name: "n".into(), owner: "o".into(), scopes: ["admin".to_owned()].into(), ..NewClient::default() };
    assert!(t.app.register_client(&Actor::system(), new).await.unwrap().secret.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_count_at_once_and_what_was_before_does_not() {
    on_both(async |t: TestApp| {
        let machine = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
        let (first, second) = (Key::new("k1"), Key::new("k1"));
        let path = format!("/v1/clients/{}/keys", machine.id);
        let replace =
            async |path: &str, keys: Value| t.send(&t.admin, Method::PUT, path, Some(json!({ "keys": keys }))).await;
        let by_key = async |key: &Key, jti: &str| {
            let assertion = key.assert(&assertion_claims(&t, &machine.id, jti));
            let form = vec![JWT_BEARER, ("client_assertion", assertion.as_str()), CLIENT_CREDENTIALS];
            ask(&t, "token", &form, &[]).await.status.as_u16()
        };
        let by_secret = async || machine.ask(&t, "introspect", &[("token", "x")]).await.status.as_u16();
        assert_eq!((by_secret().await, by_key(&first, "a").await), (200, 401));
        assert_eq!(replace(&path, json!([first.jwk()])).await.status, StatusCode::OK);
        assert_eq!((by_secret().await, by_key(&first, "a").await), (401, 200), "the remembered secret too");
        assert_eq!(replace(&path, json!([second.jwk()])).await.status, StatusCode::OK);
        assert_eq!((by_key(&first, "b").await, by_key(&second, "c").await), (401, 200));
        for keys in [json!([]), json!([second.public()]), json!([second.jwk(), second.jwk()])] {
            assert_eq!(replace(&path, keys.clone()).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{keys}");
        }
        assert_eq!(replace("/v1/clients/cli_none/keys", json!([first.jwk()])).await.status, StatusCode::NOT_FOUND);
        let approver = Machine::new(&t, &["directives:approve"], |_| {}).await;
        let taken = replace(&format!("/v1/clients/{}/keys", approver.id), json!([first.jwk()])).await;
        assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY, "an administrator becomes no approver");
        assert_eq!(t.audited("client.keys_replaced").await.len(), 2);
    })
    .await;
}
