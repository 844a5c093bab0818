//! `palisade barrier`.

use super::Session;
use crate::args::BarrierCommand;
use crate::exit::{Exit, Failure};
use proto::admin::v1 as pb;

pub(super) async fn run(session: &Session, command: BarrierCommand) -> Result<Exit, Failure> {
    match command {
        BarrierCommand::List => session.show_all(&session.admin.list_barriers(0).await?),
        BarrierCommand::KillConnection { node, peer } => {
            let streams = session.admin.kill_connection(&node, &peer).await?;
            let cut = pb::KillConnectionResponse { streams };
            session.show(&cut, &node, || {
                format!("{node} has cut {streams} streams from and to {peer}\n")
            });
        }
        BarrierCommand::Holders { tablet } => {
            let only = match &tablet {
                Some(tablet) => {
                    session.check_name(tablet).await?;
                    tablet.id.as_u64()
                }
                None => 0,
            };
            let barriers = session.admin.list_barriers(only).await?;
            let held = barriers.into_iter().flat_map(|barrier| barrier.holders);
            let held: Vec<_> = held.collect();
            if held.is_empty() && session.output.is_for_people() {
                super::print("no barrier waits\n");
            } else {
                session.show_all(&held);
            }
        }
    }
    Ok(Exit::Done)
}
