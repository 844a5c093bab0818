//! INV-3: a session that an agent has closed never opens again on that agent, across restarts and
//! attachments; no agent opens a session after it has taken on a higher version of its tablet.

use crate::message::Record;
use crate::world::World;
use migrations::id::SessionId;

impl World {
    /// What the process before had open counts as closed.
    pub(super) fn inv_03_started(&mut self, at: usize) {
        let directory = self.agents[at].disk.directory;
        let its: Vec<_> =
            self.oracles.open.iter().filter(|(of, _)| *of == directory).copied().collect();
        for open in its {
            self.oracles.open.remove(&open);
            self.oracles.closed.insert(open);
        }
    }

    pub(super) fn inv_03_closed(&mut self, at: usize, closed: &[SessionId]) {
        let directory = self.agents[at].disk.directory;
        for session in closed {
            self.oracles.open.remove(&(directory, *session));
            self.oracles.closed.insert((directory, *session));
        }
    }

    pub(super) fn inv_03_opened(&mut self, at: usize, record: &Record, opened: Option<SessionId>) {
        let Some(session) = opened else { return };
        let (directory, name) = (self.agents[at].disk.directory, self.agents[at].name.clone());
        let id = record.tablet;
        if self.oracles.closed.contains(&(directory, session)) {
            self.broken(3, || format!("{name} opens a session of t{id} that it has closed"));
        }
        let taken = self.oracles.taken.get(&(directory, id)).copied().unwrap_or_default();
        if taken > record.version {
            let version = record.version;
            self.broken(3, || {
                format!("{name} opens the session of t{id} at {version} after {taken}")
            });
        }
        self.oracles.open.insert((directory, session));
    }
}
