//! Every table has a bound, and a follower that was away too long starts anew.

use crate::app::{TestApp, on_both};
use crate::support::{Database, pairs};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;

const DAY: i64 = 86_400;

/// Moves the clock and does what the job does.
async fn later(t: &TestApp, seconds: i64) {
    t.clock.advance(seconds);
    t.app.poll_feed().await.unwrap();
    t.app.keep_bounds().await.unwrap();
}

async fn rows(t: &TestApp, table: &str) -> i64 {
    let sql = format!("SELECT '', CAST(COUNT(*) AS TEXT) FROM {table}");
    pairs(&t.database_url, &sql).await[0].1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_outlived_its_use_goes_and_is_recorded() {
    on_both(async |mut t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.audience("gw").await;
        t.token(&subject, "restricted.api", "gw").await;
        assert_eq!((rows(&t, "tokens").await, rows(&t, "outbox").await), (1, 3));
        t.app.keep_bounds().await.unwrap();
        assert!(rows(&t, "feed").await > 0);
        later(&t, 3601).await;
        assert_eq!(rows(&t, "feed").await, 0, "an hour");
        later(&t, 7 * DAY).await;
        assert_eq!((rows(&t, "outbox").await, rows(&t, "tokens").await), (3, 1), "nothing is lost by waiting");
        later(&t, 23 * DAY).await;
        assert_eq!((rows(&t, "tokens").await, rows(&t, "decisions").await), (0, 1), "30 days after their end");
        let pruned = t.audited("retention.pruned").await;
        let pruned: Vec<_> = pruned.iter().map(|entry| (&entry["target"], &entry["detail"]["rows"])).collect();
        assert_eq!(pruned, [(&json!("tokens"), &json!(1))]);

        // Erased, kept for five years to the day, and gone.
        t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &[], None).await;
        let answer = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        later(&t, 1826 * DAY - 1).await;
        assert_eq!((rows(&t, "subjects").await, rows(&t, "attestations").await), (1, 2));
        later(&t, 1).await;
        for table in ["subjects", "attestations", "decisions", "marks", "erasures", "pruning"] {
            assert_eq!(rows(&t, table).await, 0, "{table}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_of_whom_nothing_is_heard_are_erased_and_the_others_are_not() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let (idle, lively, held) = (t.subject("idle").await, t.subject("lively").await, t.subject("held").await);
        let hold = Some(json!({ "reason": "order 17" }));
        t.send(&t.admin, Method::PUT, &format!("/v1/subjects/{held}/hold"), hold).await;
        let citizen = t.subject("citizen").await;
        let policy = json!({ "id": "citizens", "title": "Citizens", "resources": ["citizens.*"],
            "definitions": ["us_status@1"], "applies_in": ["US"], "max_ttl": "90d", "token_ttl": "15m",
            "authority": { "name": "a", "citation": "c" },
            "criteria": [{ "id": "us-status", "frame": "us_status", "allow": ["citizen"], "eligible_at": 0.6 }] });
        t.created("/v1/policies", policy).await;
        t.activate("citizens").await;
        let record = json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG",
            "statement": { "type": "states", "frame": "us_status", "states": ["citizen"] } });
        let answer = t.attest(&sources, &citizen, record).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        t.app.retention_secs.store(60 * DAY, std::sync::atomic::Ordering::Relaxed);
        later(&t, 40 * DAY).await;
        let actor = vouchsafe::service::Actor::system();
        let submission = vouchsafe::service::ingest::Submission::new(
            &sources.vendor,
            "e".to_owned(),
            vouchsafe_core::facts::Kind::DocumentCheck,
        );
        let id = vouchsafe_core::ids::SubjectId::parse(&lively).unwrap();
        t.app.submit(&actor, &id, submission).await.unwrap();
        later(&t, 19 * DAY).await;
        let state = async |id: &str| t.app.store.subject(id).await.unwrap().unwrap().state;
        assert_eq!(state(&idle).await, "active", "one day short of 60");
        later(&t, 2 * DAY).await;
        assert_eq!(state(&idle).await, "erased");
        for other in [&lively, &held] {
            assert_eq!(state(other).await, "active");
        }
        assert_eq!(state(&citizen).await, "active", "a gateway may let him in every day");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_reads_everything_anew() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let replica = t.replica().await;
        let id = vouchsafe_core::ids::SubjectId::parse(&subject).unwrap();
        let resource = vouchsafe_core::ids::ResourceId::parse("restricted.api").unwrap();
        let status = async || replica.eligibility(&id, &resource).await.unwrap().0.status.as_str();
        assert_eq!(status().await, "eligible");
        // Meanwhile both pieces of evidence are taken back, and the rows that say so go.
        for item in crate::app::attestations(&t, &subject).await {
            let path = format!("/v1/attestations/{}/revoke", item["id"].as_str().unwrap());
            let body = json!({ "reason": "test", "from_start": false });
            assert!(t.send(&sources.token, Method::POST, &path, Some(body)).await.status.is_success());
        }
        later(&t, 1).await;
        later(&t, 3601).await;
        assert_eq!(rows(&t, "feed").await, 0);
        replica.poll_feed().await.unwrap();
        assert_eq!(status().await, "insufficient");
    })
    .await;
}

#[tokio::test]
async fn every_table_has_a_bound_on_the_page() {
    let database = Database::sqlite();
    drop(database.store().await);
    let sql = "SELECT name, type FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
    let tables: BTreeSet<String> = pairs(&database.url(), sql).await.into_iter().map(|(name, _)| name).collect();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("What is kept")).unwrap();
    let cells = section.lines().filter(|line| line.starts_with("| `")).flat_map(|line| {
        let cell = line.split('|').nth(1).unwrap();
        cell.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(cells.collect::<BTreeSet<_>>(), tables);
}
