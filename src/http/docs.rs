//! `/docs`: the OpenAPI document as one page for people; no script, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde_json::Value;
use std::fmt::Write as _;

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
h3 { margin-top: 2rem; font-family: ui-monospace, monospace; font-size: 1rem; overflow-wrap: anywhere; }
.method { display: inline-block; min-width: 4.5em; text-transform: uppercase; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-top: 1px solid #8884; }
th:first-child { width: 30%; }
code { font-family: ui-monospace, monospace; }
";

/// The page and the policy that allows its style and nothing else.
#[derive(Clone)]
pub(super) struct Page {
    html: axum::body::Bytes,
    policy: String,
}

impl Page {
    pub(super) fn new(document: &Value) -> Self {
        Self { html: render(document).into(), policy: content_policy(STYLE) }
    }
}

/// The content security policy of a page that has this style and nothing else.
pub(super) fn content_policy(style: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest.as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, self.policy.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.html).into_response()
    }
}

/// Text as it may stand in HTML, between tags and in attributes.
pub(super) fn escaped(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Text as HTML; what stands between backticks is code.
fn text(plain: &str) -> String {
    let escaped = escaped(plain);
    let mut html = String::new();
    for (index, part) in escaped.split('`').enumerate() {
        let _ = if index % 2 == 1 { write!(html, "<code>{part}</code>") } else { write!(html, "{part}") };
    }
    html
}

fn string<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn members<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

/// Type of a schema, as a link where it has a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = string(schema, "/$ref").rsplit('/').next().filter(|name| !name.is_empty()) {
        let name = text(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    let one_of = ["/oneOf", "/anyOf"].iter().find_map(|pointer| schema.pointer(pointer)?.as_array());
    if let Some(choices) = one_of {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => text(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(text).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    };
    match schema.get("items") {
        Some(items) => format!("{name} of {}", kind(items)),
        None => name,
    }
}

fn render(document: &Value) -> String {
    let mut tags: Vec<&str> = Vec::new();
    let mut operations = Vec::new();
    for (path, methods) in members(document, "/paths") {
        for (method, operation) in members(methods, "") {
            let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or("other");
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            operations.push((tag, path, method, operation));
        }
    }
    let title = text(string(document, "/info/title"));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} API</title><style>{STYLE}</style><h1>{title} API</h1><p>{}</p>\
         <p>The same for machines: <a href=\"/openapi.json\">openapi.json</a>.</p><nav><ul>",
        text(string(document, "/info/description")),
    );
    for tag in &tags {
        let tag = text(tag);
        let _ = write!(html, "<li><a href=\"#tag-{tag}\">{tag}</a></li>");
    }
    html.push_str("<li><a href=\"#schemas\">schemas</a></li></ul></nav>");
    for tag in tags {
        let name = text(tag);
        let _ = write!(html, "<h2 id=\"tag-{name}\">{name}</h2>");
        for (_, path, method, operation) in operations.iter().filter(|(of, ..)| *of == tag) {
            operation_html(&mut html, path, method, operation);
        }
    }
    html.push_str("<h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in members(document, "/components/schemas") {
        let name = text(name);
        let _ = write!(html, "<h3 id=\"{name}\">{name}</h3><p>{}</p><table>", text(string(schema, "/description")));
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (member, inner) in members(schema, "/properties") {
            let needed = if required.contains(&member.as_str()) { ", required" } else { "" };
            let (what, about) = (kind(inner), text(string(inner, "/description")));
            let _ = write!(html, "<tr><th><code>{}</code><td>{what}{needed}<td>{about}", text(member));
        }
        html.push_str("</table>");
    }
    html.push_str("</html>");
    html
}

fn operation_html(html: &mut String, path: &str, method: &str, operation: &Value) {
    let about = [string(operation, "/summary"), string(operation, "/description")];
    let _ = write!(
        html,
        "<h3 id=\"{0}-{1}\"><span class=\"method\">{0}</span> {1}</h3><p>{2}</p>",
        text(method),
        text(path),
        text(about.join(" ").trim())
    );
    let scope = string(operation, "/security/0/client/0");
    if !scope.is_empty() {
        let _ = write!(html, "<p>Scope: <code>{}</code></p>", text(scope));
    }
    html.push_str("<table>");
    for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let (name, place) = (text(string(parameter, "/name")), text(string(parameter, "/in")));
        let about = text(string(parameter, "/description"));
        let kind = parameter.get("schema").map(kind).unwrap_or_default();
        let _ = write!(html, "<tr><th><code>{name}</code> in {place}<td>{kind}<td>{about}");
    }
    for (media, body) in members(operation, "/requestBody/content") {
        let kind = body.get("schema").map(kind).unwrap_or_default();
        let _ = write!(html, "<tr><th>body<td>{kind}<td><code>{}</code>", text(media));
    }
    for (status, response) in members(operation, "/responses") {
        let kinds: Vec<String> =
            members(response, "/content").filter_map(|(_, body)| body.get("schema")).map(kind).collect();
        let about = text(string(response, "/description"));
        let _ = write!(html, "<tr><th>{}<td>{}<td>{about}", text(status), kinds.join(" or "));
    }
    html.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_from_the_document_becomes_markup() {
        let evil = "<img src=x onerror=alert(1)> \"' & `<b>`";
        let page = render(&json!({
            "info": { "title": evil, "description": evil },
            "paths": { evil: { evil: { "tags": [evil], "summary": evil, "security": [{ "client": [evil] }],
                "parameters": [{ "name": evil, "in": evil, "description": evil, "schema": { "type": evil } }],
                "requestBody": { "content": { evil: { "schema": { "$ref": evil } } } },
                "responses": { evil: { "description": evil } } } } },
            "components": { "schemas": { evil: { "description": evil, "properties": { evil: { "type": [evil] } } } } },
        }));
        assert!(!page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains("<code>&lt;b&gt;</code>"));
    }
}
