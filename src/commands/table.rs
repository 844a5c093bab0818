//! `palisade table`.

use super::hold::{Left, hold};
use super::{Session, print, unchanged};
use crate::args::{ChangeArgs, CreateTableArgs, HoldArgs, TableCommand};
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
            session.show(&table, &table.name, || render::table(session.output, &table, &tablets));
        }
        TableCommand::Drop { name, change, hold } => {
            return drop(session, name, change, hold).await;
        }
    }
    Ok(Exit::Done)
}

async fn drop(
    session: &Session,
    name: String,
    change: ChangeArgs,
    holds: HoldArgs,
) -> Result<Exit, Failure> {
    let table = session.admin.table(&name).await.map_err(unchanged)?;
    let request = pb::DropTableRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        name: name.clone(),
    };
    let dropped = session.admin.drop_table(request).await.map_err(unchanged)?;
    if change.dry_run || !holds.wait || session.output.is_for_people() {
        session.show(&dropped, &name, || match change.dry_run {
            true => format!("table {name} can be dropped; nothing was done\n"),
            false => format!("table {name} is being dropped: {}\n", dropped.migration),
        });
    }
    if change.dry_run || !holds.wait {
        return Ok(Exit::Done);
    }
    let job = format!("the drop of table {name}");
    let next = "palisade table list";
    let ended = hold(session, &holds, (&job, next), async || left(session, &table).await).await;
    if ended.is_ok() && session.output.is_for_people() {
        print(&format!("table {name} is gone, and every copy of it\n"));
    }
    ended
}

/// Which copies of a dropped table are left. Another table may have its name by now.
async fn left(session: &Session, table: &pb::Table) -> Result<Left, Failure> {
    let name = &table.name;
    let found = match session.admin.table(name).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => pb::Table::default(),
        Err(error) => return Err(error.into()),
    };
    let is_over = found.id != table.id;
    let line = match is_over {
        true => "no tablet is left".to_owned(),
        false => format!("{} of {} tablets are left", found.tablet_count, table.tablet_count),
    };
    let value = serde_json::json!({ "table": name, "tabletsLeft": found.tablet_count });
    Ok(Left { is_over, lines: vec![line], value })
}

async fn create(session: &Session, args: CreateTableArgs) -> Result<Exit, Failure> {
    let split_keys = match &args.ranges {
        None => Vec::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::new(Exit::Usage, format!("{}: {error}", file.display()))
                    .now("nothing was changed")
                    .why("the splits of a table that is ordered by its keys come from there")
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
    let table = created.table.unwrap_or_default();
    session.show(&table, &name, || match args.change.dry_run {
        true => format!("table {name} can be made; nothing was done\n"),
        false => {
            format!("table {name}: {} tablets, {} replicas each\n", table.tablet_count, args.rf)
        }
    });
    Ok(Exit::Done)
}
