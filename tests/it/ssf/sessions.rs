//! A session that is over at an identity provider ends the tokens that were got by it, and no other.

use super::{AUD, CREDENTIAL_CHANGE, Party, SESSION_REVOKED, admit, event, linked};
use crate::app::{Answer, TestApp, introspect, on_both};
use crate::status_lists::status_at;
use crate::support::execute;
use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe::service::Actor;
use vouchsafe::service::admin::Created;
use vouchsafe::token::jws::UnverifiedToken;
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A registered provider that knows subjects by the links of a namespace.
struct Provider {
    key: SigningKey,
    issuer: String,
    id: String,
}

impl Provider {
    async fn new(t: &TestApp, namespace: &str) -> Self {
        let (key, _) = SigningKey::generate(Algorithm::Es256, Purpose::Access).unwrap();
        let issuer = format!("https://{namespace}.example");
        let body = json!({ "name": namespace, "issuer": issuer, "audiences": ["app"], "namespace": namespace,
            "keys": [key.jwk] });
        let made = t.created("/v1/identity-providers", body).await;
        Self { key, issuer, id: made["id"].as_str().unwrap().to_owned() }
    }

    fn user(&self, sub: &str) -> Value {
        json!({ "format": "iss_sub", "iss": self.issuer, "sub": sub })
    }

    fn id_token(&self, t: &TestApp, sub: &str, sid: Option<&str>) -> String {
        let now = t.clock_secs();
        let mut claims = json!({ "iss": self.issuer, "aud": "app", "sub": sub, "iat": now, "exp": now + 7200 });
        if let Some(sid) = sid {
            claims["sid"] = json!(sid);
        }
        self.key.sign("JWT", &claims).unwrap()
    }

    /// An event `session-revoked` about somebody or something, said at an instant.
    fn revoked(&self, t: &TestApp, jti: &str, about: &Value, iat: i64) -> String {
        let members = json!({ "event_timestamp": iat, "initiating_entity": "user" });
        let claims = json!({ "iss": self.issuer, "aud": t.app.issuer, "iat": iat, "jti": jti, "sub_id": about,
            "events": { SESSION_REVOKED: members } });
        self.key.sign("secevent+jwt", &claims).unwrap()
    }

    async fn ends(&self, t: &TestApp, jti: &str, about: &Value) {
        let taken = super::receive::push(t, &self.revoked(t, jti, about, t.clock_secs())).await;
        assert_eq!((taken.status, taken.body), (StatusCode::ACCEPTED, Value::Null));
    }
}

fn session(sid: &str) -> Value {
    json!({ "format": "opaque", "id": sid })
}

/// Somebody who is eligible, known to two providers as one `sub`, and a client that exchanges their ID tokens.
struct Scene {
    subject: String,
    idp: Provider,
    other: Provider,
    machine: Created,
}

async fn scene(t: &TestApp) -> Scene {
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let (idp, other) = (Provider::new(t, "idp").await, Provider::new(t, "other").await);
    let subject = linked(t, "ada").await;
    let link = json!({ "namespace": "other", "id": "ada-there" });
    t.created(&format!("/v1/subjects/{subject}/links"), link).await;
    admit(t, &t.sources().await, &subject).await;
    let scopes = ["tokens:issue".to_owned()].into();
    let machine = t.app.create_client(&Actor::system(), "m", "Mo", scopes, [].into(), None).await.unwrap();
    Scene { subject, idp, other, machine }
}

impl Scene {
    fn request(&self, t: &TestApp, id_token: &str) -> reqwest::RequestBuilder {
        let resource = format!("{}/resources/restricted.api", t.app.issuer);
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", &self.machine.id),
            ("client_secret", &self.machine.secret),
            ("subject_token_type", ID_TOKEN),
            ("subject_token", id_token),
            ("resource", &resource),
            ("audience", "edge"),
        ];
        t.http.post(format!("{}/oauth2/token", t.url)).form(&form)
    }

    async fn exchange(&self, t: &TestApp, id_token: &str) -> Answer {
        crate::app::answer(self.request(t, id_token)).await
    }

    async fn got_by(&self, t: &TestApp, id_token: &str) -> String {
        let answer = self.exchange(t, id_token).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }
}

fn jti(token: &str) -> String {
    UnverifiedToken::parse(token).unwrap().unverified_claim("jti").unwrap().to_owned()
}

