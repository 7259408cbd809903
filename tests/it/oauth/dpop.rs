//! Tokens that are bound to a key (DPoP, RFC 9449): at the token endpoint, at the API, at gateways.

use super::{CLIENT_CREDENTIALS, Key, Machine, NOW, ask, claims, eligible, error};
use crate::app::{Answer, TestApp, answer, on_both};
use crate::support::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An access token that is bound to this key.
async fn bound(t: &TestApp, machine: &Machine, key: &Key, jti: &str) -> String {
    let proof = key.prove("POST", &format!("{}/oauth2/token", t.url), NOW, jti, None);
    let answer = ask(t, "token", &machine.form(&[CLIENT_CREDENTIALS]), &[("dpop", &proof)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["token_type"], "DPoP");
    let token = answer.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["cnf"], json!({ "jkt": key.thumbprint() }));
    token
}

async fn send(t: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut request = t.http.request(method, format!("{}{path}", t.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    answer(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_works_with_a_proof_for_each_request_and_each_proof_once() {
    on_both(async |mut t: TestApp| {
        let machine = Machine::new(&t, &["subjects:read", "subjects:write"], |_| {}).await;
        let (key, thief) = (Key::new("k"), Key::new("k"));
        let token = bound(&t, &machine, &key, "j0").await;
        let (scheme, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
        let subjects = format!("{}/v1/subjects", t.url);
        let proof = |jti: &str| key.prove("GET", &subjects, NOW, jti, Some(&token));
        let get =
            async |t: &TestApp, headers: &[(&str, &str)]| send(t, Method::GET, "/v1/subjects", headers, None).await;

        let first = proof("j1");
        let good = [("authorization", scheme.as_str()), ("dpop", first.as_str())];
        assert_eq!(get(&t, &good).await.status, StatusCode::OK);
        let again = get(&t, &good).await;
        assert_eq!((again.status.as_u16(), again.body["code"].as_str()), (401, Some("invalid_dpop_proof")));
        assert!(again.header("www-authenticate").starts_with("DPoP error=\"invalid_dpop_proof\""));

        let borne = get(&t, &[("authorization", &bearer)]).await;
        assert_eq!(borne.status, StatusCode::UNAUTHORIZED, "a bound token is not borne");
        assert!(borne.header("www-authenticate").starts_with("Bearer error=\"invalid_token\""));
        let p = proof("j2");
        assert_eq!(get(&t, &[("authorization", &bearer), ("dpop", &p)]).await.status, StatusCode::UNAUTHORIZED);

        let other = format!("{}/v1/subjects/x", t.url);
        for (what, proofs) in [
            ("none", vec![]),
            ("two", vec![proof("j3"), proof("j4")]),
            ("another key's", vec![thief.prove("GET", &subjects, NOW, "j5", Some(&token))]),
            ("another method's", vec![key.prove("POST", &subjects, NOW, "j6", Some(&token))]),
            ("another address's", vec![key.prove("GET", &other, NOW, "j7", Some(&token))]),
            (
                "another host's",
                vec![key.prove("GET", "https://elsewhere.example/v1/subjects", NOW, "j7", Some(&token))],
            ),
            ("without the token's hash", vec![key.prove("GET", &subjects, NOW, "j8", None)]),
            ("another token's", vec![key.prove("GET", &subjects, NOW, "j9", Some("x"))]),
            ("too old", vec![key.prove("GET", &subjects, NOW - 61, "j10", Some(&token))]),
            ("too young", vec![key.prove("GET", &subjects, NOW + 61, "j11", Some(&token))]),
            ("nonsense", vec!["x".to_owned()]),
        ] {
            let mut headers = vec![("authorization", scheme.as_str())];
            headers.extend(proofs.iter().map(|proof| ("dpop", proof.as_str())));
            let refused = get(&t, &headers).await;
            assert_eq!(
                (refused.status.as_u16(), refused.body["code"].as_str()),
                (401, Some("invalid_dpop_proof")),
                "{what}"
            );
        }
        let unbound = format!("DPoP {}", machine.access(&t).await);
        let p = key.prove("GET", &subjects, NOW, "j12", Some(&unbound[5..]));
        let refused = get(&t, &[("authorization", &unbound), ("dpop", &p)]).await;
        assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (401, Some("unauthenticated")));

        // The address is the configured one, whatever way the request took.
        let issuer = subjects.clone();
        t.restart().await;
        assert!(!issuer.starts_with(&t.url));
        let replayed = get(&t, &good).await;
        assert_eq!(replayed.status, StatusCode::UNAUTHORIZED, "spent before the restart");
        let p = proof("j13");
        assert_eq!(get(&t, &[("authorization", &scheme), ("dpop", &p)]).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_may_repeat_a_post_by_its_idempotency_key() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let machine = Machine::new(&t, &["subjects:write"], |_| {}).await;
    let reader = Machine::new(&t, &["subjects:read"], |_| {}).await;
    let key = Key::new("k");
    let url = format!("{}/v1/subjects", t.url);
    let post = async |token: &str, jti: &str| {
        let (scheme, proof) = (format!("DPoP {token}"), key.prove("POST", &url, NOW, jti, Some(token)));
        let headers = [("authorization", scheme.as_str()), ("dpop", proof.as_str()), ("idempotency-key", "once")];
        send(&t, Method::POST, "/v1/subjects", &headers, Some(json!({ "kind": "person" }))).await
    };
    let token = bound(&t, &machine, &key, "j0").await;
    let (first, again) = (post(&token, "j1").await, post(&token, "j2").await);
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED), "{}", first.body);
    assert_eq!((&first.body, again.header("idempotency-replayed")), (&again.body, "true"));
    let token = bound(&t, &reader, &key, "j3").await;
    assert_eq!(
        post(&token, "j4").await.status,
        StatusCode::FORBIDDEN,
        "told that the scope is missing, not that the proof was used"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_takes_one_good_proof_or_none() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let free = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let strict = Machine::new(&t, &["tokens:introspect"], |new| new.dpop_bound_access_tokens = true).await;
    let key = Key::new("k");
    let url = format!("{}/oauth2/token", t.url);
    let good = key.prove("POST", &url, NOW, "j1", None);
    let asked = async |machine: &Machine, proofs: &[&str]| {
        let headers: Vec<(&str, &str)> = proofs.iter().map(|proof| ("dpop", *proof)).collect();
        let answer = ask(&t, "token", &machine.form(&[CLIENT_CREDENTIALS]), &headers).await;
        (
            answer.status.as_u16(),
            answer.body["error"].as_str().or(answer.body["token_type"].as_str()).unwrap().to_owned(),
        )
    };
    let refused = (400, "invalid_dpop_proof".to_owned());
    assert_eq!(asked(&free, &[]).await, (200, "Bearer".to_owned()));
    assert_eq!(asked(&strict, &[]).await, refused, "bound for it always");
    let wrong = Machine { id: strict.id.clone(), secret: "wrong".to_owned() };
    assert_eq!(asked(&wrong, &[&good]).await, (401, "invalid_client".to_owned()));
    assert_eq!(asked(&strict, &[&good]).await, (200, "DPoP".to_owned()), "a stranger did not use it up");
    assert_eq!(asked(&strict, &[&good]).await, refused, "used");
    let (a, b) = (key.prove("POST", &url, NOW, "j2", None), key.prove("POST", &url, NOW, "j3", None));
    assert_eq!(asked(&free, &[&a, &b]).await, refused, "two");
    for (what, proof) in [
        ("method", key.prove("GET", &url, NOW, "j4", None)),
        ("address", key.prove("POST", &t.url, NOW, "j5", None)),
        ("time", key.prove("POST", &url, NOW - 61, "j6", None)),
        ("type", key.sign(&json!({ "alg": "ES256", "typ": "JWT", "jwk": key.public() }), &json!({}))),
        ("nonsense", "x".to_owned()),
    ] {
        assert_eq!(asked(&free, &[&proof]).await, refused, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_is_asked_with_a_bound_token_and_tells_of_one() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let machine = Machine::new(&t, &["tokens:introspect"], |_| {}).await;
    let key = Key::new("k");
    let token = bound(&t, &machine, &key, "j0").await;
    let url = format!("{}/oauth2/introspect", t.url);
    let form = vec![("token", token.as_str())];
    let (scheme, proof) = (format!("DPoP {token}"), key.prove("POST", &url, NOW, "j1", Some(&token)));
    let headers = [("authorization", scheme.as_str()), ("dpop", proof.as_str())];
    let told = ask(&t, "introspect", &form, &headers).await;
    assert_eq!((&told.body["token_type"], &told.body["cnf"]), (&json!("DPoP"), &json!({ "jkt": key.thumbprint() })));
    let again = ask(&t, "introspect", &form, &headers).await;
    assert_eq!(error(&again), (401, "invalid_dpop_proof"));
    let bearer = format!("Bearer {token}");
    assert_eq!(error(&ask(&t, "introspect", &form, &[("authorization", &bearer)]).await), (401, "invalid_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_eligibility_token_passes_where_the_gateway_has_an_origin_and_with_a_proof() {
    on_both(async |t: TestApp| {
        const ORIGIN: &str = "https://api.example";
        let subject = eligible(&t).await;
        let machine = Machine::new(&t, &["tokens:issue"], |_| {}).await;
        let (key, thief) = (Key::new("k"), Key::new("k"));
        let resource = format!("{}/resources/restricted.api", t.url);
        let exchange = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:vouchsafe:params:oauth:token-type:subject"),
            ("subject_token", subject.as_str()),
            ("resource", resource.as_str()),
        ];
        let proof = key.prove("POST", &format!("{}/oauth2/token", t.url), NOW, "j0", None);
        let issued = ask(&t, "token", &machine.form(&exchange), &[("dpop", &proof)]).await;
        assert_eq!(issued.body["token_type"], "DPoP", "{}", issued.body);
        let token = issued.body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims(&token)["cnf"], json!({ "jkt": key.thumbprint() }));

        let gateway = json!({ "name": "g", "resources": ["restricted.*"], "audience": "edge", "origin": ORIGIN });
        let gateway = t.created("/v1/gateways", gateway).await["key"].as_str().unwrap().to_owned();
        let without = t.gateway("edge", false).await;
        let (scheme, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
        let call = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/model/answer?q=1")];
        let proof = |jti: &str| key.prove("GET", &format!("{ORIGIN}/model/answer"), NOW, jti, Some(&token));
        let check = async |gateway: &str, authorization: &str, proof: &str, call: &[(&str, &str)]| {
            let mut headers = vec![("x-gateway-key", gateway), ("authorization", authorization), ("dpop", proof)];
            headers.extend(call);
            let answer = t.check("restricted.api", &headers).await;
            (answer.status.as_u16(), answer.header("www-authenticate").to_owned())
        };
        let good = proof("j1");
        assert_eq!(check(&gateway, &scheme, &good, &call).await.0, 200);
        let refused = (401, "DPoP error=\"invalid_dpop_proof\"".to_owned());
        assert_eq!(check(&gateway, &scheme, &good, &call).await, refused, "used");
        assert_eq!(check(&without, &scheme, &proof("j2"), &call).await, refused, "a gateway without an origin");
        assert_eq!(
            check(&gateway, &scheme, &proof("j3"), &[]).await,
            refused,
            "a gateway that does not say what is asked"
        );
        assert_eq!(check(&gateway, &scheme, &proof("j4"), &call[..1]).await, refused);
        let twice = [call[0], call[1], ("x-original-method", "GET"), ("x-original-uri", "/other")];
        assert_eq!(check(&gateway, &scheme, &proof("j5"), &twice).await, refused, "two accounts of what is asked");
        let elsewhere = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/other")];
        assert_eq!(check(&gateway, &scheme, &proof("j6"), &elsewhere).await, refused);
        let stolen = thief.prove("GET", &format!("{ORIGIN}/model/answer"), NOW, "j7", Some(&token));
        assert_eq!(check(&gateway, &scheme, &stolen, &call).await, refused, "another key");
        let invalid = (401, "Bearer error=\"invalid_token\"".to_owned());
        assert_eq!(check(&gateway, &bearer, &proof("j8"), &call).await, invalid, "a bound token is not borne");
        let nginx = [("x-original-method", "GET"), ("x-original-uri", "/model/answer")];
        assert_eq!(check(&gateway, &scheme, &proof("j9"), &nginx).await.0, 200);
        // Envoy names the caller's request by asking with it.
        let envoy = async |path: &str, proof: &str| {
            let request = t.http.get(format!("{}/gateway/envoy/restricted.api{path}", t.url));
            let headers = [("x-gateway-key", &gateway), ("authorization", &scheme), ("dpop", &proof.to_owned())];
            answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.status
        };
        assert_eq!(envoy("/model/answer?q=1", &proof("e1")).await, 200);
        assert_eq!(envoy("/other", &proof("e2")).await, 401);
        let unbound = format!("DPoP {}", t.token(&subject, "restricted.api", "edge").await);
        let p = key.prove("GET", &format!("{ORIGIN}/model/answer"), NOW, "j10", Some(&unbound[5..]));
        assert_eq!(check(&gateway, &unbound, &p, &call).await, (401, "DPoP error=\"invalid_token\"".to_owned()));
    })
    .await;
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.audience("edge").await;
    for origin in
        ["https://api.example/", "https://api.example/path", "api.example", "ftp://api.example", "https://API.example"]
    {
        let body = json!({ "name": "g", "resources": ["restricted.*"], "audience": "edge", "origin": origin });
        assert_eq!(t.post("/v1/gateways", body).await.body["errors"][0]["pointer"], "/origin", "{origin}");
    }
}
