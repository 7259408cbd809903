//! Tokens: signing keys, compact JWS, and what a verified token of ours says.

pub mod assertion;
pub mod dpop;
pub mod keys;
pub mod status_list;

pub use vouchsafe_verify::{jws, key, profile, token as verifier};

use keys::Purpose;
use serde_json::{Map, Value};

use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_verify::token::{Times, Token};

/// Whom and what an eligibility token is about.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    /// Who calls: the token's subject or, where that is an end user, the one who acts for it.
    pub(crate) subject: SubjectId,
    pub(crate) acting_for: Option<SubjectId>,
    pub(crate) resource: ResourceId,
    /// The end user, and the organisation through which they come.
    pub(crate) end_user: Option<(SubjectId, SubjectId)>,
}

/// What a token says whose subject is somebody's end user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActedFor {
    /// Who acts (`act.sub`), as the audience knows it.
    pub(crate) actor: String,
    /// The organisation through which the end user comes, as the audience knows it.
    pub(crate) customer: String,
}

impl ActedFor {
    /// Reads what an eligibility token says of an end user; `Err` where that cannot be read, `Ok(None)` where the token is
    /// the caller's own.
    fn read(claims: &Map<String, Value>, eligibility: &Map<String, Value>) -> Result<Option<Self>, ()> {
        let told = match eligibility.get("end_user") {
            None | Some(Value::String(_)) => return Ok(None),
            // SECURITY: what cannot be read is not as if it were absent.
            Some(told) => told.as_object().ok_or(())?,
        };
        let text =
            |members: &Map<String, Value>, name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let act = claims.get("act").and_then(Value::as_object).ok_or(())?;
        let customer = text(told, "customer").ok_or(())?;
        Ok(Some(Self { actor: text(act, "sub").ok_or(())?, customer }))
    }
}

/// What a token of ours says, after it was verified. Times and revocation are checked at every use.
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
    /// Its instants, judged at every use.
    pub times: Times,
    /// Scopes of an access token.
    pub scope: String,
    /// Client it was issued to.
    pub client_id: String,
    /// Resource of an eligibility token, or of an access token that is about one subject's claims.
    pub resource: Option<String>,
    /// Consent under which an access token that is about one subject's claims was given.
    pub consent: Option<String>,
    /// Decision of an eligibility token.
    pub decision: Option<String>,
    /// The organisation acted for, as the audience knows it.
    pub acting_for: Option<String>,
    /// Thumbprint of the key that it is bound to (RFC 9449 section 6.1); who sends it proves that key.
    pub jkt: Option<String>,
    /// The party that acts for the subject (RFC 8693 section 4.1).
    pub act: Option<Value>,
    /// Who acts, where the subject is somebody's end user.
    pub(crate) acted_for: Option<ActedFor>,
}

impl Verified {
    /// Reads the claims; `None` when one is missing or of another type.
    #[must_use]
    pub fn read(token: &Token, purpose: Purpose) -> Option<Self> {
        let claims = &token.claims;
        let text = |name: &str| token.text(name).map(str::to_owned);
        let eligibility = claims.get("eligibility").and_then(Value::as_object);
        let inner = |name: &str| eligibility?.get(name)?.as_str().map(str::to_owned);
        if purpose == Purpose::Eligibility && eligibility.is_none() {
            return None;
        }
        Some(Self {
            purpose,
            kid: token.header.kid.clone(),
            iss: text("iss")?,
            aud: text("aud")?,
            sub: text("sub")?,
            iat: token.times.iat?,
            exp: token.times.exp?,
            times: token.times,
            jti: text("jti")?,
            scope: text("scope").unwrap_or_default(),
            client_id: text("client_id")?,
            resource: inner("resource"),
            consent: inner("consent"),
            decision: inner("decision"),
            // SECURITY: one of another type is not as if it were absent.
            acting_for: match eligibility.and_then(|members| members.get("acting_for")) {
                Some(name) => Some(name.as_str()?.to_owned()),
                None => None,
            },
            // SECURITY: a binding that cannot be read is not one that is absent.
            jkt: match claims.get("cnf") {
                Some(cnf) => Some(cnf.as_object()?.get("jkt")?.as_str()?.to_owned()),
                None => None,
            },
            act: claims.get("act").cloned(),
            acted_for: match eligibility {
                Some(members) => ActedFor::read(claims, members).ok()?,
                None => None,
            },
        })
    }
}
