//! Work on as many threads as there are processors, while the caller's own looks how far it is; and two things at once.
//!
//! A thread that can't be had (`TasksMax`, a full process table) is no failure: the caller does its work.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::error::{Error, Result};

/// More threads than this gain nothing on one file system.
const MOST: usize = 8;
/// How often the caller looks.
const LOOKS: Duration = Duration::from_millis(100);

/// Runs `work` on several threads at once, at most `most`, and returns when all have ended. `look` is called on this
/// thread now and then meanwhile, and once more when they have ended. A thread that is told of each step would be woken
/// for each, which costs more than a small file.
pub(crate) fn at_work(most: usize, work: impl Fn() + Sync, mut look: impl FnMut()) {
    let threads = threads().min(most);
    let (left, over) = (Mutex::new(0), Condvar::new());
    let running = || left.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for number in 0..threads {
            *running() += 1;
            let started = Builder::new().spawn_scoped(scope, || {
                let _ended = Ended(&left, &over);
                work();
            });
            if started.is_err() {
                *running() -= 1;
                if number == 0 {
                    work();
                }
                break;
            }
        }
        let mut left = running();
        while *left > 0 {
            (left, _) = over.wait_timeout(left, LOOKS).unwrap_or_else(PoisonError::into_inner);
            look();
        }
    });
    look();
}

/// Does the same with each of many on several threads, a run of them at a time, each thread with something of its own that `begin` gives;
/// what has become of those, and the first failure, which ends it. `look` hears now and then how many are done.
pub(crate) fn each<T: Sync, R: Send>(
    all: &[T],
    run: usize,
    begin: impl Fn() -> Result<R> + Sync,
    work: impl Fn(&mut R, &T) -> Result<()> + Sync,
    mut look: impl FnMut(usize),
) -> (Vec<R>, Result<()>) {
    let (next, ended) = (AtomicUsize::new(0), Mutex::new((Vec::new(), Ok(()))));
    let ends = |own: Option<R>, done: Result<()>| {
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.0.extend(own);
        if done.is_err() {
            // Nobody needs the others any more.
            next.store(all.len(), Ordering::Relaxed);
            if ended.1.is_ok() {
                ended.1 = done;
            }
        }
    };
    let work = || {
        let mut own = match begin() {
            Ok(own) => own,
            Err(cause) => return ends(None, Err(cause)),
        };
        let mut done = Ok(());
        while let (Ok(()), Some(some)) = (&done, all.get(next.fetch_add(run, Ordering::Relaxed)..)) {
            if some.is_empty() {
                break;
            }
            done = some.iter().take(run).try_for_each(|one| work(&mut own, one));
        }
        ends(Some(own), done);
    };
    at_work(all.len().div_ceil(run), work, || look(next.load(Ordering::Relaxed).min(all.len())));
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that are worth having here.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// Runs `work` on several threads while `here` runs on this one, and returns when all have ended. `here` is told whether it is alone,
/// for no thread could be had.
pub(crate) fn beside<T>(work: impl Fn() + Sync, here: impl FnOnce(bool) -> T) -> T {
    std::thread::scope(|scope| {
        let started =
            (0..threads()).take_while(|_| Builder::new().spawn_scoped(scope, &work).is_ok()).count();
        here(started == 0)
    })
}

/// Runs one thing beside another; what both gave.
pub(crate) fn both<A: Send, B>(
    beside: impl FnOnce() -> Result<A> + Send,
    here: impl FnOnce() -> B,
) -> (Result<A>, B) {
    let beside = Mutex::new(Some(beside));
    let run = || {
        let beside = beside.lock().unwrap_or_else(PoisonError::into_inner).take();
        beside.map_or(Err(Error::Mistake("something was done twice")), |beside| beside())
    };
    std::thread::scope(|scope| {
        let started = Builder::new().spawn_scoped(scope, run);
        let here = here();
        let done = match started.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => run(),
        };
        (done, here)
    })
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
    use std::sync::atomic::AtomicU32;

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
