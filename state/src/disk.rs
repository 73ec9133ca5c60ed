//! The state on this host's disk: redb, one writer, group commit.
//!
//! All transactions that have queued up while the disk was busy go into one redb transaction and one sync; each is
//! checked against the contents with the earlier ones applied, so a conflicting one fails alone. Nobody is answered, and
//! no reader sees a change, before the disk has it. After a failed write nothing has changed, and the next is tried anew.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::kv::{Backend, Change, Contents, Listing, Mirror, Revision, Txn, Versioned, Watch};

/// Value: eight bytes of revision, then the value's own.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;
/// Transactions that wait for the disk before those who bring more have to wait too.
const QUEUE: usize = 4096;
/// Transactions in one sync at most.
const BATCH: usize = 512;

type Answer = oneshot::Sender<Result<Revision, Error>>;

/// An open state directory. Dropped, it closes when the writer has done what is queued.
pub struct Disk {
    mirror: Arc<Mirror>,
    queue: mpsc::Sender<(Txn, Answer)>,
    syncs: Arc<AtomicU64>,
}

impl Disk {
    /// Opens the state directory, and makes it where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Format`], [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let cannot = |path: &Path| {
            let path = path.to_owned();
            move |cause: &dyn std::fmt::Display| Error::Open { path, cause: cause.to_string() }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|cause| cannot(dir)(&cause))?;
        let lock = lock(dir)?;
        let path = dir.join("state.redb");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|cause| cannot(&path)(&cause))?;
        let database = open_database(file).map_err(|cause| cannot(&path)(&cause))?;
        Self::over(database, &path, Some(lock))
    }

    /// Runs over an open database; tests bring one whose disk forgets.
    pub(crate) fn over(database: Database, path: &Path, lock: Option<File>) -> Result<Self, Error> {
        let contents = read(&database, path)?;
        let mirror = Mirror::new(contents);
        let (queue, inbox) = mpsc::channel(QUEUE);
        let syncs = Arc::new(AtomicU64::new(0));
        let contents = mirror.contents().clone();
        let mut writer =
            Writer { database, mirror: mirror.clone(), contents, syncs: syncs.clone(), _lock: lock };
        thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|cause| Error::Open { path: path.to_owned(), cause: cause.to_string() })?;
        Ok(Self { mirror, queue, syncs })
    }

    /// Syncs so far; each may have carried many transactions.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

impl Backend for Disk {
    async fn get(&self, key: &str) -> Result<Option<Versioned<Arc<[u8]>>>, Error> {
        Ok(self.mirror.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.mirror.list(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((txn, answer)).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, Error> {
        Ok(self.mirror.watch(prefix))
    }
}

fn open_database(file: File) -> Result<Database, redb::DatabaseError> {
    Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)
}

/// Held as long as the writer lives; the kernel lets it go with the process, however that ends.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|cause| Error::Open { path: path.clone(), cause: cause.to_string() })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(TryLockError::Error(cause)) => Err(Error::Open { path, cause: cause.to_string() }),
    }
}

fn read(database: &Database, path: &Path) -> Result<Contents, Error> {
    let bad = |cause: String| Error::Open { path: path.to_owned(), cause };
    let first = || -> Result<u64, redb::Error> {
        let write = database.begin_write()?;
        let found = {
            let mut meta = write.open_table(META)?;
            let found = meta.get("format")?.map(|format| format.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            write.open_table(KEYS)?;
            found.unwrap_or(FORMAT)
        };
        write.commit()?;
        Ok(found)
    };
    let found = first().map_err(|cause| bad(cause.to_string()))?;
    if found != FORMAT {
        return Err(Error::Format { path: PathBuf::from(path), found, known: FORMAT });
    }
    let all = || -> Result<Contents, redb::Error> {
        let read = database.begin_read()?;
        let mut contents = Contents::default();
        for row in read.open_table(KEYS)?.iter()? {
            let (key, value) = row?;
            let Some((head, value)) = value.value().split_first_chunk::<8>().map(|(h, v)| (*h, Arc::from(v)))
            else {
                tracing::error!(key = key.value(), "a torn record in the state was left out");
                continue;
            };
            let revision = Revision(u64::from_le_bytes(head));
            contents.apply(&Change { key: key.value().to_owned(), value: Some(value), revision });
        }
        // Removals count too: the counter must never go back, or an old expectation would hold again.
        let stored = read.open_table(META)?.get("revision")?.map_or(0, |revision| revision.value());
        contents.revision = contents.revision.max(stored);
        Ok(contents)
    };
    all().map_err(|cause| bad(cause.to_string()))
}

struct Writer {
    database: Database,
    mirror: Arc<Mirror>,
    /// The mirror with the batch under way applied; equal to it between batches.
    contents: Contents,
    syncs: Arc<AtomicU64>,
    _lock: Option<File>,
}

impl Writer {
    fn run(&mut self, mut inbox: mpsc::Receiver<(Txn, Answer)>) {
        let mut batch = Vec::new();
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            self.commit(batch.drain(..));
        }
    }

    fn commit(&mut self, batch: impl Iterator<Item = (Txn, Answer)>) {
        let contents = &mut self.contents;
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        for (txn, answer) in batch {
            match contents.decide(&txn) {
                Ok(made) => {
                    made.iter().for_each(|change| contents.apply(change));
                    contents.revision =
                        contents.revision.max(made.first().map_or(0, |change| change.revision.0));
                    waiting.push((answer, Revision(contents.revision)));
                    changes.extend(made);
                }
                // The asker may have gone; its transaction is decided all the same.
                Err(conflict) => drop(answer.send(Err(conflict))),
            }
        }
        if waiting.is_empty() {
            return;
        }
        let revision = contents.revision;
        match self.write(&changes, revision) {
            Ok(()) => {
                self.mirror.publish(changes);
                for (answer, revision) in waiting {
                    let _ = answer.send(Ok(revision));
                }
            }
            Err(cause) => {
                tracing::error!(%cause, "the state could not be written");
                self.contents = self.mirror.contents().clone();
                for (answer, _) in waiting {
                    let _ = answer.send(Err(Error::NotDurable(cause.to_string())));
                }
            }
        }
    }

    fn write(&self, changes: &[Change], revision: u64) -> Result<(), redb::Error> {
        // redb's default durability is immediate: commit returns when the file is synced.
        let write = self.database.begin_write()?;
        {
            let mut keys = write.open_table(KEYS)?;
            for change in changes {
                match &change.value {
                    Some(value) => {
                        let bytes = [&change.revision.0.to_le_bytes(), value.as_ref()].concat();
                        keys.insert(change.key.as_str(), bytes.as_slice())?;
                    }
                    None => drop(keys.remove(change.key.as_str())?),
                }
            }
            write.open_table(META)?.insert("revision", revision)?;
        }
        write.commit()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
