//! What somebody might try: another organisation's end users, forged tokens, headers that say two things.

use super::{END_USER, GRANT, JWT, PASSED, Trade, claims, gist, refused, resource};
use crate::app::{TestApp, answer, introspect, on_both};
use crate::support::Database;
use base64::Engine as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const B64: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One person whom both organisations serve, each under a handle of its own, eligible and vouched for by both.
async fn shared(t: &TestApp, trade: &Trade) -> String {
    assert_eq!(trade.acme.registers(t, "a-1").await.status, StatusCode::CREATED);
    let subject = trade.acme.behind(t, "a-1").await;
    let link = json!({ "namespace": format!("end-user:{}", trade.rival.id), "id": "r-1" });
    t.created(&format!("/v1/subjects/{subject}/links"), link).await;
    trade.proves(t, &subject).await;
    trade.acme.vouches(t, "a-1").await;
    trade.rival.vouches(t, "r-1").await;
    subject
}

async fn own(t: &TestApp, agent: &str) -> String {
    t.token(agent, &resource("required"), "edge").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_organisations_cannot_find_out_that_they_serve_one_person() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let subject = shared(&t, &trade).await;
        let mut told = Vec::new();
        for (customer, handle) in [(&trade.acme, "a-1"), (&trade.rival, "r-1")] {
            let own = own(&t, &customer.agent).await;
            let token = customer.exchanged(&t, &resource("required"), handle, Some(&own)).await;
            let said = claims(&token);
            assert!(!said.to_string().contains("sub_"), "no id of ours: {said}");
            let header = trade.asserted(&t, "required", &customer.caller, Some(handle)).await;
            assert_eq!(
                header.header("x-eligibility-end-user"),
                said["sub"].as_str().unwrap(),
                "one name at one audience"
            );
            assert_eq!(said["act"]["sub"], claims(&own)["sub"], "who acts is who calls");
            assert_eq!(said["eligibility"]["decision"], claims(&own)["eligibility"]["decision"]);
            let worth = introspect(&t.app, &token).await;
            assert_eq!((&worth["act"], &worth["sub"]), (&said["act"], &said["sub"]));
            assert_eq!(worth["eligibility"]["end_user"], said["eligibility"]["end_user"]);
            told.push(said);
        }
        // Only what belongs to the issuer, to its clock, or to the audience is the same.
        let shared = |a: &Value, b: &Value| -> Vec<String> {
            let members = a.as_object().unwrap().iter();
            members.filter(|(name, value)| b.get(name) == Some(value)).map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(shared(&told[0], &told[1]), ["aud", "exp", "iat", "iss"]);
        assert_eq!(shared(&told[0]["eligibility"], &told[1]["eligibility"]), ["live", "resource", "valid_until"]);
        assert_eq!(
            shared(&told[0]["eligibility"]["end_user"], &told[1]["eligibility"]["end_user"]),
            Vec::<String>::new()
        );
        // Nor by asking: what belongs to the other is what belongs to nobody.
        for (customer, foreign) in [(&trade.acme, "r-1"), (&trade.rival, "a-1")] {
            let asked = async |handle: &str| {
                let answer = trade.asserted(&t, "required", &customer.caller, Some(handle)).await;
                let mut body = answer.body.clone();
                body["request_id"] = Value::Null;
                (gist(&answer), body)
            };
            assert_eq!(asked(foreign).await, asked("nobody").await);
            let vouch = json!({ "subject": format!("end-user:{foreign}"),
                "statement": { "type": "states", "frame": "end_user", "states": ["own"] } });
            assert_eq!(
                t.send(&customer.access, Method::POST, "/v1/vouches", Some(vouch)).await.status,
                StatusCode::NOT_FOUND
            );
            let gone = t.send(&customer.access, Method::DELETE, &format!("/v1/end-users/{foreign}"), None).await;
            assert_eq!(gone.status, StatusCode::NOT_FOUND);
            // A handle may be the same text at both.
            assert_eq!(customer.registers(&t, foreign).await.status, StatusCode::CREATED);
            assert_eq!(customer.registers(&t, foreign).await.status, StatusCode::CONFLICT);
        }
        // And an id of ours is not told to them.
        let path = format!("/v1/organisations/{}/end-users/a-1", trade.acme.id);
        let scopes = ["subjects:read"];
        let theirs = t.client("Cu", &scopes, &[], Some(&trade.acme.id)).await;
        assert_eq!(t.send(&theirs, Method::GET, &path, None).await.status, StatusCode::NOT_FOUND);
        assert_eq!(t.get(&path).await.body["subject"], subject);
    })
    .await;
}

