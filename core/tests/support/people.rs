//! Random evidence of every kind the packs know.
#![expect(clippy::unwrap_used, reason = "constants of the test")]

use proptest::prelude::*;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{
    Attestation, Basis, Facts, Grade, Kind, Mark, MarkKind, Outcome, PersonKey, SourceKind, Statement, SubjectFacts,
};
use vouchsafe_core::ids::{AttestationId, SourceId, SubjectId};
use vouchsafe_core::second::DAY;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600;
pub(crate) const STATES: [&str; 5] = ["citizen", "national", "lpr", "protected", "other"];
pub(crate) const GRADES: [Grade; 5] = [Grade::SelfDeclared, Grade::Weak, Grade::Fair, Grade::Strong, Grade::Superior];

pub(crate) fn second(offset: i64) -> Second {
    Second::from_epoch(START + offset)
}

/// The states whose bits are set; all five if none is.
pub(crate) fn states(mask: u8) -> BTreeSet<String> {
    let some: BTreeSet<String> =
        (0..5).filter(|bit| mask >> bit & 1 == 1).filter_map(|bit| STATES.get(bit)).map(|s| (*s).to_owned()).collect();
    if some.is_empty() { STATES.iter().map(|s| (*s).to_owned()).collect() } else { some }
}

/// What one attestation is made of.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    template: u8,
    grade: u8,
    checked: i64,
    late: i64,
    lasts: Option<i64>,
    began: Option<i64>,
    keys: (u8, u8),
    doubt: Option<u8>,
    birth: u8,
    marks: Vec<(i64, u8, bool)>,
    mask: u8,
    yes: bool,
    basis: u8,
    verified: bool,
}

pub(crate) fn draw() -> impl Strategy<Value = Draw> {
    let days = |low: i64, high: i64| (low..high, -2i64..3).prop_map(|(day, jitter)| day * DAY + jitter);
    let when = (days(0, 500), 0i64..3, prop::option::weighted(0.4, days(1, 600)));
    let began = prop::option::weighted(0.6, days(-900, 500));
    let marks = prop::collection::vec((days(0, 900), 0u8..4, prop::bool::weighted(0.3)), 0..2);
    let marks = prop_oneof![3 => Just(Vec::new()), 1 => marks];
    (
        (0u8..22, 0u8..5, when, began),
        ((0u8..4, 0u8..2), prop::option::weighted(0.1, 1u8..=10), 0u8..3, marks),
        (0u8..32, any::<bool>(), 0u8..5, prop::bool::weighted(0.8)),
    )
        .prop_map(
            |(
                (template, grade, (checked, late, lasts), began),
                (keys, doubt, birth, marks),
                (mask, yes, basis, verified),
            )| Draw {
                template,
                grade,
                checked,
                late,
                lasts,
                began,
                keys,
                doubt,
                birth,
                marks,
                mask,
                yes,
                basis,
                verified,
            },
        )
}

