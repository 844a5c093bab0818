//! A rolling upgrade between two builds of differing feature level: nobody writes what an older
//! member can't read, and once all are of the new build an older one is refused by name.

use crate::harness::{Cluster, Shape, look_again, soon};
use proto::admin::v1 as pb;
use proto::reasons::Reason;

/// A process of the new build; without it, one of the old.
const NEW: &[&str] = &["--feature-level", "2"];
/// What the leader says once, when the level has risen.
const RAISED: &str = "the feature level of the cluster is raised";

fn is_raised(cluster: &Cluster) -> bool {
    cluster.coordinators().iter().any(|name| cluster.logged(name).contains(RAISED))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_rises_with_the_last_process_and_older_ones_are_refused() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, agents: 2, profile, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    cluster.create_table_of("before", 2, 2).await;
    cluster.flags(NEW);
    for name in &names {
        cluster.kill_and_restart(name);
        cluster.leader(&names).await;
    }
    cluster.readmitted("n1").await;
    // A change, and whatever looks are due meanwhile: one agent is of the old build.
    cluster.create_table_of("meanwhile", 2, 2).await;
    assert!(!is_raised(&cluster), "n2 could not read it");
    cluster.readmitted("n2").await;
    let raised = async {
        while !is_raised(&cluster) {
            look_again().await;
        }
    };
    soon("the level to rise", raised).await;
    cluster.create_table_of("after", 2, 2).await;
    // Coordinators and agents of the old build are refused by name from here on.
    cluster.flags(&[]);
    let address = cluster.start_joining("c4");
    let request =
        pb::AddMemberRequest { name: "c4".into(), raft_address: address, ..Default::default() };
    let refused = cluster.admin().add_member(request).await.expect_err("it is too old");
    assert_eq!(refused.reason(), Some(Reason::UpgradeRequired), "{refused}");
    cluster.kill_and_restart("n2");
    cluster.said("n2", "needs feature level 2").await;
    let leader = cluster.leader(&names).await;
    cluster.kill(&leader);
    let said = match cluster.try_coordinator(&leader) {
        Err(said) => said,
        Ok(()) => {
            assert!(!cluster.ends(&leader).await, "it can't go on");
            cluster.logged(&leader)
        }
    };
    assert!(said.contains("feature level 2"), "{said}");
}
