//! What a gateway that judges by itself counted, taken into the ledger.
//!
//! Its tokens name a subject by a pairwise id and the decision by its own, so both can be placed here: a line counts only
//! under a recorded decision about just that subject, organisation and resource. Every line is answered; none is dropped
//! silently.

use super::{HOUR_MS, hour_of, row_id};
use crate::service::end_users::Served;
use crate::service::register::Position;
use crate::service::world::Gateway;
use crate::service::{App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Conflict, StoredAdmission, StoredDecision, Write};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use vouchsafe_core::ids::{ResourceId, SubjectId};

/// Most lines of one upload.
pub const MAX_LINES: usize = 500;
/// How old an admission may be when it is reported, milliseconds.
const OLDEST_MS: i64 = 7 * 86_400_000;
/// How far the gateway's clock may be ahead of ours, milliseconds.
const AHEAD_MS: i64 = 60_000;
/// How long an upload's id is remembered, milliseconds. INVARIANT: longer than [`OLDEST_MS`] and [`AHEAD_MS`] together, so
/// that an upload whose id was forgotten has no line left that would still be taken.
const REMEMBERED_MS: i64 = 8 * 86_400_000;
/// Most admissions of one line: an hour has 3,600 seconds.
const MOST: i64 = 1_000_000_000;

/// One upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The gateway's own id of it; sent again under the same id it counts once.
    pub id: String,
    /// What was counted.
    pub lines: Vec<Line>,
    /// Which orders stand in what the gateway judges by; see [`Position`].
    pub seen: Option<Position>,
    /// What it calls itself.
    pub agent: Option<String>,
}

/// One line, as the reporter of an offline gate has it; instants are epoch seconds.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The subject as the gateway's audience knows it.
    pub subject: String,
    /// The organisation acted for, likewise.
    pub acting_for: Option<String>,
    /// To what.
    pub resource: String,
    /// `dec_…`
    pub decision: String,
    /// The end user for whom the subject acted, where a token named one.
    pub end_user: Option<LineEndUser>,
    /// The hour's first second.
    pub hour: i64,
    /// How often.
    pub count: i64,
    /// The first time.
    pub first_at: i64,
    /// The last time.
    pub last_at: i64,
}

/// The end user of a line, as a token names them.
#[derive(Debug, Clone, Deserialize)]
pub struct LineEndUser {
    /// As the gateway's audience knows them.
    pub subject: String,
    /// The organisation through which they came, likewise.
    pub customer: String,
    /// The decision about them, as the token names it.
    pub decision: String,
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Its id.
    pub upload: String,
    /// Whether it counted now or had counted before.
    pub result: Reported,
    /// Lines that count.
    pub counted: usize,
    /// The orders that are known here.
    pub orders: String,
    /// One entry a line, in order.
    pub items: Vec<Outcome>,
}

/// Whether an upload was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// It counted now.
    Counted,
    /// It had counted before.
    Repeated,
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It counts.
    Counted,
    /// It does not, and will not.
    Refused {
        /// Stable code; see `docs/admissions.md`.
        code: &'static str,
        /// What to do.
        detail: &'static str,
    },
}

type Refusal = (&'static str, &'static str);

const UNKNOWN_SUBJECT: Refusal = ("subject_unknown", "give the subjects as the token names them");

