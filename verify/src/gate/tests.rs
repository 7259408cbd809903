use super::*;
use crate::testing::attacks::{self, Target, Wanted};
use crate::testing::{Signer, b64};
use axum::body::Body;
use axum::http::{Request, StatusCode as Code, header};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::{Map, json};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use tower_service::Service as _;

const NOW: i64 = 1_800_000_000;
const AUDIENCE: &str = "edge";
const RESOURCE: &str = "restricted.api";

/// What the issuer of a test gives, and how often it was asked.
#[derive(Default)]
struct Given {
    down: bool,
    keys: Vec<(&'static str, Value)>,
    cache_control: &'static str,
    /// What it answers for `/status-lists/…`.
    lists: Map<String, Value>,
    asked_for_keys: usize,
    asked_for_lists: usize,
}

struct Issuer {
    url: String,
    signer: Signer,
    given: Arc<Mutex<Given>>,
    now: Arc<AtomicI64>,
    reported: Arc<Mutex<Vec<Admission>>>,
}

/// A list of two bits for each position.
fn packed(statuses: &[u8]) -> String {
    let bytes: Vec<u8> =
        statuses.chunks(4).map(|four| four.iter().rev().fold(0, |byte, status| (byte << 2) | status)).collect();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&bytes).unwrap();
    b64(encoder.finish().unwrap())
}

