//! Administration and rules in memory: a snapshot that is swapped whole when a record or the timeline changes.

use super::operators::Operator;
use super::ssf::{self, SignalReceiver};
use super::webhooks::{self, Endpoint};
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{FeedRow, Record, Store, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use vouchsafe_core::Second;
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::facts::{Grade, SourceKind};
use vouchsafe_core::ids::{ResourceId, ResourcePattern, SubjectId};
use vouchsafe_core::policy::{Disclosure, NamedSet, Policy};
use vouchsafe_core::rules::{Library, Rules};
use vouchsafe_core::timeline::{Action, Directive, Entry};

/// An API client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// For people.
    pub name: String,
    /// The person who answers for it.
    pub owner: String,
    /// Argon2id of its secret; `None` for a client that proves itself by its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<String>,
    /// Public JWKs that its assertions are signed with (`private_key_jwt`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Value>,
    /// Its assertions may name the token endpoint as audience, as clients did before the issuer alone was asked for.
    #[serde(default, skip_serializing_if = "is_no")]
    pub endpoint_audience: bool,
    /// Every access token it gets is bound to a key (`dpop_bound_access_tokens`, RFC 9449 section 5.2).
    #[serde(default, skip_serializing_if = "is_no")]
    pub dpop_bound_access_tokens: bool,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Sources it may speak for.
    #[serde(default)]
    pub sources: BTreeSet<String>,
    /// Audiences whose tokens it may introspect; empty for all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub audiences: BTreeSet<String>,
    /// The organisation it is, if it is an employer's.
    #[serde(default)]
    pub organisation: Option<String>,
    /// Switched off.
    #[serde(default)]
    pub disabled: bool,
    /// Access tokens given before this second open nothing, epoch seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_from: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes members by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes members by reference")]
fn is_no(value: &bool) -> bool {
    !value
}

/// A gateway that asks whether a caller may pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// `gw_…`; known where it was read.
    #[serde(skip)]
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256 of its key's secret part, hex.
    pub key_sha256: String,
    /// The key before, while it goes on beside the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_key: Option<FormerKey>,
    /// Switched off.
    #[serde(default, skip_serializing_if = "is_no")]
    pub disabled: bool,
    /// Resources it guards.
    pub resources: Vec<ResourcePattern>,
    /// Audience whose tokens it accepts and whose pairwise subjects it sees.
    pub audience: String,
    /// Whether it may assert callers it authenticated itself; without it `X-Vouchsafe-Caller` is ignored.
    #[serde(default)]
    pub asserts: bool,
    /// 403, or 451 where the gateway passes it on.
    #[serde(default = "forbidden")]
    pub deny_status: u16,
    /// The origin by which callers know it; without one a token that is bound to a key does not pass here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Where a caller who was refused learns more; see [`Gateway::help`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help_url: Option<String>,
    /// Who judges.
    #[serde(default)]
    pub mode: Mode,
    /// How old the picture may be that it acts on, seconds; see [`Gateway::bound_secs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_secs: Option<i64>,
}

/// A gateway's key that was replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerKey {
    /// SHA-256 of its secret part, hex.
    pub key_sha256: String,
    /// When it ends, epoch milliseconds.
    pub until_ms: i64,
}

/// Who judges a gateway's callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// We do: it asks about every request.
    #[default]
    Asks,
    /// It does, by tokens, keys and status lists.
    Offline,
    /// Now we, now it.
    Both,
}

impl Mode {
    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(Value::String(text.to_owned())).ok()
    }

    /// Whether it ever judges by itself.
    #[must_use]
    pub fn judges(self) -> bool {
        self != Self::Asks
    }
}

/// A gateway that asks is answered by a picture of this age at most, in seconds, unless the answer says that it is stale.
const ASKED_BOUND_SECS: i64 = 2;
/// What a gate of `vouchsafe-verify` promises unless it is told otherwise: 30 s of a status list and 60 s of an outage.
const OFFLINE_BOUND_SECS: i64 = 90;

