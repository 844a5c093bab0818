//! Every change of the admin API, as its descriptor lists them: whatever refuses one, the answer
//! says what became of it, and why in the words of the closed list.

use crate::harness::raw::Raw;
use crate::harness::{Cluster, Shape, soon};
use bytes::Bytes;
use client::{ClientError, new_request_id};
use migrations::retry::ChangeOutcome;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use proto::admin::v1 as pb;
use proto::admin::v1::member_service_client::MemberServiceClient;
use proto::reasons::Reason;
use proto::status::{OUTCOME_TRAILER, Refusal, outcome};
use proto::types::v1::Settings;
use tonic::transport::Channel;
use tonic::{Request, Status};
use uuid::Uuid;

const THIRTY_HOURS_MS: i64 = 30 * 3_600_000;

/// A change: where it is asked for, and with what.
struct Change {
    path: String,
    request: MessageDescriptor,
}

/// Every method whose request has an id of the caller's.
fn changes() -> Vec<Change> {
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).expect("what was compiled");
    let mut changes = Vec::new();
    for service in pool.services().filter(|one| one.package_name() == "palisade.admin.v1") {
        let is_change =
            |request: &MessageDescriptor| request.get_field_by_name("request_id").is_some();
        for method in service.methods().filter(|method| is_change(&method.input())) {
            let path = format!("/{}/{}", service.full_name(), method.name());
            changes.push(Change { path, request: method.input() });
        }
    }
    changes
}

impl Change {
    /// Asks for it under this id, with nothing else said.
    async fn ask(&self, channel: &Channel, id: &str) -> Status {
        let mut request = DynamicMessage::new(self.request.clone());
        request.set_field_by_name("request_id", Value::String(id.to_owned()));
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("it is connected");
        let path = self.path.parse().expect("a path");
        let asked = Request::new(Bytes::from(request.encode_to_vec()));
        let answer = soon(&self.path, grpc.unary(asked, path, Raw)).await;
        answer.expect_err(&format!("{}: nothing is said in it", self.path))
    }

    /// What an answer says; its reason has the code that belongs to it.
    fn told(&self, status: &Status) -> (Reason, ChangeOutcome) {
        let refusal = Refusal::from_status(status);
        let reason =
            refusal.unwrap_or_else(|| panic!("{}: no reason: {status:?}", self.path)).reason;
        assert_eq!(status.code(), reason.code(), "{}: {status:?}", self.path);
        let outcome = outcome(status.metadata());
        let missing = || panic!("{}: no {OUTCOME_TRAILER}: {status:?}", self.path);
        (reason, outcome.unwrap_or_else(missing))
    }
}

/// An id of a clock that is so many milliseconds off.
fn off_by(millis: i64) -> String {
    let now = new_request_id().as_uuid().as_u128();
    let off = u128::from(millis.unsigned_abs()) << 80;
    let id = if millis < 0 { now - off } else { now + off };
    Uuid::from_u128(id).to_string()
}

/// Without an id, with one that is none, with one of the far future, and at a coordinator that
/// doesn't lead: none of them is proposed, and each answer says so.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_change_says_what_became_of_it() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, agents: 1, profile, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let follower = names.iter().find(|name| **name != leader).expect("two others");
    let (leads, follows) = (cluster.admin_channel(&leader), cluster.admin_channel(follower));
    let changes = changes();
    assert!(changes.len() >= 20, "{}", changes.len());
    for change in &changes {
        for id in ["", "17", "7b0c52a1-7a3c-4f0e-9e55-0b6a4f6e2c11"] {
            let told = change.told(&change.ask(&leads, id).await);
            assert_eq!(told, (Reason::InvalidField, ChangeOutcome::NotApplied), "{}", change.path);
        }
        let (_, outcome) = change.told(&change.ask(&leads, &off_by(3_600_000)).await);
        assert_eq!(outcome, ChangeOutcome::NotApplied, "{}: not proposed", change.path);
        let id = new_request_id().to_string();
        let (reason, outcome) = change.told(&change.ask(&follows, &id).await);
        assert_eq!(outcome, ChangeOutcome::NotApplied, "{}: {reason}", change.path);
    }
}

