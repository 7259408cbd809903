//! People as an organisation's directory provisions them (SCIM).
//!
//! A person in a directory is a subject, a link from the directory's own id to it, and a membership: an attestation of
//! kind `directory` by the organisation. What one request changes is one commit. A membership ends with the directory's
//! word that it ended; nothing that anybody else said, and no vouch of the organisation, is touched by it. Nobody is
//! forgotten by leaving: the link stays, so whoever comes back is the same subject with all that is known of it.

mod listing;

pub use listing::{Asked, Listed};

use super::directories::Provisioner;
use super::ingest::{Speaker, Submission};
use super::subjects::link_key;
use super::{App, ServiceError, ServiceResult};
use crate::crypto::{DataKey, sha256_hex};
use crate::intake::scim::schema::{CORE, ELIGIBILITY};
use crate::intake::scim::{Fault, FaultKind, Profile};
use crate::storage::{Change, Conflict, FeedRow, KeyedDirectoryUser, StoredDirectoryUser, StoredMark, UserKey, Write};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Kind, Statement};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::policy::Disclosure;
use vouchsafe_core::second::DAY;
use vouchsafe_core::{Decision, Second, explain};

/// How often a change is tried whose user changes under it.
const TRIES: usize = 5;

/// A membership that the directory confirms is renewed when it is this old, in seconds.
const RENEWED_AFTER_SECS: i64 = DAY;

/// Why a request of a directory is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// The request cannot be used.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Another user of the directory has it.
    #[error("`{0}` is taken")]
    Uniqueness(&'static str),
    /// Anything that other surfaces are refused for too.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<crate::storage::StoreError> for ScimError {
    fn from(error: crate::storage::StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl From<crate::crypto::CryptoError> for ScimError {
    fn from(error: crate::crypto::CryptoError) -> Self {
        Self::Service(error.into())
    }
}

/// Result of a request of a directory.
pub type ScimResult<T> = Result<T, ScimError>;

/// A user as it is told, and under which versions.
#[derive(Debug, Clone)]
pub struct Told {
    /// The resource.
    pub resource: Value,
    /// Version of what the directory said; a change insists on it.
    pub version: i64,
    /// Version of all that is told, eligibility included.
    pub tag: String,
}

/// A user that was read.
struct Read {
    user: StoredDirectoryUser,
    profile: Profile,
    key: DataKey,
}

/// What a change writes, in one commit.
struct Plan {
    change: Change,
    subject: String,
}

impl Plan {
    fn new(subject: &str) -> Self {
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.to_owned() }];
        let change = Change { writes: Vec::new(), audit: Vec::new(), feed, outbox: Vec::new() };
        Self { change, subject: subject.to_owned() }
    }

    fn link_changed(&mut self, namespace: &str, digest: &str) {
        self.change.feed.push(FeedRow { kind: "link".to_owned(), key: link_key(namespace, digest) });
    }
}

impl App {
    /// Digest of something that users of one directory are looked up by.
    fn directory_digest(&self, directory: &str, what: &str, text: &str) -> String {
        self.crypto.lookup_digest(&format!("directory/{directory}/{what}"), text)
    }

    fn user_name_digest(&self, directory: &str, user_name: &str) -> String {
        self.directory_digest(directory, "user_name", &user_name.to_lowercase())
    }

    fn email_digests(&self, directory: &str, profile: &Profile) -> Vec<String> {
        profile.emails().iter().map(|email| self.directory_digest(directory, "email", email)).collect()
    }

    fn opened(&self, row: KeyedDirectoryUser) -> ServiceResult<Read> {
        let KeyedDirectoryUser { user, wrapped_key } = row;
        let key = self.crypto.unwrap_data_key(&user.subject, &wrapped_key)?;
        let plain = key.open("directory", &user.sealed)?;
        let profile = Profile::from_kept(&plain)
            .ok_or_else(|| ServiceError::Unreadable(format!("directory_users row {}", user.id)))?;
        Ok(Read { user, profile, key })
    }

