//! Whole epoch seconds, the only time the core knows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A whole second since 1970-01-01T00:00:00Z. Milliseconds are floored on entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Second(i64);

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// 9999-12-31T23:59:59Z, by which records say "without end".
const LAST: i64 = 253_402_300_799;

/// How the last two days begin, which the calendar library has not at every offset and so has not at all; and the same of the year
/// before, as long as theirs.
const LAST_DAYS: [&str; 2] = ["9999-12-3", "9998-12-3"];

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 instant such as `2026-11-21T00:00:00Z`, from 1900-01-01 to 9999-12-31T23:59:59Z")]
pub struct ParseSecondError;

impl Second {
    /// From whole epoch seconds.
    #[must_use]
    pub fn from_epoch(seconds: i64) -> Self {
        Self(seconds)
    }

    /// From epoch milliseconds, floored.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.div_euclid(1000))
    }

    /// Epoch seconds.
    #[must_use]
    pub fn epoch(self) -> i64 {
        self.0
    }

    /// Epoch milliseconds at the start of this second.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// `seconds` later, saturating.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds since `earlier`, negative if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads an RFC 3339 instant; fractions are floored, a leap second counts as the second before it.
    ///
    /// # Errors
    /// When the text is not an instant with an offset or lies before 1900 or after 9999.
    pub fn parse(text: &str) -> Result<Self, ParseSecondError> {
        let [last, before] = LAST_DAYS;
        let read = |text: &str| {
            let instant: jiff::Timestamp = text.parse().map_err(|_| ParseSecondError)?;
            Ok(Self::from_millis(instant.as_millisecond()))
        };
        let second = match text.strip_prefix(last) {
            Some(rest) => read(&format!("{before}{rest}"))?.plus(365 * DAY),
            None => read(text)?,
        };
        if (-2_208_988_800..=LAST).contains(&second.0) { Ok(second) } else { Err(ParseSecondError) }
    }

    /// The end of a calendar date without a time: 00:00:00Z of the following day, and of the last one its last second.
    ///
    /// # Errors
    /// When the text is not `YYYY-MM-DD` or no such day exists.
    pub fn end_of_date(text: &str) -> Result<Self, ParseSecondError> {
        Self::start_of_date(text).map(|start| Self(start.plus(DAY).0.min(LAST)))
    }

    /// The beginning of a calendar date, 00:00:00Z.
    ///
    /// # Errors
    /// When the text is not `YYYY-MM-DD` or no such day exists.
    pub fn start_of_date(text: &str) -> Result<Self, ParseSecondError> {
        if text.len() != 10 {
            return Err(ParseSecondError);
        }
        let date: jiff::civil::Date = text.parse().map_err(|_| ParseSecondError)?;
        Self::parse(&format!("{date}T00:00:00Z"))
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(instant) = jiff::Timestamp::from_second(self.0) {
            return write!(f, "{instant}");
        }
        let [last, before] = LAST_DAYS;
        let year_before = jiff::Timestamp::from_second(self.plus(-365 * DAY).0).map(|instant| instant.to_string());
        match year_before.ok().filter(|_| self.0 <= LAST) {
            Some(text) => write!(f, "{}", text.replacen(before, last, 1)),
            None => write!(f, "@{}", self.0),
        }
    }
}

impl TryFrom<String> for Second {
    type Error = ParseSecondError;
    fn try_from(text: String) -> Result<Self, ParseSecondError> {
        Self::parse(&text)
    }
}

impl From<Second> for String {
    fn from(second: Second) -> String {
        second.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_floored_also_before_1970() {
        assert_eq!(Second::from_millis(1999), Second::from_epoch(1));
        assert_eq!(Second::from_millis(-1), Second::from_epoch(-1));
    }

    #[test]
    fn a_date_ends_at_midnight_of_the_following_day() {
        // 2024-02-29 exists; 1709251200 is 2024-03-01T00:00:00Z.
        assert_eq!(Second::end_of_date("2024-02-29").unwrap(), Second::from_epoch(1_709_251_200));
        assert!(Second::end_of_date("2023-02-29").is_err());
        assert!(Second::end_of_date("0000-00-00").is_err());
    }

    #[test]
    fn instants_round_trip() {
        let text = "2026-11-21T00:00:00Z";
        assert_eq!(Second::parse(text).unwrap(), Second::from_epoch(1_795_219_200));
        assert_eq!(Second::parse(text).unwrap().to_string(), text);
        assert!(Second::parse("2026-11-21T00:00:00").is_err());
    }
}
