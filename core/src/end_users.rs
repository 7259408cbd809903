//! End users: for whom a caller uses a resource, and when both together are let in.
//!
//! A caller that serves others is an organisation or its workload; that organisation is the *customer*, and the one it
//! serves is the *end user*. A policy that asks for end users lets a caller in only together with one. What is said here is
//! all that is asked beside the caller's own decision, and it is pure: the gateway, tokens, reassessment and reports all
//! ask it.

use crate::Decision;
use crate::facts::{Attestation, Kind, Outcome, SourceKind, Statement, SubjectFacts, SubjectKind};
use crate::fusion::Status;
use crate::ids::SubjectId;
use crate::parties::owner;
use crate::policy::EndUser;
use crate::second::{DAY, Second};

/// The frame in which an organisation vouches for its end users. No pack has it: it proves nothing about anybody.
pub const FRAME: &str = "end_user";
/// The one state of [`FRAME`]: the subject is an end user of the organisation that says so.
pub const OWN: &str = "own";
/// How long a vouch for an end user counts after it was given, in seconds, unless it ends sooner: as long as a vouch about
/// membership does.
pub const VOUCH_LASTS: i64 = 365 * DAY;

/// Why nobody is let in although the caller might be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Nobody was named.
    Missing,
    /// Nobody of the customer's is known by that name.
    Unknown,
    /// The customer does not vouch for them.
    NotVouched,
    /// They are not eligible, or something is held against them.
    NotEligible,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Unknown, Self::NotVouched, Self::NotEligible];

    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "end_user.missing",
            Self::Unknown => "end_user.unknown",
            Self::NotVouched => "end_user.not_vouched",
            Self::NotEligible => "end_user.not_eligible",
        }
    }
}

/// What is known of an end user who was named and found.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Our own decision about them, acting for nobody, at this resource.
    pub decision: &'a Decision,
    /// Until when the customer's vouch for them counts; see [`vouched_until`].
    pub vouched_until: Option<Second>,
}

/// The organisation whose end users a caller may name: the owner of a workload, and an organisation itself. People name
/// nobody.
#[must_use]
pub fn customer(caller: &SubjectFacts) -> Option<SubjectId> {
    match caller.kind {
        SubjectKind::Organisation => Some(caller.subject.clone()),
        SubjectKind::Workload => owner(&caller.attestations),
        SubjectKind::Person => None,
    }
}

/// The first second at which no vouch of the customer for this subject counts any more; `None` where none counts at `at`.
/// `is_customers` tells the sources as which the customer speaks.
///
/// A vouch counts that was made by a verified organisation, says [`OWN`] in [`FRAME`], was never taken back, replaced,
/// settled or suspended, and has not ended.
#[must_use]
pub fn vouched_until(facts: &SubjectFacts, is_customers: impl Fn(&str) -> bool, at: Second) -> Option<Second> {
    let counts = |attestation: &&Attestation| {
        let said = &attestation.facts;
        let own = match &said.statement {
            Some(Statement::States { frame, states }) => frame == FRAME && states.len() == 1 && states.contains(OWN),
            _ => false,
        };
        own && said.kind == Kind::Vouch
            && said.source_kind == SourceKind::Employer
            && said.outcome == Outcome::Approved
            && attestation.marks.is_empty()
            && attestation.recorded_at <= at
            && is_customers(attestation.source.as_str())
    };
    let end = |attestation: &Attestation| {
        let lasts = attestation.facts.checked_at.min(attestation.recorded_at).plus(VOUCH_LASTS);
        attestation.facts.ends_at.map_or(lasts, |ends_at| ends_at.min(lasts))
    };
    facts.attestations.iter().filter(counts).map(end).filter(|end| at < *end).max()
}

/// Reasons that hold nothing against anybody, after the frame.
const HARMLESS: [&str; 6] = ["supported", "missing", "insufficient", "gate_unmet", "unknown_allowed", "overtaken"];
/// The same, as whole codes.
const TOLD_ONLY: [&str; 3] = ["exemption.applied", "subject.duplicate", "person.name_differs"];

/// Whether nothing is held against the subject of a decision: it is eligible, or only not enough is known.
#[must_use]
pub fn nothing_against(decision: &Decision) -> bool {
    let harmless = |reason: &String| {
        let last = reason.rsplit_once('.').map_or("", |(_, last)| last);
        HARMLESS.contains(&last) || TOLD_ONLY.contains(&reason.as_str())
    };
    match decision.status {
        Status::Eligible => true,
        // SECURITY: what is not known to be harmless is not.
        Status::Insufficient => !decision.reasons.is_empty() && decision.reasons.iter().all(harmless),
        Status::Ineligible | Status::Review => false,
    }
}

/// Whether an end user is as a policy asks, at `at`: until when, as far as it ends by itself.
///
/// # Errors
/// [`Refusal`], the first in its order.
pub fn admits(mode: EndUser, named: Option<Named<'_>>, at: Second) -> Result<Option<Second>, Refusal> {
    let Named { decision, vouched_until } = match (mode, named) {
        (EndUser::Ignored, _) => return Ok(None),
        (_, None) => return Err(Refusal::Missing),
        (_, Some(named)) => named,
    };
    let eligible_until = decision.expires_at.filter(|end| decision.status == Status::Eligible && at < *end);
    if mode == EndUser::Required {
        return eligible_until.map(Some).ok_or(Refusal::NotEligible);
    }
    let vouched_until = vouched_until.filter(|end| at < *end).ok_or(Refusal::NotVouched)?;
    if !nothing_against(decision) {
        return Err(Refusal::NotEligible);
    }
    Ok(decision.valid_until().filter(|change| at < *change).into_iter().chain([vouched_until]).min())
}
