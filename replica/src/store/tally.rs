//! What a copy holds, counted and summed beside it, and the only way to change it.
//!
//! The tally changes in one batch with what it counts, and is compared with it when the store is
//! opened: a copy of which pages are missing, or are older than others, is found out, and lost.
//! The copy's name is in it, so that no copy passes for another.
//! That a whole copy is older than it should be is told by the number of its changes (`manifest`).
//!
//! ```text
//! changes 8, rows 8, bytes 8, sum of the rows 16, sum of all other entries 16
//! ```

use super::error::StoreError;
use super::layout;
use super::manifest::{CopyNote, Pending};
use super::sled_store::Copy;
use migrations::id::TabletId;
use migrations::row::{ROW_HEAD_BYTES, RowSum, RowVersion};
use migrations::version::CopyId;

/// Counts and sums of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// How often the copy has changed: each batch is one.
    pub(super) changes: u64,
    /// Rows, tombstones among them.
    pub(super) rows: u64,
    /// Their bytes when they are packed.
    pub(super) bytes: u64,
    /// Their sum.
    pub(super) sum: RowSum,
    /// The sum of its name, the record, the promise and the streams on record.
    pub(super) notes: RowSum,
}

impl Tally {
    /// Of a copy with nothing in it. Its name counts too: after damage sled can show one copy's
    /// pages, whole as they are, in the tree of another.
    pub(super) fn of((tablet, copy): (TabletId, CopyId)) -> Tally {
        let mut tally = Tally::default();
        tally.note(b"", None, Some(layout::tree_name(tablet, copy).as_bytes()));
        tally
    }

    /// One row has taken the place of another, or of none; or is gone.
    fn row(&mut self, position: &[u8], before: Option<&RowVersion>, after: Option<&RowVersion>) {
        if let Some(row) = before {
            self.sum.remove(position, row);
            self.rows = self.rows.wrapping_sub(1);
            self.bytes = self.bytes.wrapping_sub(packed(position, row));
        }
        if let Some(row) = after {
            self.sum.add(position, row);
            self.rows = self.rows.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(packed(position, row));
        }
    }

    fn note(&mut self, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let summed = |value: &[u8]| {
            let mut sum = RowSum::default();
            sum.add_encoded(&[&(key.len() as u64).to_be_bytes()[..], key, value].concat());
            sum.0
        };
        if let Some(value) = before {
            self.notes.0 = self.notes.0.wrapping_sub(summed(value));
        }
        if let Some(value) = after {
            self.notes.0 = self.notes.0.wrapping_add(summed(value));
        }
    }
}

/// How long a row is when it is packed.
fn packed(position: &[u8], row: &RowVersion) -> u64 {
    (ROW_HEAD_BYTES + position.len() + row.value.as_ref().map_or(0, Vec::len)) as u64
}

/// A change of one copy: nothing of it is there before [`Change::apply`], then all of it.
pub(super) struct Change<'a> {
    copy: &'a mut Copy,
    batch: sled::Batch,
    tally: Tally,
}

impl<'a> Change<'a> {
    /// A change of a copy, without anything in it.
    pub(super) fn of(copy: &'a mut Copy) -> Change<'a> {
        let tally = copy.tally;
        Change { copy, batch: sled::Batch::default(), tally }
    }

    /// The copy's tree.
    pub(super) fn tree(&self) -> &sled::Tree {
        &self.copy.tree
    }

    /// Writes, or takes away, an entry that is no row: once each.
    pub(super) fn note(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let before = self.copy.tree.get(key)?;
        self.tally.note(key, before.as_deref(), value);
        match value {
            Some(value) => self.batch.insert(key, value),
            None => self.batch.remove(key),
        }
        Ok(())
    }

    /// Puts a row in place of one, whose stored form is `stored`.
    pub(super) fn put(
        &mut self,
        position: &[u8],
        row: &RowVersion,
        before: Option<(&sled::IVec, &RowVersion)>,
    ) -> Result<(), StoreError> {
        let stored = before.map(|(stored, _)| &stored[..]);
        layout::insert_row(&mut self.batch, position, row, stored)?;
        self.tally.row(position, before.map(|(_, row)| row), Some(row));
        Ok(())
    }

    /// Takes a row away, whose stored form is `stored`.
    pub(super) fn remove(
        &mut self,
        position: &[u8],
        stored: &[u8],
        row: &RowVersion,
    ) -> Result<(), StoreError> {
        layout::remove_row(&mut self.batch, position, stored)?;
        self.tally.row(position, Some(row), None);
        Ok(())
    }

    /// Makes it.
    pub(super) fn apply(mut self, told: &Pending) -> Result<(), StoreError> {
        self.tally.changes += 1;
        self.batch.insert(layout::TALLY, layout::encode_tally(&self.tally));
        self.copy.tree.apply_batch(self.batch)?;
        self.copy.tally = self.tally;
        let (tablet, copy) = self.copy.name;
        // After the store has it: the sync that takes this note covers the change.
        told.copy(tablet, copy, CopyNote::Changes(self.tally.changes));
        Ok(())
    }
}

/// Reads a copy through, and compares it with its tally, and that with what is known to be
/// durable. Why it is lost, if it is.
pub(super) fn check(
    name: (TabletId, CopyId),
    tree: &sled::Tree,
    noted: Option<CopyNote>,
) -> Result<Tally, StoreError> {
    let (tablet, copy) = name;
    let lost = |what: &str| StoreError::damaged(format!("copy {copy} of tablet {tablet}: {what}"));
    let tally = tree.get(layout::TALLY)?.ok_or_else(|| lost("it has no tally"))?;
    let tally = layout::decode_tally(&tally)?;
    if matches!(noted, Some(CopyNote::Changes(durable)) if tally.changes < durable) {
        return Err(lost("changes are missing that were durable"));
    }
    let mut found = Tally { changes: tally.changes, ..Tally::of(name) };
    for pair in tree {
        let (key, stored) = pair?;
        if key == layout::TALLY || key.starts_with(layout::PIECES) {
            continue;
        }
        match key.strip_prefix(layout::ROWS) {
            Some(position) => {
                let row = layout::decode_row(tree, position, &stored)?;
                found.row(position, None, Some(&row));
            }
            None => found.note(&key, None, Some(&stored)),
        }
    }
    if found == tally { Ok(tally) } else { Err(lost("it is not what was written to it")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::clock::{HybridTime, Timestamp};
    use migrations::id::RouterId;
    use uuid::Uuid;

    #[test]
    fn what_comes_and_goes_leaves_nothing_and_a_row_counts_as_long_as_it_is_packed() {
        let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(1), router };
        for value in [None, Some(vec![7; 10])] {
            let row = RowVersion { timestamp, value };
            let mut tally = Tally::default();
            tally.row(b"key", None, Some(&row));
            let expected = crate::stream::codec::packed_bytes(b"key", &row) as u64;
            assert_eq!((tally.rows, tally.bytes), (1, expected));
            tally.note(b"mrecord", None, Some(b"one"));
            tally.note(b"mrecord", Some(b"one"), Some(b"other"));
            assert_ne!(tally.notes, RowSum::default());
            tally.row(b"key", Some(&row), None);
            tally.note(b"mrecord", Some(b"other"), None);
            assert_eq!(tally, Tally::default());
        }
    }
}
