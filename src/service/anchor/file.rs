//! The anchor's file: read, written durably, compared with a database before it is used, moved when a loss is accepted.

use super::mark::{Mark, Regress};
use super::{Anchor, link};
use crate::crypto::{Authenticator, CryptoError, new_id};
use crate::service::Actor;
use crate::storage::backup::{folder, inspect, sync_folder};
use crate::storage::{AuditEntry, Change, History, Store, StoreError, Write};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the database cannot be taken for the one the anchor knows. Its text is for the operator at the machine.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The anchor file cannot be read or written.
    #[error("anchor `{path}`: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// There is no anchor, and the database has a history.
    #[error(
        "no anchor `{path}`, and the database holds a history of {position} records: nothing shows that it is whole; \
         copy the anchor from a machine that runs this deployment, or accept the database as it is with \
         `vouchsafe anchor accept`"
    )]
    Missing {
        /// Where the anchor should be.
        path: String,
        /// Last position of the audit log.
        position: i64,
    },
    /// There is an anchor, and no database.
    #[error(
        "the database is missing or empty, and the anchor knows {position} records of it: restore a backup with \
         `vouchsafe restore`; to begin a new deployment move the anchor `{path}` away"
    )]
    Empty {
        /// The anchor file.
        path: String,
        /// Its position.
        position: i64,
    },
    /// The database is not the one the anchor knows, or not as far.
    #[error("{0}")]
    Regress(#[from] Regress),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id could be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// The file.
#[derive(Debug, Clone)]
pub struct AnchorFile {
    path: PathBuf,
    authenticator: Authenticator,
}

/// Keeps anchors apart from other statements under the same key.
const DOMAIN: &str = "anchor";

impl AnchorFile {
    /// Names the file; nothing is read yet.
    #[must_use]
    pub fn new(path: &Path, authenticator: Authenticator) -> Self {
        Self { path: path.to_owned(), authenticator }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fail(&self, problem: impl std::fmt::Display) -> AnchorError {
        AnchorError::File { path: self.path.display().to_string(), problem: problem.to_string() }
    }

    /// What the file says; `None` when there is no file.
    ///
    /// # Errors
    /// [`AnchorError::File`] when it cannot be read, was edited, or was made under another master key.
    pub fn load(&self) -> Result<Option<Mark>, AnchorError> {
        Ok(self.read()?.map(|(mark, _)| mark))
    }

    /// What the file says, and its text.
    fn read(&self) -> Result<Option<(Mark, String)>, AnchorError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        let parsed = text.split_once("mac ").and_then(|(body, tag)| {
            let tag = tag.strip_suffix('\n')?;
            if self.authenticator.is_ours(DOMAIN, body, tag) { Mark::parse(body) } else { None }
        });
        let edited = "was edited, or made under another master key: put the right one back, or move it away and accept the \
                      database as it is with `vouchsafe anchor accept`";
        parsed.map(|mark| Some((mark, text.clone()))).ok_or_else(|| self.fail(edited))
    }

    /// Writes `mark` durably and gives what the file then says. Another process on the file may be further: it is
    /// never set back, unless `back` says that a loss was accepted.
    ///
    /// # Errors
    /// [`AnchorError::File`]; the file then says what it said before, or `mark`.
    pub(super) fn store(&self, mark: &Mark, back: bool) -> Result<Mark, AnchorError> {
        let held = File::open(folder(&self.path)).map_err(|error| self.fail(error))?;
        // One writer at a time; the lock ends with the handle.
        held.lock().map_err(|error| self.fail(error))?;
        let current = if back { None } else { self.read()? };
        let current = current.filter(|(held, _)| held.deployment == mark.deployment && held.position >= mark.position);
        let text = |mark: &Mark| {
            let body = mark.text();
            format!("{body}mac {}\n", self.authenticator.tag(DOMAIN, &body))
        };
        let mark = match &current {
            // For the same master keys, too: nothing to write.
            Some((held, written)) if *written == text(held) => return Ok(held.clone()),
            Some((held, _)) => held,
            None => mark,
        };
        let mut partial = self.path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let written = (|| {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(text(mark).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &self.path)?;
            sync_folder(&self.path)
        })();
        let unwritable = |error| format!("{error}: set `anchor_file` to a place that the service may write to");
        written.map(|()| mark.clone()).map_err(|error: std::io::Error| self.fail(unwritable(error)))
    }
}

/// Links what is committed and asks for the history at `position`.
async fn linked(store: &dyn Store, position: i64) -> Result<History, StoreError> {
    link(store).await?;
    store.history(position).await
}

/// What was found before the database was opened for writing.
#[derive(Debug)]
pub enum Before {
    /// Neither anchor nor history.
    Fresh,
    /// An anchor, and a database with a history.
    Known(Mark),
}

impl AnchorFile {
    /// Looks at anchor and database before anything is made or changed.
    ///
    /// # Errors
    /// [`AnchorError::Missing`], [`AnchorError::Empty`], [`Regress::OtherDeployment`], an edited anchor.
    pub async fn before(&self, database: &str) -> Result<Before, AnchorError> {
        let mark = self.load()?;
        let path = self.path.display().to_string();
        match (mark, inspect(database).await?) {
            (None, None) => Ok(Before::Fresh),
            (None, Some(found)) if found.position == 0 && found.waiting == 0 => Ok(Before::Fresh),
            (None, Some(found)) => Err(AnchorError::Missing { path, position: found.position + found.waiting }),
            (Some(mark), None) => Err(AnchorError::Empty { path, position: mark.position }),
            (Some(mark), Some(found)) if found.deployment != mark.deployment => {
                Err(Regress::OtherDeployment { anchored: mark.deployment, found: found.deployment }.into())
            }
            (Some(mark), Some(_)) => Ok(Before::Known(mark)),
        }
    }

    /// Compares the opened and migrated database with the anchor; makes the anchor of a new deployment.
    ///
    /// # Errors
    /// [`AnchorError::Regress`] when the database is not as far as the anchor, or went another way.
    pub async fn hold(self, before: Before, store: &dyn Store, now_ms: i64) -> Result<Arc<Anchor>, AnchorError> {
        let mark = match before {
            Before::Fresh => {
                let history = linked(store, 0).await?;
                self.store(&Mark::of(&history, now_ms), false)?
            }
            Before::Known(mark) => {
                self.compare(&mark, store).await??;
                mark
            }
        };
        Ok(Anchor::new(self, mark))
    }

    /// What a copy still has to link is linked first: only then is it as far as it can be.
    async fn compare(&self, mark: &Mark, store: &dyn Store) -> Result<Result<(), Regress>, StoreError> {
        let found = store.history(mark.position).await?;
        match mark.judge(&found) {
            Err(Regress::Behind { .. }) if found.waiting > 0 => {}
            verdict => return Ok(verdict),
        }
        Ok(mark.judge(&linked(store, mark.position).await?))
    }

    /// Takes the database as it is for the one to go on with: notes who did so and what is missing in the audit log,
    /// ends every token issued so far, and moves the anchor. `None` when there is nothing to accept.
    ///
    /// # Errors
    /// [`AnchorError::Regress`] for the database of another deployment; when store or file cannot be written.
    pub async fn accept(
        &self,
        store: &dyn Store,
        now_ms: i64,
        by: &str,
        reason: &str,
    ) -> Result<Option<(Mark, Option<Regress>)>, AnchorError> {
        let before = self.load()?;
        let regress = match &before {
            Some(mark) => match self.compare(mark, store).await? {
                Ok(()) => return Ok(None),
                Err(other @ Regress::OtherDeployment { .. }) => return Err(other.into()),
                Err(regress) => Some(regress),
            },
            None => None,
        };
        let found = linked(store, 0).await?;
        let lost = match &regress {
            Some(Regress::Behind { found, anchored, .. }) => json!({ "from": found + 1, "to": anchored }),
            _ => json!(null),
        };
        let anchored = before.map(|mark| json!({ "position": mark.position, "hash": mark.hash, "at_ms": mark.at_ms }));
        let detail = json!({
            "by": by, "reason": reason, "lost": lost, "anchored": anchored,
            "found": { "position": found.position, "hash": found.head },
        });
        let audit = AuditEntry {
            id: new_id("aud", now_ms)?,
            at_ms: now_ms,
            actor: Actor::command_line().as_str().to_owned(),
            action: "history.accepted".to_owned(),
            target: found.deployment,
            detail: detail.to_string(),
        };
        // Tokens name whole seconds: up to the end of this one.
        let since = (now_ms.div_euclid(1000) + 1) * 1000;
        let writes = vec![Write::TokensSince(since)];
        let change = Change { writes, audit: vec![audit], feed: Vec::new(), outbox: Vec::new() };
        let written = store.commit(change).await?;
        written.map_err(|_| StoreError::Unavailable("the acceptance could not be recorded".to_owned()))?;
        let mark = Mark::of(&linked(store, 0).await?, now_ms);
        Ok(Some((self.store(&mark, true)?, regress)))
    }

    /// Whether the database is as far as the anchor, without changing either beyond linking what waits; `None` without an
    /// anchor.
    ///
    /// # Errors
    /// When file or store cannot be read.
    pub async fn verdict(&self, store: &dyn Store) -> Result<Option<(Mark, Result<(), Regress>)>, AnchorError> {
        let Some(mark) = self.load()? else { return Ok(None) };
        let verdict = self.compare(&mark, store).await?;
        Ok(Some((mark, verdict)))
    }
}
