//! Positions: where a key lies in its table. A tablet owns a half-open range of them.

use alloc::vec::Vec;

/// A place in a table, ordered as bytes.
pub type Position = Vec<u8>;

/// Half open: from `start` on, up to but without `end`; no `end` is up to the last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PositionRange {
    /// The first position; empty is the very first.
    pub start: Position,
    /// The first position that is no longer in it.
    pub end: Option<Position>,
}

/// How a table's keys become positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partitioning {
    /// XXH3-64 of the key, big-endian, then the key: keys spread evenly.
    Hash,
    /// The key itself: keys stay in order.
    Range,
}

/// Width of the hash in front of a key.
const HASH_WIDTH: usize = 8;

impl PositionRange {
    /// Whether a position lies in it.
    pub fn contains(&self, position: &[u8]) -> bool {
        self.start.as_slice() <= position
            && self.end.as_ref().is_none_or(|end| position < end.as_slice())
    }
}

impl Partitioning {
    /// Where a key lies.
    pub fn position(self, key: &[u8]) -> Position {
        match self {
            Partitioning::Hash => {
                let mut position = Vec::with_capacity(HASH_WIDTH + key.len());
                position.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(key).to_be_bytes());
                position.extend_from_slice(key);
                position
            }
            Partitioning::Range => key.to_vec(),
        }
    }

    /// The key that lies at a position, or `None` where no key can lie.
    pub fn key(self, position: &[u8]) -> Option<&[u8]> {
        match self {
            Partitioning::Hash => position.get(HASH_WIDTH..),
            Partitioning::Range => Some(position),
        }
    }

    /// Ranges that cut the whole hash space into `count` even parts.
    pub fn even_ranges(count: u32) -> Vec<PositionRange> {
        let bound = |n: u64| -> Position {
            let at = (u128::from(n) << 64) / u128::from(count.max(1));
            (at as u64).to_be_bytes().to_vec()
        };
        let bounds: Vec<Position> = (1..u64::from(count.max(1))).map(bound).collect();
        ranges_between(&bounds)
    }
}

/// The ranges that these bounds, in order, cut the whole space into.
pub fn ranges_between(bounds: &[Position]) -> Vec<PositionRange> {
    let starts = core::iter::once(Position::new()).chain(bounds.iter().cloned());
    let ends = bounds.iter().cloned().map(Some).chain(core::iter::once(None));
    starts.zip(ends).map(|(start, end)| PositionRange { start, end }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_key_lies_in_exactly_one_tablet(key: Vec<u8>, count in 1u32..200) {
            let position = Partitioning::Hash.position(&key);
            let ranges = Partitioning::even_ranges(count);
            prop_assert_eq!(ranges.len(), count as usize);
            prop_assert_eq!(ranges.iter().filter(|r| r.contains(&position)).count(), 1);
            prop_assert_eq!(Partitioning::Hash.key(&position), Some(key.as_slice()));
        }
    }
}
