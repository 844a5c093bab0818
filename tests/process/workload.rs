//! Writers with a memory: each key is written by one writer, in turn, so that it is known what a
//! read may find. Unknown outcomes stay open.

use crate::harness::look_again;
use client::Router;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a key may hold: any of these.
pub(crate) type Allowed = Vec<Option<Vec<u8>>>;

/// What became of a workload.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By key: what a read may find now.
    pub(crate) allowed: BTreeMap<Vec<u8>, Allowed>,
    /// Writes and deletes that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Errors that the client library did not hide.
    pub(crate) errors: Vec<String>,
}

/// Writers that go on until they are told to stop.
pub(crate) struct Workload {
    writers: JoinSet<History>,
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
}

impl Workload {
    /// Starts writers, each with keys of its own: mostly puts, a delete now and then.
    pub(crate) fn start(router: &Router, table: &str, writers: u64, keys: u64) -> Workload {
        let stop = CancellationToken::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let (router, table, stop) = (router.clone(), table.to_owned(), stop.clone());
            let acknowledged = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                let mut history = History::default();
                let mut step = 0u64;
                while !stop.is_cancelled() {
                    let key = format!("w{writer}-{}", step % keys).into_bytes();
                    let is_delete = step % 7 == 3;
                    let value = format!("{writer}/{step}").into_bytes();
                    let written = match is_delete {
                        true => router.delete(&table, &key).await,
                        false => router.put(&table, &key, &value).await,
                    };
                    let now = if is_delete { None } else { Some(value) };
                    let allowed = history.allowed.entry(key).or_insert_with(|| vec![None]);
                    match written {
                        Ok(_) => {
                            *allowed = vec![now];
                            history.acknowledged += 1;
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            history.errors.push(error.to_string());
                            allowed.push(now);
                        }
                    }
                    step += 1;
                }
                history
            });
        }
        Workload { writers: tasks, stop, acknowledged }
    }

    /// Returns once so many more writes were acknowledged: the workload runs.
    pub(crate) async fn proceed(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            look_again().await;
        }
    }

    /// Stops the writers.
    pub(crate) async fn stop(mut self) -> History {
        self.stop.cancel();
        let mut all = History::default();
        while let Some(history) = self.writers.join_next().await {
            let history = history.expect("a writer does not panic");
            all.allowed.extend(history.allowed);
            all.acknowledged += history.acknowledged;
            all.errors.extend(history.errors);
        }
        all
    }
}

impl History {
    /// Reads every key: each must hold what was acknowledged last, or what may have been written
    /// after it.
    pub(crate) async fn check(&self, router: &Router, table: &str) {
        assert!(self.acknowledged > 0, "a workload that wrote nothing shows nothing");
        for (key, allowed) in &self.allowed {
            let read = router.get(table, key).await.expect("a read of a majority");
            let found = read.map(|value| value.value);
            let shown = |value: &Option<Vec<u8>>| {
                value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
            };
            assert!(
                allowed.contains(&found),
                "{}: found {:?}, allowed {:?}",
                String::from_utf8_lossy(key),
                shown(&found),
                allowed.iter().map(shown).collect::<Vec<_>>()
            );
        }
    }
}
