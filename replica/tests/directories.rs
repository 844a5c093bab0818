//! Whose a data directory is, and who has it.

use migrations::id::{ClusterId, NodeId};
use migrations::version::{Incarnation, TopologyVersion};
use palisade_replica::limits::TOKENS;
use palisade_replica::store::{Directory, StoreError};
use std::fs;
use uuid::Uuid;

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
    fs::write(dir.path().join("format"), "2\n").expect("writable");
    let newer = Directory::open(dir.path(), "n1").err();
    assert_eq!(newer, Some(StoreError::FormatTooNew { found: 2, known: 1 }));
    fs::write(dir.path().join("format"), "1\n").expect("writable");
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
