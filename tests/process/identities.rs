//! Who may call what, on real processes: every method of every port, by every kind of identity,
//! against what the protos say. And what a certificate is not good for.

use crate::harness::raw::Raw;
use crate::harness::{Cluster, Shape, soon};
use crate::workload::Workload;
use bytes::Bytes;
use client::Tls;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::access::{Machine, access};
use proto::admin::v1 as pb;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::attach_request::Event;
use proto::agent::v1::{AttachRequest, Hello, RenewLeaseRequest};
use proto::raft::v1 as raft;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use proto::stream::v1::{GetOutcomeRequest, PullRequest, pull_request};
use tls::{Kind, Role};
use tonic::{Request, Status};

/// What is in a key, and in no log.
const KEY: &str = "confidential-key-zq";
/// The same of a value.
const VALUE: &str = "confidential-value-zq";

async fn with_tls(coordinators: u8) -> Cluster {
    let profile = "standard";
    let shape = Shape { coordinators, profile, has_tls: true, ..Shape::default() };
    Cluster::start_as(shape).await
}

/// Which process serves a method, at which port.
fn served(method: &MethodDescriptor) -> (&'static str, &'static str) {
    match method.parent_service().package_name() {
        "palisade.admin.v1" => ("c1", "admin"),
        "palisade.agent.v1" => ("c1", "agents"),
        "palisade.raft.v1" => ("c1", "raft"),
        "palisade.data.v1" => ("n1", "data"),
        "palisade.stream.v1" => ("n1", "stream"),
        "palisade.faults.v1" => match method.parent_service().name() {
            "ClockService" | "LeaderService" | "MemoryService" | "StateService" => ("c1", "agents"),
            _ => ("n1", "stream"),
        },
        other => panic!("{other} is served nowhere that this test knows of"),
    }
}

/// Whether the table lets such a caller in; written out once more, as the table's reader would.
fn may(kind: Kind, path: &str) -> bool {
    let access = access(path).expect("each method is in the table");
    match kind {
        Kind::User(role) => access.role.is_some_and(|least| least <= role),
        Kind::Coordinator => access.machines.contains(&Machine::Coordinator),
        Kind::Agent => access.machines.contains(&Machine::Agent),
        Kind::Router => access.machines.contains(&Machine::Router),
    }
}

/// Calls a method with an empty message, or none; what is said to that. None: it goes on, or is
/// done.
async fn call(channel: tonic::transport::Channel, method: &MethodDescriptor) -> Option<Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("connected");
    let request = Request::new(tokio_stream::once(Bytes::new()));
    let at = path.parse().expect("a path");
    let called = async {
        match grpc.streaming(request, at, Raw).await {
            Ok(answer) => answer.into_inner().message().await.err(),
            Err(status) => Some(status),
        }
    };
    soon(&path, called).await
}

fn is_denied(status: Option<&Status>) -> bool {
    let refusal = status.and_then(Refusal::from_status);
    refusal.is_some_and(|refusal| refusal.reason == Reason::PermissionDenied)
}

/// Every method × every kind of caller is let in, or refused, as its own option says. A refusal is
/// a line of the audit log, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_for_those_whom_its_option_names() {
    let cluster = with_tls(1).await;
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).expect("what was compiled");
    let before = cluster.admin().status().await.expect("its state").version;
    let methods: Vec<MethodDescriptor> =
        pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() > 50, "all of them: {}", methods.len());
    let (mut denied, mut permitted) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let who = cluster.papers().of(kind, "somebody");
        for method in &methods {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            match may(kind, &path) {
                true => permitted.push((who.clone(), method.clone(), path)),
                false => denied.push((who.clone(), method.clone(), path)),
            }
        }
    }
    for (who, method, path) in &denied {
        let (process, port) = served(method);
        let channel = cluster.channel_as(Some(who.clone()), process, port);
        let answer = call(channel, method).await;
        assert!(is_denied(answer.as_ref()), "{who:?} {path}: {answer:?}");
        let line = format!("\"who\":\"{}\"", who.identity());
        let told = |text: &str| {
            text.lines().any(|l| l.contains("\"audit\"") && l.contains(&line) && l.contains(path))
        };
        assert!(told(&cluster.logged(process)), "{line} {path}: no line in the audit log");
    }
    assert_eq!(cluster.admin().status().await.expect("its state").version, before);
    // Held switches, a pause and the like come after all that must not be.
    for (who, method, path) in permitted.iter().filter(|(.., path)| !path.contains("faults")) {
        let (process, port) = served(method);
        let channel = cluster.channel_as(Some(who.clone()), process, port);
        let answer = call(channel, method).await;
        let named = ["AgentService", "StreamService", "RaftService/Announce"];
        let by_name = named.iter().any(|part| path.contains(part));
        assert!(by_name || !is_denied(answer.as_ref()), "{who:?} {path}: {answer:?}");
    }
}

