//! MOUNT and the portmapper: calls built around good ones, MNT with its shell's decision.
//!
//! Input: who calls and how, the credential, program and procedure, its argument, how the message is spoilt.

use oneroot_testkit::Tape;

use super::nfs_call::{credential, spoil};
use super::verdict::{Door, exchange};
use crate::wire::{self, opaque, u32s};

const PATHS: [&[u8]; 8] =
    [b"/v/own", b"/v/old", b"/v/theirs", b"", b"/", b"/v/../own", b"/v/own/etc\0", b"\xff\xfe"];
/// Around MNTPATHLEN and its padding.
const LENGTHS: [usize; 6] = [1021, 1023, 1024, 1025, 1028, 40_000];

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let door = Door::choose(&mut tape);
    let cred = credential(&mut tape);
    let [program, version, procedure] = match tape.byte() % 4 {
        0 => [100_000, 2, u32::from(tape.byte() % 8)],
        1 => [100_005, 3, u32::from(tape.byte() % 8)],
        2 => [100_005, 3, 1],
        _ => [100_005, u32::from(tape.byte() % 5), 1],
    };
    let args = match tape.byte() % 5 {
        0 => opaque(tape.pick(&PATHS)),
        1 => opaque(&vec![b'p'; tape.pick(&LENGTHS)]),
        2 => {
            let len = usize::from(tape.byte());
            opaque(tape.take(len))
        }
        3 => u32s(&[
            tape.pick(&[100_000, 100_003, 100_005, 7]),
            tape.pick(&[2, 3, 1]),
            tape.pick(&[6, 17, 0]),
            0,
        ]),
        _ => Vec::new(),
    };
    let mut message = wire::call(tape.u32(), [program, version, procedure], &cred, &args);
    spoil(&mut tape, &mut message);
    exchange(&door, &message);
}
