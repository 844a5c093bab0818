//! Group commit: one thread syncs for all who wait. Who comes while a sync runs is served by the
//! next one, since that sync may have begun before the write.
//!
//! A failed sync is final: what the system failed to write it may have forgotten, so a later
//! success would say nothing. From then on everybody is told.

use super::error::StoreError;
use crate::limits::SHUTDOWN_PATIENCE;
use crate::lock::{Condvar, Mutex, locked};
use crate::metrics::Syncs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::Notify;

/// Makes durable all that was written before it is called.
type SyncFn = Box<dyn FnMut() -> Result<(), StoreError> + Send>;

#[derive(Debug, Default)]
struct Rounds {
    /// The sync that has not begun.
    next: u64,
    is_wanted: bool,
    is_over: bool,
    /// The thread has come to its end.
    has_ended: bool,
    /// All syncs up to this one have succeeded.
    done: u64,
    /// A later one failed, and with it all after it.
    failed: Option<StoreError>,
}

impl Rounds {
    fn outcome(&self, round: u64) -> Option<Result<(), StoreError>> {
        match &self.failed {
            _ if self.done >= round => Some(Ok(())),
            failed => failed.clone().map(Err),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    rounds: Mutex<Rounds>,
    /// Told when a sync is wanted, and when one is over.
    changed: Condvar,
    over: Notify,
}

/// The thread that syncs, and what it has done.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    syncs: Syncs,
    thread: Option<JoinHandle<()>>,
}

/// A wait for all that was written before it was made.
#[derive(Debug)]
#[must_use = "nothing is durable before the wait is over"]
pub struct Durable {
    round: u64,
    shared: Arc<Shared>,
}

impl Durable {
    /// Returns once it is durable, or the store has failed. Bounded by the disk. Cancel safe.
    pub async fn wait(self) -> Result<(), StoreError> {
        loop {
            let over = self.shared.over.notified();
            tokio::pin!(over);
            over.as_mut().enable(); // Before the look, so that no wake-up falls between.
            if let Some(outcome) = locked(&self.shared.rounds).outcome(self.round) {
                return outcome;
            }
            over.await;
        }
    }

