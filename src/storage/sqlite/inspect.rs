//! A SQLite file as it lies there: who may touch it, whether it is whole, whether there is room.
//!
//! SQLite makes side files for a reader too. Where none are there nobody has the file open, so it is read as one that
//! nobody changes; where they are there, they are used.

use super::SqliteStore;
use super::engine::MIGRATIONS;
use crate::finding::{Finding, files};
use crate::storage::inspect::{self, Applied, Content, Inspection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The first SQLite whose write-ahead log two connections cannot corrupt (sqlite.org/wal.html, "the WAL-reset bug").
pub(super) const OLDEST: (u32, u32, u32) = (3, 51, 3);

const MIB: u64 = 1024 * 1024;
/// Free space under which commits are about to fail.
const SCARCE: u64 = 64 * MIB;
/// Free space under which somebody should look.
const LOW: u64 = 1024 * MIB;
/// A write-ahead log is 16 MiB when it is written back; this long, something holds it open.
const LONG_LOG: u64 = 256 * MIB;
/// How long looking at every page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the library linked in is new enough; the service refuses to start on an older one.
pub(super) fn is_safe(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST
}

/// The file beside the database with this ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

pub(in crate::storage) async fn inspect(url: &str) -> Inspection {
    let named = SqliteConnectOptions::from_str(url).ok().filter(|options| {
        !options.get_filename().as_os_str().is_empty() && !url.contains(":memory:") && !url.contains("mode=memory")
    });
    let Some(options) = named else {
        return Inspection::only(vec![Finding::failure(
            "database.url",
            "the configured database names no file",
            "the service does not start",
            "set configuration key `database` to `sqlite:PATH`",
        )]);
    };
    let path = options.get_filename().to_owned();
    if !path.exists() {
        return Inspection::only(vec![
            Finding::warning(
                "database.file",
                format!("`{}` is not there yet", path.display()),
                "the service makes an empty database when it starts; if there should be one, the path is wrong",
                "check configuration key `database`, or start the service",
            ),
            files::folder("database.folder", &path),
        ]);
    }
    let mut findings = lie_of_the_land(&path);
    match read(options, &path, &mut findings).await {
        Ok(content) => Inspection { findings, content },
        Err(error) => {
            findings.push(Finding::failure(
                "database.read",
                format!("`{}` cannot be read: {error}", path.display()),
                "the service does not start, or stops answering",
                "run this as the user that runs the service; if the file is damaged, restore a backup",
            ));
            Inspection::only(findings)
        }
    }
}

/// Modes, owners, sizes and room, without opening the database.
fn lie_of_the_land(path: &Path) -> Vec<Finding> {
    let mut findings = vec![files::folder("database.folder", path), files::mode("database.mode", path, 0o600)];
    for ending in ["-wal", "-shm"] {
        let side = beside(path, ending);
        if side.exists() {
            findings.push(files::mode("database.mode", &side, 0o600));
            findings.extend(other_owner(path, &side));
        }
    }
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
    if log > LONG_LOG {
        findings.push(Finding::warning(
            "database.log",
            format!("the write-ahead log is {} MiB long", log / MIB),
            "it is written back at 16 MiB unless a reader stays open, and reads slow down with its length",
            "end other programs that have the database open, such as a shell or a backup, or restart the service",
        ));
    }
    findings.push(room(path));
    findings.extend(processes(path));
    findings
}

fn other_owner(path: &Path, side: &Path) -> Option<Finding> {
    let owner = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.uid()).ok();
    let (ours, theirs) = (owner(path)?, owner(side)?);
    (ours != theirs).then(|| {
        Finding::failure(
            "database.owner",
            format!("`{}` belongs to user {theirs}, the database to user {ours}", side.display()),
            "the service cannot write to it; it was opened as another user",
            format!("stop the service and `chown {ours} {}`", side.display()),
        )
    })
}

fn room(path: &Path) -> Finding {
    let check = "database.room";
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(system) = rustix::fs::statvfs(folder) else {
        let remedy = "look with `df`";
        return Finding::warning(check, "free space cannot be read", "a full disk stops every change", remedy);
    };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let (found, why) = (format!("{} MiB are free", free / MIB), "a full disk stops every change");
    let remedy = "make room, or move the database to a larger disk";
    match free {
        free if free < SCARCE => Finding::failure(check, found, why, remedy),
        free if free < LOW => Finding::warning(check, found, why, remedy),
        _ => Finding::ok(check, found),
    }
}

