//! The merge against the kernel's own: random stacks of layers, each mounted with overlayfs and merged by us, then
//! compared path by path. Needs root for `mount`, `mknod` and `trusted.*`; in CI it fails without, elsewhere it says so.
//!
//! A stack has 2 to 5 layers, one in eight 10 or 20; half of the layers are staged in OCI's spelling of whiteouts, the
//! others in overlayfs'. Allowed differences, and why: a directory's link count (overlayfs answers 1 for a merged one, we count), sizes of
//! directories (ours are 4096 everywhere), device and inode numbers (ours are dense, the kernel's are its own).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

mod random;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use oneroot_ids::GenerationId;
use oneroot_tree::node::{Content, Kind, Meta, TreePath};
use oneroot_tree::view::Node;
use oneroot_tree::{Stage, Store, View, Views};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use random::Random;

/// Few names, so that layers collide often; one has a newline, one is no UTF-8.
const NAMES: [&[u8]; 7] = [b"a", b"b", b"c", b"dir", b"new\nline", b"z\xfc", b"lib"];
/// Layers of a deep stack; one stack in eight is as deep as this or half of it.
const DEEPEST: u64 = 20;

/// A layer that is being filled.
struct Layer {
    /// Whether others are below it: then it hides, and some of its directories begin anew.
    upper: bool,
    /// How many of twelve names it has. Deep stacks have thin layers.
    full: u64,
    /// What can get a second name.
    files: Vec<PathBuf>,
}

impl Layer {
    fn fill(&mut self, random: &mut Random, dir: &Path, depth: u32) {
        for name in NAMES {
            if random.below(12) >= self.full {
                continue;
            }
            let path = dir.join(OsStr::from_bytes(name));
            match random.below(if self.upper { 13 } else { 11 }) {
                0..=3 if depth < 4 => self.directory(random, &path, depth),
                0..=5 => {
                    // One of three contents, so that objects are shared, or its own.
                    let text = if random.below(4) == 0 { random.below(3) } else { random.below(1 << 40) };
                    fs::write(&path, if text == 0 { String::new() } else { text.to_string() }).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o4000 * random.mode(2) + 0o644))
                        .unwrap();
                    own(random, &path);
                    self.files.push(path);
                }
                6 => {
                    let targets: [&[u8]; 5] = [b"a", b"../b", b"/lib", b"dir/new", b"z\xfc"];
                    symlink(OsStr::from_bytes(random.one::<&[u8]>(&targets)), &path).unwrap();
                }
                7 | 8 => match self.files.is_empty() {
                    false => fs::hard_link(random.one(&self.files), &path).unwrap(),
                    true => node(&path, FileType::Fifo, 0),
                },
                9 => {
                    let kinds = [FileType::CharacterDevice, FileType::BlockDevice];
                    node(&path, *random.one(&kinds), rustix::fs::makedev(1, 3 + random.mode(5)));
                }
                10 => node(&path, FileType::Socket, 0),
                _ => node(&path, FileType::CharacterDevice, 0),
            }
        }
    }

    /// With entries, or only to give the one below another mode and owner.
    fn directory(&mut self, random: &mut Random, path: &Path, depth: u32) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700 + random.mode(64))).unwrap();
        own(random, path);
        if self.upper && random.below(4) == 0 {
            rustix::fs::setxattr(path, OPAQUE, b"y", XattrFlags::empty()).unwrap();
        }
        if random.below(5) != 0 {
            self.fill(random, path, depth + 1);
        }
    }
}

const OPAQUE: &str = "trusted.overlay.opaque";

fn own(random: &mut Random, path: &Path) {
    std::os::unix::fs::lchown(path, Some(random.mode(3)), Some(random.mode(3))).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
}

/// The same layer in OCI's words: `.wh.NAME` for each whiteout, and for each opaque directory `.wh..wh..opq` in it or
/// `.wh.NAME` beside it, which says the same; or nothing, for those that it returns, the innermost first. Times of
/// directories stay.
fn respell(random: &mut Random, dir: &Path) -> Vec<PathBuf> {
    let mut unsaid = Vec::new();
    let meta = fs::symlink_metadata(dir).unwrap();
    let entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let hides = [b".wh.", entry.file_name().as_bytes()].concat();
        let hides = dir.join(OsStr::from_bytes(&hides));
        if kind.is_char_device() && fs::symlink_metadata(&path).unwrap().rdev() == 0 {
            fs::remove_file(&path).unwrap();
            fs::write(hides, "").unwrap();
        } else if kind.is_dir() {
            unsaid.extend(respell(random, &path));
            let before = fs::symlink_metadata(&path).unwrap();
            if rustix::fs::getxattr(&path, OPAQUE, &mut [0; 8][..]).is_ok() {
                rustix::fs::removexattr(&path, OPAQUE).unwrap();
                let inside = path.join(".wh..wh..opq");
                match random.below(3) {
                    0 => fs::write(hides, "").unwrap(),
                    1 => fs::write(inside, "").unwrap(),
                    _ => unsaid.push(path.clone()),
                }
                set_time(&path, &before);
            }
        }
    }
    set_time(dir, &meta);
    unsaid
}

