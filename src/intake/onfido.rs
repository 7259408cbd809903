//! Placeholder until the adapter lands: knows nothing, refuses everything.
use super::{CheckResult, IntakeError};
use secrecy::SecretString;
use vouchsafe_core::Second;
#[derive(Debug)]
pub struct OnfidoConfig {
    pub webhook_tokens: Vec<SecretString>,
    pub api_token: SecretString,
    pub base_url: reqwest::Url,
    pub production: bool,
}
pub fn verify(_c: &OnfidoConfig, _s: Option<&str>, _b: &[u8]) -> Result<(), IntakeError> {
    Err(IntakeError::BadSignature)
}
#[derive(Debug)]
pub struct FetchTarget;
#[derive(Debug)]
pub enum Notice {
    Ignored { action: String },
    Fetch(FetchTarget),
    Reopened { session: String, lineage_prefix: String, at: Option<Second> },
}
pub fn interpret_notice(_b: &[u8]) -> Result<Notice, IntakeError> {
    Err(IntakeError::BadSignature)
}
pub async fn fetch(_c: &reqwest::Client, _o: &OnfidoConfig, _t: &FetchTarget) -> Result<Vec<CheckResult>, IntakeError> {
    Ok(vec![])
}
