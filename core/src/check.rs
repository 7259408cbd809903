//! What is wrong with rules before they act: every refusal and warning, with its place and what to do.

mod burden;
mod pack;
mod policy;

use crate::definitions::Pack;
use crate::document::{Document, Place};
use crate::policy::{NamedSet, Policy};
use crate::rules::Library;
use crate::second::Second;
use serde::Serialize;
use std::fmt;

pub use burden::lasts;
pub(crate) use policy::{can_support, kinds, members};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It can be used; somebody should look.
    Warning,
    /// It cannot be used.
    Refused,
}

/// One thing wrong with a policy, a pack, a set or a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The member, as a JSON pointer (RFC 6901); empty for the whole.
    pub pointer: String,
    /// Where it stands in the text, if it came as a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The element of the list at `pointer` that it is about.
    #[serde(skip)]
    pub item: Option<String>,
    /// It is about the member's name, not its value.
    #[serde(skip)]
    pub about_name: bool,
}

impl Finding {
    fn new(level: Level, pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        let (pointer, problem) = (pointer.into(), problem.into());
        Self { level, pointer, place: None, problem, advice: None, item: None, about_name: false }
    }

    /// Something that cannot be used.
    #[must_use]
    pub fn refused(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(Level::Refused, pointer, problem)
    }

    /// Something to look at.
    #[must_use]
    pub fn warning(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(Level::Warning, pointer, problem)
    }

    /// With what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// About one element of the list at its pointer.
    #[must_use]
    pub fn item(mut self, item: impl Into<String>) -> Self {
        self.item = Some(item.into());
        self
    }

    /// About the member's name.
    #[must_use]
    pub fn at_name(mut self) -> Self {
        self.about_name = true;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

/// Whether anything is refused.
#[must_use]
pub fn refused(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Refused)
}

/// From this likeness on (Jaro-Winkler) a name was probably meant.
const NEAR: f64 = 0.8;

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    known
        .into_iter()
        .map(|other| (alike(other), other))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

/// Advice with the name that was meant, or with what there is.
pub(crate) fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone, else_say: &str) -> String {
    match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => else_say.to_owned(),
    }
}

/// Names of policies, criteria, exemptions, packs and rows.
fn name_ok(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// Names that sets are called by, before the date.
fn dated(id: &str) -> Option<(&str, &str)> {
    id.split_once('@').filter(|(name, date)| name_ok(name) && !date.is_empty())
}

/// Reads and checks one kind of rules; findings in the order of the text.
fn checked<T: serde::de::DeserializeOwned>(
    document: &mut Document,
    look: impl FnOnce(&T) -> Vec<Finding>,
) -> (Option<T>, Vec<Finding>) {
    let written = document.clone();
    let (read, mut findings) = document.read::<T>();
    let told: Vec<String> = findings.iter().map(|finding| finding.pointer.clone()).collect();
    if let Some(value) = &read {
        // What was made up or mended is told already.
        findings.extend(look(value).into_iter().filter(|finding| !told.contains(&finding.pointer)));
    }
    let mut findings: Vec<Finding> =
        findings.into_iter().map(|finding| written.located(document.located(finding))).collect();
    findings.sort_by(|a, b| (a.place, &a.pointer).cmp(&(b.place, &b.pointer)));
    (read.filter(|_| !refused(&findings)), findings)
}

/// Reads anything and tells what does not fit its form; nothing comes back when something is refused.
#[must_use]
pub fn read<T: serde::de::DeserializeOwned>(document: &mut Document) -> (Option<T>, Vec<Finding>) {
    checked(document, |_: &T| Vec::new())
}

impl Policy {
    /// Reads a policy and tells everything that is wrong with it, given the packs and sets there are. A policy comes
    /// back only when nothing is refused; every default is written out in it.
    #[must_use]
    pub fn examine(document: &mut Document, library: &Library) -> (Option<Self>, Vec<Finding>) {
        let (policy, findings) = checked(document, |policy: &Self| policy.findings(library));
        let policy = policy.map(|mut policy| {
            policy.write_out_defaults();
            policy
        });
        (policy, findings)
    }

    /// Everything that is wrong with it, given the packs and sets there are.
    #[must_use]
    pub fn findings(&self, library: &Library) -> Vec<Finding> {
        policy::findings(self, library)
    }
}

impl Pack {
    /// Reads a pack and tells everything that is wrong with it. A pack comes back only when nothing is refused.
    #[must_use]
    pub fn examine(document: &mut Document, library: &Library) -> (Option<Self>, Vec<Finding>) {
        checked(document, |pack: &Self| pack.findings(library))
    }

    /// Everything that is wrong with it.
    #[must_use]
    pub fn findings(&self, library: &Library) -> Vec<Finding> {
        pack::findings(self, &library.weights)
    }
}

impl NamedSet {
    /// Reads a set and tells everything that is wrong with it. A set comes back only when nothing is refused.
    #[must_use]
    pub fn examine(document: &mut Document) -> (Option<Self>, Vec<Finding>) {
        checked(document, Self::findings)
    }

    /// Everything that is wrong with it: a set has a name, a day on which it was true, a source and members.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match dated(&self.id) {
            None => findings.push(
                Finding::refused("/id", "a set without a name and a date")
                    .advise("write `name@date`, for example `embargoed@2026-11`"),
            ),
            Some((_, date)) if !self.as_of.starts_with(date) => findings.push(
                Finding::refused("/as_of", format!("is not the date in the name, `{date}`"))
                    .advise("name the set by the day, month or year of `as_of`"),
            ),
            Some(_) => {}
        }
        if Second::start_of_date(&self.as_of).is_err() {
            findings.push(Finding::refused("/as_of", "is no day").advise("write the day as YYYY-MM-DD"));
        }
        if self.source.trim().is_empty() {
            findings.push(Finding::refused("/source", "is empty").advise("say where the list comes from"));
        }
        if self.members.is_empty() {
            findings.push(Finding::refused("/members", "the set is empty"));
        }
        if self.members.iter().any(|member| member.trim().is_empty()) {
            findings.push(Finding::refused("/members", "a member is empty").item(""));
        }
        findings
    }
}
