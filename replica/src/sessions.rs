//! The sessions of an agent: open, then closing, then closed. Never back. INV-2, INV-3.
//!
//! `enter` is the only way to a [`TopologyGuard`]. Opening and closing are steps of a barrier
//! (`tablets`), which also decides when a closed session may be forgotten: once the tablet's
//! durable floor is above the version that named it, since only the floor's version opens.

use crate::guard::{FrozenGuard, TopologyGuard, Turnstile};
use crate::holders::{HeldUnder, Holder};
use crate::lease::Lease;
use crate::lock::{AtomicU64, Mutex, locked};
use crate::metrics::Metrics;
use crate::rule::{Rule, is_undone};
use arc_swap::{ArcSwap, Cache};
use migrations::gate::Gate;
use migrations::id::{SessionId, TabletId};
use migrations::version::CopyId;
use proto::reasons::Reason;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

/// Why a session can't be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// No session of this id is known here for this tablet: never opened, or closed and drained.
    #[error("session {0} is unknown here")]
    SessionUnknown(SessionId),
    /// The session was closed here.
    #[error("session {0} is closing")]
    SessionClosing(SessionId),
    /// This process has given up its lease, or was told that it is fenced.
    #[error("this node is fenced")]
    NodeFenced,
    /// The lease has run out, or none was granted yet.
    #[error("the lease has run out")]
    LeaseExpired,
}

impl EnterError {
    /// The reason on the closed list.
    pub fn reason(self) -> Reason {
        match self {
            EnterError::SessionUnknown(_) => Reason::SessionUnknown,
            EnterError::SessionClosing(_) => Reason::SessionClosing,
            EnterError::NodeFenced => Reason::NodeFenced,
            EnterError::LeaseExpired => Reason::LeaseExpired,
        }
    }
}

/// How many sessions and guards there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounts {
    /// Sessions that can be entered.
    pub open: u64,
    /// Sessions that are closed and still have guards.
    pub closing: u64,
    /// Guards of both.
    pub guards: u64,
}

/// One session on this agent.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    tablet: TabletId,
    copy: CopyId,
    turnstile: Turnstile,
    /// How often the tokens of all guards have been fired without closing the session.
    epoch: AtomicU64,
    /// The token of the guards of the newest epoch.
    token: Mutex<CancellationToken>,
}

impl Session {
    fn new(id: SessionId, tablet: TabletId, copy: CopyId, gate: Gate) -> Session {
        let (epoch, token) = (AtomicU64::new(0), Mutex::default());
        Session { id, tablet, copy, turnstile: Turnstile::new(gate), epoch, token }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn tablet(&self) -> TabletId {
        self.tablet
    }

    pub(crate) fn copy(&self) -> CopyId {
        self.copy
    }

    #[inline]
    pub(crate) fn turnstile(&self) -> &Turnstile {
        &self.turnstile
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The token of the guards of `epoch`: a fired one, if that epoch is over.
    pub(crate) fn token(&self, epoch: u64) -> CancellationToken {
        let token = locked(&self.token);
        if self.epoch() == epoch {
            return token.clone();
        }
        let fired = CancellationToken::new();
        fired.cancel();
        fired
    }

    /// From here on nobody enters, and all who are inside are told to stop.
    pub(crate) fn close(&self) {
        self.turnstile.close();
        locked(&self.token).cancel();
    }

    /// Tells all who are inside to stop; those who enter later are not concerned.
    fn fire(&self) {
        let mut token = locked(&self.token);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        token.cancel();
        if !self.turnstile.gate().is_closed() {
            *token = CancellationToken::new();
        }
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.turnstile.holders(self.tablet, HeldUnder::Session(self.id))
    }
}

/// Session ids are random, and come from group0: eight of their bytes are hash enough.
#[derive(Debug, Default, Clone, Copy)]
struct SessionIdHasher(u64);

impl Hasher for SessionIdHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // The last ones: among the first are those that say which kind of UUID it is.
        self.0 ^= bytes.last_chunk().map_or(0, |last| u64::from_be_bytes(*last));
    }

    fn write_usize(&mut self, _length: usize) {} // All ids are equally long.

    fn finish(&self) -> u64 {
        self.0
    }
}

type Registry = HashMap<SessionId, Arc<Session>, BuildHasherDefault<SessionIdHasher>>;

/// A registry as one thread remembers it.
type Seen = Cache<Arc<ArcSwap<Registry>>, Arc<Registry>>;

