//! What `Store` promises of messages to the outside, asked of every implementation.

use crate::store_contract::{add_subject, change, contract, entry, outbox};
use crate::support::Database;
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe::storage::{
    AskedDeliveries, BEHIND, Backlog, Change, Conflict, Ending, FannedOut, Forgotten, OutboxRow, Outgoing,
    OutgoingWrite, Queued, Record, Settled, Shown, Store, StoredDelivery, StoredReceiver, Write,
};

contract!(
    rows_leave_the_outbox_with_their_deliveries_or_not_at_all,
    fanning_out_knows_every_receiver,
    of_replicas_that_fan_out_at_once_each_row_is_taken_by_one,
    of_one_key_the_earliest_is_sent_alone,
    what_waits_behind_nothing_is_mended,
    a_claim_ends_by_itself_and_one_claimant_gets_each,
    an_end_counts_for_who_claimed_it_and_success_for_everybody,
    what_receivers_show_adds_up_until_something_comes_through,
    what_ended_can_be_replayed,
    a_receiver_goes_with_all_there_was_for_it,
    messages_are_forgotten_with_their_deliveries,
    of_an_erased_subject_no_message_stays_past_its_end,
    what_is_fetched_waits_in_order_until_it_is_settled_or_refused,
    who_is_muted_is_so_for_one_receiver_until_unmuted_or_erased,
);

async fn commit(store: &Arc<dyn Store>, write: OutgoingWrite) -> Result<(), Conflict> {
    let books = Change { writes: vec![Write::Outgoing(write)], audit: vec![], feed: vec![], outbox: vec![] };
    store.commit(books).await.unwrap()
}

/// Rows with an id of that instant each, under these keys.
async fn queue(store: &Arc<dyn Store>, keys: &[(i64, &str)]) -> Vec<Queued> {
    for (ms, key) in keys {
        let row = OutboxRow { key: (*key).to_owned(), id: id(*ms), ..outbox("x") };
        let change = Change { writes: vec![], audit: vec![entry("o")], feed: vec![], outbox: vec![row] };
        store.commit(change).await.unwrap().unwrap();
    }
    store.outbox(1000).await.unwrap()
}

fn id(ms: i64) -> String {
    format!("out_{ms:012x}")
}

fn to(rows: &[Queued], receiver: &str) -> Vec<FannedOut> {
    let to =
        |row: &Queued| FannedOut { position: row.position, receiver: receiver.to_owned(), kind: "webhook", dead: None };
    rows.iter().map(to).collect()
}

async fn fan_out(store: &Arc<dyn Store>, rows: Vec<Queued>, deliveries: Vec<FannedOut>) -> Result<(), Conflict> {
    commit(store, OutgoingWrite::FanOut { rows, deliveries, receivers: vec![], now_ms: 100 }).await
}

/// A store with deliveries of these keys for `whe_1`.
async fn with(database: &Database, keys: &[(i64, &str)]) -> Arc<dyn Store> {
    let store = database.store().await;
    let rows = queue(&store, keys).await;
    let deliveries = to(&rows, "whe_1");
    fan_out(&store, rows, deliveries).await.unwrap();
    store
}

async fn take(store: &Arc<dyn Store>, claim: &str, now_ms: i64, limit: i64) -> Vec<Outgoing> {
    let (receiver, claim) = ("whe_1".to_owned(), claim.to_owned());
    let until_ms = now_ms + 60;
    commit(store, OutgoingWrite::Take { receiver, claim: claim.clone(), now_ms, until_ms, limit }).await.unwrap();
    store.taken(&claim).await.unwrap()
}

fn ids(taken: &[Outgoing]) -> Vec<&str> {
    taken.iter().map(|outgoing| outgoing.message.as_str()).collect()
}

fn settled(ms: i64, claim: &str, ending: Ending) -> Settled {
    let (receiver, message, claim) = ("whe_1".to_owned(), id(ms), claim.to_owned());
    Settled { receiver, message, claim, ending, tried_at_ms: 200, status: 503, outcome: "status" }
}

