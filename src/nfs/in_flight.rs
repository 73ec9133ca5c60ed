//! What connections that wait may hold in memory, all together. A peer that does not take its replies must not make the
//! server grow, and must not make others wait either: when there is too much, the connection that has waited longest is
//! closed. Its client, if there is one, connects again and asks again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::accept::Slot;

/// Bytes at desks whose connections wait for their peer or for the disk. Six hundred desks that are as full as one gets,
/// or thousands as clients have them.
pub const IN_FLIGHT: usize = 256 * 1024 * 1024;

/// All connections that wait with something in their hands.
pub struct InFlight {
    most: usize,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    bytes: usize,
    /// Goes up with each wait, so that the first in `by_age` has waited longest.
    next: u64,
    by_age: BTreeMap<u64, (usize, Arc<Slot>)>,
}

impl All {
    fn take(&mut self, number: u64) -> Option<Arc<Slot>> {
        let (bytes, slot) = self.by_age.remove(&number)?;
        self.bytes -= bytes;
        Some(slot)
    }
}

impl InFlight {
    /// Lets `most` bytes wait.
    pub fn new(most: usize) -> Self {
        Self { most, all: Mutex::default() }
    }

    /// A connection begins to wait with so many bytes, until what this returns is dropped.
    pub fn hold(&self, slot: &Arc<Slot>, bytes: usize) -> Hold<'_> {
        let mut all = self.lock();
        let number = all.next;
        all.next += 1;
        all.bytes += bytes;
        all.by_age.insert(number, (bytes, slot.clone()));
        while all.bytes > self.most {
            let Some((&oldest, _)) = all.by_age.first_key_value() else { break };
            if let Some(slot) = all.take(oldest) {
                slot.close();
            }
        }
        Hold { waiting: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One wait.
pub struct Hold<'a> {
    waiting: &'a InFlight,
    number: u64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.waiting.lock().take(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn when_too_much_waits_the_one_that_has_waited_longest_goes() {
        let waiting = InFlight::new(100);
        let slot = |last| Arc::new(Slot::new(([10, 0, 0, last], 700).into(), clock::coarse_ms()));
        let (first, second, third) = (slot(1), slot(2), slot(3));
        let one = waiting.hold(&first, 60);
        let two = waiting.hold(&second, 40);
        assert!(!first.is_closed() && !second.is_closed(), "it fits");
        let three = waiting.hold(&third, 40);
        assert!(first.is_closed() && !second.is_closed() && !third.is_closed());
        assert_eq!(waiting.lock().bytes, 80);
        drop((one, two, three));
        let all = waiting.lock();
        assert_eq!((all.bytes, all.by_age.len()), (0, 0), "counted off once");
    }
}
