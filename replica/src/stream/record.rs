//! What a receiver puts on record of a call, and what the record says: before the call is made, and
//! before its last message.

use super::call::{Complete, Pull, blocking};
use super::failure::{Failure, Origin};
#[cfg(feature = "faults")]
use crate::faults::Step;
use crate::guard::TopologyGuard;
use crate::store::{Begun, Call, Progress, StreamOnRecord, StreamState};
use crate::wait::{Wait, bounded};
use migrations::evidence::{FailureReason, StreamReport};
use migrations::pull::Totals;
use std::sync::Arc;

impl Pull {
    /// How the stream stands, if it is on record.
    pub(super) fn on_record(&self) -> Option<Result<Complete, Failure>> {
        let tablet = self.order.record.tablet;
        let copy = self.order.record.given(self.own.node)?;
        let stream = self.tablets.store().stream(tablet, copy, self.order.source)?;
        (stream.session == self.session).then(|| self.stands(&stream))
    }

    pub(super) fn stands(&self, stream: &StreamOnRecord) -> Result<Complete, Failure> {
        match stream.state {
            StreamState::Complete => {
                Ok(Complete { report: self.report(&stream.progress), goodbye: None })
            }
            // Nobody in this process is at it: it ended with the process that was.
            StreamState::Running => Err(Failure::closed("the call ended with an earlier process")),
            StreamState::Failed => Err(Failure::closed("the call is on record as failed")),
        }
    }

    pub(super) fn report(&self, progress: &Progress) -> StreamReport {
        StreamReport {
            session: self.session,
            pair: self.pair(),
            source_incarnation: self.order.source_incarnation,
            receiver_incarnation: self.own.incarnation,
            rows: progress.rows,
            bytes: progress.bytes,
            sent: progress.sum,
            stored: progress.sum,
        }
    }

    pub(super) async fn put_on_record(
        &self,
        guard: &Arc<TopologyGuard>,
        begin: Call,
    ) -> Result<Begun, Failure> {
        let (store, guard) = (Arc::clone(self.tablets.store()), Arc::clone(guard));
        let begun = blocking(move || store.begin_call(&guard, begin)).await?;
        // Before the call is made: after a restart nobody may make it a second time.
        self.durable().await?;
        Ok(begun)
    }

    /// Returns once all that was written is durable; a disk that takes too long has failed this
    /// stream, and nothing else of it.
    async fn durable(&self) -> Result<(), Failure> {
        Ok(self.tablets.synced(Wait::StreamRecord).await?)
    }

    async fn end_call(
        &self,
        guard: Arc<TopologyGuard>,
        call: u64,
        state: StreamState,
    ) -> Result<(), Failure> {
        let (store, source) = (Arc::clone(self.tablets.store()), self.order.source);
        blocking(move || store.end_call(&guard, source, call, state)).await
    }

    /// Notes that a call has failed, and gives the guard back. The report doesn't wait for a disk
    /// that hangs: a call that is on record as running has failed as well, once nobody is at it.
    pub(super) async fn note_failed(&self, guard: Arc<TopologyGuard>, call: u64) {
        let noted = self.end_call(guard, call, StreamState::Failed);
        match bounded(Wait::StreamNote, &self.tablets.settings(), noted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a failed stream was not noted"),
            Err(error) => tracing::warn!(%error, "the note of a failed stream waits for the disk"),
        }
    }

    /// Compares what the store has reported with what the source has sent, once it is durable, and
    /// makes the outcome durable.
    pub(super) async fn record(
        &self,
        guard: &Arc<TopologyGuard>,
        call: u64,
        sent: Totals,
        progress: Progress,
    ) -> Result<StreamReport, Failure> {
        #[cfg(feature = "faults")]
        self.faults.steps.stand_still(self.order.record.tablet, Step::Record).await;
        self.durable().await?;
        let stored = Totals { rows: progress.rows, bytes: progress.bytes, sum: progress.sum };
        if stored != sent {
            let detail = format!("{} rows were sent, {} are stored", sent.rows, stored.rows);
            return Err(Failure::new(FailureReason::DigestMismatch, Origin::Data, detail));
        }
        self.end_call(Arc::clone(guard), call, StreamState::Complete).await?;
        self.durable().await?;
        Ok(StreamReport { sent: sent.sum, ..self.report(&progress) })
    }
}