    async fn directory_user(&self, asker: &Provisioner, id: &str) -> ServiceResult<Read> {
        let found = self.store.directory_users_by(&asker.directory.id, UserKey::Id(id), 1).await?;
        self.opened(found.into_iter().next().ok_or(ServiceError::NotFound("user"))?)
    }

    /// A user of the directory.
    ///
    /// # Errors
    /// `NotFound`, also for a user of another directory and for one who was erased.
    pub async fn scim_user(&self, asker: &Provisioner, id: &str) -> ScimResult<Told> {
        let read = self.directory_user(asker, id).await?;
        Ok(self.told(asker, &read.user, &read.profile).await?)
    }

    /// Puts a person into the directory.
    ///
    /// # Errors
    /// `Uniqueness` for a user name or id that another user of the directory has; `Suspended` while the organisation is.
    pub async fn scim_create(&self, asker: &Provisioner, mut profile: Profile) -> ScimResult<Told> {
        self.check_history()?;
        // Who is put into a directory is a member unless it says otherwise.
        profile.active_unless_said(Some(&Value::Bool(true)));
        let directory = &asker.directory.id;
        let user_name = self.user_name_digest(directory, profile.user_name());
        let external_id = profile.external_id().map(|id| self.directory_digest(directory, "external_id", id));
        for _ in 0..TRIES {
            let taken = self.store.directory_users_by(directory, UserKey::UserName(&user_name), 1).await?;
            if !taken.is_empty() {
                return Err(ScimError::Uniqueness("userName"));
            }
            if let Some(external_id) = &external_id
                && !self.store.directory_users_by(directory, UserKey::ExternalId(external_id), 1).await?.is_empty()
            {
                return Err(ScimError::Uniqueness("externalId"));
            }
            let now_ms = self.clock.now_ms();
            let mut user = StoredDirectoryUser {
                id: self.id("usr")?,
                directory: directory.clone(),
                subject: String::new(),
                user_name: user_name.clone(),
                external_id: external_id.clone(),
                version: 0,
                sealed: Vec::new(),
                attestation: None,
                created_at_ms: now_ms,
                changed_at_ms: now_ms,
            };
            let (mut plan, key) = self.person(asker, &profile, &mut user).await?;
            let mut detail = json!({ "directory": directory, "subject": user.subject, "active": profile.active() });
            if profile.active() {
                let attestation = self.joins(asker, &mut plan, None, &user)?;
                if let Some(members) = detail.as_object_mut() {
                    members.insert("attestation".to_owned(), json!(attestation));
                }
                user.attestation = Some(attestation);
            }
            user.sealed = key.seal("directory", &kept(&profile)?)?;
            let emails = self.email_digests(directory, &profile);
            plan.change.writes.push(Write::DirectoryUser { user: user.clone(), emails, expected: 0 });
            plan.change.audit.push(self.audit(&asker.actor, "directory_user.created", &user.id, &detail)?);
            // Else somebody was faster, or the person was erased meanwhile: look again.
            if self.commit_plan(plan).await?.is_ok() {
                user.version = 1;
                return Ok(self.told(asker, &user, &profile).await?);
            }
        }
        Err(ServiceError::Conflict("user").into())
    }

    /// Who a new user is, with what makes them known: the subject that the directory's own id is linked to; where the
    /// registration says so, the one that an address of the organisation's is linked to; or a new one.
    async fn person(
        &self,
        asker: &Provisioner,
        profile: &Profile,
        user: &mut StoredDirectoryUser,
    ) -> ScimResult<(Plan, DataKey)> {
        let namespace = &asker.directory.namespace;
        let linked = match profile.external_id() {
            Some(id) => self.resolve_stored(namespace, id).await?,
            None => None,
        };
        let found = match &linked {
            Some(subject) => Some(subject.clone()),
            None => self.by_email(asker, profile).await?,
        };
        let (mut plan, key) = match found {
            Some(subject) => {
                let stored = self.store.subject(&subject).await?.filter(|stored| stored.state == "active");
                let stored = stored.ok_or(ServiceError::Conflict("user"))?;
                if stored.kind != "person" {
                    return Err(ScimError::Uniqueness("externalId"));
                }
                let held = self.store.directory_users_by(&asker.directory.id, UserKey::Subject(&subject), 1).await?;
                if !held.is_empty() {
                    return Err(ScimError::Uniqueness("externalId"));
                }
                let key = self.crypto.unwrap_data_key(&stored.id, &stored.wrapped_key)?;
                (Plan::new(&subject), key)
            }
            None => {
                let (subject, key, audit) = self.new_subject(&asker.actor, "person", None)?;
                let mut plan = Plan::new(&subject.id);
                plan.change.writes.push(Write::Subject(subject));
                plan.change.audit.push(audit);
                (plan, key)
            }
        };
        user.subject.clone_from(&plan.subject);
        if let (Some(id), None) = (profile.external_id(), &linked) {
            self.links_to(asker, &mut plan, &key, id)?;
        }
        Ok((plan, key))
    }

