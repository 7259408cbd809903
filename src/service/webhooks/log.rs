//! What was and is to be sent to endpoints: shown, tried, sent again, measured.

use super::{Admin, RECORD};
use crate::service::outbox::{PREFIX, written_at};
use crate::service::{App, ServiceError, ServiceResult, invalid};
use crate::storage::{AskedDeliveries, BEHIND, Conflict, OutgoingWrite, StoredDelivery, StoredReceiver, Write};
use serde::Serialize;
use serde_json::json;
use vouchsafe_core::Second;

/// What came of a test.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// Its id.
    pub message: String,
    /// Whether it came through.
    pub delivered: bool,
    /// Status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
}

/// One message for one endpoint, as the log shows it.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub message: String,
    /// Its type.
    #[serde(rename = "type")]
    pub topic: String,
    /// What it is ordered by: a subject, a directive, a case about nobody.
    pub key: String,
    /// When it happened.
    pub at: Option<Second>,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// When it is tried next; absent while it waits behind another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Second>,
    /// When it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Second>,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// How the last try ended, in a word; empty for success.
    pub outcome: String,
}

impl From<StoredDelivery> for DeliveryView {
    fn from(row: StoredDelivery) -> Self {
        Self {
            at: written_at(&row.message),
            due_at: (row.state == "pending" && row.due_ms != BEHIND).then(|| Second::from_millis(row.due_ms)),
            tried_at: row.tried_at_ms.map(Second::from_millis),
            status: (row.status > 0).then_some(row.status),
            message: row.message,
            topic: row.topic,
            key: row.key,
            state: row.state,
            tries: row.tries,
            outcome: row.outcome,
        }
    }
}

/// Which messages are to be sent again.
#[derive(Debug, Clone)]
pub enum Again {
    /// This one, whatever became of it.
    Message(String),
    /// Those of a time, from its beginning to before its end.
    Time {
        /// From when.
        from: Second,
        /// Until before when.
        to: Second,
        /// Those that came through too.
        delivered: bool,
    },
}

impl App {
    /// Sends an endpoint a message of the type `webhook.test` now, disabled or not, and says what came of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn test_endpoint(&self, admin: Admin<'_>, id: &str) -> ServiceResult<Tested> {
        let endpoint = self.endpoint(id, None).await?;
        let message = self.id(PREFIX)?;
        let audit = self.audit(&admin.actor(), &format!("{RECORD}.tested"), id, &json!({ "message": message }))?;
        self.commit(Vec::new(), audit, Vec::new()).await?.map_err(|_| ServiceError::Conflict(RECORD))?;
        let body = json!({ "endpoint": id }).to_string();
        let answer = self.post(&endpoint, &message, "webhook.test", &body).await;
        let (status, outcome) = match answer {
            Ok((status, _)) => (Some(status), None),
            Err(outcome) => (None, Some(outcome)),
        };
        let delivered = status.is_some_and(|status| (200..300).contains(&status));
        Ok(Tested { message, delivered, status, outcome })
    }

    /// What was and is to be sent to an endpoint, newest first.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an unknown state.
    pub async fn endpoint_deliveries(
        &self,
        id: &str,
        state: &str,
        before: &str,
        limit: i64,
    ) -> ServiceResult<Vec<DeliveryView>> {
        self.endpoint(id, None).await?;
        if !matches!(state, "" | "pending" | "delivered" | "dead") {
            return Err(invalid("/state", "choose from pending, delivered, dead"));
        }
        let rows = self.store.deliveries(AskedDeliveries { receiver: id, state, before, limit }).await?;
        Ok(rows.into_iter().map(DeliveryView::from).collect())
    }

    /// Sends messages again that an endpoint was or should have been sent; how many.
    ///
    /// # Errors
    /// `NotFound` for an endpoint, or a message that was not for it; `Conflict` for a message that is being sent; `Invalid`
    /// while it is disabled.
    pub async fn replay_messages(&self, admin: Admin<'_>, id: &str, again: Again) -> ServiceResult<i64> {
        if self.endpoint(id, None).await?.disabled.is_some() {
            return Err(invalid("", "the endpoint is disabled: enable it first"));
        }
        let at = |at: Second| format!("{}_{:012x}", PREFIX, at.millis().max(0));
        let (from, to, delivered, detail) = match &again {
            Again::Message(message) => (message.clone(), format!("{message} "), true, json!({ "message": message })),
            Again::Time { from, to, delivered } => {
                if to <= from {
                    return Err(invalid("/to", "must be after `from`"));
                }
                (at(*from), at(*to), *delivered, json!({ "from": from, "to": to, "delivered": delivered }))
            }
        };
        // A time goes on meanwhile, so of one that is not over it is as many as stood there a moment before.
        let count = self.store.replayable(id, &from, &to, delivered).await?;
        let (receiver, now_ms) = (id.to_owned(), self.clock.now_ms());
        let write = Write::Outgoing(OutgoingWrite::Replay { receiver, from, to, delivered, now_ms });
        let audit = self.audit(&admin.actor(), &format!("{RECORD}.replayed"), id, &detail)?;
        let nobodys = ServiceError::NotFound("message of this endpoint");
        match (self.commit(vec![write], audit, Vec::new()).await?, again) {
            (Ok(()), Again::Message(_)) => Ok(1),
            (Ok(()), Again::Time { .. }) => Ok(count),
            (Err(Conflict::Stale(_)), Again::Time { .. }) => Ok(0),
            (Err(_), Again::Time { .. }) => Err(nobodys),
            (Err(_), Again::Message(message)) => {
                let before = format!("{message} ");
                let asked = AskedDeliveries { receiver: id, state: "", before: &before, limit: 1 };
                // What is there and cannot be sent again is on its way this moment.
                let is_there = self.store.deliveries(asked).await?.iter().any(|row| row.message == message);
                Err(if is_there { ServiceError::Conflict("message") } else { nobodys })
            }
        }
    }

    /// How an endpoint answers; nothing where it always answered well.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn endpoint_health(&self, id: &str) -> ServiceResult<StoredReceiver> {
        let found = self.store.receivers().await?.into_iter().find(|row| row.id == id);
        Ok(found.unwrap_or_default())
    }

    /// Measures what waits: in the outbox, and by endpoint.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn measure_outgoing(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let age = |message: &str| {
            let age = written_at(message).map_or(0, |at| (now_ms - at.millis()).max(0) / 1000);
            f64::from(i32::try_from(age).unwrap_or(i32::MAX))
        };
        let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
        let (rows, oldest) = self.store.outbox_backlog().await?;
        metrics::gauge!("vouchsafe_outbox_rows").set(number(rows));
        metrics::gauge!("vouchsafe_outbox_oldest_seconds").set(age(&oldest));
        let (backlog, shown) = (self.store.backlog().await?, self.store.receivers().await?);
        for id in self.world.load_full().webhook_endpoints.keys() {
            let pending = backlog.iter().find(|row| row.receiver == *id);
            let failures = shown.iter().find(|row| row.id == *id).map_or(0, |row| row.failures);
            metrics::gauge!("vouchsafe_webhook_pending", "endpoint" => id.clone())
                .set(number(pending.map_or(0, |row| row.pending)));
            metrics::gauge!("vouchsafe_webhook_oldest_seconds", "endpoint" => id.clone())
                .set(pending.map_or(0.0, |row| age(&row.oldest)));
            metrics::gauge!("vouchsafe_webhook_failures", "endpoint" => id.clone()).set(number(failures));
        }
        Ok(())
    }
}
