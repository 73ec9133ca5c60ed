//! The redb file: what lies in it, how it is opened and checked, and how it is made anew after a failed write.
//!
//! A write or sync that failed leaves pages in the kernel's cache that look written and are not on the disk
//! ("fsyncgate"): the same file must never be gone on with. The mirror has everything that was ever
//! answered, so the next write makes a fresh file from it, and the fresh one takes the old one's place by rename.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition,
    TableError, WriteTransaction,
};

use crate::Error;
use crate::kv::{Change, Versioned};
use crate::mirror::Contents;
use crate::revision::Revision;

/// Value: the revision as eight bytes, least significant first, then the value's own.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// `format`, and `revision`: the last one given. Removals count too, and leave no key to read it from.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const FORMAT: u64 = 1;
/// The mirror answers all reads, so redb needs no cache but for the inner pages that a write passes through.
const CACHE: usize = 16 << 20;

/// Where the file lies: a directory, or in tests a disk that forgets and fails.
pub(crate) trait Medium: Send + 'static {
    type Storage: StorageBackend;

    /// The file that counts; `None` when there has never been one.
    fn current(&mut self) -> io::Result<Option<Self::Storage>>;

    /// Whether a start would find the file that was written last: neither it nor its directory was removed or replaced.
    fn in_place(&mut self) -> io::Result<()>;

    /// An empty file beside it. Refused where somebody else's state has taken the place.
    fn fresh(&mut self) -> io::Result<Self::Storage>;

    /// Puts the fresh file in the place of the current one; durably once the names are synced.
    fn adopt(&mut self) -> io::Result<()>;

    /// Syncs which file has the name.
    fn sync_names(&mut self) -> io::Result<()>;

    /// Gives up the fresh file, and the space that it takes.
    fn abandon(&mut self);
}

/// The file, open or to be made anew.
pub(crate) struct Store<M> {
    medium: M,
    /// `None` after a failed write.
    database: Option<Database>,
}

impl<M: Medium> Store<M> {
    /// Opens the file, or makes an empty one, and reads what it holds. Every page is checked against its checksum:
    /// unchecked, a bit that flipped on the disk could panic at any later time.
    pub(crate) fn open(mut medium: M, path: &Path) -> Result<(Self, Contents), Error> {
        let cannot = |cause: io::Error| Error::Open { path: path.to_owned(), cause: cause.to_string() };
        let failed = |cause: String| Error::Open {
            path: path.to_owned(),
            cause: format!("{cause}; free space or mend the disk, and start again"),
        };
        let Some(storage) = medium.current().map_err(cannot)? else {
            let mut store = Self { medium, database: None };
            store.remake(&Contents::default(), &[], 0).map_err(failed)?;
            return Ok((store, Contents::default()));
        };
        // Whoever gave it its name may have failed or been killed before that was synced. A power cut would bring back
        // the file before it, and take all that is answered from here on.
        medium.sync_names().map_err(|cause| failed(cause.to_string()))?;
        // redb would take an empty file for a new one. We never leave one; something has truncated it.
        if storage.len().map_err(|cause| failed(cause.to_string()))? == 0 {
            return Err(Error::Damaged { path: path.to_owned(), cause: "it is empty".to_owned() });
        }
        let contents = builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(storage)
            .map_err(redb::Error::from)
            .and_then(|database| Ok((read(&database)?, database)));
        match contents.map_err(|cause| refusal(cause, path))? {
            (Read::Contents(contents), database) => Ok((Self { medium, database: Some(database) }, contents)),
            (Read::Format(found), _) => Err(Error::Format { path: path.to_owned(), found, known: FORMAT }),
        }
    }

    /// Writes and syncs. On an error nothing of it counts, and the next call makes the file anew from `held`, which is
    /// what readers see, without these changes.
    pub(crate) fn write(
        &mut self,
        changes: &[Change],
        revision: u64,
        held: impl FnOnce() -> Contents,
    ) -> Result<(), String> {
        // Taken out, and put back only when all went well: whatever fails in between leaves no database, so the file is
        // made anew.
        let Some(database) = self.database.take() else { return self.remake(&held(), changes, revision) };
        put(&database, &Contents::default(), changes, revision).map_err(|cause| cause.to_string())?;
        // A file without its name takes everything, and is found by nobody.
        self.medium.in_place().map_err(|cause| cause.to_string())?;
        self.database = Some(database);
        Ok(())
    }

