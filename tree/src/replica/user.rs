//! What of a tree a user may have who has not all of root's rights: his own files with their bytes, modes and times. What he could not
//! read himself could not be compared the next time, so he may read all of it.
//!
//! Root in a container may be such a user: what counts are capabilities (capabilities(7)) and not the number 0.

use std::sync::Arc;

use rustix::thread::CapabilitySet;

use super::joined;
use crate::build::{IndexBuilder, NodeRef};
use crate::disk::{Lack, Lacks};
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};
use crate::node::{Content, Kind, Meta};

/// setuid and setgid.
const SET_ID: u16 = 0o6000;
const SET_GID: u16 = 0o2000;
/// What files of others take: to be given, described, and written into and read again.
const OWNERS: CapabilitySet =
    CapabilitySet::CHOWN.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER);
/// All that any tree takes, with their names.
const ALL: [(CapabilitySet, &str); 7] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::FSETID, "CAP_FSETID"),
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
    (CapabilitySet::SETFCAP, "CAP_SETFCAP"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
];

/// Whose a directory is to be, and what he may do.
#[derive(Debug, Clone, Copy)]
pub struct User {
    uid: u32,
    gid: u32,
    may: CapabilitySet,
}

impl User {
    /// Whoever this process is.
    #[must_use]
    pub fn own() -> Self {
        // A kernel that does not say what it may has not let it do anything.
        let may = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw(), may }
    }

    /// The same, without any right that others have not.
    #[must_use]
    pub fn unprivileged(self) -> Self {
        Self { may: CapabilitySet::empty(), ..self }
    }

    /// Whether it is root, whatever that may do here.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// What it may not do of all that trees take.
    pub fn may_not(self) -> impl Iterator<Item = &'static str> {
        ALL.into_iter().filter(move |(one, _)| !self.may.contains(*one)).map(|(_, name)| name)
    }

    /// Whether it comes into every directory and writes there, whatever its mode says.
    pub(super) fn enters_all(self) -> bool {
        self.may.contains(CapabilitySet::DAC_OVERRIDE)
    }

    fn sets(self, attribute: &[u8]) -> bool {
        match attribute {
            b"security.capability" => self.may.contains(CapabilitySet::SETFCAP),
            name if name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") => true,
            _ => self.may.contains(CapabilitySet::SYS_ADMIN),
        }
    }

    fn own_meta(self, mut meta: Meta, kind: Kind, path: &[u8], lacks: &mut Lacks) -> Meta {
        if (meta.uid, meta.gid) != (self.uid, self.gid) && !self.may.contains(OWNERS) {
            (meta.uid, meta.gid) = (self.uid, self.gid);
            lacks.note(Lack::Owner, path);
            // A program of root's that was to run as root must not run as whoever has copied it.
            if kind == Kind::Regular && meta.mode & SET_ID != 0 {
                meta.mode &= !SET_ID;
                lacks.note(Lack::Mode, path);
            }
        }
        // The kernel takes it away from a file of a group that is not one's own (chmod(2)).
        if meta.mode & SET_GID != 0 && meta.gid != self.gid && !self.may.contains(CapabilitySet::FSETID) {
            meta.mode &= !SET_GID;
            lacks.note(Lack::Mode, path);
        }
        let all = meta.xattrs.len();
        meta.xattrs.retain(|(name, _)| self.sets(name));
        if meta.xattrs.len() != all {
            lacks.note(Lack::Attribute, path);
        }
        let bits = match kind {
            _ if self.enters_all() => 0,
            Kind::Directory => 0o700,
            Kind::Regular => 0o400,
            _ => 0,
        };
        if meta.mode & bits != bits {
            meta.mode |= bits;
            lacks.note(Lack::Mode, path);
        }
        meta
    }
}

/// The tree as a user may have it, and what is left out of it: other owners, devices, attributes that are root's.
///
/// # Errors
/// [`Error::TooLarge`] past what an index can hold.
pub fn as_far_as(user: User, index: &Arc<Index>) -> Result<(Arc<Index>, Lacks)> {
    let mut lacks = Lacks::default();
    if user.may_not().next().is_none() {
        return Ok((index.clone(), lacks));
    }
    let mut builder = IndexBuilder::new();
    let mut made: Vec<Option<NodeRef>> = vec![None; index.inodes() as usize + 1];
    let root = index.inode(ROOT).map(|inode| inode.meta()).unwrap_or_default();
    builder.describe_root(user.own_meta(root, Kind::Directory, b"", &mut lacks))?;
    let mut todo = vec![(ROOT, IndexBuilder::root(), Vec::new())];
    while let Some((directory, there, path)) = todo.pop() {
        let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            let Some(inode) = index.inode(entry.inode) else { continue };
            let here = joined(&path, entry.name);
            if let Some(node) = made.get(entry.inode as usize).copied().flatten() {
                builder.link_in(there, entry.name, node)?;
                continue;
            }
            let content = inode.content();
            let is_device = matches!(content, Content::Character(..) | Content::Block(..));
            if is_device && !user.may.contains(CapabilitySet::MKNOD) {
                lacks.note(Lack::Device, &here);
                continue;
            }
            let meta = user.own_meta(inode.meta(), inode.kind(), &here, &mut lacks);
            let node = builder.place(there, entry.name, meta, content)?;
            *made.get_mut(entry.inode as usize).ok_or(Error::TooLarge("files"))? = Some(node);
            if inode.kind().is_directory() {
                todo.push((entry.inode, node, here));
            }
        }
    }
    if lacks.is_empty() {
        return Ok((index.clone(), lacks));
    }
    Ok((Arc::new(builder.finish()?), lacks))
}
