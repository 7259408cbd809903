//! Mode by caller by end user by vouch by handle by the way the caller comes: a yes never comes without both.

use super::{Customer, MODES, PASSED, Trade, gist, resource};
use crate::app::{TestApp, on_both};
use reqwest::{Method, StatusCode};
use serde_json::json;

const STATUSES: [&str; 4] = ["eligible", "insufficient", "ineligible", "review"];
const VOUCHES: [&str; 4] = ["none", "live", "withdrawn", "by_another"];
const HANDLES: [&str; 4] = ["own", "foreign", "unknown", "none"];

/// Says of a subject what makes it come to a status.
async fn comes_to(t: &TestApp, trade: &Trade, subject: &str, status: &str) {
    match status {
        "eligible" => trade.proves(t, subject).await,
        "ineligible" => drop(trade.record(t, subject, "other").await),
        "review" => {
            trade.record(t, subject, "other").await;
            trade.record(t, subject, "citizen").await;
        }
        _ => {}
    }
    assert_eq!(t.eligibility(subject, &resource("required")).await["status"], status);
}

/// The rule, written down a second time.
fn may(mode: &str, caller: &str, status: &str, vouch: &str, handle: &str) -> bool {
    let known = handle == "own";
    caller == "eligible"
        && match mode {
            "ignored" => true,
            "vouched" => known && vouch == "live" && ["eligible", "insufficient"].contains(&status),
            _ => known && status == "eligible",
        }
}

/// The one reason of a refusal whose caller may pass.
fn why(mode: &str, status: &str, vouch: &str, handle: &str) -> &'static str {
    match (handle, mode) {
        ("none", _) => "end_user.missing",
        ("foreign" | "unknown", _) => "end_user.unknown",
        (_, "vouched") if vouch != "live" => "end_user.not_vouched",
        _ if status != "eligible" => "end_user.not_eligible",
        _ => unreachable!("it passes"),
    }
}

struct Somebody {
    status: &'static str,
    vouch: &'static str,
    own: String,
    foreign: String,
}

async fn everybody(t: &TestApp, trade: &Trade) -> Vec<Somebody> {
    let mut found = Vec::new();
    for status in STATUSES {
        for vouch in VOUCHES {
            let own = format!("{status}-{vouch}");
            assert_eq!(trade.acme.registers(t, &own).await.status, StatusCode::CREATED);
            let subject = trade.acme.behind(t, &own).await;
            comes_to(t, trade, &subject, status).await;
            // The rival serves the same person.
            let foreign = format!("{status}-{vouch}-of-rival");
            let link = json!({ "namespace": format!("end-user:{}", trade.rival.id), "id": foreign });
            t.created(&format!("/v1/subjects/{subject}/links"), link).await;
            match vouch {
                "live" => drop(trade.acme.vouches(t, &own).await),
                "withdrawn" => trade.acme.withdraws(t, &trade.acme.vouches(t, &own).await).await,
                "by_another" => drop(trade.rival.vouches(t, &foreign).await),
                _ => {}
            }
            found.push(Somebody { status, vouch, own, foreign });
        }
    }
    found
}

