//! One example of each thing that can be written.

use super::one_of_each;
use migrations::clock::HybridTime;
use migrations::command::{
    Admit, Advance, Applied, Bootstrap, Change, Command, CreateTable, Expected, Missing, Outcome,
    PlacementRule, Rejected, Start,
};
use migrations::evidence::{Acknowledgement, DropReport, Evidence, FailureReason, StreamReport};
use migrations::id::{
    AdmissionToken, ClusterId, DirectoryId, MigrationId, NodeId, RequestId, SessionId, TableId,
    TabletId,
};
use migrations::node::{NodeLocation, ProcessProof};
use migrations::position::{Partitioning, PositionRange};
use migrations::problem::{Field, Problem};
use migrations::record::StreamPair;
use migrations::request::RequestStamp;
use migrations::row::RowSum;
use migrations::settings::Settings;
use migrations::stage::{Stage, TransitionKind};
use migrations::switch::{BalanceScope, BalanceSwitch};
use migrations::tablet::EndReason;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use uuid::Uuid;

pub(crate) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(crate) fn node(n: u64) -> NodeId {
    NodeId::from_u64(n).expect("not zero")
}

pub(crate) fn table(n: u64) -> TableId {
    TableId::from_u64(n).expect("not zero")
}

pub(crate) fn tablet(n: u64) -> TabletId {
    TabletId::from_u64(n).expect("not zero")
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_uuid(uuid(n)).expect("not nil")
}

pub(crate) fn migration(n: u128) -> MigrationId {
    MigrationId::from_uuid(uuid(n)).expect("not nil")
}

pub(crate) fn cluster(n: u128) -> ClusterId {
    ClusterId::from_uuid(uuid(n)).expect("not nil")
}

pub(crate) fn directory(n: u128) -> DirectoryId {
    DirectoryId::from_uuid(uuid(n)).expect("not nil")
}

pub(crate) fn token(n: u128) -> AdmissionToken {
    AdmissionToken::from_uuid(uuid(n)).expect("not nil")
}

pub(crate) fn stamp(n: u128, caller: &str) -> RequestStamp {
    let id = RequestId::from_uuid(uuid(n)).expect("not nil");
    RequestStamp { id, digest: u128::MAX - n, caller: caller.into() }
}

pub(crate) fn version(counter: u64) -> TopologyVersion {
    TopologyVersion::from_parts(1_790_000_000, counter)
}

pub(crate) fn incarnation(counter: u64) -> Incarnation {
    Incarnation(version(counter))
}

pub(crate) fn admit() -> Admit {
    Admit {
        name: "n1".into(),
        directory: directory(1),
        known_incarnation: Some(incarnation(3)),
        held_tokens: vec![token(9), token(8)],
        token: token(2),
        process: ProcessProof { boot: "b".into(), lock_device: u64::MAX, lock_inode: 2 },
        location: NodeLocation {
            data_address: "a:1".into(),
            stream_address: "a:2".into(),
            rack: "r".into(),
        },
        feature_level: 1,
        fresh: [(tablet(1), session(1)), (tablet(2), session(2))].into(),
        lost: vec![(tablet(3), CopyId(version(4)))],
        highest_floor: Some(version(5)),
    }
}

pub(crate) fn evidence() -> Evidence {
    let (at, under) = (version(9), incarnation(2));
    let acknowledged = |promised, at_ms| {
        let (node, incarnation) = (node(1), under);
        Acknowledgement { node, incarnation, version: at, promised, at_ms }
    };
    Evidence {
        acknowledged: vec![acknowledged(None, 3), acknowledged(Some(HybridTime(0)), u64::MAX)],
        streams: vec![StreamReport {
            session: session(5),
            pair: StreamPair { source: node(1), receiver: node(4) },
            source_incarnation: under,
            receiver_incarnation: incarnation(5),
            rows: 7,
            bytes: u64::MAX,
            sent: RowSum(1),
            stored: RowSum(u128::MAX - 1),
        }],
        drops: vec![DropReport {
            node: node(4),
            incarnation: under,
            copy: CopyId(version(6)),
            version: at,
        }],
    }
}

