//! End users of organisations that call on their behalf: their handles, and whether caller and end user together are let in.
//!
//! A handle is a link in a namespace that belongs to one organisation alone. It is looked up there and nowhere else, so a
//! handle of another organisation and one of nobody are the same question with the same answer.

mod handles;

use super::gateway::Judged;
use super::parties::Seen;
use super::subjects::link_key;
use super::suspend::source_of_organisation;
use super::{App, ServiceError, ServiceResult};
use crate::storage::StoredToken;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use vouchsafe_core::end_users::{self, Named as Known, Refusal};
use vouchsafe_core::facts::{SubjectFacts, SubjectKind};
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::EndUser;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Second, Status, decide};

/// What an organisation calls the namespace of its own end users; what everybody else calls it ends with the organisation.
pub(crate) const OWN_NAMESPACE: &str = "end-user";
const PREFIX: &str = "end-user:";

/// Longest handle, in bytes.
pub const LONGEST_HANDLE: usize = 128;

/// The namespace of an organisation's handles.
fn namespace(customer: &SubjectId) -> String {
    format!("{PREFIX}{customer}")
}

/// Whether a namespace holds handles: no caller is looked for in it.
pub(crate) fn holds_handles(namespace: &str) -> bool {
    namespace == OWN_NAMESPACE || namespace.starts_with(PREFIX)
}

/// A handle is of visible ASCII, so that it goes through every header unchanged.
fn fits(handle: &str) -> bool {
    (1..=LONGEST_HANDLE).contains(&handle.len()) && handle.bytes().all(|byte| byte.is_ascii_graphic())
}

/// How a question names the end user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// Not at all.
    Nobody,
    /// By a handle of the caller's organisation.
    Handle(&'a str),
    /// In a way that cannot be read: twice, or as no text.
    Unreadable,
}

/// What becomes of criteria that look at the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// They are judged, by the address that the request came from.
    Judged(Option<IpAddr>),
    /// They are left to whoever sees the request.
    Left,
}

/// An end user, and the organisation through which they come, as a token names both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) end_user: SubjectId,
    pub(crate) customer: SubjectId,
}

/// An end user who is as the policy asks.
#[derive(Debug, Clone)]
pub(crate) struct Behind {
    pub(crate) served: Served,
    /// The decision that stands whatever the request is like.
    pub(crate) decision: Arc<Decision>,
    /// By which it was made.
    pub(crate) rules: Arc<Rules>,
    /// First second it is no longer so.
    pub(crate) until: Second,
}

/// What the row of a token says of an end user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Noted {
    /// The token is the caller's own, and says that an end user is missing.
    Missing,
    /// The subject is an end user, for whom a caller acts.
    Through {
        /// Who calls.
        caller: SubjectId,
        /// The organisation acted for by the caller.
        acting_for: Option<SubjectId>,
        /// The organisation whose end user it is.
        customer: SubjectId,
    },
}

impl Noted {
    pub(crate) fn stored(&self) -> String {
        json!(self).to_string()
    }

    /// What a row says; `None` where nobody asked for an end user.
    pub(crate) fn of(token: &StoredToken) -> ServiceResult<Option<Self>> {
        let read = token.end_user.as_deref().map(serde_json::from_str).transpose();
        read.map_err(|_| ServiceError::Unreadable(format!("token {}", token.jti)))
    }
}

impl App {
    /// The name of an end user for an audience: another one for each organisation through which they come, so that two
    /// organisations cannot find out that they serve the same person.
    pub(crate) fn end_user_name(&self, served: &Served, audience: &str) -> ServiceResult<String> {
        Ok(self.crypto.pairwise(served.end_user.as_str(), &sector(audience, &served.customer))?)
    }

    /// The same for the id of a decision about them.
    pub(crate) fn sealed_decision(&self, decision: &str, served: &Served, audience: &str) -> ServiceResult<String> {
        Ok(self.crypto.pairwise(decision, &sector(audience, &served.customer))?)
    }

    /// What was named or sealed for an organisation's end user at an audience.
    pub(crate) fn open_for(&self, text: &str, audience: &str, customer: &SubjectId) -> Option<String> {
        self.crypto.open_pairwise(text, &sector(audience, customer)).ok()
    }

