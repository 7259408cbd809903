//! `/v1/vouches/batch`: an organisation's roster, row by row.

use super::Edge;
use super::extract::{Auth, Raw};
use super::problem::Problem;
use crate::intake::roster::{Format, RosterError, parse};
use crate::service::roster::Outcome;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// What became of one row.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct RowAnswer {
    /// Its place among the rows, from 1; a header is no row.
    row: usize,
    /// `recorded`, `duplicate`, `withdrawn`, `unchanged`, `refused`.
    result: &'static str,
    /// The vouch recorded now or before.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The vouches withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<String>>,
    /// Problem code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// JSON pointer of the member at fault; empty for the row as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// What became of a roster.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// Rows recorded.
    recorded: usize,
    /// Rows said before.
    duplicate: usize,
    /// Rows that withdrew something.
    withdrawn: usize,
    /// Rows that had nothing to withdraw.
    unchanged: usize,
    /// Rows refused.
    refused: usize,
    /// Every row, in order.
    rows: Vec<RowAnswer>,
}

impl RowAnswer {
    fn new(row: usize, outcome: Outcome) -> Self {
        let of = |result| Self { row, result, ..Self::default() };
        match outcome {
            Outcome::Recorded(id) => Self { id: Some(id), ..of("recorded") },
            Outcome::Duplicate(id) => Self { id: Some(id), ..of("duplicate") },
            Outcome::Withdrawn(ids) => Self { ids: Some(ids), ..of("withdrawn") },
            Outcome::Unchanged => of("unchanged"),
            Outcome::Refused(error) => {
                let problem = Problem::from(error);
                let first = problem.errors.into_iter().next();
                let (pointer, detail) = first.map(|error| (error.pointer, error.detail)).unzip();
                Self { code: Some(problem.code), pointer, detail: detail.or(problem.detail), ..of("refused") }
            }
        }
    }
}

impl BatchAnswer {
    fn new(outcomes: Vec<Outcome>) -> Self {
        let mut answer = Self::default();
        for (row, outcome) in (1..).zip(outcomes) {
            let counted = match &outcome {
                Outcome::Recorded(_) => &mut answer.recorded,
                Outcome::Duplicate(_) => &mut answer.duplicate,
                Outcome::Withdrawn(_) => &mut answer.withdrawn,
                Outcome::Unchanged => &mut answer.unchanged,
                Outcome::Refused(_) => &mut answer.refused,
            };
            *counted += 1;
            answer.rows.push(RowAnswer::new(row, outcome));
        }
        answer
    }
}

/// How the body is written: NDJSON or CSV, in UTF-8.
fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut parts = kind.split(';').map(str::trim);
    let format = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
        "application/x-ndjson" => Some(Format::Ndjson),
        "text/csv" => Some(Format::Csv),
        _ => None,
    };
    let plain = |parameter: &str| match parameter.to_ascii_lowercase().replace('"', "").split_once('=') {
        Some(("charset", charset)) => matches!(charset, "utf-8" | "utf8" | "us-ascii"),
        Some(("header", header)) => header == "present",
        _ => true,
    };
    format.filter(|_| parts.all(plain)).ok_or_else(|| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send `application/x-ndjson`, or `text/csv` with a header, in UTF-8",
        )
    })
}

fn unreadable(error: &RosterError) -> Problem {
    match error {
        RosterError::TooManyRows => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the roster is too long"),
        _ => Problem::new(StatusCode::BAD_REQUEST, "malformed", "the rows cannot be read"),
    }
    .detail(error.to_string())
}

/// Records and withdraws vouches of the caller's organisation, each row by itself.
///
/// At most 1,000 rows and 256 KiB: lines of JSON, or a table with a header of the same names. `subject` (our id, or a
/// link as `namespace:id`) is required; a vouch has `employed` (and `relation`) or `frame` and `states`, and may have
/// `basis`, `fact_date`, `ends_at` (a day or an instant) and `event_id`; `action` is `vouch` or `withdraw`.
#[utoipa::path(post, path = "/v1/vouches/batch", tag = "evidence",
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"))), security(("client" = ["vouches:write"])),
    responses((status = 200, description = "what became of each row", body = BatchAnswer), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn vouch_batch(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Json<BatchAnswer>, Problem> {
    caller.require("vouches:write")?;
    let format = format(&headers)?;
    let rows = parse(format, &body, edge.app.clock.now()).map_err(|error| unreadable(&error))?;
    let outcomes = edge.app.vouch_roster(&caller, rows).await?;
    Ok(Json(BatchAnswer::new(outcomes)))
}
