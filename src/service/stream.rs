//! What a gateway is told at once: that somebody lost what they had, that a resource was stopped.
//!
//! The audit log is the source: its positions have no gaps, come in the order of commits and are the same on every replica, so
//! one of them is enough to go on from, after a broken connection, at another replica or after a restart. A job follows the
//! log while somebody listens and hands what concerns gateways to all who do; each connection has a bounded queue, and who
//! does not keep up is cut off, never waited for: it comes back with the last position it saw. What is frozen is told
//! anew with each connection, so nothing of that can be missed.

use super::reports::freezes;
use super::world::Gateway;
use super::{App, ServiceError, ServiceResult};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use vouchsafe_core::ids::{ResourceId, ResourcePattern};

/// Most connections of one gateway.
const OF_ONE: usize = 16;
/// Most connections of all gateways.
const OF_ALL: usize = 1_000;
/// Events that wait for one connection; one more and it is cut off.
const QUEUE: usize = 256;
/// Events that the job may be ahead of those who hand them on.
const AHEAD: usize = 4_096;
/// Records of the log read at once.
const PAGE: i64 = 500;
/// How far back, in records of the log, a connection may go on; whoever was away for longer begins anew.
const FAR_BACK: i64 = 100_000;
/// How often each connection hears that nothing happened.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(15);

/// What happened, for everybody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Happened {
    /// A subject may no longer use what it could; without a resource, anything.
    Lost { subject: String, resource: Option<ResourcePattern> },
    /// A token was revoked.
    Revoked { jti: String, audience: String, resource: ResourceId },
    /// Something was frozen.
    Stopped(ResourcePattern),
    /// A freeze was lifted.
    Resumed(ResourcePattern),
    /// The log was followed up to here.
    Followed,
}

/// Something that happened and where it stands.
#[derive(Debug, Clone)]
struct Told {
    position: i64,
    what: Happened,
}

/// One event as a gateway gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What to go on from.
    pub id: i64,
    /// `ready`, `reset`, `subject.stop`, `token.stop`, `resource.stop`, `resource.resume`, `heartbeat`.
    pub name: &'static str,
    /// Its content.
    pub data: Value,
}

/// Who listens.
pub(crate) struct Streams {
    told: broadcast::Sender<Told>,
    /// How far the log was followed, and what was frozen then; none while nobody listens.
    followed: tokio::sync::Mutex<Option<(i64, BTreeSet<ResourcePattern>)>>,
    open: Mutex<HashMap<String, usize>>,
    ended: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(AHEAD),
            followed: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }
}

/// A connection's place among those that may be open; free again when dropped.
struct Seat {
    app: Arc<App>,
    gateway: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.app.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.gateway) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.gateway);
            }
        }
    }
}

/// One connection.
struct Connection {
    app: Arc<App>,
    gateway: String,
    /// As it was when the connection began: another key, audience or resource ends it.
    settings: Arc<Gateway>,
    events: mpsc::Sender<Event>,
    /// How far it was told.
    position: i64,
    _seat: Seat,
}

/// Why a connection ends.
struct Over;

impl App {
    /// Opens the stream of events of a gateway, after a position that it saw, or from now. What comes out ends when the gateway
    /// does not keep up, when it is changed, and when the service ends.
    ///
    /// # Errors
    /// `Unavailable` while too many are open, or when the picture is old.
    pub async fn stream(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        after: Option<i64>,
    ) -> ServiceResult<mpsc::Receiver<Event>> {
        self.check_feed_age()?;
        let seat = self.seat(&gateway.id)?;
        // Before anything is read: what happens meanwhile comes this way, and some of it twice.
        let live = self.streams.told.subscribe();
        self.follow_log().await?;
        let head = self.followed().await?;
        let (events, receiver) = mpsc::channel(QUEUE);
        let mut connection = Connection {
            app: Arc::clone(self),
            gateway: gateway.id.clone(),
            settings: Arc::clone(gateway),
            events,
            position: after.unwrap_or(head),
            _seat: seat,
        };
        tokio::spawn(async move {
            let ended = connection.app.streams.ended.clone();
            ended.run_until_cancelled(connection.run(live, head)).await;
        });
        Ok(receiver)
    }

