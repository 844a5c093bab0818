//! The agent's table of tablets: at which version each is obeyed and served, and the agent's part
//! of a barrier: take on (steps 1 to 3), drain (step 4), drop.
//!
//! Not here: the acknowledgement and its connection, streams, answering data requests. INV-2,
//! INV-3, INV-5.

mod drain;
mod drop_copy;
mod durable;
mod permit;
mod take_on;

pub use drop_copy::{DropError, FullState, Unlisted};
pub use migrations::agent::step::CopyState;
pub use permit::StepPermit;
pub use take_on::TakenOn;

use crate::clock::NodeClock;
use crate::fitness::{DiskTrouble, Fitness};
use crate::guard::{VersionGate, VersionGuard};
use crate::lock::{Mutex, RwLock, locked, spin_loop};
use crate::sessions::{Session, Sessions};
use crate::store::{Known, TabletStore};
use crate::stream::Cuts;
use arc_swap::ArcSwap;
use migrations::agent::admit::{VersionRefused, admit_version};
use migrations::agent::step;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::settings::Settings;
use migrations::version::{CopyId, TopologyVersion};
use proto::reasons::Reason;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Why no version guard is handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is older than the floor; here is the tablet's record, if one is known.
    #[error("the version is older than the tablet's")]
    Stale(Option<Arc<TabletRecord>>),
    /// The request is newer than what this agent has heard of; here is what it has.
    #[error("the version is newer than the tablet's here")]
    Ahead(Option<Arc<TabletRecord>>),
    /// At this version this node has no copy.
    #[error("this node is no replica of the tablet")]
    NotReplica(Option<Arc<TabletRecord>>),
    /// The copy is lost.
    #[error("the copy is lost")]
    Lost(Arc<TabletRecord>),
    /// This process is being admitted, and has not worked off the tablet's entry yet.
    #[error("this node is being admitted")]
    Awaiting,
}

impl Refused {
    /// The reason on the closed list.
    pub fn reason(&self) -> Reason {
        match self {
            Refused::Stale(_) => Reason::StaleVersion,
            Refused::Ahead(_) => Reason::VersionAhead,
            Refused::NotReplica(_) => Reason::NotReplica,
            Refused::Lost(_) => Reason::DataDamaged,
            Refused::Awaiting => Reason::NodeNotReady,
        }
    }
}

/// All tablets that this agent has heard of.
#[derive(Debug)]
pub struct Tablets {
    store: Arc<dyn TabletStore>,
    sessions: Arc<Sessions>,
    clock: Arc<NodeClock>,
    tablets: RwLock<HashMap<TabletId, Arc<Tablet>>>,
    /// Shared with what goes on when whoever waited for it is gone.
    fitness: Arc<Fitness>,
    /// What bounds its waits.
    settings: ArcSwap<Settings>,
    cuts: Cuts,
}

/// One tablet on this agent.
#[derive(Debug)]
struct Tablet {
    id: TabletId,
    /// Held by whoever does a step, over the sync: tokio's, since steps 1 to 3 are one step, and
    /// a second barrier must not open or close anything between another's sync and its switch.
    step: Arc<tokio::sync::Mutex<Step>>,
    now: ArcSwap<Now>,
    past: Mutex<Past>,
}

/// The last step that was done to its end.
#[derive(Debug, Default)]
struct Step {
    done: Option<(Arc<TabletRecord>, TakenOn)>,
}

/// What requests and work see of a tablet.
#[derive(Debug)]
struct Now {
    floor: TopologyVersion,
    record: Option<Arc<TabletRecord>>,
    copy: CopyState,
    /// Whether nothing is served before the tablet's entry in a full state is worked off.
    is_awaiting: bool,
    gate: Option<Arc<VersionGate>>,
}

/// What may still have guards.
#[derive(Debug, Default)]
struct Past {
    /// The tablet's sessions that are not forgotten; the open one too.
    sessions: Vec<Arc<Session>>,
    /// Gates of earlier versions: closed.
    gates: Vec<Arc<VersionGate>>,
}

