//! The question of the AuthZEN Authorization API 1.0: may this subject do this with that? It is a gateway's question in
//! other words, and has the same answer.

mod search;

pub use search::{Found, Paging};

use super::authenticate::Caller;
use super::end_users::{Live, Named, Served};
use super::gateway::{Credential, Passed, Verdict, safe_reason};
use super::world::Gateway;
use super::{App, ServiceError, ServiceResult};
use crate::token::keys::Purpose;
use std::net::IpAddr;
use std::sync::Arc;
use vouchsafe_core::facts::SubjectKind;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::{Decision, Status};

/// Type of a subject who is named by an eligibility token.
pub const TOKEN: &str = "eligibility_token";

/// Types of resources that are named by their own id, with the one action [`USE`].
const PLAIN: [&str; 2] = ["eligibility", "service"];

/// The one action on a resource that is named by its own id.
const USE: &str = "use";

/// Who asks.
#[derive(Debug, Clone)]
pub enum Asker {
    /// A gateway, about the resources it guards.
    Gateway(Arc<Gateway>),
    /// An API client.
    Client(Arc<Caller>),
}

/// A subject or resource as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entity<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `id`.
    pub id: &'a str,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// Who wants to do it.
    pub subject: Entity<'a>,
    /// What they want to do.
    pub action: &'a str,
    /// With what.
    pub resource: Entity<'a>,
    /// The organisation they act for, `org_…` or `sub_…`.
    pub acting_for: Option<&'a str>,
    /// The end user for whom they do it.
    pub end_user: Named<'a>,
    /// Where the subject's own request came from, for criteria that look at it.
    pub address: Option<IpAddr>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Whether they may.
    pub permitted: bool,
    /// Subject-safe code of a refusal.
    pub reason: Option<String>,
    /// The id of the decision, when there is one.
    pub decision: Option<String>,
    /// Its body, where it was made for this question.
    pub body: Option<Arc<Decision>>,
    /// Whether the asker is told the confidence.
    pub details: bool,
    /// First second at which a yes no longer holds, RFC 3339.
    pub valid_until: Option<String>,
    /// The end user, as the asker knows them, and the decision about them.
    pub end_user: Option<(String, String)>,
}

impl Answer {
    fn refused(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::default() }
    }

    fn judged(decision: Arc<Decision>) -> Self {
        let permitted = decision.status == Status::Eligible && decision.expires_at.is_some();
        let reason = (!permitted).then(|| safe_reason(&decision));
        let valid_until = decision.expires_at.filter(|_| permitted).map(|until| until.to_string());
        let id = decision.id.clone();
        Self { permitted, reason, decision: Some(id), body: Some(decision), details: true, valid_until, end_user: None }
    }
}

/// The resource that a request names: by its own id to `use` it, else `<type>.<id>.<action>`. `None` for what no resource
/// can be called.
#[must_use]
pub fn resource_named(resource: Entity<'_>, action: &str) -> Option<ResourceId> {
    if PLAIN.contains(&resource.kind) {
        return ResourceId::parse(resource.id).ok().filter(|_| action == USE);
    }
    // SECURITY: type and action are one segment each, so that no two questions are about one resource by accident.
    let one_segment = !resource.kind.contains('.') && !action.contains('.');
    ResourceId::parse(&format!("{}.{}.{action}", resource.kind, resource.id)).ok().filter(|_| one_segment)
}

impl App {
    /// Answers whoever asks, by what is known here alone: nothing that a request claims about its subject is evidence.
    ///
    /// # Errors
    /// `Forbidden` for a gateway that names callers and may not, or a client without the scope; `Unavailable` when it
    /// cannot know.
    pub async fn access(&self, asker: &Asker, question: &Question<'_>) -> ServiceResult<Answer> {
        match asker {
            Asker::Gateway(gateway) => self.access_of_gateway(gateway, question).await,
            Asker::Client(caller) => {
                caller.require("access:evaluate")?;
                self.access_of_client(caller, question).await
            }
        }
    }

    async fn access_of_gateway(&self, gateway: &Gateway, question: &Question<'_>) -> ServiceResult<Answer> {
        let by_token = question.subject.kind == TOKEN;
        // SECURITY: who may not assert a caller may not do so in other words either.
        if !by_token && !gateway.asserts {
            return Err(ServiceError::Forbidden("asserts"));
        }
        let Some(resource) = resource_named(question.resource, question.action) else {
            return Ok(Answer::refused("resource.ungoverned"));
        };
        let found;
        let credential = if by_token {
            Credential::Token(question.subject.id)
        } else {
            let Some(parties) = self.parties_named(question.subject, question.acting_for).await? else {
                return Ok(Answer::refused("caller.unlinked"));
            };
            found = parties;
            Credential::Known(&found.0, found.1.as_ref())
        };
        let details = self.world.load().audiences.get(&gateway.audience).is_some_and(|audience| audience.details);
        // SECURITY: nor may it name an end user.
        let end_user = if gateway.asserts { question.end_user } else { Named::Nobody };
        match self.check(gateway, credential, end_user, &resource, question.address).await {
            Ok(Verdict::Admit(Passed { valid_until, end_user, answer, .. })) => {
                Ok(Answer { details, valid_until: Some(valid_until), end_user, ..Answer::judged(answer) })
            }
            Ok(Verdict::Refuse { reason, decision, answer }) => {
                Ok(Answer { reason: Some(reason), decision, body: answer, details, ..Answer::default() })
            }
            Ok(Verdict::Challenge(_)) => Ok(Answer::refused("token.invalid")),
            Err(ServiceError::NotFound(_)) => Ok(Answer::refused("resource.ungoverned")),
            Err(error) => Err(error),
        }
    }

