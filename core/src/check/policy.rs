//! Everything that is wrong with a policy, given the packs and sets there are.

use super::{Finding, burden, meant, name_ok};
use crate::definitions::{Pack, Proves, Row, Shape, Weights};
use crate::document::{listed, step};
use crate::facts::{Grade, Kind, SourceKind};
use crate::fusion::{GATE_UNITS, Opinion, discounted, units};
use crate::policy::{Criterion, EndUser, Exemption, MAX_CHAIN, Members, Of, Policy, Test, WhenUnknown, source_of};
use crate::rules::Library;
use crate::second::DAY;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn findings(policy: &Policy, library: &Library) -> Vec<Finding> {
    let mut findings = head(policy);
    let (pinned, unknown) = pinned(policy, library);
    findings.extend(unknown);
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    let main = policy.criteria.iter().enumerate().map(|(index, criterion)| (format!("/criteria/{index}"), criterion));
    let own = policy.exemptions.iter().enumerate().flat_map(|(index, exemption)| {
        let of = move |(inner, criterion)| (format!("/exemptions/{index}/criteria/{inner}"), criterion);
        exemption.criteria.iter().enumerate().map(of)
    });
    for (at, criterion) in main.chain(own) {
        let place = format!("{at}/id");
        if !name_ok(&criterion.id) {
            findings.push(Finding::refused(place, "use 1 to 64 of `a-z 0-9 - _`"));
        } else if !ids.insert(&criterion.id) {
            findings.push(Finding::refused(place, format!("the id `{}` stands twice", criterion.id)));
        }
        match pinned.get(criterion.frame.as_str()) {
            Some(pack) => findings.extend(self::criterion(criterion, pack, library, &at)),
            None => findings.push(unpinned(criterion, &pinned, library, &at)),
        }
    }
    for (index, exemption) in policy.exemptions.iter().enumerate() {
        findings.extend(self::exemption(policy, exemption, &mut ids, &format!("/exemptions/{index}")));
    }
    findings
}

/// What stands outside the criteria.
fn head(policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |pointer: &str, problem: &str, advice: &str| {
        findings.push(Finding::refused(pointer, problem).advise(advice));
    };
    if !name_ok(&policy.id) {
        refuse("/id", "not a name", "use 1 to 64 of `a-z 0-9 - _`");
    }
    if policy.title.trim().is_empty() {
        refuse("/title", "is empty", "say in one line whom it lets in");
    }
    if policy.resources.is_empty() {
        refuse("/resources", "names no resource", "name one such as `restricted.api`, or a family, `restricted.*`");
    }
    if policy.criteria.is_empty() {
        refuse("/criteria", "a policy without criteria would let everybody in", "add one");
    }
    if policy.authority.is_some() && policy.applies_in.is_empty() {
        let advice = "say where this rule may be applied, for example `applies_in = [\"US\"]`";
        refuse("/authority", "an authority needs `applies_in`", advice);
    }
    if let Some(authority) = &policy.authority
        && (authority.name.trim().is_empty() || authority.citation.trim().is_empty())
    {
        refuse("/authority", "name and citation are needed", "say who ordered it and where that can be read");
    }
    if policy.end_user == EndUser::Required
        && let Some(criterion) = policy.criteria.iter().find(|criterion| criterion.of == Of::ActingFor)
    {
        let problem = format!(
            "criterion `{}` asks about the organisation acted for, and an end user acts for nobody: only organisations can be end users",
            criterion.id
        );
        findings.push(Finding::warning("/end_user", problem).advise("ask it of the subject, or use `vouched`"));
    }
    let alpha2 = |code: &&String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    if let Some(code) = policy.applies_in.iter().find(|code| !alpha2(code)) {
        let problem = format!("`{code}` is not a country");
        findings.push(
            Finding::refused("/applies_in", problem).item(code).advise("use ISO 3166-1 alpha-2, for example `US`"),
        );
    }
    for (member, span) in [("max_ttl", policy.max_ttl), ("token_ttl", policy.token_ttl)] {
        if span.secs() < 1 {
            findings.push(Finding::refused(format!("/{member}"), "must be at least `1s`"));
        }
    }
    if policy.token_ttl > policy.max_ttl && policy.max_ttl.secs() > 0 {
        let problem = "is longer than `max_ttl`, so it never takes effect";
        findings.push(Finding::warning("/token_ttl", problem).advise("make it at most as long"));
    }
    if policy.outage_grace.is_some_and(|grace| grace.secs() > DAY) {
        findings.push(Finding::refused("/outage_grace", "must not exceed `24h`"));
    }
    findings
}

