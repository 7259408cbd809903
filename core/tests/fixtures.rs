//! The packs, sets and policies that ship with the project can be read and pass the checks.
#![expect(clippy::unwrap_used, reason = "a test fails where a production path must not")]

mod support;

use support::{files, library};
use vouchsafe_core::check::Finding;
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::document::Document;
use vouchsafe_core::policy::{NamedSet, Policy};

/// What a check finds in every file of a folder.
fn findings(folder: &str, examine: impl Fn(&mut Document) -> (bool, Vec<Finding>)) -> Vec<String> {
    let mut told = Vec::new();
    for path in files(folder) {
        let mut document = Document::from_toml(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let (read, findings) = examine(&mut document);
        assert!(read || !findings.is_empty(), "{}", path.display());
        told.extend(findings.iter().map(|finding| format!("{}: {finding}", path.display())));
    }
    told
}

#[test]
fn everything_that_ships_passes_its_check_without_a_warning() {
    let library = library();
    let mut told = findings("policies", |document| {
        let (policy, findings) = Policy::examine(document, &library);
        (policy.is_some(), findings)
    });
    told.extend(findings("definitions", |document| {
        let (pack, findings) = Pack::examine(document, &library);
        (pack.is_some(), findings)
    }));
    told.extend(findings("sets", |document| {
        let (set, findings) = NamedSet::examine(document);
        (set.is_some(), findings)
    }));
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(files("policies").len() >= 6 && files("definitions").len() >= 5 && files("sets").len() >= 2);
}

#[test]
fn a_pack_or_set_is_named_like_its_file() {
    let library = library();
    for path in files("definitions") {
        assert!(library.packs.contains_key(path.file_stem().unwrap().to_str().unwrap()), "{}", path.display());
    }
    for path in files("sets") {
        assert!(library.sets.contains_key(path.file_stem().unwrap().to_str().unwrap()), "{}", path.display());
    }
}
