//! Looking over what is stored, without changing it: keys, rules, parties, vendors, the audit log, the clock.

use super::keys::USUAL_KEYS;
use super::roots::opened;
use super::vendor::account;
use super::world::{DirectiveState, VendorSecrets, World, all_records};
use super::{ServiceError, ServiceResult};
use crate::crypto::{Crypto, CryptoError, MasterKey};
use crate::finding::{Finding, Level};
use crate::storage::audit::GENESIS;
use crate::storage::{AuditRecord, Store, StoredKey};
use crate::token::keys::RingKey;
use vouchsafe_core::Second;

mod parties;
mod rules;

/// Records of the audit log whose links are checked.
const TAIL: i64 = 1000;
/// Subjects whose keys are tried.
const SAMPLE: i64 = 20;
/// Entries reach the log twice a second; waiting this long, in milliseconds, nobody links them.
const UNLINKED: i64 = 60_000;
/// A clock may be behind what another replica recorded by this much, in milliseconds.
const BEHIND: i64 = 5_000;

/// A vendor's API, to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorApi {
    /// Source id.
    pub source: String,
    /// The vendor's name.
    pub vendor: String,
    /// API origin.
    pub base_url: String,
}

/// What is looked over.
pub struct Stored<'a> {
    /// The database.
    pub store: &'a dyn Store,
    /// The master key; `None` if it cannot be read.
    pub master: Option<&'a MasterKey>,
    /// Position of the last record of the audit log.
    pub log_end: i64,
    /// Oldest and newest instant of what waits for the log, epoch milliseconds.
    pub waiting: Option<(i64, i64)>,
    /// This machine's clock, epoch milliseconds.
    pub now_ms: i64,
    /// Whether a network database is configured.
    pub networks: bool,
}

/// Looks everything over. What cannot be read is a finding too.
pub async fn look_over(stored: &Stored<'_>) -> (Vec<Finding>, Vec<VendorApi>) {
    let (mut findings, mut vendors) = (Vec::new(), Vec::new());
    if let Err(error) = look(stored, &mut findings, &mut vendors).await {
        findings.push(Finding::failure(
            "content.read",
            format!("stored content cannot be read: {error}"),
            "the service does not start on it",
            "restore the named record from a backup, or ask whoever wrote to the database by hand",
        ));
    }
    (findings, vendors)
}

async fn look(stored: &Stored<'_>, findings: &mut Vec<Finding>, vendors: &mut Vec<VendorApi>) -> ServiceResult<()> {
    let store = stored.store;
    findings.extend(audit(stored).await?);
    let keys = store.keys().await?;
    let crypto = match stored.master.map(|master| opened(store, master)) {
        None => None,
        Some(opening) => match opening.await {
            Ok(Some(crypto)) => {
                findings.extend(signing_keys(&keys, &crypto));
                findings.extend(subject_keys(store, &crypto).await?);
                Some(crypto)
            }
            Ok(None) => {
                findings.push(Finding::ok("keys.signing", NO_KEYS_YET));
                None
            }
            Err(ServiceError::Crypto(CryptoError::OtherMaster(_) | CryptoError::Opening)) => {
                findings.push(other_master_key(keys.len()));
                None
            }
            Err(error) => return Err(error),
        },
    };
    let world = World::load(store).await?;
    if let Some(crypto) = &crypto {
        findings.extend(secrets(&world, crypto));
    }
    let mut directives = Vec::new();
    for record in all_records(store, "directive").await? {
        let state: DirectiveState = serde_json::from_str(&record.body)
            .map_err(|_| ServiceError::Unreadable(format!("record directive/{}", record.id)))?;
        directives.push(state);
    }
    let now = Second::from_millis(stored.now_ms);
    findings.extend(rules::check(&world, &directives, now, stored.networks));
    findings.extend(parties::check(&world, &keys));
    let apis = world.sources.iter().filter_map(|(id, (source, _))| {
        let vendor = source.vendor.as_ref()?;
        Some(VendorApi { source: id.clone(), vendor: vendor.name.clone(), base_url: vendor.base_url.clone() })
    });
    vendors.extend(apis);
    vendors.sort_by(|a, b| a.source.cmp(&b.source));
    Ok(())
}

const NO_KEYS_YET: &str = "there are no signing keys yet; the service makes them when it starts";

fn other_master_key(keys: usize) -> Finding {
    Finding::failure(
        "keys.master",
        format!("the master key opens none of {keys} signing keys: it is not the key of this database"),
        "the service does not start: it could sign nothing and read no identifier",
        "put back the master key file that belongs to this database; a new one opens nothing that is stored",
    )
}

