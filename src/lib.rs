//! Vouchsafe: evidence in, eligibility out, a signed token at the gate.
//!
//! Imports run one way: `http → service → {intake, token, storage} → vouchsafe-core`; tokens are
//! verified by `vouchsafe-verify`. Deciding fails closed, verifying fails static.

pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod finding;
pub mod http;
pub mod intake;
pub mod service;
pub mod storage;
pub mod telemetry;
pub mod token;

pub use vouchsafe_verify::strict_json;
