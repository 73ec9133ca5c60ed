//! The record that puts the time since a start of the host on the calendar.
//!
//! | the state knows | site time is |
//! |---|---|
//! | this start of the host | what it was, and as much more as CLOCK_BOOTTIME has gone on |
//! | other starts only | the wall clock's, or the latest time that was written down where that is later: never back |
//! | none | the wall clock's |

use oneroot_state::Table;
use serde::{Deserialize, Serialize};

/// By the kernel's boot_id. Another server's, on the same state, would be one more.
pub const ANCHORS: Table<Anchor> = Table::new("clock");

/// A moment on both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which start of a host: the kernel's boot_id.
    pub kernel: String,
    /// CLOCK_BOOTTIME at that moment, in seconds.
    pub since_start: u64,
    /// Site time at that moment, in seconds since 1970.
    pub time: u64,
    /// The latest site time that was written down.
    pub seen: u64,
}

impl Anchor {
    /// Site time when the host has run for so many seconds.
    pub fn time_at(&self, since_start: u64) -> u64 {
        self.time.saturating_add(since_start.saturating_sub(self.since_start))
    }
}

/// The anchor of this start of the host.
pub fn choose(known: impl Iterator<Item = Anchor>, kernel: &str, since_start: u64, wall: u64) -> Anchor {
    let (own, others): (Vec<Anchor>, Vec<Anchor>) = known.partition(|anchor| anchor.kernel == kernel);
    if let Some(own) = own.into_iter().next() {
        return own;
    }
    let time = others.iter().map(|other| other.seen).fold(wall, u64::max);
    Anchor { kernel: kernel.to_owned(), since_start, time, seen: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(kernel: &str, since_start: u64, time: u64, seen: u64) -> Anchor {
        Anchor { kernel: kernel.to_owned(), since_start, time, seen }
    }

    #[test]
    fn within_one_start_of_the_host_the_wall_clock_says_nothing() {
        let known = || [anchor("this", 100, 5_000, 5_600)].into_iter();
        for wall in [0, 5_100, 5_000 + 86_400] {
            let chosen = choose(known(), "this", 200, wall);
            assert_eq!(chosen.time_at(200), 5_100, "at {wall}");
        }
    }

    #[test]
    fn after_another_start_the_wall_clock_counts_unless_it_is_behind_what_was_seen() {
        let known = || [anchor("before", 100, 5_000, 5_600)].into_iter();
        let chosen = choose(known(), "this", 7, 9_000);
        assert_eq!((chosen.time_at(7), chosen.time_at(8), chosen.time), (9_000, 9_001, 9_000));
        let chosen = choose(known(), "this", 7, 0);
        assert_eq!(chosen.time_at(7), 5_600, "a board without a battery starts in 1970");
    }

    #[test]
    fn a_record_of_any_numbers_stops_no_start() {
        let chosen = choose([anchor("this", u64::MAX, u64::MAX, 0)].into_iter(), "this", 7, 9_000);
        assert_eq!(chosen.time_at(u64::MAX), u64::MAX);
        assert_eq!(choose(std::iter::empty(), "this", 7, 9_000).time_at(8), 9_001);
    }
}
