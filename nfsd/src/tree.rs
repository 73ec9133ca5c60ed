//! What the file operations need to know of a merged tree; the shell implements it over `oneroot-tree`'s
//! views.
//!
//! Types are those of POSIX and docs/decisions/0004; no NFS version shows here.

/// A node of a view: the layer that it comes from and its inode number there. A merged directory is named by
/// its topmost contributor, so the name never depends on how a merge was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The layer's place in the stack, 0 at the bottom.
    pub layer: u16,
    /// The inode number in that layer's index.
    pub ino: u64,
}

/// The file types that a tree can hold. Whiteouts are not among them: a view has resolved them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file; its contents are an object.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device node.
    BlockDevice,
    /// A character device node.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

/// A point in time, as an index has it. What a version of the protocol can't carry, its codec clamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC; negative before that.
    pub secs: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanos: u32,
}

/// A node's attributes, as stored in the index. The access time is not kept: it is told as `mtime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The file type; for ever the same under one handle.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Names of this node in the view.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of contents, or of the link text.
    pub size: u64,
    /// Bytes that `du` should count.
    pub used: u64,
    /// Device major and minor; (0, 0) for all but device nodes.
    pub rdev: (u32, u32),
    /// The inode number that programs see: unique in the view, for ever the same under one handle.
    pub fileid: u64,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of anything. Clients key their caches on it, so it may never move under a handle.
    pub ctime: Time,
}

/// What `df` shows of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes in all files.
    pub bytes: u64,
    /// Number of nodes.
    pub files: u64,
}

/// A merged tree as the file operations see it. Every method is answered from memory and must not block: a
/// call is served to its end on the thread that read it.
pub trait Tree: Send + Sync {
    /// The file system id: one for the whole view, and no other view may have it (clients join equal fsids of
    /// one server into one mount).
    fn fsid(&self) -> u64;

    /// The root directory.
    fn root(&self) -> NodeId;

    /// Attributes, or `None` when this view has no such node (told to clients as a stale handle).
    fn attr(&self, node: NodeId) -> Option<Attr>;

    /// The node behind a name in a directory. Only real names are asked for: never `.`, `..`, empty or with a
    /// slash.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Option<NodeId>;

    /// The directory above; the root's parent is the root.
    fn parent(&self, dir: NodeId) -> Option<NodeId>;

    /// The text of a symbolic link.
    fn target(&self, node: NodeId) -> Option<&[u8]>;

    /// The names of a directory from the `from`-th on, counted from 0 without gaps and without `.` and `..`; none past
    /// the end. The order may never change while the view lives: the number is the client's cookie. To begin must cost
    /// O(log n) or less.
    fn entries(&self, dir: NodeId, from: u64) -> impl Iterator<Item = (&[u8], NodeId)>;

    /// The content id (BLAKE3) of a regular file.
    fn object(&self, node: NodeId) -> Option<[u8; 32]>;

    /// Sums over the view.
    fn totals(&self) -> Totals;
}
