//! What an officer asks after an order: who knows of it, and who was let in that should not have been.

use super::admissions::{AdmissionView, Asked};
use super::end_users::Served;
use super::register::Position;
use super::world::{Gateway, Mode, Orders, World};
use super::{App, ServiceError, ServiceResult};
use crate::storage::{StoredAdmission, StoredContact};
use serde::Serialize;
use std::collections::HashMap;
use vouchsafe_core::ids::{ResourceId, ResourcePattern, SubjectId};
use vouchsafe_core::timeline::{Action, Entry, state_at};
use vouchsafe_core::{Decision, Second, Status};

/// After how many seconds without a question a gateway that asks is silent.
const QUIET_SECS: i64 = 3600;
/// How many seconds beyond its bound a gateway that judges by itself may leave us without a word.
const LATE_SECS: i64 = 300;

/// Who knows of which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewaysReport {
    /// The instant of the report.
    pub at: Second,
    /// The orders known then.
    pub orders: String,
    /// Every gateway.
    pub gateways: Vec<GatewayLine>,
    /// Every freeze in force, with the gateways before what it names.
    pub freezes: Vec<FreezeLine>,
    /// Resources and families that a policy in force governs or a freeze names and that no gateway guards as a whole.
    pub unguarded: Vec<Unguarded>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayLine {
    /// `gw_…`
    pub id: String,
    /// For people.
    pub name: String,
    /// What it guards.
    pub resources: Vec<ResourcePattern>,
    /// Who judges.
    pub mode: Mode,
    /// How old the picture may be that it acts on, seconds.
    pub bound_secs: i64,
    /// What it calls itself.
    pub agent: Option<String>,
    /// When it was last heard of, to half a minute; absent for never.
    pub last_contact: Option<Second>,
    /// Whether it should have been heard of since.
    pub silent: bool,
}

/// One freeze in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FreezeLine {
    /// The directive.
    pub directive: String,
    /// What is frozen.
    pub resource: ResourcePattern,
    /// Since when.
    pub since: Second,
    /// The gateways before it.
    pub gateways: Vec<Knows>,
}

/// Whether a gateway knows of a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Knows {
    /// `gw_…`
    pub gateway: String,
    /// See [`Knowledge`].
    pub state: Knowledge,
    /// When the picture was made in which it knows of it.
    pub known_at: Option<Second>,
    /// Until when it promised to know.
    pub due_at: Second,
}

/// Whether an order reached a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// It asked and was answered by it, or judges by a list that holds it.
    Acknowledged,
    /// It asks before it lets anybody in, and has not asked since: bound all the same.
    Bound,
    /// It judges by itself and its time has not passed.
    Pending,
    /// It judges by itself, has not told that it knows, and its time has passed.
    Overdue,
}

/// A resource or family without a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unguarded {
    /// The resource or family.
    pub resource: ResourcePattern,
    /// Gateways that guard something of it.
    pub in_part_by: Vec<String>,
}

/// A page of admissions that would not be given again.
#[derive(Debug, Clone, Serialize)]
pub struct Exposure {
    /// Those.
    pub items: Vec<Exposed>,
    /// Rows of the ledger that this page looked at.
    pub looked_at: usize,
    /// Where the next page begins; absent at the end.
    pub next_cursor: Option<String>,
}

/// Admissions that today's evidence would not have allowed.
#[derive(Debug, Clone, Serialize)]
pub struct Exposed {
    /// As counted; `count` is the most that it can be.
    #[serde(flatten)]
    pub admission: AdmissionView,
    /// What would be decided at that time by what is known now.
    pub now: Hindsight,
}

/// What would have been decided.
#[derive(Debug, Clone, Serialize)]
pub struct Hindsight {
    /// The instant of the question: the last admission of the row, or its first where only that would not have been given.
    pub at: Second,
    /// The decision; it is not recorded.
    pub decision: String,
    /// Its status.
    pub status: Status,
    /// Its reasons.
    pub reasons: Vec<String>,
}

/// Freezes in force.
pub(crate) fn freezes(world: &World, now: Second) -> Vec<(&Entry, &ResourcePattern)> {
    let stands = |entry: &Entry, pattern: &ResourcePattern| {
        let sample = pattern.sample();
        sample.is_some_and(|sample| {
            let state = state_at(&world.timeline, &world.library.policies, &sample, now);
            entry.from <= now && state.frozen_by.contains(&entry.directive)
        })
    };
    let named = world.timeline.iter().filter_map(|entry| match &entry.action {
        Action::Freeze(pattern) => Some((entry, pattern)),
        _ => None,
    });
    named.filter(|(entry, pattern)| stands(entry, pattern)).collect()
}

fn knows(world: &World, gateway: &Gateway, contact: &StoredContact, order: &Entry, now: Second) -> Knows {
    let (last, count, at_ms) = if gateway.mode.judges() {
        (contact.seen_last, contact.seen_count, contact.seen_ms)
    } else {
        (contact.asked_last, contact.asked_count, contact.asked_ms)
    };
    let position = Position { orders: Orders { last, count }, at: Second::from_millis(at_ms) };
    let due_at = order.from.plus(gateway.bound_secs());
    let held = position.holds(&world.timeline, order);
    let state = match (held, gateway.mode.judges()) {
        (true, _) => Knowledge::Acknowledged,
        (false, false) => Knowledge::Bound,
        (false, true) if now < due_at => Knowledge::Pending,
        (false, true) => Knowledge::Overdue,
    };
    Knows { gateway: gateway.id.clone(), state, known_at: held.then_some(position.at), due_at }
}

