//! Who holds a barrier up: work that has said what it is, and for whom.
//!
//! Saying so is for long work only; a guard that says nothing is counted, and costs nothing.

use crate::lease::now;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::lease::Instant;
use migrations::version::TopologyVersion;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One piece of work under a guard, as it describes itself.
#[derive(Debug)]
pub struct Work {
    operation: &'static str,
    peer: Option<NodeId>,
    since: Instant,
    bytes: AtomicU64,
}

impl Work {
    pub(crate) fn begin(operation: &'static str, peer: Option<NodeId>) -> Work {
        Work { operation, peer, since: now(), bytes: AtomicU64::new(0) }
    }

    /// Bytes that have been dealt with since the last time.
    pub fn progressed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What a guard is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldUnder {
    /// A topology guard, of this session.
    Session(SessionId),
    /// A version guard, of this version.
    Version(TopologyVersion),
}

/// One line of the answer to: who holds this barrier up?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// On which tablet.
    pub tablet: TabletId,
    /// Under what.
    pub under: HeldUnder,
    /// What it does; `None` for guards that have not said.
    pub operation: Option<&'static str>,
    /// For or with whom.
    pub peer: Option<NodeId>,
    /// Since when; `None` for guards that have not said.
    pub held_for: Option<Duration>,
    /// Bytes so far.
    pub bytes: u64,
    /// How many guards: 1, or the number of those that have not said what they are.
    pub guards: u64,
}

/// The holders among `inside` guards, of which those in `works` have described themselves.
pub(crate) fn holders(
    tablet: TabletId,
    under: HeldUnder,
    inside: u64,
    works: &[std::sync::Arc<Work>],
) -> Vec<Holder> {
    let now = now();
    let described = works.iter().map(|work| Holder {
        tablet,
        under,
        operation: Some(work.operation),
        peer: work.peer,
        held_for: Some(Duration::from_nanos(now.0.saturating_sub(work.since.0))),
        bytes: work.bytes.load(Ordering::Relaxed),
        guards: 1,
    });
    let mut all: Vec<Holder> = described.collect();
    let guards = inside.saturating_sub(all.len() as u64);
    if guards > 0 {
        let (operation, peer, held_for) = (None, None, None);
        all.push(Holder { tablet, under, operation, peer, held_for, bytes: 0, guards });
    }
    all
}
