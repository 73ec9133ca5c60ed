//! How often one client may cost something that lasts: a write, a probe, an address that is held, a line in the
//! log. Answers from memory are not counted, so nobody can use up another's by speaking in its name.

use std::collections::{HashMap, VecDeque};

use oneroot_ids::Mac;

/// Times in [`WINDOW`] for one MAC. A whole boot needs about ten.
const MOST_FROM_ONE: u32 = 30;
/// Milliseconds.
const WINDOW: u64 = 5_000;
/// MACs whose rate is watched.
const MOST_WATCHED: usize = 8192;

/// How often each MAC did in its present window.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// When its window began, and how often it did.
    watched: HashMap<Mac, (u64, u32)>,
    /// Every MAC that is watched, by when its window began: those whose window is over are forgotten from the front, each once,
    /// and a flood is never looked through as a whole.
    order: VecDeque<(u64, Mac)>,
}

impl Rates {
    /// Whether no further MAC can be watched.
    pub(crate) fn is_full(&mut self, now: u64) -> bool {
        self.forget(now);
        self.watched.len() >= MOST_WATCHED
    }

    /// Forgets those whose window is over, or one flood would fill it for good.
    fn forget(&mut self, now: u64) {
        while let Some((since, mac)) = self.order.front().copied()
            && now.saturating_sub(since) >= WINDOW
        {
            self.order.pop_front();
            self.watched.remove(&mac);
        }
    }

    /// Whether the next one would be one too many. Counts nothing.
    pub(crate) fn is_used_up(&self, mac: Mac, now: u64) -> bool {
        let full =
            |(since, count): &(u64, u32)| now.saturating_sub(*since) < WINDOW && *count >= MOST_FROM_ONE;
        self.watched.get(&mac).is_some_and(full)
    }

    /// Counts one; true when it is one too many.
    pub(crate) fn too_many(&mut self, mac: Mac, now: u64) -> bool {
        self.forget(now);
        if !self.watched.contains_key(&mac) {
            // A flood of made-up MACs: each of them sends little, so none of them is worth watching.
            if self.watched.len() >= MOST_WATCHED {
                return false;
            }
            self.order.push_back((now, mac));
        }
        let (_, count) = self.watched.entry(mac).or_insert((now, 0));
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

    /// The same by looking through all of them, as it once was.
    #[derive(Default)]
    struct Scan(HashMap<Mac, (u64, u32)>);

    impl Scan {
        fn too_many(&mut self, mac: Mac, now: u64) -> bool {
            if !self.0.contains_key(&mac) && self.0.len() >= MOST_WATCHED {
                self.0.retain(|_, (since, _)| now - *since < WINDOW);
                if self.0.len() >= MOST_WATCHED {
                    return false;
                }
            }
            let (since, count) = self.0.entry(mac).or_insert((now, 0));
            if now - *since >= WINDOW {
                (*since, *count) = (now, 0);
            }
            *count += 1;
            *count > MOST_FROM_ONE
        }
    }

    #[test]
    fn what_is_forgotten_from_the_front_is_what_a_look_through_all_would_forget() {
        let (mut rates, mut scan, mut now, mut chance) = (Rates::default(), Scan::default(), 0, 7_u64);
        for _ in 0..200_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = u32::try_from(chance >> 33).unwrap();
            now += u64::from(draw % 3 == 0);
            // A few who ask on and on, among more than can be watched.
            let number = if draw % 5 == 0 { draw % 50 } else { draw % 12_000 };
            assert_eq!(
                rates.too_many(mac(number), now),
                scan.too_many(mac(number), now),
                "{number} at {now}"
            );
            assert!(rates.order.len() == rates.watched.len() && rates.watched.len() <= MOST_WATCHED);
        }
    }
}
