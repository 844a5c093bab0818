//! Every bound of a coordinator, in one place. Relations between them are proved here.

use std::time::Duration;
use tls::Bounds;

/// Commands in one entry of the log.
pub(crate) const ENTRY_COMMANDS: usize = 1_024;
/// Bytes of commands in one entry.
pub(crate) const ENTRY_BYTES: usize = 8 << 20;
/// Entries that are being committed at a time; more would only make smaller batches.
pub(crate) const PROPOSALS_IN_FLIGHT: usize = 4;
/// Commands that wait for a place in an entry.
pub(crate) const PROPOSALS_QUEUED: usize = 16_384;
/// A command that has waited this long for a place in an entry is not proposed any more.
pub(crate) const QUEUE_DEADLINE: Duration = Duration::from_secs(10);
/// After this an entry that was proposed has an unknown outcome.
pub(crate) const PROPOSAL_DEADLINE: Duration = Duration::from_secs(10);
/// Orders that wait to be sent to one agent. An agent that lets them pile up is detached, and
/// gets a full state when it attaches again.
pub(crate) const ORDERS_QUEUED: usize = 4_096;
/// Records in one message to an agent.
pub(crate) const RECORDS_PER_MESSAGE: usize = 256;
/// What agents report waits here for the driver.
pub(crate) const EVENTS_QUEUED: usize = 4_096;
/// A coordinator says within this who it is.
pub(crate) const IDENTIFY_DEADLINE: Duration = Duration::from_secs(1);
/// The leader takes note of where a member is within this.
pub(crate) const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(3);
/// Members of group0, those without a vote included.
pub(crate) const MEMBERS_MAX: usize = 9;
/// Entries that a member without a vote may lack, and yet get one: it has the rest before anything
/// waits for it.
pub(crate) const LEARNER_LAG: u64 = 100;
/// Proposals that are under way at the end are waited for this long.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);
/// Another one leads within this, if leadership was handed over.
pub(crate) const TRANSFER_PATIENCE: Duration = Duration::from_secs(1);
/// A whole snapshot comes within this.
pub(crate) const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked whether a cluster can begin.
pub(crate) const BEGIN_INTERVAL: Duration = Duration::from_millis(50);
/// How often the driver looks at the time.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// An agent that attaches says who it is within this.
pub(crate) const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// An agent works off its full state within this, or is detached.
pub(crate) const FULL_STATE_DEADLINE: Duration = Duration::from_secs(60);
/// Longest deadline of a unary call.
pub(crate) const CALL_DEADLINE_MAX: Duration = Duration::from_secs(60);
/// A call is answered earlier than its deadline by this part of it,
pub(crate) const CALL_MARGIN_PART: u32 = 10;
/// and no more than this: time for the answer to arrive in.
pub(crate) const CALL_MARGIN_MAX: Duration = Duration::from_millis(200);
/// A question to an agent (purge, digest) is answered within this.
pub(crate) const ASK_DEADLINE: Duration = Duration::from_secs(30);
/// Largest message that is taken.
pub(crate) const MESSAGE_BYTES: usize = 4 << 20;
/// Watches that may be open at a time.
pub(crate) const WATCHES: usize = 1_024;
/// A watch says that it is alive this often.
pub(crate) const WATCH_HEARTBEAT: Duration = Duration::from_secs(5);
/// A watcher that takes nothing for this long has gone, and its place is free.
pub(crate) const WATCH_PATIENCE: Duration = Duration::from_secs(30);
/// A watch of migrations says this often how far streams are.
pub(crate) const WATCH_PROGRESS: Duration = Duration::from_millis(500);
/// A snapshot file goes out in parts of this size.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Parts that wait for a reader that is slow.
pub(crate) const SNAPSHOT_CHUNKS_QUEUED: usize = 4;
/// Rows of a page, where the caller doesn't say.
pub(crate) const PAGE_SIZE_DEFAULT: usize = 100;
/// Most rows of a page.
pub(crate) const PAGE_SIZE_MAX: usize = 1_000;
/// The balancer looks at least this often whether there is something to do.
pub(crate) const BALANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a leader looks whether everybody reads a higher feature level.
pub(crate) const LEVEL_INTERVAL: Duration = Duration::from_secs(1);
/// The least time from one plan to the next.
pub(crate) const BALANCE_AGAIN: Duration = Duration::from_millis(50);
/// Moves of one plan.
pub(crate) const BALANCE_MOVES: usize = 256;
/// Longest reason or note that is taken, in bytes.
pub(crate) const REASON_MAX: usize = 1_024;
/// A request id may be this far ahead of the leader's clock.
pub(crate) const REQUEST_ID_AHEAD: Duration = Duration::from_secs(300);
/// Clocks of coordinators that are further apart are an alarm.
pub(crate) const CLOCK_BOUND: Duration = Duration::from_secs(1);
/// A leader whose clock is so far from most others' has another one lead: well below what makes it
/// refuse the request ids of others.
pub(crate) const CLOCK_BOUND_OF_LEADER: Duration = Duration::from_secs(60);
/// What a clock said counts for so long: every heartbeat's answer says it anew, and who is dead or was
/// heard in an earlier leadership says nothing of now.
pub(crate) const CLOCK_STALE: Duration = Duration::from_secs(10);
/// How often a leader looks whether its clock is the odd one.
pub(crate) const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(CLOCK_BOUND_OF_LEADER.as_secs() < REQUEST_ID_AHEAD.as_secs());
const _: () = assert!(
    (QUEUE_DEADLINE.as_millis() + PROPOSAL_DEADLINE.as_millis()) < CALL_DEADLINE_MAX.as_millis()
);
const _: () = assert!(ASK_DEADLINE.as_millis() < CALL_DEADLINE_MAX.as_millis());
/// Longest text that is kept of what an agent says of its disk.
pub(crate) const DISK_DETAIL_BYTES: usize = 256;
/// Connections to one port, and how long each may take until it asks for something.
pub(crate) const CONNECTIONS: Bounds =
    Bounds { strangers: 1_024, known: 2_048, greeting: Duration::from_secs(10) };
/// Ports whose connections share the descriptors of the process.
pub(crate) const PORTS: usize = 3;
/// Calls at a time over one connection: as many as there may be watches.
pub(crate) const CALLS_PER_CONNECTION: u32 = 1_024;
/// What all calls of one connection may have sent that nobody has taken yet.
pub(crate) const WINDOW_BYTES: u32 = 1 << 20;
/// Longest header of a call.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;
/// How often a silent connection is asked whether its other end is there: also one in the middle of
/// a header that doesn't end.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the answer to that may take.
pub(crate) const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(5);
