//! Lines of attestations: the body of `POST /v1/subjects/{id}/attestations` with whom it is about.

use super::{Answer, Line, Settled, judged, patiently, refusal, refused};
use crate::http::evidence::NewAttestation;
use crate::http::extract::{checked, parse_value};
use crate::http::problem::Problem;
use crate::service::ingest::Delivery;
use crate::service::{Actor, App, ServiceError};
use crate::storage::Comparison;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use vouchsafe_core::ids::SubjectId;

/// Reads of the database under way; more would only wait for its connections.
const READS: usize = 16;
/// Comparisons of one commit.
const COMPARED: usize = 512;

/// Whom a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reference {
    text: String,
    external: bool,
}

struct Parsed {
    number: u64,
    event: String,
    new: NewAttestation,
}

fn read(app: &App, source: Option<&str>, line: &Line) -> Result<(Reference, Parsed), Problem> {
    let invalid = |pointer: &str, detail: &str| Problem::invalid().field(pointer, detail);
    let mut value = parse_value(&line.bytes)?;
    let Value::Object(members) = &mut value else { return Err(invalid("", "must be an object")) };
    let reference = match (members.remove("subject"), members.remove("external_id")) {
        (Some(Value::String(text)), None) => Reference { text, external: false },
        (None, Some(Value::String(text))) => Reference { text, external: true },
        _ => {
            let detail = "give one of `subject` (our id, or a link `namespace:id`) and `external_id`";
            return Err(invalid("/subject", detail));
        }
    };
    if let Some(source) = source {
        members.entry("source").or_insert_with(|| json!(source));
    }
    let new: NewAttestation = checked(value)?;
    if source.is_some_and(|source| source != new.source) {
        return Err(invalid("/source", "is another than `--source`"));
    }
    if new.checked_at.is_none() {
        // An old result without its time would count as fresh.
        return Err(invalid("/checked_at", "say when the source looked: an import is no fresh look"));
    }
    let event = new.event_id.clone().unwrap_or_else(|| app.line_event(&line.bytes));
    Ok((reference, Parsed { number: line.number, event, new }))
}

pub(super) async fn settle(
    app: &Arc<App>,
    actor: &Actor,
    source: Option<&str>,
    lines: Vec<Line>,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut readable = Vec::new();
    for line in lines {
        match read(app, source, &line) {
            Ok(parsed) => readable.push(parsed),
            Err(problem) => answers.push((line.number, refusal(problem))),
        }
    }
    let found = referred(app, readable.iter().map(|(reference, _)| reference)).await?;
    // One subject's lines go in their order, by whatever name they call it: of one check the older result comes first.
    let mut people: HashMap<SubjectId, Vec<Parsed>> = HashMap::new();
    for (reference, parsed) in readable {
        match found.get(&reference) {
            Some(Ok(subject)) => people.entry(subject.clone()).or_default().push(parsed),
            Some(Err((pointer, problem))) => answers.push((parsed.number, refused(pointer, problem))),
            None => answers.push((parsed.number, refused("/subject", "no such subject"))),
        }
    }
    let mut under_way = JoinSet::new();
    for (subject, lines) in people {
        let (app, actor) = (Arc::clone(app), actor.clone());
        under_way.spawn(async move { about_one(&app, &actor, &subject, lines).await });
    }
    let mut waiting = Vec::new();
    while let Some(done) = under_way.join_next().await {
        let (settled, compare) = done??;
        answers.extend(settled);
        waiting.extend(compare);
    }
    compare(app, waiting).await;
    Ok(answers)
}

/// A subject, or pointer and reason why there is none.
type Found = Result<SubjectId, (String, String)>;

/// Whom lines speak of.
async fn referred(
    app: &Arc<App>,
    references: impl Iterator<Item = &Reference>,
) -> anyhow::Result<HashMap<Reference, Found>> {
    let reads = Arc::new(Semaphore::new(READS));
    let mut under_way = JoinSet::new();
    for reference in references.cloned().collect::<HashSet<_>>() {
        let (app, reads) = (Arc::clone(app), Arc::clone(&reads));
        under_way.spawn(async move {
            let _permit = reads.acquire().await?;
            let found = patiently(|| app.referred(&reference.text, reference.external)).await;
            anyhow::Ok((reference, found))
        });
    }
    let mut all = HashMap::new();
    while let Some(done) = under_way.join_next().await {
        let (reference, found) = done??;
        let found = match found {
            Ok(subject) => Ok(subject),
            Err(ServiceError::Invalid { pointer, problem }) => Err((pointer, problem)),
            Err(error) => return Err(error.into()),
        };
        all.insert(reference, found);
    }
    Ok(all)
}

async fn about_one(
    app: &App,
    actor: &Actor,
    subject: &SubjectId,
    lines: Vec<Parsed>,
) -> anyhow::Result<(Vec<Answer>, Vec<Comparison>)> {
    let (mut answers, mut compare) = (Vec::new(), Vec::new());
    for line in &lines {
        if let Err(problem) = line.new.clone().submission(line.event.clone()) {
            answers.push((line.number, refusal(problem)));
            continue;
        }
        let submit = || submit(app, actor, subject, line);
        let settled = match patiently(submit).await {
            Ok((delivery, waiting)) => {
                compare.extend(waiting);
                Settled::As(match delivery {
                    Delivery::Duplicate(_) => "duplicate",
                    Delivery::Overtaken => "overtaken",
                    _ => "recorded",
                })
            }
            Err(error) => judged(error)?,
        };
        answers.push((line.number, settled));
    }
    Ok((answers, compare))
}

async fn submit(
    app: &App,
    actor: &Actor,
    subject: &SubjectId,
    line: &Parsed,
) -> Result<(Delivery, Option<Comparison>), ServiceError> {
    let submission = line.new.clone().submission(line.event.clone());
    let submission = submission.map_err(|_| ServiceError::Unreadable("line".to_owned()))?;
    app.submit_one_of_many(actor, subject, submission).await
}

/// What cannot be compared now waits in the database for the service's own job.
async fn compare(app: &Arc<App>, waiting: Vec<Comparison>) {
    let mut under_way = JoinSet::new();
    for some in waiting.chunks(COMPARED) {
        let (app, some) = (Arc::clone(app), some.to_vec());
        under_way.spawn(async move {
            if let Err(error) = app.compare_many(&some).await {
                tracing::warn!(error = %error, "attestations wait to be compared");
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}
