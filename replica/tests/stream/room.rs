//! Room on the receiver's disk: looked for and kept before the first byte, given back at the end.

use crate::agents::*;
use migrations::evidence::FailureReason;
use migrations::row::RowSum;
use migrations::stage::Stage;
use palisade_replica::store::{NoRoom, Sizes};
use palisade_replica::stream::{Origin, StreamEvent};

/// Bytes that can be reserved now, but for a hair.
fn most(agent: &Agent) -> u64 {
    agent.store.room_for_rows().expect("known") / 5 * 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_a_stream_that_will_not_fit_is_refused_before_its_first_byte() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    // So many that what else happens on the disk meanwhile makes no room for them.
    let mut rows = rows(2_000);
    rows.iter_mut().for_each(|(_, row)| row.value = Some(vec![7; 16 << 10]));
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, _) = source.serve().await;
    let others = receiver.store.reserve(most(&receiver)).expect("there is room");
    receiver.puller.pull(order_of_session_1(&address)).await;
    let failure = receiver.failed().await;
    assert_eq!((failure.reason, failure.origin), (FailureReason::NodeFull, Origin::LocalDisk));
    assert_eq!(receiver.holds(7), (0, RowSum::default()), "nothing was begun: {failure}");
    drop(others);

    // The next attempt finds the room, and gives it back.
    for agent in [&source, &receiver] {
        agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
        agent.take_on(&moving(9, Stage::Streaming, Some(2))).await;
    }
    let next = order(moving(9, Stage::Streaming, Some(2)), &address);
    receiver.puller.pull(next).await;
    let ended = receiver.ended().await;
    assert!(matches!(ended, StreamEvent::Complete { .. }), "{ended:?}");
    let taken = receiver.store.reserve(u64::MAX).expect_err("nobody has so much");
    let NoRoom::Short { room, .. } = taken else { panic!("{taken}") };
    let there_is = receiver.store.room_for_rows().expect("known");
    assert!(room > there_is / 2, "{room} of {there_is}: the reservation is still there");
}

/// The sizes are said in turn, a few at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sizes_of_copies_are_said_in_turn() {
    let path = tempfile::tempdir().expect("dir");
    let receiver = receiver(path.path()).await;
    let all = receiver.store.sizes(None, 10);
    let [(tablet, copy, bytes)] = all.copies[..] else { panic!("{all:?}") };
    assert_eq!((bytes, all.after), (0, None), "there are no more");
    let rows = rows(200);
    receiver.put_all(7, &rows);
    let next = receiver.store.sizes(None, 1);
    let [(_, _, bytes)] = next.copies[..] else { panic!("{next:?}") };
    assert_eq!((bytes > 0, next.after), (true, Some(tablet)), "there may be more");
    assert_eq!(receiver.store.copies(), [(tablet, copy)]);
    assert_eq!(receiver.store.sizes(next.after, 1), Sizes::default(), "and then from the first");
}

/// A repair streams what is there already: room is needed for what is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_already_needs_no_room() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let rows = rows(2_000);
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    receiver.put_all(7, &rows);
    let (address, _) = source.serve().await;
    let others = receiver.store.reserve(most(&receiver)).expect("there is room");
    receiver.puller.pull(order_of_session_1(&address)).await;
    let ended = receiver.ended().await;
    assert!(matches!(ended, StreamEvent::Complete { .. }), "{ended:?}");
    drop(others);
}
