//! Requests of routers, and purges.

use super::disk::Write;
use super::tablets::VersionGate;
use super::work::{AfterSync, Work};
use crate::message::{Answer, Message, Place, Request};
use crate::time::MILLI;
use crate::world::World;
use migrations::agent::admit::{self, VersionRefused};
use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{NodeId, TabletId};
use migrations::router::{Access, Refused};
use migrations::row::{WriteStep, admit_write};
use migrations::rule::{Rule, is_undone};
use migrations::version::TopologyVersion;
use std::rc::Rc;

/// A write with its guard: the guard travels with it until it is durable.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) request: Rc<Request>,
    gate: u64,
    /// As it was when it was entered.
    held: VersionGate,
}

impl World {
    pub(crate) fn request(&mut self, at: usize, request: &Rc<Request>) {
        let (wall, bound) = (self.agent_wall(at), u64::from(self.settings.skew_bound_ms));
        let Some(process) = self.process_mut(at) else { return };
        let written = request.write.as_ref().map(|row| row.timestamp.time);
        for time in [Some(request.clock), written].into_iter().flatten() {
            if let Err(ahead) = process.hybrid.observe(time, wall, bound) {
                self.mark("a timestamp is ahead");
                self.refuse_request(at, request, Refused::TimestampAhead(ahead.clock));
                return;
            }
        }
        self.admit_request(at, request, true);
    }

    fn admit_request(&mut self, at: usize, request: &Rc<Request>, may_wait: bool) {
        let access = if request.write.is_some() { Access::Write } else { Access::Read };
        let own = self.agents[at].own();
        let now = self.queue.now;
        if is_undone(Rule::RowsNeedNoLease) && !self.is_lease_held(at) {
            self.refuse_request(at, request, Refused::Unavailable);
            return;
        }
        let Some(process) = self.process_mut(at) else { return };
        let unlisted = VersionRefused::Ahead;
        let entered = match process.tablets.get_mut(&request.tablet) {
            Some(tablet) => tablet.enter_version(request.version),
            None => Err(unlisted),
        };
        let gate = match entered {
            Ok(gate) => gate,
            Err(VersionRefused::Ahead) if may_wait => {
                process.ahead.push((now + 250 * MILLI, Rc::clone(request)));
                self.mark("an agent catches up with a router");
                self.report(at, Message::CatchUp { tablet: request.tablet });
                self.agent_after(at, 251 * MILLI, Work::AheadDue);
                return;
            }
            Err(refused) => {
                self.refuse_version(at, request, refused);
                return;
            }
        };
        let tablet = process.tablets.get_mut(&request.tablet);
        let Some(tablet) = tablet else { return };
        let addressed = tablet.gate(gate).cloned().zip(own);
        let its =
            |(held, own): &(VersionGate, NodeId)| admit::is_addressed(&held.record, *own, access);
        let Some((held, _)) = addressed.filter(its) else {
            tablet.leave_version(gate);
            self.refuse_version(at, request, VersionRefused::NotReplica);
            return;
        };
        if access == Access::Write && is_undone(Rule::GuardUntilStored) {
            tablet.leave_version(gate);
        }
        let request = Rc::clone(request);
        let delay = self.guarded_delay();
        let work = match access {
            Access::Read => Work::Read { request, gate },
            Access::Write => Work::Write(Writing { request, gate, held }),
        };
        self.agent_after(at, delay, work);
    }

    /// Requests that wait for a version: it has come, or they have waited long enough.
    pub(crate) fn look_at_ahead(&mut self, at: usize) {
        let now = self.queue.now;
        let Some(process) = self.process_mut(at) else { return };
        let waiting = std::mem::take(&mut process.ahead);
        for (until, request) in waiting {
            let Some(process) = self.process_mut(at) else { return };
            let floor = process.tablets.get(&request.tablet).map(|tablet| tablet.floor);
            if floor.is_some_and(|floor| floor >= request.version) || now >= until {
                self.admit_request(at, &request, false);
            } else {
                process.ahead.push((until, request));
            }
        }
    }

    fn refuse_version(&mut self, at: usize, request: &Request, why: VersionRefused) {
        let tablet = self.process(at).and_then(|process| process.tablets.get(&request.tablet));
        let record = tablet.and_then(|tablet| tablet.record.clone());
        let is_newer = record.as_ref().is_some_and(|record| record.version > request.version);
        let why = match why {
            VersionRefused::Stale => Refused::StaleVersion,
            VersionRefused::Ahead => Refused::VersionAhead,
            VersionRefused::NotReplica if is_newer => Refused::StaleVersion,
            _ => Refused::Unavailable,
        };
        self.answer(at, request, Answer::Refused(why, record));
    }

    fn refuse_request(&mut self, at: usize, request: &Request, why: Refused) {
        self.answer(at, request, Answer::Refused(why, None));
    }

