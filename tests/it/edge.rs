//! The edge itself: authentication, scopes, problems, OAuth errors, OpenAPI.

use crate::app::{START_MS, TestApp, answer, on_both};
use crate::support::Database;
use reqwest::{Method, StatusCode};
use serde_json::json;
use vouchsafe::http::listen::{Bounds, Wire, listen};
use vouchsafe::storage::{Change, FeedRow, StoredMark, Write};

#[tokio::test(flavor = "multi_thread")]
async fn every_v1_route_asks_for_a_token_and_its_scope() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let document = answer(t.http.get(format!("{}/openapi.json", t.url))).await.body;
    let powerless = t.client("Pat", &["tokens:introspect"], &[], None).await;
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if !path.starts_with("/v1/") || path.starts_with("/v1/intake/") || path == "/v1/operators/login" {
                continue;
            }
            let scopes = operation["security"][0]["client"].as_array().expect(path);
            // Who signs out or changes a password is the person who signed in, whatever they may do.
            let personal = path == "/v1/operators/logout" || path == "/v1/operators/password";
            assert_eq!(scopes.is_empty(), personal, "{method} {path} names its scope");
            let parameters = operation["parameters"].to_string();
            let once = method == "post" && !personal;
            assert_eq!(parameters.contains("Idempotency-Key"), once, "{method} {path}");
            assert!(
                operation["responses"]["429"]["content"]["application/problem+json"].is_object(),
                "{method} {path}"
            );
            assert!(!operation["responses"]["401"].to_string().contains("application/json"), "{method} {path}");
            let concrete = path.replace("{id}", "sub_1").replace("{namespace}", "n").replace("{link}", "l");
            let method: Method = method.to_uppercase().parse().unwrap();
            let concrete = format!("{concrete}?resource=a.b");
            let url = format!("{}{concrete}", t.url);
            assert_eq!(
                answer(t.http.request(method.clone(), &url)).await.status,
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
            // A body that would be accepted is not needed: what is refused must be refused before it is acted on.
            let refused = t.send(&powerless, method.clone(), &concrete, None).await.status;
            let without_body =
                matches!(method, Method::POST | Method::PUT) && refused == StatusCode::UNSUPPORTED_MEDIA_TYPE;
            assert!(refused == StatusCode::FORBIDDEN || without_body, "{method} {path}: {refused}");
            asked += 1;
        }
    }
    assert!(asked >= 30, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_errors_have_their_own_shape() {
    on_both(async |t: TestApp| {
        let token =
            async |form: &[(&str, &str)]| answer(t.http.post(format!("{}/oauth2/token", t.url)).form(form)).await;
        let unknown =
            token(&[("grant_type", "client_credentials"), ("client_id", "cli_x"), ("client_secret", "y")]).await;
        assert_eq!((unknown.status, &unknown.body["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
        let grant = token(&[("grant_type", "password")]).await;
        assert_eq!((grant.status, &grant.body["error"]), (StatusCode::BAD_REQUEST, &json!("unsupported_grant_type")));
        let twice = token(&[("grant_type", "client_credentials"), ("grant_type", "client_credentials")]).await;
        assert_eq!((twice.status, &twice.body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
        let created = t.created("/v1/clients", json!({ "name": "n", "owner": "o", "scopes": ["subjects:read"] })).await;
        let (id, secret) = (created["client_id"].as_str().unwrap(), created["client_secret"].as_str().unwrap());
        let basic = t.http.post(format!("{}/oauth2/token", t.url)).basic_auth(id, Some(secret));
        let good = answer(basic.form(&[("grant_type", "client_credentials")])).await;
        assert_eq!((good.status, &good.body["scope"]), (StatusCode::OK, &json!("subjects:read")));
        let wide = token(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("scope", "admin"),
        ])
        .await;
        assert_eq!((wide.status, &wide.body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_scope")));
        let listed = t.get("/v1/clients?limit=200").await.body.to_string();
        assert!(!listed.contains("argon2") && !listed.contains(secret), "secrets never leave");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_no_eligibility_token_nor_the_reverse() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let key = t.gateway("edge", false).await;
        let eligibility = t.token(&subject, "restricted.api", "edge").await;
        assert_eq!(t.send(&eligibility, Method::GET, "/v1/subjects", None).await.status, StatusCode::UNAUTHORIZED);
        let access = format!("Bearer {}", t.admin);
        let refused = t.check("restricted.api", &[("x-gateway-key", &key), ("authorization", &access)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_503_without_inner_text_and_never_a_yes() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    let subject = t.subject("ada").await;
    database.execute("ALTER TABLE attestations RENAME TO gone").await.unwrap();
    database.execute("ALTER TABLE subjects RENAME TO gone_too").await.unwrap();
    let answer = t.get(&format!("/v1/subjects/{subject}/eligibility?resource=restricted.api")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["code"], "unavailable");
    let text = answer.body.to_string();
    assert!(!text.contains("table") && !text.contains("SELECT"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_older_than_ten_seconds_decides_nothing() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.app.poll_feed().await.unwrap();
        t.clock.advance(10);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
        t.clock.advance(1);
        let answer = t.get(&format!("/v1/subjects/{subject}/eligibility?resource=restricted.api")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(t.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        t.app.poll_feed().await.unwrap();
        assert_eq!(t.get("/readyz").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_another_clock_dated_ahead_is_obeyed_when_its_instant_comes() {
    let story = async |database: Database| {
        let t = TestApp::start(&database).await;
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let store = database.store().await;
        let (_, held) = store.load_subject(&subject).await.unwrap().unwrap();
        let mark = |attestation: &str| {
            Write::Mark(StoredMark {
                attestation: attestation.to_owned(),
                kind: "revoked".to_owned(),
                at_ms: START_MS + 3_000,
                from_start: false,
                by: "elsewhere".to_owned(),
                reason: "r".to_owned(),
            })
        };
        let writes = held.iter().map(|attestation| mark(&attestation.id)).collect();
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.clone() }];
        store.commit(Change { writes, audit: Vec::new(), feed, outbox: Vec::new() }).await.unwrap().unwrap();
        t.app.poll_feed().await.unwrap();
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
        t.clock.advance(3);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "insufficient");
    };
    story(Database::sqlite()).await;
    if let Some(postgres) = Database::postgres().await {
        story(postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_propose_shuts_at_once_and_opens_nothing() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let proposer = t.client("Pia", &["directives:propose"], &[], None).await;
        let order = |id: &str, action: serde_json::Value| {
            json!({ "id": id, "authority": "a", "citation": "c", "actions": [action] })
        };
        let freeze = order("shut", json!({ "freeze": "restricted.api" }));
        let frozen = t.send(&proposer, Method::POST, "/v1/directives", Some(freeze)).await;
        assert_eq!(frozen.status, StatusCode::CREATED, "{}", frozen.body);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "ineligible");
        let lift = order("open", json!({ "lift": { "directive": "shut" } }));
        let proposed = t.send(&proposer, Method::POST, "/v1/directives", Some(lift)).await;
        assert_eq!(proposed.status, StatusCode::CREATED, "{}", proposed.body);
        // One approver beside a proposer who may not approve is one person.
        let approver = t.client("Lee", &["directives:approve"], &[], None).await;
        let approved = t.send(&approver, Method::POST, "/v1/directives/open/approve", None).await;
        assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "ineligible");
        // Nor are two spellings of a name two people.
        let again = t.client(" LEE ", &["directives:approve"], &[], None).await;
        let refused = t.send(&again, Method::POST, "/v1/directives/open/approve", None).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
        let second = t.client("Max", &["directives:approve"], &[], None).await;
        t.send(&second, Method::POST, "/v1/directives/open/approve", None).await;
        assert_eq!(t.eligibility(&subject, "restricted.api").await["status"], "eligible");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_makes_no_approvers_by_http() {
    on_both(async |t: TestApp| {
        let new = json!({ "name": "n", "owner": "Somebody", "scopes": ["directives:approve"] });
        let refused = t.post("/v1/clients", new).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
        for kind in ["employer", "network", "subject", "service"] {
            let refused = t.post("/v1/sources", json!({ "name": "n", "kind": kind })).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{kind}: {}", refused.body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_decision_stays_readable_when_more_arrives_in_its_second() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.token(&subject, "restricted.api", "edge").await;
        let decision = t.eligibility(&subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
        let more = crate::app::asylee_record(&sources);
        assert_eq!(t.attest(&sources, &subject, more).await.status, StatusCode::CREATED);
        assert_ne!(t.eligibility(&subject, "restricted.api").await["id"], decision.as_str());
        let read = t.get(&format!("/v1/decisions/{decision}")).await;
        assert_eq!((read.status, &read.body["id"]), (StatusCode::OK, &json!(decision)), "{}", read.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_sends_nothing_gives_its_place_back() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = axum::Router::new().route("/", axum::routing::get(|| async { "here" }));
    let stop = tokio_util::sync::CancellationToken::new();
    let bounds = Bounds { connections: 1, patience: std::time::Duration::from_millis(200) };
    let server = tokio::spawn(listen(listener, routes, Wire::Http1, bounds, stop.clone()));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a").await.unwrap();
    // The only place is taken until the half request has been given up; then the next one is served.
    assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().text().await.unwrap(), "here");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docs_page_shows_every_operation_and_allows_nothing_but_its_style() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let document = answer(t.http.get(format!("{}/openapi.json", t.url))).await.body;
    let response = t.http.get(format!("{}/docs", t.url)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = response.text().await.unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            assert!(page.contains(&format!("id=\"{method}-{path}\"")), "{method} {path}");
        }
    }
    for schema in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<h3 id=\"{schema}\">")), "{schema}");
    }
    assert!(!page.contains("<script"));
    for tag in page.split('<').filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        for outside in ["href=\"http", "src=", "url(", " style=", " on"] {
            assert!(!tag.contains(outside), "{tag}");
        }
    }
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_ref());
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_refused_before_it_reaches_a_database_that_cannot_hold_it() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let subject = t.subject("ada").await;
        for list in ["subjects", "definitions", "policies", "sources", "clients"] {
            let answer = t.get(&format!("/v1/{list}?cursor=a%00b")).await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (StatusCode::BAD_REQUEST, &json!("query_invalid")),
                "{list}"
            );
        }
        for path in ["policies/a%00", "sources/%00", "decisions/%00", "subjects/%00", "audiences/a%00b"] {
            assert_eq!(t.get(&format!("/v1/{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        let body = json!({ "source": sources.registry, "kind": "registry", "event_id": "a\0", "codes": ["x"] });
        let refused = t.attest(&sources, &subject, body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], "/event_id");
        let body = json!({ "name": "n", "kind": "registry", "a/b": [{ "c": "\0" }] });
        assert_eq!(t.post("/v1/sources", body).await.body["errors"][0]["pointer"], "/a~1b/0/c");
    })
    .await;
}
