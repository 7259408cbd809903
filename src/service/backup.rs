//! Backups: a copy of the database with a manifest that only this deployment can have written, and the way back.

use super::anchor::AnchorFile;
use crate::crypto::{Authenticator, hex};
use crate::storage::backup::{self, BackupError, Expected, place};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use vouchsafe_core::Second;

/// Keeps manifests apart from other statements under the same key.
const DOMAIN: &str = "backup";

/// The form of manifest that is written and read.
const FORMAT: &str = "vouchsafe-backup/1";

/// What a backup is, beside it in `FILE.manifest.json`. The master key is in neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Form of this manifest.
    pub format: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// Id of the deployment.
    pub deployment: String,
    /// Last migration of its schema.
    pub schema: i64,
    /// Last position of its audit log; entries not linked yet are in the copy as well.
    pub position: i64,
    /// Hash of that record.
    pub head: String,
    /// When the copy was begun.
    pub created_at: Second,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// HMAC-SHA256 (hex) of the members above under a key of this deployment.
    pub mac: String,
}

impl Manifest {
    /// What the tag covers: the members as compact JSON, without the tag.
    fn text(&self) -> Result<String, BackupError> {
        let bare = Self { mac: String::new(), ..self.clone() };
        serde_json::to_string(&bare).map_err(|error| BackupError::Refused(format!("the manifest: {error}")))
    }

    /// Reads the manifest beside `file`.
    ///
    /// # Errors
    /// [`BackupError::Refused`] when it is missing, was edited, or is another deployment's.
    pub fn load(file: &Path, authenticator: &Authenticator) -> Result<Self, BackupError> {
        let path = manifest_path(file);
        let text = std::fs::read_to_string(&path).map_err(BackupError::file(&path))?;
        let refused = |problem: &str| BackupError::Refused(format!("manifest `{}` {problem}", path.display()));
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| refused(&format!("cannot be read: {error}")))?;
        if !authenticator.is_ours(DOMAIN, &manifest.text()?, &manifest.mac) {
            return Err(refused(
                "was edited, or made under another master key: `master_key_file` must be that of the deployment",
            ));
        }
        if manifest.format != FORMAT || manifest.schema > backup::newest_schema() {
            return Err(refused("was made by a newer version: restore with that version"));
        }
        Ok(manifest)
    }
}

/// Where the manifest of a backup is.
#[must_use]
pub fn manifest_path(file: &Path) -> PathBuf {
    with_ending(file, ".manifest.json")
}

/// Where a backup grows until it is complete.
#[must_use]
pub fn partial_path(file: &Path) -> PathBuf {
    with_ending(file, ".partial")
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// SHA-256 (hex) and length.
fn digest_of(path: &Path) -> Result<(String, u64), BackupError> {
    let mut file = File::open(path).map_err(BackupError::file(path))?;
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer).map_err(BackupError::file(path))?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        context.update(chunk);
        bytes += u64::try_from(read).unwrap_or(0);
    }
    Ok((hex(context.finish().as_ref()), bytes))
}

/// Copies the database at `url` into the new file `file`, checks the copy and writes its manifest. The service may run.
///
/// # Errors
/// When the file exists, or the copy cannot be made or does not hold together; nothing is left behind then.
pub async fn back_up(
    url: &str,
    file: &Path,
    authenticator: &Authenticator,
    now: Second,
) -> Result<Manifest, BackupError> {
    for taken in [file.to_owned(), manifest_path(file)] {
        if taken.symlink_metadata().is_ok() {
            return Err(BackupError::Refused(format!("`{}` exists: choose another name", taken.display())));
        }
    }
    let partial = partial_path(file);
    create_private(&partial)?;
    let made = copy(url, &partial, authenticator, now).await.and_then(|manifest| {
        place(&partial, file)?;
        Ok(manifest)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    let manifest = made?;
    let path = manifest_path(file);
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let mut out = create_private(&path)?;
    writeln!(out, "{text}").and_then(|()| out.sync_all()).map_err(BackupError::file(&path))?;
    backup::sync_folder(&path).map_err(BackupError::file(&path))?;
    Ok(manifest)
}

fn create_private(path: &Path) -> Result<File, BackupError> {
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(BackupError::file(path))
}

async fn copy(url: &str, partial: &Path, authenticator: &Authenticator, now: Second) -> Result<Manifest, BackupError> {
    let contents = backup::back_up(url, partial).await?;
    let (sha256, bytes) = digest_of(partial)?;
    let mut manifest = Manifest {
        format: FORMAT.to_owned(),
        database: backup::kind(url)?.to_owned(),
        deployment: contents.history.deployment,
        schema: contents.schema,
        position: contents.history.position,
        head: contents.history.head,
        created_at: now,
        sha256,
        bytes,
        mac: String::new(),
    };
    manifest.mac = authenticator.tag(DOMAIN, &manifest.text()?);
    Ok(manifest)
}

/// Puts a backup where `url` points, which must be free; nothing is placed that its manifest does not vouch for.
///
/// # Errors
/// Says why the backup cannot be trusted, or what is in the way.
pub async fn restore(
    url: &str,
    file: &Path,
    authenticator: &Authenticator,
    anchor: Option<&AnchorFile>,
) -> Result<Manifest, BackupError> {
    let manifest = Manifest::load(file, authenticator)?;
    let refused = |text: String| Err(BackupError::Refused(text));
    let kind = backup::kind(url)?;
    if manifest.database != kind {
        return refused(format!(
            "the backup is of a `{}` database, `database` names a `{kind}` one",
            manifest.database
        ));
    }
    let mark = anchor.map(AnchorFile::load).transpose().map_err(|error| BackupError::Refused(error.to_string()))?;
    if let Some(mark) = mark.flatten().filter(|mark| mark.deployment != manifest.deployment) {
        let (ours, theirs) = (mark.deployment, &manifest.deployment);
        return refused(format!("the backup is of deployment `{theirs}`, the anchor of `{ours}`"));
    }
    let (sha256, bytes) = digest_of(file)?;
    if bytes != manifest.bytes {
        return refused(format!("the backup has {bytes} bytes, its manifest says {}", manifest.bytes));
    }
    if sha256 != manifest.sha256 {
        return refused("the backup was damaged or altered: its SHA-256 is not that of its manifest".to_owned());
    }
    let expected = Expected {
        deployment: manifest.deployment.clone(),
        position: manifest.position,
        head: manifest.head.clone(),
        schema: manifest.schema,
    };
    backup::restore(url, file, &expected).await?;
    Ok(manifest)
}
