//! Every call that writes to the database file is stopped once: the process killed before it, the call failed with EIO,
//! failed with ENOSPC. By strace, so that what is tested is the binary as it is.

use super::deployment::{Api, Deployment, Seeded, Server};
use super::model::{Asked, Model, Op, Role, Worker};
use super::verify;
use crate::support::Database;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All calls by which SQLite changes a file.
const CALLS: &str = "pwrite64,fdatasync,fsync,ftruncate,fallocate,unlink";
/// Those that make it durable.
const SYNCS: &str = "fdatasync,fsync";

/// strace on a running process.
pub(super) struct Tracer {
    child: Child,
    log: PathBuf,
}

impl Tracer {
    /// From now on the calls `when` (`3`, `1+`) of each thread meet `fault` (`signal=KILL`, `error=EIO`).
    pub(super) fn attach(server: &Server, calls: &str, fault: &str, when: &str, folder: &Path) -> Self {
        Self::attach_to(server, calls, fault, when, folder, None)
    }

    /// The same for calls on one file only.
    fn attach_to(server: &Server, calls: &str, fault: &str, when: &str, folder: &Path, file: Option<&Path>) -> Self {
        let log = folder.join("strace");
        let _ = std::fs::remove_file(&log);
        let mut strace = Command::new("strace");
        if let Some(file) = file {
            strace.arg("-P").arg(file);
        }
        let mut child = strace
            .args(["-f", "-p", &server.pid().to_string(), "-o"])
            .arg(&log)
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}:when={when}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        while !line.contains("attached") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "strace ended");
        }
        // It tells of every new thread and must not find the pipe closed.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, log }
    }

    /// Lets go; says whether the fault was met.
    pub(super) fn detach(mut self) -> bool {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.contains("(INJECTED)") || log.contains("killed by SIGKILL")
    }
}

/// A deployment at rest that every run gets a copy of, and what is known of it.
pub(super) struct Base {
    pub(super) deployment: Deployment,
    pub(super) seeded: Seeded,
    pub(super) model: Model,
    /// Eligible, with a link and a token.
    pub(super) subject: String,
    lost_tokens: usize,
}

impl Base {
    pub(super) async fn new() -> Self {
        Self::on(Deployment::on(Database::sqlite())).await
    }

    /// One eligible subject with everything, a freeze and the proposal that lifts it.
    pub(super) async fn on(deployment: Deployment) -> Self {
        let seeded = deployment.seed().await;
        let mut server = deployment.start().await;
        let api = seeded.api(&server).await;
        let path = deployment.folder().join("journal");
        let (mut worker, mut journal) = (Worker::new("base".to_owned(), 0), Api::journal(&path));
        let mut model = Model::default();
        let create = Op::Subject { external: "base".to_owned(), key: Some("base".to_owned()) };
        assert_eq!(worker.ask(&api, &mut journal, create).await, Asked::Acknowledged);
        let mut lines = model.read(&path, 0);
        let subject = model.people.keys().next().cloned().unwrap();
        let attest =
            |role, event: &str| Op::Attest { subject: subject.clone(), role, event: event.to_owned(), key: None };
        let frozen = "base-freeze".to_owned();
        for op in [
            attest(Role::Registry, "base-1"),
            attest(Role::Document, "base-2"),
            attest(Role::Vouch, "base-3"),
            Op::Link { subject: subject.clone(), id: "base".to_owned(), key: None },
            Op::Issue { subject: subject.clone(), key: None },
            Op::Freeze { directive: frozen.clone(), resource: "restricted.base".to_owned(), key: None },
            Op::Lift { directive: "lift-base-freeze".to_owned(), frozen, key: None },
        ] {
            assert_eq!(worker.ask(&api, &mut journal, op).await, Asked::Acknowledged);
        }
        lines = model.read(&path, lines);
        assert!(lines > 8 && model.people[&subject].is_eligible());
        assert!(server.stop().success());
        // All in the one file, so that damage to it is damage.
        deployment.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        Self { deployment, seeded, model, subject, lost_tokens: worker.lost_tokens }
    }

    pub(super) fn token(&self) -> (&String, &String) {
        let (jti, (token, _)) = self.model.people[&self.subject].tokens.iter().next().unwrap();
        (jti, token)
    }