impl Issuer {
    async fn start() -> Self {
        let given = Arc::new(Mutex::new(Given { cache_control: "public, max-age=300", ..Given::default() }));
        let (for_keys, for_lists) = (Arc::clone(&given), Arc::clone(&given));
        let router = Router::new()
            .route(
                "/.well-known/jwks.json",
                get(async move || {
                    let mut given = for_keys.lock().unwrap();
                    given.asked_for_keys += 1;
                    if given.down {
                        return Err(Code::INTERNAL_SERVER_ERROR);
                    }
                    let keys: Vec<Value> = given
                        .keys
                        .iter()
                        .map(|(kid, jwk)| {
                            let mut jwk = jwk.clone();
                            jwk["kid"] = json!(kid);
                            jwk
                        })
                        .collect();
                    Ok(([(header::CACHE_CONTROL, given.cache_control)], json!({"keys": keys}).to_string()))
                }),
            )
            .route(
                "/status-lists/{name}",
                get(async move |axum::extract::Path(name): axum::extract::Path<String>| {
                    let mut given = for_lists.lock().unwrap();
                    given.asked_for_lists += 1;
                    if given.down {
                        return Err(Code::INTERNAL_SERVER_ERROR);
                    }
                    given.lists.get(&name).and_then(Value::as_str).map(str::to_owned).ok_or(Code::NOT_FOUND)
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let signer = Signer::es256();
        given.lock().unwrap().keys = vec![("key-1", signer.jwk())];
        let issuer = Self { url, signer, given, now: Arc::new(AtomicI64::new(NOW)), reported: Arc::default() };
        // Positions 0 to 3: valid, revoked, suspended, and a value that means nothing.
        issuer.list("1", &[0, 1, 2, 3], json!({}));
        issuer
    }

    fn list(&self, name: &str, statuses: &[u8], change: Value) {
        let mut claims = json!({"sub": format!("{}/status-lists/{name}", self.url), "iat": self.now(), "exp": self.now() + 900, "ttl": 30,
            "status_list": {"bits": 2, "lst": packed(statuses)}});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let token = self.signer.sign(&json!({"alg": "ES256", "kid": "key-1", "typ": "statuslist+jwt"}), &claims);
        self.given.lock().unwrap().lists.insert(name.to_owned(), json!(token));
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn gate_with(&self, change: impl FnOnce(&mut Settings)) -> Arc<Gate> {
        let mut settings = Settings::new(&self.url, AUDIENCE, RESOURCE);
        settings.reach = Reach::Loopback;
        change(&mut settings);
        let (now, reported) = (Arc::clone(&self.now), Arc::clone(&self.reported));
        let reporter = Arc::new(move |rows: Vec<Admission>| reported.lock().unwrap().extend(rows));
        Arc::new(Gate::with_clock(settings, reporter, Arc::new(move || now.load(Ordering::SeqCst))).unwrap())
    }

    fn gate(&self) -> Arc<Gate> {
        self.gate_with(|_| {})
    }

    fn claims(&self, idx: u64) -> Value {
        json!({"iss": self.url, "aud": AUDIENCE, "sub": "pw_1", "client_id": "cl_1", "jti": "jti_1", "iat": NOW - 10, "exp": NOW + 900,
            "status": {"status_list": {"idx": idx, "uri": format!("{}/status-lists/1", self.url)}},
            "eligibility": {"resource": RESOURCE, "decision": "dec_1", "valid_until": NOW + 5000, "live": []}})
    }

    fn sign(&self, claims: &Value) -> String {
        self.signer.sign(&json!({"alg": "ES256", "kid": "key-1", "typ": "eligibility+jwt"}), claims)
    }

    fn token(&self, idx: u64) -> String {
        self.sign(&self.claims(idx))
    }

    /// A token with members of its claims replaced, `a/b` being one within another.
    fn changed(&self, pointer: &str, value: Value) -> String {
        let mut claims = self.claims(0);
        let (inside, name) = pointer.rsplit_once('/').unwrap();
        let object = if inside.is_empty() { &mut claims } else { claims.pointer_mut(inside).unwrap() };
        let members = object.as_object_mut().unwrap();
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.to_owned(), value),
        };
        self.sign(&claims)
    }
}

fn invalid(code: &'static str) -> Refusal {
    Refusal::Invalid(code)
}

fn is_unknown(found: &Result<Eligible, Refusal>) -> bool {
    matches!(found, Err(Refusal::Unknown(_)))
}

/// Status, challenge and reason of a guarded service's answer, and what it said itself.
async fn ask(gate: &Arc<Gate>, headers: &[&str]) -> (u16, String, String, String) {
    let hello =
        get(async |Extension(eligible): Extension<Eligible>| format!("{} {}", eligible.subject, eligible.decision));
    let mut router = Router::new().route("/", hello).layer(GateLayer::new(Arc::clone(gate)));
    let mut request = Request::get("/");
    for value in headers {
        request = request.header(header::AUTHORIZATION, *value);
    }
    let response = router.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (status, challenge, reason) =
        (response.status().as_u16(), text("www-authenticate"), text("x-eligibility-reason"));
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, challenge, reason, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_layer_lets_the_eligible_through_and_tells_the_others_what_they_may_know() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    let bearer = |token: String| format!("Bearer {token}");
    let answer = |status: u16, challenge: &str, reason: &str, body: &str| {
        (status, challenge.to_owned(), reason.to_owned(), body.to_owned())
    };
    assert_eq!(ask(&gate, &[&bearer(issuer.token(0))]).await, answer(200, "", "", "pw_1 dec_1"));
    assert_eq!(ask(&gate, &[&format!("bEARER {}", issuer.token(0))]).await.0, 200);
    let (bare, bad) = ("Bearer", "Bearer error=\"invalid_token\"");
    assert_eq!(ask(&gate, &[]).await, answer(401, bare, "", ""));
    assert_eq!(ask(&gate, &["Basic YTpi"]).await, answer(401, bare, "", ""));
    assert_eq!(ask(&gate, &["Bearer"]).await, answer(401, bare, "", ""));
    let twice = bearer(issuer.token(0));
    assert_eq!(ask(&gate, &[&twice, &twice]).await, answer(401, bare, "", ""));
    assert_eq!(ask(&gate, &["Bearer garbage"]).await, answer(401, bad, "", ""));
    assert_eq!(
        ask(&gate, &[&bearer(issuer.changed("/eligibility/resource", json!("restricted.other")))]).await,
        answer(401, bad, "", "")
    );
    assert_eq!(ask(&gate, &[&bearer(issuer.token(1))]).await, answer(403, "", "token.revoked", ""));
    assert_eq!(ask(&gate, &[&bearer(issuer.token(2))]).await, answer(403, "", "token.suspended", ""));
    assert_eq!(
        ask(&gate, &[&bearer(issuer.changed("/eligibility/live", json!(["country"])))]).await,
        answer(403, "", "live.unjudged", "")
    );
    let elsewhere = json!({"idx": 0, "uri": format!("{}/status-lists/none", issuer.url)});
    assert_eq!(ask(&gate, &[&bearer(issuer.changed("/status/status_list", elsewhere))]).await.0, 503);
}

#[tokio::test]
async fn what_a_token_says_of_its_decision_is_read_strictly() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    for (pointer, value, code) in [
        ("/eligibility", json!(null), "bad_claim"),
        ("/eligibility", json!([]), "bad_claim"),
        ("/eligibility/resource", json!(null), "wrong_resource"),
        ("/eligibility/resource", json!([RESOURCE]), "wrong_resource"),
        ("/eligibility/resource", json!("restricted.*"), "wrong_resource"),
        ("/eligibility/resource", json!("RESTRICTED.API"), "wrong_resource"),
        ("/eligibility/decision", json!(null), "bad_claim"),
        ("/eligibility/valid_until", json!(null), "bad_claim"),
        ("/eligibility/valid_until", json!(1.5), "bad_claim"),
        ("/eligibility/valid_until", json!(NOW), "expired"),
        ("/eligibility/live", json!("country"), "bad_claim"),
        ("/eligibility/live", json!([1]), "bad_claim"),
        ("/eligibility/acting_for", json!(1), "bad_claim"),
        ("/status", json!(null), "no_status"),
        ("/status", json!({}), "bad_claim"),
        ("/status/status_list", json!({"idx": -1, "uri": "x"}), "bad_claim"),
        (
            "/status/status_list",
            json!({"idx": 0, "uri": "https://attacker.example/status-lists/1"}),
            "status_elsewhere",
        ),
        (
            "/status/status_list",
            json!({"idx": 0, "uri": format!("{}.attacker.example/1", issuer.url)}),
            "status_elsewhere",
        ),
        ("/status/status_list", json!({"idx": 4, "uri": format!("{}/status-lists/1", issuer.url)}), "status_index"),
        (
            "/status/status_list",
            json!({"idx": u64::MAX, "uri": format!("{}/status-lists/1", issuer.url)}),
            "status_index",
        ),
        ("/status/status_list", json!({"idx": 3, "uri": format!("{}/status-lists/1", issuer.url)}), "status_value"),
    ] {
        let found = gate.judge(&issuer.changed(pointer, value.clone())).await;
        assert_eq!(found.unwrap_err(), invalid(code), "{pointer} {value}");
    }
    let found = gate.judge(&issuer.changed("/eligibility/acting_for", json!("org_1"))).await.unwrap();
    assert_eq!(
        (found.acting_for.as_deref(), found.valid_until, found.expires_at, found.stale),
        (Some("org_1"), NOW + 5000, NOW + 900, false)
    );
    // What the settings admit, and nothing else.
    let open =
        issuer.gate_with(|settings| (settings.admit_without_status, settings.admit_unjudged_live) = (true, true));
    let live = open.judge(&issuer.changed("/eligibility/live", json!(["country"]))).await.unwrap();
    assert_eq!(live.live, ["country"]);
    assert!(open.judge(&issuer.changed("/status", json!(null))).await.is_ok());
    assert_eq!(open.judge(&issuer.token(1)).await.unwrap_err(), Refusal::Forbidden("token.revoked"));
    // A test deployment's tokens are for gates of a test, and the other way round.
    let test = issuer.gate_with(|settings| settings.test_deployment = true);
    assert_eq!(test.judge(&issuer.token(0)).await.unwrap_err(), invalid("wrong_type"));
    let made_up =
        issuer.signer.sign(&json!({"alg": "ES256", "kid": "key-1", "typ": "test-eligibility+jwt"}), &issuer.claims(0));
    assert!(test.judge(&made_up).await.is_ok());
    assert_eq!(gate.judge(&made_up).await.unwrap_err(), invalid("wrong_type"));
}

#[tokio::test]
async fn the_gate_holds_to_the_table_of_attacks() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    let target = Target {
        signer: &issuer.signer,
        kid: "key-1",
        typ: "eligibility+jwt",
        claims: issuer.claims(0).as_object().unwrap().clone(),
        required: &["sub", "jti", "client_id"],
        lists: false,
        others: false,
        expiry_leeway: 0,
        at: NOW,
        max_length: 16 * 1024,
    };
    let (mut good, mut bad) = (0, 0);
    for case in attacks::table(&target) {
        let code = match gate.judge(&case.token).await {
            Ok(_) => None,
            Err(Refusal::Invalid(code)) => Some(code),
            Err(other) => panic!("{}: {other:?}", case.name),
        };
        assert!(case.holds(code), "{}: {code:?}", case.name);
        if case.wanted == Wanted::Accepted { good += 1 } else { bad += 1 }
    }
    assert!(good >= 14 && bad > 1200, "{good}, {bad}");
    // Many of them name keys that nobody has: the issuer was asked once for its set and once more for all of these.
    assert_eq!(issuer.given.lock().unwrap().asked_for_keys, 2);
}

