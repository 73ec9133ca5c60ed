//! The one way in which oneroot opens a file by name: a regular file and nothing else, without waiting; below a held directory
//! and through no symbolic link, or by a path that the admin wrote.
//!
//! `openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`: a name can't leave the directory,
//! not even while somebody swaps a directory for a link. `O_NONBLOCK`, so that a FIFO can't hang us.
//!
//! systemd's `RestrictSUIDSGID=` forbids that call, whose modes no filter can see. Then a name is walked step by step,
//! each with `O_NOFOLLOW` from the directory that the step before has opened: the same promise, for a call more a step.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// This process has no `openat2`.
static WITHOUT: AtomicBool = AtomicBool::new(false);

/// Opens a regular file that the admin named, for reading; links on the way to it are the admin's own. A FIFO, a device or a
/// directory is refused, and none is waited for.
///
/// # Errors
/// The system's; `InvalidInput` for anything that is not a regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Asked first, for opening a device can do something to it; and again of what is open, for the name may mean another
    // file by then.
    if !std::fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// [`open_file`], read to its end.
///
/// # Errors
/// As [`open_file`].
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file whose only use is to be locked, and makes it where there is none.
///
/// # Errors
/// As [`open_file`].
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(no_file());
    }
    regular(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Opens a directory or a regular file that is to be locked or synced, through no link and without waiting for anything.
///
/// # Errors
/// The system's.
pub(crate) fn open_either(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// A directory that is held open; names are looked up below it and nowhere else.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory that the admin named; links on the way to it are the admin's own.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// The same of what is itself a directory, and no link to one.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open_itself(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// Where it was when it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same directory, held once more.
    ///
    /// # Errors
    /// The system's.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, path: self.path.clone() })
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// The system's; `EXDEV`, `ELOOP` or `ENOTDIR` for a name that leads out or through a link.
    pub fn dir(&self, name: &[u8]) -> io::Result<Self> {
        let fd = self.openat(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd, path: self.path.join(OsStr::from_bytes(name)) })
    }

    /// The same through nothing that is mounted, where the kernel can see to that.
    ///
    /// # Errors
    /// As [`dir`](Self::dir); `EXDEV` for what is mounted, too.
    pub(crate) fn unmounted_dir(&self, name: &[u8]) -> io::Result<Self> {
        let resolve = BENEATH | ResolveFlags::NO_XDEV;
        let fd = self.opened(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), resolve)?;
        Ok(Self { fd, path: self.path.join(OsStr::from_bytes(name)) })
    }

    /// Opens a regular file below this one, for reading.
    ///
    /// # Errors
    /// The system's; `InvalidInput` for anything that is not a regular file.
    pub fn file(&self, name: &[u8]) -> io::Result<File> {
        regular(File::from(self.openat(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?))
    }

    /// Makes a file that did not exist, for writing; nobody may change it later under its name.
    ///
    /// # Errors
    /// The system's.
    pub fn create(&self, name: &[u8]) -> io::Result<File> {
        self.create_mode(name, Mode::RUSR)
    }

    /// [`create`](Self::create), with this mode, whatever the umask says.
    ///
    /// # Errors
    /// The system's.
    pub fn create_mode(&self, name: &[u8], mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = File::from(self.openat(name, flags, mode)?);
        rustix::fs::fchmod(&file, mode)?;
        Ok(file)
    }

    fn openat(&self, name: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.opened(name, flags, mode, BENEATH)
    }

    fn opened(&self, name: &[u8], flags: OFlags, mode: Mode, resolve: ResolveFlags) -> io::Result<OwnedFd> {
        if WITHOUT.load(Ordering::Relaxed) {
            return Ok(self.walk(name, flags, mode)?);
        }
        // The kernel answers EAGAIN when a rename raced with a lookup that has to stay beneath; it asks to try again.
        for _ in 0..16 {
            match rustix::fs::openat2(&self.fd, name, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    WITHOUT.store(true, Ordering::Relaxed);
                    return Ok(self.walk(name, flags, mode)?);
                }
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens a name without `openat2`. Nothing leads up: `..` is refused, and what a directory was moved to meanwhile is of
    /// no account, for it was beneath when it was opened.
    fn walk(&self, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        if name.first() == Some(&b'/') || name.split(|byte| *byte == b'/').any(|step| step == b"..") {
            return Err(Errno::XDEV);
        }
        let mut steps = name.split(|byte| *byte == b'/').filter(|step| !step.is_empty()).peekable();
        let mut held: Option<OwnedFd> = None;
        while let Some(step) = steps.next() {
            let from = held.as_ref().unwrap_or(&self.fd);
            let always = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if steps.peek().is_none() {
                return rustix::fs::openat(from, step, flags | always, mode);
            }
            let passing = OFlags::PATH | OFlags::DIRECTORY | always;
            held = Some(rustix::fs::openat(from, step, passing, Mode::empty())?);
        }
        Err(Errno::NOENT)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A way to open a file below a directory.
    type Way = fn(&Dir, &[u8]) -> io::Result<OwnedFd>;

    /// What the kernel resolves, and what is walked where it must not.
    const WAYS: [Way; 2] = [
        |dir, name| Ok(rustix::fs::openat2(dir, name, OFlags::RDONLY, Mode::empty(), BENEATH)?),
        |dir, name| Ok(dir.walk(name, OFlags::RDONLY, Mode::empty())?),
    ];

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("in/deep/er")).unwrap();
        std::fs::write(home.path().join("secret"), "x").unwrap();
        std::fs::write(home.path().join("in/deep/er/file"), "x").unwrap();
        symlink("../secret", home.path().join("in/relative")).unwrap();
        symlink(home.path().join("secret"), home.path().join("in/absolute")).unwrap();
        symlink("..", home.path().join("in/up")).unwrap();
        symlink("deep", home.path().join("in/inside")).unwrap();
        let dir = Dir::open(&home.path().join("in")).unwrap();
        for way in WAYS {
            for name in ["deep/er/file", "deep//er/file", "./deep/er/file", "deep/er"] {
                assert!(way(&dir, name.as_bytes()).is_ok(), "{name}");
            }
            for name in [
                "../secret",
                "relative",
                "absolute",
                "up/secret",
                "/etc/passwd",
                "",
                "deep/../../secret",
                "inside",
                "inside/er/file",
                "deep/er/file/x",
                "deep/none/x",
                "..",
            ] {
                assert!(way(&dir, name.as_bytes()).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn a_file_that_is_walked_to_is_made_once_and_with_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("a")).unwrap();
        let dir = Dir::open(home.path()).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        assert!(dir.walk(b"a/b", flags, Mode::RUSR).is_ok());
        assert_eq!(dir.walk(b"a/b", flags, Mode::RUSR).unwrap_err(), Errno::EXIST);
        let made = std::fs::metadata(home.path().join("a/b")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o400);
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            home.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(Dir::open(home.path()).unwrap().file(b"fifo").is_err());
        assert!(open_file(&home.path().join("fifo")).is_err());
        // Past the first look at the name, too.
        let opened = rustix::fs::open(
            home.path().join("fifo"),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        assert!(regular(File::from(opened.unwrap())).is_err());
        assert!(open_file(Path::new("/dev/zero")).is_err());
    }
}
