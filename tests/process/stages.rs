//! Transitions that are held in a stage: cancelled there, delayed there, and not in one another's
//! way.

use crate::harness::steps::{At, acknowledge, step};
use crate::harness::{Cluster, Shape, soon};
use crate::workload::Workload;
use client::Router;
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::faults::v1::Step;
use proto::reasons::Reason;
use proto::types::v1::Stage;
use std::time::{Duration, Instant};

/// A cancel is committed within this, whatever else goes on.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);

/// A cluster in which nobody is fenced while something is held for a while.
async fn patient(agents: u8) -> Cluster {
    Cluster::start_as(Shape { agents, profile: "standard", ..Shape::default() }).await
}

/// Where a replica of a tablet can be moved: from its first node to one that has none, and a
/// replica that stays.
fn places(tablet: &pb::Tablet, agents: u8) -> (String, String, String) {
    let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    let to = (1..=agents).map(|number| format!("n{number}")).find(|node| !has(node));
    let (from, stays) = (&tablet.replicas[0].node, &tablet.replicas[1].node);
    (from.clone(), to.expect("one has no replica"), stays.clone())
}

async fn fill(router: &Router, keys: u32) {
    for key in 0..keys {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

/// Begins a move that will stand in this stage.
async fn standing_in(cluster: &Cluster, tablet: &pb::Tablet, stage: Stage) -> (String, At) {
    let (from, to, stays) = places(tablet, 4);
    let at = match stage {
        Stage::Streaming => step(&to, tablet.id, Step::Pull),
        Stage::Cleanup => step(&from, tablet.id, Step::Drop),
        stage => acknowledge(&stays, tablet.id, stage),
    };
    cluster.hold(&at).await;
    let id = cluster.migrate(tablet, &from, &to).await;
    cluster.held(&at).await;
    let migration = cluster.admin().migration(&id).await.expect("it runs");
    assert_eq!(migration.stage(), stage, "{migration:#?}");
    (id, at)
}

async fn cancel(cluster: &Cluster, id: &str) -> Result<(), client::ClientError> {
    let began = Instant::now();
    let request = pb::CancelMigrationRequest { id: id.to_owned(), ..Default::default() };
    let cancelled = cluster.admin().cancel_migration(request).await;
    assert!(began.elapsed() < CANCELLED_WITHIN, "{:?}", began.elapsed());
    cancelled.map(drop)
}

/// B7: cancelled in each stage. Before the point of no return it ends as cancelled, though
/// somebody still keeps the stage waiting, and the target is clean; after it the cancel is
/// refused, and the move goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn b7_a_cancel_in_each_stage_ends_it_before_the_point_of_no_return_alone() {
    let mut cluster = patient(4).await;
    let tablets = cluster.create_table("orders", 7).await;
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 3, 70);
    soon("writes", writing.proceed(300)).await;
    let before = [
        Stage::AllowWriteBothReadOld,
        Stage::WriteBothReadOld,
        Stage::Streaming,
        Stage::WriteBothReadNew,
    ];
    let after = [Stage::UseNew, Stage::Cleanup, Stage::EndMigration];
    for (tablet, stage) in tablets.iter().zip(before) {
        let (id, at) = standing_in(&cluster, tablet, stage).await;
        cancel(&cluster, &id).await.expect("it is not too late");
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{stage:?}: {ended:#?}");
        cluster.let_go(&at).await;
    }
    for (tablet, stage) in tablets[before.len()..].iter().zip(after) {
        let (id, at) = standing_in(&cluster, tablet, stage).await;
        let refused = cancel(&cluster, &id).await.expect_err("it is too late");
        assert_eq!(refused.reason(), Some(Reason::PastPointOfNoReturn), "{stage:?}: {refused}");
        cluster.let_go(&at).await;
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{stage:?}: {ended:#?}");
    }
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "a target is not clean");
}

/// B2: A→B→A with writes between, and the first cleanup's reply is late. It says nothing of A's
/// new copy: neither is that touched, nor does a later cleanup of A count as done by it.
#[tokio::test(flavor = "multi_thread")]
async fn b2_a_late_reply_of_the_first_cleanup_says_nothing_of_a_later_copy() {
    let mut cluster = patient(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 4, 40);
    soon("writes", writing.proceed(100)).await;
    let late = step("n1", tablet.id, Step::DroppedReport);
    cluster.hold(&late).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&late).await;
    // The next leader asks again, and is answered; the first reply is still on its way.
    cluster.kill_and_restart("c1");
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    soon("writes", writing.proceed(100)).await;
    cluster.moved(&tablet, "n4", "n1").await;
    soon("writes", writing.proceed(100)).await;
    // A's second cleanup is ordered and not begun when the reply to the first one comes.
    let drop = step("n1", tablet.id, Step::Drop);
    cluster.hold(&drop).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&drop).await;
    cluster.let_go(&late).await;
    // It was heard once the same agent's next word was.
    let other = cluster.create_table("others", 2).await;
    let on_n1 = other.iter().find(|t| t.replicas.iter().any(|r| r.node == "n1"));
    cluster.digest(on_n1.expect("one has a replica there")).await;
    let waiting = cluster.admin().migration(&id).await.expect("it runs");
    assert_eq!(waiting.stage(), Stage::Cleanup, "{waiting:#?}");
    cluster.let_go(&drop).await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    cluster.moved(&tablet, "n4", "n1").await;
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// C2: one tablet's drain is stuck on a node. The barriers of others, which came to that node in
/// the same message, are acknowledged; the one that is stuck goes on once it is let go.
#[tokio::test(flavor = "multi_thread")]
async fn c2_one_stuck_drain_keeps_no_other_tablet_waiting() {
    let mut cluster = patient(3).await;
    let tablets = cluster.create_table("orders", 8).await;
    cluster.add_agent("n4").await;
    fill(&cluster.router(), 64).await;
    let stuck = cluster.stuck_read("n2", &tablets[0]).await;
    // While n3 says nothing, all of them stand in the first stage; and the next leader has one
    // message for n2 about all of them.
    cluster.pause("n3");
    let mut ids = Vec::new();
    for tablet in &tablets {
        ids.push(cluster.migrate(tablet, "n1", "n4").await);
    }
    cluster.kill_and_restart("c1");
    cluster.resume("n3");
    for id in &ids[1..] {
        assert_eq!(cluster.ended(id).await.state(), pb::MigrationState::Done);
    }
    let waiting = cluster.admin().migration(&ids[0]).await.expect("it runs");
    assert_eq!(waiting.stage(), Stage::AllowWriteBothReadOld, "{waiting:#?}");
    assert_eq!(waiting.waiting_for, ["n2"], "{waiting:#?}");
    let release = faults::ReleaseDataRequest { tablet: tablets[0].id };
    cluster.faults("n2").release_data(release).await.expect("released");
    stuck.await.expect("no panic").expect("the read is served, under the version it came with");
    assert_eq!(cluster.ended(&ids[0]).await.state(), pb::MigrationState::Done);
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
}
