//! What the server puts into an initrd and what the program in it tells the server: one description, which both sides read.
//!
//! No sockets, no files, no policy: texts and bytes to checked types and back. The server writes; `init`, which runs
//! where nothing else does yet, reads.

pub mod cpio;
pub mod examined;
pub mod firmware;
pub mod modules;
pub mod report;
pub mod settings;
