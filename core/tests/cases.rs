//! The corpus of cases in `fixtures/cases`: people, evidence, and the decision that arithmetic says they must get.
#![expect(clippy::unwrap_used, reason = "a test fails where a production path must not")]

mod support;

use std::cell::OnceCell;
use vouchsafe_core::cases::Case;
use vouchsafe_core::rules::Library;

thread_local! {
    static LIBRARY: OnceCell<Library> = const { OnceCell::new() };
}

fn with_library<R>(ask: impl FnOnce(&Library) -> R) -> R {
    LIBRARY.with(|library| ask(library.get_or_init(support::library)))
}

/// What differs, and what keeps the case from being run.
fn run(name: &str, text: &str) -> Vec<String> {
    let case = match Case::from_toml(text) {
        Ok(case) => case,
        Err(findings) => return findings.iter().map(|finding| format!("{name}: {finding}")).collect(),
    };
    match with_library(|library| case.run(library)) {
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

/// A shipped case's person under expectations of one's own.
fn expecting(case: &str, expect: &str) -> Vec<String> {
    let path = support::files("cases").into_iter().find(|path| path.ends_with(case)).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let person = text.split("[[expect]]").next().unwrap();
    let case = Case::from_toml(&format!("{person}[[expect]]\n{expect}\n")).unwrap();
    match with_library(|library| case.run(library)) {
        Ok(runs) => runs.into_iter().flat_map(|run| run.differences).map(|difference| difference.what).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Figures of the shipped case; the confidence to its two places, belief .9534 to half a unit of its last place.
#[test]
fn each_member_that_does_not_hold_is_told_by_its_name() {
    let dual = |expect: &str| expecting("dual_citizen_behind_a_vpn.toml", &format!("status = \"eligible\"\n{expect}"));
    for (holds, differs, what) in [
        ("confidence = 0.95", "confidence = 0.951", "confidence"),
        ("confidence = 0.9500000005", "confidence = 0.950000002", "confidence"),
        ("confidence = 0.95", "confidence = \"none\"", "confidence"),
        ("confidence = 0.95", "confidence = \"much\"", "confidence"),
        ("decided_at = 2026-11-01T00:00:00Z", "decided_at = 2026-11-01T00:00:01Z", "decided_at"),
        ("expires_at = \"2027-01-30T00:00:00Z\"", "expires_at = \"none\"", "expires_at"),
        ("expiry_cause = \"policy_max_ttl\"", "expiry_cause = \"confidence\"", "expiry_cause"),
        ("exemption = \"none\"", "exemption = \"annex-a\"", "exemption"),
        ("reasons = [\"us_status.supported\"]", "reasons = [\"us_status.missing\"]", "reasons"),
        ("not_reasons = [\"us_status.missing\"]", "not_reasons = [\"us_status.supported\"]", "reasons"),
        ("live_criteria = []", "live_criteria = [\"location\"]", "live_criteria"),
        ("next_steps = []", "next_steps = [{ action = \"REVIEW\" }]", "next_steps"),
    ] {
        assert_eq!(dual(holds), Vec::<String>::new(), "{holds}");
        assert_eq!(dual(differs), [what], "{differs}");
    }
    let status = |expect: &str| dual(&format!("[expect.criteria.us-status]\n{expect}"));
    for (holds, differs, what) in [
        ("status = \"eligible\"", "status = \"review\"", "status"),
        ("belief = 0.95345", "belief = 0.9536", "belief"),
        ("disbelief = 0.00005", "disbelief = 0.0001", "disbelief"),
        ("neutral = false", "neutral = true", "neutral"),
        ("evidence = { vouch = \"counted\" }", "evidence = { vouch = \"ended\" }", "evidence.vouch"),
        ("", "key = \"org_a\"", "key"),
    ] {
        assert_eq!(status(holds), Vec::<String>::new(), "{holds}");
        assert_eq!(status(differs), [format!("criteria.us-status.{what}")], "{differs}");
    }
    assert_eq!(dual("[expect.criteria.nobody]"), ["criteria"]);
}

/// 18.0 units are missing, by four routes.
#[test]
fn a_next_step_is_told_apart_by_each_of_its_members() {
    let case = "strong_and_fair_where_one_does_not_suffice.toml";
    let step = |action: &str, rest: &str| {
        expecting(case, &format!("status = \"insufficient\"\nnext_steps = [{{ action = \"{action}\"{rest} }}]"))
    };
    for holds in [
        "",
        ", exemption = \"none\"",
        ", criterion = \"identity\"",
        ", criterion = \"identity\", missing_units = 18.005",
        ", criterion = \"identity\", evidence_for_one_of = [\"proofed\"]",
    ] {
        assert_eq!(step("PROVIDE", holds), Vec::<String>::new(), "{holds}");
    }
    assert_eq!(step("REVIEW", ""), ["next_steps"]);
    for differs in [
        ", exemption = \"annex-a\"",
        ", at = 2026-11-21T00:00:00Z",
        ", criterion = \"us-status\"",
        ", criterion = \"identity\", missing_units = 18.006",
        ", criterion = \"identity\", missing_units = 17.994",
        ", criterion = \"identity\", routes = [\"document_check SUPERIOR\"]",
        ", criterion = \"identity\", evidence_for_one_of = [\"not_proofed\"]",
        // One member that holds makes up for none that does not.
        ", exemption = \"annex-a\", criterion = \"identity\"",
        ", exemption = \"none\", criterion = \"us-status\"",
        ", criterion = \"identity\", missing_units = 17.0, evidence_for_one_of = [\"proofed\"]",
    ] {
        assert_eq!(step("PROVIDE", differs), ["next_steps"], "{differs}");
    }
}

#[test]
fn what_has_no_name_is_numbered_apart_from_all_others() {
    // Many of the subject's own, two of one party, one of another: what differs under one id is believed by nobody.
    let own = "[[attestations]]\nkind = \"declaration\"\nchecked_at = 2026-11-01T00:00:00Z\n";
    let own =
        format!("{own}statement = {{ type = \"states\", frame = \"us_status\", states = [\"citizen\"] }}\n").repeat(51);
    let party = |name: &str| {
        format!("[[parties]]\nid = \"sub_{name}\"\nkind = \"organisation\"\norganisation = \"org_{name}\"\n")
    };
    let theirs = "[[parties.attestations]]\nkind = \"registry\"\ngrade = \"STRONG\"\nchecked_at = 2026-11-01T00:00:00Z\n\
        statement = { type = \"states\", frame = \"incorporation\", states = [\"USA\"] }\n";
    let (one, two) = (party("one"), party("two"));
    let people = format!("{own}{one}{theirs}{theirs}{two}{theirs}");
    let expect = "[[expect]]\nstatus = \"insufficient\"\nnot_reasons = [\"facts.inconsistent\"]\n";
    let head = "title = \"t\"\npolicy = \"ear_us_person\"\nresource = \"restricted.x\"\nat = 2026-11-21T00:00:00Z\n";
    assert_eq!(run("numbered", &format!("{head}{people}{expect}")), Vec::<String>::new());
}

#[test]
fn the_newest_version_of_the_policy_named_is_in_force() {
    let mut library = support::library();
    let embargo = library.policies[&("embargo".to_owned(), 1)].clone();
    let mut newer = embargo.clone();
    newer.criteria.truncate(1);
    library.policies.insert(("embargo".to_owned(), 2), newer);
    library.policies.insert(("ear_us_person".to_owned(), 7), embargo);
    let text = format!("{INLINE}status = \"insufficient\"\nlive_criteria = [\"location\"]\n");
    // Version 2 leaves nothing to the request.
    let runs = Case::from_toml(&text).unwrap().run(&library).unwrap();
    assert_eq!(runs[0].differences.iter().map(|d| d.what.as_str()).collect::<Vec<_>>(), ["live_criteria"]);
}

#[test]
fn a_confidence_that_is_no_number_is_never_met() {
    let with = |confidence: &str| {
        run("inline", &format!("{INLINE}status = \"insufficient\"\nconfidence = \"{confidence}\"\n"))
    };
    assert_eq!((with("none").len(), with("much").len()), (0, 1));
}
