//! A merged view as the NFS file operations see it, and the place where machines say how far they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oneroot_ids::ViewId;
use oneroot_nfsd::{Attr, FileKind, NodeId, Time, Totals};
use oneroot_tree::View;
use oneroot_tree::node::{Kind, TreePath};
use oneroot_tree::view::Node;

use crate::guest;

/// Longest `BOOT.WORD` that is listened to.
const LONGEST_SAYING: usize = 64;

/// Seconds for which a view counts as in use after its last call. A Linux client closes a connection that is idle for
/// five minutes, so a view that is not called for six has no connection.
const LATELY: u64 = 360;

/// A name that was looked up where machines say how far they are, and who did so. Whether that is to be believed is
/// decided by who hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressReport {
    /// From where, and from which port.
    pub peer: SocketAddr,
    /// The view in which it was looked up.
    pub view: ViewId,
    /// `BOOT.WORD`.
    pub text: String,
}

/// One view, ready to be served.
pub struct MachineTree {
    view: Arc<View>,
    say: Option<Node>,
    /// Seconds of [`crate::Host::coarse`] at which a call was last answered from it; 0 for never.
    used: AtomicU64,
}

impl MachineTree {
    /// None has called it yet.
    pub fn new(view: Arc<View>) -> Self {
        let say = TreePath::parse(guest::SAY.as_bytes()).ok().and_then(|path| view.resolve(&path));
        Self { view, say, used: AtomicU64::new(0) }
    }

    /// A call is answered from it, at this second of [`crate::Host::coarse`].
    pub fn touch(&self, now: u64) {
        // Calls are answered on several threads; writing what is there already would take the cache line from each other.
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// What a machine says by looking up a name that is not in a directory; none where that says nothing.
    pub fn said(&self, peer: SocketAddr, dir: NodeId, name: &[u8]) -> Option<ProgressReport> {
        (name.len() <= LONGEST_SAYING && self.say.is_some() && self.say == node(dir)).then(|| {
            let text = String::from_utf8_lossy(name).into_owned();
            ProgressReport { peer, view: self.view.id(), text }
        })
    }

    /// Whether a client used it within the last six minutes before this second of [`crate::Host::coarse`].
    pub fn used_lately(&self, now: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used > 0 && now.saturating_sub(used) < LATELY
    }
}

fn node(id: NodeId) -> Option<Node> {
    Some(Node { layer: id.layer, inode: u32::try_from(id.ino).ok()? })
}

fn id(node: Node) -> NodeId {
    NodeId { layer: node.layer, ino: u64::from(node.inode) }
}

impl oneroot_nfsd::Tree for MachineTree {
    /// One for each view: two exports with the same fsid would share a superblock in the client.
    #[inline]
    fn fsid(&self) -> u64 {
        let mut head = [0; 8];
        head.iter_mut().zip(self.view.id().0).for_each(|(to, from)| *to = from);
        u64::from_be_bytes(head)
    }

    fn root(&self) -> NodeId {
        id(self.view.root())
    }

    #[inline]
    fn attr(&self, of: NodeId) -> Option<Attr> {
        let stat = self.view.stat(node(of)?)?;
        let time = Time {
            secs: stat.mtime.div_euclid(1_000_000_000),
            nanos: u32::try_from(stat.mtime.rem_euclid(1_000_000_000)).unwrap_or(0),
        };
        let kind = match stat.kind {
            Kind::Regular => FileKind::Regular,
            Kind::Directory | Kind::OpaqueDirectory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::Block => FileKind::BlockDevice,
            Kind::Character => FileKind::CharDevice,
            Kind::Fifo => FileKind::Fifo,
            Kind::Socket => FileKind::Socket,
            Kind::Whiteout => return None,
        };
        Some(Attr {
            kind,
            mode: u32::from(stat.mode),
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            used: stat.size.div_ceil(512).saturating_mul(512),
            rdev: stat.rdev,
            fileid: stat.fileid,
            mtime: time,
            // Clients key their caches on it. Nothing ever changes under a handle, so any constant would do; the
            // stored time is one that is the same on every server.
            ctime: time,
        })
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.view.lookup(node(dir)?, name).map(id)
    }

    fn parent(&self, dir: NodeId) -> Option<NodeId> {
        self.view.parent(node(dir)?).map(id)
    }

    fn target(&self, of: NodeId) -> Option<&[u8]> {
        self.view.target(node(of)?)
    }

    fn entries(&self, dir: NodeId, from: u64) -> impl Iterator<Item = (&[u8], NodeId)> {
        let entries = node(dir).map(|dir| self.view.entries_from(dir, from));
        entries.into_iter().flatten().map(|(name, child)| (name, id(child)))
    }

    fn object(&self, of: NodeId) -> Option<[u8; 32]> {
        self.view.object(node(of)?).map(|object| object.0)
    }

    fn totals(&self) -> Totals {
        Totals { bytes: self.view.bytes(), files: self.view.inodes() }
    }
}
