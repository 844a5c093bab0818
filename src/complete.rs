//! Completion: the shells' scripts, and live names of what there is in the cluster. A shell waits
//! while this runs, so that it gives up early and says nothing rather than something wrong.

use crate::args::{Cli, ConnectArgs, WaitStage};
use crate::place::{self, Contexts};
use clap::{Args, CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use client::{AdminClient, AdminOptions, ClientError};
use proto::admin::v1 as pb;
use std::time::Duration;

/// The variable by which a shell's script asks for completions.
const VARIABLE: &str = "PALISADE_COMPLETE";
/// How long a shell waits for live names.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most names that are offered.
const OFFERED: usize = 1_000;

/// Answers a shell that asks for completions, and ends the program then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// The script that a shell has to read.
pub(crate) fn script(shell: &str) -> std::io::Result<String> {
    let shells = Shells::builtins();
    let unknown = || std::io::Error::new(std::io::ErrorKind::Unsupported, "no such shell");
    let shell = shells.completer(shell).ok_or_else(unknown)?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "palisade", "palisade", "palisade", &mut script)?;
    String::from_utf8(script).map_err(std::io::Error::other)
}

/// Names of tables.
pub(crate) fn tables() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        named(async |admin| admin.list_tables().await, |table: pb::Table| (table.name, None))
    })
}

/// Names of tablets, with their replicas.
pub(crate) fn tablets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |tablet: pb::Tablet| {
            let nodes: Vec<String> =
                tablet.replicas.into_iter().map(|replica| replica.node).collect();
            (tablet.name, Some(nodes.join(" ")))
        };
        named(async |admin| admin.list_tablets("").await, name)
    })
}

/// Names of nodes, with their racks.
pub(crate) fn nodes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |node: pb::Node| (node.name, Some(node.rack).filter(|rack| !rack.is_empty()));
        named(async |admin| admin.list_nodes().await, name)
    })
}

/// Names of coordinators, with what they are.
pub(crate) fn coordinators() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |one: pb::Coordinator| {
            let role = if one.leader { "leader" } else { one.raft_address.as_str() };
            (one.name.clone(), Some(role.to_owned()).filter(|role| !role.is_empty()))
        };
        named(async |admin| Ok(admin.status().await?.coordinators), name)
    })
}

/// Ids of migrations, with their tablets.
pub(crate) fn migrations() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |migration: pb::Migration| (migration.id, Some(migration.tablet_name));
        named(async |admin| admin.list_migrations(false).await, name)
    })
}

/// Names of contexts.
pub(crate) fn contexts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let contexts = place::contexts_file().and_then(|file| Contexts::read(&file).ok());
        let names = contexts.unwrap_or_default().clusters.into_keys();
        names.map(CompletionCandidate::new).collect()
    })
}

/// Stages that can be waited for.
pub(crate) fn stages() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let stages = migrations::stage::Stage::ALL.into_iter().map(|stage| stage.name());
        let all = std::iter::once("end").chain(stages);
        all.filter(|name| name.parse::<WaitStage>().is_ok()).map(CompletionCandidate::new).collect()
    })
}

/// What the cluster names, asked for within the shell's patience; nothing if it does not answer.
fn named<T>(
    ask: impl AsyncFnOnce(AdminClient) -> Result<Vec<T>, ClientError>,
    name: impl Fn(T) -> (String, Option<String>),
) -> Vec<CompletionCandidate> {
    let Ok(found) = place::cluster(&said(std::env::args())) else { return Vec::new() };
    let Ok(tls) = found.tls.load() else { return Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let options = AdminOptions { deadline: PATIENCE, try_timeout: PATIENCE };
    let asked = async {
        let admin = AdminClient::connect_as(found.coordinators, options, tls);
        tokio::time::timeout(PATIENCE, ask(admin)).await
    };
    let Ok(Ok(found)) = runtime.block_on(asked) else { return Vec::new() };
    let candidates = found.into_iter().take(OFFERED).map(|found| {
        let (name, help) = name(found);
        CompletionCandidate::new(name).help(help.map(Into::into))
    });
    candidates.collect()
}

/// Where the line that is being completed says to connect.
fn said(line: impl Iterator<Item = String>) -> ConnectArgs {
    let command = ConnectArgs::augment_args(clap::Command::new("palisade").ignore_errors(true));
    let mut flags = Vec::from(["palisade".to_owned()]);
    let mut words = line.peekable();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        if !matches!(name, "--coordinators" | "--cluster-file" | "--context") {
            continue;
        }
        let has_value = word.contains('=');
        flags.push(word);
        if !has_value && let Some(value) = words.next() {
            flags.push(value);
        }
    }
    let found = command.try_get_matches_from(flags).ok();
    found.and_then(|found| ConnectArgs::from_arg_matches(&found).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_a_script_that_asks_this_program() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = script(shell).expect("a shell that is known");
            assert!(script.contains(VARIABLE), "{shell}");
        }
        assert!(script("cmd").is_err());
    }

    #[test]
    fn a_line_that_is_being_completed_says_where_to_ask() {
        let line = "palisade -- palisade migrate orders/1 --context prod --from";
        let connect = said(line.split(' ').map(str::to_owned));
        assert_eq!(connect.context.as_deref(), Some("prod"));
        let connect = said("palisade --coordinators=a:1,b:2 tab".split(' ').map(str::to_owned));
        assert_eq!(connect.coordinators, ["a:1", "b:2"]);
    }
}
