//! Orders and full states being worked off: each a small machine over the tablet's lock, the disk
//! and the guards, looked at whenever something has changed. Ended with their attachment.

use super::disk::Write;
use super::tablets::{Draining, Held, Session, Tablet};
use super::work::Work;
use crate::message::{Conn, Message, Record};
use crate::plan::Fault;
use crate::time::{MILLI, Time};
use crate::world::World;
use migrations::agent::step::{self, CopyState, Durable, NotDropped, TakeOn};
use migrations::driver::{Event as Said, Ordered};
use migrations::evidence::{Acknowledgement, DropReport, FailureReason};
use migrations::gate::Gate;
use migrations::id::TabletId;
use migrations::record::StreamPair;
use migrations::rule::{Rule, is_undone};
use migrations::version::{CopyId, Incarnation, TopologyVersion};

#[derive(Debug, Clone)]
pub(crate) enum Task {
    Barrier {
        record: Record,
    },
    /// By an order, or by a full state.
    Drop {
        record: Record,
        copy: CopyId,
        is_ordered: bool,
    },
    TakeOn {
        record: Record,
    },
    Pull {
        record: Record,
        pair: StreamPair,
        source: Incarnation,
    },
    /// A record that a full state lists.
    Listed {
        record: Record,
    },
    /// A tablet that a full state does not list.
    LeaveOut {
        tablet: TabletId,
        read_at: TopologyVersion,
    },
    /// The floor of all that is not listed.
    Forget {
        read_at: TopologyVersion,
    },
    /// Before an admission.
    CloseAll,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Begin,
    /// Floor and record are written; nothing is opened before they are durable.
    Syncing {
        place: u64,
        taken: TakeOn,
    },
    /// Durable, and not switched to yet.
    Durable {
        until: Time,
        taken: TakeOn,
    },
    Draining {
        of: Vec<(TabletId, Vec<Draining>)>,
        since: Time,
    },
    /// Wants the lock again, for what comes after the drain.
    Drained,
    /// The floor that outlives the copies is being synced.
    Removing {
        place: u64,
        copies: Vec<CopyId>,
    },
    Removed {
        place: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) conn: Conn,
    pub(crate) task: Task,
    pub(crate) state: State,
}

/// What came of a look at a job.
pub(super) enum Next {
    /// Nothing to do yet.
    Wait(State),
    /// It has come a step further.
    Go(State),
    Over,
}

impl Task {
    fn record(&self) -> Option<&Record> {
        match self {
            Task::Barrier { record }
            | Task::Drop { record, .. }
            | Task::TakeOn { record }
            | Task::Pull { record, .. }
            | Task::Listed { record } => Some(record),
            Task::LeaveOut { .. } | Task::Forget { .. } | Task::CloseAll => None,
        }
    }

    fn is_of_full_state(&self) -> bool {
        match self {
            Task::Listed { .. } | Task::LeaveOut { .. } | Task::Forget { .. } => true,
            Task::Drop { is_ordered, .. } => !is_ordered,
            Task::Barrier { .. } | Task::TakeOn { .. } | Task::Pull { .. } | Task::CloseAll => {
                false
            }
        }
    }
}

impl World {
    pub(crate) fn begin_job(&mut self, at: usize, conn: Conn, task: Task) {
        if let Some(process) = self.process_mut(at) {
            let number = process.number();
            process.jobs.insert(number, Job { conn, task, state: State::Begin });
        }
    }

    /// Looks at all jobs until none can go on.
    pub(crate) fn do_jobs(&mut self, at: usize) {
        loop {
            let Some(process) = self.process(at) else { return };
            let ids: Vec<u64> = process.jobs.keys().copied().collect();
            let mut has_moved = false;
            for id in ids {
                has_moved |= self.do_job(at, id);
            }
            if !has_moved {
                return;
            }
        }
    }

    fn do_job(&mut self, at: usize, id: u64) -> bool {
        let Some(process) = self.process_mut(at) else { return false };
        let Some(job) = process.jobs.remove(&id) else { return false };
        let Job { conn, task, state } = job;
        let next = self.look_at_job(at, id, &task, state);
        let Some(process) = self.process_mut(at) else { return false };
        // What was done may have ended the attachment, and all its jobs.
        let is_on = process.attachment.as_ref().is_some_and(|a| a.conn == conn);
        let (state, has_moved) = match next {
            Next::Wait(state) => (Some(state), false),
            Next::Go(state) => (Some(state), true),
            Next::Over => (None, true),
        };
        match state {
            Some(state) if is_on => drop(process.jobs.insert(id, Job { conn, task, state })),
            None if is_on && task.is_of_full_state() => self.full_state_goes_on(at, conn),
            _ => {}
        }
        has_moved
    }

