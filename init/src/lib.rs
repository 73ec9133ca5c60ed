//! The first program that a machine runs where its initrd is oneroot's: loads drivers, brings its network up, mounts its root,
//! lays over it what can be written, puts in place what the server has written for it, and becomes the real init.
//!
//! It has no policy of its own: what it does is in [`oneroot_initrd::settings`], and it tells the server how it goes.

/// Boots this machine.
pub fn boot() {}
