//! What a token is made of, where its subject is the end user of the one who acts: two decisions at one time.

use super::Wanted;
use crate::service::end_users::Served;
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::Basis;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use vouchsafe_core::end_users::Refusal;
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::policy::EndUser;
use vouchsafe_core::{Decision, Second};

/// What a token is made of: whom it is about, and until when.
pub(super) struct Made {
    /// About the token's subject.
    pub(super) decision: Arc<Decision>,
    pub(super) basis: Basis,
    pub(super) valid_until: Second,
    /// Where the subject is somebody's end user.
    pub(super) served: Option<Served>,
}

/// What both decisions were made of, as the end user's; `None` where the two were not made at one time.
fn together(theirs: Basis, callers: Basis, (caller, end_user): (&SubjectId, &SubjectId)) -> Option<Basis> {
    if (theirs.timeline, theirs.suspensions) != (callers.timeline, callers.suspensions) {
        return None;
    }
    let mut parties: BTreeMap<String, i64> = BTreeMap::new();
    let callers = callers.parties.into_iter().chain([(caller.to_string(), callers.version)]);
    for (id, version) in theirs.parties.into_iter().chain(callers) {
        let is_end_user = id == end_user.as_str();
        let known = if is_end_user { theirs.version } else { *parties.entry(id.clone()).or_insert(version) };
        if known != version {
            return None;
        }
    }
    let (version, timeline, suspensions) = (theirs.version, theirs.timeline, theirs.suspensions);
    Some(Basis { version, timeline, suspensions, parties: parties.into_iter().collect() })
}

/// The `act` claim of an end user's token: who acts, and through whom, as their own token says it (RFC 8693 section 4.1: only
/// the outermost counts).
pub(super) fn acting(caller: &str, through: Option<&Value>) -> Value {
    match through {
        Some(through) => json!({ "sub": caller, "act": through }),
        None => json!({ "sub": caller }),
    }
}

impl App {
    /// What a token about an eligible caller's end user is made of; `None` where something changed meanwhile.
    pub(super) async fn made_for(
        &self,
        wanted: Wanted<'_>,
        caller: &Arc<Decision>,
        callers_end: Second,
        callers: Basis,
        handle: &str,
    ) -> ServiceResult<Option<Made>> {
        let refused = |refusal| ServiceError::EndUser(refusal);
        let mode = if caller.end_user.is_ignored() { EndUser::Required } else { caller.end_user };
        let customer = self.customer_of(wanted.subject).await?.ok_or(refused(Refusal::Unknown))?;
        let end_user = self.end_user_of(&customer, handle).await?.ok_or(refused(Refusal::Unknown))?;
        if end_user == *wanted.subject || end_user == customer {
            return Err(refused(Refusal::Unknown));
        }
        let served = Served { end_user, customer };
        let (decision, _, theirs) = match self.eligibility_on(&served.end_user, None, wanted.resource).await {
            Err(ServiceError::NotFound(_) | ServiceError::Erased) => return Err(refused(Refusal::Unknown)),
            found => found?,
        };
        let end_user = &served.end_user;
        let facts = self.index.facts(end_user, || self.load_versioned(end_user.as_str())).await?;
        let facts = facts.ok_or(refused(Refusal::Unknown))?;
        let until = self.admits(mode, &facts, &served, &decision, self.clock.now()).map_err(refused)?;
        // After the version was read: a handle that is taken away later makes another one.
        if !self.is_end_user_now(&served, handle).await? {
            return Err(refused(Refusal::Unknown));
        }
        let Some(basis) = together(theirs, callers, (wanted.subject, end_user)) else { return Ok(None) };
        if decision.rules.digest != caller.rules.digest {
            return Ok(None);
        }
        let valid_until = until.map_or(callers_end, |until| until.min(callers_end));
        Ok(Some(Made { decision, basis, valid_until, served: Some(served) }))
    }
}
