//! A tree without a kernel boots with another profile's: kernel, initrd and modules of one version, whatever else is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;

use crate::program::{home, oneroot, put, text};

const SITE: &str = r#"
[profile.debian]
source = { directory = "debian" }

[profile.merged]
source = { directory = "merged" }
kernel_from = "debian"

[profile.plain]
source = { directory = "plain" }
kernel_from = "debian"

[machine.m]
mac = "52:54:00:00:00:0a"
profile = "merged"

[machine.p]
mac = "52:54:00:00:00:0b"
profile = "plain"
"#;

/// `merged` has its `/lib` in `/usr`, and an old kernel of its own; `plain` has a real `/lib`, and links to a kernel.
fn site() -> tempfile::TempDir {
    let home = home(SITE, &[]);
    let link = |target: &str, path: &str| std::os::unix::fs::symlink(target, home.path().join(path)).unwrap();
    kernel(home.path(), "6.1.0-1");
    put(home.path(), "debian/etc/debian_version", "12\n");
    put(home.path(), "debian/usr/lib/firmware/nic.bin", "debian's");
    link("usr/lib", "debian/lib");
    put(home.path(), "merged/etc/app", "x");
    put(home.path(), "plain/etc/app", "x");
    put(home.path(), "merged/usr/lib/app.so", "x");
    put(home.path(), "merged/usr/lib/modules/9.9/old.ko", "x");
    put(home.path(), "merged/usr/lib/firmware/own.bin", "own");
    put(home.path(), "merged/boot/vmlinuz-9.9", "old");
    put(home.path(), "merged/boot/initrd.img-9.9", "old");
    link("usr/lib", "merged/lib");
    put(home.path(), "plain/lib/ld-musl.so", "x");
    put(home.path(), "plain/boot/vmlinuz-virt", "old");
    link("boot/vmlinuz-virt", "plain/vmlinuz");
    text(home.path(), &["stage"]);
    home
}

fn kernel(home: &Path, version: &str) {
    let _ = fs::remove_dir_all(home.join("debian/boot"));
    let _ = fs::remove_dir_all(home.join("debian/usr/lib/modules"));
    put(home, &format!("debian/boot/vmlinuz-{version}"), version);
    put(home, &format!("debian/boot/initrd.img-{version}"), version);
    put(home, &format!("debian/usr/lib/modules/{version}/nic.ko"), version);
}

#[test]
fn kernel_initrd_and_modules_are_the_lenders_and_the_tree_is_its_own() {
    let home = site();
    for machine in ["m", "p"] {
        let explained: serde_json::Value =
            serde_json::from_str(&text(home.path(), &["explain", machine, "--json"])).unwrap();
        assert_eq!(explained["kernel"], "/boot/vmlinuz-6.1.0-1", "{explained}");
        assert_eq!(explained["initrd"], "/boot/initrd.img-6.1.0-1");
        let boot = text(home.path(), &["ls", machine, "/boot"]);
        assert!(!boot.contains("9.9") && !boot.contains("virt"), "{boot}");
        assert_eq!(text(home.path(), &["cat", machine, "/lib/modules/6.1.0-1/nic.ko"]), "6.1.0-1");
        assert_eq!(text(home.path(), &["cat", machine, "/lib/firmware/nic.bin"]), "debian's");
        let root = text(home.path(), &["ls", machine, "/"]);
        assert!(!root.contains("vmlinuz"), "{root}");
        assert!(!text(home.path(), &["ls", machine, "/etc"]).contains("debian_version"));
    }
    let modules = text(home.path(), &["ls", "m", "/usr/lib/modules"]);
    assert!(modules.contains("6.1.0-1") && !modules.contains("9.9"), "{modules}");
    assert_eq!(text(home.path(), &["cat", "m", "/usr/lib/firmware/own.bin"]), "own");
    assert!(text(home.path(), &["ls", "p", "/lib"]).contains("ld-musl.so"));
    let why = text(home.path(), &["explain", "m"]);
    assert!(why.contains("kernel of debian"), "{why}");
}

#[test]
fn a_new_kernel_of_the_lenders_is_the_borrowers_at_the_next_boot() {
    let home = site();
    let view = |home: &Path| text(home, &["explain", "m", "--json"]);
    let before = view(home.path());
    assert_eq!(view(home.path()), before, "the same each time");
    kernel(home.path(), "6.1.0-2");
    text(home.path(), &["stage", "debian"]);
    assert!(view(home.path()).contains("/boot/vmlinuz-6.1.0-2"));
    let modules = text(home.path(), &["ls", "m", "/lib/modules"]);
    assert!(modules.contains("6.1.0-2") && !modules.contains("6.1.0-1"), "{modules}");
}

#[test]
fn staging_the_borrower_does_not_miss_a_kernel() {
    let home = site();
    let assert_no_kernel_is_missed = || {
        let done = oneroot(home.path(), &["stage", "plain"]);
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success() && !said.contains("no kernel"), "{said}");
    };
    assert_no_kernel_is_missed();
    fs::remove_file(home.path().join("plain/boot/vmlinuz-virt")).unwrap();
    assert_no_kernel_is_missed();
}
