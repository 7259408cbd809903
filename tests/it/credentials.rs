//! Credentials that leaked: whatever was got by them ends at once, everywhere, and does not come back.

use crate::app::{Answer, TestApp, answer, introspect, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::storage::{Change, FeedRow, Write};

async fn token(t: &TestApp, id: &str, secret: &str) -> Answer {
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    answer(t.http.post(format!("{}/oauth2/token", t.url)).form(&form)).await
}

fn given(answer: &Answer) -> String {
    answer.body["access_token"].as_str().expect("a token").to_owned()
}

async fn opens(t: &TestApp, token: &str) -> bool {
    let answer = t.send(token, Method::GET, "/v1/subjects/sub_none", None).await;
    assert!(matches!(answer.status.as_u16(), 401 | 404), "{}", answer.body);
    answer.status == StatusCode::NOT_FOUND
}

async fn command(t: &TestApp, path: &str) -> Answer {
    t.send(&t.admin, Method::POST, path, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_switched_off_is_nobody_and_its_tokens_never_come_back() {
    on_both(async |t: TestApp| {
        let client = t.client_secret().await;
        let (id, secret) = (client.id.as_str(), client.secret.as_str());
        let before = given(&token(&t, id, secret).await);
        let replica = t.replica().await;
        assert!(opens(&t, &before).await && replica.caller(&before).await.is_ok());

        assert_eq!(command(&t, &format!("/v1/clients/{id}/disable")).await.status, StatusCode::NO_CONTENT);
        assert!(!opens(&t, &before).await);
        assert_eq!(introspect(&t.app, &before).await["active"], false);
        assert_eq!(token(&t, id, secret).await.status, StatusCode::UNAUTHORIZED);
        replica.poll_feed().await.unwrap();
        assert!(replica.caller(&before).await.is_err(), "on every replica");
        assert_eq!(t.get(&format!("/v1/clients/{id}")).await.body["body"]["disabled"], true);

        // In the very same second.
        assert_eq!(command(&t, &format!("/v1/clients/{id}/enable")).await.status, StatusCode::NO_CONTENT);
        assert!(!opens(&t, &before).await, "what was given before stays dead");
        let after = given(&token(&t, id, secret).await);
        assert!(opens(&t, &after).await, "what is given from now on is worth something");
        t.clock.advance(2);
        assert!(!opens(&t, &before).await && opens(&t, &after).await);

        let entries = [t.audited("client.disabled").await, t.audited("client.enabled").await];
        assert_eq!(
            entries.map(|found| found.iter().map(|e| e["target"].clone()).collect::<Vec<Value>>()),
            [vec![json!(id)], vec![json!(id)]]
        );
        for path in ["disable", "enable", "secret"] {
            assert_eq!(command(&t, &format!("/v1/clients/cli_none/{path}")).await.status, StatusCode::NOT_FOUND);
            let reader = t.client("Bo", &["subjects:read"], &[], None).await;
            let refused = t.send(&reader, Method::POST, &format!("/v1/clients/{id}/{path}"), None).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_ends_the_one_before_and_what_was_got_by_it() {
    on_both(async |t: TestApp| {
        let client = t.client_secret().await;
        let id = client.id.as_str();
        let before = given(&token(&t, id, &client.secret).await);
        let path = format!("/v1/clients/{id}/secret");
        let renewed = t.post_with(&path, &json!({}), &[("idempotency-key", "\"leak-1\"")]).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
        let secret = renewed.body["client_secret"].as_str().unwrap().to_owned();
        assert_ne!(secret, client.secret);
        assert!(!opens(&t, &before).await);
        // It was proven a moment ago, so it need not have been hashed again.
        assert_eq!(token(&t, id, &client.secret).await.status, StatusCode::UNAUTHORIZED);
        let after = given(&token(&t, id, &secret).await);
        assert!(opens(&t, &after).await);
        assert_eq!(t.audited("client.secret_renewed").await.len(), 1);
        let shown = t.get(&format!("/v1/clients/{id}")).await.body.to_string();
        assert!(!shown.contains("secret_hash") && !shown.contains(&secret), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_is_made_on_the_host_only() {
    on_both(async |t: TestApp| {
        let scopes = ["directives:approve".to_owned()].into();
        let actor = vouchsafe::service::Actor::system();
        let approver = t.app.create_client(&actor, "test", "Lee", scopes, [].into(), None).await.unwrap();
        let id = approver.id.as_str();
        for path in ["secret", "enable"] {
            let refused = command(&t, &format!("/v1/clients/{id}/{path}")).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", refused.body);
        }
        // Whoever takes power away needs nobody.
        assert_eq!(command(&t, &format!("/v1/clients/{id}/disable")).await.status, StatusCode::NO_CONTENT);
        t.app.enable_client(&actor, id).await.unwrap();
        let secret = t.app.renew_client_secret(&actor, id).await.unwrap();
        assert!(t.app.access_token(id, &secret, None).await.is_ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_gets_another_key_with_or_without_time_to_change_over() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("gw").await;
        let first = t.gateway("gw", true).await;
        let id = first.split('.').next().unwrap().to_owned();
        // Unlinked is the answer to a gateway; 401 is none.
        let proves = async |key: &str| {
            let headers = [("x-gateway-key", key), ("x-vouchsafe-caller", "api-key:nobody")];
            t.check("restricted.api", &headers).await.status == StatusCode::FORBIDDEN
        };
        let renew = async |overlap: i64| {
            let renewed = t.post(&format!("/v1/gateways/{id}/key"), json!({ "overlap_secs": overlap })).await;
            assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.body);
            renewed.body["key"].as_str().unwrap().to_owned()
        };
        let second = renew(60).await;
        assert!(proves(&first).await && proves(&second).await);
        t.clock.advance(59);
        t.app.poll_feed().await.unwrap();
        assert!(proves(&first).await);
        t.clock.advance(1);
        t.app.poll_feed().await.unwrap();
        assert!(!proves(&first).await && proves(&second).await, "at the second it was told");
        let third = renew(60).await;
        let fourth = renew(0).await;
        assert_eq!(
            [proves(&first).await, proves(&second).await, proves(&third).await, proves(&fourth).await],
            [false, false, false, true],
            "one that leaked leaves nothing beside it"
        );
        let shown = t.get(&format!("/v1/gateways/{id}")).await.body.to_string();
        assert!(!shown.contains("sha256"), "{shown}");
        for bad in [-1, 604_801] {
            let refused = t.post(&format!("/v1/gateways/{id}/key"), json!({ "overlap_secs": bad })).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }

        assert_eq!(command(&t, &format!("/v1/gateways/{id}/disable")).await.status, StatusCode::NO_CONTENT);
        assert!(!proves(&fourth).await);
        let told = t.get("/v1/reports/gateways").await.body;
        let unguarded: Vec<_> = told["unguarded"].as_array().unwrap().iter().map(|u| u["resource"].clone()).collect();
        assert!(unguarded.contains(&json!("restricted.*")), "{told}");
        assert_eq!(command(&t, &format!("/v1/gateways/{id}/enable")).await.status, StatusCode::NO_CONTENT);
        assert!(proves(&fourth).await);
        assert_eq!(t.audited("gateway.key_renewed").await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_promised_can_be_taken_away_again() {
    on_both(async |t: TestApp| {
        t.audience("gw").await;
        let key = t.gateway("gw", false).await;
        let path = format!("/v1/gateways/{}", key.split('.').next().unwrap());
        let change = async |body: Value| {
            let answer = t.send(&t.admin, Method::PATCH, &path, Some(body)).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
            t.get(&path).await.body["body"].clone()
        };
        let set = json!({ "origin": "https://api.example", "help_url": "https://help.example/", "bound_secs": 5 });
        change(set.clone()).await;
        let same = change(json!({})).await;
        for (name, value) in set.as_object().unwrap() {
            assert_eq!(same[name], *value, "what is absent stays");
        }
        let gone = change(json!({ "origin": null, "help_url": null, "bound_secs": null })).await;
        for name in ["origin", "help_url", "bound_secs"] {
            assert!(gone.get(name).is_none(), "{name}: {gone}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_taken_from_a_client_is_gone_from_the_tokens_it_has() {
    on_both(async |t: TestApp| {
        let client = t.client("Bo", &["subjects:read", "admissions:read"], &[], None).await;
        let id = introspect(&t.app, &client).await["client_id"].as_str().unwrap().to_owned();
        let asked = async || {
            let status = async |path| t.send(&client, Method::GET, path, None).await.status.as_u16();
            (status("/v1/subjects").await, status("/v1/admissions").await)
        };
        assert_eq!(asked().await, (200, 200));
        // No call takes a scope away: this is what an operator does who does it by hand, or a call to come.
        let mut record = t.app.store.record("client", &id).await.unwrap().unwrap();
        let expected = record.version;
        record.body = record.body.replace("\"admissions:read\",", "");
        record.version += 1;
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("client/{id}") }];
        let writes = vec![Write::Record { record, expected }];
        let change = Change { writes, audit: Vec::new(), feed, outbox: Vec::new() };
        t.app.store.commit(change).await.unwrap().unwrap();
        t.app.poll_feed().await.unwrap();
        assert_eq!(asked().await, (200, 403));
        assert_eq!(introspect(&t.app, &client).await["scope"], "subjects:read");
    })
    .await;
}
