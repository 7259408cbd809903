//! Who may, with what, and what: by asking the one question about each thing that has a name.

use super::{App, Entity, PLAIN, SubjectKind, USE, resource_named};
use crate::service::ServiceResult;
use crate::service::end_users::holds_handles;
use std::sync::atomic::Ordering;
use vouchsafe_core::ids::{ResourceId, SubjectId};

/// Most candidates that are asked about for one page.
const MOST_ASKED: usize = 200;

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct Paging<'a> {
    /// The last candidate of the page before; empty for the first page.
    pub after: &'a str,
    /// Most results.
    pub limit: usize,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Ids of subjects or resources, or names of actions.
    pub names: Vec<String>,
    /// The last candidate looked at, where there may be more.
    pub next: Option<String>,
}

impl App {
    /// Whether subjects are searched for at all.
    #[must_use]
    pub fn searches_subjects(&self) -> bool {
        self.subject_search.load(Ordering::Relaxed)
    }

    async fn may(&self, parties: &(SubjectId, Option<SubjectId>), resource: &ResourceId) -> ServiceResult<bool> {
        let judged = self.judge(&parties.0, parties.1.as_ref(), resource, None).await?;
        // A search names no end user.
        Ok(judged.is_some_and(|judged| judged.answer.admits_alone()))
    }

    /// Resources of a type that a subject may do this with, of all that a policy, gateway or audience names one by one.
    ///
    /// # Errors
    /// `Unavailable` when it cannot know.
    pub async fn resources_for(
        &self,
        subject: Entity<'_>,
        acting_for: Option<&str>,
        action: &str,
        kind: &str,
        page: Paging<'_>,
    ) -> ServiceResult<Found> {
        let known = self.world.load().known_resources();
        let named = known.into_iter().filter_map(|resource| {
            let id = if PLAIN.contains(&kind) {
                resource.to_string()
            } else {
                let rest = resource.as_str().strip_prefix(kind)?.strip_prefix('.')?;
                rest.strip_suffix(action)?.strip_suffix('.')?.to_owned()
            };
            // What does not come out as it went in has another name.
            (resource_named(Entity { kind, id: &id }, action).as_ref() == Some(&resource)).then_some((id, resource))
        });
        self.permitted(subject, acting_for, named.collect(), page).await
    }

    /// Actions that a subject may do with a resource, of all that a policy, gateway or audience names one by one.
    ///
    /// # Errors
    /// `Unavailable` when it cannot know.
    pub async fn actions_for(
        &self,
        subject: Entity<'_>,
        acting_for: Option<&str>,
        resource: Entity<'_>,
        page: Paging<'_>,
    ) -> ServiceResult<Found> {
        let candidates: Vec<(String, ResourceId)> = if PLAIN.contains(&resource.kind) {
            resource_named(resource, USE).map(|named| (USE.to_owned(), named)).into_iter().collect()
        } else {
            let stem = format!("{}.{}.", resource.kind, resource.id);
            let known = self.world.load().known_resources();
            let named = known.into_iter().filter_map(|known| {
                let action = known.as_str().strip_prefix(&stem)?.to_owned();
                (resource_named(resource, &action).as_ref() == Some(&known)).then_some((action, known))
            });
            named.collect()
        };
        self.permitted(subject, acting_for, candidates, page).await
    }

    /// Those of the candidates, each with its resource and in order of names, that the subject may use.
    async fn permitted(
        &self,
        subject: Entity<'_>,
        acting_for: Option<&str>,
        mut candidates: Vec<(String, ResourceId)>,
        page: Paging<'_>,
    ) -> ServiceResult<Found> {
        self.check_feed_age()?;
        let Some(parties) = self.parties_named(subject, acting_for).await? else { return Ok(Found::default()) };
        candidates.sort();
        candidates.retain(|(name, _)| page.after.is_empty() || name.as_str() > page.after);
        let mut found = Found::default();
        let many = candidates.len();
        for (asked, (name, resource)) in candidates.into_iter().enumerate() {
            let last = name.clone();
            if self.may(&parties, &resource).await? {
                found.names.push(name);
            }
            if asked + 1 < many && (found.names.len() >= page.limit || asked + 1 >= MOST_ASKED) {
                found.next = Some(last);
                break;
            }
        }
        Ok(found)
    }

    /// Subjects of a type who may use a resource: of a kind by our id, of any other type by one link in the namespace of
    /// that name.
    ///
    /// # Errors
    /// `Unavailable` when it cannot know.
    pub async fn subjects_for(
        &self,
        kind: &str,
        acting_for: Option<&str>,
        action: &str,
        resource: Entity<'_>,
        page: Paging<'_>,
    ) -> ServiceResult<Found> {
        self.check_feed_age()?;
        let mut found = Found::default();
        let acting_for = acting_for.map(|name| self.organisation_subject(name)).transpose();
        let (Some(resource), Ok(acting_for)) = (resource_named(resource, action), acting_for) else {
            return Ok(found);
        };
        let subjects = self.store.subjects(page.after, i64::try_from(MOST_ASKED).unwrap_or(i64::MAX)).await?;
        let many = subjects.len();
        for (asked, stored) in subjects.into_iter().enumerate() {
            let last = stored.id.clone();
            if let Ok(subject) = SubjectId::parse(&stored.id)
                && stored.state == "active"
                && let Some(name) = self.name_as(kind, &stored.kind, &subject).await?
                && self.may(&(subject, acting_for.clone()), &resource).await?
            {
                found.names.push(name);
            }
            let more = asked + 1 < many || many == MOST_ASKED;
            if more && (found.names.len() >= page.limit || asked + 1 == many) {
                found.next = Some(last);
                break;
            }
        }
        Ok(found)
    }

    /// What a subject is called as one of this type.
    async fn name_as(&self, kind: &str, own: &str, subject: &SubjectId) -> ServiceResult<Option<String>> {
        if SubjectKind::parse(kind).is_some() {
            return Ok((kind == own).then(|| subject.to_string()));
        }
        // SECURITY: whose end users somebody serves is for nobody to list.
        if holds_handles(kind) {
            return Ok(None);
        }
        let links = match self.links(subject).await {
            Ok(links) => links,
            // Erased meanwhile.
            Err(crate::service::ServiceError::NotFound(_) | crate::service::ServiceError::Erased) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(links.into_iter().find(|(namespace, _)| namespace == kind).map(|(_, id)| id))
    }
}
