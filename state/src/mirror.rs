//! The contents as of the last durable change, held in memory, and those who watch it.
//!
//! Reads never touch the disk. Only the one writer changes a mirror, and only by what is durable already, so a reader
//! can't act on a lease that a power cut would take back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::error::Error;
use crate::kv::{Change, Expect, Listing, Txn, Versioned};
use crate::revision::Revision;

/// Pieces of what was published that a slow watcher may be behind before it has to start over.
pub(crate) const WATCH_DEPTH: usize = 512;
/// Transactions in one of them at most. A watcher is woken for each piece, and not for each transaction; nor for what it does
/// not watch.
pub(crate) const PIECE: usize = 16;

/// What a key has.
pub(crate) type Row = Versioned<Arc<[u8]>>;

/// Keys with their values, and the number of the last change.
///
/// A key is looked up some four times for each lease, and listed when a server starts: so it is found by a hash, and put in
/// order by whoever lists. In an ordered tree each look-up compares some thirty keys, each in memory of its own.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// By the part of the key up to its first `/`, and that included: the table.
    tables: BTreeMap<Box<str>, HashMap<Arc<str>, Row>>,
    pub(crate) revision: u64,
}

/// The table that a key is in.
fn table_of(key: &str) -> &str {
    key.split_inclusive('/').next().filter(|table| table.ends_with('/')).unwrap_or_default()
}

