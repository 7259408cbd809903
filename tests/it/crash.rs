//! The service is killed under load and everything it acknowledged is looked for afterwards. The journal is written by
//! the clients' process, which no kill touches.
//!
//! Short rounds run with every test. `tests/crash.sh` runs the long ones; docs/operations.md says how long they take.

#![expect(clippy::panic, clippy::print_stdout, reason = "its helpers fail where they are, and tell figures")]

mod deployment;
mod disk;
mod model;
mod signals;
mod syscalls;
mod verify;
mod webhooks;

use crate::app::{TestApp, status};
use crate::support::{Database, TempDir, pairs};
use deployment::{Api, Deployment, Seeded, Server};
use model::{Dice, Model, Worker};
use sqlx::{Connection as _, PgConnection};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients at work at once.
const WORKERS: u64 = 8;
/// After so many kills the next begin on an empty database: what is compared stays small.
const KILLS_OF_ONE: usize = 50;

/// Figures of a run.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    in_flight: usize,
    acknowledged: usize,
    ready: Vec<Duration>,
}

impl Figures {
    fn print(&mut self, seed: u64) {
        self.ready.sort_unstable();
        let at = |share: usize| self.ready.get((self.ready.len() - 1) * share / 100).copied().unwrap_or_default();
        println!(
            "seed {seed}: {} kills, {} acknowledged facts, {} requests under way; ready after {:?} (median), {:?} (longest)",
            self.kills,
            self.acknowledged,
            self.in_flight,
            at(50),
            at(100),
        );
    }
}

/// A database under load: its clients, their journal, and what is verified already.
struct Stand {
    deployment: Deployment,
    seeded: Seeded,
    workers: Vec<Worker>,
    journal: PathBuf,
    lines: usize,
    model: Model,
    dice: Dice,
    figures: Figures,
    /// See [`verify::ask`].
    lossy: bool,
}

impl Stand {
    async fn new(database: Database, seed: u64) -> Self {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let journal = deployment.folder().join("journal");
        let mut dice = Dice(seed);
        let workers = (0..WORKERS).map(|n| Worker::new(format!("w{n}"), dice.below(u64::MAX))).collect();
        let model = Model::default();
        Api::journal(&journal);
        Self { deployment, seeded, workers, journal, lines: 0, model, dice, figures: Figures::default(), lossy: false }
    }

    /// Every client asks until its server is gone; `end` makes that happen and says when.
    async fn load(&mut self, apis: &[Api], end: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        let url = self.deployment.database.url();
        for (worker, api) in self.workers.drain(..).zip(apis.iter().cycle()) {
            let (mut worker, api, mut journal) = (worker, api.clone(), Api::journal(&self.journal));
            let url = url.clone();
            tasks.spawn(async move {
                loop {
                    // One thing in doubt at a time: what follows may rest on it.
                    if worker.pending.is_empty() {
                        worker.work(&api, &mut journal, usize::MAX).await;
                    }
                    // A refusal ends the work too; only a server that is gone ends the load.
                    if api.http.get(format!("{}/livez", api.url)).send().await.is_err() {
                        return worker;
                    }
                    worker.resolve(&api, &mut journal, &url).await;
                }
            });
        }
        end.await;
        let mut workers = tasks.join_all().await;
        workers.sort_by(|a, b| a.name().cmp(b.name()));
        self.workers = workers;
        self.figures.in_flight += self.workers.iter().map(|worker| worker.pending.len()).sum::<usize>();
    }

    /// Learns the end of what was under way and looks for everything.
    async fn verify(&mut self, api: &Api) {
        let url = self.deployment.database.url();
        if self.dice.below(2) == 0 {
            lapse(&url).await;
        }
        let mut journal = Api::journal(&self.journal);
        let mut workers = std::mem::take(&mut self.workers);
        for worker in &mut workers {
            worker.resolve(api, &mut journal, &url).await;
        }
        self.workers = workers;
        let known = self.model.clone();
        self.lines = self.model.read(&self.journal, self.lines);
        verify::ask(api, &self.model, &known, self.lossy).await;
        let lost = self.workers.iter().map(|worker| worker.lost_tokens).sum();
        verify::read(&self.deployment, &self.model, lost).await;
        verify::calm(&self.deployment);
    }

    /// Starts the service; one time in four it is killed on the way up first.
    async fn start(&mut self) -> Server {
        if self.dice.below(4) == 0 {
            let (mut child, _lines) = self.deployment.spawn();
            tokio::time::sleep(Duration::from_millis(self.dice.below(200))).await;
            kill(&mut child);
            self.figures.kills += 1;
        }
        let server = self.deployment.start().await;
        self.figures.ready.push(server.ready);
        server
    }

    /// Load, a kill at a random instant, a restart, everything looked for; `kills` times.
    async fn kills(&mut self, kills: usize) {
        while self.figures.kills < kills {
            let server = self.start().await;
            let api = self.seeded.api(&server).await;
            self.verify(&api).await;
            let pause = Duration::from_millis(20 + self.dice.below(400));
            self.load(&[api], async {
                tokio::time::sleep(pause).await;
                drop(server);
            })
            .await;
            self.figures.kills += 1;
        }
        self.finish().await;
    }

