//! What the store does with rows, and what it refuses, under its own lock.

mod agent;

use agent::*;
use migrations::clock::HybridTime;
use migrations::row::{Merged, RowSum, RowVersion, WriteStep, merge};
use migrations::settings::Settings;
use migrations::stage::Stage;
use palisade_replica::guard::Revoked;
use palisade_replica::store::{
    Begun, Call, DataError, IngestError, Progress, PurgeError, StoreError, StoreOptions,
    StreamState,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn k(n: u8) -> Vec<u8> {
    vec![b'k', n]
}

fn call(call: u64) -> Call {
    Call { call, source: node(2), source_copy: copy(1) }
}

#[tokio::test]
async fn a_chunk_is_merged_and_its_rows_and_position_change_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let data = agent.at(6).expect("current");
    assert_eq!(agent.store.put(&data, &k(1), &row(9, Some(b"newer"))), Ok(WriteStep::Store));
    assert_eq!(agent.store.put(&data, &k(2), &row(4, None)), Ok(WriteStep::Store));
    assert_eq!(agent.store.put(&data, &k(2), &row(4, None)), Ok(WriteStep::AlreadyThere));
    let guard = agent.enter(session(1)).expect("open");
    let rows = [
        (k(0), row(3, Some(b"a"))),
        (k(1), row(3, Some(b"older"))),
        (k(2), row(4, None)),
        (k(3), row(5, None)),
    ];
    let ingested = agent.pull(&guard, 1, &rows).expect("it is the current call");
    let expected = [Merged::Stored, Merged::Superseded, Merged::AlreadyThere, Merged::Stored];
    assert_eq!(ingested.merged, expected);
    let mut sum = RowSum::default();
    rows.iter().for_each(|(position, row)| sum.add(position, row));
    let progress = Progress { after: Some(k(3)), rows: 4, bytes: 8, sum };
    assert_eq!(ingested.progress, progress);
    agent.store.durable().wait().await.expect("the disk works");
    drop((guard, data, agent));

    let agent = Agent::open(dir.path());
    let stream = agent.store.stream(tablet(), copy(5), node(2)).expect("on record");
    assert_eq!((stream.progress, stream.state), (progress, StreamState::Running));
    let data = agent.at(6).expect("served at the durable floor");
    let page = agent.store.scan(&data, b"", 100, 1 << 20).expect("readable");
    let values: Vec<_> = page.rows.iter().map(|(p, r)| (p[1], r.timestamp.time.0)).collect();
    assert_eq!((values, page.is_last), (vec![(0, 3), (1, 9), (2, 4), (3, 5)], true));
}

#[tokio::test]
async fn only_the_current_call_of_the_durable_session_on_the_given_copy_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let rows = [(k(1), row(3, Some(b"v")))];
    let first = agent.enter(session(1)).expect("open");
    let none = Progress::default();
    let refused = agent.chunk(&first, 1, &none, &rows);
    assert_eq!(refused, Err(IngestError::WrongCall { call: 1, source_node: node(2) }), "no call");
    assert!(matches!(agent.store.begin_call(&first, call(1)), Ok(Begun::New(_))));
    let again = agent.store.begin_call(&first, call(2));
    assert!(matches!(again, Ok(Begun::OnRecord(stream)) if stream.call == 1), "one, for ever");
    let refused = agent.chunk(&first, 2, &none, &rows);
    assert_eq!(refused, Err(IngestError::WrongCall { call: 2, source_node: node(2) }));
    agent.chunk(&first, 1, &none, &rows).expect("the current call");
    agent.store.end_call(&first, node(2), 1, StreamState::Complete).expect("the current call");
    assert!(agent.chunk(&first, 1, &none, &rows).is_err(), "it is over");
    for rows in [
        [(b"z".to_vec(), row(3, None)), (b"zz".to_vec(), row(3, None))],
        [(k(2), row(3, None)), (k(1), row(3, None))],
    ] {
        let other = Call { source: node(3), ..call(3) };
        agent.store.begin_call(&first, other).expect("another source");
        let refused = agent.chunk(&first, 3, &none, &rows);
        assert!(refused.is_err(), "outside the range, or out of order");
    }

    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)))).await;
    let refused = agent.pull(&first, 1, &rows);
    assert_eq!(refused, Err(IngestError::Revoked(Revoked::SessionClosing)));
    let second = agent.enter(session(2)).expect("open");
    agent.lease.give_up();
    let refused = agent.pull(&second, 4, &rows);
    assert_eq!(refused, Err(IngestError::Revoked(Revoked::LeaseExpired)));
}

