//! Which coordinator is tried next: the one that is said to lead, else the seeds in turn.

use crate::limits::{ATTACH_BACKOFF, ATTACH_BACKOFF_MAX, HINTS_IN_A_ROW};
use std::time::Duration;

/// Where coordinators take agents, and which is tried now.
#[derive(Debug)]
pub(super) struct Seeds {
    all: Vec<String>,
    next: usize,
    /// Where one of them has said that the leader is.
    hint: Option<String>,
    hints: u32,
    /// How many have been tried since the last that held, or the last pause.
    tried: usize,
    backoff: Duration,
}

impl Seeds {
    pub(super) fn new(all: Vec<String>) -> Seeds {
        Seeds { all, next: 0, hint: None, hints: 0, tried: 0, backoff: ATTACH_BACKOFF }
    }

    /// What it was started with, and after that those that have come since.
    pub(super) fn learn(&mut self, seeds: &[String], live: Vec<String>) {
        let mut all = seeds.to_vec();
        all.extend(live.into_iter().filter(|address| !seeds.contains(address)));
        if self.all != all {
            let current = self.all.get(self.next).cloned();
            self.next = all.iter().position(|a| Some(a) == current.as_ref()).unwrap_or_default();
            self.all = all;
        }
    }

    /// The one to try; `None` if there is none at all.
    pub(super) fn current(&self) -> Option<String> {
        self.hint.clone().or_else(|| self.all.get(self.next).cloned())
    }

    /// The current one has failed after it held for `held`; perhaps it has said who leads. How
    /// long to wait before the next try: not at all before a hint, nor before each seed has been
    /// tried once.
    pub(super) fn failed(&mut self, hint: Option<String>, held: Duration) -> Duration {
        if held > ATTACH_BACKOFF_MAX {
            // An attachment that held for a while was no failure.
            (self.hints, self.tried, self.backoff) = (0, 0, ATTACH_BACKOFF);
        }
        let hint = hint.filter(|_| self.hints < HINTS_IN_A_ROW);
        if hint.is_some() {
            self.hints += 1;
            self.hint = hint;
            return Duration::ZERO;
        }
        self.hints = 0;
        // The leader that was named has gone: the seeds go on after the one that named it.
        self.hint = None;
        self.next = (self.next + 1) % self.all.len().max(1);
        self.tried += 1;
        if self.tried < self.all.len() {
            return Duration::ZERO;
        }
        self.tried = 0;
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(ATTACH_BACKOFF_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn seeds() -> Seeds {
        Seeds::new(["a", "b", "c"].map(str::to_owned).to_vec())
    }

    #[test]
    fn each_seed_is_tried_once_before_a_pause() {
        let mut seeds = seeds();
        let mut tried = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            tried.push(seeds.current().expect("one"));
            pauses.push(seeds.failed(None, SHORT));
        }
        assert_eq!(tried.concat(), "abcabca");
        let (none, first) = (Duration::ZERO, ATTACH_BACKOFF);
        assert_eq!(pauses, [none, none, first, none, none, first * 2, none]);
        for _ in 0..60 {
            assert!(seeds.failed(None, SHORT) <= ATTACH_BACKOFF_MAX);
        }
        // What held for long was no failure.
        let held = ATTACH_BACKOFF_MAX * 2;
        assert_eq!(seeds.failed(None, held), none);
        assert_eq!(seeds.failed(None, SHORT), none);
        assert_eq!(seeds.failed(None, SHORT), first);
    }

    #[test]
    fn a_hint_is_followed_at_once_but_not_for_ever() {
        let mut seeds = seeds();
        assert_eq!(seeds.failed(Some("x".into()), SHORT), Duration::ZERO);
        assert_eq!(seeds.current().as_deref(), Some("x"));
        // The one that was named is gone.
        assert_eq!(seeds.failed(None, SHORT), Duration::ZERO);
        assert_eq!(seeds.current().as_deref(), Some("b"));
        // Two that name each other don't keep it busy.
        let mut paused = false;
        for name in ["x", "y"].repeat(20) {
            paused |= seeds.failed(Some(name.into()), SHORT) > Duration::ZERO;
        }
        assert!(paused);
        assert_eq!(Seeds::new(Vec::new()).current(), None);
    }

    #[test]
    fn coordinators_that_have_come_since_are_tried_after_the_seeds() {
        let mut seeds = seeds();
        let given: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        seeds.failed(None, SHORT);
        seeds.learn(&given, vec!["c".into(), "d".into()]);
        let mut tried = Vec::new();
        for _ in 0..5 {
            tried.push(seeds.current().expect("one"));
            seeds.failed(None, SHORT);
        }
        assert_eq!(tried, ["b", "c", "d", "a", "b"]);
        // One that has gone is not dialled any more; the seeds always are.
        seeds.learn(&given, vec!["c".into()]);
        assert_eq!(seeds.all, given);
    }
}
