//! What the parts of a replica agent share: who it is, what it obeys, and its attachment.

use crate::clock::NodeClock;
use crate::guard::VersionGuard;
use crate::lease;
use crate::lock::{Mutex, locked};
use crate::metrics::{Metrics, State};
use crate::sessions::Sessions;
use crate::store::{Directory, StepError};
use crate::stream::{Own, Standing, Throttle};
use crate::tablets::{Refused, Tablets, TakenOn};
use crate::wait::{Wait, bounded};
use arc_swap::{ArcSwap, ArcSwapOption};
use migrations::id::{AdmissionToken, ClusterId, NodeId, TabletId};
use migrations::node::NodeLocation;
use migrations::pull::Bounds;
use migrations::record::TabletRecord;
use migrations::settings::Settings;
use migrations::state::FEATURE_LEVEL;
use migrations::version::TopologyVersion;
use process::wait::bounded as bounded_by;
use proto::agent::v1::{AttachRequest, CatchUp, NodeName, attach_request::Event};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tls::{Dial, Kind, Tls};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Whether a token may be in a request for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    No,
    Maybe,
}

/// Where what an agent has to say goes, over one attachment.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    pub(crate) messages: mpsc::Sender<AttachRequest>,
    /// Ends the attachment.
    pub(crate) end: CancellationToken,
}

/// A replica agent.
#[derive(Debug)]
pub struct Agent {
    pub(crate) tablets: Arc<Tablets>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<NodeClock>,
    location: NodeLocation,
    feature_level: u32,
    tls: Option<Tls>,
    /// By which other nodes are known at the ends of streams.
    names: ArcSwap<BTreeMap<NodeId, String>>,
    admitted: ArcSwapOption<Own>,
    throttle: Throttle,
    /// The token that this process greets with while it is not admitted, and whether it may be in
    /// a request for admission already.
    asking: Mutex<Option<(AdmissionToken, Spent)>>,
    outbox: Mutex<Option<Outbox>>,
    /// Whether it has had an outbox since its start.
    has_attached: AtomicBool,
    /// Told whenever a tablet was taken on.
    taken_on: Notify,
    #[cfg(feature = "faults")]
    pub(crate) faults: Arc<crate::faults::Faults>,
}

impl Agent {
    /// An agent over a directory and its tablets, where others reach it; not admitted yet.
    pub fn new(
        directory: Arc<Directory>,
        tablets: Arc<Tablets>,
        clock: Arc<NodeClock>,
        location: NodeLocation,
    ) -> Agent {
        Agent {
            tablets,
            directory,
            clock,
            location,
            feature_level: FEATURE_LEVEL,
            tls: None,
            names: ArcSwap::default(),
            admitted: ArcSwapOption::empty(),
            throttle: Throttle::default(),
            asking: Mutex::new(None),
            outbox: Mutex::new(None),
            has_attached: AtomicBool::new(false),
            taken_on: Notify::new(),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        }
    }

    /// With an identity that it shows to others, and looks for at them.
    #[must_use]
    pub fn showing(mut self, tls: Option<Tls>) -> Agent {
        self.tls = tls;
        self
    }

    /// How it dials coordinators.
    pub(crate) fn dial_coordinators(&self) -> Dial {
        Dial::new(self.tls.clone(), Kind::Coordinator)
    }

    /// Takes the names of all nodes in.
    pub(crate) fn set_names(&self, nodes: Vec<NodeName>) {
        let known = |node: NodeName| Some((NodeId::from_u64(node.node)?, node.name));
        self.names.store(Arc::new(nodes.into_iter().filter_map(known).collect()));
    }

