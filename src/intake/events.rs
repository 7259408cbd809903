//! Security event tokens of identity providers (RFC 8417), as they are pushed to us (RFC 8935).

use crate::token::jws::{JwsError, VerificationKey};
use crate::token::profile::{ANY, AudienceForm, Lifetime, Profile, Types};
use crate::token::verifier::{self, Audience, Expected, Refused};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How old a token may be, seconds: so long its id is remembered.
pub const OLDEST_SECS: i64 = 7 * 86_400;

/// It has no end of its own, so it is taken while it is young.
const EVENT: Profile<'static> = Profile {
    types: Types::Named(&["secevent+jwt"]),
    unnamed_key: true,
    audience: AudienceForm::Among,
    expires: false,
    issued: true,
    lifetime: Lifetime { oldest_secs: Some(OLDEST_SECS), ..ANY.lifetime },
    required: &["jti"],
    ..ANY
};

/// Why a token is not taken, as its sender is told (RFC 8935 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{description}")]
pub struct NotTaken {
    /// Its code.
    pub err: &'static str,
    /// For people.
    pub description: &'static str,
}

impl NotTaken {
    /// With this code and text.
    #[must_use]
    pub const fn new(err: &'static str, description: &'static str) -> Self {
        Self { err, description }
    }
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Issuer => Self::new("invalid_issuer", "the token is another issuer's"),
            Refused::Audience | Refused::Claim("aud") => {
                Self::new("invalid_audience", "the token is for another audience")
            }
            Refused::Jws(
                JwsError::UnknownKey
                | JwsError::KeyAlgorithm
                | JwsError::Signature
                | JwsError::Algorithm
                | JwsError::Key(_),
            ) => Self::new("invalid_key", "the token's signature does not verify by a key of its issuer"),
            _ => Self::new("invalid_request", "the text is no security event token that can be taken"),
        }
    }
}

/// What a provider says happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The token's id.
    pub jti: String,
    /// Types of its events.
    pub events: BTreeSet<String>,
    /// Whom it is about, as the provider's own `sub`; `None` for other subjects.
    pub sub: Option<String>,
    /// Whose sessions it is about, or which; `None` where that cannot be told.
    pub sessions: Option<Sessions>,
    /// When it was said, epoch seconds.
    pub iat: i64,
}

/// Sessions that a subject names (CAEP 1.0 section 3.1: those which match all that it combines).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sessions {
    /// One, by the provider's `sid`; where somebody is named too, only if it is theirs.
    One {
        /// The session.
        sid: String,
        /// Whose it is.
        sub: Option<String>,
    },
    /// All that somebody has.
    All {
        /// Whose they are.
        sub: String,
    },
}

