//! The operations on streams, each with its status codes (SSF 1.0 section 8.1).

use super::{
    AUD, CLAIMS_CHANGE, CREDENTIAL_CHANGE, Endpoint, POLL, PURGED, PUSH, Party, SESSION_REVOKED, linked, named,
};
use crate::app::{TestApp, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_says_what_there_is_and_nothing_else() {
    on_both(async |t: TestApp| {
        let answer = t.get("/.well-known/ssf-configuration").await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
        let at = |path: &str| format!("{}{path}", t.app.issuer);
        let wanted = json!({
            "spec_version": "1_0", "issuer": t.app.issuer, "jwks_uri": at("/.well-known/jwks.json"),
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": at("/ssf/stream"), "status_endpoint": at("/ssf/status"),
            "add_subject_endpoint": at("/ssf/subjects:add"), "remove_subject_endpoint": at("/ssf/subjects:remove"),
            "verification_endpoint": at("/ssf/verify"),
            "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:6749" }], "default_subjects": "ALL",
        });
        assert_eq!(answer.body, wanted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_made_read_changed_replaced_and_deleted() {
    on_both(async |t: TestApp| {
        let party = Party::register(&t, json!({})).await;
        let none = party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await;
        assert_eq!((none.status, &none.body), (StatusCode::OK, &json!([])));
        let asked = json!({ "events_requested": [CLAIMS_CHANGE, "https://unknown.example/event", SESSION_REVOKED],
            "description": "d", "iss": "https://other.example", "unknown": { "member": 1 }, "delivery": null });
        let made = party.post(&t, "/ssf/stream", asked.clone()).await;
        assert_eq!((made.status, made.header("cache-control")), (StatusCode::CREATED, "no-store"));
        let id = made.body["stream_id"].as_str().unwrap();
        let wanted = json!({
            "stream_id": id, "iss": t.app.issuer, "aud": AUD,
            "events_supported": [CREDENTIAL_CHANGE, CLAIMS_CHANGE, PURGED],
            "events_requested": ["https://schemas.openid.net/secevent/caep/event-type/session-revoked",
                CLAIMS_CHANGE, "https://unknown.example/event"],
            "events_delivered": [CLAIMS_CHANGE],
            "delivery": { "method": POLL, "endpoint_url": format!("{}/ssf/poll/{id}", t.app.issuer) },
            "min_verification_interval": 60, "description": "d",
        });
        assert_eq!(made.body, wanted, "no session ends on a stream that is not of the resource itself");
        let path = format!("/ssf/stream?stream_id={id}");
        assert_eq!(party.ask(&t, Method::GET, &path, Value::Null).await.body, wanted);
        assert_eq!(party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body, json!([wanted]));
        let again = party.post(&t, "/ssf/stream", asked).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "one for each receiver");

        let patch = json!({ "stream_id": id, "events_requested": [CREDENTIAL_CHANGE], "aud": [AUD],
            "events_delivered": [CREDENTIAL_CHANGE], "events_supported": [CLAIMS_CHANGE, PURGED, CREDENTIAL_CHANGE] });
        let changed = party.ask(&t, Method::PATCH, "/ssf/stream", patch).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
        assert_eq!(
            (&changed.body["events_delivered"], &changed.body["description"]),
            (&json!([CREDENTIAL_CHANGE]), &json!("d"))
        );
        let endpoint = Endpoint::new().await;
        let mut delivery = endpoint.delivery();
        delivery["authorization_header"] = json!("Bearer s3cret-of-theirs");
        let put = json!({ "stream_id": id, "events_requested": [CLAIMS_CHANGE], "delivery": delivery });
        let replaced = party.ask(&t, Method::PUT, "/ssf/stream", put).await;
        assert_eq!(replaced.status, StatusCode::OK, "{}", replaced.body);
        assert_eq!(replaced.body.get("description"), None);
        assert_eq!(replaced.body["delivery"], endpoint.delivery(), "what is sent there is told to nobody");
        let shown = t.get(&format!("/v1/signal-receivers/{}", party.id)).await;
        assert_eq!(shown.status, StatusCode::OK);
        assert!(!shown.body.to_string().contains("s3cret"), "{}", shown.body);
        for (kind, body) in crate::support::pairs(&t.database_url, "SELECT kind, body FROM records").await {
            assert!(!body.contains("s3cret"), "{kind}");
        }
        for action in ["stream.created", "stream.changed"] {
            assert!(t.audited(action).await.iter().all(|entry| !entry.to_string().contains("s3cret")));
        }

        let gone = party.ask(&t, Method::DELETE, &path, Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert_eq!(party.ask(&t, Method::GET, &path, Value::Null).await.status, StatusCode::NOT_FOUND);
        let next = party.stream(&t, json!({})).await;
        assert_ne!(next, id, "a stream is never had twice");
    })
    .await;
}

/// Every operation on a stream: method, path, body.
fn operations(id: &str) -> Vec<(Method, String, Value)> {
    let subject = json!({ "format": "iss_sub", "iss": "https://a.example", "sub": "b" });
    vec![
        (Method::GET, format!("/ssf/stream?stream_id={id}"), Value::Null),
        (Method::PATCH, "/ssf/stream".to_owned(), json!({ "stream_id": id })),
        (Method::PUT, "/ssf/stream".to_owned(), json!({ "stream_id": id })),
        (Method::GET, format!("/ssf/status?stream_id={id}"), Value::Null),
        (Method::POST, "/ssf/status".to_owned(), json!({ "stream_id": id, "status": "enabled" })),
        (Method::POST, "/ssf/subjects:add".to_owned(), json!({ "stream_id": id, "subject": subject })),
        (Method::POST, "/ssf/subjects:remove".to_owned(), json!({ "stream_id": id, "subject": subject })),
        (Method::POST, "/ssf/verify".to_owned(), json!({ "stream_id": id })),
        (Method::POST, format!("/ssf/poll/{id}"), json!({ "maxEvents": 0 })),
        (Method::DELETE, format!("/ssf/stream?stream_id={id}"), Value::Null),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_its_receivers_alone() {
    on_both(async |t: TestApp| {
        let (party, other) = (Party::register(&t, json!({})).await, Party::register(&t, json!({})).await);
        let id = party.stream(&t, json!({})).await;
        let theirs = other.stream(&t, json!({})).await;
        let reader = Party::client(&t, &["ssf.read"]).await;
        let (stranger, none) =
            (Party::client(&t, &["subjects:read"]).await, Party::client(&t, &["ssf.read", "ssf.manage"]).await);
        for (method, path, body) in operations(&id) {
            let status = async |party: &Party| party.ask(&t, method.clone(), &path, body.clone()).await.status;
            assert_eq!(status(&other).await, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(status(&stranger).await, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(status(&none).await, StatusCode::FORBIDDEN, "{method} {path}");
            let request = t.http.request(method.clone(), format!("{}{path}", t.url)).json(&body);
            let nobody = crate::app::answer(request).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(nobody.header("www-authenticate").starts_with("Bearer"));
            let separator = if path.contains('?') { '&' } else { '?' };
            let in_query = format!("{}{path}{separator}access_token={}", t.url, party.token);
            let in_query = t.http.request(method.clone(), in_query).json(&body).send().await.unwrap();
            assert_eq!(in_query.status(), StatusCode::UNAUTHORIZED, "a token in the address is none");
            let reads = method == Method::GET || path.starts_with("/ssf/poll/");
            let as_reader = reader.ask(&t, method.clone(), &path, body.clone()).await;
            assert_eq!(as_reader.status, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(as_reader.body["code"] == "not_a_receiver", reads, "{method} {path}: {}", as_reader.body);
        }
        assert_eq!(other.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body[0]["stream_id"], json!(theirs));
        let wanted = [200, 200, 200, 200, 200, 200, 204, 204, 200, 204];
        for ((method, path, body), wanted) in operations(&id).into_iter().zip(wanted) {
            let own = party.ask(&t, method.clone(), &path, body).await;
            assert_eq!(own.status.as_u16(), wanted, "{method} {path}: {}", own.body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_400_and_changes_nothing() {
    on_both(async |t: TestApp| {
        let party = Party::register(&t, json!({})).await;
        let push = |url: &str| json!({ "delivery": { "method": PUSH, "endpoint_url": url } });
        for body in [
            json!([]),
            json!({ "events_requested": "x" }),
            json!({ "events_requested": [1] }),
            json!({ "description": 1 }),
            json!({ "delivery": PUSH }),
            json!({ "delivery": {} }),
            json!({ "delivery": { "method": "https://other.example" } }),
            json!({ "delivery": { "method": PUSH } }),
            json!({ "delivery": { "method": POLL, "endpoint_url": "https://a.example/poll" } }),
            push("http://a.example/events"),
            push("https://10.0.0.1/events"),
            push("https://169.254.169.254/latest"),
            push("https://u:p@a.example/events"),
            json!({ "delivery": { "method": PUSH, "endpoint_url": "https://a.example/e", "authorization_header": "a\nb: c" } }),
        ] {
            let answer = party.post(&t, "/ssf/stream", body.clone()).await;
            assert_eq!((answer.status, &answer.body["code"]), (StatusCode::BAD_REQUEST, &json!("signals_invalid")), "{body}");
        }
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let before = party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body;
        for method in [Method::PATCH, Method::PUT] {
            for body in [
                json!({}),
                json!({ "stream_id": 1 }),
                json!({ "stream_id": id, "iss": "https://other.example" }),
                json!({ "stream_id": id, "aud": "https://other.example" }),
                json!({ "stream_id": id, "events_supported": [CLAIMS_CHANGE] }),
                json!({ "stream_id": id, "events_delivered": [PURGED] }),
                json!({ "stream_id": id, "min_verification_interval": 1 }),
                json!({ "stream_id": id, "inactivity_timeout": 60 }),
                json!({ "stream_id": id, "events_requested": {} }),
                json!({ "stream_id": id, "delivery": { "method": PUSH } }),
            ] {
                let answer = party.ask(&t, method.clone(), "/ssf/stream", body.clone()).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {body}: {}", answer.body);
            }
        }
        assert_eq!(party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body, before);
        let subject = json!({ "format": "iss_sub", "iss": "a", "sub": "b" });
        for (path, body) in [
            ("/ssf/status", json!({ "stream_id": id })),
            ("/ssf/status", json!({ "status": "paused" })),
            ("/ssf/status", json!({ "stream_id": id, "status": "off" })),
            ("/ssf/status", json!({ "stream_id": id, "status": "paused", "reason": 1 })),
            ("/ssf/subjects:add", json!({ "stream_id": id })),
            ("/ssf/subjects:add", json!({ "subject": subject })),
            ("/ssf/subjects:add", json!({ "stream_id": id, "subject": "ada" })),
            ("/ssf/subjects:add", json!({ "stream_id": id, "subject": {} })),
            ("/ssf/subjects:add", json!({ "stream_id": id, "subject": { "format": "iss_sub", "iss": "a" } })),
            ("/ssf/subjects:add", json!({ "stream_id": id, "subject": subject, "verified": "yes" })),
            ("/ssf/subjects:remove", json!({ "stream_id": id, "subject": { "format": 1 } })),
            ("/ssf/verify", json!({})),
            ("/ssf/verify", json!({ "stream_id": id, "state": 1 })),
        ] {
            let answer = party.post(&t, path, body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}: {}", answer.body);
        }
        let poll = format!("/ssf/poll/{id}");
        for body in [
            json!({ "maxEvents": -1 }),
            json!({ "maxEvents": "1" }),
            json!({ "returnImmediately": 1 }),
            json!({ "ack": "x" }),
            json!({ "ack": [1] }),
            json!({ "setErrs": [] }),
            json!({ "setErrs": { "j": {} } }),
        ] {
            let answer = party.post(&t, &poll, body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.body);
        }
        for (method, path) in [(Method::DELETE, "/ssf/stream"), (Method::GET, "/ssf/status")] {
            assert_eq!(party.ask(&t, method, path, Value::Null).await.status, StatusCode::BAD_REQUEST, "{path}");
        }
        for text in ["", "{", r#"{"stream_id":"a","stream_id":"b"}"#, "{\"stream_id\":\"\\u0000\"}"] {
            let request = t.http.post(format!("{}/ssf/verify", t.url)).bearer_auth(&party.token);
            let answer = crate::app::answer(request.header("content-type", "application/json").body(text)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        }
        let request = t.http.post(format!("{}/ssf/verify", t.url)).bearer_auth(&party.token);
        let answer = crate::app::answer(request.body(json!({ "stream_id": id }).to_string())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "a body of another type");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_comes_through_the_stream_and_not_too_often() {
    on_both(async |t: TestApp| {
        let party = Party::register(&t, json!({})).await;
        let other = Party::register(&t, json!({})).await;
        let (id, theirs) = (party.stream(&t, json!({})).await, other.stream(&t, json!({})).await);
        let ask = json!({ "stream_id": id, "state": "s-1" });
        assert_eq!(party.post(&t, "/ssf/verify", ask.clone()).await.status, StatusCode::NO_CONTENT);
        let early = party.post(&t, "/ssf/verify", ask).await;
        assert_eq!((early.status, early.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "60"));
        t.clock.advance(59);
        let ask = json!({ "stream_id": id });
        assert_eq!(party.post(&t, "/ssf/verify", ask.clone()).await.header("retry-after"), "1");
        t.clock.advance(1);
        assert_eq!(party.post(&t, "/ssf/verify", ask.clone()).await.status, StatusCode::NO_CONTENT);
        let all = party.drain(&t, &id).await;
        assert_eq!(super::uris(&all), [super::VERIFICATION, super::VERIFICATION]);
        assert_eq!(all[0]["sub_id"], json!({ "format": "opaque", "id": id }));
        assert_eq!((super::event(&all[0]).1, super::event(&all[1]).1), (json!({ "state": "s-1" }), json!({})));
        assert_eq!(other.drain(&t, &theirs).await, Vec::<Value>::new(), "it is for who asked");
        party.status(&t, &id, "disabled").await;
        t.clock.advance(60);
        assert_eq!(party.post(&t, "/ssf/verify", ask).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_was_removed_is_told_of_no_more_until_it_is_added() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let party = Party::register(&t, json!({})).await;
        let id = party.stream(&t, json!({ "events_requested": [CLAIMS_CHANGE] })).await;
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let of = |subject: Value| json!({ "stream_id": id, "subject": subject });
        let ada = named(&t, "ada");
        assert_eq!(party.post(&t, "/ssf/subjects:remove", of(ada.clone())).await.status, StatusCode::NO_CONTENT);
        let record = super::admit(&t, &sources, &subject).await;
        assert_eq!(party.drain(&t, &id).await, Vec::<Value>::new());
        let mut foreign = ada.clone();
        foreign["iss"] = json!("https://elsewhere.example");
        for stranger in [foreign, named(&t, "nobody"), json!({ "format": "email", "email": "ada@example.org" })] {
            let answer = party.post(&t, "/ssf/subjects:add", of(stranger.clone())).await;
            assert_eq!((answer.status, answer.body), (StatusCode::OK, Value::Null), "{stranger}");
        }
        assert_eq!(party.post(&t, "/ssf/subjects:add", of(ada)).await.status, StatusCode::OK);
        super::dismiss(&t, &record).await;
        assert_eq!(super::uris(&party.drain(&t, &id).await), [CLAIMS_CHANGE]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_shown_who_asked_not_to_be_told_of_them() {
    on_both(async |t: TestApp| {
        let (party, other) = (Party::register(&t, json!({})).await, Party::register(&t, json!({})).await);
        let (id, theirs) = (party.stream(&t, json!({})).await, other.stream(&t, json!({})).await);
        let (subject, stranger) = (linked(&t, "ada").await, linked(&t, "bo").await);
        let exported = async |subject: &str| {
            let export = t.get(&format!("/v1/subjects/{subject}/export")).await;
            assert_eq!(export.status, StatusCode::OK, "{}", export.body);
            export.body["not_told"].clone()
        };
        assert_eq!(exported(&subject).await, json!([]));
        let of = |stream: &str, name: &str| json!({ "stream_id": stream, "subject": named(&t, name) });
        assert_eq!(party.post(&t, "/ssf/subjects:remove", of(&id, "ada")).await.status, StatusCode::NO_CONTENT);
        assert_eq!(other.post(&t, "/ssf/subjects:remove", of(&theirs, "bo")).await.status, StatusCode::NO_CONTENT);
        assert_eq!(exported(&subject).await, json!([{ "receiver": party.id, "name": "r" }]));
        assert_eq!(exported(&stranger).await, json!([{ "receiver": other.id, "name": "r" }]));
        assert_eq!(party.post(&t, "/ssf/subjects:add", of(&id, "ada")).await.status, StatusCode::OK);
        assert_eq!(exported(&subject).await, json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_changed_at_the_version_that_was_read_and_keeps_its_stream() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let endpoint = Endpoint::new().await;
        let party = Party::register(&t, json!({})).await;
        let mut delivery = endpoint.delivery();
        delivery["authorization_header"] = json!("Bearer s3cret");
        let asked = json!({ "events_requested": [CLAIMS_CHANGE, SESSION_REVOKED], "delivery": delivery });
        let id = party.stream(&t, asked).await;
        let path = format!("/v1/signal-receivers/{}", party.id);
        let patch = async |tag: &str, body: Value| {
            let request = t.http.patch(format!("{}{path}", t.url)).bearer_auth(&t.admin).header("if-match", tag);
            crate::app::answer(request.json(&body)).await
        };
        assert_eq!(t.get(&path).await.header("etag"), "\"2\"", "registered, and a stream made");
        let body = json!({ "name": "Portal", "resources": ["restricted.*"], "for_resource": true });
        let stale = patch("\"1\"", body.clone()).await;
        assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{}", stale.body);
        assert_eq!(patch("\"2\"", body).await.status, StatusCode::NO_CONTENT);
        let shown = t.get(&path).await;
        assert_eq!(shown.header("etag"), "\"3\"");
        let body = &shown.body["body"];
        assert_eq!((&body["name"], &body["for_resource"]), (&json!("Portal"), &json!(true)));
        let stream = party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.body[0].clone();
        assert_eq!(stream["stream_id"], json!(id), "its stream stays");
        assert_eq!(stream["events_delivered"], json!([SESSION_REVOKED, CLAIMS_CHANGE]));
        for wrong in [
            json!({ "name": "" }),
            json!({ "aud": "a b" }),
            json!({ "resources": [] }),
            json!({ "resources": ["No Resource"] }),
            json!({ "discloses": ["status"] }),
            json!({ "discloses": ["everything"] }),
            json!({ "namespace": "other" }),
            json!({ "client": "cli_other" }),
        ] {
            let answer = patch("*", wrong.clone()).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {}", answer.body);
        }
        let none = t.send(&t.admin, Method::PATCH, "/v1/signal-receivers/cli_nobody", Some(json!({}))).await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
        assert_eq!(t.get(&path).await.header("etag"), "\"3\"", "nothing of it was written");
        assert_eq!(t.audited("signal_receiver.changed").await.len(), 1);

        // It is pushed to as before, and what waits is told only as far as it concerns the receiver still.
        let sources = t.sources().await;
        let subject = linked(&t, "ada").await;
        let record = super::admit(&t, &sources, &subject).await;
        super::deliver(&t).await;
        let got = endpoint.taken();
        assert_eq!((got.len(), got[0].authorization.as_str()), (1, "Bearer s3cret"));
        super::dismiss(&t, &record).await;
        t.app.fan_out().await.unwrap();
        let elsewhere = json!({ "resources": ["regional.*"], "for_resource": false });
        assert_eq!(patch("*", elsewhere).await.status, StatusCode::NO_CONTENT);
        super::deliver(&t).await;
        assert_eq!(endpoint.taken().len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_registers_receivers_once_and_ends_them() {
    on_both(async |t: TestApp| {
        let party = Party::register(&t, json!({})).await;
        let body = |change: Value| {
            let mut body = json!({ "client": party.id, "name": "r", "aud": AUD, "namespace": "idp" });
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            body
        };
        assert_eq!(t.post("/v1/signal-receivers", body(json!({}))).await.status, StatusCode::CONFLICT);
        t.created(
            "/v1/audiences",
            json!({ "id": "plain", "name": "p", "resources": ["restricted.*"], "pairwise": false }),
        )
        .await;
        for change in [
            json!({ "client": "cli_nobody" }),
            json!({ "aud": "a b" }),
            json!({ "audience": "edge" }),
            json!({ "namespace": null }),
            json!({ "namespace": null, "audience": "nothing" }),
            json!({ "namespace": null, "audience": "plain" }),
            json!({ "for_resource": true }),
            json!({ "resources": ["No Resource"] }),
        ] {
            let answer = t.post("/v1/signal-receivers", body(change.clone())).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{change}: {}", answer.body);
        }
        let path = format!("/v1/signal-receivers/{}", party.id);
        let status = json!({ "status": "paused", "reason": "maintenance" });
        assert_eq!(
            t.post(&format!("{path}/status"), status.clone()).await.status,
            StatusCode::NOT_FOUND,
            "no stream yet"
        );
        let id = party.stream(&t, json!({})).await;
        for _ in 0..2 {
            assert_eq!(t.post(&format!("{path}/status"), status.clone()).await.status, StatusCode::OK);
        }
        let told = party.ask(&t, Method::GET, &format!("/ssf/status?stream_id={id}"), Value::Null).await;
        assert_eq!(told.body, json!({ "stream_id": id, "status": "paused", "reason": "maintenance" }));
        assert_eq!(t.post(&format!("{path}/status"), json!({ "status": "enabled" })).await.status, StatusCode::OK);
        let all = party.drain(&t, &id).await;
        assert_eq!(super::uris(&all), [super::UPDATED, super::UPDATED], "each change once");
        assert_eq!(super::event(&all[0]).1, json!({ "status": "paused", "reason": "maintenance" }));
        assert_eq!(super::event(&all[1]).1, json!({ "status": "enabled" }));
        assert_eq!(all[0]["sub_id"], json!({ "format": "opaque", "id": id }));
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
        assert_eq!(party.ask(&t, Method::GET, "/ssf/stream", Value::Null).await.status, StatusCode::FORBIDDEN);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}
