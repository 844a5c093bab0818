//! What can be seen of a story.

use super::{Story, Told};
use migrations::id::{MigrationId, NodeId};
use migrations::record::TabletRecord;
use migrations::row::RowVersion;
use migrations::stage::Stage;
use migrations::tablet::{EndReason, Ending, FinishedMigration};

impl Story {
    /// The coordinator that leads, and knows it.
    pub fn leader(&self) -> Option<String> {
        let at = self.world.group0.leader?;
        let leading = self.world.coordinators[at].leading.as_ref()?;
        (leading.term == self.world.group0.term).then(|| format!("c{at}"))
    }

    /// Whether a coordinator believes that it leads.
    pub fn believes_it_leads(&self, name: &str) -> bool {
        match self.place(name) {
            crate::message::Place::Coordinator(at) => self.world.coordinators[at].leading.is_some(),
            _ => false,
        }
    }

    /// What group0 says of a tablet.
    pub fn record(&self, tablet: char) -> Option<TabletRecord> {
        self.world.oracles.topology.record(self.tablet(tablet))
    }

    /// The stage of a tablet's transition, if it is in one.
    pub fn stage(&self, tablet: char) -> Option<Stage> {
        self.record(tablet).and_then(|record| record.stage())
    }

    /// Runs until a tablet's transition enters a stage.
    pub fn until_stage(&mut self, tablet: char, stage: Stage) -> Told {
        let what = format!("{tablet} is in {stage}");
        self.until(&what, |story| story.stage(tablet) == Some(stage))
    }

    /// Runs until as much is kept back.
    pub fn until_held(&mut self, hold: super::Hold, count: usize) -> Told {
        self.until(&format!("{count} are kept back"), |story| story.held(hold) >= count)
    }

    /// Which attempt a transition is in.
    pub fn attempt(&self, tablet: char) -> u32 {
        let record = self.record(tablet);
        record.and_then(|record| record.transition).map_or(0, |transition| transition.attempt)
    }

    /// Who has a tablet, in letters: the old set, while there is a transition.
    pub fn replicas(&self, tablet: char) -> String {
        let Some(record) = self.record(tablet) else { return String::new() };
        let mut names: Vec<String> =
            record.replicas.nodes().map(|node| self.world.name_of(node)).collect();
        names.sort();
        names.concat()
    }

    /// A migration that is over.
    pub fn finished(&self, migration: MigrationId) -> Option<&FinishedMigration> {
        let mut finished = self.world.oracles.topology.state().finished.iter();
        finished.find(|finished| finished.migration == migration)
    }

    /// How a migration has ended, and why so.
    pub fn ending(&self, migration: MigrationId) -> Option<(Ending, Option<EndReason>)> {
        self.finished(migration).map(|finished| (finished.ending, finished.reason))
    }

    /// Runs until a migration is over.
    pub fn until_over(&mut self, migration: MigrationId) -> Told {
        self.until("the migration is over", |story| story.finished(migration).is_some())
    }

    /// Runs until a migration is over, and it must have ended so.
    pub fn until_ended(&mut self, migration: MigrationId, ending: Ending) -> Told {
        self.until_over(migration)?;
        let found = self.ending(migration);
        let what = format!("the migration ends as {ending:?}, and not as {found:?}");
        self.must(&what, found.is_some_and(|(found, _)| found == ending))
    }

    /// How a node that is named stands in group0: admitted, or out.
    pub fn is_fenced(&self, name: &str) -> bool {
        let node = self.world.oracles.topology.node_named(name);
        node.is_some_and(|(_, node)| node.admitted().is_none())
    }

    /// Whether an agent's process is attached, and has worked off its full state.
    pub fn is_attached(&self, name: &str) -> bool {
        let process = self.world.process(self.agent(name));
        let attachment = process.and_then(|process| process.attachment.as_ref());
        attachment.is_some_and(|attachment| attachment.is_ready)
    }

    /// Whether an agent's process holds a lease, by its own clock.
    pub fn has_lease(&self, name: &str) -> bool {
        self.world.is_lease_held(self.agent(name))
    }

    /// Whether an agent has the session open that group0 has open for a tablet.
    pub fn has_session(&self, name: &str, tablet: char) -> bool {
        let session = self.record(tablet).and_then(|record| record.session());
        let process = self.world.process(self.agent(name));
        let found = process.and_then(|process| process.tablets.get(&self.tablet(tablet)));
        found.is_some_and(|found| {
            found.sessions.iter().any(|s| !s.gate.is_closed() && Some(s.id) == session)
        })
    }

    /// How many sessions of a tablet an agent has open, whatever group0 says.
    pub fn open_sessions(&self, name: &str, tablet: char) -> usize {
        let process = self.world.process(self.agent(name));
        let found = process.and_then(|process| process.tablets.get(&self.tablet(tablet)));
        found.map_or(0, |found| found.sessions.iter().filter(|s| !s.gate.is_closed()).count())
    }

