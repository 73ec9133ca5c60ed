//! A backend that keeps nothing: for tests, and for what they need to go wrong or to wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::backend::{Backend, Health};
use crate::feed::Feed;
use crate::kv::{Listing, Txn};
use crate::mirror::{Contents, Mirror};
use crate::revision::Revision;
use crate::watch::{Event, Events};
use crate::{Error, Watch};

const NO_SPACE: &str = "no space left on device";
const NO_QUORUM: &str = "no quorum";
const LOST: &str = "the connection was lost";

/// What can become of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not made: the store can't be reached.
    Unavailable,
    /// It is made, and nobody is told.
    AnswerLost,
    /// It is not made, and nobody is told that either.
    RequestLost,
}

/// State in memory alone.
pub struct Memory {
    mirror: Arc<Mirror>,
    /// Commits still to be refused.
    failing: AtomicU64,
    /// What becomes of the commits that come next; of those behind them, nothing.
    troubles: Mutex<VecDeque<Option<Trouble>>>,
    unreachable: Arc<AtomicBool>,
    health: Mutex<Health>,
    /// Commits read it; whoever writes it makes them wait.
    gate: Arc<RwLock<()>>,
}

/// While this lives, no commit of the [`Memory`] that gave it is made or answered.
#[derive(Debug)]
pub struct Paused {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            mirror: Mirror::new(Contents::default()),
            failing: AtomicU64::new(0),
            troubles: Mutex::default(),
            unreachable: Arc::default(),
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

    /// What becomes of the commits that come next, in their order.
    pub fn trouble(&self, next: impl IntoIterator<Item = Option<Trouble>>) {
        self.troubles().extend(next);
    }

    /// What was to become of the next commit becomes of none; whether there was one.
    pub fn end_trouble(&self) -> bool {
        self.troubles().pop_front().is_some()
    }

    /// Whether it is out of reach.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::SeqCst)
    }

    /// Whether nothing can be read, written or watched, as when a shared store has lost its quorum.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::SeqCst);
    }

    /// Waits for commits under way, then makes all others wait as a slow disk would.
    pub async fn hold(&self) -> Paused {
        Paused { _gate: self.gate.clone().write_owned().await }
    }

    fn refused(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    fn troubles(&self) -> MutexGuard<'_, VecDeque<Option<Trouble>>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reach(unreachable: &AtomicBool) -> Result<(), Error> {
    if unreachable.load(Ordering::SeqCst) { Err(Error::Unavailable(NO_QUORUM.to_owned())) } else { Ok(()) }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.mirror.close();
    }
}

impl Backend for Memory {
    async fn read(&self, keys: &[String]) -> Result<Listing, Error> {
        reach(&self.unreachable)?;
        Ok(self.mirror.read(keys))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        reach(&self.unreachable)?;
        Ok(self.mirror.list(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        let _gate = self.gate.read().await;
        reach(&self.unreachable)?;
        let lost = || Error::OutcomeUnknown(LOST.to_owned());
        match self.troubles().pop_front().flatten() {
            Some(Trouble::Unavailable) => return Err(Error::Unavailable(NO_QUORUM.to_owned())),
            Some(Trouble::RequestLost) => return Err(lost()),
            Some(Trouble::AnswerLost) => return self.mirror.commit(&txn).and_then(|_| Err(lost())),
            None => {}
        }
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

    async fn watch_all(&self, prefixes: &[String]) -> Result<Watch, Error> {
        reach(&self.unreachable)?;
        let feed = Feed::new(self.mirror.clone(), prefixes)?;
        Ok(Watch::new(Reached { feed, unreachable: self.unreachable.clone() }))
    }

    fn health(&self) -> Health {
        if self.is_unreachable() {
            return Health::Unreachable { cause: NO_QUORUM.to_owned() };
        }
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A watch that says nothing while the store can't be reached.
struct Reached {
    feed: Feed,
    unreachable: Arc<AtomicBool>,
}

impl Events for Reached {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Event, Error>> + Send + '_>> {
        Box::pin(async {
            reach(&self.unreachable)?;
            self.feed.next().await
        })
    }
}