/// Asks in every way about everybody, and compares with the rule; how many passed, and how many did not.
async fn ask_all(t: &TestApp, trade: &Trade, caller: &str, people: &[Somebody], tokens: &[String]) -> (usize, usize) {
    let (mut yes, mut no) = (0, 0);
    for (mode, token) in MODES.into_iter().zip(tokens) {
        for Somebody { status, vouch, own, foreign } in people {
            for handle in HANDLES {
                let text = match handle {
                    "own" => Some(own.as_str()),
                    "foreign" => Some(foreign.as_str()),
                    "unknown" => Some("somebody-else"),
                    _ => None,
                };
                let asserted = trade.asserted(t, mode, &trade.acme.caller, text).await;
                let by_token = trade.by_token(t, &trade.asserting, mode, token, text).await;
                let what = format!("{mode}, caller {caller}, end user {status}, vouch {vouch}, handle {handle}");
                assert_eq!(gist(&asserted), gist(&by_token), "{what}");
                if may(mode, caller, status, vouch, handle) {
                    yes += 1;
                    assert_eq!(gist(&asserted), PASSED, "{what}");
                    let told = !asserted.header("x-eligibility-end-user").is_empty();
                    assert_eq!(told, mode != "ignored", "{what}");
                } else {
                    no += 1;
                    let reason =
                        if caller == "eligible" { why(mode, status, vouch, handle) } else { "status.insufficient" };
                    assert_eq!(gist(&asserted), (403, reason.to_owned()), "{what}");
                    for header in ["x-eligibility-end-user", "x-eligibility-end-user-decision"] {
                        assert_eq!(asserted.header(header), "", "{what}");
                    }
                }
            }
        }
    }
    (yes, no)
}

/// What a handle is exchanged for opens exactly what the handle itself opens, at gateways that may not assert too.
async fn exchange_all(t: &TestApp, trade: &Trade, people: &[Somebody], tokens: &[String]) {
    let Customer { subject: organisation, .. } = &trade.acme;
    // The organisation itself is no US person here, so only its workload acts.
    assert_eq!(t.eligibility(organisation, &resource("required")).await["status"], "insufficient");
    for (mode, own) in MODES.into_iter().zip(tokens) {
        for Somebody { status, vouch, own: handle, foreign } in people {
            let issued = trade.acme.exchange(t, &resource(mode), handle, Some(own)).await;
            // Where nobody asks, a token about both is about both all the same.
            let stricter = if mode == "ignored" { "required" } else { mode };
            let expected = may(stricter, "eligible", status, vouch, "own");
            let what = format!("{mode}, end user {status}, vouch {vouch}");
            assert_eq!(issued.status == StatusCode::OK, expected, "{what}: {}", issued.body);
            if expected {
                let token = issued.body["access_token"].as_str().unwrap();
                assert_eq!(gist(&trade.by_token(t, &trade.plain, mode, token, None).await), PASSED, "{what}");
            } else {
                assert_eq!(issued.body["error"], "invalid_target", "{what}");
                let told = issued.body["error_description"].as_str().unwrap();
                assert!(told.starts_with(why(stricter, status, vouch, "own")), "{what}: {told}");
                assert_eq!(issued.body.get("decision"), None, "the end user's decision is not the customer's");
            }
            let nobodys = trade.acme.exchange(t, &resource(mode), "somebody-else", Some(own)).await;
            let rivals = trade.acme.exchange(t, &resource(mode), foreign, Some(own)).await;
            assert_eq!((rivals.status, &rivals.body), (nobodys.status, &nobodys.body), "{what}: no oracle");
            assert_eq!(rivals.body["error"], "invalid_request", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_caller_and_end_user_whatever_else_is_true() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let people = everybody(&t, &trade).await;
        let mut tokens = Vec::new();
        for mode in MODES {
            tokens.push(t.token(&trade.acme.agent, &resource(mode), "edge").await);
        }
        let (yes, no) = ask_all(&t, &trade, "eligible", &people, &tokens).await;
        // 16 people by 4 handles where nobody asks; 2 of them by their own handle where a vouch is asked for, 4 where they
        // have to be eligible.
        assert_eq!((yes, no), (64 + 2 + 4, 192 - 70));
        exchange_all(&t, &trade, &people, &tokens).await;
        // Somebody of whom nothing is known answers for the workload from now on.
        t.clock.advance(1);
        let nobody = t.subject("nobody").await;
        super::behind(&t, &trade.acme.agent, &trade.acme.id, &nobody).await;
        assert_eq!(ask_all(&t, &trade, "insufficient", &people, &tokens).await, (0, 192));
        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{}", trade.responsible), None).await;
        assert!(erased.status.is_success());
    })
    .await;
}
