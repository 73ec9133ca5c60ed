//! `staging/`: where everything is written before it has its name, and how what a crash left there is told from what is
//! being written.
//!
//! Whatever lies in `staging/` is locked by whoever writes it, from its first moment on: the kernel lets the lock go with
//! the process, however that ends, so what can be locked is litter. A process's number would not do: after a restart
//! another program has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;
use crate::confine::{Dir, open_either};
use crate::error::{Error, Result};
use crate::lock::Lock;

/// Pieces of litter that one sweep takes at most: each is held open meanwhile. The next one goes on.
const SWEPT: usize = 256;

/// A directory of one's own in the store's file system. It goes when this is dropped, with what has not got a name by
/// then: a stage that failed for a full disk must not keep it full.
pub struct StagingDir {
    dir: Dir,
    _lock: Lock,
}

impl StagingDir {
    /// Its path, below the store's `staging/`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // What can't be removed now is swept by a later stage.
        let _ = fs::remove_dir_all(self.dir.path());
    }
}

impl Store {
    /// Sweeps, and makes a directory for a stage, or for what is to be staged.
    ///
    /// # Errors
    /// The system's.
    pub fn staging_dir(&self) -> Result<StagingDir> {
        self.in_place()?;
        let staging = self.path().join("staging");
        sweep(&staging)?;
        let (lock, path) = locked(&staging, |path| {
            super::make_directory(path)?;
            File::open(path)
        })?;
        let dir = Dir::open(&path).map_err(Error::io("open", &path))?;
        Ok(StagingDir { dir, _lock: lock })
    }

    /// Puts a small file in place; see [`write_whole`].
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.in_place()?;
        self.temp_file(path, bytes)?.put()
    }

    /// Writes what is to be at `path`, without its name, and syncs it.
    pub(super) fn temp_file(&self, path: &Path, bytes: &[u8]) -> Result<TempFile> {
        TempFile::write(&self.path().join("staging"), path, bytes, !self.is_look())
    }

    /// Makes the names in one of its directories last.
    pub(super) fn sync_names(&self, directory: &Path) -> Result<()> {
        if self.is_look() { Ok(()) } else { sync_names(directory) }
    }
}

/// Puts a file in place: write it under `staging`, sync, rename, sync the directory. A crash leaves the old or the new, and
/// perhaps a file for the next sweep.
pub(super) fn write_whole(staging: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    TempFile::write(staging, path, bytes, true)?.put()
}

/// A file's bytes, on the disk and without its name yet. It goes when this is dropped.
pub(crate) struct TempFile {
    /// Until it has its name.
    temporary: Option<PathBuf>,
    path: PathBuf,
    /// Whether it is to outlast a power cut.
    lasts: bool,
    _lock: Lock,
}

impl TempFile {
    /// Writes what is to be at `path`, and syncs it where it is to last.
    fn write(staging: &Path, path: &Path, bytes: &[u8], lasts: bool) -> Result<Self> {
        let (lock, temporary) =
            locked(staging, |path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))?;
        let mut file = lock.file();
        let written = file.write_all(bytes).and_then(|()| if lasts { file.sync_all() } else { Ok(()) });
        let temp = Self { temporary: Some(temporary), path: path.to_owned(), lasts, _lock: lock };
        written.map_err(Error::io("write", path))?;
        Ok(temp)
    }

    /// Gives it its name, which lasts when this returns.
    pub(super) fn put(mut self) -> Result<()> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(Error::io("write", &self.path))?;
        }
        self.temporary = None;
        if self.lasts { sync_names(self.path.parent().unwrap_or(Path::new("."))) } else { Ok(()) }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What can't be removed now is swept by the next stage.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Makes the names in a directory last.
pub(super) fn sync_names(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(Error::io("sync", directory))
}

/// Makes something in `staging` under a name that nothing there has, and locks it.
fn locked(staging: &Path, make: impl Fn(&Path) -> io::Result<File>) -> Result<(Lock, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Between making and locking, a sweep would take it for litter; so it has to wait for that long.
    let _gate = gate(staging, Lock::shared)?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = staging.join(format!("{}-{count}", std::process::id()));
        match make(&path) {
            Ok(made) => {
                let lock = Lock::now(made).map_err(Error::io("lock", &path))?;
                return Ok((lock, path));
            }
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(Error::io("create", &path)(cause)),
        }
    }
}