    /// The subject behind a link, as it is stored: memory may be half a second old.
    async fn resolve_stored(&self, namespace: &str, id: &str) -> ServiceResult<Option<String>> {
        let link = self.store.link(namespace, &self.link_digest(namespace, id)).await?;
        Ok(link.map(|link| link.subject))
    }

    /// The one subject that the user's addresses in the organisation's own domains are linked to, where the registration
    /// says that they tell who somebody is.
    async fn by_email(&self, asker: &Provisioner, profile: &Profile) -> ServiceResult<Option<String>> {
        let Some(matched) = &asker.directory.emails else { return Ok(None) };
        let mut subjects = BTreeSet::new();
        for email in profile.emails() {
            let own = email.rsplit_once('@').is_some_and(|(_, domain)| matched.domains.contains(domain));
            if own && let Some(subject) = self.resolve_stored(&matched.namespace, &email).await? {
                subjects.insert(subject);
            }
        }
        // SECURITY: addresses of two people tell nobody who this is.
        Ok(if subjects.len() == 1 { subjects.pop_first() } else { None })
    }

    fn links_to(&self, asker: &Provisioner, plan: &mut Plan, key: &DataKey, id: &str) -> ServiceResult<()> {
        let namespace = &asker.directory.namespace;
        let link = self.new_link(&plan.subject, key, namespace, id)?;
        plan.link_changed(namespace, &link.digest);
        let detail = json!({ "namespace": namespace });
        plan.change.audit.push(self.audit(&asker.actor, "link.created", &plan.subject, &detail)?);
        plan.change.writes.push(Write::Link(link));
        Ok(())
    }

    /// The membership begins, or goes on under the lineage that it has.
    fn joins(
        &self,
        asker: &Provisioner,
        plan: &mut Plan,
        lineage: Option<String>,
        user: &StoredDirectoryUser,
    ) -> ServiceResult<String> {
        let organisation = &asker.directory.organisation;
        let speaker = self.speaker_of(organisation)?;
        let subject = SubjectId::parse(&user.subject).map_err(|_| ServiceError::Unreadable(user.id.clone()))?;
        let event = self.id("evt")?;
        let lineage = lineage.unwrap_or_else(|| format!("{}:{event}", user.id));
        let statement = Statement::Employment { organisation: organisation.clone(), employed: true, relation: None };
        let submission = Submission {
            lineage: Some(lineage.clone()),
            statement: Some(statement),
            checked_at: Some(self.clock.now()),
            ..Submission::new(&speaker.source, event.clone(), Kind::Directory)
        };
        let facts = self.facts(&subject, &speaker, submission, &lineage)?;
        let new = self.new_attestation(&asker.actor, &user.subject, &speaker.source, event, lineage, &facts)?;
        let id = new.id.clone();
        plan.change.writes.push(Write::Attestation(new));
        Ok(id)
    }

    /// As whom an organisation's directory speaks: as the organisation, so that suspending it silences this too.
    fn speaker_of(&self, organisation: &str) -> ServiceResult<Speaker> {
        self.organisation_speaker(organisation)
            .map(|(speaker, _)| speaker)
            .ok_or(ServiceError::Forbidden("organisation"))
    }

