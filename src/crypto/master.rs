//! The master key: the file that the operator holds. It opens the root secret and signs what lies outside the database.

use super::{Crypto, CryptoError, expand, hex, keyed, open_with, random, seal_with};
use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use std::path::Path;
use std::sync::Arc;

/// A master key.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    wrap: [u8; 32],
    statements: [u8; 32],
    authenticator: Authenticator,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Tells statements that this deployment wrote down outside its database from everybody else's.
#[derive(Clone)]
pub struct Authenticator {
    own: hmac::Key,
    /// Of the other master keys, while one takes the place of another.
    others: Arc<ArcSwap<Vec<hmac::Key>>>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

impl Authenticator {
    /// HMAC-SHA256 (hex) of `text`, one for each master key, ours first, by commas; `domain` keeps kinds of statements apart.
    #[must_use]
    pub fn tag(&self, domain: &str, text: &str) -> String {
        let others = self.others.load();
        let tags: Vec<String> =
            [&self.own].into_iter().chain(others.iter()).map(|key| keyed(key, domain, text)).collect();
        tags.join(",")
    }

    /// Whether one of the tags was made of this text by our master key.
    #[must_use]
    pub fn is_ours(&self, domain: &str, text: &str, tag: &str) -> bool {
        let expected = keyed(&self.own, domain, text);
        let is_it =
            |tag: &str| aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), tag.as_bytes()).is_ok();
        tag.split(',').any(is_it)
    }
}

/// Binds a sealed root secret to its master key.
fn root_context(id: &str) -> String {
    format!("root/{id}")
}

/// Binds a key of statements to its master key.
fn statements_context(id: &str) -> String {
    format!("statements/{id}")
}

impl MasterKey {
    /// From its 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let statements = expand(bytes, "statements");
        let mut id = hex(&expand(bytes, "id"));
        id.truncate(16);
        let own = hmac::Key::new(hmac::HMAC_SHA256, &statements);
        let authenticator = Authenticator { own, others: Arc::default() };
        Self { id, wrap: expand(bytes, "root"), statements, authenticator }
    }

    /// Reads the file: 32 bytes, readable by its owner alone (or lent by root, see `is_private`), and not of a kind that
    /// somebody could guess.
    ///
    /// # Errors
    /// [`CryptoError::MasterKey`] with what to do.
    pub fn from_file(path: &Path) -> Result<Self, CryptoError> {
        use std::os::unix::fs::MetadataExt as _;
        let fail = |problem| CryptoError::MasterKey { path: path.display().to_string(), problem };
        let metadata =
            std::fs::metadata(path).map_err(|_| fail("cannot be read; create it with `vouchsafe keys master FILE`"))?;
        if !is_private(metadata.mode(), metadata.uid()) {
            return Err(fail("must be readable by its owner only: chmod 0400"));
        }
        let bytes = std::fs::read(path).map_err(|_| fail("cannot be read"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| fail("must hold exactly 32 bytes"))?;
        match weakness(&bytes) {
            Some(problem) => Err(fail(problem)),
            None => Ok(Self::new(&bytes)),
        }
    }

    /// Which master key it is; says nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For what is written down outside the database: the anchor, manifests of backups.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator {
        self.authenticator.clone()
    }

    /// A new root secret, sealed.
    ///
    /// # Errors
    /// When the generator or the primitive fails.
    pub fn new_root(&self) -> Result<(Crypto, Vec<u8>), CryptoError> {
        let root: [u8; 32] = random()?;
        Ok((Crypto::new(&root), seal_with(&self.wrap, &root_context(&self.id), &root)?))
    }

    fn root(&self, sealed: &[u8]) -> Result<[u8; 32], CryptoError> {
        open_with(&self.wrap, &root_context(&self.id), sealed)?.try_into().map_err(|_| CryptoError::Opening)
    }

    /// What the root secret gives that was sealed under this master key.
    ///
    /// # Errors
    /// When it was sealed under another, or altered.
    pub fn open_root(&self, sealed: &[u8]) -> Result<Crypto, CryptoError> {
        Ok(Crypto::new(&self.root(sealed)?))
    }

    /// The same root secret, sealed under another master key.
    ///
    /// # Errors
    /// As [`MasterKey::open_root`].
    pub fn reseal_root(&self, sealed: &[u8], next: &Self) -> Result<Vec<u8>, CryptoError> {
        seal_with(&next.wrap, &root_context(&next.id), &self.root(sealed)?)
    }

    /// Its key of statements, sealed under the root secret: whoever opens the database with another master key can write
    /// statements that this one knows for ours.
    ///
    /// # Errors
    /// When the primitive fails.
    pub fn seal_statements(&self, crypto: &Crypto) -> Result<Vec<u8>, CryptoError> {
        seal_with(&crypto.masters, &statements_context(&self.id), &self.statements)
    }

    /// From now on statements are also written for these master keys (id, sealed key of statements), ours left out.
    ///
    /// # Errors
    /// When one of them was altered.
    pub fn write_also_for(&self, crypto: &Crypto, masters: &[(String, Vec<u8>)]) -> Result<(), CryptoError> {
        let others = masters.iter().filter(|(id, _)| *id != self.id).map(|(id, sealed)| {
            let key = open_with(&crypto.masters, &statements_context(id), sealed)?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
        });
        self.authenticator.others.store(Arc::new(others.collect::<Result<_, CryptoError>>()?));
        Ok(())
    }
}

