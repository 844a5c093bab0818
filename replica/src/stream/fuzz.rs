//! Arbitrary bytes against the messages of a stream: what a receiver asks for, and chunks.

use super::codec::pack;
use super::serve::Begin;
use super::write::InChunk;
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::RouterId;
use migrations::position::Position;
use migrations::row::{RowSum, RowVersion};
use palisade_fuzz::target;
use prost::Message;
use proto::convert::sum_bytes;
use proto::stream::v1 as pb;
use proto::types::v1::TopologyVersion;
use uuid::Uuid;

/// What is taken names everything that a source has to check.
fn begin(bytes: &[u8]) {
    let Ok(begin) = pb::Begin::decode(bytes) else { return };
    let said = begin.clone();
    if Begin::try_from(begin).is_ok() {
        assert!(said.cluster_id.len() == 16 && said.session.len() == 16);
        assert!(said.tablet != 0 && said.source != 0 && said.receiver != 0);
        assert!(said.version.is_some() && said.copy.is_some());
        assert!(said.source_incarnation.is_some() && said.receiver_incarnation.is_some());
        assert!(said.resume.is_none_or(|resume| resume.sum.len() == 16));
    }
}

fn begins() -> Vec<Vec<u8>> {
    let id = |n: u8| bytes::Bytes::from(vec![n; 16]);
    let version = |counter| Some(TopologyVersion { era: 1_790_000_000, counter });
    let begin = pb::Begin {
        cluster_id: id(7),
        tablet: 1,
        version: version(9),
        session: id(5),
        source: 1,
        receiver: 4,
        source_incarnation: version(2),
        receiver_incarnation: version(5),
        copy: version(6),
        ..pb::Begin::default()
    };
    let resume = pb::Resume {
        position: b"k".as_slice().into(),
        source_copy: version(6),
        rows: 7,
        sum: id(0),
    };
    let resumed = pb::Begin { resume: Some(resume), ..begin.clone() };
    [begin, resumed].iter().map(Message::encode_to_vec).collect()
}

target!(a_begin, begin, begins);

/// As it is, and with a checksum that fits: rows, or a refusal.
fn chunk(bytes: &[u8]) {
    let Ok(said) = pb::Chunk::decode(bytes) else { return };
    let checksum = crc32fast::hash(&said.rows);
    for said in [said.clone(), pb::Chunk { checksum, ..said }] {
        let Ok(taken) = InChunk::try_from(said.clone()) else { continue };
        assert_eq!((taken.number, taken.bytes()), (said.number, said.rows.len()));
        if let Ok(rows) = taken.unpack(RowSum::default()) {
            assert_eq!(said.checksum, checksum, "bytes that are not those that were sent");
            let mut sum = RowSum::default();
            let packed = pack(&rows, &mut sum);
            assert_eq!((packed.bytes, sum_bytes(sum.0)), (said.rows, said.sum));
        }
    }
}

fn chunks() -> Vec<Vec<u8>> {
    let row = |n: u8| -> (Position, RowVersion) {
        let router = RouterId::from_uuid(Uuid::from_u128(7)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(3), router };
        (vec![n], RowVersion { timestamp, value: (n > 0).then(|| vec![n; 9]) })
    };
    let rows: Vec<_> = (0..4).map(row).collect();
    let chunk = |rows: &[(Position, RowVersion)]| {
        let mut sum = RowSum::default();
        let rows = pack(rows, &mut sum).bytes;
        let (checksum, sum) = (crc32fast::hash(&rows), sum_bytes(sum.0));
        pb::Chunk { number: 1, checksum, rows, sum }.encode_to_vec()
    };
    rows.chunks(1).chain([rows.as_slice(), &[]]).map(chunk).collect()
}

target!(a_chunk, chunk, chunks);
