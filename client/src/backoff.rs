//! Pauses between tries: doubling, bounded, each drawn at random so that clients don't come back
//! all at once.

use std::time::Duration;
use uuid::Uuid;

/// The next pause, and what bounds it.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { next: first, max }
    }

    /// Half of the bound that holds now to all of it; the bound doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.max);
        jittered(bound)
    }

    /// A pause that is not below what the server has asked for, as far as the bound lets it.
    pub(crate) fn pause_at_least(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.pause();
        let asked = asked.map_or(Duration::ZERO, |asked| asked.min(self.max));
        own.max(asked + jittered(asked / 4))
    }
}

/// Half of this to all of it.
fn jittered(bound: Duration) -> Duration {
    // A v4 UUID is the random source that is at hand; its low 32 bits are all random.
    let random = f64::from(Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX);
    bound.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_honour_what_is_asked() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(40));
        for bound in [10, 20, 40, 40] {
            let pause = backoff.pause();
            assert!(pause >= ms(bound) / 2 && pause <= ms(bound), "{pause:?} of {bound}");
        }
        assert!(backoff.pause_at_least(Some(ms(40))) >= ms(40));
        assert!(backoff.pause_at_least(Some(ms(60_000))) <= ms(60));
    }
}
