//! `docs/security.md` names a test or file for what it claims: each must be there.

use crate::architecture::sources;
use std::collections::BTreeSet;
use std::path::Path;

/// Names of functions and of case files in `text`'s folder tree.
fn known(root: &Path) -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "core", "verify"] {
        sources(&root.join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            if let Some((_, rest)) = line.split_once("fn ") {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                names.insert(name);
            }
        }
    }
    for case in std::fs::read_dir(root.join("fixtures/cases")).unwrap() {
        names.insert(case.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    }
    names
}

#[test]
fn every_test_and_file_that_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let known = known(root);
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| T")).collect();
    let mut missing = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{row}");
        assert_eq!(cells[1], format!("T{}", index + 1));
        let mut shown = 0;
        for name in cells[3].split('`').skip(1).step_by(2) {
            let is_path = name.contains('/') || name.contains('.') || name == "Dockerfile";
            let is_test = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && name.matches('_').count() > 1;
            if is_path || is_test {
                shown += 1;
                if !(if is_path { root.join(name).exists() } else { known.contains(name) }) {
                    missing.push(format!("{}: {name}", cells[1]));
                }
            }
        }
        assert!(shown > 0, "{} shows nothing", cells[1]);
    }
    assert_eq!(rows.len(), 26);
    assert!(missing.is_empty(), "{missing:#?}");
}
