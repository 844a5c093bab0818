//! `palisade context`: clusters by name. Nothing of it asks a cluster.

use super::print;
use crate::args::{ContextArgs, ContextCommand, Output};
use crate::exit::{Exit, Failure};
use crate::place::{Contexts, contexts_file};
use crate::render;
use serde_json::{Value, json};

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
        ContextCommand::Set { name, coordinators } => {
            let said = format!("{name}: {}\n", coordinators.join(", "));
            contexts.coordinators.insert(name.clone(), coordinators);
            contexts.current.get_or_insert(name);
            said
        }
        ContextCommand::Remove { name } => {
            contexts.of(&name)?;
            contexts.coordinators.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            format!("{name} is forgotten\n")
        }
    };
    contexts.write(&file)?;
    print(&said);
    Ok(Exit::Done)
}

fn list(output: Output, contexts: &Contexts) -> String {
    let is_current = |name: &str| contexts.current.as_deref() == Some(name);
    let all = &contexts.coordinators;
    match output {
        Output::Table | Output::Wide => {
            let line = |(name, addresses): (&String, &Vec<String>)| {
                let mark = if is_current(name) { '*' } else { ' ' };
                format!("{mark} {name:16}  {}\n", addresses.join(","))
            };
            all.iter().map(line).collect()
        }
        Output::Json | Output::Yaml => {
            let one = |(name, addresses): (&String, &Vec<String>)| {
                let current = is_current(name);
                json!({ "name": name, "coordinators": addresses, "current": current })
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
        let coordinators = coordinators.map(|(name, at)| (name.to_owned(), vec![at.to_owned()]));
        let current = Some("test".to_owned());
        let contexts = Contexts { current, coordinators: coordinators.into() };
        let expected = "  prod              c1:7400\n* test              t1:7400\n";
        assert_eq!(list(Output::Table, &contexts), expected);
        assert_eq!(list(Output::Name, &contexts), "prod\ntest\n");
    }
}
