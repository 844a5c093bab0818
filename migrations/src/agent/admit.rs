//! Who is admitted: data requests at a version, their writes, purges, and the work of a session.
//! Asked when it arrives, and again under the tablet's lock, where it acts. INV-2, INV-7, INV-9.

use super::step::CopyState;
use crate::clock::HybridTime;
use crate::id::{NodeId, SessionId};
use crate::record::TabletRecord;
use crate::router::Access;
use crate::rule::{Rule, is_undone};
use crate::version::{CopyId, TopologyVersion};

/// Why no version guard is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRefused {
    /// This process is being admitted, and has not worked off the tablet's entry yet.
    Awaiting,
    /// Older than the floor.
    Stale,
    /// Newer than the floor: the agent has to catch up first.
    Ahead,
    /// At this version the node has no copy.
    NotReplica,
    /// The copy is lost.
    Lost,
}

/// Admits a request that goes by a version: only exactly the tablet's, to the copy that is here.
pub fn admit_version(
    version: TopologyVersion,
    floor: TopologyVersion,
    copy: CopyState,
    is_awaiting: bool,
) -> Result<CopyId, VersionRefused> {
    if is_awaiting {
        return Err(VersionRefused::Awaiting);
    }
    if version < floor && !is_undone(Rule::OlderRefused) {
        return Err(VersionRefused::Stale);
    }
    if version > floor {
        return Err(VersionRefused::Ahead);
    }
    match copy {
        CopyState::Here(copy) => Ok(copy),
        CopyState::Lost(_) => Err(VersionRefused::Lost),
        CopyState::None => Err(VersionRefused::NotReplica),
    }
}

/// Whether a request is for this node at this version: a pending replica has a copy before it may
/// be read, a leaving one after.
pub fn is_addressed(record: &TabletRecord, own: NodeId, access: Access) -> bool {
    match access {
        Access::Read => record.read_set().is_some_and(|set| set.contains(own)),
        Access::Write => record.write_sets().iter().any(|set| set.contains(own)),
    }
}

/// The promise that a router's write has to be above: the replica's own, and T, as it is now and
/// as it was when the write was admitted.
pub fn write_promise(
    own: HybridTime,
    now: Option<&TabletRecord>,
    admitted: &TabletRecord,
) -> HybridTime {
    if is_undone(Rule::PromiseKept) {
        return HybridTime::ZERO;
    }
    let now = now.map_or(HybridTime::ZERO, |record| record.promise);
    own.max(now).max(admitted.promise)
}

/// Why nothing is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeRefused {
    /// The agent holds no lease.
    LeaseExpired,
    /// The tablet is in a transition, or at another version, or T is lower.
    NotNow,
}

/// Admits a purge up to `promise` under a version guard, in the purge's own transaction.
/// `is_current`: the guard's version has not been closed.
pub fn admit_purge(
    now: Option<&TabletRecord>,
    version: TopologyVersion,
    is_current: bool,
    promise: HybridTime,
    is_lease_held: bool,
) -> Result<(), PurgeRefused> {
    if !is_lease_held {
        return Err(PurgeRefused::LeaseExpired);
    }
    let may_purge = now.is_some_and(|record| {
        let is_its = record.version == version && is_current;
        let is_at_rest = record.transition.is_none() || is_undone(Rule::PurgedAtRest);
        is_its && is_at_rest && promise <= record.promise
    });
    if may_purge { Ok(()) } else { Err(PurgeRefused::NotNow) }
}

/// Why a session's work is refused by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkRefused {
    /// The agent holds no lease.
    LeaseExpired,
    /// The tablet's durable record names another session, or none.
    SessionUnknown,
    /// The copy is not the one that the record gives this node.
    WrongCopy,
}

/// Admits a session's work on a copy, in the work's own transaction, under a guard that has not
/// been revoked: the lease is held, and the tablet's durable record names the session and gives
/// the copy.
pub fn admit_work(
    record: Option<&TabletRecord>,
    given: Option<CopyId>,
    session: SessionId,
    copy: CopyId,
    is_lease_held: bool,
) -> Result<(), WorkRefused> {
    if !is_lease_held {
        return Err(WorkRefused::LeaseExpired);
    }
    if is_undone(Rule::StoreChecksWork) {
        return Ok(());
    }
    if record.and_then(TabletRecord::session) != Some(session) {
        return Err(WorkRefused::SessionUnknown);
    }
    if given != Some(copy) {
        return Err(WorkRefused::WrongCopy);
    }
    Ok(())
}
