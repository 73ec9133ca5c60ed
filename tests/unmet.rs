//! What a site says and the tree of a profile has nothing for: `stage` and `check` name it with the table that says it and with what helps,
//! and say nothing where it is there, or can't be known.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::own_initrd::{MODULES, tree};
use crate::program::{home, oneroot, put, put_site};

const SMALL: &str = "[profile.small]\nsource = { directory = \"small\" }\n";
const ALPHA: &str = "[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"small\"\n";

/// A tree as distributions merge it: `/bin` and `/sbin` are links into `/usr`.
fn merged(root: &Path) {
    for name in ["bin", "sbin"] {
        fs::create_dir_all(root.join("usr").join(name)).unwrap();
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    tree(root, &MODULES);
    put(root, "usr/bin/mount", "mount");
}

/// A site of these tables over such a tree, `small`.
fn site(tables: &str) -> tempfile::TempDir {
    let home = home(tables, &[]);
    merged(&home.path().join("small"));
    home
}

/// The lines with any of these words, which `stage` and `check` must both say.
fn said(home: &Path, words: &[&str]) -> Vec<String> {
    let lines = |command: &str| -> Vec<String> {
        let done = oneroot(home, &[command]);
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(0), "{command}: {text}");
        let said = text.lines().filter(|line| words.iter().any(|word| line.contains(word)));
        said.map(str::to_owned).collect()
    };
    // What is staged later than a tree is known then.
    oneroot(home, &["stage"]);
    let (staged, checked) = (lines("stage"), lines("check"));
    assert_eq!(staged, checked, "both say the same");
    staged
}

const MOUNTS: [&str; 2] = ["automount", "mount.nfs"];

#[test]
fn a_mount_that_the_tree_has_no_program_for_is_named_with_the_table_that_says_it_and_what_to_install() {
    let lasts = "lasts = { \"/var/lib/db\" = \"nas:/state/{name}\" }";
    let beta = ALPHA.replace("alpha", "beta").replace("0a\"", "0b\"");
    let tables = format!(
        "{SMALL}mounts = {{ \"/srv\" = \"nas:/srv\", \"/data\" = {{ device = \"LABEL=d\", type = \"ext4\" }} }}\n{ALPHA}{lasts}\n{beta}{lasts}\n\
         [group.desks]\nmachines = [\"alpha\"]\nmounts = {{ \"/home/*\" = \"nas:/home/&\" }}\n"
    );
    let home = site(&tables);
    let told = said(home.path(), &MOUNTS);
    assert_eq!(
        told,
        [
            "warning: profile small: no automount, so nothing mounts /home/* ([group.desks]); install autofs in the tree",
            "warning: profile small: no mount.nfs, so nothing mounts /home/* ([group.desks]), /srv ([profile.small]), \
             /var/lib/db ([machine.alpha] and 1 more); install nfs-common or nfs-utils in the tree",
        ]
    );
    // Where they lie in a merged tree, and the links are what is asked for.
    let root = home.path().join("small");
    put(&root, "usr/sbin/automount", "x");
    assert_eq!(said(home.path(), &MOUNTS).len(), 1);
    put(&root, "usr/sbin/mount.nfs", "x");
    assert_eq!(said(home.path(), &MOUNTS), [""; 0]);
}

#[test]
fn what_a_layer_brings_is_there_and_what_only_some_machines_have_is_told_of_the_others() {
    let beta = ALPHA.replace("alpha", "beta").replace("0a\"", "0b\"");
    let tables = format!(
        "{SMALL}mounts = {{ \"/srv\" = \"nas:/srv\" }}\n{ALPHA}workloads = [\"files\"]\n{beta}workloads = [\"files\"]\n\
         [workload.files]\nlayers = [\"files\"]\nmounts = {{ \"/w\" = \"nas:/w\" }}\n"
    );
    let home = site(&tables);
    put(home.path(), "files/usr/sbin/mount.nfs", "x");
    assert_eq!(said(home.path(), &MOUNTS), [""; 0]);
    let other = tables.replace(&format!("{beta}workloads = [\"files\"]\n"), &beta);
    put_site(home.path(), &other);
    let told = said(home.path(), &MOUNTS);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("nothing mounts /srv ([profile.small]);"), "beta's alone: {told:?}");
    // A layer with a condition may be there.
    let some = tables
        .replace("[\"files\"]\nmounts", "[{ path = \"files\", when = { memory = \"8192-\" } }]\nmounts");
    put_site(home.path(), &some);
    assert_eq!(said(home.path(), &MOUNTS), [""; 0]);
}

#[test]
fn a_log_that_the_tree_has_nothing_to_send_by_is_named_with_the_package_that_has_it() {
    for (log, name, path, package) in [
        (
            "http://logs:19532",
            "systemd-journal-upload",
            "usr/lib/systemd/systemd-journal-upload",
            "systemd-journal-remote",
        ),
        ("syslog://logs", "rsyslogd", "usr/sbin/rsyslogd", "rsyslog"),
    ] {
        let home = site(&format!("{SMALL}log = \"{log}\"\n{ALPHA}"));
        let words = ["systemd-journal-upload", "rsyslogd"];
        let told = format!(
            "warning: profile small: no {name}, so nothing sends logs to {log} ([profile.small]); install {package} in the tree"
        );
        assert_eq!(said(home.path(), &words), [told]);
        put(&home.path().join("small"), path, "x");
        assert_eq!(said(home.path(), &words), [""; 0]);
    }
}

