//! SCIM 2.0 (RFC 7643, RFC 7644): what a directory says of a person, in our words.
//!
//! Held are user name, the directory's own id, names, addresses and whether somebody is a member; everything else that a
//! directory sends is read over, so nobody is asked to send less. No fault repeats anything of what was read.

pub mod filter;
pub mod patch;
pub mod schema;

use schema::{Attribute, CORE, ELIGIBILITY, EXTERNAL_ID, Mutability, Type, USER};
use serde_json::{Map, Value};

/// Longest text of one attribute, bytes.
pub const MAX_TEXT: usize = 512;
/// Most values of one attribute.
pub const MAX_VALUES: usize = 16;

/// Why a request cannot be used (RFC 7644 section 3.12, `scimType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The filter does not parse, or names what cannot be filtered by.
    InvalidFilter,
    /// Too much would have to be looked through.
    TooMany,
    /// The body is not of the form that is asked for.
    InvalidSyntax,
    /// The path of a change does not parse.
    InvalidPath,
    /// What the path of a change selects is not there.
    NoTarget,
    /// A value is missing, or of another type than its attribute.
    InvalidValue,
    /// It is not for the directory to change.
    Mutability,
}

impl FaultKind {
    /// The standard's name.
    #[must_use]
    pub fn scim_type(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
            Self::Mutability => "mutability",
        }
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// In words; repeats nothing of the request.
    pub detail: &'static str,
}

pub(crate) fn fault<T>(kind: FaultKind, detail: &'static str) -> Result<T, Fault> {
    Err(Fault { kind, detail })
}

/// What a directory says of a person: attributes that are held, by their names as the standard writes them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile(Map<String, Value>);

impl Profile {
    /// Reads a user as it is created or replaced.
    ///
    /// # Errors
    /// [`FaultKind::InvalidSyntax`] for what is no user or says an attribute twice, [`FaultKind::InvalidValue`] for a value
    /// of another type or none where one is needed.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let Value::Object(members) = body else { return fault(FaultKind::InvalidSyntax, "the body is no object") };
        check_schemas(members, CORE)?;
        let mut profile = Self::default();
        for (name, value) in members {
            if let Found::Held(attribute, None) = find(name)
                && let Some(value) = attribute.read(value)?
                && profile.0.insert(attribute.name.to_owned(), value).is_some()
            {
                return fault(FaultKind::InvalidSyntax, "names an attribute twice");
            }
        }
        profile.check()?;
        Ok(profile)
    }

    /// As it was kept.
    #[must_use]
    pub fn from_kept(kept: &[u8]) -> Option<Self> {
        serde_json::from_slice(kept).ok().map(Self)
    }

    /// As it is to be kept.
    #[must_use]
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    fn check(&self) -> Result<(), Fault> {
        if self.0.contains_key("userName") { Ok(()) } else { fault(FaultKind::InvalidValue, "`userName` is required") }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Unique in the directory, in whatever letters.
    #[must_use]
    pub fn user_name(&self) -> &str {
        self.text("userName").unwrap_or_default()
    }

    /// The directory's own id.
    #[must_use]
    pub fn external_id(&self) -> Option<&str> {
        self.text("externalId")
    }

    /// Whether the person is a member; nobody is one of whom it is not said.
    #[must_use]
    pub fn active(&self) -> bool {
        self.0.get("active") == Some(&Value::Bool(true))
    }

    /// Says whether the person is a member, where the directory did not.
    pub fn active_unless_said(&mut self, active: Option<&Value>) {
        if let Some(active) = active {
            self.0.entry("active").or_insert_with(|| active.clone());
        }
    }

    /// Their addresses in small letters, each once.
    #[must_use]
    pub fn emails(&self) -> Vec<String> {
        let values = self.0.get("emails").and_then(Value::as_array).into_iter().flatten();
        let mut emails: Vec<String> =
            values.filter_map(|email| Some(email.get("value")?.as_str()?.to_lowercase())).collect();
        emails.sort();
        emails.dedup();
        emails
    }

    /// Names of the attributes in which two differ, for the audit log.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = |attribute: &&Attribute| self.0.get(attribute.name) != other.0.get(attribute.name);
        [&EXTERNAL_ID].into_iter().chain(USER).filter(differs).map(|attribute| attribute.name).collect()
    }
}

/// What a name or path leads to.
pub(crate) enum Found {
    /// An attribute that is held, and one of its parts.
    Held(&'static Attribute, Option<&'static Attribute>),
    /// Ours to say.
    ReadOnly,
    /// Not held.
    Unknown,
}

