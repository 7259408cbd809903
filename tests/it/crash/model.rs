//! What clients ask, what they write down when it is acknowledged, and what must then be so.

use super::deployment::{AUDIENCE, Api, Got, RESOURCE, Seeded, Sent};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

/// What proves a subject eligible: both at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Registry,
    Document,
    Vouch,
}

/// An acknowledged fact: a line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Fact {
    Subject { id: String },
    Attested { subject: String, id: String, role: Role },
    Revoked { subject: String, id: String },
    Linked { subject: String, id: String },
    Unlinked { subject: String, id: String },
    Issued { subject: String, jti: String, token: String },
    TokenRevoked { subject: String, jti: String },
    Frozen { directive: String, resource: String },
    Proposed { directive: String },
    Lifted { directive: String, resource: String },
    Decided { id: String },
    Kept { path: String, body: Value, key: String, status: u16, answer: String },
}

/// One thing a client does. Without a key it carries an id of its own, so that both can be repeated.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Subject { external: String, key: Option<String> },
    Attest { subject: String, role: Role, event: String, key: Option<String> },
    Revoke { subject: String, id: String, role: Role },
    Link { subject: String, id: String, key: Option<String> },
    Unlink { subject: String, id: String },
    Issue { subject: String, key: Option<String> },
    RevokeToken { subject: String, jti: String, token: String },
    Freeze { directive: String, resource: String, key: Option<String> },
    Lift { directive: String, frozen: String, key: Option<String> },
    Approve { directive: String, resource: String },
    Decide { subject: String },
}

impl Op {
    pub(super) fn request(&self, seeded: &Seeded) -> Sent {
        let of = |subject: &str, part: &str| format!("/v1/subjects/{subject}/{part}");
        match self {
            Self::Subject { external, key: None } => {
                Sent::post("/v1/subjects", json!({ "kind": "person", "external_id": external }))
            }
            // Nothing but the key tells this one from the next.
            Self::Subject { key, .. } => {
                Sent::post("/v1/subjects", json!({ "kind": "person" })).with_key(key.as_deref())
            }
            Self::Attest { subject, role: Role::Vouch, event, key } => {
                let mut body = json!({ "subject": subject, "basis": "hr_record", "statement":
                    { "type": "employment", "organisation": seeded.organisation, "employed": true, "relation": "employee" } });
                if key.is_none() {
                    body["event_id"] = json!(event);
                }
                Sent::post("/v1/vouches", body).with_key(key.as_deref())
            }
            Self::Attest { subject, role, event, key } => {
                let mut body = match role {
                    Role::Registry => json!({ "source": seeded.registry, "kind": "registry", "grade": "STRONG",
                        "document": { "type": "status_record", "issuing_country": "USA" },
                        "statement": { "type": "read", "category": "A05" } }),
                    _ => json!({ "source": seeded.vendor, "kind": "document_check", "grade": "STRONG",
                        "codes": ["face_match"],
                        "document": { "type": "employment_authorisation", "issuing_country": "USA" } }),
                };
                if key.is_none() {
                    body["event_id"] = json!(event);
                }
                Sent::post(of(subject, "attestations"), body).with_key(key.as_deref())
            }
            Self::Revoke { id, role: Role::Vouch, .. } => Sent::post(format!("/v1/vouches/{id}/withdraw"), Value::Null),
            Self::Revoke { id, .. } => Sent::post(format!("/v1/attestations/{id}/revoke"), json!({ "reason": "gone" })),
            Self::Link { subject, id, key } => {
                Sent::post(of(subject, "links"), json!({ "namespace": "n", "id": id })).with_key(key.as_deref())
            }
            Self::Unlink { subject, id } => {
                Sent { method: Method::DELETE, ..Sent::get(of(subject, &format!("links/n/{id}"))) }
            }
            Self::Issue { subject, key } => {
                let body = json!({ "resource": RESOURCE, "audience": AUDIENCE });
                Sent::post(of(subject, "tokens"), body).with_key(key.as_deref())
            }
            Self::RevokeToken { token, .. } => Sent::post("/oauth2/revoke", json!({ "token": token })),
            Self::Freeze { directive, resource, key } => {
                Sent::post("/v1/directives", order(directive, &json!({ "freeze": resource }))).with_key(key.as_deref())
            }
            Self::Lift { directive, frozen, key } => {
                let lift = json!({ "lift": { "directive": frozen } });
                Sent::post("/v1/directives", order(directive, &lift)).with_key(key.as_deref())
            }
            Self::Approve { directive, .. } => {
                let path = format!("/v1/directives/{directive}/approve");
                Sent { second: true, ..Sent::post(path, Value::Null) }
            }
            Self::Decide { subject } => Sent::get(of(subject, &format!("eligibility?resource={RESOURCE}"))),
        }
    }

