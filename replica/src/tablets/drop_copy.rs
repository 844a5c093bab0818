//! Drop orders and full states: the only ways in which a copy goes.

use super::{Now, StepPermit, Tablet, Tablets, TakenOn};
use crate::limits::TAKE_ON_AT_ONCE;
use crate::store::{StepError, StoreError};
use crate::wait::Wait;
use futures::{StreamExt, stream};
use migrations::agent::step::{self, NotDropped};
use migrations::floor::StaleVersion;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::version::{CopyId, TopologyVersion};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// Why a copy was not dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropError {
    /// The order is older than the floor.
    #[error("{0}")]
    Stale(#[from] StaleVersion),
    /// At the order's version the copy belongs to this node.
    #[error("copy {0} is given to this node")]
    Given(CopyId),
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl From<NotDropped> for DropError {
    fn from(refused: NotDropped) -> DropError {
        match refused {
            NotDropped::Stale(stale) => DropError::Stale(stale),
            NotDropped::Given(copy) => DropError::Given(copy),
        }
    }
}

impl From<StepError> for DropError {
    fn from(error: StepError) -> DropError {
        match error {
            StepError::Stale(stale) => DropError::Stale(stale),
            StepError::Store(store) => DropError::Store(store),
        }
    }
}

/// What a full state does with copies that it doesn't give this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// They are dropped.
    Drop,
    /// They stay, and nothing is served from them: the first admission to a cluster that was
    /// restored; an operator decides.
    SetAside,
}

/// What working off a full state has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FullState {
    /// What was taken on.
    pub taken: Vec<TakenOn>,
    /// Records that were older than what this agent has heard of since.
    pub older: Vec<StaleVersion>,
    /// Copies that are gone.
    pub dropped: Vec<(TabletId, CopyId)>,
    /// Copies that were set aside.
    pub set_aside: Vec<(TabletId, CopyId)>,
}

impl Tablets {
    /// Obeys a drop order: takes on its record and drains, then drops the copy, if at exactly the
    /// order's version it isn't given to this node. The floor outlives it. Fine if the copy is
    /// not there. Cancel safe: to be repeated.
    pub async fn drop_copy(
        &self,
        record: &Arc<TabletRecord>,
        copy: CopyId,
        own: NodeId,
    ) -> Result<(), DropError> {
        self.take_on(record, own).await?;
        self.drain(record.tablet, record.version).await;
        let tablet = self.tablet(record.tablet);
        let step = Arc::clone(&tablet.step).lock_owned().await;
        step::admit_drop(record, own, copy, self.store.floor(record.tablet))?;
        // Also if it is not known: of a lost one there may be something left on the disk.
        Ok(self.remove(step, record.tablet, vec![copy], record.version).await?)
    }

    /// Works off a full state that was read at `version`: takes on each record; what it doesn't
    /// list is absent as of then, so that sessions of such tablets are closed and drained, and
    /// their copies dropped or set aside, unless their floors are above `version`. The version
    /// becomes the floor of all that isn't listed. Cancel safe: to be repeated.
    pub async fn full_state(
        &self,
        version: TopologyVersion,
        records: &[Arc<TabletRecord>],
        own: NodeId,
        unlisted: Unlisted,
    ) -> Result<FullState, StoreError> {
        let mut done = FullState::default();
        let taking_on = stream::iter(records.to_vec());
        let mut taking_on = taking_on
            .map(|record| async move { self.take_on(&record, own).await })
            .buffer_unordered(TAKE_ON_AT_ONCE);
        while let Some(taken) = taking_on.next().await {
            match taken {
                Ok(taken) => done.taken.push(taken),
                Err(StepError::Stale(older)) => done.older.push(older),
                Err(StepError::Store(error)) => return Err(error),
            }
        }
        let listed: HashMap<TabletId, &Arc<TabletRecord>> =
            records.iter().map(|record| (record.tablet, record)).collect();
        for (tablet, copy) in self.store.copies() {
            let Some(record) = listed.get(&tablet) else { continue };
            if record.given(own) == Some(copy) {
                continue;
            }
            if unlisted == Unlisted::SetAside {
                self.store.set_aside(&StepPermit::new(), tablet, copy)?;
                done.set_aside.push((tablet, copy));
                continue;
            }
            match self.drop_copy(record, copy, own).await {
                Ok(()) => done.dropped.push((tablet, copy)),
                Err(DropError::Store(error)) => return Err(error),
                // A newer record decides.
                Err(DropError::Stale(_) | DropError::Given(_)) => {}
            }
        }
        for tablet in self.all() {
            if !listed.contains_key(&tablet.id) {
                self.leave_out(&tablet, version, unlisted, &mut done).await?;
            }
        }
        self.forget_unlisted(version, &|tablet| listed.contains_key(&tablet)).await?;
        Ok(done)
    }

