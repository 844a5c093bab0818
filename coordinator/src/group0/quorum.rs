//! A leader that no quorum answers falls silent for a while, so that the others elect one that they
//! can answer. Raft itself goes on sending: where its appends arrive and the answers are lost, its
//! followers hear of a leader for ever, and nothing is committed.
//!
//! Not here: what is silent (`transport`: appends and snapshots; votes are not).

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, ServerState};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::follow::MetricsReceiver;
use super::transport::Links;

/// Looks whether a quorum answers, while this member leads; until `stop`.
pub(super) async fn watch(
    metrics: MetricsReceiver,
    links: Arc<Links>,
    election_max: Duration,
    stop: CancellationToken,
) {
    let watching = async {
        // Longer than any election takes, for both: who is not answered so long is not led, and who
        // hears nothing so long elects.
        let patience = 2 * election_max;
        let (mut term, mut since) = (0, Instant::now());
        loop {
            sleep(election_max / 4).await;
            let answered = {
                let metrics = metrics.borrow_watched();
                let leads = metrics.state == ServerState::Leader;
                let is_alone = metrics.membership_config.voter_ids().count() <= 1;
                if !leads || is_alone || metrics.current_term != term {
                    // Whoever begins to lead has been answered by a quorum: it was elected.
                    (term, since) = (metrics.current_term, Instant::now());
                }
                metrics.last_quorum_acked.as_ref().map(|at| at.elapsed())
            };
            let unanswered = answered.map_or(since.elapsed(), |ago| ago.min(since.elapsed()));
            if unanswered <= patience {
                continue;
            }
            tracing::warn!(
                term,
                ?unanswered,
                "no quorum answers: it falls silent, that one may lead \
                that is answered"
            );
            links.set_silent(true);
            sleep(patience).await;
            links.set_silent(false);
            since = Instant::now();
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watching => {}
    }
}
