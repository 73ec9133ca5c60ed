//! How often one client is answered (hostile-inputs D13): a broken one costs itself, and nobody else.

use std::collections::HashMap;

use crate::mac::Mac;

/// Messages of one MAC in [`WINDOW`] that are answered. A whole boot sends about ten.
const MOST_FROM_ONE: u32 = 30;
/// Milliseconds.
const WINDOW: u64 = 5_000;
/// MACs whose rate is watched.
const MOST_WATCHED: usize = 8192;

/// Messages of each MAC in its present window, and when that began.
#[derive(Debug, Default)]
pub(crate) struct Rates(HashMap<Mac, (u64, u32)>);

impl Rates {
    /// Counts a message; true when it is one too many.
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
