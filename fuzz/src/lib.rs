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

#[allow(dead_code)]
#[path = "../../tree/tests/archives/target.rs"]
pub mod archive;
#[allow(dead_code)]
#[path = "../../tree/tests/archives/make.rs"]
mod make;
#[allow(dead_code)]
#[path = "../../tree/tests/random/mod.rs"]
mod random;

/// What the fuzzer of archives begins with: those of the first seeds of `tree/tests/archives.rs`.
pub fn archives() -> Vec<Vec<u8>> {
    let made = (0..64).map(|seed| make::archive(&mut random::Random::new(seed)).bytes);
    made.map(|bytes| archive::unsealed(&bytes)).collect()
}
