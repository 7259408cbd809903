//! The surface itself: its errors, its sizes, what it says it can do.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_an_error_of_scim_and_changes_nothing() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let path = format!("/Users/{}", id(&user));
        let raw = async |method: Method, path: &str, kind: &str, body: String| {
            let request = t.http.request(method, format!("{}/scim/v2{path}", t.url)).bearer_auth(&people.token);
            answer(request.header("content-type", kind).body(body)).await
        };
        const JSON: &str = "application/scim+json";
        let twice = format!("{{\"schemas\":[\"{CORE}\"],\"userName\":\"a\",\"userName\":\"b\"}}");
        let letters = format!("{{\"schemas\":[\"{CORE}\"],\"userName\":\"a\",\"username\":\"b\"}}");
        let nul = format!("{{\"schemas\":[\"{CORE}\"],\"userName\":\"a\\u0000\"}}");
        let large = format!("{{\"schemas\":[\"{CORE}\"],\"userName\":\"a\",\"x\":\"{}\"}}", "x".repeat(256 * 1024));
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let patch = |operation: &str| format!("{{\"schemas\":[\"{PATCH_OP}\"],\"Operations\":[{operation}]}}");
        let bad_filter = "/Users?filter=title%20eq%20%22x%22";
        for (method, path, kind, body, status, scim_type) in [
            (Method::POST, "/Users", JSON, twice, 400, Some("invalidSyntax")),
            (Method::POST, "/Users", JSON, letters, 400, Some("invalidSyntax")),
            (Method::POST, "/Users", JSON, "{".to_owned(), 400, Some("invalidSyntax")),
            (Method::POST, "/Users", JSON, deep, 400, Some("invalidSyntax")),
            (Method::POST, "/Users", JSON, String::new(), 400, Some("invalidSyntax")),
            (Method::POST, "/Users", JSON, nul, 400, Some("invalidValue")),
            (Method::POST, "/Users", JSON, large, 413, None),
            (Method::POST, "/Users", "text/plain", "{}".to_owned(), 415, None),
            (Method::PATCH, &path, JSON, patch("{\"op\":\"remove\"}"), 400, Some("noTarget")),
            (
                Method::PATCH,
                &path,
                JSON,
                patch("{\"op\":\"add\",\"path\":\"a b\",\"value\":1}"),
                400,
                Some("invalidPath"),
            ),
            (
                Method::PATCH,
                &path,
                JSON,
                patch("{\"op\":\"replace\",\"path\":\"id\",\"value\":\"x\"}"),
                400,
                Some("mutability"),
            ),
            (Method::GET, bad_filter, JSON, String::new(), 400, Some("invalidFilter")),
            (
                Method::GET,
                "/Users?filter=id%20eq%20%22a%5Cu0000%22%20and",
                JSON,
                String::new(),
                400,
                Some("invalidFilter"),
            ),
            (Method::GET, "/Users?count=many", JSON, String::new(), 400, Some("invalidValue")),
            (Method::GET, "/Users?filter=a%00", JSON, String::new(), 400, Some("invalidValue")),
            (
                Method::GET,
                "/Users?attributes=userName&excludedAttributes=name",
                JSON,
                String::new(),
                400,
                Some("invalidValue"),
            ),
            (Method::GET, "/Users/%00", JSON, String::new(), 404, None),
            (Method::GET, "/Groups", JSON, String::new(), 404, None),
            (Method::GET, "/nothing", JSON, String::new(), 404, None),
            (Method::DELETE, "/Users", JSON, String::new(), 405, None),
            (Method::POST, "/ServiceProviderConfig", JSON, "{}".to_owned(), 405, None),
            (Method::GET, "/Schemas?filter=id%20pr", JSON, String::new(), 403, None),
            (Method::GET, "/Schemas/urn:none", JSON, String::new(), 404, None),
        ] {
            let refused = raw(method.clone(), path, kind, body).await;
            let said = format!("{method} {path}: {}", refused.body);
            assert_eq!(refused.status.as_u16(), status, "{said}");
            assert_eq!(refused.header("content-type"), "application/scim+json", "{said}");
            assert_eq!(refused.body["schemas"], json!([ERROR]), "{said}");
            assert_eq!(refused.body["status"], status.to_string(), "{said}");
            assert_eq!(refused.body["scimType"].as_str(), scim_type, "{said}");
            assert!(refused.body["detail"].is_string() && refused.body.get("code").is_none(), "{said}");
        }
        // A text that no database could be asked for is nobody's id.
        let nobody = ask(&t, &people.token, Method::GET, "/Users?filter=id%20eq%20%22usr_%5Cu0000%22", None, &[]).await;
        assert_eq!((nobody.status, &nobody.body["totalResults"]), (StatusCode::OK, &json!(0)), "{}", nobody.body);
        assert_eq!(shown(&t, &people, id(&user)).await.body["meta"], user["meta"], "nothing of it changed anything");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_can_do_is_told_to_everybody_and_is_so() {
    on_both(async |t: TestApp| {
        let open = async |path: &str| answer(t.http.get(format!("{}/scim/v2{path}", t.url))).await;
        let config = open("/ServiceProviderConfig").await;
        assert_eq!(config.status, StatusCode::OK);
        for (feature, supported) in [("patch", true), ("filter", true), ("etag", true), ("bulk", false), ("sort", false), ("changePassword", false)] {
            assert_eq!(config.body[feature]["supported"], supported, "{feature}");
        }
        let kinds = open("/ResourceTypes").await.body;
        assert_eq!((&kinds["totalResults"], &kinds["Resources"][0]["endpoint"]), (&json!(1), &json!("/Users")));
        assert_eq!(open("/ResourceTypes/User").await.body, kinds["Resources"][0]);
        for schema in open("/Schemas").await.body["Resources"].as_array().unwrap() {
            let one = open(&format!("/Schemas/{}", id(schema))).await;
            assert_eq!(&one.body, schema);
        }
        crate::sso::telling(&t, "telling", r#"["status"]"#).await;
        let people = directory(&t, "org_meridian", "okta", json!({ "resources": ["restricted.api", "nationals.api"],
            "discloses": ["status", "confidence"] })).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let resources = user[ELIGIBILITY]["resources"].as_array().unwrap();
        let names: Vec<&Value> = resources.iter().map(|told| &told["resource"]).collect();
        assert_eq!(names, ["nationals.api", "restricted.api"]);
        for told in resources {
            assert_eq!((&told["allowed"], told.get("validUntil")), (&json!(false), None), "{told}");
        }
        // What is registered is told as far as the policy tells it too; nothing governs the other.
        assert_eq!(resources.iter().map(|told| told["status"].as_str()).collect::<Vec<_>>(), [None, Some("insufficient")]);
        // Ours to say: written by a directory it is read over, by a path refused.
        let mut body = named("ada", "00u1");
        body[ELIGIBILITY] = json!({ "resources": [{ "resource": "restricted.api", "allowed": true }] });
        let put = ask(&t, &people.token, Method::PUT, &format!("/Users/{}", id(&user)), Some(&body), &[]).await;
        assert_eq!(put.body[ELIGIBILITY], user[ELIGIBILITY]);
        let write = json!({ "schemas": [PATCH_OP], "Operations": [{ "op": "replace", "path": format!("{ELIGIBILITY}:resources"), "value": [] }] });
        let refused = ask(&t, &people.token, Method::PATCH, &format!("/Users/{}", id(&user)), Some(&write), &[]).await;
        assert_eq!((refused.status, &refused.body["scimType"]), (StatusCode::BAD_REQUEST, &json!("mutability")));
    })
    .await;
}
