//! Token exchange (RFC 8693): the same decision as any other token, never wider and never longer.

use super::{CLIENT_CREDENTIALS, Form, Key, Machine, NOW, ask, changed, claims, eligible, error};
use crate::app::{Answer, TestApp, on_both};
use crate::support::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

const SUBJECT: &str = "urn:vouchsafe:params:oauth:token-type:subject";
const LINK: &str = "urn:vouchsafe:params:oauth:token-type:link";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const PROVIDER: &str = "https://idp.example";

fn target(t: &TestApp, resource: &str) -> String {
    format!("{}/resources/{resource}", t.url)
}

/// Exchanges for `restricted.api` at the audience `edge`.
async fn exchange(t: &TestApp, machine: &Machine, kind: &str, token: &str) -> Answer {
    let resource = target(t, "restricted.api");
    let more =
        [GRANT, ("subject_token_type", kind), ("subject_token", token), ("resource", &resource), ("audience", "edge")];
    machine.ask(t, "token", &more).await
}

fn issued(answer: &Answer) -> (Value, i64) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["issued_token_type"], "urn:ietf:params:oauth:token-type:jwt");
    assert_eq!(answer.body["token_type"], "N_A");
    assert_eq!(answer.header("cache-control"), "no-store");
    (claims(answer.body["access_token"].as_str().unwrap()), answer.body["expires_in"].as_i64().unwrap())
}

fn id_claims(sub: &str) -> Value {
    json!({ "iss": PROVIDER, "aud": "app", "sub": sub, "iat": NOW, "exp": NOW + 300, "nonce": "n" })
}

fn id_token(key: &Key, claims: &Value) -> String {
    key.sign(&json!({ "alg": "ES256", "kid": key.kid, "typ": "JWT" }), claims)
}

