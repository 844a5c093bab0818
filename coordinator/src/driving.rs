//! The loop around the driver: events in, effects performed. It decides nothing, and there is no
//! `match` on a stage in it.
//!
//! A driver lives as long as one leadership: (term, node, a number drawn when it began). Nothing
//! is carried over; the next one is built from the topology.

use crate::agents::{Agents, Everywhere, Orders};
use crate::group0::{Group0, Leadership};
use crate::limits::{EVENTS_QUEUED, TICK};
use crate::machine::{Change, Machine};
use crate::metrics::Metrics;
use crate::now::boot_instant;
use crate::observed::Observed;
use crate::progress::Progress;
use crate::proposer::Proposer;
use migrations::command::Command;
use migrations::driver::{Driver, Effect, Event, Unfit};
use migrations::id::{MigrationId, NodeId, SessionId, TabletId};
use migrations::lease::Instant;
use migrations::node::Node;
use migrations::topology::Topology;
use migrations::version::{Incarnation, TopologyVersion};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What reaches the driver from outside, for the driver of one leadership.
struct Addressed {
    leadership: Option<Leadership>,
    input: Input,
}

enum Input {
    Event(Event),
    Renew { node: NodeId, incarnation: Incarnation, at: Instant, answer: oneshot::Sender<Renewal> },
    MayAdmit { node: NodeId, answer: oneshot::Sender<bool> },
}

/// Whether a renewal may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It counts from when it came in.
    Yes,
    /// The node is unfit: its lease is to run out.
    Unfit(Unfit),
    /// A fence was decided.
    Fenced,
}

/// Hands events to the driver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    inputs: mpsc::Sender<Addressed>,
    leadership: Option<Leadership>,
}

impl DriverHandle {
    /// The same for the driver of one leadership: what is handed over is dropped once that is
    /// over. Without it everything is.
    pub(crate) fn of(&self, leadership: Leadership) -> DriverHandle {
        DriverHandle { inputs: self.inputs.clone(), leadership: Some(leadership) }
    }

    fn addressed(&self, input: Input) -> Addressed {
        Addressed { leadership: self.leadership, input }
    }

    /// Hands over what an agent has reported. Waits while the driver is behind: back-pressure
    /// that ends at the agent's connection.
    pub(crate) async fn report(&self, event: Event) {
        // Without a driver there is nobody whom it could concern.
        let _ = self.inputs.send(self.addressed(Input::Event(event))).await;
    }

    /// Counts a renewal; whether it may be answered. Not once a fence of it is being proposed.
    /// `None` if the leadership is over: nobody here can tell.
    pub(crate) async fn renew(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        at: Instant,
    ) -> Option<Renewal> {
        let (answer, answered) = oneshot::channel();
        let renew = Input::Renew { node, incarnation, at, answer };
        self.inputs.send(self.addressed(renew)).await.ok()?;
        answered.await.ok()
    }

    /// Whether a process of this node may be admitted now. `None` if the leadership is over.
    pub(crate) async fn may_admit(&self, node: NodeId) -> Option<bool> {
        let (answer, answered) = oneshot::channel();
        let ask = Input::MayAdmit { node, answer };
        self.inputs.send(self.addressed(ask)).await.ok()?;
        answered.await.ok()
    }
}

/// A fresh session id.
pub(crate) fn fresh_session() -> SessionId {
    loop {
        if let Some(session) = SessionId::from_uuid(Uuid::new_v4()) {
            return session;
        }
    }
}

/// A fresh migration id.
pub(crate) fn fresh_migration() -> MigrationId {
    loop {
        if let Some(migration) = MigrationId::from_uuid(Uuid::new_v4()) {
            return migration;
        }
    }
}

pub(crate) struct DriverLoop {
    group0: Group0<Machine>,
    proposer: Proposer,
    agents: Agents,
    observed: Observed,
    metrics: Arc<Metrics>,
    inputs: mpsc::Receiver<Addressed>,
}

/// The driver of one leadership, and up to where it has seen the topology.
struct Leading {
    leadership: Leadership,
    driver: Driver,
    seen: TopologyVersion,
    /// What agents were last told, or learn when they attach.
    told: Everywhere,
    proposals: JoinSet<Event>,
    /// The fences that were spoken of: one that can't be committed is tried all the time.
    fencing: BTreeMap<NodeId, Incarnation>,
}

