//! Definition packs: versioned data saying which facts prove which states.

use crate::check::{Finding, Level};
use crate::facts::{Basis, Facts, Grade, Kind, Outcome, SourceKind, Statement};
use crate::policy::Span;
use crate::rules::Library;
use crate::second::DAY;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why a pack cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The text is not a pack; carries line and column.
    #[error("not a definition pack: {0}")]
    Syntax(String),
    /// A part of it cannot work.
    #[error("pack `{pack}`, `{}`: {finding}", finding.pointer)]
    Content {
        /// `id@version`.
        pack: String,
        /// What is wrong, where, and what to do.
        finding: Box<Finding>,
    },
}

/// The shape of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Mutually exclusive states, all of them named.
    State {
        /// The whole frame.
        states: BTreeSet<String>,
    },
    /// Mutually exclusive states that are not enumerated, such as countries.
    OpenState,
    /// One yes/no question per key.
    Membership,
    /// Shares of owners.
    Shares,
}

/// Which facts a row accepts. Empty lists accept anything; the outcome must be `approved` unless named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Kinds of statement.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub kind: BTreeSet<Kind>,
    /// Document types.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub document_type: BTreeSet<String>,
    /// Issuing countries, alpha-3.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub issuing_country: BTreeSet<String>,
    /// Issuing countries that do not match.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub not_issuing_country: BTreeSet<String>,
    /// Nationalities read, alpha-3, of which one must be there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub nationality: BTreeSet<String>,
    /// Category codes read.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub category: BTreeSet<String>,
    /// What the statement rests on.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub basis: BTreeSet<Basis>,
    /// Bases that do not match.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub not_basis: BTreeSet<Basis>,
    /// Outcomes; empty means `approved`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub outcome: BTreeSet<Outcome>,
    /// Codes that must all be there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub codes: BTreeSet<String>,
    /// Codes of which one must be there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub any_code: BTreeSet<String>,
}

impl When {
    fn accepts(&self, facts: &Facts, may_have_ended: bool) -> bool {
        fn among<T: Ord>(list: &BTreeSet<T>, value: Option<&T>) -> bool {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        }
        let outcome = if self.outcome.is_empty() {
            facts.outcome == Outcome::Approved || (may_have_ended && facts.outcome == Outcome::DocumentExpired)
        } else {
            self.outcome.contains(&facts.outcome)
        };
        let (nationalities, category) = match &facts.statement {
            Some(Statement::Read { nationalities, category }) => (Some(nationalities), category.as_ref()),
            _ => (None, None),
        };
        outcome
            && among(&self.kind, Some(&facts.kind))
            && among(&self.document_type, facts.document_type.as_ref())
            && among(&self.issuing_country, facts.issuing_country.as_ref())
            // A country that is not known is not known to be another one.
            && (self.not_issuing_country.is_empty()
                || facts.issuing_country.as_ref().is_some_and(|c| !self.not_issuing_country.contains(c)))
            && (self.nationality.is_empty() || nationalities.is_some_and(|read| !read.is_disjoint(&self.nationality)))
            && among(&self.category, category)
            && among(&self.basis, facts.basis.as_ref())
            && !facts.basis.as_ref().is_some_and(|b| self.not_basis.contains(b))
            && self.codes.iter().all(|code| facts.codes.contains(code))
            && (self.any_code.is_empty() || self.any_code.iter().any(|code| facts.codes.contains(code)))
    }
}

/// One of several facts that a compound row needs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which facts.
    pub when: When,
    /// The part that proves the state: gives document, assessor and fact date. Exactly one per row.
    #[serde(default)]
    pub proves: bool,
    /// The document may have ended: its end does not end the row, and `document_expired` is accepted.
    #[serde(default)]
    pub may_have_ended: bool,
}

/// Where the states or keys of a row come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Proves {
    /// These states.
    States {
        /// Never empty.
        states: BTreeSet<String>,
    },
    /// The states the statement names in this frame.
    Statement,
    /// The country of the network exit.
    ExitCountry,
    /// Forged, tampered, impostor: against the subject whatever the policy allows.
    Against,
    /// Yes or no about the organisation of an employment statement.
    Organisation,
    /// Yes about the issuing country and every nationality read.
    Nationalities,
    /// The shares that the statement names.
    Owners,
}

