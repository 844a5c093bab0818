//! Members that go, and come back.

use super::super::Role;
use super::voters::{CALM_ELECTION, calm, has, leading, small, snapshot, three, until};
use super::*;

/// Nothing that was acknowledged is lost, and the one that led comes back and follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leads_when_the_leader_is_killed() {
    let mut voters = three(calm).await;
    let first = leading(&voters).await;
    propose(voters[first].group0(), 0..30).await;
    voters[first].kill().await;

    let second = leading(&voters).await;
    assert_ne!(second, first);
    assert_eq!(journal(voters[second].group0()), entries(0..30));
    propose(voters[second].group0(), 30..40).await;

    voters[first].restart().await;
    has(&voters[first], 40).await;
    until(&voters[first], "follows", |status| status.role == Role::Follower).await;
    propose(voters[second].group0(), 40..41).await;
    has(&voters[first], 41).await;
}

/// A leader that stops hands over; both that are left elect one of themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over() {
    let mut voters = three(calm).await;
    let first = leading(&voters).await;
    propose(voters[first].group0(), 0..10).await;
    let raft_id = voters[first].group0().raft_id();
    let others = (0..3).filter(|number| *number != first).collect::<Vec<_>>();
    voters[first].stop().await;
    // It has stopped only after another led: nobody had to wait for an election.
    let roles: Vec<Role> =
        others.iter().map(|other| voters[*other].group0().metrics().role).collect();
    assert!(roles.contains(&Role::Leader), "{roles:?}");
    for other in others {
        let is_another = |leader: Option<u64>| leader.is_some_and(|leader| leader != raft_id);
        until(&voters[other], "another leads", |status| is_another(status.leader)).await;
    }
    let second = leading(&voters).await;
    propose(voters[second].group0(), 10..20).await;
}

/// Again and again: two that are left agree on one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_survivors_elect() {
    let mut voters = three(calm).await;
    let mut count = 0;
    for _ in 0..5 {
        let leader = leading(&voters).await;
        propose(voters[leader].group0(), count..count + 1).await;
        count += 1;
        voters[leader].kill().await;
        let next = leading(&voters).await;
        propose(voters[next].group0(), count..count + 1).await;
        count += 1;
        voters[leader].restart().await;
        has(&voters[leader], count).await;
    }
}

/// What it missed is no longer in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_gets_a_snapshot() {
    let mut voters = three(small).await;
    let leader = leading(&voters).await;
    let away = (leader + 1) % 3;
    propose(voters[leader].group0(), 0..3).await;
    has(&voters[away], 3).await;
    voters[away].kill().await;
    propose(voters[leader].group0(), 3..200).await;
    until(&voters[leader], "purged", |status| status.purged >= Some(100)).await;

    voters[away].restart().await;
    has(&voters[away], 200).await;
    until(&voters[away], "a snapshot", |status| status.snapshot >= Some(100)).await;
    assert_eq!(snapshot(&voters[away]), snapshot(&voters[leader]));
    propose(voters[leader].group0(), 200..201).await;
    has(&voters[away], 201).await;
    // It is on its disk too.
    voters[away].kill().await;
    voters[away].restart().await;
    has(&voters[away], 201).await;
}

/// A member that hears nothing asks before it stands for election, and a leader that is heard by
/// a quorum has nobody granted a vote: the term stays what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_member_disturbs_nobody() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    let isolated = (leader + 1) % 3;
    propose(voters[leader].group0(), 0..1).await;
    has(&voters[isolated], 1).await;
    let before = leadership(voters[leader].group0()).await;
    // It is reached by nobody, and reaches the others itself.
    voters[isolated].stop_serving().await;
    // Long enough for it to give up on the leader, and to ask the others.
    let group0 = voters[leader].group0();
    let raft_id = voters[isolated].group0().raft_id();
    let long = CALM_ELECTION * 3;
    until(&voters[leader], "silence", |_| {
        let members = group0.members();
        let found = members.iter().find(|member| member.raft_id == raft_id);
        found.and_then(|member| member.silent) >= Some(long)
    })
    .await;
    propose(voters[leader].group0(), 1..200).await;
    assert_eq!(voters[isolated].group0().metrics().term, before.term);
    voters[isolated].kill().await;
    voters[isolated].restart().await;
    has(&voters[isolated], 200).await;
    assert_eq!(leadership(voters[leader].group0()).await, before, "it led throughout");
    assert_eq!(voters[isolated].group0().metrics().term, before.term);
}
