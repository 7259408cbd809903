//! Questions about several parties: the organisation acted for, contractors of contractors, owners, workloads.
//!
//! One registry record of grade STRONG has strength 0.92 × 0.99 = 0.9108 and so a belief of 0.9108 alone; so has a vouch
//! about employment by a verified employer. Two independent ones have 2 × 20.4215 = 40.843 units, belief 0.9533.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "constants of the test")]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vouchsafe_core::facts::{Attestation, Party, SubjectFacts, SubjectKind};
use vouchsafe_core::fusion::Cause;
use vouchsafe_core::ids::{OrganisationId, ResourceId, SubjectId};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, Status, decide};

const AT: &str = "2026-11-21T00:00:00Z";

fn at(text: &str) -> Second {
    Second::parse(text).unwrap()
}

fn sub(name: &str) -> SubjectId {
    SubjectId::parse(&format!("sub_{name}")).unwrap()
}

/// A statement of a register, or of whom `more` says, ten days old.
fn says(id: &str, statement: &Value, more: &Value) -> Attestation {
    let mut facts = json!({
        "kind": "registry", "source_kind": "registry", "grade": "STRONG", "document": id, "assessor": id,
        "checked_at": "2026-11-11T00:00:00Z", "statement": statement,
    });
    facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let marks = facts.as_object_mut().unwrap().remove("marks").unwrap_or(json!([]));
    let recorded = facts["checked_at"].clone();
    serde_json::from_value(
        json!({ "id": format!("att_{id}"), "source": "src_register", "recorded_at": recorded, "facts": facts, "marks": marks }),
    )
    .unwrap()
}

fn owners(id: &str, shares: &[(&str, &str)], more: &Value) -> Attestation {
    let shares: BTreeMap<_, _> = shares.iter().copied().collect();
    says(id, &json!({ "type": "owners", "owners": shares }), more)
}

fn incorporated(id: &str, country: &str) -> Attestation {
    says(id, &json!({ "type": "states", "frame": "incorporation", "states": [country] }), &json!({}))
}

fn works_for(id: &str, organisation: &str, more: &Value) -> Attestation {
    let mut vouch = json!({ "kind": "vouch", "source_kind": "employer", "assessor": organisation });
    vouch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    says(id, &json!({ "type": "employment", "organisation": organisation, "employed": true }), &vouch)
}

fn passport(id: &str) -> Attestation {
    says(
        id,
        &Value::Null,
        &json!({ "kind": "document_check", "source_kind": "document_vendor", "grade": "SUPERIOR", "document_type": "passport",
            "issuing_country": "USA", "codes": ["face_match"] }),
    )
}

/// Rules with these criteria.
fn rules(criteria: &Value) -> Rules {
    let mut library = support::library();
    let mut policy: Policy = serde_json::from_value(json!({
        "id": "parties", "title": "t", "resources": ["restricted.x"], "max_ttl": "365d", "criteria": criteria,
        "definitions": ["us_status@1", "identity@1", "employer@1", "incorporation@1", "ownership@1"],
    }))
    .unwrap();
    policy.write_out_defaults();
    policy.check(&library).unwrap();
    library.policies.insert(("parties".to_owned(), 1), policy);
    let entry = Entry {
        seq: 1,
        directive: "start".to_owned(),
        from: at("2026-06-01T00:00:00Z"),
        action: Action::Activate { policy: "parties".to_owned(), version: 1 },
    };
    Rules::compile(&library, &[entry], &ResourceId::parse("restricted.x").unwrap(), at(AT)).unwrap()
}

/// A question of `kind` with parties.
struct Asked(SubjectFacts);

impl Asked {
    fn of(kind: SubjectKind, attestations: Vec<Attestation>) -> Self {
        Self(SubjectFacts::new(sub("asked"), kind, attestations))
    }
    fn for_(mut self, name: &str) -> Self {
        self.0.related.acting_for = Some(sub(name));
        self
    }
    fn party(mut self, name: &str, kind: SubjectKind, attestations: Vec<Attestation>) -> Self {
        self.0.related.parties.insert(sub(name), Party { kind, attestations });
        // Registered under the same name.
        self.0.related.organisations.insert(OrganisationId::parse(&format!("org_{name}")).unwrap(), sub(name));
        self
    }
    fn organisation(self, name: &str, attestations: Vec<Attestation>) -> Self {
        self.party(name, SubjectKind::Organisation, attestations)
    }
    fn at(&self, rules: &Rules, instant: &str) -> Decision {
        decide(rules, &self.0, at(instant))
    }
    fn status(&self, rules: &Rules) -> Status {
        self.at(rules, AT).status
    }
}

