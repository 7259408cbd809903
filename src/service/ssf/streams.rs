//! Streams: what a receiver asks for and how it gets it (SSF 1.0 section 8.1).

use super::events::{UPDATED_TOPIC, VERIFICATION_TOPIC, message_of};
use super::{MANAGE, Names, READ, RECORD, SignalReceiver};
use crate::service::authenticate::Caller;
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, FeedRow, OutboxRow, OutgoingWrite, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::Second;

/// How long a receiver waits between two verifications, seconds.
pub const VERIFICATION_SECS: i64 = 60;
/// Delivery by push (RFC 8935).
pub const PUSH: &str = "urn:ietf:rfc:8935";
/// Delivery by poll (RFC 8936).
pub const POLL: &str = "urn:ietf:rfc:8936";

/// Most events that a stream may ask for, unknown ones included.
const EVENTS_MAX: usize = 100;
/// Longest text of a receiver, bytes.
const TEXT_MAX: usize = 1000;
/// Longest `Authorization`, bytes.
const HEADER_MAX: usize = 4000;

/// Whether a stream flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does.
    Enabled,
    /// What there is to tell is kept for later.
    Paused,
    /// What there would be to tell is not kept.
    Disabled,
}

impl Status {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Enabled, Self::Paused, Self::Disabled].into_iter().find(|status| status.as_str() == text)
    }
}

/// How a receiver is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Delivery {
    /// We post to this address.
    Push(String),
    /// It fetches.
    Poll,
}

/// The stream of a receiver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// `ssf_…`
    pub id: String,
    /// What it asked for, known or not.
    pub requested: BTreeSet<String>,
    /// How it is told.
    pub delivery: Delivery,
    /// The receiver's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it flows.
    pub status: Status,
    /// Why it does not, in the words of whoever said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was verified last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Second>,
}

/// What a receiver says of its stream, before it is looked at.
type Members = Map<String, Value>;

/// A member that is there.
fn given<'m>(members: &'m Members, name: &str) -> Option<&'m Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn text<'m>(members: &'m Members, name: &str, most: usize) -> ServiceResult<Option<&'m str>> {
    match given(members, name) {
        None => Ok(None),
        Some(Value::String(found)) if found.len() <= most => Ok(Some(found)),
        Some(_) => Err(invalid(&format!("/{name}"), format!("must be a string of at most {most} bytes"))),
    }
}

fn needed<'m>(members: &'m Members, name: &str) -> ServiceResult<&'m str> {
    text(members, name, TEXT_MAX)?.ok_or_else(|| invalid(&format!("/{name}"), "is required"))
}