    fn answer(&mut self, at: usize, request: &Request, answer: Answer) {
        let Some(node) = self.agents[at].own() else { return };
        let clock = self.agent_reading(at);
        let attempt = request.attempt;
        let message = Message::Answer { attempt, node, clock, answer };
        self.send(Place::Agent(at), Place::Router(request.router), None, message);
    }

    pub(crate) fn read(&mut self, at: usize, request: &Request, gate: u64) {
        let Some(tablet) = self.tablet_mut(at, request.tablet) else { return };
        let Some(copy) = tablet.gate(gate).map(|gate| gate.copy) else { return };
        tablet.leave_version(gate);
        let rows = self.agents[at].disk.live.rows(request.tablet, copy);
        let answer = match rows {
            Some(rows) => Answer::Row(rows.get(&request.position).cloned()),
            None => Answer::Refused(Refused::Unavailable, None),
        };
        self.answer(at, request, answer);
    }

    /// The store's part of a put or delete.
    pub(crate) fn write(&mut self, at: usize, writing: Writing) {
        let Writing { request, held, .. } = &writing;
        let Some(row) = request.write.clone() else { return };
        let id = request.tablet;
        let Some(tablet) = self.tablet_mut(at, id) else { return };
        let is_refused = Floor::at(tablet.refuse_below).admit(held.record.version).is_err();
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let found = entry.and_then(|entry| Some((entry, entry.copies.get(&held.copy)?)));
        let refused = match found {
            _ if is_refused => Err(Refused::StaleVersion),
            None => Err(Refused::Unavailable),
            Some((entry, copy)) => {
                let now = entry.record.as_deref();
                let promise = admit::write_promise(entry.promise, now, &held.record);
                let step = admit_write(copy.rows.get(&request.position), promise, &row);
                step.map_err(|behind| Refused::TimestampBehind(behind.highest))
            }
        };
        match refused {
            Ok(step) => {
                if step == WriteStep::Store {
                    let (copy, position) = (held.copy, request.position.clone());
                    self.agents[at].disk.write(Write::Row { tablet: id, copy, position, row });
                    self.check_written(at, id, held);
                }
                self.wait_for_sync(at, AfterSync::Written(writing));
            }
            Err(why) => {
                if let Refused::TimestampBehind(_) = why {
                    self.mark("a timestamp is behind");
                }
                self.refuse_request(at, request, why);
                self.leave_write(at, &writing);
            }
        }
    }

    /// It is durable.
    pub(crate) fn written(&mut self, at: usize, writing: &Writing) {
        self.leave_write(at, writing);
        self.answer(at, &writing.request, Answer::Written);
    }

    /// The guard of a write is given back, unless it was before the write.
    fn leave_write(&mut self, at: usize, writing: &Writing) {
        let tablet = self.tablet_mut(at, writing.request.tablet);
        if let Some(tablet) = tablet.filter(|_| !is_undone(Rule::GuardUntilStored)) {
            tablet.leave_version(writing.gate);
        }
    }

    /// Removes tombstones at or below T, where the tablet is at rest.
    pub(crate) fn purge(
        &mut self,
        at: usize,
        id: TabletId,
        version: TopologyVersion,
        promise: HybridTime,
    ) {
        let is_held = self.is_lease_held(at);
        let Some(tablet) = self.tablet_mut(at, id) else { return };
        let Ok(gate) = tablet.enter_version(version) else { return };
        let Some(held) = tablet.gate(gate).cloned() else { return };
        let is_current = !held.gate.is_closed();
        tablet.leave_version(gate);
        let entry = self.agents[at].disk.live.tablets.get(&id);
        let now = entry.and_then(|entry| entry.record.clone());
        let may = admit::admit_purge(now.as_deref(), version, is_current, promise, is_held);
        let Some(copy) = entry.and_then(|entry| entry.copies.get(&held.copy)) else { return };
        if may.is_err() {
            return;
        }
        let purged = copy.rows.iter().filter(|(_, row)| row.is_purgeable(promise));
        let purged: Vec<_> =
            purged.map(|(position, row)| (position.clone(), row.clone())).collect();
        if !purged.is_empty() {
            self.mark("tombstones are purged");
        }
        for (position, row) in purged {
            self.oracles.purged(&position, id, row);
            self.say(|world| {
                let key = String::from_utf8_lossy(&position).into_owned();
                format!("{}: purges {key} of t{id}", world.agents[at].name)
            });
            self.agents[at].disk.write(Write::Remove { tablet: id, copy: held.copy, position });
        }
        self.sync(at);
    }

    /// As people call it.
    pub(crate) fn name_of(&self, node: NodeId) -> String {
        self.agent_of(node).map_or_else(|| node.to_string(), |at| self.agents[at].name.clone())
    }
}
