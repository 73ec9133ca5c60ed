//! The calls that every backend answers alike.
//!
//! The model is etcd's KV (one revision counter for the whole store, compare-then-write transactions, watches that begin
//! with what is there), cut down to what a shared store can give and this program needs.

use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::kv::{Listing, Txn, Versioned};
use crate::revision::Revision;
use crate::watch::Watch;

/// Whether the state can be written and read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "lowercase")]
pub enum Health {
    /// The last write reached the disk, or there was none yet.
    #[default]
    Durable,
    /// The last write did not. Reads go on; each further write is tried anew.
    Degraded {
        /// What the disk said last.
        cause: String,
        /// Transactions refused since the last write that succeeded.
        refused: u64,
    },
    /// A shared store can't be reached: what is known is served, and nothing can be written.
    Unreachable {
        /// What its client said last.
        cause: String,
    },
}

/// The store behind the state: redb on this host's disk, memory in tests, later one that several servers share.
pub trait Backend: Send + Sync + 'static {
    /// Those of these keys that are there, all as of one revision.
    ///
    /// # Errors
    /// [`Error::Unavailable`], which a shared store's network brings; [`Disk`](crate::Disk) has none.
    fn read(&self, keys: &[String]) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// One key.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Versioned<Arc<[u8]>>>, Error>> + Send {
        let key = [key.to_owned()];
        async move { Ok(self.read(&key).await?.records.pop().map(|(_, found)| found)) }
    }

    /// All keys that begin with `prefix`, as of one revision.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// Writes, durably. The answer comes when the disk has it, and not before.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooLarge`], [`Error::TooMuch`]: nothing was written. [`Error::NotDurable`]: it may have been, as far as
    /// a crash before the next commit is concerned; no reader sees it until then. [`Error::Unavailable`]: nothing was written.
    /// [`Error::OutcomeUnknown`]: it was written, or will be, or never. [`Error::Closed`].
    fn commit(&self, txn: Txn) -> impl Future<Output = Result<Revision, Error>> + Send;

    /// The same with several transactions, each by itself: the answers in their order, once there are all.
    fn commit_each(&self, txns: Vec<Arc<Txn>>) -> impl Future<Output = Vec<Result<Revision, Error>>> + Send {
        async move {
            let mut answers = Vec::new();
            for txn in txns {
                answers.push(self.commit(Arc::unwrap_or_clone(txn)).await);
            }
            answers
        }
    }

    /// What is there under any of these prefixes now, and every change from here on. Whoever watches is not woken for others.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn watch_all(&self, prefixes: &[String]) -> impl Future<Output = Result<Watch, Error>> + Send;

    /// The same under one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn watch(&self, prefix: &str) -> impl Future<Output = Result<Watch, Error>> + Send {
        let prefix = [prefix.to_owned()];
        async move { self.watch_all(&prefix).await }
    }

    /// Whether it can be written and read, as far as it has been tried.
    fn health(&self) -> Health;
}
