//! openraft's own suite for log stores and state machines.

use std::io::BufRead;
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::super::apply::{Applier, State};
use super::super::directory;
use super::super::identity::Identity;
use super::super::log::LogStore;
use super::super::snapshot::Snapshots;
use super::super::types::Group0Types;
use super::Journal;

struct Builder;

impl StoreBuilder<Group0Types, LogStore, Applier<Journal>, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore, Applier<Journal>), StorageError<Group0Types>> {
        let dir = tempfile::tempdir().expect("a directory");
        let (lock, _) = directory::open(dir.path()).expect("a lock");
        let lock = Arc::new(lock);
        let own = (dir.path().to_owned(), Arc::clone(&lock));
        let identity = Identity::open(own.0, own.1, None, Some(1), "c1").expect("an identity");
        let log = LogStore::open(&dir.path().join("log"), Arc::clone(&lock), true).expect("a log");
        let restore = |_: &mut dyn BufRead| Ok(());
        let (snapshots, _) = Snapshots::open(dir.path().join("snapshots"), lock, None, restore)
            .expect("no snapshots");
        let state = Arc::new(State::new(Journal::default(), Default::default(), 1));
        Ok((dir, log, Applier::new(state, Arc::new(snapshots), Arc::new(identity))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.expect("every test of the suite");
}
