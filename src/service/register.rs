//! The register of gateways: what each promises, when it was last heard of, and which orders it knows.
//!
//! A gateway that asks is bound by an order at once, because we answer: its asking is its acknowledgement. One that judges by
//! itself is bound when it has the order: a status list names the orders it knows, and the gateway tells which list it
//! judges by. Contacts are kept in memory and written behind, not at every question.

use super::admin::check_settings;
use super::world::{Gateway, Mode, Orders, World};
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Change, StoredContact, Write};
use serde_json::json;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourcePattern;
use vouchsafe_core::timeline::Entry;

/// How old a written contact may get while the gateway goes on asking, milliseconds.
const COARSE_MS: i64 = 30_000;

/// Orders and an instant: those that stood in a picture, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The orders.
    pub orders: Orders,
    /// The instant; those that act later are not obeyed in it.
    pub at: Second,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.orders.last, self.orders.count, self.at.epoch())
    }
}

impl Position {
    /// The one of a snapshot at an instant.
    pub(crate) fn of(world: &World, at: Second) -> Self {
        Self { orders: world.orders(), at }
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse::<i64>().ok().filter(|number| *number >= 0));
        let (last, count, at) = (parts.next()??, parts.next()??, parts.next()??);
        let in_range = at < 253_402_300_800;
        (parts.next().is_none() && in_range)
            .then(|| Self { orders: Orders { last, count }, at: Second::from_epoch(at) })
    }

    /// Whether an order is among those that stood and acted in it.
    #[must_use]
    pub fn holds(&self, timeline: &[Entry], order: &Entry) -> bool {
        let known = timeline.iter().filter(|entry| entry.seq <= self.orders.last).count();
        order.seq <= self.orders.last
            // SECURITY: of two orders given at once the later may be seen first; then the number is short.
            && i64::try_from(known).is_ok_and(|known| known == self.orders.count)
            && order.from <= self.at
    }
}

/// One gateway's contacts since this process began.
#[derive(Default)]
struct Contact {
    last_ms: AtomicI64,
    asked_ms: AtomicI64,
    asked_last: AtomicI64,
    asked_count: AtomicI64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    seen: Option<Position>,
    agent: String,
    /// As it was last written.
    written: StoredContact,
}

/// Contacts of all gateways.
#[derive(Default)]
pub(crate) struct Contacts(RwLock<HashMap<String, Arc<Contact>>>);

impl Contacts {
    fn of(&self, gateway: &str) -> Arc<Contact> {
        if let Some(contact) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(gateway) {
            return Arc::clone(contact);
        }
        Arc::clone(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(gateway.to_owned()).or_default())
    }

    fn all(&self) -> Vec<StoredContact> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(gateway, contact)| contact.row(gateway)).collect()
    }
}

impl Contact {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read between two questions it may mix them; it then says too little, until the next one.
    fn row(&self, gateway: &str) -> StoredContact {
        let told = self.told();
        StoredContact {
            gateway: gateway.to_owned(),
            last_ms: self.last_ms.load(Ordering::Relaxed),
            asked_ms: self.asked_ms.load(Ordering::Acquire),
            asked_last: self.asked_last.load(Ordering::Relaxed),
            asked_count: self.asked_count.load(Ordering::Relaxed),
            seen_last: told.seen.map_or(0, |seen| seen.orders.last),
            seen_count: told.seen.map_or(0, |seen| seen.orders.count),
            seen_ms: told.seen.map_or(0, |seen| seen.at.millis()),
            agent: told.agent.clone(),
        }
    }
}

/// What is to be changed of a gateway; what is absent stays, and `Some(None)` takes away what it had.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// For people.
    pub name: Option<String>,
    /// Resources it guards.
    pub resources: Option<Vec<ResourcePattern>>,
    /// Whether it may assert callers.
    pub asserts: Option<bool>,
    /// 403 or 451.
    pub deny_status: Option<u16>,
    /// The origin by which callers know it.
    pub origin: Option<Option<String>>,
    /// A page for callers who were refused.
    pub help_url: Option<Option<String>>,
    /// Who judges.
    pub mode: Option<Mode>,
    /// How old the picture may be that it acts on, seconds.
    pub bound_secs: Option<Option<i64>>,
}

impl App {
    /// The orders known here, now.
    pub(crate) fn position(&self) -> Position {
        Position::of(&self.world.load(), self.clock.now())
    }

