//! Places in which initrds are made: each takes a processor and memory for a whole one, and who finds none waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Initrds that are looked for or packed at once.
const MOST: usize = 2;

/// Places.
#[derive(Default)]
pub struct Places {
    taken: Mutex<usize>,
    left: Condvar,
}

/// A place, until it is dropped.
pub struct Place<'p>(&'p Places);

impl Places {
    /// A place, as soon as there is one. Blocks.
    pub fn take(&self) -> Place<'_> {
        let taken = self.left.wait_while(self.taken(), |taken| *taken == MOST);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Place(self)
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.taken() -= 1;
        self.0.left.notify_one();
    }
}
