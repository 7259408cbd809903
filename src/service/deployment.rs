//! Test and production are two deployments, and a database belongs to one of them for life.
//!
//! Evidence can be made up on a test deployment only. It is marked in its facts; a production deployment refuses to
//! start on a test's database, ignores marked facts all the same, and its tokens are of another type.

use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Record, Write};
use crate::token::keys::Purpose;
use crate::token::profile::{self, Profile};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The code of made-up evidence.
pub const SIMULATED: &str = "simulated";

/// What a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deployment {
    /// Real people, real evidence.
    Production,
    /// Integrators at work; evidence may be made up.
    Test,
}

impl Deployment {
    /// Whether evidence may be made up.
    #[must_use]
    pub fn is_test(self) -> bool {
        self == Self::Test
    }

    /// `typ` of eligibility tokens (RFC 8725 section 3.11): who asks for the one never takes the other.
    #[must_use]
    pub fn token_type(self) -> &'static str {
        match self {
            Self::Production => "eligibility+jwt",
            Self::Test => "test-eligibility+jwt",
        }
    }

    /// What a token of ours must be like to be believed from whoever brings it; `None` for kinds that open nothing here.
    pub(crate) fn profile(self, purpose: Purpose) -> Option<&'static Profile<'static>> {
        match (purpose, self) {
            (Purpose::Access, _) => Some(&profile::ACCESS),
            (Purpose::Eligibility, Self::Production) => Some(&profile::ELIGIBILITY),
            (Purpose::Eligibility, Self::Test) => Some(&profile::TEST_ELIGIBILITY),
            (
                Purpose::Receipt
                | Purpose::Introspection
                | Purpose::StatusList
                | Purpose::Event
                | Purpose::ProvidedClaims,
                _,
            ) => None,
        }
    }
}

/// What a database says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    deployment: Deployment,
}

const KIND: &str = "deployment";
const ID: &str = "this";

impl App {
    /// Marks an empty database as this deployment's; refuses the other kind's.
    pub(crate) async fn take_possession(&self) -> ServiceResult<()> {
        if let Some(record) = self.store.record(KIND, ID).await? {
            return self.belongs(&record);
        }
        if self.deployment.is_test() && !self.store.records("client", "", 1).await?.is_empty() {
            return Err(ServiceError::WrongDeployment(
                "configuration key `test_deployment`: this database is in use already; a test deployment begins with an empty one",
            ));
        }
        let body = serde_json::to_string(&Mark { deployment: self.deployment })
            .map_err(|_| ServiceError::Unreadable(KIND.to_owned()))?;
        let record = Record {
            kind: KIND.to_owned(),
            id: ID.to_owned(),
            version: 1,
            body,
            sealed: None,
            updated_at_ms: self.clock.now_ms(),
        };
        let audit = self.audit(&Actor::system(), "deployment.begun", ID, &json!({ "deployment": self.deployment }))?;
        let write = Write::Record { record, expected: 0 };
        if self.commit(vec![write], audit, Vec::new()).await?.is_ok() {
            return Ok(());
        }
        // Another process was first.
        let record = self.store.record(KIND, ID).await?.ok_or(ServiceError::Unavailable("deployment"))?;
        self.belongs(&record)
    }

    fn belongs(&self, record: &Record) -> ServiceResult<()> {
        let mark: Mark =
            serde_json::from_str(&record.body).map_err(|_| ServiceError::Unreadable(format!("record {KIND}/{ID}")))?;
        match (mark.deployment, self.deployment) {
            (held, ours) if held == ours => Ok(()),
            (Deployment::Test, _) => Err(ServiceError::WrongDeployment(
                "configuration key `test_deployment`: this database belongs to a test deployment and may hold made-up evidence; use another database",
            )),
            (Deployment::Production, _) => Err(ServiceError::WrongDeployment(
                "configuration key `test_deployment`: this database belongs to a production deployment; use another database",
            )),
        }
    }

    /// # Errors
    /// `WrongDeployment` anywhere else.
    pub(crate) fn only_on_a_test_deployment(&self) -> ServiceResult<()> {
        if self.deployment.is_test() {
            return Ok(());
        }
        Err(ServiceError::WrongDeployment(
            "evidence is made up only on a deployment with `test_deployment = true` from its beginning",
        ))
    }
}
