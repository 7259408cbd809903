//! What was found of each mutant, kept in a file so that a stopped run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Mutant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Caught,
    /// No end in sight: caught by the time it takes.
    Timeout,
    Missed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Timeout => "timeout",
            Self::Missed => "missed",
        }
    }
}

/// Outcomes by mutant, and the file that they are added to.
pub(crate) struct Outcomes {
    path: PathBuf,
    /// Name and digest of the file that it is in, by the mutant's number.
    keys: Vec<(String, String)>,
    known: BTreeMap<usize, Outcome>,
}

impl Outcomes {
    /// Takes up what an earlier run found: what was caught stays caught while the mutated file is the same. What was missed is
    /// tried again, since tests may have been added.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn read(path: &Path, mutants: &[Mutant], sources: &BTreeMap<String, String>) -> Result<Self> {
        let digests: BTreeMap<&String, String> = sources.iter().map(|(file, text)| (file, digest(text))).collect();
        let keys: Vec<_> =
            mutants.iter().map(|m| (m.name.clone(), digests.get(&m.file).cloned().unwrap_or_default())).collect();
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        let kept: BTreeMap<(&str, &str), Outcome> = text
            .lines()
            .filter_map(|line| {
                let mut columns = line.split('\t');
                let outcome = match columns.next()? {
                    "caught" => Outcome::Caught,
                    "timeout" => Outcome::Timeout,
                    _ => return None,
                };
                let (digest, name) = (columns.next()?, columns.next()?);
                Some(((name, digest), outcome))
            })
            .collect();
        let known = keys
            .iter()
            .enumerate()
            .filter_map(|(n, (name, digest))| Some((n + 1, *kept.get(&(name.as_str(), digest.as_str()))?)));
        Ok(Self { path: path.to_owned(), known: known.collect(), keys })
    }

    pub(crate) fn known(&self, mutant: usize) -> Option<Outcome> {
        self.known.get(&mutant).copied()
    }

    /// Writes beside the outcomes which mutants no test has noticed so far.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn show_open(&self, open: &[usize]) -> Result<()> {
        let names: String = open.iter().map(|id| format!("{}\n", self.keys[id - 1].0)).collect();
        Ok(std::fs::write(self.path.with_file_name("open.txt"), names)?)
    }

    /// Writes what is known of every mutant, one a line, without what earlier runs knew of other sources.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn sum_up(&self, unviable: &BTreeSet<usize>) -> Result<()> {
        let line = |(id, (name, _)): (usize, &(String, String))| {
            let outcome = self.known(id).map(Outcome::word).or(unviable.contains(&id).then_some("unviable"));
            outcome.map(|outcome| format!("{outcome}\t{name}\n"))
        };
        let text: String = (1..).zip(&self.keys).filter_map(line).collect();
        Ok(std::fs::write(self.path.with_file_name("result.tsv"), text)?)
    }

    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Keeps what was found and by what.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&mut self, mutant: usize, outcome: Outcome, by: &str) -> Result<()> {
        let (name, digest) = &self.keys[mutant - 1];
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{}\t{digest}\t{name}\t{by}\n", outcome.word()).as_bytes())?;
        self.known.insert(mutant, outcome);
        Ok(())
    }
}

fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
