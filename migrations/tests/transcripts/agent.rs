//! A replica agent without disk, network or clock: what it has promised, which sessions it holds
//! open, and its copies as maps of rows.

use migrations::clock::HybridTime;
use migrations::evidence::{Acknowledgement, FailureReason, StreamReport};
use migrations::floor::{Floor, StaleVersion};
use migrations::gate::Gate;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::record::{StreamPair, TabletRecord};
use migrations::row::{Merged, RowSum, RowVersion, merge};
use migrations::stage::Stage;
use migrations::version::{CopyId, Incarnation};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Rows = BTreeMap<String, RowVersion>;

/// Rows on their way from a source to a receiver.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) tablet: TabletId,
    pub(crate) session: SessionId,
    pub(crate) pair: StreamPair,
    pub(crate) source_incarnation: Incarnation,
    pub(crate) rows: Rows,
    /// Whether it has a guard of its session at the receiver already.
    pub(crate) is_inside: bool,
}

/// What became of a call, as its receiver has it on record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Running,
    Complete(StreamReport),
    Failed(FailureReason),
}

/// What a barrier's first three steps did, for the transcript.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) closed: Vec<SessionId>,
    pub(crate) opened: Option<SessionId>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) is_up: bool,
    pub(crate) floors: BTreeMap<TabletId, Floor>,
    pub(crate) records: BTreeMap<TabletId, TabletRecord>,
    pub(crate) promises: BTreeMap<TabletId, HybridTime>,
    pub(crate) sessions: BTreeMap<SessionId, (TabletId, Gate)>,
    closed: BTreeSet<SessionId>,
    pub(crate) calls: BTreeMap<(SessionId, NodeId), Call>,
    pub(crate) copies: BTreeMap<TabletId, (CopyId, Rows)>,
}

impl Agent {
    pub(crate) fn new(node: NodeId, incarnation: Incarnation) -> Agent {
        Agent {
            node,
            incarnation,
            is_up: true,
            floors: BTreeMap::new(),
            records: BTreeMap::new(),
            promises: BTreeMap::new(),
            sessions: BTreeMap::new(),
            closed: BTreeSet::new(),
            calls: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    /// Steps 1 to 3 of a barrier: the floor and the record, what the record does not name is
    /// closed, what it names is opened.
    pub(crate) fn take(
        &mut self,
        record: &TabletRecord,
        clock: HybridTime,
    ) -> Result<Taken, StaleVersion> {
        let id = record.tablet;
        self.floors.entry(id).or_default().raise(record.version)?;
        self.records.insert(id, record.clone());
        let promise = self.promises.entry(id).or_default();
        *promise = (*promise).max(record.promise);
        if record.stage() == Some(Stage::OpenRepair) {
            let proposed = record.transition.as_ref().and_then(|t| t.proposed_promise);
            *promise = (*promise).max(proposed.unwrap_or_default().min(clock));
        }
        let mut taken = Taken::default();
        for (session, (tablet, gate)) in &mut self.sessions {
            if *tablet == id && record.session() != Some(*session) && !gate.is_closed() {
                *gate = gate.close();
                taken.closed.push(*session);
            }
        }
        self.closed.extend(taken.closed.iter().copied());
        self.forget_drained();
        if let Some(session) = record.session()
            && !self.closed.contains(&session)
            && !self.sessions.contains_key(&session)
        {
            // Opened once: a later version that names it too finds its guards where they were.
            self.sessions.insert(session, (id, Gate::OPEN));
            taken.opened = Some(session);
        }
        self.prepare(record);
        Ok(taken)
    }

    /// A copy that is given and not there yet is made, empty.
    fn prepare(&mut self, record: &TabletRecord) {
        let Some(given) = record.given(self.node) else { return };
        if self.copies.get(&record.tablet).is_none_or(|(copy, _)| *copy != given) {
            self.copies.insert(record.tablet, (given, Rows::new()));
        }
    }

    /// Drained sessions are not kept: from then on they are unknown.
    fn forget_drained(&mut self) {
        self.sessions.retain(|_, (_, gate)| !gate.has_drained());
    }

    /// Step 4: who still has a guard of a closed session of the tablet.
    pub(crate) fn holders(&self, id: TabletId) -> Vec<SessionId> {
        let closing = self.sessions.iter();
        let closing = closing.filter(|(_, (tablet, gate))| *tablet == id && gate.is_closed());
        closing.map(|(session, _)| *session).collect()
    }

    /// Step 5.
    pub(crate) fn acknowledgement(&self, id: TabletId) -> Option<Acknowledgement> {
        let record = self.records.get(&id)?;
        let promised = (record.stage() == Some(Stage::OpenRepair)).then(|| self.promise(id));
        Some(Acknowledgement {
            node: self.node,
            incarnation: self.incarnation,
            version: record.version,
            promised,
            at_ms: 0,
        })
    }

    pub(crate) fn promise(&self, id: TabletId) -> HybridTime {
        self.promises.get(&id).copied().unwrap_or_default()
    }

    pub(crate) fn enter(&mut self, session: SessionId) -> Result<(), FailureReason> {
        let (_, gate) = self.sessions.get_mut(&session).ok_or(FailureReason::SessionUnknown)?;
        *gate = gate.enter().map_err(|_| FailureReason::SessionClosing)?;
        Ok(())
    }

    /// Gives a guard back; whether its session was still open.
    pub(crate) fn leave(&mut self, session: SessionId) -> bool {
        let Some((_, gate)) = self.sessions.get_mut(&session) else { return false };
        *gate = gate.leave();
        let was_open = !gate.is_closed();
        self.forget_drained();
        was_open
    }

    /// Merges rows into the copy; the sum over what is stored then.
    pub(crate) fn store(&mut self, id: TabletId, rows: &Rows) -> RowSum {
        let mut sum = RowSum::default();
        let Some((_, held)) = self.copies.get_mut(&id) else { return sum };
        for (key, row) in rows {
            if merge(held.get(key), row) == Merged::Stored {
                held.insert(key.clone(), row.clone());
            }
            sum.add(key.as_bytes(), row);
        }
        sum
    }

    pub(crate) fn rows(&self, id: TabletId) -> Rows {
        self.copies.get(&id).map(|(_, rows)| rows.clone()).unwrap_or_default()
    }

    /// What is not given any more goes, at an admission or by an order.
    pub(crate) fn drop_unless_given(&mut self, id: TabletId) -> bool {
        let given = self.records.get(&id).and_then(|record| record.given(self.node));
        let is_given = self.copies.get(&id).is_some_and(|(copy, _)| Some(*copy) == given);
        !is_given && self.copies.remove(&id).is_some()
    }

    /// The process ends and another begins: what was in memory is gone, and calls with it.
    pub(crate) fn restart(&mut self, incarnation: Incarnation) {
        self.closed.extend(self.sessions.keys().copied());
        self.sessions.clear();
        self.incarnation = incarnation;
        self.is_up = true;
        for call in self.calls.values_mut() {
            if matches!(call, Call::Running) {
                *call = Call::Failed(FailureReason::PeerClosed);
            }
        }
    }
}
