//! What gateways promise and know, and whom they let in that should not have been.

use crate::app::{Answer, Sources, TestApp, answer, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const HOUR: i64 = 3600;

async fn ready(t: &TestApp) -> Sources {
    t.activate("restricted-us-persons").await;
    t.audience("gw").await;
    t.sources().await
}

/// Id and key of a gateway.
async fn gateway(t: &TestApp, resource: &str, more: Value) -> (String, String) {
    let mut body = json!({ "name": "gw", "resources": [resource], "audience": "gw", "asserts": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = t.created("/v1/gateways", body).await;
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

async fn freeze(t: &TestApp, id: &str, pattern: &str) {
    let directive = json!({ "id": id, "authority": "a", "citation": "c", "actions": [{ "freeze": pattern }] });
    t.created("/v1/directives", directive).await;
}

/// Moves the clock, reads the feed and signs in again.
async fn later(t: &mut TestApp, seconds: i64) {
    t.clock.advance(seconds);
    t.app.poll_feed().await.unwrap();
    t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
}

async fn upload(t: &TestApp, key: &str, body: Value) -> Answer {
    answer(t.http.post(format!("{}/v1/admissions", t.url)).header("x-gateway-key", key).json(&body)).await
}

async fn report(t: &TestApp) -> Value {
    let answer = t.get("/v1/reports/gateways").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

/// (gateway, state) of each gateway before the freeze.
fn states(report: &Value, freeze: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let gateways = report["freezes"][freeze]["gateways"].as_array().unwrap();
    gateways.iter().map(|knows| (text(&knows["gateway"]), text(&knows["state"]))).collect()
}

/// The orders that the one status list says it knows, after the job signed.
async fn orders_of_list(t: &TestApp) -> String {
    use base64::Engine as _;
    t.app.tend_status().await.unwrap();
    let lists = answer(t.http.get(format!("{}/status-lists", t.url))).await.body;
    let list = t.http.get(lists["status_lists"][0].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(list.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["orders"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_registered_with_what_it_promises_and_can_change_it() {
    on_both(async |t: TestApp| {
        ready(&t).await;
        let (id, key) = gateway(&t, "restricted.*", json!({ "mode": "offline", "bound_secs": 120 })).await;
        let path = format!("/v1/gateways/{id}");
        let body = t.get(&path).await.body["body"].clone();
        assert_eq!((&body["mode"], &body["bound_secs"]), (&json!("offline"), &json!(120)));
        let change = json!({ "mode": "both", "bound_secs": 30, "resources": ["regional.*"], "deny_status": 451,
            "help_url": "https://help.example/" });
        let changed = t.send(&t.admin, Method::PATCH, &path, Some(change)).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
        let record = t.get(&path).await.body;
        assert_eq!((&record["version"], &record["body"]["mode"]), (&json!(2), &json!("both")));
        let body = &record["body"];
        assert_eq!((&body["bound_secs"], &body["resources"]), (&json!(30), &json!(["regional.*"])));
        assert_eq!(body["help_url"], "https://help.example/");
        assert_eq!((&body["name"], &body["asserts"]), (&json!("gw"), &json!(true)), "what was not named stays");
        let headers = [("x-gateway-key", key.as_str()), ("x-vouchsafe-caller", "api-key:nobody")];
        assert_eq!(t.check("regional.api", &headers).await.status.as_u16(), 451, "the key stays, and it acts at once");
        assert_eq!(t.audited("gateway.changed").await[0]["detail"]["bound_secs"], 30);
        for bad in [
            json!({ "mode": "sometimes" }),
            json!({ "bound_secs": -1 }),
            json!({ "bound_secs": 86_401 }),
            json!({ "resources": [] }),
            json!({ "deny_status": 200 }),
            json!({ "help_url": "http://help.example/" }),
            json!({ "key_sha256": "00" }),
        ] {
            let refused = t.send(&t.admin, Method::PATCH, &path, Some(bad.clone())).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }
        let unknown = t.send(&t.admin, Method::PATCH, "/v1/gateways/gw_none", Some(json!({}))).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        let reader = t.client("Bo", &["admissions:read"], &[], None).await;
        let refused = t.send(&reader, Method::PATCH, &path, Some(json!({}))).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_who_knows_of_a_freeze_and_whose_time_has_passed() {
    on_both(async |mut t: TestApp| {
        let sources = ready(&t).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        let (asks, asks_key) = gateway(&t, "restricted.*", json!({})).await;
        let (offline, offline_key) = gateway(&t, "restricted.api", json!({ "mode": "offline" })).await;
        gateway(&t, "regional.*", json!({})).await;
        t.token(&ada, "restricted.api", "gw").await;
        let before = orders_of_list(&t).await;
        upload(&t, &offline_key, json!({ "upload": "1", "admissions": [], "seen": before, "agent": "gate/1" })).await;
        assert_eq!(report(&t).await["freezes"], json!([]));

        later(&mut t, 1).await;
        freeze(&t, "stop", "restricted.*").await;
        let told = report(&t).await;
        let pair = |id: &str, state: &str| (id.to_owned(), state.to_owned());
        let mut expected = vec![pair(&asks, "bound"), pair(&offline, "pending")];
        expected.sort();
        assert_eq!(states(&told, 0), expected, "and not whoever guards something else");
        let line = &told["freezes"][0];
        assert_eq!((&line["directive"], &line["resource"]), (&json!("stop"), &json!("restricted.*")));
        let due = line["gateways"].as_array().unwrap().iter().find(|g| g["gateway"] == json!(offline)).unwrap();
        // Frozen at 00:00:01, and 90 s are what an offline gate promises unless told otherwise.
        assert_eq!(due["due_at"], "2026-11-21T00:01:31Z");

        let state = async |t: &TestApp, id: &str| {
            let states = states(&report(t).await, 0);
            states.into_iter().find(|(own, _)| own == id).unwrap().1
        };
        later(&mut t, 1).await;
        let headers = [("x-gateway-key", asks_key.as_str()), ("x-vouchsafe-caller", "api-key:nobody")];
        t.check("restricted.api", &headers).await;
        assert_eq!(state(&t, &asks).await, "acknowledged");
        upload(&t, &offline_key, json!({ "upload": "2", "admissions": [], "seen": before })).await;
        later(&mut t, 88).await;
        assert_eq!(state(&t, &offline).await, "pending", "a second before its time");
        later(&mut t, 1).await;
        assert_eq!(state(&t, &offline).await, "overdue");
        // The list that holds the freeze says so.
        let after = orders_of_list(&t).await;
        assert_ne!(before, after);
        let said = upload(&t, &offline_key, json!({ "upload": "3", "admissions": [], "seen": after })).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.body);
        assert_eq!(state(&t, &offline).await, "acknowledged");

        // So does one in which no token is concerned.
        freeze(&t, "elsewhere", "nationals.*").await;
        assert_ne!(orders_of_list(&t).await, after);

        // Written behind, for every replica and the next process.
        t.app.write_admissions().await.unwrap();
        let replica = t.replica().await;
        let elsewhere = serde_json::to_value(replica.report_gateways().await.unwrap()).unwrap();
        assert_eq!(elsewhere["freezes"], report(&t).await["freezes"]);
        let line = |report: &Value, id: &str| {
            report["gateways"].as_array().unwrap().iter().find(|gateway| gateway["id"] == id).unwrap().clone()
        };
        let own = line(&elsewhere, &offline);
        assert_eq!((&own["agent"], &own["silent"], &own["bound_secs"]), (&json!("gate/1"), &json!(false), &json!(90)));
        for bad in ["now", "1.2", "1.2.3.4"] {
            let refused = upload(&t, &offline_key, json!({ "upload": "4", "admissions": [], "seen": bad })).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_who_is_silent_and_what_nobody_guards() {
    on_both(async |mut t: TestApp| {
        ready(&t).await;
        t.activate("embargo").await;
        let (asks, asks_key) = gateway(&t, "restricted.api", json!({})).await;
        let (offline, offline_key) =
            gateway(&t, "restricted.web", json!({ "mode": "offline", "bound_secs": 60 })).await;
        let (never, _) = gateway(&t, "regional.*", json!({ "mode": "both" })).await;
        let headers = [("x-gateway-key", asks_key.as_str()), ("x-vouchsafe-caller", "api-key:nobody")];
        t.check("restricted.api", &headers).await;
        upload(&t, &offline_key, json!({ "upload": "1", "admissions": [] })).await;
        let silent = |report: &Value| {
            let gateways = report["gateways"].as_array().unwrap().iter();
            let ids =
                gateways.filter(|gateway| gateway["silent"] == true).map(|g| g["id"].as_str().unwrap().to_owned());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(silent(&report(&t).await), std::slice::from_ref(&never));
        // The bound of 60 s and five minutes.
        later(&mut t, 360).await;
        assert_eq!(silent(&report(&t).await), std::slice::from_ref(&never));
        later(&mut t, 1).await;
        let mut both = vec![never.clone(), offline.clone()];
        both.sort();
        assert_eq!(silent(&report(&t).await), both);
        later(&mut t, HOUR - 361).await;
        assert_eq!(silent(&report(&t).await), both);
        later(&mut t, 1).await;
        let told = report(&t).await;
        let mut all = vec![asks.clone(), offline.clone(), never.clone()];
        all.sort();
        assert_eq!(silent(&told), all);
        let unguarded = told["unguarded"].as_array().unwrap();
        let family: Vec<_> = unguarded.iter().filter(|line| line["resource"] == "restricted.*").collect();
        let mut partly = vec![asks, offline];
        partly.sort();
        assert_eq!((family.len(), &family[0]["in_part_by"]), (1, &json!(partly)));
        assert!(!unguarded.iter().any(|line| line["resource"] == "nationals.*"), "no policy in force governs it");
        gateway(&t, "restricted.*", json!({})).await;
        let told = report(&t).await;
        assert!(!told["unguarded"].as_array().unwrap().iter().any(|line| line["resource"] == "restricted.*"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_asks_has_nothing_to_report() {
    on_both(async |t: TestApp| {
        ready(&t).await;
        let (_, key) = gateway(&t, "restricted.*", json!({})).await;
        let line = json!({ "subject": "s", "resource": "restricted.api", "decision": "d", "hour": 0, "count": 1,
            "first_at": 0, "last_at": 0 });
        let refused = upload(&t, &key, json!({ "upload": "1", "admissions": [line] })).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")));
        let heard = upload(&t, &key, json!({ "upload": "1", "admissions": [], "agent": "nginx" })).await;
        assert_eq!(heard.status, StatusCode::OK, "{}", heard.body);
    })
    .await;
}

async fn exposure(t: &TestApp, query: &str) -> Vec<Value> {
    let (mut items, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = t.get(&format!("/v1/reports/exposure?limit=2{query}{cursor}")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(page.body["looked_at"].as_u64().unwrap() <= 2, "bounded work: {}", page.body);
        items.extend(page.body["items"].as_array().unwrap().iter().cloned());
        pages += 1;
        assert!(pages < 20);
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admissions_that_todays_evidence_would_not_have_allowed_are_exposed() {
    on_both(async |mut t: TestApp| {
        let sources = ready(&t).await;
        let (_, key) = gateway(&t, "restricted.*", json!({})).await;
        let names = ["forged", "left", "erased", "good"];
        let mut people = Vec::new();
        for name in names {
            let subject = t.eligible_subject(&sources, name).await;
            let path = format!("/v1/subjects/{subject}/links");
            t.created(&path, json!({ "namespace": "api-key", "id": name })).await;
            people.push(subject);
        }
        let pass_all = async |t: &TestApp| {
            for name in names {
                let caller = format!("api-key:{name}");
                let headers = [("x-gateway-key", key.as_str()), ("x-vouchsafe-caller", caller.as_str())];
                assert_eq!(t.check("restricted.api", &headers).await.status, StatusCode::OK);
            }
        };
        pass_all(&t).await;
        later(&mut t, HOUR).await;
        pass_all(&t).await;
        pass_all(&t).await;
        t.app.write_admissions().await.unwrap();
        assert_eq!(exposure(&t, "").await, Vec::<Value>::new(), "everybody was rightly let in");

        // The papers of two turn out to be forged: they never counted. Those of the third are withdrawn from now on.
        later(&mut t, HOUR).await;
        for (subject, from_start) in [(&people[0], true), (&people[1], false), (&people[2], true)] {
            for item in crate::app::attestations(&t, subject).await {
                let path = format!("/v1/attestations/{}/revoke", item["id"].as_str().unwrap());
                let body = json!({ "reason": "test", "from_start": from_start });
                let speaker =
                    t.client("Sam", &["attestations:write"], &[&sources.registry, &sources.vendor], None).await;
                let answer = t.send(&speaker, Method::POST, &path, Some(body)).await;
                assert!(answer.status.is_success(), "{}", answer.body);
            }
        }
        let gone = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{}", people[2]), None).await;
        assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
        later(&mut t, 1).await;
        let items = exposure(&t, "").await;
        let mut found: Vec<_> = items
            .iter()
            .map(|item| {
                (item["subject"].as_str().unwrap(), item["count"].as_i64().unwrap(), item["hour"].as_str().unwrap())
            })
            .collect();
        found.sort_unstable();
        let mut expected: Vec<_> = [&people[0], &people[2]]
            .into_iter()
            .flat_map(|who| [(who.as_str(), 1, "2026-11-21T00:00:00Z"), (who.as_str(), 2, "2026-11-21T01:00:00Z")])
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        for item in &items {
            assert_eq!(item["now"]["status"], "insufficient", "{item}");
            assert_eq!(item["now"]["at"], item["last_at"], "{item}");
            assert_ne!(item["now"]["decision"], item["decision"]);
            assert!(!item["now"]["reasons"].as_array().unwrap().is_empty());
        }
        let subject = &people[0];
        // What the time machine answers to the same question.
        let asked =
            format!("/v1/subjects/{subject}/eligibility?resource=restricted.api&at=2026-11-21T00:00:00Z&known_at=");
        let now = vouchsafe_core::Second::from_epoch(t.clock_secs());
        let said = t.get(&format!("{asked}{now}")).await.body;
        let first = items.iter().find(|item| item["subject"] == json!(subject)).unwrap();
        assert_eq!((&said["status"], &said["id"]), (&first["now"]["status"], &first["now"]["decision"]));

        assert_eq!(exposure(&t, &format!("&subject={subject}")).await.len(), 2);
        assert_eq!(exposure(&t, "&resource=restricted.*").await.len(), 4);
        assert_eq!(exposure(&t, "&resource=restricted.web").await.len(), 0);
        assert_eq!(exposure(&t, "&from=2026-11-21T00:30:00Z&to=2026-11-21T01:00:01Z").await.len(), 2);
        let reader = t.client("Bo", &["eligibility:read"], &[], None).await;
        for path in ["/v1/reports/exposure", "/v1/reports/gateways"] {
            assert_eq!(t.send(&reader, Method::GET, path, None).await.status, StatusCode::FORBIDDEN);
        }
    })
    .await;
}