thread_local! {
    /// The registry that this thread looked at last, so that looking again costs one atomic load
    /// while it is unchanged. What is found there may be closed and forgotten by now: it is the
    /// session's gate that refuses, not the registry.
    static LAST_SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// All sessions of this agent.
#[derive(Debug)]
pub struct Sessions {
    registry: Arc<ArcSwap<Registry>>,
    /// Held while the registry is changed; readers don't need it.
    changing: Mutex<()>,
    lease: Arc<Lease>,
    metrics: Arc<Metrics>,
    #[cfg(feature = "faults")]
    faults: faults::Faults,
}

impl Sessions {
    /// No session yet; work needs this lease.
    pub fn new(lease: Arc<Lease>) -> Sessions {
        Sessions {
            registry: Arc::default(),
            changing: Mutex::new(()),
            lease,
            metrics: Arc::default(),
            #[cfg(feature = "faults")]
            faults: faults::Faults::default(),
        }
    }

    /// Makes a frozen guard live, for work on this tablet, or says why not. A session of another
    /// tablet is unknown.
    pub fn enter(
        &self,
        frozen: FrozenGuard,
        tablet: TabletId,
    ) -> Result<TopologyGuard, EnterError> {
        let entered = match self.enter_checked(frozen.0, tablet) {
            #[cfg(feature = "faults")]
            Err(refused) => self.faults.enter(frozen.0, tablet).ok_or(refused),
            entered => entered,
        };
        if let Err(refused) = &entered {
            self.metrics.guard_refused(refused.reason());
        }
        entered
    }

    /// What is counted of this agent's work.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// How many sessions and guards there are now.
    pub fn counts(&self) -> SessionCounts {
        let mut counts = SessionCounts::default();
        for session in self.registry.load().values() {
            let gate = session.turnstile.gate();
            counts.open += u64::from(!gate.is_closed());
            counts.closing += u64::from(gate.is_closed() && !gate.has_drained());
            counts.guards += gate.inside();
        }
        counts
    }

    fn enter_checked(&self, id: SessionId, tablet: TabletId) -> Result<TopologyGuard, EnterError> {
        let session = self.find(id).filter(|session| session.tablet == tablet);
        let session = session.ok_or(EnterError::SessionUnknown(id))?;
        // Read before the clock: if the lease runs out in between, the guard is a fired one.
        let epoch = session.epoch();
        if !self.lease.is_held() {
            let is_fenced = self.lease.is_given_up();
            let expired = EnterError::LeaseExpired;
            return Err(if is_fenced { EnterError::NodeFenced } else { expired });
        }
        session.turnstile.enter().map_err(|_| EnterError::SessionClosing(id))?;
        let epoch = if is_undone(Rule::EpochBeforeTheLease) { session.epoch() } else { epoch };
        Ok(TopologyGuard::entered(session, epoch))
    }

    fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        let find = |last_seen: &RefCell<Option<Seen>>| {
            let mut last_seen = last_seen.borrow_mut();
            // Another agent of this process has another registry.
            last_seen.take_if(|seen| !std::ptr::eq(seen.arc_swap(), &raw const *self.registry));
            let seen = last_seen.get_or_insert_with(|| Cache::new(Arc::clone(&self.registry)));
            seen.load().get(&id).cloned()
        };
        // A thread that is ending has no such memory any more.
        LAST_SEEN.try_with(find).unwrap_or_else(|_| self.registry.load().get(&id).cloned())
    }

    /// The lease that work here needs.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// Fires the tokens of all live guards, and fails their checks, without closing a session:
    /// the lease has run out, and may come back.
    pub fn fire_all(&self) {
        self.registry.load().values().for_each(|session| session.fire());
    }

    /// Those that can be entered, with their tablets.
    pub fn open_sessions(&self) -> Vec<(SessionId, TabletId)> {
        let registry = self.registry.load();
        let open = registry.values().filter(|session| !session.turnstile.gate().is_closed());
        open.map(|session| (session.id, session.tablet)).collect()
    }

    /// Opens a session, unless it is known here already, open or closed: then it stays as it is.
    pub(crate) fn open(&self, id: SessionId, tablet: TabletId, copy: CopyId) -> Arc<Session> {
        self.know(Session::new(id, tablet, copy, Gate::OPEN))
    }

    /// Makes a session known as closed, so that nothing opens it.
    pub(crate) fn remember_closed(
        &self,
        id: SessionId,
        tablet: TabletId,
        copy: CopyId,
    ) -> Arc<Session> {
        self.know(Session::new(id, tablet, copy, Gate::OPEN.close()))
    }

    /// Forgets a session that has drained.
    pub(crate) fn forget(&self, session: &Session) {
        debug_assert!(session.turnstile.gate().has_drained(), "INV-2");
        let _changing = locked(&self.changing);
        let mut registry = Registry::clone(&self.registry.load());
        registry.remove(&session.id);
        self.registry.store(Arc::new(registry));
    }

    fn know(&self, session: Session) -> Arc<Session> {
        let _changing = locked(&self.changing);
        let registry = self.registry.load();
        if let Some(known) = registry.get(&session.id)
            && !is_undone(Rule::KnownStays)
        {
            return Arc::clone(known);
        }
        let session = Arc::new(session);
        #[cfg(feature = "faults")]
        self.faults.remember(&session);
        let mut registry = Registry::clone(&registry);
        registry.insert(session.id, Arc::clone(&session));
        self.registry.store(Arc::new(registry));
        session
    }

    /// For the control of the accident: off, `enter` hands out guards of closed and forgotten
    /// sessions too, and the store takes them.
    #[cfg(feature = "faults")]
    pub fn set_guard_check(&self, is_on: bool) {
        self.faults.set_guard_check(is_on);
    }
}

