//! A set of addresses as ranges: a pool of a million that nobody has asked yet is one entry.

use std::collections::BTreeMap;

/// Addresses as numbers; every operation takes a number of steps that grows with the logarithm of the ranges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ranges {
    /// Last by first; no two touch each other.
    last_of: BTreeMap<u32, u32>,
    count: u64,
}

impl Ranges {
    /// How many addresses are in it.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn contains(&self, address: u32) -> bool {
        self.around(address).is_some()
    }

    /// The first of them from `address` on; from the lowest on, where there is none.
    pub(crate) fn from(&self, address: u32) -> Option<u32> {
        if self.contains(address) {
            return Some(address);
        }
        let (first, _) = self.last_of.range(address..).next().or_else(|| self.last_of.iter().next())?;
        Some(*first)
    }

    /// Puts in all from `first` to `last`, of which none may be there yet.
    pub(crate) fn put(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        self.count += u64::from(last - first) + 1;
        let before = first.checked_sub(1).and_then(|before| self.around(before));
        let after = last.checked_add(1).and_then(|after| self.last_of.remove(&after));
        let begin = before.map_or(first, |(begin, _)| begin);
        self.last_of.insert(begin, after.unwrap_or(last));
    }

    /// Takes one out; false when it was not there.
    pub(crate) fn take(&mut self, address: u32) -> bool {
        let before = self.count;
        self.cut(address, address);
        self.count < before
    }

    /// Takes out all from `first` to `last` that are there.
    pub(crate) fn cut(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        // From the last range down. What is put back lies outside of what is cut, so it is not taken out again.
        while let Some((begin, end)) = self.last_of.range(..=last).next_back().map(|(a, b)| (*a, *b)) {
            if end < first {
                break;
            }
            self.last_of.remove(&begin);
            self.count -= u64::from(end - begin) + 1;
            let after = last.checked_add(1).filter(|after| *after <= end);
            let before = first.checked_sub(1).filter(|before| *before >= begin);
            for (from, to) in after.map(|after| (after, end)).into_iter().chain(before.map(|to| (begin, to)))
            {
                self.last_of.insert(from, to);
                self.count += u64::from(to - from) + 1;
            }
        }
    }

    /// The range that an address is in.
    fn around(&self, address: u32) -> Option<(u32, u32)> {
        let (first, last) = self.last_of.range(..=address).next_back()?;
        (*last >= address).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_a_set(
            steps in prop::collection::vec((0u32..40, any::<bool>()), 0..200), context in 0u32..45,
            cut in (0u32..40, 0u32..40),
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (address, there) in steps {
                if there && set.insert(address) {
                    ranges.put(address, address);
                } else if !there {
                    prop_assert_eq!(ranges.take(address), set.remove(&address));
                }
                prop_assert_eq!(ranges.len(), set.len() as u64);
                let touching = ranges.last_of.iter().zip(ranges.last_of.iter().skip(1));
                let apart = { touching }.all(|((_, last), (first, _))| last + 1 < *first);
                prop_assert!(apart);
            }
            ranges.cut(cut.0, cut.1);
            set.retain(|address| !(cut.0..=cut.1).contains(address));
            prop_assert_eq!(ranges.len(), set.len() as u64);
            let next = set.range(context..).next().or_else(|| set.iter().next()).copied();
            prop_assert_eq!(ranges.from(context), next);
            prop_assert_eq!(ranges.contains(context), set.contains(&context));
        }
    }

    #[test]
    fn the_ends_of_all_addresses_are_addresses_too() {
        let mut ranges = Ranges::default();
        ranges.put(0, u32::MAX);
        assert!(ranges.take(0) && ranges.take(u32::MAX) && !ranges.take(0));
        assert_eq!((ranges.len(), ranges.from(u32::MAX)), ((1 << 32) - 2, Some(1)));
    }
}
