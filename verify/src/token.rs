//! The one verifier: a token, the keys of its issuer, what kind it has to be, and what is expected of it.

use crate::jws::{Header, JwsError, UnverifiedToken, VerificationKey};
use crate::profile::{AudienceForm, Lifetime, Profile, Types};
use serde_json::{Map, Value};

/// Last second of the year 9999, the last one that an instant can be written in.
const LAST_SECOND: i64 = 253_402_300_799;

/// Longest text of a required claim, in bytes.
const MAX_CLAIM_LENGTH: usize = 2048;

/// Why a token is refused. Carries no part of it; [`Refused::code`] is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its form, header, key, signature or type.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// A claim is missing, or not of the type, form or range it must have.
    #[error("the token's claim `{0}` is missing or malformed")]
    Claim(&'static str),
    /// Another issuer.
    #[error("the token is another issuer's")]
    Issuer,
    /// Another audience, or one beside the expected one.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is still to come.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// It is valid for longer, or further ahead, than its kind may be.
    #[error("the token is valid for too long")]
    Lifetime,
    /// `iat` is too long ago for its kind.
    #[error("the token was issued too long ago")]
    Old,
}

impl Refused {
    /// One of each kind, for tables and tests.
    pub const ALL: [Self; 21] = [
        Self::Jws(JwsError::TooLong),
        Self::Jws(JwsError::Characters),
        Self::Jws(JwsError::Encrypted),
        Self::Jws(JwsError::Parts),
        Self::Jws(JwsError::Encoding),
        Self::Jws(JwsError::Json),
        Self::Jws(JwsError::Header("alg")),
        Self::Jws(JwsError::Algorithm),
        Self::Jws(JwsError::UnknownKey),
        Self::Jws(JwsError::KeyAlgorithm),
        Self::Jws(JwsError::Signature),
        Self::Jws(JwsError::Type),
        Self::Jws(JwsError::Key("type or curve")),
        Self::Claim("exp"),
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedLater,
        Self::Lifetime,
        Self::Old,
    ];

    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Jws(error) => error.code(),
            Self::Claim(_) => "bad_claim",
            Self::Issuer => "wrong_issuer",
            Self::Audience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedLater => "issued_later",
            Self::Lifetime => "lifetime",
            Self::Old => "too_old",
        }
    }
}

/// What the one who verifies expects.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer whose keys these are, compared byte for byte; `None` only for kinds that name none.
    pub issuer: Option<&'a str>,
    /// Whom it must be for.
    pub audience: Audience<'a>,
    /// Now, in epoch seconds.
    pub at: i64,
}

/// The audience that is expected.
#[derive(Debug, Clone, Copy)]
pub enum Audience<'a> {
    /// This one, compared byte for byte.
    Is(&'a str),
    /// Whichever one it names.
    ///
    /// SECURITY: for callers that serve several audiences and compare [`Token::audience`] themselves.
    AnyOne,
}

/// A token that was verified.
#[derive(Debug, Clone)]
pub struct Token {
    /// What its header said.
    pub header: Header,
    /// All its claims.
    pub claims: Map<String, Value>,
    /// Its instants.
    pub times: Times,
}

impl Token {
    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Its one audience; `None` when it names several.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        sole(self.claims.get("aud")?)
    }
}

/// The instants of a token, in epoch seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Issue.
    pub iat: Option<i64>,
    /// Begin.
    pub nbf: Option<i64>,
    /// First second it is no longer valid.
    pub exp: Option<i64>,
}

impl Times {
    /// Reads whole seconds from the epoch to the year 9999; a fraction, a text or null is refused, never rounded and
    /// never taken for absent.
    fn read(claims: &Map<String, Value>) -> Result<Self, Refused> {
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .filter(|seconds| (0..=LAST_SECOND).contains(seconds))
                .map(Some)
                .ok_or(Refused::Claim(name)),
        };
        Ok(Self { exp: time("exp")?, nbf: time("nbf")?, iat: time("iat")? })
    }

    /// Judges them at an instant, as often as a verified token is used.
    ///
    /// # Errors
    /// [`Refused::Expired`], [`Refused::NotYetValid`], [`Refused::IssuedLater`], [`Refused::Lifetime`] and
    /// [`Refused::Old`], the first in this order.
    pub fn check(&self, lifetime: &Lifetime, at: i64) -> Result<(), Refused> {
        let later = |leeway: i64| at.saturating_add(leeway);
        if self.exp.is_some_and(|exp| at >= exp.saturating_add(lifetime.expiry_leeway_secs)) {
            return Err(Refused::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf > later(lifetime.leeway_secs)) {
            return Err(Refused::NotYetValid);
        }
        if self.iat.is_some_and(|iat| iat > later(lifetime.leeway_secs)) {
            return Err(Refused::IssuedLater);
        }
        if let (Some(exp), Some(iat)) = (self.exp, self.iat)
            && (exp <= iat || lifetime.longest_secs.is_some_and(|longest| exp - iat > longest))
        {
            return Err(Refused::Lifetime);
        }
        if let (Some(exp), Some(ahead)) = (self.exp, lifetime.furthest_ahead_secs)
            && exp > later(ahead.saturating_add(lifetime.leeway_secs))
        {
            return Err(Refused::Lifetime);
        }
        if let (Some(iat), Some(age)) = (self.iat, lifetime.oldest_secs)
            && at > iat.saturating_add(age)
        {
            return Err(Refused::Old);
        }
        Ok(())
    }
}

