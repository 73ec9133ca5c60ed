//! Permission from mode, owner and groups, for a caller as AUTH_SYS names it (RFC 1813 §3.3.4).
//!
//! uid 0 is not squashed: a root file system is full of 0600 root files and setuid programs. The rules are
//! those of the Linux server, which Linux clients have been written against. Nothing here can be written; but what
//! goes through a device node, a pipe or a socket never comes here, so for those the mode alone decides.

use crate::{Attr, FileKind};

/// Who asks. AUTH_SYS is a claim, not a proof; docs/security.md says what that is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    uid: u32,
    gid: u32,
    gids: [u32; Caller::MAX_GIDS],
    count: usize,
}

impl Caller {
    /// The most supplementary groups that AUTH_SYS can carry (RFC 5531 §14, authsys_parms).
    pub const MAX_GIDS: usize = 16;

    /// Who AUTH_NONE speaks for: `nobody`.
    pub const ANONYMOUS: Caller = Caller { uid: 65_534, gid: 65_534, gids: [0; Caller::MAX_GIDS], count: 0 };

    /// A caller with no supplementary groups yet.
    pub fn new(uid: u32, gid: u32) -> Self {
        Caller { uid, gid, ..Caller::ANONYMOUS }
    }

    /// Adds a supplementary group; false, and no change, when there is no room for another.
    pub fn join(&mut self, gid: u32) -> bool {
        let Some(slot) = self.gids.get_mut(self.count) else { return false };
        *slot = gid;
        self.count += 1;
        true
    }

    /// The user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The primary group id.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The supplementary groups.
    pub fn gids(&self) -> &[u32] {
        self.gids.get(..self.count).unwrap_or_default()
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The three bits of the mode that speak for this caller. The first class that fits decides, as POSIX has
    /// it: an owner without `r` may not read what everybody else may.
    fn class(&self, attr: &Attr) -> u32 {
        let shift = if self.uid == attr.uid {
            6
        } else if self.gid == attr.gid || self.gids().contains(&attr.gid) {
            3
        } else {
            0
        };
        (attr.mode >> shift) & 0o7
    }
}

const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// A set of things that one may do with a node; the bit values are NFSv3's and NFSv4's alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u32);

impl Rights {
    /// Read a file, list a directory.
    pub const READ: Rights = Rights(0x01);
    /// Look a name up in a directory.
    pub const LOOKUP: Rights = Rights(0x02);
    /// Change contents, and add to them. Only for what is no file of ours: device nodes, pipes, sockets.
    pub const WRITE: Rights = Rights(0x04 | 0x08);
    /// Run a file.
    pub const EXECUTE: Rights = Rights(0x20);

    /// The protocol's bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Those of the rights in a protocol's bit mask that this set holds.
    #[must_use]
    pub fn masked(self, mask: u32) -> Rights {
        Rights(self.0 & mask)
    }

