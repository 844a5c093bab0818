//! The receiver's end of streams: one call for each session and source, for ever.

use super::disk::Write;
use super::tablets::Entered;
use super::work::{AfterSync, Work};
use crate::message::{Begin, Conn, Message, Place, Record};
use crate::time::MICRO;
use crate::world::World;
use migrations::agent::admit::admit_work;
use migrations::agent::calls::{self, Asked, Begun, Call, Progress, StreamOnRecord, StreamState};
use migrations::driver::Event as Said;
use migrations::evidence::{FailureReason, StreamReport};
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::lease::Instant;
use migrations::position::Position;
use migrations::pull::{Bounds, Receiver, ReceiverEvent, ReceiverStep, SourceSays, Totals};
use migrations::record::StreamPair;
use migrations::row::RowVersion;
use migrations::rule::{Rule, is_undone};
use migrations::version::Incarnation;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// The rows of a chunk.
pub(super) type Rows = Rc<Vec<(Position, RowVersion)>>;

/// A call that this process has made, or is making.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(super) record: Record,
    pub(super) pair: StreamPair,
    pub(super) source_incarnation: Incarnation,
    pub(super) receiver_incarnation: Incarnation,
    pub(super) number: u64,
    pub(super) guard: Option<Entered>,
    pub(super) conn: Option<Conn>,
    pub(super) machine: Option<Receiver>,
    pub(super) progress: Progress,
    pub(super) pending: VecDeque<(Rows, u64)>,
    pub(super) is_writing: bool,
    pub(super) sent: Option<Totals>,
    pub(super) outcome: Option<Result<StreamReport, FailureReason>>,
    /// When the leader was last told of it.
    pub(super) told: Instant,
}

impl Pull {
    pub(crate) fn is_running(&self) -> bool {
        self.outcome.is_none()
    }
}

impl World {
    pub(super) fn pull_mut(
        &mut self,
        at: usize,
        session: SessionId,
        source: NodeId,
    ) -> Option<&mut Pull> {
        self.process_mut(at)?.pulls.get_mut(&(session, source))
    }

    pub(crate) fn local(&self, at: usize) -> Instant {
        self.agents[at].clock.instant(self.queue.now)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { stall: Duration::from_millis(u64::from(self.settings.stall_ms)) }
    }

    /// Enters a session for work on a tablet.
    pub(crate) fn enter(
        &mut self,
        at: usize,
        id: TabletId,
        session: SessionId,
    ) -> Result<Entered, FailureReason> {
        let is_held = self.is_lease_held(at);
        let process = self.process_mut(at).ok_or(FailureReason::PeerClosed)?;
        let is_given_up = process.is_given_up;
        let tablet = process.tablets.get_mut(&id).ok_or(FailureReason::SessionUnknown)?;
        let found = tablet.session(session).ok_or(FailureReason::SessionUnknown)?;
        if !is_held {
            let fenced = FailureReason::NodeFenced;
            return Err(if is_given_up { fenced } else { FailureReason::LeaseExpired });
        }
        found.gate = found.gate.enter().map_err(|_| FailureReason::SessionClosing)?;
        Ok(Entered { session, copy: found.copy, epoch: found.epoch })
    }

    pub(crate) fn leave(&mut self, at: usize, id: TabletId, guard: Entered) {
        if let Some(tablet) = self.tablet_mut(at, id) {
            tablet.leave_session(guard.session);
        }
    }

    /// The store's check of a session's work, in its transaction.
    pub(crate) fn check_work(
        &mut self,
        at: usize,
        id: TabletId,
        guard: Entered,
    ) -> Result<(), FailureReason> {
        let is_held = self.is_lease_held(at);
        let is_live = self.tablet_mut(at, id).is_some_and(|tablet| tablet.is_live(guard));
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let entry = entry.ok_or(FailureReason::SessionUnknown)?;
        if !is_live {
            return Err(FailureReason::SessionClosing);
        }
        let (record, given) = (entry.record.as_deref(), entry.given);
        admit_work(record, given, guard.session, guard.copy, is_held)
            .map_err(|_| FailureReason::SessionUnknown)?;
        let is_there = entry.copies.contains_key(&guard.copy);
        if is_there { Ok(()) } else { Err(FailureReason::SessionUnknown) }
    }

