//! Whose users they are, who they are, and who may ask.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_organisation_sees_or_changes_anothers_users() {
    on_both(async |t: TestApp| {
        let (ours, theirs) = (meridian(&t).await, directory(&t, "org_other", "okta-other", json!({})).await);
        let user = put_in(&t, &ours, &named("ada", "00u1")).await;
        let subject = subject_of(&t, &ours, id(&user)).await;
        let (there, nowhere) = (format!("/Users/{}", id(&user)), "/Users/usr_0190000000000000000000000000000000");
        for (method, body) in [
            (Method::GET, None),
            (Method::PUT, Some(named("ada", "00u1"))),
            (Method::PATCH, Some(replace(json!({ "active": false })))),
            (Method::DELETE, None),
        ] {
            let foreign = ask(&t, &theirs.token, method.clone(), &there, body.as_ref(), &[]).await;
            let unknown = ask(&t, &theirs.token, method.clone(), nowhere, body.as_ref(), &[]).await;
            assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{method}");
            assert_eq!(foreign.body, unknown.body, "{method}: whose it is cannot be told from whether it is");
        }
        for filter in
            ["userName%20eq%20%22ada%22", "externalId%20eq%20%2200u1%22", "active%20eq%20true", "userName%20pr"]
        {
            let listed = ask(&t, &theirs.token, Method::GET, &format!("/Users?filter={filter}"), None, &[]).await;
            assert_eq!(listed.body["totalResults"], 0, "{filter}");
        }
        let by_id = format!("/Users?filter=id%20eq%20%22{}%22", id(&user));
        assert_eq!(ask(&t, &theirs.token, Method::GET, &by_id, None, &[]).await.body["totalResults"], 0);
        assert_eq!(ask(&t, &ours.token, Method::GET, &by_id, None, &[]).await.body["totalResults"], 1);
        // The same names are somebody else's there.
        let other = put_in(&t, &theirs, &named("ada", "00u1")).await;
        assert_ne!(subject_of(&t, &theirs, id(&other)).await, subject);
        assert_eq!(statements(&t, &subject, "directory").await, [true]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_shared_with_an_identity_provider_of_the_same_organisation_only() {
    on_both(async |t: TestApp| {
        for id in ["org_meridian", "org_other"] {
            t.created("/v1/organisations", json!({ "id": id, "name": id, "verified": true })).await;
        }
        let provider = |namespace: &str, organisation: Value| {
            let mut key = vouchsafe_verify::testing::Signer::es256().jwk();
            key["kid"] = json!("k1");
            json!({ "name": "p", "issuer": format!("https://{namespace}.example"), "namespace": namespace, "audiences": ["app"],
                "keys": [key], "organisation": organisation })
        };
        let people = |namespace: &str| json!({ "name": "People", "organisation": "org_meridian", "namespace": namespace });
        let refused = async |path: &str, body: Value, pointer: &str| {
            let answer = t.post(path, body).await;
            let told = (answer.status, &answer.body["errors"][0]["pointer"]);
            assert_eq!(told, (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)), "{}", answer.body);
        };
        // The provider was first.
        for (namespace, organisation) in [("own", json!("org_meridian")), ("theirs", json!("org_other")), ("all", Value::Null)] {
            t.created("/v1/identity-providers", provider(namespace, organisation)).await;
        }
        t.created("/v1/directories", people("own")).await;
        for namespace in ["theirs", "all"] {
            refused("/v1/directories", people(namespace), "/namespace").await;
        }
        // It stays that organisation's.
        for organisation in [json!("org_other"), Value::Null] {
            let change = Some(json!({ "organisation": organisation }));
            let answer = t.send(&t.admin, Method::PATCH, "/v1/identity-providers/idp_own", change).await;
            assert_eq!(answer.body["errors"][0]["pointer"], "/organisation", "{}", answer.body);
        }
        // The directory was first.
        t.created("/v1/directories", people("late")).await;
        for organisation in [json!("org_other"), Value::Null] {
            refused("/v1/identity-providers", provider("late", organisation), "/organisation").await;
        }
        t.created("/v1/identity-providers", provider("late", json!("org_meridian"))).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_kept_as_a_hash_and_ends_at_once_everywhere() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let replica = t.replica().await;
        let good = async |token: &str| {
            let there = ask(&t, token, Method::GET, "/Users?count=0", None, &[]).await.status;
            let known = replica.directory_of_token(token).is_ok();
            assert_eq!(there == StatusCode::OK, known, "{there}");
            known
        };
        assert!(good(&people.token).await);
        let (name, secret) = people.token.split_once('.').unwrap();
        let records =
            crate::support::pairs(&t.database_url, "SELECT id, body FROM records WHERE kind = 'directory'").await;
        assert!(!format!("{records:?}").contains(secret) && format!("{records:?}").contains(name));
        let told = t.get(&format!("/v1/directories/{}", people.id)).await.body.to_string();
        assert!(told.contains(name) && !told.contains("key_sha256") && !told.contains(secret), "{told}");
        assert!(!t.get("/v1/directories").await.body.to_string().contains("key_sha256"));

        let second = token(&t, &people.id).await;
        replica.poll_feed().await.unwrap();
        assert!(good(&people.token).await && good(&second).await, "both, while one takes the place of the other");
        let path = format!("/v1/directories/{}/tokens/{name}", people.id);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
        replica.poll_feed().await.unwrap();
        assert!(!good(&people.token).await && good(&second).await);
        assert_eq!(t.send(&t.admin, Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
        let (other, _) = second.split_once('.').unwrap();
        for forged in [
            format!("{other}.{secret}"),
            other.to_owned(),
            format!("{other}."),
            format!("sct_x.{secret}"),
            "sct_".to_owned(),
        ] {
            let refused = ask(&t, &forged, Method::GET, "/Users", None, &[]).await;
            assert_eq!(
                (refused.status, &refused.body["status"]),
                (StatusCode::UNAUTHORIZED, &json!("401")),
                "{forged}"
            );
            assert!(refused.header("www-authenticate").starts_with("Bearer"));
        }

        let end = json!({ "expires_at": "2026-11-21T00:01:00Z" });
        let short = t.created(&format!("/v1/directories/{}/tokens", people.id), end).await["token"]
            .as_str()
            .unwrap()
            .to_owned();
        replica.poll_feed().await.unwrap();
        t.clock.advance(59);
        t.app.poll_feed().await.unwrap();
        assert!(good(&short).await);
        t.clock.advance(1);
        t.app.poll_feed().await.unwrap();
        assert!(!good(&short).await && good(&second).await, "it has ended");

        let disable = t
            .send(&t.admin, Method::PATCH, &format!("/v1/directories/{}", people.id), Some(json!({ "disabled": true })))
            .await;
        assert_eq!(disable.status, StatusCode::NO_CONTENT, "{}", disable.body);
        replica.poll_feed().await.unwrap();
        assert!(!good(&second).await);
        for action in ["created", "token_created", "token_revoked", "changed"] {
            let entries = t.audited(&format!("directory.{action}")).await;
            assert!(!entries.is_empty() && !json!(entries).to_string().contains(secret), "{action}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_speaks_for_its_organisations_one_directory_and_only_with_the_scope() {
    on_both(async |t: TestApp| {
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        let path = format!("/Users/{}", id(&user));
        let asks = async |scopes: &[&str], organisation: Option<&str>| {
            let client = t.client("Emi", scopes, &[], organisation).await;
            ask(&t, &client, Method::GET, &path, None, &[]).await.status
        };
        assert_eq!(asks(&["scim"], Some("org_meridian")).await, StatusCode::OK);
        assert_eq!(asks(&["subjects:read"], Some("org_meridian")).await, StatusCode::FORBIDDEN);
        assert_eq!(asks(&["scim"], None).await, StatusCode::FORBIDDEN);
        t.created("/v1/organisations", json!({ "id": "org_other", "name": "Other", "verified": true })).await;
        assert_eq!(asks(&["scim"], Some("org_other")).await, StatusCode::FORBIDDEN, "it has none");
        let switch = async |disabled: bool| {
            let path = format!("/v1/directories/{}", people.id);
            let done = t.send(&t.admin, Method::PATCH, &path, Some(json!({ "disabled": disabled }))).await;
            assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.body);
        };
        switch(true).await;
        assert_eq!(asks(&["scim"], Some("org_meridian")).await, StatusCode::FORBIDDEN, "it is switched off");
        switch(false).await;
        assert_eq!(asks(&["scim"], Some("org_meridian")).await, StatusCode::OK);
        directory(&t, "org_meridian", "entra-meridian", json!({})).await;
        assert_eq!(
            asks(&["scim"], Some("org_meridian")).await,
            StatusCode::FORBIDDEN,
            "nobody can tell which is meant"
        );
        assert_eq!(shown(&t, &people, id(&user)).await.status, StatusCode::OK, "its own token says which");
        let nobody = answer(t.http.get(format!("{}/scim/v2/Users", t.url))).await;
        assert_eq!((nobody.status, &nobody.body["schemas"][0]), (StatusCode::UNAUTHORIZED, &json!(ERROR)));
        // A directory's token opens nothing else.
        for other in ["/v1/subjects", "/v1/directories", "/v1/audit/head"] {
            assert_ne!(t.send(&people.token, Method::GET, other, None).await.status, StatusCode::OK, "{other}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_found_by_the_directorys_own_id_and_by_an_address_only_where_that_was_registered() {
    on_both(async |t: TestApp| {
        let plain = meridian(&t).await;
        let emails = json!({ "emails": { "namespace": "email", "domains": ["meridian.example"] } });
        let matching = directory(&t, "org_meridian", "entra-meridian", emails).await;
        let (ada, bo) = (t.subject("ada").await, t.subject("bo").await);
        let link = async |subject: &str, namespace: &str, id: &str| {
            let body = json!({ "namespace": namespace, "id": id });
            t.created(&format!("/v1/subjects/{subject}/links"), body).await;
        };
        link(&ada, "okta-meridian", "00u1").await;
        link(&ada, "email", "ada@meridian.example").await;
        link(&bo, "email", "bo@elsewhere.example").await;
        link(&bo, "email", "bo@meridian.example").await;
        let who = async |directory: &Directory, user: &Value| {
            let made = put_in(&t, directory, user).await;
            subject_of(&t, directory, id(&made)).await
        };
        let mail = |name: &str, external_id: &str, addresses: &[&str]| {
            let emails: Vec<Value> = addresses.iter().map(|address| json!({ "value": address })).collect();
            json!({ "schemas": [CORE], "userName": name, "externalId": external_id, "emails": emails })
        };
        assert_eq!(who(&plain, &mail("ada", "00u1", &[])).await, ada, "by the link that was there");
        let strangers = who(&plain, &mail("b1", "00u2", &["bo@meridian.example"])).await;
        assert_ne!(strangers, bo, "nobody is joined by an address unless it was registered");
        assert_eq!(who(&matching, &mail("a2", "e1", &["Ada@Meridian.example"])).await, ada);
        assert_ne!(who(&matching, &mail("b2", "e2", &["bo@elsewhere.example"])).await, bo, "not a domain of its own");
        let both = mail("b3", "e3", &["ada@meridian.example", "bo@meridian.example"]);
        let neither = who(&matching, &both).await;
        assert!(neither != ada && neither != bo, "two people's addresses tell nobody who it is");
        let again =
            ask(&t, &matching.token, Method::POST, "/Users", Some(&mail("a3", "e4", &["ada@meridian.example"])), &[])
                .await;
        assert_eq!(
            (again.status, &again.body["scimType"]),
            (StatusCode::CONFLICT, &json!("uniqueness")),
            "one place each"
        );

        // What is no person is nobody's user.
        let workload =
            t.created("/v1/subjects", json!({ "kind": "workload" })).await["id"].as_str().unwrap().to_owned();
        link(&workload, "okta-meridian", "00u9").await;
        let refused = ask(&t, &plain.token, Method::POST, "/Users", Some(&mail("w", "00u9", &[])), &[]).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_proven_is_never_handed_to_another_id() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let people = meridian(&t).await;
        let user = put_in(&t, &people, &named("ada", "00u1")).await;
        put_in(&t, &people, &named("bo", "00u2")).await;
        let subject = subject_of(&t, &people, id(&user)).await;
        let taken = change(&t, &people, id(&user), json!({ "externalId": "00u2" })).await;
        assert_eq!((taken.status, &taken.body["scimType"]), (StatusCode::CONFLICT, &json!("uniqueness")));
        let moved = change(&t, &people, id(&user), json!({ "externalId": "00u3" })).await;
        assert_eq!((moved.status, &moved.body["externalId"]), (StatusCode::OK, &json!("00u3")), "{}", moved.body);
        let linked = async |id: &str| t.app.resolve_link("okta-meridian", id).await.unwrap();
        assert_eq!((linked("00u1").await, linked("00u3").await), (None, Some(subject.clone())));
        // Whoever left is still who that id names.
        let cy = put_in(&t, &people, &named("cy", "00u5")).await;
        let left = subject_of(&t, &people, id(&cy)).await;
        let gone = ask(&t, &people.token, Method::DELETE, &format!("/Users/{}", id(&cy)), None, &[]).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        let taken = change(&t, &people, id(&user), json!({ "externalId": "00u5" })).await;
        assert_eq!((taken.status, &taken.body["scimType"]), (StatusCode::CONFLICT, &json!("uniqueness")));
        assert_eq!((linked("00u5").await, linked("00u3").await), (Some(left), Some(subject.clone())));

        assert_eq!(t.attest(&sources, &subject, face_check(&sources)).await.status, StatusCode::CREATED);
        let remove = json!({ "schemas": [PATCH_OP], "Operations": [{ "op": "remove", "path": "externalId" }] });
        for body in [replace(json!({ "externalId": "00u4" })), remove] {
            let refused =
                ask(&t, &people.token, Method::PATCH, &format!("/Users/{}", id(&user)), Some(&body), &[]).await;
            assert_eq!((refused.status, &refused.body["scimType"]), (StatusCode::BAD_REQUEST, &json!("mutability")));
        }
        assert_eq!((linked("00u3").await, linked("00u4").await), (Some(subject), None));
        assert_eq!(change(&t, &people, id(&user), json!({ "userName": "ada.king" })).await.status, StatusCode::OK);
        let clash = change(&t, &people, id(&user), json!({ "userName": "BO" })).await;
        assert_eq!((clash.status, &clash.body["scimType"]), (StatusCode::CONFLICT, &json!("uniqueness")));
    })
    .await;
}
