//! A hundred thousand messages, receivers of whom three in ten requests fail, and no loss: `benches/webhooks.sh`.

#![expect(clippy::print_stdout, reason = "it tells figures")]

use super::endpoint;
use super::receiver::{Receiver, Reply};
use crate::app::TestApp;
use crate::support::Database;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vouchsafe::service::webhooks::{Admin, Again, Courier};
use vouchsafe::storage::{AskedDeliveries, Change, OutboxRow};
use vouchsafe_core::Second;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Processor time of this process, user and system: fields 14 and 15 of proc(5), in hundredths of a second.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Messages of a thousand subjects in the outbox, as commits write them.
async fn write(t: &TestApp, events: usize) {
    let mut written = 0;
    while written < events {
        let row = |n: usize| OutboxRow {
            id: format!("out_{:012x}{n:020x}", 1_795_219_200_000_u64),
            topic: "attestation.accepted".to_owned(),
            key: format!("sub_{}", n % 1000),
            body: json!({ "attestation": format!("att_{n}"), "subject": format!("sub_{}", n % 1000) }).to_string(),
        };
        let outbox: Vec<OutboxRow> = (written..events.min(written + 500)).map(row).collect();
        written += outbox.len();
        let change = Change { writes: vec![], audit: vec![], feed: vec![], outbox };
        t.app.store.commit(change).await.unwrap().unwrap();
    }
}

/// A receiver that lets three in ten requests fail: refused, busy or cut short.
async fn failing(seed: u64) -> Receiver {
    let mut state = seed;
    Receiver::answering(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) % 10 {
            0 | 1 => Reply::Status(500),
            2 => Reply::Status(400),
            _ => Reply::Status(200),
        }
    })
    .await
}

/// Chance lets one message in 170,000 fail ten times: an operator replays what is dead. Whether there was something.
async fn revive(t: &TestApp, receivers: &[(String, Receiver)]) -> bool {
    let mut any = false;
    for (id, _) in receivers {
        let asked = AskedDeliveries { receiver: id, state: "dead", before: "", limit: 1 };
        if !t.app.store.deliveries(asked).await.unwrap().is_empty() {
            let (from, to) = (Second::from_epoch(0), t.app.clock.now().plus(1));
            t.app.enable_endpoint(Admin::CommandLine, id, None).await.unwrap();
            let again = Again::Time { from, to, delivered: false };
            println!("{id}: {} dead, replayed", t.app.replay_messages(Admin::CommandLine, id, again).await.unwrap());
            any = true;
        }
    }
    any
}

async fn drain(database: &Database, events: usize, endpoints: usize) {
    let t = TestApp::start(database).await;
    let mut receivers = Vec::new();
    for n in 0..endpoints {
        let receiver = failing(n as u64 + 1).await;
        let (id, _) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        receivers.push((id, receiver));
    }
    // What this test's own set-up had to say.
    Courier::new(Arc::clone(&t.app)).work_off().await.unwrap();
    write(&t, events).await;
    let (begun, busy) = (Instant::now(), processor());
    let mut courier = Courier::new(Arc::clone(&t.app));
    let mut passes = 0;
    loop {
        courier.work_off().await.unwrap();
        let pending: i64 = t.app.store.backlog().await.unwrap().iter().map(|row| row.pending).sum();
        passes += 1;
        println!("pass {passes}: {pending} wait after {:?}", begun.elapsed());
        if pending == 0 && !revive(&t, &receivers).await {
            break;
        }
        assert!(passes < 300, "it does not end");
        // The schedule's next delay, without waiting for it.
        t.clock.advance(86_400 + 8_640);
    }
    let (took, busy) = (begun.elapsed(), processor().checked_sub(busy).unwrap());
    for (id, receiver) in &receivers {
        let got = receiver.taken();
        let accepted = got.iter().filter(|got| got.accepted);
        let ids: BTreeSet<&str> = accepted.map(|got| got.id.as_str()).collect();
        assert_eq!(ids.len(), events, "{id}");
        // Of each subject the first arrivals of messages are in order.
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for one in got.iter().filter(|one| seen.insert(one.id.clone())) {
            let data = &one.body()["data"];
            let place: usize = data["attestation"].as_str().unwrap()["att_".len()..].parse().unwrap();
            let before = last.insert(data["subject"].as_str().unwrap().to_owned(), place);
            assert!(before.is_none_or(|before| before < place), "{one:?}");
        }
        println!("{id}: {} requests, {} distinct ids accepted", got.len(), ids.len());
    }
    let all = (events * endpoints) as f64;
    let per_second = all / took.as_secs_f64();
    let share = busy.as_secs_f64() / took.as_secs_f64();
    println!(
        "{events} events for {endpoints} endpoints in {took:?}: {per_second:.0} deliveries/s, {share:.2} processors, {:.0} us of processor time each, receivers included",
        busy.as_secs_f64() * 1e6 / all
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_drained_without_loss_though_three_in_ten_requests_fail() {
    drain(&Database::sqlite(), 400, 2).await;
    if let Some(database) = Database::postgres().await {
        drain(&database, 400, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `benches/webhooks.sh`"]
async fn long_drain() {
    let (events, endpoints) = (number("EVENTS", 100_000), number("ENDPOINTS", 3));
    if std::env::var("DATABASE").is_ok_and(|name| name == "postgres") {
        drain(&Database::postgres().await.expect("a PostgreSQL server"), events, endpoints).await;
    } else {
        drain(&Database::sqlite(), events, endpoints).await;
    }
}
