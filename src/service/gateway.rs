//! The gateway's question: may this caller pass, now, to this resource?

use super::world::Gateway;
use super::{App, NETWORK_SOURCE, ServiceError, ServiceResult};
use crate::token::Bearer;
use crate::token::dpop;
use crate::token::keys::Purpose;
use std::net::IpAddr;
use vouchsafe_core::facts::{Attestation, Facts, Grade, Kind, Outcome, SourceKind};
use vouchsafe_core::ids::{AttestationId, ResourceId, SourceId, SubjectId};
use vouchsafe_core::{Status, check_live};

/// How the gateway brings the caller.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// The caller's own eligibility token.
    Token(&'a str),
    /// The same, bound to a key, with its proof for the request to the gateway.
    Bound {
        /// The token.
        token: &'a str,
        /// The proof; `None` where there is not exactly one.
        proof: Option<&'a str>,
        /// The caller's request as the gateway names it, method and path; `None` where it does not.
        request: Option<(&'a str, &'a str)>,
    },
    /// A caller the gateway authenticated itself, `namespace:id`, and the organisation it acts for, if the gateway says so.
    Asserted(&'a str, Option<&'a str>),
    /// Nothing.
    None,
}

/// Why a caller is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Pass.
    Admit(Passed),
    /// 401: no credential, or one that is not valid.
    Challenge(&'static str),
    /// 403 or 451: a known caller who may not pass.
    Refuse {
        /// Subject-safe code.
        reason: String,
        /// The decision, when there is one.
        decision: Option<String>,
    },
}

/// What the gateway learns of a caller who passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Decision id.
    pub decision: String,
    /// First second it is no longer true, RFC 3339.
    pub valid_until: String,
    /// Pairwise subject.
    pub subject: String,
    /// Feed age is past two seconds.
    pub stale: bool,
}

impl App {
    /// Answers a gateway. Never admits without a fresh picture of rules, revocations and facts.
    ///
    /// # Errors
    /// `NotFound` for a resource the gateway does not guard; `Unavailable` when it cannot know.
    pub async fn check(
        &self,
        gateway: &Gateway,
        credential: Credential<'_>,
        resource: &ResourceId,
        address: Option<IpAddr>,
    ) -> ServiceResult<Verdict> {
        if !gateway.resources.iter().any(|pattern| pattern.covers(resource)) {
            return Err(ServiceError::NotFound("resource"));
        }
        self.check_feed_age()?;
        let (subject, acting_for) = match credential {
            Credential::None => return Ok(Verdict::Challenge("")),
            Credential::Token(token) | Credential::Bound { token, .. } => {
                let Ok(verified) = self.verify_own(token, Purpose::Eligibility).await else {
                    return Ok(Verdict::Challenge("invalid_token"));
                };
                if verified.aud != gateway.audience || verified.resource.as_deref() != Some(resource.as_str()) {
                    return Ok(Verdict::Challenge("invalid_token"));
                }
                if let Some(error) = self.unproven(gateway, credential, verified.jkt.as_deref()).await? {
                    return Ok(Verdict::Challenge(error));
                }
                if self.is_revoked(&verified.jti) {
                    return Ok(Verdict::Refuse {
                        reason: "token.revoked".to_owned(),
                        decision: verified.decision.clone(),
                    });
                }
                match self.bearer(&verified)? {
                    Some(Bearer { subject, acting_for, .. }) => (subject, acting_for),
                    None => return Ok(Verdict::Challenge("invalid_token")),
                }
            }
            Credential::Asserted(caller, acting_for) => {
                let unlinked = || Verdict::Refuse { reason: "caller.unlinked".to_owned(), decision: None };
                let Some((namespace, id)) = caller.split_once(':').filter(|(n, i)| !n.is_empty() && !i.is_empty())
                else {
                    return Ok(Verdict::Challenge("invalid_request"));
                };
                let Some(subject) = self.resolve_link(namespace, id).await? else { return Ok(unlinked()) };
                let acting_for = match acting_for.map(|name| self.organisation_subject(name)).transpose() {
                    Ok(acting_for) => acting_for,
                    Err(_) => return Ok(unlinked()),
                };
                match SubjectId::parse(&subject) {
                    Ok(subject) => (subject, acting_for),
                    Err(_) => return Ok(unlinked()),
                }
            }
        };
        let (decision, rules) = match self.eligibility_for(&subject, acting_for.as_ref(), resource).await {
            Ok(found) => found,
            // An erased subject is nobody, and so is an organisation that is none.
            Err(ServiceError::NotFound(_) | ServiceError::Erased) => {
                return Ok(Verdict::Refuse { reason: "caller.unlinked".to_owned(), decision: None });
            }
            Err(error) => return Err(error),
        };
        let live;
        let answer = if decision.live.is_empty() || decision.status != Status::Eligible {
            &*decision
        } else {
            let evidence: Vec<Attestation> =
                address.and_then(|address| self.live_evidence(address)).into_iter().collect();
            live = check_live(&rules, (*decision).clone(), &evidence, self.clock.now());
            &live
        };
        if answer.status == Status::Eligible
            && let Some(valid_until) = answer.expires_at
        {
            return Ok(Verdict::Admit(Passed {
                decision: answer.id.clone(),
                valid_until: valid_until.to_string(),
                subject: self.crypto.pairwise(subject.as_str(), &gateway.audience)?,
                stale: self.feed_age_secs() > 2,
            }));
        }
        Ok(Verdict::Refuse { reason: safe_reason(answer), decision: Some(answer.id.clone()) })
    }

