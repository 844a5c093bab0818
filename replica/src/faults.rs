//! Hold points, for chunks of streams and for data requests. A received chunk is kept between its receipt and `enter`, in a task of its own,
//! holding no guard, until it is let go. For demonstrations and tests; off in release artefacts.

use crate::lock::locked;
use migrations::evidence::FailureReason;
use migrations::id::{SessionId, TabletId};
use migrations::position::Position;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

/// A chunk that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChunk {
    /// Under which session it came.
    pub session: SessionId,
    /// The positions of its rows.
    pub positions: Vec<Position>,
}

/// What became of a chunk that was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It was refused, for this reason.
    Refused(FailureReason),
    /// Its rows were written.
    Written {
        /// How many came with it.
        rows: u64,
    },
}

/// Waits to be let go, and says then what became of it.
pub(crate) type LetGo = oneshot::Receiver<oneshot::Sender<Released>>;

#[derive(Debug)]
enum Hold {
    Wanted,
    Held(HeldChunk, oneshot::Sender<oneshot::Sender<Released>>),
}

/// One hold point for each tablet.
#[derive(Debug, Default)]
pub struct HoldPoint {
    holds: Mutex<HashMap<TabletId, Hold>>,
    changed: Notify,
}

impl HoldPoint {
    /// Holds nothing.
    pub fn new() -> HoldPoint {
        HoldPoint::default()
    }

    /// The next chunk of this tablet that is received will be held, and the call cut that it came
    /// by. A chunk that is held already is dropped.
    pub fn hold_next_chunk(&self, tablet: TabletId) {
        locked(&self.holds).insert(tablet, Hold::Wanted);
    }

    /// Waits until a chunk of this tablet is held.
    pub async fn held(&self, tablet: TabletId) -> HeldChunk {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // Before the look, so that no wake-up falls between.
            if let Some(Hold::Held(chunk, _)) = locked(&self.holds).get(&tablet) {
                return chunk.clone();
            }
            changed.await;
        }
    }

    /// Lets the held chunk go: it asks to enter, now. `None`: none is held.
    pub async fn release(&self, tablet: TabletId) -> Option<Released> {
        let hold = locked(&self.holds).remove(&tablet);
        let Some(Hold::Held(_, let_go)) = hold else { return None };
        let (answer, released) = oneshot::channel();
        let_go.send(answer).ok()?;
        released.await.ok()
    }

    /// Whether the next chunk is to be held.
    pub(crate) fn is_wanted(&self, tablet: TabletId) -> bool {
        matches!(locked(&self.holds).get(&tablet), Some(Hold::Wanted))
    }

    pub(crate) fn hold(&self, tablet: TabletId, chunk: HeldChunk) -> LetGo {
        let (let_go, wait) = oneshot::channel();
        locked(&self.holds).insert(tablet, Hold::Held(chunk, let_go));
        self.changed.notify_waiters();
        wait
    }
}

/// One hold point for each tablet, where a data request stands still under its version guard.
#[derive(Debug, Default)]
pub struct RequestHold {
    holds: Mutex<HashMap<TabletId, Arc<Notify>>>,
    taken: Mutex<HashMap<TabletId, Arc<Notify>>>,
    changed: Notify,
}

impl RequestHold {
    /// The next request of this tablet that is admitted will be held.
    pub fn hold_next(&self, tablet: TabletId) {
        locked(&self.holds).insert(tablet, Arc::default());
    }

    /// Lets the held request go on; one that is only wanted is not held any more.
    pub fn release(&self, tablet: TabletId) {
        let wanted = locked(&self.holds).remove(&tablet);
        let taken = locked(&self.taken).remove(&tablet);
        for hold in wanted.into_iter().chain(taken) {
            // Kept for a request that has not begun to wait yet.
            hold.notify_one();
        }
    }

    /// Stands still, if this is the request that is wanted.
    pub(crate) async fn admitted(&self, tablet: TabletId) {
        let Some(hold) = locked(&self.holds).remove(&tablet) else { return };
        locked(&self.taken).insert(tablet, Arc::clone(&hold));
        self.changed.notify_waiters();
        hold.notified().await;
    }

    /// Waits until a request of this tablet is held.
    pub async fn held(&self, tablet: TabletId) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // Before the look, so that no wake-up falls between.
            if locked(&self.taken).contains_key(&tablet) {
                return;
            }
            changed.await;
        }
    }
}
