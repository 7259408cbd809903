//! Decisions and the tokens that state them.

use super::Edge;
use super::extract::{Auth, Checked, Query};
use super::problem::Problem;
use super::subjects::subject_id;
use crate::service::beside::Beside;
use crate::service::issue::Wanted;
use crate::service::vendor::Pending;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::explain::StepAction;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::{Decision, Second, explain};

/// What is asked.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Question {
    /// The restricted resource.
    resource: String,
    /// The organisation acted for, `org_…` or `sub_…`.
    #[param(value_type = Option<String>)]
    acting_for: Option<String>,
    /// The instant asked about, RFC 3339; now unless given.
    #[param(value_type = Option<String>)]
    at: Option<String>,
    /// By what was known at this instant, RFC 3339; at the instant asked about unless given.
    #[param(value_type = Option<String>)]
    known_at: Option<String>,
}

/// The decision as anybody who may ask is told: two digits, and nothing of the evidence behind it.
pub(super) fn ordinary(decision: &Decision) -> Value {
    let mut body = json!(decision);
    for criterion in body.pointer_mut("/criteria").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(members) = criterion.as_object_mut() else { continue };
        members.remove("evidence");
        for name in ["belief", "disbelief", "uncertainty"] {
            if let Some(value) = members.get(name).and_then(Value::as_f64) {
                members.insert(name.to_owned(), json!(explain::rounded(value, 2)));
            }
        }
    }
    let steps = body.pointer_mut("/next_steps").and_then(Value::as_array_mut).into_iter().flatten();
    for need in steps.filter_map(|step| step.get_mut("needs")?.as_array_mut()).flatten() {
        need.as_object_mut().and_then(|members| members.remove("missing_units"));
    }
    body
}

/// A body with both texts of its reasons, and what is told beside the decision.
fn told(mut body: Value, decision: &Decision, pending: &[Pending], beside: &Beside) -> Value {
    let text = |code: &String| {
        let texts = explain::texts(code);
        json!({ "code": code, "subject": texts.subject, "operator": texts.operator })
    };
    let texts: Vec<Value> = decision.reasons.iter().map(text).collect();
    if let Some(steps) = body.pointer_mut("/next_steps").and_then(Value::as_array_mut)
        && !beside.retries.is_empty()
    {
        // With something to try again, nothing is final.
        steps.retain(|step| step.get("action") != Some(&json!(StepAction::Final)));
        steps.splice(0..0, beside.retries.iter().map(|step| json!(step)));
    }
    if let Some(members) = body.as_object_mut() {
        members.insert("reason_texts".to_owned(), json!(texts));
        members.insert("pending".to_owned(), json!(pending));
        members.insert("upcoming".to_owned(), json!(beside.upcoming));
        members.insert("alternatives".to_owned(), json!(beside.alternatives));
    }
    body
}

fn resource_id(text: &str) -> Result<ResourceId, Problem> {
    ResourceId::parse(text).map_err(|error| Problem::invalid().field("/resource", error.to_string()))
}

/// May the subject use the resource, and why?
#[utoipa::path(get, path = "/v1/subjects/{id}/eligibility", tag = "decisions", params(("id" = String, Path), Question), security(("client" = ["eligibility:read"])),
    responses((status = 200, description = "the decision"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn eligibility(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Query(question): Query<Question>,
) -> Result<impl IntoResponse, Problem> {
    caller.require("eligibility:read")?;
    let subject = subject_id(&id)?;
    let resource = resource_id(&question.resource)?;
    let acting_for = question.acting_for.as_deref().map(|name| edge.app.organisation_subject(name)).transpose()?;
    let acting_for = acting_for.as_ref();
    let instant = |text: Option<&String>, pointer: &str| {
        let parsed = text.map(|text| Second::parse(text)).transpose();
        parsed.map_err(|error| Problem::invalid().field(pointer, error.to_string()))
    };
    let at = instant(question.at.as_ref(), "/at")?;
    let known_at = instant(question.known_at.as_ref(), "/known_at")?;
    let (decision, pending, beside) = match at.or(known_at.map(|_| edge.app.clock.now())) {
        Some(at) => {
            let decision = edge.app.eligibility_at(&subject, acting_for, &resource, at, known_at.unwrap_or(at)).await?;
            (Arc::new(decision), Vec::new(), Beside::default())
        }
        None => {
            let (decision, rules) = edge.app.eligibility_for(&subject, acting_for, &resource).await?;
            edge.app.record_decision(&caller.actor(), &decision, &rules).await?;
            let beside = edge.app.beside(&subject, &decision, &rules).await?;
            (decision, edge.app.pending(&subject).await?, beside)
        }
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(told(ordinary(&decision), &decision, &pending, &beside))))
}

/// A recorded decision, derived again from its inputs; with the scope `decisions:explain` also everything it was weighed by.
#[utoipa::path(get, path = "/v1/decisions/{id}", tag = "decisions", params(("id" = String, Path)), security(("client" = ["eligibility:read"])),
    responses((status = 200, description = "the decision"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require("eligibility:read")?;
    if caller.require("decisions:explain").is_err() {
        let decision = edge.app.decision(&id).await?;
        return Ok(Json(told(ordinary(&decision), &decision, &[], &Beside::default())));
    }
    let (decision, explanation) = edge.app.explained_decision(&id).await?;
    let mut body = told(json!(decision), &decision, &[], &Beside::default());
    if let Some(members) = body.as_object_mut() {
        members.insert("explanation".to_owned(), json!(explanation));
    }
    Ok(Json(body))
}

/// The decision with everything it was made of, signed; it can be verified without this service and names nobody.
#[utoipa::path(get, path = "/v1/decisions/{id}/receipt", tag = "decisions", params(("id" = String, Path)), security(("client" = ["decisions:explain"])),
    responses((status = 200, description = "a compact JWS of type `decision-receipt+jwt`", body = String, content_type = "application/jose"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn receipt(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.require("decisions:explain")?;
    let receipt = edge.app.receipt(&id).await?;
    Ok(([(header::CONTENT_TYPE, "application/jose"), (header::CACHE_CONTROL, "no-store")], receipt))
}

/// A token wanted.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The restricted resource.
    #[validate(length(min = 1, max = 128))]
    #[schema(min_length = 1, max_length = 128)]
    resource: String,
    /// Audience id.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    audience: String,
    /// The organisation acted for, `org_…` or `sub_…`.
    #[validate(length(min = 1, max = 80))]
    acting_for: Option<String>,
}

/// Issues a signed eligibility token while the subject is eligible.
#[utoipa::path(post, path = "/v1/subjects/{id}/tokens", tag = "decisions", params(("id" = String, Path)), request_body = NewToken, security(("client" = ["tokens:issue"])),
    responses((status = 201, description = "a token"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn issue(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewToken>,
) -> Result<impl IntoResponse, Problem> {
    caller.require("tokens:issue")?;
    let resource = resource_id(&new.resource)?;
    let subject = subject_id(&id)?;
    let acting_for = new.acting_for.as_deref().map(|name| edge.app.organisation_subject(name)).transpose()?;
    let wanted = Wanted {
        subject: &subject,
        acting_for: acting_for.as_ref(),
        resource: &resource,
        audience: &new.audience,
        end_user: None,
    };
    let issued = edge.app.issue(&caller.actor(), &caller.id, wanted).await?;
    let body = json!({ "token": issued.token, "token_type": edge.app.deployment.token_type(), "jti": issued.jti, "expires_in": issued.expires_in, "decision": issued.decision });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)))
}
