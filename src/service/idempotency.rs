//! Conditions of the request that a change serves: an idempotency key it holds, a version its caller expects.
//!
//! Both travel beside the call, not through it: no use case decides by them, every commit obeys them. A key is
//! claimed before the work, noted as used in the very commit of what the work does, and answered after it. So a retry
//! finds one of four things: no trace (the first attempt did nothing, and its lease has ended), work in progress, the
//! answer, or an effect whose answer was lost with the process. Nothing is ever done twice.

use super::{App, ServiceResult};
use crate::crypto::{hex, random, sha256_hex};
use crate::storage::{Change, StoredRequest, Write};
use std::cell::RefCell;
use vouchsafe_core::ids::SubjectId;

/// How long a key is remembered.
pub const KEPT_SECS: i64 = 24 * 60 * 60;

/// How long an attempt is believed to be alive without a sign; longer than any request may take.
pub const LEASE_SECS: i64 = 60;

/// A key held by this request.
#[derive(Debug, Clone)]
pub struct Claim {
    client: String,
    key: String,
    owner: String,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Claimed {
    /// Nothing yet: this request holds it now.
    Ours(Claim),
    /// The request was answered so.
    Answered(Vec<u8>),
    /// Another attempt is at work.
    InProgress,
    /// It was used with another body.
    Reused,
    /// The request did its work on what is named here, but its answer was lost.
    AnswerLost(String),
}

tokio::task_local! {
    static CLAIM: Claim;
    static EXPECTED: RefCell<Option<(SubjectId, Vec<i64>)>>;
}

/// Runs what a request does under its key.
pub async fn under<F: Future>(claim: Claim, work: F) -> F::Output {
    CLAIM.scope(claim, work).await
}

/// Runs what a request does on condition that its first commit finds the subject at one of these versions, if any
/// are given.
pub async fn expecting<F: Future>(subject: &SubjectId, versions: Option<Vec<i64>>, work: F) -> F::Output {
    match versions {
        Some(versions) => EXPECTED.scope(RefCell::new(Some((subject.clone(), versions))), work).await,
        None => work.await,
    }
}

/// Whether the request has neither key nor expectation.
pub(crate) fn is_plain() -> bool {
    CLAIM.try_with(|_| ()).is_err() && !EXPECTED.try_with(|expected| expected.borrow().is_some()).unwrap_or(false)
}

/// The write that checks the expected version; once, since what the request writes next finds its own work.
pub(crate) fn expected() -> Option<Write> {
    let (subject, versions) = EXPECTED.try_with(RefCell::take).ok().flatten()?;
    Some(Write::Expect { subject: subject.to_string(), versions })
}

/// The write that notes what the request did.
pub(crate) fn effect(effect: String) -> Option<Write> {
    CLAIM
        .try_with(|Claim { client, key, owner }| Write::Effect {
            client: client.clone(),
            key: key.clone(),
            owner: owner.clone(),
            effect,
        })
        .ok()
}

pub(crate) fn bookkeeping(write: Write) -> Change {
    Change { writes: vec![write], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() }
}

impl App {
    /// Claims a key of a client for a place (method and path); of the key only a keyed digest is stored.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn claim(&self, client: &str, place: &str, key: &str, body: &[u8]) -> ServiceResult<Claimed> {
        let now_ms = self.clock.now_ms();
        let digest = self.crypto.lookup_digest("idempotency", &format!("{place}\n{key}"));
        let claim = Claim { client: client.to_owned(), key: digest, owner: hex(&random::<16>()?) };
        let request = StoredRequest {
            client: claim.client.clone(),
            key: claim.key.clone(),
            body_sha256: sha256_hex(body),
            owner: claim.owner.clone(),
            lease_until_ms: now_ms + LEASE_SECS * 1000,
            effect: None,
            answer: None,
            expires_at_ms: now_ms + KEPT_SECS * 1000,
        };
        let body_sha256 = request.body_sha256.clone();
        if self.store.commit(bookkeeping(Write::Claim { request, now_ms })).await?.is_ok() {
            return Ok(Claimed::Ours(claim));
        }
        let Some(found) = self.store.request(&claim.client, &claim.key).await? else {
            // It was given back a moment ago: whoever asks again will hold it.
            return Ok(Claimed::InProgress);
        };
        Ok(match found {
            StoredRequest { body_sha256: other, .. } if other != body_sha256 => Claimed::Reused,
            StoredRequest { answer: Some(sealed), .. } => {
                Claimed::Answered(self.crypto.open_secret(&context(&claim), &sealed)?)
            }
            StoredRequest { effect: Some(effect), lease_until_ms, .. } if lease_until_ms <= now_ms => {
                Claimed::AnswerLost(effect)
            }
            _ => Claimed::InProgress,
        })
    }

    /// Keeps the answer for whoever asks again; it may hold a secret, so it is sealed.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn keep_answer(&self, claim: &Claim, answer: &[u8]) -> ServiceResult<()> {
        let sealed = self.crypto.seal_secret(&context(claim), answer)?;
        let Claim { client, key, owner } = claim.clone();
        // Who lost the key meanwhile did nothing under it.
        let _ = self.store.commit(bookkeeping(Write::Answer { client, key, owner, answer: sealed })).await?;
        Ok(())
    }

    /// Gives a key back after an attempt that was refused or failed.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn give_back(&self, claim: &Claim) -> ServiceResult<()> {
        let Claim { client, key, owner } = claim.clone();
        let _ = self.store.commit(bookkeeping(Write::GiveBack { client, key, owner })).await?;
        Ok(())
    }
}

fn context(claim: &Claim) -> String {
    format!("request/{}/{}", claim.client, claim.key)
}