    /// At the end: the next start must find what was answered, though nothing was written since the file lost its name.
    pub(crate) fn settle(&mut self, held: impl FnOnce() -> Contents) -> Result<(), String> {
        if self.medium.in_place().is_ok() {
            return Ok(());
        }
        self.database = None;
        let held = held();
        self.remake(&held, &[], held.revision)
    }

    fn remake(&mut self, held: &Contents, changes: &[Change], revision: u64) -> Result<(), String> {
        let made = self.medium.fresh().map_err(|cause| cause.to_string()).and_then(|storage| {
            let database = builder().create_with_backend(storage).map_err(|cause| cause.to_string())?;
            put(&database, held, changes, revision).map_err(|cause| cause.to_string())?;
            // The file's data is synced by the commit.
            let named = self.medium.adopt().and_then(|()| self.medium.sync_names());
            named.and_then(|()| self.medium.in_place()).map_err(|cause| cause.to_string())?;
            Ok(database)
        });
        match made {
            Ok(database) => self.database = Some(database),
            Err(cause) => {
                self.medium.abandon();
                return Err(cause);
            }
        }
        Ok(())
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

enum Read {
    Contents(Contents),
    Format(u64),
}

fn read(database: &Database) -> Result<Read, redb::Error> {
    let read = database.begin_read()?;
    let meta = match read.open_table(META) {
        // Ours are made whole before they have their name, so this is another program's.
        Err(
            TableError::TableDoesNotExist(_)
            | TableError::TableTypeMismatch { .. }
            | TableError::TableIsMultimap(_)
            | TableError::TypeDefinitionChanged { .. },
        ) => return Ok(Read::Format(0)),
        meta => meta?,
    };
    let found = meta.get("format")?.map_or(0, |format| format.value());
    if found != FORMAT {
        return Ok(Read::Format(found));
    }
    let mut contents = Contents::default();
    for row in read.open_table(KEYS)?.iter()? {
        let (key, value) = row?;
        // A row without a revision is kept as it is: the table that it is of will quarantine it.
        let (head, value) = value.value().split_first_chunk().unwrap_or((&[0; 8], value.value()));
        let revision = Revision(u64::from_le_bytes(*head));
        contents.revision = contents.revision.max(revision.0);
        contents.keys.insert(key.value().to_owned(), Versioned { value: Arc::from(value), revision });
    }
    let stored = meta.get("revision")?.map_or(0, |revision| revision.value());
    contents.revision = contents.revision.max(stored);
    Ok(Read::Contents(contents))
}

fn put(database: &Database, held: &Contents, changes: &[Change], revision: u64) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // In one phase a commit is told whole from torn by a checksum that is not cryptographic, over bytes that clients
    // choose (host names). The second sync costs little: a whole group of transactions shares it.
    write.set_two_phase_commit(true);
    rows(&write, held, changes, revision)?;
    write.commit()?;
    Ok(())
}

fn rows(
    write: &WriteTransaction,
    held: &Contents,
    changes: &[Change],
    revision: u64,
) -> Result<(), redb::Error> {
    let row = |revision: Revision, value: &[u8]| [&revision.0.to_le_bytes(), value].concat();
    let mut keys = write.open_table(KEYS)?;
    for (key, at) in &held.keys {
        keys.insert(key.as_str(), row(at.revision, &at.value).as_slice())?;
    }
    for change in changes {
        match &change.value {
            Some(value) => drop(keys.insert(change.key.as_str(), row(change.revision, value).as_slice())?),
            None => drop(keys.remove(change.key.as_str())?),
        }
    }
    let mut meta = write.open_table(META)?;
    meta.insert("format", FORMAT)?;
    meta.insert("revision", revision)?;
    Ok(())
}

fn refusal(cause: redb::Error, path: &Path) -> Error {
    let path: PathBuf = path.to_owned();
    match cause {
        redb::Error::Corrupted(cause) => Error::Damaged { path, cause },
        redb::Error::Io(cause)
            if !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            let cause = format!("{cause}; free space or mend the disk, and start again");
            Error::Open { path, cause }
        }
        // An older redb's version too: none of ours ever wrote one.
        cause => Error::Damaged { path, cause: cause.to_string() },
    }
}