    async fn access_of_client(&self, caller: &Caller, question: &Question<'_>) -> ServiceResult<Answer> {
        let Some(resource) = resource_named(question.resource, question.action) else {
            return Ok(Answer::refused("resource.ungoverned"));
        };
        let (subject, acting_for, served) = if question.subject.kind == TOKEN {
            let Ok(verified) = self.verify_own(question.subject.id, Purpose::Eligibility).await else {
                return Ok(Answer::refused("token.invalid"));
            };
            // SECURITY: one that is bound to a key cannot be proven here.
            let fits = self.is_of_audience(caller, Some(&verified.aud))
                && verified.resource.as_deref() == Some(resource.as_str())
                && verified.jkt.is_none();
            let bearer = self.bearer(&verified)?.filter(|_| fits);
            let Some(bearer) = bearer else { return Ok(Answer::refused("token.invalid")) };
            if self.is_revoked(&verified.jti) {
                return Ok(Answer { decision: verified.decision.clone(), ..Answer::refused("token.revoked") });
            }
            let served = bearer.end_user.map(|(end_user, customer)| Served { end_user, customer });
            (bearer.subject, bearer.acting_for, served)
        } else {
            let Some(parties) = self.parties_named(question.subject, question.acting_for).await? else {
                return Ok(Answer::refused("caller.unlinked"));
            };
            (parties.0, parties.1, None)
        };
        let Some(judged) = self.judge(&subject, acting_for.as_ref(), &resource, question.address).await? else {
            return Ok(Answer::refused("caller.unlinked"));
        };
        let answer = Answer::judged(Arc::clone(&judged.answer));
        if !answer.permitted {
            return Ok(answer);
        }
        let behind =
            self.behind(&judged, served.as_ref(), question.end_user, &resource, Live::Judged(question.address)).await?;
        Ok(match behind {
            Ok(None) => answer,
            Ok(Some(behind)) => {
                let until = answer.body.as_ref().and_then(|body| body.expires_at).map(|end| end.min(behind.until));
                let end_user = (self.end_user_name(&behind.served, &caller.id)?, behind.decision.id.clone());
                Answer { valid_until: until.map(|until| until.to_string()), end_user: Some(end_user), ..answer }
            }
            Err(refusal) => Answer { decision: answer.decision, details: true, ..Answer::refused(refusal.code()) },
        })
    }

    /// The subject that a request names, and the organisation they act for. `None` where either is nobody.
    async fn parties_named(
        &self,
        subject: Entity<'_>,
        acting_for: Option<&str>,
    ) -> ServiceResult<Option<(SubjectId, Option<SubjectId>)>> {
        let Some(subject) = self.subject_named(subject).await? else { return Ok(None) };
        let acting_for = acting_for.map(|name| self.organisation_subject(name)).transpose();
        Ok(acting_for.ok().map(|acting_for| (subject, acting_for)))
    }

    /// The subject that a request names: as `person`, `organisation` or `workload` by our id or a link `namespace:id`; as
    /// any other type by a link in the namespace of that name.
    async fn subject_named(&self, Entity { kind, id }: Entity<'_>) -> ServiceResult<Option<SubjectId>> {
        let of_kind = SubjectKind::parse(kind);
        let linked = match (of_kind, SubjectId::parse(id)) {
            (Some(_), Ok(subject)) => Some(subject.to_string()),
            (Some(_), Err(_)) => match id.split_once(':').filter(|(n, i)| !n.is_empty() && !i.is_empty()) {
                Some((namespace, id)) => self.resolve_link(namespace, id).await?,
                None => None,
            },
            (None, _) if kind.is_empty() || id.is_empty() => None,
            (None, _) => self.resolve_link(kind, id).await?,
        };
        let Some(subject) = linked.and_then(|subject| SubjectId::parse(&subject).ok()) else { return Ok(None) };
        if let Some(kind) = of_kind {
            let facts = self.index.facts(&subject, || self.load_versioned(subject.as_str())).await?;
            return Ok(facts.filter(|facts| facts.kind == kind).map(|_| subject));
        }
        Ok(Some(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_by_its_id_or_by_type_id_and_action() {
        // (type, id, action, resource); `-` is none.
        let table = [
            ("service", "restricted.api", "use", "restricted.api"),
            ("eligibility", "restricted.api", "use", "restricted.api"),
            ("service", "restricted.api", "read", "-"),
            ("service", "restricted.api", "", "-"),
            ("service", "", "use", "-"),
            ("service", "Restricted", "use", "-"),
            ("service", "restricted.*", "use", "-"),
            ("record", "record-1", "read", "record.record-1.read"),
            ("record", "a.b", "read", "record.a.b.read"),
            ("record", "record-1", "use", "record.record-1.use"),
            // Else `record.a.b` with `read`, and `record.a` with `b.read`, would be one.
            ("record", "a", "b.read", "-"),
            ("record.a", "b", "read", "-"),
            ("record", "record-1", "", "-"),
            ("", "record-1", "read", "-"),
            ("record", "", "read", "-"),
            ("record", "../etc", "read", "-"),
            ("record", "record-1", "GET", "-"),
            ("Service", "restricted.api", "use", "-"),
        ];
        for (kind, id, action, want) in table {
            let named = resource_named(Entity { kind, id }, action);
            assert_eq!(named.as_ref().map_or("-", ResourceId::as_str), want, "{kind} {id} {action}");
        }
    }
}
