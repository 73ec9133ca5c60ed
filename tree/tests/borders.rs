//! What lies in a directory and is no part of its tree: other file systems, and the server's own directories. As root, for
//! mounts; in CI it fails without, elsewhere it says so.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use oneroot_tree::stage::Noted;
use oneroot_tree::{Index, Stage, Store};
use rustix::mount::{MountFlags, UnmountFlags};

fn paths(index: &Index) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![(oneroot_tree::index::ROOT, String::new())];
    while let Some((directory, path)) = todo.pop() {
        let (first, count) = index.inode(directory).unwrap().run();
        for entry in (first..first + count).filter_map(|place| index.entry(place)) {
            let below = format!("{path}/{}", String::from_utf8_lossy(entry.name));
            todo.push((entry.inode, below.clone()));
            all.push(below);
        }
    }
    all.sort();
    all
}

fn staged(store: &Arc<Store>, root: &Path, state: &Path, one_file_system: bool) -> (Vec<String>, Noted) {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    stage.one_file_system(one_file_system);
    stage.leave_out(state);
    stage.directory(root).unwrap();
    let finished = stage.finish().unwrap();
    (paths(&finished.index), finished.noted)
}

#[test]
fn what_is_left_out_of_a_directory_is_told_by_name_and_the_store_in_it_does_not_swallow_itself() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    fs::create_dir_all(root.join("var/lib/oneroot/state")).unwrap();
    fs::write(root.join("var/lib/oneroot/state/keys"), "secret").unwrap();
    fs::write(root.join("file"), "x").unwrap();
    // A store that is reached by a link from somewhere else is the same store.
    std::os::unix::fs::symlink(root.join("var/lib/oneroot/store"), home.path().join("store")).unwrap();
    fs::create_dir(root.join("var/lib/oneroot/store")).unwrap();
    let store = Store::open(&home.path().join("store")).unwrap();
    let state = root.join("var/lib/oneroot/state");
    let first = staged(&store, &root, &state, true);
    assert_eq!(
        first.0,
        ["/file", "/var", "/var/lib", "/var/lib/oneroot", "/var/lib/oneroot/state", "/var/lib/oneroot/store"]
    );
    let mut own = first.1.own.clone();
    own.sort();
    assert_eq!(own, ["/var/lib/oneroot/state", "/var/lib/oneroot/store"]);
    assert_eq!(staged(&store, &root, &state, true).0, first.0, "again");
}

#[test]
fn another_file_system_is_left_out_by_name_or_taken_in_and_the_kernels_own_never() {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "CI must run this as root");
    if !is_root {
        eprintln!("skipped: needs root for mount(2)");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    for directory in ["srv", "proc"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    rustix::mount::mount("tmpfs", root.join("srv"), "tmpfs", MountFlags::empty(), c"").unwrap();
    let both = std::panic::catch_unwind(|| {
        fs::write(root.join("srv/data"), "x").unwrap();
        rustix::mount::mount("proc", root.join("proc"), "proc", MountFlags::empty(), c"").unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        [true, false].map(|one| staged(&store, &root, &home.path().join("none"), one))
    });
    let _ = rustix::mount::unmount(root.join("proc"), UnmountFlags::DETACH);
    rustix::mount::unmount(root.join("srv"), UnmountFlags::DETACH).unwrap();
    let [(one, told_one), (all, told_all)] = both.unwrap();
    let mut told_one = told_one.file_systems;
    told_one.sort();
    assert_eq!(
        (one, told_one),
        (vec!["/proc".to_owned(), "/srv".to_owned()], vec!["/proc".to_owned(), "/srv".to_owned()])
    );
    assert_eq!(all, ["/proc", "/srv", "/srv/data"]);
    assert_eq!(told_all.file_systems, ["/proc"]);
}
