//! The schema of the row store: names of trees, keys within them, and how values are written.
//!
//! One tree for each copy, `t/<tablet>/<copy>`, so that rows and the position of the stream that
//! brought them change in one batch:
//!
//! ```text
//! 'm' record                     the tablet's record, as its message: the floor
//! 'm' promise                    this replica's own promise of T: u64, big-endian
//! 'm' tally                      what there is in the tree beside it: see `tally`
//! 's' source                     the stream on record from that source
//! 'r' position                   time 8, router 16, kind 1, then by kind:
//!                                0 nothing (a tombstone)  1 the value  2 its length, u32
//! 'v' position piece(u16)        a piece of a value of kind 2
//! ```
//!
//! The tree `floors` speaks for tablets without a tree: tablet → era, counter; and `w` → the floor
//! of every tablet that is listed nowhere. For a tablet with a tree it is the mark that a copy of
//! at least that number was here. It has the id of the row store too: `i` → 16 bytes.
//! Numbers are big-endian.

use super::error::{StoreError, TooLarge};
use super::tally::Tally;
use super::{Progress, StreamOnRecord, StreamState};
use crate::limits::{PIECE_BYTES, POSITION_BYTES, VALUE_BYTES};
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{MigrationId, NodeId, RouterId, SessionId, TabletId};
use migrations::position::Position;
use migrations::record::TabletRecord;
use migrations::row::{RowSum, RowVersion};
use migrations::version::{CopyId, TopologyVersion};
use prost::Message;
use uuid::Uuid;

pub(super) const FLOORS: &str = "floors";
pub(super) const UNLISTED: &[u8] = b"w";
/// The highest floor that there ever was: it stays when a copy is lost, and its floor with it.
pub(super) const HIGHEST: &[u8] = b"h";
pub(super) const STORE_ID: &[u8] = b"i";
pub(super) const RECORD: &[u8] = b"mrecord";
pub(super) const PROMISE: &[u8] = b"mpromise";
pub(super) const TALLY: &[u8] = b"mtally";
pub(super) const STREAMS: &[u8] = b"s";
pub(super) const ROWS: &[u8] = b"r";
pub(super) const PIECES: &[u8] = b"v";

const ROW_HEAD: usize = 25;
const KIND_TOMBSTONE: u8 = 0;
const KIND_INLINE: u8 = 1;
const KIND_PIECES: u8 = 2;

/// The name of a copy's tree.
pub(super) fn tree_name(tablet: TabletId, copy: CopyId) -> String {
    format!("t/{:016x}/{:08x}{:016x}", tablet.as_u64(), copy.0.era(), copy.0.counter())
}

/// Whose tree this is; `None` for a name that is no copy's.
pub(super) fn parse_tree_name(name: &[u8]) -> Option<(TabletId, CopyId)> {
    let (tablet, copy) = std::str::from_utf8(name).ok()?.strip_prefix("t/")?.split_once('/')?;
    let (era, counter) = copy.split_at_checked(8)?;
    let tablet = TabletId::from_u64(u64::from_str_radix(tablet, 16).ok()?)?;
    let era = u32::from_str_radix(era, 16).ok()?;
    let counter = u64::from_str_radix(counter, 16).ok()?;
    let copy = CopyId(TopologyVersion::from_parts(era, counter));
    // Numbers can be written in several ways; a tree has one name.
    (tree_name(tablet, copy).as_bytes() == name).then_some((tablet, copy))
}

/// The first key that is above each row's.
pub(super) fn after_rows() -> Vec<u8> {
    ROWS.iter().map(|byte| byte + 1).collect()
}

pub(super) fn row_key(position: &[u8]) -> Vec<u8> {
    [ROWS, position].concat()
}

pub(super) fn stream_key(source: NodeId) -> Vec<u8> {
    [STREAMS, &source.as_u64().to_be_bytes()].concat()
}

fn piece_key(position: &[u8], piece: usize) -> Vec<u8> {
    // As a key never has as many pieces as u16 counts, the cast is exact.
    [PIECES, position, &(piece as u16).to_be_bytes()].concat()
}
const _: () = assert!(VALUE_BYTES / PIECE_BYTES < u16::MAX as usize);

pub(super) fn encode_version(version: TopologyVersion) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&version.era().to_be_bytes());
    bytes[4..].copy_from_slice(&version.counter().to_be_bytes());
    bytes
}

pub(super) fn decode_version(bytes: &[u8]) -> Result<TopologyVersion, StoreError> {
    let mut reader = Reader(bytes);
    let version = reader.version()?;
    reader.end(version)
}

