//! The main job, over HTTP, on both databases.

use crate::app::{Sources, TestApp, asylee_record, attestations, face_check, on_both};
use reqwest::{Method, StatusCode};
use serde_json::json;
use vouchsafe_core::Status;
use vouchsafe_core::ids::{ResourceId, SubjectId};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_would_help_and_that_evidence_makes_eligible() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.subject("ada").await;
        let refused = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(refused["status"], "insufficient");
        assert_eq!(refused["confidence"], json!(null));
        let needs = &refused["next_steps"][0]["needs"];
        assert_eq!(needs[0]["criterion"], "us-status");
        assert_eq!(needs[0]["evidence_for_one_of"], json!(["citizen", "lpr", "national", "protected"]));
        assert_eq!(needs[1]["criterion"], "identity");
        for body in [asylee_record(&sources), face_check(&sources)] {
            assert_eq!(t.attest(&sources, &subject, body).await.status, StatusCode::CREATED);
        }
        let decision = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(decision["status"], "eligible");
        // The weaker criterion is the document check: b = .92 * .97 = .8924.
        assert_eq!(decision["confidence"], 0.89);
        assert_eq!(decision["expiry_cause"], "policy_max_ttl");
        // 2026-11-21 and 90 days.
        assert_eq!(decision["expires_at"], "2027-02-19T00:00:00Z");
        let recorded = format!("/v1/decisions/{}", decision["id"].as_str().unwrap());
        let reader = t.client("Rae", &["eligibility:read"], &[], None).await;
        let again = t.send(&reader, Method::GET, &recorded, None).await;
        assert_eq!(again.body, decision, "a recorded decision is derived again, byte for byte");
        assert!(!decision.to_string().contains("att_"), "an ordinary answer tells nothing of the evidence");

        let full = t.get(&recorded).await.body;
        assert_eq!(full["id"], decision["id"]);
        let identity = &full["explanation"]["branches"][0]["criteria"][1];
        // One check of .92 * .97 = .8924: 2 * .8924 / .1076 units, and .85 * 2 / .15 needed.
        assert_eq!(identity["supporting_units"], 16.587361);
        assert_eq!(identity["needed_units"], 11.333333);
        assert_eq!(identity["evidence"][0]["contributed"], 16.587361);
        assert_eq!(identity["evidence"][0]["fate"], "counted");
        assert_eq!(full["criteria"][1]["evidence"][0]["units"], 16.59);
        assert_eq!(full["explanation"]["by_itself"]["code"], "promise_ends");
        assert!(full["explanation"]["texts"]["counted"]["operator"].is_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_passes_the_gateway_until_it_is_revoked_frozen_or_expired() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let key = t.gateway("edge", false).await;
        let token = t.token(&subject, "restricted.api", "edge").await;
        let bearer = format!("Bearer {token}");
        let ask = async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &bearer)]).await;

        let passed = ask().await;
        assert_eq!(passed.status, StatusCode::OK);
        assert!(passed.header("x-eligibility-decision").starts_with("dec_"));
        assert!(!passed.header("x-eligibility-subject").contains(&subject), "gateways see pairwise subjects");

        let other = t.check("restricted.weights", &[("x-gateway-key", &key), ("authorization", &bearer)]).await;
        assert_eq!(other.status, StatusCode::UNAUTHORIZED, "a token is good for its own resource only");

        let freeze = json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", freeze).await;
        let frozen = ask().await;
        assert_eq!((frozen.status, frozen.header("x-eligibility-reason")), (StatusCode::FORBIDDEN, "directive.frozen"));
        let answer = t.post(&format!("/v1/subjects/{subject}/tokens"), json!({ "resource": "restricted.api", "audience": "edge" })).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (StatusCode::FORBIDDEN, Some("not_eligible")));

        let lift = json!({ "id": "lift", "authority": "a", "citation": "c", "actions": [{ "lift": { "directive": "freeze" } }] });
        t.created("/v1/directives", lift).await;
        assert_eq!(ask().await.status, StatusCode::FORBIDDEN, "one person does not lift a freeze");
        let second = t.client("Lee", &["directives:approve"], &[], None).await;
        t.send(&second, Method::POST, "/v1/directives/lift/approve", None).await;
        assert_eq!(ask().await.status, StatusCode::OK);

        let form = [("token", token.as_str())];
        let introspect = async || {
            let request = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&t.admin).form(&form);
            crate::app::answer(request).await.body
        };
        assert_eq!(introspect().await["active"], true);
        let revoke = t.http.post(format!("{}/oauth2/revoke", t.url)).bearer_auth(&t.admin).form(&form);
        assert_eq!(revoke.send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(introspect().await, json!({ "active": false }));
        let revoked = ask().await;
        assert_eq!((revoked.status, revoked.header("x-eligibility-reason")), (StatusCode::FORBIDDEN, "token.revoked"));

        // token_ttl is 15 minutes: the last second passes, the next does not.
        let fresh = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
        let ask_fresh = async || t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &fresh)]).await;
        t.clock.advance(899);
        t.app.poll_feed().await.unwrap();
        assert_eq!(ask_fresh().await.status, StatusCode::OK);
        t.clock.advance(1);
        assert_eq!(ask_fresh().await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asserted_caller_counts_only_from_a_gateway_that_may_assert() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let nobody = t.subject("nobody").await;
        for (subject, id) in [(&subject, "good"), (&nobody, "poor")] {
            t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": id })).await;
        }
        let asserting = t.gateway("edge", true).await;
        let plain = t.gateway("edge", false).await;
        let ask = async |key: &str, caller: &str| {
            t.check("restricted.api", &[("x-gateway-key", key), ("x-vouchsafe-caller", caller)]).await
        };
        assert_eq!(ask(&asserting, "api-key:good").await.status, StatusCode::OK);
        assert_eq!(ask(&plain, "api-key:good").await.status, StatusCode::UNAUTHORIZED);
        let poor = ask(&asserting, "api-key:poor").await;
        assert_eq!((poor.status, poor.header("x-eligibility-reason")), (StatusCode::FORBIDDEN, "status.insufficient"));
        let unknown = ask(&asserting, "api-key:unknown").await;
        assert_eq!(
            (unknown.status, unknown.header("x-eligibility-reason")),
            (StatusCode::FORBIDDEN, "caller.unlinked")
        );
        assert_eq!(ask("gw_none.secret", "api-key:good").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            t.check("restricted.api", &[("x-vouchsafe-caller", "api-key:good")]).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            t.check("nationals.api", &[("x-gateway-key", &asserting), ("x-vouchsafe-caller", "api-key:good")])
                .await
                .status,
            StatusCode::FORBIDDEN
        );
        // A link that is removed is gone at once.
        let path = format!("/v1/subjects/{subject}/links/api-key/good");
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
        assert_eq!(ask(&asserting, "api-key:good").await.header("x-eligibility-reason"), "caller.unlinked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_evidence_is_obeyed_at_once_also_by_a_second_replica() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
        let replica = t.replica().await;
        let (id, resource) = (SubjectId::parse(&subject).unwrap(), ResourceId::parse("restricted.api").unwrap());
        assert_eq!(replica.eligibility(&id, &resource).await.unwrap().0.status, Status::Eligible);
        let items = t.get(&format!("/v1/subjects/{subject}/attestations")).await.body;
        let id = items["items"][0]["id"].as_str().unwrap().to_owned();
        let stranger = t.client("Bob", &["attestations:write"], &["src_self"], None).await;
        let path = format!("/v1/attestations/{id}/revoke");
        let reason = json!({ "reason": "withdrawn" });
        let answer = t.send(&stranger, Method::POST, &path, Some(reason.clone())).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "another source's attestation looks missing");
        let answer = t.send(&sources.token, Method::POST, &path, Some(reason)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_ne!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
        replica.poll_feed().await.unwrap();
        let answer = replica.eligibility(&SubjectId::parse(&subject).unwrap(), &resource).await.unwrap().0;
        assert_eq!(answer.status, Status::Insufficient);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_delivery_is_recognised_and_a_newer_result_supersedes() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.subject("ada").await;
        let check = |event: &str, at: &str, outcome: &str| {
            json!({ "source": sources.vendor, "kind": "document_check", "grade": "STRONG", "event_id": event, "check_id": "c1",
                "outcome": outcome, "checked_at": at, "codes": ["face_match"], "document": { "type": "passport", "issuing_country": "USA" } })
        };
        let first = t.attest(&sources, &subject, check("e1", "2026-11-20T10:00:00Z", "approved")).await;
        assert_eq!(first.status, StatusCode::CREATED);
        let again = t.attest(&sources, &subject, check("e1", "2026-11-20T10:00:00Z", "approved")).await;
        assert_eq!((again.status, &again.body["id"]), (StatusCode::OK, &first.body["id"]));
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
        let declined = t.attest(&sources, &subject, check("e2", "2026-11-20T11:00:00Z", "declined")).await;
        assert_eq!(declined.status, StatusCode::CREATED);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "insufficient");
        let late = t.attest(&sources, &subject, check("e3", "2026-11-20T10:30:00Z", "approved")).await;
        assert_eq!((late.status, late.body["code"].as_str()), (StatusCode::CONFLICT, Some("overtaken")));
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_names_the_member_and_changes_nothing() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let subject = t.subject("ada").await;
        let base = || asylee_record(&sources);
        let mut cases = Vec::new();
        for (pointer, member, value) in [
            ("/kind", "kind", json!("document_check")),
            ("/checked_at", "checked_at", json!("2026-11-21T00:05:01Z")),
            ("/doubt", "doubt", json!(1.5)),
            ("/statement", "statement", json!({ "type": "states", "frame": "us_status", "states": ["martian"] })),
            ("/statement", "statement", json!({ "type": "states", "frame": "us_status", "states": [] })),
            ("/document/issuing_country", "document", json!({ "issuing_country": "usa" })),
            ("/document/issuing_country", "document", json!({ "issuing_country": "UTO" })),
            ("/document/expires_on", "document", json!({ "expires_on": "2026-02-30" })),
            ("", "surprise", json!(1)),
        ] {
            let mut body = base();
            body[member] = value;
            cases.push((pointer, body));
        }
        for (pointer, body) in cases {
            let answer = t.attest(&sources, &subject, body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{pointer}: {}", answer.body);
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{}", answer.body);
        }
        let mut other = base();
        other["source"] = json!("src_self");
        assert_eq!(t.attest(&sources, &subject, other).await.status, StatusCode::FORBIDDEN);
        let items = t.get(&format!("/v1/subjects/{subject}/attestations")).await.body;
        assert_eq!(items["items"], json!([]));
        // A clock 300 s ahead is clamped to the instant of receipt.
        let mut ahead = base();
        ahead["checked_at"] = json!("2026-11-21T00:05:00Z");
        assert_eq!(t.attest(&sources, &subject, ahead).await.status, StatusCode::CREATED);
        let items = t.get(&format!("/v1/subjects/{subject}/attestations")).await.body;
        assert_eq!(items["items"][0]["facts"]["checked_at"], "2026-11-21T00:00:00Z");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_criterion_judges_the_address_behind_the_trusted_proxy() {
    on_both(async |t: TestApp| {
        t.activate("embargo").await;
        t.audience("edge").await;
        let sources: Sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": "k" })).await;
        let key = t.gateway("edge", true).await;
        let from = async |forwarded: &str| {
            t.check(
                "regional.api",
                &[("x-gateway-key", &key), ("x-vouchsafe-caller", "api-key:k"), ("x-forwarded-for", forwarded)],
            )
            .await
        };
        assert_eq!(from("192.0.2.10").await.status, StatusCode::OK);
        let embargoed = from("198.51.100.10").await;
        assert_eq!(
            (embargoed.status, embargoed.header("x-eligibility-reason")),
            (StatusCode::FORBIDDEN, "status.ineligible")
        );
        let hidden = from("203.0.113.10").await;
        assert_eq!(
            (hidden.status, hidden.header("x-eligibility-reason")),
            (StatusCode::FORBIDDEN, "status.insufficient")
        );
        assert_eq!(from("not an address").await.status, StatusCode::FORBIDDEN, "no address is no evidence");
        assert_eq!(
            from("192.0.2.10, 198.51.100.10").await.status,
            StatusCode::FORBIDDEN,
            "the right-most untrusted address counts"
        );
        assert_eq!(t.eligibility(&subject, "regional.api").await["live"], json!(["location"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ungoverned_resource_is_refused_for_everybody() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let decision = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(
            (&decision["status"], &decision["reasons"][0]),
            (&json!("ineligible"), &json!("resource.ungoverned"))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_person_never_approves_twice() {
    on_both(async |t: TestApp| {
        let directive = json!({ "id": "d", "authority": "a", "citation": "c", "actions": [{ "activate": { "policy": "embargo", "version": 1 } }] });
        t.created("/v1/directives", directive).await;
        let twin = t.client("Ada", &["directives:approve"], &[], None).await;
        let answer = t.send(&twin, Method::POST, "/v1/directives/d/approve", None).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (StatusCode::FORBIDDEN, Some("second_person_required")));
        let subject = t.subject("ada").await;
        assert_eq!(t.eligibility(&subject, "regional.api").await["reasons"][0], "resource.ungoverned");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_still_explained_after_a_revocation_in_its_own_second() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let before = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(before["status"], "eligible");
        for attestation in attestations(&t, &subject).await {
            let path = format!("/v1/attestations/{}/revoke", attestation["id"].as_str().unwrap());
            let body = serde_json::json!({ "reason": "gone" });
            let revoked = t.send(&sources.token, reqwest::Method::POST, &path, Some(body)).await;
            assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.body);
        }
        let after = t.eligibility(&subject, "restricted.api").await;
        assert_eq!((&after["at"], after["status"] == "eligible"), (&before["at"], false), "the same second");
        for decision in [before, after] {
            let again = t.decided(&decision).await;
            assert_eq!((again.status, &again.body), (StatusCode::OK, &decision));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_what_is_open_what_is_scheduled_and_what_to_try_again() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let body =
            json!({ "id": "edge", "name": "edge", "resources": ["restricted.api", "restricted.chat", "regional.x"] });
        t.created("/v1/audiences", body).await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let eligible = t.eligibility(&subject, "restricted.api").await;
        assert_eq!((&eligible["alternatives"], &eligible["upcoming"]), (&json!([]), &json!([])));

        // The clock of the tests stands at 2026-11-21.
        let freeze = json!({ "id": "later", "authority": "a", "citation": "c", "effective_at": "2026-11-23T00:00:00Z",
            "actions": [{ "freeze": "restricted.chat" }] });
        t.created("/v1/directives", freeze).await;
        let freeze =
            json!({ "id": "now", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.api" }] });
        t.created("/v1/directives", freeze).await;
        let chat = t.eligibility(&subject, "restricted.chat").await;
        let told = json!([{ "at": "2026-11-23T00:00:00Z", "status": "ineligible", "directives": ["later"] }]);
        assert_eq!(
            (&chat["status"], &chat["upcoming"], &chat["alternatives"]),
            (&json!("eligible"), &told, &json!([]))
        );
        let frozen = t.eligibility(&subject, "restricted.api").await;
        assert_eq!(frozen["next_steps"][0]["action"], "FINAL");
        assert_eq!(frozen["alternatives"][0]["resource"], "restricted.chat");
        assert_eq!(frozen["alternatives"].as_array().unwrap().len(), 1);

        let other = t.subject("bea").await;
        let mut blurred = face_check(&sources);
        blurred["outcome"] = json!("resubmit");
        assert_eq!(t.attest(&sources, &other, blurred).await.status, StatusCode::CREATED);
        let refused = t.eligibility(&other, "restricted.chat").await;
        assert_eq!(
            (&refused["next_steps"][0]["action"], &refused["next_steps"][1]["action"]),
            (&json!("RETRY"), &json!("PROVIDE"))
        );
        assert!(refused["next_steps"][1]["needs"][0].get("missing_units").is_none(), "units are for operators");
    })
    .await;
}
