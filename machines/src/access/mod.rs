//! Who may have what: a script, a file of a boot, a root.

#[cfg(test)]
mod isolation;
mod links;
pub(crate) mod mounts;
pub(crate) mod resource;
