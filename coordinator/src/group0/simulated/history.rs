//! What was proposed and what came of it, and whether that can be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ProposeError;

/// What the proposer of an entry knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing yet; for ever, if its process is gone.
    Nothing,
    /// It is applied, as so manieth.
    Applied(usize),
    /// It is not applied, and never will be.
    NotApplied,
    /// It may be applied or not.
    Unknown,
}

/// All that has happened in one simulation.
#[derive(Debug, Default)]
pub(super) struct History {
    trace: Vec<String>,
    proposed: BTreeMap<String, Known>,
    /// Who leads in each term.
    leaders: BTreeMap<u64, u64>,
    /// Members that had to be given a snapshot, with the beginning of the leader's log.
    behind: BTreeSet<(u64, u64)>,
    restarts: u64,
    wrong: Vec<String>,
}

/// What became of a simulation.
#[derive(Debug)]
pub(super) struct Story {
    seed: u64,
    /// What happened, line by line.
    pub(super) trace: Vec<String>,
    /// What must not happen and did.
    pub(super) wrong: Vec<String>,
    pub(super) answered: u64,
    pub(super) not_applied: u64,
    pub(super) unknown_applied: u64,
    pub(super) unknown_lost: u64,
    pub(super) leaders: u64,
    pub(super) snapshots: u64,
    pub(super) restarts: u64,
}

impl Story {
    /// For a person: what is wrong, and how it came to it.
    pub(super) fn told(&self) -> String {
        let Story { seed, trace, wrong, .. } = self;
        format!("seed {seed}:\n{}\n---- wrong:\n{}", trace.join("\n"), wrong.join("\n"))
    }
}

impl History {
    pub(super) fn tell(&mut self, at: std::time::Duration, what: impl std::fmt::Display) {
        self.trace.push(format!("{:>6} ms  {what}", at.as_millis()));
    }

    pub(super) fn wrong(&mut self, what: String) {
        if !self.wrong.contains(&what) {
            self.wrong.push(what);
        }
    }

    pub(super) fn restarted(&mut self) {
        self.restarts += 1;
    }

    pub(super) fn leads(&mut self, term: u64, node: u64) {
        let before = *self.leaders.entry(term).or_insert(node);
        if before != node {
            self.wrong(format!("c{before} and c{node} lead in term {term}"));
        }
    }

    pub(super) fn is_behind(&mut self, node: u64, beginning: u64) -> bool {
        self.behind.insert((node, beginning))
    }

    pub(super) fn proposes(&mut self, entry: &str) {
        self.proposed.insert(entry.to_owned(), Known::Nothing);
    }

    pub(super) fn outcome(&mut self, entry: &str, outcome: &Result<usize, ProposeError>) {
        let known = match outcome {
            Ok(place) => Known::Applied(*place),
            Err(error) if error.outcome_unknown() => Known::Unknown,
            Err(_) => Known::NotApplied,
        };
        self.proposed.insert(entry.to_owned(), known);
    }

    /// Whether members agree, as far as each has come.
    pub(super) fn compare(&mut self, journals: &[(u64, Vec<String>)]) {
        let Some((longest, whole)) = journals.iter().max_by_key(|(_, journal)| journal.len())
        else {
            return;
        };
        for (node, journal) in journals {
            if !whole.starts_with(journal) {
                self.wrong(format!("c{node} and c{longest} have applied other entries"));
            }
        }
    }

    /// The end: what everybody has applied now is what there is.
    pub(super) fn judged(mut self, seed: u64, journal: &[String]) -> Story {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, entry) in (1..).zip(journal) {
            if places.insert(entry, place).is_some() {
                self.wrong.push(format!("{entry} is applied twice"));
            }
        }
        let mut counts = [0; 4];
        for (entry, known) in &self.proposed {
            let place = places.get(entry.as_str()).copied();
            match (known, place) {
                (Known::Applied(said), there) => {
                    counts[0] += 1;
                    if there != Some(*said) {
                        let is = format!("{entry} was said to be number {said}, and is {there:?}");
                        self.wrong.push(is);
                    }
                }
                (Known::NotApplied, there) => {
                    counts[1] += 1;
                    if there.is_some() {
                        self.wrong.push(format!("{entry} was said not to be applied, and is"));
                    }
                }
                (Known::Unknown, Some(_)) => counts[2] += 1,
                (Known::Unknown, None) => counts[3] += 1,
                (Known::Nothing, _) => {}
            }
        }
        let [answered, not_applied, unknown_applied, unknown_lost] = counts;
        let (leaders, snapshots) = (self.leaders.len() as u64, self.behind.len() as u64);
        let (trace, wrong, restarts) = (self.trace, self.wrong, self.restarts);
        Story {
            seed,
            trace,
            wrong,
            answered,
            not_applied,
            unknown_applied,
            unknown_lost,
            leaders,
            snapshots,
            restarts,
        }
    }
}