/// A row: facts of this shape prove this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Stable name, shown in next steps.
    pub id: String,
    /// Fading class, a key of [`Weights::classes`].
    pub class: String,
    /// One fact suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Several facts together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_of: Vec<Part>,
    /// What they prove.
    pub proves: Proves,
}

/// How organisations' vouches speak in a state frame.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VouchRule {
    /// Bases on which a vouch may stand on the adverse side; on any other it never does.
    pub adverse_basis: BTreeSet<Basis>,
}

/// How evidence of a class of the pack's own ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnClass {
    /// How long it stays whole.
    pub grace: Span,
    /// In how long it then halves.
    pub half_life: Span,
    /// Longest life, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

impl From<OwnClass> for Class {
    fn from(own: OwnClass) -> Self {
        Self {
            grace_secs: own.grace.secs(),
            half_life_secs: own.half_life.secs(),
            max_age_secs: own.max_age.map(Span::secs),
        }
    }
}

/// Versioned data about one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Name of the pack; the frame has the same name.
    pub id: String,
    /// Version, from 1.
    pub version: u32,
    /// Where its content comes from.
    pub source: String,
    /// Shape of the frame.
    pub shape: Shape,
    /// Lawful changes (from, to); in membership frames yes and no may follow each other without being listed.
    #[serde(default)]
    pub transitions: Vec<(String, String)>,
    /// How vouches speak here.
    #[serde(default)]
    pub vouches: VouchRule,
    /// Whom this frame trusts how far, in (0, 1); a kind of source that is not listed says nothing. Absent: the
    /// table that the engine has for the frame, if any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trust: BTreeMap<SourceKind, f64>,
    /// Classes of its own, each named `<id of the pack>.…`, so that no other frame's evidence ages by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, OwnClass>,
    /// What proves what.
    pub rows: Vec<Row>,
}

impl Pack {
    /// Reads a pack from TOML and checks it.
    ///
    /// # Errors
    /// When the text is not a pack, or a row names a state outside the frame, proves nothing, or is ambiguous.
    pub fn from_toml(text: &str) -> Result<Self, PackError> {
        let pack: Self = toml::from_str(text).map_err(|error| PackError::Syntax(error.to_string()))?;
        pack.check(&Library::default())?;
        Ok(pack)
    }

    /// `id@version`, as policies pin it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}@{}", self.id, self.version)
    }

    /// Refuses what cannot work; [`Pack::findings`] tells everything at once.
    ///
    /// # Errors
    /// [`PackError::Content`] with the first of what is refused.
    pub fn check(&self, library: &Library) -> Result<(), PackError> {
        match self.findings(library).into_iter().find(|finding| finding.level == Level::Refused) {
            Some(finding) => Err(PackError::Content { pack: self.name(), finding: Box::new(finding) }),
            None => Ok(()),
        }
    }

    /// Rows that one fact satisfies by itself.
    pub(crate) fn single_rows<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.when.as_ref().is_some_and(|when| when.accepts(facts, false)))
    }

    /// Whether `facts` fit this part of a compound row.
    pub(crate) fn part_accepts(part: &Part, facts: &Facts) -> bool {
        part.when.accepts(facts, part.may_have_ended)
    }

    /// Whether from every state of `from` a path of one or more declared changes leads to a state of `to`.
    #[must_use]
    pub fn leads(&self, from: &BTreeSet<String>, to: &BTreeSet<String>) -> bool {
        !from.is_empty() && from.iter().all(|state| self.reachable(state).iter().any(|end| to.contains(*end)))
    }

    fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut edge = vec![from];
        while let Some(state) = edge.pop() {
            for (a, b) in &self.transitions {
                if a == state && reached.insert(b) {
                    edge.push(b);
                }
            }
        }
        reached
    }
}

/// How evidence of a class ages, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Seconds before it begins to fade.
    pub grace_secs: i64,
    /// Seconds in which it halves.
    pub half_life_secs: i64,
    /// Longest life, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<i64>,
}

