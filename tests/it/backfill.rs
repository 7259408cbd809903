//! `vouchsafe source backfill`: the real binary against a vendor's API that is really asked.

use crate::app::{TestApp, attestations, on_both};
use crate::population::Machine;
use crate::support::pairs;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::process::Output;
use wiremock::matchers::{header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

const HOOK: &str = "a-hook-secret-invented-for-tests";
const SESSION: &str = "vs_1QaInvented0000000000001";

fn fixture(vendor: &str, name: &str) -> Value {
    let path = format!("{}/fixtures/vendors/{vendor}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A vendor's API and the source that asks it.
struct Vendor {
    server: MockServer,
    source: String,
    authorisation: String,
}

impl Vendor {
    async fn start(t: &TestApp, name: &str, token: &str, scheme: &str) -> Self {
        let server = MockServer::start().await;
        let source = json!({ "name": name, "kind": "document_vendor", "vendor": {
            "name": name, "base_url": server.uri(), "webhook_tokens": [HOOK], "api_token": token } });
        let source = t.created("/v1/sources", source).await["id"].as_str().unwrap().to_owned();
        Self { server, source, authorisation: format!("{scheme}{token}") }
    }

    async fn stripe(t: &TestApp) -> Self {
        Self::start(t, "stripe", "rk_live_invented", "Bearer ").await
    }

    async fn onfido(t: &TestApp) -> Self {
        Self::start(t, "onfido", "api_live.invented", "Token token=").await
    }

    /// Answers a question with these parameters.
    async fn answers(&self, at: &str, query: &[(&str, &str)], body: &Value) {
        let mut mock = Mock::given(method("GET")).and(path(at)).and(header("authorization", &self.authorisation));
        for (name, value) in query {
            mock = mock.and(query_param(*name, *value));
        }
        mock.respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&self.server).await;
    }

    /// Fails the first question with this answer, whatever it is.
    async fn first_answers(&self, at: &str, answer: ResponseTemplate) {
        Mock::given(method("GET")).and(path(at)).respond_with(answer).up_to_n_times(1).mount(&self.server).await;
    }

    async fn questions(&self, at: &str) -> usize {
        self.server.received_requests().await.unwrap().iter().filter(|request| request.url.path() == at).count()
    }

    async fn session(&self, session: &Value, report: &Value) {
        let at = format!("/v1/identity/verification_sessions/{}", session["id"].as_str().unwrap());
        self.answers(&at, &[], session).await;
        let at = format!("/v1/identity/verification_reports/{}", report["id"].as_str().unwrap());
        self.answers(&at, &[], report).await;
    }
}

const SESSIONS: &str = "/v1/identity/verification_sessions";

/// A verified session of this number and its report.
fn verified(n: usize) -> (Value, Value) {
    let (mut session, mut report) =
        (fixture("stripe", "session-verified"), fixture("stripe", "report-us-passport-verified"));
    let (id, report_id) = (format!("vs_{n}"), format!("vr_{n}"));
    (session["id"], session["last_verification_report"]) = (json!(id), json!(report_id));
    (report["id"], report["verification_session"]) = (json!(report_id), json!(id));
    report["document"]["number"] = json!(format!("P{n}"));
    (session, report)
}

fn listed(sessions: &[&Value], has_more: bool) -> Value {
    json!({ "object": "list", "url": SESSIONS, "has_more": has_more, "data": sessions })
}

async fn bind(t: &TestApp, subject: &str, source: &str, session: &str) -> Value {
    let answer =
        t.post(&format!("/v1/subjects/{subject}/sessions"), json!({ "source": source, "session": session })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body
}

fn counts(report: &Value) -> [u64; 5] {
    ["recorded", "duplicate", "quarantined", "overtaken", "failed"].map(|name| report[name].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_past_sessions_are_recorded_once_through_pages_and_waits() {
    on_both(async |t: TestApp| {
        let (m, stripe) = (Machine::of(&t), Vendor::stripe(&t).await);
        let (ada, bob) = (t.subject("ada").await, t.subject("bob").await);
        bind(&t, &ada, &stripe.source, "vs_1").await;
        let pairs_of: Vec<(Value, Value)> = (1..=3).map(verified).collect();
        for (session, report) in &pairs_of {
            stripe.session(session, report).await;
        }
        let canceled = json!({ "id": "vs_9", "status": "canceled", "created": 1_788_249_900, "livemode": true });
        // It asks us to wait, fails once, and then answers.
        stripe.first_answers(SESSIONS, ResponseTemplate::new(429).insert_header("Retry-After", "1")).await;
        stripe.first_answers(SESSIONS, ResponseTemplate::new(500)).await;
        let since = vouchsafe_core::Second::start_of_date("2026-08-01").unwrap().epoch().to_string();
        let created = ("created[gte]", since.as_str());
        let first = Mock::given(method("GET"))
            .and(path(SESSIONS))
            .and(query_param(created.0, created.1))
            .and(query_param_is_missing("starting_after"));
        let body = listed(&[&pairs_of[0].0, &canceled, &pairs_of[1].0], true);
        first.respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&stripe.server).await;
        let last = listed(&[&pairs_of[2].0], false);
        stripe.answers(SESSIONS, &[created, ("starting_after", "vs_2")], &last).await;

        let backfill = ["source", "backfill", &stripe.source, "--since", "2026-08-01", "--json"];
        let began = std::time::Instant::now();
        assert_eq!(counts(&m.report(&backfill)), [1, 0, 2, 0, 0]);
        assert!(
            began.elapsed() >= std::time::Duration::from_millis(1500),
            "a second as asked, half a second of our own"
        );
        assert_eq!(stripe.questions(&format!("{SESSIONS}/vs_9")).await, 0);
        t.app.poll_feed().await.unwrap();
        let held = attestations(&t, &ada).await;
        // The report's own time, long before we asked.
        let decided = vouchsafe_core::Second::from_epoch(pairs_of[0].1["created"].as_i64().unwrap()).to_string();
        assert_eq!((held.len(), &held[0]["facts"]["checked_at"]), (1, &json!(decided)));
        // Who is bound later gets what waited, once.
        assert_eq!(bind(&t, &bob, &stripe.source, "vs_2").await, json!({ "attached": 1 }));
        assert_eq!(counts(&m.report(&backfill)), [0, 2, 1, 0, 0]);
        assert_eq!((attestations(&t, &ada).await.len(), attestations(&t, &bob).await.len()), (1, 1));
        let waiting = pairs(&t.database_url, "SELECT session, source FROM quarantine").await;
        assert_eq!(waiting, [("vs_3".to_owned(), stripe.source.clone())]);
        for action in ["backfill.begun", "backfill.ended"] {
            let noted = t.audited(action).await;
            assert_eq!(noted.len(), 2, "{action}");
            assert!(noted.iter().all(|entry| entry["target"] == stripe.source), "{noted:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_brought_is_not_said_again_and_a_change_nobody_told_us_is() {
    on_both(async |t: TestApp| {
        let (m, stripe) = (Machine::of(&t), Vendor::stripe(&t).await);
        let ada = t.subject("ada").await;
        bind(&t, &ada, &stripe.source, SESSION).await;
        let (session, report) =
            (fixture("stripe", "session-verified"), fixture("stripe", "report-us-passport-verified"));
        stripe.session(&session, &report).await;
        stripe.answers(SESSIONS, &[], &listed(&[&session], false)).await;
        // Through the webhook first; its notice is later than the report.
        let body = std::fs::read(format!("{}/fixtures/vendors/stripe/event-verified.json", env!("CARGO_MANIFEST_DIR")));
        let body = body.unwrap();
        let at = vouchsafe::clock::Clock::now(&*t.clock).epoch();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, HOOK.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, &[format!("{at}.").as_bytes(), &body].concat());
        let signature = format!("t={at},v1={}", vouchsafe::crypto::hex(tag.as_ref()));
        let request =
            t.http.post(format!("{}/v1/intake/{}", t.url, stripe.source)).header("Stripe-Signature", signature);
        let delivered = crate::app::answer(request.body(body)).await;
        assert_eq!(delivered.body["deliveries"][0]["result"], "recorded", "{}", delivered.body);

        let backfill = ["source", "backfill", &stripe.source, "--json"];
        assert_eq!(counts(&m.report(&backfill)), [0, 1, 0, 0, 0]);
        assert_eq!(attestations(&t, &ada).await.len(), 1);
        // The vendor changed its mind about the same report, and its notice was lost: the yes must not stand.
        stripe.server.reset().await;
        let mut session = session;
        session["status"] = json!("requires_input");
        session["last_error"] = json!({ "code": "selfie_face_mismatch", "reason": "" });
        stripe.session(&session, &report).await;
        stripe.answers(SESSIONS, &[], &listed(&[&session], false)).await;
        assert_eq!(counts(&m.report(&backfill)), [1, 0, 0, 0, 0]);
        t.app.poll_feed().await.unwrap();
        let held = attestations(&t, &ada).await;
        assert_eq!(held.len(), 2);
        let marked: Vec<&str> = held
            .iter()
            .filter(|held| held["marks"].as_array().is_some_and(|marks| !marks.is_empty()))
            .map(|held| held["facts"]["outcome"].as_str().unwrap())
            .collect();
        assert_eq!(marked, ["approved"], "the approval is superseded: {held:?}");
        // And this is said once, too.
        assert_eq!(counts(&m.report(&backfill)), [0, 1, 0, 0, 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onfidos_runs_and_checks_are_found_by_the_listings_it_has() {
    on_both(async |t: TestApp| {
        let (m, onfido) = (Machine::of(&t), Vendor::onfido(&t).await);
        let ada = t.subject("ada").await;
        let run = fixture("onfido", "run-approved");
        let applicant = run["applicant_id"].as_str().unwrap();
        bind(&t, &ada, &onfido.source, applicant).await;
        let run_id = run["id"].as_str().unwrap();
        let tasks = fixture("onfido", "run-tasks");
        onfido.answers(&format!("/v3.6/workflow_runs/{run_id}"), &[], &run).await;
        onfido.answers(&format!("/v3.6/workflow_runs/{run_id}/tasks"), &[], &tasks).await;
        for name in ["task-document-clear", "task-face-clear"] {
            let task = fixture("onfido", name);
            let at = format!("/v3.6/workflow_runs/{run_id}/tasks/{}", task["id"].as_str().unwrap());
            onfido.answers(&at, &[], &task).await;
        }
        let check = fixture("onfido", "check-clear");
        let check_id = check["id"].as_str().unwrap();
        onfido.answers(&format!("/v3.6/checks/{check_id}"), &[], &check).await;
        let reports = fixture("onfido", "reports-us-passport-clear");
        onfido.answers("/v3.6/reports", &[("check_id", check_id)], &reports).await;
        // The listings.
        let since =
            [("created_at_gt", "2026-08-31T23:59:59Z"), ("sort", "asc"), ("status", "approved,declined,review")];
        let page = |number| [since.as_slice(), &[("page", number)]].concat();
        onfido.answers("/v3.6/workflow_runs", &page("1"), &json!([run])).await;
        onfido.answers("/v3.6/workflow_runs", &page("2"), &json!([])).await;
        let applicants = json!({ "applicants": [{ "id": applicant, "first_name": "A" }] });
        onfido.answers("/v3.6/applicants", &[("page", "1"), ("per_page", "20")], &applicants).await;
        onfido.answers("/v3.6/applicants", &[("page", "2"), ("per_page", "20")], &json!({ "applicants": [] })).await;
        let (mut old, mut open) = (check.clone(), check.clone());
        (old["id"], old["created_at"]) = (json!("old"), json!("2026-08-31T23:59:59Z"));
        (open["id"], open["status"]) = (json!("open"), json!("in_progress"));
        let checks = json!({ "checks": [check, old, open] });
        onfido.answers("/v3.6/checks", &[("applicant_id", applicant)], &checks).await;

        let backfill = ["source", "backfill", &onfido.source, "--since", "2026-09-01", "--json"];
        assert_eq!(counts(&m.report(&backfill)), [2, 0, 0, 0, 0]);
        t.app.poll_feed().await.unwrap();
        let mut times: Vec<String> = attestations(&t, &ada)
            .await
            .iter()
            .filter(|held| held["source"] == onfido.source.as_str())
            .map(|held| held["facts"]["checked_at"].as_str().unwrap().to_owned())
            .collect();
        times.sort_unstable();
        assert!(times.iter().all(|time| time.starts_with("2026-09-0")) && times.len() == 2, "{times:?}");
        assert_eq!(counts(&m.report(&backfill)), [0, 2, 0, 0, 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_goes_on_from_its_last_page() {
    on_both(async |t: TestApp| {
        let (m, stripe) = (Machine::of(&t), Vendor::stripe(&t).await);
        let (one, two) = (verified(1), verified(2));
        stripe.session(&one.0, &one.1).await;
        stripe.session(&two.0, &two.1).await;
        let first = Mock::given(method("GET")).and(path(SESSIONS)).and(query_param_is_missing("starting_after"));
        let body = listed(&[&one.0], true);
        first.respond_with(ResponseTemplate::new(200).set_body_json(body)).expect(1).mount(&stripe.server).await;
        // The second page is of another environment: the listing ends here for now.
        let mut test = two.0.clone();
        test["livemode"] = json!(false);
        let broken = ResponseTemplate::new(200).set_body_json(listed(&[&test], false));
        let second = Mock::given(method("GET")).and(path(SESSIONS)).and(query_param("starting_after", "vs_1"));
        second.respond_with(broken).up_to_n_times(1).mount(&stripe.server).await;
        let Output { status, stderr, .. } = m.run(&["source", "backfill", &stripe.source, "--json"]);
        assert!(!status.success() && String::from_utf8(stderr).unwrap().contains("run it again"));
        stripe.answers(SESSIONS, &[("starting_after", "vs_1")], &listed(&[&two.0], false)).await;
        let report = m.report(&["source", "backfill", &stripe.source, "--json"]);
        assert_eq!((counts(&report), &report["resumed"]), ([0, 0, 1, 0, 0], &json!(true)));
        stripe.server.verify().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lists_nothing_says_so() {
    on_both(async |t: TestApp| {
        let m = Machine::of(&t);
        let sources = t.sources().await;
        for source in [sources.registry.as_str(), "src_nobody"] {
            let Output { status, stderr, .. } = m.run(&["source", "backfill", source]);
            assert!(!status.success());
            assert!(String::from_utf8(stderr).unwrap().contains("no native vendor"), "{source}");
        }
        let since = m.run(&["source", "backfill", &sources.registry, "--since", "yesterday"]);
        assert!(String::from_utf8(since.stderr).unwrap().contains("--since"));
    })
    .await;
}
