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
    a_bad_credential_is_refused_and_the_connection_lives
    a_call_sent_again_is_answered_again
    a_directory_is_told_once_and_to_its_end
    a_handle_is_good_only_for_its_machine
    a_linux_client_mounts_klibc_style
    a_linux_client_walks_and_reads
    a_mount_is_decided_by_the_shell
    a_name_is_looked_up_by_the_rules
    a_port_of_any_user_is_refused
    a_read_never_leaves_its_file
    a_read_only_server_says_so
    access_is_told_in_the_bits_that_were_asked
    an_unknown_call_is_told_what_is_served
    garbage_is_called_garbage
    limits_are_told_as_they_are
    overlayfs_asks_for_acls_and_is_told_there_are_none
    permissions_are_the_trees
    the_portmapper_tells_the_truth
}
