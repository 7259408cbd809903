//! What the store promises about cases and what is said in them, on both databases.

use crate::store_contract::{add_subject, attestation, change, contract, entry, erase, outbox};
use crate::support::Database;
use std::sync::Arc;
use vouchsafe::storage::{
    CaseEntry, Conflict, ReviewQueue, ReviewWrite, Store, StoredAppeal, StoredCase, StoredResolution, Write,
};

contract!(
    a_question_has_one_open_case_whoever_asks,
    a_case_changes_at_its_version_only,
    what_was_said_and_settled_is_append_only,
    an_erased_subject_has_no_open_case_and_gets_none,
    one_appeal_about_the_same_is_undecided_at_a_time,
);

fn case(id: &str, subject: Option<&str>, question: &str) -> StoredCase {
    StoredCase {
        id: id.to_owned(),
        subject: subject.map(str::to_owned),
        question: question.to_owned(),
        state: "open".to_owned(),
        version: 1,
        body: "{}".to_owned(),
        opened_at_ms: 5,
        closed_at_ms: None,
    }
}

fn opening(case: StoredCase) -> Write {
    let audit = entry(&case.id);
    let outbox = outbox(&case.id);
    Write::Review(ReviewWrite::OpenCase { case, audit, outbox })
}

async fn commit(store: &Arc<dyn Store>, write: Write) -> Result<(), Conflict> {
    let mut change = change("r", vec![write]);
    change.audit.clear();
    store.commit(change).await.unwrap()
}

async fn all(store: &Arc<dyn Store>, state: &str) -> Vec<StoredCase> {
    store.cases(ReviewQueue { state, subject: "", after: "", limit: 100 }).await.unwrap()
}

fn said(id: &str, case: &str) -> CaseEntry {
    CaseEntry {
        id: id.to_owned(),
        case_id: case.to_owned(),
        operator: "opr_a".to_owned(),
        kind: "comment".to_owned(),
        at_ms: 6,
        body: "{}".to_owned(),
        sealed: Some(vec![1, 2]),
    }
}

async fn a_question_has_one_open_case_whoever_asks(database: &Database) {
    let stores = [database.store().await, database.store().await];
    add_subject(&stores[0], "sub_1").await;
    let mut asked = Vec::new();
    for n in 0..32 {
        let store = stores[n % 2].clone();
        // Half of them about a person, half about nobody in particular.
        let subject = (n % 4 < 2).then_some("sub_1");
        let write = opening(case(&format!("cas_{n:02}"), subject, "q"));
        asked.push(tokio::spawn(async move { commit(&store, write).await }));
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(()), "no conflict: it can stand in any commit");
    }
    assert_eq!(all(&stores[0], "open").await.len(), 2);
    assert_eq!(stores[0].audit_backlog().await.unwrap(), 3, "the subject's entry, and one for each case that is there");
    // Closed, the question can be asked again; another question at any time.
    let mut first = all(&stores[0], "open").await.remove(0);
    first.state = "closed".to_owned();
    first.closed_at_ms = Some(9);
    let (subject, expected) = (first.subject.clone(), first.version);
    commit(&stores[1], Write::Review(ReviewWrite::Case { case: first, expected })).await.unwrap();
    for (id, question) in [("cas_a", "q"), ("cas_b", "q"), ("cas_c", "other")] {
        commit(&stores[1], opening(case(id, subject.as_deref(), question))).await.unwrap();
    }
    assert_eq!(all(&stores[0], "open").await.len(), 3);
    assert_eq!(all(&stores[0], "").await.len(), 4);
}

