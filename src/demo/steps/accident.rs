//! Step 2: the accident that all of this prevents. A chunk of an attempt that failed is held on
//! its receiver; the move is tried again and ends; the keys of the chunk are deleted, the tablet
//! repaired, the tombstones purged; then the chunk goes on to where it was to be written.

use super::super::moves::within;
use super::Demo;
use crate::workload;
use anyhow::{Context, bail};
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use std::time::Duration;

/// Bytes of the hash in front of the key in a position.
const HASH_BYTES: usize = 8;
/// Reads of each of some keys afterwards: one of them asks the majority that has the receiver.
const READS: usize = 6;
/// Of how many keys.
const KEYS_READ: usize = 20;
/// How long a chunk is waited for.
const HELD_DEADLINE: Duration = Duration::from_secs(50);

pub(super) async fn run(demo: &mut Demo) -> anyhow::Result<()> {
    let tablets = demo.tablets().await?;
    let tablet = tablets.first().context("the table has no tablet")?;
    let (_, target) = demo.way(tablet, 0)?;
    let mut switches = demo.faults(&target)?;
    if demo.args.without_guard {
        switches.set_guard_check(faults::SetGuardCheckRequest { on: false }).await?;
        demo.screen.say(&format!("the guards' check is off on {target}"));
    }
    switches.hold_next_chunk(faults::HoldNextChunkRequest { tablet: tablet.id }).await?;
    let begun = demo.begin_move(tablet, 0).await?;
    demo.screen.waits_for(format!("a chunk of {} to be held on {target}", tablet.name));
    let mut wanted = tonic::Request::new(faults::AwaitHeldRequest { tablet: tablet.id });
    wanted.set_timeout(HELD_DEADLINE);
    let held = switches.await_held(wanted).await?.into_inner();
    let keys = held.positions.iter().map(|position| {
        let key = position.get(HASH_BYTES..).context("a position without a key")?;
        Ok(String::from_utf8(key.to_vec())?)
    });
    let keys: Vec<String> = keys.collect::<anyhow::Result<_>>()?;
    demo.traffic()?.take_out(&keys).await;
    demo.screen
        .say(&format!("a chunk with {} rows is held on {target}; its call is cut", keys.len()));
    let ended = demo.ended(&begun).await?;
    if ended.state() != pb::MigrationState::Done || ended.attempt < 2 {
        bail!(
            "{} was to move in a second attempt: {} {}",
            tablet.name,
            ended.attempt,
            ended.reason
        );
    }
    demo.screen.say(&format!("{} has moved in attempt {}", tablet.name, ended.attempt));
    forget(demo, tablet, &keys).await?;
    let let_go = switches.release(faults::ReleaseRequest { tablet: tablet.id }).await?.into_inner();
    switches.set_guard_check(faults::SetGuardCheckRequest { on: true }).await?;
    match let_go.refused.as_str() {
        "" => demo.screen.say(&format!("the late chunk was written: {} rows", let_go.written)),
        reason => {
            demo.facts.stale_chunks_refused += 1;
            demo.screen.say(&format!("the late chunk was refused: {reason}"));
        }
    }
    for key in keys.iter().take(KEYS_READ).cycle().take(READS * KEYS_READ.min(keys.len())) {
        demo.recorder.get(key).await?;
    }
    Ok(())
}

/// Deletes the keys, and sees to it that no replica remembers that they were there.
async fn forget(demo: &Demo, tablet: &pb::Tablet, keys: &[String]) -> anyhow::Result<()> {
    demo.screen.waits_for(format!("{} keys to be deleted", keys.len()));
    workload::delete(&demo.recorder, keys).await?;
    within("the repair", demo.repair(tablet)).await?;
    let id = TabletId::from_u64(tablet.id).context("a tablet has an id")?;
    demo.screen.waits_for(format!("{} to be purged", tablet.name));
    let purged = demo.admin.purge_tablet(id).await?;
    if let Some(failed) = purged.iter().find(|purge| !purge.error.is_empty()) {
        bail!("{} did not purge {}: {}", failed.node, tablet.name, failed.error);
    }
    let removed: u64 = purged.iter().map(|purge| purge.removed).sum();
    let count = keys.len();
    demo.screen
        .say(&format!("{count} keys are deleted, repaired, and {removed} tombstones purged"));
    Ok(())
}
