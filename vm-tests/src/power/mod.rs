//! A server that is switched off at any moment: a machine with a disk of its own, on which the real binary stages, leases,
//! makes plans and syncs, and a console on which it says what it has done.
//!
//! QEMU's process is killed. What the guest's kernel still had in memory is gone; what it had given to its disk is kept
//! (`cache=writeback`, and this host lives on). So this is a computer whose power fails, with a disk that loses nothing it
//! was given; a disk that forgets what was not flushed is in `state/src/faults`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::guest::Guest;
use oneroot_testkit::binary;

/// Of the machine's own disk; it is sparse.
const DISK: u64 = 2 << 30;
const MODULES: [&str; 7] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/net/veth",
];
const SITE: &str = "[server]\naddress = \"192.168.77.1\"\ninterface = \"v0\"\nstore = \"/data/store\"\n\
                    state = \"/data/state\"\n\n\
                    [[network]]\nsubnet = \"192.168.77.0/24\"\npool = \"192.168.77.100-192.168.77.199\"\nlease = \"1h\"\n\n\
                    [profile.small]\nsource = { directory = \"/tmp/tree\" }\n\n[unknown]\nprofile = \"small\"\n";

/// The machine, off; its disk keeps what it has from one start to the next.
pub struct PowerMachine {
    home: tempfile::TempDir,
}

impl PowerMachine {
    /// Makes its disks, with the kernel of this Debian root, this host's busybox and ip, and the binary under test.
    pub fn new(debian: &Path) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let at = |name: &str| home.path().join(name);
        let boot = at("debian");
        fs::create_dir(&boot)?;
        let wanted = ["./boot/vmlinuz-*", "./usr/lib/modules/*/kernel/drivers"];
        run(Command::new("tar").arg("-C").arg(&boot).arg("-xf").arg(debian).arg("--wildcards").args(wanted))?;
        fs::copy(only(&boot.join("boot"))?, at("vmlinuz"))?;
        let modules = only(&boot.join("usr/lib/modules"))?.join("kernel");

        let initramfs = at("initramfs");
        for directory in ["bin", "dev", "modules", "root"] {
            fs::create_dir_all(initramfs.join(directory))?;
        }
        program(&initramfs, &find("busybox")?, "bin/busybox")?;
        script(&initramfs.join("init"), include_str!("init.sh"))?;
        for module in MODULES {
            let name = module.rsplit('/').next().unwrap_or(module);
            fs::copy(modules.join(format!("{module}.ko")), initramfs.join(format!("modules/{name}.ko")))?;
        }
        let archive = "find . | busybox cpio -o -H newc >../initrd";
        run(Command::new("sh").args(["-c", archive]).current_dir(&initramfs))?;

        let root = at("root");
        for directory in ["bin", "sbin", "dev", "proc", "sys", "tmp", "run", "data", "site"] {
            fs::create_dir_all(root.join(directory))?;
        }
        program(&root, &find("busybox")?, "bin/busybox")?;
        program(&root, &find("ip")?, "sbin/ip")?;
        program(&root, &binary()?, "oneroot")?;
        let applets = Command::new("busybox").arg("--list").output()?.stdout;
        for applet in String::from_utf8(applets)?.lines().filter(|name| !["busybox", "ip"].contains(name)) {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        script(&root.join("guest"), include_str!("guest.sh"))?;
        script(&root.join("machines"), include_str!("machines.sh"))?;
        script(&root.join("copies"), include_str!("copies.sh"))?;
        script(&root.join("lease"), include_str!("lease.sh"))?;
        fs::write(root.join("site/site.toml"), SITE)?;
        disk(&at("root.img"), Some(&root))?;
        disk(&at("data.img"), None)?;
        Ok(Self { home })
    }

    /// Switches it on. Dropping or [`Guest::power_cut`] is the power cut.
    pub fn power_on(&self) -> Result<Guest> {
        let mut command = Command::new("qemu-system-x86_64");
        let at = |name: &str| self.home.path().join(name).display().to_string();
        command.args(["-accel", "tcg,thread=multi", "-m", "512", "-smp", "2", "-nographic", "-no-reboot"]);
        command.args(["-nic", "none", "-device", "virtio-rng-pci"]);
        command.args(["-kernel", &at("vmlinuz"), "-initrd", &at("initrd")]);
        command.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on"]);
        for (image, more) in [("root.img", "readonly=on"), ("data.img", "cache=writeback")] {
            command.args(["-drive", &format!("if=virtio,format=raw,file={},{more}", at(image))]);
        }
        Guest::start("server".to_owned(), command, None)
    }
}

/// A program and the libraries that it is linked to, in a root.
fn program(root: &Path, from: &Path, to: &str) -> Result<()> {
    fs::copy(from, root.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
    // For one that is linked to nothing, ldd fails.
    let said = Command::new("ldd").arg(from).output().context("cannot run ldd")?.stdout;
    for library in String::from_utf8(said)?.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a library has a directory")?)?;
        fs::copy(library, to)?;
    }
    Ok(())
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn disk(path: &Path, content: Option<&Path>) -> Result<()> {
    fs::File::create(path)?.set_len(DISK)?;
    let mut command = Command::new(find("mkfs.ext4")?);
    command.args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=0"]);
    if let Some(content) = content {
        command.arg("-d").arg(content);
    }
    run(command.arg(path))
}

fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
    found.with_context(|| format!("there is no {program} here"))
}

/// The one thing in a directory.
fn only(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory)?;
    Ok(entries.next().with_context(|| format!("nothing in {}", directory.display()))??.path())
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
