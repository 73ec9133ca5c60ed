//! What the fuzzers run: `dhcp_wire` and `dhcp_engine` of fuzz/, which `corpus` replays.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target stops at the first broken promise"
)]

pub mod engine;
pub mod packets;
pub mod wire;
