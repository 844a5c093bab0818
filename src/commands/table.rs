//! `palisade table`.

use super::{Session, print};
use crate::args::{CreateTableArgs, TableCommand};
use crate::exit::{Exit, Failure};
use crate::render;
use proto::admin::v1 as pb;

pub(super) async fn run(session: &Session, command: TableCommand) -> Result<Exit, Failure> {
    match command {
        TableCommand::Create(args) => return create(session, args).await,
        TableCommand::List => session.show_all(&session.admin.list_tables().await?),
        TableCommand::Describe { name } => {
            let table = session.admin.table(&name).await?;
            let tablets = session.admin.list_tablets(&name).await?;
            session.show(&table, &table.name, || render::table(&table, &tablets));
        }
        TableCommand::Drop { name, change } => {
            let request = pb::DropTableRequest {
                request_id: change.request_id.unwrap_or_default(),
                validate_only: change.dry_run,
                name: name.clone(),
            };
            let dropped = session.admin.drop_table(request).await.map_err(unchanged)?;
            match change.dry_run {
                true => print(&format!("table {name} can be dropped; nothing was done\n")),
                false => print(&format!("table {name} is being dropped: {}\n", dropped.migration)),
            }
        }
    }
    Ok(Exit::Done)
}

async fn create(session: &Session, args: CreateTableArgs) -> Result<Exit, Failure> {
    let split_keys = match &args.ranges {
        None => Vec::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::new(Exit::Usage, format!("{}: {error}", file.display()))
                    .now("nothing was changed")
                    .next("a file with one split key a line, in ascending order")
            })?;
            text.lines().map(|line| line.as_bytes().to_vec().into()).collect()
        }
    };
    let request = pb::CreateTableRequest {
        request_id: args.change.request_id.unwrap_or_default(),
        validate_only: args.change.dry_run,
        name: args.name,
        replication_factor: args.rf,
        tablets: if args.ranges.is_some() { 0 } else { args.tablets },
        split_keys,
    };
    let name = request.name.clone();
    let created = session.admin.create_table(request).await.map_err(unchanged)?;
    if args.change.dry_run {
        print(&format!("table {name} can be made; nothing was done\n"));
        return Ok(Exit::Done);
    }
    let table = created.table.unwrap_or_default();
    session.show(&table, &table.name, || {
        format!("table {name}: {} tablets, {} replicas each\n", table.tablet_count, args.rf)
    });
    Ok(Exit::Done)
}

/// A change that was refused has changed nothing.
pub(super) fn unchanged(error: client::ClientError) -> Failure {
    let is_unknown = error.is_outcome_unknown();
    let failure = Failure::from(error);
    if is_unknown || failure.now.is_some() { failure } else { failure.now("nothing was changed") }
}
