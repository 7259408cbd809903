//! What is told: to whom it concerns, by the name that they know, and nothing of why.

use super::{
    CLAIMS_CHANGE, CREDENTIAL_CHANGE, PURGED, Party, SESSION_REVOKED, admit, dismiss, event, linked, named, uris,
};
use crate::app::{TestApp, face_check, on_both, work_off};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_eligibility_is_told_with_what_holds_now_and_not_why() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({})).await;
        let id =
            party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE, SESSION_REVOKED, CREDENTIAL_CHANGE] })).await;
        let elsewhere = Party::register(&t, json!({ "resources": ["regional.*"] })).await;
        let theirs = elsewhere.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let unnamed = t.subject("bo").await;
        let record = admit(&t, &sources, &subject).await;
        admit(&t, &sources, &unnamed).await;
        let all = party.drain(&t, &id).await;
        assert_eq!(all.len(), 1, "of whom it has no name it hears nothing: {all:?}");
        assert_eq!(all[0]["sub_id"], named(&t, "ada"));
        let until = t.eligibility(&subject, "restricted.api").await["expires_at"].as_str().unwrap().to_owned();
        let until: i64 = chrono_epoch(&until);
        let wanted = json!({ "event_timestamp": t.clock_secs(), "initiating_entity": "policy",
            "claims": { "eligibility": { "allowed": true, "resource": "restricted.*", "valid_until": until } } });
        assert_eq!(event(&all[0]), (CLAIMS_CHANGE.to_owned(), wanted));
        t.clock.advance(60);
        dismiss(&t, &record).await;
        let all = party.drain(&t, &id).await;
        let wanted = json!({ "event_timestamp": t.clock_secs(), "initiating_entity": "policy",
            "claims": { "eligibility": { "allowed": false, "resource": "restricted.*" } } });
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [(CLAIMS_CHANGE.to_owned(), wanted)]);
        assert_eq!(all[0]["iat"], json!(t.clock_secs()));
        let text = json!(all).to_string();
        assert!(!text.contains("sub_") || !text.contains(&subject), "{text}");
        assert_eq!(elsewhere.drain(&t, &theirs).await, Vec::<Value>::new());
    })
    .await;
}

