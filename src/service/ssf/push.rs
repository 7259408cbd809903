//! Delivery by push (RFC 8935): one token in one request, by the connector and the schedule of webhooks.

use super::SignalReceiver;
use super::collect::refusal;
use super::streams::{Delivery, Status};
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::Outgoing;
use serde_json::Value;

/// What came of pushing a message.
#[derive(Debug)]
pub enum Pushed {
    /// There is nothing to be told of it.
    Nothing,
    /// The receiver cannot take it, and says why (RFC 8935 section 2.3).
    Refused {
        /// In a word.
        outcome: &'static str,
    },
    /// It answered.
    Answered {
        /// Status.
        status: u16,
        /// `Retry-After`, as written.
        retry_after: Option<String>,
    },
    /// It did not.
    Unanswered {
        /// What happened.
        why: &'static str,
    },
}

impl SignalReceiver {
    /// Whether something is posted to it now.
    #[must_use]
    pub fn is_pushed(&self) -> bool {
        self.push_url().is_some_and(|_| self.stream.as_ref().is_some_and(|stream| stream.status == Status::Enabled))
    }

    fn push_url(&self) -> Option<&str> {
        match &self.stream.as_ref()?.delivery {
            Delivery::Push(url) => Some(url),
            Delivery::Poll => None,
        }
    }
}

/// The code with which a receiver refuses a token, if it says one.
fn code(body: &[u8]) -> Option<&'static str> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("err")?.as_str().map(refusal)
}

impl App {
    /// Whether an address may be posted to.
    pub(super) fn check_push(&self, url: &str) -> ServiceResult<()> {
        let checked = self.webhooks.connector.load().check(url);
        checked.map(drop).map_err(|error| invalid("/delivery/endpoint_url", error.why()))
    }

    /// Posts a message as a token to a receiver as this process knows it. What such a receiver is not to be told is asked of
    /// the store again: it may have been changed on another replica before the message was laid out for it.
    ///
    /// # Errors
    /// When it cannot be known or signed now.
    pub(crate) async fn push_now(&self, receiver: &SignalReceiver, sent: &Outgoing) -> ServiceResult<Pushed> {
        let pushed = self.push_signal(receiver, sent).await?;
        if !matches!(pushed, Pushed::Nothing) {
            return Ok(pushed);
        }
        match self.signal_receiver(&receiver.id, None).await {
            Ok(now) if now.version == receiver.version => Ok(Pushed::Nothing),
            Ok(now) if now.is_pushed() => self.push_signal(&now, sent).await,
            // It is held, collected or gone by now; this process will know soon.
            Ok(_) => Err(ServiceError::Unavailable("receiver")),
            Err(ServiceError::NotFound(_)) => Ok(Pushed::Nothing),
            Err(error) => Err(error),
        }
    }

    async fn push_signal(&self, receiver: &SignalReceiver, sent: &Outgoing) -> ServiceResult<Pushed> {
        let Some(url) = receiver.push_url() else { return Ok(Pushed::Nothing) };
        let Some((_, token)) = self.event_token(receiver, sent).await? else { return Ok(Pushed::Nothing) };
        let authorization = self.push_authorization(receiver)?;
        let mut headers =
            vec![("accept", "application/json"), ("user-agent", concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let connector = self.webhooks.connector.load_full();
        Ok(match connector.send_as("application/secevent+jwt", url, &headers, token).await {
            Ok((reply, body)) => match code(&body).filter(|_| reply.status == 400) {
                Some(outcome) => {
                    tracing::warn!(receiver = receiver.id, message = sent.message, outcome, "a signal was refused");
                    Pushed::Refused { outcome }
                }
                None => Pushed::Answered { status: reply.status, retry_after: reply.retry_after },
            },
            Err(error) => Pushed::Unanswered { why: error.why() },
        })
    }

    /// Holds a stream to which nothing came through for days; what it misses is kept for it as long as messages are.
    pub(crate) async fn give_up_signals(&self, client: &str, reason: &'static str) -> ServiceResult<()> {
        let flows = self.world.load().signal_receivers.get(client).is_some_and(|receiver| receiver.is_pushed());
        if !flows {
            return Ok(());
        }
        match self.administer_stream(&Actor::system(), client, Status::Paused, Some(reason)).await {
            Ok(_) => {
                tracing::warn!(receiver = client, reason, "a stream of signals was paused");
                Ok(())
            }
            Err(ServiceError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_of_the_known_codes_or_none() {
        for (body, wanted) in [
            (r#"{"err":"invalid_key","description":"x"}"#, Some("invalid_key")),
            (r#"{"err":"authentication_failed"}"#, Some("authentication_failed")),
            (r#"{"err":"something else"}"#, Some("refused")),
            (r#"{"err":1}"#, None),
            ("{}", None),
            ("[]", None),
            ("bad gateway", None),
            ("", None),
        ] {
            assert_eq!(code(body.as_bytes()), wanted, "{body}");
        }
    }
}
