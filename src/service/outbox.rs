//! What is told to the outside: messages, each in the commit of what it tells, and who receives them.
//!
//! Fanning out takes rows from the outbox and gives each to every receiver that asked for it, in one commit that holds
//! only while the receivers are those that were read: of what happens after a receiver was acknowledged it misses nothing,
//! whichever replica fans out.

use super::idempotency::bookkeeping;
use super::world::World;
use super::{App, ServiceResult};
use crate::storage::{Conflict, FannedOut, OutboxRow, OutgoingWrite, Queued, Write};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourcePattern;

/// What is told.
pub const TOPICS: [&str; 8] = [
    "eligibility.changed",
    "eligibility.expiring",
    "attestation.accepted",
    "attestation.rejected",
    "case.opened",
    "case.closed",
    "token.revoked",
    "directive.applied",
];

/// How ids of messages begin.
pub(crate) const PREFIX: &str = "out";

/// Rows of one commit.
const ROUND: i64 = 500;

/// How often a round is tried while receivers change under it.
const TRIES: usize = 3;

/// Somebody who is told: what it asked for, and how it gets it.
#[derive(Debug)]
pub(crate) struct Receiver<'w> {
    /// Kind of its record.
    pub(crate) record: &'static str,
    /// Its id.
    pub(crate) id: &'w str,
    /// Version of its record.
    pub(crate) version: i64,
    /// How messages leave: `webhook`, `signal`.
    pub(crate) kind: &'static str,
    /// What it asked for.
    pub(crate) topics: &'w BTreeSet<String>,
    /// Only what concerns these; all if empty.
    pub(crate) resources: &'w [ResourcePattern],
    /// Why it gets nothing now, in a word; what it misses is kept for it.
    pub(crate) silent: Option<&'static str>,
}

impl Receiver<'_> {
    /// Whether a message of this type about these is for it.
    pub(crate) fn wants(&self, topic: &str, about: &[ResourcePattern]) -> bool {
        let concerns = |pattern: &ResourcePattern| self.resources.iter().any(|own| overlap(own, pattern));
        self.topics.contains(topic) && (self.resources.is_empty() || about.is_empty() || about.iter().any(concerns))
    }
}

/// Whether something is covered by both.
fn overlap(a: &ResourcePattern, b: &ResourcePattern) -> bool {
    let covers =
        |whole: &ResourcePattern, part: &ResourcePattern| part.sample().is_some_and(|sample| whole.covers(&sample));
    covers(a, b) || covers(b, a)
}

/// The resources and families that a message names.
fn about(body: &Value) -> Vec<ResourcePattern> {
    let one = body.get("resource").into_iter();
    let many = body.get("resources").and_then(Value::as_array).into_iter().flatten();
    one.chain(many).filter_map(|name| ResourcePattern::parse(name.as_str()?).ok()).collect()
}

/// As [`about`], of a message as it was written.
pub(crate) fn about_resources(body: &str) -> Vec<ResourcePattern> {
    serde_json::from_str(body).map(|body| about(&body)).unwrap_or_default()
}

impl World {
    /// Everybody who is told something, in the order of their records.
    pub(crate) fn receivers(&self) -> Vec<Receiver<'_>> {
        let endpoints = self.webhook_endpoints.values().map(|endpoint| endpoint.receiver());
        endpoints.chain(self.signal_receivers.values().map(|receiver| receiver.receiver())).collect()
    }
}

/// The instant with which a message's id begins.
pub(crate) fn written_at(message: &str) -> Option<Second> {
    let millis = message.split_once('_')?.1.get(..12)?;
    i64::from_str_radix(millis, 16).ok().map(Second::from_millis)
}

impl App {
    /// A message for the outbox, to be in the commit of what it tells. Those of one key are told in order. Its body names
    /// nobody: subjects are ids.
    pub(crate) fn message(&self, topic: &'static str, key: &str, body: &Value) -> ServiceResult<OutboxRow> {
        Ok(OutboxRow { id: self.id(PREFIX)?, topic: topic.to_owned(), key: key.to_owned(), body: body.to_string() })
    }

