//! One test for each file in tests/conversations, named as the promise that it shows.

use crate::script::run;

macro_rules! conversations {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let file = concat!(stringify!($name), ".txt");
            run(file, include_str!(concat!("../conversations/", stringify!($name), ".txt")));
        })*

        #[test]
        fn every_conversation_is_run() {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conversations");
            let mut found: Vec<_> = std::fs::read_dir(dir).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
                .collect();
            found.sort();
            assert_eq!(found, [$(stringify!($name)),*]);
        }
    };
}

conversations! {
    a_block_size_is_clamped_or_ignored
    a_client_error_ends_the_transfer_at_once
    a_client_that_only_repeats_itself_is_given_up
    a_client_that_vanishes_is_given_up
    a_disk_that_says_nothing_ends_the_transfer
    a_doubled_block_does_not_double_the_rest
    a_file_beyond_4_gib_is_served_whole
    a_file_of_whole_blocks_ends_with_an_empty_one
    a_file_that_is_not_in_memory_holds_up_nobody_else
    a_file_that_shrinks_is_an_error_and_never_zeros
    a_forged_request_is_worth_three_packets
    a_gap_in_a_window_is_filled_from_its_edge
    a_loader_that_probes_many_names_is_told_at_once
    a_lost_block_is_sent_again_with_growing_patience
    a_lost_first_block_of_a_window_is_sent_at_once
    a_lost_oack_is_sent_again
    a_lost_window_is_read_again_if_it_is_not_in_memory
    a_name_is_taken_as_it_was_meant
    a_name_never_leaves_the_tree
    a_repeated_ack_of_the_oack_is_not_a_lost_window_twice
    a_repeated_ack_sends_nothing
    a_repeated_request_starts_its_transfer_over
    a_request_repeated_while_the_file_is_looked_up_waits
    a_rom_probes_and_fetches_from_one_port
    a_slow_client_gets_its_file
    a_stranger_does_no_harm
    a_tiny_mtu_leaves_the_block_size_that_all_may_use
    a_window_goes_out_as_far_as_it_is_in_memory
    an_oack_is_acknowledged_with_0_only
    another_file_from_the_same_port_ends_the_first
    block_numbers_go_on_from_0
    broken_options_are_ignored
    half_open_requests_make_room
    ipxe_fetches_in_lock_step
    netascii_is_served_as_it_is_and_promises_no_size
    one_address_has_a_share_of_its_own
    only_requests_are_answered_on_port_69
    ovmf_probes_the_size_and_then_fetches
    the_block_size_follows_the_mtu
    the_clients_own_timeout_is_kept
    the_last_ack_may_be_lost
    windows_and_timeouts_have_bounds
}
