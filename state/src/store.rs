//! The redb file and the log that goes on from it: how they are opened and checked, which of them a commit goes to, and how
//! the file is made anew after a failed write.
//!
//! | a commit | goes to |
//! |---|---|
//! | the first one after a start; one that is larger than is worth writing twice | the redb file, and a log is begun |
//! | any other | the log |
//! | the end of the process, or somebody who wants to be sure of it | the redb file, with all that the log has: then there is no log |
//!
//! A log that is full is folded into the redb file aside, while commits go to the next one.
//!
//! A write or sync that failed leaves pages in the kernel's cache that look written and are not on the disk
//! ("fsyncgate"): the same file must never be gone on with. The mirror has everything that was ever
//! answered, so the next write makes a fresh file from it, and the fresh one takes the old one's place by rename. For the same
//! reason no log is removed before a commit of redb that this process has made: it rests on nothing that was only seen.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use redb::{Database, StorageBackend};

use crate::Error;
use crate::file::{self, Read, builder, put};
use crate::kv::Change;
use crate::log::{self, Log, Name, Unread};
use crate::mirror::Contents;

/// Where the file and its logs lie: a directory, or in tests a disk that forgets and fails.
pub(crate) trait Medium: Send + 'static {
    type Storage: StorageBackend;

    /// The file that counts; `None` when there has never been one.
    fn current(&mut self) -> io::Result<Option<Self::Storage>>;

    /// Whether a start would find the file that was written last: neither it nor its directory was removed or replaced.
    fn in_place(&mut self) -> io::Result<()>;

    /// An empty file beside it. Refused where somebody else's state has taken the place.
    fn fresh(&mut self) -> io::Result<Self::Storage>;

    /// Puts the fresh file in the place of the current one; durably once the names are synced. It needs no log.
    fn adopt(&mut self) -> io::Result<()>;

    /// Syncs which file has the name.
    fn sync_names(&mut self) -> io::Result<()>;

    /// Gives up the fresh file, and the space that it takes.
    fn abandon(&mut self);

    /// Numbers of the logs that are there.
    fn logs(&mut self) -> io::Result<Vec<u64>>;

    /// One of them.
    fn log(&mut self, number: u64) -> io::Result<Self::Storage>;

    /// Makes an empty one, whose name lasts once the names are synced. From here on it has to be in its place too.
    fn make_log(&mut self, number: u64) -> io::Result<Self::Storage>;

    /// Removes all logs but one.
    fn keep_log(&mut self, number: Option<u64>);

    /// Waits until a write may follow the one before. Each sync costs much more than what it writes, so those that come in the
    /// meantime are better written with one.
    fn rest(&mut self);

    /// A write has ended.
    fn wrote(&mut self);

    /// Bytes that nobody can know.
    fn secret(&mut self) -> io::Result<[u8; 32]>;

    /// Whether logs are folded while commits go on. A test would not be the same twice.
    const FOLDS_ASIDE: bool;
}

/// The redb file.
enum File {
    Open(Database),
    /// A thread writes a full log into it.
    Folding(JoinHandle<Result<Database, String>>),
    /// A write has failed: it is to be made anew.
    Lost,
}

/// The file and its log.
pub(crate) struct Files<M: Medium> {
    medium: M,
    file: File,
    /// `None` where the redb file has everything but what is to be written first.
    log: Option<Log<M::Storage>>,
    /// What logs of an earlier process have, which the next write brings into the redb file.
    found: Vec<Change>,
    /// The number of the next log: no other has had it.
    next: u64,
}

