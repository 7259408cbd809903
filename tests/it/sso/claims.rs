//! Userinfo and provided claims: what is told, to whom, by which consent, and in which shape.

use super::{NOW, OKTA_USER, UNTIL, ada, asked, assertion, client, link, part, telling, userinfo};
use crate::app::{TestApp, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe_verify::key::KeySet;
use vouchsafe_verify::profile::PROVIDED_CLAIMS;
use vouchsafe_verify::token::{Audience, Expected, verify};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const LINK: &str = "urn:vouchsafe:params:oauth:token-type:link";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

async fn provider(t: &TestApp, client: &str, change: Value) {
    let mut body = json!({ "name": "Acme", "issuer": "https://acme.auth0.example/", "namespace": "acme-okta",
        "resources": ["restricted.api"], "clients": [client] });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    t.created("/v1/identity-providers", body).await;
}

async fn change(t: &TestApp, change: Value) {
    let answer = t.send(&t.admin, Method::PATCH, "/v1/identity-providers/idp_acme-okta", Some(change)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_told_than_registration_and_policy_both_allow() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let (id, _, token) = client(&t, &["sso:claims"]).await;
        provider(&t, &id, json!({})).await;
        let all = ["status", "confidence", "evidence"];
        let mut seen = 0;
        for (place, policy) in [&all[..0], &all[..1], &all[1..2], &all[2..], &all[..]].into_iter().enumerate() {
            if place > 0 {
                telling(&t, &format!("telling-{place}"), &json!(policy).to_string()).await;
            }
            for mask in 0..8_usize {
                let registered: Vec<&str> = (0..3).filter(|bit| mask & (1 << bit) != 0).map(|bit| all[bit]).collect();
                change(&t, json!({ "discloses": registered })).await;
                let both: BTreeSet<&str> = policy.iter().copied().filter(|name| registered.contains(name)).collect();
                let mut expected = BTreeSet::from(["allowed", "resource", "valid_until"]);
                expected.extend(both.iter().filter(|name| **name != "evidence"));
                let what = format!("{policy:?} {registered:?}");

                let plain = userinfo(&t, &token, json!({ "sub": OKTA_USER })).await;
                assert_eq!(names(&plain.body), BTreeSet::from(["eligibility", "sub"]), "{what}");
                assert_eq!(names(&plain.body["eligibility"]), expected, "{what}");
                let jwt = part(&assertion(&t, &token, asked(OKTA_USER)).await.ok().unwrap(), 1);
                assert_eq!(names(&jwt), BTreeSet::from(["iat", "iss", "sub", "verified_claims"]), "{what}");
                let claims = &jwt["verified_claims"];
                assert_eq!(names(&claims["claims"]), BTreeSet::from(["eligibility"]), "{what}");
                assert_eq!(names(&claims["claims"]["eligibility"]), expected, "{what}");
                let mut how = BTreeSet::from(["trust_framework", "verification_process"]);
                if both.contains("evidence") {
                    how.extend(["assurance_process", "evidence", "time"]);
                }
                assert_eq!(names(&claims["verification"]), how, "{what}");
                seen += 1;
            }
        }
        assert_eq!(seen, 40);
        // Of whoever is not eligible no evidence is told, whatever is disclosed.
        let stranger = t.subject("bo").await;
        link(&t, &stranger, "acme-okta", "00u2example").await;
        let jwt = part(&assertion(&t, &token, asked("00u2example")).await.ok().unwrap(), 1);
        assert_eq!(
            names(&jwt["verified_claims"]["verification"]),
            BTreeSet::from(["trust_framework", "verification_process"])
        );
        let told = &jwt["verified_claims"]["claims"]["eligibility"];
        assert_eq!(*told, json!({ "allowed": false, "resource": "restricted.api", "status": "insufficient" }));
    })
    .await;
}

