//! Who may have what: a script, a file of a boot, a root.

pub(crate) mod claims;
#[cfg(test)]
mod isolation;
mod links;
pub(crate) mod mounts;
pub(crate) mod resource;
