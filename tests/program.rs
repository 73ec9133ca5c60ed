//! The program, run once in a directory: what the tests of commands have in common.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::path::Path;
use std::process::{Command, Output};

use oneroot_testkit::binary;
use serde_json::Value;

/// `oneroot WORDS` in a directory.
pub fn oneroot(home: &Path, words: &[&str]) -> Output {
    Command::new(binary().unwrap()).current_dir(home).args(words).output().unwrap()
}

/// The same, which must succeed: what it printed.
pub fn text(home: &Path, words: &[&str]) -> String {
    let done = oneroot(home, words);
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Its document.
pub fn json(home: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&text(home, &[words, &["--json"]].concat())).unwrap()
}
