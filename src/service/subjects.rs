//! Subjects, links to callers' ids, and vendor sessions.

use super::cases::settle;
use super::deployment::SIMULATED;
use super::end_users::{OWN_NAMESPACE, holds_handles};
use super::index::ReadAt;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::DataKey;
use crate::storage::{AuditEntry, Conflict, FeedRow, StoredLink, StoredSubject, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Attestation, Facts, Kind, Mark, MarkKind, SubjectFacts, SubjectKind};
use vouchsafe_core::ids::{AttestationId, SourceId, SubjectId};

/// Direct identifiers of a subject, sealed at rest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Identifiers {
    /// The caller's own id.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// A subject as its owner sees it.
#[derive(Debug, Serialize)]
pub struct SubjectView {
    /// `sub_…`
    pub id: String,
    /// `person`, `organisation`, `workload`.
    pub kind: String,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// Grows with every change.
    pub version: i64,
    /// Creation.
    pub created_at: Second,
}

impl App {
    /// Creates a subject.
    ///
    /// # Errors
    /// `Conflict` when the external id is taken.
    pub async fn create_subject(
        &self,
        actor: &Actor,
        kind: &str,
        external_id: Option<&str>,
    ) -> ServiceResult<SubjectView> {
        let (subject, _, audit) = self.new_subject(actor, kind, external_id)?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.id.clone() }];
        self.commit(vec![Write::Subject(subject.clone())], audit, feed)
            .await?
            .map_err(|_| ServiceError::Conflict("external_id"))?;
        self.view(&subject)
    }

    /// A subject that is not stored yet, its key and its audit entry.
    pub(crate) fn new_subject(
        &self,
        actor: &Actor,
        kind: &str,
        external_id: Option<&str>,
    ) -> ServiceResult<(StoredSubject, DataKey, AuditEntry)> {
        if SubjectKind::parse(kind).is_none() {
            return Err(invalid("/kind", "must be `person`, `organisation` or `workload`"));
        }
        let id = self.id("sub")?;
        let (key, wrapped_key) = self.crypto.new_data_key(&id)?;
        let identifiers = Identifiers { external_id: external_id.map(str::to_owned) };
        let plain = serde_json::to_vec(&identifiers).map_err(|_| ServiceError::Unreadable("identifiers".to_owned()))?;
        let audit = self.audit(actor, "subject.created", &id, &json!({ "kind": kind }))?;
        let subject = StoredSubject {
            kind: kind.to_owned(),
            version: 1,
            state: "active".to_owned(),
            external_digest: external_id.map(|external| self.external_digest(external)),
            identifiers: key.seal("identifiers", &plain)?,
            wrapped_key,
            created_at_ms: self.clock.now_ms(),
            id,
        };
        Ok((subject, key, audit))
    }

    /// The digest under which a caller's own id is stored.
    pub(crate) fn external_digest(&self, external_id: &str) -> String {
        self.crypto.lookup_digest("external_id", external_id)
    }

    fn view(&self, subject: &StoredSubject) -> ServiceResult<SubjectView> {
        let key = self.crypto.unwrap_data_key(&subject.id, &subject.wrapped_key)?;
        let plain = key.open("identifiers", &subject.identifiers)?;
        let identifiers: Identifiers = serde_json::from_slice(&plain)
            .map_err(|_| ServiceError::Unreadable(format!("identifiers of {}", subject.id)))?;
        Ok(SubjectView {
            id: subject.id.clone(),
            kind: subject.kind.clone(),
            external_id: identifiers.external_id,
            version: subject.version,
            created_at: Second::from_millis(subject.created_at_ms),
        })
    }

    /// A subject by our id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn subject(&self, id: &SubjectId) -> ServiceResult<SubjectView> {
        self.view(&self.active(id).await?)
    }

    /// A subject's row while it is active.
    async fn active(&self, id: &SubjectId) -> ServiceResult<StoredSubject> {
        match self.store.subject(id.as_str()).await? {
            Some(subject) if subject.state == "active" => Ok(subject),
            _ => Err(self.missing(id.as_str()).await),
        }
    }

    /// A subject by the caller's own id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn subject_by_external(&self, external_id: &str) -> ServiceResult<SubjectView> {
        let digest = self.external_digest(external_id);
        let subject = self.store.subject_by_external(&digest).await?.filter(|subject| subject.state == "active");
        self.view(&subject.ok_or(ServiceError::NotFound("subject"))?)
    }

    /// A page of subjects in id order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn subjects(&self, after: &str, limit: i64) -> ServiceResult<Vec<SubjectView>> {
        let page = self.store.subjects(after, limit).await?;
        page.iter().filter(|subject| subject.state == "active").map(|subject| self.view(subject)).collect()
    }

    /// The digest under which a link is stored.
    #[must_use]
    pub fn link_digest(&self, namespace: &str, id: &str) -> String {
        self.crypto.lookup_digest(&format!("link/{namespace}"), id)
    }

    /// Links a caller's id to the subject.
    ///
    /// # Errors
    /// `Conflict` when the id is linked already; `NotFound` when the subject is not there.
    pub async fn link(&self, actor: &Actor, subject: &SubjectId, namespace: &str, id: &str) -> ServiceResult<()> {
        let namespace = &self.namespace_meant(namespace)?;
        if holds_handles(namespace) && namespace != OWN_NAMESPACE {
            self.check_handle(subject, namespace, id).await?;
        } else {
            check_namespace(namespace)?;
        }
        let stored = self.active(subject).await?;
        let key = self.crypto.unwrap_data_key(&stored.id, &stored.wrapped_key)?;
        let link = self.new_link(&stored.id, &key, namespace, id)?;
        let audit = self.audit(actor, "link.created", &stored.id, &json!({ "namespace": namespace }))?;
        let feed = vec![FeedRow { kind: "link".to_owned(), key: link_key(namespace, &link.digest) }];
        match self.commit(vec![Write::Link(link)], audit, feed).await? {
            Ok(()) => Ok(()),
            Err(Conflict::NoSuchSubject) => Err(self.missing(&stored.id).await),
            Err(_) => Err(ServiceError::Conflict("link")),
        }
    }

    /// A link that is not stored yet, sealed under its subject's key.
    pub(crate) fn new_link(
        &self,
        subject: &str,
        key: &DataKey,
        namespace: &str,
        id: &str,
    ) -> ServiceResult<StoredLink> {
        Ok(StoredLink {
            namespace: namespace.to_owned(),
            digest: self.link_digest(namespace, id),
            subject: subject.to_owned(),
            sealed: key.seal("link", id.as_bytes())?,
            created_at_ms: self.clock.now_ms(),
        })
    }

    /// Removes a link.
    ///
    /// # Errors
    /// `NotFound` when it is not there or belongs to another subject.
    pub async fn unlink(&self, actor: &Actor, subject: &SubjectId, namespace: &str, id: &str) -> ServiceResult<()> {
        let namespace = &self.namespace_meant(namespace)?;
        let digest = self.link_digest(namespace, id);
        let link = self.store.link(namespace, &digest).await?.filter(|link| link.subject == subject.as_str());
        link.ok_or(ServiceError::NotFound("link"))?;
        let audit = self.audit(actor, "link.removed", subject.as_str(), &json!({ "namespace": namespace }))?;
        let mut feed = vec![FeedRow { kind: "link".to_owned(), key: link_key(namespace, &digest) }];
        if holds_handles(namespace) {
            // Tokens may have been made by it.
            feed.push(FeedRow { kind: "subject".to_owned(), key: subject.to_string() });
        }
        let write = Write::Unlink { namespace: namespace.to_owned(), digest };
        self.commit(vec![write], audit, feed).await?.map_err(|_| ServiceError::NotFound("link"))?;
        if holds_handles(namespace) {
            self.look_again(subject).await?;
        }
        Ok(())
    }

    /// The ids linked to a subject, as (namespace, id).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn links(&self, subject: &SubjectId) -> ServiceResult<Vec<(String, String)>> {
        let stored = self.active(subject).await?;
        let key = self.crypto.unwrap_data_key(&stored.id, &stored.wrapped_key)?;
        self.store
            .links(&stored.id)
            .await?
            .into_iter()
            .map(|link| {
                let id = String::from_utf8(key.open("link", &link.sealed)?)
                    .map_err(|_| ServiceError::Unreadable(format!("link of {}", stored.id)))?;
                Ok((link.namespace, id))
            })
            .collect()
    }

    /// The subject behind a caller's id, from memory when it is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resolve_link(&self, namespace: &str, id: &str) -> ServiceResult<Option<String>> {
        // SECURITY: a handle names somebody to its own organisation, and to nobody else.
        if holds_handles(namespace) {
            return Ok(None);
        }
        let digest = self.link_digest(namespace, id);
        let key = link_key(namespace, &digest);
        self.index
            .link(&key, || async { Ok(self.store.link(namespace, &digest).await?.map(|link| link.subject)) })
            .await
    }

    /// Binds a vendor session to the subject and attaches what was quarantined for it.
    ///
    /// # Errors
    /// `NotFound` for an unknown source or subject, `Conflict` when the session is another subject's.
    pub async fn bind_session(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        source: &str,
        session: &str,
    ) -> ServiceResult<usize> {
        if !self.world.load().sources.contains_key(source) {
            return Err(invalid("/source", "no such source"));
        }
        self.subject(subject).await?;
        // The session of somebody who was erased is nobody else's.
        if self.store.session_subject(source, &self.erased_session(source, session)).await?.is_some() {
            return Err(ServiceError::Conflict("session"));
        }
        let audit = self.audit(actor, "session.bound", subject.as_str(), &json!({ "source": source }))?;
        let write = Write::Session {
            source: source.to_owned(),
            session: session.to_owned(),
            subject: subject.as_str().to_owned(),
            created_at_ms: self.clock.now_ms(),
        };
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.to_string() }];
        self.commit(vec![write], audit, feed).await?.map_err(|_| ServiceError::Conflict("session"))?;
        self.release_quarantine(source, session, subject).await
    }

    /// The subject's facts, read from the store.
    pub(crate) async fn load_facts(&self, id: &str) -> ServiceResult<Option<SubjectFacts>> {
        Ok(self.load_versioned(id).await?.map(|(facts, _)| facts))
    }

    /// The subject's facts and what they were read at.
    pub(crate) async fn load_versioned(&self, id: &str) -> ServiceResult<Option<(SubjectFacts, ReadAt)>> {
        let loaded = self.load_stored(id).await?;
        Ok(loaded.filter(|(active, ..)| *active).map(|(_, facts, read_at)| (facts, read_at)))
    }

    /// Facts of a subject, erased or not, what they were read at, and whether it is active.
    pub(crate) async fn load_stored(&self, id: &str) -> ServiceResult<Option<(bool, SubjectFacts, ReadAt)>> {
        // Before the facts: they hold what was suspended up to here, and perhaps more.
        let suspensions = self.world.load().suspensions;
        let Some((subject, rows)) = self.store.load_subject(id).await? else { return Ok(None) };
        let active = subject.state == "active";
        let mut attestations: Vec<(Attestation, String)> = rows
            .into_iter()
            .map(|row| {
                let unreadable = || ServiceError::Unreadable(format!("attestation {}", row.id));
                let facts: Facts = serde_json::from_str(&row.facts).map_err(|_| unreadable())?;
                // SECURITY: rows can be copied from a test's database past the door that refuses it as a whole.
                if facts.codes.contains(SIMULATED) && self.only_on_a_test_deployment().is_err() {
                    tracing::error!(attestation = row.id, "simulated evidence on a production deployment is ignored");
                    return Ok(None);
                }
                let marks = row
                    .marks
                    .iter()
                    .map(|mark| {
                        let kind = match mark.kind.as_str() {
                            "revoked" => MarkKind::Revoked,
                            "superseded" => MarkKind::Superseded,
                            "resolved" => MarkKind::Resolved,
                            "suspended" => MarkKind::Suspended,
                            _ => return Err(unreadable()),
                        };
                        Ok(Mark { at: Second::from_millis(mark.at_ms), kind, from_start: mark.from_start })
                    })
                    .collect::<ServiceResult<_>>()?;
                let attestation = Attestation {
                    id: AttestationId::parse(&row.id).map_err(|_| unreadable())?,
                    source: SourceId::parse(&row.source).map_err(|_| unreadable())?,
                    recorded_at: Second::from_millis(row.recorded_at_ms),
                    facts,
                    marks,
                };
                Ok(Some((attestation, row.lineage)))
            })
            .filter_map(Result::transpose)
            .collect::<ServiceResult<_>>()?;
        // Few subjects were ever adjudicated: the others are not asked about.
        if attestations.iter().any(|(attestation, _)| attestation.facts.kind == Kind::Adjudication) {
            settle(&mut attestations, &self.store.resolutions(id).await?);
        }
        let attestations = attestations.into_iter().map(|(attestation, _)| attestation).collect();
        let read_at = ReadAt { version: subject.version, suspensions };
        let kind = SubjectKind::parse(&subject.kind)
            .ok_or_else(|| ServiceError::Unreadable(format!("kind of {}", subject.id)))?;
        let subject = SubjectId::parse(&subject.id).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))?;
        Ok(Some((active, SubjectFacts::new(subject, kind, attestations), read_at)))
    }
}

/// Key of a link in index and feed.
pub(crate) fn link_key(namespace: &str, digest: &str) -> String {
    format!("link:{namespace}:{digest}")
}

/// Namespaces are short names of ours, not data.
pub(crate) fn check_namespace(namespace: &str) -> ServiceResult<()> {
    let fits = (1..=64).contains(&namespace.len())
        && namespace
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_' || b == b'.');
    if namespace == OWN_NAMESPACE {
        return Err(invalid("/namespace", "end users are an organisation's: `end-user:org_…`"));
    }
    if fits { Ok(()) } else { Err(invalid("/namespace", "use 1 to 64 of `a-z 0-9 - _ .`")) }
}
