//! What a yes rests on, in the words of OpenID Connect for Identity Assurance 1.0 (schema definition, section 5.4).
//!
//! Told is what counted for the subject: documents, register records and vouches. What a person declares of themselves,
//! what a network shows and what reviewers found are no evidence in that sense, and what speaks against somebody is
//! never told. Document numbers, names and category codes are not told either: they are not kept, or not needed.

use crate::service::suspend::organisation_source;
use crate::service::world::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Attestation, Kind, Outcome, SubjectFacts};
use vouchsafe_core::fusion::Side;
use vouchsafe_core::{Decision, Second};

/// The evidence of a decision, in order of the attestations' ids.
pub(super) fn evidence(world: &World, decision: &Decision, facts: &SubjectFacts) -> Vec<Value> {
    let own = decision.criteria.iter().filter(|criterion| criterion.party.is_none() && !criterion.neutral);
    let counted: BTreeSet<&str> = own
        .flat_map(|criterion| &criterion.evidence)
        .filter(|item| item.counted && item.side == Some(Side::Supports))
        .map(|item| item.attestation.as_str())
        .collect();
    let mut used: Vec<&Attestation> =
        facts.attestations.iter().filter(|attestation| counted.contains(attestation.id.as_str())).collect();
    used.sort_by(|a, b| a.id.cmp(&b.id));
    used.into_iter().filter_map(|attestation| item(world, attestation)).collect()
}

/// The calendar day of an instant, `YYYY-MM-DD`.
fn day(at: Second) -> String {
    at.to_string().chars().take(10).collect()
}

/// Types of documents under the names that the standard has for them, else under ours.
fn document_type(ours: &str) -> &str {
    match ours {
        "id_card" => "idcard",
        "driving_licence" => "driving_permit",
        "permanent_resident_card" => "residence_permit",
        other => other,
    }
}

fn item(world: &World, attestation: &Attestation) -> Option<Value> {
    let facts = &attestation.facts;
    if facts.outcome != Outcome::Approved {
        return None;
    }
    let source = attestation.source.as_str();
    let organisation = world
        .organisations
        .iter()
        .find(|(id, _)| organisation_source(id) == source)
        .map(|(_, organisation)| organisation.name.as_str());
    let name = world.sources.get(source).map(|(source, _)| source.name.as_str()).or(organisation);
    let check = |method: &str| {
        let mut check = json!({ "check_method": method, "check_id": attestation.id, "time": facts.checked_at });
        if let (Some(name), Some(members)) = (name, check.as_object_mut()) {
            members.insert("organization".to_owned(), json!(name));
        }
        check
    };
    let mut dates = Map::new();
    if let Some(ends_at) = facts.ends_at {
        dates.insert("date_of_expiry".to_owned(), json!(day(ends_at)));
    }
    match facts.kind {
        Kind::DocumentCheck => {
            let mut details = dates;
            details.insert("type".to_owned(), json!(document_type(facts.document_type.as_deref()?)));
            if let Some(country) = &facts.issuing_country {
                details.insert("issuer".to_owned(), json!({ "country_code": country }));
            }
            let has = |code: &str| facts.codes.contains(code);
            let genuine = if has("chip_verified") { "vcrypt" } else { "vri" };
            let mut checks = vec![check(genuine)];
            checks.extend(has("face_match").then(|| check("bvr")));
            Some(json!({ "type": "document", "check_details": checks, "document_details": details }))
        }
        Kind::Registry => {
            let mut record = dates;
            record.insert("type".to_owned(), json!(facts.document_type.as_deref().unwrap_or("status_record")));
            let mut source = Map::new();
            source.extend(name.map(|name| ("name".to_owned(), json!(name))));
            source.extend(facts.issuing_country.as_ref().map(|code| ("country_code".to_owned(), json!(code))));
            if !source.is_empty() {
                record.insert("source".to_owned(), Value::Object(source));
            }
            Some(json!({ "type": "electronic_record", "check_details": [check("data")], "record": record }))
        }
        Kind::Vouch | Kind::Directory => {
            let mut vouch = dates;
            vouch.insert("type".to_owned(), json!("digital_attestation"));
            vouch.insert("reference_number".to_owned(), json!(attestation.id));
            vouch.insert("date_of_issuance".to_owned(), json!(day(facts.checked_at)));
            vouch.insert("voucher".to_owned(), json!({ "organization": organisation? }));
            // Signed or not: what is vouched for is what the organisation has on record.
            Some(json!({ "type": "vouch", "check_details": [check("data")], "attestation": vouch }))
        }
        Kind::Review | Kind::Declaration | Kind::Observation | Kind::Adjudication | Kind::CrossCheck => None,
    }
}
