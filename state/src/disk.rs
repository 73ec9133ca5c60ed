//! The state on this host's disk: one writer thread, and group commit.
//!
//! All transactions that have queued up while the disk was busy go into one redb transaction; each is decided with the
//! earlier ones applied, so a conflicting one fails alone. Nobody is answered, and no reader sees a change, before the
//! disk has it. After a failed write nothing has changed, and the next one begins clean.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use crate::backend::{Backend, Health};
use crate::dir::Dir;
use crate::feed::Feed;
use crate::kv::{Listing, Txn};
use crate::mirror::{Batch, Contents, Mirror};
use crate::restore;
use crate::revision::Revision;
use crate::store::{Files, Medium};
use crate::{Error, Watch};

/// Callers that wait for the disk before those who bring more have to wait too.
const QUEUE: usize = 4096;
/// A group of so many transactions takes no further caller's in: the first must not wait for an endless storm behind it.
pub(crate) const GROUP: usize = 512;

/// Transactions of one caller, each by itself.
type Asked = (Vec<Arc<Txn>>, oneshot::Sender<Vec<Result<Revision, Error>>>);

/// An open state directory.
///
/// Dropped, it waits for the writer to end with what is queued, so that the directory can be opened again.
pub struct Disk {
    mirror: Arc<Mirror>,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Asked>>,
    writer: Option<JoinHandle<()>>,
    vitals: Arc<Vitals>,
}

/// What the writer tells about itself.
struct Vitals {
    groups: AtomicU64,
    health: Mutex<Health>,
}

impl Vitals {
    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

impl Disk {
    /// Opens the state directory, and makes it where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Format`], [`Error::Damaged`], [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let dir = Dir::take(dir)?;
        let file = dir.file();
        Self::over(dir, &file)
    }

    /// Whether there has ever been a state in the directory. Opening it would make one, which a full disk has no room for.
    ///
    /// # Errors
    /// [`Error::Open`] when that can't be told.
    pub fn is_there(dir: &Path) -> Result<bool, Error> {
        crate::dir::file_in(dir)
            .try_exists()
            .map_err(|cause| Error::Open { path: dir.to_owned(), cause: cause.to_string() })
    }

    /// Runs over any medium; tests bring one that forgets and fails.
    pub(crate) fn over<M: Medium>(medium: M, path: &Path) -> Result<Self, Error> {
        let (store, contents) = Files::open(medium, path)?;
        if contents.get(restore::MARK).is_some() {
            return Err(Error::HalfRestored { dir: path.parent().unwrap_or(path).to_owned() });
        }
        let mirror = Mirror::new(contents);
        let vitals = Arc::new(Vitals { groups: AtomicU64::new(0), health: Mutex::new(Health::Durable) });
        let (queue, inbox) = mpsc::channel(QUEUE);
        let writer = Writer { store, mirror: mirror.clone(), vitals: vitals.clone() };
        let writer = thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|cause| Error::Open { path: path.to_owned(), cause: cause.to_string() })?;
        Ok(Self { mirror, queue: Some(queue), writer: Some(writer), vitals })
    }

    /// Sees to it that the next start finds what was answered, though the file has lost its name since. The end of the writer
    /// does so too; but a process can end before whoever else has the state has let it go.
    ///
    /// # Errors
    /// [`Error::NotDurable`], [`Error::Closed`].
    pub async fn settle(&self) -> Result<(), Error> {
        // A transaction of nothing is answered behind all that was queued before it.
        self.commit(Txn::new()).await.map(drop)
    }

    /// Groups written so far; each may have carried many transactions.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.vitals.groups.load(Ordering::Relaxed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The writer ends when the queue is closed and empty; joined before that, it would be waited for for ever.
        drop(self.queue.take());
        // A writer that panicked has said so on stderr, and holds nothing any more.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Backend for Disk {
    async fn read(&self, keys: &[String]) -> Result<Listing, Error> {
        Ok(self.mirror.read(keys))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.mirror.list(prefix))
    }

    /// A call that is dropped after it was queued is carried out all the same.
    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        self.commit_each(vec![Arc::new(txn)]).await.pop().unwrap_or(Err(Error::Closed))
    }

    /// The same.
    async fn commit_each(&self, txns: Vec<Arc<Txn>>) -> Vec<Result<Revision, Error>> {
        let closed = vec![Err(Error::Closed); txns.len()];
        let (answer, answered) = oneshot::channel();
        let Some(queue) = self.queue.as_ref() else { return closed };
        if queue.send((txns, answer)).await.is_err() {
            return closed;
        }
        answered.await.unwrap_or(closed)
    }

    async fn watch_all(&self, prefixes: &[String]) -> Result<Watch, Error> {
        Ok(Watch::new(Feed::new(self.mirror.clone(), prefixes)?))
    }

    fn health(&self) -> Health {
        self.vitals.health()
    }
}

