//! A backend that keeps nothing: for tests, and for what they need to go wrong or to wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::backend::{Backend, Health};
use crate::feed::Feed;
use crate::kv::{Listing, Txn, Versioned};
use crate::mirror::{Contents, Mirror};
use crate::revision::Revision;
use crate::{Error, Watch};

const NO_SPACE: &str = "no space left on device";

/// State in memory alone.
pub struct Memory {
    mirror: Arc<Mirror>,
    /// Commits still to be refused.
    failing: AtomicU64,
    health: Mutex<Health>,
    /// Commits read it; whoever writes it makes them wait.
    gate: Arc<RwLock<()>>,
}

/// While this lives, no commit of the [`Memory`] that gave it is made or answered.
#[derive(Debug)]
pub struct Held {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            mirror: Mirror::new(Contents::default()),
            failing: AtomicU64::new(0),
            health: Mutex::new(Health::Durable),
            gate: Arc::default(),
        }
    }
}

impl Memory {
    /// The next commit is refused as a full disk would refuse it.
    pub fn fail_next(&self) {
        self.fail(1);
    }

    /// As many commits are refused as a full disk would refuse them; `u64::MAX` until told otherwise, 0 none.
    pub fn fail(&self, commits: u64) {
        self.failing.store(commits, Ordering::SeqCst);
    }

    /// Waits for commits under way, then makes all others wait as a slow disk would.
    pub async fn hold(&self) -> Held {
        Held { _gate: self.gate.clone().write_owned().await }
    }

    fn refused(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.mirror.close();
    }
}

impl Backend for Memory {
    async fn get(&self, key: &str) -> Result<Option<Versioned<Arc<[u8]>>>, Error> {
        Ok(self.mirror.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.mirror.list(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        let _gate = self.gate.read().await;
        let refused = self.refused();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if refused {
            let before = if let Health::Degraded { refused, .. } = &*health { *refused } else { 0 };
            *health = Health::Degraded { cause: NO_SPACE.to_owned(), refused: before + 1 };
            return Err(Error::NotDurable(NO_SPACE.to_owned()));
        }
        let revision = self.mirror.commit(&txn)?;
        *health = Health::Durable;
        Ok(revision)
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, Error> {
        Ok(Watch::new(Feed::new(self.mirror.clone(), prefix)?))
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
