//! A coordinator: the state that it has applied, and, while it believes that it leads, a driver
//! and attachments. What it decides is `migrations`'.

pub(crate) mod attachments;
pub(crate) mod group0;
pub(crate) mod proposals;
mod snapshot;

use crate::event::{Confirmed, Duty, Event};
use crate::message::{Conn, Message, Place, Record};
use crate::time::{Clock, MICRO, MILLI, Time};
use crate::world::World;
use attachments::Attachment;
use migrations::apply::apply;
use migrations::command::Entry;
use migrations::driver::{Driver, Event as Heard};
use migrations::evidence::Acknowledgement;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::rule::{Rule, is_undone};
use migrations::topology::Topology;
use migrations::version::TopologyVersion;
use snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) clock: Clock,
    /// How many processes there have been.
    pub(crate) life: u64,
    pub(crate) is_up: bool,
    pub(crate) paused_until: Time,
    /// Entries of the log that it has applied.
    pub(crate) applied: usize,
    pub(crate) topology: Topology,
    pub(crate) leading: Option<Leading>,
    /// On its disk, beside the log.
    kept: Snapshot,
    picture: Option<(TopologyVersion, Rc<Vec<Record>>)>,
}

/// A leadership, as the coordinator believes it to be. Nothing of it is carried over.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) term: u64,
    pub(crate) driver: Driver,
    pub(crate) attachments: BTreeMap<Conn, Attachment>,
    /// The newest attachment of each node that is worked off.
    pub(crate) by_node: BTreeMap<NodeId, Conn>,
    /// Applied, and not told to the driver.
    touched: BTreeSet<TabletId>,
    nodes: BTreeSet<NodeId>,
    is_for_all: bool,
    is_catching_up: bool,
}

impl Coordinator {
    pub(crate) fn new(clock: Clock) -> Coordinator {
        Coordinator {
            clock,
            life: 1,
            is_up: true,
            paused_until: 0,
            applied: 0,
            topology: Topology::default(),
            leading: None,
            kept: Snapshot::default(),
            picture: None,
        }
    }
}

/// How often the driver is told the time.
const TICK: Time = 100 * MILLI;

impl World {
    pub(crate) fn coordinator_after(&mut self, at: usize, delay: Time, work: Duty) {
        let life = self.coordinators[at].life;
        self.queue.after(delay, Event::Coordinator { at, life, work });
    }

    pub(crate) fn duty(&mut self, at: usize, work: Duty) {
        let term = self.coordinators[at].leading.as_ref().map(|leading| leading.term);
        match work {
            Duty::Apply => self.apply_up_to_date(at),
            Duty::Commit { term } => self.commit(at, term),
            Duty::CatchUp { term: of } if term == Some(of) => self.catch_up(at),
            Duty::Tick { term: of } if term == Some(of) => {
                let now = self.coordinators[at].clock.instant(self.queue.now);
                self.lead(at, Heard::Tick(now));
                if is_undone(Rule::EvidenceNotTime) {
                    self.take_time_for_answers(at);
                }
                self.coordinator_after(at, TICK, Duty::Tick { term: of });
            }
            Duty::Ended(ended) => self.proposal_ended(at, ended),
            Duty::Deposed { term: of } if term == Some(of) => self.step_down(at),
            Duty::Confirm { term: of, then } if term == Some(of) => {
                let is_confirmed = self.is_confirmed(at, of);
                self.confirmed(at, then, is_confirmed);
            }
            Duty::CatchUp { .. } | Duty::Tick { .. } | Duty::Deposed { .. } => {}
            Duty::Confirm { .. } => {}
        }
    }

