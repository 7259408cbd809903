//! Gateways that listen are told at once what to stop, and miss nothing.

use crate::app::{Sources, TestApp, answer, on_both};
use crate::store_contract::entry;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use vouchsafe::service::App;
use vouchsafe::storage::{AuditEntry, Change};

/// What one connection was told.
struct Listener {
    response: reqwest::Response,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: i64,
    name: String,
    data: Value,
}

impl Listener {
    async fn open(t: &TestApp, key: &str, last: Option<&str>) -> Self {
        let mut request = t.http.get(format!("{}/gateway/events", t.url)).header("x-gateway-key", key);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.collect::<String>()
                };
                let found = Event {
                    id: field("id").parse().unwrap(),
                    name: field("event"),
                    data: serde_json::from_str(&field("data")).unwrap(),
                };
                self.text = rest.to_owned();
                return Some(found);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk()).await.expect("in time");
            self.text.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }

    /// The next event's name and content.
    async fn told(&mut self) -> (String, Value) {
        let event = self.next().await.expect("an event");
        (event.name, event.data)
    }

    /// That nothing comes: what is told next is what was done last.
    async fn quiet(&mut self) {
        let more = tokio::time::timeout(Duration::from_millis(200), self.next()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

/// What the jobs do, in order.
async fn work(app: &App) {
    app.poll_feed().await.unwrap();
    while app.reassess().await.unwrap() {}
    while app.store.sequence_audit(1000).await.unwrap() > 0 {}
    app.follow_log().await.unwrap();
}

async fn ready(t: &TestApp) -> Sources {
    t.activate("restricted-us-persons").await;
    t.audience("gw").await;
    t.sources().await
}

async fn revoke_all(t: &TestApp, sources: &Sources, subject: &str) {
    for item in crate::app::attestations(t, subject).await {
        let path = format!("/v1/attestations/{}/revoke", item["id"].as_str().unwrap());
        let body = json!({ "reason": "test", "from_start": false });
        assert!(t.send(&sources.token, Method::POST, &path, Some(body)).await.status.is_success());
    }
}

async fn freeze(t: &TestApp, id: &str, pattern: &str) {
    let directive = json!({ "id": id, "authority": "a", "citation": "c", "actions": [{ "freeze": pattern }] });
    t.created("/v1/directives", directive).await;
}

/// `sub` and `jti` of a token.
fn names(token: &str) -> (String, String) {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    (text("sub"), text("jti"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_eligibility_is_told_to_the_gateways_concerned_under_their_own_name() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        t.audience("other").await;
        let (key, others) = (t.gateway("gw", false).await, t.gateway("other", false).await);
        let body = json!({ "name": "g", "resources": ["regional.*"], "audience": "gw" });
        let elsewhere = t.created("/v1/gateways", body).await["key"].as_str().unwrap().to_owned();
        let ada = t.eligible_subject(&sources, "ada").await;
        let (sub, jti) = names(&t.token(&ada, "restricted.api", "gw").await);
        let (other_sub, other_jti) = names(&t.token(&ada, "restricted.api", "other").await);
        work(&t.app).await;
        let mut own = Listener::open(&t, &key, None).await;
        let mut other = Listener::open(&t, &others, None).await;
        let mut third = Listener::open(&t, &elsewhere, None).await;
        for listener in [&mut own, &mut other, &mut third] {
            let (name, data) = listener.told().await;
            assert_eq!((name.as_str(), &data["frozen"]), ("ready", &json!([])));
        }
        revoke_all(&t, &sources, &ada).await;
        t.clock.advance(1);
        work(&t.app).await;
        for (listener, sub, jti) in [(&mut own, &sub, &jti), (&mut other, &other_sub, &other_jti)] {
            let mut told = vec![listener.told().await, listener.told().await];
            told.sort_by(|a, b| a.0.cmp(&b.0));
            let expected = [
                ("subject.stop".to_owned(), json!({ "subject": sub, "resource": "restricted.*" })),
                ("token.stop".to_owned(), json!({ "jti": jti, "resource": "restricted.api" })),
            ];
            assert_eq!(told, expected);
            listener.quiet().await;
        }
        assert_ne!(sub, other_sub);
        third.quiet().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_told_once_and_to_whoever_comes_later() {
    on_both(async |t: TestApp| {
        let sources = ready(&t).await;
        let key = t.gateway("gw", false).await;
        let ada = t.eligible_subject(&sources, "ada").await;
        t.token(&ada, "restricted.api", "gw").await;
        work(&t.app).await;
        let mut listener = Listener::open(&t, &key, None).await;
        assert_eq!(listener.told().await.0, "ready");
        freeze(&t, "stop", "restricted.*").await;
        work(&t.app).await;
        assert_eq!(listener.told().await, ("resource.stop".to_owned(), json!({ "resource": "restricted.*" })));
        freeze(&t, "elsewhere", "nationals.*").await;
        t.clock.advance(1);
        work(&t.app).await;
        // Neither the subjects nor the tokens that the freeze takes along, nor what this gateway does not guard.
        listener.quiet().await;
        let mut later = Listener::open(&t, &key, None).await;
        let (name, data) = later.told().await;
        assert_eq!((name.as_str(), &data["frozen"]), ("ready", &json!(["restricted.*"])));
        let lift = json!({ "id": "go-on", "authority": "a", "citation": "c",
            "actions": [{ "lift": { "directive": "stop", "actions": ["freeze"] } }] });
        t.created("/v1/directives", lift).await;
        let second = t.client("Lee", &["directives:approve"], &[], None).await;
        let approved = t.send(&second, Method::POST, "/v1/directives/go-on/approve", None).await;
        assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
        work(&t.app).await;
        for listener in [&mut listener, &mut later] {
            assert_eq!(listener.told().await, ("resource.resume".to_owned(), json!({ "resource": "restricted.*" })));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_goes_on_where_it_was_at_another_process_too() {
    on_both(async |mut t: TestApp| {
        let sources = ready(&t).await;
        let key = t.gateway("gw", false).await;
        let mut subs = Vec::new();
        let mut people = Vec::new();
        for name in ["ada", "bob", "cam"] {
            let subject = t.eligible_subject(&sources, name).await;
            subs.push(names(&t.token(&subject, "restricted.api", "gw").await).0);
            people.push(subject);
        }
        work(&t.app).await;
        let stopped = async |listener: &mut Listener| loop {
            let event = listener.next().await.expect("an event");
            if event.name == "subject.stop" {
                return (event.id, event.data["subject"].as_str().unwrap().to_owned());
            }
        };
        let mut listener = Listener::open(&t, &key, None).await;
        revoke_all(&t, &sources, &people[0]).await;
        t.clock.advance(1);
        work(&t.app).await;
        let (seen, sub) = stopped(&mut listener).await;
        assert_eq!(sub, subs[0]);
        drop(listener);
        // Nobody listens while these happen, and the process ends.
        for subject in &people[1..] {
            revoke_all(&t, &sources, subject).await;
            t.clock.advance(1);
            work(&t.app).await;
        }
        t.restart().await;
        let mut listener = Listener::open(&t, &key, Some(&seen.to_string())).await;
        assert_eq!(listener.told().await.0, "ready");
        let mut missed = Vec::new();
        while missed.last() != Some(&subs[2]) {
            missed.push(stopped(&mut listener).await.1);
        }
        // The one that was told last may be told again, none is left out.
        assert_eq!(
            missed.iter().filter(|sub| **sub != subs[0]).collect::<Vec<_>>(),
            subs[1..].iter().collect::<Vec<_>>()
        );
        for unknown in ["99999999", "-3", "abc", ""] {
            let mut listener = Listener::open(&t, &key, Some(unknown)).await;
            assert_eq!(listener.told().await.0, "reset", "{unknown}");
            listener.quiet().await;
        }
    })
    .await;
}

/// Entries of the log that say that somebody was erased.
async fn erasures(app: &App, from: usize, count: usize) {
    let audit = (from..from + count).map(|n| AuditEntry {
        action: "subject.erased".to_owned(),
        target: format!("sub_{n:06}"),
        ..entry(&format!("{n:06}"))
    });
    let change = Change { writes: Vec::new(), audit: audit.collect(), feed: Vec::new(), outbox: Vec::new() };
    app.store.commit(change).await.unwrap().unwrap();
    while app.store.sequence_audit(1000).await.unwrap() > 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_keep_up_is_cut_off_and_misses_nothing_when_it_comes_back() {
    on_both(async |t: TestApp| {
        ready(&t).await;
        let key = t.gateway("gw", false).await;
        let gateway = t.app.gateway(&key).unwrap();
        work(&t.app).await;
        let mut slow = t.app.stream(&gateway, None).await.unwrap();
        let begin = slow.recv().await.unwrap();
        assert_eq!(begin.name, "ready");
        erasures(&t.app, 0, 700).await;
        t.app.follow_log().await.unwrap();
        // It reads only now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut seen = Vec::new();
        let mut last = begin.id;
        while let Some(event) = slow.recv().await {
            last = event.id;
            seen.push(event.data["subject"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 256, "what waits for a reader is bounded");
        let mut again = Listener::open(&t, &key, Some(&last.to_string())).await;
        assert_eq!(again.told().await.0, "ready");
        let expected: Vec<String> =
            (0..700).map(|n| t.app.crypto.pairwise(&format!("sub_{n:06}"), "gw").unwrap()).collect();
        assert_eq!(seen, expected[..256]);
        seen.pop();
        while seen.last() != expected.last() {
            let (name, data) = again.told().await;
            assert_eq!((name.as_str(), &data["resource"]), ("subject.stop", &Value::Null));
            seen.push(data["subject"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, expected, "each, and in order");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_end_with_the_service_or_the_gateway() {
    on_both(async |t: TestApp| {
        ready(&t).await;
        let (key, other) = (t.gateway("gw", false).await, t.gateway("gw", false).await);
        let status = async |key: Option<&str>| {
            let request = t.http.get(format!("{}/gateway/events", t.url));
            let request = match key {
                Some(key) => request.header("x-gateway-key", key),
                None => request,
            };
            request.send().await.unwrap().status()
        };
        assert_eq!(status(None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(Some("gw_x.y")).await, StatusCode::UNAUTHORIZED);
        let mut open = Vec::new();
        for _ in 0..16 {
            open.push(Listener::open(&t, &key, None).await);
        }
        assert_eq!(status(Some(&key)).await, StatusCode::SERVICE_UNAVAILABLE, "one too many");
        let mut another = Listener::open(&t, &other, None).await;
        open.pop();
        let mut tries = 0;
        while status(Some(&key)).await != StatusCode::OK {
            tries += 1;
            assert!(tries < 100, "the place of a connection that ended is free again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(another.told().await.0, "ready");
        // Another audience is another name for everybody: what was opened under the old one ends.
        let id = other.split_once('.').unwrap().0;
        crate::support::execute(&t.database_url, &format!("UPDATE records SET body = REPLACE(body, '\"audience\":\"gw\"', '\"audience\":\"zz\"') WHERE id = '{id}'")).await.unwrap();
        t.created("/v1/audiences", json!({ "id": "zz", "name": "z", "resources": ["restricted.*"] })).await;
        work(&t.app).await;
        erasures(&t.app, 0, 1).await;
        t.app.follow_log().await.unwrap();
        assert_eq!(another.next().await, None);
        t.app.end_streams();
        for listener in &mut open {
            while let Some(event) = listener.next().await {
                assert!(matches!(event.name.as_str(), "ready" | "subject.stop"), "{event:?}");
            }
        }
        assert_eq!(answer(t.http.get(format!("{}/livez", t.url))).await.status, StatusCode::OK);
        assert_eq!(status(Some(&key)).await, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}
