//! How fast a peer takes what it is sent: so that whoever takes a byte now and then holds nothing for ever.
//!
//! What counts is what the peer has acknowledged, and the time in which it was waited for: a disk that is slow here is no fault of
//! the peer's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// Bytes that it takes,
    pub bytes: u64,
    /// In so much time that it is waited for.
    pub within: Duration,
}

/// Time after which a peer has shown how fast it is, in milliseconds.
pub const SETTLED: u64 = 10_000;
/// Time that it has to be waited for before that says anything, in milliseconds.
const SURE: u64 = 1000;

/// Bytes a second that a peer takes. The slower of two is the one that takes less of the time in which it was waited for, and then
/// of all time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Of the time that it was waited for: no bound for one that hardly was, for then it is us who are slow.
    pub waited: u64,
    /// Of all time.
    all: u64,
}

impl Rate {
    /// Of whom nothing is known yet.
    const UNKNOWN: Self = Self { waited: u64::MAX, all: u64::MAX };
}

/// What a peer has taken, and how long it was waited for. Times are those of `clock::coarse_ms`.
#[derive(Default)]
pub struct Throughput {
    /// Bytes given to the socket.
    sent: AtomicU64,
    /// Of these, bytes that the peer had not acknowledged when that was last looked at.
    queued: AtomicU64,
    /// Milliseconds of the waits for it that have ended.
    waited: AtomicU64,
    /// Since when it is waited for now; 0 when it is not.
    waits_since: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    least: Option<Least>,
    /// When it began, and what had been taken by then.
    begun: u64,
    taken: u64,
    /// Milliseconds that it had been waited for by then.
    waited_before: u64,
    waited: Duration,
    /// What the one before it has shown.
    last: Option<Rate>,
}

impl Throughput {
    /// From here on so much is asked of the peer.
    pub fn ask(&self, least: Least, now: u64) {
        *self.window() = self.begin(least, now, None);
    }

    fn begin(&self, least: Least, now: u64, last: Option<Rate>) -> Window {
        let (taken, waited_before) = (self.taken(), self.waited_for(now));
        Window { least: Some(least), begun: now, taken, waited_before, waited: Duration::ZERO, last }
    }

    /// From here on the peer is waited for.
    pub fn waits(&self, now: u64) {
        self.waits_since.store(now.max(1), Ordering::Relaxed);
    }

    /// And up to here.
    pub fn has_waited(&self, now: u64) {
        let since = self.waits_since.swap(0, Ordering::Relaxed);
        if since > 0 {
            self.waited.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
        }
    }

    /// So many bytes more were given to the socket.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The peer was waited for so long, and has not acknowledged so many bytes; whether that is too slow.
    pub fn is_too_slow(&self, queued: u64, waited: Duration, now: u64) -> bool {
        self.queued.store(queued, Ordering::Relaxed);
        let taken = self.taken();
        let mut window = self.window();
        let Some(least) = window.least else { return false };
        window.waited += waited;
        if window.waited < least.within {
            return false;
        }
        let is_slow = taken.saturating_sub(window.taken) < least.bytes;
        let last = self.rate_in(&window, now);
        *window = self.begin(least, now, Some(last));
        is_slow
    }

    /// What it takes of late: as long as a window is too young to tell, what it took in the one before.
    pub fn rate(&self, now: u64) -> Rate {
        let window = self.window();
        if window.least.is_none() || now.saturating_sub(window.begun) < SETTLED {
            return window.last.unwrap_or(Rate::UNKNOWN);
        }
        self.rate_in(&window, now)
    }

    fn rate_in(&self, window: &Window, now: u64) -> Rate {
        let taken = self.taken().saturating_sub(window.taken).saturating_mul(1000);
        let waited = self.waited_for(now).saturating_sub(window.waited_before);
        let all = taken / now.saturating_sub(window.begun).max(1);
        Rate { waited: if waited < SURE { u64::MAX } else { taken / waited }, all }
    }

    /// Milliseconds that it was waited for.
    fn waited_for(&self, now: u64) -> u64 {
        let since = self.waits_since.load(Ordering::Relaxed);
        let this_time = if since > 0 { now.saturating_sub(since) } else { 0 };
        self.waited.load(Ordering::Relaxed).saturating_add(this_time)
    }

    fn taken(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.queued.load(Ordering::Relaxed))
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(5);
    const LEAST: Least = Least { bytes: 1000, within: Duration::from_secs(60) };

    #[test]
    fn who_takes_a_byte_now_and_then_is_too_slow_and_who_takes_enough_never_is() {
        for (each, is_slow) in [(1, true), (80, true), (90, false)] {
            let peer = Throughput::default();
            peer.sent(100_000);
            peer.ask(LEAST, 0);
            // What was in the socket before is not yet taken.
            assert!(!peer.is_too_slow(100_000, Duration::ZERO, 0));
            peer.ask(LEAST, 0);
            let slow = (1..=24).any(|look| peer.is_too_slow(100_000 - look * each, LOOK, look * 5000));
            assert_eq!(slow, is_slow, "{each}");
        }
    }

    #[test]
    fn time_in_which_nobody_waited_for_the_peer_does_not_count() {
        let peer = Throughput::default();
        peer.ask(LEAST, 0);
        peer.sent(100);
        assert!(!peer.is_too_slow(50, LOOK, 3_600_000));
        peer.waits(1000);
        peer.has_waited(3000);
        assert_eq!(peer.rate(10_000).waited, 25, "of what it has acknowledged");
        peer.waits(10_000);
        assert_eq!(peer.rate(13_000).waited, 10, "a wait that goes on counts");
    }

    #[test]
    fn our_own_slow_disk_makes_nobody_slow() {
        let peer = Throughput::default();
        assert_eq!(peer.rate(1), Rate::UNKNOWN, "its list has not come");
        peer.ask(LEAST, 1000);
        peer.sent(1000);
        assert_eq!(peer.rate(50_000).waited, u64::MAX);
        let slow = Throughput::default();
        slow.ask(LEAST, 1000);
        slow.sent(1000);
        slow.waits(1000);
        assert!(slow.rate(50_000) < peer.rate(50_000));
    }

    #[test]
    fn a_window_that_has_just_begun_says_nothing_and_the_last_one_does() {
        let peer = Throughput::default();
        peer.ask(LEAST, 1000);
        peer.waits(1000);
        peer.sent(6_000_000);
        assert!(!peer.is_too_slow(0, LEAST.within, 61_000));
        assert_eq!(peer.rate(61_001).waited, 100_000);
        assert_eq!(peer.rate(61_000 + SETTLED).waited, 0, "it has to go on");
    }
}
