//! What the fuzzers run: `modinfo`, `modprobe`, `modules`, `report` and `settings` of fuzz/, which `corpus` replays.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target stops at the first broken promise"
)]

pub mod modinfo;
pub mod modprobe;
pub mod modules;
pub mod report;
pub mod settings;
