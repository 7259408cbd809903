//! What a caller is told who may not pass a gateway.

use crate::app::{Answer, TestApp, on_both};
use reqwest::StatusCode;
use serde_json::{Value, json};

const HELP: &str = "https://portal.example/why?lang=en";

/// A gateway that answers as told and sends people to a page.
async fn gateway(t: &TestApp, more: Value) -> String {
    let mut body =
        json!({ "name": "gw", "resources": ["restricted.*", "regional.*"], "audience": "edge", "asserts": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    t.created("/v1/gateways", body).await["key"].as_str().unwrap().to_owned()
}

/// A subject of whom nothing is known, linked as `api-key:nob`, with the policy in force.
async fn nobody(t: &TestApp) -> String {
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let subject = t.subject("nob").await;
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": "nob" })).await;
    subject
}

async fn check(t: &TestApp, key: &str, caller: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("x-gateway-key", key), ("x-vouchsafe-caller", caller)];
    all.extend(headers);
    t.check("restricted.api", &all).await
}

fn links(answer: &Answer) -> Vec<&str> {
    assert!(answer.headers.get_all("link").iter().count() <= 1);
    answer.header("link").split(", ").filter(|link| !link.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why_where_to_ask_and_nothing_about_the_caller() {
    on_both(async |t: TestApp| {
        let subject = nobody(&t).await;
        let key = gateway(&t, json!({ "help_url": HELP })).await;
        let decision = t.eligibility(&subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
        let refused = check(&t, &key, "api-key:nob", &[("x-request-id", "r-1"), ("accept", "application/json")]).await;
        let help = format!("{HELP}&reason=status.insufficient&decision={decision}&request=r-1");
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (StatusCode::FORBIDDEN, "application/problem+json")
        );
        assert_eq!(
            refused.body,
            json!({ "type": "urn:vouchsafe:problem:access_refused", "title": "access is refused", "status": 403,
                "code": "status.insufficient", "detail": "More evidence is needed.", "decision": decision,
                "help": help, "request_id": "r-1" })
        );
        assert_eq!(links(&refused), [format!("<{help}>; rel=\"help\"")]);
        assert_eq!((refused.header("x-eligibility-reason"), refused.header("vary")), ("status.insufficient", "accept"));
        assert_eq!((refused.header("cache-control"), refused.header("x-request-id")), ("no-store", "r-1"));
        assert!(refused.headers.get("retry-after").is_none(), "time changes nothing");
        // An id of the service's own, where the one that was sent is not safe to show.
        let refused = check(&t, &key, "api-key:nob", &[("x-request-id", "<b>")]).await;
        assert_eq!(refused.body["request_id"].as_str().unwrap(), refused.header("x-request-id"));
        assert_ne!(refused.body["request_id"], "<b>");

        let unknown = check(&t, &key, "api-key:eve", &[]).await;
        assert_eq!((unknown.status, &unknown.body["code"]), (StatusCode::FORBIDDEN, &json!("caller.unlinked")));
        assert!(unknown.body.get("decision").is_none());
        let shut = t.check("nationals.api", &[("x-gateway-key", &key), ("x-vouchsafe-caller", "api-key:nob")]).await;
        assert_eq!((shut.status, &shut.body["code"]), (StatusCode::FORBIDDEN, &json!("resource.ungoverned")));
        let plain = gateway(&t, json!({})).await;
        let refused = check(&t, &plain, "api-key:nob", &[]).await;
        assert!(refused.body.get("help").is_none() && links(&refused).is_empty());
        for answer in [&unknown, &shut, &refused] {
            let text = format!("{}{:?}", answer.body, answer.headers);
            assert!(!text.contains(&subject) && !text.contains("nob\"") && !text.contains("att_"), "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_a_page_without_scripts() {
    on_both(async |t: TestApp| {
        let subject = nobody(&t).await;
        let key = gateway(&t, json!({ "help_url": HELP })).await;
        let url = format!("{}/gateway/check/restricted.api", t.url);
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let request = t.http.get(url).header("x-gateway-key", &key).header("x-vouchsafe-caller", "api-key:nob");
        let response = request.header("accept", browser).header("x-request-id", "r-2").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff".into(), "no-referrer".into()));
        let policy = header("content-security-policy");
        let page = response.text().await.unwrap();
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
        let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_ref());
        assert_eq!(
            policy,
            format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
        );
        let decision = t.eligibility(&subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
        let words: String = page.split_once("<main>").unwrap().1.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(
            words,
            ["No access", "More evidence is needed.", "What you can do", "Reason", "status.insufficient", "Decision", &decision, "Request", "r-2"]
        );
        let help = format!("{HELP}&reason=status.insufficient&decision={decision}&request=r-2").replace('&', "&amp;");
        assert!(page.contains(&format!("<a href=\"{help}\">")), "{page}");
        // What a screen reader needs: the language, a title, one heading, one main part.
        for once in ["<html lang=\"en\">", "<title>", "<h1>", "<main>"] {
            assert_eq!(page.matches(once).count(), 1, "{once}");
        }
        assert!(!page.contains("<script") && !page.contains(" on") && !page.contains("src="), "{page}");
        assert!(!page.contains(&subject) && !page.contains("nob"), "{page}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_says_451_names_who_blocks() {
    on_both(async |t: TestApp| {
        nobody(&t).await;
        let key = gateway(&t, json!({ "deny_status": 451 })).await;
        let refused = check(&t, &key, "api-key:nob", &[]).await;
        assert_eq!((refused.status.as_u16(), &refused.body["status"]), (451, &json!(451)));
        assert_eq!(links(&refused), [format!("<{}>; rel=\"blocked-by\"", t.app.issuer)]);
        let named = json!({ "deny_status": 451, "origin": "https://api.example", "help_url": HELP });
        let refused = check(&t, &gateway(&t, named).await, "api-key:nob", &[]).await;
        assert_eq!(links(&refused).len(), 2);
        assert_eq!(links(&refused)[1], "<https://api.example>; rel=\"blocked-by\"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_has_to_wait_is_told_how_long() {
    on_both(async |t: TestApp| {
        nobody(&t).await;
        let key = gateway(&t, json!({})).await;
        // In an hour the freeze that acts now is lifted.
        let freeze =
            json!({ "id": "shut", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.api" }] });
        t.created("/v1/directives", freeze).await;
        let frozen = check(&t, &key, "api-key:nob", &[]).await;
        assert_eq!((&frozen.body["code"], frozen.headers.get("retry-after")), (&json!("directive.frozen"), None));
        let lift = json!({ "id": "open", "authority": "a", "citation": "c", "effective_at": "2026-11-21T01:00:00Z",
            "actions": [{ "lift": { "directive": "shut" } }] });
        t.created("/v1/directives", lift).await;
        let second = t.client("Lea", &["directives:approve"], &[], None).await;
        let path = "/v1/directives/open/approve";
        let approved = t.send(&second, reqwest::Method::POST, path, None).await;
        assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
        t.clock.advance(60);
        t.app.poll_feed().await.unwrap();
        let waiting = check(&t, &key, "api-key:nob", &[]).await;
        // 3,600 s less the minute that went by.
        assert_eq!(waiting.header("retry-after"), "3540");
        assert_eq!(waiting.body["retry_at"], "2026-11-21T01:00:00Z");
        t.clock.advance(3539);
        t.app.poll_feed().await.unwrap();
        assert_eq!(check(&t, &key, "api-key:nob", &[]).await.header("retry-after"), "1");
        t.clock.advance(1);
        t.app.poll_feed().await.unwrap();
        let open = check(&t, &key, "api-key:nob", &[]).await;
        assert_eq!((&open.body["code"], open.headers.get("retry-after")), (&json!("status.insufficient"), None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_of_a_gateway_is_a_page_that_people_may_be_sent_to() {
    on_both(async |t: TestApp| {
        nobody(&t).await;
        for wrong in [
            "portal",
            "http://portal.example/",
            "javascript:alert(1)",
            "https://a@portal.example/",
            "https://portal.example/#x",
            "ftp://portal.example/",
            "https://",
        ] {
            let body = json!({ "name": "gw", "resources": ["restricted.*"], "audience": "edge", "help_url": wrong });
            let refused = t.post("/v1/gateways", body).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
            assert_eq!(refused.body["errors"][0]["pointer"], "/help_url", "{wrong}");
        }
        let key = gateway(&t, json!({ "help_url": HELP })).await;
        let body = json!({ "subject": { "type": "api-key", "id": "nob" }, "action": { "name": "use" },
            "resource": { "type": "service", "id": "restricted.api" } });
        let request = t.http.post(format!("{}/access/v1/evaluation", t.url)).header("x-gateway-key", &key).json(&body);
        let told = crate::app::answer(request).await.body;
        let decision = told["context"]["decision_id"].as_str().unwrap();
        assert_eq!(told["context"]["help"], format!("{HELP}&reason=status.insufficient&decision={decision}"));
    })
    .await;
}