/// Processes that have the file open, so far as this user may see.
fn processes(path: &Path) -> Vec<Finding> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    let us = std::process::id().to_string();
    let mut serving = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if name == us || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let open = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = open.into_iter().any(|link| std::fs::read_link(link.path()).is_ok_and(|target| target == path));
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if holds && arguments.split(|byte| *byte == 0).any(|argument| argument == b"serve") {
            serving.push(name);
        }
    }
    match serving.as_slice() {
        [] => vec![Finding::ok("database.process", "no service of this user has it open")],
        [one] => vec![Finding::ok("database.process", format!("the service has it open as process {one}"))],
        several => vec![Finding::failure(
            "database.process",
            format!("several services have it open: processes {}", several.join(", ")),
            "one SQLite file is for one service: two slow each other down and each sees changes late",
            "stop all but one, or move to PostgreSQL, which is made for replicas",
        )],
    }
}

async fn read(
    options: SqliteConnectOptions,
    path: &Path,
    findings: &mut Vec<Finding>,
) -> Result<Option<Content>, sqlx::Error> {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length == 0 {
        findings.push(inspect::schema(&[], &MIGRATIONS));
        return Ok(None);
    }
    let (log, index) = (beside(path, "-wal").exists(), beside(path, "-shm").exists());
    if log && !index {
        findings.push(Finding::warning(
            "database.read",
            "there is a write-ahead log without its index, so the content was not looked at",
            "reading it would write the index; a copy taken of a running database looks like this",
            "start the service once, which recovers it, then run this again",
        ));
        return Ok(None);
    }
    let options = options.create_if_missing(false).read_only(true).immutable(!log).busy_timeout(super::PATIENCE);
    let mut conn = options.connect().await?;
    findings.push(library(&mut conn).await?);
    findings.push(journal(path));
    findings.push(whole(&mut conn).await?);
    let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut conn)
        .await?;
    let applied: Vec<Applied> =
        if held == 0 { Vec::new() } else { sqlx::query_as(inspect::APPLIED).fetch_all(&mut conn).await? };
    let schema = inspect::schema(&applied, &MIGRATIONS);
    let readable = schema.level == crate::finding::Level::Ok;
    findings.push(schema);
    if !readable {
        return Ok(None);
    }
    let log_end = sqlx::query_scalar(inspect::LOG_END).fetch_one(&mut conn).await?;
    let (oldest, newest): (Option<i64>, Option<i64>) = sqlx::query_as(inspect::WAITING).fetch_one(&mut conn).await?;
    let store = SqliteStore::open_read_only(options).await?;
    Ok(Some(Content { store: Arc::new(store), log_end, waiting: oldest.zip(newest) }))
}

async fn library(conn: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(conn).await?;
    let found = format!("SQLite {version}");
    Ok(if is_safe(&version) {
        Finding::ok("database.version", found)
    } else {
        let remedy = "run a build of this service with SQLite 3.51.3 or newer";
        Finding::failure("database.version", found, "it can corrupt the file under load (the WAL-reset bug)", remedy)
    })
}

/// Bytes 18 and 19 of the file say how it is written: 2 is a write-ahead log (sqlite.org/fileformat.html).
fn journal(path: &Path) -> Finding {
    use std::io::Read as _;
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    match (read, head) {
        (Ok(()), [.., 2, 2]) => Finding::ok("database.journal", "it has a write-ahead log"),
        _ => Finding::warning(
            "database.journal",
            "it has no write-ahead log",
            "something other than the service wrote to it last",
            "start the service, which turns it on",
        ),
    }
}

async fn whole(conn: &mut SqliteConnection) -> Result<Finding, sqlx::Error> {
    let check = "database.integrity";
    let looked = sqlx::query_scalar::<_, String>("PRAGMA quick_check(3)").fetch_all(conn);
    let damage = match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(lines)) => lines,
        // SQLite says so of a page that is none.
        Ok(Err(sqlx::Error::Database(error))) if error.message().contains("malformed") => vec![error.to_string()],
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            return Ok(Finding::warning(
                check,
                format!("not every page was looked at within {} seconds", PATIENCE.as_secs()),
                "damage shows only where it is looked for",
                "check a copy: `vouchsafe doctor` on a restored backup",
            ));
        }
    };
    Ok(if damage == ["ok"] {
        Finding::ok(check, "every page is whole")
    } else {
        let found = format!("it is damaged: {}", damage.join("; "));
        let remedy = "stop the service, keep the file for examination, and restore the last backup";
        Finding::failure(check, found, "answers may be missing or wrong", remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_with_the_corruption_bug_is_refused() {
        for good in ["3.51.3", "3.51.10", "3.52.0", "4.0.0"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in ["3.51.2", "3.46.0", "3.9.9", "2.99.9", "", "nonsense"] {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