    fn leaves(&self, asker: &Provisioner, plan: &mut Plan, attestation: &str, reason: &str) {
        plan.change.writes.push(Write::Mark(StoredMark {
            attestation: attestation.to_owned(),
            kind: "revoked".to_owned(),
            at_ms: self.clock.now_ms(),
            from_start: false,
            by: asker.actor.as_str().to_owned(),
            reason: reason.to_owned(),
        }));
    }

    /// Commits what was planned; a person of whom something was said meanwhile is a conflict like any other.
    async fn commit_plan(&self, plan: Plan) -> ServiceResult<Result<(), Conflict>> {
        let joined = plan.change.writes.iter().filter(|write| matches!(write, Write::Attestation(_))).count();
        let answer = match self.commit_whole(plan.change).await {
            Err(ServiceError::PreconditionFailed) => Err(Conflict::Unmet),
            answer => answer?,
        };
        if answer.is_ok() && joined > 0 {
            metrics::counter!("vouchsafe_attestations_total", "kind" => Kind::Directory.as_str()).increment(1);
        }
        Ok(answer)
    }

    /// Changes a user to what `change` makes of it, if it is at one of the versions, where they are given.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Uniqueness`; a fault of `change`; `Mutability` for an `externalId` that would
    /// make somebody else of a person of whom others have spoken.
    pub async fn scim_change(
        &self,
        asker: &Provisioner,
        id: &str,
        expected: Option<&[i64]>,
        change: impl Fn(&Profile) -> Result<Profile, Fault> + Send + Sync,
    ) -> ScimResult<Told> {
        self.check_history()?;
        for _ in 0..TRIES {
            let read = self.directory_user(asker, id).await?;
            if expected.is_some_and(|expected| !expected.contains(&read.user.version)) {
                return Err(ServiceError::PreconditionFailed.into());
            }
            let profile = change(&read.profile)?;
            let Some((plan, user)) = self.changed(asker, &read, &profile).await? else {
                return Ok(self.told(asker, &read.user, &read.profile).await?);
            };
            match self.commit_plan(plan).await? {
                Ok(()) => return Ok(self.told(asker, &user, &profile).await?),
                Err(Conflict::Exists("directory_users")) => {
                    let taken = UserKey::UserName(&user.user_name);
                    let holders = self.store.directory_users_by(&user.directory, taken, 1).await?;
                    let other = holders.iter().any(|holder| holder.user.id != user.id);
                    return Err(ScimError::Uniqueness(if other { "userName" } else { "externalId" }));
                }
                Err(Conflict::Exists("links")) => return Err(ScimError::Uniqueness("externalId")),
                // It changed meanwhile: look again.
                Err(_) => {}
            }
        }
        Err(ServiceError::Conflict("user").into())
    }

    /// What a change writes, and the user after it; `None` where nothing changes.
    async fn changed(
        &self,
        asker: &Provisioner,
        read: &Read,
        profile: &Profile,
    ) -> ScimResult<Option<(Plan, StoredDirectoryUser)>> {
        let directory = &asker.directory.id;
        let mut plan = Plan::new(&read.user.subject);
        let external_id = profile.external_id().map(|id| self.directory_digest(directory, "external_id", id));
        if external_id != read.user.external_id {
            self.relink(asker, &mut plan, read, profile).await?;
        }
        let mut user = StoredDirectoryUser {
            user_name: self.user_name_digest(directory, profile.user_name()),
            external_id,
            version: read.user.version + 1,
            changed_at_ms: self.clock.now_ms(),
            ..read.user.clone()
        };
        let mut verb = "changed";
        match (&read.user.attestation, profile.active()) {
            (None, true) => {
                user.attestation = Some(self.joins(asker, &mut plan, None, &user)?);
                verb = "activated";
            }
            (Some(attestation), false) => {
                self.leaves(asker, &mut plan, attestation, "deactivated");
                user.attestation = None;
                verb = "deactivated";
            }
            (Some(attestation), true) => {
                let stands = self.store.attestation(attestation).await?;
                let old =
                    |recorded_at_ms| self.clock.now().since(Second::from_millis(recorded_at_ms)) >= RENEWED_AFTER_SECS;
                if let Some(stands) = stands.filter(|stands| old(stands.recorded_at_ms)) {
                    user.attestation = Some(self.joins(asker, &mut plan, Some(stands.lineage), &user)?);
                    verb = "renewed";
                }
            }
            (None, false) => {}
        }
        let differences = read.profile.differences(profile);
        if differences.is_empty() && verb == "changed" {
            return Ok(None);
        }
        user.sealed = read.key.seal("directory", &kept(profile)?)?;
        let detail = json!({ "directory": directory, "subject": user.subject, "active": profile.active(),
            "attestation": user.attestation, "attributes": differences });
        plan.change.audit.push(self.audit(&asker.actor, &format!("directory_user.{verb}"), &user.id, &detail)?);
        let emails = self.email_digests(directory, profile);
        let expected = read.user.version;
        plan.change.writes.push(Write::DirectoryUser { user: user.clone(), emails, expected });
        Ok(Some((plan, user)))
    }

