//! What the machines boot: made once, kept in the cache under the hash of its recipe.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const ALPINE: &str = include_str!("../debian/alpine.sh");
const ARM64: &str = include_str!("../debian/arm64.sh");
const BARE: &str = include_str!("../debian/bare.sh");
const BUSYBOX: &str = include_str!("../debian/busybox.sh");
const EMULATED: &str = include_str!("../debian/emulated.sh");
const CLASSROOM: &str = include_str!("../debian/classroom.sh");
const CLUSTER: &str = include_str!("../debian/cluster.sh");
const FEDORA: &str = include_str!("../debian/fedora.sh");
const LOGS: &str = include_str!("../debian/logs.sh");
const RECIPE: &str = include_str!("../debian/recipe.sh");
const WITH_IFUPDOWN: &str = include_str!("../debian/ifupdown.sh");
const WITH_DRACUT: &str = include_str!("../debian/dracut.sh");
const TRIXIE: &str = include_str!("../debian/trixie.sh");
const MANAGERS: &str = include_str!("../debian/managers.sh");
const RUNIT: &str = include_str!("../debian/runit.sh");
const SYSVINIT: &str = include_str!("../debian/sysvinit.sh");
const UBUNTU: &str = include_str!("../debian/ubuntu.sh");

/// What a task needs and this host lacks (`scripts/need` has the lists), with the command that installs it.
pub fn tools(task: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/need");
    let asked = Command::new(&script).args(["--missing", task]).output();
    let asked = asked.with_context(|| format!("cannot run {}", script.display()))?;
    if !asked.status.success() {
        bail!("{}", String::from_utf8_lossy(&asked.stderr).trim().trim_start_matches("oneroot: "));
    }
    Ok(())
}

/// What machines boot, where they can run. Where they must (CI), what is missing is a failure; elsewhere a counted skip.
///
/// To be called before the thread moves into a lab: there is no mirror in there.
#[must_use]
pub fn here(root: fn() -> Result<PathBuf>) -> Option<PathBuf> {
    let reason = match tools("vm").and_then(|()| root()) {
        Ok(tar) => return Some(tar),
        Err(reason) => reason,
    };
    let required = std::env::var_os("CI").is_some() || std::env::var_os("ONEROOT_REQUIRE_VM").is_some();
    assert!(!required, "the virtual machines must run here: {reason:#}");
    println!("skipped: {reason:#}");
    None
}

/// The Debian 12 root as a tar. The first call takes a minute and more; later ones find it in the cache.
pub fn debian() -> Result<PathBuf> {
    made("debian-12", RECIPE, "bookworm")
}

/// The same with dracut in the place of initramfs-tools.
pub fn debian_with_dracut() -> Result<PathBuf> {
    made("debian-12-dracut", WITH_DRACUT, "bookworm")
}

/// Debian 13 with dracut and systemd-networkd.
pub fn trixie() -> Result<PathBuf> {
    made("debian-13-dracut", TRIXIE, "trixie")
}

/// Debian 13 with dracut and ifupdown.
pub fn trixie_with_ifupdown() -> Result<PathBuf> {
    made("debian-13-dracut-ifupdown", WITH_IFUPDOWN, "trixie")
}

/// Debian 12 with every network manager.
pub fn bookworm_managers() -> Result<PathBuf> {
    made("debian-12-managers", MANAGERS, "bookworm")
}

/// Debian 13 with every network manager.
pub fn trixie_managers() -> Result<PathBuf> {
    made("debian-13-managers", MANAGERS, "trixie")
}

/// Debian 12 with sysvinit.
pub fn sysvinit() -> Result<PathBuf> {
    made("debian-12-sysvinit", SYSVINIT, "bookworm")
}

/// Debian 13 with runit, with s6 beside it, and without any initramfs tool.
pub fn runit() -> Result<PathBuf> {
    made("debian-13-runit", RUNIT, "trixie")
}

/// Debian 12 with what examples/classroom asks for, but for its desktop.
pub fn classroom() -> Result<PathBuf> {
    made("debian-12-classroom", CLASSROOM, "bookworm")
}

/// Debian 12 with what examples/cluster-node asks for.
pub fn cluster() -> Result<PathBuf> {
    made("debian-12-cluster", CLUSTER, "bookworm")
}

/// Debian 12 that can send its journal away, and take that of others.
pub fn logs() -> Result<PathBuf> {
    made("debian-12-logs", LOGS, "bookworm")
}

/// Debian 13 without any initramfs tool.
pub fn bare() -> Result<PathBuf> {
    made("debian-13-bare", BARE, "trixie")
}

/// Debian 12 without any initramfs tool.
pub fn bare_bookworm() -> Result<PathBuf> {
    made("debian-12-bare", BARE, "bookworm")
}

/// Debian 13 without any initramfs tool, and with the kernel that has drivers for more than clouds.
pub fn bare_with_all_drivers() -> Result<PathBuf> {
    made("debian-13-bare-all", &BARE.replace("linux-image-cloud-amd64", "linux-image-amd64"), "trixie")
}