#[test]
fn a_kernel_that_a_profile_names_and_no_tree_of_it_has_is_said_by_stage_and_check_and_not_by_explain_alone() {
    let words = ["are to load"];
    for named in ["/boot/vmlinuz-6.1.0-9", "/boot/vmlinuz-*-rt"] {
        let home = site(&format!("{SMALL}kernel = \"{named}\"\n{ALPHA}layer = \"alpha\"\n"));
        put(home.path(), "alpha/etc/motd", "x");
        let told = format!(
            "warning: profile small: no {named}, which its machines are to load: `kernel` ([profile.small]); install it in the tree, or name one that is there"
        );
        assert_eq!(said(home.path(), &words), [told]);
        let file = named.replace('*', "6.1.0");
        put(home.path(), &format!("alpha{file}"), "kernel");
        assert_eq!(said(home.path(), &words), [""; 0], "a layer has it");
        fs::remove_dir_all(home.path().join("alpha/boot")).unwrap();
        put(&home.path().join("small"), file.trim_start_matches('/'), "kernel");
        assert_eq!(said(home.path(), &words), [""; 0]);
    }
}

#[test]
fn a_kernel_that_is_named_by_who_borrows_it_is_looked_for_in_the_tree_that_lends_it() {
    let app = "[profile.app]\nsource = { directory = \"app\" }\nkernel_from = \"small\"\nmounts = { \"/srv\" = \"nas:/srv\" }\n\
        [profile.other]\nextends = \"app\"\nkernel = \"/boot/vmlinuz-9\"\n";
    let home = site(&format!("{SMALL}{app}"));
    put(&home.path().join("app"), "bin/mount", "mount");
    // Hidden by what is borrowed.
    put(&home.path().join("app"), "boot/vmlinuz-9", "kernel");
    let told = said(home.path(), &["are to load", "mount.nfs"]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("warning: profile app: no mount.nfs"), "{told:?}");
    assert!(told[1].starts_with("warning: profile small: no /boot/vmlinuz-9"), "{told:?}");
    assert!(told[1].contains("`kernel` ([profile.other])"), "{told:?}");
    put(&home.path().join("small"), "boot/vmlinuz-9", "kernel");
    assert_eq!(said(home.path(), &["are to load"]), [""; 0]);
}

#[test]
fn nothing_is_said_of_a_tree_of_which_it_cant_be_known() {
    let tables = format!("{SMALL}mounts = {{ \"/srv\" = \"nas:/srv\" }}\n{ALPHA}");
    let none = |home: &tempfile::TempDir| assert_eq!(said(home.path(), &MOUNTS), [""; 0]);
    let home = site(&tables);
    let root = home.path().join("small");
    assert_eq!(said(home.path(), &MOUNTS).len(), 1, "the others differ from this one");
    // Whoever says the server's address has no need of the helper.
    put_site(
        home.path(),
        &tables.replace("\"nas:/srv\"", "{ nfs = \"nas:/srv\", options = \"vers=4.2,addr=10.0.0.9\" }"),
    );
    none(&home);
    put_site(home.path(), &tables);
    // busybox's mounts NFS by itself.
    fs::remove_file(root.join("bin/mount")).unwrap();
    put(&root, "bin/busybox", "busybox");
    symlink("busybox", root.join("bin/mount")).unwrap();
    none(&home);
    // A tree without a mount where all have it has its programs elsewhere.
    fs::remove_file(root.join("bin/mount")).unwrap();
    none(&home);
    // What lies below the tree is not staged, and could have it.
    let below = format!(
        "[profile.below]\nsource = {{ directory = \"below\" }}\n{SMALL}extends = \"below\"\n{}",
        &tables[SMALL.len()..]
    );
    put_site(home.path(), &below);
    put(&root, "usr/bin/umount", "umount");
    fs::write(root.join("usr/bin/mount"), "mount").unwrap();
    merged(&home.path().join("below"));
    let staged = oneroot(home.path(), &["stage", "small"]);
    assert!(!String::from_utf8(staged.stderr).unwrap().contains("mount.nfs"));
    assert_eq!(said(home.path(), &MOUNTS).len(), 1, "now it is known");
    put(&home.path().join("below"), "usr/sbin/mount.nfs", "x");
    none(&home);
}

#[test]
fn a_place_that_is_a_link_in_the_tree_is_named_with_where_it_leads() {
    let home = site(&format!(
        "{SMALL}lasts = {{ \"/var/spool/mail\" = \"nas:/state/{{name}}\", \"/var/log\" = \"empty\" }}\n{ALPHA}mounts = {{ \"/mnt/a/b\" = \"nas:/b\" }}\n"
    ));
    let tree = home.path().join("small");
    for directory in ["var/spool", "var/mail", "var/log", "srv/a"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    put(&tree, "usr/sbin/mount.nfs", "mount.nfs");
    symlink("../mail", tree.join("var/spool/mail")).unwrap();
    symlink("srv", tree.join("mnt")).unwrap();
    assert_eq!(
        said(home.path(), &["is a link"]),
        [
            "warning: profile small: /mnt is a link to srv in the tree, and nothing can be mounted on /mnt/a/b: say where it leads",
            "warning: profile small: /var/spool/mail is a link to ../mail in the tree, and nothing can be mounted on /var/spool/mail: say where it leads",
        ]
    );
}
