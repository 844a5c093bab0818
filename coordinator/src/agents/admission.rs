//! A process asks to be a node's: it is the admitted one already, or it is admitted by a commit.

use crate::driving::fresh_session;
use crate::group0::Group0;
use crate::machine::Machine;
use crate::proposer::{Proposer, SubmitError};
use migrations::command::{Admit, Applied, Command, Rejected};
use migrations::id::{ClusterId, NodeId, TabletId};
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation, TopologyVersion};

/// What a process says of itself when it attaches.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    /// The cluster that its directory belongs to; `None` for a new one.
    pub(super) cluster: Option<ClusterId>,
    /// It was admitted under the incarnation that it names, and has not been fenced as far as it
    /// knows.
    pub(super) is_living: bool,
    /// All that a request for admission needs, but the fresh sessions.
    pub(super) admit: Admit,
}

/// Why a process is not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotAdmitted {
    /// Its directory is of another cluster.
    #[error("the directory belongs to cluster {theirs}; this is cluster {ours}")]
    ClusterMismatch { theirs: ClusterId, ours: ClusterId },
    /// Its directory has a floor that only a later state can have set: it was with another cluster
    /// of this era, or of a later one.
    #[error(
        "the directory has heard of {floor}, and this cluster begins at era {era}: \
         restore the snapshot with --era {}", floor.era().saturating_add(1)
    )]
    Ahead { floor: TopologyVersion, era: u32 },
    /// group0 refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// No outcome.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// How often an admission is proposed anew because transitions have moved on meanwhile.
const TRIES: usize = 16;

/// The node and incarnation that a process has from here on.
pub(super) async fn admit(
    group0: &Group0<Machine>,
    proposer: &Proposer,
    greeting: Greeting,
) -> Result<(ClusterId, NodeId, Incarnation), NotAdmitted> {
    let ours = check_cluster(group0, &greeting)?;
    if greeting.is_living {
        let living = group0.read(|machine| living(&machine.topology, &greeting));
        // Fenced since it was asked to drain nothing: it has to come again, as another one.
        let (node, incarnation) = living.ok_or(Rejected::NodeMismatch)?;
        return Ok((ours, node, incarnation));
    }
    let mut admit = greeting.admit;
    let mut tries = 0;
    loop {
        let open = group0.read(|machine| open_sessions(&machine.topology, &admit.name));
        admit.fresh = open.into_iter().map(|tablet| (tablet, fresh_session())).collect();
        let committed = proposer.submit(Command::Admit(Box::new(admit.clone()))).await?;
        tries += 1;
        match committed.outcome {
            Ok(Applied::Admitted { node, incarnation }) => return Ok((ours, node, incarnation)),
            // A transition that opened a session between the look and the commit.
            Err(Rejected::FreshSessionMissing(_)) if tries < TRIES => {}
            Err(rejected) => return Err(rejected.into()),
            Ok(_) => return Err(Rejected::InvariantBroken(12).into()),
        }
    }
}

/// This cluster, if the greeting is meant for it. To be asked before a process is told to drain:
/// one that came to the wrong cluster goes on serving its own.
pub(super) fn check_cluster(
    group0: &Group0<Machine>,
    greeting: &Greeting,
) -> Result<ClusterId, NotAdmitted> {
    let ours = group0.read(|machine| machine.topology.state().cluster);
    let ours = ours.ok_or(Rejected::NotBootstrapped)?;
    if let Some(theirs) = greeting.cluster.filter(|theirs| *theirs != ours) {
        return Err(NotAdmitted::ClusterMismatch { theirs, ours });
    }
    group0.read(|machine| check_floor(&machine.topology, greeting))?;
    Ok(ours)
}

/// At its first admission to a cluster that was restored, a directory knows of earlier eras only:
/// no version, copy or incarnation is ever there twice.
fn check_floor(topology: &Topology, greeting: &Greeting) -> Result<(), NotAdmitted> {
    let era = topology.version().era();
    let floor = greeting.admit.highest_floor.unwrap_or_default();
    let known = topology.node_named(&greeting.admit.name);
    let was_here = known.is_some_and(|(_, node)| node.incarnation.0.era() == era);
    // Never admitted anywhere, or removed from this very cluster: for apply to say.
    let last = greeting.admit.known_incarnation.map(|last| last.0.era());
    let is_other = last.is_none() || (known.is_none() && last == Some(era));
    if era == 0 || is_other || was_here || floor.era() < era {
        return Ok(());
    }
    Err(NotAdmitted::Ahead { floor, era })
}

/// Whether a greeting is of a process that is admitted already.
pub(super) fn is_living(group0: &Group0<Machine>, greeting: &Greeting) -> bool {
    group0.read(|machine| living(&machine.topology, greeting)).is_some()
}

/// A living, unfenced process that attaches again keeps its incarnation and costs no commit.
fn living(topology: &Topology, greeting: &Greeting) -> Option<(NodeId, Incarnation)> {
    let (id, node) = topology.node_named(&greeting.admit.name)?;
    let known = greeting.admit.known_incarnation?;
    let is_it = greeting.is_living
        && node.admitted() == Some(known)
        && node.directory == greeting.admit.directory
        && node.process == greeting.admit.process
        && node.location == greeting.admit.location
        && greeting.admit.lost.iter().all(|(tablet, copy)| is_marked(topology, *tablet, id, *copy));
    is_it.then_some((id, known))
}

/// Whether a loss is known already, or concerns nobody any more.
fn is_marked(topology: &Topology, tablet: TabletId, node: NodeId, copy: CopyId) -> bool {
    let Some(record) = topology.record(tablet) else { return true };
    let replica = record.replicas.on(node).or(record.next().on(node));
    replica.is_none_or(|replica| replica.copy != copy || replica.lost)
}

fn open_sessions(topology: &Topology, name: &str) -> Vec<TabletId> {
    let node = topology.node_named(name).map(|(id, _)| id);
    node.map(|node| topology.open_sessions_of(node)).unwrap_or_default()
}