/// Says of a directory that is still to come that it is opaque, as an archive can and no file system: there is a file of
/// its name and a whiteout of that name first, in either order.
fn say(random: &mut Random, stage: &mut Stage<'_>, path: &Path) {
    let hides = [b".wh.", path.file_name().unwrap().as_bytes()].concat();
    let hides = path.with_file_name(OsStr::from_bytes(&hides));
    let mut both = [path, &hides];
    if random.below(2) == 0 {
        both.reverse();
    }
    let contents = both.map(|path| (path, Content::Fifo));
    for (path, content) in contents.into_iter().chain([(path, Content::Directory { opaque: false })]) {
        let path = TreePath::parse(path.as_os_str().as_bytes()).unwrap();
        stage.insert(&path, Meta::default(), content).unwrap();
    }
}

fn set_time(path: &Path, meta: &fs::Metadata) {
    fs::File::open(path).unwrap().set_modified(meta.modified().unwrap()).unwrap();
}

type Listing = BTreeMap<Vec<u8>, String>;

fn describe(kind: &str, mode: u32, owner: (u32, u32), nlink: u64, mtime: i128, rest: &str) -> String {
    format!("{kind} {mode:o} {owner:?} links {nlink} mtime {mtime} {rest}")
}

/// What is below `at`, and at the root itself.
fn kernel(root: &Path, at: &Path, out: &mut Listing) {
    if at == root {
        out.insert(Vec::new(), seen(root, &fs::symlink_metadata(root).unwrap()));
    }
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let meta = match fs::symlink_metadata(&path) {
            // The kernel lists a whiteout in a directory that merges with nothing, and then does not find it.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            meta => meta.unwrap(),
        };
        if meta.is_dir() {
            kernel(root, &path, out);
        }
        out.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), seen(&path, &meta));
    }
}

fn seen(path: &Path, meta: &fs::Metadata) -> String {
    let kind = meta.file_type();
    let device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let (kind, rest) = if kind.is_dir() {
        ("directory", String::new())
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        ("symlink", format!("{} {}", meta.size(), target.as_os_str().as_bytes().escape_ascii()))
    } else if kind.is_file() {
        ("file", format!("{} {}", meta.size(), blake3::hash(&fs::read(path).unwrap())))
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else if kind.is_socket() {
        ("socket", String::new())
    } else if kind.is_block_device() {
        ("block", format!("{device:?}"))
    } else {
        ("character", format!("{device:?}"))
    };
    let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    describe(kind, meta.mode() & 0o7777, (meta.uid(), meta.gid()), nlink, mtime, &rest)
}

fn ours(view: &View, at: Node, path: &[u8], out: &mut Listing) {
    if path.is_empty() {
        out.insert(Vec::new(), served(view, at));
    }
    for (name, node) in view.entries(at) {
        assert_eq!(view.lookup(at, name), Some(node), "LOOKUP finds what READDIR shows");
        let path = if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') };
        if view.stat(node).unwrap().kind == Kind::Directory {
            ours(view, node, &path, out);
        }
        let twice = out.insert(path, served(view, node));
        assert_eq!(twice, None, "READDIR shows a name once");
    }
}

fn served(view: &View, node: Node) -> String {
    let stat = view.stat(node).unwrap();
    let size = stat.size;
    let (kind, rest) = match stat.kind {
        Kind::Directory => ("directory", String::new()),
        Kind::Symlink => ("symlink", format!("{size} {}", view.target(node).unwrap().escape_ascii())),
        Kind::Regular => ("file", format!("{size} {}", view.object(node).unwrap())),
        Kind::Fifo => ("fifo", String::new()),
        Kind::Socket => ("socket", String::new()),
        Kind::Block => ("block", format!("{:?}", stat.rdev)),
        Kind::Character => ("character", format!("{:?}", stat.rdev)),
        other => panic!("{other:?} is served"),
    };
    let nlink = if stat.kind == Kind::Directory { 0 } else { u64::from(stat.nlink) };
    describe(kind, u32::from(stat.mode), (stat.uid, stat.gid), nlink, i128::from(stat.mtime), &rest)
}

/// One random stack, built on the disk, seen by the kernel and by us; how many layers it has, and how many paths.
fn compare(seed: u64) -> (u64, usize) {
    // In memory where there is room for it: the merge is tested here, and not the disk's patience with syncs.
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut random = Random::new(seed);
    let store = Store::open(&home.path().join("store")).unwrap();
    let deep = random.below(8) == 0;
    let height = if deep { random.one(&[DEEPEST / 2, DEEPEST]).to_owned() } else { 2 + random.below(4) };
    let mut layers = Vec::new();
    for number in 0..height {
        let path = home.path().join(format!("l{number}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700 + random.mode(64))).unwrap();
        own(&mut random, &path);
        let full = if deep && number > 0 { 4 } else { 8 };
        Layer { upper: number > 0, full, files: Vec::new() }.fill(&mut random, &path, 0);
        layers.push(path);
    }
    let mount = home.path().join("merged");
    fs::create_dir(&mount).unwrap();
    let lower: Vec<&str> = layers.iter().rev().map(|path| path.to_str().unwrap()).collect();
    let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    rustix::mount::mount("overlay", &mount, "overlay", MountFlags::RDONLY, options.as_c_str()).unwrap();
    let mut expected = Listing::new();
    let walked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kernel(&mount, &mount, &mut expected)));
    rustix::mount::unmount(&mount, UnmountFlags::DETACH).unwrap();
    walked.unwrap();
    let mut stack: Vec<GenerationId> = Vec::new();
    for layer in &layers {
        // The kernel knows one spelling; we know two, and they are the same layer.
        let unsaid = if random.below(2) == 0 { respell(&mut random, layer) } else { Vec::new() };
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        for path in unsaid.iter().rev() {
            say(&mut random, &mut stage, path.strip_prefix(layer).unwrap());
        }
        stage.directory(layer).unwrap();
        stack.push(stage.finish().unwrap().generation);
    }
    let view = Views::new(store.clone()).load(store.put_stack(&stack).unwrap()).unwrap();
    let mut got = Listing::new();
    ours(&view, view.root(), b"", &mut got);
    for path in expected.keys().chain(got.keys()) {
        let (kernel, ours) = (expected.get(path), got.get(path));
        assert_eq!(ours, kernel, "seed {seed}, {}: ours, then the kernel's", path.escape_ascii());
    }
    (height, expected.len())
}

/// Whether this process is root, which CI must be.
fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "CI must run this as root");
    if !root {
        eprintln!("skipped: needs root for mount(2), mknod(2) and trusted.* attributes");
    }
    root
}

