//! Whether the members' states are the same. INV-16.
//!
//! Every so many entries each member sums its state up, beside its work. It says the newest of
//! these digests with each answer to the leader, which compares it with its own as of the same
//! entry. A difference is an alarm: which of the two is right, nobody can tell from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StateMachine;
use super::blocking::blocking;

/// Own digests that are kept, for members that are ahead or behind.
const KEPT: usize = 8;

/// What a member's state came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// As of this entry.
    pub(super) index: u64,
    /// XXH3-128 of the state's bytes.
    pub(super) digest: u128,
}

/// The digests of this member, and what it has heard of the others.
#[derive(Debug)]
pub(super) struct Digests {
    every: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    own: VecDeque<Said>,
    is_busy: bool,
    heard: BTreeMap<u64, Said>,
    /// Whose state was another one, as of which entry.
    differing: BTreeMap<u64, u64>,
}

impl Known {
    fn compare(&mut self, raft_id: u64) {
        let Some(heard) = self.heard.get(&raft_id) else { return };
        let Some(own) = self.own.iter().find(|own| own.index == heard.index) else { return };
        if own == heard {
            if self.differing.remove(&raft_id).is_some() {
                tracing::warn!(member = raft_id, index = own.index, "the states are the same");
            }
        } else if self.differing.insert(raft_id, own.index).is_none() {
            tracing::error!(
                member = raft_id,
                index = own.index,
                "INV-16: this member has another state than this coordinator"
            );
        }
    }
}

impl Digests {
    /// A digest each time so many entries have been applied.
    pub(super) fn new(every: u64) -> Digests {
        Digests { every, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the state as of an entry is to be summed up: not while an earlier one still is.
    pub(super) fn is_due(&self, index: u64) -> bool {
        let is_one = index > 0 && index.is_multiple_of(self.every);
        is_one && !std::mem::replace(&mut self.known().is_busy, true)
    }

    /// Sums up a copy of the state, beside what else goes on.
    pub(super) fn sum<S: StateMachine>(self: &Arc<Self>, index: u64, copy: S) {
        let digests = Arc::clone(self);
        tokio::spawn(async move {
            let digest = blocking(move || copy.digest()).await;
            let mut known = digests.known();
            known.is_busy = false;
            let Ok(digest) = digest else { return };
            if known.own.len() >= KEPT {
                known.own.pop_front();
            }
            known.own.push_back(Said { index, digest });
            let members: Vec<u64> = known.heard.keys().copied().collect();
            members.into_iter().for_each(|member| known.compare(member));
        });
    }

    /// The newest own one.
    pub(super) fn newest(&self) -> Option<Said> {
        self.known().own.back().copied()
    }

    /// Takes note of what a member says.
    pub(super) fn heard(&self, raft_id: u64, said: Said) {
        let mut known = self.known();
        if known.heard.insert(raft_id, said) != Some(said) {
            known.compare(raft_id);
        }
    }

    /// The entry as of which a member was found to have another state, if it was.
    pub(super) fn differs_at(&self, raft_id: u64) -> Option<u64> {
        self.known().differing.get(&raft_id).copied()
    }
}
