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
    if !job.change.dry_run {
        check_typed(&found, confirm)?;
    }
    let Asked { request_id, validate_only, tablet: number, reason } = asked(&tablet, &job);
    let request = pb::AcceptDataLossRequest {
        request_id: request_id.clone(),
        validate_only,
        tablet: number,
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        reason,
    };
    let answer = session.admin.accept_data_loss(request).await.map(|answer| answer.migration);
    let name = TabletName { table: Some(found.table), id: tablet.id };
    begun(session, &name, &job, &request_id, answer).await
}

/// The tablet's name has to be typed: on the command line, or when it is asked for.
fn check_typed(tablet: &pb::Tablet, confirm: Option<String>) -> Result<(), Failure> {
    let typed = match confirm {
        Some(typed) => typed,
        None => {
            print(&format!(
                "What only the dead replicas of {0} hold will be lost for good.\n\
                 Type {0} to go on: ",
                tablet.name
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
