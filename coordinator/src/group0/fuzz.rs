//! Arbitrary bytes against the files of the data directory: the format file, heads of snapshots,
//! whole snapshots.

use std::io::{Read as _, Write as _};
use std::path::Path;

use palisade_fuzz::target;
use uuid::Uuid;

use super::directory::{Format, format_text, parse_format};
use super::error::RestoreError;
use super::snapshot::{self, HEAD_BYTES, SnapshotFile, Writing};
use super::types::{self, Member, Membership, SnapshotMeta, StoredMembership, log_id};

fn format(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(format) = parse_format(text, Path::new("format")) else { return };
    let written = format_text(&format);
    let again = parse_format(&written, Path::new("format")).expect("just written");
    assert_eq!(again, format);
}

fn formats() -> Vec<Vec<u8>> {
    let [cluster, minted] = [7, 8].map(|n| Some(Uuid::from_u128(n)));
    let format = |raft_id, name: &str, cluster, minted: Option<Uuid>| {
        let (name, member) = (name.to_owned(), minted.is_some());
        let format = Format { raft_id, name, cluster, minted, member };
        format_text(&format).into_bytes()
    };
    vec![
        format(1, "c1", None, None),
        format(u64::MAX, "", cluster, None),
        format(2, "c 2", cluster, minted),
        format(3, "c3", None, minted),
    ]
}

target!(a_format_file, format, formats);

fn meta(bytes: &[u8]) {
    let Ok(meta) = types::decode_meta(bytes) else { return };
    let written = types::encode_meta(&meta);
    let again = types::decode_meta(&written).expect("just written");
    assert_eq!(again, meta);
    assert_eq!(types::encode_meta(&again), written);
}

pub(super) fn some_metas() -> Vec<SnapshotMeta> {
    let member = |n: u64| {
        let [raft, admin, agents] = [1, 2, 3].map(|port| format!("c{n}:{port}"));
        let (raft_address, admin_address, agents_address) = (raft, admin, agents);
        (n, Member { name: format!("c{n}"), raft_address, admin_address, agents_address })
    };
    let membership = |configs: &[&[u64]]| {
        let configs = configs.iter().map(|voters| voters.iter().copied().collect());
        let members: std::collections::BTreeMap<u64, Member> = (1..=4).map(member).collect();
        Membership::new(configs.collect(), members).expect("voters are members")
    };
    let meta = |last, configs: &[&[u64]]| SnapshotMeta {
        last_log_id: last,
        last_membership: StoredMembership::new(last, membership(configs)),
    };
    vec![
        SnapshotMeta::default(),
        meta(Some(log_id(1, 0)), &[&[1]]),
        meta(Some(log_id(u64::MAX, 9)), &[&[1, 2, 3]]),
        meta(Some(log_id(3, u64::MAX)), &[&[1, 2], &[2, 3, 4]]),
    ]
}

fn metas() -> Vec<Vec<u8>> {
    some_metas().iter().map(types::encode_meta).collect()
}

target!(the_head_of_a_snapshot, meta, metas);

/// As it is, and with a digest that fits: whoever damages a file does not mend its digest, but a
/// newer build's file has one.
fn file(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    if mended.len() >= HEAD_BYTES {
        let digest = xxhash_rust::xxh3::xxh3_128(&bytes[24..]);
        mended[8..24].copy_from_slice(&digest.to_be_bytes());
    }
    for bytes in [bytes, &mended] {
        let Ok(read) = verified(bytes) else { continue };
        let body = body(&read);
        let again = verified(&written(read.meta(), &body)).expect("just written");
        assert_eq!((again.meta(), self::body(&again)), (read.meta(), body));
    }
}

fn verified(bytes: &[u8]) -> Result<SnapshotFile, RestoreError> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    SnapshotFile::verify(file)
}

fn body(file: &SnapshotFile) -> Vec<u8> {
    let mut body = Vec::new();
    file.body().read_to_end(&mut body).expect("read");
    body
}

fn written(meta: &SnapshotMeta, body: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let writing = Writing::begin(dir.path().join("one"), types::encode_meta(meta)).expect("begun");
    let file = snapshot::write(writing, |out| out.write_all(body)).expect("written");
    file.piece(0, usize::MAX).expect("read").to_vec()
}

fn files() -> Vec<Vec<u8>> {
    let file = |(meta, body): (SnapshotMeta, &[u8])| written(&meta, body);
    let bodies: [&[u8]; 4] = [b"", b"a", b"the state machine's", &[0; 64]];
    some_metas().into_iter().zip(bodies).map(file).collect()
}

target!(a_snapshot_file, file, files);
