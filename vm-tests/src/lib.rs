//! QEMU machines that boot for real: others' firmware, kernel and distribution, our server, a network of their own.
//!
//! The framework is here: [`Lab`] is a network namespace with a switch, [`Server`] the real binary in it, [`Guest`] a
//! machine without a disk, driven over its serial console; [`artifacts`] makes the Debian root that they boot. The
//! cases are in `tests/`, and read as promises.
#![allow(
    clippy::missing_errors_doc,
    reason = "everything here fails with a sentence for the person who runs a test"
)]

pub mod artifacts;
pub mod capture;
mod clock;
mod disk;
mod ganesha;
mod guest;
mod lab;
mod machine;
mod package;
mod power;
pub mod rpc;
mod server;
mod udhcpc;
pub mod walk;
pub mod wire;

pub use clock::Clock;
pub use disk::SmallDisk;
pub use ganesha::Ganesha;
pub use guest::{Firmware, Guest, Hardware, cpu_seconds};
pub use lab::{Lab, ip};
pub use machine::{Boot, Host, Machine, Root};
pub use package::PackagedRoot;
pub use power::PowerMachine;
pub use server::{Server, SiteFiles};
pub use udhcpc::{udhcpc, udhcpc_on};
