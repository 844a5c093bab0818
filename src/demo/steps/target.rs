//! Step 4: the agent that tablets move to is killed in the middle, and started again at once.

use super::{Demo, how_they_ended};
use anyhow::Context;
use proto::types::v1::Stage;

/// Moves to it at the most.
const MOVES: usize = 4;

pub(super) async fn run(demo: &mut Demo) -> anyhow::Result<()> {
    let tablets = demo.tablets().await?;
    let first = tablets.first().context("the table has no tablet")?;
    let (_, target) = demo.way(first, 0)?;
    let mut begun = Vec::new();
    for tablet in &tablets {
        if begun.len() < MOVES && demo.way(tablet, 0)?.1 == target {
            begun.push(demo.begin_move(tablet, 0).await?);
        }
    }
    if let Some(last) = begun.last() {
        demo.reached(last, Stage::Streaming).await?;
    }
    demo.cluster.kill(&target).await?;
    demo.screen.say(&format!("{target} is killed while {} tablets move to it", begun.len()));
    demo.cluster.restart(&target).await?;
    demo.all_attached().await?;
    demo.screen.say(&format!("{target} is started again, and admitted anew"));
    let ended = demo.all_ended(begun).await?;
    demo.screen.say(&how_they_ended(&ended));
    Ok(())
}
