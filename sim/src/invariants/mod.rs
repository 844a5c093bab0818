//! The oracles: what must hold, checked from outside. One file an invariant, named by its number;
//! what they remember of the past is here.

mod inv_01;
mod inv_02;
mod inv_03;
mod inv_04;
mod inv_05;
mod inv_06;
mod inv_08;
mod inv_10;
mod inv_11;
mod inv_12;
mod inv_13;
mod inv_14;
mod inv_15;
mod inv_16;

use crate::agent::tablets::VersionGate;
use crate::message::Record;
use crate::world::World;
use migrations::apply::apply;
use migrations::clock::Timestamp;
use migrations::command::{Command, Entry, Outcome};
use migrations::evidence::Acknowledgement;
use migrations::id::{DirectoryId, MigrationId, NodeId, SessionId, TabletId};
use migrations::position::Position;
use migrations::row::RowVersion;
use migrations::stage::BarrierWhen;
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use std::collections::{BTreeMap, BTreeSet};

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub invariant: u8,
    /// In a sentence.
    pub what: String,
}

/// When a write was made, and of what.
type Issued = (Timestamp, Option<Vec<u8>>);

/// What the oracles know.
#[derive(Debug, Default)]
pub(crate) struct Oracles {
    /// The truth: every committed entry applied.
    pub(crate) topology: Topology,
    /// The same, an entry behind: to apply an entry twice costs less than to copy all.
    before: Topology,
    /// Every version that each tablet has had.
    history: BTreeMap<TabletId, BTreeMap<TopologyVersion, Record>>,
    /// At which version each session was opened by apply.
    opened: BTreeMap<SessionId, TopologyVersion>,
    /// The last version of each tablet whose barrier is known to be complete.
    barriers: BTreeMap<TabletId, TopologyVersion>,
    /// What agents have truly acknowledged.
    pub(crate) said: BTreeSet<(TabletId, TopologyVersion, NodeId, Incarnation)>,
    /// The highest version that a directory has acknowledged for a tablet.
    promised: BTreeMap<(DirectoryId, TabletId), TopologyVersion>,
    /// The highest version that a directory has taken on.
    taken: BTreeMap<(DirectoryId, TabletId), TopologyVersion>,
    /// Sessions that a directory has closed, or had open in a process that is gone.
    closed: BTreeSet<(DirectoryId, SessionId)>,
    open: BTreeSet<(DirectoryId, SessionId)>,
    /// Copies that were damaged, whether group0 knows of it or not.
    pub(crate) damaged: BTreeSet<(NodeId, TabletId, CopyId)>,
    /// Tablets of which more was lost than may be.
    excused: BTreeSet<TabletId>,
    /// The newest acknowledged write of each position, and its tablet.
    pub(crate) acknowledged: BTreeMap<Position, RowVersion>,
    places: BTreeMap<Position, TabletId>,
    pub(crate) last_purged: Option<(TabletId, Position)>,
    /// Every write that was ever sent.
    issued: BTreeMap<Position, BTreeSet<Issued>>,
    /// Migrations that have begun.
    begun: BTreeSet<(MigrationId, TabletId)>,
    /// Which process was admitted as which incarnation.
    processes: BTreeMap<(NodeId, Incarnation), (usize, u64)>,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    applied: u64,
}

impl Oracles {
    pub(crate) fn issued(&mut self, position: &Position, row: &RowVersion) {
        let issued = self.issued.entry(position.clone()).or_default();
        issued.insert((row.timestamp, row.value.clone()));
    }

    /// A tombstone that is purged is on every replica, whether its router heard of it or not: from
    /// then on it counts as acknowledged.
    pub(crate) fn purged(&mut self, position: &Position, tablet: TabletId, tombstone: RowVersion) {
        self.last_purged = Some((tablet, position.clone()));
        self.acknowledge(position, tablet, tombstone);
    }

