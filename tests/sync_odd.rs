//! Directories that are hostile or odd: links that lead out, other file systems inside, disks that are full or may not be written,
//! names that are the user's own. What is not the directory's stays as it is, and every refusal is a sentence.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use oneroot_testkit::SmallDisk;

use crate::sync_kit::{Home, Sentinel, assert_same, done, noise_bytes, refused, run, tell, text};

const ATOMIC: [&[&str]; 2] = [&[], &["--atomic"]];

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree with something of most kinds.
fn fill(root: &Path) {
    for directory in ["etc/deep", "usr/bin", "many"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/motd"), "not yours either").unwrap();
    mode(&root.join("etc/motd"), 0o755);
    fs::hard_link(root.join("etc/motd"), root.join("usr/motd")).unwrap();
    fs::write(root.join("etc/deep/file"), "new").unwrap();
    fs::write(root.join("usr/bin/tool"), noise_bytes(5, 300_000)).unwrap();
    mode(&root.join("usr/bin/tool"), 0o4755);
    symlink("../etc", root.join("usr/link")).unwrap();
    for number in 0..200 {
        fs::write(root.join(format!("many/f{number}")), noise_bytes(100 + number, 500)).unwrap();
    }
}

#[test]
fn links_in_the_directory_lead_nowhere() {
    let home = Home::new(fill);
    let sentinel = Sentinel::new(home.home.path());
    for more in ATOMIC {
        let _ = fs::remove_dir_all(home.dir());
        fs::create_dir(home.dir()).unwrap();
        // In place of directories, of files, and of what is to go.
        symlink(sentinel.path(), home.dir().join("etc")).unwrap();
        symlink(sentinel.path(), home.dir().join("gone")).unwrap();
        fs::create_dir(home.dir().join("many")).unwrap();
        symlink(sentinel.path().join("victim"), home.dir().join("many/f0")).unwrap();
        home.syncs(more, "links");
        sentinel.assert_untouched("links");
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_again_and_again_leads_nowhere() {
    let home = Home::new(fill);
    let sentinel = Sentinel::new(home.home.path());
    for name in ["f0", "f1", "f150"] {
        fs::write(sentinel.path().join(name), "theirs").unwrap();
    }
    let before = tell(sentinel.path());
    home.syncs(&[], "first");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (many, aside) = (home.dir().join("many"), home.home.path().join("aside"));
            while !ends.load(Ordering::Relaxed) {
                let _ = fs::rename(&many, &aside);
                let _ = symlink(sentinel.path(), &many);
                std::thread::yield_now();
                let _ = fs::remove_file(&many);
                let _ = fs::rename(&aside, &many);
            }
        });
        for round in 0..12 {
            for number in (round..200).step_by(7) {
                let _ = fs::write(home.dir().join(format!("many/f{number}")), "changed");
                let _ = fs::set_permissions(
                    home.dir().join(format!("many/f{}", number + 1)),
                    fs::Permissions::from_mode(0o600),
                );
            }
            let output = home.sync(ATOMIC[round % 2]);
            // What it finds may be gone the next moment; then it says so.
            if !output.status.success() {
                refused(&output, "", "swapped");
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    // The test's own writes went through the link, too: these names alone.
    let own = |told: &str| -> String {
        told.lines().filter(|line| !line.contains("/f") && !line.starts_with("[b'.',")).collect()
    };
    assert_eq!(own(&tell(sentinel.path())), own(&before));
    let names = |told: &str| told.lines().count();
    assert!(names(&before) <= names(&tell(sentinel.path())));
    for name in ["victim", "deep/file", "link"] {
        assert!(sentinel.path().join(name).symlink_metadata().is_ok(), "{name}");
    }
    let _ = fs::remove_dir_all(home.home.path().join("aside"));
    home.syncs(&[], "afterwards");
}

#[test]
fn a_file_that_has_a_name_elsewhere_stays_as_it_is_there() {
    let home = Home::new(fill);
    for more in ATOMIC {
        for (what, victim, names) in [
            ("the same bytes", "not yours either", &["etc/motd"][..]),
            ("the same bytes with both names", "not yours either", &["etc/motd", "usr/motd"]),
            ("other bytes", "theirs", &["etc/motd", "usr/motd"]),
            ("a name that goes", "theirs", &["etc/gone"]),
        ] {
            let _ = fs::remove_dir_all(home.dir());
            home.syncs(&[], what);
            let outside = home.home.path().join("outside");
            let _ = fs::remove_dir_all(&outside);
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("victim"), victim).unwrap();
            std::os::unix::fs::chown(outside.join("victim"), Some(7), Some(8)).unwrap();
            mode(&outside.join("victim"), 0o640);
            for name in names {
                let _ = fs::remove_file(home.dir().join(name));
                fs::hard_link(outside.join("victim"), home.dir().join(name)).unwrap();
            }
            let before = tell(&outside);
            home.syncs(more, what);
            assert_same(&tell(&outside), &before, what);
        }
    }
}

#[test]
fn other_file_systems_in_the_directory_are_left_alone_also_the_same_one_mounted_again() {
    let home = Home::new(fill);
    let _disk = SmallDisk::mount(&home.home.path().join("disk"), 16 << 20).unwrap();
    let sentinel = Sentinel::new(home.home.path());
    home.syncs(&[], "first");
    let dir = home.dir();
    for name in ["foreign/mounted", "foreign/it's here\t", "other"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("foreign/file"), "").unwrap();
    fs::write(dir.join("foreign/goes"), "").unwrap();
    let places = ["foreign/mounted", "foreign/it's here\t", "etc/deep"].map(|name| dir.join(name));
    for place in &places {
        run(&["mount", "--bind", text(sentinel.path()), text(place)]);
    }
    let files = ["foreign/file", "usr/bin/tool"].map(|name| dir.join(name));
    for file in &files {
        run(&["mount", "--bind", text(&sentinel.path().join("victim")), text(file)]);
    }
    run(&["mount", "-t", "tmpfs", "none", text(&dir.join("other"))]);
    fs::write(dir.join("other/theirs"), "x").unwrap();
    fs::remove_file(dir.join("etc/motd")).unwrap();
    done(&home.sync(&[]), "mounted");
    sentinel.assert_untouched("mounted");
    assert!(dir.join("other/theirs").exists() && !dir.join("foreign/goes").exists());
    assert!(dir.join("etc/motd").exists());
    for place in &places {
        assert!(place.join("victim").exists(), "{}", place.display());
    }
    refused(&home.sync(&["--atomic"]), "can't be exchanged as a whole", "mounted");
    refused(&home.sync(&["--atomic", "--keep-path", "/foreign"]), "can't be exchanged", "mounted");
    for place in places.iter().chain(&files).chain([&dir.join("other")]) {
        run(&["umount", text(place)]);
    }
    home.syncs(&[], "afterwards");
    sentinel.assert_untouched("afterwards");
}

#[test]
fn a_disk_that_is_full_or_may_not_be_written_is_told_and_the_directory_is_as_it_was() {
    let mut home = Home::new(|root| {
        fill(root);
        fs::write(root.join("large"), noise_bytes(1, 6 << 20)).unwrap();
    });
    let disk = SmallDisk::mount(&home.home.path().join("disk"), 8 << 20).unwrap();
    home.at = home.home.path().join("disk/dir");
    fs::create_dir(home.dir()).unwrap();
    fs::write(home.dir().join("own"), "as it was").unwrap();
    let before = tell(&home.dir());
    for more in ATOMIC {
        disk.fill(3 << 20).unwrap();
        refused(&home.sync(more), "is full", "full");
        assert_same(&tell(&home.dir()), &before, "full");
        disk.empty().unwrap();
    }
    run(&["mount", "-o", "remount,ro", text(&home.home.path().join("disk"))]);
    for more in ATOMIC {
        refused(&home.sync(more), "ead-only file system", "read-only");
    }
    run(&["mount", "-o", "remount,rw", text(&home.home.path().join("disk"))]);
    home.syncs(&[], "afterwards");
}

#[test]
fn files_that_are_immutable_are_told_and_those_that_run_are_replaced() {
    let home = Home::new(fill);
    home.syncs(&[], "first");
    let dir = home.dir();
    fs::copy("/bin/sleep", dir.join("usr/bin/tool")).unwrap();
    let mut runs = Command::new(dir.join("usr/bin/tool")).arg("60").spawn().unwrap();
    home.syncs(&[], "it runs");
    runs.kill().unwrap();
    runs.wait().unwrap();
    fs::write(dir.join("many/f3"), "changed").unwrap();
    let immutable = dir.join("many/f3");
    if !Command::new("chattr").arg("+i").arg(&immutable).status().unwrap().success() {
        println!("skipped: this file system has no immutable files");
        return;
    }
    let output = home.sync(&[]);
    let atomic = home.sync(&["--atomic", "--keep", "1"]);
    for place in [dir.clone(), home.home.path().join("dir.1")] {
        let _ = Command::new("chattr").arg("-i").arg(place.join("many/f3")).stderr(Stdio::null()).status();
    }
    refused(&output, "many/f3: Operation not permitted", "immutable");
    done(&atomic, "a whole tree takes the name of one with an immutable file in it");
    home.syncs(&[], "afterwards");
}

#[test]
fn root_changes_no_mode_of_a_tree_that_can_t_be_removed() {
    let home = Home::new(fill);
    home.syncs(&["--atomic", "--keep", "1"], "first");
    // Whoever owns a part of the tree can have a link in the place of a directory by then.
    let stays = home.dir().join("stays");
    fs::create_dir(&stays).unwrap();
    fs::write(stays.join("file"), "x").unwrap();
    mode(&stays, 0o751);
    if !Command::new("chattr").arg("+i").arg(stays.join("file")).status().unwrap().success() {
        println!("skipped: this file system has no immutable files");
        return;
    }
    let output = home.sync(&["--atomic", "--keep", "0"]);
    let tree = home.home.path().join("dir.next");
    let was = fs::metadata(tree.join("stays")).map(|is| is.permissions().mode() & 0o7777);
    run(&["chattr", "-i", text(&tree.join("stays/file"))]);
    refused(&output, "Operation not permitted", "it can't be removed");
    assert_eq!(was.unwrap(), 0o751);
    home.syncs(&["--atomic", "--keep", "0"], "afterwards");
    assert!(!tree.exists());
}

#[test]
fn what_is_no_directory_is_refused_and_a_link_to_one_is_one() {
    let home = Home::new(fill);
    let sentinel = Sentinel::new(home.home.path());
    let at = |path: &Path, more: &[&str]| {
        let mut command = crate::sync_kit::sync(home.server.binary(), path, &Home::from(), &home.token, more);
        command.current_dir(home.home.path()).output().unwrap()
    };
    for more in ATOMIC {
        for (path, words) in [
            ("sentinel/victim", "victim"),
            ("sentinel/victim/below", "victim"),
            ("not/there/either", "o such file"),
            ("not/..", ""),
            ("/dev/null", "/dev/null"),
        ] {
            refused(&at(Path::new(path), more), words, path);
            sentinel.assert_untouched(path);
        }
        symlink("nowhere/at/all", home.home.path().join("dangling")).unwrap();
        refused(&at(Path::new("dangling"), more), "", "a link to nothing");
        fs::remove_file(home.home.path().join("dangling")).unwrap();
        fs::create_dir_all(home.home.path().join("there")).unwrap();
        symlink("there", home.home.path().join("link")).unwrap();
        done(&at(Path::new("link"), more), "a link");
        assert!(home.home.path().join("link").symlink_metadata().unwrap().is_symlink());
        assert_same(&tell(&home.home.path().join("there")), &home.exported(), "a link");
        fs::remove_file(home.home.path().join("link")).unwrap();
        // A name by itself, with a slash behind it, and one that is no UTF-8.
        use std::os::unix::ffi::OsStrExt as _;
        for (number, name) in ["plain".as_bytes(), b"slash/", b"odd\xff\n name"].into_iter().enumerate() {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            done(&at(path, more), &format!("{number}"));
            assert_same(&tell(&home.home.path().join(path)), &home.exported(), &format!("{number}"));
        }
    }
}

#[test]
fn trees_beside_the_directory_that_are_the_users_own_stay() {
    let home = Home::new(fill);
    for name in ["dir.next", "dir.1"] {
        let _ = fs::remove_dir_all(home.dir());
        home.syncs(&[], "first");
        fs::write(home.dir().join("etc/motd"), "changed").unwrap();
        let own = home.home.path().join(name);
        fs::create_dir(&own).unwrap();
        fs::write(own.join("mine"), "mine").unwrap();
        let (before, tree) = (tell(&own), tell(&home.dir()));
        refused(&home.sync(&["--atomic"]), name, name);
        assert_same(&tell(&own), &before, name);
        assert_same(&tell(&home.dir()), &tree, name);
        fs::remove_dir_all(own).unwrap();
        home.syncs(&["--atomic"], name);
        run(&[
            "rm",
            "-r",
            text(&home.home.path().join("dir.1")),
            text(&home.home.path().join(".dir.oneroot-sync")),
        ]);
    }
}

#[test]
fn a_second_sync_at_the_same_time_is_refused() {
    let home = Home::new(|root| fs::write(root.join("large"), noise_bytes(1, 4 << 20)).unwrap());
    let mut slow =
        home.command(&["--limit", "300K"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lock = home.home.path().join(".dir.oneroot-sync/incoming");
    while !lock.exists() {
        assert!(slow.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for more in ATOMIC {
        refused(&home.sync(more), "by another", "two");
    }
    slow.kill().unwrap();
    slow.wait().unwrap();
    home.syncs(&[], "alone");
}

#[test]
fn the_place_of_another_user_or_a_link_in_its_place_is_refused() {
    let home = Home::new(fill);
    let sentinel = Sentinel::new(home.home.path());
    fs::create_dir_all(sentinel.path().join("incoming/00")).unwrap();
    fs::write(sentinel.path().join("incoming/00/theirs"), "x").unwrap();
    let before = tell(sentinel.path());
    fs::create_dir(home.dir()).unwrap();
    let beside = home.home.path().join(".dir.oneroot-sync");
    let inside = home.dir().join(".oneroot-sync");
    for place in [beside, inside] {
        symlink(sentinel.path(), &place).unwrap();
        refused(&home.sync(&[]), "is where sync keeps its own files", "a link");
        assert_same(&tell(sentinel.path()), &before, "a link");
        fs::remove_file(&place).unwrap();
        for (owner, bits) in [(7, 0o755), (0, 0o777)] {
            fs::create_dir(&place).unwrap();
            std::os::unix::fs::chown(&place, Some(owner), None).unwrap();
            mode(&place, bits);
            refused(&home.sync(&[]), "is where sync keeps its own files", "somebody else's");
            fs::remove_dir_all(&place).unwrap();
        }
    }
    home.syncs(&[], "afterwards");
}

#[test]
fn what_a_directory_hands_down_to_new_files_is_not_in_the_tree() {
    let home = Home::new(fill);
    // A default ACL (user 7 may all), and the group of the directory.
    let entry = |tag: u16, bits: u16, id: u32| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let acl = [
        2u32.to_le_bytes().to_vec(),
        entry(1, 7, none),
        entry(2, 7, 7),
        entry(4, 7, none),
        entry(0x10, 7, none),
        entry(0x20, 5, none),
    ]
    .concat();
    let set = |path: &Path| {
        rustix::fs::setxattr(path, "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty())
            .unwrap();
        std::os::unix::fs::chown(path, None, Some(9)).unwrap();
        mode(path, 0o2755);
    };
    set(home.home.path());
    home.syncs(&[], "new, in place");
    // In the directory itself, too.
    set(&home.dir().join("many"));
    fs::remove_file(home.dir().join("many/f1")).unwrap();
    home.syncs(&[], "again");
    fs::remove_dir_all(home.dir()).unwrap();
    home.syncs(&["--atomic"], "new, as a whole");
}

/// The program as nobody.
fn as_nobody(home: &Home, more: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).arg(home.server.binary());
    command.args(["sync", "debian", "--force"]).arg(home.dir()).args(["--from", &Home::from()]).args(more);
    command.env("ONEROOT_TOKEN", &home.token).output().unwrap()
}

#[test]
fn an_ordinary_user_has_what_he_may_have_and_is_told_what_he_may_not() {
    let mut home = Home::new(|root| {
        fill(root);
        run(&["mknod", text(&root.join("null")), "c", "1", "3"]);
        run(&["mkfifo", text(&root.join("fifo"))]);
        for (name, bits) in [("closed", 0), ("listed", 0o444), ("entered", 0o111), ("sticky", 0o3777)] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), name).unwrap();
            mode(&root.join(name), bits);
        }
        fs::write(root.join("secret"), "nobody reads it").unwrap();
        mode(&root.join("secret"), 0);
    });
    let own = home.home.path().join("own");
    fs::create_dir(&own).unwrap();
    mode(home.home.path(), 0o755);
    home.at = own.join("dir");
    refused(&as_nobody(&home, &["--unprivileged"]), "ermission denied", "a parent that may not be written");
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    let said = refused(&as_nobody(&home, &[]), "--unprivileged", "all of it");
    assert!(said.contains("owner") && said.contains("device"), "{said}");
    assert!(!home.dir().exists() || fs::read_dir(home.dir()).unwrap().count() == 0);
    // All but owners, and the device.
    let expected: Vec<String> = (home.exported().lines())
        .filter(|line| !line.starts_with("[b'./null'"))
        .map(|line| {
            let mut words: Vec<&str> = line.splitn(5, ", ").collect();
            // And he may read what is his.
            let bits = u32::from_str_radix(words[1].trim_matches('\'').trim_start_matches("0o"), 8).unwrap();
            let own = match bits >> 12 {
                0o4 => 0o700,
                0o10 => 0o400,
                _ => 0,
            };
            // A program of others does not run as whoever has copied it.
            let bits = if bits >> 12 == 0o10 { bits & !0o6000 } else { bits };
            let bits = format!("'0o{:o}'", bits | own);
            (words[1], words[2], words[3]) = (&bits, "65534", "65534");
            words.join(", ")
        })
        .collect();
    let expected = expected.join("\n");
    for more in [&["--unprivileged"][..], &["--unprivileged", "--atomic"]] {
        for round in 0..3 {
            let when = format!("{more:?}, round {round}");
            done(&as_nobody(&home, more), &when);
            assert_same(tell(&home.dir()).trim_end(), expected.trim_end(), &when);
            if round == 1 {
                // What he does to it himself.
                fs::write(home.dir().join("secret"), "nobody reads it?").unwrap();
                fs::remove_file(home.dir().join("closed/file")).unwrap();
                fs::write(home.dir().join("entered/more"), "x").unwrap();
                std::os::unix::fs::chown(home.dir().join("entered/more"), Some(65534), Some(65534)).unwrap();
            }
        }
    }
}

#[test]
fn a_file_system_without_attributes_is_told_of() {
    let mut home = Home::new(|root| {
        fill(root);
        let name = root.join("etc/motd");
        rustix::fs::setxattr(&name, "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    });
    let _disk = SmallDisk::mount(&home.home.path().join("disk"), 16 << 20).unwrap();
    let plain = home.home.path().join("disk/plain");
    fs::create_dir(&plain).unwrap();
    run(&["mount", "-t", "ramfs", "none", text(&plain)]);
    home.at = plain.join("dir");
    for more in ATOMIC {
        let _ = fs::remove_dir_all(home.dir());
        for _ in 0..2 {
            let said = refused(&home.sync(more), "attributes", "no attributes");
            assert!(said.contains("/motd"), "{said}");
        }
        assert_eq!(fs::metadata(home.dir().join("usr/bin/tool")).unwrap().mode() & 0o7777, 0o4755);
    }
    run(&["umount", text(&plain)]);
}