fn us_entity() -> Value {
    json!([{ "id": "us-entity", "frame": "incorporation", "of": "acting_for", "allow": ["USA"] }])
}

#[test]
fn a_foreign_subsidiary_of_a_domestic_parent_is_foreign_and_the_reverse_is_not() {
    let rules = rules(&us_entity());
    let person = || Asked::of(SubjectKind::Person, vec![]);
    let foreign = person().for_("sub").organisation("sub", vec![incorporated("r", "IRL")]);
    let decision = foreign.at(&rules, AT);
    assert_eq!((decision.status, decision.confidence), (Status::Ineligible, Some(0.91)));
    assert_eq!(decision.acting_for.as_deref(), Some("sub_sub"));
    let domestic = person().for_("sub").organisation("sub", vec![incorporated("r", "USA")]);
    let decision = domestic.at(&rules, AT);
    assert_eq!((decision.status, decision.confidence), (Status::Eligible, Some(0.91)));
    assert_eq!(decision.criteria[0].party, Some(sub("sub")));
    // Acting for nobody, or for somebody unknown, proves nothing; and a person is no organisation.
    assert_eq!(person().status(&rules), Status::Insufficient);
    assert_eq!(
        person().for_("other").organisation("sub", vec![incorporated("r", "USA")]).status(&rules),
        Status::Insufficient
    );
    let a_person = person().for_("sub").party("sub", SubjectKind::Person, vec![incorporated("r", "USA")]);
    assert_eq!(a_person.status(&rules), Status::Insufficient);
    // An organisation that acts for nobody acts for itself.
    assert_eq!(Asked::of(SubjectKind::Organisation, vec![incorporated("r", "USA")]).status(&rules), Status::Eligible);
}

#[test]
fn whom_one_acts_for_is_part_of_the_question() {
    let rules = rules(&us_entity());
    let asked = |name: &str| {
        let both = Asked::of(SubjectKind::Person, vec![]).organisation("a", vec![incorporated("ra", "USA")]);
        both.organisation("b", vec![incorporated("rb", "USA")]).for_(name).at(&rules, AT)
    };
    assert_ne!(asked("a").id, asked("b").id);
    assert_eq!(asked("a").attestations.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["att_ra"]);
}

fn owned(along: &str) -> Value {
    json!([{ "id": "owners", "frame": "ownership", "of": "acting_for", "none_of": ["listed-one", "listed-two", "sub_l"],
        "aggregate": { "at": "50%", "along": along } }])
}

/// The answer about an organisation with these owners, and these about its owners.
fn owned_by(along: &str, shares: &[(&str, &str)], others: &[(&str, &[(&str, &str)])]) -> Status {
    let mut asked =
        Asked::of(SubjectKind::Person, vec![]).for_("e").organisation("e", vec![owners("e", shares, &json!({}))]);
    for (name, shares) in others {
        asked = asked.organisation(name, vec![owners(name, shares, &json!({}))]);
    }
    asked.status(&rules(&owned(along)))
}

#[test]
fn shares_of_listed_owners_add_up_exactly() {
    let direct = |shares: &[(&str, &str)]| owned_by("product", shares, &[]);
    // 30 % + 25 % = 55 %.
    assert_eq!(direct(&[("listed-one", "30%"), ("listed-two", "25%"), ("fund", "45%")]), Status::Ineligible);
    // 25 % + 24.999 % < 50 %, with the rest accounted for.
    assert_eq!(direct(&[("listed-one", "25%"), ("listed-two", "24.999%"), ("fund", "50.001%")]), Status::Eligible);
    assert_eq!(direct(&[("listed-one", "1/3"), ("listed-two", "1/6"), ("fund", "50%")]), Status::Ineligible);
    // 27 × 1/54 is a half, and in floating point 0.49999999999999967.
    let many: Vec<(String, &str)> = (0..27).map(|n| (format!("n{n}"), "1/54")).collect();
    let list: Vec<&str> = many.iter().map(|(name, _)| name.as_str()).collect();
    let rules_of_many = rules(&json!([{ "id": "owners", "frame": "ownership", "of": "acting_for", "none_of": list,
        "aggregate": { "at": "50%", "along": "product" } }]));
    let shares: Vec<(&str, &str)> = many.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    let asked =
        Asked::of(SubjectKind::Person, vec![]).for_("e").organisation("e", vec![owners("e", &shares, &json!({}))]);
    assert_eq!(asked.status(&rules_of_many), Status::Ineligible);
}