impl Gateway {
    /// Where a caller who was refused learns what would change it: the page of the gateway's owner, told in the query why
    /// (`reason`), by which decision (`decision`) and at which request (`request`), as far as there is one.
    #[must_use]
    pub fn help(&self, reason: &str, decision: Option<&str>, request: Option<&str>) -> Option<String> {
        let mut url = reqwest::Url::parse(self.help_url.as_deref()?).ok()?;
        let told = [("reason", Some(reason)), ("decision", decision), ("request", request)];
        url.query_pairs_mut().extend_pairs(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Some(url.into())
    }

    /// How old the picture may be that it acts on, in seconds.
    #[must_use]
    pub fn bound_secs(&self) -> i64 {
        self.bound_secs.unwrap_or(if self.mode.judges() { OFFLINE_BOUND_SECS } else { ASKED_BOUND_SECS })
    }

    /// Whether it guards something of what a pattern covers.
    #[must_use]
    pub fn touches(&self, pattern: &ResourcePattern) -> bool {
        let covers =
            |whole: &ResourcePattern, part: &ResourcePattern| part.sample().is_some_and(|sample| whole.covers(&sample));
        self.resources.iter().any(|own| covers(own, pattern) || covers(pattern, own))
    }
}

/// A party that knows people by ids of its own, tells who they are, and is told whether they are eligible.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// `idp_…`; known where it was read.
    #[serde(skip)]
    pub id: String,
    /// For people.
    pub name: String,
    /// `iss` of its ID tokens.
    pub issuer: String,
    /// Its public JWKs, where they are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Value>,
    /// Where its keys are fetched, where they are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Its clients whose ID tokens are accepted; none: no ID token is.
    #[serde(default)]
    pub audiences: BTreeSet<String>,
    /// Namespace of the links under which its subjects (`sub`, its immutable user ids) are known here.
    pub namespace: String,
    /// The organisation whose people it knows: it is asked about them as acting for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Resources it may ask about; none: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourcePattern>,
    /// API clients that ask in its name; each asks for one provider only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clients: BTreeSet<String>,
    /// How its hook proves itself, if it calls one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Secrets of its hook: the one in use and, for a while, the one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hook_keys: Vec<HookKey>,
    /// Name of the claim that its hook is answered with.
    #[serde(default = "eligibility")]
    pub claim: String,
    /// What it may learn beside yes or no and until when, as far as the policy discloses it too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discloses: BTreeSet<Disclosure>,
    /// Domains of the organisation in which a user may be known by the name they sign in with, where their id is not
    /// linked; none unless the organisation wants it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub email_domains: BTreeSet<String>,
    /// `ES256`, `EdDSA` or `RS256`, of claims that are provided to it.
    #[serde(default = "es256")]
    pub alg: String,
    /// Switched off: its ID tokens, clients and hook are nobody's.
    #[serde(default, skip_serializing_if = "is_no")]
    pub disabled: bool,
}

impl IdentityProvider {
    /// Whether it may ask about a resource.
    #[must_use]
    pub fn covers(&self, resource: &ResourceId) -> bool {
        self.resources.iter().any(|pattern| pattern.covers(resource))
    }

    /// The one resource that it may ask about, where there is only one.
    #[must_use]
    pub fn only_resource(&self) -> Option<ResourceId> {
        match self.resources.as_slice() {
            [only] => ResourceId::parse(&only.to_string()).ok(),
            _ => None,
        }
    }
}

/// How the hook of an identity provider proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "platform", rename_all = "snake_case", deny_unknown_fields)]
pub enum Hook {
    /// Okta's token inline hook: by a secret of ours in `Authorization`, or by an access token of one of its clients.
    Okta {},
    /// Microsoft Entra's custom claims provider: by a token of the tenant for the application that stands for this service.
    Entra {
        /// The tenant's id.
        tenant: String,
        /// `aud` of the token: the application's id.
        audience: String,
    },
}

/// A secret of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookKey {
    /// SHA-256 of the secret, hex.
    pub sha256: String,
    /// Until when it is taken; absent: as long as it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Second>,
}

fn eligibility() -> String {
    "eligibility".to_owned()
}

/// A directory of an organisation, which says by SCIM who belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// `dir_…`; known where it was read.
    #[serde(skip)]
    pub id: String,
    /// For people.
    pub name: String,
    /// The organisation that it speaks for.
    pub organisation: String,
    /// Namespace of the links under which its people are known here by the directory's own ids; an identity provider of
    /// the same organisation may have the same one.
    pub namespace: String,
    /// Resources of which it is told whether its people may use them.
    #[serde(default)]
    pub resources: BTreeSet<ResourceId>,
    /// What it is told beyond that, as far as the policy discloses it too: status, confidence.
    #[serde(default)]
    pub discloses: BTreeSet<Disclosure>,
    /// By which addresses a new person may be found; by none unless registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emails: Option<EmailLinks>,
    /// Its tokens.
    #[serde(default)]
    pub tokens: Vec<DirectoryToken>,
    /// Switched off: none of its tokens is good.
    #[serde(default)]
    pub disabled: bool,
}

