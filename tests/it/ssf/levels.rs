//! How sure it is that somebody may: told where the receiver's registration and the policy both say so.

use super::{CLAIMS_CHANGE, Party, admit, dismiss, event, linked, uris};
use crate::app::{Sources, TestApp, face_check, on_both, work_off};
use crate::sso::telling;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const LEVEL: &str = "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change";

/// A second examiner, whose look makes a yes surer; its statement, to be taken back.
async fn second_look(t: &TestApp, subject: &str) -> String {
    let body = json!({ "name": "second", "kind": "document_vendor", "max_grade": "SUPERIOR" });
    let vendor = t.created("/v1/sources", body).await["id"].as_str().unwrap().to_owned();
    let token = t.client("Sal", &["attestations:write"], &[&vendor], None).await;
    let sources = Sources { registry: vendor.clone(), vendor, token };
    let said = t.attest(&sources, subject, face_check(&sources)).await;
    assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
    work_off(&t.app).await;
    said.body["id"].as_str().unwrap().to_owned()
}

/// Confidence as the API has it, in hundredths.
async fn hundredths(t: &TestApp, subject: &str) -> i64 {
    let confidence = &t.eligibility(subject, "restricted.api").await["confidence"];
    confidence.to_string().parse::<f64>().map_or(-1, |confidence| format!("{:.0}", confidence * 100.0).parse().unwrap())
}

fn change(t: &TestApp, current: &str, more: Value) -> (String, Value) {
    let mut members = json!({ "event_timestamp": t.clock_secs(), "initiating_entity": "policy",
        "namespace": "vouchsafe-confidence", "current_level": current,
        "reason_admin": { "en": "confidence in the eligibility for restricted.*" } });
    members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (LEVEL.to_owned(), members)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_told_where_registration_and_policy_both_say_so() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let asked = json!({ "events_requested": [CLAIMS_CHANGE, LEVEL] });
        let may = Party::register(&t, json!({ "discloses": ["confidence"] })).await;
        let may_not = Party::register(&t, json!({})).await;
        let (id, theirs) = (may.stream(&t, asked.clone()).await, may_not.stream(&t, asked).await);
        let supported = async |party: &Party| {
            let streams = party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body;
            streams[0]["events_supported"].as_array().unwrap().contains(&json!(LEVEL))
        };
        assert_eq!((supported(&may).await, supported(&may_not).await), (true, false));
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let record = admit(&t, &sources, &subject).await;
        assert_eq!(uris(&may.drain(&t, &id).await), [CLAIMS_CHANGE], "the policy discloses nothing");
        let standings = "SELECT subject, level FROM standings WHERE level IS NOT NULL";
        assert_eq!(crate::support::pairs(&t.database_url, standings).await, []);
        telling(&t, "telling-status", r#"["status", "evidence"]"#).await;
        work_off(&t.app).await;
        let second = second_look(&t, &subject).await;
        dismiss(&t, &second).await;
        assert_eq!(may.drain(&t, &id).await, Vec::<Value>::new(), "nor does it disclose confidence");

        telling(&t, "telling", r#"["confidence"]"#).await;
        work_off(&t.app).await;
        assert_eq!(hundredths(&t, &subject).await, 89);
        let all = may.drain(&t, &id).await;
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [change(&t, "0.8", json!({}))]);
        assert_eq!(all[0]["sub_id"], super::named(&t, "ada"));
        t.clock.advance(1);
        let second = second_look(&t, &subject).await;
        let surer = hundredths(&t, &subject).await;
        assert!((90..100).contains(&surer), "{surer}");
        let all = may.drain(&t, &id).await;
        let up = json!({ "previous_level": "0.8", "change_direction": "increase" });
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [change(&t, "0.9", up)]);
        t.clock.advance(1);
        dismiss(&t, &second).await;
        let all = may.drain(&t, &id).await;
        let down = json!({ "previous_level": "0.9", "change_direction": "decrease" });
        assert_eq!(all.iter().map(event).collect::<Vec<_>>(), [change(&t, "0.8", down)]);
        let export = t.get(&format!("/v1/subjects/{subject}/export")).await.body;
        assert!(export["standings"].as_array().unwrap().iter().any(|standing| standing["level"] == "0.8"));

        // Who may not has no level; who may again has one of its own, and none before.
        t.clock.advance(1);
        dismiss(&t, &record).await;
        assert_eq!(uris(&may.drain(&t, &id).await), [CLAIMS_CHANGE]);
        let record = admit(&t, &sources, &subject).await;
        let all = may.drain(&t, &id).await;
        assert_eq!(uris(&all), [CLAIMS_CHANGE, LEVEL]);
        assert_eq!(event(&all[1]).1.get("previous_level"), None);
        assert_eq!(uris(&may_not.drain(&t, &theirs).await), [CLAIMS_CHANGE; 3], "its registration says nothing");

        // What waits is not told either once the registration says so no more.
        second_look(&t, &subject).await;
        let path = format!("/v1/signal-receivers/{}", may.id);
        let changed = t.send(&t.admin, Method::PATCH, &path, Some(json!({ "discloses": [] }))).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
        dismiss(&t, &record).await;
        assert_eq!(uris(&may.drain(&t, &id).await), [CLAIMS_CHANGE]);
        assert!(!supported(&may).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_that_is_renewed_with_another_level_is_told_and_recorded() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        telling(&t, "telling", r#"["confidence"]"#).await;
        let party = Party::register(&t, json!({ "discloses": ["confidence"] })).await;
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE, LEVEL] })).await;
        let subject = linked(&t, "ada").await;
        admit(&t, &t.sources().await, &subject).await;
        second_look(&t, &subject).await;
        assert_eq!(uris(&party.drain(&t, &id).await), [CLAIMS_CHANGE, LEVEL, LEVEL]);
        // It fades: sooner or later a renewal finds it below its tenth, before the yes itself ends.
        let mut party = party;
        for _ in 0..100 {
            let before = t.audited("eligibility.renewed").await.len();
            t.clock.advance(7 * 86_400);
            work_off(&t.app).await;
            party = party.renewed(&t).await;
            let told = uris(&party.drain(&t, &id).await);
            if told.is_empty() {
                continue;
            }
            assert_eq!(told, [LEVEL], "it fades below a tenth before it ends");
            assert_eq!(t.audited("eligibility.renewed").await.len(), before + 1);
            return;
        }
        panic!("it never faded");
    })
    .await;
}
