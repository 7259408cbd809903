use super::filter::{MAX_FILTER, Needle, Question};
use super::schema::{PATCH_OP, schemas};
use super::*;
use serde_json::json;

fn user(members: Value) -> Value {
    let mut user = json!({ "schemas": [CORE], "userName": "ada@example.com" });
    user.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    user
}

fn profile(members: Value) -> Profile {
    Profile::parse(&user(members)).unwrap()
}

fn ada() -> Profile {
    profile(json!({
        "externalId": "00u1", "active": true, "displayName": "Ada",
        "name": { "givenName": "Ada", "familyName": "Lovelace" },
        "emails": [{ "value": "Ada@Example.com", "type": "work", "primary": true }, { "value": "ada@home.test", "type": "home" }],
    }))
}

fn patch(operations: Value) -> Value {
    json!({ "schemas": [PATCH_OP], "Operations": operations })
}

fn patched(operations: Value) -> Value {
    Value::Object(ada().patched(&patch(operations)).unwrap().members().clone())
}

fn refused(operations: Value) -> FaultKind {
    ada().patched(&patch(operations)).unwrap_err().kind
}

#[test]
fn names_are_read_in_whatever_letters_and_what_is_not_held_is_read_over() {
    let read = Profile::parse(&json!({
        "SCHEMAS": [CORE.to_uppercase()], "USERNAME": "ada", "Active": "False", "password": "secret", "title": "Countess",
        "id": "usr_mine", "meta": { "version": "1" }, "groups": [], ELIGIBILITY: { "resources": [{ "allowed": true }] },
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "x" },
        format!("{CORE}:displayName"): "Ada", "Name": { "FAMILYNAME": "Lovelace", "unknown": 1 }, "emails": [], "externalId": null,
    }));
    let held =
        json!({ "userName": "ada", "active": false, "displayName": "Ada", "name": { "familyName": "Lovelace" } });
    assert_eq!(Value::Object(read.unwrap().members().clone()), held);
}

