//! People whom an organisation's directory provisions by SCIM: what each step does to decisions, and to nothing else.

mod asking;
mod command_line;
mod tenants;
mod together;

use crate::app::{Answer, TestApp, answer, face_check, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe::storage::UserKey;

pub(crate) const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
pub(crate) const ELIGIBILITY: &str = "urn:ietf:params:scim:schemas:extension:vouchsafe:eligibility:2.0:User";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// A directory of an organisation, with a token.
pub(crate) struct Directory {
    pub(crate) id: String,
    pub(crate) organisation: String,
    pub(crate) token: String,
}

/// Registers the organisation, where it is not there, its directory of this namespace and a token.
pub(crate) async fn directory(t: &TestApp, organisation: &str, namespace: &str, more: Value) -> Directory {
    if t.get(&format!("/v1/organisations/{organisation}")).await.status == StatusCode::NOT_FOUND {
        t.created("/v1/organisations", json!({ "id": organisation, "name": organisation, "verified": true })).await;
    }
    let mut body = json!({ "name": "People", "organisation": organisation, "namespace": namespace });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = t.created("/v1/directories", body).await["id"].as_str().unwrap().to_owned();
    let token = token(t, &id).await;
    Directory { id, organisation: organisation.to_owned(), token }
}

pub(crate) async fn token(t: &TestApp, directory: &str) -> String {
    let made = t.created(&format!("/v1/directories/{directory}/tokens"), json!({})).await;
    made["token"].as_str().unwrap().to_owned()
}

/// The listed organisation's, which is told of the restricted resource.
pub(crate) async fn meridian(t: &TestApp) -> Directory {
    directory(t, "org_meridian", "okta-meridian", json!({ "resources": ["restricted.api"] })).await
}

pub(crate) async fn ask(
    t: &TestApp,
    token: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = t.http.request(method, format!("{}/scim/v2{path}", t.url)).bearer_auth(token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/scim+json; charset=utf-8").body(body.to_string());
    }
    answer(request).await
}

pub(crate) fn named(user_name: &str, external_id: &str) -> Value {
    json!({ "schemas": [CORE], "userName": user_name, "externalId": external_id, "active": true,
        "name": { "familyName": "Lovelace" }, "emails": [{ "value": format!("{user_name}@meridian.example") }] })
}

pub(crate) async fn put_in(t: &TestApp, directory: &Directory, user: &Value) -> Value {
    let made = ask(t, &directory.token, Method::POST, "/Users", Some(user), &[]).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.body
}

pub(crate) fn id(user: &Value) -> &str {
    user["id"].as_str().unwrap()
}

pub(crate) async fn shown(t: &TestApp, directory: &Directory, user: &str) -> Answer {
    ask(t, &directory.token, Method::GET, &format!("/Users/{user}"), None, &[]).await
}

pub(crate) fn replace(value: Value) -> Value {
    json!({ "schemas": [PATCH_OP], "Operations": [{ "op": "replace", "value": value }] })
}

pub(crate) async fn change(t: &TestApp, directory: &Directory, user: &str, value: Value) -> Answer {
    ask(t, &directory.token, Method::PATCH, &format!("/Users/{user}"), Some(&replace(value)), &[]).await
}

pub(crate) async fn subject_of(t: &TestApp, directory: &Directory, user: &str) -> String {
    let found = t.app.store.directory_users_by(&directory.id, UserKey::Id(user), 1).await.unwrap();
    found[0].user.subject.clone()
}

/// Of the statements of a kind about a subject, whether each stands, those that do not first.
pub(crate) async fn statements(t: &TestApp, subject: &str, kind: &str) -> Vec<bool> {
    let all = crate::app::attestations(t, subject).await;
    let of_kind = all.iter().filter(|attestation| attestation["facts"]["kind"] == kind);
    let mut stand: Vec<bool> = of_kind.map(|attestation| attestation["marks"].as_array().unwrap().is_empty()).collect();
    stand.sort_unstable();
    stand
}

fn allowed(user: &Answer) -> (&Value, &Value) {
    let told = &user.body[ELIGIBILITY]["resources"][0];
    assert_eq!(told["resource"], "restricted.api", "{}", user.body);
    (&told["allowed"], &told["validUntil"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_decided_on_from_joining_to_leaving_and_nothing_else_is_touched() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let people = meridian(&t).await;
        t.audience("gw").await;
        let gateway = t.gateway("gw", true).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let subject = subject_of(&t, &people, id(&user)).await;
        assert_eq!(allowed(&shown(&t, &people, id(&user)).await).0, false, "who somebody is was proven by nobody");

        assert_eq!(t.attest(&sources, &subject, face_check(&sources)).await.status, StatusCode::CREATED);
        let member = shown(&t, &people, id(&user)).await;
        assert_eq!(allowed(&member).0, true, "{}", member.body);
        assert!(allowed(&member).1.is_string(), "{}", member.body);
        let keys: Vec<&String> = member.body[ELIGIBILITY]["resources"][0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["allowed", "resource", "validUntil"], "no more than that is told");
        let decision = t.eligibility(&subject, "restricted.api").await;
        assert_eq!((&decision["status"], &decision["exemption"]), (&json!("eligible"), &json!("annex-a")));
        let token = t.token(&subject, "restricted.api", "gw").await;
        let bearer = format!("Bearer {token}");
        let by_token = [("x-gateway-key", gateway.as_str()), ("authorization", bearer.as_str())];
        let asserted = [("x-gateway-key", gateway.as_str()), ("x-vouchsafe-caller", "okta-meridian:00u1")];
        for caller in [&by_token[..], &asserted] {
            assert_eq!(t.check("restricted.api", caller).await.status, StatusCode::OK);
        }

        let left = change(&t, &people, id(&user), json!({ "active": false })).await;
        assert_eq!((left.status, allowed(&left)), (StatusCode::OK, (&json!(false), &Value::Null)), "{}", left.body);
        for caller in [&by_token[..], &asserted] {
            assert_eq!(t.check("restricted.api", caller).await.status, StatusCode::FORBIDDEN);
        }
        assert_eq!(statements(&t, &subject, "directory").await, [false]);

        // Within the same second, too.
        let back = change(&t, &people, id(&user), json!({ "active": "True" })).await;
        assert_eq!(allowed(&back).0, true, "{}", back.body);
        assert_eq!(statements(&t, &subject, "directory").await, [false, true]);

        let own = t.client("Emi", &["vouches:write"], &[], Some("org_meridian")).await;
        let statement = json!({ "type": "employment", "organisation": "org_meridian", "employed": true });
        let vouch = json!({ "subject": subject, "statement": statement, "basis": "hr_record" });
        let vouched = t.send(&own, Method::POST, "/v1/vouches", Some(vouch)).await;
        assert_eq!(vouched.status, StatusCode::CREATED, "{}", vouched.body);
        let found = t.app.store.directory_users_by(&people.id, UserKey::Id(id(&user)), 1).await.unwrap();
        let withdraw = format!("/v1/vouches/{}/withdraw", found[0].user.attestation.as_ref().unwrap());
        let refused = t.send(&own, Method::POST, &withdraw, None).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "a membership is the directory's to take back");
        let gone = ask(&t, &people.token, Method::DELETE, &format!("/Users/{}", id(&user)), None, &[]).await;
        assert_eq!((gone.status, &gone.body), (StatusCode::NO_CONTENT, &Value::Null));
        assert_eq!(shown(&t, &people, id(&user)).await.status, StatusCode::NOT_FOUND);
        assert_eq!(statements(&t, &subject, "directory").await, [false, false]);
        assert_eq!(statements(&t, &subject, "vouch").await, [true], "a vouch is another word");
        assert_eq!(statements(&t, &subject, "document_check").await, [true]);
        assert_eq!(t.check("restricted.api", &asserted).await.status, StatusCode::OK, "by the vouch");

        // Whoever comes back is who they were.
        let again = put_in(&t, &people, &named("ada", "00u1")).await;
        assert_ne!(id(&again), id(&user));
        assert_eq!(subject_of(&t, &people, id(&again)).await, subject);
        assert_eq!(allowed(&shown(&t, &people, id(&again)).await).0, true);
        for (action, times) in [("created", 2), ("deactivated", 1), ("activated", 1), ("deleted", 1), ("changed", 0)] {
            let entries = t.audited(&format!("directory_user.{action}")).await;
            assert_eq!(entries.len(), times, "{action}");
            assert!(
                entries
                    .iter()
                    .all(|entry| entry["actor"].as_str().unwrap().starts_with("directory:dir_okta-meridian/sct_"))
            );
            assert!(!json!(entries).to_string().contains("\"ada"), "{entries:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_is_confirmed_is_renewed_after_a_day_and_one_that_is_not_said_ends() {
    on_both(async |mut t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let subject = subject_of(&t, &people, id(&user)).await;
        for (seconds, stands) in [(86_399, [true].as_slice()), (1, &[false, true])] {
            t.clock.advance(seconds);
            t.app.poll_feed().await.unwrap();
            t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
            let path = format!("/Users/{}", id(&user));
            let answer = ask(&t, &people.token, Method::PUT, &path, Some(&named("ada", "00u1")), &[]).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            assert_eq!(statements(&t, &subject, "directory").await, stands, "the newer one stands in its place");
        }
        assert_eq!(t.audited("directory_user.renewed").await.len(), 1);

        // A PUT that does not say whether somebody is a member changes nothing about it; a removal does.
        let silent = json!({ "schemas": [CORE], "userName": "ada", "externalId": "00u1" });
        let path = format!("/Users/{}", id(&user));
        let put = ask(&t, &people.token, Method::PUT, &path, Some(&silent), &[]).await;
        assert_eq!((&put.body["active"], put.body.get("name")), (&json!(true), None));
        let remove = json!({ "schemas": [PATCH_OP], "Operations": [{ "op": "remove", "path": "active" }] });
        let removed = ask(&t, &people.token, Method::PATCH, &path, Some(&remove), &[]).await;
        assert_eq!((removed.status, removed.body.get("active")), (StatusCode::OK, None));
        assert_eq!(statements(&t, &subject, "directory").await, [false, false]);
        let put = ask(&t, &people.token, Method::PUT, &path, Some(&silent), &[]).await;
        assert_eq!(put.body.get("active"), None, "nobody comes back by not being spoken of");
        assert_eq!(statements(&t, &subject, "directory").await, [false, false]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_of_as_acting_for_the_organisation_and_never_by_what_a_request_would_show() {
    on_both(async |t: TestApp| {
        crate::parties::activate_entities(&t).await;
        t.activate("embargo").await;
        let sources = t.sources().await;
        let told = async |organisation: &str, place: &str| -> Vec<(Value, Value)> {
            let resources = json!({ "resources": ["regional.api", "restricted.api"] });
            let people = directory(&t, organisation, organisation, resources).await;
            let party = t.get(&format!("/v1/organisations/{organisation}")).await.body["body"]["subject"].clone();
            let states = |frame: &str, state: &str| json!({ "type": "states", "frame": frame, "states": [state] });
            crate::parties::record(&t, &sources, party.as_str().unwrap(), states("incorporation", place)).await;
            let owners = json!({ "type": "owners", "owners": { "a-fund": "100%" } });
            crate::parties::record(&t, &sources, party.as_str().unwrap(), owners).await;
            let user = put_in(&t, &people, &named("ada", "00u1")).await;
            let subject = subject_of(&t, &people, id(&user)).await;
            crate::parties::record(&t, &sources, &subject, states("us_status", "citizen")).await;
            assert_eq!(t.attest(&sources, &subject, face_check(&sources)).await.status, StatusCode::CREATED);
            // Eligible as far as nobody looks at a request.
            let decision = t.eligibility(&subject, "regional.api").await;
            assert_eq!(
                (&decision["status"], &decision["live"]),
                (&json!("eligible"), &json!(["location"])),
                "{decision}"
            );
            let told = shown(&t, &people, id(&user)).await.body[ELIGIBILITY]["resources"].clone();
            let told = told.as_array().unwrap().iter();
            told.map(|told| (told["resource"].clone(), told["allowed"].clone())).collect()
        };
        let wanted = |restricted: bool| {
            vec![(json!("regional.api"), json!(false)), (json!("restricted.api"), json!(restricted))]
        };
        assert_eq!(told("org_home", "USA").await, wanted(true));
        assert_eq!(told("org_abroad", "IRL").await, wanted(false));
    })
    .await;
}

/// Plays a sequence of requests as a provider documents it.
async fn play(t: &TestApp, fixture: &str) {
    let path = format!("{}/fixtures/scim/{fixture}.json", env!("CARGO_MANIFEST_DIR"));
    let played: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let people = directory(t, "org_meridian", fixture, json!({})).await;
    let (mut user, mut subject, mut steps) = (String::new(), String::new(), 0);
    for step in played["steps"].as_array().unwrap() {
        let say = format!("{fixture}: {}", step["say"]);
        let path = step["path"].as_str().unwrap().replace("{id}", &user);
        let body = step.get("body").map(|body| body.to_string().replace("{id}", &user).parse::<Value>().unwrap());
        let method: Method = step["method"].as_str().unwrap().parse().unwrap();
        let told = ask(t, &people.token, method, &path, body.as_ref(), &[]).await;
        assert_eq!(told.status.as_u16(), step["status"], "{say}: {}", told.body);
        let kind = if told.status == StatusCode::NO_CONTENT { "" } else { "application/scim+json" };
        assert_eq!(told.header("content-type"), kind, "{say}");
        for (pointer, wanted) in step["has"].as_object().into_iter().flatten() {
            assert_eq!(told.body.pointer(pointer), Some(wanted), "{say} {pointer}: {}", told.body);
        }
        for pointer in step["lacks"].as_array().into_iter().flatten() {
            assert_eq!(told.body.pointer(pointer.as_str().unwrap()), None, "{say} {pointer}: {}", told.body);
        }
        if step["keep"] == "id" {
            user = id(&told.body).to_owned();
            subject = subject_of(t, &people, &user).await;
            assert_eq!(told.header("location"), format!("{}/scim/v2/Users/{user}", t.app.issuer), "{say}");
        }
        if let Some(member) = step.get("member") {
            let standing = statements(t, &subject, "directory").await.into_iter().filter(|stands| *stands).count();
            assert_eq!(standing == 1, *member, "{say}");
            assert!(standing <= 1, "{say}");
        }
        steps += 1;
    }
    assert!(steps >= 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_that_okta_and_entra_send_are_answered_as_they_expect() {
    on_both(async |t: TestApp| {
        play(&t, "okta").await;
        play(&t, "entra").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_nobody_in_the_directory_and_may_be_put_in_anew() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let subject = subject_of(&t, &people, id(&user)).await;
        let export = t.get(&format!("/v1/subjects/{subject}/export")).await;
        assert_eq!(export.body["directories"][0]["profile"]["userName"], "ada", "{}", export.body);
        assert_eq!(export.body["directories"][0]["id"], user["id"]);
        let rows = crate::support::pairs(&t.database_url, "SELECT user_name, external_id FROM directory_users").await;
        assert!(rows.len() == 1 && !format!("{rows:?}").contains("\"ada") && !format!("{rows:?}").contains("00u1"));

        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(erased.status, StatusCode::OK, "{}", erased.body);
        for table in ["directory_users", "directory_emails"] {
            let left =
                crate::support::pairs(&t.database_url, &format!("SELECT directory, directory FROM {table}")).await;
            assert_eq!(left, [], "{table}");
        }
        let gone = shown(&t, &people, id(&user)).await;
        assert_eq!((gone.status, &gone.body["schemas"][0]), (StatusCode::NOT_FOUND, &json!(ERROR)));
        assert_eq!(change(&t, &people, id(&user), json!({ "active": false })).await.status, StatusCode::NOT_FOUND);
        let listed = ask(&t, &people.token, Method::GET, "/Users?filter=userName%20eq%20%22ada%22", None, &[]).await;
        assert_eq!(listed.body["totalResults"], 0);
        let anew = put_in(&t, &people, &named("ada", "00u1")).await;
        assert_ne!(subject_of(&t, &people, id(&anew)).await, subject);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_organisations_directory_brings_nobody_in_and_takes_out_whom_it_likes() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let subject = subject_of(&t, &people, id(&user)).await;
        let suspend = format!("/v1/organisations/{}/suspend", people.organisation);
        assert_eq!(t.post(&suspend, json!({ "reason": "token.leaked" })).await.status, StatusCode::OK);
        assert_eq!(statements(&t, &subject, "directory").await, [false], "what it said is silenced");
        let before = t.get("/v1/subjects").await.body["items"].as_array().unwrap().len();
        let refused = ask(&t, &people.token, Method::POST, "/Users", Some(&named("bo", "00u2")), &[]).await;
        assert_eq!((refused.status, &refused.body["schemas"][0]), (StatusCode::FORBIDDEN, &json!(ERROR)));
        // All of it or nothing: no subject, no link, no user.
        assert_eq!(t.get("/v1/subjects").await.body["items"].as_array().unwrap().len(), before);
        assert_eq!(t.app.resolve_link("okta-meridian", "00u2").await.unwrap(), None);
        let listed = ask(&t, &people.token, Method::GET, "/Users", None, &[]).await;
        assert_eq!(listed.body["totalResults"], 1);
        assert_eq!(change(&t, &people, id(&user), json!({ "active": false })).await.status, StatusCode::OK);
        assert_eq!(change(&t, &people, id(&user), json!({ "active": true })).await.status, StatusCode::FORBIDDEN);
        assert_eq!(shown(&t, &people, id(&user)).await.body["active"], false, "and says so");
    })
    .await;
}
