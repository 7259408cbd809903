//! Gateways, audiences, clients, sources and organisations with nothing behind them.

use super::or_ok;
use crate::finding::Finding;
use crate::intake::native::Native;
use crate::service::SELF_SOURCE;
use crate::service::direct::person;
use crate::service::operators::Operator;
use crate::service::world::{Client, World};
use crate::storage::StoredKey;
use crate::token::keys::{Algorithm, Purpose};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe_core::facts::SourceKind;
use vouchsafe_core::ids::{ResourceId, ResourcePattern};

pub(super) fn check(world: &World, keys: &[StoredKey]) -> Vec<Finding> {
    let mut findings = gates(world, keys);
    findings.extend(speakers(world));
    findings.extend(people(world));
    findings.sort_by(|a, b| (a.check, &a.found).cmp(&(b.check, &b.found)));
    or_ok(findings, "parties", "gateways, audiences, clients, sources and organisations fit together")
}

/// Whether a token of an audience could ever name what a gateway guards.
fn reaches(theirs: &[ResourcePattern], guarded: &ResourcePattern) -> bool {
    let member = |pattern: &ResourcePattern| ResourceId::parse(&pattern.to_string().replace('*', "any")).ok();
    theirs.iter().any(|pattern| {
        member(guarded).is_some_and(|resource| pattern.covers(&resource))
            || member(pattern).is_some_and(|resource| guarded.covers(&resource))
    })
}

fn gates(world: &World, keys: &[StoredKey]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, gateway) in &world.gateways {
        let Some(audience) = world.audiences.get(&gateway.audience) else {
            findings.push(Finding::failure(
                "gateways.audience",
                format!("gateway `{id}` names audience `{}`, which is not registered", gateway.audience),
                "no token is ever accepted there",
                "register the audience, or make the gateway anew",
            ));
            continue;
        };
        for guarded in gateway.resources.iter().filter(|guarded| !reaches(&audience.resources, guarded)) {
            findings.push(Finding::warning(
                "gateways.resources",
                format!("gateway `{id}` guards `{guarded}`, which tokens for `{}` may not name", gateway.audience),
                "no token is ever accepted for it",
                "register an audience whose resources include it",
            ));
        }
    }
    for (id, audience) in &world.audiences {
        let alg = Algorithm::parse(&audience.alg).map(Algorithm::as_str);
        let signs = |key: &&StoredKey| {
            key.purpose == Purpose::Eligibility.as_str()
                && Some(key.alg.as_str()) == alg
                && key.times.last_signs_ms.is_none()
                && key.times.retired_at_ms.is_none()
        };
        // A database without any key has not been started on yet.
        if !keys.is_empty() && !keys.iter().any(|key| signs(&key)) {
            findings.push(Finding::failure(
                "audiences.key",
                format!("there is no {} key for audience `{id}`", audience.alg),
                "no token can be made for it",
                "restore table `keys` from a backup, or register the audience under another algorithm",
            ));
        }
    }
    findings
}

fn speakers(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, client) in world.clients.iter().filter(|(_, client)| !client.disabled) {
        for source in client.sources.iter().filter(|id| *id != SELF_SOURCE && !world.sources.contains_key(*id)) {
            findings.push(Finding::warning(
                "clients.sources",
                format!("client `{id}` may speak for source `{source}`, which is not registered"),
                "what it says for that source is refused",
                "register the source, or make the client anew",
            ));
        }
        if let Some(organisation) = client.organisation.as_ref().filter(|id| !world.organisations.contains_key(*id)) {
            findings.push(Finding::warning(
                "clients.organisation",
                format!("client `{id}` belongs to organisation `{organisation}`, which is not registered"),
                "its vouches are refused",
                "register the organisation, or make the client anew",
            ));
        }
    }
    let clients = || world.clients.values().filter(|client| !client.disabled);
    for (id, (source, _)) in &world.sources {
        match &source.vendor {
            Some(vendor) if Native::parse(&vendor.name).is_none() => findings.push(Finding::failure(
                "sources.vendor",
                format!("source `{id}` names vendor `{}`, which this binary does not know", vendor.name),
                "its deliveries are refused",
                "run the binary that registered it, or register the source anew",
            )),
            None if matches!(source.kind, SourceKind::DocumentVendor | SourceKind::Registry)
                && !clients().any(|client| client.sources.contains(id)) =>
            {
                findings.push(Finding::warning(
                    "sources.speaker",
                    format!("nobody may speak for source `{id}`"),
                    "no evidence ever comes from it",
                    "make a client with `--source`, or leave it as a name kept for later",
                ));
            }
            _ => {}
        }
    }
    for (id, organisation) in &world.organisations {
        let speaks = clients().any(|client| client.organisation.as_ref() == Some(id));
        if organisation.keys.is_empty() && !speaks {
            findings.push(Finding::warning(
                "organisations.keys",
                format!("organisation `{id}` has neither a key nor a client"),
                "it can vouch for nobody",
                "register its public key, or make a client for it",
            ));
        }
    }
    findings
}

