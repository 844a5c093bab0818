//! Where the coordinators are: what was said, or the cluster file of a cluster on this machine, or
//! the default port.

use crate::args::{ConnectArgs, DEV_DIRECTORY};
use crate::cluster::CLUSTER_FILE;
use crate::exit::{Exit, Failure};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where a coordinator is if nobody says otherwise.
const DEFAULT: &str = "127.0.0.1:7400";

/// Addresses of coordinators. The order: `--coordinators` or `PALISADE_COORDINATORS`, then
/// `--cluster-file` or `PALISADE_CLUSTER_FILE`, then the file of a cluster that `palisade dev` has
/// started in this directory, then the default port.
pub(crate) fn coordinators(connect: &ConnectArgs) -> Result<Vec<String>, Failure> {
    if !connect.coordinators.is_empty() {
        return Ok(connect.coordinators.clone());
    }
    if let Some(file) = &connect.cluster_file {
        return read(file);
    }
    let dev: PathBuf = [DEV_DIRECTORY, CLUSTER_FILE].iter().collect();
    if dev.exists() {
        return read(&dev);
    }
    Ok(vec![DEFAULT.to_owned()])
}

fn read(file: &Path) -> Result<Vec<String>, Failure> {
    let failure = |problem: String| {
        Failure::new(Exit::Usage, format!("{}: {problem}", file.display()))
            .next("pass --coordinators HOST:PORT,…, or another --cluster-file")
    };
    let text = std::fs::read_to_string(file).map_err(|error| failure(error.to_string()))?;
    let found = addresses(&text).map_err(failure)?;
    if found.is_empty() { Err(failure("names no coordinator".to_owned())) } else { Ok(found) }
}

/// The admin addresses in a cluster file.
fn addresses(text: &str) -> Result<Vec<String>, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let coordinators = file.get("coordinators").and_then(Value::as_array);
    let coordinators = coordinators.ok_or("it has no list \"coordinators\"")?;
    let admin = |member: &Value| member.get("admin").and_then(Value::as_str).map(str::to_owned);
    Ok(coordinators.iter().filter_map(admin).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_file_names_coordinators() {
        let text = r#"{"coordinators":[{"name":"c1","admin":"127.0.0.1:1234"}],"agents":[{}]}"#;
        assert_eq!(addresses(text), Ok(vec!["127.0.0.1:1234".to_owned()]));
        assert!(addresses("{}").is_err());
        assert!(addresses("not json").is_err());
    }

    #[test]
    fn what_was_said_comes_before_files() {
        let connect = ConnectArgs {
            coordinators: vec!["a:1".to_owned()],
            cluster_file: Some("no such file".into()),
            ..ConnectArgs::default()
        };
        assert_eq!(coordinators(&connect), Ok(vec!["a:1".to_owned()]));
        let connect = ConnectArgs { cluster_file: connect.cluster_file, ..ConnectArgs::default() };
        assert!(coordinators(&connect).is_err());
    }
}
