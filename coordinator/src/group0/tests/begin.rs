//! How a group of three begins, and when it doesn't.

use tokio::net::TcpListener;
use uuid::Uuid;

use tls::{Dial, Kind};

use super::super::NotYet;
use super::super::transport::Dialler;
use super::voters::{Voter, calm, expected, leading, three};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_begins_while_one_is_missing() {
    let voters = [Voter::start("c1", calm).await, Voter::start("c2", calm).await];
    let mut all = expected(&voters);
    // A port on which nobody listens.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr();
    all.insert("c3".into(), nobody.expect("bound").to_string());
    let refused = voters[0].group0().begin(&all, PATIENCE).await;
    assert!(matches!(&refused, Err(NotYet::Silent { name, .. }) if name == "c3"), "{refused:?}");
    for voter in &voters {
        assert!(!voter.group0().is_initialized().await.expect("it runs"));
        assert!(voter.group0().may_begin() && voter.group0().cluster().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_one_with_the_least_name_begins() {
    let mut voters = Vec::new();
    for name in ["c1", "c2", "c3"] {
        voters.push(Voter::start(name, calm).await);
    }
    let all = expected(&voters);
    for voter in &voters[1..] {
        let refused = voter.group0().begin(&all, PATIENCE).await;
        assert_eq!(refused, Err(NotYet::Another("c1".into())));
        assert!(voter.group0().cluster().is_none());
    }
    voters[0].group0().begin(&all, PATIENCE).await.expect("it begins");
    let cluster = voters[0].group0().cluster();
    leading(&voters).await;
    voters[0].group0().begin(&all, PATIENCE).await.expect("nothing is done");
    assert_eq!(voters[0].group0().cluster(), cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_begun_with_a_member_of_another() {
    let voters = three(calm).await;
    leading(&voters).await;
    let cluster = voters[1].group0().cluster().expect("it belongs to one");
    // One that has lost its directory, and would begin anew with those that have not.
    let wiped = Voter::start("c0", calm).await;
    let mut all = expected(&voters[1..]);
    all.extend(expected(std::slice::from_ref(&wiped)));
    let refused = wiped.group0().begin(&all, PATIENCE).await;
    let not_empty = |name: &str| NotYet::NotEmpty { name: name.into(), cluster };
    assert_eq!(refused, Err(not_empty("c2")));
    assert!(wiped.group0().cluster().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_begun_with_a_member_that_expects_others() {
    let voters = [Voter::start("c1", calm).await, Voter::start("c2", calm).await];
    let all = expected(&voters);
    let mut others = all.clone();
    others.insert("c0".into(), "127.0.0.1:1".into());
    voters[1].group0().expect(&others);
    let refused = voters[0].group0().begin(&all, PATIENCE).await;
    assert!(matches!(&refused, Err(NotYet::Differ { name, .. }) if name == "c2"), "{refused:?}");
    assert!(voters[0].group0().cluster().is_none());
    voters[1].group0().expect(&all);
    voters[0].group0().begin(&all, PATIENCE).await.expect("it begins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_says_who_it_is_and_is_not_taken_for_another() {
    let voters = [Voter::start("c1", calm).await, Voter::start("c2", calm).await];
    let all = expected(&voters);
    let found = Dialler::new(Dial::new(None, Kind::Coordinator))
        .identify(&all["c2"], PATIENCE)
        .await
        .expect("it answers");
    assert_eq!(found.raft_id, voters[1].group0().raft_id());
    assert_eq!((&found.member, found.cluster), (voters[1].group0().member(), None));
    let crossed = BTreeMap::from([
        ("c1".to_owned(), all["c1"].clone()),
        ("c3".to_owned(), all["c2"].clone()),
    ]);
    let refused = voters[0].group0().begin(&crossed, PATIENCE).await;
    assert!(
        matches!(&refused, Err(NotYet::OtherName { name, found, .. }) if name == "c3" && found == "c2"),
        "{refused:?}"
    );
}

/// Bound to the first cluster that addressed it, also after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_keeps_its_id_and_its_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    let drawn = Options { raft_id: None, ..options(dir.path()) };
    let group0 = Group0::open(drawn.clone(), Journal::default()).await.expect("it opens");
    let (raft_id, cluster) = (group0.raft_id(), Uuid::new_v4());
    assert!(raft_id > 0);
    group0.bind(cluster).await.expect("it belongs to none");
    group0.shutdown().await.expect("it stops");

    let group0 = Group0::open(drawn, Journal::default()).await.expect("it opens");
    assert_eq!((group0.raft_id(), group0.cluster()), (raft_id, Some(cluster)));
    assert!(!group0.may_begin());
    group0.bind(cluster).await.expect("the same again");
    let other = group0.bind(Uuid::new_v4()).await;
    assert_eq!(other, Err(super::super::BootstrapError::OtherCluster(cluster)));
    // Bound by another's call, it begins nothing itself.
    let alone = BTreeMap::from([(raft_id, group0.member().clone())]);
    let refused = group0.bootstrap(alone).await;
    assert_eq!(refused, Err(super::super::BootstrapError::OtherCluster(cluster)));
    group0.shutdown().await.expect("it stops");
}