/// Addresses that tell who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailLinks {
    /// Namespace of the links from addresses, in small letters, to subjects.
    pub namespace: String,
    /// Domains that are the organisation's own; no other address is looked at.
    pub domains: BTreeSet<String>,
}

/// A long-lived token of a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryToken {
    /// `sct_…`; the token begins with it.
    pub id: String,
    /// SHA-256 of its secret part, hex.
    pub key_sha256: String,
    /// When it was made.
    pub created_at: Second,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Second>,
}

impl DirectoryToken {
    /// Whether it is good at an instant.
    #[must_use]
    pub fn lives(&self, at: Second) -> bool {
        self.expires_at.is_none_or(|end| at < end)
    }
}

fn forbidden() -> u16 {
    403
}

/// A party that tokens are made for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// For people.
    pub name: String,
    /// `ES256` or `EdDSA`.
    #[serde(default = "es256")]
    pub alg: String,
    /// Resources its tokens may name.
    pub resources: Vec<ResourcePattern>,
    /// Whether its subjects are pairwise.
    #[serde(default = "yes")]
    pub pairwise: bool,
    /// Whether it receives status and confidence.
    #[serde(default)]
    pub details: bool,
}

fn es256() -> String {
    "ES256".to_owned()
}
fn yes() -> bool {
    true
}

/// A party whose statements are accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// For people.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Corporate group that judges: sources of one group are one assessor.
    #[serde(default)]
    pub assessor: Option<String>,
    /// Highest grade a client that speaks for it may claim.
    #[serde(default = "strong")]
    pub max_grade: Grade,
    /// Native vendor, for `/v1/intake/{source}`.
    #[serde(default)]
    pub vendor: Option<Vendor>,
    /// Times in which its statements do not count, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspensions: Vec<Suspension>,
}

fn strong() -> Grade {
    Grade::Strong
}

/// A native vendor's settings; its secrets are sealed beside the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// `onfido`, `stripe`.
    pub name: String,
    /// API origin, fixed by configuration: no address from a delivery is ever followed.
    pub base_url: String,
    /// Refuses results of test environments.
    #[serde(default = "yes")]
    pub production: bool,
}

/// Secrets of a native vendor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorSecrets {
    /// Webhook tokens or signing secrets; two while one is rotated.
    pub webhook_tokens: Vec<String>,
    /// API token.
    pub api_token: String,
}

/// A time in which nothing that a source said counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// From when.
    pub at: Second,
    /// Only what was recorded at or after it, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Second>,
    /// Until when; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Second>,
    /// Stable reason code of the caller.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// Whether the last of them lasts.
#[must_use]
pub fn is_suspended(suspensions: &[Suspension]) -> bool {
    suspensions.last().is_some_and(|last| last.until.is_none())
}

/// An organisation that vouches or is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// For people.
    pub name: String,
    /// Whether its identity was verified.
    #[serde(default)]
    pub verified: bool,
    /// Public JWKs its vouches are signed with.
    #[serde(default)]
    pub keys: Vec<Value>,
    /// The subject that it is: what is known about the organisation is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// Times in which its vouches do not count, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspensions: Vec<Suspension>,
}

/// One approval of a directive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The client.
    pub client: String,
    /// The person who answers for it.
    pub owner: String,
    /// When.
    pub at: Second,
}

/// A directive with its approvals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectiveState {
    /// As written.
    pub directive: Directive,
    /// Who approved.
    pub approvals: Vec<Approval>,
    /// Whether its tightening actions act.
    pub tightening_applied: bool,
    /// Whether its loosening actions act.
    pub loosening_applied: bool,
}

/// The packs that ship with the service.
pub(crate) const SHIPPED_PACKS: [&str; 8] = [
    include_str!("../../fixtures/definitions/us_status@1.toml"),
    include_str!("../../fixtures/definitions/uk_status@1.toml"),
    include_str!("../../fixtures/definitions/identity@1.toml"),
    include_str!("../../fixtures/definitions/country_now@1.toml"),
    include_str!("../../fixtures/definitions/employer@1.toml"),
    include_str!("../../fixtures/definitions/citizenship@1.toml"),
    include_str!("../../fixtures/definitions/incorporation@1.toml"),
    include_str!("../../fixtures/definitions/ownership@1.toml"),
];

