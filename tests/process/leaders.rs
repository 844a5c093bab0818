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
/// what there is of it: one migration, which ends.
async fn once(
    cluster: &Cluster,
    tablet: &pb::Tablet,
    asked: pb::MigrateRequest,
    first: Result<String, Status>,
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
    assert_eq!(moves(cluster, tablet, asked).await, 1);
}

/// Asks once more when all is over, and another move has taken the tablet back to where it was: how
/// many moves there have been like the one that was asked for.
async fn moves(cluster: &Cluster, tablet: &pb::Tablet, asked: pb::MigrateRequest) -> usize {
    let admin = cluster.admin();
    let over = async {
        while !admin.list_migrations(true).await.expect("those that run").is_empty() {
            look_again().await;
        }
    };
    soon("the move to end", over).await;
    cluster.moved(tablet, &asked.to, &asked.from).await;
    let (from, to) = (asked.from.clone(), asked.to.clone());
    let again = admin.migrate(asked).await.expect("the same request");
    cluster.ended(&again.migration.expect("a migration").id).await;
    let all = admin.list_migrations(false).await.expect("all that is remembered");
    all.iter().filter(|one| one.from == from && one.to == to).count()
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
        once(&cluster, &tablet, asked, said(first).await).await;
    }
}

/// Three coordinators that take their logs off soon, and a tablet on n1, n2 and n3.
async fn of_short_logs() -> (Cluster, pb::Tablet) {
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
    (cluster, tablet)
}

/// F1: a leader loses its leadership while a move is being committed. (c) The next one commits
/// nothing, and a third leader commits it. (d) The next one commits it, and takes it off its log; the
/// old one hears of it in a snapshot, and is asked again as a leader.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_move_that_a_third_leader_commits_or_a_snapshot_has_is_one_migration() {
    let (cluster, tablet) = of_short_logs().await;
    let asked = a_move(&tablet, "n1", "n4");
    let first = committed_by_a_third(&cluster, &asked).await;
    once(&cluster, &tablet, asked, first).await;
    let asked = a_move(&tablet, "n2", "n4");
    let first = heard_of_in_a_snapshot(&cluster, &asked).await;
    once(&cluster, &tablet, asked, first).await;
}

/// The control of F1 (c) and (d): coordinators that don't remember requests make two moves of each.
#[tokio::test(flavor = "multi_thread")]
async fn f1_control_without_a_memory_of_ids_there_are_two_migrations() {
    let (cluster, tablet) = of_short_logs().await;
    cluster.forget_requests(true).await;
    let asked = a_move(&tablet, "n1", "n4");
    drop(committed_by_a_third(&cluster, &asked).await);
    assert_eq!(moves(&cluster, &tablet, asked).await, 2, "(c)");
    // The second one has taken it to n4.
    let asked = a_move(&tablet, "n2", "n1");
    drop(heard_of_in_a_snapshot(&cluster, &asked).await);
    assert_eq!(moves(&cluster, &tablet, asked).await, 2, "(d)");
}

/// F1 (c): what the first try is told.
async fn committed_by_a_third(
    cluster: &Cluster,
    asked: &pb::MigrateRequest,
) -> Result<String, Status> {
    let names = cluster.coordinators();
    let old = cluster.leader(&names).await;
    let rest = others(&names, &old);
    for name in &rest {
        mute(cluster, name, true).await;
    }
    let first = lost(cluster, &old, &rest, asked).await;
    let second = elected(cluster, &rest).await;
    let committed = signals::samples(cluster.agent(&second)).await;
    let last = signals::value(&committed, "palisade_log_last_index");
    assert!(signals::value(&committed, "palisade_log_committed_index") < last - 1.0, "{second}");
    for name in rest.iter().filter(|name| **name != second) {
        mute(cluster, name, false).await;
    }
    cluster.links().heal();
    cluster.leader(&others(&names, &second)).await;
    mute(cluster, &second, false).await;
    said(first).await
}

/// F1 (d): what the first try is told.
async fn heard_of_in_a_snapshot(
    cluster: &Cluster,
    asked: &pb::MigrateRequest,
) -> Result<String, Status> {
    let names = cluster.coordinators();
    let old = cluster.leader(&names).await;
    let rest = others(&names, &old);
    let before = log_of(cluster, &old).await as f64;
    let first = lost(cluster, &old, &rest, asked).await;
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
    transferred(cluster, &names, &old).await;
    let samples = signals::samples(cluster.agent(&old)).await;
    assert!(signals::value(&samples, "palisade_log_purged_index") > before, "by a snapshot");
    first
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
