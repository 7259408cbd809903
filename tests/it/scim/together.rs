//! Many at once: versions, races for a name, pages while users come and go.

use super::*;
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// Sends requests at once, each from a task of its own; the statuses, sorted.
async fn at_once(t: &TestApp, token: &str, requests: Vec<(Method, String, Value, Option<String>)>) -> Vec<u16> {
    let mut tasks = JoinSet::new();
    for (method, path, body, if_match) in requests {
        let mut request = t.http.request(method, format!("{}/scim/v2{path}", t.url)).bearer_auth(token);
        request = request.header("content-type", "application/scim+json").body(body.to_string());
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        tasks.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_to_one_version_one_is_made_and_a_name_has_one_owner() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let path = format!("/Users/{}", id(&user));
        let tag = shown(&t, &people, id(&user)).await.header("etag").to_owned();
        assert!(tag.starts_with("W/\"1-") && user["meta"]["version"] == tag.as_str(), "{tag}");
        let changes = |count: usize, say: &str, tag: Option<&str>| -> Vec<_> {
            let body = |n| replace(json!({ "displayName": format!("{say} {n}") }));
            (0..count).map(|n| (Method::PATCH, path.clone(), body(n), tag.map(str::to_owned))).collect()
        };
        let raced = at_once(&t, &people.token, changes(8, "raced", Some(&tag))).await;
        assert_eq!(raced, [200, 412, 412, 412, 412, 412, 412, 412]);
        let deleted = ask(&t, &people.token, Method::DELETE, &path, None, &[("if-match", &tag)]).await;
        assert_eq!((deleted.status, &deleted.body["status"]), (StatusCode::PRECONDITION_FAILED, &json!("412")));
        // Whoever names no version is not refused for another's change, as far as patience goes.
        let free = at_once(&t, &people.token, changes(3, "free", None)).await;
        assert_eq!(free, [200, 200, 200]);
        assert!(shown(&t, &people, id(&user)).await.header("etag").starts_with("W/\"5-"), "1, one of eight, three");

        let create = |n: usize| (Method::POST, "/Users".to_owned(), named("bo", &format!("00b{n}")), None);
        assert_eq!(at_once(&t, &people.token, (0..6).map(create).collect()).await, [201, 409, 409, 409, 409, 409]);
        let create = |n: usize| (Method::POST, "/Users".to_owned(), named(&format!("cy{n}"), "00c"), None);
        assert_eq!(at_once(&t, &people.token, (0..6).map(create).collect()).await, [201, 409, 409, 409, 409, 409]);
        let count = ask(&t, &people.token, Method::GET, "/Users?count=0", None, &[]).await;
        assert_eq!((&count.body["totalResults"], &count.body["Resources"]), (&json!(3), &json!([])));
        // Whoever lost left nothing behind.
        let subjects =
            crate::support::pairs(&t.database_url, "SELECT s.id, s.id FROM subjects AS s WHERE s.kind = 'person'")
                .await;
        assert_eq!(subjects.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_is_not_taken_for_the_new_one_when_only_eligibility_changed() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let path = format!("/Users/{}", id(&user));
        let before = user["meta"]["version"].as_str().unwrap();
        let again = async |tag: &str| ask(&t, &people.token, Method::GET, &path, None, &[("if-none-match", tag)]).await;
        let known = again(before).await;
        assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, before));
        let subject = subject_of(&t, &people, id(&user)).await;
        t.attest(&sources, &subject, face_check(&sources)).await;
        let fresh = again(before).await;
        assert_eq!((fresh.status, &fresh.body[ELIGIBILITY]["resources"][0]["allowed"]), (StatusCode::OK, &json!(true)));
        // Nobody changed the user: the tag from before is good for a change.
        let body = replace(json!({ "displayName": "Ada" }));
        let changed = ask(&t, &people.token, Method::PATCH, &path, Some(&body), &[("if-match", before)]).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
        let late = ask(&t, &people.token, Method::PATCH, &path, Some(&body), &[("if-match", before)]).await;
        assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_keep_their_order_while_users_come_and_go() {
    on_both(async |t: TestApp| {
        let people = directory(&t, "org_meridian", "okta", json!({})).await;
        let mut made = Vec::new();
        for n in 0..12 {
            t.clock.advance(1);
            made.push(id(&put_in(&t, &people, &named(&format!("user{n:02}"), &format!("00u{n}"))).await).to_owned());
        }
        let page = async |query: &str| ask(&t, &people.token, Method::GET, &format!("/Users?{query}"), None, &[]).await.body;
        let ids = |page: &Value| -> Vec<String> {
            page["Resources"].as_array().unwrap().iter().map(|user| id(user).to_owned()).collect()
        };
        let first = page("startIndex=1&count=5").await;
        assert_eq!((&first["totalResults"], &first["itemsPerPage"], &first["startIndex"]), (&json!(12), &json!(5), &json!(1)));
        assert_eq!(ids(&first), made[..5]);
        // Who comes stands at the end, so nobody is pushed from one page to another.
        t.clock.advance(1);
        put_in(&t, &people, &named("late", "00late")).await;
        let second = page("startIndex=6&count=5").await;
        assert_eq!((ids(&second), &second["totalResults"]), (made[5..10].to_vec(), &json!(13)));
        assert_eq!(ids(&page("startIndex=11&count=5").await).len(), 3);
        assert_eq!(page("startIndex=0&count=2").await["startIndex"], 1);
        assert_eq!(ids(&page("startIndex=-7&count=2").await), made[..2]);
        assert_eq!(page("count=-1").await["itemsPerPage"], 0);
        assert_eq!((page("startIndex=99").await["itemsPerPage"].clone(), ids(&page("count=9223372036854775807").await).len()), (json!(0), 13));
        for filter in ["userName%20sw%20%22user%22", "active%20eq%20true%20and%20userName%20ne%20%22late%22"] {
            let window = page(&format!("filter={filter}&startIndex=4&count=3")).await;
            assert_eq!((ids(&window), &window["totalResults"]), (made[3..6].to_vec(), &json!(12)), "{filter}");
        }
        // Who goes moves those behind one place forward; nobody is told twice.
        ask(&t, &people.token, Method::DELETE, &format!("/Users/{}", made[0]), None, &[]).await;
        assert_eq!(ids(&page("startIndex=5&count=5").await), made[5..10]);
        let all: BTreeSet<String> = ids(&page("").await).into_iter().collect();
        assert_eq!(all.len(), 12);
        let by_post = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": "userName eq \"USER03\"",
            "startIndex": 1, "count": 10, "attributes": ["userName"] });
        for search in ["/Users/.search", "/.search"] {
            let found = ask(&t, &people.token, Method::POST, search, Some(&by_post), &[]).await;
            assert_eq!(found.body["totalResults"], 1, "{}", found.body);
            assert_eq!(found.body["Resources"][0], json!({ "schemas": [CORE], "id": made[3], "userName": "user03" }));
        }
    })
    .await;
}

