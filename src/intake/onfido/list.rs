//! Past results: Studio runs by `GET /v3.6/workflow_runs`; classic checks only by applicant, so all applicants are
//! asked for with `GET /v3.6/applicants` and then each for its checks.

use super::{FetchTarget, upstream_instant};
use crate::intake::api::Api;
use crate::intake::native::{Account, Listing, VendorId};
use crate::intake::{IntakeError, native};
use reqwest::Client;
use serde::Deserialize;
use vouchsafe_core::Second;

/// Applicants of a page: each is one more question.
const APPLICANTS: &str = "20";
/// Runs that were decided, or wait for a decision of our own people.
const DECIDED_RUNS: &str = "approved,declined,review";

#[derive(Deserialize)]
struct Run {
    id: String,
}

#[derive(Deserialize)]
struct Applicants {
    applicants: Vec<Applicant>,
}

#[derive(Deserialize)]
struct Applicant {
    id: String,
}

#[derive(Deserialize)]
struct Checks {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    status: String,
    created_at: String,
}

/// Where a listing stands: first the runs, then the applicants.
#[derive(Clone, Copy)]
enum Place {
    Runs(u32),
    Applicants(u32),
}

impl Place {
    fn parse(text: Option<&str>) -> Result<Self, IntakeError> {
        let Some(text) = text else { return Ok(Self::Runs(1)) };
        let unknown = IntakeError::Unsupported("place in the listing");
        let (kind, page) = text.split_once(':').ok_or(unknown)?;
        match (kind, page.parse()) {
            ("runs", Ok(page)) => Ok(Self::Runs(page)),
            ("applicants", Ok(page)) => Ok(Self::Applicants(page)),
            _ => Err(unknown),
        }
    }
}

/// One page of results created at or after `since`; `place` as the page before gave it.
///
/// # Errors
/// As [`super::fetch`]; [`IntakeError::SlowDown`].
pub(in crate::intake) async fn list(
    client: &Client,
    account: &Account,
    since: Option<Second>,
    place: Option<&str>,
) -> Result<Listing, IntakeError> {
    let api = Api::new(client, account, "v3.6", "Token token=")?;
    match Place::parse(place)? {
        Place::Runs(page) => runs(&api, since, page).await,
        Place::Applicants(page) => checks(&api, since, page).await,
    }
}

/// Oldest first: what is completed meanwhile comes last and moves nothing to a page that was read.
async fn runs(api: &Api<'_>, since: Option<Second>, page: u32) -> Result<Listing, IntakeError> {
    let number = page.to_string();
    // The vendor's bound is exclusive.
    let since = since.map(|since| since.plus(-1).to_string());
    let mut query = vec![("page", number.as_str()), ("sort", "asc"), ("status", DECIDED_RUNS)];
    query.extend(since.as_deref().map(|since| ("created_at_gt", since)));
    let found: Vec<Run> = api.get(&["workflow_runs"], &query).await?;
    let next = if found.is_empty() { "applicants:1".to_owned() } else { format!("runs:{}", page.saturating_add(1)) };
    let target = |run: Run| Ok(native::Target::Onfido(FetchTarget::Run { run: VendorId::of_answer(&run.id)? }));
    Ok(Listing { targets: found.into_iter().map(target).collect::<Result<_, IntakeError>>()?, next: Some(next) })
}

async fn checks(api: &Api<'_>, since: Option<Second>, page: u32) -> Result<Listing, IntakeError> {
    let number = page.to_string();
    let query = [("page", number.as_str()), ("per_page", APPLICANTS)];
    let Applicants { applicants } = api.get(&["applicants"], &query).await?;
    let next = (!applicants.is_empty()).then(|| format!("applicants:{}", page.saturating_add(1)));
    let mut targets = Vec::new();
    for applicant in applicants {
        let id = VendorId::of_answer(&applicant.id)?;
        let Checks { checks } = api.get(&["checks"], &[("applicant_id", id.as_str())]).await?;
        for check in checks {
            let created = upstream_instant(&check.created_at)?;
            // Any other has no result yet.
            let decided = matches!(check.status.as_str(), "complete" | "withdrawn" | "reopened");
            if decided && since.is_none_or(|since| created >= since) {
                let check = VendorId::of_answer(&check.id)?;
                targets.push(native::Target::Onfido(FetchTarget::Check { check, at: None }));
            }
        }
    }
    Ok(Listing { targets, next })
}
