//! The gateway's question: may this caller pass, now, to this resource?

use super::end_users::{Live, Named, Served};
use super::world::Gateway;
use super::{App, NETWORK_SOURCE, ServiceError, ServiceResult};
use crate::token::Bearer;
use crate::token::dpop;
use crate::token::keys::Purpose;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use vouchsafe_core::facts::{Attestation, Facts, Grade, Kind, Outcome, SourceKind};
use vouchsafe_core::ids::{AttestationId, ResourceId, SourceId, SubjectId};
use vouchsafe_core::policy::Disclosure;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status, check_live};

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
    /// The same where the caller was found already.
    Known(&'a SubjectId, Option<&'a SubjectId>),
    /// Nothing.
    None,
}

/// Whether a caller is let through, and if not, why.
#[derive(Debug, Clone, PartialEq)]
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
        /// Its body, where it was made for this question.
        answer: Option<Arc<Decision>>,
    },
}

impl Verdict {
    fn unlinked() -> Self {
        Self::Refuse { reason: "caller.unlinked".to_owned(), decision: None, answer: None }
    }
}

/// What the gateway learns of a caller who passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// First second it is no longer true, RFC 3339.
    pub valid_until: String,
    /// Pairwise subject.
    pub subject: String,
    /// The end user for whom they call, pairwise for the organisation through which they come too, and the decision about
    /// them; where somebody asks.
    pub end_user: Option<(String, String)>,
    /// Feed age is past two seconds.
    pub stale: bool,
    /// The body of the decision.
    pub answer: Arc<Decision>,
}

/// Whom a gateway's question is about.
struct Whom {
    /// Who calls.
    caller: SubjectId,
    /// For which organisation.
    acting_for: Option<SubjectId>,
    /// The end user, where a token names one.
    served: Option<Served>,
}

/// A decision about a request that is made now.
pub(crate) struct Judged {
    /// The one that stands whatever the request is like.
    pub(crate) decision: Arc<Decision>,
    /// The one about this request.
    pub(crate) answer: Arc<Decision>,
    /// By which both were made.
    pub(crate) rules: Arc<Rules>,
}

