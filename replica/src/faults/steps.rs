//! Steps that stand still on order: each waits where it is until it is let go.

use crate::lock::{Mutex, locked};
use migrations::id::TabletId;
use migrations::stage::Stage;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Where a step can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A data request that was admitted, under its version guard.
    Data,
    /// A barrier of this stage that has drained, before its acknowledgement.
    Acknowledge(Stage),
    /// An order to pull, before anything is done.
    Pull,
    /// An order to drop a copy, before anything is done.
    Drop,
    /// The report that a copy was dropped; it goes out later, on whichever attachment there is.
    DroppedReport,
    /// The source of a stream has heard `Received`, and has done nothing yet.
    ReceivedHeard,
    /// The receiver of a stream has stored all rows, and has not put its outcome on record.
    Record,
}

type Key = (TabletId, Step);

/// One hold point for each tablet and step.
#[derive(Debug, Default)]
pub struct StepHolds {
    wanted: Mutex<HashMap<Key, Arc<Notify>>>,
    taken: Mutex<HashMap<Key, Arc<Notify>>>,
    changed: Notify,
}

impl StepHolds {
    /// The next such step of this tablet will be held.
    pub fn hold_next(&self, tablet: TabletId, step: Step) {
        locked(&self.wanted).insert((tablet, step), Arc::default());
    }

    /// Lets the held step go on; one that is only wanted is not held any more. Whether one was
    /// held.
    pub fn release(&self, tablet: TabletId, step: Step) -> bool {
        let wanted = locked(&self.wanted).remove(&(tablet, step));
        let taken = locked(&self.taken).remove(&(tablet, step));
        let was_held = taken.is_some();
        for hold in wanted.into_iter().chain(taken) {
            // Kept for a step that has not begun to wait yet.
            hold.notify_one();
        }
        was_held
    }

    /// Stands still until it is released, if this is the step that is wanted.
    pub(crate) async fn stand_still(&self, tablet: TabletId, step: Step) {
        if let Some(hold) = self.take(tablet, step) {
            hold.notified().await;
        }
    }

    /// What the step has to wait for, if it is the one that is wanted.
    pub(crate) fn take(&self, tablet: TabletId, step: Step) -> Option<Arc<Notify>> {
        let hold = locked(&self.wanted).remove(&(tablet, step))?;
        locked(&self.taken).insert((tablet, step), Arc::clone(&hold));
        self.changed.notify_waiters();
        Some(hold)
    }

    /// Waits until such a step of this tablet is held.
    pub async fn held(&self, tablet: TabletId, step: Step) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // Before the look, so that no wake-up falls between.
            if locked(&self.taken).contains_key(&(tablet, step)) {
                return;
            }
            changed.await;
        }
    }
}
