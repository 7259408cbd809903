//! Tokens.

pub mod jws;
