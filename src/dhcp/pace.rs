//! How often messages are taken in: a thread that is woken for each of them pays more for that than for most of what they ask.
//! So a turn begins a while after the one before it, at the earliest, and takes all that came meanwhile; only a machine or
//! two, that ask now and then, are answered at once, for some turns may come early.

use std::time::{Duration, Instant};

/// Time between turns in a storm. An answer leaves by so much later at most.
const APART: Duration = Duration::from_millis(4);
/// Time that a turn takes at least which leaves messages waiting: thousands have come at once. A relay's buffer holds some 160 answers,
/// and to lose them costs its clients seconds.
const FULL: Duration = Duration::from_micros(1600);
/// Turns that may come early, each given back by so much of silence.
const EARLY: u32 = 16;

/// The pace of one thread.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next turn would be, had none come early.
    due: Option<Instant>,
}

impl Pace {
    /// How long the next turn has to wait, now that one has ended; `full` where it was as much as a turn takes, and when that began.
    pub fn rest(&mut self, now: Instant, full: Option<Instant>) -> Duration {
        if let Some(begun) = full {
            return FULL.saturating_sub(now.saturating_duration_since(begun));
        }
        let due = self.due.map_or(now, |due| due.max(now)) + APART;
        self.due = Some(due);
        due.saturating_duration_since(now + APART * EARLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_now_and_then_waits_for_nothing_and_a_storm_is_taken_in_turns() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let mut turns = |begun: Instant, apart: Duration, count: u32| {
            let (mut now, mut rested) = (begun, 0);
            for _ in 0..count {
                let rest = pace.rest(now, None);
                rested += u32::from(!rest.is_zero());
                now += rest + apart;
            }
            (now.duration_since(begun), rested)
        };
        // One boot: its messages are less than a millisecond apart, and few.
        assert_eq!(turns(begun, Duration::from_micros(500), 8).1, 0);
        assert_eq!(turns(begun + Duration::from_secs(1), APART, 1000).1, 0, "no more than come anyway");
        let (took, _) = turns(begun + Duration::from_secs(9), Duration::from_micros(50), 1000);
        assert!(took >= APART * (1000 - EARLY - 1), "{took:?}");
        assert_eq!(
            pace.rest(begun + FULL / 4, Some(begun)),
            FULL * 3 / 4,
            "what is left is not sent all at once"
        );
        assert_eq!(pace.rest(begun + FULL * 2, Some(begun)), Duration::ZERO);
    }
}
