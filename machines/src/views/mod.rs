//! Views as the NFS server has them: the tree of one, and who may use which, remembered.

pub(crate) mod cache;
pub mod flats;
pub(crate) mod tree;
