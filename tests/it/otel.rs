//! Traces as a collector receives them. What it gets is read by the field numbers of opentelemetry-proto's
//! `trace/v1/trace.proto`, not by the library that wrote it.

use crate::doctor::Installation;
use axum::body::Bytes;
use axum::routing::post;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A message's fields: number and content; numbers of fixed and variable length as eight bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        unreachable!("a varint has at most ten bytes")
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => {
                found.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            5 => 4,
            other => unreachable!("wire type {other}"),
        };
        found.push((tag >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn all(bytes: &[u8], number: u64) -> Vec<Vec<u8>> {
    fields(bytes).into_iter().filter(|(found, _)| *found == number).map(|(_, content)| content).collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    all(bytes, number).first().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// KeyValue: key 1, value 2; AnyValue: text 1, integer 3.
fn attributes(message: &[u8], number: u64) -> Vec<(String, String)> {
    let value = |any: &[u8]| match all(any, 3).first() {
        Some(integer) => i64::from_le_bytes(integer.as_slice().try_into().unwrap()).to_string(),
        None => text(any, 1),
    };
    let pair = |pair: Vec<u8>| (text(&pair, 1), value(&all(&pair, 2)[0]));
    all(message, number).into_iter().map(pair).collect()
}

#[derive(Debug)]
struct Span {
    trace: String,
    parent: String,
    name: String,
    kind: u64,
    attributes: Vec<(String, String)>,
    events: usize,
}

/// ExportTraceServiceRequest: resource spans 1; of these: resource 1, scope spans 2; of these: spans 2.
fn spans(message: &[u8]) -> Vec<Span> {
    let resources = all(message, 1);
    for resource in &resources {
        let about = attributes(&all(resource, 1)[0], 1);
        assert!(about.contains(&("service.name".to_owned(), "vouchsafe".to_owned())), "{about:?}");
        assert!(about.contains(&("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())), "{about:?}");
    }
    let scopes = resources.iter().flat_map(|resource| all(resource, 2));
    let spans: Vec<Vec<u8>> = scopes.flat_map(|scope| all(&scope, 2)).collect();
    let read = |span: &Vec<u8>| Span {
        trace: hex(&all(span, 1)[0]),
        parent: all(span, 4).first().map(|id| hex(id)).unwrap_or_default(),
        name: text(span, 5),
        kind: all(span, 6).first().map_or(0, |kind| u64::from_le_bytes(kind.as_slice().try_into().unwrap())),
        attributes: attributes(span, 9),
        events: all(span, 11).len(),
    };
    spans.iter().map(read).collect()
}

/// A collector that keeps what it gets.
async fn collector() -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let got: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let keep = Arc::clone(&got);
    let take = async move |body: Bytes| {
        keep.lock().unwrap().push(body);
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = axum::Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, got)
}

fn terminate(child: &mut std::process::Child) -> std::process::ExitStatus {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_the_callers_trace_go_on_and_nothing_personal() {
    let (url, got) = collector().await;
    let installation = Installation::sqlite().await;
    // What is kept out of the logs is not kept out of the traces.
    let environment = [("VOUCHSAFE_OTLP_ENDPOINT", url.as_str()), ("RUST_LOG", "error,vouchsafe::cli=info")];
    let (mut running, listen, _) = installation.serve_with(&environment);
    let http = reqwest::Client::builder().build().unwrap();
    let ask = async |path: &str, flags: Option<(&str, &str)>| {
        let mut request = http.get(format!("http://{listen}{path}")).bearer_auth("secret-token-of-a-client");
        if let Some((trace, flags)) = flags {
            request = request.header("traceparent", format!("00-{trace}-{PARENT}-{flags}"));
        }
        request.send().await.unwrap().status()
    };
    let unsampled = TRACE.replace('4', "5");
    assert_eq!(ask("/v1/subjects/sub_somebody", Some((TRACE, "01"))).await, 401);
    assert_eq!(ask("/v1/subjects/sub_somebody", Some((&unsampled, "00"))).await, 401);
    assert_eq!(ask("/livez", None).await, 200);
    // What has not been sent yet is sent at the end.
    assert!(terminate(&mut running.0).success());

    let bodies = got.lock().unwrap().clone();
    let seen: Vec<Span> = bodies.iter().flat_map(|body| spans(body)).collect();
    let ours: Vec<&Span> = seen.iter().filter(|span| span.trace == TRACE).collect();
    assert_eq!(ours.len(), 1, "{seen:#?}");
    let span = ours[0];
    // SPAN_KIND_SERVER is 2.
    assert_eq!((span.parent.as_str(), span.name.as_str(), span.kind), (PARENT, "GET /v1/subjects/{id}", 2));
    let has = |name: &str, value: &str| span.attributes.iter().any(|(n, v)| n == name && v == value);
    assert!(has("http.route", "/v1/subjects/{id}") && has("http.request.method", "GET"), "{span:?}");
    assert!(has("http.response.status_code", "401"), "{span:?}");
    assert!(seen.iter().all(|span| span.trace != unsampled), "the caller does not keep this one: {seen:#?}");
    let own = seen.iter().find(|span| span.name == "GET /livez").unwrap();
    assert!(own.parent.is_empty() && own.trace.len() == 32, "{own:?}");
    assert_eq!(seen.len(), 2, "nothing of the libraries: {seen:#?}");
    assert_eq!(seen.iter().map(|span| span.events).sum::<usize>(), 0, "no log lines: {seen:#?}");
    let sent = bodies.concat();
    for secret in ["sub_somebody", "secret-token-of-a-client"] {
        assert!(!sent.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_dead_or_silent_holds_nothing_up() {
    let installation = Installation::sqlite().await;
    let http = reqwest::Client::builder().build().unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Accepts, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [dead, silent.local_addr().unwrap()] {
        let url = format!("http://{address}");
        let (mut running, listen, admin) = installation.serve_with(&[("VOUCHSAFE_OTLP_ENDPOINT", &url)]);
        let begun = Instant::now();
        for _ in 0..200 {
            assert_eq!(http.get(format!("http://{listen}/livez")).send().await.unwrap().status(), 200);
        }
        let took = begun.elapsed();
        // One wait for the collector alone would take five seconds, and these would be two hundred.
        assert!(took < Duration::from_secs(30), "{took:?}");
        let lost = async || {
            let metrics = http.get(format!("http://{admin}/metrics")).send().await.unwrap().text().await.unwrap();
            metrics.lines().find_map(|line| line.strip_prefix("vouchsafe_spans_total{outcome=\"lost\"} ")?.parse().ok())
        };
        let patience = Instant::now();
        while lost().await.unwrap_or(0) < 200 {
            assert!(patience.elapsed() < Duration::from_secs(30), "spans are not counted as lost");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let begun = Instant::now();
        assert!(terminate(&mut running.0).success());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_traces_begun_here_only_the_share_is_kept() {
    let (url, got) = collector().await;
    let installation = Installation::sqlite().await;
    let environment = [("VOUCHSAFE_OTLP_ENDPOINT", url.as_str()), ("VOUCHSAFE_OTLP_SHARE", "0")];
    let (mut running, listen, _) = installation.serve_with(&environment);
    let http = reqwest::Client::builder().build().unwrap();
    for flags in [None, Some("01")] {
        let mut request = http.get(format!("http://{listen}/livez"));
        if let Some(flags) = flags {
            request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    assert!(terminate(&mut running.0).success());
    let seen: Vec<Span> = got.lock().unwrap().iter().flat_map(|body| spans(body)).collect();
    assert!(seen.len() == 1 && seen[0].trace == TRACE, "{seen:#?}");
}