#[test]
fn what_is_not_known_of_owners_never_helps() {
    let direct = |shares: &[(&str, &str)]| owned_by("product", shares, &[]);
    // A listed owner whose share is not known, and more than half unaccounted for: a person must look.
    assert_eq!(direct(&[("listed-one", "unknown"), ("fund", "40%")]), Status::Review);
    // It can hold 40 % at most.
    assert_eq!(direct(&[("listed-one", "unknown"), ("fund", "60%")]), Status::Eligible);
    // Nobody listed is named, but half is unaccounted for.
    assert_eq!(direct(&[("fund", "50%")]), Status::Insufficient);
    assert_eq!(direct(&[("fund", "50.1%")]), Status::Eligible);
    // An owner that is an organisation of which nothing is known may be anybody's.
    assert_eq!(direct(&[("sub_nobody", "60%"), ("fund", "40%")]), Status::Insufficient);
    assert_eq!(direct(&[("org_nobody", "40%"), ("fund", "60%")]), Status::Eligible);
    assert_eq!(direct(&[]), Status::Insufficient);
}

#[test]
fn chains_multiply_or_are_controlled_as_the_policy_says() {
    let shares: &[(&str, &str)] = &[("sub_h", "60%"), ("fund", "40%")];
    let holding: &[(&str, &[(&str, &str)])] = &[("h", &[("listed-one", "60%"), ("fund", "40%")])];
    // 60 % × 60 % = 36 %; but the holding is controlled, and its 60 % count whole.
    assert_eq!(owned_by("product", shares, holding), Status::Eligible);
    assert_eq!(owned_by("control", shares, holding), Status::Ineligible);
    // 90 % × 60 % = 54 %.
    assert_eq!(owned_by("product", &[("sub_h", "90%"), ("fund", "10%")], holding), Status::Ineligible);
    // A holding that is not controlled counts nothing under control: 49 % of 100 %.
    let minority: &[(&str, &[(&str, &str)])] = &[("h", &[("listed-one", "49%"), ("fund", "51%")])];
    assert_eq!(owned_by("control", &[("sub_h", "100%")], minority), Status::Eligible);
    assert_eq!(owned_by("product", &[("sub_h", "100%")], minority), Status::Eligible);
    // 49 % by way of the holding and 1 % direct.
    let both: &[(&str, &str)] = &[("org_h", "100%")];
    let through: &[(&str, &[(&str, &str)])] =
        &[("h", &[("listed-one", "49%"), ("sub_g", "51%")]), ("g", &[("listed-two", "2%"), ("fund", "98%")])];
    // 49 % + 51 % × 2 % = 50.02 %.
    assert_eq!(owned_by("product", both, through), Status::Ineligible);
    // A listed organisation named by its subject or by its registered name.
    assert_eq!(owned_by("product", &[("sub_l", "50%"), ("fund", "50%")], &[]), Status::Ineligible);
    assert_eq!(owned_by("product", &[("org_l", "50%"), ("fund", "50%")], &[("l", &[])]), Status::Ineligible);
    // Owners who own each other: what is behind them is not known.
    let ring: &[(&str, &[(&str, &str)])] = &[("h", &[("sub_g", "100%")]), ("g", &[("sub_h", "100%")])];
    assert_eq!(owned_by("product", &[("sub_h", "100%")], ring), Status::Insufficient);
}

