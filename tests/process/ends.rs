//! Streams and what ends them from outside: cancels, siblings, dropped tables, closed sessions,
//! restarts. None is left behind, and none comes back.

use crate::harness::middle::Beat;
use crate::harness::proxy::Mode;
use crate::harness::steps::{Switch, acknowledge, step};
use crate::harness::{Cluster, look_again, soon};
use crate::streams::{A_SECOND, cancel, failures, fill, with_proxies};
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::faults::v1::Step;
use proto::types::v1::Stage;
use std::time::{Duration, Instant};

/// E6: the target swallows everything. The cancel is committed at once; the record says whom the
/// cleanup waits for.
#[tokio::test(flavor = "multi_thread")]
async fn e6_a_cancel_is_committed_though_the_target_swallows_everything() {
    let mut cluster = with_proxies("fast").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 50).await;
    let mut middle = cluster.stand_between("n1").await;
    middle.play(tablet.id, vec![Beat::Accept, Beat::Tell, Beat::Hang]);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    middle.told().await;
    for link in cluster.links().to_coordinators("n4") {
        link.set(Mode::HalfOpen);
    }
    let since = Instant::now();
    cancel(&cluster, &id).await;
    assert!(since.elapsed() < A_SECOND, "after {:?}", since.elapsed());
    let now = cluster.admin().migration(&id).await.expect("it is known");
    let is_told = now.waiting_for == ["n4"] || now.state() != pb::MigrationState::Running;
    let waits = async {
        loop {
            let now = cluster.admin().migration(&id).await.expect("it is known");
            if now.waiting_for == ["n4"] || now.state() != pb::MigrationState::Running {
                return;
            }
        }
    };
    if !is_told {
        soon("the record to say whom it waits for", waits).await;
    }
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{ended:#?}");
    for link in cluster.links().to_coordinators("n4") {
        link.set(Mode::Pass);
    }
    middle.pass(tablet.id);
    cluster.admitted(4).await;
    cluster.moved(&tablet, "n1", "n4").await;
}

/// E7: of a replica's three sources one sleeps for ever and one fails: the sleeper is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn e7_a_failed_sibling_wakes_the_sleeper() {
    let mut cluster = with_proxies("fast").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 200).await;
    let mut middle = cluster.stand_between("n1").await;
    middle.play(tablet.id, vec![Beat::Accept, Beat::Tell, Beat::Hang]);
    cluster.switch("n2", tablet.id, Switch::BendChunks, true).await;
    let request =
        pb::AddReplicaRequest { tablet: tablet.id, to: "n4".to_owned(), ..Default::default() };
    let begun = cluster.admin().add_replica(request).await.expect("it begins").migration;
    let id = begun.expect("a migration").id;
    cluster.said("n4", "CHECKSUM_MISMATCH").await;
    let since = Instant::now();
    // Nothing else would end a source that says that it stands still by order.
    cluster.said("n4", "SESSION_CLOSING").await;
    assert!(since.elapsed() < A_SECOND, "after {:?}", since.elapsed());
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert!(failures(&ended).contains(&"CHECKSUM_MISMATCH"), "{ended:#?}");
}

/// A3: the receiver has failed, and its report is lost with its attachment: the leader asks again,
/// hears of it, and the next attempt has a session of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a3_a_failure_whose_report_is_lost_is_heard_of_and_the_next_session_is_fresh() {
    let mut cluster = with_proxies("standard").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 200).await;
    cluster.switch("n1", tablet.id, Switch::BendChunks, true).await;
    let pull = step("n4", tablet.id, Step::Pull);
    cluster.hold(&pull).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&pull).await;
    let first = cluster.admin().migration(&id).await.expect("it runs").session;
    for link in cluster.links().to_coordinators("n4") {
        link.set(Mode::HalfOpen);
    }
    cluster.let_go(&pull).await;
    cluster.said("n4", "stream failed").await;
    cluster.switch("n1", tablet.id, Switch::BendChunks, false).await;
    // What was said meanwhile is gone; the attachment ends.
    for link in cluster.links().to_coordinators("n4") {
        link.set(Mode::Pass);
    }
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!(failures(&ended), ["CHECKSUM_MISMATCH"], "{ended:#?}");
    assert_eq!(ended.attempt, 2, "{ended:#?}");
    assert!(cluster.logged("n4").contains(&first), "it was pulled under the first session");
    cluster.replicas_agree(&tablet).await;
}

