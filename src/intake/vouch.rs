//! Vouches: an organisation's signed word about one subject in one frame.

use super::IntakeError;
use crate::token::jws::{JwsError, UnverifiedToken, VerificationKey};
use crate::token::profile::{LEEWAY_SECS, VOUCH};
use crate::token::verifier::{self, Audience, Expected, Refused};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::Basis;
use vouchsafe_core::ids::{OrganisationId, SubjectId};

/// Most states one vouch may name.
const MAX_STATES: usize = 16;

/// A public key an organisation registered: ES256, EdDSA or RS256.
#[derive(Debug, Clone)]
pub struct OrganisationKey {
    /// Its id.
    pub kid: String,
    /// The public JWK.
    pub jwk: Value,
}

/// Whom a vouch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VouchSubject {
    /// Our own id.
    Id(String),
    /// An id of the caller's, `namespace:id`.
    Link {
        /// Whose id it is.
        namespace: String,
        /// The id there.
        id: String,
    },
}

/// A vouch whose signature, audience and times hold. Whether the organisation may speak in the frame, and whether the
/// `jti` is new, is for the service to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedVouch {
    /// The organisation.
    pub issuer: String,
    /// Whom it is about.
    pub subject: VouchSubject,
    /// To be spent once per issuer.
    pub jti: String,
    /// When it was signed.
    pub issued_at: Second,
    /// When the token ends; what it says may hold longer.
    pub expires_at: Second,
    /// The frame; `employer` is the organisation's own membership frame.
    pub frame: String,
    /// States of the frame; empty only in `employer`.
    pub states: BTreeSet<String>,
    /// Whether the subject works there; set only in `employer`.
    pub employed: Option<bool>,
    /// `employee`, `contractor`, …; set only in `employer`.
    pub relation: Option<String>,
    /// What it rests on.
    pub basis: Option<Basis>,
    /// When the condition began.
    pub fact_date: Option<Second>,
    /// When it ends.
    pub ends_at: Option<Second>,
}

/// The organisation a token claims to come from: only to look up its keys.
///
/// # Errors
/// When the token cannot be taken apart or names no organisation.
pub fn unverified_issuer(token: &str) -> Result<String, IntakeError> {
    let token = UnverifiedToken::parse(token).map_err(|error| refused(error.into()))?;
    let issuer = token.unverified_claim("iss").ok_or(IntakeError::Malformed("iss"))?;
    OrganisationId::parse(issuer).map(String::from).map_err(|_| IntakeError::Malformed("iss"))
}

/// Verifies a vouch of `issuer`, signed with one of its `keys`, for `audience`, at `now`.
///
/// A registered key that cannot be used is passed over: it verifies nothing, and the others go on working.
///
/// # Errors
/// [`IntakeError::TooLarge`] and [`IntakeError::Malformed`] for what is no vouch, [`IntakeError::BadSignature`] for
/// an unknown or unfitting key and a wrong signature alike, [`IntakeError::Unsupported`] for another kind of token,
/// [`IntakeError::WrongAudience`], [`IntakeError::Stale`] and [`IntakeError::NotYetValid`].
pub fn verify(
    token: &str,
    issuer: &str,
    keys: &[OrganisationKey],
    audience: &str,
    now: Second,
) -> Result<VerifiedVouch, IntakeError> {
    let keys: Vec<VerificationKey> =
        keys.iter().filter_map(|key| VerificationKey::from_jwk(&key.kid, &key.jwk).ok()).collect();
    let expected = Expected { issuer: Some(issuer), audience: Audience::Is(audience), at: now.epoch() };
    let token = verifier::verify(token, &keys, &VOUCH, &expected).map_err(refused)?;
    let instant = |name, value: Option<i64>| value.map(Second::from_epoch).ok_or(IntakeError::Malformed(name));
    let (issued_at, expires_at) = (instant("iat", token.times.iat)?, instant("exp", token.times.exp)?);
    let jti = token.text("jti").filter(|jti| is_name(jti, 128)).ok_or(IntakeError::Malformed("jti"))?;
    let subject = token.text("sub").and_then(parse_subject).ok_or(IntakeError::Malformed("sub"))?;
    let wire = token.claims.get("vouch").cloned().ok_or(IntakeError::Malformed("vouch"))?;
    let wire: Wire = serde_json::from_value(wire).map_err(|_| IntakeError::Malformed("vouch"))?;
    let (fact_date, ends_at) = wire.check(now)?;
    Ok(VerifiedVouch {
        issuer: issuer.to_owned(),
        subject,
        jti: jti.to_owned(),
        issued_at,
        expires_at,
        frame: wire.frame,
        states: wire.states.into_iter().flatten().collect(),
        employed: wire.employed,
        relation: wire.relation,
        basis: wire.basis,
        fact_date,
        ends_at,
    })
}