/// The packs that the policy pins, by frame.
fn pinned<'l>(policy: &Policy, library: &'l Library) -> (BTreeMap<&'l str, &'l Pack>, Vec<Finding>) {
    let mut pinned: BTreeMap<&str, &Pack> = BTreeMap::new();
    let mut findings = Vec::new();
    for name in &policy.definitions {
        let finding = |problem: String| Finding::refused("/definitions", problem).item(name);
        match library.packs.get(name) {
            Some(pack) => {
                if pinned.insert(&pack.id, pack).is_some() {
                    findings.push(finding(format!("two versions of pack `{}`", pack.id)).advise("pin one"));
                }
                // A frame that is misspelt is told there, and not here again.
                let all_found = policy.all_criteria().all(|c| library.packs.values().any(|p| p.id == c.frame));
                if all_found && !policy.all_criteria().any(|criterion| criterion.frame == pack.id) {
                    let problem = format!("no criterion looks at frame `{}`", pack.id);
                    findings.push(Finding::warning("/definitions", problem).item(name).advise("unpin the pack"));
                }
            }
            None => {
                let known: Vec<&str> = library.packs.keys().map(String::as_str).collect();
                let else_say = format!("there are {}", listed(&known));
                findings.push(finding(format!("no pack `{name}` is known")).advise(meant(name, known, &else_say)));
            }
        }
    }
    (pinned, findings)
}

fn unpinned(criterion: &Criterion, pinned: &BTreeMap<&str, &Pack>, library: &Library, at: &str) -> Finding {
    let frame = &criterion.frame;
    let newest = library.packs.values().filter(|pack| pack.id == *frame).max_by_key(|pack| pack.version);
    let finding = Finding::refused(
        format!("{at}/frame"),
        format!("criterion `{}`: no pack for frame `{frame}` is pinned", criterion.id),
    );
    finding.advise(match newest {
        Some(pack) => format!("add `{}` to `definitions`", pack.name()),
        None => {
            let known = pinned.keys().copied().chain(library.packs.values().map(|pack| pack.id.as_str()));
            meant(frame, known.collect::<Vec<_>>(), "commit a pack for it, or name another frame")
        }
    })
}

fn exemption<'p>(policy: &Policy, exemption: &'p Exemption, ids: &mut BTreeSet<&'p str>, at: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let place = format!("{at}/id");
    if !name_ok(&exemption.id) {
        findings.push(Finding::refused(place, "use 1 to 64 of `a-z 0-9 - _`"));
    } else if !ids.insert(&exemption.id) {
        findings.push(Finding::refused(place, format!("the id `{}` stands twice", exemption.id)));
    }
    let waives = format!("{at}/waives");
    if exemption.waives.is_empty() {
        findings.push(
            Finding::refused(waives.clone(), format!("exemption `{}` waives nothing", exemption.id))
                .advise("name the criteria it replaces"),
        );
    }
    if exemption.criteria.is_empty() {
        findings.push(
            Finding::refused(format!("{at}/criteria"), format!("exemption `{}` asks nothing instead", exemption.id))
                .advise("give it criteria of its own: who falls under it must be proved"),
        );
    }
    let known: Vec<&str> = policy.criteria.iter().map(|criterion| criterion.id.as_str()).collect();
    for unknown in exemption.waives.iter().filter(|id| !known.contains(&id.as_str())) {
        let else_say = format!("there are {}", listed(&known));
        findings.push(
            Finding::refused(waives.clone(), format!("waives `{unknown}`, which is no criterion of this policy"))
                .item(unknown)
                .advise(meant(unknown, known.iter().copied(), &else_say)),
        );
    }
    findings
}