/// Whether there are two people who can open what is shut.
fn people(world: &World) -> Vec<Finding> {
    if world.clients.is_empty() {
        return vec![Finding::warning(
            "clients.none",
            "there is no client",
            "nobody can use the API",
            "`vouchsafe client create --name … --owner … --scope admin …`",
        )];
    }
    let approve = |client: &&Arc<Client>| !client.disabled && client.scopes.contains("directives:approve");
    let mut owners: BTreeSet<String> =
        world.clients.values().filter(approve).map(|client| person(&client.owner)).collect();
    let may = |operator: &&Operator| !operator.disabled && operator.scopes().contains("directives:approve");
    owners.extend(world.operators.values().filter(may).map(|operator| person(&operator.name)));
    if owners.len() >= 2 {
        return Vec::new();
    }
    vec![Finding::warning(
        "clients.approvers",
        format!("{} of the 2 people are there who can put a policy in force", owners.len()),
        "what lets more people in takes two people, each with a client or log-in that may approve",
        "`vouchsafe operator create --role compliance …` or `vouchsafe client create --scope directives:approve …`",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;
    use crate::storage::KeyTimes;
    use serde_json::{Value, json};

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn client(owner: &str, more: Value) -> Client {
        let mut body = json!({ "name": "n", "owner": owner, "scopes": ["directives:approve"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        from(body)
    }

    fn client_mut<'w>(world: &'w mut World, id: &str) -> &'w mut Client {
        Arc::make_mut(world.clients.get_mut(id).unwrap())
    }

    fn key(alg: &str) -> StoredKey {
        let (alg, purpose) = (alg.to_owned(), "eligibility".to_owned());
        let times = KeyTimes::new(0, 0);
        StoredKey { kid: "k".to_owned(), alg, purpose, sealed: Vec::new(), jwk: String::new(), times }
    }

    fn world() -> World {
        let mut world = World::default();
        let gateway = json!({ "name": "g", "key_sha256": "", "resources": ["restricted.api"], "audience": "gate" });
        world.gateways.insert("gw_1".to_owned(), Arc::new(from(gateway)));
        world.audiences.insert("gate".to_owned(), from(json!({ "name": "a", "resources": ["restricted.*"] })));
        world.clients.insert("cli_1".to_owned(), Arc::new(client("Ada", json!({ "sources": ["src_1", "src_self"] }))));
        world.clients.insert("cli_2".to_owned(), Arc::new(client("Bo", json!({ "organisation": "org_1" }))));
        world.sources.insert("src_1".to_owned(), (from(json!({ "name": "s", "kind": "registry" })), None));
        world.organisations.insert("org_1".to_owned(), from(json!({ "name": "o" })));
        world
    }

    #[test]
    fn parties_that_fit_together_give_no_warning_and_each_gap_gives_its_own() {
        let keys = [key("ES256")];
        let good = check(&world(), &keys);
        assert!(good.len() == 1 && good[0].level == Level::Ok, "{good:#?}");
        let break_one = |change: &dyn Fn(&mut World), check_name: &str, level: Level| {
            let mut world = world();
            change(&mut world);
            let found = check(&world, &keys);
            let hit = found.iter().find(|finding| finding.check == check_name);
            assert_eq!(hit.map(|finding| finding.level), Some(level), "{check_name}: {found:#?}");
        };
        break_one(&|world| world.audiences.clear(), "gateways.audience", Level::Failure);
        break_one(
            &|world| {
                world.audiences.get_mut("gate").unwrap().resources = vec![ResourcePattern::parse("other").unwrap()];
            },
            "gateways.resources",
            Level::Warning,
        );
        break_one(
            &|world| world.audiences.get_mut("gate").unwrap().alg = "RS256".to_owned(),
            "audiences.key",
            Level::Failure,
        );
        break_one(&|world| world.sources.clear(), "clients.sources", Level::Warning);
        break_one(&|world| world.organisations.clear(), "clients.organisation", Level::Warning);
        break_one(&|world| client_mut(world, "cli_1").disabled = true, "sources.speaker", Level::Warning);
        break_one(&|world| client_mut(world, "cli_2").organisation = None, "organisations.keys", Level::Warning);
        break_one(&|world| client_mut(world, "cli_2").owner = "ADA".to_owned(), "clients.approvers", Level::Warning);
        break_one(&|world| world.clients.clear(), "clients.none", Level::Warning);
        break_one(
            &|world| {
                let vendor = json!({ "name": "other", "base_url": "https://a.example" });
                let source = json!({ "name": "s", "kind": "document_vendor", "vendor": vendor });
                world.sources.insert("src_1".to_owned(), (from(source), None));
            },
            "sources.vendor",
            Level::Failure,
        );
    }
}
