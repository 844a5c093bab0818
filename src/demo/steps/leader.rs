//! Step 3: the leader of group0 is killed in the middle of moves. Another one ends them.

use super::super::moves::{LOOK, within};
use super::{Demo, how_they_ended};
use anyhow::Context;
use proto::admin::v1 as pb;
use proto::types::v1::Stage;
use std::time::Instant;

/// Moves that are under way when it happens.
const MOVES: usize = 8;

pub(super) async fn run(demo: &mut Demo) -> anyhow::Result<()> {
    let before = demo.admin.status().await?;
    let leader = before.coordinators.iter().find(|coordinator| coordinator.leader);
    let leader = leader.context("nobody is said to lead")?.name.clone();
    let mut begun = Vec::new();
    for (turn, tablet) in demo.tablets().await?.iter().take(MOVES).enumerate() {
        begun.push(demo.begin_move(tablet, turn + 1).await?);
    }
    if let Some(last) = begun.last() {
        demo.reached(last, Stage::Streaming).await?;
    }
    demo.cluster.kill(&leader).await?;
    let killed = Instant::now();
    demo.screen.say(&format!("{leader}, which led, is killed while {MOVES} tablets move"));
    if before.coordinators.len() < 2 {
        demo.cluster.restart(&leader).await?;
    }
    demo.screen.waits_for("a new leader");
    let now = within("a new leader", next_leader(demo, before.term)).await?;
    let name = now.coordinators.iter().find(|coordinator| coordinator.leader);
    let name = name.map_or("somebody", |coordinator| coordinator.name.as_str());
    let took_ms = killed.elapsed().as_millis();
    demo.screen.say(&format!("{name} leads, {took_ms} ms later, in term {}", now.term));
    let ended = demo.all_ended(begun).await?;
    demo.screen.say(&how_they_ended(&ended));
    if before.coordinators.len() > 1 {
        demo.screen.waits_for(format!("{leader} to serve again"));
        demo.cluster.restart(&leader).await?;
        demo.screen.say(&format!("{leader} is started again"));
    }
    Ok(())
}

async fn next_leader(demo: &Demo, term: u64) -> anyhow::Result<pb::GetStatusResponse> {
    loop {
        match demo.admin.status().await {
            Ok(status) if status.term > term && status.leader != 0 => return Ok(status),
            // Nobody leads yet.
            Ok(_) | Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
