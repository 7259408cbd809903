//! An appeal has a clock and is answered by somebody who did not decide before.

use crate::app::{Answer, TestApp, answer, on_both, status};
use crate::cases::{Scene, confirm, contradicted, decide, later, propose, scene, soon, tend, the_case};
use crate::operators::{operator, refusal};
use crate::support::pairs;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::service::operators::Role;

async fn appeal(t: &TestApp, subject: &str) -> Answer {
    let body = json!({ "subject": subject, "resource": "restricted.api", "text": "the register has it wrong" });
    t.post("/v1/appeals", body).await
}

async fn respond(t: &TestApp, token: &str, id: &str, verdict: &str, reason: &str) -> Answer {
    let body = json!({ "verdict": verdict, "reason": reason });
    t.send(token, Method::POST, &format!("/v1/appeals/{id}/answer"), Some(body)).await
}

/// A subject about whom rio and sam decided to leave it as it is.
async fn left_in_review(t: &TestApp, scene: &Scene) -> (String, String) {
    let (subject, vouch) = contradicted(t, scene, "ada").await;
    tend(t).await;
    let case = the_case(t, &scene.rio, &subject).await;
    decide(t, &scene.rio, &scene.sam, &case, json!({ "reason": "wait" })).await;
    (subject, vouch)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appeal_is_due_in_thirty_days_and_seen_when_it_is_late() {
    on_both(async |mut t: TestApp| {
        let mut scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        let opened = appeal(&t, &subject).await;
        assert_eq!((opened.status, opened.header("etag")), (StatusCode::CREATED, "\"1\""), "{}", opened.body);
        let id = opened.body["id"].as_str().unwrap().to_owned();
        assert_eq!(
            (&opened.body["due_at"], &opened.body["overdue"], &opened.body["status"]),
            (&json!("2026-12-21T00:00:00Z"), &json!(false), &json!("review"))
        );
        let decision = opened.body["decision"].as_str().unwrap();
        assert_eq!(t.get(&format!("/v1/decisions/{decision}")).await.body["status"], "review");
        assert_eq!(refusal(&appeal(&t, &subject).await), (409, "conflict"), "one about the same at a time");
        // The words are for whoever decides, sealed, and in the person's export.
        assert!(opened.body.get("text").is_none());
        let seen = t.send(&scene.rio, Method::GET, &format!("/v1/appeals/{id}"), None).await;
        assert_eq!(seen.body["text"], "the register has it wrong");
        let exported = t.get(&format!("/v1/subjects/{subject}/export")).await.body;
        assert_eq!(exported["appeals"][0]["text"], "the register has it wrong");
        assert!(pairs(&t.database_url, "SELECT id, body FROM appeals").await[0].1.find("register").is_none());

        later(&mut t, &mut scene, 30 * 86_400 - 1).await;
        assert_eq!(t.get(&format!("/v1/appeals/{id}")).await.body["overdue"], false);
        soon(&t, 1).await;
        assert_eq!(t.get(&format!("/v1/appeals/{id}")).await.body["overdue"], true);
        soon(&t, 60).await;
        soon(&t, 60).await;
        let told = t.audited("appeal.overdue").await;
        assert_eq!((told.len(), &told[0]["target"]), (1, &json!(id)), "told once");

        let withdraw = format!("/v1/vouches/{vouch}/withdraw");
        t.send(&scene.employer, Method::POST, &withdraw, None).await;
        let other = t.subject("other").await;
        assert_eq!(appeal(&t, &other).await.status, StatusCode::CREATED);
        let (resource, text) = ("restricted.api", "x");
        let sources = &scene.sources;
        let eligible = t.eligible_subject(sources, "eve").await;
        let body = json!({ "subject": eligible, "resource": resource, "text": text });
        let refused = t.post("/v1/appeals", body).await;
        assert_eq!((refusal(&refused), &refused.body["errors"][0]["pointer"]), ((422, "invalid"), &json!("/resource")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decided_first_answers_no_appeal() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let (subject, _) = left_in_review(&t, &scene).await;
        let id = appeal(&t, &subject).await.body["id"].as_str().unwrap().to_owned();
        for first in [&scene.rio, &scene.sam] {
            let refused = respond(&t, first, &id, "upheld", "decision_stands").await;
            assert_eq!(refusal(&refused), (403, "not_impartial"));
        }
        let rio = operator(&t, "rio2", "RIO reviewer", &[Role::Reviewer], None).await;
        assert_eq!(refusal(&respond(&t, &rio, &id, "upheld", "decision_stands").await), (403, "not_impartial"));
        let ada = operator(&t, "ada", "Ada", &[Role::Reviewer], Some(&subject)).await;
        assert_eq!(refusal(&respond(&t, &ada, &id, "upheld", "decision_stands").await), (403, "not_impartial"));
        let lee = operator(&t, "lee", "Lee", &[Role::Reviewer], None).await;
        assert_eq!(refusal(&respond(&t, &lee, &id, "upheld", "i_said_so").await), (422, "invalid"));
        assert_eq!(
            refusal(&respond(&t, &t.admin, &id, "upheld", "decision_stands").await),
            (403, "insufficient_scope")
        );
        let stale = t
            .http
            .post(format!("{}/v1/appeals/{id}/answer", t.url))
            .bearer_auth(&lee)
            .header("if-match", "\"9\"")
            .json(&json!({ "verdict": "upheld", "reason": "decision_stands" }));
        assert_eq!(refusal(&answer(stale).await), (412, "precondition_failed"));
        let answered = respond(&t, &lee, &id, "upheld", "decision_stands").await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.body);
        // The subject's side learns the outcome and a text, never who decided.
        let told = t.get(&format!("/v1/appeals/{id}")).await.body;
        assert_eq!(
            (&told["state"], &told["outcome"], &told["reason"]),
            (&json!("decided"), &json!("upheld"), &json!("decision_stands"))
        );
        assert!(
            told["reason_text"].as_str().unwrap().starts_with("Another person") && !told.to_string().contains("opr_")
        );
        assert_eq!(refusal(&respond(&t, &lee, &id, "upheld", "decision_stands").await), (409, "conflict"));
        assert_eq!(status(&t, &subject).await, "review", "an answer changes no evidence");
        // The next appeal about it is for somebody else again.
        let second = appeal(&t, &subject).await.body["id"].as_str().unwrap().to_owned();
        assert_eq!(refusal(&respond(&t, &lee, &second, "upheld", "decision_stands").await), (403, "not_impartial"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appeal_that_is_reconsidered_is_decided_anew_by_two_others() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let (subject, vouch) = left_in_review(&t, &scene).await;
        let id = appeal(&t, &subject).await.body["id"].as_str().unwrap().to_owned();
        let (lee, kim) = (
            operator(&t, "lee", "Lee", &[Role::Reviewer], None).await,
            operator(&t, "kim", "Kim", &[Role::Reviewer], None).await,
        );
        let answered = respond(&t, &lee, &id, "reconsider", "looked_at_anew").await;
        assert_eq!(
            (answered.status, &answered.body["state"]),
            (StatusCode::OK, &json!("reconsidering")),
            "{}",
            answered.body
        );
        let case = answered.body["case"].as_str().unwrap();
        tend(&t).await;
        assert_eq!(the_case(&t, &lee, &subject).await, case, "it does not close by itself");
        let settles = json!({ "reason": "mistaken", "resolves": [vouch] });
        assert_eq!(refusal(&propose(&t, &scene.rio, case, settles.clone()).await), (403, "not_impartial"));
        let proposed = propose(&t, &lee, case, settles).await;
        let proposal = proposed.body["id"].as_str().unwrap();
        assert_eq!(refusal(&confirm(&t, &scene.sam, case, proposal).await), (403, "not_impartial"));
        assert_eq!(refusal(&confirm(&t, &lee, case, proposal).await), (403, "second_person_required"));
        assert_eq!(status(&t, &subject).await, "review");
        assert_eq!(confirm(&t, &kim, case, proposal).await.status, StatusCode::NO_CONTENT);
        assert_eq!(status(&t, &subject).await, "eligible");
        let told = t.get(&format!("/v1/appeals/{id}")).await.body;
        assert_eq!(
            (&told["state"], &told["outcome"], &told["reason"]),
            (&json!("decided"), &json!("changed"), &json!("decided_anew"))
        );
        let listed = t.get(&format!("/v1/appeals?state=decided&subject={subject}")).await.body;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(refusal(&t.get("/v1/appeals?state=lost").await), (422, "invalid"));
        // Erased, nobody's words stay.
        assert_eq!(
            t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await.status,
            StatusCode::OK
        );
        assert!(pairs(&t.database_url, "SELECT id, 'x' FROM appeals WHERE sealed IS NOT NULL").await.is_empty());
        let shown = t.send(&lee, Method::GET, &format!("/v1/appeals/{id}"), None).await;
        assert_eq!((shown.status, shown.body.get("text")), (StatusCode::OK, None::<&Value>));
    })
    .await;
}
