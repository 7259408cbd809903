//! Status lists (draft-ietf-oauth-status-list-21): public, cached, answered from memory.

use super::Edge;
use super::conditional::published;
use super::problem::Problem;
use crate::token::status_list::{MEDIA_TYPE, TTL_SECS};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// Whether a list of weighted choices (RFC 9110 section 12.5) takes one of the names; the most exact name decides.
fn takes(headers: &HeaderMap, name: &HeaderName, names: &[&str]) -> Option<bool> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("").to_ascii_lowercase());
    let mut best: Option<(usize, bool)> = None;
    for line in lines {
        for choice in line.split(',') {
            let mut parts = choice.split(';').map(str::trim);
            let Some(at) = parts.next().and_then(|own| names.iter().position(|name| *name == own)) else { continue };
            let refused = |part: &str| {
                part.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            };
            let wanted = !parts.any(refused);
            if best.is_none_or(|(before, _)| at < before) {
                best = Some((at, wanted));
            }
        }
    }
    best.map(|(_, wanted)| wanted)
}

/// Every status list that a living token may stand in.
#[utoipa::path(get, path = "/status-lists", tag = "oauth", responses((status = 200, description = "addresses of status lists")))]
pub async fn all(State(edge): State<Edge>) -> Response {
    let headers = [(header::CACHE_CONTROL, "public, max-age=30"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    let lists: Value = json!({ "status_lists": edge.app.status_list_uris() });
    (headers, Json(lists)).into_response()
}

/// One status list, signed.
#[utoipa::path(get, path = "/status-lists/{number}", tag = "oauth", params(("number" = i64, Path, description = "as tokens name it")),
    responses((status = 200, description = "the signed list", content_type = "application/statuslist+jwt", body = String), (status = 304, description = "as the caller has it"), (status = 404, body = Problem), (status = 406, body = Problem), (status = 501, body = Problem), (status = 503, body = Problem)))]
pub async fn one(
    State(edge): State<Edge>,
    Path(number): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asks_for_the_past =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == "time");
    if asks_for_the_past {
        let detail = "lists of the past are not kept";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", "Not implemented").detail(detail));
    }
    let kinds = [MEDIA_TYPE, "application/*", "*/*"];
    if headers.contains_key(header::ACCEPT) && takes(&headers, &header::ACCEPT, &kinds) != Some(true) {
        let detail = "status lists are `application/statuslist+jwt`";
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "Not acceptable").detail(detail));
    }
    // One text for each list: nothing else is it.
    let parsed = number.parse::<i64>().ok().filter(|parsed| parsed.to_string() == number);
    let number = parsed.ok_or(crate::service::ServiceError::NotFound("status list"))?;
    let list = edge.app.status_list(number).await?;
    let max_age = TTL_SECS.min(list.exp - edge.app.clock.now().epoch()).max(0);
    let zipped = takes(&headers, &header::ACCEPT_ENCODING, &["gzip", "*"]) == Some(true);
    let mut response = if zipped {
        // Another representation, another tag.
        published(&headers, &format!("{}-gzip", list.digest), MEDIA_TYPE, max_age, list.gzip.clone())
    } else {
        published(&headers, &list.digest, MEDIA_TYPE, max_age, list.token.clone())
    };
    let set = response.headers_mut();
    set.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if zipped {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_choice_decides() {
        let kinds = [MEDIA_TYPE, "application/*", "*/*"];
        let taken = |text: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(text))].into_iter().collect();
            takes(&headers, &header::ACCEPT, &kinds) == Some(true)
        };
        for yes in [
            "application/statuslist+jwt",
            "Application/StatusList+JWT;q=0.5",
            "*/*",
            "text/html, application/*;q=0.1",
            "*/*;q=0, application/statuslist+jwt",
        ] {
            assert!(taken(yes), "{yes}");
        }
        for no in [
            "application/statuslist+cwt",
            "text/html",
            "application/json",
            "application/statuslist+jwt;q=0",
            "application/statuslist+jwt; q=0.000, */*",
            "",
        ] {
            assert!(!taken(no), "{no}");
        }
    }
}