    /// The main write flows, one request each.
    fn flows(&self) -> Vec<(&'static str, Op)> {
        let subject = || self.subject.clone();
        let new = |key: Option<&str>| Op::Subject { external: "new".to_owned(), key: key.map(str::to_owned) };
        let standing = |role| self.model.people[&self.subject].standing(role).cloned().unwrap();
        let attest = |key: Option<&str>| Op::Attest {
            subject: subject(),
            role: Role::Registry,
            event: "new".to_owned(),
            key: key.map(str::to_owned),
        };
        let (jti, token) = self.token();
        vec![
            ("create a subject", new(None)),
            ("create a subject under a key", new(Some("k"))),
            ("record an attestation", attest(None)),
            ("record an attestation under a key", attest(Some("k"))),
            ("vouch", Op::Attest { subject: subject(), role: Role::Vouch, event: "new".to_owned(), key: None }),
            ("revoke", Op::Revoke { subject: subject(), id: standing(Role::Registry), role: Role::Registry }),
            ("withdraw", Op::Revoke { subject: subject(), id: standing(Role::Vouch), role: Role::Vouch }),
            ("link", Op::Link { subject: subject(), id: "new".to_owned(), key: Some("k".to_owned()) }),
            ("issue a token", Op::Issue { subject: subject(), key: None }),
            ("revoke a token", Op::RevokeToken { subject: subject(), jti: jti.clone(), token: token.clone() }),
            (
                "freeze",
                Op::Freeze {
                    directive: "new".to_owned(),
                    resource: "restricted.new".to_owned(),
                    key: Some("k".to_owned()),
                },
            ),
            (
                "approve a lift",
                Op::Approve { directive: "lift-base-freeze".to_owned(), resource: "restricted.base".to_owned() },
            ),
        ]
    }
}

/// What happens to the base or to a copy of it, with one client's journal.
pub(super) struct Run<'a> {
    base: &'a Base,
    copy: Option<Deployment>,
    pub(super) worker: Worker,
    /// See [`verify::ask`].
    lossy: bool,
    path: PathBuf,
}

impl<'a> Run<'a> {
    /// On a copy.
    pub(super) fn new(base: &'a Base) -> Self {
        Self::of(base, Some(base.deployment.copy()))
    }

    /// On the base itself.
    pub(super) fn here(base: &'a Base) -> Self {
        Self::of(base, None)
    }

    fn of(base: &'a Base, copy: Option<Deployment>) -> Self {
        let path = copy.as_ref().unwrap_or(&base.deployment).folder().join("run");
        drop(Api::journal(&path));
        let worker = Worker::new("run".to_owned(), 1).knows(&base.model);
        Self { base, copy, worker, lossy: true, path }
    }

    pub(super) fn deployment(&self) -> &Deployment {
        self.copy.as_ref().unwrap_or(&self.base.deployment)
    }

    pub(super) async fn ask(&mut self, api: &Api, op: Op) -> Asked {
        self.worker.ask(api, &mut Api::journal(&self.path), op).await
    }

    /// Learns what became of the pending request and looks for everything.
    pub(super) async fn verify(&mut self, api: &Api) {
        let url = self.deployment().database.url();
        self.worker.resolve(api, &mut Api::journal(&self.path), &url).await;
        let mut model = self.base.model.clone();
        model.read(&self.path, 0);
        verify::ask(api, &model, &Model::default(), self.lossy).await;
        verify::read(self.deployment(), &model, self.base.lost_tokens + self.worker.lost_tokens).await;
        verify::calm(self.deployment());
    }
}

/// The n-th call of a flow meets a fault; whether there were as many.
async fn stopped_once(base: &Base, api: &Api, op: &Op, fault: &str, n: usize) -> bool {
    let mut run = Run::new(base);
    run.lossy = fault != "signal=KILL";
    let mut server = run.deployment().start().await;
    let tracer = Tracer::attach(&server, CALLS, fault, &n.to_string(), run.deployment().folder());
    let asked = run.ask(&api.at(&server), op.clone()).await;
    // The audit entry is linked within half a second: its calls are counted too.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let met = tracer.detach();
    if fault == "error=ENOSPC" {
        assert_ne!(asked, Asked::Gone, "a full disk ends nothing");
        // Space is there again: it recovers without a restart.
        run.verify(&api.at(&server)).await;
    } else if fault == "signal=KILL" {
        assert_eq!(server.ended().is_some(), met);
    }
    drop(server);
    server = run.deployment().start().await;
    run.verify(&api.at(&server)).await;
    met
}

