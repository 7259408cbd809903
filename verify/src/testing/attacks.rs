//! A table of tokens that somebody might try, each with what must become of it.
//!
//! It is made anew around any key, kind and instant, so that the same table goes through the library, the command
//! line and a running service.

mod claims;
mod form;
mod header;
mod signature;

use super::{Signer, b64};
use serde_json::{Map, Value, json};

/// The kind of token that is attacked, in the attacker's words.
#[derive(Debug)]
pub struct Target<'a> {
    /// Holds the genuine key.
    pub signer: &'a Signer,
    /// The genuine key's id; at least one lower-case letter is in it.
    pub kid: &'a str,
    /// The type that is asked for.
    pub typ: &'a str,
    /// What a good token of it says, `iss`, `aud`, `iat` and `exp` among it.
    pub claims: Map<String, Value>,
    /// Claims that must be texts beside them.
    pub required: &'a [&'a str],
    /// Whether `aud` may be a list of one.
    pub lists: bool,
    /// Whether others may stand in that list.
    pub others: bool,
    /// Seconds that a token passes after its `exp`.
    pub expiry_leeway: i64,
    /// Now, in epoch seconds; `exp` of the good token is later by at least a minute.
    pub at: i64,
    /// Longest token read.
    pub max_length: usize,
}

/// One token and what must become of it.
#[derive(Debug)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// The token.
    pub token: String,
    /// What must become of it.
    pub wanted: Wanted,
}

/// What must become of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is good.
    Accepted,
    /// It is refused with this code.
    Refused(&'static str),
    /// It is refused, with whatever code.
    RefusedSomehow,
}

impl Case {
    /// Whether what became of it is what must: `None` for accepted, or the code.
    #[must_use]
    pub fn holds(&self, found: Option<&str>) -> bool {
        match self.wanted {
            Wanted::Accepted => found.is_none(),
            Wanted::Refused(code) => found == Some(code),
            Wanted::RefusedSomehow => found.is_some(),
        }
    }
}

/// All of the table, good and bad.
#[must_use]
pub fn table(target: &Target<'_>) -> Vec<Case> {
    let mut table = Table { target, cases: Vec::new() };
    table.good();
    table.forms();
    table.headers();
    table.claims();
    table.signatures();
    table.changed_characters();
    table.cases
}

pub(super) struct Table<'a> {
    target: &'a Target<'a>,
    cases: Vec<Case>,
}

impl Table<'_> {
    fn add(&mut self, name: impl Into<String>, token: impl Into<String>, wanted: Wanted) {
        self.cases.push(Case { name: name.into(), token: token.into(), wanted });
    }

    fn bad(&mut self, name: impl Into<String>, token: impl Into<String>, code: &'static str) {
        self.add(name, token, Wanted::Refused(code));
    }

    fn accepted(&mut self, name: impl Into<String>, token: impl Into<String>) {
        self.add(name, token, Wanted::Accepted);
    }

    fn header(&self) -> Map<String, Value> {
        object(json!({"alg": self.target.signer.alg(), "kid": self.target.kid, "typ": self.target.typ}))
    }

    /// The good header with members changed; null takes one away.
    fn header_with(&self, change: Value) -> Map<String, Value> {
        changed(self.header(), change)
    }

    /// The good claims with members changed; null takes one away.
    fn claims_with(&self, change: Value) -> Map<String, Value> {
        changed(self.target.claims.clone(), change)
    }

    /// Signed with the genuine key.
    fn signed(&self, header: Map<String, Value>, claims: Map<String, Value>) -> String {
        self.target.signer.sign(&Value::Object(header), &Value::Object(claims))
    }

    fn good_token(&self) -> String {
        self.signed(self.header(), self.target.claims.clone())
    }

    fn good(&mut self) {
        let at = self.target.at;
        self.accepted("a good token", self.good_token());
        let spaced = format!(" {}\n", serde_json::to_string_pretty(&self.target.claims).unwrap());
        let header = Value::Object(self.header()).to_string();
        self.accepted("blanks within its json", self.target.signer.sign_parts(&header, &spaced));
        self.accepted(
            "claims we do not know",
            self.signed(self.header(), self.claims_with(json!({"ü": ["x", {"y": 1.5}]}))),
        );
        self.accepted(
            "header members we do not know",
            self.signed(self.header_with(json!({"x": 1})), self.target.claims.clone()),
        );
        for typ in [format!("application/{}", self.target.typ), self.target.typ.to_uppercase()] {
            let token = self.signed(self.header_with(json!({"typ": typ})), self.target.claims.clone());
            self.accepted(format!("type `{typ}`"), token);
        }
        // Where somebody else's keys may be found is not even looked at.
        for name in ["jku", "x5u"] {
            let token =
                self.signed(self.header_with(json!({name: "http://127.0.0.1:1/k"})), self.target.claims.clone());
            self.accepted(format!("a `{name}` beside a good signature"), token);
        }
        self.accepted("valid from now on", self.signed(self.header(), self.claims_with(json!({"nbf": at}))));
        if self.target.signer.alg() == "EdDSA" {
            let token = self.signed(self.header_with(json!({"alg": "Ed25519"})), self.target.claims.clone());
            self.accepted("the other name of EdDSA on this curve", token);
        }
    }

    /// Every character of a good token once changed: nothing in it is without meaning.
    fn changed_characters(&mut self) {
        let good = self.good_token();
        for (at, was) in good.bytes().enumerate() {
            let mut token = good.clone().into_bytes();
            // The lowest of the six bits, so that stray bits are tried where the last character has some.
            token[at] = match was {
                b'.' => b'A',
                _ => flipped(was),
            };
            self.add(format!("character {at} changed"), String::from_utf8(token).unwrap(), Wanted::RefusedSomehow);
        }
    }
}

/// The character of base64url whose value differs in the lowest bit.
fn flipped(character: u8) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    ALPHABET[ALPHABET.iter().position(|own| *own == character).unwrap() ^ 1]
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("no object: {other}"),
    }
}

fn changed(mut members: Map<String, Value>, change: Value) -> Map<String, Value> {
    for (name, value) in object(change) {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    members
}

/// A token's three parts.
fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token.split('.');
    (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
}