    /// The organisation whose end users a subject may name.
    pub(crate) async fn customer_of(&self, caller: &SubjectId) -> ServiceResult<Option<SubjectId>> {
        let facts = self.index.facts(caller, || self.load_versioned(caller.as_str())).await?;
        Ok(facts.as_ref().and_then(end_users::customer))
    }

    /// The subject behind a handle of an organisation, from memory when it is held.
    pub(crate) async fn end_user_of(&self, customer: &SubjectId, handle: &str) -> ServiceResult<Option<SubjectId>> {
        if !fits(handle) {
            return Ok(None);
        }
        let namespace = namespace(customer);
        let digest = self.link_digest(&namespace, handle);
        let load = || async { Ok(self.store.link(&namespace, &digest).await?.map(|link| link.subject)) };
        let found = self.index.link(&link_key(&namespace, &digest), load).await?;
        Ok(found.and_then(|subject| SubjectId::parse(&subject).ok()))
    }

    /// The same, as it is stored now.
    pub(crate) async fn is_end_user_now(&self, served: &Served, handle: &str) -> ServiceResult<bool> {
        let namespace = namespace(&served.customer);
        let link = self.store.link(&namespace, &self.link_digest(&namespace, handle)).await?;
        Ok(link.is_some_and(|link| link.subject == served.end_user.as_str()))
    }

    /// Whether a source is how an organisation speaks that is this subject.
    pub(crate) fn speaks_as(&self, customer: &SubjectId, source: &str) -> bool {
        let world = self.world.load();
        let organisation = source_of_organisation(source).and_then(|id| world.organisations.get(&id));
        organisation.is_some_and(|organisation| organisation.subject.as_ref() == Some(customer))
    }

    /// Judges for whom an eligible caller asks, as the policy wants it: `Ok(None)` where nobody asks.
    ///
    /// # Errors
    /// `Unavailable` when it cannot know.
    pub(crate) async fn behind(
        &self,
        judged: &Judged,
        by_token: Option<&Served>,
        named: Named<'_>,
        resource: &ResourceId,
        live: Live,
    ) -> ServiceResult<Result<Option<Behind>, Refusal>> {
        let asked = judged.decision.end_user;
        // A token that was made for an end user says nothing without them.
        let mode = if by_token.is_some() && asked.is_ignored() { EndUser::Required } else { asked };
        if mode.is_ignored() {
            return Ok(Ok(None));
        }
        if by_token.is_none() && named == Named::Nobody {
            return Ok(Err(Refusal::Missing));
        }
        let unreadable = |_| ServiceError::Unreadable(format!("decision {}", judged.decision.id));
        let caller = SubjectId::parse(&judged.decision.subject).map_err(unreadable)?;
        let Some(customer) = self.customer_of(&caller).await? else { return Ok(Err(Refusal::Unknown)) };
        let by_handle = match named {
            Named::Handle(handle) => self.end_user_of(&customer, handle).await?,
            Named::Nobody | Named::Unreadable => None,
        };
        let end_user = match (by_token, named) {
            // What is said twice has to be said alike.
            (Some(served), Named::Nobody) => Some(served.end_user.clone()),
            (Some(served), _) => by_handle.filter(|found| *found == served.end_user),
            (None, _) => by_handle,
        };
        let same_customer = by_token.is_none_or(|served| served.customer == customer);
        let Some(end_user) = end_user.filter(|found| same_customer && *found != caller && *found != customer) else {
            return Ok(Err(Refusal::Unknown));
        };
        let Some(facts) = self.index.facts(&end_user, || self.load_versioned(end_user.as_str())).await? else {
            return Ok(Err(Refusal::Unknown));
        };
        let address = if let Live::Judged(address) = live { address } else { None };
        let Some(theirs) = self.judge(&end_user, None, resource, address).await? else {
            return Ok(Err(Refusal::Unknown));
        };
        let answer = if live == Live::Left { &theirs.decision } else { &theirs.answer };
        let now = self.clock.now();
        let served = Served { end_user, customer };
        Ok(self.admits(mode, &facts, &served, answer, now).map(|until| {
            let Judged { decision, rules, .. } = theirs;
            until.map(|until| Behind { served, decision, rules, until })
        }))
    }

