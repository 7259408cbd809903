//! An employer's signed vouch, against the organisation's registered key.

use crate::app::{Answer, Sources, TestApp, face_check, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};

/// 2026-11-21T00:00:00Z.
pub(crate) const NOW: i64 = 1_795_219_200;

pub(crate) struct Employer {
    key: SigningKey,
}

impl Employer {
    pub(crate) async fn register(t: &TestApp, id: &str) -> Self {
        let (key, _) = SigningKey::generate(Algorithm::Es256, Purpose::Access).unwrap();
        t.created("/v1/organisations", json!({ "id": id, "name": id, "verified": true, "keys": [key.jwk] })).await;
        Self { key }
    }

    pub(crate) fn claims(&self, t: &TestApp, subject: &str, jti: &str) -> Value {
        json!({ "iss": "org_meridian", "sub": subject, "aud": t.url, "iat": NOW - 5, "exp": NOW + 600, "jti": jti,
            "vouch": { "frame": "employer", "employed": true, "relation": "employee", "basis": "hr_record" } })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key.sign("vouch+jwt", claims).unwrap()
    }
}

pub(crate) async fn send(t: &TestApp, token: &str) -> Answer {
    t.post("/v1/vouches", json!({ "vouch": token })).await
}

/// A visa holder: identity proofed, own words against the main criterion.
pub(crate) async fn visa_holder(t: &TestApp) -> String {
    let sources = t.sources().await;
    visa_holder_named(t, &sources, "visa").await
}