fn criterion(criterion: &Criterion, pack: &Pack, library: &Library, at: &str) -> Vec<Finding> {
    let who = format!("criterion `{}`", criterion.id);
    let mut findings = sets(criterion, library, at);
    if !criterion.thresholds().sound() {
        findings.push(
            Finding::refused(at, format!("{who}: thresholds that cannot be used"))
                .advise("they need 0 < material <= ineligible_at < 1 and 0 < eligible_at < 1"),
        );
        return findings;
    }
    if criterion.members().count() != 1 {
        let problem = format!("{who}: {} tests", criterion.members().count());
        let advice = "give exactly one of `allow`, `deny`, `any_of`, `none_of`, `none_of_except`";
        findings.push(Finding::refused(at, problem).advise(advice));
    }
    let Some(test) = criterion.test(&library.sets) else { return findings };
    let place = format!("{at}/{}", test_name(&test));
    let list = members(&test);
    if list.is_empty() {
        findings.push(Finding::refused(place.clone(), format!("{who}: the list is empty")).advise("name at least one"));
    }
    match (&test, &pack.shape) {
        (Test::Allow(_) | Test::Deny(_), Shape::State { states }) => {
            let known: Vec<&str> = states.iter().map(String::as_str).collect();
            for unknown in list.iter().filter(|state| !states.contains(*state)) {
                let else_say = format!("the states are {}", listed(&known));
                findings.push(
                    Finding::refused(place.clone(), format!("{who}: `{unknown}` is not a state of `{}`", pack.id))
                        .item(unknown)
                        .advise(meant(unknown, known.iter().copied(), &else_say)),
                );
            }
            if states.is_subset(list) {
                let advice = "leave out at least one: whoever is let in whatever they prove need not be asked";
                let problem = format!("{who}: names every state of the frame");
                findings.push(Finding::refused(place.clone(), problem).advise(advice));
            }
        }
        (Test::NoneOf(_), Shape::Shares)
        | (Test::Allow(_) | Test::Deny(_), Shape::OpenState)
        | (Test::AnyOf(_) | Test::NoneOf(_) | Test::NoneOfExcept(_), Shape::Membership) => {}
        (_, Shape::Membership) => findings.push(
            Finding::refused(place.clone(), format!("{who}: `{}` is a membership frame", pack.id))
                .advise("ask with `any_of`, `none_of` or `none_of_except`"),
        ),
        (_, Shape::Shares) => findings.push(
            Finding::refused(place.clone(), format!("{who}: `{}` is a frame of shares", pack.id))
                .advise("ask with `none_of`: whose shares must not come to `aggregate`"),
        ),
        _ => findings.push(
            Finding::refused(place.clone(), format!("{who}: `{}` is a frame of states", pack.id))
                .advise("ask with `allow` or `deny`"),
        ),
    }
    findings.extend(reach(criterion, pack, &who, at));
    findings.extend(countries(pack, list, &who, &place));
    if matches!(test, Test::NoneOfExcept(_)) && criterion.when_unknown != WhenUnknown::Allow {
        let problem = format!("{who}: `none_of_except` can never be proved for every key");
        findings.push(Finding::refused(place, problem).advise("set `when_unknown = \"allow\"`"));
    }
    if findings.is_empty() {
        let weights = library.weights.clone().with(pack);
        match unreachable(criterion, pack, &weights, &test, at) {
            Some(finding) => findings.push(finding),
            None => findings.extend(burden::finding(criterion, pack, &weights, &test, at)),
        }
    }
    findings
}

/// How far the criterion looks beyond the party itself: along contracts, and along shares.
fn reach(criterion: &Criterion, pack: &Pack, who: &str, at: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let chain = format!("{at}/chain");
    if !(1..=MAX_CHAIN).contains(&criterion.chain) {
        findings.push(Finding::refused(chain, format!("{who}: `chain` is from 1 to {MAX_CHAIN}")));
    } else if criterion.chain > 1 && pack.shape != Shape::Membership {
        let problem = format!("{who}: only memberships are followed along a chain");
        findings.push(Finding::refused(chain, problem).advise("leave `chain` out"));
    }
    let place = format!("{at}/aggregate");
    match (&criterion.aggregate, pack.shape == Shape::Shares) {
        (None, true) => findings.push(
            Finding::refused(place, format!("{who}: from which share on do owners count?"))
                .advise("add `aggregate = { at = \"50%\", along = \"control\" }`"),
        ),
        (Some(_), false) => findings.push(
            Finding::refused(place, format!("{who}: `{}` is no frame of shares", pack.id))
                .advise("leave `aggregate` out"),
        ),
        (Some(aggregate), true) if !aggregate.at.is_threshold() => findings.push(
            Finding::refused(format!("{place}/at"), format!("{who}: no share to measure by"))
                .advise("give more than nothing and at most the whole, for example `50%`"),
        ),
        _ => {}
    }
    if criterion.live && criterion.of != Of::Subject {
        let problem = format!("{who}: a request shows nothing about the organisation acted for");
        findings.push(Finding::refused(format!("{at}/of"), problem).advise("leave out `live` or `of`"));
    }
    findings
}

