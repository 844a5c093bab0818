//! `palisade context`: clusters by name. Nothing of it asks a cluster.

use super::print;
use crate::args::{ContextArgs, ContextCommand, Output};
use crate::exit::{Exit, Failure};
use crate::place::{Contexts, Where, contexts_file};
use crate::render;
use client::TlsArgs;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Runs one of the commands about contexts.
pub(crate) fn run(args: ContextArgs) -> Result<Exit, Failure> {
    let file = contexts_file().ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no place for contexts")
            .now("nothing was changed")
            .why("neither XDG_CONFIG_HOME nor HOME is set")
            .next("set one of them, or name the cluster: --coordinators HOST:PORT,…")
    })?;
    let mut contexts = Contexts::read(&file)?;
    let said = match args.command {
        ContextCommand::List => {
            print(&list(args.output, &contexts));
            return Ok(Exit::Done);
        }
        ContextCommand::Use { name } => {
            contexts.of(&name)?;
            contexts.current = Some(name.clone());
            format!("{name} is the current context\n")
        }
        ContextCommand::Set { name, coordinators, tls } => {
            let said = format!("{name}: {}\n", coordinators.join(", "));
            let tls = whole(tls)?;
            contexts.clusters.insert(name.clone(), Where { coordinators, tls, ..Where::default() });
            contexts.current.get_or_insert(name);
            said
        }
        ContextCommand::Remove { name } => {
            contexts.of(&name)?;
            contexts.clusters.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            format!("{name} is forgotten\n")
        }
    };
    contexts.write(&file)?;
    print(&said);
    Ok(Exit::Done)
}

/// Paths that mean the same from any directory.
fn whole(tls: TlsArgs) -> Result<TlsArgs, Failure> {
    let whole = |file: Option<PathBuf>| {
        let whole = file.map(std::path::absolute).transpose();
        whole.map_err(|error| Failure::new(Exit::Usage, error.to_string()))
    };
    let TlsArgs { cacert, cert, key } = tls;
    Ok(TlsArgs { cacert: whole(cacert)?, cert: whole(cert)?, key: whole(key)? })
}

fn list(output: Output, contexts: &Contexts) -> String {
    let is_current = |name: &str| contexts.current.as_deref() == Some(name);
    let all = &contexts.clusters;
    match output {
        Output::Table | Output::Wide => {
            let line = |(name, found): (&String, &Where)| {
                let mark = if is_current(name) { '*' } else { ' ' };
                format!("{mark} {name:16}  {}\n", found.coordinators.join(","))
            };
            all.iter().map(line).collect()
        }
        Output::Json | Output::Yaml => {
            let one = |(name, found): (&String, &Where)| {
                let current = is_current(name);
                json!({ "name": name, "coordinators": found.coordinators, "current": current })
            };
            let all: Vec<Value> = all.iter().map(one).collect();
            render::value(output, &json!({ "contexts": all }))
        }
        Output::Name => all.keys().map(|name| format!("{name}\n")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_context_is_marked() {
        let coordinators = [("prod", "c1:7400"), ("test", "t1:7400")];
        let clusters = coordinators.map(|(name, at)| {
            let coordinators = vec![at.to_owned()];
            (name.to_owned(), Where { coordinators, ..Where::default() })
        });
        let current = Some("test".to_owned());
        let contexts = Contexts { current, clusters: clusters.into() };
        let expected = "  prod              c1:7400\n* test              t1:7400\n";
        assert_eq!(list(Output::Table, &contexts), expected);
        assert_eq!(list(Output::Name, &contexts), "prod\ntest\n");
    }
}