    /// With the faults of the disk that its store is on.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn on_disk(mut self, disk: Arc<crate::faults::DiskFaults>) -> Agent {
        self.faults = Arc::new(crate::faults::Faults { disk, ..Default::default() });
        self
    }

    /// The sessions that it has.
    pub fn sessions(&self) -> &Arc<Sessions> {
        self.tablets.sessions()
    }

    /// What is counted of its work.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.sessions().metrics()
    }

    /// Brings metrics that are computed up to date.
    pub(crate) fn measure(&self) {
        let (sessions, lease) = (self.sessions().counts(), self.sessions().lease());
        let left = lease.until().0.saturating_sub(lease::now().0);
        self.metrics().look(State {
            open_sessions: sessions.open,
            closing_sessions: sessions.closing,
            session_guards: sessions.guards,
            version_guards: self.tablets.version_guards(),
            is_lease_valid: left > 0,
            lease_left: Duration::from_nanos(left),
            has_disk_trouble: self.tablets.disk_trouble().is_some(),
            is_unfit: self.tablets.fitness().unfit().is_some(),
            is_attached: locked(&self.outbox).is_some(),
            copies: self.tablets.store().copies().len() as u64,
            lost_copies: self.tablets.lost().len() as u64,
            // A disk that doesn't answer has no room either.
            room_bytes: self.tablets.store().room_for_rows().unwrap_or(0),
        });
    }

    /// Whether it is ready: once it has been attached, its full state worked off. It stays ready
    /// while coordinators are away, since data is served without them.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        match self.has_attached.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("not attached since the start of this process"),
        }
    }

    /// As whom this process was admitted, unless it was fenced since.
    pub fn admitted(&self) -> Option<Own> {
        self.admitted.load().as_deref().copied()
    }

    pub(crate) fn set_admitted(&self, admitted: Option<Own>) {
        self.admitted.store(admitted.map(Arc::new));
    }

    /// The cluster that its directory belongs to, also before this process was admitted.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.directory.identity().cluster
    }

    /// Its node's id, also before this process was admitted.
    pub fn own(&self) -> Option<NodeId> {
        self.directory.identity().node.map(|(node, _)| node)
    }

    /// The same, of a build that reads up to this feature level.
    #[must_use]
    pub fn of_level(self, feature_level: u32) -> Agent {
        Agent { feature_level, ..self }
    }

    /// What its build can do.
    pub fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// Where others reach it.
    pub fn location(&self) -> &NodeLocation {
        &self.location
    }

    pub(crate) fn set_asking(&self, token: AdmissionToken) {
        let mut asking = locked(&self.asking);
        if asking.is_none_or(|(known, _)| known != token) {
            *asking = Some((token, Spent::No));
        }
    }

    pub(crate) fn asking(&self) -> Option<AdmissionToken> {
        locked(&self.asking).map(|(token, _)| token)
    }

    /// The token, if no request for admission can hold it yet.
    pub(crate) fn unspent(&self) -> Option<AdmissionToken> {
        let unspent = locked(&self.asking).filter(|(_, spent)| *spent == Spent::No);
        unspent.map(|(token, _)| token)
    }

    pub(crate) fn spend_token(&self) {
        if let Some((_, spent)) = locked(&self.asking).as_mut() {
            *spent = Spent::Maybe;
        }
    }

    /// What is the same everywhere, as last heard.
    pub fn settings(&self) -> Settings {
        self.tablets.settings()
    }

    /// The bounds on its streams.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    pub(crate) fn set_settings(&self, settings: Settings, is_paused: bool) {
        self.throttle.set(&settings, is_paused);
        self.tablets.set_settings(settings);
    }

    pub(crate) fn set_outbox(&self, outbox: Option<Outbox>) {
        if outbox.is_some() {
            self.has_attached.store(true, Ordering::Release);
        }
        *locked(&self.outbox) = outbox;
    }

    /// Says something to the coordinator that it is attached to; nothing if there is none: what
    /// counts is asked for again by the next one.
    pub(crate) async fn say(&self, event: Event) {
        let outbox = locked(&self.outbox).clone();
        let Some(Outbox { messages, end }) = outbox else { return };
        let said = messages.send(AttachRequest { event: Some(event) });
        if let Err(overdue) = bounded(Wait::Say, &self.settings(), said).await {
            // What it didn't take is said again over the next attachment, where it is asked for.
            tracing::info!(error = %overdue, "the coordinator takes nothing");
            end.cancel();
        }
    }

    /// Takes a record on, and wakes those who wait for its version.
    pub(crate) async fn take_on(
        &self,
        record: &Arc<TabletRecord>,
        own: NodeId,
    ) -> Result<TakenOn, StepError> {
        let taken = self.tablets.take_on(record, own).await;
        self.taken_on.notify_waiters();
        taken
    }

    pub(crate) fn wake_catching_up(&self) {
        self.taken_on.notify_waiters();
    }

    /// Admits work at a version of a tablet. For a newer one than was heard of, catches up first,
    /// within the bound.
    pub(crate) async fn version_guard(
        &self,
        tablet: TabletId,
        version: TopologyVersion,
        within: Duration,
    ) -> Result<VersionGuard, Refused> {
        let guard = match self.tablets.version_guard(tablet, version) {
            Err(Refused::Ahead(_)) => {
                self.catch_up(tablet, version, within).await;
                self.tablets.version_guard(tablet, version)
            }
            decided => decided,
        };
        guard.inspect_err(|refused| self.metrics().guard_refused(refused.reason()))
    }

    /// Asks for a newer version of a tablet, and waits until it was taken on; whether it was,
    /// within the bound.
    async fn catch_up(&self, tablet: TabletId, version: TopologyVersion, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let ask = CatchUp { tablet: tablet.as_u64(), version: Some(version.into()) };
        self.say(Event::CatchUp(ask)).await;
        loop {
            let taken = self.taken_on.notified();
            tokio::pin!(taken);
            taken.as_mut().enable(); // Before the look, so that no wake-up falls between.
            let known = self.tablets.record(tablet).map(|record| record.version);
            if known.is_some_and(|known| known >= version) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if bounded_by(Wait::CatchUp, left, taken).await.is_err() {
                return false;
            }
        }
    }
}

impl Standing for Agent {
    fn own(&self) -> Option<Own> {
        self.admitted()
    }

    fn address(&self) -> String {
        self.location.stream_address.clone()
    }

    fn bounds(&self) -> Bounds {
        Bounds { stall: Duration::from_millis(u64::from(self.settings().stall_ms)) }
    }

    fn dial(&self, node: NodeId) -> Dial {
        // Nobody has the empty name: whom we don't know is not dialled.
        let name = self.names.load().get(&node).cloned().unwrap_or_default();
        Dial::new(self.tls.clone(), Kind::Agent).named(name)
    }

    fn is_caller(&self, node: NodeId) -> Result<(), Status> {
        let Some(caller) = tls::caller() else { return Ok(()) };
        caller.must_be_node(self.names.load().get(&node).map_or("", String::as_str))
    }

    #[cfg(feature = "faults")]
    fn faults(&self) -> Arc<crate::faults::Faults> {
        Arc::clone(&self.faults)
    }
}
