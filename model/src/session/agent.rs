//! What an agent does: records, guards, crashes, and the way to its admission.

use super::Session;
use super::rule::Rule;
use super::state::{Process, Renewal, State};

impl Session {
    /// Steps 1 to 3 of a barrier: the floor, then its sessions. Whatever version was ever ordered
    /// of this process may arrive now; a fenced process is ordered nothing new.
    pub(super) fn record(&self, s: &mut State, agent: usize, version: u8) -> bool {
        let a = s.agents[agent];
        let obeys = match a.process {
            Process::Attached => true,
            Process::Started => !self.holds(Rule::NothingBeforeAdmission),
            Process::Gone | Process::Draining | Process::Admitted => false,
        };
        let is_admitted = s.admitted[agent] == a.incarnation;
        let newest = if is_admitted { s.version } else { s.fenced_at[agent] };
        if !obeys || version > newest {
            return false;
        }
        if version < a.floor {
            if !self.holds(Rule::SessionsOfTheFloor) {
                open_only(s, agent, version);
            }
            return true;
        }
        s.agents[agent].floor = version;
        if self.holds(Rule::DurableFloor) {
            s.agents[agent].disk = version;
        }
        open_only(s, agent, version);
        true
    }

    /// Step 5, after the wait of step 4.
    pub(super) fn acknowledge(&self, s: &mut State, agent: usize) -> bool {
        let a = &mut s.agents[agent];
        let waits =
            self.holds(Rule::DrainBeforeAcknowledgement) && self.holds(Rule::GuardUntilWritten);
        if a.process != Process::Attached || a.floor == 0 || (waits && a.drains()) {
            return false;
        }
        a.acked = a.floor;
        a.acked_by = a.incarnation;
        true
    }

    /// A chunk of a stream arrives, and enters under its session.
    pub(super) fn chunk(&self, s: &mut State, agent: usize, session: u8) -> bool {
        let was_sent = s.streamed & (1 << session) != 0;
        let a = &mut s.agents[agent];
        let has_lease = a.lease > 0 || !self.bounds.clocks;
        if a.process != Process::Attached || !was_sent || !has_lease || a.open != session {
            return false;
        }
        a.held |= 1 << session;
        true
    }

    /// The chunk is written, its guard is given back, and its stream reported.
    pub(super) fn write(&self, s: &mut State, agent: usize, session: u8) -> bool {
        if s.agents[agent].held & (1 << session) == 0 {
            return false;
        }
        let is_older = s.opened_by(session) < s.seen.completed;
        let is_named = s.named[usize::from(s.seen.completed)] == session;
        if s.is_admitted(agent) && is_older && !is_named {
            s.seen.wrote_after_barrier = true;
        }
        let a = &mut s.agents[agent];
        a.held &= !(1 << session);
        a.reported |= 1 << session;
        true
    }
}

/// Steps 2 and 3 for the sessions of a version.
fn open_only(s: &mut State, agent: usize, version: u8) {
    let named = s.named[usize::from(version)];
    let a = &mut s.agents[agent];
    if a.open != 0 && a.open != named {
        a.closed |= 1 << a.open;
    }
    if named != 0 && a.open != named && (a.closed & (1 << named) != 0 || version < a.floor) {
        s.seen.opened_again = true;
    }
    a.open = named;
}

/// The work under a guard ends without a write: its token has fired.
pub(super) fn give_up(s: &mut State, agent: usize, session: u8) -> bool {
    let is_held = s.agents[agent].held & (1 << session) != 0;
    s.agents[agent].held &= !(1 << session);
    is_held
}

/// What was written reaches the disk.
pub(super) fn sync(s: &mut State, agent: usize) -> bool {
    s.agents[agent].disk = s.agents[agent].floor;
    s.agents[agent].process != Process::Gone
}

/// The process ends: what it held, and did not make durable, is gone.
pub(super) fn crash(s: &mut State, agent: usize) -> bool {
    if s.agents[agent].process == Process::Gone {
        return false;
    }
    s.crashes += 1;
    close(s, agent);
    let a = &mut s.agents[agent];
    a.process = Process::Gone;
    a.floor = a.disk;
    a.held = 0;
    true
}

/// It is started again, with its disk and nothing else.
pub(super) fn start(s: &mut State, agent: usize) -> bool {
    let is_gone = s.agents[agent].process == Process::Gone;
    s.agents[agent].process = Process::Started;
    is_gone
}

/// A process that learns that it isn't the admitted one closes every session, and opens nothing.
pub(super) fn close_all(s: &mut State, agent: usize) -> bool {
    let is_fenced = s.admitted[agent] != s.agents[agent].incarnation;
    let must = match s.agents[agent].process {
        Process::Started => true,
        Process::Attached | Process::Admitted => is_fenced,
        Process::Gone | Process::Draining => false,
    };
    if must {
        close(s, agent);
        s.agents[agent].process = Process::Draining;
    }
    must
}

fn close(s: &mut State, agent: usize) {
    let a = &mut s.agents[agent];
    if a.open != 0 {
        a.closed |= 1 << a.open;
    }
    a.open = 0;
    a.lease = 0;
    a.renewal = Renewal::None;
}

/// The full state, read after the admission: the tablet's record as of now.
pub(super) fn full_state(s: &mut State, agent: usize) -> bool {
    let a = &mut s.agents[agent];
    if a.process != Process::Admitted || s.admitted[agent] != a.incarnation {
        return false;
    }
    a.process = Process::Attached;
    a.floor = s.version;
    a.disk = s.version;
    open_only(s, agent, s.version);
    true
}
