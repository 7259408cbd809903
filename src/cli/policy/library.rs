//! Packs, sets, policies and cases in files, told apart by what they hold.

use crate::service::world::SHIPPED_PACKS;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vouchsafe_core::check::{Finding, Level};
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::document::Document;
use vouchsafe_core::policy::{NamedSet, Policy};
use vouchsafe_core::rules::Library;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A policy: it has criteria.
    Policy,
    /// A definition pack: it has rows.
    Pack,
    /// A set: it has members.
    Set,
    /// A case: it expects something.
    Case,
}

impl Kind {
    pub(crate) fn of(document: &Document) -> Option<Self> {
        let has = |member: &str| document.value.get(member).is_some();
        [("expect", Self::Case), ("criteria", Self::Policy), ("rows", Self::Pack), ("members", Self::Set)]
            .into_iter()
            .find(|(member, _)| has(member))
            .map(|(_, kind)| kind)
    }
}

/// What was found in one file.
#[derive(Debug, Serialize)]
pub(crate) struct FileFindings {
    file: String,
    pub(crate) findings: Vec<Finding>,
}

impl FileFindings {
    pub(crate) fn new(file: &Path, findings: Vec<Finding>) -> Self {
        Self { file: file.display().to_string(), findings }
    }

    /// One line a finding, as compilers write them, with what to do below it.
    pub(crate) fn shown(&self) -> String {
        if self.findings.is_empty() {
            return format!("{}: ok", self.file);
        }
        let line = |finding: &Finding| {
            let place = finding.place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
            let level = if finding.level == Level::Refused { "refused" } else { "warning" };
            let advice = finding.advice.as_ref().map(|advice| format!("\n    {advice}")).unwrap_or_default();
            format!("{}{place}: {level}: {}{advice}", self.file, finding.problem)
        };
        self.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn text(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))
}

/// Everything wrong with a file that must hold one of these kinds.
pub(crate) fn examined(file: &Path, library: &Library, kinds: &[Kind]) -> anyhow::Result<FileFindings> {
    let mut document = match Document::from_toml(&text(file)?) {
        Ok(document) => document,
        Err(findings) => return Ok(FileFindings::new(file, findings)),
    };
    // What holds nothing known is taken for what was asked for, so that it is told what is missing.
    let kind = Kind::of(&document).filter(|kind| kinds.contains(kind)).or(kinds.first().copied());
    let findings = match kind {
        Some(Kind::Pack) => Pack::examine(&mut document, library).1,
        Some(Kind::Set) => NamedSet::examine(&mut document).1,
        _ => Policy::examine(&mut document, library).1,
    };
    Ok(FileFindings::new(file, findings))
}

/// A policy, unless something about it is refused.
pub(crate) fn policy(file: &Path, library: &Library) -> anyhow::Result<(Option<Policy>, Vec<Finding>)> {
    Ok(match Document::from_toml(&text(file)?) {
        Ok(mut document) => Policy::examine(&mut document, library),
        Err(findings) => (None, findings),
    })
}

/// The packs that ship.
pub(crate) fn shipped() -> anyhow::Result<Library> {
    let mut library = Library::default();
    for text in SHIPPED_PACKS {
        let pack = Pack::from_toml(text)?;
        library.packs.insert(pack.name(), pack);
    }
    Ok(library)
}

/// The `.toml` files of a folder in order, or the file itself.
pub(crate) fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading `{}`", path.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

/// Packs and sets that are there for a file, with those policies that are sound: what ships, then `rules`, or else the file's own
/// folder and its neighbours.
pub(crate) fn beside(file: &Path, rules: &[PathBuf]) -> anyhow::Result<Library> {
    let folder = if file.is_dir() { file } else { file.parent().unwrap_or(Path::new("")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let usual = || {
        let neighbours = ["definitions", "sets", "policies"].map(|name| folder.join("..").join(name));
        std::iter::once(folder.to_owned()).chain(neighbours).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let places = if rules.is_empty() { usual() } else { rules.to_vec() };
    let mut paths = Vec::new();
    for place in places {
        paths.extend(files(&place)?);
    }
    // A folder may be its own neighbour.
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    let mut library = shipped()?;
    let mut later = Vec::new();
    for path in paths {
        // What is no TOML is told when it is checked itself.
        let Ok(mut document) = Document::from_toml(&text(&path)?) else { continue };
        match Kind::of(&document) {
            Some(Kind::Pack) => {
                if let (Some(pack), _) = Pack::examine(&mut document, &library) {
                    take_pack(&mut library, pack, &path)?;
                }
            }
            Some(Kind::Set) => {
                if let (Some(set), _) = NamedSet::examine(&mut document) {
                    if library.sets.get(&set.id).is_some_and(|held| *held != set) {
                        bail!("`{}`: another set `{}` is there already", path.display(), set.id);
                    }
                    library.sets.insert(set.id.clone(), set);
                }
            }
            Some(Kind::Policy) => later.push(document),
            Some(Kind::Case) | None => {}
        }
    }
    for mut document in later {
        if let (Some(policy), _) = Policy::examine(&mut document, &library) {
            // Later versions of a policy follow in the order of their files.
            let version = 1 + library.policies.keys().filter(|(id, _)| *id == policy.id).count();
            library.policies.insert((policy.id.clone(), u32::try_from(version)?), policy);
        }
    }
    Ok(library)
}

/// A version says one thing for ever, the ones that ship included.
fn take_pack(library: &mut Library, pack: Pack, path: &Path) -> anyhow::Result<()> {
    let name = pack.name();
    if library.packs.get(&name).is_some_and(|held| *held != pack) {
        bail!("`{}`: another pack `{name}` is there already, so raise `version`", path.display());
    }
    library.packs.insert(name, pack);
    Ok(())
}
