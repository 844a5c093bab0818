//! Step 5: an agent that takes part in a move is stopped, and can't notice. The move waits for it
//! until its lease is over, then goes on without it; when it wakes, it is admitted anew.

use super::Demo;
use anyhow::{Context, bail};
use proto::admin::v1 as pb;
use std::time::{Duration, Instant};

/// What a move may take beyond the lease of the agent that it waits for.
const BEYOND_LEASE: Duration = Duration::from_secs(10);

pub(super) async fn run(demo: &mut Demo) -> anyhow::Result<()> {
    let settings = demo.admin.settings().await?;
    let lease = settings.lease.context("the cluster has leases")?;
    let lease = Duration::from_millis(lease.length_ms.into());
    let tablets = demo.tablets().await?;
    let tablet = tablets.first().context("the table has no tablet")?;
    // Neither source nor target, but asked in every barrier.
    let bystander = tablet.replicas.last().context("a tablet has replicas")?.node.clone();
    let before = of(demo, &bystander).await?.incarnation;
    demo.cluster.hold_up(&bystander)?;
    let began = Instant::now();
    let begun = demo.begin_move(tablet, 0).await?;
    demo.screen.say(&format!("{bystander} is stopped, and {} begins to move", tablet.name));
    let ended = demo.ended(&begun).await;
    let took = began.elapsed();
    let is_fenced = of(demo, &bystander).await?.state() == pb::NodeState::Fenced;
    demo.cluster.let_go_on(&bystander)?;
    let how = match ended?.state() {
        pb::MigrationState::Done => "is done",
        _ => "has gone back",
    };
    let seconds = took.as_secs_f64();
    demo.screen.say(&format!("the move {how} after {seconds:.1} s, with a lease of {lease:?}"));
    if took > lease + BEYOND_LEASE {
        bail!("the move waited for {bystander} beyond its lease");
    }
    if !is_fenced {
        bail!("the move went on without {bystander}, which was not fenced");
    }
    demo.facts.fences += 1;
    demo.all_attached().await?;
    if of(demo, &bystander).await?.incarnation == before {
        bail!("{bystander} goes on as who was fenced");
    }
    demo.screen.say(&format!("{bystander} goes on, and is admitted anew"));
    Ok(())
}

/// A node as group0 has it.
async fn of(demo: &Demo, name: &str) -> anyhow::Result<pb::Node> {
    let nodes = demo.admin.list_nodes().await?;
    nodes.into_iter().find(|node| node.name == name).context("the node is known")
}