/// A change that takes effect says so in the trailers, as every other answer does, and in the
/// headers too; so does one that only would, and one that nobody of ours can read.
#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_in_the_trailers() {
    let cluster = Cluster::start(1).await;
    let mut grpc = tonic::client::Grpc::new(cluster.admin_channel("c1"));
    let create = |validate_only, name: &str| {
        let (request_id, name) = (new_request_id().to_string(), name.to_owned());
        let (replication_factor, tablets) = (1, 1);
        let request = pb::CreateTableRequest {
            request_id,
            validate_only,
            name,
            replication_factor,
            tablets,
            ..Default::default()
        };
        Bytes::from(request.encode_to_vec())
    };
    let path = "/palisade.admin.v1.TableService/CreateTable";
    let expected = [(false, ChangeOutcome::Applied), (true, ChangeOutcome::NotApplied)];
    for (validate_only, expected) in expected {
        grpc.ready().await.expect("it is connected");
        // As a stream of one message, whose head and trailers come apart.
        let asked = Request::new(create(validate_only, &format!("t{validate_only}")));
        let answer = grpc.server_streaming(asked, path.parse().expect("a path"), Raw).await;
        let answer = answer.expect("it is answered");
        assert_eq!(outcome(answer.metadata()), Some(expected));
        let mut messages = answer.into_inner();
        messages.message().await.expect("whole").expect("one");
        let trailers = messages.trailers().await.expect("whole").expect("there are some");
        assert_eq!(outcome(&trailers), Some(expected), "{trailers:?}");
    }
    grpc.ready().await.expect("it is connected");
    let garbage = Request::new(Bytes::from_static(&[0xff; 7]));
    let refused = grpc.unary(garbage, path.parse().expect("a path"), Raw).await;
    let refused = refused.expect_err("it is no request");
    assert_eq!(outcome(refused.metadata()), Some(ChangeOutcome::NotApplied), "{refused:?}");
}

/// The deadline of a caller is kept with a reason and an outcome, and before the caller gives up:
/// here, without a quorum, nothing is known of what was proposed.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_deadline_is_kept_with_a_reason() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, agents: 1, profile, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    names.iter().filter(|name| **name != leader).for_each(|name| cluster.pause(name));
    let mut grpc = tonic::client::Grpc::new(cluster.admin_channel(&leader));
    let request = pb::PauseRequest {
        request_id: new_request_id().to_string(),
        reason: "none".into(),
        ..Default::default()
    };
    grpc.ready().await.expect("it is connected");
    let mut asked = Request::new(Bytes::from(request.encode_to_vec()));
    asked.set_timeout(std::time::Duration::from_secs(4));
    let path = "/palisade.admin.v1.ClusterService/Pause".parse().expect("a path");
    let told = grpc.unary(asked, path, Raw).await.expect_err("there is no quorum");
    let reason = Refusal::from_status(&told).unwrap_or_else(|| panic!("no reason: {told:?}"));
    let said = (reason.reason, outcome(told.metadata()));
    let expected = [
        (Reason::CommitTimeout, Some(ChangeOutcome::Unknown)),
        (Reason::LeadershipLost, Some(ChangeOutcome::Unknown)),
        // It may have found out before it was asked.
        (Reason::NoLeader, Some(ChangeOutcome::NotApplied)),
    ];
    assert!(expected.contains(&said), "{said:?}: {told:?}");
}

