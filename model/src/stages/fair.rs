//! A schedule without faults, one next step for each state: INV-14 is that the transition ends
//! from wherever faults have led. All nodes come back; what a majority holds up then goes on.

use super::state::{State, members};
use super::{Action, Stages, Way};

/// More steps than any way to an end has taken.
const BOUND: usize = 150;

/// INV-14 from one state.
pub(super) fn ends(model: &Stages, s: &State) -> bool {
    model.known.ends(s, BOUND, |s| s.map().stage.is_none(), |s| model.next_fair(s))
}

impl Stages {
    fn next_fair(&self, s: &State) -> Option<State> {
        let mut order = Vec::new();
        for index in 0..self.bounds.operations.len() {
            order.extend(members(self.bounds.nodes).map(|node| Action::Write(index, node)));
        }
        order.extend(members(self.bounds.nodes).map(Action::Admit));
        for node in members(s.map().both()) {
            order.push(Action::Record(node, s.version));
            order.extend(
                members(s.sources[node] & !s.complete[node]).map(|from| Action::Pull(from, node)),
            );
        }
        order.push(Action::Order);
        order.extend(members(s.map().both()).map(|node| Action::Drop(node, s.version)));
        order.push(Action::Leave(Way::Forward));
        // A source may have lost its copy since the stage was entered.
        order.push(Action::Leave(Way::Retry));
        if s.is_marked {
            order.push(Action::Leave(Way::Cancel));
        }
        order.into_iter().find_map(|action| self.step(s, action))
    }
}
