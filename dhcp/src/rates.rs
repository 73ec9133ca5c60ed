//! How often one client may cost something that lasts: a write, a probe, an address that is held, a line in the
//! log. Answers from memory are not counted, so nobody can use up another's by speaking in its name.

use std::collections::HashMap;

use oneroot_ids::Mac;

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
    /// Whether no further MAC can be watched. Those whose window is over are forgotten first, or one flood would fill it
    /// for good.
    pub(crate) fn is_full(&mut self, now: u64) -> bool {
        if self.0.len() >= MOST_WATCHED {
            self.0.retain(|_, (since, _)| now.saturating_sub(*since) < WINDOW);
        }
        self.0.len() >= MOST_WATCHED
    }

    /// Whether the next one would be one too many. Counts nothing.
    pub(crate) fn is_used_up(&self, mac: Mac, now: u64) -> bool {
        let full =
            |(since, count): &(u64, u32)| now.saturating_sub(*since) < WINDOW && *count >= MOST_FROM_ONE;
        self.0.get(&mac).is_some_and(full)
    }

    /// Counts one; true when it is one too many.
    pub(crate) fn too_many(&mut self, mac: Mac, now: u64) -> bool {
        // A flood of made-up MACs: each of them sends little, so none of them is worth watching.
        if !self.0.contains_key(&mac) && self.is_full(now) {
            return false;
        }
        let (since, count) = self.0.entry(mac).or_insert((now, 0));
        if now.saturating_sub(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > MOST_FROM_ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac::new([2, 0, a, b, c, d]).unwrap()
    }

    #[test]
    fn a_flood_that_is_over_leaves_room_to_watch_others() {
        let mut rates = Rates::default();
        assert!((0..10_000).all(|number| !rates.too_many(mac(number), 0)));
        assert!(rates.is_full(WINDOW - 1));
        assert!(!rates.is_full(WINDOW), "nobody has to be counted first");
    }

    #[test]
    fn what_is_only_asked_for_is_not_counted() {
        let mut rates = Rates::default();
        for _ in 0..MOST_FROM_ONE {
            assert!(!rates.is_used_up(mac(1), 0) && !rates.is_used_up(mac(1), 0));
            assert!(!rates.too_many(mac(1), 0));
        }
        assert!(rates.is_used_up(mac(1), WINDOW - 1) && !rates.is_used_up(mac(1), WINDOW));
        assert!(rates.too_many(mac(1), 0));
    }
}
