//! INV-16: a coordinator that has applied the same and holds something else is found out.

use crate::harness::load::Load;
use crate::harness::{Cluster, Shape, look_again, soon};
use crate::signals;
use proto::faults::v1::BendStateRequest;
use proto::faults::v1::state_service_client::StateServiceClient;
use std::time::Duration;

/// Who leads, and who has another state than that one.
async fn differing(cluster: &Cluster) -> (String, Vec<String>) {
    let coordinators = cluster.admin().status().await.expect("answered").coordinators;
    let leader = coordinators.iter().find(|one| one.leader).map(|one| one.name.clone());
    let differs = coordinators.into_iter().filter(|one| one.state_differs_at.is_some());
    (leader.unwrap_or_default(), differs.map(|one| one.name).collect())
}

/// A bug has an entry do another thing at one of three. The leader names it in its log, its status
/// and its metrics.
#[tokio::test(flavor = "multi_thread")]
async fn inv_16_a_coordinator_with_another_state_is_an_alarm() {
    let coordinator_flags = &["--digest-every=64"];
    let shape =
        Shape { coordinators: 3, profile: "standard", coordinator_flags, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let load = Load::start(&cluster, 4, Duration::from_secs(60));
    soon("some changes", load.proceed(500)).await;
    assert!(differing(&cluster).await.1.is_empty(), "nobody's state was bent yet");
    let leader = cluster.leader(&cluster.coordinators()).await;
    let bent = cluster.coordinators().into_iter().find(|one| *one != leader).expect("three");
    let mut state = StateServiceClient::new(cluster.agents_channel(&bent));
    state.bend_state(BendStateRequest {}).await.expect("bent");
    let found = async {
        loop {
            let (leader, found) = differing(&cluster).await;
            if !found.is_empty() {
                return (leader, found);
            }
            look_again().await;
        }
    };
    let (leader, found) = soon("the bent one to be found out", found).await;
    // Should the bent one lead by now, it is the others that differ from it.
    assert!(found.iter().all(|one| (*one == bent) != (leader == bent)), "{leader}: {found:?}");
    cluster.said(&leader, "INV-16").await;
    let seen = async {
        let series = "palisade_states_differing";
        while signals::value(&signals::samples(cluster.agent(&leader)).await, series) < 1.0 {
            look_again().await;
        }
    };
    soon("the metric", seen).await;
    load.stop().await.expect("no change has failed");
}
