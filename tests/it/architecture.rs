//! Imports run one way: `http → service → {intake, token, storage} → core`.

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

#[test]
fn the_core_knows_no_runtime_database_or_network() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("core/Cargo.toml")).unwrap();
    for name in ["tokio", "sqlx", "axum", "reqwest"] {
        assert!(!manifest.lines().any(|line| line.starts_with(name)), "{name}");
    }
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src"), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("SystemTime") && !text.contains("std::fs") && !text.contains("std::env"),
            "{}",
            file.display()
        );
    }
}