    /// True when all of `other` is in this set.
    pub fn contains(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    fn add_if(&mut self, right: Rights, granted: bool) {
        if granted {
            self.0 |= right.0;
        }
    }
}

/// All that a caller may do with a node. A client asks before it opens a device node for writing, though it is the client's
/// own device that is written: no write right there would make `/dev/null` of a root without devtmpfs useless. LOOKUP is for directories and EXECUTE for everything else, as the
/// RFC has it.
pub(crate) fn rights(caller: &Caller, attr: &Attr) -> Rights {
    let bits = caller.class(attr);
    let mut rights = Rights::default();
    rights.add_if(Rights::READ, caller.is_root() || bits & R != 0);
    if attr.kind == FileKind::Directory {
        rights.add_if(Rights::LOOKUP, caller.is_root() || bits & X != 0);
    } else {
        // Root may run what somebody may run, as on a local disk; else every data file would look like a
        // program.
        let may = if caller.is_root() { attr.mode & 0o111 != 0 } else { bits & X != 0 };
        rights.add_if(Rights::EXECUTE, may);
        let ours = matches!(attr.kind, FileKind::Regular | FileKind::Symlink);
        rights.add_if(Rights::WRITE, !ours && (caller.is_root() || bits & W != 0));
    }
    rights
}

/// Whether READ may hand out contents. Wider than the READ right: a client reads a program to run it, so `x`
/// is enough; and NFS has no open, so an owner who has opened a file and then taken its own `r` away goes on
/// reading.
pub(crate) fn may_read_contents(caller: &Caller, attr: &Attr) -> bool {
    caller.is_root() || caller.uid == attr.uid || caller.class(attr) & (R | X) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    fn node(kind: FileKind, mode: u32) -> Attr {
        let time = Time::default();
        let (uid, gid) = (1000, 100);
        Attr {
            kind,
            mode,
            nlink: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fileid: 1,
            mtime: time,
            ctime: time,
        }
    }

    fn member(uid: u32, gid: u32, gids: &[u32]) -> Caller {
        let mut caller = Caller::new(uid, gid);
        assert!(gids.iter().all(|gid| caller.join(*gid)));
        caller
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let file = node(FileKind::Regular, 0o047);
        assert_eq!(rights(&member(1000, 100, &[]), &file), Rights::default());
        assert_eq!(rights(&member(1, 100, &[]), &file), Rights::READ);
        assert_eq!(rights(&member(1, 1, &[5, 100]), &file), Rights::READ);
        assert_eq!(rights(&member(1, 1, &[5]), &file).bits(), 0x21);
    }

    #[test]
    fn root_reads_all_and_runs_only_what_somebody_may_run() {
        let root = Caller::new(0, 0);
        assert_eq!(rights(&root, &node(FileKind::Regular, 0)), Rights::READ);
        assert_eq!(rights(&root, &node(FileKind::Regular, 0o010)).bits(), 0x21);
        assert_eq!(rights(&root, &node(FileKind::Directory, 0)).bits(), 0x03);
        assert!(may_read_contents(&root, &node(FileKind::Regular, 0)));
    }

    #[test]
    fn no_mode_and_no_caller_is_ever_granted_writing_what_is_stored_here() {
        for caller in [Caller::new(0, 0), Caller::new(1000, 100), Caller::ANONYMOUS] {
            for mode in 0..=0o7777 {
                for kind in [FileKind::Regular, FileKind::Directory, FileKind::Symlink] {
                    let granted = rights(&caller, &node(kind, mode));
                    assert_eq!(granted.bits() & 0x1c, 0, "{caller:?} {kind:?} {mode:o}");
                }
            }
        }
    }

    #[test]
    fn a_device_node_is_written_by_those_whom_its_mode_lets() {
        let write = |caller, mode| rights(&caller, &node(FileKind::CharDevice, mode)).contains(Rights::WRITE);
        assert!(write(Caller::ANONYMOUS, 0o666) && write(Caller::new(0, 0), 0o000));
        assert!(!write(Caller::ANONYMOUS, 0o664));
    }

    #[test]
    fn contents_are_read_by_those_who_may_run_and_by_the_owner() {
        let program = node(FileKind::Regular, 0o4711);
        assert!(may_read_contents(&Caller::ANONYMOUS, &program));
        assert!(!rights(&Caller::ANONYMOUS, &program).contains(Rights::READ));
        let secret = node(FileKind::Regular, 0o000);
        assert!(may_read_contents(&Caller::new(1000, 1), &secret));
        assert!(!may_read_contents(&Caller::new(1001, 100), &secret));
    }

    #[test]
    fn a_seventeenth_group_finds_no_room() {
        let mut caller = Caller::new(1, 1);
        assert!((0..16).all(|gid| caller.join(gid)));
        assert!(!caller.join(16));
        assert_eq!(caller.gids().len(), 16);
    }
}
