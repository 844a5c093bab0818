//! What a coordinator has on its disk: entries and snapshots, by the product's own encoding. A
//! process that starts knows nothing else.

use crate::world::World;
use migrations::command::Entry;
use migrations::request::RequestMemory;
use migrations::rule::{Rule, is_undone};
use migrations::state::{REMEMBERED_REQUESTS, State};
use migrations::topology::Topology;
use std::rc::Rc;

/// A snapshot: the state after so many entries of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    applied: usize,
    /// `None`: before the first entry.
    bytes: Option<Rc<Vec<u8>>>,
}

impl Snapshot {
    pub(super) fn is_some(&self) -> bool {
        self.bytes.is_some()
    }
}

/// A follower that is so many entries behind is sent a snapshot, if the leader has a newer one.
const FAR_BEHIND: usize = 48;

impl World {
    /// An entry as those read it who apply it.
    pub(super) fn through_the_log(&mut self, entry: &Entry) -> Rc<Entry> {
        match proto::storage::decode_entry(&proto::storage::encode_entry(entry)) {
            Ok(read) => {
                if read != *entry {
                    self.broken(16, || "an entry is read that was not written".into());
                }
                Rc::new(read)
            }
            Err(error) => {
                self.broken(16, || format!("an entry can't be read back: {error}"));
                Rc::new(entry.clone())
            }
        }
    }

    /// A snapshot is taken now and then.
    pub(super) fn may_take_snapshot(&mut self, at: usize) {
        if !self.random.disk.chance(8) {
            return;
        }
        let coordinator = &mut self.coordinators[at];
        let bytes = match is_undone(Rule::RequestsInSnapshot) {
            false => proto::storage::encode_snapshot(coordinator.topology.state()),
            true => proto::storage::encode_snapshot(&State {
                requests: RequestMemory::new(REMEMBERED_REQUESTS),
                ..coordinator.topology.state().clone()
            }),
        };
        let (applied, bytes) = (coordinator.applied, Some(Rc::new(bytes)));
        coordinator.kept = Snapshot { applied, bytes };
        self.mark("a snapshot is taken");
    }

    /// A process starts, or is sent a snapshot: what it knows is what that holds.
    pub(super) fn install(&mut self, at: usize, snapshot: Snapshot) {
        let read = snapshot.bytes.as_ref().map_or(Ok(State::default()), |bytes| {
            proto::storage::decode_snapshot(bytes).map_err(|error| error.to_string())
        });
        let topology =
            read.and_then(|state| Topology::from_state(state).map_err(|broken| broken.to_string()));
        match topology {
            Ok(topology) => {
                let coordinator = &mut self.coordinators[at];
                (coordinator.topology, coordinator.picture) = (topology, None);
                coordinator.applied = snapshot.applied;
                coordinator.kept = snapshot;
            }
            Err(error) => self.broken(16, || format!("a snapshot can't be read: {error}")),
        }
    }

    /// A follower that is far behind gets the leader's snapshot in place of the entries.
    pub(super) fn may_be_sent_snapshot(&mut self, at: usize) {
        let Some(leader) = self.group0.leader.filter(|leader| *leader != at) else { return };
        let own = &self.coordinators[at];
        let kept = self.coordinators[leader].kept.clone();
        let is_far = own.applied + FAR_BEHIND <= self.group0.log.len();
        if is_far && own.leading.is_none() && kept.applied > own.applied {
            self.mark("a follower is sent a snapshot");
            self.install(at, kept);
        }
    }
}
