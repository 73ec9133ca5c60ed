//! What the tests of `oneroot sync` share: a server with a token, the client as a command, and an oracle that knows nothing of
//! either.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use oneroot_testkit::{Lab, SERVER, Server, SiteFiles, SmallDisk};

/// Everything that a directory has, by Python: names, types, owners, modes, times, links, devices, bytes, attributes. All of it is
/// said in ASCII, whatever bytes the names have.
const TELL: &str = r#"
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
inodes, said = {}, []
def look(path, name):
    is_ = os.lstat(path)
    line = [name, oct(is_.st_mode), is_.st_uid, is_.st_gid, is_.st_mtime_ns]
    if not stat.S_ISDIR(is_.st_mode):
        # Which names are one file: the first of them says it. Trees beside this one may have more names of it.
        line += [inodes.setdefault((is_.st_dev, is_.st_ino), name), is_.st_rdev]
    if stat.S_ISLNK(is_.st_mode):
        line += [os.readlink(path)]
    if stat.S_ISREG(is_.st_mode):
        with open(path, "rb") as file:
            line += [is_.st_size, hashlib.sha256(file.read()).hexdigest()]
    if not stat.S_ISLNK(is_.st_mode):
        line += [(key, os.getxattr(path, key)) for key in sorted(os.listxattr(path))]
    said.append(repr(line))
def walk(path, name):
    look(path, name)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for below in sorted(os.listdir(path)):
            walk(path + b"/" + below, name + b"/" + below)
sys.setrecursionlimit(5000)
walk(root, b".")
print("\n".join(said))
"#;

/// Runs a program that has to do its work.
pub fn run(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", said(&done));
}

/// A path as a word.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Tells all that a directory is.
pub fn tell(directory: &Path) -> String {
    let told = Command::new("python3").args(["-c", TELL]).arg(directory).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

/// Fails with the lines in which two trees differ.
pub fn assert_same(is: &str, should_be: &str, when: &str) {
    if is == should_be {
        return;
    }
    let [is, should_be] = [is, should_be].map(|told| told.lines().collect::<std::collections::BTreeSet<_>>());
    let lines: Vec<String> = (should_be.difference(&is).map(|line| format!("- {line}")))
        .chain(is.difference(&should_be).map(|line| format!("+ {line}")))
        .take(40)
        .collect();
    panic!("{when}: it is not what it should be (-), but (+):\n{}", lines.join("\n"));
}

/// Numbers that look random and are the same in every run (xorshift64).
pub struct Noise(u64);

impl Noise {
    /// By a number of the test's own.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One below this.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }

    /// One of these.
    pub fn of<'t, T: ?Sized>(&mut self, some: &[&'t T]) -> &'t T {
        some[usize::try_from(self.below(some.len() as u64)).unwrap()]
    }

    /// Something that happens so often of a hundred times.
    pub fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }
}

/// Bytes that no other seed has and that don't pack.
pub fn noise_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&noise.below(1 << 53).to_le_bytes()[..6]);
    }
    bytes.truncate(length);
    bytes
}

/// A server with one profile, `debian`, of the directory `root`, in a network of its own; and a token for it.
pub struct Home {
    _lab: Lab,
    /// Before the directories that they are mounted on.
    _disks: Vec<SmallDisk>,
    pub server: Server,
    pub home: tempfile::TempDir,
    pub token: String,
    /// The directory that is synced.
    pub at: PathBuf,
}

impl Home {
    /// Starts it with what is put into its `root`.
    pub fn new(fill: impl FnOnce(&Path)) -> Self {
        Self::on(false, fill)
    }

    /// The same, with all files of both sides in memory: thousands are made and removed there, and waited for.
    pub fn in_memory(fill: impl FnOnce(&Path)) -> Self {
        Self::on(true, fill)
    }

    fn on(memory: bool, fill: impl FnOnce(&Path)) -> Self {
        let lab = Lab::new().unwrap();
        let site = SiteFiles::small().unwrap();
        let home = tempfile::tempdir().unwrap();
        let places = [site.path().join("root"), site.path().join("store"), home.path().to_owned()];
        let places = if memory { &places[..] } else { &[] };
        let disks = places.iter().map(|place| SmallDisk::mount(place, 256 << 20).unwrap()).collect();
        fill(&site.path().join("root"));
        let server = Server::start(site).unwrap();
        let token = server.run(&["token", "new", "test", "--view", "debian"]).unwrap().trim().to_owned();
        let at = home.path().join("dir");
        Self { _lab: lab, _disks: disks, server, home, token, at }
    }

    /// The directory that the server stages.
    pub fn root(&self) -> PathBuf {
        self.server.site.path().join("root")
    }

    /// The directory that is synced.
    pub fn dir(&self) -> PathBuf {
        self.at.clone()
    }

    /// Where the server is.
    pub fn from() -> String {
        format!("http://{SERVER}")
    }

    /// `oneroot sync debian DIR --from SERVER`, with the token, and more words.
    pub fn command(&self, more: &[&str]) -> Command {
        sync(self.server.binary(), &self.dir(), &Self::from(), &self.token, more)
    }

    /// The same, done.
    pub fn sync(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// What the server exports.
    pub fn exported(&self) -> String {
        let to = tempfile::tempdir_in(self.home.path()).unwrap();
        let to = to.path().join("tree");
        self.server.run(&["export", "debian", to.to_str().unwrap()]).unwrap();
        tell(&to)
    }

    /// Syncs, which must succeed, and compares.
    pub fn syncs(&self, more: &[&str], when: &str) {
        done(&self.sync(more), when);
        assert_same(&tell(&self.dir()), &self.exported(), when);
    }
}

/// `oneroot sync debian DIR`, of any server.
pub fn sync(binary: &Path, directory: &Path, from: &str, token: &str, more: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(["sync", "debian", "--force"]).arg(directory).args(["--from", from]).args(more);
    command.env("ONEROOT_TOKEN", token).stdin(Stdio::null());
    command
}

/// Both of its outputs.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// It succeeded; what it said.
pub fn done(output: &Output, when: &str) -> String {
    assert!(output.status.success(), "{when}: {}", said(output));
    said(output)
}

/// It was refused: exit code 1, and a sentence that has these words.
pub fn refused(output: &Output, words: &str, when: &str) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{when}: {said}");
    assert!(said.contains("oneroot: ") && said.contains(words), "{when}: {said}");
    assert!(!said.contains("panicked") && !said.contains("mistake in oneroot"), "{when}: {said}");
    said
}

/// A directory of somebody else's beside the one that is synced: what it was, and that it still is.
pub struct Sentinel {
    path: PathBuf,
    told: String,
}

impl Sentinel {
    /// Makes one in a directory.
    pub fn new(home: &Path) -> Self {
        let path = home.join("sentinel");
        fs::create_dir_all(path.join("deep")).unwrap();
        fs::write(path.join("deep/file"), "not yours").unwrap();
        fs::write(path.join("victim"), "not yours either").unwrap();
        std::os::unix::fs::symlink("victim", path.join("link")).unwrap();
        let told = tell(&path);
        Self { path, told }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails where it is another than it was.
    pub fn assert_untouched(&self, when: &str) {
        assert_same(&tell(&self.path), &self.told, when);
    }
}
