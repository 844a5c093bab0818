//! Orders of a leader, one at a time. An order may come twice; the second is answered with what came
//! of the first.
//!
//! Not here: how many are performed at a time (`performing`).

use crate::agent::Agent;
#[cfg(feature = "faults")]
use crate::faults::Step;
use crate::holders::{HeldUnder, Holder};
use crate::limits::{CATCH_UP_MAX, PURGE_PAUSE, WAITING_REPORT_INTERVAL};
use crate::store::{Dropped, PurgeError, StepError, StoreError};
use crate::stream::Own;
use crate::stream::{PullOrder, Puller};
use crate::tablets::{CopyState, DropError, TakenOn};
use crate::wait::Wait;
use migrations::clock::HybridTime;
use migrations::id::TabletId;
use migrations::record::TabletRecord;
use migrations::version::{CopyId, TopologyVersion};
use proto::agent::v1 as pb;
use proto::agent::v1::attach_request::Event;
use proto::convert;
use proto::reasons::Reason;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Who performs an order.
pub(super) struct One {
    pub(super) agent: Arc<Agent>,
    pub(super) puller: Puller,
    pub(super) admitted: Own,
}

/// One order, checked in form.
#[derive(Debug)]
pub(super) enum Todo {
    Barrier(Arc<TabletRecord>),
    Pull(PullOrder),
    Drop(Arc<TabletRecord>, CopyId),
    TakeOn(Arc<TabletRecord>),
    Ask(pb::Ask),
}

impl One {
    pub(super) async fn perform(self, todo: Todo) {
        match todo {
            Todo::Barrier(record) => self.barrier(&record).await,
            Todo::Pull(order) => self.pull(order).await,
            Todo::Drop(record, copy) => self.drop_copy(&record, copy).await,
            Todo::TakeOn(record) => self.take_on(&record).await,
            Todo::Ask(ask) => self.answer(ask).await,
        }
    }

    /// Steps 1 to 5 of a barrier.
    async fn barrier(self, record: &Arc<TabletRecord>) {
        let Some(taken) = self.taken_on(record, pb::OrderKind::Barrier).await else { return };
        let began = tokio::time::Instant::now();
        let drain = self.agent.tablets.drain(record.tablet, record.version);
        self.drained(record, drain).await;
        self.agent.metrics().drained(began.elapsed());
        let is_asked = record.asked_promise().is_some() && matches!(taken.copy, CopyState::Here(_));
        let acknowledged = pb::Acknowledged {
            tablet: record.tablet.as_u64(),
            version: Some(record.version.into()),
            incarnation: Some(self.admitted.incarnation.0.into()),
            promised: is_asked.then_some(taken.promise.0),
        };
        #[cfg(feature = "faults")]
        if let Some(stage) = record.stage() {
            self.agent.faults.steps.stand_still(record.tablet, Step::Acknowledge(stage)).await;
        }
        self.agent.metrics().barrier_acknowledged();
        self.agent.say(Event::Acknowledged(acknowledged)).await;
    }

    /// Waits for a drain, or what has one in it, and says meanwhile who holds it up.
    async fn drained<T>(&self, record: &TabletRecord, drain: impl Future<Output = T>) -> T {
        tokio::pin!(drain);
        let mut reports = tokio::time::interval(WAITING_REPORT_INTERVAL);
        reports.tick().await; // The first one is due at once.
        loop {
            tokio::select! {
                biased;
                drained = &mut drain => return drained,
                _ = reports.tick() => {
                    let holders = self.agent.tablets.holders(record.tablet);
                    let waiting = pb::Waiting {
                        tablet: record.tablet.as_u64(),
                        version: Some(record.version.into()),
                        holders: holders.into_iter().map(holder).collect(),
                    };
                    self.agent.say(Event::Waiting(waiting)).await;
                }
            }
        }
    }

