//! Keys at rest: sealing of identifiers and secrets, keyed digests for look-ups, random ids.
//!
//! Two keys stand above all others. The *root secret* is random, made once, and never changes: from it, by HMAC-SHA256 over
//! a label (RFC 5869's expand step with one block), come the key that wraps each subject's data key, the key of secrets, the
//! key of look-ups and the lineage key. The *master key* is the file that the operator holds: it opens the root secret, and
//! signs what is written down outside the database. So another master key takes the place of the old one by sealing 32
//! bytes anew, and nothing that was sealed or digested before changes.

use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};
pub use master::{Authenticator, MasterKey};

mod master;

/// Why something cannot be sealed or opened; never says what was inside.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The ciphertext is not ours, was altered, or belongs to another context.
    #[error("sealed value cannot be opened")]
    Opening,
    /// The random source or a primitive failed.
    #[error("cryptographic primitive failed")]
    Primitive,
    /// A signing key that everybody has, or could compute.
    #[error("signing key `{kid}` {problem}: restore table `keys` from a backup")]
    WeakKey {
        /// RFC 7638 thumbprint.
        kid: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The database belongs to another master key.
    #[error(
        "master key `{0}` does not open this database: put the file that belongs to it in place of `master_key_file`; one \
         that another took the place of opens nothing any more"
    )]
    OtherMaster(String),
    /// The master key file is missing, too open or of another length.
    #[error("master key file `{path}`: {problem}")]
    MasterKey {
        /// Path as configured.
        path: String,
        /// What to do.
        problem: &'static str,
    },
}

/// A data key of one subject.
pub struct DataKey([u8; 32]);

/// Everything derived from the root secret.
pub struct Crypto {
    wrap: [u8; 32],
    secrets: [u8; 32],
    pairwise: [u8; 32],
    lookup: hmac::Key,
    lineage: hmac::Key,
    masters: [u8; 32],
}

impl std::fmt::Debug for Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crypto(..)")
    }
}

fn expand(master: &[u8; 32], label: &str) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, master);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"vouchsafe/1/");
    context.update(label.as_bytes());
    context.update(&[1]);
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Fills `N` bytes from the operating system's generator.
///
/// # Errors
/// When the generator fails.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| CryptoError::Primitive)?;
    Ok(bytes)
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Whether a secret is the one with this SHA-256 in hex, in constant time. For secrets that nobody can guess; passwords
/// are hashed slowly.
#[must_use]
pub fn is_secret_of(secret: &str, sha256: &str) -> bool {
    let found = sha256_hex(secret.as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), sha256.as_bytes()).is_ok()
}

/// A new sortable id: prefix, 12 hex digits of milliseconds, 20 of chance.
///
/// # Errors
/// When the generator fails.
pub fn new_id(prefix: &str, now_ms: i64) -> Result<String, CryptoError> {
    Ok(format!("{prefix}_{:012x}{}", now_ms.max(0), hex(&random::<10>()?)))
}

/// A new secret of 256 bits for a client or gateway, base64url.
///
/// # Errors
/// When the generator fails.
pub fn new_secret() -> Result<String, CryptoError> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<32>()?))
}

fn seal_with(key: &[u8; 32], context: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError::Primitive)?);
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut body = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut body)
        .map_err(|_| CryptoError::Primitive)?;
    // A version byte first, so that another scheme can follow.
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
    sealed.push(1);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

fn open_with(key: &[u8; 32], context: &str, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError::Primitive)?);
    let Some((1, rest)) = sealed.split_first() else { return Err(CryptoError::Opening) };
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CryptoError::Opening)?;
    let mut body = body.to_vec();
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context.as_bytes()), &mut body)
        .map_err(|_| CryptoError::Opening)?;
    Ok(plain.to_vec())
}

impl Crypto {
    /// From the root secret.
    #[must_use]
    pub fn new(root: &[u8; 32]) -> Self {
        Self {
            wrap: expand(root, "wrap"),
            secrets: expand(root, "secrets"),
            pairwise: expand(root, "pairwise"),
            lookup: hmac::Key::new(hmac::HMAC_SHA256, &expand(root, "lookup")),
            lineage: hmac::Key::new(hmac::HMAC_SHA256, &expand(root, "lineage")),
            masters: expand(root, "masters"),
        }
    }

    /// A new data key and its wrapped form, bound to the subject.
    ///
    /// # Errors
    /// When the generator fails.
    pub fn new_data_key(&self, subject: &str) -> Result<(DataKey, Vec<u8>), CryptoError> {
        let key = DataKey(random()?);
        let wrapped = seal_with(&self.wrap, subject, &key.0)?;
        Ok((key, wrapped))
    }

    /// The subject's data key.
    ///
    /// # Errors
    /// When it was destroyed, altered or belongs to another subject.
    pub fn unwrap_data_key(&self, subject: &str, wrapped: &[u8]) -> Result<DataKey, CryptoError> {
        let plain = open_with(&self.wrap, subject, wrapped)?;
        plain.try_into().map(DataKey).map_err(|_| CryptoError::Opening)
    }

    /// Seals a secret of the deployment (vendor tokens, private keys).
    ///
    /// # Errors
    /// When the primitive fails.
    pub fn seal_secret(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        seal_with(&self.secrets, context, plain)
    }

