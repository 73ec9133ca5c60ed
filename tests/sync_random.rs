//! Random trees, and directories that were made equal to other random trees and then changed by somebody else: `oneroot sync`
//! through a real server, cut off by limits and SIGKILL, and compared with what the server exports.
//!
//! A tree is [`SUBTREES`] small trees of a few colliding names, so one round is as many pairs of a tree that is found and one that
//! is wanted. `ONEROOT_SYNC_PAIRS` says how many pairs (10,000), `ONEROOT_SYNC_SEED` by which numbers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::sync_kit::{Home, Noise, assert_same, done, noise_bytes, tell};

/// Small trees in one tree.
const SUBTREES: u64 = 400;

/// A tree that is changed at random.
struct World {
    root: PathBuf,
    noise: Noise,
    /// Whether names may be used that a directory may have and a profile may not.
    foreign: bool,
}

const NAMES: [&[u8]; 8] =
    [b"a", b"b", b"c", b"d", b"\xff\xfe", b"new\nline", b"-r f", "\u{202e}é".as_bytes()];
const FOREIGN: [&[u8]; 4] = [b".wh.a", b".wh..wh..opq", b".oneroot-sync", b"made"];
const MODES: [u32; 9] = [0o644, 0o755, 0o600, 0, 0o4755, 0o2711, 0o1777, 0o7777, 0o311];
/// From 1901, where ext4 begins, to 2255: an index counts nanoseconds, which end in 2262.
const TIMES: [(i64, i64); 7] = [
    (0, 0),
    (-1, 999_999_999),
    (-2_100_000_000, 1),
    (1_700_000_000, 123_456_789),
    (1_700_000_000, 0),
    (4_400_000_000, 500_000_000),
    (9_000_000_000, 7),
];
/// cap_net_raw, effective (struct vfs_cap_data, revision 2); and for a user namespace of uid 5 (revision 3).
const CAPABILITIES: [&[u8]; 2] = [
    &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[1, 0, 0, 3, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0],
];

/// An ACL as the kernel takes it: owner, user 7, group, mask, others.
fn acl(bits: u8) -> Vec<u8> {
    let entry = |tag: u16, permissions: u8, id: u32| {
        [&tag.to_le_bytes()[..], &u16::from(permissions).to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    [
        2u32.to_le_bytes().to_vec(),
        entry(1, 7, none),
        entry(2, bits, 7),
        entry(4, 4, none),
        entry(0x10, 7, none),
        entry(0x20, bits, none),
    ]
    .concat()
}

impl World {
    fn number(&mut self, most: u64) -> u32 {
        u32::try_from(self.noise.below(most)).unwrap()
    }

    /// A place in a small tree: its directory is there, and perhaps something of that name.
    fn place(&mut self, subtree: u64) -> PathBuf {
        let mut path = self.root.join(format!("t{subtree:03}"));
        if !is_directory(&path) {
            remove(&path);
            fs::create_dir(&path).unwrap();
        }
        loop {
            let name = match self.foreign && self.noise.percent(10) {
                true => self.noise.of(&FOREIGN),
                false => self.noise.of(&NAMES),
            };
            path.push(OsStr::from_bytes(name));
            if !is_directory(&path) || self.noise.percent(40) {
                return path;
            }
        }
    }

    /// Does something to some of the small trees.
    fn change(&mut self, often: u64, most: u64) {
        for subtree in 0..SUBTREES {
            if !self.noise.percent(often) {
                continue;
            }
            for _ in 0..=self.noise.below(most) {
                self.once(subtree);
            }
        }
    }

    fn once(&mut self, subtree: u64) {
        let path = self.place(subtree);
        let is_there = path.symlink_metadata().is_ok();
        match self.noise.below(12) {
            0 | 1 => remove(&path),
            2 if is_there => self.describe(&path),
            3 if is_there => self.describe(&path),
            4 if is_there => self.rewrite(&path),
            5 if is_there => {
                // A name of the same small tree, or of another one.
                let other = if self.noise.percent(70) { subtree } else { self.noise.below(SUBTREES) };
                let other = self.place(other);
                if !is_directory(&path) && path != other {
                    remove(&other);
                    // What was on the way may have gone with it.
                    let _ = fs::hard_link(&path, &other);
                }
            }
            6 if is_there => {
                let other = self.place(subtree);
                if !other.starts_with(&path) && !path.starts_with(&other) {
                    remove(&other);
                    let _ = fs::rename(&path, &other);
                }
            }
            _ => self.make(&path),
        }
    }

    fn make(&mut self, path: &Path) {
        remove(path);
        let special = |kind, device| {
            rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device).unwrap();
        };
        match self.noise.below(16) {
            0..=3 => fs::create_dir(path).unwrap(),
            4 | 5 => {
                let to = self.noise.of(&[&b"a"[..], b"../b", b"/etc/passwd", b"\xff/..", b"."]);
                symlink(OsStr::from_bytes(to), path).unwrap();
            }
            6 => special(FileType::Fifo, 0),
            7 => special(FileType::Socket, 0),
            8 => special(FileType::CharacterDevice, rustix::fs::makedev(1, 3 + self.number(3))),
            9 if self.foreign => special(FileType::CharacterDevice, 0),
            9 => special(FileType::BlockDevice, rustix::fs::makedev(7, 255 + self.number(1000))),
            _ => fs::write(path, self.bytes()).unwrap(),
        }
        if self.noise.percent(60) {
            self.describe(path);
        }
    }

    /// Bytes that other files have too.
    fn bytes(&mut self) -> Vec<u8> {
        match self.noise.below(20) {
            0..=2 => Vec::new(),
            3..=10 => vec![b'a' + self.noise.of(&[&0, &1, &2]); 3],
            11..=15 => noise_bytes(self.noise.below(300), 5000),
            16 | 17 => noise_bytes(1000 + self.noise.below(1 << 20), 2000),
            18 => [vec![0; 100_000], vec![1]].concat(),
            _ if self.noise.percent(10) => {
                [noise_bytes(self.noise.below(4), 900_000), vec![0; 700_000]].concat()
            }
            _ => noise_bytes(self.noise.below(4), 70_000),
        }
    }

    /// The same file with other bytes; often as many, and with the same time.
    fn rewrite(&mut self, path: &Path) {
        let Ok(is) = path.symlink_metadata() else { return };
        if !is.is_file() || is.len() == 0 {
            return;
        }
        let mut bytes = fs::read(path).unwrap();
        let at = usize::try_from(self.noise.below(is.len())).unwrap();
        bytes[at] ^= 1;
        if self.noise.percent(20) {
            bytes.truncate(at);
        }
        // Into the same inode, whatever other names it has.
        fs::write(path, bytes).unwrap();
        let time = Timespec { tv_sec: is.mtime(), tv_nsec: is.mtime_nsec() };
        if self.noise.percent(80) {
            set_times(path, time);
        }
    }

    fn describe(&mut self, path: &Path) {
        let is = path.symlink_metadata().unwrap();
        if self.noise.percent(50) {
            std::os::unix::fs::lchown(path, Some(self.number(3)), Some(self.number(3))).unwrap();
        }
        if is.is_symlink() {
            return self.date(path);
        }
        if self.noise.percent(60) {
            let mode = MODES[usize::try_from(self.noise.below(MODES.len() as u64)).unwrap()];
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        if is.is_file() || is.is_dir() {
            for (attribute, often) in ATTRIBUTES {
                if !self.noise.percent(often) {
                    continue;
                }
                if self.noise.percent(40) {
                    let _ = rustix::fs::removexattr(&name, attribute);
                    continue;
                }
                let value = match attribute {
                    "security.capability" => self.noise.of(&CAPABILITIES).to_vec(),
                    "system.posix_acl_access" | "system.posix_acl_default" => acl(self.noise.below(8) as u8),
                    _ => noise_bytes(self.noise.below(5), usize::try_from(self.noise.below(30)).unwrap()),
                };
                // A capability is a file's, and a default ACL a directory's.
                let _ = rustix::fs::setxattr(&name, attribute, &value, XattrFlags::empty());
            }
        }
        self.date(path);
    }

    fn date(&mut self, path: &Path) {
        if self.noise.percent(70) {
            let (tv_sec, tv_nsec) = *self.noise.of(&TIMES.each_ref());
            set_times(path, Timespec { tv_sec, tv_nsec });
        }
    }
}

const ATTRIBUTES: [(&str, u64); 6] = [
    ("user.note", 25),
    ("user.\u{e9}", 5),
    ("trusted.overlay.opaque", 8),
    ("security.capability", 20),
    ("system.posix_acl_access", 15),
    ("system.posix_acl_default", 10),
];

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|is| is.is_dir())
}

