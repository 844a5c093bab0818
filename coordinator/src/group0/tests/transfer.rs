//! Snapshots between members: a disk without room, more of them than a disk is to bear.

use std::path::PathBuf;

use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::snapshot::FULL;
use super::voters::{Voter, has, leading, small, three, until};
use super::*;

fn place(voter: &Voter) -> PathBuf {
    voter.dir.path().join("snapshots")
}

/// How many files are aside there.
fn asides(voter: &Voter) -> usize {
    let listed = fs::read_dir(place(voter)).expect("listed");
    let paths = listed.map(|item| item.expect("listed").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "aside")).count()
}

async fn seen(what: &str, is: impl Fn() -> bool) {
    let looked = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// It goes on with what it has, and the leader tries until there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_room_for_a_snapshot_takes_it_once_there_is_room() {
    let mut voters = three(small).await;
    let leader = leading(&voters).await;
    let away = (leader + 1) % 3;
    propose(voters[leader].group0(), 0..3).await;
    has(&voters[away], 3).await;
    voters[away].kill().await;
    propose(voters[leader].group0(), 3..200).await;
    until(&voters[leader], "purged", |status| status.purged >= Some(100)).await;

    let full = place(&voters[away]).join(FULL);
    fs::write(&full, []).expect("made");
    voters[away].restart().await;
    // More than once: it was refused, and came again.
    seen("tried again", || fs::read(&full).expect("read").len() >= 3).await;
    assert_eq!(journal(voters[away].group0()), entries(0..3), "nothing is lost");
    propose(voters[leader].group0(), 200..201).await;
    fs::remove_file(full).expect("removed");
    has(&voters[away], 201).await;
    seen("tidied", || asides(&voters[away]) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_bears_two_snapshots_that_come_in() {
    let voters = three(small).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..1).await;
    let target = &voters[(leader + 1) % 3];
    has(target, 1).await;
    let cluster = target.group0().cluster().map(proto::convert::bytes).expect("it belongs to one");
    let to = Some(pb::Addressee { cluster_id: cluster, raft_id: target.raft_id() });
    let head = pb::SnapshotHead {
        to,
        vote: Some(pb::Vote { term: 1, voted_for: target.raft_id(), committed: true }),
        length: 1,
        ..Default::default()
    };
    let head = pb::InstallSnapshotRequest { part: Some(Part::Head(head)) };
    let client = RaftServiceClient::connect(format!("http://{}", target.address)).await;
    let client = client.expect("it serves");
    let begin = || {
        let (say, said) = mpsc::channel(1);
        say.try_send(head.clone()).expect("there is room");
        let mut client = client.clone();
        let answer =
            tokio::spawn(async move { client.install_snapshot(ReceiverStream::new(said)).await });
        (say, answer)
    };
    let (first, second) = (begin(), begin());
    seen("begun", || asides(target) == 2).await;
    let (_say, third) = begin();
    let refused = timeout(PATIENCE, third).await.expect("in time").expect("no panic");
    let refused = Refusal::from_status(&refused.expect_err("refused")).map(|r| r.reason);
    assert_eq!(refused, Some(Reason::Overloaded));
    for (say, answer) in [first, second] {
        drop(say);
        let refused = timeout(PATIENCE, answer).await.expect("in time").expect("no panic");
        assert!(refused.expect_err("cut short").message().contains("bytes of"));
    }
    assert_eq!(asides(target), 0);
}