/// An agent acts for its own node only: it can't attach, renew, pull, or ask for outcomes as, or
/// for, another.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_acts_for_its_own_node_only() {
    let cluster = with_tls(1).await;
    let thief = cluster.papers().of(Kind::Agent, "n2");
    let own = cluster.admin().node("n1").await.expect("it is known");
    let coordinator = cluster.channel_as(Some(thief.clone()), "c1", "agents");
    let mut agents = AgentServiceClient::new(coordinator);
    let cluster_id = cluster.admin().status().await.expect("its state").cluster_id;
    let cluster_id =
        Bytes::copy_from_slice(uuid::Uuid::parse_str(&cluster_id).expect("a UUID").as_bytes());
    let renew = RenewLeaseRequest {
        cluster_id: cluster_id.clone(),
        node_id: own.id,
        incarnation: own.incarnation,
        ..Default::default()
    };
    let renewed = agents.renew_lease(renew).await.expect_err("for another");
    assert!(is_denied(Some(&renewed)), "{renewed:?}");
    let hello = Hello { node_name: "n1".to_owned(), ..Hello::default() };
    let hello = AttachRequest { event: Some(Event::Hello(hello)) };
    let said = tokio_stream::StreamExt::chain(tokio_stream::once(hello), tokio_stream::pending());
    let attached = agents.attach(said).await.expect("it hears").into_inner().message().await;
    assert!(is_denied(attached.as_ref().err()), "{attached:?}");
    let source = cluster.channel_as(Some(thief), "n1", "stream");
    let mut streams = StreamServiceClient::new(source);
    let node = |name: &'static str| {
        let admin = cluster.admin();
        async move { admin.node(name).await.expect("it is known") }
    };
    let (n1, n3) = (node("n1").await, node("n3").await);
    let begin = proto::stream::v1::Begin {
        cluster_id: cluster_id.clone(),
        tablet: 1,
        version: n1.incarnation,
        session: Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes()),
        source: n1.id,
        receiver: n3.id,
        copy: n1.incarnation,
        source_incarnation: n1.incarnation,
        receiver_incarnation: n3.incarnation,
        ..Default::default()
    };
    let begin = PullRequest { event: Some(pull_request::Event::Begin(begin)) };
    let pulled = streams.pull(tokio_stream::once(begin)).await.expect_err("as another");
    assert!(is_denied(Some(&pulled)), "{pulled:?}");
    let asked = GetOutcomeRequest {
        cluster_id,
        tablet: 1,
        session: Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes()),
        source: n3.id,
        receiver: n1.id,
    };
    let told = streams.get_outcome(asked).await.expect_err("as another");
    assert!(is_denied(Some(&told)), "{told:?}");
}

