//! Where the coordinators are: what was said, or what the environment says, or the current context,
//! or the cluster file of a cluster on this machine, or the default port.

mod contexts;

pub(crate) use contexts::{Contexts, file as contexts_file};

use crate::args::{ConnectArgs, DEV_DIRECTORY};
use crate::cluster::CLUSTER_FILE;
use crate::exit::{Exit, Failure};
use client::TlsArgs;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where a coordinator is if nobody says otherwise.
const DEFAULT: &str = "127.0.0.1:7400";

/// How a cluster is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Where {
    /// The admin addresses of its coordinators.
    pub(crate) coordinators: Vec<String>,
    /// As whom; in the clear, if it names nothing.
    pub(crate) tls: TlsArgs,
    /// Where processes serve metrics, by name; of a cluster file alone.
    pub(crate) metrics: Vec<(String, String)>,
}

/// Which cluster is meant, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// At these addresses.
    At(Vec<String>),
    /// Where a cluster file says.
    File(PathBuf),
    /// Where a context says.
    Context(String),
}

/// Addresses of coordinators: by flag, else by `PALISADE_COORDINATORS`, `PALISADE_CLUSTER_FILE` or
/// `PALISADE_CONTEXT`, else of the current context, else in the file of a cluster that `palisade
/// dev` has started in this directory, else at the default port.
///
/// Certificates: by flag or variable, else as the file or the context has them.
pub(crate) fn cluster(connect: &ConnectArgs) -> Result<Where, Failure> {
    let mut found = found(connect)?;
    if *connect.tls != TlsArgs::default() {
        found.tls = TlsArgs::clone(&connect.tls);
    }
    Ok(found)
}

fn found(connect: &ConnectArgs) -> Result<Where, Failure> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let contexts = || match contexts_file() {
        Some(file) => Contexts::read(&file),
        None => Ok(Contexts::default()),
    };
    match said(connect).or_else(|| in_environment(var)) {
        Some(Place::At(coordinators)) => Ok(Where { coordinators, ..Where::default() }),
        Some(Place::File(file)) => read(&file),
        Some(Place::Context(name)) => contexts()?.of(&name),
        None => {
            let contexts = contexts()?;
            if let Some(current) = &contexts.current {
                return contexts.of(current);
            }
            let dev: PathBuf = [DEV_DIRECTORY, CLUSTER_FILE].iter().collect();
            if dev.exists() {
                return read(&dev);
            }
            Ok(Where { coordinators: vec![DEFAULT.to_owned()], ..Where::default() })
        }
    }
}

/// What the flags say.
fn said(connect: &ConnectArgs) -> Option<Place> {
    match (&connect.coordinators, &connect.cluster_file, &connect.context) {
        (addresses, ..) if !addresses.is_empty() => Some(Place::At(addresses.clone())),
        (_, Some(file), _) => Some(Place::File(file.clone())),
        (_, None, Some(name)) => Some(Place::Context(name.clone())),
        (_, None, None) => None,
    }
}

/// What the environment says.
fn in_environment(var: impl Fn(&str) -> Option<String>) -> Option<Place> {
    if let Some(list) = var("PALISADE_COORDINATORS") {
        return Some(Place::At(list.split(',').map(|part| part.trim().to_owned()).collect()));
    }
    let file = var("PALISADE_CLUSTER_FILE").map(|file| Place::File(file.into()));
    file.or_else(|| var("PALISADE_CONTEXT").map(Place::Context))
}

fn read(file: &Path) -> Result<Where, Failure> {
    let failure = |problem: String| {
        Failure::new(Exit::Usage, format!("{}: {problem}", file.display()))
            .next("pass --coordinators HOST:PORT,…, or another --cluster-file")
    };
    let text = std::fs::read_to_string(file).map_err(|error| failure(error.to_string()))?;
    let found = described(&text).map_err(failure)?;
    match found.coordinators.is_empty() {
        true => Err(failure("names no coordinator".to_owned())),
        false => Ok(found),
    }
}

/// The admin addresses and the user's certificate in a cluster file.
fn described(text: &str) -> Result<Where, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let coordinators = file.get("coordinators").and_then(Value::as_array);
    let coordinators = coordinators.ok_or("it has no list \"coordinators\"")?;
    let admin = |member: &Value| member.get("admin").and_then(Value::as_str).map(str::to_owned);
    let coordinators = coordinators.iter().filter_map(admin).collect();
    let path = |which: &str| file.get("tls")?.get(which)?.as_str().map(PathBuf::from);
    let tls = TlsArgs { cacert: path("cacert"), cert: path("cert"), key: path("key") };
    let processes = ["coordinators", "agents"].map(|kind| file.get(kind).and_then(Value::as_array));
    let text = |one: &Value, which: &str| one.get(which).and_then(Value::as_str).map(str::to_owned);
    let metrics = processes.into_iter().flatten().flatten();
    let metrics = metrics.filter_map(|one| Some((text(one, "name")?, text(one, "metrics")?)));
    Ok(Where { coordinators, tls, metrics: metrics.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_file_names_coordinators() {
        let text = r#"{"coordinators":[{"name":"c1","admin":"127.0.0.1:1234"}],
            "agents":[{"name":"n1","metrics":"127.0.0.1:9"},{}],
            "tls":{"cacert":"a","cert":"b","key":"c"}}"#;
        let tls =
            TlsArgs { cacert: Some("a".into()), cert: Some("b".into()), key: Some("c".into()) };
        let coordinators = vec!["127.0.0.1:1234".to_owned()];
        let metrics = vec![("n1".to_owned(), "127.0.0.1:9".to_owned())];
        assert_eq!(described(text), Ok(Where { coordinators, tls, metrics }));
        assert!(described("{}").is_err());
        assert!(described("not json").is_err());
    }

    #[test]
    fn what_was_said_comes_before_files() {
        let connect = ConnectArgs {
            coordinators: vec!["a:1".to_owned()],
            cluster_file: Some("no such file".into()),
            ..ConnectArgs::default()
        };
        let coordinators = vec!["a:1".to_owned()];
        let expected = Where { coordinators, ..Where::default() };
        assert_eq!(cluster(&connect), Ok(expected.clone()));
        let tls = TlsArgs { cert: Some("c".into()), ..TlsArgs::default() };
        let with_cert = ConnectArgs { tls: Box::new(tls.clone()), ..connect.clone() };
        assert_eq!(cluster(&with_cert), Ok(Where { tls, ..expected }));
        let connect = ConnectArgs { cluster_file: connect.cluster_file, ..ConnectArgs::default() };
        assert!(cluster(&connect).is_err());
    }

    #[test]
    fn a_named_context_comes_before_the_environment() {
        let connect = ConnectArgs { context: Some("prod".to_owned()), ..ConnectArgs::default() };
        assert_eq!(said(&connect), Some(Place::Context("prod".to_owned())));
        assert_eq!(said(&ConnectArgs::default()), None);
        let var = |name: &str| match name {
            "PALISADE_COORDINATORS" => Some("a:1, b:2".to_owned()),
            _ => Some("other".to_owned()),
        };
        let addresses = vec!["a:1".to_owned(), "b:2".to_owned()];
        assert_eq!(in_environment(var), Some(Place::At(addresses)));
        let var = |name: &str| (name == "PALISADE_CONTEXT").then(|| "prod".to_owned());
        assert_eq!(in_environment(var), Some(Place::Context("prod".to_owned())));
        assert_eq!(in_environment(|_| None), None);
    }
}