/// The rules of the Identity Assurance Schema Definition 1.0 for what we say, written out by hand.
fn check_schema(verified: &Value) {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let is_day = |value: &Value| value.as_str().is_some_and(|day| day.len() == 10 && day.as_bytes()[4] == b'-');
    assert_eq!(names(verified), BTreeSet::from(["claims", "verification"]));
    let verification = &verified["verification"];
    assert!(text(&verification["trust_framework"]) && verified["claims"].is_object());
    let Some(evidence) = verification.get("evidence") else { return };
    let evidence = evidence.as_array().unwrap();
    assert!(!evidence.is_empty(), "an empty list is left out");
    for item in evidence {
        let checks = item["check_details"].as_array().unwrap();
        assert!(!checks.is_empty());
        for check in checks {
            assert!(text(&check["check_method"]), "{item}");
            let known = ["check_id", "check_method", "organization", "time"];
            assert!(names(check).iter().all(|name| known.contains(name)), "{item}");
            assert!(check["time"].as_str().unwrap().ends_with('Z'), "a time has its zone");
        }
        let (member, allowed): (&str, &[&str]) = match item["type"].as_str().unwrap() {
            "document" => ("document_details", &["type", "date_of_expiry", "issuer"]),
            "electronic_record" => ("record", &["type", "date_of_expiry", "source"]),
            other => {
                assert_eq!(other, "vouch", "no type of evidence");
                assert!(
                    ["digital_attestation", "written_attestation"]
                        .contains(&item["attestation"]["type"].as_str().unwrap())
                );
                ("attestation", &["type", "reference_number", "date_of_issuance", "date_of_expiry", "voucher"])
            }
        };
        assert_eq!(names(item), BTreeSet::from(["check_details", member, "type"]));
        let details = &item[member];
        assert!(text(&details["type"]), "{item}");
        assert!(names(details).iter().all(|name| allowed.contains(name)), "{item}");
        for date in ["date_of_expiry", "date_of_issuance"] {
            assert!(details.get(date).is_none_or(is_day), "{item}");
        }
        for party in ["issuer", "source"] {
            if let Some(code) = details.get(party).and_then(|party| party.get("country_code")) {
                assert_eq!(code.as_str().unwrap().len(), 3, "alpha-3");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_what_the_standard_says_and_shows_what_the_yes_rests_on() {
    on_both(async |t: TestApp| {
        telling(&t, "telling", "[\"evidence\"]").await;
        let (subject, sources) = ada(&t).await;
        let (id, _, token) = client(&t, &["sso:claims"]).await;
        provider(&t, &id, json!({ "discloses": ["evidence"] })).await;
        // A network's word is no evidence in this sense, nor is the person's own.
        let seen = json!({ "subject": subject, "address": "203.0.113.7" });
        let observed = t.post("/v1/observations", seen).await;
        assert!(observed.status.is_success(), "{}", observed.body);
        let own = json!({ "source": "src_self", "kind": "declaration", "statement": { "type": "states", "frame": "us_status", "states": ["protected"] } });
        let declared = t.post(&format!("/v1/subjects/{subject}/attestations"), own).await;
        assert_eq!(declared.status, StatusCode::CREATED, "{}", declared.body);
        // What speaks against somebody is told to nobody, also where it weighs too little to count for anything.
        t.created("/v1/organisations", json!({ "id": "org_new", "name": "New" })).await;
        let theirs = t.client("Cu", &["vouches:write"], &[], Some("org_new")).await;
        let other = json!({ "subject": subject, "basis": "export_control_record",
            "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
        let against = t.send(&theirs, Method::POST, "/v1/vouches", Some(other)).await;
        assert_eq!(against.status, StatusCode::CREATED, "{}", against.body);

        let jwt = assertion(&t, &token, asked(OKTA_USER)).await.ok().unwrap();
        let header = part(&jwt, 0);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("provided-claims+jwt"), &json!("ES256")));
        let set = t.get("/.well-known/jwks.json").await.body;
        let keys = KeySet::read(set.to_string().as_bytes()).unwrap().keys;
        let held = verify(&jwt, &keys, &PROVIDED_CLAIMS, &Expected { issuer: Some(&t.url), audience: Audience::AnyOne, at: NOW }).unwrap();
        assert!(!held.claims.contains_key("exp") && !held.claims.contains_key("aud"));
        assert_eq!((&held.claims["iss"], &held.claims["iat"]), (&json!(t.url), &json!(NOW)));
        let sub = held.claims["sub"].as_str().unwrap();
        assert!(sub != subject && sub != OKTA_USER, "pairwise");

        let verified = &held.claims["verified_claims"];
        check_schema(verified);
        let expected = json!({ "allowed": true, "resource": "restricted.api", "valid_until": UNTIL });
        assert_eq!(verified["claims"], json!({ "eligibility": expected }));
        let verification = &verified["verification"];
        assert_eq!(verification["trust_framework"], format!("{}/trust-framework", t.url), "never another's framework");
        assert_eq!(verification["assurance_process"], json!({ "policy": "telling@1" }));
        let decision = verification["verification_process"].as_str().unwrap();
        assert_eq!(t.get(&format!("/v1/decisions/{decision}")).await.body["status"], "eligible", "it can be asked for");
        let items = t.get(&format!("/v1/subjects/{subject}/attestations")).await.body;
        let by_kind = |kind: &str| {
            let items = items["items"].as_array().unwrap();
            items.iter().find(|item| item["facts"]["kind"] == kind).unwrap()["id"].clone()
        };
        let (record, document) = (by_kind("registry"), by_kind("document_check"));
        let time = "2026-11-21T00:00:00Z";
        let mut wanted = vec![
            (record.clone(), json!({ "type": "electronic_record",
                "check_details": [{ "check_method": "data", "check_id": record, "organization": "registry", "time": time }],
                "record": { "type": "status_record", "source": { "name": "registry", "country_code": "USA" } } })),
            (document.clone(), json!({ "type": "document",
                "check_details": [
                    { "check_method": "vri", "check_id": document, "organization": "document_vendor", "time": time },
                    { "check_method": "bvr", "check_id": document, "organization": "document_vendor", "time": time }],
                "document_details": { "type": "employment_authorisation", "issuer": { "country_code": "USA" } } })),
        ];
        wanted.sort_by_key(|(id, _)| id.as_str().unwrap().to_owned());
        let wanted: Vec<Value> = wanted.into_iter().map(|(_, item)| item).collect();
        assert_eq!(verification["evidence"], json!(wanted));
        for hidden in ["A05", "203.0.113.7", "declaration", &subject, OKTA_USER, "acme-okta"] {
            assert!(!held.claims["verified_claims"].to_string().contains(hidden), "{hidden}");
        }
        let _ = sources;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_employers_word_is_told_as_a_vouch_of_the_organisation() {
    on_both(async |t: TestApp| {
        telling(&t, "telling", "[\"evidence\"]").await;
        let sources = t.sources().await;
        let organisation = json!({ "id": "org_meridian", "name": "Meridian Labs", "verified": true });
        t.created("/v1/organisations", organisation).await;
        let subject = t.subject("vera").await;
        link(&t, &subject, "acme-okta", OKTA_USER).await;
        let mut check = crate::app::face_check(&sources);
        check["document"] = json!({ "type": "passport", "issuing_country": "IND" });
        check["ends_at"] = json!("2030-05-01T00:00:00Z");
        assert_eq!(t.attest(&sources, &subject, check).await.status, StatusCode::CREATED);
        let employer = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        let word = json!({ "subject": subject, "statement": { "type": "employment", "organisation": "org_meridian", "employed": true,
            "relation": "employee" }, "basis": "hr_record" });
        let vouched = t.send(&employer, Method::POST, "/v1/vouches", Some(word)).await;
        assert_eq!(vouched.status, StatusCode::CREATED, "{}", vouched.body);
        let (id, _, token) = client(&t, &["sso:claims"]).await;
        provider(&t, &id, json!({ "discloses": ["evidence"], "alg": "RS256" })).await;
        let jwt = assertion(&t, &token, asked(OKTA_USER)).await.ok().unwrap();
        assert_eq!(part(&jwt, 0)["alg"], "RS256");
        let verified = part(&jwt, 1)["verified_claims"].clone();
        check_schema(&verified);
        let evidence = verified["verification"]["evidence"].as_array().unwrap();
        let vouch = evidence.iter().find(|item| item["type"] == "vouch").unwrap();
        assert_eq!(vouch["attestation"]["voucher"], json!({ "organization": "Meridian Labs" }));
        assert_eq!(vouch["attestation"]["date_of_issuance"], "2026-11-21");
        assert_eq!(vouch["check_details"][0]["organization"], "Meridian Labs");
        let document = evidence.iter().find(|item| item["type"] == "document").unwrap();
        assert_eq!(document["document_details"]["date_of_expiry"], "2030-05-01");
        assert_eq!(document["document_details"]["issuer"], json!({ "country_code": "IND" }));
    })
    .await;
}

async fn consents(t: &TestApp, subject: &str) -> Vec<Value> {
    let export = t.get(&format!("/v1/subjects/{subject}/export")).await;
    export.body["consents"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_assertion_is_recorded_with_its_purpose_and_goes_with_the_person() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, _) = ada(&t).await;
        let (id, _, token) = client(&t, &["sso:claims"]).await;
        provider(&t, &id, json!({})).await;
        let get = async |purpose: &str, consent: &str| {
            assertion(&t, &token, json!({ "sub": OKTA_USER, "purpose": purpose, "consent": consent })).await
        };
        for wrong in [
            json!({ "sub": OKTA_USER, "purpose": "To sign in" }),
            json!({ "sub": OKTA_USER, "consent": "c" }),
            json!({ "sub": OKTA_USER, "purpose": "ab", "consent": "c" }),
            json!({ "sub": OKTA_USER, "purpose": "x".repeat(301), "consent": "c" }),
            json!({ "sub": OKTA_USER, "purpose": "a\nbc", "consent": "c" }),
            json!({ "sub": OKTA_USER, "purpose": "abc", "consent": "x".repeat(201) }),
        ] {
            let refused = assertion(&t, &token, wrong.clone()).await.err().unwrap();
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        }
        assert_eq!(consents(&t, &subject).await, Vec::<Value>::new());
        assert!(
            get("abc", "1").await.is_ok() && get(&"ü".repeat(300), &"é".repeat(200)).await.is_ok(),
            "at the limits"
        );
        t.clock.advance(5);
        t.app.poll_feed().await.unwrap();
        assert!(get("abc", "1").await.is_ok());
        let held = consents(&t, &subject).await;
        assert_eq!(held.len(), 2);
        let first = held.iter().find(|row| row["purpose"] == "abc").unwrap();
        assert_eq!(
            (&first["consent"], &first["times"], &first["provider"]),
            (&json!("1"), &json!(2), &json!("idp_acme-okta"))
        );
        assert_eq!((&first["first"], &first["last"]), (&json!("2026-11-21T00:00:00Z"), &json!("2026-11-21T00:00:05Z")));
        let audited = t.audited("claims.provided").await;
        assert_eq!(audited.len(), 3);
        assert_eq!(audited[2]["detail"]["consent"], first["id"]);
        assert_eq!((&audited[2]["target"], &audited[2]["detail"]["allowed"]), (&json!(subject), &json!(true)));
        assert!(!json!(audited).to_string().contains("abc"), "the purpose is the person's, sealed");

        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(erased.status, StatusCode::OK);
        let rows = crate::support::pairs(&t.database_url, "SELECT id, subject FROM consents").await;
        assert_eq!(rows, []);
        assert_eq!(get("abc", "1").await.err().unwrap().status, StatusCode::NOT_FOUND);
    })
    .await;
}

async fn exchange(t: &TestApp, id: &str, secret: &str, change: &[(&str, &str)]) -> crate::app::Answer {
    let resource = format!("{}/resources/restricted.api", t.url);
    let subject = format!("acme-okta:{OKTA_USER}");
    let mut form = vec![
        ("grant_type", EXCHANGE),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token_type", LINK),
        ("subject_token", subject.as_str()),
        ("resource", resource.as_str()),
        ("vouchsafe_purpose", "To open the restricted model"),
        ("vouchsafe_consent", "consent-17"),
    ];
    for (name, value) in change {
        form.retain(|(own, _)| own != name);
        if !value.is_empty() {
            form.push((*name, *value));
        }
    }
    let request = t.http.post(format!("{}/oauth2/token", t.url)).basic_auth(id, Some(secret)).form(&form);
    crate::app::answer(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relying_party_fetches_the_claims_by_a_token_that_opens_nothing_else() {
    on_both(async |mut t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, _) = ada(&t).await;
        let (id, secret, token) = client(&t, &["sso:claims", "subjects:read", "tokens:introspect"]).await;
        provider(&t, &id, json!({})).await;
        let issued = exchange(&t, &id, &secret, &[]).await;
        assert_eq!(issued.status, StatusCode::OK, "{}", issued.body);
        let told = |name: &str| issued.body[name].clone();
        assert_eq!(
            (told("issued_token_type"), told("token_type"), told("expires_in"), told("scope")),
            (json!(ACCESS_TOKEN), json!("Bearer"), json!(600), json!("sso:claims"))
        );
        let bound = issued.body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(consents(&t, &subject).await[0]["times"], 0, "nothing was provided yet");

        let fetch = async |method: Method| {
            let response =
                t.http.request(method, format!("{}/sso/userinfo", t.url)).bearer_auth(&bound).send().await.unwrap();
            (response.status(), response.headers().get("content-type").cloned(), response.text().await.unwrap())
        };
        let direct = part(&assertion(&t, &token, asked(OKTA_USER)).await.ok().unwrap(), 1);
        for method in [Method::GET, Method::POST] {
            let (status, kind, jwt) = fetch(method).await;
            assert_eq!((status, kind.unwrap().to_str().unwrap()), (StatusCode::OK, "application/provided-claims+jwt"));
            assert_eq!(part(&jwt, 1), direct, "the same as the provider gets");
        }
        assert_eq!(consents(&t, &subject).await[0]["times"], 3);

        // It is no access token of the client.
        assert_eq!(t.send(&bound, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
        let form = [("token", bound.as_str())];
        let inspected = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&token).form(&form);
        assert_eq!(crate::app::answer(inspected).await.body, json!({ "active": false }));
        let okta =
            super::call(&t, "/sso/okta", Some(&format!("Bearer {bound}")), super::fixture("okta_request.json")).await;
        assert_eq!(okta.0, 401);

        // Over: by time, by the provider, by revocation, with the person.
        t.clock.advance(599);
        t.app.poll_feed().await.unwrap();
        assert_eq!(fetch(Method::GET).await.0, StatusCode::OK);
        t.clock.advance(1);
        assert_eq!(fetch(Method::GET).await.0, StatusCode::UNAUTHORIZED);
        t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &[], None).await;
        let again = async || exchange(&t, &id, &secret, &[]).await.body["access_token"].as_str().unwrap().to_owned();
        let fetch = async |token: &str| t.send(token, Method::GET, "/sso/userinfo", None).await.status;
        let revoked = again().await;
        assert_eq!(fetch(&revoked).await, StatusCode::OK);
        let revoke =
            t.http.post(format!("{}/oauth2/revoke", t.url)).basic_auth(&id, Some(&secret)).form(&[("token", &revoked)]);
        assert_eq!(revoke.send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(fetch(&revoked).await, StatusCode::UNAUTHORIZED);
        let living = again().await;
        change(&t, json!({ "disabled": true })).await;
        assert_eq!(fetch(&living).await, StatusCode::UNAUTHORIZED);
        change(&t, json!({ "disabled": false })).await;
        assert_eq!(fetch(&living).await, StatusCode::OK);
        // With the client, be it for a moment; and with the secret by which it was got, which may have leaked.
        for act in ["disable", "enable"] {
            let path = format!("/v1/clients/{id}/{act}");
            assert_eq!(t.send(&t.admin, Method::POST, &path, None).await.status, StatusCode::NO_CONTENT);
            assert_eq!(fetch(&living).await, StatusCode::UNAUTHORIZED, "{act}");
        }
        let leaked = again().await;
        assert_eq!(fetch(&leaked).await, StatusCode::OK, "in the same second, too");
        let renewed = t.send(&t.admin, Method::POST, &format!("/v1/clients/{id}/secret"), None).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
        assert_eq!(fetch(&leaked).await, StatusCode::UNAUTHORIZED);
        let secret = renewed.body["client_secret"].as_str().unwrap().to_owned();
        let living = exchange(&t, &id, &secret, &[]).await.body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(fetch(&living).await, StatusCode::OK);
        t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(fetch(&living).await, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_relying_parties_is_given_to_the_providers_client_about_its_own_users_only() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let (subject, _) = ada(&t).await;
        let (id, secret, _) = client(&t, &["sso:claims", "tokens:issue"]).await;
        provider(&t, &id, json!({})).await;
        let (stranger, word, _) = client(&t, &["sso:claims"]).await;
        let refused = exchange(&t, &stranger, &word, &[]).await;
        assert_eq!(refused.body["error"], "unauthorized_client");
        let foreign = format!("acme-entra:{}", super::ENTRA_USER);
        let long = "x".repeat(301);
        for (change, error) in [
            (("subject_token", foreign.as_str()), "invalid_request"),
            (("subject_token", "acme-okta:00u9nobody"), "invalid_request"),
            (("subject_token", subject.as_str()), "invalid_request"),
            (("subject_token_type", "urn:vouchsafe:params:oauth:token-type:subject"), "invalid_request"),
            (("vouchsafe_purpose", ""), "invalid_request"),
            (("vouchsafe_purpose", long.as_str()), "invalid_request"),
            (("vouchsafe_consent", ""), "invalid_request"),
            (("audience", "edge"), "invalid_request"),
            (("actor_token", "x"), "invalid_request"),
            (("scope", "admin"), "invalid_scope"),
            (("resource", "regional.api"), "invalid_target"),
            (("resource", "nonsense!"), "invalid_target"),
        ] {
            let answer = exchange(&t, &id, &secret, &[change]).await;
            assert_eq!((answer.status, &answer.body["error"]), (StatusCode::BAD_REQUEST, &json!(error)), "{change:?}");
        }
        assert_eq!(
            exchange(&t, &id, &secret, &[("resource", ""), ("scope", "sso:claims")]).await.status,
            StatusCode::OK
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_is_for_clients_of_a_provider_about_what_it_may_ask() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let (id, _, token) = client(&t, &["sso:claims"]).await;
        let (scopeless, _, scopeless_token) = client(&t, &["subjects:read"]).await;
        let (_, _, foreign) = client(&t, &["sso:claims"]).await;
        provider(&t, &id, json!({ "clients": [id, scopeless], "resources": ["restricted.*"] })).await;
        let resource = format!("{}/resources/restricted.api", t.url);
        for named in ["restricted.api", &resource] {
            let told = userinfo(&t, &token, json!({ "sub": OKTA_USER, "resource": named })).await;
            assert_eq!(told.header("cache-control"), "no-store");
            let eligibility = json!({ "allowed": true, "resource": "restricted.api", "valid_until": UNTIL });
            assert_eq!(told.body, json!({ "sub": OKTA_USER, "eligibility": eligibility }), "{named}");
        }
        // Somebody unknown looks like somebody who is not eligible.
        let stranger = t.subject("bo").await;
        link(&t, &stranger, "acme-okta", "00u2example").await;
        for sub in ["00u2example", "00u9nobody"] {
            let told = userinfo(&t, &token, json!({ "sub": sub, "resource": "restricted.api" })).await;
            let eligibility = json!({ "allowed": false, "resource": "restricted.api" });
            assert_eq!((told.status, told.body), (StatusCode::OK, json!({ "sub": sub, "eligibility": eligibility })));
        }
        let body = json!({ "sub": OKTA_USER, "resource": "restricted.api" });
        for (what, token, body, status) in [
            ("no scope", &scopeless_token, body.clone(), StatusCode::FORBIDDEN),
            ("another provider's client", &foreign, body.clone(), StatusCode::FORBIDDEN),
            ("several resources, none named", &token, json!({ "sub": OKTA_USER }), StatusCode::NOT_FOUND),
            (
                "not its resource",
                &token,
                json!({ "sub": OKTA_USER, "resource": "regional.api" }),
                StatusCode::NOT_FOUND,
            ),
            ("no user", &token, json!({ "resource": "restricted.api" }), StatusCode::UNPROCESSABLE_ENTITY),
            (
                "a member we do not know",
                &token,
                json!({ "sub": OKTA_USER, "admin": true }),
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
        ] {
            assert_eq!(userinfo(&t, token, body).await.status, status, "{what}");
        }
        assert_eq!(t.send(&token, Method::GET, "/sso/userinfo", None).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let bare = t.http.get(format!("{}/sso/userinfo", t.url)).send().await.unwrap();
        assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
        assert!(bare.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        t.clock.advance(11);
        assert_eq!(
            userinfo(&t, &token, body).await.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "a stale picture is no no"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_providers_are_told_different_names_of_one_person() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        ada(&t).await;
        let mut names = BTreeSet::new();
        for (namespace, sub, issuer) in [
            ("acme-okta", OKTA_USER, "https://acme.auth0.example/"),
            ("acme-entra", super::ENTRA_USER, "https://else.auth0.example/"),
        ] {
            let (id, secret, token) = client(&t, &["sso:claims"]).await;
            provider(&t, &id, json!({ "namespace": namespace, "issuer": issuer })).await;
            let provided = part(&assertion(&t, &token, asked(sub)).await.ok().unwrap(), 1);
            let link = format!("{namespace}:{sub}");
            let issued = exchange(&t, &id, &secret, &[("subject_token", &link)]).await;
            let bearer = part(issued.body["access_token"].as_str().unwrap(), 1);
            assert_eq!(bearer["sub"], provided["sub"], "one name at one provider");
            names.insert(provided["sub"].as_str().unwrap().to_owned());
        }
        assert_eq!(names.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_find_the_keys_and_what_is_provided() {
    on_both(async |t: TestApp| {
        let found = t.get("/.well-known/openid-configuration").await.body;
        assert_eq!(found["issuer"], t.url);
        assert_eq!(found["jwks_uri"], format!("{}/.well-known/jwks.json", t.url));
        assert_eq!(found["userinfo_endpoint"], format!("{}/sso/userinfo", t.url));
        assert_eq!(found["trust_frameworks_supported"], json!([format!("{}/trust-framework", t.url)]));
        assert_eq!(found["evidence_supported"], json!(["document", "electronic_record", "vouch"]));
        assert_eq!(found["claims_in_verified_claims_supported"], json!(["eligibility"]));
        assert_eq!(found["verified_claims_supported"], true);
        assert!(
            found.get("authorization_endpoint").is_none() && found["response_types_supported"] == json!([]),
            "nobody signs in here"
        );
    })
    .await;
}
