//! `docs/api.md` lists exactly the codes that the source can give.

use std::collections::BTreeSet;
use std::path::Path;

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
                "CONFLICT" => 409,
                "GONE" => 410,
                "PRECONDITION_FAILED" => 412,
                "PAYLOAD_TOO_LARGE" => 413,
                "UNSUPPORTED_MEDIA_TYPE" => 415,
                "UNPROCESSABLE_ENTITY" => 422,
                "TOO_MANY_REQUESTS" => 429,
                "INTERNAL_SERVER_ERROR" => 500,
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

/// The text of a function, up to the next brace at the margin.
fn function<'t>(text: &'t str, signature: &str) -> &'t str {
    text.split_once(signature).expect(signature).1.split("\n}").next().unwrap()
}

/// Literals such as `directive.frozen`.
fn dotted(text: &str) -> impl Iterator<Item = String> {
    literals(text).filter(|text| text.split_once('.').is_some_and(|(a, b)| is_code(a) && is_code(b))).map(str::to_owned)
}

#[test]
fn every_reason_is_on_the_page() {
    let page = read("docs/api.md");
    let explain = read("core/src/explain.rs");
    let mut reasons: Codes = sources("core/src").iter().flat_map(|text| dotted(text).collect::<Vec<_>>()).collect();
    for literal in literals(function(&explain, "pub fn reasons(")) {
        let word = literal.strip_prefix("{frame}.").unwrap_or(literal);
        if is_code(word) {
            reasons.insert(format!("<frame>.{word}"));
        }
    }
    assert!(reasons.len() > 15);
    assert_eq!(table(&page, "Reasons of a decision", 1), reasons);

    let silent: Codes = [function(&explain, "pub fn report("), function(&explain, "fn silence_code(")]
        .iter()
        .flat_map(|text| literals(text))
        .filter(|text| is_code(text))
        .map(str::to_owned)
        .collect();
    assert_eq!(table(&page, "Why a piece of evidence does not count", 1), silent);

    let gateway = sources("src/service").into_iter().find(|text| text.contains("fn safe_reason(")).unwrap();
    let mut told: Codes = dotted(&gateway).chain(dotted(&read("src/http/gateway.rs"))).collect();
    assert!(gateway.contains("\"status.{}\""));
    told.extend(["ineligible", "review", "insufficient"].map(|status| format!("status.{status}")));
    assert_eq!(table(&page, "Reasons at a gateway", 1), told);
}
