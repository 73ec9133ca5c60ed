//! Calls that clients really make: what mutations and fuzzers start from.

use crate::wire::{self, Cred, opaque, u32s};
use crate::world::{self, OWN, World};

/// A good call of every procedure of every program.
pub(crate) fn good_calls() -> Vec<Vec<u8>> {
    let world = World::new();
    let fh = |path| opaque(&world::handle(OWN, world.find(path)));
    let sattr = u32s(&[0; 6]);
    let name = opaque(b"name");
    let nfs: [Vec<u8>; 22] = [
        vec![],
        fh("/etc"),
        [fh("/etc"), sattr.clone(), u32s(&[0])].concat(),
        [fh("/etc"), opaque(b"passwd")].concat(),
        [fh("/etc"), u32s(&[0x3f])].concat(),
        fh("/lib"),
        [fh("/bin/sh"), u32s(&[0, 5, 4096])].concat(),
        [fh("/etc"), u32s(&[0, 0, 4, 2]), opaque(b"abcd")].concat(),
        [fh("/etc"), name.clone(), u32s(&[0]), sattr.clone()].concat(),
        [fh("/etc"), name.clone(), sattr.clone()].concat(),
        [fh("/etc"), name.clone(), sattr.clone(), name.clone()].concat(),
        [fh("/etc"), name.clone(), u32s(&[7]), sattr].concat(),
        [fh("/etc"), name.clone()].concat(),
        [fh("/etc"), name.clone()].concat(),
        [fh("/etc"), name.clone(), fh("/bin"), name.clone()].concat(),
        [fh("/bin/sh"), fh("/bin"), name].concat(),
        [fh("/"), u32s(&[0, 0, 0, 0, 4096])].concat(),
        [fh("/"), u32s(&[0, 0, 0, 0, 4096, 8192])].concat(),
        fh("/"),
        fh("/"),
        fh("/"),
        [fh("/etc/passwd"), u32s(&[0, 0, 0])].concat(),
    ];
    let path = opaque(b"/v/own");
    let mount = [vec![], path.clone(), vec![], path, vec![], vec![]];
    let mapping = u32s(&[100_003, 3, 6, 0]);
    let portmap = [vec![], mapping.clone(), mapping.clone(), mapping, vec![]];
    let cred = Cred::sys(1000, 1000, &[4, 24]);
    let of = |program, version, args: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let call = |(at, args): (usize, &Vec<u8>)| wire::call(7, [program, version, at as u32], &cred, args);
        args.iter().enumerate().map(call).collect()
    };
    [of(100_003, 3, &nfs), of(100_005, 3, &mount), of(100_000, 2, &portmap)].concat()
}
