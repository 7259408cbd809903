//! Made-up evidence: it decides on a test deployment, is marked wherever it shows, and counts nowhere else.

use crate::app::{TestApp, attestations, newcomer, on_both, status};
use crate::population::Machine;
use crate::support::Database;
use base64::Engine as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::process::Output;
use vouchsafe::clock::{Clock as _, SystemClock};
use vouchsafe::service::deployment::Deployment;

const TEST: (&str, &str) = ("VOUCHSAFE_TEST_DEPLOYMENT", "true");

fn simulate(m: &Machine, arguments: &[&str]) -> Output {
    let arguments = [&["source", "simulate"], arguments].concat();
    m.command(&arguments).env(TEST.0, TEST.1).output().unwrap()
}

/// The service's clock at the machine's, which the command line goes by; the access token would have ended.
async fn catch_up(t: &mut TestApp) {
    let behind = SystemClock.now_ms() - t.clock.now_ms();
    t.clock.advance(behind.max(0) / 1000 + 1);
    t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
    t.app.poll_feed().await.unwrap();
}

async fn on_both_as_test<F: AsyncFn(TestApp)>(story: F) {
    let sqlite = Database::sqlite();
    story(TestApp::start_as(Deployment::Test, &sqlite).await).await;
    if let Some(postgres) = Database::postgres().await {
        story(TestApp::start_as(Deployment::Test, &postgres).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_is_made_to_say_decides_and_is_marked_wherever_it_shows() {
    on_both_as_test(async |mut t: TestApp| {
        let m = Machine::of(&t);
        let sources = t.sources().await;
        let subject = newcomer(&t).await;
        let mut said = Vec::new();
        for (word, outcome) in [
            ("pass", "approved"),
            ("fail", "declined"),
            ("pass", "approved"),
            ("expired", "document_expired"),
            ("review", "pending"),
            ("forged", "declined"),
            ("pass", "approved"),
        ] {
            // Of one second only one word stands.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            let made = simulate(&m, &[&sources.vendor, "--say", word, "--subject", &subject, "--country", "USA"]);
            assert!(made.status.success(), "{word}: {}", String::from_utf8_lossy(&made.stderr));
            catch_up(&mut t).await;
            let held = attestations(&t, &subject).await;
            let latest = held.iter().map(|held| &held["facts"]).max_by_key(|facts| facts["checked_at"].as_str());
            let latest = latest.unwrap();
            assert_eq!(latest["outcome"], outcome, "{word}");
            assert!(latest["codes"].as_array().unwrap().contains(&json!("simulated")), "{latest}");
            said.push(status(&t, &subject).await);
        }
        let eligible: Vec<bool> = said.iter().map(|status| status == "eligible").collect();
        assert_eq!(eligible, [true, false, true, false, false, false, false], "{said:?}");
        assert_eq!(said[6], "review", "a forgery is not forgotten because somebody passed after it");
        let audited = t.audited("attestation.recorded").await;
        assert_eq!(audited.len(), 7);
        assert!(audited.iter().all(|entry| entry["detail"]["simulated"] == true), "{audited:?}");

        // A gateway of production cannot mistake it: the token is of another type, and each surface says what it is.
        let other = t.subject("bea").await;
        let made = simulate(&m, &[&sources.vendor, "--say", "pass", "--subject", &other]);
        assert!(made.status.success());
        catch_up(&mut t).await;
        t.audience("edge").await;
        let token = t.token(&other, "restricted.api", "edge").await;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["typ"], "test-eligibility+jwt");
        let gateway = t.gateway("edge", false).await;
        let bearer = format!("Bearer {token}");
        let passed = t.check("restricted.api", &[("x-gateway-key", &gateway), ("authorization", &bearer)]).await;
        assert_eq!((passed.status, passed.header("x-eligibility-test")), (StatusCode::OK, "true"));
        let ready = t.http.get(format!("{}/readyz", t.url)).send().await.unwrap().text().await.unwrap();
        assert_eq!(ready, "ready (test deployment)");
        let metadata = t.get("/.well-known/oauth-authorization-server").await.body;
        assert_eq!(metadata["vouchsafe_test_deployment"], true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_result_of_an_unbound_session_waits_like_a_real_one() {
    on_both_as_test(async |mut t: TestApp| {
        let m = Machine::of(&t);
        let subject = newcomer(&t).await;
        let vendor = |test_only: bool| {
            json!({ "name": "Stripe", "kind": "document_vendor", "vendor": { "name": "stripe", "test_only": test_only,
                "base_url": "https://api.stripe.example", "webhook_tokens": ["0123456789abcdef"], "api_token": "x" } })
        };
        let real = t.post("/v1/sources", vendor(false)).await;
        assert_eq!(real.status, StatusCode::UNPROCESSABLE_ENTITY, "no real person's results here");
        assert_eq!(real.body["errors"][0]["pointer"], "/vendor/test_only");
        let source = t.created("/v1/sources", vendor(true)).await["id"].as_str().unwrap().to_owned();
        let made = simulate(&m, &[&source, "--say", "pass", "--session", "vs_made_up", "--json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made, json!({ "result": "quarantined" }));
        catch_up(&mut t).await;
        let bound = json!({ "source": source, "session": "vs_made_up" });
        assert_eq!(t.created(&format!("/v1/subjects/{subject}/sessions"), bound).await, json!({ "attached": 1 }));
        assert_eq!(status(&t, &subject).await, "eligible");
        let facts = attestations(&t, &subject).await[0]["facts"].clone();
        assert!(facts["codes"].as_array().unwrap().contains(&json!("simulated")), "{facts}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_makes_nothing_up() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let sources = t.sources().await;
        let subject = newcomer(&t).await;
        let made = m.run(&["source", "simulate", &sources.vendor, "--say", "pass", "--subject", &subject]);
        assert!(!made.status.success());
        assert!(String::from_utf8(made.stderr).unwrap().contains("`test_deployment = true`"));
        // Nor can a client write the mark, and so hide what a source said.
        let mut check = crate::app::face_check(&sources);
        check["codes"] = json!(["forged", "simulated"]);
        let answer = t.attest(&sources, &subject, check).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.body["errors"][0]["pointer"], "/codes");
        assert_eq!(attestations(&t, &subject).await.len(), 0);
        let ready = t.http.get(format!("{}/readyz", t.url)).send().await.unwrap().text().await.unwrap();
        assert_eq!(ready, "ready");
        let metadata = t.get("/.well-known/oauth-authorization-server").await.body;
        assert_eq!(metadata.get("vouchsafe_test_deployment"), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_one_kind_of_deployment_for_life() {
    let open = ["client", "create", "--name", "n", "--owner", "o", "--scope", "subjects:read"];
    on_both_as_test(async |t: TestApp| {
        let m = Machine::of(&t);
        let production = m.run(&open);
        assert!(!production.status.success());
        let text = String::from_utf8(production.stderr).unwrap();
        assert!(text.contains("`test_deployment`") && text.contains("belongs to a test deployment"), "{text}");
        assert!(m.command(&open).env(TEST.0, TEST.1).status().unwrap().success());
    })
    .await;
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let test = m.command(&open).env(TEST.0, TEST.1).output().unwrap();
        assert!(!test.status.success());
        assert!(String::from_utf8(test.stderr).unwrap().contains("belongs to a production deployment"));
        assert!(m.run(&open).status.success());
        // Without its mark, a database that is in use is no empty one.
        let sql = "DELETE FROM records WHERE kind = 'deployment'";
        sqlx_execute(&t, sql).await;
        let test = m.command(&open).env(TEST.0, TEST.1).output().unwrap();
        assert!(String::from_utf8(test.stderr).unwrap().contains("in use already"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_rows_that_reach_a_production_database_count_for_nothing() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        assert_eq!(status(&t, &subject).await, "eligible");
        let allow = if t.database_url.starts_with("sqlite:") {
            "DROP TRIGGER attestations_no_update"
        } else {
            "ALTER TABLE attestations DISABLE TRIGGER ALL"
        };
        sqlx_execute(&t, allow).await;
        sqlx_execute(
            &t,
            r#"UPDATE attestations SET facts = replace(facts, '"face_match"', '"face_match","simulated"')"#,
        )
        .await;
        let mut t = t;
        t.restart().await;
        assert_eq!(status(&t, &subject).await, "insufficient");
        assert_eq!(attestations(&t, &subject).await.len(), 1, "the register's record is real");
    })
    .await;
}

async fn sqlx_execute(t: &TestApp, sql: &str) {
    use sqlx::Connection as _;
    let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
    if t.database_url.starts_with("sqlite:") {
        sql.execute(&mut sqlx::SqliteConnection::connect(&t.database_url).await.unwrap()).await.unwrap();
    } else {
        sql.execute(&mut sqlx::PgConnection::connect(&t.database_url).await.unwrap()).await.unwrap();
    }
}
