//! The ledger knows for whom somebody was let in, and finds it again.

use super::{PASSED, Trade, claims, gist, resource};
use crate::app::{TestApp, answer, on_both};
use reqwest::StatusCode;
use serde_json::{Value, json};

const HOUR: i64 = 3600;

async fn rows(t: &TestApp, subject: &str) -> Vec<Value> {
    let page = t.get(&format!("/v1/admissions?subject={subject}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    page.body["items"].as_array().unwrap().clone()
}

async fn exposed(t: &TestApp, subject: &str) -> Vec<(String, String)> {
    let page = t.get(&format!("/v1/reports/exposure?subject={subject}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = page.body["items"].as_array().unwrap().iter();
    items.map(|item| (text(&item["resource"]), text(&item["now"]["status"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_user_is_found_in_the_ledger_and_in_the_report() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        for handle in ["h", "v"] {
            assert_eq!(trade.acme.registers(&t, handle).await.status, StatusCode::CREATED);
        }
        let (eligible, vouched) = (trade.acme.behind(&t, "h").await, trade.acme.behind(&t, "v").await);
        trade.proves(&t, &eligible).await;
        let vouch = trade.acme.vouches(&t, "v").await;
        // Where somebody has to be eligible a vouch makes up for nothing, also looking back.
        trade.acme.vouches(&t, "h").await;
        let own = t.token(&trade.acme.agent, &resource("required"), "edge").await;
        let token = trade.acme.exchanged(&t, &resource("required"), "h", Some(&own)).await;
        t.clock.advance(60);
        t.app.poll_feed().await.unwrap();
        for _ in 0..2 {
            assert_eq!(gist(&trade.asserted(&t, "required", &trade.acme.caller, Some("h")).await), PASSED);
        }
        assert_eq!(gist(&trade.by_token(&t, &trade.plain, "required", &token, None).await), PASSED);
        assert_eq!(gist(&trade.asserted(&t, "vouched", &trade.acme.caller, Some("v")).await), PASSED);
        assert_eq!(gist(&trade.asserted(&t, "ignored", &trade.acme.caller, Some("v")).await), PASSED);
        t.app.write_admissions().await.unwrap();
        let found = rows(&t, &eligible).await;
        let count = |found: &[Value]| found.iter().map(|row| row["count"].as_i64().unwrap()).sum::<i64>();
        assert_eq!((count(&found), found.len()), (3, 2), "twice by one gateway, once by the other");
        for row in &found {
            assert_eq!((&row["through"], &row["acting_for"]), (&json!(trade.acme.subject), &Value::Null), "{row}");
            let decision = t.get(&format!("/v1/decisions/{}", row["decision"].as_str().unwrap())).await;
            assert_eq!((&decision.body["subject"], &decision.body["status"]), (&json!(eligible), &json!("eligible")));
            assert_eq!(decision.body["end_user"], "required");
        }
        let by_vouch = rows(&t, &vouched).await;
        assert_eq!((by_vouch.len(), &by_vouch[0]["resource"]), (1, &json!(resource("vouched"))));
        let callers = rows(&t, &trade.acme.agent).await;
        assert_eq!(count(&callers), 5, "who called is counted as ever");
        assert!(callers.iter().all(|row| row["through"].is_null()));
        assert_eq!((exposed(&t, &eligible).await, exposed(&t, &vouched).await), (vec![], vec![]));
        // A gate that judges by itself counts both as well.
        let body = json!({ "name": "off", "resources": ["restricted.*"], "audience": "edge", "mode": "offline" });
        let key = t.created("/v1/gateways", body).await["key"].as_str().unwrap().to_owned();
        let upload = async |id: &str, said: &Value, change: fn(&mut Value)| {
            let at = t.clock_secs();
            let mut line = json!({ "subject": said["act"]["sub"], "resource": resource("required"),
                "decision": said["eligibility"]["decision"], "hour": at - at % HOUR, "count": 4, "first_at": at, "last_at": at,
                "end_user": { "subject": said["sub"], "customer": said["eligibility"]["end_user"]["customer"],
                    "decision": said["eligibility"]["end_user"]["decision"] } });
            change(&mut line);
            let request = t.http.post(format!("{}/v1/admissions", t.url)).header("x-gateway-key", &key);
            let answer = answer(request.json(&json!({ "upload": id, "admissions": [line] }))).await;
            answer.body["items"][0].clone()
        };
        let said = claims(&token);
        assert_eq!(upload("u1", &said, |_| {}).await, json!({ "result": "counted" }));
        assert_eq!((count(&rows(&t, &eligible).await), count(&rows(&t, &trade.acme.agent).await)), (7, 9));
        for (id, code, change) in [
            ("u2", "subject_unknown", (|line| line["end_user"]["customer"] = line["subject"].clone()) as fn(&mut Value)),
            ("u3", "subject_unknown", |line| line["end_user"]["subject"] = line["subject"].clone()),
            ("u4", "subject_unknown", |line| line["end_user"]["decision"] = line["decision"].clone()),
            ("u5", "decision_of_another", |line| line["subject"] = line["end_user"]["customer"].clone()),
        ] {
            assert_eq!(upload(id, &said, change).await["code"], code, "{id}");
        }
        assert_eq!(count(&rows(&t, &eligible).await), 7);
        // It turns out that the papers were forged, and that the vouch was a mistake from then on.
        t.clock.advance(60);
        t.app.poll_feed().await.unwrap();
        let attestations = crate::app::attestations(&t, &eligible).await;
        let record = attestations.iter().find(|a| a["facts"]["kind"] == "registry").unwrap()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/attestations/{record}/revoke");
        let revoked = json!({ "reason": "forged", "from_start": true });
        let done = t.send(&trade.sources.token, reqwest::Method::POST, &path, Some(revoked)).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.body);
        trade.acme.withdraws(&t, &vouch).await;
        let found = exposed(&t, &eligible).await;
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|row| *row == (resource("required"), "insufficient".to_owned())), "{found:?}");
        assert_eq!(exposed(&t, &vouched).await, vec![], "a withdrawal counts from its second");
        // What is held against somebody whose vouch was enough makes it an exposure.
        let body = json!({ "source": trade.sources.registry, "kind": "registry", "grade": "STRONG",
            "checked_at": vouchsafe_core::Second::from_epoch(crate::app::START_MS / 1000 - 60).to_string(),
            "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
        assert_eq!(t.attest(&trade.sources, &vouched, body).await.status, StatusCode::CREATED);
        assert_eq!(exposed(&t, &vouched).await, [(resource("vouched"), "ineligible".to_owned())]);
    })
    .await;
}
