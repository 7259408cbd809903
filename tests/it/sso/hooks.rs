//! The hooks of Okta and Entra: documented requests in, exact answers out, and a no whenever it cannot be known.

use super::{
    ENTRA_APP, ENTRA_EVENTS, ENTRA_USER, OKTA_USER, TENANT, ada, call, client, entra, entra_claims, entra_token,
    fixture, fixture_json, link, okta, telling, with,
};
use crate::app::{TestApp, on_both};
use crate::support::execute;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn ask_okta(t: &TestApp, secret: &str, body: &Value) -> (u16, String) {
    call(t, "/sso/okta", Some(secret), body.to_string()).await
}

async fn ask_entra(t: &TestApp, body: &Value) -> (u16, String) {
    call(t, "/sso/entra", Some(&entra_token(&entra_claims())), body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_requests_get_the_documented_answers_byte_for_byte() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let secret = okta(&t, json!({})).await;
        entra(&t, json!({})).await;
        let (okta_request, entra_request) = (fixture_json("okta_request.json"), fixture_json("entra_request.json"));
        assert_eq!(ask_okta(&t, &secret, &okta_request).await, (200, fixture("okta_allowed.json")));
        assert_eq!(ask_okta(&t, &format!("Bearer {secret}"), &okta_request).await, (200, fixture("okta_allowed.json")));
        assert_eq!(ask_entra(&t, &entra_request).await, (200, fixture("entra_allowed.json")));
        // Entra writes ids in either case; Okta's are as they are.
        let upper =
            with(entra_request.clone(), "/data/authenticationContext/user/id", json!(ENTRA_USER.to_uppercase()));
        assert_eq!(ask_entra(&t, &upper).await, (200, fixture("entra_allowed.json")));

        // Somebody unknown, and whoever is not eligible, are one no.
        let stranger = t.subject("bo").await;
        link(&t, &stranger, "acme-okta", "00u2example").await;
        for user in ["00u2example", "00u3unknown"] {
            let body = with(okta_request.clone(), "/data/context/user/id", json!(user));
            let body = with(body, "/data/context/session/userId", json!(user));
            assert_eq!(ask_okta(&t, &secret, &body).await, (200, fixture("okta_refused.json")), "{user}");
        }
        let body =
            with(entra_request, "/data/authenticationContext/user/id", json!("00000000-0000-4000-8000-000000000000"));
        assert_eq!(ask_entra(&t, &body).await, (200, fixture("entra_refused.json")));
        // What was told is in the ledger, like any other admission.
        t.app.write_admissions().await.unwrap();
        let rows = t.get("/v1/admissions?resource=restricted.api").await.body;
        let mut told: Vec<(&str, i64)> = rows["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["gateway"].as_str().unwrap(), row["count"].as_i64().unwrap()))
            .collect();
        told.sort_unstable();
        assert_eq!(told, [("idp_acme-entra", 2), ("idp_acme-okta", 2)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn okta_is_told_no_for_whatever_is_not_one_user_of_its_own_at_its_own_server() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let secret = okta(&t, json!({ "resources": ["restricted.api", "regional.*"] })).await;
        let request = fixture_json("okta_request.json");
        let refused = fixture_json("okta_refused.json");
        let asked = async |path: &str, body: &Value| {
            let (status, text) = call(&t, path, Some(&secret), body.to_string()).await;
            (status, serde_json::from_str::<Value>(&text).unwrap())
        };
        const API: &str = "/sso/okta?resource=restricted.api";
        assert_eq!(asked(API, &request).await, (200, fixture_json("okta_allowed.json")));
        for (what, body) in [
            ("no user", with(request.clone(), "/data/context/user", Value::Null)),
            ("another user's session", with(request.clone(), "/data/context/session/userId", json!("00u9other"))),
            ("a session of nobody", with(request.clone(), "/data/context/session/userId", json!(7))),
            (
                "another authorization server",
                with(
                    request.clone(),
                    "/data/context/protocol/issuer/uri",
                    json!("https://other.okta.example/oauth2/default"),
                ),
            ),
            ("an id that is no text", with(request.clone(), "/data/context/user/id", json!([OKTA_USER]))),
            ("an endless id", with(request.clone(), "/data/context/user/id", json!("x".repeat(513)))),
        ] {
            assert_eq!(asked(API, &body).await, (200, refused.clone()), "{what}");
        }
        let (status, allowed) = asked(API, &with(request.clone(), "/data/context/session", Value::Null)).await;
        assert_eq!(
            (status, &allowed["commands"][0]["value"][0]["value"]["allowed"]),
            (200, &json!(true)),
            "a refresh has no session"
        );

        // A resource that is not named, is named twice, or is none of the provider's.
        for path in [
            "/sso/okta",
            "/sso/okta?resource=restricted.api&resource=restricted.api",
            "/sso/okta?resource=nationals.api",
            "/sso/okta?resource=%00",
        ] {
            let (status, told) = asked(path, &request).await;
            assert_eq!(status, 200, "{path}");
            for command in told["commands"].as_array().unwrap() {
                assert_eq!(command["value"][0]["value"]["allowed"], false, "{path}");
            }
        }
        // A body that is not the event: nothing is issued.
        let twice = request.to_string().replacen("\"eventType\"", "\"eventType\":\"x\",\"eventType\"", 1);
        for body in [
            String::new(),
            "[]".to_owned(),
            "{".to_owned(),
            twice,
            with(request.clone(), "/eventType", json!("com.okta.saml.tokens.transform")).to_string(),
            with(request.clone(), "/data/context/protocol/issuer", Value::Null).to_string(),
            format!("{}{}", request, " ".repeat(256 * 1024)),
        ] {
            let (status, text) = call(&t, API, Some(&secret), body).await;
            let told: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status, 200);
            assert_eq!(told, json!({ "error": { "errorSummary": "eligibility cannot be told for this request" } }));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_there_is_replaced_and_only_tokens_that_are_issued_are_patched() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let secret = okta(&t, json!({ "claim": "model_access" })).await;
        let request = fixture_json("okta_request.json");
        let commands = async |body: &Value| -> Vec<(String, String, String)> {
            let (_, text) = ask_okta(&t, &secret, body).await;
            let told: Value = serde_json::from_str(&text).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            told["commands"]
                .as_array()
                .unwrap()
                .iter()
                .map(|command| {
                    let value = command["value"].as_array().unwrap();
                    assert_eq!(value.len(), 1);
                    (text(&command["type"]), text(&value[0]["op"]), text(&value[0]["path"]))
                })
                .collect()
        };
        let (identity, access) = ("com.okta.identity.patch", "com.okta.access.patch");
        let expect = |list: &[(&str, &str)]| -> Vec<(String, String, String)> {
            let path = "/claims/model_access".to_owned();
            list.iter().map(|(kind, op)| ((*kind).to_owned(), (*op).to_owned(), path.clone())).collect()
        };
        assert_eq!(commands(&request).await, expect(&[(identity, "add"), (access, "add")]));
        let forged = with(request.clone(), "/data/access/claims/model_access", json!({ "allowed": true }));
        assert_eq!(commands(&forged).await, expect(&[(identity, "add"), (access, "replace")]));
        let only = with(request.clone(), "/data/identity", Value::Null);
        assert_eq!(commands(&only).await, expect(&[(access, "add")]));
        let none = with(only, "/data/access", Value::Null);
        assert_eq!(commands(&none).await, expect(&[]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_okta_hook_proves_itself_by_its_secret_or_by_its_clients_token() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let (mine, _, token) = client(&t, &["sso:claims"]).await;
        let (scopeless, _, scopeless_token) = client(&t, &["subjects:read"]).await;
        let (_, _, foreign_token) = client(&t, &["sso:claims"]).await;
        let secret = okta(&t, json!({ "clients": [mine, scopeless] })).await;
        // A provider without a hook: its client opens no hook either.
        let (plain, _, plain_token) = client(&t, &["sso:claims"]).await;
        let other = json!({ "name": "b", "issuer": "https://b.example", "namespace": "b.c", "resources": ["restricted.api"],
            "clients": [plain] });
        t.created("/v1/identity-providers", other).await;
        let request = fixture_json("okta_request.json").to_string();
        let ask = async |authorization: Option<String>| {
            call(&t, "/sso/okta", authorization.as_deref(), request.clone()).await
        };
        let allowed = (200, fixture("okta_allowed.json"));
        assert_eq!(ask(Some(secret.clone())).await, allowed);
        assert_eq!(ask(Some(format!("Bearer {token}"))).await, allowed);
        let unauthenticated = (401, json!({ "error": { "errorSummary": "the hook is not authenticated" } }).to_string());
        let (id, word) = secret.rsplit_once('.').unwrap();
        for wrong in [
            None,
            Some(String::new()),
            Some(id.to_owned()),
            Some(format!("{id}.")),
            Some(format!("{id}.{word}x")),
            Some(format!("idp_b.c.{word}")),
            Some(format!("Basic {secret}")),
            Some(format!("Bearer {scopeless_token}")),
            Some(format!("Bearer {foreign_token}")),
            Some(format!("Bearer {plain_token}")),
            Some(format!("Bearer {}", t.admin)),
        ] {
            assert_eq!(ask(wrong.clone()).await, unauthenticated, "{wrong:?}");
        }
        let twice = t.http.post(format!("{}/sso/okta", t.url)).header("authorization", &secret);
        let twice = twice.header("authorization", &secret).body(request.clone()).send().await.unwrap();
        assert_eq!(twice.status(), StatusCode::UNAUTHORIZED);

        // A new secret, with and without the old one for a while.
        let renewed = t.post(&format!("/v1/identity-providers/{id}/secret"), json!({ "overlap_secs": 60 })).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
        let second = renewed.body["hook_secret"].as_str().unwrap().to_owned();
        let live = async |secret: &str| ask(Some(secret.to_owned())).await.0;
        assert_eq!((live(&secret).await, live(&second).await), (200, 200));
        t.clock.advance(59);
        t.app.poll_feed().await.unwrap();
        assert_eq!((live(&secret).await, live(&second).await), (200, 200));
        t.clock.advance(1);
        assert_eq!((live(&secret).await, live(&second).await), (401, 200));
        let third = t.post(&format!("/v1/identity-providers/{id}/secret"), json!({})).await.body["hook_secret"].clone();
        assert_eq!((live(&second).await, live(third.as_str().unwrap()).await), (401, 200));
        let renewals = t.audited("identity_provider.secret_renewed").await;
        assert_eq!(renewals.len(), 2);
        assert!(!json!(renewals).to_string().contains(&second[id.len() + 1..]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entra_is_believed_by_its_tenants_token_for_this_service_alone() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        entra(&t, json!({})).await;
        okta(&t, json!({})).await;
        let request = fixture_json("entra_request.json");
        let ask = async |authorization: &str| call(&t, "/sso/entra", Some(authorization), request.to_string()).await;
        let allowed = (200, fixture("entra_allowed.json"));
        let claims = |pointer: &str, value: Value| with(entra_claims(), pointer, value);
        // Tokens of version 1 name the caller by `appid`.
        let version_1 = with(claims("/azp", Value::Null), "/appid", json!(ENTRA_EVENTS));
        for good in [entra_claims(), version_1, claims("/tid", Value::Null)] {
            assert_eq!(ask(&entra_token(&good)).await, allowed, "{good}");
        }
        let unauthenticated = (401, "{}".to_owned());
        for bad in [
            claims("/aud", json!("another-app")),
            claims("/aud", json!([ENTRA_APP, "another-app"])),
            claims("/iss", json!("https://login.microsoftonline.com/00000000-0000-4000-8000-000000000000/v2.0")),
            claims("/iss", json!(super::OKTA_ISSUER)),
            claims("/azp", json!("another-app")),
            claims("/azp", Value::Null),
            claims("/appid", json!("another-app")),
            claims("/tid", json!("00000000-0000-4000-8000-000000000000")),
            claims("/exp", json!(super::NOW - 31)),
            claims("/nbf", json!(super::NOW + 31)),
            claims("/exp", Value::Null),
        ] {
            assert_eq!(ask(&entra_token(&bad)).await, unauthenticated, "{bad}");
        }
        let good = entra_token(&entra_claims());
        let forged = vouchsafe_verify::testing::Signer::rs256()
            .sign(&json!({ "alg": "RS256", "kid": "tenant-key", "typ": "JWT" }), &entra_claims());
        let unknown = super::ENTRA_KEY.sign(&json!({ "alg": "RS256", "kid": "k2", "typ": "JWT" }), &entra_claims());
        let access =
            super::ENTRA_KEY.sign(&json!({ "alg": "RS256", "kid": "tenant-key", "typ": "at+jwt" }), &entra_claims());
        for bad in [
            format!("Bearer {forged}"),
            format!("Bearer {unknown}"),
            format!("Bearer {access}"),
            good.replacen("Bearer ", "", 1),
            "Bearer".to_owned(),
            format!("Bearer {}", t.admin),
        ] {
            assert_eq!(ask(&bad).await, unauthenticated, "{bad}");
        }
        // Another tenant's event under this tenant's token, no user, another event.
        let told = async |body: Value| ask_entra(&t, &body).await;
        let refused = (200, fixture("entra_refused.json"));
        assert_eq!(
            told(with(request.clone(), "/data/tenantId", json!("00000000-0000-4000-8000-000000000000"))).await,
            refused
        );
        assert_eq!(told(with(request.clone(), "/data/tenantId", json!(TENANT.to_uppercase()))).await, allowed);
        assert_eq!(told(with(request.clone(), "/data/authenticationContext/user", Value::Null)).await, refused);
        for bad in [
            with(request.clone(), "/type", json!("microsoft.graph.authenticationEvent.other")),
            with(request.clone(), "/data/@odata.type", json!("microsoft.graph.other")),
            with(request.clone(), "/data/tenantId", Value::Null),
            json!([]),
        ] {
            assert_eq!(told(bad).await, (400, "{}".to_owned()));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_entra_tenant_are_fetched_ahead_and_a_call_never_waits_for_them() {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let server = MockServer::start().await;
        let mut jwk = super::ENTRA_KEY.jwk();
        jwk["kid"] = json!("tenant-key");
        let slow = ResponseTemplate::new(200).set_body_json(json!({ "keys": [jwk] })).set_delay(Duration::from_secs(2));
        Mock::given(path("/keys")).respond_with(slow).mount(&server).await;
        entra(&t, json!({ "keys": [], "jwks_uri": format!("{}/keys", server.uri()) })).await;
        let request = fixture_json("entra_request.json");
        let begun = Instant::now();
        assert_eq!(ask_entra(&t, &request).await.0, 401, "nothing is held yet");
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(t.app.refresh_identities().await, 1);
        assert_eq!(ask_entra(&t, &request).await, (200, fixture("entra_allowed.json")));
        assert_eq!(t.app.refresh_identities().await, 1);
        assert_eq!(server.received_requests().await.unwrap().len(), 1, "fresh keys are not asked for again");
        // A key that is not there is looked for a minute later, once.
        let unknown = super::ENTRA_KEY.sign(&json!({ "alg": "RS256", "kid": "k2", "typ": "JWT" }), &entra_claims());
        let ask = async || call(&t, "/sso/entra", Some(&format!("Bearer {unknown}")), request.to_string()).await.0;
        assert_eq!(ask().await, 401);
        t.app.refresh_identities().await;
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
        t.clock.advance(60);
        t.app.poll_feed().await.unwrap();
        assert_eq!(ask().await, 401);
        t.app.refresh_identities().await;
        t.app.refresh_identities().await;
        assert_eq!(server.received_requests().await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_yes_ends_it_at_the_next_sign_in() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, sources) = ada(&t).await;
        let secret = okta(&t, json!({})).await;
        let request = fixture_json("okta_request.json");
        let (allowed, refused) = ((200, fixture("okta_allowed.json")), (200, fixture("okta_refused.json")));
        let ask = async || ask_okta(&t, &secret, &request).await;
        assert_eq!(ask().await, allowed);

        // A picture that is too old, to the second.
        t.clock.advance(10);
        assert_eq!(ask().await, allowed);
        t.clock.advance(1);
        assert_eq!(ask().await, refused, "the feed was not read for eleven seconds");
        t.app.poll_feed().await.unwrap();
        assert_eq!(ask().await, allowed);

        // Evidence withdrawn, and given again.
        let items = t.get(&format!("/v1/subjects/{subject}/attestations")).await.body;
        for item in items["items"].as_array().unwrap() {
            let path = format!("/v1/attestations/{}/revoke", item["id"].as_str().unwrap());
            let revoked = t.send(&sources.token, Method::POST, &path, Some(json!({ "reason": "withdrawn" }))).await;
            assert_eq!(revoked.status, StatusCode::NO_CONTENT);
        }
        assert_eq!(ask().await, refused);
        for body in [crate::app::asylee_record(&sources), crate::app::face_check(&sources)] {
            assert_eq!(t.attest(&sources, &subject, body).await.status, StatusCode::CREATED);
        }
        let (status, text) = ask().await;
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &told["commands"][0]["value"][0]["value"]["allowed"]), (200, &json!(true)));

        // A freeze takes one person.
        let freeze =
            json!({ "id": "stop", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", freeze).await;
        assert_eq!(ask().await, refused);
    })
    .await;
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, _) = ada(&t).await;
        let secret = okta(&t, json!({})).await;
        let request = fixture_json("okta_request.json");
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_allowed.json")));
        t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_refused.json")), "erased");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_asked_about_is_answered_from_memory_and_others_get_a_no_in_time() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, _) = ada(&t).await;
        link(&t, &subject, "acme-okta", "00u2cold").await;
        let secret = okta(&t, json!({})).await;
        entra(&t, json!({})).await;
        let request = fixture_json("okta_request.json");
        let cold = with(request.clone(), "/data/context/user/id", json!("00u2cold"));
        let cold = with(cold, "/data/context/session/userId", json!("00u2cold"));
        let entra_request = fixture_json("entra_request.json");
        let warm = async || {
            assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_allowed.json")));
            assert_eq!(ask_entra(&t, &entra_request).await, (200, fixture("entra_allowed.json")));
        };
        warm().await;
        let refused = (200, fixture("okta_refused.json"));
        if t.database_url.starts_with("postgres") {
            // Somebody holds the table: a read waits for seconds.
            use sqlx::Connection as _;
            let mut other = sqlx::PgConnection::connect(&t.database_url).await.unwrap();
            sqlx::raw_sql("BEGIN; LOCK TABLE links, subjects IN ACCESS EXCLUSIVE MODE")
                .execute(&mut other)
                .await
                .unwrap();
            warm().await;
            let begun = Instant::now();
            assert_eq!(ask_okta(&t, &secret, &cold).await, refused);
            assert!((Duration::from_millis(790)..Duration::from_millis(2_000)).contains(&begun.elapsed()));
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            assert_eq!(ask_okta(&t, &secret, &cold).await, (200, fixture("okta_allowed.json")));
            link(&t, &subject, "acme-okta", "00u3cold").await;
        }
        let coldest = with(request.clone(), "/data/context/user/id", json!("00u3cold"));
        let coldest = with(coldest, "/data/context/session/userId", json!("00u3cold"));
        // A store that fails.
        for table in ["links", "attestations", "subjects", "records"] {
            execute(&t.database_url, &format!("ALTER TABLE {table} RENAME TO {table}_away")).await.unwrap();
        }
        warm().await;
        assert_eq!(ask_okta(&t, &secret, &coldest).await, refused);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_to_sign_in_with_counts_only_in_the_organisations_own_domains() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        for namespace in ["acme-okta", "acme-entra"] {
            link(&t, &subject, namespace, "mailto:ada@acme.example").await;
        }
        let organisation = t.created("/v1/organisations", json!({ "name": "Acme", "verified": true })).await;
        let secret = okta(&t, json!({})).await;
        entra(&t, json!({ "organisation": organisation["id"] })).await;
        let (request, entra_request) = (fixture_json("okta_request.json"), fixture_json("entra_request.json"));
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_refused.json")), "nobody wanted it");
        assert_eq!(ask_entra(&t, &entra_request).await, (200, fixture("entra_refused.json")));
        let wants = json!({ "email_domains": ["acme.example"], "organisation": organisation["id"] });
        for id in ["idp_acme-okta", "idp_acme-entra"] {
            let path = format!("/v1/identity-providers/{id}");
            let changed = t.send(&t.admin, Method::PATCH, &path, Some(wants.clone())).await;
            assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
        }
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_allowed.json")));
        assert_eq!(ask_entra(&t, &entra_request).await, (200, fixture("entra_allowed.json")));
        let login = "/data/context/user/profile/login";
        let shouted = with(request.clone(), login, json!("Ada@ACME.example"));
        assert_eq!(ask_okta(&t, &secret, &shouted).await, (200, fixture("okta_allowed.json")));
        for other in ["ada@other.example", "ada", "@acme.example", "ada@acme.example.evil.example"] {
            let body = with(request.clone(), login, json!(other));
            assert_eq!(ask_okta(&t, &secret, &body).await, (200, fixture("okta_refused.json")), "{other}");
        }
        // What is in `mail` belongs to nobody in particular.
        let principal = "/data/authenticationContext/user/userPrincipalName";
        let guest = with(entra_request, principal, json!("ada_acme.example#EXT#@acme.onmicrosoft.example"));
        assert_eq!(ask_entra(&t, &guest).await, (200, fixture("entra_refused.json")));
        // The id goes before the name.
        let other = t.subject("bo").await;
        link(&t, &other, "acme-okta", OKTA_USER).await;
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_refused.json")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_that_look_at_the_request_are_judged_by_the_address_the_platform_names() {
    on_both(async |t: TestApp| {
        t.activate("embargo").await;
        ada(&t).await;
        let secret = okta(&t, json!({ "resources": ["regional.api"] })).await;
        let request = fixture_json("okta_request.json");
        let told = async |address: Value| -> Value {
            let body = with(request.clone(), "/data/context/request/ipAddress", address);
            let (_, text) = ask_okta(&t, &secret, &body).await;
            let told: Value = serde_json::from_str(&text).unwrap();
            told["commands"][0]["value"][0]["value"].clone()
        };
        let no = json!({ "allowed": false, "resource": "regional.api" });
        // The first is in a country that is not embargoed; a yes by what the request showed lasts as long as a token.
        let yes = json!({ "allowed": true, "resource": "regional.api", "valid_until": super::NOW + 900 });
        assert_eq!(told(json!("192.0.2.10")).await, yes);
        for none in [json!("198.51.100.10"), json!("203.0.113.10"), Value::Null, json!("nonsense"), json!(7)] {
            assert_eq!(told(none).await, no);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisations_people_are_asked_about_as_acting_for_it() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let organisation = t.created("/v1/organisations", json!({ "name": "Acme", "verified": true })).await;
        let secret = okta(&t, json!({ "organisation": organisation["id"] })).await;
        let request = fixture_json("okta_request.json");
        assert_eq!(ask_okta(&t, &secret, &request).await, (200, fixture("okta_allowed.json")));
        t.app.write_admissions().await.unwrap();
        let rows = t.get("/v1/admissions?resource=restricted.api").await.body;
        assert_eq!(rows["items"][0]["acting_for"], organisation["subject"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_told_more_only_where_registration_and_policy_both_say_so() {
    on_both(async |t: TestApp| {
        telling(&t, "telling", "[\"confidence\", \"status\"]").await;
        ada(&t).await;
        let secret = okta(&t, json!({ "discloses": ["evidence", "status"] })).await;
        entra(&t, json!({ "discloses": ["confidence"] })).await;
        let (_, text) = ask_okta(&t, &secret, &fixture_json("okta_request.json")).await;
        let told: Value = serde_json::from_str(&text).unwrap();
        let expected =
            json!({ "allowed": true, "resource": "restricted.api", "status": "eligible", "valid_until": super::UNTIL });
        assert_eq!(told["commands"][1]["value"][0]["value"], expected);
        let (_, text) = ask_entra(&t, &fixture_json("entra_request.json")).await;
        let told: Value = serde_json::from_str(&text).unwrap();
        let claims = told["data"]["actions"][0]["claims"].as_object().unwrap();
        let names: Vec<&str> = claims.keys().map(String::as_str).collect();
        assert_eq!(names, ["eligibility", "eligibility_confidence", "eligibility_resource", "eligibility_valid_until"]);
        let confidence: f64 = claims["eligibility_confidence"].as_str().unwrap().parse().unwrap();
        assert!((0.85..1.0).contains(&confidence), "at least what the policy asks: {confidence}");
    })
    .await;
}
