//! `palisade node`.

use super::hold::{Left, hold};
use super::{Session, print, unchanged};
use crate::args::{ChangeArgs, HoldArgs, NodeCommand};
use crate::exit::{Exit, Failure};
use crate::render::{self, Row};
use proto::admin::v1 as pb;

pub(super) async fn run(session: &Session, command: NodeCommand) -> Result<Exit, Failure> {
    match command {
        NodeCommand::List => session.show_all(&session.admin.list_nodes().await?),
        NodeCommand::Describe { name } => {
            let node = session.admin.node(&name).await?;
            session.show(&node, &node.name, || render::node(&node));
        }
        NodeCommand::Drain { name, reason, change, hold } => {
            return drain(session, name, reason, change, hold).await;
        }
        NodeCommand::Undrain { name, change } => undrain(session, name, change).await?,
    }
    Ok(Exit::Done)
}

async fn drain(
    session: &Session,
    name: String,
    reason: String,
    change: ChangeArgs,
    holds: HoldArgs,
) -> Result<Exit, Failure> {
    let request = pb::DrainNodeRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
        reason,
    };
    let answer = session.admin.drain_node(request).await.map_err(unchanged)?;
    let node = answer.node.unwrap_or_default();
    if change.dry_run || !holds.wait || session.output.is_for_people() {
        session.show(&node, &name, || match change.dry_run {
            true => format!("{name} can be drained; nothing was done\n"),
            false => {
                let count = node.replica_count;
                format!("{name} is being drained; {count} replicas are to go elsewhere\n")
            }
        });
    }
    if change.dry_run || !holds.wait {
        return Ok(Exit::Done);
    }
    let job = format!("the drain of {name}");
    let next = format!("palisade node describe {name}     or: node undrain {name}");
    let ended = hold(session, &holds, (&job, &next), async || left(session, &name).await).await;
    if ended.is_ok() && session.output.is_for_people() {
        print(&format!("{name} holds nothing any more\n"));
    }
    ended
}

/// What the node still holds, what takes it elsewhere, and why no more of it goes.
async fn left(session: &Session, name: &str) -> Result<Left, Failure> {
    let node = session.admin.node(name).await?;
    let running = session.admin.list_migrations(true).await?;
    let leaves = |migration: &&pb::Migration| migration.from == name;
    let going: Vec<&pb::Migration> = running.iter().filter(leaves).collect();
    let (count, under_way) = (node.replica_count, going.len());
    let mut line = format!("{count} replicas are left on {name}, {under_way} moves under way");
    if going.is_empty() && count > 0 {
        let status = session.admin.balance_status().await?;
        if !status.held_by.is_empty() {
            line.push_str(&format!("; held by: {}", status.held_by));
        }
    }
    let mut lines = vec![line];
    lines.extend(going.iter().map(|migration| format!("  {}", migration.cells().join("  "))));
    Ok(Left { is_over: count == 0, lines, value: render::json(&node) })
}

async fn undrain(session: &Session, name: String, change: ChangeArgs) -> Result<(), Failure> {
    let request = pb::UndrainNodeRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
    };
    let answer = session.admin.undrain_node(request).await.map_err(unchanged)?;
    let node = answer.node.unwrap_or_default();
    session.show(&node, &name, || match change.dry_run {
        true => format!("the drain of {name} can be ended; nothing was done\n"),
        false => format!("{name} takes replicas again; what was moved stays where it is\n"),
    });
    Ok(())
}
