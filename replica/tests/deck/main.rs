//! The storage deck of an agent: power cuts and damage, by the hundred. Images of its directory as
//! a disk could have left it, and what is found in them.
//!
//! Work is looked at each time it has been acknowledged. What is written between two looks is what
//! no sync had covered at the first. What is opened from an image has all that was acknowledged, or
//! reports the copy as lost and does not serve it, or is refused by name. No floor falls.
//! `PALISADE_IMAGES=10` makes ten times as many, `PALISADE_SEED` repeats what was drawn. Both end
//! after a time too; how many were looked at is printed.

#[path = "../agent/mod.rs"]
mod agent;
mod images;
mod work;

use agent::Agent;
use images::{Draw, Image, cut, damage, lay, look};
use palisade_replica::store::{StoreError, StoreOptions};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use work::{Acknowledged, Found, Work, check};

/// Images of one piece of work: three hundred, and five hundred.
const POWER_CUTS: usize = 3;
const DAMAGES: usize = 5;
/// Pieces of work, looked at one by one.
const STEPS: usize = 100;
const AT_MOST: Duration = Duration::from_secs(60);

/// How many times as many.
fn times() -> usize {
    env::var("PALISADE_IMAGES").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn is_over(began: Instant) -> bool {
    began.elapsed().as_secs() > AT_MOST.as_secs() * times() as u64
}

/// Opens an image, and looks whether it is one of the two.
async fn found(
    image: &Image,
    before: &Acknowledged,
    after: &Acknowledged,
) -> Result<Found, StoreError> {
    let directory = tempfile::tempdir().expect("a directory");
    lay(image, directory.path());
    let options = StoreOptions { cache_bytes: 16 << 20, ..StoreOptions::default() };
    let opened = catch_unwind(AssertUnwindSafe(|| Agent::try_with(directory.path(), options)));
    Ok(check(&opened.expect("no panic")?, before, after).await)
}

#[derive(Debug, Default)]
struct Count {
    whole: usize,
    lost: usize,
    refused: usize,
}

impl Count {
    fn add(&mut self, found: Result<Found, StoreError>) {
        match found {
            Ok(Found { lost, broken }) => {
                assert!(broken.is_empty(), "{broken:?}");
                self.lost += usize::from(lost > 0);
                self.whole += usize::from(lost == 0);
            }
            Err(
                StoreError::Damaged { .. }
                | StoreError::FormatTooOld { .. }
                | StoreError::FormatTooNew { .. }
                | StoreError::NodeMismatch { .. },
            ) => self.refused += 1,
            Err(other) => panic!("this says nothing of damage: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_power_cut() {
    let mut draw = Draw::new("power cuts");
    let directory = tempfile::tempdir().expect("a directory");
    let mut work = Work::begin(directory.path()).await;
    let (mut before, mut known) = (look(directory.path()), work.acknowledged.clone());
    let (began, mut count) = (Instant::now(), Count::default());
    for _ in 0..STEPS * times() {
        work.step(&mut draw).await;
        let after = look(directory.path());
        for _ in 0..POWER_CUTS {
            let image = cut(&before, &after, &mut draw);
            count.add(found(&image, &known, &work.acknowledged).await);
        }
        (before, known) = (after, work.acknowledged.clone());
        if is_over(began) {
            break;
        }
    }
    eprintln!("{count:?}");
    assert!(count.whole > 0 && count.lost + count.refused == 0, "a power cut is no damage");
}

#[tokio::test]
async fn damage_is_refused_by_name_or_reported_or_changes_nothing() {
    let mut draw = Draw::new("damage");
    let directory = tempfile::tempdir().expect("a directory");
    let mut work = Work::begin(directory.path()).await;
    let (began, mut count) = (Instant::now(), Count::default());
    for _ in 0..STEPS * times() {
        work.step(&mut draw).await;
        let whole = look(directory.path());
        for _ in 0..DAMAGES {
            let image = damage(&whole, &mut draw);
            count.add(found(&image, &work.acknowledged, &work.acknowledged).await);
        }
        if is_over(began) {
            break;
        }
    }
    eprintln!("{count:?}");
    assert!(count.whole > 0 && count.lost > 0 && count.refused > 0, "each occurs: {count:?}");
}

/// The directory after some work, with the log of the store as it was some acknowledgements ago,
/// as sled may leave it without a word; and the directory's first manifest.
async fn forgotten() -> (Image, Image, Acknowledged) {
    let mut draw = Draw::new("a forgotten tail");
    let directory = tempfile::tempdir().expect("a directory");
    let mut work = Work::begin(directory.path()).await;
    let first = look(directory.path());
    for _ in 0..40 {
        work.step(&mut draw).await;
    }
    let mut image = look(directory.path());
    image.retain(|name, _| !name.starts_with("rows"));
    let rows = first.iter().filter(|(name, _)| name.starts_with("rows"));
    image.extend(rows.map(|(name, bytes)| (name.clone(), bytes.clone())));
    (image, first, work.acknowledged)
}

#[tokio::test]
async fn a_store_that_forgot_its_tail_is_found_out_copy_by_copy() {
    let (image, _, acknowledged) = forgotten().await;
    let found = found(&image, &acknowledged, &acknowledged).await.expect("it opens");
    assert!(found.broken.is_empty(), "{:?}", found.broken);
    assert!(found.lost > 0, "what was written is not there");
}

/// Control: a manifest that says what the store says notices nothing.
#[tokio::test]
async fn control_without_the_manifest_a_forgotten_tail_is_served() {
    let (mut image, first, acknowledged) = forgotten().await;
    let name = std::path::PathBuf::from("manifest");
    image.insert(name.clone(), first[&name].clone());
    let found = found(&image, &acknowledged, &acknowledged).await.expect("it opens");
    assert!(!found.broken.is_empty(), "acknowledged writes and floors are gone, and served");
}
