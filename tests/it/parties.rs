//! Questions about several parties over the API: acting for an organisation, contractors of contractors, workloads.

use crate::app::{Sources, TestApp, answer, on_both, work_off};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The person by her status, the organisation acted for by where it is incorporated and by who owns it.
pub(crate) async fn activate_entities(t: &TestApp) {
    let policy = json!({
        "id": "entities", "title": "People of domestic organisations", "resources": ["restricted.*"],
        "definitions": ["us_status@1", "employer@1", "incorporation@1", "ownership@1"],
        "criteria": [
            { "id": "us-status", "frame": "us_status", "allow": ["citizen", "national", "lpr", "protected"], "eligible_at": 0.85 },
            { "id": "entity", "frame": "incorporation", "of": "acting_for", "allow": ["USA"], "eligible_at": 0.85 },
            { "id": "owners", "frame": "ownership", "of": "acting_for", "none_of": ["listed-party"], "eligible_at": 0.85,
              "aggregate": { "at": "50%", "along": "control" } }
        ]
    });
    t.created("/v1/policies", policy).await;
    t.activate("entities").await;
}

pub(crate) async fn record(t: &TestApp, sources: &Sources, subject: &str, statement: Value) -> String {
    let body = json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG", "statement": statement });
    let answer = t.attest(sources, subject, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn organisation(t: &TestApp, id: &str) -> String {
    let body = t.created("/v1/organisations", json!({ "id": id, "name": id, "verified": true })).await;
    body["subject"].as_str().unwrap().to_owned()
}

async fn domestic(t: &TestApp, sources: &Sources, id: &str) -> String {
    let subject = organisation(t, id).await;
    record(t, sources, &subject, json!({ "type": "states", "frame": "incorporation", "states": ["USA"] })).await;
    record(t, sources, &subject, json!({ "type": "owners", "owners": { "a-fund": "100%" } })).await;
    subject
}

async fn citizen(t: &TestApp, sources: &Sources, name: &str) -> String {
    let subject = t.subject(name).await;
    record(t, sources, &subject, json!({ "type": "states", "frame": "us_status", "states": ["citizen"] })).await;
    subject
}

async fn asked(t: &TestApp, subject: &str, acting_for: &str) -> Value {
    t.eligibility(subject, &format!("restricted.api&acting_for={acting_for}")).await
}

async fn introspect(t: &TestApp, token: &str) -> Value {
    let request = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(&t.admin).form(&[("token", token)]);
    answer(request).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_acts_for_an_organisation_is_answered_for_both_of_them() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        activate_entities(&t).await;
        let person = citizen(&t, &sources, "ada").await;
        let home = domestic(&t, &sources, "org_home").await;
        let abroad = organisation(&t, "org_abroad").await;
        record(&t, &sources, &abroad, json!({ "type": "states", "frame": "incorporation", "states": ["IRL"] })).await;
        assert_eq!(t.eligibility(&person, "restricted.api").await["status"], "insufficient");
        let yes = asked(&t, &person, "org_home").await;
        assert_eq!((&yes["status"], &yes["acting_for"]), (&json!("eligible"), &json!(home)));
        // By either of its names it is the same question.
        assert_eq!(asked(&t, &person, &home).await["id"], yes["id"]);
        assert_eq!(asked(&t, &person, "org_abroad").await["status"], "ineligible");
        // A recorded decision is derived again with everybody in it.
        let again = t.get(&format!("/v1/decisions/{}", yes["id"].as_str().unwrap())).await;
        assert_eq!((&again.body["status"], &again.body["expires_at"]), (&yes["status"], &yes["expires_at"]));
        for (name, status) in [("org_none", 404), ("sub_none", 404), (person.as_str(), 404), ("nonsense", 422)] {
            let path = format!("/v1/subjects/{person}/eligibility?resource=restricted.api&acting_for={name}");
            assert_eq!(t.get(&path).await.status.as_u16(), status, "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learnt_of_an_organisation_is_obeyed_at_once_by_all_who_act_for_it() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        activate_entities(&t).await;
        t.audience("edge").await;
        let gateway = t.gateway("edge", true).await;
        let person = citizen(&t, &sources, "ada").await;
        t.created(&format!("/v1/subjects/{person}/links"), json!({ "namespace": "key", "id": "k1" })).await;
        let home = domestic(&t, &sources, "org_home").await;
        let wanted = json!({ "resource": "restricted.api", "audience": "edge", "acting_for": "org_home" });
        let token = t.created(&format!("/v1/subjects/{person}/tokens"), wanted.clone()).await["token"].clone();
        let token = token.as_str().unwrap();
        // The audience learns a name of its own for the organisation.
        let told = introspect(&t, token).await;
        assert_eq!(told["active"], true);
        assert!(told["eligibility"]["acting_for"].is_string());
        assert_ne!(told["eligibility"]["acting_for"], json!(home));
        let bearer = format!("Bearer {token}");
        let by_token = [("x-gateway-key", gateway.as_str()), ("authorization", bearer.as_str())];
        let asserted = [
            ("x-gateway-key", gateway.as_str()),
            ("x-vouchsafe-caller", "key:k1"),
            ("x-vouchsafe-acting-for", "org_home"),
        ];
        assert_eq!(t.check("restricted.api", &by_token).await.status, StatusCode::OK);
        assert_eq!(t.check("restricted.api", &asserted).await.status, StatusCode::OK);
        // The same caller on nobody's behalf, and on behalf of somebody unknown.
        assert_eq!(t.check("restricted.api", &asserted[..2]).await.status, StatusCode::FORBIDDEN);
        let unknown = [asserted[0], asserted[1], ("x-vouchsafe-acting-for", "org_none")];
        assert_eq!(t.check("restricted.api", &unknown).await.status, StatusCode::FORBIDDEN);
        let twice = [asserted[0], asserted[1], asserted[2], asserted[2]];
        assert_eq!(t.check("restricted.api", &twice).await.status, StatusCode::UNAUTHORIZED);
        // Another replica has answered too and holds its answer.
        let replica = t.replica().await;
        let ids = |name: &str| vouchsafe_core::ids::SubjectId::parse(name).unwrap();
        let resource = vouchsafe_core::ids::ResourceId::parse("restricted.api").unwrap();
        let (subject, party) = (ids(&person), ids(&home));
        let status = async || replica.eligibility_for(&subject, Some(&party), &resource).await.unwrap().0.status;
        assert_eq!(status().await, vouchsafe_core::Status::Eligible);
        // It is sold: 60 % to a holding that a listed party controls.
        let holding = organisation(&t, "org_holding").await;
        record(
            &t,
            &sources,
            &holding,
            json!({ "type": "owners", "owners": { "listed-party": "51%", "a-fund": "49%" } }),
        )
        .await;
        t.clock.advance(1);
        record(&t, &sources, &home, json!({ "type": "owners", "owners": { "org_holding": "60%", "a-fund": "40%" } }))
            .await;
        // One register says so, another said otherwise: a person must look.
        assert_eq!(asked(&t, &person, "org_home").await["status"], "review");
        assert_eq!(t.check("restricted.api", &by_token).await.status, StatusCode::FORBIDDEN);
        assert_eq!(t.check("restricted.api", &asserted).await.status, StatusCode::FORBIDDEN);
        assert_eq!(introspect(&t, token).await, json!({ "active": false }));
        replica.poll_feed().await.unwrap();
        assert_eq!(status().await, vouchsafe_core::Status::Review);
        let refused = t.post(&format!("/v1/subjects/{person}/tokens"), wanted).await;
        assert_eq!((refused.status, &refused.body["decision"]["acting_for"]), (StatusCode::FORBIDDEN, &json!(home)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contractor_of_a_listed_employers_contractor_is_let_in_as_far_as_the_policy_follows() {
    on_both(async |t: TestApp| {
        for (id, chain) in [("direct", 1), ("followed", 2)] {
            let policy = json!({ "id": id, "title": "t", "resources": [format!("restricted.{id}")], "definitions": ["employer@1"],
                "criteria": [{ "id": "listed", "frame": "employer", "any_of": ["org_customer"], "chain": chain }] });
            t.created("/v1/policies", policy).await;
            t.activate(id).await;
        }
        let customer = { organisation(&t, "org_customer").await; t.client("Cy", &["vouches:write"], &[], Some("org_customer")).await };
        let contractor = organisation(&t, "org_contractor").await;
        let own = t.client("Co", &["vouches:write"], &[], Some("org_contractor")).await;
        let person = t.subject("ada").await;
        let vouch = async |client: &str, organisation: &str, subject: &str| {
            let body = json!({ "subject": subject, "basis": "hr_record",
                "statement": { "type": "employment", "organisation": organisation, "employed": true, "relation": "contractor" } });
            let answer = t.send(client, Method::POST, "/v1/vouches", Some(body)).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
            answer.body["id"].as_str().unwrap().to_owned()
        };
        vouch(&own, "org_contractor", &person).await;
        assert_eq!(t.eligibility(&person, "restricted.followed").await["status"], "insufficient");
        let contract = vouch(&customer, "org_customer", &contractor).await;
        assert_eq!(t.eligibility(&person, "restricted.followed").await["status"], "eligible");
        assert_eq!(t.eligibility(&person, "restricted.direct").await["status"], "insufficient");
        // The contract ends, and with it everybody's way in.
        let ended = t.send(&customer, Method::POST, &format!("/v1/vouches/{contract}/withdraw"), None).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
        assert_eq!(t.eligibility(&person, "restricted.followed").await["status"], "insufficient");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_stands_and_falls_with_those_behind_it() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        activate_entities(&t).await;
        let person = citizen(&t, &sources, "ada").await;
        let home = domestic(&t, &sources, "org_home").await;
        let agent = t.created("/v1/subjects", json!({ "kind": "workload" })).await["id"].as_str().unwrap().to_owned();
        assert_eq!(t.eligibility(&agent, "restricted.api").await["status"], "insufficient");
        let behind = async |body: Value| {
            t.send(&t.admin, Method::PUT, &format!("/v1/subjects/{agent}/behind"), Some(body)).await
        };
        for wrong in [
            json!({ "owner": person, "responsible": person }),
            json!({ "owner": "org_home", "responsible": home }),
            json!({ "owner": "org_none", "responsible": person }),
        ] {
            assert_eq!(behind(wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
        // Nobody stands behind a person.
        let body = json!({ "owner": "org_home", "responsible": person });
        let of_person = t.send(&t.admin, Method::PUT, &format!("/v1/subjects/{person}/behind"), Some(body)).await;
        assert_eq!(of_person.status, StatusCode::UNPROCESSABLE_ENTITY);
        let said = behind(json!({ "owner": "org_home", "responsible": person })).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.body);
        let yes = t.eligibility(&agent, "restricted.api").await;
        assert_eq!(yes["status"], "eligible");
        // Nobody else can say it.
        let forged = json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG",
            "statement": { "type": "workload", "owner": home, "responsible": person } });
        assert_eq!(t.attest(&sources, &agent, forged).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        // Somebody of whom nothing is known takes over.
        t.clock.advance(1);
        let other = t.subject("bo").await;
        assert_eq!(behind(json!({ "owner": "org_home", "responsible": other })).await.status, StatusCode::OK);
        assert_eq!(t.eligibility(&agent, "restricted.api").await["status"], "insufficient");
        t.clock.advance(1);
        assert_eq!(behind(json!({ "owner": "org_home", "responsible": person })).await.status, StatusCode::OK);
        assert_eq!(t.eligibility(&agent, "restricted.api").await["status"], "eligible");
        // The person is erased: nobody answers for it any more, and the past stays as it was.
        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{person}"), None).await;
        assert!(erased.status.is_success(), "{}", erased.body);
        assert_eq!(t.eligibility(&agent, "restricted.api").await["status"], "insufficient");
        let past = t.get(&format!("/v1/decisions/{}", yes["id"].as_str().unwrap())).await;
        assert_eq!(past.body["status"], "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_the_organisation_acted_for_also_when_nobody_was_there_to_see_it() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        activate_entities(&t).await;
        t.audience("edge").await;
        let wanted = |name: &str| json!({ "resource": "restricted.api", "audience": "edge", "acting_for": name });
        let mut people = Vec::new();
        for name in ["org_first", "org_second", "org_third"] {
            let home = domestic(&t, &sources, name).await;
            let person = citizen(&t, &sources, &format!("of {name}")).await;
            t.created(&format!("/v1/subjects/{person}/tokens"), wanted(name)).await;
            people.push((person, home));
        }
        work_off(&t.app).await;
        let dead = async || {
            let sql = "SELECT subject, jti FROM tokens WHERE revoked_at_ms IS NOT NULL ORDER BY revoked_at_ms";
            let rows = crate::support::pairs(&t.database_url, sql).await;
            rows.into_iter().map(|(subject, _)| subject).collect::<Vec<_>>()
        };
        assert_eq!(dead().await, Vec::<String>::new());
        let sold = async |home: &str| {
            t.clock.advance(1);
            record(
                &t,
                &sources,
                home,
                json!({ "type": "owners", "owners": { "listed-party": "60%", "a-fund": "40%" } }),
            )
            .await;
        };
        sold(&people[0].1).await;
        work_off(&t.app).await;
        assert_eq!(dead().await, [people[0].0.as_str()]);
        // The process ended before it looked; the next one starts with a sweep.
        sold(&people[1].1).await;
        work_off(&*t.replica().await).await;
        assert_eq!(dead().await, [people[0].0.as_str(), people[1].0.as_str()]);
        // Whoever is erased is in no sweep, those who relied on it are.
        let path = format!("/v1/subjects/{}", people[2].1);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::OK);
        work_off(&*t.replica().await).await;
        assert_eq!(dead().await.last(), Some(&people[2].0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_changes_with_another_party_and_says_so() {
    on_both(async |t: TestApp| {
        let policy = json!({ "id": "owned", "title": "t", "resources": ["restricted.*"], "definitions": ["ownership@1"],
            "criteria": [{ "id": "owners", "frame": "ownership", "none_of": ["listed-party"], "eligible_at": 0.85,
                "aggregate": { "at": "50%", "along": "control" } }] });
        t.created("/v1/policies", policy).await;
        t.activate("owned").await;
        let sources = t.sources().await;
        let (child, parent) = (organisation(&t, "org_child").await, organisation(&t, "org_parent").await);
        record(&t, &sources, &child, json!({ "type": "owners", "owners": { "org_parent": "100%" } })).await;
        record(&t, &sources, &parent, json!({ "type": "owners", "owners": { "a-fund": "100%" } })).await;
        work_off(&t.app).await;
        t.clock.advance(1);
        record(&t, &sources, &parent, json!({ "type": "owners", "owners": { "listed-party": "100%" } })).await;
        work_off(&t.app).await;
        let sql = "SELECT key, body FROM outbox WHERE topic = 'eligibility.changed' ORDER BY position";
        let told = crate::support::pairs(&t.database_url, sql).await.into_iter();
        let told = told.filter(|(subject, _)| *subject == child);
        let told: Vec<Value> = told.map(|(_, body)| serde_json::from_str(&body).unwrap()).collect();
        let last = told.last().unwrap();
        assert_eq!((&last["previous"], &last["status"]), (&json!("eligible"), &json!("ineligible")), "{told:?}");
        assert_eq!(last["causes"], json!(["party"]));
    })
    .await;
}