impl Tablets {
    /// The tablets that the store knows, each at its durable floor. No session is open; those that
    /// the records name count as closed, since the process that had them open is gone. `own` is
    /// this node's id, if it has ever been admitted.
    pub fn open(
        store: Arc<dyn TabletStore>,
        sessions: Arc<Sessions>,
        clock: Arc<NodeClock>,
        own: Option<NodeId>,
    ) -> Tablets {
        let all = store.all_known();
        let known = all.iter().map(|known| (known.tablet, Tablet::found(known, own, &sessions)));
        let tablets = RwLock::new(known.collect());
        let fitness = Arc::new(Fitness::new(Arc::clone(&sessions)));
        let settings = ArcSwap::from_pointee(Settings::DEFAULT);
        let cuts = Cuts::default();
        Tablets { store, sessions, clock, tablets, fitness, settings, cuts }
    }

    /// The same, in a directory that was brought over to another cluster: no tablet is served
    /// before its entry in that cluster's full state is worked off. What is known here is the old
    /// cluster's. Written by that, a row would be on copies that the new one may not give.
    #[must_use]
    pub fn awaiting_all(self) -> Tablets {
        self.all().iter().for_each(|tablet| tablet.await_entry());
        self
    }

    /// The streams that are served from these tablets.
    pub(crate) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// Admits a data request, a purge or a cleanup at a version of a tablet.
    pub fn version_guard(
        &self,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<VersionGuard, Refused> {
        let Some(tablet) = self.find(tablet) else {
            let is_older = self.store.floor(tablet).admit(version).is_err();
            return Err(if is_older { Refused::Stale(None) } else { Refused::Ahead(None) });
        };
        loop {
            let now = tablet.now.load();
            let gate = now.admit(version)?;
            match gate.enter() {
                Ok(guard) => return Ok(guard),
                // The version went on in between; what is published now says how.
                Err(_) => spin_loop(),
            }
        }
    }

    /// The tablet's record, as this agent obeys it.
    pub fn record(&self, tablet: TabletId) -> Option<Arc<TabletRecord>> {
        self.find(tablet)?.now.load().record.clone()
    }

    /// All records that this agent obeys.
    pub fn records(&self) -> Vec<Arc<TabletRecord>> {
        self.all().iter().filter_map(|tablet| tablet.now.load().record.clone()).collect()
    }

    /// How this node stands to its copy of a tablet.
    pub fn copy(&self, tablet: TabletId) -> CopyState {
        self.find(tablet).map_or(CopyState::None, |tablet| tablet.now.load().copy)
    }

    /// All copies that should be here and are gone.
    pub fn lost(&self) -> Vec<(TabletId, CopyId)> {
        let all = self.all();
        let lost = all.iter().filter_map(|tablet| match tablet.now.load().copy {
            CopyState::Lost(copy) => Some((tablet.id, copy)),
            CopyState::None | CopyState::Here(_) => None,
        });
        lost.collect()
    }

    /// How many version guards are held.
    pub fn version_guards(&self) -> u64 {
        self.all().iter().map(|tablet| tablet.version_guards()).sum()
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn TabletStore> {
        &self.store
    }

    /// The sessions that it opens and closes.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Whether this node can do what is asked of it.
    pub fn fitness(&self) -> &Fitness {
        &self.fitness
    }

    /// What keeps this node from taking rows on, though it is fit.
    pub(crate) fn disk_trouble(&self) -> Option<DiskTrouble> {
        self.fitness.disk_trouble(&self.store.room_for_rows(), Instant::now())
    }

    /// What is the same everywhere, as last heard.
    pub fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// What is the same everywhere has changed.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    fn find(&self, tablet: TabletId) -> Option<Arc<Tablet>> {
        let tablets = self.tablets.read().unwrap_or_else(PoisonError::into_inner);
        tablets.get(&tablet).map(Arc::clone)
    }

    fn all(&self) -> Vec<Arc<Tablet>> {
        let tablets = self.tablets.read().unwrap_or_else(PoisonError::into_inner);
        tablets.values().map(Arc::clone).collect()
    }

    /// The tablet, which is new if nothing was known of it.
    fn tablet(&self, id: TabletId) -> Arc<Tablet> {
        if let Some(tablet) = self.find(id) {
            return tablet;
        }
        let mut tablets = self.tablets.write().unwrap_or_else(PoisonError::into_inner);
        let floor = self.store.floor(id).version();
        let fresh = || Arc::new(Tablet::new(id, Now::absent(floor)));
        Arc::clone(tablets.entry(id).or_insert_with(fresh))
    }
}

impl Tablet {
    fn new(id: TabletId, now: Now) -> Tablet {
        let (step, past) = (Arc::default(), Mutex::default());
        Tablet { id, step, now: ArcSwap::from_pointee(now), past }
    }

