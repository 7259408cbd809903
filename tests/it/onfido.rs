//! Onfido's webhook through the real endpoint: its signature over raw bytes, and a vendor that is asked for the result.

use crate::app::{Answer, TestApp, answer, attestations, newcomer, on_both, status};
use crate::support::Database;
use aws_lc_rs::hmac;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use vouchsafe::storage::{Change, Write};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const APPLICANT: &str = "77d0b3aa-2222-4a5d-8c00-00000000a001";
const RUN: &str = "9b2e4d10-4444-4e4e-8e00-0000000000e1";
const HOOK: &str = "hook-token-invented-for-tests";
const API: &str = "api_live.invented";

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/vendors/onfido/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn with(name: &str, changes: &[(&str, Value)]) -> Value {
    let mut value = fixture(name);
    for (pointer, new) in changes {
        *value.pointer_mut(pointer).unwrap() = new.clone();
    }
    value
}

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn deliver(t: &TestApp, source: &str, signature: Option<&str>, body: Vec<u8>) -> Answer {
    let mut request = t.http.post(format!("{}/v1/intake/{source}", t.url)).body(body);
    if let Some(signature) = signature {
        request = request.header("X-SHA2-Signature", signature);
    }
    answer(request).await
}

/// The vendor's API and a source that asks it.
struct Onfido {
    server: MockServer,
    source: String,
}

impl Onfido {
    async fn start(t: &TestApp) -> Self {
        Self::with_token(t, HOOK).await
    }

    async fn with_token(t: &TestApp, token: &str) -> Self {
        let server = MockServer::start().await;
        let source = json!({ "name": "Onfido", "kind": "document_vendor", "vendor": {
            "name": "onfido", "base_url": server.uri(), "webhook_tokens": [token], "api_token": API } });
        let source = t.created("/v1/sources", source).await["id"].as_str().unwrap().to_owned();
        Self { server, source }
    }

