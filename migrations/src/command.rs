//! Everything that can be written into group0's log, and everything that can come of it.

use crate::clock::HybridTime;
use crate::evidence::{Evidence, FailureReason};
use crate::id::{
    AdmissionToken, ClusterId, DirectoryId, MigrationId, NodeId, SessionId, TableId, TabletId,
};
use crate::node::{NodeLocation, ProcessProof};
use crate::position::{Partitioning, PositionRange};
use crate::problem::{Field, Problem};
use crate::request::RequestStamp;
use crate::settings::Settings;
use crate::stage::{Stage, TransitionKind};
use crate::switch::{BalanceScope, BalanceSwitch};
use crate::tablet::EndReason;
use crate::version::{CopyId, Incarnation, TopologyVersion};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// One entry of the log: commands of many tablets, each of which stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The proposer's clock, milliseconds since 1970. For people; nothing is decided by it.
    pub proposed_ms: u64,
    /// In order.
    pub commands: Vec<Command>,
}

/// One command. It carries what it expects: it may be applied late, or come from a deposed leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The log's first entry.
    Bootstrap(Bootstrap),
    /// A node's process is admitted, under a new incarnation.
    Admit(Box<Admit>),
    /// An incarnation of a node is out.
    Fence {
        /// Which node.
        node: NodeId,
        /// Which incarnation; another one is not touched.
        incarnation: Incarnation,
    },
    /// Replicas have lost their data.
    MarkLost {
        /// On which node.
        node: NodeId,
        /// Who says so.
        incarnation: Incarnation,
        /// Which copies.
        copies: Vec<(TabletId, CopyId)>,
    },
    /// A transition changes its stage, or ends.
    Advance(Box<Advance>),
    /// The balancer begins a move: a migration, as `Change::Start` would. Refused while the
    /// cluster is paused, and while a switch is in force at `now_ms` for the cluster, the
    /// tablet's table, or either of the two nodes: a switch on a node stops every move of the
    /// balancer's to and from it, also those of the node's own drain. So none begins after the
    /// commit that disables it.
    Balance {
        /// Which move.
        start: Box<Start>,
        /// The proposer's clock, milliseconds since 1970: switches that have run out by then
        /// are not in force.
        now_ms: u64,
    },
    /// A node that is to be removed holds nothing any more: its record goes.
    Forget {
        /// Which.
        node: NodeId,
    },
    /// From here on the cluster is at this feature level: every coordinator and every admitted node
    /// has said that it can read it, and who can't is not taken in any more. Without effect where it
    /// is at that level already.
    Raise {
        /// Which.
        level: u32,
    },
    /// Somebody outside asks for a change: it takes effect once.
    Change {
        /// Who, and how it is recognised.
        stamp: RequestStamp,
        /// What.
        change: Change,
    },
}

/// What a cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// What is the same everywhere.
    pub settings: Settings,
}

/// A process asks to be a node's admitted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// The operator's name for the node.
    pub name: String,
    /// Of its data directory.
    pub directory: DirectoryId,
    /// The incarnation that the directory knows of, if any.
    pub known_incarnation: Option<Incarnation>,
    /// Tokens of earlier requests for admission whose answer the directory has not seen.
    pub held_tokens: Vec<AdmissionToken>,
    /// Durable in the directory before this was asked.
    pub token: AdmissionToken,
    /// Shows that the earlier process is gone.
    pub process: ProcessProof,
    /// Where it is.
    pub location: NodeLocation,
    /// What its build can do.
    pub feature_level: u32,
    /// A fresh session for each tablet whose open session this node takes part in.
    pub fresh: BTreeMap<TabletId, SessionId>,
    /// Copies that it says it has lost.
    pub lost: Vec<(TabletId, CopyId)>,
    /// The highest floor in the directory. `None` in what an earlier build has written.
    pub highest_floor: Option<TopologyVersion>,
}

/// What a command that moves a transition expects to find. Anything else and it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Of which tablet.
    pub tablet: TabletId,
    /// The tablet's version.
    pub version: TopologyVersion,
    /// The running migration.
    pub migration: MigrationId,
    /// Its stage.
    pub stage: Stage,
    /// Its session.
    pub session: Option<SessionId>,
    /// Its attempt.
    pub attempt: u32,
}

/// A transition changes its stage, or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// What it expects to find.
    pub expected: Expected,
    /// Where to; `None` ends the transition.
    pub to: Option<Stage>,
    /// The fresh session, for an edge that opens one.
    pub opened: Option<SessionId>,
    /// That the stage may be left forward.
    pub evidence: Evidence,
    /// Why it goes back, for an edge back.
    pub reason: Option<EndReason>,
    /// Why the attempt failed, for a new one.
    pub failure: Option<FailureReason>,
}