fn sets(criterion: &Criterion, library: &Library, at: &str) -> Vec<Finding> {
    let tests = [
        ("allow", &criterion.allow),
        ("deny", &criterion.deny),
        ("any_of", &criterion.any_of),
        ("none_of", &criterion.none_of),
        ("none_of_except", &criterion.none_of_except),
    ];
    let mut findings = Vec::new();
    for (member, members) in tests {
        let Some(Members::Set(name)) = members else { continue };
        let place = step(at, member);
        let Some(key) = name.strip_prefix("set:") else {
            let problem = format!("`{name}` is neither a list nor a set");
            findings.push(Finding::refused(place, problem).advise("write `[\"…\"]` or `set:name@date`"));
            continue;
        };
        let known: Vec<&str> = library.sets.keys().map(String::as_str).collect();
        if !key.contains('@') {
            let newest = known.iter().filter(|id| id.split_once('@').is_some_and(|(name, _)| name == key)).max();
            let advice = newest.map_or("write `set:name@date`".to_owned(), |id| format!("write `set:{id}`"));
            findings.push(Finding::refused(place, format!("set `{key}` has no date")).advise(advice));
        } else if !library.sets.contains_key(key) {
            let else_say = "commit the set first: a name, a date, a source and its members";
            findings
                .push(Finding::refused(place, format!("no set `{key}` is known")).advise(meant(key, known, else_say)));
        }
    }
    findings
}

/// Names that no evidence can ever carry: countries that are not written as evidence writes them.
fn countries(pack: &Pack, list: &BTreeSet<String>, who: &str, place: &str) -> Vec<Finding> {
    if !pack.rows.iter().any(|row| matches!(row.proves, Proves::Nationalities | Proves::ExitCountry)) {
        return Vec::new();
    }
    let alpha3 = |code: &&String| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    list.iter()
        .filter(|code| !alpha3(code))
        .map(|code| {
            Finding::refused(place, format!("{who}: `{code}` is not a country, so nobody's evidence names it"))
                .item(code)
                .advise("use ISO 3166-1 alpha-3, for example `IRN`")
        })
        .collect()
}

pub(crate) fn test_name(test: &Test<'_>) -> &'static str {
    match test {
        Test::Allow(_) => "allow",
        Test::Deny(_) => "deny",
        Test::AnyOf(_) => "any_of",
        Test::NoneOf(_) => "none_of",
        Test::NoneOfExcept(_) => "none_of_except",
    }
}

pub(crate) fn members<'a>(test: &Test<'a>) -> &'a BTreeSet<String> {
    let (Test::Allow(list) | Test::Deny(list) | Test::AnyOf(list) | Test::NoneOf(list) | Test::NoneOfExcept(list)) =
        test;
    list
}

fn unreachable(criterion: &Criterion, pack: &Pack, weights: &Weights, test: &Test<'_>, at: &str) -> Option<Finding> {
    if criterion.when_unknown == WhenUnknown::Allow {
        return None;
    }
    let who = format!("criterion `{}`: nobody can reach it", criterion.id);
    if !gate_opens(criterion, pack, weights, test) {
        let problem = format!("{who}: no admitted source can open its gate");
        return Some(
            Finding::refused(format!("{at}/gate"), problem).advise("lower `grade`, or admit more kinds in `from`"),
        );
    }
    let reach = highest_belief(pack, weights, test);
    (reach < criterion.eligible_at).then(|| {
        let problem = format!(
            "{who}: the best item of each admitted source together give belief {reach:.3}, `eligible_at` is {}",
            criterion.eligible_at
        );
        Finding::refused(format!("{at}/eligible_at"), problem)
            .advise("lower `eligible_at`, or use a pack whose rows and trust can carry it")
    })
}

