//! Every bound of this crate, in one place.

use std::time::Duration;

/// A coordinator or agent must take a connection within this.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection whose other end is silent is asked for a sign of life this often.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// And is given up when none comes within this.
pub(crate) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody has used for this long is asked for a sign of life before a change goes
/// over it: one that has died without a word would leave the outcome unknown.
pub(crate) const IDLE_CHECKED: Duration = Duration::from_secs(1);
/// And is made anew when none comes within this.
pub(crate) const IDLE_ANSWER: Duration = Duration::from_secs(1);
/// Bytes in flight on one HTTP/2 stream.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes in flight on one HTTP/2 connection.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest HTTP/2 frame that is taken.
pub(crate) const FRAME_SIZE: u32 = 1 << 20;

/// An admin call in all, with every try.
pub(crate) const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
/// One try of an admin call: two of them pass, and a third is left, before a caller with ten
/// seconds gives up on a coordinator that takes connections and answers nothing. A change that is
/// proposed late is found by its id.
pub(crate) const ADMIN_TRY: Duration = Duration::from_secs(3);
/// The first pause between two tries of an admin call; it doubles.
pub(crate) const ADMIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
pub(crate) const ADMIN_PAUSE_MAX: Duration = Duration::from_millis(400);
/// Hints that are followed without a pause; then it is assumed that nobody knows the leader.
pub(crate) const HINTS_IN_A_ROW: u32 = 2;
/// Coordinators that are remembered beside those that were given.
pub(crate) const LEARNED_MAX: usize = 16;
/// Rows of a page in a listing.
pub(crate) const PAGE_ROWS: u32 = 200;
/// After this long without a coordinator a router says why it does not know the topology.
pub(crate) const WATCH_PATIENCE: Duration = Duration::from_millis(500);
/// A watch without so much as a heartbeat for this long is begun anew.
pub(crate) const WATCH_IDLE: Duration = Duration::from_secs(15);

/// An operation of a router in all, with every attempt.
pub(crate) const DATA_DEADLINE: Duration = Duration::from_secs(10);
/// One attempt of it.
pub(crate) const DATA_ATTEMPT: Duration = Duration::from_secs(3);
/// The first pause between two attempts; it doubles.
pub(crate) const DATA_PAUSE: Duration = Duration::from_millis(10);
/// The longest.
pub(crate) const DATA_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Rows that one replica is asked for in a scan.
pub(crate) const SCAN_ROWS: u32 = 1_000;
/// Bytes that one replica is asked for in a scan; a message with one more row stays in bounds.
pub(crate) const SCAN_BYTES: u32 = 1 << 20;
/// A write that a majority has acknowledged waits for the other replicas as long as that took,
/// times this,
pub(crate) const STRAGGLER_FACTOR: u32 = 4;
/// and no longer than this.
pub(crate) const STRAGGLER_PATIENCE: Duration = Duration::from_millis(20);

const _: () = assert!(IDLE_ANSWER.as_millis() < ADMIN_TRY.as_millis());
const _: () = assert!(ADMIN_TRY.as_millis() < ADMIN_DEADLINE.as_millis());
const _: () = assert!(DATA_ATTEMPT.as_millis() < DATA_DEADLINE.as_millis());
