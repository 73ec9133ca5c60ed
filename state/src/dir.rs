//! The state directory: who may use it, and how a file in it gets its name durably.
//!
//! `lock` says which process has it. `state.redb` is the file that counts, and `state.log.NUMBER` goes on from it where it says
//! so. `state.redb.new` is one that was being made when the process ended, and counts for nothing.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use rustix::fs::OFlags;

use crate::Error;
use crate::store::Medium;

/// Leases name who is where, and the handle key opens every root: nobody but us reads them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Whoever can enter the directory can ask the server for all of it, and whoever can write there could put another key in its
/// place.
const OTHERS: u32 = 0o077;

/// What the name of a log begins with; its number follows.
const LOG: &str = "state.log.";

/// Time between the end of a write and the beginning of the next. Whoever comes after a longer silence waits for nothing, and a
/// storm of machines pays for 250 syncs a second at most: a lease is answered by so much later, and costs less than half.
const REST: Duration = Duration::from_millis(4);

/// Through no link, and without waiting for the other end of a FIFO.
const QUIETLY: i32 = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).cast_signed();

/// A file that is open, so that no other can get its inode number: who it is need not be asked again with each commit.
struct OpenFile {
    file: File,
    device: u64,
    inode: u64,
}

impl OpenFile {
    fn new(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { file, device: found.dev(), inode: found.ino() })
    }

    fn is(&self, found: &fs::Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino())
    }
}

/// A locked state directory.
pub(crate) struct Dir {
    path: PathBuf,
    /// The directory itself, whatever has its name by now.
    home: OpenFile,
    /// Held as long as this lives; the kernel lets it go with the process, however that ends.
    lock: OpenFile,
    /// The file that counts.
    held: Option<OpenFile>,
    /// The one that is being made.
    fresh: Option<File>,
    /// The log that is written, and one that is still to be folded, with their numbers.
    logs: Vec<(u64, OpenFile)>,
    /// When the last write had ended.
    wrote: Option<Instant>,
}

impl Drop for Dir {
    /// Gives the lock itself back: a program that is being started by another thread has this file too, until its `exec`, and
    /// would keep the state from whoever opens it next.
    fn drop(&mut self) {
        let _ = self.lock.file.unlock();
    }
}

/// What a start would find by now.
enum InPlace {
    /// The file that counts, in the directory that is locked.
    Ours,
    /// No state, or ours in another directory.
    Nothing(&'static str),
    /// A state that is not ours.
    Another,
}

impl Dir {
    /// Makes the directory where there is none, and takes it for this process.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Open`].
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let cannot = |cause: io::Error| Error::Open { path: path.to_owned(), cause: cause.to_string() };
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(cannot)?;
        // One that was there already keeps its owner and its mode, whatever was asked for above.
        if let Some(cause) = not_ours_alone(path, &fs::metadata(path).map_err(cannot)?) {
            return Err(Error::Open { path: path.to_owned(), cause });
        }
        let home = File::open(path).and_then(OpenFile::new).map_err(cannot)?;
        let lock = OpenFile::new(lock(path)?).map_err(cannot)?;
        Ok(Self { path: path.to_owned(), home, lock, held: None, fresh: None, logs: Vec::new(), wrote: None })
    }