    fn seat(self: &Arc<Self>, gateway: &str) -> ServiceResult<Seat> {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(gateway.to_owned()).or_default();
        if self.streams.ended.is_cancelled() || all >= OF_ALL || *own >= OF_ONE {
            if *own == 0 {
                open.remove(gateway);
            }
            return Err(ServiceError::Unavailable("streams"));
        }
        *own += 1;
        Ok(Seat { app: Arc::clone(self), gateway: gateway.to_owned() })
    }

    /// How far the log was followed.
    async fn followed(&self) -> ServiceResult<i64> {
        let followed = self.streams.followed.lock().await;
        followed.as_ref().map(|(position, _)| *position).ok_or(ServiceError::Unavailable("log"))
    }

    /// Ends every stream and opens no more.
    pub fn end_streams(&self) {
        self.streams.ended.cancel();
    }

    /// Follows the log once, if somebody listens; called twice a second. What was frozen or lifted is told with the
    /// position reached.
    ///
    /// # Errors
    /// When the store cannot be read; the next time goes on from where this one was.
    pub async fn follow_log(&self) -> ServiceResult<()> {
        let mut followed = self.streams.followed.lock().await;
        if self.streams.told.receiver_count() == 0 {
            *followed = None;
            return Ok(());
        }
        let (begun, before) = match &*followed {
            Some((position, frozen)) => (*position, frozen.clone()),
            None => (self.store.history(0).await?.position, self.frozen_now()),
        };
        let mut position = begun;
        loop {
            let page = self.store.audit_log(position, PAGE).await?;
            let Some(last) = page.last().map(|record| record.position) else { break };
            // A page is told as a whole or, when it cannot be read to its end, not yet.
            let mut told = Vec::new();
            for record in &page {
                let what = self.happened(&record.entry).await?;
                told.extend(what.into_iter().map(|what| Told { position: record.position, what }));
            }
            for told in told {
                // Whoever listened may be gone.
                let _ = self.streams.told.send(told);
            }
            position = last;
            *followed = Some((position, before.clone()));
        }
        if position > begun {
            let _ = self.streams.told.send(Told { position, what: Happened::Followed });
        }
        let now = self.frozen_now();
        for what in now.difference(&before).cloned().map(Happened::Stopped) {
            let _ = self.streams.told.send(Told { position, what });
        }
        for what in before.difference(&now).cloned().map(Happened::Resumed) {
            let _ = self.streams.told.send(Told { position, what });
        }
        *followed = Some((position, now));
        Ok(())
    }

    /// What an entry of the log tells gateways.
    async fn happened(&self, entry: &str) -> ServiceResult<Vec<Happened>> {
        match said(entry) {
            None => Ok(Vec::new()),
            Some(Said::Lost { subject, resource }) => Ok(vec![Happened::Lost { subject, resource }]),
            Some(Said::Revoked(jtis)) => {
                let mut found = Vec::new();
                for jti in jtis {
                    // One that nobody issued, or that is forgotten, opens nothing.
                    let Some(token) = self.store.token(&jti).await? else { continue };
                    let Ok(resource) = ResourceId::parse(&token.resource) else { continue };
                    found.push(Happened::Revoked { jti, audience: token.audience, resource });
                }
                Ok(found)
            }
        }
    }

    /// What is frozen now.
    fn frozen_now(&self) -> BTreeSet<ResourcePattern> {
        let world = self.world.load();
        freezes(&world, self.clock.now()).into_iter().map(|(_, pattern)| pattern.clone()).collect()
    }
}

/// What an entry of the log says to gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Lost { subject: String, resource: Option<ResourcePattern> },
    Revoked(Vec<String>),
}

