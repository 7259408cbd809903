//! Random rules and random people, drawn so that every status and every branch of the engine is reached often.

use crate::dice::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::Second;
use vouchsafe_core::definitions::Class;
use vouchsafe_core::facts::{
    Attestation, Basis, Facts, Grade, Kind, Mark, MarkKind, Outcome, PersonKey, SourceKind, Statement, SubjectFacts,
};
use vouchsafe_core::ids::{AttestationId, ResourceId, SourceId, SubjectId};
use vouchsafe_core::policy::NamedSet;
use vouchsafe_core::rules::{Body, Library, Rules};
use vouchsafe_core::timeline::{Action, Entry};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600;
const STATES: [&str; 5] = ["citizen", "national", "lpr", "protected", "other"];
const COUNTRIES: [&str; 4] = ["USA", "IRL", "FRA", "IRN"];
const ORGANISATIONS: [&str; 3] = ["org_a", "org_b", "org_c"];

/// The unit of time of a case, and over how many of them things happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) unit: i64,
    pub(crate) span: i64,
}

impl Scale {
    /// Everything within 300 seconds.
    pub(crate) const SECONDS: Self = Self { unit: 1, span: 200 };
    /// Everything within some weeks.
    pub(crate) const DAYS: Self = Self { unit: 86_400, span: 20 };

    fn length(self, dice: &mut Dice, low: i64, high: i64) -> i64 {
        let jitter = if self.unit > 1 { dice.range(-2, 3) } else { 0 };
        (dice.range(low, high) * self.unit + jitter).max(if low > 0 { 1 } else { 0 })
    }

    fn instant(self, dice: &mut Dice) -> i64 {
        START + self.length(dice, 0, self.span)
    }
}

/// The shipped packs and sets with nothing in force.
pub(crate) fn blank(library: &Library) -> Body {
    let mut library = library.clone();
    let mut policy = library.policies[&("sole_us_nationality".to_owned(), 1)].clone();
    policy.definitions = library.packs.keys().cloned().collect();
    library.policies.insert(("all".to_owned(), 1), policy);
    let action = Action::Activate { policy: "all".to_owned(), version: 1 };
    let entry = Entry { seq: 1, directive: "start".to_owned(), from: Second::from_epoch(0), action };
    let resource = ResourceId::parse("sole.api").unwrap();
    Rules::compile(&library, &[entry], &resource, Second::from_epoch(START)).unwrap().body
}

fn thresholds(dice: &mut Dice, criterion: &mut Value) {
    let material = dice.between(0.05, 0.3);
    criterion["material"] = json!(material);
    criterion["ineligible_at"] = json!(dice.between(material, 0.85));
    criterion["eligible_at"] = json!(if dice.chance(70) { dice.between(0.2, 0.75) } else { dice.between(0.75, 0.97) });
    if dice.chance(1) {
        // Numbers and lists that cannot be used.
        match dice.below(4) {
            0 => criterion["ineligible_at"] = json!(material / 2.0),
            1 => criterion["eligible_at"] = json!(1.0),
            2 => criterion["material"] = json!(0.0),
            _ => {
                for test in ["allow", "deny", "any_of", "none_of", "none_of_except"] {
                    if criterion.get(test).is_some() {
                        criterion[test] = json!(dice.pick(&[json!([]), json!("set:missing@2026-01-01")]));
                    }
                }
            }
        }
    }
}

