//! `vouchsafe demo`: the first five minutes. An embedded database in a temporary folder, hard cases, credentials of this run.

use super::serve::{self, Listeners};
use super::{logs, say};
use crate::clock::SystemClock;
use crate::config::LogFormat;
use crate::crypto::{MasterKey, new_id, new_secret, random};
use crate::http::limits::Quotas;
use crate::intake::client_address::Proxies;
use crate::intake::geoip::GeoIp;
use crate::service::authenticate::Caller;
use crate::service::ingest::{Delivery, Submission};
use crate::service::operators::{Maker, NewOperator, Role};
use crate::service::vouch::PlainVouch;
use crate::service::world::{Audience, Organisation, Source};
use crate::service::{Actor, App, SELF_SOURCE};
use crate::storage;
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Basis, Grade, Kind, Outcome, SourceKind, Statement};
use vouchsafe_core::ids::{ResourcePattern, SubjectId};
use vouchsafe_core::policy::{NamedSet, Policy};
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Directive};

/// `vouchsafe demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address to listen on; the admin listener and the one for gRPC take free ports beside it.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// Limit nobody's rate: for load tests.
    #[arg(long)]
    unlimited: bool,
}

const POLICIES: [&str; 3] = [
    include_str!("../../fixtures/policies/restricted-us-persons.toml"),
    include_str!("../../fixtures/policies/us_nationals_only.toml"),
    include_str!("../../fixtures/policies/embargo.toml"),
];
const SETS: [&str; 2] = [
    include_str!("../../fixtures/sets/annex-a@2026-06-26.toml"),
    include_str!("../../fixtures/sets/embargoed@2026-11.toml"),
];
const NETWORKS: &[u8] = include_bytes!("../../fixtures/geoip/test.mmdb");
const AUDIENCE: &str = "edge";
const RESOURCES: [&str; 3] = ["restricted.api", "nationals.api", "regional.api"];

/// Removes the temporary folder at the end.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let _no_traces = logs(LogFormat::Human, None)?;
    let public = TcpListener::bind(&args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
    let address = public.local_addr()?;
    if !address.ip().is_loopback() {
        bail!("the demo listens on loopback only: it hands out credentials");
    }
    let admin = TcpListener::bind((address.ip(), 0)).await?;
    let grpc = TcpListener::bind((address.ip(), 0)).await?;
    let (url, admin_url) = (format!("http://{address}"), format!("http://{}", admin.local_addr()?));
    let grpc_url = format!("http://{}", grpc.local_addr()?);
    let folder = Folder(std::env::temp_dir().join(new_id("vouchsafe-demo", 0)?));
    std::fs::create_dir(&folder.0)?;
    let app = open(&folder.0, &url).await?;
    let seeded = seed(&app, [&url, &admin_url, &grpc_url]).await?;
    if args.json {
        say(&seeded.json.to_string());
    } else {
        introduce(&app, &seeded, &url).await?;
    }
    let proxies = Proxies { trusted: vec![ipnet::IpNet::from(address.ip())], ..Proxies::default() };
    let quotas = if args.unlimited { Quotas::OFF } else { Quotas::default() };
    let listeners = Listeners { public, admin, grpc: Some(grpc) };
    serve::serve(app, proxies.into(), &quotas, listeners, serve::signalled()).await
}

async fn open(folder: &Path, url: &str) -> anyhow::Result<Arc<App>> {
    let networks = folder.join("networks.mmdb");
    std::fs::write(&networks, NETWORKS)?;
    let store = storage::open(&format!("sqlite:{}", folder.join("demo.db").display())).await?;
    store.migrate().await?;
    let master = MasterKey::new(&random()?);
    Ok(App::open(store, Arc::new(SystemClock), master, url.to_owned(), GeoIp::open(&[networks])?).await?)
}

struct Seeded {
    json: Value,
    onboarding: (String, String),
    registry: (String, String, String),
    vendor: (String, String, String),
    gateway_key: String,
    newcomer: SubjectId,
}

struct Seeder<'a> {
    app: &'a App,
    actor: Actor,
    registry: String,
    vendor: String,
    now: Second,
    subjects: Map<String, Value>,
}

fn patterns(list: &[&str]) -> anyhow::Result<Vec<ResourcePattern>> {
    list.iter().map(|text| Ok(ResourcePattern::parse(text)?)).collect()
}

