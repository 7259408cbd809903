//! Verifies every signed token that Vouchsafe issues or accepts; for the service itself, and for others without it.
//!
//! [`token::verify`] takes a token, the keys of its issuer, the [`profile`] of its kind and what is expected, and
//! refuses for the first reason in one fixed order. Pure: the instant and the keys are arguments, nothing is fetched
//! and nothing is remembered.

pub mod address;
#[cfg(feature = "fetch")]
pub mod fetch;
#[cfg(feature = "tower")]
pub mod gate;
pub mod jws;
pub mod key;
pub mod profile;
pub mod status_list;
pub mod strict_json;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;
