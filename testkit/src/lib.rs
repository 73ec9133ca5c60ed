//! What tests and benchmarks share. [`Lab`] is a network namespace with a switch; [`Server`] is the real binary in it, over
//! [`SiteFiles`]; a [`Machine`] speaks the protocols that a booting box speaks, without being one; [`capture`] and [`wire`] read
//! what went over the wire; a [`Tape`] makes choices of a fuzzer's bytes, and
//! [`replay()`] makes a test of what fuzzers have kept. Nothing here knows the libraries: the binary is seen from outside.
#![allow(
    clippy::missing_errors_doc,
    reason = "everything here fails with a sentence for the person who runs a test"
)]

pub mod capture;
mod clock;
mod dial;
mod disk;
mod ganesha;
pub mod http;
mod lab;
mod machine;
pub mod module;
mod patience;
mod preload;
mod replay;
pub mod rpc;
mod server;
mod slapd;
mod tape;
mod udhcpc;
pub mod wire;

pub use clock::Clock;
pub use dial::{dial, dial_again};
pub use disk::SmallDisk;
pub use ganesha::{Access, Ganesha};
pub use lab::{INTERFACE, Lab, RELAY, SERVER, ip};
pub use machine::{Boot, Host, Machine, Root};
pub use patience::patient;
pub use preload::{Call, HungDisk, preload};
pub use replay::replay;
pub use server::{Server, SiteFiles, binary};
pub use slapd::Slapd;
pub use tape::Tape;
pub use udhcpc::{udhcpc, udhcpc_on};
