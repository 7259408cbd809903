//! Intake: what vendors, organisations and networks say, authenticated and put into our words.
//!
//! Untrusted bytes come in; typed statements come out. Nothing here knows a database, an HTTP server or a clock:
//! time arrives as a [`Second`]. A vendor's notice is only a hint that something changed, the result fetched from the
//! vendor decides; nothing taken from a body ever names a host to connect to.

use secrecy::SecretString;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Grade, Outcome};

mod api;
pub mod client_address;
pub mod countries;
pub mod events;
pub mod geoip;
pub mod identity;
pub mod names;
pub mod native;
pub mod onfido;
pub mod roster;
pub mod scim;
pub mod signature;
pub mod sso;
pub mod stripe;
pub mod vouch;

/// Why something from outside was not accepted. The texts never contain any of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// No signature came with it.
    #[error("the signature is missing")]
    MissingSignature,
    /// The signature, or the key it names, is not one we accept.
    #[error("the signature does not verify")]
    BadSignature,
    /// It is not what it should be; says which part.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// It is larger than the cap.
    #[error("too large")]
    TooLarge,
    /// Its time has passed.
    #[error("expired")]
    Stale,
    /// Its time has not come.
    #[error("dated in the future")]
    NotYetValid,
    /// It is meant for somebody else.
    #[error("the audience is not this service")]
    WrongAudience,
    /// A test result where only live ones count.
    #[error("a test result in production")]
    WrongEnvironment,
    /// Well formed, but nothing we interpret.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
    /// The other side failed or answered nonsense; trying again may help.
    #[error("upstream: {0}")]
    Upstream(&'static str),
    /// The other side asks us to wait.
    #[error("upstream: it asks us to slow down")]
    SlowDown {
        /// For so many seconds, where it says so.
        after_secs: Option<u32>,
    },
}

/// One vendor's finding about one document in one attempt, in our words.
#[derive(Debug, Clone)]
pub struct CheckResult {
    /// Stable delivery id: the same finding fetched twice has the same one.
    pub event: String,
    /// One examination of one document; a later result of the same lineage supersedes.
    pub lineage: String,
    /// What we bound to a subject: Onfido's applicant, Stripe's verification session.
    pub session: String,
    /// When the vendor decided, as far as it says.
    pub decided_at: Second,
    /// How it ended.
    pub outcome: Outcome,
    /// `face_match`, `face_mismatch`, `forged`, `tampered`, `compromised`, `chip_verified`, …
    pub codes: BTreeSet<String>,
    /// Strength by itself, computed from the parts that passed.
    pub grade: Grade,
    /// Name as in the definition packs: `passport`, `permanent_resident_card`, …
    pub document_type: Option<String>,
    /// ISO 3166-1 alpha-3, or an ICAO 9303 code that is no state's.
    pub issuing_country: Option<String>,
    /// Nationalities read off the document.
    pub nationalities: BTreeSet<String>,
    /// Category code such as `C09`.
    pub category: Option<String>,
    /// Document number as read.
    pub document_number: Option<SecretString>,
    /// Birth date as read, `YYYY-MM-DD`.
    pub birth_date: Option<SecretString>,
    /// Name as read, given names first.
    pub name: Option<SecretString>,
    /// Date of issue, 00:00:00Z.
    pub issued_on: Option<Second>,
    /// End of the expiry date.
    pub ends_at: Option<Second>,
}