    /// The same, for a thread that may block.
    pub fn wait_blocking(self) -> Result<(), StoreError> {
        let mut rounds = locked(&self.shared.rounds);
        loop {
            if let Some(outcome) = rounds.outcome(self.round) {
                return outcome;
            }
            rounds = self.shared.changed.wait(rounds).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
impl Durable {
    /// A wait, and what ends it.
    pub(crate) fn by_hand() -> (Durable, impl FnOnce() + Send + 'static) {
        let shared = Arc::new(Shared::default());
        let durable = Durable { round: 1, shared: Arc::clone(&shared) };
        let end = move || {
            locked(&shared.rounds).done = 1;
            shared.over.notify_waiters();
        };
        (durable, end)
    }
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(sync: SyncFn) -> Result<Committer, StoreError> {
        let shared = Arc::new(Shared::default());
        locked(&shared.rounds).next = 1;
        let syncs = Syncs::default();
        let (theirs, counted) = (Arc::clone(&shared), syncs.clone());
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || run(&theirs, &counted, sync))
            .map_err(|error| StoreError::io("start the committer", &error))?;
        Ok(Committer { shared, syncs, thread: Some(thread) })
    }

    /// What is counted of the syncs.
    pub(crate) fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    /// Asks for a sync of all that has been written by now.
    pub(crate) fn durable(&self) -> Durable {
        let mut rounds = locked(&self.shared.rounds);
        rounds.is_wanted = true;
        self.shared.changed.notify_all();
        Durable { round: rounds.next, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let mut rounds = locked(&self.shared.rounds);
        rounds.is_over = true;
        self.shared.changed.notify_all();
        let until = Instant::now() + SHUTDOWN_PATIENCE;
        while !rounds.has_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Nobody is told that anything of it is durable; it ends with the process.
                tracing::warn!("a sync does not end: it is left behind");
                return;
            }
            let waited = self.shared.changed.wait_timeout(rounds, left);
            rounds = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(rounds);
        if let Some(thread) = self.thread.take() {
            // It doesn't panic: a panic of the sync is a failed sync.
            let _joined = thread.join();
        }
    }
}

fn run(shared: &Shared, syncs: &Syncs, mut sync: SyncFn) {
    let mut rounds = locked(&shared.rounds);
    loop {
        while !rounds.is_wanted && !rounds.is_over {
            rounds = shared.changed.wait(rounds).unwrap_or_else(PoisonError::into_inner);
        }
        // What is wanted is served also at the end; nothing is after a failure.
        if !rounds.is_wanted {
            rounds.has_ended = true;
            shared.changed.notify_all();
            return;
        }
        rounds.is_wanted = false;
        let round = rounds.next;
        rounds.next += 1;
        if rounds.failed.is_some() {
            continue;
        }
        drop(rounds);
        let panicked = |_| Err(StoreError::damaged("the row store panicked in a sync"));
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(&mut sync)).unwrap_or_else(panicked);
        syncs.over(began.elapsed(), outcome.is_ok());
        rounds = locked(&shared.rounds);
        match outcome {
            Ok(()) => rounds.done = round,
            Err(error) => {
                tracing::error!(%error, "a sync failed; nothing is durable from here on");
                rounds.failed = Some(error);
            }
        }
        shared.changed.notify_all();
        shared.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::mpsc;

    fn closed<E>(_: E) -> StoreError {
        StoreError::Disk { detail: "the test is over".to_owned() }
    }

    /// A committer whose syncs begin and end as the test says.
    fn stepped() -> (Committer, mpsc::Receiver<()>, mpsc::SyncSender<Result<(), StoreError>>) {
        let (began, begins) = mpsc::sync_channel(16);
        let (end, ends) = mpsc::sync_channel::<Result<(), StoreError>>(16);
        let sync = move || {
            began.send(()).map_err(closed)?;
            ends.recv().map_err(closed)?
        };
        (Committer::start(Box::new(sync)).expect("a thread starts"), begins, end)
    }

    #[test]
    fn who_comes_during_a_sync_is_served_by_the_next_together_with_the_others() {
        let (committer, begins, end) = stepped();
        let first = committer.durable();
        begins.recv().expect("a sync begins");
        let (second, third) = (committer.durable(), committer.durable());
        end.send(Ok(())).expect("it waits");
        assert_eq!(first.wait_blocking(), Ok(()));
        begins.recv().expect("a second sync begins");
        let mut second = Box::pin(second.wait());
        assert!(second.as_mut().now_or_never().is_none(), "the first sync didn't cover it");
        end.send(Ok(())).expect("it waits");
        assert_eq!(third.wait_blocking(), Ok(()));
        assert_eq!(second.now_or_never(), Some(Ok(())));
        drop(committer);
        assert!(begins.try_recv().is_err(), "two syncs served three");
    }

    /// A disk that hangs keeps no process from ending.
    #[test]
    fn a_sync_that_does_not_end_is_left_behind() {
        let (committer, begins, end) = stepped();
        let waits = committer.durable();
        begins.recv().expect("a sync begins");
        drop(committer);
        // It is in its sync still: what was waited for has no outcome.
        assert!(Box::pin(waits.wait()).now_or_never().is_none());
        end.send(Ok(())).expect("it waits");
    }

    #[test]
    fn a_failed_sync_is_told_to_all_who_wait_and_to_all_who_come_later() {
        let (committer, begins, end) = stepped();
        let before = committer.durable();
        begins.recv().expect("a sync begins");
        end.send(Ok(())).expect("it waits");
        let (first, second) = (committer.durable(), committer.durable());
        begins.recv().expect("a second sync begins");
        let full = StoreError::DiskFull { detail: "test".to_owned() };
        end.send(Err(full.clone())).expect("it waits");
        assert_eq!(first.wait_blocking(), Err(full.clone()));
        assert_eq!(second.wait_blocking(), Err(full.clone()));
        assert_eq!(committer.durable().wait_blocking(), Err(full));
        assert_eq!(before.wait_blocking(), Ok(()), "what was durable before stays so");
    }
}