    async fn taken_on(&self, record: &Arc<TabletRecord>, order: pb::OrderKind) -> Option<TakenOn> {
        match self.agent.take_on(record, self.admitted.node).await {
            Ok(taken) => {
                if let CopyState::Lost(copy) = taken.copy {
                    let tablet = taken.tablet.as_u64();
                    let lost = pb::Lost { tablet, copy: Some(copy.0.into()) };
                    self.agent.say(Event::Lost(lost)).await;
                }
                Some(taken)
            }
            Err(StepError::Stale(stale)) => {
                self.refuse(record, order, Reason::StaleVersion, &stale, Some(stale.floor)).await;
                None
            }
            Err(StepError::Store(error)) => {
                self.disk_trouble(record, order, &error).await;
                None
            }
        }
    }

    async fn take_on(self, record: &Arc<TabletRecord>) {
        // Older than the floor is fine: it was caught up with by a barrier meanwhile.
        if let Err(StepError::Store(error)) = self.agent.take_on(record, self.admitted.node).await {
            tracing::warn!(tablet = %record.tablet, %error, "can't take a record on");
        }
    }

    async fn pull(self, order: PullOrder) {
        #[cfg(feature = "faults")]
        self.agent.faults.steps.stand_still(order.record.tablet, Step::Pull).await;
        if self.taken_on(&order.record, pb::OrderKind::Pull).await.is_some() {
            self.puller.pull(order).await;
        }
    }

    async fn drop_copy(self, record: &Arc<TabletRecord>, copy: CopyId) {
        #[cfg(feature = "faults")]
        self.agent.faults.steps.stand_still(record.tablet, Step::Drop).await;
        let dropping = self.agent.tablets.drop_copy(record, copy, self.admitted.node);
        let dropped = self.drained(record, dropping).await;
        self.agent.wake_catching_up();
        match dropped {
            Ok(()) => {
                let dropped = pb::Dropped {
                    tablet: record.tablet.as_u64(),
                    copy: Some(copy.0.into()),
                    version: Some(record.version.into()),
                    incarnation: Some(self.admitted.incarnation.0.into()),
                };
                tracing::info!(tablet = %record.tablet, %copy, "copy dropped");
                #[cfg(feature = "faults")]
                if self.is_held_back(record.tablet, &dropped) {
                    return;
                }
                self.agent.say(Event::Dropped(dropped)).await;
            }
            Err(DropError::Stale(stale)) => {
                let floor = Some(stale.floor);
                self.refuse(record, pb::OrderKind::Drop, Reason::StaleVersion, &stale, floor).await;
            }
            Err(DropError::Given(given)) => {
                let said = DropError::Given(given);
                self.refuse(record, pb::OrderKind::Drop, Reason::InvariantBroken, &said, None)
                    .await;
            }
            Err(DropError::Store(error)) => {
                self.disk_trouble(record, pb::OrderKind::Drop, &error).await;
            }
        }
    }

    /// Keeps a report in a task of its own, which no attachment's end takes along, if it is the
    /// one that is wanted.
    #[cfg(feature = "faults")]
    fn is_held_back(&self, tablet: TabletId, dropped: &pb::Dropped) -> bool {
        let hold = self.agent.faults.steps.take(tablet, Step::DroppedReport);
        let is_held = hold.is_some();
        if let Some(hold) = hold {
            let (agent, dropped) = (Arc::clone(&self.agent), *dropped);
            tokio::spawn(async move {
                hold.notified().await;
                agent.say(Event::Dropped(dropped)).await;
            });
        }
        is_held
    }

    async fn disk_trouble(&self, record: &TabletRecord, order: pb::OrderKind, error: &StoreError) {
        tracing::error!(tablet = %record.tablet, %error, "an order failed on this node's disk");
        self.refuse(record, order, error.reason(), error, None).await;
    }

    async fn refuse(
        &self,
        record: &TabletRecord,
        order: pb::OrderKind,
        reason: Reason,
        detail: &impl ToString,
        current: Option<TopologyVersion>,
    ) {
        let refused = pb::Refused {
            tablet: record.tablet.as_u64(),
            version: Some(record.version.into()),
            order: order.into(),
            reason: reason.name().to_owned(),
            detail: detail.to_string(),
            current: current.map(Into::into),
        };
        self.agent.say(Event::Refused(refused)).await;
    }

