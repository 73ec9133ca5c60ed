//! What the fuzzers began with and what they have kept, as ordinary tests.

use crate::seeds;
use crate::targets::{handle, mount_call, nfs_call, record_stream, rpc_header};

fn replay(target: &str, run: fn(&[u8])) {
    let (_, seeds) = seeds::all().into_iter().find(|(name, _)| *name == target).unwrap();
    oneroot_testkit::replay(target, seeds, run);
}

#[test]
fn a_stream_that_is_cut_means_what_it_means_whole() {
    replay("record_stream", record_stream::run);
}

#[test]
fn any_message_is_answered_as_the_rfc_says() {
    replay("rpc_header", rpc_header::run);
}

#[test]
fn any_mount_or_portmap_call_is_answered_as_the_rfc_says() {
    replay("mount_call", mount_call::run);
}

#[test]
fn any_nfs_call_is_answered_as_the_tree_says() {
    replay("nfs_call", nfs_call::run);
}

#[test]
fn a_handle_that_opens_was_sealed() {
    replay("handle", handle::run);
}
