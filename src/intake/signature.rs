//! Keyed signatures over a body's raw bytes.

use super::IntakeError;
use aws_lc_rs::{constant_time, hmac};
use secrecy::{ExposeSecret, SecretString};

/// Length of an HMAC-SHA256 in bytes.
const TAG_LEN: usize = 32;

/// Whether `header` is the hexadecimal HMAC-SHA256 of `body` under one of `secrets`.
///
/// Several secrets are accepted so that one can be replaced without losing deliveries; all are tried, in constant
/// time, whichever matches. The body is taken as received: any re-serialisation would change it. An empty secret
/// never matches.
///
/// # Errors
/// [`IntakeError::MissingSignature`] when there is no header or it is empty, [`IntakeError::BadSignature`] when it is
/// not exactly 64 hexadecimal digits or matches none of the secrets.
pub fn verify_hmac_sha256(secrets: &[SecretString], header: Option<&str>, body: &[u8]) -> Result<(), IntakeError> {
    let header = header.filter(|header| !header.is_empty()).ok_or(IntakeError::MissingSignature)?;
    let tag = decode_hex(header).ok_or(IntakeError::BadSignature)?;
    if signed_by_any(secrets, &[body], &[tag]) { Ok(()) } else { Err(IntakeError::BadSignature) }
}

/// Whether one of `tags` is the HMAC-SHA256 of the parts, one after the other, under one of `secrets`. All pairs are
/// compared, in constant time, whichever matches; an empty secret never does.
pub(super) fn signed_by_any(secrets: &[SecretString], parts: &[&[u8]], tags: &[[u8; TAG_LEN]]) -> bool {
    let mut matched = false;
    for secret in secrets {
        let secret = secret.expose_secret();
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        parts.iter().for_each(|part| context.update(part));
        let own = context.sign();
        for tag in tags {
            matched |= constant_time::verify_slices_are_equal(own.as_ref(), tag).is_ok() & !secret.is_empty();
        }
    }
    matched
}

/// Lower, upper or mixed case; nothing around it.
pub(super) fn decode_hex(text: &str) -> Option<[u8; TAG_LEN]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != TAG_LEN || !rest.is_empty() {
        return None;
    }
    let mut tag = [0; TAG_LEN];
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::hmac;

    fn signed(secret: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn secrets(list: &[&str]) -> Vec<SecretString> {
        list.iter().map(|secret| SecretString::from(*secret)).collect()
    }

    #[test]
    fn rfc_4231_case_2_verifies() {
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        assert!(verify_hmac_sha256(&secrets(&["Jefe"]), Some(tag), body).is_ok());
        assert!(verify_hmac_sha256(&secrets(&["Jefe"]), Some(&tag.to_uppercase()), body).is_ok());
    }

    #[test]
    fn either_secret_verifies_while_one_is_being_replaced() {
        let (body, both) = (b"{ \"pretty\": true }\n", secrets(&["old", "new"]));
        assert!(verify_hmac_sha256(&both, Some(&signed("old", body)), body).is_ok());
        assert!(verify_hmac_sha256(&both, Some(&signed("new", body)), body).is_ok());
        assert!(verify_hmac_sha256(&both, Some(&signed("third", body)), body).is_err());
        assert!(verify_hmac_sha256(&[], Some(&signed("old", body)), body).is_err());
    }

    #[test]
    fn an_empty_secret_never_matches() {
        assert!(verify_hmac_sha256(&secrets(&[""]), Some(&signed("", b"x")), b"x").is_err());
    }

    #[test]
    fn every_flipped_bit_of_tag_or_body_is_refused() {
        let body = b"abc".to_vec();
        let tag = signed("k", &body);
        for at in 0..tag.len() {
            let mut wrong = tag.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(matches!(
                verify_hmac_sha256(&secrets(&["k"]), Some(&wrong), &body),
                Err(IntakeError::BadSignature)
            ));
        }
        for bit in 0..body.len() * 8 {
            let mut wrong = body.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_hmac_sha256(&secrets(&["k"]), Some(&tag), &wrong).is_err());
        }
    }

    #[test]
    fn malformed_headers_are_errors_and_never_panics() {
        let good = signed("k", b"x");
        assert!(matches!(verify_hmac_sha256(&secrets(&["k"]), None, b"x"), Err(IntakeError::MissingSignature)));
        assert!(matches!(verify_hmac_sha256(&secrets(&["k"]), Some(""), b"x"), Err(IntakeError::MissingSignature)));
        let long = "a".repeat(100_000);
        let bad = [
            &good[1..],
            &good[..2],
            "0",
            " ",
            "sha256=",
            &long,
            "ü",
            &"ü".repeat(32),
            &"g".repeat(64),
            &"+1".repeat(32),
            &format!(" {good}"),
            &format!("{good} "),
            &format!("0x{good}"),
            &format!("{good}00"),
            // Two headers of one name arrive joined by a comma: which one was meant is not for us to guess.
            &format!("{good},{good}"),
            &format!("{good}, {good}"),
        ];
        for header in bad {
            assert!(
                matches!(verify_hmac_sha256(&secrets(&["k"]), Some(header), b"x"), Err(IntakeError::BadSignature)),
                "{header}"
            );
        }
    }
}
