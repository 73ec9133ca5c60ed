//! Keys, revisions, transactions and watches: the calls that every backend answers alike.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::Error;

/// Number of the change that a key was last written by. One counter for all keys; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A value and the revision it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was last written.
    pub revision: Revision,
}

/// Keys with their values, in order.
pub type Listing = Vec<(String, Versioned<Arc<[u8]>>)>;

/// What a transaction takes for granted about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is not there.
    Absent,
    /// It was last written by this change.
    At(Revision),
}

/// All or nothing: expectations, and the writes that are made when all of them hold.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub(crate) expects: Vec<(String, Expect)>,
    pub(crate) writes: Vec<(String, Option<Arc<[u8]>>)>,
}

impl Txn {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an expectation.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.expects.push((key.into(), expect));
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Arc<[u8]>>) -> Self {
        self.writes.push((key.into(), Some(value.into())));
        self
    }

    /// Adds a removal; of a key that is not there, too.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push((key.into(), None));
        self
    }
}

/// One key's change, as a watch tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; `None` when it was removed.
    pub value: Option<Arc<[u8]>>,
    /// The change's number.
    pub revision: Revision,
}

/// The store behind the state: redb on this host's disk, memory in tests, later one that several servers share.
pub trait Backend: Send + Sync + 'static {
    /// One key.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Versioned<Arc<[u8]>>>, Error>> + Send;

    /// All keys that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// Writes, durably. The answer comes when the disk has it, and not before.
    fn commit(&self, txn: Txn) -> impl Future<Output = Result<Revision, Error>> + Send;

    /// What is there under `prefix` now, and every change from here on.
    fn watch(&self, prefix: &str) -> impl Future<Output = Result<Watch, Error>> + Send;
}

pub(crate) type Value = (Arc<[u8]>, Revision);

/// What all backends keep in memory: the contents as of the last durable change, and who watches.
pub(crate) struct Mirror {
    inner: Mutex<Contents>,
    changes: broadcast::Sender<Change>,
}

#[derive(Clone, Default)]
pub(crate) struct Contents {
    pub(crate) keys: BTreeMap<String, Value>,
    pub(crate) revision: u64,
}

/// Changes that a slow watcher may be behind before it has to list again.
const WATCH_DEPTH: usize = 1024;

impl Mirror {
    pub(crate) fn new(contents: Contents) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(contents), changes: broadcast::channel(WATCH_DEPTH).0 })
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Versioned<Arc<[u8]>>> {
        self.contents()
            .keys
            .get(key)
            .map(|(value, revision)| Versioned { value: value.clone(), revision: *revision })
    }

    pub(crate) fn list(&self, prefix: &str) -> Listing {
        listed(&self.contents(), prefix)
    }

    /// Makes changes visible, in order; they are durable already.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let mut contents = self.contents();
        for change in changes {
            contents.apply(&change);
            // Nobody watching is no failure.
            let _ = self.changes.send(change);
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str) -> Watch {
        // Under one lock, so that no change falls between the listing and the first event.
        let contents = self.contents();
        let mut pending = VecDeque::new();
        pending.extend(listed(&contents, prefix).into_iter().map(|(key, at)| Change {
            key,
            value: Some(at.value),
            revision: at.revision,
        }));
        let events = self.changes.subscribe();
        drop(contents);
        Watch { mirror: self.clone(), prefix: prefix.to_owned(), pending, events }
    }
}

fn listed(contents: &Contents, prefix: &str) -> Listing {
    let from = contents.keys.range(prefix.to_owned()..);
    let under = from.take_while(|(key, _)| key.starts_with(prefix));
    under
        .map(|(key, (value, revision))| {
            (key.clone(), Versioned { value: value.clone(), revision: *revision })
        })
        .collect()
}

impl Contents {
    pub(crate) fn apply(&mut self, change: &Change) {
        self.revision = self.revision.max(change.revision.0);
        match &change.value {
            Some(value) => drop(self.keys.insert(change.key.clone(), (value.clone(), change.revision))),
            None => drop(self.keys.remove(&change.key)),
        }
    }

    /// Checks a transaction's expectations; `Ok` holds the changes that it makes.
    pub(crate) fn decide(&self, txn: &Txn) -> Result<Vec<Change>, Error> {
        for (key, expect) in &txn.expects {
            let current = self.keys.get(key).map(|(_, revision)| *revision);
            let holds = match expect {
                Expect::Absent => current.is_none(),
                Expect::At(revision) => current == Some(*revision),
            };
            if !holds {
                return Err(Error::Conflict { key: key.clone(), current });
            }
        }
        let revision = Revision(self.revision + 1);
        let change = |(key, value): &(String, Option<Arc<[u8]>>)| Change {
            key: key.clone(),
            value: value.clone(),
            revision,
        };
        Ok(txn.writes.iter().map(change).collect())
    }
}

/// First what is there, then every change, each once and in order.
///
/// A watcher that falls too far behind is given all keys again, as changes; keys that went away meanwhile can't be seen
/// in that, so [`next`](Self::next) says when it happens.
pub struct Watch {
    mirror: Arc<Mirror>,
    prefix: String,
    pending: VecDeque<Change>,
    events: broadcast::Receiver<Change>,
}

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Change(Change),
    StartOver,
}

impl Watch {
    /// The next change; `Ok(None)` means: forget what you have, everything comes again.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        match self.told().await? {
            Told::Change(change) => Ok(Some(change)),
            Told::StartOver => Ok(None),
        }
    }

    async fn told(&mut self) -> Result<Told, Error> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(Told::Change(change));
            }
            match self.events.recv().await {
                Ok(change) if change.key.starts_with(&self.prefix) => return Ok(Told::Change(change)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    *self = self.mirror.watch(&self.prefix);
                    return Ok(Told::StartOver);
                }
                Err(broadcast::error::RecvError::Closed) => return Err(Error::Closed),
            }
        }
    }
}
