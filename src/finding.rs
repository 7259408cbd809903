//! What a check of the installation found, in words that say what to do.

use serde::Serialize;

pub(crate) mod files;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// The service does not start, or does not keep what it promises.
    Failure,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, a stable code such as `database.schema`.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was found; no secret and no personal data.
    pub found: String,
    /// Why it matters; empty where nothing is to be done.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'static str,
    /// What to do; empty where nothing is to be done.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), why: "", remedy: String::new() }
    }

    /// Somebody should look.
    #[must_use]
    pub fn warning(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Warning, found: found.into(), why, remedy: remedy.into() }
    }

    /// It does not start, or does not keep what it promises.
    #[must_use]
    pub fn failure(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Failure, found: found.into(), why, remedy: remedy.into() }
    }
}