struct Writer<M: Medium> {
    store: Files<M>,
    mirror: Arc<Mirror>,
    vitals: Arc<Vitals>,
}

impl<M: Medium> Writer<M> {
    fn run(mut self, mut inbox: mpsc::Receiver<Asked>) {
        let mut group = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            self.store.rest();
            let mut count = first.0.len();
            group.push(first);
            while count < GROUP
                && let Ok(next) = inbox.try_recv()
            {
                count += next.0.len();
                group.push(next);
            }
            self.commit(&mut group);
        }
        if let Err(cause) = self.store.settle(|| self.mirror.with(Contents::clone)) {
            tracing::error!(
                cause,
                "the state is not where the next start looks for it, and cannot be put there"
            );
        }
    }

    fn commit(&mut self, group: &mut Vec<Asked>) {
        let (decided, changes, revision) = self.mirror.with(|contents| {
            let mut batch = Batch::new(contents);
            let each = |(txns, _): &Asked| -> Vec<_> { txns.iter().map(|txn| batch.take(txn)).collect() };
            let decided: Vec<_> = group.iter().map(each).collect();
            (decided, batch.changes, batch.revision)
        });
        if !changes.is_empty() {
            let mirror = &self.mirror;
            let held = || mirror.with(Contents::clone);
            if let Err(cause) = self.store.write(&changes, revision, held) {
                return self.refuse(group, &cause);
            }
            self.vitals.groups.fetch_add(1, Ordering::Relaxed);
            self.vitals.set_health(Health::Durable);
            // Before the answers, so that whoever is answered reads what it has written.
            self.mirror.publish(&changes);
        } else if group.iter().any(|(txns, _)| txns.iter().any(|txn| txn.is_empty()))
            && let Err(cause) = self.store.settle(|| self.mirror.with(Contents::clone))
        {
            return self.refuse(group, &cause);
        }
        // Those who asked may have gone; their transactions are made all the same.
        for ((_, answer), decided) in group.drain(..).zip(decided) {
            let _ = answer.send(decided);
        }
    }

    /// Answers a group that the disk did not take.
    fn refuse(&self, group: &mut Vec<Asked>, cause: &str) {
        let before = if let Health::Degraded { refused, .. } = self.vitals.health() { refused } else { 0 };
        if before == 0 {
            tracing::error!(cause, "the state cannot be written; nothing new is acknowledged until it can");
        }
        // A conflict with a transaction of this very group is none: that one was never made.
        let decide = |txn: &Txn| self.mirror.with(|contents| Batch::new(contents).take(txn));
        let mut refused = before;
        let answers: Vec<(_, Vec<_>)> = group
            .drain(..)
            .map(|(txns, answer)| {
                let refuse = |txn: &Arc<Txn>| {
                    let decided = decide(txn).and_then(|_| Err(Error::NotDurable(cause.to_owned())));
                    refused += u64::from(matches!(decided, Err(Error::NotDurable(_))));
                    decided
                };
                (answer, txns.iter().map(refuse).collect())
            })
            .collect();
        // Before the answers, so that whoever is refused finds the health that says so.
        self.vitals.set_health(Health::Degraded { cause: cause.to_owned(), refused });
        for (answer, decided) in answers {
            let _ = answer.send(decided);
        }
    }
}

impl<M: Medium> Drop for Writer<M> {
    /// Also when it panics: watchers must not wait for changes that nobody writes.
    fn drop(&mut self) {
        self.mirror.close();
    }
}
