//! Facts: what a source said, without direct identifiers.

use crate::ids::{AttestationId, OrganisationId, SourceId, SubjectId};
use crate::second::Second;
use crate::shares::Share;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What kind of statement an attestation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A vendor examined a document.
    DocumentCheck,
    /// A registry's own record.
    Registry,
    /// A reviewer's finding.
    Review,
    /// An organisation vouches.
    Vouch,
    /// A directory says who belongs to an organisation.
    Directory,
    /// The subject's own words.
    Declaration,
    /// A network observation.
    Observation,
    /// Resolves other attestations; proves nothing itself.
    Adjudication,
    /// What this service saw when it compared what it holds: one document of two subjects, two people on one subject.
    CrossCheck,
}

/// Code of a cross-check: a document is on two subjects. Weighs on identity.
pub const DOCUMENT_SHARED: &str = "document.shared";
/// Code of a cross-check: the document is that of a subject who was erased with evidence against it. Weighs on identity.
pub const DOCUMENT_OF_ERASED: &str = "document.of_erased";
/// Code of a cross-check: two birth dates on one subject. Weighs on identity.
pub const PERSON_MISMATCH: &str = "person.mismatch";
/// Code of a cross-check: a document is on two subjects and both matched the face. Told only.
pub const SUBJECT_DUPLICATE: &str = "subject.duplicate";
/// Code of a cross-check: two names under one birth date. Told only.
pub const NAME_DIFFERS: &str = "person.name_differs";

impl Kind {
    /// The name used in JSON, SQL and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::DocumentCheck => "document_check",
            Kind::Registry => "registry",
            Kind::Review => "review",
            Kind::Vouch => "vouch",
            Kind::Directory => "directory",
            Kind::Declaration => "declaration",
            Kind::Observation => "observation",
            Kind::Adjudication => "adjudication",
            Kind::CrossCheck => "cross_check",
        }
    }
}

/// How strong one attestation's evidence is by itself (NIST SP 800-63A names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Grade {
    /// The subject's own word.
    #[serde(rename = "SELF")]
    SelfDeclared,
    /// Weak evidence.
    Weak,
    /// Fair evidence.
    Fair,
    /// Strong evidence.
    Strong,
    /// Superior evidence: cryptographically verified.
    Superior,
}

/// What a source is; trust is looked up per frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An authoritative issuer or its register.
    Registry,
    /// A certified identity document vendor.
    DocumentVendor,
    /// Two people of the provider.
    Reviewer,
    /// An organisation whose identity was verified.
    Employer,
    /// An organisation nobody verified.
    UnverifiedOrganisation,
    /// A network database.
    Network,
    /// The subject itself.
    Subject,
    /// This service's own cross-checks.
    Service,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All required parts passed.
    #[default]
    Approved,
    /// Failed for a reason of substance; see the codes.
    Declined,
    /// Unreadable or incomplete: the subject may try again.
    Resubmit,
    /// The vendor has not finished.
    Pending,
    /// The document had ended when it was examined.
    DocumentExpired,
    /// The vendor failed.
    Error,
}

/// What an organisation's statement rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A register was consulted.
    RegistryRecord,
    /// The organisation's export-control file.
    ExportControlRecord,
    /// A document was seen.
    DocumentSeen,
    /// Form I-9: work authorisation only.
    I9,
    /// E-Verify: work authorisation only.
    EVerify,
    /// Personnel records.
    HrRecord,
}

/// What was said, typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Statement {
    /// What was read off a document or record.
    Read {
        /// Nationalities, ISO 3166-1 alpha-3.
        #[serde(default)]
        nationalities: BTreeSet<String>,
        /// Category code such as `A05`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<String>,
    },
    /// The subject is in one of these states of a frame.
    States {
        /// Frame id.
        frame: String,
        /// States; never empty.
        states: BTreeSet<String>,
    },
    /// The subject holds these nationalities.
    Nationalities {
        /// ISO 3166-1 alpha-3; never empty.
        countries: BTreeSet<String>,
    },
    /// The subject works for the organisation, or does not.
    Employment {
        /// Organisation id.
        organisation: String,
        /// Whether it does.
        employed: bool,
        /// `employee`, `contractor`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relation: Option<String>,
    },
    /// Who owns the organisation, as far as the statement names its owners.
    Owners {
        /// Shares by owner: a subject's id, a registered organisation's id, or a name from a list of parties.
        owners: BTreeMap<String, Share>,
    },
    /// Who stands behind a workload. Only this service says it, for the client that registered the workload.
    Workload {
        /// The organisation that owns it.
        owner: SubjectId,
        /// The person who answers for it.
        responsible: SubjectId,
    },
    /// Where a client address leaves its network.
    Network {
        /// ISO 3166-1 alpha-3 country of the exit; absent when the database does not know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country: Option<String>,
        /// An anonymiser, hosting range or residential proxy: location unknown, not guilt.
        anonymous: bool,
        /// Autonomous system number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asn: Option<u32>,
    },
}

