//! What `Store` promises of erasing, holding and letting go, asked of every implementation.

use crate::store_contract::{
    BASIS, add_subject, attestation, change, contract, decision, entry, erase, erasure, mark, revoked, subject, token,
    version,
};
use crate::support::Database;
use std::collections::HashSet;
use std::sync::Arc;
use vouchsafe::storage::{
    Basis, Change, Conflict, FeedRow, Forgotten, Quarantined, Store, StoredDecision, StoredHold, StoredLink,
    StoredSession, StoredSessionOf, StoredSubject, StoredToken, Table, Write,
};

contract!(
    subject_is_erased_only_at_the_version_read_and_without_hold,
    living_tokens_die_with_their_subject,
    an_erased_subject_is_purged_at_its_end_and_not_under_hold,
    what_has_outlived_its_use_is_found_and_goes,
    feed_is_forgotten_behind_its_marks,
    subjects_of_whom_nothing_was_heard_are_idle,
);

fn hold(subject: &str) -> StoredHold {
    StoredHold {
        subject: subject.to_owned(),
        reason: "order".to_owned(),
        placed_by: "client:c".to_owned(),
        placed_at_ms: 7,
    }
}

/// A token of the subject as it is now.
async fn record_token(store: &Arc<dyn Store>, token: StoredToken) {
    let basis = Basis { version: version(store, &token.subject).await, ..BASIS };
    let decision = decision(&token.decision, &token.subject);
    let audit = entry(&token.jti);
    store.record_token(token, decision, basis, "rules".into(), audit).await.unwrap().unwrap();
}

async fn subject_is_erased_only_at_the_version_read_and_without_hold(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let session = |source: &str, session: &str| StoredSession {
        source: source.to_owned(),
        session: session.to_owned(),
        created_at_ms: 1,
    };
    let bind = Write::Session {
        source: "src_a".to_owned(),
        session: "ses".to_owned(),
        subject: "sub_1".to_owned(),
        created_at_ms: 1,
    };
    let held = Quarantined {
        id: "qua_1".to_owned(),
        source: "src_a".to_owned(),
        event: "e".to_owned(),
        session: "ses".to_owned(),
        sealed: vec![1],
        received_at_ms: 1,
    };
    let link = StoredLink {
        namespace: "api-key".to_owned(),
        digest: "d1".to_owned(),
        subject: "sub_1".to_owned(),
        sealed: vec![1, 2],
        created_at_ms: 4,
    };
    let writes = vec![bind, Write::Link(link), Write::Quarantine(held)];
    store.commit(change("s", writes)).await.unwrap().unwrap();
    assert_eq!(version(&store, "sub_1").await, 3, "a session and a link count");
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();

    let hold = hold("sub_1");
    let put = || change("h", vec![Write::Hold(hold.clone())]);
    assert_eq!(store.commit(put()).await.unwrap(), Ok(()));
    assert_eq!(store.commit(put()).await.unwrap(), Err(Conflict::Exists("holds")));
    assert_eq!(store.hold("sub_1").await.unwrap(), Some(hold));
    let erase = |expected| {
        let sessions = vec![(session("src_a", "ses"), "erased:x".to_owned())];
        change(
            "e",
            vec![Write::Erase { erasure: erasure("sub_1", 90), expected, sessions, messages: "out_e".to_owned() }],
        )
    };
    assert_eq!(store.commit(erase(5)).await.unwrap(), Err(Conflict::Exists("holds")));
    let lift = || change("l", vec![Write::LiftHold("sub_1".to_owned())]);
    assert_eq!(store.commit(lift()).await.unwrap(), Ok(()));
    assert_eq!(store.commit(lift()).await.unwrap(), Err(Conflict::Stale("holds")));
    assert_eq!(store.commit(erase(5)).await.unwrap(), Err(Conflict::Stale("subjects")));
    assert_eq!(store.subject("sub_1").await.unwrap().unwrap().state, "active");
    assert_eq!(store.commit(erase(6)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(erase(7)).await.unwrap(), Err(Conflict::NoSuchSubject));

    let gone = store.subject("sub_1").await.unwrap().unwrap();
    assert_eq!((gone.state.as_str(), gone.version), ("erased", 7));
    assert!(gone.identifiers.is_empty() && gone.wrapped_key.is_empty() && gone.external_digest.is_none());
    assert_eq!(store.erasure("sub_1").await.unwrap(), Some(erasure("sub_1", 90)));
    assert_eq!(store.link("api-key", "d1").await.unwrap(), None);
    assert_eq!(database.count("quarantine").await, 0);
    assert_eq!(store.session_subject("src_a", "ses").await.unwrap(), None);
    assert_eq!(store.sessions("sub_1").await.unwrap(), [session("src_a", "erased:x")]);
    assert_eq!(store.load_subject("sub_1").await.unwrap().unwrap().1.len(), 1, "facts stay");
}

async fn living_tokens_die_with_their_subject(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for (jti, expires_at_ms) in [("jti_1", 60), ("jti_2", 40)] {
        let session = StoredSessionOf {
            session: Some("s".to_owned()),
            session_of: Some("ada".to_owned()),
            session_at_ms: Some(5),
        };
        let token = StoredToken { expires_at_ms, session, ..token(jti, "sub_1") };
        record_token(&store, token).await;
    }
    let (_, cursor) = store.feed("").await.unwrap();
    erase(&store, "sub_1", 1).await;
    assert_eq!(revoked(&store, 50).await, ["jti_1"]);
    assert_eq!(store.token("jti_2").await.unwrap().unwrap().revoked_at_ms, None, "it had ended");
    for jti in ["jti_1", "jti_2"] {
        let session = store.token(jti).await.unwrap().unwrap().session;
        assert_eq!(session, StoredSessionOf::default(), "by which session it was got is forgotten");
    }
    let (rows, _) = store.feed(&cursor).await.unwrap();
    assert_eq!(rows, [FeedRow { kind: "token".to_owned(), key: "jti_1".to_owned() }]);
    let told = store.outbox(10).await.unwrap();
    assert_eq!((told.len(), told[0].id.as_str(), told[0].topic.as_str()), (1, "out_erase0", "token.revoked"));
    let body: serde_json::Value = serde_json::from_str(&told[0].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "subject": "sub_1", "token": "jti_1", "resource": "model", "cause": "erased" })
    );
}