/// The snapshot.
#[derive(Debug, Default)]
pub struct World {
    /// API clients by id.
    pub clients: HashMap<String, Arc<Client>>,
    /// Gateways by id.
    pub gateways: HashMap<String, Arc<Gateway>>,
    /// Audiences by id.
    pub audiences: HashMap<String, Audience>,
    /// Sources by id, with the secrets of native vendors still sealed.
    pub sources: HashMap<String, (Source, Option<Vec<u8>>)>,
    /// Operators by id.
    pub operators: HashMap<String, Operator>,
    /// Organisations by id.
    pub organisations: HashMap<String, Organisation>,
    /// Identity providers by id.
    pub identity_providers: HashMap<String, Arc<IdentityProvider>>,
    /// Directories by id.
    pub directories: HashMap<String, Arc<Directory>>,
    /// Which directory each of their tokens is of.
    pub directory_tokens: HashMap<String, String>,
    /// Webhook endpoints by id.
    pub webhook_endpoints: BTreeMap<String, Arc<Endpoint>>,
    /// Receivers of signals by their client.
    pub signal_receivers: BTreeMap<String, Arc<SignalReceiver>>,
    /// Packs, policies, sets, weights.
    pub library: Library,
    /// Approved actions.
    pub timeline: Vec<Entry>,
    /// When each action was approved, by its place in the timeline.
    pub approved: BTreeMap<i64, Second>,
    /// How many suspensions there have been.
    pub suspensions: i64,
    compiled: RwLock<HashMap<ResourceId, Arc<Rules>>>,
}

/// Which orders somebody knows: places in the timeline are given in order, but what takes a place may be seen after what took
/// a later one, so the number of orders tells whether one is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orders {
    /// The last one's place, 0 for none.
    pub last: i64,
    /// How many there are.
    pub count: i64,
}

/// Compiled rules held for resources that somebody asked about.
const COMPILED_MAX: usize = 4096;

impl World {
    /// Rules in force for `resource` at `t`.
    ///
    /// # Errors
    /// When the timeline names something the library does not hold.
    pub fn rules(&self, resource: &ResourceId, t: Second) -> ServiceResult<Arc<Rules>> {
        let current = |rules: &Rules| rules.since <= t && rules.body.next_change.is_none_or(|next| t < next);
        if let Some(rules) = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(resource)
            && current(rules)
        {
            return Ok(Arc::clone(rules));
        }
        let rules = Rules::compile(&self.library, &self.timeline, resource, t)
            .map_err(|error| ServiceError::Unreadable(error.to_string()))?;
        let rules = Arc::new(rules);
        let mut held = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= COMPILED_MAX {
            held.clear();
        }
        held.insert(resource.clone(), Arc::clone(&rules));
        Ok(rules)
    }

    /// Rules in force for `resource` at `t`, by what was approved at `known_at`.
    ///
    /// # Errors
    /// As [`World::rules`].
    pub fn rules_known_at(&self, resource: &ResourceId, t: Second, known_at: Second) -> ServiceResult<Rules> {
        let known = |entry: &&Entry| self.approved.get(&entry.seq).is_some_and(|approved| *approved <= known_at);
        let timeline: Vec<Entry> = self.timeline.iter().filter(known).cloned().collect();
        Rules::compile(&self.library, &timeline, resource, t)
            .map_err(|error| ServiceError::Unreadable(error.to_string()))
    }

    /// The enabled identity provider of which something is true.
    pub fn identity_provider(&self, is: impl Fn(&IdentityProvider) -> bool) -> Option<Arc<IdentityProvider>> {
        let mut found = self.identity_providers.values().filter(|provider| !provider.disabled && is(provider));
        // SECURITY: two that were registered at the same moment under one issuer or with one client are none.
        match (found.next(), found.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            _ => None,
        }
    }

    /// Every resource and family that a policy governs or a freeze names.
    pub fn patterns(&self) -> BTreeSet<ResourcePattern> {
        let frozen = self.timeline.iter().filter_map(|entry| match &entry.action {
            Action::Freeze(pattern) => Some(pattern),
            _ => None,
        });
        self.library.policies.values().flat_map(|policy| policy.resources.iter()).chain(frozen).cloned().collect()
    }

