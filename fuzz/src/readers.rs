//! What must hold of any text that a reader of the core is given: it is refused in words or read, never a panic, and nothing
//! that can be read lets somebody in without evidence. The fuzz targets and a test of the core's suite call the same functions.
#![allow(dead_code, reason = "each target calls one of them")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use vouchsafe_core::cases::Case;
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::evidence::interpret;
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::{NamedSet, Policy, WhenUnknown};
use vouchsafe_core::rules::{Library, Rules};
use vouchsafe_core::timeline::{Action, Directive, Entry, state_at};
use vouchsafe_core::{Decision, Second, Status, check_live, decide};

const AT: i64 = 1_795_219_200;

fn fixture(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let mut library = Library { weights: Weights::default(), ..Library::default() };
    for pack in fixture("definitions").iter().map(|text| Pack::from_toml(text).unwrap()) {
        library.packs.insert(pack.name(), pack);
    }
    for set in fixture("sets").iter().map(|text| toml::from_str::<NamedSet>(text).unwrap()) {
        library.sets.insert(set.id.clone(), set);
    }
    for policy in fixture("policies").iter().map(|text| Policy::from_toml(text).unwrap()) {
        library.policies.insert((policy.id.clone(), 1), policy);
    }
    library
});

/// Somebody with a passport, a vouch and a declaration.
static SOMEBODY: LazyLock<Vec<Attestation>> = LazyLock::new(|| {
    let text = include_str!("somebody.json");
    serde_json::from_str(text).unwrap()
});

fn person(attestations: Vec<Attestation>) -> SubjectFacts {
    SubjectFacts::person(SubjectId::parse("sub_fuzz").unwrap(), attestations)
}

/// Calls `read` with what is text.
pub(crate) fn text(data: &[u8], read: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// What holds of every decision.
fn sound(rules: &Rules, decision: &Decision, at: Second) {
    serde_json::to_string(decision).unwrap();
    assert!(decision.at <= at);
    assert_eq!(decision.expires_at.is_some(), decision.status == Status::Eligible, "{decision:?}");
    for c in &decision.criteria {
        assert!((c.belief + c.disbelief + c.uncertainty - 1.0).abs() < 2e-4 && c.belief < 1.0, "{c:?}");
    }
    let live = check_live(rules, decision.clone(), &[], at);
    assert!(live.status <= decision.status);
}

/// A policy: read, checked, and asked about somebody and about nobody.
pub(crate) fn policy(text: &str) {
    let Ok(policy) = Policy::from_toml(text) else { return };
    let library = &*LIBRARY;
    let sound_rules = policy.check(library).is_ok();
    if sound_rules {
        let json = serde_json::to_value(&policy).unwrap();
        assert_eq!(serde_json::from_value::<Policy>(json).unwrap(), policy);
    }
    let at = Second::from_epoch(AT);
    let mut own = library.clone();
    let key = (policy.id.clone(), 77);
    own.policies.insert(key.clone(), policy.clone());
    let action = Action::Activate { policy: key.0, version: key.1 };
    let entry = Entry { seq: 1, directive: "fuzz".to_owned(), from: at.plus(-1_000_000), action };
    let resource = ["restricted.api", "own.x", "a"].iter().map(|id| ResourceId::parse(id).unwrap());
    for resource in resource.filter(|id| policy.resources.iter().any(|pattern| pattern.covers(id))) {
        let Ok(rules) = Rules::compile(&own, std::slice::from_ref(&entry), &resource, at) else {
            assert!(!sound_rules, "a checked policy does not compile");
            continue;
        };
        let nobody = decide(&rules, &person(Vec::new()), at);
        sound(&rules, &nobody, at);
        sound(&rules, &decide(&rules, &person(SOMEBODY.clone()), at), at);
        let waived: BTreeSet<&String> = policy.exemptions.iter().flat_map(|exemption| &exemption.waives).collect();
        let asks =
            policy.criteria.iter().any(|c| !c.live && c.when_unknown == WhenUnknown::Refuse && !waived.contains(&c.id));
        assert!(!asks || nobody.status != Status::Eligible, "nobody is let in");
    }
}

/// A pack: read, and asked what it makes of somebody's facts.
pub(crate) fn pack(text: &str) {
    let Ok(pack) = Pack::from_toml(text) else { return };
    let json = serde_json::to_value(&pack).unwrap();
    let again: Pack = serde_json::from_value(json).unwrap();
    assert_eq!(again, pack);
    again.check(&LIBRARY).unwrap();
    for e in interpret(&pack, &LIBRARY.weights, &SOMEBODY) {
        assert!((0.0..1.0).contains(&e.supporting_q) && (0.0..1.0).contains(&e.adverse_q), "{e:?}");
        assert!(e.parts.contains(&e.attestation));
    }
}

/// A directive, as file or as body: read, and its actions folded into a timeline in both orders.
pub(crate) fn directive(text: &str) {
    let read = toml::from_str::<Directive>(text).ok().or_else(|| serde_json::from_str(text).ok());
    let Some(directive) = read else { return };
    let json = serde_json::to_value(&directive).unwrap();
    assert_eq!(serde_json::from_value::<Directive>(json).unwrap(), directive);
    let from = directive.effective_at.unwrap_or(Second::from_epoch(AT));
    let start = Action::Activate { policy: "ear_us_person".to_owned(), version: 1 };
    let first = Entry { seq: 1, directive: "start".to_owned(), from: Second::from_epoch(0), action: start };
    let actions = directive.actions.iter().cloned().zip(2..);
    let own = |(action, seq): (Action, i64)| Entry { seq, directive: directive.id.clone(), from, action };
    let mut entries: Vec<Entry> = [first].into_iter().chain(actions.map(own)).collect();
    let resource = ResourceId::parse("restricted.api").unwrap();
    for t in [from.plus(-1), from, from.plus(1), Second::from_epoch(AT)] {
        let state = state_at(&entries, &LIBRARY.policies, &resource, t);
        assert!(state.since.is_none_or(|since| since <= t) && state.next_change.is_none_or(|next| next > t));
        entries.reverse();
        assert_eq!(state_at(&entries, &LIBRARY.policies, &resource, t), state, "the order of rows matters");
    }
}

/// A case: read, and run with the shipped rules. Whatever it expects, it is answered or refused in words.
pub(crate) fn case(text: &str) {
    match Case::from_toml(text) {
        Ok(case) => match case.run(&LIBRARY) {
            Ok(runs) => assert!(!runs.is_empty(), "a case that was not run"),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        Err(findings) => assert!(!findings.is_empty(), "refused without a word"),
    }
}

/// Facts of a subject: read, and decided under every shipped policy.
pub(crate) fn facts(text: &str) {
    let Ok(facts) = serde_json::from_str::<SubjectFacts>(text) else { return };
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<SubjectFacts>(&json).unwrap()).unwrap(), json);
    let at = Second::from_epoch(AT);
    for ((policy, version), body) in &LIBRARY.policies {
        let Some(pattern) = body.resources.first() else { continue };
        let resource = ResourceId::parse(&pattern.to_string().replace('*', "x")).unwrap();
        let action = Action::Activate { policy: policy.clone(), version: *version };
        let entry = Entry { seq: 1, directive: "fuzz".to_owned(), from: at.plus(-1_000_000), action };
        let rules = Rules::compile(&LIBRARY, &[entry], &resource, at).unwrap();
        sound(&rules, &decide(&rules, &facts, at), at);
    }
}
