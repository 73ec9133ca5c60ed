//! The Debian package, installed and upgraded by dpkg in a root of the test's own; nothing of the host's changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A root with dpkg's database and nothing else.
pub struct PackagedRoot {
    home: tempfile::TempDir,
}

impl PackagedRoot {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let root = Self { home: tempfile::tempdir()? };
        for directory in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/etc", "root/usr/lib"] {
            fs::create_dir_all(root.home.path().join(directory))?;
        }
        for file in ["status", "available"] {
            fs::write(root.path().join("var/lib/dpkg").join(file), "")?;
        }
        Ok(root)
    }

    /// Where the package's files are.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("root")
    }

    /// Builds the package of a binary.
    pub fn build(&self, binary: &Path) -> Result<PathBuf> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/deb/build");
        let built = run(Command::new(script).arg(self.home.path()).env("ONEROOT_BINARY", binary))?;
        Ok(PathBuf::from(built.trim()))
    }

    /// The same package as the next version.
    pub fn next_version(&self, package: &Path) -> Result<PathBuf> {
        let (files, next) = (self.home.path().join("next"), self.home.path().join("next.deb"));
        run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&files))?;
        let control = files.join("DEBIAN/control");
        let lines = fs::read_to_string(&control)?.replace("\nArchitecture:", "+next\nArchitecture:");
        fs::write(control, lines)?;
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(files).arg(&next))?;
        Ok(next)
    }

    /// `dpkg -i`.
    pub fn install(&self, package: &Path) -> Result<()> {
        let root = format!("--root={}", self.path().display());
        let forced = ["--force-script-chrootless", "--force-depends"];
        run(Command::new("dpkg").arg(root).args(forced).arg("-i").arg(package)).map(drop)
    }

    /// The version that is installed.
    pub fn version(&self) -> Result<String> {
        let status = fs::read_to_string(self.path().join("var/lib/dpkg/status"))?;
        let version = status.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).context("nothing is installed")
    }
}

fn run(command: &mut Command) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let done = command.env("PATH", path).output().with_context(|| format!("cannot run {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8(done.stdout)?)
}
