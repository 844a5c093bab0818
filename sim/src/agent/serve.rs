//! The source's end of streams.

use super::tablets::Entered;
use super::work::Work;
use crate::message::{Begin, Conn, Message, Place};
use crate::time::MICRO;
use crate::world::World;
use migrations::agent::calls::{Progress, check_serve};
use migrations::agent::step::CopyState;
use migrations::evidence::FailureReason;
use migrations::id::TabletId;
use migrations::position::Position;
use migrations::pull::{ReceiverSays, Source, SourceEvent, SourceState, SourceStep, Totals};
use migrations::row::RowSum;
use std::ops::Bound;
use std::rc::Rc;

/// A call that is served. It holds its guard until it ends.
#[derive(Debug)]
pub(crate) struct Serve {
    tablet: TabletId,
    guard: Entered,
    machine: Source,
    after: Option<Position>,
    totals: Totals,
    receiver: Place,
}

/// Rows of one chunk.
const CHUNK_ROWS: usize = 2;

impl World {
    /// A receiver calls.
    pub(crate) fn serve(&mut self, at: usize, from: Place, conn: Conn, begin: &Begin) {
        let mut machine = Source::new(self.bounds(), self.local(at));
        let heard = SourceEvent::Heard(ReceiverSays::Begin);
        if machine.on(heard, self.local(at)) != SourceStep::Check {
            return;
        }
        let guard = match self.admit_call(at, begin) {
            Ok(guard) => guard,
            Err(reason) => {
                self.mark("a source refuses a call");
                self.send(Place::Agent(at), from, Some(conn), Message::CallRefused(reason));
                return;
            }
        };
        let resumed = begin.resume.as_ref().filter(|p| self.agrees(at, begin, guard, p));
        let is_resumed = resumed.is_some();
        let progress = resumed.cloned().unwrap_or_default();
        let totals = Totals { rows: progress.rows, bytes: progress.bytes, sum: progress.sum };
        machine.on(SourceEvent::Checked, self.local(at));
        let tablet = begin.tablet;
        let serve = Serve { tablet, guard, machine, after: progress.after, totals, receiver: from };
        if let Some(process) = self.process_mut(at) {
            process.serves.insert(conn, serve);
        }
        self.send(Place::Agent(at), from, Some(conn), Message::Accepted { is_resumed });
        self.feed_soon(at, conn);
        self.agent_after(at, self.stall() / 4, Work::ServeDue(conn));
    }

    /// Enters under the session, and looks whether group0 lets this receiver have this copy.
    fn admit_call(&mut self, at: usize, begin: &Begin) -> Result<Entered, FailureReason> {
        let own = self.process(at).and_then(|process| process.admitted);
        if own != Some((begin.asked.pair.source, begin.source_incarnation)) {
            return Err(FailureReason::NodeFenced);
        }
        let guard = self.enter(at, begin.tablet, begin.asked.session)?;
        let checked = self.check_call(at, begin, guard);
        if checked.is_err() {
            self.leave(at, begin.tablet, guard);
        }
        checked.map(|()| guard)
    }

    fn check_call(
        &mut self,
        at: usize,
        begin: &Begin,
        guard: Entered,
    ) -> Result<(), FailureReason> {
        let tablet = self.tablet_mut(at, begin.tablet).ok_or(FailureReason::SessionUnknown)?;
        let record = tablet.record.as_ref().ok_or(FailureReason::SessionUnknown)?;
        check_serve(record, &begin.asked).map_err(|not| not.reason())?;
        match tablet.copy.0 {
            CopyState::Here(copy) if copy == guard.copy => Ok(()),
            CopyState::Lost(_) => Err(FailureReason::DataDamaged),
            CopyState::Here(_) | CopyState::None => Err(FailureReason::StreamProtocol),
        }
    }

    /// Going on is allowed only where both sums agree.
    fn agrees(&self, at: usize, begin: &Begin, guard: Entered, progress: &Progress) -> bool {
        let Some(after) = &progress.after else { return false };
        let Some(rows) = self.agents[at].disk.live.rows(begin.tablet, guard.copy) else {
            return false;
        };
        let (mut sum, mut count) = (RowSum::default(), 0);
        for (position, row) in rows.range::<Position, _>(..=after) {
            sum.add(position, row);
            count += 1;
        }
        guard.copy == begin.source_copy && sum == progress.sum && count == progress.rows
    }

