//! A file that a command writes where the admin said: a backup, an archive. It has its name when it is whole, or never.
//!
//! It is written under a name of its own in the same directory, for its owner alone (what is in it is as secret as the
//! server), made with `O_EXCL | O_NOFOLLOW`, so that nothing that lies there is followed, kept or cut; then synced, then
//! renamed. A file that is there already stays, unless it is to be replaced; what is not a regular file always stays.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use crate::confine::Dir;
use crate::error::{Error, Result};

/// Names that are tried, where others have files of such names.
const TRIES: u32 = 64;

/// A file under way. Dropped without [`keep`](Self::keep), it is gone.
pub struct NewFile {
    parent: Dir,
    /// Until it has its name.
    temporary: Option<String>,
    path: PathBuf,
    file: File,
    replace: bool,
}

impl NewFile {
    /// Begins a file that is to be at `path`. With `replace`, a regular file that is there goes when this one is whole.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NotReplaced`], or the system's.
    pub fn begin(path: &Path, replace: bool) -> Result<Self> {
        let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = Dir::open(above).map_err(Error::io("open", above))?;
        look(&parent, path, replace)?;
        for count in 0..TRIES {
            let name = format!(".oneroot-{}-{count}.part", std::process::id());
            match parent.create_mode(name.as_bytes(), Mode::RUSR | Mode::WUSR) {
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::io("create a file in", above)(cause)),
                Ok(file) => {
                    return Ok(Self { parent, temporary: Some(name), path: path.to_owned(), file, replace });
                }
            }
        }
        Err(Error::io("create a file in", above)(io::Error::from(ErrorKind::AlreadyExists)))
    }

    /// Where its bytes go.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name; both last when this returns.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), for what has come to lie there meanwhile. Then the file is gone.
    pub fn keep(mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let named = self.name_it(&temporary);
        if named.is_err() {
            self.temporary = Some(temporary);
        }
        named?;
        rustix::fs::fsync(&self.parent).map_err(Error::io("sync", self.parent.path()))
    }

    fn name_it(&self, temporary: &str) -> Result<()> {
        let failed = |cause: io::Error| Error::io("name", &self.path)(cause);
        look(&self.parent, &self.path, self.replace)?;
        let name = name_of(&self.path)?;
        let how = if self.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&self.parent, temporary, &self.parent, name, how) {
            Err(Errno::EXIST) => return Err(Error::Exists { path: self.path.clone() }),
            // A file system without such a rename (NFS): it was just looked whether there is one.
            Err(Errno::INVAL | Errno::NOSYS) if !self.replace => {
                rustix::fs::renameat(&self.parent, temporary, &self.parent, name)
                    .map_err(|cause| failed(cause.into()))?;
            }
            renamed => renamed.map_err(|cause| failed(cause.into()))?,
        }
        // Whoever may write in the directory could have put another file under the temporary name.
        let ours = rustix::fs::fstat(&self.file).map_err(|cause| failed(cause.into()))?;
        let there = rustix::fs::statat(&self.parent, name, AtFlags::SYMLINK_NOFOLLOW);
        match there {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => Ok(()),
            Ok(_) => {
                let cause =
                    "somebody else put another file in its place; write it into a directory of your own";
                Err(failed(io::Error::other(cause)))
            }
            Err(cause) => Err(failed(cause.into())),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What can't be removed says by its name what it is.
            let _ = rustix::fs::unlinkat(&self.parent, temporary.as_str(), AtFlags::empty());
        }
    }
}

/// Whether what lies there lets a file of this name be written.
fn look(parent: &Dir, path: &Path, replace: bool) -> Result<()> {
    match rustix::fs::statat(parent, name_of(path)?, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(Error::io("look at", path)(cause)),
        // A link's target, a device or a FIFO is not what the name seems to be.
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
            Err(Error::NotReplaced { path: path.to_owned() })
        }
        Ok(_) if replace => Ok(()),
        Ok(_) => Err(Error::Exists { path: path.to_owned() }),
    }
}

fn name_of(path: &Path) -> Result<&[u8]> {
    let name = path.file_name().map(|name| name.as_bytes());
    name.ok_or_else(|| Error::io("write", path)(io::Error::from(ErrorKind::IsADirectory)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn names(home: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(home)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(path: &Path, text: &str, replace: bool) -> Result<()> {
        let new = NewFile::begin(path, replace)?;
        new.file().write_all(text.as_bytes()).unwrap();
        new.keep()
    }

    #[test]
    fn a_file_is_there_whole_for_its_owner_alone_and_nothing_else_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("backup");
        let new = NewFile::begin(&path, false).unwrap();
        new.file().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(new);
        assert!(names(home.path()).is_empty());
        write(&path, "whole", false).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(home.path()).len()), ("whole", 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_there_stays_unless_it_is_a_file_that_is_to_be_replaced() {
        let home = tempfile::tempdir().unwrap();
        let (path, target, link) =
            (home.path().join("a"), home.path().join("target"), home.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(&target, "target").unwrap();
        symlink("target", &link).unwrap();
        fs::create_dir(home.path().join("directory")).unwrap();
        assert!(matches!(write(&path, "new", false), Err(Error::Exists { .. })));
        for odd in ["link", "directory"] {
            for replace in [false, true] {
                let refused = write(&home.path().join(odd), "new", replace);
                assert!(matches!(refused, Err(Error::NotReplaced { .. })), "{odd}");
            }
        }
        assert!(write(Path::new("/dev/null"), "new", true).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_to_string(&target).unwrap(), "target");
        write(&path, "new", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "not the old one's");
        assert_eq!(names(home.path()), ["a", "directory", "link", "target"]);
    }

    #[test]
    fn what_comes_to_lie_there_meanwhile_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        let new = NewFile::begin(&path, false).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(matches!(new.keep(), Err(Error::Exists { .. })));
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(home.path()).len()), ("other", 1));
    }

    #[test]
    fn a_link_that_waits_under_the_temporary_name_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        fs::write(&target, "target").unwrap();
        symlink("target", home.path().join(format!(".oneroot-{}-0.part", std::process::id()))).unwrap();
        write(&home.path().join("a"), "new", false).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "target");
        assert_eq!(fs::read_to_string(home.path().join("a")).unwrap(), "new");
    }
}
