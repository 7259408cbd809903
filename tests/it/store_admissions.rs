//! What `Store` promises of the ledger of admissions, asked of every implementation.

use crate::store_contract::{add_subject, change, contract, erase};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{AskedAdmissions, Store, StoredAdmission, StoredHold, Table, Write};

contract!(
    admissions_of_one_row_add_up,
    replicas_that_count_the_same_at_once_lose_nothing,
    admissions_are_found_by_resource_family_subject_gateway_and_time,
    of_a_subject_that_is_gone_nothing_is_kept,
    admissions_go_after_their_time_and_not_under_hold,
);

const HOUR: i64 = 3_600_000;

const ALL: AskedAdmissions<'static> = AskedAdmissions {
    resource: "",
    family: "",
    subject: "",
    gateway: "",
    from_ms: 0,
    to_ms: 1_000 * HOUR,
    after: "",
    limit: 100,
};

/// One admission in the middle of an hour.
fn row(hour: i64, name: &str, subject: &str, resource: &str) -> StoredAdmission {
    StoredAdmission {
        id: format!("adm_{:012x}{name}", hour * HOUR),
        subject: subject.to_owned(),
        acting_for: String::new(),
        resource: resource.to_owned(),
        decision: "dec_1".to_owned(),
        gateway: "gw_1".to_owned(),
        through: String::new(),
        hour_ms: hour * HOUR,
        count: 1,
        first_ms: hour * HOUR + 1_800_000,
        last_ms: hour * HOUR + 1_800_000,
    }
}

async fn admit(store: &Arc<dyn Store>, rows: &[StoredAdmission]) {
    store.commit(change("a", vec![Write::Admissions(rows.to_vec())])).await.unwrap().unwrap();
}

async fn names(store: &Arc<dyn Store>, asked: AskedAdmissions<'_>) -> Vec<String> {
    let found = store.admissions(asked).await.unwrap();
    found.into_iter().map(|row| row.id[16..].to_owned()).collect()
}

async fn admissions_of_one_row_add_up(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let first = StoredAdmission { acting_for: "sub_2".to_owned(), count: 3, ..row(5, "a", "sub_1", "restricted.api") };
    let later = StoredAdmission { count: 4, last_ms: first.last_ms + 7, ..first.clone() };
    let earlier = StoredAdmission { count: 5, first_ms: first.first_ms - 7, ..first.clone() };
    for row in [&first, &later, &earlier] {
        admit(&store, &[row.clone(), StoredAdmission { id: format!("{}x", row.id), ..row.clone() }]).await;
    }
    let sum = StoredAdmission { count: 12, first_ms: earlier.first_ms, last_ms: later.last_ms, ..first.clone() };
    let other = StoredAdmission { id: format!("{}x", first.id), ..sum.clone() };
    assert_eq!(store.admissions(ALL).await.unwrap(), [sum, other]);
}

async fn replicas_that_count_the_same_at_once_lose_nothing(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let mut counting = tokio::task::JoinSet::new();
    for n in 0..4 {
        let store = database.store().await;
        counting.spawn(async move {
            for round in 0..10 {
                let mut rows: Vec<_> = (0..20).map(|k| row(5, &format!("{k:02}"), "sub_1", "r.a")).collect();
                // In another order each time.
                rows.rotate_left((n * 7 + round * 3) % 20);
                admit(&store, &rows).await;
            }
        });
    }
    counting.join_all().await;
    let found = store.admissions(ALL).await.unwrap();
    assert_eq!(found.iter().map(|row| row.count).collect::<Vec<_>>(), [40; 20]);
}