async fn settle(store: &Arc<dyn Store>, tries: Vec<Settled>) {
    commit(store, OutgoingWrite::Settle { tries, shown: vec![] }).await.unwrap();
}

async fn log(store: &Arc<dyn Store>) -> Vec<StoredDelivery> {
    store.deliveries(AskedDeliveries { receiver: "whe_1", state: "", before: "", limit: 100 }).await.unwrap()
}

/// States by instant, oldest first.
async fn states(store: &Arc<dyn Store>) -> Vec<(String, i64)> {
    log(store).await.into_iter().rev().map(|delivery| (delivery.state, delivery.tries)).collect()
}

fn state(state: &str, tries: i64) -> (String, i64) {
    (state.to_owned(), tries)
}

async fn rows_leave_the_outbox_with_their_deliveries_or_not_at_all(database: &Database) {
    let store = database.store().await;
    assert_eq!(store.outbox_backlog().await.unwrap(), (0, String::new()));
    let rows = queue(&store, &[(1, "a"), (2, "b"), (3, "a")]).await;
    assert_eq!(
        rows.iter().map(|row| (row.id.clone(), row.key.as_str())).collect::<Vec<_>>(),
        [(id(1), "a"), (id(2), "b"), (id(3), "a")]
    );
    assert_eq!(store.outbox_backlog().await.unwrap(), (3, id(1)));
    // The second has no receiver, the third two, of whom one is silent.
    let mut deliveries = to(&rows[..1], "whe_1");
    deliveries.extend(to(&rows[2..], "whe_1"));
    deliveries.extend(to(&rows[2..], "whe_2").into_iter().map(|to| FannedOut { dead: Some("disabled"), ..to }));
    assert_eq!(fan_out(&store, rows.clone(), deliveries.clone()).await, Ok(()));
    assert_eq!((database.count("outbox").await, database.count("messages").await), (0, 2), "nobody wanted the second");
    assert_eq!(
        log(&store).await,
        [3, 1].map(|ms| StoredDelivery {
            message: id(ms),
            topic: "t".to_owned(),
            key: "a".to_owned(),
            state: "pending".to_owned(),
            tries: 0,
            due_ms: if ms == 3 { BEHIND } else { 100 },
            tried_at_ms: None,
            status: 0,
            outcome: String::new(),
        })
    );
    let asked = AskedDeliveries { receiver: "whe_2", state: "dead", before: "", limit: 10 };
    assert_eq!(store.deliveries(asked).await.unwrap()[0].outcome, "disabled");
    assert_eq!(store.deliveries(AskedDeliveries { before: &id(3), ..asked }).await.unwrap(), []);
    let pending = Backlog { receiver: "whe_1".to_owned(), pending: 2, oldest: id(1) };
    assert_eq!(store.backlog().await.unwrap(), [pending]);
    assert_eq!(store.messages_of("a").await.unwrap(), [1, 3].map(|ms| (id(ms), "t".to_owned())));
    // Again, with one that still waits: nothing of it happens.
    let more = queue(&store, &[(4, "a")]).await;
    let both = [rows, more].concat();
    assert_eq!(fan_out(&store, both, deliveries).await, Err(Conflict::Stale("outbox")));
    assert_eq!((database.count("outbox").await, database.count("deliveries").await), (1, 3));
}

async fn fanning_out_knows_every_receiver(database: &Database) {
    let store = database.store().await;
    let rows = queue(&store, &[(1, "a")]).await;
    let endpoint = |version: i64| Record {
        kind: "webhook_endpoint".to_owned(),
        id: "whe_1".to_owned(),
        version,
        body: "{}".to_owned(),
        sealed: None,
        updated_at_ms: 1,
    };
    let put = |expected| change("r", vec![Write::Record { record: endpoint(expected + 1), expected }]);
    let fan = |receivers: &[(&str, i64)]| OutgoingWrite::FanOut {
        rows: rows.clone(),
        deliveries: to(&rows, "whe_1"),
        receivers: receivers.iter().map(|(id, v)| ("webhook_endpoint".to_owned(), (*id).to_owned(), *v)).collect(),
        now_ms: 1,
    };
    let stale = Err(Conflict::Stale("records"));
    assert_eq!(commit(&store, fan(&[("whe_1", 1)])).await, stale, "there is none");
    store.commit(put(0)).await.unwrap().unwrap();
    assert_eq!(commit(&store, fan(&[])).await, stale, "it is not known");
    store.commit(put(1)).await.unwrap().unwrap();
    assert_eq!(commit(&store, fan(&[("whe_1", 1)])).await, stale, "it was changed");
    assert_eq!((database.count("outbox").await, database.count("deliveries").await), (1, 0));
    assert_eq!(commit(&store, fan(&[("whe_1", 2)])).await, Ok(()));
}

