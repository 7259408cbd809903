//! The other parties of a question, read beside the subject as far as the rules ask for them.

use super::index::ReadAt;
use super::ingest::{Delivery, Speaker, Submission};
use super::{Actor, App, SERVICE_SOURCE, ServiceError, ServiceResult, invalid};
use std::collections::{BTreeSet, VecDeque};
use vouchsafe_core::facts::{Grade, Kind, Party, Related, SourceKind, Statement, SubjectFacts, SubjectKind};
use vouchsafe_core::ids::{OrganisationId, SubjectId};
use vouchsafe_core::parties::named;
use vouchsafe_core::rules::Rules;

/// Most parties read for one question: those beyond are unknown, which helps nobody.
const MAX_PARTIES: usize = 64;

/// A party that was read for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The subject that it is.
    pub(crate) id: String,
    /// The generation of what is held of it in memory.
    pub(crate) generation: u64,
    /// Its version; none for one that does not exist or was erased.
    pub(crate) version: Option<i64>,
}

impl Seen {
    /// Its version, -1 for none, as it is stored.
    pub(crate) fn version_or_none(&self) -> i64 {
        self.version.unwrap_or(-1)
    }
}

/// Everything that a question is answered from, and what it was read at.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The subject with the other parties.
    pub(crate) facts: SubjectFacts,
    /// What the subject's own facts were read at.
    pub(crate) read_at: ReadAt,
    /// The generation of what is held of the subject.
    pub(crate) generation: u64,
    /// The other parties.
    pub(crate) parties: Vec<Seen>,
}

/// Where parties are read.
#[derive(Debug, Clone, Copy)]
enum From {
    /// In memory, the active ones.
    Memory,
    /// In the store, the erased included.
    Store,
}

/// What is known of one party, and at which version.
type Found = (Option<(SubjectFacts, i64)>, u64);

impl App {
    /// Everything that the question is answered from; `None` for a subject that does not exist or was erased.
    pub(crate) async fn gather(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
    ) -> ServiceResult<Option<Gathered>> {
        let (found, generation) = self.index.versioned(subject, || self.load_versioned(subject.as_str())).await?;
        let Some((facts, read_at)) = found else { return Ok(None) };
        let (facts, parties) = self.with_parties(facts, acting_for, rules).await?;
        Ok(Some(Gathered { facts, read_at, generation, parties }))
    }

    /// The facts with the other parties that the rules ask for.
    ///
    /// # Errors
    /// `NotFound` when the subject is said to act for what is no organisation.
    pub(crate) async fn with_parties(
        &self,
        facts: SubjectFacts,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
    ) -> ServiceResult<(SubjectFacts, Vec<Seen>)> {
        let (facts, seen) = self.related(facts, acting_for, rules, From::Memory).await?;
        let is_organisation = |id: &SubjectId| match facts.related.parties.get(id) {
            Some(party) => party.kind == SubjectKind::Organisation,
            None => *id == facts.subject && facts.kind == SubjectKind::Organisation,
        };
        match acting_for {
            Some(id) if !is_organisation(id) => Err(ServiceError::NotFound("organisation")),
            _ => Ok((facts, seen)),
        }
    }

    /// The facts with the other parties as they are stored, the erased included: for what was decided once.
    pub(crate) async fn with_stored_parties(
        &self,
        facts: SubjectFacts,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
    ) -> ServiceResult<SubjectFacts> {
        Ok(self.related(facts, acting_for, rules, From::Store).await?.0)
    }

    async fn load_party(&self, id: &SubjectId, from: From) -> ServiceResult<Found> {
        match from {
            From::Memory => {
                let (found, generation) = self.index.versioned(id, || self.load_versioned(id.as_str())).await?;
                Ok((found.map(|(facts, read_at)| (facts, read_at.version)), generation))
            }
            From::Store => {
                let found = self.load_stored(id.as_str()).await?;
                Ok((found.map(|(_, facts, read_at)| (facts, read_at.version)), 0))
            }
        }
    }

