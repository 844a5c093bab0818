//! Coordinators that come and go while rows are written and tablets move; all of them show
//! certificates.

use crate::harness::{Cluster, Shape, look_again, soon};
use crate::workload::Workload;
use client::AdminClient;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_client::TableServiceClient;
use proto::reasons::Reason;
use std::time::Duration;

async fn of(coordinators: u8) -> Cluster {
    let profile = "standard";
    Cluster::start_as(Shape { coordinators, profile, has_tls: true, ..Shape::default() }).await
}

async fn add(cluster: &Cluster, name: &str, raft_address: &str) -> Result<(), client::ClientError> {
    let (name, raft_address) = (name.to_owned(), raft_address.to_owned());
    let request = pb::AddMemberRequest { name, raft_address, ..Default::default() };
    cluster.admin().add_member(request).await.map(drop)
}

async fn remove(cluster: &Cluster, name: &str) -> Result<(), client::ClientError> {
    let admin = cluster.admin();
    let members = admin.status().await.expect("a status").coordinators;
    let raft_id = members.iter().find(|one| one.name == name).expect("a member").raft_id;
    let name = name.to_owned();
    let request = pb::RemoveMemberRequest { name, raft_id, ..Default::default() };
    admin.remove_member(request).await.map(drop)
}

/// Waits until exactly these vote, and have all that is committed.
async fn votes(cluster: &Cluster, names: &[&str]) {
    let voting = async {
        loop {
            let status = cluster.admin().status().await.expect("a status");
            let all = &status.coordinators;
            let is_there = |one: &pb::Coordinator| {
                one.voter && one.lag == Some(0) && names.contains(&&*one.name)
            };
            if all.len() == names.len() && all.iter().all(is_there) {
                return;
            }
            look_again().await;
        }
    };
    soon(&format!("{names:?} to vote"), voting).await;
}

/// Three coordinators; a fourth comes, the leader goes, the next leader goes: under writes and
/// moves. Nobody sees an error, no write is lost, and agents follow to coordinators that they were
/// never told of.
#[tokio::test(flavor = "multi_thread")]
async fn every_coordinator_is_replaced_under_writes_and_moves() {
    let mut cluster = of(3).await;
    let tablets = cluster.create_table("orders", 8).await;
    let router = cluster.router();
    let workload = Workload::start(&router, "orders", 4, 50);
    let mut moving = tablets.iter().cycle();
    let mut members: Vec<String> = cluster.coordinators();
    for number in 4..=6 {
        let fresh = format!("c{number}");
        let address = cluster.start_joining(&fresh);
        let tablet = moving.next().expect("a cycle");
        let has = tablet.replicas[0].node.clone();
        let free = (1..=4)
            .map(|n| format!("n{n}"))
            .find(|n| !tablet.replicas.iter().any(|one| one.node == *n));
        let id = cluster.migrate(tablet, &has, &free.expect("one is free")).await;
        add(&cluster, &fresh, &address).await.expect("it is taken in");
        add(&cluster, &fresh, &address).await.expect("and once more is the same");
        members.push(fresh);
        votes(&cluster, &members.iter().map(String::as_str).collect::<Vec<_>>()).await;
        // One of the three that began; the leader itself, where it is one of them.
        let leader = cluster.leader(&members).await;
        let old = |name: &String| ["c1", "c2", "c3"].contains(&name.as_str());
        let gone = members.iter().filter(|name| old(name)).max_by_key(|name| **name == leader);
        let gone = gone.expect("one is left").clone();
        remove(&cluster, &gone).await.expect("it is removed");
        assert!(!cluster.ends(&gone).await, "it says that it can't go on");
        assert!(cluster.logged(&gone).contains("was removed from its cluster"));
        members.retain(|name| *name != gone);
        cluster.forget(&gone);
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    }
    assert_eq!(members, ["c4", "c5", "c6"]);
    // An agent's seeds are all gone: it goes by what it has heard.
    let attached = async {
        loop {
            let nodes = cluster.admin().list_nodes().await.expect("the nodes");
            if nodes.iter().filter(|node| node.attached).count() == 4 {
                return;
            }
            look_again().await;
        }
    };
    soon("all agents to attach to the new ones", attached).await;
    soon("some more writes", workload.proceed(20)).await;
    let history = workload.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

/// A coordinator that has lost its directory does not vote under its old id, and comes in again
/// once it was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_coordinator_is_another_one() {
    let mut cluster = of(3).await;
    cluster.create_table("orders", 1).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let others: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
    let [wiped, other] = others.as_slice() else { panic!("{others:?}") };
    cluster.kill(wiped);
    cluster.wipe(wiped);
    // With the flags that it has always had.
    cluster.restart(wiped);
    cluster.said(wiped, "waits to begin a cluster").await;
    let address = cluster.raft_address(wiped);
    let refused = add(&cluster, wiped, &address).await.expect_err("its name is taken");
    assert_eq!(refused.reason(), Some(Reason::AlreadyExists), "{refused}");
    // Its vote would make a majority of the leader and it.
    cluster.kill(other);
    let request = pb::CreateTableRequest {
        name: "never".into(),
        replication_factor: 3,
        tablets: 1,
        ..Default::default()
    };
    let deadline = Duration::from_secs(4);
    let options = client::AdminOptions { deadline, try_timeout: Duration::from_secs(2) };
    let admin = AdminClient::connect_with(cluster.admin_addresses(), options);
    admin.create_table(request).await.expect_err("one of three is no majority");
    cluster.restart(other);
    let alive = [leader, other.clone()];
    cluster.leader(&alive).await;
    remove(&cluster, wiped).await.expect("the dead one");
    add(&cluster, wiped, &address).await.expect("it is empty");
    votes(&cluster, &["c1", "c2", "c3"]).await;
}

