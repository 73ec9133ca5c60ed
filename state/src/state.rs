//! The backend that a server was started with. It is chosen once, and nobody above this crate names one.

use std::sync::Arc;

use crate::backend::{Backend, Health};
use crate::kv::{Listing, Txn};
use crate::revision::Revision;
use crate::{Disk, Error, Memory, Watch};

/// What holds the state.
pub enum State {
    /// redb on this host's disk.
    Disk(Disk),
    /// Nothing that outlives the process; for tests, in which several servers may share it.
    Memory(Memory),
}

impl State {
    /// Sees to it that the next start finds what was answered.
    ///
    /// # Errors
    /// As [`Backend::commit`].
    pub async fn settle(&self) -> Result<(), Error> {
        // A transaction of nothing is answered behind all that was queued before it.
        self.commit(Txn::new()).await.map(drop)
    }
}

impl From<Disk> for State {
    fn from(disk: Disk) -> Self {
        Self::Disk(disk)
    }
}

impl From<Memory> for State {
    fn from(memory: Memory) -> Self {
        Self::Memory(memory)
    }
}

impl Backend for State {
    async fn read(&self, keys: &[String]) -> Result<Listing, Error> {
        match self {
            Self::Disk(disk) => disk.read(keys).await,
            Self::Memory(memory) => memory.read(keys).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        match self {
            Self::Disk(disk) => disk.list(prefix).await,
            Self::Memory(memory) => memory.list(prefix).await,
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        match self {
            Self::Disk(disk) => disk.commit(txn).await,
            Self::Memory(memory) => memory.commit(txn).await,
        }
    }

    async fn commit_each(&self, txns: Vec<Arc<Txn>>) -> Vec<Result<Revision, Error>> {
        match self {
            Self::Disk(disk) => disk.commit_each(txns).await,
            Self::Memory(memory) => memory.commit_each(txns).await,
        }
    }

    async fn watch_all(&self, prefixes: &[String]) -> Result<Watch, Error> {
        match self {
            Self::Disk(disk) => disk.watch_all(prefixes).await,
            Self::Memory(memory) => memory.watch_all(prefixes).await,
        }
    }

    fn health(&self) -> Health {
        match self {
            Self::Disk(disk) => disk.health(),
            Self::Memory(memory) => memory.health(),
        }
    }
}
