use super::*;
use reqwest::Url;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CHECK: &str = "5a1c9e70-1111-4b6e-9f00-00000000c001";
const APPLICANT: &str = "77d0b3aa-2222-4a5d-8c00-00000000a001";
const DOCUMENT: &str = "0c0ffee0-3333-4d4d-9d00-00000000d001";
const RUN: &str = "9b2e4d10-4444-4e4e-8e00-0000000000e1";
const TOKEN: &str = "api_live.invented";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(root().join("fixtures/vendors/onfido").join(name).with_extension("json")).unwrap()
}

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

/// Pointers and what to put there.
type Changes<'a> = &'a [(&'a str, Value)];

/// A fixture with the value at each pointer replaced.
fn changed(name: &str, changes: &[(&str, Value)]) -> Value {
    let mut value = fixture(name);
    for (pointer, new) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
        match parent {
            Value::Object(members) => {
                members.insert(member.to_owned(), new.clone());
            }
            list => list[member.parse::<usize>().unwrap()] = new.clone(),
        }
    }
    value
}

fn config(base_url: &str) -> Account {
    Account {
        webhook_tokens: vec!["hook-old".into(), "hook-new".into()],
        api_token: TOKEN.into(),
        base_url: Url::parse(base_url).unwrap(),
        production: true,
    }
}

fn client() -> Client {
    Client::builder()
        .timeout(Duration::from_secs(2))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn check_target() -> FetchTarget {
    let at = Some(Second::parse("2026-09-01T08:15:20Z").unwrap());
    FetchTarget::Check { check: VendorId::parse(CHECK).unwrap(), at }
}

fn run_target() -> FetchTarget {
    FetchTarget::Run { run: VendorId::parse(RUN).unwrap() }
}

async fn mount(server: &MockServer, at: &str, answer: ResponseTemplate) {
    let authorised = header("authorization", format!("Token token={TOKEN}"));
    Mock::given(method("GET")).and(path(at)).and(authorised).respond_with(answer).mount(server).await;
}

fn ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn fetch_with(check: &Value, reports: &Value) -> Result<Vec<CheckResult>, IntakeError> {
    let server = MockServer::start().await;
    mount(&server, &format!("/v3.6/checks/{CHECK}"), ok(check)).await;
    Mock::given(method("GET"))
        .and(path("/v3.6/reports"))
        .and(query_param("check_id", CHECK))
        .respond_with(ok(reports))
        .mount(&server)
        .await;
    fetch(&client(), &config(&server.uri()), &check_target()).await
}

async fn one(check: &Value, reports: &Value) -> CheckResult {
    let mut results = fetch_with(check, reports).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

async fn passport_with(changes: &[(&str, Value)]) -> CheckResult {
    one(&fixture("check-clear"), &changed("reports-us-passport-clear", changes)).await
}

/// Outcome and codes of a passport report changed so, of which the vendor's headline says the same.
async fn verdict(changes: &[(&str, Value)]) -> (Outcome, Vec<String>) {
    let consider = changes.iter().any(|(pointer, value)| pointer.ends_with("/result") && value == "consider");
    let headline = if consider { "consider" } else { "clear" };
    let check = changed("check-clear", &[("/result", json!(headline))]);
    let result = one(&check, &changed("reports-us-passport-clear", changes)).await;
    (result.outcome, result.codes.into_iter().collect())
}

async fn fetch_run_with(
    run: &Value,
    tasks: &Value,
    document: &Value,
    face: &Value,
) -> Result<Vec<CheckResult>, IntakeError> {
    let server = MockServer::start().await;
    let base = format!("/v3.6/workflow_runs/{RUN}");
    mount(&server, &base, ok(run)).await;
    mount(&server, &format!("{base}/tasks"), ok(tasks)).await;
    mount(&server, &format!("{base}/tasks/document_check_31415"), ok(document)).await;
    mount(&server, &format!("{base}/tasks/face_check_photo_92653"), ok(face)).await;
    fetch(&client(), &config(&server.uri()), &run_target()).await
}

async fn run_with(run: &[(&str, Value)], document: &[(&str, Value)], face: &[(&str, Value)]) -> Vec<CheckResult> {
    fetch_run_with(
        &changed("run-approved", run),
        &fixture("run-tasks"),
        &changed("task-document-clear", document),
        &changed("task-face-clear", face),
    )
    .await
    .unwrap()
}

fn codes(list: &[&str]) -> Vec<String> {
    list.iter().map(|code| (*code).to_owned()).collect()
}

mod signatures {
    use super::*;
    use aws_lc_rs::hmac;

    fn sign(secret: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn both_tokens_verify_over_the_raw_body_and_nothing_else_does() {
        let (config, body) = (config("https://api.eu.onfido.com"), bytes("notice-check-completed"));
        for token in ["hook-old", "hook-new"] {
            assert_eq!(verify(&config, Some(&sign(token, &body)), &body), Ok(()));
        }
        let compact = serde_json::to_vec(&fixture("notice-check-completed")).unwrap();
        assert_eq!(verify(&config, Some(&sign("hook-old", &body)), &compact), Err(IntakeError::BadSignature));
        assert_eq!(verify(&config, Some(&sign("other", &body)), &body), Err(IntakeError::BadSignature));
        assert_eq!(verify(&config, None, &body), Err(IntakeError::MissingSignature));
    }

    #[test]
    fn the_vendors_own_vectors_verify() {
        let folder = root().join("../shared/vendor-samples");
        let Ok(vectors) = std::fs::read(folder.join("signature-vectors.json")) else { return };
        let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();
        let ours: Vec<&Value> = vectors.iter().filter(|vector| vector["vendor"] == "onfido").collect();
        assert!(!ours.is_empty());
        for vector in ours {
            let text = |name: &str| vector[name].as_str().unwrap().to_owned();
            let file: PathBuf = folder.join(text("body_file"));
            let mut config = config("https://api.eu.onfido.com");
            config.webhook_tokens = vec![text("secret").into()];
            // The samples may have gained a final newline as files.
            let body = std::fs::read(file).unwrap();
            let trimmed = body.trim_ascii_end();
            let signature = text("signature");
            let verified = [&body[..], trimmed].iter().any(|body| verify(&config, Some(&signature), body).is_ok());
            assert!(verified, "{}", text("body_file"));
            assert!(verify(&config, Some(&signature), &body[1..]).is_err());
            assert!(interpret_notice(&body).is_ok());
        }
    }
}

mod notices {
    use super::*;

    fn notice(name: &str) -> Notice {
        interpret_notice(&bytes(name)).unwrap()
    }

    fn with(changes: &[(&str, Value)]) -> Result<Notice, IntakeError> {
        interpret_notice(changed("notice-check-completed", changes).to_string().as_bytes())
    }

    #[test]
    fn completed_things_are_fetched_and_never_believed() {
        assert_eq!(notice("notice-check-completed"), Notice::Fetch(check_target()));
        assert_eq!(notice("notice-workflow-run-completed"), Notice::Fetch(run_target()));
        // A rich notice carries the verdict; the run is fetched all the same.
        assert_eq!(notice("notice-workflow-task-completed"), Notice::Fetch(run_target()));
        assert_eq!(notice("notice-workflow-task-started"), Notice::Ignored { action: "workflow_task.started".into() });
    }

    #[test]
    fn a_reopened_check_names_what_no_longer_stands() {
        let at = Some(Second::parse("2026-09-03T12:00:00Z").unwrap());
        let target = FetchTarget::Check { check: VendorId::parse(CHECK).unwrap(), at };
        let session = Some(APPLICANT.to_owned());
        let reopened = Notice::Reopened { session, lineage_prefix: format!("{CHECK}/"), at, target };
        assert_eq!(notice("notice-check-reopened"), reopened);
        let withdrawn = with(&[("/payload/action", json!("check.withdrawn"))]).unwrap();
        assert!(matches!(withdrawn, Notice::Reopened { session: None, .. }));
    }

    #[test]
    fn other_actions_are_ignored_by_name() {
        for action in ["check.started", "check.form_completed", "check.unheard_of"] {
            assert_eq!(with(&[("/payload/action", json!(action))]), Ok(Notice::Ignored { action: action.into() }));
        }
        let report = |action: &str| [("/payload/resource_type", json!("report")), ("/payload/action", json!(action))];
        assert!(matches!(with(&report("report.completed")), Ok(Notice::Ignored { .. })));
        assert!(matches!(with(&report("report.withdrawn")), Ok(Notice::Ignored { .. })));
        let mut withdrawn = report("report.withdrawn").to_vec();
        withdrawn.push(("/payload/resource", json!({"check_id": CHECK})));
        assert_eq!(with(&withdrawn), Ok(Notice::Fetch(check_target())));
    }

    #[test]
    fn ids_of_another_alphabet_are_refused() {
        let long = "a".repeat(65);
        for id in
            ["", ".", "..", "../applicants", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\nb", "ü", "a@b", "a:b", &long]
        {
            assert_eq!(with(&[("/payload/object/id", json!(id))]), Err(IntakeError::Malformed("vendor id")), "{id}");
        }
        let task =
            [("/payload/resource_type", json!("workflow_task")), ("/payload/action", json!("workflow_task.completed"))];
        assert_eq!(with(&task), Err(IntakeError::Malformed("workflow_run_id")));
        let elsewhere: Vec<_> = task.into_iter().chain([("/payload/object/workflow_run_id", json!("../x"))]).collect();
        assert_eq!(with(&elsewhere), Err(IntakeError::Malformed("vendor id")));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for changes in [
            [("/payload/action", json!("run.completed"))],
            [("/payload/action", json!("check"))],
            [("/payload/action", json!(""))],
            [("/payload/action", json!("check.com pleted"))],
            [("/payload/action", json!(format!("check.{}", "a".repeat(64))))],
            [("/payload/resource_type", json!("report"))],
        ] {
            assert_eq!(with(&changes), Err(IntakeError::Malformed("action")), "{changes:?}");
        }
        assert_eq!(with(&[("/payload/object", json!([]))]), Err(IntakeError::Malformed("payload")));
        assert_eq!(with(&[("/payload/object/id", json!(7))]), Err(IntakeError::Malformed("payload")));
        for time in ["yesterday", "2026-09-01", "2026-09-01T08:15:20", ""] {
            let change = [("/payload/object/completed_at_iso8601", json!(time))];
            assert_eq!(with(&change), Err(IntakeError::Malformed("completed_at")));
        }
        let twice = br#"{"payload":{"resource_type":"check","action":"check.started","action":"check.completed","object":{"id":"a"}}}"#;
        assert_eq!(interpret_notice(twice), Err(IntakeError::Malformed("body")));
        let deep = format!("{}1{}", r#"{"payload":"#.repeat(40), "}".repeat(40));
        assert_eq!(interpret_notice(deep.as_bytes()), Err(IntakeError::Malformed("body")));
        for body in [&b""[..], b"[]", b"null", b"payload=1", b"\xff", b"{}"] {
            assert!(interpret_notice(body).is_err());
        }
    }

    #[test]
    fn the_cap_is_one_mebibyte_exactly() {
        let mut body = bytes("notice-check-completed");
        body.resize(MAX_LENGTH, b' ');
        assert!(interpret_notice(&body).is_ok());
        body.push(b' ');
        assert_eq!(interpret_notice(&body), Err(IntakeError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = interpret_notice(&body);
        }

        #[test]
        fn a_notice_cut_anywhere_is_answered(cut in 0_usize..600) {
            let body = bytes("notice-check-completed");
            let _ = interpret_notice(&body[..cut.min(body.len())]);
        }
    }
}

mod results {
    use super::*;

    #[tokio::test]
    async fn a_clear_passport_with_the_right_face_is_approved() {
        let result = passport_with(&[]).await;
        assert_eq!(result.outcome, Outcome::Approved);
        assert_eq!(result.codes, BTreeSet::from(["face_match".to_owned()]));
        assert_eq!(result.grade, Grade::Strong);
        assert_eq!(result.session, APPLICANT);
        assert_eq!(result.lineage, format!("{CHECK}/{DOCUMENT}"));
        assert_eq!(result.event, format!("check:{CHECK}:{DOCUMENT}:approved:face_match:2026-09-01T08:15:20Z"));
        assert_eq!(result.decided_at.to_string(), "2026-09-01T08:15:20Z");
        assert_eq!(result.document_type.as_deref(), Some("passport"));
        assert_eq!(result.issuing_country.as_deref(), Some("USA"));
        assert_eq!(result.nationalities, BTreeSet::from(["USA".to_owned()]));
        assert_eq!(result.document_number.unwrap().expose_secret(), "Z00000017");
        assert_eq!(result.birth_date.unwrap().expose_secret(), "1987-04-30");
        assert_eq!(result.name.unwrap().expose_secret(), "Ilvara Tamsin Quenneth");
        assert_eq!(result.issued_on.unwrap().to_string(), "2024-05-29T00:00:00Z");
        assert_eq!(result.ends_at.unwrap().to_string(), "2034-05-29T00:00:00Z");
    }

    #[tokio::test]
    async fn nothing_personal_is_printed() {
        let printed = format!("{:?}", passport_with(&[]).await);
        for secret in ["Z00000017", "1987", "Ilvara", "Quenneth"] {
            assert!(!printed.contains(secret));
        }
        assert!(!format!("{:?}", config("https://api.eu.onfido.com")).contains("invented"));
    }

    #[tokio::test]
    async fn united_states_cards_get_their_own_names() {
        let check = fixture("check-clear");
        let card = one(&check, &fixture("reports-permanent-resident-card-clear")).await;
        assert_eq!(card.document_type.as_deref(), Some("permanent_resident_card"));
        assert_eq!((card.issuing_country.as_deref(), card.category), (Some("USA"), None));
        assert_eq!(card.nationalities, BTreeSet::from(["BRA".to_owned()]));
        let permit = one(&check, &fixture("reports-work-permit-clear")).await;
        assert_eq!(permit.document_type.as_deref(), Some("employment_authorisation"));
        assert_eq!(permit.category.as_deref(), Some("A05"));
    }

    #[test]
    fn document_types_map_and_the_unknown_is_other() {
        for (kind, issuer, mrz, ours) in [
            ("passport", Some("USA"), None, "passport"),
            ("passport_card", Some("USA"), None, "passport_card"),
            ("national_identity_card", Some("DEU"), None, "id_card"),
            ("driving_licence", Some("USA"), None, "driving_licence"),
            ("uk_driving_licence", Some("GBR"), None, "driving_licence"),
            ("residence_permit", Some("USA"), None, "permanent_resident_card"),
            ("residence_permit", Some("USA"), Some("C1USA000"), "permanent_resident_card"),
            ("residence_permit", Some("USA"), Some("C2USA000"), "permanent_resident_card"),
            // The zone outranks the vendor's filing, and a zone of neither card proves neither.
            ("residence_permit", Some("USA"), Some("IAUSA000"), "employment_authorisation"),
            ("work_permit", Some("USA"), Some("C1USA000"), "permanent_resident_card"),
            ("residence_permit", Some("USA"), Some("I<USA"), "residence_permit"),
            ("residence_permit", Some("USA"), Some("C1"), "residence_permit"),
            ("residence_permit", Some("USA"), Some("üüüüü"), "residence_permit"),
            ("residence_permit", Some("DEU"), Some("C1USA000"), "residence_permit"),
            ("residence_permit", None, None, "residence_permit"),
            ("uk_biometric_residence_permit", Some("GBR"), None, "residence_permit"),
            ("work_permit", Some("USA"), None, "employment_authorisation"),
            ("work_permit", Some("CAN"), None, "work_permit"),
            ("visa", Some("USA"), None, "visa"),
            ("birth_certificate", Some("USA"), None, "birth_certificate"),
            ("certificate_of_naturalisation", Some("USA"), None, "naturalisation_certificate"),
            ("proof_of_citizenship", Some("USA"), None, "other"),
            ("international_driving_licence", Some("USA"), None, "other"),
            ("unknown", None, None, "other"),
            ("Passport", None, None, "other"),
        ] {
            assert_eq!(document_kind(kind, issuer, mrz), ours, "{kind} {issuer:?} {mrz:?}");
        }
    }

    #[test]
    fn categories_are_read_in_every_spelling() {
        for (kind, text, ours) in [
            ("employment_authorisation", "C09", Some("C09")),
            ("employment_authorisation", "(c)(9)", Some("C09")),
            ("employment_authorisation", "C-09-P", Some("C09")),
            ("employment_authorisation", "a05", Some("A05")),
            ("employment_authorisation", "C33", Some("C33")),
            ("employment_authorisation", "B05", None),
            ("employment_authorisation", "C", None),
            ("employment_authorisation", "CP", None),
            ("employment_authorisation", "C999", None),
            ("employment_authorisation", "C09PP", None),
            ("employment_authorisation", "Ü05", None),
            ("visa", "H-1B", Some("H1B")),
            ("visa", "TN", Some("TN")),
            ("visa", "anything long", None),
            ("passport", "C09", None),
        ] {
            assert_eq!(read_category(kind, text).as_deref(), ours, "{kind} {text}");
        }
    }

    #[tokio::test]
    async fn countries_are_codes_or_nothing_and_specimens_are_refused() {
        let issuer = |code: &'static str| [("/reports/0/properties/issuing_country", json!(code))];
        for (code, ours) in
            [("D", Some("DEU")), ("gbr", Some("GBR")), ("RKS", Some("RKS")), ("US", None), ("SUN", None)]
        {
            let result = passport_with(&issuer(code)).await;
            assert_eq!((result.issuing_country.as_deref(), result.outcome), (ours, Outcome::Approved), "{code}");
        }
        for change in [issuer("UTO"), [("/reports/0/properties/nationality", json!("uto"))]] {
            let result = passport_with(&change).await;
            assert_eq!(result.outcome, Outcome::Declined);
            assert!(result.codes.contains("specimen"));
        }
        let stateless = passport_with(&[("/reports/0/properties/nationality", json!("XXA"))]).await;
        assert_eq!(stateless.nationalities, BTreeSet::from(["XXA".to_owned()]));
    }

    #[tokio::test]
    async fn a_forgery_is_declined_with_what_was_found() {
        let check = changed("check-clear", &[("/result", json!("consider"))]);
        let result = one(&check, &fixture("reports-us-passport-suspected")).await;
        assert_eq!(result.outcome, Outcome::Declined);
        assert_eq!(Vec::from_iter(result.codes), codes(&["face_match", "forged", "suspected", "tampered"]));
        assert_eq!(result.grade, Grade::Fair);
    }

    #[tokio::test]
    async fn each_failing_part_has_its_code_when_they_suspect() {
        for (group, line, ours) in [
            ("visual_authenticity", "digital_tampering", &["tampered"][..]),
            ("visual_authenticity", "picture_face_integrity", &["tampered"]),
            ("visual_authenticity", "security_features", &["forged"]),
            ("visual_authenticity", "template", &["forged"]),
            ("visual_authenticity", "original_document_present", &["not_original"]),
            ("data_consistency", "date_of_birth", &["tampered"]),
            ("compromised_document", "document_database", &["compromised", "forged"]),
            ("issuing_authority", "nfc_passive_authentication", &["forged"]),
            ("data_comparison", "first_name", &["data_mismatch"]),
            ("data_validation", "mrz", &["invalid_data"]),
            ("image_integrity", "image_quality", &["unreadable"]),
            ("age_validation", "minimum_accepted_age", &["underage"]),
        ] {
            let pointer = format!("/reports/0/breakdown/{group}/breakdown/{line}/result");
            for (sub_result, own) in [("suspected", "suspected"), ("rejected", "rejected")] {
                let (outcome, found) = verdict(&[
                    ("/reports/0/result", json!("consider")),
                    ("/reports/0/sub_result", json!(sub_result)),
                    (&pointer, json!("consider")),
                ])
                .await;
                let mut want: Vec<String> = codes(ours);
                want.extend(codes(&["face_match", own]));
                want.sort();
                assert_eq!((outcome, found), (Outcome::Declined, want), "{group} {line}");
            }
        }
    }

    #[tokio::test]
    async fn caution_and_unidentified_ask_for_another_try_and_accuse_nobody() {
        for (result, sub_result) in [
            ("consider", json!("caution")),
            ("consider", json!(null)),
            ("unidentified", json!(null)),
            ("consider", json!("unheard_of")),
            ("unheard_of", json!(null)),
            ("clear", json!("suspected")),
            ("clear", json!("caution")),
        ] {
            let (outcome, found) = verdict(&[
                ("/reports/0/result", json!(result)),
                ("/reports/0/sub_result", sub_result),
                ("/reports/0/breakdown/visual_authenticity/breakdown/fonts/result", json!("consider")),
                ("/reports/0/breakdown/image_integrity/breakdown/image_quality/result", json!("consider")),
            ])
            .await;
            assert_eq!((outcome, found), (Outcome::Resubmit, codes(&["face_match", "unreadable"])), "{result}");
        }
    }

    #[tokio::test]
    async fn a_pass_with_any_failing_line_is_no_pass() {
        let reports = fixture("reports-us-passport-clear");
        let mut lines = 0;
        for (group, line) in reports["reports"][0]["breakdown"].as_object().unwrap() {
            let pointer = format!("/reports/0/breakdown/{group}/result");
            let result = passport_with(&[(&pointer, json!("consider"))]).await;
            assert_eq!(result.outcome, Outcome::Resubmit, "{group}");
            for (name, _) in line["breakdown"].as_object().into_iter().flatten() {
                let pointer = format!("/reports/0/breakdown/{group}/breakdown/{name}/result");
                for word in ["consider", "unidentified", "unheard_of"] {
                    let result = passport_with(&[(&pointer, json!(word))]).await;
                    let ended = name == "document_expiration";
                    let want = if ended { Outcome::DocumentExpired } else { Outcome::Resubmit };
                    assert_eq!(result.outcome, want, "{group} {name}");
                    assert!(!result.codes.iter().any(|code| is_accusation(code)));
                }
                lines += 1;
            }
        }
        assert!(lines > 30);
    }

    #[tokio::test]
    async fn parts_that_were_not_run_prove_nothing() {
        for change in [
            ("/reports/0/breakdown/visual_authenticity/result", json!(null)),
            ("/reports/0/breakdown/visual_authenticity", json!(null)),
            ("/reports/0/breakdown", json!({})),
            ("/reports/0/breakdown", json!(null)),
        ] {
            let (outcome, found) = verdict(std::slice::from_ref(&change)).await;
            assert_eq!(
                (outcome, found),
                (Outcome::Pending, codes(&["authenticity_not_run", "face_match"])),
                "{change:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_grade_is_ours() {
        let chip = "/reports/0/breakdown/issuing_authority";
        let clear = json!({"result": "clear", "breakdown": {"nfc_passive_authentication": {"result": "clear"},
            "nfc_active_authentication": {"result": null}}});
        let result = passport_with(&[(chip, clear.clone())]).await;
        assert_eq!((result.grade, result.outcome), (Grade::Superior, Outcome::Approved));
        assert!(result.codes.contains("chip_verified"));
        let mut cloned = clear.clone();
        cloned["breakdown"]["nfc_active_authentication"]["result"] = json!("consider");
        let mut not_read = clear;
        not_read["breakdown"]["nfc_passive_authentication"]["result"] = json!(null);
        for (wrong, grade) in
            [(cloned, Grade::Strong), (not_read, Grade::Strong), (json!({"result": "clear"}), Grade::Strong)]
        {
            let result = passport_with(&[(chip, wrong)]).await;
            assert_eq!(result.grade, grade);
            assert!(!result.codes.contains("chip_verified"));
        }
        for (pointer, value) in [
            ("/reports/0/breakdown/data_consistency/result", json!(null)),
            ("/reports/0/breakdown/image_integrity", json!(null)),
            ("/reports/0/breakdown/visual_authenticity/breakdown/security_features/result", json!(null)),
            ("/reports/0/breakdown/visual_authenticity/breakdown", json!({})),
        ] {
            let result = passport_with(&[(pointer, value)]).await;
            assert_eq!((result.grade, result.outcome), (Grade::Fair, Outcome::Approved), "{pointer}");
        }
        // What the vendor says of itself does not matter.
        let result =
            passport_with(&[("/reports/0/properties/nist_identity_evidence_strength", json!("superior"))]).await;
        assert_eq!(result.grade, Grade::Strong);
    }

    #[tokio::test]
    async fn a_document_ends_with_its_last_day() {
        let expiry = |date: &'static str| [("/reports/0/properties/date_of_expiry", json!(date))];
        // Decided on 2026-09-01.
        assert_eq!(passport_with(&expiry("2026-08-31")).await.outcome, Outcome::DocumentExpired);
        assert_eq!(passport_with(&expiry("2026-09-01")).await.outcome, Outcome::Approved);
        assert_eq!(passport_with(&expiry("2026-09-02")).await.outcome, Outcome::Approved);
        assert_eq!(passport_with(&expiry("")).await.ends_at, None);
        assert_eq!(passport_with(&expiry("N/A")).await.outcome, Outcome::Approved);
        for unreadable in ["0000-00-00", "2034-02-30", "28.05.2034", "never"] {
            assert_eq!(passport_with(&expiry(unreadable)).await.outcome, Outcome::Resubmit, "{unreadable}");
        }
        let line = "/reports/0/breakdown/data_validation/breakdown/document_expiration/result";
        for sub_result in [json!("rejected"), json!("caution"), json!(null)] {
            let expired = [
                ("/reports/0/result", json!("consider")),
                ("/reports/0/sub_result", sub_result),
                ("/reports/0/breakdown/data_validation/result", json!("consider")),
                (line, json!("consider")),
            ];
            assert_eq!(verdict(&expired).await, (Outcome::DocumentExpired, codes(&["face_match"])));
        }
        let suspected = [
            ("/reports/0/result", json!("consider")),
            ("/reports/0/sub_result", json!("suspected")),
            (line, json!("consider")),
        ];
        assert_eq!(verdict(&suspected).await.0, Outcome::Declined);
        // An ended document does not hide a forgery.
        let forged = [
            ("/reports/0/result", json!("consider")),
            ("/reports/0/sub_result", json!("rejected")),
            (line, json!("consider")),
            ("/reports/0/breakdown/visual_authenticity/breakdown/template/result", json!("consider")),
        ];
        let (outcome, found) = verdict(&forged).await;
        assert_eq!((outcome, found), (Outcome::Declined, codes(&["expired", "face_match", "forged", "rejected"])));
    }

    #[tokio::test]
    async fn a_document_ends_at_the_first_second_after_its_last_day() {
        let reports =
            changed("reports-us-passport-clear", &[("/reports/0/properties/date_of_expiry", json!("2026-09-01"))]);
        for (decided_at, outcome) in [
            ("2026-09-01T23:59:59Z", Outcome::Approved),
            ("2026-09-02T00:00:00Z", Outcome::DocumentExpired),
            ("2026-09-02T00:00:01Z", Outcome::DocumentExpired),
        ] {
            let check = changed("check-clear", &[("/created_at", json!(decided_at))]);
            assert_eq!(one(&check, &reports).await.outcome, outcome, "{decided_at}");
        }
    }

    #[tokio::test]
    async fn a_pass_with_a_reservation_is_no_pass() {
        for sub_result in ["caution", "suspected", "rejected", "unheard_of"] {
            let (outcome, found) = verdict(&[("/reports/0/sub_result", json!(sub_result))]).await;
            assert_eq!((outcome, found), (Outcome::Resubmit, codes(&["face_match"])), "{sub_result}");
        }
        let suspected = [("/reports/0/result", json!("consider")), ("/reports/0/sub_result", json!("suspected"))];
        assert_eq!(verdict(&suspected).await, (Outcome::Declined, codes(&["face_match", "suspected"])));
    }

    #[tokio::test]
    async fn another_face_declines_the_document() {
        let check = changed("check-clear", &[("/result", json!("consider"))]);
        let result = one(&check, &fixture("reports-us-passport-other-face")).await;
        assert_eq!(result.outcome, Outcome::Declined);
        assert_eq!(Vec::from_iter(result.codes), codes(&["face_mismatch"]));
    }

    #[tokio::test]
    async fn a_face_proves_only_what_was_compared() {
        let spoof = "/reports/1/breakdown/visual_authenticity/breakdown/spoofing_detection/result";
        let blurred = "/reports/1/breakdown/image_integrity/breakdown/source_integrity/result";
        let table: [(Changes<'_>, Outcome, &str); 8] = [
            (&[("/reports/1/result", json!("consider"))], Outcome::Declined, "face_mismatch"),
            (
                &[("/reports/1/result", json!("consider")), (spoof, json!("consider"))],
                Outcome::Declined,
                "face_mismatch",
            ),
            (
                &[("/reports/1/result", json!("consider")), (blurred, json!("consider"))],
                Outcome::Resubmit,
                "face_unclear",
            ),
            (&[("/reports/1/result", json!("unidentified"))], Outcome::Resubmit, "face_unclear"),
            (&[("/reports/1/result", json!(null))], Outcome::Resubmit, "face_unclear"),
            (&[("/reports/1/status", json!("awaiting_data"))], Outcome::Resubmit, "face_unclear"),
            (&[(spoof, json!("consider"))], Outcome::Resubmit, "face_unclear"),
            (&[("/reports/1/sub_result", json!("suspected"))], Outcome::Resubmit, "face_unclear"),
        ];
        for (changes, outcome, face) in table {
            let (found, codes) = verdict(changes).await;
            assert_eq!((found, codes.contains(&face.to_owned())), (outcome, true), "{changes:?}");
            assert!(!codes.contains(&"face_match".to_owned()));
        }
    }

    #[tokio::test]
    async fn without_a_face_report_there_is_no_face_code() {
        let mut reports = fixture("reports-us-passport-clear");
        reports["reports"].as_array_mut().unwrap().pop();
        let check = changed("check-clear", &[("/report_ids", json!([DOCUMENT]))]);
        let result = one(&check, &reports).await;
        assert_eq!((result.outcome, result.codes.len()), (Outcome::Approved, 0));
    }

    #[tokio::test]
    async fn the_headline_can_only_take_away() {
        for (status, result, outcome) in [
            ("complete", json!("consider"), Outcome::Declined),
            ("complete", json!(null), Outcome::Pending),
            ("complete", json!("approved"), Outcome::Pending),
            ("in_progress", json!(null), Outcome::Pending),
            ("in_progress", json!("clear"), Outcome::Pending),
            ("reopened", json!("clear"), Outcome::Pending),
            ("paused", json!("clear"), Outcome::Pending),
            ("awaiting_applicant", json!(null), Outcome::Pending),
            ("withdrawn", json!("clear"), Outcome::Resubmit),
            ("unheard_of", json!("clear"), Outcome::Pending),
        ] {
            let check = changed("check-clear", &[("/status", json!(status)), ("/result", result)]);
            let result = one(&check, &fixture("reports-us-passport-clear")).await;
            assert_eq!(result.outcome, outcome, "{status}");
            assert!(outcome == Outcome::Declined || result.codes.is_empty());
        }
        // A reopened check accuses nobody either.
        let check = changed("check-clear", &[("/status", json!("reopened"))]);
        let result = one(&check, &fixture("reports-us-passport-suspected")).await;
        assert_eq!((result.outcome, result.codes.len()), (Outcome::Pending, 0));
    }

    #[tokio::test]
    async fn unfinished_reports_are_pending() {
        for (status, outcome) in [
            ("awaiting_data", Outcome::Pending),
            ("awaiting_approval", Outcome::Pending),
            ("paused", Outcome::Pending),
            ("withdrawn", Outcome::Resubmit),
            ("cancelled", Outcome::Error),
        ] {
            assert_eq!(passport_with(&[("/reports/0/status", json!(status))]).await.outcome, outcome, "{status}");
        }
        assert_eq!(passport_with(&[("/reports/0/result", json!(null))]).await.outcome, Outcome::Pending);
    }

    #[tokio::test]
    async fn two_documents_of_one_check_are_two_results() {
        let mut reports = fixture("reports-us-passport-clear");
        let mut second = fixture("reports-us-passport-suspected")["reports"][0].clone();
        second["id"] = json!("second");
        reports["reports"].as_array_mut().unwrap().push(second);
        let check = changed("check-clear", &[("/result", json!("consider"))]);
        let results = fetch_with(&check, &reports).await.unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(results[1].lineage, format!("{CHECK}/second"));
        assert_eq!(results[1].outcome, Outcome::Declined);
        // The first is clear and yet doubted as a whole: not approved.
        assert_eq!(results[0].outcome, Outcome::Declined);
        assert!(results[0].codes.contains("vendor_consider") && !results[0].codes.contains("forged"));
    }

    #[tokio::test]
    async fn the_same_finding_has_the_same_event_and_another_has_another() {
        let event = |result: CheckResult| result.event;
        let first = event(passport_with(&[]).await);
        assert_eq!(first, event(passport_with(&[("/reports/0/properties/gender", json!("X"))]).await));
        assert_ne!(first, event(passport_with(&[("/reports/0/result", json!("unidentified"))]).await));
        assert_ne!(first, event(passport_with(&[("/reports/1/result", json!("unidentified"))]).await));
    }

    #[tokio::test]
    async fn sandbox_results_count_only_outside_production() {
        let check = changed("check-clear", &[("/sandbox", json!(true))]);
        let reports = fixture("reports-us-passport-clear");
        assert_eq!(fetch_with(&check, &reports).await.unwrap_err(), IntakeError::WrongEnvironment);
        let server = MockServer::start().await;
        mount(&server, &format!("/v3.6/checks/{CHECK}"), ok(&check)).await;
        mount(&server, "/v3.6/reports", ok(&reports)).await;
        let mut config = config(&server.uri());
        config.production = false;
        assert_eq!(fetch(&client(), &config, &check_target()).await.unwrap().len(), 1);
        config.production = true;
        config.api_token = "api_sandbox.invented".into();
        assert_eq!(fetch(&client(), &config, &check_target()).await.unwrap_err(), IntakeError::WrongEnvironment);
    }

    #[tokio::test]
    async fn the_vendors_own_task_reads() {
        let file = root().join("../shared/vendor-samples/onfido-workflow_task.completed-document_check-clear.json");
        let Ok(sample) = std::fs::read(file) else { return };
        let sample: Value = serde_json::from_slice(&sample).unwrap();
        let task: Task = serde_json::from_value(sample["payload"]["resource"].clone()).unwrap();
        let Output::One(finding) = task.output else { panic!("one output") };
        let document = Document::read(&finding);
        let decided_at = Second::parse(&task.updated_at).unwrap();
        assert_eq!(finding.judge_document(&document, decided_at), (Outcome::Approved, BTreeSet::new()));
        assert_eq!((finding.grade(), document.kind, document.issuer), (Grade::Strong, Some("passport"), Some("GBR")));
    }
}

mod runs {
    use super::*;

    #[tokio::test]
    async fn an_approved_run_reads_like_a_check() {
        let results = run_with(&[], &[], &[]).await;
        let [result] = results.as_slice() else { panic!("one document") };
        assert_eq!(result.outcome, Outcome::Approved);
        assert_eq!(result.codes, BTreeSet::from(["face_match".to_owned()]));
        assert_eq!((result.grade, result.session.as_str()), (Grade::Strong, APPLICANT));
        assert_eq!(result.lineage, format!("{RUN}/document_check_31415"));
        assert_eq!(result.event, format!("run:{RUN}:document_check_31415:approved:face_match:2026-09-02T10:03:30Z"));
    }

    #[tokio::test]
    async fn a_runs_status_can_only_take_away() {
        for (status, outcome) in [
            ("approved", Outcome::Approved),
            ("declined", Outcome::Declined),
            ("review", Outcome::Pending),
            ("processing", Outcome::Pending),
            ("awaiting_input", Outcome::Pending),
            ("abandoned", Outcome::Resubmit),
            ("error", Outcome::Error),
            ("unheard_of", Outcome::Pending),
        ] {
            let results = run_with(&[("/status", json!(status))], &[], &[]).await;
            assert_eq!(results[0].outcome, outcome, "{status}");
        }
        let results = run_with(&[], &[("/output/breakdown/police_record/result", json!("consider"))], &[]).await;
        assert_eq!(results[0].outcome, Outcome::Resubmit);
    }

    #[tokio::test]
    async fn output_may_be_absent_one_or_several() {
        assert!(run_with(&[], &[("/output", json!(null))], &[]).await.is_empty());
        assert!(run_with(&[], &[("/output", json!([]))], &[]).await.is_empty());
        let mut other = fixture("task-document-clear")["output"].clone();
        let one = other.clone();
        other["result"] = json!("consider");
        other["sub_result"] = json!("suspected");
        let results = run_with(&[], &[("/output", json!([one, other]))], &[]).await;
        let found: Vec<_> = results.iter().map(|result| (result.lineage.as_str(), result.outcome)).collect();
        let (first, second) = (format!("{RUN}/document_check_31415-0"), format!("{RUN}/document_check_31415-1"));
        assert_eq!(found, [(first.as_str(), Outcome::Approved), (second.as_str(), Outcome::Declined)]);
        let results = run_with(&[], &[("/output", json!({}))], &[]).await;
        assert_eq!(results[0].outcome, Outcome::Pending);
        for shape in [json!("clear"), json!(true), json!({"breakdown": []}), json!({"result": 1})] {
            let document = changed("task-document-clear", &[("/output", shape)]);
            let (run, tasks, face) = (fixture("run-approved"), fixture("run-tasks"), fixture("task-face-clear"));
            let error = fetch_run_with(&run, &tasks, &document, &face).await.unwrap_err();
            assert_eq!(error, IntakeError::Upstream("the answer has an unknown shape"));
        }
    }

    #[tokio::test]
    async fn one_wrong_face_among_several_is_a_wrong_face() {
        let mut wrong = fixture("task-face-clear")["output"].clone();
        let right = wrong.clone();
        wrong["result"] = json!("consider");
        for order in [json!([right, wrong]), json!([wrong, right])] {
            let results = run_with(&[], &[], &[("/output", order)]).await;
            assert_eq!(results[0].outcome, Outcome::Declined);
            assert!(results[0].codes.contains("face_mismatch") && !results[0].codes.contains("face_match"));
        }
    }

    #[tokio::test]
    async fn answers_about_other_runs_and_tasks_are_refused() {
        let (run, tasks) = (fixture("run-approved"), fixture("run-tasks"));
        let (document, face) = (fixture("task-document-clear"), fixture("task-face-clear"));
        let other = json!("other");
        let wrong_run = changed("run-approved", &[("/id", other.clone())]);
        assert!(fetch_run_with(&wrong_run, &tasks, &document, &face).await.is_err());
        for pointer in ["/id", "/workflow_run_id", "/task_def_id"] {
            let wrong = changed("task-document-clear", &[(pointer, other.clone())]);
            let error = fetch_run_with(&run, &tasks, &wrong, &face).await.unwrap_err();
            assert_eq!(error, IntakeError::Upstream("the answer is about another task"), "{pointer}");
        }
        for id in ["../../applicants", "a/b", ""] {
            let wrong = changed("run-tasks", &[("/1/id", json!(id))]);
            let error = fetch_run_with(&run, &wrong, &document, &face).await.unwrap_err();
            assert_eq!(error, IntakeError::Upstream("an id is not one"));
        }
        let sandbox = changed("run-approved", &[("/sandbox", json!(true))]);
        assert_eq!(
            fetch_run_with(&sandbox, &tasks, &document, &face).await.unwrap_err(),
            IntakeError::WrongEnvironment
        );
    }
}

mod failures {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What comes of it when the check is answered so.
    async fn check_answered(answer: ResponseTemplate) -> IntakeError {
        let server = MockServer::start().await;
        mount(&server, &format!("/v3.6/checks/{CHECK}"), answer).await;
        mount(&server, "/v3.6/reports", ok(&fixture("reports-us-passport-clear"))).await;
        fetch(&client(), &config(&server.uri()), &check_target()).await.unwrap_err()
    }

    /// What comes of it when the connection carries these bytes and ends.
    async fn raw(answer: &'static [u8]) -> IntakeError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer).await;
            }
        });
        fetch(&client(), &config(&url), &check_target()).await.unwrap_err()
    }

    fn upstream(text: &'static str) -> IntakeError {
        IntakeError::Upstream(text)
    }

    #[tokio::test]
    async fn every_status_but_200_is_a_failure() {
        for (status, text) in [
            (201, "it failed"),
            (202, "it failed"),
            (204, "it failed"),
            (206, "it failed"),
            (301, "it redirects"),
            (304, "it redirects"),
            (400, "it failed"),
            (401, "it refuses our token"),
            (403, "it refuses our token"),
            (404, "the result is not there"),
            (410, "the result is not there"),
            (422, "it failed"),
            (500, "it failed"),
            (502, "it failed"),
            (503, "it failed"),
        ] {
            let answer = ResponseTemplate::new(status).set_body_json(fixture("check-clear"));
            assert_eq!(check_answered(answer).await, upstream(text), "{status}");
        }
    }

    #[tokio::test]
    async fn a_vendor_that_asks_us_to_wait_is_heard() {
        let said =
            [(None, None), (Some("7"), Some(7)), (Some("-1"), None), (Some("Fri, 27 Nov 2026 08:00:00 GMT"), None)];
        for (header, after_secs) in said {
            let mut answer = ResponseTemplate::new(429);
            if let Some(header) = header {
                answer = answer.insert_header("Retry-After", header);
            }
            assert_eq!(check_answered(answer).await, IntakeError::SlowDown { after_secs }, "{header:?}");
        }
    }

    #[tokio::test]
    async fn slowness_ends_at_the_clients_timeout() {
        let answer = ok(&fixture("check-clear")).set_delay(Duration::from_secs(5));
        assert_eq!(check_answered(answer).await, upstream("it is too slow"));
    }

    #[tokio::test]
    async fn connections_that_break_are_failures() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{\"id\":";
        assert_eq!(raw(head).await, upstream("the answer was cut short"));
        let chunked =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{\"id\":\r\n";
        assert_eq!(raw(chunked).await, upstream("the answer was cut short"));
        assert_eq!(raw(b"").await, upstream("it cannot be reached"));
        assert_eq!(raw(b"SSH-2.0-nothing\r\n").await, upstream("it cannot be reached"));
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = fetch(&client(), &config(&format!("http://{gone}")), &check_target()).await.unwrap_err();
        assert_eq!(error, upstream("it cannot be reached"));
    }

    #[tokio::test]
    async fn only_json_by_name_and_nature_is_read() {
        let body = bytes("check-clear");
        for kind in ["text/html", "text/json", "application/jsonp", "application/octet-stream", ""] {
            let answer = ResponseTemplate::new(200).set_body_raw(body.clone(), kind);
            assert_eq!(check_answered(answer).await, upstream("the answer is not json"), "{kind}");
        }
        let twice = [&br#"{"result":"consider","#[..], &body[1..]].concat();
        for (text, why) in [
            (&b""[..], "the answer is not json"),
            (b"<html>", "the answer is not json"),
            (&body[..body.len() / 2], "the answer is not json"),
            (b"\xef\xbb\xbf{}", "the answer is not json"),
            (&twice, "the answer is not json"),
            (b"null", "the answer has an unknown shape"),
            (b"[]", "the answer has an unknown shape"),
            (b"{}", "the answer has an unknown shape"),
            (br#"{"error":{"type":"x"}}"#, "the answer has an unknown shape"),
        ] {
            let answer = ResponseTemplate::new(200).set_body_raw(text, "application/json");
            assert_eq!(check_answered(answer).await, upstream(why));
        }
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_raw(body, "Application/JSON; charset=utf-8");
        mount(&server, &format!("/v3.6/checks/{CHECK}"), answer).await;
        mount(&server, "/v3.6/reports", ok(&fixture("reports-us-passport-clear"))).await;
        assert!(fetch(&client(), &config(&server.uri()), &check_target()).await.is_ok());
    }

    #[tokio::test]
    async fn bodies_are_capped_at_one_mebibyte() {
        let mut body = bytes("check-clear");
        body.resize(MAX_LENGTH + 1, b' ');
        let answer = ResponseTemplate::new(200).set_body_raw(body.clone(), "application/json");
        assert_eq!(check_answered(answer).await, IntakeError::TooLarge);
        body.resize(50 * MAX_LENGTH, b' ');
        let answer = ResponseTemplate::new(200).set_body_raw(body.clone(), "application/json");
        assert_eq!(check_answered(answer).await, IntakeError::TooLarge);
        // Exactly at the cap the check is read, and the failing reports are what is left.
        body.truncate(MAX_LENGTH);
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        mount(&server, &format!("/v3.6/checks/{CHECK}"), answer).await;
        mount(&server, "/v3.6/reports", ResponseTemplate::new(500)).await;
        let error = fetch(&client(), &config(&server.uri()), &check_target()).await.unwrap_err();
        assert_eq!(error, upstream("it failed"));
    }

    #[tokio::test]
    async fn a_redirect_is_refused_and_the_token_goes_nowhere_else() {
        let elsewhere = MockServer::start().await;
        mount(&elsewhere, "/stolen", ok(&fixture("check-clear"))).await;
        let location = format!("{}/stolen", elsewhere.uri()).replace("127.0.0.1", "localhost");
        let redirect = || ResponseTemplate::new(302).insert_header("location", location.as_str());
        assert_eq!(check_answered(redirect()).await, upstream("it redirects"));
        assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
        // Even with a client that follows, the answer is refused and the token stayed behind.
        let server = MockServer::start().await;
        mount(&server, &format!("/v3.6/checks/{CHECK}"), redirect()).await;
        Mock::given(method("GET"))
            .and(path("/stolen"))
            .respond_with(ok(&fixture("check-clear")))
            .mount(&elsewhere)
            .await;
        let follower = Client::builder().no_proxy().build().unwrap();
        let error = fetch(&follower, &config(&server.uri()), &check_target()).await.unwrap_err();
        assert_eq!(error, upstream("it redirects"));
        for request in elsewhere.received_requests().await.unwrap() {
            assert!(!request.headers.contains_key("authorization"));
        }
    }

    #[tokio::test]
    async fn addresses_in_bodies_are_never_visited() {
        let elsewhere = MockServer::start().await;
        let href = json!(format!("{}/v3.6/checks/{CHECK}", elsewhere.uri()));
        let notice = changed("notice-check-completed", &[("/payload/object/href", href.clone())]);
        let Notice::Fetch(target) = interpret_notice(notice.to_string().as_bytes()).unwrap() else { panic!("a fetch") };
        let server = MockServer::start().await;
        let check = changed("check-clear", &[("/href", href.clone())]);
        mount(&server, &format!("/v3.6/checks/{CHECK}"), ok(&check)).await;
        let reports = changed("reports-us-passport-clear", &[("/reports/0/href", href)]);
        mount(&server, "/v3.6/reports", ok(&reports)).await;
        assert!(fetch(&client(), &config(&server.uri()), &target).await.is_ok());
        assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
        assert_eq!(server.received_requests().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_base_path_stays_in_front_and_a_base_query_does_not() {
        let server = MockServer::start().await;
        mount(&server, &format!("/eu/v3.6/checks/{CHECK}"), ok(&fixture("check-clear"))).await;
        mount(&server, "/eu/v3.6/reports", ok(&fixture("reports-us-passport-clear"))).await;
        for base in ["/eu", "/eu/", "/eu/?x=1"] {
            let config = config(&format!("{}{base}", server.uri()));
            assert!(fetch(&client(), &config, &check_target()).await.is_ok(), "{base}");
        }
        let unusable = config("mailto:someone@example.org");
        let error = fetch(&client(), &unusable, &check_target()).await.unwrap_err();
        assert_eq!(error, IntakeError::Unsupported("base url"));
    }

    #[tokio::test]
    async fn a_token_that_is_no_header_is_refused_before_anything_is_sent() {
        let server = MockServer::start().await;
        let mut config = config(&server.uri());
        config.api_token = "line\nbreak".into();
        let error = fetch(&client(), &config, &check_target()).await.unwrap_err();
        assert_eq!(error, IntakeError::Unsupported("api token"));
        assert_eq!(server.received_requests().await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn answers_about_something_else_are_refused() {
        let (check, reports) = (fixture("check-clear"), fixture("reports-us-passport-clear"));
        let other = changed("check-clear", &[("/id", json!("other"))]);
        let error = fetch_with(&other, &reports).await.unwrap_err();
        assert_eq!(error, upstream("the answer is about another check"));
        let foreign = changed("reports-us-passport-clear", &[("/reports/1/check_id", json!("other"))]);
        let error = fetch_with(&check, &foreign).await.unwrap_err();
        assert_eq!(error, upstream("the reports are not this check's"));
        let mut short = reports.clone();
        short["reports"].as_array_mut().unwrap().pop();
        assert_eq!(fetch_with(&check, &short).await.unwrap_err(), upstream("reports are missing"));
        let many: Vec<Value> = std::iter::repeat_n(reports["reports"][0].clone(), 65).collect();
        let error = fetch_with(&check, &json!({"reports": many})).await.unwrap_err();
        assert_eq!(error, upstream("the reports are not this check's"));
        for (pointer, value) in [("/created_at", json!("soon")), ("/applicant_id", json!("../x"))] {
            assert!(matches!(
                fetch_with(&changed("check-clear", &[(pointer, value)]), &reports).await,
                Err(IntakeError::Upstream(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_failure_at_the_second_step_loses_the_first() {
        let server = MockServer::start().await;
        mount(&server, &format!("/v3.6/checks/{CHECK}"), ok(&fixture("check-clear"))).await;
        mount(&server, "/v3.6/reports", ResponseTemplate::new(500)).await;
        let error = fetch(&client(), &config(&server.uri()), &check_target()).await.unwrap_err();
        assert_eq!(error, upstream("it failed"));
    }

    #[tokio::test]
    async fn errors_repeat_nothing_of_what_was_read() {
        let poisoned = changed("check-clear", &[("/status", json!({"name": "Ilvara Quenneth"}))]);
        let error = check_answered(ok(&poisoned)).await;
        assert!(!format!("{error} {error:?}").contains("Ilvara"));
    }
}