    /// A gateway asks, and is answered by the orders known here.
    pub(crate) fn asked_by(&self, gateway: &Gateway) {
        let (orders, now_ms) = (self.world.load().orders(), self.clock.now_ms());
        let contact = self.contacts.of(&gateway.id);
        contact.asked_last.store(orders.last, Ordering::Relaxed);
        contact.asked_count.store(orders.count, Ordering::Relaxed);
        contact.asked_ms.fetch_max(now_ms, Ordering::Release);
        contact.last_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// A gateway is heard of, and may tell by which orders it judges and what it is.
    pub(crate) fn heard_of(&self, gateway: &Gateway, seen: Option<Position>, agent: Option<String>) {
        let now = self.clock.now();
        let contact = self.contacts.of(&gateway.id);
        contact.last_ms.fetch_max(self.clock.now_ms(), Ordering::Relaxed);
        let mut told = contact.told();
        // What lies ahead it cannot have seen.
        let newer = |seen: &Position| told.seen.is_none_or(|before| seen.at >= before.at);
        if let Some(seen) = seen.filter(|seen| seen.at <= now.plus(60) && newer(seen)) {
            told.seen = Some(Position { at: seen.at.min(now), ..seen });
        }
        if let Some(agent) = agent {
            told.agent = agent.chars().filter(|c| !c.is_control()).collect();
        }
    }

    /// Writes down which gateways were heard of, coarsely.
    pub(crate) async fn write_contacts(&self) -> ServiceResult<()> {
        let due: Vec<StoredContact> = self
            .contacts
            .all()
            .into_iter()
            .filter(|row| {
                let contact = self.contacts.of(&row.gateway);
                let told = contact.told();
                let before = &told.written;
                let apart_from_time = StoredContact { last_ms: row.last_ms, asked_ms: row.asked_ms, ..before.clone() };
                *row != apart_from_time || row.last_ms - before.last_ms >= COARSE_MS
            })
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let writes = due.iter().cloned().map(Write::Contact).collect();
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        self.commit_change(change).await?.map_err(|_| ServiceError::Conflict("gateway_contacts"))?;
        for row in due {
            let contact = self.contacts.of(&row.gateway);
            contact.told().written = row;
        }
        Ok(())
    }

    /// Contacts by gateway: what is written, and what this process knows beyond.
    pub(crate) async fn contacts_now(&self) -> ServiceResult<HashMap<String, StoredContact>> {
        let stored = self.store.contacts().await?;
        let mut found: HashMap<_, _> = stored.into_iter().map(|row| (row.gateway.clone(), row)).collect();
        for own in self.contacts.all() {
            let row = found.entry(own.gateway.clone()).or_default();
            row.last_ms = row.last_ms.max(own.last_ms);
            if own.asked_ms > row.asked_ms {
                (row.asked_ms, row.asked_last, row.asked_count) = (own.asked_ms, own.asked_last, own.asked_count);
            }
            if own.seen_ms > row.seen_ms {
                (row.seen_ms, row.seen_last, row.seen_count) = (own.seen_ms, own.seen_last, own.seen_count);
            }
            if !own.agent.is_empty() {
                row.agent = own.agent;
            }
        }
        Ok(found)
    }

    /// Changes what is registered of a gateway; its key stays.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`; `Conflict` when somebody else changed it meanwhile.
    pub async fn change_gateway(&self, actor: &Actor, id: &str, settings: Settings) -> ServiceResult<()> {
        let (mut gateway, version) = self.load_gateway(id).await?;
        let Settings { name, resources, asserts, deny_status, origin, help_url, mode, bound_secs } = settings;
        gateway.name = name.unwrap_or(gateway.name);
        gateway.resources = resources.unwrap_or(gateway.resources);
        gateway.asserts = asserts.unwrap_or(gateway.asserts);
        gateway.deny_status = deny_status.unwrap_or(gateway.deny_status);
        gateway.origin = origin.unwrap_or(gateway.origin);
        gateway.help_url = help_url.unwrap_or(gateway.help_url);
        gateway.mode = mode.unwrap_or(gateway.mode);
        gateway.bound_secs = bound_secs.unwrap_or(gateway.bound_secs);
        check_settings(&gateway)?;
        let detail = json!({ "resources": gateway.resources, "mode": gateway.mode, "bound_secs": gateway.bound_secs(),
            "asserts": gateway.asserts });
        self.write_record(actor, "gateway", id, &gateway, None, version, "changed", detail).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_core::timeline::Action;

    fn order(seq: i64, from: i64) -> Entry {
        let pattern = ResourcePattern::parse("restricted.*").unwrap();
        Entry { seq, directive: "d".to_owned(), from: Second::from_epoch(from), action: Action::Freeze(pattern) }
    }

    fn position(text: &str) -> Position {
        Position::parse(text).unwrap()
    }

    #[test]
    fn a_position_holds_what_stood_and_acted_in_it() {
        // The place 3 was given to a commit that came to nothing.
        let timeline = [order(1, 10), order(2, 20), order(4, 90)];
        let held = |text: &str| timeline.iter().map(|order| position(text).holds(&timeline, order)).collect::<Vec<_>>();
        assert_eq!(held("4.3.100"), [true, true, true]);
        assert_eq!(held("4.3.89"), [true, true, false], "not yet acting");
        assert_eq!(held("2.2.100"), [true, true, false]);
        assert_eq!(held("4.2.100"), [false, false, false], "one of them was not seen");
        assert_eq!(held("0.0.100"), [false, false, false]);
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        assert_eq!(position("4.3.100").to_string(), "4.3.100");
        for bad in ["", "4.3", "4.3.", "4.3.1.0", "-1.3.4", "a.b.c", "4.3.253402300800", "4. 3.1"] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }
}
