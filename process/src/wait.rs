//! Waits by name: whoever waits for another process, or for a disk, says for what and for how long.
//!
//! Each server has one enum of its waits; every one of them goes through [`bounded`], or through
//! [`watched`] where a machine keeps the bound. With the feature `faults` each can be told never to
//! be answered, by its name.
//!
//! Not here: how long each may last (the servers' own `wait` modules).

use std::time::Duration;
use tokio::time::timeout;

/// A wait that has a name.
pub trait Named: Copy {
    /// Lower case, with underscores: as it stands in logs and in fault switches.
    fn name(self) -> &'static str;
}

/// What was waited for did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wait}: nothing came within {bound:?}")]
pub struct Overdue {
    /// For what.
    pub wait: &'static str,
    /// How long.
    pub bound: Duration,
}

/// Waits, but for no longer than `bound`. As cancel safe as the future is; what it had begun when
/// the time is over is dropped.
///
/// # Errors
///
/// [`Overdue`] once the bound is over.
#[allow(clippy::disallowed_methods)] // The one place.
pub async fn bounded<T>(
    wait: impl Named,
    bound: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Overdue> {
    let overdue = |_| Overdue { wait: wait.name(), bound };
    timeout(bound, watched(wait, future)).await.map_err(overdue)
}

/// Waits under a bound that somebody else keeps: a machine's deadline, beside it in a `select`. As
/// cancel safe as the future is.
#[cfg(not(feature = "faults"))]
pub async fn watched<T>(_wait: impl Named, future: impl Future<Output = T>) -> T {
    future.await
}

/// Waits under a bound that somebody else keeps: a machine's deadline, beside it in a `select`. As
/// cancel safe as the future is.
#[cfg(feature = "faults")]
pub async fn watched<T>(wait: impl Named, future: impl Future<Output = T>) -> T {
    let answer = future.await;
    // What was asked for has been done; the answer to it never comes.
    if faults::takes_away(wait.name()) {
        std::future::pending::<()>().await;
    }
    answer
}

/// Waits that are never answered, in this process.
#[cfg(feature = "faults")]
pub mod faults {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    #[derive(Debug)]
    struct Silence {
        names: BTreeSet<String>,
        met: BTreeMap<&'static str, u64>,
    }

    static SILENCE: Mutex<Silence> =
        Mutex::new(Silence { names: BTreeSet::new(), met: BTreeMap::new() });

    fn silence_now() -> MutexGuard<'static, Silence> {
        SILENCE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the wait of this name is never answered; or it is again. What has lost its
    /// answer by then doesn't get it back.
    pub fn silence(name: &str, is_on: bool) {
        match is_on {
            true => silence_now().names.insert(name.to_owned()),
            false => silence_now().names.remove(name),
        };
    }

    /// How often the wait of this name has had its answer taken away.
    pub fn silenced(name: &str) -> u64 {
        silence_now().met.get(name).copied().unwrap_or(0)
    }

    /// Whether this answer is taken away; counts it.
    pub(super) fn takes_away(name: &'static str) -> bool {
        let mut silence = silence_now();
        let is_silenced = silence.names.contains(name);
        if is_silenced {
            *silence.met.entry(name).or_default() += 1;
        }
        is_silenced
    }
}