/// Entries of the log that concern gateways.
const ACTIONS: [&str; 4] = ["eligibility.changed", "subject.erased", "token.revoked", "tokens.revoked"];

/// What an entry of the log says of somebody who lost something.
fn said(entry: &str) -> Option<Said> {
    // Most entries are of other kinds, and need not be read.
    if !ACTIONS.iter().any(|action| entry.contains(action)) {
        return None;
    }
    let entry: Value = serde_json::from_str(entry).ok()?;
    let target = || Some(entry.get("target")?.as_str()?.to_owned());
    let detail = entry.get("detail")?;
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    match entry.get("action")?.as_str()? {
        "eligibility.changed" => {
            let lost = text("previous") == Some("eligible") && text("status")? != "eligible";
            let resource = ResourcePattern::parse(text("resource")?).ok()?;
            lost.then_some(Said::Lost { subject: text("subject")?.to_owned(), resource: Some(resource) })
        }
        "subject.erased" => Some(Said::Lost { subject: target()?, resource: None }),
        "token.revoked" => Some(Said::Revoked(vec![target()?])),
        "tokens.revoked" => {
            let jtis = detail.get("tokens")?.as_array()?;
            Some(Said::Revoked(jtis.iter().filter_map(|jti| jti.as_str().map(str::to_owned)).collect()))
        }
        _ => None,
    }
}

impl Connection {
    async fn run(&mut self, mut live: broadcast::Receiver<Told>, head: i64) {
        if self.begin(head).await.is_err() {
            return;
        }
        let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let events = self.events.clone();
        loop {
            let told = tokio::select! {
                () = events.closed() => return,
                told = live.recv() => told,
                _ = heartbeat.tick() => {
                    if self.beat().is_err() {
                        return;
                    }
                    continue;
                }
            };
            // Who lags behind the job is cut off like who lags behind its queue.
            let Ok(told) = told else { return };
            if self.tell(&told).is_err() {
                return;
            }
        }
    }

    /// Says where it begins and what is frozen, and what happened since the position that the gateway saw.
    async fn begin(&mut self, head: i64) -> Result<(), Over> {
        let known = (0..=head).contains(&self.position) && head - self.position <= FAR_BACK;
        let name = if known { "ready" } else { "reset" };
        if !known {
            self.position = head;
        }
        let frozen: Vec<_> =
            self.app.frozen_now().into_iter().filter(|pattern| self.settings.touches(pattern)).collect();
        let orders = self.app.position().to_string();
        self.send(self.position, name, json!({ "frozen": frozen, "orders": orders }))?;
        while self.position < head {
            let page = self.app.store.audit_log(self.position, PAGE).await.map_err(|_| Over)?;
            let Some(last) = page.last().map(|record| record.position) else { return Err(Over) };
            for record in page.iter().take_while(|record| record.position <= head) {
                for what in self.app.happened(&record.entry).await.map_err(|_| Over)? {
                    // Much may have been missed: it waits for its reader, as long as that reads at all.
                    let ready = tokio::time::timeout(HEARTBEAT, self.events.reserve()).await;
                    drop(ready.map_err(|_| Over)?.map_err(|_| Over)?);
                    self.tell(&Told { position: record.position, what })?;
                }
                self.position = record.position;
            }
            self.position = self.position.max(last.min(head));
        }
        Ok(())
    }

    /// The gateway as it is registered now.
    fn current(&self) -> Result<Arc<Gateway>, Over> {
        let world = self.app.world.load();
        let gateway = world.gateways.get(&self.gateway).ok_or(Over)?;
        // SECURITY: a key that was taken away, or another audience, ends what was opened under the old one.
        let same = (&gateway.key_sha256, &gateway.audience) == (&self.settings.key_sha256, &self.settings.audience);
        if same && !gateway.disabled { Ok(Arc::clone(gateway)) } else { Err(Over) }
    }