#[cfg(feature = "faults")]
mod faults {
    //! What the controls need: guards of sessions that are long gone.

    use super::{Session, SessionId, TabletId};
    use crate::guard::TopologyGuard;
    use crate::lock::{Mutex, locked};
    use migrations::gate::Gate;
    use migrations::version::CopyId;
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Most sessions that are remembered for a control.
    const GONE: usize = 10_000;

    #[derive(Debug, Default)]
    pub(super) struct Faults {
        is_off: AtomicBool,
        gone: Mutex<HashMap<SessionId, (TabletId, CopyId)>>,
    }

    impl Faults {
        pub(super) fn set_guard_check(&self, is_on: bool) {
            self.is_off.store(!is_on, Ordering::Release);
        }

        pub(super) fn remember(&self, session: &Session) {
            let mut gone = locked(&self.gone);
            if gone.len() < GONE {
                gone.insert(session.id, (session.tablet, session.copy));
            }
        }

        pub(super) fn enter(&self, id: SessionId, tablet: TabletId) -> Option<TopologyGuard> {
            if !self.is_off.load(Ordering::Acquire) {
                return None;
            }
            let (_, copy) = locked(&self.gone).get(&id).copied().filter(|(t, _)| *t == tablet)?;
            let session = Arc::new(Session::new(id, tablet, copy, Gate::OPEN));
            session.turnstile.enter().ok()?;
            Some(TopologyGuard::unchecked(session, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{LeaseTerms, now};
    use migrations::version::TopologyVersion;
    use std::sync::atomic::AtomicBool;
    use uuid::Uuid;

    /// INV-2, with real threads: once a closed session has drained, nobody is inside, and nobody
    /// who still tries gets in.
    #[tokio::test]
    async fn nobody_is_inside_once_it_has_drained() {
        let lease = Arc::new(Lease::new());
        lease.renewed(LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 }, now());
        let sessions = Arc::new(Sessions::new(lease));
        let tablet = TabletId::from_u64(1).expect("not zero");
        let copy = CopyId(TopologyVersion::from_parts(0, 1));
        for round in 1..200u128 {
            let id = SessionId::from_uuid(Uuid::from_u128(round)).expect("not nil");
            let session = sessions.open(id, tablet, copy);
            let (inside, has_begun) =
                (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let worker = {
                let (sessions, inside) = (Arc::clone(&sessions), Arc::clone(&inside));
                let has_begun = Arc::clone(&has_begun);
                std::thread::spawn(move || {
                    while let Ok(guard) = sessions.enter(FrozenGuard(id), tablet) {
                        inside.fetch_add(1, Ordering::SeqCst);
                        has_begun.store(true, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                })
            };
            while !has_begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            session.close();
            session.turnstile().drained().await;
            assert_eq!(inside.load(Ordering::SeqCst), 0, "INV-2");
            let refused = sessions.enter(FrozenGuard(id), tablet).err();
            assert_eq!(refused, Some(EnterError::SessionClosing(id)));
            worker.join().expect("it ends when it is refused");
            sessions.forget(&session);
        }
        assert_eq!(sessions.open_sessions(), []);
    }
}
