//! Reading requests: members that are not known are not looked at, `null` is as if absent, and what is missing or of
//! another type is told by name, with 400.

use crate::http::Edge;
use crate::http::extract::{Raw, parse_value};
use crate::http::problem::Problem;
use crate::service::ssf::collect::{Asked, SETS_MAX};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

/// A request that cannot be used.
pub(super) fn bad(pointer: &str, problem: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "signals_invalid", "the request cannot be used").field(pointer, problem)
}

/// The members of a request's body.
#[derive(Debug)]
pub struct Members(pub(super) Map<String, Value>);

impl FromRequest<Edge> for Members {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        let Raw(bytes) = Raw::from_request(request, edge).await?;
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(bad("", "send `Content-Type: application/json`"));
        }
        match parse_value(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(bad("", "is no JSON object")),
            Err(_) => Err(bad("", "is no JSON, names a member twice, or holds the character U+0000")),
        }
    }
}

/// What a receiver asks for (RFC 8936 section 2.2).
pub(super) fn asked(members: &Map<String, Value>) -> Result<Asked, Problem> {
    let given = |name: &str| members.get(name).filter(|value| !value.is_null());
    let most = match given("maxEvents") {
        None => SETS_MAX,
        Some(value) => {
            let most = value.as_u64().ok_or_else(|| bad("/maxEvents", "must be a whole number from 0"))?;
            usize::try_from(most).unwrap_or(SETS_MAX).min(SETS_MAX)
        }
    };
    let at_once = match given("returnImmediately") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| bad("/returnImmediately", "must be true or false"))?,
    };
    let acknowledged = match given("ack") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            let jti = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| bad("/ack", "must hold strings"));
            list.iter().map(jti).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(bad("/ack", "must be an array")),
    };
    let refused = match given("setErrs") {
        None => Vec::new(),
        Some(Value::Object(errors)) => {
            let code = |(jti, error): (&String, &Value)| {
                let code = error.get("err").and_then(Value::as_str);
                let code = code.ok_or_else(|| bad("/setErrs", "must hold objects with `err`"))?;
                Ok((jti.clone(), code.to_owned()))
            };
            errors.iter().map(code).collect::<Result<_, Problem>>()?
        }
        Some(_) => return Err(bad("/setErrs", "must be an object")),
    };
    Ok(Asked { most, at_once, acknowledged, refused })
}