    fn beat(&self) -> Result<(), Over> {
        self.current()?;
        let orders = self.app.position();
        self.send(self.position, "heartbeat", json!({ "at": orders.at, "orders": orders.to_string() }))
    }

    fn tell(&mut self, told: &Told) -> Result<(), Over> {
        let world = self.app.world.load_full();
        let gateway = self.current()?;
        let now = self.app.clock.now();
        let frozen =
            |resource: &ResourceId| world.rules(resource, now).is_ok_and(|rules| !rules.body.frozen_by.is_empty());
        let (name, data) = match &told.what {
            // Told before this connection began, or while it caught up.
            Happened::Lost { .. } | Happened::Revoked { .. } if told.position <= self.position => return Ok(()),
            Happened::Lost { subject, resource } => {
                let concerns = resource.as_ref().is_none_or(|resource| {
                    // Everybody lost it by the freeze, which was told once.
                    gateway.touches(resource) && !resource.sample().is_some_and(|sample| frozen(&sample))
                });
                if !concerns {
                    return Ok(());
                }
                let pairwise = world.audiences.get(&gateway.audience).is_none_or(|audience| audience.pairwise);
                let subject = if pairwise {
                    self.app.crypto.pairwise(subject, &gateway.audience).map_err(|_| Over)?
                } else {
                    subject.clone()
                };
                ("subject.stop", json!({ "subject": subject, "resource": resource }))
            }
            Happened::Revoked { jti, audience, resource } => {
                let guards = gateway.resources.iter().any(|own| own.covers(resource));
                if *audience != gateway.audience || !guards || frozen(resource) {
                    return Ok(());
                }
                ("token.stop", json!({ "jti": jti, "resource": resource }))
            }
            Happened::Stopped(resource) | Happened::Resumed(resource) if !gateway.touches(resource) => return Ok(()),
            Happened::Stopped(resource) => ("resource.stop", json!({ "resource": resource })),
            Happened::Resumed(resource) => ("resource.resume", json!({ "resource": resource })),
            Happened::Followed => {
                self.position = self.position.max(told.position);
                return Ok(());
            }
        };
        // All that stands before it was told.
        self.send(self.position.max(told.position - 1), name, data)
    }

    fn send(&self, id: i64, name: &'static str, data: Value) -> Result<(), Over> {
        self.events.try_send(Event { id, name, data }).map_err(|error| {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                metrics::counter!("vouchsafe_streams_cut_off_total").increment(1);
            }
            Over
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str, target: &str, detail: &Value) -> String {
        json!({ "action": action, "target": target, "detail": detail }).to_string()
    }

    #[test]
    fn only_what_somebody_lost_is_told() {
        let change = |previous: Option<&str>, status: &str| {
            let detail =
                json!({ "subject": "sub_1", "resource": "restricted.*", "previous": previous, "status": status });
            said(&entry("eligibility.changed", "sub_1", &detail))
        };
        let resource = ResourcePattern::parse("restricted.*").unwrap();
        let lost = Said::Lost { subject: "sub_1".to_owned(), resource: Some(resource) };
        assert_eq!(change(Some("eligible"), "review"), Some(lost));
        for (previous, status) in
            [(None, "insufficient"), (Some("insufficient"), "ineligible"), (Some("review"), "eligible")]
        {
            assert_eq!(change(previous, status), None, "{previous:?} {status}");
        }
        let erased = Said::Lost { subject: "sub_1".to_owned(), resource: None };
        assert_eq!(said(&entry("subject.erased", "sub_1", &json!({}))), Some(erased));
        let dead = said(&entry("tokens.revoked", "sub_1", &json!({ "tokens": ["jti_1", "jti_2"] })));
        assert_eq!(dead, Some(Said::Revoked(vec!["jti_1".to_owned(), "jti_2".to_owned()])));
        // An entry that only mentions such an action says nothing.
        assert_eq!(said(&entry("retention.pruned", "subject.erased", &json!({}))), None);
    }
}