pub(crate) fn advance(to: Option<Stage>) -> Advance {
    Advance {
        expected: Expected {
            tablet: tablet(1),
            version: version(9),
            migration: migration(3),
            stage: Stage::Streaming,
            session: Some(session(5)),
            attempt: 2,
        },
        to,
        opened: Some(session(6)),
        evidence: evidence(),
        reason: Some(EndReason::NodeFenced(node(4))),
        failure: Some(FailureReason::StreamStalled),
    }
}

pub(crate) fn start(kind: TransitionKind) -> Start {
    Start {
        migration: migration(3),
        tablet: tablet(1),
        kind,
        from: Some(node(1)),
        to: Some(node(4)),
        session: Some(session(5)),
        proposed_promise: Some(HybridTime(0)),
        note: "rack r1 is to be emptied".into(),
    }
}

pub(crate) fn switch(until_ms: Option<u64>) -> BalanceSwitch {
    BalanceSwitch { reason: "an upgrade".into(), since_ms: 1_790_000_000_000, until_ms }
}

pub(crate) fn changes() -> Vec<Change> {
    let ranges = migrations::position::ranges_between(&[b"m".to_vec()]).into_iter();
    let create = CreateTable {
        name: "t".into(),
        partitioning: Partitioning::Range,
        replication_factor: 2,
        tablets: ranges.map(|range: PositionRange| (range, vec![node(2), node(1)])).collect(),
    };
    let disable = |scope| Change::DisableBalancing { scope, switch: switch(Some(0)) };
    let mut changes: Vec<Change> = scopes().into_iter().map(disable).collect();
    changes.extend(scopes().into_iter().map(|scope| Change::EnableBalancing { scope }));
    changes.extend(one_of_each!(
        vec![
            Change::CreateTable(create),
            Change::DropTable { table: table(1), migration: migration(1) },
            Change::Start(start(TransitionKind::Migrate)),
            Change::Cancel { migration: migration(1) },
            Change::Configure { expected: Settings::DEFAULT, settings: Settings::FAST },
            Change::DisableBalancing { scope: BalanceScope::Cluster, switch: switch(None) },
            Change::EnableBalancing { scope: BalanceScope::Cluster },
            Change::Pause { reason: "a storm".into() },
            Change::Pause { reason: String::new() },
            Change::Resume,
            Change::Drain { node: node(1), reason: "a new disk".into() },
            Change::Undrain { node: node(1) },
            Change::RemoveNode { node: node(1), reason: "it burnt".into() },
            Change::AcceptLoss {
                tablet: tablet(1),
                start: None,
                nodes: vec![node(1), node(2)],
                note: "both burnt".into(),
            },
            Change::AcceptLoss {
                tablet: tablet(1),
                start: Some(Box::new(start(TransitionKind::Rebuild))),
                nodes: Vec::new(),
                note: String::new(),
            },
        ],
        Change::CreateTable(_),
        Change::DropTable { .. },
        Change::Start(_),
        Change::Cancel { .. },
        Change::Configure { .. },
        Change::DisableBalancing { .. },
        Change::EnableBalancing { .. },
        Change::Pause { .. },
        Change::Resume,
        Change::Drain { .. },
        Change::Undrain { .. },
        Change::RemoveNode { .. },
        Change::AcceptLoss { .. },
    ));
    changes
}