#[tokio::test]
async fn a_stream_goes_on_within_its_migration_from_the_same_copy_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let rows = [(k(1), row(3, Some(b"v")))];
    let first = agent.enter(session(1)).expect("open");
    let ingested = agent.pull(&first, 1, &rows).expect("current");
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)))).await;
    agent.store.end_call(&first, node(2), 1, StreamState::Failed).expect("also when revoked");
    let second = agent.enter(session(2)).expect("open");
    let begun = agent.store.begin_call(&second, call(2)).expect("current");
    let Begun::New(stream) = begun else { panic!("a call of its own: {begun:?}") };
    assert_eq!(stream.progress, ingested.progress, "from where the earlier attempt stood");

    agent.take_on(&Arc::new(moving(8, 5, Stage::WriteBothReadOld, Some(3)))).await;
    let third = agent.enter(session(3)).expect("open");
    let other = Call { source_copy: copy(2), ..call(3) };
    let begun = agent.store.begin_call(&third, other).expect("current");
    assert!(matches!(begun, Begun::New(stream) if stream.progress == Progress::default()));

    agent.take_on(&Arc::new(settled(9, Some(5)))).await;
    assert_eq!(agent.store.stream(tablet(), copy(5), node(2)), None, "over with the migration");
}

#[tokio::test]
async fn a_write_admitted_earlier_is_finished_until_the_wait_for_it_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let admitted = agent.at(6).expect("current");
    agent.take_on(&Arc::new(moving(7, 5, Stage::Streaming, Some(1)))).await;
    assert_eq!(agent.store.put(&admitted, &k(1), &row(1, Some(b"v"))), Ok(WriteStep::Store));
    // The drain of version 7 has lost its patience; it waits all the same.
    agent.tablets.set_settings(Settings { drain_deadline_ms: 1, ..Settings::FAST });
    let mut drain = std::pin::pin!(agent.tablets.drain(tablet(), version(7)));
    let forced = admitted.forced();
    tokio::select! {
        () = &mut drain => panic!("a guard is held"),
        () = forced.cancelled() => {}
    }
    let refused = agent.store.put(&admitted, &k(2), &row(2, Some(b"v")));
    assert_eq!(refused, Err(DataError::StaleVersion { current: version(7) }));
    let current = agent.at(7).expect("current");
    assert_eq!(agent.store.put(&current, &k(2), &row(2, Some(b"v"))), Ok(WriteStep::Store));
    assert_eq!(agent.store.put(&current, b"~", &row(2, None)), Err(DataError::OutOfRange));
    let behind = agent.store.put(&current, &k(2), &row(1, Some(b"w")));
    assert!(matches!(behind, Err(DataError::TimestampBehind(b)) if b.highest == HybridTime(2)));
}

#[tokio::test]
async fn a_purge_takes_only_tombstones_up_to_t_outside_transitions_with_a_lease() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    agent.take_on(&Arc::new(settled(1, Some(1)))).await;
    let data = agent.at(1).expect("current");
    for (n, row) in [row(1, None), row(2, Some(b"v")), row(9, None)].iter().enumerate() {
        agent.store.put(&data, &k(n as u8), row).expect("in order");
    }
    let t = HybridTime(5);
    let refused = agent.store.purge(&data, t, None);
    assert_eq!(refused, Err(PurgeError::NotNow), "T is not the tablet's");
    agent.take_on(&Arc::new(repairing(2, Stage::EndRepair, None, 5))).await;
    let of_repair = agent.at(2).expect("current");
    assert_eq!(agent.store.purge(&of_repair, HybridTime::ZERO, None), Err(PurgeError::NotNow));
    let mut after = settled(3, Some(1));
    after.promise = t;
    agent.take_on(&Arc::new(after)).await;
    assert_eq!(agent.store.purge(&data, t, None), Err(PurgeError::NotNow), "an older version");
    let now = agent.at(3).expect("current");
    let before = agent.store.digest(&now).expect("readable");
    let purged = agent.store.purge(&now, t, None).expect("permitted");
    assert_eq!((purged.removed, purged.after), (1, None));
    assert_eq!(agent.store.get(&now, &k(0)), Ok(None));
    let digest = agent.store.digest(&now).expect("readable");
    assert_eq!((digest.rows, digest.tombstones), (1, 1));
    assert_eq!(digest, before, "purgeable tombstones are left out of sums");
    agent.lease.give_up();
    assert_eq!(agent.store.purge(&now, t, None), Err(PurgeError::LeaseExpired));
}

