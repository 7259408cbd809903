//! `vouchsafe policy test`: cases run, with a diff of what is expected and what is decided.

use super::library::{Kind, beside, files, text};
use crate::cli::say;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vouchsafe_core::cases::{Case, Run};
use vouchsafe_core::check::Finding;
use vouchsafe_core::document::Document;
use vouchsafe_core::rules::Library;

/// What one case came to.
#[derive(Debug, Serialize)]
struct Told {
    file: String,
    title: String,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    runs: Vec<Run>,
}

pub(super) fn run(dir: &Path, rules: &[PathBuf], as_json: bool) -> anyhow::Result<ExitCode> {
    let library = beside(dir, rules)?;
    let mut told = Vec::new();
    for file in files(dir)? {
        let text = text(&file)?;
        // Other rules may lie in the same folder.
        let other = Document::from_toml(&text).ok().and_then(|document| Kind::of(&document));
        if !matches!(other, Some(Kind::Policy | Kind::Pack | Kind::Set)) {
            told.push(case(&file, &text, &library));
        }
    }
    let failed = told.iter().filter(|case| !case.passed).count();
    if as_json {
        say(&json!({ "cases": told, "failed": failed }).to_string());
    } else {
        told.iter().for_each(|case| say(&case.shown()));
        say(&format!("{} cases, {failed} failed", told.len()));
    }
    // A folder without cases has proved nothing.
    Ok(if failed == 0 && !told.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn case(file: &Path, text: &str, library: &Library) -> Told {
    let file = file.display().to_string();
    let failed = |title: String, problem: String| Told {
        file: file.clone(),
        title,
        passed: false,
        problem: Some(problem),
        runs: Vec::new(),
    };
    let case = match Case::from_toml(text) {
        Ok(case) => case,
        Err(findings) => {
            let line = |finding: &Finding| match finding.place {
                Some(at) => format!("line {}, column {}: {finding}", at.line, at.column),
                None => finding.to_string(),
            };
            return failed("cannot be read".to_owned(), findings.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
    };
    match case.run(library) {
        Ok(runs) => {
            let passed = runs.iter().all(|run| run.differences.is_empty());
            Told { file, title: case.title, passed, problem: None, runs }
        }
        Err(error) => failed(case.title, error.to_string()),
    }
}

impl Told {
    fn shown(&self) -> String {
        let mut lines = vec![format!("{}  {}: {}", if self.passed { "ok  " } else { "FAIL" }, self.file, self.title)];
        lines.extend(self.problem.iter().flat_map(|problem| problem.lines()).map(|line| format!("      {line}")));
        for run in self.runs.iter().filter(|run| !run.differences.is_empty()) {
            lines.push(format!("      at {}", run.at));
            for difference in &run.differences {
                lines.push(format!("        {}", difference.what));
                lines.push(format!("          expected  {}", difference.expected));
                lines.push(format!("          decided   {}", difference.actual));
            }
        }
        lines.join("\n")
    }
}
