//! Guards: permission as a value. Whoever holds one may act; a barrier waits until it is gone.
//!
//! A [`FrozenGuard`] says under which session, and holds nothing. A [`TopologyGuard`] is live, for
//! a session's work; a [`VersionGuard`] is live, for a data request, a purge or a cleanup. Live
//! guards are owned and can't be cloned: one piece of work, one guard, and it travels with the
//! side effect — into a blocking task, say — not with the request that asked for it. INV-2.

use crate::holders::{HeldUnder, Holder, Work, holders};
use crate::lock::{AtomicU64, Mutex, locked};
use crate::rule::{Rule, is_undone};
use crate::sessions::Session;
use migrations::gate::{Closed, Gate};
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::record::TabletRecord;
use migrations::version::{CopyId, TopologyVersion};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A guard in transit: says under which session, holds nothing open, may be copied and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrozenGuard(pub SessionId);

/// Work under this guard must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// The session was closed.
    #[error("the session is closing")]
    SessionClosing,
    /// The lease ran out, or was given up, since the guard was handed out.
    #[error("the lease has run out")]
    LeaseExpired,
}

/// A gate in one atomic, with somebody to tell when it has drained.
#[derive(Debug)]
pub(crate) struct Turnstile {
    gate: AtomicU64,
    drained: Notify,
    works: Mutex<Vec<Arc<Work>>>,
    /// When it was closed.
    closed: OnceLock<Instant>,
    /// Fires when those who are inside are not waited for in patience any more.
    forced: CancellationToken,
}

impl Turnstile {
    pub(crate) fn new(gate: Gate) -> Turnstile {
        let (works, forced) = (Mutex::default(), CancellationToken::new());
        let closed = OnceLock::new();
        if gate.is_closed() {
            let _first = closed.set(Instant::now());
        }
        let gate = AtomicU64::new(gate.number());
        Turnstile { gate, drained: Notify::new(), works, closed, forced }
    }

    #[inline]
    pub(crate) fn gate(&self) -> Gate {
        Gate::from_number(self.gate.load(Ordering::Acquire))
    }

    pub(crate) fn enter(&self) -> Result<(), Closed> {
        if is_undone(Rule::EntersInOneStep) && !self.gate().is_closed() {
            self.gate.fetch_add(Gate::ONE, Ordering::AcqRel);
            return Ok(());
        }
        let entered = |number| Gate::from_number(number).enter().ok().map(Gate::number);
        let before = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, entered);
        before.map(|_| ()).map_err(|_| Closed)
    }

    fn leave(&self) {
        let before = self.gate.fetch_sub(Gate::ONE, Ordering::AcqRel);
        if Gate::from_number(before).leave().has_drained() {
            self.drained.notify_waiters();
        }
    }

    pub(crate) fn close(&self) {
        let closed = |number| Some(Gate::from_number(number).close().number());
        let _again = self.closed.set(Instant::now());
        let _always = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, closed);
        if self.gate().has_drained() {
            self.drained.notify_waiters();
        }
    }

    /// When it was closed; now, if it is not. A drain that is begun anew counts from here.
    pub(crate) fn closed_at(&self) -> Instant {
        self.closed.get().copied().unwrap_or_else(Instant::now)
    }

    /// Whether those who are inside were told to leave, and have not.
    pub(crate) fn is_stuck(&self) -> bool {
        self.forced.is_cancelled() && !self.gate().has_drained()
    }

    /// Has the tasks dropped that are inside, as far as they can be; whether they were not told
    /// so before.
    pub(crate) fn force(&self) -> bool {
        let is_first = !self.forced.is_cancelled();
        self.forced.cancel();
        is_first
    }

    /// Returns once it is closed and empty. Cancel safe: it owns nothing.
    pub(crate) async fn drained(&self) {
        loop {
            if is_undone(Rule::ListensBeforeTheLook) && !self.gate().has_drained() {
                let _too_late_to_matter = self.gate();
                self.drained.notified().await;
            }
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable(); // Before the look, so that no wake-up falls between.
            if self.gate().has_drained() {
                return;
            }
            drained.await;
        }
    }

    pub(crate) fn holders(&self, tablet: TabletId, under: HeldUnder) -> Vec<Holder> {
        let works = locked(&self.works).clone();
        holders(tablet, under, self.gate().inside(), &works)
    }

    fn describe(&self, work: Work) -> Arc<Work> {
        let work = Arc::new(work);
        locked(&self.works).push(Arc::clone(&work));
        work
    }

    fn forget(&self, work: &Arc<Work>) {
        locked(&self.works).retain(|other| !Arc::ptr_eq(other, work));
    }
}

/// A guard in force, for a session's work: while it lives, no barrier that closes its session
/// completes here. Not `Clone`.
#[derive(Debug)]
#[must_use = "work outside a live guard is what the protocol forbids"]
pub struct TopologyGuard {
    session: Arc<Session>,
    epoch: u64,
    work: Option<Arc<Work>>,
    #[cfg(feature = "faults")]
    is_unchecked: bool,
}

impl TopologyGuard {
    /// The caller has entered the session's turnstile; the guard leaves it.
    pub(crate) fn entered(session: Arc<Session>, epoch: u64) -> TopologyGuard {
        TopologyGuard {
            session,
            epoch,
            work: None,
            #[cfg(feature = "faults")]
            is_unchecked: false,
        }
    }

