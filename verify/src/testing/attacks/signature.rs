//! Signatures that a careless verifier takes for good ones.

use super::{Table, b64, parts};
use crate::jws::decode;
use serde_json::json;

/// The order of P-256's group, big-endian (SEC 2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The prime of P-256's field, big-endian (SEC 2).
const P256_PRIME: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff,
];

/// The order of Ed25519's group, little-endian (RFC 8032).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

impl Table<'_> {
    pub(super) fn signatures(&mut self) {
        let good = self.good_token();
        let (h, c, s) = parts(&good);
        let raw = decode(s).unwrap();
        let with = |signature: &[u8]| format!("{h}.{c}.{}", b64(signature));
        let length = raw.len();
        let (mut first, mut last) = (raw.clone(), raw.clone());
        first[0] ^= 0x80;
        last[length - 1] ^= 1;
        for (name, signature) in [
            ("zeroes", vec![0; length]),
            ("ones", vec![0xff; length]),
            ("one zero", vec![0]),
            ("a byte short", raw[..length - 1].to_vec()),
            ("its first byte gone", raw[1..].to_vec()),
            ("half of it", raw[..length / 2].to_vec()),
            ("a byte more", [&raw[..], &[0]].concat()),
            ("a byte more in front", [&[0][..], &raw].concat()),
            ("twice", [&raw[..], &raw].concat()),
            ("the other way round", raw.iter().rev().copied().collect()),
            ("its highest bit", first),
            ("its lowest bit", last),
            ("its text, signed nothing", s.as_bytes().to_vec()),
        ] {
            self.bad(format!("signature: {name}"), with(&signature), "bad_signature");
        }
        // Every bit of it, not only every character.
        for bit in 0..length * 8 {
            let mut signature = raw.clone();
            signature[bit / 8] ^= 1 << (bit % 8);
            self.bad(format!("signature: bit {bit}"), with(&signature), "bad_signature");
        }
        let other = self.signed(self.header(), self.claims_with(json!({"x": 1})));
        self.bad("signature of another token", format!("{h}.{c}.{}", parts(&other).2), "bad_signature");
        match self.target.signer.alg() {
            "ES256" => self.ecdsa(&raw, &with),
            "EdDSA" => self.ed25519(&raw, &with),
            _ => {}
        }
    }

    fn ecdsa(&mut self, raw: &[u8], with: &dyn Fn(&[u8]) -> String) {
        let (r, s) = raw.split_at(32);
        let number = |small: u8| {
            let mut number = [0; 32];
            number[31] = small;
            number
        };
        let one_less = subtract(&P256_ORDER, &number(1));
        let values: [(&str, [u8; 32]); 6] = [
            ("0", number(0)),
            ("1", number(1)),
            ("n", P256_ORDER),
            ("n-1", one_less),
            ("p", P256_PRIME),
            ("2^256-1", [0xff; 32]),
        ];
        for (left, a) in &values {
            for (right, b) in &values {
                self.bad(format!("signature: r = {left}, s = {right}"), with(&[&a[..], b].concat()), "bad_signature");
            }
            self.bad(format!("signature: r = {left}"), with(&[&a[..], s].concat()), "bad_signature");
            self.bad(format!("signature: s = {left}"), with(&[r, &a[..]].concat()), "bad_signature");
        }
        self.bad("signature: s and r", with(&[s, r].concat()), "bad_signature");
        self.bad("signature: DER", with(&der(r, s)), "bad_signature");
        self.bad("signature: r twice", with(&[r, r].concat()), "bad_signature");
        // The standard allows both (FIPS 186-5), so a token has two texts: nothing here counts tokens by their text.
        self.accepted("signature: the other s", with(&[r, &subtract(&P256_ORDER, s)[..]].concat()));
    }

    fn ed25519(&mut self, raw: &[u8], with: &dyn Fn(&[u8]) -> String) {
        let (point, s) = raw.split_at(32);
        self.bad("signature: S + L", with(&[point, &add(s, &ED25519_ORDER)[..]].concat()), "bad_signature");
        self.bad("signature: S = L", with(&[point, &ED25519_ORDER[..]].concat()), "bad_signature");
        self.bad("signature: S = 0", with(&[point, &[0; 32][..]].concat()), "bad_signature");
        let mut neutral = [0; 32];
        neutral[0] = 1;
        self.bad("signature: R neutral", with(&[&neutral[..], s].concat()), "bad_signature");
        self.bad("signature: R neutral, S = 0", with(&[&neutral[..], &[0; 32]].concat()), "bad_signature");
        self.bad("signature: S and R", with(&[s, point].concat()), "bad_signature");
    }
}

/// `left - right`, big-endian; `left` is the larger.
fn subtract(left: &[u8; 32], right: &[u8]) -> [u8; 32] {
    let (mut found, mut borrow) = ([0; 32], false);
    for at in (0..32).rev() {
        let (difference, under) = left[at].overflowing_sub(right[at]);
        let (difference, under_too) = difference.overflowing_sub(u8::from(borrow));
        (found[at], borrow) = (difference, under || under_too);
    }
    found
}

/// `left + right`, little-endian; it stays below 2^256.
fn add(left: &[u8], right: &[u8; 32]) -> [u8; 32] {
    let (mut found, mut carry) = ([0; 32], false);
    for at in 0..32 {
        let (sum, over) = left[at].overflowing_add(right[at]);
        let (sum, over_too) = sum.overflowing_add(u8::from(carry));
        (found[at], carry) = (sum, over || over_too);
    }
    found
}

/// The same signature as ASN.1 has it.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let mut bytes: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        [&[2, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()][..], &body].concat()
}