pub(super) fn encode_record(record: &TabletRecord) -> Vec<u8> {
    proto::types::v1::TabletRecord::from(record).encode_to_vec()
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<TabletRecord, StoreError> {
    let message = proto::types::v1::TabletRecord::decode(bytes);
    let message = message.map_err(|error| StoreError::damaged(format!("record: {error}")))?;
    let record = TabletRecord::try_from(message);
    record.map_err(|error| StoreError::damaged(format!("record: {error}")))
}

pub(super) fn decode_time(bytes: &[u8]) -> Result<HybridTime, StoreError> {
    let mut reader = Reader(bytes);
    let time = HybridTime(reader.u64()?);
    reader.end(time)
}

pub(super) fn encode_tally(tally: &Tally) -> Vec<u8> {
    let Tally { changes, rows, bytes, sum, notes } = tally;
    let numbers = [changes, rows, bytes].map(|number| number.to_be_bytes()).concat();
    [&numbers[..], &sum.0.to_be_bytes(), &notes.0.to_be_bytes()].concat()
}

pub(super) fn decode_tally(bytes: &[u8]) -> Result<Tally, StoreError> {
    let mut reader = Reader(bytes);
    let (changes, rows, bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (sum, notes) = (reader.sum()?, reader.sum()?);
    reader.end(Tally { changes, rows, bytes, sum, notes })
}

/// Refuses a row that the layout has no room for.
pub(super) fn check_size(position: &[u8], row: &RowVersion) -> Result<(), TooLarge> {
    let value = row.value.as_ref().map_or(0, Vec::len);
    if position.len() > POSITION_BYTES {
        let bytes = position.len();
        return Err(TooLarge { what: "position", bytes, limit: POSITION_BYTES });
    }
    if value > VALUE_BYTES {
        return Err(TooLarge { what: "value", bytes: value, limit: VALUE_BYTES });
    }
    Ok(())
}

/// Puts a row into a batch, in place of the one whose stored form is `before`.
pub(super) fn insert_row(
    batch: &mut sled::Batch,
    position: &[u8],
    row: &RowVersion,
    before: Option<&[u8]>,
) -> Result<(), StoreError> {
    let old_pieces = before.map_or(Ok(0), piece_count)?;
    let head = encode_head(row);
    let new_pieces = piece_count(&head)?;
    if let Some(value) = row.value.as_deref().filter(|_| new_pieces > 0) {
        for (number, piece) in value.chunks(PIECE_BYTES).enumerate() {
            batch.insert(piece_key(position, number), piece);
        }
    }
    for number in new_pieces..old_pieces {
        batch.remove(piece_key(position, number));
    }
    batch.insert(row_key(position), head);
    Ok(())
}

/// The stored form of a row, without its pieces.
pub(super) fn encode_head(row: &RowVersion) -> Vec<u8> {
    let value = row.value.as_deref();
    let inline = value.filter(|value| value.len() <= PIECE_BYTES);
    let mut head = Vec::with_capacity(ROW_HEAD + inline.map_or(4, <[u8]>::len));
    head.extend_from_slice(&row.timestamp.time.0.to_be_bytes());
    head.extend_from_slice(row.timestamp.router.as_uuid().as_bytes());
    match (value, inline) {
        (None, _) => head.push(KIND_TOMBSTONE),
        (Some(_), Some(value)) => {
            head.push(KIND_INLINE);
            head.extend_from_slice(value);
        }
        (Some(value), None) => {
            head.push(KIND_PIECES);
            // `check_size` came first, so that the length fits.
            head.extend_from_slice(&(value.len() as u32).to_be_bytes());
        }
    }
    head
}

/// Takes a row, whose stored form is `stored`, away in a batch.
pub(super) fn remove_row(
    batch: &mut sled::Batch,
    position: &[u8],
    stored: &[u8],
) -> Result<(), StoreError> {
    for number in 0..piece_count(stored)? {
        batch.remove(piece_key(position, number));
    }
    batch.remove(row_key(position));
    Ok(())
}

/// Reads a row from its stored form; its pieces come from the tree.
pub(super) fn decode_row(
    tree: &sled::Tree,
    position: &[u8],
    stored: &[u8],
) -> Result<RowVersion, StoreError> {
    let mut reader = Reader(stored);
    let time = HybridTime(reader.u64()?);
    let router = RouterId::from_uuid(reader.uuid()?);
    let router = router.ok_or_else(|| StoreError::damaged("row: nil router"))?;
    let timestamp = Timestamp { time, router };
    let value = match reader.u8()? {
        KIND_TOMBSTONE => None,
        KIND_INLINE => Some(reader.rest().to_vec()),
        KIND_PIECES => Some(read_pieces(tree, position, piece_count(stored)?, &mut reader)?),
        kind => return Err(StoreError::damaged(format!("row: kind {kind}"))),
    };
    reader.end(RowVersion { timestamp, value })
}

fn read_pieces(
    tree: &sled::Tree,
    position: &[u8],
    count: usize,
    reader: &mut Reader<'_>,
) -> Result<Vec<u8>, StoreError> {
    let length = reader.u32()? as usize;
    if length <= PIECE_BYTES {
        return Err(StoreError::damaged("row: pieces of what needs none"));
    }
    let mut value = Vec::with_capacity(length.min(VALUE_BYTES));
    for number in 0..count {
        let piece = tree.get(piece_key(position, number))?;
        let piece = piece.ok_or_else(|| StoreError::damaged("row: a piece is missing"))?;
        value.extend_from_slice(&piece);
    }
    if value.len() != length {
        return Err(StoreError::damaged("row: its pieces have another length"));
    }
    Ok(value)
}

fn piece_count(stored: &[u8]) -> Result<usize, StoreError> {
    if stored.get(ROW_HEAD - 1) != Some(&KIND_PIECES) {
        return Ok(0);
    }
    let length = Reader(&stored[ROW_HEAD..]).u32()? as usize;
    Ok(length.div_ceil(PIECE_BYTES))
}

pub(super) fn encode_stream(stream: &StreamOnRecord) -> Vec<u8> {
    let StreamOnRecord { session, call, migration, source_copy, state, progress } = stream;
    let Progress { after, rows, bytes, sum } = progress;
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(session.as_uuid().as_bytes());
    out.extend_from_slice(&call.to_be_bytes());
    out.extend_from_slice(migration.as_uuid().as_bytes());
    out.extend_from_slice(&encode_version(source_copy.0));
    out.push(match state {
        StreamState::Running => 0,
        StreamState::Complete => 1,
        StreamState::Failed => 2,
    });
    out.extend_from_slice(&rows.to_be_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(&sum.0.to_be_bytes());
    if let Some(after) = after {
        out.push(1);
        out.extend_from_slice(after);
    }
    out
}

pub(super) fn decode_stream(bytes: &[u8]) -> Result<StreamOnRecord, StoreError> {
    let mut reader = Reader(bytes);
    let nil = || StoreError::damaged("stream: nil id");
    let session = SessionId::from_uuid(reader.uuid()?).ok_or_else(nil)?;
    let call = reader.u64()?;
    let migration = MigrationId::from_uuid(reader.uuid()?).ok_or_else(nil)?;
    let source_copy = CopyId(reader.version()?);
    let state = match reader.u8()? {
        0 => StreamState::Running,
        1 => StreamState::Complete,
        2 => StreamState::Failed,
        state => return Err(StoreError::damaged(format!("stream: state {state}"))),
    };
    let (rows, bytes) = (reader.u64()?, reader.u64()?);
    let sum = reader.sum()?;
    let after: Option<Position> = match reader.rest() {
        [] => None,
        [1, after @ ..] => Some(after.to_vec()),
        [mark, ..] => return Err(StoreError::damaged(format!("stream: mark {mark}"))),
    };
    let progress = Progress { after, rows, bytes, sum };
    reader.end(StreamOnRecord { session, call, migration, source_copy, state, progress })
}

/// Reads fields one after the other; too short, or too long, is damage.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (head, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| StoreError::damaged("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn sum(&mut self) -> Result<RowSum, StoreError> {
        Ok(RowSum(u128::from_be_bytes(self.take()?)))
    }

    fn uuid(&mut self) -> Result<Uuid, StoreError> {
        Ok(Uuid::from_bytes(self.take()?))
    }

    fn version(&mut self) -> Result<TopologyVersion, StoreError> {
        Ok(TopologyVersion::from_parts(self.u32()?, self.u64()?))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end<T>(self, read: T) -> Result<T, StoreError> {
        if self.0.is_empty() { Ok(read) } else { Err(StoreError::damaged("more than expected")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_names_are_read_back() {
        let tablet = TabletId::from_u64(0x1234_5678_9abc).expect("not zero");
        let copy = CopyId(TopologyVersion::from_parts(7, 99));
        assert_eq!(parse_tree_name(tree_name(tablet, copy).as_bytes()), Some((tablet, copy)));
        for other in ["floors", "t/", "t/1", "t/1/2", "t/x/0000000700000000000000ff", "t/é/ééééé"]
        {
            assert_eq!(parse_tree_name(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_cut_or_padded_entry_is_damage() {
        let version = encode_version(TopologyVersion::from_parts(1, 2));
        assert_eq!(decode_version(&version), Ok(TopologyVersion::from_parts(1, 2)));
        assert!(matches!(decode_version(&version[..11]), Err(StoreError::Damaged { .. })));
        let longer = [&version[..], &[0]].concat();
        assert!(matches!(decode_version(&longer), Err(StoreError::Damaged { .. })));
    }
}
