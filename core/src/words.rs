//! Policies in plain words: for the owner of a rule, a lawyer, an auditor.

use crate::check::{can_support, kinds, lasts};
use crate::compare::span;
use crate::definitions::{Pack, Proves, Weights};
use crate::facts::{Grade, Kind};
use crate::policy::{Along, Criterion, EndUser, Gate, Members, Of, Policy, Test, WhenUnknown};
use crate::rules::Library;
use crate::second::DAY;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a source of a kind gives, in words.
fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::DocumentCheck => "a document check",
        Kind::Registry => "a register's record",
        Kind::Review => "a reviewer's finding",
        Kind::Vouch => "an organisation's vouch",
        Kind::Directory => "an organisation's directory",
        Kind::Declaration => "the person's own word",
        Kind::Observation => "a network observation",
        Kind::Adjudication => "an adjudication",
        Kind::CrossCheck => "what this service saw by comparing",
    }
}

fn grade_in_words(grade: Grade) -> &'static str {
    match grade {
        Grade::SelfDeclared => "SELF",
        Grade::Weak => "WEAK",
        Grade::Fair => "FAIR",
        Grade::Strong => "STRONG",
        Grade::Superior => "SUPERIOR",
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a String>, last: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The test of a criterion as a phrase after "must be".
fn asked(criterion: &Criterion, library: &Library) -> String {
    let set = criterion.members().find_map(|members| match members {
        Members::Set(name) => name.strip_prefix("set:").map(|key| {
            let source = library.sets.get(key).map(|set| format!(", as of {}; source: {}", set.as_of, set.source));
            format!(" (set `{key}`{})", source.unwrap_or_default())
        }),
        Members::List(_) => None,
    });
    let set = set.unwrap_or_default();
    let frame = &criterion.frame;
    match criterion.test(&library.sets) {
        Some(Test::Allow(states)) => format!("`{frame}` must be {}{set}", list(states, "or")),
        Some(Test::Deny(states)) => format!("`{frame}` must not be {}{set}", list(states, "or")),
        Some(Test::AnyOf(keys)) => format!("`{frame}` must hold for {}{set}", list(keys, "or")),
        Some(Test::NoneOf(keys)) if criterion.aggregate.is_some() => {
            format!("of `{frame}`, {}{set} together must hold {}", list(keys, "and"), share(criterion))
        }
        Some(Test::NoneOf(keys)) => format!("`{frame}` must not hold for {}{set}", list(keys, "or")),
        Some(Test::NoneOfExcept(keys)) => format!("`{frame}` must hold for nothing but {}{set}", list(keys, "and")),
        None => format!("`{frame}` cannot be judged"),
    }
}

/// From which share on named owners count, and how it adds up.
fn share(criterion: &Criterion) -> String {
    criterion.aggregate.as_ref().map_or_else(String::new, |aggregate| {
        let along = match aggregate.along {
            Along::Product => "shares multiply along a chain of owners",
            Along::Control => "an owner that reaches it itself counts whole along a chain",
        };
        format!("less than {} ({along})", aggregate.at)
    })
}

/// The whole policy in plain words, a paragraph a part. It must have passed its check.
#[must_use]
pub fn policy(policy: &Policy, library: &Library) -> String {
    let mut text = String::new();
    let resources = list(&policy.resources.iter().map(ToString::to_string).collect::<Vec<_>>(), "and");
    let _ = writeln!(text, "{} (policy `{}`)\n\nGoverns {resources}.", policy.title, policy.id);
    if let Some(authority) = &policy.authority {
        let _ = writeln!(text, "Ordered by: {}; {}.", authority.name, authority.citation);
    }
    if !policy.applies_in.is_empty() {
        let _ = writeln!(text, "May be applied in {}.", list(&policy.applies_in, "and"));
    }
    let all = if policy.criteria.len() == 1 { "This must hold" } else { "All of these must hold" };
    let _ = writeln!(text, "\n{all}:");
    for criterion in &policy.criteria {
        criterion_in_words(&mut text, policy, criterion, library);
    }
    for exemption in &policy.exemptions {
        let citation = exemption.citation.as_ref().map(|citation| format!(" ({citation})")).unwrap_or_default();
        let _ = writeln!(
            text,
            "\nExemption `{}`{citation}: who meets the following need not meet {}; everything else above still holds:",
            exemption.id,
            list(&exemption.waives, "and")
        );
        for criterion in &exemption.criteria {
            criterion_in_words(&mut text, policy, criterion, library);
        }
    }
    if !policy.end_user.is_ignored() {
        let _ = writeln!(text, "\n{}", end_user_in_words(policy.end_user));
    }
    let grace = policy.outage_grace.map_or(0, crate::policy::Span::secs);
    let _ = writeln!(
        text,
        "\nA yes holds for at most {} and is renewed without new evidence while the evidence carries it. A token lives {} at most. {}",
        span(policy.max_ttl.secs()),
        span(policy.token_ttl.secs()),
        if grace == 0 {
            "When the database cannot be reached nobody is let in.".to_owned()
        } else {
            format!(
                "When the database cannot be reached, those last seen eligible are let in for {} more.",
                span(grace)
            )
        }
    );
    if !policy.discloses.is_empty() {
        let told = disclosed(policy);
        let _ = writeln!(text, "Identity providers that are registered to learn it are told {told} beside yes or no.");
    }
    let _ = write!(text, "{}", never_asked(policy, library));
    text
}

fn end_user_in_words(end_user: EndUser) -> &'static str {
    match end_user {
        EndUser::Ignored => "Nobody asks for whom a caller uses it.",
        EndUser::Vouched => {
            "A caller must name its end user. The caller's own organisation must vouch for that user, and nothing may be held against them; what is asked above is asked of the caller alone."
        }
        EndUser::Required => {
            "A caller must name its end user. All that is asked above is asked of both, and both must be eligible."
        }
    }
}

