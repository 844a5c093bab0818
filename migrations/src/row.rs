//! Rows: the merge of two versions of a row, the sum that a stream is checked by, the rules for a
//! router's write and for a purge. Deletes are tombstones.

use crate::clock::{HybridTime, Timestamp};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// One version of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowVersion {
    /// When it was written, by which router.
    pub timestamp: Timestamp,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl RowVersion {
    /// Last write wins, in a total order: by timestamp; at the same one a tombstone is above a
    /// value and the greater value above the lesser, so that all replicas choose alike.
    fn order(&self, other: &RowVersion) -> Ordering {
        let by_kind = self.value.is_none().cmp(&other.value.is_none());
        let by_time = self.timestamp.cmp(&other.timestamp);
        by_time.then(by_kind).then_with(|| self.value.cmp(&other.value))
    }

    /// Whether this one wins over the other.
    pub fn supersedes(&self, other: &RowVersion) -> bool {
        self.order(other) == Ordering::Greater
    }

    /// Whether it is a tombstone that a purge up to `promise` may remove: one that every replica
    /// has, and that no write at or below `promise` can ever come below again.
    pub fn is_purgeable(&self, promise: HybridTime) -> bool {
        self.value.is_none() && self.timestamp.time <= promise
    }
}

/// What became of a row that was merged into a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// It is the newest now.
    Stored,
    /// The store has a newer one.
    Superseded,
    /// The store had exactly this one.
    AlreadyThere,
}

/// What merging `incoming` into a store that holds `current` does.
pub fn merge(current: Option<&RowVersion>, incoming: &RowVersion) -> Merged {
    match current.map(|current| incoming.order(current)) {
        None | Some(Ordering::Greater) => Merged::Stored,
        Some(Ordering::Less) => Merged::Superseded,
        Some(Ordering::Equal) => Merged::AlreadyThere,
    }
}

/// A replica refuses a router's write: `TIMESTAMP_BEHIND`. The router goes one above `highest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timestamp {offered} is not above {highest}")]
pub struct TimestampBehind {
    /// What was offered.
    pub offered: HybridTime,
    /// The highest time that it has to be above.
    pub highest: HybridTime,
}

/// What a replica does with a router's put or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStep {
    /// Store it.
    Store,
    /// The same write is there already: answer OK.
    AlreadyThere,
}

/// Decides on a router's write: it must be above the newest version of its key and above the
/// promised T of the tablet. (Streams and repair merge, and do not come here.)
///
/// Without the first check a router with a slow clock would have its write acknowledged and
/// hidden; without the second a purged tombstone could not keep an older write out.
pub fn admit_write(
    newest: Option<&RowVersion>,
    promise: HybridTime,
    incoming: &RowVersion,
) -> Result<WriteStep, TimestampBehind> {
    if newest == Some(incoming) {
        return Ok(WriteStep::AlreadyThere);
    }
    let newest_time = newest.map_or(HybridTime::ZERO, |row| row.timestamp.time);
    let is_above_newest = newest.is_none_or(|row| incoming.timestamp > row.timestamp);
    let highest = newest_time.max(promise);
    if !is_above_newest || incoming.timestamp.time <= promise {
        return Err(TimestampBehind { offered: incoming.timestamp.time, highest });
    }
    Ok(WriteStep::Store)
}

/// The sum of a set of rows: 128 bits, commutative, so that it does not depend on the order in
/// which chunks were read, sent again or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowSum(pub u128);

impl RowSum {
    /// Adds one version of one row: key, timestamp with router, kind, value.
    pub fn add(&mut self, key: &[u8], row: &RowVersion) {
        self.add_parts(key, row.timestamp, row.value.as_deref());
    }

