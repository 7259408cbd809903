//! What a token is worth now (RFC 7662, RFC 9701), and taking one back (RFC 7009).

use super::authenticate::Caller;
use super::end_users::{Live, Named, Served, live_of_both};
use super::gateway::Judged;
use super::operators::is_session;
use super::remembered::{Remembered, Worth};
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{FeedRow, Write};
use crate::token::keys::{Algorithm, Purpose};
use crate::token::{Bearer, Verified};
use serde_json::{Value, json};
use std::sync::Arc;
use vouchsafe_core::Status;

/// What became of a wish to revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is worth nothing any more, or never was.
    Done,
    /// A token of ours of a kind that is not taken back in this way.
    Unsupported,
}

impl App {
    /// What a token is worth now. Anything wrong, and whatever is not for this caller, is exactly `{"active":false}`.
    ///
    /// # Errors
    /// `Forbidden` for a caller who may introspect no token but its own; `Unavailable` when it cannot know.
    pub async fn introspect(&self, caller: &Caller, token: &str) -> ServiceResult<Arc<str>> {
        let inactive = || Arc::from(r#"{"active":false}"#);
        let recalled = self.recall(token).await;
        let access = self.judge_own(token, &recalled, Purpose::Access).await;
        if let Ok(verified) = access
            && self.access_lives(&verified)
            && (verified.client_id == caller.id || self.sees(caller, None))
        {
            return self.access_worth(&verified);
        }
        caller.require("tokens:introspect")?;
        let Ok(verified) = self.judge_own(token, &recalled, Purpose::Eligibility).await else {
            return Ok(inactive());
        };
        if !self.sees(caller, Some(&verified.aud)) || self.is_revoked(&verified.jti) {
            return Ok(inactive());
        }
        Ok(self.eligibility_worth(&verified).await?.unwrap_or_else(inactive))
    }

    /// Whether a caller may introspect tokens of this audience; `None`: access tokens, whose audience is this service.
    fn sees(&self, caller: &Caller, audience: Option<&str>) -> bool {
        self.is_of_audience(caller, audience) && caller.require("tokens:introspect").is_ok()
    }

    /// Whether tokens of this audience are shown to the caller, as far as its audiences go.
    pub(crate) fn is_of_audience(&self, caller: &Caller, audience: Option<&str>) -> bool {
        let world = self.world.load();
        let named = world.clients.get(&caller.id).map(|client| &client.audiences);
        named.is_none_or(|named| named.is_empty() || audience.is_some_and(|own| named.contains(own)))
    }

    fn access_worth(&self, verified: &Remembered) -> ServiceResult<Arc<str>> {
        let now = self.token_caller(verified)?;
        let scope = now.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let token_type = if verified.jkt.is_some() { "DPoP" } else { "Bearer" };
        Ok(worth(verified, json!({ "scope": scope, "token_type": token_type })).to_string().into())
    }

    async fn eligibility_worth(&self, verified: &Remembered) -> ServiceResult<Option<Arc<str>>> {
        let Some(Bearer { subject, acting_for, resource, end_user }) = self.bearer(verified)? else { return Ok(None) };
        let (decision, rules) = match self.eligibility_for(&subject, acting_for.as_ref(), &resource).await {
            Ok(found) => found,
            Err(ServiceError::NotFound(_) | ServiceError::Erased) => return Ok(None),
            Err(error) => return Err(error),
        };
        if decision.status != Status::Eligible {
            return Ok(None);
        }
        let judged = Judged { answer: Arc::clone(&decision), decision: Arc::clone(&decision), rules };
        let served = end_user.map(|(end_user, customer)| Served { end_user, customer });
        // A token by which nobody gets in who does not name an end user beside it is worth nothing by itself.
        let behind = self.behind(&judged, served.as_ref(), Named::Nobody, &resource, Live::Left).await?;
        let Ok(behind) = behind else { return Ok(None) };
        let theirs = behind.as_ref().map(|behind| &behind.decision);
        // An id is a digest of all that the decision says, so the answer by it is the same.
        let made_of = theirs.map_or_else(|| decision.id.clone(), |theirs| format!("{} {}", decision.id, theirs.id));
        if let Some(told) = verified.worth.load().as_ref().filter(|told| told.decision == made_of) {
            return Ok(Some(Arc::clone(&told.text)));
        }
        let live = live_of_both(&decision, theirs.map(AsRef::as_ref));
        let mut eligibility = json!({ "resource": resource, "decision": decision.id, "live": live });
        if let (Some(behind), Some(acted_for), Some(members)) =
            (&behind, &verified.acted_for, eligibility.as_object_mut())
        {
            let decision = self.sealed_decision(&behind.decision.id, &behind.served, &verified.aud)?;
            members.insert("end_user".to_owned(), json!({ "customer": acted_for.customer, "decision": decision }));
        }
        if let (Some(party), Some(members)) = (&verified.acting_for, eligibility.as_object_mut()) {
            members.insert("acting_for".to_owned(), json!(party));
        }
        let more = json!({ "token_type": self.deployment.token_type(), "eligibility": eligibility });
        let text: Arc<str> = worth(verified, more).to_string().into();
        let told = Worth { decision: made_of, text: Arc::clone(&text) };
        verified.worth.store(Some(Arc::new(told)));
        Ok(Some(text))
    }

    /// An answer of introspection as a signed token for the caller (RFC 9701 section 5).
    ///
    /// # Errors
    /// `Unavailable` without a key.
    pub fn signed_introspection(&self, caller: &Caller, answer: &str) -> ServiceResult<String> {
        let answer: Value = serde_json::from_str(answer).map_err(|_| ServiceError::Unavailable("introspection"))?;
        let claims = json!({
            "iss": self.issuer, "aud": caller.id, "iat": self.clock.now().epoch(), "token_introspection": answer,
        });
        let key = self.signer(Purpose::Introspection, Algorithm::Es256)?;
        Ok(key.sign("token-introspection+jwt", &claims)?)
    }

    /// Revokes a token by its text. One that is unknown, expired or never was ours is no error.
    ///
    /// # Errors
    /// `Forbidden` for another client's token without the scope `tokens:revoke`; when the store cannot write.
    pub async fn revoke_token(&self, caller: &Caller, token: &str) -> ServiceResult<Revocation> {
        let own = |verified: &Verified| {
            if verified.client_id == caller.id { Ok(()) } else { caller.require("tokens:revoke") }
        };
        if let Ok(verified) = self.verify_own(token, Purpose::Eligibility).await {
            own(&verified)?;
            if self.is_revoked(&verified.jti) {
                // It was not acknowledged, perhaps, because the anchor could not be written.
                self.cover().await?;
            } else {
                self.revoke_jti(&caller.actor(), &verified.jti).await?;
            }
        } else if let Ok(verified) = self.verify_own(token, Purpose::Access).await {
            own(&verified)?;
            self.revoke_access(&caller.actor(), &verified).await?;
        } else if is_session(token) || self.is_signed_by(token, Purpose::Receipt) {
            return Ok(Revocation::Unsupported);
        }
        Ok(Revocation::Done)
    }

    /// Whether it is a token of ours whose kind nobody takes back.
    fn is_signed_by(&self, token: &str, purpose: Purpose) -> bool {
        use crate::token::jws::{JwsError, verify_jws};
        // The type is judged last: whatever it is, the signature held.
        matches!(verify_jws(token, self.keys.load().verifiers(purpose), ""), Ok(_) | Err(JwsError::Type))
    }

    async fn revoke_access(&self, actor: &Actor, verified: &Verified) -> ServiceResult<()> {
        if self.is_revoked(&verified.jti) {
            return self.cover().await;
        }
        let audit =
            self.audit(actor, "access_token.revoked", &verified.jti, &json!({ "client": verified.client_id }))?;
        let feed = vec![FeedRow { kind: "access_token".to_owned(), key: verified.jti.clone() }];
        let write = Write::RevokeAccess { jti: verified.jti.clone(), expires_at_ms: verified.exp.saturating_mul(1000) };
        self.commit(vec![write], audit, feed).await?.map_err(|_| ServiceError::Conflict("token"))?;
        self.note_access_revoked(&verified.jti);
        Ok(())
    }
}

/// What every token that is worth something says, and more.
fn worth(verified: &Verified, more: Value) -> Value {
    let mut answer = json!({
        "active": true, "iss": verified.iss, "aud": verified.aud, "sub": verified.sub, "client_id": verified.client_id,
        "iat": verified.iat, "exp": verified.exp, "jti": verified.jti,
    });
    if let (Some(members), Value::Object(more)) = (answer.as_object_mut(), more) {
        members.extend(more);
        members.extend(verified.jkt.as_ref().map(|jkt| ("cnf".to_owned(), json!({ "jkt": jkt }))));
        members.extend(verified.act.as_ref().map(|act| ("act".to_owned(), act.clone())));
    }
    answer
}
