//! Vouchsafe: evidence in, eligibility out.

pub mod storage;