impl DriverLoop {
    pub(crate) fn new(
        group0: Group0<Machine>,
        proposer: Proposer,
        agents: Agents,
        observed: Observed,
        metrics: Arc<Metrics>,
    ) -> (DriverLoop, DriverHandle) {
        let (sender, inputs) = mpsc::channel(EVENTS_QUEUED);
        let driving = DriverLoop { group0, proposer, agents, observed, metrics, inputs };
        (driving, DriverHandle { inputs: sender, leadership: None })
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut leadership = self.group0.leadership();
        let mut applied = self.group0.applied();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leading = self.begin(&mut leadership);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.agents.end_all(),
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    leading = self.follow_leadership(leading, &mut leadership);
                }
                changed = applied.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if let Some(leading) = &mut leading {
                        self.catch_up(leading);
                    }
                }
                Some(ended) = next_ended(&mut leading) => {
                    if let Some(leading) = &mut leading {
                        self.handle(leading, ended);
                    }
                }
                input = self.inputs.recv() => {
                    let Some(Addressed { leadership: meant, input }) = input else { return };
                    // Whoever sent it may have seen a leadership that has not been seen here yet.
                    leading = self.follow_leadership(leading, &mut leadership);
                    match &mut leading {
                        Some(leading) if Some(leading.leadership) == meant => {
                            self.take(leading, input);
                        }
                        // For a leadership that is over; its agent attaches anew.
                        _ => {}
                    }
                }
                _ = tick.tick() => if let Some(leading) = &mut leading {
                    self.handle(leading, Event::Tick(boot_instant()));
                },
            }
        }
    }

    fn begin(&self, leadership: &mut watch::Receiver<Option<Leadership>>) -> Option<Leading> {
        let leadership = (*leadership.borrow_and_update())?;
        tracing::info!(term = leadership.term, "leads group0; drives the topology");
        let (driver, seen, told) = self.group0.read(|machine| {
            let topology = &machine.topology;
            let driver = Driver::new(topology, boot_instant());
            // Also where nobody is left who could say a word.
            self.show_waits(&driver, topology, topology.in_transition());
            (driver, topology.version(), Everywhere::of(topology))
        });
        let (proposals, fencing) = Default::default();
        Some(Leading { leadership, driver, seen, told, proposals, fencing })
    }

    /// Ends what an earlier leadership had begun, and begins anew if there is another one.
    fn follow_leadership(
        &self,
        leading: Option<Leading>,
        now: &mut watch::Receiver<Option<Leadership>>,
    ) -> Option<Leading> {
        let current = *now.borrow_and_update();
        if leading.as_ref().map(|leading| leading.leadership) == current {
            return leading;
        }
        if let Some(leading) = leading {
            tracing::info!(term = leading.leadership.term, "leads no more");
            self.agents.end_all();
            self.observed.clear();
        }
        self.begin(now)
    }

    /// Shows whom these tablets wait for now.
    fn show_waits(
        &self,
        driver: &Driver,
        topology: &Topology,
        tablets: impl IntoIterator<Item = TabletId>,
    ) {
        for tablet in tablets {
            let waiting_for = driver.waiting_for(topology, tablet);
            self.observed.waits(topology, tablet, waiting_for);
        }
    }

    fn take(&self, leading: &mut Leading, input: Input) {
        match input {
            Input::Event(event) => self.handle(leading, event),
            Input::Renew { node, incarnation, at, answer } => {
                // Looked at here once more: what the caller has seen may be older than a fence.
                let is_in = self.group0.read(|machine| {
                    machine.topology.node(node).and_then(Node::admitted) == Some(incarnation)
                });
                let renewal = match leading.driver.unfit(node, incarnation) {
                    _ if is_in && leading.driver.may_renew(node, incarnation) => Renewal::Yes,
                    Some((why, _)) => Renewal::Unfit(why),
                    None => Renewal::Fenced,
                };
                if renewal == Renewal::Yes {
                    self.handle(leading, Event::Renewed { node, incarnation, at });
                }
                let _ = answer.send(renewal);
            }
            Input::MayAdmit { node, answer } => {
                let _ = answer.send(leading.driver.may_admit(node));
            }
        }
    }

    /// Tells the driver what was applied since it last looked.
    fn catch_up(&self, leading: &mut Leading) {
        let seen = leading.seen;
        let (changes, progress, version, everywhere) = self.group0.read(|machine| {
            let (topology, changes) = (&machine.topology, machine.changes_since(seen));
            let progress = Progress::since(topology, seen, changes.as_deref());
            (changes, progress, topology.version(), Everywhere::of(topology))
        });
        if version == seen {
            return;
        }
        leading.seen = version;
        progress.tell(&self.metrics, leading.leadership.term);
        if leading.told != everywhere {
            leading.told = everywhere;
            let order = self.group0.read(|machine| everywhere.order(&machine.topology));
            self.agents.tell_all(&order);
        }
        let has_nodes =
            |changes: &Vec<Change>| changes.iter().any(|change| !change.nodes.is_empty());
        if changes.as_ref().is_none_or(has_nodes) {
            // Whoever is out learns it, also if its attachment came while the fence was under way.
            self.group0.read(|machine| {
                let admitted = |node| machine.topology.node(node).and_then(Node::admitted);
                self.agents.end_all_but(admitted);
            });
        }
        self.handle(leading, committed(changes));
    }

    fn handle(&self, leading: &mut Leading, event: Event) {
        let attached = match &event {
            Event::Attached { node, .. } => Some(*node),
            _ => None,
        };
        let mut effects = Vec::new();
        let mut orders = Orders::default();
        let proposals = self.group0.read(|machine| {
            let topology = &machine.topology;
            let concerned = concerned(topology, &event);
            leading.driver.handle(topology, event, &mut fresh_session, &mut effects);
            self.show_waits(&leading.driver, topology, concerned);
            let proposals = std::mem::take(&mut effects).into_iter();
            proposals.filter_map(|effect| orders.take(effect, topology)).collect::<Vec<_>>()
        });
        let unfit = leading.driver.all_unfit();
        for (node, found) in self.observed.unfit(unfit.map(|(id, of, why, _)| (id, of, why))) {
            tracing::warn!(peer = %node, incarnation = %found.incarnation, why = %found.why,
                "unfit: its lease is left to run out");
        }
        if let Some(node) = attached {
            // Told in the order in which it is learned here: what was sent in the greeting may be
            // older, and what is sent to all from now on is newer.
            let told = leading.told;
            let order = self.group0.read(|machine| told.order(&machine.topology));
            self.agents.send(node, order);
        }
        orders.send(&self.agents);
        for effect in proposals {
            if let Effect::Propose(command) = effect {
                self.propose(leading, command);
            }
        }
    }

    /// Proposes in a task of its own. Bounded: the driver has one proposal a tablet, and one a
    /// node, at the most.
    fn propose(&self, leading: &mut Leading, command: Command) {
        let Some(ended) = ended(&command) else { return };
        if let Command::Fence { node, incarnation } = &command {
            if leading.fencing.insert(*node, *incarnation) != Some(*incarnation) {
                tracing::warn!(peer = %node, %incarnation, "its lease has run out: it is fenced");
            }
            self.agents.end(*node);
        }
        let proposer = self.proposer.clone();
        leading.proposals.spawn(async move {
            match proposer.submit(command).await {
                Ok(committed) => {
                    if let Err(rejected) = committed.outcome {
                        tracing::debug!(%rejected, "a proposal of the driver was refused");
                    }
                }
                Err(error) => tracing::debug!(%error, "a proposal of the driver came to nothing"),
            }
            ended
        });
    }
}

