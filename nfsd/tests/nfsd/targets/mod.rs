//! What the fuzzers run: one function for each target, over public API alone.
//!
//! `fuzz/` gives these functions to libFuzzer, and `corpus` replays what libFuzzer has kept as an ordinary test; so
//! there is one copy, and a finding is a file. A target takes any bytes at all and panics when a promise is broken.
//! A `Tape` turns bytes into choices, `model` and `files` say what must come back to a message, from the RFCs and from the world
//! alone, and `verdict` compares that with what did come back, decoded by nfs3_types.

pub(crate) mod files;
pub mod handle;
pub(crate) mod model;
pub mod mount_call;
pub mod nfs_call;
pub mod record_stream;
pub mod rpc_header;
pub(crate) mod verdict;