/// A coordinator that is started again under other addresses says so, and is found there.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_moved_is_found_where_it_is() {
    let mut cluster = of(1).await;
    let first = cluster.start_joining("c2");
    add(&cluster, "c2", &first).await.expect("it is taken in");
    votes(&cluster, &["c1", "c2"]).await;
    let third = cluster.start_joining("c3");
    add(&cluster, "c3", &third).await.expect("it is taken in");
    votes(&cluster, &["c1", "c2", "c3"]).await;
    cluster.kill("c3");
    let moved = cluster.start_joining("c3");
    assert_ne!(moved, third);
    let known = async {
        loop {
            let members = cluster.admin().status().await.expect("a status").coordinators;
            let known = members.iter().find(|one| one.name == "c3").expect("a member");
            if known.raft_address == moved {
                return;
            }
            look_again().await;
        }
    };
    soon("its new address to be known", known).await;
    cluster.create_table("after", 1).await;
    votes(&cluster, &["c1", "c2", "c3"]).await;
}

/// What is refused, and why; and leadership that goes where it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_transferred_and_the_last_one_stays() {
    let cluster = of(3).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let next = names.iter().find(|name| **name != leader).expect("two others").clone();
    let admin = cluster.admin();
    let status = admin.status().await.expect("a status");
    let request = pb::TransferLeaderRequest {
        to: next.clone(),
        from_raft_id: status.leader,
        ..Default::default()
    };
    let done = admin.transfer_leader(request.clone()).await.expect("it leads");
    assert_eq!(done.leader, next);
    assert_eq!(cluster.leader(&names).await, next);
    // The same again, as a client does that has had no answer.
    let again = admin.transfer_leader(request).await.expect("it was done");
    assert_eq!(again.leader, next);
    for gone in names.iter().filter(|name| **name != next) {
        remove(&cluster, gone).await.expect("it goes");
    }
    let refused = remove(&cluster, &next).await.expect_err("the last one");
    assert_eq!(refused.reason(), Some(Reason::PlacementViolation), "{refused}");
}

/// A reader of its own at each coordinator: what one was told is committed, each of them answers.
#[tokio::test(flavor = "multi_thread")]
async fn each_coordinator_reads_what_was_committed_before() {
    let cluster = of(3).await;
    let names = cluster.coordinators();
    for round in 0..10 {
        cluster.create_table(&format!("t{round}"), 1).await;
        for name in &names {
            let mut tables = TableServiceClient::new(cluster.admin_channel(name));
            let read = async {
                loop {
                    let read = tables.list_tables(pb::ListTablesRequest::default()).await;
                    match read {
                        Ok(read) => return read.into_inner(),
                        // On busy cores there may be an election meanwhile.
                        Err(status) => {
                            let refusal = proto::status::Refusal::from_status(&status);
                            let reason = refusal.map(|refusal| refusal.reason);
                            assert_eq!(reason, Some(Reason::NoLeader), "{name}: {status}");
                        }
                    }
                    look_again().await;
                }
            };
            let read = soon("what is newest", read).await;
            assert_eq!(read.tables.len(), round + 1, "at {name}");
            assert!(read.version.is_some(), "it says at which version");
        }
    }
}
