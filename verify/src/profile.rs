//! Kinds of tokens, as data: what each must name, hold and how long it may last.

use crate::jws::MAX_LENGTH;

/// How far two honest clocks may differ, in seconds.
pub const LEEWAY_SECS: i64 = 30;

/// A kind of token.
#[derive(Debug, Clone, Copy)]
pub struct Profile<'a> {
    /// Which `typ` it names.
    pub types: Types<'a>,
    /// Longest text, in bytes.
    pub max_length: usize,
    /// Whether it may name no key, where its issuer has one key of its algorithm.
    pub unnamed_key: bool,
    /// Whether it names its issuer, which then must be the expected one.
    pub issuer: bool,
    /// How it names its audience.
    pub audience: AudienceForm,
    /// Whether it must have `exp`; one that it has is judged in any case.
    pub expires: bool,
    /// Whether it must have `iat`; one that it has is judged in any case.
    pub issued: bool,
    /// How long it may last.
    pub lifetime: Lifetime,
    /// Further claims that must be texts, not empty, at most 2048 bytes, without control characters.
    pub required: &'static [&'static str],
    /// Whether `sub` must be the issuer.
    pub self_issued: bool,
}

impl Profile<'_> {
    /// The kind that names a `typ`, of those that Vouchsafe issues or accepts.
    #[must_use]
    pub fn of_type(typ: &str) -> Option<&'static Profile<'static>> {
        const PREFIX: &str = "application/";
        let typ = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            _ => typ,
        };
        ALL.iter().find(|profile| match profile.types {
            Types::Named(types) | Types::NamedOrNone(types) => types.iter().any(|own| own.eq_ignore_ascii_case(typ)),
            Types::Any => false,
        })
    }
}

/// Which types a kind may name; in lower case, without `application/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types<'a> {
    /// One of these.
    Named(&'a [&'a str]),
    /// One of these, or none.
    NamedOrNone(&'a [&'a str]),
    /// Whatever it names.
    Any,
}

/// How a kind names its audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudienceForm {
    /// Exactly one, as a text.
    Text,
    /// Exactly one, as a text or a list of one.
    Sole,
    /// The expected one, perhaps among others.
    Among,
    /// It names none, or it does not matter.
    Unchecked,
}

/// How long a kind may last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// How far `nbf` and `iat` may lie ahead.
    pub leeway_secs: i64,
    /// How long after `exp` it still passes.
    pub expiry_leeway_secs: i64,
    /// Longest time from `iat` to `exp`.
    pub longest_secs: Option<i64>,
    /// Furthest that `exp` may lie ahead, leeway aside.
    pub furthest_ahead_secs: Option<i64>,
    /// Longest time since `iat`.
    pub oldest_secs: Option<i64>,
}

/// Two clocks.
const THEIRS: Lifetime = Lifetime {
    leeway_secs: LEEWAY_SECS,
    expiry_leeway_secs: LEEWAY_SECS,
    longest_secs: None,
    furthest_ahead_secs: None,
    oldest_secs: None,
};

/// What we issue ends when it says: a decision's last second is not stretched.
const OURS: Lifetime = Lifetime { expiry_leeway_secs: 0, ..THEIRS };

/// Any JWT of an issuer, for an audience, that ends.
pub const ANY: Profile<'static> = Profile {
    types: Types::Any,
    max_length: MAX_LENGTH,
    unnamed_key: false,
    issuer: true,
    audience: AudienceForm::Among,
    expires: true,
    issued: false,
    lifetime: THEIRS,
    required: &[],
    self_issued: false,
};

/// Access tokens (RFC 9068).
pub const ACCESS: Profile<'static> = Profile {
    types: Types::Named(&["at+jwt"]),
    audience: AudienceForm::Text,
    issued: true,
    lifetime: OURS,
    required: &["sub", "client_id", "jti"],
    ..ANY
};

/// Eligibility tokens.
pub const ELIGIBILITY: Profile<'static> = Profile { types: Types::Named(&["eligibility+jwt"]), ..ACCESS };

/// Eligibility tokens of a test deployment, where evidence may be made up.
pub const TEST_ELIGIBILITY: Profile<'static> = Profile { types: Types::Named(&["test-eligibility+jwt"]), ..ACCESS };

