//! The targets of ../nfsd/tests/nfsd/targets and the world that they are about, for the programs in fuzz_targets; and
//! what the fuzzers begin with.

pub mod seeds;

// Written for the tests, which use more of them.
#[path = "../../nfsd/tests/nfsd/calls.rs"]
mod calls;
#[allow(dead_code)]
#[path = "../../nfsd/tests/nfsd/wire.rs"]
mod wire;
#[allow(dead_code)]
#[path = "../../nfsd/tests/nfsd/world.rs"]
mod world;

#[path = "../../nfsd/tests/nfsd/targets/mod.rs"]
pub mod targets;
