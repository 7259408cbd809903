//! What `Store` promises of people in directories, asked of every implementation.

use crate::store_contract::{add_subject, change, contract, erase, version};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{Conflict, Store, StoredDirectoryUser, UserKey, Write};

contract!(
    a_directory_user_is_replaced_only_at_its_version,
    names_ids_and_subjects_are_taken_once_in_each_directory,
    directory_users_are_found_by_each_key_and_paged_in_id_order,
    a_member_is_not_idle_and_an_erased_one_is_gone,
);

fn user(id: &str, directory: &str, subject: &str) -> StoredDirectoryUser {
    StoredDirectoryUser {
        id: format!("usr_{id}"),
        directory: directory.to_owned(),
        subject: subject.to_owned(),
        user_name: format!("name {id}"),
        external_id: Some(format!("ext {id}")),
        version: 1,
        sealed: vec![1, 2, 255],
        attestation: None,
        created_at_ms: 5,
        changed_at_ms: 6,
    }
}

async fn put(
    store: &Arc<dyn Store>,
    user: &StoredDirectoryUser,
    emails: &[&str],
    expected: i64,
) -> Result<(), Conflict> {
    let emails = emails.iter().map(|email| (*email).to_owned()).collect();
    let write = Write::DirectoryUser { user: user.clone(), emails, expected };
    store.commit(change(&user.id, vec![write])).await.unwrap()
}

async fn found(store: &Arc<dyn Store>, key: UserKey<'_>) -> Vec<String> {
    let rows = store.directory_users_by("dir_a", key, 10).await.unwrap();
    rows.into_iter().map(|row| row.user.id).collect()
}