    /// Applies entries of the log that are committed.
    pub(crate) fn apply_up_to_date(&mut self, at: usize) {
        self.may_be_sent_snapshot(at);
        while self.coordinators[at].applied < self.group0.log.len() {
            let entry = Rc::clone(&self.group0.log[self.coordinators[at].applied]);
            let own_ms = self.coordinators[at].clock.wall_ms(self.queue.now);
            let coordinator = &mut self.coordinators[at];
            let applied = match is_undone(Rule::ClockOfProposer) {
                false => apply(&mut coordinator.topology, &entry),
                true => {
                    let read = Entry { proposed_ms: own_ms, ..(*entry).clone() };
                    apply(&mut coordinator.topology, &read)
                }
            };
            coordinator.applied += 1;
            if let Some(leading) = &mut coordinator.leading {
                leading.touched.extend(applied.touched.iter().copied());
                leading.nodes.extend(applied.nodes.iter().copied());
                leading.is_for_all |= applied.is_for_all;
            }
            self.check_applied(at);
            self.may_take_snapshot(at);
        }
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        let has_news =
            !leading.touched.is_empty() || !leading.nodes.is_empty() || leading.is_for_all;
        if has_news && !std::mem::replace(&mut leading.is_catching_up, true) {
            let term = leading.term;
            let delay = self.random.network.between(1, 2_000) * MICRO;
            self.coordinator_after(at, delay, Duty::CatchUp { term });
        }
    }

    fn catch_up(&mut self, at: usize) {
        let Some(leading) = &mut self.coordinators[at].leading else { return };
        leading.is_catching_up = false;
        let touched = std::mem::take(&mut leading.touched);
        let nodes = std::mem::take(&mut leading.nodes);
        let is_for_all = std::mem::take(&mut leading.is_for_all);
        self.lead(at, Heard::Committed { touched, nodes, is_for_all });
    }

    /// Gives an event to the driver and does what it says.
    pub(crate) fn lead(&mut self, at: usize, event: Heard) {
        let Coordinator { topology, leading: Some(leading), .. } = &mut self.coordinators[at]
        else {
            return;
        };
        let mut out = Vec::new();
        let ids = &mut self.random.ids;
        let mut fresh = || SessionId::from_uuid(ids.uuid()).expect("not nil");
        leading.driver.handle(topology, event, &mut fresh, &mut out);
        for effect in out {
            self.perform(at, effect);
        }
    }

    /// A leadership begins: it has applied an entry of its own.
    pub(crate) fn begin_to_lead(&mut self, at: usize, term: u64) {
        self.step_down(at);
        self.apply_up_to_date(at);
        let now = self.coordinators[at].clock.instant(self.queue.now);
        let coordinator = &mut self.coordinators[at];
        coordinator.leading = Some(Leading {
            term,
            driver: Driver::new(&coordinator.topology, now),
            attachments: BTreeMap::new(),
            by_node: BTreeMap::new(),
            touched: BTreeSet::new(),
            nodes: BTreeSet::new(),
            is_for_all: false,
            is_catching_up: false,
        });
        self.say(|_| format!("c{at} leads, term {term}"));
        self.coordinator_after(at, 0, Duty::Tick { term });
    }

    pub(crate) fn step_down(&mut self, at: usize) {
        let Some(leading) = self.coordinators[at].leading.take() else { return };
        self.say(|_| format!("c{at} leads no more, term {}", leading.term));
        for (conn, attachment) in leading.attachments {
            let (from, to) = (Place::Coordinator(at), Place::Agent(attachment.agent));
            self.send(from, to, Some(conn), Message::Ended);
            self.close(conn, from);
        }
    }

    /// With the rule undone that time is no evidence: who has not answered for long has.
    fn take_time_for_answers(&mut self, at: usize) {
        let now_ms = self.coordinators[at].clock.wall_ms(self.queue.now);
        let coordinator = &self.coordinators[at];
        let Some(leading) = &coordinator.leading else { return };
        let topology = &coordinator.topology;
        let mut said = Vec::new();
        for tablet in topology.in_transition() {
            let stages = topology.transition(tablet).map(|transition| &transition.stages);
            let entered = stages.and_then(|stages| stages.last()).map(|last| last.entered_ms);
            if entered.is_none_or(|entered| now_ms < entered + 1_000) {
                continue;
            }
            for node in leading.driver.waiting_for(topology, tablet) {
                let admitted = topology.node(node).and_then(|node| node.admitted());
                let version = topology.tablet(tablet).map(|tablet| tablet.version);
                let (Some(incarnation), Some(version)) = (admitted, version) else { continue };
                let (promised, at_ms) = (None, now_ms);
                let of = Acknowledgement { node, incarnation, version, promised, at_ms };
                said.push(Heard::Acknowledged { tablet, said: of });
            }
        }
        said.into_iter().for_each(|said| self.lead(at, said));
    }

