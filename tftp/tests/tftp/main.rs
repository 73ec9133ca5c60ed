//! What oneroot-tftp promises, seen from the wire: scripted conversations, floods, and clients on a bad network.
//!
//! `wire` is a codec of its own (so that a mistake in the crate's can't hide), `files` what is served, `script` reads
//! and runs tests/conversations/*.txt. `target` is what the fuzzer runs, `corpus` replays what it has found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod arbitrary;
mod conversations;
mod corpus;
mod files;
mod floods;
mod lossy;
mod script;
mod target;
mod wire;
