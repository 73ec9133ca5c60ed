//! A backend that keeps nothing: for tests, and for what they need to go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::kv::{Backend, Contents, Listing, Mirror, Revision, Txn, Versioned, Watch};

/// State in memory alone.
pub struct Memory {
    mirror: Arc<Mirror>,
    fail_next: AtomicBool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { mirror: Mirror::new(Contents::default()), fail_next: AtomicBool::new(false) }
    }
}

impl Memory {
    /// The next commit is refused as a full disk would refuse it.
    pub fn fail_next(&self) {
        self.fail_next.store(true, Ordering::SeqCst);
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
        if self.fail_next.swap(false, Ordering::SeqCst) {
            return Err(Error::NotDurable("no space left on device".to_owned()));
        }
        let contents = self.mirror.contents();
        let changes = contents.decide(&txn)?;
        let revision = Revision(contents.revision + 1);
        drop(contents);
        self.mirror.publish(changes);
        Ok(revision)
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, Error> {
        Ok(self.mirror.watch(prefix))
    }
}