fn states(frame: &str, list: &[&str]) -> Statement {
    Statement::States { frame: frame.to_owned(), states: list.iter().map(|s| (*s).to_owned()).collect() }
}

async fn seed(app: &App, [url, admin_url, grpc_url]: [&str; 3]) -> anyhow::Result<Seeded> {
    let actor = Actor::command_line();
    let source = |name: &str, kind, max_grade| Source {
        name: name.to_owned(),
        kind,
        assessor: None,
        max_grade,
        vendor: None,
        suspensions: Vec::new(),
    };
    let registry =
        app.create_source(&actor, source("Status register", SourceKind::Registry, Grade::Strong), None).await?;
    let vendor = app
        .create_source(&actor, source("Document examiner", SourceKind::DocumentVendor, Grade::Superior), None)
        .await?;
    let organisation = |name: &str| Organisation {
        name: name.to_owned(),
        verified: true,
        keys: Vec::new(),
        subject: None,
        suspensions: Vec::new(),
    };
    let (listed, _) =
        app.create_organisation(&actor, Some("org_meridian".to_owned()), organisation("Meridian Labs")).await?;
    let (other, _) =
        app.create_organisation(&actor, Some("org_halyard".to_owned()), organisation("Halyard Systems")).await?;
    for text in SETS {
        app.create_set(&actor, toml::from_str::<NamedSet>(text)?).await?;
    }
    let families = patterns(&["restricted.*", "nationals.*", "regional.*"])?;
    let audience = Audience {
        name: "The edge".to_owned(),
        alg: "ES256".to_owned(),
        resources: families.clone(),
        pairwise: true,
        details: false,
    };
    app.create_audience(&actor, AUDIENCE, audience).await?;

    let mut clients = Map::new();
    let mut client = async |name: &str, owner: &str, scopes: &[&str], sources: &[&str], organisation: Option<&str>| {
        let set = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<String>>();
        let created =
            app.create_client(&actor, name, owner, set(scopes), set(sources), organisation.map(str::to_owned)).await?;
        let shown = json!({ "client_id": created.id, "client_secret": created.secret, "scopes": scopes });
        clients.insert(name.to_owned(), shown);
        anyhow::Ok((created.id, created.secret))
    };
    let onboarding = client(
        "onboarding",
        "Ola Onboarding",
        &[
            "subjects:read",
            "subjects:write",
            "attestations:read",
            "attestations:write",
            "observations:write",
            "vouches:write",
            "eligibility:read",
            "tokens:issue",
            "tokens:introspect",
            "tokens:revoke",
            "appeals:read",
            "appeals:write",
        ],
        &[SELF_SOURCE],
        None,
    )
    .await?;
    let registry_client = client("registry", "Rae Register", &["attestations:write"], &[&registry], None).await?;
    let vendor_client = client("vendor", "Vic Vendor", &["attestations:write"], &[&vendor], None).await?;
    client("employer", "Emi Employer", &["vouches:write"], &[], Some(&listed)).await?;
    client("introspector", "Ina Introspect", &["tokens:introspect"], &[], None).await?;
    let rules = ["rules:read", "rules:write", "directives:propose", "directives:approve"];
    let first = client("officer-1", "Cam Compliance", &rules, &[], None).await?;
    let second = client("officer-2", "Lee Lawyer", &rules, &[], None).await?;
    client("administrator", "Ada Admin", &["admin", "rules:read", "webhooks"], &[], None).await?;

    let mut gateways = Map::new();
    let edge = app.create_gateway(&actor, "edge", families.clone(), AUDIENCE, false, 403).await?;
    let portal = app.create_gateway(&actor, "portal", families, AUDIENCE, true, 403).await?;
    gateways.insert("edge".to_owned(), json!({ "key": edge.secret }));
    gateways.insert("portal".to_owned(), json!({ "key": portal.secret }));

    let mut operators = Map::new();
    for (login, name, role) in
        [("reviewer-1", "Rio Reviewer", Role::Reviewer), ("reviewer-2", "Sam Second", Role::Reviewer)]
    {
        operators.insert(login.to_owned(), operator(app, login, name, role).await?);
    }

    activate(app, &actor, &first.0, &second.0).await?;
    let mut seeder = Seeder {
        app,
        actor,
        registry: registry.clone(),
        vendor: vendor.clone(),
        now: app.clock.now(),
        subjects: Map::new(),
    };
    people(&mut seeder, &listed, &other).await?;
    let newcomer = seeder.person("newcomer").await?;
    let json = json!({
        "url": url, "admin_url": admin_url, "grpc_url": grpc_url, "clients": clients, "gateways": gateways,
        "audiences": { AUDIENCE: { "alg": "ES256", "resources": ["restricted.*", "nationals.*", "regional.*"] } },
        "operators": operators, "subjects": seeder.subjects, "resources": RESOURCES,
        "sources": { "registry": registry, "vendor": vendor, "self": SELF_SOURCE },
        "organisations": { "listed": { "id": listed }, "unlisted": { "id": other } },
    });
    Ok(Seeded {
        json,
        onboarding,
        registry: (registry_client.0, registry_client.1, registry),
        vendor: (vendor_client.0, vendor_client.1, vendor),
        gateway_key: edge.secret,
        newcomer,
    })
}