fn criterion(dice: &mut Dice, id: &str, frames: &[&str]) -> Value {
    let frame = *dice.pick(frames);
    let mut c = json!({ "id": id, "frame": frame });
    let test = match frame {
        "us_status" | "identity" | "country_now" => *dice.pick(&["allow", "allow", "deny"]),
        _ => *dice.pick(&["any_of", "none_of", "none_of_except"]),
    };
    c[test] = match (frame, test) {
        ("us_status", "allow") if dice.chance(60) => json!(&STATES[..dice.below(4) + 1]),
        ("us_status", "deny") if dice.chance(60) => json!(&STATES[dice.below(4) + 1..]),
        ("us_status", _) if dice.chance(2) => json!(STATES),
        ("us_status", _) => json!(dice.some(&STATES)),
        ("identity", "allow") => json!(["proofed"]),
        ("identity", _) => json!(["not_proofed"]),
        ("country_now", "deny") if dice.chance(50) => json!("set:embargoed@2026-11"),
        ("country_now" | "citizenship", _) => json!(dice.some(&COUNTRIES)),
        (_, "any_of") if dice.chance(30) => json!("set:listed@2026-01-01"),
        _ => json!(dice.some(&ORGANISATIONS)),
    };
    let unknown = match test {
        "none_of_except" => 85,
        "none_of" => 50,
        _ => 10,
    };
    if dice.chance(unknown) {
        c["when_unknown"] = json!("allow");
    }
    if dice.chance(25) {
        let kinds = dice.some(&["document_check", "registry", "review", "vouch", "directory", "observation"]);
        c["gate"] = json!({ "grade": dice.pick(&["WEAK", "FAIR", "STRONG", "SUPERIOR"]), "from": kinds });
    }
    c["strict"] = json!(dice.chance(30));
    c["live"] = json!(frame == "country_now" && dice.chance(75));
    thresholds(dice, &mut c);
    c
}

fn policy(dice: &mut Dice, scale: Scale) -> Value {
    let mut criteria = Vec::new();
    let frames: [&[&str]; 4] =
        [&["us_status"], &["identity"], &["employer", "citizenship"], &["country_now", "country_now", "us_status"]];
    for (n, frames) in frames.iter().enumerate() {
        if dice.chance([80, 30, 25, 20][n]) {
            criteria.push(criterion(dice, &format!("main-{n}"), frames));
        }
    }
    if criteria.is_empty() && dice.chance(97) {
        criteria.push(criterion(dice, "main-only", &["us_status", "employer"]));
    }
    let ids: Vec<String> = criteria.iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect();
    let mut exemptions = Vec::new();
    let number = if ids.is_empty() { 0 } else { *dice.pick(&[0, 0, 1, 1, 2]) };
    for n in 0..number {
        let own: Vec<Value> = (0..1 + dice.below(2))
            .map(|m| {
                criterion(
                    dice,
                    &format!("own-{n}-{m}"),
                    &["employer", "employer", "us_status", "country_now", "identity"],
                )
            })
            .collect();
        let own = if dice.chance(1) { Vec::new() } else { own };
        exemptions.push(json!({ "id": format!("exempt-{n}"), "waives": dice.some(&ids), "criteria": own }));
    }
    let ttl = scale.length(dice, 1, if scale.unit == 1 { 300 } else { 18 });
    json!({
        "id": "random", "title": "random", "resources": ["random.*"], "max_ttl": format!("{ttl}s"),
        "definitions": [], "criteria": criteria, "exemptions": exemptions,
    })
}

