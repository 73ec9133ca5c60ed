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

/// Transactions that a slow watcher may be behind before it has to start over.
pub(crate) const WATCH_DEPTH: usize = 1024;

/// Keys with their values, and the number of the last change.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    pub(crate) keys: BTreeMap<String, Versioned<Arc<[u8]>>>,
    pub(crate) revision: u64,
}

impl Contents {
    pub(crate) fn apply(&mut self, change: &Change) {
        self.revision = self.revision.max(change.revision.0);
        match &change.value {
            Some(value) => {
                let at = Versioned { value: value.clone(), revision: change.revision };
                self.keys.insert(change.key.clone(), at);
            }
            None => drop(self.keys.remove(&change.key)),
        }
    }

    fn list(&self, prefix: &str) -> Listing {
        let from = self.keys.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        self.listing(from)
    }

    fn read(&self, keys: &[String]) -> Listing {
        let keys: BTreeSet<&String> = keys.iter().collect();
        self.listing(keys.into_iter().filter_map(|key| self.keys.get_key_value(key)))
    }

    fn listing<'c>(&self, records: impl Iterator<Item = (&'c String, &'c Versioned<Arc<[u8]>>)>) -> Listing {
        let records = records.map(|(key, at)| (key.clone(), at.clone())).collect();
        Listing { revision: Revision(self.revision), records }
    }
}

/// Transactions that go to the disk together, each decided with the earlier ones applied.
pub(crate) struct Batch<'c> {
    base: &'c Contents,
    /// Keys that the batch has written: their revision, or `None` where it removed them.
    written: HashMap<String, Option<Revision>>,
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
            let current = written.unwrap_or_else(|| self.base.keys.get(key).map(|at| at.revision));
            let holds = match expect {
                Expect::Absent => current.is_none(),
                Expect::At(revision) => current == Some(*revision),
                Expect::Any => true,
            };
            if !holds {
                return Err(Error::Conflict { key: key.clone(), current });
            }
        }
        Ok(())
    }
}

/// What one transaction has changed.
pub(crate) type Transaction = Arc<[Change]>;

struct Inner {
    contents: Contents,
    /// `None` once the backend is closed.
    changes: Option<broadcast::Sender<Transaction>>,
}

/// Contents that can be read and watched.
pub(crate) struct Mirror(Mutex<Inner>);

impl Mirror {
    pub(crate) fn new(contents: Contents) -> Arc<Self> {
        let changes = Some(broadcast::channel(WATCH_DEPTH).0);
        Arc::new(Self(Mutex::new(Inner { contents, changes })))
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
        self.with(|contents| contents.list(prefix))
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

    /// What is under `prefix`, and the changes that follow: under one lock, so that none falls between the two.
    pub(crate) fn subscribe(
        &self,
        prefix: &str,
    ) -> Result<(Listing, broadcast::Receiver<Transaction>), Error> {
        let inner = self.inner();
        let changes = inner.changes.as_ref().ok_or(Error::Closed)?.subscribe();
        Ok((inner.contents.list(prefix), changes))
    }

    /// Ends all watches, once they have told what is durable.
    pub(crate) fn close(&self) {
        self.inner().changes = None;
    }
}

impl Inner {
    fn publish(&mut self, changes: &[Change]) {
        // Each transaction by itself, so that no watcher is told of a part of one.
        for transaction in changes.chunk_by(|one, next| one.revision == next.revision) {
            transaction.iter().for_each(|change| self.contents.apply(change));
            if let Some(watchers) = &self.changes {
                // Nobody watching is no failure.
                let _ = watchers.send(Arc::from(transaction));
            }
        }
    }
}
