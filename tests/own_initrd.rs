//! A tree with a kernel, its modules and no initrd: what `stage`, `check`, `explain` and `initrd` say of the one that is made for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;

use oneroot_testkit::module::module;

use crate::program::oneroot;

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
store = "store"
state = "state"

[profile.small]
source = { directory = "small" }

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "small"
"#;
const VERSION: &str = "6.1.0-1";
const MODULES: [&str; 4] = [
    "kernel/fs/nfs/nfsv3",
    "kernel/fs/overlayfs/overlay",
    "kernel/net/packet/af_packet",
    "kernel/drivers/net/igc",
];

/// A site whose tree has these modules.
fn site(modules: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let at = format!("small/usr/lib/modules/{VERSION}");
    write("site.toml", SITE.as_bytes());
    write(&format!("small/boot/vmlinuz-{VERSION}"), b"kernel");
    write("small/sbin/init", b"init");
    for path in modules {
        write(&format!("{at}/{path}.ko"), &module(b""));
    }
    let dep: String = modules.iter().map(|path| format!("{path}.ko:\n")).collect();
    write(&format!("{at}/modules.dep"), dep.as_bytes());
    write(&format!("{at}/modules.alias"), b"alias pci:v00008086d000015F3sv*sd*bc*sc*i* igc\n");
    home
}

/// What a command prints, both ways, and what it exits with.
fn said(home: &Path, args: &[&str]) -> (String, i32) {
    let output = oneroot(home, args);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap())
}

#[test]
fn a_tree_without_an_initrd_is_nothing_to_warn_of_and_explain_says_what_its_machines_load_and_why() {
    let home = site(&MODULES);
    let (told, exit) = said(home.path(), &["stage"]);
    assert!(exit == 0 && !told.contains("has no initrd") && !told.contains("lacks"), "{told}");
    let (told, exit) = said(home.path(), &["explain", "alpha", "--fact", "nic=8086:15f3"]);
    assert_eq!(exit, 0, "{told}");
    for word in [
        "/.oneroot/boot/initrd",
        "no kernel of its tree has one",
        "igc for its NIC 8086:15f3",
        "oneroot's own",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let (told, _) = said(home.path(), &["explain", "alpha"]);
    assert!(told.contains("drivers of common NICs, for nothing was told of this machine's"), "{told}");
}

#[test]
fn the_whole_initrd_is_written_once_and_replaced_by_force_alone() {
    let home = site(&MODULES);
    assert_eq!(said(home.path(), &["stage"]).1, 0);
    let (told, exit) = said(home.path(), &["initrd", "alpha", "-o", "a.img"]);
    assert!(exit == 0 && told.contains("a.img"), "{told}");
    assert_eq!(said(home.path(), &["initrd", "alpha", "-o", "a.img"]).1, 1, "it is there");
    assert_eq!(said(home.path(), &["initrd", "alpha", "-o", "a.img", "--force"]).1, 0);
    let written = fs::read(home.path().join("a.img")).unwrap();
    assert_eq!(written.len() % 4, 0);
    assert_eq!(written[..2], [0x1f, 0x8b], "gzip, for the tree has no config of its kernel");
    let end = String::from_utf8_lossy(&written).into_owned();
    assert!(
        end.contains("oneroot/settings") && end.contains("\nserver 10.0.0.1 2049 80\n"),
        "the settings come last"
    );
    assert_eq!(oneroot(home.path(), &["initrd", "alpha", "-o", "-"]).stdout, written);
}

#[test]
fn a_kernel_that_lacks_overlayfs_is_named_when_it_is_staged_and_boots_nobody() {
    let home = site(&[MODULES[0], MODULES[2], MODULES[3]]);
    let lacks = format!("kernel {VERSION} lacks overlayfs (CONFIG_OVERLAY_FS)");
    for args in [&["stage"][..], &["check"]] {
        let (told, exit) = said(home.path(), args);
        assert!(exit == 0 && told.contains(&lacks), "{args:?}: {told}");
    }
    let (told, exit) = said(home.path(), &["explain", "alpha"]);
    assert!(exit == 1 && told.contains(&lacks), "{told}");
}
