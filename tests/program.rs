//! The program, run once in a directory, and the site in that: what the tests of commands have in common.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use oneroot_testkit::binary;
use serde_json::Value;
use tempfile::TempDir;

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

/// A directory with a site of these tables ([`put_site`]), and these files.
pub fn home(tables: &str, files: &[(&str, &str)]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    put_site(home.path(), tables);
    files.iter().for_each(|(path, text)| put(home.path(), path, text));
    home
}

/// Makes these tables the site of a directory, below a `[server]` that has its store and its state there and serves nobody.
pub fn put_site(home: &Path, tables: &str) {
    let server =
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n";
    put(home, "site.toml", format!("{server}\n{tables}"));
}

/// Writes a file, and makes the directories on its way.
pub fn put(home: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Copies a program that is to be run. `cp` does it: what this process has open for writing, a child that another test starts at that
/// moment has too, and a file that somebody writes can't be run.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