#[tokio::test]
async fn an_unknown_key_asks_once_a_minute_and_all_wait_for_the_one_who_asks() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    assert!(gate.judge(&issuer.token(0)).await.is_ok());
    let asked = || issuer.given.lock().unwrap().asked_for_keys;
    assert_eq!(asked(), 1);
    // A new key signs before we know of it.
    let new = Signer::ed25519();
    let token = new.sign(&json!({"alg": "EdDSA", "kid": "key-2", "typ": "eligibility+jwt"}), &issuer.claims(0));
    issuer.given.lock().unwrap().keys.push(("key-2", new.jwk()));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (gate, token) = (Arc::clone(&gate), token.clone());
        waiting.spawn(async move { gate.judge(&token).await.is_ok() });
    }
    assert_eq!(waiting.join_all().await, [true; 20]);
    assert_eq!(asked(), 2);
    let nobodys =
        issuer.signer.sign(&json!({"alg": "ES256", "kid": "key-9", "typ": "eligibility+jwt"}), &issuer.claims(0));
    for seconds in [0, 1, 58] {
        issuer.advance(seconds);
        assert_eq!(gate.judge(&nobodys).await.unwrap_err(), invalid("unknown_key"));
        assert_eq!(asked(), 2, "{seconds}");
    }
    issuer.advance(1);
    assert_eq!(gate.judge(&nobodys).await.unwrap_err(), invalid("unknown_key"));
    assert_eq!(asked(), 3);
    // A key that its issuer took away opens nothing once the set is fetched anew.
    issuer.given.lock().unwrap().keys.retain(|(kid, _)| *kid != "key-1");
    issuer.advance(300);
    gate.tick().await;
    assert_eq!(gate.judge(&issuer.token(0)).await.unwrap_err(), invalid("unknown_key"));
}