/// Which of these tokens live, by their order: to introspection and to the gateway alike.
async fn living(t: &TestApp, gateway: &str, tokens: &[&String]) -> Vec<usize> {
    let mut living = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let active = introspect(&t.app, token).await["active"] == json!(true);
        let bearer = format!("Bearer {token}");
        let headers = [("x-gateway-key", gateway), ("authorization", bearer.as_str())];
        let passed = t.check("restricted.api", &headers).await.status;
        assert_eq!(passed, if active { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{number}");
        living.extend(active.then_some(number));
    }
    living
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_ends_the_tokens_got_by_it_and_no_other() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let gateway = t.gateway("edge", false).await;
        let receiver = Party::register(&t, json!({ "audience": "edge" })).await;
        let stream = receiver.stream(&t, json!({ "events_requested": [CREDENTIAL_CHANGE] })).await;
        let of_session = |provider: &Provider, sid: Option<&str>| provider.id_token(&t, "ada-there", sid);
        let (s1, s2) = (of_session(&scene.idp, Some("s1")), of_session(&scene.idp, Some("s2")));
        let first = scene.got_by(&t, &s1).await;
        let again = scene.got_by(&t, &s1).await;
        let second = scene.got_by(&t, &s2).await;
        let elsewhere = scene.got_by(&t, &of_session(&scene.other, Some("s1"))).await;
        let unbound = scene.got_by(&t, &of_session(&scene.idp, None)).await;
        let direct = t.token(&scene.subject, "restricted.api", "edge").await;
        let all = [&first, &again, &second, &elsewhere, &unbound, &direct];
        assert_eq!(living(&t, &gateway, &all).await, [0, 1, 2, 3, 4, 5]);
        let replica = t.replica().await;

        // The session is not of whom it is said to be, and another provider's is another.
        let bo = json!({ "format": "complex", "user": scene.idp.user("bo-there"), "session": session("s1") });
        scene.idp.ends(&t, "e0", &bo).await;
        assert_eq!(living(&t, &gateway, &all).await, [0, 1, 2, 3, 4, 5]);
        scene.other.ends(&t, "e1", &session("s1")).await;
        assert_eq!(living(&t, &gateway, &all).await, [0, 1, 2, 4, 5]);
        assert_eq!(super::uris(&receiver.drain(&t, &stream).await), [CREDENTIAL_CHANGE]);

        let about = json!({ "format": "complex", "user": scene.idp.user("ada-there"), "session": session("s1"),
            "tenant": { "format": "opaque", "id": "t" } });
        scene.idp.ends(&t, "e1", &about).await;
        assert_eq!(living(&t, &gateway, &all).await, [2, 4, 5], "at once");
        t.clock.advance(1);
        t.app.tend_status().await.unwrap();
        for (number, token) in all.iter().enumerate() {
            let bit = u8::from(![2, 4, 5].contains(&number));
            assert_eq!(status_at(&t.app, token).await, bit, "{number}");
        }
        replica.poll_feed().await.unwrap();
        assert_eq!(introspect(&replica, &first).await, json!({ "active": false }));
        assert_eq!(introspect(&replica, &second).await["active"], json!(true));

        let entries = t.audited("tokens.revoked").await;
        let entry = entries.iter().find(|entry| entry["actor"] == format!("identity_provider:{}", scene.idp.id));
        let entry = entry.unwrap();
        assert_eq!((entries.len(), &entry["target"]), (2, &json!(scene.subject)));
        let detail = match &entry["detail"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            detail => detail.clone(),
        };
        let mut ended = vec![jti(&first), jti(&again)];
        ended.sort_unstable();
        assert_eq!(detail, json!({ "cause": "session_revoked", "tokens": ended }));
        let told = receiver.drain(&t, &stream).await;
        assert_eq!(super::uris(&told), [CREDENTIAL_CHANGE, CREDENTIAL_CHANGE]);
        assert!(told.iter().all(|claims| claims["aud"] == AUD && event(claims).1["change_type"] == "revoke"));

        // The same again, and said anew: nothing more becomes of it.
        for jti in ["e1", "e2"] {
            scene.idp.ends(&t, jti, &about).await;
        }
        assert_eq!(t.audited("tokens.revoked").await.len(), 2);
        let said = t.audited("sessions.revoked").await;
        assert_eq!(said.len(), 4, "each event once, whatever it ended: {said:?}");
        assert_eq!(receiver.drain(&t, &stream).await, Vec::<Value>::new());
        assert_eq!(living(&t, &gateway, &all).await, [2, 4, 5]);
        // Nor does an ID token of it bring another.
        let refused = scene.exchange(&t, &s1).await;
        assert_eq!((refused.status, &refused.body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
        scene.got_by(&t, &s2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_somebody_are_over_and_none_that_begins_later() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let gateway = t.gateway("edge", false).await;
        let before = scene.idp.id_token(&t, "ada-there", Some("s1"));
        let first = scene.got_by(&t, &before).await;
        let second = scene.got_by(&t, &scene.idp.id_token(&t, "ada-there", Some("s2"))).await;
        let elsewhere = scene.got_by(&t, &scene.other.id_token(&t, "ada-there", Some("s1"))).await;
        let unbound = scene.got_by(&t, &scene.idp.id_token(&t, "ada-there", None)).await;
        let said_at = t.clock_secs();
        let all = [&first, &second, &elsewhere, &unbound];
        // What cannot be told which sessions it means means none: a device, somebody of another issuer, no name at all.
        let device = json!({ "format": "opaque", "id": "d" });
        for (number, about) in [
            json!({ "format": "complex", "user": scene.idp.user("ada-there"), "device": device }),
            json!({ "format": "complex", "user": scene.other.user("ada-there") }),
            json!({ "format": "complex", "user": scene.other.user("ada-there"), "session": session("s1") }),
            json!({ "format": "complex", "session": scene.idp.user("s1") }),
            json!({ "format": "email", "email": "ada@example.org" }),
            scene.idp.user("bo-there"),
            scene.other.user("ada-there"),
            json!("s1"),
        ]
        .iter()
        .enumerate()
        {
            scene.idp.ends(&t, &format!("n{number}"), about).await;
            assert_eq!(living(&t, &gateway, &all).await, [0, 1, 2, 3], "{about}");
        }
        t.clock.advance(10);
        let later = scene.idp.id_token(&t, "ada-there", Some("s3"));
        let third = scene.got_by(&t, &later).await;
        let event = scene.idp.revoked(&t, "e1", &scene.idp.user("ada-there"), said_at);
        let all = [&first, &second, &elsewhere, &unbound, &third];
        for _ in 0..2 {
            assert_eq!(super::receive::push(&t, &event).await.status, StatusCode::ACCEPTED);
            assert_eq!(living(&t, &gateway, &all).await, [2, 3, 4], "what began since lives");
        }
        assert_eq!(t.audited("tokens.revoked").await.len(), 1);
        assert_eq!(scene.exchange(&t, &before).await.status, StatusCode::BAD_REQUEST, "an ID token of before");
        scene.got_by(&t, &later).await;
        let tenant = json!({ "format": "complex", "user": scene.idp.user("ada-there"), "tenant": device });
        scene.idp.ends(&t, "e2", &tenant).await;
        assert_eq!(living(&t, &gateway, &all).await, [2, 3]);
        assert_eq!(scene.exchange(&t, &later).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_escapes_that_is_made_while_its_session_ends() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let id_token = scene.idp.id_token(&t, "ada-there", Some("s1"));
        let set = scene.idp.revoked(&t, "e1", &session("s1"), t.clock_secs());
        let push = || {
            let request =
                t.http.post(format!("{}/ssf/receive", t.url)).header("content-type", "application/secevent+jwt");
            tokio::spawn(crate::app::answer(request.body(set.clone())))
        };
        let ask = || tokio::spawn(crate::app::answer(scene.request(&t, &id_token)));
        let mut asked: Vec<_> = (0..20).map(|_| ask()).collect();
        // Twice at one time, as a provider that is not answered soon enough may.
        let pushed = [push(), push()];
        asked.extend((0..20).map(|_| ask()));
        for push in pushed {
            assert_eq!(push.await.unwrap().status, StatusCode::ACCEPTED);
        }
        let mut issued = Vec::new();
        for ask in asked {
            issued.push(ask.await.unwrap());
        }
        let made: Vec<&Answer> = issued.iter().filter(|answer| answer.status == StatusCode::OK).collect();
        for answer in &made {
            let token = answer.body["access_token"].as_str().unwrap();
            assert_eq!(introspect(&t.app, token).await, json!({ "active": false }));
        }
        let ended: usize = t
            .audited("tokens.revoked")
            .await
            .iter()
            .map(|entry| match &entry["detail"] {
                Value::String(text) => serde_json::from_str::<Value>(text).unwrap(),
                detail => detail.clone(),
            })
            .map(|detail| detail["tokens"].as_array().unwrap().len())
            .sum();
        assert_eq!(ended, made.len(), "each once");
        assert_eq!(scene.exchange(&t, &id_token).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_many_tokens_ends_page_by_page_and_each_of_them_once() {
    on_both(async |t: TestApp| {
        let scene = scene(&t).await;
        let one = scene.got_by(&t, &scene.idp.id_token(&t, "ada-there", Some("s1"))).await;
        let columns = "subject, audience, resource, decision, client, issued_at_ms, expires_at_ms, status_list, \
             status_idx, session, session_of, session_at_ms";
        let more = format!(
            "WITH RECURSIVE n (i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 11099)
             INSERT INTO tokens (jti, {columns})
             SELECT substr(jti, 1, 16) || n.i, {columns} FROM tokens CROSS JOIN n WHERE jti = '{}'",
            jti(&one)
        );
        execute(&t.database_url, &more).await.unwrap();
        let set = scene.idp.revoked(&t, "e1", &session("s1"), t.clock_secs());
        for _ in 0..2 {
            assert_eq!(super::receive::push(&t, &set).await.status, StatusCode::ACCEPTED);
            let left = "SELECT jti, subject FROM tokens WHERE revoked_at_ms IS NULL";
            assert_eq!(crate::support::pairs(&t.database_url, left).await, []);
            let told = "SELECT key, topic FROM outbox WHERE topic = 'token.revoked'";
            assert_eq!(crate::support::pairs(&t.database_url, told).await.len(), 1101);
            // 500, 500 and 101.
            assert_eq!(t.audited("tokens.revoked").await.len(), 3);
        }
    })
    .await;
}
