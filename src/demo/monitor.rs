//! What happens to the cluster while a demonstration runs: leaders that change, nodes that are
//! fenced. Seen by asking, often.

use client::AdminClient;
use proto::admin::v1 as pb;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the cluster is asked.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// How often somebody else began to lead, or the same one anew.
    pub(super) failovers: u64,
    /// How many incarnations were seen to be fenced. One that a later process of its node has
    /// followed without a fence is none of these.
    pub(super) fences: u64,
    term: u64,
    nodes: BTreeMap<u64, (Incarnation, bool)>,
}

type Incarnation = Option<(u32, u64)>;

/// Asks until it is dropped.
pub(super) struct Monitor {
    seen: Arc<Mutex<Seen>>,
    asking: JoinHandle<()>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Monitor {
    pub(super) fn start(admin: AdminClient) -> Monitor {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let writes = Arc::clone(&seen);
        let asking = tokio::spawn(async move {
            loop {
                // While nobody leads there is nothing to see.
                if let Ok(status) = admin.status().await {
                    writes.lock().unwrap_or_else(PoisonError::into_inner).take(&status);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Monitor { seen, asking }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seen {
    fn take(&mut self, status: &pb::GetStatusResponse) {
        if status.leader != 0 && status.term > self.term {
            self.failovers += u64::from(self.term != 0);
            self.term = status.term;
        }
        for node in &status.nodes {
            let incarnation = node.incarnation.map(|version| (version.era, version.counter));
            let is_fenced = node.state() == pb::NodeState::Fenced;
            let before = self.nodes.insert(node.id, (incarnation, is_fenced));
            let is_known = before == Some((incarnation, true));
            self.fences += u64::from(is_fenced && !is_known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1::TopologyVersion;

    fn status(term: u64, incarnation: u64, state: pb::NodeState) -> pb::GetStatusResponse {
        let incarnation = Some(TopologyVersion { era: 0, counter: incarnation });
        let node = pb::Node { id: 1, incarnation, state: state.into(), ..Default::default() };
        pb::GetStatusResponse { leader: 1, term, nodes: vec![node], ..Default::default() }
    }

    #[test]
    fn each_leadership_and_each_fence_counts_once() {
        use pb::NodeState::{Admitted, Fenced};
        let mut seen = Seen::default();
        let mut take = |term, incarnation, state| {
            seen.take(&status(term, incarnation, state));
            (seen.failovers, seen.fences)
        };
        assert_eq!(take(3, 1, Admitted), (0, 0));
        assert_eq!(take(3, 1, Admitted), (0, 0));
        assert_eq!(take(4, 1, Admitted), (1, 0));
        assert_eq!(take(4, 1, Fenced), (1, 1));
        assert_eq!(take(4, 1, Fenced), (1, 1));
        assert_eq!(take(4, 2, Admitted), (1, 1), "it was fenced before");
        assert_eq!(take(4, 3, Admitted), (1, 1), "nobody was fenced");
        assert_eq!(take(4, 4, Fenced), (1, 2));
        assert_eq!(take(6, 4, Admitted), (2, 2));
    }
}