async fn a_directory_user_is_replaced_only_at_its_version(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let first = user("1", "dir_a", "sub_1");
    assert_eq!(put(&store, &first, &["a", "b"], 0).await, Ok(()));
    let rows = store.directory_users_of("sub_1").await.unwrap();
    assert_eq!((&rows[0].user, rows[0].wrapped_key.len(), rows.len()), (&first, 40, 1));
    assert_eq!(version(&store, "sub_1").await, 1, "who somebody is in a directory is no statement about them");
    let second = StoredDirectoryUser {
        version: 2,
        sealed: vec![9],
        external_id: None,
        attestation: Some("att_1".to_owned()),
        changed_at_ms: 7,
        ..first.clone()
    };
    assert_eq!(put(&store, &second, &["b", "c"], 2).await, Err(Conflict::Stale("directory_users")));
    assert_eq!(put(&store, &second, &["b", "c"], 1).await, Ok(()));
    assert_eq!(put(&store, &second, &[], 1).await, Err(Conflict::Stale("directory_users")));
    assert_eq!(store.directory_users_of("sub_1").await.unwrap()[0].user, second);
    for (email, wanted) in [("a", &[][..]), ("b", &["usr_1"]), ("c", &["usr_1"])] {
        assert_eq!(found(&store, UserKey::Email(email)).await, wanted, "{email}");
    }
    // Nobody moves it to another directory or subject.
    add_subject(&store, "sub_2").await;
    for moved in [
        StoredDirectoryUser { directory: "dir_b".to_owned(), ..second.clone() },
        StoredDirectoryUser { subject: "sub_2".to_owned(), ..second.clone() },
    ] {
        assert_eq!(put(&store, &moved, &[], 2).await, Err(Conflict::Stale("directory_users")));
    }
    let remove = |expected| change("r", vec![Write::RemoveDirectoryUser { id: "usr_1".to_owned(), expected }]);
    assert_eq!(store.commit(remove(1)).await.unwrap(), Err(Conflict::Stale("directory_users")));
    assert_eq!(found(&store, UserKey::Email("b")).await, ["usr_1"], "a conflict undoes all of it");
    assert_eq!(store.commit(remove(2)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(remove(2)).await.unwrap(), Err(Conflict::Stale("directory_users")));
    assert_eq!((database.count("directory_users").await, database.count("directory_emails").await), (0, 0));
}

async fn names_ids_and_subjects_are_taken_once_in_each_directory(database: &Database) {
    let store = database.store().await;
    for subject in ["sub_1", "sub_2", "sub_3"] {
        add_subject(&store, subject).await;
    }
    let first = user("1", "dir_a", "sub_1");
    assert_eq!(put(&store, &first, &[], 0).await, Ok(()));
    let other = user("2", "dir_a", "sub_2");
    let taken = Err(Conflict::Exists("directory_users"));
    for clash in [
        StoredDirectoryUser { id: first.id.clone(), ..other.clone() },
        StoredDirectoryUser { user_name: first.user_name.clone(), ..other.clone() },
        StoredDirectoryUser { external_id: first.external_id.clone(), ..other.clone() },
        StoredDirectoryUser { subject: "sub_1".to_owned(), ..other.clone() },
    ] {
        assert_eq!(put(&store, &clash, &[], 0).await, taken, "{clash:?}");
    }
    assert_eq!(put(&store, &other, &[], 0).await, Ok(()));
    let renamed = StoredDirectoryUser { user_name: first.user_name.clone(), ..other.clone() };
    assert_eq!(put(&store, &renamed, &[], 1).await, taken);
    let nameless = |id: &str, subject: &str| StoredDirectoryUser { external_id: None, ..user(id, "dir_a", subject) };
    assert_eq!(put(&store, &nameless("3", "sub_3"), &[], 0).await, Ok(()), "without an id of the directory's own");
    assert_eq!(
        put(&store, &StoredDirectoryUser { id: "usr_4".to_owned(), directory: "dir_b".to_owned(), ..first }, &[], 0)
            .await,
        Ok(())
    );
    assert_eq!(put(&store, &user("5", "dir_a", "sub_9"), &[], 0).await, Err(Conflict::NoSuchSubject));
}

async fn directory_users_are_found_by_each_key_and_paged_in_id_order(database: &Database) {
    let store = database.store().await;
    for n in ["3", "1", "2", "4"] {
        add_subject(&store, &format!("sub_{n}")).await;
        let directory = if n == "4" { "dir_b" } else { "dir_a" };
        assert_eq!(put(&store, &user(n, directory, &format!("sub_{n}")), &["shared", n], 0).await, Ok(()));
    }
    for (key, wanted) in [
        (UserKey::Id("usr_2"), &["usr_2"][..]),
        (UserKey::Id("usr_4"), &[]),
        (UserKey::UserName("name 1"), &["usr_1"]),
        (UserKey::UserName("name 4"), &[]),
        (UserKey::ExternalId("ext 3"), &["usr_3"]),
        (UserKey::Subject("sub_3"), &["usr_3"]),
        (UserKey::Email("shared"), &["usr_1", "usr_2", "usr_3"]),
        (UserKey::Email("4"), &[]),
    ] {
        assert_eq!(found(&store, key).await, wanted, "{key:?}");
    }
    let page = async |after: &str, skip, limit| {
        let (total, rows) = store.directory_users("dir_a", after, skip, limit).await.unwrap();
        assert_eq!(total, 3);
        rows.into_iter().map(|row| row.user.id).collect::<Vec<_>>()
    };
    assert_eq!(page("", 0, 2).await, ["usr_1", "usr_2"]);
    assert_eq!(page("", 2, 2).await, ["usr_3"]);
    assert_eq!(page("usr_1", 0, 9).await, ["usr_2", "usr_3"]);
    assert_eq!(page("", 9, 2).await, Vec::<String>::new());
    assert_eq!(store.directory_users("dir_c", "", 0, 9).await.unwrap(), (0, Vec::new()));
}

async fn a_member_is_not_idle_and_an_erased_one_is_gone(database: &Database) {
    let store = database.store().await;
    for (subject, attestation) in [("sub_000000000001", Some("att_1")), ("sub_000000000002", None)] {
        add_subject(&store, subject).await;
        let member =
            StoredDirectoryUser { attestation: attestation.map(str::to_owned), ..user(subject, "dir_a", subject) };
        assert_eq!(put(&store, &member, &["a"], 0).await, Ok(()));
    }
    assert_eq!(store.idle_subjects("", 9_000, 10).await.unwrap(), ["sub_000000000002"]);
    erase(&store, "sub_000000000001", 1).await;
    assert_eq!(store.directory_users_of("sub_000000000001").await.unwrap(), []);
    assert_eq!((database.count("directory_users").await, database.count("directory_emails").await), (1, 1));
    let late = user("late", "dir_a", "sub_000000000001");
    assert_eq!(put(&store, &late, &[], 0).await, Err(Conflict::NoSuchSubject));
}
