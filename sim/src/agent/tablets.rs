//! What an agent's process holds of its tablets in memory: at which version each is served, who
//! is inside which gate.

use crate::agent::disk::Store;
use crate::message::Record;
use migrations::agent::admit::{VersionRefused, admit_version};
use migrations::agent::step::{self, CopyState};
use migrations::gate::Gate;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::version::{CopyId, TopologyVersion};
use std::collections::BTreeMap;

/// A session on this agent.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) copy: CopyId,
    pub(crate) gate: Gate,
    /// How often its guards were fired without closing it.
    pub(crate) epoch: u64,
}

/// The gate of one version.
#[derive(Debug, Clone)]
pub(crate) struct VersionGate {
    pub(crate) number: u64,
    pub(crate) record: Record,
    pub(crate) copy: CopyId,
    pub(crate) gate: Gate,
}

/// A tablet in the memory of a process.
#[derive(Debug, Default)]
pub(crate) struct Tablet {
    pub(crate) floor: TopologyVersion,
    pub(crate) record: Option<Record>,
    pub(crate) copy: Held,
    pub(crate) is_awaiting: bool,
    /// The gate of the version that is served.
    pub(crate) open: Option<u64>,
    /// All gates that have not drained, the open one too.
    pub(crate) gates: Vec<VersionGate>,
    pub(crate) sessions: Vec<Session>,
    /// The job that has the tablet's lock.
    pub(crate) locked_by: Option<u64>,
    /// The record whose steps were done to their end last.
    pub(crate) done: Option<Record>,
    /// Writes that were admitted at older versions are refused by the store.
    pub(crate) refuse_below: TopologyVersion,
}

/// A copy's state that begins with none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held(pub(crate) CopyState);

impl Default for Held {
    fn default() -> Held {
        Held(CopyState::None)
    }
}

/// A guard: what it has entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) session: SessionId,
    pub(crate) copy: CopyId,
    pub(crate) epoch: u64,
}

impl Tablet {
    /// The tablets of a process that starts, each at its durable floor. No session is open; those
    /// that records name count as closed.
    pub(crate) fn found(
        store: &Store,
        own: Option<NodeId>,
        next_gate: &mut u64,
    ) -> BTreeMap<TabletId, Tablet> {
        let mut tablets = BTreeMap::new();
        for (id, entry) in &store.tablets {
            let mut tablet = Tablet { floor: entry.floor.version(), ..Tablet::default() };
            tablet.record = entry.record.clone();
            if let (Some(record), Some(copy)) = (&entry.record, entry.given) {
                tablet.copy = Held(step::found(record, own, copy));
                let closed = |id| Session { id, copy, gate: Gate::OPEN.close(), epoch: 0 };
                tablet.sessions.extend(record.session().map(closed));
                tablet.open_gate(next_gate);
            }
            tablets.insert(*id, tablet);
        }
        tablets
    }

    /// Opens a gate for what is served now.
    pub(crate) fn open_gate(&mut self, next_gate: &mut u64) {
        if let (CopyState::Here(copy), Some(record)) = (self.copy.0, &self.record) {
            *next_gate += 1;
            let (number, record, gate) = (*next_gate, record.clone(), Gate::OPEN);
            self.gates.push(VersionGate { number, record, copy, gate });
            self.open = Some(number);
        }
    }

    /// Nothing is served any more under the gate that was open.
    pub(crate) fn close_gate(&mut self) {
        if let Some(open) = self.open.take()
            && let Some(found) = self.gates.iter_mut().find(|gate| gate.number == open)
        {
            found.gate = found.gate.close();
        }
    }

    pub(crate) fn close_sessions(&mut self, named: Option<SessionId>) -> Vec<SessionId> {
        let mut closed = Vec::new();
        for session in self.sessions.iter_mut().filter(|session| Some(session.id) != named) {
            if !session.gate.is_closed() {
                closed.push(session.id);
            }
            session.gate = session.gate.close();
        }
        closed
    }

    /// Forgets what has drained.
    pub(crate) fn sweep(&mut self) {
        self.gates.retain(|gate| !gate.gate.has_drained());
        let record = self.record.clone();
        self.sessions.retain(|s| !step::may_forget(s.gate, s.id, record.as_deref()));
    }

    pub(crate) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Whether a guard of a session may still act.
    pub(crate) fn is_live(&self, guard: Entered) -> bool {
        let found = self.sessions.iter().find(|session| session.id == guard.session);
        found.is_some_and(|s| !s.gate.is_closed() && s.epoch == guard.epoch)
    }

    pub(crate) fn leave_session(&mut self, id: SessionId) {
        if let Some(session) = self.session(id) {
            session.gate = session.gate.leave();
        }
    }

    /// Admits a request at a version: the gate that it is inside of.
    pub(crate) fn enter_version(
        &mut self,
        version: TopologyVersion,
    ) -> Result<u64, VersionRefused> {
        admit_version(version, self.floor, self.copy.0, self.is_awaiting)?;
        let open = self.open.ok_or(VersionRefused::NotReplica)?;
        let gate = self.gates.iter_mut().find(|gate| gate.number == open);
        let gate = gate.ok_or(VersionRefused::NotReplica)?;
        gate.gate = gate.gate.enter().map_err(|_| VersionRefused::NotReplica)?;
        Ok(open)
    }

    pub(crate) fn gate(&self, number: u64) -> Option<&VersionGate> {
        self.gates.iter().find(|gate| gate.number == number)
    }

    pub(crate) fn leave_version(&mut self, number: u64) {
        if let Some(gate) = self.gates.iter_mut().find(|gate| gate.number == number) {
            gate.gate = gate.gate.leave();
        }
    }

    /// What a drain has to wait for: sessions that are closed by now, and the gates that are meant.
    pub(crate) fn to_drain(&self, below: Option<TopologyVersion>) -> Vec<Draining> {
        let sessions = self.sessions.iter().filter(|s| s.gate.is_closed());
        let sessions = sessions.map(|session| Draining::Session(session.id));
        let is_meant = |gate: &&VersionGate| below.is_none_or(|below| gate.record.version < below);
        let gates = self.gates.iter().filter(is_meant).map(|gate| Draining::Gate(gate.number));
        sessions.chain(gates).collect()
    }

    pub(crate) fn has_drained(&self, of: &[Draining]) -> bool {
        of.iter().all(|waited| match waited {
            Draining::Session(id) => {
                self.sessions.iter().all(|s| s.id != *id || s.gate.has_drained())
            }
            Draining::Gate(number) => {
                self.gates.iter().all(|g| g.number != *number || g.gate.has_drained())
            }
        })
    }
}

/// What a drain waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draining {
    Session(SessionId),
    Gate(u64),
}
