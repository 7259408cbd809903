//! Status lists (draft-ietf-oauth-status-list-21): whether a token that verifies was withdrawn meanwhile.

use crate::jws::VerificationKey;
use crate::profile::STATUS_LIST;
use crate::token::{self, Audience, Expected, Refused};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flate2::read::ZlibDecoder;
use serde_json::{Map, Value};
use std::io::Read as _;

/// Largest list read, unpacked: sixteen million entries of two bits.
pub const MAX_LIST_LENGTH: u64 = 4 * 1024 * 1024;

/// Longest name of orders, in bytes.
const MAX_ORDERS_LENGTH: usize = 80;

/// Longest address of a list, in bytes.
const MAX_URI_LENGTH: usize = 2048;

/// Where a token's status stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Position in the list.
    pub idx: u64,
    /// The list's address and name.
    pub uri: String,
}

impl Reference {
    /// Reads `status.status_list` of a token; `None` when it has no `status`.
    ///
    /// # Errors
    /// [`StatusError::Reference`] when it has one that cannot be read: it may be withdrawn.
    pub fn of(claims: &Map<String, Value>) -> Result<Option<Self>, StatusError> {
        let Some(status) = claims.get("status") else { return Ok(None) };
        let list = status.get("status_list").and_then(Value::as_object).ok_or(StatusError::Reference)?;
        let idx = list.get("idx").and_then(Value::as_u64).ok_or(StatusError::Reference)?;
        let uri = list.get("uri").and_then(Value::as_str).filter(|uri| (1..=MAX_URI_LENGTH).contains(&uri.len()));
        Ok(Some(Self { idx, uri: uri.ok_or(StatusError::Reference)?.to_owned() }))
    }
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing: it stands.
    Valid,
    /// Withdrawn for good.
    Revoked,
    /// Not to be used for now.
    Suspended,
}

