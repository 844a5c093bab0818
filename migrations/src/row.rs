//! Rows: the merge of two versions of a row, the sum that a stream is checked by, the rules for a
//! router's write and for a purge. Deletes are tombstones.

use crate::clock::{HybridTime, Timestamp};
use crate::rule::{Rule, is_undone};
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
    let is_above_newest = newest.is_none_or(|row| incoming.timestamp > row.timestamp)
        || is_undone(Rule::OldTimestampsRefused);
    let highest = newest_time.max(promise);
    if !is_above_newest || incoming.timestamp.time <= promise {
        return Err(TimestampBehind { offered: incoming.timestamp.time, highest });
    }
    Ok(WriteStep::Store)
}

/// The sum of a set of rows: 128 bits, commutative, so that it does not depend on the order in
/// which chunks were read, sent again or stored. Each row adds the XXH3-128 of its encoded form,
/// see [`encode_row`], modulo 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowSum(pub u128);

impl RowSum {
    /// Adds one version of one row.
    pub fn add(&mut self, position: &[u8], row: &RowVersion) {
        self.add_all(core::iter::once((position, row)));
    }

    /// Adds rows.
    pub fn add_all<'a>(&mut self, rows: impl IntoIterator<Item = (&'a [u8], &'a RowVersion)>) {
        let mut encoded = Vec::new();
        for (position, row) in rows {
            encoded.clear();
            encode_row(position, row, &mut encoded);
            self.add_encoded(&encoded);
        }
    }

    /// Takes away one version of one row that was added.
    pub fn remove(&mut self, position: &[u8], row: &RowVersion) {
        let mut alone = RowSum::default();
        alone.add(position, row);
        self.0 = self.0.wrapping_sub(alone.0);
    }

    /// Adds one row whose bytes, as [`encode_row`] writes them, lie at hand.
    pub fn add_encoded(&mut self, row: &[u8]) {
        self.0 = self.0.wrapping_add(xxhash_rust::xxh3::xxh3_128(row));
    }
}

/// Bytes of an encoded row besides its position and value.
pub const ROW_HEAD_BYTES: usize = 33;
/// The kind of an encoded tombstone.
pub const ROW_TOMBSTONE: u8 = 0;
/// The kind of an encoded value.
pub const ROW_VALUE: u8 = 1;

/// Writes a row behind `bytes`, in the one form that is summed and that chunks are made of, so
/// that both ends of a stream sum what lies in the chunk:
///
/// ```text
/// length of the position   4 bytes, little-endian, as all numbers are
/// hybrid time              8
/// router                  16
/// kind                     1   0 a tombstone, 1 a value
/// length of the value      4   0 for a tombstone
/// position, value
/// ```
///
/// Positions and values are shorter than 4 GiB.
pub fn encode_row(position: &[u8], row: &RowVersion, bytes: &mut Vec<u8>) {
    let value = row.value.as_deref().unwrap_or_default();
    let mut head = [0; ROW_HEAD_BYTES];
    // Where the position ends is part of what is summed, or ("a", "bc") would equal ("ab", "c").
    head[..4].copy_from_slice(&length(position));
    head[4..12].copy_from_slice(&row.timestamp.time.0.to_le_bytes());
    head[12..28].copy_from_slice(row.timestamp.router.as_uuid().as_bytes());
    head[28] = if row.value.is_some() { ROW_VALUE } else { ROW_TOMBSTONE };
    head[29..].copy_from_slice(&length(value));
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(position);
    bytes.extend_from_slice(value);
}

fn length(part: &[u8]) -> [u8; 4] {
    debug_assert!(u32::try_from(part.len()).is_ok());
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
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

    /// Programs of different versions sum alike: what a row is summed as never changes.
    #[test]
    fn an_encoded_row_and_its_sum_stay_as_they_are() {
        let mut encoded = Vec::new();
        encode_row(b"k", &row(0x0102, 1, Some(b"vw")), &mut encoded);
        let expected = [
            &[1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            &[1, 2, 0, 0, 0, b'k', b'v', b'w'],
        ];
        assert_eq!(encoded, expected.concat());
        let mut sum = RowSum::default();
        sum.add(b"k", &row(0x0102, 1, Some(b"vw")));
        assert_eq!(sum, RowSum(0xcea7_ca8f_8c98_a85d_456e_eaac_cffe_0045));
        sum.add(b"l", &row(1, 1, None));
        assert_eq!(sum, RowSum(0xc4a4_3687_b652_9fdb_9903_e5ef_7f96_252e));
    }

    #[test]
    fn the_same_write_again_is_answered_ok_even_below_the_promise() {
        let write = row(5, 1, Some(b"v"));
        assert_eq!(admit_write(Some(&write), HybridTime(9), &write), Ok(WriteStep::AlreadyThere));
        let behind = TimestampBehind { offered: HybridTime(5), highest: HybridTime(9) };
        assert_eq!(admit_write(None, HybridTime(9), &write), Err(behind));
    }
}
