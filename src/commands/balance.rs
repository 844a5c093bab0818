//! `palisade balance`.

use super::hold::{Left, hold};
use super::{Session, print, unchanged};
use crate::args::{BalanceCommand, ChangeArgs, HoldArgs, ScopeArgs, Span};
use crate::exit::{Exit, Failure};
use crate::render::{self, Row};
use proto::admin::v1 as pb;

pub(super) async fn run(session: &Session, command: BalanceCommand) -> Result<Exit, Failure> {
    match command {
        BalanceCommand::Status => {
            let status = session.admin.balance_status().await?;
            session.show(&status, "balance", || render::balance(session.output, &status));
        }
        BalanceCommand::Plan => {
            let plan = session.admin.plan_balance().await?;
            let names: Vec<String> = plan.moves.iter().map(Row::name).collect();
            let people = || render::plan(session.output, &plan);
            session.show(&plan, &names.join("\n"), people);
        }
        BalanceCommand::Enable { scope, change } => enable(session, scope, change).await?,
        BalanceCommand::Disable { scope, reason, lasts, change, hold } => {
            return disable(session, (scope, reason, lasts), change, hold).await;
        }
    }
    Ok(Exit::Done)
}

/// What the flags say; absent for the whole cluster.
fn scope(args: ScopeArgs) -> pb::BalanceScope {
    pb::BalanceScope { table: args.table, node: args.node }
}

async fn enable(session: &Session, args: ScopeArgs, change: ChangeArgs) -> Result<(), Failure> {
    let scope = scope(args);
    let named = render::scope(Some(&scope));
    let request = pb::EnableBalancingRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        scope: Some(scope),
    };
    let answer = session.admin.enable_balancing(request).await.map_err(unchanged)?;
    session.show(&answer, &named, || match change.dry_run {
        true => format!("balancing of {named} can be enabled; nothing was done\n"),
        false => format!("balancing of {named} is enabled\n"),
    });
    Ok(())
}

async fn disable(
    session: &Session,
    (args, reason, lasts): (ScopeArgs, String, Option<Span>),
    change: ChangeArgs,
    holds: HoldArgs,
) -> Result<Exit, Failure> {
    let scope = scope(args);
    let named = render::scope(Some(&scope));
    // How long, and not until when: the same words make the same request, whenever they are said.
    let lasts_ms = lasts.map_or(0, |lasts| u64::try_from(lasts.0.as_millis()).unwrap_or(u64::MAX));
    let request = pb::DisableBalancingRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        scope: Some(scope),
        reason,
        lasts_ms,
        until_ms: 0,
    };
    let answer = session.admin.disable_balancing(request).await.map_err(unchanged)?;
    let running = answer.running.len();
    let until_ms = answer.switch.as_ref().map_or(0, |switch| switch.until_ms);
    if change.dry_run || !holds.wait || session.output.is_for_people() {
        session.show(&answer, &named, || match (change.dry_run, until_ms) {
            (true, _) => format!("balancing of {named} can be disabled; nothing was done\n"),
            (false, 0) => format!("balancing of {named} is disabled; {running} moves go on\n"),
            (false, at) => {
                let at = render::utc(at);
                format!("balancing of {named} is disabled until {at}; {running} moves go on\n")
            }
        });
    }
    if change.dry_run || !holds.wait {
        return Ok(Exit::Done);
    }
    let job = ("the last moves' way", "palisade migration list --running");
    let ended = hold(session, &holds, job, async || left(session, &answer.running).await).await;
    if ended.is_ok() && session.output.is_for_people() {
        print("no move that balancing began is left\n");
    }
    ended
}

/// Which of these migrations still run.
async fn left(session: &Session, running: &[String]) -> Result<Left, Failure> {
    let all = session.admin.list_migrations(true).await?;
    let left: Vec<pb::Migration> =
        all.into_iter().filter(|migration| running.contains(&migration.id)).collect();
    let mut lines = vec![format!("{} of {} moves are left", left.len(), running.len())];
    lines.extend(left.iter().map(|migration| format!("  {}", migration.cells().join("  "))));
    let names: Vec<&str> = left.iter().map(|migration| migration.id.as_str()).collect();
    Ok(Left { is_over: left.is_empty(), lines, value: serde_json::json!({ "running": names }) })
}