    /// Obeys an order to pull: begins the call, or answers how the one stands that was begun.
    pub(crate) fn pull(
        &mut self,
        at: usize,
        record: &Record,
        pair: StreamPair,
        source: Incarnation,
    ) {
        let Some((_, own)) = self.process(at).and_then(|process| process.admitted) else { return };
        let Some(session) = record.session() else { return };
        let key = (session, pair.source);
        if let Some(pull) = self.process(at).and_then(|process| process.pulls.get(&key)) {
            if let Some(outcome) = pull.outcome {
                self.mark("an order for a call that is on record is answered with its state");
                self.tell_outcome(at, pair, record.tablet, session, outcome);
            }
            return;
        }
        let number = self.random.ids.next();
        let pull = Pull {
            record: record.clone(),
            pair,
            source_incarnation: source,
            receiver_incarnation: own,
            number,
            guard: None,
            conn: None,
            machine: None,
            progress: Progress::default(),
            pending: VecDeque::new(),
            is_writing: false,
            sent: None,
            outcome: None,
            told: self.local(at),
        };
        if let Some(process) = self.process_mut(at) {
            process.pulls.insert(key, pull);
        }
        if let Err(reason) = self.put_on_record(at, record, session, pair, own, number) {
            self.fail(at, session, pair.source, reason);
        }
    }

    fn put_on_record(
        &mut self,
        at: usize,
        record: &Record,
        session: SessionId,
        pair: StreamPair,
        own: Incarnation,
        call: u64,
    ) -> Result<(), FailureReason> {
        let (id, source) = (record.tablet, pair.source);
        let source_copy = calls::check_order(record, pair, own).map_err(|not| not.reason())?;
        let guard = self.enter(at, id, session)?;
        if let Some(pull) = self.pull_mut(at, session, source) {
            pull.guard = Some(guard);
        }
        self.check_work(at, id, guard)?;
        let migration = record.transition.as_ref().map(|transition| transition.migration);
        let migration = migration.ok_or(FailureReason::SessionUnknown)?;
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let copy = entry.and_then(|entry| entry.copies.get(&guard.copy));
        let before = copy.and_then(|copy| copy.streams.get(&source));
        match calls::begin(before, session, migration, Call { call, source, source_copy }) {
            Begun::OnRecord(stream) => {
                self.mark("a call is on record of an earlier process");
                match stream.state {
                    StreamState::Complete => {
                        self.complete(at, session, source, &stream.progress);
                        Ok(())
                    }
                    StreamState::Running | StreamState::Failed => Err(FailureReason::PeerClosed),
                }
            }
            Begun::New(stream) => {
                if let Some(pull) = self.pull_mut(at, session, source) {
                    pull.progress = stream.progress.clone();
                }
                if is_undone(Rule::NeverCleared) && stream.progress.after.is_none() {
                    self.clear(at, id, guard.copy);
                }
                self.note(at, id, guard, source, stream);
                // Before the call is made: after a restart nobody may make it a second time.
                self.wait_for_sync(at, AfterSync::OnRecord(session, source));
                Ok(())
            }
        }
    }

    fn note(
        &mut self,
        at: usize,
        id: TabletId,
        guard: Entered,
        source: NodeId,
        stream: StreamOnRecord,
    ) {
        let (copy, rows) = (guard.copy, Vec::new());
        self.agents[at].disk.write(Write::Rows { tablet: id, copy, source, rows, stream });
    }

    /// The call is on record: it is made.
    pub(crate) fn call(&mut self, at: usize, session: SessionId, source: NodeId) {
        let (bounds, now) = (self.bounds(), self.local(at));
        let Some(to) = self.agent_of(source) else { return };
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        if !pull.is_running() {
            return;
        }
        let may_resume = pull.progress.after.is_some();
        pull.machine = Some(Receiver::new(bounds, may_resume, now));
        let replica = pull.record.replicas.on(source);
        let Some(source_copy) = replica.map(|replica| replica.copy) else { return };
        let begin = Begin {
            asked: Asked {
                version: pull.record.version,
                session,
                pair: pull.pair,
                receiver_incarnation: pull.receiver_incarnation,
            },
            tablet: pull.record.tablet,
            source_incarnation: pull.source_incarnation,
            source_copy,
            resume: may_resume.then(|| pull.progress.clone()),
        };
        let (from, to) = (Place::Agent(at), Place::Agent(to));
        let conn = self.connect(from, to, false);
        if let Some(pull) = self.pull_mut(at, session, source) {
            pull.conn = Some(conn);
        }
        if let Some(process) = self.process_mut(at) {
            process.calls.insert(conn, (session, source));
        }
        self.send(from, to, Some(conn), Message::Begin(Rc::new(begin)));
        self.agent_after(at, self.stall() / 4, Work::CallDue(session, source));
    }

