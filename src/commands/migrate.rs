//! `palisade migrate` and `palisade replica-set`: what begins a job.

use super::wait::{Aim, Waited, wait};
use super::{Session, print, unchanged};
use crate::args::{JobArgs, MigrateArgs, Output, ReplicaSetCommand, TabletName};
use crate::exit::{Exit, Failure};
use crate::render;
use client::{ClientError, new_request_id};
use migrations::command::PlacementRule;
use proto::admin::v1 as pb;
use proto::reasons::Reason;

/// Most nodes that are tried for a suggestion.
const SUGGESTIONS_TRIED: usize = 16;

/// What all requests for a job have.
pub(super) struct Asked {
    pub(super) request_id: String,
    pub(super) validate_only: bool,
    pub(super) tablet: u64,
    pub(super) reason: String,
}

pub(super) fn asked(tablet: &TabletName, job: &JobArgs) -> Asked {
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
    let answer = session.admin.migrate(request.clone()).await.map(|answer| answer.migration);
    let rule = answer.as_ref().err().and_then(broken_rule);
    let ended = begun(session, &tablet, &job, &request_id, answer).await;
    let (Err(failure), Some(rule)) = (&ended, rule) else { return ended };
    match fitting(session, &tablet, request, &rule).await {
        Some((from, to)) => Err(failure.clone().next(format!(
            "palisade migrate {tablet} --from {from} --to {to}     passes all rules"
        ))),
        None => ended,
    }
}

/// The placement rule that a refusal names.
fn broken_rule(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Refused(refusal) if refusal.reason == Reason::PlacementViolation => {
            Some(refusal.get("rule").unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

/// Another move of the tablet that passes the server's own checks: to another node, or, if the
/// leaving one holds no replica, from one that does.
async fn fitting(
    session: &Session,
    tablet: &TabletName,
    request: pb::MigrateRequest,
    rule: &str,
) -> Option<(String, String)> {
    let held = session.admin.tablet(tablet.id, false).await.ok()?.replicas;
    let holds = |name: &str| held.iter().any(|replica| replica.node == name);
    let ways: Vec<(String, String)> = if rule == PlacementRule::LeavingHoldsReplica.name() {
        held.iter().map(|replica| (replica.node.clone(), request.to.clone())).collect()
    } else {
        let nodes = session.admin.list_nodes().await.ok()?;
        let is_free = |node: &pb::Node| node.attached && !node.draining && !holds(&node.name);
        let free = nodes.into_iter().filter(is_free);
        free.map(|node| (request.from.clone(), node.name)).collect()
    };
    for (from, to) in ways.into_iter().take(SUGGESTIONS_TRIED) {
        let tried = pb::MigrateRequest {
            request_id: String::new(),
            validate_only: true,
            from: from.clone(),
            to: to.clone(),
            ..request.clone()
        };
        if session.admin.migrate(tried).await.is_ok() {
            return Some((from, to));
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
        | ReplicaSetCommand::Rebuild { tablet, job, .. }
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
        ReplicaSetCommand::Rebuild { from, to, .. } => {
            let request = pb::RebuildReplicaRequest {
                request_id,
                validate_only,
                tablet: number,
                from,
                to,
                reason,
            };
            session.admin.rebuild_replica(request).await.map(|answer| answer.migration)
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
pub(super) async fn begun(
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
        session.show(&migration, &tablet.to_string(), || {
            format!("tablet {tablet}: all checks pass; nothing was done\n")
        });
        return Ok(Exit::Done);
    }
    let Some(stage) = job.wait.wait else {
        session.show(&migration, &migration.id, || {
            let (headline, id) =
                (render::headline(&migration, request_id), render::short_id(&migration.id));
            format!("{headline}\nit goes on by itself; palisade migration wait {id}\n")
        });
        return Ok(Exit::Done);
    };
    match session.output {
        Output::Table | Output::Wide if !session.is_live => {
            print(&format!("{}\n", render::headline(&migration, request_id)));
        }
        Output::Name => print(&format!("{}\n", migration.id)),
        // The block has it above all, and for programs each state comes as an object of its own.
        Output::Table | Output::Wide | Output::Json | Output::Yaml => {}
    }
    let waited = Waited { id: &migration.id, wait_for: stage.0, timeout: job.wait.timeout };
    wait(session, waited, request_id, Aim::Done).await
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
