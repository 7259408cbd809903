//! Time of one `decide` for a subject with four attestations under `restricted-us-persons`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints its figure and stops on a broken fixture"
)]

use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::{Library, Rules};
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Second, Status, decide};

fn fixture(name: &str) -> String {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures"));
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn attestation(id: &str, facts: Value) -> Attestation {
    let at = facts.get("checked_at").cloned().unwrap();
    serde_json::from_value(json!({ "id": format!("att_{id}"), "source": "src_any", "recorded_at": at, "facts": facts }))
        .unwrap()
}

fn main() {
    let mut library = Library { weights: Weights::default(), ..Library::default() };
    for pack in ["us_status@1", "identity@1", "employer@1"] {
        let pack = Pack::from_toml(&fixture(&format!("definitions/{pack}.toml"))).unwrap();
        library.packs.insert(pack.name(), pack);
    }
    let set: vouchsafe_core::policy::NamedSet = toml::from_str(&fixture("sets/annex-a@2026-06-26.toml")).unwrap();
    library.sets.insert(set.id.clone(), set);
    let policy = Policy::from_toml(&fixture("policies/restricted-us-persons.toml")).unwrap();
    library.policies.insert((policy.id.clone(), 1), policy);
    let entry = Entry {
        seq: 1,
        directive: "start".to_owned(),
        from: Second::parse("2026-06-01T00:00:00Z").unwrap(),
        action: Action::Activate { policy: "restricted-us-persons".to_owned(), version: 1 },
    };
    let at = Second::parse("2026-11-21T00:00:00Z").unwrap();
    let rules = Rules::compile(&library, &[entry], &ResourceId::parse("restricted.api").unwrap(), at).unwrap();
    let facts = SubjectFacts::person(
        SubjectId::parse("sub_bench").unwrap(),
        vec![
            attestation(
                "a",
                json!({
                    "kind": "document_check", "source_kind": "document_vendor", "grade": "SUPERIOR", "document_type": "passport",
                    "issuing_country": "USA", "codes": ["face_match"], "document": "d1", "assessor": "vendor",
                    "checked_at": "2026-08-13T00:00:00Z", "ends_at": "2032-05-01T00:00:00Z",
                }),
            ),
            attestation(
                "b",
                json!({
                    "kind": "document_check", "source_kind": "document_vendor", "grade": "STRONG", "document_type": "driving_licence",
                    "issuing_country": "USA", "codes": ["face_match"], "document": "d2", "assessor": "vendor",
                    "checked_at": "2026-08-13T00:00:00Z", "ends_at": "2030-05-01T00:00:00Z",
                }),
            ),
            attestation(
                "c",
                json!({
                    "kind": "vouch", "source_kind": "employer", "grade": "FAIR", "document": "d3", "assessor": "org_meridian",
                    "statement": { "type": "states", "frame": "us_status", "states": ["citizen", "national", "lpr", "protected"] },
                    "checked_at": "2026-11-01T00:00:00Z", "ends_at": "2027-04-30T00:00:00Z",
                }),
            ),
            attestation(
                "d",
                json!({
                    "kind": "vouch", "source_kind": "employer", "grade": "STRONG", "document": "d3", "assessor": "org_meridian",
                    "statement": { "type": "employment", "organisation": "org_meridian", "employed": true },
                    "checked_at": "2026-11-02T00:00:00Z",
                }),
            ),
        ],
    );
    assert_eq!(decide(&rules, &facts, at).status, Status::Eligible);
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        const ROUNDS: u32 = 2_000;
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(decide(black_box(&rules), black_box(&facts), black_box(at)));
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    println!("decide, four attestations: {best:.0} ns");
}
