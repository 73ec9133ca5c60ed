//! What is exported and staged again is the same generation.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::node::{Content, TreePath};
use crate::stage::Finished;
use crate::{Stage, Store, Views};

/// A tree with everything in it that a tree can have, but for a socket; devices where we are root.
fn tree(store: &Arc<Store>) -> Finished {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    let long = format!("deep/{}/{}", "d".repeat(120), "f".repeat(200));
    let mut put = |path: &[u8],
                   mode: u16,
                   mtime: i64,
                   xattrs: &[(&str, &[u8])],
                   content: Option<Content>,
                   text: &str| {
        let content = content.unwrap_or_else(|| stage.object(text.as_bytes(), path).unwrap());
        let xattrs = xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        let meta = Meta { mode, uid: 0, gid: 0, mtime, xattrs };
        stage.insert(&TreePath::parse(path).unwrap(), meta, content).unwrap();
    };
    let directory = || Some(Content::Directory { opaque: false });
    put(b"", 0o755, 1_000_000_001, &[], directory(), "");
    put(b"deep", 0o755, 7_000_000_000, &[], directory(), "");
    put(format!("deep/{}", "d".repeat(120)).as_bytes(), 0o700, 7_000_000_000, &[], directory(), "");
    put(long.as_bytes(), 0o644, 1_700_000_000_123_456_789, &[], None, "long");
    put(b"bin", 0o755, 5, &[], directory(), "");
    put(b"bin/su", 0o4755, -1_500_000_000, &[("user.note", b"a b=\0c")], None, "setuid");
    put(b"bin/new\nline \xff", 0o600, 0, &[], None, "");
    put(b"tmp", 0o1777, 3_000_000_000, &[], directory(), "");
    put(b"large", 0o400, 1, &[], None, &"x".repeat(1 << 20));
    put(b"link", 0o777, 2_000_000_000, &[], Some(Content::Symlink(b"../no/where \xfe".to_vec())), "");
    let acl = "user::rw-\nuser:nobody:r--\ngroup::r--\nmask::r--\nother::---\n";
    put(b"shared", 0o640, 1, &[("SCHILY.acl.access", acl.as_bytes())], None, "shared");
    put(b"pipe", 0o640, 2_000_000_000, &[], Some(Content::Fifo), "");
    if rustix::process::geteuid().is_root() {
        put(b"null", 0o666, 2_000_000_000, &[], Some(Content::Character(1, 3)), "");
        put(b"disk", 0o660, 2_000_000_000, &[], Some(Content::Block(8, 1)), "");
    }
    stage.link(&TreePath::parse(b"second").unwrap(), &TreePath::parse(b"bin/su").unwrap()).unwrap();
    stage.finish().unwrap()
}

fn stores() -> (tempfile::TempDir, Arc<Store>, Arc<View>, Finished) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("store")).unwrap();
    let made = tree(&store);
    let view = Views::new(store.clone()).load(store.put_stack(&[made.generation]).unwrap()).unwrap();
    (home, store, view, made)
}

#[test]
fn an_archive_staged_again_is_the_same_generation() {
    let (_home, store, view, made) = stores();
    let mut bytes = Vec::new();
    let told = archive(&view, &store, &mut bytes, &mut |_| {}).unwrap();
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    stage.archive(bytes.as_slice()).unwrap();
    let again = stage.finish().unwrap();
    let differences = crate::diff::diff(&made.index, &again.index);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!((again.generation, again.progress.entries), (made.generation, told.entries));
}

#[test]
fn another_tar_reads_what_was_written() {
    let (home, store, view, _) = stores();
    let file = home.path().join("view.tar");
    archive(&view, &store, fs::File::create(&file).unwrap(), &mut |_| {}).unwrap();
    let out = std::process::Command::new("tar")
        .args(["--list", "--verbose", "--file"])
        .arg(&file)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(
        listed.contains("-rwsr-xr-x 0/0               6") && listed.contains("second link to bin/su"),
        "{listed}"
    );
}

#[test]
fn a_directory_staged_again_is_the_same_generation_and_only_what_changed_is_read() {
    let (home, store, view, made) = stores();
    let root = home.path().join("out");
    fs::create_dir(&root).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give files to root");
        return;
    }
    let exported = directory(&view, &store, &root, &mut |_| {}).unwrap();
    assert_eq!(fs::metadata(root.join("second")).unwrap().nlink(), 2);
    exported.remember(&store, &root, made.generation);
    let again = stage(&store, &root);
    let differences = crate::diff::diff(&made.index, &again.index);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!((again.generation, again.progress.bytes), (made.generation, 0), "nothing was read");
    std::thread::sleep(Duration::from_millis(20));
    fs::write(root.join("large"), "y".repeat(1 << 20)).unwrap();
    fs::set_permissions(root.join("large"), fs::Permissions::from_mode(0o444)).unwrap();
    symlink("x", root.join("newlink")).unwrap();
    exported.remember(&store, &root, made.generation);
    let changed = stage(&store, &root);
    assert_eq!(changed.progress.bytes, 1 << 20);
    assert_eq!(
        crate::diff::diff(&made.index, &changed.index).len(),
        3,
        "the file, the link, and the root's time"
    );
}

fn stage(store: &Arc<Store>, root: &Path) -> Finished {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    stage.remember(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap(), false);
    stage.directory(root).unwrap();
    stage.finish().unwrap()
}
