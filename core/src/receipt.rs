//! A receipt: a decision with everything it was made of, so that anybody can derive it again without us.
//!
//! It names nobody, also after the subject was erased. What stays are ids that only the deployment could resolve, since
//! the decision's own id is a digest over them, and what the rules read. Keyed digests of documents, names and birth
//! dates are replaced by tokens of this receipt alone, which keep what `decide` needs of them: which are equal, and in
//! which order they come. What no rule in the bundle can read is left out: free texts, other codes, networks' numbers.

use crate::check::members;
use crate::decision::{Decision, LookedAt, decide};
use crate::definitions::{Proves, When};
use crate::facts::{Attestation, Kind, PersonKey, Statement, SubjectFacts};
use crate::ids::{OrganisationId, SubjectId};
use crate::policy::Policy;
use crate::rules::{Body, Rules, canonical};
use crate::second::Second;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Version of the engine that this crate is.
pub const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// The bundle. Canonical form: RFC 8785 JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Who says so: the deployment's public origin.
    pub iss: String,
    /// Version of the engine that decided; another one may word a decision otherwise.
    pub engine: String,
    /// The decision, as it was given.
    pub decision: Value,
    /// The rules it was made under.
    pub rules: Body,
    /// The facts it looked at, with what had been said of them.
    pub facts: SubjectFacts,
}

/// Why a receipt does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A member of the decision is missing or of another type.
    #[error("the decision has no usable member `{0}`")]
    Member(&'static str),
    /// The rules are not those that the decision names.
    #[error("the rules have the digest `{found}`, the decision names `{named}`")]
    Rules {
        /// What the decision names.
        named: String,
        /// What they have.
        found: String,
    },
    /// The inputs give another decision.
    #[error("`{member}` is not what rules and facts give: {derived} instead of {stated}")]
    Differs {
        /// JSON pointer of the first member that differs.
        member: String,
        /// What the receipt says.
        stated: String,
        /// What was derived.
        derived: String,
    },
    /// The same, and the receipt is of another engine.
    #[error(
        "`{member}` is not what engine {ours} gives; the receipt is of engine {theirs}: verify it with that version"
    )]
    Engine {
        /// JSON pointer of the first member that differs.
        member: String,
        /// The receipt's engine.
        theirs: String,
        /// This engine.
        ours: String,
    },
}

impl Receipt {
    /// Bundles a decision with its inputs, which name nobody any more. `rules` and `facts` are those that gave it, at the
    /// decision's own instant.
    ///
    /// # Errors
    /// [`ReceiptError`] when the inputs do not give the decision: no receipt is made that would not hold.
    pub fn new(iss: &str, rules: &Rules, facts: &SubjectFacts, decision: &Decision) -> Result<Self, ReceiptError> {
        let decision = serde_json::to_value(decision).map_err(|_| ReceiptError::Member(""))?;
        let receipt = Self {
            iss: iss.to_owned(),
            engine: ENGINE.to_owned(),
            decision,
            facts: blinded(facts, &rules.body),
            rules: rules.body.clone(),
        };
        receipt.verify()?;
        Ok(receipt)
    }

    /// RFC 8785 JSON.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(self)
    }

    /// Derives the decision again: the digest of the rules, the id and every byte have to be the same. Who signed it is
    /// not looked at here.
    ///
    /// # Errors
    /// [`ReceiptError`] naming what differs.
    pub fn verify(&self) -> Result<Decision, ReceiptError> {
        let text = |pointer: &'static str| {
            self.decision.pointer(pointer).and_then(Value::as_str).ok_or(ReceiptError::Member(pointer))
        };
        let at = Second::parse(text("/at")?).map_err(|_| ReceiptError::Member("/at"))?;
        let rules = Rules::from_body(self.rules.clone(), at);
        let named = text("/rules/digest")?;
        if named != rules.digest {
            return Err(ReceiptError::Rules { named: named.to_owned(), found: rules.digest });
        }
        let decision = decide(&rules, &self.facts, at);
        let derived = serde_json::to_value(&decision).map_err(|_| ReceiptError::Member(""))?;
        let Some((member, stated, derived)) = difference(&self.decision, &derived, String::new()) else {
            return Ok(decision);
        };
        if self.engine != ENGINE {
            return Err(ReceiptError::Engine { member, theirs: self.engine.clone(), ours: ENGINE.to_owned() });
        }
        Err(ReceiptError::Differs { member, stated, derived })
    }
}

/// The first member in which two values differ, with both. The id comes last: it follows from the rest.
fn difference(stated: &Value, derived: &Value, at: String) -> Option<(String, String, String)> {
    match (stated, derived) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_by_key(|name| (*name == "id", *name));
            names.dedup();
            names.into_iter().find_map(|name| {
                let null = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
                match (null(a), null(b)) {
                    (Some(a), Some(b)) => difference(&a, &b, format!("{at}/{name}")),
                    (a, b) => Some((format!("{at}/{name}"), shown(a.as_ref()), shown(b.as_ref()))),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(a, b, format!("{at}/{index}")))
        }
        (a, b) if canonical(a) == canonical(b) => None,
        (a, b) => Some((at, shown(Some(a)), shown(Some(b)))),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("`{}`", canonical(value)))
}