    /// What a success means; `id` is the one that the answer names.
    fn fact(&self, id: &str, answer: &Value) -> Fact {
        let id = id.to_owned();
        match self.clone() {
            Self::Subject { .. } => Fact::Subject { id },
            Self::Attest { subject, role, .. } => Fact::Attested { subject, id, role },
            Self::Revoke { subject, id, .. } => Fact::Revoked { subject, id },
            Self::Link { subject, id, .. } => Fact::Linked { subject, id },
            Self::Unlink { subject, id } => Fact::Unlinked { subject, id },
            Self::Issue { subject, .. } => {
                let text = |name: &str| answer[name].as_str().unwrap().to_owned();
                Fact::Issued { subject, jti: text("jti"), token: text("token") }
            }
            Self::RevokeToken { subject, jti, .. } => Fact::TokenRevoked { subject, jti },
            Self::Freeze { directive, resource, .. } => Fact::Frozen { directive, resource },
            Self::Lift { directive, .. } => Fact::Proposed { directive },
            Self::Approve { directive, resource } => Fact::Lifted { directive, resource },
            Self::Decide { .. } => Fact::Decided { id },
        }
    }

    /// What an acknowledgement says, or `None` for any other answer.
    pub(super) fn acknowledged(&self, sent: &Sent, got: &Got) -> Option<Vec<Fact>> {
        if !got.status.is_success() {
            return None;
        }
        let mut facts = vec![self.fact(got.body["id"].as_str().unwrap_or_default(), &got.body)];
        if let Some(key) = &sent.key {
            facts.push(Fact::Kept {
                path: sent.path.clone(),
                body: sent.body.clone(),
                key: key.clone(),
                status: got.status.as_u16(),
                answer: got.text.clone(),
            });
        }
        Some(facts)
    }

    /// What is so if the effect happened and its answer was lost: `effect` is what the service names.
    pub(super) fn happened(&self, effect: &str) -> Fact {
        self.fact(effect, &Value::Null)
    }
}

fn order(id: &str, action: &Value) -> Value {
    json!({ "id": id, "authority": "a", "citation": "c", "actions": [action] })
}

/// A subject as its client knows it.
#[derive(Debug, Default, Clone)]
pub(super) struct Person {
    /// By id: what it is, and whether it stands.
    pub(super) attestations: BTreeMap<String, (Role, bool)>,
    pub(super) links: BTreeSet<String>,
    /// By jti: the token, and whether it stands.
    pub(super) tokens: BTreeMap<String, (String, bool)>,
}

impl Person {
    pub(super) fn standing(&self, role: Role) -> Option<&String> {
        self.attestations.iter().find(|(_, (found, stands))| *found == role && *stands).map(|(id, _)| id)
    }

    pub(super) fn is_eligible(&self) -> bool {
        self.standing(Role::Registry).is_some() && self.standing(Role::Document).is_some()
    }
}

/// All that was acknowledged.
#[derive(Debug, Default, Clone)]
pub(super) struct Model {
    pub(super) people: BTreeMap<String, Person>,
    /// By directive: its resource, and whether it stands.
    pub(super) freezes: BTreeMap<String, (String, bool)>,
    pub(super) directives: BTreeSet<String>,
    pub(super) decisions: BTreeSet<String>,
    pub(super) kept: Vec<(Sent, u16, String)>,
}

impl Model {
    pub(super) fn fold(&mut self, fact: Fact) {
        match fact {
            Fact::Subject { id } => _ = self.people.entry(id).or_default(),
            Fact::Attested { subject, id, role } => {
                self.people.entry(subject).or_default().attestations.entry(id).or_insert((role, true));
            }
            Fact::Revoked { subject, id } => {
                if let Some((_, stands)) = self.people.entry(subject).or_default().attestations.get_mut(&id) {
                    *stands = false;
                }
            }
            Fact::Linked { subject, id } => _ = self.people.entry(subject).or_default().links.insert(id),
            Fact::Unlinked { subject, id } => _ = self.people.entry(subject).or_default().links.remove(&id),
            Fact::Issued { subject, jti, token } => {
                self.people.entry(subject).or_default().tokens.entry(jti).or_insert((token, true));
            }
            Fact::TokenRevoked { subject, jti } => {
                if let Some((_, stands)) = self.people.entry(subject).or_default().tokens.get_mut(&jti) {
                    *stands = false;
                }
            }
            Fact::Frozen { directive, resource } => {
                self.directives.insert(directive.clone());
                self.freezes.insert(directive, (resource, true));
            }
            Fact::Proposed { directive } => _ = self.directives.insert(directive),
            Fact::Lifted { resource, .. } => {
                for (frozen, stands) in self.freezes.values_mut() {
                    *stands &= *frozen != resource;
                }
            }
            Fact::Decided { id } => _ = self.decisions.insert(id),
            Fact::Kept { path, body, key, status, answer } => {
                let sent = Sent::post(path, body).with_key(Some(&key));
                self.kept.push((sent, status, answer));
            }
        }
    }

