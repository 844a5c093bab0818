//! Streams between agents: the node that needs a tablet's rows calls, the one that has them
//! streams. One call for each (session, source, receiver), for ever.
//!
//! ```text
//! codec      rows as a chunk holds them
//! rate       the bound on bytes a second
//! transport  how connections are tuned
//! failure    why a stream failed, told apart where it arises
//! cuts       streams out, by peer: so that they can be cut
//! feed       a source's rows, page by page
//! serve      the service: who is served what
//! source     the source's end of one call
//! write      a chunk's way into the store
//! pipe       what one call has received and not stored
//! call       the receiver's end of one call
//! record     what is put on record of a call
//! pull       orders to pull, and what is reported
//! outcome    asking a receiver for its record
//! ```
//!
//! What a message means in which state is decided in `migrations::pull`. Not here: which streams
//! there are to be (`migrations::streams`), the attachment that orders and is reported to.

pub mod codec;
pub mod rate;
pub mod transport;
mod cuts;
mod failure;
mod feed;
#[cfg(test)]
mod fuzz;
mod serve;
mod source;
mod write;
mod pipe;
mod call;
mod record;
#[cfg(feature = "faults")]
mod hold;
mod pull;
mod outcome;

pub use cuts::Cuts;
pub use failure::{Failure, Origin};
pub use outcome::{Outcome, OutcomeQuery, ask_outcome};
pub use pull::{PullOrder, Puller, StreamEvent, StreamId};
pub use rate::Throttle;
pub use serve::StreamApi;

use migrations::id::{ClusterId, NodeId};
use migrations::lease::Instant;
use migrations::pull::Bounds;
use migrations::version::Incarnation;
use std::time::Duration;
use tls::{Dial, Kind};
use tonic::Status;

/// As whom this process was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// To which cluster.
    pub cluster: ClusterId,
    /// As which node.
    pub node: NodeId,
    /// Under which incarnation.
    pub incarnation: Incarnation,
}

/// What a stream has to know of the node that it is on.
pub trait Standing: Send + Sync + std::fmt::Debug + 'static {
    /// As whom this process was admitted; `None` while it is not.
    fn own(&self) -> Option<Own>;

    /// Where others reach this node's streams, `host:port`; empty: nowhere.
    fn address(&self) -> String {
        String::new()
    }

    /// How long an end waits for the other.
    fn bounds(&self) -> Bounds;

    /// How it dials another node's agent.
    fn dial(&self, _node: NodeId) -> Dial {
        Dial::new(None, Kind::Agent)
    }

    /// Refuses the call that is being answered, if it isn't this node's agent that makes it: a
    /// session's id is no secret.
    fn is_caller(&self, _node: NodeId) -> Result<(), Status> {
        Ok(())
    }

    /// The fault switches of the node; all off, where it has none.
    #[cfg(feature = "faults")]
    fn faults(&self) -> std::sync::Arc<crate::faults::Faults> {
        std::sync::Arc::default()
    }
}

/// Most streams out of a node, and most into it, at one time. What group0 allows is far less and
/// is kept by the coordinator; this keeps an agent whole whatever is asked of it.
const STREAMS: usize = 64;
/// Chunks that may be between two steps: read and not sent, received and not stored.
const CHUNKS_IN_FLIGHT: usize = 4;

/// The time of one call, as its machine counts it.
#[derive(Debug, Clone, Copy)]
struct CallClock(tokio::time::Instant);

impl CallClock {
    fn start() -> CallClock {
        CallClock(tokio::time::Instant::now())
    }

    fn now(self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns at that time; never, if there is none.
    async fn reaches(self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => {
                tokio::time::sleep_until(self.0 + Duration::from_nanos(deadline.0)).await;
            }
            None => std::future::pending().await,
        }
    }
}