/// Whether a key file of this mode and owner is closed to others: 0400, or 0440 when it belongs to root.
///
/// A service manager lends a file of root's by an access list, whose mask stands in the bits of the group: so do
/// systemd's `LoadCredential=` (systemd issue 29435) and Kubernetes' `fsGroup`. A group of our own choosing is refused.
fn is_private(mode: u32, owner: u32) -> bool {
    mode & 0o377 == 0 || (owner == 0 && mode & 0o337 == 0)
}

/// What shows that nobody drew these bytes at random. A key that was drawn is refused with a probability below 2^-40: each
/// of its bytes is printable with 95 in 256, and few of 32 drawn bytes are equal.
fn weakness(bytes: &[u8; 32]) -> Option<&'static str> {
    let distinct = bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
    let steps: std::collections::BTreeSet<u8> =
        bytes.iter().zip(bytes.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
    if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Some("is text, which can be guessed: make one with `vouchsafe keys master FILE`");
    }
    if distinct < 8 || steps.len() < 8 {
        return Some("is a pattern, not a key: make one with `vouchsafe keys master FILE`");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_by_its_owner_or_lent_by_root() {
        for (mode, owner, private) in [
            (0o100_400, 0, true),
            (0o100_400, 1000, true),
            (0o100_440, 0, true),
            (0o100_440, 1000, false),
            (0o100_600, 0, false),
            (0o100_404, 0, false),
            (0o100_444, 0, false),
            (0o100_460, 0, false),
            (0o100_450, 0, false),
        ] {
            assert_eq!(is_private(mode, owner), private, "{mode:o} of {owner}");
        }
    }

    #[test]
    fn a_key_that_nobody_drew_is_refused() {
        let counted: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let halves: [u8; 32] = std::array::from_fn(|at| if at < 16 { 0xaa } else { 0x55 });
        for weak in
            [[0; 32], [1; 32], [9; 32], [0xff; 32], counted, halves, *b"correct horse battery staple 123", [b'0'; 32]]
        {
            assert!(weakness(&weak).is_some(), "{weak:?}");
        }
        for _ in 0..1000 {
            assert_eq!(weakness(&random().unwrap()), None);
        }
    }

    #[test]
    fn another_master_key_opens_the_same_root_and_its_statements_are_known() {
        let (old, new, stranger) = (MasterKey::new(&[1; 32]), MasterKey::new(&[2; 32]), MasterKey::new(&[3; 32]));
        let (crypto, sealed) = old.new_root().unwrap();
        let resealed = old.reseal_root(&sealed, &new).unwrap();
        let again = new.open_root(&resealed).unwrap();
        assert_eq!(again.lookup_digest("d", "t"), crypto.lookup_digest("d", "t"));
        assert_eq!(again.lineage_digest("d", "t"), crypto.lineage_digest("d", "t"));
        assert_eq!(again.pairwise("s", "a").unwrap(), crypto.pairwise("s", "a").unwrap());
        let secret = crypto.seal_secret("c", b"x").unwrap();
        assert_eq!(again.open_secret("c", &secret).unwrap(), b"x");
        assert!(old.open_root(&resealed).is_err() && stranger.open_root(&sealed).is_err());

        let before = old.authenticator();
        let one = before.tag("d", "t");
        assert!(!new.authenticator().is_ours("d", "t", &one), "not told yet");
        let masters = [old.id(), new.id()]
            .map(str::to_owned)
            .into_iter()
            .zip([old.seal_statements(&crypto).unwrap(), new.seal_statements(&crypto).unwrap()]);
        old.write_also_for(&crypto, &masters.collect::<Vec<_>>()).unwrap();
        let both = before.tag("d", "t");
        for (master, known) in [(&old, true), (&new, true), (&stranger, false)] {
            assert_eq!(master.authenticator().is_ours("d", "t", &both), known);
            assert!(!master.authenticator().is_ours("d", "other", &both));
        }
        old.write_also_for(&crypto, &[]).unwrap();
        assert_eq!(before.tag("d", "t"), one, "it is over");
    }
}