#[test]
fn a_holding_that_changes_hands_changes_the_answer_in_its_second() {
    let rules = rules(&owned("control"));
    let asked = |more: &Value| {
        Asked::of(SubjectKind::Person, vec![])
            .for_("e")
            .organisation("e", vec![owners("e", &[("sub_h", "100%")], &json!({}))])
            .organisation(
                "h",
                vec![
                    owners("h1", &[("fund", "100%")], more),
                    owners("h2", &[("listed-one", "100%")], &json!({ "checked_at": "2026-12-01T00:00:00Z" })),
                ],
            )
    };
    let revoked = json!({ "marks": [{ "at": "2026-11-25T00:00:00Z", "kind": "revoked" }] });
    for (more, before) in [(json!({}), Status::Eligible), (revoked, Status::Insufficient)] {
        let asked = asked(&more);
        assert_eq!(asked.at(&rules, "2026-11-24T23:59:59Z").status, Status::Eligible);
        assert_eq!(asked.at(&rules, "2026-11-30T23:59:59Z").status, before);
        // The worst of the statements about the holding counts.
        let decision = asked.at(&rules, "2026-12-01T00:00:00Z");
        assert_eq!((decision.status, decision.at), (Status::Ineligible, at("2026-12-01T00:00:00Z")));
    }
}

#[test]
fn a_listed_owner_of_the_holding_who_sells_is_against_it_no_more() {
    let rules = rules(&owned("control"));
    let sold = json!({ "marks": [{ "at": "2026-11-25T00:00:00Z", "kind": "superseded" }] });
    let asked = Asked::of(SubjectKind::Person, vec![])
        .for_("e")
        .organisation("e", vec![owners("e", &[("sub_h", "100%")], &json!({}))])
        .organisation(
            "h",
            vec![
                owners("h1", &[("listed-one", "100%")], &sold),
                owners("h2", &[("fund", "100%")], &json!({ "checked_at": "2026-11-25T00:00:00Z" })),
            ],
        );
    assert_eq!(asked.at(&rules, "2026-11-24T23:59:59Z").status, Status::Ineligible);
    assert_eq!(asked.at(&rules, "2026-11-25T00:00:00Z").status, Status::Eligible);
}

#[test]
fn the_end_of_a_statement_behind_bounds_the_promise() {
    let rules = rules(&owned("control"));
    let holding = owners("h1", &[("fund", "100%")], &json!({ "ends_at": "2026-12-24T00:00:00Z" }));
    let asked = Asked::of(SubjectKind::Person, vec![])
        .for_("e")
        .organisation("e", vec![owners("e", &[("sub_h", "100%")], &json!({}))])
        .organisation("h", vec![holding]);
    let decision = asked.at(&rules, AT);
    assert_eq!(decision.status, Status::Eligible);
    assert_eq!(
        (decision.expires_at, decision.expiry_cause),
        (Some(at("2026-12-24T00:00:00Z")), Some(Cause::EvidenceEnd))
    );
    assert_eq!(asked.at(&rules, "2026-12-24T00:00:00Z").status, Status::Insufficient);
}

fn listed_customer(chain: u8) -> Value {
    json!([{ "id": "listed", "frame": "employer", "any_of": ["org_customer"], "chain": chain }])
}

/// Somebody of `small`, a contractor of `big`, a contractor of the customer.
fn contractor(of_small: &Value, of_big: &Value) -> Asked {
    Asked::of(SubjectKind::Person, vec![works_for("p", "org_small", of_small)])
        .organisation("small", vec![works_for("s", "org_big", &json!({}))])
        .organisation("big", vec![works_for("b", "org_customer", of_big)])
}

#[test]
fn a_contractor_of_a_contractor_counts_as_far_as_the_policy_follows() {
    let none = json!({});
    assert_eq!(contractor(&none, &none).status(&rules(&listed_customer(2))), Status::Insufficient);
    let decision = contractor(&none, &none).at(&rules(&listed_customer(3)), AT);
    assert_eq!((decision.status, decision.confidence), (Status::Eligible, Some(0.91)));
    assert_eq!(decision.criteria[0].key.as_deref(), Some("org_customer"));
    assert_eq!(decision.attestations.len(), 3);
    // As strong as its weakest link: FAIR gives 0.65 × 0.99 = 0.6435.
    let fair = json!({ "grade": "FAIR" });
    for weak in [contractor(&none, &fair), contractor(&fair, &none)] {
        let weak = weak.at(&rules(&listed_customer(3)), AT);
        assert!((weak.criteria[0].belief - 0.6435).abs() < 1e-9);
        assert_eq!(weak.status, Status::Insufficient);
    }
}

