//! Many tablets: one that can't move among a hundred, and moves at random under inserts.

use crate::harness::steps::Switch;
use crate::harness::{Cluster, Seed, look_again, rounds, soon};
use client::Router;
use proto::admin::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// B8: a hundred tablets move, and the data of one is bent on each try. That one goes back and
/// says why; the ninety-nine move.
#[tokio::test(flavor = "multi_thread")]
async fn b8_ninety_nine_of_a_hundred_tablets_move_past_the_bad_one() {
    let mut cluster = Cluster::start(1).await;
    let tablets = cluster.create_table_of("orders", 100, 1).await;
    cluster.add_agent("n2").await;
    let router = cluster.router();
    for key in 0..1_000u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    let bad = &tablets[37];
    assert!(cluster.digest(bad).await.digests[0].rows > 0, "there is something to bend");
    cluster.switch("n1", bad.id, Switch::BendChunks, true).await;
    let mut moves = Vec::new();
    for tablet in &tablets {
        moves.push((tablet.id, cluster.migrate(tablet, "n1", "n2").await));
    }
    for (tablet, id) in &moves {
        let ended = cluster.ended(id).await;
        if *tablet == bad.id {
            assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
            assert!(ended.reason.contains("CHECKSUM_MISMATCH"), "{}", ended.reason);
        } else {
            assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        }
    }
    for key in 0..1_000u32 {
        let read = router.get("orders", &key.to_be_bytes()).await.expect("a read");
        assert_eq!(read.map(|value| value.value), Some(b"value".to_vec()), "{key}");
    }
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "the bad one's target is not clean");
}

/// Writers that insert each number once, until they are told to stop.
struct Inserting {
    writers: JoinSet<(BTreeSet<u64>, Vec<String>)>,
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
}

impl Inserting {
    fn start(router: &Router, writers: u64) -> Inserting {
        let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let (router, stop, next) = (router.clone(), stop.clone(), Arc::clone(&next));
            let acknowledged = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                let (mut inserted, mut errors) = (BTreeSet::new(), Vec::new());
                while !stop.is_cancelled() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let key = number.to_be_bytes();
                    match router.put("orders", &key, &key).await {
                        Ok(_) => {
                            inserted.insert(number);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => errors.push(format!("{number}: {error}")),
                    }
                }
                (inserted, errors)
            });
        }
        Inserting { writers: tasks, stop, acknowledged }
    }

    async fn proceed(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            look_again().await;
        }
    }

    async fn stop(mut self) -> (BTreeSet<u64>, Vec<String>) {
        self.stop.cancel();
        let (mut all, mut errors) = (BTreeSet::new(), Vec::new());
        while let Some(writer) = self.writers.join_next().await {
            let (inserted, failed) = writer.expect("a writer does not panic");
            all.extend(inserted);
            errors.extend(failed);
        }
        (all, errors)
    }
}

/// Every number that a scan finds, with how often.
async fn scanned(router: &Router) -> BTreeMap<u64, u64> {
    let (mut found, mut from) = (BTreeMap::new(), Vec::new());
    loop {
        let page = router.scan("orders", &from, 1_000).await.expect("a scan");
        for row in page.rows {
            assert_eq!(row.key, row.value.value, "each number is stored under itself");
            let number = u64::from_be_bytes(row.key.try_into().expect("eight bytes"));
            *found.entry(number).or_default() += 1;
        }
        match page.next {
            Some(next) => from = next,
            None => return found,
        }
    }
}

/// G1: writers insert unique numbers while tablets move at random, several at once, without any
/// fault: none is lost, none is invented, none comes twice, and no writer sees an error.
#[tokio::test(flavor = "multi_thread")]
async fn g1_no_number_is_lost_or_invented_while_tablets_move() {
    let mut seed = Seed::draw("moves at random");
    let agents = 5;
    let mut cluster = Cluster::start(agents).await;
    let tablets = cluster.create_table("orders", 6).await;
    let router = cluster.router();
    let inserting = Inserting::start(&router, 4);
    soon("inserts", inserting.proceed(100)).await;
    for _ in 0..rounds(8) {
        let mut begun = Vec::new();
        for tablet in &tablets {
            if seed.below(2) == 0 {
                continue;
            }
            let now = cluster.digest(tablet).await;
            let has: Vec<String> = now.replicas.iter().map(|r| r.node.clone()).collect();
            let free = (1..=agents).map(|number| format!("n{number}"));
            let free: Vec<String> = free.filter(|node| !has.contains(node)).collect();
            let (from, to) = (seed.pick(&has).clone(), seed.pick(&free).clone());
            begun.push(cluster.migrate(tablet, &from, &to).await);
        }
        soon("inserts", inserting.proceed(20)).await;
        for id in begun {
            let ended = cluster.ended(&id).await;
            assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        }
    }
    let (inserted, errors) = inserting.stop().await;
    assert_eq!(errors, Vec::<String>::new());
    let found = scanned(&router).await;
    assert_eq!(found.keys().copied().collect::<BTreeSet<u64>>(), inserted);
    assert!(found.values().all(|times| *times == 1), "one comes twice in a scan");
    let (on_disk, given) = cluster.copies_on_disk().await;
    assert_eq!(on_disk, given);
}
