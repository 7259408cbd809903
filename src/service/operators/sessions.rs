//! Signing in and out, and the person behind a token.

use super::tries::Turn;
use super::{Operator, operator_id};
use crate::crypto::{new_secret, sha256_hex};
use crate::service::authenticate::{Caller, NO_CLIENT, OperatorCaller, matches_in_turn};
use crate::service::idempotency::bookkeeping;
use crate::service::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{OperatorSession, ReviewWrite, Write};
use serde_json::json;
use std::collections::BTreeSet;
use vouchsafe_core::Second;

const MINUTE: i64 = 60_000;

/// Longest life of a sign-in, milliseconds: twelve hours (NIST SP 800-63B-4, section 2.2.3 asks for at most 24).
const LIFE_MS: i64 = 12 * 60 * MINUTE;
/// How long it may lie idle, milliseconds.
const IDLE_MS: i64 = 30 * MINUTE;
/// Uses closer together than this are not written down again, milliseconds.
const USE_MS: i64 = MINUTE;
/// How long sign-ins are remembered, and with them the networks they came from, milliseconds.
pub(crate) const REMEMBERED_MS: i64 = 30 * 24 * 60 * MINUTE;

/// How a token begins, so that it is not taken for another kind, and is found where it was left lying.
const PREFIX: &str = "vos_";

