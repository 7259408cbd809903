//! Claims that are provided about somebody as a signed assertion (OpenID Connect for Identity Assurance 1.0), and the tokens
//! by which relying parties fetch them (distributed claims).
//!
//! Every assertion rests on a consent: the provider says for what purpose, and by which reference of its own the person
//! agreed. Both are kept sealed under the person's key, are in their export, and go with them.

use super::{Attribute, Person, disclosed, evidence};
use crate::service::authenticate::{ACCESS_TTL_SECS, Caller};
use crate::service::gateway::Judged;
use crate::service::remembered::Remembered;
use crate::service::world::IdentityProvider;
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{AuditEntry, Change, Conflict, StoredConsent, Write};
use crate::token::keys::{Algorithm, Purpose};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::Disclosure;

/// The scope of everything here.
pub(crate) const SCOPE: &str = "sso:claims";

/// Why claims are provided, in the provider's words.
#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    /// For what, as the person was told: 3 to 300 characters.
    pub purpose: &'a str,
    /// The provider's own reference to the person's consent: 1 to 200 characters.
    pub reference: &'a str,
}

impl Consent<'_> {
    fn check(&self) -> ServiceResult<()> {
        let plain = |text: &str| !text.chars().any(char::is_control);
        if !(3..=300).contains(&self.purpose.chars().count()) || !plain(self.purpose) {
            return Err(invalid("/purpose", "say in 3 to 300 characters for what, as the person was told"));
        }
        if !(1..=200).contains(&self.reference.chars().count()) || !plain(self.reference) {
            return Err(invalid("/consent", "give your own reference to the person's consent, 1 to 200 characters"));
        }
        Ok(())
    }
}

/// An assertion.
#[derive(Debug)]
pub struct Provided {
    /// The compact JWS.
    pub jwt: String,
}

/// An access token that opens one subject's claims for one resource, and nothing else.
#[derive(Debug)]
pub struct Bearer {
    verified: Arc<Remembered>,
    provider: Arc<IdentityProvider>,
    subject: SubjectId,
    resource: ResourceId,
    consent: String,
}

impl Bearer {
    /// The provider whose client it was given to.
    #[must_use]
    pub fn provider(&self) -> &IdentityProvider {
        &self.provider
    }
}

impl App {
    /// Claims about somebody whom the provider names (aggregated claims).
    ///
    /// # Errors
    /// `NotFound("subject")` for somebody who is not known here, `NotFound` for a resource it may not ask about, `Invalid`
    /// for a consent that cannot be used; `Unavailable` when it cannot be known.
    pub async fn provide_claims(
        &self,
        caller: &Caller,
        provider: &IdentityProvider,
        person: &Person<'_>,
        resource: &ResourceId,
        address: Option<IpAddr>,
        consent: Consent<'_>,
    ) -> ServiceResult<Provided> {
        consent.check()?;
        self.check_askable(provider, resource)?;
        let subject = self.known_as(provider, person).await?.ok_or(ServiceError::NotFound("subject"))?;
        let judged = self.judged_for(provider, &subject, resource, address).await?;
        let judged = judged.ok_or(ServiceError::NotFound("subject"))?;
        let row = self.consent_row(provider, &subject, resource, consent, 1).await?;
        let id = row.id.clone();
        self.sign_claims(&caller.actor(), provider, &subject, &judged, &id, Write::Consent(row)).await
    }

    /// A token by which a relying party fetches the claims itself (distributed claims): about one subject, for one
    /// resource, for minutes. Its subject is named as in the claims.
    ///
    /// # Errors
    /// As [`App::provide_claims`].
    pub async fn claims_token(
        &self,
        caller: &Caller,
        provider: &IdentityProvider,
        person: &Person<'_>,
        resource: &ResourceId,
        consent: Consent<'_>,
    ) -> ServiceResult<String> {
        consent.check()?;
        self.check_history()?;
        self.check_issuing()?;
        self.check_askable(provider, resource)?;
        let subject = self.known_as(provider, person).await?.ok_or(ServiceError::NotFound("subject"))?;
        let row = self.consent_row(provider, &subject, resource, consent, 0).await?;
        // A client whose tokens end in this second gets one of the next.
        let tokens_from = self.world.load().clients.get(&caller.id).map_or(0, |client| client.tokens_from);
        let now = self.clock.now().epoch().max(tokens_from);
        let claims = json!({
            "iss": self.issuer, "aud": self.issuer, "sub": self.crypto.pairwise(subject.as_str(), &provider.id)?,
            "client_id": caller.id, "iat": now, "exp": now + ACCESS_TTL_SECS, "jti": self.id("jti")?, "scope": SCOPE,
            "eligibility": { "resource": resource, "consent": row.id },
        });
        let token = self.signer(Purpose::Access, Algorithm::Es256)?.sign("at+jwt", &claims)?;
        let detail = json!({ "provider": provider.id, "resource": resource, "consent": row.id });
        let audit = self.audit(&caller.actor(), "claims.token_issued", subject.as_str(), &detail)?;
        self.commit_consent(vec![Write::Consent(row)], vec![audit]).await?;
        Ok(token)
    }