    /// A resource of each of them: the one named, or a made-up member of the family.
    pub fn sample_resources(&self) -> BTreeSet<ResourceId> {
        self.patterns().iter().filter_map(ResourcePattern::sample).collect()
    }

    /// Which orders are known.
    pub fn orders(&self) -> Orders {
        Orders { last: self.last_order(), count: i64::try_from(self.timeline.len()).unwrap_or(i64::MAX) }
    }

    /// The last approved action's place in the timeline, 0 for none: the timeline is read in order.
    pub fn last_order(&self) -> i64 {
        self.timeline.last().map_or(0, |entry| entry.seq)
    }

    /// Every resource that a policy, a gateway or an audience names one by one.
    pub fn known_resources(&self) -> BTreeSet<ResourceId> {
        let of_gateways = self.gateways.values().flat_map(|gateway| gateway.resources.iter());
        let of_audiences = self.audiences.values().flat_map(|audience| audience.resources.iter());
        let named = of_gateways.chain(of_audiences).filter_map(|pattern| ResourceId::parse(&pattern.to_string()).ok());
        named.chain(self.named_resources()).collect()
    }

    /// Resources that policies name one by one, for suggestions and start-up checks.
    pub fn named_resources(&self) -> BTreeSet<ResourceId> {
        self.library
            .policies
            .values()
            .flat_map(|policy| policy.resources.iter())
            .filter_map(|pattern| ResourceId::parse(&pattern.to_string()).ok())
            .collect()
    }
}

/// What a record holds.
///
/// # Errors
/// `Unreadable`, naming the record.
pub(crate) fn parse<T: DeserializeOwned>(record: &Record) -> ServiceResult<T> {
    serde_json::from_str(&record.body).map_err(|_| {
        ServiceError::Unreadable(format!("record {}/{} version {}", record.kind, record.id, record.version))
    })
}

/// All records of a kind.
pub(crate) async fn all_records(store: &dyn Store, kind: &str) -> ServiceResult<Vec<Record>> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let after = found.last().map(|record| record.id.clone()).unwrap_or_default();
        let page = store.records(kind, &after, 500).await?;
        let done = page.len() < 500;
        found.extend(page);
        if done {
            return Ok(found);
        }
    }
}

impl World {
    /// Reads the snapshot. Whether its rules compile is not looked at.
    ///
    /// # Errors
    /// `Unreadable`, naming the record or row that does not parse.
    pub(crate) async fn load(store: &dyn Store) -> ServiceResult<Self> {
        async fn all<T: DeserializeOwned>(store: &dyn Store, kind: &str) -> ServiceResult<Vec<(String, T)>> {
            all_records(store, kind).await?.iter().map(|record| Ok((record.id.clone(), parse(record)?))).collect()
        }
        let mut library = Library::default();
        for (name, pack) in all::<Pack>(store, "definition").await? {
            library.packs.insert(name, pack);
        }
        for (name, set) in all::<NamedSet>(store, "set").await? {
            library.sets.insert(name, set);
        }
        for (name, policy) in all::<Policy>(store, "policy").await? {
            let version = name.rsplit_once('@').and_then(|(_, version)| version.parse().ok());
            let version = version.ok_or_else(|| ServiceError::Unreadable(format!("record policy/{name}")))?;
            library.policies.insert((policy.id.clone(), version), policy);
        }
        let mut sources = HashMap::new();
        for record in all_records(store, "source").await? {
            sources.insert(record.id.clone(), (parse(&record)?, record.sealed.clone()));
        }
        let mut webhook_endpoints = BTreeMap::new();
        for record in all_records(store, webhooks::RECORD).await? {
            webhook_endpoints.insert(record.id.clone(), Arc::new(Endpoint::read(&record)?));
        }
        let mut signal_receivers = BTreeMap::new();
        for record in all_records(store, ssf::RECORD).await? {
            signal_receivers.insert(record.id.clone(), Arc::new(SignalReceiver::read(&record)?));
        }
        let timeline = store.timeline().await?;
        let approved = timeline.iter().map(|row| (row.seq, Second::from_millis(row.approved_ms))).collect();
        let timeline = timeline
            .into_iter()
            .map(|row| {
                let action = serde_json::from_str(&row.action)
                    .map_err(|_| ServiceError::Unreadable(format!("timeline row {}", row.seq)))?;
                Ok(Entry { seq: row.seq, directive: row.directive, from: Second::from_millis(row.from_ms), action })
            })
            .collect::<ServiceResult<Vec<Entry>>>()?;
        let directories: HashMap<String, Arc<Directory>> = all::<Directory>(store, "directory")
            .await?
            .into_iter()
            .map(|(id, directory)| (id.clone(), Arc::new(Directory { id, ..directory })))
            .collect();
        let tokens = |directory: &Arc<Directory>| {
            let id = directory.id.clone();
            directory.tokens.iter().map(move |token| (token.id.clone(), id.clone())).collect::<Vec<_>>()
        };
        Ok(World {
            directory_tokens: directories.values().flat_map(tokens).collect(),
            directories,
            clients: all(store, "client").await?.into_iter().map(|(id, client)| (id, Arc::new(client))).collect(),
            gateways: all::<Gateway>(store, "gateway")
                .await?
                .into_iter()
                .map(|(id, gateway)| (id.clone(), Arc::new(Gateway { id, ..gateway })))
                .collect(),
            audiences: all(store, "audience").await?.into_iter().collect(),
            sources,
            operators: all(store, "operator").await?.into_iter().collect(),
            organisations: all(store, "organisation").await?.into_iter().collect(),
            identity_providers: all::<IdentityProvider>(store, "identity_provider")
                .await?
                .into_iter()
                .map(|(id, provider)| (id.clone(), Arc::new(IdentityProvider { id, ..provider })))
                .collect(),
            webhook_endpoints,
            signal_receivers,
            library,
            timeline,
            approved,
            suspensions: store.suspensions().await?,
            compiled: RwLock::default(),
        })
    }
}

