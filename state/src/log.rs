//! The log: what was committed since the redb file was last brought up to date, one record for each group of transactions.
//!
//! A commit of redb writes each page that it touches, from the leaf to the root, and syncs twice; a record here is one write and
//! one sync, however many transactions it has. A record begins on a sector of its own, so that no write touches what was
//! answered before. Its tag is keyed with a secret of this file's state, and over its place: neither what a torn write leaves
//! nor what clients put into values (host names) can pass for a record, nor can one of another log.

use std::io;

use redb::StorageBackend;

use crate::kv::Change;
use crate::revision::Revision;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a log from which on the next one is begun, and this one folded into the redb file. It is read at a start.
pub(crate) const FULL: u64 = if cfg!(test) { 4 << 10 } else { 16 << 20 };
/// A group of more bytes than this goes to the redb file at once: to write it twice would cost more than it saves.
pub(crate) const LARGEST: usize = if cfg!(test) { 8 << 10 } else { 1 << 20 };

/// Length of the body, number of the record, records of the log before, tag.
const HEAD: usize = 4 + 8 + 8 + TAG;
const TAG: usize = 32;
/// The length of a value that is none: the key was removed.
const REMOVED: u32 = u32::MAX;

/// Where a log's records belong: no other log's pass for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) number: u64,
    pub(crate) secret: [u8; 32],
}

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log<S> {
    pub(crate) name: Name,
    storage: S,
    /// Where the next record goes, and which it is.
    end: u64,
    next: u64,
    /// Records of the log before, where that is still to be folded.
    before: u64,
}

/// What a log holds.
#[derive(Debug, Default)]
pub(crate) struct LogContents {
    pub(crate) changes: Vec<Change>,
    pub(crate) records: u64,
    /// How many the log before has, by what this one says; `None` where this one is empty.
    pub(crate) before: Option<u64>,
}

/// Why a log can't be read.
#[derive(Debug)]
pub(crate) enum Unread {
    Io(io::Error),
    /// A record is not what was written, and there are records behind it.
    Damaged,
}

impl From<io::Error> for Unread {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl<S: StorageBackend> Log<S> {
    /// An empty one.
    pub(crate) fn new(name: Name, storage: S, before: u64) -> Self {
        Self { name, storage, end: 0, next: 0, before }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.end >= FULL
    }

    pub(crate) fn records(&self) -> u64 {
        self.next
    }

    /// Adds a record, durably. After an error the log must not be gone on with.
    pub(crate) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        let bytes = record(&self.name, self.next, self.before, changes)?;
        self.storage.write(self.end, &bytes)?;
        self.storage.sync_data()?;
        self.end += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// All that was added to it.
    pub(crate) fn changes(&self) -> Result<Vec<Change>, Unread> {
        let found = read(&self.name, &self.storage)?;
        if found.records == self.next { Ok(found.changes) } else { Err(Unread::Damaged) }
    }
}

/// The bytes that changes take in a record, less its head.
pub(crate) fn size(changes: &[Change]) -> usize {
    let value = |change: &Change| change.value.as_ref().map_or(0, |value| value.len());
    changes.iter().map(|change| 16 + change.key.len() + value(change)).sum()
}

fn record(name: &Name, number: u64, before: u64, changes: &[Change]) -> io::Result<Vec<u8>> {
    let length = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let body = size(changes);
    let mut bytes = Vec::with_capacity((HEAD + body).next_multiple_of(SECTOR));
    bytes.extend(length(body)?.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(before.to_le_bytes());
    bytes.extend([0; TAG]);
    for change in changes {
        bytes.extend(change.revision.0.to_le_bytes());
        bytes.extend(length(change.key.len())?.to_le_bytes());
        let value = change.value.as_deref();
        bytes.extend(value.map_or(Ok(REMOVED), |value| length(value.len()))?.to_le_bytes());
        bytes.extend(change.key.as_bytes());
        bytes.extend(value.unwrap_or_default());
    }
    let tag = bytes.split_at_checked(HEAD).map(|(head, body)| tag(name, head, body)).unwrap_or([0; TAG]);
    if let Some(place) = bytes.get_mut(HEAD - TAG..HEAD) {
        place.copy_from_slice(&tag);
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    Ok(bytes)
}

fn tag(name: &Name, head: &[u8], body: &[u8]) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new_keyed(&name.secret);
    hasher.update(&name.number.to_le_bytes());
    hasher.update(head.get(..HEAD - TAG).unwrap_or_default());
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

/// Reads a log up to where it ends: to a record that is not there whole, for the power went before it was answered. Where a
/// record comes after such a place, that place was whole once.
pub(crate) fn read(name: &Name, storage: &impl StorageBackend) -> Result<LogContents, Unread> {
    let length = usize::try_from(storage.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    storage.read(0, &mut bytes)?;
    let (mut found, mut rest) = (LogContents::default(), bytes.as_slice());
    while let Some((number, before, body)) = whole(name, rest).filter(|(number, ..)| *number == found.records)
    {
        if found.before.is_some_and(|known| known != before) {
            return Err(Unread::Damaged);
        }
        found.changes.extend(changes(body).ok_or(Unread::Damaged)?);
        found.before = Some(before);
        found.records = number + 1;
        rest = rest.get((HEAD + body.len()).next_multiple_of(SECTOR)..).unwrap_or_default();
    }
    let mut behind = rest.chunks(SECTOR).scan(rest, |rest, sector| {
        let from = *rest;
        *rest = rest.get(sector.len()..).unwrap_or_default();
        Some(from)
    });
    if behind.any(|from| whole(name, from).is_some()) { Err(Unread::Damaged) } else { Ok(found) }
}

/// The record that bytes begin with: its number, the records of the log before, its body.
fn whole<'b>(name: &Name, bytes: &'b [u8]) -> Option<(u64, u64, &'b [u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (length, after) = head.split_first_chunk::<4>()?;
    let (number, after) = after.split_first_chunk::<8>()?;
    let (before, known) = after.split_first_chunk::<8>()?;
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let is_ours = known == tag(name, head, body);
    is_ours.then_some((u64::from_le_bytes(*number), u64::from_le_bytes(*before), body))
}

fn changes(mut body: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let (revision, rest) = body.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*key)).ok()?)?;
        let length = u32::from_le_bytes(*value);
        let kept = if length == REMOVED { 0 } else { usize::try_from(length).ok()? };
        let (value, rest) = rest.split_at_checked(kept)?;
        body = rest;
        changes.push(Change {
            key: std::str::from_utf8(key).ok()?.into(),
            value: (length != REMOVED).then(|| value.into()),
            revision: Revision(u64::from_le_bytes(*revision)),
        });
    }
    Some(changes)
}
