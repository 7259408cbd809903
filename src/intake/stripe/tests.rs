use super::*;
use aws_lc_rs::hmac;
use reqwest::Url;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const SESSION: &str = "vs_1QaInvented0000000000001";
const REPORT: &str = "vr_1QaInvented0000000000001";
const KEY: &str = "rk_live_invented";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(root().join("fixtures/vendors/stripe").join(name).with_extension("json")).unwrap()
}

/// Pointers and what to put there.
type Changes<'a> = &'a [(&'a str, Value)];

/// A fixture with the value at each pointer replaced.
fn changed(name: &str, changes: Changes<'_>) -> Value {
    let mut value: Value = serde_json::from_slice(&bytes(name)).unwrap();
    for (pointer, new) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
        parent.as_object_mut().unwrap().insert(member.to_owned(), new.clone());
    }
    value
}

fn account(base_url: &str) -> Account {
    Account {
        webhook_tokens: vec!["whsec_old".into(), "whsec_new".into()],
        api_token: KEY.into(),
        base_url: Url::parse(base_url).unwrap(),
        production: true,
    }
}

fn client() -> Client {
    Client::builder()
        .timeout(Duration::from_millis(500))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn second(text: &str) -> Second {
    Second::parse(text).unwrap()
}

fn target() -> FetchTarget {
    FetchTarget { session: VendorId::parse(SESSION).unwrap(), at: second("2026-09-01T08:15:20Z") }
}

async fn mount(server: &MockServer, at: &str, answer: ResponseTemplate) {
    let authorised = header("authorization", format!("Bearer {KEY}"));
    Mock::given(method("GET")).and(path(at)).and(authorised).respond_with(answer).mount(server).await;
}

fn ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn answering(session: &Value, report: &Value) -> MockServer {
    let server = MockServer::start().await;
    mount(&server, &format!("/v1/identity/verification_sessions/{SESSION}"), ok(session)).await;
    mount(&server, &format!("/v1/identity/verification_reports/{REPORT}"), ok(report)).await;
    server
}

async fn fetched(session: &Value, report: &Value) -> Result<Vec<CheckResult>, IntakeError> {
    fetch(&client(), &account(&answering(session, report).await.uri()), &target()).await
}

/// What comes of a verified passport when the session and the report are changed so.
async fn passport(session: Changes<'_>, report: Changes<'_>) -> CheckResult {
    let (session, report) = (changed("session-verified", session), changed("report-us-passport-verified", report));
    let mut results = fetched(&session, &report).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

async fn verdict(session: Changes<'_>, report: Changes<'_>) -> (Outcome, Vec<String>) {
    let result = passport(session, report).await;
    (result.outcome, result.codes.into_iter().collect())
}

fn codes(list: &[&str]) -> Vec<String> {
    list.iter().map(|code| (*code).to_owned()).collect()
}

mod signatures {
    use super::*;

    const NOW: i64 = 1_788_250_520;

    fn tag(secret: &str, at: &str, body: &[u8]) -> String {
        let message = [at.as_bytes(), b".", body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn verified(header: Option<&str>, body: &[u8], now: i64) -> Result<(), IntakeError> {
        verify(&account("https://api.stripe.com"), header, body, Second::from_epoch(now))
    }

    #[test]
    fn either_secret_verifies_over_time_and_raw_body_and_nothing_else_does() {
        let (body, t) = (bytes("event-verified"), NOW.to_string());
        for secret in ["whsec_old", "whsec_new"] {
            let header = format!("t={t},v1={}", tag(secret, &t, &body));
            assert_eq!(verified(Some(&header), &body, NOW), Ok(()));
            assert_eq!(verified(Some(&header), &body[1..], NOW), Err(IntakeError::BadSignature));
            let moved = header.replace(&t, &(NOW + 1).to_string());
            assert_eq!(verified(Some(&moved), &body, NOW), Err(IntakeError::BadSignature));
        }
        let other = format!("t={t},v1={}", tag("whsec_other", &t, &body));
        assert_eq!(verified(Some(&other), &body, NOW), Err(IntakeError::BadSignature));
        assert_eq!(verified(None, &body, NOW), Err(IntakeError::MissingSignature));
        assert_eq!(verified(Some(""), &body, NOW), Err(IntakeError::MissingSignature));
    }

    #[test]
    fn one_of_several_v1_is_enough_and_other_schemes_count_for_nothing() {
        let (body, t) = (b"{}", NOW.to_string());
        let (good, bad) = (tag("whsec_new", &t, body), tag("whsec_gone", &t, body));
        for header in [
            format!("t={t},v1={bad},v1={good}"),
            format!("t={t},v1={good},v1={bad}"),
            format!("v1={good},t={t}"),
            format!("t={t},v1={good},v0=anything,v2="),
            format!("t={t},v1={}", good.to_uppercase()),
        ] {
            assert_eq!(verified(Some(&header), body, NOW), Ok(()), "{header}");
        }
        for header in [format!("t={t},v0={good}"), format!("t={t},v1={bad},v0={good}"), format!("t={t}")] {
            assert_eq!(verified(Some(&header), body, NOW), Err(IntakeError::BadSignature), "{header}");
        }
    }

    #[test]
    fn headers_of_another_grammar_are_refused_and_never_panic() {
        let (body, t) = (b"{}", NOW.to_string());
        let good = tag("whsec_new", &t, body);
        let (odd, long) = (&good[1..], format!("{good}00"));
        for header in [
            "t".to_owned(),
            "=".to_owned(),
            ",".to_owned(),
            "ü=ü".to_owned(),
            good.clone(),
            format!("v1={good}"),
            format!("t=,v1={good}"),
            format!("t={t},t={t},v1={good}"),
            format!("t={t},v1="),
            format!("t={t},v1={odd}"),
            format!("t={t},v1={long}"),
            format!("t={t},v1={}", "g".repeat(64)),
            format!("t={t},v1={good},v1="),
            format!("t={t},v1={good},"),
            format!("t={t}, v1={good}"),
            format!(" t={t},v1={good}"),
            format!("t=+{t},v1={good}"),
            format!("t=-{t},v1={good}"),
            format!("t={},v1={good}", "9".repeat(30)),
            format!("t={t};v1={good}"),
            // Two headers that a proxy joined.
            format!("t={t},v1={good}, t={t},v1={good}"),
        ] {
            assert_eq!(verified(Some(&header), body, NOW), Err(IntakeError::BadSignature), "{header}");
        }
    }

    #[test]
    fn the_time_may_be_five_minutes_off_on_either_side() {
        let (body, t) = (b"{}", NOW.to_string());
        let header = format!("t={t},v1={}", tag("whsec_old", &t, body));
        for (now, want) in [
            (NOW + 299, Ok(())),
            (NOW + 300, Ok(())),
            (NOW + 301, Err(IntakeError::Stale)),
            (NOW - 299, Ok(())),
            (NOW - 300, Ok(())),
            (NOW - 301, Err(IntakeError::NotYetValid)),
        ] {
            assert_eq!(verified(Some(&header), body, now), want, "{}", now - NOW);
        }
        // Of what is not authentic not even the time is told.
        let forged = format!("t={t},v1={}", tag("whsec_other", &t, body));
        assert_eq!(verified(Some(&forged), body, NOW + 301), Err(IntakeError::BadSignature));
    }

    #[test]
    fn derived_vectors_verify_at_their_time() {
        let folder = root().join("../shared/vendor-samples");
        let Ok(vectors) = std::fs::read(folder.join("signature-vectors.json")) else { return };
        let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();
        let ours: Vec<&Value> = vectors.iter().filter(|vector| vector["vendor"] == "stripe").collect();
        assert!(!ours.is_empty());
        for vector in ours {
            let text = |name: &str| vector[name].as_str().unwrap().to_owned();
            let at = vector["timestamp"].as_i64().unwrap();
            let body = std::fs::read(folder.join(text("body_file"))).unwrap();
            let mut account = account("https://api.stripe.com");
            account.webhook_tokens = vec![text("secret").into()];
            account.production = false;
            let header = format!("t={at},v1={}", text("signature"));
            // The samples may have gained a final newline as files.
            let check = |body: &[u8]| verify(&account, Some(&header), body, Second::from_epoch(at));
            assert!([&body[..], body.trim_ascii_end()].into_iter().any(|body| check(body).is_ok()));
            assert!(check(&body[1..]).is_err());
            assert_eq!(interpret_notice(&account, &body), Ok(Notice::Ignored { action: "plan.created".into() }));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_answered(header in "\\PC{0,200}", body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..50)) {
            proptest::prop_assert!(verified(Some(&header), &body, NOW).is_err());
        }
    }
}

mod notices {
    use super::*;

    fn read(body: &[u8]) -> Result<Notice, IntakeError> {
        interpret_notice(&account("https://api.stripe.com"), body)
    }

    fn with(changes: Changes<'_>) -> Result<Notice, IntakeError> {
        read(changed("event-verified", changes).to_string().as_bytes())
    }

    #[test]
    fn decided_sessions_are_fetched_and_never_believed() {
        assert_eq!(read(&bytes("event-verified")), Ok(Notice::Fetch(target())));
        assert_eq!(read(&bytes("event-requires-input")), Ok(Notice::Fetch(target())));
    }

    #[test]
    fn a_session_at_work_or_canceled_says_whether_a_result_will_come() {
        let session = target().session.to_string();
        let progress = |under_way| Ok(Notice::Progress { session: session.clone(), under_way });
        assert_eq!(read(&bytes("event-processing")), progress(true));
        assert_eq!(with(&[("/type", json!("identity.verification_session.canceled"))]), progress(false));
    }

    #[test]
    fn other_kinds_are_ignored_by_name() {
        for kind in ["created", "redacted", "unheard_of"] {
            let kind = format!("identity.verification_session.{kind}");
            assert_eq!(with(&[("/type", json!(kind))]), Ok(Notice::Ignored { action: kind }));
        }
        assert!(matches!(read(&bytes("event-redacted")), Ok(Notice::Ignored { .. })));
        for kind in ["plan.created", "v1.identity", "identity.verification_session.verified.twice"] {
            assert_eq!(with(&[("/type", json!(kind))]), Ok(Notice::Ignored { action: kind.into() }));
        }
    }

    #[test]
    fn a_tests_event_counts_only_outside_production() {
        let body = changed("event-verified", &[("/livemode", json!(false))]).to_string();
        assert_eq!(read(body.as_bytes()), Err(IntakeError::WrongEnvironment));
        let mut account = account("https://api.stripe.com");
        account.production = false;
        assert_eq!(interpret_notice(&account, body.as_bytes()), Ok(Notice::Fetch(target())));
    }

    #[test]
    fn ids_of_another_alphabet_are_refused() {
        let long = "a".repeat(65);
        for id in ["", ".", "..", "../reports", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\nb", "ü", "a@b", &long] {
            for pointer in ["/data/object/id", "/id"] {
                assert_eq!(with(&[(pointer, json!(id))]), Err(IntakeError::Malformed("vendor id")), "{id}");
            }
        }
        assert_eq!(with(&[("/data/object/id", json!(7))]), Err(IntakeError::Malformed("vendor id")));
        assert_eq!(with(&[("/data/object", json!([]))]), Err(IntakeError::Malformed("object")));
        let other = json!("identity.verification_report");
        assert_eq!(with(&[("/data/object/object", other)]), Err(IntakeError::Malformed("object")));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for kind in ["", "Plan.created", "plan created", &"a".repeat(101)] {
            assert_eq!(with(&[("/type", json!(kind))]), Err(IntakeError::Malformed("type")), "{kind}");
        }
        for created in [-1_i64, 253_402_300_800] {
            assert_eq!(with(&[("/created", json!(created))]), Err(IntakeError::Malformed("created")));
        }
        for (pointer, value) in
            [("/created", json!("soon")), ("/livemode", json!(null)), ("/type", json!(1)), ("/id", json!(null))]
        {
            assert_eq!(with(&[(pointer, value)]), Err(IntakeError::Malformed("event")), "{pointer}");
        }
        let text = String::from_utf8(bytes("event-verified")).unwrap();
        let twice = text.replacen("\"livemode\"", "\"livemode\": true, \"livemode\"", 1);
        assert_eq!(read(twice.as_bytes()), Err(IntakeError::Malformed("body")));
        for body in [&b""[..], b"[]", b"null", b"\xff", b"{}"] {
            assert!(read(body).is_err());
        }
    }

    #[test]
    fn the_cap_is_one_mebibyte_exactly() {
        let mut body = bytes("event-verified");
        body.resize(MAX_LENGTH, b' ');
        assert!(read(&body).is_ok());
        body.push(b' ');
        assert_eq!(read(&body), Err(IntakeError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn a_notice_cut_anywhere_is_answered(cut in 0_usize..1500) {
            let body = bytes("event-verified");
            let _ = read(&body[..cut.min(body.len())]);
        }
    }
}

mod results {
    use super::*;

    fn part_fails(code: &str) -> Value {
        json!({ "status": "unverified", "error": { "code": code, "reason": "words" } })
    }

    #[tokio::test]
    async fn a_verified_passport_with_the_right_face_is_approved() {
        let result = passport(&[], &[]).await;
        assert_eq!(result.outcome, Outcome::Approved);
        assert_eq!(Vec::from_iter(result.codes), codes(&["face_match"]));
        assert_eq!(result.grade, Grade::Strong);
        assert_eq!(result.session, SESSION);
        assert_eq!(result.lineage, format!("{SESSION}/document"));
        assert_eq!(result.event, format!("session:{SESSION}:{REPORT}:approved:face_match:2026-09-01T08:15:20Z"));
        assert_eq!(result.decided_at.to_string(), "2026-09-01T08:15:20Z");
        assert_eq!(result.document_type.as_deref(), Some("passport"));
        assert_eq!(result.issuing_country.as_deref(), Some("USA"));
        // The vendor does not read it, and the issuer is not the nationality.
        assert!(result.nationalities.is_empty());
        assert_eq!(result.document_number.unwrap().expose_secret(), "Z00000017");
        assert_eq!(result.birth_date.unwrap().expose_secret(), "1987-04-30");
        assert_eq!(result.name.unwrap().expose_secret(), "Ilvara Tamsin Quenneth");
        assert_eq!(result.issued_on.unwrap().to_string(), "2024-05-29T00:00:00Z");
        assert_eq!(result.ends_at.unwrap().to_string(), "2034-05-29T00:00:00Z");
    }

    #[tokio::test]
    async fn sensitive_members_are_asked_for_by_name() {
        let session = changed("session-verified", &[]);
        let server = answering(&session, &changed("report-us-passport-verified", &[])).await;
        fetch(&client(), &account(&server.uri()), &target()).await.unwrap();
        let asked: Vec<Request> = server.received_requests().await.unwrap();
        let query = |at: usize| asked[at].url.query_pairs().map(|pair| pair.1.into_owned()).collect::<Vec<_>>();
        assert_eq!(asked.len(), 2);
        assert_eq!(query(0), codes(&[]));
        assert_eq!(query(1), codes(&["document.number", "document.dob", "document.expiration_date"]));
    }

    #[tokio::test]
    async fn nothing_personal_is_printed() {
        let printed = format!("{:?}", passport(&[], &[]).await);
        for secret in ["Z00000017", "1987", "Ilvara", "Quenneth"] {
            assert!(!printed.contains(secret));
        }
        assert!(!format!("{:?}", account("https://api.stripe.com")).contains("invented"));
    }

    #[tokio::test]
    async fn types_and_countries_are_looked_up_and_never_guessed() {
        for (kind, ours) in [
            (json!("passport"), Some("passport")),
            (json!("driving_license"), Some("driving_licence")),
            (json!("id_card"), Some("id_card")),
            (json!("visa"), Some("other")),
            (json!(null), None),
        ] {
            let result = passport(&[], &[("/document/type", kind)]).await;
            assert_eq!(result.document_type.as_deref(), ours);
        }
        for (code, ours) in [
            (json!("US"), Some("USA")),
            (json!("UM"), Some("UMI")),
            (json!("IQ"), Some("IRQ")),
            (json!("XK"), Some("XKX")),
            (json!("UK"), None),
            (json!("USA"), None),
            (json!("us"), None),
            (json!(""), None),
            (json!(null), None),
        ] {
            let result = passport(&[], &[("/document/issuing_country", code)]).await;
            assert_eq!(result.issuing_country.as_deref(), ours);
        }
        let session = changed("session-verified", &[]);
        let card = fetched(&session, &changed("report-german-id-card-verified", &[])).await.unwrap().remove(0);
        assert_eq!((card.document_type.as_deref(), card.issuing_country.as_deref()), (Some("id_card"), Some("DEU")));
    }

    #[tokio::test]
    async fn every_error_has_its_outcome_wherever_it_stands() {
        for (code, outcome, ours) in [
            ("document_expired", Outcome::DocumentExpired, &[][..]),
            ("document_unverified_other", Outcome::Resubmit, &["unverified"]),
            ("document_type_not_supported", Outcome::Resubmit, &["unsupported_document"]),
            ("under_supported_age", Outcome::Declined, &["underage"]),
            ("id_number_mismatch", Outcome::Resubmit, &["data_mismatch"]),
            ("id_number_unverified_other", Outcome::Resubmit, &["part_failed"]),
            ("phone_verification_declined", Outcome::Resubmit, &["part_failed"]),
            ("abandoned", Outcome::Resubmit, &["abandoned"]),
            ("consent_declined", Outcome::Resubmit, &["consent_declined"]),
            ("device_not_supported", Outcome::Resubmit, &["device_unsupported"]),
            ("country_not_supported", Outcome::Resubmit, &["unsupported_document"]),
            ("unheard_of", Outcome::Resubmit, &["part_failed"]),
        ] {
            let mut want = codes(ours);
            want.push("face_match".to_owned());
            want.sort();
            let error = json!({ "code": code, "reason": "words" });
            let headline = [("/status", json!("requires_input")), ("/last_error", error.clone())];
            assert_eq!(verdict(&headline, &[]).await, (outcome, want.clone()), "{code}");
            // A verified session does not cover a failing document, nor a verified one its own error.
            let document = [("/document/status", json!("unverified")), ("/document/error", error.clone())];
            assert_eq!(verdict(&[], &document).await, (outcome, want.clone()), "{code}");
            assert_eq!(verdict(&[], &[("/document/error", error)]).await, (outcome, want.clone()), "{code}");
            for other in ["/id_number", "/email", "/phone"] {
                assert_eq!(verdict(&[], &[(other, part_fails(code))]).await, (outcome, want.clone()), "{code} {other}");
            }
        }
        assert_eq!(
            verdict(&[], &[("/document/status", json!("unverified"))]).await,
            (Outcome::Resubmit, codes(&["face_match", "part_failed"]))
        );
    }

    #[tokio::test]
    async fn a_face_proves_only_what_was_compared() {
        for (selfie, outcome, ours) in [
            (part_fails("selfie_face_mismatch"), Outcome::Declined, &["face_mismatch"][..]),
            (part_fails("selfie_manipulated"), Outcome::Declined, &["face_manipulated", "face_mismatch"]),
            (part_fails("selfie_document_missing_photo"), Outcome::Resubmit, &["face_unclear"]),
            (part_fails("selfie_unverified_other"), Outcome::Resubmit, &["face_unclear"]),
            (part_fails("unheard_of"), Outcome::Resubmit, &["face_unclear"]),
            (json!({ "status": "unverified" }), Outcome::Resubmit, &["face_unclear"]),
            (json!({ "status": "unheard_of" }), Outcome::Resubmit, &["face_unclear"]),
            (
                json!({ "status": "verified", "error": { "code": "selfie_face_mismatch" } }),
                Outcome::Declined,
                &["face_mismatch"],
            ),
            // Wanted and not there.
            (json!(null), Outcome::Resubmit, &["face_unclear"]),
        ] {
            assert_eq!(verdict(&[], &[("/selfie", selfie.clone())]).await, (outcome, codes(ours)), "{selfie}");
        }
        // A session that did not want one proves the document and nobody's face.
        let without = [("/selfie", json!(null)), ("/options/document/require_matching_selfie", json!(false))];
        assert_eq!(verdict(&[], &without).await, (Outcome::Approved, codes(&[])));
        // The session's word against its own report takes the match away.
        let headline =
            [("/status", json!("requires_input")), ("/last_error", json!({ "code": "selfie_face_mismatch" }))];
        assert_eq!(verdict(&headline, &[]).await, (Outcome::Declined, codes(&["face_mismatch"])));
    }

    #[tokio::test]
    async fn the_worst_counts_and_an_ended_document_hides_no_other_face() {
        let session = changed("session-document-expired", &[]);
        let report = |selfie: Value| changed("report-us-passport-expired", &[("/selfie", selfie)]);
        let expired = fetched(&session, &changed("report-us-passport-expired", &[])).await.unwrap().remove(0);
        assert_eq!((expired.outcome, expired.grade), (Outcome::DocumentExpired, Grade::Fair));
        let not_compared = fetched(&session, &report(json!(null))).await.unwrap().remove(0);
        assert_eq!((not_compared.outcome, not_compared.codes.len()), (Outcome::DocumentExpired, 0));
        let other = fetched(&session, &report(part_fails("selfie_face_mismatch"))).await.unwrap().remove(0);
        assert_eq!(other.outcome, Outcome::Declined);
        let unclear = fetched(&session, &report(part_fails("selfie_unverified_other"))).await.unwrap().remove(0);
        assert_eq!(unclear.outcome, Outcome::Resubmit);
    }

    #[tokio::test]
    async fn only_a_verified_session_approves() {
        for (status, outcome) in [
            ("verified", Outcome::Approved),
            ("requires_input", Outcome::Pending),
            ("unheard_of", Outcome::Pending),
            ("Verified", Outcome::Pending),
        ] {
            assert_eq!(passport(&[("/status", json!(status))], &[]).await.outcome, outcome, "{status}");
        }
        let report = changed("report-us-passport-verified", &[]);
        for status in ["processing", "canceled"] {
            let session = changed("session-verified", &[("/status", json!(status))]);
            assert!(fetched(&session, &report).await.unwrap().is_empty(), "{status}");
        }
        for redaction in ["processing", "redacted"] {
            let session = changed("session-redacted", &[("/redaction/status", json!(redaction))]);
            assert!(fetched(&session, &report).await.unwrap().is_empty(), "{redaction}");
        }
    }

    #[tokio::test]
    async fn an_error_of_an_earlier_try_is_not_held_against_a_verified_session() {
        let earlier = [("/last_error", json!({ "code": "selfie_face_mismatch", "reason": "words" }))];
        assert_eq!(verdict(&earlier, &[]).await, (Outcome::Approved, codes(&["face_match"])));
        let failing = [("/selfie", part_fails("selfie_manipulated"))];
        assert_eq!(verdict(&earlier, &failing).await.0, Outcome::Declined);
    }

    #[tokio::test]
    async fn without_a_document_there_is_at_most_a_failure() {
        let none = ("/last_verification_report", json!(null));
        let report = changed("report-us-passport-verified", &[]);
        for status in ["requires_input", "verified", "unheard_of"] {
            let session = changed("session-verified", &[none.clone(), ("/status", json!(status))]);
            assert!(fetched(&session, &report).await.unwrap().is_empty(), "{status}");
        }
        let failed = [none, ("/status", json!("requires_input")), ("/last_error", json!({ "code": "abandoned" }))];
        let result = passport(&failed, &[]).await;
        assert_eq!((result.outcome, result.document_type), (Outcome::Resubmit, None));
        assert_eq!(result.event, format!("session:{SESSION}:none:resubmit:abandoned:2026-09-01T08:15:20Z"));
        let session = changed("session-verified", &[]);
        let numbers_only = changed("report-us-passport-verified", &[("/document", json!(null))]);
        assert!(fetched(&session, &numbers_only).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_grade_is_ours() {
        let date = json!(null);
        for change in [
            ("/options/document/require_live_capture", json!(false)),
            ("/options", json!({})),
            ("/document/number", json!(null)),
            ("/document/number", json!("[redacted]")),
            ("/document/dob", date.clone()),
            ("/document/expiration_date", date),
            ("/document/issuing_country", json!("UK")),
        ] {
            let session = [("/options", json!(null))];
            let result = passport(&session, std::slice::from_ref(&change)).await;
            assert_eq!((result.grade, result.outcome), (Grade::Fair, Outcome::Approved), "{change:?}");
        }
        // A report without options has its session's.
        assert_eq!(passport(&[], &[("/options", json!(null))]).await.grade, Grade::Strong);
    }

    #[tokio::test]
    async fn a_document_ends_with_its_last_day() {
        let ends = async |year: i64, month: i64, day: i64| {
            let date = json!({ "year": year, "month": month, "day": day });
            passport(&[], &[("/document/expiration_date", date)]).await.outcome
        };
        // Decided on 2026-09-01.
        assert_eq!(ends(2026, 8, 31).await, Outcome::DocumentExpired);
        assert_eq!(ends(2026, 9, 1).await, Outcome::Approved);
        for (year, month, day) in [(2034, 2, 30), (2027, 2, 29), (0, 0, 0), (2034, 13, 1), (34, 5, 28), (-34, 5, 28)] {
            assert_eq!(ends(year, month, day).await, Outcome::Resubmit, "{year}-{month}-{day}");
        }
        assert_eq!(ends(99_999, 1, 1).await, Outcome::Resubmit);
        for parts in [json!({}), json!({ "year": 2034, "month": 5, "day": null })] {
            let result = passport(&[], &[("/document/expiration_date", parts)]).await;
            assert_eq!(Vec::from_iter(result.codes), codes(&["expiry_unreadable", "face_match"]));
        }
        let partial = passport(&[], &[("/document/dob", json!({ "year": 1987, "month": null, "day": null }))]).await;
        assert!(partial.birth_date.is_none());
    }

    #[tokio::test]
    async fn a_session_decided_again_is_another_event_of_the_same_lineage() {
        let first = passport(&[], &[]).await;
        let again = [("/status", json!("requires_input")), ("/last_error", json!({ "code": "document_expired" }))];
        let second = passport(&again, &[]).await;
        assert_ne!(first.event, second.event);
        assert_eq!(first.lineage, second.lineage);
        assert_eq!(first.event, passport(&[], &[]).await.event);
        // The report may be younger than the notice.
        let younger = passport(&[], &[("/created", json!(1_800_000_000))]).await;
        assert_eq!(younger.decided_at, Second::from_epoch(1_800_000_000));
    }

    #[tokio::test]
    async fn test_results_count_only_outside_production() {
        let (session, report) = (changed("session-verified", &[]), changed("report-us-passport-verified", &[]));
        let test = [("/livemode", json!(false))];
        let (test_session, test_report) =
            (changed("session-verified", &test), changed("report-us-passport-verified", &test));
        assert_eq!(fetched(&test_session, &report).await.unwrap_err(), IntakeError::WrongEnvironment);
        assert_eq!(fetched(&session, &test_report).await.unwrap_err(), IntakeError::WrongEnvironment);
        for key in ["sk_test_x", "rk_test_x"] {
            let mut account = account("https://api.stripe.com");
            account.api_token = key.into();
            assert_eq!(fetch(&client(), &account, &target()).await.unwrap_err(), IntakeError::WrongEnvironment);
        }
        let server = answering(&test_session, &test_report).await;
        let mut outside = account(&server.uri());
        outside.production = false;
        assert_eq!(fetch(&client(), &outside, &target()).await.unwrap().len(), 1);
    }
}

mod failures {
    use super::*;

    #[tokio::test]
    async fn answers_about_something_else_are_refused() {
        let (session, report) = (changed("session-verified", &[]), changed("report-us-passport-verified", &[]));
        for (pointer, value) in [
            ("/id", json!("vs_other")),
            ("/last_verification_report", json!("../x")),
            ("/last_verification_report", json!("vr_other")),
            ("/last_verification_report", json!({ "id": REPORT })),
            ("/created", json!("soon")),
            ("/livemode", json!(null)),
        ] {
            let outcome = fetched(&changed("session-verified", &[(pointer, value)]), &report).await;
            assert!(matches!(outcome, Err(IntakeError::Upstream(_))), "{pointer}");
        }
        for (pointer, value) in [
            ("/id", json!("vr_other")),
            ("/verification_session", json!("vs_other")),
            ("/verification_session", json!(null)),
            ("/created", json!(-1)),
            ("/document/status", json!(null)),
            ("/document/expiration_date", json!("2034-05-28")),
        ] {
            let outcome = fetched(&session, &changed("report-us-passport-verified", &[(pointer, value)])).await;
            assert!(matches!(outcome, Err(IntakeError::Upstream(_))), "{pointer}");
        }
    }

    #[tokio::test]
    async fn a_key_that_may_not_see_enough_is_refused_whole() {
        let server = MockServer::start().await;
        let session = format!("/v1/identity/verification_sessions/{SESSION}");
        mount(&server, &session, ok(&changed("session-verified", &[]))).await;
        let report = format!("/v1/identity/verification_reports/{REPORT}");
        mount(&server, &report, ResponseTemplate::new(403)).await;
        let error = fetch(&client(), &account(&server.uri()), &target()).await.unwrap_err();
        assert_eq!(error, IntakeError::Upstream("it refuses our token"));
    }

    #[tokio::test]
    async fn a_redirect_is_refused_and_bodies_are_capped() {
        let session = format!("/v1/identity/verification_sessions/{SESSION}");
        let elsewhere = MockServer::start().await;
        let moved = ResponseTemplate::new(302).insert_header("location", format!("{}/stolen", elsewhere.uri()));
        let large = ResponseTemplate::new(200).set_body_raw(vec![b' '; MAX_LENGTH + 1], "application/json");
        for (answer, want) in [(moved, IntakeError::Upstream("it redirects")), (large, IntakeError::TooLarge)] {
            let server = MockServer::start().await;
            mount(&server, &session, answer).await;
            assert_eq!(fetch(&client(), &account(&server.uri()), &target()).await.unwrap_err(), want);
        }
        assert!(elsewhere.received_requests().await.unwrap().is_empty());
    }
}
