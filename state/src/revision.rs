//! Revisions: what tells one state of a key from another.

/// Number of the change that a key was last written by. One counter for all keys; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);
