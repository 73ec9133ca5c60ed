//! A tree with a kernel, its modules and no initrd: what `stage`, `check`, `explain` and `initrd` say of the one that is made for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use oneroot_testkit::module::module;
use oneroot_testkit::{Lab, RELAY, Server, SiteFiles, http};

use crate::program::{home, oneroot, put};

const SITE: &str = r#"
[profile.small]
source = { directory = "small" }

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "small"
"#;
const VERSION: &str = "6.1.0-1";
/// What a machine that mounts its root by NFS needs, and a NIC.
pub const MODULES: [&str; 4] = [
    "kernel/fs/nfs/nfsv3",
    "kernel/fs/overlayfs/overlay",
    "kernel/net/packet/af_packet",
    "kernel/drivers/net/igc",
];

/// A site whose tree has these modules.
fn site(modules: &[&str]) -> tempfile::TempDir {
    let home = home(SITE, &[]);
    tree(&home.path().join("small"), modules);
    home
}

/// A tree with a kernel and these modules.
pub fn tree(root: &Path, modules: &[&str]) {
    let at = format!("usr/lib/modules/{VERSION}");
    put(root, &format!("boot/vmlinuz-{VERSION}"), "kernel");
    put(root, "sbin/init", "init");
    for path in modules {
        put(root, &format!("{at}/{path}.ko"), module(b""));
    }
    let dep: String = modules.iter().map(|path| format!("{path}.ko:\n")).collect();
    put(root, &format!("{at}/modules.dep"), dep);
    put(root, &format!("{at}/modules.alias"), "alias pci:v00008086d000015F3sv*sd*bc*sc*i* igc\n");
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
    let both = oneroot(home.path(), &["initrd", "alpha", "-o", "-", "--json"]);
    assert!(both.status.code() == Some(1) && both.stdout.is_empty(), "either one or the other");
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

#[test]
fn a_setting_that_the_kernel_has_nothing_for_is_named_when_it_is_staged_and_boots_nobody() {
    let zram = "kernel/drivers/block/zram/zram";
    for (setting, module, remedy) in [
        ("overlay = \"zram 512m\"", zram, "say `overlay = \"512m\"`"),
        ("vlan = 12", "kernel/net/8021q/8021q", "leave `vlan` away"),
    ] {
        let site = SITE.replace("[machine", &format!("initramfs = \"oneroot\"\n{setting}\n\n[machine"));
        let home = home(&site, &[]);
        let root = home.path().join("small");
        tree(&root, &MODULES);
        for args in [&["stage"][..], &["check"]] {
            let (told, exit) = said(home.path(), args);
            let named = told.contains(&format!("kernel {VERSION} has no ")) && told.contains(remedy);
            assert!(exit == 0 && named, "{args:?}: {told}");
        }
        let (told, exit) = said(home.path(), &["explain", "alpha"]);
        assert!(
            exit == 1 && told.contains(&format!("`{setting}` takes ")) && told.contains(remedy),
            "{told}"
        );
        // What is built in is no module.
        put(&root, &format!("usr/lib/modules/{VERSION}/modules.builtin"), format!("{module}.ko\n"));
        for args in [&["stage"][..], &["check"], &["explain", "alpha"]] {
            let (told, exit) = said(home.path(), args);
            assert!(exit == 0 && !told.contains(" takes "), "{args:?}: {told}");
        }
    }
}

#[test]
fn a_kernel_that_only_another_profile_boots_out_of_a_tree_is_looked_at_by_the_name_of_that_profile() {
    let others = "[profile.newer]\nextends = \"small\"\nkernel = \"/boot/vmlinuz-6.6.0-1\"\ninitramfs = \"oneroot\"\n\
        [profile.lent]\nsource = { directory = \"lent\" }\nkernel_from = \"newer\"\noverlay = \"zram 1g\"\n\n[machine";
    let home = home(&SITE.replace("[machine", others), &[]);
    let root = home.path().join("small");
    tree(&root, &MODULES);
    put(&home.path().join("lent"), "sbin/init", "init");
    put(&root, "boot/vmlinuz-6.6.0-1", "kernel");
    let at = "usr/lib/modules/6.6.0-1";
    for path in [MODULES[0], MODULES[2]] {
        put(&root, &format!("{at}/{path}.ko"), module(b""));
    }
    let dep = format!("{}.ko:\n{}.ko:\n", MODULES[0], MODULES[2]);
    put(&root, &format!("{at}/modules.dep"), dep);
    // The tree's own profile boots the other one.
    put(&root, "boot/initrd.img-6.1.0-1", "initrd");
    for args in [&["stage"][..], &["check"]] {
        let (told, exit) = said(home.path(), args);
        let overlay = "of profiles lent, newer: kernel 6.6.0-1 lacks overlayfs (CONFIG_OVERLAY_FS)";
        assert!(exit == 0 && told.contains(overlay), "{args:?}: {told}");
        assert!(
            told.contains("of profile lent: kernel 6.6.0-1 has no zram (CONFIG_ZRAM)"),
            "{args:?}: {told}"
        );
        assert!(!told.contains("kernel 6.1.0-1 "), "{args:?}: {told}");
    }
}

/// Once one walk up the profiles ended at the topmost tree, and the one that decides did not.
#[test]
fn what_mounts_the_root_is_inherited_by_a_profile_that_has_a_tree_of_its_own() {
    let home = home(
        "[profile.base]\nsource = { directory = \"base\" }\ninitramfs = \"oneroot\"\n\
         [profile.desk]\nextends = \"base\"\nsource = { directory = \"desk\" }\n",
        &[],
    );
    let desk = home.path().join("desk");
    tree(&home.path().join("base"), &MODULES);
    tree(&desk, &MODULES);
    put(&desk, "boot/vmlinuz-6.0.0-1", "kernel");
    put(&desk, "usr/lib/modules/6.0.0-1/modules.dep", "");
    put(&desk, "boot/initrd.img-6.1.0-1", "no initrd");
    for args in [&["stage"][..], &["check"]] {
        let (told, exit) = said(home.path(), args);
        let of_others = ["has no initrd", "init needs", "initrd.img"].iter().any(|word| told.contains(word));
        assert!(exit == 0 && !of_others, "its machines boot by an initrd of oneroot's own: {told}");
    }
}

/// One answer by HTTP whatever it is made of: its length is said, any part can be had, and it has a name that stays.
#[test]
fn the_initrd_of_a_boot_is_one_file_by_http_with_parts_on_both_sides_of_what_it_is_joined_of() {
    let lab = Lab::new().unwrap();
    let files = SiteFiles::with_alpha(b"old").unwrap();
    let root = files.path().join("root");
    fs::remove_dir_all(root.join("boot")).unwrap();
    tree(&root, &MODULES);
    let _server = Server::start(files).unwrap();
    let asked = lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, Duration::from_secs(60)).unwrap().unwrap();
        let (_, script) = alpha.get("/boot/52-54-00-00-00-0a.ipxe?busid=01808615f3").unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(!script.contains("nfsroot") && !script.contains("init=/.oneroot"), "{script}");
        let boot = script.split("/b/").nth(1).unwrap().split('/').next().unwrap();
        let path = format!("/b/{boot}/initrd");
        let (status, whole) = alpha.get(&path).unwrap();
        assert!(status == 200 && whole.len() > 100_000, "{status}, {}", whole.len());
        assert!(whole.windows(18).any(|bytes| bytes == b"oneroot/settings\0\0"), "what is not packed");
        let stream = alpha.connect(80, 0).unwrap();
        let ask = |line: &str, has_body| {
            write!(&stream, "{line}\r\n\r\n").unwrap();
            http::answer(&stream, has_body).unwrap()
        };
        let (head, _) = ask(&format!("HEAD {path} HTTP/1.1"), false);
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", whole.len())), "{head}");
        let tag = head.lines().find_map(|line| line.strip_prefix("Etag: ")).unwrap().to_owned();
        // The settings are the last few hundred bytes.
        let end = whole.len();
        for (from, to) in
            [(0, 10), (0, end), (end - 2000, end - 1000), (end - 2000, end), (end - 100, end), (7, end - 3)]
        {
            let (head, body) = ask(&format!("GET {path} HTTP/1.1\r\nRange: bytes={from}-{}", to - 1), true);
            assert!(head.starts_with("HTTP/1.1 206 ") && head.contains(&tag), "{head}");
            assert!(body == whole[from..to], "{from} to {to}");
        }
        let (head, body) = ask(&format!("GET {path} HTTP/1.1\r\nIf-Range: {tag}\r\nRange: bytes=5-9"), true);
        assert!(head.starts_with("HTTP/1.1 206 ") && body == whole[5..10], "{head}");
    });
    asked.unwrap();
}
