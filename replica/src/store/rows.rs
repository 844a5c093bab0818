//! Rows: what is done to them under a guard. Each method looks again, under the tablet's lock,
//! whether its guard still permits it; what was checked before may have changed since.

use super::error::{DataError, IngestError, PurgeError, StoreError};
use super::layout;
use super::sled_store::{Copy, Entry, SledStore};
use super::streams::{Chunk, Ingested};
use super::tally::Change;
use super::{Begun, Call, Digest, Page, Progress, Purged, StreamOnRecord, StreamState};
#[cfg(feature = "faults")]
use crate::faults::DiskFault;
use crate::guard::{Revoked, TopologyGuard, VersionGuard};
use crate::limits::{PURGE_SLICE_ROWS, SCAN_ROWS};
use crate::lock::locked;
use migrations::agent::admit::{self, WorkRefused};
use migrations::agent::calls;
use migrations::clock::HybridTime;
use migrations::id::NodeId;
use migrations::position::Position;
use migrations::row::{Merged, RowVersion, WriteStep, admit_write, merge};
use migrations::version::CopyId;
use std::ops::Bound;

/// Bytes of rows that a sum reads under one hold of the tablet's lock.
const DIGEST_SLICE_BYTES: usize = 256 << 10;

impl SledStore {
    pub(super) fn begin_call_of(
        &self,
        guard: &TopologyGuard,
        call: Call,
    ) -> Result<Begun, IngestError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let transition = entry.record.as_ref().and_then(|record| record.transition.as_ref());
        let migration = transition.map(|transition| transition.migration);
        let copy = self.admit_session(&mut entry, guard)?;
        let migration = migration.ok_or(IngestError::SessionUnknown(guard.session()))?;
        let source = call.source;
        let begun = calls::begin(copy.streams.get(&source), guard.session(), migration, call);
        if let Begun::New(stream) = &begun {
            self.write_stream(copy, source, stream.clone())?;
        }
        Ok(begun)
    }

    pub(super) fn end_call_of(
        &self,
        guard: &TopologyGuard,
        source: NodeId,
        call: u64,
        state: StreamState,
    ) -> Result<(), IngestError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let copy = match state {
            StreamState::Failed => find_copy(&mut entry, guard),
            StreamState::Running | StreamState::Complete => self.admit_session(&mut entry, guard),
        }?;
        let mut stream = current_call(copy, guard, source, call)?.clone();
        stream.state = state;
        Ok(self.write_stream(copy, source, stream)?)
    }

    pub(super) fn ingest_chunk(
        &self,
        guard: &TopologyGuard,
        chunk: Chunk<'_>,
    ) -> Result<Ingested, IngestError> {
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Rows, "write rows")?;
        self.space.admit_rows()?;
        for (position, row) in chunk.rows {
            layout::check_size(position, row)?;
        }
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let range = entry.record.as_ref().map(|record| record.range.clone());
        let copy = self.admit_session(&mut entry, guard)?;
        let is_inside = |p: &[u8]| range.as_ref().is_none_or(|range| range.contains(p));
        let is_ordered = chunk.rows.is_sorted_by(|(a, _), (b, _)| a < b);
        let mut ends = chunk.rows.first().into_iter().chain(chunk.rows.last());
        if !is_ordered || !ends.all(|(position, _)| is_inside(position)) {
            return Err(IngestError::OutOfRange);
        }
        let stream = match current_call(copy, guard, chunk.source, chunk.call) {
            Ok(stream) => Some(stream.clone()),
            Err(_) if guard.is_unchecked() => None,
            Err(error) => return Err(error),
        };
        let mut change = Change::of(copy);
        let merged = merge_rows(&mut change, chunk.rows)?;
        let progress = advanced(&chunk);
        let stream = stream.map(|stream| StreamOnRecord { progress: progress.clone(), ..stream });
        if let Some(stream) = &stream {
            let encoded = layout::encode_stream(stream);
            change.note(&layout::stream_key(chunk.source), Some(&encoded))?;
        }
        change.apply(&self.told)?;
        if let Some(stream) = stream {
            copy.streams.insert(chunk.source, stream);
        }
        Ok(Ingested { merged, progress })
    }

    pub(super) fn read_session_rows(
        &self,
        guard: &TopologyGuard,
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<Page, IngestError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let copy = self.admit_session(&mut entry, guard)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(read_page(&copy.tree, from, usize::MAX, max_bytes)?)
    }

    pub(super) fn put_row(
        &self,
        guard: &VersionGuard,
        position: &[u8],
        row: &RowVersion,
    ) -> Result<WriteStep, DataError> {
        layout::check_size(position, row)?;
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Rows, "write a row")?;
        self.space.admit_rows()?;
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        // What was admitted is finished, since the barrier waits for it; until that wait is
        // given up.
        if guard.is_forced() {
            return Err(DataError::StaleVersion { current: entry.floor.version() });
        }
        let guarded = guard.record();
        if !guarded.range.contains(position) {
            return Err(DataError::OutOfRange);
        }
        let promise = admit::write_promise(entry.promise, entry.record.as_deref(), guarded);
        let copy = copy_of(&mut entry, guard)?;
        let stored = copy.tree.get(layout::row_key(position)).map_err(StoreError::from)?;
        let decode = |stored: &sled::IVec| layout::decode_row(&copy.tree, position, stored);
        let newest = stored.as_ref().map(decode).transpose()?;
        let step = admit_write(newest.as_ref(), promise, row)?;
        if step == WriteStep::Store {
            let mut change = Change::of(copy);
            change.put(position, row, stored.as_ref().zip(newest.as_ref()))?;
            change.apply(&self.told)?;
        }
        Ok(step)
    }

    pub(super) fn get_row(
        &self,
        guard: &VersionGuard,
        position: &[u8],
    ) -> Result<Option<RowVersion>, DataError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let tree = &copy_of(&mut entry, guard)?.tree;
        let stored = tree.get(layout::row_key(position)).map_err(StoreError::from)?;
        let row = stored.map(|stored| layout::decode_row(tree, position, &stored));
        Ok(row.transpose()?)
    }

    pub(super) fn scan_rows(
        &self,
        guard: &VersionGuard,
        start: &[u8],
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page, DataError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let tree = &copy_of(&mut entry, guard)?.tree;
        Ok(read_page(tree, Bound::Included(start), limit.min(SCAN_ROWS), max_bytes)?)
    }

    pub(super) fn digest_rows(&self, guard: &VersionGuard) -> Result<Digest, DataError> {
        let entry = self.entry(guard.tablet());
        let promise = guard.record().promise;
        let mut digest = Digest::default();
        let mut after: Option<Position> = None;
        loop {
            let mut entry = locked(&entry);
            if !guard.is_current() {
                return Err(DataError::StaleVersion { current: entry.floor.version() });
            }
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let tree = &copy_of(&mut entry, guard)?.tree;
            let page = read_page(tree, from, SCAN_ROWS, DIGEST_SLICE_BYTES)?;
            drop(entry);
            let kept = page.rows.iter().filter(|(_, row)| !row.is_purgeable(promise));
            digest.sum.add_all(kept.clone().map(|(position, row)| (position.as_slice(), row)));
            for (_, row) in kept {
                let counted =
                    if row.value.is_some() { &mut digest.rows } else { &mut digest.tombstones };
                *counted += 1;
            }
            if page.is_last {
                return Ok(digest);
            }
            after = page.rows.into_iter().next_back().map(|(position, _)| position);
        }
    }

    pub(super) fn purge_slice(
        &self,
        guard: &VersionGuard,
        promise: HybridTime,
        after: Option<&[u8]>,
    ) -> Result<Purged, PurgeError> {
        let is_held = self.lease.is_held();
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        let (now, is_current) = (entry.record.as_deref(), guard.is_current());
        admit::admit_purge(now, guard.version(), is_current, promise, is_held)?;
        let copy = copy_of(&mut entry, guard)?;
        let tree = copy.tree.clone();
        let mut change = Change::of(copy);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut looked_at, mut last, mut removed) = (0, None, 0);
        for pair in stored_rows(&tree, from).take(PURGE_SLICE_ROWS) {
            let (position, stored) = pair.map_err(DataError::from)?;
            let row = layout::decode_row(&tree, &position, &stored).map_err(DataError::from)?;
            if row.is_purgeable(promise) {
                change.remove(&position, &stored, &row).map_err(DataError::from)?;
                removed += 1;
            }
            looked_at += 1;
            last = Some(position);
        }
        if removed > 0 {
            change.apply(&self.told).map_err(DataError::from)?;
        }
        Ok(Purged { removed, after: last.filter(|_| looked_at == PURGE_SLICE_ROWS) })
    }

    /// About how many bytes of packed rows the copy of a session's work holds.
    pub(super) fn size_of(&self, guard: &TopologyGuard) -> Result<u64, IngestError> {
        let entry = self.entry(guard.tablet());
        let mut entry = locked(&entry);
        Ok(self.admit_session(&mut entry, guard)?.tally.bytes)
    }

    fn write_stream(
        &self,
        copy: &mut Copy,
        source: NodeId,
        stream: StreamOnRecord,
    ) -> Result<(), StoreError> {
        let mut change = Change::of(copy);
        change.note(&layout::stream_key(source), Some(&layout::encode_stream(&stream)))?;
        change.apply(&self.told)?;
        copy.streams.insert(source, stream);
        Ok(())
    }

    /// The copy that a session's work is on, if its guard still permits it: the lease is held,
    /// and the tablet's durable record names the session and gives the copy. INV-2.
    pub(super) fn admit_session<'a>(
        &self,
        entry: &'a mut Entry,
        guard: &TopologyGuard,
    ) -> Result<&'a mut Copy, IngestError> {
        guard.check()?;
        if guard.is_unchecked() {
            return find_any_copy(entry, guard);
        }
        let (record, is_held) = (entry.record.as_deref(), self.lease.is_held());
        let (session, copy) = (guard.session(), guard.copy());
        match admit::admit_work(record, entry.given, session, copy, is_held) {
            Ok(()) => find_copy(entry, guard),
            Err(WorkRefused::LeaseExpired) => Err(Revoked::LeaseExpired.into()),
            Err(WorkRefused::SessionUnknown) => Err(IngestError::SessionUnknown(session)),
            Err(WorkRefused::WrongCopy) => Err(wrong_copy(guard)),
        }
    }
}