async fn of_replicas_that_fan_out_at_once_each_row_is_taken_by_one(database: &Database) {
    let store = database.store().await;
    let keys: Vec<(i64, &str)> = (0..60).map(|ms| (ms, "a")).collect();
    queue(&store, &keys).await;
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = database.store().await;
        racing.spawn(async move {
            loop {
                let rows = store.outbox(7).await.unwrap();
                if rows.is_empty() {
                    return;
                }
                let deliveries = to(&rows, "whe_1");
                let _ = fan_out(&store, rows, deliveries).await;
            }
        });
    }
    racing.join_all().await;
    assert_eq!((database.count("messages").await, database.count("deliveries").await), (60, 60));
}

async fn of_one_key_the_earliest_is_sent_alone(database: &Database) {
    let store = with(database, &[(1, "a"), (2, "b"), (3, "a"), (4, "c")]).await;
    assert!(!store.is_due("whe_1", 99).await.unwrap());
    assert_eq!(take(&store, "early", 99, 10).await, []);
    assert!(store.is_due("whe_1", 100).await.unwrap() && !store.is_due("whe_2", 100).await.unwrap());
    let taken = take(&store, "c1", 100, 10).await;
    assert_eq!(ids(&taken), [id(1), id(2), id(4)]);
    assert_eq!(taken[0].topic, "t");
    assert_eq!((taken[0].key.as_str(), taken[0].body.as_str(), taken[0].tries), ("a", "{}", 0));
    assert_eq!(take(&store, "c2", 100, 10).await, [], "the third waits behind the first");
    settle(&store, vec![settled(1, "c1", Ending::Again(500)), settled(2, "c1", Ending::Delivered)]).await;
    assert_eq!(take(&store, "c3", 100, 10).await, [], "it still waits");
    let again = take(&store, "c4", 500, 10).await;
    assert_eq!(ids(&again), [id(1), id(4)], "the first again, and a claim that ended");
    assert_eq!((again[0].tries, again[1].tries), (1, 0));
    settle(&store, vec![settled(1, "c4", Ending::Dead)]).await;
    assert_eq!(ids(&take(&store, "c5", 500, 10).await), [id(3)], "after the first is dead");
    settle(&store, vec![settled(3, "c5", Ending::Delivered), settled(4, "c4", Ending::Delivered)]).await;
    let (receiver, from, to) = ("whe_1".to_owned(), id(0), id(9));
    commit(&store, OutgoingWrite::Replay { receiver, from, to, delivered: true, now_ms: 600 }).await.unwrap();
    assert_eq!(ids(&take(&store, "c6", 600, 10).await), [id(1), id(2), id(4)], "also when they are sent again");
}

async fn what_waits_behind_nothing_is_mended(database: &Database) {
    let store = with(database, &[(10, "a"), (20, "a"), (30, "a")]).await;
    let forget = vec![Write::Forget(Forgotten::Messages, 20)];
    store.commit(Change { writes: forget, audit: vec![], feed: vec![], outbox: vec![] }).await.unwrap().unwrap();
    assert_eq!(take(&store, "c1", 100, 10).await, [], "the one before it was let go");
    commit(&store, OutgoingWrite::Mend(200)).await.unwrap();
    assert_eq!(ids(&take(&store, "c2", 200, 10).await), [id(20)]);
    // What comes later goes behind what is there.
    let rows = queue(&store, &[(40, "a"), (50, "b")]).await;
    let deliveries = to(&rows, "whe_1");
    fan_out(&store, rows, deliveries).await.unwrap();
    let due: Vec<i64> = log(&store).await.into_iter().rev().map(|delivery| delivery.due_ms).collect();
    assert_eq!(due, [260, BEHIND, BEHIND, 100]);
}

