//! What `Store` promises, asked of every implementation.

use crate::support::{Database, TempDir};
use sqlx::{Connection, Executor, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use vouchsafe::storage::{
    self, AuditEntry, AuditRecord, Basis, Change, Conflict, FeedRow, Forgotten, KeyTimes, NewAttestation, OutboxRow,
    Quarantined, Record, SessionsOver, Store, StoredDecision, StoredErasure, StoredKey, StoredLink, StoredMark,
    StoredRequest, StoredRoot, StoredSessionOf, StoredSubject, StoredToken, Write, audit_hash,
};

/// Runs every function on both databases.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&super::Database::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(database) = super::Database::postgres().await {
                    super::$name(&database).await;
                }
            })*
        }
    };
}
pub(crate) use contract;

contract!(
    migrations_run_twice_and_from_two_processes,
    attestation_is_kept_whole_and_raises_the_version,
    repeated_event_names_the_first_attestation_and_leaves_nothing,
    attestation_about_a_missing_or_erased_subject_is_refused,
    newer_statement_supersedes_the_one_that_stood,
    older_or_equal_statement_is_overtaken,
    lineages_of_two_sources_do_not_meet,
    taken_id_does_not_spoil_the_others_of_its_batch,
    every_event_of_64_submitters_has_exactly_one_winner,
    statements_of_one_subject_get_consecutive_versions,
    two_replicas_record_an_event_once,
    one_statement_of_a_lineage_stands_after_a_race_of_two_replicas,
    conflict_undoes_the_whole_change,
    change_writes_in_order_and_with_its_entries,
    attestation_in_a_change_keeps_every_promise,
    single_use_id_is_spent_once_by_64_tasks,
    external_digest_belongs_to_one_subject,
    subjects_are_paged_in_id_order,
    links_are_unique_and_raise_the_version,
    session_stays_with_its_first_subject,
    quarantined_event_is_held_once_until_released,
    record_is_replaced_only_at_its_version,
    idempotency_key_has_one_owner_and_one_effect,
    a_change_waits_on_the_expected_version,
    timeline_is_in_order_of_approval,
    mark_is_added_once_and_raises_the_version,
    a_suspension_marks_all_its_source_said_and_nothing_else,
    a_session_is_pending_until_its_result,
    decision_recorded_again_changes_nothing,
    token_is_recorded_once_with_decision_and_rules,
    token_for_an_erased_subject_is_refused,
    token_of_a_subject_or_rules_that_changed_is_refused,
    revocation_keeps_its_first_instant,
    no_token_is_recorded_of_a_session_that_is_over,
    the_end_of_a_session_waits_for_tokens_that_are_being_recorded,
    keys_are_unique_and_newest_first,
    a_key_moves_on_only_from_where_it_was_read,
    of_replicas_that_rotate_at_once_one_does,
    a_root_secret_is_founded_once_and_opened_by_those_who_were_added,
    feed_from_now_is_empty,
    feed_loses_nothing_under_concurrent_writers,
    audit_log_links_every_entry_in_commit_order,
    no_record_of_the_log_has_two_successors,
    two_sequencers_do_not_fork_the_log,
    tampered_audit_record_breaks_the_chain,
    append_only_tables_refuse_update_and_delete,
    acknowledged_changes_survive_a_restart,
    a_history_has_one_deployment_and_its_tokens_since_only_moves_ahead,
);

pub(crate) fn subject(id: &str) -> StoredSubject {
    StoredSubject {
        id: id.to_owned(),
        kind: "person".to_owned(),
        version: 1,
        state: "active".to_owned(),
        external_digest: None,
        identifiers: vec![0, 1, 255],
        wrapped_key: vec![7; 40],
        created_at_ms: 1_000,
    }
}

pub(crate) fn entry(id: &str) -> AuditEntry {
    AuditEntry {
        id: format!("aud_{id}"),
        at_ms: 5_000,
        actor: "system".to_owned(),
        action: "test.done".to_owned(),
        target: id.to_owned(),
        detail: r#"{"b":1,"a":"x"}"#.to_owned(),
    }
}

pub(crate) fn outbox(id: &str) -> OutboxRow {
    OutboxRow { id: format!("out_{id}"), topic: "t".to_owned(), key: "k".to_owned(), body: "{}".to_owned() }
}

/// Recorded one second after the check.
pub(crate) fn attestation(id: &str, subject: &str, lineage: &str, checked_at_ms: i64) -> NewAttestation {
    NewAttestation {
        id: format!("att_{id}"),
        subject: subject.to_owned(),
        source: "src_a".to_owned(),
        event: format!("evt_{id}"),
        lineage: lineage.to_owned(),
        checked_at_ms,
        recorded_at_ms: checked_at_ms + 1_000,
        facts: r#"{"note":"quote \" and ü"}"#.to_owned(),
        document: None,
        compare: false,
        audit: entry(id),
        outbox: None,
    }
}

pub(crate) fn change(name: &str, writes: Vec<Write>) -> Change {
    Change { writes, audit: vec![entry(name)], feed: Vec::new(), outbox: Vec::new() }
}

pub(crate) fn decision(id: &str, subject: &str) -> StoredDecision {
    StoredDecision {
        id: id.to_owned(),
        subject: subject.to_owned(),
        acting_for: None,
        resource: "model".to_owned(),
        at_ms: 10,
        status: "eligible".to_owned(),
        expires_at_ms: Some(20),
        rules_digest: "digest".to_owned(),
        attestations: r#"["att_1"]"#.to_owned(),
    }
}

/// A subject that nothing was said of, and no order.
pub(crate) const BASIS: Basis = Basis { version: 1, timeline: 0, suspensions: 0, parties: Vec::new() };

pub(crate) fn token(jti: &str, subject: &str) -> StoredToken {
    StoredToken {
        jti: jti.to_owned(),
        subject: subject.to_owned(),
        audience: "aud".to_owned(),
        resource: "model".to_owned(),
        decision: format!("dec_{subject}"),
        client: "client".to_owned(),
        issued_at_ms: 10,
        expires_at_ms: 20,
        revoked_at_ms: None,
        status_list: 7,
        status_idx: 3,
        end_user: None,
        session: StoredSessionOf::default(),
    }
}

/// Ids of tokens that are revoked and live.
pub(crate) async fn revoked(store: &Arc<dyn Store>, now_ms: i64) -> Vec<String> {
    store.revoked_tokens(now_ms).await.unwrap().into_iter().map(|token| token.jti).collect()
}

pub(crate) fn mark(attestation: &str, kind: &str, at_ms: i64) -> StoredMark {
    StoredMark {
        attestation: attestation.to_owned(),
        kind: kind.to_owned(),
        at_ms,
        from_start: true,
        by: "operator:1".to_owned(),
        reason: "forged".to_owned(),
    }
}

pub(crate) async fn add_subject(store: &Arc<dyn Store>, id: &str) {
    assert_eq!(store.commit(change(id, vec![Write::Subject(subject(id))])).await.unwrap(), Ok(()));
}

pub(crate) fn erasure(id: &str, keep_until_ms: i64) -> StoredErasure {
    StoredErasure { subject: id.to_owned(), erased_at_ms: 50, keep_until_ms, adverse: true }
}

pub(crate) async fn erase(store: &Arc<dyn Store>, id: &str, expected: i64) {
    let write =
        Write::Erase { erasure: erasure(id, 90), expected, sessions: Vec::new(), messages: "out_erase".to_owned() };
    assert_eq!(store.commit(change("erase", vec![write])).await.unwrap(), Ok(()));
}

pub(crate) async fn version(store: &Arc<dyn Store>, id: &str) -> i64 {
    store.subject(id).await.unwrap().unwrap().version
}

fn duplicate_of(attestation: &str) -> Result<i64, Conflict> {
    Err(Conflict::DuplicateEvent { attestation: attestation.to_owned() })
}

/// What one submitter was told about one delivery: event, the id it offered, the answer.
type Answer = (String, String, Result<i64, Conflict>);

/// Submits all at once, each from a task of its own.
async fn submit_all(stores: &[Arc<dyn Store>], all: Vec<NewAttestation>) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for (index, new) in all.into_iter().enumerate() {
        let store = stores[index % stores.len()].clone();
        tasks.spawn(async move {
            let (event, id) = (new.event.clone(), new.id.clone());
            (event, id, store.record_attestation(new).await.unwrap())
        });
    }
    tasks.join_all().await
}

async fn migrations_run_twice_and_from_two_processes(database: &Database) {
    let (one, two) = (storage::open(&database.url()).await.unwrap(), storage::open(&database.url()).await.unwrap());
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.unwrap();
    second.unwrap();
    one.migrate().await.unwrap();
    one.ping().await.unwrap();
    one.ping().await.unwrap();
    assert_eq!(database.count("spent_jtis").await, 0, "a ping leaves no trace");
}

async fn attestation_is_kept_whole_and_raises_the_version(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let (_, cursor) = store.feed("").await.unwrap();
    let new = NewAttestation { outbox: Some(outbox("1")), ..attestation("1", "sub_1", "lin", 100) };
    assert_eq!(store.record_attestation(new.clone()).await.unwrap(), Ok(2));

    let (row, attestations) = store.load_subject("sub_1").await.unwrap().unwrap();
    assert_eq!(row, StoredSubject { version: 2, ..subject("sub_1") });
    assert_eq!(attestations.len(), 1);
    let stored = &attestations[0];
    assert_eq!(
        (&stored.id, &stored.subject, &stored.source, &stored.event, &stored.lineage, &stored.facts),
        (&new.id, &new.subject, &new.source, &new.event, &new.lineage, &new.facts)
    );
    assert_eq!(stored.recorded_at_ms, 1_100);
    assert_eq!(stored.marks, []);
    assert_eq!(store.attestation("att_1").await.unwrap().as_ref(), Some(stored));
    assert_eq!(store.attestation("att_2").await.unwrap(), None);
    assert_eq!(store.load_subject("sub_2").await.unwrap(), None);

    let (rows, _) = store.feed(&cursor).await.unwrap();
    assert_eq!(rows, [FeedRow { kind: "subject".to_owned(), key: "sub_1".to_owned() }]);
    assert_eq!(store.audit_backlog().await.unwrap(), 2, "one for the subject, one for the attestation");
    assert_eq!(database.count("outbox").await, 1);
}

