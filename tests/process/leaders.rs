//! F1 and F2: leadership is lost while a move is asked for, and comes back to who had it.

use crate::harness::{Cluster, Loss, Shape, look_again, soon};
use crate::signals;
use client::{AdminClient, new_request_id};
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::faults::v1 as faults;
use proto::faults::v1::leader_service_client::LeaderServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use proto::types::v1::Stage;
use std::collections::BTreeSet;
use tokio::task::JoinHandle;
use tonic::{Response, Status};

async fn of_three() -> Cluster {
    let profile = "standard";
    let shape = Shape { coordinators: 3, has_proxies: true, profile, ..Shape::default() };
    Cluster::start_as(shape).await
}

pub(crate) fn others(names: &[String], leader: &str) -> Vec<String> {
    names.iter().filter(|name| *name != leader).cloned().collect()
}

/// Waits until the log of a coordinator is longer than this.
async fn logged(cluster: &Cluster, name: &str, before: u64) {
    let longer = async {
        loop {
            let samples = signals::samples(cluster.agent(name)).await;
            if signals::value(&samples, "palisade_log_last_index") > before as f64 {
                return;
            }
            look_again().await;
        }
    };
    soon(&format!("an entry at {name}"), longer).await;
}

async fn log_of(cluster: &Cluster, name: &str) -> u64 {
    let samples = signals::samples(cluster.agent(name)).await;
    signals::value(&samples, "palisade_log_last_index") as u64
}

pub(crate) fn one_move(tablet: &pb::Tablet) -> pb::MigrateRequest {
    a_move(tablet, "n1", "n4")
}

fn a_move(tablet: &pb::Tablet, from: &str, to: &str) -> pb::MigrateRequest {
    let request_id = new_request_id().to_string();
    let (from, to) = (from.to_owned(), to.to_owned());
    pb::MigrateRequest { request_id, tablet: tablet.id, from, to, ..Default::default() }
}

/// Asks the leader for a move, and cuts it off once these have it in their logs, before it hears of
/// that; what it says in the end.
async fn lost(cluster: &Cluster, old: &str, heard: &[String], asked: &pb::MigrateRequest) -> First {
    let request = asked.clone();
    let mut migrations = MigrationServiceClient::new(cluster.admin_channel(old));
    let mut before = Vec::new();
    for at in heard {
        before.push(log_of(cluster, at).await);
    }
    let is_its_own = heard.iter().any(|at| at == old);
    cluster.links().isolate(old, if is_its_own { Loss::Both } else { Loss::ToIt });
    let proposed = tokio::spawn(async move { migrations.migrate(request).await });
    for (at, before) in heard.iter().zip(before) {
        logged(cluster, at, before).await;
    }
    cluster.links().isolate(old, Loss::Both);
    proposed
}

/// The answer to the first try, some time.
type First = JoinHandle<Result<Response<pb::MigrateResponse>, Status>>;

async fn said(first: First) -> Result<String, Status> {
    let first = soon("the first answer", first).await.expect("no panic");
    first.map(|done| done.into_inner().migration.expect("a migration").id)
}

async fn mute(cluster: &Cluster, name: &str, on: bool) {
    let mut leader = LeaderServiceClient::new(cluster.agents_channel(name));
    leader.set_mute(faults::SetMuteRequest { on }).await.expect("set");
}

/// Who of these leads, by its own word: though nobody hears it.
async fn elected(cluster: &Cluster, among: &[String]) -> String {
    let leads = async {
        loop {
            for name in among {
                let samples = signals::samples(cluster.agent(name)).await;
                if signals::value(&samples, "palisade_leader") > 0.0 {
                    return name.clone();
                }
            }
            look_again().await;
        }
    };
    soon("an election", leads).await
}

/// What the first try was told; the same request through the client library, again and again; and
/// what there is of it: one migration, which ends, so that there are so many.
async fn once(
    cluster: &Cluster,
    asked: pb::MigrateRequest,
    first: Result<String, Status>,
    count: usize,
) {
    let mut ids = BTreeSet::new();
    match first {
        // The late OK.
        Ok(id) => drop(ids.insert(id)),
        Err(status) => {
            assert_eq!(outcome_of(&status), ChangeOutcome::Unknown, "{status}");
            let reason = Refusal::from_status(&status).map(|refusal| refusal.reason);
            let unknown = [Some(Reason::LeadershipLost), Some(Reason::CommitTimeout)];
            assert!(unknown.contains(&reason), "{status}");
        }
    }
    for _ in 0..3 {
        let done = cluster.admin().migrate(asked.clone()).await.expect("the same request");
        ids.insert(done.migration.expect("a migration").id);
    }
    assert_eq!(ids.len(), 1, "one request is one migration: {ids:?}");
    let id = ids.pop_first().expect("one");
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    // When all is over too.
    let again = cluster.admin().migrate(asked).await.expect("the same request");
    assert_eq!(again.migration.expect("a migration").id, id);
    let all = cluster.admin().list_migrations(false).await.expect("all that is remembered");
    assert_eq!(all.len(), count, "{all:#?}");
}

