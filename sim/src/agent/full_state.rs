//! A full state worked off, and the drain before an admission.

use super::disk::Write;
use super::jobs::{Next, State, Task};
use crate::message::{Conn, Message, Record};
use crate::world::World;
use migrations::agent::step;
use migrations::id::TabletId;
use migrations::rule::{Rule, is_undone};
use migrations::version::TopologyVersion;
use std::collections::BTreeMap;

/// A full state that is being worked off.
#[derive(Debug)]
pub(crate) struct FullState {
    version: TopologyVersion,
    records: BTreeMap<TabletId, Record>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    TakeOn,
    Drop,
    Forget,
}

impl FullState {
    pub(crate) fn new(version: TopologyVersion, records: Vec<Record>) -> FullState {
        let records = records.into_iter().map(|record| (record.tablet, record)).collect();
        FullState { version, records, phase: Phase::TakeOn }
    }
}

impl World {
    pub(crate) fn begin_full_state(&mut self, at: usize, conn: Conn) {
        let attachment = self.process(at).and_then(|process| process.attachment.as_ref());
        let Some(full) = attachment.and_then(|attachment| attachment.full.as_ref()) else { return };
        let records: Vec<Record> = full.records.values().cloned().collect();
        for record in records {
            self.begin_job(at, conn, Task::Listed { record });
        }
        self.full_state_goes_on(at, conn);
    }

    /// Begins the next part, if nothing of this one is left.
    pub(crate) fn full_state_goes_on(&mut self, at: usize, conn: Conn) {
        let Some(own) = self.agents[at].own() else { return };
        let Some(process) = self.process(at) else { return };
        let Some(full) = process.attachment.as_ref().and_then(|a| a.full.as_ref()) else { return };
        if !process.jobs.is_empty() {
            return;
        }
        let read_at = full.version;
        let mut tasks = Vec::new();
        let phase = match full.phase {
            Phase::TakeOn => {
                for (tablet, entry) in &self.agents[at].disk.live.tablets {
                    let Some(record) = full.records.get(tablet) else { continue };
                    for copy in entry.copies.keys().filter(|c| record.given(own) != Some(**c)) {
                        let (record, copy) = (record.clone(), *copy);
                        tasks.push(Task::Drop { record, copy, is_ordered: false });
                    }
                }
                let unlisted = process.tablets.keys().filter(|id| !full.records.contains_key(id));
                tasks.extend(unlisted.map(|tablet| Task::LeaveOut { tablet: *tablet, read_at }));
                if is_undone(Rule::CleanupAtAdmission) {
                    tasks.clear();
                }
                Some(Phase::Drop)
            }
            Phase::Drop => {
                tasks.push(Task::Forget { read_at });
                Some(Phase::Forget)
            }
            Phase::Forget => None,
        };
        let Some(process) = self.process_mut(at) else { return };
        let Some(attachment) = &mut process.attachment else { return };
        match phase {
            Some(phase) => {
                if let Some(full) = &mut attachment.full {
                    full.phase = phase;
                }
                let is_empty = tasks.is_empty();
                tasks.into_iter().for_each(|task| self.begin_job(at, conn, task));
                if is_empty {
                    self.full_state_goes_on(at, conn);
                }
            }
            None => {
                attachment.full = None;
                attachment.is_ready = true;
                self.check_worked_off(at);
                self.report(at, Message::FullStateDone);
            }
        }
    }

    pub(super) fn begin_forget(&mut self, at: usize, read_at: TopologyVersion) -> Next {
        let Some(process) = self.process(at) else { return Next::Over };
        let full = process.attachment.as_ref().and_then(|a| a.full.as_ref());
        let Some(full) = full else { return Next::Over };
        let store = &self.agents[at].disk.live;
        let is_covered = |(id, entry): &(&TabletId, &super::disk::Entry)| {
            let is_listed = full.records.contains_key(id);
            entry.copies.is_empty() && step::is_left_out(entry.floor, read_at) && !is_listed
        };
        let forgotten: Vec<TabletId> =
            store.tablets.iter().filter(is_covered).map(|(id, _)| *id).collect();
        let is_listed: Vec<TabletId> = full.records.keys().copied().collect();
        if read_at > store.unlisted {
            self.agents[at].disk.write(Write::Unlisted { version: read_at, forgotten });
        }
        let kept: Vec<TabletId> = self.agents[at].disk.live.tablets.keys().copied().collect();
        if let Some(process) = self.process_mut(at) {
            process.tablets.retain(|id, tablet| {
                let is_in_hand = !tablet.sessions.is_empty() || !tablet.gates.is_empty();
                is_in_hand || is_listed.contains(id) || kept.contains(id)
            });
        }
        Next::Go(State::Removed { place: self.sync(at) })
    }

    /// Ends what a full state does not list.
    pub(super) fn begin_leave_out(
        &mut self,
        at: usize,
        id: TabletId,
        read_at: TopologyVersion,
    ) -> Next {
        let floor = self.agents[at].disk.live.floor(id);
        let Some(tablet) = self.tablet_mut(at, id) else { return Next::Over };
        if tablet.locked_by.is_some() {
            return Next::Wait(State::Begin);
        }
        if !step::is_left_out(floor, read_at) {
            return Next::Over;
        }
        tablet.done = None;
        let closed = tablet.close_sessions(None);
        tablet.close_gate();
        tablet.is_awaiting = true;
        let of = vec![(id, tablet.to_drain(None))];
        self.mark("a full state leaves a tablet out");
        self.check_closed(at, id, &closed);
        self.revoke_soon(at);
        Next::Go(State::Draining { of, since: self.queue.now })
    }

    /// Closes every session and the gate of every tablet: nothing is served, and no work begins,
    /// before the tablet is taken on again.
    pub(super) fn begin_close_all(&mut self, at: usize) -> Next {
        if is_undone(Rule::DrainedBeforeAdmission) {
            self.report_drained(at);
            return Next::Over;
        }
        let Some(process) = self.process_mut(at) else { return Next::Over };
        let mut closed = Vec::new();
        let mut of = Vec::new();
        for (id, tablet) in &mut process.tablets {
            tablet.done = None;
            closed.push((*id, tablet.close_sessions(None)));
            tablet.close_gate();
            tablet.is_awaiting = true;
            of.push((*id, tablet.to_drain(None)));
        }
        for (id, sessions) in closed {
            self.check_closed(at, id, &sessions);
        }
        self.revoke_soon(at);
        Next::Go(State::Draining { of, since: self.queue.now })
    }

    pub(super) fn report_drained(&mut self, at: usize) {
        let attachment = self.process(at).and_then(|process| process.attachment.as_ref());
        let Some(attachment) = attachment else { return };
        let (conn, coordinator) = (attachment.conn, attachment.coordinator);
        let (from, to) = (crate::message::Place::Agent(at), coordinator);
        self.mark("an agent drains for its admission");
        self.send(from, crate::message::Place::Coordinator(to), Some(conn), Message::Drained);
    }
}
