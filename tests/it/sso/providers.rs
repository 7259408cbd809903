//! Identity providers as records: registered, changed under `If-Match`, switched off at once everywhere.

use super::{OKTA_ISSUER, OKTA_USER, ada, asked, assertion, call, client, fixture, okta, userinfo};
use crate::app::{TestApp, answer, on_both};
use crate::binary::BINARY;
use crate::support::TempDir;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::process::Command;

const PATH: &str = "/v1/identity-providers/idp_acme-okta";

async fn patch(t: &TestApp, tag: Option<&str>, body: &Value) -> crate::app::Answer {
    let mut request = t.http.patch(format!("{}{PATH}", t.url)).bearer_auth(&t.admin).json(body);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    answer(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_for_the_version_that_was_read() {
    on_both(async |t: TestApp| {
        okta(&t, json!({})).await;
        let shown = t.get(PATH).await;
        assert_eq!(shown.header("etag"), "\"1\"");
        assert!(!shown.body.to_string().contains("hook_keys"), "{}", shown.body);
        let renamed = patch(&t, Some("\"1\""), &json!({ "name": "Okta of Acme" })).await;
        assert_eq!((renamed.status, renamed.header("etag")), (StatusCode::NO_CONTENT, "\"2\""), "{}", renamed.body);
        let late = patch(&t, Some("\"1\""), &json!({ "name": "x" })).await;
        assert_eq!((late.status, &late.body["code"]), (StatusCode::PRECONDITION_FAILED, &json!("precondition_failed")));
        let shown = t.get(PATH).await.body;
        assert_eq!((&shown["version"], &shown["body"]["name"]), (&json!(2), &json!("Okta of Acme")));
        assert_eq!(shown["body"]["hook"], json!({ "platform": "okta" }), "what is absent stays");
        assert_eq!(
            patch(&t, Some("\"2\", \"9\""), &json!({ "claim": "may_use" })).await.status,
            StatusCode::NO_CONTENT
        );
        assert_eq!(patch(&t, None, &json!({ "organisation": null })).await.status, StatusCode::NO_CONTENT);
        assert_eq!(t.get(PATH).await.body["version"], 4);
        let told = t.audited("identity_provider.changed").await;
        let members: Vec<&Value> = told.iter().map(|entry| &entry["detail"]["members"]).collect();
        assert_eq!(members, [&json!(["name"]), &json!(["claim"]), &json!(["organisation"])]);
        for fixed in ["issuer", "namespace"] {
            let refused = patch(&t, None, &json!({ fixed: "https://else.example" })).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{fixed} is what users are known by");
        }
        let missing = t.send(&t.admin, Method::PATCH, "/v1/identity-providers/idp_none", Some(json!({}))).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        let reader = t.client("Bo", &["rules:read"], &[], None).await;
        assert_eq!(t.send(&reader, Method::PATCH, PATH, Some(json!({}))).await.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_by_its_member() {
    on_both(async |t: TestApp| {
        okta(&t, json!({})).await;
        let (mine, _, _) = client(&t, &["sso:claims"]).await;
        let taken = json!({ "name": "x", "issuer": "https://x.example", "namespace": "x", "resources": ["restricted.api"], "clients": [mine] });
        t.created("/v1/identity-providers", taken).await;
        let base = json!({ "name": "n", "issuer": "https://n.example", "namespace": "n", "resources": ["restricted.api"],
            "hook": { "platform": "okta" } });
        let guid = super::TENANT;
        for (change, pointer) in [
            (json!({ "resources": [] }), "/resources"),
            (json!({ "resources": ["NO"] }), "/resources/0"),
            (json!({ "hook": null }), "/audiences"),
            (json!({ "audiences": ["app"] }), "/keys"),
            (json!({ "hook": { "platform": "auth0" } }), "/hook/platform"),
            (json!({ "hook": { "platform": "okta", "tenant": guid } }), "/hook"),
            (json!({ "hook": { "platform": "entra", "tenant": guid } }), "/hook"),
            (json!({ "hook": { "platform": "entra", "tenant": guid, "audience": "a" } }), "/keys"),
            (json!({ "hook": { "platform": "entra", "tenant": "acme", "audience": "a" }, "jwks_uri": "https://keys.example" }), "/hook/tenant"),
            (json!({ "claim": "sub" }), "/claim"),
            (json!({ "claim": "a/b" }), "/claim"),
            (json!({ "claim": "1a" }), "/claim"),
            (json!({ "discloses": ["everything"] }), "/discloses"),
            (json!({ "alg": "HS256" }), "/alg"),
            (json!({ "organisation": "org_nobody" }), "/organisation"),
            (json!({ "email_domains": ["acme.example"] }), "/email_domains"),
            (json!({ "email_domains": ["Acme"] }), "/email_domains"),
            (json!({ "clients": ["cli_nobody"] }), "/clients"),
            (json!({ "clients": [mine] }), "/clients"),
        ] {
            let mut body = base.clone();
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
            let refused = t.post("/v1/identity-providers", body).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{change}");
            assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{change}");
        }
        let mut again = base.clone();
        again["issuer"] = json!(OKTA_ISSUER);
        assert_eq!(t.post("/v1/identity-providers", again).await.status, StatusCode::CONFLICT);
        assert!(t.created("/v1/identity-providers", base).await["hook_secret"].as_str().unwrap().starts_with("idp_n."));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_switched_off_is_nobody_at_once_on_every_replica() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        ada(&t).await;
        let (id, secret_word, token) = client(&t, &["sso:claims", "tokens:issue"]).await;
        let key = vouchsafe_verify::testing::Signer::es256();
        let mut jwk = key.jwk();
        jwk["kid"] = json!("k1");
        let secret = okta(&t, json!({ "clients": [id], "keys": [jwk], "audiences": ["portal"] })).await;
        let replica = t.replica().await;
        let id_claims = json!({ "iss": OKTA_ISSUER, "aud": "portal", "sub": OKTA_USER, "iat": super::NOW, "exp": super::NOW + 300 });
        let id_token = key.sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" }), &id_claims);
        let resource = format!("{}/resources/restricted.api", t.url);
        let exchange = async || {
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
                ("subject_token", id_token.as_str()),
                ("resource", resource.as_str()),
                ("audience", "edge"),
            ];
            let request = t.http.post(format!("{}/oauth2/token", t.url)).basic_auth(&id, Some(&secret_word)).form(&form);
            answer(request).await.status.as_u16()
        };
        let hook = async || call(&t, "/sso/okta", Some(&secret), fixture("okta_request.json")).await.0;
        let ask = async || userinfo(&t, &token, json!({ "sub": OKTA_USER })).await.status.as_u16();
        let claims = async || assertion(&t, &token, asked(OKTA_USER)).await.is_ok();
        assert_eq!((exchange().await, hook().await, ask().await, claims().await), (200, 200, 200, true));
        assert!(replica.okta_hook(&secret).is_ok() && replica.provider_of(&id).is_ok());
        assert_eq!(patch(&t, None, &json!({ "disabled": true })).await.status, StatusCode::NO_CONTENT);
        assert_eq!((exchange().await, hook().await, ask().await, claims().await), (400, 401, 403, false));
        replica.poll_feed().await.unwrap();
        assert!(replica.okta_hook(&secret).is_err() && replica.provider_of(&id).is_err());
        assert_eq!(patch(&t, None, &json!({ "disabled": false })).await.status, StatusCode::NO_CONTENT);
        assert_eq!((exchange().await, hook().await, ask().await, claims().await), (200, 200, 200, true));
        for verb in ["disabled", "enabled"] {
            let entries = t.audited(&format!("identity_provider.{verb}")).await;
            assert_eq!(entries.len(), 1, "{verb}");
            assert_eq!(entries[0]["target"], "idp_acme-okta");
        }
        // Another hook ends the secret; back again there is none until a new one is made.
        let entra = json!({ "hook": { "platform": "entra", "tenant": super::TENANT, "audience": "a" } });
        for change in [entra, json!({ "hook": { "platform": "okta" } })] {
            assert_eq!(patch(&t, None, &change).await.status, StatusCode::NO_CONTENT);
            assert_eq!(hook().await, 401);
        }
    })
    .await;
}

#[test]
fn the_command_line_registers_changes_and_switches_off() {
    let folder = TempDir::new();
    let at = |name: &str| folder.path().join(name).display().to_string();
    assert!(Command::new(BINARY).args(["keys", "master", &at("key")]).output().unwrap().status.success());
    let run = |arguments: &[&str]| -> (bool, String) {
        let done = Command::new(BINARY)
            .args(arguments)
            .arg("--json")
            .env("VOUCHSAFE_DATABASE", format!("sqlite:{}", at("store.db")))
            .env("VOUCHSAFE_MASTER_KEY_FILE", at("key"))
            .env("VOUCHSAFE_PUBLIC_ORIGIN", "https://vouchsafe.example")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.success(), if done.status.success() { String::from_utf8(done.stdout).unwrap() } else { error })
    };
    let value = |(done, text): (bool, String)| -> Value {
        assert!(done, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let create = [
        "identity-provider",
        "create",
        "--name",
        "Acme's Okta",
        "--issuer",
        OKTA_ISSUER,
        "--namespace",
        "acme",
        "--resource",
        "restricted.api",
        "--hook",
        "okta",
        "--disclose",
        "status",
    ];
    let created = value(run(&create));
    assert_eq!(created["identity_provider"], "idp_acme");
    assert!(created["hook_secret"].as_str().unwrap().starts_with("idp_acme."));
    let one = ["--identity-provider", "idp_acme"];
    let with = |words: &[&'static str], more: &[&'static str]| -> Vec<&'static str> {
        ["identity-provider"].iter().chain(words).chain(more).copied().collect()
    };
    let (done, _) = run(&with(&["change"], &[&one[..], &["--claim", "may_use", "--disclose-nothing"]].concat()));
    assert!(done);
    let (done, _) = run(&with(&["disable"], &one));
    assert!(done);
    let listed = value(run(&["identity-provider", "list"]));
    let body = &listed["body"];
    assert_eq!(
        (&listed["id"], &body["claim"], &body["disabled"], body.get("discloses")),
        (&json!("idp_acme"), &json!("may_use"), &json!(true), None)
    );
    let (done, _) = run(&with(&["enable"], &one));
    assert!(done);
    let renewed = value(run(&with(&["secret"], &one)));
    assert_ne!(renewed["hook_secret"], created["hook_secret"]);
    assert_eq!(value(run(&with(&["show"], &one)))["version"], 5);
    let (done, error) = run(&with(&["change"], &[&one[..], &["--hook", "entra"]].concat()));
    assert!(!done && error.contains("--tenant"), "{error}");
}
