//! The parties of a question: whose evidence a criterion looks at, directly, along contracts, and along shares.

use crate::criterion::restated;
use crate::definitions::{Pack, Shape, Weights};
use crate::evidence::{Evidence, Says, interpret};
use crate::facts::{Attestation, Kind, Party, SourceKind, Statement, SubjectFacts, SubjectKind, merged};
use crate::fusion::{Side, Silence};
use crate::ids::{AttestationId, OrganisationId, SubjectId};
use crate::policy::{Criterion, MAX_CHAIN, Of, Test};
use crate::rules::Rules;
use crate::second::Second;
use crate::shares::{BUDGET, Chains, Register};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// As what a party is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The subject itself.
    Subject,
    /// The organisation acted for.
    ActingFor,
    /// The organisation that owns the workload.
    Owner,
    /// The person who answers for the workload.
    Responsible,
}

/// One criterion about one party.
#[derive(Debug)]
pub struct Sheet {
    /// As what.
    pub role: Role,
    /// Who; nobody when the question does not say.
    pub party: Option<SubjectId>,
    /// Only what is held against the party counts: nothing has to be shown for it.
    pub adverse_only: bool,
    /// What is known, for this criterion.
    pub evidence: Vec<Evidence>,
}

/// Everything known of everybody, each attestation once.
pub(crate) struct Known {
    subject: SubjectId,
    kind: SubjectKind,
    acting_for: Option<SubjectId>,
    attestations: BTreeMap<SubjectId, (SubjectKind, Vec<Attestation>)>,
    organisations: BTreeMap<OrganisationId, SubjectId>,
    /// The statement that says who stands behind a workload, its owner, and who answers for it.
    behind: Option<(AttestationId, SubjectId, SubjectId)>,
}

impl Known {
    /// Merges what is known; `None` when two attestations differ under one id.
    pub(crate) fn new(facts: SubjectFacts) -> Option<Self> {
        let SubjectFacts { subject, kind, attestations, related } = facts;
        let mut all = BTreeMap::new();
        let mut owner_of: BTreeMap<AttestationId, SubjectId> = BTreeMap::new();
        let mut parties: Vec<(SubjectId, Party)> =
            related.parties.into_iter().filter(|(id, _)| *id != subject).collect();
        parties.push((subject.clone(), Party { kind, attestations }));
        for (id, party) in parties {
            let merged = merged(party.attestations)?;
            // One statement is about one subject.
            if merged.iter().any(|a| owner_of.insert(a.id.clone(), id.clone()).is_some()) {
                return None;
            }
            all.insert(id, (party.kind, merged));
        }
        let behind = all.get(&subject).filter(|_| kind == SubjectKind::Workload).and_then(|(_, own)| behind(own));
        Some(Self {
            subject,
            kind,
            acting_for: related.acting_for,
            attestations: all,
            organisations: related.organisations,
            behind,
        })
    }

    fn of(&self, id: &SubjectId) -> &[Attestation] {
        self.attestations.get(id).map_or(&[], |(_, attestations)| attestations)
    }

    /// What is known of a party of that kind; another kind of party says nothing here.
    fn of_kind(&self, id: &SubjectId, kind: SubjectKind) -> &[Attestation] {
        match self.attestations.get(id) {
            Some((is, attestations)) if *is == kind => attestations,
            _ => &[],
        }
    }

    /// The subject's own attestations.
    pub(crate) fn own(&self) -> &[Attestation] {
        self.of(&self.subject)
    }

