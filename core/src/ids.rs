//! Identifiers: a prefix that names the kind, an underscore, and a sortable body.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}_` followed by 1 to 64 of `a-z 0-9 -`")]
pub struct ParseIdError {
    /// The prefix of the kind that was asked for.
    pub prefix: &'static str,
}

fn body_is_valid(body: &str) -> bool {
    (1..=64).contains(&body.len()) && body.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;

            /// Reads an id from untrusted text.
            ///
            /// # Errors
            /// When the prefix or the body is not of this kind.
            pub fn parse(text: &str) -> Result<Self, ParseIdError> {
                match text.strip_prefix(concat!($prefix, "_")) {
                    Some(body) if body_is_valid(body) => Ok(Self(text.to_owned())),
                    _ => Err(ParseIdError { prefix: $prefix }),
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(text: String) -> Result<Self, ParseIdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(/// A person, organisation or workload.
    SubjectId, "sub");
id!(/// One stored statement.
    AttestationId, "att");
id!(/// A party whose statements are accepted.
    SourceId, "src");
id!(/// An organisation that vouches or is listed.
    OrganisationId, "org");

/// A restricted resource: lower-case segments joined by dots, so that an id is one path segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

/// Why a text is not a resource id or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected lower-case segments of `a-z 0-9 - _` joined by dots, at most 128 bytes")]
pub struct ParseResourceError;

fn segments_are_valid(text: &str) -> bool {
    text.len() <= 128
        && text.split('.').all(|segment| {
            !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
}

impl ResourceId {
    /// Reads a resource id from untrusted text.
    ///
    /// # Errors
    /// When it is not lower-case segments joined by dots.
    pub fn parse(text: &str) -> Result<Self, ParseResourceError> {
        if segments_are_valid(text) { Ok(Self(text.to_owned())) } else { Err(ParseResourceError) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = ParseResourceError;
    fn try_from(text: String) -> Result<Self, ParseResourceError> {
        Self::parse(&text)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> String {
        id.0
    }
}

/// One resource (`restricted.api`) or a family with its future members (`restricted.*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourcePattern(String);

impl ResourcePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is neither a resource id nor a resource id followed by `.*`.
    pub fn parse(text: &str) -> Result<Self, ParseResourceError> {
        let stem = text.strip_suffix(".*").unwrap_or(text);
        if segments_are_valid(stem) { Ok(Self(text.to_owned())) } else { Err(ParseResourceError) }
    }

    /// The resource named, or a made-up member of the family. `None` where that would be too long.
    #[must_use]
    pub fn sample(&self) -> Option<ResourceId> {
        ResourceId::parse(&self.0.replace('*', "any")).ok()
    }

    /// Whether `resource` is the one named or a member of the family.
    #[must_use]
    pub fn covers(&self, resource: &ResourceId) -> bool {
        match self.0.strip_suffix('*') {
            // No resource ends with a dot, so the family does not contain its own stem.
            Some(stem) => resource.as_str().starts_with(stem),
            None => self.0 == resource.as_str(),
        }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ResourcePattern {
    type Error = ParseResourceError;
    fn try_from(text: String) -> Result<Self, ParseResourceError> {
        Self::parse(&text)
    }
}

impl From<ResourcePattern> for String {
    fn from(pattern: ResourcePattern) -> String {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_covers_members_and_not_its_stem() {
        let family = ResourcePattern::parse("restricted.*").unwrap();
        assert!(family.covers(&ResourceId::parse("restricted.api").unwrap()));
        assert!(family.covers(&ResourceId::parse("restricted.api.v2").unwrap()));
        assert!(!family.covers(&ResourceId::parse("restricted").unwrap()));
        assert!(!family.covers(&ResourceId::parse("restrictedx.api").unwrap()));
    }

    #[test]
    fn ids_refuse_other_kinds_and_odd_bodies() {
        assert!(SubjectId::parse("sub_01a").is_ok());
        for bad in ["att_01a", "sub_", "sub_A", "sub_../x", "01a"] {
            assert!(SubjectId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", ".", "a..b", "A", "a/b", "a.*"] {
            assert!(ResourceId::parse(bad).is_err(), "{bad}");
        }
    }
}
