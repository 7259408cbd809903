//! What identity platforms send to a hook, in our words. Extra members are none of our business; a body that is not the
//! documented event is not read at all.

use crate::strict_json;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Longest id of a user that is looked up; longer ones are nobody's.
const MAX_ID_LENGTH: usize = 512;

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_ID_LENGTH)
}

fn address(value: &Value, pointer: &str) -> Option<IpAddr> {
    text(value, pointer)?.parse().ok()
}

/// A call of Okta's token inline hook.
#[derive(Debug, PartialEq, Eq)]
pub struct OktaCall {
    /// The authorization server that is about to issue.
    pub issuer: String,
    /// The user's immutable id; none where a client gets a token for itself, or where the session is another user's.
    pub user: Option<String>,
    /// The name the user signs in with.
    pub login: Option<String>,
    /// Where the request for the token came from.
    pub address: Option<IpAddr>,
    /// Names of the claims of the ID token that is about to be issued, if one is.
    pub identity: Option<BTreeSet<String>>,
    /// The same of the access token.
    pub access: Option<BTreeSet<String>>,
}

impl OktaCall {
    /// Reads a body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let value = strict_json::parse(body).ok()?;
        if text(&value, "/eventType")? != "com.okta.oauth2.tokens.transform" {
            return None;
        }
        let user = text(&value, "/data/context/user/id");
        let session = value.pointer("/data/context/session/userId");
        let user = user.filter(|user| session.is_none_or(|session| session.is_null() || session == user));
        let token = |name: &str| {
            let token = value.pointer(&format!("/data/{name}"))?.as_object()?;
            let claims = token.get("claims").and_then(Value::as_object);
            Some(claims.into_iter().flat_map(serde_json::Map::keys).cloned().collect())
        };
        Some(Self {
            issuer: text(&value, "/data/context/protocol/issuer/uri")?.to_owned(),
            user: user.map(str::to_owned),
            login: text(&value, "/data/context/user/profile/login").map(str::to_owned),
            address: address(&value, "/data/context/request/ipAddress"),
            identity: token("identity"),
            access: token("access"),
        })
    }
}

/// A call of Microsoft Entra's custom claims provider.
#[derive(Debug, PartialEq, Eq)]
pub struct EntraCall {
    /// The tenant.
    pub tenant: String,
    /// The user's object id, lower case; none where there is none.
    pub user: Option<String>,
    /// The user principal name: unique in the tenant, in a domain that the tenant proved. (The address in `mail` is neither.)
    pub login: Option<String>,
    /// The user's address, as Entra saw it.
    pub address: Option<IpAddr>,
}

impl EntraCall {
    /// Reads a body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let value = strict_json::parse(body).ok()?;
        if text(&value, "/type")? != "microsoft.graph.authenticationEvent.tokenIssuanceStart"
            || text(&value, "/data/@odata.type")? != "microsoft.graph.onTokenIssuanceStartCalloutData"
        {
            return None;
        }
        let context = value.pointer("/data/authenticationContext")?;
        Some(Self {
            tenant: text(&value, "/data/tenantId")?.to_ascii_lowercase(),
            user: text(context, "/user/id").map(str::to_ascii_lowercase),
            login: text(context, "/user/userPrincipalName").map(str::to_owned),
            address: address(context, "/client/ip"),
        })
    }
}
