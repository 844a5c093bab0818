//! Arbitrary sequences of commands against `apply`: made from bytes, two bytes or three a step.
//!
//! A step is a command as the state allows, an earlier one again, an earlier one with some bytes
//! of its stored form bent, or a restart from a snapshot. The cluster under it applies each entry
//! twice, checks the invariants after it, and that a refusal changes nothing. Then: whoever
//! applied the same entries without a restart is in the same state, to the byte of its snapshot.

#[path = "../../../migrations/tests/apply/cluster.rs"]
#[allow(dead_code, reason = "the tests whose cluster this is use the rest")]
mod cluster;
mod step;

use migrations::apply::apply;
use migrations::command::Entry;
use migrations::stage::Stage;
use palisade_fuzz::target;
use proto::storage::{decode_entry, decode_snapshot, encode_entry, encode_snapshot};
use std::collections::BTreeSet;
use step::{Steps, sequences};

fn commands(bytes: &[u8]) {
    let _stages = stages(bytes);
}

/// Takes the steps of an input; the stages that tablets were in on the way.
fn stages(bytes: &[u8]) -> BTreeSet<Stage> {
    let mut seen = BTreeSet::new();
    let mut steps = Steps::of(bytes);
    let mut cluster = steps.cluster();
    let beginning = cluster.topology.clone();
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(step) = steps.next() {
        if let Some(command) = step.command(&mut cluster, &entries) {
            let entry = Entry { proposed_ms: 1, commands: vec![command] };
            assert_eq!(decode_entry(&encode_entry(&entry)).as_ref(), Ok(&entry));
            let _applied_or_refused = cluster.apply_all(entry.commands.clone());
            entries.push(entry);
            let tablets = cluster.topology.in_transition();
            seen.extend(tablets.filter_map(|id| cluster.stage(id)));
        } else if step.is_restart() {
            let state = decode_snapshot(&encode_snapshot(cluster.topology.state()));
            let state = state.expect("just written");
            assert_eq!(&state, cluster.topology.state());
            cluster.topology = migrations::topology::Topology::from_state(state)
                .expect("its invariants held a moment ago");
        }
    }
    let mut follower = beginning;
    for entry in &entries {
        apply(&mut follower, entry);
    }
    assert!(encode_snapshot(follower.state()) == encode_snapshot(cluster.topology.state()));
    seen
}

target!(any_commands, commands, sequences);

/// Else the target would show less than it says.
#[test]
fn the_sequences_reach_every_stage() {
    let seen: BTreeSet<Stage> = sequences().iter().flat_map(|input| stages(input)).collect();
    assert_eq!(seen, BTreeSet::from(Stage::ALL));
}