/// The next proposal that has come to an end; nothing while there is none.
async fn next_ended(leading: &mut Option<Leading>) -> Option<Event> {
    let ended = leading.as_mut()?.proposals.join_next().await?;
    ended.ok()
}

/// What the driver is told when the proposal of this command is over.
fn ended(command: &Command) -> Option<Event> {
    match command {
        Command::Advance(advance) => Some(Event::ProposalEnded {
            tablet: advance.expected.tablet,
            version: advance.expected.version,
        }),
        Command::Fence { node, .. } => Some(Event::FenceEnded { node: *node }),
        _ => None,
    }
}

/// The tablets that may wait for others after an event.
fn concerned(topology: &Topology, event: &Event) -> BTreeSet<TabletId> {
    match event {
        Event::Committed { touched, nodes, is_for_all } => {
            // A fence or an admission touches no tablet, and changes who is waited for.
            let on_nodes = nodes.iter().flat_map(|node| topology.in_transition_on(*node));
            let all = is_for_all.then(|| topology.in_transition());
            touched.iter().copied().chain(on_nodes).chain(all.into_iter().flatten()).collect()
        }
        Event::Acknowledged { tablet, .. }
        | Event::Streamed { tablet, .. }
        | Event::StreamFailed { tablet, .. }
        | Event::Dropped { tablet, .. } => BTreeSet::from([*tablet]),
        _ => BTreeSet::new(),
    }
}

/// Many changes as one event; where they are no longer known, everything is looked at.
fn committed(changes: Option<Vec<Change>>) -> Event {
    let Some(changes) = changes else {
        let (touched, nodes) = Default::default();
        return Event::Committed { touched, nodes, is_for_all: true };
    };
    let touched = changes.iter().flat_map(|change| change.touched.iter().copied()).collect();
    let nodes = changes.iter().flat_map(|change| change.nodes.iter().copied()).collect();
    let is_for_all = changes.iter().any(|change| change.is_for_all);
    Event::Committed { touched, nodes, is_for_all }
}