async fn admissions_are_found_by_resource_family_subject_gateway_and_time(database: &Database) {
    let store = database.store().await;
    for subject in ["sub_1", "sub_2"] {
        add_subject(&store, subject).await;
    }
    let elsewhere = StoredAdmission { gateway: "gw_2".to_owned(), ..row(7, "d", "sub_2", "restricted.api.v2") };
    let rows =
        [row(5, "a", "sub_1", "restricted.api"), row(5, "b", "sub_2", "restrictedx.api"), row(6, "c", "sub_1", "r.a")];
    admit(&store, &rows).await;
    admit(&store, std::slice::from_ref(&elsewhere)).await;
    assert_eq!(names(&store, ALL).await, ["a", "b", "c", "d"]);
    assert_eq!(names(&store, AskedAdmissions { resource: "restricted.api", ..ALL }).await, ["a"]);
    assert_eq!(names(&store, AskedAdmissions { family: "restricted.", ..ALL }).await, ["a", "d"]);
    assert_eq!(names(&store, AskedAdmissions { subject: "sub_1", ..ALL }).await, ["a", "c"]);
    assert_eq!(names(&store, AskedAdmissions { subject: "sub_1", resource: "r.a", ..ALL }).await, ["c"]);
    assert_eq!(names(&store, AskedAdmissions { subject: "sub_1", family: "restricted.", ..ALL }).await, ["a"]);
    assert_eq!(names(&store, AskedAdmissions { gateway: "gw_2", ..ALL }).await, ["d"]);
    // All were counted in the middle of their hours.
    let middle = 5 * HOUR + 1_800_000;
    assert_eq!(names(&store, AskedAdmissions { from_ms: middle, to_ms: middle + 1, ..ALL }).await, ["a", "b"]);
    assert_eq!(names(&store, AskedAdmissions { from_ms: middle + 1, ..ALL }).await, ["c", "d"]);
    assert_eq!(names(&store, AskedAdmissions { to_ms: middle, ..ALL }).await, Vec::<String>::new());
    assert_eq!(names(&store, AskedAdmissions { from_ms: i64::MIN + HOUR, to_ms: i64::MAX, ..ALL }).await.len(), 4);
    assert_eq!(names(&store, AskedAdmissions { limit: 2, ..ALL }).await, ["a", "b"]);
    let after = &rows[1].id;
    assert_eq!(names(&store, AskedAdmissions { after, limit: 1, ..ALL }).await, ["c"]);
}

async fn of_a_subject_that_is_gone_nothing_is_kept(database: &Database) {
    let store = database.store().await;
    for subject in ["sub_1", "sub_2"] {
        add_subject(&store, subject).await;
    }
    let rows = [row(5, "a", "sub_1", "r.a"), row(5, "b", "sub_2", "r.a"), row(5, "c", "sub_3", "r.a")];
    admit(&store, &rows).await;
    assert_eq!(names(&store, ALL).await, ["a", "b"], "of nobody nothing is written");
    erase(&store, "sub_1", 1).await;
    assert_eq!(names(&store, ALL).await, ["a", "b"], "kept for auditors");
    let purge = Write::Prune { table: Table::Erasures, ids: vec!["sub_1".to_owned()], now_ms: 1_000 };
    store.commit(change("p", vec![purge])).await.unwrap().unwrap();
    assert_eq!(names(&store, ALL).await, ["b"]);
}

async fn admissions_go_after_their_time_and_not_under_hold(database: &Database) {
    let store = database.store().await;
    for subject in ["sub_1", "sub_2"] {
        add_subject(&store, subject).await;
    }
    let hold = StoredHold {
        subject: "sub_2".to_owned(),
        reason: "order".to_owned(),
        placed_by: "client:c".to_owned(),
        placed_at_ms: 7,
    };
    store.commit(change("h", vec![Write::Hold(hold)])).await.unwrap().unwrap();
    admit(&store, &[row(5, "a", "sub_1", "r.a"), row(5, "b", "sub_2", "r.a"), row(6, "c", "sub_1", "r.a")]).await;
    let bygone = async |before_ms| store.bygone(Table::Admissions, before_ms, 10).await.unwrap();
    assert_eq!(bygone(5 * HOUR).await, Vec::<String>::new());
    let ids = bygone(6 * HOUR).await;
    assert_eq!(ids, [row(5, "a", "sub_1", "r.a").id]);
    let prune = Write::Prune { table: Table::Admissions, ids, now_ms: 9 * HOUR };
    store.commit(change("p", vec![prune])).await.unwrap().unwrap();
    assert_eq!(names(&store, ALL).await, ["b", "c"]);
}
