//! `palisade unsafe`: what can lose data, once the name of the thing has been typed.

use super::migrate::{Asked, asked, begun};
use super::{Session, print};
use crate::args::{TabletName, UnsafeCommand};
use crate::exit::{Exit, Failure};
use proto::admin::v1 as pb;
use std::io::BufRead;

pub(super) async fn run(session: &Session, command: UnsafeCommand) -> Result<Exit, Failure> {
    let UnsafeCommand::AcceptDataLoss { tablet, from, to, confirm, job } = command;
    session.check_name(&tablet).await?;
    let found = session.admin.tablet(tablet.id, false).await?;
    let dead = dead(&found, &session.admin.list_nodes().await?);
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
    begun(session, &name, &job, &request_id, answer).await
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

/// The tablet's name has to be typed: on the command line, or when it is asked for.
fn check_typed(
    tablet: &pb::Tablet,
    dead: &[String],
    confirm: Option<String>,
) -> Result<(), Failure> {
    let typed = match confirm {
        Some(typed) => typed,
        None => {
            print(&format!(
                "The dead replicas of {0} are on {1}: what only they hold will be lost for good.\n\
                 Type {0} to go on: ",
                tablet.name,
                if dead.is_empty() { "no node".to_owned() } else { dead.join(" ") }
            ));
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
            line.trim().to_owned()
        }
    };
    if typed == tablet.name {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("{typed:?} is not {}", tablet.name))
        .now("nothing was changed")
        .why("what can lose data asks for the name of what it is about")
        .next(format!("palisade tablet explain {}", tablet.name)))
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
