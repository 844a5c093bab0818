//! `palisade node`.

use super::Session;
use crate::args::NodeCommand;
use crate::exit::{Exit, Failure};
use crate::render;

pub(super) async fn run(session: &Session, command: NodeCommand) -> Result<Exit, Failure> {
    match command {
        NodeCommand::List => session.show_all(&session.admin.list_nodes().await?),
        NodeCommand::Describe { name } => {
            let node = session.admin.node(&name).await?;
            session.show(&node, &node.name, || render::node(&node));
        }
    }
    Ok(Exit::Done)
}
