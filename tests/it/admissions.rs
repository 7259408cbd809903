//! Who was let in is counted, once, wherever it was judged.

use crate::app::{Answer, Sources, TestApp, answer, on_both};
use crate::support::pairs;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Seconds of [`crate::app::START_MS`], which begins an hour.
const START: i64 = crate::app::START_MS / 1000;

async fn ready(t: &TestApp) -> Sources {
    t.activate("restricted-us-persons").await;
    t.audience("gw").await;
    t.sources().await
}

/// The key of a gateway that judges by itself.
async fn offline(t: &TestApp) -> String {
    let body = json!({ "name": "gw", "resources": ["restricted.*"], "audience": "gw", "mode": "offline" });
    t.created("/v1/gateways", body).await["key"].as_str().unwrap().to_owned()
}

async fn link(t: &TestApp, subject: &str, key: &str) {
    let path = format!("/v1/subjects/{subject}/links");
    t.created(&path, json!({ "namespace": "api-key", "id": key })).await;
}

async fn passes(t: &TestApp, gateway: &str, caller: &str, resource: &str) -> bool {
    let headers = [("x-gateway-key", gateway), ("x-vouchsafe-caller", caller)];
    t.check(resource, &headers).await.status == StatusCode::OK
}

/// The ledger as the API tells it.
async fn ledger(t: &TestApp, query: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = t.get(&format!("/v1/admissions?limit=3{query}{cursor}")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        items.extend(page.body["items"].as_array().unwrap().iter().cloned());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

fn sum(items: &[Value]) -> i64 {
    items.iter().map(|item| item["count"].as_i64().unwrap()).sum()
}

async fn upload(t: &TestApp, gateway: &str, body: &Value) -> Answer {
    answer(t.http.post(format!("{}/v1/admissions", t.url)).header("x-gateway-key", gateway).json(body)).await
}

/// What the token says that an offline gate would report.
fn line(token: &str, at: i64) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    json!({ "subject": claims["sub"], "resource": claims["eligibility"]["resource"],
        "decision": claims["eligibility"]["decision"], "hour": at - at % HOUR, "count": 2, "first_at": at, "last_at": at })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_sums_up_to_the_admissions_answered() {
    on_both(async |mut t: TestApp| {
        let sources = ready(&t).await;
        let gateways = [t.gateway("gw", true).await, t.gateway("gw", true).await];
        let mut people = Vec::new();
        for name in ["ada", "bob", "cam"] {
            let subject = t.eligible_subject(&sources, name).await;
            link(&t, &subject, name).await;
            people.push(subject);
        }
        let nobody = t.subject("dee").await;
        link(&t, &nobody, "dee").await;
        // Anybody at any gateway, by a generator with a fixed seed; hours pass, and the job runs now and then.
        let (mut seed, mut admitted) = (7_u64, BTreeMap::<(String, String), i64>::new());
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let name = ["ada", "bob", "cam", "dee"][usize::try_from(next(4)).unwrap()];
            let resource = ["restricted.api", "restricted.web", "elsewhere.api"][usize::try_from(next(3)).unwrap()];
            let gateway = &gateways[usize::try_from(next(2)).unwrap()];
            if passes(&t, gateway, &format!("api-key:{name}"), resource).await {
                *admitted.entry((name.to_owned(), resource.to_owned())).or_default() += 1;
            }
            match next(20) {
                0 => t.clock.advance(HOUR / 2),
                1 => drop(t.app.write_admissions().await.unwrap()),
                _ => {}
            }
            t.app.poll_feed().await.unwrap();
        }
        t.app.write_admissions().await.unwrap();
        assert_eq!(t.app.write_admissions().await.unwrap(), 0, "nothing is left");
        t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &[], None).await;
        let items = ledger(&t, "").await;
        let all: i64 = admitted.values().sum();
        assert!(all > 100 && admitted.len() == 6, "{admitted:?}");
        assert_eq!(sum(&items), all);
        for ((name, resource), count) in &admitted {
            let subject = &people[["ada", "bob", "cam"].iter().position(|own| own == name).unwrap()];
            let own = ledger(&t, &format!("&subject={subject}&resource={resource}")).await;
            assert_eq!(sum(&own), *count, "{name} {resource}");
        }
        assert_eq!(sum(&ledger(&t, "&resource=restricted.*").await), all);
        for item in &items {
            let text = |name: &str| item[name].as_str().unwrap();
            assert!(text("hour") <= text("first_at") && text("first_at") <= text("last_at"), "{item}");
            let decision = t.get(&format!("/v1/decisions/{}", text("decision"))).await;
            assert_eq!((decision.status, &decision.body["status"]), (StatusCode::OK, &json!("eligible")));
            assert_eq!(decision.body["subject"], item["subject"]);
        }
        let keys: Vec<_> =
            items.iter().map(|i| (&i["hour"], &i["subject"], &i["resource"], &i["decision"], &i["gateway"])).collect();
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "one row: {key:?}");
        }
        let hours: Vec<_> = items.iter().map(|item| item["hour"].as_str().unwrap()).collect();
        assert!(hours.is_sorted() && hours.first() != hours.last());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admissions_by_token_count_for_the_organisation_acted_for_too() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let gateway = t.gateway("gw", false).await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let organisation = t.created("/v1/organisations", json!({ "name": "Acme" })).await["subject"].clone();
        let path = format!("/v1/subjects/{subject}/tokens");
        let body = json!({ "resource": "restricted.api", "audience": "gw", "acting_for": organisation });
        let token = t.created(&path, body).await["token"].as_str().unwrap().to_owned();
        let authorization = format!("Bearer {token}");
        let headers = [("x-gateway-key", gateway.as_str()), ("authorization", authorization.as_str())];
        assert_eq!(t.check("restricted.api", &headers).await.status, StatusCode::OK);
        t.app.write_admissions().await.unwrap();
        let items = ledger(&t, "").await;
        assert_eq!((items.len(), &items[0]["acting_for"]), (1, &organisation));
        let export = t.get(&format!("/v1/subjects/{subject}/export")).await.body;
        assert_eq!(export["admissions"], json!(items));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_counts_once_and_every_line_is_answered() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let gateway = offline(&t).await;
        let (ada, bob) = (t.eligible_subject(&sources, "ada").await, t.eligible_subject(&sources, "bob").await);
        let token = t.token(&ada, "restricted.api", "gw").await;
        let good = line(&token, START + 5);
        let bobs = line(&t.token(&bob, "restricted.api", "gw").await, START);
        t.audience("other").await;
        let others = line(&t.token(&ada, "restricted.api", "other").await, START);
        let with = |name: &str, value: Value| {
            let mut line = good.clone();
            line[name] = value;
            line
        };
        let lines = [
            (good.clone(), "counted"),
            (with("subject", others["subject"].clone()), "subject_unknown"),
            (with("subject", json!(ada)), "subject_unknown"),
            (with("subject", bobs["subject"].clone()), "decision_of_another"),
            (with("acting_for", bobs["subject"].clone()), "decision_of_another"),
            (with("resource", json!("restricted.web")), "decision_of_another"),
            (with("resource", json!("nationals.api")), "resource_not_guarded"),
            (with("resource", json!("No Resource")), "resource_not_guarded"),
            (with("decision", json!("dec_none")), "decision_unknown"),
            (with("hour", json!(START - HOUR)), "times_invalid"),
            (with("count", json!(0)), "count_invalid"),
            (with("count", json!(-2)), "count_invalid"),
            (line(&token, START - 8 * DAY), "too_old"),
            (line(&token, START + 2 * HOUR), "ahead"),
            (with("last_at", json!(START + 9)), "counted"),
        ];
        let body = json!({ "upload": "u-1", "admissions": lines.iter().map(|(line, _)| line).collect::<Vec<_>>() });
        let said = upload(&t, &gateway, &body).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.body);
        let outcomes: Vec<_> = said.body["items"].as_array().unwrap().iter().collect();
        for ((line, expected), outcome) in lines.iter().zip(&outcomes) {
            let told = outcome["code"].as_str().unwrap_or(outcome["result"].as_str().unwrap());
            assert_eq!(told, *expected, "{line}");
        }
        assert_eq!((outcomes.len(), &said.body["result"], &said.body["counted"]), (15, &json!("counted"), &json!(2)));
        let items = ledger(&t, "").await;
        assert_eq!((items.len(), sum(&items), &items[0]["subject"]), (1, 4, &json!(ada)));
        assert_eq!(
            (&items[0]["first_at"], &items[0]["last_at"]),
            (&json!("2026-11-21T00:00:05Z"), &json!("2026-11-21T00:00:09Z"))
        );

        for _ in 0..2 {
            let again = upload(&t, &gateway, &body).await;
            assert_eq!((again.status, &again.body["result"]), (StatusCode::OK, &json!("repeated")));
            assert_eq!(again.body["items"], said.body["items"]);
        }
        assert_eq!(sum(&ledger(&t, "").await), 4);
        // Another gateway's id of the same text is another upload.
        let second = offline(&t).await;
        let body = json!({ "upload": "u-1", "admissions": [good] });
        assert_eq!(upload(&t, &second, &body).await.body["result"], "counted");
        let items = ledger(&t, "").await;
        assert_eq!((items.len(), sum(&items)), (2, 6));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_id_was_forgotten_has_nothing_that_would_be_taken() {
    on_both(async |mut t: TestApp| {
        let sources = ready(&t).await;
        let gateway = offline(&t).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        let token = t.token(&ada, "restricted.api", "gw").await;
        // As late as a line may be: its clock a minute ahead.
        let body = json!({ "upload": "u", "admissions": [line(&token, START + 60)] });
        assert_eq!(upload(&t, &gateway, &body).await.body["result"], "counted");
        for _ in 0..10 {
            t.clock.advance(DAY);
            t.app.poll_feed().await.unwrap();
            t.app.keep_bounds().await.unwrap();
            upload(&t, &gateway, &body).await;
        }
        let books = pairs(&t.database_url, "SELECT jti, issuer FROM spent_jtis WHERE jti = 'u'").await;
        assert_eq!(books.len(), 1, "forgotten after eight days, and spent anew by an upload without effect");
        t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &[], None).await;
        assert_eq!(sum(&ledger(&t, "").await), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_questions_that_cannot_be_used_are_refused() {
    on_both(async |t: TestApp| {
        ready(&t).await;
        let gateway = t.gateway("gw", false).await;
        let empty = json!({ "upload": "u", "admissions": [] });
        for key in ["gw_none.secret", "nonsense", &format!("{gateway}x")] {
            assert_eq!(upload(&t, key, &empty).await.status, StatusCode::UNAUTHORIZED);
        }
        let keyless = t.send(&t.admin, Method::POST, "/v1/admissions", Some(empty.clone())).await;
        assert_eq!(keyless.status, StatusCode::UNAUTHORIZED, "an access token is no gateway's key");
        assert_eq!(upload(&t, &gateway, &empty).await.status, StatusCode::OK);
        for id in ["", "a b", "ü", &"x".repeat(65)] {
            let body = json!({ "upload": id, "admissions": [] });
            assert_eq!(upload(&t, &gateway, &body).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{id}");
        }
        for query in [
            "resource=A",
            "subject=x",
            "from=yesterday",
            "to=1",
            "limit=0",
            "from=2026-11-21T00:00:01Z&to=2026-11-21T00:00:01Z",
        ] {
            let answer = t.get(&format!("/v1/admissions?{query}")).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {}", answer.body);
        }
        let reader = t.client("Bo", &["rules:read"], &[], None).await;
        assert_eq!(t.send(&reader, Method::GET, "/v1/admissions", None).await.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_written_is_written_later_and_once() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let gateway = t.gateway("gw", true).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        link(&t, &ada, "ada").await;
        assert!(passes(&t, &gateway, "api-key:ada", "restricted.api").await);
        let run = async |sql: &str| crate::support::execute(&t.database_url, sql).await.unwrap();
        run("ALTER TABLE admissions RENAME TO away").await;
        assert!(t.app.write_admissions().await.is_err());
        assert!(passes(&t, &gateway, "api-key:ada", "restricted.api").await, "the check goes on");
        assert!(t.app.write_admissions().await.is_err());
        run("ALTER TABLE away RENAME TO admissions").await;
        assert_eq!(t.app.write_admissions().await.unwrap(), 2);
        let items = ledger(&t, "").await;
        assert_eq!((items.len(), sum(&items)), (1, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_gate_hands_in_what_it_counted_and_which_orders_it_knows() {
    use std::sync::Arc;
    use vouchsafe::clock::Clock as _;
    use vouchsafe_verify::fetch::Reach;
    use vouchsafe_verify::gate::{Gate, Refusal, Settings, Uploader};
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        let key = offline(&t).await;
        let token = t.token(&ada, "restricted.api", "gw").await;
        t.app.tend_status().await.unwrap();
        let settings = Settings { reach: Reach::Loopback, ..Settings::new(&t.url, "gw", "restricted.api") };
        let uploader = Arc::new(Uploader::new(&settings, &key, "gate/1").unwrap());
        let clock = Arc::clone(&t.clock);
        let gate = Gate::with_clock(settings, uploader.clone(), Arc::new(move || clock.now().epoch())).unwrap();
        let state = async |t: &TestApp| {
            let report = t.get("/v1/reports/gateways").await.body;
            report["freezes"][0]["gateways"][0]["state"].clone()
        };
        for _ in 0..3 {
            gate.judge(&token).await.unwrap();
        }
        gate.tick().await;
        assert_eq!(uploader.send().await, Ok(1));
        let items = ledger(&t, "").await;
        assert_eq!((items.len(), sum(&items), &items[0]["subject"]), (1, 3, &json!(ada)));
        assert_eq!((uploader.lost(), uploader.refused()), (0, 0));

        let directive =
            json!({ "id": "stop", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", directive).await;
        gate.judge(&token).await.unwrap();
        gate.report_now();
        assert_eq!(uploader.send().await, Ok(1));
        assert_eq!(state(&t).await, "pending", "its list is older than the freeze");
        t.clock.advance(31);
        t.app.poll_feed().await.unwrap();
        t.app.tend_status().await.unwrap();
        gate.tick().await;
        assert!(matches!(gate.judge(&token).await, Err(Refusal::Forbidden("token.suspended"))));
        gate.report_now();
        let told = uploader.send().await;
        assert_eq!(told, Ok(0), "nobody was let in");
        // The job's sign of life tells it all the same.
        let life = Arc::clone(&uploader);
        let job = tokio::spawn(life.run());
        let mut tries = 0;
        while state(&t).await != "acknowledged" {
            tries += 1;
            assert!(tries < 100, "{}", t.get("/v1/reports/gateways").await.body);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        job.abort();
        assert_eq!(sum(&ledger(&t, "").await), 4);
    })
    .await;
}
