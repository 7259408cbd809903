//! The rules of the wire, and our own words in its places.

use super::{EVALUATION, EVALUATIONS, decisions, may_use, post};
use crate::app::{Answer, TestApp, answer, on_both};
use crate::support::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An eligible subject (linked as `user:ada`), one of whom nothing is known (`user:nob`), and the policy in force.
async fn two(t: &TestApp) -> (String, String) {
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    let (ada, nob) = (t.eligible_subject(&sources, "ada").await, t.subject("nob").await);
    for (subject, id) in [(&ada, "ada"), (&nob, "nob")] {
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "user", "id": id })).await;
    }
    (ada, nob)
}

async fn as_gateway(t: &TestApp, key: &str, path: &str, body: &Value) -> Answer {
    answer(t.http.post(format!("{}{path}", t.url)).header("x-gateway-key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_gives_the_same_decision() {
    on_both(async |t: TestApp| {
        let (ada, nob) = two(&t).await;
        t.audience("edge").await;
        let key = t.gateway("edge", true).await;
        let decided = t.eligibility(&ada, "restricted.api").await;
        let by_client = post(&t, EVALUATION, may_use(&ada, "restricted.api")).await;
        assert_eq!((by_client.status, by_client.header("cache-control")), (StatusCode::OK, "no-store"));
        let want = json!({ "decision": true, "context": { "decision_id": decided["id"], "eligibility_status": "eligible",
            "confidence": 0.89, "valid_until": "2027-02-19T00:00:00Z", "policy_version": "restricted-us-persons@1" } });
        assert_eq!(by_client.body, want);
        let by_gateway = as_gateway(&t, &key, EVALUATION, &may_use("user:ada", "restricted.api")).await;
        let mut want = want;
        // Its audience is told no confidence.
        want["context"].as_object_mut().unwrap().remove("confidence");
        assert_eq!(by_gateway.body, want);
        let checked = t.check("restricted.api", &[("x-gateway-key", &key), ("x-vouchsafe-caller", "user:ada")]).await;
        assert_eq!(checked.header("x-eligibility-decision"), decided["id"].as_str().unwrap());

        let decided = t.eligibility(&nob, "restricted.api").await;
        let refused = as_gateway(&t, &key, EVALUATION, &may_use("user:nob", "restricted.api")).await;
        assert_eq!(refused.status, StatusCode::OK, "no is an answer");
        assert_eq!(
            refused.body,
            json!({ "decision": false, "context": { "decision_id": decided["id"], "eligibility_status": "insufficient",
                "reason_code": "status.insufficient", "reason_user": "More evidence is needed.",
                "policy_version": "restricted-us-persons@1" } })
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_and_whatever_is_not_known_is_a_no() {
    on_both(async |t: TestApp| {
        let (ada, _) = two(&t).await;
        let organisation = t.created("/v1/subjects", json!({ "kind": "organisation" })).await["id"].clone();
        let organisation = organisation.as_str().unwrap();
        let ask = |kind: &str, id: &str, action: &str, resource: &str, name: &str| {
            json!({ "subject": { "type": kind, "id": id }, "action": { "name": action },
                "resource": { "type": resource, "id": name } })
        };
        // (question, reason); none is a yes.
        let table = [
            (ask("person", &ada, "use", "service", "restricted.api"), None),
            (ask("person", &ada, "use", "eligibility", "restricted.api"), None),
            (ask("person", "user:ada", "use", "service", "restricted.api"), None),
            (ask("user", "ada", "use", "service", "restricted.api"), None),
            (ask("person", "sub_nobody", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", "user:eve", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", ":ada", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", "user:", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", "ada", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", "", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("user", "eve", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("spaceship", "ada", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("", "ada", "use", "service", "restricted.api"), Some("caller.unlinked")),
            // A person is no organisation, nor the reverse.
            (ask("organisation", &ada, "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("workload", "user:ada", "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("person", organisation, "use", "service", "restricted.api"), Some("caller.unlinked")),
            (ask("organisation", organisation, "use", "service", "restricted.api"), Some("status.insufficient")),
            (ask("user", "ada", "use", "service", "nobody.rules"), Some("resource.ungoverned")),
            (ask("user", "ada", "read", "service", "restricted.api"), Some("resource.ungoverned")),
            (ask("user", "ada", "use", "service", "Restricted.API"), Some("resource.ungoverned")),
            (ask("user", "ada", "use", "spaceship", "restricted.api"), Some("resource.ungoverned")),
            // The family `restricted.*` governs `restricted.api.use` too, by its other name.
            (ask("user", "ada", "use", "restricted", "api"), None),
        ];
        for (question, reason) in table {
            let answer = post(&t, EVALUATION, question.clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "{question}");
            assert_eq!(answer.body["decision"], json!(reason.is_none()), "{question} {}", answer.body);
            assert_eq!(answer.body["context"].get("reason_code").and_then(Value::as_str), reason, "{question}");
            let text = answer.body.to_string();
            assert!(!text.contains("att_") && !text.contains("sub_"), "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_whole_objects_from_its_defaults_and_ends_where_it_is_told() {
    on_both(async |t: TestApp| {
        two(&t).await;
        let (ada, nob) = (json!({ "type": "user", "id": "ada" }), json!({ "type": "user", "id": "nob" }));
        let api = json!({ "type": "service", "id": "restricted.api" });
        let defaults = json!({ "subject": ada, "action": { "name": "use" }, "resource": api });
        let (yes, no) = (json!({ "subject": ada }), json!({ "subject": nob }));
        let semantic = |name: &str| json!({ "evaluations_semantic": name });
        // (items, options, decisions)
        let table = [
            (json!([yes, no, yes]), json!({}), vec![true, false, true]),
            (json!([yes, no, yes]), Value::Null, vec![true, false, true]),
            (json!([yes, no, yes]), semantic("execute_all"), vec![true, false, true]),
            (json!([yes, no, yes]), semantic("deny_on_first_deny"), vec![true, false]),
            (json!([no, yes]), semantic("deny_on_first_deny"), vec![false]),
            (json!([yes, yes]), semantic("deny_on_first_deny"), vec![true, true]),
            (json!([no, yes, no]), semantic("permit_on_first_permit"), vec![false, true]),
            (json!([yes, no]), semantic("permit_on_first_permit"), vec![true]),
            (json!([no, no]), semantic("permit_on_first_permit"), vec![false, false]),
            // An item that cannot be asked is a no, and stops what stops at a no.
            (json!([yes, { "action": {} }, yes]), json!({}), vec![true, false, true]),
            (json!([yes, { "action": {} }, yes]), semantic("deny_on_first_deny"), vec![true, false]),
            (json!([{ "subject": "ada" }, yes]), semantic("permit_on_first_permit"), vec![false, true]),
            (json!([{ "subject": { "type": "user" } }]), json!({}), vec![false]),
            // An item's object stands for itself: the default's id is not put into it.
            (json!([{ "resource": { "type": "service" } }]), json!({}), vec![false]),
            // A type that it leaves out is the default's.
            (json!([{ "subject": { "id": "ada" } }, { "subject": { "id": "nob" } }]), json!({}), vec![true, false]),
            // A default that is there for all, an empty item, null for absent, members nobody knows.
            (json!([{}]), json!({}), vec![true]),
            (json!([{ "subject": null, "future": [1] }]), json!({ "future": 1 }), vec![true]),
        ];
        for (items, options, want) in table {
            let mut body = defaults.clone();
            body["evaluations"] = items.clone();
            body["options"] = options.clone();
            let answer = post(&t, EVALUATIONS, body).await;
            assert_eq!(answer.status, StatusCode::OK, "{items} {}", answer.body);
            assert_eq!(decisions(&answer), want, "{items} {options}");
            assert!(answer.body.get("decision").is_none());
        }
        let wrong = json!({ "evaluations": [{ "action": {} }], "subject": ada, "resource": api });
        let error = &post(&t, EVALUATIONS, wrong).await.body["evaluations"][0]["context"]["error"];
        assert_eq!(*error, json!({ "status": 400, "message": "`action.name` is missing" }));
        let many = |count: usize| {
            let mut body = defaults.clone();
            body["evaluations"] = json!(vec![json!({}); count]);
            body
        };
        assert_eq!(decisions(&post(&t, EVALUATIONS, many(100)).await).len(), 100);
        assert_eq!(post(&t, EVALUATIONS, many(101)).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_is_400_with_a_line_of_text() {
    on_both(async |t: TestApp| {
        let (ada, _) = two(&t).await;
        let good = may_use(&ada, "restricted.api").to_string();
        let send = async |path: &str, kind: Option<&str>, body: &str| {
            let mut request = t.http.post(format!("{}{path}", t.url)).bearer_auth(&t.admin).body(body.to_owned());
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let response = request.send().await.unwrap();
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            (response.status(), kind, response.text().await.unwrap())
        };
        for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
            assert_eq!(send(EVALUATION, Some(kind), &good).await.0, StatusCode::OK, "{kind}");
        }
        let json = Some("application/json");
        let twice = good.replacen('{', "{\"action\":{\"name\":\"use\"},", 1);
        let changed = |pointer: &str, value: Value| {
            let mut body: Value = serde_json::from_str(&good).unwrap();
            *body.pointer_mut(pointer).unwrap() = value;
            body.to_string()
        };
        let batch = |evaluations: Value, options: Value| {
            let mut body: Value = serde_json::from_str(&good).unwrap();
            body["evaluations"] = evaluations;
            body["options"] = options;
            body.to_string()
        };
        // (path, content type, body, what the text names)
        let table: Vec<(&str, Option<&str>, String, &str)> = vec![
            (EVALUATION, None, good.clone(), "Content-Type"),
            (EVALUATION, Some("text/plain"), good.clone(), "Content-Type"),
            (EVALUATION, Some("application/jsonx"), good.clone(), "Content-Type"),
            (EVALUATION, Some("application/x-www-form-urlencoded"), good.clone(), "Content-Type"),
            (EVALUATION, json, String::new(), "not JSON"),
            (EVALUATION, json, "{".to_owned(), "not JSON"),
            (EVALUATION, json, format!("{good}x"), "not JSON"),
            (EVALUATION, json, twice, "twice"),
            (EVALUATION, json, format!("[{good}]"), "object"),
            (EVALUATION, json, "null".to_owned(), "object"),
            (EVALUATION, json, "\"x\"".to_owned(), "object"),
            (EVALUATION, json, changed("/subject", json!([])), "`subject` must be"),
            (EVALUATION, json, changed("/subject", Value::Null), "`subject` is missing"),
            (EVALUATION, json, changed("/subject/id", json!(7)), "`subject.id` must be"),
            (EVALUATION, json, changed("/subject/id", Value::Null), "`subject.id` is missing"),
            (EVALUATION, json, changed("/action", json!({ "name": true })), "`action.name` must be"),
            (EVALUATION, json, changed("/resource/type", json!({})), "`resource.type` must be"),
            (
                EVALUATION,
                json,
                changed("/resource", json!({ "type": "a", "id": "b", "properties": 1 })),
                "`resource.properties`",
            ),
            (EVALUATION, json, good.replacen('{', "{\"context\":\"x\",", 1), "`context` must be"),
            (EVALUATION, json, good.replacen('{', "{\"context\":{\"acting_for\":1},", 1), "`context.acting_for`"),
            (EVALUATION, json, good.replace("restricted.api", "a\\u0000b"), "U+0000"),
            (EVALUATIONS, json, batch(json!({}), Value::Null), "`evaluations` must be"),
            (EVALUATIONS, json, batch(json!(["x"]), Value::Null), "`evaluations` must be"),
            (EVALUATIONS, json, batch(json!([{}]), json!("x")), "`options` must be"),
            (
                EVALUATIONS,
                json,
                batch(json!([{}]), json!({ "evaluations_semantic": "first" })),
                "`options.evaluations_semantic`",
            ),
            (
                EVALUATIONS,
                json,
                batch(json!([{}]), json!({ "evaluations_semantic": 1 })),
                "`options.evaluations_semantic`",
            ),
            (EVALUATIONS, json, batch(json!([]), Value::Null).replace("subject", "sibject"), "`subject` is missing"),
        ];
        for (path, kind, body, named) in table {
            let (status, told_as, text) = send(path, kind, &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {text}");
            assert_eq!(told_as, "text/plain; charset=utf-8", "{body}");
            assert!(text.contains(named) && !text.contains('\n'), "{body}: {text}");
            assert!(!text.contains(&ada), "{text}");
        }
        let large = good.replacen('{', &format!("{{\"future\":\"{}\",", "x".repeat(256 * 1024)), 1);
        assert_eq!(send(EVALUATION, json, &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let deep = good.replacen('{', &format!("{{\"future\":{}1{},", "[".repeat(5000), "]".repeat(5000)), 1);
        assert_eq!(send(EVALUATION, json, &deep).await.0, StatusCode::BAD_REQUEST);
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let status = t.send(&t.admin, method.clone(), EVALUATION, None).await.status;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_has_proved_who_they_are() {
    on_both(async |t: TestApp| {
        let (ada, _) = two(&t).await;
        t.audience("edge").await;
        let (asserting, other) = (t.gateway("edge", true).await, t.gateway("edge", false).await);
        let body = may_use(&ada, "restricted.api");
        let url = format!("{}{EVALUATION}", t.url);
        let refused = answer(t.http.post(&url).json(&body)).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.header("www-authenticate").starts_with("Bearer resource_metadata="));
        let refused = answer(t.http.post(&url).bearer_auth("garbage").json(&body)).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.header("www-authenticate").contains("invalid_token"));
        let powerless = t.client("Pat", &["eligibility:read"], &[], None).await;
        let refused = t.send(&powerless, Method::POST, EVALUATION, Some(body.clone())).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.header("www-authenticate").contains("access:evaluate"));
        // A key that does not hold is no reason to look at anything else.
        let request = t.http.post(&url).bearer_auth(&t.admin).header("x-gateway-key", "gw_x.y");
        assert_eq!(answer(request.json(&body)).await.status, StatusCode::UNAUTHORIZED);
        // Credentials come before the body.
        let request = t.http.post(&url).body("{");
        assert_eq!(answer(request).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(as_gateway(&t, &asserting, EVALUATION, &body).await.body["decision"], true);
        // Who may not assert a caller may not name one here.
        let refused = as_gateway(&t, &other, EVALUATION, &body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let batch = json!({ "evaluations": [body] });
        assert_eq!(as_gateway(&t, &other, EVALUATIONS, &batch).await.status, StatusCode::FORBIDDEN);
        // What a gateway does not guard is shut there, whoever asks.
        let elsewhere = may_use(&ada, "nationals.api");
        let answer = as_gateway(&t, &asserting, EVALUATION, &elsewhere).await;
        assert_eq!(
            answer.body,
            json!({ "decision": false, "context":
            { "reason_code": "resource.ungoverned", "reason_user": "This resource is not open." } })
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eligibility_token_names_its_subject_until_it_is_worth_nothing() {
    on_both(async |t: TestApp| {
        let (ada, _) = two(&t).await;
        t.audience("edge").await;
        t.audience("other").await;
        let key = t.gateway("edge", false).await;
        let token = t.token(&ada, "restricted.api", "edge").await;
        let by_token = |token: &str, resource: &str| {
            json!({ "subject": { "type": "eligibility_token", "id": token }, "action": { "name": "use" },
                "resource": { "type": "service", "id": resource } })
        };
        let decided = t.eligibility(&ada, "restricted.api").await["id"].clone();
        let client = async |token: &str, resource: &str| post(&t, EVALUATION, by_token(token, resource)).await.body;
        let gateway =
            async |token: &str, resource: &str| as_gateway(&t, &key, EVALUATION, &by_token(token, resource)).await.body;
        for body in [client(&token, "restricted.api").await, gateway(&token, "restricted.api").await] {
            assert_eq!((&body["decision"], &body["context"]["decision_id"]), (&json!(true), &decided));
        }
        let elsewhere = t.token(&ada, "restricted.api", "other").await;
        let mut forged = token.clone();
        forged.pop();
        for (token, resource) in
            [(&token, "restricted.chat"), (&forged, "restricted.api"), (&t.admin, "restricted.api")]
        {
            for body in [client(token, resource).await, gateway(token, resource).await] {
                assert_eq!(
                    (&body["decision"], &body["context"]["reason_code"]),
                    (&json!(false), &json!("token.invalid"))
                );
            }
        }
        assert_eq!(gateway(&elsewhere, "restricted.api").await["context"]["reason_code"], "token.invalid");
        t.http
            .post(format!("{}/oauth2/revoke", t.url))
            .bearer_auth(&t.admin)
            .form(&[("token", &token)])
            .send()
            .await
            .unwrap();
        for body in [client(&token, "restricted.api").await, gateway(&token, "restricted.api").await] {
            assert_eq!((&body["decision"], &body["context"]["reason_code"]), (&json!(false), &json!("token.revoked")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_comes_back_as_it_was_sent() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let (ada, _) = two(&t).await;
    let send = async |id: Option<&str>, body: Value| {
        let mut request = t.http.post(format!("{}{EVALUATION}", t.url)).bearer_auth(&t.admin).json(&body);
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        answer(request).await
    };
    let long = "x".repeat(300);
    for id in ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "a b=\"c\" <d>; é", &long] {
        let answer = send(Some(id), may_use(&ada, "restricted.api")).await;
        let sent_back = String::from_utf8(answer.headers["x-request-id"].as_bytes().to_vec()).unwrap();
        assert_eq!((answer.status, sent_back.as_str()), (StatusCode::OK, id));
        assert_eq!(send(Some(id), json!({})).await.headers["x-request-id"].as_bytes(), id.as_bytes());
    }
    assert!(!send(None, may_use(&ada, "restricted.api")).await.header("x-request-id").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_names_what_is_there() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let answer = answer(t.http.get(format!("{}/.well-known/authzen-configuration", t.url))).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let at = |path: &str| format!("{}/access/v1/{path}", t.url);
    assert_eq!(
        answer.body,
        json!({ "policy_decision_point": t.url, "access_evaluation_endpoint": at("evaluation"),
            "access_evaluations_endpoint": at("evaluations"), "search_resource_endpoint": at("search/resource"),
            "search_action_endpoint": at("search/action") })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_is_503_and_never_an_answer() {
    on_both(async |t: TestApp| {
        let (ada, nob) = two(&t).await;
        t.app.poll_feed().await.unwrap();
        t.clock.advance(11);
        for path in [EVALUATION, EVALUATIONS] {
            let answer = post(&t, path, may_use(&ada, "restricted.api")).await;
            assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
        }
        let batch = json!({ "evaluations": [may_use(&nob, "restricted.api"), may_use(&ada, "restricted.api")] });
        assert_eq!(post(&t, EVALUATIONS, batch).await.status, StatusCode::SERVICE_UNAVAILABLE);
        let search = json!({ "subject": { "type": "user", "id": "ada" }, "action": { "name": "use" }, "resource": { "type": "service" } });
        assert_eq!(post(&t, "/access/v1/search/resource", search).await.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}
