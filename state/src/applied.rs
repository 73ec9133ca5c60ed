//! What a reader of the state has taken in, by revision, so that nothing old replaces anything newer.
//!
//! A change reaches a reader on up to three ways: by its own commit, at once; by the watch, in order but later; and by a
//! reading after a conflict. Whichever is first counts, and the others are no news. A removal leaves nothing to compare a
//! late change with, so its revision is kept until the watch has passed it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kv::{Change, Listing};
use crate::revision::Revision;
use crate::watch::Event;

/// Which changes of some tables a reader has taken in.
#[derive(Debug)]
pub struct Applied {
    prefixes: Vec<String>,
    /// Up to here the watch, or a reading of everything, has told all changes.
    passed: Revision,
    /// The keys that are there, by their last change.
    keys: HashMap<Arc<str>, Revision>,
    /// Keys that were removed by changes which the watch has still to tell.
    removed: HashMap<Arc<str>, Revision>,
}

impl Applied {
    /// Nothing yet. Keys under other prefixes than these are never news.
    pub fn new(prefixes: impl IntoIterator<Item = String>) -> Self {
        Self {
            prefixes: prefixes.into_iter().collect(),
            passed: Revision(0),
            keys: HashMap::new(),
            removed: HashMap::new(),
        }
    }

    /// What a watch has to be of.
    #[must_use]
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// The last change of a key that is there.
    #[must_use]
    pub fn revision(&self, key: &str) -> Option<Revision> {
        self.keys.get(key).copied()
    }

    /// What is news in a transaction of one's own, once it is committed.
    pub fn committed(&mut self, changes: Vec<Change>) -> Vec<Change> {
        changes.into_iter().filter(|change| self.is_news(change)).collect()
    }

