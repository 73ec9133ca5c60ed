//! `/.oneroot/keep` in namespaces, over a root of a few files and with each shell that a tree may have: what has memory of its own, what
//! is made at a file server, and what is left as it was where that can't be had.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::guest_init::{PROBE, SPOILED, boot_and_errors, change, last_words, program, root, shells};

const KEEP: &str = include_str!("../machines/src/guest/keep");
const MOUNT_FAILED: &str = include_str!("../machines/src/guest/mount-failed");

/// A tree with some of what may last, this list of it, and a real init that says more.
fn tree(shell: &Path, list: &str, says: &str) -> TempDir {
    let home = root(shell);
    let at = |path: &str| home.path().join("root").join(path);
    // Some shells have mount built in.
    program(&at(".oneroot/keep"), &KEEP.replace("mount -n -t nfs -o", "nas-mount"));
    program(&at(".oneroot/mount-failed"), MOUNT_FAILED);
    fs::write(at(".oneroot/lasts"), list).unwrap();
    let places = list.lines().map(|line| line.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" ") + "\n");
    fs::write(at(".oneroot/mounts"), places.collect::<String>()).unwrap();
    change(
        home.path(),
        "ln -s busybox bin/mv; ln -s busybox bin/ls; ln -s busybox bin/head; mkdir -p var/lib/app var/cache/x var/lib/db/sub; \
         echo own >var/lib/app/file; ln var/lib/app/file var/lib/app/same; ln -s file var/lib/app/link; \
         chmod 640 var/lib/app/file; chmod 1777 var/cache; chown -R 7:8 var/lib/app; chmod 2750 var/lib/app; \
         echo tables >var/lib/db/sub/t; chown 9:9 var/lib/db; chmod 700 var/lib/db; ln -s lib/app var/link",
    );
    let probe =
        PROBE.replacen('\n', &format!("\n{says}\necho \"console=$(tr '\\n' '|' </dev/console)\"\n"), 1);
    program(&at("usr/lib/systemd/systemd"), &probe);
    // What is said is added to the console here, so that all of it is seen.
    for name in [".oneroot/mount-failed", ".oneroot/start"] {
        let text = fs::read_to_string(at(name)).unwrap();
        program(&at(name), &text.replace(">/dev/console", ">>/dev/console"));
    }
    home
}

/// What the real init said of this.
fn one<'t>(told: &'t BTreeMap<String, Vec<String>>, name: &str) -> &'t str {
    told.get(name).and_then(|said| said.first()).map_or("", String::as_str)
}

/// A file server, for which a directory stands; of its options nothing is heeded.
const NAS: &str = "printf '#!/bin/sh\\n[ -d /nas${2#nas:} ] && exec mount -n -o bind /nas${2#nas:} $3\\n' >bin/nas-mount; \
                   chmod 755 bin/nas-mount; mkdir -p nas/state";
/// A program that copies all and says that it did not.
const NO_COPY: &str = "printf '#!/bin/sh\\ncp -a \"$@\"\\nexit 1\\n' >bin/no-copy; chmod 755 bin/no-copy";
/// A tree whose init is another than systemd.
const OTHER: &str = "rm sbin/init; cp usr/lib/systemd/systemd sbin/init";

#[test]
fn what_is_copied_or_empty_has_memory_of_its_own_with_the_trees_owner_and_mode_before_the_real_init() {
    let list =
        "1 /var/cache wanted empty 1m\n2 /var/lib/app wanted copied 2m\n3 /var/lib/new required empty 10%\n";
    let says = "for path in /var/cache /var/lib/app /var/lib/new; do\n\
                echo \"of $path=$(stat -c '%a %u %g' $path) $(ls $path | tr '\\n' ' ')\"\ndone\n\
                echo \"kinds=$(grep -c '^oneroot /var.* tmpfs ' /proc/mounts)\"\n\
                echo \"size=$(grep ' /var/cache ' /proc/mounts)\"\n\
                echo \"inside=$(stat -c '%a %u %h' /var/lib/app/file) $(readlink /var/lib/app/link) $(cat /var/lib/app/same)\"\n\
                echo other >/var/lib/app/file; umount /var/lib/app; echo \"below=$(cat /var/lib/app/file)\"\n\
                echo \"room=$(ls /.oneroot/rw)\"";
    for shell in shells() {
        let home = tree(shell, list, says);
        let (told, errors) = boot_and_errors(home.path(), SPOILED);
        let shown = shell.display();
        assert_eq!(errors, "", "{shown}");
        assert_eq!(one(&told, "console"), "", "{shown}: nothing is amiss");
        assert_eq!(one(&told, "of /var/cache"), "1777 0 0 ", "{shown}: the tree's own are not there");
        assert_eq!(one(&told, "of /var/lib/app"), "2750 7 8 file link same ", "{shown}");
        assert_eq!(one(&told, "of /var/lib/new"), "755 0 0 ", "{shown}: a place that the tree lacks is made");
        assert_eq!(one(&told, "kinds"), "3", "{shown}");
        assert!(one(&told, "size").contains("size=1024k"), "{shown}: {told:?}");
        assert_eq!(one(&told, "inside"), "640 7 2 file own", "{shown}: hard links are one file");
        assert_eq!(one(&told, "below"), "own", "{shown}: what is written is in the copy alone");
        assert_eq!(one(&told, "room"), "", "{shown}");
    }
}

