//! Eligibility tokens: issued, and revoked by their id.

mod made;

use super::end_users::{Noted, live_of_both};
use super::remembered::Remembered;
use super::world::Audience;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Conflict, FeedRow, StoredSessionOf, StoredToken, Write};
use crate::token::Bearer;
use crate::token::keys::{Algorithm, Purpose};
use made::{Made, acting};
use serde_json::{Value, json};
use std::sync::Arc;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::{Second, Status};

/// The session that a token would be got by is over.
pub(crate) const SESSION_OVER: &str = "session";

/// How often a token is tried whose subject or rules change under it.
const TRIES: usize = 5;

/// A token as given to its client.
#[derive(Debug)]
pub struct Issued {
    /// The compact JWS.
    pub token: String,
    /// Token id.
    pub jti: String,
    /// Seconds until it ends.
    pub expires_in: i64,
    /// The decision it states.
    pub decision: String,
}

/// What a token is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// For whom.
    pub subject: &'a SubjectId,
    /// The organisation it acts for.
    pub acting_for: Option<&'a SubjectId>,
    /// For what.
    pub resource: &'a ResourceId,
    /// Audience id.
    pub audience: &'a str,
    /// The handle of the end user for whom the subject acts: then the token is about them.
    pub end_user: Option<&'a str>,
}

/// What else a token is to say, and how long it may last beside the decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// The party that acts for the subject (`act`, RFC 8693 section 4.1).
    pub act: Option<&'a Value>,
    /// Thumbprint of the key that it is bound to (`cnf`, RFC 9449 section 6.1).
    pub jkt: Option<&'a str>,
    /// No later than this.
    pub not_after: Option<Second>,
    /// The session at an identity provider by which it ends too.
    pub session: Option<&'a StoredSessionOf>,
}

impl Terms<'_> {
    fn write(&self, claims: &mut Value) {
        let Some(members) = claims.as_object_mut() else { return };
        if let Some(act) = self.act {
            members.insert("act".to_owned(), act.clone());
        }
        if let Some(jkt) = self.jkt {
            members.insert("cnf".to_owned(), json!({ "jkt": jkt }));
        }
    }
}

impl App {
    /// Issues an eligibility token: only while eligible, never longer than the decision, durable before it is given away.
    ///
    /// # Errors
    /// `NotEligible` with the decision; `Invalid` for an unknown audience or a resource that is not the audience's.
    pub async fn issue(&self, actor: &Actor, client: &str, wanted: Wanted<'_>) -> ServiceResult<Issued> {
        self.issue_on(actor, client, wanted, Terms::default()).await
    }

    /// As [`App::issue`], on further terms.
    ///
    /// # Errors
    /// As [`App::issue`].
    pub async fn issue_on(
        &self,
        actor: &Actor,
        client: &str,
        wanted: Wanted<'_>,
        terms: Terms<'_>,
    ) -> ServiceResult<Issued> {
        let audience = self
            .world
            .load()
            .audiences
            .get(wanted.audience)
            .cloned()
            .ok_or_else(|| invalid("/audience", "no such audience"))?;
        if !audience.resources.iter().any(|pattern| pattern.covers(wanted.resource)) {
            return Err(invalid("/resource", "is not one of the audience's resources"));
        }
        for _ in 0..TRIES {
            match self.issue_once(actor, client, wanted, terms, &audience).await? {
                Some(issued) => return Ok(issued),
                // Something was said or ordered meanwhile: look again.
                None => {
                    self.poll_feed().await?;
                    self.index.invalidate(wanted.subject.as_str());
                    wanted.acting_for.iter().for_each(|party| self.index.invalidate(party.as_str()));
                }
            }
        }
        Err(ServiceError::Unavailable("decision"))
    }

