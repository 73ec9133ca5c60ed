//! The merge's promises, one by one, on layers written as lists of lines.

use std::sync::Arc;

use super::*;
use crate::build::IndexBuilder;
use crate::node::{Content, Meta};
use oneroot_ids::ObjectId;

/// `d path`, `o path` (opaque), `f path text`, `l path target`, `h path target` (hard link), `w path` (whiteout).
fn layer(lines: &str) -> Arc<Index> {
    let mut builder = IndexBuilder::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let (kind, path, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
        let path = TreePath::parse(path.as_bytes()).unwrap();
        let meta = Meta { mode: 0o755, uid: line.len().try_into().unwrap(), ..Meta::default() };
        let content = match kind {
            "d" => Content::Directory { opaque: false },
            "o" => Content::Directory { opaque: true },
            "f" => Content::Regular {
                object: ObjectId(*blake3::hash(rest.as_bytes()).as_bytes()),
                size: rest.len() as u64,
            },
            "l" => Content::Symlink(rest.into()),
            "w" => Content::Whiteout,
            _ => {
                builder.link(&path, &TreePath::parse(rest.as_bytes()).unwrap()).unwrap();
                continue;
            }
        };
        builder.insert(&path, meta, content).unwrap();
    }
    Arc::new(builder.finish().unwrap())
}

use crate::index::Index;

fn view(layers: &[&str]) -> View {
    let mut levels: Vec<Arc<Level>> = Vec::new();
    for lines in layers {
        levels.push(Arc::new(Level::new(layer(lines), levels.clone())));
    }
    View::new(ViewId([0; 16]), levels.pop().unwrap())
}

/// Every path, sorted, with a slash after directories.
fn paths(view: &View) -> Vec<String> {
    fn walk(view: &View, node: Node, path: &str, out: &mut Vec<String>) {
        let all: Vec<_> = view.entries(node).collect();
        for from in 0..all.len() + 2 {
            let tail: Vec<_> = view.entries_from(node, from as u64).collect();
            assert_eq!(tail, all[from.min(all.len())..], "the names of {path} from {from} on");
        }
        for (name, child) in view.entries(node) {
            assert_eq!(view.lookup(node, name), Some(child), "LOOKUP finds what READDIR shows");
            let path = format!("{path}/{}", name.escape_ascii());
            let directories = |of: Node| {
                let is = |node: Node| view.stat(node).unwrap().kind == Kind::Directory;
                u32::try_from(view.entries(of).filter(|(_, node)| is(*node)).count()).unwrap()
            };
            if view.stat(child).unwrap().kind == Kind::Directory {
                assert_eq!(view.stat(child).unwrap().nlink, 2 + directories(child), "the links of {path}");
            }
            if view.stat(child).unwrap().kind == Kind::Directory {
                assert_eq!(view.parent(child), Some(node), "the parent of {path}");
                out.push(format!("{path}/"));
                walk(view, child, &path, out);
            } else {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(view, view.root(), "", &mut out);
    out
}

fn text(view: &View, path: &str) -> Option<ObjectId> {
    view.object(view.resolve(&TreePath::parse(path.as_bytes()).unwrap())?)
}

#[test]
fn threads_that_load_one_view_at_once_get_the_same_one() {
    let home = tempfile::tempdir().unwrap();
    let store = crate::Store::open(&home.path().join("store")).unwrap();
    let mut stage = crate::Stage::begin(&store, |_| {}).unwrap();
    for number in 0..2000 {
        let path = format!("d/{number}");
        let meta = crate::node::Meta::default();
        stage.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta, crate::node::Content::Fifo).unwrap();
    }
    let id = store.put_stack(&[stage.finish().unwrap().generation]).unwrap();
    for _ in 0..20 {
        let views = crate::Views::new(store.clone());
        let together = std::sync::Barrier::new(4);
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let load = || {
                together.wait();
                views.load(id).unwrap()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            loaded.iter().all(|view| std::sync::Arc::ptr_eq(view, &loaded[0])),
            "one tree, once in memory"
        );
    }
}

#[test]
fn the_topmost_file_wins() {
    let view = view(&["f etc/motd low", "f etc/motd high"]);
    assert_eq!(paths(&view), ["/etc/", "/etc/motd"]);
    assert_eq!(text(&view, "etc/motd"), Some(ObjectId(*blake3::hash(b"high").as_bytes())));
}

#[test]
fn a_whiteout_hides_the_name_and_is_never_served() {
    let view = view(&["f etc/motd low\nf etc/keep x", "w etc/motd\nw etc/never-there"]);
    assert_eq!(paths(&view), ["/etc/", "/etc/keep"]);
}

#[test]
fn a_whiteout_with_nothing_below_is_never_served_either() {
    let view = view(&["w etc/a\nf etc/b x", "w opt/c\nf opt/d x"]);
    assert_eq!(paths(&view), ["/etc/", "/etc/b", "/opt/", "/opt/d"]);
}

#[test]
fn an_opaque_directory_hides_all_below_it() {
    let view = view(&["f etc/a x\nf etc/sub/b x", "o etc\nf etc/c x\nd etc/sub"]);
    assert_eq!(paths(&view), ["/etc/", "/etc/c", "/etc/sub/"]);
}

#[test]
fn a_file_over_a_directory_hides_it_and_a_directory_over_a_file_does() {
    let view = view(&["f a/b x\nf c x", "f a x\nf c/d x"]);
    assert_eq!(paths(&view), ["/a", "/c/", "/c/d"]);
}

#[test]
fn a_directory_hidden_in_the_middle_does_not_come_back() {
    let view = view(&["f a/low x", "w a", "f a/high x"]);
    assert_eq!(paths(&view), ["/a/", "/a/high"]);
}

#[test]
fn a_merged_directory_has_owner_and_mode_of_the_upper_one() {
    let view = view(&["d etc\nf etc/a x", "d etc\nd etc/new"]);
    let etc = view.resolve(&TreePath::parse(b"etc").unwrap()).unwrap();
    assert_eq!(etc.layer, 1);
    assert_eq!(view.stat(etc).unwrap().nlink, 3);
}

#[test]
fn only_directories_in_two_layers_have_nodes_of_their_own() {
    let base: String = (0..500).map(|n| format!("f usr/share/d{n}/file x\n")).collect();
    let view = view(&[&base, "f etc/hostname alpha\nf usr/share/d7/own x"]);
    assert_eq!(view.spine_len(), 4, "/, /usr, /usr/share and /usr/share/d7");
}

#[test]
fn file_ids_are_dense_and_unique() {
    let view = view(&["f a x\nh b a\nf c/d x", "f c/e x"]);
    let id = |path: &str| {
        let node = view.resolve(&TreePath::parse(path.as_bytes()).unwrap()).unwrap();
        view.stat(node).unwrap().fileid
    };
    assert_eq!(id("a"), id("b"), "a hard link is one inode with two names");
    let mut all = vec![id(""), id("a"), id("c"), id("c/d"), id("c/e")];
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|id| (1..=view.inodes()).contains(id)));
}

