//! The packs, sets and policies that ship with the project can be read and pass the checks.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where a production path must not")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::policy::{NamedSet, Policy};
use vouchsafe_core::rules::Library;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn library() -> Library {
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let mut library = Library { weights: Weights::default(), ..Library::default() };
    for path in files("definitions") {
        let pack = Pack::from_toml(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), pack.name());
        library.packs.insert(pack.name(), pack);
    }
    for path in files("sets") {
        let set: NamedSet = toml::from_str(&read(&path)).unwrap();
        library.sets.insert(set.id.clone(), set);
    }
    library
}

#[test]
fn every_shipped_policy_passes_its_check() {
    let library = library();
    let policies = files("policies");
    assert!(policies.len() >= 6);
    for path in policies {
        let policy = Policy::from_toml(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        policy.check(&library.packs, &library.sets, &library.weights).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_criterion_nobody_can_reach_is_refused_with_its_name() {
    let library = library();
    let text =
        std::fs::read_to_string(files("policies").iter().find(|p| p.ends_with("embargo.toml")).unwrap()).unwrap();
    let mut policy = Policy::from_toml(&text).unwrap();
    policy.criteria[0].eligible_at = 0.999;
    let error =
        policy.check(&library.packs, &BTreeMap::clone(&library.sets), &library.weights).unwrap_err().to_string();
    assert!(error.contains("criterion `identity`") && error.contains("nobody can reach it"), "{error}");
}