    /// Says that what was sent before has been taken in.
    pub(super) async fn received(self, ticket: u64) {
        self.agent.say(Event::Received(pb::Received { ticket })).await;
    }

    async fn answer(self, ask: pb::Ask) {
        let outcome = match ask.question {
            Some(pb::ask::Question::Purge(purge)) => self.purge(purge).await,
            Some(pb::ask::Question::Digest(digest)) => self.digest(digest).await,
            Some(pb::ask::Question::Copies(pb::AskCopies {})) => self.copies().await,
            Some(pb::ask::Question::CutPeer(pb::AskCutPeer { peer })) => self.cut(peer).await,
            Some(pb::ask::Question::DropAside(orphan)) => self.drop_aside(orphan).await,
            None => Err((Reason::InvalidField, "a question that this build doesn't know".into())),
        };
        let outcome = outcome.unwrap_or_else(|(reason, detail)| {
            pb::answer::Outcome::Failed(pb::AskFailed { reason: reason.name().into(), detail })
        });
        let answer = pb::Answer { ticket: ask.ticket, outcome: Some(outcome) };
        self.agent.say(Event::Answer(answer)).await;
    }

    /// Removes tombstones at or below T, slice by slice, so that requests come in between.
    async fn purge(&self, purge: pb::AskPurge) -> Answered {
        let (tablet, version) = asked(purge.tablet, purge.version)?;
        let promise = HybridTime(purge.promise);
        let (mut removed, mut after) = (0, None);
        loop {
            let guard = self.version_guard(tablet, version).await?;
            let store = Arc::clone(self.agent.tablets.store());
            let slice =
                tokio::task::spawn_blocking(move || store.purge(&guard, promise, after.as_deref()));
            let slice = slice.await.map_err(|error| (Reason::DiskError, error.to_string()))?;
            let slice = slice.map_err(|error| {
                if let PurgeError::Data(error) = &error {
                    self.agent.tablets.fitness().met_in(error, Instant::now());
                }
                (error.reason(), error.to_string())
            })?;
            removed += slice.removed;
            after = slice.after;
            if after.is_none() {
                self.synced().await?;
                return Ok(pb::answer::Outcome::Purged(pb::Purged { removed }));
            }
            tokio::time::sleep(PURGE_PAUSE).await;
        }
    }

    async fn digest(&self, digest: pb::AskDigest) -> Answered {
        let (tablet, version) = asked(digest.tablet, digest.version)?;
        let guard = self.version_guard(tablet, version).await?;
        let store = Arc::clone(self.agent.tablets.store());
        let digest = tokio::task::spawn_blocking(move || store.digest(&guard));
        let digest = digest.await.map_err(|error| (Reason::DiskError, error.to_string()))?;
        let digest = digest.map_err(|error| {
            self.agent.tablets.fitness().met_in(&error, Instant::now());
            (error.reason(), error.to_string())
        })?;
        Ok(pb::answer::Outcome::Digest(pb::Digest {
            rows: digest.rows,
            tombstones: digest.tombstones,
            bytes: 0,
            sum: digest.sum.0.to_be_bytes().to_vec().into(),
        }))
    }

    /// The copies on the disk.
    async fn copies(&self) -> Answered {
        let store = Arc::clone(self.agent.tablets.store());
        let copies = tokio::task::spawn_blocking(move || (store.copies(), store.aside()));
        let copies = copies.await.map_err(|error| (Reason::DiskError, error.to_string()))?;
        let held = |aside| {
            move |(tablet, copy): (TabletId, CopyId)| pb::HeldCopy {
                tablet: tablet.as_u64(),
                copy: Some(copy.0.into()),
                aside,
            }
        };
        let aside = copies.1.into_iter().map(held(true));
        let copies = copies.0.into_iter().map(held(false)).chain(aside).collect();
        Ok(pb::answer::Outcome::Copies(pb::Copies { copies }))
    }