    fn look_at_job(&mut self, at: usize, id: u64, task: &Task, state: State) -> Next {
        match (task, state) {
            (Task::CloseAll, State::Begin) => self.begin_close_all(at),
            (Task::LeaveOut { tablet, read_at }, State::Begin) => {
                self.begin_leave_out(at, *tablet, *read_at)
            }
            (Task::Forget { read_at }, State::Begin) => self.begin_forget(at, *read_at),
            (task, State::Begin) => self.begin_take_on(at, id, task),
            (_, State::Syncing { place, taken }) => {
                let is_durable = self.agents[at].disk.hardened >= place;
                if !is_durable && !is_undone(Rule::FloorIsDurable) {
                    return Next::Wait(State::Syncing { place, taken });
                }
                let until = self.stands_still(at);
                Next::Go(State::Durable { until, taken })
            }
            (_, State::Durable { until, taken }) if self.queue.now < until => {
                Next::Wait(State::Durable { until, taken })
            }
            (task, State::Durable { taken, .. }) => self.switch(at, task, taken),
            (task, State::Draining { of, since }) => self.drain(at, task, of, since),
            (task, State::Drained) => self.after_drain(at, id, task),
            (task, State::Removing { place, copies }) => {
                if self.agents[at].disk.hardened < place {
                    return Next::Wait(State::Removing { place, copies });
                }
                let Some(tablet) = task.tablet() else { return Next::Over };
                for copy in copies {
                    self.say(|world| {
                        format!("{}: drops copy {copy} of t{tablet}", world.agents[at].name)
                    });
                    self.agents[at].disk.write(Write::DropCopy { tablet, copy });
                }
                Next::Go(State::Removed { place: self.sync(at) })
            }
            (task, State::Removed { place }) => {
                if self.agents[at].disk.hardened < place {
                    return Next::Wait(State::Removed { place });
                }
                if let Some(tablet) = task.tablet().and_then(|id| self.tablet_mut(at, id)) {
                    tablet.locked_by = None;
                }
                self.dropped(at, task);
                Next::Over
            }
        }
    }

    pub(crate) fn tablet_mut(&mut self, at: usize, id: TabletId) -> Option<&mut Tablet> {
        self.process_mut(at)?.tablets.get_mut(&id)
    }

    /// The tablet, which is new if nothing was known of it.
    fn tablet(&mut self, at: usize, id: TabletId) -> Option<&mut Tablet> {
        let floor = self.agents[at].disk.live.floor(id).version();
        let tablets = &mut self.process_mut(at)?.tablets;
        Some(tablets.entry(id).or_insert_with(|| Tablet { floor, ..Tablet::default() }))
    }

    /// Step 1: the floor and the record are written.
    fn begin_take_on(&mut self, at: usize, id: u64, task: &Task) -> Next {
        let (Some(record), Some(own)) = (task.record().cloned(), self.agents[at].own()) else {
            return Next::Over;
        };
        let clock = self.agent_reading(at);
        let copies = self.agents[at].disk.live.copies(record.tablet);
        let floor = self.agents[at].disk.live.floor(record.tablet);
        let Some(tablet) = self.tablet(at, record.tablet) else { return Next::Over };
        if tablet.locked_by.is_some() {
            return Next::Wait(State::Begin);
        }
        let taken = step::take_on(&record, own, Durable { floor, copies: &copies }, clock);
        let Ok(taken) = taken else {
            if matches!(task, Task::Drop { .. }) {
                return Next::Go(State::Drained);
            }
            self.refuse(at, task, FailureReason::StaleVersion);
            return Next::Over;
        };
        if tablet.done.as_ref() == Some(&record) {
            let copy = tablet.copy.0;
            return self.after_taken(at, task, copy);
        }
        tablet.done = None;
        if !is_undone(Rule::StepsAreOne) {
            tablet.locked_by = Some(id);
        }
        let TakeOn { home, promise, .. } = taken;
        self.agents[at].disk.write(Write::Record { record, home, promise });
        Next::Go(State::Syncing { place: self.sync(at), taken })
    }

