//! Reading the shipped packs, sets and policies.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot be read fails the test")]

use std::path::{Path, PathBuf};
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::policy::{NamedSet, Policy};
use vouchsafe_core::rules::Library;

pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every shipped pack, set and policy; policies as version 1 of themselves.
pub(crate) fn library() -> Library {
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let mut library = Library { weights: Weights::default(), ..Library::default() };
    for path in files("definitions") {
        let pack = Pack::from_toml(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        library.packs.insert(pack.name(), pack);
    }
    for path in files("sets") {
        let set: NamedSet = toml::from_str(&read(&path)).unwrap();
        library.sets.insert(set.id.clone(), set);
    }
    for path in files("policies") {
        let policy = Policy::from_toml(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        library.policies.insert((policy.id.clone(), 1), policy);
    }
    library
}
