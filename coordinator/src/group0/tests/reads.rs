//! Reads at any member: as new as the leader's, or none.

use super::super::ReadError;
use super::voters::{calm, leading, three, until};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reads_what_was_committed_before_the_read() {
    let voters = three(calm).await;
    let leader = leading(&voters).await;
    let follower = voters[(leader + 1) % 3].group0();
    until(&voters[(leader + 1) % 3], "follows", |status| status.leader.is_some()).await;
    for number in 0..50 {
        propose(voters[leader].group0(), number..number + 1).await;
        let seen = follower.linearizable_read(|journal| journal.0.len()).await.expect("a read");
        assert_eq!(seen, number + 1);
    }
    assert!(follower.leaders_read(|_| ()).await.is_err(), "it does not lead");
}

/// A follower that is cut off from the leader answers nothing, though it has all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_reads() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..3).await;
    let (left, gone) = ((leader + 1) % 3, (leader + 2) % 3);
    super::voters::has(&voters[left], 3).await;
    voters[leader].kill().await;
    voters[gone].kill().await;
    let read = voters[left].group0().linearizable_read(|journal| journal.0.len());
    let refused = timeout(PATIENCE, read).await.expect("it is bounded").expect_err("no quorum");
    assert!(matches!(refused, ReadError::NoLeader | ReadError::NoQuorum), "{refused}");
}