fn remove(path: &Path) {
    if is_directory(path) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

fn set_times(path: &Path, time: Timespec) {
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Begins a sync and kills it at a random moment; whether it was still at work.
fn killed(home: &Home, noise: &mut Noise, more: &[&str]) -> bool {
    let limit = ["50K", "500K", "5M"][usize::try_from(noise.below(3)).unwrap()];
    let mut command = home.command(more);
    command.args(["--limit", limit]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut begun = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(noise.below(400)));
    begun.kill().unwrap();
    !begun.wait().unwrap().success()
}

#[test]
fn ten_thousand_random_pairs_of_trees_end_as_they_are_exported_in_place_and_as_a_whole() {
    let seed = variable("ONEROOT_SYNC_SEED", 1);
    let rounds = variable("ONEROOT_SYNC_PAIRS", 10_000).div_ceil(SUBTREES);
    let home = &Home::in_memory(|root| {
        World { root: root.to_owned(), noise: Noise::new(seed), foreign: false }.change(100, 8);
    });
    let mut source = World { root: home.root(), noise: Noise::new(seed ^ 1), foreign: false };
    let mut noise = Noise::new(seed ^ 2);
    let mut kills = 0;
    for round in 0..rounds {
        let when = format!("ONEROOT_SYNC_SEED={seed}, round {round}");
        if round > 0 {
            source.change(60, 3);
            home.server.stage().unwrap();
        }
        if home.dir().exists() {
            let seed = noise.below(1 << 50);
            World { root: home.dir(), noise: Noise::new(seed), foreign: true }.change(30, 3);
        }
        let how: &[&str] = if round % 2 == 1 { &["--atomic", "--keep", "1"] } else { &[] };
        for _ in 0..noise.below(3) {
            // The other way round, now and then: what one leaves is not to harm the other.
            let how: &[&str] = if noise.percent(25) { &["--atomic"] } else { how };
            kills += u64::from(killed(home, &mut noise, how));
        }
        done(&home.sync(how), &when);
        assert_same(&tell(&home.dir()), &home.exported(), &when);
        if noise.percent(30) {
            let again = done(&home.sync(how), &when);
            assert!(again.contains("0 added, 0 removed, 0 changed; 0 contents"), "{when}: {again}");
        }
    }
    println!("{} pairs in {rounds} rounds, {kills} killed on their way", rounds * SUBTREES);
    assert!(rounds < 10 || kills * 4 > rounds, "hardly any was killed: {kills} of {rounds}");
}
