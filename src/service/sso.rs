//! Eligibility as an attribute: what an identity provider is told about the people it knows.
//!
//! By default it learns yes or no and until when. Ineligible, review, insufficient, unknown here and erased are one no.
//! Status, confidence and evidence are told where its registration and the policy both say so.

pub(crate) mod claims;
mod evidence;

pub use claims::{Bearer, Consent, Provided, told};

use super::gateway::Judged;
use super::world::IdentityProvider;
use super::{App, ServiceError, ServiceResult};
use std::collections::BTreeSet;
use std::net::IpAddr;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::Disclosure;
use vouchsafe_core::{Second, Status};

/// Somebody as an identity provider names them.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// The provider's immutable id.
    pub id: &'a str,
    /// The name they sign in with, where it was told; it may be given to somebody else one day.
    pub login: Option<&'a str>,
}

/// What an identity provider is told.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Attribute {
    /// The first second at which a yes is no longer true; `None` is a no.
    pub valid_until: Option<Second>,
    /// Where it is disclosed.
    pub status: Option<Status>,
    /// Where it is disclosed, and there is one.
    pub confidence: Option<f64>,
}

impl Attribute {
    /// The answer that is safe whatever is the case.
    pub const NO: Self = Self { valid_until: None, status: None, confidence: None };

    /// Whether it is a yes.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.valid_until.is_some()
    }

    fn of(judged: &Judged, disclosed: &BTreeSet<Disclosure>, now: Second) -> Self {
        let answer = &judged.answer;
        let told = |disclosure| disclosed.contains(&disclosure);
        let mut until = answer.expires_at.filter(|_| answer.admits_alone());
        if !judged.decision.live.is_empty() {
            // What the request showed is true for no longer than a token may be believed.
            let ttl = judged.rules.body.policy.as_ref().map_or(0, |policy| policy.token_ttl.secs());
            until = until.map(|until| until.min(now.plus(ttl))).filter(|until| now < *until);
        }
        Self {
            valid_until: until,
            status: told(Disclosure::Status).then_some(answer.status),
            confidence: answer.confidence.filter(|_| told(Disclosure::Confidence)),
        }
    }
}

/// What a provider may learn about answers under these rules: its registration and the policy both have to say so.
fn disclosed(provider: &IdentityProvider, judged: &Judged) -> BTreeSet<Disclosure> {
    judged.disclosed(&provider.discloses)
}

impl App {
    /// What an identity provider is told about somebody, now; criteria that look at the request are judged by the address
    /// that it names. Answered from memory once the person was asked about. A yes is counted as an admission by the
    /// provider.
    ///
    /// # Errors
    /// `NotFound` for a resource it may not ask about; `Unavailable` when it cannot be known.
    pub async fn attribute(
        &self,
        provider: &IdentityProvider,
        person: &Person<'_>,
        resource: &ResourceId,
        address: Option<IpAddr>,
    ) -> ServiceResult<Attribute> {
        self.check_askable(provider, resource)?;
        let Some(subject) = self.known_as(provider, person).await? else { return Ok(Attribute::NO) };
        let Some(judged) = self.judged_for(provider, &subject, resource, address).await? else {
            return Ok(Attribute::NO);
        };
        let attribute = Attribute::of(&judged, &disclosed(provider, &judged), self.clock.now());
        if attribute.allowed() {
            self.admitted(&provider.id, &judged.decision, &judged.rules, None);
        }
        Ok(attribute)
    }

    fn check_askable(&self, provider: &IdentityProvider, resource: &ResourceId) -> ServiceResult<()> {
        self.check_feed_age()?;
        if provider.covers(resource) { Ok(()) } else { Err(ServiceError::NotFound("resource")) }
    }

    /// The subject whom a provider knows under an id; by the name they sign in with only where the organisation wants it.
    async fn known_as(&self, provider: &IdentityProvider, person: &Person<'_>) -> ServiceResult<Option<SubjectId>> {
        let mut found = self.resolve_link(&provider.namespace, person.id).await?;
        if found.is_none()
            && let Some(address) = person.login.and_then(|login| mail_link(provider, login))
        {
            found = self.resolve_link(&provider.namespace, &address).await?;
        }
        Ok(found.and_then(|id| SubjectId::parse(&id).ok()))
    }

    /// The decision about a subject who acts for the provider's organisation, if it has one.
    async fn judged_for(
        &self,
        provider: &IdentityProvider,
        subject: &SubjectId,
        resource: &ResourceId,
        address: Option<IpAddr>,
    ) -> ServiceResult<Option<Judged>> {
        let organisation = provider.organisation.as_deref();
        let acting_for = organisation.map(|id| self.organisation_subject(id)).transpose()?;
        self.judge(subject, acting_for.as_ref(), resource, address).await
    }

    /// The resource that a provider asks about, by its id or by `{issuer}/resources/{id}`; the only one, where it names none.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn asked_resource(&self, provider: &IdentityProvider, named: Option<&str>) -> ServiceResult<ResourceId> {
        let found = match named {
            None => provider.only_resource(),
            Some(text) => self.resource_of(text).or_else(|| ResourceId::parse(text).ok()),
        };
        found.ok_or(ServiceError::NotFound("resource"))
    }
}

/// The link of a sign-in name that is an address in one of the organisation's domains.
fn mail_link(provider: &IdentityProvider, login: &str) -> Option<String> {
    let login = login.to_ascii_lowercase();
    let (user, domain) = login.rsplit_once('@')?;
    (!user.is_empty() && provider.email_domains.contains(domain)).then(|| format!("mailto:{login}"))
}