    /// The directory's own id becomes another. Whoever may use it is named by it at a gateway, so a directory moves it
    /// only as long as all that is known of the person is its own word.
    async fn relink(&self, asker: &Provisioner, plan: &mut Plan, read: &Read, profile: &Profile) -> ScimResult<()> {
        let namespace = &asker.directory.namespace;
        if let Some(before) = read.profile.external_id() {
            let source = self.speaker_of(&asker.directory.organisation)?.source;
            let loaded = self.load_versioned(&read.user.subject).await?;
            let (facts, read_at) = loaded.ok_or(ServiceError::NotFound("user"))?;
            let expect = Write::Expect { subject: read.user.subject.clone(), versions: vec![read_at.version] };
            plan.change.writes.push(expect);
            let own =
                |a: &vouchsafe_core::facts::Attestation| a.source.as_str() == source && a.facts.kind == Kind::Directory;
            // SECURITY: else an organisation could hand what a person has proven to somebody else.
            if !facts.attestations.iter().all(own) {
                let detail = "the person has proven more than this directory says: `externalId` stays";
                return Err(Fault { kind: FaultKind::Mutability, detail }.into());
            }
            let digest = self.link_digest(namespace, before);
            let link = self.store.link(namespace, &digest).await?;
            if link.is_some_and(|link| link.subject == read.user.subject) {
                plan.link_changed(namespace, &digest);
                let detail = json!({ "namespace": namespace });
                plan.change.audit.push(self.audit(&asker.actor, "link.removed", &read.user.subject, &detail)?);
                plan.change.writes.push(Write::Unlink { namespace: namespace.clone(), digest });
            }
        }
        if let Some(id) = profile.external_id() {
            match self.resolve_stored(namespace, id).await? {
                Some(subject) if subject == read.user.subject => {}
                Some(_) => return Err(ScimError::Uniqueness("externalId")),
                None => self.links_to(asker, plan, &read.key, id)?,
            }
        }
        Ok(())
    }

    /// Takes a person out of the directory. The membership ends; who it is, and what others said, stays.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`.
    pub async fn scim_delete(&self, asker: &Provisioner, id: &str, expected: Option<&[i64]>) -> ScimResult<()> {
        self.check_history()?;
        for _ in 0..TRIES {
            let Read { user, .. } = self.directory_user(asker, id).await?;
            if expected.is_some_and(|expected| !expected.contains(&user.version)) {
                return Err(ServiceError::PreconditionFailed.into());
            }
            let mut plan = Plan::new(&user.subject);
            if let Some(attestation) = &user.attestation {
                self.leaves(asker, &mut plan, attestation, "deleted");
            }
            let detail = json!({ "directory": user.directory, "subject": user.subject });
            plan.change.audit.push(self.audit(&asker.actor, "directory_user.deleted", id, &detail)?);
            plan.change.writes.push(Write::RemoveDirectoryUser { id: id.to_owned(), expected: user.version });
            if self.commit_plan(plan).await?.is_ok() {
                return Ok(());
            }
        }
        Err(ServiceError::Conflict("user").into())
    }