async fn repeated_event_names_the_first_attestation_and_leaves_nothing(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    assert_eq!(store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap(), Ok(2));
    let (_, cursor) = store.feed("").await.unwrap();
    let again = NewAttestation {
        event: "evt_1".to_owned(),
        outbox: Some(outbox("2")),
        ..attestation("2", "sub_1", "other", 200)
    };
    assert_eq!(store.record_attestation(again.clone()).await.unwrap(), duplicate_of("att_1"));
    assert_eq!(version(&store, "sub_1").await, 2);
    assert_eq!(store.attestation("att_2").await.unwrap(), None);
    assert_eq!(store.audit_backlog().await.unwrap(), 2);
    assert_eq!(database.count("outbox").await, 0);
    assert_eq!(store.feed(&cursor).await.unwrap().0, []);

    erase(&store, "sub_1", 2).await;
    assert_eq!(store.record_attestation(again.clone()).await.unwrap(), duplicate_of("att_1"));
    let other_source = NewAttestation { source: "src_b".to_owned(), ..again };
    assert_eq!(store.record_attestation(other_source).await.unwrap(), Err(Conflict::NoSuchSubject));
}

async fn attestation_about_a_missing_or_erased_subject_is_refused(database: &Database) {
    let store = database.store().await;
    let answer = store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap();
    assert_eq!(answer, Err(Conflict::NoSuchSubject));
    add_subject(&store, "sub_1").await;
    erase(&store, "sub_1", 1).await;
    let answer = store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap();
    assert_eq!(answer, Err(Conflict::NoSuchSubject));
    assert_eq!(version(&store, "sub_1").await, 2, "1 at creation, 1 for the erasure");
    assert_eq!(database.count("attestations").await, 0);
    assert_eq!(store.audit_backlog().await.unwrap(), 2);
}

async fn newer_statement_supersedes_the_one_that_stood(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for (id, at) in [("1", 100), ("2", 200), ("3", 300)] {
        let expected = at / 100 + 1;
        assert_eq!(store.record_attestation(attestation(id, "sub_1", "lin", at)).await.unwrap(), Ok(expected));
    }
    let superseded = |id: &str, by: &str, at_ms| StoredMark {
        attestation: id.to_owned(),
        kind: "superseded".to_owned(),
        at_ms,
        from_start: false,
        by: by.to_owned(),
        reason: "superseded".to_owned(),
    };
    let (_, attestations) = store.load_subject("sub_1").await.unwrap().unwrap();
    let marks: Vec<_> = attestations.into_iter().map(|attestation| attestation.marks).collect();
    assert_eq!(
        marks,
        [vec![superseded("att_1", "att_2", 1_200)], vec![superseded("att_2", "att_3", 1_300)], Vec::new()]
    );
}

async fn older_or_equal_statement_is_overtaken(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    assert_eq!(store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap(), Ok(2));
    for (id, about, at) in [("2", "sub_1", 99), ("3", "sub_1", 100), ("4", "sub_2", 100)] {
        let answer = store.record_attestation(attestation(id, about, "lin", at)).await.unwrap();
        assert_eq!(answer, Err(Conflict::Overtaken), "attestation {id}");
    }
    assert_eq!(version(&store, "sub_1").await, 2);
    assert_eq!(version(&store, "sub_2").await, 1);
    assert_eq!(store.audit_backlog().await.unwrap(), 3);
    assert_eq!(store.record_attestation(attestation("5", "sub_2", "lin", 101)).await.unwrap(), Ok(2));
    let other = store.attestation("att_1").await.unwrap().unwrap();
    assert_eq!(other.marks, [], "a statement about another subject supersedes nothing");
}

async fn lineages_of_two_sources_do_not_meet(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    assert_eq!(store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap(), Ok(2));
    let other = |id, at| NewAttestation { source: "src_b".to_owned(), ..attestation(id, "sub_1", "lin", at) };
    assert_eq!(store.record_attestation(other("2", 50)).await.unwrap(), Ok(3));
    assert_eq!(store.record_attestation(other("3", 150)).await.unwrap(), Ok(4));
    assert_eq!(store.attestation("att_1").await.unwrap().unwrap().marks, []);
    assert_eq!(store.attestation("att_2").await.unwrap().unwrap().marks.len(), 1);
}

async fn taken_id_does_not_spoil_the_others_of_its_batch(database: &Database) {
    let store = database.store().await;
    let mut all = Vec::new();
    for n in 0..20 {
        add_subject(&store, &format!("sub_{n}")).await;
        all.push(attestation(&n.to_string(), &format!("sub_{n}"), &format!("lin_{n}"), 100));
    }
    add_subject(&store, "sub_x").await;
    assert_eq!(store.record_attestation(attestation("x", "sub_x", "lin_x", 100)).await.unwrap(), Ok(2));
    all.insert(10, NewAttestation { id: "att_x".to_owned(), ..attestation("y", "sub_x", "lin_y", 100) });
    for (event, _, answer) in submit_all(std::slice::from_ref(&store), all).await {
        let expected = if event == "evt_y" { Err(Conflict::Exists("attestations")) } else { Ok(2) };
        assert_eq!(answer, expected, "{event}");
    }
    assert_eq!(database.count("attestations").await, 21);
}

/// 32 events, each delivered eight times under ids of its own, over 16 subjects: 256 deliveries.
fn repeated_deliveries() -> Vec<NewAttestation> {
    let delivery = |event: i64, copy: i64| NewAttestation {
        event: format!("evt_{event}"),
        ..attestation(&format!("{event}_{copy}"), &format!("sub_{}", event % 16), &format!("lin_{event}"), 100)
    };
    (0..8).flat_map(|copy| (0..32).map(move |event| delivery(event, copy))).collect()
}

fn assert_one_winner_per_event(answers: &[Answer]) {
    let mut winners = BTreeMap::new();
    for (event, id, answer) in answers {
        if answer.is_ok() {
            assert_eq!(winners.insert(event, id), None, "two winners of {event}");
        }
    }
    assert_eq!(winners.len(), 32);
    for (event, _, answer) in answers.iter().filter(|(_, _, answer)| answer.is_err()) {
        assert_eq!(*answer, duplicate_of(winners[event]), "{event}");
    }
}

async fn every_event_of_64_submitters_has_exactly_one_winner(database: &Database) {
    let store = database.store().await;
    for n in 0..16 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    let mut tasks = JoinSet::new();
    for part in repeated_deliveries().chunks(4).map(<[NewAttestation]>::to_vec) {
        let store = store.clone();
        tasks.spawn(async move {
            let mut answers = Vec::new();
            for new in part {
                answers.push((new.event.clone(), new.id.clone(), store.record_attestation(new).await.unwrap()));
            }
            answers
        });
    }
    assert_eq!(tasks.len(), 64);
    let answers: Vec<Answer> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.len(), 256);
    assert_one_winner_per_event(&answers);
    assert_eq!(store.audit_backlog().await.unwrap(), 16 + 32);
    for n in 0..16 {
        assert_eq!(version(&store, &format!("sub_{n}")).await, 3, "two events per subject");
    }
}

async fn statements_of_one_subject_get_consecutive_versions(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let all = (0..64).map(|n| attestation(&n.to_string(), "sub_1", &format!("lin_{n}"), 100)).collect();
    let versions: BTreeSet<i64> =
        submit_all(std::slice::from_ref(&store), all).await.into_iter().map(|(_, _, answer)| answer.unwrap()).collect();
    assert_eq!(versions, (2..=65).collect());
    assert_eq!(version(&store, "sub_1").await, 65);
}

async fn two_replicas_record_an_event_once(database: &Database) {
    let (one, two) = (database.store().await, database.store().await);
    for n in 0..16 {
        add_subject(&one, &format!("sub_{n}")).await;
    }
    // Neighbours are the same event, so that it reaches both replicas at once.
    let mut all = repeated_deliveries();
    all.sort_by(|left, right| left.event.cmp(&right.event));
    let answers = submit_all(&[one.clone(), two], all).await;
    assert_one_winner_per_event(&answers);
    for n in 0..16 {
        assert_eq!(version(&one, &format!("sub_{n}")).await, 3);
    }
    assert_eq!(database.count("feed").await, 32);
}

async fn one_statement_of_a_lineage_stands_after_a_race_of_two_replicas(database: &Database) {
    let (one, two) = (database.store().await, database.store().await);
    add_subject(&one, "sub_1").await;
    // 37 is prime to 64: every instant from 0 to 63 once, out of order.
    let all = (0..64).map(|n| attestation(&n.to_string(), "sub_1", "lin", n * 37 % 64)).collect();
    let answers = submit_all(&[one.clone(), two], all).await;
    let accepted: BTreeMap<i64, String> = answers
        .into_iter()
        .filter_map(|(_, id, answer)| match answer {
            Ok(version) => Some((version, id)),
            Err(conflict) => {
                assert_eq!(conflict, Conflict::Overtaken);
                None
            }
        })
        .collect();
    let (row, attestations) = one.load_subject("sub_1").await.unwrap().unwrap();
    assert_eq!(row.version, 1 + i64::try_from(attestations.len()).unwrap());
    assert_eq!(accepted.len(), attestations.len(), "a version of its own each");
    let instants: Vec<i64> =
        accepted.values().map(|id| attestations.iter().find(|row| row.id == *id).unwrap().recorded_at_ms).collect();
    assert!(instants.is_sorted(), "accepted in the order of their instants: {instants:?}");
    assert_eq!(instants.last(), Some(&1_063), "the newest stands");
    let standing = attestations.iter().filter(|row| row.marks.is_empty()).count();
    assert_eq!(standing, 1);
}