    pub(crate) fn acknowledge(&mut self, position: &Position, tablet: TabletId, row: RowVersion) {
        self.places.insert(position.clone(), tablet);
        let known = self.acknowledged.get(position);
        if known.is_none_or(|known| row.supersedes(known)) {
            self.acknowledged.insert(position.clone(), row);
        }
    }
}

impl World {
    pub(crate) fn broken(&mut self, invariant: u8, what: impl FnOnce() -> String) {
        if self.broken.is_none() && !self.story.blind.contains(&invariant) {
            let what = what();
            self.say(|_| format!("INV-{invariant} is broken: {what}"));
            self.broken = Some(Broken { invariant, what });
        }
    }

    pub(crate) fn check_proposed(&mut self, _command: &Command) {}

    /// An entry was committed: what came of its commands.
    pub(crate) fn check_committed(&mut self, entry: &Entry) -> Vec<Outcome> {
        let mut before = std::mem::take(&mut self.oracles.before);
        let applied = apply(&mut self.oracles.topology, entry);
        let is_nodes = |command: &Command| {
            matches!(command, Command::Admit(_) | Command::Fence { .. } | Command::MarkLost { .. })
        };
        // What a command about a node has changed holds for the commands behind it.
        let mut changed: Option<Topology> = None;
        for (at, command) in entry.commands.iter().enumerate() {
            let outcome = &applied.outcomes[at];
            let earlier = changed.as_ref().unwrap_or(&before);
            match outcome {
                Ok(_) => {
                    self.inv_04_evidence(earlier, command);
                    self.inv_10_expected(earlier, command);
                    self.inv_13_fence(earlier, command);
                    self.inv_02_admission(command);
                    if let Command::Admit(admit) = command {
                        self.admitted_on_directory(earlier, admit);
                    }
                    self.tell_command(command);
                }
                Err(why) => self.say(|_| format!("group0 refuses: {why}")),
            }
            if let Command::Change { stamp, .. } = command
                && earlier.state().requests.remembered().contains_key(&stamp.id)
            {
                self.mark("a request id comes a second time");
            }
            if is_nodes(command) && outcome.is_ok() {
                let mut after = before.clone();
                let commands = entry.commands[..=at].to_vec();
                apply(&mut after, &Entry { proposed_ms: entry.proposed_ms, commands });
                changed = Some(after);
            }
        }
        for tablet in &applied.touched {
            self.note_version(&before, *tablet);
        }
        apply(&mut before, entry);
        self.oracles.before = before;
        self.inv_01_state();
        self.inv_06_excuse();
        self.inv_09_majorities(Some(&applied.touched));
        applied.outcomes
    }

    /// A tablet has a new version.
    fn note_version(&mut self, before: &Topology, tablet: TabletId) {
        let Some(record) = self.oracles.topology.record(tablet) else { return };
        if let Some(session) = record.session() {
            self.oracles.opened.entry(session).or_insert(record.version);
        }
        let stage = record.stage();
        let was = before.record(tablet);
        self.inv_01_session(&record, was.as_ref());
        self.inv_11_begun(&record, was.as_ref());
        let from = was.as_ref().and_then(|was| was.stage());
        if from != stage {
            let name = |stage: Option<migrations::stage::Stage>| {
                stage.map_or("at rest", |stage| stage.name())
            };
            self.mark(&format!("edge {} -> {}", name(from), name(stage)));
            // Only a stage that is left forward shows that its barrier is complete.
            let is_forward = from.is_some_and(|from| {
                from.barrier() != BarrierWhen::Never && from.on_success() == stage
            });
            if let (true, Some(was)) = (is_forward, was) {
                self.oracles.barriers.insert(tablet, was.version);
            }
        }
        self.say(|world| {
            let nodes = |set: &migrations::replica_set::ReplicaSet| {
                let names: Vec<String> = set.nodes().map(|node| world.name_of(node)).collect();
                names.join(" ")
            };
            let stage = record.stage().map_or("at rest", |stage| stage.name());
            let attempt = record.transition.as_ref().map_or(0, |t| t.attempt);
            let (old, new) = (nodes(&record.replicas), nodes(record.next()));
            format!(
                "t{tablet} at {}: {stage}, attempt {attempt}, {{{old}}} -> {{{new}}}",
                record.version
            )
        });
        let history = self.oracles.history.entry(tablet).or_default();
        history.insert(record.version, std::rc::Rc::new(record));
        while history.len() > 24 {
            history.pop_first();
        }
    }

