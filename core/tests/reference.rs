//! A naive second model, written from the evidence model's text alone, must agree with `decide` on random policies and evidence.
//! It knows the meaning of each document by heart, keeps lists instead of maps, and finds a change by looking day by day.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails where a production path must not"
)]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{STATES, evidence, instant, second, states, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Attestation, Basis, Grade, Kind, Outcome, SourceKind, Statement};
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Second, Status, decide};

const FOREVER: i64 = i64::MAX;

#[derive(Debug, Clone, PartialEq)]
enum Says {
    States(Vec<String>),
    Key(String, bool),
    Against,
}

/// One statement in one frame.
#[derive(Debug, Clone)]
struct Word {
    says: Says,
    support: f64,
    adverse: f64,
    document: String,
    assessor: String,
    organisation: Option<String>,
    from: i64,
    fades: i64,
    grace: i64,
    half: i64,
    began: Option<i64>,
    support_end: i64,
    adverse_end: i64,
    first_mark: i64,
    kind: Kind,
    grade: Grade,
}

fn sigma(grade: Grade) -> f64 {
    match grade {
        Grade::Superior => 0.98,
        Grade::Strong => 0.92,
        Grade::Fair => 0.65,
        Grade::Weak => 0.40,
        Grade::SelfDeclared => 0.20,
    }
}

fn trust(source: SourceKind, frame: &str) -> Option<f64> {
    match (source, frame) {
        (SourceKind::Registry, _) => Some(0.99),
        (SourceKind::DocumentVendor, "us_status" | "identity" | "citizenship") | (SourceKind::Reviewer, _) => {
            Some(0.97)
        }
        (SourceKind::Employer, "employer") => Some(0.99),
        (SourceKind::Employer, "us_status") => Some(0.85),
        (SourceKind::UnverifiedOrganisation, "employer" | "us_status") => Some(0.30),
        (SourceKind::Subject, "us_status" | "citizenship") => Some(0.50),
        _ => None,
    }
}

/// Grace, half-life and maximum age in days.
fn class(name: &str) -> (i64, i64, Option<i64>) {
    match name {
        "document" => (90, 365, None),
        "identity" => (90, 365, Some(1095)),
        "vouch" => (30, 90, Some(365)),
        _ => (0, 30, Some(365)),
    }
}

fn word(
    frame: &str,
    class_name: &str,
    says: Says,
    proving: &Attestation,
    others: &[&Attestation],
    end: i64,
) -> Option<Word> {
    let parts: Vec<&Attestation> = std::iter::once(proving).chain(others.iter().copied()).collect();
    let organisation = matches!(proving.facts.source_kind, SourceKind::Employer | SourceKind::UnverifiedOrganisation);
    let mut q = f64::MAX;
    let mut grade = Grade::Superior;
    for part in &parts {
        let f = &part.facts;
        let mut own = f.grade;
        if f.source_kind == SourceKind::Subject {
            own = Grade::SelfDeclared;
        }
        let fair_at_most = f.source_kind == SourceKind::UnverifiedOrganisation
            || f.kind == Kind::Directory
            || (f.source_kind == SourceKind::Employer && frame == "us_status");
        if fair_at_most && own > Grade::Fair {
            own = Grade::Fair;
        }
        q = q.min((sigma(own) * f.doubt.unwrap_or(1.0) * trust(f.source_kind, frame)?).min(0.99));
        grade = grade.min(own);
    }
    let refused = proving.facts.outcome == Outcome::Declined;
    let recorded = matches!(proving.facts.basis, Some(Basis::RegistryRecord | Basis::ExportControlRecord));
    let adverse = match proving.facts.source_kind {
        SourceKind::Subject => 0.92 * 0.97,
        _ if organisation && frame == "us_status" && !recorded => 0.0,
        _ => q,
    };
    let against = says == Says::Against;
    let (grace, half, age) = class(class_name);
    let oldest = parts.iter().map(|p| p.facts.checked_at.epoch()).min().unwrap();
    let support_end = end.min(age.map_or(FOREVER, |days| oldest + days * DAY));
    let mut first_mark = FOREVER;
    for mark in parts.iter().flat_map(|p| &p.marks) {
        let lasting = against
            && matches!(
                mark.kind,
                vouchsafe_core::facts::MarkKind::Superseded | vouchsafe_core::facts::MarkKind::Suspended
            );
        if !lasting {
            first_mark = first_mark.min(if mark.from_start { i64::MIN } else { mark.at.epoch() });
        }
    }
    let unverified = proving.facts.source_kind == SourceKind::UnverifiedOrganisation;
    let key = |own: &str| if unverified { "everybody unverified".to_owned() } else { own.to_owned() };
    Some(Word {
        says,
        support: if refused { 0.0 } else { q },
        adverse,
        document: key(&proving.facts.document),
        assessor: key(&proving.facts.assessor),
        organisation: organisation.then(|| proving.facts.assessor.clone()),
        from: parts.iter().map(|p| p.facts.checked_at.epoch()).max().unwrap(),
        fades: oldest,
        grace: grace * DAY,
        half: half * DAY,
        began: proving.facts.fact_date.map(Second::epoch),
        support_end,
        adverse_end: if against { FOREVER } else { support_end.min(oldest + 730 * DAY) },
        first_mark,
        kind: proving.facts.kind,
        grade,
    })
}

