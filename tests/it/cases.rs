//! Review has an exit: cases are opened once, closed by themselves or by two people, and stay closed until there is
//! something new.

use crate::app::{Answer, Sources, TestApp, attestations, on_both, status};
use crate::operators::{PASSWORD, operator, refusal};
use crate::support::pairs;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::service::App;
use vouchsafe::service::operators::Role;
use vouchsafe::storage::{Change, Quarantined, Write};

pub(crate) struct Scene {
    pub(crate) sources: Sources,
    pub(crate) employer: String,
    pub(crate) rio: String,
    pub(crate) sam: String,
}

/// A policy in force, a document examiner, an employer, two reviewers.
pub(crate) async fn scene(t: &TestApp) -> Scene {
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    t.created("/v1/organisations", json!({ "id": "org_halyard", "name": "Halyard", "verified": true })).await;
    let employer = t.client("Emi", &["vouches:write"], &[], Some("org_halyard")).await;
    let rio = operator(t, "rio", "Rio Reviewer", &[Role::Reviewer], None).await;
    let sam = operator(t, "sam", "Sam Second", &[Role::Reviewer], None).await;
    Scene { sources, employer, rio, sam }
}

pub(crate) fn passport(scene: &Scene, number: &str) -> Value {
    json!({ "source": scene.sources.vendor, "kind": "document_check", "grade": "STRONG", "codes": ["face_match"],
        "document": { "type": "passport", "issuing_country": "USA", "number": number } })
}

