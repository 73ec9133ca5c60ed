//! What the programs in fuzz_targets run, and what they begin with. The bodies of the targets lie beside the tests of what they
//! are about, which replay the corpora through them.

pub mod http;
pub mod seeds;
pub mod tftp;

#[path = "../../bootconf/tests/targets/mod.rs"]
pub mod bootconf;
#[path = "../../dhcp/tests/targets/mod.rs"]
pub mod dhcp;
#[path = "../../initrd/tests/targets/mod.rs"]
pub mod initrd;
#[path = "../../tree/tests/targets/mod.rs"]
pub mod tree;

// Written for the tests, which use more of them.
#[path = "../../nfsd/tests/nfsd/calls.rs"]
mod calls;
#[path = "../../nfsd/tests/nfsd/targets/mod.rs"]
pub mod targets;
#[allow(dead_code)]
#[path = "../../nfsd/tests/nfsd/wire.rs"]
mod wire;
#[allow(dead_code)]
#[path = "../../nfsd/tests/nfsd/world.rs"]
mod world;

#[allow(dead_code)]
#[path = "../../tree/tests/archives/target.rs"]
pub mod archive;
#[allow(dead_code)]
#[path = "../../tree/tests/archives/make.rs"]
mod make;
#[allow(dead_code)]
#[path = "../../tree/tests/random/mod.rs"]
mod random;

/// Each target with its seeds.
pub fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut all = seeds::all().to_vec();
    all.extend([
        ("answer", bootconf::answer::seeds()),
        ("examined", bootconf::examined::seeds()),
        ("facts", bootconf::facts::seeds()),
        ("archive", archives()),
        ("dhcp_engine", dhcp::engine::seeds()),
        ("dhcp_wire", dhcp::wire::seeds()),
        ("http_head", http::heads::seeds()),
        ("http_range", http::target::seeds()),
        ("image", tree::image::seeds()),
        ("index", tree::index::seeds()),
        ("initrd", tree::initrd::seeds()),
        ("modinfo", initrd::modinfo::seeds()),
        ("modprobe", initrd::modprobe::seeds()),
        ("modules", initrd::modules::seeds()),
        ("report", initrd::report::seeds()),
        ("sent", tree::sent::seeds()),
        ("settings", initrd::settings::seeds()),
        ("names", bootconf::names::seeds()),
        ("site", bootconf::site::seeds()),
        ("template", bootconf::template::seeds()),
        ("tftp", tftp::target::seeds()),
    ]);
    all
}

/// What the fuzzer of archives begins with: those of the first seeds of `tree/tests/archives.rs`.
fn archives() -> Vec<Vec<u8>> {
    let made = (0..64).map(|seed| make::archive(&mut random::Random::new(seed)).bytes);
    made.map(|bytes| archive::unsealed(&bytes)).collect()
}