#[test]
fn what_is_no_user_is_refused_by_its_kind() {
    let long = "x".repeat(MAX_TEXT + 1);
    let many: Vec<Value> = (0..=MAX_VALUES).map(|n| json!({ "value": format!("{n}@x.test") })).collect();
    for (body, kind) in [
        (json!([]), FaultKind::InvalidSyntax),
        (json!({ "userName": "ada" }), FaultKind::InvalidSyntax),
        (json!({ "schemas": [PATCH_OP], "userName": "ada" }), FaultKind::InvalidSyntax),
        (json!({ "schemas": [CORE] }), FaultKind::InvalidValue),
        (user(json!({ "userName": "" })), FaultKind::InvalidValue),
        (user(json!({ "userName": null })), FaultKind::InvalidValue),
        (user(json!({ "username": "bo" })), FaultKind::InvalidSyntax),
        (user(json!({ "userName": 7 })), FaultKind::InvalidValue),
        (user(json!({ "userName": long })), FaultKind::InvalidValue),
        (user(json!({ "active": "yes" })), FaultKind::InvalidValue),
        (user(json!({ "active": 1 })), FaultKind::InvalidValue),
        (user(json!({ "name": "Ada" })), FaultKind::InvalidValue),
        (user(json!({ "name": { "givenName": "a", "GivenName": "b" } })), FaultKind::InvalidSyntax),
        (user(json!({ "emails": many })), FaultKind::InvalidValue),
        (user(json!({ "emails": ["a@b.c"] })), FaultKind::InvalidValue),
        (
            user(json!({ "emails": [{ "value": "a", "primary": true }, { "value": "b", "primary": "TRUE" }] })),
            FaultKind::InvalidValue,
        ),
    ] {
        assert_eq!(Profile::parse(&body).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn nobody_is_a_member_of_whom_it_is_not_said() {
    assert!(!profile(json!({})).active() && !profile(json!({ "active": "false" })).active());
    assert!(profile(json!({ "active": "True" })).active());
    let removed = ada().patched(&patch(json!([{ "op": "remove", "path": "active" }]))).unwrap();
    assert!(ada().active() && !removed.active());
    assert_eq!(ada().emails(), ["ada@example.com", "ada@home.test"]);
}

#[test]
fn changes_as_the_standard_okta_and_entra_write_them() {
    // Okta: no path, an object.
    assert_eq!(patched(json!([{ "op": "replace", "value": { "active": false } }]))["active"], false);
    // Entra: capital letters, words for truth, a filter in the path, parts by dots.
    assert_eq!(patched(json!([{ "op": "Replace", "path": "active", "value": "False" }]))["active"], false);
    let emails =
        patched(json!([{ "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "new@example.com" }]));
    assert_eq!(emails["emails"][0], json!({ "value": "new@example.com", "type": "work", "primary": true }));
    assert_eq!(emails["emails"][1]["value"], "ada@home.test");
    let added = patched(json!([{ "op": "Add", "path": "emails[type eq \"other\"].value", "value": "o@example.com" }]));
    assert_eq!(added["emails"][2], json!({ "type": "other", "value": "o@example.com" }));
    let name = patched(json!([{ "op": "Replace", "path": "name.familyName", "value": "King" }]));
    assert_eq!(name["name"], json!({ "givenName": "Ada", "familyName": "King" }));
    let dotted = patched(json!([{ "op": "replace", "value": { "name.familyName": "King", "DISPLAYNAME": "A" } }]));
    assert_eq!((&dotted["name"]["familyName"], &dotted["displayName"]), (&json!("King"), &json!("A")));
    let urn = patched(json!([{ "op": "Add", "path": format!("{CORE}:name.middleName"), "value": "A" }]));
    assert_eq!(urn["name"]["middleName"], "A");
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    let unheld = json!([{ "op": "Add", "path": enterprise, "value": "x" }, { "op": "Add", "path": "title", "value": "x" },
        { "op": "Replace", "path": "addresses[type eq \"work\"].formatted", "value": "x" },
        { "op": "replace", "value": { enterprise: "x", "password": "p", "id": "usr_1" } }]);
    assert_eq!(patched(unheld), Value::Object(ada().members().clone()));

    // The standard (RFC 7644 section 3.5.2).
    let merged = patched(json!([{ "op": "replace", "path": "name", "value": { "givenName": "A" } }]));
    assert_eq!(merged["name"], json!({ "givenName": "A", "familyName": "Lovelace" }), "what is not named stays");
    let replaced = patched(json!([{ "op": "replace", "path": "emails", "value": [{ "value": "x@y.z" }] }]));
    assert_eq!(replaced["emails"], json!([{ "value": "x@y.z" }]));
    let primary = patched(json!([{ "op": "add", "path": "emails", "value": [{ "value": "x@y.z", "primary": true }] }]));
    assert_eq!(primary["emails"][0], json!({ "value": "Ada@Example.com", "type": "work" }), "the one before ends");
    let moved = patched(json!([{ "op": "replace", "path": "emails[type eq \"home\"].primary", "value": true }]));
    assert_eq!((moved["emails"][0].get("primary"), &moved["emails"][1]["primary"]), (None, &json!(true)));
    let same = json!([{ "op": "add", "path": "emails", "value": [{ "value": "ada@home.test", "type": "home" }] }]);
    assert_eq!(patched(same)["emails"].as_array().unwrap().len(), 2, "a value that is there is not added again");
    let gone = patched(json!([{ "op": "remove", "path": "emails[type eq \"home\"]" }]));
    assert_eq!(gone["emails"].as_array().unwrap().len(), 1);
    assert_eq!(patched(json!([{ "op": "remove", "path": "emails[type pr]" }])).get("emails"), None);
    assert_eq!(
        patched(json!([{ "op": "remove", "path": "name.givenName" }]))["name"],
        json!({ "familyName": "Lovelace" })
    );
    assert_eq!(patched(json!([{ "op": "replace", "path": "displayName", "value": null }])).get("displayName"), None);
}

#[test]
fn changes_that_cannot_be_made_say_why_and_change_nothing() {
    let many =
        Value::Array(vec![json!({ "op": "add", "path": "displayName", "value": "x" }); patch::MAX_OPERATIONS + 1]);
    let emails: Vec<Value> = (0..MAX_VALUES).map(|n| json!({ "value": format!("{n}@x.test") })).collect();
    for (operations, kind) in [
        (json!([]), FaultKind::InvalidSyntax),
        (many, FaultKind::InvalidSyntax),
        (json!(["replace"]), FaultKind::InvalidSyntax),
        (json!([{ "op": "set", "path": "active", "value": true }]), FaultKind::InvalidSyntax),
        (json!([{ "op": "remove" }]), FaultKind::NoTarget),
        (json!([{ "op": "replace", "value": "x" }]), FaultKind::InvalidValue),
        (json!([{ "op": "replace", "path": 7, "value": "x" }]), FaultKind::InvalidPath),
        (json!([{ "op": "replace", "path": "emails[type eq", "value": "x" }]), FaultKind::InvalidPath),
        (json!([{ "op": "replace", "path": "x".repeat(600), "value": "x" }]), FaultKind::InvalidPath),
        (
            json!([{ "op": "replace", "path": "name[givenName eq \"Ada\"].familyName", "value": "x" }]),
            FaultKind::InvalidPath,
        ),
        (json!([{ "op": "replace", "path": "emails[colour eq \"red\"].value", "value": "x" }]), FaultKind::InvalidPath),
        (json!([{ "op": "replace", "path": "emails[type eq \"other\"].value", "value": "x" }]), FaultKind::NoTarget),
        (json!([{ "op": "remove", "path": "emails[type eq \"other\"]" }]), FaultKind::NoTarget),
        (json!([{ "op": "add", "path": "emails[type sw \"oth\"].value", "value": "x" }]), FaultKind::NoTarget),
        (json!([{ "op": "remove", "path": "userName" }]), FaultKind::Mutability),
        (json!([{ "op": "replace", "path": "userName", "value": "" }]), FaultKind::Mutability),
        (json!([{ "op": "replace", "path": "id", "value": "usr_2" }]), FaultKind::Mutability),
        (json!([{ "op": "replace", "path": "meta.version", "value": "2" }]), FaultKind::Mutability),
        (json!([{ "op": "replace", "path": ELIGIBILITY, "value": { "resources": [] } }]), FaultKind::Mutability),
        (json!([{ "op": "add", "path": ELIGIBILITY, "value": { "schemas": [ELIGIBILITY] } }]), FaultKind::Mutability),
        (json!([{ "op": "replace", "path": ELIGIBILITY, "value": {} }]), FaultKind::Mutability),
        (
            json!([{ "op": "add", "path": format!("{ELIGIBILITY}:resources"), "value": [{ "allowed": true }] }]),
            FaultKind::Mutability,
        ),
        (json!([{ "op": "replace", "path": "active", "value": "maybe" }]), FaultKind::InvalidValue),
        (json!([{ "op": "replace", "value": { "active": true, "ACTIVE": false } }]), FaultKind::InvalidSyntax),
        (json!([{ "op": "replace", "path": "emails[value pr].primary", "value": true }]), FaultKind::InvalidValue),
        (json!([{ "op": "add", "path": "emails", "value": emails }]), FaultKind::InvalidValue),
        (json!([{ "op": "replace", "path": "displayName", "value": "x" }, { "op": "remove" }]), FaultKind::NoTarget),
    ] {
        assert_eq!(refused(operations.clone()), kind, "{operations}");
    }
    assert_eq!(ada().patched(&json!({ "Operations": [] })).unwrap_err().kind, FaultKind::InvalidSyntax);
}

fn told() -> Value {
    let mut told = Value::Object(ada().members().clone());
    let members = told.as_object_mut().unwrap();
    members.insert("id".to_owned(), json!("usr_1"));
    members.insert(
        "meta".to_owned(),
        json!({ "created": "2026-11-21T00:00:00Z", "lastModified": "2026-11-22T00:00:00Z" }),
    );
    told
}

#[test]
fn filters_mean_what_the_standard_says() {
    for (text, wanted) in [
        ("userName eq \"ADA@example.COM\"", true),
        ("USERNAME Eq \"ada@example.com\"", true),
        ("userName eq \"bo@example.com\"", false),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"ada\"", true),
        ("externalId eq \"00u1\"", true),
        ("externalId eq \"00U1\"", false),
        ("id eq \"usr_1\"", true),
        ("id eq \"USR_1\"", false),
        ("active eq true", true),
        ("active ne true", false),
        ("active eq \"True\"", true),
        ("not (active eq true)", false),
        ("not(active eq false)", true),
        ("displayName co \"d\" and active eq true", true),
        ("displayName eq \"not(\" or active eq true", true),
        ("name.familyName ew \"LACE\"", true),
        ("name.middleName pr", false),
        ("name.middleName ne \"x\"", true),
        ("name.middleName eq null", true),
        ("name pr and emails pr", true),
        ("emails eq \"ada@home.test\"", true),
        ("emails.value eq \"ada@HOME.test\"", true),
        ("emails.type eq \"other\"", false),
        ("emails[type eq \"work\" and value co \"@example\"]", true),
        ("emails[type eq \"home\" and value co \"@example\"]", false),
        ("emails[not (type eq \"work\")]", true),
        ("emails[primary eq true].value eq \"x\" or active eq true", false),
        ("userName eq \"x\" or active eq true and externalId eq \"y\"", false),
        ("(userName eq \"x\" or active eq true) and externalId eq \"00u1\"", true),
        ("active eq true or userName eq \"x\" and externalId eq \"y\"", true),
        ("meta.created lt \"2026-11-21T00:00:01Z\"", true),
        ("meta.lastModified ge \"2026-11-22T01:00:00+01:00\"", true),
        ("userName gt \"ad\" and userName le \"b\"", true),
    ] {
        match Question::parse(text) {
            Ok(question) => assert_eq!(question.matches(&told()), wanted, "{text}"),
            // The grammar has no part behind `]` in a filter.
            Err(fault) => {
                assert!(text.contains("].value") && fault.kind == FaultKind::InvalidFilter, "{text}: {fault}")
            }
        }
    }
}

#[test]
fn hostile_filters_and_those_of_what_is_not_held_are_refused() {
    let deep = format!("{}active eq true{}", "(".repeat(400), ")".repeat(400));
    let nots = format!("{}active eq true{}", "not (".repeat(100), ")".repeat(100));
    let long = format!("userName eq \"{}\"", "x".repeat(MAX_FILTER));
    let chain = vec!["active pr"; 65].join(" and ");
    for text in [
        "",
        " ",
        "userName",
        "userName eq",
        "eq \"x\"",
        "userName eq x",
        "userName = \"x\"",
        "userName eq \"x",
        "userName eq \"x\" and",
        "and userName pr",
        "userName eq \"x\" userName eq \"y\"",
        "(userName pr",
        "userName pr)",
        "[userName pr]",
        "title eq \"x\"",
        "password eq \"x\"",
        "groups eq \"x\"",
        "schemas eq \"x\"",
        "meta.version eq \"1\"",
        "meta eq \"x\"",
        "name eq \"x\"",
        "userName.x pr",
        "emails[colour eq \"x\"]",
        "emails[emails.value eq \"x\"]",
        "name[givenName eq \"x\"]",
        "userName[value eq \"x\"]",
        "active co \"t\"",
        "active gt false",
        "active eq \"maybe\"",
        "userName eq 7",
        "userName eq true",
        "userName gt null",
        "meta.created co \"2026\"",
        "meta.created eq \"yesterday\"",
        "userName eq \"\\ud800\"",
        "userName eq \"a\0b\"",
        "emails[type eq \"x\"",
        "userName eq 'x'",
        "userName eq \"x\"; DROP TABLE subjects",
        "urn:x:userName eq \"x\"",
        "name.givenName.x eq \"y\"",
        &format!("{ELIGIBILITY}:resources.allowed eq true"),
        &deep,
        &nots,
        &long,
    ] {
        assert_eq!(Question::parse(text).map(|_| ()).unwrap_err().kind, FaultKind::InvalidFilter, "{text}");
    }
    assert!(chain.len() <= MAX_FILTER && Question::parse(&chain).unwrap().matches(&told()), "a long chain is not deep");
}

#[test]
fn what_every_match_has_is_looked_up_and_nothing_else() {
    for (text, wanted) in [
        ("userName eq \"Ada\"", Some(Needle::UserName("ada".into()))),
        ("active eq true and externalId eq \"00U\"", Some(Needle::ExternalId("00U".into()))),
        ("emails[type eq \"work\" and value eq \"A@B\"]", Some(Needle::Email("a@b".into()))),
        ("emails.value eq \"A@B\"", Some(Needle::Email("a@b".into()))),
        ("(id eq \"usr_1\")", Some(Needle::Id("usr_1".into()))),
        ("userName ne \"ada\"", None),
        ("userName sw \"ada\"", None),
        ("not (userName eq \"ada\")", None),
        ("userName eq \"ada\" or active eq true", None),
        ("emails[type eq \"work\"]", None),
        ("emails[not (value eq \"a@b\")]", None),
        ("emails.type eq \"work\"", None),
        ("active eq true", None),
    ] {
        assert_eq!(Question::parse(text).unwrap().needle(), wanted, "{text}");
    }
}

#[test]
fn the_published_schemas_are_made_of_the_table() {
    let all = schemas("https://id.example/scim/v2");
    let user = all.iter().find(|schema| schema["id"] == CORE).unwrap();
    let names: Vec<&str> = user["attributes"].as_array().unwrap().iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names, ["userName", "name", "displayName", "emails", "active"]);
    let ours = all.iter().find(|schema| schema["id"] == ELIGIBILITY).unwrap();
    let parts = ours["attributes"][0]["subAttributes"].as_array().unwrap();
    assert!(parts.iter().chain([&ours["attributes"][0]]).all(|a| a["mutability"] == "readOnly"), "{ours}");
    assert_eq!(parts.len(), 5);
}