async fn a_claim_ends_by_itself_and_one_claimant_gets_each(database: &Database) {
    let keys: Vec<String> = (0..40).map(|n| format!("key{n}")).collect();
    let keys: Vec<(i64, &str)> = keys.iter().zip(0..).map(|(key, ms)| (ms, key.as_str())).collect();
    let store = with(database, &keys).await;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = database.store().await;
        racing.spawn(async move { take(&store, &format!("claim{n}"), 100, 10).await });
    }
    let taken: Vec<Outgoing> = racing.join_all().await.into_iter().flatten().collect();
    let messages: BTreeSet<&str> = ids(&taken).into_iter().collect();
    assert_eq!(messages.len(), taken.len(), "none is sent by two");
    while !take(&store, "rest", 100, 10).await.is_empty() && store.is_due("whe_1", 100).await.unwrap() {}
    assert!(!store.is_due("whe_1", 159).await.unwrap());
    assert_eq!(take(&store, "after", 160, 100).await.len(), 40, "every claim has ended");
}

async fn an_end_counts_for_who_claimed_it_and_success_for_everybody(database: &Database) {
    let store = with(database, &[(1, "a"), (2, "b")]).await;
    assert_eq!(take(&store, "first", 100, 10).await.len(), 2);
    assert_eq!(take(&store, "second", 200, 10).await.len(), 2);
    settle(&store, vec![settled(1, "first", Ending::Dead), settled(2, "first", Ending::Delivered)]).await;
    assert_eq!(states(&store).await, [state("pending", 0), state("delivered", 1)]);
    settle(&store, vec![settled(1, "second", Ending::Dead), settled(2, "second", Ending::Dead)]).await;
    assert_eq!(states(&store).await, [state("dead", 1), state("delivered", 1)], "what came through stays so");
    let first = log(&store).await.remove(1);
    assert_eq!((first.tried_at_ms, first.status, first.outcome.as_str()), (Some(200), 503, "status"));
    assert_eq!(store.taken("second").await.unwrap(), []);
    // It was given up, and came through all the same.
    settle(&store, vec![settled(1, "first", Ending::Delivered)]).await;
    assert_eq!(states(&store).await[0], state("delivered", 2));
}

async fn what_receivers_show_adds_up_until_something_comes_through(database: &Database) {
    let store = with(database, &[(1, "a")]).await;
    let show = async |failures, failing_since_ms, not_before_ms, came_through| {
        let id = "whe_1".to_owned();
        let receiver = StoredReceiver { id, failures, failing_since_ms, not_before_ms };
        let shown = vec![Shown { receiver, came_through }];
        commit(&store, OutgoingWrite::Settle { tries: vec![], shown }).await.unwrap();
        let mut found = store.receivers().await.unwrap();
        let found = found.pop().unwrap();
        (found.failures, found.failing_since_ms, found.not_before_ms)
    };
    assert_eq!(show(2, Some(10), 0, false).await, (2, Some(10), 0));
    assert_eq!(show(3, Some(20), 150, false).await, (5, Some(10), 150));
    assert_eq!(show(1, Some(30), 120, false).await, (6, Some(10), 150), "the later pause stands");
    assert_eq!(take(&store, "c1", 149, 10).await, [], "it is not to be sent anything");
    assert!(!store.is_due("whe_1", 149).await.unwrap() && store.is_due("whe_1", 150).await.unwrap());
    assert_eq!(take(&store, "c2", 150, 10).await.len(), 1);
    assert_eq!(show(1, Some(40), 0, true).await, (1, Some(40), 0), "counted from the success");
    assert_eq!(show(0, None, 0, true).await, (0, None, 0));
    commit(&store, OutgoingWrite::Anew("whe_1".to_owned())).await.unwrap();
    assert_eq!(store.receivers().await.unwrap(), []);
}

