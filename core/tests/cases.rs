//! The corpus of cases in `fixtures/cases`: people, evidence, and the decision that arithmetic says they must get.

mod support;

use vouchsafe_core::cases::Case;

/// What differs, and what keeps the case from being run.
fn run(name: &str, text: &str) -> Vec<String> {
    let case = match Case::from_toml(text) {
        Ok(case) => case,
        Err(findings) => return findings.iter().map(|finding| format!("{name}: {finding}")).collect(),
    };
    match case.run(&support::library()) {
        Ok(runs) => runs
            .iter()
            .flat_map(|run| run.differences.iter().map(move |difference| (run.at, difference)))
            .map(|(at, d)| format!("{name} at {at}: {} is {}, must be {}", d.what, d.actual, d.expected))
            .collect(),
        Err(error) => vec![format!("{name}: {error}")],
    }
}

#[test]
fn every_case_gets_the_decision_that_arithmetic_gives() {
    let files = support::files("cases");
    assert!(files.len() >= 80, "{} cases", files.len());
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        failures.extend(run(&name, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

const INLINE: &str =
    "title = \"t\"\npolicy = \"embargo\"\nresource = \"regional.x\"\nat = 2026-11-21T00:00:00Z\n[[expect]]\n";

#[test]
fn a_wrong_expectation_is_reported() {
    // Status, one reason that is missing, a confidence where there is none: three differences.
    let text = format!("{INLINE}status = \"eligible\"\nreasons = [\"x\"]\nconfidence = 0.5\n");
    assert_eq!(run("inline", &text).len(), 3);
    assert!(run("inline", &format!("{INLINE}status = \"insufficient\"\n")).is_empty());
}

#[test]
fn a_case_that_says_what_nobody_reads_is_refused() {
    let text = format!("{INLINE}status = \"insufficient\"\nconfidance = 0.5\n");
    assert_eq!(run("inline", &text), ["inline: unknown member `confidance`: did you mean `confidence`?"]);
    let empty = "title = \"t\"\npolicy = \"embargo\"\nresource = \"regional.x\"\nexpect = []\n";
    assert_eq!(run("inline", empty), ["inline: a case that expects nothing proves nothing"]);
}
