//! Coordinators that are cut from one another, and agents from coordinators, in one direction or in
//! both: what a leader can't confirm it doesn't do, and everybody else goes on.

use crate::harness::{Cluster, Loss, Shape, look_again, soon};
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_client::TableServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};

/// Coordinators that are three, and all on ways that can fail. With long leases where nobody is to
/// be fenced, however busy the machine is.
async fn of_three(profile: &'static str) -> Cluster {
    let shape = Shape { coordinators: 3, has_proxies: true, profile, ..Shape::default() };
    Cluster::start_as(shape).await
}

fn others(names: &[String], leader: &str) -> Vec<String> {
    names.iter().filter(|name| *name != leader).cloned().collect()
}

/// Waits until each coordinator has what is committed.
async fn caught_up(cluster: &Cluster) {
    let caught_up = async {
        loop {
            let status = cluster.admin().status().await.expect("a status");
            let behind = |one: &pb::Coordinator| one.matched_index < status.committed_index;
            if !status.coordinators.iter().any(behind) {
                return;
            }
            look_again().await;
        }
    };
    soon("equal logs", caught_up).await;
}

/// C10 and F7: a leader is cut from the other coordinators; agents and clients still reach it. It
/// answers no renewal, no read that has to be true, and no change: agents go to the next leader, by
/// whom a move ends, and the one that was cut follows once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn c10_f7_a_leader_that_is_cut_off_confirms_nothing_to_those_who_still_reach_it() {
    let cluster = of_three("standard").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let names = cluster.coordinators();
    let old = cluster.leader(&names).await;
    let others = others(&names, &old);
    for other in &others {
        cluster.links().part(&old, other);
    }
    cluster.leader(&others).await;
    let mut beside_it = TableServiceClient::new(cluster.admin_channel(&old));
    let read = pb::ListTablesRequest::default();
    let refused = soon("a read through it", beside_it.list_tables(read)).await;
    let why = Refusal::from_status(&refused.expect_err("it can't know"));
    let not_now = [Reason::NoLeader, Reason::NotLeader];
    assert!(why.as_ref().is_some_and(|why| not_now.contains(&why.reason)), "{why:?}");
    let name = "never".to_owned();
    let change =
        pb::CreateTableRequest { name, replication_factor: 1, tablets: 1, ..Default::default() };
    let refused = soon("a change through it", beside_it.create_table(change)).await;
    let outcome = outcome_of(&refused.expect_err("nobody has agreed to it"));
    assert!([ChangeOutcome::NotApplied, ChangeOutcome::Unknown].contains(&outcome), "{outcome:?}");
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.admitted(4).await;
    for agent in 1..=4 {
        cluster.attached(&others, &format!("n{agent}")).await;
    }
    cluster.links().heal();
    cluster.create_table("after", 1).await;
    caught_up(&cluster).await;
    let tables = cluster.admin().list_tables().await.expect("a list");
    assert!(tables.iter().all(|table| table.name != "never"), "it was overwritten: {tables:#?}");
    cluster.replicas_agree(&tablet).await;
}

/// Isolates the leader in this way: another one leads, whom the agents go to, a tablet moves, and
/// once the way is there again all are one. Who led before.
async fn another_leads(loss: Loss) -> (Cluster, String) {
    let cluster = of_three("standard").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let names = cluster.coordinators();
    let old = cluster.leader(&names).await;
    cluster.links().isolate(&old, loss);
    cluster.leader(&others(&names, &old)).await;
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.links().heal();
    caught_up(&cluster).await;
    cluster.admitted(4).await;
    cluster.replicas_agree(&tablet).await;
    (cluster, old)
}

/// A leader is not heard by anybody, and hears all: the others choose another one, and it follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_not_heard_is_followed_by_another() {
    another_leads(Loss::FromIt).await;
}

/// A leader is heard by all, and hears nobody: the others would follow it for ever, and nothing be
/// committed. It falls silent, and another one leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_gives_way_to_another() {
    let (cluster, old) = another_leads(Loss::ToIt).await;
    cluster.said(&old, "no quorum answers").await;
}

/// An agent is cut from the leader alone, or from everybody, or in one direction: it is fenced,
/// though other coordinators tell it where the leader is, and admitted once the way is there again.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_cut_off_is_fenced_whatever_others_tell_it() {
    let cluster = of_three("fast").await;
    let names = cluster.coordinators();
    // Whoever leads, also where that changes meanwhile.
    let parting = async {
        loop {
            cluster.links().part("n4", &cluster.leader(&names).await);
            look_again().await;
        }
    };
    tokio::select! {
        () = cluster.fenced("n4") => {}
        never = parting => never,
    }
    cluster.said("n4", "this coordinator does not lead").await;
    cluster.links().heal();
    cluster.admitted(4).await;
    for loss in [Loss::Both, Loss::ToIt, Loss::FromIt] {
        cluster.links().isolate("n4", loss);
        cluster.fenced("n4").await;
        cluster.links().heal();
        cluster.admitted(4).await;
    }
}
