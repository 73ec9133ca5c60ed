//! What the fuzzers begin with and what they have kept, as ordinary tests.

mod targets;

use targets::{engine, wire};

#[test]
fn what_is_read_of_any_datagram_stands_in_it() {
    oneroot_testkit::replay("dhcp_wire", wire::seeds(), wire::run);
}

#[test]
fn no_order_of_events_gives_an_address_twice_or_answers_an_answer() {
    oneroot_testkit::replay("dhcp_engine", engine::seeds(), engine::run);
}