    async fn answers(&self, at: &str, body: &Value) {
        let authorised = header("authorization", format!("Token token={API}"));
        let template = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(at)).and(authorised).respond_with(template).mount(&self.server).await;
    }

    /// From now on the check and its reports are these.
    async fn check(&self, check: &Value, reports: &Value) {
        self.server.reset().await;
        let id = check["id"].as_str().unwrap();
        self.answers(&format!("/v3.6/checks/{id}"), check).await;
        Mock::given(method("GET"))
            .and(path("/v3.6/reports"))
            .and(query_param("check_id", id))
            .respond_with(ResponseTemplate::new(200).set_body_json(reports))
            .mount(&self.server)
            .await;
    }

    async fn passport_clears(&self) {
        self.check(&fixture("check-clear"), &fixture("reports-us-passport-clear")).await;
    }

    async fn send(&self, t: &TestApp, body: Vec<u8>) -> Answer {
        let signature = signature(HOOK, &body);
        deliver(t, &self.source, Some(&signature), body).await
    }

    /// The results of a notice that is taken.
    async fn taken(&self, t: &TestApp, body: Vec<u8>) -> Vec<String> {
        let answer = self.send(t, body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        let deliveries = answer.body["deliveries"].as_array().unwrap();
        deliveries.iter().map(|delivery| delivery["result"].as_str().unwrap().to_owned()).collect()
    }

    async fn bind(&self, t: &TestApp, subject: &str, session: &str) -> Answer {
        let body = json!({ "source": self.source, "session": session });
        t.post(&format!("/v1/subjects/{subject}/sessions"), body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_us_passport_that_clears_makes_its_holder_eligible() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        assert_eq!(onfido.bind(&t, &subject, APPLICANT).await.body, json!({ "attached": 0 }));
        onfido.passport_clears().await;
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["recorded"]);
        assert_eq!(status(&t, &subject).await, "eligible");
        // The vendor delivers at least once: the same result again is the same attestation.
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["duplicate"]);
        let kept = attestations(&t, &subject).await;
        assert_eq!(kept.len(), 1);
        // Of the document only digests stay: its number and its holder's name are not in what we show.
        let report = fixture("reports-us-passport-clear");
        let number = report["reports"][0]["properties"]["document_numbers"][0]["value"].as_str().unwrap();
        let name = report["reports"][0]["properties"]["last_name"].as_str().unwrap();
        assert!(!kept[0].to_string().contains(number) && !kept[0].to_string().contains(name), "{}", kept[0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_run_decides_as_a_check_does() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        onfido.bind(&t, &subject, APPLICANT).await;
        let run = format!("/v3.6/workflow_runs/{RUN}");
        onfido.answers(&run, &fixture("run-approved")).await;
        onfido.answers(&format!("{run}/tasks"), &fixture("run-tasks")).await;
        onfido.answers(&format!("{run}/tasks/document_check_31415"), &fixture("task-document-clear")).await;
        onfido.answers(&format!("{run}/tasks/face_check_photo_92653"), &fixture("task-face-clear")).await;
        assert_eq!(onfido.taken(&t, bytes("notice-workflow-task-started")).await, ["ignored"]);
        assert_eq!(onfido.taken(&t, bytes("notice-workflow-task-completed")).await, ["recorded"]);
        assert_eq!(onfido.taken(&t, bytes("notice-workflow-run-completed")).await, ["duplicate"]);
        assert_eq!(attestations(&t, &subject).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_nobody_waits_until_its_session_is_bound() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        onfido.passport_clears().await;
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["quarantined"]);
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["quarantined"]);
        assert_eq!(status(&t, &subject).await, "insufficient");
        // Another applicant is another person.
        assert_eq!(onfido.bind(&t, &subject, "somebody-else").await.body, json!({ "attached": 0 }));
        assert_eq!(status(&t, &subject).await, "insufficient");
        assert_eq!(onfido.bind(&t, &subject, APPLICANT).await.body, json!({ "attached": 1 }));
        assert_eq!(status(&t, &subject).await, "eligible");
        // Bound again it changes nothing; to a second subject it is refused.
        assert_eq!(onfido.bind(&t, &subject, APPLICANT).await.body, json!({ "attached": 0 }));
        let other = t.subject("bob").await;
        assert_eq!(onfido.bind(&t, &other, APPLICANT).await.status, StatusCode::CONFLICT);
        assert_eq!(status(&t, &other).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_check_takes_its_result_back_bound_or_waiting() {
    let reopened = with("check-clear", &[("/status", json!("reopened")), ("/result", Value::Null)]);
    let again = |second: u32| {
        let mut notice = fixture("notice-check-completed");
        *notice.pointer_mut("/payload/object/completed_at_iso8601").unwrap() =
            json!(format!("2026-11-21T00:00:{second:02}Z"));
        serde_json::to_vec(&notice).unwrap()
    };
    // A notice may leave its instant out.
    let reopening = {
        let mut notice = fixture("notice-check-reopened");
        notice.pointer_mut("/payload/object").unwrap().as_object_mut().unwrap().remove("completed_at_iso8601");
        serde_json::to_vec(&notice).unwrap()
    };
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        for waiting in [false, true] {
            let onfido = Onfido::start(&t).await;
            let person = if waiting { t.subject("waiting").await } else { subject.clone() };
            onfido.passport_clears().await;
            if !waiting {
                onfido.bind(&t, &person, APPLICANT).await;
            }
            onfido.taken(&t, bytes("notice-check-completed")).await;
            onfido.check(&reopened, &fixture("reports-us-passport-clear")).await;
            let taken = onfido.taken(&t, reopening.clone()).await;
            assert_eq!(taken, [if waiting { "quarantined" } else { "reopened" }]);
            if waiting {
                assert_eq!(onfido.bind(&t, &person, APPLICANT).await.body, json!({ "attached": 2 }));
            }
            assert_eq!(status(&t, &person).await, "insufficient", "waiting: {waiting}");
            // The old notice again: the vendor still says that the check is open.
            onfido.taken(&t, bytes("notice-check-completed")).await;
            assert_eq!(status(&t, &person).await, "insufficient", "waiting: {waiting}");
            t.clock.advance(5);
            onfido.passport_clears().await;
            assert_eq!(onfido.taken(&t, again(if waiting { 10 } else { 5 })).await, ["recorded"]);
            assert_eq!(status(&t, &person).await, "eligible", "waiting: {waiting}");
            // The notice of reopening again, when nothing is open any more, takes nothing back.
            onfido.taken(&t, reopening.clone()).await;
            assert_eq!(status(&t, &person).await, "eligible", "waiting: {waiting}");
        }
    })
    .await;
}

/// The process ended between the binding of a session and the attaching of what waited for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_bound_session_is_attached_later() {
    let story = async |database: Database| {
        let t = TestApp::start(&database).await;
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        onfido.passport_clears().await;
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["quarantined"]);
        assert_eq!(t.app.release_waiting().await.unwrap(), 0);
        let bound = Write::Session {
            source: onfido.source.clone(),
            session: APPLICANT.to_owned(),
            subject: subject.clone(),
            created_at_ms: 0,
        };
        let change = Change { writes: vec![bound], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        database.store().await.commit(change).await.unwrap().unwrap();
        assert_eq!(t.app.release_waiting().await.unwrap(), 1);
        assert_eq!(status(&t, &subject).await, "eligible");
        assert_eq!(t.app.release_waiting().await.unwrap(), 0);
    };
    story(Database::sqlite()).await;
    if let Some(postgres) = Database::postgres().await {
        story(postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_right_has_its_own_answer_and_changes_nothing() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        onfido.bind(&t, &subject, APPLICANT).await;
        onfido.passport_clears().await;
        let before = t.get(&format!("/v1/subjects/{subject}")).await.body["version"].clone();
        let notice = bytes("notice-check-completed");
        let good = signature(HOOK, &notice);
        let mut altered = notice.clone();
        altered.push(b' ');
        let twice = {
            let text = String::from_utf8(notice.clone()).unwrap();
            text.replacen("\"payload\"", "\"payload\":{},\"payload\"", 1).into_bytes()
        };
        let named = |id: &str| {
            serde_json::to_vec(&with("notice-check-completed", &[("/payload/object/id", json!(id))])).unwrap()
        };
        let signed = |body: &[u8]| Some(signature(HOOK, body));
        let large = vec![b' '; 1024 * 1024 + 1];
        for (name, signature, body, wanted, code) in [
            ("no signature", None, notice.clone(), StatusCode::UNAUTHORIZED, "signature_missing"),
            ("of other bytes", Some(good.clone()), altered, StatusCode::UNAUTHORIZED, "signature_invalid"),
            (
                "of another key",
                Some(signature("other", &notice)),
                notice.clone(),
                StatusCode::UNAUTHORIZED,
                "signature_invalid",
            ),
            ("no hexadecimal", Some("z".repeat(64)), notice.clone(), StatusCode::UNAUTHORIZED, "signature_invalid"),
            ("cut off", Some(good[..62].to_owned()), notice.clone(), StatusCode::UNAUTHORIZED, "signature_invalid"),
            ("no JSON", signed(b"{"), b"{".to_vec(), StatusCode::BAD_REQUEST, "malformed"),
            ("no notice", signed(b"{}"), b"{}".to_vec(), StatusCode::BAD_REQUEST, "malformed"),
            ("a name twice", signed(&twice), twice.clone(), StatusCode::BAD_REQUEST, "malformed"),
            ("a path as id", signed(&named("../x")), named("../x"), StatusCode::BAD_REQUEST, "malformed"),
            ("too large", signed(&large), large.clone(), StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            (
                "unknown at the vendor",
                signed(&named("x")),
                named("x"),
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_unavailable",
            ),
        ] {
            let answer = deliver(&t, &onfido.source, signature.as_deref(), body).await;
            assert_eq!((answer.status, answer.body["code"].as_str()), (wanted, Some(code)), "{name}: {}", answer.body);
            assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
        }
        // Two signatures: neither is believed, though one is right.
        let request = t.http.post(format!("{}/v1/intake/{}", t.url, onfido.source)).body(notice.clone());
        let request = request.header("X-SHA2-Signature", &good).header("X-SHA2-Signature", &good);
        assert_eq!(answer(request).await.status, StatusCode::UNAUTHORIZED);
        // A source without a vendor, and no source.
        let sources = t.sources().await;
        for source in [sources.registry.as_str(), "src_none"] {
            assert_eq!(deliver(&t, source, Some(&good), notice.clone()).await.status, StatusCode::NOT_FOUND);
        }
        let after = t.get(&format!("/v1/subjects/{subject}")).await.body["version"].clone();
        assert_eq!(before, after);
        assert!(attestations(&t, &subject).await.is_empty());
        assert_eq!(status(&t, &subject).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_fails_is_asked_again_at_the_next_delivery() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let onfido = Onfido::start(&t).await;
        onfido.bind(&t, &subject, APPLICANT).await;
        let elsewhere = MockServer::start().await;
        let moved = ResponseTemplate::new(302).insert_header("location", format!("{}/steal", elsewhere.uri()));
        let nonsense = ResponseTemplate::new(200).set_body_string("<html>");
        let other = ResponseTemplate::new(200).set_body_json(with("check-clear", &[("/id", json!("other"))]));
        for answer in [ResponseTemplate::new(500), ResponseTemplate::new(401), moved, nonsense, other] {
            onfido.server.reset().await;
            Mock::given(method("GET")).respond_with(answer).mount(&onfido.server).await;
            let answer = onfido.send(&t, bytes("notice-check-completed")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
            assert!(!answer.body.to_string().contains(API), "{}", answer.body);
        }
        assert!(elsewhere.received_requests().await.unwrap().is_empty(), "a redirect was followed");
        assert_eq!(status(&t, &subject).await, "insufficient");
        onfido.passport_clears().await;
        assert_eq!(onfido.taken(&t, bytes("notice-check-completed")).await, ["recorded"]);
        assert_eq!(status(&t, &subject).await, "eligible");
    })
    .await;
}

/// Onfido's own samples with the signatures its libraries publish, where the folder of third-party data is present.
#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_samples_pass_with_their_published_signatures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vendor-samples");
    let Ok(vectors) = std::fs::read(folder.join("signature-vectors.json")) else {
        eprintln!("no third-party samples here");
        return;
    };
    let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();
    let vectors: Vec<&Value> = vectors.iter().filter(|vector| vector["vendor"] == "onfido").collect();
    assert!(vectors.len() >= 3);
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        for vector in &vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let onfido = Onfido::with_token(&t, text("secret")).await;
            let body = std::fs::read(folder.join(text("body_file"))).unwrap();
            let notice: Value = serde_json::from_slice(&body).unwrap();
            let wanted = answer_sample(&onfido, &notice["payload"]).await;
            onfido.bind(&t, &subject, APPLICANT).await;
            let answer = deliver(&t, &onfido.source, Some(text("signature")), body.clone()).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}: {}", text("body_file"), answer.body);
            assert_eq!(answer.body["deliveries"][0]["result"], wanted, "{}", text("body_file"));
            let mut altered = body;
            altered.push(b'\n');
            let refused = deliver(&t, &onfido.source, Some(text("signature")), altered).await;
            assert_eq!(refused.body["code"], "signature_invalid");
        }
    })
    .await;
}

/// Lets the vendor answer what a sample notice points at; the result to expect of it.
async fn answer_sample(onfido: &Onfido, payload: &Value) -> &'static str {
    match payload["action"].as_str().unwrap() {
        "check.completed" => {
            let id = &payload["object"]["id"];
            let mut reports = fixture("reports-us-passport-clear");
            for report in reports["reports"].as_array_mut().unwrap() {
                report["check_id"] = id.clone();
            }
            onfido.check(&with("check-clear", &[("/id", id.clone())]), &reports).await;
            "recorded"
        }
        "workflow_task.completed" => {
            let task = &payload["resource"];
            let run = task["workflow_run_id"].as_str().unwrap();
            let base = format!("/v3.6/workflow_runs/{run}");
            onfido.answers(&base, &with("run-approved", &[("/id", json!(run))])).await;
            onfido.answers(&format!("{base}/tasks"), &json!([task])).await;
            onfido.answers(&format!("{base}/tasks/{}", task["id"].as_str().unwrap()), task).await;
            "recorded"
        }
        _ => "ignored",
    }
}
