//! The form on disk, byte by byte. A change here can't read what clusters have written: it needs
//! a new format number, and a reader of the old one.

use super::examples::{admit, advance, cluster, node, stamp, start, switch, tablet};
use migrations::command::{Bootstrap, Change, Command, Entry};
use migrations::settings::Settings;
use migrations::stage::{Stage, TransitionKind};
use migrations::switch::BalanceScope;
use proto::storage::{decode_entry, encode_entry};
use std::fmt::Write as _;

fn assert_written_as(command: Command, golden: &str) {
    let entry = Entry { proposed_ms: 1_790_000_000_000, commands: vec![command] };
    let written = encode_entry(&entry);
    let mut hex = String::new();
    for byte in &written {
        write!(hex, "{byte:02x}").expect("a string takes everything");
    }
    let golden: String = golden.split_whitespace().collect();
    assert_eq!(hex, golden);
    assert_eq!(decode_entry(&written), Ok(entry));
}

#[test]
fn a_bootstrap() {
    let bootstrap = Bootstrap { cluster: cluster(7), settings: Settings::DEFAULT };
    assert_written_as(
        Command::Bootstrap(bootstrap),
        "
        08011080d8c1a28c341a310a2f0a1000000000000000000000000000000007121b0a0508f02e1014
        100318c80120882728b0ea0130882738f4034004
    ",
    );
}

#[test]
fn an_admission() {
    assert_written_as(
        Command::Admit(Box::new(admit())),
        "
        08011080d8c1a28c341ac00112bd010a026e311210000000000000000000000000000000011a0808
        80f7c4d5061003221000000000000000000000000000000009221000000000000000000000000000
        0000082a100000000000000000000000000000000232100a016210ffffffffffffffffff0118023a
        0d0a03613a311203613a321a017240014a1408011210000000000000000000000000000000014a14
        0802121000000000000000000000000000000002520c080312080880f7c4d50610045a080880f7c4
        d5061005
    ",
    );
}

#[test]
fn a_migration_begins() {
    let change = Change::Start(start(TransitionKind::Migrate));
    let stamp = stamp(1, "operator");
    assert_written_as(
        Command::Change { stamp, change },
        "
        08011080d8c1a28c341a7c327a0a10000000000000000000000000000000011210ffffffffffffff
        fffffffffffffffffe1a086f70657261746f72224a1a480a10000000000000000000000000000000
        031001180120012804321000000000000000000000000000000005380042187261636b2072312069
        7320746f20626520656d7074696564
    ",
    );
}

#[test]
fn a_stage_advances() {
    let advance = advance(Some(Stage::WriteBothReadNew));
    assert_written_as(
        Command::Advance(Box::new(advance)),
        "
        08011080d8c1a28c341a96022a93020a34080112080880f7c4d50610091a10000000000000000000
        0000000000000320032a1000000000000000000000000000000005300210041a1000000000000000
        00000000000000000622c0010a18080112080880f7c4d50610021a080880f7c4d506100928030a23
        080112080880f7c4d50610021a080880f7c4d5061009200028ffffffffffffffffff01125d0a1000
        0000000000000000000000000000051204080110041a080880f7c4d506100222080880f7c4d50610
        05280730ffffffffffffffffff013a10000000000000000000000000000000014210ffffffffffff
        fffffffffffffffffffe1a20080412080880f7c4d50610021a080880f7c4d506100622080880f7c4
        d50610092a0210043002
    ",
    );
}

#[test]
fn balancing_is_disabled() {
    let change = Change::DisableBalancing {
        scope: BalanceScope::Node(node(4)),
        switch: switch(Some(1_790_000_100_000)),
    };
    let stamp = stamp(1, "operator");
    assert_written_as(
        Command::Change { stamp, change },
        "
        08011080d8c1a28c341a5232500a10000000000000000000000000000000011210ffffffffffffff
        fffffffffffffffffe1a086f70657261746f722220321e0a021804120a616e207570677261646518
        80d8c1a28c3420a0e5c7a28c34
    ",
    );
}

#[test]
fn a_loss_is_accepted() {
    let start = Some(Box::new(start(TransitionKind::Rebuild)));
    let nodes = vec![node(1), node(2)];
    let change = Change::AcceptLoss { tablet: tablet(1), start, nodes, note: "both burnt".into() };
    let stamp = stamp(1, "operator");
    assert_written_as(
        Command::Change { stamp, change },
        "
        08011080d8c1a28c341a9101328e010a10000000000000000000000000000000011210ffffffffff
        fffffffffffffffffffffe1a086f70657261746f72225e6a5c080112480a10000000000000000000
        00000000000003100118042001280432100000000000000000000000000000000538004218726163
        6b20723120697320746f20626520656d70746965641a0a626f7468206275726e7422020102
    ",
    );
}

#[test]
fn a_node_is_removed_and_forgotten() {
    let change = Change::RemoveNode { node: node(4), reason: "it burnt".into() };
    let stamp = stamp(1, "operator");
    assert_written_as(
        Command::Change { stamp, change },
        "
        08011080d8c1a28c341a40323e0a10000000000000000000000000000000011210ffffffffffffff
        fffffffffffffffffe1a086f70657261746f72220e620c080412086974206275726e74
    ",
    );
    assert_written_as(
        Command::Forget { node: node(4) },
        "
        08011080d8c1a28c341a024004
    ",
    );
    assert_written_as(
        Command::Raise { level: 2 },
        "
        08011080d8c1a28c341a024802
    ",
    );
}

#[test]
fn the_balancer_begins_a_move() {
    let start = Box::new(start(TransitionKind::Migrate));
    assert_written_as(
        Command::Balance { start, now_ms: 1_790_000_000_000 },
        "
        08011080d8c1a28c341a533a510a480a100000000000000000000000000000000310011801200128
        04321000000000000000000000000000000005380042187261636b20723120697320746f20626520
        656d70746965641080d8c1a28c34
    ",
    );
}