/// Whether the master key is the one that these keys were sealed with, and which are missing.
fn signing_keys(stored: &[StoredKey], crypto: &Crypto) -> Vec<Finding> {
    let check = "keys.master";
    if stored.is_empty() {
        return vec![Finding::ok("keys.signing", NO_KEYS_YET)];
    }
    let living = stored.iter().filter(|key| key.times.retired_at_ms.is_none());
    let (opened, shut): (Vec<_>, Vec<_>) =
        living.map(|key| (key, RingKey::from_stored(key, crypto).ok())).partition(|(_, key)| key.is_some());
    if opened.is_empty() {
        return vec![other_master_key(shut.len())];
    }
    let mut findings = Vec::new();
    if shut.is_empty() {
        findings.push(Finding::ok(check, format!("the master key opens all {} signing keys", opened.len())));
    } else {
        let kids: Vec<&str> = shut.iter().map(|(key, _)| key.kid.as_str()).collect();
        findings.push(Finding::failure(
            check,
            format!("the master key does not open: {}", kids.join(", ")),
            "the service does not start on a key that was altered or sealed otherwise",
            "restore table `keys` from a backup",
        ));
    }
    let newest = |key: &StoredKey| key.times.last_signs_ms.is_none();
    let held = |purpose: &str, alg: &str| {
        opened.iter().any(|(key, _)| key.purpose == purpose && key.alg == alg && newest(key))
    };
    let missing: Vec<String> = USUAL_KEYS
        .iter()
        .filter(|(purpose, alg)| !held(purpose.as_str(), alg.as_str()))
        .map(|(purpose, alg)| format!("{} with {}", purpose.as_str(), alg.as_str()))
        .collect();
    findings.push(if missing.is_empty() {
        Finding::ok("keys.signing", "there is a signing key for every purpose")
    } else {
        Finding::warning(
            "keys.signing",
            format!("no signing key for {}", missing.join(", ")),
            "the service makes it when it starts, and verifiers must fetch it",
            "start the service, unless somebody removed the key on purpose",
        )
    });
    findings
}

async fn subject_keys(store: &dyn Store, crypto: &Crypto) -> ServiceResult<Vec<Finding>> {
    let subjects = store.subjects("", SAMPLE).await?;
    let active: Vec<_> = subjects.iter().filter(|subject| subject.state == "active").collect();
    let shut = active.iter().filter(|subject| crypto.unwrap_data_key(&subject.id, &subject.wrapped_key).is_err());
    let (shut, tried) = (shut.count(), active.len());
    Ok(match (shut, tried) {
        (_, 0) => Vec::new(),
        (0, _) => vec![Finding::ok("keys.subjects", format!("the keys of {tried} subjects that were tried open"))],
        _ => vec![Finding::failure(
            "keys.subjects",
            format!("the keys of {shut} of {tried} subjects that were tried do not open"),
            "their identifiers cannot be read",
            "put back the master key file that belongs to this database, or restore table `subjects`",
        )],
    })
}

/// Whether vendors' secrets open, and are of the environment that the source says.
fn secrets(world: &World, crypto: &Crypto) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, (source, sealed)) in &world.sources {
        let Some(vendor) = &source.vendor else { continue };
        let opened = sealed
            .as_ref()
            .and_then(|sealed| crypto.open_secret(&format!("source/{id}"), sealed).ok())
            .and_then(|plain| serde_json::from_slice::<VendorSecrets>(&plain).ok())
            .and_then(|secrets| account(vendor.clone(), secrets).ok());
        let Some((native, account)) = opened else {
            findings.push(Finding::failure(
                "vendors.secrets",
                format!("the settings or secrets of source `{id}` cannot be opened"),
                "its deliveries are refused",
                "register the source again with its webhook and API tokens",
            ));
            continue;
        };
        let test = native.is_test(&account);
        findings.push(match (vendor.production, test) {
            (true, Some(true)) => Finding::failure(
                "vendors.environment",
                format!("source `{id}` is for production and holds a token of a test environment"),
                "every result is refused",
                "give it the vendor's live token",
            ),
            (false, Some(false)) => Finding::warning(
                "vendors.environment",
                format!("source `{id}` takes results of test environments and holds a live token"),
                "whoever can make test results can make anybody eligible",
                "register the source without `--test-only`",
            ),
            (false, _) => Finding::warning(
                "vendors.environment",
                format!("source `{id}` takes results of test environments"),
                "whoever can make test results can make anybody eligible",
                "register the source without `--test-only` before real people depend on it",
            ),
            (true, _) => {
                Finding::ok("vendors.environment", format!("the secrets of source `{id}` open, for production"))
            }
        });
    }
    findings
}

/// The end of the log, what waits for it, and whether the clock is behind what it says.
async fn audit(stored: &Stored<'_>) -> ServiceResult<Vec<Finding>> {
    let after = (stored.log_end - TAIL - 1).max(0);
    let records = stored.store.audit_log(after, TAIL + 1).await?;
    let mut findings = vec![tail(after, &records)];
    if let Some((oldest, _)) = stored.waiting {
        let age = stored.now_ms - oldest;
        findings.push(if age > UNLINKED {
            Finding::warning(
                "audit.waiting",
                format!("audit entries wait for the log since {}", Second::from_millis(oldest)),
                "until they are linked, their removal would not show",
                "start the service, or look for `audit entries cannot be linked` in its log",
            )
        } else {
            Finding::ok("audit.waiting", "the newest audit entries are about to be linked")
        });
    }
    let logged = records
        .last()
        .and_then(|record| serde_json::from_str::<serde_json::Value>(&record.entry).ok()?.get("at_ms")?.as_i64());
    let newest = logged.max(stored.waiting.map(|(_, newest)| newest));
    findings.extend(newest.map(|newest| clock(newest, stored.now_ms)));
    Ok(findings)
}