async fn what_ended_can_be_replayed(database: &Database) {
    let store = with(database, &[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]).await;
    assert_eq!(take(&store, "c", 100, 3).await.len(), 3);
    let ends = [settled(1, "c", Ending::Delivered), settled(2, "c", Ending::Dead)];
    settle(&store, ends.to_vec()).await;
    let bury = OutgoingWrite::Bury { receiver: "whe_1".to_owned(), outcome: "disabled" };
    let replay = |from: i64, to: i64, delivered| OutgoingWrite::Replay {
        receiver: "whe_1".to_owned(),
        from: id(from),
        to: id(to),
        delivered,
        now_ms: 300,
    };
    assert_eq!(store.replayable("whe_1", &id(0), &id(9), false).await.unwrap(), 3, "not the one that is being sent");
    assert_eq!(store.replayable("whe_1", &id(0), &id(9), true).await.unwrap(), 4);
    commit(&store, bury).await.unwrap();
    let dead = log(&store).await.iter().filter(|delivery| delivery.outcome == "disabled").count();
    assert_eq!(dead, 3);
    assert_eq!(commit(&store, replay(2, 4, false)).await, Ok(()));
    let pending = [state("delivered", 1), state("pending", 0), state("pending", 0), state("dead", 0), state("dead", 0)];
    assert_eq!(states(&store).await, pending);
    assert_eq!(commit(&store, replay(1, 2, false)).await, Err(Conflict::Stale("deliveries")));
    assert_eq!(commit(&store, replay(1, 2, true)).await, Ok(()));
    assert_eq!(ids(&take(&store, "r", 300, 10).await), [id(1), id(2), id(3)]);
    // A late word of the first sending.
    settle(&store, vec![settled(3, "c", Ending::Dead)]).await;
    assert_eq!(states(&store).await[2], state("pending", 0));
}

async fn a_receiver_goes_with_all_there_was_for_it(database: &Database) {
    let store = with(database, &[(1, "a")]).await;
    let record = Record {
        kind: "webhook_endpoint".to_owned(),
        id: "whe_1".to_owned(),
        version: 1,
        body: "{}".to_owned(),
        sealed: None,
        updated_at_ms: 1,
    };
    store.commit(change("r", vec![Write::Record { record, expected: 0 }])).await.unwrap().unwrap();
    let receiver = StoredReceiver { id: "whe_1".to_owned(), failures: 1, ..StoredReceiver::default() };
    let shown = vec![Shown { receiver, came_through: false }];
    commit(&store, OutgoingWrite::Settle { tries: vec![], shown }).await.unwrap();
    let drop = |expected| OutgoingWrite::Drop { kind: "webhook_endpoint", id: "whe_1".to_owned(), expected };
    assert_eq!(commit(&store, drop(2)).await, Err(Conflict::Stale("records")));
    assert_eq!(commit(&store, drop(1)).await, Ok(()));
    for table in ["records", "deliveries", "receivers"] {
        assert_eq!(database.count(table).await, 0, "{table}");
    }
}

async fn messages_are_forgotten_with_their_deliveries(database: &Database) {
    let store = with(database, &[(10, "a"), (20, "b")]).await;
    let forget = |ms| Change {
        writes: vec![Write::Forget(Forgotten::Messages, ms)],
        audit: vec![],
        feed: vec![],
        outbox: vec![],
    };
    assert_eq!(store.commit(forget(20)).await.unwrap(), Ok(()));
    assert_eq!(log(&store).await.iter().map(|delivery| delivery.message.clone()).collect::<Vec<_>>(), [id(20)]);
    assert_eq!((database.count("messages").await, database.count("deliveries").await), (1, 1));
    assert_eq!(store.commit(forget(20)).await.unwrap(), Err(Conflict::Stale("messages")));
}