impl App {
    /// Who acknowledged which freeze, whose time has passed, who is silent, and what nobody guards.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn report_gateways(&self) -> ServiceResult<GatewaysReport> {
        let contacts = self.contacts_now().await?;
        let (world, now) = (self.world.load_full(), self.clock.now());
        let nothing = StoredContact::default();
        let contact = |id: &str| contacts.get(id).unwrap_or(&nothing);
        let mut gateways: Vec<&Gateway> = world.gateways.values().map(AsRef::as_ref).collect();
        gateways.sort_by(|a, b| a.id.cmp(&b.id));
        let freezes = freezes(&world, now).into_iter().map(|(order, pattern)| FreezeLine {
            directive: order.directive.clone(),
            resource: pattern.clone(),
            since: order.from,
            gateways: gateways
                .iter()
                .filter(|gateway| gateway.touches(pattern))
                .map(|gateway| knows(&world, gateway, contact(&gateway.id), order, now))
                .collect(),
        });
        let freezes = freezes.collect();
        let whole = |gateway: &Gateway, sample: &ResourceId| gateway.resources.iter().any(|own| own.covers(sample));
        // One that was switched off may go on by what it holds, but guards nothing that anybody may rely on.
        let on = || gateways.iter().filter(|gateway| !gateway.disabled);
        let mut unguarded = Vec::new();
        for resource in world.patterns() {
            let Some(sample) = resource.sample() else { continue };
            let rules = world.rules(&sample, now)?;
            let is_restricted = rules.body.policy.is_some() || !rules.body.frozen_by.is_empty();
            if is_restricted && !on().any(|gateway| whole(gateway, &sample)) {
                let partly = on().filter(|gateway| gateway.touches(&resource));
                let in_part_by = partly.map(|gateway| gateway.id.clone()).collect();
                unguarded.push(Unguarded { resource, in_part_by });
            }
        }
        let line = |gateway: &&Gateway| {
            let heard = contact(&gateway.id);
            let last_contact = (heard.last_ms > 0).then(|| Second::from_millis(heard.last_ms));
            let patience =
                if gateway.mode.judges() { gateway.bound_secs().saturating_add(LATE_SECS) } else { QUIET_SECS };
            GatewayLine {
                id: gateway.id.clone(),
                name: gateway.name.clone(),
                resources: gateway.resources.clone(),
                mode: gateway.mode,
                bound_secs: gateway.bound_secs(),
                agent: Some(heard.agent.clone()).filter(|agent| !agent.is_empty()),
                last_contact,
                silent: last_contact.is_none_or(|last| now.since(last) > patience),
            }
        };
        let gateways = gateways.iter().map(line).collect();
        Ok(GatewaysReport { at: now, orders: Position::of(&world, now).to_string(), gateways, freezes, unguarded })
    }

    /// A page of admissions which today's evidence would not have allowed: each row of the ledger is decided again at the time
    /// of its last and its first admission, by what is known now. At most `limit` rows are looked at.
    ///
    /// # Errors
    /// As [`App::admissions`]; `Unavailable` while the picture is old.
    pub async fn report_exposure(&self, asked: &Asked, after: &str, limit: i64) -> ServiceResult<Exposure> {
        self.check_feed_age()?;
        let rows = self.admission_rows(asked, after, limit).await?;
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
        let next_cursor = rows.last().filter(|_| full).map(|row| row.id.clone());
        let looked_at = rows.len();
        let mut items = Vec::new();
        // Neighbours often ask the same question.
        let mut answers: HashMap<(String, Second), Decision> = HashMap::new();
        for row in rows {
            if let Some(now) = self.would_be_refused(asked, &row, &mut answers).await? {
                items.push(Exposed { admission: row.into(), now });
            }
        }
        Ok(Exposure { items, looked_at, next_cursor })
    }

    async fn would_be_refused(
        &self,
        asked: &Asked,
        row: &StoredAdmission,
        answers: &mut HashMap<(String, Second), Decision>,
    ) -> ServiceResult<Option<Hindsight>> {
        let unreadable = || ServiceError::Unreadable(format!("admission {}", row.id));
        let subject = SubjectId::parse(&row.subject).map_err(|_| unreadable())?;
        let resource = ResourceId::parse(&row.resource).map_err(|_| unreadable())?;
        let acting_for = match row.acting_for.as_str() {
            "" => None,
            id => Some(SubjectId::parse(id).map_err(|_| unreadable())?),
        };
        let within = |at: &Second| asked.from.is_none_or(|from| from <= *at) && asked.to.is_none_or(|to| *at < to);
        for at in [row.last_ms, row.first_ms].map(Second::from_millis).into_iter().filter(within) {
            // The same decision then is the same question.
            let key = (row.decision.clone(), at);
            if !answers.contains_key(&key) {
                let decision = match self.known_better(&subject, acting_for.as_ref(), &resource, at).await {
                    Ok(decision) => decision,
                    // Purged between the reading of the row and this.
                    Err(ServiceError::NotFound(_)) => return Ok(None),
                    Err(error) => return Err(error),
                };
                answers.insert(key.clone(), decision);
            }
            if let Some(decision) = answers.get(&key).filter(|decision| decision.status != Status::Eligible) {
                // A vouch may have been enough for an end user.
                if !row.through.is_empty() {
                    let customer = SubjectId::parse(&row.through).map_err(|_| unreadable())?;
                    let served = Served { end_user: subject.clone(), customer };
                    if self.rightly_served(&served, decision, at).await? {
                        continue;
                    }
                }
                return Ok(Some(Hindsight {
                    at,
                    decision: decision.id.clone(),
                    status: decision.status,
                    reasons: decision.reasons.clone(),
                }));
            }
        }
        Ok(None)
    }
}
