//! Builds `oneroot-init` (`init/`), which this crate brings along for its initrds: static, small, for each processor that this
//! host can build for. A processor that it can't build for has an empty file, and is not served.
//!
//! The nested build has a directory of its own beside `debug` and `release`, so it is built once for all profiles, and again only
//! when something of it has changed. It takes nothing of the flags of the outer build but how paths are written into what is
//! built: `cargo clippy`, coverage and sanitizers have theirs, and a program that runs alone on a machine has its own.
#![allow(clippy::panic, clippy::expect_used, reason = "a build ends where its program can't be built")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Processors, and the compiler of C that links for one where it is another than this host's (Debian's name of it).
const PROCESSORS: [(&str, &str); 2] =
    [("x86_64", "x86_64-linux-gnu-gcc"), ("aarch64", "aarch64-linux-gnu-gcc")];
/// What rustc is told of it; `scripts/build-init` reads the same file.
const FLAGS: &str = include_str!("../init/flags");
/// What the program is made of.
const SOURCES: [&str; 10] = [
    "init/src",
    "init/Cargo.toml",
    "init/flags",
    "initrd/src",
    "initrd/build.rs",
    "initrd/Cargo.toml",
    "ids/src",
    "ids/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it"));
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in a workspace").to_owned();
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", home.join(source).display());
    }
    let host = env::var("HOST").expect("cargo names it");
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names it");
    for (processor, linker) in PROCESSORS {
        let given = format!("ONEROOT_INIT_{}", processor.to_uppercase());
        println!("cargo::rerun-if-env-changed={given}");
        let to = out.join(format!("init.{processor}"));
        let from = match env::var_os(&given) {
            Some(built) => {
                let built = PathBuf::from(built);
                assert_is_of_this_build(&built, &given, processor);
                Some(built)
            }
            None => {
                let triple = format!("{processor}-unknown-linux-gnu");
                let linker = (!host.starts_with(processor)).then_some(linker);
                // Without its own processor's a server could serve nobody: then what is missing is said. Of another one it is as
                // if there were none.
                let must = processor == target;
                (must || can_build(&triple, linker)).then(|| build(&home, &out, &triple, linker))
            }
        };
        match from {
            Some(from) => {
                fs::copy(&from, &to).unwrap_or_else(|cause| panic!("copy {}: {cause}", from.display()));
            }
            None => fs::write(&to, b"").expect("write an empty file"),
        }
    }
}

/// One that somebody else has built may be of other sources, and would not understand what this server tells it.
fn assert_is_of_this_build(program: &Path, given: &str, processor: &str) {
    println!("cargo::rerun-if-changed={}", program.display());
    let bytes = fs::read(program).unwrap_or_else(|cause| panic!("{given}: {}: {cause}", program.display()));
    // As `initrd/build.rs` tells it; `oneroot_initrd::is_of_this_build` is the same.
    let build = env::var("DEP_ONEROOT_INITRD_BUILD").expect("oneroot-initrd is built first and tells it");
    assert!(
        bytes.windows(build.len()).any(|window| window == build.as_bytes()),
        "{given}: {} is no oneroot-init of these sources: build it anew with `scripts/build-init {processor}`",
        program.display()
    );
}

/// Whether the standard library and a linker for another processor are here.
fn can_build(triple: &str, linker: Option<&str>) -> bool {
    let rustc = env::var_os("RUSTC").expect("cargo names it");
    let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", triple]).output();
    let has_std = libraries.ok().and_then(|told| String::from_utf8(told.stdout).ok()).is_some_and(|path| {
        let names = fs::read_dir(path.trim()).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.into_string().ok()).any(|name| name.starts_with("libstd-"))
    });
    has_std && linker.is_none_or(|linker| Command::new(linker).arg("--version").output().is_ok())
}

/// Builds it, and says where it is.
fn build(home: &Path, out: &Path, triple: &str, linker: Option<&str>) -> PathBuf {
    // `target/PROFILE/build/NAME/out`, or the same below a target's directory.
    let above = out.ancestors().find(|path| path.file_name().is_some_and(|name| name == "build"));
    let target = above.and_then(|build| build.parent()?.parent()).unwrap_or(out).join("init");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo names itself"));
    cargo.current_dir(home).args(["build", "--quiet", "--package", "oneroot-init", "--profile", "init"]);
    cargo.args(["--target", triple, "--target-dir"]).arg(&target);
    let outer = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut flags: Vec<&str> = remapped(&outer);
    flags.extend(FLAGS.split_whitespace());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    for name in
        ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "CLIPPY_ARGS"]
    {
        cargo.env_remove(name);
    }
    // What cargo tells this script of its own package is not the nested one's.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CARGO_PKG_", "CARGO_CFG_", "CARGO_FEATURE_", "DEP_"].iter().any(|begin| name.starts_with(begin))
        {
            cargo.env_remove(name);
        }
    }
    if let Some(linker) = linker {
        let key = triple.to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{key}_LINKER"), linker);
    }
    let told = cargo.output().unwrap_or_else(|cause| panic!("cargo can't be started: {cause}"));
    assert!(
        told.status.success(),
        "oneroot-init can't be built for {triple} (a static program takes glibc's libc.a: Debian's libc6-dev, Fedora's \
         glibc-static; or name one that is built in ONEROOT_INIT_{}):\n{}",
        triple.split('-').next().unwrap_or_default().to_uppercase(),
        String::from_utf8_lossy(&told.stderr)
    );
    target.join(triple).join("init").join("oneroot-init")
}

/// Of the flags of the outer build, how paths are written.
fn remapped(flags: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut words = flags.split('\x1f');
    while let Some(word) = words.next() {
        if word == "--remap-path-prefix" {
            kept.extend([Some(word), words.next()].into_iter().flatten());
        } else if word.starts_with("--remap-path-prefix=") {
            kept.push(word);
        }
    }
    kept
}