/// An organisation's word about one subject.
pub const VOUCH: Profile<'static> = Profile {
    types: Types::Named(&["vouch+jwt"]),
    audience: AudienceForm::Sole,
    issued: true,
    lifetime: Lifetime { longest_secs: Some(86_400), ..THEIRS },
    required: &["sub", "jti"],
    ..ANY
};

/// A recorded decision with all it rests on. It opens no door: for nobody, without end.
pub const RECEIPT: Profile<'static> = Profile {
    types: Types::Named(&["decision-receipt+jwt"]),
    max_length: 16 * 1024 * 1024,
    issuer: false,
    audience: AudienceForm::Unchecked,
    expires: false,
    required: &["iss"],
    ..ANY
};

/// The same of a test deployment.
pub const TEST_RECEIPT: Profile<'static> = Profile { types: Types::Named(&["test-decision-receipt+jwt"]), ..RECEIPT };

/// Status lists (draft-ietf-oauth-status-list-21); `sub` must be the address it was fetched from.
pub const STATUS_LIST: Profile<'static> = Profile {
    types: Types::Named(&["statuslist+jwt"]),
    max_length: 4 * 1024 * 1024,
    issuer: false,
    audience: AudienceForm::Unchecked,
    issued: true,
    lifetime: OURS,
    required: &["sub"],
    ..ANY
};

/// A client's proof at the token endpoint (RFC 7523 and its successor): the issuer is the client, the audience is us
/// and nobody beside us, and it ends within five minutes. Older clients name no type, or `JWT`.
pub const CLIENT_ASSERTION: Profile<'static> = Profile {
    types: Types::NamedOrNone(&["client-authentication+jwt", "jwt"]),
    unnamed_key: true,
    audience: AudienceForm::Sole,
    lifetime: Lifetime { furthest_ahead_secs: Some(300), ..THEIRS },
    required: &["sub", "jti"],
    self_issued: true,
    ..ANY
};

/// An identity provider's ID token (OpenID Connect Core 1.0). With several audiences `azp` is the caller's to compare.
pub const ID_TOKEN: Profile<'static> = Profile {
    types: Types::NamedOrNone(&["jwt"]),
    unnamed_key: true,
    audience: AudienceForm::Among,
    issued: true,
    required: &["sub"],
    ..ANY
};

/// Claims that we provide to identity providers (OpenID Connect for Identity Assurance 1.0, aggregated and distributed
/// claims): for nobody in particular and without end, so that they are never taken for an ID token.
pub const PROVIDED_CLAIMS: Profile<'static> = Profile {
    types: Types::Named(&["provided-claims+jwt"]),
    audience: AudienceForm::Unchecked,
    expires: false,
    issued: true,
    required: &["sub"],
    ..ANY
};

/// A token of Microsoft Entra ID for one of its own services, as it calls a custom claims provider; who it was given to
/// (`azp`, `appid`) is the caller's to compare.
pub const ENTRA_ACCESS: Profile<'static> =
    Profile { types: Types::NamedOrNone(&["jwt"]), audience: AudienceForm::Sole, issued: true, ..ANY };

/// DPoP proofs (RFC 9449), for [`crate::token::verify_embedded`]: fresh within a minute; method, address, nonce and
/// replay are the caller's to compare.
pub const DPOP: Profile<'static> = Profile {
    types: Types::Named(&["dpop+jwt"]),
    issuer: false,
    audience: AudienceForm::Unchecked,
    expires: false,
    issued: true,
    lifetime: Lifetime { oldest_secs: Some(60), ..THEIRS },
    required: &["jti", "htm", "htu"],
    ..ANY
};

/// Every kind with a type of its own.
pub static ALL: [Profile<'static>; 11] = [
    ACCESS,
    ELIGIBILITY,
    TEST_ELIGIBILITY,
    VOUCH,
    RECEIPT,
    TEST_RECEIPT,
    STATUS_LIST,
    CLIENT_ASSERTION,
    ID_TOKEN,
    PROVIDED_CLAIMS,
    DPOP,
];
