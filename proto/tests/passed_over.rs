//! Protobuf passes over fields that it has no name for. In the log and in snapshots that would
//! leave a part of a command undone on one coordinator alone, so here such bytes are not read.

use migrations::command::Entry;
use migrations::state::{FEATURE_LEVEL, State};
use palisade_proto::Malformed;
use palisade_proto::storage::{DecodeError, decode_entry, decode_snapshot, encode_snapshot};

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.replace(' ', "");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn read(hex: &str) -> Result<Entry, DecodeError> {
    decode_entry(&bytes(hex))
}

/// A fence of node 2, incarnation 0.4, and the same with one field more at each depth.
#[test]
fn a_field_that_has_no_name_here_stops_the_reader_at_every_depth() {
    let unknown = Err(DecodeError::Unknown { what: "field or value" });
    assert!(read("0801 1a08 1a06 0802 12021004").is_ok());
    assert_eq!(read("0801 1a08 1a06 0802 12021004 4801"), unknown, "in the entry");
    assert_eq!(read("0801 1a0a 1a06 0802 12021004 7801"), unknown, "in the command");
    assert_eq!(read("0801 1a0a 1a08 0802 12021004 4801"), unknown, "in the fence");
    assert_eq!(read("0801 1a0a 1a08 0802 120410044801"), unknown, "in the version");
}

/// The same length is not enough: fields in another order, or a value that was cut to fit.
#[test]
fn what_would_be_written_otherwise_is_not_read() {
    let unknown = Err(DecodeError::Unknown { what: "field or value" });
    assert!(read("0801 1a0c 1a0a 0802 1206 08ffffffff0f").is_ok());
    assert_eq!(read("0801 1a0c 1a0a 0802 1206 08ffffffff1f"), unknown, "an era of 33 bits");
    assert_eq!(read("0801 1a08 1a06 12021004 0802"), unknown, "the node behind its incarnation");
}

/// The more exact answer wins: who looks for the newer build is told what it knows.
#[test]
fn what_is_wrong_is_told_before_that_something_is_left_over() {
    assert_eq!(read("0801 1a02 7a00"), Err(DecodeError::Unknown { what: "command" }));
    let no_node = Malformed::Field { field: "fence.node", problem: "0 is not an id" };
    assert_eq!(read("0801 1a08 1a06 12021004 4801"), Err(no_node.into()));
}

#[test]
fn a_snapshot_with_a_field_that_has_no_name_here_is_not_read() {
    let mut written = encode_snapshot(&State::default());
    assert_eq!(decode_snapshot(&written), Ok(State::default()));
    written.extend(bytes("f80701"));
    assert_eq!(decode_snapshot(&written), Err(DecodeError::Unknown { what: "field or value" }));
}

/// Such a cluster may hold what only newer builds can do, whether or not it shows.
#[test]
fn a_snapshot_above_this_builds_feature_level_is_not_read() {
    let newer = State { feature_level: FEATURE_LEVEL + 1, ..State::default() };
    let refused = decode_snapshot(&encode_snapshot(&newer));
    assert_eq!(refused, Err(DecodeError::Unknown { what: "feature level" }));
}
