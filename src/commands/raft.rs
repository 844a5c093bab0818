//! `palisade raft`.

use super::hold::{Left, hold};
use super::{Session, print, unchanged};
use crate::args::{ChangeArgs, HoldArgs, Output, RaftCommand};
use crate::exit::{Exit, Failure};
use crate::render;
use proto::admin::v1 as pb;
use proto::reasons::Reason;

pub(super) async fn run(session: &Session, command: RaftCommand) -> Result<Exit, Failure> {
    match command {
        RaftCommand::Status => status(session).await?,
        RaftCommand::Add { name, raft, change, hold } => {
            return add(session, name, raft, change, hold).await;
        }
        RaftCommand::Remove { name, change } => remove(session, name, change).await?,
        RaftCommand::TransferLeader { name, change } => transfer(session, name, change).await?,
    }
    Ok(Exit::Done)
}

async fn status(session: &Session) -> Result<(), Failure> {
    let status = session.admin.status().await?;
    match session.output {
        Output::Table | Output::Wide => print(&render::raft(session.output, &status)),
        Output::Json | Output::Yaml | Output::Name => session.show_all(&status.coordinators),
    }
    Ok(())
}

async fn add(
    session: &Session,
    name: String,
    raft_address: String,
    change: ChangeArgs,
    holds: HoldArgs,
) -> Result<Exit, Failure> {
    let request = pb::AddMemberRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
        raft_address,
    };
    let answer = session.admin.add_member(request).await.map_err(|error| {
        let reason = error.reason();
        let failure = unchanged(error);
        match reason {
            Some(Reason::AlreadyExists) => failure.next(format!("palisade raft remove {name}")),
            Some(Reason::NodeNotReady) => {
                failure.next(format!("palisade coordinator --name {name} --data DIR --join"))
            }
            Some(Reason::NodeMismatch) => failure.next("palisade raft status -o wide"),
            _ => failure,
        }
    })?;
    let one = answer.coordinator.unwrap_or_default();
    if change.dry_run || !holds.wait || session.output.is_for_people() {
        session.show(&one, &name, || match (change.dry_run, one.voter) {
            (true, _) => format!("{name} can be taken in; nothing was done\n"),
            (false, true) => format!("{name} is a coordinator, and votes\n"),
            (false, false) => format!("{name} is taken in; it votes once it has caught up\n"),
        });
    }
    if change.dry_run || !holds.wait || one.voter {
        return Ok(Exit::Done);
    }
    let job = format!("catching up of {name}");
    hold(session, &holds, (&job, "palisade raft status"), async || lags(session, &name).await).await
}

/// How far a new one is from its vote.
async fn lags(session: &Session, name: &str) -> Result<Left, Failure> {
    let status = session.admin.status().await?;
    let one = status.coordinators.into_iter().find(|one| one.name == name).unwrap_or_default();
    let lag = status.committed_index.saturating_sub(one.matched_index);
    let line = match one.voter {
        true => format!("{name} votes"),
        false => format!("{name} lacks {lag} entries"),
    };
    Ok(Left { is_over: one.voter, lines: vec![line], value: render::json(&one) })
}

async fn remove(session: &Session, name: String, change: ChangeArgs) -> Result<(), Failure> {
    let status = session.admin.status().await?;
    let meant = status.coordinators.into_iter().find(|one| one.name == name);
    let request = pb::RemoveMemberRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
        raft_id: meant.map(|one| one.raft_id).unwrap_or_default(),
    };
    let answer = session.admin.remove_member(request).await.map_err(|error| {
        let is_known =
            matches!(error.reason(), Some(Reason::PlacementViolation | Reason::NotFound));
        let failure = unchanged(error);
        if is_known { failure.next("palisade raft status") } else { failure }
    })?;
    session.show(&answer, &name, || match change.dry_run {
        true => format!("{name} can be removed; nothing was done\n"),
        false => format!("{name} is no coordinator any more; if it runs, it ends by itself\n"),
    });
    Ok(())
}

async fn transfer(session: &Session, name: String, change: ChangeArgs) -> Result<(), Failure> {
    let status = session.admin.status().await?;
    let request = pb::TransferLeaderRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        to: name,
        from_raft_id: status.leader,
    };
    let answer = session.admin.transfer_leader(request).await.map_err(|error| {
        let is_known = matches!(error.reason(), Some(Reason::NodeNotReady | Reason::NotFound));
        let failure = unchanged(error);
        if is_known { failure.next("palisade raft status") } else { failure }
    })?;
    session.show(&answer, &answer.leader, || match change.dry_run {
        true => format!("{} can lead; nothing was done\n", answer.leader),
        false => format!("{} leads\n", answer.leader),
    });
    Ok(())
}