    /// Two processes on one database, of which either is killed first and the other a moment later.
    async fn kills_of_two(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let (first, second) = (self.start().await, self.deployment.start().await);
            let apis = [self.seeded.api(&first).await, self.seeded.api(&second).await];
            self.verify(&apis[0]).await;
            let pauses = [20, 50].map(|least| Duration::from_millis(least + self.dice.below(300)));
            self.load(&apis, async {
                for (server, pause) in [first, second].into_iter().zip(pauses) {
                    tokio::time::sleep(pause).await;
                    drop(server);
                }
            })
            .await;
            self.figures.kills += 2;
        }
        self.finish().await;
    }

    /// The database server stops without a word under load and comes back; the service lives through it.
    async fn stops_of(&mut self, postgres: &PrivatePostgres, rounds: usize) {
        self.lossy = true;
        let mut server = self.start().await;
        for round in 0..rounds {
            let api = self.seeded.api(&server).await;
            self.verify(&api).await;
            let (before, after) = (20 + self.dice.below(400), 20 + self.dice.below(400));
            self.load(std::slice::from_ref(&api), async {
                tokio::time::sleep(Duration::from_millis(before)).await;
                postgres.crash();
                tokio::time::sleep(Duration::from_millis(after)).await;
                drop(server);
            })
            .await;
            self.figures.kills += 1;
            println!("stop {}", round + 1);
            server = self.deployment.start().await;
        }
        drop(server);
        self.finish().await;
    }

    /// Everything again, from an empty memory.
    async fn finish(&mut self) {
        let server = self.start().await;
        let api = self.seeded.api(&server).await;
        self.verify(&api).await;
        verify::ask(&api, &self.model, &Model::default(), self.lossy).await;
        self.figures.acknowledged = self.lines;
    }
}

/// A minute passes for every idempotency key.
async fn lapse(url: &str) {
    let ended = "UPDATE requests SET lease_until_ms = 0 WHERE answer IS NULL RETURNING client, key";
    let _ = pairs(url, ended).await;
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A PostgreSQL server of our own that keeps what it has promised.
struct PrivatePostgres(TempDir);

impl PrivatePostgres {
    fn script(&self, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/postgres.sh");
        let done =
            Command::new(script).arg(command).arg(self.0.path()).env("VOUCHSAFE_PG_DURABLE", "1").output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    async fn start() -> (Self, Database) {
        let this = Self(TempDir::new());
        let url = this.script("start");
        sqlx::query("CREATE DATABASE crash").execute(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
        (this, Database::Postgres { url: url.replacen("/postgres?", "/crash?", 1) })
    }

    fn crash(&self) {
        self.script("crash");
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.script("stop");
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// The seed of a long run: given, or of the moment; printed either way.
fn seed() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = number("VOUCHSAFE_CRASH_SEED", now);
    println!("seed {seed}");
    seed
}

/// Kills by the number asked for, on one database after the other.
async fn long_kills(database: impl AsyncFn() -> Database) {
    let (mut seed, kills) = (seed(), usize::try_from(number("VOUCHSAFE_CRASH_KILLS", 100)).unwrap());
    let (mut done, begun) = (0, Instant::now());
    while done < kills {
        let mut stand = Stand::new(database().await, seed).await;
        stand.kills(KILLS_OF_ONE.min(kills - done)).await;
        verify::covered(&stand.model);
        done += stand.figures.kills;
        stand.figures.print(seed);
        println!("{done} kills in {:?}", begun.elapsed());
        seed += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let mut databases = vec![(Database::sqlite(), 4)];
    databases.extend(Database::postgres().await.map(|database| (database, 3)));
    for (database, kills) in databases {
        let mut stand = Stand::new(database, 1).await;
        stand.kills(kills).await;
        stand.figures.print(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `tests/crash.sh kills sqlite`"]
async fn long_kills_on_sqlite() {
    long_kills(async || Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `tests/crash.sh kills postgres`"]
async fn long_kills_on_postgres() {
    long_kills(async || Database::postgres().await.expect("a PostgreSQL server")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_database_and_either_may_be_killed() {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    for database in databases {
        let mut stand = Stand::new(database, 2).await;
        stand.kills_of_two(2).await;
        stand.figures.print(2);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `tests/crash.sh two sqlite`"]
async fn long_kills_of_two_on_sqlite() {
    let (seed, rounds) = (seed(), usize::try_from(number("VOUCHSAFE_CRASH_KILLS", 100)).unwrap() / 2);
    let mut stand = Stand::new(Database::sqlite(), seed).await;
    stand.kills_of_two(rounds).await;
    stand.figures.print(seed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `tests/crash.sh stop`"]
async fn long_stops_of_postgres() {
    let (seed, stops) = (seed(), usize::try_from(number("VOUCHSAFE_CRASH_KILLS", 100)).unwrap());
    let (postgres, database) = PrivatePostgres::start().await;
    let mut stand = Stand::new(database, seed).await;
    stand.stops_of(&postgres, stops).await;
    verify::covered(&stand.model);
    stand.figures.print(seed);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_everything_is_read_anew() {
    let Some(database) = Database::postgres().await else { return };
    let t = TestApp::start(&database).await;
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    t.app.poll_feed().await.unwrap();
    assert_eq!(status(&t, &subject).await, "eligible");
    // As a revocation whose number the database had given away before it crashed: no cursor from before finds it.
    let unseen = "INSERT INTO marks (attestation, kind, said_by, at_ms, from_start, reason)
         SELECT id, 'revoked', 'x', recorded_at_ms, TRUE, 'x' FROM attestations";
    database.execute(unseen).await.unwrap();
    t.app.poll_feed().await.unwrap();
    assert_eq!(status(&t, &subject).await, "eligible", "held in memory");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(cut).await.unwrap();
    assert!(t.app.poll_feed().await.is_err(), "the break is told, not hidden");
    t.app.poll_feed().await.unwrap();
    assert_eq!(status(&t, &subject).await, "insufficient");
}
