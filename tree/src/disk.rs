//! A node as a file system has it: made, and given its owner, mode, attributes and time.
//!
//! In this order: a change of owner takes setuid and capabilities away, and a mode may be masked by an ACL.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::confine::Dir;
use crate::index::Inode;
use crate::node::{Attributes, Content, Kind, Meta};

const SECOND: i64 = 1_000_000_000;
/// Times that every file system has, from 1970 to 2038.
const EVERYWHERE: std::ops::Range<i64> = 0..(1 << 31) * SECOND;

/// What a file system, or what its user may do there, has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Owner and group.
    Owner,
    /// setuid, setgid or sticky; or a mode by which its own user could not read it.
    Mode,
    /// An extended attribute: a capability, an ACL, a label.
    Attribute,
    /// A device.
    Device,
    /// A time: many file systems begin in 1901 and end in 2038, or in 2446.
    Time,
}

/// What could not be set: how many, and the path of the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacks(BTreeMap<Lack, (u64, Vec<u8>)>);

impl Lacks {
    /// Counts one.
    pub(crate) fn note(&mut self, lack: Lack, path: &[u8]) {
        self.0.entry(lack).or_insert_with(|| (0, path.to_vec())).0 += 1;
    }

    /// Counts those of another count.
    pub(crate) fn add(&mut self, other: Self) {
        for (lack, (count, path)) in other.0 {
            self.0.entry(lack).or_insert((0, path)).0 += count;
        }
    }

    /// Each kind that there is, with how many and the path of the first.
    pub fn each(&self) -> impl Iterator<Item = (Lack, u64, &[u8])> {
        self.0.iter().map(|(lack, (count, path))| (*lack, *count, path.as_slice()))
    }

    /// Whether nothing is lacking.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nodes in all that lack something of a kind.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }
}

/// Makes a node that is neither file nor directory.
pub(crate) fn make(dir: &Dir, name: &[u8], content: &Content) -> io::Result<()> {
    let special = |kind: FileType, device: u64| rustix::fs::mknodat(dir, name, kind, Mode::RUSR, device);
    let device = |major: u32, minor: u32| rustix::fs::makedev(major, minor);
    match content {
        Content::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), dir, name)?,
        Content::Fifo => special(FileType::Fifo, 0)?,
        Content::Socket => special(FileType::Socket, 0)?,
        Content::Character(major, minor) => special(FileType::CharacterDevice, device(*major, *minor))?,
        Content::Block(major, minor) => special(FileType::BlockDevice, device(*major, *minor))?,
        Content::Regular { .. } | Content::Directory { .. } | Content::Whiteout => {}
    }
    Ok(())
}

/// Describes an open file or directory. Attributes that it has and should not have go, where `had` says so.
pub(crate) fn describe(
    made: BorrowedFd<'_>,
    meta: &Meta,
    had: bool,
    lacks: &mut dyn FnMut(Lack) -> bool,
) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    tolerated(rustix::fs::fchown(made, owner.0, owner.1), Lack::Owner, lacks)?;
    tolerated(rustix::fs::fchmod(made, mode(meta)), Lack::Mode, lacks)?;
    if had {
        for (name, _) in attributes(&made)?.iter().filter(|(name, _)| is_told(name)) {
            if !meta.xattrs.iter().any(|(wanted, _)| wanted == name) {
                tolerated(rustix::fs::fremovexattr(made, name.as_slice()), Lack::Attribute, lacks)?;
            }
        }
    }
    for (name, value) in &meta.xattrs {
        let set = rustix::fs::fsetxattr(made, name.as_slice(), value, XattrFlags::empty());
        tolerated(set, Lack::Attribute, lacks)?;
    }
    rustix::fs::futimens(made, &times(meta))?;
    timed(meta, || rustix::fs::fstat(made), lacks)
}

/// Says where a file system has taken another time than it was given, which it does without a word.
fn timed(
    meta: &Meta,
    is: impl FnOnce() -> rustix::io::Result<Stat>,
    lacks: &mut dyn FnMut(Lack) -> bool,
) -> io::Result<()> {
    if !EVERYWHERE.contains(&meta.mtime) {
        let is = is()?;
        if nanoseconds(is.st_mtime, is.st_mtime_nsec) != meta.mtime {
            tolerated(Err(Errno::INVAL), Lack::Time, lacks)?;
        }
    }
    Ok(())
}

