//! What the anchor says, and how a database may differ from it.

use crate::storage::History;
use crate::storage::audit::GENESIS;
use vouchsafe_core::Second;

/// How a database differs from what the anchor knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Regress {
    /// Another deployment's.
    #[error(
        "the database belongs to deployment `{found}`, the anchor to `{anchored}`: point `database` or `anchor_file` to \
         the right one"
    )]
    OtherDeployment {
        /// In the anchor.
        anchored: String,
        /// In the database.
        found: String,
    },
    /// An earlier state of ours.
    #[error(
        "the database went back: its audit log ends at record {found}, the anchor saw record {anchored} (hash `{hash}`) at \
         {at}; {missing} records are missing, revocations may be among them: restore a newer copy, or accept the loss with \
         `vouchsafe anchor accept`"
    )]
    Behind {
        /// Last position of the log.
        found: i64,
        /// Position in the anchor.
        anchored: i64,
        /// Hash in the anchor.
        hash: String,
        /// When the anchor saw it.
        at: Second,
        /// Difference of the positions.
        missing: i64,
    },
    /// A state of ours that took another way.
    #[error(
        "the database has another history: its record {anchored} has hash `{found}`, the anchor saw `{hash}` at {at}; \
         revocations may be missing: restore a newer copy, or accept the loss with `vouchsafe anchor accept`"
    )]
    Forked {
        /// Position in the anchor.
        anchored: i64,
        /// Hash in the log.
        found: String,
        /// Hash in the anchor.
        hash: String,
        /// When the anchor saw it.
        at: Second,
    },
}

/// What the anchor says: this deployment's log had this hash at this position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Id of the deployment.
    pub deployment: String,
    /// Position in the audit log, 0 before the first record.
    pub position: i64,
    /// Hash there.
    pub hash: String,
    /// When it was written, epoch milliseconds.
    pub at_ms: i64,
}

impl Mark {
    /// The end of a history.
    pub(super) fn of(history: &History, at_ms: i64) -> Self {
        let History { deployment, position, head, .. } = history.clone();
        Self { deployment, position, hash: head, at_ms }
    }

    /// Whether a history, asked about this position, still holds what was seen.
    ///
    /// # Errors
    /// How it differs.
    pub fn judge(&self, found: &History) -> Result<(), Regress> {
        let (anchored, hash, at) = (self.position, self.hash.clone(), Second::from_millis(self.at_ms));
        if found.deployment != self.deployment {
            return Err(Regress::OtherDeployment {
                anchored: self.deployment.clone(),
                found: found.deployment.clone(),
            });
        }
        match &found.asked {
            _ if anchored == 0 && hash == GENESIS => Ok(()),
            Some(asked) if *asked == hash => Ok(()),
            Some(asked) => Err(Regress::Forked { anchored, found: asked.clone(), hash, at }),
            None if found.position < anchored => {
                let missing = anchored - found.position;
                Err(Regress::Behind { found: found.position, anchored, hash, at, missing })
            }
            None => Err(Regress::Forked { anchored, found: "none".to_owned(), hash, at }),
        }
    }

    /// As it stands in the file, without the tag: always as long.
    pub(super) fn text(&self) -> String {
        let Self { deployment, position, hash, at_ms } = self;
        format!(
            "vouchsafe anchor 1\ndeployment {deployment}\nposition {position:020}\nhash {hash}\nat_ms {at_ms:020}\n"
        )
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        value("vouchsafe anchor").filter(|version| version == "1")?;
        let mark = Self {
            deployment: value("deployment")?,
            position: value("position")?.parse().ok()?,
            hash: value("hash")?,
            at_ms: value("at_ms")?.parse().ok()?,
        };
        (mark.text() == text).then_some(mark)
    }
}