/// A coordinator speaks for itself only: it can't ask for votes, lead, hand over or say where it is
/// in the name of another, and nobody takes it for another where it listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_speaks_for_itself_only() {
    let cluster = with_tls(3).await;
    let status = cluster.admin().status().await.expect("its state");
    let id = |name: &str| {
        let found = status.coordinators.iter().find(|one| one.name == name);
        found.expect("it is a member").raft_id
    };
    let cluster_id = uuid::Uuid::parse_str(&status.cluster_id).expect("a UUID");
    let cluster_id = Bytes::copy_from_slice(cluster_id.as_bytes());
    let to = Some(raft::Addressee { cluster_id, raft_id: id("c1") });
    // A term that would unseat whoever leads.
    let vote =
        |name| raft::Vote { term: status.term + 1_000, voted_for: id(name), committed: true };
    let thief = cluster.papers().of(Kind::Coordinator, "c2");
    let mut c1 = RaftServiceClient::new(cluster.channel_as(Some(thief), "c1", "raft"));
    let ask = raft::VoteRequest {
        to: to.clone(),
        vote: Some(raft::Vote { committed: false, ..vote("c3") }),
        ..Default::default()
    };
    let refused = c1.vote(ask.clone()).await.expect_err("for another");
    assert!(is_denied(Some(&refused)), "{refused:?}");
    let refused = c1.pre_vote(ask.clone()).await.expect_err("for another");
    assert!(is_denied(Some(&refused)), "{refused:?}");
    let append =
        raft::AppendRequest { to: to.clone(), vote: Some(vote("c3")), ..Default::default() };
    let answers = c1.append(tokio_stream::once(append)).await.expect("it hears");
    let refused = answers.into_inner().message().await;
    assert!(is_denied(refused.as_ref().err()), "{refused:?}");
    let head = raft::SnapshotHead { to: to.clone(), vote: Some(vote("c3")), ..Default::default() };
    let head = raft::install_snapshot_request::Part::Head(head);
    let part = raft::InstallSnapshotRequest { part: Some(head) };
    let refused = c1.install_snapshot(tokio_stream::once(part)).await.expect_err("for another");
    assert!(is_denied(Some(&refused)), "{refused:?}");
    let hand_over = raft::TransferLeaderRequest {
        to: to.clone(),
        from_leader: Some(vote("c3")),
        ..Default::default()
    };
    let refused = c1.transfer_leader(hand_over).await.expect_err("for another");
    assert!(is_denied(Some(&refused)), "{refused:?}");
    let moved =
        raft::AnnounceRequest { to: to.clone(), name: "c3".to_owned(), ..Default::default() };
    let refused = c1.announce(moved).await.expect_err("for another");
    assert!(is_denied(Some(&refused)), "{refused:?}");
    // Nor does it use up the terms, in the name of somebody of whom nobody has heard.
    let last = raft::Vote { term: u64::MAX, voted_for: 1_000_000, committed: true };
    let append = raft::AppendRequest { to: to.clone(), vote: Some(last), ..Default::default() };
    let answers = c1.append(tokio_stream::once(append)).await.expect("it hears");
    answers.into_inner().message().await.expect_err("there is no such term");
    let ask_last = raft::VoteRequest { to, vote: Some(last), ..Default::default() };
    c1.vote(ask_last).await.expect_err("there is no such term");
    assert_eq!(cluster.admin().status().await.expect("its state").term, status.term);
    // In its own name it may: the same question comes through to Raft.
    let own =
        raft::VoteRequest { vote: Some(raft::Vote { committed: false, ..vote("c2") }), ..ask };
    c1.pre_vote(own).await.expect("it is answered");
}

/// A change of who the coordinators are has a line like any other, and what would become of one
/// says that it is no change.
#[tokio::test(flavor = "multi_thread")]
async fn members_and_dry_runs_are_told_of_as_what_they_are() {
    let cluster = with_tls(3).await;
    for validate_only in [true, false] {
        let request_id = client::new_request_id().to_string();
        let request = pb::TransferLeaderRequest {
            request_id: request_id.clone(),
            validate_only,
            ..Default::default()
        };
        cluster.admin().transfer_leader(request).await.expect("another one leads, or would");
        let logs: String = cluster.coordinators().iter().map(|name| cluster.logged(name)).collect();
        let told = |line: &&str| line.contains("\"audit\"") && line.contains(&request_id);
        let lines: Vec<&str> = logs.lines().filter(told).collect();
        let is_dry = |line: &&str| line.contains("\"validate_only\":true");
        assert!(lines.iter().any(|line| line.contains("\"OK\"")), "{logs}");
        assert!(lines.iter().all(|line| is_dry(line) == validate_only), "{lines:#?}");
        let ended = lines.iter().find(|line| line.contains("\"OK\"")).expect("seen just now");
        assert_eq!(ended.contains("\"version\""), !validate_only, "{ended}");
    }
}