    /// Every attestation of everybody.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Attestation> {
        self.attestations.values().flat_map(|(_, attestations)| attestations)
    }

    /// Statements about who stands behind the workload: they shape the answer, though they are no evidence.
    pub(crate) fn relations(&self) -> impl Iterator<Item = &AttestationId> {
        let workload = self.kind == SubjectKind::Workload;
        self.own().iter().filter(move |a| workload && is_relation(a)).map(|a| &a.id)
    }

    /// One sheet for each party that the criterion judges.
    pub(crate) fn sheets(&self, rules: &Rules, criterion: &Criterion) -> Option<Vec<Sheet>> {
        let pack = rules.body.packs.get(&criterion.frame)?;
        let sheet = |role: Role, party: Option<&SubjectId>, adverse_only: bool| {
            let evidence = party.map(|party| self.evidence(rules, pack, criterion, role, party)).unwrap_or_default();
            Sheet { role, party: party.cloned(), adverse_only, evidence }
        };
        let behind = self.behind.as_ref();
        let acting_for = self.acting_for.as_ref();
        Some(match (criterion.of, self.kind) {
            (Of::Subject, SubjectKind::Workload) => vec![
                sheet(Role::Responsible, behind.map(|(_, _, responsible)| responsible), false),
                sheet(Role::Subject, Some(&self.subject), true),
            ],
            (Of::Subject, _) => vec![sheet(Role::Subject, Some(&self.subject), false)],
            (Of::ActingFor, SubjectKind::Workload) => {
                let owner = behind.map(|(_, owner, _)| owner);
                let mut sheets = vec![sheet(Role::Owner, owner, false)];
                if acting_for.is_some() && acting_for != owner {
                    sheets.push(sheet(Role::ActingFor, acting_for, false));
                }
                sheets
            }
            (Of::ActingFor, SubjectKind::Organisation) => {
                vec![sheet(Role::ActingFor, acting_for.or(Some(&self.subject)), false)]
            }
            (Of::ActingFor, SubjectKind::Person) => vec![sheet(Role::ActingFor, acting_for, false)],
        })
    }

    fn evidence(
        &self,
        rules: &Rules,
        pack: &Pack,
        criterion: &Criterion,
        role: Role,
        party: &SubjectId,
    ) -> Vec<Evidence> {
        let attestations = match role {
            Role::Subject => self.of(party),
            Role::ActingFor | Role::Owner => self.of_kind(party, SubjectKind::Organisation),
            Role::Responsible => self.of_kind(party, SubjectKind::Person),
        };
        let weights = &rules.body.weights;
        let mut evidence = match &pack.shape {
            Shape::Shares => self.shares(rules, pack, criterion, party, attestations),
            Shape::Membership if criterion.chain > 1 => {
                let mut path = vec![party.clone()];
                self.chained(pack, weights, attestations, criterion.chain.min(MAX_CHAIN), &mut path)
            }
            _ => interpret(pack, weights, attestations),
        };
        if let Some((relation, ..)) = self.behind.as_ref().filter(|_| matches!(role, Role::Owner | Role::Responsible)) {
            evidence.iter_mut().for_each(|e| e.parts.push(relation.clone()));
        }
        evidence
    }

    /// The subject that an owner or employer is.
    fn party_of(&self, key: &str) -> Option<&SubjectId> {
        if let Ok(organisation) = OrganisationId::parse(key) {
            return self.organisations.get(&organisation);
        }
        let id = SubjectId::parse(key).ok()?;
        self.attestations.get_key_value(&id).map(|(id, _)| id)
    }

    /// Memberships, and those of the organisations it is a member of: the people of a contractor work for its customer.
    fn chained(
        &self,
        pack: &Pack,
        weights: &Weights,
        attestations: &[Attestation],
        links: u8,
        path: &mut Vec<SubjectId>,
    ) -> Vec<Evidence> {
        let mut direct = interpret(pack, weights, attestations);
        let silenced: Vec<Vec<Silence>> =
            direct.iter().map(|e| direct.iter().filter_map(|later| restated(e, later)).collect()).collect();
        for (e, restated) in direct.iter_mut().zip(silenced) {
            e.silences.extend(restated);
        }
        if links <= 1 {
            return direct;
        }
        let mut found = direct.clone();
        for first in &direct {
            let Says::Key { key, yes: true } = &first.says else { continue };
            let Some(organisation) = self.party_of(key).filter(|id| first.supporting_q > 0.0 && !path.contains(id))
            else {
                continue;
            };
            path.push(organisation.clone());
            let theirs = self.of_kind(organisation, SubjectKind::Organisation);
            for next in self.chained(pack, weights, theirs, links - 1, path) {
                if matches!(&next.says, Says::Key { yes: true, .. }) && next.supporting_q > 0.0 {
                    found.push(joined(first, next));
                }
            }
            path.pop();
        }
        found
    }

    /// What statements about an organisation's owners come to under the criterion, over time.
    fn shares(
        &self,
        rules: &Rules,
        pack: &Pack,
        criterion: &Criterion,
        party: &SubjectId,
        attestations: &[Attestation],
    ) -> Vec<Evidence> {
        let weights = &rules.body.weights;
        let (Some(Test::NoneOf(listed)), Some(aggregate)) = (criterion.test(&rules.body.sets), &criterion.aggregate)
        else {
            return Vec::new();
        };
        let others: BTreeMap<&SubjectId, Vec<Evidence>> = self
            .attestations
            .iter()
            .filter(|(id, (kind, _))| *id != party && *kind == SubjectKind::Organisation)
            .map(|(id, (_, attestations))| (id, interpret(pack, weights, attestations)))
            .collect();
        let known_as = |key: &str| -> Option<String> {
            match self.party_of(key) {
                Some(id) => Some(id.to_string()),
                // An organisation of which we know nothing is not one without owners.
                None if key.starts_with("sub_") || key.starts_with("org_") => Some(key.to_owned()),
                None => None,
            }
        };
        let mut found = Vec::new();
        for own in interpret(pack, weights, attestations) {
            let Says::Owners(owners) = &own.says else {
                found.push(own);
                continue;
            };
            let mut instants: Vec<Second> =
                others.values().flatten().flat_map(turns).chain([own.counts_from]).collect();
            instants.retain(|t| *t >= own.counts_from && own.adverse_end.is_none_or(|end| *t < end));
            instants.sort_unstable();
            instants.dedup();
            for (index, from) in instants.iter().enumerate() {
                let until = instants.get(index + 1).copied();
                let mut register: Register<'_> = BTreeMap::new();
                for (id, statements) in &others {
                    let standing = statements.iter().filter(|e| e.stands(*from));
                    let owners = standing.filter_map(|e| match &e.says {
                        Says::Owners(owners) => Some(owners),
                        _ => None,
                    });
                    register.insert(id.as_str(), owners.collect());
                }
                let chains = Chains { register, listed, aggregate, known_as: &known_as, budget: Cell::new(BUDGET) };
                let held = chains.held(party.as_str(), owners);
                let consulted = chains.consulted(owners);
                let behind: Vec<&Evidence> = others
                    .iter()
                    .filter(|(id, _)| consulted.contains(id.as_str()))
                    .flat_map(|(_, statements)| statements.iter().filter(|e| e.stands(*from)))
                    .collect();
                let sides = chains.sides(&held);
                if sides.is_empty() {
                    found.push(slice(&own, &behind, (*from, until), None));
                }
                found.extend(sides.into_iter().map(|side| slice(&own, &behind, (*from, until), Some(side))));
            }
        }
        found
    }
}