async fn an_erased_subject_is_purged_at_its_end_and_not_under_hold(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    for (id, subject) in [("1", "sub_1"), ("2", "sub_2")] {
        store.record_attestation(attestation(id, subject, &format!("lin_{id}"), 100)).await.unwrap().unwrap();
        store.commit(change("m", vec![Write::Mark(mark(&format!("att_{id}"), "revoked", 5))])).await.unwrap().unwrap();
    }
    record_token(&store, token("jti_1", "sub_1")).await;
    let purge = |subject: &str, now_ms| {
        change("p", vec![Write::Prune { table: Table::Erasures, ids: vec![subject.to_owned()], now_ms }])
    };
    let stale = Err(Conflict::Stale("erasures"));
    assert_eq!(store.commit(purge("sub_1", 1_000)).await.unwrap(), stale, "never of an active subject");
    erase(&store, "sub_1", 3).await;
    assert_eq!(store.commit(purge("sub_1", 89)).await.unwrap(), stale, "not before its end");
    assert_eq!(store.bygone(Table::Erasures, 89, 10).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.bygone(Table::Erasures, 90, 10).await.unwrap(), ["sub_1"]);
    let hold = hold("sub_1");
    store.commit(change("h", vec![Write::Hold(hold)])).await.unwrap().unwrap();
    assert_eq!(store.bygone(Table::Erasures, 90, 10).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.commit(purge("sub_1", 90)).await.unwrap(), stale, "not under hold");
    store.commit(change("l", vec![Write::LiftHold("sub_1".to_owned())])).await.unwrap().unwrap();
    assert_eq!(store.commit(purge("sub_1", 90)).await.unwrap(), Ok(()));
    assert_eq!(store.subject("sub_1").await.unwrap(), None);
    for (table, left) in
        [("attestations", 1), ("marks", 1), ("tokens", 0), ("decisions", 0), ("erasures", 0), ("pruning", 0)]
    {
        assert_eq!(database.count(table).await, left, "{table}");
    }
    assert!(database.execute("DELETE FROM attestations").await.is_err(), "append-only again");
}

async fn what_has_outlived_its_use_is_found_and_goes(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let id = |prefix: &str, ms: i64| format!("{prefix}_{ms:012x}");
    for (issued, ends) in [(10, 100), (20, 5_000), (3_000, 4_000)] {
        let token = StoredToken { expires_at_ms: ends, ..token(&id("jti", issued), "sub_1") };
        record_token(&store, token).await;
    }
    let old = |name: &str, at_ms, expires_at_ms| StoredDecision { at_ms, expires_at_ms, ..decision(name, "sub_1") };
    for decision in [old("dec_2", 10, None), old("dec_3", 10, Some(3_000)), old("dec_4", 3_000, None)] {
        let write = Write::Decision { decision, rules: "r".to_owned() };
        store.commit(change("d", vec![write])).await.unwrap().unwrap();
    }
    let expected = [
        (Table::Tokens, vec![id("jti", 10)]),
        (Table::Decisions, vec!["dec_2".to_owned()]),
        (Table::Quarantine, vec![]),
    ];
    for (table, ids) in expected {
        assert_eq!(store.bygone(table, 2_000, 10).await.unwrap(), ids, "{table:?}");
        let left = database.count(table.name()).await - i64::try_from(ids.len()).unwrap();
        let prune = || change("p", vec![Write::Prune { table, ids: ids.clone(), now_ms: 2_000 }]);
        assert_eq!(store.commit(prune()).await.unwrap(), Ok(()));
        assert_eq!(database.count(table.name()).await, left, "{table:?}");
        if !ids.is_empty() {
            assert_eq!(store.commit(prune()).await.unwrap(), Err(Conflict::Stale(table.name())));
        }
    }
    assert!(database.execute("DELETE FROM decisions").await.is_err(), "append-only again");
}

