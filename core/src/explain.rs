//! Explanation: reasons, evidence line by line, what would change the answer, and the texts of every code.

mod account;
mod beside;
mod change;
mod full;
mod offers;
mod reasons;
mod report;
mod sets;
mod shapes;
mod steps;
mod target;
#[cfg(test)]
mod tests;
mod texts;

pub use account::{EvidenceAccount, Fate, Told};
pub use beside::{
    Alternative, MOST_ALTERNATIVES, MOST_CHANGES, Upcoming, alternatives, of_one_family, retries, upcoming,
};
pub use change::{Change, ChangeCode, missing_units};
pub use full::{BranchAccount, CriterionAccount, Explanation, GateAccount, explanation};
pub use offers::{Newness, Offer, Piece, Route, Way};
pub use reasons::reasons;
pub use report::{CriterionReport, EvidenceReport, report};
pub use steps::{Need, NextStep, StepAction};
pub(crate) use steps::{next_steps, steps_of_closed};
pub use texts::{CODES, Code, Texts, texts};

/// Rounds for display; the engine never computes with the result.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}