async fn of_an_erased_subject_no_message_stays_past_its_end(database: &Database) {
    let store = with(database, &[(1, "sub_1"), (2, "sub_2")]).await;
    add_subject(&store, "sub_1").await;
    queue(&store, &[(3, "sub_1")]).await;
    crate::store_contract::erase(&store, "sub_1", 1).await;
    assert_eq!(store.messages_of("sub_1").await.unwrap().len(), 1);
    let prune = Write::Prune { table: vouchsafe::storage::Table::Erasures, ids: vec!["sub_1".to_owned()], now_ms: 90 };
    store.commit(change("p", vec![prune])).await.unwrap().unwrap();
    assert_eq!((database.count("messages").await, database.count("deliveries").await), (1, 1));
    assert_eq!(store.outbox(10).await.unwrap(), []);
}

async fn what_is_fetched_waits_in_order_until_it_is_settled_or_refused(database: &Database) {
    let store = with(database, &[(1, "a"), (2, "a"), (3, "b"), (4, "c")]).await;
    let waiting = async |limit| {
        let (rows, all) = store.waiting_for("whe_1", limit).await.unwrap();
        (rows.into_iter().map(|row| row.message).collect::<Vec<_>>(), all)
    };
    assert_eq!(waiting(10).await, (vec![id(1), id(3), id(4)], 4), "of one key the earliest alone");
    assert_eq!(waiting(2).await, (vec![id(1), id(3)], 4));
    assert_eq!(store.waiting_for("whe_2", 10).await.unwrap(), (vec![], 0));
    // Whoever sends it meanwhile does not hide it.
    assert_eq!(take(&store, "c1", 100, 1).await.len(), 1);
    assert_eq!(waiting(10).await.0[0], id(1));
    let refuse = |ms| OutgoingWrite::Refuse {
        receiver: "whe_1".to_owned(),
        message: id(ms),
        outcome: "invalid_key",
        at_ms: 300,
    };
    commit(&store, refuse(1)).await.unwrap();
    assert_eq!(waiting(10).await, (vec![id(2), id(3), id(4)], 3));
    let refused = log(&store).await.pop().unwrap();
    assert_eq!(
        (refused.state.as_str(), refused.outcome.as_str(), refused.tried_at_ms),
        ("dead", "invalid_key", Some(300))
    );
    settle(&store, vec![settled(3, "", Ending::Delivered)]).await;
    commit(&store, refuse(3)).await.unwrap();
    assert_eq!(states(&store).await[2], state("delivered", 1), "what came through is not refused");
    assert_eq!(waiting(10).await, (vec![id(2), id(4)], 2));
}

async fn who_is_muted_is_so_for_one_receiver_until_unmuted_or_erased(database: &Database) {
    let store = database.store().await;
    let mute = |receiver: &str, subject: &str, muted| OutgoingWrite::Mute {
        receiver: receiver.to_owned(),
        subject: subject.to_owned(),
        muted,
    };
    assert_eq!(commit(&store, mute("r1", "sub_1", true)).await, Err(Conflict::NoSuchSubject));
    for subject in ["sub_1", "sub_2"] {
        add_subject(&store, subject).await;
        for receiver in ["r1", "r1", "r2"] {
            assert_eq!(commit(&store, mute(receiver, subject, true)).await, Ok(()));
        }
    }
    let muted = async |receiver, subject| store.is_muted(receiver, subject).await.unwrap();
    assert!(muted("r1", "sub_1").await && muted("r2", "sub_1").await && !muted("r3", "sub_1").await);
    assert_eq!(commit(&store, mute("r1", "sub_1", false)).await, Ok(()));
    assert!(!muted("r1", "sub_1").await && muted("r1", "sub_2").await && muted("r2", "sub_1").await);
    commit(&store, OutgoingWrite::Unmute("r1".to_owned())).await.unwrap();
    assert!(!muted("r1", "sub_2").await && muted("r2", "sub_2").await);
    crate::store_contract::erase(&store, "sub_1", 1).await;
    assert!(!muted("r2", "sub_1").await && muted("r2", "sub_2").await);
}