/// Highest belief that admitted sources can give: each kind of source gives its best item that the pack takes as support, and
/// they are independent.
pub(crate) fn highest_belief(pack: &Pack, weights: &Weights, test: &Test<'_>) -> f64 {
    let mut best: BTreeMap<SourceKind, f64> = BTreeMap::new();
    for row in pack.rows.iter().filter(|row| can_support(pack, row, test)) {
        for kind in kinds(row) {
            if let Some((source, e)) =
                source_of(kind).and_then(|source| Some((source, fresh(pack, weights, row, source)?)))
            {
                let held = best.entry(source).or_insert(0.0);
                *held = held.max(e);
            }
        }
    }
    // An empty `sum` is -0, which would be told.
    Opinion::new(best.values().fold(0.0, |sum, e| sum + e), 0.0).b
}

fn gate_opens(criterion: &Criterion, pack: &Pack, weights: &Weights, test: &Test<'_>) -> bool {
    criterion.gate.as_ref().is_none_or(|gate| {
        pack.rows.iter().filter(|row| can_support(pack, row, test)).any(|row| {
            kinds(row).intersection(&gate.from).filter_map(|kind| source_of(*kind)).any(|source| {
                grade_cap(source, pack) >= gate.grade
                    && fresh(pack, weights, row, source).is_some_and(|e| e >= GATE_UNITS)
            })
        })
    })
}

/// Units of the best item that a source of this kind can give by this row, fresh.
fn fresh(pack: &Pack, weights: &Weights, row: &Row, source: SourceKind) -> Option<f64> {
    let q = |source: SourceKind| {
        let trust = weights.trust(source, &pack.id)?;
        Some(discounted(weights.sigma(grade_cap(source, pack)), trust, weights.cap))
    };
    weights.classes.get(&row.class)?;
    let mut least = q(source)?;
    // A compound row is as weak as its weakest part.
    for part in &row.all_of {
        let of_part = part.when.kind.iter().filter_map(|kind| q(source_of(*kind)?));
        least = least.min(of_part.fold(0.0, f64::max));
    }
    Some(units(least))
}

/// Highest grade that a source of a kind that normally speaks (see [`source_of`]) can have in the pack's frame.
pub(super) fn grade_cap(source: SourceKind, pack: &Pack) -> Grade {
    match source {
        SourceKind::Subject => Grade::SelfDeclared,
        SourceKind::Employer if pack.shape != Shape::Membership => Grade::Fair,
        SourceKind::Network => Grade::Strong,
        _ => Grade::Superior,
    }
}

/// Kinds of statement that can match the row; of a compound row, those of the part that proves.
pub(crate) fn kinds(row: &Row) -> BTreeSet<Kind> {
    const ALL: [Kind; 7] = [
        Kind::DocumentCheck,
        Kind::Registry,
        Kind::Review,
        Kind::Vouch,
        Kind::Directory,
        Kind::Declaration,
        Kind::Observation,
    ];
    let when = row.when.as_ref().or_else(|| row.all_of.iter().find(|part| part.proves).map(|part| &part.when));
    match when {
        Some(when) if !when.kind.is_empty() => when.kind.clone(),
        _ => BTreeSet::from(ALL),
    }
}

/// Whether an item of the row can support the test.
pub(crate) fn can_support(pack: &Pack, row: &Row, test: &Test<'_>) -> bool {
    match (&row.proves, test) {
        (Proves::States { states }, Test::Allow(list)) => {
            states.is_subset(list) && !matches!(&pack.shape, Shape::State { states: all } if all == states)
        }
        (Proves::States { states }, Test::Deny(list)) => states.is_disjoint(list),
        (Proves::Statement | Proves::ExitCountry, Test::Allow(_) | Test::Deny(_)) => true,
        // Membership: an organisation says yes or no, a passport only ever yes.
        (Proves::Organisation, Test::AnyOf(_) | Test::NoneOf(_) | Test::NoneOfExcept(_))
        | (Proves::Nationalities, Test::AnyOf(_))
        | (Proves::Owners, Test::NoneOf(_)) => true,
        _ => false,
    }
}