    /// The error of a token that is bound to a key and not proven, or the reverse; `None` where all is as it should be.
    async fn unproven(
        &self,
        gateway: &Gateway,
        credential: Credential<'_>,
        jkt: Option<&str>,
    ) -> ServiceResult<Option<&'static str>> {
        let (token, proof, request, jkt) = match (credential, jkt) {
            (Credential::Bound { token, proof, request }, Some(jkt)) => (token, proof, request, jkt),
            (Credential::Bound { .. }, None) | (_, Some(_)) => return Ok(Some("invalid_token")),
            (_, None) => return Ok(None),
        };
        // SECURITY: whoever cannot say which request the proof is for cannot say that it is for this one.
        let (Some(origin), Some(proof), Some((method, path))) = (&gateway.origin, proof, request) else {
            return Ok(Some("invalid_dpop_proof"));
        };
        let url = format!("{origin}{path}");
        match self.prove(proof, dpop::Request { method, url: &url, token: Some(token) }, Some(jkt)).await {
            Ok(_) => Ok(None),
            Err(ServiceError::Unproven(_)) => Ok(Some("invalid_dpop_proof")),
            Err(error) => Err(error),
        }
    }

    /// One observation of the request's own address, never stored.
    fn live_evidence(&self, address: IpAddr) -> Option<Attestation> {
        let statement = self.geoip.load().observe(address)?;
        let now = self.clock.now();
        Some(Attestation {
            id: AttestationId::parse("att_live").ok()?,
            source: SourceId::parse(NETWORK_SOURCE).ok()?,
            recorded_at: now,
            facts: Facts {
                kind: Kind::Observation,
                source_kind: SourceKind::Network,
                grade: Grade::Strong,
                outcome: Outcome::Approved,
                codes: std::collections::BTreeSet::new(),
                document_type: None,
                issuing_country: None,
                statement: Some(statement),
                basis: None,
                doubt: None,
                document: NETWORK_SOURCE.to_owned(),
                assessor: NETWORK_SOURCE.to_owned(),
                person: None,
                fact_date: None,
                checked_at: now,
                ends_at: Some(now.plus(60)),
            },
            marks: Vec::new(),
        })
    }
}

/// A reason that tells the gateway what to say and not what is held against anyone.
fn safe_reason(decision: &vouchsafe_core::Decision) -> String {
    let about_the_resource =
        decision.reasons.iter().find(|reason| matches!(reason.as_str(), "directive.frozen" | "resource.ungoverned"));
    match about_the_resource {
        Some(reason) => reason.clone(),
        None => format!("status.{}", decision.status.as_str()),
    }
}
