//! A process of a cluster that another process has started for itself ends with it, also when that
//! one is killed.

use rustix::process::{Pid, Signal, getppid};

/// The variable that names the process to end with, by its id.
pub const PARENT: &str = "PALISADE_PARENT";

/// Has this process killed when its parent ends, if the parent has asked for that by [`PARENT`].
/// Must be called on the main thread. Only where the system offers it: on Linux.
pub fn end_with_parent() {
    let named = std::env::var(PARENT).ok().and_then(|id| id.parse().ok());
    let Some(parent) = named.and_then(Pid::from_raw) else { return };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::warn!(%error, "this process will not end by itself when its parent is killed");
    }
    // It may have ended before that was asked for.
    if getppid() != Some(parent) {
        std::process::exit(1);
    }
}
