//! What is found when the store is opened: floors, copies, and which of them are lost.
//!
//! The manifest says what there must be. A copy that is gone, is older than it was when that was
//! acknowledged, or does not hold what its tally says, is left out: so it is *lost* for whoever
//! asks. Floors are the higher of what the store and the manifest say.

use super::StreamOnRecord;
use super::aside::{self, Asides};
use super::error::StoreError;
use super::layout;
use super::manifest::{Contents, CopyNote, FloorNote};
use super::sled_store::{Copy, Entries, Entry};
use super::tally;
use crate::lock::Mutex;
use migrations::clock::HybridTime;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::version::{CopyId, TopologyVersion};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a row store holds.
pub(super) struct Loaded {
    pub(super) db: sled::Db,
    pub(super) floors: sled::Tree,
    pub(super) entries: Entries,
    pub(super) unlisted: TopologyVersion,
    pub(super) highest: TopologyVersion,
    pub(super) aside: Asides,
}

type Found = HashMap<TabletId, Entry>;

/// Reads all of a store through.
pub(super) fn load(db: sled::Db, noted: &Contents, is_adopted: bool) -> Result<Loaded, StoreError> {
    let floors = db.open_tree(layout::FLOORS)?;
    let (mut found, unlisted, highest) = load_floors(&floors, noted)?;
    let mut aside = aside::load(&db, is_adopted)?;
    let set_aside = noted.copies.iter().filter(|(_, note)| matches!(note, CopyNote::Aside(_)));
    aside.extend(set_aside.map(|(copy, _)| *copy));
    let mut is_there = Asides::new();
    for name in db.tree_names() {
        let Some(copy) = layout::parse_tree_name(&name) else { continue };
        let tree = db.open_tree(&name)?;
        let record = unpanicked(|| load_copy(&tree));
        if let Ok(Some((_, promise, _))) = &record {
            // What it promised was promised for the tablet, also if it is nobody's now.
            let entry = found.entry(copy.0).or_insert_with(|| Entry::at(unlisted));
            entry.promise = entry.promise.max(*promise);
        }
        if aside.contains(&copy) {
            is_there.insert(copy);
            continue;
        }
        let note = noted.copies.get(&copy).copied();
        match record.and_then(|record| whole(copy, &tree, record, note)) {
            Ok(Some((record, found_copy))) => {
                mark(&floors, copy.0, copy.1)?;
                let entry = found.entry(copy.0).or_insert_with(|| Entry::at(unlisted));
                entry.take(record, found_copy);
            }
            Ok(None) => {
                db.drop_tree(&name)?;
            }
            Err(error) => {
                tracing::error!(tablet = %copy.0, copy = %copy.1, %error, "a copy is lost");
                was_here(found.entry(copy.0).or_insert_with(|| Entry::at(unlisted)), copy.1);
            }
        }
    }
    for (&(tablet, copy), note) in &noted.copies {
        let entry = found.entry(tablet).or_insert_with(|| Entry::at(unlisted));
        if matches!(note, CopyNote::Changes(_)) && !entry.copies.contains_key(&copy) {
            // Dropped, if nothing gives it to this node; else lost.
            tracing::warn!(%tablet, %copy, "a copy that was here is not");
            was_here(entry, copy);
        }
    }
    let entries = found.into_iter().map(|(id, entry)| (id, Arc::new(Mutex::new(entry)))).collect();
    aside.retain(|copy| is_there.contains(copy));
    Ok(Loaded { db, floors, entries, unlisted, highest, aside })
}

/// sled panics on some kinds of damage. What it can't read is one copy.
fn unpanicked<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let panicked = |_| Err(StoreError::damaged("the row store panicked"));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)
}

/// The copy, if it is what it has to be; `None` for what a process left that ended before it had
/// written the record.
fn whole(
    name: (TabletId, CopyId),
    tree: &sled::Tree,
    record: Option<LoadedCopy>,
    note: Option<CopyNote>,
) -> Result<Option<(TabletRecord, Copy)>, StoreError> {
    let Some((record, _, streams)) = record else {
        let was_durable = matches!(note, Some(CopyNote::Changes(_)));
        return match tree.is_empty() && !was_durable {
            true => Ok(None),
            false => Err(StoreError::damaged("no record")),
        };
    };
    let tally = unpanicked(|| tally::check(name, tree, note))?;
    Ok(Some((record, Copy { name, tree: tree.clone(), streams, tally })))
}