impl App {
    /// Takes what a gateway counted. All lines that can be placed are committed together, once for each upload id.
    ///
    /// # Errors
    /// `Invalid` for an id or a number of lines that cannot be used.
    pub async fn take_admissions(&self, gateway: &Gateway, upload: Upload) -> ServiceResult<Uploaded> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=64).contains(&upload.id.len()) || !upload.id.bytes().all(fits) {
            return Err(invalid("/upload", "use 1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        if !gateway.mode.judges() && !upload.lines.is_empty() {
            let problem = "the gateway is registered as one that asks: what it lets in is counted here";
            return Err(invalid("/admissions", problem));
        }
        if upload.lines.len() > MAX_LINES {
            return Err(invalid("/admissions", format!("send at most {MAX_LINES} lines")));
        }
        let mut decisions = HashMap::new();
        for line in &upload.lines {
            if !decisions.contains_key(&line.decision) {
                decisions.insert(line.decision.clone(), self.store.decision(&line.decision).await?);
            }
            if let Some((_, decision)) = self.served_on(gateway, line)
                && !decisions.contains_key(&decision)
            {
                let found = self.store.decision(&decision).await?;
                decisions.insert(decision, found);
            }
        }
        let mut rows: HashMap<String, StoredAdmission> = HashMap::new();
        let mut items = Vec::with_capacity(upload.lines.len());
        for line in &upload.lines {
            let decision = |id: &str| decisions.get(id).and_then(Option::as_ref);
            let placed = self.place(gateway, line, decision(&line.decision)).and_then(|row| {
                let Some(_) = &line.end_user else { return Ok((row, None)) };
                let served = self.served_on(gateway, line).ok_or(UNKNOWN_SUBJECT)?;
                let theirs = Self::place_end_user(&row, &served, decision(&served.1))?;
                Ok((row, Some(theirs)))
            });
            items.push(match placed {
                Ok((row, theirs)) => {
                    add(&mut rows, row);
                    theirs.into_iter().for_each(|row| add(&mut rows, row));
                    Outcome::Counted
                }
                Err((code, detail)) => Outcome::Refused { code, detail },
            });
        }
        let counted = items.iter().filter(|item| **item == Outcome::Counted).count();
        let result = self.commit_upload(&gateway.id, &upload.id, rows.into_values().collect()).await?;
        self.heard_of(gateway, upload.seen, upload.agent);
        let orders = self.position().to_string();
        Ok(Uploaded { upload: upload.id, result, counted, orders, items })
    }

    async fn commit_upload(&self, gateway: &str, id: &str, rows: Vec<StoredAdmission>) -> ServiceResult<Reported> {
        let expires_at_ms = self.clock.now_ms() + REMEMBERED_MS;
        let writes = vec![
            Write::Spend { issuer: format!("admissions/{gateway}"), jti: id.to_owned(), expires_at_ms },
            Write::Admissions(rows),
        ];
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        match self.commit_change(change).await? {
            Ok(()) => Ok(Reported::Counted),
            Err(Conflict::Spent) => Ok(Reported::Repeated),
            Err(_) => Err(ServiceError::Conflict("admissions")),
        }
    }

    /// The row that a line adds to.
    fn place(
        &self,
        gateway: &Gateway,
        line: &Line,
        decision: Option<&StoredDecision>,
    ) -> Result<StoredAdmission, Refusal> {
        let (hour_ms, first_ms, last_ms) = times(line, self.clock.now_ms())?;
        if !(1..=MOST).contains(&line.count) {
            return Err(("count_invalid", "give `count` from 1 to 1000000000"));
        }
        let resource = ResourceId::parse(&line.resource).ok();
        // SECURITY: a gateway speaks of what it guards, and of nothing else.
        if !resource.is_some_and(|resource| gateway.resources.iter().any(|pattern| pattern.covers(&resource))) {
            return Err(("resource_not_guarded", "this gateway does not guard `resource`"));
        }
        let party = |name: &str| self.party_of(gateway, name);
        let subject = party(&line.subject).ok_or(UNKNOWN_SUBJECT)?;
        let acting_for = match &line.acting_for {
            Some(name) => party(name).ok_or(UNKNOWN_SUBJECT)?.to_string(),
            None => String::new(),
        };
        let decision = decision.ok_or(("decision_unknown", "give `decision` as the token names it"))?;
        let is_about = decision.subject == subject.as_str()
            && decision.acting_for.as_deref().unwrap_or_default() == acting_for
            && decision.resource == line.resource;
        if !is_about {
            return Err(("decision_of_another", "the decision is about another subject, organisation or resource"));
        }
        if decision.status != "eligible" {
            return Err(("decision_not_eligible", "nobody may be let in under this decision"));
        }
        let about = [subject.as_str(), &acting_for, &line.resource, &line.decision, &gateway.id, ""];
        Ok(StoredAdmission {
            id: row_id(hour_ms, about),
            subject: subject.to_string(),
            acting_for,
            resource: line.resource.clone(),
            decision: line.decision.clone(),
            gateway: gateway.id.clone(),
            through: String::new(),
            hour_ms,
            count: line.count,
            first_ms,
            last_ms,
        })
    }

    /// The end user of a line, and the id of the decision about them; `None` where there is none or either cannot be read.
    fn served_on(&self, gateway: &Gateway, line: &Line) -> Option<(Served, String)> {
        let told = line.end_user.as_ref()?;
        let customer = self.party_of(gateway, &told.customer)?;
        let end_user = SubjectId::parse(&self.open_for(&told.subject, &gateway.audience, &customer)?).ok()?;
        let decision = self.open_for(&told.decision, &gateway.audience, &customer)?;
        Some((Served { end_user, customer }, decision))
    }

    /// The row of the end user, beside that of the one who acted.
    fn place_end_user(
        row: &StoredAdmission,
        (served, id): &(Served, String),
        decision: Option<&StoredDecision>,
    ) -> Result<StoredAdmission, Refusal> {
        let decision = decision.ok_or(("decision_unknown", "give the decisions as the token names them"))?;
        let is_about = decision.subject == served.end_user.as_str()
            && decision.acting_for.is_none()
            && decision.resource == row.resource;
        if !is_about {
            return Err(("decision_of_another", "the decision is about another subject, organisation or resource"));
        }
        // By a vouch they may be let in of whom not enough is known.
        if !matches!(decision.status.as_str(), "eligible" | "insufficient") {
            return Err(("decision_not_eligible", "nobody may be let in under this decision"));
        }
        let through = served.customer.as_str();
        let about = [served.end_user.as_str(), "", &row.resource, id, &row.gateway, through];
        Ok(StoredAdmission {
            id: row_id(row.hour_ms, about),
            subject: served.end_user.to_string(),
            acting_for: String::new(),
            decision: id.clone(),
            through: through.to_owned(),
            ..row.clone()
        })
    }

    /// Who is behind a name, as the gateway's audience knows it.
    fn party_of(&self, gateway: &Gateway, name: &str) -> Option<SubjectId> {
        let pairwise = self.world.load().audiences.get(&gateway.audience)?.pairwise;
        self.party_named(name, &gateway.audience, pairwise)
    }
}

