//! Each thing that can be wrong with rules is told with its line, its column and what to do, all of them at once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where a production path must not")]

mod support;

use serde_json::json;
use vouchsafe_core::check::{Finding, Level};
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::document::Document;
use vouchsafe_core::policy::{NamedSet, Policy};

const POLICY: &str = r#"id = "base"
title = "A base to break"
resources = ["base.*"]
definitions = ["us_status@1", "identity@1", "employer@1", "citizenship@1"]
applies_in = ["US"]
max_ttl = "90d"

[authority]
name = "Somebody"
citation = "Some law"

[[criteria]]
id = "us-status"
frame = "us_status"
allow = ["citizen", "lpr"]
eligible_at = 0.85
gate = { grade = "STRONG", from = ["document_check", "registry"] }

[[criteria]] # second
id = "identity"
frame = "identity"
allow = ["proofed"]
eligible_at = 0.85

[[criteria]]
id = "sole"
frame = "citizenship"
none_of_except = ["USA"]
when_unknown = "allow"

[[exemptions]]
id = "listed"
waives = ["us-status"]
[[exemptions.criteria]]
id = "works-there"
frame = "employer"
any_of = "set:annex-a@2026-06-26"
eligible_at = 0.6
"#;

fn policy(text: &str) -> Vec<Finding> {
    match Document::from_toml(text) {
        Ok(mut document) => Policy::examine(&mut document, &support::library()).1,
        Err(findings) => findings,
    }
}

fn pack(text: &str) -> Vec<Finding> {
    let mut document = Document::from_toml(text).unwrap_or_else(|findings| panic!("{findings:?}"));
    Pack::examine(&mut document, &support::library()).1
}

/// Line and column of `mark` in a text, counted by hand: the column of the mark's first character.
fn at(text: &str, mark: &str) -> (usize, usize) {
    let (line, held) = text.lines().enumerate().find(|(_, line)| line.contains(mark)).unwrap();
    (line + 1, held.split(mark).next().unwrap().chars().count() + 1)
}

/// Breaks `POLICY` in one place and expects one finding, at `mark`, that says all of `words`.
fn breaks(from: &str, to: &str, mark: &str, words: &[&str]) {
    assert!(POLICY.contains(from), "`{from}` is not in the base");
    one(&POLICY.replacen(from, to, 1), mark, words, policy);
}

fn one(text: &str, mark: &str, words: &[&str], examine: fn(&str) -> Vec<Finding>) {
    let findings = examine(text);
    assert_eq!(findings.len(), 1, "{mark}: {findings:#?}");
    for finding in &findings {
        let place = finding.place.unwrap();
        assert_eq!((place.line, place.column), at(text, mark), "{finding:#?}");
        for word in words {
            assert!(finding.to_string().contains(word), "{word}: {finding}");
        }
    }
}

#[test]
fn the_base_has_nothing_wrong() {
    assert_eq!(policy(POLICY), []);
}

#[test]
fn a_misspelt_member_is_told_with_the_one_that_was_meant() {
    breaks("allow = [\"citizen\"", "alow = [\"citizen\"", "alow", &["unknown member `alow`", "did you mean `allow`?"]);
    breaks("max_ttl", "max_tll", "max_tll", &["did you mean `max_ttl`?"]);
    breaks("title =", "colour = \"red\"\ntitle =", "colour", &["unknown member `colour`", "remove it"]);
    breaks("grade = \"STRONG\"", "grade = \"STRNG\"", "\"STRNG\"", &["did you mean `STRONG`?"]);
    breaks("\"registry\"]", "\"registy\"]", "\"registy\"", &["did you mean `registry`?"]);
}

#[test]
fn a_missing_or_wrong_member_is_told() {
    breaks("title = \"A base to break\"\n", "", "id = \"base\"", &["member `title` is missing"]);
    breaks("eligible_at = 0.85\ngate", "eligible_at = \"high\"\ngate", "\"high\"", &["must be a number"]);
    breaks("max_ttl = \"90d\"", "max_ttl = \"a year\"", "\"a year\"", &["not a length of time such as `90d`"]);
    breaks("allow = [\"proofed\"]", "allow = 3", "3", &["a list of names, or one set"]);
    breaks("resources = [\"base.*\"]", "resources = [\"Base.*\"]", "\"Base.*\"", &[]);
}