fn disclosed(policy: &Policy) -> String {
    list(&policy.discloses.iter().map(|disclosure| disclosure.as_str().to_owned()).collect::<Vec<_>>(), "and")
}

fn criterion_in_words(text: &mut String, policy: &Policy, criterion: &Criterion, library: &Library) {
    let citation = criterion.citation.as_ref().map(|citation| format!(" ({citation})")).unwrap_or_default();
    let _ = writeln!(text, "- {}: {}{citation}.", criterion.id, asked(criterion, library));
    let live = criterion
        .live
        .then_some("It is judged at each request, by what the request shows, and nothing of it is stored.");
    let of = (criterion.of == Of::ActingFor).then_some("It is asked of the organisation acted for.");
    let neutral = (criterion.when_unknown == WhenUnknown::Allow)
        .then_some("While nothing material is known about it, it is left out.");
    let strict = criterion.strict.then_some("It ends with the earliest document that counts.");
    let gate = criterion.gate.as_ref().map(gate_in_words);
    let chain = (criterion.chain > 1)
        .then(|| format!("It is followed along contracts, over {} links at most.", criterion.chain));
    let sentences = [of, live, neutral, strict].into_iter().flatten().map(str::to_owned).chain(chain).chain(gate);
    for sentence in sentences {
        let _ = writeln!(text, "  {sentence}");
    }
    let name =
        policy.definitions.iter().find_map(|name| library.packs.get(name).filter(|pack| pack.id == criterion.frame));
    if let Some(pack) = name {
        proofs(text, criterion, pack, library);
    }
}

fn gate_in_words(gate: &Gate) -> String {
    let from: Vec<&str> = gate.from.iter().map(|kind| kind_in_words(*kind)).collect();
    format!("One proof must be {} or better by itself: {}.", grade_in_words(gate.grade), from.join(" or "))
}