/// Hour, first and last time of a line, epoch milliseconds.
fn times(line: &Line, now_ms: i64) -> Result<(i64, i64, i64), Refusal> {
    let invalid = ("times_invalid", "`hour` begins an hour, `first_at` and `last_at` lie in it in this order");
    let ms = |seconds: i64| seconds.checked_mul(1000).filter(|ms| *ms >= 0).ok_or(invalid);
    let (hour_ms, first_ms, last_ms) = (ms(line.hour)?, ms(line.first_at)?, ms(line.last_at)?);
    let lie_in_it = hour_of(hour_ms) == hour_ms && hour_ms <= first_ms && last_ms - hour_ms < HOUR_MS;
    if !lie_in_it || first_ms > last_ms {
        return Err(invalid);
    }
    if last_ms < now_ms - OLDEST_MS {
        return Err(("too_old", "admissions are taken for seven days"));
    }
    if last_ms > now_ms + AHEAD_MS {
        return Err(("ahead", "`last_at` lies ahead: set the gateway's clock"));
    }
    Ok((hour_ms, first_ms, last_ms))
}

/// No row twice in one statement.
fn add(rows: &mut HashMap<String, StoredAdmission>, row: StoredAdmission) {
    match rows.get_mut(&row.id) {
        Some(found) => {
            found.count += row.count;
            found.first_ms = found.first_ms.min(row.first_ms);
            found.last_ms = found.last_ms.max(row.last_ms);
        }
        None => {
            rows.insert(row.id.clone(), row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_219_200;

    fn code(hour: i64, first_at: i64, last_at: i64) -> &'static str {
        let line = Line {
            subject: String::new(),
            acting_for: None,
            resource: String::new(),
            decision: String::new(),
            end_user: None,
            hour,
            count: 1,
            first_at,
            last_at,
        };
        times(&line, NOW * 1000).map_or_else(|(code, _)| code, |_| "good")
    }

    #[test]
    fn the_times_of_a_line_lie_in_its_hour_and_not_ahead() {
        let before = NOW - 3600;
        assert_eq!(code(before, before, NOW - 1), "good");
        assert_eq!(code(before, NOW - 1, NOW - 1), "good");
        for (hour, first, last) in [
            (before, before, NOW),
            (before, before - 1, before),
            (before, before + 2, before + 1),
            (before + 1, before + 1, before + 2),
            (-3600, -3600, -1),
            (i64::MAX, i64::MAX, i64::MAX),
        ] {
            assert_eq!(code(hour, first, last), "times_invalid", "{hour} {first} {last}");
        }
        assert_eq!((code(NOW, NOW, NOW + 60), code(NOW, NOW, NOW + 61)), ("good", "ahead"));
        let week = NOW - 7 * 86_400;
        assert_eq!((code(week, week, week), code(week - 3600, week - 3600, week - 1)), ("good", "too_old"));
    }
}
