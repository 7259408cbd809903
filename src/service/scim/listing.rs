//! Lists of a directory's users: by an equality one indexed read, else one user after another, up to a bound.

use super::{Read, ScimResult};
use crate::intake::scim::filter::{Needle, Question};
use crate::intake::scim::schema::MAX_RESULTS;
use crate::intake::scim::{Fault, FaultKind};
use crate::service::directories::Provisioner;
use crate::service::{App, ServiceResult};
use crate::storage::{KeyedDirectoryUser, UserKey};
use serde_json::Value;

/// Most users of a directory that a filter is put to one by one.
const MAX_SCAN: i64 = 20_000;
/// Users read at once.
const PAGE: i64 = 500;
/// Users of one answer, unless more are asked for.
const USUAL: usize = 100;

/// What is asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Which users.
    pub question: Option<Question>,
    /// The place of the first, from 1 (RFC 7644 section 3.4.2.4).
    pub start_index: usize,
    /// At most so many.
    pub count: Option<usize>,
}

/// A page of a list.
#[derive(Debug)]
pub struct Listed {
    /// How many there are.
    pub total: usize,
    /// The place of the first, from 1.
    pub start_index: usize,
    /// Those of the page.
    pub resources: Vec<Value>,
}

impl App {
    /// Users of the directory in the order in which they were put into it.
    ///
    /// # Errors
    /// [`FaultKind::TooMany`] for a filter that would have to be put to more users than the bound.
    pub async fn scim_list(&self, asker: &Provisioner, asked: &Asked) -> ScimResult<Listed> {
        let start_index = asked.start_index.max(1);
        let count = asked.count.unwrap_or(USUAL).min(MAX_RESULTS);
        let skip = start_index - 1;
        let (total, window) = match &asked.question {
            None => {
                let (skip, count) = (i64::try_from(skip).unwrap_or(i64::MAX), i64::try_from(count).unwrap_or(0));
                let (total, rows) = self.store.directory_users(&asker.directory.id, "", skip, count).await?;
                let rows = rows.into_iter().map(|row| self.opened(row)).collect::<ServiceResult<Vec<_>>>()?;
                (usize::try_from(total).unwrap_or(0), rows)
            }
            Some(question) => self.asked_for(asker, question, skip, count).await?,
        };
        let mut resources = Vec::with_capacity(window.len());
        for read in window {
            resources.push(self.told(asker, &read.user, &read.profile).await?.resource);
        }
        Ok(Listed { total, start_index, resources })
    }

    /// How many users a filter matches, and those of the window.
    async fn asked_for(
        &self,
        asker: &Provisioner,
        question: &Question,
        skip: usize,
        count: usize,
    ) -> ScimResult<(usize, Vec<Read>)> {
        let (mut total, mut window) = (0, Vec::new());
        let mut judge = |row: KeyedDirectoryUser| -> ServiceResult<()> {
            let read = self.opened(row)?;
            if question.matches(&self.plain(&read.user, &read.profile)) {
                if total >= skip && window.len() < count {
                    window.push(read);
                }
                total += 1;
            }
            Ok(())
        };
        if let Some(needle) = question.needle() {
            for row in self.looked_up(asker, &needle).await? {
                judge(row)?;
            }
            return Ok((total, window));
        }
        let mut after = String::new();
        loop {
            let (all, rows) = self.store.directory_users(&asker.directory.id, &after, 0, PAGE).await?;
            if all > MAX_SCAN {
                let detail =
                    "the directory is too large for this filter: ask by `userName`, `externalId`, `id` or `emails`";
                return Err(Fault { kind: FaultKind::TooMany, detail }.into());
            }
            let Some(last) = rows.last() else { return Ok((total, window)) };
            after.clone_from(&last.user.id);
            for row in rows {
                judge(row)?;
            }
        }
    }

    async fn looked_up(&self, asker: &Provisioner, needle: &Needle) -> ServiceResult<Vec<KeyedDirectoryUser>> {
        let directory = &asker.directory.id;
        let digest = |what: &str, text: &str| self.directory_digest(directory, what, text);
        let by = async |key: UserKey<'_>| self.store.directory_users_by(directory, key, MAX_SCAN).await;
        let found = match needle {
            // Not an id of ours: nobody has it, and a database may not be able to ask.
            Needle::Id(id) if !id.starts_with("usr_") || id.contains('\0') => return Ok(Vec::new()),
            Needle::Id(id) => by(UserKey::Id(id)).await?,
            Needle::UserName(name) => by(UserKey::UserName(&digest("user_name", name))).await?,
            Needle::ExternalId(id) => by(UserKey::ExternalId(&digest("external_id", id))).await?,
            Needle::Email(email) => by(UserKey::Email(&digest("email", email))).await?,
        };
        Ok(found)
    }
}
