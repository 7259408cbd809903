//! Reference vectors of the evidence model. `FUSION_VECTORS` names another file in the same shape.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails where a production path must not"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::fusion::{
    Item, Opinion, Question, Side, Status, Thresholds, combine_side, crossing, discounted, fade, first_change, r_min,
    units,
};
use vouchsafe_core::second::DAY;

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("`{name}` in {value}"))
}

struct Check<'v> {
    vector: &'v Value,
    failures: &'v mut Vec<String>,
}

impl Check<'_> {
    fn near(&mut self, name: &str, got: f64) {
        let Some(want) = self.vector["expect"][name].as_f64() else { return };
        if (got - want).abs() > number(self.vector, "tol") {
            self.failures.push(format!("{} {name}: {got} instead of {want}", self.vector["id"]));
        }
    }
    fn within_a_second(&mut self, name: &str, got: i64) {
        let Some(want) = self.vector["expect"][name].as_i64() else { return };
        if (got - want).abs() > 1 {
            self.failures.push(format!("{} {name}: {got} instead of {want}", self.vector["id"]));
        }
    }
    fn text(&mut self, name: &str, got: &str) {
        let Some(want) = self.vector["expect"][name].as_str() else { return };
        if got != want {
            self.failures.push(format!("{} {name}: {got} instead of {want}", self.vector["id"]));
        }
    }
    fn opinion(&mut self, o: &Opinion) {
        for (name, got) in [
            ("r", o.r),
            ("s", o.s),
            ("b", o.b),
            ("d", o.d),
            ("u", o.u),
            ("pro", o.pro),
            ("con", o.con),
            ("conflict", o.conflict),
        ] {
            self.near(name, got);
        }
    }
}

fn thresholds(value: &Value) -> Thresholds {
    Thresholds {
        eligible_at: number(value, "tau_e"),
        ineligible_at: number(value, "tau_i"),
        material: number(value, "mu"),
    }
}

fn set(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|state| state.as_str().unwrap().to_owned()).collect()
}

fn question(input: &Value) -> Question {
    let allowed = set(&input["allowed_states"]);
    let items = input["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| {
            let states = set(&item["states"]);
            let side = if states.len() == 5 {
                return None;
            } else if states.is_disjoint(&allowed) {
                Side::Adverse
            } else if states.is_subset(&allowed) {
                Side::Supports
            } else {
                return None;
            };
            let checked = Second::from_epoch(item["checked_at"].as_i64().unwrap());
            Some(Item {
                side,
                e0: units(discounted(number(item, "sigma"), number(item, "trust"), 0.99)),
                counts_from: checked,
                fades_from: checked,
                grace: item["grace"].as_i64().unwrap(),
                half_life: item["half_life"].as_i64().unwrap(),
                ends_at: item["ends_at"].as_i64().map(Second::from_epoch),
                document: item["doc"].as_str().unwrap().to_owned(),
                assessor: item["assessor"].as_str().unwrap().to_owned(),
                silences: Vec::new(),
            })
        })
        .collect();
    Question { items, thresholds: thresholds(&input["policy"]), rho: number(&input["policy"], "rho"), gate: None }
}

fn evaluate(check: &mut Check<'_>) {
    let input = &check.vector["input"];
    let now = Second::from_epoch(input["now"].as_i64().unwrap());
    let horizon = now.plus(input["policy"]["max_ttl"].as_i64().unwrap());
    let question = question(input);
    let opinion = question.opinion(now);
    check.opinion(&opinion);
    let status = question.status(now);
    check.text("status", status.as_str());
    let change = first_change(&[&question], now, horizon, |t| question.status(t) != status);
    let (at, cause) = change.map_or((horizon, "policy_max_ttl".to_owned()), |(at, cause)| {
        (at, serde_json::to_value(cause).unwrap().as_str().unwrap().to_owned())
    });
    check.text("cause", &cause);
    check.within_a_second("next_change_at", at.epoch());
    check.within_a_second("next_change_in_s", at.since(now));
    let strict = question
        .items
        .iter()
        .filter(|item| item.side == Side::Supports && item.units_at(now) > 0.0)
        .filter_map(|item| item.ends_at)
        .chain([at])
        .min()
        .unwrap();
    check.within_a_second("expires_at_strict", strict.epoch());
}

#[test]
fn fusion_vectors() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/vectors/fusion.json");
    let path = std::env::var("FUSION_VECTORS").unwrap_or_else(|_| own.to_owned());
    let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut ran = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let input = &vector["input"];
        let days = |name: &str| (number(input, name) * DAY as f64) as i64;
        let mut check = Check { vector, failures: &mut failures };
        ran += 1;
        match vector["op"].as_str().unwrap() {
            "evaluate" => evaluate(&mut check),
            "status" => {
                let opinion = Opinion::new(number(input, "r"), number(input, "s"));
                check.opinion(&opinion);
                check.text("status", opinion.status(&thresholds(input)).as_str());
            }
            "combine_side" => {
                let items: Vec<(String, String, f64)> = input["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|i| {
                        (
                            i["doc"].as_str().unwrap().to_owned(),
                            i["assessor"].as_str().unwrap().to_owned(),
                            number(i, "e"),
                        )
                    })
                    .collect();
                let total =
                    combine_side(items.iter().map(|(d, a, e)| (d.as_str(), a.as_str(), *e)), number(input, "rho"));
                check.near("total", total);
            }
            "evidence_weight" => {
                let e = units(discounted(number(input, "sigma"), number(input, "trust"), 0.99));
                check.near("e", e);
                check.near("b_alone", Opinion::new(e, 0.0).b);
            }
            "decayed_weight" => {
                let e0 = units(discounted(number(input, "sigma"), number(input, "trust"), 0.99));
                let faded = e0 * fade(days("age_days"), days("grace_days"), days("half_life_days"));
                check.near("e", if input["side"] == "adverse" { e0 } else { faded });
            }
            "crossing_time" => {
                let least = r_min(number(input, "tau"), number(input, "s"));
                check.near("r_min", least);
                let at = crossing(number(input, "e0"), days("grace_days"), days("half_life_days"), least);
                check.near("crossing_s", at);
                check.within_a_second("first_second_not_eligible", at.floor() as i64 + 1);
            }
            "fresh_bundle_one_vendor" => {
                let weights = vouchsafe_core::definitions::Weights::default();
                let items: Vec<(String, f64)> = input["grades"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .enumerate()
                    .map(|(index, grade)| {
                        let sigma = weights.sigma(serde_json::from_value(grade.clone()).unwrap());
                        (format!("document-{index}"), units(discounted(sigma, number(input, "trust"), 0.99)))
                    })
                    .collect();
                let r = combine_side(items.iter().map(|(d, e)| (d.as_str(), "vendor", *e)), 0.5);
                let opinion = Opinion::new(r, 0.0);
                let status = opinion.status(&Thresholds { eligible_at: 0.90, ineligible_at: 0.50, material: 0.25 });
                check.near("r", r);
                check.near("b", opinion.b);
                check.text("status", status.as_str());
                assert_eq!(vector["expect"]["meets_ial2_evidence"], status == Status::Eligible, "{}", vector["id"]);
            }
            _ => ran -= 1,
        }
    }
    assert!(ran > 0, "{path} holds no vector of the model");
    assert!(failures.is_empty(), "{ran} vectors, {} differ:\n{}", failures.len(), failures.join("\n"));
}
