//! Images of a directory: what a power cut may leave of the way from one look to the next, and
//! damage.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Files by their path in the directory.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

/// Draws numbers from a seed, which is printed: xorshift.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(what: &str) -> Draw {
        let given = env::var("PALISADE_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos());
        let seed: u64 = given.unwrap_or_else(|| clock() as u64) | 1;
        eprintln!("{what}: PALISADE_SEED={seed}");
        Draw(seed)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    pub(crate) fn is_heads(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Everything that is read when a directory is opened.
pub(crate) fn look(directory: &Path) -> Image {
    let mut files = Image::new();
    for place in ["", "rows"] {
        for item in fs::read_dir(directory.join(place)).into_iter().flatten() {
            let path = item.expect("listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_read = !name.ends_with(".new") && !["lock", "ballast"].contains(&name);
            // One that has gone since it was listed has gone.
            if let (true, Ok(bytes)) = (is_read && path.is_file(), fs::read(&path)) {
                files.insert(path.strip_prefix(directory).expect("below").to_owned(), bytes);
            }
        }
    }
    files
}

/// Lays an image down.
pub(crate) fn lay(image: &Image, directory: &Path) {
    fs::create_dir_all(directory.join("rows")).expect("created");
    for (name, bytes) in image {
        fs::write(directory.join(name), bytes).expect("written");
    }
}

/// What a power cut may leave of the way from one look to the next, in the order of the syncs
/// between them: of what was written in place
/// any sectors, of 512 bytes or 4 KiB; of files that were renamed into their place any one.
pub(crate) fn cut(before: &Image, after: &Image, draw: &mut Draw) -> Image {
    let mut image = Image::new();
    let sector = if draw.is_heads() { 512 } else { 4_096 };
    // A round is written to the manifest only once the store has been synced.
    let is_synced = draw.below(3) == 0;
    let names: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for name in names {
        let is_manifest = name.ends_with("manifest");
        let left = match (before.get(name), after.get(name)) {
            (Some(old), _) if is_manifest && !is_synced => Some(old.clone()),
            (_, Some(new)) if !is_manifest && is_synced => Some(new.clone()),
            (Some(old), Some(new)) if is_in_place(name, old, new) => {
                Some(torn(old, new, sector, draw))
            }
            (Some(old), Some(new)) => Some(if draw.is_heads() { old } else { new }.clone()),
            (one, None) | (None, one) => one.filter(|_| draw.is_heads()).cloned(),
        };
        if let Some(left) = left {
            image.insert(name.clone(), left);
        }
    }
    image
}

/// The log is written in place; the manifest too, as long as it is the same file.
fn is_in_place(name: &Path, old: &[u8], new: &[u8]) -> bool {
    let is_same = old.first_chunk::<44>() == new.first_chunk::<44>();
    name.ends_with("rows/db") || (name.ends_with("manifest") && is_same)
}

fn torn(old: &[u8], new: &[u8], sector: usize, draw: &mut Draw) -> Vec<u8> {
    let length = match draw.below(3) {
        0 => old.len(),
        1 => new.len(),
        _ => old.len() + draw.below(new.len().saturating_sub(old.len()) + 1),
    };
    let mut bytes = new.to_vec();
    bytes.resize(length, 0);
    // Some lose little, some nearly all.
    let odds = 1 + draw.below(8);
    for at in (0..length).step_by(sector) {
        let end = (at + sector).min(length);
        if old.get(at..end) != Some(&bytes[at..end]) && draw.below(odds) == 0 {
            let kept = old.get(at..end.min(old.len())).unwrap_or_default();
            bytes[at..at + kept.len()].copy_from_slice(kept);
            bytes[at + kept.len()..end].fill(0);
        }
    }
    bytes
}

/// One of the files cut, or some bits of it flipped, or a block of it emptied.
pub(crate) fn damage(whole: &Image, draw: &mut Draw) -> Image {
    let mut image = whole.clone();
    let mut names: Vec<PathBuf> = image.keys().cloned().collect();
    // Where nearly all of the bytes are, half of the damage is.
    let log = PathBuf::from("rows/db");
    names.resize(names.len() * 2, log);
    let name = names.swap_remove(draw.below(names.len()));
    let bytes = image.get_mut(&name).expect("it is there");
    // What was never written is not worth damaging.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match draw.below(6) {
        0 => bytes.truncate(draw.below(written.max(1))),
        1 => {
            let at = draw.below(written.max(1)) / 4_096 * 4_096;
            let end = (at + 4_096).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        _ if written > 0 => {
            for _ in 0..=draw.below(3) {
                bytes[draw.below(written)] ^= 1 << draw.below(8);
            }
        }
        _ => {}
    }
    image
}
