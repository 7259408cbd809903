//! Sessions at identity providers: which one a token was got by, and the end of the tokens with it.

use super::events::SESSION_REVOKED;
use super::receive::spend;
use crate::intake::events::{Said, Sessions};
use crate::intake::identity::Identity;
use crate::service::world::IdentityProvider;
use crate::service::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Change, Conflict, SessionsOver, StoredSessionOf, StoredToken, Write};
use std::collections::BTreeMap;

/// Most tokens that end in one commit.
const PAGE: i64 = 500;

impl App {
    fn session_digest(&self, issuer: &str, sid: &str) -> String {
        self.crypto.lookup_digest(&format!("session/{issuer}"), sid)
    }

    fn session_owner_digest(&self, issuer: &str, sub: &str) -> String {
        self.crypto.lookup_digest(&format!("session_of/{issuer}"), sub)
    }

    /// What is kept of the session that an ID token names; nothing where it names none.
    pub(crate) fn session_of(&self, provider: &IdentityProvider, identity: &Identity) -> StoredSessionOf {
        let Some(sid) = &identity.sid else { return StoredSessionOf::default() };
        StoredSessionOf {
            session: Some(self.session_digest(&provider.issuer, sid)),
            session_of: Some(self.session_owner_digest(&provider.issuer, &identity.sub)),
            session_at_ms: Some(identity.iat.saturating_mul(1000)),
        }
    }

    /// The sessions that an event of a provider ends; `None` where it ends none, or names none that can be told.
    pub(super) fn sessions_over(&self, provider: &IdentityProvider, said: &Said) -> Option<SessionsOver> {
        let sessions = said.sessions.as_ref().filter(|_| said.events.contains(SESSION_REVOKED))?;
        let owner = |sub: &String| self.session_owner_digest(&provider.issuer, sub);
        Some(match sessions {
            Sessions::One { sid, sub } => {
                SessionsOver::One { session: self.session_digest(&provider.issuer, sid), of: sub.as_ref().map(owner) }
            }
            // What begins after it was said is not meant.
            Sessions::All { sub } => {
                SessionsOver::All { of: owner(sub), until_ms: said.iat.saturating_mul(1000).saturating_add(999) }
            }
        })
    }

    /// Puts the end of sessions into `change`, and of the tokens that were got by them, a page of them at most; how many
    /// that are.
    pub(super) async fn end_sessions(
        &self,
        change: &mut Change,
        provider: &IdentityProvider,
        over: &SessionsOver,
    ) -> ServiceResult<usize> {
        let now_ms = self.clock.now_ms();
        let found = self.store.tokens_of_sessions(over, now_ms, PAGE).await?;
        let number = found.len();
        let at_ms = match over {
            SessionsOver::One { .. } => now_ms,
            SessionsOver::All { until_ms, .. } => *until_ms,
        };
        change.writes.push(Write::SessionsOver { over: over.clone(), at_ms });
        let mut by_subject: BTreeMap<String, Vec<StoredToken>> = BTreeMap::new();
        for token in found {
            by_subject.entry(token.subject.clone()).or_default().push(token);
        }
        let actor = Actor::identity_provider(&provider.id);
        for (subject, tokens) in by_subject {
            self.end_tokens(change, &actor, &subject, &tokens, "session_revoked")?;
        }
        Ok(number)
    }

    /// Ends what a first commit left: further pages, and what was being recorded meanwhile. From that commit on nothing is
    /// added.
    pub(super) async fn end_the_rest(
        &self,
        provider: &IdentityProvider,
        said: &Said,
        over: &SessionsOver,
    ) -> ServiceResult<()> {
        for page in 1_u32.. {
            // Where the same event is taken twice at one time each page is one's.
            let spend = spend("event_page", provider, &format!("{}/{page}", said.jti), self.clock.now_ms());
            let mut change = Change { writes: vec![spend], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
            if self.end_sessions(&mut change, provider, over).await? == 0 {
                break;
            }
            match self.commit_whole(change).await? {
                Ok(()) | Err(Conflict::Spent) => {}
                Err(_) => return Err(ServiceError::Unavailable("tokens")),
            }
        }
        Ok(())
    }
}
