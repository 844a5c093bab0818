//! Streams out of this node, by the node at the other end: so that they can be cut by order, where
//! a peer that is gone without a word keeps a guard, and with it a barrier.

use crate::lock::locked;
use migrations::id::NodeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// The open ones. A handle: clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct Cuts {
    inner: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, (NodeId, CancellationToken)>,
}

/// One stream's place among them; it goes with the stream.
#[derive(Debug)]
pub(crate) struct Cut {
    number: u64,
    token: CancellationToken,
    cuts: Cuts,
}

impl Cuts {
    /// Takes a stream to this peer in.
    pub(crate) fn enlist(&self, peer: NodeId) -> Cut {
        let mut open = locked(&self.inner);
        let (number, token) = (open.next, CancellationToken::new());
        open.next += 1;
        open.streams.insert(number, (peer, token.clone()));
        Cut { number, token, cuts: self.clone() }
    }

    /// Tells all streams to this peer to end; how many there are.
    pub(crate) fn cut(&self, peer: NodeId) -> usize {
        let open = locked(&self.inner);
        let to_peer = open.streams.values().filter(|(other, _)| *other == peer);
        to_peer.inspect(|(_, token)| token.cancel()).count()
    }
}

impl Cut {
    /// Returns once the stream is to end.
    pub(crate) async fn ordered(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        locked(&self.cuts.inner).streams.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_to_one_peer_is_cut_and_nothing_else() {
        let cuts = Cuts::default();
        let node = |n| NodeId::from_u64(n).expect("not 0");
        let (one, two, other) = (cuts.enlist(node(1)), cuts.enlist(node(1)), cuts.enlist(node(2)));
        drop(two);
        assert_eq!(cuts.cut(node(1)), 1, "one is over");
        one.ordered().await;
        assert!(!other.token.is_cancelled());
        drop((one, other));
        assert_eq!(cuts.cut(node(1)) + cuts.cut(node(2)), 0);
        assert!(locked(&cuts.inner).streams.is_empty());
    }
}