#[tokio::test]
async fn keys_are_fetched_when_due_kept_over_an_outage_and_not_beyond_its_bound() {
    for (cache_control, due) in
        [("public, max-age=600", 600), ("max-age=1", 300), ("no-store", 300), ("max-age=9999999", 86_400)]
    {
        let issuer = Issuer::start().await;
        issuer.given.lock().unwrap().cache_control = cache_control;
        // Lists aside: only keys are looked at here, and tokens outlast them.
        let gate = issuer.gate_with(|settings| settings.admit_without_status = true);
        let mut claims = issuer.claims(0);
        claims.as_object_mut().unwrap().remove("status");
        (claims["exp"], claims["eligibility"]["valid_until"]) = (json!(NOW + 200_000), json!(NOW + 200_000));
        let token = issuer.sign(&claims);
        assert!(!gate.judge(&token).await.unwrap().stale);
        issuer.given.lock().unwrap().down = true;
        let asked = || issuer.given.lock().unwrap().asked_for_keys;
        issuer.advance(due - 1);
        gate.tick().await;
        assert!(!gate.judge(&token).await.unwrap().stale);
        assert_eq!(asked(), 1, "{cache_control}");
        issuer.advance(1);
        gate.tick().await;
        assert_eq!(asked(), 2, "{cache_control}");
        assert!(gate.judge(&token).await.unwrap().stale, "the last good set stays");
        // Not asked again at every turn.
        gate.tick().await;
        assert_eq!(asked(), 2, "{cache_control}");
        issuer.advance(59);
        assert!(gate.judge(&token).await.unwrap().stale);
        issuer.advance(1);
        assert!(is_unknown(&gate.judge(&token).await), "60 s of outage are over");
        issuer.given.lock().unwrap().down = false;
        issuer.advance(5);
        assert!(!gate.judge(&token).await.unwrap().stale);
    }
}

