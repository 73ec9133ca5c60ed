//! A view as a directory: files with their owners, modes, times, attributes, links and devices. Needs root for the owners.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Item, count, items};
use crate::confine::Dir;
use crate::disk;
use crate::error::{Error, Result};
use crate::node::Kind;
use crate::stage::Progress;
use crate::store::Store;
use crate::store::stat_cache::{Mark, StatCache};
use crate::view::View;
use oneroot_ids::GenerationId;

/// What was written where.
pub struct Exported {
    /// Entries and bytes that were written.
    pub progress: Progress,
    device: u64,
    /// The files' marks, by inode number of the bottom layer.
    marks: Vec<Option<Mark>>,
}

impl Exported {
    /// Lets the next stage of `root` read only what has changed since it was exported from this one generation. Until the
    /// file system's clock has moved on, nothing may be written there: a file's ctime must give it away.
    pub fn remember(&self, store: &Store, root: &Path, generation: GenerationId) {
        // That it can't be remembered costs the next stage time, and nothing else.
        let Ok(place) = store.staging_dir() else { return };
        let seen = StatCache::recall(store, root, self.device, Duration::ZERO, true);
        seen.written(generation, &self.marks, &place).keep();
    }
}

/// Writes a whole view into an empty directory.
///
/// # Errors
/// The system's: `EPERM` where owners or devices may not be given.
pub fn directory(
    view: &View,
    store: &Store,
    root: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<Exported> {
    let home = Dir::open(root).map_err(Error::io("open", root))?;
    let device = rustix::fs::fstat(&home).map_err(Error::io("stat", root))?.st_dev;
    disk::inherits_nothing(&home).map_err(Error::io("remove the default ACL of", root))?;
    let mut exported = Exported { progress: Progress::default(), device, marks: Vec::new() };
    let mut directories = Vec::new();
    // The directory of the item before: in a walk, most have the same.
    let mut parent: Option<(Vec<u8>, Dir)> = None;
    for item in items(view) {
        let here = || root.join(std::ffi::OsStr::from_bytes(&item.path));
        let split = item.path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => {
                (item.path.get(..at).unwrap_or_default(), item.path.get(at + 1..).unwrap_or_default())
            }
            None => (b"".as_slice(), item.path.as_slice()),
        };
        if parent.as_ref().is_none_or(|(path, _)| path != above) {
            let dir = home.dir(if above.is_empty() { b"." } else { above });
            parent = Some((above.to_vec(), dir.map_err(|cause| Error::io("open", here())(cause))?));
        }
        let Some((_, dir)) = &parent else { continue };
        write(&home, dir, store, name, &item).map_err(|cause| Error::io("write", here())(cause))?;
        // After each name: a new link moves the ctime.
        if item.kind == Kind::Regular {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|cause| Error::io("stat", here())(cause))?;
            let at = (item.node.inode as usize).saturating_sub(1);
            if exported.marks.len() <= at {
                exported.marks.resize(at + 1, None);
            }
            if let Some(mark) = exported.marks.get_mut(at) {
                *mark = Some(Mark::of(&stat));
            }
        }
        count(&mut exported.progress, &item, report);
        if item.kind.is_directory() {
            directories.push(item);
        }
    }
    // Last of all, for what is written into a directory moves its time, and would inherit its ACL; the deepest first.
    for item in directories.iter().rev() {
        let path = if item.path.is_empty() { b".".as_slice() } else { &item.path };
        let set = home.dir(path).and_then(|dir| {
            describe(&dir, item, Mode::from_raw_mode(u32::from(item.meta.mode)))?;
            Ok(rustix::fs::futimens(&dir, &times(item))?)
        });
        set.map_err(Error::io("describe", root.join(std::ffi::OsStr::from_bytes(&item.path))))?;
    }
    exported.marks.resize(view.inodes().try_into().unwrap_or(usize::MAX), None);
    Ok(exported)
}

fn write(home: &Dir, dir: &Dir, store: &Store, name: &[u8], item: &Item<'_>) -> io::Result<()> {
    if let Some(first) = &item.first {
        return Ok(rustix::fs::linkat(home, first.as_slice(), dir, name, AtFlags::empty())?);
    }
    let mode = Mode::from_raw_mode(u32::from(item.meta.mode));
    let special = |kind: FileType, device: u64| rustix::fs::mknodat(dir, name, kind, Mode::RUSR, device);
    match item.kind {
        Kind::Directory | Kind::OpaqueDirectory => {
            if !item.path.is_empty() {
                rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
            }
            return Ok(());
        }
        Kind::Regular => {
            let made = dir.create(name)?;
            if let Some((object, size)) = item.content {
                let mut from = store.object(object)?;
                let cloned = size > 0 && rustix::fs::ioctl_ficlone(&made, &from).is_ok();
                if !cloned {
                    io::copy(&mut from, &mut &made)?;
                }
            }
            describe(&made, item, mode)?;
            return Ok(rustix::fs::futimens(&made, &times(item))?);
        }
        Kind::Symlink => rustix::fs::symlinkat(item.target.unwrap_or_default(), dir, name)?,
        Kind::Fifo => special(FileType::Fifo, 0)?,
        Kind::Socket => special(FileType::Socket, 0)?,
        Kind::Character => special(FileType::CharacterDevice, rustix::fs::makedev(item.rdev.0, item.rdev.1))?,
        Kind::Block => special(FileType::BlockDevice, rustix::fs::makedev(item.rdev.0, item.rdev.1))?,
        Kind::Whiteout => return Ok(()),
    }
    let owner = (Some(Uid::from_raw(item.meta.uid)), Some(Gid::from_raw(item.meta.gid)));
    rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if item.kind != Kind::Symlink {
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(dir, name, &times(item), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Owner, then mode, for a change of owner takes setuid away; attributes last, for it takes capabilities too.
fn describe(made: &impl AsFd, item: &Item<'_>, mode: Mode) -> io::Result<()> {
    rustix::fs::fchown(made, Some(Uid::from_raw(item.meta.uid)), Some(Gid::from_raw(item.meta.gid)))?;
    rustix::fs::fchmod(made, mode)?;
    for (name, value) in &item.meta.xattrs {
        match rustix::fs::fsetxattr(made, name.as_slice(), value, XattrFlags::empty()) {
            // A file system that has no attributes of this kind; the admin chose it.
            Err(Errno::NOTSUP) => {}
            set => set?,
        }
    }
    Ok(())
}

fn times(item: &Item<'_>) -> Timestamps {
    let time = Timespec {
        tv_sec: item.meta.mtime.div_euclid(1_000_000_000),
        tv_nsec: item.meta.mtime.rem_euclid(1_000_000_000),
    };
    Timestamps { last_access: time, last_modification: time }
}
