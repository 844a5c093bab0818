//! Bytes that no build wrote, that a newer one wrote, or that are cut short.

use super::cluster::eventful;
use super::examples::{commands, outcomes, stamp, start};
use migrations::command::{Change, Command, Entry};
use migrations::stage::TransitionKind;
use migrations::state::State;
use proptest::prelude::*;
use proto::Malformed;
use proto::storage::{
    DecodeError, FORMAT, decode_entry, decode_snapshot, encode_entry, encode_snapshot,
};
use std::sync::LazyLock;

static ENTRY: LazyLock<Entry> =
    LazyLock::new(|| Entry { proposed_ms: 1_790_000_000_000, commands: commands() });
static ENTRY_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| encode_entry(&ENTRY));
static SNAPSHOT_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state: State = eventful().topology.state().clone();
    for (n, outcome) in (0xf000..).zip(outcomes()) {
        state.requests.remember(&stamp(n, &n.to_string()), outcome);
    }
    encode_snapshot(&state)
});

#[test]
fn a_newer_format_is_named_whatever_follows() {
    let known = FORMAT;
    // The format, then a field 3 that is no message.
    for bytes in [&[0x08, 0x02][..], &[0x08, 0x02, 0x18, 0x07]] {
        let too_new = DecodeError::TooNew { found: 2, known };
        assert_eq!(decode_entry(bytes), Err(too_new.clone()));
        assert_eq!(decode_snapshot(bytes), Err(too_new));
    }
}

#[test]
fn what_names_no_format_is_no_entry() {
    let missing = DecodeError::Malformed(Malformed::Missing { field: "format" });
    for bytes in [&[][..], &[0x08, 0x00]] {
        assert_eq!(decode_entry(bytes), Err(missing.clone()));
        assert_eq!(decode_snapshot(bytes), Err(missing.clone()));
    }
}

#[test]
fn an_unknown_command_is_unknown_and_not_skipped() {
    let field_100 = [0xa0, 0x06, 0x01];
    let entry = [&[0x08, 0x01, 0x1a, 0x03][..], &field_100].concat();
    assert_eq!(decode_entry(&entry), Err(DecodeError::Unknown { what: "command" }));
}

#[test]
fn an_unknown_kind_of_transition_is_unknown() {
    let change = Change::Start(start(TransitionKind::Repair));
    let commands = vec![Command::Change { stamp: stamp(1, "operator"), change }];
    let mut bytes = encode_entry(&Entry { proposed_ms: 1, commands });
    let tablet_and_kind = [0x10, 0x01, 0x18, 0x05];
    let at = bytes.windows(4).position(|four| four == tablet_and_kind).expect("written once");
    bytes[at + 3] = 0x63;
    let unknown = DecodeError::Unknown { what: "kind of transition" };
    assert_eq!(decode_entry(&bytes), Err(unknown));
    bytes[at + 3] = 0x00;
    let missing = DecodeError::Malformed(Malformed::Missing { field: "start.kind" });
    assert_eq!(decode_entry(&bytes), Err(missing));
}

#[test]
fn no_protobuf_is_said_to_be_none() {
    assert!(matches!(decode_entry(&[0xff; 12]), Err(DecodeError::NotProtobuf(_))));
    assert!(matches!(decode_snapshot(&[0x08]), Err(DecodeError::NotProtobuf(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        has_format: bool,
    ) {
        if has_format {
            bytes.splice(..0, [0x08, 0x01]);
        }
        if let Ok(entry) = decode_entry(&bytes) {
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
        if let Ok(state) = decode_snapshot(&bytes) {
            prop_assert_eq!(decode_snapshot(&encode_snapshot(&state)), Ok(state));
        }
    }

    /// A cut at the end of a command leaves an entry with fewer of them (the log's own checksum
    /// tells); no other command ever comes of a cut.
    #[test]
    fn an_entry_cut_short_is_a_part_of_it_at_most(at in any::<prop::sample::Index>()) {
        let cut = &ENTRY_BYTES[..at.index(ENTRY_BYTES.len())];
        if let Ok(entry) = decode_entry(cut) {
            prop_assert!(ENTRY.commands.starts_with(&entry.commands));
            prop_assert!(entry.commands.len() < ENTRY.commands.len());
        }
    }

    /// The memory of requests and the finished migrations come last.
    #[test]
    fn a_snapshot_cut_short_does_not_pass_for_whole(at in any::<prop::sample::Index>()) {
        let whole = decode_snapshot(&SNAPSHOT_BYTES);
        prop_assert!(whole.is_ok());
        let cut = decode_snapshot(&SNAPSHOT_BYTES[..at.index(SNAPSHOT_BYTES.len())]);
        prop_assert_ne!(cut, whole);
    }

    /// Whatever is still read with a byte changed is written as it was read.
    #[test]
    fn a_changed_byte_is_refused_or_read_for_what_it_says(
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = ENTRY_BYTES.clone();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(entry) = decode_entry(&bytes) {
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
        let mut bytes = SNAPSHOT_BYTES.clone();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(state) = decode_snapshot(&bytes) {
            prop_assert_eq!(decode_snapshot(&encode_snapshot(&state)), Ok(state));
        }
    }
}