impl Judged {
    /// What somebody who may learn so much learns: the policy has to say so too.
    pub(crate) fn disclosed(&self, registered: &BTreeSet<Disclosure>) -> BTreeSet<Disclosure> {
        let policy = self.rules.body.policy.as_ref();
        policy.map(|policy| policy.discloses.intersection(registered).copied().collect()).unwrap_or_default()
    }
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
        end_user: Named<'_>,
        resource: &ResourceId,
        address: Option<IpAddr>,
    ) -> ServiceResult<Verdict> {
        if !gateway.resources.iter().any(|pattern| pattern.covers(resource)) {
            return Err(ServiceError::NotFound("resource"));
        }
        self.check_feed_age()?;
        self.asked_by(gateway);
        let Whom { caller, acting_for, served } = match self.whom(gateway, credential, resource).await? {
            Ok(found) => found,
            Err(verdict) => return Ok(verdict),
        };
        let Some(judged) = self.judge(&caller, acting_for.as_ref(), resource, address).await? else {
            return Ok(Verdict::unlinked());
        };
        let answer = Arc::clone(&judged.answer);
        let (Status::Eligible, Some(valid_until)) = (answer.status, answer.expires_at) else {
            let (reason, decision) = (safe_reason(&answer), Some(answer.id.clone()));
            return Ok(Verdict::Refuse { reason, decision, answer: Some(answer) });
        };
        let behind = match self.behind(&judged, served.as_ref(), end_user, resource, Live::Judged(address)).await? {
            Ok(behind) => behind,
            // The decision is the caller's own: what is known of the end user is not for the caller.
            Err(refusal) => {
                let (reason, decision) = (refusal.code().to_owned(), Some(answer.id.clone()));
                return Ok(Verdict::Refuse { reason, decision, answer: None });
            }
        };
        self.admitted(&gateway.id, &judged.decision, &judged.rules, None);
        if let Some(behind) = &behind {
            self.admitted(&gateway.id, &behind.decision, &behind.rules, Some(&behind.served.customer));
        }
        let named = behind.as_ref().map(|behind| -> ServiceResult<_> {
            Ok((self.end_user_name(&behind.served, &gateway.audience)?, behind.decision.id.clone()))
        });
        let until = behind.as_ref().map_or(valid_until, |behind| behind.until.min(valid_until));
        Ok(Verdict::Admit(Passed {
            valid_until: until.to_string(),
            subject: self.crypto.pairwise(caller.as_str(), &gateway.audience)?,
            end_user: named.transpose()?,
            stale: self.feed_age_secs() > 2,
            answer,
        }))
    }

    /// The decision about a request that is made now: the stored one, and the criteria that look at the request judged by
    /// its address. `None` for a subject who is nobody, was erased, or acts for what is no organisation.
    ///
    /// # Errors
    /// `Unavailable` when it cannot know.
    pub(crate) async fn judge(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        resource: &ResourceId,
        address: Option<IpAddr>,
    ) -> ServiceResult<Option<Judged>> {
        let (decision, rules) = match self.eligibility_for(subject, acting_for, resource).await {
            Ok(found) => found,
            Err(ServiceError::NotFound(_) | ServiceError::Erased) => return Ok(None),
            Err(error) => return Err(error),
        };
        if decision.live.is_empty() || decision.status != Status::Eligible {
            return Ok(Some(Judged { answer: Arc::clone(&decision), decision, rules }));
        }
        let evidence: Vec<Attestation> = address.and_then(|address| self.live_evidence(address)).into_iter().collect();
        let answer = Arc::new(check_live(&rules, (*decision).clone(), &evidence, self.clock.now()));
        Ok(Some(Judged { decision, answer, rules }))
    }

    /// Whom a gateway's question is about, and for whom they act; or the answer that ends it here.
    async fn whom(
        &self,
        gateway: &Gateway,
        credential: Credential<'_>,
        resource: &ResourceId,
    ) -> ServiceResult<Result<Whom, Verdict>> {
        Ok(match credential {
            Credential::None => Err(Verdict::Challenge("")),
            Credential::Token(token) | Credential::Bound { token, .. } => {
                let Ok(verified) = self.verify_own(token, Purpose::Eligibility).await else {
                    return Ok(Err(Verdict::Challenge("invalid_token")));
                };
                if verified.aud != gateway.audience || verified.resource.as_deref() != Some(resource.as_str()) {
                    return Ok(Err(Verdict::Challenge("invalid_token")));
                }
                if let Some(error) = self.unproven(gateway, credential, verified.jkt.as_deref()).await? {
                    return Ok(Err(Verdict::Challenge(error)));
                }
                if self.is_revoked(&verified.jti) {
                    let (reason, decision) = ("token.revoked".to_owned(), verified.decision.clone());
                    return Ok(Err(Verdict::Refuse { reason, decision, answer: None }));
                }
                match self.bearer(&verified)? {
                    Some(Bearer { subject, acting_for, end_user, .. }) => {
                        let served = end_user.map(|(end_user, customer)| Served { end_user, customer });
                        Ok(Whom { caller: subject, acting_for, served })
                    }
                    None => Err(Verdict::Challenge("invalid_token")),
                }
            }
            Credential::Asserted(caller, acting_for) => {
                let Some((namespace, id)) = caller.split_once(':').filter(|(n, i)| !n.is_empty() && !i.is_empty())
                else {
                    return Ok(Err(Verdict::Challenge("invalid_request")));
                };
                let Some(subject) = self.resolve_link(namespace, id).await? else {
                    return Ok(Err(Verdict::unlinked()));
                };
                let acting_for = acting_for.map(|name| self.organisation_subject(name)).transpose();
                match (SubjectId::parse(&subject), acting_for) {
                    (Ok(caller), Ok(acting_for)) => Ok(Whom { caller, acting_for, served: None }),
                    _ => Err(Verdict::unlinked()),
                }
            }
            Credential::Known(caller, acting_for) => {
                Ok(Whom { caller: caller.clone(), acting_for: acting_for.cloned(), served: None })
            }
        })
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
pub(crate) fn safe_reason(decision: &Decision) -> String {
    let about_the_resource =
        decision.reasons.iter().find(|reason| matches!(reason.as_str(), "directive.frozen" | "resource.ungoverned"));
    match about_the_resource {
        Some(reason) => reason.clone(),
        None => format!("status.{}", decision.status.as_str()),
    }
}