impl Entry {
    fn take(&mut self, record: TabletRecord, copy: Copy) {
        let (_, name) = copy.name;
        self.copies.insert(name, copy);
        if self.floor.raise(record.version).is_ok() {
            self.record = Some(Arc::new(record));
            self.given = Some(name);
        }
    }
}

/// A floor at or above the number of a copy tells that it was here, and is not to be made.
fn was_here(entry: &mut Entry, copy: CopyId) {
    if entry.floor.version() < copy.0 && entry.floor.raise(copy.0).is_ok() {
        entry.record = None;
        entry.given = None;
    }
}

fn load_floors(
    floors: &sled::Tree,
    noted: &Contents,
) -> Result<(Found, TopologyVersion, TopologyVersion), StoreError> {
    let mut listed: BTreeMap<TabletId, TopologyVersion> = BTreeMap::new();
    let (mut unlisted, mut highest) = (noted.unlisted, TopologyVersion::ZERO);
    for pair in floors {
        let (key, value) = pair?;
        if key == layout::STORE_ID {
            continue;
        }
        let version = layout::decode_version(&value)?;
        let tablet = <[u8; 8]>::try_from(&key[..]).ok().map(u64::from_be_bytes);
        match tablet.and_then(TabletId::from_u64) {
            Some(tablet) => {
                listed.insert(tablet, version);
            }
            None if key == layout::UNLISTED => unlisted = unlisted.max(version),
            None if key == layout::HIGHEST => highest = version,
            None => return Err(StoreError::damaged("floors: a key that is no tablet")),
        }
    }
    for (tablet, version) in &mut listed {
        // One that the manifest has no floor of may be forgotten there, and come up again here.
        *version = (*version).max(match noted.floors.get(tablet) {
            Some(FloorNote::At(noted)) => *noted,
            Some(FloorNote::Unlisted) | None => noted.unlisted,
        });
    }
    for (tablet, note) in &noted.floors {
        if let FloorNote::At(version) = note {
            listed.entry(*tablet).or_insert(*version);
        }
    }
    let found = listed.into_iter().map(|(tablet, version)| (tablet, Entry::at(version)));
    Ok((found.collect(), unlisted, highest))
}

/// Makes sure that the floors tell that a copy was here, should its tree ever be missing.
fn mark(floors: &sled::Tree, tablet: TabletId, copy: CopyId) -> Result<(), StoreError> {
    let key = tablet.as_u64().to_be_bytes();
    let marked = floors.get(key)?.map(|bytes| layout::decode_version(&bytes)).transpose()?;
    if marked.is_none_or(|marked| marked < copy.0) {
        floors.insert(key, &layout::encode_version(copy.0))?;
    }
    Ok(())
}

type LoadedCopy = (TabletRecord, HybridTime, BTreeMap<NodeId, StreamOnRecord>);

fn load_copy(tree: &sled::Tree) -> Result<Option<LoadedCopy>, StoreError> {
    let Some(record) = tree.get(layout::RECORD)? else { return Ok(None) };
    let record = layout::decode_record(&record)?;
    let promise = tree.get(layout::PROMISE)?.map(|bytes| layout::decode_time(&bytes));
    let mut streams = BTreeMap::new();
    for pair in tree.scan_prefix(layout::STREAMS) {
        let (key, value) = pair?;
        let source = <[u8; 8]>::try_from(&key[layout::STREAMS.len()..]).map(u64::from_be_bytes);
        let source = source.ok().and_then(NodeId::from_u64);
        let source = source.ok_or_else(|| StoreError::damaged("stream: a key that is no node"))?;
        streams.insert(source, layout::decode_stream(&value)?);
    }
    Ok(Some((record, promise.transpose()?.unwrap_or_default(), streams)))
}