    pub(crate) fn call_due(&mut self, at: usize, session: SessionId, source: NodeId) {
        if self.pull_mut(at, session, source).is_some_and(|pull| pull.is_running()) {
            self.pull_event(at, session, source, ReceiverEvent::Tick);
            self.agent_after(at, self.stall() / 8, Work::CallDue(session, source));
        }
    }

    /// A message of the source.
    pub(crate) fn called(&mut self, at: usize, conn: Conn, message: Message) {
        let Some(process) = self.process(at) else { return };
        let Some((session, source)) = process.calls.get(&conn).copied() else { return };
        if matches!(message, Message::Chunk { .. } | Message::KeepAlive) {
            self.goes_on(at, session, source);
        }
        let event = match message {
            Message::Accepted { is_resumed } => {
                ReceiverEvent::Heard(SourceSays::Accepted { is_resumed })
            }
            Message::Chunk { number, rows, bytes } => {
                if let Some(pull) = self.pull_mut(at, session, source) {
                    pull.pending.push_back((rows, bytes));
                }
                ReceiverEvent::Heard(SourceSays::Chunk { number })
            }
            Message::Complete(totals) => ReceiverEvent::Heard(SourceSays::Complete(totals)),
            Message::KeepAlive => ReceiverEvent::Heard(SourceSays::KeepAlive { is_paused: false }),
            Message::CallRefused(reason) => ReceiverEvent::Refused(reason),
            Message::Broken if is_undone(Rule::CompleteIsSaid) => {
                ReceiverEvent::Heard(SourceSays::Complete(Totals::default()))
            }
            Message::Broken => ReceiverEvent::Lost,
            _ => return,
        };
        self.pull_event(at, session, source, event);
    }

    fn pull_event(&mut self, at: usize, session: SessionId, source: NodeId, event: ReceiverEvent) {
        let now = self.local(at);
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        let (true, Some(machine)) = (pull.outcome.is_none(), &mut pull.machine) else { return };
        match machine.on(event, now) {
            ReceiverStep::Wait | ReceiverStep::Store => {}
            ReceiverStep::Start { is_resumed } => {
                if is_resumed {
                    self.mark("a stream is resumed");
                } else {
                    pull.progress = Progress::default();
                }
            }
            ReceiverStep::Record(totals) => pull.sent = Some(totals),
            ReceiverStep::SendReceived => {
                let (conn, to) = (pull.conn, self.agent_of(source));
                if let Some(to) = to {
                    self.send(Place::Agent(at), Place::Agent(to), conn, Message::Received);
                }
                return;
            }
            ReceiverStep::Fail(reason) => {
                self.fail(at, session, source, reason);
                return;
            }
        }
        self.write_on(at, session, source);
    }

