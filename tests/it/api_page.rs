//! `docs/api.md` lists exactly the codes that the source can give.

use std::collections::BTreeSet;
use std::path::Path;
use vouchsafe_core::explain::{CODES, ChangeCode, Fate};

type Codes = BTreeSet<String>;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Sources of a folder without their unit tests.
fn sources(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    crate::architecture::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    let code = |path| std::fs::read_to_string(path).unwrap();
    files.into_iter().map(code).map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned()).collect()
}

/// First cells of the table under a heading, joined by a blank where `cells` is more than one.
fn table(page: &str, heading: &str, cells: usize) -> Codes {
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(heading)).expect(heading);
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("| meaning |"));
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    let row = |line: &str| line.split('|').skip(1).take(cells).map(cell).collect::<Vec<_>>().join(" ");
    let found: Vec<String> = rows.map(row).collect();
    let codes: Codes = found.iter().cloned().collect();
    assert_eq!(codes.len(), found.len(), "a code stands once under {heading}");
    codes
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// String literals of a text.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// `StatusCode::NAME, "code"` wherever it stands, with what stands before it.
fn status_and_code(text: &str) -> impl Iterator<Item = (&str, String)> {
    let parts: Vec<&str> = text.split("StatusCode::").collect();
    parts
        .windows(2)
        .filter_map(|pair| {
            let (name, rest) = pair[1].split_once(',')?;
            let code = rest.trim_start().strip_prefix('"')?.split('"').next()?;
            let status = match name {
                "UNAUTHORIZED" => 401,
                "FORBIDDEN" => 403,
                "NOT_FOUND" => 404,
                "METHOD_NOT_ALLOWED" => 405,
                "NOT_ACCEPTABLE" => 406,
                "CONFLICT" => 409,
                "GONE" => 410,
                "PRECONDITION_FAILED" => 412,
                "PAYLOAD_TOO_LARGE" => 413,
                "UNSUPPORTED_MEDIA_TYPE" => 415,
                "UNPROCESSABLE_ENTITY" => 422,
                "TOO_MANY_REQUESTS" => 429,
                "INTERNAL_SERVER_ERROR" => 500,
                "NOT_IMPLEMENTED" => 501,
                "SERVICE_UNAVAILABLE" => 503,
                "BAD_REQUEST" => 400,
                _ => return None,
            };
            is_code(code).then(|| (pair[0], format!("{status} {code}")))
        })
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn every_problem_and_oauth_error_is_on_the_page() {
    let (mut problems, mut oauth) = (Codes::new(), Codes::new());
    for text in sources("src/http") {
        for (before, code) in status_and_code(&text) {
            let is_oauth = before.ends_with("oauth_error(") || before.ends_with("oauth(");
            if is_oauth {
                oauth.insert(code)
            } else {
                problems.insert(code)
            };
        }
        // A status or code in a variable would escape this test.
        for made in ["Problem::new(", "oauth_error(", "problem::oauth("] {
            for rest in text.split(made).skip(1).map(str::trim_start) {
                let known = rest.starts_with("StatusCode::") || rest.starts_with("status, code,");
                assert!(known, "{made}{}", &rest[..rest.len().min(60)]);
            }
        }
    }
    assert!(problems.len() > 25 && oauth.len() >= 5);
    let page = read("docs/api.md");
    assert_eq!(table(&page, "Problems", 2), problems);
    assert_eq!(table(&page, "OAuth errors", 2), oauth);
}

#[test]
fn every_reason_of_an_appeal_is_on_the_page() {
    let told: Codes = vouchsafe::service::appeals::REASONS.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(table(&read("docs/api.md"), "Appeals", 1), told);
}

/// The text of a function, up to the next brace at the margin.
fn function<'t>(text: &'t str, signature: &str) -> &'t str {
    text.split_once(signature).expect(signature).1.split("\n}").next().unwrap()
}

/// Literals such as `directive.frozen`.
fn dotted(text: &str) -> impl Iterator<Item = String> {
    literals(text).filter(|text| text.split_once('.').is_some_and(|(a, b)| is_code(a) && is_code(b))).map(str::to_owned)
}

