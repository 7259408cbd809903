//! Tables of small cases: each line a person, rules small enough to work out, and what follows by arithmetic or by the evidence model.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_cmp,
    reason = "a test fails where a production path must not; the figures are exact"
)]

mod account;
mod beside;
mod checked;
mod compared;
mod flips;
mod judged;
mod made;
mod parties;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod written;