    /// Whether an end user with these facts and this decision is as a policy asks.
    pub(crate) fn admits(
        &self,
        mode: EndUser,
        facts: &SubjectFacts,
        served: &Served,
        decision: &Decision,
        at: Second,
    ) -> Result<Option<Second>, Refusal> {
        // An agent of somebody's is not whom it serves.
        if facts.kind == SubjectKind::Workload {
            return Err(Refusal::Unknown);
        }
        let vouched_until = end_users::vouched_until(facts, |source| self.speaks_as(&served.customer, source), at);
        end_users::admits(mode, Some(Known { decision, vouched_until }), at)
    }

    /// Whether a living token still says what is true, its end user and the one who calls judged anew. The other parties that
    /// are looked at for it are added to `parties`.
    pub(crate) async fn token_stands(
        &self,
        facts: &SubjectFacts,
        token: &StoredToken,
        now: Second,
        parties: &mut Vec<Seen>,
    ) -> ServiceResult<bool> {
        let unreadable = || ServiceError::Unreadable(format!("token {}", token.jti));
        let resource = ResourceId::parse(&token.resource).map_err(|_| unreadable())?;
        let rules = self.world.load().rules(&resource, now)?;
        let asked = rules.body.policy.as_ref().map_or(EndUser::Ignored, |policy| policy.end_user);
        let (caller, acting_for, customer) = match Noted::of(token)? {
            // Issued when nobody asked: offline nobody would learn from it that somebody does now.
            None if !asked.is_ignored() => return Ok(false),
            None | Some(Noted::Missing) => {
                let acting_for = self.store.decision(&token.decision).await?.and_then(|decision| decision.acting_for);
                let acting_for = acting_for.as_deref().map(SubjectId::parse).transpose().map_err(|_| unreadable())?;
                return self.is_eligible(facts, acting_for.as_ref(), &rules, now, parties).await;
            }
            Some(Noted::Through { caller, acting_for, customer }) => (caller, acting_for, customer),
        };
        let served = Served { end_user: facts.subject.clone(), customer };
        let links = self.store.links(served.end_user.as_str()).await?;
        let theirs = links.iter().any(|link| link.namespace == namespace(&served.customer));
        let found = self.load_versioned(caller.as_str()).await?;
        let version = found.as_ref().map(|(_, read_at)| read_at.version);
        parties.push(Seen { id: caller.to_string(), generation: 0, version });
        let Some((callers, _)) = found else { return Ok(false) };
        let is_theirs = theirs && end_users::customer(&callers).as_ref() == Some(&served.customer);
        if !is_theirs || !self.is_eligible(&callers, acting_for.as_ref(), &rules, now, parties).await? {
            return Ok(false);
        }
        let (own, seen) = self.with_parties(facts.clone(), None, &rules).await?;
        parties.extend(seen);
        let mode = if asked.is_ignored() { EndUser::Required } else { asked };
        Ok(self.admits(mode, facts, &served, &decide(&rules, &own, now), now).is_ok())
    }

    /// Whether somebody with these facts is eligible.
    async fn is_eligible(
        &self,
        facts: &SubjectFacts,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
        now: Second,
        parties: &mut Vec<Seen>,
    ) -> ServiceResult<bool> {
        match self.with_parties(facts.clone(), acting_for, rules).await {
            Ok((facts, seen)) => {
                parties.extend(seen);
                Ok(decide(rules, &facts, now).status == Status::Eligible)
            }
            // The organisation is none any more.
            Err(ServiceError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether an end user was rightly let in through an organisation at an instant, by what is known now. `decision` is what
    /// would be decided about them then.
    pub(crate) async fn rightly_served(&self, served: &Served, decision: &Decision, at: Second) -> ServiceResult<bool> {
        if decision.status == Status::Eligible {
            return Ok(true);
        }
        if decision.end_user != EndUser::Vouched {
            return Ok(false);
        }
        let Some(facts) = self.facts_in_hindsight(&served.end_user, at).await? else { return Ok(false) };
        Ok(self.admits(EndUser::Vouched, &facts, served, decision, at).is_ok())
    }
}

/// Criteria that the request has to answer, of the one who calls and of the end user, each once.
pub(crate) fn live_of_both<'a>(caller: &'a Decision, end_user: Option<&'a Decision>) -> Vec<&'a String> {
    let more = end_user.iter().flat_map(|theirs| &theirs.live).filter(|id| !caller.live.contains(id));
    caller.live.iter().chain(more).collect()
}

/// For whom a name of an end user is made. Ids hold no line feed.
fn sector(audience: &str, customer: &SubjectId) -> String {
    format!("{audience}\n{customer}")
}
