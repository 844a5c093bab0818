//! Contexts: clusters by name, in `palisade/contexts.toml` of the user's configuration.

use super::Where;
use crate::exit::{Exit, Failure};
use client::TlsArgs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contexts {
    /// The one that is meant where none is named.
    pub(crate) current: Option<String>,
    /// How each is reached.
    pub(crate) clusters: BTreeMap<String, Where>,
}

/// Where the file is; `None` where the user has no place for it.
pub(crate) fn file() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match var("XDG_CONFIG_HOME") {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(var("HOME")?).join(".config"),
    };
    Some(base.join("palisade").join("contexts.toml"))
}

impl Contexts {
    /// What stands in the file; nothing if there is none.
    pub(crate) fn read(file: &Path) -> Result<Contexts, Failure> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable(file, &error.to_string())),
        };
        Contexts::parse(&text).map_err(|problem| unusable(file, &problem))
    }

    /// Writes the file aside and puts it in its place.
    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        let aside = file.with_extension("toml.new");
        let directory = file.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&aside, self.text()))
            .and_then(|()| std::fs::rename(&aside, file));
        written.map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
                .now("nothing was changed")
                .next("look at the directory's owner and mode, or set XDG_CONFIG_HOME")
        })
    }

    /// The cluster of a context.
    pub(crate) fn of(&self, name: &str) -> Result<Where, Failure> {
        self.clusters.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.clusters.keys().map(String::as_str).collect();
            let failure = Failure::new(Exit::NotFound, format!("there is no context {name:?}"))
                .now("nothing was asked of any cluster")
                .next("palisade context list");
            match known.as_slice() {
                [] => failure.why("there are no contexts yet"),
                known => failure.why(format!("there are: {}", known.join(", "))),
            }
        })
    }

    /// Of the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Contexts, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let current = match table.get("current") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err("\"current\" is no text".to_owned()),
        };
        let mut clusters = BTreeMap::new();
        let contexts = table.get("contexts").and_then(Value::as_table);
        for (name, context) in contexts.into_iter().flatten() {
            let addresses = context.get("coordinators").and_then(Value::as_array);
            let texts = addresses.into_iter().flatten().filter_map(Value::as_str);
            let coordinators: Vec<String> = texts.map(str::to_owned).collect();
            if coordinators.is_empty() {
                return Err(format!("context {name:?} names no coordinators"));
            }
            let path = |which: &str| context.get(which).and_then(Value::as_str).map(PathBuf::from);
            let tls = TlsArgs { cacert: path("cacert"), cert: path("cert"), key: path("key") };
            clusters.insert(name.clone(), Where { coordinators, tls, ..Where::default() });
        }
        Ok(Contexts { current, clusters })
    }

    /// As it stands in a file.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        if let Some(current) = &self.current {
            table.insert("current".to_owned(), Value::String(current.clone()));
        }
        let context = |Where { coordinators, tls, .. }: &Where| {
            let addresses = coordinators.iter().cloned().map(Value::String).collect();
            let mut context = Table::from_iter([("coordinators".into(), Value::Array(addresses))]);
            let files = [("cacert", &tls.cacert), ("cert", &tls.cert), ("key", &tls.key)];
            for (which, file) in files {
                let Some(file) = file else { continue };
                context.insert(which.to_owned(), Value::String(file.display().to_string()));
            }
            Value::Table(context)
        };
        let contexts = self.clusters.iter().map(|(name, found)| (name.clone(), context(found)));
        table.insert("contexts".to_owned(), Value::Table(contexts.collect()));
        table.to_string()
    }
}

fn unusable(file: &Path, problem: &str) -> Failure {
    let first = problem.lines().next().unwrap_or_default();
    Failure::new(Exit::Usage, format!("{}: {first}", file.display()))
        .now("nothing was asked of any cluster")
        .next("mend the file, or name the cluster: --coordinators HOST:PORT,…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("palisade").join("contexts.toml");
        assert_eq!(Contexts::read(&file), Ok(Contexts::default()));
        let mut contexts = Contexts { current: Some("prod".to_owned()), ..Contexts::default() };
        let coordinators = vec!["c1:7400".into(), "c2:7400".into()];
        let tls = TlsArgs { cert: Some("/etc/palisade/tls.crt".into()), ..TlsArgs::default() };
        contexts
            .clusters
            .insert("prod".to_owned(), Where { coordinators, tls, ..Where::default() });
        contexts.write(&file).expect("written");
        assert_eq!(Contexts::read(&file), Ok(contexts.clone()));
        assert_eq!(contexts.of("prod").map(|found| found.coordinators.len()), Ok(2));
        let failure = contexts.of("test").expect_err("there is none");
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(failure.why.as_deref(), Some("there are: prod"));
    }

    #[test]
    fn a_damaged_file_is_no_cluster() {
        for text in ["current = 1", "[contexts.a]", "not toml", "[contexts.a]\ncoordinators=[]"] {
            assert!(Contexts::parse(text).is_err(), "{text}");
        }
    }
}
