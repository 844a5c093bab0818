//! Arbitrary bytes against what stands in a data directory: the identity file, names of trees,
//! and the values of the row store.

use super::error::StoreError;
use super::identity::Identity;
use super::layout;
use super::manifest::{self, Contents, CopyNote, FloorNote};
use super::{Progress, StreamOnRecord, StreamState};
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{AdmissionToken, ClusterId, MigrationId, NodeId, RouterId, SessionId};
use migrations::id::{DirectoryId, TabletId};
use migrations::row::{RowSum, RowVersion};
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use palisade_fuzz::target;
use std::sync::LazyLock;
use uuid::Uuid;

fn version(counter: u64) -> TopologyVersion {
    TopologyVersion::from_parts(1_790_000_000, counter)
}

/// As it is, and with a checksum that fits: what the checksum can't keep out.
fn identity(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let body = text.rsplit_once("crc32 ").map_or(text, |(body, _)| body);
    let fitting = format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()));
    for text in [text, &fitting] {
        let Ok(identity) = Identity::parse(text) else { continue };
        let written = identity.to_text();
        assert_eq!(Identity::parse(&written), Ok(identity));
        assert_eq!(Identity::parse(text).map(|again| again.to_text()), Ok(written));
    }
}

fn identities() -> Vec<Vec<u8>> {
    let token = |n| AdmissionToken::from_uuid(Uuid::from_u128(n)).expect("not nil");
    let directory = DirectoryId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    let fresh = Identity {
        directory,
        node_name: "n1".into(),
        rows: None,
        cluster: None,
        adopted: false,
        node: None,
        tokens: Vec::new(),
    };
    let asking = Identity { tokens: vec![token(3)], ..fresh.clone() };
    let admitted = Identity {
        rows: Some(Uuid::from_u128(2)),
        cluster: ClusterId::from_uuid(Uuid::from_u128(7)),
        adopted: true,
        node: NodeId::from_u64(4).map(|node| (node, Incarnation(version(9)))),
        tokens: vec![token(3), token(4)],
        ..fresh.clone()
    };
    [fresh, asking, admitted].iter().map(|identity| identity.to_text().into_bytes()).collect()
}

target!(an_identity, identity, identities);

/// What is read can be read again from what is made of it.
fn manifest(bytes: &[u8]) {
    let Ok((contents, round)) = manifest::read(bytes) else { return };
    assert_eq!(manifest::read(&contents.whole(round)).ok(), Some((contents, round)));
}

fn manifests() -> Vec<Vec<u8>> {
    let tablet = |id| TabletId::from_u64(id).expect("not zero");
    let mut contents = Contents::default();
    contents.copies.insert((tablet(1), CopyId(version(4))), CopyNote::Changes(7));
    contents.copies.insert((tablet(1), CopyId(version(5))), CopyNote::Aside(2));
    contents.copies.insert((tablet(2), CopyId(version(6))), CopyNote::Gone);
    contents.floors.insert(tablet(1), FloorNote::At(version(9)));
    contents.floors.insert(tablet(3), FloorNote::Unlisted);
    contents.unlisted = version(8);
    vec![Contents::default().whole(1), contents.whole(5)]
}

target!(a_manifest, manifest, manifests);

fn name(bytes: &[u8]) {
    if let Some((tablet, copy)) = layout::parse_tree_name(bytes) {
        assert_eq!(layout::tree_name(tablet, copy).as_bytes(), bytes, "a tree has one name");
    }
}

fn names() -> Vec<Vec<u8>> {
    let numbers = [(1, 1), (u64::MAX, 2), (0x1234_5678_9abc, u64::MAX)];
    let name = |(tablet, counter)| {
        let tablet = TabletId::from_u64(tablet).expect("not zero");
        layout::tree_name(tablet, CopyId(version(counter))).into_bytes()
    };
    numbers.into_iter().map(name).collect()
}

target!(a_name_of_a_tree, name, names);

fn stream(bytes: &[u8]) {
    if let Ok(stream) = layout::decode_stream(bytes) {
        assert_eq!(layout::encode_stream(&stream), bytes, "a stream has one form");
    }
}

fn streams() -> Vec<Vec<u8>> {
    let stream = |(state, after): (StreamState, Option<&[u8]>)| {
        layout::encode_stream(&StreamOnRecord {
            session: SessionId::from_uuid(Uuid::from_u128(5)).expect("not nil"),
            call: 3,
            migration: MigrationId::from_uuid(Uuid::from_u128(6)).expect("not nil"),
            source_copy: CopyId(version(9)),
            state,
            progress: Progress {
                after: after.map(<[u8]>::to_vec),
                rows: 7,
                bytes: u64::MAX,
                sum: RowSum(u128::MAX - 1),
            },
        })
    };
    let all = [
        (StreamState::Running, None),
        (StreamState::Running, Some(b"k".as_slice())),
        (StreamState::Complete, Some(b"".as_slice())),
        (StreamState::Failed, None),
    ];
    all.into_iter().map(stream).collect()
}

target!(a_stream_on_record, stream, streams);

fn number(bytes: &[u8]) {
    if let Ok(version) = layout::decode_version(bytes) {
        assert_eq!(layout::encode_version(version), bytes);
    }
    if let Ok(HybridTime(time)) = layout::decode_time(bytes) {
        assert_eq!(time.to_be_bytes(), bytes);
    }
    if let Ok(record) = layout::decode_record(bytes) {
        let written = layout::encode_record(&record);
        assert_eq!(layout::decode_record(&written), Ok(record));
    }
}

fn numbers() -> Vec<Vec<u8>> {
    vec![layout::encode_version(version(3)).to_vec(), 7u64.to_be_bytes().to_vec()]
}

target!(a_floor, number, numbers);

/// A tree without pieces: a row that has some is damaged.
static EMPTY: LazyLock<sled::Db> = LazyLock::new(|| {
    sled::Config::new().temporary(true).open().expect("a directory for temporary files")
});

fn row(bytes: &[u8]) {
    let read = layout::decode_row(&EMPTY, b"k", bytes);
    match read {
        Ok(row) => {
            let is_over = layout::check_size(b"k", &row).is_err();
            let is_one_piece = row.value.as_ref().is_none_or(|value| value.len() <= 20 << 10);
            assert!(is_over || !is_one_piece || layout::encode_head(&row) == bytes);
        }
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
    }
    let mut batch = sled::Batch::default();
    let _removed_or_not = layout::remove_row(&mut batch, b"k", bytes);
    let _replaced_or_not = layout::insert_row(&mut batch, b"k", &tombstone(), Some(bytes));
}

fn tombstone() -> RowVersion {
    let router = RouterId::from_uuid(Uuid::from_u128(7)).expect("not nil");
    RowVersion { timestamp: Timestamp { time: HybridTime(3), router }, value: None }
}

fn rows() -> Vec<Vec<u8>> {
    let value = |value| RowVersion { value: Some(value), ..tombstone() };
    let rows = [tombstone(), value(Vec::new()), value(b"v".to_vec()), value(vec![7; 30 << 10])];
    rows.iter().map(layout::encode_head).collect()
}

target!(a_stored_row, row, rows);
