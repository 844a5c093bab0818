//! Replica sets, and what is counted in them: majorities.

use crate::id::NodeId;
use crate::version::CopyId;
use alloc::vec::Vec;

/// One replica: a node and the number of its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// Where it is.
    pub node: NodeId,
    /// Which copy there.
    pub copy: CopyId,
    /// Marked by group0: its data is gone. It is no source and answers no reads.
    pub lost: bool,
}

/// The replicas of a tablet: at most one on a node, in order of node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaSet(Vec<Replica>);

impl ReplicaSet {
    /// The set of these, or `None` if two are on one node.
    pub fn new(mut replicas: Vec<Replica>) -> Option<ReplicaSet> {
        replicas.sort_by_key(|replica| replica.node);
        let doubled = replicas.windows(2).any(|pair| pair[0].node == pair[1].node);
        if doubled { None } else { Some(ReplicaSet(replicas)) }
    }

    /// The replica on a node.
    pub fn on(&self, node: NodeId) -> Option<&Replica> {
        self.0.iter().find(|replica| replica.node == node)
    }

    /// Whether a node holds one.
    pub fn contains(&self, node: NodeId) -> bool {
        self.on(node).is_some()
    }

    /// All, in order of node.
    pub fn iter(&self) -> impl Iterator<Item = &Replica> + Clone {
        self.0.iter()
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + Clone {
        self.0.iter().map(|replica| replica.node)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without the replica on a node.
    pub fn without(&self, node: NodeId) -> ReplicaSet {
        ReplicaSet(self.0.iter().filter(|replica| replica.node != node).copied().collect())
    }

    /// With one more; `None` if the node holds one already.
    pub fn with(&self, replica: Replica) -> Option<ReplicaSet> {
        let mut replicas = self.0.clone();
        replicas.push(replica);
        ReplicaSet::new(replicas)
    }

    /// Marks or unmarks the replica on a node as lost; whether there was such a replica.
    pub(crate) fn mark_lost(&mut self, node: NodeId, copy: CopyId) -> bool {
        let found = self.0.iter_mut().find(|r| r.node == node && r.copy == copy);
        found.map(|replica| replica.lost = true).is_some()
    }

    /// Marks the replicas on these nodes as lost.
    pub(crate) fn mark_all_lost(&mut self, nodes: &[NodeId]) {
        for replica in self.0.iter_mut().filter(|replica| nodes.contains(&replica.node)) {
            replica.lost = true;
        }
    }

    /// Those that are not in another set: from old to new, who is *leaving*; from new to old, who
    /// is *pending*.
    pub fn minus(&self, other: &ReplicaSet) -> impl Iterator<Item = Replica> {
        self.0.iter().filter(|replica| !other.contains(replica.node)).copied()
    }

    /// Those that satisfy `counts` make a majority of this set. A quorum is counted in each set
    /// by itself. An empty set has no majority.
    pub fn has_majority(&self, mut counts: impl FnMut(NodeId) -> bool) -> bool {
        let counted = self.0.iter().filter(|replica| counts(replica.node)).count();
        counted * 2 > self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::TopologyVersion;
    use proptest::prelude::*;

    fn set(nodes: &[u32]) -> ReplicaSet {
        let copy = CopyId(TopologyVersion::from_parts(0, 1));
        let replica = |n: &u32| Replica { node: NodeId::mint(0, *n), copy, lost: false };
        ReplicaSet::new(nodes.iter().map(replica).collect()).expect("distinct")
    }

    #[test]
    fn two_replicas_on_one_node_are_no_set() {
        let one = *set(&[1]).on(NodeId::mint(0, 1)).expect("there");
        assert_eq!(ReplicaSet::new(std::vec![one, one]), None);
        assert_eq!(set(&[1]).with(one), None);
    }

    proptest! {
        /// Two majorities of one set always share a member: what every quorum rule stands on.
        #[test]
        fn majorities_intersect(n in 1u32..8, a in 0u32..256, b in 0u32..256) {
            let set = set(&(1..=n).collect::<Vec<_>>());
            let bit = |mask: u32| move |node: NodeId| mask >> (node.as_u64() - 1) & 1 == 1;
            if set.has_majority(bit(a)) && set.has_majority(bit(b)) {
                let shared = set.nodes().any(|node| bit(a)(node) && bit(b)(node));
                prop_assert!(shared);
            }
        }

        /// If the silent contain no majority, the others share a member with every majority.
        #[test]
        fn no_silent_majority_reaches_every_majority(n in 1u32..8, silent in 0u32..256) {
            let set = set(&(1..=n).collect::<Vec<_>>());
            let bit = |mask: u32| move |node: NodeId| mask >> (node.as_u64() - 1) & 1 == 1;
            if !set.has_majority(bit(silent)) {
                for majority in (0..1u32 << n).filter(|m| set.has_majority(bit(*m))) {
                    prop_assert!(majority & !silent & ((1 << n) - 1) != 0);
                }
            }
        }
    }
}
