//! Sending: what is due is claimed, signed and posted, and how it ended is written down.
//!
//! Several processes do this at once: a delivery is sent by who claimed it. A process that is gone leaves a claim that
//! ends, and the delivery is sent again under the same id: at least once, never none. Of one subject and endpoint a later
//! message waits until the earlier one came through or was given up. An endpoint that hangs holds its own places alone.

use super::sign::signatures;
use super::{Endpoint, Secrets};
use crate::crypto::random;
use crate::service::outbox::written_at;
use crate::service::ssf::{Pushed, SignalReceiver};
use crate::service::world::World;
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::{Change, Ending, Outgoing, OutgoingWrite, Settled, Shown, StoredReceiver, Write};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use vouchsafe_core::ids::SubjectId;

/// How long after each failed try the next one follows, seconds; after the last the delivery is dead. The first try
/// follows at once.
const DELAYS: [i64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Share of a delay that chance may add: a hundred receivers that failed together are not tried together.
const JITTER: i64 = 10;
/// How long a claim lasts, milliseconds: longer than a try can.
const CLAIM_MS: i64 = 60_000;
/// Largest body of Standard Webhooks, bytes.
const BODY_MAX: usize = 20_000;
/// Sent to one endpoint at once.
const AT_ONCE: usize = 16;
/// Sent at once in all.
const IN_ALL: usize = 512;
/// Failures in a row from which on an endpoint is tried one by one, with pauses.
const FAILING: i64 = 10;
/// The first of these pauses, and the longest, seconds.
const PAUSES: (i64, i64) = (30, 900);
/// How long an endpoint is left alone that asks for it without saying how long, and the bounds of what it may say, seconds.
const SLOW_DOWN: (i64, i64, i64) = (30, 1, 3600);
/// How long nothing may come through before an endpoint is disabled, milliseconds: five days.
const GIVEN_UP_MS: i64 = 5 * 86_400_000;
/// How often it is looked for what is due.
const PERIOD: Duration = Duration::from_millis(250);
/// How long tries that ended are gathered while others are under way.
const GATHERED: Duration = Duration::from_millis(10);

/// How one try ended.
#[derive(Debug)]
struct Tried {
    sent: Outgoing,
    /// 0 for no answer.
    status: u16,
    outcome: &'static str,
    retry_after: Option<String>,
    at_ms: i64,
    /// The receiver said that it cannot take this one, ever.
    refused: bool,
    /// It is tried as long as messages are kept: an end that nobody hears of leaves a door open.
    lasting: bool,
}

impl Tried {
    fn came_through(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether there is nothing more to do.
    fn is_done(&self) -> bool {
        self.came_through() || self.outcome == UNTOLD
    }

    /// How long the endpoint wants to be left alone, seconds.
    fn slow_down(&self) -> Option<i64> {
        if !matches!(self.status, 429 | 502..=504) {
            return None;
        }
        let (usual, least, most) = SLOW_DOWN;
        let asked = self.retry_after.as_deref().and_then(|text| match text.trim().parse::<i64>() {
            Ok(seconds) => Some(seconds),
            Err(_) => {
                let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                Some(i64::try_from(at.as_secs()).ok()? - self.at_ms / 1000)
            }
        });
        Some(asked.unwrap_or(usual).clamp(least, most))
    }
}

/// How long the next try waits after so many tries, milliseconds, jitter included; `None` after the last.
fn delay_ms(tries: i64, chance: u64) -> Option<i64> {
    let delay = *DELAYS.get(usize::try_from(tries).ok()?.checked_sub(1)?)? * 1000;
    let most = u64::try_from(delay * JITTER / 100).ok()?.max(1);
    Some(delay + i64::try_from(chance % most).ok()?)
}

/// How long an endpoint that failed so often in a row is left alone, seconds.
fn pause(failures: i64) -> i64 {
    let (first, longest) = PAUSES;
    let doublings = u32::try_from((failures - FAILING).clamp(0, 10)).unwrap_or(0);
    if failures < FAILING { 0 } else { (first << doublings).min(longest) }
}

/// Sends what is due, from one process.
#[derive(Debug)]
pub struct Courier {
    app: Arc<App>,
    under_way: JoinSet<Tried>,
    /// Which endpoint each of them is for.
    places: HashMap<Id, String>,
    /// Ended, and not written down yet.
    ended: Vec<Tried>,
}

impl Courier {
    /// One that has nothing under way.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, under_way: JoinSet::new(), places: HashMap::new(), ended: Vec::new() }
    }

    /// Fans out and sends until `stop`, then waits for what is under way.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let moved = if self.app.check_history().is_ok() {
                self.round().await.unwrap_or_else(|error| {
                    tracing::error!(error = %error, "messages wait to be sent");
                    false
                })
            } else {
                false
            };
            let pause = if moved { Duration::ZERO } else { PERIOD };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wait(pause) => {}
            }
        }
        while !self.under_way.is_empty() {
            self.gather().await;
        }
        if let Err(error) = self.settle(&HashMap::new(), Vec::new()).await {
            tracing::error!(error = %error, "what was sent last is sent again");
        }
    }

    /// Sends until nothing is due and nothing under way.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn work_off(&mut self) -> ServiceResult<()> {
        while self.round().await? || !self.under_way.is_empty() || !self.ended.is_empty() {
            if !self.under_way.is_empty() {
                self.gather().await;
            }
        }
        Ok(())
    }

    /// A while, or until something under way has ended.
    async fn wait(&mut self, pause: Duration) {
        if self.under_way.is_empty() {
            tokio::time::sleep(pause).await;
        } else {
            let _ = tokio::time::timeout(PERIOD, self.gather()).await;
        }
    }

    /// Waits for one that ends, and takes with it what ends shortly after.
    async fn gather(&mut self) {
        if let Some(tried) = self.under_way.join_next_with_id().await {
            self.note(tried);
        }
        let _ = tokio::time::timeout(GATHERED, async {
            while let Some(tried) = self.under_way.join_next_with_id().await {
                self.note(tried);
            }
        })
        .await;
    }

    fn note(&mut self, tried: Result<(Id, Tried), JoinError>) {
        match tried {
            Ok((id, tried)) => {
                self.places.remove(&id);
                self.ended.push(tried);
            }
            Err(error) => {
                // Its claim ends by itself.
                self.places.remove(&error.id());
                tracing::error!(error = %error, "a message could not be sent");
            }
        }
    }

    /// Fans out, writes down what ended, claims what is due and begins to send it. Whether something was done.
    ///
    /// # Errors
    /// When the store cannot be read or written; what ended is written down later.
    pub async fn round(&mut self) -> ServiceResult<bool> {
        let fanned = self.app.fan_out().await?;
        while let Some(tried) = self.under_way.try_join_next_with_id() {
            self.note(tried);
        }
        let known: HashMap<String, StoredReceiver> =
            self.app.store.receivers().await?.into_iter().map(|row| (row.id.clone(), row)).collect();
        let settled = self.ended.len();
        let takes = self.takes(&known).await?;
        let claims: Vec<String> = takes.iter().map(|(claim, _)| claim.clone()).collect();
        self.settle(&known, takes.into_iter().map(|(_, write)| write).collect()).await?;
        let mut begun = 0;
        for claim in claims {
            for outgoing in self.app.store.taken(&claim).await? {
                begun += 1;
                self.begin(outgoing);
            }
        }
        Ok(fanned > 0 || settled > 0 || begun > 0)
    }

    /// Claims for endpoints with something due and room for more, with their names.
    async fn takes(&self, known: &HashMap<String, StoredReceiver>) -> ServiceResult<Vec<(String, Write)>> {
        let now_ms = self.app.clock.now_ms();
        let world = self.app.world.load_full();
        let mut room = IN_ALL.saturating_sub(self.under_way.len());
        let mut takes = Vec::new();
        for receiver in reached(&world) {
            let failures = known.get(receiver).map_or(0, |row| row.failures);
            let most = if failures >= FAILING { 1 } else { AT_ONCE };
            let busy = self.places.values().filter(|busy| *busy == receiver).count();
            let free = most.saturating_sub(busy).min(room);
            if free == 0 || !self.app.store.is_due(receiver, now_ms).await? {
                continue;
            }
            room -= free;
            let claim = self.app.id("clm")?;
            let take = OutgoingWrite::Take {
                receiver: receiver.to_owned(),
                claim: claim.clone(),
                now_ms,
                until_ms: now_ms + CLAIM_MS,
                limit: i64::try_from(free).unwrap_or(0),
            };
            takes.push((claim, Write::Outgoing(take)));
        }
        Ok(takes)
    }

    /// Writes down what ended, together with `more`.
    async fn settle(&mut self, known: &HashMap<String, StoredReceiver>, more: Vec<Write>) -> ServiceResult<()> {
        let mut writes = more;
        let mut disable = Vec::new();
        if !self.ended.is_empty() {
            let mut shown: HashMap<&str, Shown> = HashMap::new();
            let mut tries = Vec::with_capacity(self.ended.len());
            for tried in &self.ended {
                let receiver = tried.sent.receiver.as_str();
                let before = known.get(receiver);
                let shown = shown.entry(receiver).or_insert_with(|| Shown {
                    receiver: StoredReceiver { id: receiver.to_owned(), ..StoredReceiver::default() },
                    came_through: false,
                });
                let not_before_ms = show(shown, before, tried);
                tries.push(settled(tried, not_before_ms)?);
            }
            for (receiver, shown) in &shown {
                let since =
                    if shown.came_through { None } else { known.get(*receiver).and_then(|row| row.failing_since_ms) };
                let since = since.or(shown.receiver.failing_since_ms);
                if since.is_some_and(|since| self.app.clock.now_ms() - since >= GIVEN_UP_MS) {
                    disable.push(((*receiver).to_owned(), "failing"));
                }
            }
            let gone = self.ended.iter().filter(|tried| tried.status == 410);
            disable.extend(gone.map(|tried| (tried.sent.receiver.clone(), "gone")));
            // A receiver that works and always did has nothing to be known.
            let is_news = |shown: &Shown| shown.receiver.failures > 0 || known.contains_key(&shown.receiver.id);
            let mut shown: Vec<Shown> = shown.into_values().filter(is_news).collect();
            shown.sort_unstable_by(|a, b| a.receiver.id.cmp(&b.receiver.id));
            writes.insert(0, Write::Outgoing(OutgoingWrite::Settle { tries, shown }));
        }
        if writes.is_empty() {
            return Ok(());
        }
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        self.app.commit_change(change).await?.map_err(|_| ServiceError::Conflict("deliveries"))?;
        for tried in self.ended.drain(..) {
            let outcome = if tried.came_through() { "delivered" } else { tried.outcome };
            let endpoint = tried.sent.receiver;
            metrics::counter!("vouchsafe_webhook_tries_total", "endpoint" => endpoint, "outcome" => outcome)
                .increment(1);
        }
        for (endpoint, reason) in disable {
            if let Err(error) = self.app.give_up(&endpoint, reason).await {
                tracing::error!(error = %error, endpoint, reason, "an endpoint is to be disabled and could not be");
            }
        }
        Ok(())
    }

    fn begin(&mut self, outgoing: Outgoing) {
        let receiver = outgoing.receiver.clone();
        let world = self.app.world.load_full();
        let app = Arc::clone(&self.app);
        let endpoint = world.webhook_endpoints.get(&receiver).filter(|endpoint| endpoint.disabled.is_none());
        let begun = if let Some(endpoint) = endpoint.cloned() {
            self.under_way.spawn(async move { app.try_to_send(&endpoint, outgoing).await })
        } else if let Some(signals) = world.signal_receivers.get(&receiver).filter(|found| found.is_pushed()).cloned() {
            self.under_way.spawn(async move { app.try_to_signal(&signals, outgoing).await })
        } else {
            // Its claim ends by itself, if it was not buried already.
            return;
        };
        self.places.insert(begun.id(), receiver);
    }
}