/// `ONEROOT_STACKS=from..to` runs a range of one's own, and says how far it is; CI runs a few hundred.
#[test]
fn every_random_stack_looks_as_the_kernel_merges_it() {
    if !may_mount() {
        return;
    }
    let range = std::env::var("ONEROOT_STACKS").unwrap_or_else(|_| "0..200".to_owned());
    let (from, to) = range.split_once("..").unwrap();
    let (mut stacks, mut layers, mut paths) = (0, 0, 0);
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        let (height, seen) = compare(seed);
        (stacks, layers, paths) = (stacks + 1, layers + height, paths + seen);
        if stacks % 1000 == 0 {
            eprintln!("{stacks} stacks of {layers} layers, {paths} paths, none differs");
        }
    }
}

/// overlayfs over two file systems gives a file its layer's device, and a directory its own.
#[test]
fn names_of_one_file_are_one_file_when_what_is_staged_is_an_overlay_over_two_file_systems() {
    if !may_mount() {
        return;
    }
    let (home, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    rustix::mount::mount("tmpfs", memory.path(), "tmpfs", MountFlags::empty(), c"").unwrap();
    fs::write(memory.path().join("one"), "x").unwrap();
    fs::hard_link(memory.path().join("one"), memory.path().join("two")).unwrap();
    let below = |name: &str| {
        fs::create_dir(home.path().join(name)).unwrap();
        home.path().join(name).display().to_string()
    };
    let (upper, work, merged) = (below("upper"), below("work"), below("merged"));
    let options = format!("xino=off,lowerdir={},upperdir={upper},workdir={work}", memory.path().display());
    let options = std::ffi::CString::new(options).unwrap();
    let mounted =
        rustix::mount::mount("overlay", &*merged, "overlay", MountFlags::empty(), options.as_c_str());
    let staged = std::panic::catch_unwind(|| {
        mounted.unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        stage.directory(Path::new(&merged)).unwrap();
        stage.finish().unwrap().index
    });
    // It is not there where it was not mounted.
    let _ = rustix::mount::unmount(&*merged, UnmountFlags::DETACH);
    rustix::mount::unmount(memory.path(), UnmountFlags::DETACH).unwrap();
    let index = staged.unwrap();
    assert_eq!(index.inodes(), 2, "the root and one file");
    assert_eq!(index.inode(2).unwrap().nlink(), 2);
}
