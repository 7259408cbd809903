//! Everything that is wrong with a definition pack.

use super::{Finding, meant, name_ok};
use crate::definitions::{Pack, Proves, Row, Shape, Weights};
use std::collections::BTreeSet;

pub(super) fn findings(pack: &Pack, weights: &Weights) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !name_ok(&pack.id) {
        findings.push(Finding::refused("/id", "use 1 to 64 of `a-z 0-9 - _`"));
    }
    if pack.version == 0 {
        findings.push(Finding::refused("/version", "versions count from 1"));
    }
    if pack.source.trim().is_empty() {
        findings.push(Finding::refused("/source", "is empty").advise("say where the definitions come from"));
    }
    if let Shape::State { states } = &pack.shape
        && states.len() < 2
    {
        findings
            .push(Finding::refused("/shape", "a frame has at least two states").advise("one of them may be `other`"));
    }
    findings.extend(transitions(pack));
    findings.extend(numbers(pack));
    if pack.rows.is_empty() {
        findings.push(Finding::refused("/rows", "a pack without rows proves nothing"));
    }
    let mut seen = BTreeSet::new();
    for (index, row) in pack.rows.iter().enumerate() {
        let at = format!("/rows/{index}");
        if !name_ok(&row.id) {
            findings.push(Finding::refused(format!("{at}/id"), "use 1 to 64 of `a-z 0-9 - _`"));
        } else if !seen.insert(&row.id) {
            findings.push(Finding::refused(format!("{at}/id"), format!("row `{}` stands twice", row.id)));
        }
        findings.extend(self::row(pack, weights, row, &at));
    }
    findings
}

fn transitions(pack: &Pack) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (from, to)) in pack.transitions.iter().enumerate() {
        let at = format!("/transitions/{index}");
        match &pack.shape {
            Shape::State { states } => {
                let strangers = [from, to].into_iter().filter(|state| !states.contains(*state));
                findings.extend(strangers.map(|state| unknown_state(&at, state, states)));
            }
            Shape::OpenState => {}
            Shape::Membership => findings.push(
                Finding::refused(at.clone(), "a membership frame has no transitions")
                    .advise("remove it: yes and no may follow each other there"),
            ),
            Shape::Shares => findings.push(
                Finding::refused(at.clone(), "a frame of shares has no transitions")
                    .advise("remove it: the newest word about the owners counts"),
            ),
        }
        if from == to {
            findings.push(Finding::refused(at, format!("`{from}` to itself is no change")));
        }
    }
    findings
}

fn unknown_state(pointer: &str, state: &str, states: &BTreeSet<String>) -> Finding {
    let known: Vec<&str> = states.iter().map(String::as_str).collect();
    let else_say = format!("the states are {}", crate::document::listed(&known));
    Finding::refused(pointer, format!("`{state}` is not a state of the frame"))
        .item(state)
        .advise(meant(state, known, &else_say))
}

/// Trust and classes of its own.
fn numbers(pack: &Pack) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, trust) in &pack.trust {
        if !(*trust > 0.0 && *trust < 1.0) {
            let name = serde_json::to_value(source).ok().and_then(|name| name.as_str().map(str::to_owned));
            let at = format!("/trust/{}", name.unwrap_or_default());
            findings.push(Finding::refused(at, "trust is a number between 0 and 1, neither of them included"));
        }
    }
    for (name, class) in &pack.classes {
        let at = crate::document::step("/classes", name);
        let own = name.strip_prefix(&pack.id).and_then(|rest| rest.strip_prefix('.'));
        if !own.is_some_and(name_ok) {
            let problem = format!("class `{name}` could be taken for another pack's");
            let advice = format!("name it `\"{}.…\"`", pack.id);
            findings.push(Finding::refused(at.clone(), problem).at_name().advise(advice));
        }
        if class.half_life.secs() < 1 {
            let problem = "evidence would be worth nothing after its grace";
            findings.push(Finding::refused(format!("{at}/half_life"), problem).advise("give at least `1s`"));
        }
        if class.max_age.is_some_and(|age| age < class.grace) {
            let problem = "ends before `grace` does";
            findings.push(Finding::refused(format!("{at}/max_age"), problem).advise("make it at least as long"));
        }
        if !pack.rows.iter().any(|row| row.class == *name) {
            findings.push(Finding::warning(at, format!("no row is of class `{name}`")).at_name());
        }
    }
    findings
}

fn row(pack: &Pack, weights: &Weights, row: &Row, at: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let classes = || weights.classes.keys().chain(pack.classes.keys()).map(String::as_str);
    if !classes().any(|class| class == row.class) {
        let known: Vec<&str> = classes().collect();
        let else_say = format!("choose from {}", crate::document::listed(&known));
        findings.push(
            Finding::refused(format!("{at}/class"), format!("row `{}`: no class `{}`", row.id, row.class))
                .advise(meant(&row.class, known, &else_say)),
        );
    }
    match (&row.when, row.all_of.len()) {
        (Some(_), 0) => {}
        (None, 2..) => {
            let proving = row.all_of.iter().filter(|part| part.proves).count();
            if proving != 1 {
                let problem = format!("row `{}`: {proving} parts prove the state", row.id);
                findings.push(
                    Finding::refused(format!("{at}/all_of"), problem).advise(
                        "set `proves = true` in exactly one part: the one that gives document, assessor and date",
                    ),
                );
            }
        }
        _ => findings.push(
            Finding::refused(at, format!("row `{}`: must say which facts it takes", row.id))
                .advise("give either `when`, or `all_of` with two or more parts"),
        ),
    }
    let place = format!("{at}/proves");
    match (&row.proves, &pack.shape) {
        (Proves::States { states }, Shape::State { states: frame }) => {
            let place = format!("{place}/states");
            if states.is_empty() {
                findings.push(Finding::refused(place.clone(), format!("row `{}` proves no state", row.id)));
            }
            findings.extend(states.iter().filter(|s| !frame.contains(*s)).map(|s| unknown_state(&place, s, frame)));
        }
        (Proves::States { states }, Shape::OpenState) => {
            if states.is_empty() {
                findings
                    .push(Finding::refused(format!("{place}/states"), format!("row `{}` proves no state", row.id)));
            }
        }
        (Proves::Statement | Proves::Against, Shape::State { .. } | Shape::OpenState)
        | (Proves::ExitCountry, Shape::OpenState)
        | (Proves::Organisation | Proves::Nationalities, Shape::Membership)
        | (Proves::Owners, Shape::Shares) => {}
        _ => findings.push(
            Finding::refused(place, format!("row `{}`: what it proves does not fit the frame's shape", row.id))
                .advise("`states`, `statement` and `against` are for states; `exit_country` for open states; `organisation` and `nationalities` for memberships; `owners` for shares"),
        ),
    }
    findings
}