    fn feed_soon(&mut self, at: usize, conn: Conn) {
        let delay = self.random.disk.between(30, 2_000) * MICRO;
        self.agent_after(at, delay, Work::Feed(conn));
    }

    /// Reads and sends the next rows.
    pub(crate) fn feed(&mut self, at: usize, conn: Conn) {
        let now = self.local(at);
        let Some(serve) = self.process(at).and_then(|process| process.serves.get(&conn)) else {
            return;
        };
        if !matches!(serve.machine.state(), SourceState::Streaming { .. }) {
            return;
        }
        let (id, guard, after) = (serve.tablet, serve.guard, serve.after.clone());
        if let Err(reason) = self.check_work(at, id, guard) {
            self.serve_event(at, conn, SourceEvent::Failed(reason));
            return;
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.agents[at].disk.live.rows(id, guard.copy);
        let rows = rows.into_iter().flat_map(|rows| rows.range((from.clone(), Bound::Unbounded)));
        let rows: Vec<_> =
            rows.take(CHUNK_ROWS).map(|(position, row)| (position.clone(), row.clone())).collect();
        let Some(serve) = self.process_mut(at).and_then(|p| p.serves.get_mut(&conn)) else {
            return;
        };
        let to = serve.receiver;
        let event = if rows.is_empty() { SourceEvent::ReadAll } else { SourceEvent::Read };
        let message = match serve.machine.on(event, now) {
            SourceStep::SendChunk { number } => {
                let bytes = rows.iter().map(|(position, _)| position.len() as u64 + 33).sum();
                serve.totals.sum.add_all(rows.iter().map(|(p, row)| (p.as_slice(), row)));
                serve.totals.rows += rows.len() as u64;
                serve.totals.bytes += bytes;
                serve.after = rows.last().map(|(position, _)| position.clone());
                Message::Chunk { number, rows: Rc::new(rows), bytes }
            }
            SourceStep::SendComplete => Message::Complete(serve.totals),
            _ => return,
        };
        self.send(Place::Agent(at), to, Some(conn), message);
        self.feed_soon(at, conn);
    }

    /// A message of the receiver, or the end of the connection.
    pub(crate) fn served(&mut self, at: usize, conn: Conn, message: &Message) {
        let event = match message {
            Message::Received => SourceEvent::Heard(ReceiverSays::Received),
            Message::Broken => SourceEvent::Lost,
            _ => return,
        };
        self.serve_event(at, conn, event);
    }

    pub(crate) fn serve_due(&mut self, at: usize, conn: Conn) {
        if self.process(at).is_some_and(|process| process.serves.contains_key(&conn)) {
            self.serve_event(at, conn, SourceEvent::Tick);
            self.agent_after(at, self.stall() / 8, Work::ServeDue(conn));
        }
    }

    fn serve_event(&mut self, at: usize, conn: Conn, event: SourceEvent) {
        let now = self.local(at);
        let Some(serve) = self.process_mut(at).and_then(|p| p.serves.get_mut(&conn)) else {
            return;
        };
        let (to, from) = (serve.receiver, Place::Agent(at));
        match serve.machine.on(event, now) {
            SourceStep::SendKeepAlive => self.send(from, to, Some(conn), Message::KeepAlive),
            SourceStep::Fail(reason) => {
                self.send(from, to, Some(conn), Message::CallRefused(reason));
                self.end_serve(at, conn);
            }
            SourceStep::Done | SourceStep::Ask => self.end_serve(at, conn),
            _ => {}
        }
    }

    fn end_serve(&mut self, at: usize, conn: Conn) {
        let Some(process) = self.process_mut(at) else { return };
        if let Some(serve) = process.serves.remove(&conn) {
            self.leave(at, serve.tablet, serve.guard);
            self.close(conn, Place::Agent(at));
        }
    }

    pub(crate) fn revoke_serves(&mut self, at: usize) {
        let Some(process) = self.process(at) else { return };
        let is_revoked = |serve: &Serve| {
            let tablet = process.tablets.get(&serve.tablet);
            tablet.is_none_or(|tablet| !tablet.is_live(serve.guard))
        };
        let revoked = process.serves.iter().filter(|(_, serve)| is_revoked(serve));
        let revoked: Vec<Conn> = revoked.map(|(conn, _)| *conn).collect();
        for conn in revoked {
            self.serve_event(at, conn, SourceEvent::Failed(FailureReason::SessionClosing));
        }
    }
}
