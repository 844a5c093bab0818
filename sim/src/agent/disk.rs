//! A modelled disk: what was written is read at once, and is lost in a crash unless it was synced;
//! what survives is a prefix of what was written.

use crate::message::Record;
use crate::random::Draws;
use migrations::agent::calls::StreamOnRecord;
use migrations::agent::step::Home;
use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{AdmissionToken, DirectoryId, NodeId, TabletId};
use migrations::position::Position;
use migrations::row::RowVersion;
use migrations::rule::{Rule, is_undone};
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use std::collections::{BTreeMap, VecDeque};

pub(crate) type Rows = BTreeMap<Position, RowVersion>;

/// One copy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copy {
    pub(crate) record: Option<Record>,
    pub(crate) promise: HybridTime,
    pub(crate) rows: Rows,
    pub(crate) streams: BTreeMap<NodeId, StreamOnRecord>,
}

/// One tablet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) floor: Floor,
    /// The record at the floor, and the copy that it gives, if that is here.
    pub(crate) record: Option<Record>,
    pub(crate) given: Option<CopyId>,
    pub(crate) promise: HybridTime,
    pub(crate) copies: BTreeMap<CopyId, Copy>,
    /// In the tree of floors: without a record.
    kept: Option<TopologyVersion>,
}

/// What is on the disk, or will be after a sync.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) tablets: BTreeMap<TabletId, Entry>,
    pub(crate) unlisted: TopologyVersion,
    /// The highest floor that there ever was, also of copies that are damaged.
    highest: TopologyVersion,
}

/// One write: whole or not at all.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Record {
        record: Record,
        home: Home,
        promise: HybridTime,
    },
    KeepFloor {
        tablet: TabletId,
        version: TopologyVersion,
    },
    Row {
        tablet: TabletId,
        copy: CopyId,
        position: Position,
        row: RowVersion,
    },
    Remove {
        tablet: TabletId,
        copy: CopyId,
        position: Position,
    },
    Rows {
        tablet: TabletId,
        copy: CopyId,
        source: NodeId,
        rows: Vec<(Position, RowVersion)>,
        stream: StreamOnRecord,
    },
    DropCopy {
        tablet: TabletId,
        copy: CopyId,
    },
    Unlisted {
        version: TopologyVersion,
        forgotten: Vec<TabletId>,
    },
}

/// A disk, with the directory's identity, which is small and synced at once.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) directory: DirectoryId,
    pub(crate) node: Option<(NodeId, Incarnation)>,
    pub(crate) tokens: Vec<AdmissionToken>,
    pub(crate) live: Store,
    durable: Store,
    unsynced: VecDeque<Write>,
    /// Writes so far, and how many of them are durable.
    pub(crate) written: u64,
    pub(crate) hardened: u64,
}

impl Store {
    /// The highest floor of all.
    pub(crate) fn highest_floor(&self) -> TopologyVersion {
        let floors = self.tablets.values().map(|entry| entry.floor.version());
        floors.fold(self.unlisted.max(self.highest), TopologyVersion::max)
    }

    pub(crate) fn floor(&self, tablet: TabletId) -> Floor {
        self.tablets.get(&tablet).map_or(Floor::at(self.unlisted), |entry| entry.floor)
    }

    pub(crate) fn copies(&self, tablet: TabletId) -> Vec<CopyId> {
        let entry = self.tablets.get(&tablet);
        entry.map_or_else(Vec::new, |entry| entry.copies.keys().copied().collect())
    }

    pub(crate) fn rows(&self, tablet: TabletId, copy: CopyId) -> Option<&Rows> {
        Some(&self.tablets.get(&tablet)?.copies.get(&copy)?.rows)
    }

