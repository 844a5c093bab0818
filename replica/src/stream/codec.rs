//! Rows as a chunk holds them: one behind the other, each as [`encode_row`] writes it. A row's sum
//! is over these very bytes.
//!
//! Whatever the bytes are, reading them ends, and touches nothing outside them.

use crate::limits::{POSITION_BYTES, VALUE_BYTES};
use bytes::Bytes;
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::RouterId;
use migrations::position::Position;
use migrations::row::{ROW_HEAD_BYTES, ROW_TOMBSTONE, ROW_VALUE, RowSum, RowVersion, encode_row};
use uuid::Uuid;

/// Bytes of rows in one chunk, unless a single row is larger.
pub const CHUNK_BYTES: usize = 256 << 10;
/// The longest packed row.
pub const ROW_BYTES: usize = ROW_HEAD_BYTES + POSITION_BYTES + VALUE_BYTES;

/// A row, where it lies in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedRow<'a> {
    /// Where it belongs.
    pub position: &'a [u8],
    /// When it was written, by which router.
    pub timestamp: Timestamp,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// All of it, as it is summed.
    pub encoded: &'a [u8],
}

impl PackedRow<'_> {
    /// The row by itself.
    pub fn to_row(&self) -> (Position, RowVersion) {
        let value = self.value.map(<[u8]>::to_vec);
        (self.position.to_vec(), RowVersion { timestamp: self.timestamp, value })
    }
}

/// The bytes are no rows. Says nothing of what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRows {
    /// A row goes on after the last byte.
    #[error("a row is cut short")]
    Cut,
    /// A row is of a kind that this program doesn't know.
    #[error("a row is of no known kind")]
    Kind,
    /// A tombstone has a value.
    #[error("a tombstone with a value")]
    TombstoneWithValue,
    /// The router is nil.
    #[error("a row without a router")]
    Router,
    /// A position, a value, or the whole is longer than it may be.
    #[error("a position, a value or the chunk is too long")]
    TooLong,
}

/// Rows that were packed into one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The packed rows.
    pub bytes: Bytes,
    /// How many.
    pub rows: usize,
}

/// Packs rows from the first on, as many as go into one chunk and at least one, and adds them to
/// the sum.
pub fn pack(rows: &[(Position, RowVersion)], sum: &mut RowSum) -> Packed {
    let mut length = 0;
    let fit = rows.iter().enumerate().take_while(|(index, (position, row))| {
        length += packed_bytes(position, row);
        *index == 0 || length <= CHUNK_BYTES
    });
    let rows = &rows[..fit.count()];
    let length = rows.iter().map(|(position, row)| packed_bytes(position, row)).sum();
    let mut bytes = Vec::with_capacity(length);
    for (position, row) in rows {
        let begin = bytes.len();
        encode_row(position, row, &mut bytes);
        sum.add_encoded(&bytes[begin..]);
    }
    Packed { bytes: bytes.into(), rows: rows.len() }
}

/// How long a row is when it is packed.
pub fn packed_bytes(position: &[u8], row: &RowVersion) -> usize {
    ROW_HEAD_BYTES + position.len() + row.value.as_ref().map_or(0, Vec::len)
}

/// The rows of a chunk, in place. Ends after the first that is none.
pub fn unpack(bytes: &[u8]) -> Unpack<'_> {
    let is_too_long = bytes.len() > CHUNK_BYTES.max(ROW_BYTES);
    Unpack { rest: bytes, is_over: false, is_too_long, is_long: bytes.len() > CHUNK_BYTES }
}

/// The rows of a chunk, each by itself.
pub fn unpack_all(bytes: &[u8]) -> Result<Vec<(Position, RowVersion)>, NotRows> {
    unpack(bytes).map(|row| row.map(|row| row.to_row())).collect()
}

/// See [`unpack`].
#[derive(Debug, Clone)]
pub struct Unpack<'a> {
    rest: &'a [u8],
    is_over: bool,
    is_too_long: bool,
    /// Longer than a chunk of several rows may be.
    is_long: bool,
}

impl<'a> Unpack<'a> {
    fn row(&mut self) -> Result<PackedRow<'a>, NotRows> {
        if self.is_too_long {
            return Err(NotRows::TooLong);
        }
        let (head, rest) = self.rest.split_at_checked(ROW_HEAD_BYTES).ok_or(NotRows::Cut)?;
        let position_length = number(&head[..4]);
        let router = Uuid::from_slice(&head[12..28]).ok().and_then(RouterId::from_uuid);
        let router = router.ok_or(NotRows::Router)?;
        let mut time = [0; 8];
        time.copy_from_slice(&head[4..12]);
        let time = HybridTime(u64::from_le_bytes(time));
        let value_length = number(&head[29..]);
        if position_length > POSITION_BYTES || value_length > VALUE_BYTES {
            return Err(NotRows::TooLong);
        }
        let (position, rest) = rest.split_at_checked(position_length).ok_or(NotRows::Cut)?;
        let (value, rest) = rest.split_at_checked(value_length).ok_or(NotRows::Cut)?;
        let value = match head[28] {
            ROW_VALUE => Some(value),
            ROW_TOMBSTONE if value.is_empty() => None,
            ROW_TOMBSTONE => return Err(NotRows::TombstoneWithValue),
            _ => return Err(NotRows::Kind),
        };
        if self.is_long && !rest.is_empty() {
            return Err(NotRows::TooLong);
        }
        let encoded = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Ok(PackedRow { position, timestamp: Timestamp { time, router }, value, encoded })
    }
}

