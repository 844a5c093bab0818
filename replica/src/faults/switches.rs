//! Rules of the protocol that can be taken out, and damage that can be done, while an agent runs:
//! the controls of scenarios.

use crate::lock::{Mutex, locked};
use migrations::id::TabletId;
use std::collections::HashSet;

/// What goes wrong while a switch is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// A source bends each chunk after its checksum was taken.
    BendChunks,
    /// Routers' writes are swallowed before they take a guard: neither done nor answered.
    SwallowWrites,
    /// Writes with an old timestamp are answered as if they had been stored.
    TakeOldTimestamps,
    /// A pull reports success without having pulled anything.
    SkipPulls,
    /// A receiver says `Received` before its outcome is on record, and listens on.
    ReceivedBeforeRecord,
    /// A receiver takes the end of a call for the end of its rows, of which it has all then.
    GuessComplete,
}

/// Which switches are on, tablet by tablet.
#[derive(Debug, Default)]
pub struct Switches {
    on: Mutex<HashSet<(TabletId, Switch)>>,
}

impl Switches {
    /// Turns one on or off.
    pub fn set(&self, tablet: TabletId, switch: Switch, is_on: bool) {
        let mut on = locked(&self.on);
        match is_on {
            true => on.insert((tablet, switch)),
            false => on.remove(&(tablet, switch)),
        };
    }

    /// Whether one is on.
    pub(crate) fn is_on(&self, tablet: TabletId, switch: Switch) -> bool {
        locked(&self.on).contains(&(tablet, switch))
    }
}
