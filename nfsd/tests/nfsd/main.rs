//! What oneroot-nfsd promises, seen from the wire: scripted conversations, hostile input, and properties.
//!
//! `world` is a small tree and who may use it, `wire` an RPC encoder of its own (so that a mistake in the crate's can't
//! hide), `calls` good calls of each procedure, `script` reads and runs tests/conversations/*.txt. `targets` is what
//! fuzzers run, `corpus` replays what they have found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod calls;
mod conversations;
mod corpus;
mod handles;
mod hostile;
mod isolation;
mod listing;
mod records;
mod rpcbind;
mod script;
#[path = "../../../fuzz/src/seeds.rs"]
mod seeds;
mod targets;
mod wire;
mod world;
