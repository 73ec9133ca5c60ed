//! What the fuzzers run: `answer`, `examined`, `facts`, `names`, `site` and `template` of fuzz/, which `corpus` replays.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target stops at the first broken promise"
)]

pub mod answer;
pub mod examined;
pub mod facts;
pub mod names;
pub mod site;
pub mod template;