    fn tell_command(&mut self, command: &Command) {
        match command {
            Command::Fence { node, .. } => {
                self.mark("a node is fenced");
                self.say(|world| format!("{} is fenced", world.name_of(*node)));
            }
            Command::MarkLost { node, copies, .. } => {
                self.mark("a copy is marked as lost");
                self.say(|world| format!("{}: {copies:?} are lost", world.name_of(*node)));
            }
            _ => {}
        }
    }

    /// A coordinator has applied an entry.
    pub(crate) fn check_applied(&mut self, at: usize) {
        self.oracles.applied += 1;
        if self.oracles.applied.is_multiple_of(64) {
            self.inv_16_digest(at);
        }
    }

    /// A process has started.
    pub(crate) fn check_started(&mut self, at: usize) {
        self.inv_05_durable(at);
        self.inv_03_started(at);
    }

    /// A process was welcomed under an incarnation.
    pub(crate) fn check_welcomed(&mut self, at: usize, admitted: (NodeId, Incarnation)) {
        self.inv_12_one_process(at, admitted);
    }

    /// A full state was worked off.
    pub(crate) fn check_worked_off(&mut self, at: usize) {
        self.inv_08_only_given(at);
    }

    /// Steps 1 to 3 are done.
    pub(crate) fn check_taken_on(
        &mut self,
        at: usize,
        record: &Record,
        closed: &[SessionId],
        opened: Option<SessionId>,
    ) {
        self.say(|world| {
            let (name, tablet) = (&world.agents[at].name, record.tablet);
            let (closes, opens) = (closed.len(), usize::from(opened.is_some()));
            format!("{name}: t{tablet} at {}: closes {closes}, opens {opens}", record.version)
        });
        self.inv_03_closed(at, closed);
        self.inv_03_opened(at, record, opened);
        self.inv_05_taken(at, record);
    }

    pub(crate) fn check_closed(&mut self, at: usize, _tablet: TabletId, closed: &[SessionId]) {
        self.inv_03_closed(at, closed);
    }

    pub(crate) fn check_acknowledged(
        &mut self,
        at: usize,
        record: &Record,
        said: &Acknowledgement,
    ) {
        let key = (record.tablet, said.version, said.node, said.incarnation);
        self.oracles.said.insert(key);
        self.inv_02_drained(at, record);
        let directory = self.agents[at].disk.directory;
        let promised = self.oracles.promised.entry((directory, record.tablet)).or_default();
        *promised = (*promised).max(record.version);
    }

    pub(crate) fn check_written(&mut self, at: usize, tablet: TabletId, gate: &VersionGate) {
        self.inv_02_write(at, tablet, gate);
    }

    pub(crate) fn check_ingested(
        &mut self,
        at: usize,
        tablet: TabletId,
        session: SessionId,
        rows: &[(Position, RowVersion)],
    ) {
        self.inv_02_ingest(at, tablet, session, rows.len());
    }

    /// What is checked now and then.
    pub(crate) fn check_now(&mut self) {
        self.inv_09_majorities(None);
        self.inv_15_bounded();
        let ends = self.oracles.topology.state().version;
        self.oracles.said.retain(|(_, version, _, _)| version.counter() + 400 > ends.counter());
    }

    /// All has ended.
    pub(crate) fn check_end(&mut self) {
        self.check_now();
        for at in 0..self.agents.len() {
            self.inv_08_only_given(at);
        }
        for at in 0..self.coordinators.len() {
            self.inv_16_digest(at);
        }
        self.inv_15_end();
    }

    /// Time is up.
    pub(crate) fn check_ended(&mut self) {
        self.inv_14_ended();
    }
}