/// Why a status cannot be known. Such a token is not to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// The token's reference cannot be read.
    #[error("the token's `status` cannot be read")]
    Reference,
    /// The list does not verify.
    #[error("the status list does not verify: {0}")]
    Token(#[from] Refused),
    /// The list is another one's, by `sub`.
    #[error("the status list is another one")]
    Other,
    /// Its content cannot be read.
    #[error("the status list cannot be read: {0}")]
    Content(&'static str),
    /// The position is not in the list.
    #[error("the token's position is not in the status list")]
    Index,
    /// The value means nothing to us.
    #[error("the status list has a value of no known meaning")]
    Value,
}

/// A list that was verified.
#[derive(Debug, Clone)]
pub struct StatusList {
    /// When it was signed, epoch seconds.
    pub issued_at: i64,
    /// First second it is no longer valid.
    pub expires_at: i64,
    /// After how many seconds another one is to be fetched, if it says so.
    pub ttl_secs: Option<i64>,
    /// Which orders of its issuer it knows, if it says so: a name for nothing but to be told to that issuer.
    pub orders: Option<String>,
    bits: u8,
    entries: Vec<u8>,
}

impl StatusList {
    /// Verifies a list that was fetched from `uri`.
    ///
    /// # Errors
    /// [`StatusError`], all but [`StatusError::Reference`], [`StatusError::Index`] and [`StatusError::Value`].
    pub fn verify(token: &str, keys: &[VerificationKey], uri: &str, at: i64) -> Result<Self, StatusError> {
        let expected = Expected { issuer: None, audience: Audience::AnyOne, at };
        let token = token::verify(token, keys, &STATUS_LIST, &expected)?;
        // SECURITY: byte for byte, or one list could stand in for another.
        if token.text("sub") != Some(uri) {
            return Err(StatusError::Other);
        }
        let (Some(issued_at), Some(expires_at)) = (token.times.iat, token.times.exp) else {
            return Err(StatusError::Content("instants"));
        };
        let ttl_secs = match token.claims.get("ttl") {
            None => None,
            Some(ttl) => Some(ttl.as_i64().filter(|ttl| *ttl > 0).ok_or(StatusError::Content("ttl"))?),
        };
        let list =
            token.claims.get("status_list").and_then(Value::as_object).ok_or(StatusError::Content("status_list"))?;
        let bits = match list.get("bits").and_then(Value::as_u64) {
            Some(1) => 1,
            Some(2) => 2,
            Some(4) => 4,
            Some(8) => 8,
            _ => return Err(StatusError::Content("bits")),
        };
        let packed = list.get("lst").and_then(Value::as_str).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let entries = unpack(&packed.ok_or(StatusError::Content("lst"))?)?;
        let orders = token.text("orders").filter(|orders| (1..=MAX_ORDERS_LENGTH).contains(&orders.len()));
        Ok(Self { issued_at, expires_at, ttl_secs, orders: orders.map(str::to_owned), bits, entries })
    }

    /// The status at a position.
    ///
    /// # Errors
    /// [`StatusError::Index`] and [`StatusError::Value`].
    pub fn status(&self, idx: u64) -> Result<Status, StatusError> {
        let per_byte = u64::from(8 / self.bits);
        let byte =
            usize::try_from(idx / per_byte).ok().and_then(|at| self.entries.get(at)).ok_or(StatusError::Index)?;
        // From the lowest bits of each byte up.
        let shift = u32::try_from(idx % per_byte).unwrap_or_default() * u32::from(self.bits);
        let mask = u8::MAX >> (8 - self.bits);
        match (byte >> shift) & mask {
            0 => Ok(Status::Valid),
            1 => Ok(Status::Revoked),
            2 => Ok(Status::Suspended),
            _ => Err(StatusError::Value),
        }
    }
}

/// SECURITY: a few bytes may unpack to gigabytes.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, StatusError> {
    let mut entries = Vec::new();
    let mut reader = ZlibDecoder::new(packed).take(MAX_LIST_LENGTH + 1);
    reader.read_to_end(&mut entries).map_err(|_| StatusError::Content("zlib"))?;
    if u64::try_from(entries.len()).is_ok_and(|length| length <= MAX_LIST_LENGTH) {
        Ok(entries)
    } else {
        Err(StatusError::Content("too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signer, b64};
    use serde_json::json;
    use std::io::Write as _;

    const NOW: i64 = 1_800_000_000;
    const URI: &str = "https://eligibility.example/status-lists/1";

    fn packed(bytes: &[u8]) -> String {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        b64(encoder.finish().unwrap())
    }

    fn judged(change: Value, list: Value) -> Result<StatusList, StatusError> {
        let signer = Signer::es256();
        let mut claims = json!({"sub": URI, "iat": NOW, "exp": NOW + 900, "ttl": 30, "status_list": list});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = signer.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "statuslist+jwt"}), &claims);
        StatusList::verify(&token, &[signer.key("k1")], URI, NOW)
    }

    /// The examples of the draft, section 4.1: one bit and two bits.
    #[test]
    fn the_drafts_examples_read_as_it_says() {
        let one = judged(json!({}), json!({"bits": 1, "lst": "eNrbuRgAAhcBXQ"})).unwrap();
        let found: Vec<Status> = (0..16).map(|idx| one.status(idx).unwrap()).collect();
        // b9a3, from the lowest bit of each byte up.
        let wanted = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
        assert_eq!(found, wanted.map(|bit| if bit == 1 { Status::Revoked } else { Status::Valid }));
        assert_eq!(one.status(16), Err(StatusError::Index));
        assert_eq!(one.status(u64::MAX), Err(StatusError::Index));
        let two = judged(json!({}), json!({"bits": 2, "lst": "eNo76fITAAPfAgc"})).unwrap();
        // c9, 44, f9: 1 2 0 3, 0 1 0 1, 1 2 3 3.
        let value = |status| match status {
            Ok(Status::Valid) => 0,
            Ok(Status::Revoked) => 1,
            Ok(Status::Suspended) => 2,
            Err(StatusError::Value) => 3,
            other => panic!("{other:?}"),
        };
        let found: Vec<u8> = (0..12).map(|idx| value(two.status(idx))).collect();
        assert_eq!(found, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
        assert_eq!((two.issued_at, two.expires_at, two.ttl_secs), (NOW, NOW + 900, Some(30)));
    }

    #[test]
    fn wider_entries_read() {
        let four = judged(json!({}), json!({"bits": 4, "lst": packed(&[0x21, 0x0f])})).unwrap();
        assert_eq!((four.status(0), four.status(1)), (Ok(Status::Revoked), Ok(Status::Suspended)));
        assert_eq!((four.status(2), four.status(3)), (Err(StatusError::Value), Ok(Status::Valid)));
        let eight = judged(json!({}), json!({"bits": 8, "lst": packed(&[1, 2, 0, 255])})).unwrap();
        assert_eq!((eight.status(1), eight.status(3)), (Ok(Status::Suspended), Err(StatusError::Value)));
        assert_eq!(eight.status(4), Err(StatusError::Index));
    }

    #[test]
    fn another_list_an_old_one_and_an_unreadable_one_are_refused() {
        let good = json!({"bits": 2, "lst": packed(&[0; 64])});
        assert!(judged(json!({}), good.clone()).is_ok());
        for (change, wanted) in [
            (json!({"sub": format!("{URI}/")}), StatusError::Other),
            (json!({"sub": "https://eligibility.example/status-lists/2"}), StatusError::Other),
            (json!({"exp": NOW, "iat": NOW - 900}), StatusError::Token(Refused::Expired)),
            (json!({"iat": NOW + 31}), StatusError::Token(Refused::IssuedLater)),
            (json!({"exp": null}), StatusError::Token(Refused::Claim("exp"))),
            (json!({"ttl": 0}), StatusError::Content("ttl")),
            (json!({"ttl": -5}), StatusError::Content("ttl")),
            (json!({"ttl": "30"}), StatusError::Content("ttl")),
        ] {
            assert_eq!(judged(change.clone(), good.clone()).unwrap_err(), wanted, "{change}");
        }
        for (list, part) in [
            (json!({"bits": 3, "lst": packed(&[0])}), "bits"),
            (json!({"bits": "2", "lst": packed(&[0])}), "bits"),
            (json!({"lst": packed(&[0])}), "bits"),
            (json!({"bits": 2}), "lst"),
            (json!({"bits": 2, "lst": "a=="}), "lst"),
            (json!({"bits": 2, "lst": b64([0, 1, 2, 3])}), "zlib"),
            // Cut short: the checksum at its end is missing.
            (json!({"bits": 2, "lst": b64([0x78, 0xda, 0x63])}), "zlib"),
            (json!([]), "status_list"),
        ] {
            assert_eq!(judged(json!({}), list.clone()).unwrap_err(), StatusError::Content(part), "{list}");
        }
    }

    #[test]
    fn a_list_that_unpacks_beyond_its_bound_is_refused_at_the_bound() {
        let most = usize::try_from(MAX_LIST_LENGTH).unwrap();
        let fits = judged(json!({}), json!({"bits": 2, "lst": packed(&vec![0; most])})).unwrap();
        assert_eq!(fits.status(4 * MAX_LIST_LENGTH - 1), Ok(Status::Valid));
        let over = judged(json!({}), json!({"bits": 2, "lst": packed(&vec![0; most + 1])}));
        assert_eq!(over.unwrap_err(), StatusError::Content("too large"));
        let bomb = packed(&vec![0; 24 * 1024 * 1024]);
        assert!(bomb.len() < 40_000);
        assert_eq!(judged(json!({}), json!({"bits": 2, "lst": bomb})).unwrap_err(), StatusError::Content("too large"));
    }

    #[test]
    fn references_read_or_are_refused_never_ignored() {
        let of = |status: Value| Reference::of(json!({"status": status}).as_object().unwrap());
        assert_eq!(Reference::of(&Map::new()), Ok(None));
        let good = json!({"status_list": {"idx": 7, "uri": URI}});
        assert_eq!(of(good), Ok(Some(Reference { idx: 7, uri: URI.into() })));
        for status in [
            json!(null),
            json!({}),
            json!({"status_list": 1}),
            json!({"status_list": {"idx": 7}}),
            json!({"status_list": {"idx": -1, "uri": URI}}),
            json!({"status_list": {"idx": 1.5, "uri": URI}}),
            json!({"status_list": {"idx": "7", "uri": URI}}),
            json!({"status_list": {"idx": 7, "uri": ""}}),
            json!({"status_list": {"idx": 7, "uri": 1}}),
        ] {
            assert_eq!(of(status.clone()), Err(StatusError::Reference), "{status}");
        }
    }
}