/// Adds a try to what is shown of its receiver; until when it is left alone, epoch milliseconds.
fn show(shown: &mut Shown, before: Option<&StoredReceiver>, tried: &Tried) -> i64 {
    let receiver = &mut shown.receiver;
    if tried.came_through() {
        shown.came_through = true;
        (receiver.failures, receiver.failing_since_ms, receiver.not_before_ms) = (0, None, 0);
        return 0;
    }
    if tried.refused || matches!(tried.outcome, OURS | TOO_LARGE | UNTOLD) {
        return receiver.not_before_ms;
    }
    receiver.failures += 1;
    receiver.failing_since_ms = receiver.failing_since_ms.or(Some(tried.at_ms));
    let earlier = if shown.came_through { 0 } else { before.map_or(0, |row| row.failures) };
    let wait = tried.slow_down().unwrap_or(0).max(pause(earlier + receiver.failures));
    if wait > 0 {
        receiver.not_before_ms = receiver.not_before_ms.max(tried.at_ms + wait * 1000);
    }
    receiver.not_before_ms
}

fn settled(tried: &Tried, not_before_ms: i64) -> ServiceResult<Settled> {
    let ending = if tried.is_done() {
        Ending::Delivered
    } else if tried.refused || tried.outcome == TOO_LARGE {
        Ending::Dead
    } else {
        let chance = u64::from_le_bytes(random::<8>()?);
        let most = if tried.lasting { DELAYS.len() } else { usize::MAX };
        let tries = (tried.sent.tries + 1).min(i64::try_from(most).unwrap_or(i64::MAX));
        let delay = delay_ms(tries, chance);
        delay.map_or(Ending::Dead, |delay| Ending::Again((tried.at_ms + delay).max(not_before_ms)))
    };
    Ok(Settled {
        receiver: tried.sent.receiver.clone(),
        message: tried.sent.message.clone(),
        claim: tried.sent.claim.clone(),
        ending,
        tried_at_ms: tried.at_ms,
        status: i64::from(tried.status),
        outcome: tried.outcome,
    })
}