    /// The same for a row whose parts lie apart, for those who read them in place.
    pub fn add_parts(&mut self, key: &[u8], timestamp: Timestamp, value: Option<&[u8]>) {
        let mut head = [0u8; 33];
        head[..8].copy_from_slice(&timestamp.time.0.to_le_bytes());
        head[8..24].copy_from_slice(timestamp.router.as_uuid().as_bytes());
        head[24] = u8::from(value.is_some());
        // Where the key ends is part of what is summed, or ("a", "bc") would equal ("ab", "c").
        head[25..].copy_from_slice(&(key.len() as u64).to_le_bytes());
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(&head);
        hasher.update(key);
        hasher.update(value.unwrap_or_default());
        self.0 = self.0.wrapping_add(hasher.digest128());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RouterId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn row(time: u64, router: u128, value: Option<&[u8]>) -> RowVersion {
        let router = RouterId::from_uuid(Uuid::from_u128(router + 1)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(time), router };
        RowVersion { timestamp, value: value.map(<[u8]>::to_vec) }
    }

    fn any_row() -> impl Strategy<Value = RowVersion> {
        (0u64..4, 0u128..3, proptest::option::of(0u8..3)).prop_map(|(time, router, value)| {
            row(time, router, value.as_ref().map(core::slice::from_ref))
        })
    }

    fn merged(current: Option<RowVersion>, incoming: &RowVersion) -> Option<RowVersion> {
        match merge(current.as_ref(), incoming) {
            Merged::Stored => Some(incoming.clone()),
            Merged::Superseded | Merged::AlreadyThere => current,
        }
    }

    proptest! {
        /// Whatever the order in which replicas learn of rows, they end alike.
        #[test]
        fn merging_is_commutative_and_idempotent(rows in prop::collection::vec(any_row(), 1..8)) {
            let forward = rows.iter().fold(None, merged);
            let backward = rows.iter().rev().fold(None, merged);
            let twice = rows.iter().chain(rows.iter()).fold(None, merged);
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(&forward, &twice);
        }

        #[test]
        fn an_admitted_write_is_the_newest(current in proptest::option::of(any_row()),
                                           incoming in any_row(), promise in 0u64..4) {
            let promise = HybridTime(promise);
            if let Ok(WriteStep::Store) = admit_write(current.as_ref(), promise, &incoming) {
                prop_assert_eq!(merge(current.as_ref(), &incoming), Merged::Stored);
                prop_assert!(incoming.timestamp.time > promise);
            }
        }

        #[test]
        fn sums_do_not_depend_on_order(rows in prop::collection::vec((any::<u8>(), any_row()), 0..8)) {
            let sum = |rows: &mut dyn Iterator<Item = &(u8, RowVersion)>| {
                let mut sum = RowSum::default();
                rows.for_each(|(key, row)| sum.add(&[*key], row));
                sum
            };
            prop_assert_eq!(sum(&mut rows.iter()), sum(&mut rows.iter().rev()));
        }
    }

    #[test]
    fn the_sum_knows_each_part() {
        let sum = |key: &[u8], row: &RowVersion| {
            let mut sum = RowSum::default();
            sum.add(key, row);
            sum
        };
        let base = sum(b"k", &row(1, 1, Some(b"v")));
        for other in [
            sum(b"l", &row(1, 1, Some(b"v"))),
            sum(b"k", &row(2, 1, Some(b"v"))),
            sum(b"k", &row(1, 2, Some(b"v"))),
            sum(b"k", &row(1, 1, Some(b"w"))),
            sum(b"k", &row(1, 1, Some(b""))),
            sum(b"k", &row(1, 1, None)),
            sum(b"kv", &row(1, 1, Some(b""))),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(sum(b"k", &row(1, 1, Some(b""))), sum(b"k", &row(1, 1, None)));
    }

    #[test]
    fn the_same_write_again_is_answered_ok_even_below_the_promise() {
        let write = row(5, 1, Some(b"v"));
        assert_eq!(admit_write(Some(&write), HybridTime(9), &write), Ok(WriteStep::AlreadyThere));
        let behind = TimestampBehind { offered: HybridTime(5), highest: HybridTime(9) };
        assert_eq!(admit_write(None, HybridTime(9), &write), Err(behind));
    }
}
