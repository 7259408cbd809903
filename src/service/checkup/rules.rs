//! Rules that do not compile, resources that nobody governs, policies that govern nothing, orders under way.

use super::or_ok;
use crate::finding::Finding;
use crate::service::world::{DirectiveState, World};
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::ids::{ResourceId, ResourcePattern};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::timeline::{Action, state_at};

pub(super) fn check(world: &World, directives: &[DirectiveState], now: Second, networks: bool) -> Vec<Finding> {
    let mut findings = or_ok(broken(world, now), "rules.compile", "all policies compile");
    findings.extend(or_ok(ungoverned(world, now), "rules.governed", "a policy governs all that is guarded"));
    findings.extend(or_ok(idle(world, directives, now), "rules.used", "every policy is in force somewhere"));
    findings.extend(or_ok(under_way(directives), "rules.directives", "no directive waits for somebody"));
    findings.extend(changing(world, now));
    let asks_network = |pack: &String| pack.starts_with("country_now@");
    if !networks && world.library.policies.values().any(|policy| policy.definitions.iter().any(asks_network)) {
        findings.push(Finding::warning(
            "rules.networks",
            "a policy asks where a caller is, and no network database is configured",
            "nothing is ever known about that, so such a criterion is never met",
            "set configuration key `geoip`",
        ));
    }
    findings
}

/// One resource of each pattern: itself, or a member of the family.
fn member(pattern: &ResourcePattern) -> Option<ResourceId> {
    ResourceId::parse(&pattern.to_string().replace('*', "any")).ok()
}

/// A member of every pattern that policies name.
fn members(world: &World) -> BTreeSet<ResourceId> {
    world.library.policies.values().flat_map(|policy| policy.resources.iter().filter_map(member)).collect()
}

fn broken(world: &World, now: Second) -> Vec<Finding> {
    let library = &world.library;
    let why = "the service does not start, or goes on with its last picture until it grows too old to answer";
    let remedy = "restore the record that is missing or altered; records of rules are never removed by the service";
    let mut problems: BTreeSet<String> = library
        .policies
        .values()
        .filter_map(|policy| policy.check(library).err())
        .map(|error| error.to_string())
        .collect();
    let compiled = members(world).into_iter();
    problems.extend(
        compiled.filter_map(|resource| Some(Rules::compile(library, &world.timeline, &resource, now).err()?.problem)),
    );
    problems.into_iter().map(|problem| Finding::failure("rules.compile", problem, why, remedy)).collect()
}

fn ungoverned(world: &World, now: Second) -> Vec<Finding> {
    let governed =
        |resource: &ResourceId| state_at(&world.timeline, &world.library.policies, resource, now).policy.is_some();
    let named = members(world);
    let free = |pattern: &ResourcePattern| {
        !member(pattern).is_some_and(|resource| governed(&resource))
            && !named.iter().any(|resource| pattern.covers(resource) && governed(resource))
    };
    let guarded = world.gateways.iter().flat_map(|(id, gateway)| {
        gateway.resources.iter().map(move |pattern| (format!("gateway `{id}` guards"), pattern))
    });
    let spoken = world.audiences.iter().flat_map(|(id, audience)| {
        audience.resources.iter().map(move |pattern| (format!("tokens for audience `{id}` may name"), pattern))
    });
    let mut findings: Vec<Finding> = guarded
        .chain(spoken)
        .filter(|(_, pattern)| free(pattern))
        .map(|(who, pattern)| {
            Finding::warning(
                "rules.governed",
                format!("{who} `{pattern}`, which no policy governs"),
                "everybody is refused there",
                "activate a policy for it by a directive, or check the name",
            )
        })
        .collect();
    findings.sort_by(|a, b| a.found.cmp(&b.found));
    findings
}

/// Policies of which no version is in force anywhere.
fn idle(world: &World, directives: &[DirectiveState], now: Second) -> Vec<Finding> {
    let policies = &world.library.policies;
    let used: BTreeSet<String> = members(world)
        .iter()
        .filter_map(|resource| state_at(&world.timeline, policies, resource, now).policy)
        .map(|(id, _)| id)
        .collect();
    let ordered = |id: &str| {
        let names = |action: &Action| matches!(action, Action::Activate { policy, .. } if policy == id);
        directives.iter().any(|state| !state.loosening_applied && state.directive.actions.iter().any(names))
            || world.timeline.iter().any(|entry| entry.from > now && names(&entry.action))
    };
    let ids: BTreeSet<&String> = policies.keys().map(|(id, _)| id).collect();
    ids.into_iter()
        .filter(|id| !used.contains(*id) && !ordered(id))
        .map(|id| {
            Finding::warning(
                "rules.used",
                format!("policy `{id}` is in force nowhere, and no directive will change that"),
                "nobody is judged by it",
                "propose a directive that activates it, if it is meant to act",
            )
        })
        .collect()
}

fn under_way(directives: &[DirectiveState]) -> Vec<Finding> {
    let waits =
        |state: &&DirectiveState| !state.loosening_applied && state.directive.actions.iter().any(Action::loosens);
    directives
        .iter()
        .filter(waits)
        .map(|state| {
            Finding::warning(
                "rules.directives",
                format!("directive `{}` waits: {} of 2 people approved", state.directive.id, state.approvals.len()),
                "what it activates or lifts does not act yet",
                "let a second person approve it with a client of their own",
            )
        })
        .collect()
}

