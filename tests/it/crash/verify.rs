//! What must hold after a crash: asked of the service, and read from the database beside it.

use super::deployment::{Api, Deployment, RESOURCE, Sent};
use super::model::{Model, Person, Role};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// Asks the service for everything acknowledged since `known`. Where the database failed under a living process
/// (`lossy`), an answer may have been given and not kept: then it is named, and nothing is done again.
pub(super) async fn ask(api: &Api, all: &Model, known: &Model, lossy: bool) {
    let mut tasks = JoinSet::new();
    for (subject, person) in &all.people {
        let same = |other: &Person| {
            (&person.attestations, &person.links, &person.tokens) == (&other.attestations, &other.links, &other.tokens)
        };
        if !known.people.get(subject).is_some_and(same) {
            let (api, subject, person) = (api.clone(), subject.clone(), person.clone());
            tasks.spawn(async move { about(&api, &subject, &person).await });
        }
    }
    for (sent, status, answer) in all.kept.iter().skip(known.kept.len()).cloned() {
        let api = api.clone();
        // A token is committed without its key: see docs/architecture.md.
        if lossy && sent.path.ends_with("/tokens") {
            continue;
        }
        tasks.spawn(async move {
            let again = api.send(&sent).await.unwrap();
            let code = again.body["code"].as_str().unwrap_or_default();
            if lossy && code == "idempotency_in_progress" {
                return;
            }
            if lossy && code == "idempotency_answer_lost" {
                let effect = again.body["detail"].as_str().unwrap().split('`').nth(1).unwrap();
                assert!(answer.contains(effect) || sent.path.contains(effect), "{effect} is not what {sent:?} did");
                return;
            }
            assert_eq!(
                (again.status.as_u16(), &again.text),
                (status, &answer),
                "another answer under the key of {sent:?}"
            );
            assert!(again.replayed, "done twice: {sent:?}");
        });
    }
    for path in all.decisions.difference(&known.decisions).map(|id| format!("/v1/decisions/{id}")) {
        let api = api.clone();
        tasks.spawn(async move { _ = found(&api, &path).await });
    }
    for path in all.directives.difference(&known.directives).map(|id| format!("/v1/directives/{id}")) {
        let api = api.clone();
        tasks.spawn(async move { _ = found(&api, &path).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    if let Some(subject) = all.people.iter().find(|(_, person)| person.is_eligible()).map(|(id, _)| id) {
        for (resource, stands) in all.freezes.values() {
            let decision = found(api, &format!("/v1/subjects/{subject}/eligibility?resource={resource}")).await;
            let frozen = decision["reasons"] == json!(["directive.frozen"]);
            assert_eq!(frozen, *stands, "{resource}: {decision}");
            assert_eq!(decision["status"] == "eligible", !stands, "{resource}: {decision}");
        }
    }
}

async fn found(api: &Api, path: &str) -> Value {
    let got = api.send(&Sent::get(path)).await.unwrap();
    assert_eq!(got.status, StatusCode::OK, "lost: {path}: {got:?}");
    got.body
}

async fn about(api: &Api, subject: &str, person: &Person) {
    let of = |part: &str| format!("/v1/subjects/{subject}/{part}");
    let held: BTreeMap<String, bool> = found(api, &of("attestations")).await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap().to_owned(), item["marks"].as_array().is_none_or(Vec::is_empty)))
        .collect();
    let acknowledged: BTreeMap<String, bool> =
        person.attestations.iter().map(|(id, (_, stands))| (id.clone(), *stands)).collect();
    assert_eq!(held, acknowledged, "attestations of {subject}, and whether they stand");
    let links: BTreeSet<String> = found(api, &of("links")).await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(links, person.links, "links of {subject}");
    let decision = found(api, &of(&format!("eligibility?resource={RESOURCE}"))).await;
    assert_eq!(decision["status"] == "eligible", person.is_eligible(), "{subject}: {decision}");
    for (jti, (token, stands)) in &person.tokens {
        let worth = *stands && person.is_eligible();
        let answer = api.send(&Sent::post("/oauth2/introspect", json!({ "token": token }))).await.unwrap();
        let active = answer.body["active"] == true;
        // Whoever was not eligible in between may have lost the token for good.
        let was_refused = person.attestations.values().any(|(_, stands)| !stands);
        assert!(active == worth || (worth && was_refused), "introspecting {jti} of {subject}: {answer:?}");
        let passes = api.check(token).await == StatusCode::OK;
        assert!(passes == active || (active && was_refused), "the gateway on {jti} of {subject}");
    }
    if !person.is_eligible() {
        let sent = Sent::post(of("tokens"), json!({ "resource": RESOURCE, "audience": super::deployment::AUDIENCE }));
        let got = api.send(&sent).await.unwrap();
        assert_eq!(got.status, StatusCode::FORBIDDEN, "a token for {subject}, who is not eligible: {got:?}");
    }
}

/// How often each thing was done to each target, as the audit log and what waits for it say.
struct Audit(BTreeMap<(String, String), usize>);

impl Audit {
    async fn read(deployment: &Deployment) -> Self {
        let mut done = BTreeMap::new();
        let mut ids = BTreeSet::new();
        // One statement, one state: entries move from the one table to the other at any time.
        let all = "SELECT id, action || ' ' || target FROM audit_entries UNION ALL SELECT '', entry FROM audit_log";
        for (id, what) in deployment.pairs(all).await {
            let (id, action, target) = if id.is_empty() {
                let entry: Value = serde_json::from_str(&what).unwrap();
                let text = |name: &str| entry[name].as_str().unwrap().to_owned();
                (text("id"), text("action"), text("target"))
            } else {
                let (action, target) = what.split_once(' ').unwrap();
                (id, action.to_owned(), target.to_owned())
            };
            assert!(ids.insert(id.clone()), "audit entry {id} is there twice");
            *done.entry((action, target)).or_insert(0) += 1;
        }
        Self(done)
    }

    fn times(&self, action: &str, target: &str) -> usize {
        self.0.get(&(action.to_owned(), target.to_owned())).copied().unwrap_or(0)
    }

    fn targets(&self, action: &str) -> BTreeSet<String> {
        self.0.keys().filter(|(found, _)| found == action).map(|(_, target)| target.clone()).collect()
    }
}

async fn column(deployment: &Deployment, sql: &str) -> BTreeSet<String> {
    let rows = deployment.pairs(sql).await;
    let count = rows.len();
    let set: BTreeSet<String> = rows.into_iter().map(|(value, _)| value).collect();
    assert_eq!(set.len(), count, "twice: {sql}");
    set
}

/// Reads the database at rest: no half change, nothing that nobody asked for, a chain that verifies. `model` holds all
/// that was acknowledged or resolved, so rows and model are the same but for `lost_tokens`.
pub(super) async fn read(deployment: &Deployment, model: &Model, lost_tokens: usize) {
    let verified = deployment.run(&["audit", "verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    if deployment.database.is_sqlite() {
        let check = deployment.pairs("SELECT integrity_check, '' FROM pragma_integrity_check").await;
        assert_eq!(check, [("ok".to_owned(), String::new())]);
        assert_eq!(deployment.pairs("SELECT \"table\", parent FROM pragma_foreign_key_check").await, []);
    }
    let audit = Audit::read(deployment).await;
    let once = |action: &str, targets: &BTreeSet<String>| {
        for target in targets {
            assert_eq!(audit.times(action, target), 1, "`{action}` of {target}");
        }
        assert_eq!(&audit.targets(action), targets, "`{action}` and the rows it speaks of");
    };

    // The one organisation was made before; it is a subject too.
    let subjects = column(deployment, "SELECT id, '' FROM subjects WHERE kind = 'person'").await;
    assert_eq!(subjects, model.people.keys().cloned().collect(), "subjects and what was acknowledged");
    once("subject.created", &column(deployment, "SELECT id, '' FROM subjects").await);

    let mut attestations = BTreeMap::new();
    for (id, subject) in deployment.pairs("SELECT id, subject FROM attestations").await {
        attestations.insert(id, subject);
    }
    let mut revoked = BTreeSet::new();
    let mut acknowledged = BTreeMap::new();
    for (subject, person) in &model.people {
        for (id, (_, stands)) in &person.attestations {
            acknowledged.insert(id.clone(), subject.clone());
            if !stands {
                revoked.insert(id.clone());
            }
        }
    }
    assert_eq!(attestations, acknowledged, "attestations and what was acknowledged");
    once("attestation.recorded", &attestations.keys().cloned().collect());
    let marks = column(deployment, "SELECT attestation, '' FROM marks").await;
    assert_eq!(marks, revoked, "revocations and what was acknowledged");
    let told = &audit.targets("attestation.revoked") | &audit.targets("vouch.withdrawn");
    assert_eq!(marks, told, "revocations and their audit entries");

    let fed = deployment.pairs("SELECT key, '' FROM feed WHERE kind = 'subject'").await;
    let mut feed: BTreeMap<String, usize> = BTreeMap::new();
    for (subject, _) in fed {
        *feed.entry(subject).or_default() += 1;
    }
    let every = column(deployment, "SELECT id, '' FROM subjects").await;
    let mut due: BTreeMap<String, usize> = every.iter().map(|subject| (subject.clone(), 1)).collect();
    for (id, subject) in &attestations {
        let said = audit.times("attestation.revoked", id) + audit.times("vouch.withdrawn", id);
        *due.get_mut(subject).unwrap() += 1 + said;
    }
    assert_eq!(feed, due, "feed rows and the changes they announce");
    for (body, topic) in deployment.pairs("SELECT body, topic FROM outbox").await {
        let body: Value = serde_json::from_str(&body).unwrap();
        if topic == "attestation.accepted" {
            assert!(attestations.contains_key(body["attestation"].as_str().unwrap()), "told of nothing: {body}");
        } else if topic != "directive.applied" {
            assert!(subjects.contains(body["subject"].as_str().unwrap()), "told of nobody: {body}");
        }
    }
    links(deployment, model, &audit).await;
    tokens(deployment, model, &audit, &once, lost_tokens).await;
    directives(deployment, model, &audit).await;
}

async fn links(deployment: &Deployment, model: &Model, audit: &Audit) {
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for (subject, _) in deployment.pairs("SELECT subject, digest FROM links").await {
        *held.entry(subject).or_default() += 1;
    }
    for (subject, person) in &model.people {
        let linked = held.get(subject).copied().unwrap_or(0);
        assert_eq!(linked, person.links.len(), "links of {subject}");
        let told = audit.times("link.created", subject) - audit.times("link.removed", subject);
        assert_eq!(linked, told, "links of {subject} and their audit entries");
    }
}

async fn tokens(
    deployment: &Deployment,
    model: &Model,
    audit: &Audit,
    once: &impl Fn(&str, &BTreeSet<String>),
    lost: usize,
) {
    let held = column(deployment, "SELECT jti, '' FROM tokens").await;
    once("token.issued", &held);
    let of = |stands: bool| -> BTreeSet<String> {
        let tokens = model.people.values().flat_map(|person| &person.tokens);
        tokens.filter(|(_, token)| token.1 == stands).map(|(jti, _)| jti.clone()).collect()
    };
    let (standing, ended) = (of(true), of(false));
    let acknowledged = &standing | &ended;
    let missing: Vec<_> = acknowledged.difference(&held).collect();
    assert!(missing.is_empty(), "acknowledged tokens are gone: {missing:?}");
    let extra = held.len() - acknowledged.len();
    assert!(extra <= lost, "{extra} tokens nobody was given, of {lost} lost requests");
    let revoked = column(deployment, "SELECT jti, '' FROM tokens WHERE revoked_at_ms IS NOT NULL").await;
    let by_job: BTreeSet<String> = details(deployment, "tokens.revoked")
        .await
        .iter()
        .flat_map(|detail| detail["tokens"].as_array().unwrap().iter().map(|jti| jti.as_str().unwrap().to_owned()))
        .collect();
    // The service may end one while this reads.
    let later = column(deployment, "SELECT jti, '' FROM tokens WHERE revoked_at_ms IS NOT NULL").await;
    let over = &ended | &by_job;
    assert!(
        revoked.is_subset(&over) && over.is_subset(&later),
        "revoked tokens {revoked:?}, what was acknowledged {ended:?}, and what the service ended itself {by_job:?}"
    );
    let told = audit.targets("token.revoked");
    assert!(told.is_subset(&later) && (&ended - &by_job).is_subset(&told), "revoked tokens and their audit entries");
    for (subject, person) in &model.people {
        let lost = person.tokens.keys().find(|jti| by_job.contains(*jti));
        let was_refused = person.attestations.values().any(|(_, stands)| !stands);
        assert!(lost.is_none() || was_refused, "{subject} was always eligible and lost {lost:?}");
    }
    let decisions = column(deployment, "SELECT id, '' FROM decisions").await;
    let stated: BTreeSet<String> =
        deployment.pairs("SELECT decision, '' FROM tokens").await.into_iter().map(|(id, _)| id).collect();
    let recorded = audit.targets("decision.recorded");
    let changed = details(deployment, "eligibility.changed").await;
    let noticed: BTreeSet<String> =
        changed.iter().map(|detail| detail["decision"].as_str().unwrap().to_owned()).collect();
    let said = &(&stated | &recorded) | &noticed;
    // The service may notice something while this reads.
    let later = column(deployment, "SELECT id, '' FROM decisions").await;
    assert!(
        decisions.is_subset(&said) && said.is_subset(&later),
        "decisions, the tokens that state them and their audit entries: {:?} {:?}",
        decisions.difference(&said),
        said.difference(&later)
    );
    let ruled = "SELECT id, '' FROM decisions WHERE rules_digest NOT IN (SELECT digest FROM rules)";
    assert_eq!(deployment.pairs(ruled).await, [], "decisions whose rules are gone");
    let eligible =
        "SELECT jti, '' FROM tokens JOIN decisions ON decisions.id = tokens.decision WHERE status <> 'eligible'";
    assert_eq!(deployment.pairs(eligible).await, [], "tokens that state no yes");
}

/// What the entries of an action say, those that wait and those in the log.
async fn details(deployment: &Deployment, action: &str) -> Vec<Value> {
    let waiting = format!("SELECT detail, '' FROM audit_entries WHERE action = '{action}'");
    let logged = "SELECT entry, '' FROM audit_log";
    // First those that wait: what moves meanwhile is then found twice, never lost.
    let mut found: Vec<Value> =
        deployment.pairs(&waiting).await.iter().map(|(detail, _)| serde_json::from_str(detail).unwrap()).collect();
    let entries = deployment.pairs(logged).await;
    let entries = entries.iter().map(|(entry, _)| serde_json::from_str::<Value>(entry).unwrap());
    found.extend(entries.filter(|entry| entry["action"] == action).map(|entry| entry["detail"].clone()));
    found
}

async fn directives(deployment: &Deployment, model: &Model, audit: &Audit) {
    let mut held = column(deployment, "SELECT id, '' FROM records WHERE kind = 'directive'").await;
    assert_eq!(audit.targets("directive.proposed"), held, "directives and their audit entries");
    assert!(held.remove("in-force"));
    assert_eq!(held, model.directives, "directives and what was acknowledged");
    let acted = column(deployment, "SELECT directive, '' FROM timeline").await;
    let mut due: BTreeSet<String> = model.freezes.keys().cloned().collect();
    due.extend(audit.targets("directive.approved"));
    assert_eq!(acted, due, "the timeline and the orders on it");
}

/// No panic was logged.
pub(super) fn calm(deployment: &Deployment) {
    let log = deployment.log();
    let panicked = log.lines().find(|line| line.contains("panicked"));
    assert_eq!(panicked, None);
}

/// Roles are exercised: a run that never revoked or issued anything proves little.
pub(super) fn covered(model: &Model) {
    let people = || model.people.values();
    let attestations = || people().flat_map(|person| person.attestations.values());
    for role in [Role::Registry, Role::Document, Role::Vouch] {
        assert!(attestations().any(|(found, _)| *found == role), "no {role:?}");
    }
    assert!(attestations().any(|(_, stands)| !stands), "nothing was revoked");
    assert!(people().any(|person| !person.links.is_empty()), "nothing was linked");
    assert!(people().flat_map(|person| person.tokens.values()).any(|(_, stands)| !stands), "no token was revoked");
    assert!(!model.kept.is_empty(), "no key was used");
}
