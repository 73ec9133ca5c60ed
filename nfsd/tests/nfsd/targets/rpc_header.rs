//! Any message at all, over TCP and UDP, from any peer: `verdict` says what must hold.
//!
//! Input: who sends it and how, then the message.

use oneroot_testkit::Tape;

use super::verdict::{Door, exchange};

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let door = Door::choose(&mut tape);
    exchange(&door, tape.rest());
}