/// What is frozen, and when something changes by itself.
fn changing(world: &World, now: Second) -> Vec<Finding> {
    let mut findings = Vec::new();
    for resource in members(world) {
        let state = state_at(&world.timeline, &world.library.policies, &resource, now);
        if !state.frozen_by.is_empty() {
            findings.push(Finding::warning(
                "rules.frozen",
                format!("`{resource}` is frozen by {}", state.frozen_by.join(", ")),
                "nobody may use it",
                "nothing, if that is wanted; else propose a directive that lifts it",
            ));
        }
        if let Some(next) = state.next_change {
            findings.push(Finding::ok("rules.next", format!("what holds for `{resource}` changes at {next}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;
    use crate::service::world::Gateway;
    use std::sync::Arc;
    use vouchsafe_core::definitions::Pack;
    use vouchsafe_core::policy::{NamedSet, Policy};
    use vouchsafe_core::timeline::{Directive, Entry};

    fn fixture(path: &str) -> String {
        std::fs::read_to_string(format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// One policy for `nationals.api`, in force, and a gateway before it.
    fn world() -> World {
        let mut world = World::default();
        for name in ["us_status@1", "identity@1", "country_now@1", "employer@1", "citizenship@1"] {
            let pack = Pack::from_toml(&fixture(&format!("definitions/{name}.toml"))).unwrap();
            world.library.packs.insert(pack.name(), pack);
        }
        for name in ["annex-a@2026-06-26", "embargoed@2026-11"] {
            let set: NamedSet = toml::from_str(&fixture(&format!("sets/{name}.toml"))).unwrap();
            world.library.sets.insert(set.id.clone(), set);
        }
        let mut policy = Policy::from_toml(&fixture("policies/us_nationals_only.toml")).unwrap();
        policy.write_out_defaults();
        let id = policy.id.clone();
        let gateway = Gateway {
            id: "gw_1".to_owned(),
            name: "g".to_owned(),
            key_sha256: String::new(),
            former_key: None,
            disabled: false,
            resources: policy.resources.clone(),
            audience: "a".to_owned(),
            asserts: false,
            deny_status: 403,
            origin: None,
            help_url: None,
            mode: crate::service::world::Mode::Asks,
            bound_secs: None,
        };
        world.library.policies.insert((id.clone(), 1), policy);
        world.gateways.insert("gw_1".to_owned(), Arc::new(gateway));
        world.timeline.push(Entry {
            seq: 1,
            directive: "open".to_owned(),
            from: Second::from_epoch(100),
            action: Action::Activate { policy: id, version: 1 },
        });
        world
    }

    fn worst(findings: &[Finding], check: &str) -> Level {
        findings.iter().filter(|finding| finding.check == check).map(|finding| finding.level).max().unwrap()
    }

    fn directive(actions: Vec<Action>) -> DirectiveState {
        let directive = Directive {
            id: "d".to_owned(),
            authority: "a".to_owned(),
            citation: "c".to_owned(),
            effective_at: None,
            actions,
        };
        DirectiveState { directive, approvals: Vec::new(), tightening_applied: true, loosening_applied: false }
    }

    #[test]
    fn rules_in_order_give_no_warning_and_each_break_gives_its_own() {
        let now = Second::from_epoch(200);
        let good = check(&world(), &[], now, true);
        assert!(good.iter().all(|finding| finding.level == Level::Ok), "{good:#?}");

        let mut lost = world();
        lost.library.packs.clear();
        assert_eq!(worst(&check(&lost, &[], now, true), "rules.compile"), Level::Failure);

        let mut unknown = world();
        unknown.timeline.push(Entry {
            seq: 2,
            directive: "d2".to_owned(),
            from: now,
            action: Action::Activate { policy: "gone".to_owned(), version: 7 },
        });
        assert_eq!(worst(&check(&unknown, &[], now, true), "rules.compile"), Level::Failure);

        // Before its activation the policy governs nothing; that it is ordered is no idleness.
        let early = check(&world(), &[], Second::from_epoch(50), true);
        assert_eq!(worst(&early, "rules.governed"), Level::Warning);
        assert_eq!(worst(&early, "rules.used"), Level::Ok);
        assert_eq!(worst(&early, "rules.next"), Level::Ok);

        let mut idle = world();
        idle.timeline.clear();
        assert_eq!(worst(&check(&idle, &[], now, true), "rules.used"), Level::Warning);
        let policy = idle.library.policies.keys().next().unwrap().0.clone();
        let waiting = [directive(vec![Action::Activate { policy, version: 1 }])];
        let waits = check(&idle, &waiting, now, true);
        assert_eq!((worst(&waits, "rules.used"), worst(&waits, "rules.directives")), (Level::Ok, Level::Warning));
        let freeze = Action::Freeze(ResourcePattern::parse("x").unwrap());
        assert_eq!(worst(&check(&world(), &[directive(vec![freeze])], now, true), "rules.directives"), Level::Ok);

        let mut frozen = world();
        let resource = frozen.library.policies.values().next().unwrap().resources[0].clone();
        frozen.timeline.push(Entry {
            seq: 2,
            directive: "stop".to_owned(),
            from: now,
            action: Action::Freeze(resource),
        });
        assert_eq!(worst(&check(&frozen, &[], now, true), "rules.frozen"), Level::Warning);
    }

    #[test]
    fn a_policy_that_asks_for_the_network_needs_a_database() {
        let mut world = world();
        let mut policy = Policy::from_toml(&fixture("policies/embargo.toml")).unwrap();
        policy.write_out_defaults();
        assert!(policy.definitions.iter().any(|name| name.starts_with("country_now@")), "the fixture asks for it");
        world.library.policies.insert((policy.id.clone(), 1), policy);
        let asked = |networks: bool| {
            let found = check(&world, &[], Second::from_epoch(200), networks);
            found.iter().any(|finding| finding.check == "rules.networks")
        };
        assert!(asked(false) && !asked(true));
    }
}
