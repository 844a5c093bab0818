//! What changes take, and what jobs take that people wait for.

use super::{Span, WaitStage};
use crate::complete;
use clap::Args;

/// What all changes take.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChangeArgs {
    /// The server's own checks; nothing is done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The id of an earlier try whose outcome is unknown: it takes effect once at most.
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<String>,
}

/// What all changes take that begin a job.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Why, for those who look later.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

/// Whether, for what and for how long to wait.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it has ended, or has reached a stage. Ctrl-C detaches.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "end")]
    #[arg(value_name = "STAGE", add = complete::stages())]
    pub(crate) wait: Option<WaitStage>,
    /// Wait no longer than this; the job goes on.
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: Option<Span>,
}

/// Whether and for how long to wait for what has no stages.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HoldArgs {
    /// Wait until it is so. Ctrl-C detaches.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this; the job goes on.
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: Option<Span>,
}
