//! `palisade barrier`.

use super::{Session, print};
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
            let held = barriers.iter().flat_map(|barrier| barrier.holders.iter().cloned());
            let held: Vec<_> = held.collect();
            if held.is_empty() && session.output.is_for_people() {
                let waiting: Vec<&str> = barriers
                    .iter()
                    .flat_map(|barrier| barrier.waiting_for.iter().map(String::as_str))
                    .collect();
                print(&match waiting.as_slice() {
                    [] => "no barrier waits\n".to_owned(),
                    nodes => format!("no guard is known; silent: {}\n", nodes.join(" ")),
                });
            } else {
                session.show_all(&held);
            }
        }
    }
    Ok(Exit::Done)
}