/// The message is larger than Standard Webhooks allow.
const TOO_LARGE: &str = "too_large";
/// The message could not be made, for a reason of ours.
const OURS: &str = "unavailable";

/// There was nothing to be told.
const UNTOLD: &str = "untold";

/// Receivers that we send to now.
fn reached(world: &World) -> impl Iterator<Item = &str> {
    let endpoints = world.webhook_endpoints.values().filter(|endpoint| endpoint.disabled.is_none());
    let signals = world.signal_receivers.values().filter(|receiver| receiver.is_pushed());
    endpoints.map(|endpoint| endpoint.id.as_str()).chain(signals.map(|receiver| receiver.id.as_str()))
}

/// What came of a try that was answered, in a word.
fn word(status: u16) -> &'static str {
    match status {
        200..300 => "",
        300..400 => "redirected",
        410 => "gone",
        429 | 502..=504 => "slow_down",
        _ => "status",
    }
}

/// What came of a try that was not answered, in a word.
fn failure(why: &str) -> &'static str {
    match why {
        "is too slow" => "timeout",
        "cannot be reached" => "unreachable",
        _ => "address",
    }
}

impl App {
    async fn try_to_send(&self, endpoint: &Endpoint, sent: Outgoing) -> Tried {
        let (status, outcome, retry_after) = match self.post(endpoint, &sent.message, &sent.topic, &sent.body).await {
            Ok((status, retry_after)) => (status, word(status), retry_after),
            Err(outcome) => (0, outcome, None),
        };
        Tried { sent, status, outcome, retry_after, at_ms: self.clock.now_ms(), refused: false, lasting: false }
    }

