//! Disks that are full, read-only or broken, files that are damaged or gone, locks that others hold.

use super::deployment::{Api, Deployment, RESOURCE, Sent};
use super::model::{Asked, Op};
use super::syscalls::{Base, Run, Tracer};
use crate::support::Database;
use reqwest::StatusCode;
use sqlx::{Connection as _, SqliteConnection};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A small file system of its own; needs a mount name space of its own, which `tests/crash.sh` makes.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Self {
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(mounted.unwrap().success(), "mount: run `tests/crash.sh disk` as root");
        Self(path.to_owned())
    }

    fn remount(&self, how: &str) {
        let mounted = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(mounted.unwrap().success(), "remount,{how}");
    }

    /// Takes all space that is left, to the last page.
    fn fill(&self) {
        let ballast = OpenOptions::new().create(true).append(true).open(self.0.join("ballast")).unwrap();
        let mut at = ballast.metadata().unwrap().len();
        while ballast.write_all_at(&[0; 4096], at).is_ok() {
            at += 4096;
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn new(name: impl Into<String>) -> Op {
    Op::Subject { external: name.into(), key: None }
}

/// What needs no write works on: the gateway's check, keys, liveness.
async fn verifies(base: &Base, api: &Api) {
    assert_eq!(api.check(base.token().1).await, StatusCode::OK);
    for path in ["/.well-known/jwks.json", "/livez"] {
        let got = api.send(&Sent::get(path)).await.unwrap();
        assert_eq!(got.status, StatusCode::OK, "{path}: {got:?}");
    }
}

/// So does a decision that this process has recorded: the first answer to a question is written down.
async fn decides(base: &Base, api: &Api) {
    let path = format!("/v1/subjects/{}/eligibility?resource={RESOURCE}", base.subject);
    let got = api.send(&Sent::get(path)).await.unwrap();
    assert_eq!((got.status, &got.body["status"]), (StatusCode::OK, &"eligible".into()), "{got:?}");
}

/// Asks until it is acknowledged, five seconds at most.
async fn recovers(run: &mut Run<'_>, api: &Api, name: &str) {
    let begun = Instant::now();
    while run.ask(api, new(name)).await != Asked::Acknowledged {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and a mount name space: `tests/crash.sh disk`"]
async fn a_full_disk_refuses_writes_verifies_on_and_recovers_without_a_restart() {
    let database = Database::sqlite();
    let path: PathBuf = database.url().strip_prefix("sqlite:").unwrap().into();
    let disk = Disk::mount(path.parent().unwrap(), "48m");
    let base = Base::on(Deployment::on(database)).await;
    let server = base.deployment.start().await;
    let api = base.seeded.api(&server).await;
    let mut run = Run::here(&base);
    decides(&base, &api).await;
    for round in 0..3 {
        disk.fill();
        let mut refused = 0;
        for n in 0..100 {
            match run.ask(&api, new(format!("full-{round}-{n}"))).await {
                Asked::Acknowledged => {}
                Asked::Refused => refused += 1,
                Asked::Gone => panic!("a full disk ends nothing"),
            }
        }
        assert!(refused > 50, "{refused} of 100 refused: the disk was not full");
        verifies(&base, &api).await;
        decides(&base, &api).await;
        disk.free();
        recovers(&mut run, &api, &format!("free-{round}")).await;
    }
    run.verify(&api).await;
    disk.fill();
    drop(server);
    match base.deployment.try_start().await {
        Ok(server) => verifies(&base, &api.at(&server)).await,
        Err(said) => assert!(said.contains("disk"), "{said}"),
    }
    disk.free();
    let server = base.deployment.start().await;
    run.verify(&api.at(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and a mount name space: `tests/crash.sh disk`"]
async fn a_read_only_disk_is_refused_at_the_start_with_its_reason() {
    let database = Database::sqlite();
    let path: PathBuf = database.url().strip_prefix("sqlite:").unwrap().into();
    let disk = Disk::mount(path.parent().unwrap(), "48m");
    let base = Base::on(Deployment::on(database)).await;
    disk.remount("ro");
    let said = base.deployment.listen().err().expect("it started on a read-only disk");
    assert!(said.contains("cannot be written: Read-only file system"), "{said}");
    disk.remount("rw");
    let server = base.deployment.start().await;
    let mut run = Run::here(&base);
    run.verify(&base.seeded.api(&server).await).await;
}

/// For as long as every write fails.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: `tests/crash.sh disk`"]
async fn a_disk_that_fails_every_write_is_refused_for_as_long_as_it_does() {
    let base = Base::new().await;
    for error in ["EROFS", "EIO", "ENOSPC"] {
        let mut run = Run::new(&base);
        let server = run.deployment().start().await;
        let api = base.seeded.api(&server).await;
        decides(&base, &api).await;
        let tracer = Tracer::attach(&server, "pwrite64", &format!("error={error}"), "1+", run.deployment().folder());
        for n in 0..5 {
            assert_eq!(run.ask(&api, new(format!("{error}-{n}"))).await, Asked::Refused);
        }
        verifies(&base, &api).await;
        decides(&base, &api).await;
        assert!(tracer.detach());
        recovers(&mut run, &api, error).await;
        run.verify(&api).await;
        drop(server);
        let server = run.deployment().start().await;
        run.verify(&api.at(&server)).await;
    }
}

type Damage = fn(&Path);

/// What is done to a file at rest, and a word of the reason that is due.
const DAMAGES: [(&str, Damage, &str); 6] = [
    ("emptied", |file| std::fs::write(file, "").unwrap(), "is empty"),
    ("replaced by a text", |file| std::fs::write(file, "no database".repeat(1000)).unwrap(), "is damaged"),
    ("cut to its first page", |file| cut(file, u64::MAX), "is damaged"),
    ("cut by half", |file| cut(file, 2), "is damaged"),
    ("cut by its last page", |file| cut(file, 1), "is damaged"),
    ("removed", |file| std::fs::remove_file(file).unwrap(), "the database is missing or empty"),
];

/// Keeps one of `parts` of its pages: one at least, and not the last.
fn cut(file: &Path, parts: u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    file.set_len((pages / parts).clamp(1, pages - 1) * 4096).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_damaged_or_gone_is_refused_and_never_made_anew() {
    let base = Base::new().await;
    for (name, damage, reason) in DAMAGES {
        let copy = base.deployment.copy();
        damage(&copy.file());
        let said = copy.try_start().await.err().unwrap_or_else(|| panic!("it started on a file {name}"));
        assert!(said.contains(reason), "{name}: {said}");
        let again = copy.try_start().await.err().unwrap_or_else(|| panic!("the refusal mended a file {name}"));
        assert!(again.contains(reason), "{name}: {again}");
    }
    let pages = std::fs::metadata(base.deployment.file()).unwrap().len() / 4096;
    for page in (1..pages).step_by(9) {
        let copy = base.deployment.copy();
        let file = OpenOptions::new().write(true).open(copy.file()).unwrap();
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
        match copy.try_start().await {
            Err(said) => assert!(said.contains("is damaged"), "page {page}: {said}"),
            // The page was in no use: everything is as it was.
            Ok(server) => {
                let api = base.seeded.api(&server).await;
                super::verify::ask(&api, &base.model, &super::Model::default(), false).await;
                super::verify::read(&copy, &base.model, 0).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_taken_away_under_the_service_ends_its_writing() {
    let base = Base::new().await;
    for side in ["", "-wal", "-shm"] {
        let mut run = Run::new(&base);
        let mut server = run.deployment().start().await;
        let api = base.seeded.api(&server).await;
        assert_eq!(run.ask(&api, new("before")).await, Asked::Acknowledged);
        std::fs::remove_file(format!("{}{side}", run.deployment().file().display())).unwrap();
        let asked = run.ask(&api, new("after")).await;
        assert_ne!(asked, Asked::Acknowledged, "written into a removed file `{side}`");
        assert_ne!(server.readyz().await, Some(StatusCode::OK), "ready without its file `{side}`");
        let begun = Instant::now();
        while server.ended().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it lives on without its file `{side}`");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_held_by_another_process_is_waited_for_within_bounds() {
    let base = Base::new().await;
    let mut run = Run::new(&base);
    let server = run.deployment().start().await;
    let api = base.seeded.api(&server).await;
    verifies(&base, &api).await;
    let mut holder = SqliteConnection::connect(&run.deployment().database.url()).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let api = api.clone();
        tasks.spawn(async move {
            let got = api.send(&new(format!("late-{n}")).request(&api.seeded)).await.unwrap();
            (got.status, got.retry_after)
        });
    }
    verifies(&base, &api).await;
    for answer in tasks.join_all().await {
        assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, true));
    }
    // One is waited for by SQLite, five seconds; who came meanwhile waits as long once more at most.
    assert!(begun.elapsed() < Duration::from_secs(13), "refused after {:?}", begun.elapsed());
    verifies(&base, &api).await;
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    holder.close().await.unwrap();
    recovers(&mut run, &api, "after").await;
    run.verify(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_new_deployment_gets_a_new_database() {
    let new = Deployment::on(Database::sqlite());
    drop(new.start().await);
    assert!(new.file().exists());
    // The anchor remembers that there was one.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", new.file().display()));
    }
    let said = new.try_start().await.err().unwrap();
    assert!(said.contains("the database is missing or empty, and the anchor knows"), "{said}");
    assert!(!new.file().exists());
}
