//! Stripe's webhook through the real endpoint: its signature over time and raw bytes, and a vendor that is asked.

use crate::app::{Answer, START_MS, TestApp, answer, attestations, newcomer, on_both, status};
use aws_lc_rs::hmac;
use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe::clock::Clock;
use vouchsafe_core::ids::SubjectId;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const SESSION: &str = "vs_1QaInvented0000000000001";
const REPORT: &str = "vr_1QaInvented0000000000001";
const HOOK: &str = "whsec_invented_for_tests";
const NEXT_HOOK: &str = "whsec_invented_for_after";
const API: &str = "rk_live_invented";

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/vendors/stripe/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn with(name: &str, changes: &[(&str, Value)]) -> Value {
    let mut value = serde_json::from_slice(&bytes(name)).unwrap();
    for (pointer, new) in changes {
        *Value::pointer_mut(&mut value, pointer).unwrap() = new.clone();
    }
    value
}

fn notice(changes: &[(&str, Value)]) -> Vec<u8> {
    serde_json::to_vec(&with("event-verified", changes)).unwrap()
}

fn tag(secret: &str, at: i64, body: &[u8]) -> String {
    let message = [format!("{at}.").as_bytes(), body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signature(secret: &str, at: i64, body: &[u8]) -> String {
    format!("t={at},v1={}", tag(secret, at, body))
}

async fn deliver(t: &TestApp, source: &str, signature: Option<&str>, body: Vec<u8>) -> Answer {
    let mut request = t.http.post(format!("{}/v1/intake/{source}", t.url)).body(body);
    if let Some(signature) = signature {
        request = request.header("Stripe-Signature", signature);
    }
    answer(request).await
}

/// The vendor's API and a source that asks it.
struct Stripe {
    server: MockServer,
    source: String,
}

impl Stripe {
    async fn start(t: &TestApp) -> Self {
        Self::with(t, &[HOOK], false).await
    }

    async fn with(t: &TestApp, tokens: &[&str], test_only: bool) -> Self {
        let server = MockServer::start().await;
        let source = json!({ "name": "Stripe", "kind": "document_vendor", "vendor": { "name": "stripe",
            "base_url": server.uri(), "webhook_tokens": tokens, "api_token": API, "test_only": test_only } });
        let source = t.created("/v1/sources", source).await["id"].as_str().unwrap().to_owned();
        Self { server, source }
    }

    async fn answers(&self, at: &str, body: &Value) {
        let authorised = header("authorization", format!("Bearer {API}"));
        let template = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(at)).and(authorised).respond_with(template).mount(&self.server).await;
    }

    /// From now on the session and its report are these.
    async fn shows(&self, session: &Value, report: &Value) {
        self.server.reset().await;
        self.answers(&format!("/v1/identity/verification_sessions/{SESSION}"), session).await;
        let report_id = report["id"].as_str().unwrap();
        self.answers(&format!("/v1/identity/verification_reports/{report_id}"), report).await;
    }

    async fn passport_verified(&self) {
        self.shows(&with("session-verified", &[]), &with("report-us-passport-verified", &[])).await;
    }

    async fn send(&self, t: &TestApp, body: Vec<u8>) -> Answer {
        let signature = signature(HOOK, t.clock.now().epoch(), &body);
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

/// When the vendor decided again, after the fixtures' time.
fn later(minutes: i64) -> i64 {
    with("event-verified", &[])["created"].as_i64().unwrap() + minutes * 60
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_us_passport_makes_its_holder_eligible() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        assert_eq!(stripe.bind(&t, &subject, SESSION).await.body, json!({ "attached": 0 }));
        stripe.passport_verified().await;
        assert_eq!(stripe.taken(&t, bytes("event-processing")).await, ["ignored"]);
        assert_eq!(status(&t, &subject).await, "insufficient");
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["recorded"]);
        assert_eq!(status(&t, &subject).await, "eligible");
        // At least once: the same event again, and an older one that comes late, are nothing new.
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["duplicate"]);
        let late = notice(&[
            ("/id", json!("evt_late")),
            ("/type", json!("identity.verification_session.requires_input")),
            ("/created", json!(later(-5))),
        ]);
        assert_eq!(stripe.taken(&t, late).await, ["overtaken"]);
        assert_eq!(status(&t, &subject).await, "eligible");
        // Of the document only digests stay: its number and its holder's name are not in what we show.
        let kept = attestations(&t, &subject).await;
        assert_eq!(kept.len(), 1);
        let report = with("report-us-passport-verified", &[]);
        for secret in ["number", "last_name"] {
            let secret = report["document"][secret].as_str().unwrap();
            assert!(!kept[0].to_string().contains(secret), "{}", kept[0]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_requires_input_is_no_yes_until_a_later_try_is() {
    let requires_input = bytes("event-requires-input");
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        for (session, report, outcome, codes) in [
            ("session-document-expired", "report-us-passport-expired", "document_expired", json!(["face_match"])),
            ("session-face-mismatch", "report-us-passport-other-face", "declined", json!(["face_mismatch"])),
        ] {
            let stripe = Stripe::start(&t).await;
            let subject = t.subject(session).await;
            stripe.bind(&t, &subject, SESSION).await;
            stripe.shows(&with(session, &[]), &with(report, &[])).await;
            assert_eq!(stripe.taken(&t, requires_input.clone()).await, ["recorded"]);
            let kept = attestations(&t, &subject).await;
            let facts = &kept[0]["facts"];
            assert_eq!((&facts["outcome"], &facts["codes"]), (&json!(outcome), &codes), "{facts}");
            assert_ne!(status(&t, &subject).await, "eligible", "{session}");
            // The next try of the same session makes another report.
            let again = ("/last_verification_report", json!("vr_second"));
            let report = [("/id", json!("vr_second")), ("/created", json!(later(9)))];
            stripe.shows(&with("session-verified", &[again]), &with("report-us-passport-verified", &report)).await;
            let verified = notice(&[("/id", json!("evt_second")), ("/created", json!(later(10)))]);
            assert_eq!(stripe.taken(&t, verified).await, ["recorded"]);
            assert_eq!(status(&t, &subject).await, "eligible", "{session}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_decided_against_later_takes_its_yes_back() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        stripe.bind(&t, &subject, SESSION).await;
        stripe.passport_verified().await;
        stripe.taken(&t, bytes("event-verified")).await;
        assert_eq!(status(&t, &subject).await, "eligible");
        // The same report, judged otherwise.
        let error = json!({ "code": "document_unverified_other", "reason": "words" });
        let doubted = [("/status", json!("requires_input")), ("/last_error", error)];
        stripe.shows(&with("session-verified", &doubted), &with("report-us-passport-verified", &[])).await;
        let again = notice(&[
            ("/id", json!("evt_second")),
            ("/type", json!("identity.verification_session.requires_input")),
            ("/created", json!(later(60))),
        ]);
        assert_eq!(stripe.taken(&t, again).await, ["recorded"]);
        assert_eq!(status(&t, &subject).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_nobody_waits_until_its_session_is_bound() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        stripe.passport_verified().await;
        for _ in 0..2 {
            assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["quarantined"]);
        }
        assert_eq!(stripe.bind(&t, &subject, "vs_of_somebody_else").await.body, json!({ "attached": 0 }));
        assert_eq!(status(&t, &subject).await, "insufficient");
        assert_eq!(stripe.bind(&t, &subject, SESSION).await.body, json!({ "attached": 1 }));
        assert_eq!(status(&t, &subject).await, "eligible");
        let other = t.subject("bob").await;
        assert_eq!(stripe.bind(&t, &other, SESSION).await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redaction_takes_nothing_back_and_gives_nothing() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let redacted = (with("session-redacted", &[]), with("report-us-passport-verified", &[]));
        let stripe = Stripe::start(&t).await;
        stripe.bind(&t, &subject, SESSION).await;
        stripe.passport_verified().await;
        stripe.taken(&t, bytes("event-verified")).await;
        stripe.shows(&redacted.0, &redacted.1).await;
        assert_eq!(stripe.taken(&t, bytes("event-redacted")).await, ["ignored"]);
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["ignored"]);
        assert_eq!(status(&t, &subject).await, "eligible");
        // Whose session was redacted before we ever saw it stays without a result.
        let late = Stripe::start(&t).await;
        let other = t.subject("bob").await;
        late.bind(&t, &other, SESSION).await;
        late.shows(&redacted.0, &redacted.1).await;
        assert_eq!(late.taken(&t, bytes("event-verified")).await, ["ignored"]);
        assert!(attestations(&t, &other).await.is_empty());
        assert_eq!(status(&t, &other).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_exactly_right_has_its_own_answer_and_changes_nothing() {
    let now = START_MS / 1000;
    let verified = bytes("event-verified");
    let good = signature(HOOK, now, &verified);
    let mut altered = verified.clone();
    altered.push(b' ');
    let test = notice(&[("/livemode", json!(false))]);
    let named = |id: &str| notice(&[("/data/object/id", json!(id))]);
    let signed = |body: &[u8]| Some(signature(HOOK, now, body));
    let at = |at: i64| Some(signature(HOOK, at, &verified));
    let cases = [
        ("no signature", None, verified.clone(), StatusCode::UNAUTHORIZED, "signature_missing"),
        ("of other bytes", Some(good.clone()), altered, StatusCode::UNAUTHORIZED, "signature_invalid"),
        (
            "of another key",
            Some(signature("whsec_other", now, &verified)),
            verified.clone(),
            StatusCode::UNAUTHORIZED,
            "signature_invalid",
        ),
        (
            "of another time",
            Some(good.replace(&format!("t={now}"), &format!("t={}", now + 1))),
            verified.clone(),
            StatusCode::UNAUTHORIZED,
            "signature_invalid",
        ),
        ("only v0", Some(good.replace("v1=", "v0=")), verified.clone(), StatusCode::UNAUTHORIZED, "signature_invalid"),
        (
            "cut off",
            Some(good[..good.len() - 1].to_owned()),
            verified.clone(),
            StatusCode::UNAUTHORIZED,
            "signature_invalid",
        ),
        ("stale", at(now - 301), verified.clone(), StatusCode::BAD_REQUEST, "stale"),
        ("ahead", at(now + 301), verified.clone(), StatusCode::BAD_REQUEST, "not_yet_valid"),
        ("of a test", signed(&test), test.clone(), StatusCode::FORBIDDEN, "wrong_environment"),
        ("no JSON", signed(b"{"), b"{".to_vec(), StatusCode::BAD_REQUEST, "malformed"),
        ("no event", signed(b"{}"), b"{}".to_vec(), StatusCode::BAD_REQUEST, "malformed"),
        ("a path as id", signed(&named("../x")), named("../x"), StatusCode::BAD_REQUEST, "malformed"),
        (
            "unknown at the vendor",
            signed(&named("vs_x")),
            named("vs_x"),
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream_unavailable",
        ),
    ];
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        stripe.bind(&t, &subject, SESSION).await;
        stripe.passport_verified().await;
        for (name, signature, body, wanted, code) in &cases {
            let answer = deliver(&t, &stripe.source, signature.as_deref(), body.clone()).await;
            assert_eq!(
                (answer.status, answer.body["code"].as_str()),
                (*wanted, Some(*code)),
                "{name}: {}",
                answer.body
            );
        }
        // Two headers: neither is believed, though both are right.
        let request = t.http.post(format!("{}/v1/intake/{}", t.url, stripe.source)).body(verified.clone());
        let request = request.header("Stripe-Signature", &good).header("Stripe-Signature", &good);
        assert_eq!(answer(request).await.body["code"], "signature_invalid");
        // Another vendor's header is none.
        let request = t.http.post(format!("{}/v1/intake/{}", t.url, stripe.source)).body(verified.clone());
        assert_eq!(answer(request.header("X-SHA2-Signature", &good)).await.body["code"], "signature_missing");
        assert!(attestations(&t, &subject).await.is_empty());
        assert_eq!(status(&t, &subject).await, "insufficient");
        // To the second on either side it is taken.
        for (at, wanted) in [(now - 300, "recorded"), (now + 300, "duplicate")] {
            let signature = signature(HOOK, at, &verified);
            let answer = deliver(&t, &stripe.source, Some(&signature), verified.clone()).await;
            assert_eq!(answer.body["deliveries"][0]["result"], wanted);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_replaced_any_signature_is_enough() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let (now, verified) = (t.clock.now().epoch(), bytes("event-verified"));
        let both = format!("{},v1={}", signature(NEXT_HOOK, now, &verified), tag(HOOK, now, &verified));
        // The vendor signs with both while we know one, then we know both while it signs with one.
        for (known, header) in [
            (&[HOOK][..], both.clone()),
            (&[NEXT_HOOK], both),
            (&[HOOK, NEXT_HOOK], signature(NEXT_HOOK, now, &verified)),
        ] {
            let stripe = Stripe::with(&t, known, false).await;
            stripe.passport_verified().await;
            let answer = deliver(&t, &stripe.source, Some(&header), verified.clone()).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{known:?}: {}", answer.body);
        }
        assert_eq!(status(&t, &subject).await, "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_for_tests_takes_test_results() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::with(&t, &[HOOK], true).await;
        stripe.bind(&t, &subject, SESSION).await;
        let test = [("/livemode", json!(false))];
        stripe.shows(&with("session-verified", &test), &with("report-us-passport-verified", &test)).await;
        assert_eq!(stripe.taken(&t, notice(&test)).await, ["recorded"]);
        // A live event whose session turns out to be a test's is refused in production all the same.
        let live = Stripe::start(&t).await;
        live.shows(&with("session-verified", &test), &with("report-us-passport-verified", &test)).await;
        assert_eq!(live.send(&t, bytes("event-verified")).await.body["code"], "wrong_environment");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_fails_is_asked_again_at_the_next_delivery() {
    on_both(async |mut t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        stripe.bind(&t, &subject, SESSION).await;
        let report = format!("/v1/identity/verification_reports/{REPORT}");
        for failing in [503, 403] {
            stripe.server.reset().await;
            let session = with("session-verified", &[]);
            stripe.answers(&format!("/v1/identity/verification_sessions/{SESSION}"), &session).await;
            let answer = ResponseTemplate::new(failing);
            Mock::given(method("GET")).and(path(&report)).respond_with(answer).mount(&stripe.server).await;
            let answer = stripe.send(&t, bytes("event-verified")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
            assert_eq!(answer.body["code"], "upstream_unavailable");
            assert!(!answer.body.to_string().contains(API), "{}", answer.body);
        }
        assert!(attestations(&t, &subject).await.is_empty());
        // The vendor delivers again, signed anew; the first signature has had its time.
        let first = signature(HOOK, t.clock.now().epoch(), &bytes("event-verified"));
        t.clock.advance(301);
        t.app.poll_feed().await.unwrap();
        t.admin = t.client("Ada", &["eligibility:read"], &["src_self"], None).await;
        let replayed = deliver(&t, &stripe.source, Some(&first), bytes("event-verified")).await;
        assert_eq!(replayed.body["code"], "stale");
        stripe.passport_verified().await;
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["recorded"]);
        assert_eq!(status(&t, &subject).await, "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_nobody_knows_is_refused_by_name() {
    on_both(async |t: TestApp| {
        let source = json!({ "name": "X", "kind": "document_vendor", "vendor": { "name": "strype",
            "base_url": "https://api.stripe.com", "webhook_tokens": [HOOK], "api_token": API } });
        let answer = t.post("/v1/sources", source).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            answer.body["errors"],
            json!([{ "pointer": "/vendor/name", "detail": "is no native vendor; there are: onfido, stripe" }])
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_under_way_is_named_beside_the_decision_until_it_comes() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        let id = SubjectId::parse(&subject).unwrap();
        let asked = async || t.eligibility(&subject, "restricted.api").await;
        let before = asked().await;
        assert_eq!(before["pending"], json!([]));
        stripe.bind(&t, &subject, SESSION).await;
        let pending = asked().await;
        let named = json!([{ "source": stripe.source, "kind": "document_check", "since": "2026-11-21T00:00:00Z" }]);
        assert_eq!(pending["pending"], named);
        assert!(!pending.to_string().contains(SESSION));
        // It is no part of the decision: its id is the same, and so is what is derived from the record.
        assert_eq!(pending["id"], before["id"]);
        assert_eq!(t.decided(&before).await.body, before);
        // Canceled, then tried again.
        let event = |kind: &str, id: &str| {
            notice(&[("/id", json!(id)), ("/type", json!(format!("identity.verification_session.{kind}")))])
        };
        assert_eq!(stripe.taken(&t, event("canceled", "evt_c")).await, ["ignored"]);
        assert_eq!(asked().await["pending"], json!([]));
        assert_eq!(stripe.taken(&t, event("processing", "evt_p")).await, ["ignored"]);
        assert_eq!(asked().await["pending"], named);
        stripe.passport_verified().await;
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["recorded"]);
        let decided = asked().await;
        assert_eq!((&decided["status"], &decided["pending"]), (&json!("eligible"), &json!([])));
        // Another session that nobody finishes is believed for seven days.
        stripe.bind(&t, &subject, "vs_1QaInvented0000000000002").await;
        t.clock.advance(7 * 86_400 - 1);
        t.app.poll_feed().await.unwrap();
        assert_eq!(json!(t.app.pending(&id).await.unwrap()), named);
        t.clock.advance(1);
        assert_eq!(json!(t.app.pending(&id).await.unwrap()), json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_suspended_vendor_sends_is_refused_and_what_waited_is_not_attached() {
    on_both(async |t: TestApp| {
        let subject = newcomer(&t).await;
        let stripe = Stripe::start(&t).await;
        stripe.passport_verified().await;
        assert_eq!(stripe.taken(&t, bytes("event-verified")).await, ["quarantined"]);
        let path = format!("/v1/sources/{}", stripe.source);
        let answer = t.post(&format!("{path}/suspend"), json!({ "reason": "leaked" })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let body = bytes("event-verified");
        let at = t.clock.now_ms() / 1000;
        let refused = deliver(&t, &stripe.source, Some(&signature(HOOK, at, &body)), body.clone()).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (StatusCode::FORBIDDEN, Some("suspended")));
        let forged = deliver(&t, &stripe.source, Some(&signature(NEXT_HOOK, at, &body)), body).await;
        assert_eq!(forged.body["code"], "signature_invalid", "only who has the secret learns of it");
        t.post(&format!("{path}/reinstate"), json!({ "reason": "replaced" })).await;
        t.clock.advance(1);
        let bound = stripe.bind(&t, &subject, SESSION).await;
        assert_eq!((bound.status, &bound.body), (StatusCode::CREATED, &json!({ "attached": 0 })));
        assert_eq!(attestations(&t, &subject).await.len(), 0);
        assert_eq!(status(&t, &subject).await, "insufficient");
    })
    .await;
}
