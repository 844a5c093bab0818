//! INV-16: members compare what their states come to.

use super::voters::{calm, has, leading, three};
use super::*;

fn often(options: Options) -> Options {
    Options { digest_every: 8, ..calm(options) }
}

/// A member whose state was changed behind Raft's back is found out by the leader; the others are
/// not. Once its state is the same again, as after a snapshot, so is what is said of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_state_is_found_out() {
    let voters = three(often).await;
    let first = leading(&voters).await;
    let bent = (first + 1) % 3;
    let leader = voters[first].group0();
    propose(leader, 0..20).await;
    let found = |raft_id: u64| {
        let members = leader.members();
        members.into_iter().find(|one| one.raft_id == raft_id).and_then(|one| one.state_differs_at)
    };
    let ids: Vec<u64> = voters.iter().map(|voter| voter.group0().raft_id()).collect();
    for voter in &voters {
        has(voter, 20).await;
    }
    assert!(ids.iter().all(|id| found(*id).is_none()), "nothing was bent yet");

    let state = &voters[bent].group0().inner.state;
    state.bend(|journal| journal.0[3] = b"something else".to_vec());
    let mut count = 20;
    while found(ids[bent]).is_none() {
        propose(leader, count..count + 1).await;
        count += 1;
        assert!(count < 10_000, "nobody has noticed");
    }
    assert!(ids.iter().all(|id| *id == ids[bent] || found(*id).is_none()), "of this one alone");

    state.bend(|journal| journal.0[3] = entry(3));
    while found(ids[bent]).is_some() {
        propose(leader, count..count + 1).await;
        count += 1;
        assert!(count < 20_000, "it is the same again");
    }
}
