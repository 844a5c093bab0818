//! Coordinators and agents that answer as a test says, each on a port of its own.

mod agent;
mod coordinator;

pub(crate) use agent::{Agent, Call, Kind, Reply};
pub(crate) use coordinator::{Changed, Coordinator};

use migrations::clock::HybridTime;
use migrations::id::{MigrationId, NodeId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, TopologyVersion};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tonic::Status;
use uuid::Uuid;

/// The cluster that all of them belong to.
pub(crate) const CLUSTER: Uuid = Uuid::from_u128(7);
/// The one table.
pub(crate) const TABLE: &str = "orders";

pub(crate) fn version(counter: u64) -> TopologyVersion {
    TopologyVersion::from_parts(0, counter)
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::from_u64(number).expect("not 0")
}

fn set(nodes: &[u64]) -> ReplicaSet {
    let copy = CopyId(version(1));
    let replica = |number: &u64| Replica { node: node(*number), copy, lost: false };
    ReplicaSet::new(nodes.iter().map(replica).collect()).expect("distinct")
}

/// A tablet on these nodes that owns `start..end` (`None`: to the last position).
pub(crate) fn tablet(
    number: u64,
    counter: u64,
    nodes: &[u64],
    (start, end): (&str, Option<&str>),
) -> TabletRecord {
    TabletRecord {
        tablet: TabletId::from_u64(number).expect("not 0"),
        table: TableId::from_u64(1).expect("not 0"),
        range: PositionRange { start: start.into(), end: end.map(Into::into) },
        version: version(counter),
        replicas: set(nodes),
        transition: None,
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    }
}

/// The one tablet of most tests, on the nodes 1, 2, 3.
pub(crate) fn record(counter: u64) -> TabletRecord {
    tablet(1, counter, &[1, 2, 3], ("", None))
}

/// The same while it moves from node 1 to node 4.
pub(crate) fn moving(counter: u64, stage: Stage) -> TabletRecord {
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(9)).expect("not nil"),
        kind: TransitionKind::Migrate,
        stage,
        next: set(&[2, 3, 4]),
        session: None,
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    };
    TabletRecord { transition: Some(transition), ..record(counter) }
}

/// A refusal for a version, with the refuser's record.
pub(crate) fn refusal(reason: Reason, own: &TabletRecord) -> Status {
    Refusal::new(reason, "refused in a test").with_record(Some(own)).into()
}

/// A port of this machine that somebody has just given back: nobody listens there.
pub(crate) async fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("bound")
}
