//! What the row store must have, kept outside of it: sled can forget a part of its log without a
//! word, so that a copy, its record and its mark are gone together. INV-5, INV-6.
//!
//! One file of frames of 44 bytes, made whole and renamed into its place, with room behind it:
//!
//! ```text
//! round 8, kind 1, three zeros, tablet 8, version 12 (era 4, counter 8), changes 8, crc32 4
//! kind  0 a head: how many frames follow that were written with the file, in `changes`
//!       1 a copy, and how many changes of it are durable    2 a copy that has gone
//!       3 a copy that was set aside, and how many changes it had
//!       4 the floor of a tablet                             5 of all that are not listed
//!       6 a tablet whose floor is that of those not listed
//! ```
//!
//! A sync of the store is one round. What it covers is written here after the store has it, and
//! synced, before anybody is told: so what stands here is in the store, and the store may have
//! more. Floors are here beside the store, and the higher one counts.
//!
//! What a power cut leaves of a round that was not synced is cut. A frame that can't be read
//! although a round after the next stands behind it, or one of those that came with the file, is
//! damage: refused. Damage in the last round is cut too; it takes back what that round said, and
//! costs something only if the store has lost the same. Not here: what a copy holds (`tally`).

use super::error::StoreError;
use crate::lock::{Mutex, locked};
use migrations::id::TabletId;
use migrations::version::{CopyId, TopologyVersion};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const NAME: &str = "manifest";
const FRAME: usize = 44;
const SUMMED: usize = FRAME - 4;
/// Room for rounds behind what the file was made with, at the least.
const ROOM: usize = 1 << 20;

/// What is said of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyNote {
    /// So many changes of it are in the store.
    Changes(u64),
    /// It was dropped.
    Gone,
    /// It was set aside, with so many changes.
    Aside(u64),
}

/// What is said of a tablet's floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloorNote {
    /// It is at least this.
    At(TopologyVersion),
    /// The floor of those that are not listed stands for it.
    Unlisted,
}

/// What the store must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Copies, and how many changes of each at the least.
    pub(super) copies: BTreeMap<(TabletId, CopyId), CopyNote>,
    /// Floors of tablets.
    pub(super) floors: BTreeMap<TabletId, FloorNote>,
    /// The floor of all others.
    pub(super) unlisted: TopologyVersion,
}

impl Contents {
    fn note(&mut self, copy: (TabletId, CopyId), note: CopyNote) {
        self.copies.insert(copy, note);
    }

    fn floor(&mut self, tablet: TabletId, note: FloorNote) {
        let before = self.floors.insert(tablet, note);
        if let (Some(FloorNote::At(before)), FloorNote::At(version)) = (before, note) {
            self.floors.insert(tablet, FloorNote::At(version.max(before)));
        }
    }

    fn add(&mut self, later: &Contents) {
        self.copies.extend(&later.copies);
        for (tablet, note) in &later.floors {
            self.floor(*tablet, *note);
        }
        self.unlisted = self.unlisted.max(later.unlisted);
    }

    /// Takes nothing for set aside: of such copies there must be as much as there was.
    pub(super) fn bring_back(&mut self) {
        for note in self.copies.values_mut() {
            if let CopyNote::Aside(changes) = *note {
                *note = CopyNote::Changes(changes);
            }
        }
    }

    /// Forgets what says nothing any more.
    fn tidy(&mut self) {
        self.copies.retain(|_, note| *note != CopyNote::Gone);
        self.floors.retain(|_, note| *note != FloorNote::Unlisted);
    }

    fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.floors.is_empty() && self.unlisted == TopologyVersion::ZERO
    }

    fn frames(&self, round: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for ((tablet, copy), note) in &self.copies {
            let (kind, changes) = match note {
                CopyNote::Changes(changes) => (1, *changes),
                CopyNote::Gone => (2, 0),
                CopyNote::Aside(changes) => (3, *changes),
            };
            push(
                &mut out,
                Frame { round, kind, tablet: tablet.as_u64(), version: copy.0, changes },
            );
        }
        for (tablet, note) in &self.floors {
            let (kind, version) = match note {
                FloorNote::At(version) => (4, *version),
                FloorNote::Unlisted => (6, TopologyVersion::ZERO),
            };
            push(&mut out, Frame { round, kind, tablet: tablet.as_u64(), version, changes: 0 });
        }
        if self.unlisted > TopologyVersion::ZERO {
            let version = self.unlisted;
            push(&mut out, Frame { round, kind: 5, tablet: 0, version, changes: 0 });
        }
        out
    }

    /// A file with nothing behind what it is made with.
    pub(super) fn whole(&self, round: u64) -> Vec<u8> {
        let frames = self.frames(round);
        let (version, changes) = (TopologyVersion::ZERO, (frames.len() / FRAME) as u64);
        let mut out = Vec::with_capacity(FRAME + frames.len());
        push(&mut out, Frame { round, kind: 0, tablet: 0, version, changes });
        out.extend_from_slice(&frames);
        out
    }

    fn take(&mut self, frame: &Frame) -> Result<(), StoreError> {
        let tablet = TabletId::from_u64(frame.tablet);
        let (copy, version) = (CopyId(frame.version), frame.version);
        match (frame.kind, tablet) {
            (1, Some(tablet)) => self.note((tablet, copy), CopyNote::Changes(frame.changes)),
            (2, Some(tablet)) => self.note((tablet, copy), CopyNote::Gone),
            (3, Some(tablet)) => self.note((tablet, copy), CopyNote::Aside(frame.changes)),
            (4, Some(tablet)) => self.floor(tablet, FloorNote::At(version)),
            (6, Some(tablet)) => self.floor(tablet, FloorNote::Unlisted),
            (5, None) => self.unlisted = self.unlisted.max(version),
            (kind, _) => return Err(damaged(&format!("a frame of kind {kind}"))),
        }
        Ok(())
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::damaged(format!("manifest: {what}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    round: u64,
    kind: u8,
    tablet: u64,
    version: TopologyVersion,
    changes: u64,
}

fn push(out: &mut Vec<u8>, frame: Frame) {
    let start = out.len();
    out.extend_from_slice(&frame.round.to_be_bytes());
    out.extend_from_slice(&[frame.kind, 0, 0, 0]);
    out.extend_from_slice(&frame.tablet.to_be_bytes());
    out.extend_from_slice(&frame.version.era().to_be_bytes());
    out.extend_from_slice(&frame.version.counter().to_be_bytes());
    out.extend_from_slice(&frame.changes.to_be_bytes());
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

/// A frame that is whole. One of zeros is none: their checksum is not zero.
fn read_frame(bytes: &[u8; FRAME]) -> Option<Frame> {
    let u64_at = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if crc32fast::hash(&bytes[..SUMMED]) != u32_at(SUMMED)? {
        return None;
    }
    let version = TopologyVersion::from_parts(u32_at(20)?, u64_at(24)?);
    let (round, kind) = (u64_at(0)?, bytes[8]);
    Some(Frame { round, kind, tablet: u64_at(12)?, version, changes: u64_at(32)? })
}

/// What a file says, and its last round.
pub(super) fn read(bytes: &[u8]) -> Result<(Contents, u64), StoreError> {
    let mut frames = bytes.as_chunks::<FRAME>().0.iter().map(read_frame);
    let head = frames.next().flatten().filter(|head| head.kind == 0);
    let head = head.ok_or_else(|| damaged("no head"))?;
    let mut contents = Contents::default();
    for _ in 0..head.changes {
        let frame = frames.next().flatten().ok_or_else(|| damaged("what it was made with"))?;
        contents.take(&frame)?;
    }
    // The last before a hole, and of all.
    let (mut round, mut last) = (head.round, head.round);
    let mut has_hole = false;
    for frame in frames {
        match frame {
            None => has_hole = true,
            // The round with the hole in it was synced before this one began.
            Some(frame) if has_hole && frame.round > round + 1 => {
                return Err(damaged("a frame in its middle"));
            }
            Some(frame) => {
                contents.take(&frame)?;
                last = frame.round;
                round = if has_hole { round } else { last };
            }
        }
    }
    Ok((contents, last))
}

/// What was changed since the last round took it.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Contents>);

impl Pending {
    /// Something of a copy is in the store now, or is not.
    pub(super) fn copy(&self, tablet: TabletId, copy: CopyId, note: CopyNote) {
        locked(&self.0).note((tablet, copy), note);
    }

    /// A tablet's floor is in the store now, or has become that of those not listed.
    pub(super) fn floor(&self, tablet: TabletId, note: FloorNote) {
        locked(&self.0).floor(tablet, note);
    }

    /// The floor of all that are not listed is in the store now.
    pub(super) fn unlisted(&self, version: TopologyVersion) {
        let mut contents = locked(&self.0);
        contents.unlisted = contents.unlisted.max(version);
    }

    /// All of it: to be asked for before the sync that covers it.
    pub(super) fn take(&self) -> Contents {
        std::mem::take(&mut *locked(&self.0))
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Manifest {
    directory: PathBuf,
    file: File,
    /// Where the next frame goes, and where the file ends.
    at: usize,
    end: usize,
    round: u64,
    contents: Contents,
}

impl Manifest {
    /// What the file of a directory says; `None`: there is none.
    pub(super) fn load(directory: &Path) -> Result<Option<(Contents, u64)>, StoreError> {
        match fs::read(directory.join(NAME)) {
            Ok(bytes) => read(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read the manifest", &error)),
        }
    }

    /// Makes the file anew, durably.
    pub(super) fn make(
        directory: &Path,
        mut contents: Contents,
        round: u64,
    ) -> Result<Manifest, StoreError> {
        contents.tidy();
        let round = round + 1;
        let mut bytes = contents.whole(round);
        let at = bytes.len();
        let end = at + ROOM.max(at);
        bytes.resize(end, 0);
        let aside = directory.join(format!("{NAME}.new"));
        let write = || -> io::Result<File> {
            let file = File::create(&aside)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            fs::rename(&aside, directory.join(NAME))?;
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error| StoreError::io("write the manifest", &error))?;
        Ok(Manifest { directory: directory.to_owned(), file, at, end, round, contents })
    }

    /// Writes one round, durably: what the store is known to have.
    pub(super) fn write(&mut self, later: &Contents) -> Result<(), StoreError> {
        if later.is_empty() {
            return Ok(());
        }
        self.contents.add(later);
        let frames = later.frames(self.round + 1);
        if self.at + frames.len() > self.end {
            let contents = std::mem::take(&mut self.contents);
            *self = Manifest::make(&self.directory, contents, self.round)?;
            return Ok(());
        }
        let io = |error: &io::Error| StoreError::io("write the manifest", error);
        self.file.write_all_at(&frames, self.at as u64).map_err(|error| io(&error))?;
        // Neither its length nor its place changes: the data alone.
        rustix::fs::fdatasync(&self.file).map_err(|error| io(&error.into()))?;
        self.at += frames.len();
        self.round += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablet(id: u64) -> TabletId {
        TabletId::from_u64(id).expect("not zero")
    }

    fn version(counter: u64) -> TopologyVersion {
        TopologyVersion::from_parts(3, counter)
    }

    fn copy(counter: u64) -> CopyId {
        CopyId(version(counter))
    }

    /// A file made with three frames, then rounds of two.
    fn written(rounds: u64) -> (tempfile::TempDir, Contents, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a directory");
        let made = Pending::default();
        made.copy(tablet(1), copy(4), CopyNote::Changes(1));
        made.copy(tablet(2), copy(5), CopyNote::Aside(7));
        made.unlisted(version(3));
        let mut manifest = Manifest::make(dir.path(), made.take(), 8).expect("made");
        for round in 0..rounds {
            let pending = Pending::default();
            pending.copy(tablet(1), copy(4), CopyNote::Changes(2 + round));
            pending.floor(tablet(1), FloorNote::At(version(6 + round)));
            manifest.write(&pending.take()).expect("written");
        }
        let bytes = fs::read(dir.path().join(NAME)).expect("readable");
        (dir, manifest.contents, bytes)
    }

    #[test]
    fn what_is_written_is_read_and_a_full_file_is_made_anew() {
        let (dir, contents, _) = written(20);
        let found = Manifest::load(dir.path()).expect("whole").expect("there");
        assert_eq!(found, (contents.clone(), 29));
        let mut manifest = Manifest::make(dir.path(), contents, 29).expect("made");
        let made = manifest.round;
        // Large rounds, so that few syncs fill it.
        for round in 0..2 * (ROOM / FRAME / 1_000) as u64 {
            let pending = Pending::default();
            (1..=1_000).for_each(|id| pending.floor(tablet(id), FloorNote::At(version(9 + round))));
            manifest.write(&pending.take()).expect("written");
        }
        assert!(manifest.round > made && manifest.at < manifest.end);
        let (found, round) = Manifest::load(dir.path()).expect("whole").expect("there");
        assert_eq!((found, round), (manifest.contents, manifest.round));
        let length = fs::metadata(dir.path().join(NAME)).expect("there").len() as usize;
        assert!(length < 3 * ROOM, "it does not grow: {length}");
        assert_eq!(Manifest::load(&dir.path().join("other")), Ok(None));
    }

    #[test]
    fn a_torn_last_round_is_cut_and_a_hole_before_it_is_damage() {
        let (_dir, contents, bytes) = written(3);
        let round = |n: usize| FRAME * (4 + 2 * n);
        let with_hole = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at + 9] ^= 1;
            read(&bytes)
        };
        for at in [round(2), round(2) + FRAME] {
            let (found, last) = with_hole(at).expect("it may have been torn");
            assert!(found.copies.len() == 2 && last == 12, "{found:?} {last}");
        }
        for at in [0, FRAME, 3 * FRAME, round(0), round(0) + FRAME, round(1)] {
            // The last but one may be torn only if the last never began.
            let read = with_hole(at);
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{at}: {read:?}");
        }
        assert_eq!(read(&bytes), Ok((contents, 12)));
        assert!(read(&bytes[..FRAME * 3]).is_err(), "cut in what it was made with");
    }
}