#[tokio::test]
async fn a_withdrawal_is_obeyed_within_the_lists_ttl() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    let token = issuer.token(0);
    assert!(gate.judge(&token).await.is_ok());
    issuer.advance(1);
    issuer.list("1", &[1, 1, 2, 3], json!({}));
    issuer.advance(28);
    gate.tick().await;
    assert!(gate.judge(&token).await.is_ok(), "29 of 30 s");
    assert_eq!(issuer.given.lock().unwrap().asked_for_lists, 1);
    issuer.advance(1);
    gate.tick().await;
    assert_eq!(gate.judge(&token).await.unwrap_err(), Refusal::Forbidden("token.revoked"));
    assert_eq!(issuer.given.lock().unwrap().asked_for_lists, 2);
    // An older list, however well signed, brings nobody back.
    issuer.list("1", &[0, 1, 2, 3], json!({"iat": NOW}));
    issuer.advance(30);
    gate.tick().await;
    assert_eq!(gate.judge(&token).await.unwrap_err(), Refusal::Forbidden("token.revoked"));
    // A newer one may: it was a suspension that ended.
    issuer.list("1", &[0, 1, 2, 3], json!({}));
    issuer.advance(5);
    gate.tick().await;
    assert!(gate.judge(&token).await.is_ok());
}

#[tokio::test]
async fn a_list_outlives_its_ttl_only_for_the_outage_that_was_allowed_and_never_its_end() {
    for (longest, ttl, exp, until) in [(60, 30, 900, 90), (0, 30, 900, 30), (600, 30, 100, 100), (600, 3000, 100, 100)]
    {
        let issuer = Issuer::start().await;
        issuer.list("1", &[0], json!({"ttl": ttl, "exp": NOW + exp}));
        let gate = issuer.gate_with(|settings| settings.longest_outage_secs = longest);
        let token = issuer.token(0);
        assert!(gate.judge(&token).await.is_ok());
        issuer.given.lock().unwrap().down = true;
        issuer.advance(until - 1);
        gate.tick().await;
        assert!(gate.judge(&token).await.is_ok(), "{longest} {ttl} {exp}");
        issuer.advance(1);
        gate.tick().await;
        assert!(is_unknown(&gate.judge(&token).await), "{longest} {ttl} {exp}");
    }
}