/// The facts with everything replaced or left out that rules do not read.
fn blinded(facts: &SubjectFacts, rules: &Body) -> SubjectFacts {
    let mut facts = facts.clone();
    let documents = documents(facts.all());
    let births = numbered("p", facts.all().filter_map(|a| a.facts.person.as_ref()).map(|person| person.birth.as_str()));
    let read = Read::of(rules, &facts);
    let parties = facts.related.parties.values_mut().map(|party| &mut party.attestations);
    for attestation in parties.chain([&mut facts.attestations]).flatten() {
        let facts = &mut attestation.facts;
        if let Some(token) = documents.get(&facts.document) {
            facts.document.clone_from(token);
        }
        facts.person = facts.person.take().and_then(|person| {
            // Names are compared on arrival, never by a rule.
            Some(PersonKey { birth: births.get(&person.birth)?.clone(), name: None })
        });
        if facts.kind != Kind::CrossCheck {
            facts.codes.retain(|code| read.codes.contains(code));
        }
        facts.document_type = facts.document_type.take().filter(|kind| read.document_types.contains(kind));
        facts.statement = facts.statement.take().map(|statement| read.kept(statement));
    }
    facts
}

/// A token for each key of a document, in the order of the keys: units are summed in it. The three keys that `decide` gives a
/// meaning of their own (see `evidence`) stay.
fn documents<'a>(all: impl Iterator<Item = &'a Attestation>) -> BTreeMap<String, String> {
    let keys: BTreeSet<&str> = all.map(|a| a.facts.document.as_str()).collect();
    // Before, between and after the shared keys: `a` < `anonymised` < `d` < `service` < `t` < `unverified` < `v`.
    let mut tokens = BTreeMap::new();
    for (letter, above, below) in [
        ("a", "", "anonymised"),
        ("d", "anonymised", "service"),
        ("t", "service", "unverified"),
        ("v", "unverified", ""),
    ] {
        let within = keys.iter().copied().filter(|key| *key > above && (below.is_empty() || *key < below));
        tokens.extend(numbered(letter, within));
    }
    tokens
}

/// Tokens in the order of the keys.
fn numbered<'a>(letter: &str, keys: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let keys: BTreeSet<&str> = keys.collect();
    keys.into_iter().enumerate().map(|(n, key)| (key.to_owned(), format!("{letter}{n:06}"))).collect()
}

/// What the packs of some rules can read of a fact.
struct Read<'r> {
    codes: BTreeSet<&'r String>,
    document_types: BTreeSet<&'r String>,
    categories: BTreeSet<&'r String>,
    nationalities: bool,
    /// Tokens of owners whom no list names.
    owners: BTreeMap<String, String>,
}

impl<'r> Read<'r> {
    fn of(rules: &'r Body, facts: &SubjectFacts) -> Self {
        let rows = || rules.packs.values().flat_map(|pack| &pack.rows);
        let whens = || rows().flat_map(|row| row.when.iter().chain(row.all_of.iter().map(|part| &part.when)));
        fn words<'r, I: Iterator<Item = &'r String>>(
            whens: impl Iterator<Item = &'r When>,
            list: impl Fn(&'r When) -> I,
        ) -> BTreeSet<&'r String> {
            whens.flat_map(list).collect()
        }
        let criteria = rules.policy.iter().flat_map(Policy::all_criteria);
        let tests = criteria.filter_map(|criterion| criterion.test(&rules.sets));
        let listed: BTreeSet<&String> = tests.flat_map(|test| members(&test)).collect();
        // Who owns an organisation may be a person, named by name.
        let ours = |name: &str| name.starts_with(SubjectId::PREFIX) || name.starts_with(OrganisationId::PREFIX);
        let owners = facts.all().filter_map(|a| match &a.facts.statement {
            Some(Statement::Owners { owners }) => Some(owners.keys()),
            _ => None,
        });
        let owners = owners.flatten().filter(|name| !ours(name) && !listed.contains(name)).map(String::as_str);
        Self {
            owners: numbered("owner", owners),
            codes: words(whens(), |when| when.codes.iter().chain(&when.any_code)),
            document_types: words(whens(), |when| when.document_type.iter()),
            categories: words(whens(), |when| when.category.iter()),
            nationalities: rows().any(|row| row.proves == Proves::Nationalities)
                || whens().any(|when| !when.nationality.is_empty()),
        }
    }

    fn kept(&self, statement: Statement) -> Statement {
        match statement {
            Statement::Read { nationalities, category } => Statement::Read {
                nationalities: if self.nationalities { nationalities } else { BTreeSet::new() },
                category: category.filter(|category| self.categories.contains(category)),
            },
            Statement::Employment { organisation, employed, .. } => {
                Statement::Employment { organisation, employed, relation: None }
            }
            Statement::Network { country, anonymous, .. } => Statement::Network { country, anonymous, asn: None },
            Statement::Owners { owners } => Statement::Owners {
                owners: owners
                    .into_iter()
                    .map(|(name, share)| (self.owners.get(&name).cloned().unwrap_or(name), share))
                    .collect(),
            },
            said @ (Statement::States { .. } | Statement::Nationalities { .. } | Statement::Workload { .. }) => said,
        }
    }
}

impl Decision {
    /// Its bytes: RFC 8785 JSON.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(self)
    }
}

/// The facts that a decision looked at, with the marks it saw: what arrived later, be it in the same second, is left out.
#[must_use]
pub fn looked_at(mut facts: SubjectFacts, looked_at: &[LookedAt]) -> SubjectFacts {
    let parties = facts.related.parties.values_mut().map(|party| &mut party.attestations);
    for attestations in parties.chain([&mut facts.attestations]) {
        attestations.retain_mut(|attestation| match looked_at.iter().find(|used| used.id == attestation.id) {
            Some(used) => {
                attestation.marks.clone_from(&used.marks);
                true
            }
            None => false,
        });
    }
    facts
}
