//! Texts that once broke a reader, and the shipped files as seeds: the fuzz targets' own functions are called with each.
//! A crash that `tests/proof/fuzz.sh` finds is added to `fuzz/found/` under its target's name.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where a production path must not")]

#[path = "../../fuzz/src/readers.rs"]
#[expect(clippy::unwrap_used, reason = "what cannot happen there is what is looked for")]
mod readers;

use std::path::{Path, PathBuf};
use vouchsafe_core::timeline::Directive;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn each(target: &str, seeds: &[&str], read: fn(&str)) {
    let mut seen = 0;
    for folder in seeds.iter().map(|seed| format!("fixtures/{seed}")).chain([format!("fuzz/found/{target}")]) {
        for path in files(&folder) {
            readers::text(&std::fs::read(&path).unwrap(), read);
            seen += 1;
        }
    }
    assert!(seen > 0, "{target} was given nothing");
}

#[test]
fn the_reader_of_policies_stands_what_broke_it_and_what_ships() {
    each("policy", &["policies"], readers::policy);
}

#[test]
fn the_reader_of_packs_stands_what_broke_it_and_what_ships() {
    each("pack", &["definitions"], readers::pack);
}

#[test]
fn the_reader_of_cases_stands_what_broke_it_and_what_ships() {
    each("case", &["cases"], readers::case);
}

#[test]
fn the_reader_of_directives_stands_what_broke_it() {
    each("directive", &[], readers::directive);
    // Seeds that are refused at once would try nothing.
    assert!(toml::from_str::<Directive>(include_str!("../../fuzz/found/directive/friday.toml")).is_ok());
    assert!(serde_json::from_str::<Directive>(include_str!("../../fuzz/found/directive/friday.json")).is_ok());
}

#[test]
fn the_reader_of_facts_stands_what_broke_it() {
    each("facts", &[], readers::facts);
}