/// An operator whose password, shown by the demo, is theirs already.
async fn operator(app: &App, login: &str, name: &str, role: Role) -> anyhow::Result<Value> {
    let new =
        NewOperator { login: login.to_owned(), name: name.to_owned(), roles: BTreeSet::from([role]), subject: None };
    let created = app.create_operator(&Maker::CommandLine, new).await?;
    let password = new_secret()?;
    let caller = app.operator_at_the_machine(login, &created.password, 0).await?;
    app.change_password(&caller, 0, &created.password, &password).await?;
    Ok(json!({ "id": created.id, "login": login, "password": password, "roles": [role] }))
}

/// Commits the policies and activates them, by two people as always.
async fn activate(app: &App, actor: &Actor, first: &str, second: &str) -> anyhow::Result<()> {
    let mut actions = Vec::new();
    for text in POLICIES {
        let policy = Policy::from_toml(text)?;
        let id = policy.id.clone();
        let version = app.create_policy(actor, policy).await?;
        actions.push(Action::Activate { policy: id, version });
    }
    let officer = |id: &str, owner: &str| Caller {
        id: id.to_owned(),
        owner: owner.to_owned(),
        scopes: BTreeSet::from(["directives:propose".to_owned(), "directives:approve".to_owned()]),
        sources: BTreeSet::new(),
        organisation: None,
        operator: None,
    };
    let directive = Directive {
        id: "demo-rules".to_owned(),
        authority: "the demo".to_owned(),
        citation: "none: example rules".to_owned(),
        effective_at: None,
        actions,
    };
    app.propose(&officer(first, "Cam Compliance"), directive).await?;
    app.approve(&officer(second, "Lee Lawyer"), "demo-rules", None).await?;
    Ok(())
}

impl Seeder<'_> {
    fn ago(&self, days: i64) -> Second {
        self.now.plus(-days * DAY)
    }

    async fn person(&mut self, name: &str) -> anyhow::Result<SubjectId> {
        let external_id = format!("demo-{name}");
        let subject = self.app.create_subject(&self.actor, "person", Some(&external_id)).await?;
        let id = SubjectId::parse(&subject.id)?;
        self.app.link(&self.actor, &id, "api-key", &format!("key-{name}")).await?;
        self.subjects.insert(
            name.to_owned(),
            json!({ "id": subject.id, "external_id": external_id, "caller": format!("api-key:key-{name}") }),
        );
        Ok(id)
    }

    fn plain(&self, source: &str, kind: Kind) -> anyhow::Result<Submission> {
        Ok(Submission { grade: Some(Grade::Strong), ..Submission::new(source, self.app.fresh_event()?, kind) })
    }

    /// A document examined and matched to the face, `days` ago; issued `issued` days ago.
    fn document(&self, kind: &str, country: &str, days: i64, issued: i64) -> anyhow::Result<Submission> {
        Ok(Submission {
            codes: BTreeSet::from(["face_match".to_owned()]),
            document_type: Some(kind.to_owned()),
            issuing_country: Some(country.to_owned()),
            checked_at: Some(self.ago(days)),
            fact_date: Some(self.ago(issued)),
            ..self.plain(&self.vendor, Kind::DocumentCheck)?
        })
    }

    async fn submit(&self, subject: &SubjectId, submission: Submission) -> anyhow::Result<()> {
        match self.app.submit(&self.actor, subject, submission).await? {
            Delivery::Recorded(_) => Ok(()),
            other => bail!("seeding: {other:?}"),
        }
    }

    async fn declare(&self, subject: &SubjectId, status: &str, days: i64) -> anyhow::Result<()> {
        let submission = Submission {
            statement: Some(states("us_status", &[status])),
            checked_at: Some(self.ago(days)),
            ..self.plain(SELF_SOURCE, Kind::Declaration)?
        };
        self.submit(subject, submission).await
    }

    async fn vouch(
        &self,
        organisation: &str,
        subject: &SubjectId,
        statement: Statement,
        basis: Basis,
    ) -> anyhow::Result<String> {
        let caller = Caller {
            id: "demo".to_owned(),
            owner: "demo".to_owned(),
            scopes: BTreeSet::new(),
            sources: BTreeSet::new(),
            organisation: Some(organisation.to_owned()),
            operator: None,
        };
        let vouch =
            PlainVouch { statement, basis: Some(basis), fact_date: Some(self.ago(1)), ends_at: None, event: None };
        match self.app.vouch_plain(&caller, subject, vouch).await? {
            Delivery::Recorded(id) => Ok(id),
            other => bail!("seeding: {other:?}"),
        }
    }
}

