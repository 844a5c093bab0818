//! What may be read of a key, and what not.
//!
//! A write is *over* once a later one was acknowledged that began after it had ended: from then on
//! nobody may find it. Writes that overlap, and those whose outcome is unknown, may be found or
//! not. A read is judged by what was acknowledged before it began; the end is a read after all.

use super::{Copy, History, Operation, Outcome, Verdict, What};
use std::collections::{BTreeMap, BTreeSet};

/// Why something may not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// It was deleted before.
    Resurrected,
    /// A put that was acknowledged before is missing.
    Missing,
    /// Nobody has written it.
    Invented,
}

/// When something was read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    began_us: u64,
    ended_us: u64,
}

/// After everything else.
const END: Reading = Reading { began_us: u64::MAX, ended_us: u64::MAX };

/// All that is known of one key.
#[derive(Default)]
struct Key<'a> {
    /// Puts and deletes that may have been done.
    writes: Vec<&'a Operation>,
    reads: Vec<&'a Operation>,
    copies: Vec<&'a Copy>,
}

/// Judges every key that anybody has touched or holds.
pub(super) fn keys(history: &History, verdict: &mut Verdict) {
    let mut keys: BTreeMap<&str, Key<'_>> = BTreeMap::new();
    for operation in &history.operations {
        let key = keys.entry(&operation.key).or_default();
        match (&operation.what, operation.outcome) {
            (What::Get(_), Outcome::Ok) => key.reads.push(operation),
            (What::Get(_), _) | (_, Outcome::Failed) => {}
            (What::Put(_) | What::Delete, _) => key.writes.push(operation),
        }
    }
    for copy in &history.copies {
        keys.entry(&copy.key).or_default().copies.push(copy);
    }
    for (name, key) in keys {
        for wrong in key.at_reads() {
            let keys = match wrong {
                Wrong::Resurrected => &mut verdict.resurrected,
                Wrong::Missing => &mut verdict.stale,
                Wrong::Invented => &mut verdict.invented,
            };
            keys.insert(name.to_owned());
        }
        if history.replicas.is_empty() {
            continue;
        }
        for wrong in key.at_the_end(history) {
            let keys = match wrong {
                Wrong::Resurrected => &mut verdict.resurrected,
                Wrong::Missing => &mut verdict.lost,
                Wrong::Invented => &mut verdict.invented,
            };
            keys.insert(name.to_owned());
        }
    }
}

impl Key<'_> {
    fn at_reads(&self) -> Vec<Wrong> {
        let judge = |read: &&Operation| {
            let What::Get(found) = &read.what else { return None };
            let when = Reading { began_us: read.began_us, ended_us: read.ended_us };
            self.wrong(found.as_deref(), when)
        };
        self.reads.iter().filter_map(judge).collect()
    }

    /// What each majority of the replicas would answer.
    fn at_the_end(&self, history: &History) -> Vec<Wrong> {
        let Some(first) = self.copies.first() else {
            return self.wrong(None, END).into_iter().collect();
        };
        let nothing = Vec::new();
        let replicas = history.replicas.get(&first.tablet).unwrap_or(&nothing);
        let answers: BTreeSet<Option<&str>> =
            majorities(replicas).iter().map(|nodes| self.newest(nodes)).collect();
        answers.into_iter().filter_map(|found| self.wrong(found, END)).collect()
    }

    /// The value that the newest copy on these nodes has.
    fn newest(&self, nodes: &[&String]) -> Option<&str> {
        let theirs = self.copies.iter().filter(|copy| nodes.contains(&&copy.node));
        theirs.max_by_key(|copy| &copy.timestamp).and_then(|copy| copy.value.as_deref())
    }

    /// What is wrong with finding this value, or none, at some time.
    fn wrong(&self, found: Option<&str>, when: Reading) -> Option<Wrong> {
        let may_show = |write: &&&Operation| write.began_us <= when.ended_us;
        // Acknowledged before the read began: what the read may not fall behind of.
        let settled = self
            .writes
            .iter()
            .filter(|write| write.outcome == Outcome::Ok && write.ended_us < when.began_us);
        let Some(found) = found else {
            let last_put = settled.filter(|write| write.what != What::Delete);
            let last_put = last_put.max_by_key(|put| put.began_us)?;
            let mut deletes = self.writes.iter().filter(|write| write.what == What::Delete);
            let is_explained =
                deletes.any(|delete| may_show(&delete) && delete.ended_us >= last_put.began_us);
            return (!is_explained).then_some(Wrong::Missing);
        };
        let written = |write: &&&Operation| matches!(&write.what, What::Put(v) if v == found);
        let puts = self.writes.iter().filter(written).filter(may_show);
        let Some(put_ended_us) = puts.map(|put| put.ended_us).max() else {
            return Some(Wrong::Invented);
        };
        let over = settled.filter(|write| write.began_us > put_ended_us);
        let last = over.max_by_key(|write| write.began_us)?;
        Some(if last.what == What::Delete { Wrong::Resurrected } else { Wrong::Missing })
    }
}

/// Every set of nodes that is just a majority.
fn majorities(nodes: &[String]) -> Vec<Vec<&String>> {
    let size = nodes.len() / 2 + 1;
    let subsets = 0..1u32 << nodes.len().min(16);
    let wanted = subsets.filter(|set| set.count_ones() as usize == size);
    let named = |set: u32| {
        nodes.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, node)| node).collect()
    };
    wanted.map(named).collect()
}
