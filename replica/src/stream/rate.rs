//! A bound on bytes a second that all streams of one direction share, settable while they run.
//!
//! What has been let through is paid off afterwards: bytes are noted once they are known, and the
//! next ones wait until the debt is gone. So one stream alone and many together keep the rate.

use crate::lock::{Mutex, locked};
use migrations::settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Longest time that was not used and may be made up for.
const BURST: Duration = Duration::from_millis(100);

/// A pause is looked at again after this, if nobody has said before that it is over.
const PAUSE: Duration = Duration::from_secs(3600);

/// The bounds of one node: on what streams bring into it, and on what they take out of it.
#[derive(Debug, Clone, Default)]
pub struct Throttle {
    /// Into this node.
    pub into: RateLimiter,
    /// Out of this node.
    pub out: RateLimiter,
}

impl Throttle {
    /// Takes on what the cluster has set, for streams that run, too. Both ends of a paused stream
    /// stand still: either may hear of it late.
    pub fn set(&self, settings: &Settings, is_paused: bool) {
        self.into.set(settings.bytes_per_second);
        self.into.set_paused(is_paused);
        self.out.set_paused(is_paused);
    }
}

/// A bound on bytes a second. Clones share it.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bucket: Mutex<Bucket>,
    changed: Notify,
}

#[derive(Debug)]
struct Bucket {
    /// 0 is no bound.
    bytes_per_second: u64,
    is_paused: bool,
    /// What was let through and is not paid off; below 0: what may be made up for.
    debt: f64,
    as_of: Instant,
}

impl Bucket {
    fn settle(&mut self, now: Instant) {
        #[allow(clippy::cast_precision_loss)] // A rate needs no 64 bits.
        let rate = self.bytes_per_second as f64;
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.debt = (self.debt - rate * passed).max(-rate * BURST.as_secs_f64());
        self.as_of = now;
    }

    /// How long until the debt is gone.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.settle(now);
        if self.is_paused {
            return Some(PAUSE);
        }
        if self.bytes_per_second == 0 || self.debt <= 0.0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // As above.
        let seconds = self.debt / self.bytes_per_second as f64;
        // Never 0, so that waiting gets on.
        Some(Duration::from_secs_f64(seconds.min(3600.0)).max(Duration::from_millis(1)))
    }
}

impl Default for RateLimiter {
    /// Without a bound.
    fn default() -> RateLimiter {
        RateLimiter::new(0)
    }
}

impl RateLimiter {
    /// A bound of so many bytes a second; 0 is none.
    pub fn new(bytes_per_second: u64) -> RateLimiter {
        let as_of = Instant::now();
        let bucket = Bucket { bytes_per_second, is_paused: false, debt: 0.0, as_of };
        let bucket = Mutex::new(bucket);
        RateLimiter { shared: Arc::new(Shared { bucket, changed: Notify::new() }) }
    }

    /// Sets the bound, for streams that run, too; 0 is none.
    pub fn set(&self, bytes_per_second: u64) {
        let mut bucket = locked(&self.shared.bucket);
        if bucket.bytes_per_second == bytes_per_second {
            return;
        }
        bucket.settle(Instant::now());
        bucket.bytes_per_second = bytes_per_second;
        drop(bucket);
        self.shared.changed.notify_waiters();
    }

    /// Lets nothing through until it is said otherwise.
    pub fn set_paused(&self, is_paused: bool) {
        locked(&self.shared.bucket).is_paused = is_paused;
        self.shared.changed.notify_waiters();
    }

    /// Bytes a second; 0 is no bound.
    pub fn bytes_per_second(&self) -> u64 {
        locked(&self.shared.bucket).bytes_per_second
    }

    /// Notes bytes that were let through.
    pub fn note(&self, bytes: usize) {
        let mut bucket = locked(&self.shared.bucket);
        if bucket.bytes_per_second != 0 {
            #[allow(clippy::cast_precision_loss)] // As above.
            let bytes = bytes as f64;
            bucket.settle(Instant::now());
            bucket.debt += bytes;
        }
    }

    /// Whether the next bytes have to wait.
    pub fn is_throttling(&self) -> bool {
        locked(&self.shared.bucket).wait(Instant::now()).is_some()
    }

    /// Returns once the next bytes may go. Cancel safe: it owns nothing.
    pub async fn ready(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // Before the look, so that no wake-up falls between.
            let wait = locked(&self.shared.bucket).wait(Instant::now());
            let Some(wait) = wait else { return };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_passes_while_paused() {
        let limiter = RateLimiter::new(0);
        limiter.set_paused(true);
        assert!(limiter.is_throttling());
        let mut ready = std::pin::pin!(limiter.ready());
        assert!(futures::poll!(ready.as_mut()).is_pending());
        limiter.set_paused(false);
        ready.await;
    }

    async fn seconds_for(limiter: &RateLimiter, chunks: usize) -> f64 {
        let began = Instant::now();
        for _ in 0..chunks {
            limiter.ready().await;
            limiter.note(1_000);
        }
        limiter.ready().await;
        began.elapsed().as_secs_f64()
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    }

    #[test]
    fn bytes_keep_the_rate() {
        runtime().block_on(async {
            let limiter = RateLimiter::new(100_000);
            let seconds = seconds_for(&limiter, 30).await;
            assert!(seconds >= 0.19, "30 kB at 100 kB/s, 10 kB of them made up for: {seconds}");
        });
    }

    #[test]
    fn a_bound_that_is_lifted_lets_go_at_once() {
        runtime().block_on(async {
            let limiter = RateLimiter::new(1);
            limiter.note(1 << 30);
            assert!(limiter.is_throttling());
            let waits = limiter.clone();
            let waiting = tokio::spawn(async move { waits.ready().await });
            tokio::task::yield_now().await;
            limiter.set(0);
            waiting.await.expect("it is let go");
            assert!(!limiter.is_throttling());
        });
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let runtime = runtime();
        let limiter = runtime.block_on(async { RateLimiter::new(0) });
        limiter.note(usize::MAX);
        assert!(!limiter.is_throttling());
        runtime.block_on(limiter.ready());
    }
}