#[test]
fn unknown_packs_frames_states_and_sets_are_told_with_what_there_is() {
    breaks("\"us_status@1\",", "\"us_status@1\", \"us_statu@1\",", "\"us_statu@1\"", &["did you mean `us_status@1`?"]);
    breaks(
        "\"employer@1\", ",
        "",
        "\"employer\"",
        &["no pack for frame `employer`", "add `employer@1` to `definitions`"],
    );
    breaks("frame = \"identity\"", "frame = \"identiti\"", "\"identiti\"", &["did you mean `identity`?"]);
    breaks(
        "\"lpr\"]",
        "\"lpr\", \"citzen\"]",
        "\"citzen\"",
        &["not a state of `us_status`", "did you mean `citizen`?"],
    );
    breaks("annex-a@2026-06-26", "annex-b@2026-06-26", "\"set:annex-b", &["did you mean `annex-a@2026-06-26`?"]);
    breaks("annex-a@2026-06-26", "annex-a", "\"set:annex-a\"", &["has no date", "write `set:annex-a@2026-06-26`"]);
    breaks("\"set:annex-a@2026-06-26\"", "\"annex-a\"", "\"annex-a\"", &["neither a list nor a set"]);
    breaks("waives = [\"us-status\"]", "waives = [\"us-statu\"]", "\"us-statu\"", &["did you mean `us-status`?"]);
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    breaks("allow = [\"proofed\"]", "allow = []", "[]", &["criterion `identity`: the list is empty"]);
    breaks("[\"proofed\"]", "[\"proofed\", \"not_proofed\"]", "[\"proofed\"", &["names every state of the frame"]);
    breaks(
        "[\"proofed\"]",
        "[\"proofed\"] #\ndeny = [\"not_proofed\"]",
        "[[criteria]] # second",
        &["2 tests", "exactly one"],
    );
    breaks("applies_in = [\"US\"]\n", "", "[authority]", &["an authority needs `applies_in`"]);
    breaks("applies_in = [\"US\"]", "applies_in = [\"USA\"]", "\"USA\"", &["`USA` is not a country", "alpha-2"]);
    breaks("none_of_except = [\"USA\"]", "none_of_except = [\"U.S\"]", "\"U.S\"", &["alpha-3"]);
    breaks("when_unknown = \"allow\"", "", "[\"USA\"]", &["can never be proved for every key"]);
    breaks("resources = [\"base.*\"]", "resources = []", "[]", &["names no resource"]);
    breaks("waives = [\"us-status\"]", "waives = []", "[]", &["waives nothing"]);
    breaks("any_of = \"set", "allow = \"set", "\"set:annex", &["is a membership frame", "`any_of`"]);
    breaks("eligible_at = 0.6", "eligible_at = 1.6", "[[exemptions.criteria]]", &["thresholds that cannot be used"]);
    breaks("max_ttl = \"90d\"", "max_ttl = \"0s\"", "\"0s\"", &["at least `1s`"]);
    breaks("max_ttl = \"90d\"", "outage_grace = \"25h\"", "\"25h\"", &["must not exceed `24h`"]);
}

#[test]
fn a_criterion_that_nobody_can_reach_is_refused_with_the_arithmetic() {
    // One item of each source the pack takes: register .98 x .99 = .9702 (65.11 units), document and reviewer
    // .98 x .97 = .9506 (38.49 each), employer's vouch .65 x .85 = .5525 (2.47), own word .2 x .5 = .1 (.22);
    // together 144.78 units, belief 144.78 / 146.78 = .986.
    breaks("eligible_at = 0.85\ngate", "eligible_at = 0.987\ngate", "0.987", &["nobody can reach it", "belief 0.986"]);
    let text = POLICY.replacen("eligible_at = 0.85\ngate", "eligible_at = 0.986\ngate", 1);
    assert_eq!(policy(&text), []);
    // Only a vouch is admitted, and an employer's word about status is FAIR at most.
    breaks(
        "from = [\"document_check\", \"registry\"]",
        "from = [\"vouch\"]",
        "{ grade",
        &["no admitted source can open its gate"],
    );
    // A passport says yes to a country, never no, so that nobody has another citizenship cannot be proved.
    let text = POLICY.replacen("none_of_except = [\"USA\"]\nwhen_unknown = \"allow\"", "none_of = [\"IRN\"]", 1);
    let findings = policy(&text);
    assert!(findings.iter().any(|f| f.problem.contains("criterion `sole`: nobody can reach it")), "{findings:#?}");
}

