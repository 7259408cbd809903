//! An employer's roster: rows of vouches and withdrawals, each by itself.

use crate::app::{Answer, TestApp, answer, attestations, on_both, status};
use crate::support::pairs;
use crate::vouches::{Employer, visa_holder_named};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn employer(t: &TestApp) -> String {
    Employer::register(t, "org_meridian").await;
    t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await
}

async fn post(t: &TestApp, token: &str, kind: &str, body: &str, key: Option<&str>) -> Answer {
    let request = t.http.post(format!("{}/v1/vouches/batch", t.url)).bearer_auth(token).header("content-type", kind);
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    answer(request.body(body.to_owned())).await
}

async fn csv(t: &TestApp, token: &str, body: &str) -> Value {
    let answer = post(t, token, "text/csv; charset=utf-8", body, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn pass(t: &TestApp, secs: i64) {
    t.clock.advance(secs);
    t.app.poll_feed().await.unwrap();
}

fn results(body: &Value) -> Vec<&str> {
    body["rows"].as_array().unwrap().iter().map(|row| row["result"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_lets_joiners_in_and_leavers_out_and_counts_once() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let own = employer(&t).await;
        let sources = t.sources().await;
        let (ada, bea) = (visa_holder_named(&t, &sources, "ada").await, visa_holder_named(&t, &sources, "bea").await);
        t.created(&format!("/v1/subjects/{bea}/links"), json!({ "namespace": "payroll", "id": "77" })).await;
        let roster = format!(
            "\u{feff}subject,employed,relation,basis\r\n{ada},yes,employee,hr_record\r\n=1+1,yes,,\r\n\
             payroll:77,yes,contractor,\"hr_record\"\r\npayroll:78,yes,,\r\nsub_nobody,yes,,\r\n"
        );
        let first = csv(&t, &own, &roster).await;
        assert_eq!(results(&first), ["recorded", "refused", "recorded", "refused", "refused"]);
        let rows = &first["rows"];
        assert_eq!(
            (&rows[1]["row"], &rows[1]["code"], &rows[1]["pointer"]),
            (&json!(2), &json!("invalid"), &json!("/subject"))
        );
        assert_eq!((&rows[3]["code"], &rows[4]["code"]), (&json!("not_found"), &json!("not_found")));
        assert!(!first.to_string().contains("1+1"), "no cell is repeated");
        assert_eq!((&first["recorded"], &first["refused"]), (&json!(2), &json!(3)));
        assert_eq!((status(&t, &ada).await, status(&t, &bea).await), ("eligible".into(), "eligible".into()));

        // The same again, within the day: nothing is recorded twice.
        let again = csv(&t, &own, &roster).await;
        assert_eq!(results(&again), ["duplicate", "refused", "duplicate", "refused", "refused"]);
        assert_eq!(again["rows"][0]["id"], rows[0]["id"]);
        let held = attestations(&t, &ada).await.len();

        // A leaver by a statement, a leaver by a withdrawal.
        pass(&t, 60).await;
        let leavers = format!("subject,action,employed\n{ada},,no\npayroll:77,withdraw,\n");
        let left = csv(&t, &own, &leavers).await;
        assert_eq!(results(&left), ["recorded", "withdrawn"]);
        assert_eq!(left["rows"][1]["ids"], json!([rows[2]["id"]]));
        assert_eq!((status(&t, &ada).await, status(&t, &bea).await), ("ineligible".into(), "ineligible".into()));
        assert_eq!(results(&csv(&t, &own, &leavers).await), ["duplicate", "unchanged"]);

        // Who comes back within the day is vouched for anew, though the row says what a row said before.
        pass(&t, 60).await;
        assert_eq!(results(&csv(&t, &own, &roster).await)[..3], ["recorded", "refused", "recorded"]);
        assert_eq!((status(&t, &ada).await, status(&t, &bea).await), ("eligible".into(), "eligible".into()));
        assert_eq!(attestations(&t, &ada).await.len(), held + 2);
        // A day later the same roster renews what fades.
        pass(&t, 86_400 - 1).await;
        let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        assert_eq!(results(&csv(&t, &own, &roster).await)[0], "duplicate");
        pass(&t, 1).await;
        assert_eq!(results(&csv(&t, &own, &roster).await)[0], "recorded");

        // Each row brought its own audit entry.
        let told = pairs(&t.database_url, "SELECT action, target FROM audit_entries WHERE actor LIKE 'client:%'").await;
        let of = |action: &str| told.iter().filter(|(found, _)| found == action).count();
        assert_eq!(of("vouch.withdrawn"), 1);
        let vouches =
            pairs(&t.database_url, "SELECT id, source FROM attestations WHERE source = 'src_org-meridian'").await;
        for (id, _) in &vouches {
            assert!(told.contains(&("attestation.recorded".to_owned(), id.clone())));
        }
        // 2, then one leaver, 2 who came back, 2 renewed.
        assert_eq!(vouches.len(), 2 + 1 + 2 + 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_at_odds_are_refused_together_and_spoil_no_other() {
    on_both(async |t: TestApp| {
        let own = employer(&t).await;
        let sources = t.sources().await;
        let (ada, bea) = (visa_holder_named(&t, &sources, "ada").await, visa_holder_named(&t, &sources, "bea").await);
        t.created(&format!("/v1/subjects/{ada}/links"), json!({ "namespace": "payroll", "id": "1" })).await;
        let lines = [
            json!({ "subject": ada, "employed": true }),
            json!({ "subject": "payroll:1", "employed": false }),
            json!({ "subject": ada, "frame": "us_status", "states": ["lpr"], "basis": "i9", "event_id": "e1" }),
            json!({ "subject": bea, "employed": true, "event_id": "e1" }),
            json!({ "subject": bea, "employed": true, "event_id": "e2" }),
            json!({ "subject": bea, "employed": true, "event_id": "e2" }),
            json!({ "subject": bea, "frame": "us_status", "states": ["martian"] }),
        ];
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = post(&t, &own, "application/x-ndjson", &body, None).await;
        assert_eq!(
            results(&answer.body),
            ["refused", "refused", "recorded", "refused", "recorded", "duplicate", "refused"],
            "{}",
            answer.body
        );
        let pointers: Vec<&Value> = answer.body["rows"].as_array().unwrap().iter().map(|row| &row["pointer"]).collect();
        assert_eq!(
            (pointers[0], pointers[3], pointers[6]),
            (&json!("/subject"), &json!("/event_id"), &json!("/statement"))
        );
        let again = post(&t, &own, "application/x-ndjson", &body, None).await;
        assert_eq!((&again.body["recorded"], &again.body["duplicate"]), (&json!(0), &json!(3)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_that_cannot_be_read_or_is_nobodys_changes_nothing() {
    on_both(async |t: TestApp| {
        let own = employer(&t).await;
        let sources = t.sources().await;
        let ada = visa_holder_named(&t, &sources, "ada").await;
        let row = format!("{ada},yes\n");
        let before = attestations(&t, &ada).await.len();
        let many = format!("subject,employed\n{}", row.repeat(1001));
        for (kind, body, status, code) in [
            ("application/json", "{}".to_owned(), 415, "unsupported_media_type"),
            ("text/csv; charset=utf-16", format!("subject,employed\n{row}"), 415, "unsupported_media_type"),
            ("text/csv; header=absent", format!("subject,employed\n{row}"), 415, "unsupported_media_type"),
            ("text/csv", format!("subject,employed,employed\n{row}"), 400, "malformed"),
            ("text/csv", format!("subject,employed\n{row}\"{row}"), 400, "malformed"),
            ("text/csv", many, 413, "too_large"),
            ("text/csv", format!("subject,employed\n{}", "x".repeat(256 * 1024)), 413, "too_large"),
        ] {
            let answer = post(&t, &own, kind, &body, None).await;
            assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (status, Some(code)), "{}", answer.body);
        }
        let good = format!("subject,employed\n{row}");
        let stranger = t.client("Bob", &["vouches:write"], &[], None).await;
        assert_eq!(post(&t, &stranger, "text/csv", &good, None).await.status, StatusCode::FORBIDDEN);
        t.post("/v1/organisations/org_meridian/suspend", json!({ "reason": "fraud" })).await;
        let refused = post(&t, &own, "text/csv", &good, None).await;
        assert_eq!(refused.body["rows"][0]["code"], "suspended", "{}", refused.body);
        assert_eq!(attestations(&t, &ada).await.len(), before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_rows_of_an_idempotent_request_are_recorded_once() {
    on_both(async |t: TestApp| {
        let own = employer(&t).await;
        let mut subjects = Vec::new();
        for name in 0..100 {
            subjects.push(t.subject(&format!("v{name}")).await);
        }
        // 400 statements with ids of their own, four about each person.
        let rows: String = (0..400).map(|n| format!("{},yes,row-{n}\n", subjects[n % 100])).collect();
        let body = format!("subject,employed,event_id\n{rows}");
        let first = post(&t, &own, "text/csv", &body, Some("roster-1")).await;
        assert_eq!((first.status, &first.body["recorded"]), (StatusCode::OK, &json!(400)));
        // Nothing is noted under the key that would keep a roster cut off by a crash from being done again.
        let noted = t.requests_with("COALESCE(effect, 'nothing')").await;
        assert!(matches!(&noted[..], [(_, effect)] if effect == "nothing"), "{noted:?}");
        let replayed = post(&t, &own, "text/csv", &body, Some("roster-1")).await;
        assert_eq!(replayed.header("idempotency-replayed"), "true");
        assert_eq!(replayed.body, first.body);
        let (one, two) =
            tokio::join!(post(&t, &own, "text/csv", &body, Some("roster-2")), post(&t, &own, "text/csv", &body, None));
        for again in [one, two] {
            assert_eq!((&again.body["recorded"], &again.body["duplicate"]), (&json!(0), &json!(400)));
        }
        let vouches =
            pairs(&t.database_url, "SELECT id, source FROM attestations WHERE source = 'src_org-meridian'").await;
        assert_eq!(vouches.len(), 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rosters_without_ids_at_once_record_each_row_once() {
    on_both(async |t: TestApp| {
        let own = employer(&t).await;
        let sources = t.sources().await;
        let mut rows = String::new();
        for name in 0..6 {
            rows.push_str(&format!("{},yes\n", visa_holder_named(&t, &sources, &format!("v{name}")).await));
        }
        let body = format!("subject,employed\n{rows}");
        let send = || post(&t, &own, "text/csv", &body, None);
        let answers: [Answer; 3] = tokio::join!(send(), send(), send()).into();
        let recorded: i64 = answers.iter().map(|answer| answer.body["recorded"].as_i64().unwrap()).sum();
        assert_eq!(recorded, 6);
        let vouch = t.send(&own, Method::POST, "/v1/vouches", Some(json!({}))).await;
        assert_eq!(vouch.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}
