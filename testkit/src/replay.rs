//! What a fuzzer begins with and what it has kept, as an ordinary test: each input goes through the very function that the
//! fuzzer calls. A finding is a regression test once its input lies in fuzz/corpus, under the name `broke-WHAT`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::path::Path;
use std::{fs, panic};

/// Runs a target over `seeds` and over its corpus.
///
/// # Panics
/// With the name of the input that breaks a promise, and where the corpus has gone astray: that would be a test that tests
/// nothing.
pub fn replay(target: &str, seeds: Vec<Vec<u8>>, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} inputs in {}", files.len(), dir.display());
    let begun = seeds.into_iter().enumerate().map(|(at, input)| (format!("seed {at}"), input));
    let kept = files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap()));
    for (name, input) in begun.chain(kept) {
        if panic::catch_unwind(|| run(&input)).is_err() {
            panic!("{name} of {target} breaks a promise; what broke it stands above");
        }
    }
}
