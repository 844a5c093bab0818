//! Remembered requests: a request id takes effect at most once, however late it comes. INV-11.
//!
//! The greatest ids are kept. Below the horizon an id is refused, since nobody knows any more
//! whether it took effect; one caller can push out only his own.

use crate::id::RequestId;
use crate::shared_map::SharedMap;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

/// Who asks, and how the request is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestStamp {
    /// Made by the caller.
    pub id: RequestId,
    /// Of what was asked, without the id.
    pub digest: u128,
    /// Who asked.
    pub caller: String,
}

/// What the memory says of a request, before anything that depends on other state is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a, T> {
    /// Never seen.
    New,
    /// Done before: this came of it.
    Before(&'a T),
    /// The id was used for something else: `REQUEST_ID_REUSED`.
    Reused,
    /// At or below the horizon: `REQUEST_ID_EXPIRED`. Nothing is done now; whether it took effect
    /// earlier is unknown.
    Expired,
}

/// What is kept of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered<T> {
    /// Of what was asked.
    pub digest: u128,
    /// Who asked.
    pub caller: String,
    /// What came of it.
    pub outcome: T,
}

/// The memory. `T` is an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMemory<T> {
    limit: usize,
    remembered: SharedMap<RequestId, Remembered<T>>,
    /// Derived from `remembered`: whose ids they are, of those who show who they are.
    of_caller: BTreeMap<String, BTreeSet<RequestId>>,
    /// Only those above the common horizon.
    caller_horizons: BTreeMap<String, RequestId>,
    horizon: Option<RequestId>,
}

/// One caller may hold this part of the memory.
const CALLERS_SHARE: usize = 10;

/// Whoever does not show who he is. They can't be told from one another, so that a share of the
/// memory for each of them would be one for all: they have what others leave.
pub const ANYBODY: &str = "";

impl<T: Clone> RequestMemory<T> {
    /// An empty memory for `limit` requests.
    pub fn new(limit: usize) -> RequestMemory<T> {
        RequestMemory {
            limit: limit.max(CALLERS_SHARE),
            remembered: SharedMap::new(),
            of_caller: BTreeMap::new(),
            caller_horizons: BTreeMap::new(),
            horizon: None,
        }
    }

    /// The memory with these contents, as read from a snapshot.
    pub fn from_parts(
        limit: usize,
        remembered: SharedMap<RequestId, Remembered<T>>,
        caller_horizons: BTreeMap<String, RequestId>,
        horizon: Option<RequestId>,
    ) -> RequestMemory<T> {
        let mut of_caller: BTreeMap<String, BTreeSet<RequestId>> = BTreeMap::new();
        for (id, kept) in remembered.iter().filter(|(_, kept)| kept.caller != ANYBODY) {
            of_caller.entry(kept.caller.clone()).or_default().insert(*id);
        }
        RequestMemory { limit, remembered, of_caller, caller_horizons, horizon }
    }

    /// How many it keeps at the most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// All that is kept, by id.
    pub fn remembered(&self) -> &SharedMap<RequestId, Remembered<T>> {
        &self.remembered
    }

    /// The horizons of single callers that are above the common one.
    pub fn caller_horizons(&self) -> &BTreeMap<String, RequestId> {
        &self.caller_horizons
    }

    /// The common horizon.
    pub fn horizon(&self) -> Option<RequestId> {
        self.horizon
    }

