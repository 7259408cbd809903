//! Subjects are looked at again when they are due, when something was said of them, and when orders change.

use crate::app::{Sources, TestApp, on_both, work_off};
use crate::support::pairs;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

async fn later(t: &TestApp, seconds: i64) {
    t.clock.advance(seconds);
    work_off(&t.app).await;
}

/// Messages of this topic, oldest first.
async fn told(t: &TestApp) -> Vec<Value> {
    let sql = "SELECT id, body FROM outbox WHERE topic = 'eligibility.changed' ORDER BY position";
    let rows = pairs(&t.database_url, sql).await;
    rows.into_iter().map(|(_, body)| serde_json::from_str(&body).unwrap()).collect()
}

/// (resource, previous status, status) of each message.
fn changes(told: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    told.iter().map(|body| (text(&body["resource"]), text(&body["previous"]), text(&body["status"]))).collect()
}

fn change(previous: &str, status: &str) -> (String, String, String) {
    ("restricted.*".to_owned(), previous.to_owned(), status.to_owned())
}

async fn standings(t: &TestApp) -> Vec<(String, String)> {
    pairs(&t.database_url, "SELECT resource, status FROM standings ORDER BY subject, resource").await
}

async fn ready(t: &TestApp) -> Sources {
    t.activate("restricted-us-persons").await;
    t.sources().await
}

