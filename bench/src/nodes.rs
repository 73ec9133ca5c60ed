//! What a recorded walk has found in its tree, so that the same can be made again.

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of so many bytes.
    File(u64),
    /// A symbolic link.
    Link(String),
}

/// A node that the tree must have.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Whether a call reads it.
    pub is_read: bool,
}