    /// What an access token that is about one subject's claims opens; `None` for any other token.
    ///
    /// # Errors
    /// `Unauthenticated` for one that is worth nothing any more.
    pub async fn claims_bearer(&self, token: &str) -> ServiceResult<Option<Bearer>> {
        self.check_history()?;
        let Ok(verified) = self.verify_own(token, Purpose::Access).await else { return Ok(None) };
        let (Some(resource), Some(consent)) = (&verified.resource, &verified.consent) else { return Ok(None) };
        let refused = || ServiceError::Unauthenticated;
        if verified.jkt.is_some() || !self.stands_for_client(&verified) {
            return Err(refused());
        }
        // The client may have lost the scope, the provider or itself meanwhile.
        self.token_caller(&verified)?.require(SCOPE).map_err(|_| refused())?;
        let provider = self.provider_of(&verified.client_id).map_err(|_| refused())?;
        let subject = self.party_named(&verified.sub, &provider.id, true).ok_or_else(refused)?;
        let resource = ResourceId::parse(resource).map_err(|_| refused())?;
        let consent = consent.clone();
        Ok(Some(Bearer { provider, subject, resource, consent, verified }))
    }

    /// The claims that a bearer opens.
    ///
    /// # Errors
    /// `Unauthenticated` when the subject, or the consent, is not there any more; otherwise as [`App::provide_claims`].
    pub async fn fetch_claims(&self, bearer: &Bearer) -> ServiceResult<Provided> {
        let Bearer { provider, subject, resource, consent, verified } = bearer;
        self.check_askable(provider, resource)?;
        let judged = self.judged_for(provider, subject, resource, None).await?;
        let judged = judged.ok_or(ServiceError::Unauthenticated)?;
        let (subject_id, at_ms) = (subject.to_string(), self.clock.now_ms());
        let write = Write::Provided { consent: consent.clone(), subject: subject_id, at_ms };
        let actor = Actor::client(&verified.client_id);
        match self.sign_claims(&actor, provider, subject, &judged, consent, write).await {
            Err(ServiceError::NotFound("subject")) => Err(ServiceError::Unauthenticated),
            other => other,
        }
    }

    /// A consent that is not stored yet; `count`: how often claims are provided with it.
    async fn consent_row(
        &self,
        provider: &IdentityProvider,
        subject: &SubjectId,
        resource: &ResourceId,
        consent: Consent<'_>,
        count: i64,
    ) -> ServiceResult<StoredConsent> {
        let stored = self.store.subject(subject.as_str()).await?.filter(|stored| stored.state == "active");
        let stored = stored.ok_or(ServiceError::NotFound("subject"))?;
        let key = self.crypto.unwrap_data_key(&stored.id, &stored.wrapped_key)?;
        let said = json!({ "purpose": consent.purpose, "consent": consent.reference }).to_string();
        // Neither text holds a control character, so no two consents read alike.
        let about = [subject.as_str(), &provider.id, resource.as_str(), consent.purpose, consent.reference];
        let digest = self.crypto.lookup_digest("consent", &about.join("\n"));
        let now_ms = self.clock.now_ms();
        Ok(StoredConsent {
            id: format!("cns_{}", digest.get(..32).unwrap_or_default()),
            subject: subject.to_string(),
            provider: provider.id.clone(),
            resource: resource.to_string(),
            sealed: key.seal("consent", said.as_bytes())?,
            count,
            first_ms: now_ms,
            last_ms: now_ms,
        })
    }