    /// Whether a task stands still before its next step, and until when. It keeps its locks.
    fn stands_still(&mut self, at: usize) -> Time {
        let now = self.queue.now;
        if !self.has(Fault::Preempt) || !self.random.disk.chance(60) {
            return now;
        }
        let pause = self.random.disk.between(1, 400) * MILLI;
        self.agent_after(at, pause, Work::JobsDue);
        self.mark("a task stands still between two steps of a barrier");
        now + pause
    }

    /// Steps 2 and 3.
    fn switch(&mut self, at: usize, task: &Task, taken: TakeOn) -> Next {
        let Some(record) = task.record().cloned() else { return Next::Over };
        let Some(process) = self.process_mut(at) else { return Next::Over };
        let Counted { tablet, next } = process.tablet_and_next(record.tablet);
        let Some(tablet) = tablet else { return Next::Over };
        let closed = tablet.close_sessions(record.session());
        let is_known = |id| tablet.sessions.iter().any(|session| session.id == id);
        let opened = step::opens(&record, taken.copy, is_known);
        if let Some((id, copy)) = opened {
            tablet.sessions.push(Session { id, copy, gate: Gate::OPEN, epoch: 0 });
        }
        tablet.close_gate();
        tablet.floor = record.version;
        tablet.record = Some(record.clone());
        tablet.copy = Held(taken.copy);
        tablet.is_awaiting = false;
        tablet.open_gate(next);
        tablet.sweep();
        tablet.locked_by = None;
        tablet.done = Some(record.clone());
        self.check_taken_on(at, &record, &closed, opened.map(|(id, _)| id));
        self.revoke_soon(at);
        self.look_at_ahead(at);
        self.after_taken(at, task, taken.copy)
    }

    fn after_taken(&mut self, at: usize, task: &Task, copy: CopyState) -> Next {
        let Some(record) = task.record().cloned() else { return Next::Over };
        if let CopyState::Lost(copy) = copy {
            self.mark("a copy is reported as lost");
            self.report(at, Message::Lost { tablet: record.tablet, copy });
        }
        match task {
            Task::Barrier { .. } | Task::Drop { .. } => {
                let tablet = self.tablet_mut(at, record.tablet);
                let of = tablet.map(|tablet| tablet.to_drain(Some(record.version)));
                let of = vec![(record.tablet, of.unwrap_or_default())];
                let since = self.queue.now;
                self.agent_after(at, self.drain_deadline() + MILLI, Work::JobsDue);
                Next::Go(State::Draining { of, since })
            }
            Task::Pull { record, pair, source } => {
                self.pull(at, record, *pair, *source);
                Next::Over
            }
            _ => Next::Over,
        }
    }

    fn drain_deadline(&self) -> Time {
        u64::from(self.settings.drain_deadline_ms) * MILLI
    }

    /// Step 4.
    fn drain(
        &mut self,
        at: usize,
        task: &Task,
        of: Vec<(TabletId, Vec<Draining>)>,
        since: Time,
    ) -> Next {
        let is_late = self.queue.now >= since + self.drain_deadline();
        let Some(process) = self.process_mut(at) else { return Next::Over };
        let is_drained = of
            .iter()
            .all(|(id, of)| process.tablets.get(id).is_none_or(|tablet| tablet.has_drained(of)));
        if !is_drained && !is_undone(Rule::DrainedBeforeAcknowledged) {
            if let (true, Some(record)) = (is_late, task.record())
                && let Some(tablet) = process.tablets.get_mut(&record.tablet)
                && tablet.refuse_below < tablet.floor
            {
                tablet.refuse_below = tablet.floor;
                self.mark("a drain is forced");
            }
            return Next::Wait(State::Draining { of, since });
        }
        if matches!(task, Task::CloseAll) && process.pulls.values().any(|pull| pull.is_running()) {
            return Next::Wait(State::Draining { of, since });
        }
        for (id, _) in &of {
            if let Some(tablet) = process.tablets.get_mut(id) {
                tablet.sweep();
            }
        }
        match task {
            Task::Barrier { record } => {
                self.acknowledge(at, record);
                Next::Over
            }
            Task::CloseAll => {
                self.report_drained(at);
                Next::Over
            }
            _ => Next::Go(State::Drained),
        }
    }

