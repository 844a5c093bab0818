//! What group0 keeps: entries of its log, and its state in a snapshot.

use super::cluster::eventful;
use super::examples::{commands, outcomes, stamp};
use migrations::apply::{apply, check_invariants};
use migrations::command::Entry;
use migrations::state::State;
use migrations::topology::Topology;
use palisade_fuzz::target;
use proto::storage::{decode_entry, decode_snapshot, encode_entry, encode_snapshot, read_snapshot};

fn entry(bytes: &[u8]) {
    let Ok(entry) = decode_entry(bytes) else { return };
    let written = encode_entry(&entry);
    assert_eq!(decode_entry(&written).as_ref(), Ok(&entry));
    assert!(written == bytes, "{entry:?} is written in another way than it was read");
}

fn entries() -> Vec<Vec<u8>> {
    let entry = |commands| encode_entry(&Entry { proposed_ms: 1_790_000_000_000, commands });
    let mut entries: Vec<Vec<u8>> = commands().into_iter().map(|one| entry(vec![one])).collect();
    entries.push(entry(Vec::new()));
    entries.push(entry(commands().into_iter().step_by(7).collect()));
    entries
}

target!(an_entry, entry, entries);

/// A state whose invariants hold takes commands, whatever it is, and keeps them.
fn snapshot(bytes: &[u8]) {
    let Ok(state) = decode_snapshot(bytes) else { return };
    let written = encode_snapshot(&state);
    assert_eq!(decode_snapshot(&written).as_ref(), Ok(&state));
    assert_eq!(written.len(), bytes.len(), "something was passed over");
    let Ok(mut topology) = Topology::from_state(state) else { return };
    let applied = apply(&mut topology, &Entry { proposed_ms: 1, commands: commands() });
    assert_eq!(applied.outcomes.len(), commands().len());
    assert_eq!(check_invariants(&topology), Ok(()));
    // One of the commands raises the level above what this build reads.
    let (state, written) = (topology.state(), encode_snapshot(topology.state()));
    assert_eq!(read_snapshot(&written[..], state.feature_level).as_ref(), Ok(state));
}

fn snapshots() -> Vec<Vec<u8>> {
    let eventful = eventful();
    let mut small = State::default();
    for (n, outcome) in (0xf000..).zip(outcomes()).step_by(3) {
        small.requests.remember(&stamp(n, &n.to_string()), outcome);
    }
    let whole = eventful.topology.state();
    let without = State { requests: State::default().requests, ..whole.clone() };
    let tablets = State { finished: Default::default(), ..without.clone() };
    let states = [&State::default(), &small, whole, &without, &tablets];
    states.into_iter().map(encode_snapshot).collect()
}

target!(a_snapshot, snapshot, snapshots);
