//! What `Store` promises of places in status lists, asked of every implementation.

use crate::store_contract::{add_subject, change, contract, decision, entry, token};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{Basis, Conflict, Store, StoredList, StoredToken, TokenPlace, Write};

contract!(
    a_block_is_reserved_once,
    a_retired_list_gives_no_more_blocks_and_keeps_its_number,
    of_replicas_that_want_one_block_one_gets_it,
    a_token_is_found_where_its_status_stands,
);

async fn commit(store: &Arc<dyn Store>, write: Write) -> Result<(), Conflict> {
    store.commit(change("l", vec![write])).await.unwrap()
}

fn reserve(list: i64, blocks: &[i64], until_ms: i64) -> Write {
    Write::Reserve { list, blocks: blocks.to_vec(), until_ms }
}

async fn a_block_is_reserved_once(database: &Database) {
    let store = database.store().await;
    assert_eq!(commit(&store, reserve(7, &[5, 1], 100)).await, Ok(()));
    let taken = Err(Conflict::Exists("status_blocks"));
    assert_eq!(commit(&store, reserve(7, &[2, 1], 200)).await, taken);
    assert_eq!(store.status_blocks(7).await.unwrap(), [1, 5], "nothing of it was written");
    assert_eq!(commit(&store, reserve(7, &[2], 90)).await, Ok(()));
    assert_eq!(commit(&store, reserve(3, &[1], 50)).await, Ok(()), "another list's");
    let lists =
        [StoredList { number: 3, use_until_ms: 50, taken: 1 }, StoredList { number: 7, use_until_ms: 100, taken: 3 }];
    assert_eq!(store.status_lists().await.unwrap(), lists);
}

async fn a_retired_list_gives_no_more_blocks_and_keeps_its_number(database: &Database) {
    let store = database.store().await;
    commit(&store, reserve(7, &[5], 100)).await.unwrap();
    let retire = |use_until_ms| Write::RetireList { list: 7, use_until_ms, at_ms: 500 };
    let stale = Err(Conflict::Stale("status_lists"));
    assert_eq!(commit(&store, retire(99)).await, stale, "somebody reserved since");
    assert_eq!(commit(&store, retire(100)).await, Ok(()));
    assert_eq!(commit(&store, retire(100)).await, stale);
    assert_eq!(commit(&store, reserve(7, &[6], 900)).await, stale);
    assert_eq!(store.status_lists().await.unwrap(), []);
    assert_eq!((database.count("status_lists").await, database.count("status_blocks").await), (1, 0));
}

async fn of_replicas_that_want_one_block_one_gets_it(database: &Database) {
    let store = database.store().await;
    let mut wanting = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = database.store().await;
        wanting.spawn(async move { commit(&store, reserve(7, &[n % 2, 10 + n], 100 + n)).await });
    }
    let won = wanting.join_all().await.into_iter().filter(Result::is_ok).count();
    // Two blocks that four each want, and one of its own with it.
    assert_eq!((won, store.status_blocks(7).await.unwrap().len()), (2, 4));
}

async fn a_token_is_found_where_its_status_stands(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for (jti, status_idx, expires_at_ms) in [("a", 1, 90), ("b", 2, 40), ("c", 3, 90), ("d", 4, 90), ("e", 5, 90)] {
        let token = StoredToken { status_list: 9, status_idx, expires_at_ms, ..token(jti, "sub_1") };
        let basis = Basis { version: 1, timeline: 0, suspensions: 0, parties: Vec::new() };
        let decision = decision(&token.decision, "sub_1");
        assert_eq!(token.place().idx, status_idx);
        store.record_token(token.clone(), decision, basis, "rules".into(), entry(jti)).await.unwrap().unwrap();
        assert_eq!(store.token(jti).await.unwrap(), Some(token));
    }
    commit(&store, Write::RevokeToken { jti: "c".to_owned(), at_ms: 5 }).await.unwrap();
    let place = |jti: &str, idx| {
        let (jti, resource) = (jti.to_owned(), "model".to_owned());
        TokenPlace { jti, resource, issued_at_ms: 10, list: 9, idx }
    };
    assert_eq!(store.revoked_tokens(40).await.unwrap(), [place("c", 3)]);
    assert_eq!(store.living_places("", 40, 2).await.unwrap(), [place("a", 1), place("d", 4)]);
    assert_eq!(store.living_places("d", 40, 2).await.unwrap(), [place("e", 5)]);
    assert_eq!(store.living_places("", 90, 9).await.unwrap(), []);
}
