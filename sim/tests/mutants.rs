//! The oracles, tested: with a rule of the protocol undone, some seed shows it. Where two rules
//! cover for each other both are undone; what only a check of the core shows is checked there.
//!
//! `cargo test -p palisade-sim --features mutants --test mutants -- --nocapture` prints the table;
//! `MUTANT=FloorIsDurable` before it takes those rows alone whose first rule has this name.

use migrations::agent::admit::admit_purge;
use migrations::agent::calls::{Begun, Call, begin};
use migrations::agent::step::{Durable, is_left_out, take_on};
use migrations::clock::HybridTime;
use migrations::driver::{Driver, Event, Unfit};
use migrations::floor::Floor;
use migrations::id::{MigrationId, NodeId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::rule::{Rule, undo};
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::Ending;
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use palisade_sim::plan::{Fault, Faults, Options};
use palisade_sim::run;
use palisade_sim::story::{Kind, Shape, Story};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use uuid::Uuid;

/// So many seeds at the most, for each rule.
const SEEDS: u64 = 600;

/// What shows that something is undone.
enum Deck {
    /// Seeds of the simulation; these faults are on in each.
    Sim(&'static [Fault]),
    /// A check of the core, which is true as long as the rule holds.
    Core(fn() -> bool),
}

struct Row {
    rules: &'static [Rule],
    deck: Deck,
    is_purging: bool,
    /// A seed that is known to show it is tried first.
    hint: u64,
}

const fn sim(rules: &'static [Rule], hint: u64) -> Row {
    Row { rules, deck: Deck::Sim(&[]), is_purging: false, hint }
}

const fn purging(rules: &'static [Rule], hint: u64) -> Row {
    Row { is_purging: true, ..sim(rules, hint) }
}

const fn with(rules: &'static [Rule], faults: &'static [Fault], hint: u64) -> Row {
    Row { rules, deck: Deck::Sim(faults), is_purging: false, hint }
}

const fn core(rules: &'static [Rule], holds: fn() -> bool) -> Row {
    Row { rules, deck: Deck::Core(holds), is_purging: false, hint: 0 }
}

use Rule::*;

const ROWS: &[Row] = &[
    sim(&[FreshSessionOnRetry], 1),
    sim(&[SessionClearedOnWayBack], 1),
    sim(&[EvidenceChecked], 1),
    sim(&[ExpectedChecked], 0x3d),
    sim(&[MajorityOfBoth], 1),
    sim(&[RemovalMerges], 0x135),
    sim(&[AllSurvivorsAreSources], 0x35),
    sim(&[NoSilentMajority], 1),
    sim(&[WaitsOutTheDrift], 0x31),
    sim(&[PendingLossTurnsBack], 1),
    sim(&[RequestsRemembered], 1),
    purging(&[PromiseOfAll], 0xf),
    sim(&[LostIsNotMadeAnew], 0x22),
    sim(&[OlderRefused], 1),
    sim(&[OldTimestampsRefused], 1),
    purging(&[PromiseKept], 0x27),
    sim(&[OneVersionPerOperation], 1),
    sim(&[FloorIsDurable], 1),
    sim(&[FloorOutlivesCopy], 0xe),
    sim(&[CheckedWhereItActs], 1),
    sim(&[LeadershipConfirmed], 1),
    sim(&[DrainedBeforeAdmission], 1),
    sim(&[DrainedBeforeAcknowledged], 1),
    sim(&[BarrierBeforeTargetCleanup, StoreChecksWork], 1),
    with(&[GuardUntilStored], &[Fault::SlowWrite], 1),
    with(&[CompleteIsSaid], &[Fault::Loss, Fault::Cut], 0x7c),
    with(&[ReceivedOnceDurable], &[Fault::SlowDisk, Fault::CrashAgent], 1),
    with(&[SumOfWhatIsStored], &[Fault::LeaveRowOut], 1),
    core(&[DroppedByCopy, DropAtItsVersion], a_late_drop_spares_a_newer_copy),
    core(&[PurgedAtRest], purges_at_rest),
    with(&[RequestsInSnapshot], &[Fault::CrashCoordinator], 1),
    sim(&[ClockOfProposer], 1),
    with(&[StepsAreOne], &[Fault::Preempt], 1),
    with(&[FullStateAfterAdmission], &[Fault::CrashAgent, Fault::SlowWrite], 1),
    core(&[LeftOutByFloor], leaves_out_by_floor),
    core(&[OneCallForEver], calls_once),
    sim(&[NeverCleared], 1),
    sim(&[PendingLossTurnsBack, AdmissionKeepsGiven], 1),
    purging(&[FreshTimestamp, PromiseKept], 0xb),
    with(&[LeaseFromSending], &[Fault::Delay, Fault::PauseAgent], 0x17),
    sim(&[EvidenceNotTime], 1),
    sim(&[OnlyConcernedAsked], 1),
    sim(&[CleanupAtAdmission], 1),
    sim(&[OlderBarrierRefused], 1),
    core(&[PromiseByOwnClock], promises_by_its_own_clock),
    core(&[UnfitNotRenewed], lets_the_lease_of_the_unfit_run_out),
    with(&[NewestDirectory], &[Fault::OldDirectory], 0xf),
    core(&[RowsNeedNoLease], serves_without_leases),
];

/// What is recorded of a tablet: at rest, or in a transition of no replicas.
fn recorded(version: TopologyVersion, transition: Option<TransitionRecord>) -> TabletRecord {
    TabletRecord {
        tablet: TabletId::from_u64(1).expect("not 0"),
        table: TableId::from_u64(1).expect("not 0"),
        range: PositionRange { start: Vec::new(), end: None },
        version,
        replicas: ReplicaSet::default(),
        transition,
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    }
}

fn transition(kind: TransitionKind, stage: Stage) -> TransitionRecord {
    TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(2)).expect("not nil"),
        kind,
        stage,
        next: ReplicaSet::default(),
        session: None,
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    }
}

