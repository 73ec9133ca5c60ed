//! What a host does to `oneroot sync`: files that somebody writes while contents come, mounts in trees that are to go, a root without
//! its capabilities, few descriptors, file systems without later times.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::sync_kit::{Home, Sentinel, assert_same, done, noise_bytes, refused, run, tell, text};

fn fill(root: &Path) {
    fs::create_dir_all(root.join("many")).unwrap();
    for number in 0..40 {
        fs::write(root.join(format!("many/f{number}")), noise_bytes(number, 500)).unwrap();
    }
    fs::write(root.join("changes"), "first").unwrap();
    fs::write(root.join("two"), "of two names").unwrap();
    fs::hard_link(root.join("two"), root.join("many/names")).unwrap();
    symlink("changes", root.join("link")).unwrap();
}

/// Has the server another tree, in which one file has changed.
fn change(home: &Home, to: &str) {
    fs::write(home.root().join("changes"), to).unwrap();
    home.server.stage().unwrap();
}

/// A program for `--before`, which runs when all contents have come: a script that has the directory as `$1`.
fn before(home: &Home, script: &str) -> PathBuf {
    let path = home.home.path().join("before");
    fs::write(&path, format!("#!/bin/sh -e\ncd \"$1\"\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_changes_in_the_directory_while_contents_come_is_never_linked_into_the_next_tree() {
    let home = Home::new(fill);
    // Of each, size and times are as they were.
    let cases = [
        (
            "written into",
            "touch -r many/f3 ../ref; printf X | dd of=many/f3 bs=1 conv=notrunc 2>/dev/null; touch -r ../ref many/f3",
        ),
        (
            "another file",
            "cp -p many/f3 new; printf X | dd of=new bs=1 conv=notrunc 2>/dev/null; touch -r many/f3 new; mv new many/f3",
        ),
        (
            "one of two names",
            "touch -r two ../ref; printf X | dd of=many/names bs=1 conv=notrunc 2>/dev/null; touch -r ../ref two",
        ),
        ("described", "chmod 600 many/f5"),
        ("another link", "ln -sfn elsewhe link; touch -h -r changes link"),
        ("gone", "rm many/f7"),
        ("no directory any more", "rm -r many; ln -s /etc many"),
    ];
    for (round, (what, script)) in cases.iter().enumerate() {
        // Once as sync has made it, and once as somebody else has, a moment ago: there it knows no times of it.
        for known in [true, false] {
            let when = format!("{what}, {known}");
            home.syncs(&["--atomic", "--keep", "0"], &when);
            if !known {
                let _ = fs::remove_dir_all(home.home.path().join(".dir.oneroot-sync"));
            }
            change(&home, &format!("{round} {known}"));
            let program = before(&home, script);
            let more = ["--atomic", "--keep", "0", "--before", text(&program)];
            refused(&home.sync(&more), "has changed while it was synced; run it again", &when);
            let is = fs::read_to_string(home.dir().join("changes")).unwrap();
            assert_ne!(is, format!("{round} {known}"), "{when}: the next tree has the name");
            home.syncs(&["--atomic", "--keep", "0"], &when);
        }
    }
}

#[test]
fn what_nobody_changes_is_linked_also_after_a_run_that_was_killed() {
    let home = Home::new(fill);
    home.syncs(&["--atomic"], "first");
    let inode = |name: &str| fs::symlink_metadata(home.dir().join(name)).unwrap().ino();
    let names = ["two", "many/names", "many/f1", "link"];
    let all = names.map(inode);
    for round in 0..3 {
        change(&home, &format!("{round}"));
        if round == 1 {
            // As far as one had come that was killed: its links have moved the times by which files are known.
            let next = home.home.path().join("dir.next");
            fs::write(home.home.path().join(".dir.oneroot-sync/next"), "").unwrap();
            run(&["cp", "-al", text(&home.dir()), text(&next)]);
        }
        home.syncs(&["--atomic"], "again");
        assert_eq!(names.map(inode), all, "round {round}: they were copied");
    }
}

#[test]
fn a_tree_that_is_to_go_stays_while_something_is_mounted_in_it() {
    let home = Home::new(fill);
    let sentinel = Sentinel::new(home.home.path());
    let beside = |ending: &str| home.home.path().join(format!("dir.{ending}"));
    let mount = |on: &Path| run(&["mount", "--bind", text(sentinel.path()), text(on)]);
    let umount = |on: &Path| run(&["umount", text(on)]);
    for (round, (keep, goes)) in [("1", "1"), ("2", "2"), ("0", "1")].into_iter().enumerate() {
        for number in 0..3 {
            change(&home, &format!("{round} {number}"));
            home.syncs(&["--atomic", "--keep", if keep == "0" { "1" } else { keep }], "before");
        }
        let at = beside(goes).join("many");
        mount(&at);
        change(&home, &format!("{round}, the next"));
        let was = tell(&home.dir());
        refused(&home.sync(&["--atomic", "--keep", keep]), "unmount it", keep);
        sentinel.assert_untouched(keep);
        assert_same(&tell(&home.dir()), &was, "refused before anything was changed");
        umount(&at);
        home.syncs(&["--atomic", "--keep", keep], "unmounted");
    }
    // What a run that was killed has left of a tree.
    fs::create_dir_all(beside("next").join("in/it")).unwrap();
    fs::write(home.home.path().join(".dir.oneroot-sync/next"), "").unwrap();
    mount(&beside("next").join("in/it"));
    refused(&home.sync(&["--atomic"]), "unmount it", "next");
    sentinel.assert_untouched("next");
    // On the whole of it, and a file.
    umount(&beside("next").join("in/it"));
    mount(&beside("next"));
    refused(&home.sync(&["--atomic"]), "unmount it", "next");
    umount(&beside("next"));
    fs::write(beside("next").join("in/file"), "").unwrap();
    run(&["mount", "--bind", text(&sentinel.path().join("victim")), text(&beside("next").join("in/file"))]);
    refused(&home.sync(&["--atomic"]), "unmount it", "next");
    umount(&beside("next").join("in/file"));
    sentinel.assert_untouched("next");
    home.syncs(&["--atomic"], "unmounted");
    assert!(!beside("next").exists());
}

/// The program as root without some capabilities, as a container has it.
fn without(home: &Home, rights: &str, more: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", rights, "--"]).arg(home.server.binary());
    command.args(["sync", "debian", "--force"]).arg(home.dir()).args(["--from", &Home::from()]).args(more);
    command.env("ONEROOT_TOKEN", &home.token).output().unwrap()
}

#[test]
fn a_root_without_its_capabilities_is_told_what_can_t_be_set_before_anything_is_touched() {
    let home = Home::new(|root| {
        fill(root);
        run(&["mknod", text(&root.join("null")), "c", "1", "3"]);
        std::os::unix::fs::chown(root.join("many/f1"), Some(7), Some(8)).unwrap();
        std::os::unix::fs::chown(root.join("many/f2"), Some(7), Some(8)).unwrap();
        // A group's own place, as /var/mail is.
        fs::create_dir(root.join("groups")).unwrap();
        std::os::unix::fs::chown(root.join("groups"), Some(0), Some(8)).unwrap();
        fs::set_permissions(root.join("groups"), fs::Permissions::from_mode(0o2775)).unwrap();
        // A directory that its owner enters by a right alone, and one in it.
        fs::create_dir_all(root.join("closed/below")).unwrap();
        fs::write(root.join("closed/below/file"), "x").unwrap();
        fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
        let none = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join("changes"), "trusted.note", b"x", none).unwrap();
    });
    for (rights, right, words) in [
        ("-chown", "CAP_CHOWN", "the owner of /groups and 2 more can't be set here"),
        ("-mknod", "CAP_MKNOD", "the device /null can't be made here"),
        ("-sys_admin", "CAP_SYS_ADMIN", "attributes of /changes can't be set here"),
        ("-dac_override,-dac_read_search", "CAP_DAC_OVERRIDE", "the mode of /closed can't be set here"),
        ("-fsetid", "CAP_FSETID", "the mode of /groups can't be set here"),
    ] {
        for more in [&[][..], &["--atomic"]] {
            let said = refused(&without(&home, rights, more), words, rights);
            assert!(said.contains(&format!("run it as root with {right}")), "{said}");
            assert!(!home.dir().exists() || fs::read_dir(home.dir()).unwrap().count() == 0, "{rights}");
        }
        for more in [&["--unprivileged"][..], &["--unprivileged", "--atomic"]] {
            let said = done(&without(&home, rights, more), rights);
            assert!(said.contains("the owner of /groups"), "{said}");
            fs::remove_dir_all(home.dir()).unwrap();
        }
    }
    home.syncs(&[], "root as it is");
    fs::remove_dir_all(home.dir()).unwrap();
    // What the tree does not take is not asked for.
    let rights = "-net_admin,-net_raw,-sys_ptrace,-sys_module,-sys_boot,-linux_immutable";
    done(&without(&home, rights, &[]), rights);
    assert_same(&tell(&home.dir()), &home.exported(), rights);
    fs::remove_dir_all(home.dir()).unwrap();
    // Nor is what only files take that it has not.
    fs::set_permissions(home.root().join("groups"), fs::Permissions::from_mode(0o4775)).unwrap();
    home.server.stage().unwrap();
    done(&without(&home, "-fsetid", &[]), "no setgid");
    assert_same(&tell(&home.dir()), &home.exported(), "no setgid");
}

#[test]
fn who_only_compares_leaves_what_a_run_before_has_begun() {
    let home = Home::new(fill);
    home.syncs(&["--atomic"], "first");
    change(&home, "second");
    let next = home.home.path().join("dir.next");
    fs::create_dir_all(next.join("begun")).unwrap();
    fs::write(home.home.path().join(".dir.oneroot-sync/next"), "").unwrap();
    let said = done(&home.sync(&["--atomic", "--dry-run"]), "looked");
    assert!(said.contains("would be"), "{said}");
    assert!(next.join("begun").exists(), "it was removed");
    home.syncs(&["--atomic"], "second");
    assert!(!next.exists());
}

#[test]
fn a_few_descriptors_are_enough() {
    let home = Home::new(|root| {
        fill(root);
        fs::write(root.join("large"), noise_bytes(1, 3 << 20)).unwrap();
    });
    for more in ["", "--atomic"] {
        for number in 0..2 {
            change(&home, &format!("{more} {number}"));
            let mut command = Command::new("sh");
            command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(home.server.binary());
            command.args(["sync", "debian", "--force"]).arg(home.dir()).args(["--from", &Home::from()]);
            command.args((!more.is_empty()).then_some(more)).env("ONEROOT_TOKEN", &home.token);
            done(&command.output().unwrap(), more);
            assert_same(&tell(&home.dir()), &home.exported(), more);
        }
    }
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn times_that_no_index_or_no_disk_has_are_the_last_that_it_has_or_are_told() {
    // In the years 2352 and 1636: an index ends in 2262, and begins in 1677.
    let (late, early) = (12_055_000_000, -10_540_000_000);
    let home = Home::in_memory(|root| {
        fill(root);
        set_time(&root.join("many/f1"), late);
        set_time(&root.join("many/f2"), early);
        set_time(&root.join("link"), late);
        set_time(&root.join("many"), late);
    });
    for more in [&[][..], &["--atomic"]] {
        home.syncs(more, "once");
        let time = |name: &str| fs::symlink_metadata(home.dir().join(name)).unwrap().mtime();
        assert_eq!(["many/f1", "many", "link"].map(time), [i64::MAX / 1_000_000_000; 3]);
        assert_eq!(time("many/f2"), i64::MIN.div_euclid(1_000_000_000));
        let again = done(&home.sync(more), "again");
        assert!(again.contains("0 added, 0 removed, 0 changed; 0 contents"), "{again}");
    }
}

#[test]
fn a_disk_that_takes_other_times_than_it_is_given_is_told_of() {
    let mut home = Home::new(|root| {
        fill(root);
        set_time(&root.join("many/f1"), 4_400_000_000);
        set_time(&root.join("link"), 4_400_000_000);
        set_time(&root.join("many"), 4_400_000_000);
    });
    // Inodes of 128 bytes have 32 bits for a time.
    let image = home.home.path().join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run(&["mkfs.ext4", "-q", "-F", "-I", "128", text(&image)]);
    let disk = home.home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    run(&["mount", "-o", "loop", text(&image), text(&disk)]);
    home.at = disk.join("dir");
    let outputs = [&[][..], &["--atomic"], &["--unprivileged"]].map(|more| home.sync(more));
    run(&["umount", text(&disk)]);
    for output in &outputs[..2] {
        refused(output, "the time of /", "times");
    }
    done(&outputs[2], "told and tolerated");
}