#[test]
fn a_chain_ends_with_any_of_its_links() {
    let rules = rules(&listed_customer(3));
    let none = json!({});
    let ends = json!({ "ends_at": "2026-12-01T00:00:00Z" });
    let decision = contractor(&none, &ends).at(&rules, AT);
    assert_eq!(decision.expires_at, Some(at("2026-12-01T00:00:00Z")));
    let revoked = json!({ "marks": [{ "at": "2026-11-20T00:00:00Z", "kind": "revoked" }] });
    assert_eq!(contractor(&revoked, &none).status(&rules), Status::Insufficient);
    assert_eq!(contractor(&none, &revoked).status(&rules), Status::Insufficient);
    // The small contractor says that the person has left: its own word ends, and with it the chain.
    let mut left = contractor(&none, &none);
    let mut no = works_for("no", "org_small", &json!({ "checked_at": "2026-11-15T00:00:00Z" }));
    no.facts.statement =
        serde_json::from_value(json!({ "type": "employment", "organisation": "org_small", "employed": false }))
            .unwrap();
    left.0.attestations.push(no.clone());
    assert_eq!(left.status(&rules), Status::Insufficient);
    // So does the middle one about the small one.
    let mut left = contractor(&none, &none);
    let mut no = works_for("no", "org_big", &json!({ "checked_at": "2026-11-15T00:00:00Z" }));
    no.facts.statement =
        serde_json::from_value(json!({ "type": "employment", "organisation": "org_big", "employed": false })).unwrap();
    left.0.related.parties.get_mut(&sub("small")).unwrap().attestations.push(no);
    assert_eq!(left.status(&rules), Status::Insufficient);
    // The customer itself says no about the person: that is adverse, whatever the chain says.
    let mut denied = contractor(&none, &none);
    let mut no = works_for("no", "org_customer", &json!({ "checked_at": "2026-11-15T00:00:00Z" }));
    no.facts.statement =
        serde_json::from_value(json!({ "type": "employment", "organisation": "org_customer", "employed": false }))
            .unwrap();
    denied.0.attestations.push(no);
    assert_eq!(denied.status(&rules), Status::Ineligible);
}

#[test]
fn a_ring_of_contractors_ends() {
    let asked = Asked::of(SubjectKind::Person, vec![works_for("p", "org_a", &json!({}))])
        .organisation("a", vec![works_for("a", "org_b", &json!({}))])
        .organisation("b", vec![works_for("b", "org_a", &json!({}))]);
    assert_eq!(asked.status(&rules(&listed_customer(8))), Status::Insufficient);
}

fn agent_rules() -> Rules {
    let identity = json!({ "id": "identity", "frame": "identity", "allow": ["proofed"], "eligible_at": 0.85 });
    let entity = json!({ "id": "us-entity", "frame": "incorporation", "of": "acting_for", "allow": ["USA"] });
    rules(
        &json!([{ "id": "us-status", "frame": "us_status", "allow": ["citizen", "national"], "eligible_at": 0.85 }, identity, entity]),
    )
}

fn stands_behind(id: &str, owner: &str, responsible: &str, more: &Value) -> Attestation {
    let mut service = json!({ "kind": "directory", "source_kind": "service" });
    service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    says(
        id,
        &json!({ "type": "workload", "owner": format!("sub_{owner}"), "responsible": format!("sub_{responsible}") }),
        &service,
    )
}

fn agent(own: Vec<Attestation>) -> Asked {
    Asked::of(SubjectKind::Workload, own)
        .organisation("owner", vec![incorporated("ro", "USA")])
        .party("boss", SubjectKind::Person, vec![passport("pp")])
        .party("stranger", SubjectKind::Person, vec![])
        .organisation("foreign", vec![incorporated("rf", "IRL")])
}