/// What people and programs ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new table.
    CreateTable(CreateTable),
    /// A table and all its data go.
    DropTable {
        /// Which.
        table: TableId,
        /// The id of the migration that drops it.
        migration: MigrationId,
    },
    /// A transition begins.
    Start(Start),
    /// A migration is to end without its aim.
    Cancel {
        /// Which.
        migration: MigrationId,
    },
    /// What is the same everywhere changes.
    Configure {
        /// As the caller has read them; refused if they are others now.
        expected: Settings,
        /// As they are to be.
        settings: Settings,
    },
    /// The balancer begins no move there any more. In the place of an earlier switch.
    DisableBalancing {
        /// Where.
        scope: BalanceScope,
        /// Why, since when and until when.
        switch: BalanceSwitch,
    },
    /// It may again. Without effect where nothing was disabled.
    EnableBalancing {
        /// Where.
        scope: BalanceScope,
    },
    /// Transitions stand still at their next safe stage. Where they do already, only the reason
    /// is another one.
    Pause {
        /// Why, in the caller's words.
        reason: String,
    },
    /// They go on. Without effect where nothing was paused.
    Resume,
    /// A node is to hold nothing. Where it is so already, only the reason is another one.
    Drain {
        /// Which.
        node: NodeId,
        /// Why, in the caller's words.
        reason: String,
    },
    /// It may hold replicas again. Without effect where it was not drained.
    Undrain {
        /// Which.
        node: NodeId,
    },
    /// A node goes for good. One that holds nothing goes at once; one that is fenced and holds
    /// replicas is drained, by rebuilds of them, and goes once it holds nothing. Refused for one
    /// that is admitted and holds some.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// Why, in the caller's words.
        reason: String,
    },
    /// The dead replicas of a tablet that has lost a majority are given up, for one transition of
    /// it: the running one, or one that begins with this. What only they held is lost. Refused if
    /// one is dead that is not named: whoever accepts a loss has to have seen it.
    AcceptLoss {
        /// Which tablet.
        tablet: TabletId,
        /// A rebuild or a removal that begins with it; `None` for the running transition.
        start: Option<Box<Start>>,
        /// The nodes that the caller knows to be dead. One that lives is not given up.
        nodes: Vec<NodeId>,
        /// Why, in the caller's words.
        note: String,
    },
}

/// A new table. The proposer places the replicas, apply checks them: placement may be improved
/// from build to build, apply may not differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    /// Its name.
    pub name: String,
    /// How keys become positions.
    pub partitioning: Partitioning,
    /// Replicas of each tablet.
    pub replication_factor: u32,
    /// One tablet each, with the nodes that get its replicas.
    pub tablets: Vec<(PositionRange, Vec<NodeId>)>,
}

/// A transition begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its id.
    pub migration: MigrationId,
    /// Of which tablet.
    pub tablet: TabletId,
    /// Of what kind; not `Drop`.
    pub kind: TransitionKind,
    /// The node that loses its replica, for the kinds that have one.
    pub from: Option<NodeId>,
    /// The node that gets one, for the kinds that have one.
    pub to: Option<NodeId>,
    /// A fresh session, for a repair.
    pub session: Option<SessionId>,
    /// The T to promise, for a repair.
    pub proposed_promise: Option<HybridTime>,
    /// Why, in the caller's words; at most `TEXT_MAX` bytes.
    pub note: String,
}

/// What a command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Just what it says.
    Done,
    /// Made a table.
    Table(TableId),
    /// Began a migration.
    Migration(MigrationId),
    /// Admitted a process.
    Admitted {
        /// As this node.
        node: NodeId,
        /// Under this incarnation.
        incarnation: Incarnation,
    },
}

/// What something that was not found is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A table.
    Table(TableId),
    /// A tablet.
    Tablet(TabletId),
    /// A node.
    Node(NodeId),
    /// A migration, running or remembered.
    Migration(MigrationId),
}

/// Which rule of placement was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementRule {
    /// A node holds at most one replica of a tablet.
    OneReplicaPerNode,
    /// A rack holds at most one replica of a tablet.
    OneReplicaPerRack,
    /// The node that is to lose a replica must have one.
    LeavingHoldsReplica,
    /// A tablet keeps at least one replica.
    KeepOneReplica,
    /// Each tablet has as many replicas as the table asks for, at least one.
    ReplicationFactor,
    /// A rebuild is of a replica whose node is dead.
    LeavingIsDead,
    /// A node that is admitted and holds replicas is not removed.
    RemovedHoldsNothing,
}

impl PlacementRule {
    /// The rule's name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            PlacementRule::OneReplicaPerNode => "one-replica-per-node",
            PlacementRule::OneReplicaPerRack => "one-replica-per-rack",
            PlacementRule::LeavingHoldsReplica => "leaving-holds-replica",
            PlacementRule::KeepOneReplica => "keep-one-replica",
            PlacementRule::ReplicationFactor => "replication-factor",
            PlacementRule::LeavingIsDead => "leaving-is-dead",
            PlacementRule::RemovedHoldsNothing => "removed-holds-nothing",
        }
    }
}

impl core::fmt::Display for PlacementRule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            PlacementRule::OneReplicaPerNode => "it holds a replica of the tablet already",
            PlacementRule::OneReplicaPerRack => {
                "its rack holds one of the tablet's replicas already"
            }
            PlacementRule::LeavingHoldsReplica => "it holds no replica of the tablet",
            PlacementRule::KeepOneReplica => "it holds the tablet's only replica",
            PlacementRule::ReplicationFactor => {
                "a tablet does not have as many replicas as the table asks for"
            }
            PlacementRule::LeavingIsDead => "it is alive; a rebuild is of a replica that is dead",
            PlacementRule::RemovedHoldsNothing => "it is alive and holds replicas; drain it first",
        })
    }
}

