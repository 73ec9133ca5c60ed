//! What the fuzzers begin with and what they have kept, as ordinary tests; for archives in archives.rs.

mod targets;

use targets::{image, index, initrd, sent};

#[test]
fn any_documents_are_an_image_whose_blobs_are_what_they_are_named_or_a_short_error() {
    oneroot_testkit::replay("image", image::seeds(), image::run);
}

#[test]
fn any_index_with_its_checksum_is_read_within_its_bounds() {
    oneroot_testkit::replay("index", index::seeds(), index::run);
}

#[test]
fn any_bytes_that_another_host_sends_are_a_tree_that_leads_nowhere_or_an_error() {
    oneroot_testkit::replay("sent", sent::seeds(), sent::run);
}

#[test]
fn any_initramfs_is_listed_to_its_end_or_refused() {
    oneroot_testkit::replay("initrd", initrd::seeds(), initrd::run);
}