#[tokio::test]
async fn a_full_disk_refuses_rows_and_still_takes_floors() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { reserve_bytes: u64::MAX, ..StoreOptions::default() };
    let agent = Agent::with(dir.path(), options);
    agent.take_on(&Arc::new(settled(1, Some(1)))).await;
    let data = agent.at(1).expect("current");
    let refused = agent.store.put(&data, &k(1), &row(1, None));
    assert!(matches!(refused, Err(DataError::Store(StoreError::DiskFull { .. }))));
    assert_eq!(agent.take_on(&Arc::new(settled(2, Some(1)))).await.version, version(2));
}

#[tokio::test]
async fn rows_up_to_the_limits_are_kept_and_larger_ones_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    agent.take_on(&Arc::new(settled(1, Some(1)))).await;
    let data = agent.at(1).expect("current");
    let sizes = [1 << 20, 20 << 10, (20 << 10) + 1, 3, 700_000, 0];
    let mut time = 0;
    for round in 0..sizes.len() {
        for n in 0..20u8 {
            time += 1;
            let size = sizes[(round + usize::from(n)) % sizes.len()];
            let value = vec![n; size];
            agent.store.put(&data, &k(n), &row(time, Some(&value))).expect("within the limits");
            let read = agent.store.get(&data, &k(n)).expect("readable");
            assert_eq!(read, Some(row(time, Some(&value))));
        }
    }
    let page = agent.store.scan(&data, b"", 100, usize::MAX).expect("readable");
    assert_eq!(page.rows.len(), 20, "pieces are no rows");
    let large = row(time + 1, Some(&vec![0; (1 << 20) + 1]));
    assert!(matches!(agent.store.put(&data, &k(1), &large), Err(DataError::TooLarge(_))));
    let long = vec![b'k'; 5_000];
    assert!(matches!(agent.store.put(&data, &long, &row(1, None)), Err(DataError::TooLarge(_))));
    agent.store.durable().wait().await.expect("the disk works");
    let blobs = std::fs::read_dir(dir.path().join("rows/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "files of their own would not be synced");
    drop((data, agent));
    let agent = Agent::open(dir.path());
    let data = agent.at(1).expect("served");
    let again = agent.store.scan(&data, b"", 100, usize::MAX).expect("readable");
    assert_eq!(again, page);
}

fn any_row() -> impl Strategy<Value = RowVersion> {
    (1u64..6, proptest::option::of(0u8..3))
        .prop_map(|(time, value)| row(time, value.as_ref().map(std::slice::from_ref)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A copy holds what the merge rule says of all rows that came, whatever the chunks; and a
    /// reader that goes on from where it stood sees each of them once.
    #[test]
    fn a_copy_holds_the_merge_of_what_came(
        chunks in prop::collection::vec(
            prop::collection::btree_map(0u8..12, any_row(), 0..8),
            1..6,
        ),
        page_bytes in 1usize..12,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let agent = runtime.expect("a runtime").block_on(receiving(dir.path()));
        let guard = agent.enter(session(1)).expect("open");
        agent.store.begin_call(&guard, call(1)).expect("current");
        let mut progress = Progress::default();
        let mut model: BTreeMap<Vec<u8>, RowVersion> = BTreeMap::new();
        for chunk in chunks {
            let rows: Vec<_> = chunk.into_iter().map(|(n, row)| (k(n), row)).collect();
            let ingested = agent.chunk(&guard, 1, &progress, &rows).expect("current");
            for ((position, row), merged) in rows.into_iter().zip(ingested.merged) {
                prop_assert_eq!(merge(model.get(&position), &row), merged);
                if merged == Merged::Stored {
                    model.insert(position, row);
                }
            }
            progress = ingested.progress;
        }
        let mut read = Vec::new();
        loop {
            let after = read.last().map(|(position, _): &(Vec<u8>, _)| position.as_slice());
            let page = agent.store.read_rows_from(&guard, after, page_bytes).expect("open");
            read.extend(page.rows);
            if page.is_last {
                break;
            }
        }
        prop_assert_eq!(read, model.into_iter().collect::<Vec<_>>());
    }
}