/// Checks records that follow position `after`; the first of them is believed unless it is the log's first.
fn tail(after: i64, records: &[AuditRecord]) -> Finding {
    let mut before = (after == 0).then(|| (0, GENESIS.to_owned()));
    for record in records {
        let fault = before.as_ref().and_then(|(position, hash)| record.fault(*position, hash));
        if let Some(fault) = fault {
            return Finding::failure(
                "audit.log",
                format!("the audit log is broken at record {}: {fault}", record.position),
                "somebody wrote to it past the service",
                "`vouchsafe audit verify` shows the first break; compare with a backup and keep both",
            );
        }
        before = Some((record.position, record.hash.clone()));
    }
    Finding::ok("audit.log", format!("the last {} records of the audit log are linked", records.len()))
}

fn clock(newest_ms: i64, now_ms: i64) -> Finding {
    if newest_ms - now_ms <= BEHIND {
        return Finding::ok("clock.recorded", "the clock is not behind what was recorded last");
    }
    Finding::failure(
        "clock.recorded",
        format!("the clock is {} s behind what was recorded last", (newest_ms - now_ms) / 1000),
        "decisions would be made for the past, and what has ended would count again",
        "set the clock, and synchronise it, such as with `chronyd`",
    )
}

/// One finding if nothing was found.
fn or_ok(findings: Vec<Finding>, check: &'static str, found: impl Into<String>) -> Vec<Finding> {
    let worst = findings.iter().map(|finding| finding.level).max();
    if worst.unwrap_or(Level::Ok) > Level::Ok { findings } else { vec![Finding::ok(check, found)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::KeyTimes;
    use crate::storage::audit_hash;
    use crate::token::keys::{Algorithm, Purpose, SigningKey};

    fn stored_key(crypto: &Crypto, purpose: Purpose, alg: Algorithm) -> StoredKey {
        let (key, pkcs8) = SigningKey::generate(alg, purpose).unwrap();
        key.to_stored(&pkcs8, crypto, KeyTimes::new(0, 0)).unwrap()
    }

    fn level_of(findings: &[Finding], check: &str) -> Level {
        findings.iter().filter(|finding| finding.check == check).map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn another_master_key_is_told_apart_from_an_altered_row() {
        let ours = Crypto::new(&[1; 32]);
        let mut keys: Vec<_> = USUAL_KEYS.iter().map(|(purpose, alg)| stored_key(&ours, *purpose, *alg)).collect();
        let good = signing_keys(&keys, &ours);
        assert_eq!((level_of(&good, "keys.master"), level_of(&good, "keys.signing")), (Level::Ok, Level::Ok));
        let other = signing_keys(&keys, &Crypto::new(&[2; 32]));
        assert!(other[0].level == Level::Failure && other[0].found.contains("not the key of this database"));
        keys[0].sealed[20] ^= 1;
        let altered = signing_keys(&keys, &ours);
        assert!(altered[0].level == Level::Failure && altered[0].found.contains(&keys[0].kid), "{altered:?}");
        assert!(altered[1].level == Level::Warning && altered[1].found.contains("access with ES256"), "{altered:?}");
        assert_eq!(signing_keys(&[], &ours).len(), 1);
    }

    #[test]
    fn a_tail_is_checked_from_its_second_record_or_from_the_logs_beginning() {
        let chain = |entries: &[&str]| -> Vec<AuditRecord> {
            let mut previous = "0".repeat(64);
            let link = |(index, entry): (usize, &&str)| {
                let hash = audit_hash(&previous, entry);
                let before = std::mem::replace(&mut previous, hash.clone());
                let position = i64::try_from(index).unwrap() + 1;
                AuditRecord { position, hash, previous: before, entry: (*entry).to_owned() }
            };
            entries.iter().enumerate().map(link).collect()
        };
        let good = chain(&["a", "b", "c"]);
        assert_eq!(tail(0, &good).level, Level::Ok);
        assert_eq!(tail(1, &good[1..]).level, Level::Ok);
        assert_eq!(tail(0, &good[1..]).level, Level::Failure);
        let mut altered = good.clone();
        altered[2].entry = "d".to_owned();
        assert!(tail(0, &altered).found.contains("record 3"), "{:?}", tail(0, &altered));
        assert_eq!(tail(0, &[good[0].clone(), good[2].clone()]).level, Level::Failure);
    }

    #[test]
    fn a_clock_behind_the_records_is_a_failure_and_one_ahead_is_not() {
        assert_eq!(clock(10_000, 5_000).level, Level::Ok);
        assert_eq!(clock(10_001, 5_000).level, Level::Failure);
        assert_eq!(clock(10_000, 99_000_000).level, Level::Ok);
    }
}
