//! A directory as a source: a chroot, a layer in an admin's home, an overlayfs upper directory.
//!
//! Every file is opened below a held directory and through no link ([`crate::confine`]), then described from the open
//! file itself, so a name that changes under the walk can't smuggle anything in. Other file systems mounted inside are
//! left out, as `--one-file-system` does: a chroot often has `/proc` mounted.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Stat};

use super::Stage;
use super::archive::{opaque, without_overlay_marks};
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

/// Names met so far for files that have more than one, by device and inode number.
type Links = HashMap<(u64, u64), Vec<u8>>;

impl Stage<'_> {
    /// Reads a whole directory tree into the stage.
    ///
    /// # Errors
    /// The system's, or [`Error::Entry`].
    pub fn directory(&mut self, root: &std::path::Path) -> Result<()> {
        let dir = Dir::open(root).map_err(Error::io("open", root))?;
        let stat = rustix::fs::fstat(&dir).map_err(Error::io("stat", root))?;
        let mut links = Links::new();
        let meta = described(&stat, xattrs(&dir).map_err(Error::io("read attributes of", root))?);
        self.insert(&TreePath::default(), without_overlay_marks(meta), Content::Directory { opaque: false })?;
        // A stack of paths, not of calls: a deep tree must not end the process. Directories are opened again from the
        // root, so the walk holds one descriptor, however deep it is.
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            self.read_directory(&dir, &path, stat.st_dev, &mut links, &mut todo)?;
        }
        Ok(())
    }

    fn read_directory(
        &mut self,
        root: &Dir,
        path: &[u8],
        device: u64,
        links: &mut Links,
        todo: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let here = root.path().join(std::ffi::OsStr::from_bytes(path));
        let dir = root.dir(if path.is_empty() { b"." } else { path }).map_err(Error::io("open", &here))?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(Error::io("list", &here))? {
            let name = entry.map_err(Error::io("list", &here))?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        // In order, so that which of a file's names comes first does not depend on the host's directory order.
        names.sort();
        for name in names {
            let full = if path.is_empty() { name.clone() } else { [path, name.as_slice()].join(&b'/') };
            self.read_entry(&dir, &name, &full, device, links, todo)?;
        }
        Ok(())
    }

    fn read_entry(
        &mut self,
        dir: &Dir,
        name: &[u8],
        full: &[u8],
        device: u64,
        links: &mut Links,
        todo: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let here = dir.path().join(std::ffi::OsStr::from_bytes(name));
        let stat =
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::io("stat", &here))?;
        let path = TreePath::parse(full)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let (stat, attributes, content) = match kind {
            FileType::Directory => {
                let child = dir.dir(name).map_err(Error::io("open", &here))?;
                if stat.st_dev == device {
                    todo.push(full.to_vec());
                }
                let attributes = xattrs(&child).map_err(Error::io("read attributes of", &here))?;
                (stat, attributes, Content::Directory { opaque: false })
            }
            FileType::RegularFile => {
                if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
                    return self.link(&path, &TreePath::parse(first)?);
                }
                let file = dir.file(name).map_err(Error::io("open", &here))?;
                let stat = rustix::fs::fstat(&file).map_err(Error::io("stat", &here))?;
                if stat.st_nlink > 1 {
                    links.insert((stat.st_dev, stat.st_ino), full.to_vec());
                }
                let attributes = xattrs(&file).map_err(Error::io("read attributes of", &here))?;
                (stat, attributes, self.object(&file, full)?)
            }
            FileType::Symlink => {
                let text =
                    rustix::fs::readlinkat(dir, name, Vec::new()).map_err(Error::io("read link", &here))?;
                (stat, Vec::new(), Content::Symlink(text.into_bytes()))
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => (stat, Vec::new(), Content::Whiteout),
            FileType::CharacterDevice => {
                let (major, minor) = device_of(&stat);
                (stat, Vec::new(), Content::Character(major, minor))
            }
            FileType::BlockDevice => {
                let (major, minor) = device_of(&stat);
                (stat, Vec::new(), Content::Block(major, minor))
            }
            FileType::Fifo => (stat, Vec::new(), Content::Fifo),
            FileType::Socket => (stat, Vec::new(), Content::Socket),
            FileType::Unknown => return Err(Error::entry(full, "a file of unknown type")),
        };
        let meta = described(&stat, attributes);
        let content = match content {
            Content::Directory { .. } => Content::Directory { opaque: opaque(&meta) },
            other => other,
        };
        self.insert(&path, without_overlay_marks(meta), content)
    }
}

fn device_of(stat: &Stat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}

fn described(stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Meta {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Meta {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        xattrs,
    }
}

/// All extended attributes of an open file; none where the file system has none.
fn xattrs(fd: &impl std::os::fd::AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let unsupported = |cause: &rustix::io::Errno| *cause == rustix::io::Errno::NOTSUP;
    let mut names = vec![0u8; 64 * 1024];
    let length = match rustix::fs::flistxattr(fd, &mut names) {
        Ok(length) => length,
        Err(cause) if unsupported(&cause) => return Ok(Vec::new()),
        Err(cause) => return Err(cause.into()),
    };
    names.truncate(length);
    let mut all = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 * 1024];
        match rustix::fs::fgetxattr(fd, name, &mut value) {
            Ok(length) => value.truncate(length),
            // It went away between the two calls, or is listed and not to be had (system.* on some file systems).
            Err(cause) if unsupported(&cause) || io::Error::from(cause).kind() == ErrorKind::NotFound => {
                continue;
            }
            Err(rustix::io::Errno::NODATA) => continue,
            Err(cause) => return Err(cause.into()),
        }
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}
