//! The attachment of an agent to the coordinator that leads: greeting, admission, orders, lease.
//! One at a time, the newest.

use super::full_state::FullState;
use super::jobs::Task;
use super::work::Work;
use crate::event::Event;
use crate::message::{Conn, Message, Order, Place, Record};
use crate::plan::Fault;
use crate::time::{MICRO, MILLI};
use crate::world::World;
use migrations::command::Admit;
use migrations::driver::Event as Said;
use migrations::id::{AdmissionToken, NodeId};
use migrations::lease::Instant;
use migrations::node::{NodeLocation, ProcessProof};
use migrations::rule::{Rule, is_undone};
use migrations::state::FEATURE_LEVEL;
use migrations::version::{Incarnation, TopologyVersion};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) conn: Conn,
    pub(crate) coordinator: usize,
    /// Heard and not worked off.
    pub(crate) full: Option<FullState>,
    /// Orders are obeyed.
    pub(crate) is_ready: bool,
    /// The welcome has come.
    is_welcome: bool,
    silent_since: u64,
}

impl World {
    pub(crate) fn attach(&mut self, at: usize) {
        let coordinators = self.coordinators.len();
        let Some(process) = self.process_mut(at) else { return };
        if process.attachment.is_some() {
            return;
        }
        process.next_coordinator = (process.next_coordinator + 1) % coordinators;
        let coordinator = process.next_coordinator;
        let admit = self.greeting(at);
        let is_living = self.process(at).is_some_and(|process| process.admitted.is_some());
        let (from, to) = (Place::Agent(at), Place::Coordinator(coordinator));
        let conn = self.connect(from, to, true);
        let now = self.queue.now;
        if let Some(process) = self.process_mut(at) {
            process.attachment = Some(Attachment {
                conn,
                coordinator,
                full: None,
                is_ready: false,
                is_welcome: false,
                silent_since: now,
            });
        }
        self.send(from, to, Some(conn), Message::Hello { is_living, admit: Rc::new(admit) });
        self.agent_after(at, World::GREETING_DEADLINE / 4, Work::GreetingDue(conn));
    }

    /// Says who is there. A process that was not admitted draws a token first, durably.
    fn greeting(&mut self, at: usize) -> Admit {
        let drawn = AdmissionToken::from_uuid(self.random.ids.uuid());
        let agent = &mut self.agents[at];
        let is_admitted = agent.running.as_ref().is_some_and(|p| p.admitted.is_some());
        let token = match (agent.disk.tokens.first().copied(), is_admitted) {
            (Some(token), true) => token,
            _ => {
                let token = drawn.expect("not nil");
                agent.disk.tokens.push(token);
                token
            }
        };
        if let Some(process) = &mut agent.running {
            process.asking = Some(token);
        }
        self.admit_of(at, token)
    }

    pub(crate) fn admit_of(&self, at: usize, token: AdmissionToken) -> Admit {
        let agent = &self.agents[at];
        let lost = agent.running.as_ref().map(super::Process::lost).unwrap_or_default();
        Admit {
            name: agent.name.clone(),
            directory: agent.disk.directory,
            known_incarnation: agent.disk.node.map(|(_, incarnation)| incarnation),
            held_tokens: agent.disk.tokens.clone(),
            token,
            process: ProcessProof {
                boot: agent.boot.to_string(),
                lock_device: 1,
                lock_inode: at as u64,
            },
            location: NodeLocation {
                data_address: agent.name.clone(),
                stream_address: agent.name.clone(),
                rack: String::new(),
            },
            feature_level: FEATURE_LEVEL,
            fresh: BTreeMap::new(),
            lost,
            highest_floor: Some(agent.disk.live.highest_floor()),
        }
    }

    pub(crate) fn greeting_due(&mut self, at: usize, conn: Conn) {
        let its = |a: &Attachment| a.conn == conn && !a.is_welcome;
        let attachment = self.process(at).and_then(|process| process.attachment.as_ref());
        if attachment.is_some_and(its) {
            self.end_attachment(at);
        }
    }

