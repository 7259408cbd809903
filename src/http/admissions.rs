//! `/v1/admissions`: who was let in, and what gateways that judge by themselves counted.

use super::Edge;
use super::extract::{Auth, Checked, Page, Query, page_body};
use super::gateway::single;
use super::problem::Problem;
use crate::service::ServiceError;
use crate::service::admissions::{Asked, Line, LineEndUser, Upload, Uploaded};
use crate::service::register::Position;
use crate::service::world::Gateway;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::Second;
use vouchsafe_core::ids::{ResourcePattern, SubjectId};

/// Which admissions.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// To a resource, or to a family such as `restricted.*`.
    pub(super) resource: Option<String>,
    /// Of this subject.
    pub(super) subject: Option<String>,
    /// By this gateway.
    pub(super) gateway: Option<String>,
    /// Those going on at or after this instant, RFC 3339.
    pub(super) from: Option<String>,
    /// Those begun before this instant, RFC 3339.
    pub(super) to: Option<String>,
    /// At most this many, 1 to 200.
    pub(super) limit: Option<i64>,
    /// From the page before.
    pub(super) cursor: Option<String>,
}

impl Wanted {
    /// The question, its members read.
    pub(super) fn asked(&self) -> Result<Asked, Problem> {
        let field = |name: &str, text: String| Problem::invalid().field(format!("/{name}"), text);
        let instant = |name: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(Second::parse).transpose();
            parsed.map_err(|error| field(name, error.to_string()))
        };
        let resource = self.resource.as_deref().map(ResourcePattern::parse).transpose();
        let subject = self.subject.as_deref().map(SubjectId::parse).transpose();
        Ok(Asked {
            resource: resource.map_err(|error| field("resource", error.to_string()))?,
            subject: subject.map_err(|_| field("subject", "must be `sub_…`".to_owned()))?,
            gateway: self.gateway.clone(),
            from: instant("from", &self.from)?,
            to: instant("to", &self.to)?,
        })
    }

    /// The page of it.
    pub(super) fn page(&self) -> Page {
        Page { limit: self.limit, cursor: self.cursor.clone() }
    }
}

/// What a gateway that judges by itself counted.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// The gateway's own id of this upload: sent again, it counts once.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    upload: String,
    /// At most 500 lines.
    #[validate(length(max = 500))]
    #[schema(max_items = 500)]
    admissions: Vec<NewAdmission>,
    /// `orders` of the status list that the gateway judges by, the oldest where there are several.
    #[validate(length(min = 1, max = 80))]
    seen: Option<String>,
    /// What the gateway calls itself: program and version.
    #[validate(length(min = 1, max = 100))]
    agent: Option<String>,
}

/// How often somebody was let in within one hour; instants are epoch seconds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdmission {
    /// `sub` of the token.
    subject: String,
    /// `eligibility.acting_for` of the token.
    acting_for: Option<String>,
    /// `eligibility.resource` of the token.
    resource: String,
    /// `eligibility.decision` of the token.
    decision: String,
    /// Of a token whose subject is an end user: who they are. `subject` is then `act.sub` of the token.
    end_user: Option<NewAdmissionEndUser>,
    /// The hour's first second.
    hour: i64,
    /// How often.
    count: i64,
    /// The first time.
    first_at: i64,
    /// The last time.
    last_at: i64,
}

/// An end user who was let in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdmissionEndUser {
    /// `sub` of the token.
    subject: String,
    /// `eligibility.end_user.customer` of the token.
    customer: String,
    /// `eligibility.end_user.decision` of the token.
    decision: String,
}

impl From<NewAdmission> for Line {
    fn from(new: NewAdmission) -> Self {
        let NewAdmission { subject, acting_for, resource, decision, end_user, hour, count, first_at, last_at } = new;
        let end_user = end_user.map(|told| {
            let NewAdmissionEndUser { subject, customer, decision } = told;
            LineEndUser { subject, customer, decision }
        });
        Self { subject, acting_for, resource, decision, end_user, hour, count, first_at, last_at }
    }
}

/// The gateway that reports, by its key: known before its body is read.
#[derive(Debug)]
pub struct Reporting(Arc<Gateway>);

impl FromRequestParts<Edge> for Reporting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        let key = single(&parts.headers, "x-gateway-key").ok_or(ServiceError::Unauthenticated)?;
        Ok(Self(edge.app.gateway(key)?))
    }
}

/// Who was let in: by subject, organisation acted for, resource, decision, gateway and hour, oldest first.
#[utoipa::path(get, path = "/v1/admissions", tag = "gateway", params(Wanted), security(("client" = ["admissions:read"]), ("operator" = [])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    caller.require("admissions:read")?;
    let page = wanted.page();
    let (limit, after) = page.bounds()?;
    let items = edge.app.admissions(&wanted.asked()?, after, limit).await?;
    let last = items.last().map(|item| item.id.clone());
    Ok(page_body(&items, limit, last))
}

/// Takes what a gateway counted that judges by itself, once for each `upload`. Every line is answered.
#[utoipa::path(post, path = "/v1/admissions", tag = "gateway", params(("X-Gateway-Key" = String, Header)), request_body = NewUpload,
    responses((status = 200, description = "what became of each line"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn upload(
    State(edge): State<Edge>,
    Reporting(gateway): Reporting,
    Checked(new): Checked<NewUpload>,
) -> Result<Json<Uploaded>, Problem> {
    let lines = new.admissions.into_iter().map(Line::from).collect();
    let seen = new.seen.as_deref().map(Position::parse);
    let seen = seen.map(|seen| seen.ok_or_else(|| Problem::invalid().field("/seen", "give `orders` of a status list")));
    let upload = Upload { id: new.upload, lines, seen: seen.transpose()?, agent: new.agent };
    Ok(Json(edge.app.take_admissions(&gateway, upload).await?))
}