/// Two states, one proved by documents that fade sooner.
const PACK: &str = r#"id = "badge"
version = 1
source = "made up"
shape = { type = "state", states = ["red", "blue", "none"] }
transitions = [["none", "red"]]

[trust]
registry = 0.99
document_vendor = 0.97

[classes."badge.short"]
grace = "30d"
half_life = "100d"

[[rows]]
id = "red_badge"
class = "status_document"
when = { kind = ["document_check"], document_type = ["red_badge"] }
proves = { by = "states", states = ["red"] }

[[rows]]
id = "blue_badge"
class = "badge.short"
when = { kind = ["document_check"], document_type = ["blue_badge"] }
proves = { by = "states", states = ["blue"] }
"#;

#[test]
fn one_lawful_status_asked_again_sooner_than_another_is_warned_of() {
    let mut library = support::library();
    let read = Pack::from_toml(PACK).unwrap();
    library.packs.insert(read.name(), read);
    let text = "id = \"badges\"\ntitle = \"Badges\"\nresources = [\"badges\"]\ndefinitions = [\"badge@1\"]\n\n[[criteria]]\nid = \"badge\"\nframe = \"badge\"\nallow = [\"red\", \"blue\"]\neligible_at = 0.85\n";
    let (policy, findings) = Policy::examine(&mut Document::from_toml(text).unwrap(), &library);
    assert!(policy.is_some(), "a warning refuses nothing");
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Warning], "{told:?}");
    // STRONG by a vendor is 16.587 units, 11.333 are needed: log2(16.587 / 11.333) = .5495 half-lives.
    // Short: 30 + 54.9 days; status document: 90 + 200.6 days.
    assert!(
        told.iter().any(|t| t.contains("`blue`") && t.contains("after 84 days") && t.contains("`red` after 290 days")),
        "{told:?}"
    );
    // Where both age alike there is nothing to say.
    let mut alike = library.clone();
    let mut pack = Pack::from_toml(PACK).unwrap();
    for row in &mut pack.rows {
        row.class = "badge.short".to_owned();
    }
    alike.packs.insert(pack.name(), pack);
    assert_eq!(Policy::examine(&mut Document::from_toml(text).unwrap(), &alike).1, []);
}

fn breaks_pack(from: &str, to: &str, mark: &str, words: &[&str]) {
    assert!(PACK.contains(from), "`{from}` is not in the base");
    one(&PACK.replacen(from, to, 1), mark, words, pack);
}

#[test]
fn what_is_wrong_with_a_pack_is_told_where_it_stands() {
    assert_eq!(pack(PACK), []);
    breaks_pack(
        "[\"none\", \"red\"]",
        "[\"none\", \"redd\"]",
        "\"redd\"",
        &["not a state of the frame", "did you mean `red`?"],
    );
    breaks_pack(
        "class = \"status_document\"",
        "class = \"status_documents\"",
        "\"status_documents\"",
        &["did you mean `status_document`?"],
    );
    breaks_pack("id = \"blue_badge\"", "id = \"red_badge\" #", "\"red_badge\" #", &["stands twice"]);
    breaks_pack("states = [\"blue\"] }", "states = [] }", "[] }", &["proves no state"]);
    breaks_pack(
        "by = \"states\", states = [\"blue\"]",
        "by = \"organisation\"",
        "{ by = \"organisation\"",
        &["does not fit the frame's shape"],
    );
    breaks_pack("registry = 0.99", "registry = 1.0", "1.0", &["between 0 and 1"]);
    breaks_pack(
        "document_vendor = 0.97",
        "document_vender = 0.97",
        "document_vender",
        &["did you mean `document_vendor`?"],
    );
    breaks_pack("half_life = \"100d\"", "half_life = \"0s\"", "\"0s\"", &["worth nothing after its grace"]);
    breaks_pack("version = 1", "version = 0", "0", &["count from 1"]);
    breaks_pack("source = \"made up\"", "source = \" \"", "\" \"", &["where the definitions come from"]);
    let text = PACK.replace("badge.short", "short");
    one(&text, "\"short\"]", &["could be taken for another pack's", "`\"badge.…\"`"], pack);
}