/// A5: the receiver of a stream is gone, and the source has not noticed. The session is closed: the
/// orphaned guard is told to go, and the barrier completes.
#[tokio::test(flavor = "multi_thread")]
async fn a5_an_orphaned_guard_is_told_to_go_when_its_session_is_closed() {
    let mut cluster = with_proxies("standard").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 200).await;
    let record = step("n4", tablet.id, Step::Record);
    cluster.hold(&record).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&record).await;
    // From here on the source hears nothing more of its receiver, not even its end.
    cluster.links().streams("n1").set(Mode::HalfOpen);
    cluster.kill("n4");
    let since = Instant::now();
    cancel(&cluster, &id).await;
    cluster.restart("n4");
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{ended:#?}");
    let drain_deadline = Duration::from_secs(30);
    assert!(since.elapsed() < drain_deadline, "by its token, not by force: {:?}", since.elapsed());
    assert!(!cluster.logged("n1").contains("a drain is forced"));
    cluster.links().streams("n1").set(Mode::Pass);
}

/// A6: a table is dropped in the middle of a stream: that transition ends, and others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a6_a_table_is_dropped_in_the_middle_of_a_stream() {
    let mut cluster = with_proxies("fast").await;
    let gone = cluster.create_table("gone", 1).await.remove(0);
    let stays = cluster.create_table("stays", 1).await.remove(0);
    cluster.add_agent("n4").await;
    let router = cluster.router();
    fill(&router, "gone", 50).await;
    fill(&router, "stays", 50).await;
    let mut middle = cluster.stand_between("n1").await;
    middle.play(gone.id, vec![Beat::Accept, Beat::Tell, Beat::Hang]);
    let id = cluster.migrate(&gone, "n1", "n4").await;
    middle.told().await;
    let drop = pb::DropTableRequest { name: "gone".to_owned(), ..Default::default() };
    cluster.admin().drop_table(drop).await.expect("dropped");
    let ended = cluster.ended(&id).await;
    assert_ne!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    cluster.moved(&stays, "n1", "n4").await;
    cluster.replicas_agree(&stays).await;
    let is_gone = async {
        while !cluster
            .admin()
            .list_tablets("")
            .await
            .expect("a list")
            .iter()
            .all(|t| t.id == stays.id)
        {
            look_again().await;
        }
    };
    soon("the drop", is_gone).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// B3: the leaving agent restarts while its copy is to be dropped, and after it was: it makes
/// nothing anew of what it has dropped.
#[tokio::test(flavor = "multi_thread")]
async fn b3_a_leaving_agent_that_restarts_makes_nothing_anew() {
    let mut cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 50).await;
    let held =
        [step("n1", tablet.id, Step::Drop), acknowledge("n2", tablet.id, Stage::EndMigration)];
    for (at, from, to) in [(&held[0], "n1", "n4"), (&held[1], "n4", "n1")] {
        cluster.hold(at).await;
        let id = cluster.migrate(&tablet, from, to).await;
        cluster.held(at).await;
        cluster.kill_and_restart(from);
        cluster.admitted(4).await;
        if at.is_on("n2") {
            cluster.let_go(at).await;
        }
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        let copies = cluster.faults(from).list_copies(faults::ListCopiesRequest {}).await;
        let copies = copies.expect("a list").into_inner().copies;
        assert!(copies.is_empty(), "{from} has {copies:?} again");
    }
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}