/// The hard cases.
async fn people(s: &mut Seeder<'_>, listed: &str, other: &str) -> anyhow::Result<()> {
    let employed = || Statement::Employment {
        organisation: listed.to_owned(),
        employed: true,
        relation: Some("employee".to_owned()),
    };

    let dual = s.person("dual_citizen_travelling").await?;
    let passport = Submission {
        grade: Some(Grade::Superior),
        codes: BTreeSet::from(["face_match".to_owned(), "chip_verified".to_owned()]),
        ..s.document("passport", "USA", 100, 1500)?
    };
    s.submit(&dual, passport).await?;
    let also = Submission {
        statement: Some(Statement::Nationalities { countries: BTreeSet::from(["IRN".to_owned()]) }),
        ..s.plain(SELF_SOURCE, Kind::Declaration)?
    };
    s.submit(&dual, also).await?;
    s.app.observe(&s.actor, &dual, "203.0.113.7".parse()?).await?;

    let resident = s.person("permanent_resident").await?;
    let card =
        Submission { ends_at: Some(s.now.plus(20 * DAY)), ..s.document("permanent_resident_card", "USA", 5, 3600)? };
    s.submit(&resident, card).await?;

    let asylee = s.person("asylee").await?;
    s.submit(&asylee, s.document("employment_authorisation", "USA", 3, 200)?).await?;
    let record = Submission {
        document_type: Some("status_record".to_owned()),
        issuing_country: Some("USA".to_owned()),
        statement: Some(Statement::Read { nationalities: BTreeSet::new(), category: Some("A05".to_owned()) }),
        fact_date: Some(s.ago(400)),
        ..s.plain(&s.registry, Kind::Registry)?
    };
    s.submit(&asylee, record).await?;

    for (name, revoked) in [("visa_holder_listed_employer", false), ("visa_holder_vouch_revoked", true)] {
        let visa_holder = s.person(name).await?;
        s.declare(&visa_holder, "other", 2).await?;
        s.submit(&visa_holder, s.document("passport", "IND", 2, 900)?).await?;
        let vouch = s.vouch(listed, &visa_holder, employed(), Basis::HrRecord).await?;
        if revoked {
            s.app.revoke_attestation(&s.actor, &vouch, "employment_ended", false).await?;
        }
    }

    let contractor = s.person("contractor_contradicted").await?;
    s.submit(&contractor, s.document("passport", "USA", 60, 2000)?).await?;
    s.vouch(other, &contractor, states("us_status", &["other"]), Basis::ExportControlRecord).await?;

    let self_declared = s.person("self_declared_expired_document").await?;
    s.declare(&self_declared, "citizen", 1).await?;
    let expired = Submission { outcome: Outcome::DocumentExpired, ..s.document("passport", "USA", 1, 4000)? };
    s.submit(&self_declared, expired).await?;

    let naturalised = s.person("naturalised_old_card").await?;
    s.submit(&naturalised, s.document("permanent_resident_card", "USA", 300, 3000)?).await?;
    let certificate = Submission { codes: BTreeSet::new(), ..s.document("naturalisation_certificate", "USA", 4, 400)? };
    s.submit(&naturalised, certificate).await?;
    s.submit(&naturalised, s.document("driving_licence", "USA", 4, 700)?).await?;
    Ok(())
}