/// Verifies a token of one kind against the keys of the issuer that is expected.
///
/// The keys are this issuer's and nobody else's: one is chosen among them by `kid`, and no other is tried.
///
/// # Errors
/// The first [`Refused`] in the fixed order: form, header, key, signature, type, issuer, audience, instants, and what
/// the kind requires beside.
pub fn verify(
    token: &str,
    keys: &[VerificationKey],
    profile: &Profile<'_>,
    expected: &Expected<'_>,
) -> Result<Token, Refused> {
    let unverified = UnverifiedToken::parse_within(token, profile.max_length)?;
    let (header, claims) = unverified.verify_any_type(keys, profile.unnamed_key)?;
    judge(header, claims, profile, expected)
}

/// Verifies a token by the public key it brings along in `jwk`, as a DPoP proof does (RFC 9449).
///
/// SECURITY: whoever made the token chose the key. It proves possession; who that is must follow from elsewhere, by
/// the key's [`VerificationKey::thumbprint`].
///
/// # Errors
/// As [`verify`]; [`JwsError::Header`] without a `jwk`, [`JwsError::Key`] for one that cannot be used.
pub fn verify_embedded(
    token: &str,
    profile: &Profile<'_>,
    expected: &Expected<'_>,
) -> Result<(Token, VerificationKey), Refused> {
    let unverified = UnverifiedToken::parse_within(token, profile.max_length)?;
    let (header, claims, key) = unverified.verify_embedded()?;
    Ok((judge(header, claims, profile, expected)?, key))
}

fn judge(
    header: Header,
    claims: Map<String, Value>,
    profile: &Profile<'_>,
    expected: &Expected<'_>,
) -> Result<Token, Refused> {
    let fits = |types: &[&str]| header.typ.as_deref().map(|typ| types.contains(&typ));
    let of_this_kind = match profile.types {
        Types::Any => true,
        Types::Named(types) => fits(types) == Some(true),
        Types::NamedOrNone(types) => fits(types) != Some(false),
    };
    if !of_this_kind {
        return Err(JwsError::Type.into());
    }
    if profile.issuer {
        check_issuer(&claims, expected.issuer)?;
    }
    check_audience(&claims, profile.audience, expected.audience)?;
    let times = Times::read(&claims)?;
    let required = |name: &'static str, value: Option<i64>, needed: bool| {
        if needed && value.is_none() { Err(Refused::Claim(name)) } else { Ok(()) }
    };
    required("exp", times.exp, profile.expires)?;
    required("iat", times.iat, profile.issued)?;
    times.check(&profile.lifetime, expected.at)?;
    for name in profile.required {
        claims.get(*name).and_then(Value::as_str).filter(|text| is_name(text)).ok_or(Refused::Claim(name))?;
    }
    if profile.self_issued && claims.get("sub") != claims.get("iss") {
        return Err(Refused::Claim("sub"));
    }
    Ok(Token { header, claims, times })
}

fn check_issuer(claims: &Map<String, Value>, expected: Option<&str>) -> Result<(), Refused> {
    let named = claims.get("iss").and_then(Value::as_str).ok_or(Refused::Claim("iss"))?;
    if expected == Some(named) { Ok(()) } else { Err(Refused::Issuer) }
}

fn check_audience(claims: &Map<String, Value>, form: AudienceForm, expected: Audience<'_>) -> Result<(), Refused> {
    if form == AudienceForm::Unchecked {
        return Ok(());
    }
    let named: Vec<&str> = match claims.get("aud") {
        Some(Value::String(named)) => vec![named],
        Some(Value::Array(list)) if form != AudienceForm::Text => {
            list.iter().map(|item| item.as_str().ok_or(Refused::Claim("aud"))).collect::<Result<_, _>>()?
        }
        _ => return Err(Refused::Claim("aud")),
    };
    let fits = match expected {
        Audience::Is(expected) if form == AudienceForm::Among => named.contains(&expected),
        Audience::Is(expected) => named == [expected],
        Audience::AnyOne => named.len() == 1,
    };
    if fits { Ok(()) } else { Err(Refused::Audience) }
}

fn sole(aud: &Value) -> Option<&str> {
    match aud {
        Value::String(named) => Some(named),
        Value::Array(list) => match list.as_slice() {
            [Value::String(named)] => Some(named),
            _ => None,
        },
        _ => None,
    }
}

/// Ids and names: not empty, not endless, nothing that could break a line of a log.
fn is_name(text: &str) -> bool {
    (1..=MAX_CLAIM_LENGTH).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