async fn every_call(faults: &[&str], stride: usize) {
    let (mut runs, begun) = (0, Instant::now());
    let flows = Base::new().await.flows().len();
    for flow in 0..flows {
        // Of its own for each flow: the tokens of a base last a quarter of an hour, access tokens ten minutes.
        let base = Base::new().await;
        let (name, op) = base.flows().swap_remove(flow);
        let api = {
            let run = Run::new(&base);
            let server = run.deployment().start().await;
            base.seeded.api(&server).await
        };
        for fault in faults {
            let mut n = 1;
            while stopped_once(&base, &api, &op, fault, n).await {
                n += stride;
                runs += 1;
            }
            println!(
                "{name}: {fault} at each of the first {n} calls, every {stride}.; {runs} runs in {:?}",
                begun.elapsed()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an hour, and strace: `tests/crash.sh syscalls`"]
async fn every_write_call_is_killed_or_fails_once() {
    let stride = usize::try_from(super::number("VOUCHSAFE_CRASH_STRIDE", 1)).unwrap();
    every_call(&["signal=KILL", "error=EIO", "error=ENOSPC"], stride).await;
}

/// Runs `vouchsafe migrate` on no database under a fault; whether it was met.
fn migrate(deployment: &Deployment, fault: &str, n: usize) -> bool {
    let log = deployment.folder().join("strace");
    let command = deployment.command(&["migrate"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o"]).arg(&log).args(["-e", &format!("trace={CALLS}")]);
    traced
        .args(["-e", &format!("inject={CALLS}:{fault}:when={n}")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap());
    }
    let done = traced.output().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    let met = log.contains("(INJECTED)") || log.contains("killed by SIGKILL");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(met || done.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    met
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and strace: `tests/crash.sh syscalls`"]
async fn a_first_migration_stopped_anywhere_is_done_by_the_next() {
    let stride = usize::try_from(super::number("VOUCHSAFE_CRASH_STRIDE", 1)).unwrap();
    for fault in ["signal=KILL", "error=EIO", "error=ENOSPC"] {
        let mut n = 1;
        loop {
            let deployment = Deployment::on(Database::sqlite());
            let met = migrate(&deployment, fault, n);
            let again = deployment.run(&["migrate"]);
            assert!(again.status.success(), "{fault} {n}: {}", String::from_utf8_lossy(&again.stderr));
            let tables = deployment.pairs("SELECT name, '' FROM sqlite_schema WHERE type = 'table'").await;
            assert!(tables.iter().any(|(name, _)| name == "audit_log"), "{fault} {n}: {tables:?}");
            if !met {
                break;
            }
            n += stride;
        }
        println!("migrate: {fault} at each of the first {n} calls, every {stride}.");
    }
}

/// After a sync that failed nobody knows what is on the disk: a later success of the same file proves nothing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: `tests/crash.sh syscalls`"]
async fn after_a_failed_sync_nothing_more_is_acknowledged_until_a_restart() {
    let base = Base::new().await;
    let mut run = Run::new(&base);
    let mut server = run.deployment().start().await;
    let api = base.seeded.api(&server).await;
    let tracer = Tracer::attach(&server, SYNCS, "error=EIO", "1", run.deployment().folder());
    let asked = run.ask(&api, Op::Subject { external: "new".to_owned(), key: None }).await;
    assert_ne!(asked, Asked::Acknowledged);
    let other = Op::Subject { external: "newer".to_owned(), key: None };
    let mut second = Run::new(&base);
    assert_ne!(second.ask(&api, other).await, Asked::Acknowledged, "acknowledged after a failed sync");
    assert_ne!(server.readyz().await, Some(reqwest::StatusCode::OK));
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = server.ended() {
            break ended;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it lives on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!ended.success());
    assert!(tracer.detach());
    let wal = std::fs::metadata(format!("{}-wal", run.deployment().file().display()));
    assert!(wal.is_ok_and(|wal| wal.len() > 0), "the log must not be merged and removed by a process that lost it");
    server = run.deployment().start().await;
    run.verify(&api.at(&server)).await;
}

/// SQLite itself keeps silent of this one; the commits in the log are whole, the pages merged may not be.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: `tests/crash.sh syscalls`"]
async fn a_sync_that_fails_while_the_log_is_merged_ends_the_process() {
    let base = Base::new().await;
    let mut run = Run::new(&base);
    let mut server = run.deployment().start().await;
    let api = base.seeded.api(&server).await;
    let (folder, file) = (run.deployment().folder().to_owned(), run.deployment().file());
    let tracer = Tracer::attach_to(&server, SYNCS, "error=EIO", "1", &folder, Some(&file));
    let begun = Instant::now();
    let ended = loop {
        // One thing in doubt is enough.
        if run.worker.pending.is_empty() {
            run.worker.work(&api, &mut Api::journal(&run.path), 50).await;
        }
        if let Some(ended) = server.ended() {
            break ended;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "it lives on");
    };
    assert!(!ended.success());
    assert!(tracer.detach());
    server = run.deployment().start().await;
    run.verify(&api.at(&server)).await;
}
