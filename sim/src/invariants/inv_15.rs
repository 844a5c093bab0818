//! INV-15: memory for closed sessions, floors of dropped copies and attachments is bounded.

use crate::world::World;

/// Sessions of one tablet that an agent remembers: the open one, and those that drain.
const SESSIONS: usize = 64;

impl World {
    pub(super) fn inv_15_bounded(&mut self) {
        for at in 0..self.agents.len() {
            let Some(process) = self.process(at) else { continue };
            let is_over = process.tablets.values().any(|tablet| tablet.sessions.len() > SESSIONS);
            if is_over {
                let name = self.agents[at].name.clone();
                self.broken(15, || format!("{name} remembers more sessions than it may"));
            }
        }
    }

    /// When all has ended, nothing but what records name is remembered.
    pub(super) fn inv_15_end(&mut self) {
        for at in 0..self.agents.len() {
            // Who hears nothing for ever can forget nothing.
            let is_heard = !self.gone.contains(&at);
            let Some(process) = self.process(at).filter(|_| is_heard) else { continue };
            let sessions: usize = process.tablets.values().map(|t| t.sessions.len()).sum();
            let tablets = process.tablets.len();
            if sessions > tablets {
                let name = self.agents[at].name.clone();
                self.broken(15, || format!("{name} still remembers {sessions} sessions"));
            }
        }
    }
}