/// A purge is made outside of transitions only.
fn purges_at_rest() -> bool {
    let version = TopologyVersion::from_parts(1, 5);
    let record = recorded(version, Some(transition(TransitionKind::Migrate, Stage::UseNew)));
    admit_purge(Some(&record), version, true, HybridTime::ZERO, true).is_err()
}

/// What is promised is the lesser of what was proposed and the own clock.
fn promises_by_its_own_clock() -> bool {
    let node = NodeId::from_u64(1).expect("not 0");
    let copy = CopyId(TopologyVersion::from_parts(1, 1));
    let replicas = ReplicaSet::new(vec![Replica { node, copy, lost: false }]).expect("one");
    let mut repair = transition(TransitionKind::Repair, Stage::OpenRepair);
    repair.next = replicas.clone();
    repair.proposed_promise = Some(HybridTime::from_millis(600_000));
    let mut record = recorded(TopologyVersion::from_parts(1, 5), Some(repair));
    record.replicas = replicas;
    let durable = Durable { floor: Floor::at(record.version), copies: &[copy] };
    let now = HybridTime::from_millis(1_000);
    take_on(&record, node, durable, now).is_ok_and(|taken| taken.promise == now)
}

/// Whoever is unfit is renewed no more. (In the simulation a story shows it; by chance whoever is unfit
/// there gets well in time.)
fn lets_the_lease_of_the_unfit_run_out() -> bool {
    let (topology, node) = (Topology::default(), NodeId::from_u64(1).expect("not 0"));
    let incarnation = Incarnation(TopologyVersion::from_parts(1, 1));
    let mut driver = Driver::new(&topology, migrations::lease::Instant(0));
    let was_renewed = driver.may_renew(node, incarnation);
    let unfit = Event::Unfit { node, incarnation, why: Unfit::Unreachable };
    let mut fresh = || SessionId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    driver.handle(&topology, unfit, &mut fresh, &mut Vec::new());
    was_renewed && !driver.may_renew(node, incarnation)
}

