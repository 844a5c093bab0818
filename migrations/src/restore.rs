//! A state that was saved becomes the state of a new cluster: `restore`, and `recover-quorum` from
//! what is left. Pure; ids, sessions and clock readings are made by the caller.
//!
//! Nothing that was made before the restore is ever made again: every tablet, and whatever apply
//! makes from here on, is of a new era. Nobody is admitted; what the agents hold is not known, and
//! nothing of it is dropped on the word of the older state.
//!
//! Not here: files, and how an agent is brought over (`apply/membership.rs`, `agent/step.rs`).

use crate::apply;
use crate::id::{ClusterId, RequestId, SessionId, TabletId};
use crate::invariant::Broken;
use crate::record::TransitionRecord;
use crate::stage::{TransitionKind, WayBack};
use crate::state::State;
use crate::topology::Topology;
use crate::version::TopologyVersion;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a restore brings with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// The id of the new cluster.
    pub cluster: ClusterId,
    /// Its era: see [`new_era`].
    pub era: u32,
    /// Requests at or below it took effect before the restore, or never will: the id of the last
    /// moment that is over.
    pub horizon: RequestId,
    /// A fresh session for each tablet of [`sessions_of`].
    pub sessions: BTreeMap<TabletId, SessionId>,
    /// The clock, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Why a state is not restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    /// It is of a group that never had a cluster.
    #[error("it holds no cluster")]
    NoCluster,
    /// The cluster's id is that which it had.
    #[error("a restored cluster has an id of its own")]
    SameCluster,
    /// The era is below that which it would get by itself.
    #[error("era {asked} may have been another restore's: leave it out, or name {least} or more")]
    EraTooLow {
        /// The era that was asked for.
        asked: u32,
        /// The least that it can have.
        least: u32,
    },
    /// There is no era above the state's, or none for this time.
    #[error("there is no era left above {0}")]
    NoEraLeft(u32),
    /// A session is needed for this tablet, and none was brought, or one that is in use.
    #[error("tablet {0} needs a fresh session of its own")]
    SessionMissing(TabletId),
    /// An invariant doesn't hold in it.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// The era of a restore: the greater of the state's era + 1 and the seconds since 1970, or a higher
/// one that somebody asked for. A lower one may be that of an earlier restore, whose numbers would
/// be made again.
///
/// # Errors
///
/// [`NotRestored::EraTooLow`], [`NotRestored::NoEraLeft`].
pub fn new_era(state: &State, now_ms: u64, asked: Option<u32>) -> Result<u32, NotRestored> {
    let found = state.version.era();
    let none_left = NotRestored::NoEraLeft(found);
    let next = found.checked_add(1).ok_or_else(|| none_left.clone())?;
    let seconds = u32::try_from(now_ms / 1_000).map_err(|_| none_left)?;
    let least = next.max(seconds);
    match asked {
        Some(asked) if asked < least => Err(NotRestored::EraTooLow { asked, least }),
        Some(asked) => Ok(asked),
        None => Ok(least),
    }
}

/// The tablets whose transition has a session: each begins its attempt anew.
pub fn sessions_of(state: &State) -> Vec<TabletId> {
    let open = state.tablets.iter().filter(|(_, tablet)| {
        tablet.transition.as_ref().is_some_and(|transition| transition.record.session.is_some())
    });
    open.map(|(id, _)| *id).collect()
}

/// How many transitions turn back at once: all that still can, but for repairs, since at first no
/// node is admitted. To wait for those that they need would hold them for as long as one is not
/// brought over; whoever asked for them asks again.
pub fn turned_back(state: &State) -> usize {
    let transitions = state.tablets.values().filter_map(|tablet| tablet.transition.as_ref());
    let records = transitions.map(|transition| &transition.record);
    let is_turned = |record: &&TransitionRecord| {
        let can_turn = matches!(record.stage.way_back(), WayBack::To(_));
        can_turn && record.kind != TransitionKind::Repair
    };
    records.filter(is_turned).count()
}

/// The state of the new cluster.
///
/// # Errors
///
/// Every [`NotRestored`].
pub fn restore(state: State, restoration: &Restoration) -> Result<State, NotRestored> {
    let Some(saved) = state.cluster else { return Err(NotRestored::NoCluster) };
    if saved == restoration.cluster {
        return Err(NotRestored::SameCluster);
    }
    let (asked, found) = (restoration.era, state.version.era());
    if asked <= found {
        return Err(NotRestored::EraTooLow { asked, least: found.saturating_add(1) });
    }
    let mut topology = Topology::from_state(state)?;
    for tablet in sessions_of(topology.state()) {
        let fresh = restoration.sessions.get(&tablet);
        let others = || restoration.sessions.iter().filter(|(other, _)| **other != tablet);
        let is_own = |fresh: &&SessionId| {
            !topology.has_session(**fresh) && others().all(|(_, taken)| taken != *fresh)
        };
        if fresh.filter(is_own).is_none() {
            return Err(NotRestored::SessionMissing(tablet));
        }
    }
    let state = &mut topology.state;
    state.cluster = Some(restoration.cluster);
    state.version = TopologyVersion::from_parts(restoration.era, 0);
    // Ids bear the era that they are made in.
    (state.next_table, state.next_tablet, state.next_node) = (1, 1, 1);
    state.nodes.values_mut().for_each(|node| node.is_fenced = true);
    state.requests.raise_horizon(restoration.horizon);
    apply::begin_era(&mut topology, &restoration.sessions, restoration.now_ms);
    apply::check_invariants(&topology)?;
    Ok(topology.state)
}