/// Takes away the ACLs that a new directory has from the one above it, and would hand down: nothing says that it is to have any.
pub(crate) fn inherits_nothing(dir: &impl AsFd) -> io::Result<()> {
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        match rustix::fs::fremovexattr(dir, name) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

/// Describes what can't be opened, and has nobody else's name yet: a link, a device, a FIFO, a socket.
pub(crate) fn describe_at(
    dir: &Dir,
    name: &[u8],
    kind: Kind,
    meta: &Meta,
    lacks: &mut dyn FnMut(Lack) -> bool,
) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    let chown = rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
    tolerated(chown, Lack::Owner, lacks)?;
    if kind != Kind::Symlink {
        rustix::fs::chmodat(dir, name, mode(meta), AtFlags::empty())?;
    }
    rustix::fs::utimensat(dir, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)?;
    timed(meta, || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW), lacks)
}

/// Lets a user read a file of his own that says otherwise; it is described later. Through no link, wherever the name leads by now.
pub(crate) fn readable(dir: &Dir, name: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty())?;
    // There is no other way to a file that may not be opened, on kernels before 6.6.
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::RUSR | Mode::WUSR)?)
}

/// What is refused for want of a right, or of a file system that has such a thing, may be lacking if the caller says so.
fn tolerated(done: Result<(), Errno>, lack: Lack, lacks: &mut dyn FnMut(Lack) -> bool) -> io::Result<()> {
    match done {
        Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) if lacks(lack) => Ok(()),
        done => Ok(done?),
    }
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(u32::from(meta.mode))
}

/// Both times of a node: nobody has read it yet.
pub(crate) fn times(meta: &Meta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime.div_euclid(SECOND), tv_nsec: meta.mtime.rem_euclid(SECOND) };
    Timestamps { last_access: time, last_modification: time }
}

/// A time in nanoseconds since 1970; one before 1677 or after 2262 is the first or the last that there is.
pub(crate) fn nanoseconds<N: TryInto<i64>>(seconds: i64, fraction: N) -> i64 {
    let all = i128::from(seconds) * 1_000_000_000 + i128::from(fraction.try_into().unwrap_or(0));
    i64::try_from(all).unwrap_or(if all < 0 { i64::MIN } else { i64::MAX })
}

/// Whether an attribute is anybody's to tell: others are the host's (labels, checksums, what a file system makes up).
pub(crate) fn is_told(name: &[u8]) -> bool {
    [b"user.".as_slice(), b"trusted.", b"security.capability", b"system.posix_acl_"]
        .iter()
        .any(|known| name.starts_with(known))
}

/// Whether a file has the attributes that it should have; of others, only those count that are told.
pub(crate) fn has_attributes(has: &Attributes, wanted: &Attributes) -> bool {
    (has.is_empty() && wanted.is_empty())
        || (wanted.iter().all(|one| has.contains(one))
            && has.iter().filter(|(name, _)| is_told(name)).all(|one| wanted.contains(one)))
}

/// Whether two nodes are described alike. A link's mode means nothing.
pub(crate) fn is_described(has: &Inode<'_>, wanted: &Inode<'_>) -> bool {
    is_described_as(&has.meta(), wanted)
}

/// The same, for what a disk says of one.
pub(crate) fn is_described_as(has: &Meta, wanted: &Inode<'_>) -> bool {
    (has.mode == wanted.mode() || wanted.kind() == Kind::Symlink)
        && (has.uid, has.gid, has.mtime) == (wanted.uid(), wanted.gid(), wanted.mtime())
        && has_attributes(&has.xattrs, &wanted.xattrs())
}

/// What a name is now, whatever it is.
pub(crate) fn look(dir: &Dir, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// All extended attributes of an open file; none where the file system has none.
pub(crate) fn attributes(fd: &impl AsFd) -> io::Result<Attributes> {
    let unsupported = |cause: &Errno| *cause == Errno::NOTSUP;
    // Few files have any: asked for the length alone first.
    match rustix::fs::flistxattr_query(fd) {
        Ok(0) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(cause) if unsupported(&cause) => return Ok(Vec::new()),
        Err(cause) => return Err(cause.into()),
    }
    let mut names = vec![0u8; 64 * 1024];
    let length = rustix::fs::flistxattr(fd, &mut names)?;
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
            Err(Errno::NODATA) => continue,
            Err(cause) => return Err(cause.into()),
        }
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}
