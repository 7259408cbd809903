//! Reading the ledger.

use crate::service::{App, ServiceResult, invalid};
use crate::storage::{AskedAdmissions, StoredAdmission};
use serde::Serialize;
use vouchsafe_core::Second;
use vouchsafe_core::ids::{ResourcePattern, SubjectId};

/// Later than anything that was counted, in the twelve digits of an id.
const EVER_MS: i64 = 0xffff_ffff_ffff;

/// Which admissions are asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// To a resource or a family.
    pub resource: Option<ResourcePattern>,
    /// Of a subject.
    pub subject: Option<SubjectId>,
    /// By a gateway.
    pub gateway: Option<String>,
    /// Those going on at or after it.
    pub from: Option<Second>,
    /// Those begun before it.
    pub to: Option<Second>,
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdmissionView {
    /// `adm_…`, in order of time.
    pub id: String,
    /// Who was let in.
    pub subject: String,
    /// The organisation acted for.
    pub acting_for: Option<String>,
    /// To what.
    pub resource: String,
    /// Under which decision.
    pub decision: String,
    /// By which gateway.
    pub gateway: String,
    /// Of an end user, the organisation through which they came.
    pub through: Option<String>,
    /// The hour's first second.
    pub hour: Second,
    /// How often in that hour.
    pub count: i64,
    /// The first time.
    pub first_at: Second,
    /// The last time.
    pub last_at: Second,
}

impl From<StoredAdmission> for AdmissionView {
    fn from(row: StoredAdmission) -> Self {
        Self {
            id: row.id,
            subject: row.subject,
            acting_for: Some(row.acting_for).filter(|id| !id.is_empty()),
            resource: row.resource,
            decision: row.decision,
            gateway: row.gateway,
            through: Some(row.through).filter(|id| !id.is_empty()),
            hour: Second::from_millis(row.hour_ms),
            count: row.count,
            first_at: Second::from_millis(row.first_ms),
            last_at: Second::from_millis(row.last_ms),
        }
    }
}

impl App {
    /// A page of the ledger in order of time, as far as it is written.
    ///
    /// # Errors
    /// `Invalid` when `to` is not after `from`.
    pub async fn admissions(&self, asked: &Asked, after: &str, limit: i64) -> ServiceResult<Vec<AdmissionView>> {
        Ok(self.admission_rows(asked, after, limit).await?.into_iter().map(AdmissionView::from).collect())
    }

    pub(crate) async fn admission_rows(
        &self,
        asked: &Asked,
        after: &str,
        limit: i64,
    ) -> ServiceResult<Vec<StoredAdmission>> {
        let from_ms = asked.from.map_or(0, Second::millis).max(0);
        let to_ms = asked.to.map_or(EVER_MS, Second::millis).min(EVER_MS);
        if from_ms >= to_ms {
            return Err(invalid("/to", "must be after `from`"));
        }
        let resource = asked.resource.as_ref().map(ToString::to_string).unwrap_or_default();
        let family = resource.strip_suffix('*').unwrap_or_default();
        let rows = self.store.admissions(AskedAdmissions {
            resource: if family.is_empty() { &resource } else { "" },
            family,
            subject: asked.subject.as_ref().map_or("", SubjectId::as_str),
            gateway: asked.gateway.as_deref().unwrap_or(""),
            from_ms,
            to_ms,
            after,
            limit,
        });
        Ok(rows.await?)
    }
}
