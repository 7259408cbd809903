//! Token Status Lists: two bits for each token, compressed and signed.
//!
//! The encoding is that of draft-ietf-oauth-status-list-21, section 4: the least significant bits of a byte come first,
//! and the bytes are a zlib stream (RFC 1950).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;
use std::io::Write as _;

/// `typ` of a signed list.
pub const TYPE: &str = "statuslist+jwt";
/// Its media type.
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";
/// How long anybody may go on without fetching it anew, in seconds.
pub const TTL_SECS: i64 = 30;
/// How long it is good, in seconds.
pub const LIFE_SECS: i64 = 900;
/// Compression of a list. Of one million tokens with one in a hundred revoked, level 4 makes 19 kB in less than a
/// third of the time in which level 6 makes 16 kB (`benches/status_list.rs`).
const LEVEL: u32 = 4;
/// Tokens of one list: always as many, so that its length tells nothing.
pub const ENTRIES: usize = 1 << 20;

/// What a token is worth beside its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing is known against it.
    Valid,
    /// Revoked, for ever.
    Invalid,
    /// Not to be accepted now.
    Suspended,
}

impl Status {
    fn bits(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Suspended => 2,
        }
    }
}

/// The statuses of a list, two bits each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits(Vec<u8>);

impl Bits {
    /// All valid.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self(vec![0; entries.div_ceil(4)])
    }

    /// The status of an index; `None` past the end, or for a value that is none of ours.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Status> {
        let byte = self.0.get(index / 4)?;
        match (byte >> (index % 4 * 2)) & 3 {
            0 => Some(Status::Valid),
            1 => Some(Status::Invalid),
            2 => Some(Status::Suspended),
            _ => None,
        }
    }

    /// Sets the status of an index; past the end nothing happens.
    pub fn set(&mut self, index: usize, status: Status) {
        if let Some(byte) = self.0.get_mut(index / 4) {
            let shift = index % 4 * 2;
            *byte = *byte & !(3 << shift) | (status.bits() << shift);
        }
    }

    /// Makes everything valid again that is suspended; what is revoked stays so.
    pub fn lift_suspensions(&mut self) {
        for byte in &mut self.0 {
            // The upper bit of each pair whose lower bit is not set.
            *byte &= !(*byte & 0b1010_1010 & !(*byte << 1));
        }
    }

    /// As it stands in a list: the bytes as a zlib stream, base64url.
    ///
    /// # Errors
    /// When memory cannot be written, which it can.
    pub fn encoded(&self) -> std::io::Result<String> {
        let mut stream = ZlibEncoder::new(Vec::with_capacity(32 * 1024), Compression::new(LEVEL));
        stream.write_all(&self.0)?;
        Ok(B64.encode(stream.finish()?))
    }
}

/// The claims of a list: its own address, when it was made, which orders it knows, and the statuses.
#[must_use]
pub fn claims(uri: &str, iat: i64, orders: Option<&str>, encoded: &str) -> String {
    let mut claims = json!({
        "sub": uri, "iat": iat, "exp": iat + LIFE_SECS, "ttl": TTL_SECS,
        "status_list": { "bits": 2, "lst": encoded },
    });
    if let (Some(orders), Some(members)) = (orders, claims.as_object_mut()) {
        members.insert("orders".to_owned(), json!(orders));
    }
    claims.to_string()
}

/// A text as gzip (RFC 1952), for HTTP.
///
/// # Errors
/// When memory cannot be written, which it can.
pub fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = GzEncoder::new(Vec::with_capacity(text.len()), Compression::new(3));
    stream.write_all(text.as_bytes())?;
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn decoded(encoded: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&B64.decode(encoded).unwrap()[..]).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Section 4.2 of the draft: twelve tokens of two bits.
    const EXAMPLE: [u8; 12] = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];

    #[test]
    fn the_example_of_the_draft_has_its_bytes_and_its_stream() {
        let mut bits = Bits::new(12);
        for (index, value) in EXAMPLE.into_iter().enumerate() {
            // 3 is none of ours, so it is put there by hand.
            bits.0[index / 4] |= value << (index % 4 * 2);
        }
        assert_eq!(bits.0, [0xc9, 0x44, 0xf9]);
        assert_eq!(decoded(&bits.encoded().unwrap()), [0xc9, 0x44, 0xf9]);
        assert_eq!(decoded("eNo76fITAAPfAgc"), [0xc9, 0x44, 0xf9], "as printed there");
        let read: Vec<u8> = (0..12).map(|index| bits.get(index).map_or(3, Status::bits)).collect();
        assert_eq!(read, EXAMPLE);
        assert_eq!(bits.get(12), None);
    }

    #[test]
    fn the_one_bit_example_is_read_by_the_same_decoder() {
        assert_eq!(decoded("eNrbuRgAAhcBXQ"), [0xb9, 0xa3]);
    }

    #[test]
    fn the_least_significant_bits_come_first() {
        let mut bits = Bits::new(8);
        for (index, status, bytes) in [
            (0, Status::Invalid, [0b0000_0001, 0]),
            (3, Status::Suspended, [0b1000_0001, 0]),
            (4, Status::Invalid, [0b1000_0001, 1]),
            (0, Status::Suspended, [0b1000_0010, 1]),
            (3, Status::Valid, [0b0000_0010, 1]),
        ] {
            bits.set(index, status);
            assert_eq!((bits.0.as_slice(), bits.get(index)), (&bytes[..], Some(status)));
        }
        bits.set(8, Status::Invalid);
        assert_eq!(bits.0, [0b0000_0010, 1], "past the end");
    }

    #[test]
    fn suspensions_are_lifted_and_revocations_stay() {
        let statuses = [Status::Valid, Status::Invalid, Status::Suspended];
        for a in statuses {
            for b in statuses {
                for c in statuses {
                    let mut bits = Bits::new(4);
                    for (index, status) in [(0, a), (1, b), (2, c), (3, a)] {
                        bits.set(index, status);
                    }
                    bits.lift_suspensions();
                    let lifted = |status| if status == Status::Suspended { Status::Valid } else { status };
                    let found: Vec<_> = (0..4).filter_map(|index| bits.get(index)).collect();
                    assert_eq!(found, [a, b, c, a].map(lifted));
                }
            }
        }
    }

    #[test]
    fn a_list_says_what_it_is_and_until_when() {
        let claims: serde_json::Value =
            serde_json::from_str(&claims("https://a/status-lists/7", 1000, None, "x")).unwrap();
        let expected = json!({ "sub": "https://a/status-lists/7", "iat": 1000, "exp": 1900, "ttl": 30,
            "status_list": { "bits": 2, "lst": "x" } });
        assert_eq!(claims, expected);
    }
}