#[test]
fn a_workload_is_as_eligible_as_the_worst_of_itself_its_owner_and_its_person() {
    let rules = agent_rules();
    let none = json!({});
    let good = agent(vec![stands_behind("w", "owner", "boss", &none)]);
    assert_eq!(good.status(&rules), Status::Eligible);
    assert_eq!(agent(vec![stands_behind("w", "owner", "stranger", &none)]).status(&rules), Status::Insufficient);
    assert_eq!(agent(vec![stands_behind("w", "foreign", "boss", &none)]).status(&rules), Status::Ineligible);
    // Nobody stands behind it, or an organisation in the person's place.
    assert_eq!(agent(vec![]).status(&rules), Status::Insufficient);
    assert_eq!(agent(vec![stands_behind("w", "owner", "foreign", &none)]).status(&rules), Status::Insufficient);
    // Its own passport does not help it, and what is held against it counts.
    assert_eq!(agent(vec![passport("own")]).status(&rules), Status::Insufficient);
    let impostor = json!({ "kind": "document_check", "source_kind": "document_vendor", "outcome": "declined", "codes": ["impostor"] });
    let accused = agent(vec![stands_behind("w", "owner", "boss", &none), says("bad", &Value::Null, &impostor)]);
    assert_eq!(accused.status(&rules), Status::Ineligible);
    // It acts for somebody else as well: both are judged.
    let mut acting = agent(vec![stands_behind("w", "owner", "boss", &none)]).for_("foreign");
    assert_eq!(acting.status(&rules), Status::Ineligible);
    acting.0.related.acting_for = Some(sub("owner"));
    assert_eq!(acting.status(&rules), Status::Eligible);
}

#[test]
fn only_the_newest_word_of_this_service_says_who_stands_behind() {
    let rules = agent_rules();
    let later = json!({ "checked_at": "2026-11-15T00:00:00Z" });
    let old = || stands_behind("w1", "owner", "boss", &json!({}));
    assert_eq!(agent(vec![old(), stands_behind("w2", "foreign", "boss", &later)]).status(&rules), Status::Ineligible);
    let revoked = json!({ "marks": [{ "at": "2026-11-15T00:00:00Z", "kind": "revoked" }] });
    assert_eq!(agent(vec![stands_behind("w1", "owner", "boss", &revoked)]).status(&rules), Status::Insufficient);
    // An employer's word is not enough, and one with an end is none.
    let employer = json!({ "source_kind": "employer" });
    assert_eq!(agent(vec![stands_behind("w1", "owner", "boss", &employer)]).status(&rules), Status::Insufficient);
    let ends = json!({ "ends_at": "2027-11-15T00:00:00Z" });
    assert_eq!(agent(vec![stands_behind("w1", "owner", "boss", &ends)]).status(&rules), Status::Insufficient);
    // The decision dates from the change.
    let decision = agent(vec![old(), stands_behind("w2", "owner", "boss", &later)]).at(&rules, AT);
    assert_eq!((decision.status, decision.at), (Status::Eligible, at("2026-11-15T00:00:00Z")));
}

#[test]
fn one_statement_about_two_subjects_is_not_believed() {
    let mut asked = agent(vec![stands_behind("w", "owner", "boss", &json!({}))]);
    asked.0.related.parties.get_mut(&sub("stranger")).unwrap().attestations.push(passport("pp"));
    let decision = asked.at(&agent_rules(), AT);
    assert_eq!(
        (decision.status, decision.reasons.as_slice()),
        (Status::Insufficient, ["facts.inconsistent".to_owned()].as_slice())
    );
}

/// Shares in hundredths, of owners 0 to 3; each may be owned by those after it. Owner 3 is listed.
fn product_of(shares: &[[u32; 4]; 3]) -> f64 {
    // In the order of the last: what the listed hold of owner n, in hundredths to the power of the chain's length.
    let mut held = [0.0, 0.0, 0.0, 1.0];
    for n in (0..3).rev() {
        held[n] = (n + 1..4).map(|m| f64::from(shares[n][m]) / 100.0 * held[m]).sum();
    }
    held[0]
}