async fn conflict_undoes_the_whole_change(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let (_, cursor) = store.feed("").await.unwrap();
    let record = Record {
        kind: "source".to_owned(),
        id: "s".to_owned(),
        version: 0,
        body: "{}".to_owned(),
        sealed: None,
        updated_at_ms: 1,
    };
    let spend = Write::Spend { issuer: "i".to_owned(), jti: "j".to_owned(), expires_at_ms: 9 };
    let doomed = Change {
        writes: vec![
            Write::Record { record, expected: 0 },
            Write::Timeline { directive: "d".to_owned(), from_ms: 1, approved_ms: 1, action: "{}".to_owned() },
            spend.clone(),
            Write::Attestation(attestation("1", "sub_1", "lin", 100)),
            Write::Mark(mark("att_1", "revoked", 5)),
            Write::Unlink { namespace: "n".to_owned(), digest: "absent".to_owned() },
        ],
        audit: vec![entry("doomed")],
        feed: vec![FeedRow { kind: "record".to_owned(), key: "source/s".to_owned() }],
        outbox: vec![outbox("doomed")],
    };
    assert_eq!(store.commit(doomed).await.unwrap(), Err(Conflict::Stale("links")));
    assert_eq!(store.record("source", "s").await.unwrap(), None);
    assert_eq!(store.timeline().await.unwrap(), []);
    assert_eq!(store.attestation("att_1").await.unwrap(), None);
    assert_eq!(version(&store, "sub_1").await, 1);
    assert_eq!(store.audit_backlog().await.unwrap(), 1);
    assert_eq!(database.count("outbox").await, 0);
    assert_eq!(database.count("marks").await, 0);
    assert_eq!(store.feed(&cursor).await.unwrap().0, []);
    assert_eq!(store.commit(change("spend", vec![spend])).await.unwrap(), Ok(()), "the spent id came back");
}

async fn change_writes_in_order_and_with_its_entries(database: &Database) {
    let store = database.store().await;
    let (_, cursor) = store.feed("").await.unwrap();
    let link = StoredLink {
        namespace: "n".to_owned(),
        digest: "d".to_owned(),
        subject: "sub_1".to_owned(),
        sealed: vec![9],
        created_at_ms: 3,
    };
    let backwards = change("backwards", vec![Write::Link(link.clone()), Write::Subject(subject("sub_1"))]);
    assert_eq!(store.commit(backwards).await.unwrap(), Err(Conflict::NoSuchSubject));
    let row = FeedRow { kind: "subject".to_owned(), key: "sub_1".to_owned() };
    let forwards = Change {
        writes: vec![Write::Subject(subject("sub_1")), Write::Link(link)],
        audit: vec![entry("a"), entry("b")],
        feed: vec![row.clone()],
        outbox: vec![outbox("a")],
    };
    assert_eq!(store.commit(forwards).await.unwrap(), Ok(()));
    assert_eq!(store.feed(&cursor).await.unwrap().0, [row]);
    assert_eq!(store.audit_backlog().await.unwrap(), 2);
    assert_eq!(database.count("outbox").await, 1);
}

async fn attestation_in_a_change_keeps_every_promise(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let attest = |new| change("c", vec![Write::Attestation(new)]);
    let first = NewAttestation { outbox: Some(outbox("1")), ..attestation("1", "sub_1", "lin", 100) };
    let (_, cursor) = store.feed("").await.unwrap();
    assert_eq!(store.commit(attest(first.clone())).await.unwrap(), Ok(()));
    assert_eq!(store.feed(&cursor).await.unwrap().0.len(), 1);
    assert_eq!(database.count("outbox").await, 1);
    assert_eq!(store.audit_backlog().await.unwrap(), 3, "the subject, the change, the attestation");
    assert_eq!(
        store.commit(attest(first)).await.unwrap(),
        Err(Conflict::DuplicateEvent { attestation: "att_1".to_owned() })
    );
    let equal = attestation("2", "sub_1", "lin", 100);
    assert_eq!(store.commit(attest(equal)).await.unwrap(), Err(Conflict::Overtaken));
    let elsewhere = attestation("3", "sub_9", "lin", 200);
    assert_eq!(store.commit(attest(elsewhere)).await.unwrap(), Err(Conflict::NoSuchSubject));
    assert_eq!(store.commit(attest(attestation("4", "sub_1", "lin", 200))).await.unwrap(), Ok(()));
    let old = store.attestation("att_1").await.unwrap().unwrap();
    assert_eq!(old.marks.iter().map(|mark| (mark.by.as_str(), mark.at_ms)).collect::<Vec<_>>(), [("att_4", 1_200)]);
    assert_eq!(version(&store, "sub_1").await, 3);
    let taken = NewAttestation { id: "att_4".to_owned(), ..attestation("5", "sub_1", "lin", 300) };
    assert_eq!(store.commit(attest(taken)).await.unwrap(), Err(Conflict::Exists("attestations")));
}

async fn single_use_id_is_spent_once_by_64_tasks(database: &Database) {
    let store = database.store().await;
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let store = store.clone();
        let spend = Write::Spend { issuer: "i".to_owned(), jti: "j".to_owned(), expires_at_ms: 9 };
        tasks.spawn(async move { store.commit(change(&n.to_string(), vec![spend])).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Conflict::Spent)).count(), 63);
    assert_eq!(store.audit_backlog().await.unwrap(), 1);
    let other = Write::Spend { issuer: "other".to_owned(), jti: "j".to_owned(), expires_at_ms: 9 };
    assert_eq!(store.commit(change("other", vec![other])).await.unwrap(), Ok(()), "ids belong to their issuer");
}

async fn external_digest_belongs_to_one_subject(database: &Database) {
    let store = database.store().await;
    let with = |id: &str, digest: &str| StoredSubject { external_digest: Some(digest.to_owned()), ..subject(id) };
    let add = |id, digest| change("a", vec![Write::Subject(with(id, digest))]);
    assert_eq!(store.commit(add("sub_1", "x")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add("sub_2", "x")).await.unwrap(), Err(Conflict::Exists("subjects")));
    assert_eq!(store.commit(add("sub_1", "y")).await.unwrap(), Err(Conflict::Exists("subjects")));
    assert_eq!(store.commit(add("sub_2", "y")).await.unwrap(), Ok(()));
    assert_eq!(store.subject_by_external("x").await.unwrap().unwrap().id, "sub_1");
    assert_eq!(store.subject_by_external("z").await.unwrap(), None);
}

