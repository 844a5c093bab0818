//! The steps of model B in the protocol's words.

use super::state::{State, members};
use super::{Action, Way};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What a step is, seen from the state before it.
pub(super) fn tell(s: &State, action: Action) -> String {
    let stage = s.map().stage.map_or("no transition", |stage| stage.name());
    let name = |node: usize| NAMES[node];
    match action {
        Action::Start => format!("a transition begins at v{}", s.version + 1),
        Action::Leave(Way::Forward) => {
            format!("{stage} is left; the tablet is at v{}", s.version + 1)
        }
        Action::Leave(Way::Retry) => format!("{stage} is tried again, at v{}", s.version + 1),
        Action::Leave(Way::Cancel) => format!("cancelled in {stage}, at v{}", s.version + 1),
        Action::Order => "the barrier of cleanup_target stands: the order to drop is sent".into(),
        Action::Fence(n) => format!("{} is fenced, at floor v{}", name(n), s.nodes[n].floor),
        Action::Admit(n) => format!("{} is admitted in {stage}", name(n)),
        Action::Lose(n) => format!("{} loses its copy, and group0 marks it", name(n)),
        Action::Record(n, v) => format!("{} takes v{v} on", name(n)),
        Action::Drop(n, v) => format!("{} obeys the drop order of v{v}", name(n)),
        Action::Pull(from, to) => format!("{} streams all to {}", name(from), name(to)),
        Action::Send(from, to) => format!("a chunk from {} to {} is stuck", name(from), name(to)),
        Action::Land => "the stuck chunk is written".into(),
        Action::Purge(n) => format!("{} purges its tombstone", name(n)),
        Action::Begin(op, v) => format!("operation {} begins, by v{v}: {}", op + 1, sets(s, v)),
        Action::GoOn(op) => format!("operation {} goes on, by v{}", op + 1, s.version),
        Action::Deliver(op, n) => format!("operation {} reaches {}", op + 1, name(n)),
        Action::Write(op, n) => format!("{} writes operation {}", name(n), op + 1),
    }
}

fn sets(s: &State, version: u8) -> String {
    let (one, other) = s.maps[usize::from(version)].write_sets();
    let set = |set| members(set).map(|node| NAMES[node]).collect::<Vec<_>>().join(" ");
    if one == other { set(one) } else { format!("{} and {}", set(one), set(other)) }
}
