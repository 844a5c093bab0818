//! Places for connections. Strangers have few, and the oldest of them goes when one more comes, so
//! that nobody waits for a place that strangers hold; who is known has a place among others, and
//! under one identity there is a share of those, so that none keeps all others out.
//!
//! Not here: what makes a stranger known.

use crate::identity::Identity;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How often the log says that strangers were given up: a flood of them is to be no flood of lines.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The part of the places that one identity may have.
const SHARE: usize = 8;
/// What it may have in any case, where there are few places.
const SHARE_AT_LEAST: usize = 16;

/// The places of one port. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    strangers: usize,
    known: Arc<Semaphore>,
    /// Most places of one identity.
    share: usize,
    here: Arc<Mutex<Here>>,
}

/// The strangers that are here, by when they came.
#[derive(Debug, Default)]
struct Here {
    came: u64,
    /// Who loses the other end of this is given up.
    strangers: BTreeMap<u64, oneshot::Sender<Infallible>>,
    /// How many places each identity has that has any.
    known: HashMap<Identity, usize>,
    given_up: u64,
    told: Option<Instant>,
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    door: Door,
    number: u64,
    known: OnceLock<Known>,
}

#[derive(Debug)]
struct Known {
    /// Nobody says without TLS.
    who: Option<Identity>,
    _place: OwnedSemaphorePermit,
    _never_given_up: oneshot::Sender<Infallible>,
}

/// Ends when the connection is to be given up for another one.
pub type GivenUp = oneshot::Receiver<Infallible>;

impl Door {
    /// Places for so many strangers, and for so many others. At least one stranger comes in.
    pub fn new(strangers: usize, known: usize) -> Door {
        let share = (known / SHARE).max(SHARE_AT_LEAST);
        let known = Arc::new(Semaphore::new(known));
        Door { strangers: strangers.max(1), known, share, here: Arc::default() }
    }

    /// A place for a stranger; the oldest stranger loses its own if there is none.
    pub fn enter(&self, from: SocketAddr) -> (Arc<Place>, GivenUp) {
        let (stays, given_up) = oneshot::channel();
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.came += 1;
        let number = here.came;
        while here.strangers.len() >= self.strangers {
            here.strangers.pop_first();
            here.given_up += 1;
        }
        here.strangers.insert(number, stays);
        let is_told = here.told.is_some_and(|told| told.elapsed() < TOLD_EVERY);
        if here.given_up > 0 && !is_told {
            here.told = Some(Instant::now());
            let connections = std::mem::take(&mut here.given_up);
            tracing::warn!(target: "audit", connections, newest = %from,
                "connections that had asked nothing were ended: others came");
        }
        drop(here);
        let place = Place { door: self.clone(), number, known: OnceLock::new() };
        (Arc::new(place), given_up)
    }
}

impl Place {
    /// Whether it is none of a stranger.
    pub fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Makes the stranger known, if it is not; whether it is. There may be no place, its identity
    /// may have its share of them, or it may have been given up.
    pub fn make_known(&self, who: Option<&Identity>) -> bool {
        if self.is_known() {
            return true;
        }
        let Ok(place) = Arc::clone(&self.door.known).try_acquire_owned() else { return false };
        let mut here = self.door.here.lock().unwrap_or_else(PoisonError::into_inner);
        let held = who.and_then(|who| here.known.get(who)).copied().unwrap_or_default();
        if held < self.door.share
            && let Some(stays) = here.strangers.remove(&self.number)
        {
            if let Some(who) = who {
                here.known.insert(who.clone(), held + 1);
            }
            let who = who.cloned();
            let _first = self.known.set(Known { who, _place: place, _never_given_up: stays });
        }
        // Of two calls at a time one has done it.
        self.is_known()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.door.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.strangers.remove(&self.number);
        let Some(who) = self.known.get().and_then(|known| known.who.as_ref()) else { return };
        let Some(held) = here.known.get_mut(who) else { return };
        *held -= 1;
        if *held == 0 {
            here.known.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    #[test]
    fn the_oldest_stranger_goes_and_the_known_stay() {
        let door = Door::new(2, 1);
        let (known, mut known_up) = door.enter(somewhere());
        assert!(known.make_known(None) && known.make_known(None));
        let (first, mut first_up) = door.enter(somewhere());
        let (second, mut second_up) = door.enter(somewhere());
        let (_third, mut third_up) = door.enter(somewhere());
        assert_eq!(first_up.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        for stays in [&mut known_up, &mut second_up, &mut third_up] {
            assert_eq!(stays.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
        assert!(!first.make_known(None), "it was given up");
        assert!(!second.make_known(None), "there is one place");
        drop(known);
        assert!(second.make_known(None), "it is free again");
    }

    #[test]
    fn one_identity_has_its_share_and_no_more() {
        let places = SHARE * (SHARE_AT_LEAST + 1);
        let door = Door::new(places, places);
        let who = |name: &str| -> Identity {
            format!("spiffe://prod/user/viewer/{name}").parse().expect("an identity")
        };
        let (bob, alice) = (who("bob"), who("alice"));
        let mut held: Vec<_> = (0..=SHARE_AT_LEAST).map(|_| door.enter(somewhere())).collect();
        assert!(held.iter().all(|(place, _)| place.make_known(Some(&bob))), "his share");
        let (over, _stays) = door.enter(somewhere());
        assert!(!over.make_known(Some(&bob)), "he has his share");
        assert!(!over.is_known());
        let (other, _stays) = door.enter(somewhere());
        assert!(other.make_known(Some(&alice)), "there is room for others");
        let (nobody, _stays) = door.enter(somewhere());
        assert!(nobody.make_known(None), "and for those who have no name");
        held.pop();
        assert!(over.make_known(Some(&bob)), "one of his is free again");
        drop((held, over, other));
        assert_eq!(door.here.lock().expect("nobody panicked").known, HashMap::new());
    }

    #[test]
    fn who_leaves_is_none_of_the_oldest() {
        let door = Door::new(2, 1);
        let (_first, mut first_up) = door.enter(somewhere());
        let (second, _) = door.enter(somewhere());
        drop(second);
        let (_third, _third_up) = door.enter(somewhere());
        assert_eq!(first_up.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }
}