/// What all attestations say in a frame.
fn words(frame: &str, all: &[Attestation]) -> Vec<Word> {
    let list = |states: &[&str]| Says::States(states.iter().map(|s| (*s).to_owned()).collect());
    let end = |a: &Attestation| a.facts.ends_at.map_or(FOREVER, Second::epoch);
    let document = |a: &Attestation| a.facts.document_type.clone().unwrap_or_default();
    let matched = |a: &Attestation| a.facts.codes.contains("face_match");
    let mut found: Vec<Option<Word>> = Vec::new();
    for a in all {
        let f = &a.facts;
        let approved = f.outcome == Outcome::Approved;
        let category = match &f.statement {
            Some(Statement::Read { category, .. }) => category.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let mut say = |class: &str, says: Says| found.push(word(frame, class, says, a, &[], end(a)));
        if let (Some(Statement::States { frame: named, states }), true) = (&f.statement, approved)
            && named == frame
            && f.basis != Some(Basis::I9)
        {
            let class = match (frame, f.kind) {
                ("identity", _) => "identity",
                (_, Kind::Vouch) => "vouch",
                (_, Kind::Declaration) => "self",
                _ => "document",
            };
            say(class, Says::States(states.iter().cloned().collect()));
        }
        match (frame, document(a).as_str(), &f.statement) {
            ("us_status", "passport", _) if approved && f.issuing_country.as_deref() == Some("USA") => {
                say("document", list(&["citizen", "national"]));
            }
            ("us_status", "naturalisation_certificate", _) if approved => say("document", list(&["citizen"])),
            ("us_status", "permanent_resident_card", _) if approved => say("document", list(&["lpr"])),
            ("us_status", "employment_authorisation", _) if approved && category == "A05" => {
                say("document", list(&["protected"]));
            }
            ("us_status", "employment_authorisation", _) if approved => {
                say("document", list(&["lpr", "protected", "other"]));
            }
            ("us_status", "approval_notice", _) if approved => say("document", list(&["other"])),
            ("identity", _, _) if approved && matched(a) => say("identity", list(&["proofed"])),
            ("identity", _, _) if f.codes.contains("face_mismatch") => say("identity", list(&["not_proofed"])),
            ("identity", _, _) if f.codes.contains("forged") => say("identity", Says::Against),
            ("employer", _, Some(Statement::Employment { organisation, employed, .. })) => {
                say("vouch", Says::Key(organisation.clone(), *employed));
            }
            ("citizenship", "passport", _) if approved => {
                say("document", Says::Key(f.issuing_country.clone().unwrap(), true));
            }
            ("citizenship", _, Some(Statement::Nationalities { countries })) => {
                for country in countries {
                    say("self", Says::Key(country.clone(), true));
                }
            }
            _ => {}
        }
        if frame != "us_status" {
            continue;
        }
        for b in all.iter().filter(|b| b.id != a.id) {
            let one_person = match (&f.person, &b.facts.person) {
                (Some(x), Some(y)) => x.birth == y.birth,
                _ => true,
            };
            let photo = matches!(document(b).as_str(), "driving_licence" | "passport");
            let other = b.facts.outcome == Outcome::Approved;
            if !one_person || !other {
                continue;
            }
            if document(a) == "birth_certificate" && approved && photo && matched(b) {
                found.push(word(frame, "document", list(&["citizen"]), a, &[b], end(a).min(end(b))));
            }
            let shown = approved || f.outcome == Outcome::DocumentExpired;
            if document(a) == "permanent_resident_card" && shown && document(b) == "extension_notice" {
                found.push(word(frame, "document", list(&["lpr"]), a, &[b], end(b)));
            }
        }
    }
    found.into_iter().flatten().collect()
}

/// The declared changes of status, with every chain of them.
fn leads(from: &[String], to: &[String]) -> bool {
    let edges = [
        ("other", "protected"),
        ("other", "lpr"),
        ("protected", "lpr"),
        ("lpr", "citizen"),
        ("national", "citizen"),
        ("citizen", "other"),
        ("national", "other"),
        ("lpr", "other"),
        ("protected", "other"),
    ];
    from.iter().all(|start| {
        let mut reached: Vec<&str> = Vec::new();
        for _ in 0..6 {
            for (a, b) in edges {
                if (a == start.as_str() || reached.contains(&a)) && !reached.contains(&b) {
                    reached.push(b);
                }
            }
        }
        to.iter().any(|end| reached.contains(&end.as_str()))
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Supports,
    Adverse,
    Silent,
}

/// Side of a word under a criterion given as JSON; `key` in membership frames.
fn side(word: &Word, criterion: &Value, frame: &str, key: Option<&str>) -> Side {
    let names = |member: &str| -> Option<Vec<String>> {
        Some(criterion.get(member)?.as_array()?.iter().map(|s| s.as_str().unwrap().to_owned()).collect())
    };
    let by_sets = |set: &[String], allowed: &dyn Fn(&str) -> bool| {
        let inside = set.iter().filter(|s| allowed(s.as_str())).count();
        if frame == "us_status" && set.len() == STATES.len() {
            Side::Silent
        } else if inside == 0 {
            Side::Adverse
        } else if inside == set.len() {
            Side::Supports
        } else {
            Side::Silent
        }
    };
    match (&word.says, key) {
        (Says::Against, None) => Side::Adverse,
        (Says::States(set), None) => match (names("allow"), names("deny")) {
            (Some(allow), _) => by_sets(set, &|s| allow.iter().any(|a| a == s)),
            (_, Some(deny)) => by_sets(set, &|s| !deny.iter().any(|d| d == s)),
            _ => Side::Silent,
        },
        (Says::Key(named, yes), Some(key)) if named == key => {
            if *yes == criterion.get("any_of").is_some() {
                Side::Supports
            } else {
                Side::Adverse
            }
        }
        _ => Side::Silent,
    }
}

struct Answer {
    status: Status,
    neutral: bool,
    b: f64,
    d: f64,
    con: f64,
    strict_end: i64,
}

fn units(q: f64) -> f64 {
    2.0 * q / (1.0 - q)
}

/// Fusion of one side, by definition: (document, assessor, e).
fn fuse(items: &[(String, String, f64)]) -> f64 {
    let mut pairs: Vec<(String, String, f64)> = Vec::new();
    for (document, assessor, e) in items {
        match pairs.iter_mut().find(|(d, a, _)| d == document && a == assessor) {
            Some(pair) => pair.2 = pair.2.max(*e),
            None => pairs.push((document.clone(), assessor.clone(), *e)),
        }
    }
    let documents: BTreeSet<&String> = pairs.iter().map(|(d, _, _)| d).collect();
    let assessors: BTreeSet<&String> = pairs.iter().map(|(_, a, _)| a).collect();
    let by_document: f64 =
        documents.iter().map(|d| pairs.iter().filter(|p| p.0 == **d).map(|p| p.2).fold(0.0, f64::max)).sum();
    let by_assessor: f64 = assessors
        .iter()
        .map(|a| {
            let mut es: Vec<f64> = pairs.iter().filter(|p| p.1 == **a).map(|p| p.2).collect();
            es.sort_by(|x, y| y.partial_cmp(x).unwrap());
            es.iter().zip(0i32..).map(|(e, n)| e * 0.5f64.powi(n)).sum::<f64>()
        })
        .sum();
    by_document.min(by_assessor)
}

fn number(criterion: &Value, name: &str) -> f64 {
    criterion.get(name).unwrap().as_f64().unwrap()
}

/// The answer about one key (or the frame's states) at `t`.
fn ask(criterion: &Value, frame: &str, words: &[Word], key: Option<&str>, t: i64) -> Answer {
    let opposite = |a: &Word, b: &Word| match (&a.says, &b.says) {
        (Says::States(x), Says::States(y)) => x.iter().all(|s| !y.contains(s)),
        (Says::Key(x, yes), Says::Key(y, no)) => x == y && yes != no,
        _ => false,
    };
    let lawful = |from: &Word, to: &Word| match (&from.says, &to.says) {
        (Says::States(x), Says::States(y)) => leads(x, y),
        (Says::Key(x, yes), Says::Key(y, no)) => x == y && yes != no,
        _ => false,
    };
    let stands = |w: &Word| w.from <= t && t < w.first_mark;
    let now = |w: &Word, side: Side| -> f64 {
        let (q, end) = match side {
            Side::Supports => (w.support, w.support_end),
            _ => (w.adverse, w.adverse_end),
        };
        if !stands(w) || t >= end {
            return 0.0;
        }
        let restated = words.iter().any(|later| {
            w.organisation.is_some()
                && later.organisation == w.organisation
                && later.from > w.from
                && stands(later)
                && opposite(w, later)
        });
        let overtaken = side == Side::Adverse
            && words.iter().any(|later| {
                self::side(later, criterion, frame, key) == Side::Supports
                    && later.support >= 0.85
                    && stands(later)
                    && later.began.is_some_and(|b| b > w.began.unwrap_or(w.from) && b <= later.from)
                    && lawful(w, later)
            });
        if restated || overtaken {
            return 0.0;
        }
        let faded = match side {
            Side::Supports => 0.5f64.powf((t - w.fades - w.grace).max(0) as f64 / w.half as f64),
            _ => 1.0,
        };
        units(q) * faded
    };
    let total = |wanted: Side| {
        let items: Vec<(String, String, f64)> = words
            .iter()
            .filter(|w| side(w, criterion, frame, key) == wanted)
            .map(|w| (w.document.clone(), w.assessor.clone(), now(w, wanted)))
            .collect();
        fuse(&items)
    };
    let (r, s) = (total(Side::Supports), total(Side::Adverse));
    let (b, d) = (r / (r + s + 2.0), s / (r + s + 2.0));
    let (pro, con) = (r / (r + 2.0), s / (s + 2.0));
    let mu = number(criterion, "material");
    let mut status = if con >= mu && pro >= mu {
        Status::Review
    } else if con >= mu {
        if con >= number(criterion, "ineligible_at") { Status::Ineligible } else { Status::Insufficient }
    } else if b >= number(criterion, "eligible_at") {
        Status::Eligible
    } else {
        Status::Insufficient
    };
    if let (Some(gate), Status::Eligible) = (criterion.get("gate"), status) {
        let least: Grade = serde_json::from_value(gate["grade"].clone()).unwrap();
        let from: Vec<Kind> = serde_json::from_value(gate["from"].clone()).unwrap();
        let met = words.iter().any(|w| {
            side(w, criterion, frame, key) == Side::Supports
                && w.grade >= least
                && from.contains(&w.kind)
                && now(w, Side::Supports) >= 2.0
        });
        if !met {
            status = Status::Insufficient;
        }
    }
    let neutral = criterion["when_unknown"] == "allow" && status == Status::Insufficient && con < mu;
    let strict_end = words
        .iter()
        .filter(|w| side(w, criterion, frame, key) == Side::Supports && now(w, Side::Supports) > 0.0)
        .map(|w| w.support_end)
        .min()
        .unwrap_or(FOREVER);
    Answer { status, neutral, b, d, con, strict_end }
}

/// The criterion's answer: best key, worst key, or the states.
fn answer(criterion: &Value, words: &[Word], t: i64) -> Answer {
    let frame = criterion["frame"].as_str().unwrap();
    let list = |member: &str| -> Option<Vec<String>> {
        let mut keys: Vec<String> =
            criterion.get(member)?.as_array()?.iter().map(|s| s.as_str().unwrap().to_owned()).collect();
        keys.sort();
        Some(keys)
    };
    if let Some(keys) = list("any_of") {
        let mut answers: Vec<Answer> =
            keys.iter().map(|key| ask(criterion, frame, words, Some(key.as_str()), t)).collect();
        let doubted = answers.iter().any(|a| a.con >= number(criterion, "material"));
        answers.sort_by(|x, y| y.status.cmp(&x.status).then(y.b.partial_cmp(&x.b).unwrap()));
        let mut best = answers.remove(0);
        best.neutral = best.neutral && !doubted;
        return best;
    }
    let mut keys: Vec<String> = match (list("none_of"), list("none_of_except")) {
        (Some(keys), _) => keys,
        (_, Some(except)) => {
            let mut named: Vec<String> = words
                .iter()
                .filter_map(|w| match &w.says {
                    Says::Key(key, _) if !except.contains(key) => Some(key.clone()),
                    _ => None,
                })
                .collect();
            named.sort();
            named.push("nobody has named it".to_owned());
            named
        }
        _ => return ask(criterion, frame, words, None, t),
    };
    keys.dedup();
    let mut answers: Vec<Answer> = keys.iter().map(|key| ask(criterion, frame, words, Some(key.as_str()), t)).collect();
    answers.sort_by(|x, y| {
        x.status.cmp(&y.status).then(y.con.partial_cmp(&x.con).unwrap()).then(x.b.partial_cmp(&y.b).unwrap())
    });
    answers.remove(0)
}

struct World {
    policy: Value,
    said: Vec<(String, Vec<Word>)>,
    next_change: i64,
}

impl World {
    fn ask(&self, criterion: &Value, t: i64) -> Answer {
        let words = self.said.iter().find(|(frame, _)| criterion["frame"] == frame.as_str()).unwrap();
        answer(criterion, &words.1, t)
    }

    fn branches(&self) -> Vec<(Option<String>, Vec<Value>)> {
        let main = self.policy["criteria"].as_array().unwrap().clone();
        let mut branches = vec![(None, main.clone())];
        for exemption in self.policy["exemptions"].as_array().unwrap() {
            let waives = exemption["waives"].as_array().unwrap();
            let mut criteria: Vec<Value> = main.iter().filter(|c| !waives.contains(&c["id"])).cloned().collect();
            criteria.extend(exemption["criteria"].as_array().unwrap().iter().cloned());
            branches.push((Some(exemption["id"].as_str().unwrap().to_owned()), criteria));
        }
        branches
    }

    fn worst(&self, criteria: &[Value], t: i64) -> Status {
        let answers = criteria.iter().map(|c| self.ask(c, t)).filter(|a| !a.neutral);
        answers.map(|a| a.status).min().unwrap_or(Status::Eligible)
    }

    fn outcome(&self, t: i64) -> (Status, Option<String>, Vec<Value>) {
        let branches = self.branches();
        for (exemption, criteria) in &branches {
            if self.worst(criteria, t) == Status::Eligible {
                return (Status::Eligible, exemption.clone(), criteria.clone());
            }
        }
        (self.worst(&branches[0].1, t), None, branches[0].1.clone())
    }

    /// Every instant at which something may begin, end or start to fade.
    fn events(&self) -> Vec<i64> {
        let words = self.said.iter().flat_map(|(_, words)| words);
        words.flat_map(|w| [w.from, w.support_end, w.adverse_end, w.first_mark, w.fades + w.grace]).collect()
    }

    /// First second after `t` with another status, before `limit`, by looking every ten days and at every event.
    fn change(&self, t: i64, limit: i64) -> Option<i64> {
        let status = self.outcome(t).0;
        let mut points: Vec<i64> = self.events();
        points.extend((0..400).map(|n| t + n * 10 * DAY));
        points.push(limit - 1);
        points.retain(|p| *p > t && *p < limit);
        points.sort_unstable();
        let mut same = t;
        let mut other = points.into_iter().find(|p| {
            let differs = self.outcome(*p).0 != status;
            if !differs {
                same = *p;
            }
            differs
        })?;
        while other - same > 1 {
            let middle = same + (other - same) / 2;
            if self.outcome(middle).0 == status { same = middle } else { other = middle }
        }
        Some(other)
    }
}

fn criterion() -> impl Strategy<Value = Value> {
    let gate = (
        prop::sample::select(vec!["WEAK", "FAIR", "STRONG"]),
        prop::sample::subsequence(vec!["document_check", "registry", "review", "vouch"], 1..4),
    );
    (prop::bool::weighted(0.8), 1u8..31, prop::option::weighted(0.5, gate), prop::bool::weighted(0.2)).prop_map(
        |(allow, mask, gate, strict)| {
            let mut criterion = json!({ "id": "us-status", "frame": "us_status", "strict": strict });
            criterion[if allow { "allow" } else { "deny" }] = json!(states(mask));
            if let Some((grade, from)) = gate {
                criterion["gate"] = json!({ "grade": grade, "from": from });
            }
            criterion
        },
    )
}

/// A random policy as JSON, every default written out.
fn policy() -> impl Strategy<Value = Value> {
    let numbers = (0.4f64..0.93, 0.3f64..0.8, 0.05f64..0.3);
    let others = prop::sample::subsequence(vec!["identity", "sole", "none", "any", "any-neutral"], 0..4);
    (criterion(), others, prop::bool::weighted(0.5), prop::collection::vec(numbers, 6), 1i64..150).prop_map(
        |(first, others, exempt, numbers, days)| {
            let mut criteria = vec![first];
            for other in others {
                criteria.push(match other {
                    "identity" => json!({ "id": "identity", "frame": "identity", "allow": ["proofed"] }),
                    "sole" => json!({ "id": "sole", "frame": "citizenship", "none_of_except": ["USA"], "when_unknown": "allow" }),
                    "none" => json!({ "id": "none", "frame": "citizenship", "none_of": ["FRA", "IRL"], "when_unknown": "allow" }),
                    "any" => json!({ "id": "any", "frame": "employer", "any_of": ["org_b", "org_a"] }),
                    _ => json!({ "id": "any-neutral", "frame": "employer", "any_of": ["org_a", "org_b"], "when_unknown": "allow" }),
                });
            }
            let mut exemptions = Vec::new();
            if exempt {
                let listed = json!({ "id": "listed", "frame": "employer", "any_of": ["org_a"] });
                exemptions.push(json!({ "id": "annex", "waives": ["us-status"], "criteria": [listed] }));
            }
            let mut numbers = numbers.into_iter().cycle();
            let all = criteria.iter_mut().chain(exemptions.iter_mut().map(|e| &mut e["criteria"][0]));
            for criterion in all {
                let (eligible, ineligible, material) = numbers.next().unwrap();
                criterion["eligible_at"] = json!(eligible);
                criterion["ineligible_at"] = json!(ineligible);
                criterion["material"] = json!(material);
                if criterion.get("when_unknown").is_none() {
                    criterion["when_unknown"] = json!("refuse");
                }
            }
            json!({
                "id": "random", "title": "random", "resources": ["random.*"], "max_ttl": format!("{days}d"),
                "definitions": ["us_status@1", "identity@1", "employer@1", "citizenship@1"],
                "criteria": criteria, "exemptions": exemptions,
            })
        },
    )
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1_721), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn a_naive_model_agrees(policy in policy(), all in evidence(), at in instant(), ahead in prop::option::weighted(0.3, 1i64..200)) {
        let mut library = support::library();
        let parsed: Policy = serde_json::from_value(policy.clone()).unwrap();
        let ttl = parsed.max_ttl.secs();
        library.policies.insert(("random".to_owned(), 1), parsed);
        let activate = Action::Activate { policy: "random".to_owned(), version: 1 };
        let mut timeline = vec![Entry { seq: 1, directive: "start".to_owned(), from: second(-DAY), action: activate.clone() }];
        let next_change = ahead.map_or(FOREVER, |days| at.epoch() + days * DAY);
        if ahead.is_some() {
            timeline.push(Entry { seq: 2, directive: "next".to_owned(), from: Second::from_epoch(next_change), action: activate });
        }
        let rules = Rules::compile(&library, &timeline, &ResourceId::parse("random.x").unwrap(), at).unwrap();
        let known = subject(all).known_at(at);
        let got = decide(&rules, &known, at);

        let frames = ["us_status", "identity", "employer", "citizenship"];
        let said = frames.iter().map(|frame| ((*frame).to_owned(), words(frame, &known.attestations))).collect();
        let world = World { policy, said, next_change };
        let t = got.at.epoch();
        let (status, exemption, criteria) = world.outcome(t);
        prop_assert_eq!(got.status, status);
        prop_assert_eq!(world.outcome(at.epoch()).0, status, "the decision of {} no longer holds at {}", got.at, at);
        prop_assert_eq!(&got.exemption, &exemption);
        for (report, criterion) in got.criteria.iter().zip(&criteria) {
            let want = world.ask(criterion, t);
            prop_assert_eq!(report.status, want.status, "{}", report.id);
            prop_assert_eq!(report.neutral, want.neutral, "{}", report.id);
            prop_assert!((report.belief - want.b).abs() < 6e-5 && (report.disbelief - want.d).abs() < 6e-5, "{:?} {} {}", report, want.b, want.d);
        }
        let counted: Vec<Answer> = criteria.iter().map(|c| world.ask(c, t)).filter(|a| !a.neutral).collect();
        let confidence = match status {
            Status::Eligible => counted.iter().map(|a| a.b).min_by(f64::total_cmp),
            Status::Ineligible => counted.iter().filter(|a| a.status == status).map(|a| a.d).max_by(f64::total_cmp),
            _ => None,
        };
        match (got.confidence, confidence) {
            (Some(got), Some(want)) => prop_assert!((got - want).abs() < 0.0051),
            (got, want) => prop_assert!(got.is_none() && want.is_none(), "{:?} {:?}", got, want),
        }
        if status == Status::Eligible {
            let strict = criteria.iter().filter(|c| c["strict"] == true).map(|c| world.ask(c, t));
            let strict = strict.filter(|a| !a.neutral).map(|a| a.strict_end).min().unwrap_or(FOREVER);
            let limit = (t + ttl).min(world.next_change).min(strict);
            let want = world.change(t, limit).unwrap_or(limit);
            prop_assert!((got.expires_at.unwrap().epoch() - want).abs() <= 1, "{:?} instead of {}", got.expires_at, want - people::START);
        } else {
            let limit = world.next_change.min(t + 3653 * DAY);
            let want = world.change(t, limit).or_else(|| ahead.map(|_| world.next_change));
            match (got.recheck_at, want) {
                (Some(got), Some(want)) => prop_assert!((got.epoch() - want).abs() <= 1, "{} instead of {}", got, Second::from_epoch(want)),
                (got, want) => prop_assert!(got.is_none() && want.is_none(), "{:?} {:?}", got, want),
            }
        }
    }
}
