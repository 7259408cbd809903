//! Operators sign in, are bounded in what they may do and for how long, and cannot be kept out by strangers.

use crate::app::{Answer, TestApp, answer, on_both};
use crate::support::pairs;
use reqwest::{Method, StatusCode};
use serde_json::json;
use vouchsafe::service::operators::{Maker, NewOperator, Role};

pub(crate) const PASSWORD: &str = "a goose crossed nine frozen lakes";

pub(crate) fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or(""))
}

async fn sign_in_from(t: &TestApp, address: &str, login: &str, password: &str) -> Answer {
    let body = json!({ "login": login, "password": password });
    let request = t.http.post(format!("{}/v1/operators/login", t.url)).header("x-forwarded-for", address);
    answer(request.json(&body)).await
}

async fn sign_in(t: &TestApp, login: &str, password: &str) -> Answer {
    sign_in_from(t, "192.0.2.1", login, password).await
}

fn token(signed_in: &Answer) -> String {
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.body);
    signed_in.body["token"].as_str().unwrap().to_owned()
}

async fn change(t: &TestApp, token: &str, old: &str, new: &str) -> Answer {
    let body = json!({ "password": old, "new_password": new });
    t.send(token, Method::POST, "/v1/operators/password", Some(body)).await
}

/// A new operator with a password of their own, signed in; made at the machine.
pub(crate) async fn operator(t: &TestApp, login: &str, name: &str, roles: &[Role], subject: Option<&str>) -> String {
    let new = NewOperator {
        login: login.to_owned(),
        name: name.to_owned(),
        roles: roles.iter().copied().collect(),
        subject: subject.map(str::to_owned),
    };
    let created = t.app.create_operator(&Maker::CommandLine, new).await.unwrap();
    let first = token(&sign_in(t, login, &created.password).await);
    let changed = change(t, &first, &created.password, PASSWORD).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    token(&sign_in(t, login, PASSWORD).await)
}