/// A cluster whose every port asks for certificates moves a tablet under load, and each change is
/// one line of the audit log: who, what, request, version, result.
#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_moves_between_those_who_know_each_other() {
    let cluster = with_tls(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..200_u32 {
        let key = format!("{KEY}-{key}");
        router.put("orders", key.as_bytes(), VALUE.as_bytes()).await.expect("a put");
    }
    let from = tablet.replicas[0].node.clone();
    let has: Vec<&str> = tablet.replicas.iter().map(|one| one.node.as_str()).collect();
    let to = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(&n.as_str()));
    let request = pb::MigrateRequest {
        request_id: client::new_request_id().to_string(),
        tablet: tablet.id,
        from,
        to: to.expect("one is free"),
        ..Default::default()
    };
    let begun = cluster.admin().migrate(request.clone()).await.expect("it begins");
    let ended = cluster.ended(&begun.migration.expect("a migration").id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    cluster.replicas_agree(&tablet).await;
    let logs: String = cluster.coordinators().iter().map(|name| cluster.logged(name)).collect();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains(&request.request_id)).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| line.contains("\"audit\"")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in ["spiffe://test/user/admin/tester", "MigrationService/Migrate", "\"OK\"", "version"]
    {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    for process in cluster.coordinators().into_iter().chain((1..=4).map(|n| format!("n{n}"))) {
        let log = cluster.logged(&process);
        assert!(!log.is_empty(), "{process} has said something");
        assert!(!log.contains(KEY) && !log.contains(VALUE), "no rows in the log of {process}");
    }
}

/// All certificates are issued anew under load: whoever reads and writes notices nothing, and who
/// connects from then on sees the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_up_while_rows_are_written() {
    let cluster = with_tls(3).await;
    let tablet = cluster.create_table("orders", 2).await.remove(0);
    let router = cluster.router();
    let workload = Workload::start(&router, "orders", 4, 20);
    soon("writes", workload.proceed(20)).await;
    let agents = ["n1", "n2", "n3", "n4"].map(str::to_owned);
    for name in cluster.coordinators().iter().chain(&agents) {
        cluster.papers().flags(name);
        cluster.said(name, "certificates were read again").await;
    }
    soon("writes go on", workload.proceed(50)).await;
    let to = agents.iter().find(|n| tablet.replicas.iter().all(|one| one.node != **n));
    let from = tablet.replicas[0].node.clone();
    let id = cluster.migrate(&tablet, &from, to.expect("one is free")).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    let history = workload.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

/// Without a certificate, or with one of another authority, nobody hears an answer.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_answered() {
    let cluster = with_tls(1).await;
    let other = tempfile::tempdir().expect("a directory");
    let other = crate::harness::Papers::new(other.path());
    let strangers: [Option<Tls>; 2] = [None, Some(other.of(Kind::User(Role::Admin), "tester"))];
    for stranger in strangers {
        for (process, port) in
            [("c1", "admin"), ("c1", "raft"), ("c1", "agents"), ("n1", "data"), ("n1", "stream")]
        {
            let channel = cluster.channel_as(stranger.clone(), process, port);
            let mut grpc = tonic::client::Grpc::new(channel);
            let call = async {
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let path = "/palisade.admin.v1.ClusterService/GetStatus".parse().expect("a path");
                grpc.unary(Request::new(Bytes::new()), path, Raw).await
            };
            let answer = soon("an end", call).await.expect_err("a stranger");
            assert!(Refusal::from_status(&answer).is_none(), "it was not heard: {answer:?}");
        }
    }
    cluster.said("c1", "a connection was refused").await;
}