/// F1: a leader loses its leadership while a move is being committed. Its successor commits it, or
/// overwrites it: who asked is told that nobody knows, and asking again under the same id makes one
/// migration, with the sessions of one.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_move_whose_leader_is_lost_is_one_migration() {
    for is_heard in [true, false] {
        let cluster = of_three().await;
        let tablet = cluster.create_table("orders", 1).await.remove(0);
        let names = cluster.coordinators();
        let old = cluster.leader(&names).await;
        let others = others(&names, &old);
        let asked = one_move(&tablet);
        // Heard: the other has the entry, and its answer is lost.
        let at = if is_heard { others[..1].to_vec() } else { vec![old.clone()] };
        let first = lost(&cluster, &old, &at, &asked).await;
        cluster.leader(&others).await;
        cluster.links().heal();
        once(&cluster, asked, said(first).await, 1).await;
    }
}

/// F1: a leader loses its leadership while a move is being committed. (c) The next one commits
/// nothing, and a third leader commits it. (d) The next one commits it, and takes it off its log; the
/// old one hears of it in a snapshot, and is asked again as a leader.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_move_that_a_third_leader_commits_or_a_snapshot_has_is_one_migration() {
    let coordinator_flags = &["--snapshot-every=40"];
    let profile = "standard";
    let shape = Shape {
        coordinators: 3,
        has_proxies: true,
        profile,
        coordinator_flags,
        ..Shape::default()
    };
    let cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let names = cluster.coordinators();

    let old = cluster.leader(&names).await;
    let rest = others(&names, &old);
    for name in &rest {
        mute(&cluster, name, true).await;
    }
    let asked = a_move(&tablet, "n1", "n4");
    let first = lost(&cluster, &old, &rest, &asked).await;
    let second = elected(&cluster, &rest).await;
    let committed = signals::samples(cluster.agent(&second)).await;
    let last = signals::value(&committed, "palisade_log_last_index");
    assert!(signals::value(&committed, "palisade_log_committed_index") < last - 1.0, "{second}");
    for name in rest.iter().filter(|name| **name != second) {
        mute(&cluster, name, false).await;
    }
    cluster.links().heal();
    cluster.leader(&others(&names, &second)).await;
    mute(&cluster, &second, false).await;
    once(&cluster, asked, said(first).await, 1).await;

    let old = cluster.leader(&names).await;
    let rest = others(&names, &old);
    let asked = a_move(&tablet, "n4", "n1");
    let before = log_of(&cluster, &old).await as f64;
    let first = lost(&cluster, &old, &rest, &asked).await;
    let next = cluster.leader(&rest).await;
    let beside = AdminClient::connect(vec![cluster.admin_address(&next).to_owned()]);
    let compacted = async {
        loop {
            let samples = signals::samples(cluster.agent(&next)).await;
            if signals::value(&samples, "palisade_log_purged_index") > before + 10.0 {
                return;
            }
            let reason = "one entry more".to_owned();
            let more = pb::DisableBalancingRequest { reason, ..Default::default() };
            beside.disable_balancing(more).await.expect("a change");
        }
    };
    soon("it to be taken off the log", compacted).await;
    cluster.links().heal();
    let first = said(first).await;
    assert!(first.is_err(), "nobody tells it what came of its entry: {first:?}");
    transferred(&cluster, &names, &old).await;
    let samples = signals::samples(cluster.agent(&old)).await;
    assert!(signals::value(&samples, "palisade_log_purged_index") > before, "by a snapshot");
    once(&cluster, asked, first, 2).await;
}

/// Has the one that led before lead again.
async fn transferred(cluster: &Cluster, names: &[String], to: &str) {
    let again = async {
        while cluster.leader(names).await != to {
            let request = pb::TransferLeaderRequest { to: to.to_owned(), ..Default::default() };
            // It may not have caught up yet; it is asked again.
            let _ = cluster.admin().transfer_leader(request).await;
        }
    };
    soon("the first one to lead again", again).await;
}

/// F2: a leader drives a move, and has its session open; it is cut off; its successor ends the move;
/// the first one leads again. What it had in hand comes to nothing: the move stays ended, and the
/// next one has an id, an attempt and a session of its own.
#[tokio::test(flavor = "multi_thread")]
async fn f2_a_leader_that_comes_back_does_not_go_on_with_what_it_had_in_hand() {
    let cluster = of_three().await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..100u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    let names = cluster.coordinators();
    let first = cluster.leader(&names).await;
    // No attempt comes to its end.
    cluster.silence("n4", "stream_next", true).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.reached(&id, Stage::Streaming).await;
    for other in others(&names, &first) {
        cluster.links().part(&first, &other);
    }
    cluster.leader(&others(&names, &first)).await;
    let cancel = pb::CancelMigrationRequest { id: id.clone(), ..Default::default() };
    match cluster.admin().cancel_migration(cancel).await {
        Ok(_) => {}
        // Out of tries by then.
        Err(error) => assert_eq!(error.reason(), Some(Reason::NotInTransition), "{error}"),
    }
    let ended = cluster.ended(&id).await;
    let over = [pb::MigrationState::Cancelled, pb::MigrationState::Reverted];
    assert!(over.contains(&ended.state()), "{ended:#?}");
    cluster.silence("n4", "stream_next", false).await;
    cluster.links().heal();
    transferred(&cluster, &names, &first).await;
    let still = cluster.admin().migration(&id).await.expect("it is remembered");
    assert_eq!(still.state(), ended.state(), "{still:#?}");
    assert!(cluster.admin().list_migrations(true).await.expect("a list").is_empty());
    let moved = cluster.moved(&tablet, "n1", "n4").await;
    assert_ne!(moved.id, id);
    cluster.replicas_agree(&tablet).await;
}