pub(crate) fn end_reasons() -> Vec<EndReason> {
    let failed = FailureReason::ALL.into_iter().map(EndReason::Failed);
    let reasons = [
        EndReason::Cancelled,
        EndReason::NodeFenced(node(1)),
        EndReason::ReplicaLost(node(1)),
        EndReason::NoLiveMajority,
        EndReason::NoSources,
        EndReason::TableDropped,
    ];
    one_of_each!(
        reasons.into_iter().chain(failed).collect::<Vec<_>>(),
        EndReason::Cancelled,
        EndReason::NodeFenced(_),
        EndReason::ReplicaLost(_),
        EndReason::NoLiveMajority,
        EndReason::NoSources,
        EndReason::Failed(_),
        EndReason::TableDropped,
    )
}

pub(crate) fn commands() -> Vec<Command> {
    let settings = Settings::DEFAULT;
    let mut commands = vec![
        Command::Bootstrap(Bootstrap { cluster: cluster(7), settings }),
        Command::Admit(Box::new(admit())),
        Command::Fence { node: node(1), incarnation: incarnation(2) },
        Command::MarkLost {
            node: node(1),
            incarnation: incarnation(2),
            copies: vec![(tablet(1), CopyId(version(1))), (tablet(2), CopyId(version(1)))],
        },
        Command::Advance(Box::new(advance(None))),
        Command::Balance {
            start: Box::new(start(TransitionKind::Migrate)),
            now_ms: 1_790_000_000_000,
        },
        Command::Forget { node: node(1) },
        Command::Raise { level: 2 },
    ];
    let change = |change| Command::Change { stamp: stamp(1, "operator"), change };
    commands.extend(changes().into_iter().map(change));
    let kinds = TransitionKind::ALL.into_iter();
    commands.extend(kinds.map(|kind| change(Change::Start(start(kind)))));
    let stages = Stage::ALL.into_iter();
    commands.extend(stages.map(|to| Command::Advance(Box::new(advance(Some(to))))));
    commands.extend(end_reasons().into_iter().map(|reason| {
        let advance = Advance { reason: Some(reason), ..advance(None) };
        Command::Advance(Box::new(advance))
    }));
    one_of_each!(
        commands,
        Command::Bootstrap(_),
        Command::Admit(_),
        Command::Fence { .. },
        Command::MarkLost { .. },
        Command::Advance(_),
        Command::Balance { .. },
        Command::Forget { .. },
        Command::Raise { .. },
        Command::Change { .. },
    )
}

fn scopes() -> Vec<BalanceScope> {
    one_of_each!(
        vec![BalanceScope::Cluster, BalanceScope::Table(table(1)), BalanceScope::Node(node(1)),],
        BalanceScope::Cluster,
        BalanceScope::Table(_),
        BalanceScope::Node(_),
    )
}

fn missing() -> Vec<Missing> {
    one_of_each!(
        vec![
            Missing::Table(table(1)),
            Missing::Tablet(tablet(1)),
            Missing::Node(node(1)),
            Missing::Migration(migration(1)),
        ],
        Missing::Table(_),
        Missing::Tablet(_),
        Missing::Node(_),
        Missing::Migration(_),
    )
}

fn placement_rules() -> Vec<PlacementRule> {
    one_of_each!(
        vec![
            PlacementRule::OneReplicaPerNode,
            PlacementRule::OneReplicaPerRack,
            PlacementRule::LeavingHoldsReplica,
            PlacementRule::KeepOneReplica,
            PlacementRule::ReplicationFactor,
            PlacementRule::LeavingIsDead,
            PlacementRule::RemovedHoldsNothing,
        ],
        PlacementRule::OneReplicaPerNode,
        PlacementRule::OneReplicaPerRack,
        PlacementRule::LeavingHoldsReplica,
        PlacementRule::KeepOneReplica,
        PlacementRule::ReplicationFactor,
        PlacementRule::LeavingIsDead,
        PlacementRule::RemovedHoldsNothing,
    )
}

