//! Balancing, as people see it.

use super::list::list;
use super::screens::facts;
use crate::args::Output;
use proto::admin::v1 as pb;

/// Whether balancing acts, in a few words.
pub(super) fn standing(status: &pb::GetBalanceStatusResponse) -> String {
    let is_off = |switch: &pb::BalanceSwitch| match &switch.scope {
        Some(scope) => scope.table.is_empty() && scope.node.is_empty(),
        None => true,
    };
    match (status.switches.iter().find(|switch| is_off(switch)), status.switches.len()) {
        (Some(switch), _) if switch.reason.is_empty() => "disabled".to_owned(),
        (Some(switch), _) => format!("disabled: {}", switch.reason),
        (None, 0) => "enabled".to_owned(),
        (None, 1) => "enabled, but for one table or node".to_owned(),
        (None, some) => format!("enabled, but for {some} tables or nodes"),
    }
}

/// What it does, and why no more.
pub(super) fn doing(status: &pb::GetBalanceStatusResponse) -> String {
    let mut text = format!("{} under way, {} to come", status.running, status.planned);
    if !status.held_by.is_empty() {
        text.push_str(&format!("; held by: {}", status.held_by));
    }
    text
}

/// `balance status`.
pub(crate) fn balance(output: Output, status: &pb::GetBalanceStatusResponse) -> String {
    let mut text = facts(&[("balancing", standing(status)), ("moves", doing(status))]);
    if !status.switches.is_empty() {
        text.push('\n');
        text.push_str(&list(output, &status.switches));
    }
    if !status.nodes.is_empty() {
        text.push('\n');
        text.push_str(&list(output, &status.nodes));
    }
    text
}

/// `balance plan`.
pub(crate) fn plan(output: Output, plan: &pb::PlanBalanceResponse) -> String {
    let mut text = match plan.moves.as_slice() {
        [] => "no moves\n".to_owned(),
        moves => list(output, moves),
    };
    if !plan.held_by.is_empty() {
        text.push_str(&format!("no more, because: {}\n", plan.held_by));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(table: &str) -> pb::BalanceSwitch {
        let scope = Some(pb::BalanceScope { table: table.to_owned(), ..Default::default() });
        let since_ms = 1_795_240_619_295;
        pb::BalanceSwitch { scope, reason: "load".to_owned(), since_ms, ..Default::default() }
    }

    #[test]
    fn the_status_says_what_is_off_and_what_holds_the_rest() {
        let load = |node: &str, replicas, draining| pb::NodeLoad {
            node: node.to_owned(),
            rack: "a".to_owned(),
            replicas,
            draining,
        };
        let status = pb::GetBalanceStatusResponse {
            switches: vec![switch("orders")],
            running: 1,
            planned: 3,
            held_by: "a move is under way into n4".to_owned(),
            nodes: vec![load("n1", 12, true), load("n4", 3, false)],
        };
        let expected = "\
balancing  enabled, but for one table or node
moves      1 under way, 3 to come; held by: a move is under way into n4

DISABLED FOR  SINCE                     UNTIL          REASON
table orders  2026-11-21T05:56:59.295Z  it is enabled  load

NODE  RACK  REPLICAS  DRAINING
n1    a     12        yes
n4    a     3         no
";
        assert_eq!(balance(Output::Table, &status), expected);
    }

    #[test]
    fn a_switch_without_a_scope_is_the_clusters() {
        let status = pb::GetBalanceStatusResponse {
            switches: vec![switch("orders"), pb::BalanceSwitch { scope: None, ..switch("") }],
            ..Default::default()
        };
        assert_eq!(standing(&status), "disabled: load");
        assert_eq!(standing(&pb::GetBalanceStatusResponse::default()), "enabled");
    }

    #[test]
    fn a_plan_lists_its_moves_and_why_there_are_no_more() {
        let planned = pb::PlannedMove {
            tablet_name: "orders/3".to_owned(),
            from: "n1".to_owned(),
            to: "n4".to_owned(),
            reason: "n1 is drained".to_owned(),
            ..Default::default()
        };
        let held_by = "one move at a time into n4".to_owned();
        let shown = plan(Output::Table, &pb::PlanBalanceResponse { moves: vec![planned], held_by });
        let expected = "\
TABLET    NODES    REASON
orders/3  n1 → n4  n1 is drained
no more, because: one move at a time into n4
";
        assert_eq!(shown, expected);
        assert_eq!(plan(Output::Table, &pb::PlanBalanceResponse::default()), "no moves\n");
    }
}
