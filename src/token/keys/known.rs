//! Keys that no deployment may sign with: everybody has them, or could compute them.

use crate::crypto::CryptoError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::Value;

/// RFC 7638 thumbprints of keys whose private parts are printed in a specification.
const PRINTED: [&str; 7] = [
    // RFC 7515 appendix A.2, RSA
    "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8",
    // RFC 7515 appendix A.3, P-256
    "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
    // RFC 7517 appendix A.2, P-256
    "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",
    // RFC 7517 appendix A.2 and RFC 7638 section 3.1, RSA
    "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    // RFC 7520 section 3.4, RSA
    "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
    // RFC 8037 appendix A.1, Ed25519
    "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    // RFC 9449 section 4.2, P-256
    "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
];

/// Refuses a key that is printed somewhere, and RSA under 2048 bits or with an exponent other than 65537.
pub(super) fn refuse(kid: &str, jwk: &Value) -> Result<(), CryptoError> {
    let weak = |problem| Err(CryptoError::WeakKey { kid: kid.to_owned(), problem });
    if PRINTED.contains(&kid) {
        return weak("is printed in a specification: everybody can sign with it");
    }
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    if member("kty") == Some("RSA") {
        let bits = member("n").and_then(|n| B64.decode(n).ok()).and_then(|n| {
            let leading = n.first()?.leading_zeros();
            u32::try_from(n.len() * 8).ok()?.checked_sub(leading)
        });
        if bits.is_none_or(|bits| bits < 2048) {
            return weak("is RSA under 2048 bits");
        }
        if member("e") != Some("AQAB") {
            return weak("is RSA with an exponent other than 65537");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Crypto;
    use crate::storage::KeyTimes;
    use crate::token::keys::{Algorithm, Purpose, SigningKey};
    use serde_json::json;

    #[test]
    fn a_key_that_is_printed_in_a_specification_does_not_sign() {
        // RFC 8037 appendix A.1 as PKCS#8 version 1 (RFC 8410 section 7).
        let d = B64.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&[&prefix[..], &d].concat());
        let pkcs8 = {
            use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
            let der: Pkcs8V1Der<'_> = pair.unwrap().as_der().unwrap();
            der.as_ref().to_vec()
        };
        let crypto = Crypto::new(&[3; 32]);
        let key = SigningKey::from_pkcs8(Algorithm::EdDsa, Purpose::Access, &pkcs8).unwrap();
        let stored = key.to_stored(&pkcs8, &crypto, KeyTimes::new(0, 0)).unwrap();
        let refused = SigningKey::from_stored(&stored, &crypto).unwrap_err();
        assert!(matches!(&refused, CryptoError::WeakKey { kid, .. } if *kid == key.kid), "{refused}");
    }

    #[test]
    fn rsa_is_refused_by_its_size_and_exponent() {
        let jwk = |bytes: usize, e: &str| {
            let mut n = vec![0xff; bytes];
            n[0] = 0x80;
            json!({ "kty": "RSA", "n": B64.encode(n), "e": e })
        };
        assert!(refuse("k", &jwk(256, "AQAB")).is_ok());
        for weak in [jwk(255, "AQAB"), jwk(128, "AQAB"), jwk(256, "Aw"), jwk(256, "AQ"), json!({ "kty": "RSA" })] {
            assert!(refuse("k", &weak).is_err(), "{weak}");
        }
        let mut short = vec![0xff; 256];
        short[0] = 0x7f;
        assert!(refuse("k", &json!({ "kty": "RSA", "n": B64.encode(short), "e": "AQAB" })).is_err(), "2047 bits");
    }
}