proptest! {
    /// Compared with plain sums in floating point, away from the threshold.
    #[test]
    fn products_along_chains_are_what_plain_sums_give(raw in proptest::array::uniform3(proptest::array::uniform4(0u32..34))) {
        let mut shares = raw;
        for (n, row) in shares.iter_mut().enumerate() {
            for share in row.iter_mut().take(n + 1) {
                *share = 0;
            }
        }
        // The rest is a fund's, so that all is accounted for. Doubled to reach both sides of one half.
        let expected = product_of(&shares);
        prop_assume!((expected - 0.3).abs() > 1e-6);
        let criteria = json!([{ "id": "owners", "frame": "ownership", "of": "acting_for", "none_of": ["listed-one"],
            "aggregate": { "at": "30%", "along": "product" } }]);
        let names = ["e", "g", "h"];
        let mut asked = Asked::of(SubjectKind::Person, vec![]).for_("e");
        for (n, name) in names.iter().enumerate() {
            let mut held: Vec<(String, String)> = (n + 1..4)
                .filter(|m| shares[n][*m] > 0)
                .map(|m| (if m == 3 { "listed-one".to_owned() } else { format!("sub_{}", names[m]) }, format!("{}%", shares[n][m])))
                .collect();
            let rest = 100 - shares[n].iter().sum::<u32>();
            held.push(("fund".to_owned(), format!("{rest}%")));
            let held: Vec<(&str, &str)> = held.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            asked = asked.organisation(name, vec![owners(name, &held, &json!({}))]);
        }
        let want = if expected > 0.3 { Status::Ineligible } else { Status::Eligible };
        prop_assert_eq!(asked.status(&rules(&criteria)), want);
    }
}

#[test]
fn texts_that_are_no_shares_are_refused() {
    for text in [
        "",
        "%",
        "101%",
        "-1%",
        "1/0",
        "2/1",
        "0.5",
        "50",
        "1e1%",
        "+5%",
        "5.%",
        "1/3/4",
        "٣%",
        "50 %",
        "9999999999999999999%",
        "1.0000000001%",
    ] {
        assert!(vouchsafe_core::shares::Share::parse(text).is_err(), "{text}");
    }
    for (text, want) in
        [("50%", "1/2"), ("12.5%", "1/8"), ("100%", "1/1"), ("0%", "0/1"), ("2/6", "1/3"), ("unknown", "unknown")]
    {
        assert_eq!(vouchsafe_core::shares::Share::parse(text).unwrap().to_string(), want);
    }
}

#[test]
fn rules_follow_others_only_along_contracts_or_shares() {
    let employer = |chain: u8| json!([{ "id": "e", "frame": "employer", "any_of": ["org_a"], "eligible_at": 0.6, "chain": chain }]);
    assert!(!rules(&employer(1)).follows());
    assert!(rules(&employer(2)).follows());
    assert!(rules(&owned("product")).follows());
    assert!(!rules(&us_entity()).follows());
}

/// Somebody who works for `org_small`, which works for `org_customer`; each statement with more members.
fn of_small(person: &Value, small: &Value) -> Asked {
    Asked::of(SubjectKind::Person, vec![works_for("person", "org_small", person)])
        .organisation("small", vec![works_for("small", "org_customer", small)])
}

