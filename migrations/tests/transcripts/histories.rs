//! Stories that nobody wrote: random histories of moves, faults, writes, deletes and purges of
//! one key by one client, each read checked against what was acknowledged. INV-6, INV-7, INV-9.

use crate::world::World;
use proptest::prelude::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    /// As many messages are delivered.
    Run(u8),
    /// Until everything that can end has ended.
    Finish,
    /// The write does not reach one of the nodes.
    Put(usize),
    Delete(usize),
    /// A command of the stories, with two nodes for its blanks.
    Tell(&'static str, usize, usize),
    /// A node's process is gone and fenced, if no other is.
    Lose(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let told = prop::sample::select(vec![
        "migrate t1 X Y",
        "migrate t1 X Y",
        "migrate t1 X Y",
        "add t1 X",
        "remove t1 X",
        "remove t1 X",
        "rebuild t1 X Y",
        "repair t1",
        "repair t1",
        "purge",
        "purge",
        "cancel t1",
        "elect",
        "fail t1",
        "hold X->Y",
        "hold X->Y inside",
        "release X->Y",
        "restart X",
    ]);
    prop_oneof![
        8 => (1u8..60).prop_map(Step::Run),
        3 => Just(Step::Finish),
        3 => (0usize..5).prop_map(Step::Put),
        2 => (0usize..5).prop_map(Step::Delete),
        8 => (told, 0usize..5, 0usize..5).prop_map(|(told, x, y)| Step::Tell(told, x, y)),
        1 => (0usize..5).prop_map(Step::Lose),
    ]
}

/// What a read may return: the last acknowledged write, or one of unknown outcome after it.
struct Allowed(Vec<Option<String>>);

impl Allowed {
    fn wrote(&mut self, value: Option<String>, is_acknowledged: bool) {
        if is_acknowledged {
            self.0.clear();
        }
        self.0.push(value);
    }
}

/// At most one node is down, so each set of three keeps its majority.
fn lose(world: &mut World, name: &str) {
    if world.agents.values().all(|agent| agent.is_up) {
        world.command(&["fence", name]);
    }
}

fn tell(world: &mut World, told: &str, x: &str, y: &str) {
    let line = told.replace('X', x).replace('Y', y);
    if x == y && line.contains("->") {
        return;
    }
    world.command(&line.split(' ').collect::<Vec<_>>());
}

fn all_but(missed: usize) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| *name != NAMES[missed]).collect()
}

/// Tells a history; what a read returned that it may not, if one did.
fn broken(rf: usize, steps: &[Step], has_guards: bool) -> Option<String> {
    let mut world = World::new(&NAMES, rf, 1);
    world.has_guards = has_guards;
    let mut allowed = Allowed(vec![None]);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Run(messages) => (0..*messages).for_each(|_| world.step()),
            Step::Finish => world.command(&["run"]),
            Step::Put(missed) => {
                let value = format!("v{number}");
                let is_acknowledged = world.put("k", Some(&value), &all_but(*missed));
                allowed.wrote(Some(value), is_acknowledged);
            }
            Step::Delete(missed) => {
                let is_acknowledged = world.put("k", None, &all_but(*missed));
                allowed.wrote(None, is_acknowledged);
            }
            Step::Tell(told, x, y) => tell(&mut world, told, NAMES[*x], NAMES[*y]),
            Step::Lose(x) => lose(&mut world, NAMES[*x]),
        }
        for left_out in NAMES {
            if let Ok(found) = world.read("k", Some(left_out))
                && !allowed.0.contains(&found)
            {
                let lines = world.lines.join("\n");
                let allowed = allowed.0;
                return Some(format!(
                    "read {found:?} without {left_out}, allowed {allowed:?}:\n{lines}"
                ));
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_acknowledged_write_is_lost_and_no_deleted_key_comes_back(
        rf in prop_oneof![1 => 1usize..3, 4 => Just(3usize)],
        steps in prop::collection::vec(step(), 10..160),
    ) {
        let broken = broken(rf, &steps, true);
        prop_assert!(broken.is_none(), "{}", broken.unwrap_or_default());
    }
}