pub(crate) fn attestation(number: usize, d: &Draw) -> Attestation {
    let organisation = ["org_a", "org_b"][usize::from(d.keys.1 % 2)].to_owned();
    let said = |frame: &str, states: BTreeSet<String>| Some(Statement::States { frame: frame.to_owned(), states });
    let category =
        |code: &str| Some(Statement::Read { nationalities: BTreeSet::new(), category: Some(code.to_owned()) });
    let employment =
        Some(Statement::Employment { organisation: organisation.clone(), employed: d.yes, relation: None });
    let (kind, document_type, country, codes, outcome, statement): (_, Option<&str>, &str, &[&str], _, _) = match d
        .template
    {
        0 => (Kind::DocumentCheck, Some("passport"), "USA", &["face_match"], Outcome::Approved, None),
        1 => (Kind::DocumentCheck, Some("passport"), "IRL", &["face_match"], Outcome::Approved, None),
        2 => (Kind::DocumentCheck, Some("permanent_resident_card"), "USA", &["face_match"], Outcome::Approved, None),
        3 => (Kind::DocumentCheck, Some("naturalisation_certificate"), "USA", &[], Outcome::Approved, None),
        4 => (Kind::DocumentCheck, Some("birth_certificate"), "USA", &[], Outcome::Approved, None),
        5 => (Kind::DocumentCheck, Some("driving_licence"), "USA", &["face_match"], Outcome::Approved, None),
        6 => (Kind::DocumentCheck, Some("extension_notice"), "USA", &[], Outcome::Approved, None),
        7 => (
            Kind::DocumentCheck,
            Some("employment_authorisation"),
            "USA",
            &["face_match"],
            Outcome::Approved,
            category("A05"),
        ),
        8 => (
            Kind::DocumentCheck,
            Some("employment_authorisation"),
            "USA",
            &["face_match"],
            Outcome::Approved,
            category("C09"),
        ),
        9 => (Kind::DocumentCheck, Some("approval_notice"), "USA", &[], Outcome::Approved, category("H1B")),
        10 => (Kind::Registry, None, "USA", &[], Outcome::Approved, said("us_status", states(d.mask))),
        11 => (Kind::Review, None, "USA", &[], Outcome::Approved, said("us_status", states(d.mask))),
        12 => (Kind::Vouch, None, "USA", &[], Outcome::Approved, said("us_status", states(d.mask))),
        13 => (Kind::Vouch, None, "USA", &[], Outcome::Approved, employment),
        14 => (Kind::Declaration, None, "USA", &[], Outcome::Approved, said("us_status", states(d.mask))),
        15 => {
            let countries = BTreeSet::from([["IRL", "FRA"][usize::from(d.yes)].to_owned(), "USA".to_owned()]);
            (Kind::Declaration, None, "USA", &[], Outcome::Approved, Some(Statement::Nationalities { countries }))
        }
        16 => (Kind::DocumentCheck, Some("passport"), "USA", &["forged"], Outcome::Declined, None),
        17 => (Kind::DocumentCheck, Some("passport"), "USA", &["face_mismatch"], Outcome::Declined, None),
        18 => {
            let state = if d.yes { "proofed" } else { "not_proofed" };
            let statement = said("identity", BTreeSet::from([state.to_owned()]));
            (Kind::Registry, None, "USA", &[], Outcome::Approved, statement)
        }
        19 => (Kind::DocumentCheck, Some("passport"), "USA", &["face_match"], Outcome::Resubmit, None),
        20 => (
            Kind::DocumentCheck,
            Some("permanent_resident_card"),
            "USA",
            &["face_match"],
            Outcome::DocumentExpired,
            None,
        ),
        _ => (Kind::Directory, None, "USA", &[], Outcome::Approved, employment),
    };
    let (source_kind, assessor) = match kind {
        Kind::DocumentCheck => (SourceKind::DocumentVendor, ["vendor-a", "vendor-b"][usize::from(d.keys.1 % 2)]),
        Kind::Registry => (SourceKind::Registry, "register"),
        Kind::Review | Kind::Adjudication => (SourceKind::Reviewer, "reviewers"),
        Kind::Vouch | Kind::Directory if d.verified => (SourceKind::Employer, organisation.as_str()),
        Kind::Vouch | Kind::Directory => (SourceKind::UnverifiedOrganisation, organisation.as_str()),
        Kind::Declaration => (SourceKind::Subject, "subject"),
        Kind::Observation => (SourceKind::Network, "network"),
        Kind::CrossCheck => (SourceKind::Service, "service"),
    };
    let basis = match d.basis {
        0 => Some(Basis::ExportControlRecord),
        1 => Some(Basis::RegistryRecord),
        2 => Some(Basis::HrRecord),
        3 => Some(Basis::I9),
        _ => None,
    };
    let checked_at = second(d.checked);
    Attestation {
        id: AttestationId::parse(&format!("att_{number:03}")).unwrap(),
        source: SourceId::parse("src_any").unwrap(),
        recorded_at: checked_at.plus(d.late),
        facts: Facts {
            kind,
            source_kind,
            grade: GRADES[usize::from(d.grade % 5)],
            outcome,
            codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            document_type: document_type.map(str::to_owned),
            issuing_country: document_type.map(|_| country.to_owned()),
            statement,
            basis: basis.filter(|_| kind == Kind::Vouch),
            doubt: d.doubt.map(|tenths| f64::from(tenths) / 10.0),
            document: format!("document-{}", d.keys.0),
            assessor: assessor.to_owned(),
            person: (d.birth > 0).then(|| PersonKey { birth: format!("birth-{}", d.birth), name: None }),
            fact_date: d.began.map(second),
            checked_at,
            ends_at: d.lasts.map(|lasts| checked_at.plus(lasts)),
        },
        marks: d
            .marks
            .iter()
            .map(|(at, kind, from_start)| Mark {
                at: second(*at),
                kind: [MarkKind::Revoked, MarkKind::Superseded, MarkKind::Resolved, MarkKind::Suspended]
                    [usize::from(kind % 4)],
                from_start: *from_start,
            })
            .collect(),
    }
}

/// Up to seven attestations of one subject; half of the subjects hold a good document.
pub(crate) fn evidence() -> impl Strategy<Value = Vec<Attestation>> {
    let good = (draw(), prop::sample::select(vec![0u8, 0, 2, 7])).prop_map(|(mut d, template)| {
        (d.template, d.grade, d.doubt, d.birth) = (template, 3 + d.grade % 2, None, 0);
        d.marks.clear();
        d
    });
    (prop::option::of(good), prop::collection::vec(draw(), 0..6)).prop_map(|(good, draws)| {
        good.iter().chain(&draws).enumerate().map(|(number, d)| attestation(number, d)).collect()
    })
}

pub(crate) fn subject(attestations: Vec<Attestation>) -> SubjectFacts {
    SubjectFacts::person(SubjectId::parse("sub_any").unwrap(), attestations)
}

/// An instant during or after the evidence.
pub(crate) fn instant() -> impl Strategy<Value = Second> {
    (0i64..800, -2i64..3).prop_map(|(day, jitter)| second(day * DAY + jitter))
}
