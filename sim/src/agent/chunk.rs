//! A chunk's way into the store: a guard asked for anew for each, so that one that waits holds none,
//! and one that is late is refused.

use super::disk::Write;
use super::pull::Rows;
use super::tablets::Entered;
use super::work::{AfterSync, Work};
use crate::message::Message;
use crate::plan::Fault;
use crate::time::{MICRO, MILLI};
use crate::world::World;
use migrations::agent::calls::{self, Progress, StreamOnRecord};
use migrations::driver::Event as Said;
use migrations::evidence::FailureReason;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::position::Position;
use migrations::pull::ReceiverState;
use migrations::row::{Merged, RowVersion, merge};
use migrations::rule::{Rule, is_undone};
use std::rc::Rc;

/// How often the leader is told that a stream goes on.
const PROGRESS_INTERVAL: u64 = 250 * MILLI;

/// A chunk on its way into the store, whoever still waits for it.
#[derive(Debug)]
pub(crate) struct InChunk {
    pub(crate) tablet: TabletId,
    session: SessionId,
    source: NodeId,
    call: u64,
    before: Progress,
    rows: Rows,
    bytes: u64,
    guard: Option<Entered>,
}

impl World {
    /// Begins the next write, if none runs; or what comes after the last one.
    pub(super) fn write_on(&mut self, at: usize, session: SessionId, source: NodeId) {
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        let is_started = pull.machine.as_ref().is_some_and(|m| m.state() != ReceiverState::Asked);
        if pull.is_writing || !is_started || pull.outcome.is_some() {
            return;
        }
        let Some((rows, bytes)) = pull.pending.pop_front() else {
            if pull.sent.is_some() {
                pull.is_writing = true;
                self.once_durable(at, AfterSync::Stored(session, source));
            }
            return;
        };
        pull.is_writing = true;
        let (tablet, call, before) = (pull.record.tablet, pull.number, pull.progress.clone());
        let chunk = InChunk { tablet, session, source, call, before, rows, bytes, guard: None };
        let is_held = self.has(Fault::HoldChunk) && self.random.faults.chance(60);
        let delay = match is_held {
            true => self.random.faults.between(200, 12_000) * MILLI,
            false => self.random.disk.between(10, 300) * MICRO,
        };
        if is_held {
            self.mark("a chunk is held between its receipt and its guard");
            self.say(|world| format!("{}: a chunk of t{tablet} is held", world.agents[at].name));
            if self.random.faults.chance(500) {
                // Its call is cut; the chunk stays where it is.
                self.fail(at, session, source, FailureReason::PeerClosed);
            }
        }
        self.agent_after(at, delay, Work::Enter(chunk));
    }

    /// A guard is asked for anew for each chunk: one that waits holds none.
    pub(crate) fn enter_chunk(&mut self, at: usize, chunk: InChunk) {
        match self.enter(at, chunk.tablet, chunk.session) {
            Ok(guard) => {
                let delay = self.guarded_delay();
                self.agent_after(at, delay, Work::Ingest(InChunk { guard: Some(guard), ..chunk }));
            }
            // What was admitted when it arrived.
            Err(_) if is_undone(Rule::CheckedWhereItActs) => self.ingest_unchecked(at, &chunk),
            Err(reason) => self.refused_chunk(at, &chunk, reason),
        }
    }

    /// With the rule undone that work is admitted where it acts.
    fn ingest_unchecked(&mut self, at: usize, chunk: &InChunk) {
        let id = chunk.tablet;
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let Some(copy) = entry.and_then(|entry| entry.given) else { return };
        let held = self.agents[at].disk.live.rows(id, copy).cloned().unwrap_or_default();
        self.check_ingested(at, id, chunk.session, &chunk.rows);
        for (position, row) in chunk.rows.iter() {
            if merge(held.get(position), row) == Merged::Stored {
                let (position, row) = (position.clone(), row.clone());
                self.agents[at].disk.write(Write::Row { tablet: id, copy, position, row });
            }
        }
        self.sync(at);
    }

    fn refused_chunk(&mut self, at: usize, chunk: &InChunk, reason: FailureReason) {
        self.mark("a late chunk is refused");
        self.say(|world| {
            let name = &world.agents[at].name;
            format!("{name}: a chunk of t{} is refused, {reason}", chunk.tablet)
        });
        self.fail(at, chunk.session, chunk.source, reason);
    }

    /// A row that the store does not take, though it was sent.
    fn left_out(&mut self, rows: &Rows) -> Option<Position> {
        if !self.has(Fault::LeaveRowOut) || !self.random.disk.chance(20) {
            return None;
        }
        self.mark("a store leaves a row out");
        rows.first().map(|(position, _)| position.clone())
    }

    pub(crate) fn ingest(&mut self, at: usize, chunk: InChunk) {
        let Some(guard) = chunk.guard else { return };
        let id = chunk.tablet;
        let left_out = self.left_out(&chunk.rows);
        let admitted = self.check_work(at, id, guard);
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let copy = entry.and_then(|entry| entry.copies.get(&guard.copy));
        let stream = copy.and_then(|copy| copy.streams.get(&chunk.source));
        let is_current = calls::is_current(stream, chunk.session, chunk.call);
        let (Ok(()), Some(copy), Some(stream), true) = (admitted, copy, stream, is_current) else {
            self.leave(at, id, guard);
            let reason = admitted.err().unwrap_or(FailureReason::StreamProtocol);
            self.refused_chunk(at, &chunk, reason);
            return;
        };
        let is_newer = |(position, row): &&(Position, RowVersion)| {
            merge(copy.rows.get(position), row) == Merged::Stored
        };
        let taken = chunk.rows.iter().filter(|(position, _)| Some(position) != left_out.as_ref());
        let rows: Vec<_> = taken.clone().filter(is_newer).cloned().collect();
        let mut progress = chunk.before.clone();
        match is_undone(Rule::SumOfWhatIsStored) {
            false => progress.sum.add_all(taken.map(|(p, row)| (p.as_slice(), row))),
            true => progress.sum.add_all(chunk.rows.iter().map(|(p, row)| (p.as_slice(), row))),
        }
        progress.rows += chunk.rows.len() as u64;
        progress.bytes += chunk.bytes;
        progress.after = chunk.rows.last().map(|(position, _)| position.clone());
        let stream = StreamOnRecord { progress: progress.clone(), ..stream.clone() };
        let (copy, source) = (guard.copy, chunk.source);
        self.check_ingested(at, id, chunk.session, &rows);
        self.agents[at].disk.write(Write::Rows { tablet: id, copy, source, rows, stream });
        self.leave(at, id, guard);
        if let Some(pull) = self.pull_mut(at, chunk.session, source)
            && pull.outcome.is_none()
        {
            pull.progress = progress;
            pull.is_writing = false;
            self.write_on(at, chunk.session, source);
        }
    }

    /// Says that a stream goes on, now and then. Nothing rests on it.
    pub(super) fn goes_on(&mut self, at: usize, session: SessionId, source: NodeId) {
        let now = self.local(at);
        let Some(pull) = self.pull_mut(at, session, source) else { return };
        if now.0 < pull.told.0 + PROGRESS_INTERVAL {
            return;
        }
        pull.told = now;
        let (tablet, pair) = (pull.record.tablet, pull.pair);
        self.report(at, Message::Said(Rc::new(Said::StreamGoesOn { tablet, pair })));
    }
}
