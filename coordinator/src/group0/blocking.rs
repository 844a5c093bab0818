//! Work that blocks: on a thread for that.

use tokio::task::JoinError;

/// Runs what blocks, beside everything else.
///
/// # Errors
///
/// It panicked, or the runtime ends.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // A simulation has one thread, and its time stands still meanwhile.
    #[cfg(test)]
    if turmoil::in_simulation() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
