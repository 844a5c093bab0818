//! Step 4 of a barrier: waiting until nothing older can act here, and saying who still does. Every
//! drain is one of these, within a barrier or not: past the deadline it is forced.

use super::{Tablet, Tablets};
use crate::guard::{Turnstile, VersionGate};
use crate::holders::Holder;
use crate::lock::locked;
use crate::sessions::Session;
use crate::wait::{Wait, bounded};
use futures::future::join_all;
use migrations::id::TabletId;
use migrations::version::TopologyVersion;
use process::wait::bounded as bounded_by;
use proto::reasons::Reason;
use std::sync::Arc;
use tokio::time::Instant;

impl Tablets {
    /// Returns once no guard lives of a session of this tablet that is closed by now, and no
    /// version guard older than `version`. What is closed later is a later barrier's business.
    /// The version must have been taken on. Past the drain deadline, counted from when they were
    /// closed, those who hold guards are forced out; it returns when they are gone all the same.
    /// Cancel safe: it owns nothing.
    pub async fn drain(&self, tablet: TabletId, version: TopologyVersion) {
        let Some(tablet) = self.find(tablet) else { return };
        self.drained(&tablet, |gate| gate.version() < version).await;
        tablet.sweep(&self.sessions);
    }

    /// Who a drain of this tablet waits for now.
    pub fn holders(&self, tablet: TabletId) -> Vec<Holder> {
        self.find(tablet).map_or_else(Vec::new, |tablet| tablet.holders())
    }

    /// Who any drain waits for now.
    pub fn all_holders(&self) -> Vec<Holder> {
        self.all().iter().flat_map(|tablet| tablet.holders()).collect()
    }

    /// For an admission: closes every session and the gate of every tablet, and returns once no
    /// guard of either kind lives. Nothing is served, and no work begins, before the tablet is
    /// taken on again. Cancel safe; to be called again then.
    pub async fn close_and_drain_all(&self) {
        let all = self.all();
        for tablet in &all {
            let mut step = tablet.step.lock().await;
            step.done = None;
            tablet.close_sessions(None);
            tablet.await_entry();
        }
        // At one time: what is forced on many tablets takes no longer than on one.
        join_all(all.iter().map(|tablet| async {
            self.drained(tablet, |_| true).await;
            tablet.sweep(&self.sessions);
        }))
        .await;
    }

    /// Returns once the sessions that are closed by now, and the gates that are meant, have
    /// drained; by force, if they don't by themselves. Cancel safe.
    pub(super) async fn drained(&self, tablet: &Tablet, is_meant: impl Fn(&VersionGate) -> bool) {
        let (sessions, gates) = tablet.closed(is_meant);
        let turnstiles = sessions.iter().map(|session| session.turnstile());
        let turnstiles = turnstiles.chain(gates.iter().map(|gate| gate.turnstile()));
        join_all(turnstiles.map(|turnstile| self.left(tablet, turnstile))).await;
    }

    /// Returns once all have left who were inside when it was closed. Each has the whole deadline
    /// from then on: who was told to leave a moment ago is not to blame for those who were told
    /// before. A drain that is begun anew, with another attachment, does not begin to wait anew.
    async fn left(&self, tablet: &Tablet, turnstile: &Turnstile) {
        let deadline = turnstile.closed_at() + Wait::Drain.bound(&self.settings());
        let patience = deadline.saturating_duration_since(Instant::now());
        if bounded_by(Wait::Drain, patience, turnstile.drained()).await.is_ok() {
            return;
        }
        self.force(tablet, turnstile);
        if bounded(Wait::Forced, &self.settings(), turnstile.drained()).await.is_err() {
            let holders = tablet.holders();
            let detail = format!("tablet {}: guards can't be ended: {holders:?}", tablet.id);
            self.fitness.found_unfit(Reason::SessionClosing, &detail);
            // Nothing is acknowledged before it is over, however long that takes.
            turnstile.drained().await;
        }
    }

    /// From here on the store refuses what these guards permitted (work of closed sessions is
    /// refused already), and the tasks that hold them are told to drop them. Ends nothing by itself.
    fn force(&self, tablet: &Tablet, turnstile: &Turnstile) {
        if turnstile.force() {
            tracing::warn!(tablet = %tablet.id, holders = ?tablet.holders(), "a drain is forced");
            self.sessions.metrics().drain_forced();
        }
    }
}

impl Tablet {
    /// The sessions that are closed by now, and the gates that are meant.
    fn closed(
        &self,
        is_meant: impl Fn(&VersionGate) -> bool,
    ) -> (Vec<Arc<Session>>, Vec<Arc<VersionGate>>) {
        let past = locked(&self.past);
        let is_closed = |session: &&Arc<Session>| session.turnstile().gate().is_closed();
        let sessions = past.sessions.iter().filter(is_closed).cloned().collect();
        (sessions, past.gates.iter().filter(|gate| is_meant(gate)).cloned().collect())
    }

    /// Whether guards that were forced out are still held.
    pub(super) fn is_stuck(&self) -> bool {
        let (sessions, gates) = self.closed(|_| true);
        let mut all = sessions.iter().map(|session| session.turnstile());
        let mut gates = gates.iter().map(|gate| gate.turnstile());
        all.any(Turnstile::is_stuck) || gates.any(Turnstile::is_stuck)
    }

    fn holders(&self) -> Vec<Holder> {
        let past = locked(&self.past);
        let closed = past.sessions.iter().filter(|s| s.turnstile().gate().is_closed());
        let sessions = closed.flat_map(|session| session.holders());
        sessions.chain(past.gates.iter().flat_map(|gate| gate.holders())).collect()
    }
}
