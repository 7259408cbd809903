//! Questions (RFC 7644 section 3.4.2.2): a filter is parsed, checked against what is held, and put to one user after
//! another; an equality that a user can be looked up by is found in it first.

use super::schema::{Attribute, Type};
use super::{Fault, FaultKind, Found, fault, find};
use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter, ValFilter};
use serde_json::{Map, Value};
use vouchsafe_core::Second;

/// Longest filter, bytes. Its depth is bounded by the parser (64).
pub const MAX_FILTER: usize = 1024;

/// A filter that can be answered.
#[derive(Debug)]
pub struct Question(Filter);

/// What a user can be looked up by: every user whom the filter matches has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needle {
    /// Our id.
    Id(String),
    /// The user name, in small letters.
    UserName(String),
    /// The directory's own id.
    ExternalId(String),
    /// An address, in small letters.
    Email(String),
}

const UNREADABLE: Fault = Fault { kind: FaultKind::InvalidFilter, detail: "the filter does not parse" };

/// What is compared.
enum Operand {
    Text { exact: bool },
    Truth,
    Instant,
}

impl Question {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FaultKind::InvalidFilter`] for one that does not parse, is too long or too deep, names what is not held, or
    /// compares what cannot be compared.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > MAX_FILTER || text.contains('\0') {
            return fault(FaultKind::InvalidFilter, "the filter is longer than 1,024 bytes, or holds U+0000");
        }
        let filter: Filter = spaced(text).parse().map_err(|_| UNREADABLE)?;
        check(&filter)?;
        Ok(Self(filter))
    }

    /// Whether a user, as it is told, is one of those asked for.
    #[must_use]
    pub fn matches(&self, user: &Value) -> bool {
        matches(&self.0, user)
    }

    /// What every user that matches can be looked up by, if the filter says so.
    #[must_use]
    pub fn needle(&self) -> Option<Needle> {
        needle(&self.0)
    }
}

/// The grammar has `not(`, the parser wants a blank between.
fn spaced(text: &str) -> String {
    let (mut spaced, mut quoted, mut escaped) = (String::with_capacity(text.len()), false, false);
    for character in text.chars() {
        if character == '(' && !quoted && spaced.to_ascii_lowercase().ends_with("not") {
            spaced.push(' ');
        }
        (quoted, escaped) = match character {
            _ if escaped => (quoted, false),
            '\\' => (quoted, quoted),
            '"' => (!quoted, false),
            _ => (quoted, false),
        };
        spaced.push(character);
    }
    spaced
}

/// How an attribute is compared, by its path in a user.
fn operand(path: &AttrPath) -> Result<Operand, Fault> {
    let name = path.to_string();
    let unknown = "the filter names an attribute that users cannot be asked by";
    match find(&name) {
        Found::Held(attribute, part) => typed(attribute, part),
        Found::ReadOnly => match bare(&name).to_ascii_lowercase().as_str() {
            "id" => Ok(Operand::Text { exact: true }),
            "meta.created" | "meta.lastmodified" => Ok(Operand::Instant),
            _ => fault(FaultKind::InvalidFilter, unknown),
        },
        Found::Unknown => fault(FaultKind::InvalidFilter, unknown),
    }
}

fn bare(name: &str) -> &str {
    super::strip_prefix(name, super::schema::CORE).and_then(|rest| rest.strip_prefix(':')).unwrap_or(name)
}

fn typed(attribute: &'static Attribute, part: Option<&'static Attribute>) -> Result<Operand, Fault> {
    // An attribute of several values is compared by their `value` (RFC 7644 section 3.4.2.2).
    let part = part.or_else(|| attribute.part("value").filter(|_| attribute.multi));
    let compared = part.unwrap_or(attribute);
    match compared.kind {
        Type::Boolean => Ok(Operand::Truth),
        Type::Complex => fault(FaultKind::InvalidFilter, "the filter compares what has parts; name one of them"),
        _ => Ok(Operand::Text { exact: compared.case_exact }),
    }
}

fn check(filter: &Filter) -> Result<(), Fault> {
    match filter {
        Filter::Attr(AttrExp::Present(path)) => present(path),
        Filter::Attr(AttrExp::Comparison(path, op, value)) => comparable(&operand(path)?, op, value),
        Filter::ValuePath(path) => match find(&path.attr.to_string()) {
            Found::Held(attribute, None) if attribute.multi => check_values(attribute, &path.filter),
            _ => fault(FaultKind::InvalidFilter, "only an attribute of several values is filtered by `[…]`"),
        },
        Filter::Not(inner) => check(inner),
        Filter::And(all) | Filter::Or(all) => all.iter().try_for_each(check),
    }
}

fn present(path: &AttrPath) -> Result<(), Fault> {
    match find(&path.to_string()) {
        Found::Held(..) => Ok(()),
        _ => operand(path).map(drop),
    }
}

fn check_values(attribute: &'static Attribute, filter: &ValFilter) -> Result<(), Fault> {
    let part = |path: &AttrPath| match (&path.uri, &path.sub_attr) {
        (None, None) => attribute.part(&path.name),
        _ => None,
    };
    let unknown = Fault { kind: FaultKind::InvalidFilter, detail: "the filter names a part that is not there" };
    match filter {
        ValFilter::Attr(AttrExp::Present(path)) => part(path).map(drop).ok_or(unknown),
        ValFilter::Attr(AttrExp::Comparison(path, op, value)) => {
            comparable(&typed(part(path).ok_or(unknown)?, None)?, op, value)
        }
        ValFilter::Not(inner) => check_values(attribute, inner),
        ValFilter::And(all) | ValFilter::Or(all) => all.iter().try_for_each(|one| check_values(attribute, one)),
    }
}

fn comparable(operand: &Operand, op: &CompareOp, value: &CompValue) -> Result<(), Fault> {
    let same = matches!(op, CompareOp::Eq | CompareOp::Ne);
    let fits = match (operand, value) {
        (_, CompValue::Null) => same,
        (Operand::Text { .. }, CompValue::Str(_)) => true,
        (Operand::Truth, value) => same && truth(value).is_some(),
        (Operand::Instant, CompValue::Str(text)) => {
            !matches!(op, CompareOp::Co | CompareOp::Sw | CompareOp::Ew) && Second::parse(text).is_ok()
        }
        _ => false,
    };
    if fits { Ok(()) } else { fault(FaultKind::InvalidFilter, "the filter compares an attribute with another type") }
}

fn truth(value: &CompValue) -> Option<bool> {
    match value {
        CompValue::True => Some(true),
        CompValue::False => Some(false),
        CompValue::Str(word) if word.eq_ignore_ascii_case("true") => Some(true),
        CompValue::Str(word) if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The values of a user that a path leads to.
fn values<'u>(path: &AttrPath, user: &'u Value) -> Vec<&'u Value> {
    let name = path.to_string();
    let (attribute, part) = match find(&name) {
        Found::Held(attribute, part) => (attribute.name, part.map(|part| part.name)),
        _ => match bare(&name).to_ascii_lowercase().as_str() {
            "id" => ("id", None),
            "meta.created" => ("meta", Some("created")),
            "meta.lastmodified" => ("meta", Some("lastModified")),
            _ => return Vec::new(),
        },
    };
    match user.get(attribute) {
        Some(Value::Array(values)) => values.iter().filter_map(|value| value.get(part.unwrap_or("value"))).collect(),
        Some(value) => match part {
            Some(part) => value.get(part).into_iter().collect(),
            None => vec![value],
        },
        None => Vec::new(),
    }
}

fn matches(filter: &Filter, user: &Value) -> bool {
    match filter {
        Filter::Attr(AttrExp::Present(path)) => match find(&path.to_string()) {
            Found::Held(attribute, None) => user.get(attribute.name).is_some(),
            _ => !values(path, user).is_empty(),
        },
        Filter::Attr(AttrExp::Comparison(path, op, value)) => {
            operand(path).is_ok_and(|operand| compare(&operand, op, value, &values(path, user)))
        }
        Filter::ValuePath(path) => {
            let Found::Held(attribute, None) = find(&path.attr.to_string()) else { return false };
            let mut values = user.get(attribute.name).and_then(Value::as_array).into_iter().flatten();
            values.any(|value| value_matches(attribute, &path.filter, value))
        }
        Filter::Not(inner) => !matches(inner, user),
        Filter::And(all) => all.iter().all(|one| matches(one, user)),
        Filter::Or(all) => all.iter().any(|one| matches(one, user)),
    }
}

fn value_matches(attribute: &'static Attribute, filter: &ValFilter, value: &Value) -> bool {
    let held = |path: &AttrPath| {
        let part = attribute.part(&path.name)?;
        Some((typed(part, None).ok()?, value.get(part.name).into_iter().collect::<Vec<_>>()))
    };
    match filter {
        ValFilter::Attr(AttrExp::Present(path)) => held(path).is_some_and(|(_, values)| !values.is_empty()),
        ValFilter::Attr(AttrExp::Comparison(path, op, wanted)) => {
            held(path).is_some_and(|(operand, values)| compare(&operand, op, wanted, &values))
        }
        ValFilter::Not(inner) => !value_matches(attribute, inner, value),
        ValFilter::And(all) => all.iter().all(|one| value_matches(attribute, one, value)),
        ValFilter::Or(all) => all.iter().any(|one| value_matches(attribute, one, value)),
    }
}

/// Whether one of the values is as asked; what is not there is equal to nothing and differs from everything.
fn compare(operand: &Operand, op: &CompareOp, wanted: &CompValue, values: &[&Value]) -> bool {
    if matches!(wanted, CompValue::Null) {
        return values.is_empty() == (*op == CompareOp::Eq);
    }
    if values.is_empty() {
        return *op == CompareOp::Ne;
    }
    values.iter().any(|value| compare_one(operand, op, wanted, value))
}

fn compare_one(operand: &Operand, op: &CompareOp, wanted: &CompValue, value: &Value) -> bool {
    match (operand, wanted, value) {
        (Operand::Truth, wanted, Value::Bool(held)) => {
            truth(wanted).is_some_and(|wanted| (wanted == *held) == (*op == CompareOp::Eq))
        }
        (Operand::Instant, CompValue::Str(wanted), Value::String(held)) => {
            match (Second::parse(held), Second::parse(wanted)) {
                (Ok(held), Ok(wanted)) => ordered(op, &held, &wanted),
                _ => false,
            }
        }
        (Operand::Text { exact }, CompValue::Str(wanted), Value::String(held)) => {
            let fold = |text: &str| if *exact { text.to_owned() } else { text.to_lowercase() };
            let (held, wanted) = (fold(held), fold(wanted));
            match op {
                CompareOp::Co => held.contains(&wanted),
                CompareOp::Sw => held.starts_with(&wanted),
                CompareOp::Ew => held.ends_with(&wanted),
                op => ordered(op, &held, &wanted),
            }
        }
        _ => false,
    }
}

fn ordered<T: Ord>(op: &CompareOp, held: &T, wanted: &T) -> bool {
    match op {
        CompareOp::Eq => held == wanted,
        CompareOp::Ne => held != wanted,
        CompareOp::Gt => held > wanted,
        CompareOp::Ge => held >= wanted,
        CompareOp::Lt => held < wanted,
        CompareOp::Le => held <= wanted,
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}

fn needle(filter: &Filter) -> Option<Needle> {
    match filter {
        Filter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(value))) => {
            let name = path.to_string();
            match find(&name) {
                Found::Held(attribute, part) => match (attribute.name, part.map(|part| part.name)) {
                    ("userName", None) => Some(Needle::UserName(value.to_lowercase())),
                    ("externalId", None) => Some(Needle::ExternalId(value.clone())),
                    ("emails", None | Some("value")) => Some(Needle::Email(value.to_lowercase())),
                    _ => None,
                },
                Found::ReadOnly if bare(&name).eq_ignore_ascii_case("id") => Some(Needle::Id(value.clone())),
                _ => None,
            }
        }
        Filter::ValuePath(path) => match find(&path.attr.to_string()) {
            Found::Held(attribute, None) if attribute.name == "emails" => value_needle(&path.filter),
            _ => None,
        },
        Filter::And(all) => all.iter().find_map(needle),
        _ => None,
    }
}

fn value_needle(filter: &ValFilter) -> Option<Needle> {
    match filter {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(value)))
            if path.name.eq_ignore_ascii_case("value") =>
        {
            Some(Needle::Email(value.to_lowercase()))
        }
        ValFilter::And(all) => all.iter().find_map(value_needle),
        _ => None,
    }
}

/// Whether the filter of a path selects a value.
pub(super) fn element_matches(
    attribute: &'static Attribute,
    filter: &ValFilter,
    value: &Value,
    kind: FaultKind,
) -> Result<bool, Fault> {
    check_values(attribute, filter).map_err(|fault| Fault { kind, ..fault })?;
    Ok(value_matches(attribute, filter, value))
}

/// The one value that a filter describes: equalities that must all hold.
pub(super) fn sole_values(attribute: &'static Attribute, filter: &ValFilter) -> Option<Map<String, Value>> {
    check_values(attribute, filter).ok()?;
    match filter {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, value)) => {
            let part = attribute.part(&path.name)?;
            let value = match value {
                CompValue::Str(text) => Value::String(text.clone()),
                other => Value::Bool(truth(other)?),
            };
            Some(Map::from_iter([(part.name.to_owned(), part.read(&value).ok()??)]))
        }
        ValFilter::And(all) => {
            let mut values = Map::new();
            for (name, value) in
                all.iter().map(|one| sole_values(attribute, one)).collect::<Option<Vec<_>>>()?.into_iter().flatten()
            {
                if values.insert(name, value.clone()).is_some_and(|before| before != value) {
                    return None;
                }
            }
            Some(values)
        }
        _ => None,
    }
}
