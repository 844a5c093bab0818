//! Whose a data directory is, and who has it.

use migrations::id::{ClusterId, NodeId};
use migrations::version::{Incarnation, TopologyVersion};
use palisade_replica::lease::Lease;
use palisade_replica::limits::TOKENS;
use palisade_replica::store::{Directory, SledStore, StoreError, StoreOptions};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

fn admit(directory: &Directory) {
    let token = directory.draw_token().expect("the disk works");
    let cluster = ClusterId::from_uuid(Uuid::from_u128(5)).expect("not nil");
    let node = NodeId::from_u64(3).expect("not zero");
    let incarnation = Incarnation(TopologyVersion::from_parts(1, 17));
    directory.admitted(cluster, node, incarnation, token).expect("the disk works");
}

fn open_store(path: &Path) -> Result<SledStore, StoreError> {
    let directory = Arc::new(Directory::open(path, "n1")?);
    let options = StoreOptions { cache_bytes: 16 << 20, ..StoreOptions::default() };
    SledStore::open(directory, Arc::new(Lease::new()), options)
}

/// The row store without the checks of an agent.
fn open_rows(path: &Path) -> sled::Db {
    let rows = sled::Config::new().path(path).segment_size(2 << 20).open();
    rows.expect("nobody else has it")
}

fn is_damaged(opened: Result<SledStore, StoreError>) -> bool {
    let error = opened.err();
    matches!(&error, Some(StoreError::Damaged { detail }) if detail.contains("row store is not"))
}

#[test]
fn a_directory_is_bound_to_its_node_and_one_process_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Directory::open(dir.path(), "n1").expect("free");
    let second = Directory::open(dir.path(), "n1").err();
    assert_eq!(second, Some(StoreError::AlreadyRunning(dir.path().to_owned())));
    let (id, proof) = (first.id(), first.proof().expect("readable"));
    assert_eq!(proof.directory, id);
    drop(first);
    let other = Directory::open(dir.path(), "n2").err();
    let mismatch = StoreError::NodeMismatch { bound: "n1".to_owned(), given: "n2".to_owned() };
    assert_eq!(other, Some(mismatch));
    let again = Directory::open(dir.path(), "n1").expect("free");
    assert_eq!((again.id(), again.proof()), (id, Ok(proof)), "same boot, same lock");
}

#[test]
fn a_newer_format_is_refused_and_a_changed_identity_is_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Directory::open(dir.path(), "n1").expect("free"));
    fs::write(dir.path().join("format"), "5\n").expect("writable");
    let newer = Directory::open(dir.path(), "n1").err();
    assert_eq!(newer, Some(StoreError::FormatTooNew { found: 5, known: 4 }));
    fs::write(dir.path().join("format"), "2\n").expect("writable");
    let older = Directory::open(dir.path(), "n1").err();
    assert_eq!(older, Some(StoreError::FormatTooOld { found: 2, oldest: 3 }));
    fs::write(dir.path().join("format"), "3\n").expect("writable");
    let text = fs::read_to_string(dir.path().join("identity")).expect("readable");
    fs::write(dir.path().join("identity"), text.replace("n1", "n2")).expect("writable");
    let damaged = Directory::open(dir.path(), "n2").err();
    assert!(matches!(damaged, Some(StoreError::Damaged { .. })));
}