    /// Whatever ends it, the next one begins with a full state.
    pub(crate) fn end_attachment(&mut self, at: usize) {
        let Some(process) = self.process_mut(at) else { return };
        let Some(attachment) = process.attachment.take() else { return };
        // What was begun durably stays, and is ordered again.
        process.jobs.clear();
        process.tablets.values_mut().for_each(|tablet| tablet.locked_by = None);
        self.close(attachment.conn, Place::Agent(at));
        self.say(|world| format!("{}: its attachment ends", world.agents[at].name));
        let backoff = self.random.network.between(20, 200) * MILLI;
        self.agent_after(at, backoff, Work::Attach);
    }

    /// From here on this process is a new one: admitted only after all has drained.
    fn fenced(&mut self, at: usize) {
        if let Some(process) = self.process_mut(at) {
            process.admitted = None;
        }
        self.end_attachment(at);
    }

    /// A message of the coordinator, on the attachment.
    pub(crate) fn attached(&mut self, at: usize, conn: Conn, message: Message) {
        let Some(process) = self.process_mut(at) else { return };
        let is_admitted = process.admitted.is_some();
        let Some(attachment) = process.attachment.as_ref() else { return };
        if attachment.conn != conn {
            return;
        }
        let (is_ready, is_welcome) = (attachment.is_ready, attachment.is_welcome);
        match message {
            Message::CloseAll if is_admitted => self.fenced(at),
            Message::CloseAll if !is_welcome => {
                process.is_given_up = true;
                self.stop_pulls(at);
                self.begin_job(at, conn, Task::CloseAll);
            }
            Message::Welcome { node, incarnation, version, records } if !is_welcome => {
                self.welcomed(at, (node, incarnation), version, records.to_vec());
            }
            Message::Order(order) if is_ready => self.obey(at, conn, order),
            Message::Ended | Message::Broken => self.end_attachment(at),
            _ => {}
        }
    }

    fn welcomed(
        &mut self,
        at: usize,
        admitted: (NodeId, Incarnation),
        version: TopologyVersion,
        records: Vec<Record>,
    ) {
        let now = self.queue.now;
        let agent = &mut self.agents[at];
        let Some(process) = &mut agent.running else { return };
        if process.admitted != Some(admitted) {
            let Some(token) = process.asking else { return };
            agent.disk.node = Some(admitted);
            agent.disk.tokens = vec![token];
            process.admitted = Some(admitted);
            process.is_given_up = false;
            process.lease = Default::default();
            if is_undone(Rule::AdmissionKeepsGiven) {
                self.empty_pending(at, admitted.0, &records);
            }
        }
        let Some(process) = self.process_mut(at) else { return };
        let Some(attachment) = &mut process.attachment else { return };
        attachment.is_welcome = true;
        attachment.silent_since = now;
        attachment.full = Some(FullState::new(version, records));
        let conn = attachment.conn;
        self.check_welcomed(at, admitted);
        self.report_event(at, Said::HasFullState { node: admitted.0 });
        self.begin_full_state(at, conn);
        self.renew(at, conn);
    }

    /// With the rule undone that an admission drops nothing that the full state gives: the copies
    /// of pending replicas are made anew.
    fn empty_pending(&mut self, at: usize, own: NodeId, records: &[Record]) {
        for record in records {
            if let Some(pending) = record.pending().filter(|pending| pending.node == own) {
                self.clear(at, record.tablet, pending.copy);
            }
        }
    }

    fn obey(&mut self, at: usize, conn: Conn, order: Order) {
        match order {
            Order::Barrier(record) => self.begin_job(at, conn, Task::Barrier { record }),
            Order::Pull { record, pair, source } => {
                self.begin_job(at, conn, Task::Pull { record, pair, source });
            }
            Order::Drop { record, copy } => {
                self.begin_job(at, conn, Task::Drop { record, copy, is_ordered: true });
            }
            Order::TakeOn(record) => self.begin_job(at, conn, Task::TakeOn { record }),
            Order::Confirm { node, ticket } => {
                self.report_event(at, Said::Received { node, ticket });
            }
            Order::Purge { tablet, version, promise } => {
                self.purge(at, tablet, version, promise);
            }
        }
    }