/// Why a command was refused. It has changed nothing. Part of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The cluster is not bootstrapped yet.
    #[error("the cluster is not bootstrapped")]
    NotBootstrapped,
    /// It is already, under this id.
    #[error("the cluster is bootstrapped already, as {0}")]
    AlreadyBootstrapped(ClusterId),
    /// There is no such thing.
    #[error("{0:?} does not exist")]
    NotFound(Missing),
    /// A table of this name exists.
    #[error("there is a table of this name already")]
    TableExists(TableId),
    /// The tablet is in a transition.
    #[error("the tablet is in migration {0} already")]
    TabletBusy(MigrationId),
    /// The tablet is in no transition, or in another migration.
    #[error("tablet {0} is not in this transition")]
    NotInTransition(TabletId),
    /// A rule of placement.
    #[error("node {node}: {rule}")]
    PlacementViolation {
        /// Which rule.
        rule: PlacementRule,
        /// Where.
        node: NodeId,
    },
    /// A field of the command is not what its kind needs.
    #[error("{field}: {problem}")]
    InvalidField {
        /// Which.
        field: Field,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The node is fenced.
    #[error("node {0} is fenced")]
    NodeFenced(NodeId),
    /// The node is being drained: it gets no replica.
    #[error("node {0} is being drained")]
    NodeDraining(NodeId),
    /// An earlier process of the node may be alive: it has to be fenced first.
    #[error("an earlier process of node {0} may still be alive")]
    NodeNotFenced(NodeId),
    /// The directory is not that of this node, or is an old copy of it.
    #[error("the directory is not the newest one of this node")]
    NodeMismatch,
    /// There is no node of this name any more, and the directory was one's: it was removed.
    #[error("the node was removed; its directory is of no use any more")]
    NodeRemoved,
    /// The build of a node is too old for this feature level.
    #[error("its build is too old: the cluster needs feature level {0}")]
    UpgradeRequired(u32),
    /// The dead replicas of this tablet contain no majority: there is nothing to accept.
    #[error("the dead replicas of tablet {0} contain no majority: nothing has to be given up")]
    NothingLost(TabletId),
    /// A replica of the tablet is dead that was not named: the loss is greater than what was
    /// accepted.
    #[error("the replica on node {0} is dead too, and was not named")]
    LossNotNamed(NodeId),
    /// The admission does not bring a fresh session for this tablet.
    #[error("a fresh session for tablet {0} is missing")]
    FreshSessionMissing(TabletId),
    /// The session id is in the state already.
    #[error("session {0} is in use")]
    SessionInUse(SessionId),
    /// The transition is not where the command expects it.
    #[error("the transition has moved on")]
    Moved {
        /// Where it is.
        version: TopologyVersion,
        /// In this stage.
        stage: Stage,
    },
    /// The table of stages has no such edge.
    #[error("there is no edge from {from} to {to:?}")]
    IllegalEdge {
        /// From here.
        from: Stage,
        /// To there.
        to: Option<Stage>,
    },
    /// The evidence lacks what this node should have said, under its admitted incarnation.
    #[error("the evidence lacks node {0}")]
    EvidenceMissing(NodeId),
    /// Those who have not acknowledged contain a majority.
    #[error("those who have not acknowledged contain a majority")]
    SilentMajority,
    /// The sums of a stream differ.
    #[error("the sums of a stream differ")]
    DigestMismatch,
    /// The new set has no live majority.
    #[error("the new set has no live majority")]
    NoLiveMajority,
    /// Those left out of the sources contain a majority of the old set.
    #[error("the live replicas may miss acknowledged writes")]
    NoSources,
    /// A replica that has to take part is fenced; it is waited for.
    #[error("node {0} has to take part and is fenced")]
    ReceiverFenced(NodeId),
    /// It is cancelled, or its pending replica is lost: it does not go forward.
    #[error("the transition is to end")]
    Ending,
    /// Too late for a cancel.
    #[error("past the point of no return")]
    PastPointOfNoReturn,
    /// Balancing is disabled there: the balancer begins no move.
    #[error("balancing is disabled: {0:?}")]
    BalancingDisabled(BalanceScope),
    /// The cluster is paused: the balancer begins no move.
    #[error("the cluster is paused")]
    Paused,
    /// Somebody else has changed the settings since they were read.
    #[error("the settings have changed since they were read")]
    SettingsChanged,
    /// The request's id was used for something else.
    #[error("the request id was used for something else")]
    RequestIdReused,
    /// The request's id is at or below the horizon: whether it took effect is unknown.
    #[error("the request id is too old")]
    RequestIdExpired,
    /// An invariant would be broken: a bug, refused.
    #[error("INV-{0} would be broken")]
    InvariantBroken(u8),
}

/// What came of one command.
pub type Outcome = Result<Applied, Rejected>;
