//! A suspended organisation or source takes what it said with it, at once and for everybody.

use crate::app::{Answer, TestApp, asylee_record, face_check, on_both, status};
use crate::support::pairs;
use crate::vouches::{Employer, NOW, send, visa_holder_named};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe_core::Status;
use vouchsafe_core::ids::{ResourceId, SubjectId};

fn employment() -> Value {
    json!({ "type": "employment", "organisation": "org_meridian", "employed": true })
}

async fn vouch(t: &TestApp, own: &str, subject: &str) -> Answer {
    let body = json!({ "subject": subject, "basis": "hr_record", "statement": employment() });
    t.send(own, Method::POST, "/v1/vouches", Some(body)).await
}

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or(""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_organisation_takes_its_vouches_with_it() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let employer = Employer::register(&t, "org_meridian").await;
        let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        let sources = t.sources().await;
        let mut staff = Vec::new();
        for name in ["visa-1", "visa-2"] {
            let subject = visa_holder_named(&t, &sources, name).await;
            assert_eq!(vouch(&t, &own, &subject).await.status, StatusCode::CREATED);
            assert_eq!(status(&t, &subject).await, "eligible");
            staff.push(subject);
        }
        let unconcerned = t.eligible_subject(&sources, "ada").await;
        let before = t.eligibility(&staff[0], "restricted.api").await;
        let key = t.gateway("edge", false).await;
        let token = t.token(&staff[0], "restricted.api", "edge").await;
        let bearer = format!("Bearer {token}");
        let ask = async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &bearer)]).await;
        assert_eq!(ask().await.status, StatusCode::OK);
        let replica = t.replica().await;
        let (id, resource) = (SubjectId::parse(&staff[1]).unwrap(), ResourceId::parse("restricted.api").unwrap());
        assert_eq!(replica.eligibility(&id, &resource).await.unwrap().0.status, Status::Eligible);

        let path = "/v1/organisations/org_meridian";
        let version = t.get(path).await.header("etag").to_owned();
        let reason = json!({ "reason": "sanctioned" });
        assert_eq!(
            t.send(&own, Method::POST, &format!("{path}/suspend"), Some(reason.clone())).await.status,
            StatusCode::FORBIDDEN
        );
        // In the very second of the decisions.
        let suspended = t.post(&format!("{path}/suspend"), reason.clone()).await;
        assert_eq!(suspended.status, StatusCode::OK, "{}", suspended.body);
        assert_eq!(suspended.body["body"]["suspensions"][0]["reason"], "sanctioned");
        assert_ne!(suspended.header("etag"), version);
        assert_eq!(refusal(&t.post(&format!("{path}/suspend"), reason.clone()).await), (409, "conflict"));

        let refused = ask().await;
        assert_eq!(
            (refused.status, refused.header("x-eligibility-reason")),
            (StatusCode::FORBIDDEN, "status.ineligible")
        );
        let form = [("token", token.as_str())];
        let introspected = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&t.admin).form(&form);
        assert_eq!(crate::app::answer(introspected).await.body, json!({ "active": false }));
        for subject in &staff {
            assert_eq!(status(&t, subject).await, "ineligible");
        }
        assert_eq!(status(&t, &unconcerned).await, "eligible");
        replica.poll_feed().await.unwrap();
        assert_eq!(replica.eligibility(&id, &resource).await.unwrap().0.status, Status::Ineligible);
        let fresh = t.replica().await;
        assert_eq!(
            fresh.eligibility(&id, &resource).await.unwrap().0.status,
            Status::Ineligible,
            "after a restart too"
        );
        // The marks say why; nothing was written to a vouch.
        let kept = crate::app::attestations(&t, &staff[0]).await;
        let vouched = kept.iter().find(|kept| kept["facts"]["kind"] == "vouch").unwrap();
        assert_eq!(
            vouched["marks"],
            json!([{ "at": "2026-11-21T00:00:00Z", "kind": "suspended", "from_start": false }])
        );
        let again = t.decided(&before).await;
        assert_eq!(again.body, before, "what was decided before is derived again as it was");

        // Nothing it says is taken, in whatever way; but it may take back.
        t.clock.advance(60);
        t.app.poll_feed().await.unwrap();
        assert_eq!(refusal(&vouch(&t, &own, &staff[0]).await), (403, "suspended"));
        let mut claims = employer.claims(&t, &staff[0], "during");
        assert_eq!(refusal(&send(&t, &employer.sign(&claims)).await), (403, "suspended"));
        let withdraw = format!("/v1/vouches/{}/withdraw", vouched["id"].as_str().unwrap());
        assert_eq!(t.send(&own, Method::POST, &withdraw, None).await.status, StatusCode::NO_CONTENT);

        // Reinstated, it has to vouch anew: neither what it said nor what it signed before counts.
        let reinstated = t.post(&format!("{path}/reinstate"), json!({ "reason": "cleared" })).await;
        assert_eq!(reinstated.body["body"]["suspensions"][0]["until"], "2026-11-21T00:01:00Z", "{}", reinstated.body);
        assert_eq!(
            refusal(&t.post(&format!("{path}/reinstate"), json!({ "reason": "cleared" })).await),
            (409, "conflict")
        );
        assert_eq!(status(&t, &staff[1]).await, "ineligible");
        assert_eq!(refusal(&vouch(&t, &own, &staff[1]).await), (403, "suspended"), "in the same second");
        t.clock.advance(1);
        assert_eq!(refusal(&send(&t, &employer.sign(&claims)).await), (403, "suspended"), "signed before");
        claims["iat"] = json!(NOW + 61);
        claims["exp"] = json!(NOW + 600);
        assert_eq!(send(&t, &employer.sign(&claims)).await.status, StatusCode::CREATED);
        assert_eq!(vouch(&t, &own, &staff[1]).await.status, StatusCode::CREATED);
        for subject in &staff {
            assert_eq!(status(&t, subject).await, "eligible");
        }
        let actions = "SELECT action, target FROM audit_entries WHERE action LIKE 'organisation.%'
            AND action <> 'organisation.created' ORDER BY position";
        let told = pairs(&t.database_url, actions).await;
        let told: Vec<(&str, &str)> = told.iter().map(|(action, target)| (action.as_str(), target.as_str())).collect();
        assert_eq!(told, [("organisation.suspended", "org_meridian"), ("organisation.reinstated", "org_meridian")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_suspended_from_the_day_its_secret_leaked() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let early = t.eligible_subject(&sources, "early").await;
        t.clock.advance(500);
        t.app.poll_feed().await.unwrap();
        let late = t.eligible_subject(&sources, "late").await;
        let path = format!("/v1/sources/{}", sources.vendor);
        let ahead = json!({ "reason": "leaked", "since": "2026-11-21T00:08:21Z" });
        let answer = t.post(&format!("{path}/suspend"), ahead).await;
        assert_eq!((refusal(&answer), &answer.body["errors"][0]["pointer"]), ((422, "invalid"), &json!("/since")));
        let leaked = json!({ "reason": "leaked", "since": "2026-11-21T00:08:20Z" });
        assert_eq!(t.post(&format!("{path}/suspend"), leaked).await.status, StatusCode::OK);
        assert_eq!((status(&t, &early).await, status(&t, &late).await), ("eligible".into(), "insufficient".into()));
        let decision = t.eligibility(&late, "restricted.api").await;
        assert!(decision["next_steps"][0].is_object(), "the refusal says what would help");

        let another = t.subject("another").await;
        assert_eq!(refusal(&t.attest(&sources, &another, face_check(&sources)).await), (403, "suspended"));
        assert_eq!(t.attest(&sources, &another, asylee_record(&sources)).await.status, StatusCode::CREATED);
        // A second ago, by what was known then, they were what they were.
        let then =
            t.get(&format!("/v1/subjects/{early}/eligibility?resource=restricted.api&at=2026-11-21T00:08:19Z")).await;
        assert_eq!(then.body["status"], "eligible");
        t.post(&format!("{path}/reinstate"), json!({ "reason": "secret replaced" })).await;
        t.clock.advance(1);
        assert_eq!(status(&t, &late).await, "insufficient");
        assert_eq!(t.attest(&sources, &late, face_check(&sources)).await.status, StatusCode::CREATED);
        assert_eq!(status(&t, &late).await, "eligible");
        for unknown in
            ["/v1/sources/src_none/suspend", "/v1/sources/src_self/suspend", "/v1/organisations/org_none/suspend"]
        {
            assert_eq!(t.post(unknown, json!({ "reason": "x" })).await.status, StatusCode::NOT_FOUND, "{unknown}");
        }
    })
    .await;
}