/// What the command line prints to be run again makes the same request, whatever has happened in
/// between: time has passed, others have changed something.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_said_again_is_the_same() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin();
    let disable = pb::DisableBalancingRequest {
        request_id: new_request_id().to_string(),
        reason: "a test".into(),
        lasts_ms: 3_600_000,
        ..Default::default()
    };
    let first = admin.disable_balancing(disable.clone()).await.expect("disabled").switch;
    let again = admin.disable_balancing(disable).await.expect("as before").switch;
    assert!(first.as_ref().is_some_and(|switch| switch.until_ms > switch.since_ms), "{first:?}");
    assert_eq!(first, again);
    let set = |name: &str, settings| pb::SetSettingsRequest {
        request_id: new_request_id().to_string(),
        settings: Some(settings),
        only: vec![name.to_owned()],
        ..Default::default()
    };
    let attempts = set("attempts", Settings { attempts: 7, ..Settings::default() });
    let before = admin.settings().await.expect("the settings");
    admin.set_settings(attempts.clone()).await.expect("changed");
    let stall = Settings { stall_ms: before.stall_ms + 1, ..Settings::default() };
    admin.set_settings(set("stall_ms", stall)).await.expect("changed");
    admin.set_settings(attempts).await.expect("as before");
    let expected = Settings { attempts: 7, stall_ms: before.stall_ms + 1, ..before };
    assert_eq!(admin.settings().await.expect("the settings"), expected);
    let refused = admin.set_settings(set("no", Settings::default())).await.expect_err("no setting");
    assert_eq!(refused.reason(), Some(Reason::InvalidField), "{refused}");
}

/// A change of the members has no memory of requests: what is refused before it is proposed says
/// nothing of an earlier try.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_of_the_members_is_not_applied() {
    let cluster = Cluster::start(1).await;
    let mut members = MemberServiceClient::new(cluster.admin_channel("c1"));
    let told = |status: Status| (Refusal::from_status(&status), outcome(status.metadata()));
    let request_id = new_request_id().to_string();
    let gone = pb::RemoveMemberRequest { name: "c9".into(), request_id, ..Default::default() };
    let (refusal, said) = told(members.remove_member(gone).await.expect_err("nobody"));
    let expected = (Reason::NotFound, Some(ChangeOutcome::NotApplied));
    assert_eq!((refusal.expect("a reason").reason, said), expected);
    let request_id = new_request_id().to_string();
    let alone = pb::TransferLeaderRequest { request_id, ..Default::default() };
    let (refusal, said) = told(members.transfer_leader(alone).await.expect_err("nobody else"));
    let expected = (Reason::NodeNotReady, Some(ChangeOutcome::NotApplied));
    assert_eq!((refusal.expect("a reason").reason, said), expected);
}

/// H14: a client's clock is thirty hours fast: it is told, with the leader's clock, and nothing is
/// done. Another's is thirty hours slow: what it asks for is done, once. Nobody else is shut out.
#[tokio::test(flavor = "multi_thread")]
async fn h14_clocks_that_are_thirty_hours_off_shut_nobody_out() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin();
    let create = |name: &str, id: String| pb::CreateTableRequest {
        request_id: id,
        name: name.to_owned(),
        replication_factor: 1,
        tablets: 1,
        ..Default::default()
    };
    let fast = admin.create_table(create("fast", off_by(THIRTY_HOURS_MS))).await;
    let fast = fast.expect_err("it would push out all others");
    assert!(!fast.is_outcome_unknown(), "{fast}");
    match fast {
        ClientError::Refused(refusal) => {
            assert_eq!(refusal.reason, Reason::RequestIdAhead, "{refusal:?}");
            let clock = refusal.get("clock_ms").and_then(|clock| clock.parse::<u64>().ok());
            assert!(clock.is_some_and(|clock| clock > 0), "{refusal:?}");
        }
        other => panic!("{other}"),
    }
    let slow = create("slow", off_by(-THIRTY_HOURS_MS));
    for _ in 0..2 {
        admin.create_table(slow.clone()).await.expect("done, now or before");
    }
    let right = create("right", new_request_id().to_string());
    admin.create_table(right).await.expect("nobody else is shut out");
    assert_eq!(admin.list_tables().await.expect("all").len(), 2);
}
