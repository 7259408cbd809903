//! Verifies every signed token that Vouchsafe issues or accepts; for the service itself, and for others without it.
//!
//! Pure: the instant and the keys come in as arguments, nothing is fetched and nothing is remembered.

pub mod jws;
pub mod strict_json;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