    /// What is news in what a watch tells. It has to be a watch of all the prefixes.
    pub fn told(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::Changed(changes) => {
                let last = changes.iter().map(|change| change.revision).max();
                let news = self.committed(changes);
                last.into_iter().for_each(|last| self.pass(last));
                news
            }
            Event::Snapshot(listing) => self.listed(listing),
        }
    }

    /// What is news in a listing of all the prefixes: what is not in it is gone.
    pub fn listed(&mut self, listing: Listing) -> Vec<Change> {
        let revision = listing.revision;
        let there: HashMap<&str, ()> = listing.records.iter().map(|(key, _)| (key.as_str(), ())).collect();
        let is_gone = |key: &&Arc<str>| !there.contains_key(&***key);
        let gone: Vec<String> = self.keys.keys().filter(is_gone).map(|key| String::from(&**key)).collect();
        drop(there);
        let mut news = self.read(&gone, Listing { revision, records: Vec::new() });
        news.extend(self.read(&[], listing));
        // As a watch would have told it: what was written earlier comes earlier.
        news.sort_by_key(|change| change.revision);
        self.pass(revision);
        news
    }

    /// What is news in a reading of these keys: of them, those that it does not have are gone.
    pub fn read(&mut self, keys: &[String], listing: Listing) -> Vec<Change> {
        let revision = listing.revision;
        let is_there = |key: &String| listing.records.iter().any(|(found, _)| found == key);
        let gone = keys.iter().filter(|key| !is_there(key));
        let mut changes: Vec<Change> =
            gone.map(|key| Change { key: key.as_str().into(), value: None, revision }).collect();
        let there = listing.records.into_iter();
        changes.extend(there.map(|(key, at)| Change {
            key: key.into(),
            value: Some(at.value),
            revision: at.revision,
        }));
        self.committed(changes)
    }

    fn is_news(&mut self, change: &Change) -> bool {
        let Change { key, value, revision } = change;
        if *revision <= self.passed || !self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            return false;
        }
        let there = self.keys.get_mut(key);
        // Most of the time nothing is removed.
        let removed = if self.removed.is_empty() { None } else { self.removed.get(key) };
        let last = there.as_deref().or(removed).copied().unwrap_or_default();
        if *revision <= last {
            return false;
        }
        if value.is_some() {
            if removed.is_some() {
                self.removed.remove(key);
            }
            match there {
                Some(there) => *there = *revision,
                None => drop(self.keys.insert(key.clone(), *revision)),
            }
            return true;
        }
        let was_there = self.keys.remove(key).is_some();
        // Remembered though it may not have been there: a write before it that is told later must not bring the key back.
        self.removed.insert(key.clone(), *revision);
        was_there
    }

    fn pass(&mut self, revision: Revision) {
        self.passed = self.passed.max(revision);
        let passed = self.passed;
        self.removed.retain(|_, removed| *removed > passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Versioned;
    use std::collections::BTreeMap;

    fn applied() -> Applied {
        Applied::new(["a/".to_owned()])
    }

    fn put(key: &str, revision: u64) -> Change {
        Change {
            key: key.into(),
            value: Some(Arc::from(revision.to_be_bytes())),
            revision: Revision(revision),
        }
    }

    fn gone(key: &str, revision: u64) -> Change {
        Change { value: None, ..put(key, revision) }
    }

    fn listing(revision: u64, records: &[(&str, u64)]) -> Listing {
        let record = |(key, revision): &(&str, u64)| {
            let at = Versioned { value: Arc::from(revision.to_be_bytes()), revision: Revision(*revision) };
            ((*key).to_owned(), at)
        };
        Listing { revision: Revision(revision), records: records.iter().map(record).collect() }
    }

    #[test]
    fn ones_own_removal_is_not_undone_by_the_watch_that_is_still_behind_it() {
        let mut applied = applied();
        assert_eq!(applied.committed(vec![put("a/1", 5)]).len(), 1);
        assert_eq!(applied.committed(vec![gone("a/1", 6)]).len(), 1);
        assert!(applied.told(Event::Changed(vec![put("a/1", 5)])).is_empty());
        assert!(applied.told(Event::Changed(vec![gone("a/1", 6)])).is_empty());
        assert!(applied.removed.is_empty(), "nothing is kept of what the watch has told");
        assert_eq!(applied.told(Event::Changed(vec![put("a/1", 7)])).len(), 1);
    }

    #[test]
    fn an_answer_that_comes_after_the_watch_is_no_news_though_another_has_removed_the_key_since() {
        let mut applied = applied();
        applied.told(Event::Changed(vec![put("a/1", 5)]));
        applied.told(Event::Changed(vec![gone("a/1", 6)]));
        assert!(applied.committed(vec![put("a/1", 5)]).is_empty());
        assert!(applied.read(&["a/1".to_owned()], listing(5, &[("a/1", 5)])).is_empty());
    }

    #[test]
    fn a_snapshot_tells_what_is_gone_and_keeps_what_was_written_after_it() {
        let mut applied = applied();
        applied.told(Event::Snapshot(listing(3, &[("a/1", 1), ("a/2", 2), ("b/1", 3)])));
        assert_eq!(applied.revision("b/1"), None, "of a table that is another's affair");
        applied.committed(vec![put("a/3", 9)]);
        let news = applied.told(Event::Snapshot(listing(8, &[("a/2", 7), ("a/4", 6)])));
        assert_eq!(news, [put("a/4", 6), put("a/2", 7), gone("a/1", 8)]);
        assert_eq!(applied.revision("a/3"), Some(Revision(9)));
    }

    /// The oracle has each change once and in order. Whatever the reader is told besides, in whatever order, it never goes
    /// back, and has the same in the end.
    #[test]
    fn in_whatever_order_commits_readings_and_the_watch_come_a_key_never_goes_back() {
        for seed in 0..2000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut chance = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut applied = applied();
            let mut history: Vec<Change> = Vec::new();
            let mut shown: BTreeMap<Arc<str>, Revision> = BTreeMap::new();
            let mut watched = 0;
            for _ in 0..60 {
                let at = history.len() as u64;
                let contents = |upto: usize, history: &[Change]| {
                    let mut rows = BTreeMap::new();
                    for change in history.iter().take(upto) {
                        match change.value {
                            Some(_) => drop(rows.insert(change.key.clone(), change.revision.0)),
                            None => drop(rows.remove(&change.key)),
                        }
                    }
                    rows
                };
                let news = match chance(5) {
                    0 | 1 => {
                        let key = format!("a/{}", chance(3));
                        let change = if chance(3) == 0 { gone(&key, at + 1) } else { put(&key, at + 1) };
                        history.push(change.clone());
                        // Half of them are another server's.
                        if chance(2) == 0 { applied.committed(vec![change]) } else { Vec::new() }
                    }
                    2 if watched < history.len() => {
                        watched += 1;
                        applied.told(Event::Changed(vec![history[watched - 1].clone()]))
                    }
                    3 => {
                        let upto = usize::try_from(chance(at + 1)).unwrap();
                        let rows = contents(upto, &history);
                        let key = format!("a/{}", chance(3));
                        let found: Vec<_> =
                            rows.get(key.as_str()).map(|at| (key.as_str(), *at)).into_iter().collect();
                        applied.read(std::slice::from_ref(&key), listing(upto as u64, &found))
                    }
                    _ => {
                        watched = watched.max(usize::try_from(chance(at + 1)).unwrap());
                        let rows = contents(watched, &history);
                        let rows: Vec<_> = rows.iter().map(|(key, at)| (&**key, *at)).collect();
                        applied.told(Event::Snapshot(listing(watched as u64, &rows)))
                    }
                };
                for change in news {
                    let before = shown.insert(change.key.clone(), change.revision);
                    assert!(before.is_none_or(|before| before < change.revision), "seed {seed}: {change:?}");
                }
            }
            for change in history.split_off(watched) {
                applied.told(Event::Changed(vec![change.clone()]));
                history.push(change);
            }
            let mut rows = BTreeMap::new();
            for change in &history {
                match change.value {
                    Some(_) => drop(rows.insert(change.key.clone(), change.revision)),
                    None => drop(rows.remove(&change.key)),
                }
            }
            assert_eq!(applied.keys.into_iter().collect::<BTreeMap<_, _>>(), rows, "seed {seed}");
            assert!(applied.removed.is_empty(), "seed {seed}");
        }
    }
}