/// A token with other claims: `None` keeps its signature, which is then over something else.
fn changed(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut said = claims(token);
    change(&mut said);
    format!("{}.{}.{}", parts[0], B64.encode(said.to_string()), parts[2])
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_borrowed_tokens_open_nothing() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        shared(&t, &trade).await;
        let (mine, rivals) = (own(&t, &trade.acme.agent).await, own(&t, &trade.rival.agent).await);
        let token = trade.acme.exchanged(&t, &resource("required"), "a-1", Some(&mine)).await;
        let theirs = trade.rival.exchanged(&t, &resource("required"), "r-1", Some(&rivals)).await;
        let check = async |token: &str, handle: Option<&str>| {
            let answer = trade.by_token(&t, &trade.asserting, "required", token, handle).await;
            (gist(&answer), answer.header("www-authenticate").to_owned())
        };
        assert_eq!(check(&token, None).await.0, PASSED);
        let invalid = ((401, String::new()), "Bearer error=\"invalid_token\"".to_owned());
        let rivals_act = claims(&theirs)["act"].clone();
        for (what, forged) in [
            ("another actor", changed(&token, |said| said["act"] = rivals_act.clone())),
            ("no actor", changed(&token, |said| drop(said.as_object_mut().unwrap().remove("act")))),
            ("an own token made one of an end user", changed(&mine, |said| said["act"] = rivals_act.clone())),
            (
                "the mark taken out of an own token",
                changed(&mine, |said| {
                    drop(said["eligibility"].as_object_mut().unwrap().remove("end_user"));
                }),
            ),
        ] {
            assert_eq!(check(&forged, None).await, invalid, "{what}");
        }
        // The token names the one, the header another.
        assert_eq!(check(&token, Some("a-1")).await.0, PASSED, "said twice alike");
        assert_eq!(trade.acme.registers(&t, "a-2").await.status, StatusCode::CREATED);
        for handle in ["a-2", "r-1", "nobody"] {
            assert_eq!(check(&token, Some(handle)).await.0, refused("end_user.unknown"), "{handle}");
        }
        // With the rival's token as the acting party's, by the organisation's own client and by the provider's.
        let borrowed = trade.acme.exchange(&t, &resource("required"), "a-1", Some(&rivals)).await;
        assert_eq!(borrowed.body["error"], "invalid_request", "{}", borrowed.body);
        let nested = trade.acme.exchange(&t, &resource("required"), "a-1", Some(&token)).await;
        assert_eq!(nested.body["error"], "invalid_request", "an end user acts for nobody: {}", nested.body);
        let elsewhere = trade.acme.exchange(&t, &resource("vouched"), "a-1", Some(&mine)).await;
        assert_eq!(elsewhere.body["error"], "invalid_request", "a token for another resource: {}", elsewhere.body);
        // By its own client alone it acts as the organisation, which is eligible for nothing here.
        let alone = trade.acme.exchange(&t, &resource("required"), "a-1", None).await;
        assert_eq!(
            (&alone.body["error"], &alone.body["decision"]["status"]),
            (&json!("invalid_target"), &json!("insufficient"))
        );
        // A client of nobody has no end users, and an organisation's scope opens no other way of exchanging.
        let (system, scopes) = (vouchsafe::service::Actor::system(), ["tokens:issue".to_owned()].into());
        let provider = t.app.create_client(&system, "p", "Pia", scopes, [].into(), None).await.unwrap();
        let target = format!("{}/resources/{}", t.url, resource("required"));
        let ask = async |id: &str, secret: &str, kind: &str, subject: &str, actor: Option<&str>| {
            let mut form = vec![
                ("grant_type", GRANT),
                ("client_id", id),
                ("client_secret", secret),
                ("subject_token_type", kind),
                ("subject_token", subject),
                ("resource", target.as_str()),
                ("audience", "edge"),
            ];
            form.extend(actor.iter().flat_map(|actor| [("actor_token", *actor), ("actor_token_type", JWT)]));
            let answer = answer(t.http.post(format!("{}/oauth2/token", t.url)).form(&form)).await;
            (answer.body["error"].as_str().unwrap_or("none").to_owned(), answer)
        };
        assert_eq!(ask(&provider.id, &provider.secret, END_USER, "a-1", None).await.0, "invalid_request");
        let (error, on_behalf) = ask(&provider.id, &provider.secret, END_USER, "a-1", Some(&mine)).await;
        assert_eq!(error, "none", "{}", on_behalf.body);
        let (id, secret) = &trade.acme.client;
        let subject = "urn:vouchsafe:params:oauth:token-type:subject";
        assert_eq!(ask(id, secret, subject, &trade.responsible, None).await.0, "unauthorized_client");
        let link = "urn:vouchsafe:params:oauth:token-type:link";
        for name in ["end-user:a-1".to_owned(), format!("end-user:{}:a-1", trade.acme.id)] {
            assert_eq!(ask(&provider.id, &provider.secret, link, &name, None).await.0, "invalid_request", "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_counts_once_from_who_may_and_disturbs_nobody_who_does_not_ask() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        shared(&t, &trade).await;
        let long = "x".repeat(129);
        let caller = ("x-vouchsafe-caller", trade.acme.caller.as_str());
        let end_user = |handle| ("x-vouchsafe-end-user", handle);
        let unknown = || refused("end_user.unknown");
        let rows = [
            ("one", vec![end_user("a-1")], PASSED),
            ("two", vec![end_user("a-1"), end_user("a-1")], unknown()),
            ("two, one of them nobody", vec![end_user("a-1"), end_user("nobody")], unknown()),
            ("empty", vec![end_user("")], unknown()),
            ("too long", vec![end_user(&long)], unknown()),
            ("a blank in it", vec![end_user("a -1")], unknown()),
            ("an id of ours", vec![end_user(&trade.responsible)], unknown()),
            ("with its namespace", vec![end_user("end-user:a-1")], unknown()),
        ];
        for (what, more, wanted) in rows {
            let headers: Vec<(&str, &str)> =
                [("x-gateway-key", trade.asserting.as_str()), caller].into_iter().chain(more).collect();
            assert_eq!(gist(&t.check(&resource("required"), &headers).await), wanted, "{what}");
            assert_eq!(gist(&t.check(&resource("ignored"), &headers).await), PASSED, "{what}, where nobody asks");
        }
        // A gateway that may not assert callers may not name their end users either.
        let mine = own(&t, &trade.acme.agent).await;
        assert_eq!(
            gist(&trade.by_token(&t, &trade.plain, "required", &mine, Some("a-1")).await),
            refused("end_user.missing")
        );
        assert_eq!(gist(&trade.by_token(&t, &trade.asserting, "required", &mine, Some("a-1")).await), PASSED);
        // A handle is no caller, in any words.
        for name in ["end-user:a-1".to_owned(), format!("end-user:{}:a-1", trade.acme.id)] {
            assert_eq!(gist(&trade.asserted(&t, "required", &name, None).await), refused("caller.unlinked"), "{name}");
        }
        let question = |kind: String, id: &str, context: Value| {
            json!({ "subject": { "type": kind, "id": id }, "action": { "name": "use" },
                "resource": { "type": "service", "id": resource("required") }, "context": context })
        };
        let asked = async |kind: String, id: &str, context: Value| {
            t.post("/access/v1/evaluation", question(kind, id, context)).await.body
        };
        let hidden = asked(format!("end-user:{}", trade.acme.subject), "a-1", json!({})).await;
        assert_eq!(
            (&hidden["decision"], &hidden["context"]["reason_code"]),
            (&json!(false), &json!("caller.unlinked"))
        );
        // AuthZEN has the same answers.
        let agent = trade.acme.agent.as_str();
        let workload = || "workload".to_owned();
        for (context, permitted, reason) in [
            (json!({ "end_user": "a-1" }), true, Value::Null),
            (json!({}), false, json!("end_user.missing")),
            (json!({ "end_user": "r-1" }), false, json!("end_user.unknown")),
            (json!({ "end_user": ["a-1"] }), false, json!("end_user.unknown")),
        ] {
            let body = asked(workload(), agent, context.clone()).await;
            assert_eq!((&body["decision"], &body["context"]["reason_code"]), (&json!(permitted), &reason), "{context}");
            assert_eq!(body["context"]["end_user"].is_string(), permitted, "{context}");
        }
        let by_gateway = async |key: &str, kind: &str, id: &str, context: Value| {
            let request = t.http.post(format!("{}/access/v1/evaluation", t.url)).header("x-gateway-key", key);
            answer(request.json(&question(kind.to_owned(), id, context))).await.body
        };
        let token = trade.acme.exchanged(&t, &resource("required"), "a-1", Some(&mine)).await;
        let named = json!({ "end_user": "a-1" });
        assert_eq!(by_gateway(&trade.asserting, "workload", agent, named.clone()).await["decision"], true);
        assert_eq!(by_gateway(&trade.plain, "eligibility_token", &token, json!({})).await["decision"], true);
        let unnamed = by_gateway(&trade.plain, "eligibility_token", &mine, named.clone()).await;
        assert_eq!(unnamed["context"]["reason_code"], "end_user.missing", "{unnamed}");
        assert_eq!(asked("eligibility_token".to_owned(), &token, json!({})).await["decision"], true);
        // A search names nobody, so it finds nothing that asks.
        let search = json!({ "subject": { "type": "workload", "id": agent }, "action": { "name": "use" },
            "resource": { "type": "service" } });
        let found = t.post("/access/v1/search/resource", search).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.body);
        assert_eq!(found.body["results"], json!([{ "type": "service", "id": resource("ignored") }]));
        // Nor does it list whom somebody serves, be they eligible by themselves.
        t.app.subject_search.store(true, std::sync::atomic::Ordering::Relaxed);
        for (kind, listed) in
            [("person", true), (&*format!("end-user:{}", trade.acme.subject), false), ("end-user", false)]
        {
            let search = json!({ "subject": { "type": kind }, "action": { "name": "use" },
                "resource": { "type": "service", "id": resource("ignored") } });
            let found = t.post("/access/v1/search/subject", search).await;
            assert_eq!(found.status, StatusCode::OK, "{}", found.body);
            assert_eq!(!found.body["results"].as_array().unwrap().is_empty(), listed, "{kind}: {}", found.body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_name_nobody_and_nobody_is_their_own_end_user() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let trade = Trade::new(&t).await;
    shared(&t, &trade).await;
    t.created(&format!("/v1/subjects/{}/links", trade.responsible), json!({ "namespace": "api-key", "id": "p" })).await;
    assert_eq!(gist(&trade.asserted(&t, "ignored", "api-key:p", None).await), PASSED);
    assert_eq!(gist(&trade.asserted(&t, "required", "api-key:p", None).await), refused("end_user.missing"));
    assert_eq!(gist(&trade.asserted(&t, "required", "api-key:p", Some("a-1")).await), refused("end_user.unknown"));
    // Nor for the organisation that they say they act for.
    let headers = [
        ("x-gateway-key", trade.asserting.as_str()),
        ("x-vouchsafe-caller", "api-key:p"),
        ("x-vouchsafe-acting-for", trade.acme.id.as_str()),
        ("x-vouchsafe-end-user", "a-1"),
    ];
    assert_eq!(gist(&t.check(&resource("required"), &headers).await), refused("end_user.unknown"));
    // Workloads and the organisation itself are nobody's end users.
    let namespace = format!("end-user:{}", trade.acme.id);
    for subject in [&trade.acme.agent, &trade.acme.subject] {
        let path = format!("/v1/subjects/{subject}/links");
        let answer = t.post(&path, json!({ "namespace": namespace, "id": "self" })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    }
    for (namespace, id) in [("end-user", "a"), (namespace.as_str(), "a b"), ("end-user:org_none", "a")] {
        let path = format!("/v1/subjects/{}/links", trade.responsible);
        let answer = t.post(&path, json!({ "namespace": namespace, "id": id })).await;
        assert!(answer.status.is_client_error(), "{namespace} {id}: {}", answer.body);
    }
    // Only an organisation's word about its own end users counts in that frame, and only this word.
    let states = |states: Value| json!({ "type": "states", "frame": "end_user", "states": states });
    for body in [states(json!(["own", "else"])), states(json!(["citizen"])), states(json!([]))] {
        let body = json!({ "subject": "end-user:a-1", "statement": body });
        let answer = t.send(&trade.acme.access, Method::POST, "/v1/vouches", Some(body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    }
    let record = json!({ "source": trade.sources.registry, "kind": "registry", "grade": "STRONG", "statement": states(json!(["own"])) });
    assert_eq!(t.attest(&trade.sources, &trade.responsible, record).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // An organisation that nobody verified vouches for nobody.
    t.created("/v1/organisations", json!({ "id": "org_new", "name": "new" })).await;
    let agent = t.created("/v1/subjects", json!({ "kind": "workload" })).await["id"].as_str().unwrap().to_owned();
    super::behind(&t, &agent, "org_new", &trade.responsible).await;
    t.created(&format!("/v1/subjects/{agent}/links"), json!({ "namespace": "api-key", "id": "new" })).await;
    let access = t.client("Cu", &["vouches:write", "end_users:write"], &[], Some("org_new")).await;
    let registered = t.send(&access, Method::POST, "/v1/end-users", Some(json!({ "handle": "n" }))).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let vouch = json!({ "subject": "end-user:n", "statement": states(json!(["own"])) });
    assert_eq!(t.send(&access, Method::POST, "/v1/vouches", Some(vouch)).await.status, StatusCode::CREATED);
    assert_eq!(gist(&trade.asserted(&t, "vouched", "api-key:new", Some("n")).await), refused("end_user.not_vouched"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_about_one_person_is_told_no_where_two_are_asked_for() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        let subject = shared(&t, &trade).await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "idp", "id": "u1" })).await;
        let scopes = ["sso:claims".to_owned()].into();
        let system = vouchsafe::service::Actor::system();
        let client = t.app.create_client(&system, "idp", "Ida", scopes, [].into(), None).await.unwrap();
        let token = t.app.access_token(&client.id, &client.secret, None).await.unwrap().token;
        let provider = json!({ "name": "idp", "issuer": "https://idp.example", "namespace": "idp",
            "organisation": trade.acme.id, "resources": ["restricted.*"], "clients": [client.id] });
        t.created("/v1/identity-providers", provider).await;
        let resources: Vec<String> = super::MODES.iter().map(|mode| resource(mode)).collect();
        let people = crate::scim::directory(&t, &trade.acme.id, "idp", json!({ "resources": resources })).await;
        let user = crate::scim::put_in(&t, &people, &crate::scim::named("ada", "u1")).await;
        assert_eq!(crate::scim::subject_of(&t, &people, crate::scim::id(&user)).await, subject);
        let listed = user[crate::scim::ELIGIBILITY]["resources"].as_array().unwrap();
        for mode in super::MODES {
            assert_eq!(t.eligibility(&subject, &resource(mode)).await["status"], "eligible", "{mode}");
            let alone = json!(mode == "ignored");
            let named = json!({ "sub": "u1", "resource": resource(mode) });
            let plain = t.send(&token, Method::POST, "/sso/userinfo", Some(named.clone())).await;
            assert_eq!(plain.body["eligibility"]["allowed"], alone, "{mode}");
            let mut wanted = crate::sso::asked("u1");
            wanted["resource"] = named["resource"].clone();
            let provided = crate::sso::assertion(&t, &token, wanted).await.ok().unwrap();
            let said = &claims(&provided)["verified_claims"]["claims"]["eligibility"];
            assert_eq!((&said["allowed"], said.get("valid_until").is_some()), (&alone, alone == true), "{mode}");
            let told = listed.iter().find(|told| told["resource"] == named["resource"]).unwrap();
            assert_eq!((&told["allowed"], told.get("validUntil").is_some()), (&alone, alone == true), "{mode}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_request_shows_is_asked_of_both_and_left_open_where_nobody_sees_it() {
    on_both(async |t: TestApp| {
        let trade = Trade::new(&t).await;
        shared(&t, &trade).await;
        let mut embargo: Value = {
            let text =
                std::fs::read_to_string(format!("{}/fixtures/policies/embargo.toml", env!("CARGO_MANIFEST_DIR")));
            json!(vouchsafe_core::policy::Policy::from_toml(&text.unwrap()).unwrap())
        };
        embargo["id"] = json!("regional");
        embargo["end_user"] = json!("required");
        t.created("/v1/policies", embargo).await;
        t.activate("regional").await;
        let mine = t.token(&trade.acme.agent, "regional.api", "edge").await;
        let token = trade.acme.exchanged(&t, "regional.api", "a-1", Some(&mine)).await;
        assert_eq!(claims(&token)["eligibility"]["live"], json!(["location"]));
        let worth = introspect(&t.app, &token).await;
        assert_eq!((&worth["active"], &worth["eligibility"]["live"]), (&json!(true), &json!(["location"])));
        let bearer = format!("Bearer {token}");
        for (from, status) in [("198.51.100.10", 403), ("192.0.2.10", 200)] {
            let by_token =
                [("x-gateway-key", trade.plain.as_str()), ("authorization", &bearer), ("x-forwarded-for", from)];
            let by_handle = [
                ("x-gateway-key", trade.asserting.as_str()),
                ("x-vouchsafe-caller", &trade.acme.caller),
                ("x-vouchsafe-end-user", "a-1"),
                ("x-forwarded-for", from),
            ];
            for headers in [&by_token[..], &by_handle[..]] {
                assert_eq!(t.check("regional.api", headers).await.status.as_u16(), status, "{from}");
            }
        }
    })
    .await;
}
