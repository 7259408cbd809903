//! Messages as security event tokens: one event each, about a name that the receiver knows, and nothing of why.

use super::{Names, SignalReceiver};
use crate::service::outbox::{about_resources, written_at};
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::{OutboxRow, Outgoing};
use crate::token::keys::{Algorithm, Purpose};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Map, Value, json};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::{Second, Status};

/// The claims of somebody's tokens are other ones (CAEP 1.0 section 3.2): whether they may use a resource.
pub const TOKEN_CLAIMS_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/token-claims-change";
/// Sessions at the resource are over (CAEP 1.0 section 3.1).
pub const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// An eligibility token was revoked (CAEP 1.0 section 3.3).
pub const CREDENTIAL_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
/// How sure it is that somebody may use a resource is another (CAEP 1.0 section 3.4).
pub const ASSURANCE_LEVEL_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change";
/// Somebody was erased (RISC 1.0 section 2.2).
pub const ACCOUNT_PURGED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-purged";
/// The stream works (SSF 1.0 section 8.1.4).
pub const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
/// The stream's status was changed by us (SSF 1.0 section 8.1.5).
pub const STREAM_UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// `typ` of security event tokens (RFC 8417 section 2.3).
pub const TYPE: &str = "secevent+jwt";

pub(super) const VERIFICATION_TOPIC: &str = "signals.verification";
pub(super) const UPDATED_TOPIC: &str = "signals.updated";
pub(super) const ERASED_TOPIC: &str = "signals.erased";
pub(super) const ENDED_TOPIC: &str = "signals.ended";
pub(crate) const LEVEL_TOPIC: &str = "signals.level";

/// The namespace of levels: a confidence rounded down to its tenth.
const LEVELS: &str = "vouchsafe-confidence";

/// One of several names of somebody: at most so many go into a token.
const MOST_NAMES: usize = 20;
/// How far back tokens are looked through for whether an audience ever saw a subject.
const TOKENS_PAGE: i64 = 500;

/// An event as it goes into a token.
struct Event {
    uri: &'static str,
    about: Value,
    members: Value,
}

/// The id of a message's token for one stream; the same however often it is sent.
pub(super) fn jti_of(message: &str, stream: &str) -> String {
    format!("{message}.{stream}")
}

/// The message behind the id of a token of this stream.
pub(super) fn message_of<'j>(jti: &'j str, stream: &str) -> Option<&'j str> {
    jti.strip_suffix(stream)?.strip_suffix('.')
}

fn opaque(stream: &str) -> Value {
    json!({ "format": "opaque", "id": stream })
}

fn sealed_for(receiver: &str) -> String {
    format!("signals/erased/{receiver}")
}

impl App {
    /// The token of a message for a receiver; `None` where it has nothing to be told of it, or not any more.
    ///
    /// # Errors
    /// When it cannot be known or signed now.
    pub(super) async fn event_token(
        &self,
        receiver: &SignalReceiver,
        sent: &Outgoing,
    ) -> ServiceResult<Option<(String, String)>> {
        let unreadable = || ServiceError::Unreadable(format!("message {}", sent.message));
        let Some(stream) = &receiver.stream else { return Ok(None) };
        let body: Map<String, Value> = serde_json::from_str(&sent.body).map_err(|_| unreadable())?;
        let at = written_at(&sent.message).ok_or_else(unreadable)?;
        // It may have been changed since.
        if !receiver.receiver().wants(&sent.topic, &about_resources(&sent.body)) {
            return Ok(None);
        }
        let Some(event) = self.event(receiver, &stream.id, &sent.topic, &body, at).await? else { return Ok(None) };
        let jti = jti_of(&sent.message, &stream.id);
        // Sent again it is the same: its instant is the message's.
        let claims = json!({
            "iss": self.issuer, "aud": receiver.aud, "iat": at.epoch(), "jti": jti, "txn": sent.message,
            "sub_id": event.about, "events": { event.uri: event.members },
        });
        let token = self.signer(Purpose::Event, Algorithm::Rs256)?.sign(TYPE, &claims)?;
        Ok(Some((jti, token)))
    }

