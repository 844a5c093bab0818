//! What the messages promise: everything that the core can say survives the wire, nothing that
//! the wire can bring makes a reader panic, and the bytes stay what they are.

use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{MigrationId, NodeId, RouterId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{StreamPair, TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::RowVersion;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use palisade_proto::reasons::Reason;
use palisade_proto::status::Refusal;
use palisade_proto::{agent, data, stream, types};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use uuid::Uuid;

fn version() -> impl Strategy<Value = TopologyVersion> {
    (any::<u32>(), 1u64..).prop_map(|(era, counter)| TopologyVersion::from_parts(era, counter))
}

fn uuid() -> impl Strategy<Value = Uuid> {
    (1u128..).prop_map(Uuid::from_u128)
}

fn node() -> impl Strategy<Value = NodeId> {
    (1u64..).prop_map(|number| NodeId::from_u64(number).expect("not zero"))
}

fn replicas() -> impl Strategy<Value = ReplicaSet> {
    let nodes = btree_set(node(), 0..5);
    (nodes, vec((version(), any::<bool>()), 5)).prop_map(|(nodes, rest)| {
        let replica = |(node, (copy, lost))| Replica { node, copy: CopyId(copy), lost };
        ReplicaSet::new(nodes.into_iter().zip(rest).map(replica).collect()).expect("distinct")
    })
}

fn transition() -> impl Strategy<Value = TransitionRecord> {
    let pair = (node(), node()).prop_map(|(source, receiver)| StreamPair { source, receiver });
    let kind = select(TransitionKind::ALL.to_vec());
    let stage = select(Stage::ALL.to_vec());
    let time = option::of(any::<u64>().prop_map(HybridTime));
    let parts = (uuid(), kind, stage, replicas(), option::of(uuid()), any::<u32>());
    (parts, vec(pair, 0..4), time).prop_map(|(parts, streams, proposed_promise)| {
        let (migration, kind, stage, next, session, attempt) = parts;
        TransitionRecord {
            migration: MigrationId::from_uuid(migration).expect("not nil"),
            kind,
            stage,
            next,
            session: session.and_then(SessionId::from_uuid),
            attempt,
            streams,
            proposed_promise,
        }
    })
}

fn record() -> impl Strategy<Value = TabletRecord> {
    let range = (vec(any::<u8>(), 0..12), option::of(vec(any::<u8>(), 0..12)));
    let incarnation = (node(), version()).prop_map(|(node, at)| (node, Incarnation(at)));
    let ids = (1u64.., 1u64..);
    let sets = (replicas(), option::of(transition()));
    (ids, range, version(), sets, any::<u64>(), vec(incarnation, 0..4)).prop_map(
        |(
            (tablet, table),
            (start, end),
            version,
            (replicas, transition),
            promise,
            incarnations,
        )| {
            TabletRecord {
                tablet: TabletId::from_u64(tablet).expect("not zero"),
                table: TableId::from_u64(table).expect("not zero"),
                range: PositionRange { start, end },
                version,
                replicas,
                transition,
                promise: HybridTime(promise),
                incarnations,
            }
        },
    )
}

fn row() -> impl Strategy<Value = RowVersion> {
    let value = option::of(vec(any::<u8>(), 0..20));
    (any::<u64>(), uuid(), value).prop_map(|(time, router, value)| {
        let router = RouterId::from_uuid(router).expect("not nil");
        RowVersion { timestamp: Timestamp { time: HybridTime(time), router }, value }
    })
}

/// Reads bytes as a record; `None` where they are none.
fn read(bytes: &[u8]) -> Option<TabletRecord> {
    TabletRecord::try_from(types::v1::TabletRecord::decode(bytes).ok()?).ok()
}

fn written(record: &TabletRecord) -> Vec<u8> {
    types::v1::TabletRecord::from(record).encode_to_vec()
}

proptest! {
    #[test]
    fn a_record_survives_the_wire(record in record()) {
        prop_assert_eq!(read(&written(&record)), Some(record));
    }

    #[test]
    fn a_row_survives_the_wire(row in row()) {
        let bytes = types::v1::RowVersion::from(&row).encode_to_vec();
        let wire = types::v1::RowVersion::decode(bytes.as_slice()).expect("just written");
        prop_assert_eq!(RowVersion::try_from(wire), Ok(row));
    }

    #[test]
    fn a_refusal_carries_its_record(record in record()) {
        let refusal = Refusal::new(Reason::VersionAhead, "behind").with_record(Some(&record));
        let status = tonic::Status::from(refusal.clone());
        prop_assert_eq!(Refusal::from_status(&status), Some(refusal));
    }

    /// Whatever a stranger sends is refused or understood, and what is understood can be said
    /// again without a change.
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Some(record) = read(&bytes) {
            prop_assert_eq!(read(&written(&record)), Some(record));
        }
        if let Ok(row) = types::v1::RowVersion::decode(bytes.as_slice()) {
            let _ = RowVersion::try_from(row);
        }
        let _ = agent::v1::AttachRequest::decode(bytes.as_slice());
        let _ = agent::v1::AttachResponse::decode(bytes.as_slice());
        let _ = stream::v1::PullRequest::decode(bytes.as_slice());
        let _ = stream::v1::PullResponse::decode(bytes.as_slice());
        let _ = data::v1::PutRequest::decode(bytes.as_slice());
        let status = tonic::Status::with_details(tonic::Code::Unavailable, "", bytes.into());
        prop_assert_eq!(Refusal::from_status(&status), None);
    }

    /// Bytes of a true record, one of them wrong: far deeper in than any random bytes come.
    #[test]
    fn no_damage_makes_a_reader_panic(record in record(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = written(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(other) = read(&bytes) {
            prop_assert_eq!(read(&written(&other)), Some(other));
        }
    }
}

fn sample() -> types::v1::TabletRecord {
    let at = |counter| TopologyVersion::from_parts(0, counter);
    let node = |number| NodeId::from_u64(number).expect("not zero");
    let replica = |number| Replica { node: node(number), copy: CopyId(at(1)), lost: number == 2 };
    let set = |numbers: &[u64]| {
        ReplicaSet::new(numbers.iter().map(|number| replica(*number)).collect()).expect("distinct")
    };
    let record = TabletRecord {
        tablet: TabletId::from_u64(7).expect("not zero"),
        table: TableId::from_u64(3).expect("not zero"),
        range: PositionRange { start: vec![0x40], end: Some(vec![0x80]) },
        version: at(9),
        replicas: set(&[1]),
        transition: Some(TransitionRecord {
            migration: MigrationId::from_uuid(Uuid::from_u128(0xa1)).expect("not nil"),
            kind: TransitionKind::Migrate,
            stage: Stage::Streaming,
            next: set(&[2]),
            session: SessionId::from_uuid(Uuid::from_u128(0xb2)),
            attempt: 2,
            streams: vec![StreamPair { source: node(1), receiver: node(2) }],
            proposed_promise: None,
        }),
        promise: HybridTime(5),
        incarnations: vec![(node(1), Incarnation(at(4)))],
    };
    types::v1::TabletRecord::from(&record)
}

/// A field that changes its number or its kind is another protocol, whatever the types say.
#[test]
fn the_bytes_of_a_record_stay_what_they_are() {
    let bytes: String = sample().encode_to_vec().iter().map(|b| format!("{b:02x}")).collect();
    let expected = [
        "0807",                                  // tablet 7
        "1003",                                  // table 3
        "1a06 0a0140 120180",                    // range from 40 to 80
        "2202 1009",                             // version 0.9
        "2a06 0801 12021001",                    // replica on node 1, copy 0.1
        "323a",                                  // transition
        "0a10 000000000000000000000000000000a1", // migration
        "1001 1803",                             // migrate, streaming
        "2208 0802 12021001 1801",               // next: node 2, copy 0.1, lost
        "2a10 000000000000000000000000000000b2", // session
        "3002",                                  // attempt 2
        "3a04 0801 1002",                        // stream from 1 to 2
        "3805",                                  // promise 5
        "4206 0801 12021004",                    // node 1 is admitted under 0.4
    ];
    assert_eq!(bytes, expected.concat().replace(' ', ""));
}

/// Each way in which one field can be wrong is refused, by the name of that field.
#[test]
fn a_field_that_is_wrong_is_named() {
    type Damage = fn(&mut types::v1::TabletRecord);
    fn transition(wire: &mut types::v1::TabletRecord) -> &mut types::v1::TransitionRecord {
        wire.transition.as_mut().expect("the sample has one")
    }
    let cases: [(&str, Damage); 13] = [
        ("tablet", |wire| wire.tablet = 0),
        ("table", |wire| wire.table = 0),
        ("range", |wire| wire.range = None),
        ("version", |wire| wire.version = None),
        ("replicas", |wire| wire.replicas.push(wire.replicas[0])),
        ("replica.node", |wire| wire.replicas[0].node = 0),
        ("replica.copy", |wire| wire.replicas[0].copy = None),
        ("incarnations.incarnation", |wire| wire.incarnations[0].incarnation = None),
        ("transition.migration", |wire| transition(wire).migration = vec![0; 16].into()),
        ("transition.kind", |wire| transition(wire).kind = 0),
        ("transition.stage", |wire| transition(wire).stage = 99),
        ("transition.session", |wire| transition(wire).session = Some(vec![1; 15].into())),
        ("transition.streams.receiver", |wire| transition(wire).streams[0].receiver = 0),
    ];
    assert!(TabletRecord::try_from(sample()).is_ok());
    for (field, damage) in cases {
        let mut wire = sample();
        damage(&mut wire);
        let refused = TabletRecord::try_from(wire).expect_err(field);
        assert_eq!(refused.field(), field);
    }
}

#[test]
fn reflection_knows_every_service() {
    let set =
        prost_types::FileDescriptorSet::decode(palisade_proto::FILE_DESCRIPTOR_SET).expect("ours");
    let name = |package: &str, service: &prost_types::ServiceDescriptorProto| {
        format!("{package}.{}", service.name())
    };
    let services: Vec<String> = set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| name(file.package(), service)))
        .collect();
    for expected in [
        "palisade.admin.v1.ClusterService",
        "palisade.admin.v1.TableService",
        "palisade.admin.v1.TabletService",
        "palisade.admin.v1.MigrationService",
        "palisade.admin.v1.NodeService",
        "palisade.admin.v1.BarrierService",
        "palisade.admin.v1.TopologyService",
        "palisade.agent.v1.AgentService",
        "palisade.data.v1.DataService",
        "palisade.stream.v1.StreamService",
    ] {
        assert!(services.iter().any(|found| found == expected), "{expected}");
    }
}