    async fn try_to_signal(&self, receiver: &SignalReceiver, sent: Outgoing) -> Tried {
        let (status, outcome, retry_after, refused) = match self.push_now(receiver, &sent).await {
            Ok(Pushed::Nothing) => (0, UNTOLD, None, false),
            Ok(Pushed::Refused { outcome }) => (400, outcome, None, true),
            Ok(Pushed::Answered { status, retry_after }) => (status, word(status), retry_after, false),
            Ok(Pushed::Unanswered { why }) => (0, failure(why), None, false),
            Err(error) => {
                tracing::error!(error = %error, message = sent.message, receiver = receiver.id, "a signal cannot be made");
                (0, OURS, None, false)
            }
        };
        Tried { sent, status, outcome, retry_after, at_ms: self.clock.now_ms(), refused, lasting: true }
    }

    /// Nothing came through for days, or the receiver says that it is no more.
    async fn give_up(&self, receiver: &str, reason: &'static str) -> ServiceResult<()> {
        if self.world.load().signal_receivers.contains_key(receiver) {
            self.give_up_signals(receiver, reason).await
        } else {
            self.give_up_endpoint(receiver, reason).await
        }
    }

    /// Posts one message; status and `Retry-After` of the answer, or in a word why there is none.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        message: &str,
        topic: &str,
        body: &str,
    ) -> Result<(u16, Option<String>), &'static str> {
        let prepared = self.prepare(endpoint, message, topic, body).await.map_err(|error| {
            tracing::error!(error = %error, message, endpoint = endpoint.id, "a message cannot be made");
            OURS
        })?;
        let (timestamp, signature, body) = prepared;
        if body.len() >= BODY_MAX {
            return Err(TOO_LARGE);
        }
        let headers = [
            ("webhook-id", message),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
            ("user-agent", concat!("vouchsafe/", env!("CARGO_PKG_VERSION"))),
        ];
        let connector = self.webhooks.connector.load_full();
        match connector.send(&endpoint.url, &headers, body).await {
            Ok(reply) => Ok((reply.status, reply.retry_after)),
            Err(error) => Err(failure(error.why())),
        }
    }

    /// Timestamp, signatures and body of a message as this endpoint gets it now.
    async fn prepare(
        &self,
        endpoint: &Endpoint,
        message: &str,
        topic: &str,
        body: &str,
    ) -> ServiceResult<(String, String, String)> {
        let unreadable = || ServiceError::Unreadable(format!("message {message}"));
        let mut data: Value = serde_json::from_str(body).map_err(|_| unreadable())?;
        if endpoint.external_id
            && let Some(subject) = data.get("subject").and_then(Value::as_str)
        {
            let subject = SubjectId::parse(subject).map_err(|_| unreadable())?;
            let external_id = match self.subject(&subject).await {
                Ok(found) => found.external_id,
                // What was erased has none any more.
                Err(ServiceError::Erased | ServiceError::NotFound(_)) => None,
                Err(error) => return Err(error),
            };
            if let Some(members) = data.as_object_mut() {
                members.insert("external_id".to_owned(), json!(external_id));
            }
        }
        let at = written_at(message).ok_or_else(unreadable)?;
        let body = json!({ "type": topic, "timestamp": at, "data": data }).to_string();
        let now_ms = self.clock.now_ms();
        let timestamp = (now_ms / 1000).to_string();
        let secrets: Secrets = self.endpoint_secrets(endpoint)?;
        let signature = signatures(&secrets.secrets, now_ms, message, &timestamp, &body)?;
        Ok((timestamp, signature, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(status: u16, retry_after: Option<&str>) -> Tried {
        let sent = Outgoing {
            receiver: "whe_1".to_owned(),
            message: "out_1".to_owned(),
            topic: "t".to_owned(),
            key: "k".to_owned(),
            body: "{}".to_owned(),
            tries: 0,
            claim: "c".to_owned(),
        };
        let retry_after = retry_after.map(str::to_owned);
        Tried {
            sent,
            status,
            outcome: word(status),
            retry_after,
            at_ms: 1_614_265_330_000,
            refused: false,
            lasting: false,
        }
    }

    /// The schedule of Standard Webhooks: at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
    #[test]
    fn the_schedule_is_the_standards_with_a_tenth_of_chance() {
        let hours = |hours: i64| hours * 3_600_000;
        let delays = [5_000, 300_000, 1_800_000, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];
        for (tries, delay) in (1..).zip(delays) {
            assert_eq!(delay_ms(tries, 0), Some(delay), "after try {tries}");
            let most = delay_ms(tries, u64::try_from(delay / 10 - 1).unwrap()).unwrap();
            assert_eq!(most, delay + delay / 10 - 1);
            assert!(delay_ms(tries, u64::MAX).unwrap() < delay + delay / 10);
        }
        assert_eq!(delay_ms(10, 0), None);
        assert_eq!(delay_ms(0, 0), None);
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_within_bounds() {
        for (status, header, wanted) in [
            (429, Some("7"), Some(7)),
            (502, None, Some(30)),
            (503, Some("0"), Some(1)),
            (504, Some("86400"), Some(3600)),
            (429, Some("-5"), Some(1)),
            (429, Some("Thu, 25 Feb 2021 15:03:10 GMT"), Some(60)),
            (429, Some("Thu, 25 Feb 2021 15:00:00 GMT"), Some(1)),
            (429, Some("soon"), Some(30)),
            (500, Some("7"), None),
            (200, Some("7"), None),
        ] {
            assert_eq!(tried(status, header).slow_down(), wanted, "{status} {header:?}");
        }
    }

    #[test]
    fn only_a_status_of_the_two_hundreds_is_success() {
        for (status, through) in [(199, false), (200, true), (204, true), (299, true), (300, false), (302, false)] {
            assert_eq!(tried(status, None).came_through(), through, "{status}");
        }
    }

    #[test]
    fn pauses_grow_with_failures_in_a_row_and_end_with_the_first_success() {
        let pauses: Vec<i64> = [0, 9, 10, 11, 12, 14, 15, 100].map(pause).to_vec();
        assert_eq!(pauses, [0, 0, 30, 60, 120, 480, 900, 900]);
        let before = StoredReceiver { failures: 9, failing_since_ms: Some(1), ..StoredReceiver::default() };
        let mut shown = Shown { receiver: StoredReceiver::default(), came_through: false };
        assert_eq!(show(&mut shown, Some(&before), &tried(500, None)), 1_614_265_330_000 + 30_000);
        assert_eq!(show(&mut shown, Some(&before), &tried(200, None)), 0);
        assert_eq!(shown, Shown { receiver: StoredReceiver::default(), came_through: true });
        assert_eq!(show(&mut shown, Some(&before), &tried(500, None)), 0, "one failure after a success");
        assert_eq!(shown.receiver.failures, 1);
    }
}
