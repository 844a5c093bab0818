//! `palisade unsafe`: what can lose data, once the name of the thing has been typed.

use super::migrate::{Asked, asked, begun};
use super::{Session, print, snapshot};
use crate::args::{AcceptDataLossArgs, Output, RecoverQuorumArgs, TabletName};
use crate::exit::{Exit, Failure};
use client::ClientError;
use coordinator::backup::{self, Place, Survivor};
use proto::admin::v1 as pb;
use std::io::BufRead;

pub(super) async fn accept_data_loss(
    session: &Session,
    args: AcceptDataLossArgs,
) -> Result<Exit, Failure> {
    let AcceptDataLossArgs { tablet, from, to, confirm, dead: named, job } = args;
    session.check_name(&tablet).await?;
    let found = session.admin.tablet(tablet.id, false).await?;
    // What is sent is what somebody has seen: on the command line, or here before he types the name.
    let is_shown = named.is_empty();
    let dead = match is_shown {
        true => dead(&found, &session.admin.list_nodes().await?),
        false => named,
    };
    // Run again it is to say the same, whoever is dead by then.
    let unsaid: Vec<String> = match is_shown {
        true => dead.iter().flat_map(|node| ["--dead".to_owned(), node.clone()]).collect(),
        false => Vec::new(),
    };
    if !job.change.dry_run {
        check_typed(&found, &dead, confirm)?;
    }
    let Asked { request_id, validate_only, tablet: number, reason } = asked(&tablet, &job);
    let request = pb::AcceptDataLossRequest {
        request_id: request_id.clone(),
        validate_only,
        tablet: number,
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        reason,
        dead,
    };
    let answer = session.admin.accept_data_loss(request).await.map(|answer| answer.migration);
    let name = TabletName { table: Some(found.table), id: tablet.id };
    match answer {
        Err(error @ ClientError::OutcomeUnknown { .. }) => Err(Failure::from(error).also(&unsaid)),
        answer => begun(session, &name, &job, &request_id, answer).await,
    }
}

/// The nodes whose replica of the tablet is dead: what is shown, and all that is given up.
fn dead(tablet: &pb::Tablet, nodes: &[pb::Node]) -> Vec<String> {
    let is_admitted = |replica: &pb::TabletReplica| {
        let mut known = nodes.iter().filter(|node| node.name == replica.node);
        known.any(|node| node.state() == pb::NodeState::Admitted)
    };
    let dead = tablet.replicas.iter().filter(|replica| replica.lost || !is_admitted(replica));
    dead.map(|replica| replica.node.clone()).collect()
}

/// The tablet's name has to be typed.
fn check_typed(
    tablet: &pb::Tablet,
    dead: &[String],
    confirm: Option<String>,
) -> Result<(), Failure> {
    let dead = if dead.is_empty() { "no node".to_owned() } else { dead.join(" ") };
    let lost = format!(
        "The dead replicas of {} are on {dead}: what only they hold will be lost for good.",
        tablet.name
    );
    let next = format!("palisade tablet explain {}", tablet.name);
    typed(&tablet.name, &lost, confirm).map_err(|failure| failure.next(next))
}

/// A name has to be typed: on the command line, or when it is asked for.
fn typed(name: &str, lost: &str, confirm: Option<String>) -> Result<(), Failure> {
    let typed = match confirm {
        Some(typed) => typed,
        None => {
            print(&format!("{lost}\nType {name} to go on: "));
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
            line.trim().to_owned()
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("{typed:?} is not {name}"))
        .now("nothing was changed")
        .why("what can lose data asks for the name of what it is about"))
}

pub(super) fn recover_quorum(output: Output, args: RecoverQuorumArgs) -> Result<Exit, Failure> {
    let RecoverQuorumArgs { from, data, name, era, confirm } = args;
    let found = backup::survey(&from).map_err(snapshot::refused)?;
    let Survivor { path, name: survivor, voters, left, contents } = found;
    let lost = format!(
        "{left} of {voters} coordinators are left. {survivor} has the most of them: all up to \
         version {}, entry {}. What only the others had is lost for good.\n\
         A new cluster begins with it. If one of the others ever runs again, it is another cluster.",
        contents.state.version,
        contents.last.map_or(0, |(_, index)| index),
    );
    typed(&survivor, &lost, confirm)?;
    let place = Place { data, name, era };
    let restored = backup::begin(contents, &path, &place).map_err(snapshot::refused)?;
    snapshot::show_restored(output, &restored, &place);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_those_that_are_fenced_or_gone_or_have_lost_their_copy() {
        let replica = |node: &str, lost| pb::TabletReplica {
            node: node.to_owned(),
            lost,
            ..Default::default()
        };
        let node = |name: &str, state: pb::NodeState| pb::Node {
            name: name.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        let replicas = vec![
            replica("n1", false),
            replica("n2", true),
            replica("n3", false),
            replica("#9", false),
        ];
        let tablet = pb::Tablet { replicas, ..Default::default() };
        let nodes = [
            node("n1", pb::NodeState::Admitted),
            node("n2", pb::NodeState::Admitted),
            node("n3", pb::NodeState::Fenced),
        ];
        assert_eq!(dead(&tablet, &nodes), ["n2", "n3", "#9"]);
    }
}
