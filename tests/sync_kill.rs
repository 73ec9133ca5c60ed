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