/// Every number of the table drawn anew, times in units of the case.
fn weights(dice: &mut Dice, body: &mut Body, scale: Scale) {
    let w = &mut body.weights;
    let mut sigma = dice.between(0.1, 0.3);
    for grade in [Grade::SelfDeclared, Grade::Weak, Grade::Fair, Grade::Strong, Grade::Superior] {
        w.sigma.insert(grade, sigma);
        sigma += dice.between(0.3, 1.0) * (0.98 - sigma) * 0.6;
    }
    for frames in w.trust.values_mut() {
        frames.values_mut().for_each(|trust| *trust = (*trust + dice.between(-0.2, 0.2)).clamp(0.05, 1.0));
        frames.retain(|_, _| dice.chance(97));
    }
    w.trust.entry(SourceKind::Network).or_default().insert("country_now".to_owned(), dice.between(0.5, 1.0));
    w.anonymised_trust = BTreeMap::from([("country_now".to_owned(), dice.between(0.05, 0.9))]);
    w.against_interest_sigma = dice.between(0.5, 1.0);
    w.against_interest_trust = dice.between(0.5, 1.0);
    w.unverified_grade_cap = *dice.pick(&[Grade::Weak, Grade::Fair, Grade::Strong]);
    w.cap = *dice.pick(&[0.99, 0.99, 0.9]);
    w.rho = *dice.pick(&[0.5, 0.5, 0.0, 0.3, 0.8, 1.0]);
    w.overtakes_at = dice.between(0.3, 0.9);
    w.adverse_max_age_secs = scale.length(dice, scale.span / 4, scale.span * 3);
    for class in w.classes.values_mut() {
        *class = Class {
            grace_secs: scale.length(dice, 0, scale.span / 4),
            half_life_secs: if dice.chance(2) { 0 } else { scale.length(dice, 1, scale.span / 2) },
            max_age_secs: dice.chance(40).then(|| scale.length(dice, scale.span / 4, scale.span * 2)),
        };
    }
}

/// Random rules. Nothing of theirs reaches further than some spans.
pub(crate) fn rules(dice: &mut Dice, blank: &Body, scale: Scale) -> Rules {
    let mut body = blank.clone();
    weights(dice, &mut body, scale);
    body.policy = dice.chance(99).then(|| serde_json::from_value(policy(dice, scale)).unwrap());
    let listed = NamedSet {
        id: "listed@2026-01-01".to_owned(),
        as_of: "2026-01-01".to_owned(),
        source: "drawn".to_owned(),
        members: dice.some(&ORGANISATIONS).into_iter().map(str::to_owned).collect(),
    };
    body.sets.insert(listed.id.clone(), listed);
    let embargoed = NamedSet {
        id: "embargoed@2026-11".to_owned(),
        as_of: "2026-11-01".to_owned(),
        source: "drawn".to_owned(),
        members: BTreeSet::from(["IRN".to_owned(), "FRA".to_owned()]),
    };
    body.sets.insert(embargoed.id.clone(), embargoed);
    body.frozen_by = if dice.chance(1) { vec!["freeze".to_owned()] } else { Vec::new() };
    body.next_change =
        dice.chance(40).then(|| Second::from_epoch(START + scale.length(dice, scale.span * 7 / 10, scale.span * 2)));
    Rules::from_body(body, Second::from_epoch(START + scale.length(dice, -scale.span, scale.span / 4)))
}