async fn a_case_changes_at_its_version_only(database: &Database) {
    let store = database.store().await;
    commit(&store, opening(case("cas_1", None, "q"))).await.unwrap();
    let with = |expected| {
        let case = StoredCase { body: format!(r#"{{"n":{expected}}}"#), ..case("cas_1", None, "q") };
        Write::Review(ReviewWrite::Case { case, expected })
    };
    assert_eq!(commit(&store, with(1)).await, Ok(()));
    assert_eq!(commit(&store, with(1)).await, Err(Conflict::Stale("cases")));
    let found = store.case("cas_1").await.unwrap().unwrap();
    assert_eq!((found.version, found.body.as_str()), (2, r#"{"n":1}"#));
    assert_eq!(
        commit(&store, Write::Review(ReviewWrite::Entry(said("ent_1", "cas_9")))).await,
        Err(Conflict::Stale("cases"))
    );
}

async fn what_was_said_and_settled_is_append_only(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    store.record_attestation(attestation("1", "sub_1", "lin", 100)).await.unwrap().unwrap();
    commit(&store, opening(case("cas_1", Some("sub_1"), "q"))).await.unwrap();
    commit(&store, Write::Review(ReviewWrite::Entry(said("ent_1", "cas_1")))).await.unwrap();
    let settled = StoredResolution {
        adjudication: "att_1".to_owned(),
        subject: "sub_1".to_owned(),
        source: "src_a".to_owned(),
        lineage: "lin".to_owned(),
        finding: "f".to_owned(),
        at_ms: 7,
    };
    commit(&store, Write::Review(ReviewWrite::Resolve(settled.clone()))).await.unwrap();
    for sql in [
        "UPDATE case_entries SET operator = 'x'",
        "UPDATE case_entries SET body = 'x'",
        "UPDATE case_entries SET sealed = body",
        "DELETE FROM case_entries",
        "UPDATE resolutions SET finding = 'x'",
        "DELETE FROM resolutions",
    ] {
        // PostgreSQL keeps texts and bytes apart.
        let sql =
            if database.is_sqlite() { sql.to_owned() } else { sql.replace("= body", "= convert_to(body, 'UTF8')") };
        let error = database.execute(&sql).await.unwrap_err().to_string();
        assert!(error.contains("is append-only"), "{sql}: {error}");
    }
    assert_eq!(store.case_entries("cas_1").await.unwrap(), [said("ent_1", "cas_1")]);
    assert_eq!(store.resolutions("sub_1").await.unwrap(), [settled]);
}

async fn an_erased_subject_has_no_open_case_and_gets_none(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    commit(&store, opening(case("cas_1", Some("sub_1"), "q"))).await.unwrap();
    commit(&store, Write::Review(ReviewWrite::Entry(said("ent_1", "cas_1")))).await.unwrap();
    let version = store.subject("sub_1").await.unwrap().unwrap().version;
    erase(&store, "sub_1", version).await;
    let closed = store.case("cas_1").await.unwrap().unwrap();
    assert_eq!((closed.state.as_str(), closed.version, closed.closed_at_ms), ("closed", 2, Some(50)));
    assert_eq!(store.case_entries("cas_1").await.unwrap()[0].sealed, None);
    commit(&store, opening(case("cas_2", Some("sub_1"), "q"))).await.unwrap();
    assert_eq!(all(&store, "open").await, []);
}

async fn one_appeal_about_the_same_is_undecided_at_a_time(database: &Database) {
    let store = database.store().await;
    add_subject(&store, "sub_1").await;
    let appeal = |id: &str, subject: &str, expected: i64, state: &str| {
        let appeal = StoredAppeal {
            id: id.to_owned(),
            subject: subject.to_owned(),
            resource: "a.b".to_owned(),
            state: state.to_owned(),
            version: 1,
            body: "{}".to_owned(),
            sealed: Some(vec![3]),
            opened_at_ms: 5,
            due_at_ms: 10,
            decided_at_ms: None,
        };
        Write::Review(ReviewWrite::Appeal { appeal, expected })
    };
    assert_eq!(commit(&store, appeal("apl_0", "sub_9", 0, "open")).await, Err(Conflict::NoSuchSubject));
    assert_eq!(commit(&store, appeal("apl_1", "sub_1", 0, "open")).await, Ok(()));
    assert_eq!(commit(&store, appeal("apl_2", "sub_1", 0, "open")).await, Err(Conflict::Exists("appeals")));
    assert_eq!(commit(&store, appeal("apl_1", "sub_1", 2, "decided")).await, Err(Conflict::Stale("appeals")));
    let overdue = async |now_ms| store.overdue_appeals(now_ms, "", 10).await.unwrap().len();
    assert_eq!((overdue(9).await, overdue(10).await), (0, 1));
    assert_eq!(commit(&store, appeal("apl_1", "sub_1", 1, "decided")).await, Ok(()));
    assert_eq!(overdue(10).await, 0);
    assert_eq!(commit(&store, appeal("apl_2", "sub_1", 0, "open")).await, Ok(()));
}
