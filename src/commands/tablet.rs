//! `palisade tablet`.

use super::{Session, now_ms};
use crate::args::{TabletCommand, TabletName};
use crate::exit::{Exit, Failure};
use crate::render::{self, Known};
use proto::admin::v1 as pb;

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
        TabletCommand::Explain { tablet } => explain(session, &tablet).await?,
        TabletCommand::Purge { tablet } => {
            session.check_name(&tablet).await?;
            let replicas = session.admin.purge_tablet(tablet.id).await?;
            let purged = pb::PurgeTabletResponse { replicas };
            let replicas = &purged.replicas;
            session.show(&purged, &tablet.to_string(), || render::purge(replicas));
            let failed = replicas.iter().find(|replica| !replica.error.is_empty());
            if let Some(replica) = failed {
                let error = format!("{} has not purged {tablet}: {}", replica.node, replica.error);
                return Err(Failure::new(Exit::Failed, error)
                    .now("what is gone on the others stays gone; nothing is served wrongly")
                    .why("a purge needs each replica; those that have done it keep what they know")
                    .next(format!("palisade tablet purge {tablet}     once it is up")));
            }
        }
    }
    Ok(Exit::Done)
}

async fn explain(session: &Session, name: &TabletName) -> Result<(), Failure> {
    session.check_name(name).await?;
    let tablet = session.admin.tablet(name.id, false).await?;
    let status = session.admin.status().await?;
    let migration = match tablet.migration.as_str() {
        "" => None,
        id => match session.admin.migration(id).await {
            Ok(found) => Some(found).filter(|found| found.state() == pb::MigrationState::Running),
            // It has ended meanwhile, and is no longer remembered.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        },
    };
    let known = Known {
        tablet: &tablet,
        migration: migration.as_ref(),
        nodes: &status.nodes,
        pause: status.pause.as_ref(),
    };
    if session.output.is_for_people() {
        super::print(&render::explain(known, now_ms()));
        return Ok(());
    }
    match &migration {
        Some(migration) => session.show(migration, &migration.id, String::new),
        None => session.show(&tablet, &tablet.name, String::new),
    }
    Ok(())
}
