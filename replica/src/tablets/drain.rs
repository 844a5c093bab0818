//! Step 4 of a barrier: waiting until nothing older can act here, and saying who still does.

use super::{Now, StepPermit, Tablet, Tablets};
use crate::guard::VersionGate;
use crate::holders::Holder;
use crate::limits::DRAIN_NAG_INTERVAL;
use crate::lock::locked;
use crate::sessions::Session;
use migrations::id::TabletId;
use migrations::version::TopologyVersion;
use std::sync::Arc;

impl Tablets {
    /// Returns once no guard lives of a session of this tablet that is closed by now, and no
    /// version guard older than `version`. What is closed later is a later barrier's business.
    /// The version must have been taken on. Cancel safe: it owns nothing.
    pub async fn drain(&self, tablet: TabletId, version: TopologyVersion) {
        let Some(tablet) = self.find(tablet) else { return };
        tablet.drained(|gate| gate.version() < version).await;
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

    /// Past the drain deadline: from here on the store refuses writes that were admitted at
    /// earlier versions of this tablet. (Work of closed sessions has been told to stop, and is
    /// refused, already.) Ends nothing by itself: the drain still waits until guards are gone.
    pub async fn force(&self, tablet: TabletId) {
        let Some(tablet) = self.find(tablet) else { return };
        let _step = tablet.step.lock().await;
        let floor = tablet.now.load().floor;
        self.store.refuse_older(&StepPermit::new(), tablet.id, floor);
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
            let now = tablet.now.load_full();
            let (floor, record, copy) = (now.floor, now.record.clone(), now.copy);
            tablet.publish(Now { floor, record, copy, is_awaiting: true, gate: None });
        }
        for tablet in &all {
            tablet.drained(|_| true).await;
            tablet.sweep(&self.sessions);
        }
    }
}

impl Tablet {
    /// Returns once the sessions that are closed by now, and the gates that are meant, have
    /// drained; says now and then for whom it waits. Cancel safe.
    pub(super) async fn drained(&self, is_meant: impl Fn(&VersionGate) -> bool) {
        let (sessions, gates) = {
            let past = locked(&self.past);
            let is_closed = |session: &&Arc<Session>| session.turnstile().gate().is_closed();
            let sessions: Vec<_> = past.sessions.iter().filter(is_closed).cloned().collect();
            let gates: Vec<_> = past.gates.iter().filter(|gate| is_meant(gate)).cloned().collect();
            (sessions, gates)
        };
        let turnstiles = sessions.iter().map(|session| session.turnstile());
        for turnstile in turnstiles.chain(gates.iter().map(|gate| gate.turnstile())) {
            // What has drained stays drained: they can be waited for one after the other.
            while tokio::time::timeout(DRAIN_NAG_INTERVAL, turnstile.drained()).await.is_err() {
                tracing::warn!(tablet = %self.id, holders = ?self.holders(), "drain still waits");
            }
        }
    }

    fn holders(&self) -> Vec<Holder> {
        let past = locked(&self.past);
        let closed = past.sessions.iter().filter(|s| s.turnstile().gate().is_closed());
        let sessions = closed.flat_map(|session| session.holders());
        sessions.chain(past.gates.iter().flat_map(|gate| gate.holders())).collect()
    }
}
