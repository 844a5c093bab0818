//! Members come and go, one at a time; who was removed ends; who has lost its directory is another.

use std::collections::BTreeSet;

use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;

use super::super::types::{Membership, encode_membership};
use super::super::{FatalReason, MemberError, ReadError};
use super::voters::{self, Voter, calm, has, leading, three, until};
use super::*;

async fn add(leader: &Voter, fresh: &Voter) {
    let address = fresh.address.to_string();
    let added = leader.group0().add_member(&fresh.name, &address, false).await.expect("it comes");
    assert_eq!(added.raft_id, fresh.raft_id());
}

/// Waits until these vote, by the word of one of them.
async fn votes(by: &Voter, members: &[&Voter]) {
    let mut ids: Vec<u64> = members.iter().map(|voter| voter.raft_id()).collect();
    ids.sort_unstable();
    until(by, "the voters", |status| status.voters == ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_one_is_taken_in_and_votes_once_it_has_caught_up() {
    let voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..300).await;
    let fresh = Voter::start("c4", calm).await;
    let own = voters[leader].group0();
    let address = fresh.address.to_string();
    let trial = own.add_member("c4", &address, true).await.expect("it may");
    assert!(!trial.voter && own.members().len() == 3, "nothing was done");
    add(&voters[leader], &fresh).await;
    votes(&voters[leader], &[&voters[0], &voters[1], &voters[2], &fresh]).await;
    has(&fresh, 300).await;
    // Once more is the same.
    let again = own.add_member("c4", &address, false).await.expect("it is there");
    assert!(again.voter && own.members().len() == 4, "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_ends_and_never_comes_back_under_its_id() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..3).await;
    let gone = (leader + 1) % 3;
    has(&voters[gone], 3).await;
    let (name, id) = (voters[gone].name.clone(), voters[gone].raft_id());
    let own = voters[leader].group0();
    own.remove_member(&name, Some(id), false).await.expect("it goes");
    assert_eq!(own.members().len(), 2);
    let fatal = timeout(PATIENCE, voters[gone].group0().fatal()).await.expect("it is told");
    assert!(matches!(&fatal, FatalReason::Removed { name: own, .. } if *own == name), "{fatal}");
    // A late try finds it done; its directory is never taken in again.
    own.remove_member(&name, Some(id), false).await.expect("it has gone");
    let address = voters[gone].address.to_string();
    let refused = own.add_member(&name, &address, false).await.expect_err("refused");
    assert_eq!(refused, MemberError::WasRemoved { name: name.clone() });
    // It learns it again when it starts again.
    voters[gone].kill().await;
    voters[gone].restart().await;
    timeout(PATIENCE, voters[gone].group0().fatal()).await.expect("it is told");
    // Another one of its name is not meant by the late try.
    voters[gone].kill().await;
    voters[gone].start_wiped().await;
    add(&voters[leader], &voters[gone]).await;
    let own = voters[leader].group0();
    own.remove_member(&name, Some(id), false).await.expect("it has gone");
    votes(&voters[leader], &[&voters[0], &voters[1], &voters[2]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_one_has_no_vote_until_it_is_removed_and_added() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..3).await;
    let wiped = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    let (name, id) = (voters[wiped].name.clone(), voters[wiped].raft_id());
    voters[wiped].kill().await;
    voters[wiped].start_wiped().await;
    assert_ne!(voters[wiped].raft_id(), id);
    let own = voters[leader].group0();
    let address = voters[wiped].address.to_string();
    let refused = own.add_member(&name, &address, false).await.expect_err("refused");
    assert_eq!(refused, MemberError::NameTaken { name: name.clone(), raft_id: id });
    // Two of three have their logs: without the other one nothing is committed, though the wiped
    // one answers.
    voters[other].kill().await;
    let own = voters[leader].group0();
    let refused = own.remove_member(&name, Some(id), false).await.expect_err("refused");
    let is_refused =
        matches!(&refused, MemberError::Read(ReadError::NoQuorum | ReadError::NoLeader));
    assert!(is_refused, "{refused}");
    assert_eq!(voters[wiped].group0().metrics().last_log, None, "nothing reached it");
    voters[other].restart().await;
    let leader = leading(&voters).await;
    let own = voters[leader].group0();
    own.confirm_leadership().await.expect("two of three");
    own.remove_member(&name, None, false).await.expect("the dead one goes");
    add(&voters[leader], &voters[wiped]).await;
    votes(&voters[leader], &[&voters[0], &voters[1], &voters[2]]).await;
    has(&voters[wiped], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_removal_costs_the_quorum_or_the_last_voter() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    let (dead_name, alive_name) = (voters[dead].name.clone(), voters[alive].name.clone());
    voters[dead].kill().await;
    let own = voters[leader].group0();
    // It is taken for alive as long as an election takes; the other one once it is heard from.
    let is_alive = |name: &str| {
        let members = own.members();
        let silent = members.iter().find(|one| one.member.name == name).expect("a member").silent;
        silent.is_some_and(|silent| silent <= voters::CALM_ELECTION)
    };
    timeout(PATIENCE, async {
        while is_alive(&dead_name) || !is_alive(&alive_name) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("its silence is noticed");
    let refused = own.remove_member(&alive_name, None, false).await.expect_err("refused");
    let lost = MemberError::LosesQuorum { name: alive_name.clone(), alive: 1, voters: 2 };
    assert_eq!(refused, lost);
    own.remove_member(&dead_name, None, true).await.expect("it may");
    own.remove_member(&dead_name, None, false).await.expect("the dead one");
    own.remove_member(&alive_name, None, false).await.expect("the other one");
    let name = own.member().name.clone();
    let refused = own.remove_member(&name, None, false).await.expect_err("refused");
    assert_eq!(refused, MemberError::LastVoter { name });
    let refused = own.remove_member("c9", None, false).await.expect_err("refused");
    assert_eq!(refused, MemberError::NotFound("c9".into()));
    propose(own, 0..1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_asked_to_once() {
    let voters = three(calm).await;
    let first = leading(&voters).await;
    let next = (first + 1) % 3;
    let (own, name) = (voters[first].group0(), voters[next].name.clone());
    let from = Some(own.raft_id());
    own.confirm_leadership().await.expect("it leads");
    let trial = own.transfer_leader(Some(&name), from, true).await.expect("it may");
    assert_eq!(trial.name, name);
    let leads = own.transfer_leader(Some(&name), from, false).await.expect("it leads");
    assert_eq!(leads.name, name);
    leadership(voters[next].group0()).await;
    // The same try again, at the one that leads now.
    let again = voters[next].group0().transfer_leader(None, from, false).await.expect("done");
    assert_eq!(again.name, name);
    let refused = voters[next].group0().transfer_leader(Some("c9"), None, false).await;
    assert_eq!(refused, Err(MemberError::NotFound("c9".into())));
}

/// A leader that is removed has another one lead; that one removes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_removed_by_the_next_one() {
    let voters = three(calm).await;
    let first = leading(&voters).await;
    propose(voters[first].group0(), 0..3).await;
    let (own, id) = (voters[first].group0(), voters[first].raft_id());
    let name = own.member().name.clone();
    let told = own.remove_member(&name, Some(id), false).await.expect_err("elsewhere");
    let MemberError::Propose(super::super::ProposeError::NotLeader { leader, .. }) = told else {
        panic!("{told}")
    };
    let next = voters.iter().position(|voter| voter.name == leader.name).expect("one of them");
    leadership(voters[next].group0()).await;
    voters[next].group0().remove_member(&name, Some(id), false).await.expect("it goes");
    timeout(PATIENCE, voters[first].group0().fatal()).await.expect("it is told");
    assert_eq!(voters[next].group0().members().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_back_elsewhere_is_found_there() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..3).await;
    let moved = (leader + 1) % 3;
    has(&voters[moved], 3).await;
    voters[moved].kill().await;
    voters[moved].move_away().await;
    let count = voters[leader].group0().propose(entry(3), soon()).await.expect("two of three");
    assert_eq!(count, 4);
    has(&voters[moved], 4).await;
    let (id, address) = (voters[moved].raft_id(), voters[moved].address.to_string());
    let known = voters[leader].group0().members();
    let known = known.iter().find(|one| one.raft_id == id).expect("a member");
    assert_eq!(known.member.raft_address, address);
}

/// Somebody else at the address, a stranger's name, one of another cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_empty_one_that_is_named_is_taken_in() {
    let voters = three(calm).await;
    let leader = leading(&voters).await;
    let own = voters[leader].group0();
    let stranger = Voter::start("x1", calm).await;
    let members = BTreeMap::from([(stranger.raft_id(), stranger.group0().member().clone())]);
    stranger.group0().bootstrap(members).await.expect("it begins");
    let address = stranger.address.to_string();
    let refused = own.add_member("c4", &address, false).await.expect_err("refused");
    assert!(matches!(&refused, MemberError::OtherName { found, .. } if found == "x1"), "{refused}");
    let refused = own.add_member("x1", &address, false).await.expect_err("refused");
    assert!(matches!(refused, MemberError::OtherCluster { .. }), "{refused}");
    let refused = own.add_member("c4", "127.0.0.1:1", false).await.expect_err("refused");
    assert!(matches!(refused, MemberError::Silent { .. }), "{refused}");
    let other = &voters[(leader + 1) % 3];
    until(other, "follows", |status| status.leader.is_some()).await;
    let refused = other.group0().add_member("x1", &address, false).await.expect_err("refused");
    assert!(matches!(refused, MemberError::Read(ReadError::NotLeader { .. })), "{refused}");
    assert_eq!(own.members().len(), 3);
}

/// A leader began to take a coordinator in, and was lost before that was committed: the new one
/// has the entry, and nobody else. It doesn't take itself for removed, and is taken in by a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addition_that_stopped_half_way_is_begun_again() {
    let voters = three(calm).await;
    let first = leading(&voters).await;
    let (term, old) = (voters[first].group0().metrics().term, voters[first].raft_id());
    let next = (first + 1) % 3;
    let led = voters[first].group0();
    led.confirm_leadership().await.expect("it leads");
    led.transfer_leader(Some(&voters[next].name), None, false).await.expect("another one leads");
    leadership(voters[next].group0()).await;
    let fresh = Voter::start("c4", calm).await;
    // What the earlier leader had sent.
    let members = led.members().into_iter().map(|one| (one.raft_id, one.member));
    let voting: BTreeSet<u64> = voters.iter().map(Voter::raft_id).collect();
    let mut nodes: BTreeMap<u64, Member> = members.collect();
    nodes.insert(fresh.raft_id(), fresh.group0().member().clone());
    let membership = Membership::new(vec![voting], nodes).expect("voters are members");
    let at = |index| Some(pb::LogId { term, index });
    let cluster_id = proto::convert::bytes(led.cluster().expect("one"));
    let append = pb::AppendRequest {
        to: Some(pb::Addressee { cluster_id, raft_id: fresh.raft_id() }),
        vote: Some(pb::Vote { term, voted_for: old, committed: true }),
        previous: None,
        entries: vec![pb::Entry {
            id: at(0),
            payload: Some(pb::entry::Payload::Membership(encode_membership(&membership).into())),
        }],
        committed: None,
    };
    let address = format!("http://{}", fresh.address);
    let mut raft = RaftServiceClient::connect(address).await.expect("it serves");
    let answers = raft.append(futures::stream::iter([append])).await.expect("it is open");
    answers.into_inner().message().await.expect("taken").expect("an answer");
    until(&fresh, "the entry", |status| status.last_log == Some(0)).await;
    // It asks those whom the entry names, and is no member by their word.
    let told = fresh.group0().ask_around().await;
    assert_eq!(told, Some(false));
    let fatal = fresh.group0().fatal();
    add(&voters[next], &fresh).await;
    votes(&voters[next], &[&voters[0], &voters[1], &voters[2], &fresh]).await;
    assert!(futures::FutureExt::now_or_never(fatal).is_none(), "it goes on");
    // From then on a removal is for ever.
    let id = fresh.raft_id();
    voters[next].group0().remove_member("c4", Some(id), false).await.expect("it goes");
    let fatal = timeout(PATIENCE, fresh.group0().fatal()).await.expect("it is told");
    assert!(matches!(fatal, FatalReason::Removed { .. }), "{fatal}");
    let address = fresh.address.to_string();
    let refused = voters[next].group0().add_member("c4", &address, false).await;
    assert_eq!(refused.expect_err("refused"), MemberError::WasRemoved { name: "c4".into() });
}

/// Who asked for it read that one leads; an election made another one lead; it comes to that one.
/// It is not taken for done, since who was named doesn't lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_comes_to_another_leader_is_refused() {
    let voters = three(calm).await;
    let first = leading(&voters).await;
    let (next, other) = ((first + 1) % 3, (first + 2) % 3);
    let from = Some(voters[first].raft_id());
    let own = voters[first].group0();
    own.confirm_leadership().await.expect("it leads");
    own.transfer_leader(Some(&voters[next].name), from, false).await.expect("another one leads");
    let moved = voters[next].group0();
    leadership(moved).await;
    let refused = moved.transfer_leader(Some(&voters[other].name), from, false).await;
    let refused = refused.expect_err("it does not lead");
    assert!(!refused.outcome_unknown(), "{refused}");
    let (leads, to) = (voters[next].name.clone(), voters[other].name.clone());
    assert_eq!(refused, MemberError::Moved { leads, to });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_there_is_nobody_to_hand_over_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let alone = leader(options(dir.path())).await;
    let refused = alone.transfer_leader(None, None, false).await.expect_err("nobody");
    assert_eq!(refused, MemberError::NobodyElse);
    assert!(!refused.outcome_unknown(), "nothing was done");
    alone.shutdown().await.expect("it stops");
}

/// One that waits to begin a cluster with others is not taken from them; one that is to come back
/// with the flags that it has always had names a member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_expects_others_is_left_to_them() {
    let voters = three(calm).await;
    let own = voters[leading(&voters).await].group0();
    let fresh = Voter::start("c4", calm).await;
    let expects = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), String::new())).collect();
    fresh.group0().expect(&expects(&["c4", "c5", "c6"]));
    let address = fresh.address.to_string();
    let refused = own.add_member("c4", &address, false).await.expect_err("refused");
    assert!(matches!(refused, MemberError::ExpectsOthers { .. }), "{refused}");
    fresh.group0().expect(&expects(&["c1", "c4", "c9"]));
    own.add_member("c4", &address, false).await.expect("it is taken in");
}

/// Two are told to stop at once: the leader hands over to the one that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_handed_to_one_that_stops() {
    let voters = three(calm).await;
    let first = leading(&voters).await;
    propose(voters[first].group0(), 0..3).await;
    let own = voters[first].group0();
    own.confirm_leadership().await.expect("it leads");
    let members = own.members();
    let best = own.next_leaders(&members)[0].raft_id;
    let stops = voters.iter().position(|voter| voter.raft_id() == best).expect("one of them");
    let goes_on = (0..3).find(|one| ![first, stops].contains(one)).expect("the third");
    voters[stops].group0().stand_back();
    own.stand_back();
    own.hand_over().await;
    leadership(voters[goes_on].group0()).await;
}