/// 10,000 users: `cargo nextest run --run-ignored only -E 'test(ten_thousand)'`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn one_of_ten_thousand_is_found_by_one_indexed_read() {
    on_both(async |t: TestApp| {
        let people = directory(&t, "org_meridian", "okta", json!({})).await;
        for round in 0..100 {
            let create = |n: usize| {
                (Method::POST, "/Users".to_owned(), named(&format!("user{round}-{n}"), &format!("{round}-{n}")), None)
            };
            assert_eq!(at_once(&t, &people.token, (0..100).map(create).collect()).await, [201; 100]);
        }
        let timed = async |filter: &str| {
            let mut least = std::time::Duration::MAX;
            for _ in 0..20 {
                let begun = std::time::Instant::now();
                let found = ask(&t, &people.token, Method::GET, &format!("/Users?filter={filter}"), None, &[]).await;
                assert_eq!(found.body["totalResults"], 1, "{}", found.body);
                least = least.min(begun.elapsed());
            }
            least
        };
        let (looked_up, scanned) =
            (timed("userName%20eq%20%22user77-7%22").await, timed("userName%20ew%20%22user77-7%22").await);
        println!("of 10,000: by userName eq {looked_up:?}, one by one {scanned:?}");
        assert!(looked_up * 10 < scanned, "{looked_up:?} {scanned:?}");
    })
    .await;
}