/// Whether a bearer token is of an operator's sign-in.
pub(crate) fn is_session(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// A sign-in, as told to the operator.
#[derive(Debug)]
pub struct SignedIn {
    /// Shown once.
    pub token: String,
    /// `opr_…`
    pub operator: String,
    /// What it may do; nothing while the password is one that was given.
    pub scopes: BTreeSet<String>,
    /// The password has to be changed first.
    pub password_given: bool,
    /// Its end, if it is used all the time.
    pub ends_at: Second,
}

/// The person as a caller; a password that was given opens nothing.
fn caller(id: String, operator: Operator, session: String) -> Caller {
    Caller {
        id: id.clone(),
        scopes: if operator.password_given { BTreeSet::new() } else { operator.scopes() },
        owner: operator.name,
        sources: BTreeSet::new(),
        organisation: None,
        operator: Some(OperatorCaller {
            id,
            session,
            subject: operator.subject,
            password_given: operator.password_given,
        }),
    }
}

impl App {
    /// Signs an operator in.
    ///
    /// # Errors
    /// `Unauthenticated` for an unknown name, a wrong password and a disabled operator alike; `TooManyTries`.
    pub async fn sign_in(&self, login: &str, password: &str, site: u64) -> ServiceResult<SignedIn> {
        self.check_history()?;
        let id = operator_id(login);
        let (operator, version) = self.prove_password(&id, site, password).await?;
        let token = format!("{PREFIX}{}", new_secret()?);
        let now_ms = self.clock.now_ms();
        let session = OperatorSession {
            digest: sha256_hex(token.as_bytes()),
            operator: id.clone(),
            version,
            site: self.site_digest(site),
            opened_at_ms: now_ms,
            used_at_ms: now_ms,
            ended_at_ms: None,
        };
        let audit = self.audit(&Actor::operator(&id), "operator.signed_in", &id, &json!({}))?;
        let write = Write::Review(ReviewWrite::OpenSession(session));
        self.commit(vec![write], audit, Vec::new()).await?.map_err(|_| ServiceError::Conflict("session"))?;
        metrics::counter!("vouchsafe_operator_sign_ins_total", "result" => "signed_in").increment(1);
        let scopes = if operator.password_given { BTreeSet::new() } else { operator.scopes() };
        let ends_at = Second::from_millis(now_ms + LIFE_MS);
        Ok(SignedIn { token, operator: id, scopes, password_given: operator.password_given, ends_at })
    }

    /// Ends the caller's sign-in.
    ///
    /// # Errors
    /// `Forbidden` for a caller that did not sign in.
    pub async fn sign_out(&self, caller: &Caller) -> ServiceResult<()> {
        let operator = caller.operator()?;
        let write = ReviewWrite::EndSession { digest: operator.session.clone(), at_ms: self.clock.now_ms() };
        let audit = self.audit(&caller.actor(), "operator.signed_out", &operator.id, &json!({}))?;
        self.commit(vec![Write::Review(write)], audit, Vec::new()).await?.map_err(|_| ServiceError::Conflict("session"))
    }

    /// The operator whose password this is, with the version of the record.
    pub(crate) async fn prove_password(&self, id: &str, site: u64, password: &str) -> ServiceResult<(Operator, i64)> {
        let refused = |result: &'static str| {
            metrics::counter!("vouchsafe_operator_sign_ins_total", "result" => result).increment(1);
        };
        match self.tries.take(id, site, self.clock.now_ms()) {
            Turn::Yes => {}
            Turn::IfKnown { wait_secs } => {
                let since = self.clock.now_ms() - REMEMBERED_MS;
                if !self.store.knows_site(id, &self.site_digest(site), since).await? {
                    refused("waits");
                    return Err(ServiceError::TooManyTries { wait_secs });
                }
            }
            Turn::Wait { wait_secs, first } => {
                refused("waits");
                if first {
                    self.note_guessing(id).await?;
                }
                return Err(ServiceError::TooManyTries { wait_secs });
            }
        }
        let found = match self.load_operator(id).await {
            Ok(found) => Some(found),
            Err(ServiceError::NotFound(_)) => None,
            Err(error) => {
                self.tries.forgive(id, site);
                return Err(error);
            }
        };
        let hash = found.as_ref().map_or(NO_CLIENT, |(operator, _)| &operator.secret_hash).to_owned();
        let permit = match self.hashing_permit().await {
            Ok(permit) => permit,
            Err(error) => {
                self.tries.forgive(id, site);
                return Err(error);
            }
        };
        let matches = matches_in_turn(permit, password.to_owned(), hash).await?;
        let Some(found) = found.filter(|(operator, _)| matches && !operator.disabled) else {
            refused("refused");
            return Err(ServiceError::Unauthenticated);
        };
        self.tries.forgive(id, site);
        Ok(found)
    }

    /// Somebody guesses: told in the audit log once per network and quarter of an hour, for a name that exists.
    async fn note_guessing(&self, id: &str) -> ServiceResult<()> {
        if !self.world.load().operators.contains_key(id) {
            return Ok(());
        }
        let audit = self.audit(&Actor::system(), "operator.sign_in_blocked", id, &json!({}))?;
        let _ = self.commit(Vec::new(), audit, Vec::new()).await?;
        Ok(())
    }

    fn site_digest(&self, site: u64) -> String {
        self.crypto.lookup_digest("operator/site", &site.to_string())
    }

    /// The operator behind a token. Read from the store each time: what ended, ended everywhere.
    pub(crate) async fn operator_caller(&self, token: &str) -> ServiceResult<Caller> {
        self.check_history()?;
        let digest = sha256_hex(token.as_bytes());
        let (session, version, body) =
            self.store.operator_session(&digest).await?.ok_or(ServiceError::Unauthenticated)?;
        let operator: Operator = serde_json::from_str(&body)
            .map_err(|_| ServiceError::Unreadable(format!("record operator/{}", session.operator)))?;
        let now_ms = self.clock.now_ms();
        let stands = session.ended_at_ms.is_none()
            && session.version == version
            && !operator.disabled
            && now_ms < session.opened_at_ms + LIFE_MS
            && now_ms < session.used_at_ms + IDLE_MS
            // Its end may be among what was lost with a piece of history.
            && session.opened_at_ms >= self.tokens_since_ms();
        if !stands {
            self.signed_in.invalidate(&digest);
            return Err(ServiceError::Unauthenticated);
        }
        if now_ms - session.used_at_ms >= USE_MS {
            let used = ReviewWrite::UseSession { digest: digest.clone(), at_ms: now_ms };
            let _ = self.store.commit(bookkeeping(Write::Review(used))).await?;
        }
        self.signed_in.insert(digest.clone(), session.operator.clone());
        Ok(caller(session.operator, operator, digest))
    }

    /// The operator who gives a command at the machine: the password is proven for this command alone.
    ///
    /// # Errors
    /// As [`App::sign_in`].
    pub async fn operator_at_the_machine(&self, login: &str, password: &str, site: u64) -> ServiceResult<Caller> {
        let id = operator_id(login);
        let (operator, _) = self.prove_password(&id, site, password).await?;
        Ok(caller(id, operator, String::new()))
    }

    /// Whose bucket a token of a sign-in draws from: known once it was used. What is not known is a stranger's.
    pub(crate) fn signed_in_as(&self, token: &str) -> Option<String> {
        self.signed_in.get(&sha256_hex(token.as_bytes()))
    }
}
