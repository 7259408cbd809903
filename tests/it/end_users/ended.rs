//! Whatever made a token about an end user ends it when it ends, at once and in every picture of it.

use super::{PASSED, Trade, claims, gist, policy, refused, resource, revoked};
use crate::app::{TestApp, introspect, on_both, work_off};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Registers a handle whose end user is eligible and vouched for; the subject and the vouch.
async fn somebody(t: &TestApp, trade: &Trade, handle: &str) -> (String, String) {
    assert_eq!(trade.acme.registers(t, handle).await.status, StatusCode::CREATED);
    let subject = trade.acme.behind(t, handle).await;
    trade.proves(t, &subject).await;
    let vouch = trade.acme.vouches(t, handle).await;
    (subject, vouch)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_loses_is_obeyed_at_once_and_ends_the_tokens() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let mut ended = 0;
        for (turn, what) in
            ["vouch", "suspended", "evidence", "handle", "erased", "responsible"].into_iter().enumerate()
        {
            let handle = format!("h-{what}");
            let (subject, vouch) = somebody(&t, &trade, &handle).await;
            let mode = if ["vouch", "suspended"].contains(&what) { "vouched" } else { "required" };
            let own = t.token(&trade.acme.agent, &resource(mode), "edge").await;
            let token = trade.acme.exchanged(&t, &resource(mode), &handle, Some(&own)).await;
            let check = async || gist(&trade.by_token(&t, &trade.plain, mode, &token, None).await);
            let by_handle = async || gist(&trade.asserted(&t, mode, &trade.acme.caller, Some(&handle)).await);
            assert_eq!((check().await, by_handle().await), (PASSED, PASSED), "{what}");
            assert_eq!(introspect(&t.app, &token).await["active"], true, "{what}");
            work_off(&t.app).await;
            assert_eq!(revoked(&t).await, ended, "{what}: nothing happened yet");
            t.clock.advance(1);
            let refusal = match what {
                "vouch" => {
                    trade.acme.withdraws(&t, &vouch).await;
                    "end_user.not_vouched"
                }
                "suspended" => {
                    let path = format!("/v1/organisations/{}/suspend", trade.acme.id);
                    let done = t.post(&path, json!({ "reason": "stolen" })).await;
                    assert!(done.status.is_success(), "{}", done.body);
                    "end_user.not_vouched"
                }
                "evidence" => {
                    trade.record(&t, &subject, "other").await;
                    "end_user.not_eligible"
                }
                "handle" => {
                    let gone =
                        t.send(&trade.acme.access, Method::DELETE, &format!("/v1/end-users/{handle}"), None).await;
                    assert_eq!(gone.status, StatusCode::NO_CONTENT);
                    // Ended before it was answered.
                    assert_eq!(check().await, refused("token.revoked"));
                    "end_user.unknown"
                }
                "erased" => {
                    let done = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
                    assert!(done.status.is_success());
                    "end_user.unknown"
                }
                _ => {
                    trade.record(&t, &trade.responsible, "other").await;
                    "status.review"
                }
            };
            assert_eq!(by_handle().await, refused(refusal), "{what}");
            assert!(
                [refused(refusal), refused("token.revoked")].contains(&check().await),
                "{what}: {:?}",
                check().await
            );
            assert_eq!(introspect(&t.app, &token).await, json!({ "active": false }), "{what}");
            // Another process, which has just begun.
            let replica = t.replica().await;
            replica.poll_feed().await.unwrap();
            assert_eq!(introspect(&replica, &token).await, json!({ "active": false }), "{what}");
            work_off(&t.app).await;
            assert_eq!(check().await, refused("token.revoked"), "{what}");
            // The workload's own tokens end with the one who answers for it.
            ended += 1;
            if what == "responsible" {
                ended += turn + 1;
            }
            assert_eq!(revoked(&t).await, ended, "{what}");
            if what == "suspended" {
                let path = format!("/v1/organisations/{}/reinstate", trade.acme.id);
                assert!(t.post(&path, json!({ "reason": "cleared" })).await.status.is_success());
                // In the very second of it nothing new counts yet.
                t.clock.advance(1);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_before_anybody_asked_ends_when_somebody_does() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let (early, late) = ("ignored", "required");
        let own = t.token(&trade.acme.agent, &resource(early), "edge").await;
        let marked = t.token(&trade.acme.agent, &resource(late), "edge").await;
        let told = |token: &str| claims(token)["eligibility"]["end_user"].clone();
        assert_eq!((told(&own), told(&marked)), (Value::Null, json!("required")));
        // By itself the second opens nothing, so nobody is told that it is worth something.
        assert_eq!(introspect(&t.app, &own).await["active"], true);
        assert_eq!(introspect(&t.app, &marked).await, json!({ "active": false }));
        work_off(&t.app).await;
        assert_eq!(revoked(&t).await, 0);
        t.clock.advance(1);
        let mut stricter = policy("ignored", "vouched");
        stricter["id"] = json!("stricter");
        t.created("/v1/policies", stricter).await;
        t.activate("stricter").await;
        assert_eq!(gist(&trade.by_token(&t, &trade.plain, early, &own, None).await), refused("end_user.missing"));
        assert_eq!(introspect(&t.app, &own).await, json!({ "active": false }));
        work_off(&t.app).await;
        assert_eq!(gist(&trade.by_token(&t, &trade.plain, early, &own, None).await), refused("token.revoked"));
        assert_eq!(revoked(&t).await, 1, "the other one said so from the beginning");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_the_first_of_all_that_made_it() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let (subject, _) = somebody(&t, &trade, "h").await;
        let now = t.clock_secs();
        let own = t.token(&trade.acme.agent, &resource("required"), "edge").await;
        t.clock.advance(100);
        t.app.poll_feed().await.unwrap();
        let token = trade.acme.exchanged(&t, &resource("required"), "h", Some(&own)).await;
        // Not the policy's 900 s from now on, but those of the token by which the workload acts.
        assert_eq!(claims(&token)["exp"], now + 900);
        assert_eq!(claims(&token)["eligibility"]["valid_until"], claims(&token)["exp"]);
        // What says no more about the end user in five minutes.
        let ends_at = vouchsafe_core::Second::from_epoch(t.clock_secs() + 300);
        let record = json!({ "source": trade.sources.registry, "kind": "registry", "grade": "STRONG", "check_id": "c",
            "ends_at": ends_at.to_string(), "statement": { "type": "states", "frame": "us_status", "states": ["citizen"] } });
        let nobody = t.subject("short").await;
        let link = json!({ "namespace": format!("end-user:{}", trade.acme.id), "id": "short" });
        t.created(&format!("/v1/subjects/{nobody}/links"), link).await;
        assert_eq!(t.attest(&trade.sources, &nobody, record).await.status, StatusCode::CREATED);
        assert_eq!(t.attest(&trade.sources, &nobody, crate::app::face_check(&trade.sources)).await.status, StatusCode::CREATED);
        let token = trade.acme.exchanged(&t, &resource("required"), "short", Some(&own)).await;
        assert_eq!(claims(&token)["exp"], t.clock_secs() + 300);
        let vouch = json!({ "subject": "end-user:h", "ends_at": vouchsafe_core::Second::from_epoch(t.clock_secs() + 60).to_string(),
            "statement": { "type": "states", "frame": "end_user", "states": ["own"] } });
        // A vouch that lasts for a year stands beside the short one.
        assert_eq!(t.send(&trade.acme.access, Method::POST, "/v1/vouches", Some(vouch)).await.status, StatusCode::CREATED);
        let own = t.token(&trade.acme.agent, &resource("vouched"), "edge").await;
        let token = trade.acme.exchanged(&t, &resource("vouched"), "h", Some(&own)).await;
        assert_eq!(claims(&token)["exp"], t.clock_secs() + 900);
        // Where there is no other, the token ends with it.
        assert_eq!(trade.acme.registers(&t, "brief").await.status, StatusCode::CREATED);
        let brief = json!({ "subject": "end-user:brief", "ends_at": vouchsafe_core::Second::from_epoch(t.clock_secs() + 60).to_string(),
            "statement": { "type": "states", "frame": "end_user", "states": ["own"] } });
        assert_eq!(t.send(&trade.acme.access, Method::POST, "/v1/vouches", Some(brief)).await.status, StatusCode::CREATED);
        let token = trade.acme.exchanged(&t, &resource("vouched"), "brief", Some(&own)).await;
        assert_eq!(claims(&token)["exp"], t.clock_secs() + 60);
        // The header's answer says the same instant: the decision about the end user ends first.
        let passed = trade.asserted(&t, "required", &trade.acme.caller, Some("short")).await;
        assert_eq!(passed.header("x-eligibility-valid-until"), ends_at.to_string());
        assert_eq!(gist(&passed), PASSED);
        t.clock.advance(299);
        t.app.poll_feed().await.unwrap();
        assert_eq!(gist(&trade.asserted(&t, "required", &trade.acme.caller, Some("short")).await), PASSED);
        t.clock.advance(1);
        t.app.poll_feed().await.unwrap();
        let over = trade.asserted(&t, "required", &trade.acme.caller, Some("short")).await;
        assert_eq!(gist(&over), refused("end_user.not_eligible"));
        assert_eq!(t.eligibility(&subject, &resource("required")).await["status"], "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vouch_for_an_end_user_counts_for_a_year() {
    on_both(async |mut t: TestApp| {
        let mut trade = Trade::new(&t).await;
        assert_eq!(trade.acme.registers(&t, "h").await.status, StatusCode::CREATED);
        trade.acme.vouches(&t, "h").await;
        let year = 365 * 86_400;
        for (at, wanted) in [(year - 1, PASSED), (year, refused("end_user.not_vouched"))] {
            t.clock.advance(at - (t.clock_secs() - crate::app::START_MS / 1000));
            t.app.poll_feed().await.unwrap();
            t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
            // The one who answers for the workload proves it anew.
            trade.sources = t.sources().await;
            trade.proves(&t, &trade.responsible).await;
            assert_eq!(gist(&trade.asserted(&t, "vouched", &trade.acme.caller, Some("h")).await), wanted, "{at}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_changes_its_owner_takes_no_end_user_along() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let (subject, _) = somebody(&t, &trade, "h").await;
        // The new owner serves the same person.
        let link = json!({ "namespace": format!("end-user:{}", trade.rival.id), "id": "r" });
        t.created(&format!("/v1/subjects/{subject}/links"), link).await;
        let own = t.token(&trade.acme.agent, &resource("required"), "edge").await;
        let token = trade.acme.exchanged(&t, &resource("required"), "h", Some(&own)).await;
        let check = async || gist(&trade.by_token(&t, &trade.plain, "required", &token, None).await);
        let named = async |handle| gist(&trade.asserted(&t, "required", &trade.acme.caller, Some(handle)).await);
        assert_eq!((check().await, named("h").await, named("r").await), (PASSED, PASSED, refused("end_user.unknown")));
        t.clock.advance(1);
        super::behind(&t, &trade.acme.agent, &trade.rival.id, &trade.responsible).await;
        assert_eq!((named("h").await, named("r").await), (refused("end_user.unknown"), PASSED));
        assert!(
            [refused("end_user.unknown"), refused("token.revoked")].contains(&check().await),
            "{:?}",
            check().await
        );
        assert_eq!(introspect(&t.app, &token).await, json!({ "active": false }));
        work_off(&t.app).await;
        assert_eq!(check().await, refused("token.revoked"));
    })
    .await;
}
