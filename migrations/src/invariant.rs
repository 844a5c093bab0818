//! The invariants that can be read off one state, as functions. Those that speak of several
//! processes (INV-2 to INV-10, INV-12 to INV-14) are checked where the processes are.

use crate::id::{SessionId, TabletId};
use crate::stage::{Stage, TransitionKind};
use crate::state::{FINISHED_MIGRATIONS, State};
use crate::tablet::{STAGE_RECORDS, Tablet};
use alloc::collections::BTreeSet;

/// An invariant does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("INV-{number} is broken at tablet {tablet:?}: {what}")]
pub struct Broken {
    /// Which.
    pub number: u8,
    /// Where, if it is about a tablet.
    pub tablet: Option<TabletId>,
    /// In a few words.
    pub what: &'static str,
}

/// Checks all of them.
pub fn check(state: &State) -> Result<(), Broken> {
    let mut sessions = BTreeSet::new();
    for (id, tablet) in &state.tablets {
        transition_agrees_with_stage(*id, tablet, &mut sessions)?;
        versions_are_made_by_apply(*id, tablet, state)?;
    }
    memory_is_bounded(state)
}

/// INV-1: a tablet has at most one transition; its stage and session agree with the stage table.
fn transition_agrees_with_stage(
    id: TabletId,
    tablet: &Tablet,
    sessions: &mut BTreeSet<SessionId>,
) -> Result<(), Broken> {
    let broken = |what| Err(Broken { number: 1, tablet: Some(id), what });
    let Some(transition) = &tablet.transition else { return Ok(()) };
    let record = &transition.record;
    if record.session.is_some() != record.stage.has_session() {
        return broken("session and stage disagree");
    }
    if record.session.is_some_and(|session| !sessions.insert(session)) {
        return broken("a session belongs to two tablets");
    }
    let is_repair = matches!(record.stage, Stage::OpenRepair | Stage::Repair | Stage::EndRepair);
    let is_drop = record.stage == Stage::Drop;
    if is_repair != (record.kind == TransitionKind::Repair)
        || is_drop != (record.kind == TransitionKind::Drop)
    {
        return broken("kind and stage disagree");
    }
    let pending = record.next.nodes().filter(|node| !tablet.replicas.contains(*node)).count();
    let leaving = tablet.replicas.nodes().filter(|node| !record.next.contains(*node)).count();
    if pending > 1 || leaving > 1 {
        return broken("more than one replica is pending or leaving");
    }
    let marked = transition.is_cancelled || transition.is_pending_lost;
    if transition.is_pending_lost && !record.stage.is_going_back() {
        return broken("the pending replica is lost, and it does not go back");
    }
    if marked && record.stage.is_past_no_return() && !is_drop {
        return broken("it was to end, and is past the point of no return");
    }
    Ok(())
}

/// What INV-3 and INV-10 lean on: no number in the state is above the version of the state.
fn versions_are_made_by_apply(id: TabletId, tablet: &Tablet, state: &State) -> Result<(), Broken> {
    let next = tablet.transition.iter().flat_map(|transition| transition.record.next.iter());
    let copies = tablet.replicas.iter().chain(next).map(|replica| replica.copy.0);
    let is_ahead = copies.chain([tablet.version]).any(|version| version > state.version);
    let what = "a version or copy is newer than the state";
    if is_ahead { Err(Broken { number: 10, tablet: Some(id), what }) } else { Ok(()) }
}

/// INV-15, as far as group0's state goes.
fn memory_is_bounded(state: &State) -> Result<(), Broken> {
    let stages = |tablet: &Tablet| tablet.transition.as_ref().map_or(0, |t| t.stages.len());
    let is_over = state.finished.len() > FINISHED_MIGRATIONS
        || state.requests.remembered().len() > state.requests.limit()
        || state.tablets.values().any(|tablet| stages(tablet) > STAGE_RECORDS);
    let what = "something that must be bounded is not";
    if is_over { Err(Broken { number: 15, tablet: None, what }) } else { Ok(()) }
}
