//! INV-5: the floor of a tablet on a data directory never falls, also when the copy is dropped, and
//! is durable before it is acknowledged. A copy that is damaged takes its floor along; without it
//! the directory opens no session. So does an old copy of a directory, which group0 refuses.

use crate::message::Record;
use crate::world::World;

impl World {
    pub(super) fn inv_05_taken(&mut self, at: usize, record: &Record) {
        let (directory, id) = (self.agents[at].disk.directory, record.tablet);
        let taken = self.oracles.taken.entry((directory, id)).or_default();
        let before = *taken;
        *taken = before.max(record.version);
        if record.version < before && !self.has_damaged(at) {
            let (name, version) = (self.agents[at].name.clone(), record.version);
            self.broken(5, || format!("{name} takes on t{id} at {version} after {before}"));
        }
    }

    /// What a process finds on its disk.
    pub(super) fn inv_05_durable(&mut self, at: usize) {
        let directory = self.agents[at].disk.directory;
        let its = self.oracles.promised.iter().filter(|((of, _), _)| *of == directory);
        let store = &self.agents[at].disk.live;
        let fallen = its.map(|((_, id), version)| (*id, *version));
        let fallen = fallen.clone().find(|(id, version)| store.floor(*id).version() < *version);
        if let (Some((id, version)), false) = (fallen, self.has_damaged(at)) {
            let name = self.agents[at].name.clone();
            self.broken(5, || format!("{name} has acknowledged t{id} at {version}, and forgot"));
        }
        // What was taken on and not acknowledged may be lost with its sync.
        let tablets = self.oracles.taken.iter_mut().filter(|((of, _), _)| *of == directory);
        for ((_, id), version) in tablets {
            *version = (*version).min(self.agents[at].disk.live.floor(*id).version());
        }
    }

    fn has_damaged(&self, at: usize) -> bool {
        let own = self.agents[at].own();
        let is_old = self.directories.is_old(self.agents[at].disk.directory);
        is_old || self.oracles.damaged.iter().any(|(node, _, _)| Some(*node) == own)
    }
}