pub(crate) async fn visa_holder_named(t: &TestApp, sources: &Sources, name: &str) -> String {
    let subject = t.subject(name).await;
    assert_eq!(t.attest(sources, &subject, face_check(sources)).await.status, StatusCode::CREATED);
    let declaration = json!({ "source": "src_self", "kind": "declaration",
        "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
    t.created(&format!("/v1/subjects/{subject}/attestations"), declaration).await;
    subject
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_vouch_of_a_listed_employer_makes_eligible_by_the_exemption_only() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let employer = Employer::register(&t, "org_meridian").await;
        let subject = visa_holder(&t).await;
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "ineligible");
        let recorded = send(&t, &employer.sign(&employer.claims(&t, &subject, "j1"))).await;
        assert_eq!(recorded.status, StatusCode::CREATED, "{}", recorded.body);
        let decision = t.eligibility(&subject, "restricted.api").await;
        assert_eq!((&decision["status"], &decision["exemption"]), (&json!("eligible"), &json!("annex-a")));
        // Identity .92 * .97 = .8924 is the weakest; the vouch alone is .92 * .99 = .9108.
        assert_eq!(decision["confidence"], 0.89);
        // The organisation withdraws it.
        let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        let path = format!("/v1/vouches/{}/withdraw", recorded.body["id"].as_str().unwrap());
        assert_eq!(t.post(&path, Value::Null).await.status, StatusCode::FORBIDDEN);
        let withdrawn = t.send(&own, reqwest::Method::POST, &path, None).await;
        assert_eq!(withdrawn.status, StatusCode::NO_CONTENT);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "ineligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vouch_that_is_not_exactly_right_changes_nothing() {
    on_both(async |t: TestApp| {
        let employer = Employer::register(&t, "org_meridian").await;
        let subject = visa_holder(&t).await;
        let before = t.get(&format!("/v1/subjects/{subject}")).await.body["version"].clone();
        let good = employer.claims(&t, &subject, "j1");
        let with = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            claims
        };
        let mut expired = with("exp", json!(NOW - 40));
        expired["iat"] = json!(NOW - 700);
        let (stranger, _) = SigningKey::generate(Algorithm::Es256, Purpose::Access).unwrap();
        let mut altered = employer.sign(&good);
        let last_but_one = altered.len() - 2..altered.len() - 1;
        let other = if &altered[last_but_one.clone()] == "A" { "Q" } else { "A" };
        altered.replace_range(last_but_one, other);
        for (token, status, code) in [
            (stranger.sign("vouch+jwt", &good).unwrap(), StatusCode::UNAUTHORIZED, "signature_invalid"),
            (altered, StatusCode::UNAUTHORIZED, "signature_invalid"),
            (employer.sign(&with("iss", json!("org_other"))), StatusCode::UNAUTHORIZED, "signature_invalid"),
            (
                employer.sign(&with("aud", json!("https://elsewhere.example"))),
                StatusCode::BAD_REQUEST,
                "wrong_audience",
            ),
            (employer.sign(&expired), StatusCode::BAD_REQUEST, "stale"),
            (employer.sign(&with("iat", json!(NOW + 60))), StatusCode::BAD_REQUEST, "not_yet_valid"),
            (employer.sign(&with("jti", Value::Null)), StatusCode::BAD_REQUEST, "malformed"),
            (
                employer.sign(&with("vouch", json!({ "frame": "us_status", "employed": true }))),
                StatusCode::BAD_REQUEST,
                "malformed",
            ),
            (employer.sign(&with("sub", json!("sub_unknown"))), StatusCode::NOT_FOUND, "not_found"),
            ("garbage".to_owned(), StatusCode::BAD_REQUEST, "malformed"),
        ] {
            let answer = send(&t, &token).await;
            assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{}", answer.body);
        }
        assert_eq!(t.get(&format!("/v1/subjects/{subject}")).await.body["version"], before);
        // Good once; the second time it is a replay.
        let token = employer.sign(&good);
        assert_eq!(send(&t, &token).await.status, StatusCode::CREATED);
        assert_eq!(send(&t, &token).await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_vouches_for_its_own_people_only() {
    on_both(async |t: TestApp| {
        let employer = Employer::register(&t, "org_meridian").await;
        t.created("/v1/organisations", json!({ "id": "org_other", "name": "Other", "verified": true })).await;
        let subject = visa_holder(&t).await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "payroll", "id": "77" })).await;
        let mut claims = employer.claims(&t, "payroll:77", "by-link");
        assert_eq!(send(&t, &employer.sign(&claims)).await.status, StatusCode::CREATED, "a link names the subject as well");
        claims["sub"] = json!("payroll:78");
        claims["jti"] = json!("unlinked");
        assert_eq!(send(&t, &employer.sign(&claims)).await.status, StatusCode::NOT_FOUND);
        let other = t.client("Oz", &["vouches:write"], &[], Some("org_other")).await;
        let body = json!({ "subject": subject, "statement": { "type": "employment", "organisation": "org_meridian", "employed": true } });
        let answer = t.send(&other, reqwest::Method::POST, "/v1/vouches", Some(body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_vouch_ends_tokens_at_every_gateway_at_once_and_leaves_the_past_as_it_was() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        Employer::register(&t, "org_meridian").await;
        t.created("/v1/organisations", json!({ "id": "org_other", "name": "Other", "verified": true })).await;
        let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        let other = t.client("Oz", &["vouches:write"], &[], Some("org_other")).await;
        let subject = visa_holder(&t).await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "payroll", "id": "77" })).await;
        let vouch = json!({ "subject": "payroll:77", "basis": "hr_record",
            "statement": { "type": "employment", "organisation": "org_meridian", "employed": true } });
        let recorded = t.send(&own, Method::POST, "/v1/vouches", Some(vouch)).await;
        assert_eq!(recorded.status, StatusCode::CREATED, "{}", recorded.body);
        let key = t.gateway("edge", true).await;
        let bearer = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
        let by_token = async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &bearer)]).await;
        let by_link =
            async || t.check("restricted.api", &[("x-gateway-key", &key), ("x-vouchsafe-caller", "payroll:77")]).await;
        assert_eq!((by_token().await.status, by_link().await.status), (StatusCode::OK, StatusCode::OK));
        let before = t.eligibility(&subject, "restricted.api").await;

        let path = format!("/v1/vouches/{}/withdraw", recorded.body["id"].as_str().unwrap());
        assert_eq!(t.send(&other, Method::POST, &path, None).await.status, StatusCode::NOT_FOUND);
        assert_eq!(by_token().await.status, StatusCode::OK, "another organisation withdraws nothing");
        // In the same second as the decision, and a second time.
        for _ in 0..2 {
            assert_eq!(t.send(&own, Method::POST, &path, None).await.status, StatusCode::NO_CONTENT);
        }
        for refused in [by_token().await, by_link().await] {
            let reason = refused.header("x-eligibility-reason");
            assert_eq!((refused.status, reason), (StatusCode::FORBIDDEN, "status.ineligible"));
        }
        let now = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(now["status"], "ineligible");
        // What was decided before is derived again as it was, though it bears the same second.
        for decision in [&before, &now] {
            let again = t.decided(decision).await;
            assert_eq!((again.status, &again.body), (StatusCode::OK, decision));
        }
    })
    .await;
}
