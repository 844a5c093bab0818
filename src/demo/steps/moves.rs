//! Step 1: tablets move one by one, then many at once.

use super::Demo;
use anyhow::bail;
use proto::admin::v1 as pb;

pub(super) async fn run(demo: &mut Demo) -> anyhow::Result<()> {
    let (one_by_one, at_once) = if demo.args.quick { (2, 8) } else { (4, 32) };
    for turn in 0..one_by_one {
        let tablets = demo.tablets().await?;
        let begun = demo.begin_move(&tablets[turn % tablets.len()], turn).await?;
        let ended = demo.ended(&begun).await?;
        is_done(&ended)?;
        let took_ms = ended.ended_ms.saturating_sub(ended.started_ms);
        let (name, from, to) = (&ended.tablet_name, &ended.from, &ended.to);
        demo.screen.say(&format!("{name} has moved from {from} to {to} in {took_ms} ms"));
    }
    let mut begun = Vec::new();
    for (turn, tablet) in demo.tablets().await?.iter().rev().take(at_once).enumerate() {
        begun.push(demo.begin_move(tablet, turn).await?);
    }
    let ended = demo.all_ended(begun).await?;
    ended.iter().try_for_each(is_done)?;
    demo.screen.say(&format!("{} tablets have moved at once", ended.len()));
    Ok(())
}

/// Nothing stood in its way.
fn is_done(migration: &pb::Migration) -> anyhow::Result<()> {
    match migration.state() {
        pb::MigrationState::Done => Ok(()),
        _ => bail!("{} did not move: {}", migration.tablet_name, migration.reason),
    }
}