#[tokio::test]
async fn lists_of_others_bombs_and_lists_under_unknown_keys_admit_nobody() {
    let issuer = Issuer::start().await;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 8 * 1024 * 1024]).unwrap();
    let bomb = b64(encoder.finish().unwrap());
    let stranger = Signer::es256();
    let uri = format!("{}/status-lists/1", issuer.url);
    let theirs = json!({"sub": uri, "iat": NOW, "exp": NOW + 900, "status_list": {"bits": 2, "lst": packed(&[0])}});
    let theirs = stranger.sign(&json!({"alg": "ES256", "kid": "key-1", "typ": "statuslist+jwt"}), &theirs);
    let spoils: [&dyn Fn(); 7] = [
        &|| issuer.list("1", &[0], json!({"sub": format!("{}/status-lists/2", issuer.url)})),
        &|| issuer.list("1", &[0], json!({"exp": NOW})),
        &|| issuer.list("1", &[0], json!({"status_list": {"bits": 2, "lst": bomb}})),
        &|| issuer.list("1", &[0], json!({"status_list": {"bits": 2, "lst": "AAAA"}})),
        &|| drop(issuer.given.lock().unwrap().lists.insert("1".into(), json!(theirs))),
        &|| drop(issuer.given.lock().unwrap().lists.insert("1".into(), json!(issuer.token(0)))),
        &|| drop(issuer.given.lock().unwrap().lists.insert("1".into(), json!(""))),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        spoil();
        assert!(is_unknown(&issuer.gate().judge(&issuer.token(0)).await), "{number}");
    }
    // A list under a new key: the set is asked for, and the next attempt succeeds.
    let new = Signer::es256();
    let claims =
        json!({"sub": uri, "iat": NOW, "exp": NOW + 900, "ttl": 30, "status_list": {"bits": 2, "lst": packed(&[0])}});
    let list = new.sign(&json!({"alg": "ES256", "kid": "key-2", "typ": "statuslist+jwt"}), &claims);
    issuer.given.lock().unwrap().lists.insert("1".into(), json!(list));
    let gate = issuer.gate();
    assert!(is_unknown(&gate.judge(&issuer.token(0)).await));
    issuer.given.lock().unwrap().keys.push(("key-2", new.jwk()));
    gate.tick().await;
    issuer.advance(2);
    assert!(gate.judge(&issuer.token(0)).await.is_ok());
}

#[tokio::test]
async fn without_the_issuer_nobody_is_admitted() {
    let issuer = Issuer::start().await;
    issuer.given.lock().unwrap().down = true;
    let gate = issuer.gate();
    assert!(is_unknown(&gate.judge(&issuer.token(0)).await));
    // From where it may not be fetched nothing is.
    let public = issuer.gate_with(|settings| settings.reach = Reach::Public);
    assert!(is_unknown(&public.judge(&issuer.token(0)).await));
    assert!(issuer.given.lock().unwrap().asked_for_keys < 2);
}