#[test]
fn a_chain_is_as_weak_as_old_and_as_short_as_any_of_its_links() {
    let rules_of = |more: &Value| {
        let mut criterion =
            json!({ "id": "e", "frame": "employer", "any_of": ["org_customer"], "eligible_at": 0.6, "chain": 2 });
        criterion.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rules(&json!([criterion]))
    };
    let none = json!({});
    let plain = rules_of(&none);
    // The later of the two statements begins it, the earlier end ends it, whichever of the two it is of.
    let late = json!({ "checked_at": "2026-11-15T00:00:00Z" });
    for (person, small) in [(&late, &none), (&none, &late)] {
        assert_eq!(of_small(person, small).at(&plain, AT).at, at("2026-11-15T00:00:00Z"));
    }
    let ending = json!({ "ends_at": "2026-12-01T00:00:00Z" });
    for (person, small) in [(&ending, &none), (&none, &ending)] {
        let decision = of_small(person, small).at(&plain, AT);
        assert_eq!((decision.status, decision.expires_at), (Status::Eligible, Some(at("2026-12-01T00:00:00Z"))));
    }
    // A gate takes the lower grade of the two.
    let gated = rules_of(&json!({ "gate": { "grade": "STRONG", "from": ["vouch"] } }));
    let fair = json!({ "grade": "FAIR" });
    assert_eq!(of_small(&none, &none).status(&gated), Status::Eligible);
    for (person, small) in [(&fair, &none), (&none, &fair)] {
        assert_eq!(of_small(person, small).status(&gated), Status::Insufficient);
    }
    // It fades from the older, whichever of the two it is.
    let old = json!({ "checked_at": "2026-01-01T00:00:00Z" });
    let belief = |person: &Value, small: &Value| of_small(person, small).at(&plain, AT).criteria[0].belief;
    assert!(belief(&old, &none) < belief(&none, &none));
    assert_eq!(belief(&old, &none).to_bits(), belief(&none, &old).to_bits());
    // Whom one works for by way of another is held against nobody.
    let nowhere = rules(
        &json!([{ "id": "e", "frame": "employer", "none_of": ["org_customer"], "eligible_at": 0.6, "chain": 2 }]),
    );
    assert_ne!(of_small(&none, &none).status(&nowhere), Status::Ineligible);
    let direct = Asked::of(SubjectKind::Person, vec![works_for("person", "org_customer", &none)]);
    assert_eq!(direct.status(&nowhere), Status::Ineligible);
}

#[test]
fn what_is_unknown_behind_an_owner_is_as_unknown_as_at_its_side() {
    let shares: &[(&str, &str)] = &[("sub_h", "100%")];
    // A listed owner of the holding whose share is not known.
    let unknown: &[(&str, &[(&str, &str)])] = &[("h", &[("listed-one", "unknown"), ("fund", "40%")])];
    assert_eq!(owned_by("product", shares, unknown), Status::Review);
    assert_eq!(owned_by("control", shares, unknown), Status::Review);
    // Half of the holding is unaccounted for: it may be controlled. A little less, and it cannot be.
    let half: &[(&str, &[(&str, &str)])] = &[("h", &[("fund", "50%")])];
    let less: &[(&str, &[(&str, &str)])] = &[("h", &[("fund", "50.001%")])];
    assert_eq!(owned_by("control", shares, half), Status::Insufficient);
    assert_eq!(owned_by("control", shares, less), Status::Eligible);
    // Ten holdings in a row are followed, twenty are not.
    let row = |length: usize| {
        let owner: Vec<String> = (1..=length).map(|n| format!("sub_h{n}")).collect();
        let names: Vec<String> = (0..=length).map(|n| format!("h{n}")).collect();
        let owners = owner.iter().map(String::as_str).chain(["listed-one"]).map(|owner| [(owner, "100%")]);
        let links: Vec<(&str, [(&str, &str); 1])> = names.iter().map(String::as_str).zip(owners).collect();
        let links: Vec<(&str, &[(&str, &str)])> =
            links.iter().map(|(name, shares)| (*name, shares.as_slice())).collect();
        owned_by("product", &[("sub_h0", "100%")], &links)
    };
    assert_eq!((row(10), row(20)), (Status::Ineligible, Status::Insufficient));
}

#[test]
fn statements_of_all_who_were_asked_for_are_named() {
    let whole = |id: &str, owner: &str| vec![owners(id, &[(owner, "100%")], &json!({}))];
    let used = |asked: Asked| -> Vec<String> {
        asked.at(&rules(&owned("product")), AT).attestations.iter().map(|used| used.id.to_string()).collect()
    };
    let asked = Asked::of(SubjectKind::Person, vec![])
        .for_("e")
        .organisation("e", whole("e", "sub_h"))
        .organisation("h", whole("h", "sub_g"))
        .organisation("g", whole("g", "fund"))
        .organisation("other", whole("other", "fund"));
    assert_eq!(used(asked), ["att_e", "att_g", "att_h"]);
    // Behind the listed nobody looks.
    let listed = Asked::of(SubjectKind::Person, vec![])
        .for_("e")
        .organisation("e", vec![owners("e", &[("sub_l", "10%"), ("fund", "90%")], &json!({}))])
        .organisation("l", whole("l", "fund"));
    assert_eq!(used(listed), ["att_e"]);
}
