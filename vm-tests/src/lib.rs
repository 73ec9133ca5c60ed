//! QEMU machines that boot for real: others' firmware, kernel and distribution, our server, a network of their own.
//!
//! The lab and the server are `oneroot-testkit`'s; [`Guest`] is a machine without a disk, driven over its serial console;
//! [`artifacts`] makes the Debian root that they boot. The cases are in `tests/`, and read as promises.
#![allow(
    clippy::missing_errors_doc,
    reason = "everything here fails with a sentence for the person who runs a test"
)]

pub mod artifacts;
mod cable;
mod guest;
pub mod host;
mod package;
mod power;
pub mod walk;

pub use cable::Cable;
pub use guest::{Firmware, Guest, Hardware, cpu_seconds};
pub use package::PackagedRoot;
pub use power::PowerMachine;