/// One attestation in short: what differs from an approved check of a document.
fn short(dice: &mut Dice, template: usize) -> (Kind, &'static str, Value) {
    let state = |dice: &mut Dice| match dice.below(4) {
        0 => vec![*dice.pick(&STATES)],
        1 => STATES[..dice.below(5) + 1].to_vec(),
        _ => dice.some(&STATES),
    };
    let face = json!(["face_match"]);
    let read = |code: &&str| json!({ "type": "read", "category": code });
    let states = |frame: &str, states: Vec<&str>| json!({ "type": "states", "frame": frame, "states": states });
    let check = Kind::DocumentCheck;
    match template {
        0 => (check, "passport", json!({ "issuing_country": "USA", "codes": face })),
        1 => (check, "passport", json!({ "issuing_country": dice.pick(&COUNTRIES[1..]), "codes": face })),
        2 => (check, "permanent_resident_card", json!({ "codes": face })),
        3 => (check, "naturalisation_certificate", json!({})),
        4 => (check, "birth_certificate", json!({})),
        5 => (check, "driving_licence", json!({ "codes": face })),
        6 => (check, "extension_notice", json!({})),
        7 => (check, "i551_stamp", json!({})),
        8 => {
            let code = dice.pick(&["A05", "A03", "C09", "C08"]);
            (check, "employment_authorisation", json!({ "codes": face, "statement": read(code) }))
        }
        9 => (check, "i94", json!({ "statement": read(dice.pick(&["AS1", "RE", "F1", "J1"])) })),
        10 => (check, "approval_notice", json!({ "statement": read(dice.pick(&["H1B", "L1A", "XX"])) })),
        11 => (Kind::Registry, "", json!({ "statement": states("us_status", state(dice)) })),
        12 => (Kind::Review, "", json!({ "statement": states("us_status", state(dice)) })),
        13 | 14 => {
            let basis = dice.pick(&["registry_record", "export_control_record", "hr_record", "i9", "document_seen"]);
            (Kind::Vouch, "", json!({ "basis": basis, "statement": states("us_status", state(dice)) }))
        }
        15..=17 => {
            let kind = *dice.pick(&[Kind::Vouch, Kind::Vouch, Kind::Directory, Kind::Registry, Kind::Review]);
            let organisation = dice.pick(&ORGANISATIONS);
            let statement = json!({ "type": "employment", "organisation": organisation, "employed": dice.chance(65) });
            (kind, "", json!({ "statement": statement }))
        }
        18 => (Kind::Declaration, "", json!({ "statement": states("us_status", state(dice)) })),
        19 => {
            let statement = json!({ "type": "nationalities", "countries": dice.some(&COUNTRIES) });
            (Kind::Declaration, "", json!({ "statement": statement }))
        }
        20 => {
            let code = dice.pick(&["forged", "tampered", "impostor"]);
            (check, "passport", json!({ "issuing_country": "USA", "outcome": "declined", "codes": [code] }))
        }
        21 => {
            (check, "passport", json!({ "issuing_country": "USA", "outcome": "declined", "codes": ["face_mismatch"] }))
        }
        22 => {
            let state = *dice.pick(&["proofed", "proofed", "not_proofed"]);
            let kind = *dice.pick(&[Kind::Registry, Kind::Review]);
            (kind, "", json!({ "statement": states("identity", vec![state]) }))
        }
        23 => {
            let outcome = dice.pick(&["resubmit", "pending", "error", "declined"]);
            (check, "passport", json!({ "issuing_country": "USA", "codes": face, "outcome": outcome }))
        }
        24 => (check, "permanent_resident_card", json!({ "codes": face, "outcome": "document_expired" })),
        25 => {
            let (code, outcome) = *dice.pick(&[
                ("document.shared", "declined"),
                ("person.mismatch", "declined"),
                ("document.of_erased", "declined"),
                ("subject.duplicate", "approved"),
            ]);
            (Kind::CrossCheck, "", json!({ "outcome": outcome, "codes": [code] }))
        }
        26 => {
            let country = dice.chance(90).then(|| *dice.pick(&COUNTRIES));
            let statement = json!({ "type": "network", "country": country, "anonymous": dice.chance(30) });
            (Kind::Observation, "", json!({ "statement": statement }))
        }
        27 => (Kind::Review, "", json!({ "statement": states("country_now", vec![*dice.pick(&COUNTRIES)]) })),
        28 => (Kind::Registry, "status_record", json!({ "statement": read(dice.pick(&["LPR", "A05", "H1B"])) })),
        29 => {
            let nationalities = dice.some(&COUNTRIES);
            let statement = json!({ "type": "read", "nationalities": nationalities });
            (Kind::Registry, "passport", json!({ "issuing_country": "USA", "statement": statement }))
        }
        30 => (Kind::Adjudication, "", json!({ "statement": states("us_status", state(dice)) })),
        // Nothing any pack knows.
        31 => (check, "library_card", json!({ "codes": face })),
        32 => (Kind::Registry, "", json!({ "statement": states("us_status", vec!["citizen", "martian"]) })),
        _ => (Kind::Vouch, "", json!({ "statement": states("identity", vec!["proofed"]) })),
    }
}

