//! One document of two subjects, and two people on one subject.

use crate::app::{Sources, TestApp, asylee_record, on_both};
use crate::support::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe::storage::{AuditEntry, NewAttestation};

/// A passport that a document check passed or did not.
fn passport(sources: &Sources, number: &str, outcome: &str, codes: &[&str]) -> Value {
    json!({ "source": sources.vendor, "kind": "document_check", "grade": "STRONG", "outcome": outcome, "codes": codes,
        "document": { "type": "passport", "issuing_country": "USA", "number": number } })
}

fn of_person(mut document: Value, birth_date: &str, name: &str) -> Value {
    document["person"] = json!({ "birth_date": birth_date, "name": name });
    document
}

async fn record(t: &TestApp, sources: &Sources, subject: &str, body: Value) {
    let answer = t.attest(sources, subject, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
}

/// Status and reasons under the US-person policy.
async fn found(t: &TestApp, subject: &str) -> (String, Vec<String>) {
    let decision = t.eligibility(subject, "restricted.api").await;
    let reasons = decision["reasons"].as_array().unwrap();
    let reasons = reasons.iter().map(|reason| {
        // With its texts, or the bare code.
        reason["code"].as_str().or(reason.as_str()).unwrap().to_owned()
    });
    (decision["status"].as_str().unwrap().to_owned(), reasons.collect())
}

async fn cross_checks(t: &TestApp, subject: &str) -> usize {
    let answer = t.get(&format!("/v1/subjects/{subject}/attestations")).await;
    let items = answer.body["items"].as_array().unwrap();
    items.iter().filter(|item| item.to_string().contains("cross_check")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_on_two_subjects_puts_both_under_review() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let (ada, bob) = (t.subject("ada").await, t.subject("bob").await);
        record(&t, &sources, &ada, passport(&sources, "12-34 5x", "approved", &["face_match"])).await;
        assert_eq!(found(&t, &ada).await.0, "eligible");
        // The same number written otherwise, seen without a face.
        record(&t, &sources, &bob, passport(&sources, "12345X", "approved", &[])).await;
        let (status, reasons) = found(&t, &ada).await;
        assert_eq!(status, "review", "{reasons:?}");
        assert!(reasons.contains(&"document.shared".to_owned()), "{reasons:?}");
        let (status, reasons) = found(&t, &bob).await;
        assert_ne!(status, "eligible");
        assert!(reasons.contains(&"document.shared".to_owned()), "{reasons:?}");
        // Delivered again and again it is found once.
        record(&t, &sources, &bob, passport(&sources, "12345X", "approved", &[])).await;
        assert_eq!((cross_checks(&t, &ada).await, cross_checks(&t, &bob).await), (1, 1));
        // Another country's document of that number is another document.
        let eve = t.subject("eve").await;
        let mut other = passport(&sources, "12345X", "approved", &["face_match"]);
        other["document"]["issuing_country"] = json!("CAN");
        record(&t, &sources, &eve, other).await;
        assert_eq!(cross_checks(&t, &eve).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_face_with_two_accounts_is_told_and_not_held_against_it() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        for external in ["ada", "ada-again"] {
            let subject = t.subject(external).await;
            record(&t, &sources, &subject, passport(&sources, "77", "approved", &["face_match"])).await;
            let (status, reasons) = found(&t, &subject).await;
            assert_eq!(status, "eligible");
            assert_eq!(reasons.contains(&"subject.duplicate".to_owned()), external == "ada-again", "{reasons:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_who_tries_a_document_harms_its_owner_in_nothing() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let (owner, thief) = (t.subject("owner").await, t.subject("thief").await);
        record(&t, &sources, &owner, passport(&sources, "88", "approved", &["face_match"])).await;
        record(&t, &sources, &thief, passport(&sources, "88", "declined", &["face_mismatch"])).await;
        assert_eq!(found(&t, &owner).await.0, "eligible");
        assert_eq!(cross_checks(&t, &owner).await, 0);
        assert_ne!(found(&t, &thief).await.0, "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_birth_dates_are_two_people_and_two_spellings_are_one() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let document = |number: &str| passport(&sources, number, "approved", &["face_match"]);
        let one = t.subject("one").await;
        record(&t, &sources, &one, of_person(document("1"), "1980-02-03", "Jürgen Müller")).await;
        record(&t, &sources, &one, of_person(document("2"), "1980-02-03", "MUELLER JUERGEN")).await;
        assert_eq!((found(&t, &one).await.0.as_str(), cross_checks(&t, &one).await), ("eligible", 0));
        record(&t, &sources, &one, of_person(document("3"), "1980-02-03", "Jürgen Schmidt")).await;
        let (status, reasons) = found(&t, &one).await;
        assert!(status == "eligible" && reasons.contains(&"person.name_differs".to_owned()), "{status} {reasons:?}");
        record(&t, &sources, &one, of_person(document("4"), "1981-02-03", "Jürgen Müller")).await;
        let (status, reasons) = found(&t, &one).await;
        assert!(status == "review" && reasons.contains(&"person.mismatch".to_owned()), "{status} {reasons:?}");
    })
    .await;
}

/// The process ended between the commit of an attestation and its comparison.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_compared_is_compared_later() {
    let story = async |database: Database| {
        let t = TestApp::start(&database).await;
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let (ada, bob) = (t.subject("ada").await, t.subject("bob").await);
        record(&t, &sources, &ada, passport(&sources, "99", "approved", &["face_match"])).await;
        let store = database.store().await;
        let (_, held) = store.load_subject(&ada).await.unwrap().unwrap();
        let mut facts: Value = serde_json::from_str(&held[0].facts).unwrap();
        facts["codes"] = json!([]);
        let audit = AuditEntry {
            id: "aud_1".to_owned(),
            at_ms: 0,
            actor: "test".to_owned(),
            action: "attestation.recorded".to_owned(),
            target: "att_1".to_owned(),
            detail: "{}".to_owned(),
        };
        let left = NewAttestation {
            id: "att_1".to_owned(),
            subject: bob.clone(),
            source: sources.vendor.clone(),
            event: "left".to_owned(),
            lineage: "left".to_owned(),
            checked_at_ms: held[0].recorded_at_ms,
            recorded_at_ms: held[0].recorded_at_ms,
            document: facts["document"].as_str().map(str::to_owned),
            facts: facts.to_string(),
            compare: true,
            audit,
            outbox: None,
        };
        store.record_attestation(left).await.unwrap().unwrap();
        assert_eq!(found(&t, &ada).await.0, "eligible");
        assert_eq!(t.app.compare_waiting().await.unwrap(), 1);
        assert_eq!(found(&t, &ada).await.0, "review");
        assert_eq!(t.app.compare_waiting().await.unwrap(), 0);
    };
    story(Database::sqlite()).await;
    if let Some(postgres) = Database::postgres().await {
        story(postgres).await;
    }
}

/// A record of the register keeps nobody's document: the two kinds do not meet.
#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_number_are_never_shared() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let (ada, bob) = (t.subject("ada").await, t.subject("bob").await);
        for subject in [&ada, &bob] {
            record(&t, &sources, subject, asylee_record(&sources)).await;
            assert_eq!(cross_checks(&t, subject).await, 0);
        }
        // Nobody speaks as this service.
        let body = json!({ "source": "src_service", "kind": "cross_check", "codes": ["document.shared"] });
        assert_eq!(t.attest(&sources, &ada, body).await.status, StatusCode::FORBIDDEN);
        let body = json!({ "source": sources.vendor, "kind": "cross_check", "codes": ["document.shared"] });
        assert_eq!(t.attest(&sources, &ada, body).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}
