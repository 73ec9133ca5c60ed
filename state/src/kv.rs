//! Keys with their values, and transactions: what every backend is asked for, in the same words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::revision::Revision;

/// A value and the revision it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was last written.
    pub revision: Revision,
}

/// Keys with their values, in order of the keys.
pub type Listing = Vec<(String, Versioned<Arc<[u8]>>)>;

/// Longest key, in bytes. Names of machines and profiles are far shorter; a key is held in memory for ever.
pub const MAX_KEY: usize = 1024;

/// Longest value, in bytes. A boot plan is a few KiB; etcd, the shared store to come, refuses requests over 1.5 MiB.
pub const MAX_VALUE: usize = 1 << 20;

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

/// All or nothing: expectations, and the writes that are made when all of them hold.
///
/// A key that is written without an expectation is taken as [`Expect::Any`].
#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub(crate) expects: Vec<(String, Expect)>,
    pub(crate) writes: Vec<(String, Option<Arc<[u8]>>)>,
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

    /// The writes of all of these, whatever is there.
    #[must_use]
    pub fn of_all(records: BTreeMap<String, Arc<[u8]>>) -> Self {
        let writes = records.into_iter().map(|(key, value)| (key, Some(value))).collect();
        Self { expects: Vec::new(), writes }
    }

    /// Adds an expectation.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.expects.push((key.into(), expect));
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn put(self, key: impl Into<String>, value: impl Into<Arc<[u8]>>) -> Self {
        self.write(key.into(), Some(value.into()))
    }

    /// Adds a removal; of a key that is not there, too.
    #[must_use]
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.write(key.into(), None)
    }

    /// The last write of a key counts: within one revision a watcher could not tell two apart.
    fn write(mut self, key: String, value: Option<Arc<[u8]>>) -> Self {
        self.writes.retain(|(written, _)| *written != key);
        self.writes.push((key, value));
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
    /// The change's number. All writes of one transaction share it.
    pub revision: Revision,
}