    /// Reads the journal from `skip` on; returns its length.
    pub(super) fn read(&mut self, journal: &Path, skip: usize) -> usize {
        let mut lines = 0;
        for line in BufReader::new(File::open(journal).unwrap()).lines().skip(skip) {
            self.fold(serde_json::from_str(&line.unwrap()).unwrap());
            lines += 1;
        }
        skip + lines
    }
}

/// Chance that is the same again for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let len = u64::try_from(from.len()).ok().filter(|len| *len > 0)?;
        from.get(usize::try_from(self.below(len)).unwrap_or(0))
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Acknowledged,
    /// 503 with `Retry-After`.
    Refused,
    /// No whole answer.
    Gone,
}

/// One client: what it knows, and what it asked without learning the end of it.
pub(super) struct Worker {
    name: String,
    pub(super) dice: Dice,
    asked: u64,
    model: Model,
    pub(super) pending: Vec<Op>,
    /// Requests for a token whose answer never came: each may have left a token that nobody holds.
    pub(super) lost_tokens: usize,
    pub(super) acknowledged: usize,
}

impl Worker {
    pub(super) fn new(name: String, seed: u64) -> Self {
        let model = Model::default();
        Self { name, dice: Dice(seed), asked: 0, model, pending: Vec::new(), lost_tokens: 0, acknowledged: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes over what others wrote down.
    pub(super) fn knows(mut self, model: &Model) -> Self {
        self.model = model.clone();
        self
    }

    fn note(&mut self, journal: &mut File, facts: Vec<Fact>) {
        for fact in facts {
            let line = serde_json::to_string(&fact).unwrap();
            journal.write_all(format!("{line}\n").as_bytes()).unwrap();
            self.model.fold(fact);
            self.acknowledged += 1;
        }
    }

    /// Asks one thing and writes it down if it is acknowledged; else it stays pending.
    pub(super) async fn ask(&mut self, api: &Api, journal: &mut File, op: Op) -> Asked {
        let sent = op.request(&api.seeded);
        self.pending.push(op.clone());
        let asked = match api.send(&sent).await {
            Err(_) => Asked::Gone,
            Ok(got) => match op.acknowledged(&sent, &got) {
                Some(facts) => {
                    self.note(journal, facts);
                    self.pending.pop();
                    return Asked::Acknowledged;
                }
                // It could not be done now: refused, and to be asked again later.
                None if got.status == StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(got.retry_after, "{op:?}: {got:?}");
                    // In the shape of the surface (RFC 6749 section 5.2), and nothing of why.
                    let (said, wanted) = match sent.path.starts_with("/oauth2/") {
                        true => {
                            ([&got.body["error"], &got.body["code"]], [json!("temporarily_unavailable"), Value::Null])
                        }
                        false => ([&got.body["code"], &got.body["detail"]], [json!("unavailable"), Value::Null]),
                    };
                    assert_eq!(said, wanted.each_ref(), "{op:?}");
                    Asked::Refused
                }
                None => panic!("{op:?}: {got:?}"),
            },
        };
        self.lost_tokens += usize::from(matches!(op, Op::Issue { .. }));
        asked
    }

    /// Asks one thing after another until an answer does not come, or is a refusal.
    pub(super) async fn work(&mut self, api: &Api, journal: &mut File, most: usize) {
        for _ in 0..most {
            let op = self.next();
            if self.ask(api, journal, op).await != Asked::Acknowledged {
                return;
            }
        }
    }

    /// Learns what became of the requests that were under way or refused, by asking again. The leases of
    /// idempotency keys end where one is in the way, as they would within a minute.
    pub(super) async fn resolve(&mut self, api: &Api, journal: &mut File, database: &str) {
        for op in std::mem::take(&mut self.pending) {
            self.resolve_one(api, journal, database, op).await;
        }
    }

    async fn resolve_one(&mut self, api: &Api, journal: &mut File, database: &str, op: Op) {
        let sent = op.request(&api.seeded);
        let mut lapsed = false;
        for _ in 0..300 {
            let Ok(got) = api.send(&sent).await else {
                self.lost_tokens += usize::from(matches!(op, Op::Issue { .. }));
                self.pending.push(op);
                return;
            };
            if let Some(facts) = op.acknowledged(&sent, &got) {
                return self.note(journal, facts);
            }
            let code = got.body["code"].as_str().unwrap_or_default();
            match (got.status.as_u16(), code, &op) {
                (503, ..) => {
                    self.lost_tokens += usize::from(matches!(op, Op::Issue { .. }));
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                (409, "idempotency_in_progress", _) => {
                    assert!(!lapsed, "still in progress after its lease: {op:?}");
                    super::lapse(database).await;
                    lapsed = true;
                }
                (409, "idempotency_answer_lost", _) => {
                    let detail = got.body["detail"].as_str().unwrap();
                    let effect = detail.split('`').nth(1).unwrap();
                    return self.note(journal, vec![op.happened(effect)]);
                }
                (409, "conflict", Op::Subject { external, .. }) => {
                    let found = api.send(&Sent::get(format!("/v1/subjects?external_id={external}"))).await.unwrap();
                    let id = found.body["items"][0]["id"].as_str().unwrap().to_owned();
                    return self.note(journal, vec![Fact::Subject { id }]);
                }
                (409, "conflict", Op::Link { .. } | Op::Freeze { .. } | Op::Lift { .. })
                | (404, "not_found", Op::Unlink { .. })
                | (403, "second_person_required", Op::Approve { .. }) => {
                    return self.note(journal, vec![op.happened("")]);
                }
                _ => panic!("{op:?} asked again: {got:?}"),
            }
        }
        panic!("{op:?}: 503 for half a minute");
    }

    fn fresh(&mut self) -> String {
        self.asked += 1;
        format!("{}-{}", self.name, self.asked)
    }

    fn key(&mut self) -> Option<String> {
        let key = format!("key-{}", self.fresh());
        (self.dice.below(2) == 0).then_some(key)
    }

    /// The next thing to ask.
    fn next(&mut self) -> Op {
        // A freeze that stands is lifted by the proposal and the approval that follow it.
        let proposed = self.model.directives.iter().find(|id| {
            id.starts_with("lift-") && self.model.freezes.get(&id["lift-".len()..]).is_some_and(|(_, stands)| *stands)
        });
        if let Some(directive) = proposed.cloned() {
            let resource = self.model.freezes[&directive["lift-".len()..]].0.clone();
            return Op::Approve { directive, resource };
        }
        if self.dice.below(60) == 0 && self.model.directives.len() < 40 {
            let standing = self.model.freezes.iter().find(|(_, (_, stands))| *stands).map(|(id, _)| id.clone());
            let key = self.key();
            return match standing {
                Some(frozen) => Op::Lift { directive: format!("lift-{frozen}"), frozen, key },
                None => {
                    let name = self.fresh();
                    Op::Freeze { directive: name.clone(), resource: format!("restricted.{name}"), key }
                }
            };
        }
        let ids: Vec<String> = self.model.people.keys().cloned().collect();
        let recent = &ids[ids.len().saturating_sub(6)..];
        if ids.len() < 2 || self.dice.below(8) == 0 {
            return Op::Subject { external: self.fresh(), key: self.key() };
        }
        let subject = self.dice.pick(recent).cloned().unwrap();
        let person = self.model.people[&subject].clone();
        self.about(subject, &person)
    }

    fn about(&mut self, subject: String, person: &Person) -> Op {
        let was_revoked = person.attestations.values().any(|(role, stands)| *role != Role::Vouch && !stands);
        let attest = |this: &mut Self, role| {
            let (event, key) = (this.fresh(), this.key());
            Op::Attest { subject: subject.clone(), role, event, key }
        };
        if !was_revoked {
            for role in [Role::Registry, Role::Document] {
                if person.standing(role).is_none() {
                    return attest(self, role);
                }
            }
        }
        let choice = self.dice.below(10);
        match (choice, person.links.iter().next(), person.standing(Role::Vouch)) {
            (0 | 1, Some(id), _) if person.links.len() > 2 => Op::Unlink { subject, id: id.clone() },
            (0 | 1, ..) => {
                let (id, key) = (self.fresh(), self.key());
                Op::Link { subject, id, key }
            }
            (2, _, Some(id)) => Op::Revoke { subject, id: id.clone(), role: Role::Vouch },
            (2 | 3, ..) => attest(self, Role::Vouch),
            (4, ..) if person.is_eligible() => {
                let role = if self.dice.below(2) == 0 { Role::Registry } else { Role::Document };
                let id = person.standing(role).cloned().unwrap();
                Op::Revoke { subject, id, role }
            }
            (5..=7, ..) if person.is_eligible() => Op::Issue { subject, key: self.key() },
            (8, ..) => match person.tokens.iter().find(|(_, (_, stands))| *stands) {
                Some((jti, (token, _))) => Op::RevokeToken { subject, jti: jti.clone(), token: token.clone() },
                None => Op::Decide { subject },
            },
            _ => Op::Decide { subject },
        }
    }
}