/// Every number the engine uses: rules data, part of the rules digest. Judgement until calibrated on adjudicated cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Strength of a grade, in (0, 1).
    pub sigma: BTreeMap<Grade, f64>,
    /// Trust in a source kind, per frame. A pair not listed says nothing.
    pub trust: BTreeMap<SourceKind, BTreeMap<String, f64>>,
    /// Trust in observations through an anonymiser, per frame.
    pub anonymised_trust: BTreeMap<String, f64>,
    /// Strength of a declaration against the declarer's own interest.
    pub against_interest_sigma: f64,
    /// Trust in a declaration against the declarer's own interest.
    pub against_interest_trust: f64,
    /// Highest grade an unverified organisation can have.
    pub unverified_grade_cap: Grade,
    /// Fading classes.
    pub classes: BTreeMap<String, Class>,
    /// Longest life of an adverse item.
    pub adverse_max_age_secs: i64,
    /// Highest discounted strength of one item.
    pub cap: f64,
    /// Discount of each further document of one assessor.
    pub rho: f64,
    /// Own strength from which a supporting item may overtake.
    pub overtakes_at: f64,
}

impl Default for Weights {
    /// The numbers that hold wherever a pack says nothing else. Frames of one country's law bring their own trust.
    fn default() -> Self {
        let frames = |list: &[(&str, f64)]| list.iter().map(|(f, p)| ((*f).to_owned(), *p)).collect();
        let days = |grace: i64, half_life: i64, max: Option<i64>| Class {
            grace_secs: grace * DAY,
            half_life_secs: half_life * DAY,
            max_age_secs: max.map(|days| days * DAY),
        };
        Self {
            sigma: BTreeMap::from([
                (Grade::Superior, 0.98),
                (Grade::Strong, 0.92),
                (Grade::Fair, 0.65),
                (Grade::Weak, 0.40),
                (Grade::SelfDeclared, 0.20),
            ]),
            trust: BTreeMap::from([
                (
                    SourceKind::Registry,
                    frames(&[("identity", 0.99), ("citizenship", 0.99), ("employer", 0.99), ("screening", 0.99)]),
                ),
                (SourceKind::DocumentVendor, frames(&[("identity", 0.97), ("citizenship", 0.97)])),
                (
                    SourceKind::Reviewer,
                    frames(&[
                        ("identity", 0.97),
                        ("citizenship", 0.97),
                        ("employer", 0.97),
                        ("country_now", 0.97),
                        ("screening", 0.97),
                    ]),
                ),
                (SourceKind::Employer, frames(&[("employer", 0.99)])),
                (SourceKind::UnverifiedOrganisation, frames(&[("employer", 0.30)])),
                (SourceKind::Network, frames(&[("country_now", 0.80)])),
                (SourceKind::Subject, frames(&[("citizenship", 0.50)])),
                (SourceKind::Service, frames(&[("identity", 0.97)])),
            ]),
            anonymised_trust: frames(&[("country_now", 0.20)]),
            against_interest_sigma: 0.92,
            against_interest_trust: 0.97,
            unverified_grade_cap: Grade::Fair,
            classes: BTreeMap::from([
                ("citizenship_document".to_owned(), days(90, 365, None)),
                ("status_document".to_owned(), days(90, 365, None)),
                ("identity_binding".to_owned(), days(90, 365, Some(1095))),
                ("employer_vouch".to_owned(), days(30, 90, Some(365))),
                ("self_declaration".to_owned(), days(0, 30, Some(365))),
                (
                    "network_signal".to_owned(),
                    Class { grace_secs: 0, half_life_secs: DAY / 2, max_age_secs: Some(DAY) },
                ),
                ("screening".to_owned(), days(0, 1, Some(30))),
            ]),
            adverse_max_age_secs: 730 * DAY,
            cap: 0.99,
            rho: 0.5,
            overtakes_at: 0.85,
        }
    }
}

impl Weights {
    /// Strength of a grade; an unknown grade is worth nothing.
    #[must_use]
    pub fn sigma(&self, grade: Grade) -> f64 {
        self.sigma.get(&grade).copied().unwrap_or(0.0)
    }

    /// The table with what a pack says of its own frame: its trust in place of the table's, and its classes.
    #[must_use]
    pub fn with(mut self, pack: &Pack) -> Self {
        if !pack.trust.is_empty() {
            for frames in self.trust.values_mut() {
                frames.remove(&pack.id);
            }
            for (source, trust) in &pack.trust {
                self.trust.entry(*source).or_default().insert(pack.id.clone(), *trust);
            }
        }
        self.classes.extend(pack.classes.iter().map(|(name, class)| (name.clone(), Class::from(*class))));
        self
    }

    /// Trust of a source kind in a frame; an unlisted pair says nothing.
    #[must_use]
    pub fn trust(&self, source: SourceKind, frame: &str) -> Option<f64> {
        self.trust.get(&source)?.get(frame).copied()
    }
}