    /// What lies in the configured place: files are removed, and directories moved away, under a program that has them open.
    fn found(&self) -> io::Result<InPlace> {
        let there = match fs::metadata(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(InPlace::Nothing("the state directory is gone"));
            }
            there => there?,
        };
        // Before the directories are compared: somebody else's state must be known for that wherever it lies, or it would
        // be written over.
        match fs::symlink_metadata(self.file()) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(InPlace::Nothing("the state's file was removed"));
            }
            Err(cause) => return Err(cause),
            Ok(file) => match &self.held {
                Some(held) if held.is(&file) => {}
                _ => return Ok(InPlace::Another),
            },
        }
        if !self.home.is(&there) {
            return Ok(InPlace::Nothing("another directory is in the place of the state's"));
        }
        if !self.has_logs()? {
            return Ok(InPlace::Nothing("the state's log was removed"));
        }
        Ok(if self.has_lock()? { InPlace::Ours } else { InPlace::Nothing("the state's lock was removed") })
    }

    fn has_logs(&self) -> io::Result<bool> {
        for (number, log) in &self.logs {
            match fs::symlink_metadata(self.log_file(*number)) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
                there => {
                    if !log.is(&there?) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn has_lock(&self) -> io::Result<bool> {
        match fs::symlink_metadata(self.path.join("lock")) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            there => Ok(self.lock.is(&there?)),
        }
    }

    /// Makes the place one's own again, where nobody else's state is.
    fn take_again(&mut self) -> io::Result<()> {
        let taken = self.try_to_take();
        taken.map_err(|cause| match cause.kind() {
            // A server that is confined to its directories has no other one in their place.
            io::ErrorKind::PermissionDenied => io::Error::other(format!(
                "{} is not the directory that this server was given at its start, and it may not make another ({cause}); \
                 move it back, or put a backup there and start again",
                self.path.display()
            )),
            _ => cause,
        })
    }

    fn try_to_take(&mut self) -> io::Result<()> {
        let shown = self.path.display();
        if let InPlace::Another = self.found()? {
            return Err(io::Error::other(format!(
                "{shown} has a state that is not this server's, which stays as it is; put the right one there and start again"
            )));
        }
        let device = self.home.device;
        // Under a mount point whose disk is gone lies a directory that the disk will hide again.
        let elsewhere = || {
            io::Error::other(format!("{shown} is on another file system than it was; is its disk mounted?"))
        };
        if fs::metadata(&self.path).is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound) {
            let parent = File::open(self.path.parent().unwrap_or(Path::new("/")))?;
            if parent.metadata()?.dev() != device {
                return Err(elsewhere());
            }
            fs::DirBuilder::new().mode(DIR_MODE).create(&self.path)?;
            // Or a power cut could take the directory, and with it a state that was answered from.
            parent.sync_all()?;
        }
        let home = File::open(&self.path)?;
        let found = home.metadata()?;
        if found.dev() != device {
            return Err(elsewhere());
        }
        if let Some(cause) = not_ours_alone(&self.path, &found) {
            return Err(io::Error::other(format!("{shown} {cause}")));
        }
        if !self.home.is(&found) || !self.has_lock()? {
            self.lock = OpenFile::new(lock(&self.path).map_err(io::Error::other)?)?;
            self.home = OpenFile::new(home)?;
            tracing::warn!(
                directory = %shown,
                "the state directory was removed or replaced, and is made anew; commands that ask the server find it again after a restart"
            );
        }
        Ok(())
    }

    /// The file that counts.
    pub(crate) fn file(&self) -> PathBuf {
        file_in(&self.path)
    }

    fn fresh_file(&self) -> PathBuf {
        self.path.join("state.redb.new")
    }

    fn log_file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{LOG}{number}"))
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
        let file = OpenOptions::new().read(true).write(true).custom_flags(QUIETLY).open(self.file())?;
        // One that somebody has copied here may have another mode.
        if file.metadata()?.permissions().mode() & OTHERS != 0 {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        self.held = Some(OpenFile::new(file.try_clone()?)?);
        FileBackend::new(file).map(Some).map_err(io::Error::other)
    }

    fn in_place(&mut self) -> io::Result<()> {
        match self.found()? {
            InPlace::Ours => Ok(()),
            InPlace::Nothing(cause) => Err(io::Error::other(cause)),
            InPlace::Another => Err(io::Error::other("another state is in the place of this server's")),
        }
    }

    fn fresh(&mut self) -> io::Result<FileBackend> {
        self.take_again()?;
        self.abandon();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.fresh_file())?;
        self.fresh = Some(file.try_clone()?);
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn adopt(&mut self) -> io::Result<()> {
        fs::rename(self.fresh_file(), self.file())?;
        self.held = self.fresh.take().map(OpenFile::new).transpose()?;
        self.logs.clear();
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn abandon(&mut self) {
        self.fresh = None;
        match fs::remove_file(self.fresh_file()) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.fresh_file().display(), %cause, "a left-over file cannot be removed");
            }
            _ => {}
        }
    }

    fn logs(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_prefix(LOG)?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn log(&mut self, number: u64) -> io::Result<FileBackend> {
        let file = OpenOptions::new().read(true).custom_flags(QUIETLY).open(self.log_file(number))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("the state's log is not a file; move it away"));
        }
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn make_log(&mut self, number: u64) -> io::Result<FileBackend> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(self.log_file(number))?;
        self.logs.push((number, OpenFile::new(file.try_clone()?)?));
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn keep_log(&mut self, number: Option<u64>) {
        self.logs.retain(|(known, _)| Some(*known) == number);
        for other in self.logs().unwrap_or_default().into_iter().filter(|other| Some(*other) != number) {
            let file = self.log_file(other);
            if let Err(cause) = fs::remove_file(&file) {
                tracing::warn!(file = %file.display(), %cause, "a left-over file cannot be removed");
            }
        }
    }

    fn rest(&mut self) {
        if let Some(wrote) = self.wrote {
            thread::sleep(REST.saturating_sub(wrote.elapsed()));
        }
    }

    fn wrote(&mut self) {
        self.wrote = Some(Instant::now());
    }

    fn secret(&mut self) -> io::Result<[u8; 32]> {
        let mut secret = [0; 32];
        let got = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
        if got == secret.len() { Ok(secret) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    const FOLDS_ASIDE: bool = true;
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
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is had, the file has the number of the process that holds it, which is told.
    let options = options.write(true).create(true).truncate(false).mode(FILE_MODE).custom_flags(QUIETLY);
    let mut file = options.open(&path).map_err(cannot)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_closed_can_be_opened_at_once_whoever_has_inherited_its_lock() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let dir = Dir::take(&path).unwrap();
        let inherited = dir.lock.file.try_clone().unwrap();
        assert!(matches!(Dir::take(&path), Err(Error::InUse { .. })));
        drop(dir);
        Dir::take(&path).unwrap();
        drop(inherited);
    }

    #[test]
    fn a_write_begins_a_while_after_the_one_before_and_the_first_at_once() {
        let home = tempfile::tempdir().unwrap();
        let mut dir = Dir::take(&home.path().join("state")).unwrap();
        assert_eq!(dir.wrote, None, "nothing to rest from");
        for _ in 0..3 {
            dir.wrote();
            let wrote = dir.wrote.unwrap();
            dir.rest();
            assert!(wrote.elapsed() >= REST);
        }
    }
}
