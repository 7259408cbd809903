//! Handles: made and taken away by the organisation itself, linked and looked up by the provider.

use super::{PREFIX, fits, namespace};
use crate::service::subjects::link_key;
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Conflict, FeedRow, Write};
use serde_json::json;
use vouchsafe_core::facts::SubjectKind;
use vouchsafe_core::ids::SubjectId;

impl App {
    /// The subject that an organisation is, by its id.
    fn customer_named(&self, organisation: &str) -> ServiceResult<SubjectId> {
        self.organisation_subject(organisation).map_err(|_| ServiceError::NotFound("organisation"))
    }

    /// The namespace of handles behind what a provider's client calls it, `end-user:org_…`; any other is left as it is.
    pub(crate) fn namespace_meant(&self, written: &str) -> ServiceResult<String> {
        match written.strip_prefix(PREFIX) {
            Some(organisation) => Ok(namespace(&self.customer_named(organisation)?)),
            None => Ok(written.to_owned()),
        }
    }

    /// Whether a subject may be linked under a handle of the organisation that a namespace is of.
    ///
    /// # Errors
    /// `Invalid` for what is no handle, and for a workload or the organisation itself.
    pub(crate) async fn check_handle(&self, subject: &SubjectId, namespace: &str, handle: &str) -> ServiceResult<()> {
        if !fits(handle) {
            return Err(invalid("/id", "a handle is 1 to 128 characters of visible ASCII"));
        }
        let kind = self.load_facts(subject.as_str()).await?.map(|facts| facts.kind);
        if kind == Some(SubjectKind::Workload) || namespace.strip_prefix(PREFIX) == Some(subject.as_str()) {
            return Err(invalid("/id", "a workload, or the organisation itself, is nobody's end user"));
        }
        Ok(())
    }

    /// Makes a subject known to an organisation alone, under its own handle. Nothing but the handle is told: an id of ours
    /// would tell two organisations that they serve the same person.
    ///
    /// # Errors
    /// `Conflict` when the handle is taken.
    pub async fn register_end_user(&self, actor: &Actor, organisation: &str, handle: &str) -> ServiceResult<()> {
        if !fits(handle) {
            return Err(invalid("/handle", "use 1 to 128 characters of visible ASCII"));
        }
        let customer = self.customer_named(organisation)?;
        let namespace = namespace(&customer);
        let (subject, key, created) = self.new_subject(actor, "person", None)?;
        let link = self.new_link(&subject.id, &key, &namespace, handle)?;
        let registered = self.audit(actor, "end_user.registered", organisation, &json!({ "subject": subject.id }))?;
        let feed = vec![
            FeedRow { kind: "subject".to_owned(), key: subject.id.clone() },
            FeedRow { kind: "link".to_owned(), key: link_key(&namespace, &link.digest) },
        ];
        let writes = vec![Write::Subject(subject), Write::Link(link)];
        // First the entry by which the caller may learn what was made: it names the organisation, not the subject.
        let change = Change { writes, audit: vec![registered, created], feed, outbox: Vec::new() };
        match self.commit_whole(change).await? {
            Ok(()) => Ok(()),
            Err(Conflict::Exists(_)) => Err(ServiceError::Conflict("handle")),
            Err(_) => Err(ServiceError::Unavailable("end user")),
        }
    }

    /// Takes a handle of an organisation away: from now on it names nobody, and the organisation's tokens about whom it named
    /// end, unless another handle of it names them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_end_user(&self, actor: &Actor, organisation: &str, handle: &str) -> ServiceResult<()> {
        let subject = self.registered_end_user(organisation, handle).await?;
        let namespace = namespace(&self.customer_named(organisation)?);
        self.unlink(actor, &subject, &namespace, handle).await
    }

    /// The subject behind a handle of an organisation.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn registered_end_user(&self, organisation: &str, handle: &str) -> ServiceResult<SubjectId> {
        let found = self.end_user_of(&self.customer_named(organisation)?, handle).await?;
        found.ok_or(ServiceError::NotFound("end user"))
    }
}