    /// Ends what a full state of `version` doesn't list.
    async fn leave_out(
        &self,
        tablet: &Tablet,
        version: TopologyVersion,
        unlisted: Unlisted,
        done: &mut FullState,
    ) -> Result<(), StoreError> {
        {
            let mut step = tablet.step.lock().await;
            let floor = self.store.floor(tablet.id);
            if !step::is_left_out(floor, version) {
                return Ok(());
            }
            let floor = floor.version();
            step.done = None;
            tablet.close_sessions(None);
            // With its record, so that the session it names is not forgotten before the floor
            // is above it.
            let now = tablet.now.load_full();
            let (record, copy) = (now.record.clone(), now.copy);
            tablet.publish(Now { floor, record, copy, is_awaiting: true, gate: None });
        }
        self.drained(tablet, |_| true).await;
        let step = Arc::clone(&tablet.step).lock_owned().await;
        let copies = self.store.known(tablet.id).map_or_else(Vec::new, |known| known.copies);
        if !step::is_left_out(self.store.floor(tablet.id), version) {
            return Ok(());
        }
        if !copies.is_empty() {
            self.keep_floor(tablet.id, version)?;
        }
        tablet.publish(Now::absent(version));
        tablet.sweep(&self.sessions);
        let ended = copies.iter().map(|copy| (tablet.id, *copy));
        match unlisted {
            Unlisted::SetAside => {
                for copy in &copies {
                    self.store.set_aside(&StepPermit::new(), tablet.id, *copy)?;
                }
                done.set_aside.extend(ended);
            }
            Unlisted::Drop if copies.is_empty() => {}
            Unlisted::Drop => {
                done.dropped.extend(ended);
                self.remove(step, tablet.id, copies, version).await?;
            }
        }
        Ok(())
    }

    /// Makes the floor durable that outlives the copies, then drops them. The lock goes with the
    /// work, so that a caller who goes away doesn't let another step in between; and so does who is
    /// told that the disk has failed.
    async fn remove(
        &self,
        step: OwnedMutexGuard<super::Step>,
        tablet: TabletId,
        copies: Vec<CopyId>,
        version: TopologyVersion,
    ) -> Result<(), StoreError> {
        self.keep_floor(tablet, version)?;
        self.durable().await?;
        let (store, fitness) = (Arc::clone(&self.store), Arc::clone(&self.fitness));
        let dropping = tokio::task::spawn_blocking(move || {
            let _step = step;
            let mut copies = copies.iter();
            let dropped =
                copies.try_for_each(|copy| store.drop_copy(&StepPermit::new(), tablet, *copy));
            dropped.inspect_err(|error| {
                let detail = format!("a copy can't be dropped: {error}");
                fitness.found_unfit(error.reason(), &detail);
            })
        });
        let died = |_| StoreError::Damaged { detail: "the row store panicked in a drop".into() };
        let dropping = async { dropping.await.map_err(died)? };
        self.found_out(Wait::Drop, "a copy can't be dropped", dropping).await?;
        self.durable().await
    }

    fn keep_floor(&self, tablet: TabletId, version: TopologyVersion) -> Result<(), StoreError> {
        let kept = self.store.keep_floor(&StepPermit::new(), tablet, version);
        self.failed("a floor can't be written", kept)
    }

    async fn forget_unlisted(
        &self,
        version: TopologyVersion,
        is_listed: &(dyn Fn(TabletId) -> bool + Sync),
    ) -> Result<(), StoreError> {
        let raised = self.store.raise_unlisted(&StepPermit::new(), version, is_listed);
        self.failed("a floor can't be written", raised)?;
        self.durable().await?;
        let mut tablets = self.tablets.write().unwrap_or_else(PoisonError::into_inner);
        // One in somebody's hand is kept; the next full state comes by here again.
        tablets.retain(|id, tablet| {
            let is_in_hand = Arc::strong_count(tablet) > 1;
            is_in_hand || is_listed(*id) || self.store.known(*id).is_some()
        });
        Ok(())
    }
}