impl Contents {
    pub(crate) fn apply(&mut self, change: &Change) {
        self.revision = self.revision.max(change.revision.0);
        match &change.value {
            Some(value) => {
                let at = Versioned { value: value.clone(), revision: change.revision };
                self.insert(change.key.clone(), at);
            }
            None => {
                if let Some(table) = self.tables.get_mut(table_of(&change.key)) {
                    table.remove(&change.key);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: Arc<str>, at: Row) {
        match self.tables.get_mut(table_of(&key)) {
            Some(table) => drop(table.insert(key, at)),
            None => drop(self.tables.insert(table_of(&key).into(), HashMap::from([(key, at)]))),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Row> {
        self.tables.get(table_of(key))?.get(key)
    }

    /// All of them, in order.
    pub(crate) fn sorted(&self) -> Vec<(&Arc<str>, &Row)> {
        let mut all: Vec<_> = self.tables.values().flatten().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Not in order yet.
    fn list(&self, prefixes: &[String]) -> Listing {
        let may_have = |table: &str| {
            prefixes.iter().any(|prefix| prefix.starts_with(table) || table.starts_with(prefix.as_str()))
        };
        let tables = self.tables.iter().filter(|(table, _)| may_have(table));
        self.listing(tables.flat_map(|(_, table)| table).filter(|(key, _)| is_under(prefixes, key)))
    }

    fn read(&self, keys: &[String]) -> Listing {
        let keys: BTreeSet<&String> = keys.iter().collect();
        let found =
            keys.into_iter().filter_map(|key| self.tables.get(table_of(key))?.get_key_value(key.as_str()));
        self.listing(found)
    }

    fn listing<'c>(&self, records: impl Iterator<Item = (&'c Arc<str>, &'c Row)>) -> Listing {
        let records = records.map(|(key, at)| (String::from(&**key), at.clone())).collect();
        Listing { revision: Revision(self.revision), records }
    }
}

fn is_under(prefixes: &[String], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// In order of the keys: for whoever holds no lock.
fn sorted(mut listing: Listing) -> Listing {
    listing.records.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    listing
}

/// Transactions that go to the disk together, each decided with the earlier ones applied.
pub(crate) struct Batch<'c> {
    base: &'c Contents,
    /// Keys that the batch has written: their revision, or `None` where it removed them.
    written: HashMap<Arc<str>, Option<Revision>>,
    pub(crate) revision: u64,
    pub(crate) changes: Vec<Change>,
}

impl<'c> Batch<'c> {
    pub(crate) fn new(base: &'c Contents) -> Self {
        Self { base, written: HashMap::new(), revision: base.revision, changes: Vec::new() }
    }

    /// Decides one transaction, and takes its writes in when its expectations hold.
    pub(crate) fn take(&mut self, txn: &Txn) -> Result<Revision, Error> {
        self.check(txn)?;
        if txn.writes.is_empty() {
            return Ok(Revision(self.revision));
        }
        self.revision += 1;
        let revision = Revision(self.revision);
        for (key, value) in &txn.writes {
            self.written.insert(key.clone(), value.is_some().then_some(revision));
            self.changes.push(Change { key: key.clone(), value: value.clone(), revision });
        }
        Ok(revision)
    }

    fn check(&self, txn: &Txn) -> Result<(), Error> {
        txn.check_size()?;
        for (key, expect) in &txn.expects {
            let written = self.written.get(key).copied();
            let current = written.unwrap_or_else(|| self.base.get(key).map(|at| at.revision));
            let holds = match expect {
                Expect::Absent => current.is_none(),
                Expect::At(revision) => current == Some(*revision),
                Expect::Any => true,
            };
            if !holds {
                return Err(Error::Conflict { key: String::from(&**key), current });
            }
        }
        Ok(())
    }
}

/// What some transactions have changed, one behind the other.
pub(crate) type Piece = Arc<[Change]>;

struct Inner {
    contents: Contents,
    /// `None` once the backend is closed.
    watched: Option<Vec<Watched>>,
}

/// Those who watch the same.
struct Watched {
    prefixes: Vec<String>,
    changes: broadcast::Sender<Piece>,
}

/// Contents that can be read and watched.
pub(crate) struct Mirror(Mutex<Inner>);

impl Mirror {
    pub(crate) fn new(contents: Contents) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { contents, watched: Some(Vec::new()) })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the contents. Readers wait meanwhile: nothing slow may happen in `look`.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Contents) -> R) -> R {
        look(&self.inner().contents)
    }

    pub(crate) fn read(&self, keys: &[String]) -> Listing {
        self.with(|contents| contents.read(keys))
    }

    pub(crate) fn list(&self, prefix: &str) -> Listing {
        sorted(self.with(|contents| contents.list(&[prefix.to_owned()])))
    }

    /// Makes changes visible, all at once; they are durable already.
    pub(crate) fn publish(&self, changes: &[Change]) {
        self.inner().publish(changes);
    }

    /// Decides one transaction and makes it visible at once; for a backend that has no disk.
    pub(crate) fn commit(&self, txn: &Txn) -> Result<Revision, Error> {
        let mut inner = self.inner();
        let mut batch = Batch::new(&inner.contents);
        let revision = batch.take(txn)?;
        let changes = batch.changes;
        inner.publish(&changes);
        Ok(revision)
    }

    /// What is under these prefixes, and the changes that follow: under one lock, so that none falls between the two.
    pub(crate) fn subscribe(
        &self,
        prefixes: &[String],
    ) -> Result<(Listing, broadcast::Receiver<Piece>), Error> {
        let mut inner = self.inner();
        let watched = inner.watched.as_mut().ok_or(Error::Closed)?;
        watched.retain(|watched| watched.changes.receiver_count() > 0);
        let changes = match watched.iter().find(|watched| watched.prefixes == prefixes) {
            Some(watched) => watched.changes.subscribe(),
            None => {
                let (changes, receiver) = broadcast::channel(WATCH_DEPTH);
                watched.push(Watched { prefixes: prefixes.to_vec(), changes });
                receiver
            }
        };
        let listing = inner.contents.list(prefixes);
        drop(inner);
        Ok((sorted(listing), changes))
    }

    /// Ends all watches, once they have told what is durable.
    pub(crate) fn close(&self) {
        self.inner().watched = None;
    }
}

impl Inner {
    fn publish(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.contents.apply(change));
        for watched in self.watched.iter().flatten() {
            let is_watched = |change: &&Change| is_under(&watched.prefixes, &change.key);
            let news: Vec<Change> = changes.iter().filter(is_watched).cloned().collect();
            let mut rest = news.as_slice();
            while !rest.is_empty() {
                // Whole transactions, so that no watcher is told of a part of one.
                let transactions = rest.chunk_by(|one, next| one.revision == next.revision);
                let length = transactions.take(PIECE).map(<[Change]>::len).sum();
                let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                rest = behind;
                // Nobody watching is no failure.
                let _ = watched.changes.send(Arc::from(piece));
            }
        }
    }
}