fn refusals() -> Vec<Rejected> {
    let mut refusals = vec![
        Rejected::NotBootstrapped,
        Rejected::AlreadyBootstrapped(cluster(1)),
        Rejected::TableExists(table(1)),
        Rejected::TabletBusy(migration(1)),
        Rejected::NotInTransition(tablet(1)),
        Rejected::NodeFenced(node(1)),
        Rejected::NodeDraining(node(1)),
        Rejected::Paused,
        Rejected::SettingsChanged,
        Rejected::NodeNotFenced(node(1)),
        Rejected::NodeMismatch,
        Rejected::NodeRemoved,
        Rejected::UpgradeRequired(2),
        Rejected::NothingLost(tablet(1)),
        Rejected::LossNotNamed(node(1)),
        Rejected::FreshSessionMissing(tablet(1)),
        Rejected::SessionInUse(session(1)),
        Rejected::Moved { version: version(1), stage: Stage::UseNew },
        Rejected::IllegalEdge { from: Stage::UseNew, to: Some(Stage::Cleanup) },
        Rejected::IllegalEdge { from: Stage::UseNew, to: None },
        Rejected::EvidenceMissing(node(1)),
        Rejected::SilentMajority,
        Rejected::DigestMismatch,
        Rejected::NoLiveMajority,
        Rejected::NoSources,
        Rejected::ReceiverFenced(node(1)),
        Rejected::Ending,
        Rejected::PastPointOfNoReturn,
        Rejected::RequestIdReused,
        Rejected::RequestIdExpired,
        Rejected::InvariantBroken(u8::MAX),
    ];
    refusals.extend(missing().into_iter().map(Rejected::NotFound));
    refusals.extend(scopes().into_iter().map(Rejected::BalancingDisabled));
    let invalid = |field, problem| Rejected::InvalidField { field, problem };
    refusals.extend(Field::ALL.map(|field| invalid(field, Problem::Missing)));
    refusals.extend(Problem::ALL.map(|problem| invalid(Field::Settings, problem)));
    let violation = |rule| Rejected::PlacementViolation { rule, node: node(1) };
    refusals.extend(placement_rules().into_iter().map(violation));
    one_of_each!(
        refusals,
        Rejected::NotBootstrapped,
        Rejected::AlreadyBootstrapped(_),
        Rejected::NotFound(_),
        Rejected::TableExists(_),
        Rejected::TabletBusy(_),
        Rejected::NotInTransition(_),
        Rejected::PlacementViolation { .. },
        Rejected::InvalidField { .. },
        Rejected::NodeFenced(_),
        Rejected::NodeDraining(_),
        Rejected::BalancingDisabled(_),
        Rejected::Paused,
        Rejected::SettingsChanged,
        Rejected::NodeNotFenced(_),
        Rejected::NodeMismatch,
        Rejected::NodeRemoved,
        Rejected::UpgradeRequired(_),
        Rejected::NothingLost(_),
        Rejected::LossNotNamed(_),
        Rejected::FreshSessionMissing(_),
        Rejected::SessionInUse(_),
        Rejected::Moved { .. },
        Rejected::IllegalEdge { .. },
        Rejected::EvidenceMissing(_),
        Rejected::SilentMajority,
        Rejected::DigestMismatch,
        Rejected::NoLiveMajority,
        Rejected::NoSources,
        Rejected::ReceiverFenced(_),
        Rejected::Ending,
        Rejected::PastPointOfNoReturn,
        Rejected::RequestIdReused,
        Rejected::RequestIdExpired,
        Rejected::InvariantBroken(_),
    )
}

pub(crate) fn outcomes() -> Vec<Outcome> {
    let applied = one_of_each!(
        vec![
            Applied::Done,
            Applied::Table(table(1)),
            Applied::Migration(migration(1)),
            Applied::Admitted { node: node(1), incarnation: incarnation(1) },
        ],
        Applied::Done,
        Applied::Table(_),
        Applied::Migration(_),
        Applied::Admitted { .. },
    );
    applied.into_iter().map(Ok).chain(refusals().into_iter().map(Err)).collect()
}