    /// Opens a secret of the deployment.
    ///
    /// # Errors
    /// When it was altered or belongs to another context.
    pub fn open_secret(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        open_with(&self.secrets, context, sealed)
    }

    /// Keyed digest for look-ups; `domain` keeps kinds of ids apart.
    #[must_use]
    pub fn lookup_digest(&self, domain: &str, text: &str) -> String {
        keyed(&self.lookup, domain, text)
    }

    /// Keyed digest for lineage (documents, persons), 128 bits: among 2^40 documents two agree by chance with probability
    /// below 2^-48. Its key is never rotated.
    #[must_use]
    pub fn lineage_digest(&self, domain: &str, text: &str) -> String {
        let mut digest = keyed(&self.lineage, domain, text);
        digest.truncate(32);
        digest
    }

    /// Pairwise subject for an audience: deterministic encryption (AES-256-GCM-SIV, RFC 8452, fixed nonce) with the audience as
    /// associated data, so that equal inputs give equal outputs and nothing else shows.
    ///
    /// # Errors
    /// When the primitive fails.
    pub fn pairwise(&self, subject: &str, audience: &str) -> Result<String, CryptoError> {
        use base64::Engine as _;
        let key =
            LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &self.pairwise).map_err(|_| CryptoError::Primitive)?);
        let mut body = subject.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key([0; NONCE_LEN]),
            Aad::from(audience.as_bytes()),
            &mut body,
        )
        .map_err(|_| CryptoError::Primitive)?;
        body.insert(0, 1);
        Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(body))
    }

    /// The subject behind a pairwise value.
    ///
    /// # Errors
    /// When the value is not ours or was made for another audience.
    pub fn open_pairwise(&self, value: &str, audience: &str) -> Result<String, CryptoError> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value).map_err(|_| CryptoError::Opening)?;
        let Some((1, body)) = bytes.split_first() else { return Err(CryptoError::Opening) };
        let key =
            LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &self.pairwise).map_err(|_| CryptoError::Primitive)?);
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(audience.as_bytes()), &mut body)
            .map_err(|_| CryptoError::Opening)?;
        String::from_utf8(plain.to_vec()).map_err(|_| CryptoError::Opening)
    }
}

impl DataKey {
    /// Seals a direct identifier.
    ///
    /// # Errors
    /// When the primitive fails.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        seal_with(&self.0, context, plain)
    }

    /// Opens a direct identifier.
    ///
    /// # Errors
    /// When it was altered or belongs to another context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        open_with(&self.0, context, sealed)
    }
}

fn keyed(key: &hmac::Key, domain: &str, text: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(domain.as_bytes());
    context.update(&[0]);
    context.update(text.as_bytes());
    hex(context.sign().as_ref())
}

/// Argon2id (RFC 9106) of a client secret, in the PHC string format.
///
/// # Errors
/// When the generator or the function fails.
pub fn hash_secret(secret: &str) -> Result<String, CryptoError> {
    use base64::Engine as _;
    let salt: [u8; 16] = random()?;
    let hash = argon2id(secret, &salt)?;
    let b64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    Ok(format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", b64.encode(salt), b64.encode(hash)))
}

/// Whether `secret` is the one hashed. An unreadable hash matches nothing.
#[must_use]
pub fn secret_matches(secret: &str, phc: &str) -> bool {
    use base64::Engine as _;
    let b64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut parts = phc.rsplit('$');
    let (Some(hash), Some(salt)) = (parts.next(), parts.next()) else { return false };
    let (Ok(hash), Ok(salt)) = (b64.decode(hash), b64.decode(salt)) else { return false };
    argon2id(secret, &salt).is_ok_and(|found| aws_lc_rs::constant_time::verify_slices_are_equal(&found, &hash).is_ok())
}

fn argon2id(secret: &str, salt: &[u8]) -> Result<[u8; 32], CryptoError> {
    let mut out = [0; 32];
    let params = argon2::Params::new(19_456, 2, 1, Some(32)).map_err(|_| CryptoError::Primitive)?;
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(secret.as_bytes(), salt, &mut out)
        .map_err(|_| CryptoError::Primitive)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairwise_subject_is_stable_and_bound_to_its_audience() {
        let crypto = Crypto::new(&[7; 32]);
        let a = crypto.pairwise("sub_1", "gateway").unwrap();
        assert_eq!(a, crypto.pairwise("sub_1", "gateway").unwrap());
        assert_ne!(a, crypto.pairwise("sub_1", "other").unwrap());
        assert_eq!(crypto.open_pairwise(&a, "gateway").unwrap(), "sub_1");
        assert!(crypto.open_pairwise(&a, "other").is_err());
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_context_and_unaltered() {
        let crypto = Crypto::new(&[7; 32]);
        let (key, wrapped) = crypto.new_data_key("sub_1").unwrap();
        let sealed = key.seal("external_id", b"ada").unwrap();
        let key = crypto.unwrap_data_key("sub_1", &wrapped).unwrap();
        assert_eq!(key.open("external_id", &sealed).unwrap(), b"ada");
        assert!(key.open("link", &sealed).is_err());
        assert!(crypto.unwrap_data_key("sub_2", &wrapped).is_err());
        let mut altered = sealed.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(key.open("external_id", &altered).is_err());
    }

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let hash = hash_secret("right").unwrap();
        assert!(secret_matches("right", &hash));
        assert!(!secret_matches("wrong", &hash));
        assert!(!secret_matches("right", "nonsense"));
    }
}
