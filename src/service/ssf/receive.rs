//! What identity providers tell us of their people: somebody who has no account there any more is no member of the
//! organisation whose directory it is, and a session that is over ends the tokens that were got by it.

use super::events::SESSION_REVOKED;
use crate::intake::events::{NotTaken, OLDEST_SECS, Said, verify};
use crate::intake::identity::unverified_issuer;
use crate::service::clients::verification_keys;
use crate::service::suspend::organisation_source;
use crate::service::world::IdentityProvider;
use crate::service::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Change, Conflict, FeedRow, StoredMark, Write};
use serde_json::json;
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Kind, MarkKind};

/// Events by which somebody's account at the provider is over (RISC 1.0 sections 2.2, 2.3).
const ENDS: [&str; 2] = [
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
];

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is at fault: the same will be refused again.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// It cannot be known now.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// That an event (`kind` `event`) or a page of what it ends was acted on, by its id.
pub(super) fn spend(kind: &str, provider: &IdentityProvider, jti: &str, now_ms: i64) -> Write {
    Write::Spend {
        issuer: format!("{kind}/{}", provider.issuer),
        jti: crate::crypto::sha256_hex(jti.as_bytes()),
        expires_at_ms: now_ms + (OLDEST_SECS + 3600) * 1000,
    }
}

impl App {
    /// Takes a security event token of a registered identity provider. One that came before has no further effect; an event
    /// that means nothing here is taken, and nothing follows.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn receive_event(&self, token: &str) -> Result<(), ReceiveError> {
        let unreadable = NotTaken::new("invalid_request", "the text is no security event token that can be taken");
        let (issuer, kid) = unverified_issuer(token).ok_or(unreadable)?;
        let stranger = NotTaken::new("invalid_issuer", "no such issuer is registered");
        let world = self.world.load_full();
        let provider = world.identity_provider(|provider| provider.issuer == issuer).ok_or(stranger)?;
        let keys = match &provider.jwks_uri {
            None => verification_keys(&provider.keys),
            Some(uri) => self.keys_at(uri, kid.as_deref()).await?,
        };
        // Some name the client that a provider knows us as, others ourselves.
        let mut audiences: BTreeSet<String> = provider.audiences.clone();
        audiences.insert(self.issuer.clone());
        let said = verify(token, &issuer, &audiences, &keys, self.clock.now().epoch())?;
        Ok(self.act_on(&provider, &said).await?)
    }

    async fn act_on(&self, provider: &IdentityProvider, said: &Said) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let spent = spend("event", provider, &said.jti, now_ms);
        let mut change = Change { writes: vec![spent], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        let over = self.sessions_over(provider, said);
        if let Some(over) = &over {
            let number = self.end_sessions(&mut change, provider, over).await?;
            let detail = json!({ "event": SESSION_REVOKED, "tokens": number });
            let actor = Actor::identity_provider(&provider.id);
            change.audit.push(self.audit(&actor, "sessions.revoked", &provider.id, &detail)?);
        }
        let ends = said.events.iter().find(|event| ENDS.contains(&event.as_str()));
        if let (Some(event), Some(sub), Some(organisation)) = (ends, &said.sub, &provider.organisation)
            && let Some(subject) = self.resolve_link(&provider.namespace, sub).await?
            && let Some(facts) = self.load_facts(&subject).await?
        {
            let source = organisation_source(organisation);
            let reason = event.rsplit('/').next().unwrap_or_default().replace('-', "_");
            let is_revoked =
                |marks: &[vouchsafe_core::facts::Mark]| marks.iter().any(|mark| mark.kind == MarkKind::Revoked);
            let live = facts.attestations.iter().filter(|attestation| {
                attestation.facts.kind == Kind::Directory
                    && attestation.source.as_str() == source
                    && !is_revoked(&attestation.marks)
            });
            let ended: Vec<String> = live.map(|attestation| attestation.id.to_string()).collect();
            if !ended.is_empty() {
                let actor = Actor::source(&source);
                let detail = json!({ "event": event, "attestations": ended, "organisation": organisation });
                change.audit.push(self.audit(&actor, "directory.left", &subject, &detail)?);
                change.writes.extend(ended.into_iter().map(|attestation| {
                    Write::Mark(StoredMark {
                        attestation,
                        kind: "revoked".to_owned(),
                        at_ms: now_ms,
                        from_start: false,
                        by: actor.as_str().to_owned(),
                        reason: reason.clone(),
                    })
                }));
                change.feed.push(FeedRow { kind: "subject".to_owned(), key: subject });
            }
        }
        match self.commit_whole(change).await? {
            // What came before is taken again.
            Ok(()) | Err(Conflict::Spent) => {}
            Err(_) => return Err(ServiceError::Unavailable("subject")),
        }
        match over {
            Some(over) => self.end_the_rest(provider, said, &over).await,
            None => Ok(()),
        }
    }
}