/// Codes of the table that are given at a place.
fn given_at(place: &str) -> Codes {
    let here = CODES.iter().filter(|row| row.places.split(", ").any(|own| own == place));
    here.map(|row| row.code.to_owned()).collect()
}

#[test]
fn every_code_of_a_decision_stands_in_the_table_with_both_texts() {
    let page = read("docs/api.md");
    let rows =
        CODES.iter().map(|row| format!("{} {} {} {}", row.code, row.places, row.texts.subject, row.texts.operator));
    let rows: Codes = rows.collect();
    let section = page.split("\n## ").find(|section| section.lines().next() == Some("Codes of a decision")).unwrap();
    let told: Vec<String> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').skip(1).take(4).map(str::trim).collect::<Vec<_>>().join(" "))
        .map(|line| line.replacen('`', "", 2))
        .collect();
    assert_eq!(told.len(), CODES.len(), "a code stands once");
    assert_eq!(told.into_iter().collect::<Codes>(), rows);
    assert_eq!(CODES.iter().map(|row| row.code).collect::<BTreeSet<_>>().len(), CODES.len());
}

#[test]
fn the_table_has_every_code_that_the_source_can_give() {
    // Nor what is said of end users, which a gateway does and no decision.
    let not_the_table = |text: &String| !text.contains("pub const CODES") && !text.contains("pub enum Refusal");
    let mut reasons: Codes = sources("core/src")
        .iter()
        .filter(|text| not_the_table(text))
        .flat_map(|text| dotted(text).collect::<Vec<_>>())
        .collect();
    for literal in literals(function(&read("core/src/explain/reasons.rs"), "pub fn reasons(")) {
        let word = literal.strip_prefix("{frame}.").unwrap_or(literal);
        if is_code(word) {
            reasons.insert(format!("<frame>.{word}"));
        }
    }
    assert!(reasons.len() > 15);
    assert_eq!(given_at("reason"), reasons);

    let codes_of = |path: &str| -> Codes {
        let text = read(path);
        literals(function(&text, "pub fn code(self)")).map(str::to_owned).collect()
    };
    assert_eq!(given_at("evidence"), codes_of("core/src/explain/account.rs"));
    assert_eq!(given_at("evidence"), Fate::ALL.map(|fate| fate.code().to_owned()).into());
    assert_eq!(given_at("change"), codes_of("core/src/explain/change.rs"));
    assert_eq!(given_at("change"), ChangeCode::ALL.map(|change| change.code().to_owned()).into());

    // What serde makes of an enum's variants, read off the source.
    let variants = |path: &str, name: &str| -> Vec<String> {
        let text = read(path);
        let body = function(&text, &format!("pub enum {name} {{")).to_owned();
        let lines = body.lines().map(str::trim).filter(|line| line.ends_with(',') && !line.starts_with("//"));
        lines.map(|line| line.trim_end_matches(',').to_owned()).collect()
    };
    let snake = |variant: &String| {
        let split = variant
            .char_indices()
            .map(|(i, c)| if i > 0 && c.is_uppercase() { format!("_{c}") } else { c.to_string() });
        split.collect::<String>().to_lowercase()
    };
    assert_eq!(given_at("expiry"), variants("core/src/fusion.rs", "Cause").iter().map(snake).collect());
    let steps = variants("core/src/explain/steps.rs", "StepAction");
    assert_eq!(given_at("step"), steps.iter().map(|step| step.to_uppercase()).collect());

    let gateway = sources("src/service").into_iter().find(|text| text.contains("fn safe_reason(")).unwrap();
    let mut told: Codes = dotted(&gateway)
        .chain(["src/http/gateway.rs", "src/service/authzen.rs"].into_iter().flat_map(|path| {
            let text = read(path);
            dotted(text.split("#[cfg(test)]").next().unwrap()).collect::<Vec<_>>()
        }))
        .collect();
    assert!(gateway.contains("\"status.{}\""));
    told.extend(vouchsafe_core::end_users::Refusal::ALL.map(|refusal| refusal.code().to_owned()));
    told.extend(["ineligible", "review", "insufficient"].map(|status| format!("status.{status}")));
    assert_eq!(given_at("gateway"), told);
}
