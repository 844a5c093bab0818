//! `palisade node`.

use super::hold::{Left, hold};
use super::{Session, print, unchanged};
use crate::args::{ChangeArgs, HoldArgs, NodeCommand};
use crate::exit::{Exit, Failure};
use crate::render::{self, Row};
use proto::admin::v1 as pb;
use proto::reasons::Reason;

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
        NodeCommand::Remove { name, reason, change, hold } => {
            return remove(session, name, reason, change, hold).await;
        }
        NodeCommand::Orphans { drop: Some(orphan), change, .. } => {
            drop_orphan(session, &orphan, change).await?;
        }
        NodeCommand::Orphans { name, drop: None, .. } => {
            let found = session.admin.list_orphans(&name).await?;
            session.show(&found, "orphans", || render::orphans(&found));
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

async fn remove(
    session: &Session,
    name: String,
    reason: String,
    change: ChangeArgs,
    holds: HoldArgs,
) -> Result<Exit, Failure> {
    let request = pb::RemoveNodeRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
        reason,
    };
    let drain = format!("palisade node drain {name} --reason 'it is removed' --wait");
    let answer = session.admin.remove_node(request).await.map_err(|error| {
        let is_alive = error.reason() == Some(Reason::PlacementViolation);
        let failure = unchanged(error);
        if is_alive { failure.next(drain) } else { failure }
    })?;
    let node = answer.node;
    if change.dry_run || !holds.wait || session.output.is_for_people() {
        let shown = node.clone().unwrap_or_default();
        session.show(&shown, &name, || match &node {
            _ if change.dry_run => format!("{name} can be removed; nothing was done\n"),
            None => format!("{name} is removed\n"),
            Some(node) => {
                let count = node.replica_count;
                format!("{name} goes once its {count} replicas are rebuilt elsewhere\n")
            }
        });
    }
    if change.dry_run || !holds.wait || node.is_none() {
        return Ok(Exit::Done);
    }
    let job = format!("the removal of {name}");
    let next = format!("palisade node describe {name}     or: node undrain {name}");
    hold(session, &holds, (&job, &next), async || gone(session, &name).await).await
}

/// How far a removal is: over once there is no such node.
async fn gone(session: &Session, name: &str) -> Result<Left, Failure> {
    match session.admin.node(name).await {
        Ok(_) => {
            let left = left(session, name).await?;
            Ok(Left { is_over: false, ..left })
        }
        Err(error) if error.is_not_found() => {
            let value = render::json(&pb::Node::default());
            Ok(Left { is_over: true, lines: vec![format!("{name} is removed")], value })
        }
        Err(error) => Err(error.into()),
    }
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

async fn drop_orphan(session: &Session, name: &str, change: ChangeArgs) -> Result<(), Failure> {
    let orphan = render::parse_orphan(name).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{name:?} is not NODE/TABLET/COPY"))
            .next("palisade node orphans")
    })?;
    let request = pb::DropOrphanRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        ..orphan
    };
    session.admin.drop_orphan(request).await.map_err(unchanged)?;
    if session.output.is_for_people() {
        print(&match change.dry_run {
            true => format!("{name} can be dropped; nothing was done\n"),
            false => format!("{name} is gone\n"),
        });
    }
    Ok(())
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
