//! Names are for ever: these hashes were written down when the formats became final. If one of them moves, every store,
//! handle and pin in the field is void; then it needs a new format version and a way over, not a new expectation.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use oneroot_ids::ObjectId;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{IndexBuilder, Store};

fn sample() -> IndexBuilder {
    let mut builder = IndexBuilder::new();
    let path = |text: &'static str| TreePath::parse(text.as_bytes()).unwrap();
    let meta = |mode| Meta { mode, uid: 1, gid: 2, mtime: 1_700_000_000_123_456_789, xattrs: Vec::new() };
    let file = Content::Regular { object: ObjectId([7; 32]), size: 42 };
    builder.insert(&path("etc"), meta(0o755), Content::Directory { opaque: true }).unwrap();
    builder.insert(&path("etc/motd"), meta(0o644), file).unwrap();
    builder.link(&path("etc/issue"), &path("etc/motd")).unwrap();
    builder.insert(&path("bin"), meta(0o777), Content::Symlink(b"usr/bin".to_vec())).unwrap();
    builder.insert(&path("dev/null"), meta(0o666), Content::Character(1, 3)).unwrap();
    builder.insert(&path("run/pipe"), meta(0o600), Content::Fifo).unwrap();
    builder.insert(&path("usr/.wh.games"), meta(0o644), Content::Fifo).unwrap();
    let xattrs = vec![(b"security.capability".to_vec(), vec![1, 0, 2]), (b"user.a".to_vec(), b"b".to_vec())];
    let ping = Content::Regular { object: ObjectId([9; 32]), size: 1 };
    builder.insert(&path("usr/bin/ping"), Meta { xattrs, ..meta(0o4755) }, ping).unwrap();
    builder
}

#[test]
fn the_name_of_a_generation_does_not_change() {
    let index = sample().finish().unwrap();
    assert_eq!(
        index.generation().to_string(),
        "fa01b6ddf9803487cc73371953ac7638745e3239a451d526425228635f67b78a"
    );
}

#[test]
fn the_name_of_a_stack_does_not_change() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let stage = oneroot_tree::Stage::begin(&store, |_| {}).unwrap();
    let empty = stage.finish().unwrap().generation;
    assert_eq!(empty.to_string(), "a39e6309e402c9ba1217d99a3ea9023b9df88cb3dbfba58eea65bffc1db6fb8c");
    assert_eq!(store.put_stack(&[empty]).unwrap().to_string(), "02e99852c7181987efe999c6c4442b54");
    assert_eq!(store.put_stack(&[empty, empty]).unwrap().to_string(), "bd22e7527fbe5d69e9a096385e4680ec");
}

#[test]
fn an_index_reads_back_what_was_put_in() {
    let index = sample().finish().unwrap();
    let find =
        |directory, name: &str| index.entry(index.find(directory, name.as_bytes()).unwrap()).unwrap().inode;
    let usr = find(1, "usr");
    let ping = index.inode(find(find(1, "usr"), "bin")).map(|_| find(find(usr, "bin"), "ping")).unwrap();
    let ping = index.inode(ping).unwrap();
    assert_eq!((ping.mode(), ping.uid(), ping.gid(), ping.size()), (0o4755, 1, 2, 1));
    assert_eq!(ping.mtime(), 1_700_000_000_123_456_789);
    assert_eq!(ping.xattrs().len(), 2);
    let null = index.inode(find(find(1, "dev"), "null")).unwrap();
    assert_eq!(null.rdev(), (1, 3));
    assert_eq!(index.inode(find(1, "bin")).unwrap().target(), Some(b"usr/bin".as_slice()));
    assert_eq!(find(find(1, "etc"), "motd"), find(find(1, "etc"), "issue"));
    assert_eq!(index.whiteouts(), 1);
}
