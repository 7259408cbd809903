//! What a caller is told who may not pass: why, in words that are safe to show them, and where to learn more. A problem
//! (RFC 9457) for programs, a page for people; in both the same few things, and nothing that tells who was refused.

use super::{DECISION, REASON, Reply};
use crate::http::Edge;
use crate::http::docs::{content_policy, escaped};
use crate::service::world::Gateway;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::LazyLock;
use vouchsafe_core::explain::{self, StepAction};
use vouchsafe_core::{Decision, Second};

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 18px/1.6 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.2; }
dl { margin-top: 3rem; font-size: .85rem; }
dd { margin: 0 0 .5rem; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
";

static POLICY: LazyLock<String> = LazyLock::new(|| content_policy(STYLE));

/// What all refusals of one question have in common.
pub(super) struct Refusal<'q> {
    pub(super) edge: &'q Edge,
    pub(super) gateway: &'q Gateway,
    pub(super) headers: &'q HeaderMap,
    pub(super) request_id: Option<&'q HeaderValue>,
}

/// The problem's body.
#[derive(Serialize)]
struct Told<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'r str,
    detail: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'r str>,
}

/// When time alone makes the answer another: the instant of the step that says to wait.
pub(in crate::http) fn retry_at(answer: &Decision, now: Second) -> Option<Second> {
    let waits = answer.next_steps.iter().filter(|step| step.action == StepAction::Wait);
    waits.filter_map(|step| step.at).filter(|at| *at > now).min()
}

impl Refusal<'_> {
    /// 403, or 451 where the gateway is registered so.
    pub(super) fn because(&self, reason: &str, decision: Option<&str>, answer: Option<&Decision>) -> Reply {
        let status = StatusCode::from_u16(self.gateway.deny_status).unwrap_or(StatusCode::FORBIDDEN);
        let now = self.edge.app.clock.now();
        let again = answer.and_then(|answer| retry_at(answer, now));
        let request_id = self.request_id.and_then(|id| id.to_str().ok());
        let told = Told {
            kind: "urn:vouchsafe:problem:access_refused",
            title: "access is refused",
            status: status.as_u16(),
            code: reason,
            detail: explain::texts(reason).subject,
            decision,
            help: self.gateway.help(reason, decision, request_id),
            retry_at: again.map(|at| at.to_string()),
            request_id,
        };
        let mut set = vec![(REASON, reason)];
        set.extend(decision.map(|decision| (DECISION, decision)));
        let mut reply = Reply::new(status, &set);
        let mut add = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                reply.headers.append(name, value);
            }
        };
        if let Some(at) = again {
            add(header::RETRY_AFTER, (at.epoch() - now.epoch()).to_string());
        }
        let mut links: Vec<String> = told.help.iter().map(|help| format!("<{help}>; rel=\"help\"")).collect();
        if status == StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS {
            // RFC 7725 section 4: who blocks, not who wanted it.
            let blocker = self.gateway.origin.as_deref().unwrap_or(&self.edge.app.issuer);
            links.push(format!("<{blocker}>; rel=\"blocked-by\""));
        }
        if !links.is_empty() {
            // One line: gateways pass on the last of several.
            add(header::LINK, links.join(", "));
        }
        add(header::VARY, "accept".to_owned());
        add(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
        if wants_page(self.headers) {
            add(header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
            add(header::CONTENT_SECURITY_POLICY, POLICY.clone());
            add(header::REFERRER_POLICY, "no-referrer".to_owned());
            reply.body = page(&told).into();
        } else {
            add(header::CONTENT_TYPE, "application/problem+json".to_owned());
            reply.body = serde_json::to_vec(&told).map_or_else(|_| Bytes::new(), Bytes::from);
        }
        reply
    }
}

/// The page: plain text in order of reading, no script, nothing from elsewhere.
fn page(told: &Told<'_>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>No access</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>No access</h1>\n<p>{}</p>\n",
        escaped(told.detail)
    );
    if let Some(at) = &told.retry_at {
        let at = escaped(at);
        let _ = writeln!(html, "<p>The answer may be another from <time datetime=\"{at}\">{at}</time> on.</p>");
    }
    if let Some(help) = &told.help {
        let _ = writeln!(html, "<p><a href=\"{}\">What you can do</a></p>", escaped(help));
    }
    html.push_str("<dl>\n");
    let rows = [("Reason", Some(told.code)), ("Decision", told.decision), ("Request", told.request_id)];
    for (name, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(html, "<dt>{name}</dt>\n<dd>{}</dd>", escaped(value));
        }
    }
    html.push_str("</dl>\n</main>\n</body>\n</html>\n");
    html
}

/// Whether a page is wanted more than a problem (RFC 9110 section 12.5.1); by what does not say so, it is not.
fn wants_page(headers: &HeaderMap) -> bool {
    let lines: Vec<String> =
        headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().unwrap_or("").to_ascii_lowercase()).collect();
    let weight = |names: &[&str]| {
        let weighed = lines.iter().flat_map(|line| line.split(',')).filter_map(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let name = parts.next()?;
            let place = names.iter().position(|own| *own == name)?;
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            Some((place, weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?))
        });
        // The most exact name decides.
        weighed.min_by_key(|(place, _)| *place).map_or(0.0, |(_, weight)| weight)
    };
    let page = weight(&["text/html", "text/*", "*/*"]);
    page > weight(&["application/problem+json", "application/json", "application/*", "*/*"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_a_page_and_programs_a_problem() {
        let wanted = |lines: &[&str]| {
            wants_page(&lines.iter().map(|line| (header::ACCEPT, HeaderValue::from_str(line).unwrap())).collect())
        };
        for browser in [
            // Firefox, Chromium, Safari.
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            "text/html",
            "text/*",
            "TEXT/HTML",
            "application/json;q=0.5, text/html",
            "text/html, application/json;q=0",
            "*/*;q=0.1, text/html;q=0.2",
        ] {
            assert!(wanted(&[browser]), "{browser}");
        }
        for program in [
            "*/*",
            "",
            "application/json",
            "application/json, text/plain, */*",
            "text/html;q=0.5, application/json",
            "text/html, application/problem+json",
            "text/html;q=0",
            "text/html;q=much",
            "image/*",
        ] {
            assert!(!wanted(&[program]), "{program}");
        }
        assert!(!wanted(&[]));
        assert!(wanted(&["application/xml;q=0.9", "text/html"]), "several lines are one list");
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let told = Told {
            kind: "urn:vouchsafe:problem:access_refused",
            title: "access is refused",
            status: 403,
            code: "<script>",
            detail: "a & b",
            decision: Some("\"><img>"),
            help: Some("https://a.example/?x=1&y='><b>".to_owned()),
            retry_at: Some("<i>".to_owned()),
            request_id: Some("'"),
        };
        let page = page(&told);
        for raw in ["<script", "<img", "<b>", "<i>", "a & b", "x=1&y"] {
            assert!(!page.contains(raw), "{raw}: {page}");
        }
        assert!(page.contains("href=\"https://a.example/?x=1&amp;y=&#39;&gt;&lt;b&gt;\""), "{page}");
    }
}
