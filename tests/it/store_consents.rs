//! What `Store` promises of consents, asked of every implementation.

use crate::store_contract::{add_subject, change, contract, erase};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{Conflict, Store, StoredConsent, StoredHold, Table, Write};

contract!(
    the_same_consent_is_one_row_that_adds_up,
    claims_are_provided_under_a_consent_that_is_there,
    consents_are_of_living_subjects_and_go_with_them,
    consents_go_after_their_time_and_not_under_hold,
);

fn consent(id: &str, subject: &str, at_ms: i64) -> StoredConsent {
    StoredConsent {
        id: format!("cns_{id}"),
        subject: subject.to_owned(),
        provider: "idp_1".to_owned(),
        resource: "restricted.api".to_owned(),
        sealed: vec![1, 2, 3],
        count: 1,
        first_ms: at_ms,
        last_ms: at_ms,
    }
}

async fn name(store: &Arc<dyn Store>, consent: StoredConsent) -> Result<(), Conflict> {
    store.commit(change("c", vec![Write::Consent(consent)])).await.unwrap()
}

async fn held(store: &Arc<dyn Store>, subject: &str) -> Vec<(String, i64, i64, i64)> {
    let rows = store.consents(subject, "", 10).await.unwrap();
    rows.into_iter().map(|row| (row.id, row.count, row.first_ms, row.last_ms)).collect()
}

async fn the_same_consent_is_one_row_that_adds_up(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for (id, at_ms, count) in [("b", 50, 0), ("a", 60, 1), ("b", 70, 2), ("b", 65, 1)] {
        name(&store, StoredConsent { count, sealed: vec![9], ..consent(id, "sub_1", at_ms) }).await.unwrap();
    }
    let expected = [("cns_a".to_owned(), 1, 60, 60), ("cns_b".to_owned(), 3, 50, 70)];
    assert_eq!(held(&store, "sub_1").await, expected);
    let page = store.consents("sub_1", "cns_a", 1).await.unwrap();
    assert_eq!(page, [StoredConsent { count: 3, sealed: vec![9], last_ms: 70, ..consent("b", "sub_1", 50) }]);
    assert_eq!(store.consents("sub_1", "", 1).await.unwrap().len(), 1);
}

async fn claims_are_provided_under_a_consent_that_is_there(database: &Database) {
    let store = database.store().await;
    for subject in ["sub_1", "sub_2"] {
        add_subject(&store, subject).await;
    }
    name(&store, consent("a", "sub_1", 50)).await.unwrap();
    let provide = async |id: &str, subject: &str, at_ms: i64| {
        let write = Write::Provided { consent: format!("cns_{id}"), subject: subject.to_owned(), at_ms };
        store.commit(change("p", vec![write])).await.unwrap()
    };
    provide("a", "sub_1", 80).await.unwrap();
    provide("a", "sub_1", 70).await.unwrap();
    assert_eq!(held(&store, "sub_1").await, [("cns_a".to_owned(), 3, 50, 80)]);
    assert_eq!(provide("a", "sub_2", 90).await, Err(Conflict::Stale("consents")), "another's");
    assert_eq!(provide("b", "sub_1", 90).await, Err(Conflict::Stale("consents")));
}

async fn consents_are_of_living_subjects_and_go_with_them(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    assert_eq!(name(&store, consent("z", "sub_3", 50)).await, Err(Conflict::NoSuchSubject));
    name(&store, consent("a", "sub_1", 50)).await.unwrap();
    name(&store, consent("b", "sub_2", 50)).await.unwrap();
    erase(&store, "sub_1", 1).await;
    assert_eq!(held(&store, "sub_1").await, []);
    assert_eq!(held(&store, "sub_2").await.len(), 1);
    assert_eq!(name(&store, consent("a", "sub_1", 60)).await, Err(Conflict::NoSuchSubject));
}

async fn consents_go_after_their_time_and_not_under_hold(database: &Database) {
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
    for (id, subject, at_ms) in [("a", "sub_1", 50), ("b", "sub_2", 50), ("c", "sub_1", 60)] {
        name(&store, consent(id, subject, at_ms)).await.unwrap();
    }
    let bygone = async |before_ms| store.bygone(Table::Consents, before_ms, 10).await.unwrap();
    assert_eq!(bygone(50).await, Vec::<String>::new());
    assert_eq!(bygone(60).await, ["cns_a"]);
    let prune = Write::Prune { table: Table::Consents, ids: bygone(60).await, now_ms: 100 };
    store.commit(change("p", vec![prune])).await.unwrap().unwrap();
    assert_eq!(held(&store, "sub_1").await, [("cns_c".to_owned(), 1, 60, 60)]);
    assert_eq!(held(&store, "sub_2").await.len(), 1);
}
