//! The examples of `docs/policy.md`: its files are written, its commands run, and what they say is what the page shows.

use crate::binary::BINARY;
use crate::support::TempDir;
use std::path::Path;
use std::process::Command;

/// Fenced blocks of a page: what follows the fence's marks, and the content.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(info), false) => {
                inside = true;
                found.push((info.to_owned(), String::new()));
            }
            (None, true) => {
                let (_, content) = found.last_mut().unwrap();
                content.push_str(line);
                content.push('\n');
            }
            (None, false) => {}
        }
    }
    found
}

/// Runs `vouchsafe …` as it stands behind the prompt, and gives exit code and output as a page shows them.
fn run(line: &str, folder: &Path) -> String {
    let (command, _) = line.split_once('#').unwrap_or((line, ""));
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("vouchsafe"), "{line}");
    let done = Command::new(BINARY).args(words).current_dir(folder).output().unwrap();
    assert!(done.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    let note = match done.status.code() {
        Some(0) => String::new(),
        code => format!("   # exit code {}", code.unwrap()),
    };
    format!("$ {}{note}\n{}", command.trim(), String::from_utf8(done.stdout).unwrap())
}

#[test]
fn the_worked_examples_say_what_the_page_shows() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md")).unwrap();
    let folder = TempDir::new();
    let mut commands = 0;
    for (info, content) in blocks(&page) {
        if let Some(name) = info.strip_prefix("toml file=") {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        } else {
            assert_eq!(info, "console", "a block that nobody runs");
            let said: String = content
                .lines()
                .filter_map(|line| line.strip_prefix("$ "))
                .map(|line| {
                    commands += 1;
                    run(line, folder.path())
                })
                .collect();
            assert_eq!(said.trim_end(), content.trim_end());
        }
    }
    assert!(commands >= 6, "{commands} commands");
}

#[test]
fn the_shipped_rules_pass_the_commands_that_the_page_describes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (arguments, last) in [
        (["policy", "check", "fixtures/policies/uk_settled.toml"], "fixtures/policies/uk_settled.toml: ok"),
        (
            ["definitions", "check", "fixtures/definitions/uk_status@1.toml"],
            "fixtures/definitions/uk_status@1.toml: ok",
        ),
        (["definitions", "check", "fixtures/sets/embargoed@2026-11.toml"], "fixtures/sets/embargoed@2026-11.toml: ok"),
        (["policy", "test", "fixtures/cases"], ", 0 failed"),
    ] {
        let done = Command::new(BINARY).args(arguments).current_dir(root).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && said.trim_end().ends_with(last), "{arguments:?}: {said}");
    }
}
