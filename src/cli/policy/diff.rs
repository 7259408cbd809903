//! `vouchsafe policy diff`: what another version changes, and for whom.

use super::{Two, sound};
use crate::cli::say;
use serde_json::json;
use std::process::ExitCode;
use vouchsafe_core::compare::{Comparison, Example, Verdict, compare};
use vouchsafe_core::facts::Attestation;
use vouchsafe_core::words;

pub(super) fn run(args: &Two) -> anyhow::Result<ExitCode> {
    let old = sound(&args.old, &args.rules.rules)?;
    let new = sound(&args.new, &args.rules.rules)?;
    let ((old, mut library), (new, more)) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let findings: Vec<_> = [old.err(), new.err()].into_iter().flatten().collect();
            if args.rules.json {
                say(&json!(findings).to_string());
            } else {
                findings.iter().for_each(|of_file| say(&of_file.shown()));
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    library.packs.extend(more.packs);
    library.sets.extend(more.sets);
    let found = compare(&old, &new, &library)?;
    let changes = words::changes(&old, &new, &library);
    say(&if args.rules.json {
        json!({ "comparison": found, "changes": changes }).to_string()
    } else {
        shown(&found, &changes)
    });
    Ok(ExitCode::SUCCESS)
}

fn shown(found: &Comparison, changes: &[String]) -> String {
    let says = match found.verdict {
        Verdict::Equal => "both let in the same people at every instant",
        Verdict::Wider => "nobody whom the old policy lets in is shut out by the new one",
        Verdict::Narrower => "nobody whom the old policy shuts out is let in by the new one",
        Verdict::Incomparable => "somebody gains and somebody loses",
        Verdict::NotDecided => "it is neither proved who could gain or lose, nor that nobody does",
    };
    let mut lines = vec![format!("{}: {says}", found.verdict.as_str())];
    let mut part = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(items.into_iter().map(|item| format!("  {item}")));
        }
    };
    part("What changes", changes.to_vec());
    part("Somebody who gains", found.gains.as_ref().map(example).unwrap_or_default());
    part("Somebody who loses", found.loses.as_ref().map(example).unwrap_or_default());
    part("What stays open", found.open.clone());
    let patterns = |list: &[vouchsafe_core::ids::ResourcePattern]| list.iter().map(ToString::to_string).collect();
    part("Governed by the old one only (the verdict does not speak of it)", patterns(&found.no_longer_governed));
    part("Governed by the new one only (the verdict does not speak of it)", patterns(&found.newly_governed));
    lines.join("\n")
}

fn example(example: &Example) -> Vec<String> {
    let line = |attestation: &Attestation| {
        format!("{}, checked {}", words::attestation(attestation), attestation.facts.checked_at)
    };
    let mut lines: Vec<String> = example.attestations.iter().map(line).collect();
    lines.extend(example.request.iter().map(|seen| format!("at the request: {}", words::attestation(seen))));
    if lines.is_empty() {
        lines.push("no evidence at all".to_owned());
    }
    for (which, decision) in [("old", &example.old), ("new", &example.new)] {
        let by = decision.exemption.as_ref().map(|id| format!(", by exemption `{id}`")).unwrap_or_default();
        lines.push(format!("{which}: {}{by} ({})", decision.status.as_str(), decision.reasons.join(", ")));
    }
    lines
}
