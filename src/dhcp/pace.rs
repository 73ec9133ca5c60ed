//! How often messages are taken in: a thread that is woken for each of them pays more for that than for most of what they ask.
//! So a turn begins a while after the one before it, at the earliest, and takes all that came meanwhile; only a machine or
//! two, that ask now and then, are answered at once, for some turns may come early.

use std::time::{Duration, Instant};

/// Time between turns in a storm. An answer leaves by so much later at most.
const APART: Duration = Duration::from_millis(4);
/// The same where the last turn has left messages waiting, for thousands have come at once.
const HURRIED: Duration = Duration::from_millis(1);
/// Messages and leases that have come back, which are taken in a millisecond at most, and at once after a longer while: all of a storm's,
/// and of thousands that come at once a part. A relay's buffer holds some 160 answers, and to lose them costs its clients seconds.
const EACH: Duration = Duration::from_nanos(1_000_000 / 48);
const AT_ONCE: Duration = Duration::from_millis(4);
/// Turns that may come early, each given back by so much of silence.
const EARLY: u32 = 16;

/// The pace of one thread.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next turn would be, had none come early.
    due: Option<Instant>,
    /// When all that was taken would have been, one by one.
    taken: Option<Instant>,
}

impl Pace {
    /// How many messages a turn may take that begins now.
    pub fn room(&self, now: Instant) -> usize {
        let behind = self.taken.map_or(Duration::ZERO, |taken| taken.saturating_duration_since(now));
        usize::try_from(AT_ONCE.saturating_sub(behind).as_nanos() / EACH.as_nanos()).unwrap_or_default()
    }

    /// A turn that began then has taken so many messages, and leaves others waiting or none: how long the next has to wait.
    pub fn rest(&mut self, begun: Instant, now: Instant, took: usize, leaves: bool) -> Duration {
        let each = EACH * u32::try_from(took).unwrap_or(u32::MAX);
        self.taken = Some(self.taken.map_or(begun, |taken| taken.max(begun)) + each);
        if leaves {
            return HURRIED.saturating_sub(now.saturating_duration_since(begun));
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
                let rest = pace.rest(now, now, 1, false);
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
    }

    /// Late as the thread may be woken, it makes up for that: else a busy host would lose what it has the time for.
    #[test]
    fn of_thousands_that_come_at_once_no_more_are_taken_than_a_relays_buffer_holds_nor_fewer_than_a_storm_brings()
     {
        for late in [0, 300, 2_900].map(Duration::from_micros) {
            let (mut pace, begun) = (Pace::default(), Instant::now());
            let (mut now, mut taken, mut most) = (begun, 0, 0);
            while taken < 100_000 {
                let room = pace.room(now);
                (taken, most) = (taken + room, most.max(room));
                now += pace.rest(now, now, room, true) + late;
            }
            assert!(most <= 192, "{most} at once");
            let each = now.duration_since(begun) / u32::try_from(taken).unwrap();
            assert!((EACH * 9 / 10..EACH * 11 / 10).contains(&each), "{each:?} for one, woken {late:?} late");
        }
    }
}
