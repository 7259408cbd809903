//! Who may decide: two people, none of whom it is about, who said it, or who decided what is appealed against.

use super::{APPEAL, CaseBody, REVIEW_SOURCE, StoredCase, case_body};
use crate::service::authenticate::Caller;
use crate::service::direct::person;
use crate::service::suspend::organisation_source;
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::StoredAttestation;
use std::collections::BTreeSet;

impl App {
    /// Two people, as far as anybody can tell.
    pub(super) async fn is_second_person(&self, caller: &Caller, first: &str) -> ServiceResult<()> {
        let (second, _) = self.load_operator(&caller.operator()?.id).await?;
        let (proposer, _) = self.load_operator(first).await?;
        // Who was disabled, or may not review any more, has proposed nothing that still stands.
        let stands = !proposer.disabled && proposer.scopes().contains("cases:review");
        if caller.id == first || !stands || !second.is_independent_of(&proposer) {
            return Err(ServiceError::Forbidden("second_person"));
        }
        Ok(())
    }

    /// Nobody settles what they said: neither a finding they proposed or confirmed, nor the statement of a source they
    /// speak for.
    pub(super) async fn did_not_say(&self, caller: &Caller, row: &StoredAttestation) -> ServiceResult<()> {
        let said = if row.source == REVIEW_SOURCE {
            let proposal = row.event.trim_end_matches(":finding");
            match self.store.case_entry(proposal).await? {
                Some(entry) => {
                    let case = self.store.case(&entry.case_id).await?.ok_or(ServiceError::NotFound("case"))?;
                    let closing = case_body(&case)?.closing;
                    entry.operator == caller.id || closing.is_some_and(|closing| closing.by.contains(&caller.id))
                }
                None => false,
            }
        } else {
            let world = self.world.load();
            let own = person(&caller.owner);
            world.clients.values().any(|client| {
                person(&client.owner) == own
                    && (client.sources.contains(&row.source)
                        || client.organisation.as_deref().map(organisation_source).as_ref() == Some(&row.source))
            })
        };
        if said { Err(ServiceError::Forbidden("impartial")) } else { Ok(()) }
    }

    /// An appeal is not decided by whoever decided first.
    pub(super) async fn not_decided_before(
        &self,
        caller: &Caller,
        case: &StoredCase,
        body: &CaseBody,
    ) -> ServiceResult<()> {
        match &case.subject {
            Some(subject) if body.causes.contains(APPEAL) => self.decided_nothing_about(caller, subject).await,
            _ => Ok(()),
        }
    }

    /// Whether the caller is another person than all who decided about the subject before.
    pub(crate) async fn decided_nothing_about(&self, caller: &Caller, subject: &str) -> ServiceResult<()> {
        let mut deciders: BTreeSet<String> = BTreeSet::new();
        for case in self.cases_about(subject).await? {
            deciders.extend(case_body(&case)?.closing.into_iter().flat_map(|closing| closing.by));
        }
        deciders.extend(self.deciders_of_appeals(subject).await?);
        let (own, _) = self.load_operator(&caller.operator()?.id).await?;
        for decider in deciders {
            let same = decider == caller.id || !self.load_operator(&decider).await?.0.is_independent_of(&own);
            if same {
                return Err(ServiceError::Forbidden("impartial"));
            }
        }
        Ok(())
    }
}