#[test]
fn tokens_are_durable_bounded_and_cleared_by_an_admission() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(dir.path(), "n1").expect("free");
    let first = directory.draw_token().expect("the disk works");
    for _ in 0..2 * TOKENS {
        directory.draw_token().expect("the disk works");
    }
    let last = directory.draw_token().expect("the disk works");
    let identity = directory.identity();
    assert_eq!((identity.tokens.len(), identity.tokens[0]), (TOKENS, first));
    assert_eq!(identity.tokens.last(), Some(&last));
    drop(directory);

    let directory = Directory::open(dir.path(), "n1").expect("free");
    assert_eq!(directory.identity(), identity);
    let cluster = ClusterId::from_uuid(Uuid::from_u128(5)).expect("not nil");
    let node = NodeId::from_u64(3).expect("not zero");
    let incarnation = Incarnation(TopologyVersion::from_parts(1, 17));
    directory.admitted(cluster, node, incarnation, last).expect("the disk works");
    drop(directory);
    let identity = Directory::open(dir.path(), "n1").expect("free").identity();
    assert_eq!((identity.cluster, identity.node), (Some(cluster), Some((node, incarnation))));
    assert_eq!(identity.tokens, [last]);
}

#[test]
fn a_row_store_that_is_gone_or_another_one_is_damage_and_none_is_made_in_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (rows, aside) = (dir.path().join("rows"), dir.path().join("aside"));
    drop(open_store(dir.path()).expect("new"));
    admit(&Directory::open(dir.path(), "n1").expect("free"));
    fs::rename(&rows, &aside).expect("writable");
    for _ in 0..2 {
        assert!(is_damaged(open_store(dir.path())), "it is gone");
        assert!(!rows.exists(), "what is empty would be there for whoever looks next");
    }
    fs::create_dir(&rows).expect("writable");
    assert!(is_damaged(open_store(dir.path())), "where it was mounted there is nothing");
    fs::remove_dir_all(&rows).expect("writable");
    drop(open_rows(&rows));
    assert!(is_damaged(open_store(dir.path())), "one that never was a node's");
    fs::remove_dir_all(&rows).expect("writable");

    let other = tempfile::tempdir().expect("a directory");
    drop(open_store(other.path()).expect("new"));
    fs::rename(other.path().join("rows"), &rows).expect("the same file system");
    assert!(is_damaged(open_store(dir.path())), "another directory's");
    fs::remove_dir_all(&rows).expect("writable");
    fs::rename(&aside, &rows).expect("writable");
    assert!(open_store(dir.path()).is_ok(), "its own, back again");
}

#[test]
fn a_crash_before_the_row_store_was_noted_is_made_good_unless_there_was_an_admission() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("identity");
    drop(Directory::open(dir.path(), "n1").expect("free"));
    let before = fs::read_to_string(&file).expect("readable");
    drop(open_store(dir.path()).expect("new"));
    let noted = fs::read_to_string(&file).expect("readable");
    assert!(noted.contains("\nrows "), "{noted}");
    fs::write(&file, before).expect("writable");
    drop(open_store(dir.path()).expect("what the crash left"));
    assert_eq!(fs::read_to_string(&file).expect("readable"), noted, "the same one");

    let admitted = tempfile::tempdir().expect("a directory");
    admit(&Directory::open(admitted.path(), "n1").expect("free"));
    assert!(is_damaged(open_store(admitted.path())), "an admitted one had a row store");
    assert!(is_damaged(open_store(admitted.path())), "nor is one adopted at the second try");
}

#[test]
fn a_new_identity_does_not_take_over_the_copies_of_an_old_one() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open_store(dir.path()).expect("new"));
    let rows = open_rows(&dir.path().join("rows"));
    let floors = rows.open_tree("floors").expect("it is there");
    floors.insert(7_u64.to_be_bytes(), &[0; 12]).expect("the disk works");
    drop((floors, rows));
    fs::remove_file(dir.path().join("identity")).expect("writable");
    assert!(is_damaged(open_store(dir.path())));
}

/// sled gives its lock back a moment after its last handle is gone: who opens the store again right
/// then waits for it.
#[test]
fn a_store_opens_again_right_after_it_was_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..50 {
        let directory = Directory::open(dir.path(), "n1").expect("free");
        let lease = Arc::new(Lease::new());
        let store = SledStore::open(Arc::new(directory), lease, StoreOptions::default());
        store.expect("the one before is gone, or waited for");
    }
}
