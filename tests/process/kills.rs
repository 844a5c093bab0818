//! kill −9 of any process at any moment of a move, then a restart: the move ends, no acknowledged
//! write is missing, and no data lies where it doesn't belong.
//!
//! Each process is killed once the move has reached a stage; which stages is drawn from a seed,
//! which is printed. `PALISADE_SEED` repeats one.

use crate::harness::{Cluster, Seed, soon};
use crate::workload::Workload;
use proto::admin::v1 as pb;
use proto::types::v1::Stage;

const STAGES: [Stage; 7] = [
    Stage::AllowWriteBothReadOld,
    Stage::WriteBothReadOld,
    Stage::Streaming,
    Stage::WriteBothReadNew,
    Stage::UseNew,
    Stage::Cleanup,
    Stage::EndMigration,
];

/// How many moves each process is killed in.
const ROUNDS: usize = 4;

/// Moves a tablet back and forth and kills `victim` in each move, once with each drawn stage.
async fn killed_in_moves(victim: &str) {
    let mut seed = Seed::draw(&format!("kill -9 of {victim}"));
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 4, 40);
    soon("writes", writing.proceed(200)).await;
    let (mut from, mut to) = ("n1", "n4");
    for round in 0..ROUNDS {
        let stage = *seed.pick(&STAGES);
        let id = cluster.migrate(&tablet, from, to).await;
        cluster.reached(&id, stage).await;
        cluster.kill_and_restart(victim);
        let ended = cluster.ended(&id).await;
        eprintln!(
            "round {round}: killed in {}: {:?} {}",
            stage.as_str_name(),
            ended.state(),
            ended.reason
        );
        match ended.state() {
            pb::MigrationState::Done => std::mem::swap(&mut from, &mut to),
            pb::MigrationState::Reverted => assert_ne!(ended.reason, ""),
            other => panic!("{other:?}: {ended:#?}"),
        }
        soon("writes", writing.proceed(50)).await;
    }
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new(), "the client library hides one dead process");
    history.check(&router, "orders").await;
    cluster.replicas_agree(&tablet).await;
    history.check(&router, "orders").await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "a copy lies where it doesn't belong, or is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_killed() {
    killed_in_moves("n4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_killed() {
    killed_in_moves("n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bystander_replica_is_killed() {
    killed_in_moves("n2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_is_killed() {
    killed_in_moves("c1").await;
}

/// C4 and C5 in their plain form: an agent is paused past its lease. It is fenced, the move goes
/// back; when it wakes it is admitted anew, and the tablet can be moved there again.
#[tokio::test(flavor = "multi_thread")]
async fn c4_a_paused_target_is_fenced_and_comes_back() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..100u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    cluster.pause("n4");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.fenced("n4").await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert_eq!(ended.reason, "NODE_FENCED: n4");
    router.put("orders", b"key", b"served all the time").await.expect("a put");
    cluster.resume("n4");
    cluster.admitted(4).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}
