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

/// Which sources this was built of, as it stands in every program of them. What server and program tell each other is the same
/// within one build alone.
pub const BUILD: &str = concat!("oneroot-init of ", env!("ONEROOT_SOURCES"));

/// Whether a program is of these sources, by what stands in it.
#[must_use]
pub fn is_of_this_build(program: &[u8]) -> bool {
    program.windows(BUILD.len()).any(|window| window == BUILD.as_bytes())
}