    /// Whether an agent has acknowledged a tablet's barrier at the version that it has now.
    pub fn has_acknowledged(&self, name: &str, tablet: char) -> bool {
        let Some(record) = self.record(tablet) else { return false };
        let Some(own) = self.node_id(name) else { return false };
        let mut said = self.world.oracles.said.iter();
        said.any(|(id, version, node, _)| {
            (*id, *version, *node) == (record.tablet, record.version, own)
        })
    }

    /// How many copies of a tablet are on an agent's disk.
    pub fn copies(&self, name: &str, tablet: char) -> usize {
        self.world.agents[self.agent(name)].disk.live.copies(self.tablet(tablet)).len()
    }

    /// Whether an agent's disk holds a copy of whichever tablet.
    pub fn has_any_copy(&self, name: &str) -> bool {
        let tablets = &self.world.agents[self.agent(name)].disk.live.tablets;
        tablets.values().any(|entry| !entry.copies.is_empty())
    }

    /// What an agent's disk holds of a key, in whichever copy: `None` is nothing at all, a
    /// tombstone is `Some(None)`.
    pub fn on_disk(&self, name: &str, key: &str) -> Option<Option<String>> {
        let tablet = self.tablet(key.chars().next().unwrap_or('A'));
        let store = &self.world.agents[self.agent(name)].disk.live;
        let copies = store.tablets.get(&tablet).into_iter().flat_map(|e| e.copies.values());
        let mut rows = copies.filter_map(|copy| copy.rows.get(key.as_bytes()));
        let as_text = |row: &RowVersion| {
            row.value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        rows.next().map(as_text)
    }

    /// The replica that a node is of a tablet is marked as lost.
    pub fn is_marked_lost(&self, name: &str, tablet: char) -> bool {
        let node = self.world.oracles.topology.node_named(name).map(|(id, _)| id);
        let Some((record, node)) = self.record(tablet).zip(node) else { return false };
        let sets = [&record.replicas, record.next()];
        sets.into_iter().filter_map(|set| set.on(node)).any(|replica| replica.lost)
    }

    /// Whom a tablet's transition waits for, as the leader would explain it.
    pub fn waits_for(&self, tablet: char) -> String {
        let leading = self.world.group0.leader.map(|at| &self.world.coordinators[at]);
        let leading = leading.and_then(|coordinator| coordinator.leading.as_ref());
        let Some(leading) = leading else { return String::new() };
        let topology = &self.world.oracles.topology;
        let nodes = leading.driver.waiting_for(topology, self.tablet(tablet));
        let mut names: Vec<String> =
            nodes.into_iter().map(|node: NodeId| self.world.name_of(node)).collect();
        names.sort();
        names.concat()
    }

    /// The id of a node, as reasons have it.
    pub fn node_id(&self, name: &str) -> Option<NodeId> {
        self.world.oracles.topology.node_named(name).map(|(id, _)| id)
    }

    /// The name of a node, as reasons have it.
    pub fn name_of(&self, node: NodeId) -> String {
        self.world.name_of(node)
    }

    /// Whether a rare state was reached: a mark of [`crate::Outcome`].
    pub fn saw(&self, mark: &str) -> bool {
        self.world.marks.contains(mark)
    }

    /// How many lines of the trace say this.
    pub fn told(&self, words: &str) -> usize {
        self.world.trace().iter().filter(|line| line.contains(words)).count()
    }

    /// The different times that are named behind some words, in lines that have others, too.
    pub fn times_of(&self, line_with: &str, before: &str) -> std::collections::BTreeSet<String> {
        let lines = self.world.trace().iter().filter(|line| line.contains(line_with));
        lines.filter_map(|line| Some(line.split_once(before)?.1.to_owned())).collect()
    }

    /// A tablet's T, in milliseconds since 1970.
    pub fn promise_ms(&self, tablet: char) -> u64 {
        self.record(tablet).map_or(0, |record| record.promise.millis())
    }

    /// An agent's wall clock, in milliseconds since 1970.
    pub fn wall_ms(&self, name: &str) -> u64 {
        self.world.agent_wall(self.agent(name))
    }

    /// A rare state must have been reached.
    pub fn must_have_seen(&self, mark: &str) -> Told {
        self.must(&format!("it was reached: {mark}"), self.saw(mark))
    }

    /// The trace must say this.
    pub fn must_have_told(&self, words: &str) -> Told {
        self.must(&format!("the trace says: {words}"), self.told(words) > 0)
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        self.world.queue.now / crate::time::MILLI
    }

    /// All that was told so far.
    pub fn trace(&self) -> String {
        self.world.trace().join("\n")
    }
}
