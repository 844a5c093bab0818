//! Three members on real sockets: they elect, replicate, catch up, and refuse strangers.

use std::net::SocketAddr;

use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use tempfile::{TempDir, tempdir};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use uuid::Uuid;

use super::super::{Role, Status};
use super::*;

/// One member with its raft port; its directory and port outlive it.
pub(super) struct Voter {
    pub(super) name: String,
    pub(super) dir: TempDir,
    pub(super) address: SocketAddr,
    /// What is not as `options` has it.
    tune: fn(Options) -> Options,
    running: Option<Running>,
}

/// Raft and the port have a runtime each: one that is ended takes its tasks and connections with
/// it, as a process that is killed does.
struct Running {
    group0: Group0<Journal>,
    raft: Runtime,
    serving: Option<Runtime>,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Ends a runtime, all of it.
async fn end(runtime: Runtime) {
    let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE));
    ended.await.expect("it ends");
}

/// Elections as in production's order of magnitude: these tests say that nobody is disturbed, and
/// run beside others on few cores.
pub(super) fn calm(options: Options) -> Options {
    Options {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(700),
        election_max: CALM_ELECTION,
        ..options
    }
}

pub(super) const CALM_ELECTION: Duration = Duration::from_millis(1400);

/// The same, where a few entries make a snapshot, and fewer are kept.
pub(super) fn small(options: Options) -> Options {
    Options { snapshot_every: 20, keep: 5, ..calm(options) }
}

impl Voter {
    pub(super) async fn start(name: &str, tune: fn(Options) -> Options) -> Voter {
        let dir = tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut voter = Voter { name: name.into(), dir, address, tune, running: None };
        voter.run(listener).await;
        voter
    }

    async fn run(&mut self, listener: TcpListener) {
        let member = member(&self.name, &self.address.to_string());
        let options = (self.tune)(Options::new(self.dir.path(), member).fast());
        let (raft, serving) = (runtime(), runtime());
        let opened = raft.spawn(Group0::open(options, Journal::default()));
        let group0 = opened.await.expect("no panic").expect("it opens");
        let (tended, announced) = (group0.clone(), group0.clone());
        raft.spawn(async move { tended.tend_members(CancellationToken::new()).await });
        raft.spawn(async move { announced.announce(CancellationToken::new()).await });
        let service = group0.raft_service();
        let listener = listener.into_std().expect("a socket");
        serving.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let served = Server::builder().add_service(service).serve_with_incoming(incoming);
            served.await.expect("it serves");
        });
        self.running = Some(Running { group0, raft, serving: Some(serving) });
    }

    pub(super) fn group0(&self) -> &Group0<Journal> {
        &self.running.as_ref().expect("it runs").group0
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it again on its directory and port.
    pub(super) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is free");
        self.run(listener).await;
    }

    /// Starts it again on its directory, and on another port.
    pub(super) async fn move_away(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.address = listener.local_addr().expect("bound");
        self.run(listener).await;
    }

    /// Starts one of the same name and port on an empty directory.
    pub(super) async fn start_wiped(&mut self) {
        self.dir = tempdir().expect("a directory");
        self.restart().await;
    }

    pub(super) fn raft_id(&self) -> u64 {
        self.group0().raft_id()
    }

    /// Asks it to stop.
    pub(super) async fn stop(&mut self) {
        let Running { group0, raft, serving } = self.running.take().expect("it runs");
        group0.shutdown().await.expect("it stops");
        drop(group0);
        for runtime in serving.into_iter().chain([raft]) {
            end(runtime).await;
        }
    }

    /// Ends it from one moment to the next.
    pub(super) async fn kill(&mut self) {
        let Running { group0, raft, serving } = self.running.take().expect("it runs");
        drop(group0);
        for runtime in serving.into_iter().chain([raft]) {
            end(runtime).await;
        }
    }

    /// Nobody reaches it any more, and it goes on: it can still reach others.
    pub(super) async fn stop_serving(&mut self) {
        let serving = self.running.as_mut().expect("it runs").serving.take();
        end(serving.expect("it serves")).await;
    }
}

impl Drop for Voter {
    fn drop(&mut self) {
        let Some(Running { group0, raft, serving }) = self.running.take() else { return };
        drop(group0);
        for runtime in serving.into_iter().chain([raft]) {
            runtime.shutdown_background();
        }
    }
}

pub(super) async fn three(tune: fn(Options) -> Options) -> Vec<Voter> {
    let mut voters = Vec::new();
    for name in ["c1", "c2", "c3"] {
        voters.push(Voter::start(name, tune).await);
    }
    let expected = expected(&voters);
    voters[0].group0().begin(&expected, PATIENCE).await.expect("all are there");
    voters
}

pub(super) fn expected(voters: &[Voter]) -> BTreeMap<String, String> {
    voters.iter().map(|voter| (voter.name.clone(), voter.address.to_string())).collect()
}

/// Waits until one of those that run leads; which.
pub(super) async fn leading(voters: &[Voter]) -> usize {
    let running = voters.iter().enumerate().filter(|(_, voter)| voter.is_running());
    let waits = running.map(|(number, voter)| {
        Box::pin(async move {
            leadership(voter.group0()).await;
            number
        })
    });
    futures::future::select_all(waits).await.0
}

/// Waits until a member's metrics are as they should be.
pub(super) async fn until(voter: &Voter, what: &str, is: impl Fn(&Status) -> bool + Sync) {
    let raft = &voter.group0().inner.raft;
    let wait = raft.wait(Some(PATIENCE));
    let looked =
        wait.metrics(|metrics| is(&super::super::follow::status(metrics)), what.to_owned());
    looked.await.unwrap_or_else(|error| panic!("{}: {error}", voter.name));
}