/// A kernel, its modules and busybox, and nothing else.
pub fn busybox() -> Result<PathBuf> {
    made("busybox", BUSYBOX, "trixie")
}

/// Debian 13's programs laid out as Fedora has them.
pub fn like_fedora() -> Result<PathBuf> {
    made("like-fedora", FEDORA, "trixie")
}

/// Debian 13's kernel, busybox and OpenRC laid out as Alpine has them.
pub fn like_alpine() -> Result<PathBuf> {
    made("like-alpine", ALPINE, "trixie")
}

/// Ubuntu 24.04 without any initramfs tool.
pub fn ubuntu() -> Result<PathBuf> {
    made("ubuntu-24.04-bare", UBUNTU, "noble")
}

/// Debian 13 for arm64, with the loader for its firmware. It takes an arm64 QEMU and firmware beside what [`tools`] looks for.
pub fn arm64() -> Result<PathBuf> {
    made_for_arm64("debian-13-arm64", ARM64)
}

/// The same without any initramfs tool.
pub fn bare_arm64() -> Result<PathBuf> {
    let kernel = BARE.replace("linux-image-cloud-amd64", "linux-image-cloud-arm64,ipxe");
    made_for_arm64(
        "debian-13-arm64-bare",
        &kernel.replace("mmdebstrap --quiet", "mmdebstrap --quiet --architectures=arm64"),
    )
}

/// `oneroot-init` for arm64 machines, of these sources. The first call of all makes a root with compilers.
pub fn init_for_arm64() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/build-init");
    let mut command = Command::new(&script);
    // When it fails, mmdebstrap sends SIGHUP to its whole process group.
    let built = command.arg("aarch64").env("ONEROOT_CACHE", cache()?).process_group(0).output();
    let built = built.with_context(|| format!("cannot run {}", script.display()))?;
    if !built.status.success() {
        bail!("init can't be built for arm64: {}", String::from_utf8_lossy(&built.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8(built.stdout)?.trim()))
}

fn made_for_arm64(name: &str, recipe: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/need");
    let told = Command::new(&script).args(["--missing", "test-all"]).output();
    let told = told.with_context(|| format!("cannot run {}", script.display()))?;
    if !told.status.success() {
        bail!("{}", String::from_utf8_lossy(&told.stderr).trim());
    }
    made(name, &format!("{EMULATED}\n{recipe}"), "trixie")
}

fn made(name: &str, recipe: &str, suite: &str) -> Result<PathBuf> {
    let key = blake3::hash(recipe.as_bytes()).to_hex();
    let cache = cache()?;
    let tar = cache.join(format!("{name}-{}.tar", key.chars().take(16).collect::<String>()));
    // It is whole once it has its name, and another that is being made is not waited for.
    if tar.exists() {
        return Ok(tar);
    }
    // Two tests that start at once must not both make it.
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the cache")?;
    if tar.exists() {
        return Ok(tar);
    }
    let script = cache.join("recipe.sh");
    fs::write(&script, recipe)?;
    let unfinished = cache.join("unfinished.tar");
    let log = cache.join("mmdebstrap.log");
    let made = installer()?
        .arg(&script)
        .arg(&unfinished)
        .arg(suite)
        .stdout(fs::File::create(&log)?)
        .stderr(fs::File::options().append(true).open(&log)?)
        // When it fails, mmdebstrap sends SIGHUP to its whole process group.
        .process_group(0)
        .status()
        .context("cannot run the recipe")?;
    if !made.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("mmdebstrap could not make a Debian root; it said:\n{}", tail.join("\n"));
    }
    fs::rename(&unfinished, &tar)?;
    Ok(tar)
}

/// What a recipe is run with. Under `nohup`, mmdebstrap would not hear the hangup that it sends to what it has started.
fn installer() -> Result<Command> {
    let mut installer = Command::new("env");
    installer.arg("--default-signal");
    let users = fs::read_to_string("/proc/self/uid_map")?;
    if users.split_whitespace().last() == Some("1") {
        bail!(
            "a Debian root has files of many users, and in this user namespace there is one: run it under \
             `unshare -r --map-auto`, which takes the package uidmap and a line for you in /etc/subuid and /etc/subgid"
        );
    }
    if !users.contains("4294967295") {
        // mmdebstrap takes itself for root, and mounts: here that takes mounts and processes of one's own.
        installer.args(["unshare", "--mount", "--pid", "--fork", "--kill-child"]);
    }
    installer.arg("sh");
    Ok(installer)
}

/// `$ONEROOT_CACHE`, else oneroot's corner of the user's cache.
fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || variable("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let cache = variable("ONEROOT_CACHE").or_else(|| Some(user()?.join("oneroot")));
    let cache = cache.context("there is no home to cache the Debian root in; set ONEROOT_CACHE")?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}