#[tokio::test]
async fn admissions_are_counted_by_hour_and_refusals_are_not() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    // 1,800,000,000 is a whole hour.
    for seconds in [0, 1, 2] {
        issuer.advance(seconds);
        assert!(gate.judge(&issuer.token(0)).await.is_ok());
        assert!(gate.judge(&issuer.token(1)).await.is_err());
    }
    gate.tick().await;
    let rows = std::mem::take(&mut *issuer.reported.lock().unwrap());
    let row = Admission {
        subject: "pw_1".into(),
        acting_for: None,
        resource: RESOURCE.into(),
        decision: "dec_1".into(),
        end_user: None,
        hour: NOW,
        count: 3,
        first_at: NOW,
        last_at: NOW + 3,
    };
    assert_eq!(rows, [row]);
    assert!(gate.judge(&issuer.token(0)).await.is_ok());
    assert!(gate.judge(&issuer.changed("/eligibility/decision", json!("dec_2"))).await.is_ok());
    gate.tick().await;
    assert!(issuer.reported.lock().unwrap().is_empty(), "ten seconds are not over");
    gate.report_now();
    let mut counts: Vec<(String, u64)> =
        issuer.reported.lock().unwrap().drain(..).map(|row| (row.decision, row.count)).collect();
    counts.sort();
    assert_eq!(counts, [("dec_1".to_owned(), 1), ("dec_2".to_owned(), 1)]);
    gate.report_now();
    assert!(issuer.reported.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_orders_of_the_oldest_list_are_told_and_none_where_one_does_not_say() {
    #[derive(Default)]
    struct Seen(Mutex<Option<String>>);
    impl Reporter for Seen {
        fn report(&self, _: Vec<Admission>) {}
        fn seen(&self, orders: &str) {
            *self.0.lock().unwrap() = Some(orders.to_owned());
        }
    }
    let issuer = Issuer::start().await;
    let seen = Arc::new(Seen::default());
    let settings = Settings { reach: Reach::Loopback, ..Settings::new(&issuer.url, AUDIENCE, RESOURCE) };
    let now = Arc::clone(&issuer.now);
    let gate = Gate::with_clock(settings, seen.clone(), Arc::new(move || now.load(Ordering::SeqCst))).unwrap();
    let told = async || {
        *seen.0.lock().unwrap() = None;
        gate.tick().await;
        seen.0.lock().unwrap().clone()
    };
    issuer.list("1", &[0], json!({ "orders": "4.4.1800000000" }));
    gate.judge(&issuer.token(0)).await.unwrap();
    assert_eq!(told().await.as_deref(), Some("4.4.1800000000"));
    issuer.list("2", &[0], json!({ "orders": "3.3.1799999990" }));
    let uri = json!(format!("{}/status-lists/2", issuer.url));
    gate.judge(&issuer.changed("/status/status_list/uri", uri)).await.unwrap();
    assert_eq!(told().await.as_deref(), Some("3.3.1799999990"));
    issuer.advance(31);
    issuer.list("2", &[0], json!({}));
    assert_eq!(told().await, None, "nothing is known of the second");
    issuer.advance(31);
    issuer.list("2", &[0], json!({ "orders": "5.5.1800000050" }));
    assert_eq!(told().await.as_deref(), Some("4.4.1800000000"));
}

/// Takes uploads, or answers with another status.
async fn taker(answer: Arc<Mutex<u16>>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let uploads = Arc::clone(&taken);
    let take = axum::routing::post(async move |headers: axum::http::HeaderMap, body: String| {
        assert_eq!(headers["x-gateway-key"], "gw_1.secret");
        let code = *answer.lock().unwrap();
        uploads.lock().unwrap().push(serde_json::from_str::<Value>(&body).unwrap());
        let items = json!({ "items": [{ "result": "counted" }, { "result": "refused", "code": "too_old" }] });
        (Code::from_u16(code).unwrap(), items.to_string())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/admissions", take);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, taken)
}

#[tokio::test]
async fn an_upload_is_repeated_under_its_id_until_it_is_answered() {
    let answer = Arc::new(Mutex::new(503));
    let (url, taken) = taker(Arc::clone(&answer)).await;
    let settings = Settings { reach: Reach::Loopback, ..Settings::new(&url, AUDIENCE, RESOURCE) };
    let uploader = Uploader::new(&settings, "gw_1.secret", "gate/1").unwrap();
    let row = |n: i64| Admission {
        subject: "pw_1".into(),
        acting_for: None,
        resource: RESOURCE.into(),
        decision: format!("dec_{n}"),
        end_user: None,
        hour: NOW,
        count: 1,
        first_at: NOW,
        last_at: NOW,
    };
    uploader.report((0..501).map(row).collect());
    for status in [503, 500, 429, 401] {
        *answer.lock().unwrap() = status;
        assert!(uploader.send().await.is_err(), "{status}");
    }
    *answer.lock().unwrap() = 200;
    uploader.seen("4.4.1");
    assert_eq!(uploader.send().await, Ok(2));
    let uploads = std::mem::take(&mut *taken.lock().unwrap());
    let told: Vec<_> =
        uploads.iter().map(|u| (u["upload"].clone(), u["admissions"].as_array().unwrap().len())).collect();
    assert!(told[..5].iter().all(|upload| *upload == told[0]) && told[0].1 == 500);
    assert_eq!((told.len(), told[5].1), (6, 1));
    assert_ne!(told[5].0, told[0].0);
    assert_eq!((&uploads[5]["seen"], &uploads[5]["agent"]), (&json!("4.4.1"), &json!("gate/1")));
    assert_eq!((uploader.refused(), uploader.lost()), (2, 0));
    assert_eq!(uploader.send().await, Ok(0), "nothing waits");
    // What cannot be used is not in the way of the rest.
    uploader.report(vec![row(1)]);
    *answer.lock().unwrap() = 422;
    assert_eq!(uploader.send().await, Ok(0));
    assert_eq!(uploader.lost(), 1);
    uploader.report((0..100_001).map(row).collect());
    assert_eq!(uploader.lost(), 2, "there is room for 100,000");
}

/// A token about an end user, for whom somebody acts.
fn acted_for(issuer: &Issuer, idx: u64) -> Value {
    let mut claims = issuer.claims(idx);
    claims["sub"] = json!("pw_end_user");
    claims["act"] = json!({"sub": "pw_agent", "act": {"sub": "cl_platform"}});
    claims["eligibility"]["end_user"] = json!({"customer": "pw_customer", "decision": "sealed"});
    claims
}

#[tokio::test]
async fn a_token_that_still_needs_an_end_user_opens_nothing_and_one_of_an_end_user_names_both() {
    let issuer = Issuer::start().await;
    let gate = issuer.gate();
    // Whatever word stands there: one that this version does not know asks for something too.
    for mode in ["required", "vouched", "", "another"] {
        let own = issuer.changed("/eligibility/end_user", json!(mode));
        assert_eq!(gate.judge(&own).await.err(), Some(Refusal::Forbidden("end_user.missing")), "{mode}");
    }
    let bearer = |token: String| format!("Bearer {token}");
    let own = bearer(issuer.changed("/eligibility/end_user", json!("required")));
    assert_eq!(ask(&gate, &[&own]).await, (403, String::new(), "end_user.missing".to_owned(), String::new()));
    // One that was revoked is told as that, and one that nobody could revoke is not taken.
    let mut revoked = issuer.claims(1);
    revoked["eligibility"]["end_user"] = json!("required");
    assert_eq!(gate.judge(&issuer.sign(&revoked)).await.err(), Some(Refusal::Forbidden("token.revoked")));
    let eligible = gate.judge(&issuer.sign(&acted_for(&issuer, 0))).await.unwrap();
    let wanted = ActedFor { actor: "pw_agent".into(), customer: "pw_customer".into(), decision: "sealed".into() };
    assert_eq!((eligible.subject.as_str(), eligible.acted_for), ("pw_end_user", Some(wanted)));
    assert_eq!(gate.judge(&issuer.sign(&acted_for(&issuer, 1))).await.err(), Some(Refusal::Forbidden("token.revoked")));
    // A client that acts for its own subject, as in any exchange, is no customer.
    let plain = gate.judge(&issuer.changed("/act", json!({"sub": "cl_1"}))).await.unwrap();
    assert_eq!((plain.subject.as_str(), plain.acted_for), ("pw_1", None));
    for (pointer, value) in [
        ("/act", Value::Null),
        ("/act", json!("pw_agent")),
        ("/act", json!({})),
        ("/act", json!({"sub": 7})),
        ("/act", json!({"act": {"sub": "pw_agent"}})),
        ("/eligibility/end_user", json!(null)),
        ("/eligibility/end_user", json!(true)),
        ("/eligibility/end_user", json!(["required"])),
        ("/eligibility/end_user", json!({})),
        ("/eligibility/end_user", json!({"customer": "pw_customer"})),
        ("/eligibility/end_user", json!({"decision": "sealed"})),
        ("/eligibility/end_user", json!({"customer": 1, "decision": "sealed"})),
    ] {
        let mut claims = acted_for(&issuer, 0);
        *claims.pointer_mut(pointer).unwrap() = value.clone();
        assert_eq!(gate.judge(&issuer.sign(&claims)).await.err(), Some(invalid("bad_claim")), "{pointer} {value}");
    }
    // Who acts is let in, and their end user with them.
    gate.report_now();
    let rows = std::mem::take(&mut *issuer.reported.lock().unwrap());
    let mut named: Vec<(String, Option<EndUser>)> = rows.into_iter().map(|row| (row.subject, row.end_user)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let end_user = EndUser { subject: "pw_end_user".into(), customer: "pw_customer".into(), decision: "sealed".into() };
    assert_eq!(named, [("pw_1".to_owned(), None), ("pw_agent".to_owned(), Some(end_user))]);
}
