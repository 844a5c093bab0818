//! Whether this node can do what an agent has to: make floors durable, end guards, drop copies.
//!
//! One that finds that it can't is *unfit*: it gives up its lease, so that a leader may fence it and
//! nothing waits for it, says why, and goes on serving data. It asks to be admitted again only once
//! a probe shows that it can.
//!
//! One whose disk fails rows, or has no room for any, is fit: it keeps what it has, and is not to be
//! given more. It says so with each renewal.
//!
//! Not here: the probe (`tablets`), saying it (`attach`), the leader's own view of who is unfit.

use crate::limits::DISK_TROUBLE_LASTS;
use crate::lock::{Mutex, locked};
use crate::sessions::Sessions;
use crate::store::{DataError, StoreError};
use proto::reasons::Reason;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Why a node is unfit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this node is unfit: {reason}: {detail}")]
pub struct Unfit {
    /// On the closed list.
    pub reason: Reason,
    /// For people. Holds no keys and no values.
    pub detail: String,
}

/// What keeps a node from taking rows on, though it is fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskTrouble {
    /// On the closed list: of the disk.
    pub reason: Reason,
    /// For people. Holds no keys and no values.
    pub detail: String,
    /// When it was met first.
    pub since: Instant,
    /// When an error was met last; none if it is the room alone.
    last: Option<Instant>,
}

/// Whether this node is fit, and since when it is not, why.
#[derive(Debug)]
pub struct Fitness {
    unfit: watch::Sender<Option<Unfit>>,
    disk: Mutex<Option<DiskTrouble>>,
    sessions: Arc<Sessions>,
}

impl Fitness {
    /// Fit, until something shows otherwise; the lease is that of these sessions.
    pub fn new(sessions: Arc<Sessions>) -> Fitness {
        Fitness { unfit: watch::Sender::new(None), disk: Mutex::default(), sessions }
    }