async fn provider(t: &TestApp, change: Value) -> Answer {
    let body = json!({ "name": "idp", "issuer": PROVIDER, "audiences": ["app"], "namespace": "idp" });
    t.post("/v1/identity-providers", changed(body, &change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_a_link_and_an_id_token_become_the_same_eligibility_token() {
    on_both(async |t: TestApp| {
        let subject = eligible(&t).await;
        let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
        let key = Key::new("k1");
        assert_eq!(provider(&t, json!({ "keys": [key.jwk()] })).await.status, StatusCode::CREATED);
        for (namespace, id) in [("api-key", "good"), ("idp", "248289761001")] {
            t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": namespace, "id": id })).await;
        }
        let token = id_token(&key, &id_claims("248289761001"));
        let direct = claims(&t.token(&subject, "restricted.api", "edge").await);
        for (kind, subject_token, lasts) in
            [(SUBJECT, subject.as_str(), 900), (LINK, "api-key:good", 900), (ID_TOKEN, token.as_str(), 300)]
        {
            let answer = exchange(&t, &machine, kind, subject_token).await;
            let (claims, expires_in) = issued(&answer);
            assert_eq!(
                (claims["exp"].as_i64(), expires_in),
                (Some(NOW + lasts), lasts),
                "{kind}: no longer than what was brought"
            );
            assert_eq!(claims["act"], json!({ "sub": machine.id }), "{kind}");
            assert_eq!(claims["client_id"], machine.id, "{kind}");
            for same in ["iss", "aud", "sub", "eligibility"] {
                assert_eq!(claims[same], direct[same], "{kind}: {same}");
            }
            let gateway = t.gateway("edge", false).await;
            let bearer = format!("Bearer {}", answer.body["access_token"].as_str().unwrap());
            let passed = t.check("restricted.api", &[("x-gateway-key", &gateway), ("authorization", &bearer)]).await;
            assert_eq!(passed.status, StatusCode::OK, "{kind}");
        }
        let entries = t.audited("token.issued").await;
        assert_eq!(entries.iter().filter(|entry| entry["actor"] == format!("client:{}", machine.id)).count(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_eligible_gets_no_token_but_the_decision() {
    on_both(async |t: TestApp| {
        eligible(&t).await;
        let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
        let nobody = t.subject("nobody").await;
        let refused = exchange(&t, &machine, SUBJECT, &nobody).await;
        assert_eq!(error(&refused), (400, "invalid_target"));
        assert_eq!(refused.body["decision"]["status"], "insufficient");
        assert!(!refused.body["decision"]["next_steps"].as_array().unwrap().is_empty(), "{}", refused.body);
        assert_eq!(refused.body.get("access_token"), None);
        let path = format!("/v1/subjects/{nobody}/tokens");
        let direct = t.post(&path, json!({ "resource": "restricted.api", "audience": "edge" })).await;
        assert_eq!(direct.body["decision"], refused.body["decision"], "the same call, the same answer");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_exchange_is_told_in_the_words_of_the_standard() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
    let powerless = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    t.created("/v1/audiences", json!({ "id": "second", "name": "s", "resources": ["regional.*"] })).await;
    let (resource, regional) = (target(&t, "restricted.api"), target(&t, "regional.api"));
    let (unknown, elsewhere) = (target(&t, "unknown.api"), "https://elsewhere.example/resources/restricted.api");
    let fragment = format!("{resource}#part");
    let access = machine.access(&t).await;
    let revoked = machine.access(&t).await;
    assert_eq!(machine.ask(&t, "revoke", &[("token", &revoked)]).await.status, StatusCode::OK);
    let eligibility = t.token(&subject, "restricted.api", "edge").await;
    let proof = Key::new("k").prove("POST", &format!("{}/oauth2/token", t.url), NOW, "j", None);
    let bound = ask(&t, "token", &machine.form(&[CLIENT_CREDENTIALS]), &[("dpop", &proof)]).await.body;
    let bound = bound["access_token"].as_str().unwrap().to_owned();
    let own: Form<'_> = vec![GRANT, ("subject_token_type", SUBJECT), ("subject_token", &subject)];
    let (to, at) = (("resource", resource.as_str()), ("audience", "edge"));
    let rows: Vec<(&str, Form<'_>, (u16, &str))> = vec![
        ("no resource", vec![at], (400, "invalid_target")),
        ("two resources", vec![to, ("resource", &regional), at], (400, "invalid_target")),
        ("one resource twice", vec![to, to, at], (400, "invalid_target")),
        ("unknown resource", vec![("resource", &unknown), at], (400, "invalid_target")),
        ("unknown resource, no audience", vec![("resource", &unknown)], (400, "invalid_target")),
        ("another issuer's", vec![("resource", elsewhere), at], (400, "invalid_target")),
        ("a fragment", vec![("resource", &fragment), at], (400, "invalid_target")),
        ("not absolute", vec![("resource", "/resources/restricted.api"), at], (400, "invalid_target")),
        ("its bare id", vec![("resource", "restricted.api"), at], (400, "invalid_target")),
        ("the service itself", vec![("resource", &t.url), at], (400, "invalid_target")),
        ("unknown audience", vec![to, ("audience", "nobody")], (400, "invalid_target")),
        ("another audience's", vec![to, ("audience", "second")], (400, "invalid_target")),
        ("two audiences", vec![to, at, ("audience", "second")], (400, "invalid_target")),
        ("which audience", vec![("resource", &regional)], (400, "invalid_target")),
        ("a scope", vec![to, at, ("scope", "admin")], (400, "invalid_scope")),
        ("a type", vec![to, at, ("requested_token_type", ACCESS_TOKEN)], (400, "invalid_request")),
        ("half an actor", vec![to, at, ("actor_token", &access)], (400, "invalid_request")),
        ("the other half", vec![to, at, ("actor_token_type", ACCESS_TOKEN)], (400, "invalid_request")),
        ("actor", vec![to, at, ("actor_token", "x"), ("actor_token_type", ACCESS_TOKEN)], (400, "invalid_request")),
        (
            "an actor's type",
            vec![to, at, ("actor_token", &access), ("actor_token_type", ID_TOKEN)],
            (400, "invalid_request"),
        ),
        (
            "a revoked actor",
            vec![to, at, ("actor_token", &revoked), ("actor_token_type", ACCESS_TOKEN)],
            (400, "invalid_request"),
        ),
        (
            "a bound actor",
            vec![to, at, ("actor_token", &bound), ("actor_token_type", ACCESS_TOKEN)],
            (400, "invalid_request"),
        ),
        (
            "no actor",
            vec![to, at, ("actor_token", &eligibility), ("actor_token_type", ACCESS_TOKEN)],
            (400, "invalid_request"),
        ),
        ("no organisation", vec![to, at, ("vouchsafe_acting_for", "org_unknown")], (400, "invalid_request")),
        ("no id", vec![to, at, ("vouchsafe_acting_for", "x")], (400, "invalid_request")),
    ];
    for (what, more, wanted) in rows {
        let form = [own.clone(), more].concat();
        let answer = machine.ask(&t, "token", &form).await;
        assert_eq!(error(&answer), wanted, "{what}: {}", answer.body);
    }
    for (what, kind, token, wanted) in [
        ("unknown", SUBJECT, "sub_unknown", (400, "invalid_request")),
        ("not an id", SUBJECT, "x", (400, "invalid_request")),
        ("unlinked", LINK, "api-key:none", (400, "invalid_request")),
        ("no link", LINK, "x", (400, "invalid_request")),
        ("an id as a link", LINK, subject.as_str(), (400, "invalid_request")),
        ("no token", ID_TOKEN, "x", (400, "invalid_request")),
        ("our own token", ID_TOKEN, eligibility.as_str(), (400, "invalid_request")),
        ("a type", "urn:ietf:params:oauth:token-type:saml2", "x", (400, "invalid_request")),
        ("nothing", SUBJECT, "", (400, "invalid_request")),
    ] {
        let answer = exchange(&t, &machine, kind, token).await;
        assert_eq!(error(&answer), wanted, "{what}: {}", answer.body);
    }
    let refused = exchange(&t, &powerless, SUBJECT, &subject).await;
    assert_eq!(error(&refused), (400, "unauthorized_client"));
    let twice = machine.ask(&t, "token", &[GRANT, GRANT]).await;
    assert_eq!(error(&twice), (400, "invalid_request"));
    // The one audience that takes tokens for it need not be named.
    let alone = [own.clone(), vec![to]].concat();
    assert_eq!(machine.ask(&t, "token", &alone).await.status, StatusCode::OK);
    let acting = [own, vec![to, at, ("actor_token", &access), ("actor_token_type", ACCESS_TOKEN)]].concat();
    let other = Machine::new(&t, &["tokens:issue"], |_| {}).await;
    let (claims, expires_in) = issued(&other.ask(&t, "token", &acting).await);
    assert_eq!((&claims["act"]["sub"], &claims["client_id"]), (&json!(machine.id), &json!(other.id)));
    assert_eq!(expires_in, 600, "no longer than the actor's token");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_counts_only_from_its_provider_for_ours_and_now() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
    let (key, stranger) = (Key::new("k1"), Key::new("k1"));
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "idp", "id": "u1" })).await;
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "other", "id": "u2" })).await;
    let outcome = async |token: &str| error(&exchange(&t, &machine, ID_TOKEN, token).await).1.to_owned();
    let good = id_token(&key, &id_claims("u1"));
    assert_eq!(outcome(&good).await, "invalid_request", "before its provider is registered");
    assert_eq!(provider(&t, json!({ "keys": [key.jwk()] })).await.status, StatusCode::CREATED);
    assert_eq!(outcome(&good).await, "none");
    assert_eq!(outcome(&id_token(&stranger, &id_claims("u1"))).await, "invalid_request");
    for change in [
        json!({ "iss": "https://elsewhere.example" }),
        json!({ "aud": "another-app" }),
        json!({ "aud": ["app", "another-app"] }),
        json!({ "exp": NOW }),
        json!({ "iat": NOW + 31 }),
        json!({ "sub": "nobody" }),
        json!({ "sub": "u2" }),
        json!({ "events": {} }),
    ] {
        assert_eq!(outcome(&id_token(&key, &changed(id_claims("u1"), &change))).await, "invalid_request", "{change}");
    }
    let typed = key.sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "at+jwt" }), &id_claims("u1"));
    assert_eq!(outcome(&typed).await, "invalid_request", "an access token of the provider is no ID token");
    for (change, status) in [
        (json!({ "keys": [key.jwk()] }), 409),
        (json!({ "keys": [key.jwk()], "issuer": "https://second.example" }), 409),
        (json!({ "keys": [key.jwk()], "namespace": "second" }), 409),
        (json!({ "namespace": "a b", "keys": [key.jwk()] }), 422),
        (json!({ "audiences": [], "keys": [key.jwk()] }), 422),
        (json!({ "keys": [] }), 422),
        (json!({ "keys": [key.jwk()], "jwks_uri": "https://idp.example/jwks" }), 422),
        (json!({ "jwks_uri": "https://10.0.0.1/jwks", "issuer": "https://s.example", "namespace": "s" }), 422),
        (json!({ "jwks_uri": "http://idp.example/jwks", "issuer": "https://s.example", "namespace": "s" }), 422),
        (json!({ "issuer": t.url, "namespace": "s", "keys": [key.jwk()] }), 422),
    ] {
        assert_eq!(provider(&t, change.clone()).await.status.as_u16(), status, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_keys_are_fetched_seldom_and_the_last_good_ones_outlive_its_outage() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "idp", "id": "u1" })).await;
    let server = MockServer::start().await;
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let serve = async |keys: Value, status: u16| {
        server.reset().await;
        let set = ResponseTemplate::new(status).set_body_json(json!({ "keys": keys }));
        Mock::given(path("/jwks")).respond_with(set.insert_header("cache-control", "max-age=600")).mount(&server).await;
    };
    let fetched = async || server.received_requests().await.unwrap().len();
    serve(json!([old.jwk()]), 200).await;
    let created = provider(&t, json!({ "jwks_uri": format!("{}/jwks", server.uri()) })).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let ask = async |key: &Key| {
        let iat = t.clock_secs();
        let token = id_token(key, &changed(id_claims("u1"), &json!({ "iat": iat, "exp": iat + 300 })));
        exchange(&t, &machine, ID_TOKEN, &token).await.status.as_u16()
    };
    let pass = async |secs: i64| {
        t.clock.advance(secs);
        t.app.poll_feed().await.unwrap();
    };
    for _ in 0..5 {
        assert_eq!(ask(&old).await, 200);
    }
    assert_eq!(fetched().await, 1, "fetched once for all");
    serve(json!([old.jwk(), new.jwk()]), 200).await;
    for _ in 0..5 {
        assert_eq!(ask(&new).await, 400, "a key that is unknown yet");
    }
    assert_eq!(fetched().await, 0, "made-up keys do not make us ask within the minute");
    pass(60).await;
    assert_eq!(ask(&new).await, 200);
    assert_eq!((ask(&old).await, fetched().await), (200, 1));
    serve(json!([]), 503).await;
    pass(600).await;
    assert_eq!((ask(&old).await, fetched().await), (200, 1), "asked again when they are old, and in vain");
    assert_eq!((ask(&old).await, fetched().await), (200, 1));
    pass(86_400 - 660).await;
    assert_eq!(ask(&old).await, 200, "the last good keys");
    pass(61).await;
    assert_eq!(ask(&old).await, 503, "not for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_for_this_service_alone() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    eligible(&t).await;
    let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
    let restricted = target(&t, "restricted.api");
    let own = ("resource", t.url.as_str());
    for (more, wanted) in [
        (vec![own], (200, "none")),
        (vec![own, own], (200, "none")),
        (vec![("resource", restricted.as_str())], (400, "invalid_target")),
        (vec![own, ("resource", restricted.as_str())], (400, "invalid_target")),
        (vec![("resource", "https://elsewhere.example")], (400, "invalid_target")),
        (vec![("resource", "not absolute")], (400, "invalid_target")),
        (vec![("audience", "a"), ("audience", "b")], (400, "invalid_request")),
        (vec![("scope", "tokens:issue"), ("scope", "tokens:issue")], (400, "invalid_request")),
    ] {
        let form = [vec![CLIENT_CREDENTIALS], more.clone()].concat();
        let answer = machine.ask(&t, "token", &form).await;
        assert_eq!(error(&answer), wanted, "{more:?}: {}", answer.body);
        if wanted.0 == 200 {
            assert_eq!(claims(answer.body["access_token"].as_str().unwrap())["aud"], t.url);
        }
    }
    let none = ask(&t, "token", &machine.form(&[]), &[]).await;
    assert_eq!(error(&none), (400, "invalid_request"));
    let empty = machine.ask(&t, "token", &[("grant_type", "")]).await;
    assert_eq!(error(&empty), (400, "invalid_request"), "a parameter without a value is absent");
}