#[test]
fn links_are_followed_inside_the_view_and_never_out_of_it() {
    let view = view(&["f boot/vmlinuz-6 x\nl vmlinuz /boot/vmlinuz-6\nl up ../../../vmlinuz\nl loop loop"]);
    let kernel = view.resolve(&TreePath::parse(b"boot/vmlinuz-6").unwrap());
    assert_eq!(view.follow(b"/vmlinuz"), kernel);
    assert_eq!(view.follow(b"up"), kernel);
    assert_eq!(view.follow(b"loop"), None);
}

#[test]
fn every_layers_word_on_a_path_is_told_and_the_first_that_is_not_hidden_is_what_is_seen() {
    let view = view(&[
        "d etc\nf etc/a low\nf etc/b low\nd etc/d\nf etc/d/x low\nf etc/was-file low\nd etc/o\nf etc/o/x low",
        "d etc\nf etc/a middle\nw etc/b\nf etc/d middle\nd etc/was-file\no etc/o",
        "d etc\nf etc/a top\nd etc/d\nf etc/d/x top\nd etc/was-file",
    ]);
    let told = |path: &str| -> Vec<(u16, bool, &str)> {
        let word = |presence: Presence| match presence {
            Presence::Is(_, kind) if kind.is_directory() => "directory",
            Presence::Is(..) => "file",
            Presence::Gone => "gone",
            Presence::InTheWay => "in the way",
            Presence::Opaque => "opaque",
        };
        let claims = view.origins(&TreePath::parse(path.as_bytes()).unwrap());
        claims.into_iter().map(|claim| (claim.layer, claim.hidden, word(claim.presence))).collect()
    };
    assert_eq!(told("etc/a"), [(2, false, "file"), (1, true, "file"), (0, true, "file")]);
    assert_eq!(told("etc/b"), [(1, false, "gone"), (0, true, "file")]);
    assert_eq!(told("etc/d"), [(2, false, "directory"), (1, true, "file"), (0, true, "directory")]);
    assert_eq!(told("etc/d/x"), [(2, false, "file"), (1, true, "in the way"), (0, true, "file")]);
    assert_eq!(told("etc/was-file"), [(2, false, "directory"), (1, false, "directory"), (0, true, "file")]);
    assert_eq!(told("etc/o/x"), [(1, false, "opaque"), (0, true, "file")]);
    assert_eq!(told("etc/none"), []);
    for path in paths(&view) {
        let parsed = TreePath::parse(path.as_bytes()).unwrap();
        let node = view.resolve(&parsed).unwrap();
        let first = view.origins(&parsed).into_iter().find(|claim| !claim.hidden).unwrap();
        assert_eq!(
            (first.layer, first.presence),
            (node.layer, Presence::Is(node.inode, view.inode(node).unwrap().kind())),
            "{path}"
        );
    }
}

#[test]
fn a_copied_part_is_as_it_was_seen_wherever_it_is_put() {
    let view = view(&[
        "f lib/modules/6.1/a.ko x\nf lib/modules/6.1/b.ko y\nf boot/vmlinuz k",
        "w lib/modules/6.1/b.ko\nf lib/modules/6.1/c.ko z\nh lib/modules/6.1/d.ko lib/modules/6.1/c.ko",
    ]);
    let mut builder = IndexBuilder::new();
    let from = view.follow(b"/lib/modules").unwrap();
    view.copy(from, b"usr/lib/modules", &mut builder).unwrap();
    let copied =
        View::new(ViewId([0; 16]), Arc::new(Level::new(Arc::new(builder.finish().unwrap()), Vec::new())));
    assert_eq!(
        paths(&copied),
        [
            "/usr/",
            "/usr/lib/",
            "/usr/lib/modules/",
            "/usr/lib/modules/6.1/",
            "/usr/lib/modules/6.1/a.ko",
            "/usr/lib/modules/6.1/c.ko",
            "/usr/lib/modules/6.1/d.ko"
        ]
    );
    let node = |path: &[u8]| copied.follow(path).unwrap();
    assert_eq!(node(b"/usr/lib/modules/6.1/c.ko"), node(b"/usr/lib/modules/6.1/d.ko"), "still one file");
}
