//! Power cuts and damage, by the hundred: images of a member's directory as a disk could have left
//! it, and what is found in them.
//!
//! A run of proposals, snapshots and purges is looked at each time something has been
//! acknowledged. What is written between two looks is what no sync had covered at the first: of it,
//! an image has any sectors, of 512 bytes or 4 KiB, and any of the names that came or went. What is
//! opened from an image has all that was acknowledged, or is refused by name. `PALISADE_IMAGES=10`
//! makes ten times as many, `PALISADE_SEED` repeats what was drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use openraft::{EntryPayload, RaftLogReader as _};
use tempfile::{TempDir, tempdir};

use super::super::OpenError;
use super::super::open::open_files;
use super::*;

const POWER_CUTS: usize = 300;
const DAMAGES: usize = 500;
/// Each is acknowledged, and looked at, by itself.
const PROPOSALS: usize = 90;

/// Files by their path in the directory.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// The directory right after so many proposals were acknowledged.
struct Look {
    acknowledged: usize,
    files: Image,
}

/// Draws numbers from a seed, which is printed: xorshift.
struct Draw(u64);

impl Draw {
    fn new(what: &str) -> Draw {
        let given = env::var("PALISADE_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos());
        let seed: u64 = given.unwrap_or_else(|| clock() as u64) | 1;
        eprintln!("{what}: PALISADE_SEED={seed}");
        Draw(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    fn is_heads(&mut self) -> bool {
        self.below(2) == 0
    }
}

fn images(count: usize) -> usize {
    let times = env::var("PALISADE_IMAGES").ok().and_then(|times| times.parse().ok());
    count * times.unwrap_or(1)
}

/// Everything but locks and what is being written aside, which nobody reads.
fn look(dir: &Path) -> Image {
    let mut files = Image::new();
    for place in ["", "log", "snapshots"] {
        for item in fs::read_dir(dir.join(place)).into_iter().flatten() {
            let path = item.expect("listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_read = !name.ends_with(".aside") && !name.to_lowercase().contains("lock");
            // One that has gone since it was listed has gone.
            if let (true, Ok(bytes)) = (is_read && path.is_file(), fs::read(&path)) {
                files.insert(path.strip_prefix(dir).expect("below").to_owned(), bytes);
            }
        }
    }
    files
}

/// A run with snapshots and purges, looked at after each acknowledgement.
async fn looks() -> (TempDir, Options, Vec<Look>) {
    let dir = tempdir().expect("a directory");
    let options = Options { snapshot_every: 25, keep: 5, ..options(dir.path()) };
    let group0 = leader(options.clone()).await;
    let mut looks = vec![Look { acknowledged: 0, files: look(dir.path()) }];
    for number in 0..PROPOSALS {
        let count = group0.propose(long(number), soon()).await.expect("it is applied");
        assert_eq!(count, number + 1);
        looks.push(Look { acknowledged: number + 1, files: look(dir.path()) });
    }
    group0.shutdown().await.expect("it stops");
    (dir, options, looks)
}

/// Entries of several sizes: within a sector, over some, over many.
fn long(number: usize) -> Vec<u8> {
    let mut bytes = entry(number);
    bytes.resize(bytes.len() + [0, 700, 9_000][number % 3], number as u8);
    bytes
}

/// What a power cut may leave of the way from one look to the next. A *plain* one has no holes, and
/// every name that has come: only ends are missing, and what has gone may still be there.
fn cut(before: &Image, after: &Image, is_plain: bool, draw: &mut Draw) -> Image {
    let mut image = Image::new();
    let sector = if draw.is_heads() { 512 } else { 4_096 };
    let names: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if new.starts_with(old) => {
                image.insert(name.clone(), torn(old.len(), new, sector, is_plain, draw));
            }
            // Renamed into its place: the one or the other.
            (Some(old), Some(new)) => {
                image.insert(name.clone(), if draw.is_heads() { old } else { new }.clone());
            }
            // A snapshot is whole before it has its name; a file of the log is not.
            (None, Some(new)) if name.starts_with("snapshots") => {
                if is_plain || draw.is_heads() {
                    image.insert(name.clone(), new.clone());
                }
            }
            (None, Some(new)) => {
                if is_plain || draw.is_heads() {
                    image.insert(name.clone(), torn(0, new, sector, is_plain, draw));
                }
            }
            (Some(old), None) => {
                if draw.is_heads() {
                    image.insert(name.clone(), old.clone());
                }
            }
            (None, None) => {}
        }
    }
    // What goes with a purge went only after the snapshot that stands for it was there.
    let is_snapshot = |name: &&PathBuf| name.starts_with("snapshots");
    let has_gone = before.keys().any(|name| !image.contains_key(name));
    if has_gone {
        for name in after.keys().filter(is_snapshot) {
            image.insert(name.clone(), after[name].clone());
        }
    }
    image
}

/// A file that was synced up to `synced`, with any sectors of what came after (all of them, if it is
/// plain), and any length.
fn torn(synced: usize, new: &[u8], sector: usize, is_plain: bool, draw: &mut Draw) -> Vec<u8> {
    let is_whole = draw.is_heads();
    let length = if is_whole { new.len() } else { synced + draw.below(new.len() - synced + 1) };
    let mut bytes = new[..length].to_vec();
    let mut at = synced;
    while at < length {
        let end = (at / sector + 1) * sector;
        if !is_plain && draw.below(3) == 0 {
            bytes[at..end.min(length)].fill(0);
        }
        at = end;
    }
    bytes
}

/// What a member finds in an image: the journal, as far as snapshot and log go together.
async fn found(image: &Image) -> Result<Vec<Vec<u8>>, OpenError> {
    let dir = tempdir().expect("a directory");
    for (name, bytes) in image {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a file")).expect("created");
        fs::write(path, bytes).expect("written");
    }
    let opened =
        catch_unwind(AssertUnwindSafe(|| open_files(&options(dir.path()), &Journal::default())));
    let (files, state) = opened.expect("no panic")?;
    let mut journal = state.read(|journal| journal.0.clone());
    let covered = state.index().borrow().map_or(0, |index| index + 1);
    let mut log = files.log.clone();
    let rest = log.try_get_log_entries(covered..u64::MAX).await.expect("it can be read");
    for (at, entry) in rest.into_iter().enumerate() {
        assert_eq!(entry.log_id.index(), covered + at as u64, "no gap");
        if let EntryPayload::Normal(entry) = entry.payload {
            journal.push(entry.0.to_vec());
        }
    }
    files.log.close().expect("closed");
    Ok(journal)
}

/// Whether the refusal says what is wrong, and with which file.
fn is_named(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::LogDamaged { .. }
            | OpenError::SnapshotDamaged { .. }
            | OpenError::FormatDamaged { .. }
            | OpenError::FormatTooNew { .. }
            | OpenError::Gap { .. }
    )
}

/// Nothing acknowledged is missing and nothing else is there.
fn assert_kept(journal: &[Vec<u8>], acknowledged: usize, at_most: usize) {
    let count = journal.len();
    assert!((acknowledged..=at_most).contains(&count), "{acknowledged} ≤ {count} ≤ {at_most}");
    assert!(journal.iter().enumerate().all(|(number, entry)| *entry == long(number)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_a_power_cut() {
    let (_dir, _options, looks) = looks().await;
    let mut draw = Draw::new("power cuts");
    let (mut opened, mut torn, mut refused) = (0, 0, 0);
    for _ in 0..images(POWER_CUTS) {
        let at = draw.below(looks.len() - 1);
        let [before, after] = [&looks[at], &looks[at + 1]];
        let is_plain = draw.is_heads();
        let image = cut(&before.files, &after.files, is_plain, &mut draw);
        match found(&image).await {
            Ok(journal) => {
                assert_kept(&journal, before.acknowledged, after.acknowledged);
                opened += 1;
                torn += usize::from(journal.len() < after.acknowledged);
            }
            Err(error) => {
                assert!(is_named(&error), "{error:?}");
                assert!(!is_plain, "an end that is missing is no damage: {error}");
                refused += 1;
            }
        }
    }
    eprintln!("{opened} opened, {torn} of them without their tail; {refused} refused");
    assert!(torn > 0, "no tail was torn: the images are no power cuts");
    assert!(refused < opened / 2, "where nothing is in a hole's place, it opens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_by_name_or_changes_nothing() {
    let (_dir, _options, looks) = looks().await;
    let mut draw = Draw::new("damage");
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..images(DAMAGES) {
        let whole = &looks[1 + draw.below(looks.len() - 1)];
        let mut image = whole.files.clone();
        let names: Vec<PathBuf> = image.keys().cloned().collect();
        let name = &names[draw.below(names.len())];
        let bytes = image.get_mut(name).expect("there");
        let is_log = name.starts_with("log");
        let is_cut = !bytes.is_empty() && !is_log && draw.below(4) == 0;
        if is_cut {
            bytes.truncate(draw.below(bytes.len()));
        } else if !bytes.is_empty() {
            for _ in 0..=draw.below(3) {
                let at = draw.below(bytes.len());
                bytes[at] ^= 1 << draw.below(8);
            }
        }
        match found(&image).await {
            Ok(journal) => {
                assert_kept(&journal, whole.acknowledged, whole.acknowledged + 1);
                opened += 1;
            }
            Err(error) => {
                let is_other = matches!(
                    error,
                    OpenError::OtherRaftId { .. }
                        | OpenError::OtherName { .. }
                        | OpenError::Io { .. }
                );
                assert!(is_named(&error) || is_other, "{}: {error:?}", name.display());
                refused += 1;
            }
        }
    }
    eprintln!("{opened} opened with all that was acknowledged, {refused} refused");
    assert!(refused > 0 && opened > 0, "damage is seen, and an older snapshot serves where it can");
}
