//! The machine and the user: limits, rights, whether the clock is kept.

use crate::finding::Finding;
use crate::http::listen::Bounds;
use rustix::process::{Resource, geteuid, getrlimit};
use std::path::Path;

/// Descriptors besides connections: the database, vendors, listeners.
const OTHERS: u64 = 128;

pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![descriptors(getrlimit(Resource::Nofile).current)];
    if geteuid().is_root() {
        findings.push(Finding::warning(
            "machine.user",
            "this runs as root",
            "the service needs no right that root has, and files it makes as root it cannot use as another user",
            "run it as a user of its own, such as with `User=` in a systemd unit",
        ));
    }
    findings.extend(kept_clock(Path::new("/run")));
    findings
}

/// Both listeners may be full; `None` is no limit.
fn descriptors(limit: Option<u64>) -> Finding {
    let need = 2 * u64::try_from(Bounds::default().connections).unwrap_or(u64::MAX / 4) + OTHERS;
    match limit {
        Some(limit) if limit < need => Finding::warning(
            "machine.descriptors",
            format!("{limit} files may be open at once, and full listeners use {need}"),
            "new connections then wait until others close",
            format!("raise it, such as with `LimitNOFILE={need}` in a systemd unit or `ulimit -n {need}`"),
        ),
        _ => Finding::ok("machine.descriptors", "enough files may be open at once"),
    }
}

/// Whether something keeps the clock, where that shows in files: systemd-timesyncd and chrony. Other keepers are not seen.
fn kept_clock(run: &Path) -> Option<Finding> {
    let check = "clock.kept";
    if run.join("systemd/timesync/synchronized").exists() {
        return Some(Finding::ok(check, "systemd-timesyncd has set the clock"));
    }
    if run.join("chrony/chronyd.pid").exists() || run.join("chronyd.pid").exists() {
        return Some(Finding::ok(check, "chronyd keeps the clock"));
    }
    run.join("systemd/timesync").exists().then(|| {
        Finding::warning(
            check,
            "systemd-timesyncd runs and has not set the clock since the machine started",
            "decisions and tokens are only as right as the clock",
            "`timedatectl timesync-status` says why",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn a_low_limit_of_open_files_is_told() {
        // Two listeners of 10,000 connections each, and 128 others.
        assert_eq!(descriptors(Some(20_127)).level, Level::Warning);
        assert_eq!(descriptors(Some(20_128)).level, Level::Ok);
        assert_eq!(descriptors(None).level, Level::Ok);
    }

    #[test]
    fn the_keepers_of_the_clock_show_in_files() {
        let run = std::env::temp_dir().join(format!("vouchsafe_run_{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        assert_eq!(kept_clock(&run), None);
        std::fs::create_dir_all(run.join("systemd/timesync")).unwrap();
        assert_eq!(kept_clock(&run).unwrap().level, Level::Warning);
        std::fs::write(run.join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(kept_clock(&run).unwrap().level, Level::Ok);
        std::fs::remove_dir_all(&run).unwrap();
    }
}
