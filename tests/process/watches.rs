//! Watches at whichever coordinator: one that lags behind the watcher, and a watcher that lags
//! behind all that is still known.

use crate::harness::{Cluster, Shape, soon};
use crate::restore::{restore, save};
use proto::admin::v1 as pb;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1::TopologyVersion;
use tonic::Streaming;

type Messages = Streaming<pb::WatchTopologyResponse>;

/// Opens a watch at a coordinator, after a version.
async fn watch(cluster: &Cluster, at: &str, after: Option<TopologyVersion>) -> Messages {
    let mut topology = TopologyServiceClient::new(cluster.admin_channel(at));
    let opened = topology.watch_topology(pb::WatchTopologyRequest { after }).await;
    opened.expect("it is opened").into_inner()
}

/// The tablets of the messages up to the next whole version, with that version; whether it began
/// with everything.
async fn part(messages: &mut Messages) -> (Vec<u64>, TopologyVersion, bool) {
    let (mut tablets, mut is_snapshot) = (Vec::new(), false);
    loop {
        let next = soon("a message", messages.message()).await;
        let message = next.expect("it goes on").expect("it goes on");
        is_snapshot |= message.snapshot;
        tablets.extend(message.tablets.iter().map(|tablet| tablet.tablet));
        if message.last {
            return (tablets, message.version.expect("a version"), is_snapshot);
        }
    }
}

/// A watcher comes from a coordinator that is ahead to one that lags behind: that one waits until
/// it is as far, and gives what is newer, once, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_a_follower_that_lags_behind_it() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, profile, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    cluster.create_table("before", 2).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let follower = names.iter().find(|name| **name != leader).expect("two others").clone();
    cluster.pause(&follower);
    cluster.create_table("meanwhile", 2).await;
    let (_, seen, is_snapshot) = part(&mut watch(&cluster, &leader, None).await).await;
    assert!(is_snapshot, "everything comes first");
    let resumed = {
        let mut topology = TopologyServiceClient::new(cluster.admin_channel(&follower));
        let request = pb::WatchTopologyRequest { after: Some(seen) };
        tokio::spawn(async move { topology.watch_topology(request).await })
    };
    cluster.resume(&follower);
    let opened = soon("the watch", resumed).await.expect("no panic").expect("it is opened");
    let mut messages = opened.into_inner();
    let later = cluster.create_table("later", 2).await;
    let mut got = Vec::new();
    while got.len() < later.len() {
        let (tablets, version, is_snapshot) = part(&mut messages).await;
        assert!(!is_snapshot, "it goes on where it was");
        assert!((version.era, version.counter) >= (seen.era, seen.counter));
        got.extend(tablets);
    }
    let later: Vec<u64> = later.iter().map(|tablet| tablet.id).collect();
    assert_eq!(got, later, "what is newer, and nothing else");
}

/// What the watcher has seen last is no longer known, or never was: it is told so, and a client
/// begins anew with everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_behind_all_that_is_known_is_told_so() {
    let mut cluster = Cluster::start(1).await;
    cluster.create_table_of("orders", 2, 1).await;
    let (_, seen, _) = part(&mut watch(&cluster, "c1", None).await).await;
    let file = save(&cluster, "saved");
    restore(&mut cluster, &file, None);
    cluster.leader(&["c1".to_owned()]).await;
    let (everything, newest, is_snapshot) = part(&mut watch(&cluster, "c1", None).await).await;
    assert!(is_snapshot);
    assert_eq!(everything.len(), 2);
    let ahead = TopologyVersion { counter: newest.counter + 1_000, ..newest };
    for unknown in [seen, ahead] {
        let mut messages = watch(&cluster, "c1", Some(unknown)).await;
        let told = soon("its end", messages.message()).await.expect_err("it can't go on");
        let refusal = Refusal::from_status(&told).expect("a reason");
        assert_eq!(refusal.reason, Reason::Compacted, "{told}");
    }
    let seen = proto::convert::version("seen", Some(seen)).expect("a version");
    let mut migrations = cluster.admin().watch_migrations("", Some(seen));
    let all = soon("everything", migrations.next()).await.expect("it begins anew");
    assert!(all.is_empty(), "nothing moves: {all:#?}");
}

/// A coordinator that is cut off from all others says so to those who watch at it: what happens
/// elsewhere, it does not hear of.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_at_a_coordinator_that_is_cut_off_ends() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, agents: 1, profile, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let alone = names.iter().find(|name| **name != leader).expect("two others").clone();
    let mut migrations = MigrationServiceClient::new(cluster.admin_channel(&alone));
    let all = pb::WatchMigrationsRequest::default();
    let opened = migrations.watch_migrations(all.clone()).await.expect("it is opened");
    let mut watched = opened.into_inner();
    let first = soon("a message", watched.message()).await.expect("it goes on");
    assert!(first.expect("everything").migrations.is_empty());
    let mut topology = watch(&cluster, &alone, None).await;
    part(&mut topology).await;
    names.iter().filter(|name| **name != alone).for_each(|name| cluster.pause(name));
    let passing = [Reason::NoLeader, Reason::NotLeader, Reason::ShuttingDown];
    let reason = |told: tonic::Status| Refusal::from_status(&told).expect("a reason").reason;
    let ended = async {
        loop {
            if let Err(told) = watched.message().await.map(|one| one.expect("not in order")) {
                return told;
            }
        }
    };
    let told = reason(soon("the end of the watch", ended).await);
    assert!(passing.contains(&told), "{told}");
    let ended = async {
        loop {
            if let Err(told) = topology.message().await.map(|one| one.expect("not in order")) {
                return told;
            }
        }
    };
    let told = reason(soon("the end of the other one", ended).await);
    assert!(passing.contains(&told), "{told}");
    // And none begins there that would take what is known there for the newest.
    let opened = migrations.watch_migrations(all).await.expect("it is opened");
    let told = soon("its end", opened.into_inner().message()).await;
    let told = reason(told.expect_err("nobody can know the newest"));
    assert!(passing.contains(&told), "{told}");
}