async fn subjects_are_paged_in_id_order(database: &Database) {
    let store = database.store().await;
    for id in ["sub_b", "sub_C", "sub_a", "sub_d"] {
        add_subject(&store, id).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.subjects(&after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        seen.extend(page.into_iter().map(|subject| subject.id));
    }
    assert_eq!(seen, ["sub_C", "sub_a", "sub_b", "sub_d"], "byte order");
}

async fn links_are_unique_and_raise_the_version(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    let link = |subject: &str, digest: &str| StoredLink {
        namespace: "api-key".to_owned(),
        digest: digest.to_owned(),
        subject: subject.to_owned(),
        sealed: vec![1, 2],
        created_at_ms: 4,
    };
    let add = |subject, digest| change("l", vec![Write::Link(link(subject, digest))]);
    let remove = || change("u", vec![Write::Unlink { namespace: "api-key".to_owned(), digest: "d1".to_owned() }]);
    assert_eq!(store.commit(add("sub_1", "d1")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add("sub_1", "d2")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add("sub_2", "d1")).await.unwrap(), Err(Conflict::Exists("links")));
    assert_eq!(store.commit(add("sub_9", "d9")).await.unwrap(), Err(Conflict::NoSuchSubject));
    assert_eq!(store.link("api-key", "d1").await.unwrap(), Some(link("sub_1", "d1")));
    assert_eq!(store.link("other", "d1").await.unwrap(), None);
    assert_eq!(store.links("sub_1").await.unwrap(), [link("sub_1", "d1"), link("sub_1", "d2")]);
    assert_eq!(version(&store, "sub_1").await, 3);
    assert_eq!(version(&store, "sub_2").await, 1);
    assert_eq!(store.commit(remove()).await.unwrap(), Ok(()));
    assert_eq!(store.commit(remove()).await.unwrap(), Err(Conflict::Stale("links")));
    assert_eq!(version(&store, "sub_1").await, 4);
    erase(&store, "sub_2", 1).await;
    assert_eq!(store.commit(add("sub_2", "d3")).await.unwrap(), Err(Conflict::NoSuchSubject));
}

async fn session_stays_with_its_first_subject(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    let bind = |subject: &str| {
        let write = Write::Session {
            source: "src".to_owned(),
            session: "s".to_owned(),
            subject: subject.to_owned(),
            created_at_ms: 1,
        };
        change("b", vec![write])
    };
    assert_eq!(store.session_subject("src", "s").await.unwrap(), None);
    assert_eq!(store.commit(bind("sub_9")).await.unwrap(), Err(Conflict::NoSuchSubject));
    assert_eq!(store.commit(bind("sub_1")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(bind("sub_1")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(bind("sub_2")).await.unwrap(), Err(Conflict::Exists("sessions")));
    assert_eq!(store.session_subject("src", "s").await.unwrap().as_deref(), Some("sub_1"));
}

async fn quarantined_event_is_held_once_until_released(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let held = |id: &str, event: &str, received_at_ms| Quarantined {
        id: format!("qua_{id}"),
        source: "src_a".to_owned(),
        event: event.to_owned(),
        session: "ses".to_owned(),
        sealed: vec![3],
        received_at_ms,
    };
    let hold = |id, event, at| change("q", vec![Write::Quarantine(held(id, event, at))]);
    let duplicate = |id: &str| Err(Conflict::DuplicateEvent { attestation: id.to_owned() });
    assert_eq!(store.commit(hold("1", "evt_1", 20)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(hold("2", "evt_2", 10)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(hold("3", "evt_1", 30)).await.unwrap(), duplicate("qua_1"));
    let listed = store.quarantined("src_a", "ses").await.unwrap();
    assert_eq!(listed, [held("2", "evt_2", 10), held("1", "evt_1", 20)], "oldest first");

    let release = || Write::Release("qua_1".to_owned());
    let attach = vec![release(), Write::Attestation(attestation("1", "sub_1", "lin", 100))];
    assert_eq!(store.commit(change("r", attach)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(change("r", vec![release()])).await.unwrap(), Err(Conflict::Stale("quarantine")));
    assert_eq!(store.commit(hold("4", "evt_1", 40)).await.unwrap(), duplicate("att_1"));
    assert_eq!(store.quarantined("src_a", "ses").await.unwrap().len(), 1);
}

async fn record_is_replaced_only_at_its_version(database: &Database) {
    let store = database.store().await;
    let record = |body: &str, version| Record {
        kind: "policy".to_owned(),
        id: "p@1".to_owned(),
        version,
        body: body.to_owned(),
        sealed: Some(vec![4]),
        updated_at_ms: 6,
    };
    let put = |body: &str, expected| change("p", vec![Write::Record { record: record(body, 99), expected }]);
    assert_eq!(store.commit(put("a", 1)).await.unwrap(), Err(Conflict::Stale("records")));
    assert_eq!(store.commit(put("a", 0)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(put("b", 0)).await.unwrap(), Err(Conflict::Exists("records")));
    assert_eq!(store.record("policy", "p@1").await.unwrap(), Some(record("a", 1)));
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let (store, change) = (store.clone(), put(&format!("body {n}"), 1));
        tasks.spawn(async move { (n, store.commit(change).await.unwrap()) });
    }
    let answers = tasks.join_all().await;
    let winners: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(answers.iter().filter(|(_, answer)| *answer == Err(Conflict::Stale("records"))).count(), 15);
    let body = format!("body {}", winners[0].0);
    assert_eq!(store.records("policy", "", 10).await.unwrap(), [record(&body, 2)]);
    assert_eq!(store.records("policy", "p@1", 10).await.unwrap(), []);
    assert_eq!(store.records("source", "", 10).await.unwrap(), []);
}

async fn idempotency_key_has_one_owner_and_one_effect(database: &Database) {
    let store = database.store().await;
    let request = |owner: &str, body: &str, now_ms: i64| StoredRequest {
        client: "c".to_owned(),
        key: "k".to_owned(),
        body_sha256: body.to_owned(),
        owner: owner.to_owned(),
        lease_until_ms: now_ms + 10,
        effect: None,
        answer: None,
        expires_at_ms: now_ms + 100,
    };
    let books = |write| Change { writes: vec![write], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
    let claim = |owner: &str, body: &str, now_ms| books(Write::Claim { request: request(owner, body, now_ms), now_ms });
    let effect = |owner: &str| Write::Effect {
        client: "c".to_owned(),
        key: "k".to_owned(),
        owner: owner.to_owned(),
        effect: format!("by {owner}"),
    };
    let give_back =
        |owner: &str| books(Write::GiveBack { client: "c".to_owned(), key: "k".to_owned(), owner: owner.to_owned() });
    let answer = |owner: &str| {
        let (client, key, owner) = ("c".to_owned(), "k".to_owned(), owner.to_owned());
        books(Write::Answer { client, key, owner, answer: vec![0, 255] })
    };
    let (taken, stale) = (Err(Conflict::Exists("requests")), Err(Conflict::Stale("requests")));
    assert_eq!(store.commit(claim("a", "x", 0)).await.unwrap(), Ok(()));
    assert_eq!(store.request("c", "k").await.unwrap(), Some(request("a", "x", 0)));
    assert_eq!(store.request("c", "other").await.unwrap(), None);
    assert_eq!(store.commit(claim("b", "x", 9)).await.unwrap(), taken, "the lease stands");
    assert_eq!(store.commit(claim("b", "y", 10)).await.unwrap(), taken, "another body");
    assert_eq!(store.commit(claim("b", "x", 10)).await.unwrap(), Ok(()), "the lease has ended without effect");
    let late = change("late", vec![Write::Subject(subject("sub_late")), effect("a")]);
    assert_eq!(store.commit(late).await.unwrap(), stale);
    assert_eq!(store.subject("sub_late").await.unwrap(), None, "who lost the key does nothing");
    assert_eq!(store.commit(give_back("b")).await.unwrap(), Ok(()));
    assert_eq!(store.request("c", "k").await.unwrap(), None);
    assert_eq!(store.commit(claim("c", "y", 10)).await.unwrap(), Ok(()));
    let done = change("done", vec![Write::Subject(subject("sub_1")), effect("c")]);
    assert_eq!(store.commit(done).await.unwrap(), Ok(()));
    assert_eq!(store.commit(claim("d", "y", 50)).await.unwrap(), taken, "an effect outlives the lease");
    assert_eq!(store.commit(give_back("c")).await.unwrap(), Ok(()), "and the key that had it");
    let found = store.request("c", "k").await.unwrap().unwrap();
    assert_eq!((found.effect.as_deref(), found.lease_until_ms), (Some("by c"), 0));
    assert_eq!(store.commit(answer("d")).await.unwrap(), stale);
    assert_eq!(store.commit(answer("c")).await.unwrap(), Ok(()));
    assert_eq!(store.request("c", "k").await.unwrap().unwrap().answer, Some(vec![0, 255]));
    assert_eq!(store.commit(claim("d", "z", 109)).await.unwrap(), taken);
    assert_eq!(store.commit(claim("d", "z", 110)).await.unwrap(), Ok(()), "an expired key is anyone's");
    assert_eq!(store.request("c", "k").await.unwrap(), Some(request("d", "z", 110)));
    assert_eq!(store.commit(books(Write::Forget(Forgotten::Requests, 209))).await.unwrap(), stale);
    assert_eq!(store.commit(books(Write::Forget(Forgotten::Requests, 210))).await.unwrap(), Ok(()));
    assert_eq!(database.count("requests").await, 0);
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let (store, claim) = (store.clone(), claim(&n.to_string(), "x", 0));
        tasks.spawn(async move { store.commit(claim).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(store.audit_backlog().await.unwrap(), 1, "the books leave no audit entry");
}

async fn a_change_waits_on_the_expected_version(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let add = |version, digest: &str| {
        let expect = Write::Expect { subject: "sub_1".to_owned(), versions: vec![version, 77] };
        let link = StoredLink {
            namespace: "n".to_owned(),
            digest: digest.to_owned(),
            subject: "sub_1".to_owned(),
            sealed: vec![1],
            created_at_ms: 1,
        };
        change("e", vec![expect, Write::Link(link)])
    };
    assert_eq!(store.commit(add(2, "d1")).await.unwrap(), Err(Conflict::Unmet));
    assert_eq!(store.commit(add(1, "d1")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add(1, "d2")).await.unwrap(), Err(Conflict::Unmet));
    assert_eq!(store.record_attestation(attestation("1", "sub_1", "l", 1)).await.unwrap(), Ok(3));
    assert_eq!(store.commit(add(2, "d2")).await.unwrap(), Err(Conflict::Unmet), "statements count");
    let missing = change("m", vec![Write::Expect { subject: "sub_2".to_owned(), versions: vec![1] }]);
    assert_eq!(store.commit(missing).await.unwrap(), Err(Conflict::NoSuchSubject));
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let (store, change) = (store.clone(), add(3, &format!("race {n}")));
        tasks.spawn(async move { store.commit(change).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|answer| answer.is_ok()).count(), 1);
}

async fn timeline_is_in_order_of_approval(database: &Database) {
    let store = database.store().await;
    let append = |directive: String| {
        change("t", vec![Write::Timeline { directive, from_ms: 1, approved_ms: 1, action: "{}".to_owned() }])
    };
    for n in 0..5 {
        assert_eq!(store.commit(append(n.to_string())).await.unwrap(), Ok(()));
    }
    let rows = store.timeline().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.directive.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);

    // Whoever has read the timeline never sees a row appear before one it knows.
    let mut tasks = JoinSet::new();
    for n in 0..32 {
        let (store, change) = (store.clone(), append(format!("c{n}")));
        tasks.spawn(async move { store.commit(change).await.unwrap().unwrap() });
    }
    let mut known = rows;
    while known.len() < 37 {
        let now = store.timeline().await.unwrap();
        assert_eq!(now[..known.len()], known[..]);
        known = now;
    }
    tasks.join_all().await;
    assert!(known.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

async fn mark_is_added_once_and_raises_the_version(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    assert_eq!(store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap(), Ok(2));
    let add = |mark| change("m", vec![Write::Mark(mark)]);
    assert_eq!(store.commit(add(mark("att_9", "revoked", 5))).await.unwrap(), Err(Conflict::Stale("attestations")));
    assert_eq!(store.commit(add(mark("att_1", "revoked", 7))).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add(mark("att_1", "revoked", 9))).await.unwrap(), Ok(()));
    assert_eq!(version(&store, "sub_1").await, 3, "the repetition changes nothing");
    assert_eq!(store.commit(add(mark("att_1", "superseded", 6))).await.unwrap(), Ok(()));
    assert_eq!(store.commit(add(mark("att_1", "resolved", 7))).await.unwrap(), Ok(()));
    assert_eq!(version(&store, "sub_1").await, 5);
    let expected = [mark("att_1", "superseded", 6), mark("att_1", "resolved", 7), mark("att_1", "revoked", 7)];
    assert_eq!(store.attestation("att_1").await.unwrap().unwrap().marks, expected);
    assert_eq!(store.load_subject("sub_1").await.unwrap().unwrap().1[0].marks, expected);
}

fn suspension(source: &str, at_ms: i64, since_ms: i64) -> Write {
    let (source, by, reason) = (source.to_owned(), "client:1".to_owned(), "fraud".to_owned());
    Write::Suspend { source, at_ms, since_ms, by, reason }
}

async fn a_suspension_marks_all_its_source_said_and_nothing_else(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    // Recorded at 1,100, 1,200, 1,300 and, by another source, 1,200.
    for (id, lineage, at_ms) in [("1", "a", 100), ("2", "b", 200), ("3", "c", 300)] {
        store.record_attestation(attestation(id, "sub_1", lineage, at_ms)).await.unwrap().unwrap();
    }
    let other = NewAttestation { source: "src_b".to_owned(), ..attestation("4", "sub_1", "d", 200) };
    store.record_attestation(other).await.unwrap().unwrap();
    let marked = async || {
        let (subject, all) = store.load_subject("sub_1").await.unwrap().unwrap();
        assert_eq!(subject.version, 5, "no subject is written to");
        let mut marked = Vec::new();
        for found in all {
            assert_eq!(store.attestation(&found.id).await.unwrap().unwrap().marks, found.marks);
            let kinds: Vec<(String, i64)> = found.marks.into_iter().map(|mark| (mark.kind, mark.at_ms)).collect();
            marked.extend(kinds.into_iter().map(|(kind, at_ms)| format!("{} {kind} {at_ms}", found.id)));
        }
        marked
    };
    let commit = async |write: Write| store.commit(change("s", vec![write])).await.unwrap();
    let reinstate = |at_ms: i64| Write::Reinstate { source: "src_a".to_owned(), at_ms };
    assert_eq!(commit(reinstate(1)).await, Err(Conflict::Stale("suspensions")));
    assert_eq!(marked().await, [""; 0]);

    assert_eq!(commit(suspension("src_a", 2_000, 1_200)).await, Ok(()));
    assert_eq!(commit(suspension("src_a", 2_001, 0)).await, Err(Conflict::Exists("suspensions")));
    assert_eq!(marked().await, ["att_2 suspended 2000", "att_3 suspended 2000"], "from 1,200 on");
    assert_eq!(store.suspensions().await.unwrap(), 1);
    // What slips in while the suspension lasts is silent too; what comes after its end is not.
    store.record_attestation(attestation("5", "sub_1", "e", 1_500)).await.unwrap().unwrap();
    assert_eq!(commit(reinstate(2_500)).await, Ok(()));
    store.record_attestation(attestation("6", "sub_1", "f", 1_501)).await.unwrap().unwrap();
    let (_, all) = store.load_subject("sub_1").await.unwrap().unwrap();
    let silent: Vec<bool> = all.iter().map(|found| !found.marks.is_empty()).collect();
    assert_eq!(silent, [false, true, true, false, true, false]);
    assert_eq!(all[1].marks[0].reason, "fraud");
    // Again, and this time all of it; marks of their own stay beside.
    assert_eq!(commit(suspension("src_a", 3_000, 0)).await, Ok(()));
    let (_, all) = store.load_subject("sub_1").await.unwrap().unwrap();
    assert_eq!(all.iter().map(|found| found.marks.len()).collect::<Vec<_>>(), [1, 2, 2, 0, 2, 1]);
    assert_eq!(store.suspensions().await.unwrap(), 2);
    assert_eq!(database.count("marks").await, 0, "whatever the number of attestations, none is written to");
}

async fn a_session_is_pending_until_its_result(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let bind = |session: &str, created_at_ms: i64| {
        let (source, subject) = ("src".to_owned(), "sub_1".to_owned());
        change("b", vec![Write::Session { source, session: session.to_owned(), subject, created_at_ms }])
    };
    let progress = |session: &str, pending_since_ms: Option<i64>| {
        let write = Write::Progress { source: "src".to_owned(), session: session.to_owned(), pending_since_ms };
        change("p", vec![write])
    };
    let since = async |after_ms: i64| {
        let rows = store.pending("sub_1", after_ms).await.unwrap();
        rows.into_iter().map(|(_, since_ms)| since_ms).collect::<Vec<_>>()
    };
    store.commit(bind("s", 10)).await.unwrap().unwrap();
    store.commit(bind("t", 20)).await.unwrap().unwrap();
    assert_eq!(since(0).await, [10, 20]);
    assert_eq!(since(10).await, [20], "after the instant");
    store.commit(progress("s", None)).await.unwrap().unwrap();
    store.commit(bind("s", 30)).await.unwrap().unwrap();
    assert_eq!(since(0).await, [20], "bound once more it is not pending again");
    store.commit(progress("s", Some(40))).await.unwrap().unwrap();
    store.commit(progress("nobody's", Some(50))).await.unwrap().unwrap();
    assert_eq!(since(0).await, [20, 40]);
    assert_eq!(store.pending("sub_2", 0).await.unwrap(), []);
}

async fn decision_recorded_again_changes_nothing(database: &Database) {
    let store = database.store().await;
    let write = |status: &str, rules: &str| {
        let decision = StoredDecision { status: status.to_owned(), ..decision("dec_1", "sub_1") };
        change("d", vec![Write::Decision { decision, rules: rules.to_owned() }])
    };
    assert_eq!(store.commit(write("eligible", "first")).await.unwrap(), Ok(()));
    assert_eq!(store.commit(write("ineligible", "second")).await.unwrap(), Ok(()));
    assert_eq!(store.decision("dec_1").await.unwrap(), Some(decision("dec_1", "sub_1")));
    assert_eq!(store.rules("digest").await.unwrap().as_deref(), Some("first"));
    assert_eq!(store.decision("dec_2").await.unwrap(), None);
    assert_eq!(store.rules("other").await.unwrap(), None);
}

async fn token_is_recorded_once_with_decision_and_rules(database: &Database) {
    let store = database.store().await;
    for n in 0..4 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    // 64 tasks issue 32 tokens twice each, for four subjects with one decision each, all under the same rules.
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            let subject = format!("sub_{}", n % 4);
            let token = token(&format!("jti_{}", n % 32), &subject);
            let decision = decision(&token.decision, &subject);
            store.record_token(token, decision, BASIS, "rules".into(), entry(&n.to_string())).await.unwrap()
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 32);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Conflict::Exists("tokens"))).count(), 32);
    assert_eq!(store.audit_backlog().await.unwrap(), 4 + 32);
    assert_eq!(store.token("jti_6").await.unwrap(), Some(token("jti_6", "sub_2")));
    assert_eq!(store.token("jti_32").await.unwrap(), None);
    assert_eq!(store.decision("dec_sub_2").await.unwrap(), Some(decision("dec_sub_2", "sub_2")));
    assert_eq!(store.rules("digest").await.unwrap().as_deref(), Some("rules"));
    assert_eq!(database.count("decisions").await, 4);

    let other = StoredDecision { rules_digest: "new".to_owned(), ..decision("dec_new", "sub_1") };
    let late = StoredToken { decision: "dec_new".to_owned(), ..token("jti_late", "sub_1") };
    assert_eq!(store.record_token(late, other, BASIS, "new rules".into(), entry("late")).await.unwrap(), Ok(()));
    assert_eq!(store.rules("new").await.unwrap().as_deref(), Some("new rules"));
}

async fn no_token_is_recorded_of_a_session_that_is_over(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let of = |session: &str, of: &str, at_ms: i64| StoredSessionOf {
        session: Some(session.to_owned()),
        session_of: Some(of.to_owned()),
        session_at_ms: Some(at_ms),
    };
    let issue = async |jti: &str, session: StoredSessionOf| {
        let token = StoredToken { session, ..token(jti, "sub_1") };
        let decision = decision(&token.decision, "sub_1");
        store.record_token(token, decision, BASIS, "rules".into(), entry(jti)).await.unwrap()
    };
    let end = async |name: &str, over: SessionsOver, at_ms: i64| {
        store.commit(change(name, vec![Write::SessionsOver { over, at_ms }])).await.unwrap().unwrap();
    };
    let one =
        |session: &str, of: Option<&str>| SessionsOver::One { session: session.to_owned(), of: of.map(str::to_owned) };
    let found = async |over: SessionsOver, now_ms: i64, limit: i64| {
        let found = store.tokens_of_sessions(&over, now_ms, limit).await.unwrap();
        found.into_iter().map(|token| token.jti).collect::<Vec<_>>()
    };
    for (jti, session) in [
        ("a", of("s1", "ada", 5)),
        ("b", of("s1", "ada", 6)),
        ("c", of("s2", "ada", 7)),
        ("d", of("s1", "bo", 5)),
        ("e", StoredSessionOf::default()),
    ] {
        assert_eq!(issue(jti, session.clone()).await, Ok(()));
        assert_eq!(store.token(jti).await.unwrap().unwrap().session, session);
    }
    let all = |until_ms: i64| SessionsOver::All { of: "ada".to_owned(), until_ms };
    assert_eq!(found(one("s1", None), 10, 9).await, ["a", "b", "d"]);
    assert_eq!(found(one("s1", None), 10, 2).await, ["a", "b"]);
    assert_eq!(found(one("s1", Some("ada")), 10, 9).await, ["a", "b"]);
    assert_eq!(found(all(6), 10, 9).await, ["a", "b"]);
    assert_eq!(found(all(7), 19, 9).await, ["a", "b", "c"]);
    // A token ends at 20.
    assert_eq!(found(all(7), 20, 9).await, [""; 0]);
    let revoke = Write::RevokeToken { jti: "a".to_owned(), at_ms: 11 };
    store.commit(change("r", vec![revoke])).await.unwrap().unwrap();
    assert_eq!(found(one("s1", Some("ada")), 12, 9).await, ["b"]);

    end("one", one("s1", Some("ada")), 12).await;
    assert_eq!(issue("f", of("s1", "ada", 99)).await, Err(Conflict::Spent));
    assert_eq!(issue("f", of("s1", "bo", 99)).await, Ok(()));
    end("any", one("s3", None), 12).await;
    assert_eq!(issue("g", of("s3", "bo", 99)).await, Err(Conflict::Spent));
    end("all", all(20), 20).await;
    // What was said of an earlier instant takes nothing of it back.
    end("earlier", all(8), 8).await;
    assert_eq!(issue("h", of("s4", "ada", 20)).await, Err(Conflict::Spent));
    assert_eq!(issue("h", of("s4", "ada", 21)).await, Ok(()));
    assert_eq!(issue("i", StoredSessionOf::default()).await, Ok(()));
}

async fn the_end_of_a_session_waits_for_tokens_that_are_being_recorded(database: &Database) {
    if database.is_sqlite() {
        // It has one writer.
        return;
    }
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    // As a batch of tokens begins, and the one that it records.
    let mut recording = PgConnection::connect(&database.url()).await.unwrap();
    let begun = "BEGIN; LOCK TABLE timeline, suspensions IN SHARE MODE;
        INSERT INTO tokens (jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms,
            status_list, status_idx, session, session_of, session_at_ms)
        VALUES ('a', 'sub_1', 'aud', 'model', 'dec', 'client', 10, 20, 7, 3, 's1', 'ada', 5)";
    sqlx::raw_sql(begun).execute(&mut recording).await.unwrap();
    let over = SessionsOver::One { session: "s1".to_owned(), of: None };
    let ending = tokio::spawn({
        let (store, over) = (store.clone(), over.clone());
        async move { store.commit(change("over", vec![Write::SessionsOver { over, at_ms: 12 }])).await }
    });
    let mut watching = PgConnection::connect(&database.url()).await.unwrap();
    let mut waits = false;
    for _ in 0..200 {
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = 'suspensions'::regclass";
        waits = sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watching).await.unwrap() > 0;
        if waits || ending.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(waits, "it was over before the token was recorded, and did not see it");
    sqlx::raw_sql("COMMIT").execute(&mut recording).await.unwrap();
    ending.await.unwrap().unwrap().unwrap();
    let found = store.tokens_of_sessions(&over, 12, 9).await.unwrap();
    assert_eq!(found.into_iter().map(|token| token.jti).collect::<Vec<_>>(), ["a"]);
}

async fn token_of_a_subject_or_rules_that_changed_is_refused(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let issue = |jti: &str, basis: Basis| {
        let token = token(jti, "sub_1");
        let decision = decision(&token.decision, "sub_1");
        store.record_token(token, decision, basis, "rules".into(), entry(jti))
    };
    assert_eq!(issue("a", BASIS).await.unwrap(), Ok(()));
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();
    let stale = Err(Conflict::Stale("subjects"));
    assert_eq!(issue("b", BASIS).await.unwrap(), stale);
    let after = Basis { version: 2, ..BASIS };
    assert_eq!(issue("b", after.clone()).await.unwrap(), Ok(()));
    let order = Write::Timeline { directive: "d".to_owned(), from_ms: 0, approved_ms: 0, action: "{}".to_owned() };
    store.commit(change("o", vec![order])).await.unwrap().unwrap();
    assert_eq!(issue("c", after.clone()).await.unwrap(), stale);
    let timeline = store.timeline().await.unwrap().last().unwrap().seq;
    assert_eq!(issue("c", Basis { timeline, ..after.clone() }).await.unwrap(), Ok(()));
    assert_eq!(store.token("c").await.unwrap().unwrap().jti, "c");
    let suspend = suspension("src_elsewhere", 500, 0);
    store.commit(change("s", vec![suspend])).await.unwrap().unwrap();
    let basis = Basis { timeline, ..after.clone() };
    assert_eq!(issue("d", basis.clone()).await.unwrap(), stale, "whomever it is about: the index is told once for all");
    assert_eq!(issue("d", Basis { suspensions: 1, ..basis.clone() }).await.unwrap(), Ok(()));
    // Another party of the question.
    add_subject(&store, "sub_2").await;
    let with = |parties: &[(&str, i64)]| Basis {
        suspensions: 1,
        parties: parties.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect(),
        ..basis.clone()
    };
    assert_eq!(issue("e", with(&[("sub_2", 1)])).await.unwrap(), Ok(()));
    store.record_attestation(attestation("2", "sub_2", "lin2", 100)).await.unwrap().unwrap();
    assert_eq!(issue("f", with(&[("sub_2", 1)])).await.unwrap(), stale);
    assert_eq!(issue("f", with(&[("sub_1", 2), ("sub_2", 1)])).await.unwrap(), stale, "one that stands saves no other");
    assert_eq!(issue("f", with(&[("sub_3", 1)])).await.unwrap(), stale, "nobody has no version");
    assert_eq!(issue("f", with(&[("sub_1", 2), ("sub_2", 2)])).await.unwrap(), Ok(()));
}

async fn token_for_an_erased_subject_is_refused(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    erase(&store, "sub_1", 1).await;
    let issue = |subject: &str| {
        let token = token("jti", subject);
        let decision = decision(&token.decision, subject);
        store.record_token(token, decision, BASIS, "rules".into(), entry("t"))
    };
    assert_eq!(issue("sub_1").await.unwrap(), Err(Conflict::NoSuchSubject));
    assert_eq!(issue("sub_2").await.unwrap(), Err(Conflict::NoSuchSubject));
    assert_eq!(store.token("jti").await.unwrap(), None);
    assert_eq!(store.decision("dec_sub_1").await.unwrap(), None);
    assert_eq!(store.rules("digest").await.unwrap(), None);
    assert_eq!(store.audit_backlog().await.unwrap(), 2);
}

async fn revocation_keeps_its_first_instant(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for jti in ["a", "b", "c"] {
        let token = token(jti, "sub_1");
        let decision = decision(&token.decision, "sub_1");
        assert_eq!(store.record_token(token, decision, BASIS, "rules".into(), entry(jti)).await.unwrap(), Ok(()));
    }
    let revoke = |jti: &str, at_ms| change("r", vec![Write::RevokeToken { jti: jti.to_owned(), at_ms }]);
    assert_eq!(store.commit(revoke("absent", 12)).await.unwrap(), Err(Conflict::Stale("tokens")));
    assert_eq!(store.commit(revoke("b", 12)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(revoke("b", 13)).await.unwrap(), Ok(()));
    assert_eq!(store.commit(revoke("a", 14)).await.unwrap(), Ok(()));
    assert_eq!(store.token("b").await.unwrap().unwrap().revoked_at_ms, Some(12));
    assert_eq!(store.token("c").await.unwrap().unwrap().revoked_at_ms, None);
    assert_eq!(revoked(&store, 19).await, ["a", "b"]);
    assert_eq!(revoked(&store, 20).await, [] as [&str; 0], "they end at 20");
    // Access tokens, of which nothing else is stored.
    let access = |jti: &str| change("a", vec![Write::RevokeAccess { jti: jti.to_owned(), expires_at_ms: 30 }]);
    for jti in ["0", "b", "0"] {
        assert_eq!(store.commit(access(jti)).await.unwrap(), Ok(()), "also again");
    }
    let spend = Write::Spend { issuer: "org_a".to_owned(), jti: "x".to_owned(), expires_at_ms: 30 };
    assert_eq!(store.commit(change("s", vec![spend])).await.unwrap(), Ok(()));
    assert_eq!(store.revoked_access(29).await.unwrap(), ["0", "b"]);
    assert_eq!(store.revoked_access(30).await.unwrap(), [] as [&str; 0]);
    assert_eq!(revoked(&store, 19).await, ["a", "b"]);
}

fn key(kid: &str, purpose: &str, published_ms: i64) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        alg: "EdDSA".to_owned(),
        purpose: purpose.to_owned(),
        sealed: vec![5],
        jwk: "{}".to_owned(),
        times: KeyTimes::new(published_ms, published_ms + 10),
    }
}

fn move_key(key: &StoredKey, times: KeyTimes, sealed: Option<Vec<u8>>) -> Write {
    Write::MoveKey { kid: key.kid.clone(), was: key.times, times, sealed }
}

async fn keys_are_unique_and_newest_first(database: &Database) {
    let store = database.store().await;
    let commit = async |writes| store.commit(change("k", writes)).await.unwrap();
    let (first, other, next) = (key("k1", "access", 1), key("k2", "receipt", 2), key("k3", "access", 3));
    assert_eq!(commit(vec![Write::Key(first.clone())]).await, Ok(()));
    assert_eq!(commit(vec![Write::Key(other.clone())]).await, Ok(()));
    assert_eq!(commit(vec![Write::Key(key("k1", "eligibility", 3))]).await, Err(Conflict::Exists("keys")), "its id");
    assert_eq!(commit(vec![Write::Key(next.clone())]).await, Err(Conflict::Exists("keys")), "a second newest");
    let followed = KeyTimes { last_signs_ms: Some(13), ..first.times };
    assert_eq!(commit(vec![move_key(&first, followed, None), Write::Key(next.clone())]).await, Ok(()));
    let first = StoredKey { times: followed, ..first };
    assert_eq!(store.keys().await.unwrap(), [next, other, first]);
}

async fn a_key_moves_on_only_from_where_it_was_read(database: &Database) {
    let store = database.store().await;
    let commit = async |write| store.commit(change("k", vec![write])).await.unwrap();
    let mut key = key("k1", "access", 1);
    commit(Write::Key(key.clone())).await.unwrap();
    let stale = Err(Conflict::Stale("keys"));
    let lives = [
        (KeyTimes { signs_from_ms: 5, ..key.times }, None),
        (KeyTimes { signs_from_ms: 5, last_signs_ms: Some(20), ..key.times }, None),
        (
            KeyTimes { signs_from_ms: 5, last_signs_ms: Some(20), verifies_until_ms: Some(30), ..key.times },
            Some(vec![6]),
        ),
        (
            KeyTimes {
                signs_from_ms: 5,
                last_signs_ms: Some(20),
                verifies_until_ms: Some(30),
                retired_at_ms: Some(40),
                ..key.times
            },
            Some(Vec::new()),
        ),
    ];
    for (times, sealed) in lives {
        let before = key.clone();
        assert_eq!(commit(move_key(&key, times, sealed.clone())).await, Ok(()));
        assert_eq!(commit(move_key(&before, times, sealed.clone())).await, stale, "another was faster");
        key = StoredKey { times, sealed: sealed.unwrap_or(before.sealed), ..key };
        assert_eq!(store.keys().await.unwrap(), [key.clone()]);
    }
    assert_eq!(commit(move_key(&StoredKey { kid: "k0".to_owned(), ..key.clone() }, key.times, None)).await, stale);
    // Retired, it stands in nobody's way.
    let follower = StoredKey { kid: "k2".to_owned(), times: KeyTimes::new(50, 50), ..key };
    assert_eq!(commit(Write::Key(follower)).await, Ok(()));
}

async fn of_replicas_that_rotate_at_once_one_does(database: &Database) {
    let old = key("k0", "access", 1);
    let store = database.store().await;
    store.commit(change("k", vec![Write::Key(old.clone())])).await.unwrap().unwrap();
    let mut rotating = tokio::task::JoinSet::new();
    for n in 1..=8 {
        let store = database.store().await;
        let times = KeyTimes { last_signs_ms: Some(100 + n), ..old.times };
        let writes = vec![move_key(&old, times, None), Write::Key(key(&format!("k{n}"), "access", n))];
        rotating.spawn(async move { store.commit(change(&format!("r{n}"), writes)).await.unwrap() });
    }
    let answers = rotating.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(store.keys().await.unwrap().len(), 2);
}

async fn a_root_secret_is_founded_once_and_opened_by_those_who_were_added(database: &Database) {
    let store = database.store().await;
    let root = |master: &str| StoredRoot { master: master.to_owned(), sealed: vec![1], statements: vec![2] };
    let commit = async |write| store.commit(change("r", vec![write])).await.unwrap();
    let add = |master: &str, founds| Write::Root { root: root(master), founds };
    let mut founding = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (store, write) = (database.store().await, add(&format!("m{n}"), true));
        founding.spawn(async move { store.commit(change(&format!("f{n}"), vec![write])).await.unwrap() });
    }
    assert_eq!(founding.join_all().await.iter().filter(|answer| answer.is_ok()).count(), 1);
    let first = store.roots().await.unwrap().remove(0).master;
    let taken = Err(Conflict::Exists("roots"));
    assert_eq!((commit(add("x", true)).await, commit(add(&first, false)).await), (taken.clone(), taken.clone()));
    assert_eq!(commit(add("x", false)).await, Ok(()));
    assert_eq!(store.roots().await.unwrap(), [root(&first), root("x")]);
    let stale = Err(Conflict::Stale("roots"));
    assert_eq!(commit(Write::OnlyRoot("nobody".to_owned())).await, stale, "nothing would open it any more");
    assert_eq!(commit(Write::OnlyRoot("x".to_owned())).await, Ok(()));
    assert_eq!(commit(Write::OnlyRoot("x".to_owned())).await, stale, "there is nothing to end");
    assert_eq!(store.roots().await.unwrap(), [root("x")]);
    assert_eq!(commit(add("y", true)).await, taken, "founded once");
}

async fn feed_from_now_is_empty(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();
    let (rows, cursor) = store.feed("").await.unwrap();
    assert_eq!(rows, []);
    assert_eq!(store.feed(&cursor).await.unwrap().0, []);
    assert!(store.feed("not a cursor").await.is_err());
}

async fn feed_loses_nothing_under_concurrent_writers(database: &Database) {
    let store = database.store().await;
    let (_, mut cursor) = store.feed("").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let mut seen = Vec::new();
            loop {
                let last = done.load(Ordering::SeqCst);
                let (rows, next) = store.feed(&cursor).await.unwrap();
                seen.extend(rows.into_iter().map(|row| row.key));
                cursor = next;
                if last {
                    return seen;
                }
            }
        }
    });
    // 16 writers of 25 changes; every fifth change is undone.
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..25 {
                let key = format!("{writer}/{n}");
                let mut change = change(
                    &key,
                    vec![Write::Timeline {
                        directive: key.clone(),
                        from_ms: 0,
                        approved_ms: 0,
                        action: "{}".to_owned(),
                    }],
                );
                change.feed = vec![FeedRow { kind: "timeline".to_owned(), key }];
                if n % 5 == 0 {
                    change.writes.push(Write::Release("absent".to_owned()));
                }
                assert_eq!(store.commit(change).await.unwrap().is_ok(), n % 5 != 0);
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let mut seen = follower.await.unwrap();
    seen.sort();
    let mut expected: Vec<String> =
        (0..16).flat_map(|writer| (0..25).filter(|n| n % 5 != 0).map(move |n| format!("{writer}/{n}"))).collect();
    expected.sort();
    assert_eq!(seen.len(), 320);
    assert_eq!(seen, expected);
}

/// Whether positions, links and hashes of the records hold.
fn chain_holds(records: &[AuditRecord]) -> bool {
    let mut previous = "0".repeat(64);
    (1..).zip(records).all(|(position, record)| {
        let linked = record.position == position
            && record.previous == previous
            && record.hash == audit_hash(&previous, &record.entry);
        previous.clone_from(&record.hash);
        linked
    })
}

async fn audit_log_links_every_entry_in_commit_order(database: &Database) {
    let store = database.store().await;
    for n in 0..10 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    assert_eq!(store.audit_backlog().await.unwrap(), 10);
    assert_eq!(store.audit_log(0, 100).await.unwrap(), []);
    assert_eq!(store.sequence_audit(4).await.unwrap(), 4);
    assert_eq!(store.audit_backlog().await.unwrap(), 6);
    assert_eq!(store.sequence_audit(100).await.unwrap(), 6);
    assert_eq!(store.sequence_audit(100).await.unwrap(), 0);
    add_subject(&store, "sub_10").await;
    assert_eq!(store.sequence_audit(100).await.unwrap(), 1);
    let records = store.audit_log(0, 100).await.unwrap();
    assert_eq!(records.len(), 11);
    assert!(chain_holds(&records));
    let expected = r#"{"action":"test.done","actor":"system","at_ms":5000,"detail":{"a":"x","b":1},"id":"aud_sub_3","target":"sub_3"}"#;
    assert_eq!(records[3].entry, expected);
    assert_eq!(store.audit_log(2, 3).await.unwrap(), records[2..5]);
}

async fn two_sequencers_do_not_fork_the_log(database: &Database) {
    let (one, two) = (database.store().await, database.store().await);
    for n in 0..60 {
        add_subject(&one, &format!("sub_{n}")).await;
    }
    let mut tasks = JoinSet::new();
    for store in [one.clone(), two.clone(), one.clone(), two] {
        tasks.spawn(async move {
            let mut moved = 0;
            while store.audit_backlog().await.unwrap() > 0 {
                moved += store.sequence_audit(3).await.unwrap();
            }
            moved
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 60);
    let records = one.audit_log(0, 100).await.unwrap();
    assert_eq!(records.len(), 60);
    assert!(chain_holds(&records));
    let entries: BTreeSet<_> = records.iter().map(|record| &record.entry).collect();
    assert_eq!(entries.len(), 60, "every entry once");
}

async fn no_record_of_the_log_has_two_successors(database: &Database) {
    let store = database.store().await;
    for n in 0..3 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    store.sequence_audit(2).await.unwrap();
    let records = store.audit_log(0, 10).await.unwrap();
    let [first, last] = records.as_slice() else { unreachable!("two were linked") };
    let insert = async |position: i64, previous: &str| {
        let row = format!(
            "INSERT INTO audit_log (position, hash, previous, entry) VALUES ({position}, 'h', '{previous}', '{{}}')"
        );
        database.execute(&row).await
    };
    // The first record follows nothing, and what followed it stands.
    for previous in [&first.previous, &first.hash] {
        assert!(insert(3, previous).await.is_err(), "{previous}");
    }
    assert!(insert(2, &last.hash).await.is_err(), "a place that is taken");
    assert_eq!(store.sequence_audit(10).await.unwrap(), 1);
    assert!(chain_holds(&store.audit_log(0, 10).await.unwrap()));
}

async fn a_history_has_one_deployment_and_its_tokens_since_only_moves_ahead(database: &Database) {
    let store = database.store().await;
    let empty = store.history(0).await.unwrap();
    assert_eq!(
        (empty.position, empty.head.as_str(), empty.asked.as_ref(), empty.waiting),
        (0, "0".repeat(64).as_str(), None, 0)
    );
    assert_eq!((empty.deployment.len(), empty.tokens_since_ms), (32, 0));
    let again = database.store().await;
    assert_eq!(again.history(0).await.unwrap(), empty, "a second start changes nothing");
    let other = if database.is_sqlite() { Database::sqlite() } else { Database::postgres().await.unwrap() };
    assert_ne!(other.store().await.history(0).await.unwrap().deployment, empty.deployment);
    for n in 0..3 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    assert_eq!(store.sequence_audit(2).await.unwrap(), 2);
    let records = store.audit_log(0, 10).await.unwrap();
    let found = store.history(1).await.unwrap();
    assert_eq!((found.position, &found.head, found.waiting), (2, &records[1].hash, 1));
    assert_eq!(found.asked.as_ref(), Some(&records[0].hash));
    assert_eq!(store.history(3).await.unwrap().asked, None);
    for (asked, kept) in [(5000, 5000), (4000, 5000), (6000, 6000)] {
        store.commit(change(&format!("since_{asked}"), vec![Write::TokensSince(asked)])).await.unwrap().unwrap();
        assert_eq!(store.history(0).await.unwrap().tokens_since_ms, kept);
    }
}

async fn tampered_audit_record_breaks_the_chain(database: &Database) {
    let store = database.store().await;
    for n in 0..5 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    store.sequence_audit(100).await.unwrap();
    assert!(chain_holds(&store.audit_log(0, 100).await.unwrap()));
    let tamper = "UPDATE audit_log SET entry = replace(entry, 'system', 'nobody') WHERE position = 3";
    assert!(database.execute(tamper).await.is_err(), "the log is append-only");
    let table = if database.is_sqlite() { "" } else { " ON audit_log" };
    database.execute(&format!("DROP TRIGGER audit_log_no_update{table}")).await.unwrap();
    database.execute(tamper).await.unwrap();
    assert!(!chain_holds(&store.audit_log(0, 100).await.unwrap()));
}

async fn append_only_tables_refuse_update_and_delete(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();
    store.commit(change("m", vec![Write::Mark(mark("att_1", "revoked", 5))])).await.unwrap().unwrap();
    let write = Write::Decision { decision: decision("dec_1", "sub_1"), rules: "r".to_owned() };
    store.commit(change("d", vec![write])).await.unwrap().unwrap();
    store.commit(change("s", vec![suspension("src_a", 5, 0)])).await.unwrap().unwrap();
    store.sequence_audit(100).await.unwrap();
    for (table, column) in [
        ("attestations", "facts"),
        ("marks", "reason"),
        ("suspensions", "source"),
        ("decisions", "status"),
        ("audit_log", "entry"),
    ] {
        for sql in [format!("UPDATE {table} SET {column} = 'x'"), format!("DELETE FROM {table}")] {
            let error = database.execute(&sql).await.unwrap_err().to_string();
            assert!(error.contains(&format!("{table} is append-only")), "{sql}: {error}");
        }
    }
    let ended = "UPDATE suspensions SET until_ms = 7";
    database.execute(ended).await.unwrap();
    let error = database.execute("UPDATE suspensions SET until_ms = NULL").await.unwrap_err().to_string();
    assert!(error.contains("suspensions is append-only"), "{error}");
}

async fn acknowledged_changes_survive_a_restart(database: &Database) {
    let store = database.store().await;
    for n in 0..8 {
        add_subject(&store, &format!("sub_{n}")).await;
    }
    let all: Vec<_> =
        (0..64).map(|n| attestation(&n.to_string(), &format!("sub_{}", n % 8), &format!("lin_{n}"), 100)).collect();
    let answers = submit_all(std::slice::from_ref(&store), all).await;
    assert!(answers.iter().all(|(_, _, answer)| answer.is_ok()));
    let (_, cursor) = store.feed("").await.unwrap();
    drop(store);

    let store = database.store().await;
    for (event, id, _) in &answers {
        assert_eq!(&store.attestation(id).await.unwrap().unwrap().event, event);
    }
    for n in 0..8 {
        assert_eq!(version(&store, &format!("sub_{n}")).await, 9, "1 and 8 attestations");
    }
    assert_eq!(store.audit_backlog().await.unwrap(), 72);
    assert_eq!(store.feed(&cursor).await.unwrap().0, [], "a cursor outlives the process");
}

/// What a crash would leave behind: the files as they are while the store is still open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_files_copied_while_open_hold_everything_acknowledged() {
    let database = Database::sqlite();
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    for n in 0..50 {
        store.record_attestation(attestation(&n.to_string(), "sub_1", &format!("l{n}"), 1)).await.unwrap().unwrap();
    }
    let Database::Sqlite { dir } = &database else { unreachable!() };
    let copy = TempDir::new();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let copied = Database::Sqlite { dir: copy };
    let store = copied.store().await;
    assert_eq!(version(&store, "sub_1").await, 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_writer_finishes_its_queue_and_ends_with_the_store() {
    let database = Database::sqlite();
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    // The callers give up at once; what they queued is written all the same.
    for n in 0..20 {
        let queued = store.record_attestation(attestation(&n.to_string(), "sub_1", &format!("l{n}"), 1));
        let _ = tokio::time::timeout(Duration::ZERO, queued).await;
    }
    drop(store);
    // SQLite removes the write-ahead log when the last connection closes.
    let Database::Sqlite { dir } = &database else { unreachable!() };
    let wal = dir.path().join("store.db-wal");
    let ended = async {
        while wal.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the writer ended");
    let store = database.store().await;
    assert_eq!(version(&store, "sub_1").await, 21);
}

#[tokio::test]
async fn sqlite_database_is_a_private_file() {
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:x.db?mode=memory", "sqlite:", "mysql://x"] {
        assert!(storage::open(url).await.is_err(), "{url}");
    }
    let database = Database::sqlite();
    let _store = database.store().await;
    let Database::Sqlite { dir } = &database else { unreachable!() };
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() >= 2, "the database and its write-ahead log: {names:?}");
    for name in names {
        assert_eq!(name.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", name.display());
    }
}

/// A transaction that began earlier and commits later must reach a follower that polled in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_feed_delivers_late_commits_and_no_rollbacks() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let store = database.store().await;
    let (_, cursor) = store.feed("").await.unwrap();
    let insert = |key| format!("BEGIN; INSERT INTO feed (kind, key) VALUES ('record', '{key}')");
    let mut late = PgConnection::connect(&database.url()).await.unwrap();
    late.execute(sqlx::AssertSqlSafe(insert("late"))).await.unwrap();
    let mut undone = PgConnection::connect(&database.url()).await.unwrap();
    undone.execute(sqlx::AssertSqlSafe(insert("undone"))).await.unwrap();
    let early = FeedRow { kind: "record".to_owned(), key: "early".to_owned() };
    let committed = Change { feed: vec![early.clone()], ..change("early", Vec::new()) };
    assert_eq!(store.commit(committed).await.unwrap(), Ok(()));

    let (rows, cursor) = store.feed(&cursor).await.unwrap();
    assert_eq!(rows, [early], "not held back by the open transactions");
    late.execute("COMMIT").await.unwrap();
    undone.execute("ROLLBACK").await.unwrap();
    let (rows, cursor) = store.feed(&cursor).await.unwrap();
    assert_eq!(rows, [FeedRow { kind: "record".to_owned(), key: "late".to_owned() }]);
    assert_eq!(store.feed(&cursor).await.unwrap().0, []);
}

/// An erasure that commits first wins, even over an intent that began before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_erasure_in_flight_is_awaited() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let store = database.store().await;
    let blocked = async || {
        let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while database.count(waiting).await == 0 {}
    };
    for kind in ["attestation", "token"] {
        let id = format!("sub_{kind}");
        add_subject(&store, &id).await;
        let mut eraser = PgConnection::connect(&database.url()).await.unwrap();
        let erase = format!("BEGIN; UPDATE subjects SET state = 'erased' WHERE id = '{id}'");
        eraser.execute(sqlx::AssertSqlSafe(erase)).await.unwrap();
        let intent = tokio::spawn({
            let store = store.clone();
            async move {
                if kind == "attestation" {
                    return store.record_attestation(attestation("1", &id, "lin", 100)).await.unwrap().map(|_| ());
                }
                let token = token("jti", &id);
                let decision = decision(&token.decision, &id);
                store.record_token(token, decision, BASIS, "rules".into(), entry("t")).await.unwrap()
            }
        });
        blocked().await;
        eraser.execute("COMMIT").await.unwrap();
        assert_eq!(intent.await.unwrap(), Err(Conflict::NoSuchSubject), "{kind}");
    }
    assert_eq!(database.count("attestations").await + database.count("tokens").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_sequencer_waits_for_its_turn_and_links_what_was_committed() {
    let Some(database) = Database::postgres().await else { return };
    let store = database.store().await;
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    let mut turn = other.begin().await.unwrap();
    turn.execute("SELECT pg_advisory_xact_lock(hashtext('vouchsafe.audit'))").await.unwrap();
    add_subject(&store, "sub_1").await;
    let linking = tokio::spawn(async move { store.sequence_audit(10).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!linking.is_finished(), "another replica is at it");
    turn.rollback().await.unwrap();
    assert_eq!(linking.await.unwrap(), 1);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<_> {
        let folder = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}