/// A drop order that comes late drops no newer copy. (Told in the simulation: seeds seldom draw it.)
fn a_late_drop_spares_a_newer_copy() -> bool {
    let told = || {
        let mut story = Story::begin(&Shape::of(&["abc"]))?;
        let order = story.hold(Kind::Drop.to("a").first(1));
        let there = story.migrate('A', "a", "d")?;
        story.until_held(order, 1)?;
        story.repeat(order)?;
        story.until_ended(there, Ending::Done)?;
        story.migrate('A', "d", "a")?;
        story.until_stage('A', Stage::Streaming)?;
        story.repeat(order)?;
        story.pass(50)?;
        story.must("the copy that a has now stays", story.copies("a", 'A') == 1)
    };
    told().is_ok()
}

/// Rows are written when every lease is over. (Told in the simulation: the core has nothing to ask.)
fn serves_without_leases() -> bool {
    let told = || {
        let mut story = Story::begin(&Shape::of(&["abc"]))?;
        ["c0", "c1", "c2"].into_iter().for_each(|name| story.kill(name));
        story.pass(5_000)?;
        story.put("r0", "Ax", "without a lease")
    };
    told().is_ok()
}

/// What a full state does not list is absent as of its version, not above.
fn leaves_out_by_floor() -> bool {
    let floor = Floor::at(TopologyVersion::from_parts(1, 6));
    !is_left_out(floor, TopologyVersion::from_parts(1, 5))
}

/// A second order to pull in one session is answered by the call that is on record.
fn calls_once() -> bool {
    let session = SessionId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    let migration = MigrationId::from_uuid(Uuid::from_u128(2)).expect("not nil");
    let source = NodeId::from_u64(1).expect("not 0");
    let source_copy = CopyId(TopologyVersion::from_parts(1, 1));
    let first = begin(None, session, migration, Call { call: 1, source, source_copy });
    let Begun::New(stream) = first else { return false };
    let second = Call { call: 2, source, source_copy };
    matches!(begin(Some(&stream), session, migration, second), Begun::OnRecord(_))
}

/// How a row falls: the seed and the invariant.
fn fall(row: &Row) -> Option<String> {
    undo(row.rules.iter().copied());
    let fallen = match &row.deck {
        Deck::Sim(faults) => {
            let forced = faults.iter().fold(Faults::default(), |forced, fault| forced.with(*fault));
            let options = Options { forced, is_purging: row.is_purging, ..Options::default() };
            let mut broken = std::iter::once(row.hint)
                .chain(1..=SEEDS)
                .filter_map(|seed| Some((seed, run(seed, &options).broken?)));
            broken.next().map(|(seed, broken)| {
                format!("sim | seed {seed:#x} | INV-{}: {}", broken.invariant, broken.what)
            })
        }
        Deck::Core(holds) => (!holds()).then(|| "core | - | its check".into()),
    };
    undo(None);
    fallen
}

#[test]
fn each_rule_is_missed_when_it_is_undone() {
    let chosen = std::env::var("MUTANT").unwrap_or_default();
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| format!("{:?}", row.rules[0]).starts_with(&chosen)).collect();
    let next = AtomicUsize::new(0);
    let survivors: Vec<&[Rule]> = std::thread::scope(|scope| {
        let work = || {
            let mut survivors = Vec::new();
            while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                let since = Instant::now();
                let fallen = fall(row);
                let took = since.elapsed().as_secs_f32();
                let told = fallen.as_deref().unwrap_or("NOBODY MISSES IT | - | -");
                println!("{:?} | {told} | {took:.1} s", row.rules);
                if fallen.is_none() {
                    survivors.push(row.rules);
                }
            }
            survivors
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|w| w.join().expect("a run has panicked")).collect()
    });
    assert!(survivors.is_empty(), "nobody misses {survivors:?}");
}

/// No rule is left out of the table.
#[test]
fn each_rule_has_a_row() {
    let is_left_out = |rule: &Rule| !ROWS.iter().any(|row| row.rules.contains(rule));
    let left_out: Vec<Rule> = Rule::ALL.into_iter().filter(is_left_out).collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

/// As long as nothing is undone the checks of the core hold.
#[test]
fn the_checks_of_the_core_hold() {
    for row in ROWS {
        if let Deck::Core(holds) = row.deck {
            assert!(holds(), "{:?}", row.rules);
        }
    }
}