    /// Why it is unfit; `None` while it is fit.
    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit.borrow().clone()
    }

    /// Tells when it becomes unfit, or fit again.
    pub fn changes(&self) -> watch::Receiver<Option<Unfit>> {
        self.unfit.subscribe()
    }

    /// It can't do what it has to: the lease is given up, and all work under it told to stop. What
    /// was found first stays the reason.
    pub(crate) fn found_unfit(&self, reason: Reason, detail: &str) {
        let is_new = self.unfit.send_if_modified(|unfit| {
            let is_new = unfit.is_none();
            unfit.get_or_insert_with(|| Unfit { reason, detail: detail.to_owned() });
            is_new
        });
        if is_new {
            self.sessions.lease().give_up();
            self.sessions.fire_all();
            tracing::error!(%reason, detail,
                "this node is unfit: it gives up its lease, and goes on serving data");
        }
    }

    /// Somebody's rows have met a failure of the store at this time. What is not the disk's own is
    /// left out: damage loses a copy, and harms no other one.
    pub(crate) fn met(&self, error: &StoreError, now: Instant) {
        if matches!(error, StoreError::Disk { .. } | StoreError::DiskFull { .. }) {
            self.met_as(error.reason(), &error.to_string(), now);
        }
    }

    /// The same for whatever a request for rows has failed by.
    pub(crate) fn met_in(&self, error: &DataError, now: Instant) {
        if let DataError::Store(error) = error {
            self.met(error, now);
        }
    }

    /// The same for a failure that has its reason already.
    pub(crate) fn met_as(&self, reason: Reason, detail: &str, now: Instant) {
        self.is_in_trouble(reason, detail, now, Some(now));
    }

    fn is_in_trouble(&self, reason: Reason, detail: &str, now: Instant, last: Option<Instant>) {
        let mut disk = locked(&self.disk);
        let since = disk.as_ref().map_or(now, |trouble| trouble.since);
        let last = last.or(disk.as_ref().and_then(|trouble| trouble.last));
        if disk.as_ref().is_none_or(|trouble| trouble.reason != reason) {
            tracing::warn!(%reason, detail, "the disk takes no rows: no tablet is to move here");
        }
        *disk = Some(DiskTrouble { reason, detail: detail.to_owned(), since, last });
    }

    /// What keeps this node from taking rows on, given the room that the disk has for them. Room
    /// that is back ends the lack of it at once; an error counts until none has been met for a while,
    /// since nobody can tell what else is bad.
    pub(crate) fn disk_trouble(
        &self,
        room: &Result<u64, StoreError>,
        now: Instant,
    ) -> Option<DiskTrouble> {
        match room {
            Err(error) => self.met(error, now),
            Ok(0) => {
                self.is_in_trouble(Reason::DiskFull, "no room for rows is left", now, None);
            }
            Ok(_) => {
                let mut disk = locked(&self.disk);
                let is_over = |trouble: &mut DiskTrouble| {
                    trouble.last.is_none_or(|last| now.duration_since(last) >= DISK_TROUBLE_LASTS)
                };
                if disk.take_if(is_over).is_some() {
                    tracing::info!("the disk takes rows again, as far as anybody knows");
                }
            }
        }
        locked(&self.disk).clone()
    }

    /// A probe has shown that it can again. The lease comes back with an admission only.
    pub(crate) fn recovered(&self) {
        if self.unfit.send_replace(None).is_some() {
            tracing::info!("this node is fit again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PurgeError;
    use std::time::Duration;

    fn fitness() -> Fitness {
        Fitness::new(Arc::new(Sessions::new(Arc::default())))
    }

    #[test]
    fn an_error_counts_until_none_has_been_met_for_a_while() {
        let (fitness, began) = (fitness(), Instant::now());
        let room = Ok(1);
        assert_eq!(fitness.disk_trouble(&room, began), None);
        let error = StoreError::Disk { detail: "EIO".into() };
        fitness.met(&error, began);
        let again = began + DISK_TROUBLE_LASTS / 2;
        fitness.met(&error, again);
        let late = again + DISK_TROUBLE_LASTS - Duration::from_millis(1);
        let trouble = fitness.disk_trouble(&room, late).expect("met a moment ago");
        assert_eq!((trouble.reason, trouble.since), (Reason::DiskError, began));
        assert_eq!(fitness.disk_trouble(&room, again + DISK_TROUBLE_LASTS), None);
        assert!(fitness.unfit().is_none(), "it is fit all the same");
    }

    #[test]
    fn a_full_disk_is_in_trouble_for_as_long_as_it_is_full() {
        let (fitness, began) = (fitness(), Instant::now());
        let trouble = fitness.disk_trouble(&Ok(0), began).expect("no room");
        assert_eq!(trouble.reason, Reason::DiskFull);
        let later = began + 2 * DISK_TROUBLE_LASTS;
        assert_eq!(fitness.disk_trouble(&Ok(0), later).map(|known| known.since), Some(began));
        assert_eq!(fitness.disk_trouble(&Ok(1), later), None);
    }

    /// What a digest or a purge has failed by is told apart, and what the disk did is the disk's.
    #[test]
    fn a_request_that_fails_says_by_what() {
        let (fitness, now) = (fitness(), Instant::now());
        let stale = DataError::StaleVersion { current: Default::default() };
        let damaged = DataError::Store(StoreError::Damaged { detail: "a row".into() });
        let failed = DataError::Store(StoreError::Disk { detail: "EIO".into() });
        for (error, reason, trouble) in [
            (stale, Reason::StaleVersion, None),
            (damaged, Reason::DataDamaged, None),
            (failed, Reason::DiskError, Some(Reason::DiskError)),
        ] {
            fitness.met_in(&error, now);
            let known = fitness.disk_trouble(&Ok(1), now).map(|known| known.reason);
            assert_eq!((error.reason(), known), (reason, trouble), "{error}");
            assert_eq!(PurgeError::Data(error).reason(), reason);
        }
        assert_eq!(PurgeError::NotNow.reason(), Reason::StaleVersion);
    }

    #[test]
    fn damage_is_no_trouble_of_the_disk() {
        let (fitness, now) = (fitness(), Instant::now());
        fitness.met(&StoreError::Damaged { detail: "a row".into() }, now);
        assert_eq!(fitness.disk_trouble(&Ok(1), now), None);
    }
}
