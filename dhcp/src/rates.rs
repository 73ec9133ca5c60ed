//! How often one client may cost something that lasts: a write, a probe, an address that is held, a line in the
//! log. Answers from memory are not counted, so nobody can use up another's by speaking in its name.

use std::collections::HashMap;

use crate::mac::Mac;

/// Times in [`WINDOW`] for one MAC. A whole boot needs about ten.
const MOST_FROM_ONE: u32 = 30;
/// Milliseconds.
const WINDOW: u64 = 5_000;
/// MACs whose rate is watched.
const MOST_WATCHED: usize = 8192;

/// How often each MAC did in its present window, and when that began.
#[derive(Debug, Default)]
pub(crate) struct Rates(HashMap<Mac, (u64, u32)>);

impl Rates {
    /// Whether no further MAC can be watched.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MOST_WATCHED
    }

    /// Counts one; true when it is one too many.
    pub(crate) fn too_many(&mut self, mac: Mac, now: u64) -> bool {
        if self.0.len() >= MOST_WATCHED && !self.0.contains_key(&mac) {
            self.0.retain(|_, (since, _)| now.saturating_sub(*since) < WINDOW);
            // A flood of made-up MACs: each of them sends little, so none of them is worth watching.
            if self.0.len() >= MOST_WATCHED {
                return false;
            }
        }
        let (since, count) = self.0.entry(mac).or_insert((now, 0));
        if now.saturating_sub(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > MOST_FROM_ONE
    }
}
