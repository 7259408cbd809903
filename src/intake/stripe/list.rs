//! Past sessions: `GET /v1/identity/verification_sessions`, newest first, a page after an id.

use super::{FetchTarget, refuse_test, upstream_instant};
use crate::intake::api::Api;
use crate::intake::native::{Account, Listing, VendorId};
use crate::intake::{IntakeError, native};
use reqwest::Client;
use serde::Deserialize;
use vouchsafe_core::Second;

/// Most sessions of a page, as the vendor allows.
const PAGE: &str = "100";

#[derive(Deserialize)]
struct Sessions {
    data: Vec<Listed>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    status: String,
    created: i64,
    livemode: bool,
}

/// One page of sessions that were decided, created at or after `since`; `place` is the last id of the page before.
///
/// # Errors
/// As [`super::fetch`]; [`IntakeError::SlowDown`].
pub(in crate::intake) async fn list(
    client: &Client,
    account: &Account,
    since: Option<Second>,
    place: Option<&str>,
) -> Result<Listing, IntakeError> {
    let api = Api::new(client, account, "v1", "Bearer ")?;
    let since = since.map(|since| since.epoch().to_string());
    let mut query = vec![("limit", PAGE)];
    query.extend(since.as_deref().map(|since| ("created[gte]", since)));
    query.extend(place.map(|place| ("starting_after", place)));
    let page: Sessions = api.get(&["identity", "verification_sessions"], &query).await?;
    let next = match page.data.last() {
        Some(last) if page.has_more => Some(VendorId::of_answer(&last.id)?.to_string()),
        None if page.has_more => return Err(IntakeError::Upstream("a page is empty and not the last")),
        _ => None,
    };
    let mut targets = Vec::new();
    for listed in page.data {
        refuse_test(account, listed.livemode)?;
        // Any other has no result yet, or none at all.
        if matches!(listed.status.as_str(), "verified" | "requires_input") {
            // The session's own time: what it says counts from its report, which is later.
            let at = upstream_instant(listed.created)?;
            targets.push(native::Target::Stripe(FetchTarget { session: VendorId::of_answer(&listed.id)?, at }));
        }
    }
    Ok(Listing { targets, next })
}