async fn freeze(t: &TestApp, pattern: &str) {
    let directive = json!({ "id": "stop", "authority": "a", "citation": "c", "actions": [{ "freeze": pattern }] });
    t.created("/v1/directives", directive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_status_is_told_once_with_its_decision_and_entry() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let bare = t.subject("bare").await;
        let subject = t.eligible_subject(&sources, "ada").await;
        work_off(&t.app).await;
        work_off(&t.app).await;
        let messages = told(&t).await;
        assert_eq!(changes(&messages), [change("none", "eligible")]);
        let first = &messages[0];
        assert_eq!((first["subject"].as_str(), &first["causes"]), (Some(subject.as_str()), &json!(["evidence"])));
        let entries = t.audited("eligibility.changed").await;
        assert_eq!((entries.len(), &entries[0]["detail"]), (1, first));
        let path = format!("/v1/decisions/{}", first["decision"].as_str().unwrap());
        assert_eq!(t.get(&path).await.body["status"], "eligible", "the decision it names can be read");
        assert_eq!(standings(&t).await.len(), 1, "nothing was said of {bare}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_are_told_to_nobody_and_the_end_is() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        t.eligible_subject(&sources, "ada").await;
        work_off(&t.app).await;
        assert_eq!(told(&t).await.len(), 1);
        // The policy promises 90 days at most. The document check (0.92 x 0.97: 16.587 units) holds belief 0.85
        // (11.333 units) for 90 + 365 log2(16.587 / 11.333) = 290.6 days.
        for renewals in 1..=3 {
            later(&t, 90 * DAY - 1).await;
            assert_eq!(t.audited("eligibility.renewed").await.len(), renewals - 1, "not before its end");
            later(&t, 1).await;
            assert_eq!((t.audited("eligibility.renewed").await.len(), told(&t).await.len()), (renewals, 1));
        }
        later(&t, 20 * DAY).await;
        assert_eq!(told(&t).await.len(), 1, "day 290");
        later(&t, DAY).await;
        let messages = told(&t).await;
        assert_eq!(changes(&messages), [change("none", "eligible"), change("eligible", "insufficient")]);
        assert_eq!(messages[1]["causes"], json!(["time"]));
        assert_eq!(standings(&t).await, [("restricted.*".to_owned(), "insufficient".to_owned())]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_die_with_the_status_they_state() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let (ada, bob) = (t.eligible_subject(&sources, "ada").await, t.eligible_subject(&sources, "bob").await);
        t.audience("gw").await;
        for subject in [&ada, &bob] {
            t.token(subject, "restricted.api", "gw").await;
        }
        work_off(&t.app).await;
        let revoked =
            async || pairs(&t.database_url, "SELECT subject, jti FROM tokens WHERE revoked_at_ms IS NOT NULL").await;
        assert_eq!(revoked().await, []);
        for item in crate::app::attestations(&t, &ada).await {
            let path = format!("/v1/attestations/{}/revoke", item["id"].as_str().unwrap());
            let body = json!({ "reason": "test", "from_start": false });
            assert!(t.send(&sources.token, Method::POST, &path, Some(body)).await.status.is_success());
        }
        later(&t, 1).await;
        let dead = revoked().await;
        assert_eq!(dead.iter().map(|(subject, _)| subject).collect::<Vec<_>>(), [&ada]);
        let entries = t.audited("tokens.revoked").await;
        assert_eq!(entries[0]["detail"], json!({ "cause": "not_eligible", "tokens": [dead[0].1] }));
        assert_eq!(changes(&told(&t).await)[2], change("eligible", "insufficient"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_asked_for_in_the_commit_of_the_status() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let subject = t.eligible_subject(&sources, "ada").await;
        work_off(&t.app).await;
        assert_eq!(t.audited("case.opened").await.len(), 0);
        let contrary = json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG",
            "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
        assert_eq!(t.attest(&sources, &subject, contrary).await.status, StatusCode::CREATED);
        work_off(&t.app).await;
        assert_eq!(changes(&told(&t).await)[1..], [change("eligible", "review")]);
        let opened = t.audited("case.opened").await;
        assert_eq!((opened.len(), &opened[0]["detail"]["subject"]), (1, &json!(subject)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_everybody_also_when_it_names_one_member_of_a_family() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        t.eligible_subject(&sources, "bob").await;
        t.audience("gw").await;
        t.token(&ada, "restricted.api", "gw").await;
        t.token(&ada, "restricted.web", "gw").await;
        work_off(&t.app).await;
        freeze(&t, "restricted.api").await;
        work_off(&t.app).await;
        let messages = told(&t).await;
        let frozen: Vec<_> =
            changes(&messages).into_iter().filter(|(resource, ..)| resource == "restricted.api").collect();
        let expected = ("restricted.api".to_owned(), "none".to_owned(), "ineligible".to_owned());
        assert_eq!(frozen, [expected.clone(), expected], "both subjects, and the rest of the family stands");
        assert_eq!(messages.len(), 4);
        let sql = "SELECT resource, subject FROM tokens WHERE revoked_at_ms IS NOT NULL";
        assert_eq!(pairs(&t.database_url, sql).await, [("restricted.api".to_owned(), ada)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_did_not_get_to_the_next_one_finds() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        t.eligible_subject(&sources, "ada").await;
        // This process read the feed and ended before it looked.
        t.app.poll_feed().await.unwrap();
        let next = t.replica().await;
        work_off(&next).await;
        assert_eq!(changes(&told(&t).await), [change("none", "eligible")]);
        // An order, too: it is in no row of the feed that the third process reads.
        freeze(&t, "restricted.*").await;
        let third = t.replica().await;
        work_off(&third).await;
        let messages = told(&t).await;
        assert_eq!(changes(&messages)[1..], [change("eligible", "ineligible")]);
        assert_eq!(messages[1]["causes"], json!(["rules"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_look_at_once_tell_each_change_once() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let replica = t.replica().await;
        for n in 0..12 {
            t.eligible_subject(&sources, &format!("s{n}")).await;
        }
        for round in 1..=2 {
            let work = async |app: &vouchsafe::service::App| {
                app.poll_feed().await.unwrap();
                // One that was overtaken looks again.
                for _ in 0..6 {
                    app.reassess().await.unwrap();
                }
            };
            tokio::join!(work(&t.app), work(&replica));
            assert_eq!((told(&t).await.len(), t.audited("eligibility.changed").await.len()), (12 * round, 12 * round));
            if round == 1 {
                freeze(&t, "restricted.*").await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standings_are_in_the_export_and_go_with_the_subject() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let subject = t.eligible_subject(&sources, "ada").await;
        work_off(&t.app).await;
        let export = t.get(&format!("/v1/subjects/{subject}/export")).await.body;
        let decision = &told(&t).await[0]["decision"];
        assert_eq!(
            export["standings"],
            json!([{ "resource": "restricted.*", "status": "eligible", "decision": decision,
                "due_at": "2027-02-19T00:00:00Z", "level": null }])
        );
        let answer = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        work_off(&t.app).await;
        assert_eq!(standings(&t).await, []);
        assert_eq!(told(&t).await.len(), 1);
    })
    .await;
}
