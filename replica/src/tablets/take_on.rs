//! Steps 1 to 3 of a barrier, as one step under the tablet's lock.

use super::{CopyState, Now, StepPermit, Tablet, Tablets, is_marked_lost};
use crate::lock::locked;
use crate::store::{Home, StepError};
use migrations::clock::HybridTime;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::version::TopologyVersion;
use std::sync::Arc;

/// A version was taken on: its floor is durable, what it doesn't name is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenOn {
    /// Which tablet.
    pub tablet: TabletId,
    /// Which version.
    pub version: TopologyVersion,
    /// How this node stands to its copy.
    pub copy: CopyState,
    /// This replica's own promise of T: durable, and never lower later.
    pub promise: HybridTime,
}

impl Tablets {
    /// Takes on a tablet's version: raises the floor durably, closes the sessions that the version
    /// doesn't name and the gate of the version before, opens the session that it names. Refuses
    /// what is older than the floor. Equal is accepted: a barrier may be repeated; it opens
    /// nothing that was closed. In `open_repair` the own promise of T is made durable too.
    ///
    /// May be called for many tablets at once: they share syncs. Cancel safe: what was begun is
    /// done again by whoever repeats it, and nothing is opened before the sync.
    pub async fn take_on(
        &self,
        record: &Arc<TabletRecord>,
        own: NodeId,
    ) -> Result<TakenOn, StepError> {
        let tablet = self.tablet(record.tablet);
        let mut step = tablet.step.lock().await;
        self.store.floor(record.tablet).admit(record.version)?;
        if let Some((done, taken)) = &step.done
            && **done == **record
        {
            return Ok(*taken);
        }
        step.done = None;
        let (home, copy) = self.place(record, own);
        let promise = self.promised(record, copy);
        self.store.raise_floor(&StepPermit::new(), record, home, promise)?;
        // Durable before anything is opened or answered: after a restart a delayed older barrier
        // could otherwise be obeyed. INV-5.
        self.store.durable().wait().await?;
        self.switch(&tablet, record, copy);
        let promise = self.store.known(record.tablet).map_or(HybridTime::ZERO, |k| k.promise);
        let taken = TakenOn { tablet: record.tablet, version: record.version, copy, promise };
        step.done = Some((Arc::clone(record), taken));
        Ok(taken)
    }

    /// Where the record goes, and how this node stands to its copy at it.
    fn place(&self, record: &TabletRecord, own: NodeId) -> (Home, CopyState) {
        let Some(copy) = record.given(own) else { return (Home::Floors, CopyState::None) };
        let known = self.store.known(record.tablet);
        let is_here = known.is_some_and(|known| known.copies.contains(&copy));
        let is_lost = is_marked_lost(record, own, copy);
        // A floor below the version that made the copy: no version that gives it was ever taken
        // on here, so that it has acknowledged nothing. Else it has been here, or was not to be
        // kept, and may have acknowledged writes. Not the record's version: that may be a later
        // one, if this agent was detached, or if a barrier was overtaken by the next.
        let is_new = self.store.floor(record.tablet).version() < copy.0;
        match (is_here, is_lost) {
            (true, false) => (Home::Copy(copy), CopyState::Here(copy)),
            (true, true) => (Home::Copy(copy), CopyState::Lost(copy)),
            (false, false) if is_new => (Home::Prepare(copy), CopyState::Here(copy)),
            (false, _) => (Home::Floors, CopyState::Lost(copy)),
        }
    }

    /// What this replica promises at this version: the lesser of the proposed T and its clock.
    fn promised(&self, record: &TabletRecord, copy: CopyState) -> HybridTime {
        match (record.asked_promise(), copy) {
            (Some(proposed), CopyState::Here(_)) => proposed.min(self.clock.reading()),
            _ => HybridTime::ZERO,
        }
    }

    /// Steps 2 and 3.
    fn switch(&self, tablet: &Tablet, record: &Arc<TabletRecord>, copy: CopyState) {
        let named = record.session();
        tablet.close_sessions(named);
        if let (Some(id), CopyState::Here(copy)) = (named, copy) {
            let mut past = locked(&tablet.past);
            if !past.sessions.iter().any(|session| session.id() == id) {
                past.sessions.push(self.sessions.open(id, tablet.id, copy));
            }
        }
        let mut now = Now::absent(record.version);
        now.record = Some(Arc::clone(record));
        now.copy = copy;
        now.gate = now.fresh_gate();
        tablet.publish(now);
        tablet.sweep(&self.sessions);
    }
}