    fn entry(&mut self, tablet: TabletId) -> &mut Entry {
        let floor = Floor::at(self.unlisted);
        self.tablets.entry(tablet).or_insert_with(|| Entry { floor, ..Entry::default() })
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Record { record, home, promise } => self.record(record, *home, *promise),
            Write::KeepFloor { tablet, version } => {
                let entry = self.entry(*tablet);
                entry.kept = entry.kept.max(Some(*version));
                if *version > entry.floor.version() {
                    entry.floor = Floor::at(*version);
                    (entry.record, entry.given) = (None, None);
                }
            }
            Write::Row { tablet, copy, position, row } => {
                if let Some(copy) = self.entry(*tablet).copies.get_mut(copy) {
                    copy.rows.insert(position.clone(), row.clone());
                }
            }
            Write::Remove { tablet, copy, position } => {
                if let Some(copy) = self.entry(*tablet).copies.get_mut(copy) {
                    copy.rows.remove(position);
                }
            }
            Write::Rows { tablet, copy, source, rows, stream } => {
                if let Some(copy) = self.entry(*tablet).copies.get_mut(copy) {
                    copy.rows.extend(rows.iter().cloned());
                    copy.streams.insert(*source, stream.clone());
                }
            }
            Write::DropCopy { tablet, copy } => {
                let entry = self.entry(*tablet);
                entry.copies.remove(copy);
                if is_undone(Rule::FloorOutlivesCopy) {
                    entry.kept = None;
                }
                if entry.given == Some(*copy) {
                    entry.given = None;
                }
            }
            Write::Unlisted { version, forgotten } => {
                self.unlisted = self.unlisted.max(*version);
                forgotten.iter().for_each(|tablet| drop(self.tablets.remove(tablet)));
            }
        }
    }

    fn record(&mut self, record: &Record, home: Home, promise: HybridTime) {
        let migration = record.transition.as_ref().map(|transition| transition.migration);
        self.highest = self.highest.max(record.version);
        let entry = self.entry(record.tablet);
        let promise = promise.max(entry.promise);
        let given = match home {
            Home::Copy(copy) | Home::Prepare(copy) => Some(copy),
            Home::Floors => None,
        };
        match given {
            Some(copy) => {
                let copy = entry.copies.entry(copy).or_default();
                copy.record = Some(record.clone());
                copy.promise = promise;
                copy.streams.retain(|_, stream| Some(stream.migration) == migration);
            }
            None => entry.kept = entry.kept.max(Some(record.version)),
        }
        if matches!(home, Home::Prepare(_)) {
            entry.kept = entry.kept.max(Some(record.version));
        }
        entry.floor = Floor::at(record.version);
        entry.promise = promise;
        entry.record = Some(record.clone());
        entry.given = given;
    }

    /// What a process finds that opens it: only what is written, not what was in memory besides.
    fn reopen(&mut self) {
        for entry in self.tablets.values_mut() {
            entry.floor = Floor::at(entry.kept.unwrap_or(self.unlisted));
            (entry.record, entry.given) = (None, None);
            entry.promise = HybridTime::ZERO;
            for (id, copy) in &entry.copies {
                entry.kept = entry.kept.max(Some(id.0));
                entry.promise = entry.promise.max(copy.promise);
                if let Some(record) = &copy.record
                    && entry.floor.raise(record.version).is_ok()
                {
                    entry.record = Some(record.clone());
                    entry.given = Some(*id);
                }
            }
        }
    }
}

impl Disk {
    pub(crate) fn new(directory: DirectoryId) -> Disk {
        Disk {
            directory,
            node: None,
            tokens: Vec::new(),
            live: Store::default(),
            durable: Store::default(),
            unsynced: VecDeque::new(),
            written: 0,
            hardened: 0,
        }
    }

    /// Writes; durable once `hardened` has reached the answer.
    pub(crate) fn write(&mut self, write: Write) -> u64 {
        self.live.apply(&write);
        self.unsynced.push_back(write);
        self.written += 1;
        self.written
    }

    /// Everything up to here is durable.
    pub(crate) fn harden(&mut self, up_to: u64) {
        while self.hardened < up_to {
            let Some(write) = self.unsynced.pop_front() else { return };
            self.durable.apply(&write);
            self.hardened += 1;
        }
    }

    /// The process is gone, or the machine: some of what was not synced is, too.
    pub(crate) fn crash(&mut self, draws: &mut Draws) {
        let survives = self.hardened + draws.below(self.unsynced.len() as u64 + 1);
        self.harden(survives);
        self.unsynced.clear();
        self.hardened = self.written;
        self.durable.reopen();
        self.live = self.durable.clone();
    }

    /// A copy of the directory: what is durable now, as a process would find it.
    pub(crate) fn copied(&self) -> Disk {
        let mut durable = self.durable.clone();
        durable.reopen();
        let mut copy = Disk { live: durable.clone(), durable, ..self.clone() };
        copy.unsynced.clear();
        copy.hardened = copy.written;
        copy
    }

    /// A copy is damaged: it can't be read any more. Only while no process uses the disk.
    pub(crate) fn damage(&mut self, tablet: TabletId, copy: CopyId) {
        for store in [&mut self.durable, &mut self.live] {
            store.entry(tablet).copies.remove(&copy);
            store.reopen();
        }
    }
}
