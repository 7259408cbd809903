//! Acknowledged attestations per second on SQLite (`synchronous=FULL`) from 64 submitters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vouchsafe::storage::{self, AuditEntry, Change, NewAttestation, OutboxRow, Store, StoredSubject, Write};

const SUBMITTERS: u64 = 64;
const SUBJECTS: u64 = 100_000;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_millis(2_500);

fn entry(id: String, target: String) -> AuditEntry {
    AuditEntry {
        id,
        at_ms: 1_800_000_000_000,
        actor: "source:bench".to_owned(),
        action: "attestation.recorded".to_owned(),
        target,
        detail: r#"{"event":"delivered"}"#.to_owned(),
    }
}

fn subject_id(n: u64) -> String {
    // Scattered over the key space, as ids of subjects that report back are.
    format!("sub_{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn new(n: u64, random: u64) -> NewAttestation {
    let subject = subject_id(random % SUBJECTS);
    let id = format!("att_0192f0a1{n:016x}");
    NewAttestation {
        event: format!("evt_{random:016x}{n:08x}"),
        lineage: format!("chk_{random:016x}{n:08x}"),
        source: "src_bench".to_owned(),
        checked_at_ms: 1_800_000_000_000,
        recorded_at_ms: 1_800_000_000_500,
        facts: format!("{{\"aspect\":\"identity\",\"confidence\":930,\"pad\":\"{}\"}}", "x".repeat(200)),
        document: None,
        compare: false,
        audit: entry(format!("aud_0192f0a1{n:016x}"), id.clone()),
        outbox: Some(OutboxRow {
            id: format!("out_0192f0a1{n:016x}"),
            topic: "attestation.accepted".to_owned(),
            key: subject.clone(),
            body: "{}".to_owned(),
        }),
        subject,
        id,
    }
}

async fn preload(store: &Arc<dyn Store>) -> anyhow::Result<()> {
    for page in 0..SUBJECTS / 1_000 {
        let writes = (page * 1_000..(page + 1) * 1_000)
            .map(|n| {
                Write::Subject(StoredSubject {
                    id: subject_id(n),
                    kind: "person".to_owned(),
                    version: 1,
                    state: "active".to_owned(),
                    external_digest: None,
                    identifiers: vec![1; 64],
                    wrapped_key: vec![2; 60],
                    created_at_ms: 0,
                })
            })
            .collect();
        let audit = vec![entry(format!("aud_{page}"), "subjects".to_owned())];
        let change = Change { writes, audit, feed: Vec::new(), outbox: Vec::new() };
        store.commit(change).await?.map_err(|conflict| anyhow::anyhow!("{conflict:?}"))?;
    }
    Ok(())
}

async fn run(path: &std::path::Path) -> anyhow::Result<f64> {
    let store = storage::open(&format!("sqlite:{}", path.display())).await?;
    store.migrate().await?;
    preload(&store).await?;
    let next = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let begin = Instant::now() + WARM_UP;
    let end = begin + MEASURED;
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|seed| {
            let (store, next, acknowledged) = (store.clone(), next.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut random = seed + 1;
                while Instant::now() < end {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let answer = store.record_attestation(new(n, random >> 16)).await?;
                    anyhow::ensure!(answer.is_ok(), "{answer:?}");
                    let now = Instant::now();
                    if now >= begin && now < end {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for submitter in submitters {
        submitter.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work is far below 2^52")]
    Ok(acknowledged.load(Ordering::Relaxed) as f64 / MEASURED.as_secs_f64())
}

fn main() -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("vouchsafe_bench_{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let rate = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(&dir.join("bench.db")));
    std::fs::remove_dir_all(&dir)?;
    #[expect(clippy::print_stdout, reason = "the figure is this program's output")]
    {
        println!("attestations_per_second {:.0}", rate?);
    }
    Ok(())
}
