//! Rules of the agent's concurrency that a test of interleavings can undo, one at a time, to see
//! that it would notice. In every other build none is ever undone, and the question costs nothing.

/// A rule that may be undone. Asked about at exactly one place each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Who enters sees the gate open and is counted in one step.
    EntersInOneStep,
    /// Who waits for a drain is listening before it looks.
    ListensBeforeTheLook,
    /// The epoch of a guard is read before the lease is looked at.
    EpochBeforeTheLease,
    /// A session that is known stays as it is, open or closed.
    KnownStays,
    /// The tablet's lock is held over the sync between the floor and the sessions.
    LockedOverTheSync,
}

/// Whether a rule does not hold now.
#[cfg(not(all(test, feature = "shuttle")))]
#[inline(always)]
pub(crate) const fn is_undone(_rule: Rule) -> bool {
    false
}

#[cfg(all(test, feature = "shuttle"))]
pub(crate) use undoing::{is_undone, undo};

#[cfg(all(test, feature = "shuttle"))]
mod undoing {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        /// Of one test: all threads that shuttle makes of it are one thread.
        static UNDONE: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(crate) fn is_undone(rule: Rule) -> bool {
        UNDONE.get() == Some(rule)
    }

    pub(crate) fn undo(rule: Option<Rule>) {
        UNDONE.set(rule);
    }
}