    /// Says something to the coordinator that it is attached to; nothing if there is none.
    pub(crate) fn report(&mut self, at: usize, message: Message) {
        let attachment = self.process(at).and_then(|process| process.attachment.as_ref());
        let Some(attachment) = attachment.filter(|a| a.is_welcome) else { return };
        let (conn, to) = (attachment.conn, Place::Coordinator(attachment.coordinator));
        self.send(Place::Agent(at), to, Some(conn), message);
    }

    pub(crate) fn report_event(&mut self, at: usize, event: Said) {
        // What was just said has to be true after a crash: the worst moment for one.
        let likely = if matches!(event, Said::Streamed { .. }) { 20 } else { 3 };
        if self.has(Fault::CrashAgent) && self.random.faults.chance(likely) {
            self.mark("a process crashes just after its word");
            let delay = self.random.faults.between(0, 1_500) * MICRO;
            self.queue.after(delay, Event::CrashAgent(at));
        }
        self.report(at, Message::Said(Rc::new(event)));
    }

    pub(crate) fn renew(&mut self, at: usize, conn: Conn) {
        let (now, length) = (self.queue.now, self.lease_length());
        let sent = self.agents[at].clock.instant(now);
        let Some(process) = self.process(at) else { return };
        let Some(attachment) = process.attachment.as_ref().filter(|a| a.conn == conn) else {
            return;
        };
        let Some((node, incarnation)) = process.admitted else { return };
        let to = Place::Coordinator(attachment.coordinator);
        if now - attachment.silent_since > length / 2 {
            self.end_attachment(at);
            return;
        }
        // On its own way, so that it never waits behind orders.
        self.send(Place::Agent(at), to, None, Message::Renew { node, incarnation, sent });
        self.agent_after(at, length / 4, Work::Renew(conn));
    }

    pub(crate) fn renewed(&mut self, at: usize, incarnation: Incarnation, sent: Instant) {
        let (now, terms) = (self.queue.now, self.settings.lease);
        let (heard, is_late) = (self.local(at), is_undone(Rule::LeaseFromSending));
        let Some(process) = self.process_mut(at) else { return };
        if process.admitted.is_none_or(|(_, own)| own != incarnation) || process.is_given_up {
            return;
        }
        process.lease.renewed(terms, if is_late { heard } else { sent });
        if let Some(attachment) = &mut process.attachment {
            attachment.silent_since = now;
        }
        self.inv_13_held(at);
        self.look_at_lease_now(at);
    }

    pub(crate) fn renewal_refused(&mut self, at: usize, incarnation: Incarnation) {
        let Some(process) = self.process_mut(at) else { return };
        if process.admitted.is_none_or(|(_, own)| own != incarnation) {
            return;
        }
        process.is_given_up = true;
        self.mark("an agent hears that it is fenced");
        self.fire_all(at);
        self.fenced(at);
    }

    pub(crate) fn look_at_lease(&mut self, at: usize) {
        self.look_at_lease_now(at);
        self.agent_after(at, self.expiry_interval(), Work::Expiry);
    }

    fn look_at_lease_now(&mut self, at: usize) {
        let is_held = self.is_lease_held(at);
        let Some(process) = self.process_mut(at) else { return };
        let was_held = std::mem::replace(&mut process.was_held, is_held);
        if was_held && !is_held {
            self.say(|world| format!("{}: its lease has run out", world.agents[at].name));
            self.mark("a lease runs out");
            self.fire_all(at);
        }
    }

    /// Fires all live guards, without closing a session.
    fn fire_all(&mut self, at: usize) {
        let Some(process) = self.process_mut(at) else { return };
        for tablet in process.tablets.values_mut() {
            tablet.sessions.iter_mut().for_each(|session| session.epoch += 1);
        }
        self.revoke_soon(at);
    }
}