/// Epoch seconds of an instant, by the calendar's own arithmetic (days from civil, H. Hinnant).
fn chrono_epoch(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (y, m, d) = (number(0, 4), number(5, 7), number(8, 10));
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719_468;
    days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_as_a_change_like_any_other() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({})).await;
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let record = admit(&t, &sources, &subject).await;
        party.drain(&t, &id).await;
        let directive =
            json!({ "id": "stop", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", directive).await;
        work_off(&t.app).await;
        let frozen = party.drain(&t, &id).await;
        assert_eq!(uris(&frozen), [CLAIMS_CHANGE]);
        assert_eq!(
            event(&frozen[0]).1["claims"],
            json!({ "eligibility": { "allowed": false, "resource": "restricted.*" } })
        );
        assert_eq!(event(&frozen[0]).1["initiating_entity"], "policy");
        // Not allowed before, not allowed after: whatever became known of somebody is nobody's business.
        dismiss(&t, &record).await;
        assert_eq!(party.drain(&t, &id).await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_on_the_stream_of_the_resource_itself_alone() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let asked = json!({ "events_requested": [CLAIMS_CHANGE, SESSION_REVOKED] });
        let own = Party::register(&t, json!({ "resources": ["restricted.api"], "for_resource": true })).await;
        let other = Party::register(&t, json!({ "resources": ["restricted.api"] })).await;
        let (id, theirs) = (own.stream(&t, asked.clone()).await, other.stream(&t, asked).await);
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let record = admit(&t, &sources, &subject).await;
        dismiss(&t, &record).await;
        let all = own.drain(&t, &id).await;
        assert_eq!(uris(&all), [CLAIMS_CHANGE, SESSION_REVOKED]);
        let wanted = json!({ "event_timestamp": t.clock_secs(), "initiating_entity": "policy",
            "reason_admin": { "en": "no longer eligible for restricted.*" } });
        assert_eq!(event(&all[1]).1, wanted);
        assert_eq!(uris(&other.drain(&t, &theirs).await), [CLAIMS_CHANGE, CLAIMS_CHANGE]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_hears_of_its_own_tokens_by_its_own_names() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        t.audience("edge").await;
        t.audience("elsewhere").await;
        let asked = json!({ "events_requested": [CLAIMS_CHANGE, CREDENTIAL_CHANGE] });
        let party = Party::register(&t, json!({ "audience": "edge" })).await;
        let other = Party::register(&t, json!({ "audience": "elsewhere" })).await;
        let (id, theirs) = (party.stream(&t, asked.clone()).await, other.stream(&t, asked).await);
        let subject = t.subject("ada").await;
        let record = admit(&t, &sources, &subject).await;
        assert_eq!(party.drain(&t, &id).await, Vec::<Value>::new(), "it never saw them");
        let token = t.token(&subject, "restricted.api", "edge").await;
        let claims: Value = {
            use base64::Engine as _;
            let part = token.split('.').nth(1).unwrap();
            serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        t.app.revoke_jti(&vouchsafe::service::Actor::system(), claims["jti"].as_str().unwrap()).await.unwrap();
        let all = party.drain(&t, &id).await;
        let wanted = json!({ "event_timestamp": t.clock_secs(), "initiating_entity": "policy",
            "credential_type": "verifiable-credential", "change_type": "revoke" });
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [(CREDENTIAL_CHANGE.to_owned(), wanted)]);
        let name = json!({ "format": "iss_sub", "iss": t.app.issuer, "sub": claims["sub"] });
        assert_eq!(all[0]["sub_id"], name, "as the token itself named them");
        t.token(&subject, "restricted.api", "edge").await;
        dismiss(&t, &record).await;
        let mut told = uris(&party.drain(&t, &id).await);
        told.sort_unstable();
        assert_eq!(told, [CREDENTIAL_CHANGE, CLAIMS_CHANGE]);
        assert_eq!(other.drain(&t, &theirs).await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_several_names_is_told_by_all_of_them() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let key = vouchsafe::token::keys::SigningKey::generate(
            vouchsafe::token::keys::Algorithm::Es256,
            vouchsafe::token::keys::Purpose::Access,
        );
        let provider = json!({ "name": "idp", "issuer": "https://idp.example", "audiences": ["app"], "namespace": "idp",
            "keys": [key.unwrap().0.jwk] });
        t.created("/v1/identity-providers", provider).await;
        let party = Party::register(&t, json!({})).await;
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let subject = linked(&t, "ada").await;
        let more = json!({ "namespace": "idp", "id": "ada-too" });
        t.created(&format!("/v1/subjects/{subject}/links"), more).await;
        admit(&t, &t.sources().await, &subject).await;
        let all = party.drain(&t, &id).await;
        assert_eq!(all[0]["sub_id"]["format"], "aliases");
        let mut names = all[0]["sub_id"]["identifiers"].as_array().unwrap().clone();
        names.sort_by_key(|name| name["sub"].as_str().unwrap().to_owned());
        let name = |sub: &str| json!({ "format": "iss_sub", "iss": "https://idp.example", "sub": sub });
        assert_eq!(names, [name("ada-there"), name("ada-too")], "by the issuer that gave the names");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_subject_is_told_as_gone_by_the_name_that_nobody_knows_any_more() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({})).await;
        let purges = party.stream(&t, json!({ "events_requested": [PURGED] })).await;
        let other = Party::register(&t, json!({})).await;
        let changes = other.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let removed = Party::register(&t, json!({})).await;
        let none = removed.stream(&t, json!({ "events_requested": [PURGED, CLAIMS_CHANGE] })).await;
        let subject = linked(&t, "ada").await;
        let body = json!({ "stream_id": none, "subject": named(&t, "ada") });
        assert_eq!(removed.post(&t, "/ssf/subjects:remove", body).await.status, StatusCode::NO_CONTENT);
        admit(&t, &t.sources().await, &subject).await;
        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(erased.status, StatusCode::OK, "{}", erased.body);
        for (_, body) in crate::support::pairs(&t.database_url, "SELECT topic, body FROM outbox").await {
            assert!(!body.contains("ada-there"), "{body}");
        }
        let all = party.drain(&t, &purges).await;
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [(PURGED.to_owned(), json!({}))]);
        assert_eq!(all[0]["sub_id"], named(&t, "ada"));
        let all = other.drain(&t, &changes).await;
        // What waited unsent cannot name them any more; that they may not is told all the same.
        assert_eq!(uris(&all), [CLAIMS_CHANGE]);
        assert_eq!(all[0]["sub_id"], named(&t, "ada"));
        assert_eq!(event(&all[0]).1["claims"]["eligibility"]["allowed"], json!(false));
        assert_eq!(removed.drain(&t, &none).await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_changes_no_answer_is_told_to_nobody() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({})).await;
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE, CREDENTIAL_CHANGE] })).await;
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        t.attest(&sources, &subject, face_check(&sources)).await;
        work_off(&t.app).await;
        assert_eq!(party.drain(&t, &id).await, Vec::<Value>::new());
    })
    .await;
}