async fn feed_is_forgotten_behind_its_marks(database: &Database) {
    let store = database.store().await;
    let books = |write| Change { writes: vec![write], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
    let fed = |n: i64| {
        let row = FeedRow { kind: "subject".to_owned(), key: n.to_string() };
        Change { writes: Vec::new(), audit: vec![entry("f")], feed: vec![row], outbox: Vec::new() }
    };
    store.commit(books(Write::MarkFeed(5, 0))).await.unwrap().unwrap();
    for n in 0..3 {
        store.commit(fed(n)).await.unwrap().unwrap();
    }
    store.commit(books(Write::MarkFeed(10, 0))).await.unwrap().unwrap();
    store.commit(fed(3)).await.unwrap().unwrap();
    store.commit(books(Write::MarkFeed(20, 9))).await.unwrap().unwrap();
    let none = Err(Conflict::Stale("feed"));
    assert_eq!(store.commit(books(Write::Forget(Forgotten::Feed, 9))).await.unwrap(), none, "nothing is that old");
    assert_eq!(store.commit(books(Write::Forget(Forgotten::Feed, 10))).await.unwrap(), Ok(()));
    assert_eq!(store.commit(books(Write::Forget(Forgotten::Feed, 10))).await.unwrap(), none);
    assert_eq!(database.count("feed").await, 1, "what came after the mark stays");
    store.commit(books(Write::MarkFeed(30, 20))).await.unwrap().unwrap();
    assert_eq!(database.count("feed_marks").await, 2, "20 and 30");
    // A cursor taken now sees what comes.
    let (_, cursor) = store.feed("").await.unwrap();
    store.commit(fed(4)).await.unwrap().unwrap();
    assert_eq!(store.feed(&cursor).await.unwrap().0.len(), 1);
}

async fn subjects_of_whom_nothing_was_heard_are_idle(database: &Database) {
    let store = database.store().await;
    let id = |ms: i64| format!("sub_{ms:012x}");
    for ms in [10, 20, 30, 40, 3_000] {
        let subject = StoredSubject { created_at_ms: ms, ..subject(&id(ms)) };
        store.commit(change("s", vec![Write::Subject(subject)])).await.unwrap().unwrap();
    }
    store.record_attestation(attestation("1", &id(10), "lin", 2_000)).await.unwrap().unwrap();
    store.record_attestation(attestation("2", &id(20), "lin2", 100)).await.unwrap().unwrap();
    let hold = hold(&id(30));
    store.commit(change("h", vec![Write::Hold(hold)])).await.unwrap().unwrap();
    assert_eq!(store.idle_subjects("", 2_000, 10).await.unwrap(), [id(20), id(40)]);
    assert_eq!(store.idle_subjects(&id(20), 2_000, 10).await.unwrap(), [id(40)]);
    store.scrub().await.unwrap();
}

#[tokio::test]
async fn sqlite_keys_of_erased_subjects_are_not_in_its_files() {
    let database = Database::sqlite();
    let store = database.store().await;
    let key = |n: u8| [n, 0xA5].repeat(20);
    for n in 0..100 {
        let subject = StoredSubject { wrapped_key: key(n), ..subject(&format!("sub_{n:03}")) };
        store.commit(change("s", vec![Write::Subject(subject)])).await.unwrap().unwrap();
    }
    let url = database.url();
    let held = || {
        let path = url.strip_prefix("sqlite:").unwrap();
        let files = ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap());
        let windows = files.iter().flat_map(|bytes| bytes.windows(40));
        windows.filter(|window| window[1] == 0xA5 && **window == key(window[0])).collect::<HashSet<_>>().len()
    };
    store.scrub().await.unwrap();
    assert_eq!(held(), 100);
    for n in 0..90 {
        erase(&store, &format!("sub_{n:03}"), 1).await;
    }
    store.scrub().await.unwrap();
    assert_eq!(held(), 10, "those who are there still");
}
