//! Copies of data directories: an old one is put back, a second process comes with the same. group0
//! refuses both; then an operator gives the machine an empty directory and another name.
//!
//! Only copies that group0 can tell: those made before the newest admission. One that is as new as
//! that differs from the directory itself by rows alone, and nobody could know it.

use crate::agent::disk::Disk;
use crate::coordinator::proposals::Then;
use crate::event::Event;
use crate::time::MILLI;
use crate::world::World;
use migrations::command::{Admit, Command};
use migrations::id::{AdmissionToken, DirectoryId, NodeId, TabletId};
use migrations::topology::Topology;
use migrations::version::CopyId;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of copies of directories.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// The newest copy of each agent's.
    copies: BTreeMap<usize, Disk>,
    /// Those that group0 has to refuse.
    old: BTreeSet<DirectoryId>,
}

impl Directories {
    /// Whether group0 has to refuse it.
    pub(crate) fn is_old(&self, directory: DirectoryId) -> bool {
        self.old.contains(&directory)
    }
}

/// The locks of second processes are on files of this number and above.
const SECOND_LOCK: u64 = 1_000;

impl World {
    /// A directory is copied, or an earlier copy of it comes back.
    pub(crate) fn meddle_with_directory(&mut self, at: usize) {
        let Some((node, _)) = self.agents[at].disk.node else { return };
        if self.random.faults.chance(300) {
            self.second_process(at, node);
            return;
        }
        let disk = &self.agents[at].disk;
        let is_usable = |copy: &&Disk| copy.directory == disk.directory;
        let Some(copy) = self.directories.copies.get(&at).filter(is_usable) else {
            self.copy_directory(at);
            return;
        };
        let of_group0 = self.oracles.topology.node(node);
        let is_old = of_group0.is_some_and(|known| {
            let incarnation = copy.node.map(|(_, incarnation)| incarnation);
            incarnation != Some(known.incarnation) && !copy.tokens.contains(&known.token)
        });
        if !is_old || !self.may_lose_all(node) {
            return;
        }
        self.put_directory_back(at, node);
        let pause = self.random.faults.between(20, 600) * MILLI;
        self.queue.after(pause, Event::StartAgent(at));
    }

    /// A copy of an agent's directory, as it is now.
    pub(crate) fn copy_directory(&mut self, at: usize) {
        let copy = self.agents[at].disk.copied();
        self.directories.copies.insert(at, copy);
        self.mark("a directory is copied");
    }

    /// An agent is killed, and its directory is the copy that was made of it.
    pub(crate) fn put_directory_back(&mut self, at: usize, node: NodeId) {
        let Some(copy) = self.directories.copies.get(&at).cloned() else { return };
        self.kill_agent(at);
        self.say(|world| format!("{}: an old directory is put back", world.agents[at].name));
        self.mark("an old directory is put back");
        self.lose_all(node);
        self.directories.old.insert(copy.directory);
        self.agents[at].disk = copy;
    }

    /// Whether a node's word rests on an old directory, or its machine has come in as another one:
    /// then nothing that was acknowledged or read with it counts.
    pub(crate) fn is_word_of_old(&self, node: NodeId) -> bool {
        let at = self.agent_of(node);
        at.is_none_or(|at| self.directories.is_old(self.agents[at].disk.directory))
    }

    /// Copies that group0 gives a node.
    fn given_to(&self, node: NodeId) -> Vec<(TabletId, CopyId)> {
        let records = self.oracles.topology.records_of(node);
        let given = records.iter().flat_map(|record| {
            let on = [record.replicas.on(node), record.next().on(node)];
            on.into_iter().flatten().map(|replica| (record.tablet, replica.copy))
        });
        given.collect()
    }

    fn may_lose_all(&self, node: NodeId) -> bool {
        self.given_to(node).into_iter().all(|(tablet, copy)| self.may_lose(node, tablet, copy))
    }

    fn lose_all(&mut self, node: NodeId) {
        for (tablet, copy) in self.given_to(node) {
            self.oracles.damaged.insert((node, tablet, copy));
        }
    }

    /// Somebody starts a second process on a copy of the directory.
    fn second_process(&mut self, at: usize, node: NodeId) {
        let Some(leader) = self.group0.leader else { return };
        let Some(token) = AdmissionToken::from_uuid(self.random.ids.uuid()) else { return };
        let directory = self.agents[at].disk.directory;
        if !self.may_lose_all(node) || self.directories.is_old(directory) {
            return;
        }
        let mut admit = self.admit_of(at, token);
        admit.process.lock_inode += SECOND_LOCK;
        self.say(|world| format!("{}: a second process asks", world.agents[at].name));
        self.mark("a second process asks for admission");
        self.propose(leader, Command::Admit(Box::new(admit)), Then::Nothing);
    }

    /// A process was admitted: on a directory whose floors stand where they were. A second one only
    /// in the place of one that was fenced: then the first one's directory is the old one.
    pub(crate) fn admitted_on_directory(&mut self, before: &Topology, admit: &Admit) {
        let Some((node, known)) = before.node_named(&admit.name) else { return };
        if admit.highest_floor.is_some_and(|floor| floor < known.acknowledged) {
            let name = admit.name.clone();
            self.broken(5, || format!("{name} is admitted on an old copy of its directory"));
        }
        if admit.process.lock_inode < SECOND_LOCK {
            return;
        }
        if known.admitted().is_some() {
            let name = admit.name.clone();
            self.broken(12, || format!("a second process of {name} is admitted beside the first"));
        }
        self.lose_all(node);
        self.directories.old.insert(admit.directory);
    }

    /// group0 takes a directory for an old copy of itself.
    pub(crate) fn directory_refused(&mut self, at: usize, directory: DirectoryId) {
        if !self.directories.is_old(directory) {
            // A greeting from before the newest admission of the same directory: it is over.
            self.mark("a late greeting is refused");
            return;
        }
        self.mark("an old directory is refused");
        self.queue.after(200 * MILLI, Event::NewDirectory { at, instead_of: directory });
    }

    /// The machine comes in again: empty, and as another node.
    pub(crate) fn new_directory(&mut self, at: usize, instead_of: DirectoryId) {
        if self.agents[at].disk.directory != instead_of || self.gone.contains(&at) {
            return;
        }
        self.kill_agent(at);
        let Some(directory) = DirectoryId::from_uuid(self.random.ids.uuid()) else { return };
        self.agents[at].disk = Disk::new(directory);
        self.agents[at].name.push('\'');
        self.mark("a machine comes in again, empty");
        self.queue.after(MILLI, Event::StartAgent(at));
    }
}
