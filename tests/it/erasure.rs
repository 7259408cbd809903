//! Erasure, legal hold and the person's own export, through the real endpoints.

use crate::app::{TestApp, asylee_record, face_check, on_both, status};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Five years of 365 days and the leap day of 2028, after 2026-11-21T00:00:00Z.
const KEPT_UNTIL: &str = "2031-11-21T00:00:00Z";

async fn erase(t: &TestApp, subject: &str) -> crate::app::Answer {
    t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await
}

async fn erased(t: &TestApp, subject: &str) {
    let answer = erase(t, subject).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// Targets of what is in the audit log.
async fn audited(t: &TestApp, action: &str) -> Vec<String> {
    t.audited(action).await.iter().map(|entry| entry["target"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_subject_is_gone_and_what_identifies_nobody_stays() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada@example.org").await;
        let link = json!({ "namespace": "api-key", "id": "key-of-ada" });
        t.created(&format!("/v1/subjects/{subject}/links"), link.clone()).await;
        let session = json!({ "source": sources.vendor, "session": "session-of-ada" });
        t.created(&format!("/v1/subjects/{subject}/sessions"), session.clone()).await;
        t.audience("gw").await;
        let gateway = t.gateway("gw", true).await;
        let token = t.token(&subject, "restricted.api", "gw").await;
        let decision = t.eligibility(&subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let by_token = [("x-gateway-key", gateway.as_str()), ("authorization", bearer.as_str())];
        let asserted = [("x-gateway-key", gateway.as_str()), ("x-vouchsafe-caller", "api-key:key-of-ada")];
        for caller in [&by_token, &asserted] {
            assert_eq!(t.check("restricted.api", caller).await.status, StatusCode::OK);
        }

        let answer = erase(&t, &subject).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body["kept_until"], KEPT_UNTIL);

        let path = format!("/v1/subjects/{subject}");
        for gone in ["", "/links", "/attestations", "/export", "/eligibility?resource=restricted.api"] {
            let answer = t.get(&format!("{path}{gone}")).await;
            assert_eq!((answer.status, &answer.body["code"]), (StatusCode::GONE, &json!("subject_erased")), "{gone}");
        }
        let token_wanted = json!({ "resource": "restricted.api", "audience": "gw" });
        for (gone, body) in [("/links", link.clone()), ("/sessions", session.clone()), ("/tokens", token_wanted)] {
            assert_eq!(t.post(&format!("{path}{gone}"), body).await.status, StatusCode::GONE, "{gone}");
        }
        assert_eq!(t.attest(&sources, &subject, face_check(&sources)).await.status, StatusCode::GONE);
        assert_eq!(erase(&t, &subject).await.status, StatusCode::GONE);
        assert_eq!(t.get("/v1/subjects?external_id=ada@example.org").await.status, StatusCode::NOT_FOUND);
        for (caller, reason) in [(&by_token, "caller.unlinked"), (&asserted, "caller.unlinked")] {
            let answer = t.check("restricted.api", caller).await;
            assert_eq!((answer.status, answer.header("x-eligibility-reason")), (StatusCode::FORBIDDEN, reason));
        }
        t.app.poll_feed().await.unwrap();
        let answer = t.check("restricted.api", &by_token).await;
        assert_eq!((answer.status, answer.header("x-eligibility-reason")), (StatusCode::FORBIDDEN, "token.revoked"));

        // An auditor still reads why she was let in.
        let answer = t.get(&format!("/v1/decisions/{decision}")).await;
        assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("eligible")));
        assert_eq!(audited(&t, "subject.erased").await, std::slice::from_ref(&subject));

        // Her ids are free for a new account; the vendor's session stays hers.
        let again = t.subject("ada@example.org").await;
        t.created(&format!("/v1/subjects/{again}/links"), link).await;
        assert_eq!(t.post(&format!("/v1/subjects/{again}/sessions"), session).await.status, StatusCode::CONFLICT);
        assert_eq!(status(&t, &again).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_forbids_erasing_until_it_is_lifted() {
    on_both(async |t: TestApp| {
        let subject = t.subject("ada").await;
        let path = format!("/v1/subjects/{subject}/hold");
        assert_eq!(t.get(&path).await.status, StatusCode::NOT_FOUND);
        let hold = |reason: &str| Some(json!({ "reason": reason }));
        let put = |body| t.send(&t.admin, Method::PUT, &path, body);
        assert_eq!(put(hold(" ")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(put(hold("order 17")).await.status, StatusCode::OK);
        assert_eq!(put(hold("order 18")).await.status, StatusCode::CONFLICT);
        let held = t.get(&path).await.body;
        assert_eq!((&held["reason"], &held["placed_at"]), (&json!("order 17"), &json!("2026-11-21T00:00:00Z")));
        let answer = erase(&t, &subject).await;
        assert_eq!((answer.status, &answer.body["code"]), (StatusCode::CONFLICT, &json!("legal_hold")));
        assert_eq!(t.get(&format!("/v1/subjects/{subject}")).await.status, StatusCode::OK);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
        erased(&t, &subject).await;
        // What is left of an erased subject can be held too.
        assert_eq!(put(hold("order 19")).await.status, StatusCode::OK);
        t.clock.advance(6 * 366 * 86_400);
        t.app.poll_feed().await.unwrap();
        t.app.keep_bounds().await.unwrap();
        assert_eq!(t.app.store.subject(&subject).await.unwrap().unwrap().state, "erased");
        assert_eq!(audited(&t, "hold.placed").await, [subject.clone(), subject.clone()]);
        assert_eq!(audited(&t, "hold.lifted").await, [subject]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_expects_another_version_changes_nothing() {
    on_both(async |t: TestApp| {
        let subject = t.subject("ada").await;
        let url = format!("{}/v1/subjects/{subject}", t.url);
        let with = |version: &'static str| t.http.delete(&url).bearer_auth(&t.admin).header("If-Match", version).send();
        assert_eq!(with("\"7\"").await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(with("\"1\"").await.unwrap().status(), StatusCode::OK);
    })
    .await;
}

fn passport(source: &str, number: &str, outcome: &str, codes: &[&str]) -> Value {
    json!({ "source": source, "kind": "document_check", "grade": "STRONG", "outcome": outcome, "codes": codes,
        "document": { "type": "passport", "issuing_country": "USA", "number": number } })
}

fn of(mut document: Value, birth_date: &str, name: &str) -> Value {
    document["person"] = json!({ "birth_date": birth_date, "name": name });
    document
}

/// A new account with these documents: its status and whether it is told to be of an erased subject.
async fn account(t: &TestApp, external_id: &str, documents: Vec<Value>, token: &str) -> (String, String, bool) {
    let subject = t.subject(external_id).await;
    for document in documents {
        let answer = t.send(token, Method::POST, &format!("/v1/subjects/{subject}/attestations"), Some(document)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
    let decision = t.eligibility(&subject, "restricted.api").await;
    let told = decision["reasons"].as_array().unwrap().contains(&json!("document.of_erased"));
    (subject, decision["status"].as_str().unwrap().to_owned(), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_and_coming_back_launders_nothing_and_harms_nobody_without_blame() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let vendor = sources.vendor.as_str();
        let token = sources.token.as_str();
        let good = |number| passport(vendor, number, "approved", &["face_match"]);

        // Clean: the same person may leave and come back.
        let (clean, found, _) = account(&t, "clean", vec![good("1")], token).await;
        assert_eq!(found, "eligible");
        erased(&t, &clean).await;
        let (_, found, told) = account(&t, "clean", vec![good("1")], token).await;
        assert_eq!((found.as_str(), told), ("eligible", false));

        // A register spoke against her: a person looks at it.
        let other = json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG",
            "document": { "type": "status_record", "issuing_country": "USA" },
            "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
        let (accused, found, _) = account(&t, "accused", vec![good("2"), other], token).await;
        assert_ne!(found, "eligible");
        erased(&t, &accused).await;
        let (_, found, told) = account(&t, "accused", vec![good("2")], token).await;
        assert_eq!((found.as_str(), told), ("review", true));

        // A forged passport that the next examiner does not recognise, of the same person.
        let forged = of(passport(vendor, "3", "declined", &["forged"]), "1980-02-03", "Jo Doe");
        let (forger, _, _) = account(&t, "forger", vec![forged], token).await;
        erased(&t, &forger).await;
        let (_, found, told) = account(&t, "forger", vec![of(good("3"), "1980-02-03", "DOE JO")], token).await;
        assert_eq!((found.as_str(), told), ("review", true));

        // A thief who tried somebody's passport and left harms its owner in nothing.
        let tried = of(passport(vendor, "4", "declined", &["face_mismatch"]), "1990-01-01", "Thief");
        let (thief, _, _) = account(&t, "thief", vec![tried], token).await;
        erased(&t, &thief).await;
        let (_, found, told) = account(&t, "owner", vec![of(good("4"), "1971-05-06", "Owner")], token).await;
        assert_eq!((found.as_str(), told), ("eligible", false));

        // What was taken back does not stand against anybody.
        let declined = passport(vendor, "5", "declined", &["forged"]);
        let (wronged, _, _) = account(&t, "wronged", vec![good("5"), declined], token).await;
        let items = crate::app::attestations(&t, &wronged).await;
        let wrong = items.iter().find(|item| item["facts"]["outcome"] == "declined").unwrap()["id"].as_str().unwrap();
        let path = format!("/v1/attestations/{wrong}/revoke");
        let reason = json!({ "reason": "vendor.error", "from_start": true });
        let answer = t.send(token, Method::POST, &path, Some(reason)).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        erased(&t, &wronged).await;
        let (_, found, told) = account(&t, "wronged", vec![good("5")], token).await;
        assert_eq!((found.as_str(), told), ("eligible", false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_readable_and_is_recorded() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.subject("ada@example.org").await;
        let passport = of(passport(&sources.vendor, "12345", "approved", &["face_match"]), "1980-02-03", "Ada");
        for body in [asylee_record(&sources), passport] {
            assert_eq!(t.attest(&sources, &subject, body).await.status, StatusCode::CREATED);
        }
        let path = format!("/v1/subjects/{subject}");
        t.created(&format!("{path}/links"), json!({ "namespace": "api-key", "id": "key-1" })).await;
        let session = json!({ "source": sources.vendor, "session": "ses-1" });
        t.created(&format!("{path}/sessions"), session).await;
        t.audience("gw").await;
        t.token(&subject, "restricted.api", "gw").await;

        let export = t.get(&format!("{path}/export")).await;
        assert_eq!(export.status, StatusCode::OK, "{}", export.body);
        assert_eq!(export.header("cache-control"), "no-store");
        let export = export.body;
        assert_eq!(export["subject"]["external_id"], "ada@example.org");
        assert_eq!(export["links"], json!([{ "namespace": "api-key", "id": "key-1" }]));
        assert_eq!(export["sessions"][0]["session"], "ses-1");
        let mut names: Vec<&str> = export["attestations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["source_name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["document_vendor", "registry"]);
        assert_eq!(export["tokens"][0]["audience"], "gw");
        assert_eq!(export["decisions"][0]["status"], "eligible");
        assert_eq!(export["decisions"][0]["reasons"][0], "What you provided is sufficient.");
        assert_eq!(export["kept"]["days_after_erasure"], 1826);
        // Keyed digests are of no use to the person.
        let text = export.to_string();
        assert!(!text.contains("doc:") && !text.contains("birth"), "{text}");
        assert_eq!(audited(&t, "subject.exported").await, std::slice::from_ref(&subject));

        // Each of the three needs its own scope.
        let poor = t.client("Pat", &["subjects:read", "subjects:write"], &[], None).await;
        for (method, path) in [
            (Method::GET, format!("{path}/export")),
            (Method::DELETE, path.clone()),
            (Method::GET, format!("{path}/hold")),
            (Method::DELETE, format!("{path}/hold")),
        ] {
            assert_eq!(t.send(&poor, method, &path, None).await.status, StatusCode::FORBIDDEN, "{path}");
        }
    })
    .await;
}
