//! What a step puts on the disk, and what follows if the disk doesn't take it: a node that can't keep
//! a floor, or drop a copy, is unfit.

use super::{StepPermit, Tablets};
use crate::store::{StepError, StoreError};
use crate::wait::{Wait, bounded};
use futures::FutureExt;
use proto::reasons::Reason;
use std::time::Instant;

impl Tablets {
    /// Returns once all that was written is durable. One that takes too long is found out, and
    /// waited for all the same: nothing may go on before it.
    pub(super) async fn durable(&self) -> Result<(), StoreError> {
        let synced = self.store.durable().wait();
        self.found_out(Wait::Floor, "a floor is not durable", synced).await
    }

    /// Returns once all that was written is durable. A disk that takes too long has failed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`], and what the disk says.
    pub async fn synced(&self, wait: Wait) -> Result<(), StoreError> {
        let synced = bounded(wait, &self.settings(), self.store.durable().wait()).await;
        synced.map_err(|overdue| StoreError::Disk { detail: overdue.to_string() })?
    }

    /// Waits for something that the disk does, and finds out if it fails or takes too long.
    pub(super) async fn found_out<T>(
        &self,
        wait: Wait,
        what: &str,
        disk: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // Fused: one whose answer was taken away, by a fault, is over all the same.
        let disk = disk.fuse();
        tokio::pin!(disk);
        let done = match bounded(wait, &self.settings(), &mut disk).await {
            Ok(done) => done,
            Err(overdue) => {
                self.fitness.found_unfit(Reason::DiskError, &format!("{what}: {overdue}"));
                disk.await
            }
        };
        self.failed(what, done)
    }

    /// A step that the disk has failed.
    pub(super) fn failed<T>(
        &self,
        what: &str,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        done.inspect_err(|error| {
            self.fitness.found_unfit(error.reason(), &format!("{what}: {error}"));
        })
    }

    /// The same for a step that may be refused, too. A disk that takes no floors is no target for a
    /// while, also once a probe has shown that it can.
    pub(super) fn failed_step<T>(&self, done: Result<T, StepError>) -> Result<T, StepError> {
        done.inspect_err(|error| {
            if let StepError::Store(error) = error {
                let detail = format!("a floor can't be written: {error}");
                self.fitness.met(error, Instant::now());
                self.fitness.found_unfit(error.reason(), &detail);
            }
        })
    }

    /// Whether an unfit node can do again what it has to. Fit ones are not asked.
    ///
    /// # Errors
    ///
    /// What it still can't do.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let Some(unfit) = self.fitness.unfit() else { return Ok(()) };
        self.store.probe(&StepPermit::new())?;
        // It may hang again: nobody is kept waiting by a probe.
        self.synced(Wait::Floor).await?;
        if self.all().iter().any(|tablet| tablet.is_stuck()) {
            // Admitted it would be asked for a drain that it can't give.
            return Err(StoreError::Disk { detail: unfit.to_string() });
        }
        self.fitness.recovered();
        Ok(())
    }
}