/// Keyed digests by which two attestations can be seen to name one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonKey {
    /// Keyed digest of the birth date.
    pub birth: String,
    /// Keyed digest of the normalised name as read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The content of an attestation. Identifies nobody by itself; pseudonymous personal data all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Kind of statement.
    pub kind: Kind,
    /// What the source was when it spoke.
    pub source_kind: SourceKind,
    /// Strength by itself.
    pub grade: Grade,
    /// How the check ended.
    #[serde(default)]
    pub outcome: Outcome,
    /// Stable outcome codes: `face_match`, `forged`, `tampered`, `impostor`, …
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub codes: BTreeSet<String>,
    /// `passport`, `permanent_resident_card`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_type: Option<String>,
    /// ISO 3166-1 alpha-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuing_country: Option<String>,
    /// What was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Statement>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// The source's own doubt, in (0, 1]: multiplies the grade's strength.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f64>,
    /// Lineage key of the underlying record: derived by this service, never taken from outside.
    pub document: String,
    /// Who made the judgement: derived by this service, never taken from outside.
    pub assessor: String,
    /// Who the document says it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonKey>,
    /// When the stated condition began; if unknown, when the document was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact_date: Option<Second>,
    /// When the source looked.
    pub checked_at: Second,
    /// When it stops saying anything: the end of document, vouch or signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Second>,
}

/// What was said of an attestation later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Taken back by its source or by an operator.
    Revoked,
    /// A newer result of the same check stands.
    Superseded,
    /// An adjudication settled it.
    Resolved,
    /// Its source was suspended.
    Suspended,
}

/// A revocation, supersession or resolution. Marks only grow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// From when it acts.
    pub at: Second,
    /// Which.
    pub kind: MarkKind,
    /// Acts from the attestation's beginning: forgery, a vendor reopening.
    #[serde(default)]
    pub from_start: bool,
}

/// One authenticated statement of one source about one subject at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Its id.
    pub id: AttestationId,
    /// Who said it.
    pub source: SourceId,
    /// When it was received.
    pub recorded_at: Second,
    /// What it says.
    pub facts: Facts,
    /// What was said of it later.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A natural person.
    #[default]
    Person,
    /// A legal entity.
    Organisation,
    /// A service account or agent, with an organisation that owns it and a person who answers for it.
    Workload,
}

impl SubjectKind {
    /// The name used in JSON, SQL and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Person => "person",
            SubjectKind::Organisation => "organisation",
            SubjectKind::Workload => "workload",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [SubjectKind::Person, SubjectKind::Organisation, SubjectKind::Workload]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// What is known about another party that an answer may rest on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// What it is.
    pub kind: SubjectKind,
    /// Its attestations, in any order.
    pub attestations: Vec<Attestation>,
}

/// The other parties of a question: whom the subject acts for, who owns a workload and who answers for it, the
/// organisations along a chain of contracts or shares. A party that is missing here helps nobody.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Related {
    /// The organisation acted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting_for: Option<SubjectId>,
    /// The parties, by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parties: BTreeMap<SubjectId, Party>,
    /// Which party a registered organisation is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub organisations: BTreeMap<OrganisationId, SubjectId>,
}

impl Related {
    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything known about a subject at an instant, the revoked and superseded included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectFacts {
    /// The subject.
    pub subject: SubjectId,
    /// What it is.
    #[serde(default)]
    pub kind: SubjectKind,
    /// Its attestations, in any order.
    pub attestations: Vec<Attestation>,
    /// The other parties of the question.
    #[serde(default, skip_serializing_if = "Related::is_empty")]
    pub related: Related,
}

impl SubjectFacts {
    /// What is known of one subject of a kind, nobody else being asked about.
    #[must_use]
    pub fn new(subject: SubjectId, kind: SubjectKind, attestations: Vec<Attestation>) -> Self {
        Self { subject, kind, attestations, related: Related::default() }
    }

    /// What is known of a person.
    #[must_use]
    pub fn person(subject: SubjectId, attestations: Vec<Attestation>) -> Self {
        Self::new(subject, SubjectKind::Person, attestations)
    }

    /// Every attestation, the other parties' included.
    pub fn all(&self) -> impl Iterator<Item = &Attestation> {
        self.attestations.iter().chain(self.related.parties.values().flat_map(|party| party.attestations.iter()))
    }

    /// What was known at `known_at`: later receipts and later marks are left out.
    #[must_use]
    pub fn known_at(&self, known_at: Second) -> Self {
        let mut known = self.clone();
        let parties = known.related.parties.values_mut().map(|party| &mut party.attestations);
        for attestations in parties.chain([&mut known.attestations]) {
            attestations.retain(|attestation| attestation.recorded_at <= known_at);
            for attestation in attestations {
                attestation.marks.retain(|mark| mark.at <= known_at);
            }
        }
        known
    }
}

/// Attestations in order of their ids, repetitions merged and marks in order, so that neither order nor number of deliveries
/// matters. `None` when two differ under one id: neither can be believed.
#[must_use]
pub fn merged(mut attestations: Vec<Attestation>) -> Option<Vec<Attestation>> {
    attestations.sort_by(|a, b| a.id.cmp(&b.id));
    let mut kept: Vec<Attestation> = Vec::with_capacity(attestations.len());
    for mut next in attestations {
        match kept.last_mut() {
            Some(last) if last.id == next.id => {
                if last.source != next.source || last.facts != next.facts {
                    return None;
                }
                last.recorded_at = last.recorded_at.min(next.recorded_at);
                last.marks.append(&mut next.marks);
            }
            _ => kept.push(next),
        }
    }
    for attestation in &mut kept {
        attestation.marks.sort();
        attestation.marks.dedup();
    }
    Some(kept)
}
