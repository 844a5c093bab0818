//! Attachments of agents: greeting, admission, full state; orders out, reports in.

use super::proposals::Then;
use crate::event::Confirmed;
use crate::message::{Conn, Message, Order, Place, Record};
use crate::world::World;
use migrations::command::{Admit, Applied, Command, Outcome, Rejected};
use migrations::driver::{Effect, Event as Heard};
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::rule::{Rule, is_undone};
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) agent: usize,
    stage: Greeting,
    tries: u32,
    admit: Rc<Admit>,
    /// With the rule undone that the full state is read after the admission.
    early: Option<(TopologyVersion, Vec<Record>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// Told to drain.
    Draining,
    /// Leadership is being confirmed.
    Confirming {
        is_living: bool,
    },
    Admitting,
    /// The full state is being worked off.
    Full {
        node: NodeId,
        incarnation: Incarnation,
    },
    Attached {
        node: NodeId,
        incarnation: Incarnation,
    },
}

/// How often an admission is proposed anew because transitions have moved on meanwhile.
const TRIES: u32 = 16;

/// A living, unfenced process that attaches again keeps its incarnation and costs no commit.
fn living(topology: &Topology, admit: &Admit, is_living: bool) -> Option<(NodeId, Incarnation)> {
    let (id, node) = topology.node_named(&admit.name)?;
    let known = admit.known_incarnation?;
    let is_marked = |(tablet, copy): &(TabletId, CopyId)| {
        let Some(record) = topology.record(*tablet) else { return true };
        let replica = record.replicas.on(id).or(record.next().on(id));
        replica.is_none_or(|replica| replica.copy != *copy || replica.lost)
    };
    let is_it = is_living
        && node.admitted() == Some(known)
        && node.directory == admit.directory
        && node.process == admit.process
        && node.location == admit.location
        && admit.lost.iter().all(is_marked);
    is_it.then_some((id, known))
}

/// What concerns a node, and the version that it is read at.
fn full_state(topology: &Topology, node: NodeId) -> (TopologyVersion, Vec<Record>) {
    (topology.version(), topology.records_of(node).into_iter().map(Rc::new).collect())
}

impl World {
    /// A message of an agent on its attachment.
    pub(crate) fn heard_of_agent(&mut self, at: usize, agent: usize, conn: Conn, said: Message) {
        let from = Place::Coordinator(at);
        let Some(leading) = &mut self.coordinators[at].leading else {
            // Not a leader: it goes elsewhere.
            if !matches!(said, Message::Broken) {
                self.send(from, Place::Agent(agent), Some(conn), Message::Ended);
                self.close(conn, from);
            }
            return;
        };
        if let Message::Hello { is_living, admit } = said {
            let topology = &self.coordinators[at].topology;
            if topology.state().cluster.is_none() {
                return;
            }
            let is_living = living(topology, &admit, is_living).is_some();
            let known = topology.node_named(&admit.name).map(|(id, _)| id);
            let early = known.filter(|_| is_undone(Rule::FullStateAfterAdmission));
            let early = early.map(|node| full_state(topology, node));
            let driver = self.coordinators[at].leading.as_ref().map(|leading| &leading.driver);
            let must_wait = known.zip(driver).is_some_and(|(node, driver)| !driver.may_admit(node));
            if !is_living && must_wait {
                self.mark("a node that was unfit waits before it is admitted");
                self.send(from, Place::Agent(agent), Some(conn), Message::Ended);
                self.close(conn, from);
                return;
            }
            let stage = match is_living {
                true => Greeting::Confirming { is_living },
                false => Greeting::Draining,
            };
            let attachment = Attachment { agent, stage, tries: 0, admit, early };
            if let Some(leading) = &mut self.coordinators[at].leading {
                leading.attachments.insert(conn, attachment);
            }
            match is_living {
                true => self.confirm(at, Confirmed::Attachment { conn }),
                false => self.send(from, Place::Agent(agent), Some(conn), Message::CloseAll),
            }
            return;
        }
        let Some(attachment) = leading.attachments.get_mut(&conn) else { return };
        match (attachment.stage, said) {
            (_, Message::Broken) => self.end(at, conn),
            (Greeting::Draining, Message::Drained) => {
                attachment.stage = Greeting::Confirming { is_living: false };
                self.confirm(at, Confirmed::Attachment { conn });
            }
            (Greeting::Full { node, incarnation }, Message::FullStateDone) => {
                attachment.stage = Greeting::Attached { node, incarnation };
                self.attach_node(at, node, conn);
            }
            (
                Greeting::Full { node, incarnation } | Greeting::Attached { node, incarnation },
                Message::Lost { tablet, copy },
            ) => {
                let copies = vec![(tablet, copy)];
                let command = Command::MarkLost { node, incarnation, copies };
                self.propose(at, command, Then::Nothing);
            }
            (Greeting::Attached { .. }, Message::CatchUp { tablet }) => {
                if let Some(record) = self.coordinators[at].topology.record(tablet) {
                    let order = Message::Order(Order::TakeOn(Rc::new(record)));
                    self.send(from, Place::Agent(agent), Some(conn), order);
                }
            }
            (Greeting::Attached { .. }, Message::Said(event)) => {
                self.lead(at, (*event).clone());
            }
            (Greeting::Full { .. }, Message::Said(event))
                if matches!(*event, Heard::HasFullState { .. }) =>
            {
                self.lead(at, (*event).clone());
            }
            _ => {}
        }
    }

