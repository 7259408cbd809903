//! Tokens: signing keys, compact JWS, and what a verified token of ours says.

pub mod jws;
pub mod keys;
pub mod status_list;

use keys::Purpose;
use serde_json::{Map, Value};

/// What a token of ours says, after its signature was checked. Times and revocation are checked at every use.
#[derive(Debug)]
pub struct Verified {
    /// What its key signs.
    pub purpose: Purpose,
    /// Its key: retired, it takes the token with it.
    pub kid: String,
    /// Issuer.
    pub iss: String,
    /// Its one audience.
    pub aud: String,
    /// Subject or client.
    pub sub: String,
    /// Issue, epoch seconds.
    pub iat: i64,
    /// End, epoch seconds.
    pub exp: i64,
    /// Token id.
    pub jti: String,
    /// Scopes of an access token.
    pub scope: String,
    /// Client it was issued to.
    pub client_id: String,
    /// Resource of an eligibility token.
    pub resource: Option<String>,
    /// Decision of an eligibility token.
    pub decision: Option<String>,
    /// The organisation acted for, as the audience knows it.
    pub acting_for: Option<String>,
}

impl Verified {
    /// Reads the claims; `None` when one is missing or of another type.
    #[must_use]
    pub fn read(claims: &Map<String, Value>, purpose: Purpose, kid: &str) -> Option<Self> {
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        let eligibility = claims.get("eligibility").and_then(Value::as_object);
        let inner = |name: &str| eligibility?.get(name)?.as_str().map(str::to_owned);
        if purpose == Purpose::Eligibility && eligibility.is_none() {
            return None;
        }
        Some(Self {
            purpose,
            kid: kid.to_owned(),
            iss: text("iss")?,
            aud: text("aud")?,
            sub: text("sub")?,
            iat: claims.get("iat")?.as_i64()?,
            exp: claims.get("exp")?.as_i64()?,
            jti: text("jti")?,
            scope: text("scope").unwrap_or_default(),
            client_id: text("client_id")?,
            resource: inner("resource"),
            decision: inner("decision"),
            // SECURITY: one of another type is not as if it were absent.
            acting_for: match eligibility.and_then(|members| members.get("acting_for")) {
                Some(name) => Some(name.as_str()?.to_owned()),
                None => None,
            },
        })
    }
}