/// The employer's word that somebody is no US person.
async fn deny(t: &TestApp, scene: &Scene, subject: &str, more: Value) -> String {
    let mut body = json!({ "subject": subject, "basis": "export_control_record",
        "statement": { "type": "states", "frame": "us_status", "states": ["other"] } });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = t.send(&scene.employer, Method::POST, "/v1/vouches", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// A passport for, an employer's record against: 16.587 and 2.469 units, both material. Gives subject and vouch.
pub(crate) async fn contradicted(t: &TestApp, scene: &Scene, name: &str) -> (String, String) {
    let subject = t.subject(name).await;
    let answer = t.attest(&scene.sources, &subject, passport(scene, name)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let vouch = deny(t, scene, &subject, json!({})).await;
    assert_eq!(status(t, &subject).await, "review");
    (subject, vouch)
}

/// Does what the job does.
pub(crate) async fn tend(t: &TestApp) {
    look(&t.app).await;
}

async fn look(app: &App) {
    app.poll_feed().await.unwrap();
    while app.reassess().await.unwrap() {}
    app.tend_cases().await.unwrap();
}

/// A little later: every token is still good.
pub(crate) async fn soon(t: &TestApp, seconds: i64) {
    t.clock.advance(seconds);
    tend(t).await;
}

/// Much later: everybody has to sign in again.
pub(crate) async fn later(t: &mut TestApp, scene: &mut Scene, seconds: i64) {
    t.clock.advance(seconds);
    t.app.poll_feed().await.unwrap();
    t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
    let sources = &mut scene.sources;
    sources.token = t.client("Sue", &["attestations:write"], &[&sources.registry, &sources.vendor], None).await;
    scene.employer = t.client("Emi", &["vouches:write"], &[], Some("org_halyard")).await;
    scene.rio = t.app.sign_in("rio", PASSWORD, 0).await.unwrap().token;
    scene.sam = t.app.sign_in("sam", PASSWORD, 0).await.unwrap().token;
    tend(t).await;
}

pub(crate) async fn cases(t: &TestApp, token: &str, query: &str) -> Vec<Value> {
    let answer = t.send(token, Method::GET, &format!("/v1/cases?{query}"), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

/// The one open case about a subject.
pub(crate) async fn the_case(t: &TestApp, token: &str, subject: &str) -> String {
    let open = cases(t, token, &format!("state=open&subject={subject}")).await;
    assert_eq!(open.len(), 1, "{open:?}");
    open[0]["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn propose(t: &TestApp, token: &str, case: &str, body: Value) -> Answer {
    t.send(token, Method::POST, &format!("/v1/cases/{case}/proposals"), Some(body)).await
}

pub(crate) async fn confirm(t: &TestApp, token: &str, case: &str, proposal: &str) -> Answer {
    t.send(token, Method::POST, &format!("/v1/cases/{case}/proposals/{proposal}/confirm"), Some(json!({}))).await
}

/// Two operators decide a case.
pub(crate) async fn decide(t: &TestApp, first: &str, second: &str, case: &str, body: Value) {
    let proposed = propose(t, first, case, body).await;
    assert_eq!(proposed.status, StatusCode::CREATED, "{}", proposed.body);
    let confirmed = confirm(t, second, case, proposed.body["id"].as_str().unwrap()).await;
    assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{}", confirmed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contradiction_opens_one_case_however_many_look() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let replicas = [t.replica().await, t.replica().await, t.replica().await];
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        let looks = replicas.map(|replica| tokio::spawn(async move { look(&replica).await }));
        tend(&t).await;
        for look in looks {
            look.await.unwrap();
        }
        let case = the_case(&t, &scene.rio, &subject).await;
        let shown = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{case}"), None).await;
        assert_eq!(
            (&shown.body["question"], &shown.body["causes"], &shown.body["resources"]),
            (&json!("us_status"), &json!(["status.review"]), &json!(["restricted.any"]))
        );
        assert_eq!(t.audited("case.opened").await.len(), 1, "an entry for the one that was opened");

        // What counts on which side, under the keys it would come again under; no identifiers, no digests.
        let evidence = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{case}/evidence"), None).await.body;
        let criterion = &evidence["decisions"][0]["criteria"][0];
        assert_eq!((&criterion["frame"], &criterion["status"]), (&json!("us_status"), &json!("review")));
        let line = criterion["evidence"].as_array().unwrap().iter().find(|line| line["attestation"] == vouch.as_str());
        assert_eq!(line.unwrap()["side"], "adverse");
        // q = .65 x .85 = .5525: 2 x .5525 / .4475 = 2.47 units.
        assert_eq!((&line.unwrap()["units"], &line.unwrap()["counted"]), (&json!(2.47), &json!(true)));
        let said = evidence["attestations"].as_array().unwrap();
        let employer = said.iter().find(|said| said["id"] == vouch.as_str()).unwrap();
        assert_eq!(employer["lineage"], format!("org_halyard/{subject}"));
        assert!(said.iter().all(|said| said["facts"].get("document").is_none()), "{evidence}");
        let auditor = operator(&t, "aud", "Aud Itor", &[Role::Auditor], None).await;
        assert_eq!(cases(&t, &auditor, "").await.len(), 1);
        let path = format!("/v1/cases/{case}/identifiers");
        let refused = t.send(&auditor, Method::GET, &path, None).await;
        assert_eq!(refusal(&refused), (403, "insufficient_scope"));
        assert!(t.audited("case.identified").await.is_empty());
        let told = t.send(&scene.rio, Method::GET, &path, None).await;
        assert_eq!(told.body["subject"]["external_id"], "ada", "{}", told.body);
        let recorded = t.audited("case.identified").await;
        assert_eq!((&recorded[0]["actor"], &recorded[0]["target"]), (&json!("operator:opr_rio"), &json!(case)));
        // A client, whatever it may do, is no person.
        let asked = t.post(&format!("/v1/cases/{case}/comments"), json!({ "text": "x" })).await;
        assert_eq!(refusal(&asked), (403, "insufficient_scope"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_people_settle_stays_settled_when_it_is_delivered_again() {
    on_both(async |mut t: TestApp| {
        let mut scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let case = the_case(&t, &scene.rio, &subject).await;
        let words = "spoke with Ada: the employer's file names her brother";
        let settles = json!({ "reason": "employer_mistaken", "text": words, "resolves": [vouch] });
        let proposed = propose(&t, &scene.rio, &case, settles.clone()).await;
        assert_eq!(proposed.status, StatusCode::CREATED, "{}", proposed.body);
        let proposal = proposed.body["id"].as_str().unwrap();
        assert_eq!(status(&t, &subject).await, "review", "one person changes nothing");
        assert_eq!(refusal(&propose(&t, &scene.sam, &case, settles).await), (409, "conflict"), "one at a time");
        assert_eq!(refusal(&confirm(&t, &scene.rio, &case, proposal).await), (403, "second_person_required"));
        assert_eq!(status(&t, &subject).await, "review");
        let confirmed = confirm(&t, &scene.sam, &case, proposal).await;
        assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{}", confirmed.body);
        // 16.587 / 18.587 = .8924 is above .85, and the passport opens the gate.
        assert_eq!(status(&t, &subject).await, "eligible");
        assert_eq!(refusal(&confirm(&t, &scene.sam, &case, proposal).await), (409, "conflict"));
        let shown = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{case}"), None).await.body;
        assert_eq!((&shown["state"], &shown["closing"]["outcome"]), (&json!("closed"), &json!("settled")));
        assert_eq!(shown["closing"]["by"], json!(["opr_rio", "opr_sam"]));
        let entries = shown["entries"].as_array().unwrap();
        let proposed = entries.iter().find(|entry| entry["kind"] == "proposal").unwrap();
        assert_eq!((&proposed["text"], &proposed["operator"]), (&json!(words), &json!("opr_rio")));
        // It is an attestation, and it says nothing itself.
        let held = attestations(&t, &subject).await;
        let adjudication = held.iter().find(|held| held["facts"]["kind"] == "adjudication").unwrap();
        assert_eq!(adjudication["id"], shown["closing"]["adjudication"]);
        assert_eq!(adjudication["facts"]["codes"], json!(["employer_mistaken"]));
        let mark = |held: &[Value], id: &str| {
            held.iter().find(|held| held["id"] == id).unwrap()["marks"].as_array().unwrap().clone()
        };
        assert_eq!(mark(&held, &vouch)[0]["kind"], "resolved");
        let decision = t.eligibility(&subject, "restricted.api").await;
        let path = format!("/v1/decisions/{}", decision["id"].as_str().unwrap());
        let explained = t.get(&path).await.body;
        assert_eq!(explained["status"], "eligible");

        // The same word again, a day later: the employer's roster comes every night.
        later(&mut t, &mut scene, 86_400).await;
        let again = deny(&t, &scene, &subject, json!({})).await;
        tend(&t).await;
        assert_eq!(status(&t, &subject).await, "eligible");
        assert_eq!(mark(&attestations(&t, &subject).await, &again)[0]["kind"], "resolved");
        let replica = t.replica().await;
        let id = vouchsafe_core::ids::SubjectId::parse(&subject).unwrap();
        let resource = vouchsafe_core::ids::ResourceId::parse("restricted.api").unwrap();
        assert_eq!(replica.eligibility(&id, &resource).await.unwrap().0.status.as_str(), "eligible", "in every memory");
        assert!(cases(&t, &scene.rio, "state=open").await.is_empty());
        assert_eq!(t.get(&path).await.body, explained, "what was decided before is derived again as it was");

        // Something else under the same key counts.
        soon(&t, 60).await;
        let other = deny(&t, &scene, &subject, json!({ "fact_date": "2026-11-21T00:00:00Z" })).await;
        tend(&t).await;
        assert_eq!(status(&t, &subject).await, "review");
        assert!(mark(&attestations(&t, &subject).await, &other).is_empty());
        let next = the_case(&t, &scene.rio, &subject).await;
        assert_ne!(next, case);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_delivered_again_is_settled_and_a_new_check_is_not() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let subject = t.subject("ada").await;
        assert_eq!(t.attest(&scene.sources, &subject, passport(&scene, "1")).await.status, StatusCode::CREATED);
        let failed = |check: &str, codes: Value| {
            json!({ "source": scene.sources.vendor, "kind": "document_check", "grade": "STRONG", "outcome": "declined",
                "codes": codes, "check_id": check,
                "document": { "type": "passport", "issuing_country": "USA", "number": "1" } })
        };
        let deliver = async |check: &str, codes: Value| -> String {
            let answer = t.attest(&scene.sources, &subject, failed(check, codes)).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
            tend(&t).await;
            answer.body["id"].as_str().unwrap().to_owned()
        };
        let mismatch = deliver("check-1", json!(["face_mismatch"])).await;
        assert_eq!(status(&t, &subject).await, "review");
        let case = the_case(&t, &scene.rio, &subject).await;
        decide(&t, &scene.rio, &scene.sam, &case, json!({ "reason": "same_person", "resolves": [mismatch] })).await;
        assert_eq!(status(&t, &subject).await, "eligible");
        // The vendor says it again, newer: the older one is superseded, the newer one settled.
        soon(&t, 60).await;
        deliver("check-1", json!(["face_mismatch"])).await;
        assert_eq!(status(&t, &subject).await, "eligible");
        assert!(cases(&t, &scene.rio, "state=open").await.is_empty());
        // It looked again: that is another examination.
        soon(&t, 60).await;
        let another = deliver("check-2", json!(["face_mismatch"])).await;
        assert_eq!(status(&t, &subject).await, "review");
        let case = the_case(&t, &scene.rio, &subject).await;
        decide(&t, &scene.sam, &scene.rio, &case, json!({ "reason": "same_person", "resolves": [another] })).await;
        assert_eq!(status(&t, &subject).await, "eligible");
        // It found more.
        soon(&t, 60).await;
        deliver("check-1", json!(["face_mismatch", "forged"])).await;
        assert_ne!(status(&t, &subject).await, "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_beside_the_confirmation_is_settled_whichever_comes_first() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        for n in 0..6 {
            let (subject, vouch) = contradicted(&t, &scene, &format!("person-{n}")).await;
            tend(&t).await;
            let case = the_case(&t, &scene.rio, &subject).await;
            let settles = json!({ "reason": "mistaken", "resolves": [vouch] });
            let proposed = propose(&t, &scene.rio, &case, settles).await;
            let proposal = proposed.body["id"].as_str().unwrap();
            let (confirmed, _) =
                tokio::join!(confirm(&t, &scene.sam, &case, proposal), deny(&t, &scene, &subject, json!({})));
            assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{}", confirmed.body);
            assert_eq!(status(&t, &subject).await, "eligible", "{n}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_on_themselves_or_on_what_they_said() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let case = the_case(&t, &scene.rio, &subject).await;
        let settles = json!({ "reason": "mistaken", "resolves": [vouch] });
        // The subject, as a reviewer: sees nothing and does nothing.
        let ada = operator(&t, "ada", "Ada Subject", &[Role::Reviewer], Some(&subject)).await;
        assert!(cases(&t, &ada, "").await.is_empty());
        for path in ["", "/evidence", "/identifiers"] {
            let answer = t.send(&ada, Method::GET, &format!("/v1/cases/{case}{path}"), None).await;
            assert_eq!(refusal(&answer), (403, "not_impartial"), "{path}");
        }
        assert_eq!(refusal(&propose(&t, &ada, &case, settles.clone()).await), (403, "not_impartial"));
        let path = format!("/v1/cases/{case}/assign");
        let assigned = t.send(&scene.rio, Method::POST, &path, Some(json!({ "operator": "opr_ada" }))).await;
        assert_eq!(
            (refusal(&assigned), &assigned.body["errors"][0]["pointer"]),
            ((422, "invalid"), &json!("/operator"))
        );
        // Who answers for the employer's client.
        let emi = operator(&t, "emi", "EMI", &[Role::Reviewer], None).await;
        assert_eq!(refusal(&propose(&t, &emi, &case, settles.clone()).await), (403, "not_impartial"));
        let proposed = propose(&t, &scene.rio, &case, settles).await;
        let proposal = proposed.body["id"].as_str().unwrap();
        assert_eq!(refusal(&confirm(&t, &emi, &case, proposal).await), (403, "not_impartial"));
        assert_eq!(refusal(&confirm(&t, &ada, &case, proposal).await), (403, "not_impartial"));
        // The proposer under another name to sign in with.
        let rio = operator(&t, "rio2", "rio  reviewer", &[Role::Reviewer], None).await;
        assert_eq!(refusal(&confirm(&t, &rio, &case, proposal).await), (403, "second_person_required"));
        // Two operators whom one administrator gave their passwords are one person.
        let mut made = Vec::new();
        for login in ["one", "two"] {
            let body = json!({ "login": login, "name": login, "roles": ["reviewer"] });
            let given = t.created("/v1/operators", body).await["password"].as_str().unwrap().to_owned();
            let caller = t.app.operator_at_the_machine(login, &given, 0).await.unwrap();
            t.app.change_password(&caller, 0, &given, "a password of fifteen or more").await.unwrap();
            made.push(t.app.sign_in(login, "a password of fifteen or more", 0).await.unwrap().token);
        }
        let back = format!("/v1/cases/{case}/proposals/{proposal}/reject");
        let rejected = t.send(&scene.sam, Method::POST, &back, Some(json!({ "reason": "look_again" }))).await;
        assert_eq!(rejected.status, StatusCode::NO_CONTENT, "{}", rejected.body);
        assert_eq!(refusal(&confirm(&t, &scene.sam, &case, proposal).await), (409, "conflict"), "it was rejected");
        let proposed = propose(&t, &made[0], &case, json!({ "reason": "mistaken", "resolves": [vouch] })).await;
        let proposal = proposed.body["id"].as_str().unwrap();
        assert_eq!(refusal(&confirm(&t, &made[1], &case, proposal).await), (403, "second_person_required"));
        // A proposal of somebody who was disabled since stands no more.
        t.post("/v1/operators/opr_one/disable", json!({})).await;
        assert_eq!(refusal(&confirm(&t, &scene.sam, &case, proposal).await), (403, "second_person_required"));
        assert_eq!(status(&t, &subject).await, "review");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewers_finding_is_evidence_and_not_settled_by_who_found_it() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let case = the_case(&t, &scene.rio, &subject).await;
        let finding = |frame: &str, states: Value| {
            json!({ "statement": { "type": "states", "frame": frame, "states": states }, "grade": "STRONG",
                "basis": "document_seen" })
        };
        let wrong = json!({ "reason": "seen", "finding": finding("us_status", json!(["martian"])) });
        let refused = propose(&t, &scene.rio, &case, wrong).await;
        assert_eq!(
            (refusal(&refused), &refused.body["errors"][0]["pointer"]),
            ((422, "invalid"), &json!("/finding/statement"))
        );
        let proposal = json!({ "reason": "seen", "finding": finding("us_status", json!(["citizen"])) });
        decide(&t, &scene.rio, &scene.sam, &case, proposal).await;
        let held = attestations(&t, &subject).await;
        let review = held.iter().find(|held| held["facts"]["kind"] == "review").unwrap();
        assert_eq!((&review["source"], &review["facts"]["source_kind"]), (&json!("src_review"), &json!("reviewer")));
        // More support never outvotes material evidence against: it is still a case for people, and is asked again.
        assert_eq!(status(&t, &subject).await, "review");
        tend(&t).await;
        let next = the_case(&t, &scene.rio, &subject).await;
        assert_ne!(next, case);
        let own = json!({ "reason": "mistaken", "resolves": [review["id"]] });
        for finder in [&scene.rio, &scene.sam] {
            assert_eq!(refusal(&propose(&t, finder, &next, own.clone()).await), (403, "not_impartial"));
        }
        let lee = operator(&t, "lee", "Lee", &[Role::Reviewer], None).await;
        let proposed = propose(&t, &lee, &next, own).await;
        let proposal = proposed.body["id"].as_str().unwrap();
        assert_eq!(refusal(&confirm(&t, &scene.sam, &next, proposal).await), (403, "not_impartial"));
        let back = format!("/v1/cases/{next}/proposals/{proposal}/reject");
        t.send(&lee, Method::POST, &back, Some(json!({ "reason": "mine" }))).await;
        decide(&t, &scene.sam, &lee, &next, json!({ "reason": "mistaken", "resolves": [vouch] })).await;
        assert_eq!(status(&t, &subject).await, "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_closes_by_itself_and_is_asked_again_only_on_something_new() {
    on_both(async |mut t: TestApp| {
        let mut scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let first = the_case(&t, &scene.rio, &subject).await;
        let withdrawn = t.send(&scene.employer, Method::POST, &format!("/v1/vouches/{vouch}/withdraw"), None).await;
        assert_eq!(withdrawn.status, StatusCode::NO_CONTENT);
        tend(&t).await;
        let shown = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{first}"), None).await.body;
        assert_eq!((&shown["state"], &shown["closing"]["outcome"]), (&json!("closed"), &json!("moot")));
        let closed = t.audited("case.closed").await;
        assert_eq!((&closed[0]["actor"], &closed[0]["target"]), (&json!("system"), &json!(first)));
        // Said again: nobody decided on it, so it is asked again.
        soon(&t, 60).await;
        deny(&t, &scene, &subject, json!({})).await;
        tend(&t).await;
        let second = the_case(&t, &scene.rio, &subject).await;
        // Left as it is: the same does not open it again, not even when it is said anew.
        decide(&t, &scene.rio, &scene.sam, &second, json!({ "reason": "wait_for_the_register" })).await;
        assert_eq!(status(&t, &subject).await, "review");
        later(&mut t, &mut scene, 3600).await;
        deny(&t, &scene, &subject, json!({})).await;
        soon(&t, 61).await;
        assert!(cases(&t, &scene.rio, "state=open").await.is_empty());
        deny(&t, &scene, &subject, json!({ "fact_date": "2026-11-20T00:00:00Z" })).await;
        tend(&t).await;
        the_case(&t, &scene.rio, &subject).await;
        // Evidence against ends after 730 days at most, seen by the minute's look at open cases.
        later(&mut t, &mut scene, 730 * 86_400).await;
        t.app.poll_feed().await.unwrap();
        soon(&t, 61).await;
        assert!(cases(&t, &scene.rio, "state=open").await.is_empty());
    })
    .await;
}

/// Open cases of results that nobody bound.
async fn unbound(t: &TestApp, scene: &Scene) -> Vec<Value> {
    let open = cases(t, &scene.rio, "state=open").await;
    open.into_iter().filter(|case| case["causes"] == json!(["quarantine"])).collect()
}

async fn quarantine(t: &TestApp, scene: &Scene, id: &str) {
    let write = Write::Quarantine(Quarantined {
        id: id.to_owned(),
        source: scene.sources.vendor.clone(),
        event: id.to_owned(),
        session: "session-of-nobody".to_owned(),
        sealed: vec![1],
        received_at_ms: t.app.clock.now_ms(),
    });
    let change = Change { writes: vec![write], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
    t.app.store.commit(change).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_document_and_a_result_nobody_bound_are_looked_at() {
    on_both(async |mut t: TestApp| {
        let mut scene = scene(&t).await;
        let mut people = Vec::new();
        for name in ["ada", "bo"] {
            let subject = t.subject(name).await;
            let mut check = passport(&scene, "one for both");
            if name == "bo" {
                check["codes"] = json!([]);
            }
            assert_eq!(t.attest(&scene.sources, &subject, check).await.status, StatusCode::CREATED);
            people.push(subject);
        }
        tend(&t).await;
        for subject in &people {
            let open = cases(&t, &scene.rio, &format!("state=open&subject={subject}")).await;
            let causes: Vec<&Value> = open.iter().map(|case| &case["causes"]).collect();
            assert_eq!(open.len(), 1, "{open:?}");
            assert_eq!(open[0]["question"], "identity");
            assert!(causes[0].as_array().unwrap().contains(&json!("document.shared")), "{causes:?}");
        }
        quarantine(&t, &scene, "qua_1").await;
        later(&mut t, &mut scene, 86_400).await;
        assert!(unbound(&t, &scene).await.is_empty(), "a day, to the second");
        soon(&t, 60).await;
        let found = unbound(&t, &scene).await;
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0]["session"], &found[0]["subject"]), (&json!("session-of-nobody"), &Value::Null));
        let case = found[0]["id"].as_str().unwrap();
        let path = format!("/v1/cases/{case}/comments");
        let said = t.send(&scene.rio, Method::POST, &path, Some(json!({ "text": "asked the vendor" }))).await;
        assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
        decide(&t, &scene.rio, &scene.sam, case, json!({ "reason": "test_run" })).await;
        soon(&t, 61).await;
        assert!(unbound(&t, &scene).await.is_empty(), "people looked at it");
        quarantine(&t, &scene, "qua_2").await;
        soon(&t, 61).await;
        let found = unbound(&t, &scene).await;
        assert_eq!(found.len(), 1, "something new");
        // Thirty days later it is gone, and the case with it.
        later(&mut t, &mut scene, 30 * 86_400).await;
        t.app.keep_bounds().await.unwrap();
        soon(&t, 61).await;
        assert!(unbound(&t, &scene).await.is_empty());
        let state = pairs(&t.database_url, "SELECT id, state FROM cases WHERE subject IS NULL").await;
        assert!(state.len() == 2 && state.iter().all(|(_, state)| state == "closed"), "{state:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_about_a_person_go_with_the_person() {
    on_both(async |mut t: TestApp| {
        let mut scene = scene(&t).await;
        let (subject, _) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let case = the_case(&t, &scene.rio, &subject).await;
        let path = format!("/v1/cases/{case}/comments");
        let words = "Ada called from a train";
        let said = t.send(&scene.rio, Method::POST, &path, Some(json!({ "text": words }))).await;
        assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
        let stale = t
            .http
            .post(format!("{}/v1/cases/{case}/assign", t.url))
            .bearer_auth(&scene.rio)
            .header("if-match", "\"7\"")
            .json(&json!({ "operator": "opr_rio" }));
        assert_eq!(refusal(&crate::app::answer(stale).await), (412, "precondition_failed"));
        let path = format!("/v1/cases/{case}/assign");
        let assigned = t.send(&scene.rio, Method::POST, &path, Some(json!({ "operator": "opr_sam" })));
        assert_eq!(assigned.await.status, StatusCode::NO_CONTENT);
        let shown = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{case}"), None).await;
        assert_eq!((shown.header("etag"), &shown.body["assignee"]), ("\"2\"", &json!("opr_sam")));
        let stored = pairs(&t.database_url, "SELECT id, body FROM case_entries").await;
        assert!(stored.iter().all(|(_, body)| !body.contains("Ada")));
        let exported = t.get(&format!("/v1/subjects/{subject}/export")).await.body;
        assert_eq!(exported["cases"][0]["said"][0]["text"], words);
        assert!(!exported["cases"].to_string().contains("opr_"), "not who said it");
        assert_eq!(
            t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await.status,
            StatusCode::OK
        );
        let shown = t.send(&scene.rio, Method::GET, &format!("/v1/cases/{case}"), None).await.body;
        assert_eq!((&shown["state"], &shown["closing"]["reason"]), (&json!("closed"), &json!("erased")));
        assert_eq!(shown["entries"][0]["text"], Value::Null);
        let sealed = "SELECT id, 'x' FROM case_entries WHERE sealed IS NOT NULL";
        assert!(pairs(&t.database_url, sealed).await.is_empty());
        later(&mut t, &mut scene, 1826 * 86_400).await;
        t.app.keep_bounds().await.unwrap();
        for table in ["cases", "case_entries", "resolutions"] {
            let left = pairs(&t.database_url, &format!("SELECT '', CAST(COUNT(*) AS TEXT) FROM {table}")).await;
            assert_eq!(left[0].1, "0", "{table}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_case_outlives_its_use_and_goes() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let (subject, vouch) = contradicted(&t, &scene, "ada").await;
        tend(&t).await;
        let case = the_case(&t, &scene.rio, &subject).await;
        decide(&t, &scene.rio, &scene.sam, &case, json!({ "reason": "mistaken", "resolves": [vouch] })).await;
        t.app.retention_secs.store(60 * 86_400, std::sync::atomic::Ordering::Relaxed);
        let count = async |table: &str| {
            pairs(&t.database_url, &format!("SELECT '', CAST(COUNT(*) AS TEXT) FROM {table}")).await[0].1.clone()
        };
        t.clock.advance(60 * 86_400);
        t.app.keep_bounds().await.unwrap();
        assert_eq!(
            (count("cases").await, count("case_entries").await),
            ("1".into(), "2".into()),
            "60 days to the second"
        );
        t.clock.advance(1);
        t.app.keep_bounds().await.unwrap();
        assert_eq!((count("cases").await, count("case_entries").await), ("0".into(), "0".into()));
    })
    .await;
}
