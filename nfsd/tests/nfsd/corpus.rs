//! What the fuzzers began with and what they have kept, as an ordinary test: each input goes through the very function
//! that found it. A finding is a regression test once its input lies in fuzz/corpus, under the name `broke-WHAT`.

use std::path::Path;
use std::{fs, panic};

use crate::seeds;
use crate::targets::{handle, mount_call, nfs_call, record_stream, rpc_header};

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // A corpus that has gone astray would be a test that tests nothing.
    assert!(files.len() >= 10, "{} inputs in {}", files.len(), dir.display());
    let (_, seeds) = seeds::all().into_iter().find(|(name, _)| *name == target).unwrap();
    let begun = seeds.into_iter().enumerate().map(|(at, input)| (format!("seed {at}"), input));
    let kept = files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap()));
    for (name, input) in begun.chain(kept) {
        if panic::catch_unwind(|| run(&input)).is_err() {
            panic!("{name} of {target} breaks a promise; what broke it stands above");
        }
    }
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