    pub(crate) fn kill_coordinator(&mut self, at: usize) {
        if !self.coordinators[at].is_up {
            return;
        }
        self.say(|_| format!("c{at} is killed"));
        let coordinator = &mut self.coordinators[at];
        coordinator.is_up = false;
        coordinator.life += 1;
        coordinator.leading = None;
        coordinator.paused_until = 0;
        self.close_all(Place::Coordinator(at));
        if self.group0.leader == Some(at) {
            self.group0.leader = None;
        }
    }

    pub(crate) fn start_coordinator(&mut self, at: usize) {
        if !self.coordinators[at].is_up {
            self.coordinators[at].is_up = true;
            let kept = self.coordinators[at].kept.clone();
            if kept.is_some() {
                self.mark("a coordinator starts from a snapshot");
            }
            self.install(at, kept);
            self.say(|world| format!("c{at} starts, at entry {}", world.coordinators[at].applied));
            self.coordinator_after(at, MILLI, Duty::Apply);
        }
    }

    /// What waits for a confirmation of leadership goes on, if it was one.
    fn confirmed(&mut self, at: usize, then: Confirmed, is_confirmed: bool) {
        match then {
            Confirmed::Attachment { conn } => self.greeting_confirmed(at, conn, is_confirmed),
            Confirmed::Renewal { agent, node, incarnation, sent, at: received } => {
                if !is_confirmed && !is_undone(Rule::LeadershipConfirmed) {
                    self.mark("a renewal is not answered, since leadership is not confirmed");
                    return;
                }
                self.apply_up_to_date(at);
                let coordinator = &self.coordinators[at];
                let admitted = coordinator.topology.node(node).and_then(|node| node.admitted());
                let Some(leading) = &coordinator.leading else { return };
                let may_answer = leading.driver.may_renew(node, incarnation);
                if !may_answer && leading.driver.unfit(node, incarnation).is_some() {
                    self.mark("a renewal of an unfit node is not answered");
                    return;
                }
                if may_answer {
                    self.lead(at, Heard::Renewed { node, incarnation, at: received });
                }
                let is_fine = admitted == Some(incarnation) && may_answer;
                let answer = match is_fine {
                    true => Message::Renewed { incarnation, sent },
                    false => Message::RenewalRefused { incarnation },
                };
                self.send(Place::Coordinator(at), Place::Agent(agent), None, answer);
            }
        }
    }

    /// Asks for a confirmation that begins now.
    pub(crate) fn confirm(&mut self, at: usize, then: Confirmed) {
        let Some(leading) = &self.coordinators[at].leading else { return };
        let term = leading.term;
        let delay = self.random.network.between(200, 4_000) * MICRO;
        self.coordinator_after(at, delay, Duty::Confirm { term, then });
    }

    /// All records, as this coordinator knows them.
    pub(crate) fn picture(&mut self, at: usize) -> Rc<Vec<Record>> {
        let coordinator = &mut self.coordinators[at];
        let version = coordinator.topology.version();
        if let Some((of, picture)) = &coordinator.picture
            && *of == version
        {
            return Rc::clone(picture);
        }
        let topology = &coordinator.topology;
        let records = topology.state().tablets.keys().filter_map(|id| topology.record(*id));
        let picture = Rc::new(records.map(Rc::new).collect::<Vec<_>>());
        coordinator.picture = Some((version, Rc::clone(&picture)));
        picture
    }
}
