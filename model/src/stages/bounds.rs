//! The bounds of model B's searches: small ones for every run of the tests, larger ones by hand.

use super::Kind;
use super::rule::Rule;
use migrations::stage::TransitionKind;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The replicas to begin with.
    pub replicas: u8,
    /// The nodes that do anything.
    pub nodes: u8,
    /// The transitions, one after another.
    pub plan: &'static [Planned],
    /// The operations on the key, in the order of their timestamps.
    pub operations: &'static [Kind],
    /// Fences in all.
    pub fences: u8,
    /// Lost copies in all.
    pub losses: u8,
    /// Retries in all.
    pub retries: u8,
    /// Cancels in all.
    pub cancels: u8,
    /// Whether one chunk may be stuck.
    pub has_stuck_chunk: bool,
    /// Whether routers may go by any version that some node serves, or by the newest only.
    pub old_maps: bool,
    /// Whether timestamps may be drawn out of order, by a router whose clock is slow.
    pub slow_clocks: bool,
    /// Whether a request enters a node and writes in two steps.
    pub guards: bool,
}

/// A transition of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Its kind.
    pub kind: TransitionKind,
    /// Who leaves.
    pub leaving: u8,
    /// Who comes.
    pub pending: u8,
}

const A: u8 = 1;
const B: u8 = 2;
const C: u8 = 4;
const D: u8 = 8;

const fn migrate(leaving: u8, pending: u8) -> Planned {
    Planned { kind: TransitionKind::Migrate, leaving, pending }
}
const fn rebuild(leaving: u8, pending: u8) -> Planned {
    Planned { kind: TransitionKind::Rebuild, leaving, pending }
}
const fn add(pending: u8) -> Planned {
    Planned { kind: TransitionKind::AddReplica, leaving: 0, pending }
}
const fn remove(leaving: u8) -> Planned {
    Planned { kind: TransitionKind::RemoveReplica, leaving, pending: 0 }
}
const REPAIR: Planned = Planned { kind: TransitionKind::Repair, leaving: 0, pending: 0 };

const PUT: &[Kind] = &[Kind::Put];
const PUTS: &[Kind] = &[Kind::Put, Kind::Put];
const PUT_DELETE: &[Kind] = &[Kind::Put, Kind::Delete];

const NONE: Bounds = Bounds {
    replicas: 0,
    nodes: 0,
    plan: &[],
    operations: PUT,
    fences: 0,
    losses: 0,
    retries: 0,
    cancels: 0,
    has_stuck_chunk: false,
    old_maps: true,
    slow_clocks: false,
    guards: false,
};

const MIGRATE_1: Bounds = Bounds {
    replicas: A,
    nodes: A | B,
    plan: &[migrate(A, B)],
    fences: 2,
    retries: 1,
    cancels: 1,
    guards: true,
    ..NONE
};
const MIGRATE_2: Bounds = Bounds {
    replicas: A | B,
    nodes: A | B | C,
    plan: &[migrate(A, C)],
    fences: 2,
    cancels: 1,
    ..NONE
};
const MIGRATE_3: Bounds = Bounds {
    replicas: A | B | C,
    nodes: A | B | C | D,
    plan: &[migrate(A, D)],
    fences: 1,
    cancels: 1,
    ..NONE
};
const BACK_AGAIN: Bounds =
    Bounds { replicas: A, nodes: A | B, plan: &[migrate(A, B), migrate(B, A)], cancels: 1, ..NONE };
const AGAIN: Bounds =
    Bounds { replicas: A, nodes: A | B, plan: &[migrate(A, B), migrate(A, B)], cancels: 1, ..NONE };
const REBUILD_3: Bounds = Bounds {
    replicas: A | B | C,
    nodes: A | B | C | D,
    plan: &[rebuild(A, D)],
    fences: 1,
    losses: 1,
    ..NONE
};
const GROW: Bounds =
    Bounds { replicas: A, nodes: A | B | C, plan: &[add(B), add(C)], fences: 1, ..NONE };
const SHRINK: Bounds = Bounds {
    replicas: A | B | C,
    nodes: A | B | C,
    plan: &[remove(C), remove(B)],
    fences: 1,
    ..NONE
};
const REPAIR_2: Bounds = Bounds {
    replicas: A | B,
    nodes: A | B,
    plan: &[REPAIR],
    operations: PUT_DELETE,
    fences: 1,
    slow_clocks: true,
    ..NONE
};
const REPAIR_3: Bounds = Bounds {
    replicas: A | B | C,
    nodes: A | B | C,
    plan: &[REPAIR],
    operations: PUT_DELETE,
    fences: 1,
    old_maps: false,
    ..NONE
};
const ACCIDENT: Bounds = Bounds {
    replicas: A,
    nodes: A | B,
    plan: &[migrate(A, B), REPAIR],
    operations: PUT_DELETE,
    retries: 1,
    has_stuck_chunk: true,
    ..NONE
};

const REMOVE_4: Bounds =
    Bounds { replicas: A | B | C | D, nodes: A | B | C | D, plan: &[remove(D)], fences: 1, ..NONE };

/// For every run of the tests.
pub const SMALL: &[(&str, Bounds)] = &[
    ("B, migrate at RF 1", MIGRATE_1),
    ("B, migrate at RF 2", MIGRATE_2),
    ("B, migrate at RF 3", MIGRATE_3),
    ("B, migrate there and back", BACK_AGAIN),
    ("B, a cancelled migration again", AGAIN),
    ("B, rebuild at RF 3", REBUILD_3),
    ("B, add 1→2→3", GROW),
    ("B, remove 3→2→1", SHRINK),
    ("B, repair at RF 2", REPAIR_2),
    ("B, repair at RF 3", Bounds { fences: 0, ..REPAIR_3 }),
    ("B, a stuck chunk, RF 1", ACCIDENT),
];

/// By hand: minutes.
pub const LARGE: &[(&str, Bounds)] = &[
    ("B, migrate at RF 1", Bounds { operations: PUTS, ..MIGRATE_1 }),
    ("B, migrate at RF 3", Bounds { fences: 2, ..MIGRATE_3 }),
    ("B, migrate there and back", Bounds { operations: PUTS, fences: 1, ..BACK_AGAIN }),
    ("B, repair twice at RF 2", Bounds { plan: &[REPAIR, REPAIR], retries: 1, ..REPAIR_2 }),
    ("B, repair at RF 3", REPAIR_3),
    ("B, remove 4→3", REMOVE_4),
];

/// Where a mutant is looked for.
pub const fn of_mutant(rule: Rule) -> Bounds {
    match rule {
        Rule::MajorityOfEach | Rule::Barrier | Rule::NoSilentMajority => MIGRATE_1,
        Rule::ReadsFirst | Rule::ReadsFirstOnTheWayBack => MIGRATE_3,
        Rule::MergeOnRemoval => SHRINK,
        Rule::AllLiveSources | Rule::NoMajorityLeftOut | Rule::LostIsNoSource => REBUILD_3,
        Rule::OneVersion => AGAIN,
        Rule::SessionOfChunk => ACCIDENT,
        Rule::PurgeOutside | Rule::AllPromise => REPAIR_3,
        Rule::PromiseKept => REPAIR_2,
        Rule::DropAfterUseNew | Rule::FloorRefuses | Rule::PendingFenceTurnsBack => MIGRATE_3,
        Rule::DropAtItsVersion => BACK_AGAIN,
        Rule::CleanupAtAdmission => MIGRATE_1,
    }
}
