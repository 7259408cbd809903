//! Delivery by poll (RFC 8936): the receiver fetches what waits, and what it does not acknowledge it gets again.

use super::streams::{Delivery, Status, Stream};
use super::{MANAGE, READ, SignalReceiver};
use crate::service::authenticate::Caller;
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::{Change, Ending, OutgoingWrite, Settled, Write};
use serde_json::{Map, Value};
use std::time::Duration;

/// Most tokens of one answer.
pub const SETS_MAX: usize = 100;
/// How long an answer waits for something to tell, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for something meanwhile.
const PERIOD: Duration = Duration::from_millis(250);

/// What a receiver asks for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// At most so many tokens.
    pub most: usize,
    /// Whether it wants an answer at once, though there is nothing.
    pub at_once: bool,
    /// Ids of tokens that it has.
    pub acknowledged: Vec<String>,
    /// Ids of tokens that it cannot take, with its code for why.
    pub refused: Vec<(String, String)>,
}

/// What it gets.
#[derive(Debug, Default)]
pub struct Collected {
    /// Tokens by id.
    pub sets: Map<String, Value>,
    /// Whether more waits.
    pub more: bool,
}

/// Codes by which a receiver says that it cannot take a token (RFC 8935 section 2.4, SSF 1.0), and those of ours for any other.
pub(super) fn refusal(code: &str) -> &'static str {
    const KNOWN: [&str; 7] = [
        "invalid_request",
        "invalid_key",
        "invalid_issuer",
        "invalid_audience",
        "authentication_failed",
        "access_denied",
        "invalid_state",
    ];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("refused")
}

impl App {
    /// Takes what the caller says of earlier tokens and gives it what waits: of one subject the earliest, in order.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound` for a stream that is not the caller's, or is pushed.
    pub async fn collect(&self, caller: &Caller, id: &str, asked: &Asked) -> ServiceResult<Collected> {
        let scopes = [READ, MANAGE];
        let (receiver, stream) = self.with_stream(caller, &scopes, id).await?;
        if stream.delivery != Delivery::Poll {
            return Err(ServiceError::NotFound("stream"));
        }
        self.acknowledge(&receiver, &stream, asked).await?;
        if asked.most == 0 {
            return Ok(Collected::default());
        }
        let begun = tokio::time::Instant::now();
        let mut found = self.waiting_sets(&receiver, &stream, asked.most).await?;
        // One answer of a receiver waits; a second at the same time is at once.
        let Some(_alone) = self.collecting.enter(&receiver.id).filter(|_| !asked.at_once) else { return Ok(found) };
        while found.sets.is_empty() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(PERIOD).await;
            let (receiver, stream) = match self.with_stream(caller, &scopes, id).await {
                Ok(found) => found,
                Err(ServiceError::NotFound(_)) => return Ok(found),
                Err(error) => return Err(error),
            };
            found = self.waiting_sets(&receiver, &stream, asked.most).await?;
        }
        Ok(found)
    }

    /// Writes down what the receiver says of tokens that it got.
    async fn acknowledge(&self, receiver: &SignalReceiver, stream: &Stream, asked: &Asked) -> ServiceResult<()> {
        let messages = Self::messages_behind(stream, asked.acknowledged.iter().map(String::as_str));
        let mut writes = vec![self.settled_as_told(receiver, messages.into_iter(), "")];
        for (jti, code) in &asked.refused {
            for message in Self::messages_behind(stream, std::iter::once(jti.as_str())) {
                let outcome = refusal(code);
                tracing::warn!(receiver = receiver.id, message, outcome, "a signal was refused");
                writes.push(Some(OutgoingWrite::Refuse {
                    receiver: receiver.id.clone(),
                    message: message.to_owned(),
                    outcome,
                    at_ms: self.clock.now_ms(),
                }));
            }
        }
        self.write_down(writes.into_iter().flatten().collect()).await
    }

    /// The note that messages came through, or that there was nothing to be told of them.
    fn settled_as_told<'m>(
        &self,
        receiver: &SignalReceiver,
        messages: impl Iterator<Item = &'m str>,
        outcome: &'static str,
    ) -> Option<OutgoingWrite> {
        let now_ms = self.clock.now_ms();
        let tries: Vec<Settled> = messages
            .map(|message| Settled {
                receiver: receiver.id.clone(),
                message: message.to_owned(),
                claim: String::new(),
                ending: Ending::Delivered,
                tried_at_ms: now_ms,
                status: 0,
                outcome,
            })
            .collect();
        (!tries.is_empty()).then(|| OutgoingWrite::Settle { tries, shown: Vec::new() })
    }

    async fn write_down(&self, writes: Vec<OutgoingWrite>) -> ServiceResult<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let writes = writes.into_iter().map(Write::Outgoing).collect();
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        self.commit_change(change).await?.map_err(|_| ServiceError::Conflict("deliveries"))
    }

    /// What waits, as tokens; what there is nothing to be told of is settled on the way.
    async fn waiting_sets(&self, receiver: &SignalReceiver, stream: &Stream, most: usize) -> ServiceResult<Collected> {
        let mut found = Collected::default();
        if stream.status != Status::Enabled {
            return Ok(found);
        }
        self.fan_out().await?;
        let limit = i64::try_from(most.min(SETS_MAX)).unwrap_or(0);
        loop {
            let (waiting, all) = self.store.waiting_for(&receiver.id, limit).await?;
            let mut untold = Vec::new();
            for sent in &waiting {
                match self.event_token(receiver, sent).await? {
                    Some((jti, token)) => drop(found.sets.insert(jti, Value::String(token))),
                    None => untold.push(sent.message.as_str()),
                }
            }
            let left = usize::try_from(all).unwrap_or(0).saturating_sub(untold.len());
            let nothing = untold.is_empty();
            let settled = self.settled_as_told(receiver, untold.into_iter(), "untold");
            self.write_down(settled.into_iter().collect()).await?;
            if nothing || !found.sets.is_empty() {
                found.more = left > found.sets.len();
                return Ok(found);
            }
        }
    }
}

/// Who waits for something to fetch.
#[derive(Debug, Default)]
pub(crate) struct Collecting(std::sync::Mutex<std::collections::HashSet<String>>);

/// The place of one who waits.
pub(crate) struct Place<'c> {
    of: &'c Collecting,
    receiver: String,
}

impl Collecting {
    /// `None` while another answer for the same receiver waits.
    fn enter(&self, receiver: &str) -> Option<Place<'_>> {
        let mut waiting = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.insert(receiver.to_owned()).then(|| Place { of: self, receiver: receiver.to_owned() })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.receiver);
    }
}
