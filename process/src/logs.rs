//! Logs: to standard error, as text for people or as one object a line, with the process' cluster
//! and node on every line.
//!
//! Stable keys: `cluster node term tablet migration session stage version attempt peer error`.
//! `node` is who says it, `peer` whom it is about. Keys and values of users are never logged.

use clap::ValueEnum;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What a server logs where `RUST_LOG` is not set: its own steps, and others' troubles.
pub const SERVER_LOGS: &str = "info,openraft=warn,openraft::replication=error,\
    openraft::core::heartbeat=error,chunked_wal=warn,raft_log=warn";

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text where standard error is a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Who writes this process' lines. As global as where they go.
static WRITER: Identity = Identity { cluster: OnceLock::new(), node: OnceLock::new() };

struct Identity {
    cluster: OnceLock<String>,
    node: OnceLock<String>,
}

impl Identity {
    /// What this identity adds to a line: not what the line says itself.
    fn fields(&self, event: &Event<'_>) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("cluster", self.cluster.get()), ("node", self.node.get())];
        let said = event.metadata().fields();
        let is_new = move |(key, _): &(&'static str, &str)| said.field(key).is_none();
        let known = all.into_iter().filter_map(|(key, value)| Some((key, value?.as_str())));
        known.filter(is_new)
    }
}

/// From here on every line names this node. The first name stays.
pub fn log_as_node(name: &str) {
    let _known = WRITER.node.set(name.to_owned());
}

/// From here on every line names this cluster. The first one stays.
pub fn log_as_of_cluster(cluster: &impl ToString) {
    if WRITER.cluster.get().is_none() {
        let _known = WRITER.cluster.set(cluster.to_string());
    }
}

/// Sends logs to standard error; `RUST_LOG` chooses among them, `default` where it is not set.
pub fn init_logs(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    let is_text = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // A second call in one process changes nothing.
    let _ = match is_text {
        true => logs.event_format(TextLine { is_terminal }).try_init(),
        false => logs.fmt_fields(JsonFields::new()).event_format(JsonLine).try_init(),
    };
}

/// A line for people; who wrote it stands at its end.
struct TextLine {
    is_terminal: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        let format = Format::default().with_ansi(self.is_terminal);
        format.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}", line.trim_end())?;
        for (key, value) in WRITER.fields(event) {
            write!(writer, " {key}={value}")?;
        }
        writeln!(writer)
    }
}

/// A line as one object; who wrote it stands at its beginning.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        let format = format::format().json().flatten_event(true);
        let format = format.with_current_span(false).with_span_list(false);
        format.format_event(context, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else { return writer.write_str(&line) };
        let mut head = String::from("{");
        for (key, value) in WRITER.fields(event) {
            write!(head, "\"{key}\":{},", serde_json::Value::from(value))?;
        }
        write!(writer, "{head}{rest}")
    }
}