/// Credentials of this run and five lines that work in order.
async fn introduce(app: &App, seeded: &Seeded, url: &str) -> anyhow::Result<()> {
    let bearer = async |id: &str, secret: &str| anyhow::Ok(app.access_token(id, secret, None).await?.token);
    let onboarding = bearer(&seeded.onboarding.0, &seeded.onboarding.1).await?;
    let registry = bearer(&seeded.registry.0, &seeded.registry.1).await?;
    let vendor = bearer(&seeded.vendor.0, &seeded.vendor.1).await?;
    let (subject, key) = (&seeded.newcomer, &seeded.gateway_key);
    let json = "-H 'Content-Type: application/json'";
    say(&format!("Vouchsafe demo on {url}. Everything is made for this run; nothing is kept."));
    say("\nCredentials:");
    if let Some(clients) = seeded.json.get("clients").and_then(Value::as_object) {
        for (name, client) in clients {
            say(&format!(
                "  {name}: {} {}",
                client["client_id"].as_str().unwrap_or(""),
                client["client_secret"].as_str().unwrap_or("")
            ));
        }
    }
    say(&format!("  gateway key: {key}"));
    if let Some(operators) = seeded.json.get("operators").and_then(Value::as_object) {
        for (login, operator) in operators {
            say(&format!("  operator {login}: {}", operator["password"].as_str().unwrap_or("")));
        }
    }
    say("\nSubjects (ask for any of them as in the first line):");
    if let Some(subjects) = seeded.json.get("subjects").and_then(Value::as_object) {
        for (name, subject) in subjects {
            say(&format!("  {name}: {}", subject["id"].as_str().unwrap_or("")));
        }
    }
    say("\n# 1. A newcomer is refused, and told what evidence would help");
    say(&format!(
        "curl -s '{url}/v1/subjects/{subject}/eligibility?resource=restricted.api' -H 'Authorization: Bearer {onboarding}'"
    ));
    say("\n# 2. That evidence arrives: a register's record for the status, a document check for the identity");
    say(&format!(
        "curl -s '{url}/v1/subjects/{subject}/attestations' -H 'Authorization: Bearer {registry}' {json} -d '{{\"source\":\"{}\",\"kind\":\"registry\",\"grade\":\"STRONG\",\"document\":{{\"type\":\"status_record\",\"issuing_country\":\"USA\"}},\"statement\":{{\"type\":\"read\",\"category\":\"A05\"}}}}' --next -s '{url}/v1/subjects/{subject}/attestations' -H 'Authorization: Bearer {vendor}' {json} -d '{{\"source\":\"{}\",\"kind\":\"document_check\",\"grade\":\"STRONG\",\"codes\":[\"face_match\"],\"document\":{{\"type\":\"employment_authorisation\",\"issuing_country\":\"USA\"}}}}'",
        seeded.registry.2, seeded.vendor.2
    ));
    say("\n# 3. Eligible, with confidence and expiry");
    say(&format!(
        "curl -s '{url}/v1/subjects/{subject}/eligibility?resource=restricted.api' -H 'Authorization: Bearer {onboarding}'"
    ));
    say("\n# 4. A signed token");
    say(&format!(
        "TOKEN=$(curl -s '{url}/v1/subjects/{subject}/tokens' -H 'Authorization: Bearer {onboarding}' {json} -d '{{\"resource\":\"restricted.api\",\"audience\":\"{AUDIENCE}\"}}' | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/'); echo \"$TOKEN\""
    ));
    say("\n# 5. The gateway says yes");
    say(&format!(
        "curl -si '{url}/gateway/check/restricted.api' -H 'X-Gateway-Key: {key}' -H \"Authorization: Bearer $TOKEN\""
    ));
    say("\nThe access tokens in these lines last ten minutes; stop with Ctrl-C.");
    Ok(())
}