/// The `vouch` claim. Ours to define, so a member we do not know is refused: it may have been meant to limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    pub(super) frame: String,
    #[serde(default)]
    pub(super) states: Option<Vec<String>>,
    #[serde(default)]
    pub(super) employed: Option<bool>,
    #[serde(default)]
    pub(super) relation: Option<String>,
    #[serde(default)]
    pub(super) basis: Option<Basis>,
    #[serde(default)]
    pub(super) fact_date: Option<String>,
    #[serde(default)]
    pub(super) ends_at: Option<String>,
}

impl Wire {
    /// Checks every member; gives when the condition began and when it ends.
    pub(super) fn check(&self, now: Second) -> Result<(Option<Second>, Option<Second>), IntakeError> {
        self.check_words()?;
        let fact_date = self.fact_date.as_deref().map(parse_start).transpose()?;
        let ends_at = self.ends_at.as_deref().map(parse_end).transpose()?;
        if fact_date.is_some_and(|date| date > now.plus(LEEWAY_SECS)) {
            return Err(IntakeError::Malformed("vouch.fact_date"));
        }
        if ends_at.is_some_and(|end| fact_date.is_some_and(|date| end <= date)) {
            return Err(IntakeError::Malformed("vouch.ends_at"));
        }
        Ok((fact_date, ends_at))
    }

    /// `employer` answers yes or no about the organisation itself; every other frame names states.
    fn check_words(&self) -> Result<(), IntakeError> {
        if !is_term(&self.frame) {
            return Err(IntakeError::Malformed("vouch.frame"));
        }
        let states = self.states.as_deref();
        if self.frame == "employer" {
            return match (states, self.employed, self.relation.as_deref()) {
                (Some(_), _, _) => Err(IntakeError::Malformed("vouch.states")),
                (None, None, _) => Err(IntakeError::Malformed("vouch.employed")),
                (None, Some(_), Some(relation)) if !is_term(relation) => Err(IntakeError::Malformed("vouch.relation")),
                (None, Some(_), _) => Ok(()),
            };
        }
        if self.employed.is_some() {
            return Err(IntakeError::Malformed("vouch.employed"));
        }
        if self.relation.is_some() {
            return Err(IntakeError::Malformed("vouch.relation"));
        }
        match states {
            Some(states) if (1..=MAX_STATES).contains(&states.len()) && states.iter().all(|state| is_state(state)) => {
                Ok(())
            }
            _ => Err(IntakeError::Malformed("vouch.states")),
        }
    }
}

fn refused(error: Refused) -> IntakeError {
    match error {
        Refused::Jws(JwsError::TooLong) => IntakeError::TooLarge,
        Refused::Jws(JwsError::Header(_)) => IntakeError::Malformed("token header"),
        Refused::Jws(JwsError::Type) => IntakeError::Unsupported("token type"),
        Refused::Jws(error) if error.is_no_token() => IntakeError::Malformed("token"),
        // One answer for all of these: no oracle for which keys exist.
        Refused::Jws(_) | Refused::Issuer | Refused::Claim("iss") => IntakeError::BadSignature,
        Refused::Audience | Refused::Claim("aud") => IntakeError::WrongAudience,
        Refused::Expired | Refused::Old => IntakeError::Stale,
        Refused::NotYetValid | Refused::IssuedLater => IntakeError::NotYetValid,
        Refused::Lifetime => IntakeError::Malformed("exp"),
        Refused::Claim(name) => IntakeError::Malformed(name),
    }
}

