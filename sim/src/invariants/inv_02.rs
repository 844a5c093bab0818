//! INV-2: after a barrier at version v has completed for a tablet, no side effect of a session that
//! was opened below v and that v does not name happens on any admitted agent. And the same of
//! writes that were admitted at older versions.

use crate::agent::Agent;
use crate::agent::tablets::VersionGate;
use crate::message::Record;
use crate::world::World;
use migrations::command::Command;
use migrations::id::{SessionId, TabletId};

impl World {
    fn is_admitted(&self, at: usize) -> bool {
        let Some(own) = self.process(at).and_then(|process| process.admitted) else { return false };
        let node = self.oracles.topology.node(own.0);
        node.and_then(|node| node.admitted()) == Some(own.1)
    }

    pub(super) fn inv_02_ingest(
        &mut self,
        at: usize,
        id: TabletId,
        session: SessionId,
        rows: usize,
    ) {
        self.say(|world| {
            format!("{}: stores {rows} rows of a stream of t{id}", world.agents[at].name)
        });
        if !self.is_admitted(at) {
            return;
        }
        let Some(barrier) = self.oracles.barriers.get(&id).copied() else { return };
        let opened = self.oracles.opened.get(&session).copied();
        let record = self.oracles.history.get(&id).and_then(|history| history.get(&barrier));
        let is_named = record.is_some_and(|record| record.session() == Some(session));
        if opened.is_none_or(|opened| opened < barrier) && !is_named {
            let name = self.agents[at].name.clone();
            self.broken(2, || {
                format!(
                    "{name} stores rows of t{id} under a session that was opened below {barrier}"
                )
            });
        }
    }

    pub(super) fn inv_02_write(&mut self, at: usize, id: TabletId, gate: &VersionGate) {
        let directory = self.agents[at].disk.directory;
        // An old copy of a directory knows nothing of what was promised: its node counts as lost.
        if self.directories.is_old(directory) {
            return;
        }
        let promised = self.oracles.promised.get(&(directory, id)).copied();
        if promised.is_some_and(|promised| gate.record.version < promised) {
            let (name, version) = (self.agents[at].name.clone(), gate.record.version);
            self.broken(2, || {
                format!("{name} stores a write of t{id} at {version} after a later barrier")
            });
        }
    }

    /// A process that is admitted has closed every session and drained every guard.
    pub(super) fn inv_02_admission(&mut self, command: &Command) {
        let Command::Admit(admit) = command else { return };
        let is_its = |agent: &&Agent| agent.disk.directory == admit.directory;
        let Some(agent) = self.agents.iter().find(is_its) else { return };
        let Some(process) = agent.running.as_ref().filter(|p| p.asking == Some(admit.token)) else {
            return;
        };
        let is_inside = process.tablets.values().any(|tablet| {
            let gates = tablet.gates.iter().map(|gate| gate.gate);
            let sessions = tablet.sessions.iter().map(|session| session.gate);
            gates.chain(sessions).any(|gate| gate.inside() > 0 || !gate.is_closed())
        });
        // One that attached again as it is has been welcomed meanwhile.
        if is_inside && process.admitted.is_none() {
            let name = agent.name.clone();
            self.broken(2, || format!("{name} is admitted with something inside of its gates"));
        }
    }

    /// Nothing older is inside when an agent acknowledges.
    pub(super) fn inv_02_drained(&mut self, at: usize, record: &Record) {
        let Some(tablet) = self.process(at).and_then(|p| p.tablets.get(&record.tablet)) else {
            return;
        };
        let is_older = |id: SessionId| {
            let opened = self.oracles.opened.get(&id);
            opened.is_none_or(|opened| *opened < record.version) && record.session() != Some(id)
        };
        let inside = tablet.sessions.iter().any(|s| s.gate.inside() > 0 && is_older(s.id));
        let is_late = |gate: &VersionGate| gate.record.version < record.version;
        let late = tablet.gates.iter().any(|gate| gate.gate.inside() > 0 && is_late(gate));
        if inside || late {
            let (name, id) = (self.agents[at].name.clone(), record.tablet);
            self.broken(2, || format!("{name} acknowledges t{id} while something older is inside"));
        }
    }
}
