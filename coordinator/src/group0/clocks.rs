//! How far the members' wall clocks are apart. Nothing that must hold depends on it; what people are
//! told does, and whose request ids are refused.
//!
//! A member says its clock with each answer to the leader. It was read between the sending of the
//! question and the arrival of the answer: so the leader knows by how much the two clocks differ at
//! the least, however long the way was.
//!
//! A leader whose own clock is the odd one has another member lead: by its clock request ids of
//! everybody else may be of the future, and are refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Group0, Standing, StateMachine};
use crate::limits::{CLOCK_BOUND, CLOCK_BOUND_OF_LEADER, CLOCK_INTERVAL, CLOCK_STALE};

/// What this member has heard of the others' clocks.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    heard: Mutex<BTreeMap<u64, Heard>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    ahead_ms: i64,
    at: Instant,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Whether two clocks that are so far apart are an alarm.
pub(crate) fn is_too_far(ahead_ms: i64) -> bool {
    ahead_ms.unsigned_abs() > millis(CLOCK_BOUND).unsigned_abs()
}

/// By how many milliseconds a clock is ahead of the own one at the least, if it was read in the
/// `passed` before `own_ms`.
fn ahead(theirs_ms: u64, own_ms: u64, passed: Duration) -> i64 {
    let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
    let at_least = signed(theirs_ms).saturating_sub(signed(own_ms));
    let at_most = at_least.saturating_add(millis(passed));
    if at_least > 0 { at_least } else { at_most.min(0) }
}

/// Whether a member's clock is the odd one: those of more than half of the voters are far away on
/// one side of it.
pub(super) fn is_odd(raft_id: u64, members: &[Standing]) -> bool {
    let voters = || members.iter().filter(|one| one.voter);
    let clock = |one: &Standing| one.clock_ahead_ms;
    let Some(own) = members.iter().find(|one| one.raft_id == raft_id).and_then(clock) else {
        return false;
    };
    let bound = millis(CLOCK_BOUND_OF_LEADER);
    let apart: Vec<i64> = voters().filter_map(clock).map(|one| one.saturating_sub(own)).collect();
    let ahead = apart.iter().filter(|apart| **apart >= bound).count();
    let behind = apart.iter().filter(|apart| **apart <= -bound).count();
    ahead.max(behind) > voters().count() / 2
}

impl Clocks {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what a member's clock said when it answered, in the time that has passed since
    /// it was asked.
    pub(super) fn heard(&self, raft_id: u64, theirs_ms: u64, own_ms: u64, passed: Duration) {
        // It does not say, or the answer took too long to say much.
        if theirs_ms == 0 || passed >= CLOCK_BOUND {
            return;
        }
        let ahead_ms = ahead(theirs_ms, own_ms, passed);
        let before = self.known().insert(raft_id, Heard { ahead_ms, at: Instant::now() });
        match (before.is_some_and(|before| is_too_far(before.ahead_ms)), is_too_far(ahead_ms)) {
            (false, true) => tracing::error!(
                member = raft_id,
                ahead_ms,
                "this member's clock is not this coordinator's"
            ),
            (true, false) => tracing::warn!(member = raft_id, ahead_ms, "the clocks agree"),
            (false, false) | (true, true) => {}
        }
    }

    /// By how many milliseconds a member's clock is ahead, at the least, if that has been heard
    /// lately.
    pub(super) fn ahead(&self, raft_id: u64) -> Option<i64> {
        let heard = self.known().get(&raft_id).copied();
        heard.filter(|heard| heard.at.elapsed() < CLOCK_STALE).map(|heard| heard.ahead_ms)
    }
}

impl<S: StateMachine> Group0<S> {
    /// Has another member lead whenever this one leads by a clock that is a minute or more from
    /// those of most others, until `stop`.
    pub async fn mind_clocks(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(CLOCK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let leads = self.leadership().borrow().is_some();
            if leads && is_odd(self.raft_id(), &self.members()) {
                tracing::warn!("most clocks are far from this leader's: another one is to lead");
                self.hand_over().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn what_the_way_may_have_taken_is_no_difference() {
        let passed = Duration::from_millis(300);
        // Read at any moment from the question to the answer: both clocks may be the same.
        for theirs in [9_700, 9_800, 10_000] {
            assert_eq!(ahead(theirs, 10_000, passed), 0, "{theirs}");
        }
        assert_eq!(ahead(12_000, 10_000, passed), 2_000);
        assert_eq!(ahead(5_000, 10_000, passed), -4_700);
    }

    #[tokio::test(start_paused = true)]
    async fn a_difference_is_known_until_an_answer_says_otherwise_or_none_comes() {
        let (clocks, quick) = (Clocks::default(), Duration::from_millis(1));
        assert_eq!(clocks.ahead(7), None);
        clocks.heard(7, 30_000, 10_000, quick);
        assert_eq!(clocks.ahead(7), Some(20_000));
        clocks.heard(7, 0, 10_000, quick);
        clocks.heard(7, 10_000, 10_000, CLOCK_BOUND);
        assert_eq!(clocks.ahead(7), Some(20_000), "neither says anything");
        clocks.heard(7, 10_000, 10_000, quick);
        assert_eq!(clocks.ahead(7), Some(0));
        clocks.heard(7, 30_000, 10_000, quick);
        tokio::time::advance(CLOCK_STALE).await;
        assert_eq!(clocks.ahead(7), None, "it may be dead, or mended");
        assert!(is_too_far(1_001) && is_too_far(-1_001) && !is_too_far(1_000));
    }

    /// Which of the voters, by what the first one knows of the others, have odd clocks.
    fn odd(others_ahead_ms: &[Option<i64>]) -> Vec<u64> {
        let known = [Some(0)].iter().chain(others_ahead_ms).copied();
        let standing = |(raft_id, clock_ahead_ms): (u64, Option<i64>)| Standing {
            raft_id,
            member: Member::default(),
            voter: true,
            leads: raft_id == 0,
            matched: None,
            silent: None,
            state_differs_at: None,
            clock_ahead_ms,
        };
        let members: Vec<Standing> = (0..).zip(known).map(standing).collect();
        let ids = members.iter().map(|one| one.raft_id);
        ids.filter(|raft_id| is_odd(*raft_id, &members)).collect()
    }

    #[test]
    fn the_odd_one_is_who_most_others_are_far_from_on_one_side() {
        let (far, further) = (Some(MINUTE), Some(2 * MINUTE));
        assert_eq!(odd(&[far, Some(MINUTE + 1)]), [0], "it is slow");
        assert_eq!(odd(&[Some(-MINUTE), Some(-MINUTE)]), [0], "it is fast");
        assert_eq!(odd(&[far, Some(0)]), [1], "another one is");
        assert_eq!(odd(&[far, further]), [0, 2], "one in the middle is not");
        assert_eq!(odd(&[Some(MINUTE - 1), far]), [] as [u64; 0], "not that far from most");
        assert_eq!(odd(&[far, None]), [] as [u64; 0], "too few are heard");
        assert_eq!(odd(&[far, far, None, None]), [] as [u64; 0], "too few are heard");
        assert_eq!(odd(&[far]), [] as [u64; 0], "nobody can tell");
        assert_eq!(odd(&[]), [] as [u64; 0]);
    }
}
