//! Work on as many threads as there are processors, while the caller's own looks how far it is.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// More threads than this gain nothing on one file system.
const MOST: usize = 8;
/// How often the caller looks.
const LOOKS: Duration = Duration::from_millis(100);

/// Runs `work` on several threads at once, at most `most`, and returns when all have ended. `look` is called on this
/// thread now and then meanwhile, and once more when they have ended. A thread that is told of each step would be woken for each, which costs more than a
/// small file.
pub(super) fn at_work(most: usize, work: impl Fn() + Sync, mut look: impl FnMut()) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST).min(most);
    let (left, over) = (Mutex::new(threads), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _ended = Ended(&left, &over);
                work();
            });
        }
        let mut running = left.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            (running, _) = over.wait_timeout(running, LOOKS).unwrap_or_else(PoisonError::into_inner);
            look();
        }
    });
    look();
}

/// Says that a thread has ended, in whatever way.
struct Ended<'e>(&'e Mutex<usize>, &'e Condvar);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_was_done_has_been_seen_when_it_is_over_however_quick_it_was() {
        for _ in 0..1000 {
            let (done, mut seen) = (AtomicU32::new(0), 0);
            at_work(2, || _ = done.fetch_add(1, Ordering::Relaxed), || seen = done.load(Ordering::Relaxed));
            assert_eq!(seen, done.into_inner());
        }
    }
}