    /// The message about a case, under the key of its subject.
    pub(crate) fn case_message(
        &self,
        topic: &'static str,
        case: &str,
        subject: Option<&str>,
        more: &Value,
    ) -> ServiceResult<OutboxRow> {
        let mut body = json!({ "case": case, "subject": subject });
        if let (Some(members), Some(more)) = (body.as_object_mut(), more.as_object()) {
            let told = ["question", "causes", "resources", "outcome", "reason"];
            members.extend(told.iter().filter_map(|name| Some(((*name).to_owned(), more.get(*name)?.clone()))));
        }
        self.message(topic, subject.unwrap_or(case), &body)
    }

    /// Gives what waits in the outbox to whoever asked for it; how many rows it took from there.
    ///
    /// # Errors
    /// When the store cannot be read or written; what waits goes on waiting.
    pub async fn fan_out(&self) -> ServiceResult<usize> {
        for _ in 0..TRIES {
            let rows = self.store.outbox(ROUND).await?;
            if rows.is_empty() {
                return Ok(0);
            }
            let world = self.world.load_full();
            let receivers = world.receivers();
            let deliveries = rows.iter().flat_map(|row| fanned_out(row, &receivers)).collect();
            let mut read: Vec<(String, String, i64)> =
                receivers.iter().map(|to| (to.record.to_owned(), to.id.to_owned(), to.version)).collect();
            read.sort_unstable();
            let taken = rows.len();
            let write = OutgoingWrite::FanOut { rows, deliveries, receivers: read, now_ms: self.clock.now_ms() };
            match self.commit_change(bookkeeping(Write::Outgoing(write))).await? {
                Ok(()) => return Ok(taken),
                // Somebody was registered, changed or deleted, and this process has not heard of it yet.
                Err(Conflict::Stale("records")) => self.reload_world().await?,
                // Another replica was faster.
                Err(_) => return Ok(0),
            }
        }
        Ok(0)
    }
}

fn fanned_out(row: &Queued, receivers: &[Receiver<'_>]) -> Vec<FannedOut> {
    let body: Value = match serde_json::from_str(&row.body) {
        Ok(body) => body,
        Err(_) => {
            tracing::error!(message = row.id, "a message is no JSON and concerns everybody who asked for its type");
            Value::Null
        }
    };
    let about = about(&body);
    let only = body.get("receiver").and_then(Value::as_str);
    let wanting = receivers
        .iter()
        .filter(|receiver| only.is_none_or(|only| receiver.id == only) && receiver.wants(&row.topic, &about));
    let to = |receiver: &Receiver<'_>| FannedOut {
        position: row.position,
        receiver: receiver.id.to_owned(),
        kind: receiver.kind,
        dead: receiver.silent,
    };
    wanting.map(to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<ResourcePattern> {
        texts.iter().map(|text| ResourcePattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_receiver_gets_what_it_asked_for_and_what_names_no_resource() {
        let topics = BTreeSet::from(["eligibility.changed".to_owned(), "case.opened".to_owned()]);
        let own = patterns(&["restricted.*"]);
        let receiver = Receiver {
            record: "webhook_endpoint",
            id: "whe_1",
            version: 1,
            kind: "webhook",
            topics: &topics,
            resources: &own,
            silent: None,
        };
        let wants = |topic: &str, body: Value| receiver.wants(topic, &about(&body));
        assert!(wants("eligibility.changed", json!({ "resource": "restricted.api" })));
        assert!(wants("eligibility.changed", json!({ "resource": "restricted.*" })));
        assert!(wants("case.opened", json!({ "case": "cas_1" })));
        assert!(wants("case.opened", json!({ "resources": ["open.api", "restricted.api"] })));
        assert!(!wants("case.opened", json!({ "resources": ["open.api"] })));
        assert!(!wants("eligibility.changed", json!({ "resource": "regional.api" })));
        assert!(!wants("token.revoked", json!({ "resource": "restricted.api" })));
        assert!(Receiver { resources: &[], ..receiver }.wants("eligibility.changed", &patterns(&["regional.api"])));
    }

    #[test]
    fn the_instant_of_a_message_stands_in_its_id() {
        let id = crate::crypto::new_id(PREFIX, 1_795_219_200_123).unwrap();
        assert_eq!(written_at(&id), Some(Second::from_millis(1_795_219_200_123)));
        for bad in ["", "out_", "out_zz", "1795219200"] {
            assert_eq!(written_at(bad), None, "{bad}");
        }
    }
}
