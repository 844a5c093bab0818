//! Judges a recorded history: what clients did and saw, and what each replica held at the end.
//!
//! It shares nothing with the router, which it judges: it reads lines of a file, and knows of rows
//! only that the newest timestamp wins.

mod history;
mod judge;
#[cfg(test)]
mod tests;

pub(crate) use history::{Copy, History, Line, Operation, Outcome, What, mark};

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that are shown.
const SHOWN: usize = 5;

/// What became of a history. Sets hold keys; all but the counts should be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Puts that were acknowledged.
    pub(crate) writes: u64,
    /// Deletes that were acknowledged.
    pub(crate) deletes: u64,
    /// Reads that were answered.
    pub(crate) reads: u64,
    /// Operations that failed, or whose outcome is unknown.
    pub(crate) errors: u64,
    /// An acknowledged put is neither readable at the end nor superseded.
    pub(crate) lost: BTreeSet<String>,
    /// A value is readable, or was read, though a delete after it was acknowledged before.
    pub(crate) resurrected: BTreeSet<String>,
    /// A read missed a put that was acknowledged before it began.
    pub(crate) stale: BTreeSet<String>,
    /// A value that nobody has written (so far).
    pub(crate) invented: BTreeSet<String>,
    /// Data of a tablet on a node that is none of its replicas.
    pub(crate) orphans: BTreeSet<(u64, String)>,
    /// Tablets whose replicas do not hold the same, or do not say what they hold.
    pub(crate) mismatches: BTreeSet<u64>,
    /// How much of the end was looked at.
    pub(crate) end: End,
}

/// How much was looked at, of all rows, copies and digests of every replica of every tablet, once
/// nobody wrote any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// Nothing: the history is judged by what clients have read.
    #[default]
    Unseen,
    /// Something is missing: the history was cut, or an agent did not answer.
    Partly,
    /// All.
    Whole,
}

impl Verdict {
    /// Whether everything held, and nothing is missing of an end that was looked at.
    pub(crate) fn holds(&self) -> bool {
        let Verdict { lost, resurrected, stale, invented, orphans, mismatches, .. } = self;
        let keys = [lost, resurrected, stale, invented];
        let is_clean =
            keys.iter().all(|keys| keys.is_empty()) && orphans.is_empty() && mismatches.is_empty();
        is_clean && self.end != End::Partly && self.errors == 0
    }
}

impl Verdict {
    /// What there is a number of, by name.
    fn counts(&self) -> [(&'static str, u64); 3] {
        let Verdict { writes, deletes, reads, .. } = self;
        [("acknowledged_writes", *writes), ("acknowledged_deletes", *deletes), ("reads", *reads)]
    }

    /// What there should be none of, by name.
    fn wrongs(&self) -> [(&'static str, usize); 7] {
        [
            ("lost_writes", self.lost.len()),
            ("resurrected_deletes", self.resurrected.len()),
            ("stale_reads", self.stale.len()),
            ("invented_values", self.invented.len()),
            ("orphan_tablets", self.orphans.len()),
            ("digest_mismatches", self.mismatches.len()),
            ("client_errors", usize::try_from(self.errors).unwrap_or(usize::MAX)),
        ]
    }

    /// All numbers by name, and `ok`.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let counts = self.counts().map(|(name, count)| (name.to_owned(), json!(count)));
        let wrongs = self.wrongs().map(|(name, count)| (name.to_owned(), json!(count)));
        let ok = [("ok".to_owned(), json!(self.holds()))];
        counts.into_iter().chain(wrongs).chain(ok).collect()
    }

    /// A line for each number; and some of the keys and tablets that are not as they should be.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, count) in self.counts() {
            text.push_str(&line(name, &count.to_string()));
        }
        for (name, count) in self.wrongs() {
            let sign = if count == 0 { "" } else { "   <-- should be 0" };
            let line = line(name, &count.to_string());
            text.push_str(&format!("{}{sign}\n", line.trim_end()));
        }
        let keys = [&self.resurrected, &self.lost, &self.stale, &self.invented];
        let keys: Vec<&str> = keys.into_iter().flatten().take(SHOWN).map(String::as_str).collect();
        if !keys.is_empty() {
            text.push_str(&format!("  keys, among others: {}\n", keys.join(", ")));
        }
        if self.end != End::Whole {
            text.push_str("  the end was not looked at on every replica\n");
        }
        text
    }
}

/// A line of a table: a name and its value.
pub(crate) fn line(name: &str, value: &str) -> String {
    format!("  {:<24} {value:>12}\n", name.replace('_', " "))
}

/// Judges a history.
pub(crate) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for operation in &history.operations {
        match (&operation.what, operation.outcome) {
            (What::Put(_), Outcome::Ok) => verdict.writes += 1,
            (What::Delete, Outcome::Ok) => verdict.deletes += 1,
            (What::Get(_), Outcome::Ok) => verdict.reads += 1,
            (_, Outcome::Unknown | Outcome::Failed) => verdict.errors += 1,
        }
    }
    judge::keys(history, &mut verdict);
    verdict.orphans = orphans(history);
    verdict.mismatches = mismatches(history);
    verdict.end = end(history);
    verdict
}

fn orphans(history: &History) -> BTreeSet<(u64, String)> {
    let is_replica = |tablet: u64, node: &String| {
        history.replicas.get(&tablet).is_some_and(|nodes| nodes.contains(node))
    };
    let held = history
        .held
        .iter()
        .flat_map(|(node, tablets)| tablets.iter().map(move |tablet| (*tablet, node.clone())));
    held.filter(|(tablet, node)| !is_replica(*tablet, node)).collect()
}

/// Each replica must have said what it holds, and all of a tablet the same.
fn mismatches(history: &History) -> BTreeSet<u64> {
    let mut sums: BTreeMap<u64, BTreeMap<&str, &str>> = BTreeMap::new();
    for (tablet, node, sum) in &history.digests {
        sums.entry(*tablet).or_default().insert(node, sum);
    }
    let differ = |(tablet, sums): (u64, BTreeMap<&str, &str>)| {
        let replicas = history.replicas.get(&tablet)?;
        let said: Option<BTreeSet<&&str>> =
            replicas.iter().map(|node| sums.get(node.as_str())).collect();
        let agree = said.is_some_and(|said| said.len() == 1 && said.iter().all(|s| !s.is_empty()));
        (!agree).then_some(tablet)
    };
    sums.into_iter().filter_map(differ).collect()
}

/// Whether every tablet has replicas that were read and asked for digests, and every node said what
/// lies on it.
fn end(history: &History) -> End {
    let History { replicas, read, held, digests, copies, .. } = history;
    if replicas.is_empty() && read.is_empty() && held.is_empty() && digests.is_empty() {
        return if copies.is_empty() { End::Unseen } else { End::Partly };
    }
    let summed: BTreeSet<u64> = digests.iter().map(|(tablet, _, _)| *tablet).collect();
    let tablet = |(tablet, nodes): (&u64, &Vec<String>)| {
        let was_read = |node: &String| read.contains(&(*tablet, node.clone()));
        let lies = |node: &String| held.contains_key(node);
        summed.contains(tablet) && nodes.iter().all(|node| was_read(node) && lies(node))
    };
    match !replicas.is_empty() && replicas.iter().all(tablet) {
        true => End::Whole,
        false => End::Partly,
    }
}
