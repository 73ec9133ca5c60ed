//! The merge against the kernel's own: random stacks of layers, each mounted with overlayfs and merged by us, then
//! compared path by path. Needs root for `mount`, `mknod` and `trusted.*`; in CI it fails without, elsewhere it says so.
//!
//! Allowed differences, and why: a directory's link count (overlayfs answers 1 for a merged one, we count), sizes of
//! directories (ours are 4096 everywhere), device and inode numbers (ours are dense, the kernel's are its own).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use oneroot_tree::node::Kind;
use oneroot_tree::view::Node;
use oneroot_tree::{GenerationId, Stage, Store, View, Views};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::mount::{MountFlags, UnmountFlags};

/// A small generator of our own: the same seed is the same stack on every machine, for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A small number for a mode, an owner or a device.
    fn mode(&mut self, limit: u64) -> u32 {
        u32::try_from(self.below(limit)).unwrap()
    }
}

/// Few names, so that layers collide often.
const NAMES: [&str; 7] = ["a", "b", "c", "dir", "new\nline", "z\u{fc}", "lib"];

fn fill(random: &mut Random, dir: &Path, depth: u32, upper: bool, files: &mut Vec<std::path::PathBuf>) {
    for name in NAMES {
        if random.below(3) == 0 {
            continue;
        }
        let path = dir.join(name);
        match random.below(if upper { 12 } else { 9 }) {
            0..=3 if depth < 4 => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700 + random.mode(64))).unwrap();
                if upper && random.below(4) == 0 {
                    rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
                }
                fill(random, &path, depth + 1, upper, files);
            }
            0..=5 => {
                fs::write(&path, random.below(1 << 40).to_string()).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o4000 * random.mode(2) + 0o644))
                    .unwrap();
                std::os::unix::fs::chown(&path, Some(random.mode(3)), Some(random.mode(3))).unwrap();
                files.push(path);
            }
            6 => symlink(["a", "../b", "/lib", "dir/new"][usize::try_from(random.below(4)).unwrap()], &path)
                .unwrap(),
            7 => match files.last() {
                Some(file) => fs::hard_link(file, &path).unwrap(),
                None => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
            },
            8 => {
                let device = rustix::fs::makedev(1, 3 + random.mode(5));
                rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)
                    .unwrap();
            }
            _ => rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap(),
        }
    }
}

type Listing = BTreeMap<Vec<u8>, String>;

fn describe(kind: &str, mode: u32, owner: (u32, u32), nlink: u64, mtime: i128, rest: &str) -> String {
    format!("{kind} {mode:o} {owner:?} links {nlink} mtime {mtime} {rest}")
}

fn kernel(root: &Path, at: &Path, out: &mut Listing) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let meta = match fs::symlink_metadata(&path) {
            // The kernel lists a whiteout in a directory that merges with nothing, and then does not find it.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            meta => meta.unwrap(),
        };
        let kind = meta.file_type();
        let device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let (kind, nlink, rest) = if kind.is_dir() {
            kernel(root, &path, out);
            ("directory", 0, String::new())
        } else if kind.is_symlink() {
            (
                "symlink",
                meta.nlink(),
                fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string(),
            )
        } else if kind.is_file() {
            ("file", meta.nlink(), blake3::hash(&fs::read(&path).unwrap()).to_string())
        } else if kind.is_fifo() {
            ("fifo", meta.nlink(), String::new())
        } else {
            ("device", meta.nlink(), format!("{device:?}"))
        };
        let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let line = describe(kind, meta.mode() & 0o7777, (meta.uid(), meta.gid()), nlink, mtime, &rest);
        out.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), line);
    }
}

fn ours(view: &View, at: Node, path: &[u8], out: &mut Listing) {
    for (name, node) in view.entries(at) {
        assert_eq!(view.lookup(at, name), Some(node), "LOOKUP finds what READDIR shows");
        let path = if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') };
        let stat = view.stat(node).unwrap();
        let (kind, nlink, rest) = match stat.kind {
            Kind::Directory => {
                ours(view, node, &path, out);
                ("directory", 0, String::new())
            }
            Kind::Symlink => ("symlink", stat.nlink, view.target(node).unwrap().escape_ascii().to_string()),
            Kind::Regular => ("file", stat.nlink, view.object(node).unwrap().to_string()),
            Kind::Fifo => ("fifo", stat.nlink, String::new()),
            Kind::Character => ("device", stat.nlink, format!("{:?}", stat.rdev)),
            other => panic!("{other:?} is served"),
        };
        let (mode, mtime) = (u32::from(stat.mode), i128::from(stat.mtime));
        let line = describe(kind, mode, (stat.uid, stat.gid), u64::from(nlink), mtime, &rest);
        out.insert(path, line);
    }
}

/// One random stack, built on the disk, seen by the kernel and by us.
fn compare(seed: u64) {
    // In memory where there is room for it: the merge is tested here, and not the disk's patience with syncs.
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let store = Store::open(&home.path().join("store")).unwrap();
    let height = 2 + random.below(4);
    let mut stack: Vec<GenerationId> = Vec::new();
    let mut lower = Vec::new();
    for number in 0..height {
        let layer = home.path().join(format!("l{number}"));
        fs::create_dir(&layer).unwrap();
        fill(&mut random, &layer, 0, number > 0, &mut Vec::new());
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        stage.directory(&layer).unwrap();
        stack.push(stage.finish().unwrap().generation);
        lower.insert(0, layer.to_str().unwrap().to_owned());
    }
    let view = Views::new(store.clone()).load(store.put_stack(&stack).unwrap()).unwrap();
    let mount = home.path().join("merged");
    fs::create_dir(&mount).unwrap();
    let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    rustix::mount::mount("overlay", &mount, "overlay", MountFlags::RDONLY, options.as_c_str()).unwrap();
    let mut expected = Listing::new();
    let walked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kernel(&mount, &mount, &mut expected)));
    rustix::mount::unmount(&mount, UnmountFlags::DETACH).unwrap();
    walked.unwrap();
    let mut got = Listing::new();
    ours(&view, view.root(), b"", &mut got);
    for path in expected.keys().chain(got.keys()) {
        let (kernel, ours) = (expected.get(path), got.get(path));
        assert_eq!(ours, kernel, "seed {seed}, {}: ours, then the kernel's", path.escape_ascii());
    }
}

/// `ONEROOT_STACKS=from..to` runs a range of one's own; CI runs a few hundred.
#[test]
fn every_random_stack_looks_as_the_kernel_merges_it() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI must run this as root");
        eprintln!("skipped: needs root for mount(2), mknod(2) and trusted.* attributes");
        return;
    }
    let range = std::env::var("ONEROOT_STACKS").unwrap_or_else(|_| "0..200".to_owned());
    let (from, to) = range.split_once("..").unwrap();
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        compare(seed);
    }
}
