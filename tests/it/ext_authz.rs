//! Envoy's ext_authz by HTTP and by gRPC, asked with Envoy's own messages.

use crate::app::{Sources, TestApp, answer, on_both};
use crate::support::Database;
use envoy_types::pb::envoy::config::core::v3::address::Address as AnyAddress;
use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap as RawHeaders, HeaderValue, HeaderValueOption, SocketAddress,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Status};
use vouchsafe::http::limits::{Limits, Quota, Quotas};
use vouchsafe::http::listen::{Bounds, Wire, listen};
use vouchsafe::http::{Edge, grpc_router};

/// The gRPC listener of a service, and a client of it.
struct Grpc {
    client: AuthorizationClient<Channel>,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Grpc {
    async fn start(t: &TestApp, quotas: &Quotas, bounds: Bounds) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edge = Edge {
            app: t.app.clone(),
            trusted_proxies: crate::app::proxies().into(),
            limits: Limits::new(quotas).into(),
            metrics: None,
        };
        let stop = CancellationToken::new();
        let server = tokio::spawn(listen(listener, grpc_router(edge), Wire::Http2, bounds, stop.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { client: AuthorizationClient::new(channel), address, stop, server }
    }

    async fn usual(t: &TestApp) -> Self {
        Self::start(t, &Quotas::default(), Bounds::default()).await
    }

    async fn check(&self, key: &str, attributes: AttributeContext) -> Result<Heard, Status> {
        let mut request = tonic::Request::new(CheckRequest { attributes: Some(attributes) });
        request.metadata_mut().insert("x-gateway-key", key.parse().unwrap());
        let said = self.client.clone().check(request).await?.into_inner();
        let code = said.status.expect("a status").code;
        Ok(match said.http_response.expect("what to do") {
            HttpResponse::OkResponse(passed) => {
                assert_eq!(code, 0);
                Heard {
                    status: 200,
                    headers: pairs(&passed.headers),
                    removed: passed.headers_to_remove,
                    body: String::new(),
                }
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0, "a refusal under the code of a yes");
                let status = u16::try_from(denied.status.expect("a status").code).unwrap();
                Heard { status, headers: pairs(&denied.headers), removed: Vec::new(), body: denied.body }
            }
            HttpResponse::ErrorResponse(_) => unreachable!("an error is not an answer"),
        })
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a gateway hears, by whichever socket.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    status: u16,
    headers: BTreeMap<String, String>,
    removed: Vec<String>,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Status, reason and decision.
    fn gist(&self) -> (u16, &str, &str, &str) {
        let header = |name| self.header(name);
        (self.status, header("x-eligibility-reason"), header("x-eligibility-decision"), header("www-authenticate"))
    }
}

/// OVERWRITE_IF_EXISTS_OR_ADD: a value of ours never stands beside one from outside.
fn pairs(options: &[HeaderValueOption]) -> BTreeMap<String, String> {
    let read = |option: &HeaderValueOption| {
        assert_eq!(option.append_action, 2);
        let header = option.header.clone().unwrap();
        (header.key, header.value)
    };
    options.iter().map(read).collect()
}

/// What Envoy sends of a request to `/x`: its headers, its pseudo headers, and the resource of its route.
fn asked(resource: &str, headers: &[(&str, &str)]) -> AttributeContext {
    let own = [(":method", "GET"), (":path", "/x"), (":authority", "api.example"), (":scheme", "https")];
    let headers = own.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { method: "GET".into(), path: "/x".into(), headers, ..HttpRequest::default() };
    AttributeContext {
        request: Some(Request { time: None, http: Some(http) }),
        context_extensions: [("resource".to_owned(), resource.to_owned())].into(),
        ..AttributeContext::default()
    }
}

fn from(address: &str, mut context: AttributeContext) -> AttributeContext {
    let socket = SocketAddress { address: address.into(), ..SocketAddress::default() };
    let address = Address { address: Some(AnyAddress::SocketAddress(socket)) };
    context.source = Some(Peer { address: Some(address), ..Peer::default() });
    context
}

/// The same by HTTP, under the prefix.
async fn by_http(t: &TestApp, resource: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Heard {
    let mut request = t.http.request(method, format!("{}/gateway/envoy/{resource}{path}", t.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let heard = answer(request).await;
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let removed = heard.header("x-envoy-auth-headers-to-remove").split(',').filter(|name| !name.is_empty());
    Heard {
        status: heard.status.as_u16(),
        removed: removed.map(str::to_owned).collect(),
        headers: heard.headers.iter().map(text).collect(),
        body: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_has_one_answer_at_every_socket() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let nobody = t.subject("nobody").await;
        for (subject, id) in [(&subject, "good"), (&nobody, "poor")] {
            t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": id })).await;
        }
        let (asserting, plain) = (t.gateway("edge", true).await, t.gateway("edge", false).await);
        let bearer = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
        let grpc = Grpc::usual(&t).await;
        // Asks at all three, holds them to one answer and gives it.
        let ask = async |key: &str, resource: &str, headers: &[(&str, &str)]| {
            let mut with_key = vec![("x-gateway-key", key)];
            with_key.extend(headers);
            let plain = t.check(resource, &with_key).await;
            let http = by_http(&t, resource, Method::GET, "/x", &with_key).await;
            let rpc = grpc.check(key, asked(resource, headers)).await.unwrap();
            assert_eq!(http.gist(), rpc.gist());
            let header = |name| plain.header(name);
            let gist = (header("x-eligibility-reason"), header("x-eligibility-decision"), header("www-authenticate"));
            assert_eq!((plain.status.as_u16(), gist.0, gist.1, gist.2), http.gist());
            rpc
        };
        let decision =
            async |subject: &str| t.eligibility(subject, "restricted.api").await["id"].as_str().unwrap().to_owned();
        let (yes, not_yet) = (decision(&subject).await, decision(&nobody).await);
        let token = [("authorization", bearer.as_str())];

        let passed = ask(&plain, "restricted.api", &token).await;
        assert_eq!(passed.gist(), (200, "", yes.as_str(), ""));
        assert!(!passed.header("x-eligibility-subject").contains(&subject), "gateways see pairwise subjects");
        for caller in ["api-key:good", "api-key:poor", "api-key:unknown", "nonsense"] {
            let said = ask(&asserting, "restricted.api", &[("x-vouchsafe-caller", caller)]).await;
            let wanted = match caller {
                "api-key:good" => (200, "", yes.as_str(), ""),
                "api-key:poor" => (403, "status.insufficient", not_yet.as_str(), ""),
                "api-key:unknown" => (403, "caller.unlinked", "", ""),
                _ => (401, "", "", "Bearer error=\"invalid_request\""),
            };
            assert_eq!(said.gist(), wanted, "{caller}");
        }
        let asserted = [("x-vouchsafe-caller", "api-key:good")];
        assert_eq!(ask(&plain, "restricted.api", &asserted).await.gist(), (401, "", "", "Bearer"));
        assert_eq!(ask("gw_none.secret", "restricted.api", &token).await.gist(), (401, "", "", "Bearer"));
        assert_eq!(ask(&asserting, "nationals.api", &asserted).await.gist(), (403, "resource.ungoverned", "", ""));
        let other = ask(&plain, "restricted.weights", &token).await;
        assert_eq!(other.gist(), (401, "", "", "Bearer error=\"invalid_token\""));

        let freeze =
            json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
        t.created("/v1/directives", freeze).await;
        let frozen = ask(&plain, "restricted.api", &token).await;
        assert_eq!((frozen.status, frozen.header("x-eligibility-reason")), (403, "directive.frozen"));
        t.http
            .post(format!("{}/oauth2/revoke", t.url))
            .bearer_auth(&t.admin)
            .form(&[("token", &bearer[7..])])
            .send()
            .await
            .unwrap();
        assert_eq!(ask(&plain, "restricted.api", &token).await.gist(), (403, "token.revoked", yes.as_str(), ""));

        // No picture, no answer; and that is a refusal by the gateway's words too, not an error that it might overlook.
        t.clock.advance(11);
        let blind = ask(&asserting, "restricted.api", &asserted).await;
        assert_eq!((blind.status, blind.header("retry-after")), (503, "2"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_writes_under_our_names_reaches_neither_us_nor_the_application() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    let key = t.gateway("edge", false).await;
    let asserting = t.gateway("edge", true).await;
    let bearer = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
    let grpc = Grpc::usual(&t).await;
    let forged =
        [("x-gateway-key", asserting.as_str()), ("x-vouchsafe-caller", "api-key:any"), ("resource", "nationals.api")];
    assert_eq!(grpc.check(&key, asked("restricted.api", &forged)).await.unwrap().gist().0, 401, "the key of a caller");
    let token = [("authorization", bearer.as_str())];
    let heard = [
        grpc.check(&key, asked("restricted.api", &token)).await.unwrap(),
        by_http(&t, "restricted.api", Method::GET, "/x", &[("x-gateway-key", &key), token[0]]).await,
    ];
    for heard in &heard {
        let (own, set): (Vec<&String>, Vec<&String>) = heard
            .headers
            .keys()
            .filter(|name| name.starts_with("x-eligibility-"))
            .partition(|name| heard.removed.contains(name));
        assert_eq!((own.len(), set.len()), (0, 3), "{heard:?}");
        for name in [
            "x-eligibility-reason",
            "x-eligibility-stale",
            "x-eligibility-test",
            "x-gateway-key",
            "x-vouchsafe-caller",
            "x-vouchsafe-acting-for",
            "x-vouchsafe-end-user",
            "x-eligibility-end-user",
            "x-eligibility-end-user-decision",
        ] {
            assert!(heard.removed.iter().any(|removed| removed == name), "{name} in {heard:?}");
        }
    }
    assert_eq!(heard[0].headers.len(), 3, "an instruction to us or to a cache is none to the application: {heard:?}");
    // A name and a way that both say nothing.
    let mut unnamed = asked("restricted.api", &token);
    unnamed.context_extensions.clear();
    assert_eq!(grpc.check(&key, unnamed).await.unwrap().gist(), (403, "resource.ungoverned", "", ""));
    assert_eq!(grpc.check(&key, AttributeContext::default()).await.unwrap().gist().0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_taken_for_what_is_not_there() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": "k" })).await;
    let key = t.gateway("edge", true).await;
    let grpc = Grpc::usual(&t).await;
    let raw = |headers: &[(&str, &[u8])]| {
        let mut context = asked("restricted.api", &[]);
        let http = context.request.as_mut().unwrap().http.as_mut().unwrap();
        let pair = |(name, value): &(&str, &[u8])| HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.to_vec(),
            ..HeaderValue::default()
        };
        http.headers.clear();
        http.header_map = Some(RawHeaders { headers: headers.iter().map(pair).collect() });
        context
    };
    let caller: (&str, &[u8]) = ("x-vouchsafe-caller", b"api-key:k");
    assert_eq!(grpc.check(&key, raw(&[caller])).await.unwrap().status, 200, "headers as bytes");
    let twice = grpc.check(&key, raw(&[caller, ("x-vouchsafe-caller", b"api-key:other")])).await.unwrap();
    assert_eq!(twice.status, 401, "two callers");
    for unread in [&b"org_\xff"[..], b"org_a\nb", b"org_a\0", b""] {
        let acting = grpc.check(&key, raw(&[caller, ("x-vouchsafe-acting-for", unread)])).await.unwrap();
        assert_eq!(acting.gist(), (401, "", "", "Bearer error=\"invalid_request\""), "{unread:?}");
    }
    let text = grpc.check(
        &key,
        asked("restricted.api", &[("x-vouchsafe-caller", "api-key:k"), ("x-vouchsafe-acting-for", "org_a\r\nb")]),
    );
    assert_eq!(text.await.unwrap().status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_criteria_judge_the_address_that_envoy_saw() {
    on_both(async |t: TestApp| {
        t.activate("embargo").await;
        t.audience("edge").await;
        let sources: Sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": "k" })).await;
        let key = t.gateway("edge", true).await;
        let grpc = Grpc::usual(&t).await;
        let (allowed, embargoed) = ("192.0.2.10", "198.51.100.10");
        for (source, forwarded, status) in [
            (Some(allowed), None, 200),
            (Some(embargoed), None, 403),
            // Envoy stands behind another trusted proxy: what that one wrote counts.
            (Some("127.0.0.1"), Some(allowed), 200),
            (Some("127.0.0.1"), Some(embargoed), 403),
            // From outside, before Envoy's own word.
            (Some(embargoed), Some(allowed), 403),
            (Some(allowed), Some(embargoed), 200),
            (Some(embargoed), Some("192.0.2.10, 198.51.100.10"), 403),
            (None, Some(allowed), 200),
            (None, None, 403),
            (Some("a pipe"), None, 403),
            (Some(allowed), Some("not an address"), 200),
        ] {
            let mut headers = vec![("x-vouchsafe-caller", "api-key:k")];
            headers.extend(forwarded.map(|forwarded| ("x-forwarded-for", forwarded)));
            let mut context = asked("regional.api", &headers);
            if let Some(source) = source {
                context = from(source, context);
            }
            let said = grpc.check(&key, context).await.unwrap();
            assert_eq!(said.status, status, "{source:?} {forwarded:?}");
            if source.is_none() {
                headers.push(("x-gateway-key", &key));
                assert_eq!(by_http(&t, "regional.api", Method::GET, "/x", &headers).await.status, status);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_by_http_asks_with_any_method_and_path_and_reaches_the_resource_of_its_prefix_only() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    let key = t.gateway("edge", false).await;
    let bearer = format!("Bearer {}", t.token(&subject, "restricted.api", "edge").await);
    let headers = [("x-gateway-key", key.as_str()), ("authorization", bearer.as_str())];
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(by_http(&t, "restricted.api", method.clone(), "/a/b?c=/d", &headers).await.status, 200, "{method}");
        assert_eq!(by_http(&t, "restricted.api", method.clone(), "/", &headers[..1]).await.status, 401, "{method}");
    }
    let body = t.http.post(format!("{}/gateway/envoy/restricted.api/x", t.url)).header("authorization", &bearer);
    let body = answer(body.header("x-gateway-key", &key).body("not json")).await;
    assert_eq!((body.status, &body.body), (StatusCode::OK, &serde_json::Value::Null));
    for path in [
        "",
        "/",
        "//restricted.weights",
        "/..%2frestricted.weights/",
        "/;x",
        "/%00",
        "/gateway/check/restricted.weights",
    ] {
        assert_eq!(by_http(&t, "restricted.api", Method::GET, path, &headers).await.status, 200, "{path}");
        assert_ne!(by_http(&t, "restricted.weights", Method::GET, path, &headers).await.status, 200, "{path}");
    }
    for resource in
        ["restricted.*", "restricted.api%2f..", "restricted.api;x", "restricted%2eapi", "Restricted.Api", ""]
    {
        assert_ne!(by_http(&t, resource, Method::GET, "/x", &headers).await.status, 200, "{resource}");
    }
    // 451 where the gateway is registered so, by all.
    let strict =
        json!({ "name": "g", "resources": ["restricted.*"], "audience": "edge", "asserts": true, "deny_status": 451 });
    let strict = t.created("/v1/gateways", strict).await["key"].as_str().unwrap().to_owned();
    let unknown = [("x-vouchsafe-caller", "api-key:unknown")];
    let said = by_http(&t, "restricted.api", Method::GET, "/x", &[("x-gateway-key", &strict), unknown[0]]).await;
    assert_eq!(said.gist(), (451, "caller.unlinked", "", ""));
    let grpc = Grpc::usual(&t).await;
    assert_eq!(grpc.check(&strict, asked("restricted.api", &unknown)).await.unwrap().gist(), said.gist());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_by_grpc_have_their_bounds() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.audience("edge").await;
    let key = t.gateway("edge", false).await;
    let three = Quotas { gateway: Quota::parse("3/60").unwrap(), ..Quotas::OFF };
    let grpc = Grpc::start(&t, &three, Bounds::default()).await;
    let of = |bytes: usize| asked("restricted.api", &[("x", "y".repeat(bytes).as_str())]);
    // 128 KiB and no more.
    assert_eq!(grpc.check(&key, of(127 * 1024)).await.unwrap().status, 401);
    assert_eq!(grpc.check(&key, of(129 * 1024)).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(grpc.check(&key, of(0)).await.unwrap().status, 401);
    // An answer, not a failure: whoever lets pass what fails does not let this pass.
    let fourth = grpc.check(&key, of(0)).await.unwrap();
    assert_eq!((fourth.status, fourth.header("retry-after")), (429, "20"));
    for path in ["/envoy.service.auth.v3.Authorization/Other", "/gateway/check/restricted.api", "/metrics"] {
        let channel = Channel::from_shared(format!("http://{}", grpc.address)).unwrap().connect_lazy();
        let mut other = tonic::client::Grpc::new(channel);
        other.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        let said =
            other.unary(tonic::Request::new(CheckRequest::default()), PathAndQuery::from_static(path), codec).await;
        assert_eq!(said.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_connection_that_says_nothing_gives_its_place_back_and_the_end_waits_for_calls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    t.audience("edge").await;
    let key = t.gateway("edge", false).await;
    let bounds = Bounds { connections: 1, patience: Duration::from_millis(300) };
    let mut grpc = Grpc::start(&t, &Quotas::default(), bounds).await;
    let mut idle = tokio::net::TcpStream::connect(grpc.address).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let next = grpc.check(&key, asked("restricted.api", &[]));
    let next = tokio::time::timeout(Duration::from_secs(10), next).await.expect("the place is free again").unwrap();
    assert_eq!(next.status, 401);
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    // Stopping ends the idle connection of the client instead of waiting for it for ever.
    grpc.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut grpc.server).await.expect("it ends").unwrap();
    assert_eq!(grpc.check(&key, asked("restricted.api", &[])).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn end_users_are_named_and_told_alike_at_every_socket() {
    use crate::end_users::{Trade, resource};
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let trade = Trade::new(&t).await;
    assert_eq!(trade.acme.registers(&t, "h").await.status, StatusCode::CREATED);
    trade.proves(&t, &trade.acme.behind(&t, "h").await).await;
    let own = t.token(&trade.acme.agent, &resource("required"), "edge").await;
    let token = trade.acme.exchanged(&t, &resource("required"), "h", Some(&own)).await;
    let (own, token) = (format!("Bearer {own}"), format!("Bearer {token}"));
    let grpc = Grpc::usual(&t).await;
    let ask = async |key: &str, headers: &[(&str, &str)]| {
        let with_key: Vec<(&str, &str)> = [("x-gateway-key", key)].into_iter().chain(headers.iter().copied()).collect();
        let plain = t.check(&resource("required"), &with_key).await;
        let http = by_http(&t, &resource("required"), Method::GET, "/x", &with_key).await;
        let rpc = grpc.check(key, asked(&resource("required"), headers)).await.unwrap();
        let names = [
            "x-eligibility-reason",
            "x-eligibility-decision",
            "x-eligibility-end-user",
            "x-eligibility-end-user-decision",
        ];
        let told = |heard: &Heard| (heard.status, names.map(|name| heard.header(name).to_owned()));
        assert_eq!(told(&http), told(&rpc));
        assert_eq!((plain.status.as_u16(), names.map(|name| plain.header(name).to_owned())), told(&http));
        for name in ["x-vouchsafe-end-user", "x-eligibility-end-user", "x-eligibility-end-user-decision"] {
            let removed = http.removed.iter().any(|removed| removed == name);
            assert_eq!(removed, rpc.removed.iter().any(|removed| removed == name), "{name}");
            assert_eq!(removed, http.status == 200 && http.header(name).is_empty(), "{name}");
        }
        told(&rpc)
    };
    let caller = ("x-vouchsafe-caller", trade.acme.caller.as_str());
    let (status, named) = ask(&trade.asserting, &[caller, ("x-vouchsafe-end-user", "h")]).await;
    assert_eq!((status, named[2].is_empty(), named[3].starts_with("dec_")), (200, false, true));
    assert_eq!(ask(&trade.plain, &[("authorization", &token)]).await, (200, named));
    for (key, headers, reason) in [
        (&trade.asserting, vec![caller], "end_user.missing"),
        (&trade.asserting, vec![caller, ("x-vouchsafe-end-user", "n")], "end_user.unknown"),
        (&trade.plain, vec![("authorization", own.as_str()), ("x-vouchsafe-end-user", "h")], "end_user.missing"),
    ] {
        let (status, named) = ask(key, &headers).await;
        assert_eq!((status, named[0].as_str(), named[2].as_str()), (403, reason, ""));
    }
}
