//! H2 on one agent: a directory that is brought over to a restored cluster, and again to another
//! one; what the first has set aside may be what the second gives.

mod agent;

use agent::*;
use migrations::id::ClusterId;
use migrations::version::{Incarnation, TopologyVersion};
use palisade_replica::store::{Directory, StoreError};
use palisade_replica::tablets::{CopyState, FullState, Refused, Unlisted};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

fn cluster(n: u128) -> ClusterId {
    ClusterId::from_uuid(Uuid::from_u128(n)).expect("not nil")
}

fn admit(directory: &Directory, n: u128) {
    let token = directory.draw_token().expect("the disk works");
    let incarnation = Incarnation(TopologyVersion::from_parts(0, 4));
    directory.admitted(cluster(n), node(OWN), incarnation, token).expect("the disk works");
}

/// The agent of a directory that is brought over to cluster `n`.
fn over(path: &Path, n: u128) -> Agent {
    Directory::adopt(path, cluster(n)).expect("nobody has it, and it was another's");
    Agent::open(path)
}

async fn first_full_state(agent: &Agent, at: u64, own_copy: Option<u64>) -> FullState {
    let listed = [Arc::new(settled(at, own_copy))];
    let done = agent.tablets.full_state(version(at), &listed, node(OWN), Unlisted::SetAside).await;
    let done = done.expect("the disk works");
    agent.directory.worked_off().expect("the disk works");
    done
}

/// The wrong file is restored first: it knows nothing of this node's copy. Then a better one, which
/// gives it. The rows are there.
#[tokio::test]
async fn h2_what_one_restore_sets_aside_another_one_gives() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    admit(&agent.directory, 1);
    agent.take_on(&Arc::new(settled(6, Some(5)))).await;
    let guard = agent.at(6).expect("served");
    agent.store.put(&guard, b"key", &row(10, Some(b"value"))).expect("stored");
    drop((guard, agent));

    let agent = over(dir.path(), 2);
    let done = first_full_state(&agent, 20, None).await;
    assert_eq!(done.set_aside, [(tablet(), copy(5))]);
    drop(agent);
    // A restart alone changes nothing: it is nobody's.
    let agent = Agent::open(dir.path());
    assert_eq!(agent.store.aside(), [(tablet(), copy(5))]);
    drop(agent);

    let agent = over(dir.path(), 3);
    let done = first_full_state(&agent, 30, Some(5)).await;
    assert_eq!(done.taken[0].copy, CopyState::Here(copy(5)), "nothing was lost");
    assert_eq!((done.set_aside.as_slice(), agent.store.aside().as_slice()), (&[][..], &[][..]));
    let guard = agent.at(30).expect("served");
    let read = agent.store.get(&guard, b"key").expect("the disk works");
    assert_eq!(read, Some(row(10, Some(b"value"))));
}

/// A copy of the first restored cluster's own, beside what that has set aside: the second cluster
/// gives the older of the two, and the newer one is set aside in its place.
#[tokio::test]
async fn h2_of_two_copies_of_a_tablet_the_given_one_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    admit(&agent.directory, 1);
    agent.take_on(&Arc::new(settled(6, Some(5)))).await;
    drop(agent);
    let agent = over(dir.path(), 2);
    first_full_state(&agent, 20, None).await;
    agent.take_on(&Arc::new(settled(22, Some(21)))).await;
    drop(agent);
    for at in [30, 31] {
        // The second time after a crash before it was noted as worked off.
        let agent = match at {
            30 => over(dir.path(), 3),
            _ => Agent::open(dir.path()),
        };
        let listed = [Arc::new(settled(at, Some(5)))];
        let done = agent.tablets.full_state(version(at), &listed, node(OWN), Unlisted::SetAside);
        let done = done.await.expect("the disk works");
        assert_eq!(done.taken[0].copy, CopyState::Here(copy(5)));
        assert_eq!(done.set_aside, [(tablet(), copy(21))]);
    }
}

/// Until the first full state of its new cluster is worked off it serves nothing: what it has goes
/// by the old one, and may be set aside in a moment.
#[tokio::test]
async fn h2_nothing_is_served_before_the_first_full_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    admit(&agent.directory, 1);
    agent.take_on(&Arc::new(settled(6, Some(5)))).await;
    drop(agent);
    assert!(Agent::open(dir.path()).at(6).is_ok(), "within its cluster it goes on");
    let agent = over(dir.path(), 2);
    for at in [6, 20] {
        assert!(matches!(agent.at(at).err(), Some(Refused::Awaiting)), "{at}");
    }
    first_full_state(&agent, 20, Some(5)).await;
    assert!(agent.at(20).is_ok());
    drop(agent);
    assert!(Agent::open(dir.path()).at(20).is_ok(), "it is one of the new cluster's");
}

/// A build that does not know of copies that are set aside would take them for its own, and drop
/// them at its next full state.
#[test]
fn a_directory_that_was_brought_over_is_no_older_builds() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(dir.path(), "n1").expect("free");
    let format = || fs::read_to_string(dir.path().join("format")).expect("readable");
    assert_eq!(format(), "3\n", "as long as nothing is in it that the older build doesn't know");
    let has_it = Directory::adopt(dir.path(), cluster(2)).err();
    assert_eq!(has_it, Some(StoreError::AlreadyRunning(dir.path().to_owned())));
    drop(directory);
    let never = Directory::adopt(dir.path(), cluster(2)).err();
    assert_eq!(never, Some(StoreError::NeverAdmitted(dir.path().to_owned())));
    assert_eq!(format(), "3\n", "it was not brought over");
    admit(&Directory::open(dir.path(), "n1").expect("free"), 1);
    Directory::adopt(dir.path(), cluster(2)).expect("brought over");
    assert_eq!(format(), "4\n");
    let twice = Directory::adopt(dir.path(), cluster(2)).err();
    assert_eq!(twice, Some(StoreError::IsOfCluster(cluster(2))));
    drop(Directory::open(dir.path(), "n1").expect("free"));

    let other = tempfile::tempdir().expect("a directory");
    assert!(Directory::adopt(other.path(), cluster(2)).is_err(), "no agent's directory");
    assert_eq!(fs::read_dir(other.path()).expect("readable").count(), 0, "nor made one");
}

fn files(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let items = fs::read_dir(place).expect("it is there");
    let files = items.map(|item| item.expect("listed").path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

/// What was set aside had to be kept as it was: a store that has forgotten some of it does not give
/// the rest.
#[tokio::test]
async fn h3_what_was_set_aside_and_is_less_now_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let rows = dir.path().join("rows");
    let agent = Agent::open(dir.path());
    admit(&agent.directory, 1);
    agent.take_on(&Arc::new(settled(6, Some(5)))).await;
    drop(agent);
    let before = files(&rows);
    let agent = Agent::open(dir.path());
    let guard = agent.at(6).expect("served");
    agent.store.put(&guard, b"key", &row(10, Some(b"value"))).expect("stored");
    agent.store.durable().wait().await.expect("the disk works");
    drop((guard, agent));
    let agent = over(dir.path(), 2);
    first_full_state(&agent, 20, None).await;
    assert_eq!(agent.store.aside(), [(tablet(), copy(5))]);
    drop(agent);

    files(&rows).keys().for_each(|file| fs::remove_file(file).expect("removed"));
    before.iter().for_each(|(file, bytes)| fs::write(file, bytes).expect("written"));
    let agent = over(dir.path(), 3);
    let done = first_full_state(&agent, 30, Some(5)).await;
    assert_eq!(done.taken[0].copy, CopyState::Lost(copy(5)));
    assert!(agent.at(30).is_err(), "it is not served");
}
