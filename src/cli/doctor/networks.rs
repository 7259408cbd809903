//! Network databases: readable, whole, recent.

use crate::finding::Finding;
use crate::intake::geoip::{Description, describe};
use std::path::PathBuf;
use vouchsafe_core::Second;

const DAY: i64 = 86_400;
/// Vendors publish twice a week to monthly; older than this, updating has stopped.
const OLD_DAYS: i64 = 45;

pub(super) fn check(paths: &[PathBuf], now: Second) -> Vec<Finding> {
    if paths.is_empty() {
        return vec![Finding::ok("networks", "no network database is configured: nothing is observed of addresses")];
    }
    let look = |path: &PathBuf| match describe(path) {
        Ok(description) => judge(&path.display().to_string(), &description, now),
        Err(error) => vec![Finding::failure(
            "networks",
            error.to_string(),
            "the service does not start with it",
            "fetch it again, check its mode, or take it out of configuration key `geoip`",
        )],
    };
    paths.iter().flat_map(look).collect()
}

fn judge(path: &str, description: &Description, now: Second) -> Vec<Finding> {
    let Description { kind, built_at, ipv6, damage } = description;
    let days = now.since(*built_at) / DAY;
    let mut findings = vec![if days > OLD_DAYS {
        Finding::warning(
            "networks",
            format!("`{path}` ({kind}) was built {days} days ago"),
            "networks move: people are placed where the address was",
            "fetch the current file, and let a timer do it weekly",
        )
    } else if days < -1 {
        Finding::warning(
            "networks",
            format!("`{path}` ({kind}) was built {} days in the future", -days),
            "this machine's clock is behind, or the file is not what it says",
            "check the clock first",
        )
    } else {
        Finding::ok("networks", format!("`{path}` ({kind}) was built {days} days ago"))
    }];
    if !ipv6 {
        findings.push(Finding::warning(
            "networks",
            format!("`{path}` ({kind}) knows IPv4 addresses only"),
            "nothing is observed of callers with IPv6",
            "use the edition for both",
        ));
    }
    findings.extend(damage.as_ref().map(|damage| {
        Finding::warning(
            "networks",
            format!("`{path}` ({kind}) is damaged: {damage}"),
            "records that cannot be read count as absent",
            "fetch it again",
        )
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn age_and_reach_are_judged() {
        let now = Second::from_epoch(1_000 * DAY);
        let built =
            |days: i64| Description { kind: "t".into(), built_at: now.plus(-days * DAY), ipv6: true, damage: None };
        assert_eq!(judge("f", &built(45), now)[0].level, Level::Ok);
        assert_eq!(judge("f", &built(46), now)[0].level, Level::Warning);
        assert_eq!(judge("f", &built(-1), now)[0].level, Level::Ok);
        assert!(judge("f", &built(-3), now)[0].found.contains("in the future"));
        let narrow = Description { ipv6: false, ..built(0) };
        assert_eq!(judge("f", &narrow, now)[1].level, Level::Warning);
        let damaged = Description { damage: Some("a hole".into()), ..built(0) };
        assert!(judge("f", &damaged, now)[1].found.contains("damaged: a hole"));
    }
}
