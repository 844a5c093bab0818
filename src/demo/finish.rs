//! The last step: all faults are over; nothing is in transition any more; what every replica holds
//! is recorded.

use super::Demo;
use super::moves::{LOOK, within};
use anyhow::{Context, bail};
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use proto::types::v1::Stage;
use tokio::task::JoinSet;

/// Waits until the cluster is at rest, and records what its replicas hold. No client may write any
/// more. Answers with all migrations.
pub(super) async fn run(demo: &Demo) -> anyhow::Result<Vec<pb::Migration>> {
    within("rest", at_rest(demo)).await?;
    let tablets = demo.tablets().await?;
    demo.screen.waits_for("the rows of each replica");
    // Before they exchange what differs: what only one replica knows is to be seen.
    demo.record_rows(&tablets).await?;
    demo.screen.say(&format!("each replica of {} tablets has been read by itself", tablets.len()));
    let mut repairing = JoinSet::new();
    for tablet in &tablets {
        let request = pb::RepairTabletRequest { tablet: tablet.id, ..Default::default() };
        let admin = demo.admin.clone();
        repairing.spawn(async move { admin.repair_tablet(request).await });
    }
    let mut begun = Vec::new();
    while let Some(asked) = repairing.join_next().await {
        begun.push(asked??.migration.context("no repair")?);
    }
    for ended in demo.all_ended(begun).await? {
        if ended.state() != pb::MigrationState::Done {
            bail!("the repair of {} went back: {}", ended.tablet_name, ended.reason);
        }
    }
    for tablet in &tablets {
        demo.screen.waits_for(format!("the digests of {}", tablet.name));
        let id = TabletId::from_u64(tablet.id).context("a tablet has an id")?;
        demo.record_digests(&demo.admin.tablet(id, true).await?).await?;
    }
    demo.record_copies().await?;
    demo.screen.say("the replicas have exchanged what differed, and told their digests");
    Ok(demo.admin.list_migrations(false).await?)
}

async fn at_rest(demo: &Demo) -> anyhow::Result<()> {
    loop {
        let running = demo.admin.list_migrations(true).await?;
        let in_transition = |tablet: &pb::Tablet| tablet.stage() != Stage::Unspecified;
        let is_at_rest = running.is_empty() && !demo.tablets().await?.iter().any(in_transition);
        if is_at_rest {
            return Ok(());
        }
        demo.screen.waits_for(format!("{} migrations to end", running.len()));
        tokio::time::sleep(LOOK).await;
    }
}
