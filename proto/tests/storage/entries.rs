//! Entries there and back.

use super::examples::{admit, advance, commands, stamp};
use migrations::command::{Advance, Change, Command, Entry};
use migrations::lease::LeaseTerms;
use migrations::settings::Settings;
use migrations::version::{Incarnation, TopologyVersion};
use proto::storage::{command_len, decode_entry, encode_entry};

fn assert_comes_back(commands: Vec<Command>) {
    let entry = Entry { proposed_ms: u64::MAX, commands };
    assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
}

#[test]
fn every_command_comes_back() {
    for command in commands() {
        assert_comes_back(vec![command]);
    }
    assert_comes_back(commands());
    assert_comes_back(Vec::new());
}

/// What isn't there doesn't come back as a zero, and a zero not as what isn't there.
#[test]
fn what_is_left_out_stays_left_out() {
    let bare = Advance { to: None, opened: None, reason: None, failure: None, ..advance(None) };
    let mut silent = bare.clone();
    silent.expected.session = None;
    silent.evidence = migrations::evidence::Evidence::default();
    let mut first = admit();
    first.known_incarnation = None;
    first.held_tokens.clear();
    first.fresh.clear();
    first.lost.clear();
    let zero = Some(Incarnation(TopologyVersion::ZERO));
    let mut odd = first.clone();
    odd.known_incarnation = zero;
    let advances = [bare, silent].map(|advance| Command::Advance(Box::new(advance)));
    let admits = [first, odd].map(|admit| Command::Admit(Box::new(admit)));
    assert_comes_back(advances.into_iter().chain(admits).collect());
}

/// `apply` refuses such settings, with an outcome. A decoder that did would stop every
/// coordinator at this entry for good.
#[test]
fn an_entry_that_apply_will_refuse_is_read() {
    let lease = LeaseTerms { length_ms: 0, drift_per_mille: u32::MAX };
    let settings = Settings { lease, attempts: 0, ..Settings::DEFAULT };
    assert!(settings.contradiction().is_some());
    let change = Change::Configure { expected: Settings::DEFAULT, settings };
    assert_comes_back(vec![Command::Change { stamp: stamp(1, ""), change }]);
}

#[test]
fn an_entry_grows_by_the_length_of_each_command() {
    let mut entry = Entry { proposed_ms: 1, commands: Vec::new() };
    let mut expected = encode_entry(&entry).len();
    for command in commands() {
        expected += command_len(&command);
        entry.commands.push(command);
        assert_eq!(encode_entry(&entry).len(), expected);
    }
}