    pub(super) fn greeting_confirmed(&mut self, at: usize, conn: Conn, is_confirmed: bool) {
        let coordinator = &mut self.coordinators[at];
        let Some(leading) = &mut coordinator.leading else { return };
        let Some(attachment) = leading.attachments.get_mut(&conn) else { return };
        let Greeting::Confirming { is_living } = attachment.stage else { return };
        if !is_confirmed {
            self.refuse_greeting(at, conn);
            return;
        }
        self.apply_up_to_date(at);
        if !is_living {
            self.propose_admission(at, conn);
            return;
        }
        let coordinator = &self.coordinators[at];
        let attachment = coordinator.leading.as_ref().and_then(|l| l.attachments.get(&conn));
        let Some(attachment) = attachment else { return };
        match living(&coordinator.topology, &attachment.admit, true) {
            Some((node, incarnation)) => self.welcome(at, conn, node, incarnation),
            // Fenced since it was asked to drain nothing: it comes again, as another one.
            None => self.refuse_greeting(at, conn),
        }
    }

    fn refuse_greeting(&mut self, at: usize, conn: Conn) {
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        if let Some(attachment) = leading.attachments.remove(&conn) {
            let (from, to) = (Place::Coordinator(at), Place::Agent(attachment.agent));
            self.send(from, to, Some(conn), Message::Ended);
            self.close(conn, from);
        }
    }

    fn propose_admission(&mut self, at: usize, conn: Conn) {
        let coordinator = &mut self.coordinators[at];
        let Some(leading) = &mut coordinator.leading else { return };
        let Some(attachment) = leading.attachments.get_mut(&conn) else { return };
        attachment.stage = Greeting::Admitting;
        attachment.tries += 1;
        let mut admit = (*attachment.admit).clone();
        let topology = &coordinator.topology;
        let node = topology.node_named(&admit.name).map(|(id, _)| id);
        let open = node.map(|node| topology.open_sessions_of(node)).unwrap_or_default();
        let ids = &mut self.random.ids;
        let mut fresh = || SessionId::from_uuid(ids.uuid()).expect("not nil");
        admit.fresh = open.into_iter().map(|tablet| (tablet, fresh())).collect();
        self.propose(at, Command::Admit(Box::new(admit)), Then::Admission { conn });
    }

    /// What came of an admission; `None`: nobody knows.
    pub(super) fn admitted(&mut self, at: usize, conn: Conn, outcome: Option<Outcome>) {
        let Some(leading) = &self.coordinators[at].leading else { return };
        let Some(attachment) = leading.attachments.get(&conn) else { return };
        let (agent, tries) = (attachment.agent, attachment.tries);
        let directory = attachment.admit.directory;
        match outcome {
            Some(Ok(Applied::Admitted { node, incarnation })) => {
                self.mark("a process is admitted");
                self.welcome(at, conn, node, incarnation);
            }
            Some(Err(Rejected::FreshSessionMissing(_))) if tries < TRIES => {
                self.mark("an admission is proposed anew");
                self.propose_admission(at, conn);
            }
            outcome => {
                if let Some(Err(Rejected::NodeNotFenced(_))) = outcome {
                    self.mark("a process waits until its predecessor is fenced");
                }
                if let Some(Err(Rejected::NodeMismatch)) = outcome {
                    self.directory_refused(agent, directory);
                }
                self.refuse_greeting(at, conn);
            }
        }
    }

