//! What wakes the driver, and what it does to the world.

use crate::command::Command;
use crate::evidence::{Acknowledgement, DropReport, FailureReason, StreamReport};
use crate::id::{NodeId, SessionId, TabletId};
use crate::lease::Instant;
use crate::record::{StreamPair, TabletRecord};
use crate::replica_set::Replica;
use crate::version::{Incarnation, TopologyVersion};
use alloc::collections::BTreeSet;

/// Why a node is unfit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// It says so itself.
    Says(FailureReason),
    /// It has not confirmed for a lease that its orders have come.
    Unreachable,
    /// It has not acknowledged this tablet by the drain deadline and one lease.
    Silent(TabletId),
    /// It has not dropped its copy of this tablet by then.
    KeepsCopy(TabletId),
    /// It can't drop its copy of this tablet, for this reason.
    CannotDrop(TabletId, FailureReason),
}

/// What a node was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ordered {
    /// A barrier.
    Barrier,
    /// A pull.
    Pull,
    /// A drop.
    Drop,
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Unfit::Says(reason) => write!(f, "it says so: {reason}"),
            Unfit::Unreachable => f.write_str("it renews its lease, and no order reaches it"),
            Unfit::Silent(tablet) => {
                write!(f, "it has not acknowledged tablet {tablet} by the drain deadline")
            }
            Unfit::KeepsCopy(tablet) => {
                write!(f, "it has not dropped its copy of tablet {tablet} by the drain deadline")
            }
            Unfit::CannotDrop(tablet, reason) => {
                write!(f, "it can't drop its copy of tablet {tablet}: {reason}")
            }
        }
    }
}

/// Everything that can wake the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An entry was applied.
    Committed {
        /// Tablets that have a new version or are gone.
        touched: BTreeSet<TabletId>,
        /// Nodes that were admitted or fenced.
        nodes: BTreeSet<NodeId>,
        /// What all transitions go by has changed: settings, or a pause. Also said where it is
        /// not known what has.
        is_for_all: bool,
    },
    /// An agent is attached and has worked off its full state.
    Attached {
        /// Which node.
        node: NodeId,
        /// Told apart from the node's others by this.
        attachment: u64,
    },
    /// An attachment is gone. Its end may be heard of after the begin of the next one.
    Detached {
        /// Which node.
        node: NodeId,
        /// Which attachment.
        attachment: u64,
    },
    /// A renewal of its lease came in, and may be answered.
    Renewed {
        /// Which node.
        node: NodeId,
        /// Under which incarnation.
        incarnation: Incarnation,
        /// When it was received.
        at: Instant,
    },
    /// A node can't keep what it promises: none of its renewals is answered any more.
    Unfit {
        /// Which node.
        node: NodeId,
        /// Which incarnation.
        incarnation: Incarnation,
        /// Why.
        why: Unfit,
    },
    /// A node has the whole of a full state, and works it off before it attaches.
    HasFullState {
        /// Which node.
        node: NodeId,
    },
    /// What was sent to a node before this question has come.
    Received {
        /// Which node.
        node: NodeId,
        /// Of which `Effect::Confirm`.
        ticket: u64,
    },
    /// A barrier was acknowledged.
    Acknowledged {
        /// For which tablet.
        tablet: TabletId,
        /// By whom.
        said: Acknowledgement,
    },
    /// A stream is complete at its receiver.
    Streamed {
        /// Of which tablet.
        tablet: TabletId,
        /// What it says.
        report: StreamReport,
    },
    /// A stream goes on at its receiver.
    StreamGoesOn {
        /// Of which tablet.
        tablet: TabletId,
        /// Which stream.
        pair: StreamPair,
    },
    /// A stream has failed at its receiver.
    StreamFailed {
        /// Of which tablet.
        tablet: TabletId,
        /// Under which session.
        session: SessionId,
        /// Which stream.
        pair: StreamPair,
        /// Why.
        reason: FailureReason,
    },
    /// A copy was dropped.
    Dropped {
        /// Of which tablet.
        tablet: TabletId,
        /// What it says.
        report: DropReport,
    },
    /// A node could not do what it was told. It is told again, or the transition goes back where
    /// that can't help.
    Refused {
        /// About which tablet.
        tablet: TabletId,
        /// At which version.
        version: TopologyVersion,
        /// Who.
        node: NodeId,
        /// Which incarnation of it: what one could not do that is out by now says nothing of the
        /// next one.
        incarnation: Incarnation,
        /// What it was told.
        order: Ordered,
        /// Why; `None` where it names what is no reason to refuse an order.
        reason: Option<FailureReason>,
    },
    /// A proposal has come to an end, in whatever way.
    ProposalEnded {
        /// About which tablet.
        tablet: TabletId,
        /// At which version.
        version: TopologyVersion,
    },
    /// The proposal of a fence has come to an end, in whatever way.
    FenceEnded {
        /// Of which node.
        node: NodeId,
    },
    /// Time has passed.
    Tick(Instant),
}

/// Everything the driver can do to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Propose this; say `ProposalEnded` (`FenceEnded`) when it is over.
    Propose(Command),
    /// Tell a node of a tablet's record: a barrier.
    Barrier {
        /// Which node.
        node: NodeId,
        /// The record.
        record: TabletRecord,
    },
    /// Tell a node to pull.
    Pull {
        /// The stream; its receiver is told.
        pair: StreamPair,
        /// The record that names it.
        record: TabletRecord,
    },
    /// Ask a node, behind all that it was told before, whether that has come.
    Confirm {
        /// Which node.
        node: NodeId,
        /// The answer bears the same.
        ticket: u64,
    },
    /// Tell a node to drop its copy.
    Drop {
        /// The node and the copy.
        replica: Replica,
        /// The record at which the copy is not given.
        record: TabletRecord,
    },
}
