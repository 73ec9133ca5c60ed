//! What lies in the redb file, and how it is read and written.

use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
    WriteTransaction,
};

use crate::kv::{Change, Versioned};
use crate::log::Name;
use crate::mirror::Contents;
use crate::revision::Revision;

/// Value: the revision as eight bytes, least significant first, then the value's own.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// `format`, and `revision`: the last one given. Removals count too, and leave no key to read it from.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The secret of the log that goes on from here, by the log's number; the same for those that follow it. Empty in a file that
/// has everything.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// A file that has everything: every version reads it.
pub(crate) const WHOLE: u64 = 1;
/// One that a log goes on from. A version that knows of no log must not open it: it would not find what is there.
pub(crate) const LOGGED: u64 = 2;
/// The mirror answers all reads, so redb needs no cache but for the inner pages that a write passes through.
const CACHE: usize = 16 << 20;

pub(crate) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

pub(crate) enum Read {
    /// What it holds, and the first log that goes on from it.
    Contents(Contents, Option<Name>),
    Format(u64),
}

pub(crate) fn read(database: &Database) -> Result<Read, redb::Error> {
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
    let log = match found {
        WHOLE => None,
        LOGGED => Some(named(&read.open_table(LOG)?)?),
        other => return Ok(Read::Format(other)),
    };
    let mut contents = Contents::default();
    for row in read.open_table(KEYS)?.iter()? {
        let (key, value) = row?;
        // A row without a revision is kept as it is: the table that it is of will quarantine it.
        let (head, value) = value.value().split_first_chunk().unwrap_or((&[0; 8], value.value()));
        let revision = Revision(u64::from_le_bytes(*head));
        contents.revision = contents.revision.max(revision.0);
        contents.insert(key.value().into(), Versioned { value: value.into(), revision });
    }
    let stored = meta.get("revision")?.map_or(0, |revision| revision.value());
    contents.revision = contents.revision.max(stored);
    Ok(Read::Contents(contents, log))
}

fn named(log: &redb::ReadOnlyTable<u64, &[u8]>) -> Result<Name, redb::Error> {
    let damaged = || redb::Error::Corrupted("its log has no name".to_owned());
    let (number, secret) = log.first()?.ok_or_else(damaged)?;
    let secret = secret.value().try_into().map_err(|_| damaged())?;
    Ok(Name { number: number.value(), secret })
}

/// Writes and syncs: what is held, then the changes, and which log goes on from here.
pub(crate) fn put(
    database: &Database,
    held: &Contents,
    changes: &[Change],
    revision: u64,
    log: Option<&Name>,
) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // In one phase a commit is told whole from torn by a checksum that is not cryptographic, over bytes that clients
    // choose (host names). The second sync costs little: what is written here is many groups of transactions.
    write.set_two_phase_commit(true);
    rows(&write, held, changes, revision, log)?;
    write.commit()?;
    Ok(())
}

fn rows(
    write: &WriteTransaction,
    held: &Contents,
    changes: &[Change],
    revision: u64,
    log: Option<&Name>,
) -> Result<(), redb::Error> {
    let row = |revision: Revision, value: &[u8]| [&revision.0.to_le_bytes(), value].concat();
    let mut keys = write.open_table(KEYS)?;
    for (key, at) in held.sorted() {
        keys.insert(&**key, row(at.revision, &at.value).as_slice())?;
    }
    for change in changes {
        match &change.value {
            Some(value) => drop(keys.insert(&*change.key, row(change.revision, value).as_slice())?),
            None => drop(keys.remove(&*change.key)?),
        }
    }
    let mut meta = write.open_table(META)?;
    meta.insert("format", if log.is_some() { LOGGED } else { WHOLE })?;
    meta.insert("revision", revision)?;
    let mut logs = write.open_table(LOG)?;
    logs.retain(|_, _| false)?;
    if let Some(Name { number, secret }) = log {
        logs.insert(number, secret.as_slice())?;
    }
    Ok(())
}