/// Removes what crashed processes left: everything whose lock nobody holds.
fn sweep(staging: &Path) -> Result<()> {
    let gate = gate(staging, Lock::alone)?;
    let mut litter = Vec::new();
    for entry in fs::read_dir(staging).map_err(Error::io("list", staging))?.flatten() {
        let path = entry.path();
        let Ok(left) = open_either(&path) else { continue };
        if let Ok(lock) = Lock::now(left) {
            litter.push((lock, path));
        }
        if litter.len() == SWEPT {
            break;
        }
    }
    // Removing may take long, and nobody has to wait for it: the litter is locked, and its names are not given again
    // while it is there.
    drop(gate);
    for (_lock, path) in litter {
        let removed = fs::remove_file(&path);
        if removed.is_err() {
            // What can't be removed now is litter for the next sweep too.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// The turn to stage, until it is dropped.
pub struct Turn {
    _lock: Lock,
}

impl Store {
    /// Waits until nobody else has the turn to stage; `waits` is called once if somebody has. Stages don't need it to be
    /// right, only to do no work twice.
    ///
    /// # Errors
    /// The system's.
    pub fn turn(&self, waits: &mut dyn FnMut()) -> Result<Turn> {
        self.in_place()?;
        // What stages remember of directories; nobody else locks it.
        let seen = self.path().join("seen");
        match File::open(&seen).and_then(Lock::now) {
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                waits();
                gate(&seen, Lock::alone).map(|lock| Turn { _lock: lock })
            }
            lock => lock.map(|lock| Turn { _lock: lock }).map_err(Error::io("lock", &seen)),
        }
    }
}

/// Locks a directory of the store. Others wait, so it is held for moments only, but for the turn to stage.
pub(super) fn gate(directory: &Path, how: impl Fn(File) -> io::Result<Lock>) -> Result<Lock> {
    let gate = File::open(directory).map_err(Error::io("open", directory))?;
    how(gate).map_err(Error::io("lock", directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        (home, store)
    }

    fn left(store: &Store) -> usize {
        fs::read_dir(store.path().join("staging")).unwrap().count()
    }

    #[test]
    fn what_processes_that_are_gone_left_is_swept_whatever_number_they_had() {
        let (_home, store) = store();
        let staging = store.path().join("staging");
        // Our own number: a process of before a restart may have had it.
        for name in ["999999-0".to_owned(), format!("{}-9999999", std::process::id())] {
            fs::create_dir(staging.join(&name)).unwrap();
            fs::write(staging.join(&name).join("o0"), "half").unwrap();
            fs::write(staging.join(name + "0"), "a head that was cut off").unwrap();
        }
        drop(store.staging_dir().unwrap());
        assert_eq!(left(&store), 0);
    }

    #[test]
    fn what_is_being_written_is_not_swept() {
        let (_home, store) = store();
        let running = store.staging_dir().unwrap();
        let staging = store.path().join("staging");
        let (_file, path) =
            locked(&staging, |path| OpenOptions::new().write(true).create_new(true).open(path)).unwrap();
        drop(store.staging_dir().unwrap());
        assert!(running.path().exists() && path.exists());
    }

    #[test]
    fn sweeps_never_take_what_others_have_just_begun() {
        let (_home, store) = store();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..200 {
                        let place = store.staging_dir().unwrap();
                        fs::write(place.path().join("o0"), "x").unwrap();
                        let head = store.path().join(format!("refs/{writer}"));
                        store.write_whole(&head, format!("{round}").as_bytes()).unwrap();
                    }
                });
            }
        });
        assert_eq!(left(&store), 0);
    }

    #[test]
    fn a_stage_that_fails_leaves_nothing() {
        let (home, store) = store();
        let mut stage = crate::Stage::begin(&store, |_| {}).unwrap();
        stage.object(&[7u8; 100_000][..], b"big").unwrap();
        assert!(stage.directory(&home.path().join("not there")).is_err());
        drop(stage);
        assert_eq!(left(&store), 0);
        assert!(store.write_whole(&home.path().join("not there/x"), b"x").is_err());
        assert_eq!(left(&store), 0);
    }
}
