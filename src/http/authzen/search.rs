//! Searches: which subjects, resources, actions. Each page's token is good for the same search by the same client alone.

use super::answer::Refusal;
use super::request::{self, Wrong};
use super::{Asking, Members, answered};
use crate::http::Edge;
use crate::http::problem::Problem;
use crate::service::ServiceError;
use crate::service::authenticate::Caller;
use crate::service::authzen::{Asker, Found, Paging};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

/// Results of a page unless its limit says less.
const MOST_RESULTS: usize = 200;

/// A search, as far as all have it in common.
struct Wanted {
    /// Digest of everything that must not change between pages.
    same: String,
    after: String,
    limit: usize,
}

impl Wanted {
    fn of(edge: &Edge, caller: &Caller, what: &str, members: &Map<String, Value>) -> Result<Self, Wrong> {
        let mut rest = members.clone();
        rest.remove("page");
        let same = json!([caller.id, what, rest]).to_string();
        let page = request::object(members, "page")?;
        let token = page.map(|page| request::text(page, "page", "token")).transpose()?.flatten().unwrap_or_default();
        let after = match token.split_once('.') {
            None if token.is_empty() => "",
            Some((digest, after))
                if edge.app.crypto.lookup_digest("authzen/page", &format!("{same} {after}")) == digest =>
            {
                after
            }
            _ => return Err("`page.token` is not of a page of this search".to_owned()),
        };
        let limit = match page.and_then(|page| page.get("limit")).filter(|limit| !limit.is_null()) {
            None => MOST_RESULTS,
            Some(limit) => {
                let limit = limit.as_u64().filter(|limit| *limit > 0);
                let limit = limit.ok_or_else(|| "`page.limit` must be a whole number above 0".to_owned())?;
                usize::try_from(limit).unwrap_or(MOST_RESULTS).min(MOST_RESULTS)
            }
        };
        Ok(Self { after: after.to_owned(), same, limit })
    }

    fn paging(&self) -> Paging<'_> {
        Paging { after: &self.after, limit: self.limit }
    }

    fn told(&self, edge: &Edge, found: Found, result: impl Fn(String) -> Value) -> Response {
        let token = found.next.map(|after| {
            let digest = edge.app.crypto.lookup_digest("authzen/page", &format!("{} {after}", self.same));
            format!("{digest}.{after}")
        });
        let results: Vec<Value> = found.names.into_iter().map(result).collect();
        let page = json!({ "next_token": token.unwrap_or_default(), "count": results.len() });
        answered(json!({ "results": results, "page": page }))
    }
}

/// The client that searches: a gateway learns of those alone who stand before it.
fn searcher(asking: &Asking) -> Result<&Caller, Refusal> {
    match &asking.asker {
        Asker::Gateway(_) => Err(Refusal::new(StatusCode::FORBIDDEN, "searching takes a client with `access:search`")),
        Asker::Client(caller) => {
            caller.require("access:search").map_err(Problem::from)?;
            Ok(caller)
        }
    }
}

fn failed(error: ServiceError) -> Refusal {
    Problem::from(error).into()
}

/// With which resources of a type may this subject do this?
#[utoipa::path(post, path = "/access/v1/search/resource", tag = "authzen", request_body(content = Object, description = "`subject`, `action`, `resource` {`type`}, `page` {`token`, `limit`}"), security(("client" = ["access:search"])),
    responses((status = 200, description = "`results` and `page`", content_type = "application/json", body = Object), (status = 400, description = "cannot be read", content_type = "text/plain", body = String), (status = 401, description = "no valid credential", content_type = "text/plain", body = String), (status = 403, description = "may not ask", content_type = "text/plain", body = String), (status = 503, description = "cannot know", content_type = "text/plain", body = String)))]
pub async fn resources(
    State(edge): State<Edge>,
    asking: Asking,
    Members(members): Members,
) -> Result<Response, Refusal> {
    let caller = searcher(&asking)?;
    let subject = request::entity(&members, "subject").map_err(Refusal::bad)?;
    let action = request::action(&members).map_err(Refusal::bad)?;
    let kind = request::kind(&members, "resource").map_err(Refusal::bad)?;
    let acting_for = request::acting_for(&members).map_err(Refusal::bad)?;
    let wanted = Wanted::of(&edge, caller, "resource", &members).map_err(Refusal::bad)?;
    let found = edge.app.resources_for(subject, acting_for, action, kind, wanted.paging()).await.map_err(failed)?;
    Ok(wanted.told(&edge, found, |id| json!({ "type": kind, "id": id })))
}

/// What may this subject do with that?
#[utoipa::path(post, path = "/access/v1/search/action", tag = "authzen", request_body(content = Object, description = "`subject`, `resource`, `page` {`token`, `limit`}"), security(("client" = ["access:search"])),
    responses((status = 200, description = "`results` and `page`", content_type = "application/json", body = Object), (status = 400, description = "cannot be read", content_type = "text/plain", body = String), (status = 401, description = "no valid credential", content_type = "text/plain", body = String), (status = 403, description = "may not ask", content_type = "text/plain", body = String), (status = 503, description = "cannot know", content_type = "text/plain", body = String)))]
pub async fn actions(State(edge): State<Edge>, asking: Asking, Members(members): Members) -> Result<Response, Refusal> {
    let caller = searcher(&asking)?;
    let subject = request::entity(&members, "subject").map_err(Refusal::bad)?;
    let resource = request::entity(&members, "resource").map_err(Refusal::bad)?;
    let acting_for = request::acting_for(&members).map_err(Refusal::bad)?;
    let wanted = Wanted::of(&edge, caller, "action", &members).map_err(Refusal::bad)?;
    let found = edge.app.actions_for(subject, acting_for, resource, wanted.paging()).await.map_err(failed)?;
    Ok(wanted.told(&edge, found, |name| json!({ "name": name })))
}

/// Which subjects of a type may do this with that? Offered only where the configuration says so.
#[utoipa::path(post, path = "/access/v1/search/subject", tag = "authzen", request_body(content = Object, description = "`subject` {`type`}, `action`, `resource`, `page` {`token`, `limit`}"), security(("client" = ["access:search"])),
    responses((status = 200, description = "`results` and `page`", content_type = "application/json", body = Object), (status = 400, description = "cannot be read", content_type = "text/plain", body = String), (status = 401, description = "no valid credential", content_type = "text/plain", body = String), (status = 403, description = "may not ask", content_type = "text/plain", body = String), (status = 404, description = "not offered", content_type = "text/plain", body = String), (status = 503, description = "cannot know", content_type = "text/plain", body = String)))]
pub async fn subjects(
    State(edge): State<Edge>,
    asking: Asking,
    Members(members): Members,
) -> Result<Response, Refusal> {
    let caller = searcher(&asking)?;
    if !edge.app.searches_subjects() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "searching for subjects is not offered here"));
    }
    let kind = request::kind(&members, "subject").map_err(Refusal::bad)?;
    let action = request::action(&members).map_err(Refusal::bad)?;
    let resource = request::entity(&members, "resource").map_err(Refusal::bad)?;
    let acting_for = request::acting_for(&members).map_err(Refusal::bad)?;
    let wanted = Wanted::of(&edge, caller, "subject", &members).map_err(Refusal::bad)?;
    let found = edge.app.subjects_for(kind, acting_for, action, resource, wanted.paging()).await.map_err(failed)?;
    Ok(wanted.told(&edge, found, |id| json!({ "type": kind, "id": id })))
}