/// Waits until a member has applied this many entries of ours.
pub(super) async fn has(voter: &Voter, count: usize) {
    let mut applied = voter.group0().applied();
    let arrived = applied.wait_for(|_| voter.group0().read(|journal| journal.0.len()) >= count);
    timeout(PATIENCE, arrived).await.expect("in time").expect("it lives");
    assert_eq!(journal(voter.group0()), entries(0..count), "{}", voter.name);
}

pub(super) fn snapshot(voter: &Voter) -> Vec<u8> {
    let mut bytes = Vec::new();
    voter.group0().read(|journal| journal.snapshot(&mut bytes)).expect("memory takes it");
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_elect_and_replicate() {
    let mut voters = three(calm).await;
    let leader = leading(&voters).await;
    propose(voters[leader].group0(), 0..50).await;
    for voter in &voters {
        has(voter, 50).await;
    }
    let clusters: Vec<Option<Uuid>> = voters.iter().map(|v| v.group0().cluster()).collect();
    assert!(clusters[0].is_some() && clusters.iter().all(|c| *c == clusters[0]), "{clusters:?}");
    let standings = voters[leader].group0().members();
    let names: Vec<&str> = standings.iter().map(|s| &*s.member.name).collect();
    assert_eq!(standings.len(), 3, "{names:?}");
    for standing in standings {
        let name = standing.member.name.clone();
        assert_eq!(standing.member.admin_address, format!("{name}:7400"));
        assert_eq!(standing.leads, name == voters[leader].name);
        assert!(standing.voter && standing.matched >= Some(50), "{standing:?}");
        assert!(standing.silent.is_some(), "{standing:?}");
    }
    let follower = voters.iter().position(|v| v.name != voters[leader].name).expect("two");
    let refused = voters[follower].group0().propose(entry(50), soon()).await;
    let told = match refused {
        Err(super::super::ProposeError::NotLeader { leader, .. }) => *leader,
        other => panic!("{other:?}"),
    };
    assert_eq!(&told, voters[leader].group0().member());
    assert_eq!(voters[follower].group0().leader().as_ref(), Some(&told));
    for voter in &mut voters {
        voter.stop().await;
    }
}

/// Many entries, and entries that fill an append each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_are_replicated() {
    let voters = three(calm).await;
    let leader = leading(&voters).await;
    for number in 0..6_u8 {
        let entry = vec![number; (number as usize + 1) * (700 << 10)];
        voters[leader].group0().propose(entry, soon()).await.expect("it is applied");
    }
    let longest = vec![6; 16 << 20];
    voters[leader].group0().propose(longest, soon()).await.expect("it is applied");
    let reference = snapshot(&voters[leader]);
    for voter in &voters {
        let mut applied = voter.group0().applied();
        let arrived = applied.wait_for(|_| voter.group0().read(|journal| journal.0.len()) == 7);
        timeout(PATIENCE, arrived).await.expect("in time").expect("it lives");
        assert!(snapshot(voter) == reference, "{} differs", voter.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_meant_for_another_is_refused() {
    let voters = three(calm).await;
    let leader = leading(&voters).await;
    let follower = (leader + 1) % 3;
    propose(voters[leader].group0(), 0..1).await;
    has(&voters[follower], 1).await;
    until(&voters[follower], "follows", |status| status.role == Role::Follower).await;
    let target = &voters[follower];
    let term = target.group0().metrics().term;
    let address = format!("http://{}", target.address);
    let mut client = RaftServiceClient::connect(address).await.expect("it serves");
    let cluster = target.group0().cluster().expect("it belongs to one");
    let request = |cluster: Uuid, raft_id| pb::VoteRequest {
        to: Some(pb::Addressee { cluster_id: proto::convert::bytes(cluster), raft_id }),
        vote: Some(pb::Vote { term: term + 7, voted_for: 9, committed: false }),
        last: Some(pb::LogId { term: term + 6, index: 1_000 }),
        // Even one that the leader would have asked for.
        leadership_transfer: true,
    };
    let reason = |status: tonic::Status| Refusal::from_status(&status).map(|r| r.reason);
    let own = target.group0().raft_id();
    let other_member = client.vote(request(cluster, own ^ 1)).await.expect_err("refused");
    assert_eq!(reason(other_member), Some(Reason::NodeMismatch));
    let other_cluster = client.vote(request(Uuid::new_v4(), own)).await.expect_err("refused");
    assert_eq!(reason(other_cluster), Some(Reason::ClusterMismatch));
    let to = request(Uuid::new_v4(), own).to;
    let append = pb::AppendRequest { to, ..Default::default() };
    let answers = client.append(futures::stream::iter([append])).await.expect("it is open");
    let refused = answers.into_inner().message().await.expect_err("refused");
    assert_eq!(reason(refused), Some(Reason::ClusterMismatch));
    let nobody = pb::VoteRequest { to: None, ..request(cluster, own) };
    let refused = client.pre_vote(nobody).await.expect_err("refused");
    assert_eq!(reason(refused), Some(Reason::InvalidField));
    assert_eq!(target.group0().metrics().term, term, "nothing reached Raft");
    assert_eq!(target.group0().metrics().role, Role::Follower);
    // The same question, well addressed, does reach it.
    client.vote(request(cluster, own)).await.expect("answered");
    until(target, "another term", |status| status.term > term).await;
}
