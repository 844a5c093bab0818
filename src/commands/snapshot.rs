//! `palisade snapshot` and `palisade replica adopt`. All but `save` work on files and directories
//! that no process has, and ask nobody.

use super::{Session, print};
use crate::args::{Color, Output, ReplicaOffline, RestoreArgs, SnapshotCommand};
use crate::exit::{Exit, Failure};
use crate::render;
use coordinator::backup::{self, BackupError, Contents, Place, Restored};
use replica::store::Directory;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

pub(crate) async fn run(command: SnapshotCommand, color: Color) -> Result<Exit, Failure> {
    match command {
        SnapshotCommand::Save { file, connect } => {
            let session = Session::new(&connect, color)?;
            save(&session, &file).await?;
        }
        SnapshotCommand::Inspect { file, output } => {
            let contents = backup::inspect(&file).map_err(refused)?;
            show(output, &render::contents(&contents), &value(&contents));
        }
        SnapshotCommand::Restore(args) => restore(args)?,
    }
    Ok(Exit::Done)
}

async fn save(session: &Session, file: &Path) -> Result<(), Failure> {
    let bytes = session.admin.save_snapshot().await?;
    let unwritten = |error: io::Error| {
        Failure::new(Exit::Failed, format!("can't write {}: {error}", file.display()))
            .now("a file that was there is as it was")
    };
    let mut aside = file.as_os_str().to_owned();
    aside.push(".part");
    let aside = Path::new(&aside);
    write_synced(aside, &bytes).map_err(unwritten)?;
    let contents = backup::inspect(aside).map_err(|error| {
        let _left_behind = std::fs::remove_file(aside);
        Failure::new(Exit::Failed, format!("what came is not what was sent: {error}"))
            .now("a file that was there is as it was")
            .next("run it again")
    })?;
    rename(aside, file).map_err(unwritten)?;
    show(session.output, &render::contents(&contents), &value(&contents));
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames a file into its place, durably.
fn rename(aside: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(aside, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let RestoreArgs { file, data, name, era, output } = args;
    let place = Place { data, name, era };
    let restored = backup::restore(&file, &place).map_err(refused)?;
    show_restored(output, &restored, &place);
    Ok(())
}

/// A cluster that begins once its coordinator is started.
pub(super) fn show_restored(output: Output, restored: &Restored, place: &Place) {
    let version = restored.state.version;
    let human = render::restored(restored, place);
    let value = json!({
        "clusterId": restored.cluster.to_string(),
        "era": version.era(),
        "version": version.to_string(),
        "data": place.data.display().to_string(),
        "name": place.name,
        "turnedBack": restored.turned_back,
        "from": value(&restored.from),
    });
    show(output, &human, &value);
}

/// What is in a file, for programs.
fn value(contents: &Contents) -> Value {
    let state = &contents.state;
    json!({
        "clusterId": state.cluster.map(|cluster| cluster.to_string()),
        "era": state.version.era(),
        "version": state.version.to_string(),
        "featureLevel": state.feature_level,
        "digest": contents.digest,
        "bytes": contents.bytes,
        "lastEntry": contents.last.map(|(_, index)| index),
        "coordinators": contents.coordinators,
        "nodes": state.nodes.values().map(|node| node.name.clone()).collect::<Vec<_>>(),
        "tables": state.tables.values().map(|table| table.name.clone()).collect::<Vec<_>>(),
        "tablets": state.tablets.len(),
        "migrations": state.tablets.values().filter(|tablet| tablet.transition.is_some()).count(),
    })
}

fn show(output: Output, human: &str, value: &Value) {
    match output {
        Output::Table | Output::Wide => print(human),
        Output::Json | Output::Yaml => print(&render::value(output, value)),
        Output::Name => print(&format!("{}\n", value["clusterId"].as_str().unwrap_or_default())),
    }
}

pub(super) fn refused(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Exit::NotFound
        }
        BackupError::NotRestored { .. }
        | BackupError::Majority { .. }
        | BackupError::OtherCluster { .. } => Exit::Refused,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string()).now("nothing was changed")
}

/// `palisade replica adopt`.
pub(crate) fn offline(command: ReplicaOffline) -> Result<Exit, Failure> {
    let ReplicaOffline::Adopt { cluster, data } = command;
    let before = Directory::adopt(&data, cluster).map_err(|error| {
        Failure::new(Exit::Refused, format!("{}: {error}", data.display()))
            .now("nothing was changed")
    })?;
    let from = before.cluster.map_or_else(String::new, |cluster| cluster.to_string());
    let name = before.node_name;
    print(&format!(
        "{name} is of cluster {cluster} now, no longer of {from}\n\
         start it with the addresses of the new coordinators; copies that they don't give it are \
         set aside: palisade node orphans\n"
    ));
    Ok(Exit::Done)
}