async fn rules_status(t: &TestApp, token: &str) -> StatusCode {
    t.send(token, Method::GET, "/v1/policies", None).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_changes_the_given_password_before_anything_else() {
    on_both(async |t: TestApp| {
        let new = json!({ "login": "Cam", "name": "Cam Doe", "roles": ["auditor"] });
        let created = t.created("/v1/operators", new.clone()).await;
        assert_eq!(created["id"], "opr_cam");
        let given = created["password"].as_str().unwrap();
        assert_eq!(refusal(&t.post("/v1/operators", new).await), (409, "conflict"), "a name is one person for ever");
        let signed_in = sign_in(&t, "cam", given).await;
        assert_eq!(
            (&signed_in.body["password_change_required"], &signed_in.body["scopes"]),
            (&json!(true), &json!([]))
        );
        let first = token(&signed_in);
        let locked = t.send(&first, Method::GET, "/v1/policies", None).await;
        assert_eq!(refusal(&locked), (403, "password_change_required"));
        assert_eq!(refusal(&change(&t, &first, "not this one at all", PASSWORD).await), (401, "unauthenticated"));
        for short in ["too short", "aaaaaaaaaaaaaaaaaaaa", "this is cam speaking", given] {
            assert_eq!(refusal(&change(&t, &first, given, short).await), (422, "invalid"), "{short}");
        }
        assert_eq!(change(&t, &first, given, PASSWORD).await.status, StatusCode::NO_CONTENT);
        assert_eq!(rules_status(&t, &first).await, StatusCode::UNAUTHORIZED, "every sign-in ended");
        assert_eq!(refusal(&sign_in(&t, "cam", given).await), (401, "unauthenticated"));
        let signed_in = sign_in(&t, "cam", PASSWORD).await;
        let second = token(&signed_in);
        assert_eq!(rules_status(&t, &second).await, StatusCode::OK);
        let beyond = t.send(&second, Method::GET, "/v1/clients", None).await;
        assert_eq!(refusal(&beyond), (403, "insufficient_scope"));
        // Neither the token nor the password is anywhere to be read.
        let shown = t.get("/v1/operators/opr_cam").await;
        assert_eq!(shown.body["body"]["roles"], json!(["auditor"]));
        assert!(shown.body["body"].get("secret_hash").is_none(), "{}", shown.body);
        let stored = pairs(&t.database_url, "SELECT digest, operator FROM operator_sessions").await;
        assert_eq!(stored.len(), 2);
        assert!(stored.iter().all(|(digest, operator)| *digest != second && operator == "opr_cam"));
        let signed = t.audited("operator.signed_in").await;
        assert_eq!(signed.len(), 2);
        assert_eq!(signed[0]["actor"], "operator:opr_cam");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_with_its_time_its_use_and_its_operator() {
    on_both(async |mut t: TestApp| {
        let cam = operator(&t, "cam", "Cam Doe", &[Role::Auditor], None).await;
        let replica = t.replica().await;
        // Idle for half an hour, to the second.
        t.clock.advance(1799);
        t.app.poll_feed().await.unwrap();
        assert_eq!(rules_status(&t, &cam).await, StatusCode::OK);
        t.clock.advance(1800);
        t.app.poll_feed().await.unwrap();
        assert_eq!(rules_status(&t, &cam).await, StatusCode::UNAUTHORIZED);
        // Used all the time it lasts twelve hours, to the second.
        let cam = token(&sign_in(&t, "cam", PASSWORD).await);
        for _ in 0..24 {
            t.clock.advance(1790);
            t.app.poll_feed().await.unwrap();
            assert_eq!(rules_status(&t, &cam).await, StatusCode::OK);
        }
        t.clock.advance(12 * 3600 - 24 * 1790 - 1);
        assert_eq!(rules_status(&t, &cam).await, StatusCode::OK, "a second before");
        t.clock.advance(1);
        assert_eq!(rules_status(&t, &cam).await, StatusCode::UNAUTHORIZED);
        // Signed out: this one ends, another does not.
        let (one, other) = (token(&sign_in(&t, "cam", PASSWORD).await), token(&sign_in(&t, "cam", PASSWORD).await));
        let out = t.send(&one, Method::POST, "/v1/operators/logout", None).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert_eq!(rules_status(&t, &one).await, StatusCode::UNAUTHORIZED);
        assert!(replica.caller(&one).await.is_err() && replica.caller(&other).await.is_ok());
        // Disabled: everywhere, without waiting for a feed, and no way in.
        t.admin = t.client("Ada", &["admin"], &[], None).await;
        assert_eq!(t.post("/v1/operators/opr_cam/disable", json!({})).await.status, StatusCode::NO_CONTENT);
        assert!(replica.caller(&other).await.is_err(), "a second replica has read nothing since");
        assert_eq!(rules_status(&t, &other).await, StatusCode::UNAUTHORIZED);
        assert_eq!(refusal(&sign_in(&t, "cam", PASSWORD).await), (401, "unauthenticated"));
        // A reset lets them in again, and only with the new password.
        let reset = t.app.reset_operator("opr_cam").await.unwrap();
        assert_eq!(refusal(&sign_in(&t, "cam", PASSWORD).await), (401, "unauthenticated"));
        token(&sign_in(&t, "cam", &reset.password).await);
        assert_eq!(t.audited("operator.disabled").await.len(), 1);
        // They are remembered for 30 days, then forgotten.
        t.app.keep_bounds().await.unwrap();
        let kept = async || pairs(&t.database_url, "SELECT digest, operator FROM operator_sessions").await.len();
        assert!(kept().await >= 6);
        t.clock.advance(30 * 86_400);
        t.app.poll_feed().await.unwrap();
        t.app.keep_bounds().await.unwrap();
        assert_eq!(kept().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_bounded_and_keeps_nobody_out() {
    on_both(async |t: TestApp| {
        operator(&t, "cam", "Cam Doe", &[Role::Auditor], None).await;
        for n in 0..10 {
            for name in ["cam", "nobody"] {
                let guess = sign_in_from(&t, "198.51.100.7", name, &format!("guess number {n}")).await;
                assert_eq!(refusal(&guess), (401, "unauthenticated"), "{name}: a name that exists shows by nothing");
            }
        }
        for name in ["cam", "nobody"] {
            let refused = sign_in_from(&t, "198.51.100.7", name, PASSWORD).await;
            assert_eq!(refusal(&refused), (429, "too_many_tries"), "{name}: even the right one");
            assert_eq!(refused.header("retry-after"), "901");
        }
        assert_eq!(t.audited("operator.sign_in_blocked").await.len(), 1, "told once");
        token(&sign_in(&t, "cam", PASSWORD).await);
        // From everywhere at once: strangers wait, who signed in from here lately does not.
        for site in 0..90 {
            let guess = sign_in_from(&t, &format!("203.0.113.{site}"), "cam", "another guess of many").await;
            assert_eq!(refusal(&guess), (401, "unauthenticated"), "{site}");
        }
        let stranger = sign_in_from(&t, "203.0.113.200", "cam", PASSWORD).await;
        assert_eq!(refusal(&stranger), (429, "too_many_tries"));
        token(&sign_in(&t, "cam", PASSWORD).await);
        t.clock.advance(3600);
        token(&sign_in_from(&t, "203.0.113.200", "cam", PASSWORD).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_on_rules_is_made_at_the_machine_and_loses_it_at_once() {
    on_both(async |t: TestApp| {
        let new = |role: &str| json!({ "login": "eve", "name": "Eve", "roles": [role] });
        let refused = t.post("/v1/operators", new("compliance")).await;
        assert_eq!((refusal(&refused), &refused.body["errors"][0]["pointer"]), ((422, "invalid"), &json!("/roles")));
        assert_eq!(refusal(&t.post("/v1/operators", new("root")).await), (422, "invalid"));
        // An operator may be the second person of a directive; disabled before it is complete, they speak no more.
        let cam = operator(&t, "cam", "Cam Doe", &[Role::Compliance], None).await;
        let lee = operator(&t, "lee", "Lee Roe", &[Role::Compliance], None).await;
        let directive = |id: &str| {
            json!({ "id": id, "authority": "a", "citation": "c",
                "actions": [{ "activate": { "policy": "restricted-us-persons", "version": 1 } }] })
        };
        for id in ["one", "two"] {
            let proposed = t.send(&cam, Method::POST, "/v1/directives", Some(directive(id))).await;
            assert_eq!(proposed.status, StatusCode::CREATED, "{}", proposed.body);
        }
        let own = t.send(&cam, Method::POST, "/v1/directives/one/approve", None).await;
        assert_eq!(refusal(&own), (403, "second_person_required"));
        let approved = t.send(&lee, Method::POST, "/v1/directives/one/approve", None).await;
        assert_eq!((approved.status, &approved.body["loosening_applied"]), (StatusCode::OK, &json!(true)));
        let proposed = t.audited("directive.proposed").await;
        assert_eq!(proposed[0]["actor"], "operator:opr_cam");
        t.post("/v1/operators/opr_cam/disable", json!({})).await;
        let approved = t.send(&lee, Method::POST, "/v1/directives/two/approve", None).await;
        assert_eq!((approved.status, &approved.body["loosening_applied"]), (StatusCode::OK, &json!(false)));
        assert!(!Role::Auditor.scopes().contains(&"cases:identify"), "an auditor sees no identifiers");
    })
    .await;
}