fn wrong_copy(guard: &TopologyGuard) -> IngestError {
    IngestError::WrongCopy { tablet: guard.tablet(), copy: guard.copy() }
}

fn find_copy<'a>(entry: &'a mut Entry, guard: &TopologyGuard) -> Result<&'a mut Copy, IngestError> {
    entry.copies.get_mut(&guard.copy()).ok_or_else(|| wrong_copy(guard))
}

/// For a control, whose session may be of a copy that is gone: any copy of the tablet.
fn find_any_copy<'a>(
    entry: &'a mut Entry,
    guard: &TopologyGuard,
) -> Result<&'a mut Copy, IngestError> {
    let is_there = entry.copies.contains_key(&guard.copy());
    let any = || entry.copies.keys().next_back().copied();
    let copy: Option<CopyId> = if is_there { Some(guard.copy()) } else { any() };
    copy.and_then(|copy| entry.copies.get_mut(&copy)).ok_or_else(|| wrong_copy(guard))
}

fn copy_of<'a>(entry: &'a mut Entry, guard: &VersionGuard) -> Result<&'a mut Copy, DataError> {
    let (tablet, copy) = (guard.tablet(), guard.copy());
    entry.copies.get_mut(&copy).ok_or(DataError::NoCopy { tablet, copy })
}

