//! Vouchsafe: evidence in, eligibility out, a signed token at the gate.

pub mod intake;
pub mod strict_json;
pub mod token;
