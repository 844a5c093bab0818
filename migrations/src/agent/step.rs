//! Steps 1 to 3 of a barrier, drop orders and full states: where a record goes, how the node
//! stands to its copy then, which session opens, which copies go. INV-3, INV-5, INV-8.

use crate::clock::HybridTime;
use crate::floor::{Floor, StaleVersion};
use crate::gate::Gate;
use crate::id::{NodeId, SessionId};
use crate::record::TabletRecord;
use crate::rule::{Rule, is_undone};
use crate::version::{CopyId, TopologyVersion};

/// How a node stands to the copy that a tablet's record gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// The record gives it none.
    None,
    /// It is here.
    Here(CopyId),
    /// It should be here, and its data is gone. Nothing is read from it or written to it.
    Lost(CopyId),
}

/// Where the floor of a tablet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// With the record, in a copy that is there.
    Copy(CopyId),
    /// With the record, in a copy that is made with it, empty.
    Prepare(CopyId),
    /// In the tree of floors: this node has no copy that the record gives it.
    Floors,
}

/// What an agent knows of a tablet durably.
#[derive(Debug, Clone, Copy)]
pub struct Durable<'a> {
    /// Nothing older is obeyed.
    pub floor: Floor,
    /// The copies on the disk.
    pub copies: &'a [CopyId],
}

/// What steps 1 to 3 make durable; nothing is opened before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeOn {
    /// Where floor and record go.
    pub home: Home,
    /// How the node stands to its copy from then on.
    pub copy: CopyState,
    /// What this replica promises at this version. An earlier promise that is higher stays.
    pub promise: HybridTime,
}

/// What taking a record on means here, or why it is not obeyed. `clock` is the node's own.
pub fn take_on(
    record: &TabletRecord,
    own: NodeId,
    durable: Durable<'_>,
    clock: HybridTime,
) -> Result<TakeOn, StaleVersion> {
    if !is_undone(Rule::OlderBarrierRefused) {
        durable.floor.admit(record.version)?;
    }
    let (home, copy) = place(record, own, durable);
    let promise = match (record.asked_promise(), copy) {
        (Some(proposed), CopyState::Here(_)) if is_undone(Rule::PromiseByOwnClock) => proposed,
        // The lesser of the proposed T and the own clock.
        (Some(proposed), CopyState::Here(_)) => proposed.min(clock),
        _ => HybridTime::ZERO,
    };
    Ok(TakeOn { home, copy, promise })
}

/// Where the record goes, and how this node stands to its copy at it.
fn place(record: &TabletRecord, own: NodeId, durable: Durable<'_>) -> (Home, CopyState) {
    let Some(copy) = record.given(own) else { return (Home::Floors, CopyState::None) };
    let is_here = durable.copies.contains(&copy);
    let is_lost = is_marked_lost(record, own, copy);
    // A floor below the version that made the copy: no version that gives it was ever taken
    // on here, so that it has acknowledged nothing. Else it has been here, or was not to be
    // kept, and may have acknowledged writes. Not the record's version: that may be a later
    // one, if this agent was detached, or if a barrier was overtaken by the next.
    let is_new = durable.floor.version() < copy.0 || is_undone(Rule::LostIsNotMadeAnew);
    match (is_here, is_lost) {
        (true, false) => (Home::Copy(copy), CopyState::Here(copy)),
        (true, true) => (Home::Copy(copy), CopyState::Lost(copy)),
        (false, false) if is_new => (Home::Prepare(copy), CopyState::Here(copy)),
        (false, _) => (Home::Floors, CopyState::Lost(copy)),
    }
}

/// How a node stands to a copy that is on its disk, as the record there gives it, after a start.
pub fn found(record: &TabletRecord, own: Option<NodeId>, copy: CopyId) -> CopyState {
    let is_lost = own.is_some_and(|own| is_marked_lost(record, own, copy));
    if is_lost { CopyState::Lost(copy) } else { CopyState::Here(copy) }
}

/// Whether group0 has marked a node's copy as lost.
fn is_marked_lost(record: &TabletRecord, own: NodeId, copy: CopyId) -> bool {
    let replicas = [record.replicas.on(own), record.next().on(own)];
    replicas.into_iter().flatten().any(|replica| replica.copy == copy && replica.lost)
}

/// The session that step 3 opens, on which copy; step 2 closes every other one of the tablet. One
/// that is known already, open or closed, stays as it is.
pub fn opens(
    record: &TabletRecord,
    copy: CopyState,
    is_known: impl FnOnce(SessionId) -> bool,
) -> Option<(SessionId, CopyId)> {
    match (record.session(), copy) {
        (Some(session), CopyState::Here(copy)) if !is_known(session) => Some((session, copy)),
        _ => None,
    }
}

/// Whether a session may be forgotten: drained, and not named by the tablet's record, so that a
/// repeated barrier finds it closed.
pub fn may_forget(gate: Gate, session: SessionId, record: Option<&TabletRecord>) -> bool {
    gate.has_drained() && record.and_then(TabletRecord::session) != Some(session)
}

/// Why a copy is not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDropped {
    /// The order is older than the floor.
    #[error("{0}")]
    Stale(#[from] StaleVersion),
    /// At the order's version the copy belongs to this node.
    #[error("copy {0} is given to this node")]
    Given(CopyId),
}

/// Whether a drop order is obeyed, after the drain: at exactly its version, and only for a copy
/// that is not given to this node then.
pub fn admit_drop(
    record: &TabletRecord,
    own: NodeId,
    copy: CopyId,
    floor: Floor,
) -> Result<(), NotDropped> {
    // A version that came during the drain decides anew.
    if !is_undone(Rule::DropAtItsVersion) {
        floor.admit(record.version)?;
    }
    if record.given(own) == Some(copy) {
        return Err(NotDropped::Given(copy));
    }
    Ok(())
}

/// Whether a full state that was read at `read_at` and does not list a tablet speaks of it: only
/// what has a floor at or below is absent by it.
pub fn is_left_out(floor: Floor, read_at: TopologyVersion) -> bool {
    floor.version() <= read_at || is_undone(Rule::LeftOutByFloor)
}