    async fn event(
        &self,
        receiver: &SignalReceiver,
        stream: &str,
        topic: &str,
        body: &Map<String, Value>,
        at: Second,
    ) -> ServiceResult<Option<Event>> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        if [VERIFICATION_TOPIC, UPDATED_TOPIC].contains(&topic) {
            // Of an earlier stream.
            if text("stream") != Some(stream) {
                return Ok(None);
            }
            let told = if topic == VERIFICATION_TOPIC { &["state"][..] } else { &["status", "reason"] };
            let members = told.iter().filter_map(|name| Some(((*name).to_owned(), json!(text(name)?))));
            let uri = if topic == VERIFICATION_TOPIC { VERIFICATION } else { STREAM_UPDATED };
            return Ok(Some(Event { uri, about: opaque(stream), members: Value::Object(members.collect()) }));
        }
        let delivered = receiver.delivered();
        let uri = match topic {
            "eligibility.changed" | ENDED_TOPIC => {
                let is_eligible = |name: &str| text(name) == Some(Status::Eligible.as_str());
                // Whoever could not and cannot is no news, and why would be told by it.
                if is_eligible("status") == is_eligible("previous") || text("acting_for").is_some() {
                    return Ok(None);
                }
                if !is_eligible("status") && delivered.contains(SESSION_REVOKED) {
                    SESSION_REVOKED
                } else {
                    TOKEN_CLAIMS_CHANGE
                }
            }
            "token.revoked" => CREDENTIAL_CHANGE,
            LEVEL_TOPIC => ASSURANCE_LEVEL_CHANGE,
            ERASED_TOPIC => ACCOUNT_PURGED,
            _ => return Ok(None),
        };
        if !delivered.contains(uri) || (uri == CREDENTIAL_CHANGE && !self.saw_token(receiver, text("token")).await?) {
            return Ok(None);
        }
        let Some(about) = self.named(receiver, body).await? else { return Ok(None) };
        let mut members = json!({ "event_timestamp": at.epoch(), "initiating_entity": "policy" });
        let resource = text("resource").unwrap_or_default();
        let more = match uri {
            SESSION_REVOKED => json!({ "reason_admin": { "en": format!("no longer eligible for {resource}") } }),
            TOKEN_CLAIMS_CHANGE => {
                let allowed = text("status") == Some(Status::Eligible.as_str());
                let mut eligibility = json!({ "allowed": allowed, "resource": resource });
                let until = body.get("expires_at").and_then(|end| serde_json::from_value::<Second>(end.clone()).ok());
                if let (true, Some(until), Some(members)) = (allowed, until, eligibility.as_object_mut()) {
                    members.insert("valid_until".to_owned(), json!(until.epoch()));
                }
                json!({ "claims": { "eligibility": eligibility } })
            }
            ASSURANCE_LEVEL_CHANGE => level_members(resource, text("level"), text("previous")),
            CREDENTIAL_CHANGE => json!({ "credential_type": "verifiable-credential", "change_type": "revoke" }),
            // RISC's event has no members of its own.
            _ => {
                members = json!({});
                json!({})
            }
        };
        if let (Some(members), Value::Object(more)) = (members.as_object_mut(), more) {
            members.extend(more);
        }
        Ok(Some(Event { uri, about, members }))
    }

    /// Whether a token was made for the receiver's audience; who knows subjects by links hears of all.
    async fn saw_token(&self, receiver: &SignalReceiver, jti: Option<&str>) -> ServiceResult<bool> {
        match (&receiver.names, jti) {
            (Names::Namespace(_), _) => Ok(true),
            (Names::Audience(audience), Some(jti)) => {
                Ok(self.store.token(jti).await?.is_some_and(|token| token.audience == *audience))
            }
            (Names::Audience(_), None) => Ok(false),
        }
    }

    /// The subject of a message as the receiver knows it: `iss_sub`, or `aliases` where it has several (RFC 9493).
    async fn named(&self, receiver: &SignalReceiver, body: &Map<String, Value>) -> ServiceResult<Option<Value>> {
        let Some(subject) = body.get("subject").and_then(Value::as_str) else { return Ok(None) };
        let names = match body.get("names") {
            // It was erased: who it was is known of this message alone.
            Some(sealed) => match sealed.get(&receiver.id).and_then(Value::as_str) {
                Some(sealed) => {
                    let unreadable = |_| ServiceError::Unreadable("names in a message".to_owned());
                    let plain =
                        B64.decode(sealed).map_err(|_| ServiceError::Unreadable("names in a message".to_owned()))?;
                    let plain = self.crypto.open_secret(&sealed_for(&receiver.id), &plain)?;
                    serde_json::from_slice(&plain).map_err(unreadable)?
                }
                None => return Ok(None),
            },
            None if self.store.is_muted(&receiver.id, subject).await? => return Ok(None),
            None => {
                let subject = SubjectId::parse(subject)
                    .map_err(|_| ServiceError::Unreadable("subject of a message".to_owned()))?;
                self.names_of(receiver, &subject).await?
            }
        };
        Ok(about(names))
    }

    /// The names by which a receiver knows a subject, as `iss_sub`.
    async fn names_of(&self, receiver: &SignalReceiver, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let (issuer, names) = match &receiver.names {
            Names::Audience(audience) => {
                let pairwise = self.world.load().audiences.get(audience).is_some_and(|found| found.pairwise);
                if !pairwise || !self.is_known_to(audience, subject).await? {
                    return Ok(Vec::new());
                }
                (self.issuer.clone(), vec![self.crypto.pairwise(subject.as_str(), audience)?])
            }
            Names::Namespace(namespace) => {
                let links = match self.links(subject).await {
                    Ok(links) => links,
                    Err(ServiceError::Erased | ServiceError::NotFound(_)) => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                };
                let own = links.into_iter().filter(|(own, _)| own == namespace).map(|(_, id)| id);
                (self.issuer_of_names(receiver), own.take(MOST_NAMES).collect())
            }
        };
        Ok(names.into_iter().map(|sub| json!({ "format": "iss_sub", "iss": issuer, "sub": sub })).collect())
    }

    /// `iss` of a receiver's names: the provider's whose subjects are linked in its namespace, else ours.
    pub(super) fn issuer_of_names(&self, receiver: &SignalReceiver) -> String {
        let world = self.world.load();
        let provider = match &receiver.names {
            Names::Audience(_) => None,
            Names::Namespace(own) => world.identity_providers.values().find(|provider| provider.namespace == *own),
        };
        provider.map_or_else(|| self.issuer.clone(), |provider| provider.issuer.clone())
    }

    /// Whether a token for an audience was issued for a subject, as far as tokens are kept.
    async fn is_known_to(&self, audience: &str, subject: &SubjectId) -> ServiceResult<bool> {
        let mut after = String::new();
        loop {
            let page = self.store.tokens_of(subject.as_str(), &after, TOKENS_PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            if page.iter().any(|token| token.audience == audience) {
                return Ok(true);
            }
            after.clone_from(&last.jti);
        }
    }

    /// What is told of an erasure, to be in its commit: that the subject is gone, and that what it might use it may not use
    /// any more. Its names are sealed for each receiver, for after the commit nobody knows them.
    pub(crate) async fn erasure_messages(&self, subject: &SubjectId) -> ServiceResult<Vec<OutboxRow>> {
        let world = self.world.load_full();
        let mut names = Map::new();
        for receiver in world.signal_receivers.values().filter(|receiver| !receiver.delivered().is_empty()) {
            if self.store.is_muted(&receiver.id, subject.as_str()).await? {
                continue;
            }
            let own = self.names_of(receiver, subject).await?;
            if own.is_empty() {
                continue;
            }
            let plain = serde_json::to_vec(&own).map_err(|_| ServiceError::Unreadable("names".to_owned()))?;
            let sealed = self.crypto.seal_secret(&sealed_for(&receiver.id), &plain)?;
            names.insert(receiver.id.clone(), json!(B64.encode(sealed)));
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (key, mut rows) = (subject.as_str(), Vec::new());
        for standing in self.store.standings(key).await? {
            // Whatever stood last: what was told of it before may still wait, and nobody can name the subject for it then.
            if standing.acting_for.is_empty() {
                let body = json!({ "subject": subject, "resource": standing.resource, "names": names,
                    "previous": Status::Eligible, "status": Status::Insufficient });
                rows.push(self.message(ENDED_TOPIC, key, &body)?);
            }
        }
        rows.push(self.message(ERASED_TOPIC, key, &json!({ "subject": subject, "names": names }))?);
        Ok(rows)
    }
}

/// What is said of another level (CAEP 1.0 section 3.4.1). It is one of a resource, which CAEP has no member for.
fn level_members(resource: &str, level: Option<&str>, previous: Option<&str>) -> Value {
    let reason = json!({ "en": format!("confidence in the eligibility for {resource}") });
    let mut members = json!({ "namespace": LEVELS, "current_level": level, "reason_admin": reason });
    if let (Some(members), Some(previous)) = (members.as_object_mut(), previous) {
        // Tenths of one in one form: they are in the order of their texts.
        let direction = if level > Some(previous) { "increase" } else { "decrease" };
        members.insert("previous_level".to_owned(), json!(previous));
        members.insert("change_direction".to_owned(), json!(direction));
    }
    members
}

/// Names as a subject identifier.
fn about(mut names: Vec<Value>) -> Option<Value> {
    match names.len() {
        0 => None,
        1 => names.pop(),
        _ => Some(json!({ "format": "aliases", "identifiers": names })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_token_leads_back_to_its_message_in_its_own_stream_alone() {
        let jti = jti_of("out_1", "ssf_a");
        assert_eq!(message_of(&jti, "ssf_a"), Some("out_1"));
        for (jti, stream) in [(jti.as_str(), "ssf_b"), ("out_1", "ssf_a"), ("ssf_a", "ssf_a"), ("out_1ssf_a", "ssf_a")]
        {
            assert_eq!(message_of(jti, stream), None, "{jti} {stream}");
        }
    }

    #[test]
    fn one_name_stands_for_itself_and_several_are_aliases() {
        let name = |sub: &str| json!({ "format": "iss_sub", "iss": "https://idp.example", "sub": sub });
        assert_eq!(about(Vec::new()), None);
        assert_eq!(about(vec![name("a")]), Some(name("a")));
        let both = json!({ "format": "aliases", "identifiers": [name("a"), name("b")] });
        assert_eq!(about(vec![name("a"), name("b")]), Some(both));
    }
}