    async fn commit_consent(&self, writes: Vec<Write>, audit: Vec<AuditEntry>) -> ServiceResult<()> {
        match self.commit_whole(Change { writes, audit, feed: Vec::new(), outbox: Vec::new() }).await? {
            Ok(()) => Ok(()),
            // Erased meanwhile, or the consent outlived its retention.
            Err(Conflict::NoSuchSubject | Conflict::Stale("consents")) => Err(ServiceError::NotFound("subject")),
            Err(_) => Err(ServiceError::Conflict("consent")),
        }
    }

    /// Signs what may be told of an answer, once it is written down that it was, together with the decision.
    async fn sign_claims(
        &self,
        actor: &Actor,
        provider: &IdentityProvider,
        subject: &SubjectId,
        judged: &Judged,
        consent: &str,
        named: Write,
    ) -> ServiceResult<Provided> {
        let disclosed = disclosed(provider, judged);
        let attribute = Attribute::of(judged, &disclosed, self.clock.now());
        let verified_claims = json!({
            "verification": self.verification(subject, judged, attribute.allowed(), disclosed.contains(&Disclosure::Evidence)).await?,
            "claims": { "eligibility": told(&attribute, &judged.answer.resource) },
        });
        let claims = json!({
            "iss": self.issuer, "sub": self.crypto.pairwise(subject.as_str(), &provider.id)?,
            "iat": self.clock.now().epoch(), "verified_claims": verified_claims,
        });
        let alg = Algorithm::parse(&provider.alg).ok_or(ServiceError::Unavailable("algorithm"))?;
        // No `exp` and no `aud`, by the standard: so it is never taken for an ID token.
        let jwt = self.signer(Purpose::ProvidedClaims, alg)?.sign("provided-claims+jwt", &claims)?;
        let mut writes = vec![named];
        let mut audit = Vec::new();
        let decision = &judged.decision;
        if !self.recorded.contains_key(&decision.id) {
            let (write, entry) = self.recording(actor, decision, &judged.rules)?;
            writes.push(write);
            audit.push(entry);
        }
        let detail = json!({
            "provider": provider.id, "resource": decision.resource, "decision": decision.id, "consent": consent,
            "allowed": attribute.allowed(), "disclosed": disclosed,
        });
        audit.push(self.audit(actor, "claims.provided", subject.as_str(), &detail)?);
        self.commit_consent(writes, audit).await?;
        self.recorded.insert(decision.id.clone(), ()).await;
        Ok(Provided { jwt })
    }

    /// `verification`: how, and by what evidence, as far as it is disclosed.
    async fn verification(
        &self,
        subject: &SubjectId,
        judged: &Judged,
        allowed: bool,
        with_evidence: bool,
    ) -> ServiceResult<Value> {
        let mut verification = Map::new();
        verification.insert("trust_framework".to_owned(), json!(self.trust_framework()));
        verification.insert("verification_process".to_owned(), json!(judged.decision.id));
        if !(allowed && with_evidence) {
            return Ok(Value::Object(verification));
        }
        if let (Some(policy), Some(version)) = (&judged.decision.rules.policy, judged.decision.rules.version) {
            verification.insert("assurance_process".to_owned(), json!({ "policy": format!("{policy}@{version}") }));
        }
        verification.insert("time".to_owned(), json!(judged.decision.at));
        let (found, _) = self.index.versioned(subject, || self.load_versioned(subject.as_str())).await?;
        let (facts, _) = found.ok_or(ServiceError::NotFound("subject"))?;
        let items = evidence::evidence(&self.world.load(), &judged.decision, &facts);
        if !items.is_empty() {
            verification.insert("evidence".to_owned(), Value::Array(items));
        }
        Ok(Value::Object(verification))
    }

    /// Our own framework, under a name that nobody else has: we claim no other. Where evidence may be made up it is another.
    #[must_use]
    pub fn trust_framework(&self) -> String {
        let test = if self.deployment.is_test() { "/test" } else { "" };
        format!("{}/trust-framework{test}", self.issuer)
    }
}

/// An attribute as JSON.
#[must_use]
pub fn told(attribute: &Attribute, resource: &str) -> Value {
    let mut members = Map::new();
    members.insert("resource".to_owned(), json!(resource));
    members.insert("allowed".to_owned(), json!(attribute.allowed()));
    members.extend(attribute.valid_until.map(|until| ("valid_until".to_owned(), json!(until.epoch()))));
    members.extend(attribute.status.map(|status| ("status".to_owned(), json!(status))));
    members.extend(attribute.confidence.map(|confidence| ("confidence".to_owned(), json!(confidence))));
    Value::Object(members)
}
