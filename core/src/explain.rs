//! Explanation: reasons, evidence line by line, what would change the answer, and the texts of every code.

mod account;
mod change;
mod full;
mod reasons;
mod report;
mod steps;
mod texts;

pub use account::{EvidenceAccount, Fate, Told};
pub use change::{Change, ChangeCode, missing_units};
pub use full::{BranchAccount, CriterionAccount, Explanation, GateAccount, explanation};
pub use reasons::reasons;
pub use report::{CriterionReport, EvidenceReport, report};
pub(crate) use steps::next_steps;
pub use steps::{Need, NextStep, Route, StepAction};
pub use texts::{CODES, Code, Texts, texts};

/// Rounds for display; the engine never computes with the result.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}