/// Who stands behind a workload, by the newest statement of this service that nobody took back.
fn behind(own: &[Attestation]) -> Option<(AttestationId, SubjectId, SubjectId)> {
    own.iter()
        .filter(|a| is_relation(a) && a.marks.is_empty())
        .max_by(|a, b| (a.recorded_at, &a.id).cmp(&(b.recorded_at, &b.id)))
        .and_then(|a| match &a.facts.statement {
            Some(Statement::Workload { owner, responsible }) => {
                Some((a.id.clone(), owner.clone(), responsible.clone()))
            }
            _ => None,
        })
}

/// The organisation that owns a workload with these attestations.
pub(crate) fn owner(own: &[Attestation]) -> Option<SubjectId> {
    behind(own).map(|(_, owner, _)| owner)
}

/// A statement of this service about who stands behind a workload. One that ends by itself is none: the answer would change
/// without anything being said.
fn is_relation(attestation: &Attestation) -> bool {
    let facts = &attestation.facts;
    facts.kind == Kind::Directory
        && facts.source_kind == SourceKind::Service
        && facts.ends_at.is_none()
        && matches!(facts.statement, Some(Statement::Workload { .. }))
}

/// A membership by way of a member: as strong as the weaker, as old as the older, over when either is.
fn joined(first: &Evidence, next: Evidence) -> Evidence {
    let mut parts = first.parts.clone();
    parts.extend(next.parts);
    let mut silences = next.silences;
    silences.extend(first.silences.iter().copied());
    let earliest = |a: Option<Second>, b: Option<Second>| a.into_iter().chain(b).min();
    Evidence {
        parts,
        silences,
        grade: first.grade.min(next.grade),
        supporting_q: first.supporting_q.min(next.supporting_q),
        adverse_q: 0.0,
        counts_from: first.counts_from.max(next.counts_from),
        fades_from: first.fades_from.min(next.fades_from),
        ageing: (first.ageing.0.min(next.ageing.0), first.ageing.1.min(next.ageing.1)),
        supporting_end: earliest(first.supporting_end, next.supporting_end),
        ..next
    }
}

