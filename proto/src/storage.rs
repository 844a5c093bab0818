//! What group0 writes: entries of its log and snapshots, as versioned protobuf.
//!
//! Whatever `encode_entry` takes, `decode_entry` gives back, sensible or not: an entry that is in
//! the log is refused by `apply`, with an outcome, and never by a decoder, which would stop every
//! coordinator for good. So no check of meaning is made here.
//!
//! Not here: files, digests of files, and whether a state's invariants hold.

mod command;
mod evidence;
mod field;
mod node;
mod outcome;
mod problem;
mod snapshot;
mod switch;
mod tablet;

use crate::Malformed;
use crate::generated::storage::v1 as pb;
use migrations::command::{Command, Entry};
use migrations::state::{FEATURE_LEVEL, State};
use prost::Message;
use std::io::{self, BufRead, Write};

/// The format that this build writes, and the newest one that it reads.
pub const FORMAT: u32 = 1;

/// Bytes that were not read. Nothing may be applied in their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer build wrote them.
    #[error("format {found} is newer than {known}, the newest that this build knows")]
    TooNew {
        /// The format of the bytes.
        found: u32,
        /// The newest format that this build knows.
        known: u32,
    },
    /// They hold something that this build has no name for: a newer build wrote it.
    #[error("this build does not know this {what}")]
    Unknown {
        /// Of what sort it is, as a noun.
        what: &'static str,
    },
    /// They are protobuf, and do not say what they must.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They are no protobuf, or are cut short.
    #[error("not the expected protobuf: {0}")]
    NotProtobuf(String),
    /// What holds them can't be read.
    #[error("can't be read: {0}")]
    Unread(String),
}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> DecodeError {
        DecodeError::NotProtobuf(error.to_string())
    }
}

/// An entry as it is written into the log.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let Entry { proposed_ms, commands } = entry;
    let commands = commands.iter().map(Into::into).collect();
    pb::Entry { format: FORMAT, proposed_ms: *proposed_ms, commands }.encode_to_vec()
}

/// An entry, from the log.
///
/// # Errors
/// Any [`DecodeError`]. Of what `encode_entry` of this build or of an older one wrote, none.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    check_format(bytes)?;
    let wire = pb::Entry::decode(bytes)?;
    let is_whole = wire.encode_to_vec() == bytes;
    let pb::Entry { format: _, proposed_ms, commands } = wire;
    let commands = commands.into_iter().map(Command::try_from).collect::<Result<_, _>>()?;
    check_whole(is_whole)?;
    Ok(Entry { proposed_ms, commands })
}

/// A state as it is written into a snapshot.
pub fn encode_snapshot(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshot(state, &mut bytes).expect("memory takes all that is written");
    bytes
}

/// Writes the bytes of `encode_snapshot`, piece by piece.
///
/// # Errors
///
/// Those of `out`, which has a part of them then.
pub fn write_snapshot(state: &State, out: impl Write) -> io::Result<()> {
    snapshot::write(state, out)
}

/// A state, from a snapshot. Its invariants are not checked: `Topology::from_state` does that.
///
/// # Errors
/// Any [`DecodeError`]. Of what `encode_snapshot` of this build or of an older one wrote, none.
pub fn decode_snapshot(bytes: &[u8]) -> Result<State, DecodeError> {
    read_snapshot(bytes, FEATURE_LEVEL)
}

/// The same, read piece by piece up to its end, for a process that reads no feature level above
/// `level`.
///
/// # Errors
///
/// As [`decode_snapshot`], and [`DecodeError::Unread`].
pub fn read_snapshot(input: impl BufRead, level: u32) -> Result<State, DecodeError> {
    snapshot::read(input, level)
}

/// How many bytes a command adds to an entry.
pub fn command_len(command: &Command) -> usize {
    const TAG: usize = 1;
    let own = pb::Command::from(command).encoded_len();
    TAG + prost::length_delimiter_len(own) + own
}

/// The format comes first and alone: what follows may be of any shape in a newer one.
fn check_format(bytes: &[u8]) -> Result<(), DecodeError> {
    match pb::Head::decode(bytes)?.format {
        0 => Err(Malformed::Missing { field: "format" }.into()),
        1..=FORMAT => Ok(()),
        found => Err(DecodeError::TooNew { found, known: FORMAT }),
    }
}

/// Protobuf passes over fields that it has no name for, and cuts values that it has no room for.
/// Here that would leave a part of a command undone on this coordinator alone. What was read is
/// written as the very bytes that it was read from, or it is not what was meant.
fn check_whole(is_whole: bool) -> Result<(), DecodeError> {
    if is_whole { Ok(()) } else { Err(DecodeError::Unknown { what: "field or value" }) }
}
