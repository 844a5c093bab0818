//! Waits by name: whoever waits for another process, or for a disk, says for what and for how long.
//!
//! Each server has one enum of its waits, made by [`waits`](crate::waits); every one of them goes
//! through [`bounded`], or through [`watched`] where a machine keeps the bound. With the feature
//! `faults` each can be told never to be answered, by its name, and how it ended then is counted.
//!
//! Not here: how long each may last (the servers' own `wait` modules).

use std::time::Duration;
use tokio::time::timeout;

/// A wait that has a name.
pub trait Named: Copy {
    /// Lower case, with underscores: as it stands in logs and in fault switches.
    fn name(self) -> &'static str;
}

/// One enum of waits, with the name of each and `ALL` of them: none can be left out of the list.
#[macro_export]
macro_rules! waits {
    (
        $(#[$outer:meta])*
        $seen:vis enum $Wait:ident { $($(#[$inner:meta])* $Variant:ident = $name:literal,)+ }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $seen enum $Wait { $($(#[$inner])* $Variant,)+ }

        impl $Wait {
            /// All of them.
            #[cfg(feature = "faults")]
            $seen const ALL: &[$Wait] = &[$($Wait::$Variant),+];
        }

        impl $crate::wait::Named for $Wait {
            fn name(self) -> &'static str {
                match self { $($Wait::$Variant => $name,)+ }
            }
        }
    };
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
    #[cfg(feature = "faults")]
    let mut is_taken = false;
    let asked = async {
        let answer = future.await;
        // What was asked for has been done; the answer to it never comes.
        #[cfg(feature = "faults")]
        if faults::takes_away(wait.name()) {
            is_taken = true;
            std::future::pending::<()>().await;
        }
        answer
    };
    let answered = timeout(bound, asked).await;
    #[cfg(feature = "faults")]
    if is_taken {
        faults::ends(wait.name());
    }
    answered.map_err(|_| Overdue { wait: wait.name(), bound })
}

/// Waits under a bound that somebody else keeps: a machine's deadline, beside it in a `select`. As
/// cancel safe as the future is.
pub async fn watched<T>(wait: impl Named, future: impl Future<Output = T>) -> T {
    let answer = future.await;
    #[cfg(feature = "faults")]
    if faults::takes_away(wait.name()) {
        let _given_up = faults::GivenUp(wait.name());
        std::future::pending::<()>().await;
    }
    #[cfg(not(feature = "faults"))]
    let _unused = wait;
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
        met: BTreeMap<&'static str, Met>,
    }

    /// What became of waits of one name.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Met {
        /// So many had their answer taken away.
        pub silenced: u64,
        /// So many of these are over: by their bound, or given up by who keeps it.
        pub ended: u64,
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

    /// What became of the waits of this name.
    pub fn met(name: &str) -> Met {
        silence_now().met.get(name).copied().unwrap_or_default()
    }

    /// Whether this answer is taken away; counts it.
    pub(super) fn takes_away(name: &'static str) -> bool {
        let mut silence = silence_now();
        let is_silenced = silence.names.contains(name);
        if is_silenced {
            silence.met.entry(name).or_default().silenced += 1;
        }
        is_silenced
    }

    /// One that had its answer taken away is over.
    pub(super) fn ends(name: &'static str) {
        if let Some(met) = silence_now().met.get_mut(name) {
            met.ended = met.silenced.min(met.ended + 1);
        }
    }

    /// Goes when whoever watches a wait goes on.
    #[derive(Debug)]
    pub(super) struct GivenUp(pub(super) &'static str);

    impl Drop for GivenUp {
        fn drop(&mut self) {
            ends(self.0);
        }
    }
}
