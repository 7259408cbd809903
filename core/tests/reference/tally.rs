//! What the random cases reached: a generator that only ever makes `insufficient` proves nothing.

use crate::verdict::Verdict;
use std::collections::BTreeMap;
use std::fmt;
use vouchsafe_core::Decision;
use vouchsafe_core::rules::Rules;

/// Least shares in hundredths of a percent, below which the generator no longer proves enough.
const LEAST: [(&str, u64); 42] = [
    ("status eligible", 1000),
    ("status ineligible", 500),
    ("status review", 350),
    ("status insufficient", 1000),
    ("expiry confidence", 100),
    ("expiry evidence_end", 100),
    ("expiry policy_max_ttl", 100),
    ("expiry rules_change", 50),
    ("recheck found", 300),
    ("recheck none", 300),
    ("by an exemption", 100),
    ("by the second exemption", 10),
    ("after renewals", 100),
    ("strict and eligible", 100),
    ("no criterion counted", 10),
    ("leaves criteria to the request", 50),
    ("closed facts.inconsistent", 5),
    ("closed rules.superseded", 20),
    ("closed directive.frozen", 20),
    ("closed resource.ungoverned", 10),
    ("closed rules.incomplete", 20),
    ("test allow", 1000),
    ("test deny", 500),
    ("test any_of", 300),
    ("test none_of", 300),
    ("test none_of_except", 300),
    ("word supported", 500),
    ("word adverse", 500),
    ("word conflicting", 400),
    ("word doubted", 50),
    ("word gate_unmet", 50),
    ("word insufficient", 500),
    ("word missing", 500),
    ("word unknown_allowed", 300),
    ("overtaken", 50),
    ("restated", 50),
    ("told by a cross-check", 20),
    ("request eligible", 10),
    ("request ineligible", 10),
    ("request insufficient", 10),
    ("evidence of several parts", 100),
    ("marked from the start", 50),
];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    reached: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, what: &str) {
        *self.reached.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn saw(&mut self, got: &Decision, want: &Verdict, rules: &Rules) {
        self.cases += 1;
        self.count(&format!("status {}", got.status.as_str()));
        if let Some(why) = want.closed {
            self.count(&format!("closed {why}"));
            return;
        }
        if let Some(cause) = want.cause {
            self.count(&format!("expiry {cause}"));
        } else {
            self.count(if got.recheck_at.is_some() { "recheck found" } else { "recheck none" });
        }
        let exemption = want.exemption.as_deref();
        if exemption.is_some() {
            self.count(if exemption == Some("exempt-1") { "by the second exemption" } else { "by an exemption" });
        }
        if want.renewals > 0 {
            self.count("after renewals");
        }
        let policy = rules.body.policy.iter();
        let criteria: Vec<_> = policy.flat_map(|p| p.all_criteria()).collect();
        let mut seen: Vec<String> = Vec::new();
        for line in &want.lines {
            let Some(criterion) = criteria.iter().find(|c| c.id == line.id) else { continue };
            if criterion.strict && want.cause.is_some() && !line.answer.neutral {
                seen.push("strict and eligible".to_owned());
            }
            for (name, test) in [
                ("allow", &criterion.allow),
                ("deny", &criterion.deny),
                ("any_of", &criterion.any_of),
                ("none_of", &criterion.none_of),
                ("none_of_except", &criterion.none_of_except),
            ] {
                seen.extend(test.as_ref().map(|_| format!("test {name}")));
            }
            seen.extend(line.reason.rsplit('.').next().map(|word| format!("word {word}")));
            seen.extend(line.overtaken.0.then(|| "overtaken".to_owned()));
            seen.extend(line.restated.then(|| "restated".to_owned()));
            seen.extend((!line.tells.is_empty()).then(|| "told by a cross-check".to_owned()));
        }
        seen.extend((want.cause.is_some() && want.confidence.is_none()).then(|| "no criterion counted".to_owned()));
        seen.extend((!want.live.is_empty()).then(|| "leaves criteria to the request".to_owned()));
        seen.extend(want.several_parts.then(|| "evidence of several parts".to_owned()));
        let mut marks = got.attestations.iter().flat_map(|a| &a.marks);
        seen.extend(marks.any(|mark| mark.from_start).then(|| "marked from the start".to_owned()));
        seen.sort();
        seen.dedup();
        seen.iter().for_each(|what| self.count(what));
    }

    pub(crate) fn saw_live(&mut self, judged: &Decision, want: &Verdict) {
        if !want.live.is_empty() {
            self.count(&format!("request {}", judged.status.as_str()));
        }
    }

    pub(crate) fn reached(&self, what: &str) -> u64 {
        self.reached.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        for (what, count) in &other.reached {
            *self.reached.entry(what.clone()).or_default() += count;
        }
    }

    /// # Panics
    /// When some status or branch is reached too seldom.
    pub(crate) fn check_shares(&self) {
        let seldom: Vec<&str> = LEAST
            .iter()
            .filter(|(what, least)| self.reached(what) * 10_000 < least * self.cases)
            .map(|(what, _)| *what)
            .collect();
        assert!(seldom.is_empty(), "reached too seldom: {seldom:?} in\n{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cases; share of those that reached", self.cases)?;
        for (what, count) in &self.reached {
            #[expect(clippy::cast_precision_loss, reason = "for people to read")]
            let share = *count as f64 * 100.0 / self.cases.max(1) as f64;
            writeln!(f, "  {share:6.2} %  {what}")?;
        }
        Ok(())
    }
}
