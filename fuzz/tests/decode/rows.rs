//! The rows of a chunk: the only bytes of a stream that are no protobuf.

use super::examples::uuid;
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::RouterId;
use migrations::position::Position;
use migrations::row::{RowSum, RowVersion};
use palisade_fuzz::target;
use replica::stream::codec::{CHUNK_BYTES, pack, unpack, unpack_all};

/// Rows have one form: what was read is packed into the bytes that it was read from.
fn chunk(bytes: &[u8]) {
    let in_place: Result<Vec<_>, _> = unpack(bytes).collect();
    let rows = unpack_all(bytes);
    let mut summed = RowSum::default();
    for row in in_place.iter().flatten() {
        summed.add_encoded(row.encoded);
    }
    assert_eq!(in_place.map(|rows| rows.len()), rows.as_ref().map(Vec::len).map_err(|bad| *bad));
    let Ok(rows) = rows else { return };
    assert!(rows.len() == 1 || bytes.len() <= CHUNK_BYTES);
    let mut sum = RowSum::default();
    let packed = pack(&rows, &mut sum);
    assert_eq!((packed.rows, packed.bytes.as_ref(), sum), (rows.len(), bytes, summed));
}

fn chunks() -> Vec<Vec<u8>> {
    let row = |n: usize| -> (Position, RowVersion) {
        let router = RouterId::from_uuid(uuid(7 + n as u128)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(n as u64), router };
        let value = (!n.is_multiple_of(3)).then(|| vec![n as u8; n * 7]);
        (vec![b'k'; n], RowVersion { timestamp, value })
    };
    let rows: Vec<_> = (0..9).map(row).collect();
    let chunk = |rows: &[(Position, RowVersion)]| pack(rows, &mut RowSum::default()).bytes.to_vec();
    rows.chunks(1).chain(rows.chunks(4)).chain([rows.as_slice()]).map(chunk).collect()
}

target!(a_chunk, chunk, chunks);
