//! How much the copies hold, for a leader that looks for room: said in turn, a few at a time, and
//! without waiting for anybody.

use super::sled_store::SledStore;
use migrations::id::TabletId;
use migrations::version::CopyId;
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// The sizes of some copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sizes {
    /// In order of tablet: the copy that is given to this node, and the bytes of its rows.
    pub copies: Vec<(TabletId, CopyId, u64)>,
    /// After which tablet to go on; `None`: with the first.
    pub after: Option<TabletId>,
}

impl SledStore {
    /// The sizes of the copies of the next `limit` tablets, without those that somebody is at work
    /// on at this moment.
    pub(super) fn sizes_after(&self, after: Option<TabletId>, limit: usize) -> Sizes {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeSet::new();
        for tablet in entries.keys() {
            if after.is_none_or(|after| *tablet > after) {
                next.insert(*tablet);
                if next.len() > limit {
                    next.pop_last();
                }
            }
        }
        let after = (next.len() == limit).then(|| next.last().copied()).flatten();
        let size = |tablet: TabletId| {
            let entry = entries.get(&tablet)?.try_lock().ok()?;
            let copy = entry.given?;
            Some((tablet, copy, entry.copies.get(&copy)?.tally.bytes))
        };
        Sizes { copies: next.into_iter().filter_map(size).collect(), after }
    }
}