    /// The full state, read now: at or after the commit that admitted the process.
    fn welcome(&mut self, at: usize, conn: Conn, node: NodeId, incarnation: Incarnation) {
        let coordinator = &mut self.coordinators[at];
        let topology = &coordinator.topology;
        if topology.node(node).and_then(|node| node.admitted()) != Some(incarnation) {
            self.refuse_greeting(at, conn);
            return;
        }
        let read = full_state(topology, node);
        let Some(leading) = &mut coordinator.leading else { return };
        let Some(attachment) = leading.attachments.get_mut(&conn) else { return };
        let (version, records) = attachment.early.take().unwrap_or(read);
        attachment.stage = Greeting::Full { node, incarnation };
        let to = Place::Agent(attachment.agent);
        let records = Rc::new(records);
        let welcome = Message::Welcome { node, incarnation, version, records };
        self.send(Place::Coordinator(at), to, Some(conn), welcome);
    }

    fn attach_node(&mut self, at: usize, node: NodeId, conn: Conn) {
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        if let Some(before) = leading.by_node.insert(node, conn) {
            self.refuse_greeting(at, before);
        }
        // What has changed since the full state was read; transitions are the driver's business.
        let records = self.coordinators[at].topology.records_of(node);
        for record in records {
            self.order(at, node, Order::Barrier(Rc::new(record)));
        }
        self.lead(at, Heard::Attached { node, attachment: conn });
    }

    /// An attachment is gone.
    fn end(&mut self, at: usize, conn: Conn) {
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        let Some(attachment) = leading.attachments.remove(&conn) else { return };
        self.close(conn, Place::Coordinator(at));
        let Greeting::Attached { node, .. } = attachment.stage else { return };
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        if leading.by_node.get(&node) == Some(&conn) {
            leading.by_node.remove(&node);
            self.lead(at, Heard::Detached { node, attachment: conn });
        }
    }

    fn end_node(&mut self, at: usize, node: NodeId) {
        let Some(leading) = &self.coordinators[at].leading else { return };
        if let Some(conn) = leading.by_node.get(&node).copied() {
            let agent = leading.attachments.get(&conn).map(|attachment| attachment.agent);
            if let Some(agent) = agent {
                let from = Place::Coordinator(at);
                self.send(from, Place::Agent(agent), Some(conn), Message::Ended);
            }
            self.end(at, conn);
        }
    }

    pub(crate) fn order(&mut self, at: usize, node: NodeId, order: Order) {
        let Some(leading) = &self.coordinators[at].leading else { return };
        let Some(conn) = leading.by_node.get(&node).copied() else { return };
        let Some(attachment) = leading.attachments.get(&conn) else { return };
        let to = Place::Agent(attachment.agent);
        self.send(Place::Coordinator(at), to, Some(conn), Message::Order(order));
    }

    /// Does what the driver says.
    pub(super) fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Barrier { node, record } => {
                self.order(at, node, Order::Barrier(Rc::new(record)));
            }
            Effect::Pull { pair, record } => {
                let source = self.coordinators[at].topology.node(pair.source);
                let Some(source) = source.map(|node| node.incarnation) else { return };
                let record = Rc::new(record);
                self.order(at, pair.receiver, Order::Pull { record, pair, source });
            }
            Effect::Drop { replica, record } => {
                let (record, copy) = (Rc::new(record), replica.copy);
                self.order(at, replica.node, Order::Drop { record, copy });
            }
            Effect::Confirm { node, ticket } => {
                self.order(at, node, Order::Confirm { node, ticket });
            }
            Effect::Propose(command) => {
                if let Command::Fence { node, .. } = &command {
                    self.mark("a fence is proposed");
                    self.end_node(at, *node);
                }
                let then = match &command {
                    Command::Advance(advance) => Then::Driver(Heard::ProposalEnded {
                        tablet: advance.expected.tablet,
                        version: advance.expected.version,
                    }),
                    Command::Fence { node, .. } => Then::Driver(Heard::FenceEnded { node: *node }),
                    _ => Then::Nothing,
                };
                self.propose(at, command, then);
            }
        }
    }

    /// A renewal arrives.
    pub(crate) fn renewal(
        &mut self,
        at: usize,
        agent: usize,
        (node, incarnation): (NodeId, Incarnation),
        sent: migrations::lease::Instant,
    ) {
        let received = self.coordinators[at].clock.instant(self.queue.now);
        let renewal = Confirmed::Renewal { agent, node, incarnation, sent, at: received };
        self.confirm(at, renewal);
    }
}
