//! Keys with their values, and transactions: what every backend is asked for, in the same words.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Error;
use crate::revision::Revision;

/// A value and the revision it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was last written.
    pub revision: Revision,
}

/// Keys with their values as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The store's last change when this was so: whoever has it has seen every change up to that one, removals too.
    pub revision: Revision,
    /// In order of the keys.
    pub records: Vec<(String, Versioned<Arc<[u8]>>)>,
}

/// Longest key, in bytes. Names of machines and profiles are far shorter; a key is held in memory for ever.
pub const MAX_KEY: usize = 1024;

/// Longest value, in bytes. A boot plan is a few KiB; etcd, the shared store to come, refuses requests over 1.5 MiB.
pub const MAX_VALUE: usize = 1 << 20;

/// Most expectations, and most writes, of one transaction: etcd's `--max-txn-ops`, unless its admin has changed that.
pub const MAX_OPERATIONS: usize = 128;

/// Most bytes of keys and values that one transaction writes: room for one of the longest, and for what a request has besides
/// below etcd's 1.5 MiB.
pub const MAX_TXN: usize = MAX_VALUE + (64 << 10);

/// What a transaction takes for granted about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is not there.
    Absent,
    /// It was last written by this change.
    At(Revision),
    /// Whatever is there. For records that one boot or one server alone can write.
    Any,
}

/// A key, and what it is to have; nothing where it is to go.
pub(crate) type Write = (Arc<str>, Option<Arc<[u8]>>);

/// All or nothing: expectations, and the writes that are made when all of them hold.
///
/// A key that is written without an expectation is taken as [`Expect::Any`].
#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub(crate) expects: Vec<(Arc<str>, Expect)>,
    pub(crate) writes: Vec<Write>,
}

impl Txn {
    /// An empty one. Committed, it answers the current revision.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.expects.is_empty() && self.writes.is_empty()
    }

    /// Every key that it expects something of or writes, each once.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let expected = self.expects.iter().map(|(key, _)| key);
        let keys: BTreeSet<&Arc<str>> = expected.chain(self.writes.iter().map(|(key, _)| key)).collect();
        keys.into_iter().map(|key| String::from(&**key)).collect()
    }

    /// What it has changed, now that it is committed at this revision.
    #[must_use]
    pub fn changes(&self, revision: Revision) -> Vec<Change> {
        let change = |(key, value): &Write| Change { key: key.clone(), value: value.clone(), revision };
        self.writes.iter().map(change).collect()
    }

    /// Refuses what a backend need not take: every backend asks this first, so that what one takes all do.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TooMuch`].
    pub fn check_size(&self) -> Result<(), Error> {
        for (key, value) in &self.writes {
            if key.len() > MAX_KEY || value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
                return Err(Error::TooLarge { key: key.chars().take(64).collect() });
            }
        }
        // etcd counts comparisons and writes apart, and holds each to the bound.
        let operations = self.expects.len().max(self.writes.len());
        let bytes = self.bytes();
        if operations > MAX_OPERATIONS || bytes > MAX_TXN {
            return Err(Error::TooMuch { operations, bytes });
        }
        Ok(())
    }

    pub(crate) fn has_room_for(&self, key: &str, value: &[u8]) -> bool {
        self.writes.len() < MAX_OPERATIONS && self.bytes() + key.len() + value.len() <= MAX_TXN
    }

    /// Bytes of what it writes, with its keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |(key, value): &Write| key.len() + value.as_ref().map_or(0, |value| value.len());
        self.writes.iter().map(length).sum()
    }

    /// Adds an expectation.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Arc<str>>, expect: Expect) -> Self {
        self.expects.push((key.into(), expect));
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn put(self, key: impl Into<Arc<str>>, value: impl Into<Arc<[u8]>>) -> Self {
        self.write(key.into(), Some(value.into()))
    }

    /// Adds a removal; of a key that is not there, too.
    #[must_use]
    pub fn delete(self, key: impl Into<Arc<str>>) -> Self {
        self.write(key.into(), None)
    }

    /// The last write of a key counts: within one revision a watcher could not tell two apart.
    fn write(mut self, key: Arc<str>, value: Option<Arc<[u8]>>) -> Self {
        self.writes.retain(|(written, _)| *written != key);
        self.writes.push((key, value));
        self
    }
}

/// One key's change, as a watch tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key. A change is shown to all who watch, and its key is the same piece of memory for all of them.
    pub key: Arc<str>,
    /// The new value; `None` when it was removed.
    pub value: Option<Arc<[u8]>>,
    /// The change's number. All writes of one transaction share it.
    pub revision: Revision,
}