/// What proves it, by itself and for how long; then what only helps.
fn proofs(text: &mut String, criterion: &Criterion, pack: &Pack, library: &Library) {
    let weights = library.weights.clone().with(pack);
    let Some(test) = criterion.test(&library.sets) else { return };
    // Rows that say the same for as long stand in one line.
    let mut alone: BTreeMap<(Kind, Grade, i64), Vec<String>> = BTreeMap::new();
    let mut helps: BTreeSet<String> = BTreeSet::new();
    for row in pack.rows.iter().filter(|row| can_support(pack, row, &test)) {
        for kind in kinds(row) {
            match least(criterion, pack, &weights, row, kind) {
                Some((grade, seconds)) => alone.entry((kind, grade, seconds)).or_default().push(row.id.clone()),
                None if crate::policy::source_of(kind).is_some_and(|s| weights.trust(s, &pack.id).is_some()) => {
                    helps.insert(format!("{} (`{}`)", kind_in_words(kind), row.id));
                }
                None => {}
            }
        }
    }
    let of_states = matches!(test, Test::Allow(_) | Test::Deny(_))
        && pack.rows.iter().any(|row| matches!(row.proves, Proves::States { .. }));
    let _ = writeln!(text, "  Enough by itself{}:", if of_states { ", where it shows one of those" } else { "" });
    if alone.is_empty() {
        let _ = writeln!(text, "    nothing: several proofs are needed together");
    }
    for ((kind, grade, seconds), rows) in &alone {
        let _ = writeln!(
            text,
            "    {} of grade {} or better, for {}: {}",
            kind_in_words(*kind),
            grade_in_words(*grade),
            if *seconds >= 2 * DAY { format!("{} days", seconds / DAY) } else { span(*seconds) },
            list(rows, "or")
        );
    }
    if !helps.is_empty() {
        let _ = writeln!(
            text,
            "  Helps, and is not enough by itself: {}.",
            helps.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
}

/// The least grade at which one item of the row carries the criterion, and for how long.
fn least(
    criterion: &Criterion,
    pack: &Pack,
    weights: &Weights,
    row: &crate::definitions::Row,
    kind: Kind,
) -> Option<(Grade, i64)> {
    const GRADES: [Grade; 5] = [Grade::SelfDeclared, Grade::Weak, Grade::Fair, Grade::Strong, Grade::Superior];
    GRADES.into_iter().find_map(|grade| Some((grade, lasts(criterion, pack, weights, row, kind, grade)?)))
}

/// Frames that there are packs for and no criterion looks at.
fn never_asked(policy: &Policy, library: &Library) -> String {
    let asked: BTreeSet<&String> = policy.all_criteria().map(|criterion| &criterion.frame).collect();
    let other: BTreeSet<&String> =
        library.packs.values().map(|pack| &pack.id).filter(|frame| !asked.contains(frame)).collect();
    let mut text =
        "\nNever asked: one particular document where another would do; name, accent, birthplace or address."
            .to_owned();
    if !other.is_empty() {
        let _ = write!(text, "\nOf the frames there are packs for, this policy never looks at {}.", list(other, "or"));
    }
    text.push('\n');
    text
}

/// What is another in the new policy, one line each.
#[must_use]
pub fn changes(old: &Policy, new: &Policy, library: &Library) -> Vec<String> {
    let mut told = Vec::new();
    let mut says = |what: &str, before: String, after: String| {
        if before != after {
            told.push(format!("{what}: {after}, was {before}"));
        }
    };
    let quoted = |text: &str| format!("\"{text}\"");
    says("title", quoted(&old.title), quoted(&new.title));
    let resources = |p: &Policy| list(&p.resources.iter().map(ToString::to_string).collect::<Vec<_>>(), "and");
    says("resources", resources(old), resources(new));
    says("packs", list(&old.definitions, "and"), list(&new.definitions, "and"));
    says("applies in", list(&old.applies_in, "and"), list(&new.applies_in, "and"));
    let authority =
        |p: &Policy| p.authority.as_ref().map_or("nobody".to_owned(), |a| format!("{}; {}", a.name, a.citation));
    says("ordered by", authority(old), authority(new));
    let grace = |p: &Policy| span(p.outage_grace.map_or(0, crate::policy::Span::secs));
    says("longest promise", span(old.max_ttl.secs()), span(new.max_ttl.secs()));
    says("longest token", span(old.token_ttl.secs()), span(new.token_ttl.secs()));
    says("outage grace", grace(old), grace(new));
    says("end user", old.end_user.as_str().to_owned(), new.end_user.as_str().to_owned());
    says("disclosed beside yes or no", disclosed(old), disclosed(new));
    told.extend(criteria_changes("", &old.criteria, &new.criteria, library));
    for before in old.exemptions.iter().filter(|e| !new.exemptions.iter().any(|n| n.id == e.id)) {
        told.push(format!("exemption `{}` is gone", before.id));
    }
    for after in &new.exemptions {
        match old.exemptions.iter().find(|exemption| exemption.id == after.id) {
            None => {
                let ask: Vec<String> = after.criteria.iter().map(|c| asked(c, library)).collect();
                told.push(format!(
                    "exemption `{}` is new: {}; waives {}",
                    after.id,
                    ask.join(" and "),
                    list(&after.waives, "and")
                ));
            }
            Some(before) => {
                if before.waives != after.waives {
                    let (was, is) = (list(&before.waives, "and"), list(&after.waives, "and"));
                    told.push(format!("exemption `{}` waives {is}, was {was}", after.id));
                }
                let place = format!("exemption `{}`, ", after.id);
                told.extend(criteria_changes(&place, &before.criteria, &after.criteria, library));
            }
        }
    }
    told
}

fn criteria_changes(place: &str, old: &[Criterion], new: &[Criterion], library: &Library) -> Vec<String> {
    let mut told = Vec::new();
    for before in old.iter().filter(|c| !new.iter().any(|n| n.id == c.id)) {
        told.push(format!("{place}criterion `{}` is gone: {}", before.id, asked(before, library)));
    }
    for after in new {
        let Some(before) = old.iter().find(|criterion| criterion.id == after.id) else {
            told.push(format!("{place}criterion `{}` is new: {}", after.id, asked(after, library)));
            continue;
        };
        let mut says = |what: &str, before: String, now: String| {
            if before != now {
                told.push(format!("{place}criterion `{}`, {what}: {now}, was {before}", after.id));
            }
        };
        says("asks", asked(before, library), asked(after, library));
        says("belief needed", before.eligible_at.to_string(), after.eligible_at.to_string());
        says("material from", before.material.to_string(), after.material.to_string());
        says("ineligible from", before.ineligible_at.to_string(), after.ineligible_at.to_string());
        let gate = |c: &Criterion| c.gate.as_ref().map_or("none".to_owned(), gate_in_words);
        says("gate", gate(before), gate(after));
        let unknown =
            |c: &Criterion| if c.when_unknown == WhenUnknown::Allow { "left out" } else { "not met" }.to_owned();
        says("while nothing is known", unknown(before), unknown(after));
        let judged = |c: &Criterion| if c.live { "at the request" } else { "by what is stored" }.to_owned();
        says("judged", judged(before), judged(after));
        let of =
            |c: &Criterion| if c.of == Of::ActingFor { "the organisation acted for" } else { "the subject" }.to_owned();
        says("asked of", of(before), of(after));
        says("links along contracts", before.chain.to_string(), after.chain.to_string());
        let strict = |c: &Criterion| {
            if c.strict { "with the earliest document" } else { "when the evidence no longer carries it" }.to_owned()
        };
        says("ends", strict(before), strict(after));
        let citation = |c: &Criterion| c.citation.clone().unwrap_or_else(|| "none".to_owned());
        says("citation", citation(before), citation(after));
    }
    told
}

/// What an example's attestation says, in one line.
#[must_use]
pub fn attestation(attestation: &crate::facts::Attestation) -> String {
    let facts = &attestation.facts;
    let mut text = format!("{} of grade {}", kind_in_words(facts.kind), grade_in_words(facts.grade));
    if let Some(doubt) = facts.doubt {
        let _ = write!(text, " (weighed at {doubt:.3} by its own source)");
    }
    if let (Some(document), Some(country)) = (&facts.document_type, &facts.issuing_country) {
        let _ = write!(text, ", `{document}` of `{country}`");
    }
    let said = facts.statement.as_ref().and_then(|statement| serde_json::to_value(statement).ok());
    for (name, value) in said.iter().filter_map(|value| value.as_object()).flatten() {
        if name != "type" {
            let value = match value {
                serde_json::Value::Array(list) => {
                    list.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", ")
                }
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = write!(text, ", {name} {value}");
        }
    }
    text
}