    /// Step 5.
    fn acknowledge(&mut self, at: usize, record: &Record) {
        let tablet = record.tablet;
        let copy = self.tablet_mut(at, tablet).map(|tablet| tablet.copy.0);
        let Some((node, incarnation)) = self.process(at).and_then(|process| process.admitted)
        else {
            return;
        };
        let is_asked = record.asked_promise().is_some() && matches!(copy, Some(CopyState::Here(_)));
        let entry = self.agents[at].disk.live.tablets.get(&tablet);
        let promised = entry.filter(|_| is_asked).map(|entry| entry.promise);
        let (version, at_ms) = (record.version, self.agent_wall(at));
        let said = Acknowledgement { node, incarnation, version, promised, at_ms };
        self.check_acknowledged(at, record, &said);
        self.report_event(at, Said::Acknowledged { tablet, said });
    }

    /// After the drain of a drop, or of what a full state leaves out.
    fn after_drain(&mut self, at: usize, id: u64, task: &Task) -> Next {
        let (Some(own), Some(tablet)) = (self.agents[at].own(), task.tablet()) else {
            return Next::Over;
        };
        let floor = self.agents[at].disk.live.floor(tablet);
        let mut copies = self.agents[at].disk.live.copies(tablet);
        let Some(held) = self.tablet_mut(at, tablet) else { return Next::Over };
        if held.locked_by.is_some() {
            return Next::Wait(State::Drained);
        }
        let version = match task {
            Task::Drop { record, copy, .. } => {
                if let Err(refused) = step::admit_drop(record, own, *copy, floor) {
                    let reason = match refused {
                        NotDropped::Stale(_) => FailureReason::StaleVersion,
                        NotDropped::Given(_) => FailureReason::StreamProtocol,
                    };
                    self.refuse(at, task, reason);
                    return Next::Over;
                }
                copies.retain(|found| found == copy || is_undone(Rule::DroppedByCopy));
                record.version
            }
            Task::LeaveOut { read_at, .. } if step::is_left_out(floor, *read_at) => {
                *held = Tablet {
                    floor: *read_at,
                    sessions: std::mem::take(&mut held.sessions),
                    gates: std::mem::take(&mut held.gates),
                    refuse_below: held.refuse_below,
                    ..Tablet::default()
                };
                held.sweep();
                *read_at
            }
            _ => return Next::Over,
        };
        if copies.is_empty() {
            self.dropped(at, task);
            return Next::Over;
        }
        held.locked_by = Some(id);
        if !is_undone(Rule::FloorOutlivesCopy) {
            self.agents[at].disk.write(Write::KeepFloor { tablet, version });
        }
        Next::Go(State::Removing { place: self.sync(at), copies })
    }

    fn dropped(&mut self, at: usize, task: &Task) {
        let Task::Drop { record, copy, is_ordered: true } = task else { return };
        let Some((node, incarnation)) = self.process(at).and_then(|p| p.admitted) else { return };
        let report = DropReport { node, incarnation, copy: *copy, version: record.version };
        self.report_event(at, Said::Dropped { tablet: record.tablet, report });
    }

    fn refuse(&mut self, at: usize, task: &Task, reason: FailureReason) {
        let order = match task {
            Task::Barrier { .. } => Ordered::Barrier,
            Task::Pull { .. } => Ordered::Pull,
            Task::Drop { is_ordered: true, .. } => Ordered::Drop,
            _ => return,
        };
        let Some(record) = task.record() else { return };
        let Some((node, incarnation)) = self.process(at).and_then(|p| p.admitted) else { return };
        self.mark("an order is refused");
        let (tablet, version) = (record.tablet, record.version);
        let said =
            Said::Refused { tablet, version, node, incarnation, order, reason: Some(reason) };
        self.report_event(at, said);
    }
}

/// A tablet and the counter that its gates are numbered by.
pub(super) struct Counted<'a> {
    tablet: Option<&'a mut Tablet>,
    next: &'a mut u64,
}

impl super::Process {
    fn tablet_and_next(&mut self, id: TabletId) -> Counted<'_> {
        Counted { tablet: self.tablets.get_mut(&id), next: &mut self.next }
    }

    /// All copies that should be here and are gone.
    pub(crate) fn lost(&self) -> Vec<(TabletId, CopyId)> {
        let lost = self.tablets.iter().filter_map(|(id, tablet)| match tablet.copy.0 {
            CopyState::Lost(copy) => Some((*id, copy)),
            CopyState::None | CopyState::Here(_) => None,
        });
        lost.collect()
    }
}

impl Task {
    pub(crate) fn tablet(&self) -> Option<TabletId> {
        match self {
            Task::LeaveOut { tablet, .. } => Some(*tablet),
            task => task.record().map(|record| record.tablet),
        }
    }
}