impl<'a> Iterator for Unpack<'a> {
    type Item = Result<PackedRow<'a>, NotRows>;

    fn next(&mut self) -> Option<Result<PackedRow<'a>, NotRows>> {
        if self.is_over || self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        self.is_over = row.is_err();
        Some(row)
    }
}

/// Four bytes as a length.
fn number(bytes: &[u8]) -> usize {
    let mut four = [0; 4];
    four.copy_from_slice(bytes);
    usize::try_from(u32::from_le_bytes(four)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Row = (Position, RowVersion);

    fn any_row() -> impl Strategy<Value = Row> {
        let value = proptest::option::of(vec(any::<u8>(), 0..3_000));
        let parts = (vec(any::<u8>(), 0..40), any::<u64>(), 1u128.., value);
        parts.prop_map(|(position, time, router, value)| {
            let router = RouterId::from_uuid(Uuid::from_u128(router)).expect("not nil");
            let timestamp = Timestamp { time: HybridTime(time), router };
            (position, RowVersion { timestamp, value })
        })
    }

    fn row_of(value: usize) -> Row {
        let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(1), router };
        (b"k".to_vec(), RowVersion { timestamp, value: Some(vec![7; value]) })
    }

    fn in_chunks(mut rows: &[Row]) -> (Vec<Packed>, RowSum) {
        let (mut chunks, mut sum) = (Vec::new(), RowSum::default());
        while !rows.is_empty() {
            let packed = pack(rows, &mut sum);
            rows = &rows[packed.rows..];
            chunks.push(packed);
        }
        (chunks, sum)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_come_out_as_they_went_in(rows in vec(any_row(), 0..250)) {
            let (chunks, sum) = in_chunks(&rows);
            let (mut out, mut summed) = (Vec::new(), RowSum::default());
            for chunk in &chunks {
                prop_assert!(chunk.bytes.len() <= CHUNK_BYTES);
                for row in unpack(&chunk.bytes) {
                    let row = row.expect("packed here");
                    summed.add_encoded(row.encoded);
                    out.push(row.to_row());
                }
            }
            let mut by_rows = RowSum::default();
            by_rows.add_all(rows.iter().map(|(position, row)| (position.as_slice(), row)));
            prop_assert_eq!(out, rows);
            prop_assert_eq!((summed, by_rows), (sum, sum));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in vec(any::<u8>(), 0..2_000)) {
            let _either = unpack_all(&bytes);
        }

        #[test]
        fn a_chunk_that_is_cut_or_bent_is_rows_or_not_but_ends(
            rows in vec(any_row(), 1..20), at: prop::sample::Index, bit in 0u8..8, cut: bool,
        ) {
            let mut bytes = pack(&rows, &mut RowSum::default()).bytes.to_vec();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            if let Ok(out) = unpack_all(&bytes) {
                prop_assert_ne!(out, rows, "what is bent isn't what it was");
            }
        }
    }

    #[test]
    fn only_a_single_row_may_be_longer_than_a_chunk() {
        let longest = row_of(VALUE_BYTES);
        let (chunks, _) = in_chunks(&[longest.clone(), row_of(1)]);
        assert_eq!(chunks.iter().map(|chunk| chunk.rows).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(unpack_all(&chunks[0].bytes), Ok(vec![longest.clone()]));
        let mut both = chunks[0].bytes.to_vec();
        both.extend_from_slice(&chunks[1].bytes);
        assert_eq!(unpack_all(&both), Err(NotRows::TooLong));
        assert_eq!(unpack_all(&vec![0; ROW_BYTES + 1]), Err(NotRows::TooLong));
    }

    #[test]
    fn what_no_row_can_be_is_named() {
        let (position, row) = row_of(3);
        let packed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode_row(&position, &row, &mut bytes);
            change(&mut bytes);
            unpack_all(&bytes).err()
        };
        assert_eq!(packed(&|_| {}), None);
        assert_eq!(packed(&|bytes| bytes[28] = 2), Some(NotRows::Kind));
        assert_eq!(packed(&|bytes| bytes[28] = 0), Some(NotRows::TombstoneWithValue));
        assert_eq!(packed(&|bytes| bytes[12..28].fill(0)), Some(NotRows::Router));
        assert_eq!(packed(&|bytes| bytes[3] = 1), Some(NotRows::TooLong));
        assert_eq!(packed(&|bytes| _ = bytes.pop()), Some(NotRows::Cut));
        assert_eq!(packed(&|bytes| bytes.push(0)), Some(NotRows::Cut));
    }
}
