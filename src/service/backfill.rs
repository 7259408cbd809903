//! Past results of a native vendor, fetched and recorded as if their notices came now.
//!
//! A listing carries no verdict: each result is fetched and read by the same code that a webhook's hint leads to. What
//! stands already is not said again. Where the vendor has changed its mind since and told nobody, its word counts from
//! the moment we asked.

use super::ingest::{Delivery, Speaker};
use super::vendor::account;
use super::{App, ServiceError, ServiceResult};
use crate::intake::CheckResult;
use crate::intake::native::{Listing, Target};
use vouchsafe_core::Second;

/// What we hold of an examination already.
enum Held {
    Nothing,
    /// This very finding.
    Same(Delivery),
    /// Another, decided then.
    Other(Second),
}

/// A delivery id without the instant it ends with: what was found.
fn finding(event: &str) -> Option<(&str, Second)> {
    let at = event.len().checked_sub("2026-11-21T00:00:00Z".len())?;
    let (finding, instant) = (event.get(..at)?.strip_suffix(':')?, event.get(at..)?);
    Some((finding, Second::parse(instant).ok()?))
}

impl App {
    /// A page of the vendor's past results; `place` is `next` of the page before.
    ///
    /// # Errors
    /// `NotFound` for a source without a native vendor; `Intake` when the vendor lists nothing or fails.
    pub async fn past_results(
        &self,
        source: &str,
        since: Option<Second>,
        place: Option<&str>,
    ) -> ServiceResult<Listing> {
        let (_, vendor, secrets) = self.vendor(source)?;
        let (native, account) = account(vendor, secrets)?;
        Ok(native.list(&self.outgoing, &account, since, place).await?)
    }

    /// Fetches one past result and records what is new in it.
    ///
    /// # Errors
    /// `Intake` when the vendor fails; `Invalid` for a result that cannot be used.
    pub async fn backfill(&self, source: &str, target: &Target) -> ServiceResult<Vec<Delivery>> {
        let (speaker, vendor, secrets) = self.vendor(source)?;
        let (_, account) = account(vendor, secrets)?;
        // Before the question: what the vendor decides after it is newer than its answer.
        let asked = self.clock.now();
        let (mut deliveries, mut refused) = (Vec::new(), None);
        for mut result in target.fetch(&self.outgoing, &account).await? {
            match self.held(&speaker, &result).await? {
                Held::Same(delivery) => {
                    deliveries.push(delivery);
                    continue;
                }
                Held::Other(decided_at) if result.decided_at <= decided_at => {
                    let (found, _) = finding(&result.event).ok_or(ServiceError::Unavailable("delivery id"))?;
                    result.event = format!("{found}:{asked}");
                    result.decided_at = asked;
                }
                Held::Other(_) | Held::Nothing => {}
            }
            // As with a webhook: one that cannot be used holds none of the others back.
            match self.deliver(&speaker, result).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(deliveries), Err)
    }

    /// What is held of the examination that a result is about: attached to a subject, or waiting for one.
    async fn held(&self, speaker: &Speaker, result: &CheckResult) -> ServiceResult<Held> {
        let Some((ours, _)) = finding(&result.event) else { return Ok(Held::Nothing) };
        let mut newest: Option<(Second, Option<Delivery>)> = None;
        let mut see = |event: &str, same: Delivery, standing: bool| {
            let Some((found, at)) = finding(event) else { return };
            if newest.as_ref().is_none_or(|(before, _)| at > *before) {
                newest = Some((at, (found == ours && standing).then_some(same)));
            }
        };
        if let Some(subject) = self.store.session_subject(&speaker.source, &result.session).await? {
            let (_, attestations) = self.store.load_subject(&subject).await?.unzip();
            let of_it = |a: &&_| matches!(a, stored if is_of(stored, &speaker.source, &result.lineage));
            for stored in attestations.iter().flatten().filter(of_it) {
                // What the vendor itself took back when it reopened the check stands no more; what somebody else
                // revoked stays revoked.
                let reopened =
                    stored.marks.iter().any(|mark| mark.kind == "revoked" && mark.reason == "check.reopened");
                see(&stored.event, Delivery::Duplicate(stored.id.clone()), !reopened);
            }
        } else {
            for waiting in self.store.quarantined(&speaker.source, &result.session).await? {
                if self.open_waiting(&waiting)?.lineage == result.lineage {
                    see(&waiting.event, Delivery::Quarantined, true);
                }
            }
        }
        Ok(match newest {
            None => Held::Nothing,
            Some((_, Some(same))) => Held::Same(same),
            Some((at, None)) => Held::Other(at),
        })
    }
}

fn is_of(stored: &crate::storage::StoredAttestation, source: &str, lineage: &str) -> bool {
    stored.source == source && stored.lineage == lineage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_delivery_id_without_its_instant() {
        let at = Second::parse("2026-09-01T08:14:00Z").unwrap();
        let event = format!("session:vs_1:vr_1:declined:face_mismatch:{at}");
        assert_eq!(finding(&event), Some(("session:vs_1:vr_1:declined:face_mismatch", at)));
        assert_eq!(finding("evt_1"), None);
        assert_eq!(finding("2026-09-01T08:14:00Z"), None);
        assert_eq!(finding(&format!("é{event}é")), None);
    }
}
