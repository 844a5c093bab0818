//! Steps 1 to 3 of a barrier, as one step under the tablet's lock.

use super::{CopyState, Now, StepPermit, Tablet, Tablets};
use crate::lock::locked;
use crate::rule::{Rule, is_undone};
use crate::store::StepError;
use migrations::agent::step::{self, Durable};
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
        let copies = self.store.known(record.tablet).map_or_else(Vec::new, |known| known.copies);
        let durable = Durable { floor: self.store.floor(record.tablet), copies: &copies };
        let step::TakeOn { home, copy, promise } =
            step::take_on(record, own, durable, self.clock.reading())?;
        if let Some((done, taken)) = &step.done
            && **done == **record
        {
            return Ok(*taken);
        }
        step.done = None;
        self.failed_step(self.store.raise_floor(&StepPermit::new(), record, home, promise))?;
        // Durable before anything is opened or answered: after a restart a delayed older barrier
        // could otherwise be obeyed. INV-5.
        let durable = self.durable();
        if is_undone(Rule::LockedOverTheSync) {
            drop(step);
            durable.await?;
            step = tablet.step.lock().await;
        } else {
            durable.await?;
        }
        self.switch(&tablet, record, copy);
        let promise = self.store.known(record.tablet).map_or(HybridTime::ZERO, |k| k.promise);
        let taken = TakenOn { tablet: record.tablet, version: record.version, copy, promise };
        step.done = Some((Arc::clone(record), taken));
        Ok(taken)
    }

    /// Steps 2 and 3.
    fn switch(&self, tablet: &Tablet, record: &Arc<TabletRecord>, copy: CopyState) {
        tablet.close_sessions(record.session());
        {
            let mut past = locked(&tablet.past);
            let is_known = |id| past.sessions.iter().any(|session| session.id() == id);
            if let Some((id, copy)) = step::opens(record, copy, is_known) {
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
