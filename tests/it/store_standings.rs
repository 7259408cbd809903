//! What `Store` promises of standings, asked of every implementation.

use crate::store_contract::{add_subject, attestation, change, contract, erase, subject, token, version};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{Basis, Conflict, Store, StoredStanding, StoredSubject, StoredToken, Write};

contract!(
    a_standing_is_replaced_only_where_it_was_read_and_while_it_is_true,
    standings_are_found_when_due_and_go_with_their_subject,
    a_sweep_sees_every_active_subject_once_with_all_its_standings,
    only_tokens_that_live_are_found,
    what_relies_on_another_party_is_found_by_it_and_by_the_sweep,
);

fn standing(subject: &str, decision: &str, version: i64) -> StoredStanding {
    StoredStanding {
        subject: subject.to_owned(),
        acting_for: String::new(),
        resource: "restricted.*".to_owned(),
        status: "eligible".to_owned(),
        decision: decision.to_owned(),
        rules: "sha256:r".to_owned(),
        version,
        suspensions: 0,
        due_ms: Some(100),
        notice_ms: None,
        told_end_ms: None,
        told_before_ms: None,
        level: Some("0.9".to_owned()),
    }
}

fn write(standing: StoredStanding, replaces: Option<(&str, i64)>, timeline: i64) -> Write {
    let replaces = replaces.map(|(decision, version)| (decision.to_owned(), version));
    Write::Standing { standing, replaces, timeline }
}

async fn commit(store: &Arc<dyn Store>, write: Write) -> Result<(), Conflict> {
    store.commit(change("s", vec![write])).await.unwrap()
}

async fn a_standing_is_replaced_only_where_it_was_read_and_while_it_is_true(database: &Database) {
    let store = database.store().await;
    let stale = Err(Conflict::Stale("standings"));
    assert_eq!(commit(&store, write(standing("sub_1", "d1", 1), None, 0)).await, Err(Conflict::NoSuchSubject));
    add_subject(&store, "sub_1").await;
    assert_eq!(commit(&store, write(standing("sub_1", "d1", 2), None, 0)).await, stale, "of another version");
    assert_eq!(commit(&store, write(standing("sub_1", "d1", 1), None, 0)).await, Ok(()));
    assert_eq!(commit(&store, write(standing("sub_1", "d2", 1), None, 0)).await, stale, "there is one");
    for replaces in [("d0", 1), ("d1", 0)] {
        assert_eq!(commit(&store, write(standing("sub_1", "d2", 1), Some(replaces), 0)).await, stale, "{replaces:?}");
    }
    assert_eq!(store.standings("sub_1").await.unwrap(), [standing("sub_1", "d1", 1)]);
    let next = StoredStanding { status: "review".to_owned(), due_ms: None, ..standing("sub_1", "d2", 1) };
    assert_eq!(commit(&store, write(next.clone(), Some(("d1", 1)), 0)).await, Ok(()));
    assert_eq!(store.standings("sub_1").await.unwrap(), [next]);

    // What it was made of has to be all there is.
    let replaces = Some(("d2", 1));
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();
    assert_eq!(commit(&store, write(standing("sub_1", "d3", 1), replaces, 0)).await, stale, "something was said");
    let order = Write::Timeline { directive: "d".to_owned(), from_ms: 0, approved_ms: 0, action: "{}".to_owned() };
    store.commit(change("o", vec![order])).await.unwrap().unwrap();
    assert_eq!(commit(&store, write(standing("sub_1", "d3", 2), replaces, 0)).await, stale, "something was ordered");
    let timeline = store.timeline().await.unwrap().last().unwrap().seq;
    let (source, by, reason) = ("src_x".to_owned(), "client:1".to_owned(), "fraud".to_owned());
    let suspend = Write::Suspend { source, at_ms: 5, since_ms: 0, by, reason };
    store.commit(change("x", vec![suspend])).await.unwrap().unwrap();
    assert_eq!(commit(&store, write(standing("sub_1", "d3", 2), replaces, timeline)).await, stale, "a suspension");
    let now = StoredStanding { suspensions: 1, ..standing("sub_1", "d3", 2) };
    assert_eq!(commit(&store, write(now, replaces, timeline)).await, Ok(()));
}

async fn standings_are_found_when_due_and_go_with_their_subject(database: &Database) {
    let store = database.store().await;
    for (id, due_ms) in [("sub_1", Some(300)), ("sub_2", Some(100)), ("sub_3", None), ("sub_4", Some(200))] {
        add_subject(&store, id).await;
        let standing = StoredStanding { due_ms, ..standing(id, "d", 1) };
        commit(&store, write(standing, None, 0)).await.unwrap();
    }
    assert_eq!(store.due_standings(99, 10).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.due_standings(200, 10).await.unwrap(), ["sub_2", "sub_4"]);
    assert_eq!(store.due_standings(900, 2).await.unwrap(), ["sub_2", "sub_4"]);
    erase(&store, "sub_2", 1).await;
    assert_eq!(store.standings("sub_2").await.unwrap(), []);
    assert_eq!(store.due_standings(900, 10).await.unwrap(), ["sub_4", "sub_1"]);
    assert_eq!(commit(&store, write(standing("sub_2", "d", 2), None, 0)).await, Err(Conflict::NoSuchSubject));
}