fn uris(members: &Members, name: &str) -> ServiceResult<Option<BTreeSet<String>>> {
    let wrong = || invalid(&format!("/{name}"), format!("must be an array of at most {EVENTS_MAX} URIs"));
    match given(members, name) {
        None => Ok(None),
        Some(Value::Array(list)) if list.len() <= EVENTS_MAX => {
            let uri = |value: &Value| value.as_str().filter(|uri| uri.len() <= TEXT_MAX).map(str::to_owned);
            list.iter().map(|value| uri(value).ok_or_else(wrong)).collect::<ServiceResult<_>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

/// What a receiver may set, as it says it; the outer `None` where it says nothing.
struct Wanted {
    requested: Option<BTreeSet<String>>,
    delivery: Option<WantedDelivery>,
    description: Option<String>,
}

enum WantedDelivery {
    Push { url: String, authorization: Authorization },
    Poll { url: Option<String> },
}

enum Authorization {
    /// Not spoken of: that of the same address stays.
    Unsaid,
    None,
    Is(String),
}

impl Wanted {
    fn read(members: &Members) -> ServiceResult<Self> {
        let requested = uris(members, "events_requested")?;
        let description = text(members, "description", TEXT_MAX)?.map(str::to_owned);
        let delivery = match given(members, "delivery") {
            None => None,
            Some(Value::Object(delivery)) => Some(WantedDelivery::read(delivery)?),
            Some(_) => return Err(invalid("/delivery", "must be an object")),
        };
        Ok(Self { requested, delivery, description })
    }
}

impl WantedDelivery {
    fn read(members: &Members) -> ServiceResult<Self> {
        let url = text(members, "endpoint_url", TEXT_MAX)?.map(str::to_owned);
        match needed(members, "method")? {
            PUSH => {
                let url = url.ok_or_else(|| invalid("/delivery/endpoint_url", "is required"))?;
                let authorization = match text(members, "authorization_header", HEADER_MAX)? {
                    None if members.contains_key("authorization_header") => Authorization::None,
                    None => Authorization::Unsaid,
                    Some(value) if !value.is_empty() && value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => {
                        Authorization::Is(value.to_owned())
                    }
                    Some(_) => return Err(invalid("/delivery/authorization_header", "is no value of a header")),
                };
                Ok(Self::Push { url, authorization })
            }
            POLL => Ok(Self::Poll { url }),
            _ => Err(invalid("/delivery/method", format!("must be `{PUSH}` or `{POLL}`"))),
        }
    }
}

/// A stream and its status, as they are told.
#[derive(Debug, Serialize)]
pub struct StatusView {
    /// `ssf_…`
    stream_id: String,
    /// Whether it flows.
    status: Status,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn no_stream() -> ServiceError {
    ServiceError::NotFound("stream")
}

impl App {
    /// The receiver that a caller is, as it is stored now.
    ///
    /// # Errors
    /// `Forbidden` without any of the scopes, or where the client is none.
    pub(super) async fn as_receiver(&self, caller: &Caller, scopes: &[&'static str]) -> ServiceResult<SignalReceiver> {
        if !scopes.iter().any(|scope| caller.require(scope).is_ok()) {
            return Err(ServiceError::Forbidden(scopes.first().copied().unwrap_or(MANAGE)));
        }
        let record = self.store.record(RECORD, &caller.id).await?;
        SignalReceiver::read(&record.ok_or(ServiceError::Forbidden("registration as a receiver"))?)
    }

    /// The caller with the stream it names; any other's looks missing.
    pub(super) async fn with_stream(
        &self,
        caller: &Caller,
        scopes: &[&'static str],
        id: &str,
    ) -> ServiceResult<(SignalReceiver, Stream)> {
        let receiver = self.as_receiver(caller, scopes).await?;
        let stream = receiver.stream.clone().filter(|stream| stream.id == id).ok_or_else(no_stream)?;
        Ok((receiver, stream))
    }

    /// The configuration of a stream. What is sent to its push endpoint as `Authorization` is told to nobody.
    fn configuration(&self, receiver: &SignalReceiver, stream: &Stream) -> Value {
        let delivery = match &stream.delivery {
            Delivery::Push(url) => json!({ "method": PUSH, "endpoint_url": url }),
            Delivery::Poll => json!({ "method": POLL, "endpoint_url": self.poll_url(stream) }),
        };
        let mut view = json!({
            "stream_id": stream.id, "iss": self.issuer, "aud": receiver.aud,
            "events_supported": receiver.supported(), "events_requested": stream.requested,
            "events_delivered": receiver.delivered(), "delivery": delivery,
            "min_verification_interval": VERIFICATION_SECS,
        });
        if let (Some(description), Some(members)) = (&stream.description, view.as_object_mut()) {
            members.insert("description".to_owned(), json!(description));
        }
        view
    }

    fn poll_url(&self, stream: &Stream) -> String {
        format!("{}/ssf/poll/{}", self.issuer, stream.id)
    }

    /// Takes over what is wanted of the delivery.
    fn set_delivery(
        &self,
        receiver: &mut SignalReceiver,
        stream: &mut Stream,
        wanted: WantedDelivery,
    ) -> ServiceResult<()> {
        match wanted {
            WantedDelivery::Poll { url } => {
                if url.is_some_and(|url| url != self.poll_url(stream)) {
                    return Err(invalid("/delivery/endpoint_url", "is ours to say where it is fetched"));
                }
                stream.delivery = Delivery::Poll;
                receiver.sealed = Vec::new();
            }
            WantedDelivery::Push { url, authorization } => {
                self.check_push(&url)?;
                match authorization {
                    Authorization::Unsaid if stream.delivery == Delivery::Push(url.clone()) => {}
                    Authorization::Unsaid | Authorization::None => receiver.sealed = Vec::new(),
                    Authorization::Is(value) => {
                        receiver.sealed =
                            self.crypto.seal_secret(&format!("{RECORD}/{}", receiver.id), value.as_bytes())?;
                    }
                }
                stream.delivery = Delivery::Push(url);
            }
        }
        Ok(())
    }

    /// What is sent to a push endpoint as `Authorization`.
    pub(super) fn push_authorization(&self, receiver: &SignalReceiver) -> ServiceResult<Option<String>> {
        if receiver.sealed.is_empty() {
            return Ok(None);
        }
        let plain = self.crypto.open_secret(&format!("{RECORD}/{}", receiver.id), &receiver.sealed)?;
        String::from_utf8(plain).map(Some).map_err(|_| ServiceError::Unreadable(format!("header of {}", receiver.id)))
    }

    /// Commits a receiver with its stream as it is to be, and what goes with it.
    async fn put_stream(
        &self,
        actor: &Actor,
        receiver: &SignalReceiver,
        verb: &str,
        detail: &Value,
        more: Vec<OutgoingWrite>,
        outbox: Vec<OutboxRow>,
    ) -> ServiceResult<()> {
        let id = &receiver.id;
        let sealed = Some(receiver.sealed.clone());
        let record = self.record_row(RECORD, id, receiver, sealed, receiver.version)?;
        let mut writes = vec![Write::Record { record, expected: receiver.version }];
        writes.extend(more.into_iter().map(Write::Outgoing));
        let audit = vec![self.audit(actor, &format!("stream.{verb}"), id, detail)?];
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("{RECORD}/{id}") }];
        let change = Change { writes, audit, feed, outbox };
        self.commit_whole(change).await?.map_err(|_| ServiceError::Conflict("stream"))
    }

    /// Makes the caller's stream.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid`; `Conflict` where it has one.
    pub async fn create_stream(&self, caller: &Caller, members: &Members) -> ServiceResult<Value> {
        let mut receiver = self.as_receiver(caller, &[MANAGE]).await?;
        let wanted = Wanted::read(members)?;
        if receiver.stream.is_some() {
            return Err(ServiceError::Conflict("stream"));
        }
        let mut stream = Stream {
            id: self.id("ssf")?,
            requested: wanted.requested.unwrap_or_default(),
            delivery: Delivery::Poll,
            description: wanted.description,
            status: Status::Enabled,
            reason: None,
            verified_at: None,
        };
        if let Some(delivery) = wanted.delivery {
            self.set_delivery(&mut receiver, &mut stream, delivery)?;
        }
        let detail = said(&stream);
        receiver.stream = Some(stream.clone());
        self.put_stream(&caller.actor(), &receiver, "created", &detail, Vec::new(), Vec::new()).await?;
        Ok(self.configuration(&receiver, &stream))
    }

    /// The caller's stream of that id, or a list of those it has.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`.
    pub async fn signal_stream(&self, caller: &Caller, id: Option<&str>) -> ServiceResult<Value> {
        let scopes = [READ, MANAGE];
        match id {
            Some(id) => {
                let (receiver, stream) = self.with_stream(caller, &scopes, id).await?;
                Ok(self.configuration(&receiver, &stream))
            }
            None => {
                let receiver = self.as_receiver(caller, &scopes).await?;
                let streams = receiver.stream.iter().map(|stream| self.configuration(&receiver, stream));
                Ok(Value::Array(streams.collect()))
            }
        }
    }

    /// Changes the caller's stream, or replaces what the receiver says of it.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`; `Invalid`, also for a value of ours that is another.
    pub async fn change_stream(&self, caller: &Caller, members: &Members, replace: bool) -> ServiceResult<Value> {
        let id = needed(members, "stream_id");
        let mut receiver = self.as_receiver(caller, &[MANAGE]).await?;
        let id = id?;
        let mut stream = receiver.stream.clone().filter(|stream| stream.id == id).ok_or_else(no_stream)?;
        let wanted = Wanted::read(members)?;
        let before = self.configuration(&receiver, &stream);
        if replace {
            stream.requested = wanted.requested.unwrap_or_default();
            stream.description = wanted.description;
            self.set_delivery(
                &mut receiver,
                &mut stream,
                wanted.delivery.unwrap_or(WantedDelivery::Poll { url: None }),
            )?;
        } else {
            stream.requested = wanted.requested.unwrap_or(stream.requested);
            stream.description = wanted.description.or(stream.description);
            if let Some(delivery) = wanted.delivery {
                self.set_delivery(&mut receiver, &mut stream, delivery)?;
            }
        }
        receiver.stream = Some(stream.clone());
        let after = self.configuration(&receiver, &stream);
        check_ours(members, [&before, &after])?;
        // How the old endpoint answered says nothing of the new one.
        let anew = vec![OutgoingWrite::Anew(receiver.id.clone())];
        self.put_stream(&caller.actor(), &receiver, "changed", &said(&stream), anew, Vec::new()).await?;
        Ok(after)
    }

    /// Ends the caller's stream, with all that waits in it.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`.
    pub async fn delete_stream(&self, caller: &Caller, id: &str) -> ServiceResult<()> {
        let (mut receiver, _) = self.with_stream(caller, &[MANAGE], id).await?;
        receiver.stream = None;
        receiver.sealed = Vec::new();
        let gone = vec![
            OutgoingWrite::Bury { receiver: receiver.id.clone(), outcome: "deleted" },
            OutgoingWrite::Unmute(receiver.id.clone()),
            OutgoingWrite::Anew(receiver.id.clone()),
        ];
        let detail = json!({ "stream": id });
        self.put_stream(&caller.actor(), &receiver, "deleted", &detail, gone, Vec::new()).await
    }

    /// Whether the caller's stream flows.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`.
    pub async fn stream_status(&self, caller: &Caller, id: &str) -> ServiceResult<StatusView> {
        let (_, stream) = self.with_stream(caller, &[READ, MANAGE], id).await?;
        Ok(StatusView { stream_id: stream.id, status: stream.status, reason: stream.reason })
    }

    /// Lets the caller's stream flow, holds it or stops it.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`; `Invalid`.
    pub async fn set_stream_status(&self, caller: &Caller, members: &Members) -> ServiceResult<StatusView> {
        let asked = needed(members, "stream_id").and_then(|id| {
            let status = Status::parse(needed(members, "status")?);
            let status = status.ok_or_else(|| invalid("/status", "must be `enabled`, `paused` or `disabled`"))?;
            Ok((id, status, text(members, "reason", TEXT_MAX)?))
        });
        let receiver = self.as_receiver(caller, &[MANAGE]).await?;
        let (id, status, reason) = asked?;
        receiver.stream.as_ref().filter(|stream| stream.id == id).ok_or_else(no_stream)?;
        self.put_status(&caller.actor(), receiver, status, reason, false).await
    }

    /// The same for any receiver, by an administrator or by the service itself: its receiver is told.
    ///
    /// # Errors
    /// `NotFound` where there is no such receiver, or it has no stream; `Invalid`.
    pub async fn administer_stream(
        &self,
        actor: &Actor,
        client: &str,
        status: Status,
        reason: Option<&str>,
    ) -> ServiceResult<StatusView> {
        let receiver = self.signal_receiver(client, None).await?;
        if reason.is_some_and(|reason| reason.len() > TEXT_MAX) {
            return Err(invalid("/reason", format!("must be at most {TEXT_MAX} long")));
        }
        self.put_status(actor, receiver, status, reason, true).await
    }

    async fn put_status(
        &self,
        actor: &Actor,
        mut receiver: SignalReceiver,
        status: Status,
        reason: Option<&str>,
        ours: bool,
    ) -> ServiceResult<StatusView> {
        let stream = receiver.stream.as_mut().ok_or_else(no_stream)?;
        let was = stream.status;
        stream.status = status;
        stream.reason = reason.map(str::to_owned);
        let stream = stream.clone();
        let view = StatusView { stream_id: stream.id.clone(), status, reason: stream.reason.clone() };
        let mut more = Vec::new();
        if status == Status::Disabled && was != Status::Disabled {
            more.push(OutgoingWrite::Bury { receiver: receiver.id.clone(), outcome: "disabled" });
        }
        if status == Status::Enabled && was != Status::Enabled {
            more.push(OutgoingWrite::Anew(receiver.id.clone()));
        }
        let mut outbox = Vec::new();
        if ours && was != status {
            let body =
                json!({ "receiver": receiver.id, "stream": stream.id, "status": status, "reason": stream.reason });
            outbox.push(self.message(UPDATED_TOPIC, &stream.id, &body)?);
        }
        let detail = json!({ "stream": stream.id, "status": status, "was": was });
        self.put_stream(actor, &receiver, "status_changed", &detail, more, outbox).await?;
        Ok(view)
    }

    /// Adds a subject to what the caller is told of, or takes it away. Of whom it cannot name by a name of its own nothing
    /// changes, and it is not told that.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound` for the stream; `Invalid` for what is no subject identifier.
    pub async fn change_subject(&self, caller: &Caller, members: &Members, add: bool) -> ServiceResult<()> {
        let asked = needed(members, "stream_id").and_then(|id| Ok((id, subject_of(members)?)));
        let receiver = self.as_receiver(caller, &[MANAGE]).await?;
        let (id, subject) = asked?;
        receiver.stream.as_ref().filter(|stream| stream.id == id).ok_or_else(no_stream)?;
        let Some((issuer, sub)) = subject else { return Ok(()) };
        if issuer != self.issuer_of_names(&receiver) {
            return Ok(());
        }
        let subject = match &receiver.names {
            Names::Audience(audience) => self.party_named(sub, audience, true).map(|subject| subject.to_string()),
            Names::Namespace(namespace) => self.resolve_link(namespace, sub).await?,
        };
        let Some(subject) = subject else { return Ok(()) };
        let verb = if add { "stream.subject_added" } else { "stream.subject_removed" };
        let audit = self.audit(&caller.actor(), verb, &receiver.id, &json!({ "stream": id, "subject": subject }))?;
        let mute = OutgoingWrite::Mute { receiver: receiver.id, subject, muted: !add };
        // Whoever is not there any more is told of no more.
        let _ = self.commit(vec![Write::Outgoing(mute)], audit, Vec::new()).await?;
        Ok(())
    }

    /// Sends a verification event through the caller's stream.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound`; `Invalid`, also for a stream that is disabled; `TooManyTries` before its time.
    pub async fn verify_stream(&self, caller: &Caller, members: &Members) -> ServiceResult<()> {
        let asked = needed(members, "stream_id").and_then(|id| Ok((id, text(members, "state", TEXT_MAX)?)));
        let mut receiver = self.as_receiver(caller, &[MANAGE]).await?;
        let (id, state) = asked?;
        let stream = receiver.stream.as_mut().filter(|stream| stream.id == id).ok_or_else(no_stream)?;
        if stream.status == Status::Disabled {
            return Err(invalid("/stream_id", "the stream is disabled: enable it first"));
        }
        let now = self.clock.now();
        if let Some(last) = stream.verified_at
            && now.since(last) < VERIFICATION_SECS
        {
            return Err(ServiceError::TooManyTries { wait_secs: VERIFICATION_SECS - now.since(last) });
        }
        stream.verified_at = Some(now);
        let mut body = json!({ "receiver": receiver.id, "stream": id });
        if let (Some(state), Some(members)) = (state, body.as_object_mut()) {
            members.insert("state".to_owned(), json!(state));
        }
        let message = self.message(VERIFICATION_TOPIC, id, &body)?;
        let detail = json!({ "stream": id });
        self.put_stream(&caller.actor(), &receiver, "verified", &detail, Vec::new(), vec![message]).await
    }

    /// The messages behind ids of tokens of a stream, as far as they are any.
    pub(super) fn messages_behind<'j>(stream: &Stream, jtis: impl Iterator<Item = &'j str>) -> Vec<&'j str> {
        jtis.filter_map(|jti| message_of(jti, &stream.id)).collect()
    }
}

/// What the audit log says of a stream.
fn said(stream: &Stream) -> Value {
    json!({ "stream": stream.id, "requested": stream.requested, "delivery": stream.delivery })
}

/// Members that are ours to say: where they are said, they are what they were or what they become.
fn check_ours(members: &Members, known: [&Value; 2]) -> ServiceResult<()> {
    const OURS: [&str; 6] =
        ["iss", "aud", "events_supported", "events_delivered", "min_verification_interval", "inactivity_timeout"];
    for name in OURS {
        let Some(said) = given(members, name) else { continue };
        let is = |known: &Value| known.get(name).is_some_and(|own| alike(said, own));
        if !known.into_iter().any(is) {
            return Err(invalid(&format!("/{name}"), "is ours to say, and another"));
        }
    }
    Ok(())
}

/// Whether two values are the same: of lists the order does not matter, and a list of one is the one.
fn alike(said: &Value, own: &Value) -> bool {
    let sorted = |list: &[Value]| {
        let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    match (said, own) {
        (Value::Array(said), Value::Array(own)) => sorted(said) == sorted(own),
        (Value::Array(said), own) => said.len() == 1 && said.first() == Some(own),
        (said, own) => said == own,
    }
}

/// `subject` of a request as issuer and `sub`; `None` for a form by which nobody is known here.
fn subject_of(members: &Members) -> ServiceResult<Option<(&str, &str)>> {
    let subject = match given(members, "subject") {
        Some(Value::Object(subject)) => subject,
        Some(_) => return Err(invalid("/subject", "must be an object")),
        None => return Err(invalid("/subject", "is required")),
    };
    given(members, "verified").map_or(Ok(()), |said| {
        if said.is_boolean() { Ok(()) } else { Err(invalid("/verified", "must be true or false")) }
    })?;
    iss_sub(subject)
}

/// A subject identifier (RFC 9493) of format `iss_sub`; `None` for one of another format.
///
/// # Errors
/// `Invalid` for what is no subject identifier.
pub(super) fn iss_sub(subject: &Members) -> ServiceResult<Option<(&str, &str)>> {
    let wrong = |name: &str| invalid("/subject", format!("`{name}` must be a string"));
    let member = |name: &str| subject.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match member("format") {
        None => Err(wrong("format")),
        Some("iss_sub") => {
            let iss = member("iss").ok_or_else(|| wrong("iss"))?;
            Ok(Some((iss, member("sub").ok_or_else(|| wrong("sub"))?)))
        }
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_alike_in_any_order_and_one_is_as_a_list_of_one() {
        for (said, own, wanted) in [
            (json!(["b", "a"]), json!(["a", "b"]), true),
            (json!(["a"]), json!(["a", "b"]), false),
            (json!([]), json!([]), true),
            (json!(["a"]), json!("a"), true),
            (json!(["a", "b"]), json!("a"), false),
            (json!("a"), json!("b"), false),
            (json!(60), json!(60), true),
            (json!("60"), json!(60), false),
        ] {
            assert_eq!(alike(&said, &own), wanted, "{said} {own}");
        }
    }
}
