//! Lines of subjects: the body of `POST /v1/subjects` with `links` and `sessions`.

use super::{Answer, Line, Pace, Settled, judged, patiently, refusal};
use crate::http::extract::{checked, parse_value};
use crate::http::problem::Problem;
use crate::http::subjects::{NewLink, NewSession, NewSubject};
use crate::service::populate::{Account, Populated};
use crate::service::{Actor, App, ServiceError, ServiceResult};
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Subjects of one commit.
const BULK: usize = 128;
/// Commits at once.
const BULKS: usize = 4;
/// Links or sessions of one line.
const MOST: usize = 64;

/// Members of a list, checked one by one; the list goes out of the line.
fn list<T: serde::de::DeserializeOwned + validator::Validate>(line: &mut Value, name: &str) -> Result<Vec<T>, Problem> {
    let Some(found) = line.as_object_mut().and_then(|members| members.remove(name)) else { return Ok(Vec::new()) };
    let Value::Array(items) = found else {
        return Err(Problem::invalid().field(format!("/{name}"), "must be a list"));
    };
    if items.len() > MOST {
        return Err(Problem::invalid().field(format!("/{name}"), format!("must be at most {MOST} long")));
    }
    let item = |(at, item)| {
        checked(item).map_err(|mut problem: Problem| {
            for error in &mut problem.errors {
                error.pointer = format!("/{name}/{at}{}", error.pointer);
            }
            problem
        })
    };
    items.into_iter().enumerate().map(item).collect()
}

pub(super) fn read(line: &[u8]) -> Result<Account, Problem> {
    let mut value = parse_value(line)?;
    let links: Vec<NewLink> = list(&mut value, "links")?;
    let sessions: Vec<NewSession> = list(&mut value, "sessions")?;
    let new: NewSubject = checked(value)?;
    Ok(Account {
        kind: new.kind,
        external_id: new.external_id,
        links: links.into_iter().map(|link| (link.namespace, link.id)).collect(),
        sessions: sessions.into_iter().map(|session| (session.source, session.session)).collect(),
    })
}

pub(super) async fn settle(
    app: &Arc<App>,
    actor: &Actor,
    pace: &mut Pace,
    lines: Vec<Line>,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut accounts = Vec::new();
    for line in lines {
        match read(&line.bytes) {
            Ok(account) => accounts.push((line.number, account)),
            Err(problem) => answers.push((line.number, refusal(problem))),
        }
    }
    for wave in accounts.chunks(BULK * BULKS) {
        let mut bulks = JoinSet::new();
        for bulk in wave.chunks(BULK) {
            bulks.spawn(populate(Arc::clone(app), actor.clone(), bulk.to_vec()));
        }
        while let Some(settled) = bulks.join_next().await {
            for (number, answer) in settled? {
                let settled = match answer {
                    Ok(Populated::Created) => Settled::As("created"),
                    Ok(Populated::Extended) => Settled::As("extended"),
                    Ok(Populated::Known) => Settled::As("known"),
                    Err(error) => judged(error)?,
                };
                answers.push((number, settled));
            }
        }
        pace.keep().await;
    }
    Ok(answers)
}

/// One bulk; what the database was too busy for is tried again by itself.
async fn populate(app: Arc<App>, actor: Actor, bulk: Vec<(u64, Account)>) -> Vec<(u64, ServiceResult<Populated>)> {
    let (numbers, accounts): (Vec<u64>, Vec<Account>) = bulk.into_iter().unzip();
    let answered = app.populate(&actor, &accounts).await;
    let mut settled = Vec::new();
    for ((number, account), mut answer) in numbers.into_iter().zip(accounts).zip(answered) {
        if matches!(answer, Err(ServiceError::Store(_) | ServiceError::Unavailable(_))) {
            answer = patiently(|| one(&app, &actor, &account)).await;
        }
        settled.push((number, answer));
    }
    settled
}

async fn one(app: &App, actor: &Actor, account: &Account) -> ServiceResult<Populated> {
    let mut answers = app.populate(actor, std::slice::from_ref(account)).await;
    answers.pop().unwrap_or(Err(ServiceError::Unavailable("database")))
}