#[test]
fn a_set_is_named_dated_and_has_a_source() {
    let set = |text: &str| NamedSet::examine(&mut Document::from_toml(text).unwrap()).1;
    let text = "id = \"listed@2026-11\"\nas_of = \"2026-11-03\"\nsource = \"a gazette\"\nmembers = [\"org_a\"]\n";
    assert_eq!(set(text), []);
    for (from, to, problem) in [
        ("listed@2026-11", "listed", "/id"),
        ("\"2026-11-03\"", "\"2026-10-03\"", "/as_of"),
        ("\"2026-11-03\"", "\"2026-11-33\"", "/as_of"),
        ("a gazette", "", "/source"),
        ("\"org_a\"", "", "/members"),
    ] {
        let findings = set(&text.replacen(from, to, 1));
        assert_eq!(findings.iter().map(|f| f.pointer.as_str()).collect::<Vec<_>>(), [problem], "{from} to {to}");
    }
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_the_text() {
    let text = POLICY
        .replacen("title =", "titel =", 1)
        .replacen("[\"US\"]", "[\"USA\"]", 1)
        .replacen("\"lpr\"]", "\"lpz\"]", 1)
        .replacen("waives = [\"us-status\"]", "waives = [\"status\"]", 1);
    let findings = policy(&text);
    let lines: Vec<usize> = findings.iter().filter_map(|finding| finding.place).map(|place| place.line).collect();
    let expected = ["titel", "\"USA\"", "\"lpz\"", "\"status\""].map(|mark| at(&text, mark).0);
    assert_eq!(lines, expected, "{findings:#?}");
}

#[test]
fn what_stands_in_a_misspelt_member_is_looked_at_as_what_was_meant() {
    let text = POLICY.replacen("allow = [\"citizen\", \"lpr\"]", "alow = [\"citizen\", \"lpz\"]", 1);
    let places: Vec<(usize, usize)> =
        policy(&text).iter().filter_map(|finding| finding.place).map(|place| (place.line, place.column)).collect();
    assert_eq!(places, [at(&text, "alow"), at(&text, "\"lpz\"")]);
}

#[test]
fn text_that_is_no_toml_is_told_with_its_place() {
    let text = POLICY.replacen("id = \"base\"", "id = base\"", 1);
    let findings = policy(&text);
    assert!(findings.iter().all(|f| f.problem.starts_with("not TOML") && f.place.is_some()), "{findings:#?}");
    assert!(findings.iter().any(|f| f.place.unwrap().line == 1));
    let twice = POLICY.replacen("title =", "id = \"again\"\ntitle =", 1);
    one(&twice, "id = \"again\"", &["duplicate key"], policy);
}

#[test]
fn the_same_rules_as_json_are_told_by_pointer() {
    let mut value = Document::from_toml(POLICY).unwrap().value;
    assert_eq!(Policy::examine(&mut Document::from_json(value.clone()), &support::library()).1, []);
    *value.pointer_mut("/criteria/0/allow").unwrap() = json!(["citizen", "lpz"]);
    let findings = Policy::examine(&mut Document::from_json(value), &support::library()).1;
    assert_eq!(findings.iter().map(|f| f.pointer.as_str()).collect::<Vec<_>>(), ["/criteria/0/allow/1"]);
}

#[test]
fn a_text_with_more_wrong_than_anybody_reads_is_refused_soon() {
    let text = format!("{}{POLICY}", (0..5000).map(|n| format!("zzz{n} = 1\n")).collect::<String>());
    let findings = policy(&text);
    assert_eq!(findings.len(), 200);
    assert!(vouchsafe_core::check::refused(&findings));
}

/// One finding about `OWNED` after a change, at `mark`.
fn owned(from: &str, to: &str, mark: &str, words: &[&str]) {
    const OWNED: &str = "id = \"owned\"\ntitle = \"Owned\"\nresources = [\"owned\"]\ndefinitions = [\"ownership@1\"]\n\n[[criteria]]\nid = \"owners\"\nframe = \"ownership\"\nof = \"acting_for\"\nnone_of = [\"org_a\"]\naggregate = { at = \"50%\", along = \"control\" }\n";
    assert!(policy(OWNED).is_empty() && OWNED.contains(from));
    one(&OWNED.replacen(from, to, 1), mark, words, policy);
}

#[test]
fn a_test_that_does_not_fit_its_frame_is_refused() {
    breaks(
        "allow = [\"proofed\"]",
        "any_of = [\"proofed\"]",
        "[\"proofed\"]",
        &["is a frame of states", "`allow` or `deny`"],
    );
    owned("none_of", "any_of", "[\"org_a\"]", &["is a frame of shares", "ask with `none_of`"]);
    owned("aggregate = { at = \"50%\", along = \"control\" }", "", "[[criteria]]", &["from which share on"]);
    owned("\"50%\"", "\"0%\"", "\"0%\"", &["no share to measure by"]);
    owned("\"50%\"", "\"unknown\"", "\"unknown\"", &["no share to measure by"]);
    let identity = "allow = [\"proofed\"]";
    let more = |line: &str| format!("{identity}\n{line}");
    breaks(identity, &more("aggregate = { at = \"50%\", along = \"product\" }"), "{ at", &["is no frame of shares"]);
    breaks(identity, &more("chain = 2 # links"), "2 # links", &["only memberships are followed"]);
    breaks(identity, &more("chain = 0 # links"), "0 # links", &["`chain` is from 1 to"]);
    breaks(identity, &more("live = true\nof = \"acting_for\""), "\"acting_for\"", &["a request shows nothing"]);
    // Where it is a membership a chain is as long as it may be, and no longer.
    let employer = "any_of = \"set:annex-a@2026-06-26\"";
    let chain = |links: u8| format!("{employer}\nchain = {links} # links");
    let longest = vouchsafe_core::policy::MAX_CHAIN;
    assert_eq!(policy(&POLICY.replacen(employer, &chain(longest), 1)), []);
    let mark = format!("{} # links", longest + 1);
    breaks(employer, &chain(longest + 1), &mark, &[&format!("`chain` is from 1 to {longest}")]);
}

#[test]
fn names_and_sets_that_are_meant_are_told_by_the_newest_date() {
    let mut library = support::library();
    let mut newer = library.sets["annex-a@2026-06-26"].clone();
    newer.id = "annex-a@2026-09-01".to_owned();
    library.sets.insert(newer.id.clone(), newer);
    let text = POLICY.replacen("annex-a@2026-06-26", "annex-a", 1);
    let findings = Policy::examine(&mut Document::from_toml(&text).unwrap(), &library).1;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].to_string().contains("write `set:annex-a@2026-09-01`"), "{findings:?}");
    let text = POLICY.replacen("annex-a@2026-06-26", "nothing-like-it", 1);
    let findings = Policy::examine(&mut Document::from_toml(&text).unwrap(), &library).1;
    assert!(findings[0].to_string().contains("write `set:name@date`"), "{findings:?}");
}