    /// A user as the directory is told.
    async fn told(&self, asker: &Provisioner, user: &StoredDirectoryUser, profile: &Profile) -> ServiceResult<Told> {
        let mut resource = self.plain(user, profile);
        let mut tag = user.version.to_string();
        let resources = self.allowances(asker, user).await?;
        if let Some(members) = resource.as_object_mut() {
            let mut schemas = vec![CORE];
            if !resources.is_empty() {
                schemas.push(ELIGIBILITY);
                let said = json!({ "resources": resources });
                // Who has an old answer must not take it for the new one: what is allowed changes by itself.
                let digest = sha256_hex(said.to_string().as_bytes());
                tag = format!("{tag}-{}", digest.get(..16).unwrap_or_default());
                members.insert(ELIGIBILITY.to_owned(), said);
            }
            members.insert("schemas".to_owned(), json!(schemas));
        }
        if let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) {
            meta.insert("version".to_owned(), json!(format!("W/\"{tag}\"")));
        }
        Ok(Told { resource, version: user.version, tag })
    }

    /// What the directory itself said of a user, and the books.
    fn plain(&self, user: &StoredDirectoryUser, profile: &Profile) -> Value {
        let mut members: Map<String, Value> = profile.members().clone();
        members.insert("id".to_owned(), json!(user.id));
        members.insert(
            "meta".to_owned(),
            json!({
                "resourceType": "User",
                "created": Second::from_millis(user.created_at_ms),
                "lastModified": Second::from_millis(user.changed_at_ms),
                "location": format!("{}/scim/v2/Users/{}", self.issuer, user.id),
            }),
        );
        Value::Object(members)
    }

    /// What a user may use now, of what the directory sees.
    async fn allowances(&self, asker: &Provisioner, user: &StoredDirectoryUser) -> ServiceResult<Vec<Value>> {
        let mut told = Vec::new();
        let subject = SubjectId::parse(&user.subject).map_err(|_| ServiceError::Unreadable(user.id.clone()))?;
        let organisation = self.organisation_subject(&asker.directory.organisation)?;
        for resource in &asker.directory.resources {
            // Criteria that look at a request have none to look at, so they say no.
            let judged = self.judge(&subject, Some(&organisation), resource, None).await?;
            // Erased between two reads: there is no such user any more.
            let judged = judged.ok_or(ServiceError::NotFound("user"))?;
            told.push(disclosed(&judged.answer, &judged.disclosed(&asker.directory.discloses)));
        }
        Ok(told)
    }

    /// What directories say of a subject, for the subject's own export.
    pub(crate) async fn exported_directories(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let rows = self.store.directory_users_of(subject.as_str()).await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let Read { user, profile, .. } = self.opened(row)?;
            items.push(json!({
                "id": user.id, "directory": user.directory, "profile": profile.members(),
                "membership": user.attestation, "created_at": Second::from_millis(user.created_at_ms),
                "changed_at": Second::from_millis(user.changed_at_ms),
            }));
        }
        Ok(items)
    }
}

/// What is told of a decision to whoever provisions: allowed or not and until when, and no more unless registered.
fn disclosed(decision: &Decision, discloses: &BTreeSet<Disclosure>) -> Value {
    let allowed = decision.admits_alone();
    let mut told = json!({ "resource": decision.resource, "allowed": allowed });
    if let Some(members) = told.as_object_mut() {
        if let Some(until) = decision.expires_at.filter(|_| allowed) {
            members.insert("validUntil".to_owned(), json!(until));
        }
        if discloses.contains(&Disclosure::Status) {
            members.insert("status".to_owned(), json!(decision.status));
        }
        if let Some(confidence) = decision.confidence.filter(|_| discloses.contains(&Disclosure::Confidence)) {
            members.insert("confidence".to_owned(), json!(explain::rounded(confidence, 2)));
        }
    }
    told
}

fn kept(profile: &Profile) -> ServiceResult<Vec<u8>> {
    serde_json::to_vec(profile.members()).map_err(|_| ServiceError::Unreadable("profile".to_owned()))
}
