//! `oneroot sync` killed at its first, second, third, … call of each kind that changes a file system: in place every file is the old
//! one or the new one, with --atomic the whole tree is, and the next run ends exactly.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sync_kit::{Home, assert_same, done, noise_bytes, said, tell};

/// Every call by which it makes, names, describes or removes anything, and those that make it last.
const CALLS: [&str; 14] = [
    "renameat",
    "renameat2",
    "rename",
    "linkat",
    "unlinkat",
    "unlink",
    "mkdirat",
    "mkdir",
    "symlinkat",
    "mknodat",
    "fchmod",
    "fchown",
    "utimensat",
    "syncfs",
];
/// At which of them, as far as there are so many.
const TIMES: [u32; 4] = [1, 2, 5, 13];

fn first(root: &Path) {
    for directory in ["etc", "goes/deep", "becomes"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for name in ["etc/same", "etc/changes", "etc/closes", "goes/deep/file", "becomes/file", "was"] {
        fs::write(root.join(name), format!("{name}, first")).unwrap();
    }
    fs::write(root.join("large"), noise_bytes(1, 1_500_000)).unwrap();
    fs::hard_link(root.join("etc/same"), root.join("other")).unwrap();
    symlink("first", root.join("link")).unwrap();
}

fn second(root: &Path) {
    for name in ["goes", "becomes"] {
        fs::remove_dir_all(root.join(name)).unwrap();
    }
    fs::remove_file(root.join("was")).unwrap();
    fs::create_dir_all(root.join("was/new")).unwrap();
    for name in ["etc/changes", "becomes", "was/new/file", "etc/new"] {
        fs::write(root.join(name), format!("{name}, second")).unwrap();
    }
    fs::set_permissions(root.join("etc/closes"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("large"), noise_bytes(2, 1_500_000)).unwrap();
    fs::hard_link(root.join("etc/new"), root.join("etc/newer")).unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("second", root.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
}

/// The bytes of every file of a tree.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                all.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

fn empty(home: &Path) {
    for entry in fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

fn killed_everywhere(more: &[&str], check: impl Fn(&Path, &str)) {
    let home = Home::new(first);
    home.syncs(&[], "first");
    let saved = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
    };
    copy(home.home.path(), saved.path());
    second(&home.root());
    home.server.stage().unwrap();
    let exported = home.exported();
    let mut kills = 0;
    for call in CALLS {
        for time in TIMES {
            let when = format!("{more:?}, killed at {call} number {time}");
            empty(home.home.path());
            copy(saved.path(), home.home.path());
            let sync = home.command(more);
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            traced.arg(format!("inject={call}:signal=SIGKILL:when={time}"));
            traced.arg(sync.get_program()).args(sync.get_args()).env("ONEROOT_TOKEN", &home.token);
            let output = traced.stdin(Stdio::null()).output().unwrap();
            if output.status.success() {
                assert_same(&tell(&home.dir()), &exported, &when);
                break;
            }
            assert!(!said(&output).contains("oneroot: "), "{when}: {}", said(&output));
            kills += 1;
            check(&home.dir(), &when);
            done(&home.sync(more), &when);
            assert_same(&tell(&home.dir()), &exported, &when);
        }
    }
    println!("{more:?}: {kills} kills");
    assert!(kills > 20, "{kills}");
}

fn trees() -> [tempfile::TempDir; 2] {
    let both = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    first(both[0].path());
    first(both[1].path());
    second(both[1].path());
    both
}

#[test]
fn killed_at_any_call_in_place_every_file_is_the_old_one_or_the_new_one() {
    let [old, new] = trees().map(|tree| contents(tree.path()));
    killed_everywhere(&[], |dir, when| {
        for (name, bytes) in contents(dir) {
            let is_whole = [&old, &new].iter().any(|tree| tree.get(&name) == Some(&bytes));
            assert!(is_whole || name.starts_with("etc/motd"), "{when}: {name} is neither");
        }
    });
}

#[test]
fn killed_at_any_call_with_atomic_the_tree_is_the_old_one_or_the_new_one() {
    let [old, new] = trees().map(|tree| contents(tree.path()));
    killed_everywhere(&["--atomic", "--keep", "1"], |dir, when| {
        let mut is = contents(dir);
        is.remove("etc/motd");
        assert!(is == old || is == new, "{when}: {:?}", is.keys());
    });
}

/// A tree of its own.
fn numbered(root: &Path, number: u64) {
    fs::write(root.join("same"), "always").unwrap();
    fs::write(root.join("large"), noise_bytes(number, 100_000)).unwrap();
    fs::create_dir_all(root.join(format!("only{number}"))).unwrap();
}

#[test]
fn killed_amid_the_exchange_of_names_no_tree_is_lost_that_was_to_be_kept() {
    let home = Home::in_memory(|root| numbered(root, 0));
    let mut trees = vec![home.exported()];
    for number in 1..4 {
        numbered(&home.root(), number);
        home.server.stage().unwrap();
        trees.push(home.exported());
    }
    let saved = home.home.path().join("saved");
    let sync = |what: &str| {
        let mut command = Command::new(home.server.binary());
        command.args(["sync", what]).arg(saved.join("dir")).args(["--from", &Home::from()]);
        command.args(["--atomic", "--keep", "2", "--store"]).arg(home.server.site.path().join("store"));
        command.env("ONEROOT_TOKEN", &home.token).stdin(Stdio::null());
        command
    };
    let at = |name: &str| saved.join(name);
    let mut kills = 0;
    for (call, most) in [("rename", 12), ("renameat", 4), ("renameat2", 2), ("unlinkat", 6), ("fsync", 12)] {
        for time in 1..=most {
            let when = format!("killed at {call} number {time}");
            let _ = fs::remove_dir_all(&saved);
            fs::create_dir(&saved).unwrap();
            for what in ["debian~3", "debian~2", "debian~1"] {
                done(&sync(what).output().unwrap(), what);
            }
            let command = sync("debian");
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            traced.arg(format!("inject={call}:signal=SIGKILL:when={time}"));
            traced.arg(command.get_program()).args(command.get_args()).env("ONEROOT_TOKEN", &home.token);
            let output = traced.stdin(Stdio::null()).output().unwrap();
            if output.status.success() {
                break;
            }
            kills += 1;
            let names = ["dir", "dir.next", "dir.1", "dir.2", "dir.3"];
            let there: Vec<String> = names
                .iter()
                .map(|name| at(name))
                .filter(|path| path.exists())
                .map(|path| tell(&path))
                .collect();
            // The newest of the two that were there goes with the new tree's coming, and no sooner.
            assert!(there.contains(&trees[2]) && there.contains(&trees[1]), "{when}");
            assert!(there.contains(&trees[3]) || there.contains(&trees[0]), "{when}");
            done(&sync("debian").output().unwrap(), &when);
            for (name, tree) in [("dir", 3), ("dir.1", 2), ("dir.2", 1)] {
                assert!(at(name).exists(), "{when}: {name} is gone");
                assert_same(&tell(&at(name)), &trees[tree], &format!("{when}, {name}"));
            }
            assert!(!at("dir.3").exists() && !at("dir.next").exists(), "{when}");
            // And the record knows them for its own.
            let back =
                Command::new(home.server.binary()).args(["sync", "--rollback"]).arg(at("dir")).output();
            done(&back.unwrap(), &when);
            assert_same(&tell(&at("dir")), &trees[2], &when);
        }
    }
    println!("{kills} kills");
    assert!(kills > 15, "{kills}");
}

#[test]
fn killed_amid_a_way_back_the_next_run_goes_on_from_either_tree() {
    let home = Home::in_memory(|root| numbered(root, 0));
    let mut trees = vec![home.exported()];
    numbered(&home.root(), 1);
    home.server.stage().unwrap();
    trees.push(home.exported());
    let mut kills = 0;
    for call in ["rename", "renameat2", "fsync"] {
        for time in 1..6 {
            let when = format!("killed at {call} number {time}");
            for name in ["dir", "dir.1", ".dir.oneroot-sync"] {
                let _ = fs::remove_dir_all(home.home.path().join(name));
            }
            let sync = |what: &str| {
                let mut command = Command::new(home.server.binary());
                command.args(["sync", what]).arg(home.dir()).args(["--from", &Home::from(), "--atomic"]);
                done(&command.env("ONEROOT_TOKEN", &home.token).output().unwrap(), &when);
            };
            sync("debian~1");
            sync("debian");
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            traced.arg(format!("inject={call}:signal=SIGKILL:when={time}")).arg(home.server.binary());
            if traced.args(["sync", "--rollback"]).arg(home.dir()).output().unwrap().status.success() {
                break;
            }
            kills += 1;
            sync("debian");
            assert_same(&tell(&home.dir()), &trees[1], &when);
            sync("debian~1");
            assert_same(&tell(&home.dir()), &trees[0], &when);
            assert_same(&tell(&home.home.path().join("dir.1")), &trees[1], &when);
        }
    }
    assert!(kills > 2, "{kills}");
}
