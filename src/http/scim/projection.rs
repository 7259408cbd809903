//! `attributes` and `excludedAttributes` (RFC 7644 section 3.9).

use crate::intake::scim::schema::{CORE, ELIGIBILITY};
use crate::intake::scim::{Fault, FaultKind, strip_prefix};
use serde_json::{Map, Value};

/// Most attributes that are named.
const MAX_NAMED: usize = 64;

/// Told whatever is asked for.
const ALWAYS: [&str; 2] = ["id", "schemas"];

/// A name: the schema's object where it stands in one, the attribute, one of its parts; in small letters.
#[derive(Debug, PartialEq)]
struct Named {
    inside: bool,
    attribute: Option<String>,
    part: Option<String>,
}

fn named(text: &str) -> Named {
    let (inside, rest) = match strip_prefix(text, ELIGIBILITY) {
        Some(rest) => (true, rest.strip_prefix(':').unwrap_or_default()),
        None => (false, strip_prefix(text, CORE).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text)),
    };
    let mut parts = rest.splitn(2, '.').map(str::to_ascii_lowercase).filter(|part| !part.is_empty());
    Named { inside, attribute: parts.next(), part: parts.next() }
}

/// What part of a resource is told.
#[derive(Debug)]
pub(super) struct Projection {
    only: Vec<Named>,
    without: Vec<Named>,
}

impl Projection {
    /// # Errors
    /// [`FaultKind::InvalidValue`] for both at once, or too many.
    pub(super) fn new(only: Vec<String>, without: Vec<String>) -> Result<Self, Fault> {
        let read = |list: Vec<String>| -> Vec<Named> {
            list.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(named).collect()
        };
        let detail = "give `attributes` or `excludedAttributes`, and at most 64 names";
        if only.len() + without.len() > MAX_NAMED || (!only.is_empty() && !without.is_empty()) {
            return Err(Fault { kind: FaultKind::InvalidValue, detail });
        }
        Ok(Self { only: read(only), without: read(without) })
    }

    /// The part of a resource that is told.
    pub(super) fn of(&self, resource: Value) -> Value {
        let Value::Object(members) = resource else { return resource };
        let kept = members.into_iter().filter_map(|(name, value)| {
            if ALWAYS.contains(&name.as_str()) {
                return Some((name, value));
            }
            let value = if name == ELIGIBILITY { self.inside(value)? } else { self.attribute(false, &name, value)? };
            Some((name, value))
        });
        Value::Object(kept.collect())
    }

    fn inside(&self, value: Value) -> Option<Value> {
        let whole = |list: &[Named]| list.iter().any(|named| named.inside && named.attribute.is_none());
        if whole(&self.without) {
            return None;
        }
        let Value::Object(members) = value else { return None };
        if whole(&self.only) {
            return Some(Value::Object(members));
        }
        let kept: Map<String, Value> = members
            .into_iter()
            .filter_map(|(name, value)| {
                let value = self.attribute(true, &name, value)?;
                Some((name, value))
            })
            .collect();
        (!kept.is_empty()).then_some(Value::Object(kept))
    }

    fn attribute(&self, inside: bool, name: &str, value: Value) -> Option<Value> {
        let name = name.to_ascii_lowercase();
        let about = |named: &&Named| named.inside == inside && named.attribute.as_deref() == Some(name.as_str());
        let parts = |list: &[Named]| -> Option<Vec<String>> {
            let found: Vec<&Named> = list.iter().filter(about).collect();
            if found.is_empty() {
                return None;
            }
            // An attribute that is named whole has no parts here.
            Some(found.iter().map(|named| named.part.clone()).collect::<Option<_>>().unwrap_or_default())
        };
        if let Some(gone) = parts(&self.without) {
            if gone.is_empty() {
                return None;
            }
            return Some(only_parts(value, &|part| !gone.contains(&part.to_ascii_lowercase())));
        }
        if self.only.is_empty() {
            return Some(value);
        }
        let wanted = parts(&self.only)?;
        if wanted.is_empty() {
            return Some(value);
        }
        Some(only_parts(value, &|part| wanted.contains(&part.to_ascii_lowercase())))
    }
}

fn only_parts(value: Value, keep: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(name, _)| keep(name)).collect()),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| only_parts(value, keep)).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(only: &[&str], without: &[&str]) -> Value {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let user = json!({ "schemas": ["s"], "id": "usr_1", "userName": "ada", "active": true,
            "name": { "givenName": "Ada", "familyName": "L" }, "emails": [{ "value": "a@b.c", "type": "work" }],
            "meta": { "created": "c", "version": "v" },
            ELIGIBILITY: { "resources": [{ "resource": "restricted.api", "allowed": true }] } });
        Projection::new(list(only), list(without)).unwrap().of(user)
    }

    #[test]
    fn what_is_asked_for_is_told_and_id_and_schemas_always() {
        assert_eq!(told(&["userName"], &[]), json!({ "schemas": ["s"], "id": "usr_1", "userName": "ada" }));
        assert_eq!(
            told(&["USERNAME", "name.FamilyName"], &[]),
            json!({ "schemas": ["s"], "id": "usr_1", "userName": "ada", "name": { "familyName": "L" } })
        );
        assert_eq!(told(&[&format!("{CORE}:active")], &[])["active"], true);
        assert_eq!(told(&["emails.value"], &[])["emails"], json!([{ "value": "a@b.c" }]));
        assert_eq!(told(&["emails", "emails.value"], &[])["emails"], json!([{ "value": "a@b.c", "type": "work" }]));
        for whole in [ELIGIBILITY.to_owned(), format!("{ELIGIBILITY}:resources")] {
            let told = told(&[&whole], &[]);
            assert_eq!(told[ELIGIBILITY]["resources"][0]["allowed"], true, "{whole}");
            assert_eq!(told.as_object().unwrap().len(), 3, "{whole}");
        }
        assert_eq!(
            told(&[&format!("{ELIGIBILITY}:resources.allowed")], &[])[ELIGIBILITY],
            json!({ "resources": [{ "allowed": true }] })
        );
    }

    #[test]
    fn what_is_excluded_is_not_told_and_id_stays() {
        let without = told(&[], &["emails", "name.givenName", "id", "meta", ELIGIBILITY]);
        let left = json!({ "schemas": ["s"], "id": "usr_1", "userName": "ada", "active": true, "name": { "familyName": "L" } });
        assert_eq!(without, left);
        assert_eq!(told(&[], &[]).as_object().unwrap().len(), 8);
    }

    #[test]
    fn both_at_once_and_too_many_are_refused() {
        let many = |count| vec!["userName".to_owned(); count];
        assert!(Projection::new(many(1), many(1)).is_err());
        assert!(Projection::new(many(64), many(0)).is_ok() && Projection::new(many(65), many(0)).is_err());
    }
}
