//! What the state of group0 costs with many tablets: memory, a snapshot, a restart, and how long
//! entries wait while a snapshot is made:
//! `cargo bench -p palisade-proto --bench state` (`-- 100000` for fewer tablets than a million).
//!
//! The state is made by `apply`, held under the kind of lock that a coordinator holds it under, and
//! copied, written and read as a coordinator does. Not measured: Raft, and the log after the
//! snapshot.
#![allow(clippy::print_stdout)]

extern crate palisade_proto as proto;

use migrations::apply::apply;
use migrations::command::{Admit, Bootstrap, Change, Command, CreateTable, Entry, Start};
use migrations::id::{AdmissionToken, ClusterId, DirectoryId, MigrationId, RequestId, TabletId};
use migrations::node::{NodeLocation, ProcessProof};
use migrations::placement::place;
use migrations::position::Partitioning;
use migrations::request::RequestStamp;
use migrations::settings::Settings;
use migrations::stage::TransitionKind;
use migrations::state::FEATURE_LEVEL;
use migrations::topology::Topology;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Tablets of one table.
const TABLE: usize = 10_000;

struct Cluster {
    topology: Topology,
    drawn: u128,
}

impl Cluster {
    fn draw(&mut self) -> Uuid {
        self.drawn += 1;
        Uuid::from_u128(self.drawn)
    }

    fn commit(&mut self, command: Command) {
        let entry = Entry { proposed_ms: 1, commands: vec![command] };
        let applied = apply(&mut self.topology, &entry);
        assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
    }

    fn change(&mut self, change: Change) {
        let id = RequestId::from_uuid(self.draw()).expect("not nil");
        let caller = format!("caller {}", self.drawn % 20);
        self.commit(Command::Change { stamp: RequestStamp { id, digest: 1, caller }, change });
    }

    fn admit(&mut self, n: u128) {
        let admit = Admit {
            name: format!("n{n}"),
            directory: DirectoryId::from_uuid(self.draw()).expect("not nil"),
            known_incarnation: None,
            held_tokens: Vec::new(),
            token: AdmissionToken::from_uuid(self.draw()).expect("not nil"),
            process: ProcessProof { boot: String::new(), lock_device: 1, lock_inode: 1 },
            location: NodeLocation {
                data_address: String::new(),
                stream_address: String::new(),
                rack: String::new(),
            },
            feature_level: 1,
            fresh: BTreeMap::new(),
            lost: Vec::new(),
            highest_floor: None,
        };
        self.commit(Command::Admit(Box::new(admit)));
    }

    fn of(tablets: usize) -> Cluster {
        let mut cluster = Cluster { topology: Topology::default(), drawn: 0 };
        let id = ClusterId::from_uuid(cluster.draw()).expect("not nil");
        cluster.commit(Command::Bootstrap(Bootstrap { cluster: id, settings: Settings::DEFAULT }));
        (1..=12).for_each(|n| cluster.admit(n));
        let placed = place(&cluster.topology, TABLE, 3).expect("enough nodes");
        for table in 0..tablets.div_ceil(TABLE) {
            let ranges = Partitioning::even_ranges(TABLE as u32).into_iter();
            cluster.change(Change::CreateTable(CreateTable {
                name: format!("t{table}"),
                partitioning: Partitioning::Hash,
                replication_factor: 3,
                tablets: ranges.zip(placed.clone()).collect(),
            }));
        }
        // The memory of requests is full.
        let some = *cluster.topology.state().tablets.keys().next().expect("there are some");
        for _ in 0..100_000 {
            cluster.ask(some);
        }
        cluster
    }

    /// A change that is refused when it is applied, and remembered.
    fn ask(&mut self, tablet: TabletId) {
        let start = Start {
            migration: MigrationId::from_uuid(self.draw()).expect("not nil"),
            tablet,
            kind: TransitionKind::AddReplica,
            from: None,
            to: None,
            session: None,
            proposed_promise: None,
            note: String::new(),
        };
        let id = RequestId::from_uuid(self.draw()).expect("not nil");
        let caller = format!("caller {}", self.drawn % 20);
        let stamp = RequestStamp { id, digest: 1, caller };
        let commands = vec![Command::Change { stamp, change: Change::Start(start) }];
        apply(&mut self.topology, &Entry { proposed_ms: 1, commands });
    }

    /// A change of each of some tablets: so that each of them has to be copied, if it is shared.
    fn touch(&mut self, tablet: TabletId) {
        let found = self.topology.tablet(tablet).expect("there");
        let free = self.topology.state().nodes.keys().copied();
        let to = free.into_iter().find(|node| !found.replicas.contains(*node));
        let start = Start {
            migration: MigrationId::from_uuid(self.draw()).expect("not nil"),
            tablet,
            kind: TransitionKind::Migrate,
            from: self.topology.tablet(tablet).and_then(|t| t.replicas.nodes().next()),
            to,
            session: None,
            proposed_promise: None,
            note: String::new(),
        };
        self.commit(Command::Balance { start: Box::new(start), now_ms: 1 });
    }
}

/// Bytes of memory that this process holds.
fn held() -> usize {
    let stat = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = stat.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4_096
}

/// Writes a state into a file, durably: how many bytes.
fn write(topology: &Topology, file: &std::path::Path) -> u64 {
    let mut out = File::create(file).expect("a file");
    proto::storage::write_snapshot(topology.state(), &mut out).expect("room");
    out.sync_all().expect("synced");
    out.metadata().expect("it is there").len()
}

fn main() {
    let asked = std::env::args().find_map(|arg| arg.parse::<usize>().ok());
    let tablets = asked.unwrap_or(1_000_000);
    let before = held();
    let cluster = Cluster::of(tablets);
    let taken = held() - before;
    println!("{tablets} tablets: {} bytes of memory each", taken / tablets);

    let file = std::env::temp_dir().join(format!("palisade-state-{}", std::process::id()));
    let all: Vec<TabletId> = cluster.topology.state().tablets.keys().copied().collect();
    let cluster = RwLock::new(cluster);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| {
            let (mut longest, mut count) = (Duration::ZERO, 0u64);
            // Far apart, so that each is in a part of its own.
            for tablet in all.iter().step_by(131).chain(all.iter().skip(7).step_by(131)) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                cluster.write().expect("nobody panics").touch(*tablet);
                longest = longest.max(began.elapsed());
                count += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            (longest, count)
        });
        let began = Instant::now();
        let copy = cluster.read().expect("nobody panics").topology.clone();
        let copied = began.elapsed();
        let bytes = write(&copy, &file);
        let took = began.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let (longest, count) = applying.join().expect("it ends");
        println!("a snapshot of {bytes} bytes: {took:.2?}, of which the copy {copied:.2?}");
        println!("{count} entries beside it, the longest took {longest:.2?}");
    });
    println!("memory after it: {} bytes a tablet", (held() - before) / tablets);

    let began = Instant::now();
    let written = BufReader::new(File::open(&file).expect("readable"));
    let state = proto::storage::read_snapshot(written, FEATURE_LEVEL).expect("just written");
    let topology = Topology::from_state(state).expect("its invariants hold");
    println!("read again: {:.2?}, {} tablets", began.elapsed(), topology.state().tablets.len());
    fs::remove_file(&file).expect("removed");
}
