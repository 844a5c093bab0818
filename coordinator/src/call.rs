//! The call that a task answers: until when, and whether anything was proposed for it. It goes with
//! the task, so that whatever waits on the way ends in time, with a reason of its own.
//!
//! Not here: where calls come in, and what is answered when nobody has answered (`admin/calls.rs`).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// A call under way. Clones are the same call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    until: Instant,
    proposed: Arc<AtomicBool>,
}

tokio::task_local! {
    static CALL: Call;
}

impl Call {
    /// A call that is to be answered by then.
    pub(crate) fn new(until: Instant) -> Call {
        Call { until, proposed: Arc::default() }
    }

    /// What is awaited belongs to this call.
    pub(crate) async fn scope<F: Future>(self, answer: F) -> F::Output {
        CALL.scope(self, answer).await
    }

    /// Whether anything may have been proposed for it.
    pub(crate) fn has_proposed(&self) -> bool {
        self.proposed.load(Ordering::SeqCst)
    }
}

/// Until when to wait: no longer than the caller of the call under way, if there is one.
pub(crate) fn until(latest: Instant) -> Instant {
    CALL.try_with(|call| call.until.min(latest)).unwrap_or(latest)
}

/// From here on something may be proposed for the call under way.
pub(crate) fn proposes() {
    // What is not for a call has no outcome to tell.
    let _ = CALL.try_with(|call| call.proposed.store(true, Ordering::SeqCst));
}