/// Verifies a token of `issuer` for one of `audiences`, at `now` (epoch seconds).
///
/// # Errors
/// [`NotTaken`].
pub fn verify(
    token: &str,
    issuer: &str,
    audiences: &BTreeSet<String>,
    keys: &[VerificationKey],
    now: i64,
) -> Result<Said, NotTaken> {
    let mut refused = Refused::Audience;
    let mut taken = None;
    for audience in audiences {
        let expected = Expected { issuer: Some(issuer), audience: Audience::Is(audience), at: now };
        match verifier::verify(token, keys, &EVENT, &expected) {
            Ok(held) => {
                taken = Some(held);
                break;
            }
            // Of several audiences all but one are another.
            Err(Refused::Audience) => {}
            Err(error) => refused = error,
        }
    }
    let held = taken.ok_or(refused)?;
    let malformed = NotTaken::new("invalid_request", "`jti` or `events` cannot be read");
    let jti = held.text("jti").ok_or(malformed)?.to_owned();
    let events = held.claims.get("events").and_then(Value::as_object).filter(|events| !events.is_empty());
    let events = events.ok_or(malformed)?;
    if !events.values().all(Value::is_object) {
        return Err(malformed);
    }
    Ok(Said {
        jti,
        events: events.keys().cloned().collect(),
        sub: subject(&held.claims, issuer),
        sessions: held.claims.get("sub_id").and_then(|id| sessions(id, issuer)),
        iat: held.times.iat.ok_or(malformed)?,
    })
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The provider's own `sub` in `sub_id`: by itself, or as the user of several.
fn subject(claims: &Map<String, Value>, issuer: &str) -> Option<String> {
    let id = claims.get("sub_id")?;
    let id = if text(id, "format").as_deref() == Some("complex") { id.get("user")? } else { id };
    own_sub(id, issuer)
}

fn own_sub(id: &Value, issuer: &str) -> Option<String> {
    let own = text(id, "format").as_deref() == Some("iss_sub") && text(id, "iss").as_deref() == Some(issuer);
    text(id, "sub").filter(|_| own)
}

/// Which sessions a subject identifier names: a session by its id alone, or complex with it, whatever else describes it;
/// else all of a user. What a device or a group narrows them to cannot be told here, and then they are none.
fn sessions(id: &Value, issuer: &str) -> Option<Sessions> {
    let opaque = |id: &Value| text(id, "id").filter(|_| text(id, "format").as_deref() == Some("opaque"));
    match text(id, "format")?.as_str() {
        "opaque" => Some(Sessions::One { sid: opaque(id)?, sub: None }),
        "iss_sub" => Some(Sessions::All { sub: own_sub(id, issuer)? }),
        "complex" => {
            // SECURITY: somebody who cannot be read is not nobody.
            let sub = match id.get("user") {
                None => None,
                Some(user) => Some(own_sub(user, issuer)?),
            };
            let narrow = |name: &String| !["format", "user", "tenant"].contains(&name.as_str());
            match id.get("session") {
                Some(session) => Some(Sessions::One { sid: opaque(session)?, sub }),
                None if id.as_object()?.keys().any(narrow) => None,
                None => Some(Sessions::All { sub: sub? }),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vouchsafe_verify::testing::Signer;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://idp.example";

    fn read(signer: &Signer, header: &Value, change: Value) -> Result<Said, NotTaken> {
        let mut claims = json!({ "iss": ISSUER, "aud": "https://us.example", "iat": NOW, "jti": "j1",
            "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "ada" }, "events": { "urn:e": {} } });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => drop(claims.as_object_mut().unwrap().insert(name.clone(), value.clone())),
            }
        }
        let audiences = ["https://us.example", "app"].map(str::to_owned).into();
        verify(&signer.sign(header, &claims), ISSUER, &audiences, &[signer.key("k1")], NOW)
    }

    #[test]
    fn a_token_of_the_provider_for_us_is_read_and_every_other_refused_by_its_code() {
        let signer = Signer::rs256();
        let header = json!({ "alg": "RS256", "kid": "k1", "typ": "secevent+jwt" });
        let said = |sub: Option<&str>, sessions: Option<Sessions>| Said {
            jti: "j1".to_owned(),
            events: ["urn:e".to_owned()].into(),
            sub: sub.map(str::to_owned),
            sessions,
            iat: NOW,
        };
        let all = || Some(Sessions::All { sub: "ada".to_owned() });
        let one = |sub: Option<&str>| Some(Sessions::One { sid: "s".to_owned(), sub: sub.map(str::to_owned) });
        assert_eq!(read(&signer, &header, json!({})), Ok(said(Some("ada"), all())));
        assert_eq!(read(&signer, &header, json!({ "aud": ["x", "app"] })), Ok(said(Some("ada"), all())));
        let ada = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "ada" });
        let bo = json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "bo" });
        let session = json!({ "format": "opaque", "id": "s" });
        for (id, sub, sessions) in [
            (json!({ "format": "complex", "user": ada, "device": {} }), Some("ada"), None),
            (json!({ "format": "complex", "user": ada, "tenant": {} }), Some("ada"), all()),
            (
                json!({ "format": "complex", "user": ada, "session": session, "device": {} }),
                Some("ada"),
                one(Some("ada")),
            ),
            (json!({ "format": "complex", "session": session }), None, one(None)),
            (json!({ "format": "complex", "user": bo, "session": session }), None, None),
            (json!({ "format": "complex", "user": null, "session": session }), None, None),
            (json!({ "format": "complex", "user": ada, "session": "s" }), Some("ada"), None),
            (json!({ "format": "complex", "tenant": {} }), None, None),
            (session.clone(), None, one(None)),
            (json!({ "format": "opaque", "id": "" }), None, None),
            (bo, None, None),
            (json!({ "format": "email", "email": "ada@example.org" }), None, None),
            (json!("ada"), None, None),
        ] {
            assert_eq!(read(&signer, &header, json!({ "sub_id": id })), Ok(said(sub, sessions)), "{id}");
        }
        for (change, err) in [
            (json!({ "iss": "https://other.example" }), "invalid_issuer"),
            (json!({ "aud": "https://other.example" }), "invalid_audience"),
            (json!({ "aud": null }), "invalid_audience"),
            (json!({ "jti": null }), "invalid_request"),
            (json!({ "iat": null }), "invalid_request"),
            (json!({ "iat": NOW + 31 }), "invalid_request"),
            (json!({ "iat": NOW - OLDEST_SECS - 31 }), "invalid_request"),
            (json!({ "exp": NOW - 31 }), "invalid_request"),
            (json!({ "events": null }), "invalid_request"),
            (json!({ "events": {} }), "invalid_request"),
            (json!({ "events": [] }), "invalid_request"),
            (json!({ "events": { "urn:e": 1 } }), "invalid_request"),
        ] {
            assert_eq!(read(&signer, &header, change.clone()).map_err(|not| not.err), Err(err), "{change}");
        }
        for typ in ["JWT", "at+jwt", "logout+jwt"] {
            let header = json!({ "alg": "RS256", "kid": "k1", "typ": typ });
            assert_eq!(read(&signer, &header, json!({})).map_err(|not| not.err), Err("invalid_request"), "{typ}");
        }
        for (alg, kid) in [("RS256", "k2"), ("ES256", "k1"), ("none", "k1")] {
            let header = json!({ "alg": alg, "kid": kid, "typ": "secevent+jwt" });
            assert_eq!(read(&signer, &header, json!({})).map_err(|not| not.err), Err("invalid_key"), "{alg} {kid}");
        }
    }
}