async fn a_sweep_sees_every_active_subject_once_with_all_its_standings(database: &Database) {
    let store = database.store().await;
    for n in 1..=5 {
        let subject = StoredSubject { external_digest: None, ..subject(&format!("sub_{n}")) };
        store.commit(change("s", vec![Write::Subject(subject)])).await.unwrap().unwrap();
    }
    erase(&store, "sub_4", 1).await;
    store.record_attestation(attestation("1", "sub_2", "lin", 100)).await.unwrap().unwrap();
    let version = version(&store, "sub_2").await;
    for resource in ["a.*", "b.*"] {
        let standing = StoredStanding { resource: resource.to_owned(), ..standing("sub_2", "d", version) };
        commit(&store, write(standing, None, 0)).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.sweep(&after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after.clone_from(&last.subject);
        seen.extend(page.into_iter().map(|row| (row.subject, row.current, row.matters, row.resource, row.version)));
    }
    let bare = |id: &str| (id.to_owned(), 1, false, None, None);
    let held = |resource: &str| ("sub_2".to_owned(), 2, true, Some(resource.to_owned()), Some(2));
    seen.sort();
    assert_eq!(seen, [bare("sub_1"), held("a.*"), held("b.*"), bare("sub_3"), bare("sub_5")]);
}

async fn only_tokens_that_live_are_found(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    add_subject(&store, "sub_2").await;
    for (jti, owner, expires_at_ms) in [("a", "sub_1", 90), ("b", "sub_1", 40), ("c", "sub_2", 90), ("d", "sub_1", 90)]
    {
        let token = StoredToken { expires_at_ms, ..token(jti, owner) };
        let decision = crate::store_contract::decision(&token.decision, owner);
        let basis = Basis { version: 1, timeline: 0, suspensions: 0, parties: Vec::new() };
        let audit = crate::store_contract::entry(jti);
        store.record_token(token, decision, basis, "rules".into(), audit).await.unwrap().unwrap();
    }
    commit(&store, Write::RevokeToken { jti: "d".to_owned(), at_ms: 5 }).await.unwrap();
    let living = store.living_tokens("sub_1", 40).await.unwrap();
    assert_eq!(living.iter().map(|token| token.jti.as_str()).collect::<Vec<_>>(), ["a"]);
}

async fn what_relies_on_another_party_is_found_by_it_and_by_the_sweep(database: &Database) {
    let store = database.store().await;
    for id in ["sub_1", "sub_2", "sub_org", "sub_top"] {
        let subject = StoredSubject { external_digest: None, ..subject(id) };
        store.commit(change("s", vec![Write::Subject(subject)])).await.unwrap().unwrap();
    }
    let pairs = |parties: &[(&str, i64)]| parties.iter().map(|(id, v)| ((*id).to_owned(), *v)).collect::<Vec<_>>();
    let relies = |subject: &str, parties: &[(&str, i64)], now_ms: i64| Write::Relies {
        subject: subject.to_owned(),
        parties: pairs(parties),
        now_ms,
    };
    let changed = async || {
        let rows = store.sweep("", 10).await.unwrap().into_iter();
        rows.filter(|row| row.parties_changed).map(|row| row.subject).collect::<Vec<_>>()
    };
    // A token brings its parties with it, and never an older note up to date.
    let issue = async |jti: &str, parties: &[(&str, i64)]| {
        let token = StoredToken { expires_at_ms: 90, ..token(jti, "sub_1") };
        let decision = crate::store_contract::decision(&token.decision, "sub_1");
        let basis = Basis { version: 1, timeline: 0, suspensions: 0, parties: pairs(parties) };
        store.record_token(token, decision, basis, "rules".into(), crate::store_contract::entry(jti)).await.unwrap()
    };
    issue("a", &[("sub_org", 1), ("sub_top", 1)]).await.unwrap();
    assert_eq!(store.relied_on("sub_1").await.unwrap(), pairs(&[("sub_org", 1), ("sub_top", 1)]));
    commit(&store, relies("sub_2", &[("sub_org", 1), ("sub_none", -1)], 0)).await.unwrap();
    assert_eq!(store.relying_on("sub_org", 10).await.unwrap(), ["sub_1", "sub_2"]);
    assert_eq!(store.relying_on("sub_org", 1).await.unwrap(), ["sub_1"]);
    assert_eq!(changed().await, Vec::<String>::new());
    store.record_attestation(attestation("1", "sub_org", "lin", 100)).await.unwrap().unwrap();
    assert_eq!(changed().await, ["sub_1", "sub_2"]);
    issue("b", &[("sub_org", 2)]).await.unwrap();
    assert_eq!(changed().await, ["sub_1", "sub_2"], "the first token was made of what was");
    commit(&store, relies("sub_1", &[("sub_org", 2)], 40)).await.unwrap();
    assert_eq!(store.relied_on("sub_1").await.unwrap(), pairs(&[("sub_org", 2), ("sub_top", 1)]), "tokens live");
    commit(&store, relies("sub_1", &[("sub_org", 2)], 90)).await.unwrap();
    assert_eq!(store.relied_on("sub_1").await.unwrap(), pairs(&[("sub_org", 2)]), "none lives");
    assert_eq!(changed().await, ["sub_2"]);
    erase(&store, "sub_org", 2).await;
    assert_eq!(changed().await, ["sub_1", "sub_2"]);
    commit(&store, relies("sub_1", &[("sub_org", -1)], 90)).await.unwrap();
    assert_eq!(changed().await, ["sub_2"]);
    erase(&store, "sub_2", 1).await;
    assert_eq!(store.relying_on("sub_org", 10).await.unwrap(), ["sub_1"]);
    assert_eq!(commit(&store, relies("sub_2", &[], 90)).await, Err(Conflict::NoSuchSubject));
}
