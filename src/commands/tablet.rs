//! `palisade tablet`.

use super::{Session, print};
use crate::args::{Output, TabletCommand};
use crate::exit::{Exit, Failure};
use crate::render::{self, Json};
use serde_json::{Value, json};

pub(super) async fn run(session: &Session, command: TabletCommand) -> Result<Exit, Failure> {
    match command {
        TabletCommand::List { table } => {
            session.show_all(&session.admin.list_tablets(&table).await?);
        }
        TabletCommand::Describe { tablet, digest } => {
            session.check_name(&tablet).await?;
            let found = session.admin.tablet(tablet.id, digest).await?;
            session.show(&found, &found.name, || render::tablet(&found));
        }
        TabletCommand::Purge { tablet } => {
            session.check_name(&tablet).await?;
            let replicas = session.admin.purge_tablet(tablet.id).await?;
            match session.output {
                Output::Table | Output::Name => print(&render::purge(&replicas)),
                Output::Json => {
                    let replicas: Vec<Value> = replicas.iter().map(Json::json).collect();
                    print(&format!("{:#}\n", json!({ "replicas": replicas })));
                }
            }
            let failed = replicas.iter().find(|replica| !replica.error.is_empty());
            if let Some(replica) = failed {
                let error = format!("{} has not purged {tablet}: {}", replica.node, replica.error);
                return Err(Failure::new(Exit::Failed, error)
                    .now("what is gone on the others stays gone; nothing is served wrongly")
                    .next(format!("palisade tablet purge {tablet}     once it is up")));
            }
        }
    }
    Ok(Exit::Done)
}