impl App {
    /// Loads the snapshot and swaps it in.
    pub(crate) async fn reload_world(&self) -> ServiceResult<()> {
        let _alone = self.reloading.lock().await;
        let world = World::load(&*self.store).await?;
        // Unreadable rules stop here, at start or before the swap, never at a gateway.
        for resource in world.named_resources() {
            world.rules(&resource, self.clock.now())?;
        }
        self.world.store(Arc::new(world));
        Ok(())
    }

    /// Writes a new record.
    ///
    /// # Errors
    /// `Conflict` when the id is taken.
    pub(crate) async fn create_record<T: Serialize>(
        &self,
        actor: &Actor,
        kind: &'static str,
        id: &str,
        body: &T,
        sealed: Option<Vec<u8>>,
        detail: Value,
    ) -> ServiceResult<()> {
        self.write_record(actor, kind, id, body, sealed, 0, "created", detail).await
    }

    #[expect(clippy::too_many_arguments, reason = "one row, written in one place")]
    pub(crate) async fn write_record<T: Serialize>(
        &self,
        actor: &Actor,
        kind: &'static str,
        id: &str,
        body: &T,
        sealed: Option<Vec<u8>>,
        expected: i64,
        verb: &str,
        detail: Value,
    ) -> ServiceResult<()> {
        let record = self.record_row(kind, id, body, sealed, expected)?;
        let audit = self.audit(actor, &format!("{kind}.{verb}"), id, &detail)?;
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("{kind}/{id}") }];
        self.commit(vec![Write::Record { record, expected }], audit, feed)
            .await?
            .map_err(|_| ServiceError::Conflict(kind))
    }

    /// The row of a record as it is to be, after version `expected`.
    pub(crate) fn record_row<T: Serialize>(
        &self,
        kind: &str,
        id: &str,
        body: &T,
        sealed: Option<Vec<u8>>,
        expected: i64,
    ) -> ServiceResult<Record> {
        Ok(Record {
            kind: kind.to_owned(),
            id: id.to_owned(),
            version: expected + 1,
            body: serde_json::to_string(body).map_err(|_| ServiceError::Unreadable(kind.to_owned()))?,
            sealed,
            updated_at_ms: self.clock.now_ms(),
        })
    }

    /// Installs the packs that ship with the service, once.
    pub(crate) async fn install_packs(&self) -> ServiceResult<()> {
        let held: BTreeMap<String, Record> = all_records(&*self.store, "definition")
            .await?
            .into_iter()
            .map(|record| (record.id.clone(), record))
            .collect();
        for text in SHIPPED_PACKS {
            let pack = Pack::from_toml(text).map_err(|error| ServiceError::Unreadable(error.to_string()))?;
            if !held.contains_key(&pack.name()) {
                let detail = json!({ "source": "shipped" });
                self.create_record(&Actor::system(), "definition", &pack.name(), &pack, None, detail).await?;
            }
        }
        Ok(())
    }
}
