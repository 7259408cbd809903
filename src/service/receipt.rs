//! Receipts: recorded decisions as signed bundles that anybody can verify without us.

use super::{App, ServiceError, ServiceResult};
use crate::storage::StoredDecision;
use crate::token::jws::{JwsError, UnverifiedToken, VerificationKey};
use crate::token::keys::{Algorithm, Purpose};
use crate::token::profile::{RECEIPT, TEST_RECEIPT};
use crate::token::verifier::{self, Audience, Expected};
use serde_json::Value;
use vouchsafe_core::Decision;
use vouchsafe_core::receipt::{Receipt, ReceiptError};

/// `typ` of a receipt: no token of any kind.
pub const RECEIPT_TYPE: &str = "decision-receipt+jwt";
/// `typ` of a receipt of a test deployment, whose evidence may be made up.
pub const TEST_RECEIPT_TYPE: &str = "test-decision-receipt+jwt";

/// Why a receipt is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a signed bundle, or not signed by one of the keys.
    #[error(transparent)]
    Signature(#[from] verifier::Refused),
    /// No receipt, though signed.
    #[error("the signed content is no receipt: {0}")]
    Content(String),
    /// It does not give the decision.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// A receipt that was looked at.
#[derive(Debug)]
pub struct Opened {
    /// The bundle.
    pub receipt: Receipt,
    /// The decision, derived again.
    pub decision: Decision,
    /// The key that signed it, if its signature was checked.
    pub signed_by: Option<String>,
    /// Whether evidence in it may be made up.
    pub test: bool,
}

impl App {
    /// The receipt of a recorded decision, as a compact JWS; of an erased subject too, while its facts are kept. The same
    /// on every replica.
    ///
    /// # Errors
    /// `NotFound`; `Unreadable` when the inputs no longer give the recorded decision.
    pub async fn receipt(&self, id: &str) -> ServiceResult<String> {
        let stored: StoredDecision = self.store.decision(id).await?.ok_or(ServiceError::NotFound("decision"))?;
        let (_, facts, _) = self.load_stored(&stored.subject).await?.ok_or(ServiceError::NotFound("decision"))?;
        let (decision, rules, facts) = self.replayed(&stored, facts).await?;
        let receipt = Receipt::new(&self.issuer, &rules, &facts, &decision)
            .map_err(|error| ServiceError::Unreadable(format!("receipt of {}: {error}", stored.id)))?;
        // Ed25519 signs the same content with the same bytes.
        let key = self.signer(Purpose::Receipt, Algorithm::EdDsa)?;
        let typ = if self.deployment.is_test() { TEST_RECEIPT_TYPE } else { RECEIPT_TYPE };
        Ok(key.sign_text(typ, &receipt.canonical())?)
    }
}

/// Opens a receipt and derives its decision again. Without keys its signature is not looked at.
///
/// # Errors
/// [`Refused`] with what does not hold.
pub fn open(token: &str, keys: Option<&[VerificationKey]>) -> Result<Opened, Refused> {
    let unverified = UnverifiedToken::parse_within(token, RECEIPT.max_length).map_err(verifier::Refused::from)?;
    let test = unverified.unverified_header("typ") == Some(TEST_RECEIPT_TYPE);
    let (typ, profile) = if test { (TEST_RECEIPT_TYPE, &TEST_RECEIPT) } else { (RECEIPT_TYPE, &RECEIPT) };
    let (signed_by, members) = match keys {
        Some(keys) => {
            // For nobody and without end: no issuer, audience or instant is looked at.
            let expected = Expected { issuer: None, audience: Audience::AnyOne, at: 0 };
            let token = verifier::verify(token, keys, profile, &expected)?;
            (Some(token.header.kid), token.claims)
        }
        None if unverified.unverified_header("typ") == Some(typ) => (None, unverified.unverified_claims()),
        None => return Err(verifier::Refused::from(JwsError::Type).into()),
    };
    let receipt: Receipt =
        serde_json::from_value(Value::Object(members)).map_err(|error| Refused::Content(error.to_string()))?;
    let decision = receipt.verify()?;
    Ok(Opened { receipt, decision, signed_by, test })
}
