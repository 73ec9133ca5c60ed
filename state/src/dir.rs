//! The state directory: who may use it, and how a file in it gets its name durably.
//!
//! `lock` says which process has it (hostile-inputs L5). `state.redb` is the file that counts. `state.redb.new` is one
//! that was being made when the process ended, and counts for nothing (L6).

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;

use crate::Error;
use crate::store::Medium;

/// Leases name who is where, and the handle key opens every root: nobody but us reads them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Whoever can enter the directory can ask the server for all of it, and whoever can write there could put another key in its
/// place.
const OTHERS: u32 = 0o077;

/// A locked state directory.
pub(crate) struct Dir {
    path: PathBuf,
    /// Held as long as this lives; the kernel lets it go with the process, however that ends.
    _lock: File,
}

impl Dir {
    /// Makes the directory where there is none, and takes it for this process.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Open`].
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let cannot = |cause: io::Error| Error::Open { path: path.to_owned(), cause: cause.to_string() };
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(cannot)?;
        if let Some(cause) = not_ours_alone(path, &fs::metadata(path).map_err(cannot)?) {
            return Err(Error::Open { path: path.to_owned(), cause });
        }
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// The file that counts.
    pub(crate) fn file(&self) -> PathBuf {
        file_in(&self.path)
    }

    fn fresh_file(&self) -> PathBuf {
        self.path.join("state.redb.new")
    }
}

impl Medium for Dir {
    type Storage = FileBackend;

    fn current(&mut self) -> io::Result<Option<FileBackend>> {
        self.abandon();
        match fs::symlink_metadata(self.file()) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(io::Error::other("it is not a file; move it away")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        }
        let file = OpenOptions::new().read(true).write(true).open(self.file())?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        FileBackend::new(file).map(Some).map_err(io::Error::other)
    }

    fn fresh(&mut self) -> io::Result<FileBackend> {
        self.abandon();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.fresh_file())?;
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn adopt(&mut self) -> io::Result<()> {
        fs::rename(self.fresh_file(), self.file())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn abandon(&mut self) {
        match fs::remove_file(self.fresh_file()) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.fresh_file().display(), %cause, "a left-over file cannot be removed");
            }
            _ => {}
        }
    }
}

/// Why others could read or change what is in a directory, and how to end that.
fn not_ours_alone(path: &Path, meta: &fs::Metadata) -> Option<String> {
    let (mode, owner) = (meta.permissions().mode() & 0o7777, meta.uid());
    let user = rustix::process::geteuid();
    if owner != user.as_raw() {
        let to = if user.is_root() { "root".to_owned() } else { user.as_raw().to_string() };
        return Some(format!(
            "belongs to user {owner}, who could read and change it; chown {to} {}",
            path.display()
        ));
    }
    (mode & OTHERS != 0).then(|| {
        format!(
            "others may enter it (mode {mode:04o}), and it has the keys of every root; chmod 700 {}",
            path.display()
        )
    })
}

/// The file that counts, in a state directory.
pub(crate) fn file_in(dir: &Path) -> PathBuf {
    dir.join("state.redb")
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let cannot = |cause: io::Error| Error::Open { path: path.clone(), cause: cause.to_string() };
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(&path);
    let mut file = open.map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
            return Err(Error::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(cause)) => return Err(cannot(cause)),
    }
    // For people, and for the other's message. On a full disk the lock holds without it.
    if let Err(cause) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
        tracing::warn!(path = %path.display(), %cause, "the lock does not say who holds it");
    }
    Ok(file)
}