    /// Looks a request up. To be asked before any check that depends on state: else the retry
    /// of a migration would be refused because of itself.
    pub fn look_up(&self, stamp: &RequestStamp) -> Seen<'_, T> {
        if let Some(kept) = self.remembered.get(&stamp.id) {
            // An id is the caller's own: the same one from somebody else is something else.
            let is_same = kept.digest == stamp.digest && kept.caller == stamp.caller;
            return if is_same { Seen::Before(&kept.outcome) } else { Seen::Reused };
        }
        let horizon = self.horizon.max(self.caller_horizons.get(&stamp.caller).copied());
        if horizon.is_some_and(|horizon| stamp.id <= horizon) {
            return Seen::Expired;
        }
        Seen::New
    }

    /// Keeps what came of a request, refusals like successes. Evicts one where it must.
    pub fn remember(&mut self, stamp: &RequestStamp, outcome: T) {
        let kept = Remembered { digest: stamp.digest, caller: stamp.caller.clone(), outcome };
        self.remembered.insert(stamp.id, kept);
        if let Some(least) = self.beyond_share(stamp) {
            self.forget(least);
            let horizon = self.caller_horizons.entry(stamp.caller.clone()).or_insert(least);
            *horizon = (*horizon).max(least);
        } else if self.remembered.len() > self.limit
            && let Some((least, _)) = self.remembered.first_key_value()
        {
            let least = *least;
            self.forget(least);
            self.horizon = self.horizon.max(Some(least));
            self.caller_horizons.retain(|_, own| *own > least);
        }
    }

    /// Counts a request to its caller's; his least, if he has more than his share by that.
    fn beyond_share(&mut self, stamp: &RequestStamp) -> Option<RequestId> {
        if stamp.caller == ANYBODY {
            return None;
        }
        let own = self.of_caller.entry(stamp.caller.clone()).or_default();
        own.insert(stamp.id);
        let is_over = own.len() > self.limit / CALLERS_SHARE;
        own.first().copied().filter(|_| is_over)
    }

    /// Raises the common horizon: what is not remembered and at or below it is refused from here on.
    pub(crate) fn raise_horizon(&mut self, horizon: RequestId) {
        self.horizon = self.horizon.max(Some(horizon));
        let common = self.horizon;
        self.caller_horizons.retain(|_, own| Some(*own) > common);
    }

    fn forget(&mut self, id: RequestId) {
        let Some(kept) = self.remembered.remove(&id) else { return };
        if let Some(own) = self.of_caller.get_mut(&kept.caller) {
            own.remove(&id);
            if own.is_empty() {
                self.of_caller.remove(&kept.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet as Set;
    use std::string::ToString;
    use uuid::Uuid;

    fn stamp(id: u128, digest: u128, caller: &str) -> RequestStamp {
        let id = RequestId::from_uuid(Uuid::from_u128(id + 1)).expect("not nil");
        RequestStamp { id, digest, caller: caller.to_string() }
    }

    #[test]
    fn same_id_same_digest_is_the_stored_outcome_and_another_digest_is_refused() {
        let mut memory = RequestMemory::new(100);
        memory.remember(&stamp(5, 1, "a"), "done");
        assert_eq!(memory.look_up(&stamp(5, 1, "a")), Seen::Before(&"done"));
        assert_eq!(memory.look_up(&stamp(5, 2, "a")), Seen::Reused);
        assert_eq!(memory.look_up(&stamp(5, 1, "b")), Seen::Reused);
    }

    #[test]
    fn a_greedy_caller_shuts_out_nobody_but_himself() {
        let mut memory = RequestMemory::new(100);
        memory.remember(&stamp(0, 0, "quiet"), ());
        for id in 1..50 {
            memory.remember(&stamp(id, 0, "greedy"), ());
        }
        assert_eq!(memory.look_up(&stamp(1, 0, "greedy")), Seen::Expired);
        assert_eq!(memory.look_up(&stamp(49, 0, "greedy")), Seen::Before(&()));
        assert_eq!(memory.look_up(&stamp(0, 0, "quiet")), Seen::Before(&()));
        assert_eq!(memory.horizon(), None);
    }

    /// Whoever shows no name may fill the memory; who shows one keeps his share all the same, as
    /// long as his ids are not the least.
    #[test]
    fn callers_without_a_name_share_what_others_leave() {
        let mut memory = RequestMemory::new(100);
        memory.remember(&stamp(1_000, 0, "named"), ());
        for id in 0..99 {
            memory.remember(&stamp(id, 0, ANYBODY), ());
        }
        assert_eq!(memory.look_up(&stamp(0, 0, ANYBODY)), Seen::Before(&()));
        memory.remember(&stamp(99, 0, ANYBODY), ());
        assert_eq!(memory.look_up(&stamp(0, 0, ANYBODY)), Seen::Expired);
        assert_eq!(memory.look_up(&stamp(1_000, 0, "named")), Seen::Before(&()));
        assert_eq!(memory.remembered().len(), 100);
    }

    proptest! {
        /// INV-11: whatever the order and however often ids come, each takes effect once at most,
        /// and the memory stays within its limit (INV-15).
        #[test]
        fn each_id_takes_effect_once(ids in prop::collection::vec((0u128..60, 0u8..15), 1..300)) {
            let mut memory = RequestMemory::new(20);
            let mut effects = Set::new();
            for (id, caller) in ids {
                let stamp = stamp(id * 100 + u128::from(caller), 0, &caller.to_string());
                if memory.look_up(&stamp) == Seen::New {
                    prop_assert!(effects.insert(stamp.id));
                    memory.remember(&stamp, ());
                }
                prop_assert!(memory.remembered().len() <= 20);
            }
        }
    }
}