/// Our subject id, or a caller's as `namespace:id`.
#[must_use]
pub fn parse_subject(text: &str) -> Option<VouchSubject> {
    match text.split_once(':') {
        None => SubjectId::parse(text).ok().map(|id| VouchSubject::Id(id.into())),
        Some((namespace, id)) => {
            let printable = (1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
            (is_name(namespace, 64) && printable)
                .then(|| VouchSubject::Link { namespace: namespace.to_owned(), id: id.to_owned() })
        }
    }
}

fn parse_start(text: &str) -> Result<Second, IntakeError> {
    Second::start_of_date(text).or_else(|_| Second::parse(text)).map_err(|_| IntakeError::Malformed("vouch.fact_date"))
}

fn parse_end(text: &str) -> Result<Second, IntakeError> {
    Second::end_of_date(text).or_else(|_| Second::parse(text)).map_err(|_| IntakeError::Malformed("vouch.ends_at"))
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
}

/// Frames and relations: `us_status`, `contractor`.
fn is_term(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

/// States: `citizen`, or `USA` in frames of countries.
fn is_state(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vouchsafe_verify::testing::Signer;

    const TYPE: &str = "vouch+jwt";
    const DAY: i64 = 86_400;
    const ISSUER: &str = "org_acme";
    const AUDIENCE: &str = "https://vouchsafe.example";
    const NOW: i64 = 1_800_000_000;

    struct Organisation {
        signer: Signer,
        keys: Vec<OrganisationKey>,
    }

    impl Organisation {
        fn new() -> Self {
            let signer = Signer::ed25519();
            let keys = vec![OrganisationKey { kid: "k1".into(), jwk: signer.jwk() }];
            Self { signer, keys }
        }

        fn token(&self, claims: &Value) -> String {
            self.signer.sign(&json!({"alg": self.signer.alg(), "kid": "k1", "typ": TYPE}), claims)
        }

        fn at(&self, claims: &Value, now: i64) -> Result<VerifiedVouch, IntakeError> {
            verify(&self.token(claims), ISSUER, &self.keys, AUDIENCE, Second::from_epoch(now))
        }

        fn verify(&self, claims: &Value) -> Result<VerifiedVouch, IntakeError> {
            self.at(claims, NOW)
        }
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "sub": "sub_1", "aud": AUDIENCE, "iat": NOW - 10, "exp": NOW + 600, "jti": "j-1",
            "vouch": {"frame": "us_status", "states": ["citizen", "lpr"], "basis": "document_seen",
                "fact_date": "2020-03-01", "ends_at": "2030-02-28"}})
    }

    fn with(change: Value) -> Value {
        let mut claims = claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn vouching(vouch: Value) -> Value {
        with(json!({"vouch": vouch}))
    }

    #[test]
    fn a_vouch_about_status_reads() {
        let vouch = Organisation::new().verify(&claims()).unwrap();
        assert_eq!(vouch.issuer, ISSUER);
        assert_eq!(vouch.subject, VouchSubject::Id("sub_1".into()));
        assert_eq!(vouch.states, BTreeSet::from(["citizen".into(), "lpr".into()]));
        assert_eq!((vouch.employed, vouch.relation, vouch.basis), (None, None, Some(Basis::DocumentSeen)));
        assert_eq!(vouch.fact_date.unwrap().to_string(), "2020-03-01T00:00:00Z");
        assert_eq!(vouch.ends_at.unwrap().to_string(), "2030-03-01T00:00:00Z");
        assert_eq!(vouch.expires_at.since(vouch.issued_at), 610);
    }

    #[test]
    fn a_vouch_about_employment_reads() {
        let organisation = Organisation::new();
        let vouch = organisation
            .verify(&vouching(json!({"frame": "employer", "employed": true, "relation": "contractor",
                "fact_date": "2024-01-01T08:00:00+02:00"})))
            .unwrap();
        assert_eq!((vouch.employed, vouch.relation.as_deref()), (Some(true), Some("contractor")));
        assert!(vouch.states.is_empty());
        assert_eq!(vouch.fact_date.unwrap().to_string(), "2024-01-01T06:00:00Z");
        let left = organisation.verify(&vouching(json!({"frame": "employer", "employed": false}))).unwrap();
        assert_eq!(left.employed, Some(false));
    }

    #[test]
    fn every_algorithm_of_an_organisation_works_beside_a_broken_key() {
        for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
            let broken = OrganisationKey { kid: "k0".into(), jwk: json!({"kty": "oct", "k": "AAAA"}) };
            let keys = vec![broken, OrganisationKey { kid: "k1".into(), jwk: signer.jwk() }];
            assert!(Organisation { signer, keys }.verify(&claims()).is_ok());
        }
    }

    #[test]
    fn employed_and_states_exclude_each_other_by_frame() {
        let organisation = Organisation::new();
        for (vouch, part) in [
            (json!({"frame": "employer"}), "vouch.employed"),
            (json!({"frame": "employer", "states": ["citizen"]}), "vouch.states"),
            (json!({"frame": "employer", "employed": true, "states": ["citizen"]}), "vouch.states"),
            (json!({"frame": "employer", "employed": true, "states": []}), "vouch.states"),
            (json!({"frame": "employer", "employed": true, "relation": "Not A Term"}), "vouch.relation"),
            (json!({"frame": "us_status"}), "vouch.states"),
            (json!({"frame": "us_status", "states": []}), "vouch.states"),
            (json!({"frame": "us_status", "states": [""]}), "vouch.states"),
            (json!({"frame": "us_status", "states": ["a b"]}), "vouch.states"),
            (json!({"frame": "us_status", "states": vec!["a"; 17]}), "vouch.states"),
            (json!({"frame": "us_status", "states": ["lpr"], "employed": true}), "vouch.employed"),
            (json!({"frame": "us_status", "states": ["lpr"], "relation": "employee"}), "vouch.relation"),
            (json!({"frame": "", "states": ["lpr"]}), "vouch.frame"),
            (json!({"frame": "us status", "states": ["lpr"]}), "vouch.frame"),
            (json!({"states": ["lpr"]}), "vouch"),
            (json!({"frame": "us_status", "states": "lpr"}), "vouch"),
            (json!({"frame": "us_status", "states": ["lpr"], "basis": "hearsay"}), "vouch"),
            (json!({"frame": "us_status", "states": ["lpr"], "only_in": "USA"}), "vouch"),
            (json!({"frame": "employer", "employed": "yes"}), "vouch"),
            (json!([]), "vouch"),
            (json!(null), "vouch"),
        ] {
            assert_eq!(organisation.verify(&vouching(vouch.clone())), Err(IntakeError::Malformed(part)), "{vouch}");
        }
    }

    #[test]
    fn times_are_tested_at_each_edge() {
        let organisation = Organisation::new();
        let times = |iat: i64, exp: i64| with(json!({"iat": iat, "exp": exp}));
        let ok = |claims: &Value, now: i64| organisation.at(claims, now).map(|_| ());
        // Expiry with 30 s leeway.
        let claims = times(NOW, NOW + 600);
        assert_eq!(ok(&claims, NOW + 629), Ok(()));
        assert_eq!(ok(&claims, NOW + 630), Err(IntakeError::Stale));
        assert_eq!(ok(&claims, NOW + 631), Err(IntakeError::Stale));
        // Issued ahead of our clock.
        assert_eq!(ok(&claims, NOW - 29), Ok(()));
        assert_eq!(ok(&claims, NOW - 30), Ok(()));
        assert_eq!(ok(&claims, NOW - 31), Err(IntakeError::NotYetValid));
        // Lifetime.
        assert_eq!(ok(&times(NOW, NOW + DAY - 1), NOW), Ok(()));
        assert_eq!(ok(&times(NOW, NOW + DAY), NOW), Ok(()));
        for (iat, exp) in [(NOW, NOW + DAY + 1), (NOW, NOW), (NOW, NOW - 1), (0, NOW + 600)] {
            assert_eq!(ok(&times(iat, exp), NOW), Err(IntakeError::Malformed("exp")));
        }
        // Not before.
        let nbf = |nbf: i64| with(json!({"nbf": nbf}));
        assert_eq!(ok(&nbf(NOW + 30), NOW), Ok(()));
        assert_eq!(ok(&nbf(NOW + 31), NOW), Err(IntakeError::NotYetValid));
    }

    #[test]
    fn times_that_are_no_whole_seconds_are_refused() {
        let organisation = Organisation::new();
        for (name, part) in [("iat", "iat"), ("exp", "exp"), ("nbf", "nbf")] {
            for value in
                [json!("1800000000"), json!(1.8e9), json!(-1), json!(1e300), json!(i64::MAX), json!([1]), json!(true)]
            {
                let claims = with(json!({name: value}));
                assert_eq!(organisation.verify(&claims), Err(IntakeError::Malformed(part)), "{name} {value}");
            }
        }
        for name in ["iat", "exp", "jti", "sub", "vouch"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            assert_eq!(organisation.verify(&claims), Err(IntakeError::Malformed(name)));
        }
    }

    #[test]
    fn the_audience_is_exactly_this_service() {
        let organisation = Organisation::new();
        assert!(organisation.verify(&with(json!({"aud": [AUDIENCE]}))).is_ok());
        for aud in [
            json!(null),
            json!([]),
            json!(""),
            json!([AUDIENCE, AUDIENCE]),
            json!([AUDIENCE, "https://other.example"]),
            json!([[AUDIENCE]]),
            json!({"aud": AUDIENCE}),
            json!(format!("{AUDIENCE}/")),
            json!(AUDIENCE.to_uppercase()),
            json!("https://vouchsafe.example.attacker.example"),
            json!("https://vouchsafe.exampl"),
        ] {
            let claims = with(json!({"aud": aud}));
            assert_eq!(organisation.verify(&claims), Err(IntakeError::WrongAudience), "{aud}");
        }
    }

    #[test]
    fn another_organisation_cannot_speak_for_this_one() {
        let (ours, other) = (Organisation::new(), Organisation::new());
        let token = other.token(&claims());
        let now = Second::from_epoch(NOW);
        assert_eq!(verify(&token, ISSUER, &ours.keys, AUDIENCE, now), Err(IntakeError::BadSignature));
        // Its own valid token, presented where our issuer was looked up.
        let token = other.token(&with(json!({"iss": "org_other"})));
        assert_eq!(verify(&token, ISSUER, &other.keys, AUDIENCE, now), Err(IntakeError::BadSignature));
        let token = other.token(&with(json!({"iss": [ISSUER]})));
        assert_eq!(verify(&token, ISSUER, &other.keys, AUDIENCE, now), Err(IntakeError::BadSignature));
    }

    #[test]
    fn tokens_of_other_types_are_unsupported() {
        let organisation = Organisation::new();
        let token = organisation.signer.sign(&json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}), &claims());
        let result = verify(&token, ISSUER, &organisation.keys, AUDIENCE, Second::from_epoch(NOW));
        assert_eq!(result, Err(IntakeError::Unsupported("token type")));
    }

    #[test]
    fn subjects_are_our_ids_or_links() {
        let organisation = Organisation::new();
        let subject = |sub: Value| organisation.verify(&with(json!({"sub": sub}))).map(|vouch| vouch.subject);
        let link = VouchSubject::Link { namespace: "okta".into(), id: "https://a:1/x".into() };
        assert_eq!(subject(json!("okta:https://a:1/x")), Ok(link));
        for sub in ["", "usr_1", "sub_", "sub_UPPER", ":x", "okta:", "ok ta:x", "okta:a b", "okta:a\nb", "okta:ü"] {
            assert_eq!(subject(json!(sub)), Err(IntakeError::Malformed("sub")), "{sub}");
        }
        assert_eq!(subject(json!(format!("okta:{}", "x".repeat(257)))), Err(IntakeError::Malformed("sub")));
        assert_eq!(subject(json!(1)), Err(IntakeError::Malformed("sub")));
    }

    #[test]
    fn dates_must_exist_follow_each_other_and_lie_in_the_past_where_they_began() {
        let organisation = Organisation::new();
        let dated = |fact: Value, end: Value| {
            let vouch = json!({"frame": "us_status", "states": ["lpr"], "fact_date": fact, "ends_at": end});
            organisation.verify(&vouching(vouch)).map(|_| ())
        };
        assert_eq!(dated(json!(null), json!(null)), Ok(()));
        assert_eq!(dated(json!("2024-02-29"), json!("2024-02-29")), Ok(()));
        for fact in
            ["2023-02-29", "0000-00-00", "2024-13-01", "yesterday", "2024-01-01T00:00:00", "20240101", "2999-01-01"]
        {
            assert_eq!(dated(json!(fact), json!(null)), Err(IntakeError::Malformed("vouch.fact_date")), "{fact}");
        }
        for end in ["2023-02-29", "never", "2019-12-31", "2020-01-01T00:00:00Z"] {
            assert_eq!(dated(json!("2020-01-01"), json!(end)), Err(IntakeError::Malformed("vouch.ends_at")), "{end}");
        }
    }

    #[test]
    fn the_unverified_issuer_is_an_organisation_id_or_nothing() {
        let organisation = Organisation::new();
        let issuer = |iss: Value| unverified_issuer(&organisation.token(&with(json!({"iss": iss}))));
        assert_eq!(issuer(json!("org_acme")), Ok("org_acme".into()));
        for iss in
            [json!(""), json!("acme"), json!("org_' or 1=1"), json!("https://acme.example"), json!(1), json!(null)]
        {
            assert_eq!(issuer(iss.clone()), Err(IntakeError::Malformed("iss")), "{iss}");
        }
        assert_eq!(unverified_issuer("x"), Err(IntakeError::Malformed("token")));
        assert_eq!(unverified_issuer(&"a".repeat(20_000)), Err(IntakeError::TooLarge));
    }
}
