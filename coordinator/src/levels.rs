//! The cluster's feature level rises once everybody can read the next one: every coordinator by its
//! own word, every admitted node by its admission. From then on who is of an older build is refused.
//!
//! So a rolling upgrade ends by itself: the level rises when the last process is of the new build.

use crate::group0::Group0;
use crate::limits::LEVEL_INTERVAL;
use crate::machine::Machine;
use crate::proposer::Proposer;
use migrations::command::Command;
use migrations::topology::Topology;
use tokio_util::sync::CancellationToken;

/// Raises the level while this coordinator leads, until `stop`. `reads` is what it can read itself.
pub(crate) async fn run(
    group0: Group0<Machine>,
    proposer: Proposer,
    reads: u32,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(LEVEL_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        if group0.leadership().borrow().is_some() {
            raise(&group0, &proposer, reads).await;
        }
    }
}

/// One look, and a proposal if there is something to raise.
async fn raise(group0: &Group0<Machine>, proposer: &Proposer, reads: u32) {
    let (known, nodes) = group0.read(|machine| {
        (machine.topology.state().feature_level, level_of_nodes(&machine.topology))
    });
    if reads.min(nodes.unwrap_or(reads)) <= known {
        return;
    }
    let common = match group0.common_level().await {
        Ok(common) => common,
        Err(error) => {
            tracing::debug!(%error, "the feature level stays as it is");
            return;
        }
    };
    let level = common.level.min(nodes.unwrap_or(common.level));
    if level <= known {
        return;
    }
    // Nobody comes in before it is known whether this was committed. Apply looks at the nodes.
    match proposer.submit(Command::Raise { level }).await {
        Ok(committed) => match committed.outcome {
            Ok(_) => tracing::info!(level, "the feature level of the cluster is raised"),
            Err(refused) => tracing::info!(%refused, level, "the feature level is not raised yet"),
        },
        Err(error) => tracing::info!(%error, level, "the feature level is not raised yet"),
    }
}

/// What all admitted nodes can read, if there are any.
fn level_of_nodes(topology: &Topology) -> Option<u32> {
    let nodes = topology.state().nodes.values();
    nodes.filter(|node| node.admitted().is_some()).map(|node| node.feature_level).min()
}