impl<M: Medium> Files<M> {
    /// Opens the file, or makes an empty one, and reads what it and its logs hold. Every page is checked against its checksum:
    /// unchecked, a bit that flipped on the disk could panic at any later time.
    pub(crate) fn open(mut medium: M, path: &Path) -> Result<(Self, Contents), Error> {
        let cannot = |cause: io::Error| Error::Open { path: path.to_owned(), cause: cause.to_string() };
        let failed = |cause: String| Error::Open {
            path: path.to_owned(),
            cause: format!("{cause}; free space or mend the disk, and start again"),
        };
        let current = medium.current().map_err(cannot)?;
        let next = medium.logs().map_err(cannot)?.into_iter().max().map_or(0, |last| last + 1);
        let Some(storage) = current else {
            let mut store = Self { medium, file: File::Lost, log: None, found: Vec::new(), next };
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
            .and_then(|database| Ok((file::read(&database)?, database)));
        let (mut contents, name, database) = match contents.map_err(|cause| refusal(cause, path))? {
            (Read::Contents(contents, name), database) => (contents, name, database),
            (Read::Format(found), _) => {
                return Err(Error::Format { path: path.to_owned(), found, known: file::LOGGED });
            }
        };
        let found = match name {
            None => Vec::new(),
            Some(name) => logged(&mut medium, name).map_err(|cause| match cause {
                Unread::Io(cause) => failed(cause.to_string()),
                Unread::Damaged => {
                    let cause = "its log is not what was written".to_owned();
                    Error::Damaged { path: path.to_owned(), cause }
                }
            })?,
        };
        found.iter().for_each(|change| contents.apply(change));
        Ok((Self { medium, file: File::Open(database), log: None, found, next }, contents))
    }

    /// Waits until there may be another write.
    pub(crate) fn rest(&mut self) {
        self.medium.rest();
    }

    /// Writes and syncs. On an error nothing of it counts, and the next call makes the file anew from `held`, which is
    /// what readers see, without these changes.
    pub(crate) fn write(
        &mut self,
        changes: &[Change],
        revision: u64,
        held: impl FnOnce() -> Contents,
    ) -> Result<(), String> {
        if let File::Lost = self.file {
            return self.remake(&held(), changes, revision);
        }
        let written = self.commit(changes, revision);
        self.medium.wrote();
        if written.is_err() {
            self.lose();
        }
        written
    }

    fn commit(&mut self, changes: &[Change], revision: u64) -> Result<(), String> {
        self.take_folded(false)?;
        match self.log.take() {
            Some(log) if log::size(changes) <= log::LARGEST => {
                let mut log = if log.is_full() { self.turn(log)? } else { log };
                log.append(changes).map_err(said)?;
                // A file without its name takes everything, and is found by nobody.
                self.medium.in_place().map_err(said)?;
                self.log = Some(log);
                Ok(())
            }
            log => {
                self.take_folded(true)?;
                let (name, storage) = self.next_log(None)?;
                self.log = log;
                self.bring_home(changes, revision, Some(&name))?;
                self.log = Some(Log::new(name, storage, 0));
                Ok(())
            }
        }
    }

    /// At the end, or for who wants to be sure of it: the next start must find what was answered, though nothing was written
    /// since the file lost its name; and find it without a log, so that any version does.
    pub(crate) fn settle(&mut self, held: impl FnOnce() -> Contents) -> Result<(), String> {
        if self.medium.in_place().is_ok() {
            if let File::Lost = self.file {
                return Ok(());
            }
            if self.log.is_none() && self.found.is_empty() {
                return self.take_folded(true).inspect_err(|_| self.lose()).or(Ok(()));
            }
            let held = held();
            // Where this fails, file and log have everything as they are.
            if let Err(cause) = self.bring_home(&[], held.revision, None) {
                tracing::warn!(cause, "the state's log stays beside it, and is read at the next start");
                self.lose();
            }
            return Ok(());
        }
        self.lose();
        let held = held();
        self.remake(&held, &[], held.revision)
    }

    fn lose(&mut self) {
        self.log = None;
        self.found = Vec::new();
        // Who folds ends first: it writes into a file that may get its name back.
        if let File::Folding(folds) = std::mem::replace(&mut self.file, File::Lost) {
            let _ = folds.join();
        }
    }

    /// A new log, and its name.
    fn next_log(&mut self, after: Option<&Name>) -> Result<(Name, M::Storage), String> {
        let secret = after.map_or_else(|| self.medium.secret(), |name| Ok(name.secret)).map_err(said)?;
        let name = Name { number: self.next, secret };
        self.next += 1;
        let storage = self.medium.make_log(name.number).map_err(said)?;
        self.medium.sync_names().map_err(said)?;
        Ok((name, storage))
    }

    /// Writes all that logs have, and these changes, into the redb file, from which another log goes on or none.
    fn bring_home(&mut self, changes: &[Change], revision: u64, next: Option<&Name>) -> Result<(), String> {
        self.take_folded(true)?;
        let logged = self.log.as_ref().map_or(Ok(Vec::new()), Log::changes).map_err(unread)?;
        let all = [std::mem::take(&mut self.found), logged, changes.to_vec()].concat();
        let File::Open(database) = &self.file else { return Err("the file is lost".to_owned()) };
        put(database, &Contents::default(), &last_of_each(all), revision, next).map_err(said)?;
        self.medium.in_place().map_err(said)?;
        self.log = None;
        self.medium.keep_log(next.map(|name| name.number));
        self.medium.sync_names().map_err(said)
    }

    /// The log after a full one, which is folded into the redb file.
    fn turn(&mut self, full: Log<M::Storage>) -> Result<Log<M::Storage>, String> {
        self.take_folded(true)?;
        let (name, storage) = self.next_log(Some(&full.name))?;
        let next = Log::new(name, storage, full.records());
        let File::Open(database) = std::mem::replace(&mut self.file, File::Lost) else {
            return Err("the file is lost".to_owned());
        };
        let fold = move || {
            let changes = last_of_each(full.changes().map_err(unread)?);
            let revision = changes.iter().map(|change| change.revision.0).max().unwrap_or(0);
            put(&database, &Contents::default(), &changes, revision, Some(&name)).map_err(said)?;
            Ok(database)
        };
        self.file =
            File::Folding(thread::Builder::new().name("state fold".to_owned()).spawn(fold).map_err(said)?);
        self.take_folded(!M::FOLDS_ASIDE)?;
        Ok(next)
    }

    /// Takes the redb file back from who has folded a log into it, and lets that log go.
    fn take_folded(&mut self, wait: bool) -> Result<(), String> {
        if !matches!(&self.file, File::Folding(folds) if wait || folds.is_finished()) {
            return Ok(());
        }
        let File::Folding(folds) = std::mem::replace(&mut self.file, File::Lost) else { return Ok(()) };
        let database = folds.join().map_err(|_| "who folds the log has panicked".to_owned())??;
        self.file = File::Open(database);
        self.medium.in_place().map_err(said)?;
        self.medium.keep_log(self.next.checked_sub(1));
        self.medium.sync_names().map_err(said)
    }

    fn remake(&mut self, held: &Contents, changes: &[Change], revision: u64) -> Result<(), String> {
        let made = self.medium.fresh().map_err(said).and_then(|storage| {
            let database = builder().create_with_backend(storage).map_err(said)?;
            put(&database, held, changes, revision, None).map_err(said)?;
            // The file's data is synced by the commit.
            let named = self.medium.adopt().and_then(|()| self.medium.sync_names());
            named.and_then(|()| self.medium.in_place()).map_err(said)?;
            Ok(database)
        });
        match made {
            Ok(database) => self.file = File::Open(database),
            Err(cause) => {
                self.medium.abandon();
                return Err(cause);
            }
        }
        self.medium.keep_log(None);
        Ok(())
    }
}

fn said(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}

fn unread(cause: Unread) -> String {
    match cause {
        Unread::Io(cause) => cause.to_string(),
        Unread::Damaged => "the state's log does not read as it was written".to_owned(),
    }
}

/// All that the logs have which go on from the redb file: one, or two where the first was not folded to the end.
fn logged<M: Medium>(medium: &mut M, name: Name) -> Result<Vec<Change>, Unread> {
    let numbers = medium.logs()?;
    if !numbers.contains(&name.number) {
        return Err(Unread::Damaged);
    }
    let first = log::read(&name, &medium.log(name.number)?)?;
    let mut changes = first.changes;
    let mut records = first.records;
    for number in numbers.into_iter().filter(|number| *number > name.number) {
        let found = log::read(&Name { number, ..name }, &medium.log(number)?)?;
        match found.before {
            None => continue,
            Some(before) if before == records => {}
            Some(_) => return Err(Unread::Damaged),
        }
        changes.extend(found.changes);
        records = found.records;
    }
    Ok(changes)
}

/// The last change of each key, in order of the keys: redb writes a page once where its keys come one after the other.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut last = BTreeMap::new();
    for change in changes {
        last.insert(change.key.clone(), change);
    }
    last.into_values().collect()
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
