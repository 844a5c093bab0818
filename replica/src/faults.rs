//! Fault switches: hold points for chunks of streams (here) and for steps (`steps`), and rules that
//! can be taken out (`switches`). For demonstrations and tests; off in release artefacts.
//!
//! A received chunk is kept between its receipt and `enter`, in a task of its own, holding no
//! guard, until it is let go.

mod disk;
mod steps;
mod switches;

pub use disk::{DiskFault, DiskFaults, StatedRoom};
pub use steps::{Step, StepHolds};
pub use switches::{Switch, Switches};

use crate::lock::{Mutex, locked};
use migrations::evidence::FailureReason;
use migrations::id::{SessionId, TabletId};
use migrations::position::Position;
use std::collections::HashMap;
use std::sync::Arc;
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

/// The fault switches that the parts of an agent share.
#[derive(Debug, Default)]
pub struct Faults {
    /// Where steps are held.
    pub steps: StepHolds,
    /// Rules that are taken out.
    pub switches: Switches,
    /// How the disk fails.
    pub disk: Arc<DiskFaults>,
}
