//! Clients that never rest: writers, deleters and readers.
//!
//! Each key has one owner, a writer or a deleter, so that the order of what happens to it is known.
//! Keys can be taken out of traffic: their owners leave them alone from then on.

use super::random::Random;
use super::recorder::Recorder;
use anyhow::Context;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who put values only.
const WRITERS: usize = 6;
/// Who delete, and put again.
const DELETERS: usize = 2;
/// Who read.
const READERS: usize = 4;
/// A client waits this long between two operations: the load is to leave room for moves.
const PAUSE: Duration = Duration::from_millis(3);
/// Rows that are loaded, or deleted, at a time.
const AT_A_TIME: usize = 64;

/// Clients that run until they are told to stop.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<anyhow::Result<()>>,
}

struct Shared {
    recorder: Recorder,
    keys: Vec<String>,
    /// Keys that owners leave alone.
    taken_out: Mutex<BTreeSet<String>>,
    /// Held by each owner during an operation.
    at_work: [tokio::sync::Mutex<()>; WRITERS + DELETERS],
    /// The values put so far, which makes each of them different.
    values: AtomicU64,
    stop: CancellationToken,
}

/// Stores rows, some at a time; those that fail are in the history.
pub(crate) async fn load(recorder: &Recorder, rows: Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let put = |(key, value): (String, Vec<u8>)| {
        let recorder = recorder.clone();
        async move { recorder.put(&key, &value).await }
    };
    some_at_a_time(rows.into_iter().map(put)).await
}

/// Deletes keys, some at a time; those that fail are in the history.
pub(crate) async fn delete(recorder: &Recorder, keys: &[String]) -> anyhow::Result<()> {
    let delete = |key: String| {
        let recorder = recorder.clone();
        async move { recorder.delete(&key).await }
    };
    some_at_a_time(keys.iter().cloned().map(delete)).await
}

/// Reads keys, some at a time; what was found is in the history.
pub(crate) async fn read(recorder: &Recorder, keys: &[String]) -> anyhow::Result<()> {
    let read = |key: String| {
        let recorder = recorder.clone();
        async move { recorder.get(&key).await }
    };
    some_at_a_time(keys.iter().cloned().map(read)).await
}

async fn some_at_a_time(
    operations: impl Iterator<Item = impl Future<Output = anyhow::Result<()>> + Send + 'static>,
) -> anyhow::Result<()> {
    let mut under_way: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for operation in operations {
        if under_way.len() >= AT_A_TIME
            && let Some(ended) = under_way.join_next().await
        {
            ended??;
        }
        under_way.spawn(operation);
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}

impl Traffic {
    /// Starts all clients.
    pub(crate) fn start(recorder: &Recorder, keys: Vec<String>, seed: u64) -> Traffic {
        let shared = Arc::new(Shared {
            recorder: recorder.clone(),
            keys,
            taken_out: Mutex::default(),
            at_work: Default::default(),
            values: AtomicU64::new(0),
            stop: CancellationToken::new(),
        });
        let mut clients = JoinSet::new();
        for number in 0..WRITERS + DELETERS {
            let random = Random::new(seed, 1 << 40 | number as u64);
            clients.spawn(Arc::clone(&shared).own(number, random));
        }
        for number in 0..READERS {
            let random = Random::new(seed, 2 << 40 | number as u64);
            clients.spawn(Arc::clone(&shared).read(random));
        }
        Traffic { shared, clients }
    }

    /// From when this returns on, no client writes these keys.
    pub(crate) async fn take_out(&self, keys: &[String]) {
        self.shared.taken_out().extend(keys.iter().cloned());
        for owner in &self.shared.at_work {
            // What it does now may have begun before.
            drop(owner.lock().await);
        }
    }

    /// Stops all clients; an error if the history could not be written.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shared.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client failed")??;
        }
        Ok(())
    }
}

impl Shared {
    fn taken_out(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.taken_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the keys of an owner, who has one at least.
    fn key(&self, owner: usize, random: &mut Random) -> &str {
        let owners = WRITERS + DELETERS;
        let own = (self.keys.len() + owners - 1 - owner) / owners;
        &self.keys[random.below(own) * owners + owner]
    }

    async fn own(self: Arc<Self>, owner: usize, mut random: Random) -> anyhow::Result<()> {
        if owner >= self.keys.len() {
            return Ok(());
        }
        while self.pause().await {
            let working = self.at_work[owner].lock().await;
            let key = self.key(owner, &mut random);
            if self.taken_out().contains(key) {
                continue;
            }
            if owner >= WRITERS {
                self.recorder.delete(key).await?;
            }
            // A deleter leaves every second key deleted.
            if owner < WRITERS || random.below(2) == 0 {
                let number = self.values.fetch_add(1, Ordering::Relaxed);
                self.recorder.put(key, format!("written-{number}").as_bytes()).await?;
            }
            drop(working);
        }
        Ok(())
    }

    async fn read(self: Arc<Self>, mut random: Random) -> anyhow::Result<()> {
        while self.pause().await {
            let key = &self.keys[random.below(self.keys.len())];
            self.recorder.get(key).await?;
        }
        Ok(())
    }

    /// Whether to go on, after a moment.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(PAUSE) => true,
        }
    }
}
