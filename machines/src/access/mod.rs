//! Who may have what: a script, a file of a boot, a root and what is in it.

pub(crate) mod around;
pub(crate) mod cache;
#[cfg(test)]
mod isolation;
pub(crate) mod mounts;
pub(crate) mod passes;
pub(crate) mod resource;
pub(crate) mod seals;
pub(crate) mod tree;
