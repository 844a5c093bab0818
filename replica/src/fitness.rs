//! Whether this node can do what an agent has to: make floors durable, end guards, drop copies.
//!
//! One that finds that it can't is *unfit*: it gives up its lease, so that a leader may fence it and
//! nothing waits for it, says why, and goes on serving data. It asks to be admitted again only once
//! a probe shows that it can.
//!
//! Not here: the probe (`tablets`), saying it (`attach`), the leader's own view of who is unfit.

use crate::sessions::Sessions;
use proto::reasons::Reason;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a node is unfit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this node is unfit: {reason}: {detail}")]
pub struct Unfit {
    /// On the closed list.
    pub reason: Reason,
    /// For people. Holds no keys and no values.
    pub detail: String,
}

/// Whether this node is fit, and since when it is not, why.
#[derive(Debug)]
pub struct Fitness {
    unfit: watch::Sender<Option<Unfit>>,
    sessions: Arc<Sessions>,
}

impl Fitness {
    /// Fit, until something shows otherwise; the lease is that of these sessions.
    pub fn new(sessions: Arc<Sessions>) -> Fitness {
        Fitness { unfit: watch::Sender::new(None), sessions }
    }

    /// Why it is unfit; `None` while it is fit.
    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit.borrow().clone()
    }

    /// Tells when it becomes unfit, or fit again.
    pub fn changes(&self) -> watch::Receiver<Option<Unfit>> {
        self.unfit.subscribe()
    }

    /// It can't do what it has to: the lease is given up, and all work under it told to stop. What
    /// was found first stays the reason.
    pub(crate) fn found_unfit(&self, reason: Reason, detail: &str) {
        let is_new = self.unfit.send_if_modified(|unfit| {
            let is_new = unfit.is_none();
            unfit.get_or_insert_with(|| Unfit { reason, detail: detail.to_owned() });
            is_new
        });
        if is_new {
            self.sessions.lease().give_up();
            self.sessions.fire_all();
            tracing::error!(%reason, detail,
                "this node is unfit: it gives up its lease, and goes on serving data");
        }
    }

    /// A probe has shown that it can again. The lease comes back with an admission only.
    pub(crate) fn recovered(&self) {
        if self.unfit.send_replace(None).is_some() {
            tracing::info!("this node is fit again");
        }
    }
}