    /// A guard that no check ever refuses: the control that shows what guards are for.
    #[cfg(feature = "faults")]
    pub(crate) fn unchecked(session: Arc<Session>, epoch: u64) -> TopologyGuard {
        TopologyGuard { session, epoch, work: None, is_unchecked: true }
    }

    /// Whether its checks are off, for a control.
    #[cfg(feature = "faults")]
    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        self.is_unchecked
    }

    /// Whether its checks are off, for a control: never, in this build.
    #[cfg(not(feature = "faults"))]
    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        false
    }

    /// Whether work may go on: two atomic loads, for write loops.
    #[inline]
    pub fn check(&self) -> Result<(), Revoked> {
        if self.session.turnstile().gate().is_closed() && !self.is_unchecked() {
            return Err(Revoked::SessionClosing);
        }
        if self.session.epoch() != self.epoch && !self.is_unchecked() {
            return Err(Revoked::LeaseExpired);
        }
        Ok(())
    }

    /// Fires when work must stop. Takes a lock: for `select`, not for write loops.
    pub fn token(&self) -> CancellationToken {
        if self.is_unchecked() { CancellationToken::new() } else { self.session.token(self.epoch) }
    }

    /// Fires when the drain that waits for this guard has lost its patience: whoever holds the
    /// guard drops his work, and the guard with it. A write in a blocking task ends by itself; the
    /// store refuses it.
    pub fn forced(&self) -> CancellationToken {
        self.session.turnstile().forced.clone()
    }

    /// Says what this guard is for, so that a barrier that waits for it can name it. For work
    /// that may last.
    pub fn describe(&mut self, operation: &'static str, peer: Option<NodeId>) -> Arc<Work> {
        self.undescribe();
        let work = self.session.turnstile().describe(Work::begin(operation, peer));
        self.work = Some(Arc::clone(&work));
        work
    }

    /// The session that it is of.
    pub fn session(&self) -> SessionId {
        self.session.id()
    }

    /// The tablet of the session.
    pub fn tablet(&self) -> TabletId {
        self.session.tablet()
    }

    /// The copy on this node that the session works on.
    pub fn copy(&self) -> CopyId {
        self.session.copy()
    }

    fn undescribe(&mut self) {
        if let Some(work) = self.work.take() {
            self.session.turnstile().forget(&work);
        }
    }
}

impl Drop for TopologyGuard {
    fn drop(&mut self) {
        self.undescribe();
        self.session.turnstile().leave();
    }
}

/// What version guards of one version of one tablet are counted by.
#[derive(Debug)]
pub(crate) struct VersionGate {
    record: Arc<TabletRecord>,
    copy: CopyId,
    turnstile: Turnstile,
}

impl VersionGate {
    pub(crate) fn new(record: Arc<TabletRecord>, copy: CopyId) -> VersionGate {
        VersionGate { record, copy, turnstile: Turnstile::new(Gate::OPEN) }
    }

    pub(crate) fn turnstile(&self) -> &Turnstile {
        &self.turnstile
    }

    pub(crate) fn version(&self) -> TopologyVersion {
        self.record.version
    }

    pub(crate) fn enter(self: &Arc<VersionGate>) -> Result<VersionGuard, Closed> {
        self.turnstile.enter()?;
        Ok(VersionGuard { gate: Arc::clone(self), work: None })
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.turnstile.holders(self.record.tablet, HeldUnder::Version(self.record.version))
    }
}

/// A guard in force, for a data request, a purge or a cleanup at one version of one tablet: a
/// barrier of that tablet waits for the older ones. Not `Clone`.
#[derive(Debug)]
#[must_use = "work outside a live guard is what the protocol forbids"]
pub struct VersionGuard {
    gate: Arc<VersionGate>,
    work: Option<Arc<Work>>,
}

impl VersionGuard {
    /// Whether its version is still the tablet's: one atomic load. Work that was admitted may be
    /// finished; what could go on for long stops here.
    #[inline]
    pub fn is_current(&self) -> bool {
        !self.gate.turnstile.gate().is_closed()
    }

    /// Fires when the drain that waits for this guard has lost its patience: whoever holds the
    /// guard drops his work, and the guard with it. A write in a blocking task ends by itself; the
    /// store refuses it.
    pub fn forced(&self) -> CancellationToken {
        self.gate.turnstile.forced.clone()
    }

    /// Whether the drain that waits for this guard has lost its patience: one atomic load.
    #[inline]
    pub fn is_forced(&self) -> bool {
        self.gate.turnstile.forced.is_cancelled()
    }

    /// Says what this guard is for, so that a barrier that waits for it can name it.
    pub fn describe(&mut self, operation: &'static str, peer: Option<NodeId>) -> Arc<Work> {
        self.undescribe();
        let work = self.gate.turnstile.describe(Work::begin(operation, peer));
        self.work = Some(Arc::clone(&work));
        work
    }

    /// The tablet's record at the guard's version.
    pub fn record(&self) -> &Arc<TabletRecord> {
        &self.gate.record
    }

    /// The tablet.
    pub fn tablet(&self) -> TabletId {
        self.gate.record.tablet
    }

    /// The version.
    pub fn version(&self) -> TopologyVersion {
        self.gate.record.version
    }

    /// The copy on this node that the version gives it.
    pub fn copy(&self) -> CopyId {
        self.gate.copy
    }

    fn undescribe(&mut self) {
        if let Some(work) = self.work.take() {
            self.gate.turnstile.forget(&work);
        }
    }
}

impl Drop for VersionGuard {
    fn drop(&mut self) {
        self.undescribe();
        self.gate.turnstile.leave();
    }
}