fn current_call<'a>(
    copy: &'a Copy,
    guard: &TopologyGuard,
    source: NodeId,
    call: u64,
) -> Result<&'a StreamOnRecord, IngestError> {
    let stream = copy.streams.get(&source);
    let stream = stream.filter(|found| calls::is_current(Some(found), guard.session(), call));
    stream.ok_or(IngestError::WrongCall { call, source_node: source })
}

fn advanced(chunk: &Chunk<'_>) -> Progress {
    let mut progress = chunk.before.clone();
    progress.sum.add_all(chunk.rows.iter().map(|(position, row)| (position.as_slice(), row)));
    progress.rows += chunk.rows.len() as u64;
    progress.bytes += chunk.bytes;
    if let Some((position, _)) = chunk.rows.last() {
        progress.after = Some(position.clone());
    }
    progress
}

fn merge_rows(
    change: &mut Change<'_>,
    rows: &[(Position, RowVersion)],
) -> Result<Vec<Merged>, StoreError> {
    let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else {
        return Ok(Vec::new());
    };
    let tree = change.tree().clone();
    // The rows are in order: one look shows that a copy has nothing yet where they go.
    let span = layout::row_key(first)..=layout::row_key(last);
    let is_empty = tree.range(span).next().transpose()?.is_none();
    let mut merged = Vec::with_capacity(rows.len());
    for (position, row) in rows {
        let stored = if is_empty { None } else { tree.get(layout::row_key(position))? };
        let decode = |stored: &sled::IVec| layout::decode_row(&tree, position, stored);
        let current = stored.as_ref().map(decode).transpose()?;
        let outcome = merge(current.as_ref(), row);
        if outcome == Merged::Stored {
            change.put(position, row, stored.as_ref().zip(current.as_ref()))?;
        }
        merged.push(outcome);
    }
    Ok(merged)
}

/// The stored forms of rows, from a position on.
fn stored_rows(
    tree: &sled::Tree,
    from: Bound<&[u8]>,
) -> impl Iterator<Item = Result<(Position, sled::IVec), StoreError>> {
    let from = match from {
        Bound::Unbounded => Bound::Included(layout::ROWS.to_vec()),
        Bound::Included(position) => Bound::Included(layout::row_key(position)),
        Bound::Excluded(position) => Bound::Excluded(layout::row_key(position)),
    };
    let rows = tree.range((from, Bound::Excluded(layout::after_rows())));
    rows.map(|pair| {
        let (key, stored) = pair?;
        Ok((key[layout::ROWS.len()..].to_vec(), stored))
    })
}

pub(super) fn read_page(
    tree: &sled::Tree,
    from: Bound<&[u8]>,
    limit: usize,
    max_bytes: usize,
) -> Result<Page, StoreError> {
    let mut page = Page { rows: Vec::new(), is_last: false };
    let mut bytes = 0;
    for pair in stored_rows(tree, from) {
        let (position, stored) = pair?;
        if page.rows.len() >= limit || bytes >= max_bytes {
            return Ok(page);
        }
        let row = layout::decode_row(tree, &position, &stored)?;
        bytes += position.len() + row.value.as_ref().map_or(0, Vec::len);
        page.rows.push((position, row));
    }
    page.is_last = true;
    Ok(page)
}
