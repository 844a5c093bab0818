//! `palisade migrate` and `palisade replica-set`: what begins a job.

use super::table::unchanged;
use super::wait::{Aim, wait};
use super::{Session, print};
use crate::args::{JobArgs, MigrateArgs, Output, ReplicaSetCommand, TabletName};
use crate::exit::{Exit, Failure};
use crate::render;
use client::{ClientError, new_request_id};
use proto::admin::v1 as pb;
use proto::reasons::Reason;

/// Most nodes that are tried for a suggestion.
const SUGGESTIONS_TRIED: usize = 16;

/// What all requests for a job have.
struct Asked {
    request_id: String,
    validate_only: bool,
    tablet: u64,
    reason: String,
}

fn asked(tablet: &TabletName, job: &JobArgs) -> Asked {
    let request_id = job.change.request_id.clone();
    Asked {
        request_id: request_id.unwrap_or_else(|| new_request_id().to_string()),
        validate_only: job.change.dry_run,
        tablet: tablet.id.as_u64(),
        reason: job.reason.clone(),
    }
}

pub(super) async fn migrate(session: &Session, args: MigrateArgs) -> Result<Exit, Failure> {
    let MigrateArgs { connect: _, tablet, from, to, job } = args;
    session.check_name(&tablet).await?;
    let Asked { request_id, validate_only, tablet: number, reason } = asked(&tablet, &job);
    let request = pb::MigrateRequest {
        request_id: request_id.clone(),
        validate_only,
        tablet: number,
        from: from.clone(),
        to,
        reason,
    };
    let answer = session.admin.migrate(request).await.map(|answer| answer.migration);
    let is_misplaced = match &answer {
        Ok(_) => false,
        Err(error) => error.reason() == Some(Reason::PlacementViolation),
    };
    let ended = begun(session, &tablet, &job, &request_id, answer).await;
    let Err(failure) = ended else { return ended };
    let better = if is_misplaced { fitting(session, &tablet, &from).await } else { None };
    Err(match better {
        Some(to) => failure.next(format!(
            "palisade migrate {tablet} --from {from} --to {to}     passes all rules"
        )),
        None => failure,
    })
}

/// A node that the replica could go to instead: one that passes the server's own checks.
async fn fitting(session: &Session, tablet: &TabletName, from: &str) -> Option<String> {
    let nodes = session.admin.list_nodes().await.ok()?;
    for node in nodes.into_iter().filter(|node| node.attached).take(SUGGESTIONS_TRIED) {
        let request = pb::MigrateRequest {
            validate_only: true,
            tablet: tablet.id.as_u64(),
            from: from.to_owned(),
            to: node.name.clone(),
            ..Default::default()
        };
        if session.admin.migrate(request).await.is_ok() {
            return Some(node.name);
        }
    }
    None
}

pub(super) async fn replica_set(
    session: &Session,
    command: ReplicaSetCommand,
) -> Result<Exit, Failure> {
    let (tablet, job) = match &command {
        ReplicaSetCommand::Add { tablet, job, .. }
        | ReplicaSetCommand::Remove { tablet, job, .. }
        | ReplicaSetCommand::Repair { tablet, job } => (tablet.clone(), job.clone()),
    };
    session.check_name(&tablet).await?;
    let Asked { request_id, validate_only, tablet: number, reason } = asked(&tablet, &job);
    let id = request_id.clone();
    let answer = match command {
        ReplicaSetCommand::Add { to, .. } => {
            let request =
                pb::AddReplicaRequest { request_id, validate_only, tablet: number, to, reason };
            session.admin.add_replica(request).await.map(|answer| answer.migration)
        }
        ReplicaSetCommand::Remove { from, .. } => {
            let request = pb::RemoveReplicaRequest {
                request_id,
                validate_only,
                tablet: number,
                from,
                reason,
            };
            session.admin.remove_replica(request).await.map(|answer| answer.migration)
        }
        ReplicaSetCommand::Repair { .. } => {
            let request =
                pb::RepairTabletRequest { request_id, validate_only, tablet: number, reason };
            session.admin.repair_tablet(request).await.map(|answer| answer.migration)
        }
    };
    begun(session, &tablet, &job, &id, answer).await
}

/// Says what was begun, and waits for it if that was asked for.
async fn begun(
    session: &Session,
    tablet: &TabletName,
    job: &JobArgs,
    request_id: &str,
    answer: Result<Option<pb::Migration>, ClientError>,
) -> Result<Exit, Failure> {
    let migration = match answer {
        Ok(migration) => migration.unwrap_or_default(),
        Err(error) => return Err(refused(session, tablet, error).await),
    };
    if job.change.dry_run {
        print(&format!("tablet {tablet}: all checks pass; nothing was done\n"));
        return Ok(Exit::Done);
    }
    match (session.output, job.wait.wait) {
        (Output::Table, _) => print(&format!("{}\n", render::headline(&migration, request_id))),
        // With a wait, each state comes as an object of its own.
        (Output::Json, Some(_)) => {}
        (Output::Json | Output::Name, _) => session.show(&migration, &migration.id, String::new),
    }
    match job.wait.wait {
        Some(stage) => wait(session, &migration.id, stage.0, job.wait.timeout, Aim::Done).await,
        None => {
            if session.output == Output::Table {
                let id = render::short_id(&migration.id);
                print(&format!("it goes on by itself; palisade migration wait {id}\n"));
            }
            Ok(Exit::Done)
        }
    }
}

/// A refusal, with who is serving.
async fn refused(session: &Session, tablet: &TabletName, error: ClientError) -> Failure {
    if error.is_outcome_unknown() || error.reason().is_none() {
        return Failure::from(error);
    }
    let Ok(found) = session.admin.tablet(tablet.id, false).await else {
        return unchanged(error);
    };
    let serving = found.replicas.iter().filter(|replica| replica.old && !replica.lost);
    let serving: Vec<&str> = serving.map(|replica| replica.node.as_str()).collect();
    let now = format!("nothing was changed; {} are serving", serving.join(", "));
    Failure::from(error).now(now)
}
