//! What oneroot-nfsd promises, seen from the wire: scripted conversations, hostile input, and properties.
//!
//! `calls` are good ones of each procedure, `corpus` replays what fuzzers have found through `targets`. `world` is a small tree and who may use it, `wire` an RPC encoder of its own (so that a mistake in the
//! crate's can't hide), `script` reads and runs tests/conversations/*.txt.

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
mod targets;
mod wire;
mod world;