    /// Goes from party to party as far as attestations name them and the rules follow.
    async fn related(
        &self,
        mut facts: SubjectFacts,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
        from: From,
    ) -> ServiceResult<(SubjectFacts, Vec<Seen>)> {
        let follows = rules.follows();
        if acting_for.is_none() && !follows && facts.kind != SubjectKind::Workload {
            return Ok((facts, Vec::new()));
        }
        let world = self.world.load_full();
        let mut related = Related { acting_for: acting_for.cloned(), ..Related::default() };
        let mut known = BTreeSet::from([facts.subject.clone()]);
        let mut waiting: VecDeque<SubjectId> = acting_for.cloned().into_iter().collect();
        let follow = |attestations: &[_], related: &mut Related, waiting: &mut VecDeque<SubjectId>| {
            let named = named(attestations);
            waiting.extend(named.subjects);
            for id in named.organisations {
                let subject =
                    world.organisations.get(id.as_str()).and_then(|organisation| organisation.subject.clone());
                if let Some(subject) = subject {
                    related.organisations.insert(id, subject.clone());
                    waiting.push_back(subject);
                }
            }
        };
        if follows || facts.kind == SubjectKind::Workload {
            follow(&facts.attestations, &mut related, &mut waiting);
        }
        let mut seen = Vec::new();
        while let Some(id) = waiting.pop_front() {
            if !known.insert(id.clone()) {
                continue;
            }
            if seen.len() >= MAX_PARTIES {
                tracing::warn!(subject = facts.subject.as_str(), "more parties than are read for one question");
                break;
            }
            let (found, generation) = self.load_party(&id, from).await?;
            let version = found.as_ref().map(|(_, version)| *version);
            seen.push(Seen { id: id.to_string(), generation, version });
            if let Some((party, _)) = found {
                if follows {
                    follow(&party.attestations, &mut related, &mut waiting);
                }
                related.parties.insert(id, Party { kind: party.kind, attestations: party.attestations });
            }
        }
        facts.related = related;
        Ok((facts, seen))
    }

    /// Says who stands behind a workload: the organisation that owns it and the person who answers for it. What was said
    /// before is superseded.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where one of them is of another kind.
    pub async fn stand_behind(
        &self,
        actor: &Actor,
        workload: &SubjectId,
        owner: &SubjectId,
        responsible: &SubjectId,
    ) -> ServiceResult<String> {
        let kind_of = async |id: &SubjectId| -> ServiceResult<Option<SubjectKind>> {
            Ok(self.load_facts(id.as_str()).await?.map(|facts| facts.kind))
        };
        match kind_of(workload).await? {
            Some(SubjectKind::Workload) => {}
            Some(_) => return Err(invalid("/id", "is no workload: nobody stands behind a person or an organisation")),
            None => return Err(self.missing(workload.as_str()).await),
        }
        if kind_of(owner).await? != Some(SubjectKind::Organisation) {
            return Err(invalid("/owner", "is no subject of kind `organisation`"));
        }
        if kind_of(responsible).await? != Some(SubjectKind::Person) {
            return Err(invalid("/responsible", "is no subject of kind `person`"));
        }
        let speaker = Speaker {
            source: SERVICE_SOURCE.to_owned(),
            kind: SourceKind::Service,
            assessor: "service".to_owned(),
            max_grade: Grade::Strong,
        };
        let statement = Statement::Workload { owner: owner.clone(), responsible: responsible.clone() };
        let submission = Submission {
            // One after the other, so that the newest stands.
            lineage: Some(format!("workload:{workload}")),
            statement: Some(statement),
            checked_at: Some(self.clock.now()),
            ..Submission::new(SERVICE_SOURCE, self.id("evt")?, Kind::Directory)
        };
        match self.record(actor, workload, &speaker, submission).await? {
            Delivery::Recorded(id) => Ok(id),
            _ => Err(ServiceError::Conflict("workload")),
        }
    }

    /// The subject that an organisation is, named by its own id (`org_…`) or its subject's (`sub_…`).
    ///
    /// # Errors
    /// `NotFound` for one that is not registered.
    pub fn organisation_subject(&self, text: &str) -> ServiceResult<SubjectId> {
        if OrganisationId::parse(text).is_ok() {
            let world = self.world.load();
            let subject = world.organisations.get(text).and_then(|organisation| organisation.subject.clone());
            return subject.ok_or(ServiceError::NotFound("organisation"));
        }
        SubjectId::parse(text).map_err(|_| invalid("/acting_for", "must be `org_…` or `sub_…`"))
    }
}
