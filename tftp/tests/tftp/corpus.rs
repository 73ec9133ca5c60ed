//! What the fuzzer begins with and what it has kept, as an ordinary test.

use crate::target;

#[test]
fn nobody_gets_more_than_it_has_shown_to_be_there_for_and_every_transfer_ends() {
    oneroot_testkit::replay("tftp", target::seeds(), target::run);
}