/// Instants at which a statement begins or ceases to stand.
fn turns(evidence: &Evidence) -> impl Iterator<Item = Second> + '_ {
    let silences = evidence.silences.iter().flat_map(|silence| [Some(silence.from), silence.until]);
    [Some(evidence.counts_from), evidence.adverse_end].into_iter().chain(silences).flatten()
}

/// What a statement about owners says from one instant to the next, given those behind it.
fn slice(own: &Evidence, behind: &[&Evidence], span: (Second, Option<Second>), side: Option<Side>) -> Evidence {
    let (from, until) = span;
    let mut slice = own.clone();
    if let Some(side) = side {
        slice.says = Says::Judged(side);
    }
    slice.counts_from = from;
    if let Some(until) = until {
        // Outside its span another slice speaks.
        slice.supporting_end = Some(slice.supporting_end.map_or(until, |end| end.min(until)));
        slice.adverse_end = Some(slice.adverse_end.map_or(until, |end| end.min(until)));
    }
    for e in behind {
        slice.parts.extend(e.parts.iter().cloned());
        slice.supporting_q = slice.supporting_q.min(e.supporting_q);
        slice.grade = slice.grade.min(e.grade);
        slice.fades_from = slice.fades_from.min(e.fades_from);
    }
    slice
}

/// Other parties that attestations name: the service reads these too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Subjects.
    pub subjects: BTreeSet<SubjectId>,
    /// Registered organisations.
    pub organisations: BTreeSet<OrganisationId>,
}

/// Who is named by a subject's attestations, as employer, owner, or behind a workload.
#[must_use]
pub fn named(attestations: &[Attestation]) -> Named {
    let mut named = Named::default();
    let mut note = |key: &str| {
        if let Ok(organisation) = OrganisationId::parse(key) {
            named.organisations.insert(organisation);
        } else if let Ok(subject) = SubjectId::parse(key) {
            named.subjects.insert(subject);
        }
    };
    for attestation in attestations {
        match &attestation.facts.statement {
            Some(Statement::Employment { organisation, .. }) => note(organisation),
            Some(Statement::Owners { owners }) => owners.keys().for_each(|key| note(key)),
            Some(Statement::Workload { owner, responsible }) => {
                note(owner.as_str());
                note(responsible.as_str());
            }
            _ => {}
        }
    }
    named
}
