//! Messages between agents, coordinators and routers, and the core's types that they become.

use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{MigrationId, RouterId};
use migrations::position::ranges_between;
use migrations::record::{StreamPair, TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::RowVersion;
use migrations::settings::Settings;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::CopyId;
use palisade_fuzz::target;
use prost::Message;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use proto::{Malformed, convert, types::v1 as types};
use std::fmt::Debug;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::examples::{incarnation, node, session, table, tablet, uuid, version};

/// A message is refused, or says what it says in one form only.
fn assert_round<W, T>(bytes: &[u8], read: impl Fn(W) -> Result<T, Malformed>)
where
    W: Message + Default + for<'a> From<&'a T>,
    T: Debug + PartialEq,
{
    let Ok(wire) = W::decode(bytes) else { return };
    let Ok(value) = read(wire) else { return };
    let written = W::from(&value).encode_to_vec();
    let again = read(W::decode(written.as_slice()).expect("just written"));
    assert_eq!(again.as_ref(), Ok(&value));
    assert_eq!(W::from(&value).encode_to_vec(), written);
}

fn record(bytes: &[u8]) {
    assert_round::<types::TabletRecord, TabletRecord>(bytes, TabletRecord::try_from);
    assert_round::<types::TransitionRecord, TransitionRecord>(bytes, TransitionRecord::try_from);
}

fn records() -> Vec<Vec<u8>> {
    let replica = |n| Replica { node: node(n), copy: CopyId(version(n)), lost: n == 2 };
    let set = |nodes: &[u64]| {
        ReplicaSet::new(nodes.iter().copied().map(replica).collect()).expect("distinct")
    };
    let transition = |(stage, kind)| TransitionRecord {
        migration: MigrationId::from_uuid(uuid(3)).expect("not nil"),
        kind,
        stage,
        next: set(&[2, 3, 4]),
        session: matches!(stage, Stage::Streaming | Stage::Repair).then(|| session(5)),
        attempt: 2,
        streams: vec![StreamPair { source: node(1), receiver: node(4) }],
        proposed_promise: (kind == TransitionKind::Repair).then_some(HybridTime(u64::MAX)),
    };
    let kinds = TransitionKind::ALL.into_iter().cycle();
    let transitions: Vec<TransitionRecord> =
        Stage::ALL.into_iter().zip(kinds).map(transition).collect();
    let range = ranges_between(&[b"m".to_vec()]).remove(0);
    let of = |transition: Option<TransitionRecord>| TabletRecord {
        tablet: tablet(7),
        table: table(1),
        range: range.clone(),
        version: version(9),
        replicas: set(&[1, 2, 3]),
        transition,
        promise: HybridTime(400),
        incarnations: vec![(node(1), incarnation(4)), (node(4), incarnation(8))],
    };
    let bare = transitions.iter().map(|t| types::TransitionRecord::from(t).encode_to_vec());
    let whole = transitions.iter().cloned().map(Some).chain([None]);
    let whole = whole.map(|t| types::TabletRecord::from(&of(t)).encode_to_vec());
    whole.chain(bare).collect()
}

target!(a_record, record, records);

fn row(bytes: &[u8]) {
    assert_round::<types::RowVersion, RowVersion>(bytes, RowVersion::try_from);
}

fn rows() -> Vec<Vec<u8>> {
    let router = RouterId::from_uuid(uuid(7)).expect("not nil");
    let values = [None, Some(Vec::new()), Some(b"v".to_vec()), Some(vec![7; 300])];
    let row = |value| {
        let timestamp = Timestamp { time: HybridTime(u64::MAX - 1), router };
        types::RowVersion::from(&RowVersion { timestamp, value }).encode_to_vec()
    };
    values.into_iter().map(row).collect()
}

target!(a_row, row, rows);

fn settings(bytes: &[u8]) {
    assert_round::<types::Settings, Settings>(bytes, |wire| convert::settings("s", Some(wire)));
}

fn all_settings() -> Vec<Vec<u8>> {
    let known = [Settings::DEFAULT, Settings::FAST];
    known.iter().map(|known| types::Settings::from(known).encode_to_vec()).collect()
}

target!(settings_of_a_cluster, settings, all_settings);

/// What a router is told in a refusal is a stranger's bytes: a refusal of ours, or none.
fn refusal(bytes: &[u8]) {
    let (record, details) = bytes.split_at(bytes.len() / 3);
    let mut headers = MetadataMap::new();
    headers.insert_bin("palisade-record-bin", MetadataValue::from_bytes(record));
    for (details, headers) in [(details, headers), (bytes, MetadataMap::new())] {
        let details = details.to_vec().into();
        let status = Status::with_details_and_metadata(Code::Internal, "", details, headers);
        let _one_of_three = outcome_of(&status);
        let Some(refusal) = Refusal::from_status(&status) else { continue };
        assert_eq!(Refusal::from_status(&Status::from(refusal.clone())), Some(refusal));
    }
}

fn refusals() -> Vec<Vec<u8>> {
    let of = |reason: Reason| {
        let refusal = Refusal::new(reason, "").with("highest", "17").with("node", "n1");
        let refusal =
            refusal.of_resource("migration", "9f2c").retry_after(Duration::from_millis(1));
        Status::from(refusal).details().to_vec()
    };
    let mut all: Vec<Vec<u8>> = Reason::ALL.iter().copied().map(of).collect();
    let field = Refusal::invalid_field("name", "is empty");
    all.push(Status::from(field).details().to_vec());
    all
}

target!(a_refusal, refusal, refusals);
