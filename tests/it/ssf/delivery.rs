//! How it is told: pushed, fetched, held, dropped, and never lost.

use super::{CLAIMS_CHANGE, Endpoint, Got, Party, admit, deliver, dismiss, event, linked, uris, verified};
use crate::app::{TestApp, on_both, work_off};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::service::webhooks::Courier;

/// A stream that is pushed or, without an endpoint, fetched; and a subject with what it rests on.
async fn scene(t: &TestApp, endpoint: Option<&Endpoint>) -> (Party, String, String) {
    t.activate("restricted-us-persons").await;
    let party = Party::register(t, json!({})).await;
    let mut asked = json!({ "events_requested": [CLAIMS_CHANGE] });
    if let Some(endpoint) = endpoint {
        asked["delivery"] = endpoint.delivery();
        asked["delivery"]["authorization_header"] = json!("Bearer s3cret");
    }
    let id = party.stream(t, asked).await;
    let subject = linked(t, "ada").await;
    (party, id, subject)
}

fn allowed(all: &[Value]) -> Vec<bool> {
    all.iter().map(|claims| event(claims).1["claims"]["eligibility"]["allowed"].as_bool().unwrap()).collect()
}

async fn claims(t: &TestApp, got: &[Got]) -> Vec<Value> {
    let mut all = Vec::new();
    for one in got {
        all.push(verified(t, &one.set).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_pushed_in_order_and_again_until_it_is_accepted() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (_, _, subject) = scene(&t, Some(&endpoint)).await;
        let sources = t.sources().await;
        let record = admit(&t, &sources, &subject).await;
        dismiss(&t, &record).await;
        endpoint.answers(|number| if number == 1 { (500, "") } else { (202, "") });
        deliver(&t).await;
        let first = endpoint.taken();
        assert_eq!(first.len(), 1, "what comes later waits");
        assert_eq!(
            (first[0].kind.as_str(), first[0].accept.as_str()),
            ("application/secevent+jwt", "application/json")
        );
        assert_eq!(first[0].authorization, "Bearer s3cret");
        t.clock.advance(4);
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0, "not before its time");
        endpoint.answers(|_| (202, ""));
        t.clock.advance(2);
        deliver(&t).await;
        let got = endpoint.taken();
        assert_eq!(got[0].set, first[0].set, "the same again");
        assert_eq!(allowed(&claims(&t, &got).await), [true, false]);
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_not_pushed_again_and_the_next_one_is() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (party, _, subject) = scene(&t, Some(&endpoint)).await;
        let record = admit(&t, &t.sources().await, &subject).await;
        dismiss(&t, &record).await;
        endpoint.answers(
            |number| if number == 1 { (400, r#"{"err":"invalid_key","description":"x"}"#) } else { (202, "") },
        );
        deliver(&t).await;
        assert_eq!(allowed(&claims(&t, &endpoint.taken()).await), [true, false]);
        t.clock.advance(2 * 86_400);
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0);
        let sql = format!("SELECT state, outcome FROM deliveries WHERE receiver = '{}' ORDER BY position", party.id);
        let kept = crate::support::pairs(&t.database_url, &sql).await;
        assert_eq!(kept[0], ("dead".to_owned(), "invalid_key".to_owned()));
        assert_eq!(kept[1].0, "delivered");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_400_without_a_code_is_tried_again() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (_, _, subject) = scene(&t, Some(&endpoint)).await;
        admit(&t, &t.sources().await, &subject).await;
        endpoint.answers(|number| if number == 1 { (400, "bad gateway") } else { (202, "") });
        deliver(&t).await;
        t.clock.advance(6);
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_comes_again_until_it_is_acknowledged_and_in_order() {
    on_both(async |t: TestApp| {
        let (party, id, subject) = scene(&t, None).await;
        let second = linked(&t, "bo").await;
        let sources = t.sources().await;
        let record = admit(&t, &sources, &subject).await;
        admit(&t, &sources, &second).await;
        dismiss(&t, &record).await;
        let sets = |found: &Value| found["sets"].as_object().unwrap().clone();
        let one = party.poll(&t, &id, json!({ "maxEvents": 1 })).await;
        assert_eq!((sets(&one).len(), &one["moreAvailable"]), (1, &json!(true)));
        let two = party.poll(&t, &id, json!({})).await;
        assert_eq!((sets(&two).len(), &two["moreAvailable"]), (2, &json!(true)), "of one subject the earliest alone");
        let (jti, set) = sets(&one).into_iter().next().unwrap();
        assert_eq!(sets(&two)[&jti], set, "the same again");
        let nothing = party.poll(&t, &id, json!({ "maxEvents": 0, "ack": [jti, "unknown", "out_1.ssf_2"] })).await;
        assert_eq!(nothing, json!({ "sets": {} }));
        let rest = party.poll(&t, &id, json!({})).await;
        assert_eq!((sets(&rest).len(), rest.get("moreAvailable")), (2, None));
        assert!(!sets(&rest).contains_key(&jti));
        // One cannot be taken: it is not given again.
        let mut errors = serde_json::Map::new();
        let refused = sets(&rest).keys().next().unwrap().clone();
        errors.insert(refused.clone(), json!({ "err": "invalid_audience", "description": "x" }));
        let last = party.poll(&t, &id, json!({ "setErrs": errors })).await;
        assert_eq!(sets(&last).len(), 1);
        assert!(!sets(&last).contains_key(&refused));
        let message = refused.split('.').next().unwrap();
        let sql = format!("SELECT state, outcome FROM deliveries WHERE message = '{message}'");
        let kept = crate::support::pairs(&t.database_url, &sql).await;
        assert_eq!(kept, [("dead".to_owned(), "invalid_audience".to_owned())]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_receiver_says_of_anothers_token_changes_nothing() {
    on_both(async |t: TestApp| {
        let (party, id, subject) = scene(&t, None).await;
        let other = Party::register(&t, json!({})).await;
        let theirs = other.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        admit(&t, &t.sources().await, &subject).await;
        let only = |found: &Value| found["sets"].as_object().unwrap().keys().next().cloned();
        let own = only(&party.poll(&t, &id, json!({})).await).unwrap();
        let foreign = only(&other.poll(&t, &theirs, json!({})).await).unwrap();
        // One message, told to each under an id of its own.
        assert_ne!(own, foreign);
        assert_eq!(own.split('.').next(), foreign.split('.').next());
        let error = json!({ "err": "invalid_key", "description": "x" });
        let body = json!({ "ack": [foreign], "setErrs": { (foreign.clone()): error } });
        assert_eq!(only(&party.poll(&t, &id, body).await), Some(own.clone()));
        assert_eq!(only(&party.poll(&t, &id, json!({ "ack": [own] })).await), None);
        assert_eq!(only(&other.poll(&t, &theirs, json!({})).await), Some(foreign));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_something_to_tell() {
    on_both(async |t: TestApp| {
        let (party, id, subject) = scene(&t, None).await;
        let sources = t.sources().await;
        let path = format!("/ssf/poll/{id}");
        let waiting = party.post(&t, &path, json!({}));
        let telling = async {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            admit(&t, &sources, &subject).await;
        };
        let begun = std::time::Instant::now();
        let (found, ()) = tokio::join!(waiting, telling);
        assert_eq!(found.body["sets"].as_object().unwrap().len(), 1, "{}", found.body);
        assert!(begun.elapsed().as_millis() >= 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_stream_holds_what_there_is_and_a_disabled_one_drops_it() {
    on_both(async |mut t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (party, id, subject) = scene(&t, Some(&endpoint)).await;
        let sources = t.sources().await;
        let record = admit(&t, &sources, &subject).await;
        t.app.fan_out().await.unwrap();
        // One waits already when it is paused, one comes while it is.
        party.status(&t, &id, "paused").await;
        deliver(&t).await;
        dismiss(&t, &record).await;
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0);
        let found = party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await;
        assert_eq!(found.body[0]["stream_id"], json!(id));
        t.restart().await;
        party.status(&t, &id, "enabled").await;
        deliver(&t).await;
        assert_eq!(allowed(&claims(&t, &endpoint.taken()).await), [true, false], "held over a restart, in order");
        party.status(&t, &id, "disabled").await;
        let record = admit(&t, &sources, &subject).await;
        deliver(&t).await;
        party.status(&t, &id, "enabled").await;
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0);
        dismiss(&t, &record).await;
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_there_after_a_restart_and_gone_with_its_stream() {
    on_both(async |mut t: TestApp| {
        let (party, id, subject) = scene(&t, None).await;
        admit(&t, &t.sources().await, &subject).await;
        let before = party.poll(&t, &id, json!({})).await;
        t.restart().await;
        assert_eq!(party.poll(&t, &id, json!({})).await, before);
        let path = format!("/ssf/stream?stream_id={id}");
        assert_eq!(party.ask(&t, Method::DELETE, &path, Value::Null).await.status.as_u16(), 204);
        let next = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        work_off(&t.app).await;
        assert_eq!(uris(&party.drain(&t, &next).await), [] as [&str; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_which_nothing_comes_through_for_days_is_paused_and_loses_nothing() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (party, id, subject) = scene(&t, Some(&endpoint)).await;
        endpoint.answers(|_| (500, ""));
        let sources = t.sources().await;
        admit(&t, &sources, &subject).await;
        deliver(&t).await;
        let second = linked(&t, "bo").await;
        admit(&t, &sources, &second).await;
        t.clock.advance(5 * 86_400);
        deliver(&t).await;
        let party = party.renewed(&t).await;
        let status = party.ask(&t, Method::GET, &format!("/ssf/status?stream_id={id}"), Value::Null).await;
        assert_eq!(status.body, json!({ "stream_id": id, "status": "paused", "reason": "failing" }));
        endpoint.taken();
        endpoint.answers(|_| (202, ""));
        party.status(&t, &id, "enabled").await;
        for _ in 0..12 {
            t.clock.advance(2 * 86_400 / 12);
            deliver(&t).await;
        }
        let told = uris(&claims(&t, &endpoint.taken()).await);
        assert_eq!(told.iter().filter(|uri| *uri == CLAIMS_CHANGE).count(), 2, "{told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_tried_for_as_long_as_its_stream_flows() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        let (party, id, subject) = scene(&t, Some(&endpoint)).await;
        endpoint.answers(|_| (500, ""));
        admit(&t, &t.sources().await, &subject).await;
        deliver(&t).await;
        // More often than the schedule of webhooks has tries, each time before it is given up as failing.
        for _ in 0..12 {
            t.clock.advance(2 * 86_400);
            deliver(&t).await;
            let party = Party { token: String::new(), id: party.id.clone(), secret: party.secret.clone() };
            party.renewed(&t).await.status(&t, &id, "enabled").await;
        }
        endpoint.taken();
        endpoint.answers(|_| (202, ""));
        t.clock.advance(2 * 86_400);
        deliver(&t).await;
        let told = uris(&claims(&t, &endpoint.taken()).await);
        assert_eq!(told.iter().filter(|uri| *uri == CLAIMS_CHANGE).count(), 1, "{told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_knows_an_earlier_registration_does_not_drop_what_was_laid_out_for_the_later() {
    on_both(async |t: TestApp| {
        let endpoint = Endpoint::new().await;
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({ "resources": ["elsewhere.api"] })).await;
        party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE], "delivery": endpoint.delivery() })).await;
        let subject = linked(&t, "ada").await;
        let sources = t.sources().await;
        let record = admit(&t, &sources, &subject).await;
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0, "it concerns another resource");

        let behind = t.replica().await;
        let path = format!("/v1/signal-receivers/{}", party.id);
        let wider = json!({ "resources": ["elsewhere.api", "restricted.*"] });
        let changed = t.send(&t.admin, Method::PATCH, &path, Some(wider)).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
        dismiss(&t, &record).await;
        work_off(&t.app).await;
        t.app.fan_out().await.unwrap();
        Courier::new(behind).work_off().await.unwrap();
        assert_eq!(allowed(&claims(&t, &endpoint.taken()).await), [false]);
        deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0, "once");
    })
    .await;
}