fn attestation(dice: &mut Dice, scale: Scale, number: usize, template: usize, good: bool) -> Attestation {
    let (kind, document_type, short) = short(dice, template);
    let source_kind = match kind {
        Kind::DocumentCheck => SourceKind::DocumentVendor,
        Kind::Registry => SourceKind::Registry,
        Kind::Review | Kind::Adjudication => SourceKind::Reviewer,
        Kind::Vouch | Kind::Directory if dice.chance(80) => SourceKind::Employer,
        Kind::Vouch | Kind::Directory => SourceKind::UnverifiedOrganisation,
        Kind::Declaration => SourceKind::Subject,
        Kind::Observation => SourceKind::Network,
        Kind::CrossCheck => SourceKind::Service,
    };
    let get = |name: &str| short.get(name).cloned().unwrap_or(Value::Null);
    let read = |name: &str| -> Option<String> { serde_json::from_value(get(name)).unwrap() };
    let statement: Option<Statement> = serde_json::from_value(get("statement")).unwrap();
    let assessor = match source_kind {
        SourceKind::DocumentVendor => dice.pick(&["vendor-a", "vendor-b"]),
        SourceKind::Employer | SourceKind::UnverifiedOrganisation => dice.pick(&ORGANISATIONS[..2]),
        _ => "one",
    };
    let shown = if good { Scale { span: scale.span * 2 / 5, ..scale } } else { scale };
    let checked_at = Second::from_epoch(shown.instant(dice));
    let late = if dice.chance(70) { 0 } else { scale.length(dice, 0, scale.span / 10) };
    let grades = [Grade::SelfDeclared, Grade::Weak, Grade::Fair, Grade::Strong, Grade::Superior];
    let doubt = match dice.below(20) {
        0 => Some(dice.between(0.1, 1.0)),
        1 if dice.chance(30) => Some(*dice.pick(&[0.0, -1.0, 1.5, f64::INFINITY])),
        _ => None,
    };
    let mut marks = Vec::new();
    while dice.chance(if good { 8 } else { 15 }) && marks.len() < 3 {
        let kinds = [MarkKind::Revoked, MarkKind::Superseded, MarkKind::Resolved, MarkKind::Suspended];
        let at = Second::from_epoch(scale.instant(dice));
        marks.push(Mark { at, kind: *dice.pick(&kinds), from_start: dice.chance(25) });
    }
    Attestation {
        id: AttestationId::parse(&format!("att_{number:03}")).unwrap(),
        source: SourceId::parse("src_any").unwrap(),
        recorded_at: checked_at.plus(late),
        facts: Facts {
            kind,
            source_kind,
            grade: if good { *dice.pick(&grades[3..]) } else { *dice.pick(&grades) },
            outcome: serde_json::from_value(get("outcome")).unwrap_or(Outcome::Approved),
            codes: serde_json::from_value(get("codes")).unwrap_or_default(),
            document_type: (!document_type.is_empty()).then(|| document_type.to_owned()),
            issuing_country: read("issuing_country").or((!document_type.is_empty()).then(|| "USA".to_owned())),
            statement,
            basis: serde_json::from_value::<Option<Basis>>(get("basis")).unwrap(),
            doubt,
            document: format!("document-{}", dice.below(5)),
            assessor: assessor.to_owned(),
            person: dice.chance(40).then(|| PersonKey {
                birth: if dice.chance(80) { "birth-1" } else { "birth-2" }.to_owned(),
                name: None,
            }),
            fact_date: dice.chance(60).then(|| checked_at.plus(-scale.length(dice, -scale.span / 20, scale.span))),
            checked_at,
            ends_at: dice.chance(45).then(|| checked_at.plus(scale.length(dice, 1, scale.span))),
        },
        marks,
    }
}

