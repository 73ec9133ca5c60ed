//! What oneroot-http promises, seen from the wire: whole conversations beside hyper's, and what the fuzzers run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

mod heads;
mod oracle;
mod target;

#[test]
fn any_range_is_a_part_of_the_file_or_what_the_rfc_says() {
    oneroot_testkit::replay("http_range", target::seeds(), target::run);
}

#[test]
fn any_bytes_are_heads_one_after_the_other_or_are_refused() {
    oneroot_testkit::replay("http_head", heads::seeds(), heads::run);
}