#[test]
fn what_is_copied_in_a_directory_that_is_empty_is_as_the_tree_has_it() {
    let list = "1 /var wanted empty 1m\n2 /var/cache wanted empty 1m\n3 /var/lib/app required copied 2m\n";
    let says = "echo \"var=$(ls /var | tr '\\n' ' ')\"; echo \"app=$(stat -c '%a %u %g' /var/lib/app) $(ls /var/lib/app | tr '\\n' ' ')\"\n\
                echo \"cache=$(stat -c '%a' /var/cache) $(ls /var/cache)\"; echo \"left=$(grep -c keep-tree /proc/mounts)\"";
    for shell in shells() {
        let home = tree(shell, list, says);
        let (told, errors) = boot_and_errors(home.path(), SPOILED);
        let shown = shell.display();
        assert_eq!(errors, "", "{shown}");
        assert_eq!(one(&told, "var"), "cache lib ", "{shown}");
        assert_eq!(one(&told, "app"), "2750 7 8 file link same ", "{shown}");
        assert_eq!(one(&told, "cache"), "1777 ", "{shown}");
        assert_eq!(one(&told, "left"), "0", "{shown}");
    }
}

#[test]
fn what_can_not_be_had_is_told_and_left_as_it_was_and_ends_the_boot_where_it_is_required() {
    let big = "head -c 3000000 /dev/zero >var/lib/app/big";
    let list =
        "1 /var/cache wanted copied 1m\n2 /var/lib/app wanted copied 1m\n3 /var/link wanted empty 1m\n";
    let says = "echo \"kept=$(ls /var/lib/app | tr '\\n' ' ')\"; echo \"mounted=$(grep ' /var' /proc/mounts | tr '\\n' '|')\"";
    for shell in shells() {
        let home = tree(shell, list, says);
        change(home.path(), big);
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let shown = shell.display();
        let console = "oneroot: /var/lib/app could not be mounted|oneroot: /var/link could not be mounted|";
        assert_eq!(one(&told, "console"), console, "{shown}");
        assert_eq!(one(&told, "kept"), "big file link same ", "{shown}: it is the tree's, and writable");
        let mounted = one(&told, "mounted");
        assert!(mounted.contains(" /var/cache ") && !mounted.contains(" /var/lib"), "{shown}: {mounted}");
        fs::write(home.path().join("root/.oneroot/mounts"), "2 /var/lib/app required\n").unwrap();
        fs::write(home.path().join("root/.oneroot/lasts"), "2 /var/lib/app required copied 1m\n").unwrap();
        let said = last_words(home.path(), SPOILED);
        assert!(said.contains("/var/lib/app could not be mounted"), "{shown}: {said}");
        assert!(said.contains("without which this machine is not to come up"), "{shown}: {said}");
    }
}

#[test]
fn a_directory_that_lasts_is_made_as_the_trees_when_there_is_none_and_is_never_seen_half_filled() {
    let list = "1 /var/lib/db wanted server nas:/state alpha/var/lib/db vers=3\n2 /srv wanted server nas:/gone alpha/srv defaults\n";
    let says = "cd /nas/state/alpha/var/lib; echo \"made=$(ls -A | tr '\\n' ' ')\"\n\
                echo \"db=$(stat -c '%a %u %g' db) $(cat db/sub/t)\"; echo \"left=$(grep -c keep /proc/mounts)\"; cd /";
    // One of a boot before, whose power was cut.
    let cut = "mkdir -p nas/state/alpha/var/lib/.db.oneroot-new/sub; echo half >nas/state/alpha/var/lib/.db.oneroot-new/x";
    let has = "mkdir -p nas/state/alpha/var/lib/db/sub; echo lasted >nas/state/alpha/var/lib/db/sub/t; chmod 711 nas/state/alpha/var/lib/db";
    for shell in shells() {
        let shown = shell.display();
        for (before, db) in [(":", "700 9 9 tables"), (cut, "700 9 9 tables"), (has, "711 0 0 lasted")] {
            let home = tree(shell, list, says);
            change(home.path(), NAS);
            change(home.path(), before);
            change(home.path(), OTHER);
            let (told, _) = boot_and_errors(home.path(), SPOILED);
            assert_eq!((one(&told, "made"), one(&told, "db")), ("db ", db), "{shown} after {before}");
            assert_eq!(one(&told, "left"), "0", "{shown}");
            assert_eq!(one(&told, "console"), "", "{shown}: the mount itself tells");
        }
        let home = tree(shell, list, &says.replace("cat db", "echo; : db"));
        change(home.path(), NAS);
        change(home.path(), OTHER);
        change(home.path(), NO_COPY);
        let keep = home.path().join("root/.oneroot/keep");
        let script = fs::read_to_string(&keep).unwrap();
        program(&keep, &script.replace("cp -a \"$tree", "no-copy \"$tree"));
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        assert_eq!(one(&told, "made"), ".db.oneroot-new ", "{shown}: what failed has no name yet");
    }
}

#[test]
fn beside_systemd_it_is_made_when_its_unit_asks_for_it_and_of_what_the_tree_has_below_the_mount() {
    let list = "1 /var/lib/app wanted server nas:/state alpha/var/lib/app vers=3\n2 /var/lib/db wanted server nas:/state alpha/var/lib/db vers=3\n";
    let says = "echo \"before=$(ls -A /nas/state)\"; mount -t tmpfs over /var/lib/db\n\
                /bin/sh /.oneroot/keep 2; echo \"made=$(ls -A /nas/state/alpha/var/lib) $(cat /nas/state/alpha/var/lib/db/sub/t)\"\n\
                /bin/sh /.oneroot/keep 2 && echo again=good";
    for shell in shells() {
        let home = tree(shell, list, says);
        change(home.path(), NAS);
        let (told, errors) = boot_and_errors(home.path(), SPOILED);
        let shown = shell.display();
        assert_eq!(errors, "", "{shown}");
        assert_eq!((one(&told, "before"), one(&told, "made")), ("", "db tables"), "{shown}");
        assert_eq!(one(&told, "again"), "good", "{shown}");
    }
}