/// Templates that belong together: each alone proves little, together they make a person's story.
const STORIES: [&[usize]; 18] = [
    &[0],
    &[0, 1],
    &[4, 5],
    &[24, 6],
    &[2, 6],
    &[1, 7],
    &[2, 3],
    &[10, 2],
    &[9, 8],
    &[0, 20],
    &[0, 25],
    &[16, 16],
    &[13, 14],
    &[26, 27],
    &[0, 9],
    &[11, 12],
    &[0, 21],
    &[22, 22, 0],
];

/// A later word of the same organisation that says the opposite.
fn opposite(dice: &mut Dice, scale: Scale, number: usize, earlier: &Attestation) -> Attestation {
    let mut later = earlier.clone();
    later.id = AttestationId::parse(&format!("att_{number:03}")).unwrap();
    later.facts.checked_at = earlier.facts.checked_at.plus(scale.length(dice, -2, scale.span / 3));
    later.recorded_at = later.facts.checked_at;
    match &mut later.facts.statement {
        Some(Statement::Employment { employed, .. }) => *employed = !*employed,
        Some(Statement::States { states, .. }) => {
            *states = STATES.iter().map(|s| (*s).to_owned()).filter(|s| !states.contains(s)).collect();
        }
        _ => {}
    }
    later
}

/// A random person's evidence.
pub(crate) fn person(dice: &mut Dice, scale: Scale) -> SubjectFacts {
    let mut attestations: Vec<Attestation> = Vec::new();
    if dice.chance(92) {
        for template in STORIES[if dice.chance(35) { 0 } else { dice.below(STORIES.len()) }] {
            attestations.push(attestation(dice, scale, attestations.len(), *template, true));
        }
    }
    if dice.chance(50) {
        let template = *dice.pick(&[15, 16, 17, 22, 27, 26]);
        attestations.push(attestation(dice, scale, attestations.len(), template, true));
    }
    for _ in 0..dice.below(5) {
        let template = dice.below(34);
        attestations.push(attestation(dice, scale, attestations.len(), template, false));
    }
    if dice.chance(25) {
        // A new status, lawfully won: it began after what was shown before and by the day it was seen.
        let template = *dice.pick(&[3, 2, 0, 8, 28]);
        let mut won = attestation(dice, scale, attestations.len(), template, true);
        won.facts.fact_date = Some(won.facts.checked_at.plus(-scale.length(dice, 0, scale.span / 20 + 1)));
        attestations.push(won);
    }
    let spoken = attestations.iter().find(|a| matches!(a.facts.kind, Kind::Vouch | Kind::Directory)).cloned();
    if let Some(earlier) = spoken.filter(|_| dice.chance(35)) {
        attestations.push(opposite(dice, scale, attestations.len(), &earlier));
    }
    if dice.chance(10) && !attestations.is_empty() {
        // Delivered once more, with other marks.
        let mut again = dice.pick(&attestations).clone();
        again.recorded_at = again.recorded_at.plus(scale.length(dice, -2, scale.span / 10));
        again.marks.retain(|_| dice.chance(50));
        if dice.chance(10) {
            again.facts.grade = Grade::Weak;
        }
        attestations.insert(0, again);
    }
    SubjectFacts::person(SubjectId::parse("sub_any").unwrap(), attestations)
}

/// The instant asked about.
pub(crate) fn instant(dice: &mut Dice, scale: Scale) -> Second {
    Second::from_epoch(START + scale.length(dice, scale.span / 10, scale.span * 11 / 10))
}

/// What a request shows at `at`.
pub(crate) fn live(dice: &mut Dice, scale: Scale, at: Second) -> Vec<Attestation> {
    let mut seen = Vec::new();
    if dice.chance(85) {
        let mut one = attestation(dice, scale, 900, 26, true);
        (one.facts.checked_at, one.recorded_at, one.facts.ends_at, one.facts.doubt) = (at, at, None, None);
        one.marks.clear();
        seen.push(one);
    }
    seen
}
