//! What a demonstration says while it runs: a line for each thing that is over, and on a terminal,
//! below them, what it waits for now.

use crate::workload::Counts;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How often the last line is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);
/// Up and down, to be seen to move.
const SPINNER: [&str; 4] = ["-", "\\", "|", "/"];

/// Says it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Screen {
    inner: Arc<Inner>,
}

struct Inner {
    began: Instant,
    is_terminal: bool,
    /// To standard error, since standard output is for the result.
    is_aside: bool,
    now: Mutex<Now>,
    redraw: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Now {
    waits_for: String,
    counts: Option<Arc<Counts>>,
    frame: usize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let redraw = self.redraw.lock().unwrap_or_else(PoisonError::into_inner).take();
        redraw.inspect(AbortHandle::abort);
    }
}

impl Screen {
    /// With `is_aside`, nothing is written to standard output.
    pub(super) fn new(is_aside: bool) -> Screen {
        let is_terminal = if is_aside {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        let (now, redraw) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { began: Instant::now(), is_terminal, is_aside, now, redraw });
        if is_terminal {
            let weak = Arc::downgrade(&inner);
            let task = tokio::spawn(async move {
                let mut at = tokio::time::interval(REDRAW);
                loop {
                    at.tick().await;
                    let Some(inner) = weak.upgrade() else { return };
                    inner.draw();
                }
            });
            *inner.redraw.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(task.abort_handle());
        }
        Screen { inner }
    }

    /// Counts to show beside what is waited for.
    pub(super) fn watch(&self, counts: &Arc<Counts>) {
        self.inner.now().counts = Some(Arc::clone(counts));
    }

    /// Something is over.
    pub(super) fn say(&self, line: &str) {
        let seconds = self.inner.began.elapsed().as_secs_f64();
        self.plain(&format!("{seconds:6.1} s  {line}"));
    }

    /// A line without a time.
    pub(super) fn plain(&self, line: &str) {
        let clear = if self.inner.is_terminal { "\r\x1b[2K" } else { "" };
        self.inner.write(&format!("{clear}{line}\n"));
    }

    /// What is waited for from now on.
    pub(super) fn waits_for(&self, what: impl Into<String>) {
        self.inner.now().waits_for = what.into();
        if self.inner.is_terminal {
            self.inner.draw();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn end(&self) {
        self.inner.now().waits_for.clear();
        if self.inner.is_terminal {
            self.inner.write("\r\x1b[2K");
        }
    }
}

impl Inner {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) {
        let mut now = self.now();
        if now.waits_for.is_empty() {
            return;
        }
        now.frame = (now.frame + 1) % SPINNER.len();
        let seconds = self.began.elapsed().as_secs_f64();
        let mut line = format!("{seconds:6.1} s {} {}", SPINNER[now.frame], now.waits_for);
        if let Some(counts) = &now.counts {
            let (done, errors) = (&counts.done, &counts.errors);
            let (done, errors) = (done.load(Ordering::Relaxed), errors.load(Ordering::Relaxed));
            line.push_str(&format!("   [{done} operations, {errors} errors]"));
        }
        drop(now);
        self.write(&format!("\r\x1b[2K{line}"));
    }

    /// Who has gone away misses it.
    fn write(&self, text: &str) {
        let _ = if self.is_aside {
            let mut out = std::io::stderr().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }
}
