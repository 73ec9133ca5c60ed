//! What the fuzzers run: `image`, `index`, `initrd` and `sent` of fuzz/, which `corpus` replays. `archive` is in ../archives/target.rs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target stops at the first broken promise"
)]

pub mod image;
pub mod index;
pub mod initrd;
pub mod sent;
