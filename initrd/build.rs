//! A name for the sources that server and init have in common (`BUILD` in `src/lib.rs`), so that a program of other sources is known
//! for one: what they tell each other is the same within one build, and nobody keeps it the same from one to the next.
//!
//! It is of the sources alone, and of no compiler's making: whoever builds them where has the same name. A mistake is what it
//! is against, not an attack, so FNV-1a of 64 bits does, and no other crate is needed for it.
#![allow(clippy::expect_used, reason = "a build ends where its sources can't be read")]

use std::fs;
use std::path::{Path, PathBuf};

/// What the program is made of, and the server reads and writes by.
const SOURCES: [&str; 3] = ["ids/src", "init/src", "initrd/src"];
/// Of FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn main() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in a workspace").to_owned();
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", home.join(source).display());
        collect(&home.join(source), &mut files);
    }
    files.sort();
    let mut name = BASIS;
    let mut add = |bytes: &[u8]| {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            name = (name ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    };
    for file in files {
        let path = file.strip_prefix(&home).expect("it was found there");
        add(path.to_str().expect("sources have plain names").as_bytes());
        add(&fs::read(&file).expect("a source can be read"));
    }
    println!("cargo::rustc-env=ONEROOT_SOURCES={name:016x}");
    // For the build of who depends on this crate: `DEP_ONEROOT_INITRD_BUILD`.
    println!("cargo::metadata=BUILD=oneroot-init of {name:016x}");
}

/// All sources below a directory; what an editor has left beside them is none.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("sources are there") {
        let path = entry.expect("sources are there").path();
        // An editor's lock, `.#lib.rs`, is a link to nothing.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}
