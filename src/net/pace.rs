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

/// A peer's pace. Times are those of `clock::coarse_ms`.
#[derive(Default)]
pub struct Pace {
    /// Bytes given to the socket.
    sent: AtomicU64,
    /// Of these, bytes that the peer had not acknowledged when that was last looked at.
    queued: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    least: Option<Least>,
    /// When it began, and what had been taken by then.
    begun: u64,
    taken: u64,
    waited: Duration,
}

impl Pace {
    /// From here on so much is asked of the peer.
    pub fn ask(&self, least: Least, now: u64) {
        let taken = self.taken();
        *self.window() = Window { least: Some(least), begun: now, taken, waited: Duration::ZERO };
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
        *window = Window { least: Some(least), begun: now, taken, waited: Duration::ZERO };
        is_slow
    }

    /// Bytes a second that it has taken of late.
    pub fn rate(&self, now: u64) -> u64 {
        let taken = self.taken();
        let window = self.window();
        taken.saturating_sub(window.taken).saturating_mul(1000) / now.saturating_sub(window.begun).max(1)
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
            let pace = Pace::default();
            pace.sent(100_000);
            pace.ask(LEAST, 0);
            // What was in the socket before is not yet taken.
            assert!(!pace.is_too_slow(100_000, Duration::ZERO, 0));
            pace.ask(LEAST, 0);
            let slow = (1..=24).any(|look| pace.is_too_slow(100_000 - look * each, LOOK, look * 5000));
            assert_eq!(slow, is_slow, "{each}");
        }
    }

    #[test]
    fn time_in_which_nobody_waited_for_the_peer_does_not_count() {
        let pace = Pace::default();
        pace.ask(LEAST, 0);
        pace.sent(100);
        assert!(!pace.is_too_slow(50, LOOK, 3_600_000));
        assert_eq!(pace.rate(100), 500, "of what it has acknowledged");
    }
}