#[test]
fn a_deny_list_is_judged_by_what_it_leaves() {
    // Denied is all but `lpr`: a green card carries it; and of all but nobody nothing is left.
    let deny = |list: &str| POLICY.replacen("allow = [\"citizen\", \"lpr\"]", &format!("deny = {list}"), 1);
    assert_eq!(policy(&deny("[\"citizen\", \"national\", \"protected\", \"other\"]")), []);
    let every = deny("[\"citizen\", \"national\", \"lpr\", \"protected\", \"other\"]");
    one(&every, "[\"citizen\", \"national\"", &["names every state of the frame"], policy);
    // Nobody can reach what only an unreadable status is left for: no row of the pack of badges shows `green`.
    let mut library = support::library();
    let text = PACK.replacen("\"none\"]", "\"green\", \"none\"]", 1);
    let read = Pack::from_toml(&text).unwrap();
    library.packs.insert(read.name(), read);
    let badges = |deny: &str| {
        let text = format!(
            "id = \"badges\"\ntitle = \"Badges\"\nresources = [\"badges\"]\ndefinitions = [\"badge@1\"]\n\n[[criteria]]\nid = \"badge\"\nframe = \"badge\"\ndeny = {deny}\neligible_at = 0.85\n"
        );
        let findings = Policy::examine(&mut Document::from_toml(&text).unwrap(), &library).1;
        findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none = badges("[\"red\", \"blue\", \"none\"]");
    assert!(none.len() == 1 && none[0].contains("nobody can reach it") && none[0].contains("belief 0.000"), "{none:?}");
    // As `allow = [\"red\", \"blue\"]`: one is asked again sooner than the other.
    let sooner = badges("[\"green\", \"none\"]");
    assert!(
        sooner.len() == 1 && sooner[0].contains("after 84 days") && sooner[0].contains("`red` after 290 days"),
        "{sooner:?}"
    );
}

#[test]
fn members_that_are_missing_or_of_another_kind_are_all_told_at_once() {
    let told = |text: &str| policy(text).iter().map(|finding| finding.problem.clone()).collect::<Vec<_>>();
    let (head, _) = POLICY.split_once("\n[authority]").unwrap();
    let bare = head.replacen("resources = [\"base.*\"]\n", "", 1).replacen("title = \"A base to break\"\n", "", 1);
    assert_eq!(
        told(&bare),
        ["member `criteria` is missing", "member `resources` is missing", "member `title` is missing"]
    );
    let wrong = POLICY.replacen("title = \"A base to break\"", "title = 3", 1);
    let wrong = wrong.replacen("name = \"Somebody\"", "name = 4", 1);
    assert_eq!(told(&wrong), ["must be a text", "must be a text"]);
    let table = POLICY.replacen("\n[authority]\nname = \"Somebody\"\ncitation = \"Some law\"\n", "\n", 1);
    let table = table.replacen("max_ttl = \"90d\"", "max_ttl = \"90d\"\nauthority = 3", 1);
    assert_eq!(told(&table), ["must be a table"]);
    let told = |text: &str| pack(text).iter().map(|finding| finding.problem.clone()).collect::<Vec<_>>();
    let shape = "shape = { type = \"state\", states = [\"red\", \"blue\", \"none\"] }";
    assert_eq!(told(&PACK.replacen(shape, "shape = 3", 1)), ["must be a table", "member `type` is missing"]);
    let trust = PACK.replacen("[trust]\nregistry = 0.99\ndocument_vendor = 0.97\n", "", 1);
    assert_eq!(told(&trust.replacen("version = 1", "version = 1\ntrust = 3", 1)), ["must be a table"]);
}

#[test]
fn what_is_possible_is_told_where_nothing_was_meant() {
    let first = |text: &str| {
        let (read, findings) = Policy::examine(&mut Document::from_toml(text).unwrap(), &support::library());
        assert_eq!((read.is_some(), findings.len()), (false, 1), "{findings:?}");
        findings[0].to_string()
    };
    let colour = first(&POLICY.replacen("title =", "colour = \"red\"\ntitle =", 1));
    assert!(colour.starts_with("unknown member `colour`: remove it; members here are `id`, `title`, "), "{colour}");
    let kind = first(&POLICY.replacen("\"registry\"]", "\"zzzzz\"]", 1));
    assert!(kind.starts_with("`zzzzz` is not known here: choose from `document_check`, `registry`, "), "{kind}");
}

#[test]
fn names_are_of_few_letters_and_not_too_long() {
    let named = |name: &str| policy(&POLICY.replacen("id = \"base\"", &format!("id = \"{name}\""), 1));
    let longest = "a".repeat(64);
    for good in ["a", "a-b_9", &longest] {
        assert_eq!(named(good), [], "{good}");
    }
    let too_long = "a".repeat(65);
    for bad in ["", "A", "a b", "a.b", &too_long] {
        let findings = named(bad);
        assert_eq!(findings.iter().map(|f| f.problem.as_str()).collect::<Vec<_>>(), ["not a name"], "{bad}");
    }
    let set = |id: &str| {
        let text = format!("id = \"{id}\"\nas_of = \"2026-11-03\"\nsource = \"s\"\nmembers = [\"org_a\"]\n");
        NamedSet::examine(&mut Document::from_toml(&text).unwrap()).1.is_empty()
    };
    assert_eq!(["a@2026-11-03", "a@", "A@2026-11-03", "@2026-11-03"].map(set), [true, false, false, false]);
}

#[test]
fn lengths_of_time_are_checked_to_the_second() {
    let with = |line: &str| {
        let text = POLICY.replacen("max_ttl = \"90d\"", line, 1);
        policy(&text).iter().map(|f| format!("{} {}", f.pointer, f.problem)).collect::<Vec<_>>()
    };
    assert_eq!(with("max_ttl = \"1h\"\ntoken_ttl = \"1h\"\noutage_grace = \"24h\""), Vec::<String>::new());
    assert_eq!(with("max_ttl = \"1s\"\ntoken_ttl = \"1s\""), Vec::<String>::new());
    let longer = with("max_ttl = \"1h\"\ntoken_ttl = \"3601s\"");
    assert_eq!(longer, ["/token_ttl is longer than `max_ttl`, so it never takes effect"]);
    assert_eq!(with("outage_grace = \"86401s\""), ["/outage_grace must not exceed `24h`"]);
    // Where there is no promise at all, that the token is longer is not told on top.
    assert_eq!(with("max_ttl = \"0s\""), ["/max_ttl must be at least `1s`"]);
    let authority = POLICY.replacen("name = \"Somebody\"", "name = \" \"", 1);
    one(&authority, "[authority]", &["name and citation are needed"], policy);
    let citation = POLICY.replacen("citation = \"Some law\"", "citation = \"\"", 1);
    one(&citation, "[authority]", &["name and citation are needed"], policy);
}

#[test]
fn a_pack_that_is_refused_does_not_pass_and_changes_lead_one_way() {
    let library = support::library();
    assert!(Pack::from_toml(PACK).unwrap().check(&library).is_ok());
    let mut broken = Pack::from_toml(PACK).unwrap();
    broken.version = 0;
    let error = broken.check(&library).unwrap_err().to_string();
    assert!(error.contains("count from 1"), "{error}");
    // From `none` to `red` by `blue`, and no way back.
    let row = PACK.replacen("[[\"none\", \"red\"]]", "[[\"none\", \"blue\"], [\"blue\", \"red\"]]", 1);
    let row = Pack::from_toml(&row).unwrap();
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert!(row.leads(&set(&["none"]), &set(&["red"])) && row.leads(&set(&["none", "blue"]), &set(&["red"])));
    assert!(!row.leads(&set(&["red"]), &set(&["none"])) && !row.leads(&set(&["red", "none"]), &set(&["red"])));
    assert!(!row.leads(&set(&[]), &set(&["red"])) && !row.leads(&set(&["red"]), &set(&["red"])));
}

#[test]
fn only_what_is_refused_refuses() {
    assert!(!vouchsafe_core::check::refused(&[]));
    assert!(vouchsafe_core::check::refused(&policy(&POLICY.replacen("id = \"base\"", "id = \"A\"", 1))));
    let warned = policy(&POLICY.replacen("max_ttl = \"90d\"", "max_ttl = \"1h\"\ntoken_ttl = \"2h\"", 1));
    assert!(warned.len() == 1 && warned[0].level == Level::Warning && !vouchsafe_core::check::refused(&warned));
}
