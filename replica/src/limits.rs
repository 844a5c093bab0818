//! What is bounded in an agent, and how the bounds hang together. Units are in the names.

use std::time::Duration;
use tls::Bounds;

/// Longest key of a row.
pub const KEY_BYTES: usize = 4 << 10;
/// Longest position: the hash in front of a key, and the key.
pub const POSITION_BYTES: usize = KEY_BYTES + 8;
/// Longest value of a row.
pub const VALUE_BYTES: usize = 1 << 20;
/// Most rows that one slice of a purge looks at under the tablet's lock.
pub const PURGE_SLICE_ROWS: usize = 1_000;
/// Most rows that one page of a scan gives.
pub const SCAN_ROWS: usize = 10_000;
/// Most admission tokens that a directory holds: those of processes that never learned whether
/// they were admitted.
pub const TOKENS: usize = 64;
/// Most records of a full state that are taken on at one time, to share one sync.
pub const TAKE_ON_AT_ONCE: usize = 256;
/// What is given up when the disk is full, so that floors can still be written.
pub const BALLAST_BYTES: u64 = 16 << 20;
/// Below this much free space rows are refused; floors are not.
pub const RESERVE_BYTES: u64 = 32 << 20;
/// A stream reserves one part in so many more than its rows are long.
pub const ROOM_BESIDE: u64 = 4;
/// Copies whose sizes a renewal of the lease says.
pub const SIZES_A_RENEWAL: usize = 256;
/// A disk that has failed rows is not taken for well again before so long without another failure.
pub const DISK_TROUBLE_LASTS: Duration = Duration::from_secs(60);
/// How often the free space is looked at, at the most.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// Connections to one port, and how long each may take until it asks for something.
pub const CONNECTIONS: Bounds =
    Bounds { strangers: 1_024, known: 2_048, greeting: Duration::from_secs(10) };
/// Ports whose connections share the descriptors of the process.
pub(crate) const PORTS: usize = 2;
/// Calls at a time over one connection.
pub(crate) const CALLS_PER_CONNECTION: u32 = 1_024;
/// What all calls of one connection may have sent that nobody has taken yet. Bulk goes the other
/// way: a stream's rows are an answer.
pub(crate) const WINDOW_BYTES: u32 = 1 << 20;
/// Longest header of a call.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;

/// Segment of the row store's log. What is longer than a quarter of it goes to files of its own,
/// which the store doesn't sync.
pub(crate) const SEGMENT_BYTES: usize = 2 << 20;
/// Most bytes of rows that are written ahead of a sync: a few segments.
pub(crate) const UNSYNCED_BYTES: u64 = 3 * SEGMENT_BYTES as u64;
/// Longest piece of a value in one entry.
pub(crate) const PIECE_BYTES: usize = 20 << 10;
/// Most entries of one page of the row store: it splits a page that has more than 16.
const PAGE_ENTRIES: usize = 18;
// A page of the longest entries stays inline in the log.
const _: () = assert!(PAGE_ENTRIES * (PIECE_BYTES + POSITION_BYTES + 64) < SEGMENT_BYTES / 4 - 64);
const _: () = assert!(BALLAST_BYTES < RESERVE_BYTES);

/// Most bytes that one page of a scan gives.
pub const SCAN_BYTES: usize = 2 << 20;
/// What an agent has to say waits here for its connection.
pub const EVENTS_QUEUED: usize = 1_024;
/// Orders that are performed at a time; more wait.
pub const ORDERS_AT_ONCE: usize = 4_096;
/// Orders that wait for a place among these. While there are more, none is read.
pub const ORDERS_WAITING: usize = 16_384;
/// The first pause before attaching again; it doubles.
pub const ATTACH_BACKOFF: Duration = Duration::from_millis(50);
/// The longest pause before attaching again.
pub const ATTACH_BACKOFF_MAX: Duration = Duration::from_millis(300);
/// How often in a row an agent goes where a coordinator says that the leader is, without a pause.
pub const HINTS_IN_A_ROW: u32 = 4;
/// A coordinator takes the connection, and the attachment, within this, or another is tried.
pub const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// The next message of a greeting stands for a commit of group0: it is waited for so much longer
/// than leases and drains may take.
pub const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// How long the note that a call failed may hold its report up, and the last word of a source.
pub const NOTE_PATIENCE: Duration = Duration::from_secs(1);
// The tasks of a stream that has failed are joined within 2 s, whatever its peer and its disk do:
// nothing else is waited for after it.
const _: () = assert!(2 * NOTE_PATIENCE.as_millis() <= 2_000);
/// A receiver says within this how a stream stands.
pub const OUTCOME_DEADLINE: Duration = Duration::from_secs(2);
/// How long calls, and then streams and the last sync, may take at the end.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);
/// How often a barrier that waits says who holds it up.
pub const WAITING_REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// A request with a newer version than the tablet's here waits for it no longer than this, and no
/// longer than a quarter of its deadline.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// Between two slices of a purge, so that requests come in.
pub const PURGE_PAUSE: Duration = Duration::from_millis(1);
/// Coordinators that are remembered beside those that were given.
pub const COORDINATORS_MAX: usize = 16;
/// How long a store that is opened waits for an earlier one of the same process to be gone.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it is.
pub const LOCK_LOOK_INTERVAL: Duration = Duration::from_millis(5);