    fn found(known: &Known, own: Option<NodeId>, sessions: &Sessions) -> Arc<Tablet> {
        let mut now = Now::absent(known.floor.version());
        now.record = known.record.clone();
        let mut past = Past::default();
        if let (Some(record), Some(copy)) = (&known.record, known.given) {
            now.copy = step::found(record, own, copy);
            now.gate = now.fresh_gate();
            let session = record.session();
            past.sessions
                .extend(session.map(|id| sessions.remember_closed(id, known.tablet, copy)));
        }
        let mut tablet = Tablet::new(known.tablet, now);
        tablet.past = Mutex::new(past);
        Arc::new(tablet)
    }

    /// Publishes what holds from here on. The gate of what held before is closed; its guards are
    /// for a drain to wait for.
    fn publish(&self, now: Now) {
        let kept = now.gate.clone();
        let before = self.now.swap(Arc::new(now));
        // Published first: who finds the old gate closed must find the new one.
        if let Some(gate) = &before.gate
            && !kept.is_some_and(|kept| Arc::ptr_eq(&kept, gate))
        {
            gate.turnstile().close();
            locked(&self.past).gates.push(Arc::clone(gate));
        }
    }

    /// Nothing is served from here on, until the tablet is taken on again.
    fn await_entry(&self) {
        let now = self.now.load_full();
        let (floor, record, copy) = (now.floor, now.record.clone(), now.copy);
        self.publish(Now { floor, record, copy, is_awaiting: true, gate: None });
    }

    fn version_guards(&self) -> u64 {
        let current = self.now.load().gate.clone();
        let past = locked(&self.past);
        let gates = past.gates.iter().chain(&current);
        gates.map(|gate| gate.turnstile().gate().inside()).sum()
    }

    /// Closes every session but `named`.
    fn close_sessions(&self, named: Option<migrations::id::SessionId>) {
        let past = locked(&self.past);
        past.sessions.iter().filter(|s| Some(s.id()) != named).for_each(|session| session.close());
    }

    /// Forgets what has drained. A session that the record still names is remembered, so that a
    /// repeated barrier finds it closed. INV-3.
    fn sweep(&self, sessions: &Sessions) {
        let record = self.now.load().record.clone();
        let mut past = locked(&self.past);
        past.gates.retain(|gate| !gate.turnstile().gate().has_drained());
        past.sessions.retain(|session| {
            let gate = session.turnstile().gate();
            let is_over = step::may_forget(gate, session.id(), record.as_deref());
            if is_over {
                sessions.forget(session);
            }
            !is_over
        });
    }
}

impl Now {
    fn absent(floor: TopologyVersion) -> Now {
        Now { floor, record: None, copy: CopyState::None, is_awaiting: false, gate: None }
    }

    fn fresh_gate(&self) -> Option<Arc<VersionGate>> {
        match (self.copy, &self.record) {
            (CopyState::Here(copy), Some(record)) => {
                Some(Arc::new(VersionGate::new(Arc::clone(record), copy)))
            }
            _ => None,
        }
    }

    fn admit(&self, version: TopologyVersion) -> Result<&Arc<VersionGate>, Refused> {
        let record = || self.record.clone();
        let admitted = admit_version(version, self.floor, self.copy, self.is_awaiting);
        match (admitted, &self.gate, &self.record) {
            (Ok(_), Some(gate), _) => Ok(gate),
            (Err(VersionRefused::Awaiting), ..) => Err(Refused::Awaiting),
            (Err(VersionRefused::Stale), ..) => Err(Refused::Stale(record())),
            (Err(VersionRefused::Ahead), ..) => Err(Refused::Ahead(record())),
            (Err(VersionRefused::Lost), _, Some(record)) => Err(Refused::Lost(Arc::clone(record))),
            (Ok(_) | Err(VersionRefused::Lost | VersionRefused::NotReplica), ..) => {
                Err(Refused::NotReplica(record()))
            }
        }
    }
}
