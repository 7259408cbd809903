//! Imports run one way: `http → service → {intake, token, storage} → core`; the verifier stands alone.

use std::path::{Path, PathBuf};

pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Modules of ours that a file mentions as `crate::name`.
fn mentions(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let forbidden: [(&str, &[&str]); 6] = [
        ("storage", &["http", "service", "cli", "intake", "token", "config"]),
        ("intake", &["http", "service", "cli", "storage", "config"]),
        ("token", &["http", "service", "cli", "intake", "config"]),
        ("service", &["http", "cli", "config"]),
        ("http", &["cli", "storage", "config"]),
        ("crypto", &["http", "service", "cli", "storage", "intake", "token"]),
    ];
    let mut broken = Vec::new();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    for file in &files {
        let relative = file.strip_prefix(root.join("src")).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let text = std::fs::read_to_string(file).unwrap();
        for (layer, refused) in forbidden {
            if module == layer {
                broken.extend(
                    mentions(&text)
                        .filter(|name| refused.contains(name))
                        .map(|name| format!("{}: crate::{name}", relative.display())),
                );
            }
        }
    }
    assert!(files.len() > 30 && broken.is_empty(), "{broken:#?}");
}

/// Lines of a manifest's section.
fn section<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    manifest.lines().skip_while(move |line| *line != name).skip(1).take_while(|line| !line.starts_with('['))
}

fn knows_no_clock_files_or_environment(folder: &str, except: &[&str]) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.retain(|file| !except.iter().any(|name| file.starts_with(root.join(name))));
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for word in ["SystemTime", "std::fs", "std::env"] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
    files.len()
}

#[test]
fn the_core_knows_no_runtime_database_or_network() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("core/Cargo.toml")).unwrap();
    for name in ["tokio", "sqlx", "axum", "reqwest"] {
        assert!(!manifest.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert!(knows_no_clock_files_or_environment("core/src", &[]) > 10);
}

#[test]
fn the_verifier_alone_knows_neither_service_nor_runtime() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/Cargo.toml")).unwrap();
    assert!(section(&manifest, "[features]").any(|line| line == "default = []"));
    assert!(section(&manifest, "[dependencies]").count() > 3);
    for line in section(&manifest, "[dependencies]") {
        for name in ["vouchsafe", "sqlx", "axum"] {
            assert!(!line.starts_with(name), "{line}");
        }
        for name in ["tokio", "reqwest", "tower", "http"] {
            assert!(!line.starts_with(name) || line.contains("optional = true"), "{line}");
        }
    }
    assert!(
        knows_no_clock_files_or_environment(
            "verify/src",
            &["fetch.rs", "gate.rs", "gate", "testing.rs", "token/tests.rs"]
        ) > 2
    );
}
