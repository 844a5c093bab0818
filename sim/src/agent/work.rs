//! What an agent's process does when its time has come.

use super::chunk::InChunk;
use super::data::Writing;
use crate::event::Event;
use crate::message::{Conn, Request};
use crate::plan::Fault;
use crate::time::{MICRO, MILLI, SECOND, Time};
use crate::world::World;
use migrations::id::{NodeId, SessionId};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) enum Work {
    /// Dials the next coordinator, unless it is attached.
    Attach,
    /// Nobody has answered a greeting for too long.
    GreetingDue(Conn),
    Renew(Conn),
    /// Looks whether the lease has run out.
    Expiry,
    /// A sync has ended, which covers all up to this.
    Synced(u64),
    /// A request has waited long enough for a newer version.
    AheadDue,
    Read {
        request: Rc<Request>,
        gate: u64,
    },
    Write(Writing),
    /// Looks at all jobs: what drains may have to be forced, what stood still goes on.
    JobsDue,
    // Streams.
    Revoke,
    Enter(InChunk),
    Ingest(InChunk),
    Feed(Conn),
    CallDue(SessionId, NodeId),
    ServeDue(Conn),
}

/// What goes on after a sync.
#[derive(Debug)]
pub(crate) enum AfterSync {
    Written(Writing),
    /// The call of a stream is on record.
    OnRecord(SessionId, NodeId),
    /// All rows of a stream are durable.
    Stored(SessionId, NodeId),
    /// Its outcome is.
    Recorded(SessionId, NodeId),
}

impl World {
    pub(crate) fn agent_after(&mut self, at: usize, delay: Time, work: Work) {
        let process = self.agents[at].process;
        self.queue.after(delay, Event::Agent { at, process, work });
    }

    /// Asks for a sync of all that is written; the place to wait for.
    pub(crate) fn sync(&mut self, at: usize) -> u64 {
        let up_to = self.agents[at].disk.written;
        let is_slow = self.has(Fault::SlowDisk) && self.random.disk.chance(30);
        let delay = match is_slow {
            true => self.random.disk.between(50, 2_500) * MILLI,
            false => self.random.disk.between(200, 4_000) * MICRO,
        };
        self.agent_after(at, delay, Work::Synced(up_to));
        up_to
    }

    pub(crate) fn agent_work(&mut self, at: usize, work: Work) {
        match work {
            Work::Attach => self.attach(at),
            Work::GreetingDue(conn) => self.greeting_due(at, conn),
            Work::Renew(conn) => self.renew(at, conn),
            Work::Expiry => self.look_at_lease(at),
            Work::Synced(up_to) => self.synced(at, up_to),
            Work::AheadDue => self.look_at_ahead(at),
            Work::Read { request, gate } => self.read(at, &request, gate),
            Work::Write(writing) => self.write(at, writing),
            Work::JobsDue => {}
            Work::Revoke => self.revoke(at),
            Work::Enter(chunk) => self.enter_chunk(at, chunk),
            Work::Ingest(chunk) => self.ingest(at, chunk),
            Work::Feed(conn) => self.feed(at, conn),
            Work::CallDue(session, source) => self.call_due(at, session, source),
            Work::ServeDue(conn) => self.serve_due(at, conn),
        }
        self.do_jobs(at);
    }

    fn synced(&mut self, at: usize, up_to: u64) {
        self.agents[at].disk.harden(up_to);
        let hardened = self.agents[at].disk.hardened;
        let Some(process) = self.process_mut(at) else { return };
        let waiting = std::mem::take(&mut process.waiting);
        let (due, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(place, _)| *place <= hardened);
        process.waiting = rest;
        for (_, after) in due {
            self.after_sync(at, after);
        }
    }

    pub(super) fn after_sync(&mut self, at: usize, after: AfterSync) {
        match after {
            AfterSync::Written(writing) => self.written(at, &writing),
            AfterSync::OnRecord(session, source) => self.call(at, session, source),
            AfterSync::Stored(session, source) => self.stored(at, session, source),
            AfterSync::Recorded(session, source) => self.recorded(at, session, source),
        }
    }

    pub(crate) fn wait_for_sync(&mut self, at: usize, after: AfterSync) {
        let place = self.sync(at);
        if let Some(process) = self.process_mut(at) {
            process.waiting.push((place, after));
        }
    }

    /// How long a piece of work takes inside of its guard.
    pub(crate) fn guarded_delay(&mut self) -> Time {
        if self.has(Fault::SlowWrite) && self.random.disk.chance(15) {
            return self.random.disk.between(100, 5_000) * MILLI;
        }
        self.random.disk.between(20, 400) * MICRO
    }

    pub(crate) fn expiry_interval(&self) -> Time {
        u64::from(self.settings.lease.length_ms) * MILLI / 20 + MILLI
    }

    pub(crate) fn lease_length(&self) -> Time {
        u64::from(self.settings.lease.length_ms) * MILLI
    }

    pub(crate) fn stall(&self) -> Time {
        u64::from(self.settings.stall_ms) * MILLI
    }

    pub(crate) const GREETING_DEADLINE: Time = 10 * SECOND;
}
