//! A leader that no quorum answers falls silent for a while, so that the others elect one that they
//! can answer. Raft itself goes on sending: where its appends arrive and the answers are lost, its
//! followers hear of a leader for ever, and nothing is committed.
//!
//! Not here: what is silent (`transport`: appends and snapshots; votes are not).

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::SerdeInstant;
use openraft::type_config::alias::InstantOf;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::follow::{Metrics, MetricsReceiver};
use super::transport::Links;
use super::types::Group0Types;

/// Looks within the longest election.
const LOOKS: u32 = 4;
/// Looks that find nothing new before it falls silent, and for which it is silent: twice the longest
/// election. Who is not answered so long is not led, and who hears nothing so long elects. Looks and
/// not time: whoever has stood still has given nobody the time to answer.
const PATIENCE: u32 = 2 * LOOKS;

/// Who leads, and when a quorum last answered it.
#[derive(Clone, Copy, PartialEq)]
struct Led {
    term: u64,
    answered: Option<SerdeInstant<InstantOf<Group0Types>>>,
}

/// None if this member does not lead, or needs nobody's answer.
fn led(metrics: &Metrics) -> Option<Led> {
    let leads = metrics.state == ServerState::Leader;
    let is_alone = metrics.membership_config.voter_ids().count() <= 1;
    let led = Led { term: metrics.current_term, answered: metrics.last_quorum_acked };
    (leads && !is_alone).then_some(led)
}

/// Looks whether a quorum answers, while this member leads; until `stop`.
pub(super) async fn watch(
    metrics: MetricsReceiver,
    links: Arc<Links>,
    election_max: Duration,
    stop: CancellationToken,
) {
    let watching = async {
        let (mut last, mut unanswered) = (None, 0);
        loop {
            sleep(election_max / LOOKS).await;
            let now = led(&metrics.borrow_watched());
            if now.is_none() || now != last {
                if unanswered >= PATIENCE {
                    tracing::info!(
                        "the leader that no quorum answered is answered, or leads no more"
                    );
                }
                // Whoever leads in a new term is not silent.
                links.set_silent(false);
                (last, unanswered) = (now, 0);
                continue;
            }
            unanswered += 1;
            if unanswered == PATIENCE {
                tracing::warn!(
                    term = now.map(|led| led.term),
                    "no quorum answers: silent, that \
                    one may lead that is answered"
                );
            }
            // It speaks again after as long, whoever leads by then: an answer may come again.
            links.set_silent(unanswered / PATIENCE % 2 == 1);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watching => {}
    }
}