    /// Drops a copy that was set aside.
    async fn drop_aside(&self, orphan: pb::AskDropAside) -> Answered {
        let (tablet, copy) = asked(orphan.tablet, orphan.copy)?;
        let store = Arc::clone(self.agent.tablets.store());
        // Of none: then no later one is the same.
        let request = Uuid::from_slice(&orphan.request_id).unwrap_or_else(|_| Uuid::new_v4());
        let drop = move || store.drop_aside(tablet, CopyId(copy), request);
        let dropping = tokio::task::spawn_blocking(drop);
        let dropped = dropping.await.map_err(|error| (Reason::DiskError, error.to_string()))?;
        let copy = CopyId(copy);
        match dropped.map_err(|error| self.met(&error))? {
            Dropped::Done => {}
            Dropped::NotThere => {
                return Err((Reason::NotFound, format!("no copy {copy} of {tablet} is set aside")));
            }
            Dropped::AnotherBefore => {
                let detail = "this request has dropped another copy before".to_owned();
                return Err((Reason::RequestIdReused, detail));
            }
        }
        self.synced().await?;
        tracing::warn!(audit = true, %tablet, %copy, "what was set aside is dropped by order");
        self.copies().await
    }

    /// Waits until what was done is durable.
    async fn synced(&self) -> Result<(), (Reason, String)> {
        let synced = self.agent.tablets.synced(Wait::Floor).await;
        synced.map_err(|error| self.met(&error))
    }

    /// A failure of the store, as an answer; it is the disk's, too.
    fn met(&self, error: &StoreError) -> (Reason, String) {
        self.agent.tablets.fitness().met(error, Instant::now());
        (error.reason(), error.to_string())
    }

    /// Cuts the streams from and to a peer.
    async fn cut(&self, peer: u64) -> Answered {
        let invalid = |error: proto::Malformed| (Reason::InvalidField, error.to_string());
        let peer = convert::node_id("peer", peer).map_err(invalid)?;
        let pulled = self.puller.cut_from(peer);
        let served = self.agent.tablets.cuts().cut(peer);
        let streams = u32::try_from(pulled + served).unwrap_or(u32::MAX);
        tracing::warn!(%peer, streams, "streams are cut by order");
        Ok(pb::answer::Outcome::PeerCut(pb::PeerCut { streams }))
    }

    async fn version_guard(
        &self,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<crate::guard::VersionGuard, (Reason, String)> {
        let guard = self.agent.version_guard(tablet, version, CATCH_UP_MAX).await;
        guard.map_err(|refused| (Reason::StaleVersion, refused.to_string()))
    }
}

type Answered = Result<pb::answer::Outcome, (Reason, String)>;

fn asked(
    tablet: u64,
    version: Option<proto::types::v1::TopologyVersion>,
) -> Result<(TabletId, TopologyVersion), (Reason, String)> {
    let invalid = |error: proto::Malformed| (Reason::InvalidField, error.to_string());
    let tablet = convert::tablet_id("tablet", tablet).map_err(invalid)?;
    Ok((tablet, convert::version("version", version).map_err(invalid)?))
}

fn holder(holder: Holder) -> pb::Holder {
    let (session, version) = match holder.under {
        HeldUnder::Session(session) => (Some(convert::bytes(session.as_uuid())), None),
        HeldUnder::Version(version) => (None, Some(version.into())),
    };
    let held = holder.held_for.map_or(0, |held| held.as_millis());
    let operation = match holder.operation {
        Some(operation) => operation.to_owned(),
        None => format!("{} short requests", holder.guards),
    };
    pb::Holder {
        session,
        version,
        operation,
        peer: holder.peer.map_or_else(String::new, |peer| peer.to_string()),
        held_ms: u64::try_from(held).unwrap_or(u64::MAX),
        bytes: holder.bytes,
    }
}
