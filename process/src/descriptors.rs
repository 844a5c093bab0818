//! How many files and connections the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the bound on open files as far as this process may; the bound. What is asked for by
/// default is often 1,024, for the sake of programs that use `select`.
pub fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, ?before, "the bound on open files could not be raised");
        limit.current = before;
    }
    limit.current.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}