/// The rest of `text` after a prefix in whatever letters.
pub(crate) fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}

/// What a name such as `userName`, `name.familyName` or `urn:…:User:userName` leads to.
pub(crate) fn find(name: &str) -> Found {
    if strip_prefix(name, ELIGIBILITY).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')) {
        return Found::ReadOnly;
    }
    let name = strip_prefix(name, CORE).and_then(|rest| rest.strip_prefix(':')).unwrap_or(name);
    let (name, part) = name.split_once('.').map_or((name, None), |(name, part)| (name, Some(part)));
    if ["id", "meta", "schemas", "groups"].iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Found::ReadOnly;
    }
    let attribute = [&EXTERNAL_ID].into_iter().chain(USER).find(|known| known.name.eq_ignore_ascii_case(name));
    match (attribute, part) {
        (None, _) => Found::Unknown,
        (Some(attribute), None) => Found::Held(attribute, None),
        (Some(attribute), Some(part)) => match attribute.part(part) {
            Some(part) => Found::Held(attribute, Some(part)),
            None => Found::Unknown,
        },
    }
}

/// A member of an object in whatever letters.
pub(crate) fn member<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A message says what it is.
pub(crate) fn check_schemas(members: &Map<String, Value>, wanted: &str) -> Result<(), Fault> {
    let schemas = member(members, "schemas").and_then(Value::as_array);
    let named = |schema: &Value| schema.as_str().is_some_and(|schema| schema.eq_ignore_ascii_case(wanted));
    if schemas.is_some_and(|schemas| schemas.iter().any(named)) {
        Ok(())
    } else {
        fault(FaultKind::InvalidSyntax, "`schemas` does not name the schema that is asked for")
    }
}

impl Attribute {
    /// The part of that name, in whatever letters.
    pub(crate) fn part(&self, name: &str) -> Option<&'static Attribute> {
        self.parts.iter().find(|part| part.name.eq_ignore_ascii_case(name))
    }

    /// The value as it is held; `None` for one that says nothing (RFC 7643 section 2.5).
    ///
    /// # Errors
    /// [`FaultKind::InvalidValue`], [`FaultKind::InvalidSyntax`].
    pub(crate) fn read(&self, value: &Value) -> Result<Option<Value>, Fault> {
        if !self.multi {
            return self.read_one(value);
        }
        let values = match value {
            Value::Array(values) => values.as_slice(),
            Value::Null => &[],
            one => std::slice::from_ref(one),
        };
        if values.len() > MAX_VALUES {
            return fault(FaultKind::InvalidValue, "an attribute has more than 16 values");
        }
        let read: Vec<Value> =
            values.iter().map(|value| self.read_one(value)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if read.iter().filter(|value| is_primary(value)).count() > 1 {
            return fault(FaultKind::InvalidValue, "more than one value is the primary one");
        }
        Ok(if read.is_empty() { None } else { Some(Value::Array(read)) })
    }

    fn read_one(&self, value: &Value) -> Result<Option<Value>, Fault> {
        match (self.kind, value) {
            (_, Value::Null) => Ok(None),
            (Type::String, Value::String(text)) if text.len() > MAX_TEXT => {
                fault(FaultKind::InvalidValue, "a text is longer than 512 bytes")
            }
            (Type::String, Value::String(text)) => Ok((!text.is_empty()).then(|| value.clone())),
            (Type::Boolean, Value::Bool(_)) => Ok(Some(value.clone())),
            // Entra writes truth values as words.
            (Type::Boolean, Value::String(word)) if word.eq_ignore_ascii_case("true") => Ok(Some(true.into())),
            (Type::Boolean, Value::String(word)) if word.eq_ignore_ascii_case("false") => Ok(Some(false.into())),
            (Type::Complex, Value::Object(members)) => {
                let mut read = Map::new();
                for (name, value) in members {
                    if let Some(part) = self.part(name).filter(|part| part.mutability == Mutability::ReadWrite)
                        && let Some(value) = part.read(value)?
                        && read.insert(part.name.to_owned(), value).is_some()
                    {
                        return fault(FaultKind::InvalidSyntax, "names a part of an attribute twice");
                    }
                }
                Ok((!read.is_empty()).then_some(Value::Object(read)))
            }
            _ => fault(FaultKind::InvalidValue, "a value is of another type than its attribute"),
        }
    }
}

pub(crate) fn is_primary(value: &Value) -> bool {
    value.get("primary") == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests;