    /// `None` when what the decision was made of changed before the token was recorded.
    async fn issue_once(
        &self,
        actor: &Actor,
        client: &str,
        wanted: Wanted<'_>,
        terms: Terms<'_>,
        audience: &Audience,
    ) -> ServiceResult<Option<Issued>> {
        let Wanted { subject, acting_for, resource, audience: audience_id, end_user } = wanted;
        self.check_issuing()?;
        let (decision, rules, basis) = self.eligibility_on(subject, acting_for, resource).await?;
        let (Status::Eligible, Some(valid_until)) = (decision.status, decision.expires_at) else {
            self.record_decision(actor, &decision, &rules).await?;
            return Err(ServiceError::NotEligible(Box::new((*decision).clone())));
        };
        let made = match end_user {
            None => Made { decision: Arc::clone(&decision), basis, valid_until, served: None },
            Some(handle) => match self.made_for(wanted, &decision, valid_until, basis, handle).await? {
                Some(made) => {
                    self.record_decision(actor, &decision, &rules).await?;
                    made
                }
                None => return Ok(None),
            },
        };
        let policy = rules.body.policy.as_ref().ok_or(ServiceError::Unavailable("rules"))?;
        let now = self.clock.now();
        let exp = now.plus(policy.token_ttl.secs()).min(made.valid_until);
        let exp = terms.not_after.map_or(exp, |not_after| exp.min(not_after));
        if exp <= now {
            return Err(ServiceError::Unavailable("decision"));
        }
        let jti = self.id("jti")?;
        let named = |party: &SubjectId| -> ServiceResult<String> {
            Ok(if audience.pairwise { self.crypto.pairwise(party.as_str(), audience_id)? } else { party.to_string() })
        };
        let mut eligibility = json!({
            "resource": resource, "decision": decision.id, "valid_until": made.valid_until.epoch(), "live": decision.live,
        });
        let mut tell = |name: &str, value: Value| {
            if let Some(members) = eligibility.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        if let Some(party) = acting_for {
            tell("acting_for", json!(named(party)?));
        }
        let (sub, noted) = match &made.served {
            None => {
                if audience.details {
                    tell("status", json!(decision.status));
                    tell("confidence", json!(decision.confidence));
                }
                let missing = !decision.end_user.is_ignored();
                if missing {
                    tell("end_user", json!(decision.end_user));
                }
                (named(subject)?, missing.then_some(Noted::Missing))
            }
            Some(served) => {
                tell("live", json!(live_of_both(&decision, Some(&made.decision))));
                // When the end user's decision ends would tell two organisations that they serve the same person.
                tell("valid_until", json!(exp.epoch()));
                let theirs = self.sealed_decision(&made.decision.id, served, audience_id)?;
                tell("end_user", json!({ "customer": named(&served.customer)?, "decision": theirs }));
                let through = Noted::Through {
                    caller: subject.clone(),
                    acting_for: acting_for.cloned(),
                    customer: served.customer.clone(),
                };
                (self.end_user_name(served, audience_id)?, Some(through))
            }
        };
        let place = self.draw_place().await?;
        let status = json!({ "status_list": { "idx": place.index, "uri": self.status_list_uri(place.list) } });
        let mut claims = json!({
            "iss": self.issuer, "aud": audience_id, "sub": sub, "client_id": client, "iat": now.epoch(),
            "exp": exp.epoch(), "jti": jti, "status": status, "eligibility": eligibility,
        });
        terms.write(&mut claims);
        if made.served.is_some()
            && let Some(members) = claims.as_object_mut()
        {
            members.insert("act".to_owned(), acting(&named(subject)?, terms.act));
        }
        let alg = Algorithm::parse(&audience.alg).ok_or(ServiceError::Unavailable("algorithm"))?;
        let key = self.signer(Purpose::Eligibility, alg)?;
        let token = key.sign(self.deployment.token_type(), &claims)?;
        let about = &made.decision;
        let stored = StoredToken {
            jti: jti.clone(),
            subject: about.subject.clone(),
            audience: audience_id.to_owned(),
            resource: resource.to_string(),
            decision: about.id.clone(),
            client: client.to_owned(),
            issued_at_ms: self.clock.now_ms(),
            expires_at_ms: exp.millis(),
            revoked_at_ms: None,
            status_list: place.list,
            status_idx: place.index,
            end_user: noted.as_ref().map(Noted::stored),
            session: terms.session.cloned().unwrap_or_default(),
        };
        let through = made.served.as_ref().map(|_| subject);
        let mut detail =
            json!({ "subject": about.subject, "audience": audience_id, "resource": resource, "decision": about.id });
        if let (Some(caller), Some(members)) = (through, detail.as_object_mut()) {
            members.insert("acting".to_owned(), json!(caller));
        }
        let audit = self.audit(actor, "token.issued", &jti, &detail)?;
        let row = Self::stored_decision(about);
        match self.store.record_token(stored, row, made.basis, Arc::from(rules.canonical.as_str()), audit).await? {
            Ok(()) => {}
            Err(Conflict::Stale(_)) => {
                self.index.invalidate(&about.subject);
                return Ok(None);
            }
            Err(Conflict::Spent) => return Err(ServiceError::Conflict(SESSION_OVER)),
            Err(_) => return Err(ServiceError::Conflict("token")),
        }
        self.recorded.insert(about.id.clone(), ()).await;
        metrics::counter!("vouchsafe_tokens_issued_total").increment(1);
        Ok(Some(Issued { token, jti, expires_in: exp.since(now), decision: decision.id.clone() }))
    }

    /// Whom and what a verified eligibility token of ours is about.
    pub(crate) fn bearer(&self, verified: &Remembered) -> ServiceResult<Option<Bearer>> {
        let Some(pairwise) = self.world.load().audiences.get(&verified.aud).map(|audience| audience.pairwise) else {
            return Ok(None);
        };
        if let Some((_, bearer)) = verified.bearer.get().filter(|(read_as, _)| *read_as == pairwise) {
            return Ok(Some(bearer.clone()));
        }
        let party = |name: &str| self.party_named(name, &verified.aud, pairwise);
        let acting_for = match &verified.acting_for {
            None => None,
            Some(name) => match party(name) {
                Some(party) => Some(party),
                // SECURITY: whoever cannot be read is not nobody.
                None => return Ok(None),
            },
        };
        let resource = verified.resource.as_deref().and_then(|resource| ResourceId::parse(resource).ok());
        let (caller, end_user) = match &verified.acted_for {
            None => (party(&verified.sub), None),
            Some(acted_for) => {
                let customer = party(&acted_for.customer);
                let opened = customer.and_then(|customer| {
                    let end_user = self.open_for(&verified.sub, &verified.aud, &customer)?;
                    Some((SubjectId::parse(&end_user).ok()?, customer))
                });
                // SECURITY: nor is an end user who cannot be read.
                let Some(end_user) = opened else { return Ok(None) };
                (party(&acted_for.actor), Some(end_user))
            }
        };
        let bearer = caller.zip(resource);
        let bearer = bearer.map(|(subject, resource)| Bearer { subject, acting_for, resource, end_user });
        if let Some(bearer) = &bearer {
            // A second time changes nothing.
            let _ = verified.bearer.set((pairwise, bearer.clone()));
        }
        Ok(bearer)
    }

    /// Who is behind a name that an audience was given.
    pub(crate) fn party_named(&self, name: &str, audience: &str, pairwise: bool) -> Option<SubjectId> {
        let id = if pairwise { self.crypto.open_pairwise(name, audience).ok()? } else { name.to_owned() };
        SubjectId::parse(&id).ok()
    }

    /// Ends tokens of one subject in `change`: what is written, followed, told and entered in the log.
    pub(crate) fn end_tokens(
        &self,
        change: &mut Change,
        actor: &Actor,
        subject: &str,
        tokens: &[StoredToken],
        cause: &str,
    ) -> ServiceResult<()> {
        if tokens.is_empty() {
            return Ok(());
        }
        let jtis: Vec<&String> = tokens.iter().map(|token| &token.jti).collect();
        let detail = json!({ "cause": cause, "tokens": jtis });
        change.audit.push(self.audit(actor, "tokens.revoked", subject, &detail)?);
        for StoredToken { jti, resource, .. } in tokens {
            let body = json!({ "subject": subject, "token": jti, "resource": resource, "cause": cause });
            change.outbox.push(self.message("token.revoked", subject, &body)?);
            change.feed.push(FeedRow { kind: "token".to_owned(), key: jti.clone() });
            change.writes.push(Write::RevokeToken { jti: jti.clone(), at_ms: self.clock.now_ms() });
        }
        Ok(())
    }

    /// Revokes a token by its id.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn revoke_jti(&self, actor: &Actor, jti: &str) -> ServiceResult<()> {
        let audit = self.audit(actor, "token.revoked", jti, &json!({}))?;
        let feed = vec![FeedRow { kind: "token".to_owned(), key: jti.to_owned() }];
        let writes = vec![Write::RevokeToken { jti: jti.to_owned(), at_ms: self.clock.now_ms() }];
        let mut outbox = Vec::new();
        if let Some(token) = self.store.token(jti).await?.filter(|token| token.revoked_at_ms.is_none()) {
            let body =
                json!({ "subject": token.subject, "token": jti, "resource": token.resource, "cause": "revoked" });
            outbox.push(self.message("token.revoked", &token.subject, &body)?);
        }
        // Its own feed row is followed at once; a token that nobody issued is no error.
        let _ = self.commit_whole(Change { writes, audit: vec![audit], feed, outbox }).await?;
        Ok(())
    }
}