    /// All rows are durable: what was stored is compared with what was sent.
    pub(crate) fn stored(&mut self, at: usize, session: SessionId, source: NodeId) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        let (Some(sent), Some(guard), None) = (pull.sent, pull.guard, pull.outcome) else { return };
        let (id, progress) = (pull.record.tablet, pull.progress.clone());
        let stored = Totals { rows: progress.rows, bytes: progress.bytes, sum: progress.sum };
        // With a rule undone: a call that has ended early names no sums.
        let is_named = sent != Totals::default() || !is_undone(Rule::CompleteIsSaid);
        if stored != sent && is_named {
            self.fail(at, session, source, FailureReason::DigestMismatch);
            return;
        }
        if let Err(reason) = self.end_call(at, id, guard, source, StreamState::Complete) {
            self.fail(at, session, source, reason);
            return;
        }
        self.once_durable(at, AfterSync::Recorded(session, source));
    }

    /// What `Received` and the report wait for.
    pub(super) fn once_durable(&mut self, at: usize, after: AfterSync) {
        if is_undone(Rule::ReceivedOnceDurable) {
            self.sync(at);
            self.after_sync(at, after);
        } else {
            self.wait_for_sync(at, after);
        }
    }

    /// For rules undone: what a copy holds is cleared.
    pub(super) fn clear(&mut self, at: usize, tablet: TabletId, copy: migrations::version::CopyId) {
        let rows = self.agents[at].disk.live.rows(tablet, copy);
        let held: Vec<Position> = rows.into_iter().flat_map(|rows| rows.keys().cloned()).collect();
        for position in held {
            self.agents[at].disk.write(Write::Remove { tablet, copy, position });
        }
    }

    fn end_call(
        &mut self,
        at: usize,
        id: TabletId,
        guard: Entered,
        source: NodeId,
        state: StreamState,
    ) -> Result<(), FailureReason> {
        if state != StreamState::Failed {
            self.check_work(at, id, guard)?;
        }
        let number = self.pull_mut(at, guard.session, source).map(|pull| pull.number);
        let number = number.ok_or(FailureReason::StreamProtocol)?;
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let copy = entry.and_then(|entry| entry.copies.get(&guard.copy));
        let stream = copy.and_then(|copy| copy.streams.get(&source)).cloned();
        let is_current = calls::is_current(stream.as_ref(), guard.session, number);
        let stream = stream.filter(|_| is_current).ok_or(FailureReason::StreamProtocol)?;
        self.note(at, id, guard, source, StreamOnRecord { state, ..stream });
        Ok(())
    }

    /// The outcome is durable.
    pub(crate) fn recorded(&mut self, at: usize, session: SessionId, source: NodeId) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        if pull.outcome.is_some() {
            return;
        }
        let progress = pull.progress.clone();
        self.pull_event(at, session, source, ReceiverEvent::Recorded);
        self.complete(at, session, source, &progress);
    }

    fn complete(&mut self, at: usize, session: SessionId, source: NodeId, progress: &Progress) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        let report = StreamReport {
            session,
            pair: pull.pair,
            source_incarnation: pull.source_incarnation,
            receiver_incarnation: pull.receiver_incarnation,
            rows: progress.rows,
            bytes: progress.bytes,
            sent: progress.sum,
            stored: progress.sum,
        };
        self.over(at, session, source, Ok(report));
    }

    pub(super) fn fail(
        &mut self,
        at: usize,
        session: SessionId,
        source: NodeId,
        reason: FailureReason,
    ) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        if pull.outcome.is_some() {
            return;
        }
        let (id, guard) = (pull.record.tablet, pull.guard);
        if let Some(guard) = guard {
            let _ = self.end_call(at, id, guard, source, StreamState::Failed);
        }
        self.over(at, session, source, Err(reason));
    }

    /// Ends once, with a report; gives the guard back.
    fn over(
        &mut self,
        at: usize,
        session: SessionId,
        source: NodeId,
        outcome: Result<StreamReport, FailureReason>,
    ) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        pull.outcome = Some(outcome);
        pull.pending.clear();
        let (pair, id) = (pull.pair, pull.record.tablet);
        let (guard, conn) = (pull.guard.take(), pull.conn);
        if let Some(guard) = guard {
            self.leave(at, id, guard);
        }
        if let (Some(conn), Err(_)) = (conn, outcome) {
            self.close(conn, Place::Agent(at));
        }
        self.tell_outcome(at, pair, id, session, outcome);
    }

    fn tell_outcome(
        &mut self,
        at: usize,
        pair: StreamPair,
        tablet: TabletId,
        session: SessionId,
        outcome: Result<StreamReport, FailureReason>,
    ) {
        let event = match outcome {
            Ok(report) => Said::Streamed { tablet, report },
            Err(reason) => Said::StreamFailed { tablet, session, pair, reason },
        };
        self.report_event(at, event);
    }

    /// Guards may have been fired: who holds one notices soon.
    pub(crate) fn revoke_soon(&mut self, at: usize) {
        let delay = self.random.disk.between(10, 3_000) * MICRO;
        self.agent_after(at, delay, Work::Revoke);
    }

    pub(crate) fn revoke(&mut self, at: usize) {
        let Some(process) = self.process(at) else { return };
        let mut revoked = Vec::new();
        for ((session, source), pull) in &process.pulls {
            let tablet = process.tablets.get(&pull.record.tablet);
            let is_revoked = |guard| tablet.is_none_or(|tablet| !tablet.is_live(guard));
            if pull.guard.is_some_and(is_revoked) {
                revoked.push((*session, *source));
            }
        }
        for (session, source) in revoked {
            self.fail(at, session, source, FailureReason::SessionClosing);
        }
        self.revoke_serves(at);
    }

    /// Before an admission all calls end.
    pub(crate) fn stop_pulls(&mut self, at: usize) {
        let Some(process) = self.process(at) else { return };
        let running = process.pulls.iter().filter(|(_, pull)| pull.is_running());
        let running: Vec<_> = running.map(|(key, _)| *key).collect();
        for (session, source) in running {
            self.fail(at, session, source, FailureReason::NodeFenced);
        }
    }
}
