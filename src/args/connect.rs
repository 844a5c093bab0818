//! Where to connect, and how to answer.

use super::Span;
use crate::complete;
use clap::{Args, Subcommand, ValueEnum};
use client::TlsArgs;
use std::path::PathBuf;

/// A group of commands, with where to connect.
#[derive(Debug, Args)]
pub(crate) struct On<T: Subcommand> {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(subcommand)]
    pub(crate) command: T,
}

/// Where to connect, and how to answer. What stands here comes before `PALISADE_COORDINATORS`,
/// `PALISADE_CLUSTER_FILE` and `PALISADE_CONTEXT`, these before the current context.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectArgs {
    /// The coordinators' admin addresses, `host:port`, separated by commas [env:
    /// PALISADE_COORDINATORS].
    #[arg(long, value_delimiter = ',', global = true, help_heading = "Connection")]
    #[arg(value_name = "HOST:PORT", conflicts_with_all = ["cluster_file", "context"])]
    pub(crate) coordinators: Vec<String>,
    /// A cluster file, as `palisade dev` writes it [env: PALISADE_CLUSTER_FILE].
    #[arg(long, value_name = "FILE", global = true, help_heading = "Connection")]
    #[arg(conflicts_with = "context")]
    pub(crate) cluster_file: Option<PathBuf>,
    /// A context, as `palisade context list` shows them [env: PALISADE_CONTEXT].
    #[arg(long, value_name = "NAME", global = true, help_heading = "Connection")]
    #[arg(add = complete::contexts())]
    pub(crate) context: Option<String>,
    /// As whom, over TLS; without, in the clear.
    #[command(flatten)]
    pub(crate) tls: Box<TlsArgs>,
    /// How long one request may take, with all its tries.
    #[arg(long, env = "PALISADE_DEADLINE", default_value = "30s", global = true)]
    #[arg(help_heading = "Connection", value_name = "DURATION")]
    pub(crate) deadline: Span,
    /// How answers are written.
    #[arg(short, long, env = "PALISADE_OUTPUT", value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns.
    Wide,
    /// As the proto JSON mapping has it; watches give one object a line.
    Json,
    /// The same as YAML; watches give one document after the other.
    Yaml,
    /// Names alone, one a line.
    Name,
}

impl Output {
    /// Whether people read it.
    pub(crate) const fn is_for_people(self) -> bool {
        matches!(self, Output::Table | Output::Wide)
    }
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
